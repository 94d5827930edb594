//! A configuration as a tree of values that know where they stand in which file.
//!
//! Typed sections are read from this tree (`de.rs`), so that a finding of any stage, up to the
//! connectors' own, can point at the place in the merchant's file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::codes;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, SourceText};

/// A text and the bytes of it that something occupies.
pub type Place = (Arc<SourceText>, Range<usize>);

/// One step from a value to a value inside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

/// Writes a path as a person would: `publish.north.item."A 1".max`, `pool.main.members[0]`.
pub fn path_text(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Index(index) => out.extend(["[", &index.to_string(), "]"]),
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&key_text(key));
            }
        }
    }
    out
}

/// A key as it is written in TOML: bare where that is possible.
pub fn key_text(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

/// A value and where it stands. Equal when the values are equal, wherever they stand.
#[derive(Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where the value stands; none for a value that comes from no file.
    pub place: Option<Place>,
    /// Where its key stands; none for the elements of a list.
    pub key: Option<Place>,
}

/// What a [`Node`] holds.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text {
        /// With placeholders replaced.
        text: String,
        /// As it was written, when that had placeholders.
        written: Option<String>,
    },
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A date or time, as it was written.
    Datetime(String),
    /// `[…]` or `[[…]]`.
    List(Vec<Node>),
    /// `[…]` or `{…}`.
    Table(BTreeMap<String, Node>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Shows keys and types only: a value may be a secret (story 55).
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Table(entries) => f.debug_map().entries(entries).finish(),
            Value::List(items) => f.debug_list().entries(items).finish(),
            other => f.write_str(other.kind()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Value {
    /// What kind of value it is, with its article.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with decimals",
            Self::Bool(_) => "true or false",
            Self::Datetime(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// A value that stands in no file.
    pub fn new(value: Value) -> Self {
        Self {
            value,
            place: None,
            key: None,
        }
    }

    /// A text that stands in no file.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Value::Text {
            text: text.into(),
            written: None,
        })
    }

    /// The entries, if it is a table.
    pub fn table(&self) -> Option<&BTreeMap<String, Self>> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The text with placeholders replaced, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value at the end of a path.
    pub fn get(&self, path: &[Step]) -> Option<&Self> {
        let Some((step, rest)) = path.split_first() else {
            return Some(self);
        };
        let child = match (step, &self.value) {
            (Step::Key(key), Value::Table(entries)) => entries.get(key),
            (Step::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        };
        child?.get(rest)
    }

    /// The value at the end of a path.
    pub fn get_mut(&mut self, path: &[Step]) -> Option<&mut Self> {
        let Some((step, rest)) = path.split_first() else {
            return Some(self);
        };
        let child = match (step, &mut self.value) {
            (Step::Key(key), Value::Table(entries)) => entries.get_mut(key),
            (Step::Index(index), Value::List(items)) => items.get_mut(*index),
            _ => None,
        };
        child?.get_mut(rest)
    }

    /// Where to point for something about this value: its header for a table, else the value.
    fn pointed_at(&self) -> Option<&Place> {
        match self.value {
            Value::Table(_) => self.key.as_ref().or(self.place.as_ref()),
            _ => self.place.as_ref().or(self.key.as_ref()),
        }
    }

    /// Where to point for something about `path`: the deepest value on it that stands in a file.
    pub fn place_of(&self, path: &[Step]) -> Option<Place> {
        // The first line of the file says nothing about a setting deep in a section that is not
        // there.
        let shallowest = usize::from(path.len() > 1);
        (shallowest..=path.len())
            .rev()
            .filter_map(|depth| self.get(&path[..depth]))
            .find_map(Self::pointed_at)
            .cloned()
    }

    /// The value as plain TOML, with placeholders replaced or (`written`) as they were written.
    pub fn to_toml(&self, as_written: bool) -> toml::Value {
        match &self.value {
            Value::Text { text, written } => {
                let text = written.as_ref().filter(|_| as_written).unwrap_or(text);
                toml::Value::String(text.clone())
            }
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Bool(truth) => toml::Value::Boolean(*truth),
            Value::Datetime(text) => match text.parse() {
                Ok(datetime) => toml::Value::Datetime(datetime),
                Err(_) => toml::Value::String(text.clone()),
            },
            Value::List(items) => {
                toml::Value::Array(items.iter().map(|item| item.to_toml(as_written)).collect())
            }
            Value::Table(entries) => {
                let entry = |(key, node): (&String, &Self)| (key.clone(), node.to_toml(as_written));
                toml::Value::Table(entries.iter().map(entry).collect())
            }
        }
    }
}

impl From<&toml::Value> for Node {
    fn from(value: &toml::Value) -> Self {
        Self::new(match value {
            toml::Value::String(text) => Value::Text {
                text: text.clone(),
                written: None,
            },
            toml::Value::Integer(number) => Value::Integer(*number),
            toml::Value::Float(number) => Value::Float(*number),
            toml::Value::Boolean(truth) => Value::Bool(*truth),
            toml::Value::Datetime(datetime) => Value::Datetime(datetime.to_string()),
            toml::Value::Array(items) => Value::List(items.iter().map(Self::from).collect()),
            toml::Value::Table(entries) => {
                let entry = |(key, value): (&String, &toml::Value)| (key.clone(), value.into());
                Value::Table(entries.iter().map(entry).collect())
            }
        })
    }
}

/// All configuration files as one tree.
#[derive(Debug, Clone)]
pub struct Document {
    /// The tree.
    pub root: Node,
}

impl Document {
    /// A finding about `path`, pointing at the deepest part of it that stands in a file.
    pub fn finding(
        &self,
        severity: Severity,
        code: &'static str,
        path: &[Step],
        message: impl Into<String>,
    ) -> Diagnostic {
        let finding = Diagnostic {
            severity,
            ..Diagnostic::error(code, path_text(path), message)
        };
        match self.root.place_of(path) {
            Some((text, span)) => finding.at(&text, span),
            None => finding,
        }
    }

    /// A finding that refuses the configuration.
    pub fn error(
        &self,
        code: &'static str,
        path: &[&str],
        message: impl Into<String>,
    ) -> Diagnostic {
        self.finding(Severity::Error, code, &self.steps(path), message)
    }

    /// A finding that lets the configuration pass.
    pub fn warning(
        &self,
        code: &'static str,
        path: &[&str],
        message: impl Into<String>,
    ) -> Diagnostic {
        self.finding(Severity::Warning, code, &self.steps(path), message)
    }

    /// A path whose numbers are indices wherever they lead into a list.
    fn steps(&self, path: &[&str]) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for part in path {
            let inside = self.root.get(&steps).map(|node| &node.value);
            steps.push(match (inside, part.parse()) {
                (Some(Value::List(_)), Ok(index)) => Step::Index(index),
                _ => Step::from(*part),
            });
        }
        steps
    }

    /// The names in a section of named tables, such as `connection`, whether or not they are valid.
    pub fn names(&self, section: &str) -> Vec<&str> {
        let table = self.root.get(&[section.into()]).and_then(Node::table);
        table
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// Reads one file. Syntax errors are all reported; what could be read comes back too.
pub fn parse(text: &Arc<SourceText>, findings: &mut Diagnostics) -> Node {
    let (table, errors) = DeTable::parse_recoverable(&text.text);
    for error in errors {
        let finding = Diagnostic::error(codes::NOT_TOML, "", syntax_message(error.message()));
        let finding = match error.span() {
            Some(span) => finding.at(text, span),
            None => finding,
        };
        findings.push(match syntax_help(error.message()) {
            Some(help) => finding.help(help),
            None => finding,
        });
    }
    let span = table.span();
    let entries = convert_table(text, table.into_inner(), findings);
    Node {
        value: Value::Table(entries),
        place: Some((Arc::clone(text), span.start..span.start)),
        key: None,
    }
}

fn syntax_message(message: &str) -> String {
    format!("not valid TOML: {}", message.trim().replace('\n', ", "))
}

fn syntax_help(message: &str) -> Option<&'static str> {
    if message.contains("duplicate key") {
        return Some("the same key stands further up in the same table: keep one of them");
    }
    if message.contains("quoted") || message.contains("string") {
        return Some("write texts between double quotes: name = \"text\"");
    }
    None
}

fn convert_table(
    text: &Arc<SourceText>,
    table: DeTable<'_>,
    findings: &mut Diagnostics,
) -> BTreeMap<String, Node> {
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let key_place = (Arc::clone(text), key.span());
        let mut node = convert(text, value, findings);
        node.key = Some(key_place);
        entries.insert(key.into_inner().into_owned(), node);
    }
    entries
}

