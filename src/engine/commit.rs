//! Group commit: units of work that wait are staged together, and the next group is staged over the one that is
//! being written.
//!
//! A unit is answered when its commit is durable, and not before. What is staged over a commit that fails fails with
//! it: it was decided by what nobody knows any more.

use std::fmt;
use std::sync::Arc;

use super::stage::Stage;
use super::{Engine, EngineError, SPARE_ROWS};
use crate::fault::Fault;
use crate::store::{HARD_BATCH_BYTES, HARD_BATCH_ROWS, Store, StoreError, Txn, WriteBatch};

/// A unit of work in a group: staged once, answered after the commit.
pub(super) trait Work {
    /// What it is called in the log.
    fn name(&self) -> &'static str;
    /// Stages it.
    fn stage(&mut self, stage: &mut Stage<'_, '_>) -> Result<(), EngineError>;
    /// What it staged was taken back, and this is why.
    fn refuse(&mut self, fault: Fault);
    /// Answers; `committed` tells why it did not become durable, if it did not.
    fn answer(self: Box<Self>, committed: Result<(), &StoreError>);
}

/// A unit that may be answered on another thread.
pub(super) type Job = Box<dyn Work + Send>;

/// Units that are staged, and what they write together.
#[derive(Default)]
pub(super) struct Group {
    rows: WriteBatch,
    works: Vec<Job>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = f.debug_struct("Group");
        group.field("rows", &self.rows.len());
        group.field("works", &self.works.len()).finish()
    }
}

impl Group {
    /// Nobody waits for it.
    pub fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    /// What is in it, for the log.
    fn names(&self) -> String {
        let names: Vec<&str> = self.works.iter().map(|work| work.name()).collect();
        names.join(" ")
    }

    /// None of it becomes durable.
    pub fn fail(self, error: &StoreError) {
        for work in self.works {
            work.answer(Err(error));
        }
    }
}

/// A group on its way into the store.
#[derive(Debug)]
pub(super) struct Closed {
    store: Arc<dyn Store>,
    rows: Arc<WriteBatch>,
    group: Group,
}

impl Closed {
    /// Writes it and answers; whether there was anything to write.
    pub fn commit(self) -> Result<bool, StoreError> {
        let Self { store, rows, group } = self;
        let wrote = !rows.is_empty();
        if wrote && tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(rows = rows.len(), units = group.names(), "commit");
        }
        let committed = if wrote {
            store.commit_beside(&rows)
        } else {
            Ok(())
        };
        // Whoever is answered may have the store to himself.
        drop((store, rows));
        for work in group.works {
            work.answer(committed.as_ref().copied());
        }
        committed.map(|()| wrote)
    }
}

impl Engine {
    /// Stages units as `next` gives them, until it gives none or the group has as many rows as a commit should have.
    pub(super) fn stage(
        &mut self,
        group: &mut Group,
        next: &mut dyn FnMut() -> Option<Job>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let rules = Arc::clone(&self.rules);
        let under = self.under_way.as_deref();
        let rows = std::mem::take(&mut group.rows);
        let mut txn = Txn::over(self.store.as_ref(), under, rows);
        while txn.len() < rules.limits.commit_rows {
            let Some(mut work) = next() else {
                break;
            };
            let (index, numbers) = (&self.index, &mut self.numbers);
            let mut is_too_large = false;
            let updates = txn.attempt(|txn| {
                let mut stage = Stage::new(txn, &rules, index, now, numbers);
                work.stage(&mut stage)?;
                let updates = stage.finish()?;
                is_too_large = !fits(txn);
                if is_too_large {
                    return Err(too_large().into());
                }
                Ok::<_, EngineError>(updates)
            });
            if is_too_large {
                work.refuse(too_large());
            }
            // A unit that failed keeps its own error for its answer; what it staged is taken back. The
            // index may run ahead of the commit: should that fail, nothing is believed any more.
            for update in updates.unwrap_or_default() {
                self.index.apply(update);
            }
            group.works.push(work);
        }
        if let Err(EngineError::Store(error)) = self.index.refill(&txn, &rules, now) {
            return Err(error);
        }
        // Where that fails nothing is committed at all.
        let taken = self.numbers.take_more(&mut txn);
        group.rows = txn.into_batch();
        match taken {
            Err(EngineError::Store(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a group has as many rows as a commit should have.
    pub(super) fn is_full(&self, group: &Group) -> bool {
        group.rows.len() >= self.rules.limits.commit_rows
    }

    /// Nothing more is staged into a group: it is to be committed, one at a time. What is staged from now on sees
    /// what it writes.
    pub(super) fn close(&mut self, group: Group) -> Closed {
        let Group { rows, works } = group;
        let rows = Arc::new(rows);
        self.under_way = Some(Arc::clone(&rows));
        let group = Group {
            rows: WriteBatch::new(),
            works,
        };
        let store = Arc::clone(&self.store);
        Closed { store, rows, group }
    }

    /// What was closed last is durable.
    pub(super) fn committed(&mut self) {
        self.under_way = None;
    }
}

/// Whether a commit of this is taken, with what is added at its end.
fn fits(txn: &Txn<'_>) -> bool {
    txn.len() + SPARE_ROWS <= HARD_BATCH_ROWS && txn.bytes() <= HARD_BATCH_BYTES / 2
}

/// A unit that no commit takes fails alone: otherwise it would stop the daemon, again after each start.
fn too_large() -> Fault {
    let message = "this is too much for one commit: a smaller limits.accept_max_changes or \
                   limits.commit_max_rows may help; nothing of it was taken in";
    Fault::bug("unit_too_large", message)
}
