//! Accepting orders: reserve what they take, queue them once to each sink, call them off.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::EngineError;
use super::accept::{Accepted, Unit};
use super::changes;
use super::items;
use super::parked;
use super::pools;
use super::rules::Mapped;
use super::stage::{NewQuarantine, Stage, deliver_to, map_by};
use super::tables::{ENTITY, OPEN, Open, RECORD, RESERVATION, Subject};
use crate::connector::{Captured, Operation};
use crate::fault::Fault;
use crate::id::{ConnectionName, DeliveryId, EntityId, Key, RemoteId};
use crate::inventory::Reservation;
use crate::ledger::Entity;
use crate::outbox::{OutboxRow, State};
use crate::record::{CancellationState, Line, Order, Party, Quantity, Record, Stream, Written};
use crate::router::Route;

/// The rule by which an order is left alone that was called off before it was carried anywhere.
const BEFORE_IMPORT: &str = "cancelled_before_import";

/// Accepts new content of an order from its origin.
pub(super) fn accept(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    entity: &mut Entity,
    (record, order): (&Record, &Order),
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    let json = record.to_json();
    let written = Written::of(&json);
    // A new order was queued nowhere so far.
    let routes = stage.rules.router.from(&unit.connection, unit.stream);
    let carried = routes.iter().map(|route| route.to.0.clone());
    let carried = carried.filter(|sink| entity.queued_to.contains(sink));
    let carried: BTreeSet<ConnectionName> = carried.collect();
    let before = if carried.is_empty() {
        None
    } else {
        content(stage, &entity.id)?
    };
    RECORD.put(stage.txn, &entity.id, &written)?;
    entity.closed = order.is_closed();
    let open = (
        unit.connection.clone(),
        unit.stream,
        order.id.as_str().into(),
    );
    if order.is_settled() {
        OPEN.delete(stage.txn, &open);
    } else {
        OPEN.put(
            stage.txn,
            &open,
            &Open {
                since: order.placed_at,
                ship_by: ship_by(order),
            },
        )?;
    }
    let cancelled = order.axes.cancellation == CancellationState::Cancelled;
    for route in stage.rules.router.from(&unit.connection, unit.stream) {
        stage.count(&route.name, |counts| counts.routed += 1)?;
        accept_for_route(stage, entity, (record, order, &json), route, accepted)?;
    }
    let mut renewed = BTreeSet::new();
    let mut gone = Vec::new();
    if let (Some(before), false) = (before, cancelled || entity.cancelled) {
        let changed = changes::between(&before, order);
        if !changed.is_empty() {
            renewed = changes::carry(stage, entity, (order, &json), &changed, &carried)?;
            gone = changes::gone(&before, order);
        }
    }
    if cancelled {
        entity.cancelled = true;
    }
    reserve(stage, entity, (order, &gone), &renewed)
}

/// Until when we must send it.
fn ship_by(order: &Order) -> Option<Timestamp> {
    let ours = order.fulfilled_by == Party::Seller;
    let window = order.ship_by.value().filter(|_| ours)?;
    window.to.value().copied()
}

fn accept_for_route(
    stage: &mut Stage<'_, '_>,
    entity: &mut Entity,
    (record, order, json): (&Record, &Order, &serde_json::Value),
    route: &Route,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    let thing = entity.id.to_string();
    if route
        .start_from
        .is_some_and(|start| order.placed_at < start)
    {
        return stage.filtered(&route.name, "start_from", &thing);
    }
    let cancelled = order.axes.cancellation == CancellationState::Cancelled;
    let queued = entity.queued_to.contains(&route.to.0);
    match (queued, cancelled) {
        (false, true) if !entity.cancelled && stage.index.is_older_than_us(order.placed_at) => {
            look_for(stage, entity, (record, json), route, accepted)
        }
        (false, true) => stage.filtered(&route.name, BEFORE_IMPORT, &thing),
        (true, true) if entity.cancelled => stage.filtered(&route.name, "already_carried", &thing),
        (true, true) => cancel(stage, entity, (record, order, json), route, accepted),
        (true, false) => stage.filtered(&route.name, "already_carried", &thing),
        (false, false) => {
            let content = (record, json);
            let queued = enqueue_json(stage, entity, content, route, Operation::Create)?;
            if queued {
                entity.queued_to.insert(route.to.0.clone());
                accepted.queued += 1;
            }
            Ok(())
        }
    }
}

