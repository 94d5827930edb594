//! Accepting an owner's stock levels.

use std::collections::BTreeMap;
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
use crate::outbox::KeySet;
use crate::record::{Quantity, Record};
use crate::store::blocks::Edit;

/// What one unit of stock changes says, by location: each SKU once, in ascending order.
type Told = BTreeMap<String, Levels>;
type Levels = Vec<(Key, Position)>;

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
    let rejected = rejected.map(|change| Key::from(change.id.shared()));
    let named = told
        .values()
        .flat_map(|levels| levels.iter().map(|(sku, _)| sku.clone()));
    let mut named: Vec<Key> = named.chain(rejected).collect();
    // Of one location and without a rejected row it is in order already.
    named.sort();
    named.dedup();
    let stream = (unit.connection.clone(), unit.stream);
    stage.updates.push(Update::Seen(stream, named));
    let mut dirty = Vec::new();
    for (location, levels) in told {
        pools::add_location(stage.txn, &unit.connection, &location)?;
        let changed = store(stage, unit, &location, &levels)?;
        accepted.news += changed.len();
        accepted.duplicates += levels.len() - changed.len();
        dirty.extend(changed);
        let skus = levels.iter().map(|(sku, _)| sku);
        for sku in skus.filter(|sku| stage.index.is_reserved(sku)) {
            if pools::absorb(stage, &unit.connection, sku, unit.read_at)? {
                dirty.push(sku.clone());
            }
        }
    }
    dirty.sort_unstable();
    dirty.dedup();
    pools::recompute_sorted(stage, &dirty, None)?;
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
                    let sku = Key::from(level.sku.shared());
                    if let Some(levels) = told.get_mut(level.location.as_str()) {
                        levels.push((sku, position));
                    } else {
                        told.insert(level.location.clone(), vec![(sku, position)]);
                    }
                }
                None => accepted.unknown += 1,
            },
            Body::Rejected(fault) => reject(stage, unit, change, fault, accepted)?,
            // "Gone" is said of one SKU at all locations of its owner.
            Body::Absent => {
                for location in pools::known_locations(stage.txn, &unit.connection)? {
                    let none = gone(unit);
                    let levels = told.entry(location).or_default();
                    levels.push((Key::from(change.id.shared()), none));
                }
            }
            Body::Present(_) => {
                let fault =
                    Fault::bug("wrong_stream", "a stock stream gave another kind of record");
                reject(stage, unit, change, &fault, accepted)?;
            }
        }
    }
    for levels in told.values_mut() {
        // What was said last counts.
        levels.reverse();
        levels.sort_by(|(a, _), (b, _)| a.cmp(b));
        levels.dedup_by(|(a, _), (b, _)| a == b);
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
    levels: &[(Key, Position)],
) -> Result<Vec<Key>, EngineError> {
    let mut changed = Vec::new();
    let mut said = Vec::new();
    let rows = levels
        .iter()
        .map(|(sku, position)| (sku.as_str(), (sku, position)));
    let edit = |_: &str, (sku, position): (&Key, &Position), bytes: Option<&[u8]>| {
        said.clear();
        pools::encode_levels(position, &mut said);
        // Nearly all of a full list is as it was the day before, down to the bytes.
        if bytes.is_some_and(|bytes| bytes.starts_with(&said)) {
            return Ok::<_, EngineError>(Edit::Keep);
        }
        let before = bytes.and_then(decode_position);
        let stays = before.is_some_and(|before| {
            let same =
                (before.on_hand, before.unavailable) == (position.on_hand, position.unavailable);
            same || before.read_at > position.read_at
        });
        if stays {
            return Ok(Edit::Keep);
        }
        changed.push(sku.clone());
        Ok(Edit::Put(encode_position(position)))
    };
    let blocks = pools::positions(&unit.connection, location);
    blocks.update(stage.txn, &mut rows.peekable(), usize::MAX, edit)?;
    Ok(changed)
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
    let stream = (unit.connection.clone(), unit.stream);
    let none = KeySet::default();
    let seen = stage.index.seen.get(&stream).unwrap_or(&none);
    let guard = &stage.rules.guard;
    let mut missing = BTreeMap::<String, Vec<Key>>::new();
    let mut facts = Facts {
        rows: seen.len() as u64,
        ..Facts::default()
    };
    for location in pools::known_locations(stage.txn, &unit.connection)? {
        let blocks = pools::positions(&unit.connection, &location);
        let mut in_order = seen.in_order();
        blocks.visit(stage.txn, Bound::Unbounded, |sku, bytes| {
            let stocked = decode_position(bytes).is_some_and(|p| p.on_hand.is_positive());
            let named = in_order.holds(sku);
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
    resolve_gone_rows(stage, &thing, seen)?;
    zero(stage, unit, missing, limit)
}

/// Rows of an earlier run that could not be read, and are not in this one: nothing is left to mend.
fn resolve_gone_rows(
    stage: &mut Stage<'_, '_>,
    stream: &str,
    seen: &KeySet,
) -> Result<(), EngineError> {
    let is_gone = |thing: &&str| {
        let row = thing.strip_prefix(stream);
        let id = row.and_then(|row| row.strip_prefix('/'));
        id.is_some_and(|id| !seen.contains(id))
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
    let mut dirty = Vec::new();
    let mut more = false;
    for (location, skus) in missing {
        more |= skus.len() > limit;
        let levels = skus.into_iter().take(limit).map(|sku| (sku, gone(unit)));
        let levels: Levels = levels.collect();
        dirty.extend(store(stage, unit, &location, &levels)?);
    }
    dirty.sort_unstable();
    dirty.dedup();
    pools::recompute_sorted(stage, &dirty, Some("missing in a complete feed"))?;
    Ok(more)
}
