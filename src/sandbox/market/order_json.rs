//! An order as the orders API of 2026-01-01 shows it.
//!
//! Only the parts that `includedData` asks for are there. An order that is not paid has neither
//! prices nor buyer nor address, whatever is asked.

use serde_json::{Value, json};

use super::{MarketOptions, MarketOrder, MarketStatus, Package};
use crate::sandbox::basket::{CURRENCY, PricedLine};

/// The names that `includedData` may have.
pub(super) const DATASETS: [&str; 11] = [
    "BUYER",
    "RECIPIENT",
    "PROCEEDS",
    "EXPENSE",
    "PROMOTION",
    "CANCELLATION",
    "FULFILLMENT",
    "PACKAGES",
    "TAX",
    "PAYMENT",
    "FULFILLMENT_ORDERS",
];

pub(super) fn order(order: &MarketOrder, datasets: &[String], options: &MarketOptions) -> Value {
    let wants = |name: &str| datasets.iter().any(|wanted| wanted == name);
    let is_paid = order.is_paid;
    let items = order.lines.iter().zip(0..);
    let items = items.map(|(line, n)| item(order, line, n == 0, datasets, is_paid));
    let mut body = json!({
        "orderId": order.id,
        "createdTime": order.created_at,
        "lastUpdatedTime": order.updated_at,
        "programs": [],
        "salesChannel": {
            "channelName": "AMAZON",
            "marketplaceId": options.marketplace_id,
            "marketplaceName": "Amazon.de",
        },
        "orderItems": items.collect::<Vec<Value>>(),
    });
    if wants("FULFILLMENT") {
        body["fulfillment"] = json!({
            "fulfillmentStatus": order.status,
            "fulfilledBy": "MERCHANT",
            "fulfillmentServiceLevel": "STANDARD",
        });
    }
    if wants("PACKAGES") && !order.packages.is_empty() {
        body["packages"] = order.packages.iter().map(package).collect();
    }
    if !is_paid {
        return body;
    }
    if wants("BUYER") {
        body["buyer"] = json!({
            "buyerName": order.buyer.name,
            "buyerEmail": order.buyer.email,
        });
        if let Some(company) = &order.buyer.company {
            body["buyer"]["buyerCompanyName"] = json!(company);
        }
    }
    if wants("RECIPIENT") {
        body["recipient"] = json!({ "deliveryAddress": address(order) });
    }
    if wants("PROCEEDS") {
        let goods = order.lines.iter().map(|line| line.gross).sum();
        let mut parts = vec![part("ITEM", goods)];
        if order.shipping.gross > 0 {
            parts.push(part("SHIPPING", order.shipping.gross));
        }
        body["proceeds"] = json!({ "grandTotal": money(order.total()), "breakdowns": parts });
    }
    if wants("PAYMENT") {
        body["payment"] = json!({ "paymentExecutions": [
            { "paymentMethod": "CreditCard", "paymentAmount": money(order.total()) },
        ] });
    }
    body
}

fn item(
    order: &MarketOrder,
    line: &PricedLine,
    is_first: bool,
    datasets: &[String],
    is_paid: bool,
) -> Value {
    let wants = |name: &str| datasets.iter().any(|wanted| wanted == name);
    let mut body = json!({
        "orderItemId": line.id,
        "quantityOrdered": line.quantity,
        "product": {
            "asin": asin(&line.sku),
            "title": line.title,
            "sellerSku": line.sku,
            "condition": { "conditionType": "NEW", "conditionSubtype": "NEW" },
        },
    });
    if is_paid {
        body["product"]["price"] = json!({ "unitPrice": money(line.unit_price) });
    }
    if is_paid && wants("PROCEEDS") {
        // Shipping is part of what the items bring; here all of it with the first one.
        let shipping = if is_first { order.shipping.gross } else { 0 };
        let mut parts = vec![part("ITEM", line.gross)];
        if shipping > 0 {
            parts.push(part("SHIPPING", shipping));
        }
        body["proceeds"] = json!({
            "proceedsTotal": money(line.gross + shipping),
            "breakdowns": parts,
        });
    }
    if wants("FULFILLMENT") {
        let shipped = order.shipped(&line.id);
        let open = if order.status == MarketStatus::Cancelled {
            0
        } else {
            line.quantity - shipped
        };
        body["fulfillment"] = json!({ "quantityFulfilled": shipped, "quantityUnfulfilled": open });
    }
    if wants("CANCELLATION") && order.status == MarketStatus::Cancelled {
        body["cancellation"] = json!({
            "cancellationExecution": { "cancelledBy": "BUYER", "cancelReason": "NO_LONGER_NEEDED" },
        });
    }
    body
}

/// Where the goods go.
pub(super) fn address(order: &MarketOrder) -> Value {
    let buyer = &order.buyer;
    let mut address = json!({
        "name": buyer.name,
        "addressLine1": buyer.street,
        "city": buyer.city,
        "postalCode": buyer.postal_code,
        "countryCode": buyer.country,
        "addressType": "RESIDENTIAL",
    });
    for (name, value) in [("companyName", &buyer.company), ("phone", &buyer.phone)] {
        if let Some(value) = value {
            address[name] = json!(value);
        }
    }
    address
}

fn package(package: &Package) -> Value {
    let items = package.items.iter();
    let items = items.map(|(item, pieces)| json!({ "orderItemId": item, "quantity": pieces }));
    json!({
        "packageReferenceId": package.reference,
        "createdTime": package.told_at,
        "packageStatus": { "status": "SHIPPED" },
        "carrier": package.carrier,
        "shipTime": package.shipped_at,
        "trackingNumber": package.tracking,
        "packageItems": items.collect::<Vec<Value>>(),
    })
}

fn part(kind: &str, cents: i64) -> Value {
    json!({ "type": kind, "subtotal": money(cents) })
}

/// `19.99` from cents.
pub(super) fn number(cents: i64) -> Value {
    let text = decimal(cents);
    serde_json::from_str(&text).unwrap_or_default()
}

fn decimal(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

pub(super) fn money(cents: i64) -> Value {
    json!({ "amount": decimal(cents), "currencyCode": CURRENCY })
}

/// The marketplace's own id of an item.
pub(super) fn asin(sku: &str) -> String {
    let [a, b, c, d, ..] = super::first_bytes(sku);
    format!("B0{:08X}", u32::from_be_bytes([a, b, c, d]))
}
