//! SETTLE: what went out, and what became of it, in one commit. Only then is a delivery gone.

mod cells;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::EngineError;
use super::cell::Target;
use super::changes;
use super::claim::{Action, Claimed, Earlier, Place};
use super::index::Update;
use super::items;
use super::orders::{self, change_reservations, release_cancelled};
use super::policy::{Consequence, Next, consequence};
use super::stage::{NewQuarantine, Stage, deliver_to};
use super::tables::{ENTITY, EVENT, Fact, GROUP, GroupAt, LINK, LinkTo, META, Subject};
use super::{pools, tokens};
use crate::clock::{later, since};
use crate::connector::{Confirmation, Operation, Outcome};
use crate::fault::Fault;
use crate::id::{ConnectionName, Key};
use crate::ledger::{Entity, Link};
use crate::outbox::{OutboxRow, State};
use crate::record::{Nature, Record, Stream};
pub(super) use cells::sent;
use cells::settle_cells;

/// The code of a delivery that was not found and may still be carried out.
pub const MAY_STILL_ARRIVE: &str = "may_still_arrive";

/// Settles a batch of one target.
pub(super) fn settle(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    results: Vec<(Claimed, Outcome)>,
) -> Result<(), EngineError> {
    let mut cells = Vec::new();
    for (claimed, outcome) in results {
        match claimed.place {
            Place::Event(seq) => {
                settle_event(stage, seq, &claimed, outcome)?;
            }
            Place::Cell => cells.push((claimed, outcome)),
        }
    }
    settle_cells(stage, target, &cells)
}

/// A step of a write succeeded: what it captured is durable before the next step is sent.
pub(super) fn progress(
    stage: &mut Stage<'_, '_>,
    seq: u64,
    step: &str,
    value: Value,
) -> Result<(), EngineError> {
    let Some(mut row) = stage.event(seq)? else {
        return Err(
            Fault::bug("no_such_delivery", "progress of a delivery that is settled").into(),
        );
    };
    row.captured.insert(step.to_owned(), value);
    Ok(EVENT.put(stage.txn, &seq, &row)?)
}

fn settle_event(
    stage: &mut Stage<'_, '_>,
    seq: u64,
    claimed: &Claimed,
    outcome: Outcome,
) -> Result<(), EngineError> {
    let Some(mut row) = stage.event(seq)? else {
        return Ok(());
    };
    match outcome {
        Outcome::Delivered(confirmation) => {
            if let Action::FindFirst(Earlier::Until(until)) = &claimed.action {
                row.late_until = row.late_until.max(Some(*until));
            }
            delivered(stage, &row, claimed, &confirmation)
        }
        Outcome::Submitted {
            token, check_after, ..
        } => {
            let due = later(stage.now, check_after);
            row.state = State::Submitted { token, due };
            stage.note(
                row.entity.as_str(),
                "submitted",
                format!("to {}", row.sink),
                Some(&row.sink),
            )?;
            stage.put_event(&mut row)
        }
        Outcome::Failed(fault) => match &claimed.action {
            Action::FindFirst(Earlier::Until(until)) if fault.code == MAY_STILL_ARRIVE => {
                wait_for_it(stage, row, *until, fault)
            }
            Action::FindFirst(Earlier::Until(until)) => {
                failed(stage, tried(row), fault, Some(*until))
            }
            Action::FindFirst(Earlier::Over) => failed(stage, tried(row), fault, None),
            _ => failed(stage, row, fault, None),
        },
    }
}

/// A killed process sent it too, which nobody counted: half of it may stand there, and it is no untouched one.
fn tried(mut row: OutboxRow) -> OutboxRow {
    row.attempts = row.attempts.max(1);
    row
}

