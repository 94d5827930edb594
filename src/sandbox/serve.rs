//! One practice system behind real HTTP: limit, fault, dialect, fault, reply.
//!
//! A dialect is a plain function from [`Call`] to [`Reply`] and knows neither sockets nor faults. A
//! [`Station`] puts the limit and the faults around it; [`Station::exchange`] says how the exchange
//! ended, and whoever carries it (the HTTP server here, an in-process client in a simulation) makes
//! that ending real.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit::{AuditLog, Fact, lock};
use super::faults::{FaultKind, FaultPlan, Injector};
use super::wire::{Cut, Wire};
use crate::clock::{Clock, Timestamp, earlier, later};

/// The largest body that a practice system takes.
const MAX_BODY_BYTES: usize = 4 << 20;

/// A request as a dialect sees it.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// `GET`, `POST`, ….
    pub method: String,
    /// Without its query: `/orders/17`.
    pub path: String,
    /// Decoded; the last one of a name counts.
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// As it came.
    pub body: Bytes,
}

impl Call {
    /// A request from its parts; `target` is a path with an optional query.
    pub fn new(method: &str, target: &str, body: impl Into<Bytes>) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            headers: BTreeMap::new(),
            body: body.into(),
        }
    }

    /// The same request with one more header; `name` in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The parts of the path, decoded.
    pub fn segments(&self) -> Vec<String> {
        self.path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| {
                percent_encoding::percent_decode_str(part)
                    .decode_utf8_lossy()
                    .into_owned()
            })
            .collect()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// 400, when it is none.
    pub fn json(&self) -> Result<Value, Reply> {
        serde_json::from_slice(&self.body)
            .map_err(|_| Reply::error(400, "bad_json", "the body is not JSON"))
    }

    /// The body as a type of the dialect.
    ///
    /// # Errors
    /// 422, naming the field.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, Reply> {
        let json = self.json()?;
        serde_path_to_error::deserialize(json).map_err(|error| {
            let message = format!("field `{}`: {}", error.path(), error.inner());
            Reply::error(422, "bad_field", message)
        })
    }

    /// A moment from the query.
    ///
    /// # Errors
    /// 400, when it is there and none.
    pub fn moment(&self, name: &str) -> Result<Option<Timestamp>, Reply> {
        let Some(text) = self.query.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            Reply::error(
                400,
                "bad_moment",
                format!("`{name}` is not RFC 3339 with an offset"),
            )
        })
    }

    /// A whole number from the query.
    ///
    /// # Errors
    /// 400, when it is there and none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Reply> {
        let Some(text) = self.query.get(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| Reply::error(400, "bad_number", format!("`{name}` is not a number")))
    }

    /// A list from the query, comma-separated; `None` when it is not there.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let text = self.query.get(name)?;
        let parts = text.split(',').filter(|part| !part.is_empty());
        Some(parts.map(str::to_owned).collect())
    }

    /// How many rows are wanted: `limit`, from 1 to `max`.
    ///
    /// # Errors
    /// 400, when it is none.
    pub fn limit(&self, max: usize) -> Result<usize, Reply> {
        let wanted = self.number("limit")?.unwrap_or(max as u64);
        Ok(usize::try_from(wanted).unwrap_or(max).clamp(1, max))
    }
}

/// A reply as a dialect gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it goes out.
    pub body: Bytes,
}

impl Reply {
    /// A reply with JSON in it.
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: Bytes::from(body.to_string()),
        }
    }

    /// 200 with JSON in it.
    pub fn ok(body: &Value) -> Self {
        Self::json(200, body)
    }

    /// `{"error": {"code", "message"}}`.
    pub fn error(status: u16, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::json(
            status,
            &json!({ "error": { "code": code, "message": message } }),
        )
    }

    /// There is no such address.
    pub fn no_route() -> Self {
        Self::error(404, "no_such_route", "no such address or method")
    }

    /// The same reply with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The body as JSON; null when it is none.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// A practice system: its dialect and what faults need from it.
pub trait System: Send + Sync + Debug {
    /// Its name, which is its connection's name too.
    fn name(&self) -> &str;

