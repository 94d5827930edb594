//! What became of things that a source shows, route by route: our own side of a proof.

use jiff::Timestamp;
use serde_json::Value;

use super::EngineError;
use super::orders;
use super::rules::Mapped;
use super::stage::{Stage, map_by, mode_of, remote_thing, slot_of};
use super::tables::{CHECKPOINT, Fact, JOURNAL, META, QUARANTINE};
use crate::connector::Cursor;
use crate::fault::Fault;
use crate::id::{RemoteId, RouteName};
use crate::ledger::Entity;
use crate::outbox::{OutboxRow, State as RowState};
use crate::proof::{Account, State};
use crate::record::{Money, Record};
use crate::router::{Mode, Route};

/// How many lines of a journal go along.
const STORY: usize = 8;
/// How many entries of a journal are read for them.
const MAX_ENTRIES: usize = 200;

/// An account of each of these things, as its source shows it now, on one route; in the same order.
pub(super) fn account(
    stage: &Stage<'_, '_>,
    route: &RouteName,
    things: &[(RemoteId, Record)],
) -> Result<Vec<Account>, EngineError> {
    let route = route_named(stage, route)?;
    let all = things.iter();
    all.map(|(id, record)| one(stage, route, id, record))
        .collect()
}

pub(super) fn route_named<'r>(
    stage: &Stage<'r, '_>,
    name: &RouteName,
) -> Result<&'r Route, EngineError> {
    let rules = stage.rules;
    let found = rules.router.all().find(|it| it.name == *name);
    found.ok_or_else(|| {
        let message = format!("there is no route {name}");
        Fault::reject("unknown_route", message).into()
    })
}

fn one(
    stage: &Stage<'_, '_>,
    route: &Route,
    id: &RemoteId,
    record: &Record,
) -> Result<Account, EngineError> {
    let json = record.to_json();
    let mapped = stage.map(&route.name, &json);
    let content = match &mapped {
        Ok(Mapped::Kept(mapped)) => mapped,
        _ => &json,
    };
    let (connection, stream) = &route.from;
    let text = |name: &str| content[name].as_str().map(str::to_owned);
    let total = &content["totals"]["grand_total"];
    let total: Option<Money> = serde_json::from_value(total.clone()).ok();
    let entity = stage.linked(connection, *stream, id)?;
    let thing = match &entity {
        Some(entity) => entity.id.to_string(),
        None => remote_thing(connection, *stream, id),
    };
    let story = story(stage, &thing)?;
    let reached = match &entity {
        Some(entity) => known(stage, route, entity, (&mapped, &story))?,
        None => unseen(stage, route, &thing, changed_at(record))?,
    };
    Ok(Account {
        reference: match &entity {
            Some(entity) if entity.origin == *connection => orders::reference(entity),
            _ => format!("{connection}:{id}"),
        },
        name: text("number").or_else(|| text("id")).unwrap_or_default(),
        total,
        state: reached,
        called_off: entity.is_some_and(|entity| entity.cancelled),
        story: story
            .into_iter()
            .map(|(what, detail)| format!("{what} {detail}"))
            .collect(),
    })
}

/// The last entries of a journal, oldest first.
pub(super) fn story(
    stage: &Stage<'_, '_>,
    thing: &str,
) -> Result<Vec<(String, String)>, EngineError> {
    let rows = JOURNAL.scan(stage.txn, &JOURNAL.under(&(thing.to_owned(),)), MAX_ENTRIES)?;
    let entries = rows.into_iter().flat_map(|(_, row)| row.0);
    let mut story: Vec<(String, String)> =
        entries.map(|entry| (entry.what, entry.detail)).collect();
    story.drain(..story.len().saturating_sub(STORY));
    Ok(story)
}

fn known(
    stage: &Stage<'_, '_>,
    route: &Route,
    entity: &Entity,
    (mapped, story): (&Result<Mapped, Fault>, &[(String, String)]),
) -> Result<State, EngineError> {
    let sink = &route.to.0;
    if let Some(id) = entity.remote_id(sink) {
        return Ok(State::Delivered(id.clone()));
    }
    for seq in stage.rows_of(sink, &entity.id)? {
        let Some(row) = stage.event(seq)? else {
            continue;
        };
        return Ok(on_its_way(stage, &row));
    }
    if let Some(number) = stage
        .index
        .quarantined(entity.id.as_str(), &map_by(&route.name))
    {
        return held(stage, number);
    }
    if let Some(state) = let_go(route, story) {
        return Ok(state);
    }
    Ok(match mapped {
        Ok(Mapped::Filtered(rule)) => State::Filtered(rule.clone()),
        _ => State::Unknown,
    })
}

