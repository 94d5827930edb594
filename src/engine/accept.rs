//! ACCEPT: what came in becomes ours, in one commit.
//!
//! A unit is a bounded part of a page. Its changes are compared with the ledger, routed, mapped,
//! reserved and queued; only then does the cursor move, in the same commit. A crash before it means
//! that the same page is read again and found to be a duplicate.

use std::time::Duration;

use jiff::Timestamp;

use super::index::Update;
use super::stage::{NewQuarantine, Stage, remote_thing};
use super::tables::{BY_KEY, CHECKPOINT, Checkpoint, ENTITY, Nothing, Subject};
use super::{
    EngineError, UNIT_LEVELS, alerts, changes, derived, hints, items, orders, pools, prices,
    shipments, snapshots,
};
use crate::clock::{later, since};
use crate::connector::{Body, Change, Cursor};
use crate::fault::Fault;
use crate::id::{ConnectionName, EntityId, Key, RemoteId};
use crate::ledger::{Entity, Kept, Link, Seen, Sighting, Verdict, observe};
use crate::record::{Nature, Record, Stream};

/// How long a stream is looked at without news until that is written down.
const UNWRITTEN: Duration = Duration::from_mins(1);

/// Where a source's refusal of a whole file stands in quarantine.
pub(super) const STOPPED: &str = "file";

/// A bounded part of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// From which connection.
    pub connection: ConnectionName,
    /// From which of its streams.
    pub stream: Stream,
    /// What changed.
    pub changes: Vec<Change>,
    /// When the read began, by the source's clock.
    pub read_at: Timestamp,
    /// When it was over, by the source's clock or later: what was read had happened by then.
    pub read_until: Timestamp,
    /// How old it is, where that is not just now (see [`crate::connector::Page::as_of`]).
    pub as_of: Option<Timestamp>,
    /// How far the source has been read once this unit is accepted; absent in all but the last unit
    /// of a page, and in things fetched by id.
    pub reached: Option<Reached>,
}

/// How far a source has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reached {
    /// Everything up to here.
    pub cursor: Cursor,
    /// There is more to read at once.
    pub more: bool,
    /// What changed so little before the read is not in it yet.
    pub settle_lag: Duration,
}

/// What became of a unit's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// New content.
    pub news: usize,
    /// Nothing new.
    pub duplicates: usize,
    /// Our own writes coming back.
    pub echoes: usize,
    /// Older than what we know.
    pub stale: usize,
    /// New content of what another connection owns.
    pub conflicts: usize,
    /// Could not be understood: in quarantine.
    pub rejected: usize,
    /// Told no number: neither zero nor anything else.
    pub unknown: usize,
    /// Deliveries queued.
    pub queued: usize,
    /// What changed just before this store was made or restored may still be missing, and is waited for: the settle lag
    /// is not over.
    pub catching_up: bool,
}

/// Accepts one unit.
pub(super) fn accept(stage: &mut Stage<'_, '_>, unit: &Unit) -> Result<Accepted, EngineError> {
    let mut accepted = Accepted::default();
    stage.bound_quarantine();
    // What is read now need not be fetched any more, unless reading it shows otherwise.
    if stage
        .index
        .has_hints(&(unit.connection.clone(), unit.stream))
    {
        for change in &unit.changes {
            hints::was_read(stage, &unit.connection, unit.stream, &change.id)?;
        }
    }
    if !unit.changes.is_empty() && stage.index.quarantine_len() > 0 {
        // What comes now was believed: it takes the place of what was not.
        stage.resolve_quarantine(&stream_thing(&unit.connection, unit.stream), STOPPED)?;
    }
    match unit.stream {
        Stream::Stock => snapshots::accept(stage, unit, &mut accepted)?,
        Stream::Prices => prices::accept(stage, unit, &mut accepted)?,
        _ => {
            for change in &unit.changes {
                accept_thing(stage, unit, change, &mut accepted)?;
            }
            if unit.stream == Stream::Orders {
                let placed = std::mem::take(&mut stage.placed);
                alerts::learn(stage, unit, &placed)?;
            }
        }
    }
    if let Some(reached) = &unit.reached {
        let caught_up = move_checkpoint(stage, unit, reached)?;
        accepted.catching_up = caught_up == CaughtUp::NotYet && pools::waits_for_first_reads(stage);
        if caught_up == CaughtUp::Now && unit.stream == Stream::Orders {
            // What was kept back until these sales were known is told at once; the rest soon.
            derived::derive_again(stage, UNIT_LEVELS)?;
        }
        if !reached.more {
            let stream = (unit.connection.clone(), unit.stream);
            stage.updates.push(Update::RunOver(stream));
        }
    }
    Ok(accepted)
}

