//! `crossdock store`: move the state between machines and engines, and look whether it is sound.

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Global, Shell};
use crate::clock::{Clock, Timestamp};
use crate::engine::{mark_restored, row_checks};
use crate::id::uuid_at;
use crate::runtime::{SystemClock, engine_kind, store_path};
use crate::store::dir::Birth;
use crate::store::{DiskStore, Store as _, StoreError, portable};

/// The state: export, import, check, compact. The daemon must not run
#[derive(Debug, Args)]
pub(super) struct Store {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Write everything to a file that any version from this one on can read
    Export {
        /// The file; it must not exist
        file: PathBuf,
    },
    /// Fill a new store from such a file
    Import {
        /// The file
        file: PathBuf,
    },
    /// Say that this store is an older copy: everything is read and told again at the next start
    Restored,
    /// Read every row and say what is damaged
    Check,
    /// Give the room of what was overwritten and removed back to the disk
    Compact,
}

pub(super) fn run(command: &Store, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let plan = match global.plan(shell)? {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    let clock = SystemClock::new();
    let folder = store_path(&plan);
    let at = clock.now();
    let birth = Birth {
        at,
        id: uuid_at(at, fastrand::u128(..)),
    };
    let done = match &command.command {
        StoreCommand::Export { file } => {
            let out = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(file)?;
            // Whatever engine it is of: this is how one changes it.
            DiskStore::open_existing(&folder)
                .and_then(|store| portable::export(&store, &mut io::BufWriter::new(out), at))
                .map(|moved| (moved.rows, "written to", file.clone()))
        }
        StoreCommand::Import { file } => {
            let kind = engine_kind(&plan).unwrap_or_default();
            portable::import(file, kind, &folder, birth)
                .and_then(|moved| mark(&folder, at).map(|()| moved))
                .map(|moved| (moved.rows, "read into", folder))
        }
        StoreCommand::Restored => {
            let marked = mark(&folder, at);
            marked.map(|()| (1, "written: all is told again from", folder))
        }
        StoreCommand::Compact => DiskStore::open_existing(&folder)
            .and_then(|mut store| store.compact())
            .map(|done| (done.map_or(0, |done| done.rows), "kept in", folder)),
        StoreCommand::Check => match portable::check_dir(&folder, &row_checks()) {
            Ok(checked) => {
                if global.json {
                    return checked_json(&checked, shell);
                }
                for table in &checked.tables {
                    let (name, rows, values) = (table.name, table.rows, table.values);
                    writeln!(shell.out, "{name:<14} {rows:>10} rows {values:>10} values")?;
                }
                for problem in &checked.problems {
                    writeln!(shell.out, "{problem}")?;
                }
                writeln!(shell.out, "{} problems", checked.problem_count)?;
                let sound = checked.problem_count == 0;
                return Ok(if sound { Exit::Ok } else { Exit::Findings });
            }
            Err(error) => Err(error),
        },
    };
    match done {
        Ok((rows, how, place)) => {
            let place = place.display();
            if global.json {
                let moved = json!({ "rows": rows, "place": place.to_string() });
                writeln!(shell.out, "{moved:#}")?;
            } else {
                writeln!(shell.out, "{rows} rows {how} {place}")?;
            }
            Ok(Exit::Ok)
        }
        Err(error) => {
            writeln!(shell.err, "crossdock: {error}")?;
            Ok(Exit::Store)
        }
    }
}

/// What channels were told since an export or a copy was made is not in it.
fn mark(folder: &std::path::Path, at: Timestamp) -> Result<(), StoreError> {
    let mut store = DiskStore::open_existing(folder)?;
    mark_restored(&mut store, at)
}

fn checked_json(checked: &portable::Checked, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let tables: serde_json::Map<String, serde_json::Value> = checked
        .tables
        .iter()
        .map(|table| {
            let counts = json!({ "rows": table.rows, "values": table.values });
            (table.name.to_string(), counts)
        })
        .collect();
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    let count = checked.problem_count;
    let all = json!({ "tables": tables, "problems": problems, "problem_count": count });
    writeln!(shell.out, "{all:#}")?;
    Ok(if count == 0 { Exit::Ok } else { Exit::Findings })
}
