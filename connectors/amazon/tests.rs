//! The connector against a small Amazon: what it does about each of the vendor's failure stories.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::clock::{Clock, ManualClock};
use crate::connector::contract;
use crate::connector::{
    Body, Captured, Connection, Connector, Context, Delivery, Operation, Outcome, StepLog, Token,
};
use crate::fault::{Class, Effect, Fault};
use crate::id::{DeliveryId, RemoteId};
use crate::manifest;
use crate::record::{Record, Stream};
use crate::transport::http::{Feedback, HeaderValue, HttpClient, HttpReply, HttpRequest};

/// What it has, and what it was asked.
#[derive(Debug, Default)]
struct Amazon {
    /// Quantity by SKU.
    listings: BTreeMap<String, i64>,
    /// A PATCH or feed is taken in, and nothing becomes of it.
    deaf: bool,
    /// What a PATCH answers beside the status.
    issues: Vec<Value>,
    feed: String,
    report: Value,
    /// The address of an upload is good no more.
    stale: bool,
    /// What was uploaded last.
    document: Value,
    asked: Vec<String>,
    /// The bodies of PATCH requests.
    patches: Vec<Value>,
    tokens: u32,
    secrets_abroad: bool,
    feedback: Vec<(String, Feedback)>,
    orders: Vec<Value>,
    shipped: Vec<Value>,
    /// The packages that an order shows.
    packages: Vec<Value>,
}

/// A client that is the other side.
#[derive(Debug)]
struct Client {
    amazon: Mutex<Amazon>,
    clock: ManualClock,
}

const SETTINGS: &str = r#"
url = "https://spapi.test"
token_url = "https://lwa.test/token"
client_id = "client"
client_secret = "secret-1"
refresh_token = "refresh-1"
seller_id = "SELLER"
marketplace = "A1PA6795UKMFR9"
feed_from = 3
"#;

fn open() -> (Arc<Client>, Connection) {
    let text = super::BUILT_IN.iter().find(|(name, _)| *name == "amazon");
    let connector = manifest::load("amazon", text.unwrap().1).unwrap_or_else(|it| panic!("{it}"));
    let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
    let client = Arc::new(Client {
        amazon: Mutex::default(),
        clock: clock.clone(),
    });
    let context = Context {
        name: "amazon".into(),
        clock: Arc::new(clock),
        http: Arc::clone(&client) as _,
        tokens: Arc::default(),
        files: crate::connector::FileLimits::default(),
        windows: BTreeMap::new(),
    };
    let configured = connector.configure(&toml::from_str(SETTINGS).unwrap());
    let connection = configured.unwrap().open(context).unwrap();
    (client, connection)
}

impl Amazon {
    fn listing(&self, sku: &str) -> Option<Value> {
        let quantity = self.listings.get(sku)?;
        Some(
            json!({"sku": sku, "fulfillmentAvailability": [{"fulfillmentChannelCode": "DEFAULT", "quantity": quantity}]}),
        )
    }

    fn apply(&mut self, sku: &str, patch: &Value) {
        let quantity = patch["patches"][0]["value"][0]["quantity"].as_i64();
        if let (false, Some(known), Some(quantity)) =
            (self.deaf, self.listings.get_mut(sku), quantity)
        {
            *known = quantity;
        }
    }

