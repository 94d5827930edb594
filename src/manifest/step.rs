//! `[[….step]]`: one step of a write, or of what a read needs before or after its request.
//!
//! A step has a name and does exactly one thing:
//! - `value`: computes something.
//! - `lookup`: asks for something that rarely changes, and remembers it for `cache_secs`.
//! - `read`: asks for something, each time.
//! - `request`: changes something. What it captures is made durable before the next step, and a
//!   delivery that comes back with it skips the step. Because the reply may get lost, it needs `find`,
//!   or `repeatable = true` when doing it twice is doing it once, or `at_most_once = true` when nobody can
//!   tell: then a person must look.
//! - `foreach`: other steps for each element of a list.
//! - nothing: only its `check`s.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits::Limits;
use super::request::{Call, Request};
use super::scope::Compiler;
use super::text::{Expr, Name, Text, Tree};
use super::tree::Node;
use crate::connector::Repeats;
use crate::expr::{Program, Reads, Scope, Template, Type};

/// How deep `foreach` may be nested.
const MAX_DEPTH: usize = 3;
/// The most steps of one plan.
const MAX_STEPS: usize = 40;
/// For how long a lookup is remembered when it does not say.
const CACHE_SECS: u64 = 600;

/// One step.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Known to later steps as `steps.NAME`.
    pub name: Name,
    /// Skipped, and null, when this is false.
    pub when: Option<Expr>,
    /// Computes something.
    pub value: Option<Tree>,
    /// Asks for something that rarely changes.
    pub lookup: Option<Request>,
    /// For how long a lookup is remembered; ten minutes when absent, 0 for only this delivery.
    pub cache_secs: Option<u64>,
    /// Asks for something.
    pub read: Option<Request>,
    /// Changes something.
    pub request: Option<Request>,
    /// Doing it twice is doing it once: `find` is not needed, only useful.
    #[serde(default)]
    pub repeatable: bool,
    /// There is no way to see whether it was done: when a reply got lost, a person looks, and nothing is sent
    /// again before that.
    #[serde(default)]
    pub at_most_once: bool,
    /// How to see that `request` was done already. Asked first, always.
    pub find: Option<Find>,
    /// What to keep of the reply, as `steps.NAME`.
    pub capture: Option<Tree>,
    /// Codes of faults that mean "it was there already": `find` is asked again.
    #[serde(default)]
    pub exists: Vec<Name>,
    /// What to do about faults before trying the request again.
    #[serde(default)]
    pub on_fault: Vec<OnFault>,
    /// Ask again until it is so.
    pub wait: Option<Wait>,
    /// What must hold afterwards.
    #[serde(default)]
    pub check: Vec<Check>,
    /// Other steps for each element of a list.
    pub foreach: Option<ForEach>,
}

/// `find`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// Asks for it.
    pub request: Request,
    /// What the step would have captured; null when it is certainly not there.
    pub found: Tree,
}

/// One entry of `on_fault`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnFault {
    /// Of which code.
    pub code: Name,
    /// What to send, in terms of the refusing `reply` too.
    pub request: Request,
    /// How often at most; 5 when absent.
    pub times: Option<u32>,
}

/// `wait`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Done when this holds for the `reply`.
    pub until: Expr,
    /// How long between two tries.
    pub every_secs: u64,
    /// How many tries.
    pub times: u32,
}

/// What must hold, or the delivery is held.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// For each element of a list, if given.
    pub each: Option<Expr>,
    /// What the element is called.
    #[serde(rename = "as")]
    pub name: Option<Name>,
    /// The trouble.
    pub when: Expr,
    /// Whose matter it is: `reject` the record's (the default), `config` the connection's.
    pub class: Option<CheckClass>,
    /// A stable name.
    pub code: Name,
    /// One sentence: what is wrong and how to fix it. May name SKUs and codes, no person.
    pub message: Text,
}

/// Whose matter a failed check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckClass {
    /// The record's.
    #[default]
    Reject,
    /// The connection's.
    Config,
    /// Of the moment: it will pass.
    Retry,
}

