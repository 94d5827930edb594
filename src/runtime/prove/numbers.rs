//! What channels show of stock and prices now, beside what they should be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{Hurry, Prover, UNIT, pages};
use crate::clock::later;
use crate::connector::{Asked, Body, Change, Connection, Sink, Source, Standing, StockBasis};
use crate::engine::EngineError;
use crate::fault::{Class, Fault};
use crate::id::{ConnectionName, Key, RemoteId};
use crate::proof::{Look, Number, NumbersProof, Place, Sells, Shown, Told, is_same, judge_number};
use crate::record::{Quantity, Record, Stream};
use crate::runtime::Live;
use crate::topology::Plan;

/// How long a channel has until it shows what it said it took, before it is looked at again.
pub(super) const SHOWS_AFTER: Duration = Duration::from_secs(2);
/// The longest wait for a channel's orders to be read, before its numbers are looked at again.
const ORDERS_READ_AFTER: Duration = Duration::from_mins(2);

/// A state stream of a channel.
type Target = (ConnectionName, Stream);

/// Everything that is told as numbers: the publish rule or route, and to whom; each target once.
pub(super) fn told_by(plan: &Plan) -> Vec<(String, Target)> {
    let stock = plan
        .publishes
        .iter()
        .map(|publish| (publish.name.clone(), (publish.to.clone(), Stream::Stock)));
    let prices = plan.routes.iter().filter(|route| {
        let (connection, stream) = &route.from;
        let owner = plan.owners.get(stream);
        route.to.1 == Stream::Prices && owner.is_none_or(|owner| owner == connection)
    });
    let prices = prices.map(|route| (route.name.to_string(), route.to.clone()));
    let mut been = BTreeSet::new();
    stock
        .chain(prices)
        .filter(|(_, target)| been.insert(target.clone()))
        .collect()
}

