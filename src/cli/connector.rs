//! `crossdock connector`: what there is to speak to, what it takes, and whether it keeps its promises.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::show::{json as show_json, table, text};
use super::{Exit, Global, Shell, connector_new, connector_try};
use crate::clock::Clock;
use crate::config::{self, Credentials, MANIFEST, OwnConnector, suggest};
use crate::connector::contract::{self, Fixtures, Report};
use crate::connector::{Evidence, Spec, StockBasis, StockWrite};
use crate::connectors;
use crate::runtime::SystemClock;

/// The largest `connector.toml`.
const MAX_MANIFEST: u64 = 1 << 20;

/// The kinds of systems that can be connected
#[derive(Debug, Args)]
pub(super) struct Connector {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All of them: what they read and write, and what stands behind that
    List,
    /// One of them: settings with types and defaults, streams, limits, capabilities
    Show {
        /// Its name, or its folder
        name: String,
    },
    New(connector_new::New),
    Try(connector_try::Try),
    /// Check one against recorded exchanges of its system, as they are and spoiled in every way
    ///
    /// Plays the fixtures and then throttles, fails, cuts, and garbles each request in turn; the laws of
    /// sources (S1-S9) and sinks (D1-D6) must hold each time. No network is used: `crossdock check
    /// --online` asks the real system. Ends with 1 when a promise is not kept, and with 6 when there are
    /// no fixtures: then nothing is shown.
    Test {
        /// Its name, or its folder
        name: String,
        /// The folder of its fixtures [default: beside its connector.toml]
        #[arg(long, value_name = "FOLDER")]
        fixtures: Option<PathBuf>,
    },
}

pub(super) fn run(command: &Connector, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    match &command.command {
        Command::List => list(global, shell),
        Command::Show { name } => match find(name, global, shell)? {
            Ok(found) => show(found.connector().spec(), global, shell),
            Err(exit) => Ok(exit),
        },
        Command::New(command) => connector_new::run(command, shell),
        Command::Try(command) => connector_try::run(command, global, shell),
        Command::Test { name, fixtures } => match find(name, global, shell)? {
            Ok(found) => {
                let folder = fixtures.clone();
                let folder = folder.unwrap_or_else(|| found.folder().join("fixtures"));
                test(found.connector(), &folder, global, shell)
            }
            Err(exit) => Ok(exit),
        },
    }
}

type Known<'a> = &'a dyn crate::connector::Connector;

/// A connector, wherever it stands.
pub(super) enum Found<'a> {
    /// In the program.
    BuiltIn(Known<'a>),
    /// In a folder.
    Own(Box<dyn crate::connector::Connector>, PathBuf),
}

impl Found<'_> {
    pub(super) fn connector(&self) -> Known<'_> {
        match self {
            Self::BuiltIn(connector) => *connector,
            Self::Own(connector, _) => connector.as_ref(),
        }
    }

    fn folder(&self) -> PathBuf {
        match self {
            Self::BuiltIn(connector) => PathBuf::from("connectors").join(connector.name()),
            Self::Own(_, folder) => folder.clone(),
        }
    }
}

/// The connector of that name or in that folder: of the program, of the configuration, or of the folder
/// `connectors` here.
pub(super) fn find<'a>(
    name: &str,
    global: &Global,
    shell: &mut Shell<'a>,
) -> io::Result<Result<Found<'a>, Exit>> {
    let registry = shell.registry;
    if let Some(found) = registry.iter().find(|known| known.name() == name) {
        return Ok(Ok(Found::BuiltIn(*found)));
    }
    let own = own(global, shell);
    let of_config = own.iter().find(|own| own.name == name);
    let of_config = of_config.and_then(|own| own.text.path.parent().map(PathBuf::from));
    let here = [PathBuf::from(name), PathBuf::from("connectors").join(name)];
    for folder in of_config.into_iter().chain(here) {
        let path = folder.join(MANIFEST);
        if shell.around.read(&path, 1).is_err() {
            continue;
        }
        let bytes = shell.around.read(&path, MAX_MANIFEST)?;
        let text = String::from_utf8_lossy(&bytes);
        return Ok(match connectors::load(path, &text) {
            Ok(connector) => Ok(Found::Own(connector, folder)),
            Err(findings) => {
                global.tell(&findings, shell)?;
                Err(Exit::Config)
            }
        });
    }
    let built_in = registry.iter().map(|known| known.name());
    let known: Vec<&str> = built_in
        .chain(own.iter().map(|own| own.name.as_str()))
        .collect();
    let help = suggest(Some(name), &known);
    writeln!(
        shell.err,
        "crossdock: there is no connector `{name}`; {help}"
    )?;
    Ok(Err(Exit::Usage))
}

