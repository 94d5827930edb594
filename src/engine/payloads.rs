//! Payloads as they came, kept for mapping them again until their time to live is over.
//!
//! The payloads of a unit of work stand together: they are alike, so that together they take a third of the
//! room, and one row costs as much as another. A row is a line of JSON that names each payload and tells
//! its length, and then the payloads, packed ([`pack`]). What is superseded stays until its time is over too.

use std::mem;

use jiff::Timestamp;
use serde_json::json;

use super::EngineError;
use super::rules::EngineLimits;
use super::stage::{Numbers, Stage};
use super::tables::PAYLOADS;
use crate::clock::later;
use crate::connector::Raw;
use crate::id::{ConnectionName, RemoteId};
use crate::ledger::Kept;
use crate::record::Stream;
use crate::store::codec::pack;
use crate::store::{MAX_VALUE_BYTES, Txn};

/// A row is full when its payloads are longer, before they are packed.
const ROW_BYTES: usize = 64 * 1024;

/// The payloads of one unit of work.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    /// What holds personal data, and what does not: they are kept for different times.
    open: [Option<Row>; 2],
    full: Vec<Row>,
}

/// Payloads that will stand together.
#[derive(Debug)]
struct Row {
    kept: Kept,
    names: Vec<serde_json::Value>,
    bytes: Vec<u8>,
}

impl Payloads {
    /// Keeps a payload; where.
    pub(super) fn keep(
        &mut self,
        (connection, stream, id): (&ConnectionName, Stream, &RemoteId),
        raw: &Raw,
        now: Timestamp,
        limits: &EngineLimits,
        numbers: &mut Numbers,
    ) -> Kept {
        let ttl = if raw.personal {
            limits.personal_payload_ttl
        } else {
            limits.payload_ttl
        };
        let open = &mut self.open[usize::from(raw.personal)];
        let is_full = |row: &mut Row| row.bytes.len() + raw.bytes.len() > ROW_BYTES;
        self.full.extend(open.take_if(is_full));
        let row = open.get_or_insert_with(|| Row {
            kept: Kept {
                until: later(now, ttl),
                number: numbers.next(),
            },
            names: Vec::new(),
            bytes: Vec::new(),
        });
        row.names.push(json!([
            connection.as_str(),
            stream,
            id.as_str(),
            raw.bytes.len()
        ]));
        row.bytes.extend_from_slice(&raw.bytes);
        row.kept
    }

    /// Writes what was kept.
    pub(super) fn write(&mut self, txn: &mut Txn<'_>) -> Result<(), EngineError> {
        let open = self.open.iter_mut().filter_map(Option::take);
        for row in mem::take(&mut self.full).into_iter().chain(open) {
            let mut bytes = json!(row.names).to_string().into_bytes();
            bytes.push(b'\n');
            bytes.extend_from_slice(&row.bytes);
            let packed = pack(&bytes)?;
            // One that cannot be made smaller is as large as `raw_max_bytes` allows, and a little more.
            if packed.len() <= MAX_VALUE_BYTES {
                txn.put(PAYLOADS.key(&(row.kept.until, row.kept.number)), packed);
            }
        }
        Ok(())
    }
}

/// Removes at most `limit` rows of payloads whose time is over; whether more are left.
pub(super) fn expire(stage: &mut Stage<'_, '_>, limit: usize) -> Result<bool, EngineError> {
    let due = PAYLOADS.before(&(stage.now,));
    let rows = stage.txn.scan(&due, limit)?;
    let more = rows.len() == limit;
    for row in rows {
        stage.txn.delete(row.key);
    }
    Ok(more)
}