/// A source refused what it was given as a whole. It stands on the desk until something better comes.
pub(super) fn stopped(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    fault: &Fault,
) -> Result<(), EngineError> {
    stage.quarantine(NewQuarantine {
        subject: Subject::Change {
            id: RemoteId::new(fault.code.as_ref()),
            record: None,
        },
        connection: connection.clone(),
        stream,
        route: None,
        thing: stream_thing(connection, stream),
        stage: STOPPED,
        fault: fault.clone(),
        attempts: 0,
    })?;
    Ok(())
}

/// How a stream as a whole is called in the journal.
pub(super) fn stream_thing(connection: &ConnectionName, stream: Stream) -> String {
    format!("{connection}/{stream}")
}

/// Whether everything older than this store was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CaughtUp {
    NotYet,
    Now,
    Before,
}

/// Notes how far a stream is read.
fn move_checkpoint(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    reached: &Reached,
) -> Result<CaughtUp, EngineError> {
    let key = (unit.connection.clone(), unit.stream);
    let before = CHECKPOINT.get(stage.txn, &key)?;
    if let Some(before) = &before {
        before.cursor.check_successor(&reached.cursor)?;
    }
    let run_start = match &before {
        Some(before) if before.in_run => before.run_start.clone(),
        Some(before) => Some(before.cursor.clone()),
        None => None,
    };
    let drained_at = if reached.more {
        before.as_ref().and_then(|b| b.drained_at)
    } else {
        Some(stage.now)
    };
    let run_read_at = match &before {
        Some(before) if before.in_run => before.run_read_at,
        _ => Some(unit.read_at),
    };
    let mut checkpoint = Checkpoint {
        cursor: reached.cursor.clone(),
        read_at: unit.read_at,
        run_read_at,
        accepted_at: stage.now,
        drained_at,
        first_read_at: None,
        caught_up_at: None,
        as_of: unit.as_of,
        in_run: reached.more,
        run_start: if reached.more { run_start } else { None },
    };
    let caught_up = catch_up(before.as_ref(), &mut checkpoint, reached);
    if unit.changes.is_empty()
        && let Some(written) = &before
        && brings_nothing(unit.stream, written, &checkpoint)
    {
        let looked = Update::Looked(key, Some(checkpoint));
        stage.updates.push(looked);
        return Ok(caught_up);
    }
    if stage.index.looked.contains_key(&key) {
        stage.updates.push(Update::Looked(key.clone(), None));
    }
    CHECKPOINT.put(stage.txn, &key, &checkpoint)?;
    Ok(caught_up)
}

/// Notes whether everything older than this store was read. A reading shows what changed until a settle lag before it
/// began, and its source's clock need not be ours: so it is one that began a settle lag after the first one did.
fn catch_up(
    before: Option<&Checkpoint>,
    checkpoint: &mut Checkpoint,
    reached: &Reached,
) -> CaughtUp {
    let first_read_at = before.and_then(|before| before.first_read_at);
    let first_read_at = first_read_at.unwrap_or(checkpoint.read_at);
    checkpoint.first_read_at = Some(first_read_at);
    if let Some(then) = before.and_then(|before| before.caught_up_at) {
        checkpoint.caught_up_at = Some(then);
        return CaughtUp::Before;
    }
    let settled_at = later(first_read_at, reached.settle_lag);
    if reached.more || checkpoint.run_read_at < Some(settled_at) {
        return CaughtUp::NotYet;
    }
    checkpoint.caught_up_at = Some(checkpoint.accepted_at);
    CaughtUp::Now
}

