//! What somebody may have to be told of, that is no loop's own health: clocks, room, what others report.

use std::collections::{BTreeMap, VecDeque};

use jiff::SignedDuration;
use serde_json::Value;

use super::Vitals;
use crate::alert::{Cause, Finding, Kind, Severity};

/// How many readings of a clock are kept: one slow reply is no wrong clock.
const READINGS: usize = 8;
/// How many things are reported at most.
const REPORTS: usize = 1000;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Attention {
    clocks: BTreeMap<String, VecDeque<SignedDuration>>,
    room: Option<Room>,
    reported: BTreeMap<Cause, Finding>,
    present: Value,
}

/// How much room the store has and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free bytes of its file system.
    pub free: u64,
    /// Its own bytes.
    pub size: u64,
}

impl Vitals {
    /// Reports something that somebody must be told of, or that it is well (`None`). What is wrong is told
    /// once it lasts, repeated, and over once it is well: report as often as you look.
    ///
    /// For whoever finds out by himself, such as the check of subscriptions (story 17):
    /// `vitals.report(Kind::Subscription, "north.orders", Some((Severity::Urgent, text)))`. The text says
    /// what, where and how to mend it, without secrets or personal data, and does not change by itself.
    pub fn report(&self, kind: Kind, subject: &str, what: Option<(Severity, String)>) {
        let cause = Cause::new(kind, subject);
        self.attention(|it| match what {
            Some((severity, text)) if it.reported.len() < REPORTS => {
                let finding = Finding::new(kind, subject, severity, text);
                it.reported.insert(cause, finding);
            }
            Some(_) => {}
            None => {
                it.reported.remove(&cause);
            }
        });
    }

    /// What is reported and not well.
    pub fn reported(&self) -> Vec<Finding> {
        self.attention(|it| it.reported.values().cloned().collect())
    }

    /// A system's clock was read: how far it is ahead of ours.
    pub fn clock_read(&self, connection: &str, ahead: SignedDuration) {
        self.attention(|it| {
            let readings = it.clocks.entry(connection.to_owned()).or_default();
            readings.push_back(ahead);
            if readings.len() > READINGS {
                readings.pop_front();
            }
        });
    }

    /// How far a system's clock is ahead of ours; none before it was read. Of the last readings the one
    /// nearest to ours: a slow reply makes a clock look late, nothing makes a wrong one look right.
    pub fn clock_skew(&self, connection: &str) -> Option<SignedDuration> {
        self.attention(|it| {
            let readings = it.clocks.get(connection)?.iter();
            readings.copied().min_by_key(|ahead| ahead.abs())
        })
    }

    /// How much room there is.
    pub fn set_room(&self, room: Room) {
        self.attention(|it| it.room = Some(room));
    }

    /// How much room there was at the last look.
    pub fn room(&self) -> Option<Room> {
        self.attention(|it| it.room)
    }

    /// What somebody was told of and is not over, as `status` shows it.
    pub fn set_alerts(&self, present: Value) {
        self.attention(|it| it.present = present);
    }

    /// What somebody was told of and is not over.
    pub fn alerts(&self) -> Value {
        self.attention(|it| it.present.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    fn vitals() -> Vitals {
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        Vitals::new(Arc::new(clock))
    }

    #[test]
    fn a_slow_reply_is_no_wrong_clock() {
        let vitals = vitals();
        assert_eq!(vitals.clock_skew("erp"), None);
        for secs in [-60, 0, -45] {
            vitals.clock_read("erp", SignedDuration::from_secs(secs));
        }
        assert_eq!(vitals.clock_skew("erp"), Some(SignedDuration::ZERO));
        for _ in 0..READINGS {
            vitals.clock_read("erp", SignedDuration::from_secs(-300));
        }
        let skew = vitals.clock_skew("erp");
        assert_eq!(skew, Some(SignedDuration::from_secs(-300)));
    }

    /// Story 17: whoever notices that a system does not call us any more has one function to say so.
    #[test]
    fn what_is_reported_stays_until_it_is_well() {
        let vitals = vitals();
        let text = "north calls us no more".to_owned();
        let what = Some((Severity::Urgent, text));
        vitals.report(Kind::Subscription, "north.orders", what.clone());
        vitals.report(Kind::Subscription, "north.orders", what);
        let reported = vitals.reported();
        assert_eq!(reported.len(), 1);
        assert_eq!(reported[0].cause.to_string(), "subscription:north.orders");
        vitals.report(Kind::Subscription, "north.orders", None);
        assert_eq!(vitals.reported(), []);
    }
}
