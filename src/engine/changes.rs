//! Orders whose lines changed where they were placed, after they were carried.
//!
//! What was not sent yet is sent as it is now. What was sent is not changed: nothing that comes with us can change the
//! lines of an order that its owner has. So a notice stands on the desk, one for an order and a sink, with each line that
//! differs from what was carried, until
//!
//! - the sink shows the order with no more of it than there is left, or the lines are again what they were;
//! - all of it has left there, or was called off there;
//! - a person says that it was changed there too, or lets it go.
//!
//! What was called off stays reserved until the owner shows it or a person says so: it may still be sent.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::EngineError;
use super::orders::untouched_create;
use super::pools;
use super::rules::Mapped;
use super::stage::{NewQuarantine, Stage, changed_at};
use super::tables::{ChangedLine, QUARANTINE, Quarantined, RESERVATION, Subject};
use crate::fault::Fault;
use crate::id::{ConnectionName, Key, RemoteId};
use crate::ledger::Entity;
use crate::record::{Line, Order, Quantity, Record, Written};

/// Where such a notice stands in quarantine.
pub(super) const CHANGE: &str = "change";
/// Its code.
const LINES_CHANGED: &str = "lines_changed";

/// The lines of an order that changed, by how many of each are wanted.
pub(super) fn between(before: &Order, now: &Order) -> Vec<ChangedLine> {
    let changed = |line: &Line, from: Quantity, to: Quantity| ChangedLine {
        line_id: line.line_id.clone(),
        sku: line.sku.clone(),
        from,
        to,
    };
    let same = |a: &Line, b: &Line| (&a.line_id, &a.sku) == (&b.line_id, &b.sku);
    let known = before.lines.iter().map(|line| {
        let now = now.lines.iter().find(|now| same(now, line));
        changed(line, wanted(line), now.map_or(Quantity::ZERO, wanted))
    });
    let new = now.lines.iter().filter(|line| {
        let mut known = before.lines.iter();
        !known.any(|known| same(known, line))
    });
    let new = new.map(|line| changed(line, Quantity::ZERO, wanted(line)));
    known
        .chain(new)
        .filter(|line| line.from != line.to)
        .collect()
}

fn wanted(line: &Line) -> Quantity {
    Quantity((line.quantity.0 - line.qty_cancelled.0).max(Decimal::ZERO))
}

/// Lines that an order no longer has, as if they had been called off.
pub(super) fn gone(before: &Order, now: &Order) -> Vec<Line> {
    let has = |line: &Line| now.lines.iter().any(|it| it.line_id == line.line_id);
    let gone = before.lines.iter().filter(|line| !has(line));
    gone.map(|line| Line {
        qty_cancelled: line.quantity,
        ..line.clone()
    })
    .collect()
}

/// The lines of an order changed after it was queued to these sinks. Those to which nothing of it can have been sent so far
/// are sent what it is now; the names of these.
pub(super) fn carry(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    (order, json): (&Order, &serde_json::Value),
    lines: &[ChangedLine],
    sinks: &BTreeSet<ConnectionName>,
) -> Result<BTreeSet<ConnectionName>, EngineError> {
    // An earlier life may have sent it from a store that was lost: it is looked for as it was, and may be there so.
    let may_be_there = stage.index.is_older_than_us(order.placed_at);
    let mut renewed = BTreeSet::new();
    for sink in sinks {
        if !may_be_there && renew(stage, entity, sink, json)? {
            renewed.insert(sink.clone());
        } else {
            notice(stage, entity, lines, sink)?;
        }
    }
    Ok(renewed)
}

/// Whether what waits for a sink is what the order is now.
fn renew(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
    json: &serde_json::Value,
) -> Result<bool, EngineError> {
    let Some(mut row) = untouched_create(stage, entity, sink)? else {
        return Ok(false);
    };
    let Ok(Mapped::Kept(mapped)) = stage.map(&row.route, json) else {
        return Ok(false);
    };
    if Record::read(row.stream, &mapped).is_err() {
        return Ok(false);
    }
    row.record = Written::of(&mapped);
    stage.put_event(&mut row)?;
    let detail = format!("as it is now, before it was sent to {sink}");
    stage.note(entity.id.as_str(), "mapped", detail, Some(sink))?;
    Ok(true)
}

/// The notice of an order at a sink, if one stands there.
fn standing(
    stage: &Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
) -> Result<Option<Vec<ChangedLine>>, EngineError> {
    let Some(number) = stage
        .index
        .quarantined(entity.id.as_str(), &changed_at(sink))
    else {
        return Ok(None);
    };
    let row = QUARANTINE.get(stage.txn, &number)?;
    Ok(match row.map(|row| row.subject) {
        Some(Subject::Lines { lines, .. }) => Some(lines),
        _ => None,
    })
}

