//! HTTP, behind one trait: timeouts, size caps, redaction, rate limits, and replay from fixtures.
//!
//! Only this module names reqwest. A connector describes a request, names the bucket that pays for it
//! and gets a whole reply or a fault; whether a limiter made it wait is not its business.
//!
//! ```text
//! connector -> LimitedClient (waits for its turn, learns from 429) -> Client (reqwest) -> network
//!                                                                  -> Replay (fixtures)
//!                                                                  -> Faulty -> Replay
//! ```
//!
//! - [`client`] sends: one connection's timeouts, proxy, certificates and size cap.
//! - [`limit`] decides whose turn it is: quotas, lanes, concurrency of one credential.
//! - [`limited`] joins the two.
//! - [`headers`] reads dates and quotas out of replies.
//! - [`replay`] and [`faulty`] stand in for the network in tests of connectors.

mod bucket;
pub mod client;
pub mod faults;
pub mod faulty;
pub mod headers;
pub mod limit;
pub mod limited;
mod matching;
mod quota;
pub mod replay;
mod share;

#[cfg(test)]
mod tests;

pub use client::{Client, HttpOptions};
pub use limit::{LimitOptions, Limiter, Rate};
pub use limited::LimitedClient;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::fault::Fault;
pub use crate::record::Lane;
use crate::secret::Secret;

/// A header's value.
#[derive(Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// May be shown in a log.
    Plain(String),
    /// May not.
    Secret(Secret),
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => write!(f, "{text:?}"),
            Self::Secret(_) => f.write_str("[secret]"),
        }
    }
}

/// One request. Its `Debug` shows neither the query, nor a secret, nor the body.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// Absolute. Query parameters that are secret do not belong here (story 55).
    pub url: String,
    /// In the order in which they are sent; names in lower case.
    pub headers: Vec<(String, HeaderValue)>,
    /// The body, if any.
    pub body: Option<Bytes>,
    /// Which bucket of the credential pays, such as `default` or `orders`.
    pub bucket: String,
    /// How many cells of it.
    pub cost: u32,
    /// Which lane waits for it.
    pub lane: Lane,
    /// Whole request, connect to last byte; the connection's default when absent.
    pub timeout: Option<Duration>,
    /// It changes something at the other side.
    pub changes: bool,
}

impl HttpRequest {
    /// A request without headers and body that costs one cell of the bucket `default`.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            bucket: "default".into(),
            cost: 1,
            lane: Lane::default(),
            timeout: None,
            changes: false,
        }
    }

    /// The same request with one more header that may be shown.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let value = HeaderValue::Plain(value.into());
        self.headers.push((name.into(), value));
        self
    }

    /// The same request with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &faults::redact(&self.url))
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .field("bucket", &self.bucket)
            .field("cost", &self.cost)
            .field("lane", &self.lane)
            .field("timeout", &self.timeout)
            .field("changes", &self.changes)
            .finish()
    }
}

/// One reply, read to its end within the cap. Its `Debug` shows neither cookies nor the body.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// In the order in which they came; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body, decompressed.
    pub body: Bytes,
    /// When the reply was complete, by our clock.
    pub received_at: Timestamp,
}

impl HttpReply {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpReply")
            .field("status", &self.status)
            .field("header_names", &names)
            .field("body_bytes", &self.body.len())
            .field("received_at", &self.received_at)
            .finish()
    }
}

/// Sends requests for one credential.
///
/// # Errors of [`HttpClient::send`]
/// A status code is never an error here: the manifest classifies it. `Retry` with effect `None` when
/// nothing left (refused, DNS, TLS), `Retry` with effect `Unknown` when the reply did not come or was
/// cut (law D3), `Reject` with `body_too_large` beyond the cap (effect `Unknown`: it was sent), `Config`
/// for an address that is none. With a limiter in front also `Config` for an undeclared bucket or a cost
/// above its burst, and `Throttle` when the other side asked for a longer pause than anybody waits here.
#[async_trait]
pub trait HttpClient: Send + Sync + fmt::Debug {
    /// Waits for the limiter (if there is one), sends, reads the whole reply. Dropping the future is
    /// safe for the limiter; whether the other side acted is then unknown.
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault>;

    /// Tells the limiter what a reply taught: see [`Feedback`]. 429 and `retry-after` are observed
    /// already; this is for what only the manifest knows. Nothing happens without a limiter.
    fn observe(&self, bucket: &str, feedback: Feedback);
}

/// What a reply says about the quota.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Feedback {
    /// Refused; nothing more for so long.
    Throttled {
        /// As the other side said; without it 1 s, 2 s, 4 s … up to 60 s.
        retry_after: Option<Duration>,
    },
    /// The quota is this many a second with this burst.
    Quota {
        /// Cells a second.
        per_second: f64,
        /// Cells at once.
        burst: u32,
    },
    /// A request that was counted with one number of cells cost another.
    Cost {
        /// What was counted.
        counted: u32,
        /// What it cost; 0 is no cost that anybody can know (story 51), and counts as told nothing.
        told: u32,
    },
    /// So many cells are left of the burst.
    Remaining {
        /// Cells.
        cells: u32,
    },
}
