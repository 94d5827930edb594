//! When to read. The framework loops, sleeps and retries; a source does not.
//!
//! One [`Poller`] reads one stream of one connection: first what is to be fetched by id, then page after
//! page until the source is drained. Each page is accepted in bounded units; the cursor moves with the
//! unit of a page, so a crash in between reads the page again and finds duplicates. Where it is asked for,
//! `sweep.rs` reads everything once more, slowly, for what no timestamp told. `receive.rs` takes in what other
//! systems tell on their own; it says what to fetch, and wakes the loop that does.

pub mod receive;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};

use crate::clock::{Clock, Timestamp, earlier, later};
use crate::connector::Body;
use crate::connector::{Change, Cursor, Page, Source};
use crate::engine::{
    Accepted, EngineError, Handle, Reached, UNIT_CHANGES, UNIT_LEVELS, UNIT_PRICES, Unit, Wanted,
};
use crate::fault::{Class, Fault};
use crate::id::{ConnectionName, RemoteId};
use crate::record::Stream;
use crate::telemetry;

/// How many changes that could not be understood are accepted in one commit.
const UNIT_REJECTED: usize = 500;
/// How many parts of a page are on their way into the store: one is written, one is staged behind it, and one waits
/// for that. More would keep others waiting.
const UNITS_AT_ONCE: usize = 3;
/// How many ids are fetched at a time.
const FETCH_AT_ONCE: usize = 25;
/// How many things are fetched by id before pages are read again.
const FETCH_PER_RUN: usize = 500;

/// Vendors tell their time in whole seconds: what they tell may be so much too early.
pub const CLOCK_STEP: Duration = Duration::from_secs(1);

/// Between which moments something was read, and how old it is.
#[derive(Debug, Clone, Copy)]
struct When {
    read_at: Timestamp,
    read_until: Timestamp,
    as_of: Option<Timestamp>,
}

impl When {
    fn of(read_at: Timestamp, took: Duration, as_of: Option<Timestamp>) -> Self {
        Self {
            read_at,
            read_until: later(read_at, took + CLOCK_STEP),
            as_of,
        }
    }
}

/// When and how far one stream is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Between two runs.
    pub every: Duration,
    /// After so many pages a run ends; the next goes on where it ended.
    pub max_pages: usize,
    /// A page with more changes is a defect of its source.
    pub max_changes: usize,
    /// How long the source takes until it shows everything of a moment.
    pub settle_lag: Duration,
    /// So many changes are accepted at a time at most.
    pub unit_changes: usize,
    /// A larger record is put into quarantine.
    pub max_record_bytes: u64,
    /// Things that are not settled and at most this old are read again by id; none when absent.
    pub reread_open: Option<Duration>,
    /// Between two sweeps; none when absent.
    pub sweep: Option<Duration>,
}

/// What one run read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Run {
    /// Pages.
    pub pages: usize,
    /// Changes on them, and things fetched by id.
    pub changes: usize,
    /// Of those, news.
    pub news: usize,
    /// Of those, in quarantine.
    pub rejected: usize,
    /// The source said that there is no more.
    pub drained: bool,
    /// What changed just before the store was made or restored may still be missing.
    pub catching_up: bool,
    /// When more is to be fetched by id.
    pub next_hint: Option<Timestamp>,
    /// Something could not be fetched: nobody is there, or it fell over.
    pub hints_failed: bool,
}

impl Run {
    fn count(&mut self, accepted: Accepted) {
        self.news += accepted.news;
        self.rejected += accepted.rejected;
    }
}

/// Reads one stream of one connection.
#[derive(Debug, Clone)]
pub struct Poller {
    /// Of which connection.
    pub connection: ConnectionName,
    /// Which stream.
    pub stream: Stream,
    /// How it is read.
    pub source: Arc<dyn Source>,
    /// Where it goes.
    pub engine: Handle,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When.
    pub schedule: Schedule,
}

