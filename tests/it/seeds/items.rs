//! What is sold: the ERP says, the shops get it, and numbers and prices of what is not there are refused.

use std::time::Duration;

use async_trait::async_trait;
use crossdock::clock::Timestamp;
use crossdock::connector::{
    Change, Confirmation, Delivery, Operation, Outcome, Progress, Sink, Version,
};
use crossdock::fault::Fault;
use crossdock::record::{Lane, Record, Stream};
use serde_json::json;

use super::sinks::{begin, done, sku_number};
use super::wire::Link;
use super::world::{ERP, SYSTEMS, World};

/// What the ERP says of one thing.
#[derive(Debug)]
pub struct Article {
    pub name: String,
    pub at: Timestamp,
    /// Shown in lists from then on.
    pub visible: Duration,
    /// How it is, and how it was before, newest last.
    pub versions: Vec<Change>,
}

/// The same at a shop.
#[derive(Debug)]
pub struct Listed {
    pub id: String,
    pub name: String,
}

impl World {
    /// Everything has a name before anybody asks.
    pub fn open_items(&mut self) {
        for sku in 0..self.case.skus {
            let at = self.vendor_time(ERP, Duration::ZERO);
            self.erp.items.push(Article {
                name: String::new(),
                at,
                visible: Duration::ZERO,
                versions: Vec::new(),
            });
            self.name(sku, Duration::ZERO);
        }
    }

    /// Something is called otherwise from now on.
    pub fn rename(&mut self, sku: usize) {
        let visible = self.now + Duration::from_millis(self.dice.u64(..2500));
        self.name(sku, visible);
        let name = self.erp.items[sku].name.clone();
        self.tell(format_args!("S{sku} is called {name}"));
    }

    fn name(&mut self, sku: usize, visible: Duration) {
        let at = self.vendor_time(ERP, self.now);
        let item = &mut self.erp.items[sku];
        item.at = Timestamp::from_second(at.as_second()).unwrap().max(item.at);
        item.visible = visible;
        item.name = format!("Thing {sku}, version {}", item.versions.len());
        let json = json!({"sku": format!("S{sku}"), "name": item.name});
        let record = Record::from_json(Stream::Items, json).unwrap();
        let mut change = Change::present(format!("S{sku}").as_str(), record);
        change.version = Version {
            updated_at: Some(item.at),
            etag: None,
        };
        item.versions.push(change);
    }

    /// A shop lists something new, under a number of its own.
    fn list_item(&mut self, shop: usize, sku: usize, name: &str) -> String {
        let id = format!("I{}", self.number());
        let shop_name = SYSTEMS[shop];
        self.effect(format_args!("{shop_name} lists S{sku} as {id}: {name}"));
        let name = name.to_owned();
        let new = Listed {
            id: id.clone(),
            name,
        };
        if let Some(other) = self.shops[shop].items.insert(sku, new) {
            self.broke(format!("{shop_name} has S{sku} as {} and {id}", other.id));
        }
        id
    }

    /// A shop changes what it lists; `false` when it has no such number.
    fn change_item(&mut self, shop: usize, id: &str, name: &str) -> bool {
        let items = &mut self.shops[shop].items;
        let Some(item) = items.values_mut().find(|item| item.id == id) else {
            return false;
        };
        name.clone_into(&mut item.name);
        let shop_name = SYSTEMS[shop];
        self.effect(format_args!("{shop_name} calls {id} {name}"));
        true
    }

    /// Whether a shop lists something, where that matters.
    pub fn lists(&self, shop: usize, sku: usize) -> bool {
        !super::plan::has_items(self.case.variant) || self.shops[shop].items.contains_key(&sku)
    }
}

/// What a shop says to a number or price of what it does not list.
pub fn not_listed() -> Outcome {
    Outcome::Failed(Fault::reject("unknown_sku", "there is no such thing"))
}

/// Items at a shop.
#[derive(Debug)]
pub struct ItemSink(pub Link);

fn read(delivery: &Delivery) -> (usize, String) {
    let Record::Item(item) = &delivery.record else {
        panic!("an item")
    };
    let name = item.name.value().cloned().unwrap_or_default();
    (sku_number(item.sku.as_str()), name)
}

impl ItemSink {
    async fn write(&self, delivery: &Delivery) -> Result<String, Fault> {
        let shop = self.0.system;
        let (sku, name) = read(delivery);
        if delivery.operation == Operation::Create {
            let op = move |world: &mut World| world.list_item(shop, sku, &name);
            return self.0.call(Lane::Items, op).await;
        }
        let Some(id) = delivery.target.as_ref().map(ToString::to_string) else {
            return Err(Fault::bug("no_target", "nobody knows which item"));
        };
        let named = id.clone();
        let op = move |world: &mut World| world.change_item(shop, &named, &name);
        let is_there = self.0.call(Lane::Items, op).await?;
        let gone = || Fault::reject("no_such_item", "there is no such item");
        is_there.then_some(id).ok_or_else(gone)
    }
}

#[async_trait]
impl Sink for ItemSink {
    async fn deliver(&self, batch: &[Delivery], _: &dyn Progress) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for delivery in batch {
            begin(self.0.system, delivery);
            let written = self.write(delivery).await;
            done(self.0.system, delivery);
            outcomes.push(match written {
                Ok(id) => Outcome::Delivered(there(id.as_str(), false)),
                Err(fault) => Outcome::Failed(fault),
            });
        }
        outcomes
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        let (shop, (sku, _)) = (self.0.system, read(delivery));
        let op = move |world: &mut World| {
            let known = world.shops[shop].items.get(&sku);
            known.map(|item| there(item.id.as_str(), true))
        };
        self.0.call(Lane::Items, op).await
    }
}

fn there(id: &str, existed: bool) -> Confirmation {
    Confirmation {
        remote_id: Some(id.into()),
        existed,
        ..Confirmation::default()
    }
}

/// Which shop lists what wrongly.
pub fn wrong(world: &World, shops: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    for (shop, name) in SYSTEMS.iter().enumerate().take(shops) {
        for (sku, item) in world.erp.items.iter().enumerate() {
            let listed = world.shops[shop].items.get(&sku).map(|it| &it.name);
            if listed != Some(&item.name) {
                wrong.push(format!(
                    "{name} lists S{sku} as {listed:?}, it is {}",
                    item.name
                ));
            }
        }
    }
    wrong
}
