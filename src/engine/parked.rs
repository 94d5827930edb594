//! Orders behind many others stand in the store alone until their turn is near, or until something is done about them.
//!
//! How, and why so: `src/docs/decisions/parked-orders.md`.

use jiff::Timestamp;

use super::EngineError;
use super::index::{Index, Update, entry_of};
use super::rules::Rules;
use super::stage::Stage;
use super::tables::{ENTITY, EVENT};
use crate::connector::Operation;
use crate::id::{ConnectionName, EntityId};
use crate::outbox::{OutboxRow, Queue};
use crate::record::Stream;
use crate::store::Txn;

/// How many rows are fetched at a time, and how many that may be sent now are enough.
const ENOUGH: usize = 1000;

/// Whether a new row need not stand in memory before its turn is near: an order behind many others.
pub(super) fn may_be_parked(stage: &Stage<'_, '_>, row: &OutboxRow) -> bool {
    let target = (row.sink.clone(), row.stream);
    let is_order = row.stream == Stream::Orders && row.operation == Operation::Create;
    let most = stage.limits().queue_rows;
    is_order && row.group.is_none() && stage.index.queue.is_full(&target, most)
}

/// The parked row of a thing for one sink, if there is one. It has at most one: the order's create.
pub(super) fn row_of(
    txn: &Txn<'_>,
    rules: &Rules,
    queue: &Queue,
    (sink, line): (&ConnectionName, &EntityId),
) -> Result<Option<OutboxRow>, EngineError> {
    let entity = ENTITY.get(txn, line)?;
    let seq = entity.and_then(|entity| entity.parked.get(sink).copied());
    let Some(seq) = seq.filter(|seq| !queue.contains(*seq)) else {
        return Ok(None);
    };
    let row = EVENT.get(txn, &seq)?;
    Ok(row.filter(|row| entry_of(rules, row).parked))
}

impl Stage<'_, '_> {
    /// The rows for one sink that keep order with a thing, in order; parked ones too.
    pub(super) fn rows_of(
        &self,
        sink: &ConnectionName,
        line: &EntityId,
    ) -> Result<Vec<u64>, EngineError> {
        let mut rows: Vec<u64> = self.index.queue.of_line(sink, line).collect();
        let parked = self.parked_row(sink, line)?;
        rows.extend(parked.map(|row| row.seq));
        rows.sort_unstable();
        Ok(rows)
    }

    /// What is done about a thing for a sink is done behind its parked row: that must be known in memory.
    pub(super) fn fetch_parked(
        &mut self,
        sink: &ConnectionName,
        line: &EntityId,
    ) -> Result<(), EngineError> {
        if let Some(row) = self.parked_row(sink, line)? {
            let entry = entry_of(self.rules, &row);
            self.updates.push(Update::Fetched(row.seq, entry));
        }
        Ok(())
    }

    /// As [`row_of`]; one that this unit of work parks too.
    fn parked_row(
        &self,
        sink: &ConnectionName,
        line: &EntityId,
    ) -> Result<Option<OutboxRow>, EngineError> {
        let queue = &self.index.queue;
        if !self.parks && !queue.has_parked(&(sink.clone(), Stream::Orders)) {
            return Ok(None);
        }
        row_of(self.txn, self.rules, queue, (sink, line))
    }
}

impl Index {
    /// Takes parked rows into memory where less of a target stands there than is soon sent.
    pub(super) fn refill(
        &mut self,
        txn: &Txn<'_>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let enough = ENOUGH.min(rules.limits.queue_rows.div_ceil(2));
        while let Some((target, first)) = self.queue.short(now, enough) {
            let from = EVENT.after(EVENT.all(), &first.saturating_sub(1));
            let rows = EVENT.scan(txn, &from, enough)?;
            let last = rows.last().map(|(seq, _)| seq + 1);
            for (seq, row) in rows {
                let is_meant = row.sink == target.0 && row.stream == target.1;
                if is_meant
                    && let entry = entry_of(rules, &row)
                    && entry.parked
                {
                    self.queue.fetch(seq, entry);
                }
            }
            let missing = self.queue.passed(&target, last);
            if missing > 0 {
                let (sink, stream) = &target;
                tracing::error!(%sink, %stream, missing, "counted as parked, and not in the store");
                debug_assert_eq!(missing, 0, "{target:?}");
            }
        }
        Ok(())
    }
}
