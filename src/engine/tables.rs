//! The engine's rows: what is kept under which key.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::submitted::Submission;
use crate::connector::{Cursor, Kept};
use crate::fault::Fault;
use crate::id::{ConnectionName, DeliveryId, EntityId, Key, RemoteId, RouteName};
use crate::inventory::Reservation;
use crate::ledger::Entity;
use crate::outbox::OutboxRow;
use crate::record::{Quantity, Sku, Stream, Written};
use crate::store::codec::Versioned;
use crate::store::table::{self, CheckRow, Packed, Table, TableInfo};

/// `(name) -> fact`.
pub(super) const META: Table<String, Fact> = Table::new(table::META);
/// `(connection, stream) -> checkpoint`.
pub(super) const CHECKPOINT: Table<(ConnectionName, Stream), Checkpoint> =
    Table::new(table::CHECKPOINT);
/// `(connection, stream, remote id) -> hint`.
pub(super) const HINT: Table<(ConnectionName, Stream, RemoteId), Hint> = Table::new(table::HINT);
/// `(credential) -> its newest refresh token, sealed`.
pub(super) const TOKEN: Table<String, Kept> = Table::new(table::TOKEN);
/// `(entity) -> entity`.
pub(super) const ENTITY: Table<EntityId, Entity> = Table::new(table::ENTITY);
/// `(connection, stream, remote id) -> entity id`.
pub(super) const LINK: Table<(ConnectionName, Stream, RemoteId), LinkTo> = Table::new(table::LINK);
/// `(stream, natural key, entity) -> nothing`.
pub(super) const BY_KEY: Table<(Stream, Key, EntityId), Nothing> = Table::new(table::BY_KEY);
/// `(connection, stream, remote id) -> since when`.
pub(super) const OPEN: Table<(ConnectionName, Stream, RemoteId), Open> = Table::new(table::OPEN);
/// `(SKU) -> withdrawal`.
pub(super) const WITHDRAWN: Table<Key, Withdrawn> = Table::new(table::WITHDRAWN);
/// `(sink, group) -> its id there`.
pub(super) const GROUP: Table<(ConnectionName, Key), GroupAt> = Table::new(table::GROUP);
/// `(entity) -> record`.
pub(super) const RECORD: Table<EntityId, Written> = Table::new(table::RECORD);
/// `(sequence) -> delivery`. Read it with [`Stage::event`](super::stage::Stage::event), which knows whether
/// it is being sent.
pub(super) const EVENT: Table<u64, OutboxRow> = Table::new(table::EVENT);
/// `(number) -> deliveries that are being sent`.
pub(super) const INTENT: Table<u64, Intent> = Table::new(table::INTENT);
/// `(connection, stream, key) -> attempt`.
pub(super) const ATTEMPT: Table<(ConnectionName, Stream, Key), CellAttempt> =
    Table::new(table::ATTEMPT);
/// `(SKU, order, line) -> reservation`.
pub(super) const RESERVATION: Table<(Key, EntityId, String), ReservationRow> =
    Table::new(table::RESERVATION);
/// `(number) -> quarantined thing`.
pub(super) const QUARANTINE: Table<u64, Quarantined> = Table::new(table::QUARANTINE);
/// `(thing, moment, number) -> entries`: what one unit of work did with it.
pub(super) const JOURNAL: Table<(String, Timestamp, u64), Entries> = Table::new(table::JOURNAL);
/// `(when they must be gone, number) -> payloads`.
pub(super) const PAYLOADS: Packed = Packed(table::PAYLOADS);
/// `(route) -> totals`.
pub(super) const COUNTS: Table<RouteName, Counts> = Table::new(table::COUNTS);

/// How the rows of each table are decoded, for checking a store.
pub fn row_checks() -> Vec<(TableInfo, CheckRow)> {
    vec![
        (*META.info(), META.check_row()),
        (*CHECKPOINT.info(), CHECKPOINT.check_row()),
        (*HINT.info(), HINT.check_row()),
        (*TOKEN.info(), TOKEN.check_row()),
        (*ENTITY.info(), ENTITY.check_row()),
        (*LINK.info(), LINK.check_row()),
        (*BY_KEY.info(), BY_KEY.check_row()),
        (*OPEN.info(), OPEN.check_row()),
        (*WITHDRAWN.info(), WITHDRAWN.check_row()),
        (*GROUP.info(), GROUP.check_row()),
        (*RECORD.info(), RECORD.check_row()),
        (*EVENT.info(), EVENT.check_row()),
        (*INTENT.info(), INTENT.check_row()),
        (*ATTEMPT.info(), ATTEMPT.check_row()),
        (*RESERVATION.info(), RESERVATION.check_row()),
        (*QUARANTINE.info(), QUARANTINE.check_row()),
        (*JOURNAL.info(), JOURNAL.check_row()),
        (*COUNTS.info(), COUNTS.check_row()),
    ]
}

