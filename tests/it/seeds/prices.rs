//! What things cost: the ERP says, the shops are told.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use crossdock::clock::Timestamp;
use crossdock::connector::{Change, Confirmation, Delivery, Outcome, Progress, Sink, Version};
use crossdock::fault::Fault;
use crossdock::record::{Lane, Record, Stream};
use serde_json::json;

use super::case::Trouble;
use super::items::not_listed;
use super::sinks::{begin, done, sku_number};
use super::wire::{Link, Shared};
use super::world::{ERP, SYSTEMS, World};

/// How much later than it changed a price shows at most.
const MOST_LATE: Duration = Duration::from_millis(2500);
/// What everything costs in the beginning.
const FIRST: i64 = 100;

/// What one thing costs, and did: amounts, and since when the ERP's list shows each.
#[derive(Debug)]
pub struct Priced {
    pub history: Vec<(Duration, i64)>,
    pub at: Timestamp,
    /// How it is, and how it was before, newest last.
    pub versions: Vec<Change>,
}

impl Priced {
    pub fn amount(&self) -> i64 {
        self.history.last().unwrap().1
    }

    pub fn visible(&self) -> Duration {
        self.history.last().unwrap().0
    }
}

impl World {
    /// Everything costs something before anybody asks.
    pub fn open_prices(&mut self) {
        for sku in 0..self.case.skus {
            let at = self.vendor_time(ERP, Duration::ZERO);
            self.erp.prices.push(Priced {
                history: Vec::new(),
                at,
                versions: Vec::new(),
            });
            self.reprice(sku, FIRST, Duration::ZERO);
        }
    }

    /// Something costs another amount from now on, and the list shows it a moment later.
    pub fn change_price(&mut self, sku: usize, amount: i64) {
        let visible = self.now + Duration::from_millis(self.dice.u64(..2500));
        self.tell(format_args!("S{sku} costs {amount}"));
        self.reprice(sku, amount, visible);
    }

    fn reprice(&mut self, sku: usize, amount: i64, visible: Duration) {
        let at = self.vendor_time(ERP, self.now);
        let priced = &mut self.erp.prices[sku];
        priced.at = Timestamp::from_second(at.as_second())
            .unwrap()
            .max(priced.at);
        priced.history.push((visible, amount));
        let json = json!({"sku": format!("S{sku}"),
            "price": {"amount": amount.to_string(), "currency": "EUR"}});
        let record = Record::from_json(Stream::Prices, json).unwrap();
        let mut change = Change::present(format!("S{sku}").as_str(), record);
        change.version = Version {
            updated_at: Some(priced.at),
            etag: None,
        };
        priced.versions.push(change);
    }

    /// A shop is told what something costs: what it cost at some time, and no longer ago than can be.
    fn price(&mut self, shop: usize, sku: usize, amount: i64, known: Known) {
        let name = SYSTEMS[shop];
        self.shops[shop].prices.insert(sku, amount);
        self.effect(format_args!("{name} is told that S{sku} costs {amount}"));
        let history = &self.erp.prices[sku].history;
        let newest = history
            .iter()
            .rposition(|(shown, _)| known.is_some_and(|(known, _)| *shown <= known));
        // What changed again before the list was given moved on in it: nobody need have seen it.
        let next = newest.and_then(|newest| history.get(newest + 1));
        let moved = next
            .is_some_and(|(shown, _)| known.is_some_and(|(_, given)| *shown <= given + MOST_LATE));
        let newest = newest.filter(|_| !moved);
        let can_be = history[newest.unwrap_or(0)..]
            .iter()
            .any(|(_, it)| *it == amount);
        if !can_be {
            self.broke(format!(
                "{name} is told that S{sku} costs {amount}: when that was decided, all prices until \
                 {:?} were known: {history:?}",
                known.map(|(known, _)| known)
            ));
        }
    }
}

/// Prices at a shop.
#[derive(Debug)]
pub struct PriceSink(pub Link);

/// Until when all prices were known when something was decided, and when the list was given that says so.
pub type Known = Option<(Duration, Duration)>;

/// SKU, amount, and what was known when it was decided.
type Told = (usize, i64, Known);

fn told(delivery: &Delivery) -> Told {
    let Record::Price(price) = &delivery.record else {
        panic!("a price")
    };
    let known = Shared::now().world().decided_price(delivery.id.as_str());
    let amount = i64::try_from(price.price.amount).unwrap();
    (sku_number(price.sku.as_str()), amount, known)
}

#[async_trait]
impl Sink for PriceSink {
    async fn deliver(&self, batch: &[Delivery], _: &dyn Progress) -> Vec<Outcome> {
        let shop = self.0.system;
        let prices: Vec<Told> = batch.iter().map(told).collect();
        for one in batch {
            begin(shop, one);
        }
        let op = move |world: &mut World| {
            let mut outcomes = Vec::new();
            for (sku, amount, known) in &prices {
                outcomes.push(if !world.lists(shop, *sku) {
                    not_listed()
                } else if world.unlucky(Trouble::Partial, 80) {
                    let fault = Fault::retry("locked", "somebody else is writing this one");
                    Outcome::Failed(fault)
                } else {
                    world.price(shop, *sku, *amount, *known);
                    Outcome::Delivered(Confirmation::default())
                });
            }
            outcomes
        };
        let outcomes = self.0.call(Lane::Prices, op).await;
        for one in batch {
            done(shop, one);
        }
        outcomes.unwrap_or_else(|fault| vec![Outcome::Failed(fault); batch.len()])
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        let (shop, (sku, ..)) = (self.0.system, told(delivery));
        let op = move |world: &mut World| world.shops[shop].prices.contains_key(&sku);
        let told = self.0.call(Lane::Prices, op).await?;
        Ok(told.then(Confirmation::default))
    }
}

/// Which shop shows a wrong price.
pub fn wrong(world: &World, shops: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    for (shop, name) in SYSTEMS.iter().enumerate().take(shops) {
        let shown: &BTreeMap<usize, i64> = &world.shops[shop].prices;
        for (sku, priced) in world.erp.prices.iter().enumerate() {
            let (shown, right) = (shown.get(&sku), priced.amount());
            if shown != Some(&right) {
                wrong.push(format!(
                    "{name} shows {shown:?} for S{sku}, which costs {right}"
                ));
            }
        }
    }
    wrong
}
