//! The index over state that is not published yet. In memory only; rebuilt from the cells at start.
//!
//! Nearly all keys that differ may be written at once (or are only shown): they stand in packed sets, so that a
//! first load of a million SKUs stays small. What is being written, waits or is stopped are few, and a row each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::keys::KeySet;
use crate::id::{ConnectionName, EntityId, Key};
use crate::record::{Lane, Stream};

type Target = (ConnectionName, Stream);

/// When a key that differs may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// Not before.
    At(Timestamp),
    /// Not before, like many others: they are kept as a set.
    Together(Timestamp),
    /// Not while it is being written, or is stopped.
    Held,
    /// Never: it is only shown.
    Observed,
}

/// What is known of a key from now on: it differs, or (absent) it is published.
pub type Difference = (Key, Option<(Lane, When)>);

/// The keys of each sink whose published value differs from the desired one.
#[derive(Debug, Default)]
pub struct Differences {
    targets: BTreeMap<Target, Pending>,
}

/// Each key stands in one place of `ready`, `together`, `observed` and `single`.
#[derive(Debug, Default)]
struct Pending {
    ready: BTreeMap<Lane, Ready>,
    /// Those that may be written at one moment.
    together: BTreeMap<(Lane, Timestamp), KeySet>,
    observed: KeySet,
    /// The lane, and when it may be written if it may.
    single: HashMap<Key, (Lane, Option<Timestamp>)>,
    /// Those of them that may be, at some time.
    timed: BTreeSet<(Lane, Timestamp, Key)>,
    /// Keys that wait for a thing to exist over there, with since when.
    waiting: BTreeMap<Key, (EntityId, Timestamp)>,
    /// The same, by that thing.
    waiting_on: BTreeMap<EntityId, BTreeSet<Key>>,
}

/// Keys of one lane that may be written at once. They are taken in the order of keys, because neighbours are
/// cheap together, and round and round, so that none waits for ever.
#[derive(Debug, Default)]
struct Ready {
    keys: KeySet,
    last: Option<Key>,
}

/// Keys of one target that wait for things to exist over there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub count: usize,
    /// Since when the first of them waits.
    pub oldest: Timestamp,
}

impl Differences {
    /// Sets when a key may be written.
    pub fn put(&mut self, target: &Target, key: &Key, lane: Lane, when: When) {
        self.put_all(target, &[(key.clone(), Some((lane, when)))]);
    }

    /// The key is published.
    pub fn remove(&mut self, target: &Target, key: &Key) {
        self.put_all(target, &[(key.clone(), None)]);
    }

    /// The same for many keys, in ascending order.
    pub fn put_all(&mut self, target: &Target, changes: &[Difference]) {
        let pending = self.targets.entry(target.clone()).or_default();
        pending.put(changes);
        if pending.len() == 0 {
            self.targets.remove(target);
        }
    }

    /// These keys are being written, in the order in which [`Differences::due`] named them.
    pub fn take(&mut self, target: &Target, keys: &[(Key, Lane)]) {
        let Some(pending) = self.targets.get_mut(target) else {
            return;
        };
        for lane in Lane::ALL {
            let last = keys.iter().rev().find(|(_, of)| *of == lane);
            if let (Some((key, _)), Some(ready)) = (last, pending.ready.get_mut(&lane)) {
                ready.last = Some(key.clone());
            }
        }
        let held = keys
            .iter()
            .map(|(key, lane)| (key.clone(), Some((*lane, When::Held))));
        let mut held: Vec<Difference> = held.collect();
        held.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        pending.put(&held);
    }

    /// The key waits for a thing to exist over there: no attempt, woken by [`Differences::wake`].
    pub fn wait(
        &mut self,
        target: &Target,
        key: &Key,
        lane: Lane,
        (on, since): (EntityId, Timestamp),
    ) {
        self.put(target, key, lane, When::Held);
        let pending = self.targets.entry(target.clone()).or_default();
        let waiting = pending.waiting_on.entry(on.clone()).or_default();
        waiting.insert(key.clone());
        pending.waiting.insert(key.clone(), (on, since));
    }

