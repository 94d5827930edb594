//! A practice ERP: parties, orders that take several calls, one warehouse, shipments, items.
//!
//! # Its stock
//! `on_hand` is what is physically in the warehouse: it falls when goods leave, not when an order is
//! confirmed. It takes any order for an item that it knows, also for goods that are not there; whoever
//! sells too much finds out when the clerk stands before an empty shelf.
//!
//! Unless told so it does not mind an order coming twice, as most do not: only somebody who looks for
//! the reference before repeating a create will not double one. The HTTP dialect is in [`api`].

pub mod api;
mod lists;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::audit::{AuditLog, Fact, Units, Why, lock};
use super::catalog::Article;
use crate::clock::Timestamp;

/// How the ERP behaves.
#[derive(Debug, Clone)]
pub struct ErpOptions {
    /// Its name, and its connection's.
    pub name: String,
    /// It refuses a second order with the same reference.
    pub unique_reference: bool,
    /// Every how many orders a warning must be acknowledged to confirm one; 0 for never.
    pub warn_every: u64,
}

/// An item, and how many of it are in the warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErpItem {
    /// The ERP's id.
    pub id: u64,
    /// SKU.
    pub sku: String,
    /// Name.
    pub name: String,
    /// With tax, in cents.
    pub price: i64,
    /// Percent.
    pub tax_rate: i64,
    /// Grams.
    pub weight_g: i64,
    /// On sale.
    pub active: bool,
    /// By the ERP's clock.
    pub changed_at: Timestamp,
    /// In the warehouse.
    pub on_hand: i64,
    /// By the ERP's clock.
    pub stock_changed_at: Timestamp,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErpState {
    /// Being entered.
    Draft,
    /// To be sent.
    Confirmed,
    /// Everything left.
    Done,
    /// Called off.
    Cancelled,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErpLine {
    /// The ERP's id.
    pub id: String,
    /// The channel's id of the line, as it came.
    pub source_line: Option<String>,
    /// Of which item.
    pub sku: String,
    /// Pieces.
    pub quantity: i64,
    /// Pieces that left.
    pub shipped: i64,
    /// With tax, in cents, for all pieces after discount.
    pub amount: i64,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErpOrder {
    /// The ERP's id.
    pub id: u64,
    /// What came with it: `north:1001`.
    pub reference: String,
    /// The channel's number.
    pub channel_number: Option<String>,
    /// Of whom.
    pub party: u64,
    /// Where to.
    pub address: u64,
    /// What.
    pub lines: Vec<ErpLine>,
    /// Shipping with tax, in cents.
    pub shipping: i64,
    /// What the buyer pays, in cents, as it came.
    pub total: i64,
    /// The goods were handed over at a till already.
    pub handed_over: bool,
    /// Warnings that somebody has seen.
    pub acknowledged: Vec<String>,
    /// How far.
    pub state: ErpState,
    /// In true time: for the clerk, who works first in, first out.
    pub confirmed_at: Option<Timestamp>,
}

/// What is in one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carton {
    /// The carrier's number; none when handed over at a till.
    pub tracking: Option<String>,
    /// Line id and pieces.
    pub lines: Vec<(String, i64)>,
}

/// Goods that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErpShipment {
    /// The ERP's id.
    pub id: u64,
    /// Of which order.
    pub order: u64,
    /// The carrier's code and name.
    pub carrier: (String, String),
    /// By the ERP's clock.
    pub shipped_at: Timestamp,
    /// In which boxes.
    pub boxes: Vec<Carton>,
}

/// A practice ERP.
#[derive(Debug)]
pub struct Erp {
    options: ErpOptions,
    audit: Arc<AuditLog>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    items: BTreeMap<String, ErpItem>,
    parties: BTreeMap<u64, Party>,
    addresses: BTreeMap<u64, (u64, api::NewAddress)>,
    orders: BTreeMap<u64, ErpOrder>,
    shipments: BTreeMap<u64, ErpShipment>,
    last_id: u64,
}

#[derive(Debug)]
struct Party {
    name: String,
    code: Option<String>,
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Takes goods off the shelf. The caller has checked that they are there, or they left already.
    fn issue(&mut self, sku: &str, pieces: i64, now: Timestamp) {
        if let Some(item) = self.items.get_mut(sku) {
            item.on_hand -= pieces;
            item.stock_changed_at = now;
        }
    }
}