/// Whether a checkpoint says nothing but that somebody looked again a moment after the one that is written.
/// That is remembered and need not be durable: after a crash somebody looks at once. Not so of stock, where
/// the moment of a look decides what its numbers know.
fn brings_nothing(stream: Stream, written: &Checkpoint, now: &Checkpoint) -> bool {
    let same = Checkpoint {
        read_at: written.read_at,
        run_read_at: written.run_read_at,
        accepted_at: written.accepted_at,
        drained_at: written.drained_at,
        ..now.clone()
    };
    let age = since(written.accepted_at, now.accepted_at);
    stream != Stream::Stock && written.drained_at.is_some() && same == *written && age < UNWRITTEN
}

/// Puts a change that could not be understood into quarantine, with its payload (law S8).
pub(super) fn reject(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    change: &Change,
    fault: &Fault,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    accepted.rejected += 1;
    keep_payload(stage, unit, change);
    stage.quarantine(NewQuarantine {
        subject: Subject::Change {
            id: change.id.clone(),
            record: None,
        },
        connection: unit.connection.clone(),
        stream: unit.stream,
        route: None,
        thing: remote_thing(&unit.connection, unit.stream, &change.id),
        stage: "read",
        fault: fault.clone(),
        attempts: 0,
    })?;
    Ok(())
}

fn accept_thing(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    change: &Change,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    let record = match &change.body {
        Body::Rejected(fault) => return reject(stage, unit, change, fault, accepted),
        Body::Present(record) => Some(record),
        Body::Absent => None,
    };
    let known = stage.linked(&unit.connection, unit.stream, &change.id)?;
    let fingerprint = change.record_fingerprint();
    let sighting = Sighting {
        connection: &unit.connection,
        owner: stage.rules.owner_of(unit.stream),
        fingerprint,
        version: &change.version,
    };
    let verdict = observe(known.as_ref(), &sighting);
    match verdict {
        Verdict::Duplicate => accepted.duplicates += 1,
        Verdict::Echo => accepted.echoes += 1,
        Verdict::Stale => accepted.stale += 1,
        Verdict::Conflict => accepted.conflicts += 1,
        Verdict::News { .. } => accepted.news += 1,
    }
    if matches!(verdict, Verdict::Duplicate | Verdict::Stale) {
        return Ok(());
    }
    if let (Some(entity), Some(Record::Order(there))) = (&known, record)
        && entity.origin != unit.connection
    {
        changes::shown(stage, entity, &unit.connection, there)?;
    }
    if verdict == Verdict::Conflict {
        show_difference(stage, unit, change, known.as_ref())?;
    }
    let first = known.is_none();
    if first && (verdict == Verdict::Conflict || record.is_none()) {
        return Ok(()); // nobody's news, or gone before it was known
    }
    let mut entity = known.unwrap_or_else(|| new_entity(stage, unit, change, record));
    see(stage, unit, change, &mut entity, fingerprint);
    if let (Verdict::News { .. }, None) = (verdict, record) {
        items::gone(stage, unit, &mut entity, accepted)?;
    }
    if let (Verdict::News { .. }, Some(record)) = (verdict, record) {
        let kept = keep_payload(stage, unit, change);
        let link = entity.links.get_mut(&unit.connection);
        if let Some(seen) = link.and_then(|link| link.seen.as_mut()) {
            seen.payload = kept;
        }
        stage.resolve_quarantine(
            &remote_thing(&unit.connection, unit.stream, &change.id),
            "read",
        )?;
        if first {
            stage.link(&unit.connection, unit.stream, &change.id, &entity.id)?;
            let named = (unit.stream, entity.key.clone(), entity.id.clone());
            BY_KEY.put(stage.txn, &named, &Nothing {})?;
            if let Record::Order(order) = record {
                stage.placed.push(order.placed_at);
            }
        }
        route(stage, unit, &mut entity, record, first, accepted)?;
    }
    Ok(ENTITY.put(stage.txn, &entity.id.clone(), &entity)?)
}

