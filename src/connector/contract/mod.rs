//! The contract suite: what every connector promises, checked on recorded exchanges.
//!
//! A connector's `fixtures/` folder holds what was asked and answered, and what should come of it
//! ([`Fixtures`]). The suite plays that and then spoils it: each request in turn is throttled, fails, is
//! cut, answered with HTML, refused for an expired login, answered with 200 and an error inside, or loses
//! its reply. After each spoiled run the laws of [`Source`](super::Source) and [`Sink`](super::Sink) must
//! hold; what was taken in is asked after, and that is spoiled too. `crossdock connector test NAME` and the
//! tests of the built-in connectors run the same suite.

mod fixture;
mod keeper;
mod later;
mod read_back;
mod sink;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value as Json;

pub use fixture::{Case, ExpectedChange, ExpectedOutcome, Fixtures, Reply, Request, Troubles};
pub use keeper::MemoryKeeper;
pub use later::asked_in_every_way;
pub use sink::same_outcomes;
pub use source::same as same_changes;

use super::{Configured, Connection, Connector, Context, Delivery};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::fault::Fault;
use crate::record::Stream;
use crate::transport::http::HttpClient;
use crate::transport::http::faulty::{Faulty, Trouble};
use crate::transport::http::replay::{Exchange, Order, Replay};

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which law or promise: `S9`, `D2`, `decodes`.
    pub law: &'static str,
    /// Of which case, and with what trouble.
    pub name: String,
    /// Why it does not hold.
    pub failure: Option<String>,
}

/// Everything that was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the cases.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether everything holds.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.failures().next().is_none()
    }

    /// What does not hold.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.failure.is_some())
    }

    /// Notes one thing that was checked.
    pub fn add(&mut self, law: &'static str, name: impl Into<String>, result: Result<(), String>) {
        self.checks.push(Check {
            law,
            name: name.into(),
            failure: result.err(),
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in self.failures() {
            let why = check.failure.as_deref().unwrap_or_default();
            writeln!(f, "FAILED {} {}: {why}", check.law, check.name)?;
        }
        let (all, failed) = (self.checks.len(), self.failures().count());
        write!(f, "{} checks held, {failed} did not", all - failed)
    }
}

/// A connector whose promises are tried in a way of its own, because it asks nothing over HTTP.
#[async_trait]
pub trait Trial: Send + Sync {
    /// Checks it against its fixtures, which stand in `folder`.
    async fn run(&self, fixtures: &Fixtures, folder: &Path, clock: &Arc<dyn Clock>) -> Report;

    /// What it would be told to deliver, for a person to see; nothing is sent.
    fn would_send(&self, stream: Stream, batch: &[Delivery]) -> String;
}

/// Checks a connector against its fixtures.
pub async fn run(connector: &dyn Connector, fixtures: &Fixtures) -> Report {
    let mut report = Report::default();
    let configured = match connector.configure(&fixtures.settings) {
        Ok(configured) => configured,
        Err(findings) => {
            report.add("settings", "settings.toml", Err(findings.to_string()));
            return report;
        }
    };
    for case in &fixtures.cases {
        let bench = Bench {
            connector,
            configured: configured.as_ref(),
            troubles: &fixtures.troubles,
            case,
            secrets: secrets(connector, fixtures),
        };
        match &case.request {
            Request::Deliver { .. } => sink::check(&bench, &mut report).await,
            Request::ReadBack { .. } => read_back::check(&bench, &mut report).await,
            Request::Pull { .. } | Request::Fetch { .. } => {
                source::check(&bench, &mut report).await;
            }
        }
    }
    report
}

/// What the checks of one case share.
struct Bench<'a> {
    connector: &'a dyn Connector,
    configured: &'a dyn Configured,
    troubles: &'a Troubles,
    case: &'a Case,
    /// What no message may contain: secrets, and the case's personal data.
    secrets: Vec<String>,
}

/// A connection to recorded exchanges.
struct Played {
    connection: Connection,
    replay: Arc<Replay>,
    faulty: Arc<Faulty>,
}

impl Bench<'_> {
    /// Opens a fresh connection to `exchanges`, with `trouble` at the request of that number, from 1.
    fn play(
        &self,
        exchanges: Vec<Exchange>,
        trouble: Option<(u64, Trouble)>,
    ) -> Result<Played, String> {
        self.play_in(Order::Any, exchanges, trouble)
    }

    fn play_in(
        &self,
        order: Order,
        exchanges: Vec<Exchange>,
        trouble: Option<(u64, Trouble)>,
    ) -> Result<Played, String> {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(self.case.now));
        let replay = Arc::new(Replay::new(exchanges, order, Arc::clone(&clock)));
        let inner: Arc<dyn HttpClient> = Arc::clone(&replay) as _;
        let mut faulty = Faulty::new(inner, Arc::clone(&clock));
        if let Some((nth, trouble)) = trouble {
            faulty = faulty.on(nth, trouble);
        }
        let faulty = Arc::new(faulty);
        let context = Context {
            name: "fixture".to_owned(),
            clock,
            http: Arc::clone(&faulty) as _,
            tokens: MemoryKeeper::default().tokens(),
            files: super::FileLimits::default(),
            windows: BTreeMap::new(),
        };
        let connection = self
            .configured
            .open(context)
            .map_err(|fault| fault.to_string())?;
        Ok(Played {
            connection,
            replay,
            faulty,
        })
    }

    /// Law D5: what a fault tells is fit to be shown.
    fn discreet(&self, fault: &Fault) -> Result<(), String> {
        match self
            .secrets
            .iter()
            .find(|secret| fault.message.contains(secret.as_str()))
        {
            Some(_) => Err(format!(
                "the message of `{}` tells personal data or a secret",
                fault.code
            )),
            None => Ok(()),
        }
    }

    /// How a trouble is told in the name of a check.
    fn name(&self, what: &str) -> String {
        format!("{} {what}", self.case.name)
    }
}

/// Values that a message must not contain: secret settings, and what is personal in the case.
pub fn secrets(connector: &dyn Connector, fixtures: &Fixtures) -> Vec<String> {
    let mut found = Vec::new();
    let properties = &connector.spec().settings_schema["properties"];
    for (name, value) in &fixtures.settings {
        if properties[name.as_str()]["writeOnly"] == Json::Bool(true) {
            found.extend(value.as_str().map(str::to_owned));
        }
    }
    for case in &fixtures.cases {
        for record in case.records() {
            for field in ["customer", "ship_to", "bill_to"] {
                personal(&record[field], &mut found);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// All texts that could name a person; short ones would be found everywhere by accident.
fn personal(json: &Json, found: &mut Vec<String>) {
    match json {
        Json::String(text) if text.chars().count() > 4 => found.push(text.clone()),
        Json::Array(items) => items.iter().for_each(|item| personal(item, found)),
        Json::Object(fields) => {
            for (name, value) in fields {
                if !matches!(name.as_str(), "kind" | "id" | "country") {
                    personal(value, found);
                }
            }
        }
        _ => {}
    }
}

/// Every exchange as often as it is asked for.
fn any_number(exchanges: &[Exchange]) -> Vec<Exchange> {
    exchanges
        .iter()
        .cloned()
        .map(|exchange| Exchange {
            times: 0,
            ..exchange
        })
        .collect()
}

/// A moment in the middle of the fixtures' day, for those that do not say.
fn some_day() -> Timestamp {
    Timestamp::constant(1_795_348_800, 0)
}
