//! Accepting items: state that is kept as rows, since an item must exist before its stock can be told.
//!
//! A newer version takes the place of one that was not sent yet or is in quarantine; it is counted as
//! superseded. An item that its owner takes off sale is withdrawn from the channels, never deleted, and
//! never created there only to be withdrawn: it is looked for, and left alone where it is not. While it
//! is withdrawn, the channels that get their items from that owner are told that none is left of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::EngineError;
use super::accept::{Accepted, Unit};
use super::cell;
use super::index::Update;
use super::orders::enqueue;
use super::stage::{Stage, deliver_to};
use super::tables::{ATTEMPT, BY_KEY, ENTITY, Nothing, WITHDRAWN, Withdrawn};
use super::{pools, prices};
use crate::connector::Operation;
use crate::fault::Effect;
use crate::id::{ConnectionName, EntityId, Key};
use crate::ledger::Entity;
use crate::outbox::{OutboxRow, State};
use crate::record::{Item, ItemStatus, Record, Stream};
use crate::router::Route;

/// Accepts new content of an item (or another state kept as rows) from its owner.
pub(super) fn accept(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    entity: &mut Entity,
    record: &Record,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    if let Record::Item(item) = record {
        follow_sku(stage, entity, item)?;
        note_withdrawal(stage, &unit.connection, item)?;
    }
    for route in stage.rules.router.from(&unit.connection, unit.stream) {
        if !stage.rules.may_tell(route) {
            continue; // the caller counted and showed it
        }
        stage.count(&route.name, |counts| counts.routed += 1)?;
        if route.to.1 == Stream::Prices {
            let thing = entity.id.to_string();
            prices::carry_record(stage, route, &thing, &record.to_json())?;
        } else if accept_for_route(stage, entity, record, route)? {
            accepted.queued += 1;
        }
    }
    Ok(())
}

fn accept_for_route(
    stage: &mut Stage<'_, '_>,
    entity: &mut Entity,
    record: &Record,
    route: &Route,
) -> Result<bool, EngineError> {
    let sink = &route.to.0;
    let before = take_back(stage, entity, sink)?;
    if before.is_some() {
        stage.count(&route.name, |counts| counts.superseded += 1)?;
    }
    let operation = match before {
        Some(operation) => operation,
        None if entity.queued_to.contains(sink) || entity.links.contains_key(sink) => {
            Operation::Update
        }
        None => Operation::Create,
    };
    let queued = enqueue(stage, entity, record, route, operation)?;
    if queued {
        entity.queued_to.insert(sink.clone());
        if operation == Operation::Create {
            // Numbers that came before it and were refused wait for it from now on.
            tell_cells(stage, sink, entity)?;
        }
    } else if operation == Operation::Create {
        entity.queued_to.remove(sink);
    }
    Ok(queued)
}

/// The item is gone at its owner: withdrawn from the channels, as if it had been archived.
pub(super) fn gone(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    entity: &mut Entity,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    if unit.stream != Stream::Items {
        return Ok(());
    }
    let what = json!({ "sku": entity.key.as_str(), "status": "deleted" });
    let record = Record::from_json(Stream::Items, what)?;
    if let Record::Item(item) = &record {
        note_withdrawal(stage, &unit.connection, item)?;
    }
    for route in stage.rules.router.from(&unit.connection, unit.stream) {
        let sink = &route.to.0;
        if !stage.rules.may_tell(route) || route.to.1 != Stream::Items {
            continue;
        }
        stage.count(&route.name, |counts| counts.routed += 1)?;
        let before = take_back(stage, entity, sink)?;
        if before.is_some() {
            stage.count(&route.name, |counts| counts.superseded += 1)?;
        }
        if before == Some(Operation::Create) || !entity.queued_to.contains(sink) {
            entity.queued_to.remove(sink);
            let thing = entity.id.to_string();
            stage.filtered(&route.name, "gone_before_import", &thing)?;
        } else if enqueue(stage, entity, &record, route, Operation::Cancel)? {
            accepted.queued += 1;
        }
    }
    Ok(())
}

