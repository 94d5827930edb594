//! `crossdock state`: what is kept of a connection.

use std::io;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Global, Shell};
use crate::engine::rename_connection;
use crate::id::ConnectionName;
use crate::runtime::store_path;
use crate::store::DiskStore;

/// What is kept of a connection. The daemon must not run
#[derive(Debug, Args)]
pub(super) struct State {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Keep everything of a connection that has another name in the configuration now
    ///
    /// How far it was read, its links, what was told, what waits, the quarantine and the journal go over to
    /// the new name; nothing is read or sent anew. What was sent under the old name is found by it: never
    /// give that name to another system
    Rename {
        /// The name that it had
        old: String,
        /// The name that it has in the configuration
        new: String,
    },
}

pub(super) fn run(command: &State, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let StateCommand::Rename { old, new } = &command.command;
    let plan = match global.plan(shell)? {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    let (from, to) = (
        ConnectionName::new(old.as_str()),
        ConnectionName::new(new.as_str()),
    );
    if !plan.connections.contains_key(&to) {
        let message = format!("the configuration has no [connection.{new}]: rename it there first");
        writeln!(shell.err, "crossdock: {message}")?;
        return Ok(Exit::Failed);
    }
    if plan.connections.contains_key(&from) {
        let message = format!("[connection.{old}] is still configured: its state is in use");
        writeln!(shell.err, "crossdock: {message}")?;
        return Ok(Exit::Failed);
    }
    let mut store = match DiskStore::open_existing(&store_path(&plan)) {
        Ok(store) => store,
        Err(error) => {
            writeln!(shell.err, "crossdock: {error}")?;
            return Ok(Exit::Store);
        }
    };
    match rename_connection(&mut store, &from, &to) {
        Ok(rows) if global.json => {
            let done = json!({ "rows": rows, "from": old, "to": new });
            writeln!(shell.out, "{done:#}")?;
            Ok(Exit::Ok)
        }
        Ok(rows) => {
            writeln!(shell.out, "{rows} rows of {old} are {new}'s now")?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            writeln!(shell.err, "crossdock: {error}")?;
            Ok(Exit::Findings)
        }
    }
}
