//! What may be sent next: an intent for each event is durable before anybody may send it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;

use super::EngineError;
use super::attempts::Attempts;
use super::cell::{self, Cell, Figure, Target};
use super::index::{Update, unread_items};
use super::items::ItemPlace;
use super::stage::Stage;
use super::submitted::{self, Step};
use super::tables::{CHECKPOINT, CellAttempt, ENTITY, GROUP, GroupAt, INTENT, Intent, META};
use super::{items, orders, pools, prices};
use crate::clock::later;
use crate::connector::{Captured, Delivery, Operation, StockBasis, Token};
use crate::id::{ConnectionName, DeliveryId, EntityId, Key};
use crate::outbox::{OutboxRow, State, When};
use crate::record::{Lane, Record, Sku, StockLevel, Stream, Written};
use crate::router::Mode;

/// How many cells that wait for their items one claim puts aside at most.
const ASIDE: usize = 1000;
/// How many cells of a stopped stream are looked at for whether it may go on.
const LOOKED_AT: usize = 2000;

/// What is to be done with a claimed delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send it.
    Send,
    /// Look whether an earlier try left something there; send it only if not.
    FindFirst(Earlier),
    /// Look whether it is there; if not, nothing is to be done.
    FindOnly,
    /// Ask after its submission.
    Check(Token),
    /// Ask after a submission that a newer value has gone past.
    Watch(Token),
}

/// What may have left something there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// This store never sent it; one that was lost may have.
    OtherStore,
    /// It was sent, and whatever was to become of it has become by now.
    Over,
    /// It was sent, and may still be carried out until then: what is not there yet is not sent before.
    Until(Timestamp),
}

impl Action {
    /// What is asked with, if something is.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Check(token) | Self::Watch(token) => Some(token),
            _ => None,
        }
    }
}

/// Where a claimed delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the event queue.
    Event(u64),
    /// A key of a state stream.
    Cell,
}

/// A delivery that nobody else will send until it is settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// What to deliver.
    pub delivery: Delivery,
    /// How.
    pub action: Action,
    /// Where it stands.
    pub place: Place,
    /// How urgent it is.
    pub lane: Lane,
    /// Since when it is claimed.
    pub since: Timestamp,
}

/// Claims at most `limit` deliveries for one stream of one sink, most urgent first.
pub(super) fn claim(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    limit: usize,
) -> Result<Vec<Claimed>, EngineError> {
    if is_paused(stage, &target.0)? {
        return Ok(Vec::new());
    }
    let mut claimed = Vec::new();
    for seq in stage.index.queue.due(target, stage.now, limit) {
        if let Some(row) = stage.event(seq)? {
            claimed.extend(claim_event(stage, row)?);
        }
    }
    intend(stage, &claimed)?;
    let left = limit.saturating_sub(claimed.len());
    if matches!(target.1, Stream::Stock | Stream::Prices) && left > 0 {
        claim_cells(stage, target, left, &mut claimed)?;
    }
    Ok(claimed)
}

/// Whether deliveries to this connection wait for its credentials or configuration.
pub(super) fn is_paused(
    stage: &Stage<'_, '_>,
    connection: &ConnectionName,
) -> Result<bool, EngineError> {
    Ok(META.contains(stage.txn, &format!("paused/{connection}"))?)
}

/// Notes durably, in one row, what is about to be sent. What is only asked after needs no intent.
fn intend(stage: &mut Stage<'_, '_>, claimed: &[Claimed]) -> Result<(), EngineError> {
    let (mut asked, mut sent) = (Vec::new(), Vec::new());
    for claim in claimed {
        match (&claim.place, &claim.action) {
            (Place::Event(seq), Action::Check(_)) => asked.push(*seq),
            (Place::Event(seq), _) => sent.push(*seq),
            (Place::Cell, _) => {}
        }
    }
    let since = stage.now;
    if !asked.is_empty() {
        stage.updates.push(Update::Sending(None, asked, since));
    }
    if !sent.is_empty() {
        let number = stage.numbers.next();
        let intent = Intent {
            events: sent.clone(),
            since,
        };
        INTENT.put(stage.txn, &number, &intent)?;
        let sending = Update::Sending(Some(number), sent, since);
        stage.updates.push(sending);
    }
    Ok(())
}

