//! How many requests each operation takes: a token bucket each, whose size may change while it runs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::sandbox::audit::lock;
use crate::sandbox::serve::{Bucket, RateLimit};

/// Operation, requests a second and burst, as the vendor's description has them.
const VENDOR: [(&str, f64, f64); 14] = [
    ("searchOrders", 0.0056, 20.0),
    ("getOrder", 0.5, 30.0),
    ("getOrderAddress", 0.5, 30.0),
    ("confirmShipment", 2.0, 10.0),
    ("getListingsItem", 5.0, 10.0),
    ("searchListingsItems", 5.0, 5.0),
    ("patchListingsItem", 5.0, 5.0),
    ("createFeedDocument", 0.5, 15.0),
    ("createFeed", 0.0083, 15.0),
    ("getFeed", 2.0, 15.0),
    ("getFeeds", 0.0222, 10.0),
    ("getFeedDocument", 0.0222, 10.0),
    ("createRestrictedDataToken", 1.0, 10.0),
    ("getMarketplaceParticipations", 0.016, 15.0),
];

/// The vendor's own quotas.
pub fn vendor() -> BTreeMap<&'static str, RateLimit> {
    let all = VENDOR.into_iter();
    all.map(|(name, per_second, burst)| (name, RateLimit { per_second, burst }))
        .collect()
}

/// Quotas for a day that lasts a minute: ten times the vendor's, and at least five a second.
pub fn practice() -> BTreeMap<&'static str, RateLimit> {
    let mut all = vendor();
    for limit in all.values_mut() {
        limit.per_second = (limit.per_second * 10.0).max(5.0);
        limit.burst *= 2.0;
    }
    all
}

/// The buckets of all operations.
#[derive(Debug)]
pub(super) struct Quotas {
    buckets: Mutex<BTreeMap<&'static str, Bucket>>,
}

impl Quotas {
    /// Full buckets; `now` is the monotonic clock.
    pub(super) fn new(limits: &BTreeMap<&'static str, RateLimit>, now: Duration) -> Self {
        let buckets = limits.iter();
        let buckets = buckets.map(|(name, limit)| (*name, Bucket::new(*limit, now)));
        Self {
            buckets: Mutex::new(buckets.collect()),
        }
    }

    /// Another size for one operation; its bucket is full again.
    pub(super) fn set(&self, operation: &'static str, limit: RateLimit, now: Duration) {
        lock(&self.buckets).insert(operation, Bucket::new(limit, now));
    }

    /// Takes one request. Says the operation's rate if it has a quota, and whether it was used up.
    pub(super) fn take(&self, operation: &str, now: Duration) -> (Option<f64>, bool) {
        let mut buckets = lock(&self.buckets);
        let Some(bucket) = buckets.get_mut(operation) else {
            return (None, false);
        };
        let is_over = bucket.take(now).is_err();
        (Some(bucket.rate()), is_over)
    }
}
