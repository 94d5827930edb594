//! Stock: from the owners' snapshots and the orders' reservations to what each channel should be told.
//!
//! A *cell* is one key of a state stream of one sink: what should be published there and what was. The
//! difference is what is pending; there is nothing to queue, to coalesce or to lose. Cells and
//! positions stand in blocks, a few hundred neighbouring SKUs to a row.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::EngineError;
use super::freshness;
use super::index::Update;
use super::rules::{Publish, Rules};
use super::stage::Stage;
use super::tables::{ATTEMPT, Fact, META, RESERVATION, ReservationRow};
use crate::connector::StockBasis;
use crate::id::{ConnectionName, EntityId, Key};
use crate::inventory::{Derivation, Member, Position, PublishRule, Reservation, derive};
use crate::record::{Lane, Quantity, Stream};
use crate::router::Mode;
use crate::store::Txn;
use crate::store::blocks::Blocks;
use crate::store::table::{CELL, POSITION};

/// A sink's state stream.
pub(super) type Target = (ConnectionName, Stream);

/// Under which SKU, order and line a reservation stands.
pub(super) type ReservationKey = (Key, EntityId, String);

/// How many reservations of one SKU are read; more open orders of one SKU are counted as an error.
const MAX_RESERVATIONS: usize = 100_000;

/// What should be published under one key, and what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cell {
    pub desired: Option<Decimal>,
    pub published: Option<Decimal>,
    pub published_at: Option<Timestamp>,
}

impl Cell {
    /// `7|5|…`: seven desired, five published at so many microseconds; `-` for none.
    pub(super) fn encode(&self) -> Vec<u8> {
        let text =
            |value: Option<Decimal>| value.map_or("-".to_owned(), |n| n.normalize().to_string());
        let at = self
            .published_at
            .map_or("-".to_owned(), |at| at.as_microsecond().to_string());
        format!("{}|{}|{at}", text(self.desired), text(self.published)).into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.split('|');
        let number = |text: &str| match text {
            "-" => Some(None),
            text => Decimal::from_str(text).ok().map(Some),
        };
        let desired = number(parts.next()?)?;
        let published = number(parts.next()?)?;
        let published_at = match parts.next()? {
            "-" => None,
            micros => Some(Timestamp::from_microsecond(micros.parse().ok()?).ok()?),
        };
        Some(Self {
            desired,
            published,
            published_at,
        })
    }

    pub(super) fn is_pending(&self) -> bool {
        self.desired.is_some() && self.desired != self.published
    }

    /// Less than the channel was told goes first; a channel never told anything may be showing more.
    pub(super) fn lane(&self) -> Lane {
        match (self.desired, self.published) {
            (Some(desired), Some(published)) if desired >= published => Lane::StockUp,
            _ => Lane::StockDown,
        }
    }
}

/// The cells of a sink's state stream.
pub(super) fn blocks(target: &Target) -> Blocks {
    Blocks::new(CELL, target)
}

/// An owner's snapshots at one location.
pub(super) fn positions(connection: &ConnectionName, location: &str) -> Blocks {
    Blocks::new(POSITION, &(connection.clone(), location.to_owned()))
}

/// `on hand|unavailable|read began, in microseconds`.
pub(super) fn encode_position(position: &Position) -> Vec<u8> {
    let (on_hand, unavailable) = (position.on_hand, position.unavailable);
    format!(
        "{on_hand}|{unavailable}|{}",
        position.read_at.as_microsecond()
    )
    .into_bytes()
}

