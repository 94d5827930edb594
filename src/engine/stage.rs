//! One unit of work: what is staged in the transaction, and what the index learns once it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::EngineError;
use super::changes::CHANGE;
use super::index::{Index, Update, entry_of};
use super::payloads::Payloads;
use super::rename;
use super::rules::{EngineLimits, Rules};
use super::standing::Standing;
use super::tables::{
    COUNTS, Counts, ENTITY, EVENT, Entries, Entry, Fact, INTENT, JOURNAL, LINK, LinkTo, META,
    QUARANTINE, Quarantined, RESERVATION, Subject,
};
use crate::fault::Fault;
use crate::id::{ConnectionName, EntityId, Key, RemoteId, RouteName, uuid_at};
use crate::ledger::Entity;
use crate::outbox::OutboxRow;
use crate::record::Stream;
use crate::router::Mode;
use crate::store::Txn;

/// The code of a change that stays at its source because the quarantine is full.
pub const QUARANTINE_FULL: &str = "quarantine_full";
/// After so long it is tried again whether there is room.
const FULL_RETRY: Duration = Duration::from_secs(10);
/// How many entries of one thing stand in a row at most.
const ENTRIES_PER_ROW: usize = 100;

/// Where new numbers and randomness come from. Seeded, so that a simulation repeats exactly.
#[derive(Debug)]
pub(super) struct Numbers {
    next: u64,
    /// From this one on they must be taken from the store first.
    until: u64,
    random: fastrand::Rng,
}

/// How many things one unit of work notes before what moves many numbers at once is noted by its counts alone: with
/// what else it writes it must fit in one commit ([`crate::store::HARD_BATCH_ROWS`]).
const MOST_NOTED: usize = 2500;

/// How many numbers are taken from the store at a time.
const NUMBERS_AT_ONCE: u64 = 1 << 20;
/// The name of the fact up to which numbers were taken.
const NUMBERS: &str = "numbers";

impl Numbers {
    /// Goes on where the last process stopped taking them.
    pub(super) fn open(txn: &mut Txn<'_>, seed: u64) -> Result<Self, EngineError> {
        let taken = META.get(txn, &NUMBERS.to_owned())?;
        let first = taken.and_then(|fact| fact.value.as_u64()).unwrap_or(0);
        let mut numbers = Self {
            next: first,
            until: first,
            random: fastrand::Rng::with_seed(seed),
        };
        numbers.take_more(txn)?;
        Ok(numbers)
    }

    /// Takes more of them from the store where they come to an end; those that were given out beyond it
    /// become durable in the same commit.
    pub(super) fn take_more(&mut self, txn: &mut Txn<'_>) -> Result<(), EngineError> {
        if self.next < self.until {
            return Ok(());
        }
        self.until = self.next + NUMBERS_AT_ONCE;
        let value = Value::from(self.until);
        Ok(META.put(txn, &NUMBERS.to_owned(), &Fact { value })?)
    }

    /// The next number; never given twice, not even after a restart.
    pub(super) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A new id with the given prefix.
    pub(super) fn id(&mut self, prefix: &str, now: Timestamp) -> String {
        let id = uuid_at(now, self.random.u128(..)).simple();
        let mut buffer = uuid::Uuid::encode_buffer();
        // Without the formatting machinery: each level of stock that is told has one.
        [prefix, "_", id.encode_lower(&mut buffer)].concat()
    }

    pub(super) fn random(&mut self) -> u32 {
        self.random.u32(..)
    }
}

/// A quarantined thing in the making.
pub(super) struct NewQuarantine {
    pub subject: Subject,
    pub connection: ConnectionName,
    pub stream: Stream,
    pub route: Option<RouteName>,
    pub thing: String,
    pub stage: &'static str,
    pub fault: Fault,
    pub attempts: u32,
}

/// One unit of work.
pub(super) struct Stage<'a, 's> {
    pub txn: &'a mut Txn<'s>,
    pub rules: &'a Rules,
    pub index: &'a Index,
    pub now: Timestamp,
    pub numbers: &'a mut Numbers,
    pub updates: Vec<Update>,
    /// One of them is that a row is parked.
    pub parks: bool,
    /// Items that were withdrawn in this unit, or are on sale again; the index learns it afterwards.
    pub withdrawn: BTreeMap<Key, Option<ConnectionName>>,
    /// SKUs that were reserved in this unit; the index learns it afterwards.
    pub reserved: BTreeSet<Key>,
    /// The owner whose levels are being accepted, and when it confirmed them.
    pub reading: Option<(ConnectionName, Timestamp)>,
    /// When the orders were placed that are new in this unit.
    pub placed: Vec<Timestamp>,
    /// Payloads to be kept.
    pub payloads: Payloads,
    counts: BTreeMap<RouteName, Counts>,
    /// How many rows the quarantine may still get, where this work can wait; no matter how many when
    /// absent.
    room: Option<(usize, u64)>,
    /// What is to be noted of each thing, with the number of its first entry.
    notes: BTreeMap<String, (u64, Vec<Entry>)>,
}

