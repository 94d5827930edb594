//! The two commits of the whole product, and the only writer of the store.
//!
//! ```text
//! accept.rs     what came in: ledger, routes, mapping, reservations, queue, checkpoint
//!   orders.rs shipments.rs items.rs snapshots.rs prices.rs      what it means for each kind of thing
//! commit.rs     several units share a commit, and the next is staged while it is written (service.rs: for whom)
//! claim.rs      what may be sent next; the intent is durable before it is handed out
//! settle.rs     what became of it: link, confirmation, or the policy table (policy.rs); of numbers: settle/cells.rs
//! changes.rs    orders whose lines changed after they were carried
//! hints.rs      what is to be fetched by id
//! desk.rs       quarantine: retry, edit, changed, dismiss; desk/look.rs: by cause, by row, one row
//! query.rs      status, explain
//! account.rs    what became of things that a source shows: our side of a proof (parcels.rs: of shipments, told.rs: of numbers)
//! freshness.rs  owners that are silent for too long
//! derived.rs    pools and publish rules that changed: their numbers are computed anew
//! pools.rs      from snapshots and reservations to what a channel should be told of stock
//! cell.rs       what a channel should be told of stock and prices, and what it was told (guard.rs, attempts.rs)
//! submitted.rs  values that a sink took in and confirms later
//! alerts.rs     what somebody must be told of, and was told
//! care.rs       how much waits; removing what is too old (compact.rs: giving the room back)
//! sweep.rs      where the slow reading of everything stands
//! rename.rs     a connection under another name
//! restored.rs   a store that is not the one that worked here last
//! tokens.rs     credentials whose tokens change with each use
//! payloads.rs   what came, as it came, for mapping it again
//! ```
//!
//! Several units of work share one commit (group commit): each is staged on its own, one that fails is
//! taken back alone, and nobody is answered before the commit is durable. After a failed commit nobody
//! knows whether it took effect: the engine refuses everything until the store is opened again.

mod accept;
mod account;
mod alerts;
mod attempts;
mod care;
mod cell;
mod changes;
mod claim;
mod commit;
mod compact;
mod derived;
mod desk;
mod doubt;
mod figures;
mod freshness;
mod guard;
mod hints;
mod index;
mod items;
mod orders;
mod parcels;
mod parked;
mod payloads;
mod policy;
mod pools;
mod prices;
mod query;
mod rename;
mod restored;
mod rules;
mod service;
mod settle;
mod shipments;
mod snapshots;
mod stage;
mod standing;
mod submitted;
mod sweep;
mod tables;
mod tokens;
mod told;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use accept::{Accepted, Reached, Unit};
pub use alerts::{Attention, OpenOrders, Oversold, StreamAge, Watched};
pub use care::{Pressure, Sweep};
pub use claim::{Action, Claimed, Earlier, Place};
pub use desk::{DeskFilter, DeskGroup, DeskRow, DeskSheet};
pub use hints::{HINTS_FULL, NewHint, Wanted};
pub use query::{
    DifferenceStatus, Life, PriceReason, QueueStatus, RouteStatus, Status, StockReason,
    StreamStatus, WaitingStatus,
};
pub use rename::rename_connection;
pub use restored::mark_restored;
pub use rules::{EngineLimits, Facts, Mapped, Pool, PoolMember, Publish, RecordMapping, Rules};
pub use service::{Handle, Service};
pub use settle::MAY_STILL_ARRIVE;
pub use stage::QUARANTINE_FULL;
pub use sweep::{SweepTurn, Swept};
pub use tables::{Checkpoint, Counts, Entry, Quarantined, Subject, row_checks};

use crate::alert::{Cause, Finding, Pace, Standing};
use crate::clock::{Clock, Timestamp};
use crate::connector::{Cursor, Kept, Outcome};
use crate::fault::{Class, Fault};
use crate::id::{ConnectionName, EntityId, Key, RemoteId, RouteName};
use crate::outbox::OutboxRow;
use crate::proof::{Account, Parcels, Told};
use crate::record::{Record, Shipment, Stream};
use crate::store::{Store, StoreError, Txn, WriteBatch};
use index::{Index, Since};
use stage::{Numbers, Stage};
use tables::{CHECKPOINT, INTENT, META};

