//! The webstore's dialect, without a network.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::sandbox::catalog::{articles, buyer};
use crate::sandbox::outlet::NotForSale;
use crate::sandbox::serve::{Call, Reply, System};

struct Desk {
    shop: Shop,
    now: Timestamp,
    token: String,
}

impl Desk {
    fn new(idempotency: bool, visibility_lag: Duration) -> Self {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let options = ShopOptions {
            name: "north".into(),
            number_prefix: "N".into(),
            idempotency,
            token_life: Duration::from_mins(1),
            visibility_lag,
            knows_all: false,
            seed: 1,
        };
        let audit = AuditLog::new(Arc::new(ManualClock::at(now)));
        let shop = Shop::new(options, audit, &articles(1, 20), now);
        let mut desk = Self {
            shop,
            now,
            token: String::new(),
        };
        desk.login();
        desk
    }

    fn login(&mut self) {
        let body = r#"{"user":"crossdock","password":"practice"}"#;
        let reply = self
            .shop
            .answer(&Call::new("POST", "/login", body), self.now)
            .value();
        self.token = reply["token"].as_str().unwrap().to_owned();
    }

    fn send(&self, method: &str, target: &str, body: &Value) -> Reply {
        self.send_keyed(method, target, body, "")
    }

    fn send_keyed(&self, method: &str, target: &str, body: &Value, key: &str) -> Reply {
        let mut call = Call::new(method, target, body.to_string())
            .with_header("authorization", &format!("Bearer {}", self.token));
        if !key.is_empty() {
            call = call.with_header("idempotency-key", key);
        }
        self.shop.answer(&call, self.now)
    }

    fn get(&self, target: &str) -> Value {
        let reply = self.send("GET", target, &Value::Null);
        assert_eq!(reply.status, 200, "{target}: {}", reply.value());
        reply.value()
    }

    fn pass(&mut self, millis: u64) {
        self.now = later(self.now, Duration::from_millis(millis));
    }

    fn buy(&self, sku: &str, quantity: i64) -> Result<String, NotForSale> {
        let basket = Basket {
            buyer: buyer(&mut fastrand::Rng::with_seed(1)),
            lines: vec![(sku.to_owned(), quantity)],
            coupon: None,
            shipping: 490,
            note: None,
        };
        self.shop.place(&basket, self.now)
    }
}

fn ids(page: &Value) -> Vec<&str> {
    let orders = page["orders"].as_array().unwrap();
    orders
        .iter()
        .map(|order| order["id"].as_str().unwrap())
        .collect()
}

fn available(desk: &Desk, sku: &str) -> (i64, i64) {
    let product = desk
        .shop
        .products()
        .into_iter()
        .find(|p| p.sku == sku)
        .unwrap();
    (product.on_hand, product.allocated)
}

/// Stories 1 and 4: rows of one moment are told apart by id, and paging goes by value.
#[test]
fn a_page_ends_in_the_middle_of_a_moment_and_nothing_is_skipped() {
    let mut desk = Desk::new(true, Duration::ZERO);
    desk.send("PUT", "/stock", &json!([{ "sku": "0017", "on_hand": 500 }]));
    for n in 0..120 {
        desk.buy("0017", 1).unwrap();
        if n % 40 == 39 {
            desk.pass(1000);
        }
    }
    let mut seen = Vec::new();
    let mut target = format!("/orders?placed_after={}", "2026-11-22T10:00:00Z");
    loop {
        let page = desk.get(&target);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        target = format!("/orders?page={next}");
    }
    let expected: Vec<String> = (1001..=1120).map(|id| id.to_string()).collect();
    assert_eq!(seen, expected);
    let inclusive = desk.get("/orders?placed_after=2026-11-22T10:00:02Z&limit=100");
    assert_eq!(ids(&inclusive).len(), 40);
}

