//! A pool or publish rule that is another one than before: the numbers that it makes are computed anew, also those
//! that no reading, order or silence touches.

use std::collections::BTreeSet;

use super::rules::{Publish, Rules};
use super::stage::Stage;
use super::tables::{Fact, META};
use super::{EngineError, freshness, pools};
use crate::id::Key;
use crate::record::Fingerprint;

/// Under which name it is noted by which rule a channel's numbers were computed.
fn rule_name(publish: &Publish) -> String {
    format!("published_by/{}", publish.name)
}

/// Forgets by which rules the numbers were computed that are computed by others from now on, so that all of them
/// are computed anew also where the next reload brings the old rules back.
pub(super) fn forget_rules(stage: &mut Stage<'_, '_>, before: &Rules) {
    for publish in &stage.rules.publishes {
        let same = before.publishes.contains(publish)
            && before.pools.get(&publish.pool) == stage.rules.pools.get(&publish.pool);
        if !same {
            META.delete(stage.txn, &rule_name(publish));
        }
    }
}

/// Computes at most `limit` numbers of a channel anew whose rule or pool is another than when they were computed:
/// nothing else would touch them. Whether more is left to do.
pub(super) fn derive_again(stage: &mut Stage<'_, '_>, limit: usize) -> Result<bool, EngineError> {
    let rules = stage.rules;
    for publish in &rules.publishes {
        let Some(pool) = rules.pools.get(&publish.pool) else {
            continue;
        };
        let name = rule_name(publish);
        // Numbers that were kept back until all sales were read are computed anew too.
        let unread = pools::unread_sales(stage, &publish.pool)?.is_some();
        let all = format!("{publish:?} {pool:?} {unread}");
        let now = Fingerprint::of_bytes(all.as_bytes()).to_string();
        let fact = META.get(stage.txn, &name)?;
        let known = fact.filter(|fact| fact.value["of"] == now.as_str());
        let after = known.as_ref().map(|fact| &fact.value["after"]);
        if after.is_some_and(serde_json::Value::is_null) {
            continue;
        }
        let after = after.and_then(|key| key.as_str()).map(Key::new);
        let mut skus = BTreeSet::new();
        for member in &pool.members {
            freshness::collect(stage, member, after.as_ref(), limit, &mut skus)?;
        }
        let more = skus.len() > limit;
        while skus.len() > limit {
            skus.pop_last();
        }
        let last = skus.last().cloned().filter(|_| more);
        pools::recompute(stage, &skus, None)?;
        let value = serde_json::json!({ "of": now, "after": last.as_ref().map(Key::as_str) });
        META.put(stage.txn, &name, &Fact { value })?;
        return Ok(true);
    }
    Ok(false)
}
