//! Accepting an owner's stock levels.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::{Bound, ControlFlow};

use super::EngineError;
use super::accept::{Accepted, Unit, reject, stream_thing};
use super::index::Update;
use super::pools::{self, decode_position, encode_position};
use super::stage::{NewQuarantine, Stage, remote_thing};
use super::tables::Subject;
use crate::connector::Body;
use crate::fault::Fault;
use crate::id::Key;
use crate::inventory::{Facts, Position};
use crate::record::{Quantity, Record};

/// What one unit of stock changes says: location to SKU to position.
type Told = BTreeMap<String, BTreeMap<Key, Position>>;

/// Accepts stock levels: positions, absorbed reservations, and what each channel should be told.
pub(super) fn accept(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    let confirmed = unit.as_of.map_or(stage.now, |as_of| as_of.min(stage.now));
    stage.reading = Some((unit.connection.clone(), confirmed));
    let told = collect(stage, unit, accepted)?;
    // What could not be understood is there all the same: it must not be taken for missing.
    let rejected = unit
        .changes
        .iter()
        .filter(|c| matches!(c.body, Body::Rejected(_)));
    let rejected = rejected.map(|change| hash(change.id.as_str()));
    let named = told
        .values()
        .flat_map(|levels| levels.keys().map(|sku| hash(sku.as_str())));
    let named = named.chain(rejected);
    let stream = (unit.connection.clone(), unit.stream);
    stage.updates.push(Update::Seen(stream, named.collect()));
    let mut dirty = BTreeSet::new();
    for (location, levels) in told {
        pools::add_location(stage.txn, &unit.connection, &location)?;
        let changed = store(stage, unit, &location, &levels)?;
        accepted.news += changed.len();
        accepted.duplicates += levels.len() - changed.len();
        for sku in levels.keys().filter(|sku| stage.index.is_reserved(sku)) {
            if pools::absorb(stage, &unit.connection, sku, unit.read_at)? {
                dirty.insert(sku.clone());
            }
        }
        dirty.extend(changed);
    }
    pools::recompute(stage, &dirty, None)?;
    stage.reading = None;
    Ok(())
}

fn collect(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    accepted: &mut Accepted,
) -> Result<Told, EngineError> {
    let mut told = Told::new();
    for change in &unit.changes {
        match &change.body {
            Body::Present(Record::Stock(level)) => match Position::of(level, unit.read_at) {
                Some(position) => {
                    if stage.index.quarantine_len() > 0 {
                        let thing = remote_thing(&unit.connection, unit.stream, &change.id);
                        stage.resolve_quarantine(&thing, "read")?;
                    }
                    let sku = Key::new(level.sku.as_str());
                    if !told.contains_key(level.location.as_str()) {
                        told.insert(level.location.clone(), BTreeMap::new());
                    }
                    if let Some(levels) = told.get_mut(level.location.as_str()) {
                        levels.insert(sku, position);
                    }
                }
                None => accepted.unknown += 1,
            },
            Body::Rejected(fault) => reject(stage, unit, change, fault, accepted)?,
            // "Gone" is said of one SKU at all locations of its owner.
            Body::Absent => {
                for location in pools::known_locations(stage.txn, &unit.connection)? {
                    let none = gone(unit);
                    told.entry(location)
                        .or_default()
                        .insert(Key::new(change.id.as_str()), none);
                }
            }
            Body::Present(_) => {
                let fault =
                    Fault::bug("wrong_stream", "a stock stream gave another kind of record");
                reject(stage, unit, change, &fault, accepted)?;
            }
        }
    }
    Ok(told)
}

fn gone(unit: &Unit) -> Position {
    Position {
        on_hand: Quantity::ZERO,
        unavailable: Quantity::ZERO,
        read_at: unit.read_at,
    }
}

