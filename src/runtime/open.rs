//! Opening what the plan names: connections with their HTTP clients and limiters, and the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::StoreEngine;
use crate::connector::{Connection, Context};
use crate::fault::Fault;
use crate::id::{ConnectionName, uuid_at};
use crate::secret::Secret;
use crate::store::dir::Birth;
use crate::store::{Store, StoreError};
use crate::topology::{Plan, PlannedConnection};
use crate::transport::http::{
    Client, HttpClient, HttpOptions, LimitOptions, LimitedClient, Limiter, Rate,
};

/// Opens every connection. No I/O: the first request is made by the first call.
pub(super) fn connections(
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> Result<BTreeMap<ConnectionName, Connection>, Fault> {
    plan.connections
        .iter()
        .map(|(name, planned)| {
            let context = Context {
                name: name.to_string(),
                clock: Arc::clone(clock),
                http: http(plan, planned, clock).map_err(|fault| fault.at(name))?,
            };
            let connection = planned
                .configured
                .open(context)
                .map_err(|fault| fault.at(name))?;
            Ok((name.clone(), connection))
        })
        .collect()
}

fn http(
    plan: &Plan,
    planned: &PlannedConnection,
    clock: &Arc<dyn Clock>,
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
    let limiter = Arc::new(Limiter::new(limits(planned), Arc::clone(clock))?);
    Ok(Arc::new(LimitedClient::new(client, limiter)))
}

/// What the merchant says wins over what the connector declares; without either a careful default.
fn limits(planned: &PlannedConnection) -> LimitOptions {
    let mut options = LimitOptions {
        concurrency: planned.limits.concurrency,
        ..LimitOptions::default()
    };
    for (name, quota) in &planned.spec.quotas {
        let rate = Rate {
            per_second: quota.per_second,
            burst: quota.burst,
        };
        options.buckets.insert(name.clone(), Some(rate));
    }
    let told = planned.limits.requests_per_second;
    if told.is_some() || planned.limits.burst.is_some() {
        let declared = options.buckets.get("default").copied().flatten();
        let per_second = told.or(declared.map(|rate| rate.per_second)).unwrap_or(5.0);
        let burst = planned.limits.burst.or(declared.map(|rate| rate.burst));
        let burst = burst.unwrap_or(10);
        options
            .buckets
            .insert("default".into(), Some(Rate { per_second, burst }));
    }
    options
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
    Ok(match plan.store.engine {
        StoreEngine::Memory => Box::new(crate::store::memory::MemoryStore::new()),
        StoreEngine::Sled => Box::new(crate::store::sled::SledStore::open(path, birth)?),
    })
}
