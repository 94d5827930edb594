// One Medusa server without its admin pages; the database is named by DATABASE_URL.
const { defineConfig } = require("@medusajs/framework/utils");

const nowhere = "http://127.0.0.1";
module.exports = defineConfig({
  admin: { disable: true },
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    databaseDriverOptions: { ssl: false, connection: { ssl: false } },
    http: {
      storeCors: nowhere, adminCors: nowhere, authCors: nowhere,
      jwtSecret: "crossdock-peers", cookieSecret: "crossdock-peers",
    },
  },
});
