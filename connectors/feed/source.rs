//! Reading a folder: which file is next, what became of it, and its pages.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use tokio::sync::Mutex;

use super::convert::{Places, Reading, RowFault, RowReader};
use super::cursor::{At, Progress, key};
use super::judge::Judgement;
use super::settings::{Kind, Settings};
use crate::clock::{Clock, earlier};
use crate::connector::{Change, Cursor, Page, Probe, Source};
use crate::fault::Fault;
use crate::format::csv::{CsvError, CsvReader, Header, Next};
use crate::format::encoding::Charset;
use crate::id::RemoteId;
use crate::record::Stream;
use crate::transport::dir::{Arrivals, SpoolName, Stat};

/// Changes on one page: about what the engine accepts in one commit.
const PAGE_CHANGES: usize = 4000;
/// Rows that are read for one page, should few of them say anything.
const PAGE_ROWS: usize = 20_000;

/// One folder, read for one or more streams.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What is remembered while the process runs. All of it can be found out again.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) arrivals: Arrivals,
    /// What each stream's last durable cursor said.
    pub(super) progress: BTreeMap<Stream, Progress>,
    /// Of files in `processing/`, by key.
    pub(super) charsets: BTreeMap<String, Charset>,
    pub(super) known: BTreeMap<String, Known>,
    /// The file that each stream is in the middle of.
    pub(super) open: BTreeMap<Stream, Open>,
    pub(super) told_of_held: bool,
}

/// A file that was judged and may be handed over.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) charset: Charset,
    pub(super) stat: Stat,
    pub(super) header: Header,
    pub(super) places: Places,
    pub(super) judged: Judgement,
}

/// A reader that stands behind a line.
#[derive(Debug)]
pub(super) struct Open {
    file: String,
    line: u64,
    reader: CsvReader<File>,
}

/// One stream of a folder.
#[derive(Debug)]
pub(super) struct FeedSource {
    feed: Arc<Feed>,
    stream: Stream,
}

impl FeedSource {
    pub(super) fn new(feed: Arc<Feed>, stream: Stream) -> Self {
        Self { feed, stream }
    }
}

#[async_trait]
impl Source for FeedSource {
    async fn pull(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        self.feed.pull(self.stream, after).await
    }

    async fn fetch(&self, _: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        let message = "a folder of files cannot be asked for single articles";
        Err(Fault::config("no_fetch", message))
    }

    /// A folder holds what the supplier last dropped; there is nothing else to sweep. The page says
    /// nothing and claims nothing.
    async fn sweep(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        Feed::empty_page(&Progress::read(after)?)
    }

    /// A pull takes files out of the folder: not for looking.
    async fn peek(&self) -> Result<Option<Page>, Fault> {
        Ok(None)
    }

    fn can_fetch(&self) -> bool {
        false
    }
}

#[async_trait]
impl Probe for Feed {
    async fn probe(&self) -> Result<String, Fault> {
        let folder = &self.settings.folder;
        folder.prepare()?;
        let (waiting, held) = (folder.spooled()?.len(), folder.held()?.len());
        Ok(format!(
            "a folder that can be written to; {waiting} files in processing, {held} held"
        ))
    }
}

impl Feed {
    pub(super) fn new(name: String, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self {
            name,
            settings,
            clock,
            state: Mutex::new(State::default()),
        }
    }

    async fn pull(&self, stream: Stream, after: Option<&Cursor>) -> Result<Page, Fault> {
        let mut progress = Progress::read(after)?;
        let mut state = self.state.lock().await;
        let state = &mut *state;
        state.progress.insert(stream, progress.clone());
        if progress.at.is_none() {
            self.settings.folder.prepare()?;
            self.take_in(state)?;
            self.archive(state)?;
        }
        loop {
            let Some(name) = self.next_file(state, &mut progress)? else {
                return Self::empty_page(&progress);
            };
            if progress.at.is_none() && self.is_passed_over(state, &name, &progress)? {
                progress.finish(&name, true);
                continue;
            }
            if !state.known.contains_key(&key(&name)) {
                self.judge(state, &name, &progress).await?;
            }
            return self.page(state, stream, &name, progress);
        }
    }

    /// The file that this stream is in the middle of, else the oldest that it has not finished with.
    fn next_file(
        &self,
        state: &mut State,
        progress: &mut Progress,
    ) -> Result<Option<SpoolName>, Fault> {
        let spooled = self.settings.folder.spooled()?;
        if let Some(at) = &progress.at {
            if let Some(name) = spooled.iter().find(|name| key(name) == at.file) {
                return Ok(Some(name.clone()));
            }
            tracing::warn!(feed = %self.name, file = at.file, "a file vanished while it was read");
            progress.at = None;
        }
        let mut waiting = spooled.into_iter().filter(|name| !progress.is_done(name));
        let next = waiting.next();
        match next {
            Some(name) if name.hash.is_none() => self.identify(state, &name),
            next => Ok(next),
        }
    }