/// Story 2: an order shows up after a later one although its moment is older.
#[test]
fn an_order_may_show_up_late() {
    let mut desk = Desk::new(true, Duration::from_millis(800));
    desk.send("PUT", "/stock", &json!([{ "sku": "0017", "on_hand": 50 }]));
    let mut came_late = false;
    for _ in 0..12 {
        desk.buy("0017", 1).unwrap();
        desk.pass(100);
        let visible: Vec<u64> = ids(&desk.get("/orders"))
            .iter()
            .map(|id| id.parse().unwrap())
            .collect();
        came_late |= visible
            .last()
            .is_some_and(|last| visible.len() as u64 != last - 1000);
    }
    assert!(came_late);
    desk.pass(800);
    assert_eq!(ids(&desk.get("/orders")).len(), 12);
}

/// Story 11: who polls by the moment of placing never sees that an order was called off.
#[test]
fn calling_off_shows_only_by_id() {
    let mut desk = Desk::new(true, Duration::ZERO);
    desk.send("PUT", "/stock", &json!([{ "sku": "0017", "on_hand": 5 }]));
    let order = desk.buy("0017", 2).unwrap();
    desk.pass(1000);
    assert!(desk.shop.call_off(&order, desk.now));
    assert!(!desk.shop.call_off(&order, desk.now), "only once");
    assert_eq!(available(&desk, "0017"), (5, 0));
    assert_eq!(
        ids(&desk.get("/orders?placed_after=2026-11-22T10:00:00.5Z")).len(),
        0
    );
    let by_id = desk.get(&format!("/orders?ids={order},9999"));
    assert_eq!(by_id["orders"][0]["status"], "cancelled");
    assert_eq!(ids(&by_id).len(), 1);
}

/// Story 37: one bad row does not sink its batch.
#[test]
fn a_batch_is_partial() {
    let desk = Desk::new(true, Duration::ZERO);
    let rows = json!([
        { "sku": "0017", "on_hand": 3 },
        { "sku": "nobody", "on_hand": 3 },
        { "sku": "1E5", "on_hand": -1 },
    ]);
    let reply = desk.send("PUT", "/stock", &rows);
    assert_eq!(reply.status, 200);
    let results = reply.value()["results"].clone();
    assert_eq!(
        results[0],
        json!({
            "sku": "0017", "on_hand": 3, "allocated": 0, "available": 3, "ok": true,
        })
    );
    assert_eq!(results[1]["code"], "unknown_sku");
    assert_eq!(results[2]["code"], "bad_quantity");
    let stock = desk.get("/stock?skus=0017,nobody");
    assert_eq!(stock["stock"].as_array().unwrap().len(), 1);
    let reply = desk.send("PUT", "/prices", &json!([{ "sku": "0017", "price": 1234 }]));
    assert_eq!(reply.value()["results"][0]["ok"], true);
    assert_eq!(
        desk.get("/products?skus=0017")["products"][0]["price"],
        1234
    );
}

