//! What a connector's `fixtures/` folder holds.
//!
//! - `settings.toml`: a connection's table.
//! - `troubles.json`: how this platform says that a login has expired, and other errors with status 200.
//! - any other `*.json`: a [`Case`].

use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::connector::{
    Asked, Captured, Confirmation, Cursor, Delivery, Operation, Standing, Token,
};
use crate::fault::{Class, Fault};
use crate::id::RemoteId;
use crate::record::{Record, Stream};
use crate::transport::http::replay::Exchange;

/// A folder, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixtures {
    /// The connection's table.
    pub settings: toml::Table,
    /// How this platform fails.
    pub troubles: Troubles,
    /// In the order of their names.
    pub cases: Vec<Case>,
}

/// How a platform fails in ways of its own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Troubles {
    /// How it says that the login has expired. The connector must log in again and go on.
    pub expired: Option<Reply>,
    /// Other replies that are errors, whatever their status.
    pub errors: Vec<Reply>,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// What it is called in the report.
    #[serde(default)]
    pub name: String,
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Json,
    /// What must follow.
    #[serde(default)]
    pub class: Option<Class>,
}

/// One recorded case.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The name of its file.
    #[serde(skip)]
    pub name: String,
    /// Our clock.
    #[serde(default = "super::some_day")]
    pub now: Timestamp,
    /// Of which stream.
    pub stream: Stream,
    /// What is done.
    pub request: Request,
    /// What is asked of the platform and what it answers; nothing for a child process.
    #[serde(default)]
    pub exchanges: Vec<Exchange>,
    /// The same when it is done once more and everything was forgotten; only for a delivery.
    #[serde(default)]
    pub again: Vec<Exchange>,
    /// For what was taken in: the same when it is asked after.
    #[serde(default)]
    pub later: Vec<Exchange>,
    /// Numbers, from 1, of requests that only look, although they are not asked again.
    #[serde(default)]
    pub looks: Vec<usize>,
    /// For a pull or fetch: what should come.
    #[serde(default)]
    pub changes: Vec<ExpectedChange>,
    /// For what is asked for a proof: what should be told.
    #[serde(default)]
    pub standings: Vec<Standing>,
    /// For a delivery: what should become of each.
    #[serde(default)]
    pub outcomes: Vec<ExpectedOutcome>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Reads on after a cursor, until there is no more.
    Pull {
        /// Where from.
        #[serde(default)]
        after: Option<Cursor>,
    },
    /// Reads by id.
    Fetch {
        /// Which.
        ids: Vec<RemoteId>,
    },
    /// Asks what stands there, for a proof.
    ReadBack {
        /// From which connection these came.
        origin: String,
        /// Of what.
        asked: Vec<Asked>,
    },
    /// Writes.
    Deliver {
        /// What.
        batch: Vec<ToDeliver>,
    },
}

/// A delivery, as far as a connector sees it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToDeliver {
    /// What is to be done.
    pub operation: Operation,
    /// The connection it comes from.
    pub origin: String,
    /// Our reference.
    pub reference: String,
    /// The id over there.
    #[serde(default)]
    pub target: Option<RemoteId>,
    /// The id of its group over there, if it is known.
    #[serde(default)]
    pub group: Option<RemoteId>,
    /// The record.
    pub record: Json,
}

/// A change that should come.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedChange {
    /// The source's id.
    pub id: RemoteId,
    /// It is there, with this content.
    #[serde(default)]
    pub record: Option<Json>,
    /// It is held, with this code.
    #[serde(default)]
    pub rejected: Option<String>,
}

/// What should become of a delivery.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExpectedOutcome {
    /// It is there.
    Delivered(Confirmation),
    /// It was taken in and is not done yet.
    Submitted {
        /// What it is asked after with, as it is stored: what waits when a new version starts has it from
        /// the old one.
        token: Token,
        /// What became of it when it is asked after, by the case's `later`. Not asked when absent.
        #[serde(default)]
        ends: Option<Box<ExpectedOutcome>>,
    },
    /// It is not.
    Failed {
        /// What follows.
        class: Class,
        /// Why.
        code: String,
    },
}

impl Fixtures {
    /// Reads a folder.
    ///
    /// # Errors
    /// `Config`, naming the file.
    pub fn load(folder: &Path) -> Result<Self, Fault> {
        let text = read(&folder.join("settings.toml"))?;
        let settings = toml::from_str(&text).map_err(|error| refuse("settings.toml", &error))?;
        let (mut troubles, mut cases) = (Troubles::default(), Vec::new());
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(|error| refuse(&folder.display().to_string(), &error))?;
        files.sort();
        for file in files {
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let name = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = read(&file)?;
            if name == "troubles" {
                troubles = serde_json::from_str(&text).map_err(|error| refuse(&name, &error))?;
                continue;
            }
            let mut case: Case =
                serde_json::from_str(&text).map_err(|error| refuse(&name, &error))?;
            case.name = name;
            cases.push(case);
        }
        Ok(Self {
            settings,
            troubles,
            cases,
        })
    }
}

fn read(file: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(file).map_err(|error| refuse(&file.display().to_string(), &error))
}

fn refuse(name: &str, error: &dyn std::fmt::Display) -> Fault {
    Fault::config("fixture", format!("fixture {name}: {error}"))
}

impl Case {
    /// The records in it.
    pub(super) fn records(&self) -> impl Iterator<Item = &Json> {
        let written = match &self.request {
            Request::Deliver { batch } => batch.as_slice(),
            _ => &[],
        };
        let read = self
            .changes
            .iter()
            .filter_map(|change| change.record.as_ref());
        written.iter().map(|delivery| &delivery.record).chain(read)
    }

    /// The deliveries of a write.
    ///
    /// # Errors
    /// When a record is none.
    pub fn deliveries(&self) -> Result<Vec<Delivery>, Fault> {
        let Request::Deliver { batch } = &self.request else {
            return Ok(Vec::new());
        };
        let deliveries = batch.iter().enumerate().map(|(n, delivery)| {
            Ok(Delivery {
                id: format!("dlv_{n}").into(),
                stream: self.stream,
                key: delivery.reference.as_str().into(),
                operation: delivery.operation,
                record: Record::from_json(self.stream, delivery.record.clone())?,
                reference: delivery.reference.clone(),
                origin: delivery.origin.clone(),
                target: delivery.target.clone(),
                group: delivery.group.clone(),
                captured: Captured::new(),
                attempts: 0,
            })
        });
        deliveries.collect()
    }
}

impl Reply {
    /// The body as it is sent.
    pub(super) fn text(&self) -> String {
        match &self.body {
            Json::String(text) => text.clone(),
            json => json.to_string(),
        }
    }
}
