//! `[limits]`: how fast a credential may ask.

use std::collections::BTreeMap;

use rust_decimal::prelude::ToPrimitive;
use schemars::JsonSchema;
use serde::Deserialize;

use super::scope::{Compiler, Frame};
use super::text::{Expr, Name};
use crate::connector::Quota;
use crate::expr::Program;
use crate::transport::http::{Feedback, Rate};

/// How fast a credential may ask.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitPart {
    /// Requests under way at once.
    pub concurrency: Option<u32>,
    /// Quotas. Where none is called `default`, that one has 5 a second and a burst of 10.
    #[serde(default)]
    pub bucket: BTreeMap<Name, Limit>,
}

/// One quota. A request that costs more than `burst` is refused when the manifest is loaded.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Cells a second.
    pub per_second: f64,
    /// Cells at once.
    pub burst: u32,
    /// How many cells a request cost, by a reply: `number(reply.json.extensions.cost.actualQueryCost)`. Until
    /// it comes, as many as the request's `cost` says are counted; 0 or nothing leaves it at that.
    pub cost: Option<Expr>,
    /// How many cells are left, by a reply: `number(reply.headers['x-remaining'])`.
    pub remaining: Option<Expr>,
    /// How many cells a second there are, by a reply, where a merchant may be given more or less than
    /// `per_second`.
    pub learned: Option<Expr>,
}

/// All buckets. One called `default` always exists.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    bursts: BTreeMap<String, u32>,
    remaining: BTreeMap<String, Program>,
    learned: BTreeMap<String, Program>,
    costs: BTreeMap<String, Program>,
}

impl LimitPart {
    /// For the limiter of a connection.
    pub(super) fn quotas(&self) -> BTreeMap<String, Quota> {
        let quotas = self.bucket.iter().map(|(name, limit)| {
            let Limit {
                per_second, burst, ..
            } = *limit;
            (name.as_str().to_owned(), Quota { per_second, burst })
        });
        quotas.collect()
    }
}

impl Limits {
    pub(super) fn compile(part: &LimitPart, compiler: &mut Compiler) -> Self {
        let scope = compiler.scope(&["reply"]);
        let mut limits = Self::default();
        if part.concurrency == Some(0) {
            let message = "at least one request must be under way";
            compiler.error("limits.concurrency", 0..0, message, None);
        }
        for (name, limit) in &part.bucket {
            let path = format!("limits.bucket.{}", name.as_str());
            let rate = Rate {
                per_second: limit.per_second,
                burst: limit.burst,
            };
            if let Err(message) = rate.check() {
                compiler.error(&path, name.span(), message, None);
            }
            if let Some(program) = compiler.maybe(limit.remaining.as_ref(), &scope, &path) {
                limits.remaining.insert(name.as_str().to_owned(), program);
            }
            if let Some(program) = compiler.maybe(limit.learned.as_ref(), &scope, &path) {
                limits.learned.insert(name.as_str().to_owned(), program);
            }
            if let Some(program) = compiler.maybe(limit.cost.as_ref(), &scope, &path) {
                limits.costs.insert(name.as_str().to_owned(), program);
            }
            limits.bursts.insert(name.as_str().to_owned(), limit.burst);
        }
        limits
    }

    /// Notes a request that names no bucket there is, or costs more than it can ever have.
    pub(super) fn check(
        &self,
        bucket: Option<&Name>,
        cost: u32,
        compiler: &mut Compiler,
        path: &str,
    ) {
        let name = bucket.map_or("default", Name::as_str);
        let span = bucket.map_or(0..0, Name::span);
        compiler.costliest = compiler.costliest.max(cost);
        match self.bursts.get(name) {
            None if bucket.is_some() => {
                let help = Some(format!("add [limits.bucket.{name}]"));
                compiler.error(path, span, format!("there is no bucket `{name}`"), help);
            }
            Some(burst) if cost > *burst => {
                let message = format!("a cost of {cost} never fits into a burst of {burst}");
                compiler.error(path, span, message, None);
            }
            _ => {}
        }
    }

    /// What a reply tells about a bucket: how fast it fills, and what is left of it.
    pub(super) fn feedback(
        &self,
        (bucket, counted): (&str, u32),
        frame: &Frame<'_>,
    ) -> Vec<Feedback> {
        let number = |programs: &BTreeMap<String, Program>| {
            programs.get(bucket)?.eval(frame).ok()?.as_number()
        };
        let quota = number(&self.learned).and_then(|rate| {
            let per_second = rate.to_f64()?;
            let burst = *self.bursts.get(bucket)?;
            Some(Feedback::Quota { per_second, burst })
        });
        let remaining = number(&self.remaining).and_then(|left| {
            let cells = u32::try_from(left.trunc().mantissa()).ok()?;
            Some(Feedback::Remaining { cells })
        });
        let cost = number(&self.costs).and_then(|told| {
            let told = told.ceil().to_u32()?;
            Some(Feedback::Cost { counted, told })
        });
        // What is left knows already what it cost.
        let cost = cost.filter(|_| remaining.is_none());
        quota.into_iter().chain(cost).chain(remaining).collect()
    }
}
