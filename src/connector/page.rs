//! What a source hands over.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Cursor;
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::{Fingerprint, Record};

/// What the source says about which version it is; a hint for ordering, never for skipping.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Version {
    /// When it last changed, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// A number or tag that the source changes with each change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// The payload as it came, for mapping it again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The bytes of this one thing (not of the whole page).
    pub bytes: Bytes,
    /// Whether it holds personal data, which shortens how long it is kept.
    pub personal: bool,
}

/// What is known of one thing now.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// It is there, with this content.
    Present(Record),
    /// It is gone.
    Absent,
    /// It could not be understood (law S8); it goes to quarantine and the page goes on.
    Rejected(Fault),
}

/// "This remote thing is now present or absent."
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The source's id of the thing.
    pub id: RemoteId,
    /// What is known of it.
    pub body: Body,
    /// Which version it is.
    pub version: Version,
    /// The payload as it came.
    pub raw: Option<Raw>,
    /// The record's, where it was computed already.
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl Change {
    /// What is known of a thing.
    pub(crate) fn of(id: RemoteId, body: Body) -> Self {
        Self {
            id,
            body,
            version: Version::default(),
            raw: None,
            fingerprint: None,
        }
    }

    /// A thing that is there.
    pub fn present(id: impl Into<RemoteId>, record: Record) -> Self {
        Self::of(id.into(), Body::Present(record))
    }

    /// A thing that is gone.
    pub fn absent(id: impl Into<RemoteId>) -> Self {
        Self::of(id.into(), Body::Absent)
    }

    /// A thing that could not be understood.
    pub fn rejected(id: impl Into<RemoteId>, fault: Fault) -> Self {
        Self::of(id.into(), Body::Rejected(fault))
    }

    /// With the fingerprint of its record, so that the one thread that decides need not compute it.
    #[must_use]
    pub(crate) fn fingerprinted(mut self) -> Self {
        self.fingerprint = self.record_fingerprint();
        self
    }

    /// Of its record, if there is one.
    pub(crate) fn record_fingerprint(&self) -> Option<Fingerprint> {
        match &self.body {
            Body::Present(record) => self.fingerprint.or_else(|| Some(record.fingerprint())),
            Body::Absent | Body::Rejected(_) => None,
        }
    }
}

/// Changes, plus the cursor that covers exactly them and all before (law S1).
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In the source's order.
    pub changes: Vec<Change>,
    /// How far this page reaches.
    pub cursor: Cursor,
    /// There is more: pull again at once.
    pub more: bool,
    /// When the read began, by the vendor's clock where it tells one, else by ours: a stock snapshot
    /// knows nothing that happened later.
    pub read_at: Timestamp,
    /// How old it is, where that is not just now: when the file was made, by our clock. What is read
    /// again and again from one old file does not become fresh by it.
    pub as_of: Option<Timestamp>,
    /// Whether these changes are all there is of the stream, so that what is missing is gone. Only a
    /// full feed says so, and only with its last page.
    pub complete: bool,
}
