//! `[stream.S.write.batch]` and `bulk`: many absolute values, in one request or in one submission.
//!
//! What is wrong with one delivery is found before the request and fails that delivery alone; when the
//! other side refuses the request as a whole, it is halved until the bad one stands alone (law D6).

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::fault::Intent;
use super::later::{CompiledLater, Later};
use super::limits::Limits;
use super::reply::Reply;
use super::request::{Call, Request};
use super::run::{Purpose, Resume, Run, cannot_compute};
use super::scope::{Compiler, Trouble};
use super::step::{
    Allowed, Check, CompiledCheck, CompiledStep, Step, compile as compile_steps, compile_behind,
    compile_check,
};
use super::text::{Expr, Tree};
use super::tree::Node;
use super::wire::{Failure, Wire};
use crate::connector::{Captured, Progress, Token};
use crate::expr::{Program, Reads, Scope, Type};
use crate::fault::{Class, Fault};
use crate::id::DeliveryId;
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
    pub request: Option<Request>,
    /// Where one request is not enough: steps, of `rows`, that hand them in as a whole. They may be done twice.
    #[serde(default)]
    pub submit: Vec<Step>,
    /// What the reply says about single rows, of each `delivery`, its `row` and the `reply` (of `submit`: its
    /// `steps`): a reply may be good as a whole and refuse one row (law D6).
    #[serde(default)]
    pub refused: Vec<Check>,
    /// What is confirmed of a `delivery`, its `row` and the `reply`; nothing when absent.
    pub confirm: Option<Tree>,
    /// A good reply is not the end: the other side is asked later what became of the rows.
    pub later: Option<Later>,
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
    way: HandIn,
    refused: Vec<CompiledCheck>,
    confirm: Option<Node>,
    pub(super) later: Option<CompiledLater>,
}

/// How rows are handed in.
#[derive(Debug)]
enum HandIn {
    Call(Box<Call>),
    Steps(Vec<CompiledStep>),
}

impl Batch {
    pub(super) fn compile(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        path: &str,
        by: &'static str,
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
        let (way, after) = self.compile_way(compiler, limits, scope, path);
        let done = after.root("delivery", Type::Dyn).root("row", Type::Dyn);
        let done = done.root("number", Type::Dyn);
        let later = self.later.as_ref();
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
            group: compiler.maybe(
                self.group.as_ref(),
                &one.clone().root("row", Type::Dyn),
                &format!("{path}.group"),
            ),
            way,
            refused: self
                .refused
                .iter()
                .map(|check| compile_check(check, compiler, &done, &format!("{path}.refused")))
                .collect(),
            confirm: self
                .confirm
                .as_ref()
                .map(|tree| compiler.tree(tree, &done, &format!("{path}.confirm"))),
            later: later.map(|later| {
                later.compile(compiler, limits, &done, (&format!("{path}.later"), by))
            }),
        };
        batch.hands_on = batch.only_hands_rows_on();
        if !self.names_batch(compiler, limits) {
            batch.reads = batch.reads_of_one();
        }
        batch
    }

    /// How the rows are handed in, and what is known afterwards.
    fn compile_way(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        scope: Scope,
        path: &str,
    ) -> (HandIn, Scope) {
        if self.request.is_some() != self.submit.is_empty() {
            let message = "rows are handed in by a `request`, or by the steps of `submit`";
            compiler.error(path, 0..0, message, None);
        }
        if self.later.is_some() && self.confirm.is_some() {
            let message = "nothing is confirmed before the end: `confirm` belongs to `later`";
            compiler.error(path, 0..0, message, None);
        }
        if let Some(request) = &self.request {
            let rows = scope.clone().root("rows", Type::Dyn);
            let call = request.compile(compiler, limits, &rows, &format!("{path}.request"));
            return (HandIn::Call(Box::new(call)), scope.root("reply", Type::Dyn));
        }
        let rows = compiler.scope(&["batch", "rows"]);
        let both = (self.step.as_slice(), self.submit.as_slice());
        let path = format!("{path}.submit");
        let writing = Allowed::Writing;
        let (steps, scope) = compile_behind(both, compiler, limits, &rows, writing, &path);
        (HandIn::Steps(steps), scope)
    }

    /// Whether anything is said of the list of deliveries as a whole: then all of them must be known.
    /// It is not, if everything has a meaning where there is no such name.
    fn names_batch(&self, compiler: &Compiler, limits: &Limits) -> bool {
        if !self.step.is_empty() || !self.submit.is_empty() || self.later.is_some() {
            return true;
        }
        let mut dry = compiler.dry();
        let one = dry.scope(&["steps", "delivery"]);
        let rows = dry.scope(&["steps", "rows"]);
        let done = dry.scope(&["steps", "delivery", "row", "reply", "number"]);
        for check in &self.check {
            compile_check(check, &mut dry, &one, "");
        }
        dry.tree(&self.row, &one, "");
        let with_row = one.clone().root("row", Type::Dyn);
        dry.maybe(self.group.as_ref(), &with_row, "");
        if let Some(request) = &self.request {
            request.compile(&mut dry, limits, &rows, "");
        }
        for check in &self.refused {
            compile_check(check, &mut dry, &done, "");
        }
        if let Some(confirm) = &self.confirm {
            dry.tree(confirm, &done, "");
        }
        !dry.findings.0.is_empty()
    }
}

