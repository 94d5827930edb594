//! Accepting shipments: from the system that ships to the channel where the order was placed.

use std::collections::BTreeMap;

use super::EngineError;
use super::accept::{Accepted, Unit};
use super::changes;
use super::hints::hint;
use super::orders::{self, change_reservations, new_row, quarantine_mapping};
use super::rules::Mapped;
use super::stage::{Stage, map_by};
use super::tables::{CHECKPOINT, ENTITY};
use crate::connector::Operation;
use crate::fault::Fault;
use crate::fulfilment::match_lines;
use crate::id::ConnectionName;
use crate::ledger::Entity;
use crate::outbox::State;
use crate::record::{Line, Order, Quantity, Record, Shipment, ShipmentLine, Stream};
use crate::router::Route;

/// Accepts new content of a shipment from the system that ships.
pub(super) fn accept(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    entity: &mut Entity,
    shipment: &Shipment,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    let routes = stage.rules.router.from(&unit.connection, Stream::Shipments);
    for route in routes {
        stage.count(&route.name, |counts| counts.routed += 1)?;
    }
    let Some(mut order) = find_order(stage, &unit.connection, shipment)? else {
        return unknown_order(stage, unit, entity, shipment, routes);
    };
    let Some(content) = orders::content(stage, &order.id)? else {
        return Ok(());
    };
    let lines = match match_to_order(&order, &content, entity, shipment) {
        Ok(lines) => lines,
        Err(fault) => {
            left_all_the_same(stage, unit, (&mut order, &content), entity, shipment)?;
            for route in routes.iter().filter(|route| route.to.0 == order.origin) {
                let record = Record::Shipment(Box::new(shipment.clone()));
                quarantine_mapping(stage, entity, &record, route, fault.clone())?;
            }
            return Ok(());
        }
    };
    take_goods(stage, unit, &order, &shipment_key(entity), shipment, &lines)?;
    remember(&mut order, entity, &lines);
    changes::left(stage, &order, &unit.connection)?;
    for route in routes {
        if route.to.0 == order.origin {
            enqueue(
                stage,
                entity,
                &order,
                (shipment, lines.clone()),
                route,
                accepted,
            )?;
        } else {
            stage.filtered(&route.name, "order_of_another_channel", entity.id.as_ref())?;
        }
    }
    Ok(ENTITY.put(stage.txn, &order.id.clone(), &order)?)
}

/// Pieces that were called off and sent all the same have left: they are taken off, though nobody is told of the
/// parcel before somebody looked.
fn left_all_the_same(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    (order, content): (&mut Entity, &Order),
    entity: &Entity,
    shipment: &Shipment,
) -> Result<(), EngineError> {
    let mut ordered = content.clone();
    for line in &mut ordered.lines {
        line.qty_cancelled = Quantity::ZERO;
    }
    let Ok(lines) = match_to_order(order, &ordered, entity, shipment) else {
        return Ok(()); // more than was ever ordered: nobody knows of what
    };
    take_goods(stage, unit, order, &shipment_key(entity), shipment, &lines)?;
    remember(order, entity, &lines);
    changes::left(stage, order, &unit.connection)?;
    Ok(ENTITY.put(stage.txn, &order.id.clone(), order)?)
}

/// By the link to the order, else by our reference on it (after a lost store, say).
pub(super) fn find_order(
    stage: &Stage<'_, '_>,
    connection: &ConnectionName,
    shipment: &Shipment,
) -> Result<Option<Entity>, EngineError> {
    let id = shipment.order.as_str().into();
    if let Some(order) = stage.linked(connection, Stream::Orders, &id)? {
        return Ok(Some(order));
    }
    match shipment.order_reference.value() {
        Some(reference) => stage.referenced(reference, Stream::Orders),
        None => Ok(None),
    }
}

/// An order that carries our reference is ours even though we do not know it yet: look again later.
/// Any other was not sold through us.
fn unknown_order(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    entity: &mut Entity,
    shipment: &Shipment,
    routes: &[Route],
) -> Result<(), EngineError> {
    if shipment.order_reference.value().is_some() {
        // Forget that it was seen, so that the next reading is news again.
        if let Some(link) = entity.links.get_mut(&unit.connection) {
            link.seen = None;
        }
        let id = shipment.id.as_str().into();
        return hint(
            stage,
            &unit.connection,
            Stream::Shipments,
            &id,
            "order not imported yet",
        );
    }
    for route in routes {
        stage.filtered(&route.name, "order_not_ours", entity.id.as_ref())?;
    }
    Ok(())
}

fn shipment_key(entity: &Entity) -> String {
    entity.id.to_string()
}

/// Names the order line of each shipped line, given what other shipments of the order took.
fn match_to_order(
    order: &Entity,
    content: &Order,
    entity: &Entity,
    shipment: &Shipment,
) -> Result<Vec<ShipmentLine>, Fault> {
    let mut taken: BTreeMap<String, Quantity> = BTreeMap::new();
    for (id, lines) in &order.shipped {
        if *id != entity.id {
            for (line, quantity) in lines {
                let sum = taken.entry(line.clone()).or_default();
                *sum = Quantity(sum.0 + quantity.0);
            }
        }
    }
    if shipment.lines.is_empty() {
        let whole = whole_order(&content.lines, &taken);
        let mut lines = content.lines.iter();
        if whole.is_empty()
            && taken.is_empty()
            && lines.any(|line| line.qty_cancelled.is_positive())
        {
            let message = "a parcel of an order of which everything was called off; dismiss it, or look at both";
            return Err(Fault::reject("more_shipped_than_ordered", message));
        }
        return Ok(whole);
    }
    match_lines(&shipment.lines, &content.lines, &taken)
}