/// `foreach`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// The list.
    #[serde(rename = "in")]
    pub list: Expr,
    /// What an element is called.
    #[serde(rename = "as")]
    pub name: Name,
    /// So many elements at a time: what is called by the name is then a list of them.
    pub by: Option<usize>,
    /// What to do for each.
    pub step: Vec<Step>,
}

/// A compiled [`Step`].
#[derive(Debug)]
pub(super) struct CompiledStep {
    pub(super) name: String,
    pub(super) condition: Option<Program>,
    pub(super) action: Action,
    pub(super) capture: Option<Node>,
    pub(super) checks: Vec<CompiledCheck>,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Action {
    Nothing,
    Value(Node),
    Lookup {
        call: Call,
        cache_secs: u64,
    },
    Read {
        call: Call,
        wait: Option<CompiledWait>,
    },
    Request(Box<Change>),
    ForEach {
        list: Program,
        name: String,
        by: Option<usize>,
        steps: Vec<CompiledStep>,
    },
}

/// A request that changes something.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) call: Call,
    pub(super) find: Option<(Call, Node)>,
    pub(super) exists: Vec<String>,
    pub(super) on_fault: Vec<Remedy>,
    pub(super) repeats: Repeats,
}

/// What may be done when the reply to one of these steps got lost: as the strictest of them says.
pub(super) fn repeats(steps: &[CompiledStep]) -> Repeats {
    let all = steps.iter().map(|step| match &step.action {
        Action::Request(change) => change.repeats,
        Action::ForEach { steps, .. } => repeats(steps),
        _ => Repeats::Freely,
    });
    all.max().unwrap_or(Repeats::Freely)
}

/// A compiled [`OnFault`].
#[derive(Debug)]
pub(super) struct Remedy {
    pub(super) code: String,
    pub(super) call: Call,
    pub(super) times: u32,
}

/// A compiled [`Wait`].
#[derive(Debug)]
pub(super) struct CompiledWait {
    pub(super) until: Program,
    pub(super) every_secs: u64,
    pub(super) times: u32,
}

/// A compiled [`Check`].
#[derive(Debug)]
pub(super) struct CompiledCheck {
    pub(super) each: Option<(Program, String)>,
    pub(super) condition: Program,
    pub(super) class: CheckClass,
    pub(super) code: String,
    pub(super) message: Template,
}

impl CompiledCheck {
    /// Adds what it reads of the name `root`.
    pub(super) fn reads(&self, root: &str, reads: &mut Reads) {
        if let Some((list, _)) = &self.each {
            list.reads(root, reads);
        }
        self.condition.reads(root, reads);
        self.message.reads(root, reads);
    }
}

/// What steps may do where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Only look.
    Reading,
    /// Change things too.
    Writing,
}

/// Compiles a list of steps. Gives them and the scope with their results as `steps`.
pub(super) fn compile(
    steps: &[Step],
    compiler: &mut Compiler,
    limits: &Limits,
    scope: &Scope,
    allowed: Allowed,
    path: &str,
) -> (Vec<CompiledStep>, Scope) {
    let mut plan = Plan {
        compiler,
        limits,
        allowed,
        known: Vec::new(),
    };
    let done = plan.steps(steps, scope, path, 0);
    let with_steps = plan.scope(scope);
    (done, with_steps)
}

/// Compiles the steps behind a request, which see the results of those before it. Gives only the later ones.
pub(super) fn compile_behind(
    (before, behind): (&[Step], &[Step]),
    compiler: &mut Compiler,
    limits: &Limits,
    scope: &Scope,
    allowed: Allowed,
    path: &str,
) -> (Vec<CompiledStep>, Scope) {
    // Compiled as one list, so that names stay unique and later ones see earlier ones.
    let all: Vec<Step> = before.iter().chain(behind).cloned().collect();
    let told = compiler.findings.0.len();
    let (mut steps, scope) = compile(&all, compiler, limits, scope, allowed, path);
    // What is wrong with the first ones was told already.
    let known: Vec<String> = before
        .iter()
        .map(|step| format!("{path}.{}", step.name.as_str()))
        .collect();
    let mut n = 0;
    compiler.findings.0.retain(|finding| {
        n += 1;
        n <= told
            || !known
                .iter()
                .any(|path| finding.path.starts_with(path.as_str()))
    });
    steps.drain(..before.len().min(steps.len()));
    (steps, scope)
}