/// Those of the configuration, if there is one that can be read: `check` tells what is wrong with it.
fn own(global: &Global, shell: &Shell<'_>) -> Vec<OwnConnector> {
    let path = global.path(shell.around);
    let loaded = config::read(&path, shell.around, Credentials::Assumed);
    loaded.map_or_else(|_| Vec::new(), |loaded| loaded.config.own_connectors)
}

fn list(global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let own = own(global, shell);
    let own = own
        .iter()
        .filter_map(|own| connectors::load(&own.text.path, &own.text.text).ok());
    let own: Vec<_> = own.collect();
    let mut specs: Vec<&Spec> = shell.registry.iter().map(|known| known.spec()).collect();
    specs.extend(own.iter().map(|known| known.spec()));
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    if global.json {
        let all: Vec<Value> = specs.into_iter().map(as_json).collect();
        return show_json(&Value::Array(all), shell);
    }
    let rows = specs.iter().map(|spec| {
        let streams = |wanted: fn(&crate::connector::StreamSpec) -> bool| {
            let names = spec.streams.iter().filter(|(_, part)| wanted(part));
            let names: Vec<&str> = names.map(|(stream, _)| stream.name()).collect();
            names.join(", ")
        };
        let mut evidence: Vec<&str> = spec
            .streams
            .values()
            .flat_map(|part| [part.read_evidence, part.write_evidence])
            .flatten()
            .map(Evidence::name)
            .collect();
        evidence.sort_unstable();
        evidence.dedup();
        vec![
            spec.name.clone(),
            streams(|part| part.read),
            streams(|part| part.write),
            evidence.join(", "),
        ]
    });
    let rows = rows.collect();
    table(shell, &["connector", "reads", "writes", "evidence"], rows)?;
    Ok(Exit::Ok)
}

/// Everything that a connector declares.
fn as_json(spec: &Spec) -> Value {
    let streams: serde_json::Map<String, Value> = spec
        .streams
        .iter()
        .map(|(stream, part)| {
            let part = json!({
                "read": part.read,
                "write": part.write,
                "read_evidence": part.read_evidence.map(Evidence::name),
                "write_evidence": part.write_evidence.map(Evidence::name),
                "max_batch": part.max_batch,
                "poll_secs": part.poll.as_secs(),
                "settle_lag_secs": part.settle_lag.as_secs(),
                "reread_open": part.reread_open,
            });
            (stream.name().to_owned(), part)
        })
        .collect();
    let quotas: serde_json::Map<String, Value> = spec
        .quotas
        .iter()
        .map(|(bucket, quota)| {
            let quota = json!({ "per_second": quota.per_second, "burst": quota.burst });
            (bucket.clone(), quota)
        })
        .collect();
    json!({
        "name": spec.name,
        "summary": spec.summary,
        "checked": spec.checked,
        "streams": streams,
        "limits": { "concurrency": spec.concurrency, "buckets": quotas },
        "capabilities": {
            "stock_basis": spec.capabilities.stock_basis,
            "stock_write": spec.capabilities.stock_write,
            "restores_stock_on_cancel": spec.capabilities.restores_stock_on_cancel,
            "stock_lag_secs": spec.capabilities.stock_lag.as_secs(),
            "costliest_request": spec.capabilities.costliest_request,
        },
        "settings": spec.settings_schema,
    })
}

fn show(spec: &Spec, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    if global.json {
        return show_json(&as_json(spec), shell);
    }
    let checked = spec.checked.as_ref();
    let checked = checked.map_or(String::new(), |day| format!(" (checked {day})"));
    writeln!(shell.out, "{}: {}{checked}\n", spec.name, spec.summary)?;
    let settings = settings(&spec.settings_schema);
    table(shell, &["setting", "type", "default", "meaning"], settings)?;
    let streams = spec.streams.iter().map(|(stream, part)| {
        let mark = |is: bool| if is { "yes" } else { "" }.to_owned();
        let shown = |evidence: Option<Evidence>| evidence.map_or("", Evidence::name).to_owned();
        let secs = |time: std::time::Duration| match time.as_secs() {
            0 => String::new(),
            secs => format!("{secs} s"),
        };
        vec![
            stream.name().to_owned(),
            shown(part.read_evidence),
            shown(part.write_evidence),
            secs(part.poll),
            secs(part.settle_lag),
            part.max_batch.to_string(),
            mark(part.reread_open),
        ]
    });
    let head = [
        "stream",
        "read",
        "write",
        "every",
        "settles",
        "batch",
        "rereads open",
    ];
    let streams = streams.collect();
    table(shell, &head, streams)?;
    let quotas = spec.quotas.iter().map(|(bucket, quota)| {
        vec![
            bucket.clone(),
            quota.per_second.to_string(),
            quota.burst.to_string(),
        ]
    });
    let quotas = quotas.collect();
    table(shell, &["limit", "per second", "burst"], quotas)?;
    if let Some(concurrency) = spec.concurrency {
        writeln!(shell.out, "requests at the same time: {concurrency}")?;
    }
    capabilities(spec, shell)?;
    Ok(Exit::Ok)
}

