//! What the engine keeps in memory: indexes over the store's rows, rebuilt at start.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use jiff::Timestamp;

use super::EngineError;
use super::cell::{self, Cell};
use super::rules::Rules;
use super::stage::{mode_of, slot_of};
use super::tables::{ATTEMPT, EVENT, QUARANTINE, RESERVATION, WITHDRAWN};
use crate::id::{ConnectionName, EntityId, Key};
use crate::outbox::{Differences, Entry as QueueEntry, Queue, State};
use crate::record::{Lane, Stream};
use crate::router::Mode;
use crate::store::Txn;

/// How many rows are read at a time when an index is rebuilt.
const SCAN: usize = 1000;
/// How far a vendor's clock may be ahead of ours when it says that something happened before we started.
const CLOCK_MARGIN: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// What the index learns from a committed unit of work.
#[derive(Debug)]
pub(super) enum Update {
    /// An outbox row is like this now, or settled.
    Event(u64, Option<QueueEntry>),
    /// A key of a state stream differs and may be written from then on (or is held), or is published.
    Cell(
        (ConnectionName, Stream),
        Key,
        Option<(Lane, Option<Timestamp>)>,
    ),
    /// An outbox row is being sent by this process, until the next [`Update::Event`] about it.
    Sending(u64),
    /// A cell is being written by this process, or no longer.
    CellInFlight((ConnectionName, Stream), Key, bool),
    /// A cell waits since then for a thing to exist over there.
    Waits((ConnectionName, Stream), Key, Lane, (EntityId, Timestamp)),
    /// A thing exists over there, or need not be waited for any more.
    Wake(ConnectionName, EntityId, Timestamp),
    /// A channel does not have the SKU of one more cell (1), or of one less (-1).
    Unlisted((ConnectionName, Stream), i64),
    /// The guard holds a cell, or no longer.
    Held((ConnectionName, Stream), Key, bool),
    /// A cell was told for the first time.
    FirstTold((ConnectionName, Stream)),
    /// An item was taken off sale by somebody, or is on sale.
    Withdrawn(Key, Option<ConnectionName>),
    /// The channel changed the number itself while it was being written.
    CellShaken((ConnectionName, Stream), Key),
    /// The cell was written by this process: what stands there is known.
    CellKnown((ConnectionName, Stream), Key),
    /// A row of the quarantine stands for this thing and slot, or is gone.
    Quarantine(u64, Option<(String, String)>),
    /// These keys were named in the present run of a stream.
    Seen((ConnectionName, Stream), Vec<u64>),
    /// The run of a stream is over, at this moment.
    RunOver((ConnectionName, Stream), Timestamp),
    /// The SKU has reservations, or none any more.
    Reserved(Key, bool),
}

/// Indexes over the store's rows.
#[derive(Debug)]
pub(super) struct Index {
    /// When this process opened the store.
    pub opened_at: Timestamp,
    /// Hashes of the keys that the present run of a stream named, for what a complete run leaves out.
    pub seen: BTreeMap<(ConnectionName, Stream), Vec<u64>>,
    pub queue: Queue,
    pub cells: Differences,
    /// Events that are being sent by this process right now.
    pub sending: BTreeSet<u64>,
    /// Cells that are being written by this process right now.
    pub in_flight: BTreeSet<((ConnectionName, Stream), Key)>,
    /// Items that are not on sale any more, by who said so.
    pub withdrawn: BTreeMap<Key, ConnectionName>,
    /// How many keys of each target were ever told.
    told: BTreeMap<(ConnectionName, Stream), u64>,
    /// Of how many cells that differ the channel does not have the SKU.
    unlisted: BTreeMap<(ConnectionName, Stream), i64>,
    /// Those that the guard holds.
    held: BTreeMap<(ConnectionName, Stream), BTreeSet<Key>>,
    /// Those of them of which nobody knows what stands there once they are written.
    pub shaken: BTreeSet<((ConnectionName, Stream), Key)>,
    /// Cells that differed when this process opened the store: one before may have written them and not
    /// lived to settle it.
    pub doubtful: BTreeSet<((ConnectionName, Stream), Key)>,
    reserved: BTreeSet<Key>,
    quarantine: BTreeMap<u64, (String, String)>,
    quarantine_by_thing: BTreeMap<(String, String), u64>,
}

impl Index {
    /// Of how many keys of this target that differ the channel does not have the SKU.
    pub(super) fn unlisted(&self, target: &(ConnectionName, Stream)) -> usize {
        let count = self.unlisted.get(target).copied().unwrap_or(0);
        usize::try_from(count).unwrap_or(0)
    }

    /// Whether an earlier life of the daemon may have known what happened then.
    pub(super) fn is_older_than_us(&self, happened: Timestamp) -> bool {
        happened <= crate::clock::later(self.opened_at, CLOCK_MARGIN)
    }

