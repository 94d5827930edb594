//! Where the slow reading of everything stands, beside the checkpoint of the normal one.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::EngineError;
use super::accept::stream_thing;
use super::stage::Stage;
use super::tables::{Fact, META};
use crate::clock::later;
use crate::connector::Cursor;
use crate::fault::Fault;
use crate::id::ConnectionName;
use crate::record::Stream;

/// How far a stream was swept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Where the present sweep goes on; absent between two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Cursor>,
    /// When the present sweep began, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Timestamp>,
    /// When the last sweep was over; before the first, since when the stream is read.
    pub over_at: Timestamp,
    /// How many things the present sweep read, or the last one.
    pub read: usize,
    /// Of those, how many were news.
    pub found: usize,
    /// How many all sweeps found.
    pub found_in_all: usize,
}

/// What a sweep is to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepTurn {
    /// Nothing yet.
    Rest,
    /// Begin.
    Begin,
    /// Go on there.
    GoOn(Cursor),
}

fn name(connection: &ConnectionName, stream: Stream) -> String {
    format!("sweep/{connection}/{stream}")
}

/// How far a stream was swept; nothing when it never was to be.
pub(super) fn state(
    stage: &Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
) -> Result<Option<Swept>, EngineError> {
    let fact = META.get(stage.txn, &name(connection, stream))?;
    Ok(fact.and_then(|fact| serde_json::from_value(fact.value).ok()))
}

fn put(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    swept: &Swept,
) -> Result<(), EngineError> {
    let value = serde_json::to_value(swept)
        .map_err(|_| Fault::bug("bad_cursor", "the place of a sweep could not be written"))?;
    Ok(META.put(stage.txn, &name(connection, stream), &Fact { value })?)
}

fn first(now: Timestamp) -> Swept {
    Swept {
        at: None,
        begun_at: None,
        over_at: now,
        read: 0,
        found: 0,
        found_in_all: 0,
    }
}

/// Whether it is time for a sweep. The first one comes `every` after the stream was first read to its end,
/// which was a reading of everything itself.
pub(super) fn turn(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    every: Duration,
) -> Result<SweepTurn, EngineError> {
    let Some(swept) = state(stage, connection, stream)? else {
        let swept = first(stage.now);
        put(stage, connection, stream, &swept)?;
        return Ok(SweepTurn::Rest);
    };
    Ok(match swept.at {
        Some(at) => SweepTurn::GoOn(at),
        None if later(swept.over_at, every) <= stage.now => SweepTurn::Begin,
        None => SweepTurn::Rest,
    })
}

/// A page of a sweep was accepted: so much was read and so much was news; it goes on at `next`, or is over.
pub(super) fn swept(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    next: Option<Cursor>,
    (read, found): (usize, usize),
) -> Result<(), EngineError> {
    let mut swept = state(stage, connection, stream)?.unwrap_or_else(|| first(stage.now));
    if swept.at.is_none() {
        (swept.begun_at, swept.read, swept.found) = (Some(stage.now), 0, 0);
    }
    swept.read += read;
    swept.found += found;
    swept.found_in_all += found;
    if next.is_none() {
        swept.over_at = stage.now;
    }
    swept.at = next;
    put(stage, connection, stream, &swept)?;
    if found == 0 {
        return Ok(());
    }
    let detail = format!("{found} of {read} on one page were not known from the normal reading");
    let thing = stream_thing(connection, stream);
    stage.note(&thing, "found_by_sweep", detail, Some(connection))
}

/// A sweep cannot go on: the next begins anew when it is due.
pub(super) fn give_up(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    fault: &Fault,
) -> Result<(), EngineError> {
    let mut swept = state(stage, connection, stream)?.unwrap_or_else(|| first(stage.now));
    (swept.at, swept.over_at) = (None, stage.now);
    put(stage, connection, stream, &swept)?;
    let thing = stream_thing(connection, stream);
    stage.note(
        &thing,
        "sweep_given_up",
        fault.to_string(),
        Some(connection),
    )
}
