//! Cells: what a channel should be told under one key of a state stream, and what it was told.
//!
//! The difference is what is pending; there is nothing to queue, to coalesce or to lose. Cells stand in
//! blocks, a few hundred neighbouring keys to a row; what stands between a key and its sink (attempts,
//! a quarantine) is a sparse row beside them. Stock (`pools.rs`) and prices (`prices.rs`) say what is
//! wanted; everything else about a cell is the same for both and is here, in `claim.rs` and in
//! `settle.rs`.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::EngineError;
use super::attempts::{self, Attempts};
use super::figures;
use super::guard::{self, GuardRun};
use super::index::Update;
use super::prices::Tag;
use super::rules::Rules;
use super::stage::{NewQuarantine, Stage};
use super::submitted;
use super::tables::{ATTEMPT, CellAttempt, Entry, Subject};
use crate::fault::Fault;
use crate::id::{ConnectionName, Key, RouteName};
use crate::outbox::{Difference, When};
use crate::record::{Lane, Stream};
use crate::router::Mode;
use crate::store::blocks::{Blocks, Edit};
use crate::store::table::CELL;

/// A sink's state stream.
pub(super) type Target = (ConnectionName, Stream);

/// What separates the parts of a cell's key; no SKU contains it, and it sorts before all that one can
/// contain, so that the keys of a SKU stand together.
pub(super) const KEY_PART: char = '\t';

/// A small value that a channel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    /// How many.
    Quantity(Decimal),
    /// How much.
    Price(Tag),
}

impl Figure {
    /// `7`, or a price's parts between semicolons.
    pub(super) fn encode(self) -> String {
        match self {
            Self::Quantity(number) => number.normalize().to_string(),
            Self::Price(tag) => tag.encode(),
        }
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        if text.contains(';') {
            return Tag::decode(text).map(Self::Price);
        }
        figures::read(text).map(Self::Quantity)
    }

    /// The number that counts: pieces, or the price of one.
    pub(super) fn number(self) -> Decimal {
        match self {
            Self::Quantity(number) => number,
            Self::Price(tag) => tag.amount,
        }
    }

    /// For a person.
    pub(super) fn text(self) -> String {
        match self {
            Self::Quantity(number) => number.normalize().to_string(),
            Self::Price(tag) => tag.to_string(),
        }
    }
}

/// What should be published under one key, and what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cell {
    pub desired: Option<Figure>,
    pub published: Option<Figure>,
    pub published_at: Option<Timestamp>,
    /// Something else was on its way when this became desired: nobody knows what stands there.
    pub unsure: bool,
    /// Of that alone it is unsure: what a process before the one that told it had under way may still land. It is
    /// told once more when nothing can any more.
    pub late: bool,
}

impl Cell {
    /// `7|5|…`: seven desired, five published at so many microseconds; `-` for none; `?` at the end for
    /// unsure, `~` for late.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(32);
        for figure in [self.desired, self.published] {
            match figure {
                Some(Figure::Quantity(number)) => figures::write(number.normalize(), &mut text),
                Some(Figure::Price(tag)) => text.extend_from_slice(tag.encode().as_bytes()),
                None => text.push(b'-'),
            }
            text.push(b'|');
        }
        match self.published_at {
            Some(at) => figures::write_whole(at.as_microsecond(), &mut text),
            None => text.push(b'-'),
        }
        text.extend_from_slice(match (self.unsure, self.late) {
            (true, false) => b"|?",
            (true, true) => b"|~",
            (false, _) => b"",
        });
        text
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.split('|');
        let figure = |text: &str| match text {
            "-" => Some(None),
            text => Figure::decode(text).map(Some),
        };
        let desired = figure(parts.next()?)?;
        let published = figure(parts.next()?)?;
        let published_at = match parts.next()? {
            "-" => None,
            micros => Some(Timestamp::from_microsecond(micros.parse().ok()?).ok()?),
        };
        let doubt = parts.next();
        Some(Self {
            desired,
            published,
            published_at,
            unsure: matches!(doubt, Some("?" | "~")),
            late: doubt == Some("~"),
        })
    }

    pub(super) fn is_pending(&self) -> bool {
        self.desired.is_some() && (self.desired != self.published || self.unsure)
    }

    /// Whether nothing is left to do but to tell it once more when nothing older can land any more.
    pub(super) fn is_late(&self) -> bool {
        self.late && self.desired == self.published
    }

    /// Whether it differs, and may be written at once.
    pub(super) fn place(&self, feed: &Feed) -> Option<(Lane, When)> {
        let when = match feed.mode {
            Mode::Apply => When::Now,
            Mode::Observe => When::Observed,
        };
        self.is_pending().then(|| (self.lane(), when))
    }

    /// Less stock than the channel was told goes first; a channel never told anything may be showing
    /// more.
    pub(super) fn lane(&self) -> Lane {
        match (self.desired, self.published) {
            (Some(Figure::Price(_)), _) => Lane::Prices,
            (Some(desired), Some(published)) if desired.number() >= published.number() => {
                Lane::StockUp
            }
            _ => Lane::StockDown,
        }
    }
}