/// Takes back what was queued for this sink and certainly did nothing there; what it was about to do, if that was news.
fn take_back(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
) -> Result<Option<Operation>, EngineError> {
    let mut taken = None;
    let rows: Vec<u64> = stage.index.queue.of_line(sink, &entity.id).collect();
    for seq in rows {
        let Some(row) = stage.event(seq)? else {
            continue;
        };
        match &row.state {
            State::Pending { .. } | State::Waiting { .. } => {}
            State::Quarantined { .. } => {
                stage.resolve_quarantine(entity.id.as_str(), &deliver_to(sink))?;
            }
            // What may have happened is found out first.
            _ => continue,
        }
        if !row.again {
            taken.get_or_insert(row.operation);
        }
        stage.remove_event(seq);
    }
    Ok(taken)
}

/// A price of nothing is no price: an item with it would be given away where it is created.
pub(super) fn leave_out_empty_price(mapped: &mut Value) {
    let amount = mapped["price"]["amount"].as_str();
    let amount = amount.and_then(|text| text.parse::<rust_decimal::Decimal>().ok());
    let is_empty = amount.is_some_and(|amount| amount <= rust_decimal::Decimal::ZERO);
    if let Some(fields) = mapped.as_object_mut().filter(|_| is_empty) {
        fields.remove("price");
    }
}

/// The group of which only one thing is created at a time: its origin and the id there.
pub(super) fn group_of(entity: &Entity, operation: Operation, mapped: &Value) -> Option<Key> {
    let group = mapped["group_id"].as_str()?;
    (entity.stream == Stream::Items && operation == Operation::Create)
        .then(|| Key::from(format!("{}/{group}", entity.origin)))
}

/// An item may be renumbered: it goes by its new SKU, and is still found by the old one (story 35).
fn follow_sku(
    stage: &mut Stage<'_, '_>,
    entity: &mut Entity,
    item: &Item,
) -> Result<(), EngineError> {
    let sku = Key::new(item.sku.as_str());
    if entity.key == sku {
        return Ok(());
    }
    let detail = format!("{} is {sku} now", entity.key);
    stage.note(entity.id.as_str(), "renumbered", detail, None)?;
    entity.key = sku.clone();
    BY_KEY.put(
        stage.txn,
        &(Stream::Items, sku, entity.id.clone()),
        &Nothing {},
    )?;
    Ok(())
}

fn is_off_sale(item: &Item) -> bool {
    matches!(item.status, ItemStatus::Archived | ItemStatus::Deleted)
}

/// Whether a row would create what is not on sale any more.
pub(super) fn is_withdrawn_create(row: &OutboxRow) -> bool {
    row.stream == Stream::Items
        && row.operation == Operation::Create
        && matches!(
            row.record.value()["status"].as_str(),
            Some("archived" | "deleted")
        )
}

/// An item that was to be withdrawn is not on the channel.
pub(super) fn not_there(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    entity: &mut Entity,
) -> Result<(), EngineError> {
    stage.remove_event(row.seq);
    entity.queued_to.remove(&row.sink);
    // What its owner said meanwhile was queued as a change of what turned out not to be there.
    let waiting: Vec<u64> = stage.index.queue.of_line(&row.sink, &entity.id).collect();
    for seq in waiting.into_iter().filter(|seq| *seq != row.seq) {
        let Some(mut next) = stage.event(seq)? else {
            continue;
        };
        if next.operation == Operation::Cancel {
            stage.remove_event(seq);
            stage.filtered(&next.route, "gone_before_import", entity.id.as_str())?;
            continue;
        }
        next.operation = Operation::Create;
        next.group = group_of(entity, next.operation, &next.record.value());
        entity.queued_to.insert(row.sink.clone());
        stage.put_event(&mut next)?;
    }
    ENTITY.put(stage.txn, &entity.id.clone(), entity)?;
    stage.resolve_quarantine(entity.id.as_str(), &deliver_to(&row.sink))?;
    stage.filtered(&row.route, "archived_before_import", entity.id.as_str())
}

