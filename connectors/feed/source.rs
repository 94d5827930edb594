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
use super::judge::{Judge, Judgement};
use super::reply::{self, Verdict};
use super::settings::{Kind, Settings};
use crate::clock::{Clock, earlier};
use crate::connector::{Change, Cursor, Page, Probe, Source};
use crate::fault::{Class, Fault};
use crate::format::csv::{CsvError, CsvReader, Header, Limits, Next};
use crate::format::encoding::{self, Charset};
use crate::id::RemoteId;
use crate::record::Stream;
use crate::transport::dir::{Arrivals, Shelf, SpoolName, Stat};

/// Changes on one page.
const PAGE_CHANGES: usize = 500;
/// Rows that are read for one page, should few of them say anything.
const PAGE_ROWS: usize = 20_000;
/// Rows between two yields while a file is judged.
const YIELD_ROWS: usize = 20_000;
/// So many files waiting mean that somebody does not read them.
const MANY_WAITING: usize = 100;

/// One folder, read for one or more streams.
#[derive(Debug)]
pub(super) struct Feed {
    name: String,
    settings: Settings,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What is remembered while the process runs. All of it can be found out again.
#[derive(Debug, Default)]
struct State {
    arrivals: Arrivals,
    /// What each stream's last durable cursor said.
    progress: BTreeMap<Stream, Progress>,
    /// Of files in `processing/`, by key.
    charsets: BTreeMap<String, Charset>,
    known: BTreeMap<String, Known>,
    /// The file that each stream is in the middle of.
    open: BTreeMap<Stream, Open>,
    told_of_held: bool,
}

/// A file that was judged and may be handed over.
#[derive(Debug)]
struct Known {
    charset: Charset,
    stat: Stat,
    header: Header,
    places: Places,
    judged: Judgement,
}

/// A reader that stands behind a line.
#[derive(Debug)]
struct Open {
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
        self.feed.empty_page(&Progress::read(after)?)
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
                return self.empty_page(&progress);
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

    /// Takes complete files into `processing/` and finds out what is in them.
    fn take_in(&self, state: &mut State) -> Result<(), Fault> {
        let folder = &self.settings.folder;
        let ready = folder.scan(
            &mut state.arrivals,
            self.clock.monotonic(),
            self.clock.now(),
        )?;
        for file in &ready {
            let exported = self.export_time(&file.display());
            let written_at = exported.and_then(|at| self.in_zone(at));
            if let Some(name) = folder.claim(file, written_at)? {
                tracing::info!(feed = %self.name, file = name.display, "a file was taken");
            }
        }
        if !state.told_of_held {
            state.told_of_held = true;
            for held in folder.held()? {
                tracing::warn!(feed = %self.name, file = %held, "a file is still held");
            }
        }
        for name in folder.spooled()? {
            if name.hash.is_none() {
                self.identify(state, &name)?;
            }
        }
        Ok(())
    }