    fn answer(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or("").to_owned();
        match (method, path) {
            ("POST", "https://lwa.test/token") => {
                self.tokens += 1;
                let form = String::from_utf8_lossy(body).into_owned();
                assert!(form.contains("grant_type=refresh_token"), "{form}");
                assert!(form.contains("client_secret=secret-1"), "{form}");
                let token = format!("Atza-{}", self.tokens);
                (
                    200,
                    json!({"access_token": token, "token_type": "bearer", "expires_in": 3600}),
                )
            }
            ("GET", _) if path.ends_with("/items/SELLER") => {
                let wanted = query.split("identifiers=").nth(1).unwrap_or("");
                let wanted = wanted.split('&').next().unwrap_or("");
                let items = wanted.split("%2C").filter_map(|sku| self.listing(sku));
                (
                    200,
                    json!({"numberOfResults": 1, "items": items.collect::<Vec<_>>()}),
                )
            }
            ("GET", _) if path.contains("/items/SELLER/") => match self.listing(&last) {
                Some(listing) => (200, listing),
                None => (
                    404,
                    json!({"errors": [{"code": "NOT_FOUND", "message": "no"}]}),
                ),
            },
            ("PATCH", _) => {
                self.apply(&last, &json);
                self.patches.push(json);
                let refused = self.issues.iter().any(|it| it["severity"] == "ERROR");
                let status = if refused { "INVALID" } else { "ACCEPTED" };
                (
                    200,
                    json!({"sku": last, "status": status, "submissionId": "s", "issues": self.issues}),
                )
            }
            ("POST", "https://spapi.test/feeds/2021-06-30/documents") => (
                201,
                json!({"feedDocumentId": "in-1", "url": "https://files.test/in?sig=abc"}),
            ),
            ("PUT", "https://files.test/in") if self.stale => (403, Value::Null),
            ("PUT", "https://files.test/in") => {
                self.document = json;
                (200, Value::Null)
            }
            ("POST", "https://spapi.test/feeds/2021-06-30/feeds") => {
                assert_eq!(json["inputFeedDocumentId"], "in-1");
                (202, json!({"feedId": "F1"}))
            }
            ("GET", "https://spapi.test/feeds/2021-06-30/feeds/F1") => {
                let mut feed = json!({"feedId": "F1", "feedType": "JSON_LISTINGS_FEED", "createdTime": "2026-11-22T10:00:00Z", "processingStatus": self.feed});
                if self.feed == "DONE" {
                    feed["resultFeedDocumentId"] = json!("out-1");
                }
                (200, feed)
            }
            ("GET", "https://spapi.test/feeds/2021-06-30/documents/out-1") => (
                200,
                json!({"feedDocumentId": "out-1", "url": "https://files.test/out?sig=def", "compressionAlgorithm": "GZIP"}),
            ),
            ("GET", "https://files.test/out") => (200, self.report.clone()),
            ("GET", "https://spapi.test/orders/2026-01-01/orders") => (
                200,
                json!({"orders": self.orders, "lastUpdatedBefore": "2026-11-22T09:58:00Z"}),
            ),
            ("GET", _) if path.contains("/orders/2026-01-01/orders/") => {
                let order = self.orders.iter().find(|it| it["orderId"] == last.as_str());
                match order {
                    Some(order) => {
                        let mut order = order.clone();
                        order["packages"] = json!(self.packages);
                        (200, json!({ "order": order }))
                    }
                    None => (
                        404,
                        json!({"errors": [{"code": "NotFound", "message": "no"}]}),
                    ),
                }
            }
            ("POST", _) if path.ends_with("/shipmentConfirmation") => {
                self.shipped.push(json);
                (204, Value::Null)
            }
            other => panic!("not foreseen: {other:?}"),
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let mut amazon = self.amazon.lock().unwrap();
        let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
        let shown = path.trim_start_matches("https://");
        let host = shown.split('/').next().unwrap();
        let proof = request
            .headers
            .iter()
            .any(|(_, value)| matches!(value, HeaderValue::Secret(_)));
        amazon.secrets_abroad |= proof != (host == "spapi.test");
        let agent = request.headers.iter().any(|(name, _)| name == "user-agent");
        assert!(agent, "{path}");
        amazon.asked.push(format!("{} {shown}", request.method));
        let body = request.body.clone().unwrap_or_default();
        let (status, json) = amazon.answer(&request.method, path, query, &body);
        let mut body = if json.is_null() {
            Vec::new()
        } else {
            json.to_string().into_bytes()
        };
        if path == "https://files.test/out" {
            let level = flate2::Compression::default();
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), level);
            packed.write_all(&body).unwrap();
            body = packed.finish().unwrap();
        }
        let mut headers = vec![(
            "date".to_owned(),
            "Sun, 22 Nov 2026 10:00:00 GMT".to_owned(),
        )];
        if path.ends_with("/orders/2026-01-01/orders") {
            headers.push(("x-amzn-ratelimit-limit".to_owned(), "0.0167".to_owned()));
        }
        Ok(HttpReply {
            status,
            headers,
            body: Bytes::from(body),
            received_at: self.clock.now(),
        })
    }

    fn observe(&self, bucket: &str, feedback: Feedback) {
        let mut amazon = self.amazon.lock().unwrap();
        amazon.feedback.push((bucket.to_owned(), feedback));
    }
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

