//! The dialogue with suppliers: purchase order (850), acknowledgement (855), receipt (861), invoice
//! (810) and their three-way match.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{Address, Currency, ExtRef, Money, Percent, Presence, Quantity, Sku};

/// Why it is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseKind {
    /// For our own shelves.
    #[default]
    Stock,
    /// Sent straight to our customer.
    Dropship,
    /// The supplier's until it is sold.
    Consignment,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseStatus {
    /// Not sent.
    #[default]
    Draft,
    /// Sent.
    Issued,
    /// Answered.
    Acknowledged,
    /// Some arrived.
    PartiallyReceived,
    /// All arrived.
    Received,
    /// Done.
    Closed,
    /// Called off.
    Cancelled,
}

/// What a supplier answers to a line: X12 855 ACK01 or UNCL 4343 in our words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckCode {
    /// As ordered.
    Accepted,
    /// With another quantity, price or date.
    AcceptedChanged,
    /// Later.
    Backordered,
    /// No.
    Rejected,
    /// Something else instead.
    Substituted,
    /// Not decided.
    OnHold,
}

/// One answer of a supplier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// What it says.
    pub code: AckCode,
    /// For how many.
    pub quantity: Quantity,
    /// For when.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub date: Presence<Date>,
    /// Why.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub reason: Presence<String>,
    /// What instead.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub substitute: Presence<Sku>,
}

/// One line of a purchase order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseLine {
    /// Its number.
    pub line_no: u32,
    /// Of which item.
    pub sku: Sku,
    /// As the supplier calls it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub supplier_sku: Presence<String>,
    /// How many.
    pub quantity: Quantity,
    /// What one costs.
    pub unit_cost: Money,
    /// When it is wanted.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub requested_date: Presence<Date>,
    /// What the supplier answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acks: Vec<Acknowledgement>,
    /// How many were promised.
    #[serde(default)]
    pub qty_acknowledged: Quantity,
    /// How many left.
    #[serde(default)]
    pub qty_shipped: Quantity,
    /// How many arrived.
    #[serde(default)]
    pub qty_received: Quantity,
    /// How many were billed.
    #[serde(default)]
    pub qty_invoiced: Quantity,
}

/// What was ordered from a supplier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseOrder {
    /// The source's id.
    pub id: String,
    /// Its number.
    pub number: String,
    /// Other ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ExtRef>,
    /// Why it is bought.
    #[serde(default)]
    pub kind: PurchaseKind,
    /// When it was sent.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub issued_at: Presence<Timestamp>,
    /// The currency of all amounts here.
    pub currency: Currency,
    /// From whom.
    pub supplier: String,
    /// Where to.
    #[serde(default)]
    pub ship_to: Address,
    /// How far it is.
    #[serde(default)]
    pub status: PurchaseStatus,
    /// Counts the changes after it was sent.
    #[serde(default)]
    pub change_seq: u32,
    /// The sales order that it is for.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub dropship_order: Presence<String>,
    /// What.
    pub lines: Vec<PurchaseLine>,
}

/// One line of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLine {
    /// The source's id: its effect on stock counts once per id.
    pub id: String,
    /// Of which purchase line.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub po_line: Presence<u32>,
    /// Of which item.
    pub sku: Sku,
    /// Good ones.
    pub qty_received: Quantity,
    /// Bad ones.
    #[serde(default)]
    pub qty_rejected: Quantity,
    /// Why they are bad.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub reason: Presence<String>,
}

/// What arrived from a supplier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The source's id.
    pub id: String,
    /// Of which purchase order.
    pub purchase_order: String,
    /// When.
    pub received_at: Timestamp,
    /// Where.
    pub location: String,
    /// What.
    pub lines: Vec<ReceiptLine>,
}

/// Bill or credit note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceKind {
    /// UBL 380.
    Invoice,
    /// UBL 381.
    CreditNote,
    /// Written by the buyer.
    SelfBilled,
}

/// To whom or from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceDirection {
    /// To a customer.
    Sales,
    /// From a supplier.
    Purchase,
}

/// One line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLine {
    /// Its number.
    pub line_no: u32,
    /// Of which order or purchase line.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub order_line: Presence<String>,
    /// Of which item.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub sku: Presence<Sku>,
    /// As a person reads it.
    pub description: String,
    /// How many.
    pub quantity: Quantity,
    /// What one costs, without tax.
    pub unit_price: Money,
    /// Percent: 19 is 19 %.
    pub tax_rate: Percent,
    /// The whole line, without tax.
    pub line_net: Money,
}

/// Tax of one category and rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxSummary {
    /// UNCL 5305.
    pub category: String,
    /// Percent: 19 is 19 %.
    pub rate: Percent,
    /// On how much.
    pub taxable: Money,
    /// How much.
    pub amount: Money,
}

/// UBL's `LegalMonetaryTotal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceTotals {
    /// Sum of the lines.
    pub lines_net: Money,
    /// Without tax.
    pub tax_exclusive: Money,
    /// All taxes.
    pub tax: Money,
    /// With tax.
    pub tax_inclusive: Money,
    /// Already paid.
    pub prepaid: Money,
    /// `PayableRoundingAmount`.
    pub rounding: Money,
    /// To be paid.
    pub payable: Money,
}

/// A bill or credit note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// The source's id.
    pub id: String,
    /// Its number.
    pub number: String,
    /// Bill or credit note.
    pub kind: InvoiceKind,
    /// To whom or from whom.
    pub direction: InvoiceDirection,
    /// Orders, despatches and receipts it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ExtRef>,
    /// Its date.
    pub issue_date: Date,
    /// When it must be paid.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub due_date: Presence<Date>,
    /// The currency of all amounts here.
    pub currency: Currency,
    /// What.
    pub lines: Vec<InvoiceLine>,
    /// Tax per rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tax_summary: Vec<TaxSummary>,
    /// What it adds up to.
    pub totals: InvoiceTotals,
}

/// What three documents say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchVerdict {
    /// The same.
    Match,
    /// Close enough.
    WithinTolerance,
    /// A person must look.
    Hold,
}

/// One purchase line as order, receipt and invoice see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchLine {
    /// Of which item.
    pub sku: Sku,
    /// How many were ordered.
    pub ordered: Quantity,
    /// How many were promised.
    pub acknowledged: Quantity,
    /// How many arrived.
    pub received: Quantity,
    /// How many were billed.
    pub invoiced: Quantity,
    /// The price that was agreed.
    pub price_ordered: Money,
    /// The price that was billed.
    pub price_invoiced: Money,
    /// What follows.
    pub verdict: MatchVerdict,
}
