//! SETTLE: what went out, and what became of it, in one commit. Only then is a delivery gone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;

use super::EngineError;
use super::cells::{self, Cell, Target};
use super::claim::{Claimed, Place};
use super::index::Update;
use super::items;
use super::orders::{change_reservations, release_cancelled};
use super::policy::{Consequence, Next, consequence};
use super::stage::{NewQuarantine, Stage, mode_of};
use super::tables::{ATTEMPT, CellAttempt, ENTITY, EVENT, Fact, LINK, LinkTo, META, Subject};
use crate::clock::{later, since};
use crate::connector::{Confirmation, Operation, Outcome};
use crate::fault::{Effect, Fault};
use crate::id::{ConnectionName, Key, RouteName};
use crate::ledger::{Entity, Link};
use crate::outbox::{OutboxRow, State};
use crate::record::{Nature, Record, Stream};

/// Settles a batch of one target.
pub(super) fn settle(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    results: Vec<(Claimed, Outcome)>,
) -> Result<(), EngineError> {
    let mut cells = Vec::new();
    for (claimed, outcome) in results {
        match claimed.place {
            Place::Event(seq) => settle_event(stage, seq, outcome)?,
            Place::Cell => cells.push((claimed, outcome)),
        }
    }
    settle_cells(stage, target, cells)
}

/// A step of a write succeeded: what it captured is durable before the next step is sent.
pub(super) fn progress(
    stage: &mut Stage<'_, '_>,
    seq: u64,
    step: &str,
    value: Value,
) -> Result<(), EngineError> {
    let Some(mut row) = EVENT.get(stage.txn, &seq)? else {
        return Err(
            Fault::bug("no_such_delivery", "progress of a delivery that is settled").into(),
        );
    };
    row.captured.insert(step.to_owned(), value);
    Ok(EVENT.put(stage.txn, &seq, &row)?)
}

fn settle_event(stage: &mut Stage<'_, '_>, seq: u64, outcome: Outcome) -> Result<(), EngineError> {
    let Some(mut row) = EVENT.get(stage.txn, &seq)? else {
        return Ok(());
    };
    match outcome {
        Outcome::Delivered(confirmation) => delivered(stage, &row, &confirmation),
        Outcome::Submitted { token, check_after } => {
            let due = later(stage.now, check_after);
            row.state = State::Submitted { token, due };
            stage.note(
                row.entity.as_str(),
                "submitted",
                format!("to {}", row.sink),
                Some(&row.sink),
            )?;
            stage.put_event(&row)
        }
        Outcome::Failed(fault) => failed(stage, row, fault),
    }
}

fn delivered(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    confirmation: &Confirmation,
) -> Result<(), EngineError> {
    let Some(mut entity) = ENTITY.get(stage.txn, &row.entity)? else {
        stage.remove_event(row.seq);
        return Ok(());
    };
    make_link(stage, row, &mut entity, confirmation)?;
    ENTITY.put(stage.txn, &entity.id.clone(), &entity)?;
    if confirmation.existed && adopts(row) {
        return adopt(stage, row, &entity);
    }
    stage.remove_event(row.seq);
    stage.count(&row.route, |counts| counts.delivered += 1)?;
    stage.resolve_quarantine(entity.id.as_str(), "deliver")?;
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

/// State that was found there is linked, and then made what it should be.
fn adopts(row: &OutboxRow) -> bool {
    row.stream.nature() == Nature::State && row.operation == Operation::Create
}

fn adopt(stage: &mut Stage<'_, '_>, row: &OutboxRow, entity: &Entity) -> Result<(), EngineError> {
    let mut update = row.clone();
    update.operation = Operation::Update;
    update.state = State::Pending { due: stage.now };
    update.captured.clear();
    stage.put_event(&update)?;
    let detail = format!("found on {} by its key", row.sink);
    stage.note(entity.id.as_str(), "adopted", detail, Some(&row.sink))?;
    items::tell_stock(stage, &row.sink, entity)
}

fn make_link(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    entity: &mut Entity,
    confirmation: &Confirmation,
) -> Result<(), EngineError> {
    let Some(remote_id) = &confirmation.remote_id else {
        return Ok(());
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
        stage.quarantine(NewQuarantine {
            subject: Subject::Change {
                id: remote_id.clone(),
                record: None,
            },
            connection: row.sink.clone(),
            stream: row.stream,
            route: Some(row.route.clone()),
            thing: entity.id.to_string(),
            stage: "link",
            fault: Fault::bug("linked_twice", message),
            attempts: row.attempts,
        })?;
        return Ok(());
    }
    stage.link(&row.sink, row.stream, remote_id, &entity.id)?;
    let delivered = confirmation.stored.or_else(|| {
        Record::from_json(row.stream, row.record.clone())
            .ok()
            .map(|record| record.fingerprint())
    });
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
        });
    link.remote_id = remote_id.clone();
    link.number = confirmation.number.clone().or(link.number.take());
    link.delivered = delivered;
    if !confirmation.lines.is_empty() {
        link.lines.clone_from(&confirmation.lines);
    }
    Ok(())
}

