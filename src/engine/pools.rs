//! Stock: from the owners' snapshots and the orders' reservations to what each channel should be told
//! (`cell.rs`). Positions stand in blocks, a few hundred neighbouring SKUs to a row.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::EngineError;
use super::cell::{self, Feed, Figure, Wanted};
use super::figures;
use super::freshness;
use super::index::Update;
use super::rules::{Pool, Publish, Rules};
use super::stage::Stage;
use super::tables::{CHECKPOINT, Fact, META, RESERVATION, ReservationRow};
use crate::clock::{later, since};
use crate::connector::StockBasis;
use crate::id::{ConnectionName, EntityId, Key};
use crate::inventory::{Derivation, Member, Position, PublishRule, Reservation, Tally, derive};
use crate::record::{Quantity, Stream};
use crate::store::Txn;
use crate::store::blocks::Blocks;
use crate::store::table::POSITION;

/// Under which SKU, order and line a reservation stands.
pub(super) type ReservationKey = (Key, EntityId, String);

/// How many reservations of one SKU are read; more open orders of one SKU are counted as an error.
const MAX_RESERVATIONS: usize = 100_000;
/// How long a channel whose orders cannot be read keeps the numbers of its pool back after a start.
const FIRST_READ: Duration = Duration::from_mins(10);

/// An owner's snapshots at one location.
pub(super) fn positions(connection: &ConnectionName, location: &str) -> Blocks {
    Blocks::new(POSITION, &(connection.clone(), location.to_owned()))
}

/// `on hand|unavailable|read began, in microseconds`.
pub(super) fn encode_position(position: &Position) -> Vec<u8> {
    let mut text = Vec::with_capacity(32);
    encode_levels(position, &mut text);
    figures::write_whole(position.read_at.as_microsecond(), &mut text);
    text
}

/// What it says, without when: `on hand|unavailable|`.
pub(super) fn encode_levels(position: &Position, text: &mut Vec<u8>) {
    for number in [position.on_hand, position.unavailable] {
        figures::write(number.0, text);
        text.push(b'|');
    }
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
    let skus: Vec<Key> = skus.iter().cloned().collect();
    recompute_sorted(stage, &skus, cause)
}

/// The same for SKUs in ascending order, each once: a full list of stock brings thousands at a time, of
/// which only the numbers are wanted.
pub(super) fn recompute_sorted(
    stage: &mut Stage<'_, '_>,
    skus: &[Key],
    cause: Option<&str>,
) -> Result<(), EngineError> {
    if skus.is_empty() {
        return Ok(());
    }
    let rules = stage.rules;
    for publish in &rules.publishes {
        let Some(pool) = rules.pools.get(&publish.pool) else {
            continue;
        };
        let parts = parts(stage, pool)?;
        let wanted = wanted(stage, publish, &parts, skus)?;
        let feed = Feed {
            name: publish.name.clone(),
            target: (publish.to.clone(), Stream::Stock),
            mode: publish.mode,
        };
        let kept_back = cell::want(stage, &feed, &wanted, cause)?;
        note_stale(stage, publish, &parts, &kept_back)?;
    }
    Ok(())
}

