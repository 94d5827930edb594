//! Shipments: what left for the buyer, in which parcels, with which tracking numbers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Address, Dimensions, ExtRef, Money, Presence, Quantity, Sku, Window};
use crate::fault::Fault;

/// Who carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Carrier {
    /// Standard Carrier Alpha Code, where known.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub scac: Presence<String>,
    /// The source's code.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub code: Presence<String>,
    /// As a person reads it.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub name: Presence<String>,
}

/// Where a parcel is. Karrio's list.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TrackingStatus {
    /// The carrier does not know it.
    #[default]
    Unknown,
    /// Announced.
    Pending,
    /// The carrier has it.
    PickedUp,
    /// Under way.
    InTransit,
    /// Today.
    OutForDelivery,
    /// In a shop or locker.
    ReadyForPickup,
    /// Arrived.
    Delivered,
    /// Nobody there, wrong address.
    DeliveryFailed,
    /// Late.
    DeliveryDelayed,
    /// Stopped.
    OnHold,
    /// On its way back.
    ReturnToSender,
    /// Will not be sent.
    Cancelled,
}

/// Something that happened to a parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackingEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub status: TrackingStatus,
    /// `carrier_*`, `retailer_*`, `consignee_*`, `customs_*`, `weather_*`.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub reason: Presence<String>,
    /// As the carrier says it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub description: Presence<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub location: Presence<String>,
}

/// How much of one order line is in a shipment or parcel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShipmentLine {
    /// The order line's id on the connection of [`Shipment::order`]; matched by SKU when absent.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub order_line: Presence<String>,
    /// Of which item.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// Lot.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub lot: Presence<String>,
    /// Serial numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serials: Vec<String>,
}

/// One parcel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parcel {
    /// The carrier's number.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub tracking_number: Presence<String>,
    /// Where a buyer can look.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub tracking_url: Presence<String>,
    /// Serial shipping container code, 18 digits.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub sscc: Presence<String>,
    /// Grams.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub weight_g: Presence<u32>,
    /// Outer sizes.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub dims_mm: Presence<Dimensions>,
    /// What is in it; unknown when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<ShipmentLine>,
}

/// What left for the buyer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// The source's id.
    pub id: String,
    /// The despatch number that people use.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub number: Presence<String>,
    /// Other ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ExtRef>,
    /// For which order: its id on the connection that this record comes from, and, once it is
    /// delivered elsewhere, on the connection that it goes to.
    pub order: String,
    /// Our reference on that order (`north:17`), where the source shows it: names the order even
    /// before, or after the loss of, the link.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub order_reference: Presence<String>,
    /// From which location.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub ship_from: Presence<String>,
    /// Where to.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub ship_to: Presence<Address>,
    /// Who carries it.
    #[serde(default)]
    pub carrier: Carrier,
    /// The carrier's product.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub service: Presence<String>,
    /// When it left.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub shipped_at: Presence<Timestamp>,
    /// When it should arrive.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub expected_delivery: Presence<Window>,
    /// In which parcels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parcels: Vec<Parcel>,
    /// What is in it; the whole order when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<ShipmentLine>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub cost: Presence<Money>,
    /// Where it is.
    #[serde(default)]
    pub status: TrackingStatus,
    /// What happened to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<TrackingEvent>,
}

impl Shipment {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.order.is_empty() {
            return Err(Fault::reject(
                "shipment_without_order",
                "a shipment names no order",
            ));
        }
        if self.lines.iter().any(|line| !line.quantity.is_positive()) {
            return Err(Fault::reject(
                "bad_quantity",
                "a shipped quantity must be above zero",
            ));
        }
        Ok(())
    }

    /// All tracking numbers, in the order of the parcels.
    pub fn tracking_numbers(&self) -> impl Iterator<Item = &str> {
        self.parcels
            .iter()
            .filter_map(|parcel| parcel.tracking_number.value().map(String::as_str))
    }
}