/// A tracking number without lines means the whole order.
fn whole_order(lines: &[Line], taken: &BTreeMap<String, Quantity>) -> Vec<ShipmentLine> {
    let left = |line: &Line| {
        let before = taken.get(&line.line_id).copied().unwrap_or(Quantity::ZERO);
        Quantity(line.quantity.0 - line.qty_cancelled.0 - before.0)
    };
    let open = lines.iter().filter(|line| left(line).is_positive());
    open.map(|line| ShipmentLine {
        order_line: line.line_id.clone().into(),
        sku: line.sku.clone(),
        quantity: left(line),
        lot: crate::record::Presence::Absent,
        serials: Vec::new(),
    })
    .collect()
}

fn remember(order: &mut Entity, entity: &Entity, lines: &[ShipmentLine]) {
    let mut taken: BTreeMap<String, Quantity> = BTreeMap::new();
    for line in lines {
        if let Some(id) = line.order_line.value() {
            let sum = taken.entry(id.clone()).or_default();
            *sum = Quantity(sum.0 + line.quantity.0);
        }
    }
    order.shipped.insert(entity.id.clone(), taken);
}

/// Goods left: the owner's next snapshot will know.
fn take_goods(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    order: &Entity,
    shipment_id: &str,
    shipment: &Shipment,
    lines: &[ShipmentLine],
) -> Result<(), EngineError> {
    let Some((_, pool)) = stage.rules.pool_of_channel(&order.origin) else {
        return Ok(());
    };
    if pool.fulfilled_by.as_ref() != Some(&unit.connection) {
        return Ok(());
    }
    let is_till = pool.tills.contains(&order.origin);
    // Whoever does not tell the moment had let them go when the read that told of it was over.
    let left_at = shipment.shipped_at.value().copied();
    let left_at = left_at.unwrap_or(unit.read_until);
    let facts = stage.rules.facts(&unit.connection);
    // A snapshot that began after the goods left may have been read before this shipment was.
    let snapshot = CHECKPOINT.get(stage.txn, &(unit.connection.clone(), Stream::Stock))?;
    let snapshot = snapshot.and_then(|it| it.known_until());
    let cause = format!("shipment {} of order {}", shipment.id, order.key);
    change_reservations(stage, order, &cause, |row| {
        let of_line = |line: &&ShipmentLine| line.order_line.value() == Some(&row.line_id);
        let quantity: rust_decimal::Decimal = lines
            .iter()
            .filter(of_line)
            .map(|line| line.quantity.0)
            .sum();
        if quantity <= rust_decimal::Decimal::ZERO {
            return false;
        }
        row.issue(shipment_id, Quantity(quantity), left_at);
        if is_till {
            row.tell_channel(shipment_id); // whoever sold them at the counter waits for no news
        }
        if let Some(read_at) = snapshot {
            row.absorb(facts.stock_basis, read_at, facts.stock_lag);
        }
        true
    })
}

fn enqueue(
    stage: &mut Stage<'_, '_>,
    entity: &mut Entity,
    order: &Entity,
    (shipment, lines): (&Shipment, Vec<ShipmentLine>),
    route: &Route,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    let mut told = shipment.clone();
    told.lines = lines;
    let target = order.remote_id(&route.to.0);
    if let Some(target) = target {
        target.as_str().clone_into(&mut told.order);
    }
    let record = Record::Shipment(Box::new(told));
    let thing = entity.id.to_string();
    let mapped = match stage.map(&route.name, &record.to_json()) {
        Ok(Mapped::Kept(mapped)) => mapped,
        Ok(Mapped::Filtered(rule)) => return stage.filtered(&route.name, &rule, &thing),
        Err(fault) => {
            return quarantine_mapping(stage, entity, &record, route, fault).map(|_| ());
        }
    };
    stage.resolve_quarantine(&thing, &map_by(&route.name))?;
    let known = entity.queued_to.contains(&route.to.0);
    let operation = if known {
        Operation::Update
    } else {
        Operation::Create
    };
    let mut row = new_row(stage, entity, &order.id, route, operation, &mapped);
    row.is_of_before = is_of_before(stage, entity)?;
    if target.is_none() {
        row.state = State::Waiting {
            on: order.id.clone(),
            since: stage.now,
        };
    }
    stage.put_event(&mut row)?;
    entity.queued_to.insert(route.to.0.clone());
    accepted.queued += 1;
    let detail = format!("shipment of order {} to {}", order.key, route.to.0);
    stage.note(&thing, "queued", detail.clone(), Some(&route.to.0))?;
    stage.note(order.id.as_ref(), "shipped", detail, Some(&route.to.0))
}

/// Whether a life before may have known of a shipment: it was there when this store had read everything older than
/// itself, perhaps before its order was known.
fn is_of_before(stage: &Stage<'_, '_>, entity: &Entity) -> Result<bool, EngineError> {
    let source = (entity.origin.clone(), Stream::Shipments);
    let read = CHECKPOINT.get(stage.txn, &source)?;
    let Some(caught_up_at) = read.and_then(|read| read.caught_up_at) else {
        return Ok(true);
    };
    let link = entity.links.get(&entity.origin);
    Ok(link.is_some_and(|link| link.since <= caught_up_at))
}
