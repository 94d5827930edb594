//! What a merchant writes: TOML, read in stages that each collect all of their findings.
//!
//! 1. `source.rs`: one file, or the `*.toml` of a folder, as UTF-8 and of bounded size;
//! 2. `tree.rs`: parsed and merged into one tree in which each value knows its place;
//! 3. `interpolate.rs`: placeholders (`${env:…}`, `${file:…}`, `${credential:…}`) replaced in texts;
//! 4. `de.rs`, `section.rs`: typed, section by section, so that one mistake hides no other;
//! 5. `ranges.rs`, `check.rs`: bounds, and what two settings say together.
//!
//! The result is plain data; [`crate::topology`] makes a plan of it. This module alone reads the
//! environment. Nothing here writes a file.

mod check;
pub mod codes;
mod connection;
mod de;
mod interpolate;
mod inventory;
mod limits;
mod process;
mod ranges;
pub mod render;
mod route;
mod schema;
mod section;
mod show;
mod source;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use connection::{
    ConnectionSettings, HIDDEN, HttpSettings, LimitSettings, Proxy, Settings, StockBasis,
    StreamSettings,
};
pub use interpolate::Credentials;
pub use inventory::{
    Guards, ItemSettings, PoolMember, PoolSettings, PriceGuard, PublishSettings, StockGuard,
};
pub use limits::Limits;
pub use process::{LogFormat, LogLevel, LogSettings, ServerSettings, StoreEngine, StoreSettings};
pub use route::{Endpoint, MappingTable, Mode, RouteSettings};
pub use schema::schema;
pub use section::suggest;
pub use show::show;
pub use source::{Surroundings, System};
pub use tree::{Document, Node, Place, Step, Value, path_text};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::id::{ConnectionName, RouteName};
use crate::record::Stream;

/// The version of the format that this program reads.
pub const VERSION: u32 = 1;

/// A whole configuration, with all defaults.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Config {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Where the state is kept.
    #[schemars(default)]
    pub store: StoreSettings,
    /// How people and other programs reach the daemon.
    #[schemars(default)]
    pub server: ServerSettings,
    /// What is logged, and how.
    #[schemars(default)]
    pub log: LogSettings,
    /// Every bound of the whole program.
    #[schemars(default)]
    pub limits: Limits,
    /// The merchant's systems.
    #[schemars(default, with = "BTreeMap<String, ConnectionSettings>")]
    pub connection: BTreeMap<ConnectionName, ConnectionSettings>,
    /// What is carried from where to where.
    #[schemars(default, with = "BTreeMap<String, RouteSettings>")]
    pub route: BTreeMap<RouteName, RouteSettings>,
    /// How records are changed on the way.
    #[schemars(default)]
    pub mapping: BTreeMap<String, MappingTable>,
    /// Stock that is sold together.
    #[schemars(default)]
    pub pool: BTreeMap<String, PoolSettings>,
    /// Which channels are told how much of a pool they may sell.
    #[schemars(default)]
    pub publish: BTreeMap<String, PublishSettings>,
    /// Whose value wins where several connections write the same stream: `items = "erp"`.
    #[schemars(default, schema_with = "schema::owners")]
    pub owner: BTreeMap<Stream, ConnectionName>,
    /// What is too strange to be believed.
    #[schemars(default)]
    pub guard: Guards,
}

/// The sections of a configuration, as [`Config`] has them.
const SECTIONS: [&str; 12] = [
    "version",
    "store",
    "server",
    "log",
    "limits",
    "connection",
    "route",
    "mapping",
    "pool",
    "publish",
    "owner",
    "guard",
];

/// The sections that hold named tables.
const NAMED: [&str; 5] = ["connection", "route", "mapping", "pool", "publish"];

/// A configuration that was read and checked, with what is needed to talk about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where each setting stands.
    pub document: Document,
    /// What works but is probably not as meant.
    pub warnings: Diagnostics,
}