fn convert(
    text: &Arc<SourceText>,
    value: Spanned<DeValue<'_>>,
    findings: &mut Diagnostics,
) -> Node {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(string) => Value::Text {
            text: string.into_owned(),
            written: None,
        },
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.unwrap_or_else(|_| {
                findings.push(too_large(text, &span));
                0
            }))
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or_else(|_| {
            findings.push(too_large(text, &span));
            0.0
        })),
        DeValue::Boolean(truth) => Value::Bool(truth),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| convert(text, item, findings))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(text, table, findings)),
    };
    Node {
        value,
        place: Some((Arc::clone(text), span)),
        key: None,
    }
}

fn too_large(text: &Arc<SourceText>, span: &Range<usize>) -> Diagnostic {
    Diagnostic::error(codes::NOT_TOML, "", "this number does not fit in 64 bits")
        .at(text, span.clone())
}

/// Puts a further file into the tree. What stands in a section (`connection.north`,
/// `limits.drain_secs`) may stand in one file only.
pub fn merge(into: &mut Node, from: Node, findings: &mut Diagnostics) {
    let (Value::Table(into), Value::Table(from)) = (&mut into.value, from.value) else {
        return;
    };
    for (section, node) in from {
        let path = [Step::Key(section.clone())];
        let Some(present) = into.get_mut(&section) else {
            into.insert(section, node);
            continue;
        };
        match (&mut present.value, node.value) {
            (Value::Table(present), Value::Table(more)) => {
                for (key, node) in more {
                    match present.get(&key) {
                        Some(first) => {
                            let path = [path[0].clone(), Step::Key(key)];
                            findings.push(twice(&path, first, &node));
                        }
                        None => {
                            present.insert(key, node);
                        }
                    }
                }
            }
            // Each file may say which version it is written in, if they agree.
            (Value::Integer(first), Value::Integer(second)) if *first == second => {}
            (_, value) => {
                let second = Node { value, ..node };
                findings.push(twice(&path, present, &second));
            }
        }
    }
}

fn twice(path: &[Step], first: &Node, second: &Node) -> Diagnostic {
    let path = path_text(path);
    let message = format!("`{path}` is configured twice");
    let mut finding = Diagnostic::error(codes::TWICE, path, message);
    if let Some((text, span)) = &second.key {
        finding = finding.at(text, span.clone());
    }
    let Some((text, span)) = &first.key else {
        return finding;
    };
    let line = Diagnostic::error(codes::TWICE, "", "")
        .at(text, span.clone())
        .line()
        .unwrap_or(1);
    finding.help(format!(
        "it stands in {}:{line} too: keep one of them",
        text.path.display()
    ))
}
