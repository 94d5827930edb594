//! The index over the outbox: what may be sent next. In memory only; rebuilt from the rows at start.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::parked::Parked;
use super::slot::{NEVER, Slot, Thing, moment, nanos};
use super::{OutboxRow, State, Waiting, lane};
use crate::connector::Operation;
use crate::fault::Effect;
use crate::id::{ConnectionName, EntityId, Key};
use crate::record::{Lane, Record, Stream};

/// What the index knows of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its sink.
    pub sink: ConnectionName,
    /// Its stream there.
    pub stream: Stream,
    /// The thing with which it keeps order.
    pub line: EntityId,
    /// Its lane.
    pub lane: Lane,
    /// When its turn comes; `None` while it waits for something else than time.
    pub due: Option<Timestamp>,
    /// The thing it waits for, and since when.
    pub waits_on: Option<(EntityId, Timestamp)>,
    /// Of the things of one group only one is created at a time: two at once would create two groups.
    pub group: Option<Key>,
    /// It is under way, or nobody knows what became of it: no other of its group may begin.
    pub holds_group: bool,
    /// How many bytes its record takes, about.
    pub bytes: u64,
    /// Goods of a shipment of which nobody knows yet whether its sink has been told.
    pub on_the_way: Vec<(Key, Decimal)>,
    /// If it was, then by an earlier life whose store was lost.
    pub perhaps: bool,
    /// It need not stand in memory before its turn is near.
    pub parked: bool,
}

impl Entry {
    /// What the index needs of a row.
    pub fn of(row: &OutboxRow) -> Self {
        let (due, waits_on) = match &row.state {
            State::Pending { due } | State::Uncertain { due } | State::Submitted { due, .. } => {
                (Some(*due), None)
            }
            State::Waiting { on, since } => (None, Some((on.clone(), *since))),
            State::InFlight { .. } | State::Quarantined { .. } => (None, None),
        };
        Self {
            sink: row.sink.clone(),
            stream: row.stream,
            line: row.line.clone(),
            lane: lane(row.stream, row.operation),
            due,
            waits_on,
            group: row.group.clone(),
            holds_group: matches!(row.state, State::InFlight { .. } | State::Uncertain { .. }),
            bytes: row.record.text().len() as u64,
            on_the_way: on_the_way(row),
            perhaps: matches!(row.state, State::Pending { .. }),
            parked: row.parked && is_untouched(row),
        }
    }
}

/// Whether nothing of a row was sent so far, and nothing but its turn is waited for.
fn is_untouched(row: &OutboxRow) -> bool {
    matches!(row.state, State::Pending { .. }) && row.attempts == 0 && row.captured.is_empty()
}

/// The goods of a new shipment that is being told, or was told without an answer, or perhaps by an earlier life.
fn on_the_way(row: &OutboxRow) -> Vec<(Key, Decimal)> {
    if row.stream != Stream::Shipments || row.operation != Operation::Create {
        return Vec::new();
    }
    let Ok(Record::Shipment(shipment)) = row.record.read(row.stream) else {
        return Vec::new();
    };
    let unanswered = match &row.state {
        State::InFlight { .. } | State::Uncertain { .. } | State::Submitted { .. } => true,
        State::Quarantined { .. } => {
            let fault = row.last_fault.as_ref();
            fault.is_some_and(|fault| fault.effect == Effect::Unknown)
        }
        State::Pending { .. } => row.is_of_before,
        // Its order is not known at the sink: nothing is added to the number there for it.
        State::Waiting { .. } => false,
    };
    let lines = shipment.lines.iter().filter(|_| unanswered);
    lines
        .map(|line| (Key::new(line.sku.as_str()), line.quantity.0))
        .collect()
}

pub(super) type Target = (ConnectionName, Stream);

