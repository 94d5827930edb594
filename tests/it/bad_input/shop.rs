//! A webstore that speaks Vendure's dialect as far as orders go, and is rude on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::post;
use crossdock::clock::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How it answers questions about orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As Vendure does.
    Right,
    /// With a page for people, and status 200.
    Html,
    /// With half of the answer.
    Cut,
    /// With status 200 and an error inside.
    ErrorInside,
    /// With 200 MB.
    Huge,
    /// With JSON that has no list in it.
    NoList,
    /// With the same page again and again, and always more to come.
    Endless,
    /// It does not let us in.
    WrongPassword,
}

#[derive(Debug)]
struct Inner {
    mood: Mutex<Mood>,
    orders: Mutex<Vec<Value>>,
    requests: AtomicUsize,
    logins: AtomicUsize,
    huge: AtomicUsize,
}

/// A webstore on loopback; it ends when it is dropped. axum adds its clock to every reply.
#[derive(Debug)]
pub struct BadShop {
    /// Where it listens.
    pub url: String,
    inner: Arc<Inner>,
    _serving: JoinSet<std::io::Result<()>>,
}

impl BadShop {
    pub async fn start(mood: Mood) -> Self {
        let inner = Arc::new(Inner {
            mood: Mutex::new(mood),
            orders: Mutex::default(),
            requests: AtomicUsize::new(0),
            logins: AtomicUsize::new(0),
            huge: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/admin-api", post(answer))
            .with_state(Arc::clone(&inner));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            inner,
            _serving: serving,
        }
    }

    pub fn be(&self, mood: Mood) {
        *self.inner.mood.lock().unwrap() = mood;
    }

    pub fn put(&self, orders: Vec<Value>) {
        *self.inner.orders.lock().unwrap() = orders;
    }

    pub fn add(&self, order: Value) {
        self.inner.orders.lock().unwrap().push(order);
    }

    pub fn requests(&self) -> usize {
        self.inner.requests.load(Ordering::Relaxed)
    }

    pub fn logins(&self) -> usize {
        self.inner.logins.load(Ordering::Relaxed)
    }

    pub fn huge_bytes_sent(&self) -> usize {
        self.inner.huge.load(Ordering::Relaxed)
    }
}

async fn answer(State(shop): State<Arc<Inner>>, body: Bytes) -> Response<Body> {
    shop.requests.fetch_add(1, Ordering::Relaxed);
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let query = asked["query"].as_str().unwrap_or_default();
    let mood = *shop.mood.lock().unwrap();
    if query.contains("login(") {
        shop.logins.fetch_add(1, Ordering::Relaxed);
        let told = if mood == Mood::WrongPassword {
            json!({ "__typename": "InvalidCredentialsError", "errorCode": "INVALID_CREDENTIALS_ERROR" })
        } else {
            json!({ "__typename": "CurrentUser" })
        };
        return json_reply(&json!({ "data": { "result": told } }));
    }
    if !query.contains("orders(options") {
        return json_reply(&json!({ "data": {
            "activeAdministrator": { "emailAddress": "clerk@example.com" },
            "activeChannel": { "code": "default" },
        } }));
    }
    orders(&shop, mood, &asked["variables"]["options"])
}

fn orders(shop: &Arc<Inner>, mood: Mood, options: &Value) -> Response<Body> {
    let all = shop.orders.lock().unwrap().clone();
    let listed = |items: &[Value], total: usize| json!({ "data": { "orders": { "totalItems": total, "items": items } } });
    match mood {
        Mood::Right | Mood::WrongPassword => {
            let wanted = options.pointer("/filter/id/in").and_then(Value::as_array);
            let items: Vec<Value> = if let Some(ids) = wanted {
                all.into_iter().filter(|o| ids.contains(&o["id"])).collect()
            } else {
                let skip = options["skip"].as_u64().unwrap_or(0);
                let skip = usize::try_from(skip).unwrap();
                all.into_iter().skip(skip).collect()
            };
            let total = shop.orders.lock().unwrap().len();
            json_reply(&listed(&items, total))
        }
        Mood::Html => Response::builder()
            .header("content-type", "text/html")
            .body("<html><body>Down for maintenance</body></html>".into())
            .unwrap(),
        Mood::Cut => {
            let whole = listed(&all, all.len()).to_string();
            let half = Bytes::from(whole.as_bytes()[..whole.len() / 2].to_vec());
            let broken = std::io::Error::other("the cable was cut");
            let parts = futures_util::stream::iter([Ok(half), Err(broken)]);
            reply(Body::from_stream(parts))
        }
        Mood::ErrorInside => json_reply(&json!({
            "errors": [{ "message": "boom", "extensions": { "code": "INTERNAL_SERVER_ERROR" } }],
            "data": null,
        })),
        Mood::NoList => json_reply(&json!({ "data": { "orders": null } })),
        Mood::Huge => {
            let shop = Arc::clone(shop);
            let chunks = (0..200).map(move |_| {
                shop.huge.fetch_add(1 << 20, Ordering::Relaxed);
                Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1 << 20]))
            });
            reply(Body::from_stream(futures_util::stream::iter(chunks)))
        }
        Mood::Endless => json_reply(&listed(&all, 1_000_000)),
    }
}

fn json_reply(body: &Value) -> Response<Body> {
    reply(body.to_string().into())
}

fn reply(body: Body) -> Response<Body> {
    Response::builder()
        .status(StatusCode::OK)
        .header("content-type", "application/json")
        .header("vendure-auth-token", "session-1")
        .body(body)
        .unwrap()
}

/// One order of one piece for 11.90, shipped for 4.90, as Vendure writes it.
pub fn order(id: &str, sku: &str, now: Timestamp) -> Value {
    json!({
        "id": id, "code": format!("ORDER-{id}"), "state": "PaymentSettled",
        "orderPlacedAt": now.to_string(), "updatedAt": now.to_string(),
        "currencyCode": "EUR", "couponCodes": [], "channels": [{ "pricesIncludeTax": true }],
        "customer": { "id": id, "firstName": "Nora", "lastName": "Neumann",
            "emailAddress": "nora@example.com", "phoneNumber": null },
        "shippingAddress": { "fullName": "Nora Neumann", "company": null,
            "streetLine1": "Hafenstraße 1", "streetLine2": null, "city": "Köln", "province": null,
            "postalCode": "50667", "countryCode": "DE", "phoneNumber": null },
        "billingAddress": null,
        "lines": [{ "id": format!("{id}0"), "quantity": 1, "orderPlacedQuantity": 1, "taxRate": 19,
            "productVariant": { "sku": sku, "name": "An item" },
            "unitPrice": 1000, "unitPriceWithTax": 1190,
            "proratedLinePrice": 1000, "proratedLinePriceWithTax": 1190,
            "discounts": [], "taxLines": [{ "description": "VAT 19%" }], "fulfillmentLines": [] }],
        "shippingLines": [{ "shippingMethod": { "code": "flat", "name": "Parcel" },
            "discountedPrice": 412, "discountedPriceWithTax": 490 }],
        "surcharges": [], "discounts": [],
        "taxSummary": [
            { "description": "VAT 19%", "taxRate": 19, "taxBase": 1000, "taxTotal": 190 },
            { "description": "shipping tax", "taxRate": 19, "taxBase": 412, "taxTotal": 78 },
        ],
        "subTotal": 1000, "shipping": 412, "total": 1412, "totalWithTax": 1680,
        "payments": [{ "id": id, "createdAt": now.to_string(), "method": "dummy", "amount": 1680,
            "state": "Settled", "transactionId": "t", "refunds": [] }],
    })
}
