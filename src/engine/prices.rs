//! Prices: from what their owner says to what each channel should be told (`cell.rs`).
//!
//! What the owner said last stands in blocks too, so that a changed mapping or a new route is applied
//! to all of it without reading it again ([`derive_again`]). Unknown is never zero: a price that is
//! gone or not understood leaves what the channels were told.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::EngineError;
use super::accept::{Accepted, Unit, reject};
use super::cell::{self, Figure, KEY_PART, Wanted};
use super::rules::Mapped;
use super::stage::{NewQuarantine, Stage, map_by, remote_thing};
use super::tables::{Fact, META, Quarantined, Subject};
use crate::connector::Body;
use crate::fault::Fault;
use crate::id::{ConnectionName, Key, RemoteId};
use crate::record::{Currency, Money, Percent, Presence, Price, Quantity, Record, Sku, Stream};
use crate::router::Route;
use crate::store::blocks::{Blocks, MAX_KEY_BYTES};
use crate::store::table::PRICE;

/// How many prices one unit derives again.
const AGAIN_AT_ONCE: usize = 500;

/// A price as a channel is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub amount: Decimal,
    pub compare_at: Option<Decimal>,
    pub tax_included: Option<bool>,
}

impl Tag {
    /// `12.5;15;1`: 12.50 instead of 15.00, with tax; `-` for what is not told.
    pub(super) fn encode(self) -> String {
        let compare_at = text(self.compare_at.map(|it| it.normalize()));
        let tax = text(self.tax_included.map(u8::from));
        format!("{};{compare_at};{tax}", self.amount.normalize())
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let amount = parts.next()?.parse().ok()?;
        let compare_at = maybe(parts.next()?).ok()?;
        let tax: Option<u8> = maybe(parts.next()?).ok()?;
        Some(Self {
            amount,
            compare_at,
            tax_included: tax.map(|tax| tax == 1),
        })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.amount.normalize())?;
        if let Some(before) = self.compare_at {
            write!(f, " (instead of {})", before.normalize())?;
        }
        Ok(())
    }
}

fn text(value: Option<impl fmt::Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn maybe<T: FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    match text {
        "-" => Ok(None),
        text => text.parse().map(Some),
    }
}

/// Under which key a price stands: SKU, list, currency and, above one piece, from how many on.
pub(super) fn key_of(price: &Price) -> Result<Key, Fault> {
    let (sku, list, currency) = (&price.sku, &price.list, price.price.currency);
    let mut key = format!("{}{KEY_PART}{list}{KEY_PART}{currency}", sku.as_str());
    if price.min_qty != Quantity::pieces(1) {
        key = format!("{key}{KEY_PART}{}", price.min_qty);
    }
    if list.chars().any(char::is_control) || key.len() > MAX_KEY_BYTES {
        let message = "the name of a price list is a short text without control characters";
        return Err(Fault::reject("bad_price_list", message));
    }
    Ok(Key::from(key))
}

/// The price that a cell or a source's row stands for.
pub(super) fn price_of(key: &Key, tag: Tag) -> Option<Price> {
    let mut parts = key.as_str().split(KEY_PART);
    let sku = Sku::new(parts.next()?).ok()?;
    let list = parts.next()?.to_owned();
    let currency = Currency::from_code(parts.next()?).ok()?;
    let min_qty = match parts.next() {
        Some(from) => from.parse().ok()?,
        None => Quantity::pieces(1),
    };
    let money = |amount| Money::new(amount, currency);
    let presence = |amount: Option<Decimal>| amount.map_or(Presence::Absent, |a| money(a).into());
    Some(Price {
        sku,
        list,
        price: money(tag.amount),
        compare_at: presence(tag.compare_at),
        min_qty,
        tax_included: tag.tax_included.map_or(Presence::Absent, Presence::from),
        tax_rate: Presence::Absent,
        valid_from: Presence::Absent,
        valid_to: Presence::Absent,
    })
}