/// The rows that are not settled, in the orders in which they are asked for.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<u64, Slot>,
    /// What the slots' numbers of targets mean.
    targets: Vec<Target>,
    /// By sink and thing (as numbers, that two may share), in order: only the first of a thing may be sent.
    by_thing: BTreeSet<(u64, u64)>,
    /// Heads that wait only for time, most urgent lane and earliest due first.
    ready: BTreeMap<Target, BTreeSet<(Lane, i64, u64)>>,
    waiting: BTreeMap<EntityId, BTreeSet<u64>>,
    /// Rows that hold their group.
    held: BTreeMap<(ConnectionName, Key), BTreeSet<u64>>,
    sizes: BTreeMap<Target, usize>,
    bytes: u64,
    /// Rows of each sink with goods on the way.
    on_the_way: BTreeMap<ConnectionName, BTreeSet<u64>>,
    parked: Parked,
}

impl Queue {
    /// Sets what is known of a row.
    pub fn put(&mut self, seq: u64, entry: Entry) {
        self.remove(seq);
        let target = (entry.sink.clone(), entry.stream);
        let slot = Slot::of(&entry, self.number_of(&target));
        let hashed = slot.thing.hashed(entry.sink.as_str());
        if let Some((on, _)) = entry.waits_on {
            self.waiting.entry(on).or_default().insert(seq);
        }
        if let (Some(group), true) = (entry.group, entry.holds_group) {
            let group = (entry.sink.clone(), group);
            self.held.entry(group).or_default().insert(seq);
        }
        *self.sizes.entry(target).or_default() += 1;
        self.bytes += u64::from(slot.bytes);
        if !entry.on_the_way.is_empty() {
            let rows = self.on_the_way.entry(entry.sink.clone()).or_default();
            rows.insert(seq);
        }
        self.unready_head(&entry.sink, &slot.thing);
        let thing = slot.thing.clone();
        self.entries.insert(seq, slot);
        self.by_thing.insert((hashed, seq));
        self.ready_head(&entry.sink, &thing);
    }

    /// Whether a new row of a target, of which so many may stand in memory, is to be parked. As long as any is, so that
    /// none goes before those that came earlier.
    pub fn is_full(&self, target: &Target, most: usize) -> bool {
        self.has_parked(target) || self.size_of(target) >= most
    }

    /// Counts a new row that stands in the store alone.
    pub fn park(&mut self, seq: u64, target: &Target, bytes: u64) {
        self.parked.add(target, seq);
        *self.sizes.entry(target.clone()).or_default() += 1;
        self.bytes += counted(bytes);
    }

    /// Takes a parked row, as it was parked, into memory. One that is there already stays as it is.
    pub fn fetch(&mut self, seq: u64, entry: Entry) {
        if self.contains(seq) {
            return;
        }
        let target = (entry.sink.clone(), entry.stream);
        self.parked.take(&target);
        if let Some(size) = self.sizes.get_mut(&target) {
            *size -= 1;
        }
        self.bytes -= counted(entry.bytes);
        self.put(seq, entry);
    }

    /// Whether any row of a target is parked.
    pub fn has_parked(&self, target: &Target) -> bool {
        self.parked.count(target) > 0
    }

    /// A target with parked rows of which fewer than `enough` in memory may be sent now, and where the parked ones
    /// begin.
    pub fn short(&self, now: Timestamp, enough: usize) -> Option<(Target, u64)> {
        let mut all = self.parked.all();
        let is_short = |target: &Target| {
            let ready = self.ready.get(target);
            let due = ready.into_iter().flat_map(|ready| {
                let lanes = Lane::ALL.into_iter();
                lanes.flat_map(move |lane| ready.range(up_to(lane, now)))
            });
            due.take(enough).count() < enough
        };
        let (target, first) = all.find(|(target, _)| is_short(target))?;
        Some((target.clone(), first))
    }

    /// Every parked row of a target before this one was fetched; all of them were where absent. Answers how many were
    /// counted and are not there.
    pub fn passed(&mut self, target: &Target, first: Option<u64>) -> usize {
        let Some(first) = first else {
            let missing = self.parked.end(target);
            if let Some(size) = self.sizes.get_mut(target) {
                *size -= missing;
            }
            return missing;
        };
        self.parked.pass(target, first);
        0
    }

    /// Whether a row stands in memory.
    pub fn contains(&self, seq: u64) -> bool {
        self.entries.contains_key(&seq)
    }

