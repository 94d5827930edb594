//! Returns (goods that come back) and refunds (money that goes back): two separate facts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExtRef, Money, Presence, Quantity, Sku};

/// How far a return is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnStatus {
    /// Asked for.
    #[default]
    Requested,
    /// Allowed.
    Approved,
    /// Under way.
    InTransit,
    /// Here.
    Received,
    /// Looked at.
    Inspected,
    /// Done.
    Closed,
    /// Refused.
    Rejected,
}

/// What becomes of goods that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// For sale again.
    Restock,
    /// Kept, not for sale.
    Damaged,
    /// Thrown away.
    Scrap,
    /// Sent on.
    ReturnToSupplier,
}

/// One line of a return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnLine {
    /// Of which order line.
    pub order_line: String,
    /// Of which item.
    pub sku: Sku,
    /// How many were announced.
    pub quantity_requested: Quantity,
    /// How many arrived.
    #[serde(default)]
    pub quantity_received: Quantity,
    /// What becomes of them.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub disposition: Presence<Disposition>,
    /// What is sent instead.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub exchange_sku: Presence<Sku>,
}

/// Goods that come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// The source's id.
    pub id: String,
    /// Other ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ExtRef>,
    /// Of which order.
    pub order: String,
    /// The number that the buyer writes on the parcel.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub rma_number: Presence<String>,
    /// When it was asked for.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub requested_at: Presence<Timestamp>,
    /// How far it is.
    #[serde(default)]
    pub status: ReturnStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub reason: Presence<String>,
    /// To which location.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub return_to: Presence<String>,
    /// The carrier's number.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub tracking_number: Presence<String>,
    /// What comes back.
    pub lines: Vec<ReturnLine>,
}

/// One line of a refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundLine {
    /// Of which order line.
    pub order_line: String,
    /// For how many, if for pieces.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub quantity: Presence<Quantity>,
    /// How much, tax included.
    pub amount: Money,
}

/// Money that goes back. Never implies that goods came back (restocking is the return's).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The source's id.
    pub id: String,
    /// Of which order.
    pub order: String,
    /// When.
    pub at: Timestamp,
    /// How much in all.
    pub amount: Money,
    /// For what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<RefundLine>,
    /// Part of it that is for shipping and the like.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub charges_refunded: Presence<Money>,
    /// The payment that gave it back.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub payment_ref: Presence<String>,
}