pub(super) fn decode_position(bytes: &[u8]) -> Option<Position> {
    let mut parts = std::str::from_utf8(bytes).ok()?.split('|');
    let on_hand = parts.next()?.parse().ok()?;
    let unavailable = parts.next()?.parse().ok()?;
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
        update_cells(stage, publish, &derived, cause)?;
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
    let mut members: BTreeMap<&str, Vec<Member>> = BTreeMap::new();
    for member in &pool.members {
        let confirmed_at = freshness::confirmed_at(stage, &member.connection)?;
        for location in known_locations(stage.txn, &member.connection)? {
            if !member.locations.is_empty() && !member.locations.contains(&location) {
                continue;
            }
            let rows = positions(&member.connection, &location).get_many(stage.txn, &sorted)?;
            for (sku, bytes) in sorted.iter().zip(rows) {
                let Some(position) = bytes.as_deref().and_then(decode_position) else {
                    continue;
                };
                members.entry(sku).or_default().push(Member::new(
                    member.connection.clone(),
                    location.clone(),
                    position,
                    confirmed_at,
                    (stage.now, member.freshness),
                ));
            }
        }
    }
    let apart = stage.rules.facts(&publish.to).stock_basis == StockBasis::AllocatedApart;
    let own_channel = apart.then_some(&publish.to);
    let mut derived = BTreeMap::new();
    for sku in skus {
        let Some(members) = members.remove(sku.as_str()) else {
            continue;
        };
        let reservations = reservations(stage.txn, sku)?
            .into_iter()
            .map(|(_, row)| row)
            .collect();
        let rule = rule_for(publish, sku);
        derived.insert(
            sku.clone(),
            derive(members, reservations, rule, own_channel),
        );
    }
    Ok(derived)
}

fn rule_for<'a>(publish: &'a Publish, sku: &Key) -> &'a PublishRule {
    publish.items.get(sku).unwrap_or(&publish.rule)
}

fn update_cells(
    stage: &mut Stage<'_, '_>,
    publish: &Publish,
    derived: &BTreeMap<Key, Derivation>,
    cause: Option<&str>,
) -> Result<(), EngineError> {
    let target: Target = (publish.to.clone(), Stream::Stock);
    let cells = blocks(&target);
    let keys: Vec<&str> = derived.keys().map(Key::as_str).collect();
    let known = cells.get_many(stage.txn, &keys)?;
    let mut writes = Vec::new();
    let (mut changed, mut superseded) = (0, 0);
    for ((sku, derivation), bytes) in derived.iter().zip(known) {
        let before = bytes.as_deref().and_then(Cell::decode).unwrap_or_default();
        let mut desired = derivation.to_write;
        if derivation.only_decrease {
            // An owner's number is too old: the channel may be told less, never more.
            let ceiling = before.published.or(before.desired);
            desired = desired
                .zip(ceiling)
                .map(|(new, old)| new.min(old))
                .or(before.desired);
            if desired != derivation.to_write {
                for member in derivation.members.iter().filter(|member| member.stale) {
                    freshness::note_stale(stage, &publish.pool, &member.connection)?;
                }
            }
        }
        if desired == before.desired {
            continue;
        }
        // What is on its way may arrive, also after a crash: until it is settled nobody knows what stands
        // there, not even when what is desired is back at what was told before.
        let place = (target.clone(), sku.clone());
        let unsure =
            stage.index.in_flight.contains(&place) || stage.index.doubtful.contains(&place);
        let published = before.published.filter(|_| !unsure);
        let cell = Cell {
            desired,
            published,
            ..before
        };
        changed += 1;
        superseded += u64::from(before.is_pending());
        note_change(stage, publish, sku, (&before, &cell), cause)?;
        writes.push((sku.clone(), cell));
    }
    for (sku, cell) in &writes {
        refresh_pending(stage, &target, sku, cell, publish.mode, true)?;
    }
    let mut rows = writes
        .iter()
        .map(|(sku, cell)| (sku.as_str(), Some(cell.encode())))
        .peekable();
    cells.merge(stage.txn, &mut rows, usize::MAX)?;
    if changed > 0 {
        stage.count(&publish.name, |counts| {
            counts.routed += changed;
            counts.superseded += superseded;
        })?;
    }
    Ok(())
}