/// It is not there yet, and may still come: it is looked for again when it cannot any more. Not an attempt.
fn wait_for_it(
    stage: &mut Stage<'_, '_>,
    mut row: OutboxRow,
    until: Timestamp,
    fault: Fault,
) -> Result<(), EngineError> {
    row.state = State::Uncertain { due: until };
    row.late_until = Some(until);
    let detail = format!("{}: {fault}", row.sink);
    stage.note(row.entity.as_str(), "awaited", detail, Some(&row.sink))?;
    row.last_fault = Some(fault);
    stage.put_event(&mut row)
}

fn delivered(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    claimed: &Claimed,
    confirmation: &Confirmation,
) -> Result<(), EngineError> {
    let Some(mut entity) = ENTITY.get(stage.txn, &row.entity)? else {
        stage.remove_event(row.seq);
        return Ok(());
    };
    if !make_link(stage, row, &mut entity, claimed, confirmation)? {
        return Ok(());
    }
    if items::is_withdrawn_create(row) && !confirmation.existed {
        return items::not_there(stage, row, &mut entity);
    }
    if claimed.action == Action::FindOnly && row.operation == Operation::Cancel {
        return orders::looked_for(stage, row, &mut entity, confirmation.existed);
    }
    let again = again_at(stage, row, &mut entity);
    ENTITY.put(stage.txn, &entity.id.clone(), &entity)?;
    if confirmation.existed && adopts(row) {
        return adopt(stage, row, &entity);
    }
    match again {
        Some(due) => tell_again(stage, row, due)?,
        None => stage.remove_event(row.seq),
    }
    if !row.again {
        stage.count(&row.route, |counts| counts.delivered += 1)?;
    }
    stage.resolve_quarantine(entity.id.as_str(), &deliver_to(&row.sink))?;
    let remote = confirmation
        .remote_id
        .as_ref()
        .map_or(String::new(), |id| format!(" as {id}"));
    let number = confirmation
        .number
        .as_ref()
        .map_or(String::new(), |n| format!(" (number {n})"));
    let how = if confirmation.existed {
        ", it was there already"
    } else {
        ""
    };
    let detail = format!("{}{remote}{number}{how}", row.sink);
    stage.note(entity.id.as_str(), "delivered", detail, Some(&row.sink))?;
    settle_stock(stage, row, &entity)?;
    wake(stage, row)
}

/// When the state that was just delivered is told once more: an older one of which nobody knew what became may still be
/// carried out, and would stand there for good. Not where something newer is queued: that is told later anyway.
fn again_at(stage: &Stage<'_, '_>, row: &OutboxRow, entity: &mut Entity) -> Option<Timestamp> {
    if row.stream.nature() != Nature::State {
        return None;
    }
    let link = entity.links.get_mut(&row.sink)?;
    let late = link.late_until.max(row.late_until);
    link.late_until = late.filter(|until| *until > stage.now);
    let mut queued = stage.index.queue.of_line(&row.sink, &entity.id);
    link.late_until.filter(|_| queued.all(|seq| seq == row.seq))
}

fn tell_again(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    due: Timestamp,
) -> Result<(), EngineError> {
    let mut again = row.clone();
    if again.operation == Operation::Create {
        again.operation = Operation::Update;
    }
    again.state = State::Pending { due };
    again.late_until = None;
    again.again = true;
    again.captured.clear();
    again.last_fault = None;
    stage.put_event(&mut again)
}

/// State that was found there is linked, and then made what it should be.
fn adopts(row: &OutboxRow) -> bool {
    row.stream.nature() == Nature::State && row.operation == Operation::Create
}

fn adopt(stage: &mut Stage<'_, '_>, row: &OutboxRow, entity: &Entity) -> Result<(), EngineError> {
    let mut update = row.clone();
    update.operation = Operation::Update;
    update.state = State::Pending { due: stage.now };
    update.captured.clear();
    stage.put_event(&mut update)?;
    let detail = format!("found on {} by its key", row.sink);
    stage.note(entity.id.as_str(), "adopted", detail, Some(&row.sink))?;
    items::tell_cells(stage, &row.sink, entity)
}