impl Erp {
    /// An ERP that knows all `articles` and has those in its warehouse that begin there.
    pub fn new(
        options: ErpOptions,
        audit: Arc<AuditLog>,
        articles: &[Article],
        now: Timestamp,
    ) -> Self {
        let mut state = State::default();
        for article in articles {
            let id = state.next_id();
            let item = ErpItem {
                id,
                sku: article.sku.clone(),
                name: article.title.clone(),
                price: article.price,
                tax_rate: article.tax_rate,
                weight_g: article.weight_g,
                active: true,
                changed_at: now,
                on_hand: article.in_warehouse,
                stock_changed_at: now,
            };
            state.items.insert(article.sku.clone(), item);
            let fact = Fact::Supply {
                sku: article.sku.clone(),
                by: article.in_warehouse,
                why: Why::Opening,
            };
            audit.record(&options.name, fact);
            let (sku, price) = (article.sku.clone(), article.price);
            audit.record(&options.name, Fact::Priced { sku, price });
        }
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

    /// All items, by SKU.
    pub fn items(&self) -> Vec<ErpItem> {
        lock(&self.state).items.values().cloned().collect()
    }

    /// All orders, oldest first.
    pub fn orders(&self) -> Vec<ErpOrder> {
        lock(&self.state).orders.values().cloned().collect()
    }

    /// Somebody deletes an order, as nobody should.
    pub fn delete_order(&self, reference: &str) {
        let orders = &mut lock(&self.state).orders;
        orders.retain(|_, order| order.reference != reference);
    }

    /// Somebody enters an order a second time.
    pub fn copy_order(&self, reference: &str) {
        let mut state = lock(&self.state);
        let found = state.orders.values().find(|it| it.reference == reference);
        if let Some(mut copy) = found.cloned() {
            copy.id = state.next_id();
            state.orders.insert(copy.id, copy);
        }
    }

    /// All shipments, oldest first.
    pub fn shipments(&self) -> Vec<ErpShipment> {
        lock(&self.state).shipments.values().cloned().collect()
    }

    /// Goods came in (or, with a number below zero, were counted short).
    pub fn receive(&self, sku: &str, pieces: i64, why: Why, now: Timestamp) {
        let mut state = lock(&self.state);
        state.issue(sku, -pieces, now);
        let sku = sku.to_owned();
        let fact = Fact::Supply {
            sku,
            by: pieces,
            why,
        };
        self.audit.record(self.name(), fact);
    }

    /// A new price, so that there is something to carry to the shops.
    pub fn set_price(&self, sku: &str, price: i64, now: Timestamp) {
        if let Some(item) = lock(&self.state).items.get_mut(sku) {
            item.price = price;
            item.changed_at = now;
            let sku = sku.to_owned();
            self.audit
                .record(&self.options.name, Fact::Priced { sku, price });
        }
    }

    /// The clerk sends goods of an order; `false` when not all of it is open and on the shelf.
    pub fn ship(
        &self,
        order: u64,
        carrier: (&str, &str),
        boxes: Vec<Carton>,
        now: Timestamp,
    ) -> bool {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let Some(wanted) = state.orders.get(&order) else {
            return false;
        };
        if wanted.state != ErpState::Confirmed || !state.can_ship(wanted, &boxes) {
            return false;
        }
        self.ship_unchecked(state, order, carrier, boxes, now);
        true
    }

    fn ship_unchecked(
        &self,
        state: &mut State,
        order: u64,
        carrier: (&str, &str),
        boxes: Vec<Carton>,
        now: Timestamp,
    ) {
        let id = state.next_id();
        let mut units = Vec::new();
        let Some(wanted) = state.orders.get_mut(&order) else {
            return;
        };
        for (line_id, pieces) in boxes.iter().flat_map(|each| &each.lines) {
            if let Some(line) = wanted.lines.iter_mut().find(|line| line.id == *line_id) {
                line.shipped += pieces;
                units.push(Units::new(&line.sku, *pieces));
            }
        }
        if wanted
            .lines
            .iter()
            .all(|line| line.shipped >= line.quantity)
        {
            wanted.state = ErpState::Done;
        }
        let reference = wanted.reference.clone();
        for part in &units {
            state.issue(&part.sku, part.quantity, now);
        }
        self.audit.record(
            &self.options.name,
            Fact::Shipped {
                shipment: id.to_string(),
                id: order.to_string(),
                reference,
                tracking: boxes
                    .iter()
                    .filter_map(|each| each.tracking.clone())
                    .collect(),
                units,
            },
        );
        let shipment = ErpShipment {
            id,
            order,
            carrier: (carrier.0.to_owned(), carrier.1.to_owned()),
            shipped_at: now,
            boxes,
        };
        state.shipments.insert(id, shipment);
    }

    /// Somebody edits the first items: rows on an early page move to the end.
    fn touch_items(&self, now: Timestamp) -> bool {
        let mut state = lock(&self.state);
        for item in state.items.values_mut().take(3) {
            item.changed_at = now;
            item.stock_changed_at = now;
        }
        !state.items.is_empty()
    }
}

impl State {
    fn can_ship(&self, order: &ErpOrder, boxes: &[Carton]) -> bool {
        let mut by_line: BTreeMap<&str, i64> = BTreeMap::new();
        for (line, pieces) in boxes.iter().flat_map(|each| &each.lines) {
            *by_line.entry(line).or_default() += pieces;
        }
        let mut by_sku: BTreeMap<&str, i64> = BTreeMap::new();
        for (id, pieces) in by_line {
            let line = order.lines.iter().find(|line| line.id == id);
            let Some(line) = line.filter(|line| line.quantity - line.shipped >= pieces) else {
                return false;
            };
            *by_sku.entry(&line.sku).or_default() += pieces;
        }
        let on_hand = |sku: &str| self.items.get(sku).map_or(0, |item| item.on_hand);
        !by_sku.is_empty() && by_sku.iter().all(|(sku, pieces)| on_hand(sku) >= *pieces)
    }
}
