//! An owner that has been silent for too long, and one that speaks again.
//!
//! Whether a number is too old depends on the time and not on a change, so nothing else would notice:
//! the numbers of a pool are computed anew when one of its owners turns stale (a channel's floor may
//! hold then) or fresh (what was kept back may rise).

use std::collections::BTreeSet;
use std::ops::Bound;

use jiff::Timestamp;

use super::EngineError;
use super::pools;
use super::rules::PoolMember;
use super::stage::Stage;
use super::tables::{CHECKPOINT, Fact, META};
use crate::clock::since;
use crate::id::{ConnectionName, Key};
use crate::record::Stream;

/// Since when nobody has confirmed an owner's numbers; now, where nothing was ever read. What a unit
/// that is being accepted names was confirmed by it.
pub(super) fn confirmed_at(
    stage: &Stage<'_, '_>,
    owner: &ConnectionName,
) -> Result<Timestamp, EngineError> {
    if let Some((reading, at)) = &stage.reading
        && reading == owner
    {
        return Ok(*at);
    }
    let checkpoint = CHECKPOINT.get(stage.txn, &(owner.clone(), Stream::Stock))?;
    let confirmed = checkpoint.and_then(|checkpoint| checkpoint.confirmed_at());
    Ok(confirmed.unwrap_or(stage.now))
}

/// Notes that numbers were kept back because of this owner, so that they are computed again.
pub(super) fn note_stale(
    stage: &mut Stage<'_, '_>,
    pool: &str,
    owner: &ConnectionName,
) -> Result<(), EngineError> {
    let name = fact_name(pool, owner);
    if META.contains(stage.txn, &name)? {
        return Ok(());
    }
    let value = stage.now.to_string().into();
    Ok(META.put(stage.txn, &name, &Fact { value })?)
}

/// Computes at most `limit` SKUs behind `after` anew where an owner turned stale or fresh; the last of
/// them, or `None` when all is done.
pub(super) fn refresh(
    stage: &mut Stage<'_, '_>,
    after: Option<&Key>,
    limit: usize,
) -> Result<Option<Key>, EngineError> {
    let turned = turned(stage)?;
    let mut skus = BTreeSet::new();
    for (_, pool, _) in &turned {
        for member in &stage.rules.pools[pool].members {
            collect(stage, member, after, limit, &mut skus)?;
        }
    }
    let more = skus.len() > limit;
    while skus.len() > limit {
        skus.pop_last();
    }
    let last = skus.last().cloned().filter(|_| more);
    pools::recompute(stage, &skus, Some("an owner turned silent or speaks again"))?;
    if last.is_none() {
        for (is_stale, pool, owner) in &turned {
            if *is_stale {
                note_stale(stage, pool, owner)?;
            } else {
                META.delete(stage.txn, &fact_name(pool, owner));
            }
        }
    }
    Ok(last)
}

/// (whether it is stale now, pool, owner) where that is news.
fn turned(stage: &Stage<'_, '_>) -> Result<Vec<(bool, String, ConnectionName)>, EngineError> {
    let mut turned = Vec::new();
    for (name, pool) in &stage.rules.pools {
        for member in &pool.members {
            let owner = &member.connection;
            let is_stale = since(confirmed_at(stage, owner)?, stage.now) > member.freshness;
            if is_stale != META.contains(stage.txn, &fact_name(name, owner))? {
                turned.push((is_stale, name.clone(), owner.clone()));
            }
        }
    }
    Ok(turned)
}

/// The first SKUs behind `after` that an owner told of, one more than `limit` of each location.
pub(super) fn collect(
    stage: &Stage<'_, '_>,
    member: &PoolMember,
    after: Option<&Key>,
    limit: usize,
    skus: &mut BTreeSet<Key>,
) -> Result<(), EngineError> {
    let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_str()));
    for location in pools::known_locations(stage.txn, &member.connection)? {
        let positions = pools::positions(&member.connection, &location);
        let rows = positions.scan(stage.txn, from, limit + 1)?;
        skus.extend(rows.into_iter().map(|(sku, _)| Key::new(sku)));
    }
    Ok(())
}

fn fact_name(pool: &str, owner: &ConnectionName) -> String {
    format!("stale/{pool}/{owner}")
}