    /// Forgets a settled row.
    pub fn remove(&mut self, seq: u64) {
        let Some(entry) = self.entries.get(&seq) else {
            return;
        };
        let (target, thing) = (self.target(entry), entry.thing.clone());
        self.unready_head(&target.0, &thing);
        let Some(entry) = self.entries.remove(&seq) else {
            return;
        };
        self.bytes -= u64::from(entry.bytes);
        self.by_thing
            .remove(&(thing.hashed(target.0.as_str()), seq));
        remove_from(&mut self.on_the_way, &target.0, seq);
        if let Some((on, _)) = entry.waits_on() {
            remove_from(&mut self.waiting, on, seq);
        }
        if let Some(group) = entry.group() {
            remove_from(&mut self.held, &(target.0.clone(), group.clone()), seq);
        }
        if let Some(size) = self.sizes.get_mut(&target) {
            *size -= 1;
        }
        self.ready_head(&target.0, &thing);
    }

    /// The number of a target. There are as many as the configuration has ways to sinks.
    fn number_of(&mut self, target: &Target) -> u32 {
        let known = self.targets.iter().position(|known| known == target);
        let at = known.unwrap_or_else(|| {
            self.targets.push(target.clone());
            self.targets.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn target(&self, slot: &Slot) -> Target {
        self.targets[slot.target as usize].clone()
    }

    fn sink(&self, slot: &Slot) -> &ConnectionName {
        &self.targets[slot.target as usize].0
    }

    /// How many bytes the records of all rows take, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows that may be sent now, most urgent first, at most `limit`.
    pub fn due(&self, target: &Target, now: Timestamp, limit: usize) -> Vec<u64> {
        let Some(ready) = self.ready.get(target) else {
            return Vec::new();
        };
        let mut due = Vec::new();
        let mut groups = BTreeSet::new();
        for lane in Lane::ALL {
            for (_, _, seq) in ready.range(up_to(lane, now)) {
                if due.len() >= limit {
                    return due;
                }
                let group = self.entries.get(seq).and_then(Slot::group);
                if self.is_free(*seq) && group.is_none_or(|group| groups.insert(group)) {
                    due.push(*seq);
                }
            }
        }
        due
    }

    /// Whether no other row of its group is under way.
    fn is_free(&self, seq: u64) -> bool {
        let Some(entry) = self.entries.get(&seq) else {
            return false;
        };
        let Some(group) = entry.group() else {
            return true;
        };
        let holders = self.held.get(&(self.sink(entry).clone(), group.clone()));
        holders.is_none_or(|holders| holders.contains(&seq))
    }

    /// When the next row of this target is due, however far in the future.
    pub fn next_due(&self, target: &Target) -> Option<Timestamp> {
        let ready = self.ready.get(target)?;
        let due = Lane::ALL.into_iter().filter_map(|lane| {
            let range = (lane, i64::MIN, 0)..=(lane, i64::MAX, u64::MAX);
            let mut free = ready.range(range).filter(|(_, _, seq)| self.is_free(*seq));
            free.next().map(|(_, due, _)| *due)
        });
        due.min().map(moment)
    }

    /// The rows of one sink that keep order with this thing, in order.
    pub fn of_line<'a>(
        &'a self,
        sink: &ConnectionName,
        line: &EntityId,
    ) -> impl Iterator<Item = u64> + use<'a> {
        self.rows_of(sink.clone(), Thing::of(line))
    }

    fn rows_of(&self, sink: ConnectionName, thing: Thing) -> impl Iterator<Item = u64> + use<'_> {
        let hashed = thing.hashed(sink.as_str());
        let rows = self.by_thing.range((hashed, 0)..=(hashed, u64::MAX));
        rows.map(|(_, seq)| *seq).filter(move |seq| {
            let slot = self.entries.get(seq);
            slot.is_some_and(|slot| slot.thing == thing && *self.sink(slot) == sink)
        })
    }

