//! From the plan to what the engine decides by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{
    EngineLimits, Facts, Mapped as EngineMapped, Pool, PoolMember, Publish, RecordMapping, Rules,
};
use crate::fault::Fault;
use crate::id::RouteName;
use crate::mapping::{Mapped, Mapping};
use crate::outbox::Backoff;
use crate::router::{Route, Router};
use crate::topology::Plan;

/// What the engine decides by.
pub fn of(plan: &Plan) -> Rules {
    Rules {
        router: Router::new(plan.routes.iter().map(|route| Route {
            name: route.name.clone(),
            from: route.from.clone(),
            to: route.to.clone(),
            mode: route.mode,
            start_from: route.start_from,
        })),
        mappings: mappings(plan),
        pools: plan
            .pools
            .iter()
            .map(|(name, pool)| (name.clone(), pool_of(pool)))
            .collect(),
        publishes: plan
            .publishes
            .iter()
            .map(|publish| Publish {
                name: RouteName::new(&publish.name),
                pool: publish.pool.clone(),
                to: publish.to.clone(),
                mode: publish.mode,
                rule: publish.rule.clone(),
                items: publish.items.clone(),
            })
            .collect(),
        facts: plan
            .connections
            .iter()
            .map(|(name, connection)| {
                let facts = Facts {
                    stock_basis: connection.stock_basis,
                    stock_write: connection.spec.capabilities.stock_write,
                    stock_lag: connection.stock_lag,
                    late: connection.http.late(),
                };
                (name.clone(), facts)
            })
            .collect(),
        owners: plan.owners.clone(),
        guard: plan.stock_guard.clone(),
        price_guard: plan.price_guard.clone(),
        zone: jiff::tz::TimeZone::get(&plan.alert.time_zone).ok(),
        limits: limits(plan),
    }
}

fn pool_of(pool: &crate::topology::PlannedPool) -> Pool {
    let member = |member: &crate::topology::PlannedMember| PoolMember {
        connection: member.connection.clone(),
        locations: member.locations.clone(),
        freshness: member.freshness,
    };
    Pool {
        members: pool.members.iter().map(member).collect(),
        fulfilled_by: Some(pool.fulfilled_by.clone()),
        tills: pool.tills.clone(),
    }
}

fn limits(plan: &Plan) -> EngineLimits {
    let secs = Duration::from_secs;
    EngineLimits {
        backoff: Backoff {
            initial: Duration::from_millis(plan.limits.retry_first_ms),
            max: secs(plan.limits.retry_max_secs),
        },
        max_age: secs(plan.limits.retry_max_age_secs),
        payload_ttl: secs(plan.store.raw_ttl_secs),
        personal_payload_ttl: secs(plan.store.raw_personal_ttl_secs),
        max_payload_bytes: plan.limits.raw_max_bytes,
        not_listed_retry: secs(plan.limits.not_listed_retry_secs),
        overtake_after: secs(plan.limits.overtake_after_secs),
        submission_max: secs(plan.limits.submission_max_secs),
        quarantine_rows: plan.limits.quarantine_max_rows,
        quarantine_bytes: plan.limits.quarantine_max_bytes,
        quarantine_age: Some(secs(plan.limits.quarantine_max_age_secs))
            .filter(|age| !age.is_zero()),
        journal_ttl: secs(plan.store.journal_ttl_secs),
        commit_rows: plan.limits.commit_max_rows,
        queue_rows: plan.limits.outbox_max_in_memory,
    }
}

fn mappings(plan: &Plan) -> BTreeMap<RouteName, Arc<dyn RecordMapping>> {
    plan.compiled
        .iter()
        .map(|(route, mapping)| {
            let mapping: Arc<dyn RecordMapping> = Arc::new(Compiled(Arc::clone(mapping)));
            (route.clone(), mapping)
        })
        .collect()
}

/// A mapping as the engine asks it.
#[derive(Debug)]
struct Compiled(Arc<Mapping>);

impl RecordMapping for Compiled {
    fn apply(&self, record: &serde_json::Value) -> Result<EngineMapped, Fault> {
        Ok(match self.0.apply(record)? {
            Mapped::Kept(record) => EngineMapped::Kept(record),
            Mapped::Filtered { rule } => EngineMapped::Filtered(rule),
        })
    }

    fn version(&self) -> &str {
        self.0.version()
    }
}
