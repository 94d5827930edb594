//! A manifest's text, checked against the schema of its own structs.
//!
//! Serde stops at the first thing it does not understand. So the TOML tree is first walked along the
//! JSON Schema that schemars makes of the same structs, which reports every unknown key, wrong type
//! and missing key at once, each with its place; deserialising afterwards has nothing left to refuse.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics, SourceText, did_you_mean};

/// Reads `T` from TOML, or says everything that is wrong with its shape.
pub(super) fn load<T: DeserializeOwned>(
    source: &Arc<SourceText>,
    schema: &Json,
) -> Result<T, Diagnostics> {
    let mut walk = Walk {
        source,
        root: schema,
        findings: Diagnostics::default(),
    };
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        walk.finding("X0700", "", span, error.message().to_owned(), None);
    }
    if !walk.findings.has_errors() {
        let span = table.span();
        walk.table(table.get_ref(), span, schema, "");
    }
    if walk.findings.has_errors() {
        return Err(walk.findings);
    }
    toml::from_str(&source.text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        walk.finding("X0702", "", span, error.message().to_owned(), None);
        walk.findings
    })
}

struct Walk<'a> {
    source: &'a Arc<SourceText>,
    root: &'a Json,
    findings: Diagnostics,
}

impl<'a> Walk<'a> {
    fn finding(
        &mut self,
        code: &'static str,
        path: &str,
        span: Range<usize>,
        message: String,
        help: Option<String>,
    ) {
        let mut finding = Diagnostic::error(code, path, message).at(self.source, span);
        finding.help = help;
        self.findings.push(finding);
    }

    /// The schema behind a reference.
    fn resolve(&self, schema: &'a Json) -> &'a Json {
        let Some(target) = schema.get("$ref").and_then(Json::as_str) else {
            return schema;
        };
        let found = target
            .strip_prefix('#')
            .and_then(|at| self.root.pointer(at));
        found.unwrap_or(schema)
    }

    /// What a value may be instead of null: one schema or several.
    fn alternatives(&self, schema: &'a Json) -> Vec<&'a Json> {
        let schema = self.resolve(schema);
        let listed = ["anyOf", "oneOf"]
            .iter()
            .find_map(|key| schema.get(*key)?.as_array());
        let Some(listed) = listed else {
            return vec![schema];
        };
        listed
            .iter()
            .flat_map(|one| self.alternatives(one))
            .filter(|one| one.get("type").and_then(Json::as_str) != Some("null"))
            .collect()
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'a Json, path: &str) {
        let alternatives = self.alternatives(schema);
        let span = value.span();
        match value.get_ref() {
            DeValue::Table(table) => self.one_table(table, span, &alternatives, path),
            DeValue::String(text) => self.one_text(text, span, &alternatives, path),
            other => {
                let kind = kind_of(other);
                let Some(schema) = alternatives.iter().find(|schema| allows(schema, kind)) else {
                    return self.wrong_type(kind, span, &alternatives, path);
                };
                if let (DeValue::Array(items), Some(of)) = (other, schema.get("items")) {
                    for (n, item) in items.iter().enumerate() {
                        self.value(item, of, &format!("{path}[{n}]"));
                    }
                }
            }
        }
    }

    fn one_text(&mut self, text: &str, span: Range<usize>, schemas: &[&'a Json], path: &str) {
        let texts: Vec<&Json> = schemas
            .iter()
            .copied()
            .filter(|s| allows(s, "string"))
            .collect();
        if texts.is_empty() {
            return self.wrong_type("string", span, schemas, path);
        }
        let known: Vec<&str> = texts.iter().flat_map(|schema| words(schema)).collect();
        let free = texts.iter().any(|schema| words(schema).is_empty());
        if free || known.contains(&text) {
            return;
        }
        let help = did_you_mean(text, known.iter().copied()).map_or_else(
            || format!("one of {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        self.finding(
            "X0702",
            path,
            span,
            format!("`{text}` is not known here"),
            Some(help),
        );
    }

    /// Of several kinds of table, the one whose name stands in it (`auth.session`).
    fn one_table(
        &mut self,
        table: &DeTable<'_>,
        span: Range<usize>,
        schemas: &[&'a Json],
        path: &str,
    ) {
        let tables: Vec<&'a Json> = schemas
            .iter()
            .copied()
            .filter(|s| allows(s, "object"))
            .collect();
        match tables.as_slice() {
            [] => self.wrong_type("object", span, schemas, path),
            [only] => self.table(table, span, only, path),
            several => {
                let named = |schema: &&'a Json| {
                    let wanted = schema.get("properties").and_then(Json::as_object);
                    wanted.is_some_and(|wanted| {
                        table
                            .iter()
                            .any(|(key, _)| wanted.contains_key(key.get_ref().as_ref()))
                    })
                };
                if let Some(schema) = several.iter().copied().find(named) {
                    return self.table(table, span, schema, path);
                }
                let known: Vec<&str> = several
                    .iter()
                    .filter_map(|schema| schema.get("properties")?.as_object())
                    .flat_map(Map::keys)
                    .map(String::as_str)
                    .collect();
                let near = table
                    .iter()
                    .find_map(|(key, _)| did_you_mean(key.get_ref(), known.iter().copied()));
                let help = near.map_or_else(
                    || format!("one of {}", known.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.finding(
                    "X0701",
                    path,
                    span,
                    "an unknown kind".to_owned(),
                    Some(help),
                );
            }
        }
    }

    fn table(&mut self, table: &DeTable<'_>, span: Range<usize>, schema: &'a Json, path: &str) {
        let schema = self.resolve(schema);
        let known = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let inner = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            match (known.and_then(|known| known.get(name)), others) {
                (Some(schema), _) | (None, Some(schema @ Json::Object(_))) => {
                    self.value(value, schema, &inner);
                }
                (None, Some(Json::Bool(false))) => {
                    let names = known.into_iter().flat_map(Map::keys).map(String::as_str);
                    let help = did_you_mean(name, names.clone()).map_or_else(
                        || format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    let message = format!("unknown key `{name}`");
                    self.finding("X0701", &inner, key.span(), message, Some(help));
                }
                (None, _) => {}
            }
        }
        let required = schema.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            if !table.contains_key(name) {
                let message = format!("`{name}` is missing");
                self.finding("X0703", path, span.clone(), message, None);
            }
        }
    }

    fn wrong_type(&mut self, kind: &str, span: Range<usize>, schemas: &[&Json], path: &str) {
        let mut wanted: Vec<&str> = schemas.iter().flat_map(|schema| types(schema)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let wanted: Vec<&str> = wanted.into_iter().map(in_words).collect();
        let message = format!("expected {}, found {}", wanted.join(" or "), in_words(kind));
        self.finding("X0702", path, span, message, None);
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) | DeValue::Datetime(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

fn in_words(kind: &str) -> &str {
    match kind {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        other => other,
    }
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one.as_str()],
        Some(Json::Array(several)) => several
            .iter()
            .filter_map(Json::as_str)
            .filter(|kind| *kind != "null")
            .collect(),
        _ => Vec::new(),
    }
}

fn allows(schema: &Json, kind: &str) -> bool {
    let types = types(schema);
    let untyped = types.is_empty() && schema.get("const").is_none_or(Json::is_string);
    untyped || types.contains(&kind) || (kind == "integer" && types.contains(&"number"))
}

/// The words that a text may be; none when it may be anything.
fn words(schema: &Json) -> Vec<&str> {
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return vec![word];
    }
    let listed = schema.get("enum").and_then(Json::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect()
}
