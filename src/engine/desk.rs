//! The quarantine as a desk: look, mend, try again, or let go with a reason.

use serde::Serialize;
use serde_json::Value;

use super::EngineError;
use super::accept::STOPPED;
use super::cell;
use super::hints::hint;
use super::orders;
use super::prices;
use super::stage::Stage;
use super::tables::{ENTITY, QUARANTINE, Quarantined, Subject};
use crate::fault::{Effect, Fault};
use crate::id::Key;
use crate::outbox::State;
use crate::record::{Record, Stream, Written};

/// One row of the desk.
#[derive(Debug, Clone, Serialize)]
pub struct DeskRow {
    /// What to call it by.
    pub number: u64,
    /// What a person calls the thing: the origin's id of it, with the number or SKU that the
    /// origin prints on it where that is known.
    pub name: String,
    /// What, where and why.
    #[serde(flatten)]
    pub row: Quarantined,
}

/// One row of the desk with what would be delivered.
#[derive(Debug, Clone, Serialize)]
pub struct DeskSheet {
    /// The row.
    #[serde(flatten)]
    pub row: DeskRow,
    /// The record, as it would be delivered or mapped; personal data masked.
    pub record: Option<Value>,
}

/// The rows from `after` on, oldest first.
pub(super) fn list(
    stage: &Stage<'_, '_>,
    after: u64,
    limit: usize,
) -> Result<Vec<DeskRow>, EngineError> {
    let range = QUARANTINE.after(QUARANTINE.all(), &after);
    let rows = QUARANTINE.scan(stage.txn, &range, limit)?;
    rows.into_iter()
        .map(|(number, row)| {
            let record = record(stage, &row)?;
            Ok(desk_row(number, row, record.as_ref()))
        })
        .collect()
}

/// What would be delivered or mapped.
fn record(stage: &Stage<'_, '_>, row: &Quarantined) -> Result<Option<Value>, EngineError> {
    Ok(match &row.subject {
        Subject::Change { record, .. } => record.clone(),
        Subject::Delivery { seq, .. } => stage.event(*seq)?.map(|row| row.record.value()),
        Subject::Cell { key } => wanted(stage, row, key)?,
        Subject::Stream {} => None,
    })
}

fn desk_row(number: u64, row: Quarantined, record: Option<&Value>) -> DeskRow {
    let id = match &row.subject {
        Subject::Change { id, .. } => id.to_string(),
        Subject::Cell { key } => cell::sku_of(key).to_owned(),
        Subject::Stream {} => "all".to_owned(),
        Subject::Delivery { .. } => {
            let id = record.and_then(|record| record.get("id"));
            id.and_then(Value::as_str).unwrap_or_default().to_owned()
        }
    };
    let printed = ["number", "sku"]
        .iter()
        .find_map(|field| record?.get(field)?.as_str())
        .filter(|printed| *printed != id);
    let name = [Some(id.as_str()), printed].into_iter().flatten();
    let name = name
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    DeskRow { number, name, row }
}

/// One row with its record.
pub(super) fn show(stage: &Stage<'_, '_>, number: u64) -> Result<DeskSheet, EngineError> {
    let row = find(stage, number)?;
    let record = record(stage, &row)?;
    let row = desk_row(number, row, record.as_ref());
    let record = record.map(|record| crate::record::masked(&record));
    Ok(DeskSheet { row, record })
}

/// What a cell would be told.
fn wanted(
    stage: &Stage<'_, '_>,
    row: &Quarantined,
    key: &Key,
) -> Result<Option<Value>, EngineError> {
    let cell = cell::get(stage, &(row.connection.clone(), row.stream), key)?;
    let text = |figure: Option<cell::Figure>| figure.map(cell::Figure::text);
    let (desired, published) = (text(cell.desired), text(cell.published));
    Ok(Some(
        serde_json::json!({ "to_be_told": desired, "told": published }),
    ))
}

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
        Subject::Delivery { seq, .. } => retry_delivery(stage, number, *seq),
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

fn retry_delivery(stage: &mut Stage<'_, '_>, number: u64, seq: u64) -> Result<(), EngineError> {
    stage.end_quarantine(number);
    let Some(mut event) = stage.event(seq)? else {
        return Ok(());
    };
    let unknown = event
        .last_fault
        .as_ref()
        .is_some_and(|fault| fault.effect == Effect::Unknown);
    let due = stage.now;
    event.state = if unknown {
        State::Uncertain { due }
    } else {
        State::Pending { due }
    };
    // Its age counts anew: a person has looked.
    event.accepted_at = stage.now;
    stage.put_event(&mut event)
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
        crate::connector::Operation::Update
    } else {
        crate::connector::Operation::Create
    };
    if orders::enqueue(stage, &entity, &record, route, operation)? {
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
            QUARANTINE.put(stage.txn, &number, &row)?;
        }
        Subject::Change { record: None, .. } | Subject::Cell { .. } | Subject::Stream {} => {
            let message = "nothing here can be edited: mend it at the source and retry";
            return Err(Fault::reject("not_editable", message).into());
        }
    }
    stage.note(&row.thing, "edited", format!("quarantine {number}"), None)
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
        Subject::Change { .. } | Subject::Cell { .. } => {}
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
