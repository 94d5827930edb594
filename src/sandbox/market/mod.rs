//! A practice marketplace: a part of Amazon's Selling Partner API, as its public description has it.
//!
//! # Its stock
//! One number for each listing: `fulfillment_availability.quantity` is what it still sells. An order
//! takes from it at the moment it is placed, while it is still `PENDING`, and gives it back when the
//! buyer calls it off. Whoever writes the number writes over what orders took meanwhile.
//!
//! A write is accepted at once and applied later. It is accepted, too, when there is no such listing:
//! then there is one afterwards that nobody can buy.
//!
//! # Its orders
//! An order is `PENDING` for a while, without prices, buyer and address, and `UNSHIPPED` after that. The
//! statement holds nobody to know of it before. Each
//! change gives it a new `lastUpdatedTime` in whole seconds, and only some time later searches find it.
//!
//! What happens by itself (payment, writes that are applied, feeds) happens in [`Market::advance`], which
//! everybody calls who looks at it. The HTTP dialect is in [`api`].

pub mod api;
mod auth;
mod documents;
mod feeds;
mod listings;
mod order_json;
mod orders;
pub mod quota;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use super::audit::{AuditLog, Fact, Units, lock};
use super::basket::{Basket, PricedLine, PricedShipping};
use super::catalog::{Article, Buyer};
use super::faults::rng_for;
use super::outlet::{NotForSale, Offer, Outlet};
use super::serve::RateLimit;
use crate::clock::{Timestamp, later};
use auth::Tokens;
use documents::Documents;
use feeds::Feeds;
use listings::{Listing, Submission};
use quota::Quotas;

/// How a marketplace behaves.
#[derive(Debug, Clone)]
pub struct MarketOptions {
    /// Its name, and its connection's.
    pub name: String,
    /// The only merchant there.
    pub seller_id: String,
    /// The only country there.
    pub marketplace_id: String,
    /// How long an order is `PENDING`, at most.
    pub pending: Duration,
    /// A change of an order shows up in searches at most so long after it.
    pub visibility_lag: Duration,
    /// How long until an accepted write is applied.
    pub apply_lag: Duration,
    /// How long a feed is `IN_QUEUE`, and then so long again `IN_PROGRESS`.
    pub feed_lag: Duration,
    /// How long an access token lives.
    pub token_life: Duration,
    /// How long the token of a next page lives.
    pub page_token_life: Duration,
    /// How many requests each operation takes.
    pub quotas: BTreeMap<&'static str, RateLimit>,
    /// Where its random numbers come from.
    pub seed: u64,
}

impl MarketOptions {
    /// A marketplace in a hurry: everything takes a second or so, and quotas are a demo's.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            seller_id: "A1PRACTICE".to_owned(),
            marketplace_id: "A1PA6795UKMFR9".to_owned(),
            pending: Duration::from_millis(1500),
            visibility_lag: Duration::from_millis(800),
            apply_lag: Duration::from_millis(500),
            feed_lag: Duration::from_millis(700),
            token_life: Duration::from_hours(1),
            page_token_life: Duration::from_hours(24),
            quotas: quota::practice(),
            seed,
        }
    }
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MarketStatus {
    /// Not paid: nobody may ship it yet.
    Pending,
    /// Nothing left yet.
    Unshipped,
    /// Some left.
    PartiallyShipped,
    /// All left.
    Shipped,
    /// Called off.
    Cancelled,
}

/// A package that left, as the marketplace was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The merchant's number of it within the order.
    pub reference: String,
    /// The carrier's code.
    pub carrier: String,
    /// What the buyer can follow.
    pub tracking: String,
    /// When it left, as told.
    pub shipped_at: Timestamp,
    /// When the marketplace was told.
    pub told_at: Timestamp,
    /// Pieces by order item.
    pub items: BTreeMap<String, i64>,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarketOrder {
    /// `902-0000017-1234567`.
    pub id: String,
    /// In whole seconds of its clock.
    pub created_at: Timestamp,
    /// In whole seconds of its clock.
    pub updated_at: Timestamp,
    /// Searches do not find its present state before.
    pub visible_at: Timestamp,
    /// When it will be paid, unless it is called off before.
    pub paid_at: Timestamp,
    /// It was.
    pub is_paid: bool,
    /// Who.
    pub buyer: Buyer,
    /// What. Prices with tax; the id is the order item's.
    pub lines: Vec<PricedLine>,
    /// Shipping.
    pub shipping: PricedShipping,
    /// How far.
    pub status: MarketStatus,
    /// What left.
    pub packages: Vec<Package>,
}

