//! Orders: what somebody bought, at what price, and how far it got.
//!
//! The source's amounts are authoritative: tax is carried and checked, never computed. A difference
//! between the lines and the total becomes an explicit rounding amount, or the order is held.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Address, Currency, Customer, ExtRef, Money, Percent, Presence, Quantity, Sku};
use crate::fault::Fault;

/// Between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Not before.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub from: Presence<Timestamp>,
    /// Not after.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub to: Presence<Timestamp>,
}

/// Who pays for a discount, collects a tax or fulfils an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The merchant.
    #[default]
    Seller,
    /// The marketplace.
    Channel,
    /// A supplier.
    Supplier,
}

/// Who pays for a discount: a [`Party`].
pub type FundedBy = Party;

/// Money off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discount {
    /// What the buyer typed.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub code: Presence<String>,
    /// As a person reads it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub reason: Presence<String>,
    /// How much off, as a positive amount, in the terms of the line's `prices_include_tax`.
    pub amount: Money,
    /// Who pays for it.
    #[serde(default)]
    pub funded_by: FundedBy,
}

/// Tax of one rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tax {
    /// `S`, `Z`, `E`, `AE` … (UNCL 5305), or what the source calls it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub category: Presence<String>,
    /// Percent: 19 is 19 %.
    pub rate: Percent,
    /// On how much.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub taxable: Presence<Money>,
    /// How much.
    pub amount: Money,
    /// Whose.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub jurisdiction: Presence<String>,
    /// Who remits it (marketplace facilitators do).
    #[serde(default)]
    pub collected_by: Party,
}

/// What a charge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeKind {
    /// Transport.
    Shipping,
    /// Packing.
    Handling,
    /// Cash on delivery.
    Cod,
    /// Gift wrap.
    GiftWrap,
    /// Customs duty.
    Duty,
    /// Tip.
    Tip,
    /// Anything else.
    Other,
}

/// Money on top of the lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// What for.
    pub kind: ChargeKind,
    /// As a person reads it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub title: Presence<String>,
    /// Without tax, after discounts.
    pub net: Money,
    /// With tax, after discounts.
    pub gross: Money,
    /// The taxes on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taxes: Vec<Tax>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The source's id of the line.
    pub line_id: String,
    /// Of which item.
    pub sku: Sku,
    /// What the buyer saw.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub title: Presence<String>,
    /// How many were ordered.
    pub quantity: Quantity,
    /// What one costs before discounts.
    pub unit_price: Money,
    /// Whether `unit_price` and `discounts` include tax.
    pub prices_include_tax: bool,
    /// Money off this line, order-wide discounts allocated to it among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Discount>,
    /// Money on top of this line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<Charge>,
    /// The taxes on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taxes: Vec<Tax>,
    /// The whole line without tax, after discounts.
    pub line_net: Money,
    /// The whole line with tax, after discounts.
    pub line_gross: Money,
    /// How many of `quantity` were cancelled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub qty_cancelled: Quantity,
    /// How many were shipped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub qty_shipped: Quantity,
    /// How many came back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub qty_returned: Quantity,
    /// How many wait for goods.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub qty_backordered: Quantity,
    /// A text for the receiver.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub gift: Presence<String>,
    /// What the buyer wants engraved and the like.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub personalisation: std::collections::BTreeMap<String, String>,
    /// The line of the bundle that it is part of.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub bundle_parent: Presence<String>,
}

fn is_zero(quantity: &Quantity) -> bool {
    *quantity == Quantity::ZERO
}

impl Line {
    /// How many are still to be handed over: ordered less cancelled less shipped, never below zero.
    pub fn qty_open(&self) -> Quantity {
        let left = self
            .quantity
            .minus(self.qty_cancelled)
            .and_then(|q| q.minus(self.qty_shipped));
        left.filter(|q| q.is_positive()).unwrap_or(Quantity::ZERO)
    }
}

/// What kind of payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    /// Reserved.
    Auth,
    /// Taken.
    Capture,
    /// Given back.
    Refund,
    /// Released.
    Void,
}

