//! What channels should be told, number by number: our own side of a proof of stock and prices.

use std::ops::Bound;

use jiff::Timestamp;

use super::EngineError;
use super::account::story;
use super::cell::{self, Cell, Feed, Figure, Target};
use super::prices;
use super::query::paused;
use super::stage::Stage;
use super::tables::{ATTEMPT, CHECKPOINT, CellAttempt};
use crate::fault::Fault;
use crate::id::{ConnectionName, Key};
use crate::proof::{Number, Place, Told};
use crate::record::Stream;
use crate::router::Mode;

/// The next `limit` keys behind `after` that a channel is to be told, and behind which key to go on.
pub(super) fn told(
    stage: &Stage<'_, '_>,
    target: &Target,
    after: Option<&Key>,
    limit: usize,
) -> Result<(Vec<Told>, Option<Key>), EngineError> {
    let seen = Seen::of(stage, target)?;
    let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_str()));
    let rows = cell::blocks(target).scan(stage.txn, from, limit)?;
    let next = rows.last().filter(|_| rows.len() == limit);
    let next = next.map(|(key, _)| Key::from(key.as_str()));
    let mut all = Vec::with_capacity(rows.len());
    for (key, bytes) in &rows {
        if let Some(cell) = Cell::decode(bytes) {
            all.extend(one(stage, &seen, &Key::from(key.as_str()), &cell)?);
        }
    }
    Ok((all, next))
}

/// The same of these keys, with the last lines of their journals; those that are to be told no more are
/// left out.
pub(super) fn told_of(
    stage: &Stage<'_, '_>,
    target: &Target,
    keys: &[Key],
) -> Result<Vec<Told>, EngineError> {
    let seen = Seen::of(stage, target)?;
    let mut all = Vec::with_capacity(keys.len());
    for key in keys {
        let cell = cell::get(stage, target, key)?;
        let Some(mut told) = one(stage, &seen, key, &cell)? else {
            continue;
        };
        let lines = story(stage, &cell::thing(target, key))?;
        let lines = lines
            .into_iter()
            .map(|(what, detail)| format!("{what} {detail}"));
        told.story = lines.collect();
        all.push(told);
    }
    Ok(all)
}

/// When a stream was last read to its end, by our clock.
pub(super) fn drained_at(
    stage: &Stage<'_, '_>,
    place: &(ConnectionName, Stream),
) -> Result<Option<Timestamp>, EngineError> {
    let looked = stage.index.looked.get(place).cloned();
    let row = match looked {
        Some(row) => Some(row),
        None => CHECKPOINT.get(stage.txn, place)?,
    };
    Ok(row.and_then(|row| row.drained_at))
}

/// What is the same for all keys of a channel.
struct Seen {
    feed: Feed,
    /// Why nothing is told just now, in a word and for a person.
    held: Option<(&'static str, String)>,
}

impl Seen {
    fn of(stage: &Stage<'_, '_>, target: &Target) -> Result<Self, EngineError> {
        let Some(feed) = stage.rules.feed_of(target) else {
            let message = format!("nothing is told to {}", cell::stream_thing(target));
            return Err(Fault::reject("nothing_told", message).into());
        };
        let observed = || {
            let why = format!("{} only observes: its mode is not `apply`", feed.name);
            ("observed", why)
        };
        let paused = paused(stage)?.remove(target.0.as_str());
        let held = match paused {
            _ if feed.mode == Mode::Observe => Some(observed()),
            Some(why) => Some(("paused", format!("{} is paused: {why}", target.0))),
            None if stage.index.is_stopped(target) => {
                let why = "the guard has stopped the stream: see `crossdock quarantine list`";
                Some(("guarded", why.to_owned()))
            }
            None => None,
        };
        Ok(Self { feed, held })
    }
}

fn one(
    stage: &Stage<'_, '_>,
    seen: &Seen,
    key: &Key,
    cell: &Cell,
) -> Result<Option<Told>, EngineError> {
    let Some(desired) = cell.desired else {
        return Ok(None); // unknown: nothing is to be told
    };
    let told = cell.published.map(|told| (number(told), cell.published_at));
    let held = held(stage, seen, key, cell)?;
    Ok(Some(Told {
        key: key.clone(),
        place: place(key, desired),
        wanted: number(desired),
        told,
        held: held.map(|(what, why)| (what.to_owned(), why)),
        story: Vec::new(),
    }))
}

fn number(figure: Figure) -> Number {
    Number {
        amount: figure.number(),
        compare_at: match figure {
            Figure::Price(tag) => tag.compare_at,
            Figure::Quantity(_) => None,
        },
    }
}

fn place(key: &Key, figure: Figure) -> Place {
    let price = match figure {
        Figure::Price(tag) => prices::price_of(key, tag),
        Figure::Quantity(_) => None,
    };
    match price {
        Some(price) => {
            let currency = price.price.currency.to_string();
            Place::price(price.sku.as_str(), &price.list, &currency, price.min_qty.0)
        }
        None => Place::stock(cell::sku_of(key)),
    }
}

/// Why a channel need not show what it should be told.
fn held(
    stage: &Stage<'_, '_>,
    seen: &Seen,
    key: &Key,
    cell: &Cell,
) -> Result<Option<(&'static str, String)>, EngineError> {
    let target = &seen.feed.target;
    let is_pending = cell.is_pending() || stage.index.cells.has(target, key);
    if let Some(held) = seen.held.as_ref().filter(|_| is_pending) {
        return Ok(Some(held.clone()));
    }
    if let Some((on, since)) = stage.index.cells.waits_for(target, key) {
        return Ok(Some((
            "waiting",
            format!("waits for {on} since {since:.0}"),
        )));
    }
    let attempt = ATTEMPT.get(stage.txn, &(target.0.clone(), target.1, key.clone()))?;
    if let Some(held) = attempt.and_then(|attempt| by_attempt(stage, &attempt)) {
        return Ok(Some(held));
    }
    if stage.index.in_flight.contains(target, key) {
        return Ok(Some(("pending", "is being told just now".to_owned())));
    }
    if is_pending {
        let wanted = cell.desired.map(Figure::text).unwrap_or_default();
        let before = match (cell.published, cell.published_at) {
            (Some(told), Some(at)) => format!("; {} was told at {at:.0}", told.text()),
            _ => String::new(),
        };
        return Ok(Some(("pending", format!("{wanted} is to be told{before}"))));
    }
    Ok(None)
}

fn by_attempt(stage: &Stage<'_, '_>, attempt: &CellAttempt) -> Option<(&'static str, String)> {
    let since = attempt.since;
    let fault = attempt.fault.as_ref();
    let why = fault.map_or_else(String::new, |fault| format!(": {fault}"));
    if let Some(number) = attempt.quarantine {
        let word = if attempt.held {
            "guarded"
        } else {
            "quarantined"
        };
        return Some((word, format!("quarantine {number}{why}")));
    }
    if attempt.not_listed {
        return Some(("not_listed", format!("is not there since {since:.0}{why}")));
    }
    if let Some(one) = attempt.submitted.as_ref().or(attempt.overtaken.first()) {
        let why = format!(
            "{} was taken in at {:.0} and is not confirmed yet",
            one.figure().map(Figure::text).unwrap_or_default(),
            one.since
        );
        return Some(("not_confirmed", why));
    }
    if fault.is_some() {
        let tries = attempt.attempts;
        let why = format!("was tried {tries} times since {since:.0}{why}");
        return Some(("failing", why));
    }
    let late = attempt.late_until.filter(|until| *until > stage.now)?;
    let why = format!("what was sent before may be carried out there until {late:.0}");
    Some(("late", why))
}
