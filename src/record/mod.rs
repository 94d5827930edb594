//! Canonical records: what a thing is, whichever system it came from. MODEL of the whole product.
//!
//! The terms follow the field: arithmetic as in UBL 2.1, order facts as in Amazon's orders API of
//! 2026-01-01, stock states as Square and Medusa name them, tracking as Karrio does. A record is
//! plain data with a JSON form; mappings and manifests work on that form ([`Record::to_json`],
//! [`Record::from_json`]), decisions on the types.
//!
//! Three things differ everywhere: a field that is *absent* (not told), *null* (told to be empty)
//! and one with a *value*; see [`Presence`]. Money and quantities are exact decimals, never floats.

mod basic;
mod canonical;
mod customer;
mod decimal;
mod fingerprint;
mod item;
mod lane;
mod masked;
mod money;
mod order;
mod part;
mod purchase;
mod returns;
mod shipment;
mod stock;
mod written;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use basic::{Address, AddressKind, ExtRef, Percent, Presence, Quantity, Sku, gtin14};
pub use customer::{Consent, Customer, CustomerKind, TaxId};
pub use fingerprint::Fingerprint;
pub use item::{Alias, Component, Dimensions, Item, ItemKind, ItemStatus, TrackingPolicy};
pub use lane::Lane;
pub use masked::masked;
pub use money::{Currency, Money};
pub use order::{
    Axes, CancellationState, Charge, ChargeKind, Discount, FulfilmentState, FundedBy, InvoiceState,
    Line, Order, Party, Payment, PaymentKind, PaymentState, ReturnState, Tax, Totals, Window,
};
pub use purchase::{
    AckCode, Acknowledgement, Invoice, InvoiceDirection, InvoiceKind, InvoiceLine, InvoiceTotals,
    MatchLine, MatchVerdict, PurchaseKind, PurchaseLine, PurchaseOrder, PurchaseStatus, Receipt,
    ReceiptLine, TaxSummary,
};
pub use returns::{Disposition, Refund, RefundLine, Return, ReturnLine, ReturnStatus};
pub use shipment::{Carrier, Parcel, Shipment, ShipmentLine, TrackingEvent, TrackingStatus};
pub use stock::{
    Location, LocationKind, Price, Promotion, StockLevel, Transfer, TransferLine, Unavailable,
};
pub use written::Written;

use crate::fault::Fault;

/// A kind of thing that a connection can be read for or written to.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Sellable or stockable units, one per SKU.
    Items,
    /// What an item costs in one list.
    Prices,
    /// How much of an item is at one location.
    Stock,
    /// What somebody bought, and that it was cancelled.
    Orders,
    /// What left for the buyer, with tracking.
    Shipments,
    /// Goods that come back.
    Returns,
    /// Money that goes back.
    Refunds,
    /// Who buys.
    Customers,
    /// Rules of discounts.
    Promotions,
    /// What was ordered from a supplier.
    PurchaseOrders,
    /// What arrived from a supplier.
    Receipts,
    /// Bills and credit notes.
    Invoices,
}

/// How changes of a stream are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nature {
    /// Level-triggered: only the newest value counts, a newer one supersedes an older.
    State,
    /// Every one counts: queued, never coalesced, never dropped, in order per key.
    Event,
}

impl Stream {
    /// All streams, in the order in which documentation lists them.
    pub const ALL: [Self; 12] = [
        Self::Items,
        Self::Prices,
        Self::Stock,
        Self::Orders,
        Self::Shipments,
        Self::Returns,
        Self::Refunds,
        Self::Customers,
        Self::Promotions,
        Self::PurchaseOrders,
        Self::Receipts,
        Self::Invoices,
    ];

    /// How changes of this stream are treated.
    pub fn nature(self) -> Nature {
        match self {
            Self::Items | Self::Prices | Self::Stock | Self::Customers | Self::Promotions => {
                Nature::State
            }
            Self::Orders
            | Self::Shipments
            | Self::Returns
            | Self::Refunds
            | Self::PurchaseOrders
            | Self::Receipts
            | Self::Invoices => Nature::Event,
        }
    }