/// The cells of a sink's state stream.
pub(super) fn blocks(target: &Target) -> Blocks {
    Blocks::new(CELL, target)
}

/// One cell; an empty one when nothing is known.
pub(super) fn get(stage: &Stage<'_, '_>, target: &Target, key: &Key) -> Result<Cell, EngineError> {
    let bytes = blocks(target).get(stage.txn, key.as_str())?;
    Ok(bytes.as_deref().and_then(Cell::decode).unwrap_or_default())
}

/// The SKU that a cell is about.
pub(super) fn sku_of(key: &Key) -> &str {
    let text = key.as_str();
    text.split(KEY_PART).next().unwrap_or(text)
}

/// The cells of one SKU.
pub(super) fn of_sku(
    stage: &Stage<'_, '_>,
    target: &Target,
    sku: &str,
) -> Result<Vec<(Key, Cell)>, EngineError> {
    of_sku_in(stage, &blocks(target), sku, |_, bytes| Cell::decode(bytes))
}

/// The entries of one SKU in any blocks whose keys begin with one.
pub(super) fn of_sku_in<T>(
    stage: &Stage<'_, '_>,
    blocks: &Blocks,
    sku: &str,
    decode: impl Fn(&Key, &[u8]) -> Option<T>,
) -> Result<Vec<(Key, T)>, EngineError> {
    let mut found = Vec::new();
    blocks.visit(stage.txn, Bound::Included(sku), |text, bytes| {
        let key = Key::from(text);
        if sku_of(&key) == sku {
            found.extend(decode(&key, bytes).map(|value| (key, value)));
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(found)
}

/// How a cell is called in the journal.
pub(super) fn thing((connection, stream): &Target, key: &Key) -> String {
    let key = key.as_str().replace(KEY_PART, " ");
    format!("{stream}/{connection}/{key}")
}

/// How a whole stream of a sink is called in the journal and in quarantine.
pub(super) fn stream_thing((connection, stream): &Target) -> String {
    format!("{connection}/{stream}")
}

/// Who says what a state stream of a sink is told, and whether it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Feed {
    /// A publish rule, or a route.
    pub name: RouteName,
    pub target: Target,
    pub mode: Mode,
}

impl Rules {
    /// Everything that is told through cells.
    pub(super) fn feeds(&self) -> impl Iterator<Item = Feed> {
        let stock = self.publishes.iter().map(|publish| Feed {
            name: publish.name.clone(),
            target: (publish.to.clone(), Stream::Stock),
            mode: publish.mode,
        });
        let prices = self
            .router
            .all()
            .filter(|route| route.to.1 == Stream::Prices && self.may_tell(route));
        let prices = prices.map(|route| Feed {
            name: route.name.clone(),
            target: route.to.clone(),
            mode: route.mode,
        });
        stock.chain(prices)
    }

    /// Who says what this state stream of a sink is told.
    pub(super) fn feed_of(&self, target: &Target) -> Option<Feed> {
        self.feeds().find(|feed| feed.target == *target)
    }
}

/// What a key should be told from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `None` is unknown: what was told stays.
    pub figure: Option<Figure>,
    /// The channel may be told less, never more.
    pub only_decrease: bool,
}

impl Wanted {
    fn after(&self, before: &Cell) -> Option<Figure> {
        if !self.only_decrease {
            return self.figure;
        }
        let ceiling = before.published.or(before.desired);
        self.figure
            .zip(ceiling)
            .map(|(new, old)| {
                if new.number() < old.number() {
                    new
                } else {
                    old
                }
            })
            .or(before.desired)
    }
}

/// Notes what differs from now on, and holds what the guard does not let pass. `wanted` is in ascending order
/// of its keys. `cause` goes to the journal; a bulk change of snapshots has none, and of any other the counts alone
/// tell. Answers which keys are told less than is there.
pub(super) fn want(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    wanted: &[(Key, Wanted)],
    cause: Option<&str>,
) -> Result<Vec<Key>, EngineError> {
    let (changes, kept_back) = write(stage, feed, wanted)?;
    if changes.is_empty() {
        return Ok(kept_back);
    }
    let keys = changes.iter().map(|change| change.key);
    let attempts = Attempts::among(stage.txn, &feed.target, keys)?;
    let cause = cause.filter(|_| stage.may_note(changes.len()));
    let mut guard = GuardRun::begin(stage, feed);
    let mut pending = Vec::with_capacity(changes.len());
    for Changed { key, before, after } in &changes {
        note_change(stage, &feed.target, key, (before, after), cause)?;
        if let Some(fault) = guard.judge(stage, feed, key, after)? {
            guard::hold(stage, feed, key, after, &fault)?;
        } else {
            let attempt = attempts.get(stage.txn, key)?;
            pending.extend(refresh_pending(stage, feed, key, after, attempt)?);
        }
    }
    let pending = Update::Cells(feed.target.clone(), pending);
    stage.updates.push(pending);
    let superseded = changes.iter().filter(|change| change.before.is_pending());
    let (routed, superseded) = (changes.len() as u64, superseded.count() as u64);
    stage.count(&feed.name, |counts| {
        counts.routed += routed;
        counts.superseded += superseded;
    })?;
    Ok(kept_back)
}

/// A cell of which something else is desired now.
struct Changed<'k> {
    key: &'k Key,
    before: Cell,
    after: Cell,
}