impl MarketOrder {
    /// What the buyer pays, in cents.
    pub fn total(&self) -> i64 {
        self.lines.iter().map(|line| line.gross).sum::<i64>() + self.shipping.gross
    }

    /// Pieces of an order item that left.
    pub fn shipped(&self, item: &str) -> i64 {
        let pieces = self.packages.iter().filter_map(|each| each.items.get(item));
        pieces.sum()
    }

    fn units(&self) -> Vec<Units> {
        let units = self.lines.iter();
        units
            .map(|line| Units::new(&line.sku, line.quantity))
            .collect()
    }
}

/// A practice marketplace.
#[derive(Debug)]
pub struct Market {
    options: MarketOptions,
    audit: Arc<AuditLog>,
    state: Mutex<State>,
    quotas: Quotas,
    /// How many requests were over a quota.
    refusals: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    listings: BTreeMap<String, Listing>,
    orders: BTreeMap<String, MarketOrder>,
    /// Accepted and not yet applied.
    submissions: Vec<Submission>,
    tokens: Tokens,
    documents: Documents,
    feeds: Feeds,
    last_order: u64,
    last_submission: u64,
    /// The next accepted write is never applied.
    forgets_next: bool,
}

impl Market {
    /// A marketplace with a listing for each of `articles`, none of them in stock.
    pub fn new(
        options: MarketOptions,
        audit: Arc<AuditLog>,
        articles: &[Article],
        now: Timestamp,
    ) -> Self {
        let mut state = State::default();
        for article in articles {
            let listing = Listing::new(&article.title, article.price, now);
            state.listings.insert(article.sku.clone(), listing);
            let (sku, price) = (article.sku.clone(), article.price);
            audit.record(&options.name, Fact::Priced { sku, price });
        }
        let quotas = Quotas::new(&options.quotas, audit.clock().monotonic());
        Self {
            options,
            audit,
            state: Mutex::new(state),
            quotas,
            refusals: AtomicU64::new(0),
        }
    }

    /// How it behaves.
    pub fn options(&self) -> &MarketOptions {
        &self.options
    }

    /// Gives an operation another quota from now on.
    pub fn set_quota(&self, operation: &'static str, limit: RateLimit) {
        let now = self.audit.clock().monotonic();
        self.quotas.set(operation, limit, now);
    }

    /// One order.
    pub fn order(&self, id: &str) -> Option<MarketOrder> {
        lock(&self.state).orders.get(id).cloned()
    }

    /// How many of an item it sells; `None` when it has no such listing.
    pub fn quantity(&self, sku: &str) -> Option<i64> {
        let state = lock(&self.state);
        state.listings.get(sku).map(|listing| listing.quantity)
    }

    /// What happens by itself until `now`, by its own clock.
    pub fn advance(&self, now: Timestamp) {
        self.advance_state(&mut lock(&self.state), now);
    }

    fn advance_state(&self, state: &mut State, now: Timestamp) {
        for order in state.orders.values_mut() {
            if order.status == MarketStatus::Pending && order.paid_at <= now {
                order.status = MarketStatus::Unshipped;
                order.is_paid = true;
                let at = order.paid_at;
                self.touch(order, at);
                let order = order.id.clone();
                self.audit
                    .record(&self.options.name, Fact::Uploaded { order });
            }
        }
        self.advance_feeds(state, now);
        self.apply_submissions(state, now);
    }

