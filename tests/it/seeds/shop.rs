//! A shop: what people bought there, and what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crossdock::clock::Timestamp;
use crossdock::connector::{Change, Version};
use crossdock::record::{Record, Stream};
use serde_json::{Value, json};

use super::items::Listed;
use super::world::{SYSTEMS, World};

/// What a shop was told of an order's parcels: tracking number, and how many of which SKU.
pub type Parcels = BTreeMap<String, Vec<(usize, i64)>>;

#[derive(Debug)]
pub struct Order {
    pub id: String,
    pub lines: Vec<(usize, i64)>,
    /// The buyer took it along.
    pub at_till: bool,
    /// Its shop says of each line whether it was called off.
    pub tells_lines: bool,
    pub placed: Timestamp,
    pub cancelled: bool,
    pub fulfilled: Parcels,
    /// Shown in lists from then on, under this change.
    pub visible: Duration,
    pub updated: Timestamp,
    pub sequence: u64,
    /// How it is, and how it was before, newest last.
    pub versions: Vec<Change>,
}

/// Numbers that a market took in and has not applied.
#[derive(Debug, Clone)]
pub struct Feed {
    pub shop: usize,
    pub levels: Vec<(usize, i64, Option<Duration>)>,
    pub applied: bool,
    pub fate: Fate,
}

/// What becomes of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Applied,
    /// It is said to be done, and was not.
    Lost,
    /// It is never said to be done, and never is.
    Stuck,
}

#[derive(Debug)]
pub struct Shop {
    pub system: usize,
    /// What is promised to orders is a number of its own.
    pub is_apart: bool,
    /// It sells off the shelf.
    pub is_till: bool,
    pub orders: Vec<Order>,
    /// The number that it was told, by SKU.
    pub told: BTreeMap<usize, i64>,
    /// What it promised to orders, where that is apart.
    pub promised: BTreeMap<usize, i64>,
    pub feeds: Vec<Feed>,
    /// When the last feed that does not hang is applied.
    pub last_feed: Duration,
    /// Pieces of which SKU it took off its number because it was told of a parcel, and when.
    pub parcels: Vec<(Duration, usize, i64)>,
    /// What things cost here, by SKU.
    pub prices: BTreeMap<usize, i64>,
    /// What is listed here, by SKU.
    pub items: BTreeMap<usize, Listed>,
}

impl Shop {
    pub fn new(system: usize, is_till: bool) -> Self {
        Self {
            system,
            is_till,
            is_apart: system == 0,
            orders: Vec::new(),
            told: BTreeMap::new(),
            promised: BTreeMap::new(),
            feeds: Vec::new(),
            last_feed: Duration::ZERO,
            parcels: Vec::new(),
            prices: BTreeMap::new(),
            items: BTreeMap::new(),
        }
    }

    /// How many a buyer can buy.
    pub fn sellable(&self, sku: usize) -> i64 {
        let promised = self.promised.get(&sku).copied().unwrap_or(0);
        self.told.get(&sku).copied().unwrap_or(0) - promised
    }

    pub fn take(&mut self, sku: usize, n: i64) {
        if self.is_till {
            return; // it has no number
        }
        if self.is_apart {
            *self.promised.entry(sku).or_default() += n;
        } else {
            *self.told.entry(sku).or_default() -= n;
        }
    }

    pub fn give_back(&mut self, sku: usize, n: i64) {
        self.take(sku, -n);
    }

    pub fn place(
        &mut self,
        id: String,
        lines: Vec<(usize, i64)>,
        (_, placed): (Duration, Timestamp),
        visible: Duration,
        sequence: u64,
    ) {
        self.orders.push(Order {
            id,
            lines,
            at_till: self.is_till,
            tells_lines: self.system == super::world::MARKET,
            placed,
            cancelled: false,
            fulfilled: Parcels::new(),
            visible,
            updated: placed,
            sequence,
            versions: Vec::new(),
        });
        let order = self.orders.last_mut().unwrap();
        order.change(visible, placed, sequence);
    }

    pub fn order(&mut self, id: &str) -> Option<&mut Order> {
        self.orders.iter_mut().find(|order| order.id == id)
    }
}

impl Order {
    /// It is different from now on.
    pub fn change(&mut self, visible: Duration, at: Timestamp, sequence: u64) {
        self.visible = visible;
        // Vendors tell whole seconds: many things have the same moment.
        self.updated = Timestamp::from_second(at.as_second())
            .unwrap()
            .max(self.updated);
        self.sequence = sequence;
        let record = Record::from_json(Stream::Orders, self.json()).unwrap();
        let mut change = Change::present(self.id.as_str(), record);
        change.version = Version {
            updated_at: Some(self.updated),
            etag: None,
        };
        self.versions.push(change);
    }