/// Notes what the thing is called over there; `false` when that is another thing's name: then nothing
/// is believed, and a person must look.
fn make_link(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    entity: &mut Entity,
    claimed: &Claimed,
    confirmation: &Confirmation,
) -> Result<bool, EngineError> {
    let Some(remote_id) = &confirmation.remote_id else {
        return Ok(true);
    };
    let key = (row.sink.clone(), row.stream, remote_id.clone());
    if let Some(LinkTo(other)) = LINK.get(stage.txn, &key)?
        && other != entity.id
    {
        let message = format!(
            "{} {remote_id} on {} belongs to {other} already; look at both",
            row.stream.noun(),
            row.sink
        );
        let fault = Fault::reject("linked_twice", message);
        hold(stage, row.clone(), fault)?;
        return Ok(false);
    }
    if let (Some(group), Some(there)) = (&row.group, &confirmation.group) {
        let key = (row.sink.clone(), group.clone());
        GROUP.put(stage.txn, &key, &GroupAt(there.clone()))?;
    }
    if row.stream == Stream::Items {
        let woken = Update::Wake(row.sink.clone(), entity.id.clone());
        stage.updates.push(woken);
    }
    stage.link(&row.sink, row.stream, remote_id, &entity.id)?;
    let told = || claimed.delivery.record.fingerprint();
    let delivered = Some(confirmation.stored.unwrap_or_else(told));
    let link = entity
        .links
        .entry(row.sink.clone())
        .or_insert_with(|| Link {
            remote_id: remote_id.clone(),
            number: None,
            seen: None,
            delivered: None,
            lines: Vec::new(),
            since: stage.now,
            late_until: None,
        });
    link.remote_id = remote_id.clone();
    link.number = confirmation.number.clone().or(link.number.take());
    link.delivered = delivered;
    if !confirmation.lines.is_empty() {
        link.lines.clone_from(&confirmation.lines);
    }
    Ok(true)
}

/// What a delivery means for stock: the owner confirmed an order or its cancellation, or the channel was
/// told that goods left.
fn settle_stock(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    entity: &Entity,
) -> Result<(), EngineError> {
    match (row.stream, row.operation) {
        (Stream::Items, _) => items::tell_cells(stage, &row.sink, entity),
        (Stream::Orders, Operation::Cancel) => {
            changes::called_off(stage, entity, &row.sink)?;
            release_cancelled(stage, entity)
        }
        (Stream::Orders, _) => {
            let now = stage.now;
            let cause = format!("order {} confirmed by {}", entity.key, row.sink);
            change_reservations(stage, entity, &cause, |reservation| {
                reservation.confirmed_at.replace(now).is_none()
            })
        }
        (Stream::Shipments, _) => {
            let Some(order) = ENTITY.get(stage.txn, &row.line)? else {
                return Ok(());
            };
            let cause = format!("{} was told of a shipment of order {}", row.sink, order.key);
            change_reservations(stage, &order, &cause, |r| {
                r.tell_channel(entity.id.as_str())
            })?;
            pools::forget_published(stage, &row.sink, &goods_of(row))
        }
        _ => Ok(()),
    }
}

