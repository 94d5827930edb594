//! `NAME/connector.toml` of a connector that is a child process: what is known of it without starting it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::trial::Trouble;
use crate::connector::{Evidence, Onward, Spec, StreamSpec};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceText};
use crate::manifest::{self, About, Declared, DeclaredSettings, Name};
use crate::record::Stream;

/// The version of this file's format.
const VERSION: u32 = 1;
/// Names in the environment that are set by us.
const OURS: [&str; 2] = ["PATH", "LANG"];

/// The whole file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The version of this format: 1.
    version: u32,
    /// What the connector is.
    connector: About,
    /// How it is run.
    process: Run,
    /// What a merchant sets.
    #[serde(default)]
    settings: DeclaredSettings,
    /// Declared facts.
    #[serde(default)]
    capabilities: Declared,
    /// What can be read and written.
    stream: BTreeMap<Name, Part>,
}

/// `[process]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// The program and its arguments. No shell. A program with a slash stands beside this file if relative,
    /// one without is looked for in `/usr/local/bin`, `/usr/bin` and `/bin`.
    command: Vec<String>,
    /// What its environment holds besides `PATH` and `LANG`. No secrets: those are settings.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// How long it may take until it has answered `hello` and `configure`.
    #[serde(default = "ten")]
    start_secs: u64,
    /// How long it may take for any other answer.
    #[serde(default = "sixty")]
    request_secs: u64,
    /// How long it may take to end after `shutdown`.
    #[serde(default = "five")]
    stop_secs: u64,
    /// How many requests it is given before it has answered the first.
    #[serde(default = "one")]
    concurrency: u32,
    /// The longest line that it may write.
    #[serde(default = "sixteen_mib")]
    max_line_bytes: usize,
}

fn ten() -> u64 {
    10
}

fn sixty() -> u64 {
    60
}

fn five() -> u64 {
    5
}

fn one() -> u32 {
    1
}

fn sixteen_mib() -> usize {
    16 << 20
}

/// `[stream.NAME]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// What stands behind the claim that it works.
    evidence: Evidence,
    /// How it is read.
    read: Option<Reading>,
    /// How it is written.
    write: Option<Writing>,
}

/// How a stream is read on from where it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Each run reads everything.
    #[default]
    Whole,
    /// By a number that only grows.
    Number,
    /// By a moment that each row carries.
    Moment,
}

/// `[stream.NAME.read]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one answer of its author"
)]
struct Reading {
    /// How often to read when the configuration does not say.
    #[serde(default = "sixty")]
    poll_secs: u64,
    /// How it is read on from where it was.
    #[serde(default)]
    onward: Kind,
    /// For `moment`: how far before the last one a run begins.
    overlap_secs: Option<u64>,
    /// For `moment`: how long the other side takes until it shows everything of a moment.
    settle_lag_secs: Option<u64>,
    /// Single things can be asked for by id.
    #[serde(default)]
    fetch: bool,
    /// It answers `sweep`; without, everything is read by `pull` from the beginning.
    #[serde(default)]
    sweep: bool,
    /// A first page can be looked at without any consequence.
    #[serde(default = "yes")]
    peek: bool,
    /// Things that are not closed are read again by id.
    #[serde(default)]
    reread_open: bool,
}

fn yes() -> bool {
    true
}

/// `[stream.NAME.write]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Writing {
    /// How many deliveries one request may carry.
    #[serde(default = "one")]
    max_batch: u32,
}

/// What can be done with one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ways {
    pub(super) read: Option<ReadWays>,
    pub(super) write: bool,
}

/// What can be done besides `pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one answer of its author"
)]
pub(super) struct ReadWays {
    pub(super) fetch: bool,
    pub(super) sweep: bool,
    pub(super) peek: bool,
    pub(super) whole: bool,
}

/// How a child is started and held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) command: Vec<String>,
    /// The folder of the connector, in which it runs.
    pub(super) folder: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) start: Duration,
    pub(super) request: Duration,
    pub(super) stop: Duration,
    pub(super) concurrency: usize,
    pub(super) max_line: usize,
    /// For trials: what happens to the request of that number.
    pub(super) trouble: Option<(u64, Trouble)>,
}

/// A file that was understood.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) spec: Spec,
    pub(super) settings: DeclaredSettings,
    pub(super) launch: Launch,
    pub(super) ways: BTreeMap<Stream, Ways>,
}

/// Understands a file.
pub(super) fn read(path: PathBuf, text: &str) -> Result<Known, Diagnostics> {
    let source = Arc::new(SourceText {
        path,
        text: text.to_owned(),
    });
    let file: File = manifest::read_shape(&source)?;
    let mut check = Check {
        findings: file.settings.check(&source),
        source,
    };
    if file.version != VERSION {
        let message = format!("this build reads version {VERSION} of the format");
        check.error("version", "version", message, None);
    }
    check.run(&file.process);
    let (mut streams, mut ways) = (BTreeMap::new(), BTreeMap::new());
    for (name, part) in &file.stream {
        if let Some(stream) = check.part(name, part) {
            streams.insert(stream, part.spec());
            ways.insert(stream, part.ways());
        }
    }
    let known = Known {
        spec: Spec {
            name: file.connector.name.as_str().to_owned(),
            summary: file.connector.summary,
            checked: file.connector.checked,
            streams,
            capabilities: file.capabilities.capabilities(),
            quotas: BTreeMap::new(),
            concurrency: Some(file.process.concurrency),
            settings_schema: file.settings.json_schema(),
        },
        settings: file.settings,
        launch: file.process.launch(&check.source.path),
        ways,
    };
    check.findings.into_result(known)
}

