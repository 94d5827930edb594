//! Running steps: in order, each captured result durable before the next, resumable after a crash.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::fault::{Intent, discreet};
use super::request::Call;
use super::scope::{Frame, Trouble, holds};
use super::step::{Action, Change, CheckClass, CompiledCheck, CompiledStep, CompiledWait};
use super::tree::{Node, elements};
use super::wire::{Failure, Wire};
use crate::connector::{Captured, Progress};
use crate::fault::{Class, Fault};
use crate::id::DeliveryId;
use crate::transport::http::Lane;

/// Where captured results go, and what earlier attempts captured.
pub(super) struct Resume<'a> {
    pub(super) delivery: &'a DeliveryId,
    pub(super) captured: &'a Captured,
    pub(super) progress: &'a dyn Progress,
    /// The plan's last step.
    pub(super) last: &'a str,
}

/// What a run of steps is for.
pub(super) enum Purpose<'a> {
    /// To read: no step changes anything.
    Read,
    /// To write.
    Write(Resume<'a>),
    /// To look whether the named step was done; nothing is changed and nothing after it is run.
    Find {
        step: &'a str,
        captured: &'a Captured,
    },
}

/// One run of steps.
pub(super) struct Run<'a> {
    pub(super) wire: &'a Wire,
    pub(super) lane: Lane,
    pub(super) purpose: Purpose<'a>,
    /// Steps whose `find` saw that they were done already.
    pub(super) existed: Vec<String>,
}

/// Results of steps, by name.
pub(super) type Results = Map<String, Json>;

/// Which element of which list steps are run for: what stands before their names.
#[derive(Default)]
struct Within {
    /// To whoever reads of a fault: by the place in the list, `sent.0.`.
    told: String,
    /// In what is remembered: by what the element is, `sent.3f0c9d1a5b7e2468-0.`. A list that is made
    /// from what the other side lacks yet is shorter after a crash, and another element stands first.
    known: String,
}

impl Within {
    /// Within each element of the list that `step` goes through. Elements that look the same are counted.
    fn each<'i>(&self, step: &str, items: &'i [Json]) -> Vec<(Self, &'i Json)> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let elements = items.iter().enumerate().map(|(n, item)| {
            let digest = blake3::hash(item.to_string().as_bytes()).to_hex();
            let digest = digest[..16].to_owned();
            let twin = seen.entry(digest.clone()).or_default();
            let known = format!("{}{step}.{digest}-{twin}.", self.known);
            *twin += 1;
            let told = format!("{}{step}.{n}.", self.told);
            (Self { told, known }, item)
        });
        elements.collect()
    }
}

/// A name and its value.
type Named<'n> = (&'n str, &'n Json);

impl<'a> Run<'a> {
    pub(super) fn new(wire: &'a Wire, lane: Lane, purpose: Purpose<'a>) -> Self {
        Self {
            wire,
            lane,
            purpose,
            existed: Vec::new(),
        }
    }

