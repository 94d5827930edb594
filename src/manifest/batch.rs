//! `[stream.S.write.batch]`: one request for many absolute values.
//!
//! What is wrong with one delivery is found before the request and fails that delivery alone; when the
//! other side refuses the request as a whole, it is halved until the bad one stands alone (law D6).

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::fault::Intent;
use super::limits::Limits;
use super::reply::Reply;
use super::request::{Call, Request};
use super::run::{Purpose, Run, cannot_compute};
use super::scope::{Compiler, Trouble};
use super::step::{
    Allowed, Check, CompiledCheck, CompiledStep, Step, compile as compile_steps, compile_check,
};
use super::text::{Expr, Tree};
use super::tree::Node;
use super::wire::{Failure, Wire};
use crate::expr::{Program, Reads, Type};
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
    /// What the rows of one request have in common, of a `delivery` and its `row`, where the other side
    /// takes them apart: each value gets requests of its own.
    pub group: Option<Expr>,
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
    /// What must be known of a `delivery`.
    pub(super) reads: Reads,
    /// The rows are only handed on in the request's body.
    hands_on: bool,
    steps: Vec<CompiledStep>,
    checks: Vec<CompiledCheck>,
    row: Node,
    group: Option<Program>,
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
        let with_row = one.clone().root("row", Type::Dyn);
        let done = one.clone().root("row", Type::Dyn).root("reply", Type::Dyn);
        let mut batch = CompiledBatch {
            max: self.max.max(1),
            reads: Reads::whole(),
            hands_on: false,
            steps,
            checks: self
                .check
                .iter()
                .map(|check| compile_check(check, compiler, &one, &format!("{path}.check")))
                .collect(),
            row: compiler.tree(&self.row, &one, &format!("{path}.row")),
            group: compiler.maybe(self.group.as_ref(), &with_row, &format!("{path}.group")),
            call: self
                .request
                .compile(compiler, limits, &rows, &format!("{path}.request")),
            refused: self
                .refused
                .iter()
                .map(|check| compile_check(check, compiler, &done, &format!("{path}.refused")))
                .collect(),
            confirm: compiler.tree(&self.confirm, &done, &format!("{path}.confirm")),
        };
        batch.hands_on = batch.only_hands_rows_on();
        if !self.names_batch(compiler, limits) {
            batch.reads = batch.reads_of_one();
        }
        batch
    }

    /// Whether anything is said of the list of deliveries as a whole: then all of them must be known.
    /// It is not, if everything has a meaning where there is no such name.
    fn names_batch(&self, compiler: &Compiler, limits: &Limits) -> bool {
        if !self.step.is_empty() {
            return true;
        }
        let mut dry = compiler.dry();
        let one = dry.scope(&["steps", "delivery"]);
        let rows = dry.scope(&["steps", "rows"]);
        let done = dry.scope(&["steps", "delivery", "row", "reply"]);
        for check in &self.check {
            compile_check(check, &mut dry, &one, "");
        }
        dry.tree(&self.row, &one, "");
        dry.maybe(self.group.as_ref(), &one.clone().root("row", Type::Dyn), "");
        self.request.compile(&mut dry, limits, &rows, "");
        for check in &self.refused {
            compile_check(check, &mut dry, &done, "");
        }
        dry.tree(&self.confirm, &done, "");
        !dry.findings.0.is_empty()
    }
}

/// What became of one delivery: what to confirm, or why not.
type Done = Result<Json, Fault>;

impl CompiledBatch {
    /// What is read of single deliveries.
    fn reads_of_one(&self) -> Reads {
        let mut reads = Reads::default();
        for check in self.checks.iter().chain(&self.refused) {
            check.reads("delivery", &mut reads);
        }
        self.row.reads("delivery", &mut reads);
        if let Some(group) = &self.group {
            group.reads("delivery", &mut reads);
        }
        self.confirm.reads("delivery", &mut reads);
        reads
    }

    /// Whether rows are put into the request's body and read nowhere.
    fn only_hands_rows_on(&self) -> bool {
        let mut read = Reads::default();
        for check in &self.refused {
            check.reads("row", &mut read);
        }
        let elsewhere = self.group.is_some() || self.confirm.names("row");
        !read.any() && !elsewhere && self.call.only_hands_on("rows")
    }

    /// Carries out deliveries, given as documents; one result for each, in the same order.
    pub(super) async fn run(&self, wire: &Wire, lane: Lane, mut batch: Vec<Json>) -> Vec<Done> {
        let mut done = Vec::with_capacity(batch.len());
        while !batch.is_empty() {
            let rest = batch.split_off(self.max.min(batch.len()));
            let some = std::mem::replace(&mut batch, rest);
            done.extend(self.some(wire, lane, some).await);
        }
        done
    }

