//! `crossdock connector try`: a connector against a live system, without configuration, store or writing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::show::json as show_json;
use super::{Exit, Global, Shell};
use crate::clock::Clock;
use crate::config::{self, Credentials};
use crate::connector::contract::Case;
use crate::connector::{Body, Change, Connection, Delivery, Outcome, Spec, StepLog};
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::Stream;
use crate::runtime::SystemClock;
use crate::runtime::alone::{HELD_BACK, Seen, open_alone};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ask a real system one thing: who we are there, or one page of a stream; writes and stores nothing
///
/// Shows what was asked, what came and the record that was made of it, personal data included. With --write
/// and --dry-run it shows what the write of a recorded case would send: what only looks is sent, what would
/// change something is not. Ends with 1 when there was no good answer.
#[derive(Debug, Args)]
pub(super) struct Try {
    /// Its name, or its folder
    name: String,
    /// Of which stream one page is read; without, one request that says who we are
    #[arg(value_parser = stream)]
    stream: Option<Stream>,
    /// Not a page, but this thing; may be given several times
    #[arg(long, value_name = "ID", requires = "stream")]
    fetch: Vec<String>,
    /// A case of a `fixtures` folder that is a delivery
    #[arg(
        long,
        value_name = "FILE",
        requires = "dry_run",
        conflicts_with = "stream"
    )]
    write: Option<PathBuf>,
    /// Send nothing that changes anything
    #[arg(long)]
    dry_run: bool,
    /// A setting; over those of a file or connection
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Settings from a TOML file, as `[connection.NAME.settings]` has them
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The settings of this connection of the configuration
    #[arg(long, value_name = "NAME", conflicts_with = "settings")]
    connection: Option<String>,
    /// How many things are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    show: usize,
}

fn stream(text: &str) -> Result<Stream, String> {
    let names = Stream::ALL.map(Stream::name);
    text.parse()
        .map_err(|()| format!("one of {}", names.join(", ")))
}

/// What is known at the end.
struct Came {
    title: String,
    changes: Vec<Change>,
    outcomes: Vec<Outcome>,
    fault: Option<Fault>,
}

