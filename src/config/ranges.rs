//! Checks numbers and lists against the bounds that stand beside the fields of the typed sections.
//!
//! The bounds are written once (`#[schemars(range(…))]`) and reach both the editor, through the
//! JSON Schema, and this check, which walks the schema and the tree side by side.

use serde_json::Value as Json;

use super::codes;
use super::tree::{Document, Node, Step, Value};
use crate::diagnostic::{Diagnostics, Severity};

/// Reports every number and list that is out of its bounds.
pub fn check(schema: &Json, document: &Document, findings: &mut Diagnostics) {
    let mut walk = Walk {
        schema,
        document,
        findings,
        path: Vec::new(),
    };
    walk.node(schema, &document.root);
}

struct Walk<'a> {
    schema: &'a Json,
    document: &'a Document,
    findings: &'a mut Diagnostics,
    path: Vec<Step>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, schema: &'a Json, node: &Node) {
        for schema in self.alternatives(schema) {
            match &node.value {
                Value::Table(entries) => {
                    for (key, child) in entries {
                        let named = schema.get("properties").and_then(|known| known.get(key));
                        let Some(inner) = named.or_else(|| schema.get("additionalProperties"))
                        else {
                            continue;
                        };
                        self.path.push(Step::Key(key.clone()));
                        self.node(inner, child);
                        self.path.pop();
                    }
                }
                Value::List(items) => {
                    self.list(schema, items.len());
                    let Some(inner) = schema.get("items") else {
                        continue;
                    };
                    for (index, child) in items.iter().enumerate() {
                        self.path.push(Step::Index(index));
                        self.node(inner, child);
                        self.path.pop();
                    }
                }
                #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
                Value::Integer(number) => self.number(schema, *number as f64),
                Value::Float(number) => self.number(schema, *number),
                _ => {}
            }
        }
    }

    /// The schema itself, or what it refers to, or its alternatives.
    fn alternatives(&self, schema: &'a Json) -> Vec<&'a Json> {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let target = self.schema.pointer(reference.trim_start_matches('#'));
            return target
                .into_iter()
                .flat_map(|target| self.alternatives(target))
                .collect();
        }
        for combined in ["anyOf", "allOf"] {
            if let Some(parts) = schema.get(combined).and_then(Json::as_array) {
                return parts
                    .iter()
                    .flat_map(|part| self.alternatives(part))
                    .collect();
            }
        }
        vec![schema]
    }

    fn number(&mut self, schema: &Json, number: f64) {
        let bound = |name: &str| schema.get(name).and_then(Json::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        // Negative numbers for unsigned types were refused by their type.
        let too_small = least.is_some_and(|least| number < least) && number >= 0.0;
        let negative =
            least.is_some_and(|least| number < least) && number < 0.0 && is_float(schema);
        if !too_small && !negative && !most.is_some_and(|most| number > most) && number.is_finite()
        {
            return;
        }
        let bounds = match (least, most) {
            (Some(least), Some(most)) => format!("between {least} and {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "a finite number".to_owned(),
        };
        self.report(&format!("must be {bounds}, and is {number}"));
    }

    fn list(&mut self, schema: &Json, len: usize) {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (len as u64) < least {
            let message = match len {
                0 => "must not be empty".to_owned(),
                _ => format!("needs at least {least} elements"),
            };
            self.report(&message);
        }
    }

    fn report(&mut self, message: &str) {
        let name = match self.path.last() {
            Some(Step::Key(key)) => key.as_str(),
            _ => "element",
        };
        let message = format!("`{name}` {message}");
        let finding =
            self.document
                .finding(Severity::Error, codes::OUT_OF_RANGE, &self.path, message);
        self.findings.push(finding);
    }
}

fn is_float(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("number")
}
