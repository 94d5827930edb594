//! HTTP, behind one trait: timeouts, size caps, redaction, rate limits, and replay from fixtures.
//!
//! Only this module names reqwest. A connector describes a request, names the bucket that pays for it
//! and gets a whole reply or a fault; whether a limiter made it wait is not its business.

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

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// One reply, read to its end within the cap.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Sends requests for one credential.
///
/// # Errors of [`HttpClient::send`]
/// A status code is never an error here: the manifest classifies it. `Retry` with effect `None` when
/// nothing left (refused, DNS, TLS), `Retry` with effect `Unknown` when the reply did not come or was
/// cut (law D3), `Reject` with `body_too_large` beyond the cap, `Config` for an address that is none.
#[async_trait]
pub trait HttpClient: Send + Sync + fmt::Debug {
    /// Waits for the limiter, sends, reads the whole reply.
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault>;

    /// Tells the limiter what a reply taught: see [`Feedback`].
    fn observe(&self, bucket: &str, feedback: Feedback);
}

/// What a reply says about the quota.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Feedback {
    /// Refused; nothing more for so long.
    Throttled {
        /// As the other side said, or none.
        retry_after: Option<Duration>,
    },
    /// The quota is this many a second with this burst.
    Quota {
        /// Cells a second.
        per_second: f64,
        /// Cells at once.
        burst: u32,
    },
    /// So many cells are left of the burst.
    Remaining {
        /// Cells.
        cells: u32,
    },
}