/// Money that moved. Never card data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The source's id.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub id: Presence<String>,
    /// `paypal`, `invoice`, …
    pub method: String,
    /// What kind.
    pub kind: PaymentKind,
    /// As the source says it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub status: Presence<String>,
    /// How much.
    pub amount: Money,
    /// When.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub at: Presence<Timestamp>,
    /// The processor's id.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub processor_ref: Presence<String>,
    /// Which payout it is in.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub settlement_ref: Presence<String>,
}

/// UBL's `LegalMonetaryTotal`, as the source told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Sum of the lines without tax, after their discounts.
    pub lines_net: Money,
    /// Sum of the charges without tax.
    pub charges_net: Money,
    /// All taxes.
    pub taxes: Money,
    /// Already paid.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub prepaid: Presence<Money>,
    /// What the source itself declares as rounding.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub rounding: Presence<Money>,
    /// What the buyer pays.
    pub grand_total: Money,
}

macro_rules! axis {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { #[default] $($(#[$vdoc])* $variant),* }
    };
}

axis! {
    /// How far the money is.
    PaymentState {
        /// Nothing yet.
        Pending,
        /// Reserved.
        Authorised,
        /// Some taken.
        PartiallyPaid,
        /// All taken.
        Paid,
        /// Some given back.
        PartiallyRefunded,
        /// All given back.
        Refunded,
        /// Released.
        Voided
    }
}
axis! {
    /// How far the goods are. Later states never turn back (story 27).
    FulfilmentState {
        /// Nothing yet.
        Unfulfilled,
        /// Stopped.
        OnHold,
        /// Somebody promised to.
        Accepted,
        /// Some left.
        Partial,
        /// All left.
        Shipped,
        /// All arrived.
        Delivered,
        /// Will not arrive.
        Failed
    }
}
axis! {
    /// Whether it was called off.
    CancellationState {
        /// No.
        None,
        /// Asked for.
        Requested,
        /// Some of it.
        Partial,
        /// All of it.
        Cancelled
    }
}
axis! {
    /// Whether goods come back.
    ReturnState {
        /// No.
        None,
        /// Asked for.
        Requested,
        /// Under way.
        InTransit,
        /// Here.
        Received,
        /// Done.
        Closed
    }
}
axis! {
    /// Whether it was billed.
    InvoiceState {
        /// No.
        None,
        /// Some of it.
        Partial,
        /// All of it.
        Invoiced,
        /// Taken back.
        Credited
    }
}

/// How far an order is, on five axes; "the" status is only a projection of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Axes {
    /// The money.
    pub payment: PaymentState,
    /// The goods.
    pub fulfilment: FulfilmentState,
    /// Called off.
    pub cancellation: CancellationState,
    /// Coming back.
    #[serde(rename = "return")]
    pub returned: ReturnState,
    /// Billed.
    pub invoice: InvoiceState,
}