    /// The name in configuration, manifests and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::Prices => "prices",
            Self::Stock => "stock",
            Self::Orders => "orders",
            Self::Shipments => "shipments",
            Self::Returns => "returns",
            Self::Refunds => "refunds",
            Self::Customers => "customers",
            Self::Promotions => "promotions",
            Self::PurchaseOrders => "purchase_orders",
            Self::Receipts => "receipts",
            Self::Invoices => "invoices",
        }
    }

    /// What one thing of this stream is called in a sentence.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Stock => "stock level",
            Self::PurchaseOrders => "purchase order",
            other => other.name().trim_end_matches('s'),
        }
    }

    /// The prefix of our ids for things of this stream.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Self::Items => "itm",
            Self::Prices => "prc",
            Self::Stock => "stk",
            Self::Orders => "ord",
            Self::Shipments => "shp",
            Self::Returns => "ret",
            Self::Refunds => "ref",
            Self::Customers => "cus",
            Self::Promotions => "pro",
            Self::PurchaseOrders => "pur",
            Self::Receipts => "rec",
            Self::Invoices => "inv",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stream {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.name() == name)
            .ok_or(())
    }
}

/// The canonical content of one thing.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// See [`Item`].
    Item(Box<Item>),
    /// See [`Price`].
    Price(Price),
    /// See [`StockLevel`].
    Stock(StockLevel),
    /// See [`Order`].
    Order(Box<Order>),
    /// See [`Shipment`].
    Shipment(Box<Shipment>),
    /// See [`Return`].
    Return(Box<Return>),
    /// See [`Refund`].
    Refund(Box<Refund>),
    /// See [`Customer`].
    Customer(Box<Customer>),
    /// See [`Promotion`].
    Promotion(Box<Promotion>),
    /// See [`PurchaseOrder`].
    PurchaseOrder(Box<PurchaseOrder>),
    /// See [`Receipt`].
    Receipt(Box<Receipt>),
    /// See [`Invoice`].
    Invoice(Box<Invoice>),
}

/// Runs one expression for whichever record it is.
macro_rules! each_record {
    ($record:expr, $inner:ident => $result:expr) => {
        match $record {
            Record::Item($inner) => $result,
            Record::Price($inner) => $result,
            Record::Stock($inner) => $result,
            Record::Order($inner) => $result,
            Record::Shipment($inner) => $result,
            Record::Return($inner) => $result,
            Record::Refund($inner) => $result,
            Record::Customer($inner) => $result,
            Record::Promotion($inner) => $result,
            Record::PurchaseOrder($inner) => $result,
            Record::Receipt($inner) => $result,
            Record::Invoice($inner) => $result,
        }
    };
}

impl Record {
    /// Which stream it belongs to.
    pub fn stream(&self) -> Stream {
        match self {
            Self::Item(_) => Stream::Items,
            Self::Price(_) => Stream::Prices,
            Self::Stock(_) => Stream::Stock,
            Self::Order(_) => Stream::Orders,
            Self::Shipment(_) => Stream::Shipments,
            Self::Return(_) => Stream::Returns,
            Self::Refund(_) => Stream::Refunds,
            Self::Customer(_) => Stream::Customers,
            Self::Promotion(_) => Stream::Promotions,
            Self::PurchaseOrder(_) => Stream::PurchaseOrders,
            Self::Receipt(_) => Stream::Receipts,
            Self::Invoice(_) => Stream::Invoices,
        }
    }

    /// The JSON form, as mappings, manifests and the store see it.
    pub fn to_json(&self) -> Value {
        // Records hold strings, decimals, lists and maps with string keys: nothing serde_json refuses.
        each_record!(self, inner => serde_json::to_value(inner)).unwrap_or(Value::Null)
    }

    /// Of the JSON form these fields, as far as they are there.
    pub fn part(&self, fields: &BTreeSet<Box<str>>) -> Value {
        each_record!(self, inner => part::of(inner, fields)).unwrap_or_else(|_| self.to_json())
    }

    /// The JSON form as text.
    fn to_raw(&self) -> Box<serde_json::value::RawValue> {
        each_record!(self, inner => serde_json::value::to_raw_value(inner)).unwrap_or_default()
    }