    /// Answers one request. `now` is the system's own clock, which may be wrong.
    fn answer(&self, call: &Call, now: Timestamp) -> Reply;

    /// Forgets all tokens; says whether there were any.
    fn expire_tokens(&self) -> bool {
        false
    }

    /// Changes rows that somebody may be paging through; says whether there were any.
    fn shift_rows(&self, now: Timestamp) -> bool {
        let _ = now;
        false
    }

    /// How it refuses a request that it did not look at.
    fn refuse(&self, status: u16, code: &str, message: &str) -> Reply {
        Reply::error(status, code, message)
    }

    /// Lets something go wrong that follows from this request and that its reply does not show; says
    /// whether the kind is one that can happen to it.
    fn mishap(&self, kind: FaultKind, call: &Call) -> bool {
        let _ = (kind, call);
        false
    }
}

/// So many requests a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Requests a second, on the average.
    pub per_second: f64,
    /// Requests at once.
    pub burst: f64,
}

/// Requests that may be made at the moment.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: RateLimit,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// A full one; `now` is the monotonic clock.
    pub(super) fn new(limit: RateLimit, now: Duration) -> Self {
        Self {
            limit,
            tokens: limit.burst,
            at: now,
        }
    }

    /// Requests a second.
    pub(super) fn rate(&self) -> f64 {
        self.limit.per_second
    }

    /// Takes one request, or says how long to wait for it.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let gained = now.saturating_sub(self.at).as_secs_f64() * self.limit.per_second;
        self.tokens = (self.tokens + gained).min(self.limit.burst);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64(
            (1.0 - self.tokens) / self.limit.per_second,
        ))
    }
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The caller gets the whole reply.
    Whole(Reply),
    /// The caller gets half of it and a reset.
    Half(Reply),
    /// The caller gets nothing; the connection is closed.
    Nothing,
}

/// A practice system with its limit and its faults.
#[derive(Debug)]
pub struct Station {
    system: Arc<dyn System>,
    audit: Arc<AuditLog>,
    /// What goes wrong.
    pub faults: Injector,
    bucket: Option<Mutex<Bucket>>,
}

impl Station {
    /// Puts limit and faults around a system.
    pub fn new(
        system: Arc<dyn System>,
        audit: Arc<AuditLog>,
        plan: FaultPlan,
        limit: Option<RateLimit>,
    ) -> Arc<Self> {
        let bucket = limit.map(|limit| {
            let now = audit.clock().monotonic();
            Mutex::new(Bucket::new(limit, now))
        });
        let faults = Injector::new(system.name(), plan);
        Arc::new(Self {
            system,
            audit,
            faults,
            bucket,
        })
    }

    /// The system's name.
    pub fn name(&self) -> &str {
        self.system.name()
    }

    /// What the system takes for the present time.
    pub fn now(&self) -> Timestamp {
        shown_time(
            self.audit.clock().as_ref(),
            self.faults.plan().clock_skew_secs,
        )
    }

    /// One request from arrival to its end.
    pub async fn exchange(&self, call: &Call) -> Ending {
        self.audit.count_request(self.name());
        let now = self.audit.clock().monotonic();
        if let Some(reply) = self.over_limit() {
            return Ending::Whole(self.dated(reply));
        }
        let Some(kind) = self.faults.decide(&call.method, &call.path, now) else {
            return Ending::Whole(self.answer(call));
        };
        let did_happen = match kind {
            FaultKind::TokenExpiry => self.system.expire_tokens(),
            FaultKind::PageShift => self.system.shift_rows(self.now()),
            FaultKind::Unapplied | FaultKind::FeedStuck | FaultKind::FeedFails => {
                self.system.mishap(kind, call)
            }
            _ => true,
        };
        if !did_happen {
            return Ending::Whole(self.answer(call));
        }
        let earlier_ones = self.faults.count(kind);
        self.audit.record(
            self.name(),
            Fact::Faulted {
                kind,
                method: call.method.clone(),
                path: call.path.clone(),
            },
        );
        self.suffer(kind, earlier_ones, call).await
    }

