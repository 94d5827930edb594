//! The contract suite for child processes: the same laws, with troubles of pipes instead of HTTP.
//!
//! A case has no `exchanges`. `fixtures/files/` is copied for each run, and `{files}` in `settings.toml` is
//! where the copy stands: what a child reads there is recorded, what it writes there can be looked for. Each
//! trouble strikes the first request of a fresh child: it dies, garbles or cuts its answer, or is late.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::declared::Launch;
use super::{ConfiguredProcess, ProcessConnector};
use crate::clock::Clock;
use crate::connector::contract::{
    Case, Fixtures, Report, Request, Trial, same_changes, same_outcomes, secrets,
};
use crate::connector::{
    Body, Change, Configured, Connection, Context, Delivery, FileLimits, Outcome, Page, StepLog,
};
use crate::fault::{Class, Effect, Fault};
use crate::record::Stream;
use crate::transport::http::{Feedback, HttpClient, HttpReply, HttpRequest};

/// The most pages of a fixture.
const MAX_PAGES: usize = 100;
/// `hello` and `configure` come before the first request.
const FIRST: u64 = 3;

/// What happens to a request or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It ends before it was asked.
    DiesBefore,
    /// It ends when it has done what was asked, and nobody hears its answer.
    DiesAfter,
    /// Its answer is no JSON.
    Garbled,
    /// Half its answer comes, then it ends.
    Cut,
    /// Its answer comes too late.
    Late,
}

impl Trouble {
    const ALL: [(Self, &'static str, Class); 5] = [
        (Self::DiesBefore, "it ends before it is asked", Class::Retry),
        (Self::DiesAfter, "it ends before it answers", Class::Retry),
        (Self::Garbled, "its answer is garbled", Class::Bug),
        (Self::Cut, "its answer is cut", Class::Retry),
        (Self::Late, "its answer is late", Class::Retry),
    ];
}

/// What stands for HTTP: a child has its own.
#[derive(Debug)]
struct NoHttp;

#[async_trait]
impl HttpClient for NoHttp {
    async fn send(&self, _: HttpRequest) -> Result<HttpReply, Fault> {
        Err(Fault::bug("no_http", "a child process has its own way out"))
    }

    fn observe(&self, _: &str, _: Feedback) {}
}

/// A copy of the recorded files, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn of(folder: &Path) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossdock-trial-{}-{count}", std::process::id());
        let scratch = Self(std::env::temp_dir().join(name));
        copy(&folder.join("files"), &scratch.0).map_err(|error| error.to_string())?;
        Ok(scratch)
    }

    /// How many files there are.
    fn count(&self) -> usize {
        count(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans that folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    if !from.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() { count(&path) } else { 1 }
        })
        .sum()
}

/// What the checks of one case share.
struct Bench<'a> {
    connector: &'a ProcessConnector,
    fixtures: &'a Fixtures,
    folder: &'a Path,
    clock: &'a Arc<dyn Clock>,
    case: &'a Case,
    secrets: Vec<String>,
}

#[async_trait]
impl Trial for ProcessConnector {
    async fn run(&self, fixtures: &Fixtures, folder: &Path, clock: &Arc<dyn Clock>) -> Report {
        let mut report = Report::default();
        for case in &fixtures.cases {
            let bench = Bench {
                connector: self,
                fixtures,
                folder,
                clock,
                case,
                secrets: secrets(self, fixtures),
            };
            let result = match &case.request {
                Request::Deliver { .. } => bench.sink(&mut report).await,
                Request::Pull { .. } | Request::Fetch { .. } => bench.source(&mut report).await,
                Request::ReadBack { .. } => {
                    Err("a child process is not asked for a proof".to_owned())
                }
            };
            if let Err(why) = result {
                report.add("opens", case.name.clone(), Err(why));
            }
        }
        report
    }

    fn would_send(&self, stream: Stream, batch: &[Delivery]) -> String {
        super::ends::deliver_call(stream, batch).to_string()
    }
}