    /// Runs the steps in terms of `names`; gives their results.
    pub(super) async fn steps(
        &mut self,
        steps: &[CompiledStep],
        names: &[Named<'_>],
    ) -> Result<Results, Fault> {
        self.some_steps(steps, names, Results::new(), &Within::default())
            .await
            .map(|(results, _)| results)
    }

    /// Runs steps that see the results of others, which stand in `names` as `steps`; gives all.
    pub(super) async fn steps_after(
        &mut self,
        steps: &[CompiledStep],
        names: &[Named<'_>],
    ) -> Result<Results, Fault> {
        let (outside, names) = split_steps(names);
        self.some_steps(steps, &names, outside, &Within::default())
            .await
            .map(|(results, _)| results)
    }

    /// Runs steps that see the results of the ones outside. The flag says that the step that was to
    /// be found was reached.
    async fn some_steps(
        &mut self,
        steps: &[CompiledStep],
        names: &[Named<'_>],
        outside: Results,
        within: &Within,
    ) -> Result<(Results, bool), Fault> {
        let mut results = Json::Object(outside);
        for step in steps {
            let here = [names, &[("steps", &results)]].concat();
            let (value, reached) = self
                .step(step, &here, within)
                .await
                .map_err(|fault| fault.at(format!("step {}{}", within.told, step.name)))?;
            set(&mut results, &step.name, value);
            let wanted = match &self.purpose {
                Purpose::Find { step, .. } => *step,
                _ => "",
            };
            if reached || (within.known.is_empty() && wanted == step.name) {
                return Ok((take(results), true));
            }
        }
        Ok((take(results), false))
    }

    async fn step(
        &mut self,
        step: &CompiledStep,
        names: &[Named<'_>],
        within: &Within,
    ) -> Result<(Json, bool), Fault> {
        if let Some(condition) = &step.condition {
            let strictly = |frame: &Frame<'_>| {
                condition
                    .eval_bool(frame)
                    .map_err(|error| Trouble::new(&error))
            };
            if !self
                .wire
                .with_frame(names, strictly)
                .await
                .map_err(|it| cannot_compute(&it))?
            {
                return Ok((Json::Null, false));
            }
        }
        let full_name = format!("{}{}", within.known, step.name);
        let mut reply = Json::Null;
        let (value, reached) = match &step.action {
            Action::Nothing => (Json::Null, false),
            Action::Value(node) => {
                let value = self.wire.with_frame(names, |frame| node.json(frame)).await;
                (value.map_err(|trouble| cannot_compute(&trouble))?, false)
            }
            Action::Lookup { call, cache_secs } => (
                self.lookup(call, *cache_secs, step.capture.as_ref(), names)
                    .await?,
                false,
            ),
            Action::Read { call, wait } => {
                reply = self.read(call, wait.as_ref(), names).await?;
                (
                    self.capture(step.capture.as_ref(), names, &reply).await?,
                    false,
                )
            }
            Action::Request(change) => self.request(step, change, names, &full_name).await?,
            Action::ForEach {
                list,
                name,
                by,
                steps,
            } => {
                let items = self
                    .wire
                    .with_frame(names, |frame| Ok(elements(list, frame)?.into_owned()))
                    .await;
                let mut items = items.map_err(|trouble| cannot_compute(&trouble))?;
                if let Some(by) = by {
                    let parts = items.chunks((*by).max(1));
                    items = parts.map(|part| Json::Array(part.to_vec())).collect();
                }
                let each = within.each(&step.name, &items);
                self.foreach(each, name, steps, names).await?
            }
        };
        if !reached && !step.checks.is_empty() {
            let checked = self.check(step, &value, &reply, names).await;
            if let (Err(_), Action::Lookup { call, .. }) = (&checked, &step.action) {
                // What did not do is not remembered: whoever mends it should not have to wait.
                self.wire.forget(call, names).await;
            }
            checked?;
        }
        Ok((value, reached))
    }

    async fn foreach(
        &mut self,
        each: Vec<(Within, &Json)>,
        name: &str,
        steps: &[CompiledStep],
        names: &[Named<'_>],
    ) -> Result<(Json, bool), Fault> {
        let (outside, names) = split_steps(names);
        let mut all = Vec::with_capacity(each.len());
        for (within, item) in each {
            let inner: Vec<Named<'_>> = names
                .iter()
                .copied()
                .filter(|(known, _)| *known != name)
                .chain([(name, item)])
                .collect();
            let steps = Box::pin(self.some_steps(steps, &inner, outside.clone(), &within));
            let (mut results, reached) = steps.await?;
            results.retain(|name, _| !outside.contains_key(name));
            all.push(Json::Object(results));
            if reached {
                return Ok((all.into(), true));
            }
        }
        Ok((all.into(), false))
    }

    async fn lookup(
        &self,
        call: &Call,
        cache_secs: u64,
        capture: Option<&Node>,
        names: &[Named<'_>],
    ) -> Result<Json, Fault> {
        let key = self
            .wire
            .lookup_key(call, names)
            .await
            .map_err(|it| it.fault)?;
        if let Some(known) = self.wire.recall(key).await {
            return Ok(known);
        }
        let reply = self.read(call, None, names).await?;
        let value = self.capture(capture, names, &reply).await?;
        // Nothing found is not remembered: whoever adds it should not have to wait.
        let nothing = value.is_null()
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty);
        if cache_secs > 0 && !nothing {
            self.wire.remember(key, &value, cache_secs).await;
        }
        Ok(value)
    }

    /// Asks, and asks again while it has to wait.
    async fn read(
        &self,
        call: &Call,
        wait: Option<&CompiledWait>,
        names: &[Named<'_>],
    ) -> Result<Json, Fault> {
        let mut tries = 0;
        loop {
            let reply = self.wire.call(call, names, self.lane, Intent::Read).await;
            let reply = reply.map_err(|failure| failure.fault)?.document;
            let Some(wait) = wait else {
                return Ok(reply);
            };
            let roots = [names, &[("reply", &reply)]].concat();
            let done = self
                .wire
                .with_frame(&roots, |frame| holds(&wait.until, frame))
                .await;
            if done.map_err(|trouble| unexpected(&trouble))? {
                return Ok(reply);
            }
            tries += 1;
            if tries >= wait.times {
                return Err(Fault::retry("not_yet", "the other side is not done yet"));
            }
            let pause = std::time::Duration::from_secs(wait.every_secs);
            self.wire.context.clock.sleep(pause).await;
        }
    }

    async fn capture(
        &self,
        capture: Option<&Node>,
        names: &[Named<'_>],
        reply: &Json,
    ) -> Result<Json, Fault> {
        let Some(node) = capture else {
            return Ok(Json::Null);
        };
        let roots = [names, &[("reply", reply)]].concat();
        let value = self.wire.with_frame(&roots, |frame| node.json(frame)).await;
        value.map_err(|trouble| unexpected(&trouble))
    }

    /// A step that changes something: skipped when it was captured, found when it was done, else done.
    async fn request(
        &mut self,
        step: &CompiledStep,
        change: &Change,
        names: &[Named<'_>],
        full_name: &str,
    ) -> Result<(Json, bool), Fault> {
        let (captured, wanted) = match &self.purpose {
            Purpose::Read => {
                return Err(Fault::bug("read_writes", "a read must not change anything"));
            }
            Purpose::Write(resume) => (resume.captured, None),
            Purpose::Find { step, captured } => (*captured, Some(*step)),
        };
        if let Some(wanted) = wanted {
            let reached = wanted == full_name;
            if let (false, Some(value)) = (reached, captured.get(full_name)) {
                return Ok((value.clone(), false));
            }
            let found = if reached {
                self.find(change, names).await?
            } else {
                Json::Null
            };
            return Ok((found, reached));
        }
        if let Some(value) = captured.get(full_name) {
            return Ok((value.clone(), false));
        }
        let mut value = self.find(change, names).await?;
        if value.is_null() {
            value = self.change(step, change, names, full_name).await?;
        } else {
            self.existed.push(full_name.to_owned());
        }
        // Behind the last step comes nothing that must know: the outcome is settled at once.
        if let Purpose::Write(resume) = &self.purpose
            && resume.last != full_name
        {
            let value = value.clone();
            resume
                .progress
                .captured(resume.delivery, full_name, value)
                .await?;
        }
        Ok((value, false))
    }

    /// What is there already; null when nothing is.
    async fn find(&self, change: &Change, names: &[Named<'_>]) -> Result<Json, Fault> {
        let Some((call, found)) = &change.find else {
            return Ok(Json::Null);
        };
        let reply = self.read(call, None, names).await?;
        self.capture(Some(found), names, &reply).await
    }

    /// Sends the request, after each foreseen fault once more.
    async fn change(
        &mut self,
        step: &CompiledStep,
        change: &Change,
        names: &[Named<'_>],
        full_name: &str,
    ) -> Result<Json, Fault> {
        let mut tried = vec![0; change.on_fault.len()];
        loop {
            let sent = self
                .wire
                .call(&change.call, names, self.lane, Intent::Write)
                .await;
            let Failure { fault, reply } = match sent {
                Ok(reply) => {
                    let value = self
                        .capture(step.capture.as_ref(), names, &reply.document)
                        .await;
                    return value.map_err(Fault::after_sending);
                }
                Err(failure) => failure,
            };
            if change.exists.iter().any(|code| *code == fault.code) {
                let found = self.find(change, names).await?;
                if !found.is_null() {
                    self.existed.push(full_name.to_owned());
                    return Ok(found);
                }
            }
            let remedy = change
                .on_fault
                .iter()
                .position(|remedy| remedy.code == fault.code);
            let (Some(n), Some(reply)) = (remedy, &reply) else {
                return Err(fault);
            };
            if tried[n] >= change.on_fault[n].times {
                return Err(fault);
            }
            tried[n] += 1;
            let roots = [names, &[("reply", &reply.document)]].concat();
            let remedy = &change.on_fault[n].call;
            let sent = self
                .wire
                .call(remedy, &roots, self.lane, Intent::Write)
                .await;
            sent.map_err(|failure| failure.fault)?;
        }
    }

    async fn check(
        &self,
        step: &CompiledStep,
        value: &Json,
        reply: &Json,
        names: &[Named<'_>],
    ) -> Result<(), Fault> {
        let (outside, names) = split_steps(names);
        let mut results = Json::Object(outside);
        set(&mut results, &step.name, value.clone());
        let roots = [names.as_slice(), &[("steps", &results), ("reply", reply)]].concat();
        for check in &step.checks {
            let failed = self
                .wire
                .with_frame(&roots, |frame| check.failed(frame))
                .await;
            if let Some(fault) = failed.map_err(|trouble| cannot_compute(&trouble))? {
                return Err(fault);
            }
        }
        Ok(())
    }
}

impl CompiledCheck {
    /// The fault, if what must hold does not.
    pub(super) fn failed(&self, frame: &Frame<'_>) -> Result<Option<Fault>, Trouble> {
        let Some((list, name)) = &self.each else {
            return self.failed_once(frame);
        };
        for item in elements(list, frame)?.iter() {
            let roots = [(name.as_str(), item)];
            if let Some(fault) = self.failed_once(&frame.with(&roots))? {
                return Ok(Some(fault));
            }
        }
        Ok(None)
    }

    fn failed_once(&self, frame: &Frame<'_>) -> Result<Option<Fault>, Trouble> {
        if !self
            .condition
            .eval_bool(frame)
            .map_err(|error| Trouble::new(&error))?
        {
            return Ok(None);
        }
        let message = self
            .message
            .eval_text(frame)
            .map_err(|error| Trouble::new(&error))?;
        let class = match self.class {
            CheckClass::Reject => Class::Reject,
            CheckClass::Config => Class::Config,
            CheckClass::Retry => Class::Retry,
        };
        Ok(Some(Fault::new(
            class,
            self.code.clone(),
            discreet(&message),
        )))
    }
}

/// The results so far, and the other names.
fn split_steps<'n>(names: &[Named<'n>]) -> (Results, Vec<Named<'n>>) {
    let steps = names.iter().find(|(name, _)| *name == "steps");
    let results = steps
        .and_then(|(_, steps)| steps.as_object())
        .cloned()
        .unwrap_or_default();
    (
        results,
        names
            .iter()
            .copied()
            .filter(|(name, _)| *name != "steps")
            .collect(),
    )
}

fn set(results: &mut Json, name: &str, value: Json) {
    if let Json::Object(results) = results {
        results.insert(name.to_owned(), value);
    }
}

fn take(results: Json) -> Results {
    match results {
        Json::Object(results) => results,
        _ => Results::new(),
    }
}

/// The record lacks something: repeating cannot help.
pub(super) fn cannot_compute(trouble: &Trouble) -> Fault {
    Fault::reject("cannot_compute", trouble.to_string())
}

/// A reply that is no fault by any rule, and yet not what was foreseen.
pub(super) fn unexpected(trouble: &Trouble) -> Fault {
    Fault::bug(
        "unexpected_reply",
        format!("the reply is not what was foreseen: {trouble}"),
    )
}