/// What a channel is told of a price.
///
/// A price to compare with that is not above the price says nothing and is left out.
///
/// # Errors
/// `Reject` for two currencies, or an amount that the currency cannot say.
pub(super) fn tag_of(price: &Price) -> Result<Tag, Fault> {
    one_currency(price)?;
    let (amount, currency) = (price.price.amount.normalize(), price.price.currency);
    let compare_at = price.compare_at.value();
    let compare_at = compare_at.map(|other| other.amount.normalize());
    for amount in [Some(amount), compare_at].into_iter().flatten() {
        if amount.scale() > currency.minor_digits() {
            let digits = currency.minor_digits();
            let message = format!(
                "{amount} {currency} is finer than the currency: round it in the mapping, \
                 such as price.amount = {{ from = \"price.amount\", round = {digits} }}"
            );
            return Err(Fault::reject("too_fine", message));
        }
    }
    Ok(Tag {
        amount,
        compare_at: compare_at.filter(|before| *before > amount),
        tax_included: price.tax_included.value().copied(),
    })
}

/// What is told and kept of a price has one currency: another one would be taken for it.
fn one_currency(price: &Price) -> Result<(), Fault> {
    let currency = price.price.currency;
    match price.compare_at.value() {
        Some(other) if other.currency != currency => {
            let message = format!("a price in {currency} is compared with {}", other.currency);
            Err(Fault::reject("two_currencies", message))
        }
        _ => Ok(()),
    }
}

/// What an owner said last of one price.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub price: Price,
    /// When the read that told it began, by the owner's clock.
    pub read_at: Timestamp,
    /// When it was changed, as the owner says, if he does.
    pub changed_at: Option<Timestamp>,
}

impl Said {
    /// Whether it is older than what we know (story 33): a page may repeat what was before, behind what is now.
    fn is_older_than(&self, known: &Self) -> bool {
        match (self.changed_at, known.changed_at) {
            (Some(this), Some(known)) => this < known,
            _ => self.read_at < known.read_at,
        }
    }

    /// The tag, the tax rate, the validity, the moments.
    fn encode(&self) -> Vec<u8> {
        let price = &self.price;
        let tag = Tag {
            amount: price.price.amount,
            compare_at: price.compare_at.value().map(|other| other.amount),
            tax_included: price.tax_included.value().copied(),
        };
        let rate = text(price.tax_rate.value().map(|rate| rate.0.normalize()));
        let micros = |at: &Presence<Timestamp>| text(at.value().map(|at| at.as_microsecond()));
        let (from, to) = (micros(&price.valid_from), micros(&price.valid_to));
        let read_at = self.read_at.as_microsecond();
        let changed_at = text(self.changed_at.map(Timestamp::as_microsecond));
        format!("{}|{rate}|{from}|{to}|{read_at}|{changed_at}", tag.encode()).into_bytes()
    }

    fn decode(key: &Key, bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.split('|');
        let mut price = price_of(key, Tag::decode(parts.next()?)?)?;
        let moment = |text: &str| -> Option<Presence<Timestamp>> {
            Some(match maybe(text).ok()? {
                Some(micros) => Timestamp::from_microsecond(micros).ok()?.into(),
                None => Presence::Absent,
            })
        };
        let rate = maybe(parts.next()?).ok()?;
        price.tax_rate = rate.map_or(Presence::Absent, |rate| Percent(rate).into());
        price.valid_from = moment(parts.next()?)?;
        price.valid_to = moment(parts.next()?)?;
        let read_at = Timestamp::from_microsecond(parts.next()?.parse().ok()?).ok()?;
        // Rows of before it was kept have none.
        let changed_at = moment(parts.next().unwrap_or("-"))?;
        Some(Self {
            price,
            read_at,
            changed_at: changed_at.value().copied(),
        })
    }
}

fn said_by(connection: &ConnectionName) -> Blocks {
    Blocks::new(PRICE, &(connection.clone(),))
}

/// What a connection said last of the prices of a SKU.
pub(super) fn said_of_sku(
    stage: &Stage<'_, '_>,
    connection: &ConnectionName,
    sku: &str,
) -> Result<Vec<(Key, Said)>, EngineError> {
    cell::of_sku_in(stage, &said_by(connection), sku, Said::decode)
}

/// Accepts prices: what was said, and what each channel should be told.
pub(super) fn accept(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    accepted: &mut Accepted,
) -> Result<(), EngineError> {
    let told = collect(stage, unit, accepted)?;
    let blocks = said_by(&unit.connection);
    let keys: Vec<&str> = told.keys().map(Key::as_str).collect();
    let known = blocks.get_many(stage.txn, &keys)?;
    let mut changed = BTreeMap::new();
    for ((key, said), bytes) in told.into_iter().zip(known) {
        let before = bytes.and_then(|bytes| Said::decode(&key, &bytes));
        match before {
            Some(before) if before.price == said.price => accepted.duplicates += 1,
            Some(before) if said.is_older_than(&before) => accepted.stale += 1,
            _ => {
                changed.insert(key, said);
            }
        }
    }
    accepted.news += changed.len();
    let mut rows = changed
        .iter()
        .map(|(key, said)| (key.as_str(), Some(said.encode())))
        .peekable();
    blocks.merge(stage.txn, &mut rows, usize::MAX)?;
    let cause = format!("{} said so", unit.connection);
    for route in stage.rules.router.from(&unit.connection, unit.stream) {
        carry(
            stage,
            route,
            changed.values().map(|said| &said.price),
            &cause,
        )?;
    }
    Ok(())
}

