//! The amazon connector and the vendor's own descriptions: every example decodes, and every request is made so
//! that `tests/conformance/run` can hold it against them.
//!
//! The descriptions are not part of the package; where they are missing, the tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use crossdock::clock::{Clock, ManualClock};
use crossdock::connector::{
    Body, Captured, Connection, Context, Delivery, FileLimits, Operation, Outcome, StepLog, Token,
};
use crossdock::connectors::built_in;
use crossdock::fault::Fault;
use crossdock::id::DeliveryId;
use crossdock::record::{Record, Stream};
use crossdock::runtime::SystemClock;
use crossdock::transport::http::{
    Client, Feedback, HttpClient, HttpOptions, HttpReply, HttpRequest,
};
use serde_json::{Value, json};

/// The vendor's files that the connector is written by.
const FILES: [&str; 5] = [
    "orders_2026-01-01",
    "ordersV0",
    "listingsItems_2021-08-01",
    "feeds_2021-06-30",
    "sellers",
];
/// The operations that it uses.
const USED: [&str; 11] = [
    "searchOrders",
    "getOrder",
    "confirmShipment",
    "getListingsItem",
    "patchListingsItem",
    "searchListingsItems",
    "createFeedDocument",
    "createFeed",
    "getFeed",
    "getFeedDocument",
    "getMarketplaceParticipations",
];
/// A SKU of the examples.
const SKU: &str = "GM-ZDPI-9B4E";

#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a skipped test must be seen; where the descriptions are is told to the test"
)]
fn specs() -> Option<PathBuf> {
    let shared = std::env::var("CROSSDOCK_SPECS").unwrap_or_else(|_| "../shared/specs".to_owned());
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(shared)
        .join("amazon-spapi");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no descriptions at {}", path.display());
    None
}

fn open(url: &str, http: Arc<dyn HttpClient>, clock: Arc<dyn Clock>) -> Connection {
    let connectors = built_in();
    let amazon = connectors.iter().find(|it| it.name() == "amazon");
    let settings = format!(
        "url = \"{url}\"\ntoken_url = \"{url}/auth/o2/token\"\nclient_id = \"client\"\n\
         client_secret = \"secret\"\nrefresh_token = \"refresh\"\nseller_id = \"A1SELLER\"\n\
         marketplace = \"ATVPDKIKX0DER\"\nfeed_from = 2\nfulfilled_by = \"MERCHANT,AMAZON\""
    );
    let settings = toml::from_str(&settings).unwrap();
    let configured = amazon.unwrap().configure(&settings).unwrap();
    let context = Context {
        name: "amazon".into(),
        clock,
        http,
        tokens: Arc::default(),
        files: FileLimits::default(),
        windows: BTreeMap::new(),
    };
    configured.open(context).unwrap()
}

fn delivery(stream: Stream, reference: &str, operation: Operation, record: Value) -> Delivery {
    Delivery {
        id: DeliveryId::new(format!("dlv-{reference}")),
        stream,
        key: reference.into(),
        operation,
        record: Record::from_json(stream, record).unwrap(),
        reference: reference.to_owned(),
        origin: "erp".to_owned(),
        target: None,
        group: None,
        captured: Captured::new(),
        attempts: 0,
    }
}

fn number(stream: Stream, sku: &str) -> Delivery {
    let record = match stream {
        Stream::Prices => json!({"sku": sku, "price": {"amount": "99.95", "currency": "USD"}}),
        _ => json!({"sku": sku, "on_hand": "7"}),
    };
    delivery(stream, sku, Operation::Update, record)
}

fn parcel() -> Delivery {
    let record = json!({"id": "S1", "order": "902-1106328-1059050", "shipped_at": "2026-11-22T09:45:00Z",
        "carrier": {"name": "FedEx"}, "service": "FedEx Ground", "parcels": [{"tracking_number": "112345678"}]});
    delivery(Stream::Shipments, "erp:S1", Operation::Create, record)
}

/// What became of the first one.
fn first(outcomes: &[Outcome]) -> String {
    match &outcomes[0] {
        Outcome::Failed(fault) => fault.code.to_string(),
        _ => "ok".to_owned(),
    }
}

