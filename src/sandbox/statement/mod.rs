//! The statement: what became of every order, every parcel and every piece.
//!
//! It is computed from the practice systems' own log and nothing else. What it claims:
//!
//! - **in the ERP**: each order that was placed and not called off is booked there, once, with the same
//!   pieces and the same total; each one called off is cancelled there or never came.
//! - **tracking**: each parcel that the clerk sent is known to the buyer's webstore, once; a marketplace
//!   takes the cartons of a parcel one by one.
//! - **stock**: each webstore and marketplace offers what the warehouse and the supplier's last file have, less what was
//!   sold on any channel and has not left yet (and never less than nothing).
//! - **prices**: if they are carried, each webstore and marketplace has every item of the ERP at the ERP's price.
//! - **oversold**: see [`oversell`] for what makes one avoidable.

mod compute;
pub mod oversell;
mod render;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

pub use oversell::Oversold;

use super::World;
use super::audit::Entry;
use super::faults::{FaultKind, FaultPlan};

/// How soon the daemon promises to carry news, without faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// How often orders and sales are read.
    pub orders: Duration,
    /// How often the ERP's stock and shipments are read.
    pub stock: Duration,
    /// How often the supplier's folder is looked into.
    pub files: Duration,
    /// How much later than its moment a row may show up.
    pub settle: Duration,
    /// How long a decision and one write take.
    pub write: Duration,
    /// How much longer a marketplace takes to apply a write.
    pub apply: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            orders: Duration::from_secs(1),
            stock: Duration::from_secs(1),
            files: Duration::from_secs(1),
            settle: Duration::from_secs(1),
            write: Duration::from_secs(2),
            apply: Duration::from_secs(1),
        }
    }
}

/// What the statement takes as given.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// How soon news is carried.
    pub reach: Reach,
    /// How many pieces the publish rules hold back.
    pub buffer: i64,
    /// Whether items and prices were to be carried.
    pub carry_items: bool,
    /// Whether there is a marketplace.
    pub market: bool,
    /// What may go wrong at each system, for the allowance of each injected fault.
    pub plans: BTreeMap<String, FaultPlan>,
}

/// A webstore or marketplace that offers another number than it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which of them.
    pub shop: String,
    /// Which item.
    pub sku: String,
    /// What it should offer.
    pub expected: i64,
    /// What it offers.
    pub offered: i64,
}

/// What became of everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Statement {
    /// Orders and sales, by channel.
    pub placed: BTreeMap<String, usize>,
    /// Of those, called off by the buyer before anything was sent.
    pub called_off: usize,
    /// Of those called off, never booked in the ERP, which is right too.
    pub called_off_in_time: usize,
    /// Placed orders that are booked in the ERP, each counted once.
    pub in_erp: usize,
    /// Placed, not called off, and not booked.
    pub lost: Vec<String>,
    /// Booked more than once, with how often.
    pub doubled: BTreeMap<String, usize>,
    /// Booked although nobody placed them.
    pub invented: Vec<String>,
    /// Booked with other pieces or another total.
    pub differing: Vec<String>,
    /// Left behind in the ERP as a draft.
    pub drafts_left: Vec<String>,
    /// Called off by the buyer, still booked in the ERP and not sent.
    pub not_called_off: Vec<String>,
    /// Called off by the buyer while the clerk was packing: sent all the same.
    pub sent_although_called_off: Vec<String>,
    /// Parcels with tracking that the ERP sent for orders of the webstores; cartons for the marketplace's.
    pub parcels: usize,
    /// Of those, known to the buyer's webstore.
    pub tracking_returned: usize,
    /// Not known there.
    pub tracking_missing: Vec<String>,
    /// Known there more than once.
    pub tracking_doubled: Vec<String>,
    /// Known there although nothing of the kind was sent.
    pub tracking_invented: Vec<String>,
    /// How many numbers were compared: items times channels.
    pub stock_compared: usize,
    /// Those that differ.
    pub stock_differences: Vec<Difference>,
    /// How many prices were compared: items times channels, if prices are carried.
    pub prices_compared: usize,
    /// Items that a webstore lacks or sells at another price than the ERP's.
    pub price_differences: Vec<String>,
    /// Pieces sold that were not there, and that a told channel would not have sold.
    pub oversold_avoidable: Vec<Oversold>,
    /// Pieces sold that were not there, before any channel could have been told.
    pub oversold_unavoidable: Vec<Oversold>,
    /// Injected faults, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Requests received, by system.
    pub requests: BTreeMap<String, u64>,
    /// Files dropped by the supplier.
    pub files: usize,
    /// Answers that the supplier found.
    pub answers: usize,
    /// The promise that oversells are judged by.
    pub reach: Reach,
}

impl Statement {
    /// Whether the daemon did its work: nothing lost, doubled, invented, different or missing, and no
    /// piece sold that it could have kept from being sold.
    pub fn holds(&self) -> bool {
        let orders = self.lost.is_empty()
            && self.doubled.is_empty()
            && self.invented.is_empty()
            && self.differing.is_empty()
            && self.drafts_left.is_empty()
            && self.not_called_off.is_empty();
        let tracking = self.tracking_missing.is_empty()
            && self.tracking_doubled.is_empty()
            && self.tracking_invented.is_empty();
        orders
            && tracking
            && self.stock_differences.is_empty()
            && self.price_differences.is_empty()
            && self.oversold_avoidable.is_empty()
    }

    /// How many orders and sales were placed on all channels.
    pub fn placed_in_all(&self) -> usize {
        self.placed.values().sum()
    }

    /// As JSON, for `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        // Maps with text keys, numbers and lists: nothing serde_json refuses.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As a person reads it.
    pub fn to_text(&self) -> String {
        render::text(self)
    }
}

/// What became of everything in a world so far.
pub fn compute(world: &World) -> Statement {
    let options = world.options();
    let terms = Terms {
        reach: options.reach,
        buffer: 0,
        carry_items: options.carry_items,
        market: options.market,
        plans: options.faults.clone(),
    };
    of_log(&world.audit.entries(), world.audit.requests(), &terms)
}

/// What became of everything that a log tells of.
pub fn of_log(entries: &[Entry], requests: BTreeMap<String, u64>, terms: &Terms) -> Statement {
    let mut statement = Statement {
        requests,
        reach: terms.reach,
        ..Statement::default()
    };
    let books = compute::Books::read(entries, terms.market);
    books.orders_into(&mut statement);
    books.tracking_into(&mut statement);
    books.stock_into(&mut statement, terms.buffer);
    if terms.carry_items {
        books.prices_into(&mut statement);
    }
    compute::Books::rest_into(&mut statement, entries);
    oversell::judge_into(&mut statement, entries, terms);
    statement
}