/// Calls an order off: silently where it was never sent, else by telling the sink.
fn cancel(
    stage: &mut Stage<'_, '_>,
    entity: &mut Entity,
    (record, order, json): (&Record, &Order, &serde_json::Value),
    route: &Route,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    if let Some(row) = untouched_create(stage, entity, &route.to.0)? {
        stage.remove_event(row.seq);
        if stage.index.is_older_than_us(order.placed_at) {
            return look_for(stage, entity, (record, json), route, accepted);
        }
        entity.queued_to.remove(&route.to.0);
        return stage.filtered(&route.name, "cancelled_before_sending", entity.id.as_ref());
    }
    if enqueue(stage, entity, record, route, Operation::Cancel)? {
        accepted.queued += 1;
    }
    Ok(())
}

/// An earlier life may have begun to write an order that this one never sends: whatever carries our
/// reference there is called off, and nothing is created ([`looked_for`]).
fn look_for(
    stage: &mut Stage<'_, '_>,
    entity: &mut Entity,
    content: (&Record, &serde_json::Value),
    route: &Route,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    if enqueue_json(stage, entity, content, route, Operation::Cancel)? {
        accepted.queued += 1;
    }
    Ok(())
}

/// Whether a row calls off an order of which nobody knows whether it is there.
pub(super) fn is_unlinked_cancel(row: &OutboxRow, target: Option<&RemoteId>) -> bool {
    row.stream == Stream::Orders && row.operation == Operation::Cancel && target.is_none()
}

/// An order that was to be called off, and that nobody knew there, was looked for. What was found is
/// linked by now and is called off next.
pub(super) fn looked_for(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    entity: &mut Entity,
    found: bool,
) -> Result<(), EngineError> {
    let sink = &row.sink;
    if found {
        ENTITY.put(stage.txn, &entity.id.clone(), entity)?;
        let mut cancel = row.clone();
        cancel.state = State::Pending { due: stage.now };
        cancel.captured.clear();
        stage.put_event(&mut cancel)?;
        let detail = format!("on {sink} by our reference; it is called off");
        return stage.note(entity.id.as_str(), "found", detail, Some(sink));
    }
    stage.remove_event(row.seq);
    entity.queued_to.remove(sink);
    ENTITY.put(stage.txn, &entity.id.clone(), entity)?;
    stage.resolve_quarantine(entity.id.as_str(), &deliver_to(sink))?;
    stage.filtered(&row.route, BEFORE_IMPORT, entity.id.as_str())?;
    release_cancelled(stage, entity)
}

