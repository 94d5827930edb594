//! `check --online`: asks each system what the configuration needs of it. Reads, looks, and writes nothing.
//!
//! No cursor moves and nothing is stored: the daemon may run meanwhile. What only a write can show is said
//! to be unknown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};

use super::limits::Limiters;
use super::noting::Noting;
use super::open;
use crate::clock::Clock;
use crate::connector::{Body, Captured, Connection, Delivery, Operation, Page};
use crate::fault::{Class, Fault};
use crate::id::{ConnectionName, DeliveryId, Key};
use crate::record::{Record, Stream};
use crate::telemetry::Vitals;
use crate::topology::{Plan, PlannedConnection};
use crate::transport::http::HttpClient;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// A clock that is wrong by less is not worth a word: `Date` has whole seconds.
const SKEW_SEEN: i64 = 5;
/// A clock that is wrong by more makes us take old orders for new ones.
const SKEW_WRONG: i64 = 15 * 60;
/// What is looked for and cannot be there.
const NOTHING: &str = "crossdock-check";

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// As needed.
    Ok,
    /// Works, but somebody should look.
    Warning,
    /// Not as needed.
    Failed,
    /// Only a write could tell.
    Unknown,
}

/// One question to a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Question {
    /// What was asked: `login`, `clock`, `read orders`, `write orders`.
    pub what: String,
    /// How it was answered.
    pub answer: Answer,
    /// For a person.
    pub told: String,
}

/// Asks every connection at the same time; the answers by connection.
pub async fn probe(plan: &Plan, clock: &Arc<dyn Clock>) -> BTreeMap<ConnectionName, Vec<Question>> {
    let limiters = Limiters::default();
    let limiters = &limiters;
    let asked = plan.connections.iter().map(|(name, planned)| async move {
        let mut visit = Visit {
            clock,
            limiters,
            vitals: Vitals::new(Arc::clone(clock)),
            questions: Vec::new(),
        };
        if let Err(fault) = visit.all(plan, (name, planned)).await {
            visit.failed("open", &fault);
        }
        (name.clone(), visit.questions)
    });
    join_all(asked).await.into_iter().collect()
}

struct Visit<'a> {
    clock: &'a Arc<dyn Clock>,
    limiters: &'a Limiters,
    vitals: Vitals,
    questions: Vec<Question>,
}

