//! A reply as expressions see it: `reply.status`, `reply.headers`, `reply.json`, `reply.text`.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::clock::earlier;
use crate::fault::Fault;
use crate::transport::http::{HttpReply, headers};

/// How something packed with gzip begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The longest reply, unpacked.
const MAX_UNPACKED: u64 = 128 << 20;
/// The longest text of a body that is no JSON which rules may look at.
const MAX_TEXT: usize = 64 * 1024;

/// Why a body that should be JSON is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyTrouble {
    /// It ends in the middle.
    Cut,
    /// It is something else: an error page, a login page.
    NotJson,
    /// It is empty.
    Empty,
}

impl BodyTrouble {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Cut => "cut_reply",
            Self::NotJson => "not_json",
            Self::Empty => "empty_reply",
        }
    }
}

impl fmt::Display for BodyTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "the reply ends in the middle",
            Self::NotJson => "the reply is not JSON",
            Self::Empty => "the reply is empty",
        })
    }
}

/// A reply, read.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// What expressions see.
    pub(super) document: Json,
    /// JSON was expected and did not come.
    pub(super) trouble: Option<BodyTrouble>,
    /// The vendor's clock when it began to answer, if it tells.
    pub(super) server_time: Option<Timestamp>,
    /// Our clock when the reply was complete.
    pub(super) received_at: Timestamp,
    /// Our clock when it was asked for.
    pub(super) asked_at: Timestamp,
    /// The wait that it asks for.
    pub(super) retry_after: Option<Duration>,
}

impl Reply {
    /// Reads a reply that took `took` to come. `wants_json` is whether anything else is trouble.
    pub(super) fn read(reply: &HttpReply, took: Duration, wants_json: bool) -> Self {
        let parsed = parse(&reply.body);
        let trouble = match &parsed {
            Err(trouble) if wants_json => Some(*trouble),
            _ => None,
        };
        let json = parsed.unwrap_or_default();
        let text = if json.is_null() {
            String::from_utf8_lossy(&reply.body[..reply.body.len().min(MAX_TEXT)]).into_owned()
        } else {
            String::new()
        };
        let all: Map<String, Json> = reply
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        // The header tells when the answer was made; what was read may be as old as the request.
        let server_time = headers::server_time(reply).map(|at| earlier(at, took));
        Self {
            status: reply.status,
            document: json!({
                "status": reply.status, "headers": all, "json": json, "text": text
            }),
            trouble,
            server_time,
            received_at: reply.received_at,
            asked_at: earlier(reply.received_at, took),
            retry_after: headers::retry_after(reply),
        }
    }
}

/// A body that may be packed with gzip, unpacked: at most `limit` bytes.
pub(super) fn unpacked(body: Bytes, limit: u64) -> Result<Bytes, Fault> {
    if !body.starts_with(&GZIP) {
        return Ok(body);
    }
    let limit = limit.min(MAX_UNPACKED);
    let mut plain = Vec::new();
    let mut reader = GzDecoder::new(body.as_ref()).take(limit + 1);
    if reader.read_to_end(&mut plain).is_err() {
        let message = "the packed reply ends in the middle or is damaged";
        return Err(Fault::retry("cut_reply", message).after_sending());
    }
    if plain.len() as u64 > limit {
        let message = format!("the reply is longer than {limit} bytes when it is unpacked");
        return Err(Fault::reject("body_too_large", message).after_sending());
    }
    Ok(Bytes::from(plain))
}

fn parse(body: &[u8]) -> Result<Json, BodyTrouble> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(BodyTrouble::Empty);
    }
    serde_json::from_slice(body).map_err(|error| {
        let begins_as_json = matches!(
            body.iter().find(|byte| !byte.is_ascii_whitespace()),
            Some(b'{' | b'[' | b'"')
        );
        if begins_as_json {
            BodyTrouble::Cut
        } else {
            BodyTrouble::NotJson
        }
        .filtered(&error)
    })
}

impl BodyTrouble {
    /// A body that begins as JSON and breaks in its middle was not cut: something else is wrong.
    fn filtered(self, error: &serde_json::Error) -> Self {
        if self == Self::Cut && !error.is_eof() {
            Self::NotJson
        } else {
            self
        }
    }
}
