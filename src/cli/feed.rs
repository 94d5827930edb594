//! `feed` and `release`: suppliers' files, by hand.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Exit, Global, Shell};
use crate::config::{self, Credentials};
use crate::connector::Files;

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
    let registry = shell.registry;
    let Some(files) = registry.iter().find_map(|known| known.files()) else {
        writeln!(shell.err, "crossdock: no connector reads files")?;
        return Ok(Exit::Failed);
    };
    match beginning(file) {
        Ok(bytes) => {
            write!(shell.out, "{}", files.propose(&bytes))?;
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
    let name = &command.connection;
    let Some(settings) = loaded.config.connection.get(&name.as_str().into()) else {
        writeln!(shell.err, "crossdock: there is no connection `{name}`")?;
        return Ok(Exit::Failed);
    };
    let Some(files) = files_of(&settings.connector, shell) else {
        let connector = &settings.connector;
        writeln!(
            shell.err,
            "crossdock: `{name}` is a connection of `{connector}`, which reads no files"
        )?;
        return Ok(Exit::Failed);
    };
    match files.release(&settings.settings.0, &command.file) {
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

fn files_of<'a>(connector: &str, shell: &Shell<'a>) -> Option<&'a dyn Files> {
    let registry = shell.registry;
    let known = registry.iter().find(|known| known.name() == connector);
    known.and_then(|known| known.files())
}
