//! `crossdock config`: what is in force, and the schema for editors.

use std::io;

use clap::{Args, Subcommand};

use super::{Exit, Global, Shell};
use crate::config::{self, Credentials};
use crate::connector::Connector;
use crate::diagnostic::Diagnostics;
use crate::topology;

/// Show the configuration in force, or its schema
#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print what is in force, defaults included and secrets left out
    Show,
    /// Print the JSON Schema, for editors: save it as crossdock.schema.json beside the
    /// configuration
    Schema,
}

pub(super) fn run(command: &Config, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    match command.what {
        What::Schema => {
            writeln!(shell.out, "{:#}", config::schema())?;
            Ok(Exit::Ok)
        }
        What::Show => show(global, shell),
    }
}

fn show(global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    // Credentials are not shown, so they need not be there.
    let loaded = match config::load(
        &global.path(shell.around),
        shell.around,
        Credentials::Assumed,
    ) {
        Ok(loaded) => loaded,
        Err(findings) => {
            global.tell(&findings, shell)?;
            return Ok(Exit::Config);
        }
    };
    let mut ignored = Diagnostics::default(); // told by `check`
    let own = topology::own_connectors(&loaded.config, shell.registry, &mut ignored);
    let own = own.iter().map(AsRef::as_ref);
    let known: Vec<&dyn Connector> = shell.registry.iter().copied().chain(own).collect();
    // Of a connector that nobody knows, any setting may be a secret.
    let is_secret = |connector: &str, setting: &str| {
        let connector = known.iter().find(|known| known.name() == connector);
        connector.is_none_or(|connector| is_write_only(&connector.spec().settings_schema, setting))
    };
    let shown = config::show(&loaded, &is_secret);
    match toml::from_str::<serde_json::Value>(&shown) {
        Ok(value) if global.json => writeln!(shell.out, "{value:#}")?,
        _ => write!(shell.out, "{shown}")?,
    }
    Ok(Exit::Ok)
}

/// Whether a schema of settings marks one of them as a secret.
fn is_write_only(schema: &serde_json::Value, setting: &str) -> bool {
    let Some(property) = schema
        .get("properties")
        .and_then(|known| known.get(setting))
    else {
        return false;
    };
    let write_only = property
        .get("writeOnly")
        .and_then(serde_json::Value::as_bool);
    write_only == Some(true)
        || property
            .get("format")
            .is_some_and(|format| format == "password")
}
