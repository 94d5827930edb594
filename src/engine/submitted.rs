//! Values that a sink took in and has not confirmed: asynchronous feeds, and writes that are looked at later.
//!
//! A submission stands beside its key until the sink says what became of it; meanwhile the key counts as
//! different (`Cell::unsure`), so that it is found again after a crash. Another value waits for it, but not for
//! ever: less stock goes past a submission that does not end, whatever else is wanted after a longer while. What
//! was gone past may still arrive (story 31), so that it is watched to its end, and then the value of that day is
//! told once more.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cell::{Cell, Figure};
use super::claim::{Action, Claimed};
use super::rules::EngineLimits;
use super::settle::sent;
use super::stage::Stage;
use super::tables::CellAttempt;
use crate::clock::{later, since};
use crate::connector::{Outcome, Token};
use crate::fault::{Class, Effect, Fault};
use crate::outbox::When;
use crate::record::Lane;

/// For how long what was gone past is watched; then it is taken for ended.
const WATCHED: Duration = Duration::from_hours(7 * 24);
/// So many submissions of one key are watched; the oldest are taken for ended.
const MOST_WATCHED: usize = 4;

/// One value of one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Submission {
    /// What was told, encoded.
    pub value: String,
    /// What the sink is asked after it with.
    pub token: Token,
    /// Since when.
    pub since: Timestamp,
    /// When it is asked after next.
    pub due: Timestamp,
    /// It is less stock than the channel showed: it may not take long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// A newer value need not wait for it: the sink keeps the order in which it is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_order: bool,
}

impl Submission {
    pub(super) fn figure(&self) -> Option<Figure> {
        Figure::decode(&self.value)
    }

    /// When another value is sent although this one has not ended; never by this rule when absent.
    fn passed_at(&self, desired: Figure, limits: &EngineLimits) -> Option<Timestamp> {
        let told = self.figure().filter(|told| *told != desired)?;
        let is_less = matches!(desired, Figure::Quantity(_)) && desired.number() < told.number();
        if self.in_order {
            Some(self.since)
        } else {
            is_less.then(|| later(self.since, limits.overtake_after))
        }
    }

    fn patience(&self, limits: &EngineLimits) -> Duration {
        if self.urgent {
            limits.overtake_after
        } else {
            limits.submission_max
        }
    }

    /// Whether it has not ended for so long that it counts as failed.
    pub(super) fn hangs(&self, now: Timestamp, limits: &EngineLimits) -> bool {
        since(self.since, now) >= self.patience(limits)
    }

    /// Whether it is watched no longer.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        since(self.since, now) >= WATCHED
    }
}

/// What a claim does with a key that has submissions.
pub(super) enum Step<'a> {
    /// Asks after the last value.
    Ask(&'a Submission),
    /// Asks after a value that was gone past.
    Watch(&'a Submission),
    /// Sends what is desired.
    Send,
    /// Nothing yet.
    Wait,
}

/// What is to be done now.
pub(super) fn step<'a>(
    attempt: &'a CellAttempt,
    cell: &Cell,
    desired: Figure,
    now: Timestamp,
    limits: &EngineLimits,
) -> Step<'a> {
    if let Some(last) = &attempt.submitted {
        return match last.passed_at(desired, limits) {
            Some(at) if at <= now => Step::Send,
            _ if last.due <= now => Step::Ask(last),
            _ => Step::Wait,
        };
    }
    if cell.published != cell.desired {
        return Step::Send;
    }
    match attempt.overtaken.iter().min_by_key(|one| one.due) {
        Some(one) if one.due <= now => Step::Watch(one),
        Some(_) => Step::Wait,
        None => Step::Send,
    }
}

/// When a key with submissions is looked at again; nothing when it has none that decides.
pub(super) fn when(attempt: &CellAttempt, cell: &Cell, limits: &EngineLimits) -> Option<When> {
    if let Some(last) = &attempt.submitted {
        let passed = cell.desired.and_then(|it| last.passed_at(it, limits));
        return Some(When::At(passed.map_or(last.due, |at| at.min(last.due))));
    }
    if cell.published != cell.desired {
        return None;
    }
    let next = attempt.overtaken.iter().map(|one| one.due).min();
    next.map(When::At)
}

/// Another value was sent although the last one had not ended.
pub(super) fn go_past(attempt: &mut CellAttempt) {
    let Some(last) = attempt.submitted.take() else {
        return;
    };
    if !last.in_order {
        attempt.overtaken.push(last);
    }
    let more = attempt.overtaken.len().saturating_sub(MOST_WATCHED);
    attempt.overtaken.drain(..more);
}

impl CellAttempt {
    /// Whether something is to be asked after.
    pub(super) fn has_submissions(&self) -> bool {
        self.submitted.is_some() || !self.overtaken.is_empty()
    }
}

/// What became of a value, or of one that was gone past.
pub(super) enum Became {
    /// It stands there.
    Told,
    /// It was taken in, and is asked after.
    TakenIn,
    /// It was gone past, and has not ended yet.
    Watched,
    /// It was gone past, and may stand there now.
    Arrived,
    /// It does not stand there, or nobody knows.
    Failed(Fault),
}

