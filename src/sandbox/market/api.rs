//! The marketplace's HTTP dialect: which request is which operation.
//!
//! ```text
//! POST /auth/o2/token                                        see `auth`
//! POST /tokens/2021-03-01/restrictedDataToken                createRestrictedDataToken
//! GET  /orders/2026-01-01/orders                             searchOrders
//! GET  /orders/2026-01-01/orders/{orderId}                   getOrder
//! GET  /orders/v0/orders/{orderId}/address                   getOrderAddress (restricted)
//! POST /orders/v0/orders/{orderId}/shipmentConfirmation      confirmShipment: 204
//! GET, PATCH /listings/2021-08-01/items/{sellerId}/{sku}     getListingsItem, patchListingsItem
//! GET  /listings/2021-08-01/items/{sellerId}                 searchListingsItems
//! POST /feeds/2021-06-30/documents                           createFeedDocument: 201
//! GET  /feeds/2021-06-30/documents/{feedDocumentId}          getFeedDocument
//! POST, GET /feeds/2021-06-30/feeds                          createFeed: 202, getFeeds
//! GET  /feeds/2021-06-30/feeds/{feedId}                      getFeed
//! GET  /sellers/v1/marketplaceParticipations                 getMarketplaceParticipations
//! PUT, GET /documents/{id}?X-Amz-…                           what the URLs of documents lead to
//! ```
//!
//! Errors are `{errors: [{code, message, details}]}`. Replies say the operation's rate in
//! `x-amzn-RateLimit-Limit`; of those that refuse for its sake (429) only every second one does, since
//! the vendor no longer promises it there.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{Market, State, orders};
use crate::clock::Timestamp;
use crate::sandbox::audit::lock;
use crate::sandbox::faults::FaultKind;
use crate::sandbox::serve::{Call, Reply, System};

impl System for Market {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn answer(&self, call: &Call, now: Timestamp) -> Reply {
        let mut state = lock(&self.state);
        self.advance_state(&mut state, now);
        let reply = self
            .route(&mut state, call, now)
            .unwrap_or_else(|refusal| refusal);
        reply.header("x-amzn-requestid", request_id(call, now))
    }

    fn expire_tokens(&self) -> bool {
        lock(&self.state).tokens.clear()
    }

    /// Somebody at the marketplace touches the newest orders: they move to the end of a search.
    fn shift_rows(&self, now: Timestamp) -> bool {
        let mut state = lock(&self.state);
        self.advance_state(&mut state, now);
        let mut any = false;
        for order in state.orders.values_mut().rev().take(3) {
            self.touch(order, now);
            any = true;
        }
        any
    }

    fn refuse(&self, status: u16, code: &str, message: &str) -> Reply {
        let (code, message) = match status {
            429 => ("QuotaExceeded", QUOTA_EXCEEDED),
            500 => (
                "InternalFailure",
                "We encountered an internal error. Please try again.",
            ),
            503 => (
                "ServiceUnavailable",
                "Service is temporarily unavailable. Please try again.",
            ),
            _ => (code, message),
        };
        error(status, code, message)
    }

    fn mishap(&self, kind: FaultKind, call: &Call) -> bool {
        let mut state = lock(&self.state);
        match (kind, operation(call)) {
            (FaultKind::Unapplied, Some("patchListingsItem" | "createFeed")) => {
                state.forgets_next = true;
                true
            }
            (FaultKind::FeedStuck | FaultKind::FeedFails, Some("createFeed")) => {
                state.feeds.spoil_next(kind);
                true
            }
            _ => false,
        }
    }
}

const QUOTA_EXCEEDED: &str = "You exceeded your quota for the requested resource.";

impl Market {
    fn route(&self, state: &mut State, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let segments = call.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (call.method.as_str(), segments.as_slice()) {
            ("POST", ["auth", "o2", "token"]) => return self.login(state, call, now),
            ("PUT", ["documents", id]) => return state.documents.upload(id, call, now),
            ("GET", ["documents", id]) => return state.documents.download(id, call, now),
            _ => {}
        }
        let Some(operation) = operation(call) else {
            return Err(error(
                404,
                "NotFound",
                "The requested resource does not exist.",
            ));
        };
        state
            .tokens
            .check(call, operation == "getOrderAddress", now)?;
        let (rate, is_over) = self.quotas.take(operation, self.audit.clock().monotonic());
        let rate = rate.map(|rate| format!("{rate:?}"));
        if is_over {
            let refusal = error(429, "QuotaExceeded", QUOTA_EXCEEDED);
            let tells = self.tells_rate();
            return Err(match rate.filter(|_| tells) {
                Some(rate) => refusal.header("x-amzn-ratelimit-limit", rate),
                None => refusal,
            });
        }
        let with_rate = |reply: Reply| match &rate {
            Some(rate) => reply.header("x-amzn-ratelimit-limit", rate.clone()),
            None => reply,
        };
        self.perform(operation, &segments, state, call, now)
            .map(&with_rate)
            .map_err(&with_rate)
    }

