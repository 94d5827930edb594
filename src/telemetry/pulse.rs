//! How each loop is: when it last got on, and what stopped it.
//!
//! The watchdog is fed only while every loop gets on (story 64: alive but idle). A loop that waits for
//! its next run says how long that may take; one that has been silent for longer is stuck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::attention::Attention;
use crate::clock::{Clock, Timestamp};
use crate::fault::Fault;
use crate::id::ConnectionName;
use crate::record::Stream;

/// How long a step may take beyond its announced wait before its loop counts as stuck, until
/// [`Vitals::set_patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What a loop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pulse {
    /// Reads a stream.
    Read,
    /// Writes a stream.
    Write,
}

/// How one stream is.
#[derive(Debug, Clone, Serialize)]
pub struct StreamHealth {
    /// The connection.
    pub connection: String,
    /// Its stream.
    pub stream: Stream,
    /// Read or written.
    pub way: Pulse,
    /// When it last went well.
    pub last_success: Option<Timestamp>,
    /// What went wrong since.
    pub trouble: Option<String>,
    /// Since when it goes wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble_since: Option<Timestamp>,
    /// How often, since it last went well.
    pub failures: u32,
    /// It should go well at least so often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_secs: Option<u64>,
    /// Why it rests, when it must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// What became of the last reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// When.
    pub at: Timestamp,
    /// Whether the new configuration is in force.
    pub applied: bool,
    /// What changed, or every reason why nothing did.
    pub told: Vec<String>,
}

/// A state of the whole process that somebody should know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The store's file system has less room than it should.
    Disk,
    /// Too many events wait to be delivered.
    Outbox,
    /// Too much is in quarantine.
    Quarantine,
    /// Deliveries have waited for a link for too long.
    Waiting,
}

impl Condition {
    /// Whether something rests because of it.
    fn holds_up(self) -> bool {
        self != Self::Waiting
    }
}

/// Where a loop stands: which stream of which connection, and which way.
pub type Place = (ConnectionName, Stream, Pulse);

/// All loops by place.
pub type Pulses = BTreeMap<Place, StreamHealth>;

#[derive(Debug)]
struct Inner {
    health: Pulses,
    deadlines: BTreeMap<Place, Duration>,
    engine: Option<Duration>,
    patience: Duration,
    conditions: BTreeMap<Condition, String>,
    reload: Option<Reloaded>,
    attention: Attention,
}

/// How all loops are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vitals {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<dyn Clock>,
}