    /// The rows that wait for this thing.
    pub fn waiting_on(&self, entity: &EntityId) -> Vec<u64> {
        self.waiting
            .get(entity)
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// A row is not to be sent, for as long as nothing else is said of it.
    pub fn hold(&mut self, seq: u64) {
        if let Some(entry) = self.get(seq) {
            self.put(seq, Entry { due: None, ..entry });
        }
    }

    /// How many rows there are for one stream of a sink.
    pub fn size_of(&self, target: &Target) -> usize {
        self.sizes.get(target).copied().unwrap_or(0)
    }

    /// A row.
    pub fn get(&self, seq: u64) -> Option<Entry> {
        let slot = self.entries.get(&seq)?;
        let (sink, stream) = self.target(slot);
        let extra = slot.extra.as_ref();
        Some(Entry {
            sink,
            stream,
            line: slot.thing.id(),
            lane: slot.lane,
            due: (slot.due != NEVER).then(|| moment(slot.due)),
            waits_on: slot.waits_on().cloned(),
            group: slot.group().cloned(),
            holds_group: extra.is_some_and(|extra| extra.holds_group),
            bytes: u64::from(slot.bytes),
            on_the_way: slot.on_the_way().to_vec(),
            perhaps: extra.is_none_or(|extra| extra.perhaps),
            parked: false,
        })
    }

    /// Since when the first of the rows of each target that wait for a thing does, and how many do.
    pub fn waiting(&self) -> BTreeMap<Target, Waiting> {
        let mut found: BTreeMap<Target, Waiting> = BTreeMap::new();
        for seq in self.waiting.values().flatten() {
            let Some(slot) = self.entries.get(seq) else {
                continue;
            };
            let Some((_, since)) = slot.waits_on() else {
                continue;
            };
            let none = Waiting {
                count: 0,
                oldest: *since,
            };
            let waiting = found.entry(self.target(slot)).or_insert(none);
            waiting.count += 1;
            waiting.oldest = waiting.oldest.min(*since);
        }
        found
    }

    /// What shipments take of which a sink may have been told, by SKU: it may have lowered its own
    /// number by so many. With those that `perhaps` an earlier life told, or without.
    pub fn on_the_way(&self, sink: &ConnectionName, perhaps: bool) -> BTreeMap<Key, Decimal> {
        let mut goods = BTreeMap::new();
        let rows = self.on_the_way.get(sink).into_iter().flatten();
        let rows = rows.filter_map(|seq| self.entries.get(seq));
        let rows = rows.filter(|slot| perhaps || slot.extra.as_ref().is_some_and(|it| !it.perhaps));
        for (sku, quantity) in rows.flat_map(Slot::on_the_way) {
            *goods.entry(sku.clone()).or_default() += quantity;
        }
        goods
    }

    /// The oldest row of each target that waits for nothing but its turn.
    pub fn oldest(&self) -> BTreeMap<Target, u64> {
        let ready = self.ready.iter();
        let oldest = ready.filter_map(|(target, rows)| {
            let seq = rows.iter().map(|(_, _, seq)| *seq).min()?;
            Some((target.clone(), seq))
        });
        oldest.collect()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.entries.len() + self.parked.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place of the first row of a thing at a sink among those that wait only for time.
    fn head(&self, sink: &ConnectionName, thing: &Thing) -> Option<(Target, (Lane, i64, u64))> {
        let seq = self.rows_of(sink.clone(), thing.clone()).next()?;
        let slot = self.entries.get(&seq).filter(|slot| slot.due != NEVER)?;
        Some((self.target(slot), (slot.lane, slot.due, seq)))
    }

    fn unready_head(&mut self, sink: &ConnectionName, thing: &Thing) {
        let Some((target, place)) = self.head(sink, thing) else {
            return;
        };
        if let Some(ready) = self.ready.get_mut(&target) {
            ready.remove(&place);
            if ready.is_empty() {
                self.ready.remove(&target);
            }
        }
    }

    fn ready_head(&mut self, sink: &ConnectionName, thing: &Thing) {
        if let Some((target, place)) = self.head(sink, thing) {
            self.ready.entry(target).or_default().insert(place);
        }
    }
}

/// The turns of a lane that have come.
fn up_to(lane: Lane, now: Timestamp) -> RangeInclusive<(Lane, i64, u64)> {
    (lane, i64::MIN, 0)..=(lane, nanos(now), u64::MAX)
}

/// So many bytes as a slot counts.
fn counted(bytes: u64) -> u64 {
    bytes.min(u64::from(u32::MAX))
}

fn remove_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, seq: u64) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&seq);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
