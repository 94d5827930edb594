//! One limiter for everything that the other side counts together, whichever connection it is of (story 49).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::clock::Clock;
use crate::config::LimitSettings;
use crate::connector::Spec;
use crate::fault::Fault;
use crate::id::ConnectionName;
use crate::topology::{Plan, PlannedConnection};
use crate::transport::http::{LimitOptions, Limiter, Rate};

/// The limiters of a process. One whose connections are opened anew goes on with what was spent.
#[derive(Debug, Default)]
pub(super) struct Limiters {
    known: Mutex<BTreeMap<String, Weak<Limiter>>>,
}

impl Limiters {
    /// The limiter of a connection, with the limits that the plan has for it.
    pub(super) fn of(
        &self,
        plan: &Plan,
        (name, planned): (&ConnectionName, &PlannedConnection),
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Limiter>, Fault> {
        let (key, options) = shared(plan, (name, planned));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, limiter| limiter.strong_count() > 0);
        if let Some(limiter) = known.get(&key).and_then(Weak::upgrade) {
            limiter.set(options)?;
            return Ok(limiter);
        }
        let limiter = Arc::new(Limiter::new(options, Arc::clone(clock))?);
        known.insert(key, Arc::downgrade(&limiter));
        Ok(limiter)
    }
}

/// How many requests may be under way: as the merchant says, else as the connector declares, else a few.
pub(super) fn concurrency(planned: &PlannedConnection) -> u32 {
    options(&planned.spec, &planned.limits).concurrency
}

/// Who shares a limiter with this connection, and its limits. Of what is said for several connections with one
/// credential the lowest holds for all of them.
fn shared(
    plan: &Plan,
    (name, planned): (&ConnectionName, &PlannedConnection),
) -> (String, LimitOptions) {
    let Some(account) = planned.configured.account() else {
        let key = format!("connection {name}");
        return (key, options(&planned.spec, &planned.limits));
    };
    let mut told = planned.limits.clone();
    for other in plan.connections.values() {
        if other.connector == planned.connector && other.configured.account() == Some(account) {
            let limits = &other.limits;
            told.requests_per_second = lower(
                told.requests_per_second,
                limits.requests_per_second,
                f64::min,
            );
            told.burst = lower(told.burst, limits.burst, u32::min);
            told.concurrency = lower(told.concurrency, limits.concurrency, u32::min);
        }
    }
    let key = format!("{} {account}", planned.connector);
    (key, options(&planned.spec, &told))
}

fn lower<T>(one: Option<T>, other: Option<T>, min: fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(min(one, other)),
        (one, other) => one.or(other),
    }
}

/// What the merchant says wins over what the connector declares; without either a careful default.
fn options(spec: &Spec, limits: &LimitSettings) -> LimitOptions {
    let mut options = LimitOptions::default();
    let concurrency = limits.concurrency.or(spec.concurrency);
    options.concurrency = concurrency.unwrap_or(options.concurrency).max(1);
    for (name, quota) in &spec.quotas {
        let rate = Rate {
            per_second: quota.per_second,
            burst: quota.burst,
        };
        options.buckets.insert(name.clone(), Some(rate));
    }
    let told = limits.requests_per_second;
    if told.is_some() || limits.burst.is_some() {
        let declared = options.buckets.get("default").copied().flatten();
        let per_second = told.or(declared.map(|rate| rate.per_second)).unwrap_or(5.0);
        let burst = limits.burst.or(declared.map(|rate| rate.burst));
        let burst = burst.unwrap_or(10);
        options
            .buckets
            .insert("default".into(), Some(Rate { per_second, burst }));
    }
    options
}
