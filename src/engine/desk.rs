//! The quarantine as a desk: look, mend, try again, or let go with a reason.

mod look;

use serde_json::Value;

pub use look::{DeskFilter, DeskGroup, DeskRow, DeskSheet};
pub(super) use look::{groups, list, numbers, oldest, show};

use super::EngineError;
use super::accept::STOPPED;
use super::cell;
use super::changes;
use super::hints::hint;
use super::orders;
use super::prices;
use super::rules::Mapped;
use super::stage::Stage;
use super::tables::{ENTITY, QUARANTINE, Quarantined, RECORD, Subject};
use crate::clock::earlier;
use crate::connector::Operation;
use crate::fault::{Effect, Fault};
use crate::outbox::{OutboxRow, State};
use crate::record::{Record, Stream, Written};

/// So many rows are looked at for those whose time is over.
const EXPIRE_ROWS: usize = 200;

fn find(stage: &Stage<'_, '_>, number: u64) -> Result<Quarantined, EngineError> {
    QUARANTINE.get(stage.txn, &number)?.ok_or_else(|| {
        Fault::reject(
            "not_in_quarantine",
            format!("there is no {number} in quarantine"),
        )
        .into()
    })
}

/// Tries a row again: a delivery goes back to the queue, a change is mapped or read again.
pub(super) fn retry(stage: &mut Stage<'_, '_>, number: u64) -> Result<(), EngineError> {
    let row = find(stage, number)?;
    stage.note(&row.thing, "retried", format!("quarantine {number}"), None)?;
    match &row.subject {
        Subject::Delivery { seq, .. } => retry_delivery(stage, number, &row, *seq),
        Subject::Cell { key } => {
            stage.end_quarantine(number);
            let target = (row.connection.clone(), row.stream);
            let cell = cell::get(stage, &target, key)?;
            match stage.rules.feed_of(&target) {
                Some(feed) => cell::release(stage, &feed, key, &cell),
                None => Ok(()),
            }
        }
        Subject::Stream {} => {
            stage.end_quarantine(number);
            Ok(())
        }
        Subject::Lines { .. } => {
            let message = "nothing can be sent here: change the order there, then say so with `crossdock quarantine \
                           changed`";
            Err(Fault::reject("not_retryable", message).into())
        }
        // A whole file or feed: the next one is judged anew.
        Subject::Change { record: None, .. }
            if [STOPPED, "guard"].contains(&row.stage.as_str()) =>
        {
            stage.end_quarantine(number);
            Ok(())
        }
        Subject::Change { id, record: None } => {
            stage.end_quarantine(number);
            hint(
                stage,
                &row.connection,
                row.stream,
                id,
                "retry from quarantine",
            )
        }
        Subject::Change {
            record: Some(record),
            ..
        } => remap(stage, number, &row, record),
    }
}

fn retry_delivery(
    stage: &mut Stage<'_, '_>,
    number: u64,
    row: &Quarantined,
    seq: u64,
) -> Result<(), EngineError> {
    let Some(mut event) = stage.event(seq)? else {
        stage.end_quarantine(number);
        return Ok(());
    };
    let unknown = event
        .last_fault
        .as_ref()
        .is_some_and(|fault| fault.effect == Effect::Unknown);
    let is_another = row.edited || map_anew(stage, row, &mut event)?;
    // What its steps captured belongs to the record that it was: it begins anew, and is looked for first.
    let begins_anew = is_another && !event.captured.is_empty();
    if begins_anew {
        event.captured.clear();
    }
    stage.end_quarantine(number);
    let due = stage.now;
    event.state = if unknown || begins_anew {
        State::Uncertain { due }
    } else {
        State::Pending { due }
    };
    // Its age counts anew: a person has looked.
    event.accepted_at = stage.now;
    stage.put_event(&mut event)
}

/// Maps an order again from what its source said, where its mapping is another one by now; whether it was.
fn map_anew(
    stage: &mut Stage<'_, '_>,
    row: &Quarantined,
    event: &mut OutboxRow,
) -> Result<bool, EngineError> {
    let version = stage.mapping_version(&event.route);
    if version == row.mapping || event.operation == Operation::Cancel {
        return Ok(false);
    }
    let (Some(source), Some(entity)) = (
        RECORD.get(stage.txn, &event.entity)?,
        ENTITY.get(stage.txn, &event.entity)?,
    ) else {
        return Ok(false);
    };
    let read = |mapped: &Value| Record::read(event.stream, mapped).map(|_| ());
    let mapped = stage.map(&event.route, &source.value());
    let mapped = mapped.and_then(|mapped| match mapped {
        Mapped::Kept(mapped) => read(&mapped).map(|()| Mapped::Kept(mapped)),
        filtered @ Mapped::Filtered(_) => Ok(filtered),
    });
    match mapped {
        Ok(Mapped::Kept(mapped)) => {
            event.record = Written::of(&mapped);
            let detail = format!("from what {} said, by the present mapping", entity.origin);
            stage.note(&row.thing, "mapped", detail, None)?;
            Ok(true)
        }
        Ok(Mapped::Filtered(rule)) => Err(Fault::reject(
            "filtered_now",
            format!("its mapping keeps it back now (rule {rule}): dismiss it, or mend the rule"),
        )
        .into()),
        // Nobody sends what the mapping that failed has left.
        Err(fault) => Err(fault.at("after the mapping").into()),
    }
}