    /// How long its JSON form is, in bytes; without making it.
    pub fn json_bytes(&self) -> u64 {
        struct Counter(u64);
        impl std::io::Write for Counter {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len() as u64;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut counter = Counter(0);
        // As above: nothing in it that serde_json refuses.
        let _ = each_record!(self, inner => serde_json::to_writer(&mut counter, inner));
        counter.0
    }

    /// Reads the JSON form of a record of `stream` and checks what a type cannot say.
    ///
    /// # Errors
    /// `Reject` with the code `bad_record`; the message names the field, never its content, since
    /// the content may be personal data.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "for those who have no more use for the document"
    )]
    pub fn from_json(stream: Stream, json: Value) -> Result<Self, Fault> {
        Self::read(stream, &json)
    }

    /// As [`Record::from_json`], of a document that is still needed.
    ///
    /// # Errors
    /// As [`Record::from_json`].
    pub fn read(stream: Stream, json: &Value) -> Result<Self, Fault> {
        // Keeping track of the path costs as much as reading; it is only needed when something is wrong.
        let Ok(record) = Self::parse(stream, json) else {
            return Err(Self::fault(stream, json));
        };
        record.check()?;
        Ok(record)
    }

    /// As [`Record::from_json`], of its text.
    ///
    /// # Errors
    /// As [`Record::from_json`].
    pub fn read_text(stream: Stream, text: &str) -> Result<Self, Fault> {
        let mut reader = serde_json::Deserializer::from_str(text);
        match Self::parse(stream, &mut reader) {
            Ok(record) => record.check().map(|()| record),
            // Of a document the place of what is wrong can be told.
            Err(_) => Self::read(stream, &serde_json::from_str(text).unwrap_or_default()),
        }
    }

    fn parse<'de, D: Deserializer<'de>>(stream: Stream, from: D) -> Result<Self, D::Error> {
        Ok(match stream {
            Stream::Items => Self::Item(Deserialize::deserialize(from)?),
            Stream::Prices => Self::Price(Deserialize::deserialize(from)?),
            Stream::Stock => Self::Stock(Deserialize::deserialize(from)?),
            Stream::Orders => Self::Order(Deserialize::deserialize(from)?),
            Stream::Shipments => Self::Shipment(Deserialize::deserialize(from)?),
            Stream::Returns => Self::Return(Deserialize::deserialize(from)?),
            Stream::Refunds => Self::Refund(Deserialize::deserialize(from)?),
            Stream::Customers => Self::Customer(Deserialize::deserialize(from)?),
            Stream::Promotions => Self::Promotion(Deserialize::deserialize(from)?),
            Stream::PurchaseOrders => Self::PurchaseOrder(Deserialize::deserialize(from)?),
            Stream::Receipts => Self::Receipt(Deserialize::deserialize(from)?),
            Stream::Invoices => Self::Invoice(Deserialize::deserialize(from)?),
        })
    }

    /// What is wrong with a document, and where.
    fn fault(stream: Stream, json: &Value) -> Fault {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(json, &mut track);
        let reason = match Self::parse(stream, tracked) {
            Ok(_) => String::new(),
            Err(error) => without_values(&error.to_string()),
        };
        let path = track.path().to_string();
        Fault::reject(
            "bad_record",
            format!("{}: field `{path}`: {reason}", stream.noun()),
        )
    }

    /// What a type cannot say: an order has lines, quantities are positive, totals add up.
    ///
    /// # Errors
    /// `Reject`, naming the field.
    pub fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Order(order) => order.check(),
            Self::Item(item) => item.check(),
            Self::Stock(level) => level.check(),
            Self::Price(price) => price.check(),
            Self::Shipment(shipment) => shipment.check(),
            _ => Ok(()),
        }
    }

    /// What the record says, in 16 bytes: equal content, equal fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        each_record!(self, inner => Fingerprint::of(inner))
    }

    /// The SKU it is about, for streams keyed by one.
    pub fn sku(&self) -> Option<&Sku> {
        match self {
            Self::Item(item) => Some(&item.sku),
            Self::Price(price) => Some(&price.sku),
            Self::Stock(level) => Some(&level.sku),
            _ => None,
        }
    }
}

/// Serde quotes the offending value (`invalid type: string "Ann"`); a value may be personal data.
fn without_values(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut quoted = false;
    for c in message.chars() {
        if c == '"' {
            quoted = !quoted;
            out.push_str(if quoted { "\"…" } else { "\"" });
        } else if !quoted {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests;