/// Tells numbers; how the first one fared, now and when it is asked after.
async fn tell(connection: &Connection, stream: Stream, skus: &[&str]) -> (String, Option<String>) {
    let sink = &connection.sinks[&stream];
    let batch: Vec<Delivery> = skus.iter().map(|sku| number(stream, sku)).collect();
    let outcomes = sink.deliver(&batch, &StepLog::default()).await;
    let taken_in = batch.iter().zip(&outcomes);
    let taken_in = taken_in.filter_map(|(delivery, outcome)| match outcome {
        Outcome::Submitted { token, .. } => Some((delivery.clone(), token.clone())),
        _ => None,
    });
    let (asked, tokens): (Vec<Delivery>, Vec<Token>) = taken_in.unzip();
    let later = if tokens.is_empty() {
        None
    } else {
        Some(first(&sink.check(&asked, &tokens).await))
    };
    (first(&outcomes), later)
}

async fn read(connection: &Connection, id: Option<&str>) -> String {
    let source = &connection.sources[&Stream::Orders];
    let changes = match id {
        Some(id) => source.fetch(&[id.into()]).await,
        None => source.pull(None).await.map(|page| page.changes),
    };
    match changes {
        Err(fault) => fault.code.to_string(),
        Ok(changes) => changes
            .iter()
            .find_map(|change| match &change.body {
                Body::Present(_) => None,
                Body::Rejected(fault) => Some(fault.to_string()),
                Body::Absent => Some("absent".to_owned()),
            })
            .unwrap_or_else(|| "ok".to_owned()),
    }
}

/// An operation: its method, the parts of its path, its name.
type Described = (String, Vec<String>, String);

/// Answers each operation with an example.
#[derive(Debug)]
struct Examples {
    operations: Vec<Described>,
    answers: Mutex<BTreeMap<String, (u16, Value)>>,
    clock: ManualClock,
}

impl Examples {
    fn operation(&self, method: &str, path: &str) -> Option<&str> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |pattern: &[String]| {
            pattern.len() == parts.len()
                && pattern
                    .iter()
                    .zip(&parts)
                    .all(|(it, part)| it.starts_with('{') || it == part)
        };
        let found = self.operations.iter().filter(|(it, ..)| it == method);
        let mut found = found.filter(|(_, pattern, _)| fits(pattern));
        found.next().map(|(_, _, name)| name.as_str())
    }
}

#[async_trait]
impl HttpClient for Examples {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let path = request.url.split('?').next().unwrap();
        let own = path.strip_prefix("https://spapi.test");
        let (status, json) = match own {
            Some("/auth/o2/token") => (200, json!({"access_token": "t", "expires_in": 3600})),
            Some(path) => {
                let name = self.operation(&request.method, path);
                let name = name.unwrap_or_else(|| panic!("{} {path}", request.method));
                self.answers.lock().unwrap()[name].clone()
            }
            // A file on another host: the upload, or a report.
            None => (
                200,
                json!({"header": {}, "issues": [], "summary": {"messagesProcessed": 1}}),
            ),
        };
        Ok(HttpReply {
            status,
            headers: Vec::new(),
            body: Bytes::from(if status == 204 {
                String::new()
            } else {
                json.to_string()
            }),
            received_at: self.clock.now(),
        })
    }

    fn observe(&self, _: &str, _: Feedback) {}
}

/// An example: which operation, which status, what is answered.
type Example = (String, u16, Value);

/// Every example of the operations that are used, and how a path leads to an operation.
fn examples(folder: &Path) -> (Vec<Example>, Vec<Described>) {
    let (mut all, mut operations) = (Vec::new(), Vec::new());
    for file in FILES {
        let text = fs::read_to_string(folder.join(format!("{file}.json"))).unwrap();
        let spec: Value = serde_json::from_str(&text).unwrap();
        for (path, methods) in spec["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap_or("");
                // `getOrder` is in both versions of the Orders API.
                let is_old = file == "ordersV0" && name != "confirmShipment";
                if !USED.contains(&name) || is_old {
                    continue;
                }
                let pattern = path.split('/').map(str::to_owned).collect();
                operations.push((method.to_uppercase(), pattern, name.to_owned()));
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    let status: u16 = status.parse().unwrap();
                    let told = answer["examples"].as_object().into_iter().flatten();
                    let told = told.map(|(_, json)| json.clone());
                    let sandbox = answer["x-amzn-api-sandbox"]["static"].as_array();
                    let sandbox = sandbox
                        .into_iter()
                        .flatten()
                        .map(|it| it["response"].clone());
                    all.extend(
                        told.chain(sandbox)
                            .map(|json| (name.to_owned(), status, json)),
                    );
                }
            }
        }
    }
    (all, operations)
}

