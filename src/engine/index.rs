//! What the engine keeps in memory: indexes over the store's rows, rebuilt at start.

mod rebuild;

pub(super) use rebuild::entry_of;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::cell::{self, Target};
use super::rules::Rules;
use super::standing::{Groups, Standing};
use super::tables::Checkpoint;
use crate::alert::Rhythm;
use crate::clock::later;
use crate::id::{ConnectionName, EntityId, Key};
use crate::outbox::{
    Difference, Differences, Entry as QueueEntry, KeySet, OutboxRow, Queue, State, When,
};
use crate::record::{Lane, Stream};

/// How far a vendor's clock may be ahead of ours when it says that something happened before we started.
const CLOCK_MARGIN: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// For how long a number is held back because of a parcel that a store before this one may have told.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// What the index learns from a committed unit of work.
#[derive(Debug)]
pub(super) enum Update {
    /// An outbox row is like this now, or settled.
    Event(u64, Option<QueueEntry>),
    /// A new outbox row stands in the store alone, with so many bytes.
    Parked(u64, Target, u64),
    /// One of these is needed before its turn.
    Fetched(u64, QueueEntry),
    /// A key of a state stream differs and may be written then, or is published.
    Cell(Target, Key, Option<(Lane, When)>),
    /// The same of many keys of one target, in ascending order.
    Cells(Target, Vec<Difference>),
    /// Outbox rows are being sent by this process, each until the next [`Update::Event`] about it. The
    /// number is that of their intent, if there is one.
    Sending(Option<u64>, Vec<u64>, Timestamp),
    /// Cells are being written by this process.
    Taken(Target, Vec<(Key, Lane)>),
    /// They no longer are, whatever became of it.
    Settled(Target, Vec<Key>),
    /// A cell waits since then for a thing to exist over there.
    Waits(Target, Key, Lane, (EntityId, Timestamp)),
    /// A thing exists over there, or need not be waited for any more.
    Wake(ConnectionName, EntityId),
    /// A channel does not have the SKU of one more cell (1), or of one less (-1).
    Unlisted(Target, i64),
    /// The guard holds a cell, or no longer.
    Held(Target, Key, bool),
    /// So many cells were told for the first time.
    FirstTold(Target, u64),
    /// An item was taken off sale by somebody, or is on sale.
    Withdrawn(Key, Option<ConnectionName>),
    /// The channel changed the number itself while it was being written.
    CellShaken(Target, Key),
    /// The cells, in ascending order, were written by this process: what stands there is known.
    Known(Target, Vec<Key>),
    /// A row of the quarantine is there, or is gone.
    Quarantine(u64, Option<Standing>),
    /// When orders of a connection usually come.
    Rhythm(ConnectionName, Box<Rhythm>),
    /// These keys were named in the present run of a stream, in ascending order.
    Seen(Target, Vec<Key>),
    /// The run of a stream is over.
    RunOver(Target),
    /// A stream was looked at and there was nothing new; or its checkpoint is written.
    Looked(Target, Option<Checkpoint>),
    /// The SKU has reservations, or none any more.
    Reserved(Key, bool),
    /// So many things more, or fewer, of a stream are to be fetched by id.
    Hints(Target, i64),
}

/// Since when something holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    /// This process opened the store.
    pub opened: Timestamp,
    /// This store knows everything that was told.
    pub began: Timestamp,
    /// What was told and may be undone by something older waits to be told once more.
    pub doubted: Timestamp,
}

/// Indexes over the store's rows.
#[derive(Debug)]
pub(super) struct Index {
    /// When this process opened the store.
    pub opened_at: Timestamp,
    /// Since when this store knows everything that was told.
    pub began: Timestamp,
    /// The keys that the present run of a stream named, for what a complete run leaves out.
    pub seen: BTreeMap<Target, KeySet>,
    pub queue: Queue,
    pub cells: Differences,
    /// Events that are being sent by this process right now.
    pub sending: BTreeSet<u64>,
    /// Events that are being sent, or of which nobody knows what became of them: under which intent,
    /// and since when.
    intents: BTreeMap<u64, (u64, Timestamp)>,
    /// How many events each intent still holds.
    outstanding: BTreeMap<u64, usize>,
    /// Cells that are being written by this process right now.
    pub in_flight: Marked,
    /// Items that are not on sale any more, by who said so.
    pub withdrawn: BTreeMap<Key, ConnectionName>,
    /// How many keys of each target were ever told.
    told: BTreeMap<Target, u64>,
    /// Of how many cells that differ the channel does not have the SKU.
    unlisted: BTreeMap<Target, i64>,
    /// Those that the guard holds.
    held: BTreeMap<Target, BTreeSet<Key>>,
    /// Those of them of which nobody knows what stands there once they are written.
    pub shaken: Marked,
    /// Cells that differed when this process opened the store: one before may have been writing them and not
    /// lived to settle it. Empty when that one ended in order.
    doubtful: BTreeMap<Target, KeySet>,
    /// Checkpoints that say nothing but that somebody looked again since they were written.
    pub looked: BTreeMap<Target, Checkpoint>,
    reserved: KeySet,
    /// How many things of each stream are to be fetched by id.
    hints: BTreeMap<Target, usize>,
    quarantine: BTreeMap<u64, (String, String)>,
    quarantine_by_thing: BTreeMap<(String, String), u64>,
    groups: Groups,
    /// When orders usually come, by connection.
    pub rhythms: BTreeMap<ConnectionName, Rhythm>,
}

