//! A practice webstore: products, buyers' orders, stock with allocations apart, parcels.
//!
//! # Its stock
//! `on_hand` is what it was told; placing an order raises `allocated`; it sells only while
//! `on_hand - allocated` suffices. A parcel lowers both, calling an order off lowers `allocated`.
//!
//! The HTTP dialect is in [`api`].

pub mod api;
mod goods;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::audit::{AuditLog, Fact, Units, lock};
use super::basket::{Basket, PricedLine, PricedShipping};
use super::catalog::{Article, Buyer};
use super::faults::rng_for;
use super::outlet::{NotForSale, Offer, Outlet};
use crate::clock::{Timestamp, earlier, later};

/// How a webstore behaves.
#[derive(Debug, Clone)]
pub struct ShopOptions {
    /// Its name, and its connection's.
    pub name: String,
    /// What its order numbers begin with.
    pub number_prefix: String,
    /// It honours `Idempotency-Key`; otherwise a repeated request acts again.
    pub idempotency: bool,
    /// How long a token of `POST /login` lives.
    pub token_life: Duration,
    /// An order shows up in lists at most so long after its `placed_at` (story 2).
    pub visibility_lag: Duration,
    /// It has all articles from the beginning, not only those that shops have at the start.
    pub knows_all: bool,
    /// Where its random numbers come from.
    pub seed: u64,
}

/// What a webstore sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The shop's id.
    pub id: u64,
    /// SKU.
    pub sku: String,
    /// Title.
    pub title: String,
    /// With tax, in cents.
    pub price: i64,
    /// Percent.
    pub tax_rate: i64,
    /// Grams, if it was told.
    pub weight_g: Option<i64>,
    /// On sale.
    pub active: bool,
    /// As told.
    pub on_hand: i64,
    /// Held by open orders.
    pub allocated: i64,
    /// By the shop's clock.
    pub updated_at: Timestamp,
}

impl Product {
    /// How many can be sold.
    pub fn available(&self) -> i64 {
        self.on_hand - self.allocated
    }
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Nothing left yet.
    Open,
    /// Some left.
    PartiallyShipped,
    /// All left.
    Shipped,
    /// Called off.
    Cancelled,
}

/// Goods that left, as the shop was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parcel {
    /// The shop's id.
    pub id: String,
    /// The reference that came with it.
    pub reference: String,
    /// The carrier's name.
    pub carrier: String,
    /// What the buyer can follow.
    pub tracking_numbers: Vec<String>,
    /// Line id and pieces.
    pub lines: Vec<ParcelLine>,
}

/// Some pieces of one order line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParcelLine {
    /// The line's id.
    pub line_id: String,
    /// Pieces.
    pub quantity: i64,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShopOrder {
    /// The shop's id.
    pub id: u64,
    /// What the buyer sees.
    pub number: String,
    /// By the shop's clock.
    pub placed_at: Timestamp,
    /// By the shop's clock. Calling off raises it; a parcel does too.
    pub updated_at: Timestamp,
    /// Not in lists before this moment of the shop's clock.
    pub visible_at: Timestamp,
    /// Who.
    pub buyer: Buyer,
    /// What.
    pub lines: Vec<PricedLine>,
    /// Pieces that left, by line id.
    pub shipped: BTreeMap<String, i64>,
    /// Code and percent.
    pub coupon: Option<(String, i64)>,
    /// Shipping.
    pub shipping: PricedShipping,
    /// What the buyer wrote.
    pub note: Option<String>,
    /// How far.
    pub status: OrderStatus,
    /// What left.
    pub parcels: Vec<Parcel>,
}

impl ShopOrder {
    /// What the buyer pays, in cents.
    pub fn total(&self) -> i64 {
        self.lines.iter().map(|line| line.gross).sum::<i64>() + self.shipping.gross
    }

    /// Pieces of a line that are still to leave.
    pub fn open(&self, line: &PricedLine) -> i64 {
        line.quantity - self.shipped.get(&line.id).copied().unwrap_or(0)
    }

    fn units(&self) -> Vec<Units> {
        let units = self
            .lines
            .iter()
            .map(|line| Units::new(&line.sku, line.quantity));
        units.collect()
    }
}

/// A practice webstore.
#[derive(Debug)]
pub struct Shop {
    options: ShopOptions,
    audit: Arc<AuditLog>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    products: BTreeMap<String, Product>,
    orders: BTreeMap<u64, ShopOrder>,
    last_product: u64,
    last_order: u64,
    last_parcel: u64,
    last_token: u64,
    /// Token to the moment of the shop's clock at which it expires.
    tokens: BTreeMap<String, Timestamp>,
    /// Idempotency key to the reply that it got.
    replies: BTreeMap<String, (u16, Value)>,
}

