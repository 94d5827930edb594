//! Stock levels, prices, locations and movements between them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Address, Money, Percent, Presence, Quantity, Sku};
use crate::fault::Fault;

/// Goods that are there but cannot be sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Unavailable {
    /// Broken.
    pub damaged: Quantity,
    /// Held for inspection.
    pub quality: Quantity,
    /// For any other reason.
    pub other: Quantity,
}

/// How much of an item is at one location, as its owner told. Natural key: `sku` and `location`.
///
/// `on_hand`, `reserved` and `available` are the owner's own numbers; which of them it gives, and what
/// they already know of orders, is the connection's declared `stock_basis`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StockLevel {
    /// Of which item.
    pub sku: Sku,
    /// The location's code at the source; `default` where the source has only one.
    #[serde(default = "default_location")]
    pub location: String,
    /// Physically there. Absent is unknown, never zero.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub on_hand: Presence<Quantity>,
    /// Promised to orders (committed, allocated).
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub reserved: Presence<Quantity>,
    /// What the owner says can be sold, where it says so directly.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub available: Presence<Quantity>,
    /// There but not for sale.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub unavailable: Presence<Unavailable>,
    /// On the way from a supplier.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub incoming: Presence<Quantity>,
    /// When it is expected.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub expected_at: Presence<Timestamp>,
    /// Sold without being there.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub backordered: Presence<Quantity>,
    /// An estimate (a table said `in stock` or `>100`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_estimated: bool,
}

fn default_location() -> String {
    "default".to_owned()
}

impl StockLevel {
    /// The level of an item that is told with one number.
    pub fn on_hand(sku: Sku, quantity: Quantity) -> Self {
        Self {
            sku,
            location: default_location(),
            on_hand: Presence::Value(quantity),
            reserved: Presence::Absent,
            available: Presence::Absent,
            unavailable: Presence::Absent,
            incoming: Presence::Absent,
            expected_at: Presence::Absent,
            backordered: Presence::Absent,
            is_estimated: false,
        }
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.on_hand.value().is_none() && self.available.value().is_none() {
            let message = "a stock level without a quantity is unknown, not zero";
            return Err(Fault::reject("unknown_quantity", message));
        }
        Ok(())
    }
}

/// What an item costs in one list. Natural key: `sku`, `list`, `min_qty` and the currency.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Price {
    /// Of which item.
    pub sku: Sku,
    /// In which list; `default` where the source has only one.
    #[serde(default = "default_location")]
    pub list: String,
    /// What one costs.
    pub price: Money,
    /// What it is compared to (a crossed-out price).
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub compare_at: Presence<Money>,
    /// From how many on.
    #[serde(default = "one")]
    pub min_qty: Quantity,
    /// Whether tax is in it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub tax_included: Presence<bool>,
    /// Percent: 19 is 19 %.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub tax_rate: Presence<Percent>,
    /// Valid from, inclusive.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub valid_from: Presence<Timestamp>,
    /// Valid to, exclusive.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub valid_to: Presence<Timestamp>,
}

fn one() -> Quantity {
    Quantity::pieces(1)
}

impl Price {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.price.amount.is_sign_negative() && !self.price.amount.is_zero() {
            return Err(Fault::reject(
                "negative_price",
                "a price must not be negative",
            ));
        }
        Ok(())
    }
}

/// What a location is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocationKind {
    /// Ours, goods only.
    Warehouse,
    /// Ours, with buyers in it.
    Store,
    /// A supplier's.
    Supplier,
    /// A channel's fulfilment centre.
    ChannelFc,
}

/// A place where goods are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// Its code at the source.
    pub code: String,
    /// GS1 global location number.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub gln: Presence<String>,
    /// What it is.
    pub kind: LocationKind,
    /// Where it is.
    #[serde(default)]
    pub address: Address,
    /// IANA time zone.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub tz: Presence<String>,
}

/// One line of a [`Transfer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferLine {
    /// Of which item.
    pub sku: Sku,
    /// To be moved.
    pub quantity: Quantity,
    /// Left the one place.
    #[serde(default)]
    pub shipped: Quantity,
    /// Arrived at the other.
    #[serde(default)]
    pub received: Quantity,
}

/// Stock under way between two locations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The source's id.
    pub id: String,
    /// From which location.
    pub from: String,
    /// To which location.
    pub to: String,
    /// What.
    pub lines: Vec<TransferLine>,
}

/// The rule of a discount; its effect stands on orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// The source's id.
    pub id: String,
    /// What a buyer types, if anything.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub code: Presence<String>,
    /// What it is called.
    pub name: String,
    /// Percent off: 10 is 10 %.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub percent: Presence<Percent>,
    /// Amount off.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub amount: Presence<Money>,
    /// From, inclusive.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub valid_from: Presence<Timestamp>,
    /// To, exclusive.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub valid_to: Presence<Timestamp>,
    /// Which SKUs; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skus: Vec<Sku>,
}
