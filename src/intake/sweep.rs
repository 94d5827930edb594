//! Sweeps: everything is read once more, slowly, beside the normal reading.
//!
//! A timestamp is a hint (stories 1, 2, 10 and 12): what was committed late, or changed without its
//! timestamp, is found by its content alone. After a run that read its stream to the end, a sweep that is
//! due reads a few pages, accepts them like any others, and moves nothing but its own place. What is news
//! there was not told by the normal reading, or a moment ago.

use super::{Poller, Run, When};
use crate::connector::Page;
use crate::engine::{EngineError, SweepTurn};
use crate::fault::{Class, Fault};
use crate::telemetry;

/// How many pages of a sweep are read after one run.
const PAGES: usize = 20;

impl Poller {
    /// Reads the next pages of a sweep that is due. What its source says is told and tried again later:
    /// the normal reading goes on.
    pub(super) async fn sweep(&self, on_page: &(dyn Fn() + Sync)) -> Result<(), Fault> {
        let Some(every) = self.schedule.sweep else {
            return Ok(());
        };
        let (connection, stream) = (&self.connection, self.stream);
        for _ in 0..PAGES {
            let turn = self.engine.sweep_turn(connection.clone(), stream, every);
            let at = match turn.await.map_err(EngineError::into_fault)? {
                SweepTurn::Rest => return Ok(()),
                SweepTurn::Begin => None,
                SweepTurn::GoOn(at) => Some(at),
            };
            let begun = self.clock.monotonic();
            let page = self.source.sweep(at.as_ref()).await;
            let took = self.clock.monotonic().saturating_sub(begun);
            let page = page.and_then(|page| self.check_progress(at.as_ref(), &page).map(|()| page));
            match page {
                Ok(page) => {
                    let when = When::of(page.read_at, took, page.as_of);
                    self.accept_swept(page, when).await?;
                }
                Err(fault) => {
                    telemetry::sweep_failed(connection, stream, &fault);
                    let passes =
                        matches!(fault.class, Class::Retry | Class::Throttle | Class::Auth);
                    if !passes {
                        let given_up =
                            self.engine
                                .sweep_given_up(connection.clone(), stream, fault);
                        given_up.await.map_err(EngineError::into_fault)?;
                    }
                    return Ok(());
                }
            }
            on_page();
        }
        Ok(())
    }

    /// First what stands on the page, then how far the sweep is: a crash in between reads it again.
    async fn accept_swept(&self, page: Page, when: When) -> Result<(), Fault> {
        let mut swept = Run::default();
        let read = page.changes.len();
        let mut changes = page.changes;
        while !changes.is_empty() {
            let rest = changes.split_off(self.unit_size(&changes));
            let unit = std::mem::replace(&mut changes, rest);
            swept.count(self.accept(unit, when, None).await?);
        }
        let next = page.more.then_some(page.cursor);
        let (connection, stream) = (&self.connection, self.stream);
        let done = self
            .engine
            .swept(connection.clone(), stream, next, (read, swept.news));
        done.await.map_err(EngineError::into_fault)?;
        telemetry::swept(connection, stream, read, swept.news);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
