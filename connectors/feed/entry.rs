//! From a dropped file to one that may be handed over: taken, identified, judged; or stopped.

use std::fs::File;

use super::convert::{Places, RowFault};
use super::cursor::{Progress, key};
use super::judge::{FirstPass, Judge, Judgement};
use super::reply::{self, Verdict};
use super::settings::Kind;
use super::source::{Feed, Known, State, changed};
use crate::fault::{Class, Fault};
use crate::format::csv::{CsvError, CsvReader, Dialect, Header, Limits, Next};
use crate::format::encoding::{self, Charset};
use crate::transport::dir::{Shelf, SpoolName};

/// Rows between two yields while a file is judged.
const YIELD_ROWS: usize = 20_000;
/// So many files waiting mean that somebody does not read them.
const MANY_WAITING: usize = 100;

impl Feed {
    /// Takes complete files into `processing/` and finds out what is in them.
    pub(super) fn take_in(&self, state: &mut State) -> Result<(), Fault> {
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
    pub(super) fn archive(&self, state: &mut State) -> Result<(), Fault> {
        let spooled = self.settings.folder.spooled()?;
        if spooled.len() > MANY_WAITING {
            tracing::warn!(
                feed = %self.name,
                files = spooled.len(),
                "many files wait; is each of the feed's streams on a route?"
            );
        }
        let mut shelved = false;
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
                shelved = true;
            }
        }
        if shelved {
            self.settings.folder.prune(self.settings.keep_files)?;
        }
        Ok(())
    }

    /// Reads a file through for its hash and its encoding; `None` when it went to `failed/`.
    pub(super) fn identify(
        &self,
        state: &mut State,
        name: &SpoolName,
    ) -> Result<Option<SpoolName>, Fault> {
        let folder = &self.settings.folder;
        let mut probe = encoding::Probe::new();
        let identified = folder.identify(name, self.settings.max_bytes, |part| probe.feed(part));
        let identified = match identified {
            Err(fault) if fault.class == Class::Reject => {
                return Err(self.stop(state, name, Verdict::Failed, &[fault.message], None));
            }
            result => result?,
        };
        match probe.finish(None, self.settings.encoding) {
            Ok(charset) => {
                state.charsets.insert(key(&identified), charset);
                Ok(Some(identified))
            }
            Err(unknown) => {
                let reasons = [unknown.to_string()];
                Err(self.stop(state, &identified, Verdict::Failed, &reasons, None))
            }
        }
    }

    /// Whether a file is not to be read: it was here before, or it is older than what was.
    pub(super) fn is_passed_over(
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
                return Err(self.stop(state, name, Verdict::Older, &[reason], None));
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
    pub(super) async fn judge(
        &self,
        state: &mut State,
        name: &SpoolName,
        progress: &Progress,
    ) -> Result<(), Fault> {
        let file = key(name);
        if !state.charsets.contains_key(&file) {
            // After a restart: the name carries the hash, the encoding is found out again.
            self.identify(state, name)?;
        }
        let charset = *state.charsets.get(&file).ok_or_else(|| changed(name))?;
        let known = match self.read_all(name, charset).await {
            Ok(known) => known,
            Err(Stop::Fault(fault)) => return Err(fault),
            Err(Stop::Unreadable(reasons)) => {
                return Err(self.stop(state, name, Verdict::Failed, &reasons, None));
            }
        };
        let guarded = progress.at.is_none() && !name.released;
        if guarded {
            let reasons = known
                .judged
                .objections(&self.settings, progress.last.as_ref());
            if !reasons.is_empty() {
                let found = Some((&known.judged, &known.header));
                return Err(self.stop(state, name, Verdict::Held, &reasons, found));
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
        let judged = match judge.finish() {
            FirstPass::Enough(judged) => judged,
            FirstPass::Again(mut repetitions) => {
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

    pub(super) fn reader(&self, file: File, charset: Charset) -> CsvReader<File> {
        let dialect = Dialect {
            charset,
            ..self.settings.dialect
        };
        let limits = Limits {
            bytes: self.settings.max_bytes.min(self.settings.files.bytes),
            rows: self.settings.files.rows,
            columns: self.settings.files.columns,
            cell_bytes: self.settings.files.cell_bytes,
            ..Limits::default()
        };
        CsvReader::new(file, dialect, limits)
    }

    /// Takes a file out of the way, answers its sender and words the fault for the operator. Old stock
    /// stays.
    fn stop(
        &self,
        state: &mut State,
        name: &SpoolName,
        verdict: Verdict,
        reasons: &[String],
        found: Option<(&Judgement, &Header)>,
    ) -> Fault {
        self.answer(name, verdict, reasons, found);
        let (onto, code, advice) = match verdict {
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
        if let Err(fault) = self.settings.folder.shelve(name, onto) {
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
            .and_then(|bytes| {
                self.settings
                    .folder
                    .reply(&reply::name(name, verdict), &bytes)
            });
        if let Err(fault) = written {
            tracing::warn!(feed = %self.name, file = name.display, %fault, "no answer was written");
        }
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