    /// What waits for this thing may be written now.
    pub fn wake(&mut self, target: &Target, on: &EntityId) {
        let Some(pending) = self.targets.get_mut(target) else {
            return;
        };
        let woken = pending.waiting_on.get(on).cloned().unwrap_or_default();
        let held = woken
            .into_iter()
            .filter_map(|key| match pending.single.get(&key) {
                Some((lane, None)) => Some((key, Some((*lane, When::Now)))),
                _ => None,
            });
        let held: Vec<Difference> = held.collect();
        pending.put(&held);
    }

    /// What waits for things to exist, by target.
    pub fn waiting(&self) -> impl Iterator<Item = (&Target, Waiting)> {
        self.targets.iter().filter_map(|(target, pending)| {
            let oldest = pending.waiting.values().map(|(_, since)| *since).min()?;
            let count = pending.waiting.len();
            Some((target, Waiting { count, oldest }))
        })
    }

    /// For which thing a key waits, and since when.
    pub fn waits_for(&self, target: &Target, key: &Key) -> Option<(&EntityId, Timestamp)> {
        let (on, since) = self.targets.get(target)?.waiting.get(key)?;
        Some((on, *since))
    }

    /// The key is not to be written, for as long as nothing else is said of it.
    pub fn hold(&mut self, target: &Target, key: &Key) {
        let lane = self.targets.get(target).and_then(|it| it.lane_of(key));
        if let Some(lane) = lane {
            self.put(target, key, lane, When::Held);
        }
    }

    /// Whether the key is not published yet.
    pub fn has(&self, target: &Target, key: &Key) -> bool {
        let pending = self.targets.get(target);
        pending.is_some_and(|it| it.lane_of(key).is_some() || it.observed.contains(key.as_str()))
    }

    /// The keys that may be written now, most urgent first, at most `limit`.
    pub fn due(&self, target: &Target, now: Timestamp, limit: usize) -> Vec<(Key, Lane)> {
        let Some(pending) = self.targets.get(target) else {
            return Vec::new();
        };
        let mut due = Vec::new();
        for lane in Lane::ALL {
            let begin = (lane, Timestamp::MIN, Key::from(""));
            let timed = pending.timed.range(begin..);
            let timed = timed.take_while(|(of, due, _)| *of == lane && *due <= now);
            let timed = timed.map(|(_, _, key)| key.clone());
            let together = pending.together.range((lane, Timestamp::MIN)..=(lane, now));
            let together = together.flat_map(|(_, keys)| keys.behind(None));
            let ready = pending.ready.get(&lane).into_iter().flat_map(Ready::round);
            let left = limit - due.len();
            due.extend(
                timed
                    .chain(ready)
                    .chain(together)
                    .take(left)
                    .map(|key| (key, lane)),
            );
        }
        due
    }

    /// When the next key of this target is due; long ago, if at once.
    pub fn next_due(&self, target: &Target) -> Option<Timestamp> {
        let pending = self.targets.get(target)?;
        if pending.ready.values().any(|ready| !ready.keys.is_empty()) {
            return Some(Timestamp::UNIX_EPOCH);
        }
        let timed = pending.timed.iter().map(|(_, due, _)| *due);
        let together = pending.together.keys().map(|(_, due)| *due);
        timed.chain(together).min()
    }

    /// How many keys of this target are not published yet.
    pub fn len(&self, target: &Target) -> usize {
        self.targets.get(target).map_or(0, Pending::len)
    }

    /// Whether everything is published.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The targets with differences.
    pub fn targets(&self) -> impl Iterator<Item = (&Target, usize)> {
        self.targets.iter().map(|(target, it)| (target, it.len()))
    }
}

impl Ready {
    /// All of them, from behind the last one taken and round.
    fn round(&self) -> impl Iterator<Item = Key> + '_ {
        let last = self.last.as_ref().map(Key::as_str);
        let behind = self.keys.behind(last);
        let before = last.map(|last| {
            let all = self.keys.behind(None);
            all.take_while(move |key| key.as_str() <= last)
        });
        behind.chain(before.into_iter().flatten())
    }
}