impl Shop {
    /// A shop that already has those of `articles` that shops have at the start, with no stock: it
    /// sells nothing before it is told a number.
    pub fn new(
        options: ShopOptions,
        audit: Arc<AuditLog>,
        articles: &[Article],
        now: Timestamp,
    ) -> Self {
        let mut state = State::default();
        let known = articles
            .iter()
            .filter(|article| options.knows_all || article.in_shops);
        for article in known {
            state.add_product(article.sku.clone(), now, |product| {
                product.title.clone_from(&article.title);
                product.price = article.price;
                product.tax_rate = article.tax_rate;
            });
            let (sku, price) = (article.sku.clone(), article.price);
            audit.record(&options.name, Fact::Priced { sku, price });
        }
        state.last_order = 1000;
        Self {
            options,
            audit,
            state: Mutex::new(state),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Everything it has, by SKU.
    pub fn products(&self) -> Vec<Product> {
        lock(&self.state).products.values().cloned().collect()
    }

    /// One order.
    pub fn order(&self, id: &str) -> Option<ShopOrder> {
        let id = id.parse().ok()?;
        lock(&self.state).orders.get(&id).cloned()
    }

    /// A buyer checks out. `now` is the shop's clock.
    ///
    /// # Errors
    /// [`NotForSale`], and nothing happened.
    pub fn place(&self, basket: &Basket, now: Timestamp) -> Result<String, NotForSale> {
        let mut state = lock(&self.state);
        let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
        for (sku, quantity) in &basket.lines {
            *wanted.entry(sku).or_default() += quantity;
        }
        for (sku, quantity) in &wanted {
            let product = state.products.get(*sku);
            let enough = product.is_some_and(|product| {
                product.active && product.available() >= *quantity && *quantity > 0
            });
            if !enough {
                return Err(NotForSale {
                    sku: (*sku).to_owned(),
                });
            }
        }
        let order = self.make_order(&mut state, basket, now);
        for line in &order.lines {
            if let Some(product) = state.products.get_mut(&line.sku) {
                product.allocated += line.quantity;
            }
        }
        let id = order.id.to_string();
        self.audit.record(
            self.name(),
            Fact::Placed {
                order: id.clone(),
                units: order.units(),
                total: order.total(),
            },
        );
        state.orders.insert(order.id, order);
        Ok(id)
    }

    fn make_order(&self, state: &mut State, basket: &Basket, now: Timestamp) -> ShopOrder {
        state.last_order += 1;
        let id = state.last_order;
        let percent = basket.coupon.as_ref().map_or(0, |(_, percent)| *percent);
        let lines = basket
            .lines
            .iter()
            .enumerate()
            .filter_map(|(n, (sku, quantity))| {
                let product = state.products.get(sku)?;
                Some(PricedLine::new(
                    format!("{id}-{}", n + 1),
                    (sku, &product.title),
                    *quantity,
                    (product.price, product.tax_rate),
                    percent,
                ))
            });
        // Transactions of a busy shop commit late and not in the order of their timestamps.
        let lag = rng_for(self.options.seed, self.name(), id).f64();
        let visible_at = later(now, self.options.visibility_lag.mul_f64(lag));
        ShopOrder {
            id,
            number: format!("{}{id}", self.options.number_prefix),
            placed_at: now,
            updated_at: now,
            visible_at,
            buyer: basket.buyer.clone(),
            lines: lines.collect(),
            shipped: BTreeMap::new(),
            coupon: basket.coupon.clone(),
            shipping: PricedShipping::new(basket.shipping),
            note: basket.note.clone(),
            status: OrderStatus::Open,
            parcels: Vec::new(),
        }
    }

    /// A buyer calls an order off; `false` when something left already or it is not there.
    pub fn call_off(&self, id: &str, now: Timestamp) -> bool {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let Some(order) = id
            .parse()
            .ok()
            .and_then(|id: u64| state.orders.get_mut(&id))
        else {
            return false;
        };
        if order.status != OrderStatus::Open {
            return false;
        }
        order.status = OrderStatus::Cancelled;
        order.updated_at = now;
        for line in &order.lines {
            if let Some(product) = state.products.get_mut(&line.sku) {
                product.allocated -= line.quantity;
            }
        }
        let order = id.to_owned();
        self.audit.record(self.name(), Fact::CalledOff { order });
        true
    }

    /// Somebody changes a product by hand, behind everybody's back; whether there is one of this SKU.
    pub fn tamper(&self, sku: &str, change: impl FnOnce(&mut Product)) -> bool {
        let mut state = lock(&self.state);
        state.products.get_mut(sku).map(change).is_some()
    }

    /// The same with an order.
    pub fn tamper_order(&self, id: &str, change: impl FnOnce(&mut ShopOrder)) -> bool {
        let mut state = lock(&self.state);
        let order = id
            .parse()
            .ok()
            .and_then(|id: u64| state.orders.get_mut(&id));
        order.map(change).is_some()
    }

    /// Somebody edits the newest orders: their `updated_at` moves, their content does not.
    fn touch_orders(&self, now: Timestamp) -> bool {
        let mut state = lock(&self.state);
        let mut any = false;
        for order in state.orders.values_mut().rev().take(3) {
            order.updated_at = now;
            any = true;
        }
        // Products are paged by `updated_at`: those that were on an earlier page move to the end.
        for product in state.products.values_mut().take(2) {
            product.updated_at = earlier(now, Duration::from_millis(1));
            any = true;
        }
        any
    }
}

impl Outlet for Shop {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn offers(&self, _now: Timestamp) -> Vec<Offer> {
        let state = lock(&self.state);
        let products = state.products.values();
        let offers = products.filter(|product| product.active && product.available() > 0);
        offers
            .map(|product| Offer {
                sku: product.sku.clone(),
                available: product.available(),
            })
            .collect()
    }

    fn place(&self, basket: &Basket, now: Timestamp) -> Result<String, NotForSale> {
        self.place(basket, now)
    }

    fn call_off(&self, id: &str, now: Timestamp) -> bool {
        self.call_off(id, now)
    }
}

impl State {
    fn add_product(&mut self, sku: String, now: Timestamp, fill: impl FnOnce(&mut Product)) -> u64 {
        self.last_product += 1;
        let mut product = Product {
            id: self.last_product,
            sku: sku.clone(),
            title: String::new(),
            price: 0,
            tax_rate: 0,
            weight_g: None,
            active: true,
            on_hand: 0,
            allocated: 0,
            updated_at: now,
        };
        fill(&mut product);
        self.products.insert(sku, product);
        self.last_product
    }
}
