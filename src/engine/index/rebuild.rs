//! How the indexes are read from the store's rows when it is opened, or when the rules change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use jiff::Timestamp;

use super::{Index, Marked, Since, Target, Update};
use crate::clock::later;
use crate::engine::EngineError;
use crate::engine::attempts::Attempts;
use crate::engine::cell::{self, Cell};
use crate::engine::parked;
use crate::engine::rules::Rules;
use crate::engine::stage::mode_of;
use crate::engine::standing::{Groups, Standing};
use crate::engine::tables::{EVENT, HINT, INTENT, QUARANTINE, RESERVATION, WITHDRAWN};
use crate::id::Key;
use crate::outbox::{Differences, Entry as QueueEntry, KeySet, OutboxRow, Queue, State, When};
use crate::record::{Lane, Stream};
use crate::router::Mode;
use crate::store::Txn;

/// How many rows are read at a time.
const SCAN: usize = 1000;

/// What the index knows of a row.
pub(in crate::engine) fn entry_of(rules: &Rules, row: &OutboxRow) -> QueueEntry {
    let mut entry = QueueEntry::of(row);
    if mode_of(rules, &row.route) == Mode::Observe {
        entry.due = None;
        entry.parked = false;
    }
    entry
}

impl Index {
    /// Reads what an index needs from the store.
    pub(in crate::engine) fn rebuild(
        txn: &Txn<'_>,
        rules: &Rules,
        since: Since,
    ) -> Result<Self, EngineError> {
        let now = since.opened;
        let mut index = Self {
            opened_at: now,
            began: since.began,
            seen: BTreeMap::new(),
            queue: Queue::default(),
            cells: Differences::default(),
            sending: BTreeSet::new(),
            intents: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            in_flight: Marked::default(),
            withdrawn: BTreeMap::new(),
            told: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            held: BTreeMap::new(),
            shaken: Marked::default(),
            doubtful: BTreeMap::new(),
            looked: BTreeMap::new(),
            reserved: KeySet::new(),
            hints: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            quarantine_by_thing: BTreeMap::new(),
            groups: Groups::default(),
            rhythms: crate::engine::alerts::rhythms(txn)?,
        };
        let sent = index.read_intents(txn)?;
        index.read_events(txn, rules, now, &sent)?;
        index.read_quarantine(txn)?;
        index.read_reservations(txn)?;
        index.read_withdrawn(txn)?;
        index.read_hints(txn)?;
        for feed in rules.feeds() {
            let until = later(since.doubted, rules.facts(&feed.target.0).late);
            let late = Some(until).filter(|until| *until > now);
            let late = late.map_or(When::Now, When::Together);
            index.read_cells(txn, &feed.target, (feed.mode, late))?;
        }
        Ok(index)
    }

    fn read_events(
        &mut self,
        txn: &Txn<'_>,
        rules: &Rules,
        now: Timestamp,
        sent: &BTreeMap<u64, (u64, Timestamp)>,
    ) -> Result<(), EngineError> {
        let mut range = EVENT.all();
        loop {
            let rows = EVENT.scan(txn, &range, SCAN)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            range = EVENT.after(range, last);
            for (seq, mut row) in rows {
                let mut turn = now;
                let intent = sent.get(&seq).filter(|(number, _)| *number > row.written);
                if let Some((number, since)) = intent {
                    turn = QueueEntry::of(&row).due.map_or(now, |due| due.min(now));
                    self.intents.insert(seq, (*number, *since));
                    *self.outstanding.entry(*number).or_default() += 1;
                    self.show_intent(&mut row);
                }
                let mut entry = entry_of(rules, &row);
                // Nobody is sending it any more: its outcome is unknown, to be found out at once. It was its turn
                // before: behind all that came since, it might wait for long, and again after each restart.
                let is_under_way = matches!(row.state, State::InFlight { .. });
                if is_under_way && mode_of(rules, &row.route) == Mode::Apply {
                    entry.due = Some(turn);
                }
                self.read_event(txn, rules, seq, entry)?;
            }
        }
    }

