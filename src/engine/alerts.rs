//! What somebody must be told of: the facts that the store knows, and what was told already.
//!
//! The board and what each channel still has to be told are one row of the store, so that a restart tells
//! nothing twice and forgets nothing. The row is written when something is to be told, not at each look.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::EngineError;
use super::accept::Unit;
use super::desk;
use super::index::Update;
use super::pools;
use super::query;
use super::stage::Stage;
use super::tables::{CHECKPOINT, ENTITY, EVENT, Fact, LINK, LinkTo, META, OPEN, RESERVATION};
use crate::alert::conditions::OpenOrder;
use crate::alert::{Board, Cause, Finding, Notice, Pace, Rhythm, Silence, Standing};
use crate::id::{ConnectionName, EntityId, Key, RemoteId};
use crate::record::{Quantity, Stream};
use crate::store::Txn;

/// Where the board stands.
const BOARD: &str = "alerts";
/// Below which name the rhythm of a connection's orders stands.
const RHYTHM: &str = "rhythm/";
/// How many messages wait for a channel at most; then the oldest are given up.
const OWED: usize = 100;

/// The facts that the store knows.
#[derive(Debug, Clone, Default)]
pub struct Attention {
    /// How far each stream is read.
    pub streams: Vec<StreamAge>,
    /// Connections that are paused, and why.
    pub paused: BTreeMap<String, String>,
    /// Rows in quarantine.
    pub quarantined: usize,
    /// The bytes that they take, about.
    pub quarantined_bytes: u64,
    /// Since when the first of them stands there.
    pub quarantined_since: Option<Timestamp>,
    /// Why they are there: `north.orders/deliver/too_long`.
    pub groups: Vec<Arc<str>>,
    /// The oldest delivery of each stream that waits for its turn, and when it was accepted.
    pub oldest: Vec<(ConnectionName, Stream, Timestamp)>,
    /// How strange it is that no orders came, by connection.
    pub silences: BTreeMap<ConnectionName, Silence>,
}

/// How long ago a stream was read.
#[derive(Debug, Clone)]
pub struct StreamAge {
    /// The connection.
    pub connection: ConnectionName,
    /// Its stream.
    pub stream: Stream,
    /// When something was last accepted.
    pub accepted_at: Timestamp,
    /// When it was last read to its end.
    pub drained_at: Option<Timestamp>,
    /// How old what was read is where it is older than that: when a file was made.
    pub as_of: Option<Timestamp>,
}

/// What became of a look.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// What is told from now on.
    pub fresh: Vec<Notice>,
    /// What was told and is not over.
    pub present: Vec<(Cause, Standing)>,
    /// What each channel has not been told, oldest first, each with its number.
    pub owed: BTreeMap<String, Vec<(u64, Notice)>>,
}

/// Open orders that must leave by a moment.
#[derive(Debug, Clone, Default)]
pub struct OpenOrders {
    /// By the connection that they come from.
    pub found: Vec<(ConnectionName, OpenOrder)>,
    /// Where to go on; nothing when that was all.
    pub next: Option<(ConnectionName, Stream, RemoteId)>,
}