/// What somebody bought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The source's id.
    pub id: String,
    /// The number that the buyer sees.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub number: Presence<String>,
    /// Other ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ExtRef>,
    /// The sales channel within the source, where it has several.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub channel: Presence<String>,
    /// When the buyer bought. `start_from` is compared to this.
    pub placed_at: Timestamp,
    /// When it last changed, as the source says (a hint, story 12).
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub updated_at: Presence<Timestamp>,
    /// The currency of all amounts here.
    pub currency: Currency,
    /// The currency that the buyer saw, where it differs.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub presentment_currency: Presence<Currency>,
    /// Not a real one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// Who buys.
    pub customer: Customer,
    /// The buyer's own number.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub buyer_po_number: Presence<String>,
    /// Where the goods go.
    pub ship_to: Address,
    /// Where the bill goes; `ship_to` when absent.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub bill_to: Presence<Address>,
    /// When it must leave.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub ship_by: Presence<Window>,
    /// When it must arrive.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub deliver_by: Presence<Window>,
    /// `standard`, `express`, … as the source says it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub service_level: Presence<String>,
    /// Who sends the goods.
    #[serde(default)]
    pub fulfilled_by: Party,
    /// What was bought.
    pub lines: Vec<Line>,
    /// Money on top.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<Charge>,
    /// Order-wide discounts, for information: they are allocated to the lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Discount>,
    /// Taxes of lines and charges, one entry per rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taxes: Vec<Tax>,
    /// Money that moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payments: Vec<Payment>,
    /// What it adds up to, as the source says.
    pub totals: Totals,
    /// How far it is.
    #[serde(default)]
    pub axes: Axes,
    /// What the buyer wrote. Personal data.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub notes: Presence<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Order {
    /// The most lines an order may have; more is a mistake of the source.
    pub const MAX_LINES: usize = 10_000;

    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.lines.is_empty() {
            return Err(Fault::reject(
                "order_without_lines",
                "the order has no lines",
            ));
        }
        if self.lines.len() > Self::MAX_LINES {
            let max = Self::MAX_LINES;
            return Err(Fault::reject(
                "too_many_lines",
                format!("more than {max} lines"),
            ));
        }
        for line in &self.lines {
            if !line.quantity.is_positive() {
                let message = format!("line {}: the quantity must be above zero", line.line_id);
                return Err(Fault::reject("bad_quantity", message));
            }
        }
        self.check_currency()?;
        self.check_total()
    }

    /// Every amount is in the order's currency and none is finer than it allows where it is final
    /// (stories 58 and 59).
    fn check_currency(&self) -> Result<(), Fault> {
        let line_totals = self
            .lines
            .iter()
            .flat_map(|line| [line.line_net, line.line_gross]);
        let charge_totals = self
            .charges
            .iter()
            .flat_map(|charge| [charge.net, charge.gross]);
        let totals = [self.totals.grand_total, self.totals.taxes];
        for money in line_totals.chain(charge_totals).chain(totals) {
            if money.currency != self.currency {
                let (found, want) = (money.currency, self.currency);
                let message = format!("an amount is in {found} although the order is in {want}");
                return Err(Fault::reject("mixed_currencies", message));
            }
            if !money.is_whole_minor() {
                let (currency, digits) = (self.currency, self.currency.minor_digits());
                let message = format!("an amount in {currency} has more than {digits} decimals");
                return Err(Fault::reject("finer_than_minor_unit", message));
            }
        }
        Ok(())
    }

    /// The rounding that makes lines and charges add up to the grand total, if it is within
    /// `tolerance` minor units a line; a larger difference means that something is missing.
    fn check_total(&self) -> Result<(), Fault> {
        let rounding = self.rounding()?;
        let steps = Decimal::from(self.lines.len() + self.charges.len() + 1);
        let minor = Decimal::new(1, self.currency.minor_digits());
        if rounding.amount.abs() > steps * minor {
            let message = format!(
                "lines and charges differ from the grand total by {rounding}: something is missing"
            );
            return Err(Fault::reject("total_mismatch", message));
        }
        Ok(())
    }

    /// Grand total less the gross of all lines and charges.
    ///
    /// # Errors
    /// `Reject` for mixed currencies.
    pub fn rounding(&self) -> Result<Money, Fault> {
        let mut sum = Money::zero(self.currency);
        for line in &self.lines {
            sum = sum.plus(line.line_gross)?;
        }
        for charge in &self.charges {
            sum = sum.plus(charge.gross)?;
        }
        self.totals.grand_total.minus(sum)
    }

    /// Whether nothing is left to be sent: all left, called off or failed.
    pub fn is_settled(&self) -> bool {
        self.is_closed() || self.axes.fulfilment >= FulfilmentState::Shipped
    }

    /// Whether nothing more will happen to it: arrived, called off or failed.
    pub fn is_closed(&self) -> bool {
        self.axes.cancellation == CancellationState::Cancelled
            || matches!(
                self.axes.fulfilment,
                FulfilmentState::Delivered | FulfilmentState::Failed
            )
    }
}
