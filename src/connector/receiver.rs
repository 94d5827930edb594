//! What a connector makes of a webhook: a hint that something changed, and nothing else.
//!
//! No content of a webhook is ever believed: it may be late, out of order, repeated or replayed. It only
//! says which thing to fetch.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::Stream;

/// A request as it came in.
#[derive(Clone)]
pub struct Inbound {
    /// The whole address that the sender was given for it: some sign it. Empty when nobody configured one.
    pub url: String,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// Every byte of the body, as it came.
    pub body: Bytes,
    /// When it was here, by our clock.
    pub at: Timestamp,
}

impl Inbound {
    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Shows sizes only: addresses hold secrets and bodies hold people (law D5).
impl Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// In this stream.
    pub stream: Stream,
    /// With this thing; something unnamed when absent.
    pub id: Option<RemoteId>,
    /// What the sender calls the event; the same again means that it is told again.
    pub event: Option<String>,
}

/// What a request that can be believed says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notice {
    /// Each once, in the order in which they stand there.
    pub hints: Vec<Hint>,
    /// Of how many things nobody knows what they are about.
    pub unknown: usize,
    /// It only asked whether anybody is there.
    pub is_ping: bool,
}

/// Understands the webhooks of a connection.
pub trait Receiver: Send + Sync + Debug {
    /// Whether a request comes from where it should, and what it says. Pure: no I/O, no clock.
    ///
    /// # Errors
    /// `Auth` when it is forged or replayed, `Reject` when it is genuine and cannot be understood. Neither
    /// holds anything out of the request.
    fn verify(&self, request: &Inbound) -> Result<Notice, Fault>;
}

/// What became of a connection's subscriptions at the other side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscribed {
    /// Topics that were right already.
    pub right: Vec<String>,
    /// Topics that nobody had subscribed to for this address.
    pub created: Vec<String>,
    /// Topics whose subscription the other side had given up.
    pub revived: Vec<String>,
    /// Topics that a person over there has stopped on purpose: they stay so.
    pub stopped: Vec<String>,
}

/// Looks after the subscriptions that make another system send webhooks (story 17).
#[async_trait]
pub trait Subscriptions: Send + Sync + Debug {
    /// Makes sure that changes of these streams are told to `address`.
    ///
    /// # Errors
    /// As any request; what was done before stays done, and all of it may be repeated.
    async fn ensure(&self, address: &str, streams: &BTreeSet<Stream>) -> Result<Subscribed, Fault>;
}

/// What the configuration around a connection must have for its webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HookNeeds {
    /// Proofs are computed with the address that the other side was given.
    pub address: bool,
}