/// How many changes an accept unit has at most.
pub const UNIT_CHANGES: usize = 64;
/// How many prices an accept unit has at most. They are packed in blocks, but each that changed is noted in the journal,
/// for each channel, and each that is not believed stands in quarantine.
pub const UNIT_PRICES: usize = 250;
/// How many stock levels an accept unit has at most: they are packed in blocks, so that so many are a
/// few dozen rows, and a commit costs more than they do. Some ten milliseconds, after which a decrease
/// from elsewhere has its turn.
pub const UNIT_LEVELS: usize = 4000;
/// How many SKUs of a location one unit sets to zero at most.
const ABSENT_PER_UNIT: usize = 500;
/// So many rows are added to a commit behind its units at most.
const SPARE_ROWS: usize = 16;
/// How many rows one step of removing old ones looks at.
const CARE_ROWS: usize = 500;

/// The fact that the last process ended with nothing under way.
const ENDED: &str = "ended";

/// Why the engine did not do something.
#[derive(Debug)]
pub enum EngineError {
    /// The store failed; nothing more works until it is opened again.
    Store(StoreError),
    /// This request cannot be done.
    Fault(Fault),
}

impl EngineError {
    /// As a fault, for those who only pass it on.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Store(error) => Fault::new(Class::Bug, "store", error.to_string()),
        }
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "{error}"),
            Self::Fault(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for EngineError {}

/// The single writer.
#[derive(Debug)]
pub struct Engine {
    store: Arc<dyn Store>,
    /// What is being committed.
    under_way: Option<Arc<WriteBatch>>,
    rules: Arc<Rules>,
    clock: Arc<dyn Clock>,
    index: Index,
    numbers: Numbers,
}

impl Engine {
    /// Takes a store over. `seed` feeds ids and jitter.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn open(
        mut store: Box<dyn Store>,
        rules: Arc<Rules>,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let now = clock.now();
        rename::finish_rename(store.as_mut())?;
        if restored::forget(store.as_mut(), now)? {
            tracing::warn!("this store was restored: everything is read and told again");
        }
        let mut txn = Txn::new(store.as_ref());
        let began = restored::began(&mut txn, now)?;
        let ended = ENDED.to_owned();
        let in_order = META.contains(&txn, &ended)?;
        let doubted = doubt::doubted_since(&mut txn, &rules, now, in_order)?;
        let since = Since {
            opened: now,
            began,
            doubted,
        };
        let mut index = Index::rebuild(&txn, &rules, since)?;
        index.refill(&txn, &rules, now)?;
        let numbers = Numbers::open(&mut txn, seed)?;
        if in_order {
            META.delete(&mut txn, &ended);
            index.trust();
        }
        for number in index.idle_intents() {
            INTENT.delete(&mut txn, &number);
        }
        let batch = txn.into_batch();
        store.commit(batch)?;
        Ok(Self {
            store: store.into(),
            under_way: None,
            rules,
            clock,
            index,
            numbers,
        })
    }

    /// Notes that nothing is under way any more, so that the next process need not doubt what stands at the
    /// sinks. Nothing may be claimed afterwards.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn end(&mut self) -> Result<(), EngineError> {
        if !self.index.is_idle(&self.rules, self.clock.now()) {
            return Ok(());
        }
        self.alone(|stage| {
            let value = Value::from(stage.now.to_string());
            Ok(META.put(stage.txn, &ENDED.to_owned(), &tables::Fact { value })?)
        })
    }

    /// Decides by other rules from now on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn reload(&mut self, rules: Arc<Rules>) -> Result<(), EngineError> {
        let txn = Txn::new(self.store.as_ref());
        let since = Since {
            opened: self.clock.now(),
            began: self.index.began,
            // What this process told is late for as long.
            doubted: self.index.opened_at,
        };
        let rebuilt = Index::rebuild(&txn, &rules, since)?;
        let before = std::mem::replace(&mut self.index, rebuilt);
        self.index.carry_on(before);
        let before = std::mem::replace(&mut self.rules, rules);
        self.alone(|stage| {
            derived::forget_rules(stage, &before);
            Ok(())
        })
    }

    /// What it decides by.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The store, for reports.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Does one unit of work in a commit of its own.
    fn alone<T>(
        &mut self,
        work: impl FnOnce(&mut Stage<'_, '_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let now = self.clock.now();
        let rules = Arc::clone(&self.rules);
        let mut txn = Txn::new(self.store.as_ref());
        let (index, numbers) = (&self.index, &mut self.numbers);
        let (value, updates) = txn.attempt(|txn| {
            let mut stage = Stage::new(txn, &rules, index, now, numbers);
            let value = work(&mut stage)?;
            Ok::<_, EngineError>((value, stage.finish()?))
        })?;
        self.numbers.take_more(&mut txn)?;
        let batch = txn.into_batch();
        if !batch.is_empty() {
            self.store.commit_beside(&batch)?;
        }
        for update in updates {
            self.index.apply(update);
        }
        let txn = Txn::new(self.store.as_ref());
        self.index.refill(&txn, &rules, now)?;
        Ok(value)
    }
}