fn collect(
    stage: &mut Stage<'_, '_>,
    unit: &Unit,
    accepted: &mut Accepted,
) -> Result<BTreeMap<Key, Said>, EngineError> {
    let mut told = BTreeMap::new();
    for change in &unit.changes {
        let price = match &change.body {
            Body::Present(Record::Price(price)) => price,
            Body::Present(_) => {
                let fault =
                    Fault::bug("wrong_stream", "a price stream gave another kind of record");
                reject(stage, unit, change, &fault, accepted)?;
                continue;
            }
            Body::Rejected(fault) => {
                reject(stage, unit, change, fault, accepted)?;
                continue;
            }
            // No price any more is unknown: what the channels were told stays.
            Body::Absent => {
                accepted.unknown += 1;
                continue;
            }
        };
        let key = match one_currency(price).and_then(|()| key_of(price)) {
            Ok(key) => key,
            Err(fault) => {
                reject(stage, unit, change, &fault, accepted)?;
                continue;
            }
        };
        if stage.index.quarantine_len() > 0 {
            let thing = remote_thing(&unit.connection, unit.stream, &change.id);
            stage.resolve_quarantine(&thing, "read")?;
        }
        // Trailing zeros and the like are no change: as the row says it, so it is compared.
        let said = Said {
            price: price.clone(),
            read_at: unit.read_at,
            changed_at: change.version.updated_at,
        };
        let said = Said::decode(&key, &said.encode()).unwrap_or(said);
        match told.get(&key) {
            Some(newer) if said.is_older_than(newer) => accepted.stale += 1,
            _ => {
                told.insert(key, said);
            }
        }
    }
    Ok(told)
}

/// Maps prices for one route and notes what its channel should be told.
fn carry<'a>(
    stage: &mut Stage<'_, '_>,
    route: &Route,
    prices: impl Iterator<Item = &'a Price>,
    cause: &str,
) -> Result<(), EngineError> {
    let mut wanted = BTreeMap::new();
    for price in prices {
        let source = thing_at(&route.from.0, price);
        if !stage.rules.may_tell(route) {
            stage.count(&route.name, |counts| counts.routed += 1)?;
            stage.filtered(&route.name, "not_the_owner", &source)?;
        } else if !is_valid(price, stage.now) {
            stage.count(&route.name, |counts| counts.routed += 1)?;
            stage.filtered(&route.name, "not_valid_now", &source)?;
        } else {
            let record = Record::Price(price.clone()).to_json();
            wanted.extend(map(stage, route, &source, &record)?);
        }
    }
    tell(stage, route, wanted, cause)
}

/// Maps one record of any stream to a price and notes it: for a route that makes prices out of items.
pub(super) fn carry_record(
    stage: &mut Stage<'_, '_>,
    route: &Route,
    thing: &str,
    record: &Value,
) -> Result<(), EngineError> {
    if !stage.rules.may_tell(route) {
        return stage.filtered(&route.name, "not_the_owner", thing);
    }
    let wanted = map(stage, route, thing, record)?.into_iter().collect();
    tell(stage, route, wanted, &format!("{} said so", route.from.0))
}

fn tell(
    stage: &mut Stage<'_, '_>,
    route: &Route,
    wanted: BTreeMap<Key, Wanted>,
    cause: &str,
) -> Result<(), EngineError> {
    let wanted: Vec<(Key, Wanted)> = wanted.into_iter().collect();
    match stage.rules.feed_of(&route.to) {
        Some(feed) if !wanted.is_empty() => {
            cell::want(stage, &feed, &wanted, Some(cause)).map(drop)
        }
        _ => Ok(()),
    }
}

fn thing_at(connection: &ConnectionName, price: &Price) -> String {
    format!("{connection}/prices/{}", price.sku.as_str())
}

