//! A store that is not the one that worked here last: an export read in, or a backup copied back.
//!
//! What it remembers of events holds: orders and their links are there, and what it does not know of is read
//! again and found by our reference. What it remembers of *state* does not: since then others told the
//! channels other numbers, prices and items, and it would never tell them again what it believes to have told.
//! So all of that is forgotten, and so is how far state was read: everything is read from its beginning and
//! told once more. Why this way: `src/docs/decisions/a-restored-store.md`.

use super::EngineError;
use super::tables::{CHECKPOINT, ENTITY, Fact, META, QUARANTINE, Subject};
use crate::clock::Timestamp;
use crate::record::{Nature, Stream};
use crate::store::table::{self, TableInfo};
use crate::store::{KeyRange, Store, StoreError, Txn};

/// The name of the fact that everything told is to be forgotten, and since when.
const RESTORED: &str = "restored";
/// The name of the fact since when this store knows everything that was told: it was made then, or restored.
const BEGAN: &str = "began";
/// How many rows one commit changes.
const ROWS: usize = 400;
/// What is known of state beside the things themselves: what owners said, and what channels were told.
const STATE: [TableInfo; 4] = [table::CELL, table::ATTEMPT, table::POSITION, table::PRICE];
/// Facts by which something would not be computed, swept or held again.
const DERIVED: [&str; 4] = ["published_by/", "prices/", "stale/", "sweep/"];

/// Notes that this store is a restored one: at its next opening it forgets what it told.
///
/// # Errors
/// When it cannot be written.
pub fn mark_restored(store: &mut dyn Store, at: Timestamp) -> Result<(), StoreError> {
    let mut txn = Txn::new(store);
    let value = serde_json::json!({ "at": at.to_string() });
    META.put(&mut txn, &RESTORED.to_owned(), &Fact { value })?;
    let batch = txn.into_batch();
    store.commit(batch)
}

/// Forgets what a restored store told; whether it is one. A kill in between changes nothing: the mark goes
/// last.
pub(super) fn forget(store: &mut dyn Store, now: Timestamp) -> Result<bool, EngineError> {
    if !META.contains(&Txn::new(store), &RESTORED.to_owned())? {
        return Ok(false);
    }
    for info in STATE {
        remove_all(store, info)?;
    }
    let mut rest = Txn::new(store);
    read_again(&mut rest)?;
    drop_held(&mut rest)?;
    let batch = rest.into_batch();
    store.commit(batch)?;
    forget_items(store)?;
    let mut txn = Txn::new(store);
    META.delete(&mut txn, &RESTORED.to_owned());
    let value = now.to_string().into();
    META.put(&mut txn, &BEGAN.to_owned(), &Fact { value })?;
    let batch = txn.into_batch();
    store.commit(batch)?;
    Ok(true)
}

/// Since when this store knows everything that was told; from now on where that is new.
pub(super) fn began(txn: &mut Txn<'_>, now: Timestamp) -> Result<Timestamp, EngineError> {
    let known = META.get(txn, &BEGAN.to_owned())?;
    let known = known.and_then(|fact| fact.value.as_str()?.parse().ok());
    if known.is_none() {
        let value = now.to_string().into();
        META.put(txn, &BEGAN.to_owned(), &Fact { value })?;
    }
    Ok(known.unwrap_or(now))
}

fn remove_all(store: &mut dyn Store, info: TableInfo) -> Result<(), StoreError> {
    let range = KeyRange::prefix([info.prefix]);
    loop {
        let rows = store.scan(&range, ROWS)?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut txn = Txn::new(store);
        for row in rows {
            txn.delete(row.key);
        }
        let batch = txn.into_batch();
        store.commit(batch)?;
    }
}

/// State is read from its beginning. Events go on where they were, and count as not read to their end.
fn read_again(txn: &mut Txn<'_>) -> Result<(), EngineError> {
    for (place, mut checkpoint) in CHECKPOINT.scan(txn, &CHECKPOINT.all(), 10_000)? {
        if place.1.nature() == Nature::State {
            CHECKPOINT.delete(txn, &place);
        } else {
            checkpoint.drained_at = None;
            checkpoint.first_read_at = None;
            checkpoint.caught_up_at = None;
            CHECKPOINT.put(txn, &place, &checkpoint)?;
        }
    }
    for (name, _) in META.scan(txn, &META.all(), 10_000)? {
        if DERIVED.iter().any(|prefix| name.starts_with(prefix)) {
            META.delete(txn, &name);
        }
    }
    Ok(())
}

/// Values that were refused or held are forgotten with their cells.
fn drop_held(txn: &mut Txn<'_>) -> Result<(), EngineError> {
    let mut range = QUARANTINE.all();
    loop {
        let rows = QUARANTINE.scan(txn, &range, ROWS)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        range = QUARANTINE.after(range, last);
        for (number, row) in rows {
            if matches!(row.subject, Subject::Cell { .. } | Subject::Stream {}) {
                QUARANTINE.delete(txn, &number);
            }
        }
    }
}

/// What was seen of items and other state kept as rows is forgotten, not what they are called anywhere: the
/// next reading is news and is told again.
fn forget_items(store: &mut dyn Store) -> Result<(), EngineError> {
    let mut range = ENTITY.all();
    loop {
        let mut txn = Txn::new(store);
        let rows = ENTITY.scan(&txn, &range, ROWS)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        range = ENTITY.after(range, last);
        for (id, mut entity) in rows {
            if entity.stream == Stream::Orders || entity.stream.nature() == Nature::Event {
                continue;
            }
            for link in entity.links.values_mut() {
                link.seen = None;
            }
            ENTITY.put(&mut txn, &id, &entity)?;
        }
        let batch = txn.into_batch();
        store.commit(batch)?;
    }
}
