//! How each loop is: when it last got on, and what stopped it.
//!
//! The watchdog is fed only while every loop gets on (story 64: alive but idle). A loop that waits for
//! its next run says how long that may take; one that has been silent for longer is stuck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, Timestamp};
use crate::fault::Fault;
use crate::id::ConnectionName;
use crate::record::Stream;

/// How long a run may take beyond its announced wait before its loop counts as stuck.
const GRACE: Duration = Duration::from_secs(15 * 60);

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
    /// How often, since it last went well.
    pub failures: u32,
}

type Place = (ConnectionName, Stream, Pulse);

/// All loops by place.
pub type Pulses = BTreeMap<Place, StreamHealth>;

#[derive(Debug, Default)]
struct Inner {
    health: Pulses,
    deadlines: BTreeMap<Place, Duration>,
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
            inner: Arc::default(),
            clock,
        }
    }

    /// A loop got on; it will be back within `next`.
    pub fn beat(&self, place: &Place, next: Duration) {
        let deadline = self.clock.monotonic() + next + GRACE;
        self.with(|inner| inner.deadlines.insert(place.clone(), deadline));
    }

    /// A loop ended on purpose.
    pub fn end(&self, place: &Place) {
        self.with(|inner| inner.deadlines.remove(place));
    }

    /// A loop is about to start: nothing is known of it, and that is shown.
    pub fn expect(&self, place: &Place) {
        self.with(|inner| {
            entry(inner, place);
        });
    }

    /// A run went well.
    pub fn success(&self, place: &Place) {
        let now = self.clock.now();
        self.with(|inner| {
            let health = entry(inner, place);
            health.last_success = Some(now);
            health.trouble = None;
            health.failures = 0;
        });
    }

    /// A run failed; how often in a row.
    pub fn failure(&self, place: &Place, fault: &Fault) -> u32 {
        self.with(|inner| {
            let health = entry(inner, place);
            health.trouble = Some(fault.to_string());
            health.failures += 1;
            health.failures
        })
    }

    /// How every stream is.
    pub fn health(&self) -> Vec<StreamHealth> {
        self.with(|inner| inner.health.values().cloned().collect())
    }

    /// Whether every loop got on when it said it would; the first that did not.
    ///
    /// # Errors
    /// The place of a loop that is stuck.
    pub fn check(&self) -> Result<(), String> {
        let now = self.clock.monotonic();
        self.with(|inner| {
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

    /// Whether every stream that is read has been read once.
    pub fn ready(&self) -> bool {
        self.with(|inner| {
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
            failures: 0,
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
        clock.advance(GRACE + Duration::from_secs(11));
        assert!(vitals.check().unwrap_err().contains("orders of north"));
        vitals.end(&place);
        assert!(vitals.check().is_ok());
    }
}