/// Things of which more is sold than there is.
#[derive(Debug, Clone, Default)]
pub struct Oversold {
    /// By pool and SKU: how many are missing.
    pub found: BTreeMap<(String, Key), Quantity>,
    /// Where to go on; nothing when that was all.
    pub next: Option<(Key, EntityId, String)>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Row {
    board: Board,
    owed: BTreeMap<String, Vec<(u64, Notice)>>,
    next: u64,
}

fn read(txn: &Txn<'_>) -> Result<Row, EngineError> {
    let fact = META.get(txn, &BOARD.to_owned())?;
    let row = fact.and_then(|fact| serde_json::from_value(fact.value).ok());
    Ok(row.unwrap_or_default())
}

fn write(stage: &mut Stage<'_, '_>, row: &Row) -> Result<(), EngineError> {
    let value = serde_json::to_value(row)
        .map_err(|error| crate::fault::Fault::bug("alerts_row", error.to_string()))?;
    Ok(META.put(stage.txn, &BOARD.to_owned(), &Fact { value })?)
}

/// Compares what was found with what was told.
pub(super) fn observe(
    stage: &mut Stage<'_, '_>,
    findings: Vec<Finding>,
    pace: Pace,
    channels: &[String],
) -> Result<Watched, EngineError> {
    let mut row = read(stage.txn)?;
    let before = (row.board.clone(), row.owed.clone());
    let fresh = row.board.observe(stage.now, findings, pace);
    row.owed.retain(|channel, _| channels.contains(channel));
    for channel in channels {
        let owed = row.owed.entry(channel.clone()).or_default();
        for notice in &fresh {
            row.next += 1;
            owed.push((row.next, notice.clone()));
        }
        owed.drain(..owed.len().saturating_sub(OWED));
    }
    row.owed.retain(|_, owed| !owed.is_empty());
    if before != (row.board.clone(), row.owed.clone()) {
        write(stage, &row)?;
    }
    Ok(Watched {
        fresh,
        present: present(&row.board),
        owed: row.owed,
    })
}

fn present(board: &Board) -> Vec<(Cause, Standing)> {
    let raised = board.raised();
    raised
        .map(|(cause, standing)| (cause.clone(), standing.clone()))
        .collect()
}

/// What was told and is not over.
pub(super) fn list(stage: &Stage<'_, '_>) -> Result<Vec<(Cause, Standing)>, EngineError> {
    Ok(present(&read(stage.txn)?.board))
}

/// Somebody knows of a cause; whether it was told.
pub(super) fn acknowledge(stage: &mut Stage<'_, '_>, cause: &Cause) -> Result<bool, EngineError> {
    let mut row = read(stage.txn)?;
    let known = row.board.acknowledge(cause);
    if known {
        write(stage, &row)?;
    }
    Ok(known)
}

/// A channel was told everything up to this number.
pub(super) fn told(
    stage: &mut Stage<'_, '_>,
    channel: &str,
    until: u64,
) -> Result<(), EngineError> {
    let mut row = read(stage.txn)?;
    if let Some(owed) = row.owed.get_mut(channel) {
        owed.retain(|(number, _)| *number > until);
    }
    row.owed.retain(|_, owed| !owed.is_empty());
    write(stage, &row)
}

/// Gathers the facts. From memory, but for a few rows.
pub(super) fn attention(stage: &Stage<'_, '_>) -> Result<Attention, EngineError> {
    let checkpoints = CHECKPOINT.scan(stage.txn, &CHECKPOINT.all(), 10_000)?;
    let streams = checkpoints.into_iter().map(|(place, row)| {
        let row = stage.index.looked.get(&place).cloned().unwrap_or(row);
        StreamAge {
            connection: place.0,
            stream: place.1,
            accepted_at: row.accepted_at,
            drained_at: row.drained_at,
            as_of: row.as_of,
        }
    });
    let mut oldest = Vec::new();
    for (target, seq) in stage.index.queue.oldest() {
        if let Some(row) = EVENT.get(stage.txn, &seq)? {
            oldest.push((target.0, target.1, row.accepted_at));
        }
    }
    let zone = zone(stage);
    let rhythms = stage.index.rhythms.iter();
    let groups = stage.index.quarantine_groups().all();
    let silences = rhythms.map(|(name, it)| (name.clone(), it.silence(stage.now, &zone)));
    Ok(Attention {
        streams: streams.collect(),
        paused: query::paused(stage)?,
        quarantined: stage.index.quarantine_len(),
        quarantined_bytes: stage.index.quarantine_groups().bytes(),
        quarantined_since: desk::oldest(stage)?,
        groups: groups.map(|(group, ..)| Arc::clone(group)).collect(),
        oldest,
        silences: silences.collect(),
    })
}

fn zone(stage: &Stage<'_, '_>) -> TimeZone {
    let zone = stage.rules.zone.clone();
    zone.unwrap_or(TimeZone::UTC)
}

/// Orders were read, those placed at these moments were new: learns when they usually come.
pub(super) fn learn(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    placed: &[Timestamp],
) -> Result<(), EngineError> {
    if unit.reached.is_none() && placed.is_empty() {
        return Ok(());
    }
    let connection = &unit.connection;
    let known = stage.index.rhythms.get(connection).cloned();
    let mut rhythm = known.unwrap_or_else(|| Rhythm::new(stage.now));
    if rhythm.look(stage.now, placed, &zone(stage)) {
        let value = serde_json::to_value(&rhythm)
            .map_err(|error| crate::fault::Fault::bug("rhythm_row", error.to_string()))?;
        META.put(stage.txn, &format!("{RHYTHM}{connection}"), &Fact { value })?;
    }
    let learned = Update::Rhythm(connection.clone(), Box::new(rhythm));
    stage.updates.push(learned);
    Ok(())
}

/// What was learned before.
pub(super) fn rhythms(txn: &Txn<'_>) -> Result<BTreeMap<ConnectionName, Rhythm>, EngineError> {
    let facts = META.scan(txn, &META.all(), 10_000)?;
    let learned = facts.into_iter().filter_map(|(name, fact)| {
        let connection = ConnectionName::new(name.strip_prefix(RHYTHM)?);
        Some((connection, serde_json::from_value(fact.value).ok()?))
    });
    Ok(learned.collect())
}

/// Looks at the next `limit` open things for orders that must leave before this moment and of which no
/// parcel is known.
pub(super) fn open_orders(
    stage: &Stage<'_, '_>,
    after: Option<&(ConnectionName, Stream, RemoteId)>,
    before: Timestamp,
    limit: usize,
) -> Result<OpenOrders, EngineError> {
    let range = match after {
        Some(key) => OPEN.after(OPEN.all(), key),
        None => OPEN.all(),
    };
    let rows = OPEN.scan(stage.txn, &range, limit)?;
    let next = (rows.len() == limit).then(|| rows.last().map(|(key, _)| key.clone()));
    let mut found = Vec::new();
    for (place, open) in rows {
        let Some(ship_by) = open.ship_by.filter(|ship_by| *ship_by < before) else {
            continue;
        };
        let Some(LinkTo(entity)) = LINK.get(stage.txn, &place)? else {
            continue;
        };
        let Some(entity) = ENTITY.get(stage.txn, &entity)? else {
            continue;
        };
        if entity.shipped.is_empty() && !entity.closed {
            let number = entity.key.to_string();
            found.push((place.0, OpenOrder { number, ship_by }));
        }
    }
    Ok(OpenOrders {
        found,
        next: next.flatten(),
    })
}

/// Looks at the next `limit` order lines for things of which their pool has fewer than must still leave.
pub(super) fn oversold(
    stage: &Stage<'_, '_>,
    after: Option<&(Key, EntityId, String)>,
    limit: usize,
) -> Result<Oversold, EngineError> {
    let range = match after {
        Some(key) => RESERVATION.after(RESERVATION.all(), key),
        None => RESERVATION.all(),
    };
    let rows = RESERVATION.scan(stage.txn, &range, limit)?;
    let next = (rows.len() == limit).then(|| rows.last().map(|(key, _)| key.clone()));
    let mut skus: Vec<Key> = rows.into_iter().map(|((sku, ..), _)| sku).collect();
    skus.dedup();
    let mut found = BTreeMap::new();
    for sku in skus {
        for name in stage.rules.pools.keys() {
            if let Some(missing) = pools::missing(stage, name, &sku)? {
                found.insert((name.clone(), sku.clone()), missing);
            }
        }
    }
    Ok(Oversold {
        found,
        next: next.flatten(),
    })
}
