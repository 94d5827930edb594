//! A webstore that speaks WooCommerce's dialect as far as orders and webhooks go. It tells nothing by itself:
//! the tests send what it would send.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, put};
use crossdock::clock::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What webhooks are signed with.
pub const SECRET: &str = "6b1f0c6b0a5a4f0e9e2a";

#[derive(Debug, Default)]
struct Inner {
    orders: Vec<Value>,
    /// Those that the list does not show, whatever it is asked for.
    hidden: Vec<u64>,
    /// Asking for one of these fails with that status.
    broken: Vec<(u64, u16)>,
    /// Everything fails with that status.
    down: Option<u16>,
    /// The ids of each request by id.
    fetched: Vec<Vec<u64>>,
    listed: usize,
    webhooks: Vec<Value>,
    changed: Vec<(String, Value)>,
}

/// A webstore on loopback; it ends when it is dropped.
#[derive(Debug)]
pub struct WooShop {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
    _serving: JoinSet<std::io::Result<()>>,
}

impl WooShop {
    pub async fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let api = "/wp-json/wc/v3";
        let router = Router::new()
            .route(&format!("{api}/orders"), get(orders))
            .route(&format!("{api}/webhooks"), get(webhooks).post(subscribe))
            .route(&format!("{api}/webhooks/{{id}}"), put(change))
            .with_state(Arc::clone(&inner));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            inner,
            _serving: serving,
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap())
    }

    /// Puts an order, or changes it.
    pub fn put(&self, order: Value) {
        self.with(|inner| {
            inner.orders.retain(|known| known["id"] != order["id"]);
            inner.orders.push(order);
        });
    }

    /// Puts an order that no list shows.
    pub fn hide(&self, order: Value) {
        self.with(|inner| inner.hidden.push(order["id"].as_u64().unwrap()));
        self.put(order);
    }

    pub fn remove(&self, id: u64) {
        self.with(|inner| inner.orders.retain(|known| known["id"] != id));
    }

    pub fn breaks(&self, id: u64, status: u16) {
        self.with(|inner| inner.broken.push((id, status)));
    }

    pub fn mends(&self) {
        self.with(|inner| inner.broken.clear());
    }

    pub fn is_down(&self, status: Option<u16>) {
        self.with(|inner| inner.down = status);
    }

    /// How often an order was asked for by id.
    pub fn fetches(&self, id: u64) -> usize {
        self.with(|inner| inner.fetched.iter().filter(|ids| ids.contains(&id)).count())
    }

    /// How often the list was asked for.
    pub fn lists(&self) -> usize {
        self.with(|inner| inner.listed)
    }

    pub fn webhooks(&self) -> Vec<Value> {
        self.with(|inner| inner.webhooks.clone())
    }

    /// Changes one field of all webhooks of a topic.
    pub fn set_webhook(&self, topic: &str, field: &str, value: &Value) {
        self.with(|inner| {
            let of_topic = |known: &&mut Value| known["topic"] == topic;
            for known in inner.webhooks.iter_mut().filter(of_topic) {
                known[field] = value.clone();
            }
        });
    }

    pub fn forget_webhooks(&self) {
        self.with(|inner| inner.webhooks.clear());
    }

    /// What was asked to be changed: the path and the body.
    pub fn changed(&self) -> Vec<(String, Value)> {
        self.with(|inner| inner.changed.clone())
    }
}

type Shop = State<Arc<Mutex<Inner>>>;

