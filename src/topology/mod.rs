//! From a configuration and the known connectors to a plan, or to all findings at once.
//!
//! A [`Plan`] is plain data: every name in it exists, every stream can do what is asked of it,
//! every default is settled. The runtime builds from it and looks at the configuration no more.
//! What changes between two plans is told by [`diff()`].

mod connections;
mod diff;
mod mappings;
mod own;
mod routes;
mod stock;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

pub use diff::{SectionChange, Verdict, diff};
pub use own::own_connectors;

use crate::config::{
    AlertSettings, Config, Document, HttpSettings, LimitSettings, Limits, Loaded, LogSettings,
    ProveSettings, ServerSettings, StoreSettings,
};
use crate::connector::{Configured, Connector, Spec, StockBasis};
use crate::diagnostic::Diagnostics;
use crate::id::{ConnectionName, Key, RouteName};
use crate::inventory::{Guard, PriceGuard, PublishRule};
use crate::mapping::Mapping;
use crate::record::Stream;
use crate::router::Mode;
use rust_decimal::Decimal;

/// Everything that the daemon does, settled.
#[derive(Debug)]
pub struct Plan {
    /// The configuration that it was made from.
    pub config: Config,
    /// The merchant's systems.
    pub connections: BTreeMap<ConnectionName, PlannedConnection>,
    /// In the order of their names.
    pub routes: Vec<PlannedRoute>,
    /// The compiled mapping of each route that has one.
    pub compiled: BTreeMap<RouteName, Arc<Mapping>>,
    /// By name.
    pub pools: BTreeMap<String, PlannedPool>,
    /// In the order of their names.
    pub publishes: Vec<PlannedPublish>,
    /// Whose value wins, where the configuration says so.
    pub owners: BTreeMap<Stream, ConnectionName>,
    /// Against strange stock.
    pub stock_guard: Guard,
    /// Against strange prices.
    pub price_guard: PriceGuard,
    /// Every bound.
    pub limits: Limits,
    /// When somebody is told that something is wrong, and how.
    pub alert: AlertSettings,
    /// Where the state is kept; its path is settled.
    pub store: StoreSettings,
    /// When days are proven.
    pub prove: ProveSettings,
    /// How the daemon is reached; the path of its socket is settled.
    pub server: ServerSettings,
    /// What is logged.
    pub log: LogSettings,
    /// What works but is probably not as meant.
    pub warnings: Diagnostics,
}

/// One system.
#[derive(Debug)]
pub struct PlannedConnection {
    /// The name of its connector.
    pub connector: String,
    /// What the connector declares.
    pub spec: Spec,
    /// Its checked settings.
    pub configured: Box<dyn Configured>,
    /// How HTTP requests are made; `max_body_bytes` is settled.
    pub http: HttpSettings,
    /// How fast it may be spoken to.
    pub limits: LimitSettings,
    /// When its stock number falls.
    pub stock_basis: StockBasis,
    /// How long after a confirmed order a read of stock shows it.
    pub stock_lag: Duration,
    /// The last day on which its credentials are good.
    pub credential_expires: Option<Date>,
    /// The streams that the connector has.
    pub streams: BTreeMap<Stream, PlannedStream>,
}

/// How one stream of one connection is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStream {
    /// A route begins here, or a pool counts it.
    pub is_read: bool,
    /// A route or a publish rule ends here.
    pub is_written: bool,
    /// The time between two reads.
    pub poll: Duration,
    /// How long the system takes until it shows everything of a moment.
    pub settle_lag: Duration,
    /// How far back each read looks again.
    pub overlap: Duration,
    /// What was read longer ago is unknown.
    pub freshness: Option<Duration>,
    /// How long what was read counts, as the connector says.
    pub fresh_for: Option<Duration>,
    /// Orders: how long there may be none; as usual when absent, no matter how long when zero.
    pub max_silence: Option<Duration>,
    /// The time between two sweeps.
    pub sweep: Option<Duration>,
    /// Things that are not closed and at most this old are read again by id.
    pub reread_open: Option<Duration>,
    /// Nothing older than this is needed: the earliest `start_from` of the routes that begin here.
    pub start_from: Option<Timestamp>,
}

/// A stream without a freshness of its own may be silent for four reads, and for this long.
const SILENT_AT_LEAST: Duration = Duration::from_mins(15);

impl PlannedStream {
    /// How long it may go without a successful read until somebody is told.
    pub fn silent_after(&self) -> Duration {
        let usual = SILENT_AT_LEAST.max(self.poll.saturating_mul(4));
        let declared = self.fresh_for.map(|fresh_for| fresh_for.max(usual));
        self.freshness.or(declared).unwrap_or(usual)
    }

    /// Whether something old that is read again and again (a file) is as good as nothing.
    pub fn grows_old(&self) -> bool {
        self.freshness.is_some() || self.fresh_for.is_some()
    }
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRoute {
    /// `[route.NAME]`.
    pub name: RouteName,
    /// What is read.
    pub from: (ConnectionName, Stream),
    /// Where it goes.
    pub to: (ConnectionName, Stream),
    /// Whether it writes.
    pub mode: Mode,
    /// The name of its mapping.
    pub mapping: Option<String>,
    /// Events placed before this are not carried.
    pub start_from: Option<Timestamp>,
}

/// Stock that is sold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPool {
    /// The owners.
    pub members: Vec<PlannedMember>,
    /// Whose shipments take reservations off.
    pub fulfilled_by: ConnectionName,
    /// Who sells out of it and is told no stock.
    pub tills: BTreeSet<ConnectionName>,
}

