//! Feeds: documents apart from the API, and reports that come later.

use std::io::Read as _;

use super::*;
use crate::sandbox::faults::FaultKind;

const TYPE: &str = "application/json; charset=UTF-8";

impl Rig {
    /// A place for a document: its id and the URL's path.
    fn document(&self) -> (String, String) {
        let body = json!({ "contentType": TYPE });
        let reply = self.send("POST", "/feeds/2021-06-30/documents", &body);
        assert_eq!(reply.status, 201);
        let id = reply.value()["feedDocumentId"].as_str().unwrap().to_owned();
        (id, target_of(&reply.value()))
    }

    fn upload(&self, target: &str, content: &str) -> Reply {
        self.plain(&Call::new("PUT", target, content.to_owned()).with_header("content-type", TYPE))
    }

    fn feed_of(&self, document: &str) -> String {
        let body = json!({ "feedType": "JSON_LISTINGS_FEED", "marketplaceIds": [STORE],
            "inputFeedDocumentId": document });
        let reply = self.send("POST", "/feeds/2021-06-30/feeds", &body);
        assert_eq!(reply.status, 202);
        reply.value()["feedId"].as_str().unwrap().to_owned()
    }

    fn submit_feed(&self, content: &Value) -> String {
        let (document, target) = self.document();
        assert_eq!(self.upload(&target, &content.to_string()).status, 200);
        self.feed_of(&document)
    }

    fn feed(&self, id: &str) -> Value {
        self.get(&format!("/feeds/2021-06-30/feeds/{id}")).value()
    }

    fn report(&self, feed: &str) -> (Value, bool) {
        let feed = self.feed(feed);
        let id = feed["resultFeedDocumentId"].as_str().unwrap();
        let reply = self
            .get(&format!("/feeds/2021-06-30/documents/{id}"))
            .value();
        let is_gzip = reply["compressionAlgorithm"] == "GZIP";
        let content = self.plain(&Call::new("GET", &target_of(&reply), ""));
        let mut text = String::new();
        if is_gzip {
            let mut reader = flate2::read::GzDecoder::new(&content.body[..]);
            reader.read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(content.body.to_vec()).unwrap();
        }
        (serde_json::from_str(&text).unwrap(), is_gzip)
    }
}

/// The path of a URL, which is under another name of the same listener.
fn target_of(reply: &Value) -> String {
    let url = reply["url"].as_str().unwrap();
    let target = url.strip_prefix("http://localhost:8205");
    target.expect(url).to_owned()
}

fn message(id: u64, sku: &str, quantity: &Value) -> Value {
    json!({ "messageId": id, "sku": sku, "operationType": "PATCH", "productType": "PRODUCT",
        "patches": [{ "op": "replace", "path": "/attributes/fulfillment_availability",
            "value": [{ "fulfillment_channel_code": "DEFAULT", "quantity": quantity }] }] })
}

fn content(messages: &[Value]) -> Value {
    json!({ "header": { "sellerId": "A1PRACTICE", "version": "2.0" }, "messages": messages })
}

#[test]
fn a_feed_is_worked_off_step_by_step_and_reports_each_message() {
    let rig = Rig::new();
    let partial = json!({ "messageId": 3, "sku": "LAST-1", "operationType": "PARTIAL_UPDATE",
        "productType": "PRODUCT", "attributes": { "fulfillment_availability":
            [{ "fulfillment_channel_code": "DEFAULT", "quantity": 1 }] } });
    let messages = [
        message(1, "0017", &json!(8)),
        message(2, "1E5", &json!("many")),
        partial,
        message(3, "LAST-2", &json!(1)),
    ];
    let feed = rig.submit_feed(&content(&messages));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(rig.feed(&feed)["processingStatus"].clone());
        rig.pass(700);
    }
    assert_eq!(statuses, ["IN_QUEUE", "IN_PROGRESS", "DONE"]);
    let (report, is_gzip) = rig.report(&feed);
    assert!(!is_gzip);
    assert_eq!(report["header"]["feedId"], json!(feed));
    let summary = json!({ "errors": 2, "warnings": 0, "messagesProcessed": 4,
        "messagesAccepted": 2, "messagesInvalid": 2 });
    assert_eq!(report["summary"], summary);
    let issues = report["issues"].as_array().unwrap();
    let about = issues
        .iter()
        .map(|issue| (&issue["messageId"], &issue["sku"]));
    assert!(about.eq([(&json!(2), &json!("1E5")), (&json!(3), &json!("LAST-2"))]));
    rig.pass(500);
    let quantities = rig.market.quantities();
    assert_eq!((quantities["0017"], quantities["LAST-1"]), (8, 1));
    assert_eq!((quantities["1E5"], quantities["LAST-2"]), (0, 0));
    let second = rig.submit_feed(&content(&[message(1, "0017", &json!(7))]));
    rig.pass(2000);
    assert!(rig.report(&second).1, "every second report is compressed");
    let listed = rig
        .get("/feeds/2021-06-30/feeds?feedTypes=JSON_LISTINGS_FEED&pageSize=1")
        .value();
    assert_eq!(listed["feeds"][0]["feedId"], json!(second));
}