/// What the connector makes of an example: a code, or `ok`.
async fn decode(connection: &Connection, operation: &str) -> String {
    match operation {
        "searchOrders" => read(connection, None).await,
        "getOrder" => read(connection, Some("1-2-3")).await,
        "getListingsItem" | "patchListingsItem" => tell(connection, Stream::Stock, &[SKU]).await.0,
        "searchListingsItems" => {
            let (told, later) = tell(connection, Stream::Stock, &[SKU]).await;
            later.unwrap_or(told)
        }
        "createFeedDocument" | "createFeed" => tell(connection, Stream::Stock, &[SKU, "B"]).await.0,
        "getFeed" | "getFeedDocument" => {
            let (told, later) = tell(connection, Stream::Prices, &[SKU, "B"]).await;
            later.unwrap_or(told)
        }
        "confirmShipment" => {
            let sink = &connection.sinks[&Stream::Shipments];
            first(&sink.deliver(&[parcel()], &StepLog::default()).await)
        }
        _ => match connection.probe.as_ref().unwrap().probe().await {
            Ok(_) => "ok".to_owned(),
            Err(fault) => fault.code.to_string(),
        },
    }
}

/// What the vendor means by an example.
fn meant(operation: &str, status: u16, json: &Value) -> &'static str {
    match (operation, status) {
        ("getFeed", 200) if json["processingStatus"] == "CANCELLED" => "feed_cancelled",
        ("patchListingsItem", 200) if json["status"] == "INVALID" => "listing_refused",
        // A feed that is refused as a whole is told one by one.
        ("createFeedDocument" | "createFeed", 400) | (_, 200..300) => "ok",
        _ => "refused",
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "the figures are wanted")]
async fn every_example_of_amazon_is_understood() {
    let Some(folder) = specs() else { return };
    let (all, operations) = examples(&folder);
    let mut good: BTreeMap<String, (u16, Value)> = BTreeMap::new();
    for (name, status, json) in &all {
        if *status < 300 {
            good.entry(name.clone())
                .or_insert_with(|| (*status, json.clone()));
        }
    }
    assert_eq!(
        good.len(),
        USED.len(),
        "each operation has an example: {:?}",
        good.keys()
    );
    let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
    for (name, status, json) in &all {
        let mut answers = good.clone();
        if name == "getFeedDocument" {
            let done = json!({"processingStatus": "DONE", "resultFeedDocumentId": "d"});
            answers.insert("getFeed".to_owned(), (200, done));
        }
        answers.insert(name.clone(), (*status, json.clone()));
        let http = Arc::new(Examples {
            operations: operations.clone(),
            answers: Mutex::new(answers),
            clock: clock.clone(),
        });
        let connection = open("https://spapi.test", http, Arc::new(clock.clone()));
        let found = decode(&connection, name).await;
        assert_eq!(found, meant(name, *status, json), "{name} {status}: {json}");
    }
    let (count, of) = (all.len(), good.len());
    eprintln!("conformance: amazon: {count} examples of {of} operations understood");
}

/// Makes every kind of request once or twice; whoever listens judges them.
#[tokio::test]
#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a skipped test must be seen; who listens is told to the test"
)]
async fn every_request_of_amazon_is_made() {
    let Ok(url) = std::env::var("CROSSDOCK_CONFORMANCE") else {
        eprintln!("SKIPPED: tests/conformance/run starts this one");
        return;
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let client = Client::new(HttpOptions::default(), Arc::clone(&clock)).unwrap();
    let connection = open(&url, Arc::new(client), clock);
    let told = connection.probe.as_ref().unwrap().probe().await.unwrap();
    assert!(told.contains("ATVPDKIKX0DER"), "{told}");
    let source = &connection.sources[&Stream::Orders];
    let page = source.pull(None).await.unwrap();
    assert!(!page.changes.is_empty() && page.more);
    // The examples' second page is the first once more, which is seen; the request is what counts here.
    let again = source.pull(Some(&page.cursor)).await.unwrap_err();
    assert_eq!(again.code, "endless_paging");
    assert_eq!(read(&connection, Some("123-4567890-1234567")).await, "ok");
    for stream in [Stream::Stock, Stream::Prices] {
        let (told, later) = tell(&connection, stream, &[SKU]).await;
        assert_eq!((told.as_str(), later.is_some()), ("ok", true), "{stream}");
        let (told, later) = tell(&connection, stream, &[SKU, "B"]).await;
        assert_eq!((told.as_str(), later.is_some()), ("ok", true), "{stream}");
    }
    let sink = &connection.sinks[&Stream::Shipments];
    let outcome = sink.deliver(&[parcel()], &StepLog::default()).await;
    assert_eq!(first(&outcome), "ok", "{outcome:?}");
}
