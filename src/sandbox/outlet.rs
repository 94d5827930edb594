//! Where shoppers buy: what webstores and marketplaces have in common for a buyer.

use super::basket::Basket;
use crate::clock::Timestamp;

/// Something that is for sale at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which item.
    pub sku: String,
    /// How many pieces.
    pub available: i64,
}

/// Why somebody did not get what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotForSale {
    /// Which item: unknown, not on sale, or not enough of it.
    pub sku: String,
}

/// A channel with buyers. Every `now` is the channel's own clock.
pub trait Outlet {
    /// Its name.
    fn name(&self) -> &str;

    /// Everything that is for sale, by SKU.
    fn offers(&self, now: Timestamp) -> Vec<Offer>;

    /// A buyer checks out; returns the order's id.
    ///
    /// # Errors
    /// [`NotForSale`], and nothing happened.
    fn place(&self, basket: &Basket, now: Timestamp) -> Result<String, NotForSale>;

    /// A buyer calls an order off; `false` when something left already or it is not there.
    fn call_off(&self, id: &str, now: Timestamp) -> bool;
}