/// Writes what differs; which SKUs that are. An older snapshot never replaces a newer one (story 33).
fn store(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    location: &str,
    levels: &BTreeMap<Key, Position>,
) -> Result<Vec<Key>, EngineError> {
    let blocks = pools::positions(&unit.connection, location);
    let keys: Vec<&str> = levels.keys().map(Key::as_str).collect();
    let known = blocks.get_many(stage.txn, &keys)?;
    let mut changed = Vec::new();
    for ((sku, position), bytes) in levels.iter().zip(known) {
        let before = bytes.as_deref().and_then(decode_position);
        let differs = before.is_none_or(|before| {
            let same =
                (before.on_hand, before.unavailable) == (position.on_hand, position.unavailable);
            !same && before.read_at <= position.read_at
        });
        if differs {
            changed.push((sku.clone(), encode_position(position)));
        }
    }
    let mut rows = changed
        .iter()
        .map(|(sku, bytes)| (sku.as_str(), Some(bytes.clone())))
        .peekable();
    blocks.merge(stage.txn, &mut rows, usize::MAX)?;
    Ok(changed.into_iter().map(|(sku, _)| sku).collect())
}

/// What a complete run did not name is gone: zero, under the guard (stories 38, 39 and 48).
///
/// At most `limit` SKUs of a location are set to zero in this unit; whether more are left. The cursor
/// moves only after that, and a run that is cut off is read again from its beginning.
pub(super) fn apply_absence(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    limit: usize,
) -> Result<bool, EngineError> {
    let seen = stage
        .index
        .seen
        .get(&(unit.connection.clone(), unit.stream));
    let mut seen = seen.cloned().unwrap_or_default();
    seen.sort_unstable();
    seen.dedup();
    let is_seen = |sku: &str| seen.binary_search(&hash(sku)).is_ok();
    let guard = &stage.rules.guard;
    let mut missing = BTreeMap::<String, Vec<Key>>::new();
    let mut facts = Facts {
        rows: seen.len() as u64,
        ..Facts::default()
    };
    for location in pools::known_locations(stage.txn, &unit.connection)? {
        let blocks = pools::positions(&unit.connection, &location);
        blocks.visit(stage.txn, Bound::Unbounded, |sku, bytes| {
            let stocked = decode_position(bytes).is_some_and(|p| p.on_hand.is_positive());
            let named = is_seen(sku);
            facts.known += u64::from(stocked || named);
            if stocked && !named {
                facts.to_zero += 1;
                missing
                    .entry(location.clone())
                    .or_default()
                    .push(Key::new(sku));
            }
            ControlFlow::Continue(())
        })?;
    }
    let thing = stream_thing(&unit.connection, unit.stream);
    if let Err(held) = guard.judge(facts) {
        let fault = Fault::reject(
            held.code,
            format!("{}; nothing was set to zero", held.message),
        );
        stage.quarantine(NewQuarantine {
            subject: Subject::Change {
                id: "complete feed".into(),
                record: None,
            },
            connection: unit.connection.clone(),
            stream: unit.stream,
            route: None,
            thing,
            stage: "guard",
            fault,
            attempts: 0,
        })?;
        return Ok(false);
    }
    stage.resolve_quarantine(&thing, "guard")?;
    resolve_gone_rows(stage, &thing, &is_seen)?;
    zero(stage, unit, missing, limit)
}

/// Rows of an earlier run that could not be read, and are not in this one: nothing is left to mend.
fn resolve_gone_rows(
    stage: &mut Stage<'_, '_>,
    stream: &str,
    is_seen: &dyn Fn(&str) -> bool,
) -> Result<(), EngineError> {
    let is_gone = |thing: &&str| {
        let row = thing.strip_prefix(stream);
        let id = row.and_then(|row| row.strip_prefix('/'));
        id.is_some_and(|id| !is_seen(id))
    };
    let gone = stage.index.quarantined_at("read").filter(is_gone);
    for thing in gone.map(str::to_owned).collect::<Vec<_>>() {
        stage.resolve_quarantine(&thing, "read")?;
    }
    Ok(())
}

fn zero(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    missing: BTreeMap<String, Vec<Key>>,
    limit: usize,
) -> Result<bool, EngineError> {
    let mut dirty = BTreeSet::new();
    let mut more = false;
    for (location, skus) in missing {
        more |= skus.len() > limit;
        let levels = skus
            .into_iter()
            .take(limit)
            .map(|sku| (sku, gone(unit)))
            .collect();
        dirty.extend(store(stage, unit, &location, &levels)?);
    }
    pools::recompute(stage, &dirty, Some("missing in a complete feed"))?;
    Ok(more)
}

/// A key of a run in 8 bytes. Never stored: it means something in this process only.
fn hash(sku: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    sku.hash(&mut hasher);
    hasher.finish()
}