impl<'a, 's> Stage<'a, 's> {
    pub(super) fn new(
        txn: &'a mut Txn<'s>,
        rules: &'a Rules,
        index: &'a Index,
        now: Timestamp,
        numbers: &'a mut Numbers,
    ) -> Self {
        Self {
            txn,
            rules,
            index,
            now,
            numbers,
            updates: Vec::new(),
            parks: false,
            withdrawn: BTreeMap::new(),
            reserved: BTreeSet::new(),
            reading: None,
            placed: Vec::new(),
            payloads: Payloads::default(),
            counts: BTreeMap::new(),
            notes: BTreeMap::new(),
            room: None,
        }
    }

    /// What comes in now stays at its source when the quarantine is full and needs another row.
    pub(super) fn bound_quarantine(&mut self) {
        let (rows, bytes) = (
            self.limits().quarantine_rows,
            self.limits().quarantine_bytes,
        );
        self.room = Some((
            rows.saturating_sub(self.index.quarantine_len()),
            bytes.saturating_sub(self.index.quarantine_groups().bytes()),
        ));
    }

    fn take_room(&mut self, needed: u64) -> Result<(), Fault> {
        let Some((rows, bytes)) = &mut self.room else {
            return Ok(());
        };
        // A row that is larger than all the room there may be still gets in while there is some.
        if *rows == 0 || *bytes == 0 {
            let message = "something here must go into quarantine, which is full \
                           (limits.quarantine_max_rows, quarantine_max_bytes): nothing more of this stream \
                           is read; `crossdock quarantine list` shows what to mend or dismiss";
            let fault = Fault::retry(QUARANTINE_FULL, message);
            return Err(Fault {
                retry_after: Some(FULL_RETRY),
                ..fault
            });
        }
        *rows -= 1;
        *bytes = bytes.saturating_sub(needed);
        Ok(())
    }

    pub(super) fn limits(&self) -> &EngineLimits {
        &self.rules.limits
    }

    /// Writes what was counted, noted and kept, and hands over what the index learns.
    pub(super) fn finish(mut self) -> Result<Vec<Update>, EngineError> {
        for (route, counts) in std::mem::take(&mut self.counts) {
            COUNTS.put(self.txn, &route, &counts)?;
        }
        for (thing, (number, mut entries)) in std::mem::take(&mut self.notes) {
            let mut number = number;
            while !entries.is_empty() {
                let rest = entries.split_off(entries.len().min(ENTRIES_PER_ROW));
                let key = (thing.clone(), self.now, number);
                JOURNAL.put(self.txn, &key, &Entries(entries))?;
                entries = rest;
                number = self.numbers.next();
            }
        }
        self.payloads.write(self.txn)?;
        for number in self.index.ended_intents(&self.updates) {
            INTENT.delete(self.txn, &number);
        }
        Ok(self.updates)
    }

    /// Counts something for a route.
    pub(super) fn count(
        &mut self,
        route: &RouteName,
        change: impl FnOnce(&mut Counts),
    ) -> Result<(), EngineError> {
        if !self.counts.contains_key(route) {
            let known = COUNTS.get(self.txn, route)?.unwrap_or_default();
            self.counts.insert(route.clone(), known);
        }
        if let Some(counts) = self.counts.get_mut(route) {
            change(counts);
        }
        Ok(())
    }

    /// Counts a change that a named rule keeps back.
    pub(super) fn filtered(
        &mut self,
        route: &RouteName,
        rule: &str,
        thing: &str,
    ) -> Result<(), EngineError> {
        self.count(route, |counts| {
            *counts.filtered.entry(rule.to_owned()).or_default() += 1;
        })?;
        self.note(thing, "filtered", format!("route {route}: {rule}"), None)
    }

    /// Writes a journal entry.
    pub(super) fn note(
        &mut self,
        thing: &str,
        what: &str,
        detail: String,
        connection: Option<&ConnectionName>,
    ) -> Result<(), EngineError> {
        let entry = Entry {
            what: what.to_owned(),
            detail,
            connection: connection.cloned(),
            before: None,
            after: None,
        };
        self.journal(thing, entry)
    }

