//! The network from fixtures: test support for the authors of connectors.
//!
//! `crossdock connector test`, the contract suite and a connector's own tests give a connection a
//! [`Replay`] in place of a [`Client`](super::Client). It answers from exchanges that were recorded or
//! written by hand, refuses what no exchange foresees, and remembers what was asked. A fixture file holds
//! one exchange or a list of them:
//!
//! ```json
//! {
//!   "request":  { "method": "POST", "path": "/orders?notify=false",
//!                 "headers": { "idempotency-key": "*" },
//!                 "body": { "reference": "north:17", "sent_at": "*" } },
//!   "response": { "status": 201, "headers": { "x-left": "39" }, "body": { "id": 7 } },
//!   "times": 1
//! }
//! ```
//!
//! - `path` is everything after the host. Query parameters match in any order.
//! - `headers` that are named must be there; others may be.
//! - `body` as JSON must be equal, key by key, number by number as written; as a string it is compared
//!   as text (forms, XML); absent, it is not looked at; `null`, there must be none.
//! - `"*"` stands for any value of a query parameter, header or JSON field that changes from run to run;
//!   inside a text body, for any stretch of it.
//! - `response.body` as JSON is sent as such with `content-type: application/json`, as a string
//!   unchanged. `status` is 200 when absent.
//! - `times` is how often the exchange may be used, once when absent, 0 for any number.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Feedback, HeaderValue, HttpClient, HttpReply, HttpRequest, matching};
use crate::clock::Clock;
use crate::fault::Fault;

/// One request and the reply to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// What is asked.
    pub request: Expected,
    /// What is answered.
    pub response: Canned,
    /// How often; 0 for any number.
    #[serde(default = "once")]
    pub times: u32,
}

/// What a request must look like. `"*"` is any value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// These must be there; names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Absent: not looked at.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub body: Option<Value>,
}

/// A reply from a fixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canned {
    /// The status code.
    #[serde(default = "ok")]
    pub status: u16,
    /// Names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// JSON, or a text that is sent unchanged.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

fn once() -> u32 {
    1
}

fn ok() -> u16 {
    200
}

/// Tells `null` from absent.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Which exchange may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The next one that is not used up.
    Sequence,
    /// The first one that fits and is not used up.
    Any,
}

/// A request that was made, fit to be shown and stored: secrets are `[secret]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recorded {
    /// `GET`, `POST`, …
    pub method: String,
    /// The whole address.
    pub url: String,
    /// In the order in which they were sent.
    pub headers: Vec<(String, String)>,
    /// JSON where it is JSON, text otherwise.
    pub body: Option<Value>,
    /// Which bucket paid, and how many cells.
    pub bucket: String,
    /// How many cells.
    pub cost: u32,
}

/// A [`HttpClient`] that answers from exchanges.
#[derive(Debug)]
pub struct Replay {
    order: Order,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    exchanges: Vec<Exchange>,
    used: Vec<u32>,
    recorded: Vec<Recorded>,
    feedback: Vec<(String, Feedback)>,
}

impl Replay {
    /// Answers from these.
    pub fn new(exchanges: Vec<Exchange>, order: Order, clock: Arc<dyn Clock>) -> Self {
        let used = vec![0; exchanges.len()];
        let state = State {
            exchanges,
            used,
            recorded: Vec::new(),
            feedback: Vec::new(),
        };
        Self {
            order,
            clock,
            state: Mutex::new(state),
        }
    }

    /// What was asked so far, masked.
    pub fn requests(&self) -> Vec<Recorded> {
        self.lock().recorded.clone()
    }

    /// What was observed so far, with the bucket.
    pub fn feedback(&self) -> Vec<(String, Feedback)> {
        self.lock().feedback.clone()
    }