/// Reads and checks the configuration in a file, or in the `*.toml` of a folder.
///
/// # Errors
/// All findings, warnings too, when one of them refuses the configuration.
pub fn load(
    path: &Path,
    around: &dyn Surroundings,
    credentials: Credentials,
) -> Result<Loaded, Diagnostics> {
    let mut findings = Diagnostics::default();
    let Some(mut document) = read_files(path, around, &mut findings) else {
        return Err(findings);
    };
    if findings.has_errors() {
        return Err(findings);
    }
    interpolate::interpolate(&mut document.root, around, credentials, &mut findings);
    let config = read_config(&document, &mut findings);
    ranges::check(&schema(), &document, &mut findings);
    let Some(mut config) = config else {
        return Err(findings);
    };
    let base = base_folder(path, around);
    fill_in(&mut config, &base, around, &document, &mut findings);
    check::settings(&config, &document, &mut findings);
    if findings.has_errors() {
        return Err(findings);
    }
    Ok(Loaded {
        config,
        document,
        warnings: findings,
    })
}

/// Reads what stands at `path` of a document as a typed value. `None` when anything in it is wrong;
/// the findings then say all of it.
pub fn read_part<T: DeserializeOwned>(
    document: &Document,
    path: &[Step],
    findings: &mut Diagnostics,
) -> Option<T> {
    section::read(document, path, findings)
}

/// Reads a connector's settings as a typed value, with the same findings as any section.
///
/// # Errors
/// All findings; their paths begin at the settings table and they have no place in a file yet.
pub fn read_settings<T: DeserializeOwned>(settings: &toml::Table) -> Result<T, Diagnostics> {
    let root = Node::from(&toml::Value::Table(settings.clone()));
    let mut findings = Diagnostics::default();
    match section::read(&Document { root }, &[], &mut findings) {
        Some(value) => Ok(value),
        None => Err(findings),
    }
}

fn read_files(
    path: &Path,
    around: &dyn Surroundings,
    findings: &mut Diagnostics,
) -> Option<Document> {
    let mut root: Option<Node> = None;
    for file in source::files(path, around, findings) {
        let Some(text) = source::read(&file, around, findings) else {
            continue;
        };
        let node = tree::parse(&text, findings);
        match &mut root {
            None => root = Some(node),
            Some(root) => tree::merge(root, node, findings),
        }
    }
    root.map(|root| Document { root })
}

/// `None` when anything is missing or of the wrong type; what else is wrong is reported all the same.
fn read_config(document: &Document, findings: &mut Diagnostics) -> Option<Config> {
    for name in document
        .root
        .table()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
    {
        if !SECTIONS.contains(&name) {
            findings.push(section::unknown_key(document, &[name.into()], &SECTIONS));
        }
    }
    for section in NAMED {
        check::names(document, section, findings);
    }
    let version = read_version(document, findings);
    let store = section::read_or_default(document, &["store".into()], findings);
    let server = section::read_or_default(document, &["server".into()], findings);
    let log = section::read_or_default(document, &["log".into()], findings);
    let limits = section::read_or_default(document, &["limits".into()], findings);
    let connection = read_named(document, "connection", findings);
    let route = read_named(document, "route", findings);
    let mapping = read_mappings(document, findings);
    let pool = read_named(document, "pool", findings);
    let publish = read_named(document, "publish", findings);
    let owner = section::read_or_default(document, &["owner".into()], findings);
    let guard = section::read_or_default(document, &["guard".into()], findings);
    Some(Config {
        version: version?,
        store: store?,
        server: server?,
        log: log?,
        limits: limits?,
        connection: connection?,
        route: route?,
        mapping: mapping?,
        pool: pool?,
        publish: publish?,
        owner: owner?,
        guard: guard?,
    })
}

fn read_version(document: &Document, findings: &mut Diagnostics) -> Option<u32> {
    if document.root.get(&["version".into()]).is_none() {
        let message = "the configuration does not say which version of the format it is written in";
        let finding = document.error(codes::NO_VERSION, &["version"], message);
        findings.push(finding.help("write `version = 1` in the first line"));
        return None;
    }
    let version = section::read(document, &["version".into()], findings)?;
    if version != VERSION {
        let message =
            format!("this is version {version} of the format; this program reads {VERSION}");
        let finding = document.error(codes::OTHER_VERSION, &["version"], message);
        findings.push(finding.help("a newer crossdock may read it; otherwise write `version = 1`"));
        return None;
    }
    Some(version)
}

/// Reads `[section.NAME]` for each name: one that is wrong hides no other.
fn read_named<K: From<String> + Ord, T: DeserializeOwned>(
    document: &Document,
    section: &str,
    findings: &mut Diagnostics,
) -> Option<BTreeMap<K, T>> {
    let mut out = BTreeMap::new();
    let mut whole = is_table_of_tables(document, section, findings);
    for name in document.names(section) {
        match section::read(document, &[section.into(), name.into()], findings) {
            Some(value) => {
                out.insert(K::from(name.to_owned()), value);
            }
            None => whole = false,
        }
    }
    whole.then_some(out)
}