impl Pending {
    fn len(&self) -> usize {
        let ready: usize = self.ready.values().map(|ready| ready.keys.len()).sum();
        let together: usize = self.together.values().map(KeySet::len).sum();
        ready + together + self.observed.len() + self.single.len()
    }

    fn lane_of(&self, key: &Key) -> Option<Lane> {
        if let Some((lane, _)) = self.single.get(key) {
            return Some(*lane);
        }
        let ready = self.ready.iter().map(|(lane, it)| (*lane, &it.keys));
        let together = self.together.iter().map(|((lane, _), it)| (*lane, it));
        let mut all = ready.chain(together);
        let found = all.find(|(_, keys)| keys.contains(key.as_str()));
        found.map(|(lane, _)| lane)
    }

    fn put(&mut self, changes: &[Difference]) {
        // What stood alone stands in none of the sets.
        let was_single: Vec<bool> = changes.iter().map(|(key, _)| self.leave(key)).collect();
        for (_, to) in changes {
            match to {
                Some((lane, When::Now)) => {
                    self.ready.entry(*lane).or_default();
                }
                Some((lane, When::Together(due))) => {
                    self.together.entry((*lane, *due)).or_default();
                }
                _ => {}
            }
        }
        for (lane, ready) in &mut self.ready {
            change(&mut ready.keys, changes, &was_single, |to| {
                to == (*lane, When::Now)
            });
        }
        for ((lane, due), keys) in &mut self.together {
            change(keys, changes, &was_single, |to| {
                to == (*lane, When::Together(*due))
            });
        }
        self.together.retain(|_, keys| !keys.is_empty());
        change(&mut self.observed, changes, &was_single, |(_, when)| {
            when == When::Observed
        });
        for (key, to) in changes {
            match to {
                Some((lane, When::At(due))) => {
                    self.single.insert(key.clone(), (*lane, Some(*due)));
                    self.timed.insert((*lane, *due, key.clone()));
                }
                Some((lane, When::Held)) => {
                    self.single.insert(key.clone(), (*lane, None));
                }
                Some((_, When::Now | When::Together(_) | When::Observed)) | None => {}
            }
        }
    }

    /// Forgets what is known of a key alone; whether anything was.
    fn leave(&mut self, key: &Key) -> bool {
        if self.single.is_empty() {
            return false;
        }
        let Some((lane, due)) = self.single.remove(key) else {
            return false;
        };
        if let Some(due) = due {
            self.timed.remove(&(lane, due, key.clone()));
        }
        self.stop_waiting(key);
        true
    }

    fn stop_waiting(&mut self, key: &Key) {
        let Some((on, _)) = self.waiting.remove(key) else {
            return;
        };
        if let Some(keys) = self.waiting_on.get_mut(&on) {
            keys.remove(key);
            if keys.is_empty() {
                self.waiting_on.remove(&on);
            }
        }
    }
}

