//! `later`: what was taken in is not there yet. The other side is asked until it says what became of it.

use std::time::Duration;

use rust_decimal::prelude::ToPrimitive;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::batch::{Done, list};
use super::limits::Limits;
use super::run::{Purpose, Run, unexpected};
use super::scope::{Compiler, Frame, Trouble, holds};
use super::step::{
    Allowed, Check, CompiledCheck, CompiledStep, Step, compile as compile_steps, compile_check,
};
use super::text::{Expr, Tree};
use super::tree::Node;
use super::wire::Wire;
use crate::connector::Token;
use crate::expr::{Program, Scope, Type};
use crate::transport::http::Lane;

/// What is asked after what was taken in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Later {
    /// What the submission is asked after with: known as `submission`. What has the same is asked after
    /// together.
    pub submission: Tree,
    /// What is to be remembered of a `delivery`, its `row` and its `number` in the submission (from 1): known
    /// as `delivery.told`. It is stored for each, so that it should be small.
    pub told: Option<Tree>,
    /// When it is asked first, in seconds.
    pub after_secs: Expr,
    /// How long between two times, in seconds; as long as the first time when absent.
    pub again_secs: Option<Expr>,
    /// A newer value need not wait for the end of this one: the other side keeps their order.
    #[serde(default)]
    pub in_order: bool,
    /// How many deliveries are asked after at a time.
    pub max: usize,
    /// What is asked, of `submission` and `batch`, the list of deliveries.
    #[serde(default)]
    pub step: Vec<Step>,
    /// Whether it has not ended for this `delivery`.
    pub pending: Option<Expr>,
    /// What became of a `delivery` that is not pending.
    #[serde(default)]
    pub refused: Vec<Check>,
    /// What is confirmed of it; nothing when absent.
    pub confirm: Option<Tree>,
}

/// A compiled [`Later`].
#[derive(Debug)]
pub(super) struct CompiledLater {
    /// The way of handing in that it belongs to.
    by: &'static str,
    submission: Node,
    told: Option<Node>,
    after: Program,
    again: Program,
    in_order: bool,
    pub(super) max: usize,
    steps: Vec<CompiledStep>,
    pending: Option<Program>,
    refused: Vec<CompiledCheck>,
    confirm: Option<Node>,
}

impl Later {
    /// `done` is what is known when the rows were handed in.
    pub(super) fn compile(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        done: &Scope,
        (path, by): (&str, &'static str),
    ) -> CompiledLater {
        if self.max == 0 {
            compiler.error(path, 0..0, "`max` must be above zero", None);
        }
        let asked = compiler.scope(&["submission", "batch"]);
        let (steps, scope) = compile_steps(
            &self.step,
            compiler,
            limits,
            &asked,
            Allowed::Reading,
            &format!("{path}.step"),
        );
        let one = scope.root("delivery", Type::Dyn);
        let everywhere = compiler.scope(&[]);
        let after = compiler.expr(&self.after_secs, &everywhere, path);
        let again = compiler.maybe(self.again_secs.as_ref(), &everywhere, path);
        CompiledLater {
            by,
            submission: compiler.tree(&self.submission, done, &format!("{path}.submission")),
            told: self
                .told
                .as_ref()
                .map(|tree| compiler.tree(tree, done, &format!("{path}.told"))),
            again: again.unwrap_or_else(|| after.clone()),
            after,
            in_order: self.in_order,
            max: self.max.max(1),
            steps,
            pending: compiler.maybe(self.pending.as_ref(), &one, &format!("{path}.pending")),
            refused: self
                .refused
                .iter()
                .map(|check| compile_check(check, compiler, &one, &format!("{path}.refused")))
                .collect(),
            confirm: self
                .confirm
                .as_ref()
                .map(|tree| compiler.tree(tree, &one, &format!("{path}.confirm"))),
        }
    }
}

impl CompiledLater {
    /// Whether a token is from here.
    pub(super) fn gave(&self, token: &Token) -> bool {
        token.submission.get("by").and_then(Json::as_str) == Some(self.by)
    }

    /// A row was taken in.
    pub(super) fn taken_in(&self, frame: &Frame<'_>) -> Result<Done, Trouble> {
        let told = self
            .told
            .as_ref()
            .map(|node| node.json(frame))
            .transpose()?;
        let token = Token {
            submission: json!({ "by": self.by, "of": self.submission.json(frame)? }),
            told: told.unwrap_or_default(),
        };
        Ok(Done::TakenIn {
            token,
            after: seconds(&self.after, frame)?,
            in_order: self.in_order,
        })
    }

    /// Asks after deliveries of one submission, given as documents with what was told of each.
    pub(super) async fn check(
        &self,
        wire: &Wire,
        lane: Lane,
        batch: &Json,
        tokens: &[Token],
    ) -> Vec<Done> {
        let submission = tokens.first().and_then(|token| token.submission.get("of"));
        let submission = submission.cloned().unwrap_or_default();
        let names = [("submission", &submission), ("batch", batch)];
        let mut run = Run::new(wire, lane, Purpose::Read);
        let results = match run.steps(&self.steps, &names).await {
            Ok(results) => Json::Object(results),
            Err(fault) => return vec![Done::Failed(fault); tokens.len()],
        };
        let names = [
            ("submission", &submission),
            ("batch", batch),
            ("steps", &results),
        ];
        let done = wire.with_frame(&names, |frame| {
            let all = list(batch).iter().zip(tokens);
            let all = all.map(|(delivery, token)| {
                let roots = [("delivery", delivery)];
                let one = self.one(&frame.with(&roots), token);
                one.unwrap_or_else(|trouble| Done::Failed(unexpected(&trouble).after_sending()))
            });
            Ok(all.collect())
        });
        done.await.unwrap_or_default()
    }

    fn one(&self, frame: &Frame<'_>, token: &Token) -> Result<Done, Trouble> {
        let pending = self.pending.as_ref();
        if pending.map_or(Ok(false), |pending| holds(pending, frame))? {
            return Ok(Done::TakenIn {
                token: token.clone(),
                after: seconds(&self.again, frame)?,
                in_order: self.in_order,
            });
        }
        for check in &self.refused {
            if let Some(fault) = check.failed(frame)? {
                // What is tried again may have been done in part.
                let fault = if fault.class == crate::fault::Class::Retry {
                    fault.after_sending()
                } else {
                    fault
                };
                return Ok(Done::Failed(fault));
            }
        }
        let confirm = self.confirm.as_ref();
        let confirm = confirm.map(|node| node.json(frame)).transpose()?;
        Ok(Done::Confirmed(confirm.unwrap_or_default()))
    }
}

fn seconds(program: &Program, frame: &Frame<'_>) -> Result<Duration, Trouble> {
    let seconds = program.eval(frame).map_err(|error| Trouble::new(&error))?;
    let seconds = seconds.as_number().and_then(|seconds| seconds.to_u64());
    let told = || Trouble::told("this is no number of seconds").within("later");
    seconds.map(Duration::from_secs).ok_or_else(told)
}