fn is_valid(price: &Price, now: Timestamp) -> bool {
    let begun = price.valid_from.value().is_none_or(|from| *from <= now);
    let over = price.valid_to.value().is_some_and(|to| *to <= now);
    begun && !over
}

/// What a route makes of a record; `None` when a rule keeps it back or it is in quarantine now.
fn map(
    stage: &mut Stage<'_, '_>,
    route: &Route,
    source: &str,
    record: &Value,
) -> Result<Option<(Key, Wanted)>, EngineError> {
    let thing = format!("{source} for {}", route.to.0);
    let mapped = match stage.map(&route.name, record) {
        Ok(Mapped::Kept(mapped)) => read(mapped),
        Ok(Mapped::Filtered(rule)) => {
            stage.count(&route.name, |counts| counts.routed += 1)?;
            stage.filtered(&route.name, &rule, &thing)?;
            return Ok(None);
        }
        Err(fault) => Err(fault),
    };
    match mapped {
        Ok(wanted) => {
            stage.resolve_quarantine(&thing, &map_by(&route.name))?;
            Ok(Some(wanted))
        }
        Err(fault) => {
            let id = record["sku"].as_str().unwrap_or_default();
            stage.quarantine(NewQuarantine {
                subject: Subject::Change {
                    id: RemoteId::new(id),
                    record: Some(record.clone()),
                },
                connection: route.from.0.clone(),
                stream: Stream::Prices,
                route: Some(route.name.clone()),
                thing,
                stage: "map",
                fault,
                attempts: 0,
            })?;
            Ok(None)
        }
    }
}

fn read(mapped: Value) -> Result<(Key, Wanted), Fault> {
    let record = Record::from_json(Stream::Prices, mapped);
    let Record::Price(price) = record.map_err(|fault| fault.at("after the mapping"))? else {
        return Err(Fault::bug("wrong_stream", "a price is no price"));
    };
    let figure = Some(Figure::Price(tag_of(&price)?));
    let wanted = Wanted {
        figure,
        only_decrease: false,
    };
    Ok((key_of(&price)?, wanted))
}

/// Maps a price again that a mapping had refused.
pub(super) fn remap(
    stage: &mut Stage<'_, '_>,
    row: &Quarantined,
    record: &Value,
) -> Result<(), EngineError> {
    let rules = stage.rules;
    let mut routes = rules.router.all();
    let Some(route) = routes.find(|route| Some(&route.name) == row.route.as_ref()) else {
        let message = "its route is not configured any more: dismiss it or add the route again";
        return Err(Fault::reject("route_is_gone", message).into());
    };
    let source = row.thing.split(" for ").next().unwrap_or(&row.thing);
    carry_record(stage, route, source, record)
}

/// Applies a new route or a changed mapping to what was said before; whether more is left to do.
pub(super) fn derive_again(stage: &mut Stage<'_, '_>) -> Result<bool, EngineError> {
    let rules = stage.rules;
    for route in rules.router.all() {
        let (connection, stream) = &route.from;
        if *stream != Stream::Prices || route.to.1 != Stream::Prices {
            continue;
        }
        let mapping = rules.mappings.get(&route.name);
        let version = mapping.map_or("", |mapping| mapping.version());
        let now = json!([connection.as_str(), route.to.0.as_str(), version]);
        let name = format!("prices/{}", route.name);
        let fact = META.get(stage.txn, &name)?;
        let known = fact.as_ref().map(|fact| &fact.value);
        if known.is_some_and(|known| known["of"] == now && known["after"].is_null()) {
            continue;
        }
        let going_on = known.filter(|known| known["of"] == now);
        let after = going_on
            .and_then(|known| known["after"].as_str())
            .map(str::to_owned);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = said_by(connection).scan(stage.txn, from, AGAIN_AT_ONCE)?;
        let more = rows.len() == AGAIN_AT_ONCE;
        let last = rows.last().map(|(key, _)| key.clone());
        let said: Vec<Said> = rows
            .iter()
            .filter_map(|(key, bytes)| Said::decode(&Key::from(key.as_str()), bytes))
            .collect();
        let prices = said.iter().map(|said| &said.price);
        carry(
            stage,
            route,
            prices,
            &format!("route {} changed", route.name),
        )?;
        let value = json!({ "of": now, "after": last.filter(|_| more) });
        META.put(stage.txn, &name, &Fact { value })?;
        return Ok(true);
    }
    Ok(false)
}
