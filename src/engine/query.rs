//! What can be asked: how it stands, and why a thing is as it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::EngineError;
use super::cell::{self, Cell, Figure};
use super::stage::{Stage, mode_of};
use super::sweep::{self, Swept};
use super::tables::{
    ATTEMPT, BY_KEY, CHECKPOINT, COUNTS, Counts, ENTITY, EVENT, Entry, JOURNAL, META, OPEN, RECORD,
};
use super::{pools, prices};
use crate::fault::Fault;
use crate::id::{ConnectionName, EntityId, Key, RemoteId};
use crate::inventory::Derivation;
use crate::ledger::Entity;
use crate::record::{Record, Stream, Written};
use crate::router::Mode;

/// How many entries of one thing's life are told.
const MAX_ENTRIES: usize = 1000;

/// How it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// By our clock.
    pub now: Timestamp,
    /// How far each stream is accepted.
    pub streams: Vec<StreamStatus>,
    /// Deliveries not settled: sink, stream, state, how many.
    pub queue: Vec<QueueStatus>,
    /// State keys not published yet: sink, stream, how many.
    pub differences: Vec<DifferenceStatus>,
    /// What waits for things that do not exist at the sink yet: sink, stream, how many.
    pub waiting: Vec<WaitingStatus>,
    /// Totals by route.
    pub routes: BTreeMap<String, RouteStatus>,
    /// Rows on the desk.
    pub quarantined: usize,
    /// Connections that are paused, and why.
    pub paused: BTreeMap<String, String>,
}

/// How far one stream is accepted.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatus {
    /// The connection.
    pub connection: String,
    /// Its stream.
    pub stream: Stream,
    /// Everything up to here.
    pub cursor: String,
    /// When something was last accepted.
    pub accepted_at: Timestamp,
    /// When it was last read to its end.
    pub drained_at: Option<Timestamp>,
    /// How far it was swept, where it is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swept: Option<Swept>,
}

/// Deliveries of one sink in one state.
#[derive(Debug, Clone, Serialize)]
pub struct QueueStatus {
    /// The sink.
    pub sink: String,
    /// Its stream.
    pub stream: Stream,
    /// In which state.
    pub state: String,
    /// How many.
    pub count: u64,
    /// When the oldest was accepted.
    pub oldest: Timestamp,
}

/// State keys of one sink.
#[derive(Debug, Clone, Serialize)]
pub struct DifferenceStatus {
    /// The sink.
    pub sink: String,
    /// Its stream.
    pub stream: Stream,
    /// How many are to be told.
    pub count: usize,
    /// How many more the channel does not have.
    pub unlisted: usize,
}

/// What waits for things that do not exist at a sink yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingStatus {
    /// The sink.
    pub sink: String,
    /// Its stream.
    pub stream: Stream,
    /// How many.
    pub count: usize,
    /// Since when the first of them waits.
    pub oldest: Timestamp,
}

/// Why a channel is told a price.
#[derive(Debug, Clone, Serialize)]
pub struct PriceReason {
    /// The channel.
    pub connection: String,
    /// In which list, of which currency, from how many pieces on.
    pub price: Value,
    /// By which route.
    pub route: String,
    /// Whether it writes.
    pub applies: bool,
    /// What its owner said last, and when the read that told it began.
    pub said: Vec<(String, Value, Timestamp)>,
    /// What the channel should be told.
    pub to_be_told: Option<String>,
    /// What it was last told, and when.
    pub told: Option<(String, Option<Timestamp>)>,
    /// Why it is not told yet, if it is not.
    pub held_back: Option<String>,
    /// What changed it lately, newest last.
    pub entries: Vec<(Timestamp, Entry)>,
}

/// One route.
#[derive(Debug, Clone, Serialize)]
pub struct RouteStatus {
    /// Whether it writes.
    pub applies: bool,
    /// What became of its changes.
    #[serde(flatten)]
    pub counts: Counts,
}

/// The life of one thing.
#[derive(Debug, Clone, Serialize)]
pub struct Life {
    /// Our id, its key and its links.
    pub entity: Entity,
    /// What its origin said last, where that is kept; personal data masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Value>,
    /// What happened, oldest first.
    pub entries: Vec<(Timestamp, Entry)>,
}