/// Writes what is desired; what changed, and which keys are told less than is there.
fn write<'k>(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    wanted: &'k [(Key, Wanted)],
) -> Result<(Vec<Changed<'k>>, Vec<Key>), EngineError> {
    let index = stage.index;
    let in_flight = index.in_flight.of(&feed.target);
    let mut doubtful = index.doubtful(&feed.target).in_order();
    let mut unsure = |key: &Key| {
        let is_doubtful = doubtful.holds(key.as_str());
        is_doubtful || in_flight.is_some_and(|keys| keys.contains(key))
    };
    let (mut changes, mut kept_back) = (Vec::new(), Vec::new());
    let rows = wanted
        .iter()
        .map(|(key, wanted)| (key.as_str(), (key, wanted)));
    let edit = |_: &str, (key, wanted): (&'k Key, &Wanted), bytes: Option<&[u8]>| {
        let before = bytes.and_then(Cell::decode).unwrap_or_default();
        let desired = wanted.after(&before);
        if desired != wanted.figure {
            kept_back.push(key.clone());
        }
        if desired == before.desired {
            return Ok::<_, EngineError>(Edit::Keep);
        }
        let after = on_top(before, desired, unsure(key));
        changes.push(Changed { key, before, after });
        Ok(Edit::Put(after.encode()))
    };
    blocks(&feed.target).update(stage.txn, &mut rows.peekable(), usize::MAX, edit)?;
    Ok((changes, kept_back))
}

/// What is on its way may arrive, also after a crash: until it is settled nobody knows what stands
/// there (`unsure`), not even when what is desired is back at what was told before. Of a price it is
/// remembered what was told, for the guard; of stock nothing is believed.
fn on_top(before: Cell, desired: Option<Figure>, unsure: bool) -> Cell {
    let is_price = matches!(desired, Some(Figure::Price(_)));
    Cell {
        desired,
        published: before.published.filter(|_| is_price || !unsure),
        unsure: before.unsure || (is_price && unsure),
        late: false,
        ..before
    }
}

fn note_change(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    key: &Key,
    (before, after): (&Cell, &Cell),
    cause: Option<&str>,
) -> Result<(), EngineError> {
    let Some(cause) = cause else { return Ok(()) };
    let entry = Entry {
        what: "desired".to_owned(),
        detail: cause.to_owned(),
        connection: Some(target.0.clone()),
        before: before.desired.map(Figure::text),
        after: after.desired.map(Figure::text),
    };
    stage.journal(&thing(target, key), entry)
}

/// Puts a cell into quarantine; its number there.
pub(super) fn quarantine(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    key: &Key,
    at: &'static str,
    fault: &Fault,
    attempts: u32,
) -> Result<u64, EngineError> {
    stage.quarantine(NewQuarantine {
        subject: Subject::Cell { key: key.clone() },
        connection: feed.target.0.clone(),
        stream: feed.target.1,
        route: Some(feed.name.clone()),
        thing: thing(&feed.target, key),
        stage: at,
        fault: fault.clone(),
        attempts,
    })
}

/// When a cell whose desired value is new may be written, for the index; nothing to tell it while the cell
/// is being written. A new value ends a quarantine of the old one.
fn refresh_pending(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    key: &Key,
    cell: &Cell,
    mut attempt: Option<CellAttempt>,
) -> Result<Option<Difference>, EngineError> {
    let target = &feed.target;
    let quarantined = attempt.as_ref().and_then(|attempt| attempt.quarantine);
    if let Some(number) = quarantined {
        stage.end_quarantine(number);
        let released = Update::Held(target.clone(), key.clone(), false);
        stage.updates.push(released);
    }
    let uncertain = attempt
        .as_ref()
        .is_some_and(|attempt| attempt.uncertain.is_some());
    let is_told = !cell.is_pending() && !uncertain;
    match &attempt {
        Some(before) if is_told => attempts::forget(stage, target, key, before),
        Some(before) if quarantined.is_some() => {
            // What may still land there, or was taken in, is no matter of the value that was held.
            let afresh = before.afresh(stage.now);
            attempts::put(stage, target, key, (Some(before), &afresh))?;
            attempt = Some(afresh);
        }
        _ => {}
    }
    if is_told {
        return Ok(Some((key.clone(), None)));
    }
    if stage.index.in_flight.contains(target, key) {
        return Ok(None); // settling it will look at the difference again
    }
    let when = match attempt {
        _ if feed.mode == Mode::Observe => When::Observed,
        Some(attempt) if attempt.not_listed => attempt.due.map_or(When::Now, When::At),
        Some(attempt) => {
            let when = submitted::when(&attempt, cell, stage.limits()).unwrap_or(When::Now);
            note_due(stage, target, key, &attempt, when)?;
            when
        }
        None => When::Now,
    };
    Ok(Some((key.clone(), Some((cell.lane(), when)))))
}