    /// The next changes of a file that was judged good.
    fn page(
        &self,
        state: &mut State,
        stream: Stream,
        name: &SpoolName,
        mut progress: Progress,
    ) -> Result<Page, Fault> {
        let file = key(name);
        let line = progress.at.as_ref().map_or(0, |at| at.line);
        let mut open = self.open_at(state, stream, name, line)?;
        let known = state.known.get(&file).ok_or_else(|| changed(name))?;
        let rows = RowReader::new(&self.settings, &known.places, stream);
        let mut changes = Vec::with_capacity(PAGE_CHANGES);
        let mut at_end = true;
        let mut read = 0;
        while let Some(next) = open
            .reader
            .next_row()
            .map_err(|error| file_fault(name, &error))?
        {
            open.line = next_line(&next);
            push(&mut changes, &next, &rows, known, stream);
            read += 1;
            if changes.len() >= PAGE_CHANGES || read >= PAGE_ROWS {
                at_end = false;
                break;
            }
        }
        let read_at = self.read_at(name, &known.stat);
        progress.as_of = Some(self.made_at(name, &known.stat));
        let proves = known.judged.unproven == 0 && stream == Stream::Stock;
        let complete = at_end && proves && self.settings.kind == Kind::Full;
        if at_end {
            progress.finish(name, false);
            progress.last = Some(known.judged.facts.clone());
            progress.newest = self.export_time(&name.display).max(progress.newest);
            progress.read_at = Some(read_at);
        } else {
            let line = open.line;
            progress.at = Some(At { file, line });
            state.open.insert(stream, open);
        }
        // What a full file leaves out is applied when a run ends, so each full file ends one.
        let more = !at_end || (self.settings.kind == Kind::Delta && self.is_waiting(&progress)?);
        Ok(Page {
            changes,
            cursor: progress.to_cursor()?,
            more,
            read_at,
            as_of: progress.as_of,
            complete,
        })
    }

    fn is_waiting(&self, progress: &Progress) -> Result<bool, Fault> {
        let spooled = self.settings.folder.spooled()?;
        Ok(spooled.iter().any(|name| !progress.is_done(name)))
    }

    /// The reader behind `line`: the one at hand, or a new one.
    fn open_at(
        &self,
        state: &mut State,
        stream: Stream,
        name: &SpoolName,
        line: u64,
    ) -> Result<Open, Fault> {
        let file = key(name);
        let at_hand = state.open.remove(&stream);
        if let Some(open) = at_hand.filter(|open| open.file == file && open.line == line) {
            return Ok(open);
        }
        let (opened, stat) = self.settings.folder.open(name)?;
        let known = state.known.get(&file).filter(|known| known.stat == stat);
        let Some(known) = known else {
            state.forget(&file);
            return Err(changed(name));
        };
        let mut reader = self.reader(opened, known.charset);
        reader
            .skip_past(line)
            .map_err(|error| file_fault(name, &error))?;
        Ok(Open { file, line, reader })
    }

    fn empty_page(progress: &Progress) -> Result<Page, Fault> {
        Ok(Page {
            changes: Vec::new(),
            cursor: progress.to_cursor()?,
            more: false,
            // Nothing is known that was not known before.
            read_at: progress.read_at.unwrap_or(Timestamp::UNIX_EPOCH),
            // An empty folder does not make the last file any younger.
            as_of: Some(progress.as_of.unwrap_or(Timestamp::UNIX_EPOCH)),
            complete: false,
        })
    }

    /// Until when a file knows: its export time, else its own time less the age that its numbers may
    /// have had when it was written.
    fn read_at(&self, name: &SpoolName, stat: &Stat) -> Timestamp {
        let exported = self.exported_at(name);
        exported.unwrap_or_else(|| earlier(stat.modified_at(), self.settings.snapshot_age))
    }

    /// When a file was made, for how fresh it is.
    fn made_at(&self, name: &SpoolName, stat: &Stat) -> Timestamp {
        self.exported_at(name).unwrap_or_else(|| stat.modified_at())
    }

    fn exported_at(&self, name: &SpoolName) -> Option<Timestamp> {
        self.in_zone(self.export_time(&name.display)?)
    }

    /// What the file's name tells about its export.
    pub(super) fn export_time(&self, display: &str) -> Option<DateTime> {
        let format = self.settings.name_time.as_deref()?;
        let parsed = BrokenDownTime::parse(format, display).ok()?;
        let date = parsed.to_date().ok()?;
        Some(
            parsed
                .to_time()
                .map_or_else(|_| date.into(), |time| date.to_datetime(time)),
        )
    }

    pub(super) fn in_zone(&self, at: DateTime) -> Option<Timestamp> {
        let zoned = at.to_zoned(self.settings.time_zone.clone()).ok()?;
        Some(zoned.timestamp())
    }
}

impl State {
    pub(super) fn forget(&mut self, file: &str) {
        self.known.remove(file);
        self.charsets.remove(file);
        self.open.retain(|_, open| open.file != file);
    }
}

fn next_line(next: &Next<'_>) -> u64 {
    match next {
        Next::Row(row) => row.line(),
        Next::Bad(bad) => bad.line,
    }
}

fn push(
    changes: &mut Vec<Change>,
    next: &Next<'_>,
    rows: &RowReader<'_>,
    known: &Known,
    stream: Stream,
) {
    let row = match next {
        Next::Row(row) if row.is_blank() => return,
        Next::Row(row) => row,
        Next::Bad(bad) => {
            changes.push(RowFault::unreadable(bad).to_change(&known.header));
            return;
        }
    };
    match rows.read(row) {
        Reading::Nothing => {}
        Reading::Bad(fault) => changes.push(fault.to_change(&known.header)),
        Reading::Says(said) => changes.push(match known.judged.conflict(stream, &said) {
            Some(first) => rows.conflict(row, &said, first).to_change(&known.header),
            None => rows
                .change(row, &said)
                .unwrap_or_else(|fault| Change::rejected(said.sku(), fault)),
        }),
    }
}

pub(super) fn changed(name: &SpoolName) -> Fault {
    let message = format!("`{}` changed while it was read", name.display);
    Fault::retry("file_changed", message)
}

/// A file that was judged good cannot be read any more.
fn file_fault(name: &SpoolName, error: &CsvError) -> Fault {
    Fault::retry(error.code(), format!("`{}`: {error}", name.display))
}
