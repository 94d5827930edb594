//! `[stream.S.write.read_back]`: what stands at the other side under our references, for proofs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::fault::Intent;
use super::limits::Limits;
use super::request::{Call, Request};
use super::run::{Purpose, Run, unexpected};
use super::scope::{Compiler, Trouble};
use super::step::{Allowed, CompiledStep, Step, compile as compile_steps};
use super::text::{Expr, Tree};
use super::tree::{Node, elements};
use super::wire::Wire;
use crate::connector::{Asked, Standing};
use crate::expr::{Program, Type};
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::{Money, Quantity};
use crate::transport::http::Lane;

/// `read_back`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadBack {
    /// How many things one request asks for.
    pub max: usize,
    /// What must be known before the request.
    #[serde(default)]
    pub step: Vec<Step>,
    /// Asks for what carries the references of `asked`, a list of `{ reference, name }` of things that came
    /// from `origin`. All of it must come: more than one for a reference too.
    pub request: Request,
    /// The rows of its reply.
    pub records: Expr,
    /// Of `item`: `{ reference | name, remote_id, number, total = { amount, currency }, called_off, done }`. One of
    /// `reference` and `name` says whose it is; `called_off` is false and `done` is true when absent. Of stock
    /// also `quantity`; of prices `total` is the price, with `list`, `min_qty` and `compare_at` where there are
    /// such; of shipments, which are asked for by their order, `tracking`, a list of numbers.
    pub map: Tree,
}

/// A compiled [`ReadBack`].
#[derive(Debug)]
pub(super) struct CompiledReadBack {
    max: usize,
    steps: Vec<CompiledStep>,
    call: Call,
    records: Program,
    map: Node,
}

impl ReadBack {
    pub(super) fn compile(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        path: &str,
    ) -> CompiledReadBack {
        if self.max == 0 {
            compiler.error(path, 0..0, "`max` must be above zero", None);
        }
        let base = compiler.scope(&["origin", "asked"]);
        let at = format!("{path}.step");
        let (steps, scope) =
            compile_steps(&self.step, compiler, limits, &base, Allowed::Reading, &at);
        let reply = scope.clone().root("reply", Type::Dyn);
        let item = reply.clone().root("item", Type::Dyn);
        CompiledReadBack {
            max: self.max.max(1),
            steps,
            call: self
                .request
                .compile(compiler, limits, &scope, &format!("{path}.request")),
            records: compiler.expr(&self.records, &reply, &format!("{path}.records")),
            map: compiler.tree(&self.map, &item, &format!("{path}.map")),
        }
    }
}

impl CompiledReadBack {
    /// Asks for all of them, some at a time, behind everything else.
    pub(super) async fn run(
        &self,
        wire: &Wire,
        origin: &str,
        asked: &[Asked],
    ) -> Result<Vec<Standing>, Fault> {
        let mut found = Vec::new();
        for some in asked.chunks(self.max) {
            found.extend(self.some(wire, origin, some).await?);
        }
        Ok(found)
    }

    async fn some(
        &self,
        wire: &Wire,
        origin: &str,
        asked: &[Asked],
    ) -> Result<Vec<Standing>, Fault> {
        let origin = Json::from(origin);
        let list = serde_json::to_value(asked).unwrap_or_default();
        let names = [("origin", &origin), ("asked", &list)];
        let mut run = Run::new(wire, Lane::Items, Purpose::Read);
        let results = Json::Object(run.steps(&self.steps, &names).await?);
        let here = [names.as_slice(), &[("steps", &results)]].concat();
        let reply = wire
            .call(&self.call, &here, Lane::Items, Intent::Read)
            .await
            .map_err(|failure| failure.fault)?;
        let here = [here.as_slice(), &[("reply", &reply.document)]].concat();
        let rows = wire.with_frame(&here, |frame| {
            let rows = elements(&self.records, frame)?;
            let mut standings = Vec::with_capacity(rows.len());
            for row in rows.iter() {
                let roots = [("item", row)];
                let json = self.map.json(&frame.with(&roots))?;
                standings.push(json);
            }
            Ok(standings)
        });
        let rows = rows
            .await
            .map_err(|trouble| unexpected(&trouble.within("read_back")))?;
        let names: BTreeMap<&str, &str> = asked
            .iter()
            .map(|one| (one.name.as_str(), one.reference.as_str()))
            .collect();
        let wanted: BTreeMap<&str, &str> = asked
            .iter()
            .map(|one| (one.reference.as_str(), one.reference.as_str()))
            .collect();
        let mut found = Vec::new();
        for row in &rows {
            let standing = standing(row, &names, &wanted).map_err(|it| unexpected(&it))?;
            found.extend(standing);
        }
        Ok(found)
    }
}

/// A row as a standing; none when it is nobody's who was asked for.
fn standing(
    row: &Json,
    names: &BTreeMap<&str, &str>,
    wanted: &BTreeMap<&str, &str>,
) -> Result<Option<Standing>, Trouble> {
    let text = |name: &str| match row.get(name) {
        Some(Json::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Json::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let by_reference = text("reference").and_then(|it| wanted.get(it.as_str()).copied());
    let by_name = || text("name").and_then(|it| names.get(it.as_str()).copied());
    let Some(reference) = by_reference.or_else(by_name) else {
        return Ok(None);
    };
    let Some(remote_id) = text("remote_id") else {
        return Err(Trouble::told("a row without `remote_id`").within("read_back.map"));
    };
    let flag = |name: &str, absent: bool| row.get(name).and_then(Json::as_bool).unwrap_or(absent);
    Ok(Some(Standing {
        reference: reference.to_owned(),
        remote_id: RemoteId::from(remote_id),
        number: text("number"),
        total: value::<Money>(row, "total", "this is no amount")?,
        called_off: flag("called_off", false),
        done: flag("done", true),
        quantity: value::<Quantity>(row, "quantity", "this is no number of pieces")?,
        list: text("list"),
        min_qty: value::<Quantity>(row, "min_qty", "this is no number of pieces")?,
        compare_at: value::<Money>(row, "compare_at", "this is no amount")?,
        tracking: value(row, "tracking", "this is no list of texts")?.unwrap_or_default(),
    }))
}

/// A field of a row; none where nothing is told.
fn value<T: DeserializeOwned>(
    row: &Json,
    name: &str,
    otherwise: &str,
) -> Result<Option<T>, Trouble> {
    match row.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => match serde_json::from_value(value.clone()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Trouble::told(otherwise).within(&format!("read_back.map.{name}"))),
        },
    }
}