struct Check {
    source: Arc<SourceText>,
    findings: Diagnostics,
}

impl Check {
    /// A finding where `word` stands first in the file.
    fn error(&mut self, path: &str, word: &str, message: String, help: Option<String>) {
        let start = self.source.text.find(word).unwrap_or(0);
        let end = (start + word.len()).min(self.source.text.len());
        self.at(path, start..end, message, help);
    }

    fn at(
        &mut self,
        path: &str,
        span: std::ops::Range<usize>,
        message: String,
        help: Option<String>,
    ) {
        let mut finding = Diagnostic::error("X0705", path, message).at(&self.source, span);
        finding.help = help;
        self.findings.push(finding);
    }

    fn run(&mut self, run: &Run) {
        let is_empty = |part: &String| part.is_empty() || part.contains('\0');
        if run.command.is_empty() || run.command.iter().any(is_empty) {
            let help = "such as command = [\"python3\", \"connector.py\"]".to_owned();
            let message = "names no program to run".to_owned();
            self.error("process.command", "command", message, Some(help));
        }
        for name in run.environment.keys() {
            let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_plain || name.is_empty() || OURS.contains(&name.as_str()) {
                let message = format!("`{name}` cannot be set");
                let help = "letters, digits and `_`; PATH and LANG are fixed".to_owned();
                self.error("process.environment", name, message, Some(help));
            }
        }
        let numbers = [
            ("start_secs", run.start_secs, 1..=600),
            ("request_secs", run.request_secs, 1..=3600),
            ("stop_secs", run.stop_secs, 1..=60),
            ("concurrency", u64::from(run.concurrency), 1..=64),
            ("max_line_bytes", run.max_line_bytes as u64, 1024..=1 << 28),
        ];
        for (name, value, range) in numbers {
            if !range.contains(&value) {
                let message = format!("{value} is out of range");
                let help = format!("from {} to {}", range.start(), range.end());
                self.error(&format!("process.{name}"), name, message, Some(help));
            }
        }
    }

    fn part(&mut self, name: &Name, part: &Part) -> Option<Stream> {
        let path = format!("stream.{}", name.as_str());
        let stream = match manifest::parse_stream(name) {
            Ok(stream) => stream,
            Err(help) => {
                self.at(
                    &path,
                    name.span(),
                    "this is no stream".to_owned(),
                    Some(help),
                );
                return None;
            }
        };
        if part.read.is_none() && part.write.is_none() {
            self.at(
                &path,
                name.span(),
                "neither read nor written".to_owned(),
                None,
            );
        }
        if let Some(read) = &part.read {
            let is_timed = read.overlap_secs.is_some() || read.settle_lag_secs.is_some();
            if read.onward != Kind::Moment && is_timed {
                let message = "only what is read by moments has an overlap or a settle lag";
                let help = "write `onward = \"moment\"`, or leave them out".to_owned();
                self.at(&path, name.span(), message.to_owned(), Some(help));
            }
            if read.reread_open && !read.fetch {
                let message = "`reread_open` needs `fetch`".to_owned();
                self.at(&path, name.span(), message, None);
            }
            if !(1..=604_800).contains(&read.poll_secs) {
                let message = "`poll_secs` is from 1 to 604800".to_owned();
                self.at(&path, name.span(), message, None);
            }
        }
        if part
            .write
            .as_ref()
            .is_some_and(|write| !(1..=1000).contains(&write.max_batch))
        {
            let message = "`max_batch` is from 1 to 1000".to_owned();
            self.at(&path, name.span(), message, None);
        }
        Some(stream)
    }
}

impl Part {
    fn spec(&self) -> StreamSpec {
        let read = self.read.as_ref();
        let secs = |secs: Option<u64>| Duration::from_secs(secs.unwrap_or(0));
        let settle_lag = read.map_or(Duration::ZERO, |read| secs(read.settle_lag_secs));
        let onward = |read: &Reading| match read.onward {
            Kind::Whole => Onward::Whole,
            Kind::Number => Onward::Number,
            Kind::Moment => Onward::Moment {
                overlap: secs(read.overlap_secs).max(settle_lag),
            },
        };
        StreamSpec {
            read: read.is_some(),
            write: self.write.is_some(),
            read_evidence: read.map(|_| self.evidence),
            write_evidence: self.write.as_ref().map(|_| self.evidence),
            max_batch: self
                .write
                .as_ref()
                .map_or(1, |write| write.max_batch as usize),
            poll: read.map_or(Duration::ZERO, |read| secs(Some(read.poll_secs))),
            fresh_for: None,
            onward: read.map_or(Onward::Whole, onward),
            settle_lag,
            reread_open: read.is_some_and(|read| read.reread_open),
        }
    }

    fn ways(&self) -> Ways {
        Ways {
            read: self.read.as_ref().map(|read| ReadWays {
                fetch: read.fetch,
                sweep: read.sweep,
                peek: read.peek,
                whole: read.onward == Kind::Whole,
            }),
            write: self.write.is_some(),
        }
    }
}

impl Run {
    fn launch(&self, file: &Path) -> Launch {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        Launch {
            command: self.command.clone(),
            folder,
            environment: self.environment.clone(),
            start: Duration::from_secs(self.start_secs),
            request: Duration::from_secs(self.request_secs),
            stop: Duration::from_secs(self.stop_secs),
            concurrency: self.concurrency as usize,
            max_line: self.max_line_bytes,
            trouble: None,
        }
    }
}
