//! What may be sent next: an intent for each event is durable before anybody may send it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::Value;

use super::EngineError;
use super::cells::{self, Cell, Target};
use super::index::Update;
use super::stage::Stage;
use super::tables::{ATTEMPT, ENTITY, EVENT, META};
use crate::connector::{Captured, Delivery, Operation, StockBasis, Token};
use crate::id::{ConnectionName, DeliveryId, Key};
use crate::outbox::{OutboxRow, State};
use crate::record::{Lane, Record, Sku, StockLevel, Stream};
use crate::store::blocks::Blocks;

/// What is to be done with a claimed delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send it.
    Send,
    /// Look whether an earlier try left something there; send it only if not.
    FindFirst,
    /// Ask after its submission.
    Check(Token),
}

/// Where a claimed delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the event queue.
    Event(u64),
    /// A key of a state stream.
    Cell,
}

/// A delivery that nobody else will send until it is settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// What to deliver.
    pub delivery: Delivery,
    /// How.
    pub action: Action,
    /// Where it stands.
    pub place: Place,
    /// How urgent it is.
    pub lane: Lane,
}

/// Claims at most `limit` deliveries for one stream of one sink, most urgent first.
pub(super) fn claim(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    limit: usize,
) -> Result<Vec<Claimed>, EngineError> {
    if is_paused(stage, &target.0)? {
        return Ok(Vec::new());
    }
    let mut claimed = Vec::new();
    for seq in stage.index.queue.due(target, stage.now, limit) {
        if let Some(row) = EVENT.get(stage.txn, &seq)? {
            claimed.extend(claim_event(stage, row)?);
        }
    }
    let left = limit.saturating_sub(claimed.len());
    if target.1 == Stream::Stock && left > 0 {
        claim_cells(stage, target, left, &mut claimed)?;
    }
    Ok(claimed)
}

/// Whether deliveries to this connection wait for its credentials or configuration.
pub(super) fn is_paused(
    stage: &Stage<'_, '_>,
    connection: &ConnectionName,
) -> Result<bool, EngineError> {
    Ok(META.contains(stage.txn, &format!("paused/{connection}"))?)
}

fn claim_event(
    stage: &mut Stage<'_, '_>,
    mut row: OutboxRow,
) -> Result<Option<Claimed>, EngineError> {
    if row.stream == Stream::Shipments {
        if !name_order(stage, &mut row)? {
            return Ok(None);
        }
        if is_being_counted(stage, &row) {
            return Ok(None); // a moment later, when the number has arrived
        }
    }
    let action = match &row.state {
        State::Submitted { token, .. } => Action::Check(token.clone()),
        State::InFlight { .. } | State::Uncertain { .. } => Action::FindFirst,
        _ if row.operation == Operation::Create && may_exist(stage, &row) => Action::FindFirst,
        _ => Action::Send,
    };
    let Ok(record) = Record::from_json(row.stream, row.record.clone()) else {
        return Ok(None); // checked when it was queued or edited; a defect shows as an idle row
    };
    if !matches!(action, Action::Check(_)) {
        row.state = State::InFlight { since: stage.now };
    }
    let entity = ENTITY.get(stage.txn, &row.entity)?;
    let delivery = Delivery {
        id: row.id.clone(),
        stream: row.stream,
        key: Key::new(row.entity.as_str()),
        operation: row.operation,
        record,
        reference: row.reference.clone(),
        origin: row.origin.to_string(),
        target: entity.and_then(|entity| entity.remote_id(&row.sink).cloned()),
        captured: row.captured.clone(),
        attempts: row.attempts,
    };
    let lane = crate::outbox::lane(row.stream, row.operation);
    EVENT.put(stage.txn, &row.seq, &row)?;
    // In flight: nobody else may claim it, whatever its state says after a crash.
    let mut entry = crate::outbox::Entry::of(&row);
    entry.due = None;
    stage.updates.push(Update::Event(row.seq, Some(entry)));
    stage.updates.push(Update::Sending(row.seq));
    Ok(Some(Claimed {
        delivery,
        action,
        place: Place::Event(row.seq),
        lane,
    }))
}

/// Whether the number of something in this shipment is being written to the channel right now. A channel
/// with allocations apart lowers it when it is told of the shipment: never both at a time, or nobody knows
/// which came last.
fn is_being_counted(stage: &Stage<'_, '_>, row: &OutboxRow) -> bool {
    if stage.rules.facts(&row.sink).stock_basis != StockBasis::AllocatedApart {
        return false;
    }
    let Ok(Record::Shipment(shipment)) = Record::from_json(row.stream, row.record.clone()) else {
        return false;
    };
    let target = (row.sink.clone(), Stream::Stock);
    let being_written = |sku: &Sku| {
        let place = (target.clone(), Key::new(sku.as_str()));
        stage.index.in_flight.contains(&place)
    };
    shipment.lines.iter().any(|line| being_written(&line.sku))
}