/// The create of this thing for this sink, if nothing of it was ever sent.
pub(super) fn untouched_create(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
) -> Result<Option<OutboxRow>, EngineError> {
    stage.fetch_parked(sink, &entity.id)?;
    for seq in stage.rows_of(sink, &entity.id)? {
        let Some(row) = stage.event(seq)? else {
            continue;
        };
        let unsent = matches!(row.state, State::Pending { .. } | State::Waiting { .. });
        // Being throttled is no attempt, and may have stopped it between two of its steps.
        let untouched = unsent && row.attempts == 0 && row.captured.is_empty();
        if row.operation == Operation::Create && untouched {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Accepts an event that is neither an order nor a shipment: created once, then updated.
pub(super) fn accept_other(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    entity: &mut Entity,
    record: &Record,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    for route in stage.rules.router.from(&unit.connection, unit.stream) {
        stage.count(&route.name, |counts| counts.routed += 1)?;
        let known = entity.queued_to.contains(&route.to.0);
        let operation = if known {
            Operation::Update
        } else {
            Operation::Create
        };
        if enqueue(stage, entity, record, route, operation)? {
            entity.queued_to.insert(route.to.0.clone());
            accepted.queued += 1;
        }
    }
    Ok(())
}

/// Maps a record and queues it; whether it was queued (or filtered, or is in quarantine).
pub(super) fn enqueue(
    stage: &mut Stage<'_, '_>,
    entity: &mut Entity,
    record: &Record,
    route: &Route,
    operation: Operation,
) -> Result<bool, EngineError> {
    enqueue_json(stage, entity, (record, &record.to_json()), route, operation)
}

/// As [`enqueue`], with the JSON form that is at hand.
fn enqueue_json(
    stage: &mut Stage<'_, '_>,
    entity: &mut Entity,
    (record, json): (&Record, &serde_json::Value),
    route: &Route,
    operation: Operation,
) -> Result<bool, EngineError> {
    let thing = entity.id.to_string();
    let mut mapped = match stage.map(&route.name, json) {
        Ok(Mapped::Kept(mapped)) => mapped,
        Ok(Mapped::Filtered(rule)) => {
            stage.filtered(&route.name, &rule, &thing)?;
            return Ok(false);
        }
        Err(fault) => return quarantine_mapping(stage, entity, record, route, fault),
    };
    if route.to.1 == Stream::Items {
        items::leave_out_empty_price(&mut mapped);
    }
    if let Err(fault) = Record::read(route.to.1, &mapped) {
        return quarantine_mapping(stage, entity, record, route, fault.at("after the mapping"));
    }
    stage.resolve_quarantine(&thing, &map_by(&route.name))?;
    let mut row = new_row(stage, entity, &entity.id, route, operation, &mapped);
    if parked::may_be_parked(stage, &row) {
        row.parked = true;
        entity.parked.insert(row.sink.clone(), row.seq);
    }
    stage.put_event(&mut row)?;
    let word = match operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Cancel => "cancel",
    };
    let detail = format!("{word} on {} by route {}", route.to.0, route.name);
    stage.note(&thing, "queued", detail, Some(&route.to.0))?;
    Ok(true)
}

/// A new outbox row; `line` is the thing with which it keeps order.
pub(super) fn new_row(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    line: &EntityId,
    route: &Route,
    operation: Operation,
    record: &serde_json::Value,
) -> OutboxRow {
    OutboxRow {
        id: DeliveryId::new(stage.numbers.id("dlv", stage.now)),
        seq: stage.numbers.next(),
        written: 0,
        sink: route.to.0.clone(),
        stream: route.to.1,
        entity: entity.id.clone(),
        line: line.clone(),
        group: items::group_of(entity, operation, record),
        operation,
        route: route.name.clone(),
        origin: entity.origin.clone(),
        reference: reference(entity),
        record: Written::of(record),
        state: State::Pending { due: stage.now },
        captured: Captured::new(),
        late_until: None,
        is_of_before: false,
        again: false,
        parked: false,
        attempts: 0,
        accepted_at: stage.now,
        last_fault: None,
    }
}

/// Our reference: the origin's name and its id of the thing.
pub(super) fn reference(entity: &Entity) -> String {
    let id = entity
        .remote_id(&entity.origin)
        .map_or("", RemoteId::as_str);
    let origin = entity.known_as.as_ref().unwrap_or(&entity.origin);
    format!("{origin}:{id}")
}

pub(super) fn quarantine_mapping(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    record: &Record,
    route: &Route,
    fault: Fault,
) -> Result<bool, EngineError> {
    let id = entity
        .remote_id(&entity.origin)
        .cloned()
        .unwrap_or_else(|| RemoteId::new(""));
    stage.quarantine(NewQuarantine {
        subject: Subject::Change {
            id,
            record: Some(record.to_json()),
        },
        connection: entity.origin.clone(),
        stream: entity.stream,
        route: Some(route.name.clone()),
        thing: entity.id.to_string(),
        stage: "map",
        fault,
        attempts: 0,
    })?;
    Ok(false)
}

/// Takes what an order needs from its channel's pool, once per line; gives back what was called off.
/// `gone` are lines that it no longer has; sinks that are `renewed` know nothing of what was called off.
fn reserve(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    (order, gone): (&Order, &[Line]),
    renewed: &BTreeSet<ConnectionName>,
) -> Result<(), EngineError> {
    let rules = stage.rules;
    let Some((_, pool)) = rules.pool_of_channel(&entity.origin) else {
        return Ok(());
    };
    let owner = pool.fulfilled_by.clone();
    // What a till sells has gone with the buyer, and the owner's number does not know it.
    let is_till = pool.tills.contains(&entity.origin);
    if is_till && !is_told(stage, entity, order, owner.as_ref()) {
        return Ok(());
    }
    // One that was never told of it has nothing to confirm.
    let asked = owner.as_ref().filter(|owner| !renewed.contains(*owner));
    let mut dirty = BTreeSet::new();
    // What the channel took off its number, or put back, without us.
    let mut moved = BTreeSet::new();
    for line in order.lines.iter().chain(gone) {
        let sku = Key::new(line.sku.as_str());
        let key = (sku.clone(), entity.id.clone(), line.line_id.clone());
        let known = RESERVATION.get(stage.txn, &key)?.map(|row| row.0);
        let cancelled = if order.axes.cancellation == CancellationState::Cancelled {
            line.quantity
        } else {
            line.qty_cancelled
        };
        let row = match known {
            Some(known) => {
                let row = changed(stage, entity, (asked, &known), line, cancelled);
                if row == known {
                    continue;
                }
                moved.insert(sku.clone());
                row
            }
            // What had left or was called off before we saw it takes nothing.
            None if cancelled == line.quantity || line.qty_open() == Quantity::ZERO && !is_till => {
                if left(entity, line) == Quantity::ZERO {
                    moved.insert(sku);
                }
                continue;
            }
            // An old reading of an order that is done: its goods left, its reservation ended.
            None if left(entity, line).0 + cancelled.0 >= line.quantity.0 => continue,
            None => {
                moved.insert(sku.clone());
                Reservation {
                    released: if is_till {
                        cancelled
                    } else {
                        Quantity(line.quantity.0 - line.qty_open().0)
                    },
                    called_off: cancelled,
                    ..new_reservation(entity, line, order.placed_at)
                }
            }
        };
        pools::put_reservation(stage, &key, row)?;
        dirty.insert(sku);
    }
    pools::forget_sold(stage, &entity.origin, &moved)?;
    let cause = format!("order {} on {}", entity.key, entity.origin);
    pools::recompute(stage, &dirty, Some(&cause))
}

/// What an order line takes now of which some is known.
fn changed(
    stage: &Stage<'_, '_>,
    entity: &Entity,
    (owner, known): (Option<&ConnectionName>, &Reservation),
    line: &Line,
    cancelled: Quantity,
) -> Reservation {
    // Fewer, without saying that they were called off, are called off too.
    let fewer = (known.quantity.0 - line.quantity.0).max(Decimal::ZERO);
    let cancelled = Quantity(cancelled.0 + fewer);
    let mut released = release(stage, entity, owner, known, cancelled);
    let mut called_off = cancelled.max(known.called_off);
    // Wanted again, of an order that goes on: it is taken again.
    if cancelled < known.called_off && !entity.cancelled {
        let again = known.called_off.0 - cancelled.0;
        released = Quantity((released.0 - again).max(Decimal::ZERO));
        called_off = cancelled;
    }
    Reservation {
        quantity: known.quantity.max(line.quantity),
        released,
        called_off,
        ..known.clone()
    }
}

/// Whether the owner is to hear of a till's sale. One of before the start is in its number already.
fn is_told(
    stage: &Stage<'_, '_>,
    entity: &Entity,
    order: &Order,
    owner: Option<&ConnectionName>,
) -> bool {
    let routes = stage.rules.router.from(&entity.origin, Stream::Orders);
    let in_time = |route: &&Route| route.start_from.is_none_or(|it| order.placed_at >= it);
    let mut to_owner = routes.iter().filter(|route| Some(&route.to.0) == owner);
    to_owner.any(|route| in_time(&route))
}

/// What the owner's shipments took of a line.
fn left(entity: &Entity, line: &Line) -> Quantity {
    let shipped = entity.shipped.values();
    let of_line = shipped.filter_map(|lines| lines.get(&line.line_id));
    Quantity(of_line.map(|quantity| quantity.0).sum())
}

/// How much of a reservation is given back: at once while nothing of the order was sent to the owner,
/// else when the owner has confirmed the cancellation ([`release_cancelled`]).
fn release(
    stage: &Stage<'_, '_>,
    entity: &Entity,
    owner: Option<&ConnectionName>,
    known: &Reservation,
    cancelled: Quantity,
) -> Quantity {
    let owner_has_it = owner.is_some_and(|owner| {
        entity.links.contains_key(owner)
            || stage
                .index
                .queue
                .of_line(owner, &entity.id)
                .next()
                .is_some()
                && entity.queued_to.contains(owner)
    });
    if owner_has_it {
        known.released
    } else {
        cancelled.max(known.released)
    }
}

/// The owner confirmed that an order is called off: give back all that has not left.
pub(super) fn release_cancelled(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
) -> Result<(), EngineError> {
    let cause = format!("cancellation of order {} confirmed", entity.key);
    change_reservations(stage, entity, &cause, |row| {
        let left = row.unshipped();
        row.released = Quantity(row.released.0 + left.0);
        left.is_positive()
    })
}

/// The owner does not call an order off that this store saw called off from the first (the store before it was lost): what
/// has not left there is not for sale. An order that was seen before has its reservations still.
pub(super) fn take_what_is_kept(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    owner: &ConnectionName,
) -> Result<(), EngineError> {
    let pool = stage.rules.pool_of_channel(&entity.origin);
    if pool.is_none_or(|(_, pool)| pool.fulfilled_by.as_ref() != Some(owner)) {
        return Ok(());
    }
    let Some(content) = content(stage, &entity.id)? else {
        return Ok(());
    };
    let mut dirty = BTreeSet::new();
    for line in &content.lines {
        let sku = Key::new(line.sku.as_str());
        let key = (sku.clone(), entity.id.clone(), line.line_id.clone());
        let is_known = RESERVATION.get(stage.txn, &key)?.is_some();
        if is_known || left(entity, line).0 >= line.quantity.0 {
            continue;
        }
        let mut row = new_reservation(entity, line, content.placed_at);
        row.called_off = line.quantity;
        row.confirmed_at = Some(stage.now);
        // Whether a snapshot knows of these already, nobody knows: the next one will.
        for (shipment, lines) in &entity.shipped {
            if let Some(quantity) = lines.get(&line.line_id) {
                row.issue(shipment.as_str(), *quantity, stage.now);
            }
        }
        pools::put_reservation(stage, &key, row)?;
        dirty.insert(sku);
    }
    let cause = format!("order {} is kept by {owner}", entity.key);
    pools::recompute(stage, &dirty, Some(&cause))
}

/// What a line takes from its pool before anything is known of it.
fn new_reservation(entity: &Entity, line: &Line, placed_at: Timestamp) -> Reservation {
    Reservation {
        order: entity.id.clone(),
        order_number: entity.key.to_string(),
        line_id: line.line_id.clone(),
        sku: line.sku.clone(),
        channel: entity.origin.clone(),
        quantity: line.quantity,
        released: Quantity::ZERO,
        called_off: Quantity::ZERO,
        issues: Vec::new(),
        confirmed_at: None,
        known_to_owner: false,
        placed_at,
    }
}

/// What the origin of an order said last of it.
pub(super) fn content(
    stage: &Stage<'_, '_>,
    order: &EntityId,
) -> Result<Option<Box<Order>>, EngineError> {
    let written = RECORD.get(stage.txn, order)?;
    Ok(match written.map(|written| written.read(Stream::Orders)) {
        Some(Ok(Record::Order(order))) => Some(order),
        _ => None,
    })
}

/// Changes the reservations of an order; `change` says whether it changed the one it is given.
pub(super) fn change_reservations(
    stage: &mut Stage<'_, '_>,
    order: &Entity,
    cause: &str,
    mut change: impl FnMut(&mut Reservation) -> bool,
) -> Result<(), EngineError> {
    // Where no order takes anything, none need be read.
    if !stage.has_reservations()? {
        return Ok(());
    }
    let Some(content) = content(stage, &order.id)? else {
        return Ok(());
    };
    let mut dirty = BTreeSet::new();
    for line in &content.lines {
        let sku = Key::new(line.sku.as_str());
        let key = (sku.clone(), order.id.clone(), line.line_id.clone());
        let Some(mut row) = RESERVATION.get(stage.txn, &key)?.map(|row| row.0) else {
            continue;
        };
        if change(&mut row) {
            pools::put_reservation(stage, &key, row)?;
            dirty.insert(sku);
        }
    }
    pools::recompute(stage, &dirty, Some(cause))
}