/// A channel with allocations apart lowers its number on hand by itself when it is told of a shipment,
/// before or after what else is being written there: nobody knows what stands there, so it is written
/// again.
pub(super) fn forget_published(
    stage: &mut Stage<'_, '_>,
    channel: &ConnectionName,
    skus: &BTreeSet<Key>,
) -> Result<(), EngineError> {
    let rules = stage.rules;
    let publish = rules.publishes.iter().find(|it| it.to == *channel);
    let apart = rules.facts(channel).stock_basis == StockBasis::AllocatedApart;
    let Some(publish) = publish.filter(|_| apart) else {
        return Ok(());
    };
    let target: Target = (channel.clone(), Stream::Stock);
    let cells = blocks(&target);
    let keys: Vec<&str> = skus.iter().map(Key::as_str).collect();
    let known = cells.get_many(stage.txn, &keys)?;
    let mut writes = Vec::new();
    for (sku, bytes) in skus.iter().zip(known) {
        let Some(cell) = bytes.as_deref().and_then(Cell::decode) else {
            continue;
        };
        let cell = Cell {
            published: None,
            ..cell
        };
        if stage
            .index
            .in_flight
            .contains(&(target.clone(), sku.clone()))
        {
            stage
                .updates
                .push(Update::CellShaken(target.clone(), sku.clone()));
        }
        refresh_pending(stage, &target, sku, &cell, publish.mode, false)?;
        writes.push((sku.as_str(), Some(cell.encode())));
    }
    cells.merge(stage.txn, &mut writes.into_iter().peekable(), usize::MAX)?;
    Ok(())
}

fn note_change(
    stage: &mut Stage<'_, '_>,
    publish: &Publish,
    sku: &Key,
    (before, after): (&Cell, &Cell),
    cause: Option<&str>,
) -> Result<(), EngineError> {
    let Some(cause) = cause else { return Ok(()) };
    let text = |value: Option<Decimal>| value.map(|number| number.normalize().to_string());
    let entry = super::tables::Entry {
        what: "desired".to_owned(),
        detail: cause.to_owned(),
        connection: Some(publish.to.clone()),
        before: text(before.desired),
        after: text(after.desired),
    };
    stage.journal(&stock_thing(&publish.to, sku), &entry)
}

/// How the stock of a SKU on a channel is called in the journal.
pub(super) fn stock_thing(connection: &ConnectionName, sku: &Key) -> String {
    format!("stock/{connection}/{sku}")
}

/// Tells the index when a cell may be written. `new_value`: the desired value is another one than
/// before, which ends a quarantine of the old one.
pub(super) fn refresh_pending(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    sku: &Key,
    cell: &Cell,
    mode: Mode,
    new_value: bool,
) -> Result<(), EngineError> {
    let key = (target.0.clone(), target.1, sku.clone());
    let attempt = ATTEMPT.get(stage.txn, &key)?;
    if !cell.is_pending() {
        let uncertain = attempt
            .as_ref()
            .is_some_and(|attempt| attempt.uncertain.is_some());
        if !uncertain {
            ATTEMPT.delete(stage.txn, &key);
            stage
                .updates
                .push(Update::Cell(target.clone(), sku.clone(), None));
            return Ok(());
        }
    }
    let due = match &attempt {
        _ if mode == Mode::Observe => None,
        Some(attempt) if attempt.quarantine.is_some() && !new_value => None,
        Some(attempt) if attempt.not_listed || !new_value => Some(attempt.due.unwrap_or(stage.now)),
        _ => Some(stage.now),
    };
    if let Some(number) = attempt
        .and_then(|attempt| attempt.quarantine)
        .filter(|_| new_value)
    {
        stage.end_quarantine(number);
        ATTEMPT.delete(stage.txn, &key);
    }
    if stage
        .index
        .in_flight
        .contains(&(target.clone(), sku.clone()))
    {
        return Ok(()); // settling it will look at the difference again
    }
    stage.updates.push(Update::Cell(
        target.clone(),
        sku.clone(),
        Some((cell.lane(), due)),
    ));
    Ok(())
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
