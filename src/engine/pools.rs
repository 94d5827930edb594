//! Stock: from the owners' snapshots and the orders' reservations to what each channel should be told
//! (`cell.rs`). Positions stand in blocks, a few hundred neighbouring SKUs to a row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::EngineError;
use super::cell::{self, Feed, Figure, Wanted};
use super::figures;
use super::freshness;
use super::index::Update;
use super::rules::{Publish, Rules};
use super::stage::Stage;
use super::tables::{Fact, META, RESERVATION, ReservationRow};
use crate::connector::StockBasis;
use crate::id::{ConnectionName, EntityId, Key};
use crate::inventory::{Derivation, Member, Position, PublishRule, Reservation, derive};
use crate::record::{Quantity, Stream};
use crate::store::Txn;
use crate::store::blocks::Blocks;
use crate::store::table::POSITION;

/// Under which SKU, order and line a reservation stands.
pub(super) type ReservationKey = (Key, EntityId, String);

/// How many reservations of one SKU are read; more open orders of one SKU are counted as an error.
const MAX_RESERVATIONS: usize = 100_000;

/// An owner's snapshots at one location.
pub(super) fn positions(connection: &ConnectionName, location: &str) -> Blocks {
    Blocks::new(POSITION, &(connection.clone(), location.to_owned()))
}

/// `on hand|unavailable|read began, in microseconds`.
pub(super) fn encode_position(position: &Position) -> Vec<u8> {
    let mut text = Vec::with_capacity(32);
    for number in [position.on_hand, position.unavailable] {
        figures::write(number.0, &mut text);
        text.push(b'|');
    }
    figures::write_whole(position.read_at.as_microsecond(), &mut text);
    text
}

pub(super) fn decode_position(bytes: &[u8]) -> Option<Position> {
    let mut parts = std::str::from_utf8(bytes).ok()?.split('|');
    let on_hand = Quantity(figures::read(parts.next()?)?);
    let unavailable = Quantity(figures::read(parts.next()?)?);
    let read_at = Timestamp::from_microsecond(parts.next()?.parse().ok()?).ok()?;
    Some(Position {
        on_hand,
        unavailable,
        read_at,
    })
}

/// The locations that an owner ever told about.
pub(super) fn known_locations(
    txn: &Txn<'_>,
    connection: &ConnectionName,
) -> Result<BTreeSet<String>, EngineError> {
    let fact = META.get(txn, &format!("locations/{connection}"))?;
    let names = fact
        .and_then(|fact| fact.value.as_array().cloned())
        .unwrap_or_default();
    Ok(names
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect())
}

pub(super) fn add_location(
    txn: &mut Txn<'_>,
    connection: &ConnectionName,
    location: &str,
) -> Result<(), EngineError> {
    let mut known = known_locations(txn, connection)?;
    if known.insert(location.to_owned()) {
        let value = known.into_iter().collect();
        META.put(txn, &format!("locations/{connection}"), &Fact { value })?;
    }
    Ok(())
}

/// Computes what each channel should be told about these SKUs and notes what differs. `cause` goes to
/// the journal; a bulk change of snapshots has none.
pub(super) fn recompute(
    stage: &mut Stage<'_, '_>,
    skus: &BTreeSet<Key>,
    cause: Option<&str>,
) -> Result<(), EngineError> {
    if skus.is_empty() {
        return Ok(());
    }
    let rules = stage.rules;
    for publish in &rules.publishes {
        let derived = derive_all(stage, publish, skus)?;
        let wanted = derived.iter().map(|(sku, derivation)| {
            let wanted = Wanted {
                figure: derivation.to_write.map(Figure::Quantity),
                // An owner's number is too old: the channel may be told less, never more.
                only_decrease: derivation.only_decrease,
            };
            (sku.clone(), wanted)
        });
        let feed = Feed {
            name: publish.name.clone(),
            target: (publish.to.clone(), Stream::Stock),
            mode: publish.mode,
        };
        let kept_back = cell::want(stage, &feed, &wanted.collect(), cause)?;
        for sku in kept_back {
            let members = derived.get(&sku).into_iter().flat_map(|it| &it.members);
            for member in members.filter(|member| member.stale) {
                freshness::note_stale(stage, &publish.pool, &member.connection)?;
            }
        }
    }
    Ok(())
}

/// Everything a number is made of, for `crossdock explain stock`.
pub(super) fn explain(
    stage: &Stage<'_, '_>,
    publish: &Publish,
    sku: &Key,
) -> Result<Option<Derivation>, EngineError> {
    Ok(derive_all(stage, publish, &BTreeSet::from([sku.clone()]))?.remove(sku))
}