fn remap(
    stage: &mut Stage<'_, '_>,
    number: u64,
    row: &Quarantined,
    record: &Value,
) -> Result<(), EngineError> {
    if row.stream == Stream::Prices {
        return prices::remap(stage, row, record);
    }
    let Some(mut entity) = ENTITY.get(stage.txn, &row.thing.as_str().into())? else {
        return Err(
            Fault::reject("thing_is_gone", "what this was about is not known any more").into(),
        );
    };
    let rules = stage.rules;
    let mut routes = rules.router.from(&row.connection, row.stream).iter();
    let Some(route) = routes.find(|route| Some(&route.name) == row.route.as_ref()) else {
        let message = "its route is not configured any more: dismiss it or add the route again";
        return Err(Fault::reject("route_is_gone", message).into());
    };
    let record = Record::from_json(row.stream, record.clone())?;
    if row.stream == Stream::Shipments {
        // A shipment is matched to its order again, so it is read again.
        if let Some(link) = entity.links.get_mut(&row.connection) {
            link.seen = None;
        }
        ENTITY.put(stage.txn, &entity.id.clone(), &entity)?;
        stage.end_quarantine(number);
        let id = entity
            .remote_id(&row.connection)
            .cloned()
            .unwrap_or_else(|| "".into());
        return hint(
            stage,
            &row.connection,
            row.stream,
            &id,
            "retry from quarantine",
        );
    }
    let known = entity.queued_to.contains(&route.to.0);
    let operation = if known {
        Operation::Update
    } else {
        Operation::Create
    };
    if orders::enqueue(stage, &mut entity, &record, route, operation)? {
        entity.queued_to.insert(route.to.0.clone());
        ENTITY.put(stage.txn, &entity.id.clone(), &entity)?;
    }
    Ok(())
}

/// Replaces what would be delivered or mapped. The record must be a valid one.
pub(super) fn edit(
    stage: &mut Stage<'_, '_>,
    number: u64,
    record: &Value,
) -> Result<(), EngineError> {
    let mut row = find(stage, number)?;
    let checked = |stream| Record::from_json(stream, record.clone());
    match &mut row.subject {
        Subject::Delivery { seq, .. } => {
            let Some(mut event) = stage.event(*seq)? else {
                return Ok(());
            };
            event.record = Written::of_record(&checked(event.stream)?);
            stage.put_event(&mut event)?;
        }
        Subject::Change {
            record: place @ Some(_),
            ..
        } => {
            *place = Some(checked(row.stream)?.to_json());
        }
        Subject::Change { record: None, .. }
        | Subject::Cell { .. }
        | Subject::Stream {}
        | Subject::Lines { .. } => {
            let message = "nothing here can be edited: mend it at the source and retry";
            return Err(Fault::reject("not_editable", message).into());
        }
    }
    row.edited = true;
    stage.put_quarantine(number, &row)?;
    stage.note(&row.thing, "edited", format!("quarantine {number}"), None)
}

/// A person changed an order at its sink as its lines were changed where it was placed.
pub(super) fn changed(stage: &mut Stage<'_, '_>, number: u64) -> Result<(), EngineError> {
    let row = find(stage, number)?;
    let Subject::Lines { lines, .. } = &row.subject else {
        let message = "this is no order whose lines changed: retry or dismiss it";
        return Err(Fault::reject("not_changed", message).into());
    };
    if let Some(entity) = ENTITY.get(stage.txn, &row.thing.as_str().into())? {
        changes::settled(stage, &entity, &row, lines)?;
    }
    stage.end_quarantine(number);
    let detail = format!("quarantine {number}: changed on {} by hand", row.connection);
    stage.note(&row.thing, "resolved", detail, Some(&row.connection))
}

/// Lets a row go. What an order reserved stays reserved until somebody releases it.
pub(super) fn dismiss(
    stage: &mut Stage<'_, '_>,
    number: u64,
    reason: &str,
) -> Result<(), EngineError> {
    if reason.trim().is_empty() {
        return Err(Fault::reject("no_reason", "a dismissal needs a reason").into());
    }
    let row = find(stage, number)?;
    match &row.subject {
        Subject::Delivery { seq, .. } => stage.remove_event(*seq),
        Subject::Stream {} => {
            let message =
                "a stopped stream is not let go: mend the source, or retry to tell it all";
            return Err(Fault::reject("not_dismissible", message).into());
        }
        Subject::Change { .. } | Subject::Cell { .. } | Subject::Lines { .. } => {}
    }
    stage.end_quarantine(number);
    if let Some(route) = &row.route {
        stage.count(route, |counts| counts.dismissed += 1)?;
    }
    stage.note(
        &row.thing,
        "dismissed",
        format!("quarantine {number}: {reason}"),
        None,
    )
}

/// Lets go what nobody decided about for longer than `limits.quarantine_max_age_secs`; whether more may
/// be left to do. It is counted and noted as any other dismissal.
pub(super) fn expire(stage: &mut Stage<'_, '_>) -> Result<bool, EngineError> {
    let Some(age) = stage.limits().quarantine_age else {
        return Ok(false);
    };
    let before = earlier(stage.now, age);
    // Numbers are given out in order, so the oldest stand first.
    let rows = QUARANTINE.scan(stage.txn, &QUARANTINE.all(), EXPIRE_ROWS)?;
    let mut some = false;
    for (number, row) in rows {
        if row.since < before && !matches!(row.subject, Subject::Stream {}) {
            let days = age.as_secs() / 86_400;
            let reason = format!(
                "nobody decided for {days} days (limits.quarantine_max_age_secs); it was {}",
                row.fault.code
            );
            dismiss(stage, number, &reason)?;
            some = true;
        }
    }
    Ok(some)
}