    /// Every second refusal tells.
    fn tells_rate(&self) -> bool {
        let refusal = self.refusals.fetch_add(1, Ordering::Relaxed);
        refusal % 2 == 1
    }

    fn perform(
        &self,
        operation: &str,
        segments: &[&str],
        state: &mut State,
        call: &Call,
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        let last = segments.last().copied().unwrap_or_default();
        let order = segments.get(3).copied().unwrap_or_default();
        match operation {
            "createRestrictedDataToken" => self.restricted_token(state, call, now),
            "searchOrders" => self.search_orders(state, call, now),
            "getOrder" => self.get_order(state, last, call),
            "getOrderAddress" => orders::get_address(state, order),
            "confirmShipment" => self.confirm_shipment(state, order, call, now),
            "getListingsItem" => self.get_listing(state, segments, call),
            "searchListingsItems" => self.search_listings(state, last, call),
            "patchListingsItem" => self.patch_listing(state, segments, call, now),
            "createFeedDocument" => state.documents.create(call, now),
            "getFeedDocument" => state.documents.open(last, call, now),
            "createFeed" => self.create_feed(state, call, now),
            "getFeeds" => state.feeds.list(call),
            "getFeed" => state.feeds.show(last),
            _ => Ok(self.participations()),
        }
    }

    fn participations(&self) -> Reply {
        Reply::ok(&json!({ "payload": [{
            "marketplace": {
                "id": self.options.marketplace_id,
                "countryCode": "DE",
                "name": "Amazon.de",
                "defaultCurrencyCode": "EUR",
                "defaultLanguageCode": "de_DE",
                "domainName": "www.amazon.de",
            },
            "storeName": "Practice",
            "participation": { "isParticipating": true, "hasSuspendedListings": false },
        }] }))
    }
}

/// Which operation a request is, by the name that the vendor gives it.
fn operation(call: &Call) -> Option<&'static str> {
    let segments = call.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let name = match (call.method.as_str(), segments.as_slice()) {
        ("POST", ["tokens", "2021-03-01", "restrictedDataToken"]) => "createRestrictedDataToken",
        ("GET", ["orders", "2026-01-01", "orders"]) => "searchOrders",
        ("GET", ["orders", "2026-01-01", "orders", _]) => "getOrder",
        ("GET", ["orders", "v0", "orders", _, "address"]) => "getOrderAddress",
        ("POST", ["orders", "v0", "orders", _, "shipmentConfirmation"]) => "confirmShipment",
        ("GET", ["listings", "2021-08-01", "items", _, _]) => "getListingsItem",
        ("GET", ["listings", "2021-08-01", "items", _]) => "searchListingsItems",
        ("PATCH", ["listings", "2021-08-01", "items", _, _]) => "patchListingsItem",
        ("POST", ["feeds", "2021-06-30", "documents"]) => "createFeedDocument",
        ("GET", ["feeds", "2021-06-30", "documents", _]) => "getFeedDocument",
        ("POST", ["feeds", "2021-06-30", "feeds"]) => "createFeed",
        ("GET", ["feeds", "2021-06-30", "feeds"]) => "getFeeds",
        ("GET", ["feeds", "2021-06-30", "feeds", _]) => "getFeed",
        ("GET", ["sellers", "v1", "marketplaceParticipations"]) => "getMarketplaceParticipations",
        _ => return None,
    };
    Some(name)
}

/// The same request at the same moment has the same id: a simulation stays what it is.
fn request_id(call: &Call, now: Timestamp) -> String {
    let text = format!("{} {} {now}", call.method, call.path);
    let bytes = super::first_bytes(&text);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Reply {
    error_with(status, code, message, "")
}

pub(super) fn error_with(status: u16, code: &str, message: &str, details: &str) -> Reply {
    let errors = json!([{ "code": code, "message": message, "details": details }]);
    Reply::json(status, &json!({ "errors": errors }))
}

pub(super) fn invalid_input(message: impl AsRef<str>) -> Reply {
    error(400, "InvalidInput", message.as_ref())
}

/// A moment from the query.
pub(super) fn moment(call: &Call, name: &str) -> Result<Option<Timestamp>, Reply> {
    let Some(text) = call.query.get(name) else {
        return Ok(None);
    };
    let wrong = |_| invalid_input(format!("The parameter '{name}' is not in ISO 8601 format."));
    text.parse().map(Some).map_err(wrong)
}

/// The body as a type; what does not fit is named as the vendor names it.
pub(super) fn body<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, Reply> {
    let unreadable = "Request has missing or invalid parameters and cannot be parsed.";
    let json: serde_json::Value =
        serde_json::from_slice(&call.body).map_err(|_| invalid_input(unreadable))?;
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = error.path().to_string();
        invalid_input(format!(
            "The input you have submitted is not valid. Please check the fields with invalid type [{path}]."
        ))
    })
}
