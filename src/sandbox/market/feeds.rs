//! Feeds: many writes in one document, worked off later, with a report.
//!
//! `IN_QUEUE`, then `IN_PROGRESS`, then `DONE` with a report of what was wrong with which message; every
//! second report is compressed. A document that is no feed ends `FATAL` with a report, one that was never
//! filled ends `FATAL` without one. On demand a feed ends `FATAL` or `CANCELLED`, or never.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::listings::{Change, Issue, Patch, change_of, changes_of};
use super::{Market, State, api};
use crate::clock::{Timestamp, later};
use crate::sandbox::faults::FaultKind;
use crate::sandbox::serve::{Call, Reply};

/// The only type that it knows.
const FEED_TYPE: &str = "JSON_LISTINGS_FEED";
/// The largest page of a list.
const PAGE: usize = 100;

/// All feeds, in their order.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    all: Vec<Feed>,
    next_fate: Fate,
    failures: u64,
}

/// How far a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    InQueue,
    InProgress,
    Done,
    Fatal,
    Cancelled,
}

/// How it will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    #[default]
    Done,
    /// Done, and nothing of what was accepted is ever applied.
    Forgotten,
    Fatal,
    Cancelled,
    Never,
}

#[derive(Debug)]
struct Feed {
    id: String,
    document: String,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    status: Status,
    report: Option<String>,
    fate: Fate,
    marketplace_id: String,
}

/// A feed's document.
#[derive(Deserialize)]
struct Content {
    header: Header,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    seller_id: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(rename = "messageId")]
    id: u64,
    sku: String,
    operation_type: String,
    #[serde(default)]
    product_type: String,
    #[serde(default)]
    patches: Vec<Patch>,
    #[serde(default)]
    attributes: Map<String, Value>,
}

impl Feeds {
    /// The next feed ends badly, or never.
    pub(super) fn spoil_next(&mut self, kind: FaultKind) {
        self.next_fate = if kind == FaultKind::FeedStuck {
            Fate::Never
        } else {
            self.failures += 1;
            if self.failures.is_multiple_of(2) {
                Fate::Cancelled
            } else {
                Fate::Fatal
            }
        };
    }

    /// `getFeed`.
    pub(super) fn show(&self, id: &str) -> Result<Reply, Reply> {
        let feed = self.all.iter().find(|feed| feed.id == id);
        let missing = || api::error(404, "NotFound", "Feed not found");
        feed.map(|feed| Reply::ok(&feed.to_json()))
            .ok_or_else(missing)
    }

    /// `getFeeds`: the newest first. There is one page: its token would be a test of its own.
    pub(super) fn list(&self, call: &Call) -> Result<Reply, Reply> {
        let types = call.list("feedTypes").unwrap_or_default();
        if types.is_empty() {
            let text = "One of 'feedTypes' and 'nextToken' is required.";
            return Err(api::invalid_input(text));
        }
        let wanted = call.list("processingStatuses");
        let since = api::moment(call, "createdSince")?.unwrap_or(Timestamp::MIN);
        let until = api::moment(call, "createdUntil")?.unwrap_or(Timestamp::MAX);
        let size = call
            .query
            .get("pageSize")
            .map_or(Ok(10), |text| text.parse());
        let Ok(size @ 1..=PAGE) = size else {
            return Err(api::invalid_input("'pageSize' is from 1 to 100."));
        };
        let has_status = |feed: &Feed| match &wanted {
            Some(names) => names
                .iter()
                .any(|name| json!(feed.status) == *name.as_str()),
            None => true,
        };
        let feeds = self.all.iter().rev().filter(|feed| {
            let in_time = feed.created_at >= since && feed.created_at <= until;
            in_time && has_status(feed) && types.iter().any(|name| name == FEED_TYPE)
        });
        let feeds: Vec<Value> = feeds.take(size).map(Feed::to_json).collect();
        Ok(Reply::ok(&json!({ "feeds": feeds })))
    }
}

impl Feed {
    fn to_json(&self) -> Value {
        let mut body = json!({
            "feedId": self.id,
            "feedType": FEED_TYPE,
            "marketplaceIds": [self.marketplace_id],
            "createdTime": self.created_at,
            "processingStatus": self.status,
        });
        let rest = [
            ("processingStartTime", json!(self.started_at)),
            ("processingEndTime", json!(self.ended_at)),
            ("resultFeedDocumentId", json!(self.report)),
        ];
        for (name, value) in rest {
            if !value.is_null() {
                body[name] = value;
            }
        }
        body
    }

    fn end(&mut self, status: Status, at: Timestamp, report: Option<String>) {
        self.status = status;
        self.ended_at = Some(at);
        self.report = report;
    }
}

impl Market {
    /// `createFeed`.
    pub(super) fn create_feed(
        &self,
        state: &mut State,
        call: &Call,
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wanted {
            feed_type: String,
            marketplace_ids: Vec<String>,
            input_feed_document_id: String,
        }
        let wanted: Wanted = api::body(call)?;
        let store = &self.options.marketplace_id;
        let is_known = state.documents.contains(&wanted.input_feed_document_id);
        if wanted.feed_type != FEED_TYPE || wanted.marketplace_ids != [store.clone()] || !is_known {
            return Err(api::error_with(
                400,
                "InvalidInput",
                "Invalid input",
                "Invalid input",
            ));
        }
        let mut fate = std::mem::take(&mut state.feeds.next_fate);
        if std::mem::take(&mut state.forgets_next) {
            fate = Fate::Forgotten;
        }
        let id = (50_001 + state.feeds.all.len()).to_string();
        state.feeds.all.push(Feed {
            id: id.clone(),
            document: wanted.input_feed_document_id,
            created_at: now,
            started_at: None,
            ended_at: None,
            status: Status::InQueue,
            report: None,
            fate,
            marketplace_id: store.clone(),
        });
        Ok(Reply::json(202, &json!({ "feedId": id })))
    }

