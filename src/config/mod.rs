//! What a merchant writes: TOML, read in stages that each collect all of their findings.
//!
//! 1. `source.rs`: one file, or the `*.toml` of a folder, as UTF-8 and of bounded size;
//! 2. `tree.rs`: parsed and merged into one tree in which each value knows its place;
//! 3. `interpolate.rs`: placeholders (`${env:…}`, `${file:…}`, `${credential:…}`) in texts;
//! 4. `de.rs`, `section.rs`: typed, section by section, so that one mistake hides no other;
//! 5. `ranges.rs`, `check.rs`: bounds, and what two settings say together.
//!
//! `load.rs` runs them in this order.
//!
//! The result is plain data; [`crate::topology`] makes a plan of it. This module alone reads the
//! environment. Nothing here writes a file.

mod alert;
mod check;
pub mod codes;
mod connection;
mod connectors;
mod de;
mod interpolate;
mod inventory;
mod limits;
mod load;
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
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use alert::{AlertSettings, Hidden, HookSettings, HookStyle, MailTls, SmtpSettings};
pub use connection::{
    ConnectionSettings, HIDDEN, HttpSettings, LimitSettings, Proxy, Settings, StockBasis,
    StreamSettings,
};
pub use connectors::{MANIFEST, OwnConnector, as_bad_as_used};
pub use interpolate::Credentials;
pub use inventory::{
    Guards, ItemSettings, PoolMember, PoolSettings, PriceGuard, PublishSettings, StockGuard,
};
pub use limits::Limits;
pub use load::{Loaded, load, read};
pub use process::{
    LogFormat, LogLevel, LogSettings, ProveSettings, ServerSettings, StoreEngine, StoreSettings,
};
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
    #[schemars(extend("const" = VERSION))]
    pub version: u32,
    /// Where the state is kept.
    #[schemars(default)]
    pub store: StoreSettings,
    /// When days are proven.
    #[schemars(default)]
    pub prove: ProveSettings,
    /// How people and other programs reach the daemon.
    #[schemars(default)]
    pub server: ServerSettings,
    /// What is logged, and how.
    #[schemars(default)]
    pub log: LogSettings,
    /// Every bound of the whole program.
    #[schemars(default)]
    pub limits: Limits,
    /// When somebody is told that something is wrong, and how.
    #[schemars(default)]
    pub alert: AlertSettings,
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
    /// Folders of connectors of one's own, besides those in the program: each holds
    /// `NAME/connector.toml`, or is itself such a folder. Beside the configuration if relative. When
    /// absent, the folder `connectors` there, if there is one.
    #[schemars(default)]
    pub connectors: Vec<PathBuf>,
    /// The manifests that were found there.
    #[serde(skip)]
    #[schemars(skip)]
    pub own_connectors: Vec<OwnConnector>,
}

/// The sections of a configuration, as [`Config`] has them.
const SECTIONS: [&str; 15] = [
    "version",
    "connectors",
    "store",
    "prove",
    "server",
    "log",
    "limits",
    "alert",
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
/// All findings; their paths begin with `settings` and they have no place in a file yet: [`anchor`]
/// gives them one.
pub fn read_settings<T: DeserializeOwned>(settings: &toml::Table) -> Result<T, Diagnostics> {
    let entries = [(
        "settings".to_owned(),
        Node::from(&toml::Value::Table(settings.clone())),
    )];
    let root = Node::new(Value::Table(entries.into()));
    let mut findings = Diagnostics::default();
    match section::read(&Document { root }, &["settings".into()], &mut findings) {
        Some(value) => Ok(value),
        None => Err(findings),
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