    fn read_event(
        &mut self,
        txn: &Txn<'_>,
        rules: &Rules,
        seq: u64,
        entry: QueueEntry,
    ) -> Result<(), EngineError> {
        if entry.parked {
            let target = (entry.sink, entry.stream);
            self.queue.park(seq, &target, entry.bytes);
            return Ok(());
        }
        // What stands behind a parked row must not be first in its line. This row may be the one that was parked, and
        // under way since: then it does not count among them.
        let place = (&entry.sink, &entry.line);
        if self.queue.has_parked(&(entry.sink.clone(), Stream::Orders))
            && let Some(row) = parked::row_of(txn, rules, &self.queue, place)?
            && row.seq < seq
        {
            self.queue.fetch(row.seq, entry_of(rules, &row));
        }
        self.queue.put(seq, entry);
        Ok(())
    }

    /// The newest intent of each event; which of them still hold is told by the events.
    fn read_intents(
        &mut self,
        txn: &Txn<'_>,
    ) -> Result<BTreeMap<u64, (u64, Timestamp)>, EngineError> {
        let mut sent = BTreeMap::new();
        let mut range = INTENT.all();
        loop {
            let rows = INTENT.scan(txn, &range, SCAN)?;
            let Some((last, _)) = rows.last() else {
                return Ok(sent);
            };
            range = INTENT.after(range, last);
            for (number, row) in rows {
                self.outstanding.insert(number, 0);
                sent.extend(row.events.into_iter().map(|seq| (seq, (number, row.since))));
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
                self.apply(Update::Quarantine(number, Some(Standing::of(&row))));
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
            let mut skus: Vec<&Key> = rows.iter().map(|((sku, _, _), _)| sku).collect();
            skus.dedup();
            let skus = skus.into_iter().map(|sku| (sku.as_str(), true));
            self.reserved.change(skus);
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

    fn read_hints(&mut self, txn: &Txn<'_>) -> Result<(), EngineError> {
        let mut range = HINT.all();
        loop {
            let rows = HINT.scan(txn, &range, SCAN)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            range = HINT.after(range, last);
            for ((connection, stream, _), _) in rows {
                self.count_hints((connection, stream), 1);
            }
        }
    }

    fn read_cells(
        &mut self,
        txn: &Txn<'_>,
        target: &Target,
        how: (Mode, When),
    ) -> Result<(), EngineError> {
        let mut pending = Vec::new();
        let mut told = 0;
        let mut failed = Ok(());
        cell::blocks(target).visit(txn, Bound::Unbounded, |key, bytes| {
            let Some(cell) = Cell::decode(bytes) else {
                return ControlFlow::Continue(());
            };
            told += u64::from(cell.published.is_some());
            if cell.is_pending() {
                pending.push((Key::from(key), cell.lane(), cell.is_late()));
                if pending.len() >= SCAN {
                    failed = self.read_pending(txn, target, how, &mut pending);
                }
            }
            match failed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        failed?;
        self.told.insert(target.clone(), told);
        self.read_pending(txn, target, how, &mut pending)
    }

    /// Takes cells that differ, in ascending order, out of `pending`; each with whether it is only to be told
    /// once more.
    fn read_pending(
        &mut self,
        txn: &Txn<'_>,
        target: &Target,
        (mode, late): (Mode, When),
        pending: &mut Vec<(Key, Lane, bool)>,
    ) -> Result<(), EngineError> {
        let attempts = Attempts::among(txn, target, pending.iter().map(|(key, _, _)| key))?;
        let doubtful = self.doubtful.entry(target.clone()).or_default();
        doubtful.change(pending.iter().map(|(key, _, _)| (key.as_str(), true)));
        let mut known = Vec::with_capacity(pending.len());
        for (key, lane, is_late) in pending.drain(..) {
            let attempt = attempts.get(txn, &key)?;
            if attempt.as_ref().is_some_and(|attempt| attempt.held) {
                self.apply(Update::Held(target.clone(), key.clone(), true));
            }
            if attempt.as_ref().is_some_and(|attempt| attempt.not_listed) {
                self.apply(Update::Unlisted(target.clone(), 1));
            }
            let when = match (mode, attempt) {
                (Mode::Observe, _) => When::Observed,
                (Mode::Apply, None) if is_late => late,
                (Mode::Apply, None) => When::Now,
                (Mode::Apply, Some(attempt)) if attempt.quarantine.is_some() => When::Held,
                (Mode::Apply, Some(attempt)) => attempt.due.map_or(When::Now, When::At),
            };
            known.push((key, Some((lane, when))));
        }
        self.cells.put_all(target, &known);
        Ok(())
    }
}