/// Tells a person of lines that differ from what was carried, all of them since then together.
fn notice(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    changed: &[ChangedLine],
    sink: &ConnectionName,
) -> Result<(), EngineError> {
    let mut lines = standing(stage, entity, sink)?.unwrap_or_default();
    for line in changed {
        let known = lines
            .iter_mut()
            .find(|known| (&known.line_id, &known.sku) == (&line.line_id, &line.sku));
        match known {
            Some(known) => known.to = line.to,
            None => lines.push(line.clone()),
        }
    }
    lines.retain(|line| line.from != line.to && !has_left(entity, line));
    if lines.is_empty() {
        return over(stage, entity, sink);
    }
    let told = lines.iter().map(|line| {
        let ChangedLine { sku, from, to, .. } = line;
        format!("{sku} from {from} to {to}")
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let message = format!(
        "order {} was changed on {} after it was carried to {sink}: {told}; change it there too, then say so with \
         `crossdock quarantine changed`",
        entity.key, entity.origin
    );
    stage.quarantine(NewQuarantine {
        subject: Subject::Lines {
            id: entity
                .remote_id(&entity.origin)
                .cloned()
                .unwrap_or_else(|| RemoteId::new("")),
            lines,
        },
        connection: sink.clone(),
        stream: entity.stream,
        route: None,
        thing: entity.id.to_string(),
        stage: CHANGE,
        fault: Fault::reject(LINES_CHANGED, message),
        attempts: 0,
    })?;
    Ok(())
}

/// Nothing is left to be changed at this sink.
fn over(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
) -> Result<(), EngineError> {
    stage.resolve_quarantine(entity.id.as_str(), &changed_at(sink))
}

/// A sink shows an order that was carried to it.
pub(super) fn shown(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
    there: &Order,
) -> Result<(), EngineError> {
    let Some(lines) = standing(stage, entity, sink)? else {
        return Ok(());
    };
    let Some(here) = super::orders::content(stage, &entity.id)? else {
        return Ok(());
    };
    let (open, ours) = (by_sku(there), by_sku(&here));
    // What is missing over there is gone, unless something is there under a name that we do not know.
    let knows_names = open.keys().all(|sku| ours.contains_key(sku));
    let is_changed = |line: &&ChangedLine| {
        let sku = line.sku.as_str();
        let wanted = ours.get(sku).copied().unwrap_or_default();
        match open.get(sku) {
            Some(open) if line.to < line.from => *open <= wanted,
            Some(open) => *open >= wanted,
            None => knows_names && line.to == Quantity::ZERO,
        }
    };
    let (changed, left): (Vec<&ChangedLine>, Vec<&ChangedLine>) =
        lines.iter().partition(is_changed);
    let cause = format!("order {} changed on {sink}", entity.key);
    if fulfils(stage, entity, sink) {
        give_back(stage, entity, changed.into_iter(), &cause)?;
    }
    if left.is_empty() {
        over(stage, entity, sink)?;
    }
    Ok(())
}

/// How many of each SKU an order wants.
fn by_sku(order: &Order) -> BTreeMap<&str, Decimal> {
    let mut found = BTreeMap::new();
    for line in &order.lines {
        *found.entry(line.sku.as_str()).or_default() += wanted(line).0;
    }
    found
}

/// Whether this connection sends what the channel of an order sells.
fn fulfils(stage: &Stage<'_, '_>, entity: &Entity, sink: &ConnectionName) -> bool {
    let pool = stage.rules.pool_of_channel(&entity.origin);
    pool.is_some_and(|(_, pool)| pool.fulfilled_by.as_ref() == Some(sink))
}

/// Whether all that there ever was of a line has left: nothing of it can be changed any more.
fn has_left(entity: &Entity, line: &ChangedLine) -> bool {
    let shipments = entity.shipped.values();
    let of_line = shipments.filter_map(|lines| lines.get(&line.line_id));
    of_line.map(|quantity| quantity.0).sum::<Decimal>() >= line.from.0.max(line.to.0)
}

/// Goods of an order left at a sink: when all that the notice is about did, nothing can be changed any more.
pub(super) fn left(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
) -> Result<(), EngineError> {
    let Some(lines) = standing(stage, entity, sink)? else {
        return Ok(());
    };
    if lines.iter().all(|line| has_left(entity, line)) {
        over(stage, entity, sink)?;
    }
    Ok(())
}

/// A sink confirmed that the whole order is called off there.
pub(super) fn called_off(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
) -> Result<(), EngineError> {
    let Some(lines) = standing(stage, entity, sink)? else {
        return Ok(());
    };
    let cause = format!("cancellation of order {} confirmed", entity.key);
    give_back(stage, entity, lines.iter(), &cause)?;
    over(stage, entity, sink)
}

/// A person says that the order was changed at the sink too: what was called off is for sale again.
pub(super) fn settled(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    row: &Quarantined,
    lines: &[ChangedLine],
) -> Result<(), EngineError> {
    let cause = format!("order {} changed on {} by hand", entity.key, row.connection);
    if fulfils(stage, entity, &row.connection) {
        give_back(stage, entity, lines.iter(), &cause)?;
    }
    Ok(())
}

/// Gives back what was called off of these lines.
fn give_back<'l>(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    lines: impl Iterator<Item = &'l ChangedLine>,
    cause: &str,
) -> Result<(), EngineError> {
    let mut dirty = BTreeSet::new();
    for line in lines {
        let sku = Key::new(line.sku.as_str());
        let key = (sku.clone(), entity.id.clone(), line.line_id.clone());
        let Some(mut row) = RESERVATION.get(stage.txn, &key)?.map(|row| row.0) else {
            continue;
        };
        if row.released < row.called_off {
            row.released = row.called_off;
            pools::put_reservation(stage, &key, row)?;
            dirty.insert(sku);
        }
    }
    pools::recompute(stage, &dirty, Some(cause))
}