/// How far a delivery is that is not settled.
pub(super) fn on_its_way(stage: &Stage<'_, '_>, row: &OutboxRow) -> State {
    if mode_of(stage.rules, &row.route) == Mode::Observe {
        return State::Observed;
    }
    let fault = row.last_fault.as_ref();
    let why = fault.map_or_else(String::new, |fault| format!(": {fault}"));
    match &row.state {
        RowState::Quarantined { .. } => State::Quarantined(format!("is held{why}")),
        other => State::Waiting(format!("is {}{why}", other.name())),
    }
}

/// What a journal says of a thing that was kept back or let go.
pub(super) fn let_go(route: &Route, story: &[(String, String)]) -> Option<State> {
    let prefix = format!("route {}: ", route.name);
    story
        .iter()
        .rev()
        .find_map(|(what, detail)| match what.as_str() {
            "filtered" => {
                let rule = detail.strip_prefix(&prefix)?;
                Some(State::Filtered(rule.to_owned()))
            }
            "dismissed" => Some(State::Dismissed(format!("was dismissed: {detail}"))),
            _ => None,
        })
}

pub(super) fn held(stage: &Stage<'_, '_>, number: u64) -> Result<State, EngineError> {
    let row = QUARANTINE.get(stage.txn, &number)?;
    let why = row.map_or_else(String::new, |row| format!(": {}", row.fault));
    Ok(State::Quarantined(format!("quarantine {number}{why}")))
}

/// When an order was changed last over there.
fn changed_at(record: &Record) -> Option<Timestamp> {
    match record {
        Record::Order(order) => {
            let changed = order.updated_at.value().copied();
            Some(changed.unwrap_or(order.placed_at))
        }
        _ => None,
    }
}

/// Something of which we have no entity: not read so far, not understood, or lost.
pub(super) fn unseen(
    stage: &Stage<'_, '_>,
    route: &Route,
    thing: &str,
    changed: Option<Timestamp>,
) -> Result<State, EngineError> {
    let slot = slot_of("read", &route.from.0, None);
    if let Some(number) = stage.index.quarantined(thing, &slot) {
        return held(stage, number);
    }
    let read = CHECKPOINT.get(stage.txn, &route.from)?;
    let Some(read) = read else {
        return Ok(State::Unread);
    };
    let Some(changed) = changed else {
        return Ok(State::Unread); // nobody knows whether the reading came by
    };
    let is_read = match &read.cursor {
        Cursor::Watermark { at, .. } => changed <= *at,
        // Where the cursor is no moment, all that there was when the last whole run began.
        _ => read.known_until().is_some_and(|until| changed < until),
    };
    Ok(if is_read {
        State::Unseen
    } else {
        State::Unread
    })
}

/// Proofs of days: `proof/2026-11-21`.
const PROOF: &str = "proof/";
/// The first day that can be proven.
const SINCE: &str = "proven_since";
/// The most proofs that are looked at.
const MAX_PROOFS: usize = 4000;

/// The proofs of days, oldest first.
pub(super) fn proofs(stage: &Stage<'_, '_>) -> Result<Vec<(String, Value)>, EngineError> {
    let facts = META.scan(stage.txn, &META.all(), MAX_PROOFS)?;
    let days = facts.into_iter().filter_map(|(name, fact)| {
        let day = name.strip_prefix(PROOF)?.to_owned();
        Some((day, fact.value))
    });
    Ok(days.collect())
}

/// Keeps the proof of a day; the oldest go.
pub(super) fn keep_proof(
    stage: &mut Stage<'_, '_>,
    day: &str,
    proof: Value,
    days: usize,
) -> Result<(), EngineError> {
    let kept = proofs(stage)?;
    let old = (kept.len() + 1).saturating_sub(days.max(1));
    for (day, _) in kept.iter().take(old) {
        META.delete(stage.txn, &format!("{PROOF}{day}"));
    }
    Ok(META.put(stage.txn, &format!("{PROOF}{day}"), &Fact { value: proof })?)
}

/// The first day that this store has to do with.
pub(super) fn proven_since(stage: &mut Stage<'_, '_>, today: &str) -> Result<String, EngineError> {
    if let Some(fact) = META.get(stage.txn, &SINCE.to_owned())? {
        return Ok(fact.value.as_str().unwrap_or(today).to_owned());
    }
    let fact = Fact {
        value: Value::from(today),
    };
    META.put(stage.txn, &SINCE.to_owned(), &fact)?;
    Ok(today.to_owned())
}