/// A result on its way into the store.
pub(super) struct Settling<'r> {
    pub claimed: &'r Claimed,
    pub became: Became,
    /// What stood beside the key.
    pub before: Option<CellAttempt>,
    /// What will, as far as submissions go.
    pub attempt: CellAttempt,
    /// What may still be carried out there and undo it.
    pub late: Option<Late>,
}

/// A write of which nobody knows what became, and until when it may still be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// One of this process.
    Own(Timestamp),
    /// One that an earlier process may have had under way.
    Earlier(Timestamp),
}

impl Late {
    pub(super) fn until(self) -> Timestamp {
        let (Self::Own(until) | Self::Earlier(until)) = self;
        until
    }
}

/// What an outcome means for the submissions of its key.
pub(super) fn judge<'r>(
    stage: &Stage<'_, '_>,
    claimed: &'r Claimed,
    outcome: &Outcome,
    before: Option<CellAttempt>,
) -> Settling<'r> {
    let mut attempt = before
        .clone()
        .unwrap_or_else(|| CellAttempt::new(stage.now));
    let became = match &claimed.action {
        Action::Watch(token) => watched(stage, token, outcome, &mut attempt),
        Action::Check(_) => checked(stage, outcome, &mut attempt),
        _ => told(stage, claimed, outcome, &mut attempt),
    };
    if matches!(became, Became::Told | Became::Arrived) {
        attempt.uncertain = None;
        attempt.fault = None;
        attempt.attempts = 0;
    }
    Settling {
        claimed,
        became,
        before,
        attempt,
        late: None,
    }
}

/// A value was sent.
fn told(
    stage: &Stage<'_, '_>,
    claimed: &Claimed,
    outcome: &Outcome,
    attempt: &mut CellAttempt,
) -> Became {
    match outcome {
        Outcome::Delivered(_) => {
            go_past(attempt);
            Became::Told
        }
        Outcome::Submitted {
            token,
            check_after,
            in_order,
        } => {
            go_past(attempt);
            attempt.submitted = sent(claimed).map(|figure| Submission {
                value: figure.encode(),
                token: token.clone(),
                since: stage.now,
                due: later(stage.now, *check_after),
                urgent: claimed.lane == Lane::StockDown,
                in_order: *in_order,
            });
            Became::TakenIn
        }
        Outcome::Failed(fault) => Became::Failed(fault.clone()),
    }
}

/// The last value was asked after.
fn checked(stage: &Stage<'_, '_>, outcome: &Outcome, attempt: &mut CellAttempt) -> Became {
    let Some(last) = &mut attempt.submitted else {
        // Somebody let it go while it was asked after: what stands there is asked for anew.
        return Became::Arrived;
    };
    match outcome {
        Outcome::Delivered(_) => {
            attempt.submitted = None;
            Became::Told
        }
        Outcome::Submitted {
            token, check_after, ..
        } if !last.hangs(stage.now, stage.limits()) => {
            last.token = token.clone();
            last.due = later(stage.now, *check_after);
            Became::TakenIn
        }
        Outcome::Submitted { .. } => {
            let minutes = since(last.since, stage.now).as_secs() / 60;
            let message = format!("it was taken in, and {minutes} minutes later it does not show");
            go_past(attempt);
            Became::Failed(Fault::retry("not_applied", message).after_sending())
        }
        // Nobody could be asked: it may still be on its way.
        Outcome::Failed(fault) if is_passing(fault) && !last.hangs(stage.now, stage.limits()) => {
            let wait = fault.retry_after.unwrap_or(Duration::from_mins(1));
            last.due = later(stage.now, wait);
            Became::TakenIn
        }
        Outcome::Failed(fault) => {
            attempt.submitted = None;
            Became::Failed(fault.clone())
        }
    }
}

/// A question that was not answered, which says nothing about what was asked after.
fn is_passing(fault: &Fault) -> bool {
    matches!(fault.class, Class::Throttle | Class::Auth)
        || (fault.class == Class::Retry && fault.effect == Effect::None)
}

/// A value was asked after that was gone past.
fn watched(
    stage: &Stage<'_, '_>,
    token: &Token,
    outcome: &Outcome,
    attempt: &mut CellAttempt,
) -> Became {
    let now = stage.now;
    let Some(at) = attempt.overtaken.iter().position(|it| it.token == *token) else {
        return Became::Arrived;
    };
    let one = &mut attempt.overtaken[at];
    let wait = match outcome {
        _ if one.is_forgotten(now) => None,
        Outcome::Submitted { check_after, .. } => Some(*check_after),
        Outcome::Failed(fault) if is_passing(fault) => {
            Some(fault.retry_after.unwrap_or(Duration::from_mins(5)))
        }
        _ => None,
    };
    if let Some(wait) = wait {
        one.due = later(now, wait);
        return Became::Watched;
    }
    attempt.overtaken.remove(at);
    Became::Arrived
}