impl Visit<'_> {
    async fn all(
        &mut self,
        plan: &Plan,
        (name, planned): (&ConnectionName, &PlannedConnection),
    ) -> Result<(), Fault> {
        let http = open::http(plan, (name, planned), (self.clock, self.limiters))?;
        let noting = Arc::new(Noting::new(http, name.as_str(), &self.vitals));
        let http: Arc<dyn HttpClient> = Arc::clone(&noting) as _;
        // Nobody keeps what it would get: the daemon may use the same credential.
        let connection = (http, &Arc::default());
        let connection = open::connection(plan, (name, planned), connection, self.clock)?;
        self.questions(&connection, planned, &noting).await;
        self.time(name);
        if let Some(closing) = &connection.closing {
            closing.close().await;
        }
        Ok(())
    }

    async fn questions(
        &mut self,
        connection: &Connection,
        planned: &PlannedConnection,
        noting: &Noting,
    ) {
        if !self.login(connection).await {
            return; // the rest would fail for the same reason
        }
        for (stream, settings) in &planned.streams {
            if let (true, Some(source)) = (settings.is_read, connection.sources.get(stream)) {
                let what = format!("read {stream}");
                match self.bounded(source.peek()).await {
                    Ok(page) => self.page(what, page.as_ref()),
                    Err(fault) => self.failed(what, &fault),
                }
            }
            if settings.is_written {
                self.written(connection, *stream, noting).await;
            }
        }
    }

    async fn bounded<T>(&self, asked: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            answer = asked => answer,
            () = self.clock.sleep(PATIENCE) => {
                let message = format!("no answer within {} s", PATIENCE.as_secs());
                Err(Fault::retry("no_answer", message))
            }
        }
    }

    /// Whether going on makes sense.
    async fn login(&mut self, connection: &Connection) -> bool {
        let Some(probe) = &connection.probe else {
            self.say("login", Answer::Unknown, "the connector declares no probe");
            return true;
        };
        match self.bounded(probe.probe()).await {
            Ok(who) => {
                self.say("login", Answer::Ok, who);
                true
            }
            // It is right as far as it can be seen from here.
            Err(fault) if fault.code == "only_the_daemon" => {
                self.say("login", Answer::Unknown, fault.message);
                false
            }
            Err(fault) => {
                self.failed("login", &fault);
                false
            }
        }
    }

    fn page(&mut self, what: String, page: Option<&Page>) {
        let Some(page) = page else {
            let told =
                "reading takes files away, so a check does not; `login` looked at the folder";
            return self.say(what, Answer::Unknown, told);
        };
        let rejected = page.changes.iter().filter_map(|change| match &change.body {
            Body::Rejected(fault) => Some(fault),
            _ => None,
        });
        let rejected: Vec<&Fault> = rejected.collect();
        let count = page.changes.len();
        let more = if page.more { ", and there is more" } else { "" };
        match rejected.first() {
            None => self.say(what, Answer::Ok, format!("{count} on the first page{more}")),
            Some(first) => {
                let bad = rejected.len();
                let told =
                    format!("{bad} of {count} on the first page cannot be understood: {first}");
                self.say(what, Answer::Warning, told);
            }
        }
    }

    /// Looks for what cannot be there: that needs the login and the right to look, and changes nothing.
    async fn written(&mut self, connection: &Connection, stream: Stream, noting: &Noting) {
        let what = format!("write {stream}");
        let Some(sink) = connection.sinks.get(&stream) else {
            return self.say(
                what,
                Answer::Failed,
                "the connection cannot write this stream",
            );
        };
        let Some(delivery) = sample(stream) else {
            return self.say(
                what,
                Answer::Unknown,
                "only a write can show whether it is allowed",
            );
        };
        let before = noting.requests();
        let found = self.bounded(sink.find(&delivery)).await;
        let asked = noting.requests() > before;
        match found {
            Ok(_) if !asked => {
                let told =
                    "nothing can be looked up here; only a write can show whether it is allowed";
                self.say(what, Answer::Unknown, told);
            }
            Ok(_) => {
                let told =
                    "looking before writing works; whether a write is allowed shows the first one";
                self.say(what, Answer::Ok, told);
            }
            Err(fault) if fault.class == Class::Reject => {
                let told = format!("it answers, and rightly does not know our example ({fault})");
                self.say(what, Answer::Ok, told);
            }
            Err(fault) => self.failed(what, &fault),
        }
    }

    fn time(&mut self, name: &ConnectionName) {
        let Some(skew) = self.vitals.clock_skew(name.as_str()) else {
            return; // no HTTP, or no `Date`
        };
        let secs = skew.as_secs();
        let (direction, size) = if secs < 0 {
            ("behind", secs.unsigned_abs())
        } else {
            ("ahead of", secs.unsigned_abs())
        };
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        if size <= SKEW_SEEN {
            return self.say("clock", Answer::Ok, "as ours");
        }
        let answer = if size <= SKEW_WRONG {
            Answer::Warning
        } else {
            Answer::Failed
        };
        let told = format!(
            "the system's clock is {size} s {direction} ours: set the one that is wrong (is \
             time synchronised on this machine?)"
        );
        self.say("clock", answer, told);
    }

    fn failed(&mut self, what: impl Into<String>, fault: &Fault) {
        self.say(what, Answer::Failed, fault.to_string());
    }

    fn say(&mut self, what: impl Into<String>, answer: Answer, told: impl Into<String>) {
        self.questions.push(Question {
            what: what.into(),
            answer,
            told: told.into(),
        });
    }
}

/// A delivery of something that cannot be there; none for streams that cannot be looked up by a made-up
/// record.
fn sample(stream: Stream) -> Option<Delivery> {
    let zero = json!({"amount": "0", "currency": "EUR"});
    let at = "2026-01-01T00:00:00Z";
    let (json, operation): (Value, _) = match stream {
        Stream::Stock => (json!({"sku": NOTHING, "on_hand": "0"}), Operation::Update),
        Stream::Items => (json!({"sku": NOTHING, "name": NOTHING}), Operation::Create),
        Stream::Orders => (
            json!({"id": NOTHING, "number": NOTHING, "placed_at": at, "currency": "EUR",
                "customer": {"name": NOTHING}, "ship_to": {"country": "DE"}, "lines": [
                    {"line_id": "1", "sku": NOTHING, "quantity": "1", "unit_price": zero,
                     "prices_include_tax": true, "line_net": zero, "line_gross": zero}],
                "totals": {"lines_net": zero, "charges_net": zero, "taxes": zero,
                    "grand_total": zero}}),
            Operation::Create,
        ),
        Stream::Shipments => (
            json!({"id": NOTHING, "order": "0", "shipped_at": at,
                "lines": [{"sku": NOTHING, "quantity": "1"}],
                "parcels": [{"tracking_number": NOTHING}]}),
            Operation::Create,
        ),
        _ => return None,
    };
    Some(Delivery {
        id: DeliveryId::new(NOTHING),
        stream,
        key: Key::new(NOTHING),
        operation,
        record: Record::from_json(stream, json).ok()?,
        reference: format!("{NOTHING}:0"),
        origin: NOTHING.to_owned(),
        target: None,
        group: None,
        captured: Captured::new(),
        attempts: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_a_record() {
        for stream in [
            Stream::Stock,
            Stream::Items,
            Stream::Orders,
            Stream::Shipments,
        ] {
            assert!(sample(stream).is_some(), "{stream}");
        }
    }
}
