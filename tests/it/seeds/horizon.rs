//! Until when the daemon must know everything: what it has acknowledged by asking for what comes after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crossdock::connector::Cursor;

use super::world::{ACME, ERP, MARKET};

/// What a thing may need until it shows in lists, and clocks to tick.
pub const SHOWN: Duration = Duration::from_secs(8);

/// The last answer that a reader was given.
#[derive(Debug)]
struct Answer {
    /// When the run began that it is the end of; absent in the middle of a run.
    run_began: Option<Duration>,
    at: Duration,
    cursor: Cursor,
}

/// By stream: system, and whether it is its stock (else its orders or shipments).
#[derive(Debug, Default)]
pub struct Horizons {
    answers: BTreeMap<(usize, &'static str), Answer>,
    runs: BTreeMap<(usize, &'static str), Duration>,
    /// What comes after what was asked for last, where that was in the middle of a run.
    middles: BTreeMap<(usize, &'static str), Cursor>,
    known: BTreeMap<(usize, &'static str), Duration>,
    /// When the list was given by which that is known; it may have been asked for long before.
    given: BTreeMap<(usize, &'static str), Duration>,
    read_once: BTreeSet<(usize, &'static str)>,
}

impl Horizons {
    /// Somebody asks for what comes after `after`: everything before that is accepted, also for good.
    pub fn asked(&mut self, stream: (usize, &'static str), after: Option<&Cursor>, now: Duration) {
        let answer = self.answers.remove(&stream);
        let mut is_new_run = true;
        if let Some(answer) = answer.filter(|answer| Some(&answer.cursor) == after) {
            if let Some(began) = answer.run_began {
                self.known.insert(stream, began);
                self.given.insert(stream, answer.at);
            } else {
                is_new_run = false;
                // The reply may be lost, and the same page be asked for again.
                self.answers.insert(stream, answer);
            }
        }
        // The reply was lost, and the same is asked for again: still in the middle.
        is_new_run &= after.is_none() || self.middles.get(&stream) != after;
        if is_new_run {
            self.runs.insert(stream, now);
        }
        match after.filter(|_| !is_new_run) {
            Some(after) => self.middles.insert(stream, after.clone()),
            None => self.middles.remove(&stream),
        };
    }

    /// It was answered.
    pub fn answered(
        &mut self,
        stream: (usize, &'static str),
        (cursor, more): (Cursor, bool),
        at: Duration,
    ) {
        let began = self.runs.get(&stream).copied();
        let run_began = began.filter(|_| !more);
        if !more {
            self.read_once.insert(stream);
        }
        let answer = Answer {
            run_began,
            at,
            cursor,
        };
        self.answers.insert(stream, answer);
    }

    /// A shop whose sales were never read to their end with this store.
    pub fn unread_sales(&self, sellers: usize) -> Option<usize> {
        (0..sellers).find(|shop| !self.read_once.contains(&(*shop, "orders")))
    }

    /// A store was lost or is an older one: nothing is known until it is read again.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Until when all prices were known, and when the list was given that says so; `None` when they were never read.
    pub fn prices_known_until(&self) -> Option<(Duration, Duration)> {
        let known = self.known.get(&(ERP, "prices"))?;
        let given = self.given.get(&(ERP, "prices"))?;
        Some((known.saturating_sub(SHOWN), *given))
    }

    /// Until when everything was known at the latest; `None` when something was never read.
    pub fn known_until(&self, sellers: usize) -> Option<Duration> {
        let mut streams = vec![
            (0, "orders"),
            (1, "orders"),
            (ERP, "stock"),
            (ERP, "shipments"),
        ];
        streams.push((ACME, "stock"));
        if sellers > MARKET {
            streams.push((MARKET, "orders"));
        }
        let known = streams.iter().map(|stream| self.known.get(stream).copied());
        let first = known.min().flatten()?;
        Some(first.saturating_sub(SHOWN))
    }
}