    /// Writes a journal entry with before and after.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "passed on like every other write, often as the last of several"
    )]
    pub(super) fn journal(&mut self, thing: &str, entry: Entry) -> Result<(), EngineError> {
        if let Some((_, entries)) = self.notes.get_mut(thing) {
            entries.push(entry);
        } else {
            let first = (self.numbers.next(), vec![entry]);
            self.notes.insert(thing.to_owned(), first);
        }
        Ok(())
    }

    /// Whether so many more things may be noted beside what this unit notes anyway.
    pub(super) fn may_note(&self, more: usize) -> bool {
        self.notes.len() + more <= MOST_NOTED
    }

    /// An outbox row as it stands: one with an intent is being sent.
    pub(super) fn event(&self, seq: u64) -> Result<Option<OutboxRow>, EngineError> {
        let mut row = EVENT.get(self.txn, &seq)?;
        if let Some(row) = &mut row {
            self.index.show_intent(row);
        }
        Ok(row)
    }

    /// Whether any order takes anything from anywhere.
    pub(super) fn has_reservations(&self) -> Result<bool, EngineError> {
        let any = RESERVATION.scan(self.txn, &RESERVATION.all(), 1)?;
        Ok(!any.is_empty())
    }

    /// The thing that a connection calls `id`.
    pub(super) fn linked(
        &self,
        connection: &ConnectionName,
        stream: Stream,
        id: &RemoteId,
    ) -> Result<Option<Entity>, EngineError> {
        match LINK.get(self.txn, &(connection.clone(), stream, id.clone()))? {
            Some(LinkTo(entity)) => Ok(ENTITY.get(self.txn, &entity)?),
            None => Ok(None),
        }
    }

    /// The thing that our reference (`north:17`) names.
    pub(super) fn referenced(
        &self,
        reference: &str,
        stream: Stream,
    ) -> Result<Option<Entity>, EngineError> {
        let Some((connection, id)) = reference.split_once(':') else {
            return Ok(None);
        };
        let (connection, id) = (ConnectionName::new(connection), RemoteId::new(id));
        if let Some(entity) = self.linked(&connection, stream, &id)? {
            return Ok(Some(entity));
        }
        // Sent under a name that the connection no longer has.
        let now = rename::name_now(self.txn, &connection)?;
        if now == connection {
            return Ok(None);
        }
        self.linked(&now, stream, &id)
    }

    /// Makes a link.
    pub(super) fn link(
        &mut self,
        connection: &ConnectionName,
        stream: Stream,
        id: &RemoteId,
        entity: &EntityId,
    ) -> Result<(), EngineError> {
        let key = (connection.clone(), stream, id.clone());
        Ok(LINK.put(self.txn, &key, &LinkTo(entity.clone()))?)
    }

    /// Writes an outbox row and tells the index.
    pub(super) fn put_event(&mut self, row: &mut OutboxRow) -> Result<(), EngineError> {
        let is_new = row.written == 0;
        self.fetch_parked(&row.sink, &row.line)?;
        row.written = self.numbers.next();
        EVENT.put(self.txn, &row.seq, row)?;
        let entry = entry_of(self.rules, row);
        self.updates.push(if is_new && entry.parked {
            self.parks = true;
            Update::Parked(row.seq, (entry.sink, entry.stream), entry.bytes)
        } else {
            Update::Event(row.seq, Some(entry))
        });
        Ok(())
    }

    /// Removes a settled outbox row.
    pub(super) fn remove_event(&mut self, seq: u64) {
        EVENT.delete(self.txn, &seq);
        self.updates.push(Update::Event(seq, None));
    }

    /// Who took an item off sale, if somebody did.
    pub(super) fn withdrawn_by(&self, sku: &Key) -> Option<&ConnectionName> {
        match self.withdrawn.get(sku) {
            Some(now) => now.as_ref(),
            None => self.index.withdrawn.get(sku),
        }
    }

    /// Whether any order may take this SKU.
    pub(super) fn may_be_reserved(&self, sku: &Key) -> bool {
        self.index.is_reserved(sku) || self.reserved.contains(sku)
    }

    /// Puts something into quarantine; what is there already for the same reason is only counted up.
    pub(super) fn quarantine(&mut self, new: NewQuarantine) -> Result<u64, EngineError> {
        let slot = slot_of(new.stage, &new.connection, new.route.as_ref());
        let open = self.index.quarantined(&new.thing, &slot);
        let known = match open {
            Some(number) => QUARANTINE.get(self.txn, &number)?.map(|row| (number, row)),
            None => None,
        };
        let mapping = new
            .route
            .as_ref()
            .and_then(|route| self.mapping_version(route));
        let mut row = Quarantined {
            subject: new.subject,
            connection: new.connection,
            stream: new.stream,
            mapping,
            thing: new.thing,
            stage: new.stage.to_owned(),
            fault: new.fault,
            since: self.now,
            attempts: new.attempts,
            route: new.route,
            edited: false,
        };
        let number = if let Some((number, before)) = known {
            row.since = before.since;
            row.attempts = row.attempts.max(before.attempts + 1);
            number
        } else {
            self.take_room(row.bytes())?;
            if let Some(route) = row.route.clone() {
                self.count(&route, |counts| counts.quarantined += 1)?;
            }
            self.numbers.next()
        };
        let detail = format!("{} (quarantine {number}, at {})", row.fault, row.stage);
        let (thing, connection) = (row.thing.clone(), row.connection.clone());
        self.note(&thing, "quarantined", detail, Some(&connection))?;
        self.put_quarantine(number, &row)?;
        Ok(number)
    }

    /// Writes a row of the quarantine.
    pub(super) fn put_quarantine(
        &mut self,
        number: u64,
        row: &Quarantined,
    ) -> Result<(), EngineError> {
        QUARANTINE.put(self.txn, &number, row)?;
        let standing = Standing::of(row);
        self.updates
            .push(Update::Quarantine(number, Some(standing)));
        Ok(())
    }

    /// The version of a route's mapping, if it has one.
    pub(super) fn mapping_version(&self, route: &RouteName) -> Option<String> {
        let mapping = self.rules.mappings.get(route)?;
        Some(mapping.version().to_owned())
    }

    /// What was in quarantine for this thing in this slot went well after all.
    pub(super) fn resolve_quarantine(
        &mut self,
        thing: &str,
        slot: &str,
    ) -> Result<(), EngineError> {
        let Some(number) = self.index.quarantined(thing, slot) else {
            return Ok(());
        };
        self.end_quarantine(number);
        self.note(
            thing,
            "resolved",
            format!("quarantine {number} ended by itself"),
            None,
        )
    }

    /// Takes a row out of quarantine.
    pub(super) fn end_quarantine(&mut self, number: u64) {
        QUARANTINE.delete(self.txn, &number);
        self.updates.push(Update::Quarantine(number, None));
    }

    /// Maps a record for a route; a route without a mapping passes it as it is.
    pub(super) fn map(
        &self,
        route: &RouteName,
        record: &Value,
    ) -> Result<super::rules::Mapped, Fault> {
        match self.rules.mappings.get(route) {
            Some(mapping) => mapping.apply(record),
            None => Ok(super::rules::Mapped::Kept(record.clone())),
        }
    }
}