#[test]
fn a_token_expires_and_a_new_one_is_given() {
    let mut desk = Desk::new(true, Duration::ZERO);
    desk.pass(61_000);
    assert_eq!(desk.send("GET", "/orders", &Value::Null).status, 401);
    desk.login();
    desk.get("/orders");
    assert!(desk.shop.expire_tokens());
    assert_eq!(desk.send("GET", "/orders", &Value::Null).status, 401);
    let wrong = Call::new("POST", "/login", r#"{"user":"crossdock","password":"x"}"#);
    assert_eq!(desk.shop.answer(&wrong, desk.now).status, 401);
}

/// Story 19: the same key twice is one parcel, in a shop that honours keys; two in one that does not.
#[test]
fn idempotency_keys_are_honoured_or_not() {
    for (honours, parcels) in [(true, 1), (false, 2)] {
        let desk = Desk::new(honours, Duration::ZERO);
        desk.send("PUT", "/stock", &json!([{ "sku": "0017", "on_hand": 9 }]));
        let order = desk.buy("0017", 4).unwrap();
        let body = json!({
            "reference": "erp:7", "carrier": "DHL", "tracking_numbers": ["D1"],
            "lines": [{ "sku": "0017", "quantity": 2 }],
        });
        let path = format!("/orders/{order}/fulfilments");
        for _ in 0..2 {
            assert_eq!(desk.send_keyed("POST", &path, &body, "dlv_1").status, 201);
        }
        let there = desk.get(&path)["fulfilments"].as_array().unwrap().len();
        assert_eq!(there, usize::try_from(parcels).unwrap());
        assert_eq!(available(&desk, "0017"), (9 - 2 * parcels, 4 - 2 * parcels));
    }
}

#[test]
fn a_parcel_holds_what_is_open_and_no_more() {
    let desk = Desk::new(false, Duration::ZERO);
    desk.send("PUT", "/stock", &json!([{ "sku": "0017", "on_hand": 9 }]));
    let order = desk.buy("0017", 3).unwrap();
    let path = format!("/orders/{order}/fulfilments");
    let part = |quantity| {
        json!({
            "reference": "erp:7", "carrier": "DHL", "tracking_numbers": ["D1", "D2"],
            "lines": [{ "line_id": format!("{order}-1"), "quantity": quantity }],
        })
    };
    assert_eq!(desk.send("POST", &path, &part(2)).status, 201);
    assert_eq!(desk.send("POST", &path, &part(2)).status, 422);
    assert_eq!(
        desk.get(&format!("/orders/{order}"))["status"],
        "partially_shipped"
    );
    // A tracking number without lines means the rest of the order.
    let rest = json!({ "reference": "erp:8", "carrier": "DHL", "tracking_numbers": ["D3"] });
    assert_eq!(desk.send("POST", &path, &rest).status, 201);
    assert_eq!(desk.get(&format!("/orders/{order}"))["status"], "shipped");
    assert_eq!(desk.send("POST", &path, &rest).status, 422);
    assert!(!desk.shop.call_off(&order, desk.now));

    let other = desk.buy("0017", 1).unwrap();
    desk.shop.call_off(&other, desk.now);
    let path = format!("/orders/{other}/fulfilments");
    assert_eq!(desk.send("POST", &path, &rest).status, 409);
}

/// Story 33: a shop sells only what is on hand and not allocated.
#[test]
fn the_last_piece_is_sold_once() {
    let desk = Desk::new(true, Duration::ZERO);
    assert!(desk.buy("0017", 1).is_err(), "nothing was told yet");
    desk.send("PUT", "/stock", &json!([{ "sku": "0017", "on_hand": 1 }]));
    desk.buy("0017", 1).unwrap();
    assert_eq!(desk.buy("0017", 1).unwrap_err().sku, "0017");
    assert_eq!(available(&desk, "0017"), (1, 1));
}

#[test]
fn a_product_is_created_once_and_changed_by_id() {
    let desk = Desk::new(true, Duration::ZERO);
    let new = json!({ "sku": "FEW-002", "title": "Żyrandol", "price": 1999, "tax_rate": 19 });
    let created = desk.send("POST", "/products", &new);
    assert_eq!(created.status, 201);
    let id = created.value()["id"].as_str().unwrap().to_owned();
    let again = desk.send("POST", "/products", &new);
    assert_eq!((again.status, &again.value()["id"]), (409, &json!(id)));
    let changed = desk.send("PUT", &format!("/products/{id}"), &json!({ "price": 1899 }));
    assert_eq!(changed.value()["price"], 1899);
    assert_eq!(changed.value()["title"], "Żyrandol");
    let odd = desk.send(
        "PUT",
        &format!("/products/{id}"),
        &json!({ "colour": "red" }),
    );
    assert_eq!(odd.status, 422, "an unknown field is not swallowed");
}

/// Story 3: while somebody pages by `updated_at`, rows move to the end.
#[test]
fn a_page_shift_moves_rows() {
    let mut desk = Desk::new(true, Duration::ZERO);
    let first = desk.get("/products?limit=5");
    desk.pass(1000);
    assert!(desk.shop.shift_rows(desk.now));
    let next = first["next"].as_str().unwrap();
    let rest = desk.get(&format!("/products?page={next}"));
    let skus = |page: &Value| -> Vec<Value> {
        page["products"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["sku"].clone())
            .collect()
    };
    let seen: Vec<Value> = [skus(&first), skus(&rest)].concat();
    let all = desk.shop.products();
    assert!(
        seen.len() > all.len(),
        "two rows are seen twice, none is missed"
    );
    assert!(all.iter().all(|product| seen.contains(&json!(product.sku))));
}