fn stock(sku: &str, quantity: i64) -> Delivery {
    let record = json!({"sku": sku, "on_hand": quantity.to_string()});
    delivery(Stream::Stock, sku, Operation::Update, record)
}

/// Tells numbers; what was taken in, with what it is asked after.
async fn tell(connection: &Connection, batch: &[Delivery]) -> (Vec<Outcome>, Vec<Token>) {
    let sink = &connection.sinks[&Stream::Stock];
    let outcomes = sink.deliver(batch, &StepLog::default()).await;
    let tokens = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Submitted { token, .. } => Some(token.clone()),
        _ => None,
    });
    let tokens = tokens.collect();
    (outcomes, tokens)
}

/// What becomes of numbers that were all taken in.
async fn ask(connection: &Connection, batch: &[Delivery], tokens: &[Token]) -> Vec<String> {
    let sink = &*connection.sinks[&Stream::Stock];
    let outcomes = contract::asked_in_every_way(sink, batch, tokens).await;
    outcomes.unwrap().iter().map(shown).collect()
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered(_) => "done".to_owned(),
        Outcome::Submitted { .. } => "pending".to_owned(),
        Outcome::Failed(fault) => fault.code.to_string(),
    }
}

fn feed_of(client: &Client, listings: &[(&str, i64)]) -> Vec<Delivery> {
    let mut amazon = client.amazon.lock().unwrap();
    amazon.feed = "IN_QUEUE".to_owned();
    amazon.report = json!({"header": {}, "issues": [], "summary": {"messagesProcessed": 4}});
    for (sku, quantity) in listings {
        amazon.listings.insert((*sku).to_owned(), *quantity);
    }
    let numbers = listings
        .iter()
        .map(|(sku, quantity)| stock(sku, quantity + 10));
    numbers.collect()
}

#[tokio::test]
async fn one_token_serves_all_and_is_renewed_before_it_ends() {
    let (client, connection) = open();
    let read = || async {
        let page = connection.sources[&Stream::Orders].pull(None).await;
        page.unwrap_or_else(|fault| panic!("{fault}"));
    };
    tokio::join!(read(), read(), read());
    assert_eq!(client.amazon.lock().unwrap().tokens, 1, "single flight");
    client.clock.advance(Duration::from_secs(3500));
    read().await;
    assert_eq!(client.amazon.lock().unwrap().tokens, 1);
    client.clock.advance(Duration::from_secs(45));
    read().await;
    let amazon = client.amazon.lock().unwrap();
    assert_eq!(amazon.tokens, 2, "a minute before it would end");
    assert!(!amazon.secrets_abroad);
    let learned = Feedback::Quota {
        per_second: 0.0167,
        burst: 20,
    };
    assert!(amazon.feedback.contains(&("orders".to_owned(), learned)));
}

/// Story 56: an order that waits for its payment has neither price nor address. It is not read half, and not
/// lost: its next change brings it whole.
#[tokio::test]
async fn an_order_is_read_whole_or_not_at_all() {
    let (client, connection) = open();
    let order = |status: &str, address: bool| {
        let address = if address {
            json!({"name": "Zoë", "countryCode": "DE"})
        } else {
            json!({})
        };
        json!({"orderId": "1-2-3", "createdTime": "2026-11-22T09:00:00Z", "lastUpdatedTime": "2026-11-22T09:30:00Z",
            "salesChannel": {"channelName": "AMAZON"}, "recipient": {"deliveryAddress": address},
            "fulfillment": {"fulfillmentStatus": status, "fulfilledBy": "MERCHANT"},
            "orderItems": [{"orderItemId": "7", "quantityOrdered": 2, "product": {"sellerSku": "A",
                "price": {"unitPrice": {"amount": "5.95", "currencyCode": "EUR"}}},
                "proceeds": {"proceedsTotal": {"amount": "11.90", "currencyCode": "EUR"}, "breakdowns": [
                    {"type": "ITEM", "subtotal": {"amount": "11.90", "currencyCode": "EUR"}},
                    {"type": "TAX", "subtotal": {"amount": "1.90", "currencyCode": "EUR"}}]}}]})
    };
    let source = &connection.sources[&Stream::Orders];
    let cases = [
        ("PENDING", false, "nothing"),
        ("UNSHIPPED", false, "no_address"),
        ("UNSHIPPED", true, "present"),
        ("SHIPPED", false, "present"),
        ("CANCELLED", false, "present"),
    ];
    for (status, address, expect) in cases {
        client.amazon.lock().unwrap().orders = vec![order(status, address)];
        let changes = source.fetch(&[RemoteId::from("1-2-3")]).await.unwrap();
        let found = match changes.first().map(|change| &change.body) {
            None => "nothing".to_owned(),
            Some(Body::Present(Record::Order(order))) => {
                let line = &order.lines[0];
                assert_eq!(
                    (line.line_net.to_string(), line.line_gross.to_string()),
                    ("10.00 EUR".to_owned(), "11.90 EUR".to_owned())
                );
                assert!(line.prices_include_tax, "the tax is within the total");
                "present".to_owned()
            }
            Some(Body::Rejected(fault)) => fault.code.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expect, "{status}");
    }
    assert!(
        source
            .fetch(&[RemoteId::from("9-9-9")])
            .await
            .unwrap()
            .is_empty(),
        "nobody knows it"
    );
}