impl Poller {
    /// Reads until the source is drained or the run is long enough; `on_page` is told that it gets on.
    ///
    /// # Errors
    /// What the source or the engine said; everything accepted before stays accepted.
    pub async fn run(&self, on_page: &(dyn Fn() + Sync)) -> Result<Run, Fault> {
        let mut run = Run::default();
        self.fetch_hints(&mut run).await?;
        on_page();
        self.reread_open(&mut run).await?;
        on_page();
        let (connection, stream) = (self.connection.clone(), self.stream);
        let mut cursor = self
            .engine
            .cursor(connection, stream)
            .await
            .map_err(EngineError::into_fault)?;
        let mut ahead = None;
        while run.pages < self.schedule.max_pages && !run.drained {
            let (page, took) = match ahead.take() {
                Some(read) => read?,
                None => self.pull(cursor.as_ref()).await?,
            };
            self.check_progress(cursor.as_ref(), &page)?;
            run.pages += 1;
            run.drained = !page.more;
            let next = page.cursor.clone();
            let reads_on = page.more && run.pages < self.schedule.max_pages;
            // What is read ahead is thrown away when this page cannot be accepted: its cursor does not move either.
            let read_ahead = async {
                if reads_on && self.source.reads_ahead() {
                    Some(self.pull(Some(&next)).await)
                } else {
                    None
                }
            };
            let accept = self.accept_page(page, took, &mut run);
            let (accepted, read) = tokio::join!(accept, read_ahead);
            accepted?;
            (ahead, cursor) = (read, Some(next));
            on_page();
        }
        if run.drained {
            self.sweep(on_page).await?;
        }
        Ok(run)
    }

    /// A page, and how long it took.
    async fn pull(&self, after: Option<&Cursor>) -> Result<(Page, Duration), Fault> {
        let begun = self.clock.monotonic();
        let page = self.source.pull(after).await?;
        Ok((page, self.clock.monotonic().saturating_sub(begun)))
    }