impl Index {
    /// Of how many keys of this target that differ the channel does not have the SKU.
    pub(super) fn unlisted(&self, target: &(ConnectionName, Stream)) -> usize {
        let count = self.unlisted.get(target).copied().unwrap_or(0);
        usize::try_from(count).unwrap_or(0)
    }

    /// Cells of which nobody knows what an earlier process had under way.
    pub(super) fn doubtful(&self, target: &Target) -> &KeySet {
        static NONE: KeySet = KeySet::new();
        self.doubtful.get(target).unwrap_or(&NONE)
    }

    /// An earlier process ended in order: it had nothing under way.
    pub(super) fn trust(&mut self) {
        self.doubtful.clear();
    }

    /// Whether nothing is being sent, and nothing that an earlier process sent can still arrive.
    pub(super) fn is_idle(&self, rules: &Rules, now: Timestamp) -> bool {
        let doubted = self.doubtful.iter().filter(|(_, keys)| !keys.is_empty());
        let mut late = doubted.map(|((sink, _), _)| rules.facts(sink).late);
        self.sending.is_empty()
            && self.in_flight.0.values().all(HashSet::is_empty)
            && late.all(|late| later(self.opened_at, late) <= now)
    }

    /// Whether an earlier life of the daemon may have known what happened then.
    pub(super) fn is_older_than_us(&self, happened: Timestamp) -> bool {
        happened <= later(self.opened_at, CLOCK_MARGIN)
    }

    /// Whether this store is so young that what a store before it told is still being looked for.
    pub(super) fn is_young(&self, now: Timestamp) -> bool {
        now <= later(self.began, YOUNG)
    }

    fn begin_intent(&mut self, number: Option<u64>, events: &[u64], since: Timestamp) {
        self.sending.extend(events);
        if let Some(number) = number {
            let intents = events.iter().map(|seq| (*seq, (number, since)));
            self.intents.extend(intents);
            self.outstanding.insert(number, events.len());
        }
    }