fn derive_all(
    stage: &Stage<'_, '_>,
    publish: &Publish,
    skus: &BTreeSet<Key>,
) -> Result<BTreeMap<Key, Derivation>, EngineError> {
    let Some(pool) = stage.rules.pools.get(&publish.pool) else {
        return Ok(BTreeMap::new());
    };
    let sorted: Vec<&str> = skus.iter().map(Key::as_str).collect();
    // In the order of `skus`: a full list of stock brings thousands at a time.
    let mut members: Vec<Vec<Member>> = vec![Vec::new(); sorted.len()];
    for member in &pool.members {
        let confirmed_at = freshness::confirmed_at(stage, &member.connection)?;
        for location in known_locations(stage.txn, &member.connection)? {
            if !member.locations.is_empty() && !member.locations.contains(&location) {
                continue;
            }
            let rows = positions(&member.connection, &location).get_many(stage.txn, &sorted)?;
            let location: Arc<str> = location.into();
            for (of_sku, bytes) in members.iter_mut().zip(rows) {
                let Some(position) = bytes.as_deref().and_then(decode_position) else {
                    continue;
                };
                of_sku.push(Member::new(
                    member.connection.clone(),
                    Arc::clone(&location),
                    position,
                    confirmed_at,
                    (stage.now, member.freshness),
                ));
            }
        }
    }
    let apart = stage.rules.facts(&publish.to).stock_basis == StockBasis::AllocatedApart;
    let own_channel = apart.then_some(&publish.to);
    let mut derived = Vec::with_capacity(sorted.len());
    for (sku, members) in skus.iter().zip(members) {
        if members.is_empty() {
            continue;
        }
        let reservations = reservations(stage.txn, sku)?
            .into_iter()
            .map(|(_, row)| row)
            .collect();
        let rule = rule_for(publish, sku);
        let mut derivation = derive(members, reservations, rule, own_channel);
        if is_withdrawn(stage, publish, sku) {
            derivation = derivation.withdrawn();
        }
        derived.push((sku.clone(), derivation));
    }
    Ok(derived.into_iter().collect())
}

/// Whether whoever gives this channel its items took the item off sale.
fn is_withdrawn(stage: &Stage<'_, '_>, publish: &Publish, sku: &Key) -> bool {
    let Some(by) = stage.withdrawn_by(sku) else {
        return false;
    };
    let routes = stage.rules.router.from(by, Stream::Items);
    let items = (publish.to.clone(), Stream::Items);
    routes
        .iter()
        .any(|route| route.to == items && stage.rules.may_tell(route))
}

fn rule_for<'a>(publish: &'a Publish, sku: &Key) -> &'a PublishRule {
    publish.items.get(sku).unwrap_or(&publish.rule)
}

/// A channel with allocations apart lowers its number on hand by itself when it is told of a shipment,
/// before or after what else is being written there: nobody knows what stands there, so it is written
/// again.
pub(super) fn forget_published(
    stage: &mut Stage<'_, '_>,
    channel: &ConnectionName,
    skus: &BTreeSet<Key>,
) -> Result<(), EngineError> {
    let apart = stage.rules.facts(channel).stock_basis == StockBasis::AllocatedApart;
    let target = (channel.clone(), Stream::Stock);
    match stage.rules.feed_of(&target).filter(|_| apart) {
        Some(feed) => cell::forget_published(stage, &feed, skus),
        None => Ok(()),
    }
}

/// The reservations of a SKU, by order and line.
pub(super) fn reservations(
    txn: &Txn<'_>,
    sku: &Key,
) -> Result<Vec<(ReservationKey, Reservation)>, EngineError> {
    let rows = RESERVATION.scan(txn, &RESERVATION.under(&(sku.clone(),)), MAX_RESERVATIONS)?;
    Ok(rows
        .into_iter()
        .map(|(key, ReservationRow(row))| (key, row))
        .collect())
}

/// Writes a reservation, or removes it when nothing more can come of it.
pub(super) fn put_reservation(
    stage: &mut Stage<'_, '_>,
    key: &ReservationKey,
    row: Reservation,
) -> Result<(), EngineError> {
    if row.is_done() {
        RESERVATION.delete(stage.txn, key);
        let left = reservations(stage.txn, &key.0)?;
        stage
            .updates
            .push(Update::Reserved(key.0.clone(), !left.is_empty()));
        return Ok(());
    }
    RESERVATION.put(stage.txn, key, &ReservationRow(row))?;
    stage.updates.push(Update::Reserved(key.0.clone(), true));
    Ok(())
}

/// Whether a number can be told to a channel as a quantity.
pub(super) fn quantity(value: Decimal) -> Quantity {
    Quantity(value.max(Decimal::ZERO))
}

/// Lets a snapshot of the owner end what it already knows of.
pub(super) fn absorb(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    sku: &Key,
    read_at: Timestamp,
) -> Result<bool, EngineError> {
    if !takes_goods(stage.rules, connection) {
        return Ok(false);
    }
    let facts = stage.rules.facts(connection);
    let mut changed = false;
    for (key, mut row) in reservations(stage.txn, sku)? {
        if row.absorb(facts.stock_basis, read_at, facts.stock_lag) {
            changed = true;
            put_reservation(stage, &key, row)?;
        }
    }
    Ok(changed)
}

fn takes_goods(rules: &Rules, connection: &ConnectionName) -> bool {
    rules
        .pools_of(connection)
        .any(|(_, pool)| pool.fulfilled_by.as_ref() == Some(connection))
}
