//! When orders usually come: how many in each hour of the week, and how strange a silence is.
//!
//! Orders that come independently of each other at a known rate are absent for a while of which `m` were
//! expected with probability `exp(-m)`: at 6.9 that is one in a thousand. Real orders come in bursts, so the
//! rate is an average over the last eight weeks, nothing is said before two weeks were seen, and an hour of
//! the week counts only once it was seen twice.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::clock::since;

/// Hours of a week.
const HOURS: usize = 168;
const HOUR: i64 = 3600;
/// Two looks that lie farther apart have missed something between them.
const GAP: Duration = Duration::from_mins(30);
/// What was placed longer ago says nothing about this hour.
const RECENT: Duration = Duration::from_hours(2);
/// A week counts for an eighth once so many were seen.
const WEEKS: u8 = 8;
/// How often an hour of the week must have been seen before it counts.
const SEEN: u8 = 2;
/// How long must have been learned before anything is said.
const LEARNED: Duration = Duration::from_hours(14 * 24);
/// Of two weeks' hours so many must have been seen whole.
const LEARNED_HOURS: u32 = 300;
/// A longer silence is as strange as this one.
const LONGEST: Duration = Duration::from_hours(14 * 24);

/// How many orders usually come in each hour of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    /// Since when it is learned.
    since: Timestamp,
    /// When the stream was last looked at.
    looked: Timestamp,
    /// When it was last written down.
    saved: Timestamp,
    /// When the newest order was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<Timestamp>,
    /// Which hour, since 1970, `count` is of.
    hour: i64,
    /// How many came in it.
    count: u32,
    /// It was looked at from its beginning on.
    whole: bool,
    /// By hour of the week, Monday 0 o'clock first: hundredths of an order.
    rate: Vec<u32>,
    /// By hour of the week: how often it was seen.
    seen: Vec<u8>,
}

/// How strange it is that no order came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silence {
    /// Since when there was none: the newest order, or the beginning.
    pub since: Timestamp,
    /// How many were expected since then; nothing before enough was learned.
    pub expected: Option<f64>,
}

impl Rhythm {
    /// Nothing learned yet.
    pub fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            looked: now,
            saved: Timestamp::MIN,
            last: None,
            hour: now.as_second().div_euclid(HOUR),
            count: 0,
            whole: false,
            rate: vec![0; HOURS],
            seen: vec![0; HOURS],
        }
    }

    /// The stream was looked at, and orders placed at these moments were new. Whether it is worth writing
    /// down: at most once a minute.
    pub fn look(&mut self, now: Timestamp, placed: &[Timestamp], zone: &TimeZone) -> bool {
        let hour = now.as_second().div_euclid(HOUR);
        let seamless = since(self.looked, now) <= GAP && hour >= self.hour;
        let turned = hour != self.hour;
        if turned {
            if seamless && self.whole {
                self.learn(zone);
            }
            self.hour = hour;
            self.count = 0;
        }
        if turned || !seamless {
            self.whole = seamless;
        }
        for at in placed {
            if since(*at, now) <= RECENT {
                self.count = self.count.saturating_add(1);
            }
            let at = (*at).min(now);
            self.last = Some(self.last.map_or(at, |last| last.max(at)));
        }
        self.looked = now;
        let due = turned || since(self.saved, now) >= Duration::from_mins(1);
        let worth = due && (turned || !placed.is_empty());
        if worth {
            self.saved = now;
        }
        worth
    }

    /// The present hour is over and was seen whole.
    fn learn(&mut self, zone: &TimeZone) {
        let at = hour_of_week(self.hour * HOUR, zone);
        let (Some(rate), Some(seen)) = (self.rate.get_mut(at), self.seen.get_mut(at)) else {
            return;
        };
        *seen = seen.saturating_add(1);
        let weight = i64::from((*seen).min(WEEKS));
        let now = i64::from(self.count) * 100;
        let moved = i64::from(*rate) + (now - i64::from(*rate)) / weight;
        *rate = u32::try_from(moved).unwrap_or(0);
    }

    /// How strange it is that nothing came since the newest order.
    pub fn silence(&self, now: Timestamp, zone: &TimeZone) -> Silence {
        let begun = self.last.unwrap_or(self.since);
        let hours: u32 = self.seen.iter().map(|seen| u32::from(*seen)).sum();
        let enough = since(self.since, now) >= LEARNED && hours >= LEARNED_HOURS;
        Silence {
            since: begun,
            expected: enough.then(|| self.expected(begun, now, zone)),
        }
    }

    /// How many orders usually come between two moments.
    fn expected(&self, from: Timestamp, to: Timestamp, zone: &TimeZone) -> f64 {
        let longest = i64::try_from(LONGEST.as_secs()).unwrap_or(i64::MAX);
        let to = to.as_second();
        let mut at = from.as_second().max(to - longest);
        let mut sum = 0.0;
        while at < to {
            let end = ((at.div_euclid(HOUR) + 1) * HOUR).min(to);
            let place = hour_of_week(at, zone);
            if self.seen.get(place).is_some_and(|seen| *seen >= SEEN) {
                let rate = self.rate.get(place).copied().unwrap_or(0);
                let part = i32::try_from(end - at).unwrap_or(0);
                sum += f64::from(rate) / 100.0 * f64::from(part) / 3600.0;
            }
            at = end;
        }
        sum
    }
}

