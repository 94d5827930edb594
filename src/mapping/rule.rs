//! One compiled rule: where a field's value comes from, what is done to it, where it goes.
//!
//! A plain copy is a read and a write of JSON values. Everything else goes through [`Value`], which
//! borrows from the record.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::path::Path;
use super::step::Step;
use crate::expr::{Env, EvalError, Program, Value};

/// Tables by name.
pub(super) type Tables = BTreeMap<String, Map<String, Json>>;

/// Why a rule makes no value: a fault code and the rest of a sentence about the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) text: String,
    /// Which element of which lists it is about.
    pub(super) places: Vec<usize>,
}

impl Problem {
    pub(super) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            places: Vec::new(),
        }
    }

    /// Of an expression.
    pub(super) fn of(error: &EvalError, what: &str) -> Self {
        let code = match error.reason {
            crate::expr::Reason::Unmatched => LOOKUP_UNMATCHED,
            crate::expr::Reason::Missing => MISSING,
            crate::expr::Reason::Arithmetic => ARITHMETIC,
            crate::expr::Reason::Limit => LIMIT,
            crate::expr::Reason::Type | crate::expr::Reason::Value => BAD_VALUE,
        };
        Self::new(code, format!("{what}: {}", error.message))
    }
}

pub(super) const LOOKUP_UNMATCHED: &str = "lookup_unmatched";
pub(super) const MISSING: &str = "mapping_missing";
pub(super) const ARITHMETIC: &str = "mapping_arithmetic";
pub(super) const LIMIT: &str = "mapping_limit";
pub(super) const BAD_VALUE: &str = "mapping_value";
pub(super) const TOO_LONG: &str = "mapping_too_long";
pub(super) const REJECTED: &str = "mapping_rejected";
pub(super) const LISTS_DIFFER: &str = "mapping_lists_differ";

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// The field that it makes, as in messages.
    pub(super) target: Path,
    /// The target's parts between its `[]`.
    pub(super) parts: Vec<Path>,
    /// The source list of each `[]`, each relative to an element of the one before.
    pub(super) lists: Vec<Path>,
    pub(super) source: Source,
    pub(super) when: Option<Program>,
    pub(super) default: Option<Json>,
    pub(super) steps: Vec<Step>,
    pub(super) reject: Option<Reject>,
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// A field: relative to the innermost element, or to the record when there is no list.
    Field(Path),
    Program(Program),
    Constant(Json),
}

/// A condition on the value that a rule made.
#[derive(Debug)]
pub(super) struct Reject {
    pub(super) when: Program,
    pub(super) message: String,
}

/// What a rule can see.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The name of the record in expressions.
    pub(super) root: &'a str,
    pub(super) record: &'a Json,
    /// The element that a rule for a list is at.
    pub(super) it: Option<&'a Json>,
    /// What a rule made so far.
    pub(super) value: Option<&'a Value<'a>>,
    pub(super) tables: &'a Tables,
}

impl Env for View<'_> {
    fn root(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "it" => self.it.map(Value::Json),
            "value" => self.value.cloned(),
            _ if name == self.root => Some(Value::Json(self.record)),
            _ => None,
        }
    }

    fn entry(&self, table: &str, key: &str) -> Option<Value<'_>> {
        self.tables.get(table)?.get(key).map(Value::Json)
    }
}

impl Rule {
    /// Makes the field in `out`.
    pub(super) fn apply(&self, view: View<'_>, out: &mut Json) -> Result<(), Problem> {
        self.level(0, view, out)
    }