/// How a channel can be asked for what it shows.
enum Way<'a> {
    /// By SKU.
    Asked(&'a dyn Sink),
    /// Its stream is read as a whole.
    Read(&'a dyn Source, Whole),
}

/// All that a channel shows of a stream.
#[derive(Default)]
struct Whole {
    shown: BTreeMap<Place, Shown>,
    ids: BTreeMap<Place, RemoteId>,
}

/// What was not the same at the first look.
struct Doubt {
    key: Key,
    shown: Shown,
}

impl Prover {
    pub(super) async fn numbers(
        &self,
        live: &Live,
        rule: String,
        target: Target,
    ) -> Result<NumbersProof, EngineError> {
        let mut told = NumbersProof {
            rule,
            to: format!("{}.{}", target.0, target.1),
            ..NumbersProof::default()
        };
        let connection = live.connections.get(&target.0).map(AsRef::as_ref);
        let Some(mut way) = way(connection, target.1) else {
            let why = "its connector can only write this stream";
            self.not_readable(&target, why, &mut told).await?;
            return Ok(told);
        };
        if let Way::Read(source, whole) = &mut way {
            match read_whole(*source, target.1).await {
                Ok(Ok(all)) => *whole = all,
                Ok(Err(why)) => {
                    self.not_readable(&target, why, &mut told).await?;
                    return Ok(told);
                }
                Err(fault) => {
                    told.trouble = Some(format!("{} could not be read: {fault}", told.to));
                    return Ok(told);
                }
            }
        }
        let looked_at = self.clock.now();
        let compared = match self.first_look(&way, &target, &mut told).await? {
            Ok(doubts) if doubts.is_empty() => Ok(()),
            Ok(doubts) => {
                let sells = self.let_settle(live, &target, looked_at).await?;
                self.second_look(&way, &target, (&doubts, sells), &mut told)
                    .await?
            }
            Err(fault) => Err(fault),
        };
        if let Err(fault) = compared {
            told.trouble = Some(format!("{} could not be asked: {fault}", told.to));
        }
        Ok(told)
    }

    /// Counts what nothing is proven of.
    async fn not_readable(
        &self,
        target: &Target,
        why: &str,
        told: &mut NumbersProof,
    ) -> Result<(), EngineError> {
        told.why_not = Some(why.to_owned());
        let mut after = None;
        loop {
            let (some, next) = self.engine.told(target.clone(), after, UNIT).await?;
            told.not_readable += some.len();
            after = match next {
                Some(next) => Some(next),
                None => return Ok(()),
            };
        }
    }

    async fn first_look(
        &self,
        way: &Way<'_>,
        target: &Target,
        told: &mut NumbersProof,
    ) -> Result<Result<Vec<Doubt>, Fault>, EngineError> {
        let mut doubts = Vec::new();
        let mut after = None;
        loop {
            let (some, next) = self.engine.told(target.clone(), after, UNIT).await?;
            let mut shown = match way {
                Way::Asked(sink) => match self.asked(*sink, target, &some).await {
                    Ok(shown) => shown,
                    Err(fault) => return Ok(Err(fault)),
                },
                Way::Read(_, whole) => of_whole(whole, &some),
            };
            for one in some {
                let shown = shown.remove(&one.place).unwrap_or(Shown::Nothing);
                if is_same(&one, &shown) {
                    told.add_same(1);
                } else {
                    let key = one.key;
                    doubts.push(Doubt { key, shown });
                }
            }
            after = match next {
                Some(next) => Some(next),
                None => return Ok(Ok(doubts)),
            };
        }
    }

    /// Gives a channel time to show what it took, and its orders to be read: what it sold is known then.
    async fn let_settle(
        &self,
        live: &Live,
        target: &Target,
        looked_at: Timestamp,
    ) -> Result<Option<Sells>, EngineError> {
        let connection = live.plan.connections.get(&target.0);
        let orders = connection
            .filter(|it| target.1 == Stream::Stock && it.stock_basis == StockBasis::Free)
            .and_then(|it| it.streams.get(&Stream::Orders))
            .filter(|orders| orders.is_read);
        let mut sells = None;
        if let Some(orders) = orders {
            let known_at = later(looked_at, orders.settle_lag + SHOWS_AFTER);
            let longest = (orders.poll * 2 + orders.settle_lag).max(SHOWS_AFTER * 5);
            let end = later(self.clock.now(), longest.min(ORDERS_READ_AFTER));
            loop {
                let place = target.0.clone();
                let until = self.engine.drained_at(place, Stream::Orders).await?;
                let known = until.is_some_and(|until| until >= known_at);
                sells = Some(Sells { known, until });
                if known || !self.reads_on || self.clock.now() >= end {
                    break;
                }
                self.clock.sleep(Duration::from_secs(1)).await;
            }
        }
        self.clock.sleep(SHOWS_AFTER).await;
        Ok(sells)
    }

    async fn second_look(
        &self,
        way: &Way<'_>,
        target: &Target,
        (doubts, sells): (&[Doubt], Option<Sells>),
        told: &mut NumbersProof,
    ) -> Result<Result<(), Fault>, EngineError> {
        for some in doubts.chunks(UNIT) {
            let keys: Vec<Key> = some.iter().map(|doubt| doubt.key.clone()).collect();
            let first: BTreeMap<&Key, &Shown> =
                some.iter().map(|it| (&it.key, &it.shown)).collect();
            let before = self.engine.told_of(target.clone(), keys.clone()).await?;
            let shown = match way {
                Way::Asked(sink) => self.asked(*sink, target, &before).await,
                Way::Read(source, whole) => again(*source, target.1, whole, &before).await,
            };
            let shown = match shown {
                Ok(shown) => shown,
                Err(fault) => return Ok(Err(fault)),
            };
            let after = self.engine.told_of(target.clone(), keys).await?;
            let after: BTreeMap<&Key, &Told> = after.iter().map(|it| (&it.key, it)).collect();
            for before in &before {
                // What is to be told no more meanwhile is no difference.
                let (Some(first), Some(after)) = (first.get(&before.key), after.get(&before.key))
                else {
                    continue;
                };
                let look = Look {
                    first,
                    before,
                    shown: shown.get(&before.place).unwrap_or(&Shown::Nothing),
                    after,
                    sells,
                };
                told.add(after, judge_number(&look));
            }
        }
        Ok(Ok(()))
    }

    /// Asks a sink for what it shows of these.
    async fn asked(
        &self,
        sink: &dyn Sink,
        (connection, stream): &Target,
        told: &[Told],
    ) -> Result<BTreeMap<Place, Shown>, Fault> {
        let skus: BTreeSet<&str> = told.iter().map(|it| it.place.sku.as_str()).collect();
        let asked = skus.into_iter().map(|sku| Asked {
            reference: sku.to_owned(),
            name: sku.to_owned(),
        });
        let asked: Vec<Asked> = asked.collect();
        let (found, refused) = self.read_back(sink, connection.as_str(), &asked).await?;
        let mut shown = BTreeMap::new();
        for standing in found {
            if let Some((place, number)) = number_of(*stream, &standing) {
                add(&mut shown, place, number);
            }
        }
        for one in told {
            if let Some(fault) = refused.get(&one.place.sku) {
                shown.insert(one.place.clone(), Shown::Refused(fault.to_string()));
            }
        }
        Ok(shown)
    }

    /// What stands at a sink under these names; and of which it refuses to say it, so that one of them does
    /// not hide the others.
    pub(super) async fn read_back(
        &self,
        sink: &dyn Sink,
        origin: &str,
        asked: &[Asked],
    ) -> Result<(Vec<Standing>, BTreeMap<String, Fault>), Fault> {
        let mut refused = BTreeMap::new();
        if asked.is_empty() {
            return Ok((Vec::new(), refused));
        }
        match self.patiently(|| sink.read_back(origin, asked)).await {
            Err(fault) if fault.class == Class::Reject => {}
            other => return other.map(|found| (found, refused)),
        }
        let mut found = Vec::new();
        for one in asked {
            let one_of = std::slice::from_ref(one);
            match self.patiently(|| sink.read_back(origin, one_of)).await {
                Ok(some) => found.extend(some),
                Err(fault) if fault.class == Class::Reject => {
                    refused.insert(one.reference.clone(), fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok((found, refused))
    }
}

fn way(connection: Option<&Connection>, stream: Stream) -> Option<Way<'_>> {
    let connection = connection?;
    let sink = connection.sinks.get(&stream);
    if let Some(sink) = sink.filter(|sink| sink.can_read_back()) {
        return Some(Way::Asked(sink.as_ref()));
    }
    let source = connection.sources.get(&stream)?;
    Some(Way::Read(source.as_ref(), Whole::default()))
}

/// Reads all that a channel shows; why that says nothing, if it does not.
async fn read_whole(
    source: &dyn Source,
    stream: Stream,
) -> Result<Result<Whole, &'static str>, Fault> {
    if source.peek().await?.is_none() {
        return Ok(Err("reading it takes away what is read"));
    }
    let mut whole = Whole::default();
    let mut is_parted = false;
    pages(source, None, Hurry::Slow, |change| {
        is_parted |= whole.take(stream, &change);
    })
    .await?;
    if is_parted {
        let why =
            "it shows its stock at several locations, and which of them is written is not known";
        return Ok(Err(why));
    }
    Ok(Ok(whole))
}

impl Whole {
    /// Takes in what a channel shows of one thing; whether it is shown at a second location too.
    fn take(&mut self, stream: Stream, change: &Change) -> bool {
        let Body::Present(record) = &change.body else {
            return false;
        };
        let Some((place, number)) = number_in(record) else {
            return false;
        };
        let known = self.ids.insert(place.clone(), change.id.clone());
        let is_second = known.is_some_and(|known| known != change.id);
        if is_second {
            add(&mut self.shown, place, number);
        } else {
            self.shown.insert(place, Shown::Number(number));
        }
        is_second && stream == Stream::Stock
    }
}

fn of_whole(whole: &Whole, told: &[Told]) -> BTreeMap<Place, Shown> {
    let found = told.iter().filter_map(|one| {
        let shown = whole.shown.get(&one.place)?;
        Some((one.place.clone(), shown.clone()))
    });
    found.collect()
}

/// A second look at some of what was read as a whole: by id where that can be done.
async fn again(
    source: &dyn Source,
    stream: Stream,
    whole: &Whole,
    told: &[Told],
) -> Result<BTreeMap<Place, Shown>, Fault> {
    if !source.can_fetch() {
        let whole = read_whole(source, stream).await?.unwrap_or_default();
        return Ok(of_whole(&whole, told));
    }
    let ids = told.iter().filter_map(|one| whole.ids.get(&one.place));
    let ids: Vec<RemoteId> = ids.cloned().collect();
    let mut now = Whole::default();
    for change in &source.fetch(&ids).await? {
        now.take(stream, change);
    }
    Ok(of_whole(&now, told))
}

/// Twice with the same number is as good as once.
fn add(shown: &mut BTreeMap<Place, Shown>, place: Place, number: Number) {
    let before = shown.get(&place);
    let now = match before {
        Some(Shown::Number(before)) if *before != number => {
            Shown::Refused(format!("is there twice, as {before} and as {number}"))
        }
        Some(other) => other.clone(),
        None => Shown::Number(number),
    };
    shown.insert(place, now);
}

fn number_of(stream: Stream, standing: &Standing) -> Option<(Place, Number)> {
    let sku = standing.reference.as_str();
    if stream == Stream::Stock {
        let amount = standing.quantity?.0;
        let number = Number {
            amount,
            compare_at: None,
        };
        return Some((Place::stock(sku), number));
    }
    let price = standing.total?;
    let list = standing.list.as_deref().unwrap_or("default");
    let from = standing.min_qty.unwrap_or(Quantity::pieces(1)).0;
    let place = Place::price(sku, list, &price.currency.to_string(), from);
    let number = Number {
        amount: price.amount,
        compare_at: standing.compare_at.map(|other| other.amount),
    };
    Some((place, number))
}

fn number_in(record: &Record) -> Option<(Place, Number)> {
    match record {
        Record::Stock(level) => {
            let amount = level.on_hand.value().or(level.available.value())?.0;
            let number = Number {
                amount,
                compare_at: None,
            };
            Some((Place::stock(level.sku.as_str()), number))
        }
        Record::Price(price) => {
            let (sku, currency) = (price.sku.as_str(), price.price.currency.to_string());
            let place = Place::price(sku, &price.list, &currency, price.min_qty.0);
            let number = Number {
                amount: price.price.amount,
                compare_at: price.compare_at.value().map(|other| other.amount),
            };
            Some((place, number))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
