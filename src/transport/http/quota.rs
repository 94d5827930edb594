//! How requests of one credential are limited: quotas, and how long anybody waits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fault::Fault;

/// A quota: so many cells a second, so many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Cells a second; 0.0167 is one a minute.
    pub per_second: f64,
    /// Cells at once, after a rest.
    pub burst: u32,
}

impl Rate {
    /// Whether it can be counted.
    ///
    /// # Errors
    /// What is wrong with it, for a person: a lower-case clause.
    pub fn check(&self) -> Result<(), String> {
        let Self { per_second, burst } = *self;
        if !(per_second.is_finite() && (1e-6..=1e6).contains(&per_second)) {
            return Err("`per_second` must be between 0.000001 and 1000000".into());
        }
        if !(1..=1_000_000).contains(&burst) {
            return Err("`burst` must be between 1 and 1000000".into());
        }
        if f64::from(burst) / per_second > 366.0 * 86_400.0 {
            return Err("the burst would take more than a year to come back".into());
        }
        Ok(())
    }

    pub(super) fn is_nearly(&self, other: Self) -> bool {
        let difference = (self.per_second - other.per_second).abs();
        self.burst == other.burst && difference <= self.per_second * 0.001
    }
}

/// How requests of one credential are limited.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitOptions {
    /// Requests in flight at once; 4.
    pub concurrency: u32,
    /// By name; `None` is not paced, only paused when the other side refuses. Without a declaration
    /// there is `default` with 5 a second and a burst of 10: somebody's shop on a shared host must
    /// survive a merchant who declares nothing (story 52).
    pub buckets: BTreeMap<String, Option<Rate>>,
    /// How long a request waits until it counts as one lane further to the front; 10 s.
    pub ageing: Duration,
    /// The longest pause that is waited for; 60 s.
    pub patience: Duration,
    /// Requests that may wait; 4096.
    pub max_waiting: usize,
}

impl Default for LimitOptions {
    fn default() -> Self {
        let rate = Rate {
            per_second: 5.0,
            burst: 10,
        };
        Self {
            concurrency: 4,
            buckets: BTreeMap::from([("default".into(), Some(rate))]),
            ageing: Duration::from_secs(10),
            patience: Duration::from_mins(1),
            max_waiting: 4096,
        }
    }
}

impl LimitOptions {
    /// Whether they can be meant.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let refuse = |why: String| Err(Fault::config("http_limits", why));
        if self.concurrency == 0 {
            return refuse("`concurrency` must be at least 1".into());
        }
        if self.buckets.is_empty() {
            return refuse("at least one bucket is needed; declare `default`".into());
        }
        for (name, rate) in &self.buckets {
            if let Some(Err(why)) = rate.map(|rate| rate.check()) {
                return refuse(format!("bucket `{name}`: {why}"));
            }
        }
        Ok(())
    }
}