/// Notes the owners because of whom channels are told less than there is of these SKUs: once they speak
/// again, it is computed anew.
fn note_stale(
    stage: &mut Stage<'_, '_>,
    publish: &Publish,
    parts: &[Part],
    kept_back: &[Key],
) -> Result<(), EngineError> {
    if kept_back.is_empty() {
        return Ok(());
    }
    for part in parts.iter().filter(|part| part.is_stale) {
        let mut told = false;
        part.positions
            .look(stage.txn, kept_back, |_, bytes| told |= bytes.is_some())?;
        if told {
            freshness::note_stale(stage, &publish.pool, &part.connection)?;
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
    let Some(pool) = stage.rules.pools.get(&publish.pool) else {
        return Ok(None);
    };
    let mut members = Vec::new();
    for part in parts(stage, pool)? {
        let bytes = part.positions.get(stage.txn, sku.as_str())?;
        members.extend(
            bytes
                .as_deref()
                .and_then(decode_position)
                .map(|position| Member {
                    connection: part.connection.clone(),
                    location: part.location.clone(),
                    position,
                    stale: part.is_stale,
                }),
        );
    }
    if members.is_empty() {
        return Ok(None);
    }
    let reservations = reservations(stage.txn, sku)?;
    let reservations = reservations.into_iter().map(|(_, row)| row).collect();
    let withdrawn = is_withdrawn(stage, publish, sku);
    let rule = rule_for(publish, sku);
    let own_channel = own_channel(stage.rules, publish);
    Ok(Some(derive(
        members,
        reservations,
        rule,
        own_channel,
        withdrawn,
    )))
}

/// How many pieces of a SKU must still leave and are not there; nothing when all are, or no owner told of it.
///
/// What left, and what the owner's own number knows, is not counted: neither shows in a snapshot at once.
pub(super) fn missing(
    stage: &Stage<'_, '_>,
    pool: &str,
    sku: &Key,
) -> Result<Option<Quantity>, EngineError> {
    let Some(pool) = stage.rules.pools.get(pool) else {
        return Ok(None);
    };
    let mut there: Option<Decimal> = None;
    for part in parts(stage, pool)? {
        let bytes = part.positions.get(stage.txn, sku.as_str())?;
        if let Some(position) = bytes.as_deref().and_then(decode_position) {
            let more = position.on_hand.0 - position.unavailable.0;
            there = Some(there.unwrap_or_default() + more);
        }
    }
    let Some(there) = there else {
        return Ok(None);
    };
    let reserved = reservations(stage.txn, sku)?;
    let must_leave = reserved
        .iter()
        .map(|(_, row)| row.outstanding().0.min(row.unshipped().0));
    let must_leave: Decimal = must_leave.sum();
    let missing = must_leave - there.max(Decimal::ZERO);
    Ok((missing > Decimal::ZERO).then_some(Quantity(missing)))
}

/// One location of one owner in a pool.
struct Part {
    connection: ConnectionName,
    location: Arc<str>,
    positions: Blocks,
    /// The owner's numbers are older than allowed. Their age counts from when the *stream* was last read as
    /// a whole: a delta read that does not name a SKU confirms its old value.
    is_stale: bool,
}

fn parts(stage: &Stage<'_, '_>, pool: &Pool) -> Result<Vec<Part>, EngineError> {
    let mut parts = Vec::new();
    for member in &pool.members {
        let confirmed_at = freshness::confirmed_at(stage, &member.connection)?;
        let is_stale = since(confirmed_at, stage.now) > member.freshness;
        for location in known_locations(stage.txn, &member.connection)? {
            if member.locations.is_empty() || member.locations.contains(&location) {
                parts.push(Part {
                    connection: member.connection.clone(),
                    positions: positions(&member.connection, &location),
                    location: location.into(),
                    is_stale,
                });
            }
        }
    }
    Ok(parts)
}

/// What a channel should be told of each of these SKUs that an owner told of.
fn wanted(
    stage: &Stage<'_, '_>,
    publish: &Publish,
    parts: &[Part],
    skus: &[Key],
) -> Result<Vec<(Key, Wanted)>, EngineError> {
    let mut tallies = vec![Tally::default(); skus.len()];
    for part in parts {
        part.positions.look(stage.txn, skus, |n, bytes| {
            if let Some(position) = bytes.and_then(decode_position) {
                tallies[n].member(&position, part.is_stale);
            }
        })?;
    }
    let own_channel = own_channel(stage.rules, publish);
    let unread = unread_sales(stage, &publish.pool)?.is_some();
    let mut wanted = Vec::with_capacity(skus.len());
    for (sku, mut tally) in skus.iter().zip(tallies) {
        if !tally.is_known() {
            continue;
        }
        if stage.may_be_reserved(sku) {
            for (_, taken) in reservations(stage.txn, sku)? {
                tally.reservation(&taken, own_channel);
            }
        }
        let withdrawn = is_withdrawn(stage, publish, sku);
        let numbers = tally.number(rule_for(publish, sku), withdrawn);
        let told = Wanted {
            figure: numbers.to_write.map(Figure::Quantity),
            only_decrease: numbers.only_decrease || (unread && !withdrawn),
        };
        wanted.push((sku.clone(), told));
    }
    Ok(wanted)
}

/// Why a channel is not told all that there is of a SKU, where its owners' age is not the reason.
pub(super) fn waits_for_sales(
    stage: &Stage<'_, '_>,
    publish: &Publish,
    derivation: &Derivation,
    desired: Option<Figure>,
) -> Result<Option<String>, EngineError> {
    if desired == derivation.to_write.map(Figure::Quantity) {
        return Ok(None);
    }
    let until = later(stage.index.opened_at, FIRST_READ);
    Ok(unread_sales(stage, &publish.pool)?.map(|channel| {
        format!(
            "this store is new or restored, and not all older orders of {channel} are read: no channel is told more \
             until they are, {until} at the latest"
        )
    }))
}

/// Whether this process began so lately that unread sales are waited for.
pub(super) fn waits_for_first_reads(stage: &Stage<'_, '_>) -> bool {
    stage.now < later(stage.index.opened_at, FIRST_READ)
}

/// The channel whose sales out of a pool may be unknown, because of its orders not everything was read that is older than
/// a new or restored store: then the channels may be told less, never more. One that cannot be read keeps the others
/// waiting for [`FIRST_READ`] and no longer.
pub(super) fn unread_sales(
    stage: &Stage<'_, '_>,
    pool: &str,
) -> Result<Option<ConnectionName>, EngineError> {
    let rules = stage.rules;
    if !waits_for_first_reads(stage) {
        return Ok(None);
    }
    let told = rules.channels_of(pool).map(|publish| &publish.to);
    let tills = rules.pools.get(pool).into_iter().flat_map(|it| &it.tills);
    for channel in told.chain(tills) {
        if rules.router.from(channel, Stream::Orders).is_empty() {
            continue;
        }
        let orders = (channel.clone(), Stream::Orders);
        let read = CHECKPOINT.get(stage.txn, &orders)?;
        if read.is_none_or(|read| read.caught_up_at.is_none()) {
            return Ok(Some(channel.clone()));
        }
    }
    Ok(None)
}

/// The channel, if it shows allocations apart.
fn own_channel<'r>(rules: &Rules, publish: &'r Publish) -> Option<&'r ConnectionName> {
    let apart = rules.facts(&publish.to).stock_basis == StockBasis::AllocatedApart;
    apart.then_some(&publish.to)
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

/// A channel whose number is what it still sells takes its own orders off it by itself, and puts back what
/// is called off, before or after what else is being written there: nobody knows what stands there, so it
/// is written again.
pub(super) fn forget_sold(
    stage: &mut Stage<'_, '_>,
    channel: &ConnectionName,
    skus: &BTreeSet<Key>,
) -> Result<(), EngineError> {
    forget_told(stage, channel, StockBasis::Free, skus)
}

/// A channel with allocations apart lowers its number on hand by itself when it is told of a shipment,
/// before or after what else is being written there: nobody knows what stands there, so it is written
/// again.
pub(super) fn forget_published(
    stage: &mut Stage<'_, '_>,
    channel: &ConnectionName,
    skus: &BTreeSet<Key>,
) -> Result<(), EngineError> {
    forget_told(stage, channel, StockBasis::AllocatedApart, skus)
}

/// What was told of these is forgotten, if the channel counts that way.
fn forget_told(
    stage: &mut Stage<'_, '_>,
    channel: &ConnectionName,
    basis: StockBasis,
    skus: &BTreeSet<Key>,
) -> Result<(), EngineError> {
    let counts_so = stage.rules.facts(channel).stock_basis == basis;
    let target = (channel.clone(), Stream::Stock);
    match stage.rules.feed_of(&target).filter(|_| counts_so) {
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
    stage.reserved.insert(key.0.clone());
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