pub(super) fn run(command: &Try, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let found = match super::connector::find(&command.name, global, shell)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let connector = found.connector();
    let settings = match settings(command, connector.spec(), global, shell)? {
        Ok(settings) => settings,
        Err(why) => {
            writeln!(shell.err, "crossdock: {why}")?;
            return Ok(Exit::Usage);
        }
    };
    let configured = match connector.configure(&settings) {
        Ok(configured) => configured,
        Err(findings) => {
            global.tell(&findings, shell)?;
            return Ok(Exit::Config);
        }
    };
    let deliveries = match command.write.as_deref().map(deliveries).transpose() {
        Ok(deliveries) => deliveries,
        Err(why) => {
            writeln!(shell.err, "crossdock: {why}")?;
            return Ok(Exit::Usage);
        }
    };
    if let (Some((stream, batch)), Some(trial)) = (&deliveries, connector.trial()) {
        // What a child does with a delivery nobody can hold back: it is shown, not asked.
        writeln!(
            shell.out,
            "not sent:\n  {}",
            trial.would_send(*stream, batch)
        )?;
        return Ok(Exit::Ok);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let opened = tokio.block_on(async {
        let (connection, seen) = open_alone(
            connector.spec(),
            configured.as_ref(),
            &clock,
            command.dry_run,
        )?;
        let asked = ask(command, deliveries, &connection);
        let came = tokio::select! {
            came = asked => came,
            () = clock.sleep(PATIENCE) => {
                let message = format!("no answer within {} s", PATIENCE.as_secs());
                came("no answer", Err(Fault::retry("no_answer", message)))
            }
        };
        if let Some(closing) = &connection.closing {
            closing.close().await;
        }
        Ok::<_, Fault>((came, seen))
    });
    match opened {
        Ok((came, seen)) => tell(&came, &seen, command.show, global, shell),
        Err(fault) => {
            writeln!(shell.err, "crossdock: {fault}")?;
            Ok(Exit::Findings)
        }
    }
}

async fn ask(
    command: &Try,
    deliveries: Option<(Stream, Vec<Delivery>)>,
    connection: &Connection,
) -> Came {
    if let Some((stream, batch)) = deliveries {
        let Some(sink) = connection.sinks.get(&stream) else {
            return came(format!("{stream} cannot be written"), Ok(Vec::new()));
        };
        let outcomes = sink.deliver(&batch, &StepLog::default()).await;
        let title = format!("{} deliveries of {stream}, held back", batch.len());
        return Came {
            outcomes,
            ..came(title, Ok(Vec::new()))
        };
    }
    let Some(stream) = command.stream else {
        let Some(probe) = &connection.probe else {
            return came("it declares no probe: name a stream", Ok(Vec::new()));
        };
        return match probe.probe().await {
            Ok(says) => came(format!("we are {says}"), Ok(Vec::new())),
            Err(fault) => came("the probe failed", Err(fault)),
        };
    };
    let Some(source) = connection.sources.get(&stream) else {
        let fault = Fault::config("not_readable", format!("{stream} cannot be read"));
        return came(format!("{stream} was not read"), Err(fault));
    };
    if !command.fetch.is_empty() {
        let ids: Vec<RemoteId> = command.fetch.iter().map(|id| id.as_str().into()).collect();
        let found = source.fetch(&ids).await;
        return came(format!("{} of {stream} by id", ids.len()), found);
    }
    match source.peek().await {
        Ok(Some(page)) => {
            let more = if page.more { ", and there is more" } else { "" };
            let count = page.changes.len();
            came(
                format!("{count} {stream}{more}; read up to {}", page.cursor),
                Ok(page.changes),
            )
        }
        Ok(None) => came(
            "reading takes something away here, so nothing was read",
            Ok(Vec::new()),
        ),
        Err(fault) => came(format!("{stream} was not read"), Err(fault)),
    }
}

fn came(title: impl Into<String>, changes: Result<Vec<Change>, Fault>) -> Came {
    let (changes, fault) = match changes {
        Ok(changes) => (changes, None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    Came {
        title: title.into(),
        changes,
        outcomes: Vec::new(),
        fault,
    }
}

impl Came {
    fn is_good(&self) -> bool {
        let is_rejected = |change: &Change| matches!(change.body, Body::Rejected(_));
        let is_bad = |outcome: &Outcome| match outcome {
            Outcome::Failed(fault) => fault.code != HELD_BACK,
            _ => false,
        };
        self.fault.is_none()
            && !self.changes.iter().any(is_rejected)
            && !self.outcomes.iter().any(is_bad)
    }
}

fn tell(
    came: &Came,
    seen: &Seen,
    most: usize,
    global: &Global,
    shell: &mut Shell<'_>,
) -> io::Result<Exit> {
    let exit = if came.is_good() {
        Exit::Ok
    } else {
        Exit::Findings
    };
    if global.json {
        show_json(&as_json(came, seen), shell)?;
        return Ok(exit);
    }
    for asked in seen.asked() {
        writeln!(shell.out, "{} {}: {}", asked.method, asked.url, asked.came)?;
        if asked.held_back {
            for (name, value) in &asked.headers {
                writeln!(shell.out, "  {name}: {value}")?;
            }
            if let Some(body) = &asked.body {
                writeln!(shell.out, "  {body}")?;
            }
        }
    }
    writeln!(shell.out, "{}", came.title)?;
    for change in came.changes.iter().take(most) {
        writeln!(shell.out, "\n{}", change.id)?;
        if let Some(raw) = &change.raw {
            writeln!(
                shell.out,
                "  came   {}",
                String::from_utf8_lossy(&raw.bytes)
            )?;
        }
        match &change.body {
            Body::Present(record) => writeln!(shell.out, "  record {}", record.to_json())?,
            Body::Absent => writeln!(shell.out, "  is gone")?,
            Body::Rejected(fault) => writeln!(shell.out, "  HELD   {fault}")?,
        }
    }
    if came.changes.len() > most {
        writeln!(
            shell.out,
            "\nand {} more (--show)",
            came.changes.len() - most
        )?;
    }
    let faults = came.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Failed(fault) if fault.code != HELD_BACK => Some(fault),
        _ => None,
    });
    for fault in faults.chain(&came.fault) {
        writeln!(shell.out, "FAILED ({:?}): {fault}", fault.class)?;
    }
    Ok(exit)
}

fn as_json(came: &Came, seen: &Seen) -> Value {
    let asked = seen.asked().into_iter().map(|asked| {
        json!({
            "method": asked.method, "url": asked.url, "came": asked.came,
            "held_back": asked.held_back, "headers": asked.headers, "body": asked.body,
        })
    });
    let changes = came.changes.iter().map(|change| {
        let raw = change.raw.as_ref();
        let raw = raw.map(|raw| String::from_utf8_lossy(&raw.bytes).into_owned());
        match &change.body {
            Body::Present(record) => {
                json!({ "id": change.id, "came": raw, "record": record.to_json() })
            }
            Body::Absent => json!({ "id": change.id, "absent": true }),
            Body::Rejected(fault) => json!({ "id": change.id, "came": raw, "held": fault }),
        }
    });
    json!({
        "asked": asked.collect::<Vec<_>>(),
        "said": came.title,
        "changes": changes.collect::<Vec<_>>(),
        "fault": came.fault,
    })
}

/// What the connector is told.
fn settings(
    command: &Try,
    spec: &Spec,
    global: &Global,
    shell: &mut Shell<'_>,
) -> io::Result<Result<toml::Table, String>> {
    let mut table = toml::Table::new();
    if let Some(file) = &command.settings {
        let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
        let parsed = read.and_then(|text| toml::from_str(&text).map_err(|error| error.to_string()));
        match parsed {
            Ok(parsed) => table = parsed,
            Err(why) => return Ok(Err(format!("{}: {why}", file.display()))),
        }
    }
    if let Some(name) = &command.connection {
        let path = global.path(shell.around);
        match config::load(&path, shell.around, Credentials::Needed) {
            Ok(loaded) => match loaded.config.connection.get(&name.as_str().into()) {
                Some(connection) => table = connection.settings.0.clone(),
                None => return Ok(Err(format!("{}: no connection `{name}`", path.display()))),
            },
            Err(findings) => {
                global.tell(&findings, shell)?;
                return Ok(Err("its settings cannot be read".to_owned()));
            }
        }
    }
    for given in &command.set {
        let Some((key, value)) = given.split_once('=') else {
            return Ok(Err("--set is written KEY=VALUE".to_owned()));
        };
        let is_text = spec.settings_schema["properties"][key]["type"] == "string";
        let value = match toml::from_str::<toml::Table>(&format!("v = {value}")) {
            Ok(mut read) if !is_text => read.remove("v"),
            _ => None,
        }
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        table.insert(key.to_owned(), value);
    }
    Ok(Ok(table))
}

/// The deliveries of a recorded case.
fn deliveries(file: &Path) -> Result<(Stream, Vec<Delivery>), String> {
    let why = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| why(&error))?;
    let case: Case = serde_json::from_str(&text).map_err(|error| why(&error))?;
    let batch = case.deliveries().map_err(|fault| why(&fault))?;
    if batch.is_empty() {
        return Err(why(&"a case without deliveries"));
    }
    Ok((case.stream, batch))
}
