//! What became of numbers and prices: what is known to stand there, and when the rest is told again.

use jiff::Timestamp;

use super::{late_until, pause};
use crate::clock::{later, since};
use crate::connector::Outcome;
use crate::engine::EngineError;
use crate::engine::attempts::{self, Attempts};
use crate::engine::cell::{self, Cell, Feed, Figure, Target};
use crate::engine::claim::{Action, Claimed, Dependence};
use crate::engine::index::Update;
use crate::engine::items::{self, ItemPlace};
use crate::engine::policy::{Next, consequence};
use crate::engine::prices;
use crate::engine::stage::Stage;
use crate::engine::submitted::{self as submissions, Became, Late, Settling};
use crate::engine::tables::CellAttempt;
use crate::fault::{Effect, Fault};
use crate::id::Key;
use crate::outbox::When;
use crate::record::{Lane, Record};
use crate::store::blocks::Edit;

/// How much more rarely the numbers of what is off sale are offered to a channel that does not have it.
const WITHDRAWN_RARELY: u32 = 24;

pub(super) fn settle_cells(
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
        cell.late = false;
        match &one.became {
            Became::Told => {
                let key = &one.claimed.delivery.key;
                let is_shaken = shaken.is_some_and(|keys| keys.contains(key));
                first += u64::from(cell.published.is_none());
                cell.published = sent(one.claimed).filter(|_| !is_shaken);
                cell.published_at = Some(now);
                cell.unsure = !one.attempt.overtaken.is_empty() || one.late.is_some();
                cell.late = matches!(one.late, Some(Late::Earlier(_)));
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
            // Also when what was told before is wanted again, and after a crash.
            Became::Failed(fault) => cell.unsure |= fault.effect == Effect::Unknown,
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
pub(in crate::engine) fn sent(claimed: &Claimed) -> Option<Figure> {
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
            // What is sent anew may be older than one that can still land: that is not over.
            if attempt.late_until > Some(stage.now) && cell.is_pending() {
                let afresh = CellAttempt {
                    late_until: attempt.late_until,
                    ..CellAttempt::new(stage.now)
                };
                attempts::put(stage, target, key, (None, &afresh))?;
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