#[tokio::test]
async fn a_few_numbers_are_patches_which_are_looked_at_later() {
    let (client, connection) = open();
    let batch = feed_of(&client, &[("A", 5), ("B C/D", 5)]);
    client
        .amazon
        .lock()
        .unwrap()
        .listings
        .insert("B%20C%2FD".to_owned(), 5);
    let (outcomes, tokens) = tell(&connection, &batch[..1]).await;
    assert!(
        matches!(outcomes[0], Outcome::Submitted { in_order: true, .. }),
        "{outcomes:?}"
    );
    assert_eq!(ask(&connection, &batch[..1], &tokens).await, ["done"]);
    let (_, tokens) = tell(&connection, &batch[1..]).await;
    assert_eq!(tokens.len(), 1, "a SKU of any letters");
    let amazon = client.amazon.lock().unwrap();
    let value = &amazon.patches[0]["patches"][0]["value"][0];
    assert_eq!(
        *value,
        json!({"fulfillment_channel_code": "DEFAULT", "quantity": 15})
    );
    assert!(!amazon.secrets_abroad);
}

/// Story 32: ACCEPTED, and the listing goes on showing what it showed.
#[tokio::test]
async fn a_patch_that_is_accepted_and_not_applied_is_found_out() {
    let (client, connection) = open();
    let batch = feed_of(&client, &[("A", 5)]);
    client.amazon.lock().unwrap().deaf = true;
    let (_, tokens) = tell(&connection, &batch).await;
    assert_eq!(
        ask(&connection, &batch, &tokens).await,
        ["pending"],
        "until the engine loses patience"
    );
    // Less than was told was sold meanwhile; more was told by somebody else.
    for (shows, expect) in [(14, "done"), (0, "done"), (15, "done"), (16, "not_applied")] {
        client
            .amazon
            .lock()
            .unwrap()
            .listings
            .insert("A".to_owned(), shows);
        assert_eq!(
            ask(&connection, &batch, &tokens).await,
            [expect],
            "it shows {shows}"
        );
    }
    client.amazon.lock().unwrap().listings.clear();
    assert_eq!(ask(&connection, &batch, &tokens).await, ["unknown_sku"]);
}

/// Story 32 (2179): a SKU that Amazon does not have is told as successful.
#[tokio::test]
async fn a_sku_that_amazon_does_not_have_is_told_nothing() {
    let (client, connection) = open();
    let mut batch = feed_of(&client, &[("A", 5), ("B", 5)]);
    batch.push(stock("NOPE", 1));
    let (outcomes, _) = tell(&connection, &batch[2..]).await;
    assert_eq!(shown(&outcomes[0]), "unknown_sku");
    let (outcomes, _) = tell(&connection, &batch).await;
    let all: Vec<String> = outcomes.iter().map(shown).collect();
    assert_eq!(all, ["pending", "pending", "unknown_sku"]);
    let amazon = client.amazon.lock().unwrap();
    assert_eq!(amazon.document["messages"].as_array().unwrap().len(), 2);
    assert!(amazon.patches.is_empty());
}