/// Takes into a set what belongs there now and out of it what does not any more.
fn change(
    keys: &mut KeySet,
    changes: &[Difference],
    was_single: &[bool],
    belongs: impl Fn((Lane, When)) -> bool,
) {
    let may_hold = !keys.is_empty();
    let changes = changes.iter().zip(was_single);
    let here = changes.filter_map(|((key, to), was_single)| {
        let belongs = to.is_some_and(&belongs);
        let concerns = belongs || (may_hold && !was_single);
        concerns.then(|| (key.as_str(), belongs))
    });
    keys.change(here);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_stock_goes_first_and_a_held_key_waits() {
        let target = ("north".into(), Stream::Stock);
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let mut differences = Differences::default();
        differences.put(&target, &"A".into(), Lane::StockUp, When::Now);
        differences.put(&target, &"B".into(), Lane::StockDown, When::At(at(5)));
        let keys = |differences: &Differences, now| -> Vec<String> {
            let due = differences.due(&target, at(now), 9);
            due.into_iter().map(|(key, _)| key.to_string()).collect()
        };
        assert_eq!(keys(&differences, 9), ["B", "A"]);
        assert_eq!(keys(&differences, 1), ["A"]);
        assert_eq!(differences.len(&target), 2);
        assert!(!differences.is_empty());
        assert_eq!(differences.next_due(&target), Some(Timestamp::UNIX_EPOCH));
        differences.hold(&target, &"A".into());
        assert_eq!(differences.next_due(&target), Some(at(5)));
        assert!(differences.has(&target, &"A".into()));
        assert_eq!(keys(&differences, 9), ["B"]);
        differences.remove(&target, &"A".into());
        differences.remove(&target, &"B".into());
        assert!(differences.is_empty());
    }

    /// What a sink takes at a time is counted over all lanes.
    #[test]
    fn no_more_is_due_than_was_asked_for() {
        let target = ("north".into(), Stream::Stock);
        let mut differences = Differences::default();
        for (key, lane) in [
            ("A", Lane::StockDown),
            ("B", Lane::StockUp),
            ("C", Lane::StockUp),
        ] {
            differences.put(&target, &key.into(), lane, When::Now);
        }
        let due = differences.due(&target, Timestamp::UNIX_EPOCH, 2);
        assert_eq!(
            due,
            [("A".into(), Lane::StockDown), ("B".into(), Lane::StockUp)]
        );
    }

    #[test]
    fn what_waits_for_a_thing_is_woken_by_it() {
        let target = ("north".into(), Stream::Stock);
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let mut differences = Differences::default();
        for key in ["A", "B"] {
            let on = (EntityId::from(key), at(0));
            differences.wait(&target, &key.into(), Lane::StockDown, on);
        }
        assert!(differences.due(&target, at(99), 9).is_empty());
        assert_eq!(differences.waiting().next().unwrap().1.count, 2);
        differences.wake(&target, &"A".into());
        assert_eq!(
            differences.due(&target, at(0), 9),
            [("A".into(), Lane::StockDown)]
        );
        assert_eq!(differences.waiting().next().unwrap().1.count, 1);
        assert!(differences.waits_for(&target, &"A".into()).is_none());
        assert!(differences.waits_for(&target, &"B".into()).is_some());
        differences.remove(&target, &"B".into());
        assert_eq!(differences.waiting().count(), 0);
    }

    /// A sink that is slower than the changes still hears of every key.
    #[test]
    fn ready_keys_are_taken_round_and_round() {
        let target = ("north".into(), Stream::Stock);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut differences = Differences::default();
        let keys: Vec<Key> = ["A", "B", "C", "D", "E"].map(Key::from).into();
        let mut told = Vec::new();
        for _ in 0..4 {
            // Everything differs again before the next claim.
            let all = keys
                .iter()
                .map(|key| (key.clone(), Some((Lane::StockUp, When::Now))));
            differences.put_all(&target, &all.collect::<Vec<_>>());
            let due = differences.due(&target, now, 2);
            differences.take(&target, &due);
            told.extend(due.iter().map(|(key, _)| key.to_string()));
            let mut done: Vec<Difference> = due.into_iter().map(|(key, _)| (key, None)).collect();
            done.sort_by(|(a, _), (b, _)| a.cmp(b));
            differences.put_all(&target, &done);
        }
        assert_eq!(told.concat(), "ABCDEABC");
    }

    #[test]
    fn a_key_stands_in_one_place() {
        let target = ("north".into(), Stream::Stock);
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let mut differences = Differences::default();
        let key = Key::from("A");
        let together = When::Together(at(5));
        let whens = [
            When::Now,
            When::At(at(5)),
            together,
            When::Observed,
            When::Held,
        ];
        for first in whens {
            for then in whens {
                for (lane, when) in [(Lane::StockUp, first), (Lane::StockDown, then)] {
                    differences.put(&target, &key, lane, when);
                    assert_eq!(differences.len(&target), 1, "{first:?} {then:?}");
                }
                let due = differences.due(&target, at(9), 9);
                let goes = !matches!(then, When::Observed | When::Held);
                assert_eq!(due.len(), usize::from(goes), "{first:?} {then:?}");
                let early = differences.due(&target, at(4), 9).len();
                assert_eq!(early, usize::from(then == When::Now), "{first:?} {then:?}");
                assert!(due.iter().all(|(_, lane)| *lane == Lane::StockDown));
                differences.remove(&target, &key);
                assert!(differences.is_empty(), "{first:?} {then:?}");
            }
        }
    }
}
