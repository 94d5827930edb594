//! `[http.tagged]`: JSON dialects that wrap a value in an object with a tag, such as Tryton's
//! `{"__class__": "Decimal", "decimal": "12.50"}`. They are unwrapped before any expression sees them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::scope::{Compiler, Frame, Tables, Trouble};
use super::text::{Expr, Name};
use crate::expr::{Program, Scope, Type};

/// How deep a reply may be nested.
const MAX_DEPTH: usize = 64;

/// Which objects are wrapped values.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tagged {
    /// The key that tells the kind.
    pub tag: Name,
    /// For each kind what the value is, in terms of the object `it`. Other kinds stay as they are.
    pub kinds: BTreeMap<String, Expr>,
}

/// A compiled [`Tagged`].
#[derive(Debug, Clone)]
pub(super) struct Unwrap {
    tag: String,
    kinds: BTreeMap<String, Program>,
}

impl Tagged {
    pub(super) fn compile(&self, compiler: &mut Compiler) -> Unwrap {
        let scope = Scope::new().root("it", Type::Dyn);
        let kinds = self.kinds.iter().map(|(kind, expr)| {
            let path = format!("http.tagged.kinds.{kind}");
            (kind.clone(), compiler.expr(expr, &scope, &path))
        });
        Unwrap {
            tag: self.tag.as_str().to_owned(),
            kinds: kinds.collect(),
        }
    }
}

impl Unwrap {
    /// Unwraps everything in a document.
    pub(super) fn apply(&self, json: &mut Json) -> Result<(), Trouble> {
        self.walk(json, 0)
    }

    fn walk(&self, json: &mut Json, depth: usize) -> Result<(), Trouble> {
        if depth > MAX_DEPTH {
            return Err(Trouble::told("the reply is nested too deeply"));
        }
        match json {
            Json::Array(items) => items
                .iter_mut()
                .try_for_each(|item| self.walk(item, depth + 1)),
            Json::Object(fields) => {
                let kind = fields.get(&self.tag).and_then(Json::as_str);
                let Some(program) = kind.and_then(|kind| self.kinds.get(kind)) else {
                    return fields
                        .values_mut()
                        .try_for_each(|value| self.walk(value, depth + 1));
                };
                let tables = Tables::new();
                let roots = [("it", &*json)];
                let frame = Frame::new(&roots, &tables);
                let value = program
                    .eval(&frame)
                    .map_err(|error| Trouble::new(&error))?
                    .into_json();
                *json = value;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