    /// Moves to the archive what every stream has finished with, as its durable cursor says.
    fn archive(&self, state: &mut State) -> Result<(), Fault> {
        let spooled = self.settings.folder.spooled()?;
        if spooled.len() > MANY_WAITING {
            tracing::warn!(
                feed = %self.name,
                files = spooled.len(),
                "many files wait; is each of the feed's streams on a route?"
            );
        }
        for name in spooled {
            let is_done = |stream| {
                state
                    .progress
                    .get(stream)
                    .is_some_and(|progress| progress.is_done(&name))
            };
            if name.hash.is_some() && self.settings.streams.iter().all(is_done) {
                self.settings.folder.shelve(&name, Shelf::Archive)?;
                state.forget(&key(&name));
            }
        }
        Ok(())
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

    /// Reads a file through for its hash and its encoding; `None` when it went to `failed/`.
    fn identify(&self, state: &mut State, name: &SpoolName) -> Result<Option<SpoolName>, Fault> {
        let folder = &self.settings.folder;
        let mut probe = encoding::Probe::new();
        let identified = folder.identify(name, self.settings.max_bytes, |part| probe.feed(part));
        let identified = match identified {
            Err(fault) if fault.class == Class::Reject => {
                return Err(self.stop(state, name, Verdict::Failed, vec![fault.message], None));
            }
            result => result?,
        };
        match probe.finish(None, self.settings.encoding) {
            Ok(charset) => {
                state.charsets.insert(key(&identified), charset);
                Ok(Some(identified))
            }
            Err(unknown) => {
                let reasons = vec![unknown.to_string()];
                Err(self.stop(state, &identified, Verdict::Failed, reasons, None))
            }
        }
    }

    /// Whether a file is not to be read: it was here before, or it is older than what was.
    fn is_passed_over(
        &self,
        state: &mut State,
        name: &SpoolName,
        progress: &Progress,
    ) -> Result<bool, Fault> {
        if name.released {
            return Ok(false);
        }
        let exported = self.export_time(&name.display);
        let older = exported
            .zip(progress.newest)
            .is_some_and(|(at, newest)| at < newest);
        if older {
            let reason = "a file with a newer export time was taken before".to_owned();
            if self.settings.kind == Kind::Delta {
                // What it says may stand nowhere else: a person decides.
                return Err(self.stop(state, name, Verdict::Older, vec![reason], None));
            }
            tracing::warn!(feed = %self.name, file = name.display, "an older file was passed over");
            self.answer(name, Verdict::Older, &[reason], None);
            return Ok(true);
        }
        if progress.is_duplicate(name) {
            let reason = "a file with the same content was taken before".to_owned();
            tracing::info!(feed = %self.name, file = name.display, "a duplicate was passed over");
            self.answer(name, Verdict::Duplicate, &[reason], None);
            return Ok(true);
        }
        Ok(false)
    }

    /// The first pass over a file, and the decision about it.
    async fn judge(
        &self,
        state: &mut State,
        name: &SpoolName,
        progress: &Progress,
    ) -> Result<(), Fault> {
        let file = key(name);
        let charset = match state.charsets.get(&file) {
            Some(charset) => *charset,
            None => {
                // After a restart; the name carries the hash, the encoding is found out again.
                let found = self.identify(state, name)?;
                match found.and_then(|found| state.charsets.get(&key(&found)).copied()) {
                    Some(charset) if state.charsets.contains_key(&file) => charset,
                    _ => return Err(changed(name)),
                }
            }
        };
        let known = match self.read_all(name, charset).await {
            Ok(known) => known,
            Err(Stop::Fault(fault)) => return Err(fault),
            Err(Stop::Unreadable(reasons)) => {
                return Err(self.stop(state, name, Verdict::Failed, reasons, None));
            }
        };
        let guarded = progress.at.is_none() && !name.released;
        if guarded {
            let reasons = known
                .judged
                .objections(&self.settings, progress.last.as_ref());
            if !reasons.is_empty() {
                let found = Some((&known.judged, &known.header));
                return Err(self.stop(state, name, Verdict::Held, reasons, found));
            }
        }
        let last = progress.last.as_ref();
        if last.is_some_and(|last| last.header != known.judged.facts.header) {
            tracing::warn!(feed = %self.name, file = name.display, "the columns have changed");
        }
        self.report(name, &known);
        state.known.insert(file, known);
        Ok(())
    }

    fn report(&self, name: &SpoolName, known: &Known) {
        let judged = &known.judged;
        self.answer(name, Verdict::Accepted, &[], Some((judged, &known.header)));
        if judged.unproven > 0 && self.settings.kind == Kind::Full {
            tracing::warn!(
                feed = %self.name,
                file = name.display,
                rows = judged.unproven,
                "rows could not be read, so nothing that is missing is set to zero"
            );
        }
        tracing::info!(
            feed = %self.name,
            file = name.display,
            rows = judged.facts.rows,
            bad = judged.bad,
            "a file was judged good"
        );
    }

    /// Reads all rows, twice if articles repeat.
    async fn read_all(&self, name: &SpoolName, charset: Charset) -> Result<Known, Stop> {
        let settings = &self.settings;
        let (file, stat) = settings.folder.open(name)?;
        let mut reader = self.reader(file, charset);
        let header = reader.header()?.clone();
        let places = Places::find(settings, &header).map_err(|missing| {
            Stop::Unreadable(missing.iter().map(ToString::to_string).collect())
        })?;
        let mut judge = Judge::new(settings, &places, &header, stat.size);
        let mut read = 0;
        while let Some(next) = reader.next_row()? {
            match next {
                Next::Bad(bad) => judge.unreadable(RowFault::unreadable(&bad)),
                Next::Row(row) if row.is_blank() => {}
                Next::Row(row) => judge.row(&row),
            }
            if judge.is_hopeless() {
                break;
            }
            read += 1;
            if read % YIELD_ROWS == 0 {
                tokio::task::yield_now().await;
            }
        }
        let judged = match judge.candidates() {
            Err(judged) => judged,
            Ok(mut repetitions) => {
                let (file, _) = settings.folder.open(name)?;
                let mut reader = self.reader(file, charset);
                while let Some(next) = reader.next_row()? {
                    if let Next::Row(row) = next {
                        repetitions.row(&row);
                    }
                    read += 1;
                    if read % YIELD_ROWS == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                repetitions.finish()
            }
        };
        Ok(Known {
            charset,
            stat,
            header,
            places,
            judged,
        })
    }

    fn reader(&self, file: File, charset: Charset) -> CsvReader<File> {
        let dialect = crate::format::csv::Dialect {
            charset,
            ..self.settings.dialect
        };
        let limits = Limits {
            bytes: self.settings.max_bytes,
            ..Limits::default()
        };
        CsvReader::new(file, dialect, limits)
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
        let mut changes = Vec::new();
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

    fn empty_page(&self, progress: &Progress) -> Result<Page, Fault> {
        Ok(Page {
            changes: Vec::new(),
            cursor: progress.to_cursor()?,
            more: false,
            // Nothing is known that was not known before.
            read_at: progress.read_at.unwrap_or(Timestamp::UNIX_EPOCH),
            complete: false,
        })
    }

    /// Until when a file knows: its export time, else its own time less the age that its numbers may
    /// have had when it was written.
    fn read_at(&self, name: &SpoolName, stat: &Stat) -> Timestamp {
        let exported = self.export_time(&name.display);
        exported
            .and_then(|at| self.in_zone(at))
            .unwrap_or_else(|| earlier(stat.modified_at(), self.settings.snapshot_age))
    }

    /// What the file's name tells about its export.
    fn export_time(&self, display: &str) -> Option<DateTime> {
        let format = self.settings.name_time.as_deref()?;
        let parsed = BrokenDownTime::parse(format, display).ok()?;
        let date = parsed.to_date().ok()?;
        Some(
            parsed
                .to_time()
                .map_or_else(|_| date.into(), |time| date.to_datetime(time)),
        )
    }

    fn in_zone(&self, at: DateTime) -> Option<Timestamp> {
        let zoned = at.to_zoned(self.settings.time_zone.clone()).ok()?;
        Some(zoned.timestamp())
    }

    /// Takes a file out of the way, answers its sender and words the fault for the operator. Old stock
    /// stays.
    fn stop(
        &self,
        state: &mut State,
        name: &SpoolName,
        verdict: Verdict,
        reasons: Vec<String>,
        found: Option<(&Judgement, &Header)>,
    ) -> Fault {
        self.answer(name, verdict, &reasons, found);
        let (shelf, code, advice) = match verdict {
            Verdict::Failed => (
                Shelf::Failed,
                "feed_failed",
                format!("it is in failed/{name}; mend it or the feed's settings and drop it again"),
            ),
            _ => (
                Shelf::Held,
                "feed_held",
                format!(
                    "release it with `crossdock release {} {name}` or drop a better one",
                    self.name
                ),
            ),
        };
        if let Err(fault) = self.settings.folder.shelve(name, shelf) {
            return fault;
        }
        state.forget(&key(name));
        let reasons = reasons.join("; ");
        tracing::error!(feed = %self.name, file = name.display, code, reasons, "a file was stopped");
        Fault::reject(
            code,
            format!(
                "{}: `{}`: {reasons}; nothing was changed; {advice}",
                self.name, name.display
            ),
        )
    }

    /// Answers the supplier. A full or closed reply folder must not stop the stock.
    fn answer(
        &self,
        name: &SpoolName,
        verdict: Verdict,
        reasons: &[String],
        found: Option<(&Judgement, &Header)>,
    ) {
        let written = reply::write(name, verdict, reasons, found)
            .map_err(|error| Fault::bug("reply_unwritable", error.to_string()))
            .and_then(|bytes| self.settings.folder.reply(&reply::name(name), &bytes));
        if let Err(fault) = written {
            tracing::warn!(feed = %self.name, file = name.display, %fault, "no answer was written");
        }
    }
}

impl State {
    fn forget(&mut self, file: &str) {
        self.known.remove(file);
        self.charsets.remove(file);
        self.open.retain(|_, open| open.file != file);
    }
}

/// Why reading a whole file ended early.
enum Stop {
    Fault(Fault),
    /// The file is at fault.
    Unreadable(Vec<String>),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<CsvError> for Stop {
    fn from(error: CsvError) -> Self {
        match error {
            CsvError::Io(error) => Self::Fault(Fault::retry("file_unreadable", error.to_string())),
            other => Self::Unreadable(vec![other.to_string()]),
        }
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

fn changed(name: &SpoolName) -> Fault {
    let message = format!("`{}` changed while it was read", name.display);
    Fault::retry("file_changed", message)
}

/// A file that was judged good cannot be read any more.
fn file_fault(name: &SpoolName, error: &CsvError) -> Fault {
    Fault::retry(error.code(), format!("`{}`: {error}", name.display))
}
