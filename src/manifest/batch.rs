//! `[stream.S.write.batch]`: one request for many absolute values.
//!
//! What is wrong with one delivery is found before the request and fails that delivery alone; when the
//! other side refuses the request as a whole, it is halved until the bad one stands alone (law D6).

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::fault::Intent;
use super::limits::Limits;
use super::request::{Call, Request};
use super::run::{Purpose, Run, cannot_compute};
use super::scope::Compiler;
use super::step::{
    Allowed, Check, CompiledCheck, CompiledStep, Step, compile as compile_steps, compile_check,
};
use super::text::Tree;
use super::tree::Node;
use super::wire::Wire;
use crate::expr::Type;
use crate::fault::{Class, Fault};
use crate::transport::http::Lane;

/// Many at once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// How many deliveries one request may carry.
    pub max: usize,
    /// What must be known first, of `batch`, the list of deliveries.
    #[serde(default)]
    pub step: Vec<Step>,
    /// What must not be, of each `delivery`.
    #[serde(default)]
    pub check: Vec<Check>,
    /// What the request carries of a `delivery`.
    pub row: Tree,
    /// The request, of `rows`. It says how things are, so that it may be repeated.
    pub request: Request,
    /// What the reply says about single rows, of each `delivery`, its `row` and the `reply`: a reply
    /// may be good as a whole and refuse one row (law D6).
    #[serde(default)]
    pub refused: Vec<Check>,
    /// What is confirmed of a `delivery`, its `row` and the `reply`.
    pub confirm: Tree,
}

/// A compiled [`Batch`].
#[derive(Debug)]
pub(super) struct CompiledBatch {
    pub(super) max: usize,
    steps: Vec<CompiledStep>,
    checks: Vec<CompiledCheck>,
    row: Node,
    call: Call,
    refused: Vec<CompiledCheck>,
    confirm: Node,
}

impl Batch {
    pub(super) fn compile(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        path: &str,
    ) -> CompiledBatch {
        if self.max == 0 {
            compiler.error(path, 0..0, "`max` must be above zero", None);
        }
        let scope = compiler.scope(&["batch"]);
        let reading = Allowed::Reading;
        let (steps, scope) = compile_steps(
            &self.step,
            compiler,
            limits,
            &scope,
            reading,
            &format!("{path}.step"),
        );
        let one = scope.clone().root("delivery", Type::Dyn);
        let rows = scope.root("rows", Type::Dyn);
        let done = one.clone().root("row", Type::Dyn).root("reply", Type::Dyn);
        CompiledBatch {
            max: self.max.max(1),
            steps,
            checks: self
                .check
                .iter()
                .map(|check| compile_check(check, compiler, &one, &format!("{path}.check")))
                .collect(),
            row: compiler.tree(&self.row, &one, &format!("{path}.row")),
            call: self
                .request
                .compile(compiler, limits, &rows, &format!("{path}.request")),
            refused: self
                .refused
                .iter()
                .map(|check| compile_check(check, compiler, &done, &format!("{path}.refused")))
                .collect(),
            confirm: compiler.tree(&self.confirm, &done, &format!("{path}.confirm")),
        }
    }
}

/// What became of one delivery: what to confirm, or why not.
type Done = Result<Json, Fault>;

impl CompiledBatch {
    /// Carries out deliveries, given as documents; one result for each, in the same order.
    pub(super) async fn run(&self, wire: &Wire, lane: Lane, batch: &[Json]) -> Vec<Done> {
        let mut done = Vec::with_capacity(batch.len());
        for some in batch.chunks(self.max) {
            done.extend(self.some(wire, lane, some).await);
        }
        done
    }

    async fn some(&self, wire: &Wire, lane: Lane, batch: &[Json]) -> Vec<Done> {
        let all = json!(batch);
        let mut run = Run::new(wire, lane, Purpose::Read);
        let results = match run.steps(&self.steps, &[("batch", &all)]).await {
            Ok(results) => Json::Object(results),
            Err(fault) => return batch.iter().map(|_| Err(fault.clone())).collect(),
        };
        let mut done: Vec<Option<Done>> = Vec::with_capacity(batch.len());
        let mut rows = Vec::new();
        for (n, delivery) in batch.iter().enumerate() {
            match self.row(wire, delivery, &all, &results).await {
                Ok(row) => {
                    rows.push((n, row));
                    done.push(None);
                }
                Err(fault) => done.push(Some(Err(fault))),
            }
        }
        let base = [("batch", &all), ("steps", &results)];
        // Halves that still have to be sent, the first one last.
        let mut parts = vec![rows];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let document = Json::Array(part.iter().map(|(_, row)| row.clone()).collect());
            let names = [base.as_slice(), &[("rows", &document)]].concat();
            match wire.call(&self.call, &names, lane, Intent::Write).await {
                Ok(reply) => {
                    for (n, row) in &part {
                        let delivery = &batch[*n];
                        let roots = [
                            base.as_slice(),
                            &[
                                ("delivery", delivery),
                                ("row", row),
                                ("reply", &reply.document),
                            ],
                        ]
                        .concat();
                        done[*n] = Some(self.settle(wire, &roots).await);
                    }
                }
                Err(failure) if failure.fault.class == Class::Reject && part.len() > 1 => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(failure) => {
                    for (n, _) in &part {
                        done[*n] = Some(Err(failure.fault.clone()));
                    }
                }
            }
        }
        done.into_iter()
            .map(|one| one.unwrap_or_else(|| Err(forgotten())))
            .collect()
    }

    /// What a good reply means for one row of it.
    async fn settle(&self, wire: &Wire, roots: &[(&str, &Json)]) -> Done {
        let unexpected = |trouble| super::run::unexpected(&trouble).after_sending();
        for check in &self.refused {
            let failed = wire.with_frame(roots, |frame| check.failed(frame)).await;
            if let Some(fault) = failed.map_err(unexpected)? {
                return Err(fault);
            }
        }
        let confirmed = wire
            .with_frame(roots, |frame| self.confirm.json(frame))
            .await;
        confirmed.map_err(unexpected)
    }

    async fn row(
        &self,
        wire: &Wire,
        delivery: &Json,
        batch: &Json,
        results: &Json,
    ) -> Result<Json, Fault> {
        let roots = [("delivery", delivery), ("batch", batch), ("steps", results)];
        for check in &self.checks {
            let failed = wire.with_frame(&roots, |frame| check.failed(frame)).await;
            if let Some(fault) = failed.map_err(|trouble| cannot_compute(&trouble))? {
                return Err(fault);
            }
        }
        let row = wire.with_frame(&roots, |frame| self.row.json(frame)).await;
        row.map_err(|trouble| cannot_compute(&trouble))
    }
}

fn forgotten() -> Fault {
    Fault::bug("no_outcome", "a delivery of a batch got no outcome")
}
