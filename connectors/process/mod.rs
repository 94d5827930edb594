//! A connector that somebody wrote as a program of their own: a child process that speaks JSON lines.
//!
//! `PROTOCOL.md` beside this file is the contract with its author, `example.py` one that keeps it. What
//! such a connector is (its command, settings and streams) stands in its `connector.toml`, so that a
//! configuration is checked without starting anything; the child must say the same of itself.
//!
//! In reading order: `declared` (that file), `child` (when one is started and left alone), `keeper` (one
//! child while it runs), `lines` (what it writes), `wire` (what that means, and what it may not claim),
//! `ends` (the traits), `trial` (the contract suite for processes).
//!
//! A child knows nothing of the store, gets its secrets in a message, and has only the environment that its
//! file names. It runs as the daemon's user: whoever may write `connector.toml` may run programs as it.

mod child;
mod declared;
mod ends;
mod keeper;
mod lines;
#[cfg(test)]
mod tests;
mod trial;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use child::Guest;
use declared::Known;
use ends::{GuestSink, GuestSource};

use crate::connector::contract::Trial;
use crate::connector::{Configured, Connection, Connector, Context, Probe, Sink, Source, Spec};
use crate::diagnostic::Diagnostics;
use crate::fault::Fault;
use crate::manifest::Values;

/// A connector that is a child process.
#[derive(Debug, Clone)]
pub struct ProcessConnector {
    known: Arc<Known>,
}

/// Whether a `connector.toml` describes a child process.
pub fn is_process(text: &str) -> bool {
    let table: Result<toml::Table, _> = toml::from_str(text);
    table.is_ok_and(|table| table.contains_key("process"))
}

/// Reads a `connector.toml`. The child runs in the folder of `path`.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn load(path: impl Into<PathBuf>, text: &str) -> Result<ProcessConnector, Diagnostics> {
    let known = declared::read(path.into(), text)?;
    Ok(ProcessConnector {
        known: Arc::new(known),
    })
}

impl Connector for ProcessConnector {
    fn spec(&self) -> &Spec {
        &self.known.spec
    }

    fn configure(&self, settings: &toml::Table) -> Result<Box<dyn Configured>, Diagnostics> {
        let values = self.known.settings.read(settings)?;
        let known = Arc::clone(&self.known);
        Ok(Box::new(ConfiguredProcess { known, values }))
    }

    fn trial(&self) -> Option<&dyn Trial> {
        Some(self)
    }
}

#[derive(Debug)]
struct ConfiguredProcess {
    known: Arc<Known>,
    values: Values,
}

impl Configured for ConfiguredProcess {
    fn open(&self, context: Context) -> Result<Connection, Fault> {
        let known = &self.known;
        let guest = Arc::new(Guest::new(
            known.spec.name.clone(),
            (known.ways.clone(), known.launch.clone()),
            self.values.clone(),
            context,
        ));
        let (mut sources, mut sinks) = (BTreeMap::new(), BTreeMap::new());
        for (stream, ways) in &known.ways {
            let (guest, stream) = (Arc::clone(&guest), *stream);
            if let Some(ways) = ways.read {
                let guest = Arc::clone(&guest);
                let source = GuestSource {
                    guest,
                    stream,
                    ways,
                };
                sources.insert(stream, Arc::new(source) as Arc<dyn Source>);
            }
            if ways.write {
                sinks.insert(
                    stream,
                    Arc::new(GuestSink { guest, stream }) as Arc<dyn Sink>,
                );
            }
        }
        Ok(Connection {
            sources,
            sinks,
            probe: Some(Arc::clone(&guest) as Arc<dyn Probe>),
            closing: Some(guest),
            ..Connection::default()
        })
    }
}