struct Plan<'a> {
    compiler: &'a mut Compiler,
    limits: &'a Limits,
    allowed: Allowed,
    /// The steps so far.
    known: Vec<String>,
}

impl Plan<'_> {
    /// A scope with the results so far: naming a step that comes later is an error at load.
    fn scope(&self, scope: &Scope) -> Scope {
        let fields = self.known.iter().map(|name| (name.as_str(), Type::Dyn));
        scope.clone().root("steps", Type::record(fields))
    }

    fn steps(
        &mut self,
        steps: &[Step],
        scope: &Scope,
        path: &str,
        depth: usize,
    ) -> Vec<CompiledStep> {
        if steps.len() > MAX_STEPS || depth > MAX_DEPTH {
            let message = format!("more than {MAX_STEPS} steps, or nested deeper than {MAX_DEPTH}");
            self.compiler.error(path, 0..0, message, None);
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let mut done = Vec::with_capacity(steps.len());
        for step in steps {
            let path = format!("{path}.{}", step.name.as_str());
            if !names.insert(step.name.as_str())
                || self.known.iter().any(|it| it == step.name.as_str())
            {
                self.wrong(step, &path, "two steps have this name");
            }
            done.push(self.step(step, scope, &path, depth));
            self.known.push(step.name.as_str().to_owned());
        }
        done
    }

    fn wrong(&mut self, step: &Step, path: &str, message: &str) {
        self.compiler.error(path, step.name.span(), message, None);
    }

    fn step(&mut self, step: &Step, scope: &Scope, path: &str, depth: usize) -> CompiledStep {
        let before = self.scope(scope);
        let reply = before.clone().root("reply", Type::Dyn);
        self.check_shape(step, path);
        let action = self.action(step, scope, &before, path, depth);
        let condition = self.compiler.maybe(step.when.as_ref(), &before, path);
        let capture = step
            .capture
            .as_ref()
            .map(|tree| self.compiler.tree(tree, &reply, &format!("{path}.capture")));
        // A check may look at what its own step gave.
        self.known.push(step.name.as_str().to_owned());
        let after = self.scope(scope).root("reply", Type::Dyn);
        self.known.pop();
        let checks = step
            .check
            .iter()
            .map(|check| self.check(check, &after, path))
            .collect();
        CompiledStep {
            name: step.name.as_str().to_owned(),
            condition,
            action,
            capture,
            checks,
        }
    }

    fn check_shape(&mut self, step: &Step, path: &str) {
        let actions = [
            step.value.is_some(),
            step.lookup.is_some(),
            step.read.is_some(),
            step.request.is_some(),
            step.foreach.is_some(),
        ];
        if actions.iter().filter(|there| **there).count() > 1 {
            self.wrong(
                step,
                path,
                "a step does one thing: value, lookup, read, request or foreach",
            );
        }
        let asks = step.lookup.is_some() || step.read.is_some() || step.request.is_some();
        if step.capture.is_some() && !asks {
            self.wrong(
                step,
                path,
                "`capture` keeps something of a reply, and there is none",
            );
        }
        if step.capture.is_none() && (step.lookup.is_some() || step.read.is_some()) {
            self.wrong(step, path, "what is read must be captured");
        }
        if step.request.is_none() {
            if step.find.is_some() || !step.exists.is_empty() || !step.on_fault.is_empty() {
                self.wrong(
                    step,
                    path,
                    "`find`, `exists` and `on_fault` belong to `request`",
                );
            }
            if step.at_most_once {
                self.wrong(step, path, "`at_most_once` belongs to `request`");
            }
        } else if self.allowed == Allowed::Reading {
            self.wrong(step, path, "a read must not change anything");
        } else if step.at_most_once && (step.find.is_some() || step.repeatable) {
            self.wrong(
                step,
                path,
                "`at_most_once` is for what can neither be found nor repeated",
            );
        } else if step.find.is_none() && !step.repeatable && !step.at_most_once {
            let help = "say with `find` how to see that it was done, or `repeatable = true` when \
                        doing it twice is doing it once, or `at_most_once = true` when there is no way: then a \
                        person looks";
            let message = "a reply may get lost: was it done then?";
            self.compiler
                .error(path, step.name.span(), message, Some(help.to_owned()));
        }
        if step.find.is_none() && !step.exists.is_empty() {
            self.wrong(step, path, "`exists` needs `find`");
        }
        if step.wait.is_some() && step.read.is_none() {
            self.wrong(step, path, "only a `read` can wait");
        }
    }

    fn call(&mut self, request: &Request, scope: &Scope, path: &str) -> Call {
        request.compile(self.compiler, self.limits, scope, path)
    }

    fn action(
        &mut self,
        step: &Step,
        scope: &Scope,
        before: &Scope,
        path: &str,
        depth: usize,
    ) -> Action {
        if let Some(tree) = &step.value {
            return Action::Value(self.compiler.tree(tree, before, path));
        }
        if let Some(request) = &step.lookup {
            let cache_secs = step.cache_secs.unwrap_or(CACHE_SECS);
            return Action::Lookup {
                call: self.call(request, before, path),
                cache_secs,
            };
        }
        if let Some(request) = &step.read {
            let call = self.call(request, before, path);
            let reply = before.clone().root("reply", Type::Dyn);
            let wait = step.wait.as_ref().map(|wait| CompiledWait {
                until: self.compiler.expr(&wait.until, &reply, path),
                every_secs: wait.every_secs,
                times: wait.times,
            });
            return Action::Read { call, wait };
        }
        if let Some(request) = &step.request {
            return Action::Request(Box::new(self.change(step, request, before, path)));
        }
        let Some(foreach) = &step.foreach else {
            return Action::Nothing;
        };
        if foreach.by == Some(0) {
            self.wrong(step, path, "`by` must be above zero");
        }
        let list = self.compiler.expr(&foreach.list, before, path);
        let outside = self.known.len();
        let scope = scope.clone().root(foreach.name.as_str(), Type::Dyn);
        let steps = self.steps(&foreach.step, &scope, path, depth + 1);
        self.known.truncate(outside);
        Action::ForEach {
            list,
            name: foreach.name.as_str().to_owned(),
            by: foreach.by,
            steps,
        }
    }

    fn change(&mut self, step: &Step, request: &Request, before: &Scope, path: &str) -> Change {
        let reply = before.clone().root("reply", Type::Dyn);
        let find = step.find.as_ref().map(|find| {
            let path = format!("{path}.find");
            let call = self.call(&find.request, before, &path);
            (call, self.compiler.tree(&find.found, &reply, &path))
        });
        let remedies = step.on_fault.iter().map(|remedy| Remedy {
            code: remedy.code.as_str().to_owned(),
            call: self.call(&remedy.request, &reply, &format!("{path}.on_fault")),
            times: remedy.times.unwrap_or(5),
        });
        let on_fault = remedies.collect();
        Change {
            call: self.call(request, before, path),
            find,
            repeats: match (step.repeatable, step.at_most_once) {
                (true, _) => Repeats::Freely,
                (false, false) => Repeats::AfterFinding,
                (false, true) => Repeats::Never,
            },
            exists: step
                .exists
                .iter()
                .map(|code| code.as_str().to_owned())
                .collect(),
            on_fault,
        }
    }

    fn check(&mut self, check: &Check, scope: &Scope, path: &str) -> CompiledCheck {
        compile_check(check, self.compiler, scope, &format!("{path}.check"))
    }
}

/// Compiles one check.
pub(super) fn compile_check(
    check: &Check,
    compiler: &mut Compiler,
    scope: &Scope,
    path: &str,
) -> CompiledCheck {
    let mut inner = scope.clone();
    let each = check.each.as_ref().map(|list| {
        let name = check.name.as_ref().map_or("it", Name::as_str).to_owned();
        inner = inner.clone().root(&name, Type::Dyn);
        (compiler.expr(list, scope, path), name)
    });
    CompiledCheck {
        each,
        condition: compiler.expr(&check.when, &inner, path),
        class: check.class.unwrap_or_default(),
        code: check.code.as_str().to_owned(),
        message: compiler.template(&check.message, &inner, path),
    }
}
