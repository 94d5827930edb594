//! Opening what the plan names: connections with their HTTP clients and limiters, and the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::limits::Limiters;
use super::noting::Noting;
use crate::clock::Clock;
use crate::config::StoreEngine;
use crate::connector::{Connection, Context, FileLimits, Tokens, Window};
use crate::fault::Fault;
use crate::id::{ConnectionName, uuid_at};
use crate::record::Stream;
use crate::secret::Secret;
use crate::store::dir::Birth;
use crate::store::{DiskStore, EngineKind, Store, StoreError};
use crate::telemetry::Vitals;
use crate::topology::{Plan, PlannedConnection, PlannedStream};
use crate::transport::http::{Client, HttpClient, HttpOptions, LimitedClient};

/// What all connections of a process share.
pub(super) struct Around<'a> {
    pub clock: &'a Arc<dyn Clock>,
    pub vitals: &'a Vitals,
    pub tokens: &'a Arc<Tokens>,
    pub limiters: &'a Limiters,
}

/// Opens every connection that is not `kept` from before. No I/O: the first request is made by the first
/// call.
pub(super) fn connections(
    plan: &Plan,
    around: &Around<'_>,
    kept: impl Fn(&ConnectionName) -> Option<Arc<Connection>>,
) -> Result<BTreeMap<ConnectionName, Arc<Connection>>, Fault> {
    plan.connections
        .iter()
        .map(|(name, planned)| {
            if let Some(connection) = kept(name) {
                return Ok((name.clone(), connection));
            }
            let http = http(plan, (name, planned), (around.clock, around.limiters));
            let http = http.map_err(|fault| fault.at(name))?;
            let http = Arc::new(Noting::new(http, name.as_str(), around.vitals));
            let connection =
                connection(plan, (name, planned), (http, around.tokens), around.clock)?;
            Ok((name.clone(), Arc::new(connection)))
        })
        .collect()
}

/// Opens every connection; all of them speak through `network`, each with its own limits.
pub(super) fn through(
    network: &Arc<dyn HttpClient>,
    plan: &Plan,
    around: &Around<'_>,
) -> Result<BTreeMap<ConnectionName, Arc<Connection>>, Fault> {
    plan.connections
        .iter()
        .map(|(name, planned)| {
            let limiter = around.limiters.of(plan, (name, planned), around.clock)?;
            let http = LimitedClient::new(Arc::clone(network), limiter);
            let http = Noting::new(Arc::new(http), name.as_str(), around.vitals);
            let http: Arc<dyn HttpClient> = Arc::new(http);
            let connection =
                connection(plan, (name, planned), (http, around.tokens), around.clock)?;
            Ok((name.clone(), Arc::new(connection)))
        })
        .collect()
}

/// Opens one connection that speaks through `http`.
pub(super) fn connection(
    plan: &Plan,
    (name, planned): (&ConnectionName, &PlannedConnection),
    (http, tokens): (Arc<dyn HttpClient>, &Arc<Tokens>),
    clock: &Arc<dyn Clock>,
) -> Result<Connection, Fault> {
    let context = Context {
        name: name.to_string(),
        clock: Arc::clone(clock),
        http,
        tokens: Arc::clone(tokens),
        files: file_limits(plan),
        windows: windows(planned),
    };
    planned
        .configured
        .open(context)
        .map_err(|fault| fault.at(name))
}

/// How far back each stream is read.
pub(super) fn windows(planned: &PlannedConnection) -> BTreeMap<Stream, Window> {
    let window = |settled: &PlannedStream| Window {
        settle_lag: settled.settle_lag,
        overlap: settled.overlap,
        start_from: settled.start_from,
    };
    let streams = planned.streams.iter();
    streams
        .map(|(stream, settled)| (*stream, window(settled)))
        .collect()
}

/// How large a file may be.
pub(super) fn file_limits(plan: &Plan) -> FileLimits {
    FileLimits {
        bytes: plan.limits.feed_max_bytes,
        rows: plan.limits.feed_max_rows,
        columns: plan.limits.feed_max_columns,
        cell_bytes: plan.limits.feed_max_cell_bytes,
    }
}

/// The HTTP client of a connection, behind its limiter.
pub(super) fn http(
    plan: &Plan,
    (name, planned): (&ConnectionName, &PlannedConnection),
    (clock, limiters): (&Arc<dyn Clock>, &Limiters),
) -> Result<Arc<dyn HttpClient>, Fault> {
    let settings = &planned.http;
    let max_body = settings
        .max_body_bytes
        .unwrap_or(plan.limits.http_max_body_bytes);
    let options = HttpOptions {
        connect_timeout: Duration::from_secs(settings.connect_timeout_secs),
        timeout: Duration::from_secs(settings.timeout_secs),
        max_body_bytes: usize::try_from(max_body).unwrap_or(usize::MAX),
        proxy: settings
            .proxy
            .as_ref()
            .map(|proxy| Secret::new(proxy.expose().as_str())),
        ca_file: settings.ca_file.clone(),
        ..HttpOptions::default()
    };
    let client = Arc::new(Client::new(options, Arc::clone(clock))?);
    let limiter = limiters.of(plan, (name, planned), clock)?;
    Ok(Arc::new(LimitedClient::new(client, limiter)))
}

/// Where the store of a plan stands.
pub fn store_path(plan: &Plan) -> PathBuf {
    plan.store
        .path
        .clone()
        .unwrap_or_else(|| PathBuf::from("crossdock-data"))
}

/// Opens the store that the plan names.
///
/// # Errors
/// When it is damaged, in use by another process, or written by a newer version.
pub fn open_store(
    plan: &Plan,
    path: &Path,
    clock: &dyn Clock,
) -> Result<Box<dyn Store>, StoreError> {
    let at = clock.now();
    let birth = Birth {
        at,
        id: uuid_at(at, fastrand::u128(..)),
    };
    let Some(kind) = engine_kind(plan) else {
        return Ok(Box::new(crate::store::memory::MemoryStore::new()));
    };
    let cache = plan.store.cache_bytes;
    Ok(Box::new(DiskStore::open_with(kind, path, birth, cache)?))
}

/// The engine on disk that a plan names; `None` where everything is forgotten at exit.
pub fn engine_kind(plan: &Plan) -> Option<EngineKind> {
    match plan.store.engine {
        StoreEngine::Memory => None,
        StoreEngine::Sled => Some(EngineKind::Sled),
        StoreEngine::Redb => Some(EngineKind::Redb),
    }
}