/// Notes when a new value may be written: after a crash it does not wait for when the one before it was due.
fn note_due(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    key: &Key,
    before: &CellAttempt,
    when: When,
) -> Result<(), EngineError> {
    let due = match when {
        When::At(due) => Some(due),
        _ => None,
    };
    if due == before.due {
        return Ok(());
    }
    let after = CellAttempt {
        due,
        ..before.clone()
    };
    attempts::put(stage, target, key, (Some(before), &after))
}

/// Nothing stands in the way of a cell any more: it is written at once, if it differs.
pub(super) fn release(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    key: &Key,
    cell: &Cell,
) -> Result<(), EngineError> {
    let target = &feed.target;
    let place = (target.0.clone(), target.1, key.clone());
    if let Some(before) = ATTEMPT.get(stage.txn, &place)? {
        end_attempt(stage, feed, key, &before);
        // What may still become of earlier values is no matter of the one that is let go.
        let mut afresh = before.afresh(stage.now);
        submitted::go_past(&mut afresh);
        if afresh != CellAttempt::new(stage.now) {
            attempts::put(stage, target, key, (None, &afresh))?;
        }
    }
    if stage.index.in_flight.contains(target, key) {
        return Ok(()); // settling it will look at the difference
    }
    let update = Update::Cell(target.clone(), key.clone(), cell.place(feed));
    stage.updates.push(update);
    Ok(())
}

/// Forgets the tries to write a cell.
pub(super) fn end_attempt(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    key: &Key,
    attempt: &CellAttempt,
) {
    let target = &feed.target;
    if let Some(number) = attempt.quarantine {
        stage.end_quarantine(number);
    }
    attempts::forget(stage, target, key, attempt);
    if attempt.held {
        let released = Update::Held(target.clone(), key.clone(), false);
        stage.updates.push(released);
    }
}

/// Nobody knows what stands there: what was told is forgotten, and told again.
pub(super) fn forget_published(
    stage: &mut Stage<'_, '_>,
    feed: &Feed,
    keys: &BTreeSet<Key>,
) -> Result<(), EngineError> {
    let target = &feed.target;
    let cells = blocks(target);
    let sorted: Vec<&str> = keys.iter().map(Key::as_str).collect();
    let known = cells.get_many(stage.txn, &sorted)?;
    let mut writes = Vec::new();
    for (key, bytes) in keys.iter().zip(known) {
        let Some(cell) = bytes.as_deref().and_then(Cell::decode) else {
            continue;
        };
        let cell = Cell {
            published: None,
            ..cell
        };
        writes.push((key.as_str(), Some(cell.encode())));
        let row = (target.0.clone(), target.1, key.clone());
        let mut attempt = ATTEMPT.get(stage.txn, &row)?;
        let is_told = |it: &&mut CellAttempt| it.submitted.is_some() || it.fault.is_none();
        if let Some(attempt) = attempt.as_mut().filter(is_told) {
            // Taken in or told before or after what moved the number: its end would tell nothing, and nothing
            // is waited for.
            submitted::go_past(attempt);
            attempt.due = None;
            ATTEMPT.put(stage.txn, &row, attempt)?;
        }
        if stage.index.in_flight.contains(target, key) {
            let shaken = Update::CellShaken(target.clone(), key.clone());
            stage.updates.push(shaken);
            continue; // settling it will look at the difference
        }
        let when = match &attempt {
            _ if feed.mode == Mode::Observe => When::Observed,
            Some(attempt) if attempt.quarantine.is_some() => When::Held,
            Some(attempt) => attempt.due.map_or(When::Now, When::At),
            None => When::Now,
        };
        let pending = cell.is_pending().then(|| (cell.lane(), when));
        let update = Update::Cell(target.clone(), key.clone(), pending);
        stage.updates.push(update);
    }
    cells.merge(stage.txn, &mut writes.into_iter().peekable(), usize::MAX)?;
    Ok(())
}
