//! `[stream.S.write]`: how a delivery is carried out, one plan for each kind of operation.

use schemars::JsonSchema;
use serde::Deserialize;

use super::batch::{Batch, CompiledBatch};
use super::lengths::Length;
use super::limits::Limits;
use super::read_back::{CompiledReadBack, ReadBack};
use super::scope::Compiler;
use super::step::{Action, Allowed, CompiledStep, Step, compile as compile_steps};
use super::text::{Expr, Name, Tree};
use super::tree::Node;
use crate::connector::Operation;
use crate::expr::{Program, Reads, Type};

/// One stream's sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// It must be there once.
    pub create: Option<Plan>,
    /// It is there and must become like this.
    pub update: Option<Plan>,
    /// It is there and must be called off.
    pub cancel: Option<Plan>,
    /// Many at once, absolute: for `create` and `update` alike.
    pub batch: Option<Batch>,
    /// So many at once that they are handed in another way than by `batch`, which takes fewer.
    pub bulk: Option<Bulk>,
    /// How to see what stands there under our references.
    pub read_back: Option<ReadBack>,
    /// How long texts may be.
    #[serde(default)]
    pub length: Vec<Length>,
}

/// `bulk`: a batch for many.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    /// From how many deliveries on it is used, of `settings`; never when this is null or 0.
    pub from: Expr,
    /// How they are handed in.
    pub batch: Batch,
}

/// What is done for one delivery.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In this order.
    pub step: Vec<Step>,
    /// How to see afterwards, when a reply got lost, whether all of it was done.
    pub find: Option<PlanFind>,
    /// `{ remote_id = …, number = …, lines = [{ line_id, remote_id }], stored = record }`
    pub confirm: Tree,
}

/// `find` of a plan
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanFind {
    /// The step whose `find` sees it, or one that reads or computes what is there. Steps before it that
    /// change something are not run.
    pub step: Name,
    /// Whether nothing is left to do, of `found`. When there is, the delivery is repeated, and its
    /// steps see for themselves what was done.
    pub done_when: Option<Expr>,
}

/// A compiled [`Write`].
#[derive(Debug)]
pub(super) struct Writing {
    create: Option<CompiledPlan>,
    update: Option<CompiledPlan>,
    cancel: Option<CompiledPlan>,
    pub(super) batch: Option<CompiledBatch>,
    pub(super) bulk: Option<(Program, CompiledBatch)>,
    pub(super) read_back: Option<CompiledReadBack>,
    pub(super) lengths: Vec<Length>,
}

/// A compiled [`Plan`].
#[derive(Debug)]
pub(super) struct CompiledPlan {
    pub(super) steps: Vec<CompiledStep>,
    pub(super) find: Option<CompiledFind>,
    pub(super) confirm: Node,
    /// What is read of the `delivery`.
    pub(super) reads: Reads,
}

/// A compiled [`PlanFind`].
#[derive(Debug)]
pub(super) struct CompiledFind {
    pub(super) step: String,
    pub(super) done: Option<Program>,
}

/// How one operation is carried out.
#[derive(Debug)]
pub(super) enum Way<'a> {
    Plan(&'a CompiledPlan),
    Batch,
}

impl Write {
    pub(super) fn compile(&self, compiler: &mut Compiler, limits: &Limits, path: &str) -> Writing {
        let mut plan = |plan: &Option<Plan>, name: &str| {
            plan.as_ref()
                .map(|plan| plan.compile(compiler, limits, &format!("{path}.{name}")))
        };
        let (create, update) = (plan(&self.create, "create"), plan(&self.update, "update"));
        let cancel = plan(&self.cancel, "cancel");
        if self.batch.is_some() && (create.is_some() || update.is_some()) {
            let message = "`batch` stands for create and update: they have no plan beside it";
            compiler.error(path, 0..0, message, None);
        }
        let bulk = self.bulk.as_ref().map(|bulk| {
            let path = format!("{path}.bulk");
            let everywhere = compiler.scope(&[]);
            let from = compiler.expr(&bulk.from, &everywhere, &path);
            (from, bulk.batch.compile(compiler, limits, &path, "bulk"))
        });
        if bulk.is_some() && self.batch.is_none() {
            let message = "`bulk` is for many: `batch` says what is done with fewer";
            compiler.error(path, 0..0, message, None);
        }
        Writing {
            bulk,
            create,
            update,
            cancel,
            batch: self
                .batch
                .as_ref()
                .map(|batch| batch.compile(compiler, limits, &format!("{path}.batch"), "batch")),
            read_back: self
                .read_back
                .as_ref()
                .map(|it| it.compile(compiler, limits, &format!("{path}.read_back"))),
            lengths: self.length.clone(),
        }
    }
}

impl Plan {
    fn compile(&self, compiler: &mut Compiler, limits: &Limits, path: &str) -> CompiledPlan {
        let scope = compiler.scope(&["delivery"]);
        compiler.of_delivery = Reads::default();
        let writing = Allowed::Writing;
        let (steps, scope) = compile_steps(
            &self.step,
            compiler,
            limits,
            &scope,
            writing,
            &format!("{path}.step"),
        );
        let find = self.find.as_ref().map(|find| {
            let there = steps.iter().any(|step| {
                step.name == find.step.as_str()
                    && match &step.action {
                        Action::Request(change) => change.find.is_some(),
                        Action::Value(_) | Action::Read { .. } => true,
                        _ => false,
                    }
            });
            if !there {
                let message = "this names no step that reads, computes or has a `find`";
                compiler.error(&format!("{path}.find"), find.step.span(), message, None);
            }
            let found = scope.clone().root("found", Type::Dyn);
            CompiledFind {
                step: find.step.as_str().to_owned(),
                done: compiler.maybe(find.done_when.as_ref(), &found, &format!("{path}.find")),
            }
        });
        CompiledPlan {
            find,
            confirm: compiler.tree(&self.confirm, &scope, &format!("{path}.confirm")),
            steps,
            reads: std::mem::take(&mut compiler.of_delivery),
        }
    }
}

impl Writing {
    /// How an operation is carried out, if it can be.
    pub(super) fn way(&self, operation: Operation) -> Option<Way<'_>> {
        let plan = match operation {
            Operation::Create => &self.create,
            Operation::Update => &self.update,
            Operation::Cancel => &self.cancel,
        };
        match (plan, &self.batch) {
            (Some(plan), _) => Some(Way::Plan(plan)),
            (None, Some(_)) if operation != Operation::Cancel => Some(Way::Batch),
            _ => None,
        }
    }
}