impl Vitals {
    /// Nothing known yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                health: Pulses::new(),
                deadlines: BTreeMap::new(),
                engine: None,
                patience: PATIENCE,
                conditions: BTreeMap::new(),
                reload: None,
                attention: Attention::default(),
            })),
            clock,
        }
    }

    /// How long a step may take beyond its announced wait from now on.
    pub fn set_patience(&self, patience: Duration) {
        self.with(|inner| inner.patience = patience);
    }

    /// A loop got on; it will be back within `next`.
    pub fn beat(&self, place: &Place, next: Duration) {
        let now = self.clock.monotonic();
        self.with(|inner| {
            let deadline = now + next + inner.patience;
            inner.deadlines.insert(place.clone(), deadline);
        });
    }

    /// The engine answered.
    pub fn beat_engine(&self) {
        let now = self.clock.monotonic();
        self.with(|inner| inner.engine = Some(now + inner.patience));
    }

    /// A loop ended on purpose.
    pub fn end(&self, place: &Place) {
        self.with(|inner| inner.deadlines.remove(place));
    }

    /// A loop is configured no more: nothing is shown of it.
    pub fn forget(&self, place: &Place) {
        self.with(|inner| {
            inner.deadlines.remove(place);
            inner.health.remove(place);
        });
    }

    /// Why a loop rests; `None` when it does not.
    pub fn hold(&self, place: &Place, why: Option<String>) {
        self.with(|inner| entry(inner, place).held = why);
    }

    /// A condition of the whole process, or its end; whether that is new.
    pub fn condition(&self, condition: Condition, what: Option<String>) -> bool {
        self.with(|inner| match what {
            Some(what) => inner.conditions.insert(condition, what).is_none(),
            None => inner.conditions.remove(&condition).is_some(),
        })
    }

    /// What is wrong with the whole process.
    pub fn conditions(&self) -> BTreeMap<Condition, String> {
        self.with(|inner| inner.conditions.clone())
    }

    /// Notes what became of a reload.
    pub fn reloaded(&self, outcome: Reloaded) {
        self.with(|inner| inner.reload = Some(outcome));
    }

    /// What became of the last reload.
    pub fn last_reload(&self) -> Option<Reloaded> {
        self.with(|inner| inner.reload.clone())
    }

    /// What else somebody may have to be told of.
    pub(super) fn attention<T>(&self, f: impl FnOnce(&mut Attention) -> T) -> T {
        self.with(|inner| f(&mut inner.attention))
    }

    /// A loop is about to start: nothing is known of it, and that is shown.
    pub fn expect(&self, place: &Place) {
        self.with(|inner| {
            entry(inner, place);
        });
    }

    /// A loop should go well at least so often.
    pub fn expect_within(&self, place: &Place, time: Duration) {
        self.with(|inner| {
            // One that was forgotten meanwhile stays so.
            if let Some(health) = inner.health.get_mut(place) {
                health.expected_secs = Some(time.as_secs());
            }
        });
    }

    /// A run went well.
    pub fn success(&self, place: &Place) {
        let now = self.clock.now();
        self.with(|inner| {
            let health = entry(inner, place);
            health.last_success = Some(now);
            health.trouble = None;
            health.trouble_since = None;
            health.failures = 0;
        });
    }

    /// A run failed; how often in a row.
    pub fn failure(&self, place: &Place, fault: &Fault) -> u32 {
        let now = self.clock.now();
        self.with(|inner| {
            let health = entry(inner, place);
            health.trouble = Some(fault.to_string());
            health.trouble_since.get_or_insert(now);
            health.failures += 1;
            health.failures
        })
    }

    /// How every stream is.
    pub fn health(&self) -> Vec<StreamHealth> {
        self.with(|inner| inner.health.values().cloned().collect())
    }

    /// Whether the engine and every loop got on when they said they would; the first that did not.
    ///
    /// # Errors
    /// The place of a loop that is stuck.
    pub fn check(&self) -> Result<(), String> {
        let now = self.clock.monotonic();
        self.with(|inner| {
            if inner.engine.is_some_and(|deadline| deadline < now) {
                return Err("the engine is stuck: the store does not answer".to_owned());
            }
            let late = inner
                .deadlines
                .iter()
                .find(|(_, deadline)| **deadline < now);
            late.map_or(Ok(()), |((connection, stream, way), _)| {
                Err(
                    format!("the loop that {way:?}s {stream} of {connection} is stuck")
                        .to_lowercase(),
                )
            })
        })
    }

    /// Whether every stream that is read has been read once, and nothing holds reading up.
    pub fn ready(&self) -> bool {
        self.with(|inner| {
            if inner
                .conditions
                .keys()
                .any(|condition| condition.holds_up())
            {
                return false;
            }
            let mut read = inner
                .health
                .values()
                .filter(|health| health.way == Pulse::Read);
            read.all(|health| health.last_success.is_some())
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn entry<'a>(inner: &'a mut Inner, place: &Place) -> &'a mut StreamHealth {
    inner
        .health
        .entry(place.clone())
        .or_insert_with(|| StreamHealth {
            connection: place.0.to_string(),
            stream: place.1,
            way: place.2,
            last_success: None,
            trouble: None,
            trouble_since: None,
            failures: 0,
            expected_secs: None,
            held: None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// Story 64: a loop that hangs is noticed although the process lives.
    #[test]
    fn a_silent_loop_is_stuck() {
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        let vitals = Vitals::new(Arc::new(clock.clone()));
        let place = ("north".into(), Stream::Orders, Pulse::Read);
        vitals.beat(&place, Duration::from_secs(10));
        assert!(vitals.check().is_ok());
        clock.advance(PATIENCE + Duration::from_secs(11));
        assert!(vitals.check().unwrap_err().contains("orders of north"));
        vitals.end(&place);
        assert!(vitals.check().is_ok());
        vitals.beat_engine();
        clock.advance(PATIENCE + Duration::from_secs(1));
        assert!(vitals.check().unwrap_err().contains("engine"));
    }

    /// A full disk makes the daemon not ready, whatever was read before; an alert does not.
    #[test]
    fn what_holds_reading_up_is_not_ready() {
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        let vitals = Vitals::new(Arc::new(clock));
        assert!(vitals.ready());
        assert!(vitals.condition(Condition::Waiting, Some("3 wait".into())));
        assert!(vitals.ready());
        assert!(vitals.condition(Condition::Disk, Some("full".into())));
        assert!(
            !vitals.condition(Condition::Disk, Some("fuller".into())),
            "known already"
        );
        assert!(!vitals.ready());
        assert!(vitals.condition(Condition::Disk, None));
        assert!(vitals.ready());
    }
}