    /// Reads what an index needs from the store.
    pub(super) fn rebuild(
        txn: &Txn<'_>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Self, EngineError> {
        let mut index = Self {
            opened_at: now,
            seen: BTreeMap::new(),
            queue: Queue::default(),
            cells: Differences::default(),
            sending: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            withdrawn: BTreeMap::new(),
            told: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            held: BTreeMap::new(),
            shaken: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            reserved: BTreeSet::new(),
            quarantine: BTreeMap::new(),
            quarantine_by_thing: BTreeMap::new(),
        };
        index.read_events(txn, rules, now)?;
        index.read_quarantine(txn)?;
        index.read_reservations(txn)?;
        index.read_withdrawn(txn)?;
        for feed in rules.feeds() {
            index.read_cells(txn, &feed.target, feed.mode, now)?;
        }
        Ok(index)
    }

    fn read_events(
        &mut self,
        txn: &Txn<'_>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let mut range = EVENT.all();
        loop {
            let rows = EVENT.scan(txn, &range, SCAN)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            range = EVENT.after(range, last);
            for (seq, row) in rows {
                let mut entry = QueueEntry::of(&row);
                // Nobody is sending it any more: its outcome is unknown, to be found out at once.
                if matches!(row.state, State::InFlight { .. }) {
                    entry.due = Some(now);
                }
                if mode_of(rules, &row.route) == Mode::Observe {
                    entry.due = None;
                }
                self.queue.put(seq, entry);
            }
        }
    }

    fn read_quarantine(&mut self, txn: &Txn<'_>) -> Result<(), EngineError> {
        let mut range = QUARANTINE.all();
        loop {
            let rows = QUARANTINE.scan(txn, &range, SCAN)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            range = QUARANTINE.after(range, last);
            for (number, row) in rows {
                let slot = slot_of(&row.stage, &row.connection, row.route.as_ref());
                self.apply(Update::Quarantine(number, Some((row.thing, slot))));
            }
        }
    }

    fn read_reservations(&mut self, txn: &Txn<'_>) -> Result<(), EngineError> {
        let mut range = RESERVATION.all();
        loop {
            let rows = RESERVATION.scan(txn, &range, SCAN)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            range = RESERVATION.after(range, last);
            self.reserved
                .extend(rows.into_iter().map(|((sku, _, _), _)| sku));
        }
    }

    fn read_withdrawn(&mut self, txn: &Txn<'_>) -> Result<(), EngineError> {
        let mut range = WITHDRAWN.all();
        loop {
            let rows = WITHDRAWN.scan(txn, &range, SCAN)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            range = WITHDRAWN.after(range, last);
            let rows = rows.into_iter().map(|(sku, row)| (sku, row.by));
            self.withdrawn.extend(rows);
        }
    }

    fn read_cells(
        &mut self,
        txn: &Txn<'_>,
        target: &(ConnectionName, Stream),
        mode: Mode,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let mut pending = Vec::new();
        let mut told = 0;
        cell::blocks(target).visit(txn, Bound::Unbounded, |key, bytes| {
            let Some(cell) = Cell::decode(bytes) else {
                return ControlFlow::Continue(());
            };
            told += u64::from(cell.published.is_some());
            if cell.is_pending() {
                pending.push((Key::from(key), cell.lane(), cell.published.is_some()));
            }
            ControlFlow::Continue(())
        })?;
        self.told.insert(target.clone(), told);
        for (key, lane, was_told) in pending {
            let attempt = ATTEMPT.get(txn, &(target.0.clone(), target.1, key.clone()))?;
            if attempt.as_ref().is_some_and(|attempt| attempt.held) {
                self.apply(Update::Held(target.clone(), key.clone(), true));
            }
            if attempt.as_ref().is_some_and(|attempt| attempt.not_listed) {
                self.apply(Update::Unlisted(target.clone(), 1));
            }
            let due = match (mode, attempt) {
                (Mode::Observe, _) => None,
                (Mode::Apply, None) => Some(now),
                (Mode::Apply, Some(attempt)) if attempt.quarantine.is_some() => None,
                (Mode::Apply, Some(attempt)) => Some(attempt.due.unwrap_or(now)),
            };
            self.cells.put(target, &key, lane, due);
            if was_told {
                self.doubtful.insert((target.clone(), key));
            }
        }
        Ok(())
    }

    /// Takes over what only this process knows from the index before a reload: what is being sent right
    /// now must not be claimed a second time, whatever its row says.
    pub(super) fn carry_on(&mut self, before: Self) {
        for seq in &before.sending {
            self.queue.hold(*seq);
        }
        for (target, key) in &before.in_flight {
            self.cells.hold(target, key);
        }
        // Doubtful is what an earlier process may have written, and no more than that.
        self.doubtful
            .retain(|cell| before.doubtful.contains(cell) || !before.cells.has(&cell.0, &cell.1));
        self.sending = before.sending;
        self.in_flight = before.in_flight;
        self.shaken = before.shaken;
        self.seen = before.seen;
        self.opened_at = before.opened_at;
    }