/// What a delivery means for stock: the owner confirmed an order or its cancellation, or the channel was
/// told that goods left.
fn settle_stock(
    stage: &mut Stage<'_, '_>,
    row: &OutboxRow,
    entity: &Entity,
) -> Result<(), EngineError> {
    match (row.stream, row.operation) {
        (Stream::Items, _) => items::tell_stock(stage, &row.sink, entity),
        (Stream::Orders, Operation::Cancel) => release_cancelled(stage, entity),
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
            let mut told = BTreeSet::new();
            change_reservations(stage, &order, &cause, |r| {
                let news = r.tell_channel(entity.id.as_str());
                if news {
                    told.insert(Key::new(r.sku.as_str()));
                }
                news
            })?;
            cells::forget_published(stage, &row.sink, &told)
        }
        _ => Ok(()),
    }
}

/// Rows that waited for this link may go.
fn wake(stage: &mut Stage<'_, '_>, settled: &OutboxRow) -> Result<(), EngineError> {
    for seq in stage.index.queue.waiting_on(&settled.entity) {
        let Some(mut row) = EVENT.get(stage.txn, &seq)? else {
            continue;
        };
        if row.sink == settled.sink {
            row.state = State::Pending { due: stage.now };
            stage.put_event(&row)?;
        }
    }
    Ok(())
}

fn failed(stage: &mut Stage<'_, '_>, mut row: OutboxRow, fault: Fault) -> Result<(), EngineError> {
    let age = since(row.accepted_at, stage.now);
    let Consequence { next, find_first } = consequence(&fault, age, stage.limits().max_age);
    let random = stage.numbers.random();
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
            return stage.put_event(&row);
        }
    };
    let detail = format!("{}: {fault}", row.sink);
    stage.note(row.entity.as_str(), word, detail, Some(&row.sink))?;
    row.last_fault = Some(fault);
    stage.put_event(&row)
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

fn settle_cells(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    results: Vec<(Claimed, Outcome)>,
) -> Result<(), EngineError> {
    if results.is_empty() {
        return Ok(());
    }
    let mut by_key: BTreeMap<Key, (Claimed, Outcome)> = BTreeMap::new();
    for (claimed, outcome) in results {
        let key = claimed.delivery.key.clone();
        stage
            .updates
            .push(Update::CellInFlight(target.clone(), key.clone(), false));
        by_key.insert(key, (claimed, outcome));
    }
    let publish = stage
        .rules
        .publishes
        .iter()
        .find(|publish| publish.to == target.0);
    let Some(name) = publish.map(|publish| publish.name.clone()) else {
        return Ok(());
    };
    let blocks = cells::blocks(target);
    let keys: Vec<&str> = by_key.keys().map(Key::as_str).collect();
    let known = blocks.get_many(stage.txn, &keys)?;
    let mut writes = Vec::new();
    let mut delivered = 0;
    for ((key, (claimed, outcome)), bytes) in by_key.iter().zip(known) {
        let mut cell = bytes.as_deref().and_then(Cell::decode).unwrap_or_default();
        if let Outcome::Delivered(_) = outcome {
            let shaken = stage.index.shaken.contains(&(target.clone(), key.clone()));
            cell.published = sent(claimed).filter(|_| !shaken);
            cell.published_at = Some(stage.now);
            let known = Update::CellKnown(target.clone(), key.clone());
            stage.updates.push(known);
            ATTEMPT.delete(stage.txn, &(target.0.clone(), target.1, key.clone()));
            writes.push((key.clone(), cell.encode()));
            delivered += 1;
        }
        settle_cell(stage, target, &name, (claimed, outcome), cell)?;
    }
    let mut rows = writes
        .iter()
        .map(|(key, bytes)| (key.as_str(), Some(bytes.clone())))
        .peekable();
    blocks.merge(stage.txn, &mut rows, usize::MAX)?;
    stage.count(&name, |counts| counts.delivered += delivered)
}

