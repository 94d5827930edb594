//! The part of the ERP's dialect that is read page by page: shipments, stock, items.

use serde_json::{Value, json};

use super::api::euros;
use super::{ErpShipment, State};
use crate::clock::Timestamp;
use crate::sandbox::basket::CURRENCY;
use crate::sandbox::paging::page;
use crate::sandbox::serve::{Call, Reply};

/// The largest page of shipments and items.
const PAGE: usize = 50;
/// The largest page of stock.
const STOCK_PAGE: usize = 100;

pub(super) fn list_shipments(state: &State, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
    if let Some(ids) = call.list("ids") {
        let found = ids
            .iter()
            .filter_map(|id| state.shipments.get(&id.parse().ok()?));
        let found: Vec<Value> = found
            .map(|shipment| shipment_json(state, shipment))
            .collect();
        return Ok(Reply::ok(
            &json!({ "shipments": found, "next": null, "as_of": now }),
        ));
    }
    let key = |row: &ErpShipment| (row.shipped_at, row.id);
    let (rows, next) = page(call, "since", PAGE, state.shipments.values(), key)?;
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|row| shipment_json(state, row))
        .collect();
    Ok(Reply::ok(
        &json!({ "shipments": rows, "next": next, "as_of": now }),
    ))
}

pub(super) fn list_stock(state: &State, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
    let rows = state.items.values();
    let (rows, next) = match call.list("skus") {
        Some(skus) => (
            rows.filter(|row| skus.contains(&row.sku)).collect(),
            Value::Null,
        ),
        None => page(call, "changed_since", STOCK_PAGE, rows, |row| {
            (row.stock_changed_at, row.sku.clone())
        })?,
    };
    let rows = rows.into_iter().map(|row| {
        json!({
            "sku": row.sku,
            "warehouse": "MAIN",
            "on_hand": row.on_hand.to_string(),
            "changed_at": row.stock_changed_at,
        })
    });
    let rows: Vec<Value> = rows.collect();
    Ok(Reply::ok(
        &json!({ "stock": rows, "next": next, "as_of": now }),
    ))
}

pub(super) fn list_items(state: &State, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
    let rows = state.items.values();
    let (rows, next) = match call.list("skus") {
        Some(skus) => (
            rows.filter(|row| skus.contains(&row.sku)).collect(),
            Value::Null,
        ),
        None => page(call, "changed_since", PAGE, rows, |row| {
            (row.changed_at, row.id)
        })?,
    };
    let rows = rows.into_iter().map(|row| {
        json!({
            "id": row.id.to_string(),
            "sku": row.sku,
            "name": row.name,
            "list_price": euros(row.price),
            "currency": CURRENCY,
            "tax_rate": row.tax_rate.to_string(),
            "weight_g": row.weight_g,
            "active": row.active,
            "changed_at": row.changed_at,
        })
    });
    let rows: Vec<Value> = rows.collect();
    Ok(Reply::ok(
        &json!({ "items": rows, "next": next, "as_of": now }),
    ))
}

fn shipment_json(state: &State, shipment: &ErpShipment) -> Value {
    let order = state.orders.get(&shipment.order);
    let line_json = |(id, pieces): &(String, i64)| {
        let sku = order.and_then(|order| order.lines.iter().find(|line| line.id == *id));
        json!({
            "order_line": id,
            "sku": sku.map(|line| &line.sku),
            "quantity": pieces.to_string(),
        })
    };
    let parcels = shipment.boxes.iter().map(|each| {
        let contents: Vec<Value> = each.lines.iter().map(line_json).collect();
        json!({ "tracking": each.tracking, "contents": contents })
    });
    let lines = shipment.boxes.iter().flat_map(|each| &each.lines);
    let (code, name) = &shipment.carrier;
    json!({
        "id": shipment.id.to_string(),
        "number": format!("SH{:05}", shipment.id),
        "order": shipment.order.to_string(),
        "order_reference": order.map(|order| &order.reference),
        "shipped_at": shipment.shipped_at,
        "carrier": { "code": code, "name": name },
        "parcels": parcels.collect::<Vec<Value>>(),
        "lines": lines.map(line_json).collect::<Vec<Value>>(),
    })
}