    /// `method path` of the exchanges that were never used, for a test to refuse. Those with `times: 0`
    /// need not be.
    pub fn unused(&self) -> Vec<String> {
        let state = self.lock();
        (state.exchanges.iter().zip(&state.used))
            .filter(|(exchange, used)| **used < exchange.times)
            .map(|(Exchange { request, .. }, _)| format!("{} {}", request.method, request.path))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HttpClient for Replay {
    /// # Errors
    /// `Bug` with code `fixture` when no exchange foresees the request; the message says what differs.
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let mut state = self.lock();
        state.recorded.push(recorded(&request));
        let canned = state.answer(&request, self.order)?;
        Ok(reply(&canned, self.clock.now()))
    }

    fn observe(&self, bucket: &str, feedback: Feedback) {
        self.lock().feedback.push((bucket.to_owned(), feedback));
    }
}

impl State {
    fn answer(&mut self, request: &HttpRequest, order: Order) -> Result<Canned, Fault> {
        let mut nearest: Option<matching::Difference> = None;
        let candidates = (self.exchanges.iter().zip(&mut self.used))
            .filter(|(exchange, used)| exchange.times == 0 || **used < exchange.times)
            .take(match order {
                Order::Sequence => 1,
                Order::Any => usize::MAX,
            });
        for (exchange, used) in candidates {
            match matching::compare(&exchange.request, request) {
                Ok(()) => {
                    *used += 1;
                    return Ok(exchange.response.clone());
                }
                Err(difference) => {
                    if nearest
                        .as_ref()
                        .is_none_or(|known| difference.depth > known.depth)
                    {
                        nearest = Some(difference);
                    }
                }
            }
        }
        let number = self.recorded.len();
        let shown = super::faults::redact(&request.url);
        let why = match nearest {
            Some(difference) => format!("the nearest exchange differs: {}", difference.what),
            None => "all exchanges are used up".into(),
        };
        let message = format!(
            "no exchange foresees request {number}, {} {shown}: {why}",
            request.method
        );
        Err(Fault::bug("fixture", message))
    }
}

/// The exchanges of a fixture's text: one, or a list.
///
/// # Errors
/// `Config` with `name`, the line and what is wrong.
pub fn parse(name: &str, text: &str) -> Result<Vec<Exchange>, Fault> {
    let refuse =
        |error: serde_json::Error| Fault::config("fixture", format!("fixture {name}: {error}"));
    if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(refuse)
    } else {
        Ok(vec![serde_json::from_str(text).map_err(refuse)?])
    }
}

/// The exchanges of a fixture file, or of all `*.json` files of a folder, in the order of their names.
///
/// # Errors
/// `Config` when something cannot be read or parsed.
pub fn load(path: &Path) -> Result<Vec<Exchange>, Fault> {
    let refuse = |error: std::io::Error| {
        let message = format!("fixture {}: {error}", path.display());
        Fault::config("fixture", message)
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(refuse)?;
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        });
        files.sort();
    }
    let mut exchanges = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(refuse)?;
        exchanges.extend(parse(&file.display().to_string(), &text)?);
    }
    Ok(exchanges)
}

fn reply(canned: &Canned, received_at: jiff::Timestamp) -> HttpReply {
    let mut headers: Vec<(String, String)> = (canned.headers.iter())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    let body = match &canned.body {
        Value::Null => Bytes::new(),
        Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
        json => {
            if !headers.iter().any(|(name, _)| name == "content-type") {
                headers.push(("content-type".into(), "application/json".into()));
            }
            Bytes::from(json.to_string())
        }
    };
    HttpReply {
        status: canned.status,
        headers,
        body,
        received_at,
    }
}