    /// The order changed at `at`; searches will learn of it.
    fn touch(&self, order: &mut MarketOrder, at: Timestamp) {
        order.updated_at = whole_second(at);
        let number =
            u64::from_le_bytes(first_bytes(&order.id)) ^ at.as_millisecond().cast_unsigned();
        let share = rng_for(self.options.seed, "visible", number).f64();
        order.visible_at = later(at, self.options.visibility_lag.mul_f64(share));
    }

    fn make_order(&self, state: &mut State, basket: &Basket, now: Timestamp) -> MarketOrder {
        state.last_order += 1;
        let number = state.last_order;
        let mut rng = rng_for(self.options.seed, "market order", number);
        let id = format!("902-{number:07}-{:07}", rng.u32(0..10_000_000));
        let lines = basket
            .lines
            .iter()
            .zip(1..)
            .filter_map(|((sku, pieces), n)| {
                let listing = state.listings.get(sku)?;
                let item = format!("{number:010}{n:04}");
                let priced = (listing.price, 0);
                let named = (sku.as_str(), listing.title.as_str());
                Some(PricedLine::new(item, named, *pieces, priced, 0))
            });
        let mut order = MarketOrder {
            id,
            created_at: whole_second(now),
            updated_at: now,
            visible_at: now,
            paid_at: later(now, self.options.pending.mul_f64(rng.f64())),
            is_paid: false,
            buyer: basket.buyer.clone(),
            lines: lines.collect(),
            shipping: PricedShipping::new(basket.shipping),
            status: MarketStatus::Pending,
            packages: Vec::new(),
        };
        self.touch(&mut order, now);
        order
    }
}

impl Outlet for Market {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn offers(&self, now: Timestamp) -> Vec<Offer> {
        let mut state = lock(&self.state);
        self.advance_state(&mut state, now);
        let listings = state.listings.iter();
        let offers = listings.filter(|(_, listing)| listing.buyable && listing.quantity > 0);
        offers
            .map(|(sku, listing)| Offer {
                sku: sku.clone(),
                available: listing.quantity,
            })
            .collect()
    }

    /// There are no coupons here.
    fn place(&self, basket: &Basket, now: Timestamp) -> Result<String, NotForSale> {
        let mut state = lock(&self.state);
        self.advance_state(&mut state, now);
        let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
        for (sku, quantity) in &basket.lines {
            *wanted.entry(sku).or_default() += quantity;
        }
        for (sku, quantity) in &wanted {
            let listing = state.listings.get(*sku);
            let enough = listing.is_some_and(|listing| {
                listing.buyable && listing.quantity >= *quantity && *quantity > 0
            });
            if !enough {
                let sku = (*sku).to_owned();
                return Err(NotForSale { sku });
            }
        }
        let order = self.make_order(&mut state, basket, now);
        for line in &order.lines {
            if let Some(listing) = state.listings.get_mut(&line.sku) {
                listing.quantity -= line.quantity;
            }
        }
        let id = order.id.clone();
        let placed = Fact::Placed {
            order: id.clone(),
            units: order.units(),
            total: order.total(),
        };
        self.audit.record(&self.options.name, placed);
        state.orders.insert(id.clone(), order);
        Ok(id)
    }

    fn call_off(&self, id: &str, now: Timestamp) -> bool {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        self.advance_state(state, now);
        let Some(order) = state.orders.get_mut(id) else {
            return false;
        };
        if !matches!(
            order.status,
            MarketStatus::Pending | MarketStatus::Unshipped
        ) {
            return false;
        }
        order.status = MarketStatus::Cancelled;
        self.touch(order, now);
        for line in &order.lines {
            if let Some(listing) = state.listings.get_mut(&line.sku) {
                listing.quantity += line.quantity;
            }
        }
        let order = id.to_owned();
        self.audit
            .record(&self.options.name, Fact::CalledOff { order });
        true
    }
}

/// The moment as the marketplace writes it.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Eight bytes that depend on nothing but a text.
fn first_bytes(text: &str) -> [u8; 8] {
    let mut bytes = [0; 8];
    blake3::Hasher::new()
        .update(text.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
