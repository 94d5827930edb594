//! Looking after the store: how much waits, and removing what is too old.

use jiff::Timestamp;
use serde::Serialize;

use super::EngineError;
use super::stage::Stage;
use super::tables::JOURNAL;
use crate::clock::earlier;

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pressure {
    /// Deliveries of events that are not settled.
    pub events: usize,
    /// The bytes that their records take, about.
    pub event_bytes: u64,
    /// Rows in quarantine.
    pub quarantined: usize,
    /// The bytes that they take, about.
    pub quarantined_bytes: u64,
}

/// Where a sweep through the journal stands: after this row; before all of them when absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sweep(Option<(String, Timestamp, u64)>);

/// How much waits; from memory.
pub(super) fn pressure(stage: &Stage<'_, '_>) -> Pressure {
    Pressure {
        events: stage.index.queue.len(),
        event_bytes: stage.index.queue.bytes(),
        quarantined: stage.index.quarantine_len(),
        quarantined_bytes: stage.index.quarantine_groups().bytes(),
    }
}

/// Looks at the next `limit` rows of the journal and removes those whose time is over. The journal stands
/// by thing, so that a life is told in one read; what is old stands everywhere in it.
pub(super) fn expire_journal(
    stage: &mut Stage<'_, '_>,
    after: &Sweep,
    limit: usize,
) -> Result<Option<Sweep>, EngineError> {
    let range = match &after.0 {
        Some(key) => JOURNAL.after(JOURNAL.all(), key),
        None => JOURNAL.all(),
    };
    let not_before = earlier(stage.now, stage.limits().journal_ttl);
    let rows = JOURNAL.scan(stage.txn, &range, limit)?;
    let next = (rows.len() == limit).then(|| rows.last().map(|(key, _)| key.clone()));
    for (key, _) in rows {
        if key.1 < not_before {
            JOURNAL.delete(stage.txn, &key);
        }
    }
    Ok(next.map(Sweep))
}