/// A row whose key says everything.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Nothing {}

/// A thing that is not settled at its origin.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Open {
    /// When it began, as its source says.
    pub since: Timestamp,
    /// An order that we send: it must leave before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ship_by: Option<Timestamp>,
}

/// An item that is no longer on sale at its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Withdrawn {
    /// Who said so.
    pub by: ConnectionName,
    /// Since when, by our clock.
    pub since: Timestamp,
}

/// A group over there: the product of variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct GroupAt(pub RemoteId);

/// A single fact about the workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fact {
    /// The fact.
    pub value: Value,
}

/// How far a stream has been accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Everything up to here is accepted.
    pub cursor: Cursor,
    /// When the last read began, by the source's clock.
    pub read_at: Timestamp,
    /// When the first page of the present run was read, by the source's clock; of the last one between
    /// two. Each key was read then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_read_at: Option<Timestamp>,
    /// When it was accepted, by ours.
    pub accepted_at: Timestamp,
    /// When the stream was last read to its end, by ours: what "fresh" means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_at: Option<Timestamp>,
    /// When the first page since the store was made or restored was read, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_read_at: Option<Timestamp>,
    /// When it was known, by ours, that everything older than this store was read: a reading ends a settle lag before
    /// now, so the first one that reached the end need not have seen what changed just before it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "first_drained_at"
    )]
    pub caught_up_at: Option<Timestamp>,
    /// How old what was read is where it is older than that: when a file was made, by our clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// The last page said that there is more: the run that began at `run_start` is not done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_run: bool,
    /// Where the present run began; from the very beginning when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_start: Option<Cursor>,
}

impl Checkpoint {
    /// Since when nobody has confirmed the stream's numbers: reading an old file again does not make
    /// it fresh.
    pub fn confirmed_at(&self) -> Option<Timestamp> {
        let drained = self.drained_at?;
        Some(self.as_of.map_or(drained, |as_of| as_of.min(drained)))
    }

    /// When the last complete run began: what every key's value knows at least. Absent in the middle of
    /// a run.
    pub fn known_until(&self) -> Option<Timestamp> {
        self.run_read_at.filter(|_| !self.in_run)
    }
}

/// Something to be fetched by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Why: `webhook`, `retry`, `open order`.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// How often it was said again since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub times: u32,
    /// How often fetching it failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// It is not fetched before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Told of too often: once it was fetched it is not fetched again before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_not_before: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct LinkTo(pub EntityId);

/// A reservation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ReservationRow(pub Reservation);

/// What stands between a state key and its sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CellAttempt {
    /// How often the present difference was tried.
    pub attempts: u32,
    /// Since when.
    pub since: Timestamp,
    /// Not before.
    pub due: Option<Timestamp>,
    /// What was sent last, when nobody knows what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertain: Option<String>,
    /// Until when something of which nobody knows what became may still be carried out over there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_until: Option<Timestamp>,
    /// What the sink took in and has not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<Submission>,
    /// What it took in earlier, and had not confirmed when something else was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overtaken: Vec<Submission>,
    /// The number in quarantine, when a person must look; ended by another desired value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<u64>,
    /// The channel does not have this SKU. Not a failure: asked again later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_listed: bool,
    /// The guard holds it: it was not sent, and is not until somebody lets it or it changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

impl CellAttempt {
    /// Nothing tried yet.
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            attempts: 0,
            since,
            due: None,
            uncertain: None,
            late_until: None,
            submitted: None,
            overtaken: Vec::new(),
            quarantine: None,
            not_listed: false,
            held: false,
            fault: None,
        }
    }

    /// Nothing tried yet of another value; what may still become of earlier ones stays.
    pub(super) fn afresh(&self, since: Timestamp) -> Self {
        Self {
            uncertain: self.uncertain.clone(),
            late_until: self.late_until,
            submitted: self.submitted.clone(),
            overtaken: self.overtaken.clone(),
            ..Self::new(since)
        }
    }
}