fn claim_event(
    stage: &mut Stage<'_, '_>,
    mut row: OutboxRow,
) -> Result<Option<Claimed>, EngineError> {
    if row.stream == Stream::Shipments {
        if !name_order(stage, &mut row)? {
            return Ok(None);
        }
        if is_being_counted(stage, &row) {
            return Ok(None); // a moment later, when the number has arrived
        }
    }
    // A create that was never tried is not linked yet: its thing need not be read.
    let entity = match (row.operation, row.attempts) {
        (Operation::Create, 0) => None,
        _ => ENTITY.get(stage.txn, &row.entity)?,
    };
    let target = entity.and_then(|entity| entity.remote_id(&row.sink).cloned());
    let Ok(record) = row.record.read(row.stream) else {
        return Ok(None); // checked when it was queued or edited; a defect shows as an idle row
    };
    let action = match &row.state {
        State::Submitted { token, .. } => Action::Check(token.clone()),
        _ if items::is_withdrawn_create(&row) => Action::FindOnly,
        _ if orders::is_unlinked_cancel(&row, target.as_ref()) => Action::FindOnly,
        State::InFlight { .. } | State::Uncertain { .. } => {
            Action::FindFirst(earlier_try(stage, &row))
        }
        _ if row.operation == Operation::Create && may_exist(stage, &record) => {
            Action::FindFirst(Earlier::OtherStore)
        }
        _ => Action::Send,
    };
    if !matches!(action, Action::Check(_)) {
        row.state = State::InFlight { since: stage.now };
    }
    let group = match &row.group {
        Some(group) => GROUP.get(stage.txn, &(row.sink.clone(), group.clone()))?,
        None => None,
    };
    let delivery = Delivery {
        id: row.id.clone(),
        stream: row.stream,
        key: Key::new(row.entity.as_str()),
        operation: row.operation,
        record,
        reference: row.reference.clone(),
        origin: row.origin.to_string(),
        target,
        group: group.map(|GroupAt(id)| id),
        captured: row.captured.clone(),
        attempts: row.attempts,
    };
    let lane = crate::outbox::lane(row.stream, row.operation);
    // In flight: nobody else may claim it, whatever its state says after a crash.
    let mut entry = crate::outbox::Entry::of(&row);
    entry.due = None;
    stage.updates.push(Update::Event(row.seq, Some(entry)));
    Ok(Some(Claimed {
        delivery,
        action,
        place: Place::Event(row.seq),
        lane,
        since: stage.now,
    }))
}

/// What may still become of an earlier try. One that an earlier process had under way was sent before this one
/// opened the store.
fn earlier_try(stage: &Stage<'_, '_>, row: &OutboxRow) -> Earlier {
    let late = stage.rules.facts(&row.sink).late;
    let until = match row.state {
        State::InFlight { .. } => Some(later(stage.index.opened_at, late)),
        _ => row.late_until,
    };
    match until {
        Some(until) if until > stage.now => Earlier::Until(until),
        _ => Earlier::Over,
    }
}

/// Whether the number of something in this shipment is being written to the channel right now. A channel
/// with allocations apart lowers it when it is told of the shipment: never both at a time, or nobody knows
/// which came last.
fn is_being_counted(stage: &Stage<'_, '_>, row: &OutboxRow) -> bool {
    if stage.rules.facts(&row.sink).stock_basis != StockBasis::AllocatedApart {
        return false;
    }
    let Ok(Record::Shipment(shipment)) = row.record.read(row.stream) else {
        return false;
    };
    let target = (row.sink.clone(), Stream::Stock);
    let being_written = |sku: &Sku| {
        let key = Key::from(sku.shared());
        stage.index.in_flight.contains(&target, &key)
    };
    shipment.lines.iter().any(|line| being_written(&line.sku))
}