fn sent(claimed: &Claimed) -> Option<Decimal> {
    match &claimed.delivery.record {
        Record::Stock(level) => level.on_hand.value().map(|quantity| quantity.0),
        _ => None,
    }
}

fn settle_cell(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    name: &RouteName,
    (claimed, outcome): (&Claimed, &Outcome),
    cell: Cell,
) -> Result<(), EngineError> {
    let sku = &claimed.delivery.key;
    let key = (target.0.clone(), target.1, sku.clone());
    let mode = mode_of(stage.rules, name);
    let fault = match outcome {
        Outcome::Delivered(_) => {
            let due = (mode == crate::router::Mode::Apply).then_some(stage.now);
            let pending = cell.is_pending().then_some((cell.lane(), due));
            stage
                .updates
                .push(Update::Cell(target.clone(), sku.clone(), pending));
            return Ok(());
        }
        // A feed that answers later keeps the key as it was: it is asked again as a whole.
        Outcome::Submitted { .. } => {
            &Fault::bug("state_submitted", "stock cannot be submitted yet")
        }
        Outcome::Failed(fault) => fault,
    };
    let before = ATTEMPT.get(stage.txn, &key)?;
    let mut attempt = before.unwrap_or(CellAttempt {
        attempts: 0,
        since: stage.now,
        due: None,
        uncertain: None,
        quarantine: None,
        not_listed: false,
        fault: None,
    });
    attempt.not_listed = fault.code == "unknown_sku";
    if fault.effect == Effect::Unknown {
        attempt.uncertain = sent(claimed).map(|number| number.normalize().to_string());
    }
    let due = fail_cell(stage, target, name, claimed, &mut attempt, fault)?;
    attempt.due = due;
    attempt.fault = Some(fault.clone());
    ATTEMPT.put(stage.txn, &key, &attempt)?;
    stage.updates.push(Update::Cell(
        target.clone(),
        sku.clone(),
        Some((cell.lane(), due)),
    ));
    Ok(())
}

/// What a failed write of a number means; when it is tried again.
fn fail_cell(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    name: &RouteName,
    claimed: &Claimed,
    attempt: &mut CellAttempt,
    fault: &Fault,
) -> Result<Option<Timestamp>, EngineError> {
    if attempt.not_listed {
        return Ok(Some(later(stage.now, stage.limits().not_listed_retry)));
    }
    let age = since(attempt.since, stage.now);
    match consequence(fault, age, stage.limits().max_age).next {
        Next::Backoff => {
            attempt.attempts += 1;
            let random = stage.numbers.random();
            Ok(Some(later(
                stage.now,
                stage.limits().backoff.delay(attempt.attempts, random),
            )))
        }
        Next::Wait(wait) => Ok(Some(later(stage.now, wait))),
        Next::PauseConnection => {
            pause(stage, &target.0, fault)?;
            Ok(Some(stage.now))
        }
        Next::Quarantine => {
            attempt.attempts += 1;
            let number = stage.quarantine(NewQuarantine {
                subject: Subject::Cell {
                    key: claimed.delivery.key.clone(),
                },
                connection: target.0.clone(),
                stream: target.1,
                route: Some(name.clone()),
                thing: cells::stock_thing(&target.0, &claimed.delivery.key),
                stage: "deliver",
                fault: fault.clone(),
                attempts: attempt.attempts,
            })?;
            attempt.quarantine = Some(number);
            Ok(None)
        }
    }
}
