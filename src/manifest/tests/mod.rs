//! What the engine promises whatever a manifest says.

mod account;
mod loading;
mod parts;
mod reading;
mod signing;
mod tokens;
mod webhooks;
mod writing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::load;
use crate::clock::{Clock, ManualClock};
use crate::connector::{Connection, Connector, Context, Window};
use crate::fault::Fault;
use crate::record::Stream;
use crate::transport::http::{Feedback, HeaderValue, HttpClient, HttpReply, HttpRequest};

/// By moment, two rows a page.
const BY_MOMENT: &str = r#"
[stream.stock]
evidence = "sandbox"
[stream.stock.read]
poll_secs = 60
page_size = 2
records = "reply.json.rows"
id = "{string(item.id)}"
cursor.watermark = { field = "item.at", settle_lag_secs = 10, overlap_secs = 60 }
request = { path = "/stock", body = "{page}" }
map = { sku = "{item.sku}", on_hand = "{item.left}" }
"#;

/// What every manifest of these tests begins with.
const HEAD: &str = r#"
version = 1
[connector]
name = "toy"
summary = "a toy"
[settings.url]
type = "url"
required = true
doc = "where it is"
[settings.password]
type = "secret"
doc = "proof"
[http]
base = "{settings.url}"
"#;

/// A platform: a function of its request's path and body, with a clock of its own.
type Answers = Box<dyn FnMut(&str, &Json) -> Result<(u16, Json), Fault> + Send>;

/// A client that is answered by a function.
struct Toy {
    clock: ManualClock,
    answers: Mutex<Answers>,
    asked: Mutex<Vec<(String, Json)>>,
    /// The secret headers of the last request.
    proof: Mutex<Vec<(String, String)>>,
}

impl std::fmt::Debug for Toy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Toy")
    }
}

impl Toy {
    fn new(
        answers: impl FnMut(&str, &Json) -> Result<(u16, Json), Fault> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock: ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap()),
            answers: Mutex::new(Box::new(answers)),
            asked: Mutex::default(),
            proof: Mutex::default(),
        })
    }

    /// A connection to it, with what the manifest says behind [`HEAD`].
    fn open(self: &Arc<Self>, manifest: &str) -> Connection {
        let text = format!("{HEAD}{manifest}");
        let connector = load("toy.toml", &text).unwrap_or_else(|findings| panic!("{findings}"));
        self.open_with(&connector)
    }

    fn open_with(self: &Arc<Self>, connector: &dyn Connector) -> Connection {
        self.open_within(connector, BTreeMap::new())
    }

    fn open_within(
        self: &Arc<Self>,
        connector: &dyn Connector,
        windows: BTreeMap<Stream, Window>,
    ) -> Connection {
        let settings = toml::from_str("url = \"http://toy.test\"\npassword = \"hunter2\"").unwrap();
        let context = Context {
            name: "toy".into(),
            clock: Arc::new(self.clock.clone()),
            http: Arc::clone(self) as _,
            tokens: Arc::default(),
            files: crate::connector::FileLimits::default(),
            windows,
        };
        let configured = connector.configure(&settings).unwrap();
        configured.open(context).unwrap()
    }

    /// The paths that were asked.
    fn paths(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|(path, _)| path.clone())
            .collect()
    }
}

#[async_trait]
impl HttpClient for Toy {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let body = request
            .body
            .as_deref()
            .map_or(Json::Null, |body| serde_json::from_slice(body).unwrap());
        let path = request.url.trim_start_matches("http://toy.test").to_owned();
        self.asked
            .lock()
            .unwrap()
            .push((path.clone(), body.clone()));
        *self.proof.lock().unwrap() = request
            .headers
            .iter()
            .filter_map(|(name, value)| match value {
                HeaderValue::Secret(value) => Some((name.clone(), value.expose().to_owned())),
                HeaderValue::Plain(_) => None,
            })
            .collect();
        // Others may run while it is on its way.
        tokio::task::yield_now().await;
        let (status, json) = (self.answers.lock().unwrap())(&path, &body)?;
        let date =
            jiff::fmt::rfc2822::to_string(&self.clock.now().to_zoned(jiff::tz::TimeZone::UTC));
        let mut headers = vec![("date".to_owned(), date.unwrap())];
        if let Some(wait) = json.get("wait") {
            headers.push(("retry-after".to_owned(), wait.to_string()));
        }
        Ok(HttpReply {
            status,
            headers,
            body: Bytes::from(json.to_string()),
            received_at: self.clock.now(),
        })
    }

    fn observe(&self, _bucket: &str, _feedback: Feedback) {}
}

/// Rows `{ id, at, sku, left }` as a stock stream reads them.
fn row(id: u64, at: &str) -> Json {
    json!({ "id": id, "at": at, "sku": format!("SKU-{id}"), "left": 1 })
}