/// What became of one delivery.
#[derive(Debug, Clone)]
pub(super) enum Done {
    /// It is there; what to confirm.
    Confirmed(Json),
    /// It was taken in.
    TakenIn {
        token: Token,
        after: Duration,
        in_order: bool,
    },
    /// It is not there, or nobody knows.
    Failed(Fault),
    /// All were refused together, without a word about this one.
    Refused(Fault),
}

impl From<Result<Json, Fault>> for Done {
    fn from(result: Result<Json, Fault>) -> Self {
        match result {
            Ok(json) => Self::Confirmed(json),
            Err(fault) => Self::Failed(fault),
        }
    }
}

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
        if let Some(confirm) = &self.confirm {
            confirm.reads("delivery", &mut reads);
        }
        reads
    }

    /// Whether rows are put into the request's body and read nowhere.
    fn only_hands_rows_on(&self) -> bool {
        let mut read = Reads::default();
        for check in &self.refused {
            check.reads("row", &mut read);
        }
        let elsewhere = self.later.is_some() || self.group.is_some();
        let named = elsewhere || self.confirm.as_ref().is_some_and(|it| it.names("row"));
        match &self.way {
            HandIn::Call(call) => !read.any() && !named && call.only_hands_on("rows"),
            HandIn::Steps(_) => false,
        }
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
            Err(fault) => return vec![Done::Failed(fault); count],
        };
        let base = [("batch", &all), ("steps", &results)];
        let mut done: Vec<Option<Done>> = vec![None; count];
        let mut rows = Vec::with_capacity(count);
        for (n, row) in self.rows(wire, &base, &all).await.into_iter().enumerate() {
            match row {
                Ok(row) => rows.push((n, row)),
                Err(fault) => done[n] = Some(Done::Failed(fault)),
            }
        }
        for rows in self.groups(wire, &base, &all, rows, &mut done).await {
            match &self.way {
                HandIn::Call(call) => {
                    self.by_halves(wire, lane, call, &base, &all, rows, &mut done)
                        .await;
                }
                HandIn::Steps(steps) => {
                    self.as_a_whole(wire, lane, steps, &base, &all, rows, &mut done)
                        .await;
                }
            }
        }
        done.into_iter()
            .map(|one| one.unwrap_or_else(|| Done::Failed(forgotten())))
            .collect()
    }

    /// The rows that may share a request; one whose group cannot be computed fails alone.
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
                Err(fault) => done[row.0] = Some(Done::Failed(fault)),
                Ok(value) => match groups.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, rows)) => rows.push(row),
                    None => groups.push((value, vec![row])),
                },
            }
        }
        groups.into_iter().map(|(_, rows)| rows).collect()
    }

    /// In one request; one that is refused is halved until the bad row stands alone.
    #[expect(clippy::too_many_arguments, reason = "all of one batch, on its way")]
    async fn by_halves(
        &self,
        wire: &Wire,
        lane: Lane,
        call: &Call,
        base: &[(&str, &Json)],
        all: &Json,
        rows: Vec<(usize, Row)>,
        done: &mut [Option<Done>],
    ) {
        // Halves that still have to be sent, the first one last.
        let mut parts = vec![rows];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.send(wire, lane, call, base, &part).await {
                Ok(reply) => {
                    let names = [base, &[("reply", &reply.document)]].concat();
                    let settled = self.settle(wire, &names, all, &part).await;
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
                        done[n] = Some(Done::Failed(failure.fault.clone()));
                    }
                }
            }
        }
    }

    /// In several steps. What is refused as a whole says nothing about a row.
    #[expect(clippy::too_many_arguments, reason = "all of one batch, on its way")]
    async fn as_a_whole(
        &self,
        wire: &Wire,
        lane: Lane,
        steps: &[CompiledStep],
        base: &[(&str, &Json)],
        all: &Json,
        part: Vec<(usize, Row)>,
        done: &mut [Option<Done>],
    ) {
        if part.is_empty() {
            return;
        }
        let rows = part.iter().map(|(_, row)| row.document().clone());
        let rows = Json::Array(rows.collect());
        let names = [base, &[("rows", &rows)]].concat();
        let nobody = DeliveryId::new(String::new());
        let resume = Resume {
            delivery: &nobody,
            captured: &Captured::new(),
            progress: &Forgetful,
            last: "",
        };
        let mut run = Run::new(wire, lane, Purpose::Write(resume));
        match run.steps_after(steps, &names).await {
            Ok(results) => {
                let results = Json::Object(results);
                let names = [("batch", all), ("rows", &rows), ("steps", &results)];
                let settled = self.settle(wire, &names, all, &part).await;
                for ((n, _), outcome) in part.into_iter().zip(settled) {
                    done[n] = Some(outcome);
                }
            }
            Err(fault) => {
                let refused = fault.class == Class::Reject;
                for (n, _) in part {
                    let fault = fault.clone();
                    let one = if refused {
                        Done::Refused(fault)
                    } else {
                        Done::Failed(fault)
                    };
                    done[n] = Some(one);
                }
            }
        }
    }

    /// Sends some rows in one request.
    async fn send(
        &self,
        wire: &Wire,
        lane: Lane,
        call: &Call,
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
                .call_with(call, (base, written), lane, Intent::Write)
                .await;
        }
        let rows = part.iter().map(|(_, row)| row.document().clone());
        let rows = Json::Array(rows.collect());
        let names = [base, &[("rows", &rows)]].concat();
        wire.call(call, &names, lane, Intent::Write).await
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
            let settled = part.iter().enumerate().map(|(place, (n, row))| {
                let number = Json::from(place + 1);
                let roots = [
                    ("delivery", &list(all)[*n]),
                    ("row", row.document()),
                    ("number", &number),
                ];
                let frame = frame.with(&roots);
                for check in &self.refused {
                    if let Some(fault) = check.failed(&frame).map_err(unexpected)? {
                        return Err(fault);
                    }
                }
                if let Some(later) = &self.later {
                    return later.taken_in(&frame).map_err(unexpected);
                }
                match &self.confirm {
                    Some(confirm) => confirm
                        .json(&frame)
                        .map(Done::Confirmed)
                        .map_err(unexpected),
                    None => Ok(Done::Confirmed(Json::Null)),
                }
            });
            let settled = settled.map(|one: Result<Done, Fault>| one.unwrap_or_else(Done::Failed));
            Ok(settled.collect())
        });
        settled.await.unwrap_or_default()
    }
}

/// Where what steps capture goes that are begun anew: nowhere.
struct Forgetful;

#[async_trait]
impl Progress for Forgetful {
    async fn captured(&self, _: &DeliveryId, _: &str, _: Json) -> Result<(), Fault> {
        Ok(())
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

pub(super) fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn forgotten() -> Fault {
    Fault::bug("no_outcome", "a delivery of a batch got no outcome")
}
