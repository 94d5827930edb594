//! `crossdock connector new`: a connector to begin with.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Shell};
use crate::connectors;

/// The longest name.
const MAX_NAME: usize = 40;
/// The name that a template has, wherever it stands in it.
const PLACEHOLDER: &str = "_template";

/// Write a connector to begin with, which passes `crossdock connector test`
#[derive(Debug, Args)]
pub(super) struct New {
    /// Its name: small letters, digits and `_`
    name: String,
    /// Begin with a copy of this connector of the program; without, with a small webstore
    #[arg(long, value_name = "CONNECTOR")]
    from: Option<String>,
    /// A program of your own (Python) that is run as a child process
    #[arg(long, conflicts_with = "from")]
    process: bool,
    /// The folder it is written into: what stands beside the configuration under this name is loaded
    #[arg(long, value_name = "FOLDER", default_value = "connectors")]
    into: PathBuf,
}

pub(super) fn run(command: &New, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let name = command.name.as_str();
    if let Err(why) = check_name(name, shell) {
        writeln!(shell.err, "crossdock: {why}")?;
        return Ok(Exit::Usage);
    }
    let files = match files(command) {
        Ok(files) => files,
        Err(why) => {
            writeln!(shell.err, "crossdock: {why}")?;
            return Ok(Exit::Usage);
        }
    };
    let folder = command.into.join(name);
    if let Err(error) = write(&folder, &files) {
        writeln!(shell.err, "crossdock: {}: {error}", folder.display())?;
        return Ok(Exit::Failed);
    }
    writeln!(shell.out, "{}", folder.display())?;
    for (file, _) in &files {
        writeln!(shell.out, "  {file}")?;
    }
    writeln!(
        shell.out,
        "\nnext: crossdock connector test {name}\n      crossdock connector try {name} --set KEY=VALUE …\n\
         the format and an hour's walk: connectors/README.md"
    )?;
    Ok(Exit::Ok)
}

fn check_name(name: &str, shell: &Shell<'_>) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || !name.chars().all(fits) || name.len() > MAX_NAME {
        return Err(format!(
            "`{name}` cannot be a connector's name: it begins with a small letter and goes on with small \
             letters, digits and `_`, {MAX_NAME} at most"
        ));
    }
    let mut registry = shell.registry.iter();
    if registry.any(|known| known.name() == name) {
        return Err(format!(
            "the program has a connector `{name}` of its own; take another name"
        ));
    }
    Ok(())
}

/// The files to write, with the new name in them.
fn files(command: &New) -> Result<Vec<(&'static str, String)>, String> {
    let named = |text: &str, placeholder: &str| text.replace(placeholder, &command.name);
    let Some(from) = &command.from else {
        let template = if command.process {
            connectors::PROCESS_TEMPLATE
        } else {
            connectors::TEMPLATE
        };
        let all = template.iter();
        return Ok(all
            .map(|(file, text)| (*file, named(text, PLACEHOLDER)))
            .collect());
    };
    let mut manifests = connectors::BUILT_IN.iter();
    let Some((_, text)) = manifests.find(|(name, _)| name == from) else {
        let known: Vec<&str> = connectors::BUILT_IN.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "there is no manifest `{from}`; there are {}",
            known.join(", ")
        ));
    };
    let line = format!("name = \"{from}\"");
    let renamed = text.replacen(&line, &format!("name = \"{}\"", command.name), 1);
    let readme = format!(
        "# {}\n\nBegun as a copy of `{from}`. What a merchant needs to know, and how it was checked.\n",
        command.name
    );
    Ok(vec![("connector.toml", renamed), ("README.md", readme)])
}

fn write(folder: &Path, files: &[(&str, String)]) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above)?;
    }
    // Never over what somebody wrote.
    std::fs::create_dir(folder)?;
    for (file, text) in files {
        let path = folder.join(file);
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}