    async fn suffer(&self, kind: FaultKind, earlier_ones: u64, call: &Call) -> Ending {
        let wait = self.faults.plan().retry_after.as_secs_f64().ceil();
        let reply = match kind {
            FaultKind::Throttle => {
                let reply = self.system.refuse(429, "too_many_requests", "slow down");
                if earlier_ones.is_multiple_of(2) {
                    reply.header("retry-after", format!("{wait}"))
                } else {
                    reply
                }
            }
            FaultKind::Error500 => self.system.refuse(500, "internal", "something broke"),
            FaultKind::Unavailable503 => self
                .system
                .refuse(503, "maintenance", "come back later")
                .header("retry-after", format!("{wait}")),
            FaultKind::Html => Reply {
                status: 200,
                headers: vec![("content-type".into(), "text/html; charset=utf-8".into())],
                body: Bytes::from_static(
                    b"<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>",
                ),
            },
            FaultKind::LateError500 => {
                self.answer(call);
                self.system
                    .refuse(500, "internal", "something broke after your request")
            }
            FaultKind::Cut => return Ending::Half(self.answer(call)),
            FaultKind::AcceptThenDrop => {
                self.answer(call);
                return Ending::Nothing;
            }
            FaultKind::Slow => {
                self.audit.clock().sleep(self.faults.delay()).await;
                return Ending::Whole(self.answer(call));
            }
            FaultKind::TokenExpiry
            | FaultKind::PageShift
            | FaultKind::Unapplied
            | FaultKind::FeedStuck
            | FaultKind::FeedFails => {
                return Ending::Whole(self.answer(call));
            }
        };
        Ending::Whole(self.dated(reply))
    }

    fn over_limit(&self) -> Option<Reply> {
        let now = self.audit.clock().monotonic();
        let wait = lock(self.bucket.as_ref()?).take(now).err()?;
        // An honest limiter says how long; whole seconds, rounded up.
        let seconds = wait.as_secs_f64().ceil().max(1.0);
        let reply = Reply::error(429, "rate_limit", "the request limit is used up");
        Some(reply.header("retry-after", format!("{seconds}")))
    }

    fn answer(&self, call: &Call) -> Reply {
        self.dated(self.system.answer(call, self.now()))
    }

    fn dated(&self, reply: Reply) -> Reply {
        let date = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        reply.header("date", date)
    }
}

fn shown_time(clock: &dyn Clock, skew_secs: i64) -> Timestamp {
    let by = Duration::from_secs(skew_secs.unsigned_abs());
    if skew_secs < 0 {
        earlier(clock.now(), by)
    } else {
        later(clock.now(), by)
    }
}

/// Listens on loopback and answers until `stop`; returns the address.
///
/// # Errors
/// When no port can be had.
pub(super) async fn listen(
    station: Arc<Station>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> io::Result<String> {
    let clock = Arc::clone(station.audit.clock());
    let wire = Wire::bind(clock).await?;
    let url = wire.url()?;
    let service = Router::new()
        .fallback(carry)
        .with_state(station)
        .into_make_service_with_connect_info::<Cut>();
    let server = axum::serve(wire, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    tasks.spawn(async move {
        // It ends only by `stop`; accepting never fails for good (see `Wire`).
        let _ = server.await;
    });
    Ok(url)
}

/// Carries one request over HTTP and makes its ending real on the socket.
async fn carry(
    State(station): State<Arc<Station>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return to_http(Reply::error(413, "too_large", "the body is too large"));
    };
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut call = Call::new(parts.method.as_str(), target, body);
    for (name, value) in &parts.headers {
        if let Ok(value) = value.to_str() {
            call.headers
                .insert(name.as_str().to_owned(), value.to_owned());
        }
    }
    match station.exchange(&call).await {
        Ending::Whole(reply) => to_http(reply),
        Ending::Half(reply) => {
            // The head of a reply is longer than 40 bytes, so this is always less than the whole.
            cut.reset_after(40 + reply.body.len() / 2);
            to_http(reply)
        }
        Ending::Nothing => {
            cut.close();
            to_http(Reply::error(500, "never_seen", "nobody will read this"))
        }
    }
}

fn to_http(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    response
}
