//! The guard over what a channel is told: a value that would do too much harm is held until somebody has
//! looked, and a stream of which too much is wrong stops as a whole.

use super::EngineError;
use super::attempts;
use super::cell::{Cell, Feed, Figure, quarantine, sku_of, stream_thing};
use super::index::Update;
use super::stage::{NewQuarantine, Stage};
use super::tables::{ATTEMPT, CellAttempt, Subject};
use crate::fault::Fault;
use crate::id::Key;
use crate::inventory::PRICE_JUMP;
use crate::outbox::When;

/// The guard over one change of many cells. Only prices have one here: stock is judged when a run of
/// its owner is complete.
pub(super) struct GuardRun {
    known: u64,
    held: u64,
    /// The whole stream is held: too much jumped at once.
    stopped: bool,
}

impl GuardRun {
    pub(super) fn begin(stage: &Stage<'_, '_>, feed: &Feed) -> Self {
        let (known, held) = stage.index.told_and_held(&feed.target);
        Self {
            known,
            held,
            stopped: stage.index.is_stopped(&feed.target),
        }
    }

    /// Why this value is not told, if it is not. Once too many were held, the whole stream is: then
    /// single rows would only bury the one that says so.
    pub(super) fn judge(
        &mut self,
        stage: &mut Stage<'_, '_>,
        feed: &Feed,
        key: &Key,
        cell: &Cell,
    ) -> Result<Option<Fault>, EngineError> {
        let Some(Figure::Price(new)) = cell.desired.filter(|_| cell.is_pending()) else {
            return Ok(None);
        };
        let guard = &stage.rules.price_guard;
        let told = cell.published.map(Figure::number);
        let Err(held) = guard.judge(told, new.amount) else {
            return Ok(None);
        };
        let fault = Fault::reject(held.code, format!("{}: {}", sku_of(key), held.message));
        if held.code != PRICE_JUMP {
            return Ok(Some(fault));
        }
        if self.stopped {
            return Ok(None);
        }
        self.held += u64::from(!stage.index.is_held(&feed.target, key));
        if let Err(held) = guard.judge_run(self.held, self.known) {
            stop(stage, feed, &Fault::reject(held.code, held.message))?;
            self.stopped = true;
            return Ok(None);
        }
        Ok(Some(fault))
    }
}

/// Holds a value that the guard does not let pass; what was told stays.
pub(super) fn hold(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    key: &Key,
    cell: &Cell,
    fault: &Fault,
) -> Result<(), EngineError> {
    let target = &feed.target;
    let place = (target.0.clone(), target.1, key.clone());
    let before = ATTEMPT.get(stage.txn, &place)?;
    let number = quarantine(stage, feed, key, "guard", fault, 0)?;
    let other = before.as_ref().and_then(|attempt| attempt.quarantine);
    if let Some(other) = other.filter(|other| *other != number) {
        stage.end_quarantine(other);
    }
    // What may still become of earlier values is no matter of the one that is held.
    let afresh = match &before {
        Some(before) => before.afresh(stage.now),
        None => CellAttempt::new(stage.now),
    };
    let attempt = CellAttempt {
        quarantine: Some(number),
        held: true,
        fault: Some(fault.clone()),
        ..afresh
    };
    attempts::put(stage, target, key, (before.as_ref(), &attempt))?;
    let held = Update::Held(target.clone(), key.clone(), true);
    stage.updates.push(held);
    stage.updates.push(Update::Cell(
        target.clone(),
        key.clone(),
        Some((cell.lane(), When::Held)),
    ));
    Ok(())
}

/// Stops a whole stream of a sink until a person has looked, or nothing is left to be told.
fn stop(stage: &mut Stage<'_, '_>, feed: &Feed, fault: &Fault) -> Result<(), EngineError> {
    stage.quarantine(NewQuarantine {
        subject: Subject::Stream {},
        connection: feed.target.0.clone(),
        stream: feed.target.1,
        route: Some(feed.name.clone()),
        thing: stream_thing(&feed.target),
        stage: "guard",
        fault: fault.clone(),
        attempts: 0,
    })?;
    Ok(())
}