/// Why a channel is told a number.
#[derive(Debug, Clone, Serialize)]
pub struct StockReason {
    /// The channel.
    pub connection: String,
    /// Everything the number is made of.
    pub derivation: Derivation,
    /// What it was last told, and when.
    pub published: Option<(String, Option<Timestamp>)>,
    /// Whether the publish rule writes.
    pub applies: bool,
    /// Why it is not told yet, if it is not.
    pub held_back: Option<String>,
    /// What changed the number lately, newest last.
    pub entries: Vec<(Timestamp, Entry)>,
}

/// Tells how it stands. Reads the whole queue: for people, not for loops.
pub(super) fn status(stage: &Stage<'_, '_>) -> Result<Status, EngineError> {
    let checkpoints = CHECKPOINT.scan(stage.txn, &CHECKPOINT.all(), 10_000)?;
    let mut streams = Vec::with_capacity(checkpoints.len());
    for (place, row) in checkpoints {
        let row = stage.index.looked.get(&place).cloned().unwrap_or(row);
        let (connection, stream) = place;
        streams.push(StreamStatus {
            swept: sweep::state(stage, &connection, stream)?,
            connection: connection.to_string(),
            stream,
            cursor: match row.as_of {
                Some(as_of) if as_of == Timestamp::UNIX_EPOCH => "no file yet".to_owned(),
                Some(as_of) => format!("the file of {as_of:.0}"),
                None => row.cursor.to_string(),
            },
            accepted_at: row.accepted_at,
            drained_at: row.drained_at,
        });
    }
    let counts = COUNTS.scan(stage.txn, &COUNTS.all(), 10_000)?;
    let routes = counts.into_iter().map(|(route, counts)| {
        let applies = mode_of(stage.rules, &route) == Mode::Apply;
        (route.to_string(), RouteStatus { applies, counts })
    });
    let differences = stage.index.cells.targets().map(|(target, count)| {
        let unlisted = stage.index.unlisted(target).min(count);
        DifferenceStatus {
            sink: target.0.to_string(),
            stream: target.1,
            count: count - unlisted,
            unlisted,
        }
    });
    Ok(Status {
        now: stage.now,
        streams,
        queue: queue(stage)?,
        differences: differences.collect(),
        waiting: waiting(stage),
        routes: routes.collect(),
        quarantined: stage.index.quarantine_len(),
        paused: paused(stage)?,
    })
}

/// What waits for things that do not exist at their sinks yet.
pub(super) fn waiting(stage: &Stage<'_, '_>) -> Vec<WaitingStatus> {
    let events = stage.index.queue.waiting();
    let cells = stage.index.cells.waiting();
    let all = events
        .iter()
        .map(|(it, waiting)| (it, *waiting))
        .chain(cells);
    let rows = all.map(|((sink, stream), waiting)| WaitingStatus {
        sink: sink.to_string(),
        stream: *stream,
        count: waiting.count,
        oldest: waiting.oldest,
    });
    rows.collect()
}

fn queue(stage: &Stage<'_, '_>) -> Result<Vec<QueueStatus>, EngineError> {
    let mut found: BTreeMap<(String, Stream, String), (u64, Timestamp)> = BTreeMap::new();
    let mut range = EVENT.all();
    loop {
        let rows = EVENT.scan(stage.txn, &range, 1000)?;
        let Some((last, _)) = rows.last() else { break };
        range = EVENT.after(range, last);
        for (_, mut row) in rows {
            stage.index.show_intent(&mut row);
            let observed = mode_of(stage.rules, &row.route) == Mode::Observe;
            let word = if observed {
                "observed"
            } else {
                row.state.name()
            };
            let place = (row.sink.to_string(), row.stream, word.to_owned());
            let entry = found.entry(place).or_insert((0, row.accepted_at));
            entry.0 += 1;
            entry.1 = entry.1.min(row.accepted_at);
        }
    }
    let rows = found
        .into_iter()
        .map(|((sink, stream, state), (count, oldest))| QueueStatus {
            sink,
            stream,
            state,
            count,
            oldest,
        });
    Ok(rows.collect())
}