/// Which hour of the week this second is in; Monday 0 o'clock is 0.
fn hour_of_week(second: i64, zone: &TimeZone) -> usize {
    let at = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
    let local = zone.to_datetime(at);
    let day = local.weekday().to_monday_zero_offset();
    let hour = i64::from(day) * 24 + i64::from(local.hour());
    usize::try_from(hour).unwrap_or(0).min(HOURS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_mins(10);

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    /// A shop that sells one every ten minutes from 9 to 18 o'clock in Berlin, not on Sundays.
    fn is_open(at: Timestamp) -> bool {
        let hour = hour_of_week(at.as_second(), &berlin());
        hour / 24 < 6 && (9..18).contains(&(hour % 24))
    }

    struct Life {
        rhythm: Rhythm,
        now: Timestamp,
    }

    impl Life {
        fn new(start: &str) -> Self {
            let now = start.parse().unwrap();
            let rhythm = Rhythm::new(now);
            Self { rhythm, now }
        }

        fn pass(&mut self, time: Duration, sells: impl Fn(Timestamp) -> bool) {
            let end = crate::clock::later(self.now, time);
            while self.now < end {
                self.now = crate::clock::later(self.now, STEP);
                let placed = if sells(self.now) {
                    vec![self.now]
                } else {
                    vec![]
                };
                self.rhythm.look(self.now, &placed, &berlin());
                // What is written down is all there is to know.
                let text = serde_json::to_string(&self.rhythm).unwrap();
                assert!(text.len() < 1500, "{} bytes", text.len());
                self.rhythm = serde_json::from_str(&text).unwrap();
            }
        }

        fn expected(&self) -> Option<f64> {
            self.rhythm.silence(self.now, &berlin()).expected
        }
    }

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_silence_is_judged_by_the_hours_it_lies_in() {
        // A Monday, at midnight in Berlin. The days of the change to winter time lie within.
        let mut life = Life::new("2026-10-11T22:00:00Z");
        life.pass(13 * DAY, is_open);
        assert_eq!(life.expected(), None, "two weeks were not seen");
        life.pass(22 * DAY, is_open);
        // Sunday 23 o'clock, the shop closed on Saturday at 18: nothing is strange.
        let night = life.expected().unwrap();
        assert!(night < 1.5, "{night}");
        life.pass(10 * Duration::from_hours(1), is_open);
        assert!(life.expected().unwrap() < 1.5);
        // On Monday nobody buys: strange after little more than an hour of opening time.
        life.pass(Duration::from_mins(50), |_| false);
        assert!(life.expected().unwrap() < 6.9, "{:?}", life.expected());
        life.pass(Duration::from_mins(30), |_| false);
        assert!(life.expected().unwrap() > 6.9, "{:?}", life.expected());
        // One order, and all is well.
        let placed = [life.now];
        life.rhythm.look(life.now, &placed, &berlin());
        assert!(life.expected().unwrap() < 0.1);
    }

    #[test]
    fn a_shop_with_few_orders_is_given_time() {
        let mut life = Life::new("2026-10-11T22:00:00Z");
        // One order a day, at noon.
        let noon = |at: Timestamp| {
            let local = berlin().to_datetime(at);
            local.hour() == 12 && local.minute() == 0
        };
        life.pass(35 * DAY, noon);
        life.pass(3 * DAY, |_| false);
        assert!(life.expected().unwrap() < 6.9, "three days may happen");
        life.pass(5 * DAY, |_| false);
        assert!(life.expected().unwrap() > 6.9, "{:?}", life.expected());
    }

    #[test]
    fn what_nobody_looked_at_teaches_nothing() {
        let mut life = Life::new("2026-10-11T22:00:00Z");
        life.pass(35 * DAY, is_open);
        let before = life.rhythm.rate.clone();
        // The daemon was off for three days; what was sold meanwhile comes at once.
        life.now = crate::clock::later(life.now, 3 * DAY);
        let old: Vec<Timestamp> = (1..400)
            .map(|n| crate::clock::earlier(life.now, n * STEP))
            .collect();
        life.rhythm.look(life.now, &old, &berlin());
        let mut looked = life.rhythm.clone();
        looked.look(crate::clock::later(life.now, STEP), &[], &berlin());
        assert_eq!(looked.rate, before);
        // A clock that was set back does no harm.
        let earlier = crate::clock::earlier(life.now, 30 * DAY);
        life.rhythm.look(earlier, &[], &berlin());
        assert_eq!(life.rhythm.rate, before);
    }

    #[test]
    fn it_is_written_down_at_most_once_a_minute() {
        let start: Timestamp = "2026-11-22T10:05:00Z".parse().unwrap();
        let mut rhythm = Rhythm::new(start);
        let zone = TimeZone::UTC;
        let at = |secs| crate::clock::later(start, Duration::from_secs(secs));
        assert!(!rhythm.look(at(1), &[], &zone));
        assert!(rhythm.look(at(2), &[at(2)], &zone));
        assert!(!rhythm.look(at(30), &[at(30)], &zone));
        assert!(rhythm.look(at(63), &[at(63)], &zone));
        assert!(rhythm.look(at(3600), &[], &zone), "another hour");
    }
}
