//! How the world is written to: once-only creates of three kinds, parcels, numbers in batches and in feeds.

use std::time::Duration;

use async_trait::async_trait;
use crossdock::connector::{
    Confirmation, Delivery, Operation, Outcome, Progress, Repeats, Sink, Token,
};
use crossdock::fault::Fault;
use crossdock::id::RemoteId;
use crossdock::record::{Lane, Record};
use serde_json::{Value, json};

use super::case::{ErpKind, Trouble};
use super::items::not_listed;
use super::shop::{Fate, Feed, Told};
use super::wire::{Link, Shared};
use super::world::{ERP, Event, MARKET, World};

/// The number of `S3` is 3.
pub fn sku_number(sku: &str) -> usize {
    sku[1..].parse().unwrap()
}

fn pieces(quantity: crossdock::record::Quantity) -> i64 {
    i64::try_from(quantity.0).unwrap()
}

/// One write of a key at a time: from here until [`done`].
pub fn begin(system: usize, delivery: &Delivery) {
    let key = format!("{}/{}", delivery.stream, delivery.key);
    let shared = Shared::now();
    let mut world = shared.world();
    if !world.in_flight.insert((system, key.clone())) {
        let name = super::world::SYSTEMS[system];
        world.broke(format!("{name}: two writes of {key} at a time"));
    }
}

pub fn done(system: usize, delivery: &Delivery) {
    let key = format!("{}/{}", delivery.stream, delivery.key);
    Shared::now().world().in_flight.remove(&(system, key));
}

fn there(id: impl Into<RemoteId>) -> Confirmation {
    Confirmation {
        remote_id: Some(id.into()),
        ..Confirmation::default()
    }
}

/// Orders at the ERP.
#[derive(Debug)]
pub struct OrderSink(pub Link);

impl OrderSink {
    async fn create(
        &self,
        delivery: &Delivery,
        progress: &dyn Progress,
    ) -> Result<RemoteId, Fault> {
        let Record::Order(order) = &delivery.record else {
            return Err(Fault::bug("no_order", "this is no order"));
        };
        let lines = order.lines.iter();
        let lines = lines.map(|line| (sku_number(line.sku.as_str()), pieces(line.quantity)));
        let lines: Vec<(usize, i64)> = lines.collect();
        let (reference, key) = (delivery.reference.clone(), delivery.id.to_string());
        let known = delivery.captured.get("draft").and_then(Value::as_str);
        let in_steps = Shared::now().world().erp.kind == ErpKind::Steps;
        let id = if let Some(id) = known {
            id.to_owned()
        } else {
            let op = move |world: &mut World| match world.erp.find(&reference) {
                // A step of several looks by itself for what an earlier try left.
                Some(order) if in_steps => order.id.clone(),
                _ => world.create_order(&reference, &key, lines, in_steps),
            };
            self.0.call(Lane::Orders, op).await?
        };
        if in_steps {
            if known.is_none() {
                progress.captured(&delivery.id, "draft", json!(id)).await?;
            }
            let named = id.clone();
            let is_there = self
                .0
                .call(Lane::Orders, move |world| world.confirm_order(&named));
            if !is_there.await? {
                return Err(Fault::reject("no_draft", "there is no such draft"));
            }
        }
        Ok(id.as_str().into())
    }

    async fn cancel(&self, delivery: &Delivery) -> Result<RemoteId, Fault> {
        let Some(id) = &delivery.target else {
            return Err(Fault::bug("no_target", "nobody knows which order"));
        };
        let named = id.to_string();
        let op = move |world: &mut World| world.cancel_order(&named);
        match self.0.call(Lane::Cancellations, op).await? {
            Some(true) => Ok(id.clone()),
            Some(false) => Err(Fault::reject("shipped", "goods have left")),
            None => Err(Fault::reject("no_such_order", "there is no such order")),
        }
    }
}

