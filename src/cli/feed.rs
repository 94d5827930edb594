//! `feed` and `release`: suppliers' files, by hand.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Exit, Global, Shell};
use crate::config::{self, Credentials};
use crate::connectors::feed;
use crate::format::sniff::sniff;

/// How much of a file is looked at.
const LOOK_BYTES: u64 = 1 << 20;

/// Something about a supplier's file
#[derive(Debug, Args)]
pub(super) struct Feed {
    #[command(subcommand)]
    command: FeedCommand,
}

#[derive(Debug, Subcommand)]
enum FeedCommand {
    /// Propose settings for files like this one; read what it says and correct it
    Sniff {
        /// A file as the supplier sends it
        file: PathBuf,
    },
}

/// Let a held file pass its guards once
#[derive(Debug, Args)]
pub(super) struct Release {
    /// The connection of the feed
    connection: String,
    /// The file, as it is called in the folder `held`, or as the supplier called it
    file: String,
}

pub(super) fn feed(command: &Feed, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let FeedCommand::Sniff { file } = &command.command;
    match beginning(file) {
        Ok(bytes) => {
            write!(shell.out, "{}", sniff(&bytes).to_toml())?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            writeln!(shell.err, "crossdock: {}: {error}", file.display())?;
            Ok(Exit::Failed)
        }
    }
}

fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LOOK_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Needs no daemon: the file is moved back, and whoever reads the folder finds it there.
pub(super) fn release(
    command: &Release,
    global: &Global,
    shell: &mut Shell<'_>,
) -> io::Result<Exit> {
    let path = global.path(shell.around);
    let loaded = match config::read(&path, shell.around, Credentials::Assumed) {
        Ok(loaded) => loaded,
        Err(findings) => {
            global.tell(&findings, shell)?;
            return Ok(Exit::Config);
        }
    };
    let name = command.connection.as_str().into();
    let settings = loaded.config.connection.get(&name);
    let settings = settings.filter(|settings| settings.connector == "feed");
    let root = settings.and_then(|settings| settings.settings.0.get("path")?.as_str());
    let Some(root) = root else {
        let name = &command.connection;
        writeln!(
            shell.err,
            "crossdock: `{name}` is no connection of the connector `feed`"
        )?;
        return Ok(Exit::Failed);
    };
    match feed::release(Path::new(root), &command.file) {
        Ok(released) => {
            writeln!(shell.out, "released: {released}")?;
            Ok(Exit::Ok)
        }
        Err(fault) => {
            writeln!(shell.err, "crossdock: {fault}")?;
            Ok(Exit::Failed)
        }
    }
}