fn capabilities(spec: &Spec, shell: &mut Shell<'_>) -> io::Result<()> {
    let has_stock = spec.streams.contains_key(&crate::record::Stream::Stock);
    if !has_stock {
        return Ok(());
    }
    let falls = match spec.capabilities.stock_basis {
        StockBasis::Free => "when the order is confirmed",
        StockBasis::OnHand => "when goods leave",
        StockBasis::AllocatedApart => "when goods leave; what is allocated is a number of its own",
    };
    let told = match spec.capabilities.stock_write {
        StockWrite::Absolute => "as a number",
        StockWrite::Delta => "as a difference",
        StockWrite::CompareAndSet => "as a number, if the old one still holds",
    };
    writeln!(shell.out, "its stock falls {falls}")?;
    let is_written = |part: &crate::connector::StreamSpec| part.write;
    let stock = spec.streams.get(&crate::record::Stream::Stock);
    if stock.is_some_and(is_written) {
        writeln!(shell.out, "it is told stock {told}")?;
    }
    if spec.capabilities.restores_stock_on_cancel {
        writeln!(
            shell.out,
            "it puts stock back by itself when an order is cancelled"
        )?;
    }
    Ok(())
}

/// Name, type, default and meaning of each setting, from its JSON Schema.
fn settings(schema: &Value) -> Vec<Vec<String>> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| {
            let default = match property.get("default") {
                Some(Value::Null) | None if required.contains(&name.as_str()) => {
                    "required".to_owned()
                }
                Some(default) => text(default),
                None => String::new(),
            };
            let meaning = text(&property["description"]).replace('\n', " ");
            vec![name.clone(), type_name(schema, property), default, meaning]
        })
        .collect()
}

/// A type as a person names it, such as `text` or `one of full, delta`.
fn type_name(root: &Value, property: &Value) -> String {
    if property["writeOnly"] == true || property["format"] == "password" {
        return "secret".to_owned();
    }
    if let Some(reference) = property["$ref"].as_str() {
        let found = root.pointer(reference.trim_start_matches('#'));
        return found.map_or_else(String::new, |found| type_name(root, found));
    }
    if let Some(values) = property["enum"].as_array() {
        let values: Vec<String> = values.iter().map(text).collect();
        return format!("one of {}", values.join(", "));
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(parts) = property[several].as_array() {
            let mut names: Vec<String> = parts
                .iter()
                .filter(|part| part["type"] != "null")
                .map(|part| match &part["const"] {
                    Value::Null => type_name(root, part),
                    value => text(value),
                })
                .collect();
            names.dedup();
            return names.join(" or ");
        }
    }
    let plain = match &property["type"] {
        Value::Array(several) => several.iter().find(|one| **one != "null").map(text),
        one => Some(text(one)),
    };
    match plain.unwrap_or_default().as_str() {
        "string" if property["format"] == "uri" => "address".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "whole number".to_owned(),
        "array" => "list".to_owned(),
        "object" => "table".to_owned(),
        other => other.to_owned(),
    }
}

fn test(
    connector: Known<'_>,
    folder: &std::path::Path,
    global: &Global,
    shell: &mut Shell<'_>,
) -> io::Result<Exit> {
    if !folder.is_dir() {
        return nothing_shown(connector.name(), folder, global, shell);
    }
    let fixtures = match Fixtures::load(folder) {
        Ok(fixtures) => fixtures,
        Err(error) => {
            writeln!(shell.err, "crossdock: {error}")?;
            return Ok(Exit::Failed);
        }
    };
    if fixtures.cases.is_empty() {
        return nothing_shown(connector.name(), folder, global, shell);
    }
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = match connector.trial() {
        Some(trial) => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            tokio.block_on(trial.run(&fixtures, folder, &clock))
        }
        None => tokio.block_on(contract::run(connector, &fixtures)),
    };
    if global.json {
        show_json(&report_json(&report), shell)?;
    } else {
        let cases = fixtures.cases.len();
        writeln!(shell.out, "{cases} recorded cases: {report}")?;
    }
    Ok(if report.passed() {
        Exit::Ok
    } else {
        Exit::Findings
    })
}

/// No case, no claim.
fn nothing_shown(
    name: &str,
    folder: &std::path::Path,
    global: &Global,
    shell: &mut Shell<'_>,
) -> io::Result<Exit> {
    if global.json {
        show_json(&report_json(&Report::default()), shell)?;
    }
    writeln!(
        shell.err,
        "crossdock: {name}: 0 fixtures in {}: nothing is shown; --fixtures names another folder, \
         `crossdock check --online` asks the real system",
        folder.display()
    )?;
    Ok(Exit::Failed)
}

fn report_json(report: &Report) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|check| json!({ "law": check.law, "name": check.name, "failure": check.failure }))
        .collect();
    json!({ "passed": report.passed(), "checks": checks })
}