#[tokio::test]
async fn a_warning_is_no_refusal_and_an_error_is_one() {
    let (client, connection) = open();
    let batch = feed_of(&client, &[("A", 5)]);
    let issue = |severity: &str| json!({"code": "90220", "message": "'size' is missing", "severity": severity});
    for (severity, expect) in [
        ("WARNING", "pending"),
        ("INFO", "pending"),
        ("ERROR", "listing_refused"),
    ] {
        client.amazon.lock().unwrap().issues = vec![issue(severity)];
        let (outcomes, _) = tell(&connection, &batch).await;
        assert_eq!(shown(&outcomes[0]), expect, "{severity}");
    }
}

#[tokio::test]
async fn many_numbers_are_one_feed_and_each_has_its_outcome() {
    let (client, connection) = open();
    let batch = feed_of(&client, &[("A", 1), ("B", 2), ("C", 3), ("D", 4)]);
    let (outcomes, tokens) = tell(&connection, &batch).await;
    assert_eq!(tokens.len(), 4, "{outcomes:?}");
    assert!(
        tokens
            .iter()
            .all(|it| it.submission == tokens[0].submission),
        "asked after together"
    );
    assert_eq!(ask(&connection, &batch, &tokens).await, ["pending"; 4]);
    let issues = json!([
        {"messageId": 2, "code": "90220", "severity": "ERROR", "message": "'x' is required"},
        {"messageId": 3, "code": "18027", "severity": "WARNING", "message": "the image"},
    ]);
    {
        let mut amazon = client.amazon.lock().unwrap();
        assert_eq!(amazon.document["header"]["sellerId"], "SELLER");
        amazon.feed = "DONE".to_owned();
        amazon.report["issues"] = issues;
        // What was done, but for D (story 32: DONE without an error, and unchanged).
        for (sku, quantity) in [("A", 11), ("C", 13)] {
            amazon.listings.insert(sku.to_owned(), quantity);
        }
    }
    let expect = ["done", "listing_refused", "done", "pending"];
    assert_eq!(ask(&connection, &batch, &tokens).await, expect);
    // Asked in another order, and not all of it.
    let (two, of_two) = (
        [batch[2].clone(), batch[1].clone()],
        [tokens[2].clone(), tokens[1].clone()],
    );
    assert_eq!(
        ask(&connection, &two, &of_two).await,
        ["done", "listing_refused"]
    );
    let amazon = client.amazon.lock().unwrap();
    assert!(
        !amazon.secrets_abroad,
        "files go to a foreign host without our token"
    );
    let reports = amazon
        .asked
        .iter()
        .filter(|it| it.contains("documents/out-1"))
        .count();
    assert_eq!(reports, 1, "the report has a quota of one in 45 seconds");
}

/// A file's address is good for five minutes; that it has ended says nothing about the login.
#[tokio::test]
async fn a_file_that_is_not_taken_is_tried_again() {
    let (client, connection) = open();
    let batch = feed_of(&client, &[("A", 1), ("B", 2), ("C", 3)]);
    client.amazon.lock().unwrap().stale = true;
    let (outcomes, _) = tell(&connection, &batch).await;
    for outcome in outcomes {
        let Outcome::Failed(fault) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((fault.class, &*fault.code), (Class::Retry, "not_uploaded"));
    }
    assert_eq!(client.amazon.lock().unwrap().tokens, 1);
}

/// The suite is worth something: each slip in the manifest is found, by the law that it breaks.
#[tokio::test]
async fn the_suite_finds_slips_in_what_is_told_and_asked_after() {
    let text = super::BUILT_IN.iter().find(|(name, _)| *name == "amazon");
    let text = text.unwrap().1;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("connectors/amazon/fixtures");
    let not_them = "reply.status == 200\", class = \"retry\", code = \"not_from_amazon";
    let reason = "when = \"reply.status == 404 && has(reply.json.errors)\"";
    let slips = [
        // A listing that still shows the old number counts as done.
        (
            "stock_not_shown",
            "pending = \"lookup(",
            "pending = \"false && lookup(",
            "D1",
        ),
        // What waits was told by the version before: its token means something else now.
        (
            "stock_not_shown",
            "told = { before = ",
            "told = { was = ",
            "D1",
        ),
        // Another host's page is a parcel that was told.
        (
            "shipments_create",
            not_them,
            &not_them.replace("reply.status == 200", "false"),
            "D3",
        ),
        // A parcel is told again.
        (
            "shipments_create",
            "!(parcel.number in",
            "true || !(parcel.number in",
            "D2",
        ),
        // A 404 of anybody means that Amazon has no such SKU.
        (
            "stock_write",
            reason,
            "when = \"reply.status == 404\"",
            "D3",
        ),
    ];
    for (case, from, to, law) in slips {
        assert!(text.contains(from), "{from}");
        let changed = text.replace(from, to);
        let connector = manifest::load("amazon", &changed).unwrap_or_else(|it| panic!("{it}"));
        let mut fixtures = contract::Fixtures::load(&folder).unwrap();
        fixtures.cases.retain(|it| it.name == case);
        let report = contract::run(&connector, &fixtures).await;
        assert!(report.failures().any(|it| it.law == law), "{to}: {report}");
    }
}