async fn orders(State(shop): Shop, RawQuery(query): RawQuery) -> Response {
    let mut shop = shop.lock().unwrap();
    if let Some(status) = shop.down {
        return broken(status);
    }
    let query = query.unwrap_or_default();
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.replace("%2C", ","))
    };
    let mut rows: Vec<Value> = if let Some(ids) = parameter("include") {
        let ids: Result<Vec<u64>, _> = ids.split(',').map(str::parse).collect();
        let Ok(ids) = ids else {
            let told = json!({ "code": "rest_invalid_param", "message": "Invalid parameter(s): include", "data": { "status": 400 } });
            return (StatusCode::BAD_REQUEST, Json(told)).into_response();
        };
        shop.fetched.push(ids.clone());
        if let Some((_, status)) = shop.broken.iter().find(|(id, _)| ids.contains(id)) {
            return broken(*status);
        }
        let asked = |order: &&Value| ids.iter().any(|id| order["id"] == *id);
        shop.orders.iter().filter(asked).cloned().collect()
    } else {
        shop.listed += 1;
        let since = parameter("modified_after")
            .unwrap_or_default()
            .replace("%3A", ":");
        let statuses = parameter("status").unwrap_or_default();
        let shown = |order: &&Value| {
            !shop.hidden.iter().any(|id| order["id"] == *id)
                && order["date_modified_gmt"].as_str().unwrap() > since.as_str()
                && statuses.split(',').any(|status| order["status"] == status)
        };
        let offset: usize = parameter("offset").map_or(0, |text| text.parse().unwrap());
        shop.orders
            .iter()
            .filter(shown)
            .skip(offset)
            .cloned()
            .collect()
    };
    rows.sort_by_key(|order| order["id"].as_u64());
    let total = rows.len().to_string();
    ([("x-wp-total", total)], Json(Value::from(rows))).into_response()
}

fn broken(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (
        status,
        "<p>There has been a critical error on this website.</p>",
    )
        .into_response()
}

async fn webhooks(State(shop): Shop) -> Json<Value> {
    Json(shop.lock().unwrap().webhooks.clone().into())
}

async fn subscribe(State(shop): Shop, body: Bytes) -> Json<Value> {
    let mut shop = shop.lock().unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let mut made = asked.clone();
    made["id"] = (shop.webhooks.len() + 1).into();
    made.as_object_mut().unwrap().remove("secret");
    shop.webhooks.push(made.clone());
    shop.changed.push(("/webhooks".to_owned(), asked));
    Json(made)
}

async fn change(State(shop): Shop, Path(id): Path<u64>, body: Bytes) -> Json<Value> {
    let mut shop = shop.lock().unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let known = shop
        .webhooks
        .iter_mut()
        .find(|known| known["id"] == id)
        .unwrap();
    known["status"] = asked["status"].clone();
    let known = known.clone();
    shop.changed.push((format!("/webhooks/{id}"), asked));
    Json(known)
}

/// An order of one piece for 11.90 with tax, as the shop writes it.
pub fn order(id: u64, sku: &str, now: Timestamp) -> Value {
    let at = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let person = json!({ "first_name": "Jo", "last_name": "Doe", "company": "", "address_1": "Long Lane 1",
        "address_2": "", "city": "Bonn", "state": "", "postcode": "53111", "country": "DE",
        "email": "jo@example.test", "phone": "" });
    json!({
        "id": id, "number": id.to_string(), "status": "processing", "currency": "EUR",
        "date_created_gmt": at, "date_modified_gmt": at, "date_paid_gmt": at,
        "prices_include_tax": false, "total": "11.90", "total_tax": "1.90", "customer_id": 0,
        "customer_note": "", "billing": person, "shipping": person, "payment_method": "bacs",
        "payment_method_title": "Transfer", "transaction_id": "", "meta_data": [],
        "line_items": [{ "id": id * 10, "name": "An item", "product_id": 93, "variation_id": 0,
            "quantity": 1, "subtotal": "10.00", "subtotal_tax": "1.90", "total": "10.00",
            "total_tax": "1.90", "taxes": [{ "id": 1, "total": "1.90", "subtotal": "1.90" }],
            "sku": sku, "price": 10 }],
        "tax_lines": [{ "id": 1, "rate_id": 1, "label": "VAT", "rate_percent": 19, "tax_total": "1.90",
            "shipping_tax_total": "0.00" }],
        "shipping_lines": [], "fee_lines": [], "coupon_lines": [], "refunds": [],
    })
}
