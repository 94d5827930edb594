//! A supplier's folder: stock, prices and items from delimited files that somebody drops there.
//!
//! One file takes this way (`transport/dir` moves it, each step one rename):
//!
//! ```text
//! in/ -> complete? -> processing/ -> identify -> judge -> hand over page by page -> archive/
//!                                        |         |
//!                                     failed/    held/        each with an answer in reply/
//! ```
//!
//! - *identify*: one reading for the hash of the content and the encoding.
//! - *judge*: one reading of all rows (a second one if articles repeat) for what is bad, and whether the
//!   file as a whole may be believed when compared with the last good one. Until then nothing was
//!   handed over; when it may not, nothing is, and the old stock stays.
//! - *hand over*: pages of at most 4000 changes. The position is a line of a file that never changes.
//! - *archive*: when the next `pull` brings a cursor that covers the file, which proves that the engine has
//!   accepted it durably.
//!
//! Nothing is remembered outside the folder and the cursor: a crash anywhere repeats a step.
//!
//! The file system calls block. Each is short or done in portions with a yield between them, because
//! only the runtime may spawn tasks here.

mod convert;
mod cursor;
mod entry;
mod judge;
mod reply;
mod settings;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use settings::{Raw, Settings};
use source::{Feed, FeedSource};

use crate::connector::{
    Capabilities, Configured, Connection, Connector, Context, Evidence, Files, Onward, Spec,
    StreamSpec,
};
use crate::diagnostic::Diagnostics;
use crate::fault::Fault;
use crate::format::sniff::sniff;
use crate::record::Stream;
use crate::transport::dir::{Completeness, DropFolder};

/// How often a folder is looked at when the configuration does not say.
const POLL: Duration = Duration::from_secs(10);
/// How old a file may be when the configuration does not say: one a day, and some slack.
const FRESH_FOR: Duration = Duration::from_hours(26);

/// What configurations call it.
const NAME: &str = "feed";

/// The connector `feed`.
#[derive(Debug, Default)]
pub struct FeedConnector {
    spec: OnceLock<Spec>,
}

impl FeedConnector {
    /// What it can do; made when it is asked for.
    fn describe() -> Spec {
        // Stock: a supplier's real file, told to real webstores (tests/peers/run_b.py).
        let stream = |evidence| StreamSpec {
            read: true,
            write: false,
            read_evidence: Some(evidence),
            write_evidence: None,
            max_batch: 1,
            poll: POLL,
            fresh_for: Some(FRESH_FOR),
            onward: Onward::Whole,
            settle_lag: Duration::ZERO,
            reread_open: false,
        };
        let streams = [
            (Stream::Items, stream(Evidence::Sandbox)),
            (Stream::Prices, stream(Evidence::Sandbox)),
            (Stream::Stock, stream(Evidence::Real)),
        ];
        Spec {
            name: NAME.to_owned(),
            summary: "delimited files that a supplier drops into a folder".to_owned(),
            checked: Some("2026-11-22".to_owned()),
            streams: streams.into(),
            capabilities: Capabilities::default(),
            quotas: BTreeMap::new(),
            concurrency: None,
            settings_schema: schemars::schema_for!(Raw).to_value(),
        }
    }
}

impl Connector for FeedConnector {
    fn name(&self) -> &str {
        NAME
    }

    fn spec(&self) -> &Spec {
        self.spec.get_or_init(Self::describe)
    }

    fn configure(&self, settings: &toml::Table) -> Result<Box<dyn Configured>, Diagnostics> {
        Ok(Box::new(ConfiguredFeed(Settings::read(settings)?)))
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(self)
    }
}

#[derive(Debug)]
struct ConfiguredFeed(Settings);

impl Configured for ConfiguredFeed {
    fn open(&self, context: Context) -> Result<Connection, Fault> {
        let streams = self.0.streams.clone();
        let mut settings = self.0.clone();
        settings.files = context.files;
        let feed = Arc::new(Feed::new(context.name, settings, context.clock));
        let sources: BTreeMap<_, _> = streams
            .into_iter()
            .map(|stream| (stream, FeedSource::new(Arc::clone(&feed), stream)))
            .map(|(stream, source)| {
                (
                    stream,
                    Arc::new(source) as Arc<dyn crate::connector::Source>,
                )
            })
            .collect();
        Ok(Connection {
            sources,
            probe: Some(feed),
            ..Connection::default()
        })
    }
}

impl Files for FeedConnector {
    fn propose(&self, beginning: &[u8]) -> String {
        sniff(beginning).to_toml()
    }

    fn release(&self, settings: &toml::Table, file: &str) -> Result<String, Fault> {
        let Some(root) = settings.get("path").and_then(toml::Value::as_str) else {
            return Err(Fault::config("no_path", "the connection has no `path`"));
        };
        let root = std::path::Path::new(root);
        let folder = DropFolder::new(root, ".", "*", Completeness::Renamed);
        folder.release(file).map(|name| name.to_string())
    }
}