/// Our credentials have no business where a document's URL leads.
#[test]
fn a_document_url_refuses_credentials_and_does_not_live_long() {
    let rig = Rig::new();
    let (_, target) = rig.document();
    let put = |name: &str, value: &str| {
        let call = Call::new("PUT", &target, "{}").with_header("content-type", TYPE);
        rig.plain(&call.with_header(name, value)).status
    };
    assert_eq!(put("x-amz-access-token", &rig.token), 403);
    assert_eq!(put("authorization", "Bearer it"), 400);
    assert_eq!(put("content-type", "text/plain"), 403);
    let unsigned = target.split('?').next().unwrap();
    assert_eq!(rig.upload(unsigned, "{}").status, 403);
    assert_eq!(
        rig.plain(&Call::new("GET", &target, "")).status,
        403,
        "made for uploading"
    );
    assert_eq!(rig.upload(&target, "{}").status, 200);
    rig.pass(300_000);
    assert_eq!(
        rig.upload(&target, "{}").status,
        403,
        "five minutes are over"
    );
}

/// Bad input: a feed that never finishes, one that fails, one that was accepted and forgotten.
#[test]
fn a_feed_ends_badly_or_never() {
    let good = content(&[message(1, "0017", &json!(8))]);
    let cases = [
        (Some(FaultKind::FeedStuck), &[("IN_PROGRESS", false)][..]),
        (
            Some(FaultKind::FeedFails),
            &[("FATAL", false), ("CANCELLED", false)],
        ),
        (Some(FaultKind::Unapplied), &[("DONE", true)]),
        (None, &[("DONE", true)]),
    ];
    for (kind, ends) in cases {
        let rig = Rig::new();
        let create = Call::new("POST", "/feeds/2021-06-30/feeds", "");
        for (status, has_report) in ends {
            assert!(kind.is_none_or(|kind| rig.market.mishap(kind, &create)));
            let feed = rig.submit_feed(&good);
            rig.pass(600_000);
            let shown = rig.feed(&feed);
            assert_eq!(shown["processingStatus"], *status, "{kind:?}");
            assert_eq!(
                shown["resultFeedDocumentId"].is_string(),
                *has_report,
                "{kind:?}"
            );
            let told = if kind.is_none() { 8 } else { 0 };
            assert_eq!(rig.market.quantity("0017"), Some(told), "{kind:?}");
        }
    }
}

#[test]
fn a_document_that_is_no_feed_is_fatal() {
    let rig = Rig::new();
    let (never_filled, _) = rig.document();
    let mut other = content(&[]);
    other["header"]["sellerId"] = json!("A1OTHER");
    let cases = [
        (rig.feed_of(&never_filled), false),
        (rig.submit_feed(&json!("no feed")), true),
        (rig.submit_feed(&other), true),
    ];
    rig.pass(2000);
    for (feed, has_report) in cases {
        assert_eq!(rig.feed(&feed)["processingStatus"], "FATAL");
        assert_eq!(
            rig.feed(&feed)["resultFeedDocumentId"].is_string(),
            has_report
        );
        if has_report {
            assert!(rig.report(&feed).0["issues"][0]["messageId"].is_null());
        }
    }
    let refused = json!({ "feedType": "POST_INVENTORY_AVAILABILITY_DATA", "marketplaceIds": [STORE],
        "inputFeedDocumentId": never_filled });
    assert_eq!(
        rig.send("POST", "/feeds/2021-06-30/feeds", &refused).status,
        400
    );
    assert_eq!(rig.get("/feeds/2021-06-30/feeds/1").status, 404);
}
