//! `[limits.BUCKET]`: how fast a credential may ask.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scope::{Compiler, Frame};
use super::text::{Expr, Name};
use crate::expr::Program;
use crate::transport::http::Feedback;

/// One bucket. A request that costs more than `burst` is refused when the manifest is loaded.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Cells a second.
    pub per_second: f64,
    /// Cells at once.
    pub burst: u32,
    /// Requests under way at once.
    pub concurrency: Option<u32>,
    /// How many cells are left, by a reply: `number(reply.headers['x-remaining'])`.
    pub remaining: Option<Expr>,
}

/// All buckets. One called `default` always exists.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    buckets: BTreeMap<String, Limit>,
    remaining: BTreeMap<String, Program>,
}

impl Limits {
    pub(super) fn compile(limits: &BTreeMap<Name, Limit>, compiler: &mut Compiler) -> Self {
        let scope = compiler.scope(&["reply"]);
        let mut compiled = Self::default();
        for (name, limit) in limits {
            let path = format!("limits.{}", name.as_str());
            if limit.per_second <= 0.0 || limit.burst == 0 || limit.concurrency == Some(0) {
                let message = "a bucket must let something through";
                compiler.error(&path, name.span(), message, None);
            }
            if let Some(program) = compiler.maybe(limit.remaining.as_ref(), &scope, &path) {
                compiled.remaining.insert(name.as_str().to_owned(), program);
            }
            compiled
                .buckets
                .insert(name.as_str().to_owned(), limit.clone());
        }
        compiled
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
        match self.buckets.get(name) {
            None if bucket.is_some() => {
                let help = Some(format!("add [limits.{name}]"));
                compiler.error(path, span, format!("there is no bucket `{name}`"), help);
            }
            Some(limit) if cost > limit.burst => {
                let message = format!(
                    "a cost of {cost} never fits into a burst of {}",
                    limit.burst
                );
                compiler.error(path, span, message, None);
            }
            _ => {}
        }
    }

    /// The buckets, by name.
    pub(super) fn buckets(&self) -> &BTreeMap<String, Limit> {
        &self.buckets
    }

    /// What a reply tells about what is left of a bucket.
    pub(super) fn feedback(&self, bucket: &str, frame: &Frame<'_>) -> Option<Feedback> {
        let number = self.remaining.get(bucket)?.eval(frame).ok()?.as_number()?;
        let cells = u32::try_from(number.trunc().mantissa()).ok()?;
        Some(Feedback::Remaining { cells })
    }
}
