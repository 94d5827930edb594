//! What is to be fetched by id: because a webhook said so, or because something was not ready to be accepted.
//!
//! A hint of a webhook stands until a fetch that began after it was answered: what came in meanwhile is a
//! reason to fetch once more. Any other goes as soon as the thing is read, whichever way.

use jiff::Timestamp;

use super::EngineError;
use super::index::Update;
use super::stage::{NewQuarantine, Stage, remote_thing};
use super::tables::{HINT, Hint, Subject};
use crate::fault::Fault;
use crate::id::{ConnectionName, RemoteId};
use crate::record::Stream;

/// Why a hint of a webhook is there.
const WEBHOOK: &str = "webhook";
/// How many rows are looked at for those that are due; there are fewer (`limits.hints_max`).
const SCAN: usize = 100_000;
/// There are as many hints as may be.
pub const HINTS_FULL: &str = "hints_full";

/// Something that a webhook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHint {
    /// Of which stream.
    pub stream: Stream,
    /// Which thing.
    pub id: RemoteId,
    /// It is not fetched before, because it comes too often.
    pub not_before: Option<Timestamp>,
}

/// Something to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which thing.
    pub id: RemoteId,
    /// How often that failed.
    pub tries: u32,
    /// A webhook says so.
    pub is_told: bool,
    /// How often it was said; more often by now means that there is something newer to fetch.
    times: u32,
}

/// Notes that a thing is to be fetched by id.
pub(super) fn hint(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    id: &RemoteId,
    reason: &str,
) -> Result<(), EngineError> {
    put(stage, connection, (stream, id), reason, None).map(drop)
}

/// Notes what webhooks of a connection say; how much of it was not there already.
pub(super) fn take(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    hints: &[NewHint],
    most: usize,
) -> Result<usize, EngineError> {
    let before = stage.index.hints_of(connection);
    let mut new = 0;
    for hint in hints {
        let thing = (hint.stream, &hint.id);
        new += usize::from(put(stage, connection, thing, WEBHOOK, hint.not_before)?);
    }
    if new > 0 && before + new > most {
        let message = format!("{before} things of {connection} wait to be fetched already");
        return Err(Fault::retry(HINTS_FULL, message).into());
    }
    Ok(new)
}

/// Whether it is new.
fn put(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    (stream, id): (Stream, &RemoteId),
    reason: &str,
    not_before: Option<Timestamp>,
) -> Result<bool, EngineError> {
    let key = (connection.clone(), stream, id.clone());
    let known = HINT.get(stage.txn, &key)?;
    let is_new = known.is_none();
    let row = match known {
        // What was not fetched yet is fetched when it was to be, however often it is told of. What is told of
        // too often while it is fetched waits before it is fetched once more (story 29).
        Some(known) if known.reason == WEBHOOK => Hint {
            times: known.times.wrapping_add(1),
            again_not_before: known.again_not_before.max(not_before),
            ..known
        },
        Some(known) => Hint {
            reason: reason.to_owned(),
            times: known.times.wrapping_add(1),
            ..known
        },
        None => Hint {
            reason: reason.to_owned(),
            since: stage.now,
            times: 0,
            tries: 0,
            not_before,
            again_not_before: None,
        },
    };
    HINT.put(stage.txn, &key, &row)?;
    if is_new {
        count(stage, connection, stream, 1);
    }
    Ok(is_new)
}

/// A thing was read: what made us want it is over, unless that was a webhook.
pub(super) fn was_read(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    id: &RemoteId,
) -> Result<(), EngineError> {
    let key = (connection.clone(), stream, id.clone());
    let known = HINT.get(stage.txn, &key)?;
    if known.is_some_and(|known| known.reason != WEBHOOK) {
        HINT.delete(stage.txn, &key);
        count(stage, connection, stream, -1);
    }
    Ok(())
}

/// Things of a stream that are to be fetched by id now.
pub(super) fn due(
    stage: &Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    limit: usize,
) -> Result<Vec<Wanted>, EngineError> {
    let of_stream = (connection.clone(), stream);
    if !stage.index.has_hints(&of_stream) {
        return Ok(Vec::new());
    }
    let rows = HINT.scan(stage.txn, &HINT.under(&of_stream), SCAN)?;
    let rows = rows.into_iter();
    let due = rows.filter(|(_, row)| row.not_before.is_none_or(|at| at <= stage.now));
    let wanted = due.map(|((_, _, id), row)| Wanted {
        id,
        tries: row.tries,
        is_told: row.reason == WEBHOOK,
        times: row.times,
    });
    Ok(wanted.take(limit).collect())
}

/// When the first of them may be fetched.
pub(super) fn next(
    stage: &Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
) -> Result<Option<Timestamp>, EngineError> {
    let of_stream = (connection.clone(), stream);
    if !stage.index.has_hints(&of_stream) {
        return Ok(None);
    }
    let rows = HINT.scan(stage.txn, &HINT.under(&of_stream), SCAN)?;
    let due = rows
        .iter()
        .map(|(_, row)| row.not_before.unwrap_or(row.since));
    Ok(due.min())
}

/// They were fetched and what came is accepted. What was said again since stays.
pub(super) fn answered(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    asked: &[Wanted],
) -> Result<(), EngineError> {
    for wanted in asked {
        let key = (connection.clone(), stream, wanted.id.clone());
        let Some(row) = HINT.get(stage.txn, &key)? else {
            continue;
        };
        if row.times == wanted.times {
            HINT.delete(stage.txn, &key);
            count(stage, connection, stream, -1);
        } else {
            let row = Hint {
                tries: 0,
                not_before: row.again_not_before,
                again_not_before: None,
                ..row
            };
            HINT.put(stage.txn, &key, &row)?;
        }
    }
    Ok(())
}

/// They could not be fetched; later again.
pub(super) fn postpone(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    asked: &[Wanted],
) -> Result<(), EngineError> {
    for wanted in asked {
        let key = (connection.clone(), stream, wanted.id.clone());
        let Some(row) = HINT.get(stage.txn, &key)? else {
            continue;
        };
        let tries = row.tries.saturating_add(1);
        let random = stage.numbers.random();
        let wait = stage.limits().backoff.delay(tries, random);
        let not_before = Some(crate::clock::later(stage.now, wait));
        let row = Hint {
            tries,
            not_before,
            ..row
        };
        HINT.put(stage.txn, &key, &row)?;
    }
    Ok(())
}

/// The other side refuses to give this one thing: it waits for a person, and nothing waits for it.
pub(super) fn refused(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    wanted: &Wanted,
    fault: &Fault,
) -> Result<(), EngineError> {
    let key = (connection.clone(), stream, wanted.id.clone());
    if HINT.get(stage.txn, &key)?.is_some() {
        HINT.delete(stage.txn, &key);
        count(stage, connection, stream, -1);
    }
    stage.bound_quarantine();
    stage.quarantine(NewQuarantine {
        subject: Subject::Change {
            id: wanted.id.clone(),
            record: None,
        },
        connection: connection.clone(),
        stream,
        route: None,
        thing: remote_thing(connection, stream, &wanted.id),
        stage: "read",
        fault: fault.clone(),
        attempts: wanted.tries,
    })?;
    Ok(())
}

fn count(stage: &mut Stage<'_, '_>, connection: &ConnectionName, stream: Stream, more: i64) {
    let of_stream = (connection.clone(), stream);
    stage.updates.push(Update::Hints(of_stream, more));
}