/// While an item is off sale at its owner, none is left of it.
fn note_withdrawal(
    stage: &mut Stage<'_, '_>,
    by: &ConnectionName,
    item: &Item,
) -> Result<(), EngineError> {
    let sku = Key::new(item.sku.as_str());
    let off_sale = is_off_sale(item);
    let before = stage.withdrawn_by(&sku);
    let unchanged = match before {
        Some(before) => off_sale || before != by,
        None => !off_sale,
    };
    if unchanged {
        return Ok(());
    }
    let word = if off_sale {
        let since = stage.now;
        let by = by.clone();
        WITHDRAWN.put(stage.txn, &sku, &Withdrawn { by, since })?;
        "off"
    } else {
        WITHDRAWN.delete(stage.txn, &sku);
        "on"
    };
    let by_whom = off_sale.then(|| by.clone());
    stage.withdrawn.insert(sku.clone(), by_whom.clone());
    let update = Update::Withdrawn(sku.clone(), by_whom);
    stage.updates.push(update);
    let cause = format!("{word} sale at {by}");
    pools::recompute(stage, &BTreeSet::from([sku]), Some(&cause))
}

/// The item exists on a channel now, or will: its stock and prices, which the channel may have refused
/// before, can be told, or wait for it.
pub(super) fn tell_cells(
    stage: &mut Stage<'_, '_>,
    sink: &ConnectionName,
    item: &Entity,
) -> Result<(), EngineError> {
    for stream in [Stream::Stock, Stream::Prices] {
        let target = (sink.clone(), stream);
        let Some(feed) = stage.rules.feed_of(&target) else {
            continue;
        };
        for (key, known) in cell::of_sku(stage, &target, item.key.as_str())? {
            let place = (sink.clone(), stream, key.clone());
            let attempt = ATTEMPT.get(stage.txn, &place)?;
            let sure = |fault: &crate::fault::Fault| fault.effect == Effect::None;
            // What the guard holds, or nobody knows the outcome of, is another matter.
            let was_refused = attempt.is_some_and(|attempt| {
                let refused = attempt.not_listed || attempt.quarantine.is_some();
                refused && !attempt.held && attempt.fault.as_ref().is_some_and(sure)
            });
            if was_refused {
                cell::release(stage, &feed, &key, &known)?;
            }
        }
    }
    Ok(())
}

/// How many items of one SKU are looked at: a SKU is one item's, but where it was given to another.
const ITEMS_OF_A_SKU: usize = 10;

/// What is known of the item of a SKU at a sink.
pub(super) enum ItemPlace {
    /// It exists there, since then.
    There { since: Timestamp },
    /// It is to be created, changed or looked for there, or its delivery is in quarantine.
    Queued { item: EntityId, since: Timestamp },
    /// It was read, and nobody brings it there.
    Nobodys,
    /// It was never read.
    Unknown,
}

/// Looks up the item of a SKU.
pub(super) fn place_at(
    stage: &Stage<'_, '_>,
    sink: &ConnectionName,
    sku: &str,
) -> Result<ItemPlace, EngineError> {
    let range = BY_KEY.under(&(Stream::Items, Key::from(sku)));
    let known = BY_KEY.scan(stage.txn, &range, ITEMS_OF_A_SKU)?;
    let mut place = if known.is_empty() {
        ItemPlace::Unknown
    } else {
        ItemPlace::Nobodys
    };
    for ((_, _, id), _) in known {
        let item = ENTITY.get(stage.txn, &id)?;
        let link = item.as_ref().and_then(|item| item.links.get(sink));
        if let Some(link) = link {
            return Ok(ItemPlace::There { since: link.since });
        }
        let first = stage.index.queue.of_line(sink, &id).next();
        if let Some(seq) = first {
            let row = stage.event(seq)?;
            let since = row.map_or(stage.now, |row| row.accepted_at);
            place = ItemPlace::Queued { item: id, since };
        }
    }
    Ok(place)
}