/// What shipments that this channel may or may not have been told of take away there, by SKU.
fn on_the_way(stage: &Stage<'_, '_>, target: &Target) -> BTreeMap<Key, Decimal> {
    let apart = stage.rules.facts(&target.0).stock_basis == StockBasis::AllocatedApart;
    if apart && target.1 == Stream::Stock {
        // What an earlier life told is looked for soon; what a person must decide about first may stand for long.
        let perhaps = stage.index.is_young(stage.now);
        stage.index.queue.on_the_way(&target.0, perhaps)
    } else {
        BTreeMap::new()
    }
}

/// The value to send now. While nobody knows whether the channel was told of a shipment, it may have
/// lowered its own number or not: it is told less only, and so little that it is right in both cases.
fn figure_now(cell: &Cell, on_the_way: Option<&Decimal>) -> Option<Figure> {
    match (cell.desired?, on_the_way) {
        (Figure::Quantity(_), Some(_)) if cell.lane() == Lane::StockUp => None,
        (Figure::Quantity(desired), Some(quantity)) => {
            Some(Figure::Quantity((desired - quantity).max(Decimal::ZERO)))
        }
        (desired, _) => Some(desired),
    }
}

/// A shipment names its order as the sink knows it; without a link it waits for one.
fn name_order(stage: &mut Stage<'_, '_>, row: &mut OutboxRow) -> Result<bool, EngineError> {
    let order = ENTITY.get(stage.txn, &row.line)?;
    if let Some(id) = order.as_ref().and_then(|order| order.remote_id(&row.sink)) {
        let mut record = row.record.value();
        record["order"] = Value::String(id.to_string());
        row.record = Written::of(&record);
        return Ok(true);
    }
    row.state = State::Waiting {
        on: row.line.clone(),
        since: stage.now,
    };
    stage.put_event(row)?;
    Ok(false)
}

/// Whether the thing may be over there although this store never sent it: it is older than this process,
/// so an earlier one may have sent it from a store that was lost or is newer than a restored backup.
fn may_exist(stage: &Stage<'_, '_>, record: &Record) -> bool {
    let happened = match record {
        Record::Order(order) => Some(order.placed_at),
        Record::Shipment(shipment) => shipment.shipped_at.value().copied(),
        _ => None,
    };
    happened.is_none_or(|at| stage.index.is_older_than_us(at))
}

fn claim_cells(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    limit: usize,
    claimed: &mut Vec<Claimed>,
) -> Result<(), EngineError> {
    let stopped = stage.index.is_stopped(target);
    if stopped {
        end_stop(stage, target)?;
    }
    let dependence = Dependence::of(stage, target)?;
    let room = if dependence.is_none() { 0 } else { ASIDE };
    let due = stage.index.cells.due(target, stage.now, limit + room);
    let (cells, attempts) = read_cells(stage, target, &due)?;
    let mut taken = Vec::with_capacity(limit.min(due.len()));
    let on_the_way = on_the_way(stage, target);
    for ((key, lane), cell) in due.iter().zip(&cells) {
        if taken.len() >= limit {
            break;
        }
        // What it was told before may be said again: of that alone nobody is sure.
        if stopped && cell.is_none_or(|cell| cell.desired != cell.published) {
            continue;
        }
        let figure = |cell: &Cell| figure_now(cell, on_the_way.get(key));
        let Some(desired) = cell.as_ref().and_then(figure) else {
            continue;
        };
        let attempt = attempts.get(stage.txn, key)?;
        let asked = match (&attempt, cell) {
            (Some(attempt), Some(cell)) => asked_after(stage, target, (key, *lane), attempt, cell),
            _ => Asked::Nothing,
        };
        match asked {
            Asked::Later(when) => {
                let place = Some((*lane, when));
                let update = Update::Cell(target.clone(), key.clone(), place);
                stage.updates.push(update);
                continue;
            }
            Asked::Now(claim) => {
                claimed.push(*claim);
                taken.push((key.clone(), *lane));
                continue;
            }
            Asked::Nothing => {}
        }
        if let Some(on) = dependence.waits(stage, cell::sku_of(key))? {
            let update = Update::Waits(target.clone(), key.clone(), *lane, on);
            stage.updates.push(update);
            continue;
        }
        if let Some(claim) = claim_cell(stage, target, (key, *lane), desired, attempt) {
            claimed.push(claim);
            taken.push((key.clone(), *lane));
        }
    }
    stage.updates.push(Update::Taken(target.clone(), taken));
    Ok(())
}