#[async_trait]
impl Sink for OrderSink {
    async fn deliver(&self, batch: &[Delivery], progress: &dyn Progress) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for delivery in batch {
            begin(ERP, delivery);
            let made = match delivery.operation {
                Operation::Cancel => self.cancel(delivery).await,
                _ => self.create(delivery, progress).await,
            };
            done(ERP, delivery);
            outcomes.push(match made {
                Ok(id) => Outcome::Delivered(there(id)),
                Err(fault) => Outcome::Failed(fault),
            });
        }
        outcomes
    }

    fn repeats(&self, operation: Operation) -> Repeats {
        match (operation, Shared::now().world().erp.kind) {
            (Operation::Create, ErpKind::Searchable) => Repeats::AfterFinding,
            _ => Repeats::Freely,
        }
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        let reference = delivery.reference.clone();
        // Of a cancellation: whether it happened, or whether anything is there that can be called off.
        let half_too = delivery.operation == Operation::Cancel;
        let must_be_off = half_too && delivery.target.is_some();
        let op = move |world: &mut World| {
            let order = world.erp.find(&reference);
            let whole = order.filter(|order| half_too || !order.is_draft);
            let whole = whole.filter(|order| order.cancelled || !must_be_off);
            whole.map(|order| there(order.id.as_str()))
        };
        self.0.call(Lane::Orders, op).await
    }
}

/// Parcels at a shop.
#[derive(Debug)]
pub struct ParcelSink(pub Link);

/// Order, tracking number, and what is in it.
type ParcelTold = (String, String, Vec<(usize, i64)>);

fn parcel(delivery: &Delivery) -> Result<ParcelTold, Fault> {
    let Record::Shipment(shipment) = &delivery.record else {
        return Err(Fault::bug("no_parcel", "this is no parcel"));
    };
    let tracking = shipment.parcels[0].tracking_number.value().unwrap();
    let lines = shipment.lines.iter();
    let lines = lines.map(|line| (sku_number(line.sku.as_str()), pieces(line.quantity)));
    Ok((shipment.order.clone(), tracking.clone(), lines.collect()))
}

impl ParcelSink {
    async fn tell(&self, delivery: &Delivery) -> Result<RemoteId, Fault> {
        let shop = self.0.system;
        let (order, tracking, lines) = parcel(delivery)?;
        let id = format!("{order}-{tracking}");
        let op = move |world: &mut World| world.fulfil(shop, &order, &tracking, &lines);
        match self.0.call(Lane::Shipments, op).await? {
            Told::Done => Ok(id.as_str().into()),
            Told::NoSuchOrder => Err(Fault::reject("no_such_order", "there is no such order")),
            Told::Cancelled => Err(Fault::reject("cancelled", "the order was called off")),
        }
    }
}

#[async_trait]
impl Sink for ParcelSink {
    async fn deliver(&self, batch: &[Delivery], _: &dyn Progress) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for delivery in batch {
            begin(self.0.system, delivery);
            let told = self.tell(delivery).await;
            done(self.0.system, delivery);
            outcomes.push(match told {
                Ok(id) => Outcome::Delivered(there(id)),
                Err(fault) => Outcome::Failed(fault),
            });
        }
        outcomes
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        let shop = self.0.system;
        let (order, tracking, _) = parcel(delivery)?;
        let op = move |world: &mut World| {
            let known = world.shops[shop].order(&order);
            let told = known.is_some_and(|order| order.fulfilled.contains_key(&tracking));
            told.then(|| there(format!("{order}-{tracking}").as_str()))
        };
        self.0.call(Lane::Shipments, op).await
    }
}

/// Numbers at a shop.
#[derive(Debug)]
pub struct StockSink(pub Link);

/// SKU, number, and until when everything was known when it was decided.
type Level = (usize, i64, Option<Duration>);

fn level(delivery: &Delivery) -> Level {
    let Record::Stock(level) = &delivery.record else {
        panic!("a number")
    };
    let known = Shared::now().world().decided(delivery.id.as_str());
    let number = pieces(*level.on_hand.value().unwrap());
    (sku_number(level.sku.as_str()), number, known)
}

/// Tells a shop; of each number what went wrong, if anything.
fn tell_levels(world: &mut World, shop: usize, levels: &[Level]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (sku, number, known) in levels {
        if !world.lists(shop, *sku) {
            outcomes.push(not_listed());
            continue;
        }
        if world.unlucky(Trouble::Partial, 80) {
            let fault = Fault::retry("locked", "somebody else is writing this one");
            outcomes.push(Outcome::Failed(fault));
            continue;
        }
        world.offer(shop, *sku, *number, *known);
        outcomes.push(Outcome::Delivered(Confirmation::default()));
    }
    outcomes
}