#[tokio::test]
async fn a_feed_that_ends_badly_is_told_again() {
    for (status, code) in [("CANCELLED", "feed_cancelled"), ("FATAL", "feed_failed")] {
        let (client, connection) = open();
        let batch = feed_of(&client, &[("A", 1), ("B", 2), ("C", 3)]);
        let (_, tokens) = tell(&connection, &batch).await;
        client.amazon.lock().unwrap().feed = status.to_owned();
        let outcomes = connection.sinks[&Stream::Stock]
            .check(&batch, &tokens)
            .await;
        for outcome in outcomes {
            let Outcome::Failed(fault) = outcome else {
                panic!("{status}")
            };
            assert_eq!(fault.code, code);
            assert_eq!((fault.class, fault.effect), (Class::Retry, Effect::Unknown));
        }
    }
}

#[tokio::test]
async fn a_parcel_is_confirmed_once() {
    let (client, connection) = open();
    let item = |id: &str, sku: &str| json!({"orderItemId": id, "quantityOrdered": 2, "product": {"sellerSku": sku}});
    client.amazon.lock().unwrap().orders = vec![
        json!({"orderId": "1-2-3", "lastUpdatedTime": "2026-11-22T09:30:00Z",
        "salesChannel": {"marketplaceId": "A1PA6795UKMFR9"}, "fulfillment": {"fulfillmentStatus": "UNSHIPPED"},
        "orderItems": [item("7", "A"), item("8", "B")]}),
    ];
    let record = json!({"id": "S1", "order": "1-2-3", "carrier": {"name": "DHL"}, "shipped_at": "2026-11-22T09:45:00Z",
        "parcels": [{"tracking_number": "T1"}], "lines": [{"sku": "B", "quantity": "1"}]});
    let one = delivery(
        Stream::Shipments,
        "erp:S1",
        Operation::Create,
        record.clone(),
    );
    let sink = &connection.sinks[&Stream::Shipments];
    assert_eq!(sink.find(&one).await.unwrap(), None);
    let outcome = sink
        .deliver(std::slice::from_ref(&one), &StepLog::default())
        .await;
    assert!(matches!(outcome[0], Outcome::Delivered(_)), "{outcome:?}");
    let told = client.amazon.lock().unwrap().shipped.clone();
    assert_eq!(
        told,
        [
            json!({"marketplaceId": "A1PA6795UKMFR9", "packageDetail": {"packageReferenceId": "1",
        "carrierCode": "Other", "carrierName": "DHL", "trackingNumber": "T1", "shipDate": "2026-11-22T09:45:00Z",
        "orderItems": [{"orderItemId": "8", "quantity": 1}]}})
        ]
    );
    client.amazon.lock().unwrap().packages =
        vec![json!({"packageReferenceId": "1", "trackingNumber": "T1"})];
    assert!(
        sink.find(&one).await.unwrap().is_some(),
        "seen by its number"
    );
    let again = sink
        .deliver(std::slice::from_ref(&one), &StepLog::default())
        .await;
    assert!(matches!(again[0], Outcome::Delivered(_)), "{again:?}");
    assert_eq!(
        client.amazon.lock().unwrap().shipped.len(),
        1,
        "and not told again"
    );
    let mut record = record;
    record["parcels"] = json!([]);
    let bare = delivery(Stream::Shipments, "erp:S2", Operation::Create, record);
    let outcome = sink.deliver(&[bare], &StepLog::default()).await;
    assert_eq!(shown(&outcome[0]), "no_tracking_number");
}