pub(super) fn paused(stage: &Stage<'_, '_>) -> Result<BTreeMap<String, String>, EngineError> {
    let facts = META.scan(stage.txn, &META.all(), 10_000)?;
    let paused = facts.into_iter().filter_map(|(name, fact)| {
        let connection = name.strip_prefix("paused/")?.to_owned();
        Some((
            connection,
            fact.value["why"].as_str().unwrap_or_default().to_owned(),
        ))
    });
    Ok(paused.collect())
}

/// The deliveries that wait, for `queue` and `plan`: oldest first.
pub(super) fn events(
    stage: &Stage<'_, '_>,
    after: u64,
    limit: usize,
) -> Result<Vec<crate::outbox::OutboxRow>, EngineError> {
    let range = EVENT.after(EVENT.all(), &after);
    let rows = EVENT.scan(stage.txn, &range, limit)?;
    let masked = |mut row: crate::outbox::OutboxRow| {
        stage.index.show_intent(&mut row);
        row.record = Written::of(&crate::record::masked(&row.record.value()));
        row
    };
    Ok(rows.into_iter().map(|(_, row)| masked(row)).collect())
}

/// The life of the things that `name` names: our id, a number, or `connection:remote id`. That of an
/// order's shipments is told behind it.
pub(super) fn explain(
    stage: &Stage<'_, '_>,
    stream: Stream,
    name: &str,
) -> Result<Vec<Life>, EngineError> {
    let mut ids: Vec<EntityId> = Vec::new();
    if ENTITY.contains(stage.txn, &name.into())? {
        ids.push(name.into());
    }
    if let Some((connection, id)) = name.split_once(':') {
        let linked = stage.linked(&connection.into(), stream, &RemoteId::new(id))?;
        ids.extend(linked.map(|entity| entity.id));
    }
    let by_key = BY_KEY.under(&(stream, Key::new(name)));
    let found = BY_KEY.scan(stage.txn, &by_key, 100)?;
    ids.extend(found.into_iter().map(|((_, _, entity), _)| entity));
    ids.sort();
    ids.dedup();
    let mut lives = Vec::new();
    for id in ids {
        let Some(life) = life(stage, &id)? else {
            continue;
        };
        let shipments: Vec<EntityId> = life.entity.shipped.keys().cloned().collect();
        lives.push(life);
        for id in shipments {
            lives.extend(self::life(stage, &id)?);
        }
    }
    Ok(lives)
}

fn life(stage: &Stage<'_, '_>, id: &EntityId) -> Result<Option<Life>, EngineError> {
    let Some(entity) = ENTITY.get(stage.txn, id)? else {
        return Ok(None);
    };
    let record = RECORD.get(stage.txn, id)?;
    Ok(Some(Life {
        entity,
        record: record.map(|record| crate::record::masked(&record.value())),
        entries: entries(stage, id.as_str())?,
    }))
}

pub(super) fn entries(
    stage: &Stage<'_, '_>,
    thing: &str,
) -> Result<Vec<(Timestamp, Entry)>, EngineError> {
    let range = JOURNAL.under(&(thing.to_owned(),));
    let rows = JOURNAL.scan(stage.txn, &range, MAX_ENTRIES)?;
    Ok(rows
        .into_iter()
        .flat_map(|((_, at, _), row)| row.0.into_iter().map(move |entry| (at, entry)))
        .collect())
}

/// Why each channel, or the named one, is told its number of a SKU.
pub(super) fn explain_stock(
    stage: &Stage<'_, '_>,
    sku: &str,
    connection: Option<&ConnectionName>,
) -> Result<Vec<StockReason>, EngineError> {
    let sku = Key::new(sku);
    let mut reasons = Vec::new();
    for publish in &stage.rules.publishes {
        if connection.is_some_and(|wanted| *wanted != publish.to) {
            continue;
        }
        let Some(derivation) = pools::explain(stage, publish, &sku)? else {
            continue;
        };
        let target = (publish.to.clone(), Stream::Stock);
        let cell = cell::get(stage, &target, &sku)?;
        let waits = pools::waits_for_sales(stage, publish, &derivation, cell.desired)?;
        reasons.push(StockReason {
            connection: publish.to.to_string(),
            derivation,
            published: told(&cell),
            applies: publish.mode == Mode::Apply,
            held_back: held_back(stage, &target, &sku, &cell)?.or(waits),
            entries: entries(stage, &cell::thing(&target, &sku))?,
        });
    }
    if reasons.is_empty() {
        let message = format!("no publish rule and no owner knows SKU {sku}");
        return Err(Fault::reject("unknown_sku", message).into());
    }
    Ok(reasons)
}