    /// Goes through the lists, one level at a time, in source and target side by side.
    fn level(&self, level: usize, view: View<'_>, out: &mut Json) -> Result<(), Problem> {
        let Some(list) = self.lists.get(level) else {
            return self.one(view, out);
        };
        let elements = match list.get(view.it.unwrap_or(view.record)) {
            None | Some(Json::Null) => return Ok(()),
            Some(Json::Array(elements)) => elements,
            Some(_) => return Err(Problem::new(BAD_VALUE, format!("`{list}` is not a list"))),
        };
        let place = self.parts.get(level).and_then(|part| part.place(out));
        let targets = match place {
            Some(Json::Array(targets)) => targets,
            Some(place @ Json::Null) => {
                *place = Json::Array(Vec::new());
                place.as_array_mut().ok_or_else(blocked)?
            }
            _ => return Err(blocked()),
        };
        if targets.is_empty() {
            // An element of which every rule's source is absent is empty, not null.
            let scalars = self
                .parts
                .get(level + 1)
                .is_some_and(|part| part.0.is_empty());
            let empty = if scalars {
                Json::Null
            } else {
                Json::Object(Map::new())
            };
            targets.resize(elements.len(), empty);
        }
        if targets.len() != elements.len() {
            let (from, to) = (elements.len(), targets.len());
            let text = format!("the source list has {from} elements, the target list {to}");
            return Err(Problem::new(LISTS_DIFFER, text));
        }
        for (place, (element, target)) in elements.iter().zip(targets).enumerate() {
            let inner = View {
                it: Some(element),
                ..view
            };
            self.level(level + 1, inner, target)
                .map_err(|mut problem| {
                    problem.places.insert(0, place);
                    problem
                })?;
        }
        Ok(())
    }

    /// Makes one value.
    fn one(&self, view: View<'_>, out: &mut Json) -> Result<(), Problem> {
        if let Some(when) = &self.when
            && !when
                .eval_bool(&view)
                .map_err(|error| Problem::of(&error, "rule `when`"))?
        {
            return Ok(());
        }
        let Some(target) = self.parts.last() else {
            return Err(blocked());
        };
        if let Source::Field(path) = &self.source
            && self.steps.is_empty()
            && self.reject.is_none()
        {
            return match (path.get(view.it.unwrap_or(view.record)), &self.default) {
                (Some(Json::Null) | None, Some(default)) => put(target, out, default.clone()),
                (Some(value), _) => put(target, out, value.clone()),
                (None, None) => {
                    target.remove(out);
                    Ok(())
                }
            };
        }
        if let Some(value) = self.value(view)? {
            return put(target, out, value);
        }
        target.remove(out);
        Ok(())
    }

    /// The value with everything done to it; nothing when it is absent.
    fn value(&self, view: View<'_>) -> Result<Option<Json>, Problem> {
        let bad = |error: EvalError| Problem::of(&error, "rule `expr`");
        let found = match &self.source {
            Source::Field(path) => path.get(view.it.unwrap_or(view.record)).map(Value::Json),
            Source::Program(program) => Some(program.eval(&view).map_err(bad)?),
            Source::Constant(value) => Some(Value::Json(value)),
        };
        let mut value = match (found, &self.default) {
            (None, None) => return Ok(None),
            (Some(value), None) => value,
            (Some(value), Some(_)) if !value.is_null() => value,
            (_, Some(default)) => Value::Json(default),
        };
        // Null is a value of its own: told to be empty. Nothing is done to it.
        if !value.is_null() {
            for step in &self.steps {
                value = step.apply(value, view, self.default.as_ref())?;
            }
        }
        if let Some(reject) = &self.reject {
            let seen = View {
                value: Some(&value),
                ..view
            };
            let rejected = reject
                .when
                .eval_bool(&seen)
                .map_err(|error| Problem::of(&error, "rule `reject_if`"))?;
            if rejected {
                return Err(Problem::new(REJECTED, reject.message.clone()));
            }
        }
        Ok(Some(value.into_json()))
    }
}

fn put(target: &Path, out: &mut Json, value: Json) -> Result<(), Problem> {
    if target.set(out, value) {
        Ok(())
    } else {
        Err(blocked())
    }
}

fn blocked() -> Problem {
    Problem::new(
        BAD_VALUE,
        "something else than a map or list stands in its way",
    )
}