/// The cells of some keys, in their order, and the attempts beside them.
fn read_cells<'t>(
    stage: &Stage<'_, '_>,
    target: &'t Target,
    due: &[(Key, Lane)],
) -> Result<(Vec<Option<Cell>>, Attempts<'t>), EngineError> {
    let mut order: Vec<usize> = (0..due.len()).collect();
    order.sort_unstable_by(|a, b| due[*a].0.cmp(&due[*b].0));
    let keys: Vec<&Key> = order.iter().map(|n| &due[*n].0).collect();
    let mut cells = vec![None; due.len()];
    cell::blocks(target).look(stage.txn, &keys, |n, bytes| {
        cells[order[n]] = bytes.and_then(Cell::decode);
    })?;
    let attempts = Attempts::among(stage.txn, target, keys.into_iter())?;
    Ok((cells, attempts))
}

/// What is asked after instead of sending a value.
enum Asked {
    /// Nothing: the value is sent.
    Nothing,
    /// This, now.
    Now(Box<Claimed>),
    /// Something, later.
    Later(When),
}

/// What was submitted under a key is asked after when it is due, with the value that was submitted.
fn asked_after(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    (key, lane): (&Key, Lane),
    attempt: &CellAttempt,
    cell: &Cell,
) -> Asked {
    let Some(desired) = cell.desired else {
        return Asked::Nothing;
    };
    let (submission, watched) =
        match submitted::step(attempt, cell, desired, stage.now, stage.limits()) {
            Step::Send => return Asked::Nothing,
            Step::Wait => {
                let when = submitted::when(attempt, cell, stage.limits()).unwrap_or(When::Now);
                return Asked::Later(when);
            }
            Step::Ask(submission) => (submission, false),
            Step::Watch(submission) => (submission, true),
        };
    let token = submission.token.clone();
    let action = if watched {
        Action::Watch(token)
    } else {
        Action::Check(token)
    };
    let figure = submission.figure();
    let claim = figure.and_then(|told| claim_with(stage, target, (key, lane), told, action, 0));
    claim.map_or(Asked::Nothing, |claim| Asked::Now(Box::new(claim)))
}

fn claim_cell(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    (key, lane): (&Key, Lane),
    desired: Figure,
    attempt: Option<CellAttempt>,
) -> Option<Claimed> {
    let uncertain = attempt
        .as_ref()
        .and_then(|attempt| attempt.uncertain.as_ref());
    // What goes past a submission that does not end goes alone: not behind it in another one.
    let goes_past = attempt.as_ref().is_some_and(|attempt| {
        let waits = attempt.submitted.as_ref().is_some_and(|it| !it.in_order);
        waits || !attempt.overtaken.is_empty()
    });
    // The same value may be sent again freely; before another one the last is looked up.
    let action = match uncertain {
        Some(last) if *last != desired.encode() => Action::FindFirst(Earlier::Over),
        _ if goes_past => Action::FindFirst(Earlier::Over),
        _ => Action::Send,
    };
    let attempts = attempt.map_or(0, |attempt| attempt.attempts);
    claim_with(stage, target, (key, lane), desired, action, attempts)
}