    fn json(&self) -> Value {
        let money = |n: i64| json!({"amount": n.to_string(), "currency": "EUR"});
        let total: i64 = self.lines.iter().map(|(_, n)| 10 * n).sum();
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|(sku, n)| {
                let mut line = json!({"line_id": format!("{}-{sku}", self.id), "sku": format!("S{sku}"),
                    "quantity": n.to_string(), "unit_price": money(10), "prices_include_tax": true,
                    "line_net": money(10 * n), "line_gross": money(10 * n)});
                // A shop says of the whole order whether it is shipped.
                if self.at_till {
                    line["qty_shipped"] = json!(n.to_string());
                }
                // Some say of each line too that it was called off.
                if self.cancelled && self.tells_lines {
                    line["qty_cancelled"] = json!(n.to_string());
                }
                line
            })
            .collect();
        let cancellation = if self.cancelled { "cancelled" } else { "none" };
        let note = format!("touched {} times", self.versions.len());
        let fulfilment = if self.at_till {
            "delivered"
        } else if self.is_shipped() {
            "shipped"
        } else {
            "unfulfilled"
        };
        json!({"id": self.id, "number": format!("N{}", self.id), "placed_at": self.placed.to_string(),
            "currency": "EUR", "customer": {"name": "Zoë"}, "ship_to": {"country": "DE"}, "notes": note,
            "axes": {"cancellation": cancellation, "fulfilment": fulfilment}, "lines": lines,
            "totals": {"lines_net": money(total), "charges_net": money(0), "taxes": money(0),
                "grand_total": money(total)}})
    }

    fn is_shipped(&self) -> bool {
        let sent: i64 = self.fulfilled.values().flatten().map(|(_, n)| n).sum();
        sent == self.lines.iter().map(|(_, n)| n).sum::<i64>()
    }
}

/// What a shop says of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Done,
    NoSuchOrder,
    Cancelled,
}

impl World {
    /// A shop is told of a parcel.
    pub fn fulfil(
        &mut self,
        shop: usize,
        order: &str,
        tracking: &str,
        lines: &[(usize, i64)],
    ) -> Told {
        let name = SYSTEMS[shop];
        let Some(known) = self.shops[shop].order(order) else {
            return Told::NoSuchOrder;
        };
        if known.cancelled {
            return Told::Cancelled;
        }
        let again = known
            .fulfilled
            .insert(tracking.to_owned(), lines.to_vec())
            .is_some();
        let known = self.shops[shop].order(order).unwrap();
        let mut sums = BTreeMap::<usize, i64>::new();
        for (sku, n) in known.fulfilled.values().flatten() {
            *sums.entry(*sku).or_default() += n;
        }
        let ordered: BTreeMap<usize, i64> = known.lines.iter().copied().collect();
        let too_many = sums
            .iter()
            .any(|(sku, n)| ordered.get(sku).is_none_or(|it| it < n));
        self.effect(format_args!(
            "{name}:{order} is told of parcel {tracking}: {lines:?}"
        ));
        if again {
            self.broke(format!(
                "{name}:{order} was told twice of parcel {tracking}"
            ));
        }
        if too_many {
            self.broke(format!(
                "{name}:{order} is told of more than was ordered: {sums:?}"
            ));
        }
        if self.shops[shop].is_apart {
            for (sku, n) in lines {
                *self.shops[shop].promised.entry(*sku).or_default() -= n;
                *self.shops[shop].told.entry(*sku).or_default() -= n;
                let now = self.now;
                self.shops[shop].parcels.push((now, *sku, *n));
            }
        }
        let n = self.shops[shop]
            .orders
            .iter()
            .position(|it| it.id == order)
            .unwrap();
        let (at, sequence) = (self.vendor_time(shop, self.now), self.number());
        let visible = self.now;
        self.shops[shop].orders[n].change(visible, at, sequence);
        Told::Done
    }

    /// A shop is told a number.
    pub fn offer(&mut self, shop: usize, sku: usize, number: i64, known: Option<Duration>) {
        let name = SYSTEMS[shop];
        self.shops[shop].told.insert(sku, number);
        let offered = self.shops[shop].sellable(sku);
        self.effect(format_args!(
            "{name} is told {number} of S{sku} and offers {offered}"
        ));
        if known.is_none() {
            self.check_first_offer(shop, sku, offered);
        }
        self.check_offer(shop, sku, offered, known);
    }

    /// A market applies what it took in.
    pub fn apply_feed(&mut self, feed: usize) {
        let Feed {
            shop, levels, fate, ..
        } = self.shops[super::world::MARKET].feeds[feed].clone();
        if fate == Fate::Lost {
            self.tell(format_args!("{} loses feed {feed}", SYSTEMS[shop]));
            self.shops[super::world::MARKET].feeds[feed].applied = true;
            return;
        }
        for (sku, number, known) in levels {
            self.shops[shop].told.insert(sku, number);
            let offered = self.shops[shop].sellable(sku);
            let name = SYSTEMS[shop];
            self.tell(format_args!(
                "{name} applies {number} of S{sku} of feed {feed}, offers {offered}"
            ));
            self.check_offer(shop, sku, offered, known);
        }
        self.shops[shop].feeds[feed].applied = true;
    }

    /// Orders whose parcels no shop may be told of: they were called off there.
    pub fn refused_parcels(&self) -> BTreeSet<String> {
        let all = self
            .shops
            .iter()
            .flat_map(|shop| shop.orders.iter().map(move |it| (shop, it)));
        let cancelled = all.filter(|(_, order)| order.cancelled);
        let names = cancelled.map(|(shop, order)| format!("{}:{}", SYSTEMS[shop.system], order.id));
        names.filter(|it| self.erp.has_shipped(it)).collect()
    }
}
