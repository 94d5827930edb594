//! The ERP: one shelf, orders with our reference, parcels.

use std::collections::BTreeMap;
use std::time::Duration;

use crossdock::clock::Timestamp;
use crossdock::connector::{Change, Version};
use crossdock::record::{Record, Stream};
use serde_json::{Value, json};

use super::case::{Case, ErpKind};
use super::items::Article;
use super::prices::Priced;
use super::world::{ERP, Event, World};

#[derive(Debug)]
pub struct ErpOrder {
    pub id: String,
    pub reference: String,
    pub key: String,
    pub lines: Vec<(usize, i64)>,
    pub is_draft: bool,
    pub cancelled: bool,
    pub shipped: BTreeMap<usize, i64>,
}

#[derive(Debug)]
pub struct Parcel {
    pub tracking: String,
    pub order: usize,
    pub lines: Vec<(usize, i64)>,
    pub visible: Duration,
    pub change: Change,
}

#[derive(Debug)]
pub struct Erp {
    pub kind: ErpKind,
    pub on_hand: Vec<i64>,
    pub orders: Vec<ErpOrder>,
    pub parcels: Vec<Parcel>,
    pub prices: Vec<Priced>,
    pub items: Vec<Article>,
}

impl Erp {
    pub fn new(case: &Case) -> Self {
        Self {
            kind: case.erp,
            on_hand: case.opening.clone(),
            orders: Vec::new(),
            parcels: Vec::new(),
            prices: Vec::new(),
            items: Vec::new(),
        }
    }

    pub fn find(&self, reference: &str) -> Option<&ErpOrder> {
        self.orders
            .iter()
            .find(|order| order.reference == reference)
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.orders.iter().position(|order| order.id == id)
    }

    /// How many of an order's pieces have left.
    pub fn shipped(&self, reference: &str, sku: usize) -> i64 {
        let order = self.find(reference);
        order
            .and_then(|order| order.shipped.get(&sku))
            .copied()
            .unwrap_or(0)
    }

    pub fn has_shipped(&self, reference: &str) -> bool {
        self.find(reference)
            .is_some_and(|order| !order.shipped.is_empty())
    }

    /// What orders still take off the shelf.
    pub fn open(&self, sku: usize) -> i64 {
        let taken = self
            .orders
            .iter()
            .filter(|order| !order.cancelled && !order.is_draft);
        let of_sku = taken.flat_map(|order| {
            let shipped = order.shipped.get(&sku).copied().unwrap_or(0);
            let lines = order.lines.iter().filter(move |(it, _)| *it == sku);
            lines.map(move |(_, n)| n - shipped)
        });
        of_sku.sum()
    }
}

impl World {
    /// Creates an order, or hands out the one that its key made.
    pub fn create_order(
        &mut self,
        reference: &str,
        key: &str,
        lines: Vec<(usize, i64)>,
        is_draft: bool,
    ) -> String {
        if self.erp.kind == ErpKind::Keyed
            && let Some(order) = self.erp.orders.iter().find(|order| order.key == key)
        {
            return order.id.clone();
        }
        let id = format!("E{}", self.number());
        let what = if is_draft { "a draft" } else { "an order" };
        self.effect(format_args!(
            "erp makes {what} {id} of {reference}: {lines:?}"
        ));
        if let Some(other) = self.erp.find(reference) {
            let other = other.id.clone();
            self.broke(format!("{reference} is {other} and {id} at the erp"));
        }
        self.check_order(reference, &lines);
        self.erp.orders.push(ErpOrder {
            id: id.clone(),
            reference: reference.to_owned(),
            key: key.to_owned(),
            lines,
            is_draft,
            cancelled: false,
            shipped: BTreeMap::new(),
        });
        if !is_draft {
            self.pack_later(self.erp.orders.len() - 1);
        }
        id
    }

    fn check_order(&mut self, reference: &str, lines: &[(usize, i64)]) {
        let found = reference.split_once(':').and_then(|(name, id)| {
            let shop = super::world::SYSTEMS.iter().position(|it| *it == name)?;
            let orders = &self.shops.get(shop)?.orders;
            orders.iter().find(|order| order.id == id)
        });
        if found.is_none_or(|order| order.lines != lines) {
            self.broke(format!(
                "the erp has {lines:?} for {reference}, which nobody bought so"
            ));
        }
    }

    /// Confirms a draft; `false` when there is none.
    pub fn confirm_order(&mut self, id: &str) -> bool {
        let Some(n) = self.erp.position(id) else {
            return false;
        };
        if self.erp.orders[n].is_draft && !self.erp.orders[n].cancelled {
            self.effect(format_args!("erp confirms {id}"));
            self.erp.orders[n].is_draft = false;
            self.pack_later(n);
        }
        true
    }