fn told(cell: &Cell) -> Option<(String, Option<Timestamp>)> {
    let text = cell.published.map(Figure::text);
    text.map(|text| (text, cell.published_at))
}

/// Why a cell is not told what it should be.
fn held_back(
    stage: &Stage<'_, '_>,
    target: &cell::Target,
    key: &Key,
    cell: &Cell,
) -> Result<Option<String>, EngineError> {
    if !cell.is_pending() {
        return Ok(None);
    }
    if stage.index.is_stopped(target) {
        let message = "the guard has stopped the stream: see `crossdock quarantine list`";
        return Ok(Some(message.to_owned()));
    }
    if let Some((on, since)) = stage.index.cells.waits_for(target, key) {
        return Ok(Some(format!("waits for {on} since {since}")));
    }
    let attempt = ATTEMPT.get(stage.txn, &(target.0.clone(), target.1, key.clone()))?;
    Ok(attempt.and_then(|attempt| {
        let fault = attempt.fault?;
        Some(match attempt.quarantine {
            Some(number) => format!("quarantine {number}: {fault}"),
            None => fault.to_string(),
        })
    }))
}

/// Why each channel, or the named one, is told its prices of a SKU.
pub(super) fn explain_price(
    stage: &Stage<'_, '_>,
    sku: &str,
    connection: Option<&ConnectionName>,
) -> Result<Vec<PriceReason>, EngineError> {
    let mut reasons = Vec::new();
    let wanted = |feed: &cell::Feed| {
        let (sink, stream) = &feed.target;
        *stream == Stream::Prices && connection.is_none_or(|wanted| wanted == sink)
    };
    for feed in stage.rules.feeds().filter(wanted) {
        for (key, cell) in cell::of_sku(stage, &feed.target, sku)? {
            reasons.push(price_reason(stage, &feed, &key, &cell)?);
        }
    }
    if reasons.is_empty() {
        let message = format!("no route told a price of SKU {sku}");
        return Err(Fault::reject("unknown_sku", message).into());
    }
    Ok(reasons)
}

fn price_reason(
    stage: &Stage<'_, '_>,
    feed: &cell::Feed,
    key: &Key,
    cell: &Cell,
) -> Result<PriceReason, EngineError> {
    let mut parts = key.as_str().split(cell::KEY_PART).skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let (list, currency, from) = (part(), part(), part());
    let price = json!({ "list": list, "currency": currency, "from_pieces": from });
    let mut said = Vec::new();
    let mut routes = stage.rules.router.all();
    let route = routes.find(|route| route.name == feed.name);
    if let Some(route) = route {
        for (_, it) in prices::said_of_sku(stage, &route.from.0, cell::sku_of(key))? {
            let record = Record::Price(it.price).to_json();
            said.push((route.from.0.to_string(), record, it.read_at));
        }
    }
    Ok(PriceReason {
        connection: feed.target.0.to_string(),
        price,
        route: feed.name.to_string(),
        applies: feed.mode == Mode::Apply,
        said,
        to_be_told: cell.desired.map(Figure::text),
        told: told(cell),
        held_back: held_back(stage, &feed.target, key, cell)?,
        entries: entries(stage, &cell::thing(&feed.target, key))?,
    })
}

/// Ids of things that are not settled at their origin: for reading them again where the vendor's
/// timestamps lie. Those that began before `not_before` are left alone.
pub(super) fn open_things(
    stage: &Stage<'_, '_>,
    connection: &ConnectionName,
    stream: Stream,
    not_before: Timestamp,
    limit: usize,
) -> Result<Vec<RemoteId>, EngineError> {
    let range = OPEN.under(&(connection.clone(), stream));
    let rows = OPEN.scan(stage.txn, &range, 100_000)?;
    let young = rows
        .into_iter()
        .filter(|(_, open)| open.since >= not_before);
    Ok(young.map(|((_, _, id), _)| id).take(limit).collect())
}
