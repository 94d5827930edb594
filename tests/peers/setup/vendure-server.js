// One Vendure server, loopback only: API and job queue in one process, SQLite in VENDURE_DATA.
// Started by setup/processes.py with NODE_PATH set to the shared node_modules.
process.env.VENDURE_DISABLE_TELEMETRY = "true";
const path = require("node:path");
const {
  bootstrap, DefaultJobQueuePlugin, DefaultLogger, DefaultSearchPlugin, dummyPaymentHandler, JobQueueService, LogLevel,
} = require("@vendure/core");

const config = {
  apiOptions: {
    hostname: "127.0.0.1",
    port: Number(process.env.PORT),
    adminApiPath: "admin-api",
    shopApiPath: "shop-api",
    adminListQueryLimit: 100,
  },
  authOptions: {
    tokenMethod: ["bearer", "cookie", "api-key"],
    superadminCredentials: { identifier: "superadmin", password: "superadmin" },
    cookieOptions: { secret: "crossdock-peers" },
    requireVerification: false,
  },
  dbConnectionOptions: {
    type: "better-sqlite3",
    database: path.join(process.env.VENDURE_DATA, "vendure.sqlite"),
    synchronize: process.env.VENDURE_CREATE_SCHEMA === "1",
    logging: false,
    // Safe against a killed process, not against a power cut: this is a test database.
    prepareDatabase: (db) => db.pragma("synchronous = OFF"),
  },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  logger: new DefaultLogger({ level: LogLevel.Warn, timestamp: true }),
  plugins: [DefaultJobQueuePlugin.init({ pollInterval: 1000 }), DefaultSearchPlugin],
};

bootstrap(config)
  .then(async (app) => {
    await app.get(JobQueueService).start();
    console.log("ready");
  })
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
