//! The ERP's dialect, without a network.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::sandbox::catalog::articles;
use crate::sandbox::serve::{Call, Reply, System};

const LOGIN: &str = "Basic Y3Jvc3Nkb2NrOnByYWN0aWNl";

struct Desk {
    erp: Erp,
    now: Timestamp,
}

impl Desk {
    fn new(unique_reference: bool, warn_every: u64) -> Self {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let options = ErpOptions {
            name: "erp".into(),
            unique_reference,
            warn_every,
        };
        let audit = AuditLog::new(Arc::new(ManualClock::at(now)));
        let erp = Erp::new(options, audit, &articles(1, 20), now);
        Self { erp, now }
    }

    fn send(&self, method: &str, target: &str, body: &Value) -> Reply {
        let call = Call::new(method, target, body.to_string());
        self.erp
            .answer(&call.with_header("authorization", LOGIN), self.now)
    }

    fn done(&self, method: &str, target: &str, body: &Value) -> Value {
        let reply = self.send(method, target, body);
        assert!(
            reply.status < 300,
            "{method} {target}: {} {}",
            reply.status,
            reply.value()
        );
        reply.value()
    }

    /// Party, address and draft; the draft's id.
    fn draft(&self, reference: &str, total: &str) -> String {
        let party = self.done("POST", "/parties", &json!({ "name": "Zoë" }))["id"].clone();
        let party = party.as_str().unwrap();
        let address = json!({
            "name": "Zoë", "street": "Prager Straße 7", "city": "Dresden",
            "postal_code": "01067", "country": "DE",
        });
        let address = self.done("POST", &format!("/parties/{party}/addresses"), &address);
        let order = self.order(reference, party, &address["id"], total);
        self.done("POST", "/orders", &order)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn order(&self, reference: &str, party: &str, address: &Value, total: &str) -> Value {
        json!({
            "reference": reference, "party": party, "address": address, "placed_at": self.now,
            "currency": "EUR", "shipping": "4.90", "total": total,
        })
    }

    fn on_hand(&self, sku: &str) -> i64 {
        self.erp
            .items()
            .into_iter()
            .find(|item| item.sku == sku)
            .unwrap()
            .on_hand
    }
}

fn lines() -> Value {
    json!([
        { "source_line": "1-1", "sku": "0017", "quantity": "2", "unit_price": "10.00",
          "discount": "1.00", "amount": "19.00" },
        { "sku": "1E5", "quantity": "1", "unit_price": "5.00", "amount": "5.00" },
    ])
}

#[test]
fn an_order_takes_five_calls_and_stock_falls_when_it_leaves() {
    let desk = Desk::new(false, 0);
    let id = desk.draft("north:1001", "28.90");
    let order = desk.done("PUT", &format!("/orders/{id}/lines"), &lines());
    assert_eq!(order["lines"][0]["source_line"], "1-1");
    let order = desk.done("POST", &format!("/orders/{id}/confirm"), &json!({}));
    assert_eq!(order["state"], "confirmed");
    assert_eq!(desk.on_hand("0017"), 40);
    let again = desk.send("POST", &format!("/orders/{id}/confirm"), &json!({}));
    assert_eq!(again.status, 409);

    let found = desk.done("GET", "/orders?reference=north:1001", &Value::Null);
    assert_eq!(found["orders"][0]["id"], json!(id));
    let none = desk.done("GET", "/orders?reference=north:100", &Value::Null);
    assert_eq!(none["orders"], json!([]));

    let carton = |pieces| {
        vec![Carton {
            tracking: Some("DHL1".into()),
            lines: vec![(format!("{id}.1"), pieces)],
        }]
    };
    let number: u64 = id.parse().unwrap();
    assert!(
        !desk.erp.ship(number, ("DHL", "DHL"), carton(3), desk.now),
        "more than ordered"
    );
    assert!(desk.erp.ship(number, ("DHL", "DHL"), carton(2), desk.now));
    assert_eq!(desk.on_hand("0017"), 38);
    let cancel = desk.send("POST", &format!("/orders/{id}/cancel"), &json!({}));
    assert_eq!(cancel.status, 409);
    let shipments = desk.done("GET", "/shipments?since=2026-11-22T10:00:00Z", &Value::Null);
    let shipment = &shipments["shipments"][0];
    assert_eq!(shipment["order"], json!(id));
    assert_eq!(shipment["parcels"][0]["tracking"], "DHL1");
    assert_eq!(shipment["lines"][0]["sku"], "0017");
}

/// Story 21: no idempotency key; who repeats a create without looking has two orders.
#[test]
fn a_reference_comes_twice_unless_the_erp_minds() {
    let desk = Desk::new(false, 0);
    assert_ne!(
        desk.draft("north:1", "28.90"),
        desk.draft("north:1", "28.90")
    );
    let found = desk.done("GET", "/orders?reference=north:1", &Value::Null);
    assert_eq!(found["orders"].as_array().unwrap().len(), 2);

    let desk = Desk::new(true, 0);
    let first = desk.draft("north:1", "28.90");
    let party = desk.done("POST", "/parties", &json!({ "name": "Zoë" }))["id"].clone();
    let address = json!({
        "name": "Zoë", "street": "x", "city": "x", "postal_code": "1", "country": "DE",
    });
    let party = party.as_str().unwrap();
    let address = desk.done("POST", &format!("/parties/{party}/addresses"), &address);
    let again = desk.send(
        "POST",
        "/orders",
        &desk.order("north:1", party, &address["id"], "1"),
    );
    assert_eq!((again.status, &again.value()["id"]), (409, &json!(first)));
}

#[test]
fn a_warning_is_acknowledged_by_its_name() {
    let desk = Desk::new(false, 1);
    let id = desk.draft("north:1", "28.90");
    desk.done("PUT", &format!("/orders/{id}/lines"), &lines());
    let confirm = format!("/orders/{id}/confirm");
    let warned = desk.send("POST", &confirm, &json!({}));
    assert_eq!(
        (warned.status, &warned.value()["error"]["code"]),
        (409, &json!("warning"))
    );
    let warnings = warned.value()["warnings"].clone();
    let to = format!("/orders/{id}/acknowledge");
    desk.done("POST", &to, &json!({ "warnings": ["other"] }));
    assert_eq!(desk.send("POST", &confirm, &json!({})).status, 409);
    desk.done("POST", &to, &json!({ "warnings": warnings }));
    desk.done("POST", &confirm, &json!({}));
}

/// Stories 57 and 63: what does not add up or does not fit is refused, not rounded or cut.
#[test]
fn what_cannot_be_right_is_refused() {
    let desk = Desk::new(false, 0);
    let id = desk.draft("north:1", "28.91");
    let to = format!("/orders/{id}/lines");
    let line = |change: &Value| {
        let mut line = lines()[0].clone();
        for (field, value) in change.as_object().unwrap() {
            line[field] = value.clone();
        }
        json!([line])
    };
    for (change, code) in [
        (json!({ "sku": "nobody" }), "unknown_item"),
        (json!({ "amount": "19.01" }), "bad_amount"),
        (json!({ "quantity": "0.5" }), "bad_quantity"),
        (json!({ "amount": "19.001" }), "finer_than_a_cent"),
        (json!({ "colour": "red" }), "bad_field"),
    ] {
        let reply = desk.send("PUT", &to, &line(&change));
        assert_eq!(
            (reply.status, &reply.value()["error"]["code"]),
            (422, &json!(code))
        );
    }
    desk.done("PUT", &to, &lines());
    let reply = desk.send("POST", &format!("/orders/{id}/confirm"), &json!({}));
    assert_eq!(reply.value()["error"]["code"], "total_mismatch");
    let long = "x".repeat(121);
    assert_eq!(
        desk.send("POST", "/parties", &json!({ "name": long }))
            .status,
        422
    );
    assert_eq!(
        desk.erp
            .answer(&Call::new("GET", "/items", ""), desk.now)
            .status,
        401
    );
}

#[test]
fn what_was_handed_over_leaves_when_it_is_confirmed() {
    let desk = Desk::new(false, 0);
    let party = desk.done("POST", "/parties", &json!({ "name": "Counter" }))["id"].clone();
    let party = party.as_str().unwrap();
    let address = json!({
        "name": "Counter", "street": "x", "city": "x", "postal_code": "1", "country": "DE",
    });
    let address = desk.done("POST", &format!("/parties/{party}/addresses"), &address);
    let mut order = desk.order("pos:T1-1", party, &address["id"], "28.90");
    order["handed_over"] = json!(true);
    let id = desk.done("POST", "/orders", &order)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    desk.done("PUT", &format!("/orders/{id}/lines"), &lines());
    let order = desk.done("POST", &format!("/orders/{id}/confirm"), &json!({}));
    assert_eq!(order["state"], "done");
    assert_eq!(desk.on_hand("0017"), 38);
    let shipments = desk.done("GET", "/shipments", &Value::Null);
    assert_eq!(
        shipments["shipments"][0]["parcels"][0]["tracking"],
        Value::Null
    );
}

#[test]
fn stock_and_items_are_paged_by_value() {
    let desk = Desk::new(false, 0);
    for (path, row) in [("/stock", "stock"), ("/items", "items")] {
        let mut target = format!("{path}?limit=6");
        let mut seen = Vec::new();
        loop {
            let page = desk.done("GET", &target, &Value::Null);
            for one in page[row].as_array().unwrap() {
                seen.push(one["sku"].as_str().unwrap().to_owned());
            }
            let Some(next) = page["next"].as_str() else {
                break;
            };
            target = format!("{path}?limit=6&page={next}");
        }
        assert_eq!(seen.len(), 20, "{path}");
        let one = desk.done("GET", &format!("{path}?skus=0017"), &Value::Null);
        assert_eq!(one[row].as_array().unwrap().len(), 1);
    }
}