/// A change by somebody who does not own it is counted and shown, never carried.
fn show_difference(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    change: &Change,
    known: Option<&Entity>,
) -> Result<(), EngineError> {
    let rules = stage.rules;
    let owner = rules
        .owner_of(unit.stream)
        .or(known.map(|entity| &entity.origin));
    let owner = owner.map_or("", ConnectionName::as_str);
    let thing = match known {
        Some(entity) => entity.id.to_string(),
        None => remote_thing(&unit.connection, unit.stream, &change.id),
    };
    let what = if matches!(change.body, Body::Absent) {
        "is gone"
    } else if known.is_some() {
        "was changed"
    } else {
        "is new"
    };
    let detail = format!(
        "{what} on {}, but {owner} owns {}",
        unit.connection, unit.stream
    );
    stage.note(&thing, "differs", detail, Some(&unit.connection))?;
    for route in rules.router.from(&unit.connection, unit.stream) {
        stage.count(&route.name, |counts| counts.routed += 1)?;
        stage.filtered(&route.name, "not_the_owner", &thing)?;
    }
    Ok(())
}

fn new_entity(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    change: &Change,
    record: Option<&Record>,
) -> Entity {
    let key = match record {
        Some(Record::Order(order)) => order.number.value().map(Key::new),
        Some(record) => record.sku().map(|sku| Key::new(sku.as_str())),
        None => None,
    };
    Entity {
        id: EntityId::new(stage.numbers.id(unit.stream.id_prefix(), stage.now)),
        stream: unit.stream,
        key: key.unwrap_or_else(|| Key::new(change.id.as_str())),
        origin: unit.connection.clone(),
        known_as: None,
        links: std::collections::BTreeMap::new(),
        queued_to: std::collections::BTreeSet::new(),
        parked: std::collections::BTreeMap::new(),
        shipped: std::collections::BTreeMap::new(),
        cancelled: false,
        closed: false,
    }
}

fn see(
    stage: &Stage<'_, '_>,
    unit: &Unit,
    change: &Change,
    entity: &mut Entity,
    fingerprint: Option<crate::record::Fingerprint>,
) {
    let number = entity.key.to_string();
    let is_origin = entity.origin == unit.connection;
    let link = entity
        .links
        .entry(unit.connection.clone())
        .or_insert_with(|| Link {
            remote_id: change.id.clone(),
            number: is_origin.then_some(number),
            seen: None,
            delivered: None,
            lines: Vec::new(),
            since: stage.now,
            late_until: None,
        });
    let before = link.seen.as_ref().map(|seen| seen.fingerprint);
    link.seen = Some(Seen {
        fingerprint: fingerprint
            .or(before)
            .unwrap_or(crate::record::Fingerprint([0; 16])),
        version: change.version.clone(),
        at: stage.now,
        absent: fingerprint.is_none(),
        payload: link.seen.as_ref().and_then(|seen| seen.payload),
    });
}

fn route(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    entity: &mut Entity,
    record: &Record,
    first: bool,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    let what = if first { "seen" } else { "changed" };
    let detail = format!(
        "{} {} on {}",
        unit.stream.noun(),
        entity.key,
        unit.connection
    );
    stage.note(entity.id.as_ref(), what, detail, Some(&unit.connection))?;
    match record {
        Record::Order(order) => orders::accept(stage, unit, entity, (record, order), accepted),
        Record::Shipment(shipment) => shipments::accept(stage, unit, entity, shipment, accepted),
        record if unit.stream.nature() == Nature::Event => {
            orders::accept_other(stage, unit, entity, record, accepted)
        }
        record => items::accept(stage, unit, entity, record, accepted),
    }
}

/// Keeps the payload as it came, for mapping it again, until its time to live is over.
fn keep_payload(stage: &mut Stage<'_, '_>, unit: &Unit, change: &Change) -> Option<Kept> {
    let raw = change.raw.as_ref()?;
    if raw.bytes.len() > stage.limits().max_payload_bytes {
        return None;
    }
    let place = (&unit.connection, unit.stream, &change.id);
    Some(
        stage
            .payloads
            .keep(place, raw, stage.now, &stage.rules.limits, stage.numbers),
    )
}