/// What exactly is in quarantine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A change that could not be understood or mapped.
    Change {
        /// The source's id.
        id: RemoteId,
        /// The record before the mapping, if it got that far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Value>,
    },
    /// A delivery that its sink refuses.
    Delivery {
        /// Its place in the queue.
        seq: u64,
        /// Its id.
        id: DeliveryId,
    },
    /// A key of a state stream whose value its sink refuses, or the guard holds.
    Cell {
        /// The key.
        key: Key,
    },
    /// A whole state stream of a sink, of which the guard found too much to be wrong.
    Stream {},
    /// Lines of an order that changed where it was placed after it was carried.
    Lines {
        /// The origin's id of the order.
        id: RemoteId,
        /// Which, and how.
        lines: Vec<ChangedLine>,
    },
}

/// A line of an order that is not any more what was carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedLine {
    /// Which.
    pub line_id: String,
    /// Of which item.
    pub sku: Sku,
    /// How many were carried.
    pub from: Quantity,
    /// How many are wanted now.
    pub to: Quantity,
}

/// Something that cannot succeed as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// What.
    pub subject: Subject,
    /// On which connection it failed.
    pub connection: ConnectionName,
    /// In which stream.
    pub stream: Stream,
    /// By which route, if it got that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteName>,
    /// Which version of the mapping failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// The thing in the journal.
    pub thing: String,
    /// Where: `read`, `map`, `deliver`.
    pub stage: String,
    /// Why.
    pub fault: Fault,
    /// Since when.
    pub since: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Somebody wrote another record in its place: it goes as it was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
}

impl Quarantined {
    /// How many bytes it takes in the store, about.
    pub(super) fn bytes(&self) -> u64 {
        serde_json::to_vec(self).map_or(0, |bytes| bytes.len() as u64)
    }

    /// What it has in common with others that fail for the same reason: `north.orders/deliver/too_long`.
    pub fn group(&self) -> String {
        let (connection, stream) = (&self.connection, self.stream);
        format!("{connection}.{stream}/{}/{}", self.stage, self.fault.code)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// One word: `seen`, `mapped`, `filtered`, `queued`, `sent`, `delivered`, `failed`, …
    pub what: String,
    /// For a person; without personal data.
    pub detail: String,
    /// On which connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionName>,
    /// What stood there before, for taking it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What stands there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What one unit of work did with one thing, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Entries(pub Vec<Entry>);

/// Deliveries that were claimed together: each is being sent, or nobody knows what became of it, until it
/// is written under a greater number or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// Their places in the queue.
    pub events: Vec<u64>,
    /// Since when.
    pub since: Timestamp,
}

/// How many changes of one route ended in which state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// New content that reached the route.
    pub routed: u64,
    /// Counted and shown only: the route observes.
    pub observed: u64,
    /// Accepted by the sink.
    pub delivered: u64,
    /// Not carried, by the name of the rule.
    pub filtered: BTreeMap<String, u64>,
    /// In quarantine, ever.
    pub quarantined: u64,
    /// Let go by a person.
    pub dismissed: u64,
    /// State only: a newer value took its place before it was sent.
    pub superseded: u64,
}

macro_rules! versioned {
    ($($name:ident $text:literal $version:literal),* $(,)?) => {$(
        impl Versioned for $name {
            const VERSION: u8 = $version;
            const NAME: &'static str = $text;
        }
    )*};
}

versioned! {
    Nothing "index entry" 1,
    Open "open thing" 1,
    Withdrawn "withdrawal" 1,
    GroupAt "group" 1,
    Fact "fact" 1,
    Checkpoint "checkpoint" 1,
    Hint "hint" 1,
    Kept "token" 1,
    Entity "entity" 1,
    LinkTo "link" 1,
    OutboxRow "delivery" 1,
    ReservationRow "reservation" 1,
    CellAttempt "attempt" 1,
    Quarantined "quarantined thing" 1,
    Entries "journal entry" 1,
    Intent "intent" 1,
    Written "record" 1,
    Counts "totals" 1,
}