    async fn some(&self, wire: &Wire, lane: Lane, batch: Vec<Json>) -> Vec<Done> {
        let count = batch.len();
        // Never copied: a million rows go through here.
        let all = Json::Array(batch);
        let mut run = Run::new(wire, lane, Purpose::Read);
        let results = match run.steps(&self.steps, &[("batch", &all)]).await {
            Ok(results) => Json::Object(results),
            Err(fault) => return vec![Err(fault); count],
        };
        let base = [("batch", &all), ("steps", &results)];
        let mut done: Vec<Option<Done>> = vec![None; count];
        let mut rows = Vec::with_capacity(count);
        for (n, row) in self.rows(wire, &base, &all).await.into_iter().enumerate() {
            match row {
                Ok(row) => rows.push((n, row)),
                Err(fault) => done[n] = Some(Err(fault)),
            }
        }
        // What still has to be sent, groups and halves, the first one last.
        let mut parts = self.groups(wire, &base, &all, rows, &mut done).await;
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.send(wire, lane, &base, &part).await {
                Ok(reply) => {
                    let names = [base.as_slice(), &[("reply", &reply.document)]].concat();
                    let settled = self.settle(wire, &names, &all, &part).await;
                    for ((n, _), outcome) in part.into_iter().zip(settled) {
                        done[n] = Some(outcome);
                    }
                }
                Err(failure) if failure.fault.class == Class::Reject && part.len() > 1 => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(failure) => {
                    for (n, _) in part {
                        done[n] = Some(Err(failure.fault.clone()));
                    }
                }
            }
        }
        done.into_iter()
            .map(|one| one.unwrap_or_else(|| Err(forgotten())))
            .collect()
    }

    /// The rows that may share a request, the first of them last; one whose group cannot be computed
    /// fails alone.
    async fn groups(
        &self,
        wire: &Wire,
        base: &[(&str, &Json)],
        all: &Json,
        rows: Vec<(usize, Row)>,
        done: &mut [Option<Done>],
    ) -> Vec<Vec<(usize, Row)>> {
        let Some(group) = &self.group else {
            return vec![rows];
        };
        let values = wire.with_frame(base, |frame| {
            let values = rows.iter().map(|(n, row)| {
                let roots = [("delivery", &list(all)[*n]), ("row", row.document())];
                let frame = frame.with(&roots);
                let value = group.eval(&frame);
                let value = value.map_err(|error| cannot_compute(&Trouble::new(&error)))?;
                Ok(value.into_json())
            });
            Ok(values.collect::<Vec<Result<Json, Fault>>>())
        });
        let mut groups: Vec<(Json, Vec<(usize, Row)>)> = Vec::new();
        for (value, row) in values.await.unwrap_or_default().into_iter().zip(rows) {
            match value {
                Err(fault) => done[row.0] = Some(Err(fault)),
                Ok(value) => match groups.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, rows)) => rows.push(row),
                    None => groups.push((value, vec![row])),
                },
            }
        }
        groups.into_iter().rev().map(|(_, rows)| rows).collect()
    }

    /// Sends some rows in one request.
    async fn send(
        &self,
        wire: &Wire,
        lane: Lane,
        base: &[(&str, &Json)],
        part: &[(usize, Row)],
    ) -> Result<Reply, Failure> {
        if self.hands_on {
            let texts = part.iter().map(|(_, row)| match row {
                Row::Written(text) => text.as_slice(),
                Row::Document(_) => b"null",
            });
            let texts: Vec<&[u8]> = texts.collect();
            let rows = [b"[", texts.join(b",".as_slice()).as_slice(), b"]"].concat();
            let written = Some(("rows", rows.as_slice()));
            return wire
                .call_with(&self.call, (base, written), lane, Intent::Write)
                .await;
        }
        let rows = part.iter().map(|(_, row)| row.document().clone());
        let rows = Json::Array(rows.collect());
        let names = [base, &[("rows", &rows)]].concat();
        wire.call(&self.call, &names, lane, Intent::Write).await
    }

    /// What the request carries of each delivery, or why it carries nothing of it.
    async fn rows(
        &self,
        wire: &Wire,
        base: &[(&str, &Json)],
        all: &Json,
    ) -> Vec<Result<Row, Fault>> {
        let rows = wire.with_frame(base, |frame| {
            let rows = list(all).iter().map(|delivery| {
                let roots = [("delivery", delivery)];
                let frame = frame.with(&roots);
                for check in &self.checks {
                    if let Some(fault) = check.failed(&frame).map_err(|it| cannot_compute(&it))? {
                        return Err(fault);
                    }
                }
                let row = if self.hands_on {
                    self.row.bytes(&frame).map(Row::Written)
                } else {
                    self.row.json(&frame).map(Row::Document)
                };
                row.map_err(|it| cannot_compute(&it))
            });
            Ok(rows.collect())
        });
        rows.await.unwrap_or_default()
    }

    /// What a good reply means for each row of it.
    async fn settle(
        &self,
        wire: &Wire,
        base: &[(&str, &Json)],
        all: &Json,
        part: &[(usize, Row)],
    ) -> Vec<Done> {
        let unexpected = |trouble| super::run::unexpected(&trouble).after_sending();
        let settled = wire.with_frame(base, |frame| {
            let settled = part.iter().map(|(n, row)| {
                let roots = [("delivery", &list(all)[*n]), ("row", row.document())];
                let frame = frame.with(&roots);
                for check in &self.refused {
                    if let Some(fault) = check.failed(&frame).map_err(unexpected)? {
                        return Err(fault);
                    }
                }
                self.confirm.json(&frame).map_err(unexpected)
            });
            Ok(settled.collect())
        });
        settled.await.unwrap_or_default()
    }
}

/// What a request carries of one delivery.
enum Row {
    Document(Json),
    /// Its JSON text, where nobody reads it here.
    Written(Vec<u8>),
}

impl Row {
    fn document(&self) -> &Json {
        match self {
            Self::Document(json) => json,
            Self::Written(_) => &Json::Null,
        }
    }
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn forgotten() -> Fault {
    Fault::bug("no_outcome", "a delivery of a batch got no outcome")
}