    fn end_intent(&mut self, seq: u64) {
        let Some((number, _)) = self.intents.remove(&seq) else {
            return;
        };
        if let Some(left) = self.outstanding.get_mut(&number) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.outstanding.remove(&number);
            }
        }
    }

    /// Shows on a row that it is being sent, or that nobody knows what became of it.
    pub(super) fn show_intent(&self, row: &mut OutboxRow) {
        if let Some((_, since)) = self.intents.get(&row.seq) {
            row.state = State::InFlight { since: *since };
        }
    }

    /// The intents of which nothing is left once these updates are applied.
    pub(super) fn ended_intents(&self, updates: &[Update]) -> Vec<u64> {
        let mut ended: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for update in updates {
            if let Update::Event(seq, _) = update
                && let Some((number, _)) = self.intents.get(seq)
            {
                ended.entry(*number).or_default().insert(*seq);
            }
        }
        let whole = |number: &u64, events: usize| self.outstanding.get(number) == Some(&events);
        ended
            .into_iter()
            .filter(|(number, events)| whole(number, events.len()))
            .map(|(number, _)| number)
            .collect()
    }

    /// The intents of which nothing was left when the store was opened.
    pub(super) fn idle_intents(&mut self) -> Vec<u64> {
        let idle = self.outstanding.iter().filter(|(_, left)| **left == 0);
        let idle: Vec<u64> = idle.map(|(number, _)| *number).collect();
        self.outstanding.retain(|_, left| *left > 0);
        idle
    }

    fn count_hints(&mut self, of: Target, more: i64) {
        let count = self.hints.entry(of).or_default();
        let changed = i64::try_from(*count)
            .unwrap_or(i64::MAX)
            .saturating_add(more);
        *count = usize::try_from(changed).unwrap_or(0);
    }

    /// Whether anything of this stream is to be fetched by id.
    pub(super) fn has_hints(&self, of: &Target) -> bool {
        self.hints.get(of).is_some_and(|count| *count > 0)
    }

    /// How many things of a connection are to be fetched by id.
    pub(super) fn hints_of(&self, connection: &ConnectionName) -> usize {
        let all = self.hints.iter();
        let own = all.filter(|((of, _), _)| of == connection);
        own.map(|(_, count)| *count).sum()
    }

    /// Takes over what only this process knows from the index before a reload: what is being sent right
    /// now must not be claimed a second time, whatever its row says.
    pub(super) fn carry_on(&mut self, before: Self) {
        for seq in &before.sending {
            self.queue.hold(*seq);
        }
        for (target, key) in before.in_flight.iter() {
            self.cells.hold(target, key);
        }
        // Doubtful is what an earlier process may have written, and no more than that.
        for (target, keys) in &mut self.doubtful {
            let mut doubted = before.doubtful(target).in_order();
            let sure: Vec<Key> = keys
                .behind(None)
                .filter(|key| !doubted.holds(key.as_str()) && before.cells.has(target, key))
                .collect();
            keys.change(sure.iter().map(|key| (key.as_str(), false)));
        }
        self.sending = before.sending;
        self.in_flight = before.in_flight;
        self.shaken = before.shaken;
        self.seen = before.seen;
        self.looked = before.looked;
        self.opened_at = before.opened_at;
    }

    /// Learns what a committed unit changed.
    pub(super) fn apply(&mut self, update: Update) {
        match update {
            Update::Event(seq, Some(entry)) => {
                self.end_intent(seq);
                self.sending.remove(&seq);
                self.queue.put(seq, entry);
            }
            Update::Event(seq, None) => self.forget(seq),
            Update::Parked(seq, target, bytes) => self.queue.park(seq, &target, bytes),
            Update::Fetched(seq, entry) => self.queue.fetch(seq, entry),
            Update::Waits(target, key, lane, on) => self.cells.wait(&target, &key, lane, on),
            Update::Wake(sink, on) => self.wake(&sink, &on),
            Update::Unlisted(target, more) => *self.unlisted.entry(target).or_default() += more,
            Update::Held(target, key, held) => self.hold(target, key, held),
            Update::FirstTold(target, count) => *self.told.entry(target).or_default() += count,
            Update::Withdrawn(sku, Some(by)) => {
                self.withdrawn.insert(sku, by);
            }
            Update::Withdrawn(sku, None) => {
                self.withdrawn.remove(&sku);
            }
            Update::Sending(number, events, since) => self.begin_intent(number, &events, since),
            Update::Cell(target, key, Some((lane, when))) => {
                self.cells.put(&target, &key, lane, when);
            }
            Update::Cell(target, key, None) => self.cells.remove(&target, &key),
            Update::Cells(target, changes) => self.cells.put_all(&target, &changes),
            Update::Seen(stream, keys) => {
                let seen = self.seen.entry(stream).or_default();
                seen.change(keys.iter().map(|key| (key.as_str(), true)));
            }
            Update::RunOver(stream) => {
                self.seen.remove(&stream);
                if stream.1 == Stream::Items {
                    self.wake_all(&unread_items(&stream.0));
                }
            }
            Update::Taken(target, keys) => {
                self.cells.take(&target, &keys);
                let keys = keys.into_iter().map(|(key, _)| key);
                self.in_flight.extend(&target, keys);
            }
            Update::Settled(target, keys) => {
                self.shaken.remove_all(&target, &keys);
                self.in_flight.remove_all(&target, &keys);
            }
            Update::CellShaken(target, key) => self.shaken.extend(&target, [key]),
            Update::Known(target, keys) => {
                if let Some(doubtful) = self.doubtful.get_mut(&target).filter(|it| !it.is_empty()) {
                    doubtful.change(keys.iter().map(|key| (key.as_str(), false)));
                }
            }
            Update::Quarantine(number, row) => self.quarantine(number, row),
            Update::Rhythm(connection, rhythm) => {
                self.rhythms.insert(connection, *rhythm);
            }
            Update::Looked(stream, Some(checkpoint)) => {
                self.looked.insert(stream, checkpoint);
            }
            Update::Looked(stream, None) => {
                self.looked.remove(&stream);
            }
            Update::Reserved(sku, is_taken) => {
                self.reserved.change([(sku.as_str(), is_taken)].into_iter());
            }
            Update::Hints(of, more) => self.count_hints(of, more),
        }
    }

    fn quarantine(&mut self, number: u64, row: Option<Standing>) {
        if let Some(row) = row {
            self.groups.put(number, &row.group, row.bytes);
            let thing = (row.thing, row.slot);
            self.quarantine_by_thing.insert(thing.clone(), number);
            self.quarantine.insert(number, thing);
            return;
        }
        self.groups.remove(number);
        if let Some(thing) = self.quarantine.remove(&number) {
            self.quarantine_by_thing.remove(&thing);
        }
    }

    fn hold(&mut self, target: (ConnectionName, Stream), key: Key, held: bool) {
        let cells = self.held.entry(target).or_default();
        if held {
            cells.insert(key);
        } else {
            cells.remove(&key);
        }
    }

    /// Whatever became of a delivery: what waited for its item looks again.
    fn forget(&mut self, seq: u64) {
        self.end_intent(seq);
        self.sending.remove(&seq);
        let item = self.queue.get(seq).filter(|it| it.stream == Stream::Items);
        let item = item.map(|entry| (entry.sink, entry.line));
        self.queue.remove(seq);
        if let Some((sink, item)) = item {
            self.wake(&sink, &item);
        }
    }

    /// Cells of the sink that wait for this thing look again whether they may be written.
    fn wake(&mut self, sink: &ConnectionName, on: &EntityId) {
        for stream in [Stream::Stock, Stream::Prices] {
            self.cells.wake(&(sink.clone(), stream), on);
        }
    }

    fn wake_all(&mut self, on: &EntityId) {
        let targets: Vec<_> = self.cells.targets().map(|(it, _)| it.clone()).collect();
        for target in targets {
            self.cells.wake(&target, on);
        }
    }

    /// How many keys of a target were ever told, and how many the guard holds.
    pub(super) fn told_and_held(&self, target: &Target) -> (u64, u64) {
        let told = self.told.get(target).copied().unwrap_or(0);
        let held = self.held.get(target).map_or(0, BTreeSet::len);
        (told, held as u64)
    }

    /// Whether the guard holds a cell.
    pub(super) fn is_held(&self, target: &Target, key: &Key) -> bool {
        let held = self.held.get(target);
        held.is_some_and(|held| held.contains(key))
    }

    /// Whether the guard has stopped a whole stream of a sink.
    pub(super) fn is_stopped(&self, target: &Target) -> bool {
        let thing = cell::stream_thing(target);
        self.quarantined(&thing, "guard").is_some()
    }

    /// The open row for this thing and slot.
    pub(super) fn quarantined(&self, thing: &str, slot: &str) -> Option<u64> {
        self.quarantine_by_thing
            .get(&(thing.to_owned(), slot.to_owned()))
            .copied()
    }

    /// The things that stand in quarantine at this stage.
    pub(super) fn quarantined_at(&self, stage: &str) -> impl Iterator<Item = &str> {
        let rows = self.quarantine.values();
        rows.filter(move |(_, at)| at == stage)
            .map(|(thing, _)| thing.as_str())
    }

    /// Why rows are in quarantine, and which.
    pub(super) fn quarantine_groups(&self) -> &Groups {
        &self.groups
    }

    /// How many rows are in quarantine.
    pub(super) fn quarantine_len(&self) -> usize {
        self.quarantine.len()
    }

    /// Whether any order takes this SKU.
    pub(super) fn is_reserved(&self, sku: &Key) -> bool {
        self.reserved.contains(sku.as_str())
    }
}