    /// Fetches what is to be fetched by id, and nothing else.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_hints(&self) -> Result<Run, Fault> {
        let mut run = Run::default();
        self.fetch_hints(&mut run).await?;
        Ok(run)
    }

    /// A source that hands out the same position for ever would be read for ever (story 64).
    fn check_progress(&self, before: Option<&Cursor>, page: &Page) -> Result<(), Fault> {
        if page.more && before == Some(&page.cursor) {
            let message = format!(
                "{} of {}: the source says that there is more but stays at {}",
                self.stream, self.connection, page.cursor
            );
            return Err(Fault::bug("endless_paging", message));
        }
        if page.changes.len() > self.schedule.max_changes {
            let message = format!(
                "{} of {}: a page holds {} changes, more than limits.page_max_changes",
                self.stream,
                self.connection,
                page.changes.len()
            );
            return Err(Fault::bug("page_too_large", message));
        }
        Ok(())
    }

    async fn accept_page(&self, page: Page, took: Duration, run: &mut Run) -> Result<(), Fault> {
        let Page {
            mut changes,
            cursor,
            more,
            read_at,
            as_of,
            complete,
        } = page;
        let when = When::of(read_at, took, as_of);
        run.changes += changes.len();
        // They stand in the engine's queue in their order. The cursor moves when all of them are durable.
        let mut under_way = FuturesOrdered::new();
        loop {
            let unit_size = self.unit_size(&changes);
            if unit_size == changes.len() {
                break;
            }
            if under_way.len() >= UNITS_AT_ONCE {
                run.count(under_way.next().await.transpose()?.unwrap_or_default());
            }
            let rest = changes.split_off(unit_size);
            let unit = std::mem::replace(&mut changes, rest);
            under_way.push_back(self.accept(unit, when, None));
        }
        while let Some(accepted) = under_way.next().await {
            run.count(accepted?);
        }
        if complete && !more {
            let accepted = self
                .accept(std::mem::take(&mut changes), when, None)
                .await?;
            run.count(accepted);
            self.apply_absence(when).await?;
        }
        let reached = Some(Reached {
            cursor,
            more,
            settle_lag: self.schedule.settle_lag,
        });
        let accepted = self.accept(changes, when, reached).await?;
        run.count(accepted);
        run.catching_up = accepted.catching_up;
        Ok(())
    }

    /// How many of these changes are accepted in one commit. One that could not be understood is a row of the quarantine
    /// and one of the journal, also where those that could are packed.
    fn unit_size(&self, changes: &[Change]) -> usize {
        let most = match self.stream {
            Stream::Stock => UNIT_LEVELS,
            Stream::Prices => UNIT_PRICES,
            _ => UNIT_CHANGES,
        };
        let most = most.min(self.schedule.unit_changes).max(1);
        let is_rejected = |(_, change): &(usize, &Change)| matches!(change.body, Body::Rejected(_));
        let mut rejected = changes.iter().enumerate().filter(is_rejected);
        let room = rejected.nth(UNIT_REJECTED);
        room.map_or(changes.len(), |(at, _)| at).min(most)
    }

    async fn accept(
        &self,
        changes: Vec<Change>,
        when: When,
        reached: Option<Reached>,
    ) -> Result<Accepted, Fault> {
        let changes = changes.into_iter().map(|change| self.prepared(change));
        let unit = self.unit(changes.collect(), when, reached);
        let accepted = self.engine.accept(unit).await;
        accepted.map_err(EngineError::into_fault)
    }

    /// A record beyond the limit is rejected alone, and the page goes on (law S8). Stock and prices are a few numbers,
    /// which nobody takes a fingerprint of.
    fn prepared(&self, change: Change) -> Change {
        let Body::Present(record) = &change.body else {
            return change;
        };
        let limit = self.schedule.max_record_bytes;
        match self.stream {
            Stream::Stock => return change,
            _ if record.json_bytes() > limit => {}
            Stream::Prices => return change,
            _ => return change.fingerprinted(),
        }
        let message = format!("it is larger than {limit} bytes (limits.record_max_bytes)");
        Change {
            body: Body::Rejected(Fault::reject("record_too_large", message)),
            raw: None,
            ..change
        }
    }

    fn unit(&self, changes: Vec<Change>, when: When, reached: Option<Reached>) -> Unit {
        Unit {
            connection: self.connection.clone(),
            stream: self.stream,
            changes,
            read_at: when.read_at,
            read_until: when.read_until,
            as_of: when.as_of,
            reached,
        }
    }

    /// What a complete run did not name is gone; only stock says so for now.
    async fn apply_absence(&self, when: When) -> Result<(), Fault> {
        if self.stream != Stream::Stock {
            return Ok(());
        }
        let unit = self.unit(Vec::new(), when, None);
        while self
            .engine
            .absence(unit.clone())
            .await
            .map_err(EngineError::into_fault)?
        {}
        Ok(())
    }

    async fn fetch_hints(&self, run: &mut Run) -> Result<(), Fault> {
        if !self.source.can_fetch() {
            return Ok(());
        }
        self.fetch_due(run).await?;
        run.next_hint = self
            .engine
            .next_hint(self.connection.clone(), self.stream)
            .await
            .map_err(EngineError::into_fault)?;
        Ok(())
    }

    /// What cannot be fetched keeps nothing else from being read: it comes later, alone (story 63).
    async fn fetch_due(&self, run: &mut Run) -> Result<(), Fault> {
        let hints = self
            .engine
            .hints(self.connection.clone(), self.stream, FETCH_PER_RUN)
            .await
            .map_err(EngineError::into_fault)?;
        let (fresh, mut tried): (Vec<Wanted>, Vec<Wanted>) =
            hints.into_iter().partition(|wanted| wanted.tries == 0);
        // One that fails each time must not stand before the others each time.
        tried.sort_by_key(|wanted| wanted.tries);
        for some in fresh.chunks(FETCH_AT_ONCE).chain(tried.chunks(1)) {
            let Err(fault) = self.fetch_wanted(some, run).await? else {
                continue;
            };
            match fault.class {
                Class::Reject | Class::Bug if some.len() > 1 => {
                    for one in some.chunks(1) {
                        if let Err(fault) = self.fetch_wanted(one, run).await? {
                            self.put_off(one, &fault).await?;
                        }
                    }
                }
                Class::Reject | Class::Bug => self.put_off(some, &fault).await?,
                Class::Retry => {
                    // Nobody is there, or these things are too much for it: the rest is asked next time.
                    self.put_off(some, &fault).await?;
                    run.hints_failed = true;
                    return Ok(());
                }
                Class::Throttle | Class::Auth | Class::Config => return Err(fault),
            }
        }
        Ok(())
    }

    /// Fetches some things. The inner fault is what the source said.
    async fn fetch_wanted(
        &self,
        wanted: &[Wanted],
        run: &mut Run,
    ) -> Result<Result<(), Fault>, Fault> {
        let ids: Vec<RemoteId> = wanted.iter().map(|wanted| wanted.id.clone()).collect();
        let there = match self.fetch_some(&ids).await {
            Ok((changes, when)) => {
                let there: Vec<RemoteId> = changes.iter().map(|it| it.id.clone()).collect();
                run.changes += changes.len();
                run.count(self.accept(changes, when, None).await?);
                there
            }
            Err(fault) => return Ok(Err(fault)),
        };
        let answered = wanted.iter();
        let answered = answered.filter(|it| it.is_told || !there.contains(&it.id));
        let answered: Vec<Wanted> = answered.cloned().collect();
        if !answered.is_empty() {
            self.engine
                .hints_answered(self.connection.clone(), self.stream, answered)
                .await
                .map_err(EngineError::into_fault)?;
        }
        Ok(Ok(()))
    }

    /// Notes that things could not be fetched.
    async fn put_off(&self, wanted: &[Wanted], fault: &Fault) -> Result<(), Fault> {
        let (connection, stream) = (self.connection.clone(), self.stream);
        telemetry::fetch_failed(&connection, stream, wanted.len(), fault);
        let done = match wanted {
            [one] if fault.class == Class::Reject => {
                let (one, fault) = (one.clone(), fault.clone());
                self.engine
                    .hint_refused(connection, stream, one, fault)
                    .await
            }
            some => {
                let some = some.to_vec();
                self.engine.hints_postponed(connection, stream, some).await
            }
        };
        done.map_err(EngineError::into_fault)
    }

    /// Where the vendor's timestamps lie, what is open is read again by id.
    async fn reread_open(&self, run: &mut Run) -> Result<(), Fault> {
        let Some(age) = self
            .schedule
            .reread_open
            .filter(|_| self.source.can_fetch())
        else {
            return Ok(());
        };
        let not_before = earlier(self.clock.now(), age);
        let open = self
            .engine
            .open_things(
                self.connection.clone(),
                self.stream,
                not_before,
                FETCH_PER_RUN,
            )
            .await
            .map_err(EngineError::into_fault)?;
        self.fetch(&open, run).await
    }

    async fn fetch(&self, ids: &[RemoteId], run: &mut Run) -> Result<(), Fault> {
        for ids in ids.chunks(FETCH_AT_ONCE) {
            let (changes, when) = self.fetch_some(ids).await?;
            run.changes += changes.len();
            run.count(self.accept(changes, when, None).await?);
        }
        Ok(())
    }

    async fn fetch_some(&self, ids: &[RemoteId]) -> Result<(Vec<Change>, When), Fault> {
        let read_at = self.clock.now();
        let changes = self.source.fetch(ids).await?;
        let when = When {
            read_at,
            read_until: self.clock.now(),
            as_of: None,
        };
        Ok((changes, when))
    }
}

#[cfg(test)]
mod tests;