    /// Learns what a committed unit changed.
    pub(super) fn apply(&mut self, update: Update) {
        match update {
            Update::Event(seq, Some(entry)) => {
                self.sending.remove(&seq);
                self.queue.put(seq, entry);
            }
            Update::Event(seq, None) => self.forget(seq),
            Update::Waits(target, key, lane, on) => self.cells.wait(&target, &key, lane, on),
            Update::Wake(sink, on, now) => self.wake(&sink, &on, now),
            Update::Unlisted(target, more) => *self.unlisted.entry(target).or_default() += more,
            Update::Held(target, key, true) => {
                self.held.entry(target).or_default().insert(key);
            }
            Update::Held(target, key, false) => {
                if let Some(held) = self.held.get_mut(&target) {
                    held.remove(&key);
                }
            }
            Update::FirstTold(target) => *self.told.entry(target).or_default() += 1,
            Update::Withdrawn(sku, Some(by)) => {
                self.withdrawn.insert(sku, by);
            }
            Update::Withdrawn(sku, None) => {
                self.withdrawn.remove(&sku);
            }
            Update::Sending(seq) => {
                self.sending.insert(seq);
            }
            Update::Cell(target, key, Some((lane, due))) => {
                self.cells.put(&target, &key, lane, due);
            }
            Update::Cell(target, key, None) => self.cells.remove(&target, &key),
            Update::Seen(stream, hashes) => self.seen.entry(stream).or_default().extend(hashes),
            Update::RunOver(stream, now) => {
                self.seen.remove(&stream);
                if stream.1 == Stream::Items {
                    self.wake_all(&unread_items(&stream.0), now);
                }
            }
            Update::CellInFlight(target, key, true) => {
                self.in_flight.insert((target, key));
            }
            Update::CellInFlight(target, key, false) => {
                let cell = (target, key);
                self.shaken.remove(&cell);
                self.in_flight.remove(&cell);
            }
            Update::CellShaken(target, key) => {
                self.shaken.insert((target, key));
            }
            Update::CellKnown(target, key) => {
                self.doubtful.remove(&(target, key));
            }
            Update::Quarantine(number, Some(thing)) => {
                self.quarantine_by_thing.insert(thing.clone(), number);
                self.quarantine.insert(number, thing);
            }
            Update::Quarantine(number, None) => {
                if let Some(thing) = self.quarantine.remove(&number) {
                    self.quarantine_by_thing.remove(&thing);
                }
            }
            Update::Reserved(sku, true) => {
                self.reserved.insert(sku);
            }
            Update::Reserved(sku, false) => {
                self.reserved.remove(&sku);
            }
        }
    }

    /// Whatever became of a delivery: what waited for its item looks again.
    fn forget(&mut self, seq: u64) {
        self.sending.remove(&seq);
        let item = self.queue.get(seq).filter(|it| it.stream == Stream::Items);
        let item = item.map(|entry| (entry.sink.clone(), entry.line.clone()));
        self.queue.remove(seq);
        if let Some((sink, item)) = item {
            self.wake(&sink, &item, Timestamp::MIN);
        }
    }

    /// Cells of the sink that wait for this thing look again whether they may be written.
    fn wake(&mut self, sink: &ConnectionName, on: &EntityId, now: Timestamp) {
        for stream in [Stream::Stock, Stream::Prices] {
            self.cells.wake(&(sink.clone(), stream), on, now);
        }
    }

    fn wake_all(&mut self, on: &EntityId, now: Timestamp) {
        let targets: Vec<_> = self.cells.targets().map(|(it, _)| it.clone()).collect();
        for target in targets {
            self.cells.wake(&target, on, now);
        }
    }

    /// How many keys of a target were ever told, and how many the guard holds.
    pub(super) fn told_and_held(&self, target: &(ConnectionName, Stream)) -> (u64, u64) {
        let told = self.told.get(target).copied().unwrap_or(0);
        let held = self.held.get(target).map_or(0, BTreeSet::len);
        (told, held as u64)
    }

    /// Whether the guard holds a cell.
    pub(super) fn is_held(&self, target: &(ConnectionName, Stream), key: &Key) -> bool {
        let held = self.held.get(target);
        held.is_some_and(|held| held.contains(key))
    }

    /// Whether the guard has stopped a whole stream of a sink.
    pub(super) fn is_stopped(&self, target: &cell::Target) -> bool {
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

    /// How many rows are in quarantine.
    pub(super) fn quarantine_len(&self) -> usize {
        self.quarantine.len()
    }

    /// Whether any order takes this SKU.
    pub(super) fn is_reserved(&self, sku: &Key) -> bool {
        self.reserved.contains(sku)
    }
}

/// What stands for the items of a connection that were not read to their end yet.
pub(super) fn unread_items(connection: &ConnectionName) -> EntityId {
    EntityId::from(format!("items of {connection}"))
}