impl Bench<'_> {
    fn name(&self, what: &str) -> String {
        format!("{} {what}", self.case.name)
    }

    /// A fresh child that works in `scratch`.
    fn open(&self, scratch: &Scratch, trouble: Option<Trouble>) -> Result<Connection, String> {
        let mut settings = self.fixtures.settings.clone();
        for value in settings.iter_mut().map(|(_, value)| value) {
            if let toml::Value::String(text) = value {
                *text = text.replace("{files}", &scratch.0.to_string_lossy());
            }
        }
        let known = &self.connector.known;
        let values = known.settings.read(&settings);
        let values = values.map_err(|findings| findings.to_string())?;
        let launch = Launch {
            trouble: trouble.map(|trouble| (FIRST, trouble)),
            ..known.launch.clone()
        };
        let known = super::Known {
            spec: known.spec.clone(),
            settings: known.settings.clone(),
            launch,
            ways: known.ways.clone(),
        };
        let configured = ConfiguredProcess {
            known: Arc::new(known),
            values,
        };
        let context = Context {
            name: "fixture".to_owned(),
            clock: Arc::clone(self.clock),
            http: Arc::new(NoHttp),
            tokens: Arc::default(),
            files: FileLimits::default(),
            windows: BTreeMap::new(),
        };
        configured.open(context).map_err(|fault| fault.to_string())
    }

    fn discreet(&self, fault: &Fault) -> Result<(), String> {
        let told = self
            .secrets
            .iter()
            .any(|secret| fault.message.contains(secret));
        if told {
            let code = &fault.code;
            return Err(format!(
                "the message of `{code}` tells personal data or a secret"
            ));
        }
        Ok(())
    }

    async fn source(&self, report: &mut Report) -> Result<(), String> {
        let scratch = Scratch::of(self.folder)?;
        let connection = self.open(&scratch, None)?;
        let (changes, pages) = match self.read(&connection).await {
            Ok(read) => read,
            Err(fault) => {
                report.add("decodes", self.name(""), Err(fault.to_string()));
                return Ok(());
            }
        };
        let decodes = same_changes(&self.case.changes, &changes);
        report.add("decodes", self.name(""), decodes);
        let ends = match pages.last() {
            Some(page) if page.more => Err("there is always more".to_owned()),
            _ => Ok(()),
        };
        report.add("S7", self.name("there is an end"), ends);
        let has_raw = |change: &Change| change.raw.is_some() || change.body == Body::Absent;
        let kept = changes.iter().all(has_raw);
        let kept = kept.then_some(()).ok_or("a change without its payload");
        report.add(
            "raw",
            self.name("payloads are kept"),
            kept.map_err(str::to_owned),
        );
        let again = match self.read(&connection).await {
            Ok((again, _)) => same_changes(&self.case.changes, &again),
            Err(fault) => Err(fault.to_string()),
        };
        report.add("S2", self.name("reading again repeats"), again);
        close(&connection).await;
        for (trouble, what, class) in Trouble::ALL {
            let connection = self.open(&scratch, Some(trouble))?;
            let result = match self.read(&connection).await {
                Ok(_) => Err("it was read as if nothing had happened".to_owned()),
                Err(fault) => self.told(&fault, class, Effect::None),
            };
            report.add("S9", self.name(what), result);
            close(&connection).await;
        }
        Ok(())
    }

    /// All pages; law S3 is a fault of the source itself.
    async fn read(&self, connection: &Connection) -> Result<(Vec<Change>, Vec<Page>), Fault> {
        let source = connection.sources.get(&self.case.stream);
        let source = source.ok_or_else(|| Fault::bug("fixture", "this stream cannot be read"))?;
        let (mut changes, mut pages) = (Vec::new(), Vec::new());
        match &self.case.request {
            Request::Fetch { ids } => changes = source.fetch(ids).await?,
            Request::Pull { after } => {
                let mut cursor = after.clone();
                while pages.len() < MAX_PAGES {
                    let page = source.pull(cursor.as_ref()).await?;
                    cursor = Some(page.cursor.clone());
                    changes.extend(page.changes.iter().cloned());
                    let more = page.more;
                    pages.push(page);
                    if !more {
                        break;
                    }
                }
            }
            Request::Deliver { .. } | Request::ReadBack { .. } => {}
        }
        Ok((changes, pages))
    }

    fn told(&self, fault: &Fault, class: Class, effect: Effect) -> Result<(), String> {
        self.discreet(fault)?;
        if fault.class != class {
            return Err(format!("{:?} instead of {class:?}: {fault}", fault.class));
        }
        if fault.effect != effect {
            return Err(format!("the effect is told as {:?}: {fault}", fault.effect));
        }
        Ok(())
    }

    async fn sink(&self, report: &mut Report) -> Result<(), String> {
        let deliveries = self.case.deliveries().map_err(|fault| fault.to_string())?;
        let scratch = Scratch::of(self.folder)?;
        let first = self.deliver(&scratch, None, &deliveries).await?;
        let came = same_outcomes(&self.case.outcomes, &first);
        report.add("D1", self.name("each delivery has its outcome"), came);
        let discreet = first.iter().try_for_each(|outcome| match outcome {
            Outcome::Failed(fault) => self.discreet(fault),
            _ => Ok(()),
        });
        report.add("D5", self.name("messages are discreet"), discreet);
        let files = scratch.count();
        // Another child, which remembers nothing.
        let again = self.deliver(&scratch, None, &deliveries).await?;
        let again = once_only(&first, &again, files, scratch.count());
        report.add("D2", self.name("again, everything forgotten"), again);
        for (trouble, what, class) in Trouble::ALL {
            let scratch = Scratch::of(self.folder)?;
            let before = scratch.count();
            let effect = if trouble == Trouble::DiesBefore {
                Effect::None
            } else {
                Effect::Unknown
            };
            let spoiled = self.deliver(&scratch, Some(trouble), &deliveries).await?;
            let result = spoiled.iter().try_for_each(|outcome| match outcome {
                Outcome::Failed(fault) => self.told(fault, class, effect),
                _ => Err("it was delivered as if nothing had happened".to_owned()),
            });
            report.add("D3", self.name(what), result);
            let is_there = scratch.count() > before;
            let found = self.found(&scratch, &deliveries, &first, is_there).await;
            report.add("D2", self.name(&format!("{what}: found")), found);
            let second = self.deliver(&scratch, None, &deliveries).await?;
            let healed = once_only(&first, &second, files, scratch.count());
            report.add("D2", self.name(&format!("{what}: done once")), healed);
        }
        Ok(())
    }

    async fn deliver(
        &self,
        scratch: &Scratch,
        trouble: Option<Trouble>,
        deliveries: &[Delivery],
    ) -> Result<Vec<Outcome>, String> {
        let connection = self.open(scratch, trouble)?;
        let sink = connection.sinks.get(&self.case.stream);
        let sink = sink.ok_or("the stream has no sink")?;
        let outcomes = sink.deliver(deliveries, &StepLog::default()).await;
        close(&connection).await;
        if outcomes.len() != deliveries.len() {
            let (got, wanted) = (outcomes.len(), deliveries.len());
            return Err(format!("{got} outcomes for {wanted} deliveries"));
        }
        Ok(outcomes)
    }

    /// `find` tells what is there, and nothing where nothing is.
    async fn found(
        &self,
        scratch: &Scratch,
        deliveries: &[Delivery],
        first: &[Outcome],
        is_there: bool,
    ) -> Result<(), String> {
        let connection = self.open(scratch, None)?;
        let sink = connection.sinks.get(&self.case.stream);
        let sink = sink.ok_or("the stream has no sink")?;
        for (delivery, outcome) in deliveries.iter().zip(first) {
            let Outcome::Delivered(wanted) = outcome else {
                continue;
            };
            let found = sink
                .find(delivery)
                .await
                .map_err(|fault| fault.to_string())?;
            match found {
                Some(found) if found.remote_id != wanted.remote_id => {
                    return Err(format!("{}: another thing is found", delivery.reference));
                }
                Some(_) if !is_there => {
                    return Err(format!("{}: found what is not there", delivery.reference));
                }
                None if is_there => {
                    return Err(format!(
                        "{}: not found, and it is there",
                        delivery.reference
                    ));
                }
                _ => {}
            }
        }
        close(&connection).await;
        Ok(())
    }
}

/// The same things, and nothing new beside them.
fn once_only(
    first: &[Outcome],
    again: &[Outcome],
    files: usize,
    files_now: usize,
) -> Result<(), String> {
    for (n, both) in first.iter().zip(again).enumerate() {
        match both {
            (Outcome::Delivered(first), Outcome::Delivered(again))
                if first.remote_id != again.remote_id =>
            {
                return Err(format!("delivery {n} is another thing now"));
            }
            (Outcome::Delivered(_), Outcome::Failed(fault)) => {
                return Err(format!("delivery {n}: {fault}"));
            }
            _ => {}
        }
    }
    if files != files_now {
        return Err(format!("{files_now} files where there were {files}"));
    }
    Ok(())
}

async fn close(connection: &Connection) {
    if let Some(closing) = &connection.closing {
        closing.close().await;
    }
}