/// Sets of keys, of state streams of sinks.
#[derive(Debug, Default)]
pub(super) struct Marked(BTreeMap<Target, HashSet<Key>>);

impl Marked {
    /// Those of one target.
    pub(super) fn of(&self, target: &Target) -> Option<&HashSet<Key>> {
        self.0.get(target)
    }

    pub(super) fn contains(&self, target: &Target, key: &Key) -> bool {
        self.of(target).is_some_and(|keys| keys.contains(key))
    }

    fn iter(&self) -> impl Iterator<Item = (&Target, &Key)> {
        let all = self.0.iter();
        all.flat_map(|(target, keys)| keys.iter().map(move |key| (target, key)))
    }

    fn extend(&mut self, target: &Target, new: impl IntoIterator<Item = Key>) {
        if let Some(keys) = self.0.get_mut(target) {
            keys.extend(new);
        } else {
            self.0.insert(target.clone(), new.into_iter().collect());
        }
    }

    fn remove_all(&mut self, target: &Target, gone: &[Key]) {
        let Some(keys) = self.0.get_mut(target) else {
            return;
        };
        for key in gone {
            keys.remove(key);
        }
        if keys.is_empty() {
            self.0.remove(target);
        }
    }
}

/// What stands for the items of a connection that were not read to their end yet.
pub(super) fn unread_items(connection: &ConnectionName) -> EntityId {
    EntityId::from(format!("items of {connection}"))
}