/// The number to send now. While nobody knows whether the channel was told of a shipment, it may have
/// lowered its own number or not: it is told less only, and so little that it is right in both cases.
fn number_now(cell: &Cell, on_the_way: Option<&Decimal>) -> Option<Decimal> {
    let desired = cell.desired?;
    match on_the_way {
        None => Some(desired),
        Some(_) if cell.lane() == Lane::StockUp => None,
        Some(quantity) => Some((desired - quantity).max(Decimal::ZERO)),
    }
}

/// A shipment names its order as the sink knows it; without a link it waits for one.
fn name_order(stage: &mut Stage<'_, '_>, row: &mut OutboxRow) -> Result<bool, EngineError> {
    let order = ENTITY.get(stage.txn, &row.line)?;
    if let Some(id) = order.as_ref().and_then(|order| order.remote_id(&row.sink)) {
        row.record["order"] = Value::String(id.to_string());
        return Ok(true);
    }
    row.state = State::Waiting {
        on: row.line.clone(),
        since: stage.now,
    };
    stage.put_event(row)?;
    Ok(false)
}

/// How far a vendor's clock may be ahead of ours when it says that something happened before we started.
const CLOCK_MARGIN: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// Whether the thing may be over there although this store never sent it: it is older than this process,
/// so an earlier one may have sent it from a store that was lost or is newer than a restored backup.
fn may_exist(stage: &Stage<'_, '_>, row: &OutboxRow) -> bool {
    let happened = ["placed_at", "shipped_at"].iter().find_map(|field| {
        row.record
            .get(field)?
            .as_str()?
            .parse::<jiff::Timestamp>()
            .ok()
    });
    happened.is_none_or(|at| at <= crate::clock::later(stage.index.opened_at, CLOCK_MARGIN))
}

fn claim_cells(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    limit: usize,
    claimed: &mut Vec<Claimed>,
) -> Result<(), EngineError> {
    let mut due = stage.index.cells.due(target, stage.now, limit);
    due.sort();
    let blocks: Blocks = cells::blocks(target);
    let keys: Vec<&str> = due.iter().map(|(key, _)| key.as_str()).collect();
    let cells = blocks.get_many(stage.txn, &keys)?;
    let first = claimed.len();
    let apart = stage.rules.facts(&target.0).stock_basis == StockBasis::AllocatedApart;
    let on_the_way = if apart {
        stage.index.queue.on_the_way(&target.0)
    } else {
        BTreeMap::new()
    };
    for ((key, lane), bytes) in due.iter().zip(cells) {
        let cell = bytes.as_deref().and_then(Cell::decode);
        let number = cell.and_then(|cell| number_now(&cell, on_the_way.get(key)));
        let Some(desired) = number else {
            continue;
        };
        let attempt = ATTEMPT.get(stage.txn, &(target.0.clone(), target.1, key.clone()))?;
        let sent = desired.normalize().to_string();
        let uncertain = attempt
            .as_ref()
            .and_then(|attempt| attempt.uncertain.as_ref());
        // The same number may be sent again freely; before another one the last is looked up.
        let action = match uncertain {
            Some(last) if *last != sent => Action::FindFirst,
            _ => Action::Send,
        };
        let Ok(sku) = Sku::new(key.as_str()) else {
            continue;
        };
        let level = StockLevel::on_hand(sku, cells::quantity(desired));
        let delivery = Delivery {
            id: DeliveryId::new(stage.numbers.id("dlv", stage.now)),
            stream: target.1,
            key: key.clone(),
            operation: Operation::Update,
            record: Record::Stock(level),
            reference: key.to_string(),
            origin: String::new(),
            target: None,
            captured: Captured::new(),
            attempts: attempt.map_or(0, |attempt| attempt.attempts),
        };
        claimed.push(Claimed {
            delivery,
            action,
            place: Place::Cell,
            lane: *lane,
        });
        stage
            .updates
            .push(Update::CellInFlight(target.clone(), key.clone(), true));
        stage.updates.push(Update::Cell(
            target.clone(),
            key.clone(),
            Some((*lane, None)),
        ));
    }
    if let Some(part) = claimed.get_mut(first..) {
        part.sort_by_key(|claim| claim.lane);
    }
    Ok(())
}