/// Whether a route or publish rule writes.
pub(super) fn mode_of(rules: &Rules, route: &RouteName) -> Mode {
    let routed = rules
        .router
        .all()
        .find(|known| known.name == *route)
        .map(|known| known.mode);
    let published = || {
        rules
            .publishes
            .iter()
            .find(|known| known.name == *route)
            .map(|known| known.mode)
    };
    routed.or_else(published).unwrap_or_default()
}

/// Where a thing can be in quarantine once: a delivery for each sink, a mapping for each route.
pub(super) fn slot_of(
    stage: &str,
    connection: &ConnectionName,
    route: Option<&RouteName>,
) -> String {
    match (stage, route) {
        ("deliver", _) => deliver_to(connection),
        (CHANGE, _) => changed_at(connection),
        ("map", Some(route)) => map_by(route),
        _ => stage.to_owned(),
    }
}

/// The slot of deliveries to a sink.
pub(super) fn deliver_to(sink: &ConnectionName) -> String {
    format!("deliver/{sink}")
}

/// The slot of notices of what a sink's order is not any more.
pub(super) fn changed_at(sink: &ConnectionName) -> String {
    format!("{CHANGE}/{sink}")
}

/// The slot of a route's mapping.
pub(super) fn map_by(route: &RouteName) -> String {
    format!("map/{route}")
}

/// How a thing that is not linked yet is called in the journal: `north/orders/17`.
pub(super) fn remote_thing(connection: &ConnectionName, stream: Stream, id: &RemoteId) -> String {
    format!("{connection}/{stream}/{id}")
}