fn read_mappings(
    document: &Document,
    findings: &mut Diagnostics,
) -> Option<BTreeMap<String, MappingTable>> {
    let mut whole = is_table_of_tables(document, "mapping", findings);
    let mut out = BTreeMap::new();
    for name in document.names("mapping") {
        let path: [Step; 2] = ["mapping".into(), name.into()];
        match document.root.get(&path) {
            Some(node) if node.table().is_some() => {
                out.insert(name.to_owned(), MappingTable(node.clone()));
            }
            _ => {
                let message = format!("`mapping.{name}` must be a table");
                findings.push(document.error(codes::WRONG_TYPE, &["mapping", name], message));
                whole = false;
            }
        }
    }
    whole.then_some(out)
}

fn is_table_of_tables(document: &Document, section: &str, findings: &mut Diagnostics) -> bool {
    let node = document.root.get(&[section.into()]);
    let wrong = node.is_some_and(|node| node.table().is_none());
    if wrong {
        let message = format!("`{section}` must be made of named tables");
        let finding = document.error(codes::WRONG_TYPE, &[section], message);
        findings.push(finding.help(format!("write [{section}.NAME] above its settings")));
    }
    !wrong
}

/// Relative paths stand beside the configuration.
fn base_folder(path: &Path, around: &dyn Surroundings) -> PathBuf {
    match around.list(path) {
        Ok(Some(_)) => path.to_owned(),
        _ => path.parent().unwrap_or(Path::new("")).to_owned(),
    }
}

/// Settles what depends on the surroundings: default folders, and files that settings name.
fn fill_in(
    config: &mut Config,
    base: &Path,
    around: &dyn Surroundings,
    document: &Document,
    findings: &mut Diagnostics,
) {
    // With several directories systemd separates them with colons; the first is ours.
    let given = |variable: &str| {
        let value = around.var(variable)?.into_string().ok()?;
        let first = value.split(':').next().filter(|first| !first.is_empty())?;
        Some(PathBuf::from(first))
    };
    let store = match &config.store.path {
        Some(path) => base.join(path),
        None => given("STATE_DIRECTORY")
            .map_or_else(|| base.join("crossdock-data"), |state| state.join("store")),
    };
    let socket = match &config.server.admin_socket {
        Some(path) => base.join(path),
        None => given("RUNTIME_DIRECTORY")
            .unwrap_or_else(|| store.clone())
            .join("admin.sock"),
    };
    config.store.path = Some(store);
    config.server.admin_socket = Some(socket);
    for (name, connection) in &mut config.connection {
        let Some(file) = &connection.http.ca_file else {
            continue;
        };
        let path = ["connection", name.as_str(), "http", "ca_file"];
        match read_ca(&base.join(file), around) {
            Ok(pem) => connection.http.ca_pem = Some(pem),
            Err(message) => findings.push(document.error(codes::NO_FILE, &path, message)),
        }
    }
}

fn read_ca(path: &Path, around: &dyn Surroundings) -> Result<String, String> {
    let shown = path.display();
    let bytes = around
        .read(path, source::MAX_FILE_BYTES)
        .map_err(|error| format!("cannot read {shown}: {}", source::io_reason(&error)))?;
    match String::from_utf8(bytes) {
        Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => Ok(pem),
        _ => Err(format!("{shown} holds no certificate in PEM form")),
    }
}

/// The path of a finding about a connector's settings, given relative to them.
pub fn settings_path(connection: &ConnectionName, relative: &str) -> Vec<Step> {
    let mut path: Vec<Step> = ["connection", connection.as_str(), "settings"]
        .map(Step::from)
        .into();
    let relative = relative.strip_prefix("settings").unwrap_or(relative);
    for part in relative
        .split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
    {
        path.push(part.parse().map_or_else(|_| Step::from(part), Step::Index));
    }
    path
}

/// A finding of a connector, moved to the connection's place in the merchant's file.
pub fn anchor(document: &Document, connection: &ConnectionName, finding: Diagnostic) -> Diagnostic {
    let path = settings_path(connection, &finding.path);
    let placed = document.finding(finding.severity, finding.code, &path, finding.message);
    Diagnostic {
        help: finding.help,
        ..placed
    }
}

#[cfg(test)]
mod tests;