fn claim_with(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    (key, lane): (&Key, Lane),
    figure: Figure,
    action: Action,
    attempts: u32,
) -> Option<Claimed> {
    let record = record_of(key, figure)?;
    let delivery = Delivery {
        id: DeliveryId::new(stage.numbers.id("dlv", stage.now)),
        stream: target.1,
        key: key.clone(),
        operation: Operation::Update,
        record,
        reference: cell::sku_of(key).to_owned(),
        origin: String::new(),
        target: None,
        group: None,
        captured: Captured::new(),
        attempts,
    };
    Some(Claimed {
        delivery,
        action,
        place: Place::Cell,
        lane,
        since: stage.now,
    })
}

fn record_of(key: &Key, desired: Figure) -> Option<Record> {
    match desired {
        Figure::Quantity(number) => {
            let sku = Sku::from_shared(key.shared()).ok()?;
            let level = StockLevel::on_hand(sku, pools::quantity(number));
            Some(Record::Stock(level))
        }
        Figure::Price(tag) => prices::price_of(key, tag).map(Record::Price),
    }
}

/// A stream that the guard stopped goes on by itself when nothing but single held prices differs: its
/// source was mended.
fn end_stop(stage: &mut Stage<'_, '_>, target: &Target) -> Result<(), EngineError> {
    let due = stage.index.cells.due(target, stage.now, LOOKED_AT + 1);
    if due.len() > LOOKED_AT {
        return Ok(());
    }
    let (cells, _) = read_cells(stage, target, &due)?;
    let mut cells = cells.iter().flatten();
    if cells.all(|cell| cell.desired == cell.published) {
        stage.resolve_quarantine(&cell::stream_thing(target), "guard")?;
    }
    Ok(())
}

/// Whether numbers of a channel wait for its items: what is still to be created there is told nothing.
pub(super) enum Dependence {
    /// Items of this channel are nobody's business here, or all are there.
    None,
    /// Some items are still to be created; these connections were not read to their end yet.
    Items {
        sink: ConnectionName,
        unread: Vec<ConnectionName>,
    },
}

impl Dependence {
    pub(super) fn of(stage: &Stage<'_, '_>, target: &Target) -> Result<Self, EngineError> {
        let items = (target.0.clone(), Stream::Items);
        let rules = stage.rules;
        let routes = rules.router.all().filter(|route| {
            route.to == items && route.mode == Mode::Apply && rules.may_tell(route)
        });
        let mut unread = Vec::new();
        let mut any = false;
        for route in routes {
            any = true;
            let read = CHECKPOINT.get(stage.txn, &route.from)?;
            if read.is_none_or(|checkpoint| checkpoint.drained_at.is_none()) {
                unread.push(route.from.0.clone());
            }
        }
        let queued = stage.index.queue.size_of(&items) > 0;
        if !any || (unread.is_empty() && !queued) {
            return Ok(Self::None);
        }
        let sink = items.0;
        Ok(Self::Items { sink, unread })
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The item that a SKU waits for, and since when. One that is nobody's to create waits for nothing:
    /// the channel says whether it has it.
    pub(super) fn waits(
        &self,
        stage: &Stage<'_, '_>,
        sku: &str,
    ) -> Result<Option<(EntityId, Timestamp)>, EngineError> {
        let Self::Items { sink, unread } = self else {
            return Ok(None);
        };
        Ok(match items::place_at(stage, sink, sku)? {
            ItemPlace::There { .. } | ItemPlace::Nobodys => None,
            ItemPlace::Queued { item, since } => Some((item, since)),
            ItemPlace::Unknown => unread.first().map(|it| (unread_items(it), stage.now)),
        })
    }
}
