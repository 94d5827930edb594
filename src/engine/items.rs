//! Accepting items: state that is kept as rows, since an item must exist before its stock can be told.
//!
//! A newer version takes the place of one that was not sent yet; it is counted as superseded.

use super::EngineError;
use super::accept::{Accepted, Unit};
use super::cells;
use super::index::Update;
use super::orders::enqueue;
use super::stage::Stage;
use super::tables::{ATTEMPT, EVENT};
use crate::connector::Operation;
use crate::id::{ConnectionName, Key};
use crate::ledger::Entity;
use crate::outbox::State;
use crate::record::{Record, Stream};

/// Accepts new content of an item (or another state kept as rows) from its owner.
pub(super) fn accept(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    entity: &mut Entity,
    record: &Record,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    for route in stage.rules.router.from(&unit.connection, unit.stream) {
        stage.count(&route.name, |counts| counts.routed += 1)?;
        let waiting = drop_unsent(stage, entity, &route.to.0)?;
        if waiting.is_some() {
            stage.count(&route.name, |counts| counts.superseded += 1)?;
        }
        let known = entity.queued_to.contains(&route.to.0);
        let operation = match waiting {
            Some(operation) => operation,
            None if known => Operation::Update,
            None => Operation::Create,
        };
        if enqueue(stage, entity, record, route, operation)? {
            entity.queued_to.insert(route.to.0.clone());
            accepted.queued += 1;
        }
    }
    Ok(())
}

/// Takes back what was queued for this sink and never sent; what it was about to do.
fn drop_unsent(
    stage: &mut Stage<'_, '_>,
    entity: &Entity,
    sink: &ConnectionName,
) -> Result<Option<Operation>, EngineError> {
    let mut dropped = None;
    for seq in stage.index.queue.of_line(sink, &entity.id) {
        let Some(row) = EVENT.get(stage.txn, &seq)? else {
            continue;
        };
        let unsent = matches!(row.state, State::Pending { .. } | State::Waiting { .. });
        if unsent && row.attempts == 0 {
            dropped.get_or_insert(row.operation);
            stage.remove_event(seq);
        }
    }
    Ok(dropped)
}

/// The item exists on a channel now: its stock, which the channel may have refused before, can be told.
pub(super) fn tell_stock(
    stage: &mut Stage<'_, '_>,
    sink: &ConnectionName,
    item: &Entity,
) -> Result<(), EngineError> {
    let target = (sink.clone(), Stream::Stock);
    let sku = Key::new(item.key.as_str());
    let place = (sink.clone(), Stream::Stock, sku.clone());
    let Some(attempt) = ATTEMPT.get(stage.txn, &place)? else {
        return Ok(());
    };
    if let Some(number) = attempt.quarantine {
        stage.end_quarantine(number);
    }
    ATTEMPT.delete(stage.txn, &place);
    let known = cells::blocks(&target).get(stage.txn, sku.as_str())?;
    let cell = known
        .as_deref()
        .and_then(cells::Cell::decode)
        .unwrap_or_default();
    let publish = stage
        .rules
        .publishes
        .iter()
        .find(|publish| publish.to == *sink);
    let writes = publish.is_some_and(|publish| publish.mode == crate::router::Mode::Apply);
    if cell.is_pending() && writes {
        let due = Some((cell.lane(), Some(stage.now)));
        stage.updates.push(Update::Cell(target, sku, due));
    }
    Ok(())
}