    pub(super) fn advance_feeds(&self, state: &mut State, now: Timestamp) {
        let mut feeds = std::mem::take(&mut state.feeds.all);
        for (feed, number) in feeds.iter_mut().zip(0u64..) {
            let starts = later(feed.created_at, self.options.feed_lag);
            let ends = later(starts, self.options.feed_lag);
            if feed.status == Status::InQueue && starts <= now {
                feed.status = Status::InProgress;
                feed.started_at = Some(starts);
                if feed.fate == Fate::Cancelled {
                    feed.end(Status::Cancelled, starts, None);
                }
            }
            if feed.status == Status::InProgress && ends <= now {
                match feed.fate {
                    Fate::Never | Fate::Cancelled => {}
                    Fate::Fatal => feed.end(Status::Fatal, ends, None),
                    Fate::Done | Fate::Forgotten => {
                        self.work_off(state, feed, ends, number % 2 == 1);
                    }
                }
            }
        }
        state.feeds.all = feeds;
    }

    fn work_off(&self, state: &mut State, feed: &mut Feed, at: Timestamp, gzip: bool) {
        let Some(bytes) = state.documents.content(&feed.document) else {
            feed.end(Status::Fatal, at, None);
            return;
        };
        let (status, judged) = match serde_json::from_slice::<Content>(&bytes) {
            Ok(content) if content.header.version == "2.0" && self.is_ours(&content.header) => {
                (Status::Done, judge(&content.messages))
            }
            _ => (Status::Fatal, Judged::unreadable()),
        };
        let report = judged.report(&self.options.seller_id, &feed.id);
        let report = state.documents.add_report(&report.to_string(), gzip);
        feed.end(status, at, Some(report));
        if feed.fate == Fate::Forgotten {
            return;
        }
        for (sku, changes) in judged.accepted {
            self.submit(state, &sku, changes, at);
        }
    }

    fn is_ours(&self, header: &Header) -> bool {
        header.seller_id == self.options.seller_id
    }
}

/// What a feed's messages amount to.
#[derive(Debug, Default)]
struct Judged {
    accepted: Vec<(String, Vec<Change>)>,
    issues: Vec<Value>,
    processed: usize,
}

impl Judged {
    fn unreadable() -> Self {
        let issue = json!({
            "code": "90000001",
            "severity": "ERROR",
            "message": "The feed could not be read: it is no listings feed of version 2.0 of this merchant.",
        });
        Self {
            issues: vec![issue],
            ..Self::default()
        }
    }

    fn report(&self, seller: &str, feed: &str) -> Value {
        let accepted = self.accepted.len();
        json!({
            "header": { "sellerId": seller, "version": "2.0", "feedId": feed },
            "issues": self.issues,
            "summary": {
                "errors": self.issues.len(),
                "warnings": 0,
                "messagesProcessed": self.processed,
                "messagesAccepted": accepted,
                "messagesInvalid": self.processed - accepted,
            },
        })
    }
}

fn judge(messages: &[Message]) -> Judged {
    let mut judged = Judged::default();
    let mut seen = BTreeSet::new();
    for message in messages {
        judged.processed += 1;
        let changes = if seen.insert(message.id) {
            message.changes()
        } else {
            Err(vec![Issue::about_message(
                "The 'messageId' was used before.",
            )])
        };
        match changes {
            Ok(changes) => judged.accepted.push((message.sku.clone(), changes)),
            Err(issues) => {
                let (id, sku) = (message.id, &message.sku);
                let found = issues.iter().map(|issue| issue.in_report(id, sku));
                judged.issues.extend(found);
            }
        }
    }
    judged
}

impl Message {
    fn changes(&self) -> Result<Vec<Change>, Vec<Issue>> {
        let lacks = |name: &str| {
            let text = format!("'{name}' is required but not supplied.");
            Err(vec![Issue::about_message(&text)])
        };
        if self.sku.is_empty() {
            return lacks("sku");
        }
        let operation = self.operation_type.as_str();
        if operation != "DELETE" && self.product_type.is_empty() {
            return lacks("productType");
        }
        match operation {
            "DELETE" => Ok(vec![Change::Delete]),
            "PATCH" if self.patches.is_empty() => lacks("patches"),
            "PATCH" => changes_of(&self.patches),
            "PARTIAL_UPDATE" if self.attributes.is_empty() => lacks("attributes"),
            "PARTIAL_UPDATE" => attributes_of(&self.attributes),
            _ => {
                let text = "The 'operationType' is not supported here.";
                Err(vec![Issue::about_message(text)])
            }
        }
    }
}

fn attributes_of(attributes: &Map<String, Value>) -> Result<Vec<Change>, Vec<Issue>> {
    let mut changes = Vec::new();
    let mut issues = Vec::new();
    for (name, value) in attributes {
        let value = value.as_array().map_or(&[][..], Vec::as_slice);
        match change_of(name, value, false) {
            Ok(change) => changes.push(change),
            Err(issue) => issues.push(issue),
        }
    }
    if issues.is_empty() {
        Ok(changes)
    } else {
        Err(issues)
    }
}