/// What a new shipment carries: whether or not anything is reserved for it still, the channel lowers its number of
/// these by itself when it is told.
fn goods_of(row: &OutboxRow) -> BTreeSet<Key> {
    match row.record.read(row.stream) {
        Ok(Record::Shipment(shipment)) if row.operation == Operation::Create => {
            let lines = shipment.lines.iter();
            lines.map(|line| Key::new(line.sku.as_str())).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Rows that waited for this link may go.
fn wake(stage: &mut Stage<'_, '_>, settled: &OutboxRow) -> Result<(), EngineError> {
    for seq in stage.index.queue.waiting_on(&settled.entity) {
        let Some(mut row) = stage.event(seq)? else {
            continue;
        };
        if row.sink == settled.sink {
            row.state = State::Pending { due: stage.now };
            stage.put_event(&mut row)?;
        }
    }
    Ok(())
}

/// A try failed. What an earlier one may still do until `earlier` is not over because this one did nothing.
fn failed(
    stage: &mut Stage<'_, '_>,
    mut row: OutboxRow,
    fault: Fault,
    earlier: Option<Timestamp>,
) -> Result<(), EngineError> {
    let age = since(row.accepted_at, stage.now);
    let Consequence { next, find_first } = consequence(&fault, age, stage.limits().max_age);
    let random = stage.numbers.random();
    let late = find_first.then(|| late_until(stage, &row.sink));
    row.late_until = late.or(earlier.filter(|until| *until > stage.now));
    let find_first = row.late_until.is_some();
    let again = |due: Timestamp| {
        if find_first {
            State::Uncertain { due }
        } else {
            State::Pending { due }
        }
    };
    let word = match next {
        Next::Backoff => {
            row.attempts += 1;
            let wait = stage.limits().backoff.delay(row.attempts, random);
            row.state = again(later(stage.now, wait));
            "failed"
        }
        Next::Wait(wait) => {
            row.state = again(later(stage.now, wait));
            "throttled"
        }
        Next::PauseConnection => {
            row.state = again(stage.now);
            pause(stage, &row.sink, &fault)?;
            "paused"
        }
        Next::Quarantine => {
            let is_kept = row.stream == Stream::Orders && row.operation == Operation::Cancel;
            if is_kept && let Some(entity) = ENTITY.get(stage.txn, &row.entity)? {
                orders::take_what_is_kept(stage, &entity, &row.sink)?;
            }
            return hold(stage, row, fault);
        }
    };
    let detail = format!("{}: {fault}", row.sink);
    stage.note(row.entity.as_str(), word, detail, Some(&row.sink))?;
    row.last_fault = Some(fault);
    stage.put_event(&mut row)
}

/// Until when something may still be carried out that was sent until now.
fn late_until(stage: &Stage<'_, '_>, sink: &ConnectionName) -> Timestamp {
    later(stage.now, stage.rules.facts(sink).late)
}

/// Puts a delivery into quarantine.
fn hold(stage: &mut Stage<'_, '_>, mut row: OutboxRow, fault: Fault) -> Result<(), EngineError> {
    row.attempts += 1;
    row.state = State::Quarantined { since: stage.now };
    stage.quarantine(NewQuarantine {
        subject: Subject::Delivery {
            seq: row.seq,
            id: row.id.clone(),
        },
        connection: row.sink.clone(),
        stream: row.stream,
        route: Some(row.route.clone()),
        thing: row.entity.to_string(),
        stage: "deliver",
        fault: fault.clone(),
        attempts: row.attempts,
    })?;
    row.last_fault = Some(fault);
    stage.put_event(&mut row)
}

/// Stops deliveries to a connection until its probe passes or somebody resumes it.
pub(super) fn pause(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    fault: &Fault,
) -> Result<(), EngineError> {
    let name = format!("paused/{connection}");
    if META.contains(stage.txn, &name)? {
        return Ok(());
    }
    let value = serde_json::json!({ "since": stage.now.to_string(), "why": fault.to_string() });
    META.put(stage.txn, &name, &Fact { value })?;
    stage.note(
        &format!("connection/{connection}"),
        "paused",
        fault.to_string(),
        Some(connection),
    )
}

/// Lets deliveries to a connection go on; whether it was paused.
pub(super) fn resume(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
) -> Result<bool, EngineError> {
    tokens::try_again(stage, connection)?;
    let name = format!("paused/{connection}");
    if !META.contains(stage.txn, &name)? {
        return Ok(false);
    }
    META.delete(stage.txn, &name);
    stage.note(
        &format!("connection/{connection}"),
        "resumed",
        String::new(),
        Some(connection),
    )?;
    Ok(true)
}