/// Takes numbers in, to be applied later.
fn take_in(world: &mut World, shop: usize, levels: &[Level]) -> Vec<Outcome> {
    let n = world.shops[shop].feeds.len();
    let fate = fate(world, shop);
    let feeds = world.shops[shop].feeds.iter();
    let before = feeds.filter(|feed| !feed.applied && feed.fate != Fate::Stuck);
    // In the order in which it is told: each after the one before.
    let wait = Duration::from_secs(3 + 4 * before.count() as u64) + Duration::from_millis(n as u64);
    world.effect(format_args!(
        "market takes feed {n} in ({fate:?}): {levels:?}"
    ));
    world.shops[shop].feeds.push(Feed {
        shop,
        levels: levels.to_vec(),
        applied: false,
        fate,
    });
    if fate != Fate::Stuck {
        let last = world.shops[shop].last_feed + Duration::from_millis(1);
        let at = (world.now + wait).max(last);
        world.shops[shop].last_feed = at;
        world.schedule(at, Event::Apply(n));
    }
    (0..levels.len()).map(|_| submitted(n)).collect()
}

/// What becomes of the next feed; never two in a row go wrong, for what does is told once more and then held.
fn fate(world: &mut World, shop: usize) -> Fate {
    let last = world.shops[shop].feeds.last().map(|feed| feed.fate);
    if last.is_some_and(|last| last != Fate::Applied) {
        Fate::Applied
    } else if world.unlucky(Trouble::LostFeed, 100) {
        Fate::Lost
    } else if world.unlucky(Trouble::StuckFeed, 100) {
        Fate::Stuck
    } else {
        Fate::Applied
    }
}

fn submitted(feed: usize) -> Outcome {
    Outcome::Submitted {
        token: Token {
            submission: json!(feed),
            told: Value::Null,
        },
        check_after: Duration::from_secs(4),
        in_order: true,
    }
}

#[async_trait]
impl Sink for StockSink {
    async fn deliver(&self, batch: &[Delivery], _: &dyn Progress) -> Vec<Outcome> {
        let shop = self.0.system;
        let levels: Vec<Level> = batch.iter().map(level).collect();
        for one in batch {
            begin(shop, one);
        }
        let op = move |world: &mut World| {
            if shop == MARKET {
                take_in(world, shop, &levels)
            } else {
                tell_levels(world, shop, &levels)
            }
        };
        let outcomes = self.0.call(Lane::StockDown, op).await;
        for one in batch {
            done(shop, one);
        }
        outcomes.unwrap_or_else(|fault| vec![Outcome::Failed(fault); batch.len()])
    }

    async fn check(&self, batch: &[Delivery], tokens: &[Token]) -> Vec<Outcome> {
        let shop = self.0.system;
        let feeds: Vec<usize> = tokens
            .iter()
            .map(|token| usize::try_from(token.submission.as_u64().unwrap()).unwrap())
            .collect();
        let op = move |world: &mut World| {
            let feeds = feeds.iter();
            let outcomes = feeds.map(|feed| match world.shops[shop].feeds.get(*feed) {
                Some(known) if known.applied && known.fate == Fate::Lost => {
                    let fault = Fault::retry("not_applied", "it was taken in and does not show");
                    Outcome::Failed(fault)
                }
                Some(known) if known.applied => Outcome::Delivered(Confirmation::default()),
                _ => submitted(*feed),
            });
            outcomes.collect::<Vec<Outcome>>()
        };
        let outcomes = self.0.call(Lane::StockUp, op).await;
        outcomes.unwrap_or_else(|fault| vec![Outcome::Failed(fault); batch.len()])
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        let (shop, (sku, ..)) = (self.0.system, level(delivery));
        let op = move |world: &mut World| world.shops[shop].told.contains_key(&sku);
        let told = self.0.call(Lane::StockDown, op).await?;
        Ok(told.then(Confirmation::default))
    }
}
