//! `crossdock completions` and `crossdock man`: what a package installs beside the program.

use std::io;
use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell as Kind;

use super::{Exit, Shell, lessons};

/// Print a script that completes commands and options in a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Kind,
}

/// Print the manual page, or write those of all commands into a folder
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder: crossdock.1, crossdock-run.1 and so on
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

pub(super) fn completions(command: &Completions, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(
        command.shell,
        &mut lessons::command(),
        "crossdock",
        &mut script,
    );
    shell.out.write_all(&script)?;
    Ok(Exit::Ok)
}

pub(super) fn man(command: &Man, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let Some(folder) = &command.into else {
        clap_mangen::Man::new(lessons::command()).render(&mut shell.out)?;
        return Ok(Exit::Ok);
    };
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(lessons::command(), folder)?;
    writeln!(shell.out, "written to {}", folder.display())?;
    Ok(Exit::Ok)
}