    /// Calls an order off; `false` when goods have left.
    pub fn cancel_order(&mut self, id: &str) -> Option<bool> {
        let n = self.erp.position(id)?;
        if !self.erp.orders[n].shipped.is_empty() {
            return Some(false);
        }
        if !self.erp.orders[n].cancelled {
            self.effect(format_args!("erp calls {id} off"));
            self.erp.orders[n].cancelled = true;
            let reference = self.erp.orders[n].reference.clone();
            if !self.is_called_off(&reference) {
                self.broke(format!(
                    "{reference} is called off at the erp, and nobody asked for that"
                ));
            }
        }
        Some(true)
    }

    fn is_called_off(&self, reference: &str) -> bool {
        let Some((name, id)) = reference.split_once(':') else {
            return false;
        };
        let of_shop = |shop: &&super::shop::Shop| super::world::SYSTEMS[shop.system] == name;
        let orders = self
            .shops
            .iter()
            .filter(of_shop)
            .flat_map(|shop| &shop.orders);
        orders
            .into_iter()
            .any(|order| order.id == id && order.cancelled)
    }

    fn pack_later(&mut self, order: usize) {
        if self.was_taken_along(order) {
            let wait = Duration::from_millis(self.dice.u64(..5000));
            self.schedule(self.now + wait, Event::Ship(order, true));
            return;
        }
        if self.dice.u32(..10) < 7 {
            let wait = Duration::from_millis(self.dice.u64(3000..40_000));
            let whole = self.dice.u32(..4) > 0;
            self.schedule(self.now + wait, Event::Ship(order, whole));
            if !whole {
                self.schedule(self.now + wait * 2, Event::Ship(order, true));
            }
        }
    }

    /// Whether it was sold at a till: nothing is left to do but to book it.
    fn was_taken_along(&self, order: usize) -> bool {
        let reference = &self.erp.orders[order].reference;
        let sold = self.shops.iter().filter(|shop| shop.is_till);
        let mut sold = sold.flat_map(|shop| shop.orders.iter().map(move |it| (shop, it)));
        sold.any(|(shop, it)| {
            *reference == format!("{}:{}", super::world::SYSTEMS[shop.system], it.id)
        })
    }

    /// The warehouse sends what is there of an order.
    pub fn ship(&mut self, n: usize, whole: bool) {
        let order = &self.erp.orders[n];
        if order.cancelled {
            return;
        }
        let mut lines = Vec::new();
        for (sku, quantity) in &order.lines {
            let open = quantity - order.shipped.get(sku).copied().unwrap_or(0);
            let some = if whole { open } else { open.min(1) };
            if some > 0 {
                lines.push((*sku, some));
            }
        }
        let is_there = lines.iter().all(|(sku, n)| self.erp.on_hand[*sku] >= *n);
        if !is_there || lines.is_empty() {
            return;
        }
        let (id, reference) = (order.id.clone(), order.reference.clone());
        let called_off = self.is_called_off(&reference);
        for (sku, quantity) in &lines {
            self.erp.on_hand[*sku] -= quantity;
            *self.erp.orders[n].shipped.entry(*sku).or_default() += quantity;
            if called_off {
                self.add_free(*sku, -quantity);
            }
        }
        let tracking = format!("T{}", self.number());
        self.tell(format_args!(
            "erp ships {id} ({reference}) as {tracking}: {lines:?}"
        ));
        let at = self.vendor_time(ERP, self.now);
        let visible = self.now + Duration::from_millis(self.dice.u64(..2500));
        let change = parcel(&tracking, (&id, &reference), &lines, at, self.dice.bool());
        self.erp.parcels.push(Parcel {
            tracking,
            order: n,
            lines,
            visible,
            change,
        });
    }
}

fn parcel(
    tracking: &str,
    (order, reference): (&str, &str),
    lines: &[(usize, i64)],
    at: Timestamp,
    tells_when: bool,
) -> Change {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(sku, n)| json!({"sku": format!("S{sku}"), "quantity": n.to_string()}))
        .collect();
    let mut json = json!({"id": tracking, "order": order, "order_reference": reference, "lines": lines,
        "parcels": [{"tracking_number": tracking}]});
    if tells_when {
        json["shipped_at"] = json!(at.to_string());
    }
    let record = Record::from_json(Stream::Shipments, json).unwrap();
    let mut change = Change::present(tracking, record);
    // Vendors tell whole seconds: many things have the same moment.
    let updated = Timestamp::from_second(at.as_second()).unwrap();
    change.version = Version {
        updated_at: Some(updated),
        etag: None,
    };
    change
}
