//! SETTLE: what went out, and what became of it, in one commit. Only then is a delivery gone.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::EngineError;
use super::attempts::{self, Attempts};
use super::cell::{self, Cell, Feed, Figure, Target};
use super::claim::{Action, Claimed, Dependence, Earlier, Place};
use super::index::Update;
use super::items::{self, ItemPlace};
use super::orders::{self, change_reservations, release_cancelled};
use super::policy::{Consequence, Next, consequence};
use super::stage::{NewQuarantine, Stage, deliver_to};
use super::submitted::{self as submissions, Became, Late, Settling};
use super::tables::{
    CellAttempt, ENTITY, EVENT, Fact, GROUP, GroupAt, LINK, LinkTo, META, Subject,
};
use super::{pools, prices, tokens};
use crate::clock::{later, since};
use crate::connector::{Confirmation, Operation, Outcome};
use crate::fault::{Effect, Fault};
use crate::id::{ConnectionName, Key};
use crate::ledger::{Entity, Link};
use crate::outbox::{OutboxRow, State, When};
use crate::record::{Lane, Nature, Record, Stream};
use crate::store::blocks::Edit;

/// The code of a delivery that was not found and may still be carried out.
pub const MAY_STILL_ARRIVE: &str = "may_still_arrive";
/// How much more rarely the numbers of what is off sale are offered to a channel that does not have it.
const WITHDRAWN_RARELY: u32 = 24;

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
                settle_event(stage, seq, &claimed.action, outcome)?;
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
    action: &Action,
    outcome: Outcome,
) -> Result<(), EngineError> {
    let Some(mut row) = stage.event(seq)? else {
        return Ok(());
    };
    match outcome {
        Outcome::Delivered(confirmation) => {
            let looked = *action == Action::FindOnly;
            delivered(stage, &row, looked, &confirmation)
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
        Outcome::Failed(fault) => match action {
            Action::FindFirst(Earlier::Until(until)) if fault.code == MAY_STILL_ARRIVE => {
                wait_for_it(stage, row, *until, fault)
            }
            _ => failed(stage, row, fault),
        },
    }
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
    looked: bool,
    confirmation: &Confirmation,
) -> Result<(), EngineError> {
    let Some(mut entity) = ENTITY.get(stage.txn, &row.entity)? else {
        stage.remove_event(row.seq);
        return Ok(());
    };
    if !make_link(stage, row, &mut entity, confirmation)? {
        return Ok(());
    }
    if items::is_withdrawn_create(row) && !confirmation.existed {
        return items::not_there(stage, row, &mut entity);
    }
    if looked && row.operation == Operation::Cancel {
        return orders::looked_for(stage, row, &mut entity, confirmation.existed);
    }
    ENTITY.put(stage.txn, &entity.id.clone(), &entity)?;
    if confirmation.existed && adopts(row) {
        return adopt(stage, row, &entity);
    }
    stage.remove_event(row.seq);
    stage.count(&row.route, |counts| counts.delivered += 1)?;
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
    let delivered = confirmation.stored.or_else(|| {
        let told = row.record.read(row.stream).ok();
        told.map(|record| record.fingerprint())
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
            pools::forget_published(stage, &row.sink, &told)
        }
        _ => Ok(()),
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

fn failed(stage: &mut Stage<'_, '_>, mut row: OutboxRow, fault: Fault) -> Result<(), EngineError> {
    let age = since(row.accepted_at, stage.now);
    let Consequence { next, find_first } = consequence(&fault, age, stage.limits().max_age);
    let random = stage.numbers.random();
    row.late_until = find_first.then(|| late_until(stage, &row.sink));
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
        Next::Quarantine => return hold(stage, row, fault),
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

fn settle_cells(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    results: &[(Claimed, Outcome)],
) -> Result<(), EngineError> {
    if results.is_empty() {
        return Ok(());
    }
    let mut results: Vec<&(Claimed, Outcome)> = results.iter().rev().collect();
    results.sort_by(|(a, _), (b, _)| a.delivery.key.cmp(&b.delivery.key));
    results.dedup_by(|(a, _), (b, _)| a.delivery.key == b.delivery.key);
    let keys = results.iter().map(|(claimed, _)| &claimed.delivery.key);
    let settled = Update::Settled(target.clone(), keys.clone().cloned().collect());
    stage.updates.push(settled);
    let Some(feed) = stage.rules.feed_of(target) else {
        return Ok(());
    };
    let attempts = Attempts::among(stage.txn, target, keys)?;
    let mut settling = Vec::with_capacity(results.len());
    let mut doubtful = stage.index.doubtful(target).in_order();
    for (claimed, outcome) in results {
        let key = &claimed.delivery.key;
        let before = attempts.get(stage.txn, key)?;
        let mut one = submissions::judge(stage, claimed, outcome, before);
        one.late = still_late(stage, target, &one, doubtful.holds(key.as_str()));
        let shaken = stage.index.shaken.of(target);
        let is_shaken = shaken.is_some_and(|keys| keys.contains(key));
        if is_shaken && matches!(one.became, Became::TakenIn) {
            // The channel moved the number meanwhile: the end of this would tell nothing.
            submissions::go_past(&mut one.attempt);
            one.became = Became::Arrived;
        }
        settling.push(one);
    }
    let cells = publish(stage, &feed, &settling)?;
    let mut places = Vec::with_capacity(settling.len());
    for (one, cell) in settling.into_iter().zip(&cells) {
        let key = &one.claimed.delivery.key;
        let place = settle_cell(stage, &feed, one, cell)?;
        places.push((key.clone(), place));
    }
    stage.updates.push(Update::Cells(target.clone(), places));
    Ok(())
}

/// Until when something older may still be carried out over there and stand above what was told now. What was
/// sent later than that is the last word.
fn still_late(
    stage: &Stage<'_, '_>,
    target: &Target,
    one: &Settling<'_>,
    is_doubtful: bool,
) -> Option<Late> {
    if !matches!(one.became, Became::Told) {
        return None;
    }
    let submitted = one.before.as_ref().and_then(|it| it.submitted.as_ref());
    let began = match one.claimed.action {
        Action::Check(_) => submitted.map_or(one.claimed.since, |it| it.since),
        _ => one.claimed.since,
    };
    let late = stage.rules.facts(&target.0).late;
    let own = one.attempt.late_until.map(Late::Own);
    let other = is_doubtful.then(|| Late::Earlier(later(stage.index.opened_at, late)));
    own.into_iter().chain(other).find(|it| it.until() > began)
}

/// Notes what was told, in one pass over the cells; they as they are now. `settling` is in ascending order
/// of its keys.
fn publish(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    settling: &[Settling<'_>],
) -> Result<Vec<Cell>, EngineError> {
    let target = &feed.target;
    let (now, shaken) = (stage.now, stage.index.shaken.of(target));
    let mut cells = Vec::with_capacity(settling.len());
    let (mut known, mut first, mut told) = (Vec::new(), 0, 0);
    let rows = settling
        .iter()
        .map(|one| (one.claimed.delivery.key.as_str(), one));
    let edit = |_: &str, one: &Settling<'_>, bytes: Option<&[u8]>| {
        let mut cell = bytes.and_then(Cell::decode).unwrap_or_default();
        let before = cell;
        match &one.became {
            Became::Told => {
                let key = &one.claimed.delivery.key;
                let is_shaken = shaken.is_some_and(|keys| keys.contains(key));
                first += u64::from(cell.published.is_none());
                cell.published = sent(one.claimed).filter(|_| !is_shaken);
                cell.published_at = Some(now);
                cell.unsure = !one.attempt.overtaken.is_empty() || one.late.is_some();
                if one.late.is_none() {
                    known.push(key.clone());
                }
                told += 1;
            }
            // It may stand there now, and is to be told once more.
            Became::Arrived => {
                cell.published = None;
                cell.unsure = true;
            }
            Became::TakenIn | Became::Watched => cell.unsure = true,
            Became::Failed(_) => {}
        }
        cells.push(cell);
        let edit = if cell == before && !matches!(one.became, Became::Told) {
            Edit::Keep
        } else {
            Edit::Put(cell.encode())
        };
        Ok::<_, EngineError>(edit)
    };
    cell::blocks(target).update(stage.txn, &mut rows.peekable(), usize::MAX, edit)?;
    stage.updates.push(Update::FirstTold(target.clone(), first));
    stage.updates.push(Update::Known(target.clone(), known));
    stage.count(&feed.name, |counts| counts.delivered += told)?;
    Ok(cells)
}

/// The value that was sent.
pub(super) fn sent(claimed: &Claimed) -> Option<Figure> {
    match &claimed.delivery.record {
        Record::Stock(level) => level.on_hand.value().map(|it| Figure::Quantity(it.0)),
        Record::Price(price) => prices::tag_of(price).ok().map(Figure::Price),
        _ => None,
    }
}

/// What became of one cell: whether it differs now, and when it may be written again.
fn settle_cell(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    settling: Settling<'_>,
    cell: &Cell,
) -> Result<Option<(Lane, When)>, EngineError> {
    let Settling {
        claimed,
        became,
        before,
        mut attempt,
        late,
    } = settling;
    let (target, key) = (&feed.target, &claimed.delivery.key);
    // Another value was wanted meanwhile, and the guard holds it.
    let held = before.as_ref().is_some_and(|attempt| attempt.held);
    let fault = match became {
        Became::Told if held && cell.is_pending() && attempt.overtaken.is_empty() => {
            return Ok(Some((cell.lane(), When::Held)));
        }
        Became::Failed(fault) => fault,
        Became::Told if matches!(late, Some(Late::Own(_))) && !attempt.has_submissions() => {
            let again = again(cell, late);
            attempt.due = again.and(late).map(Late::until);
            attempts::put(stage, target, key, (before.as_ref(), &attempt))?;
            return Ok(again.or_else(|| cell.place(feed)));
        }
        Became::Told | Became::Arrived if !attempt.has_submissions() => {
            if let Some(before) = before {
                cell::end_attempt(stage, feed, key, &before);
            }
            return Ok(again(cell, late).or_else(|| cell.place(feed)));
        }
        Became::Told | Became::Arrived | Became::TakenIn | Became::Watched => {
            let when = submissions::when(&attempt, cell, stage.limits()).unwrap_or(When::Now);
            let when = if held { When::Held } else { when };
            attempt.due = match when {
                When::At(due) => Some(due),
                _ => None,
            };
            attempts::put(stage, target, key, (before.as_ref(), &attempt))?;
            return Ok(Some((cell.lane(), when)));
        }
    };
    if fault.effect == Effect::Unknown {
        attempt.uncertain = sent(claimed).map(Figure::encode);
        attempt.late_until = Some(late_until(stage, &target.0));
    }
    if held {
        attempt.due = None;
    } else {
        attempt.not_listed = fault.code == "unknown_sku";
        attempt.due = fail_cell(stage, feed, claimed, &mut attempt, &fault)?;
        attempt.fault = Some(fault);
    }
    attempts::put(stage, target, key, (before.as_ref(), &attempt))?;
    Ok(Some((
        cell.lane(),
        attempt.due.map_or(When::Held, When::At),
    )))
}

/// When what was told is told once more, where only that is left to do.
fn again(cell: &Cell, late: Option<Late>) -> Option<(Lane, When)> {
    let late = late.filter(|_| cell.desired == cell.published)?;
    let when = match late {
        Late::Own(until) => When::At(until),
        Late::Earlier(until) => When::Together(until),
    };
    Some((cell.lane(), when))
}

/// When a number is told again that the channel has no item for. Its item may have been read, or may
/// even have arrived, while the number was on its way: then it waits for it, or is told again soon.
fn not_listed(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    key: &Key,
    attempt: &mut CellAttempt,
) -> Result<Timestamp, EngineError> {
    let sku = cell::sku_of(key);
    if Dependence::of(stage, target)?.waits(stage, sku)?.is_some() {
        return Ok(stage.now); // the next claim lets it wait
    }
    let pause = stage.limits().not_listed_retry;
    match items::place_at(stage, &target.0, sku)? {
        ItemPlace::There { since: linked } if later(linked, pause) > stage.now => {
            attempt.attempts += 1;
            Ok(backed_off(stage, attempt))
        }
        // What is off sale and is not there is rarely looked for; an item that comes back wakes it.
        _ if stage.withdrawn_by(&Key::new(sku)).is_some() => {
            Ok(later(stage.now, pause * WITHDRAWN_RARELY))
        }
        _ => Ok(later(stage.now, pause)),
    }
}

fn backed_off(stage: &mut Stage<'_, '_>, attempt: &CellAttempt) -> Timestamp {
    let random = stage.numbers.random();
    let delay = stage.limits().backoff.delay(attempt.attempts, random);
    later(stage.now, delay)
}

/// What a failed write of a value means; when it is tried again.
fn fail_cell(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    claimed: &Claimed,
    attempt: &mut CellAttempt,
    fault: &Fault,
) -> Result<Option<Timestamp>, EngineError> {
    if attempt.not_listed {
        return not_listed(stage, &feed.target, &claimed.delivery.key, attempt).map(Some);
    }
    let age = since(attempt.since, stage.now);
    match consequence(fault, age, stage.limits().max_age).next {
        Next::Backoff => {
            attempt.attempts += 1;
            Ok(Some(backed_off(stage, attempt)))
        }
        Next::Wait(wait) => Ok(Some(later(stage.now, wait))),
        Next::PauseConnection => {
            pause(stage, &feed.target.0, fault)?;
            Ok(Some(stage.now))
        }
        Next::Quarantine => {
            attempt.attempts += 1;
            let key = &claimed.delivery.key;
            let number = cell::quarantine(stage, feed, key, "deliver", fault, attempt.attempts)?;
            attempt.quarantine = Some(number);
            Ok(None)
        }
    }
}