/// One owner's stock in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMember {
    /// The owner.
    pub connection: ConnectionName,
    /// Only these locations; all when empty.
    pub locations: BTreeSet<String>,
    /// What was read longer ago is unknown.
    pub freshness: Duration,
}

/// What one channel is told of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPublish {
    /// `[publish.NAME]`.
    pub name: String,
    /// Of which pool.
    pub pool: String,
    /// Which connection's stock stream is told.
    pub to: ConnectionName,
    /// Whether it writes.
    pub mode: Mode,
    /// The rule for all items.
    pub rule: PublishRule,
    /// The whole rule for single items.
    pub items: BTreeMap<Key, PublishRule>,
}

/// Makes a plan of a configuration, with the connectors that there are.
///
/// Pure, as [`Connector::configure`] is. Takes a configuration with findings too, to add its own to
/// them.
///
/// # Errors
/// All findings, those about connectors' settings included.
pub fn plan(loaded: &Loaded, registry: &[&dyn Connector]) -> Result<Plan, Diagnostics> {
    let config = &loaded.config;
    let mut findings = loaded.findings.clone();
    let own = own_connectors(config, registry, &mut findings);
    let own = own.iter().map(AsRef::as_ref);
    let registry: Vec<&dyn Connector> = registry.iter().copied().chain(own).collect();
    let mut draft = Draft {
        config,
        loaded,
        document: &loaded.document,
        specs: BTreeMap::new(),
        findings,
    };
    let mut connections = connections::plan(&mut draft, &registry);
    let routes = routes::plan(&mut draft);
    let (pools, publishes) = stock::plan(&mut draft);
    routes::check_graph(&mut draft);
    let compiled = mappings::compile(&mut draft);
    if loaded.is_whole {
        unused(&mut draft);
        stock::check_sales(&mut draft);
    }
    if draft.findings.has_errors() {
        return Err(draft.findings);
    }
    let warnings = draft.findings;
    connections::mark_used(&mut connections, &routes, &pools, &publishes);
    let share = |share: f64| Decimal::try_from(share).unwrap_or(Decimal::ONE);
    let (stock, prices) = (&config.guard.stock, &config.guard.prices);
    Ok(Plan {
        connections,
        routes,
        compiled,
        pools,
        publishes,
        owners: config.owner.clone(),
        stock_guard: Guard {
            max_zero_share: share(stock.max_zero_share),
            max_shrink_share: share(stock.max_shrink_share),
            min_rows: stock.min_rows,
        },
        price_guard: PriceGuard {
            max_jump_share: share(prices.max_jump_share),
            max_jumps_share: share(prices.max_jumps_share),
            min_rows: prices.min_rows,
        },
        limits: config.limits.clone(),
        alert: config.alert.clone(),
        store: config.store.clone(),
        prove: config.prove,
        server: config.server.clone(),
        log: config.log,
        config: config.clone(),
        warnings,
    })
}

/// What is known while a plan is made.
struct Draft<'a> {
    loaded: &'a Loaded,
    /// Without the sections that are wrong.
    config: &'a Config,
    document: &'a Document,
    /// Of the connections whose connector exists. About the others nothing more is said.
    specs: BTreeMap<&'a ConnectionName, &'a Spec>,
    findings: Diagnostics,
}

impl<'a> Draft<'a> {
    /// The names in a section, those of wrong tables too: a reference to one of them is right.
    fn names(&self, section: &str) -> Vec<&'a str> {
        self.document.names(section)
    }

    fn error(&mut self, code: &'static str, path: &[&str], message: String, help: &str) {
        let finding = self.document.error(code, path, message);
        self.findings.push(if help.is_empty() {
            finding
        } else {
            finding.help(help)
        });
    }

    fn warning(&mut self, code: &'static str, path: &[&str], message: String, help: &str) {
        let finding = self.document.warning(code, path, message);
        self.findings.push(if help.is_empty() {
            finding
        } else {
            finding.help(help)
        });
    }
}

/// Warns about what nothing refers to: often a slip in a name that was fixed on one side only.
fn unused(draft: &mut Draft<'_>) {
    use crate::config::codes::UNUSED;

    let config = draft.config;
    let mapped: BTreeSet<&String> = config
        .route
        .values()
        .filter_map(|route| route.mapping.as_ref())
        .collect();
    for name in config.mapping.keys().filter(|name| !mapped.contains(name)) {
        let message = format!("no route uses the mapping `{name}`");
        let help = format!("write `mapping = \"{name}\"` in the route that needs it");
        draft.warning(UNUSED, &["mapping", name], message, &help);
    }
    let published: BTreeSet<&String> = config.publish.values().map(|rule| &rule.pool).collect();
    for name in config.pool.keys().filter(|name| !published.contains(name)) {
        let message = format!("no channel is told about the pool `{name}`");
        draft.warning(
            UNUSED,
            &["pool", name],
            message,
            "add a [publish.NAME] with this pool",
        );
    }
    let mut used: BTreeSet<&ConnectionName> = BTreeSet::new();
    used.extend(
        config
            .route
            .values()
            .flat_map(|route| [&route.from.connection, &route.to.connection]),
    );
    used.extend(config.publish.values().map(|rule| &rule.to.connection));
    for pool in config.pool.values() {
        used.extend(pool.members.iter().map(|member| &member.stream.connection));
        used.extend(&pool.fulfilled_by);
        used.extend(&pool.tills);
    }
    for name in config.connection.keys().filter(|name| !used.contains(name)) {
        let message = format!("nothing uses the connection `{name}`");
        draft.warning(UNUSED, &["connection", name.as_str()], message, "");
    }
}