/// What may be kept of a request: secret headers by their type, and by name what carries secrets in
/// queries, forms and JSON (a login asks with them).
fn recorded(request: &HttpRequest) -> Recorded {
    let headers = request.headers.iter().map(|(name, value)| match value {
        HeaderValue::Plain(text) => (name.clone(), text.clone()),
        HeaderValue::Secret(_) => (name.clone(), matching::MASK.to_owned()),
    });
    let (address, query) = match request.url.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (request.url.as_str(), None),
    };
    let url = match query {
        Some(query) => format!("{address}?{}", matching::mask_pairs(query)),
        None => address.to_owned(),
    };
    let body = request.body.as_ref().map(|body| {
        let mut json = serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()));
        matching::mask_json(&mut json);
        json
    });
    Recorded {
        method: request.method.clone(),
        url,
        headers: headers.collect(),
        body,
        bucket: request.bucket.clone(),
        cost: request.cost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::fault::Class;
    use crate::secret::Secret;

    fn replay(fixture: &str, order: Order) -> Replay {
        let clock = ManualClock::at("2026-11-22T00:00:00Z".parse().unwrap());
        Replay::new(parse("test", fixture).unwrap(), order, Arc::new(clock))
    }

    const TWO: &str = r#"[
        {"request": {"method": "GET", "path": "/orders?page=1&key=*"},
         "response": {"body": {"orders": [1.50]}, "headers": {"X-Next": "2"}}},
        {"request": {"method": "POST", "path": "/orders", "headers": {"idempotency-key": "*"},
                     "body": {"reference": "north:17", "sent_at": "*", "lines": [{"qty": 2}]}},
         "response": {"status": 201, "body": "<ok/>"}}
    ]"#;

    fn page() -> HttpRequest {
        HttpRequest::new("GET", "https://shop.example/orders?key=s3cret&page=1")
    }

    fn order(body: &'static str) -> HttpRequest {
        HttpRequest::new("POST", "https://shop.example/orders")
            .header("Idempotency-Key", "abc")
            .body(body)
    }

    const GOOD: &str = r#"{"sent_at": 5, "reference": "north:17", "lines": [{"qty": 2}]}"#;

    #[tokio::test]
    async fn exchanges_answer_in_sequence_or_in_any_order() {
        let replay = replay(TWO, Order::Sequence);
        let fault = replay.send(order(GOOD)).await.unwrap_err();
        assert_eq!(fault.class, Class::Bug);
        let answer = replay.send(page()).await.unwrap();
        assert_eq!((answer.status, answer.header("x-next")), (200, Some("2")));
        assert_eq!(answer.body, r#"{"orders":[1.50]}"#);
        assert_eq!(replay.unused(), ["POST /orders"]);
        let answer = replay.send(order(GOOD)).await.unwrap();
        assert_eq!(
            (answer.status, &answer.body[..]),
            (201, b"<ok/>".as_slice())
        );
        let fault = replay.send(order(GOOD)).await.unwrap_err();
        assert!(fault.message.contains("used up"), "{fault}");
        assert!(replay.unused().is_empty());

        let replay = self::replay(TWO, Order::Any);
        assert!(replay.send(order(GOOD)).await.is_ok());
        assert!(replay.send(page()).await.is_ok());
    }

    #[tokio::test]
    async fn what_differs_is_said() {
        let cases = [
            (
                order(r#"{"sent_at": 5, "reference": "north:17", "lines": [{"qty": 3}]}"#),
                "/lines/0/qty: expected 2, was 3",
            ),
            (
                order(r#"{"sent_at": 5, "reference": "north:17", "lines": [{"qty": 2.0}]}"#),
                "expected 2, was 2.0",
            ),
            (
                order(r#"{"reference": "north:17", "lines": [{"qty": 2}]}"#),
                "/sent_at: missing",
            ),
            (
                order(r#"{"sent_at": 1, "reference": "north:17", "lines": [], "new": 1}"#),
                "/lines: expected 1 elements, was 0",
            ),
            (
                HttpRequest::new("POST", "http://a/orders"),
                "idempotency-key",
            ),
            (HttpRequest::new("PUT", "http://a/orders"), "method"),
            (
                HttpRequest::new("GET", "http://a/orders?page=2&key=1"),
                "page",
            ),
            (
                HttpRequest::new("GET", "http://a/orders?page=1&key=1&x=1"),
                "`x`",
            ),
            (HttpRequest::new("GET", "http://a/items"), "path"),
        ];
        for (request, expect) in cases {
            let fault = replay(TWO, Order::Any).send(request).await.unwrap_err();
            assert!(fault.message.contains(expect), "{fault}");
        }
    }

    #[tokio::test]
    async fn text_bodies_match_with_stars_and_times_count() {
        let fixture = r#"{"request": {"method": "POST", "path": "/token",
                          "body": "grant_type=refresh_token&refresh_token=*&scope=all"},
                          "response": {"body": {"access_token": "a"}}, "times": 0}"#;
        let replay = replay(fixture, Order::Sequence);
        let ask = |body: &'static str| HttpRequest::new("POST", "http://a/token").body(body);
        for _ in 0..3 {
            let body = "grant_type=refresh_token&refresh_token=r&scope=all";
            assert!(replay.send(ask(body)).await.is_ok());
        }
        assert!(
            replay
                .send(ask("grant_type=password&scope=all"))
                .await
                .is_err()
        );
        assert!(replay.unused().is_empty());
    }

    /// Story 55: what a test records is stored and shown, so it holds no secrets.
    #[tokio::test]
    async fn what_is_recorded_is_masked() {
        let replay = replay("[]", Order::Any);
        let secret = HeaderValue::Secret(Secret::new("Bearer s3cret"));
        let mut first = HttpRequest::new("POST", "http://a/x?page=2&api_key=s3cret")
            .body(r#"{"user": "u", "auth": {"password": "s3cret"}, "n": 1}"#);
        first.headers.push(("authorization".into(), secret));
        let second = HttpRequest::new("POST", "http://a/token")
            .body("client_id=7&client_secret=s3cret&refresh_token=s3cret");
        for request in [first, second] {
            assert!(replay.send(request).await.is_err());
        }
        let kept = serde_json::to_string(&replay.requests()).unwrap();
        assert!(!kept.contains("s3cret"), "{kept}");
        for shown in ["page=2", "client_id=7", r#""user":"u""#, "[secret]"] {
            assert!(kept.contains(shown), "{kept}");
        }
    }

    #[test]
    fn a_fixture_with_a_slip_is_refused() {
        let fixture = r#"{"request": {"method": "GET", "pth": "/"}, "response": {}}"#;
        let fault = parse("orders.json", fixture).unwrap_err();
        assert_eq!(fault.class, Class::Config);
        assert!(
            fault.message.contains("orders.json: unknown field `pth`"),
            "{fault}"
        );
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("b.json"), TWO).unwrap();
        let one = r#"{"request": {"method": "GET", "path": "/"}, "response": {}}"#;
        std::fs::write(directory.path().join("a.json"), one).unwrap();
        std::fs::write(directory.path().join("README.md"), "no fixture").unwrap();
        let all = load(directory.path()).unwrap();
        assert_eq!((all.len(), &*all[0].request.path), (3, "/"));
        assert!(load(&directory.path().join("c.json")).is_err());
    }
}
