//! The index over state that is not published yet. In memory only; rebuilt from the cells at start.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::id::{ConnectionName, EntityId, Key};
use crate::record::{Lane, Stream};

type Target = (ConnectionName, Stream);

/// The keys of each sink whose published value differs from the desired one.
#[derive(Debug, Default)]
pub struct Differences {
    targets: BTreeMap<Target, Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    keys: BTreeMap<Key, (Lane, Option<Timestamp>)>,
    ready: BTreeSet<(Lane, Timestamp, Key)>,
    /// Keys that wait for a thing to exist over there, with since when.
    waiting: BTreeMap<Key, (EntityId, Timestamp)>,
    /// The same, by that thing.
    waiting_on: BTreeMap<EntityId, BTreeSet<Key>>,
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
    /// Sets when a key may be written; `due` is `None` while it is in flight or stopped.
    pub fn put(&mut self, target: &Target, key: &Key, lane: Lane, due: Option<Timestamp>) {
        let pending = self.targets.entry(target.clone()).or_default();
        if let Some((lane, Some(due))) = pending.keys.insert(key.clone(), (lane, due)) {
            pending.ready.remove(&(lane, due, key.clone()));
        }
        pending.stop_waiting(key);
        if let Some(due) = due {
            pending.ready.insert((lane, due, key.clone()));
        }
    }

    /// The key waits for a thing to exist over there: no attempt, woken by [`Differences::wake`].
    pub fn wait(
        &mut self,
        target: &Target,
        key: &Key,
        lane: Lane,
        (on, since): (EntityId, Timestamp),
    ) {
        self.put(target, key, lane, None);
        let pending = self.targets.entry(target.clone()).or_default();
        let waiting = pending.waiting_on.entry(on.clone()).or_default();
        waiting.insert(key.clone());
        pending.waiting.insert(key.clone(), (on, since));
    }

    /// What waits for this thing may be written now.
    pub fn wake(&mut self, target: &Target, on: &EntityId, now: Timestamp) {
        let woken = self.targets.get_mut(target);
        let woken = woken.and_then(|pending| pending.waiting_on.get(on).cloned());
        for key in woken.unwrap_or_default() {
            let pending = self.targets.get(target);
            let lane = pending.and_then(|pending| pending.keys.get(&key));
            if let Some((lane, None)) = lane {
                self.put(target, &key, *lane, Some(now));
            }
        }
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

    /// The key is published.
    pub fn remove(&mut self, target: &Target, key: &Key) {
        let Some(pending) = self.targets.get_mut(target) else {
            return;
        };
        if let Some((lane, Some(due))) = pending.keys.remove(key) {
            pending.ready.remove(&(lane, due, key.clone()));
        }
        pending.stop_waiting(key);
        if pending.keys.is_empty() {
            self.targets.remove(target);
        }
    }

    /// The key is not to be written, for as long as nothing else is said of it.
    pub fn hold(&mut self, target: &Target, key: &Key) {
        let known = self.targets.get(target);
        let lane = known.and_then(|pending| pending.keys.get(key).map(|(lane, _)| *lane));
        if let Some(lane) = lane {
            self.put(target, key, lane, None);
        }
    }

    /// Whether the key is not published yet.
    pub fn has(&self, target: &Target, key: &Key) -> bool {
        let pending = self.targets.get(target);
        pending.is_some_and(|pending| pending.keys.contains_key(key))
    }

    /// Whether the key is being written or stopped.
    pub fn is_held(&self, target: &Target, key: &Key) -> bool {
        let pending = self.targets.get(target);
        pending
            .and_then(|pending| pending.keys.get(key))
            .is_some_and(|(_, due)| due.is_none())
    }

    /// The keys that may be written now, most urgent first, at most `limit`.
    pub fn due(&self, target: &Target, now: Timestamp, limit: usize) -> Vec<(Key, Lane)> {
        let Some(pending) = self.targets.get(target) else {
            return Vec::new();
        };
        let may_go = pending.ready.iter().filter(|(_, due, _)| *due <= now);
        may_go
            .map(|(lane, _, key)| (key.clone(), *lane))
            .take(limit)
            .collect()
    }

    /// When the next key of this target is due.
    pub fn next_due(&self, target: &Target) -> Option<Timestamp> {
        self.targets
            .get(target)?
            .ready
            .iter()
            .map(|(_, due, _)| *due)
            .min()
    }

    /// How many keys of this target are not published yet.
    pub fn len(&self, target: &Target) -> usize {
        self.targets
            .get(target)
            .map_or(0, |pending| pending.keys.len())
    }

    /// Whether everything is published.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The targets with differences.
    pub fn targets(&self) -> impl Iterator<Item = (&Target, usize)> {
        self.targets
            .iter()
            .map(|(target, pending)| (target, pending.keys.len()))
    }
}

impl Pending {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_stock_goes_first_and_a_held_key_waits() {
        let target = ("north".into(), Stream::Stock);
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let mut differences = Differences::default();
        differences.put(&target, &"A".into(), Lane::StockUp, Some(at(0)));
        differences.put(&target, &"B".into(), Lane::StockDown, Some(at(5)));
        let keys = |differences: &Differences, now| -> Vec<String> {
            let due = differences.due(&target, at(now), 9);
            due.into_iter().map(|(key, _)| key.to_string()).collect()
        };
        assert_eq!(keys(&differences, 9), ["B", "A"]);
        assert_eq!(keys(&differences, 1), ["A"]);
        assert_eq!(differences.next_due(&target), Some(at(0)));
        differences.put(&target, &"A".into(), Lane::StockUp, None);
        assert!(differences.is_held(&target, &"A".into()));
        assert_eq!(keys(&differences, 9), ["B"]);
        differences.remove(&target, &"A".into());
        differences.remove(&target, &"B".into());
        assert!(differences.is_empty());
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
        differences.wake(&target, &"A".into(), at(5));
        assert_eq!(differences.next_due(&target), Some(at(5)));
        assert_eq!(differences.waiting().next().unwrap().1.count, 1);
        assert!(differences.waits_for(&target, &"A".into()).is_none());
        assert!(differences.waits_for(&target, &"B".into()).is_some());
        differences.remove(&target, &"B".into());
        assert_eq!(differences.waiting().count(), 0);
    }
}