macro_rules! requests {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $out:ty =
        |$stage:ident| $body:expr;)*) => {
        impl Engine {
            $($(#[$doc])*
            pub fn $name(&mut self, $($arg: $type),*) -> Result<$out, EngineError> {
                self.alone(|$stage| $body)
            })*
        }

        impl Handle {
            $($(#[$doc])*
            pub async fn $name(&self, $($arg: $type),*) -> Result<$out, EngineError> {
                self.ask(stringify!($name), move |$stage| $body).await
            })*
        }
    };
}

requests! {
    /// Accepts a bounded part of a page.
    fn accept(unit: Unit) -> Accepted = |stage| accept::accept(stage, &unit);
    /// Sets to zero what a complete run of a stock stream did not name; whether more is left to do.
    fn absence(unit: Unit) -> bool =
        |stage| snapshots::apply_absence(stage, &unit, ABSENT_PER_UNIT);
    /// Where to go on reading. A complete run of stock that was cut off begins again: what it left out
    /// is only known when it was read in one go.
    fn cursor(connection: ConnectionName, stream: Stream) -> Option<Cursor> = |stage| {
        let checkpoint = CHECKPOINT.get(stage.txn, &(connection.clone(), stream))?;
        let cut_off = !stage.index.seen.contains_key(&(connection.clone(), stream));
        Ok(checkpoint.and_then(|row| {
            if stream == Stream::Stock && row.in_run && cut_off { row.run_start } else { Some(row.cursor) }
        }))
    };
    /// Claims deliveries for one stream of one sink.
    fn claim(sink: ConnectionName, stream: Stream, limit: usize) -> Vec<Claimed> =
        |stage| claim::claim(stage, &(sink.clone(), stream), limit);
    /// Makes a captured id durable.
    fn progress(seq: u64, step: String, value: Value) -> () =
        |stage| settle::progress(stage, seq, &step, value.clone());
    /// Settles claimed deliveries.
    fn settle(sink: ConnectionName, stream: Stream, results: Vec<(Claimed, Outcome)>) -> () =
        |stage| settle::settle(stage, &(sink.clone(), stream), results);
    /// When there may be something of this target to claim next.
    fn next_due(sink: ConnectionName, stream: Stream) -> Option<Timestamp> = |stage| {
        let target = (sink.clone(), stream);
        let due = [stage.index.queue.next_due(&target), stage.index.cells.next_due(&target)];
        // They are fetched behind this.
        let parked = stage.index.queue.has_parked(&target).then_some(stage.now);
        // Whoever claims looks whether the guard still has a reason to stop it.
        let stopped = stage.index.is_stopped(&target).then_some(stage.now);
        Ok(due.into_iter().flatten().chain(stopped).chain(parked).min())
    };
    /// Things to be fetched by id now.
    fn hints(connection: ConnectionName, stream: Stream, limit: usize) -> Vec<Wanted> =
        |stage| hints::due(stage, &connection, stream, limit);
    /// When the first of the things to be fetched by id may be.
    fn next_hint(connection: ConnectionName, stream: Stream) -> Option<Timestamp> =
        |stage| hints::next(stage, &connection, stream);
    /// Notes what webhooks of a connection say, of which at most so much may wait; how much is new.
    fn take_hints(connection: ConnectionName, hints: Vec<NewHint>, most: usize) -> usize =
        |stage| hints::take(stage, &connection, &hints, most);
    /// Notes that things were fetched and what came is accepted.
    fn hints_answered(connection: ConnectionName, stream: Stream, asked: Vec<Wanted>) -> () =
        |stage| hints::answered(stage, &connection, stream, &asked);
    /// Notes that things could not be fetched now.
    fn hints_postponed(connection: ConnectionName, stream: Stream, asked: Vec<Wanted>) -> () =
        |stage| hints::postpone(stage, &connection, stream, &asked);
    /// Notes that a thing cannot be fetched: a person must look.
    fn hint_refused(connection: ConnectionName, stream: Stream, asked: Wanted, fault: Fault) -> () =
        |stage| hints::refused(stage, &connection, stream, &asked, &fault);
    /// Stops deliveries to a connection.
    fn pause(connection: ConnectionName, fault: Fault) -> () =
        |stage| settle::pause(stage, &connection, &fault);
    /// Lets deliveries to a connection go on; whether it was paused.
    fn resume(connection: ConnectionName) -> bool = |stage| settle::resume(stage, &connection);
    /// Whether deliveries to a connection are stopped.
    fn is_paused(connection: ConnectionName) -> bool =
        |stage| claim::is_paused(stage, &connection);
    /// What is kept of a credential.
    fn token(credential: String) -> Option<Kept> = |stage| tokens::get(stage, &credential);
    /// Keeps this of a credential.
    fn keep_token(credential: String, kept: Kept) -> () =
        |stage| tokens::put(stage, &credential, &kept);
    /// How it stands.
    fn status() -> Status = |stage| query::status(stage);
    /// Deliveries that wait, personal data masked.
    fn queue(after: u64, limit: usize) -> Vec<OutboxRow> =
        |stage| query::events(stage, after, limit);
    /// The life of the things that a name names.
    fn explain(stream: Stream, name: String) -> Vec<Life> =
        |stage| query::explain(stage, stream, &name);
    /// Why each channel, or the named one, is told its number of a SKU.
    fn explain_stock(sku: String, connection: Option<ConnectionName>) -> Vec<StockReason> =
        |stage| query::explain_stock(stage, &sku, connection.as_ref());
    /// Why each channel, or the named one, is told its prices of a SKU.
    fn explain_price(sku: String, connection: Option<ConnectionName>) -> Vec<PriceReason> =
        |stage| query::explain_price(stage, &sku, connection.as_ref());
    /// An account of each of these things, as its source shows it now, on one route; in the same order.
    fn account(route: RouteName, things: Vec<(RemoteId, Record)>) -> Vec<Account> =
        |stage| account::account(stage, &route, &things);
    /// The same of shipments, each with when it was changed over there.
    fn parcels(route: RouteName, things: Vec<(RemoteId, Shipment, Option<Timestamp>)>)
        -> Vec<Parcels> =
        |stage| parcels::parcels(stage, &route, &things);
    /// The next keys of a state stream that a channel is to be told, and behind which one to go on.
    fn told(target: (ConnectionName, Stream), after: Option<Key>, limit: usize)
        -> (Vec<Told>, Option<Key>) =
        |stage| told::told(stage, &target, after.as_ref(), limit);
    /// The same of these keys, with their stories; without those that are to be told no more.
    fn told_of(target: (ConnectionName, Stream), keys: Vec<Key>) -> Vec<Told> =
        |stage| told::told_of(stage, &target, &keys);
    /// When a stream was last read to its end, by our clock.
    fn drained_at(connection: ConnectionName, stream: Stream) -> Option<Timestamp> =
        |stage| told::drained_at(stage, &(connection.clone(), stream));
    /// The proofs of days that were kept, by day, oldest first.
    fn proofs() -> Vec<(String, Value)> = |stage| account::proofs(stage);
    /// Keeps the proof of a day, and so many days in all.
    fn keep_proof(day: String, proof: Value, days: usize) -> () =
        |stage| account::keep_proof(stage, &day, proof.clone(), days);
    /// The first day that this store has to do with; today when it is new.
    fn proven_since(today: String) -> String = |stage| account::proven_since(stage, &today);
    /// What waits for things that do not exist at their sinks yet.
    fn waiting() -> Vec<WaitingStatus> = |stage| Ok(query::waiting(stage));
    /// Applies new routes and changed mappings to the prices that are known; whether more is left.
    fn derive_prices() -> bool = |stage| prices::derive_again(stage);
    /// Applies a changed pool or publish rule to numbers that nothing else touches; whether more is left to do.
    fn derive_stock() -> bool = |stage| derived::derive_again(stage, UNIT_LEVELS);
    /// Rows of the quarantine.
    fn quarantine(after: u64, limit: usize) -> Vec<DeskRow> =
        |stage| desk::list(stage, after, limit, &DeskFilter::default());
    /// Those rows of the quarantine that are meant.
    fn quarantine_of(filter: DeskFilter, after: u64, limit: usize) -> Vec<DeskRow> =
        |stage| desk::list(stage, after, limit, &filter);
    /// Why rows are in quarantine, how many for each reason, and an example.
    fn quarantine_groups(filter: DeskFilter) -> Vec<DeskGroup> =
        |stage| desk::groups(stage, &filter);
    /// The numbers of the rows that are meant, oldest first.
    fn quarantine_numbers(filter: DeskFilter) -> Vec<u64> =
        |stage| Ok(desk::numbers(stage, &filter));
    /// Lets go what stands in quarantine for too long; whether more may be left to do.
    fn expire_quarantine() -> bool = |stage| desk::expire(stage);
    /// One row of the quarantine, personal data masked.
    fn quarantine_show(number: u64) -> DeskSheet = |stage| desk::show(stage, number);
    /// Tries a row again.
    fn quarantine_retry(number: u64) -> () = |stage| desk::retry(stage, number);
    /// Replaces what would be delivered or mapped.
    fn quarantine_edit(number: u64, record: Value) -> () =
        |stage| desk::edit(stage, number, &record);
    /// A person changed an order at its sink as it was changed where it was placed.
    fn quarantine_changed(number: u64) -> () = |stage| desk::changed(stage, number);
    /// Lets a row go.
    fn quarantine_dismiss(number: u64, reason: String) -> () =
        |stage| desk::dismiss(stage, number, &reason);
    /// Ids of things of a stream that are open at their origin and were seen last at or after
    /// `not_before`, for reading again.
    fn open_things(
        connection: ConnectionName,
        stream: Stream,
        not_before: Timestamp,
        limit: usize,
    ) -> Vec<RemoteId> =
        |stage| query::open_things(stage, &connection, stream, not_before, limit);
    /// Computes numbers anew where an owner turned silent or speaks again; where to go on.
    fn refresh(after: Option<Key>) -> Option<Key> =
        |stage| freshness::refresh(stage, after.as_ref(), UNIT_LEVELS);
    /// Notes that a source refused what it was given as a whole, such as a file: a person must look.
    fn stopped_reading(connection: ConnectionName, stream: Stream, fault: Fault) -> () =
        |stage| accept::stopped(stage, &connection, stream, &fault);
    /// What the sweep of a stream is to do now, with so long between two.
    fn sweep_turn(connection: ConnectionName, stream: Stream, every: Duration) -> SweepTurn =
        |stage| sweep::turn(stage, &connection, stream, every);
    /// Notes that a page of a sweep was accepted: where it goes on, how much was read and was news.
    fn swept(
        connection: ConnectionName,
        stream: Stream,
        next: Option<Cursor>,
        counted: (usize, usize),
    ) -> () = |stage| sweep::swept(stage, &connection, stream, next.clone(), counted);
    /// Notes that a sweep cannot go on.
    fn sweep_given_up(connection: ConnectionName, stream: Stream, fault: Fault) -> () =
        |stage| sweep::give_up(stage, &connection, stream, &fault);
    /// Removes payloads whose time is over; whether more are left.
    fn expire_payloads() -> bool = |stage| payloads::expire(stage, CARE_ROWS);
    /// Looks at the next rows of the journal and removes those whose time is over; where to go on.
    fn expire_journal(after: Sweep) -> Option<Sweep> =
        |stage| care::expire_journal(stage, &after, CARE_ROWS);
    /// The facts that somebody may have to be told of. For loops.
    fn attention() -> Attention = |stage| alerts::attention(stage);
    /// Compares what was found with what was told; each of the channels owes what is new.
    fn alert_observe(findings: Vec<Finding>, pace: Pace, channels: Vec<String>) -> Watched =
        |stage| alerts::observe(stage, findings, pace, &channels);
    /// A channel was told everything up to this number.
    fn alert_told(channel: String, until: u64) -> () =
        |stage| alerts::told(stage, &channel, until);
    /// What was told and is not over.
    fn alert_list() -> Vec<(Cause, Standing)> = |stage| alerts::list(stage);
    /// Somebody knows of a cause; whether it was told.
    fn alert_ack(cause: Cause) -> bool = |stage| alerts::acknowledge(stage, &cause);
    /// Looks at the next open things for orders that must leave before this moment.
    fn open_orders(
        after: Option<(ConnectionName, Stream, RemoteId)>,
        before: Timestamp,
    ) -> OpenOrders = |stage| alerts::open_orders(stage, after.as_ref(), before, CARE_ROWS);
    /// Looks at the next order lines for things of which more is sold than there is.
    fn oversold(after: Option<(Key, EntityId, String)>) -> Oversold =
        |stage| alerts::oversold(stage, after.as_ref(), CARE_ROWS);
    /// How much waits. Cheap: for loops.
    fn pressure() -> Pressure = |stage| Ok(care::pressure(stage));
}

#[cfg(test)]
mod tests;
