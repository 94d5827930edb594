//! The expression language of mappings and manifests.
//!
//! The syntax of CEL without comprehensions: literals, paths (`order.lines[0].sku`), `+ - * / %`,
//! comparisons, `&& || !`, `? :`, `in`, `has()` and the functions of `functions/table.rs`, which may
//! also be called as methods: `order.number.trim()`. What makes it fit for money and stock:
//!
//! - **Exact.** Numbers are decimals. A document's number is never rounded when it is read; results
//!   are exact up to 28 digits and beyond that rounded half to even in the last one. Overflow and
//!   division by zero are errors.
//! - **Checked at load.** [`compile`] reports every mistake in meaning at once, with the bytes to
//!   underline and a suggestion. A syntax error is reported alone, because what follows is guesswork.
//! - **Bounded.** No loops, no clock, no I/O; sizes are limited by `limits.rs`.
//! - **Typed by the scope.** Canonical records write decimals and moments as JSON text; where the
//!   scope declares a field as number or timestamp, an expression reads one.
//! - **Strict.** An absent field is an error (ask with `has`, or give a `default`); so is comparing a
//!   text with a number, because a rule that is quietly false stops matching without a sign.
//! - **Discreet.** No message contains a value of a record (law D5).
//!
//! In the order of a source's way through it: `lex`, `parse` (to `syntax`), `check` (against `types`,
//! to `node`, with literals made ready by `prepare`), `eval` (of `value`s, with `functions`, failing
//! with `fail`). `template` is text with `{expressions}` in it.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Json;

mod check;
mod eval;
mod fail;
mod functions;
mod lex;
mod limits;
mod node;
mod parse;
mod prepare;
#[cfg(test)]
mod print;
#[cfg(test)]
mod props;
mod reads;
mod syntax;
mod template;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use fail::{EvalError, Reason};
pub use functions::functions_markdown;
pub use reads::Reads;
pub use template::Template;
pub use types::{Scope, Type};
pub use value::{Value, decimal};

use node::Node;
use syntax::Span;

/// What is wrong with an expression's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprError {
    /// The bytes of the source to underline.
    pub span: Range<usize>,
    /// What is wrong, in one lower-case sentence without a full stop.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

impl ExprError {
    fn new(span: Span, message: impl Into<String>, help: Option<&str>) -> Self {
        Self {
            span: span.range(),
            message: message.into(),
            help: help.map(str::to_owned),
        }
    }
}

/// An expression that can be evaluated.
#[derive(Debug, Clone)]
pub struct Program {
    /// Shared, so that a clone costs nothing.
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Box<str>,
    node: Node,
    of: Type,
}

/// Compiles an expression against the names it may use.
pub fn compile(source: &str, scope: &Scope) -> Result<Program, Vec<ExprError>> {
    refuse_long(source)?;
    let expr = parse::parse(source).map_err(|error| vec![error])?;
    let (node, of) = check::check(&expr, scope)?;
    Ok(Program::new(source, node, of))
}

/// Bounds a source before anything reads it.
fn refuse_long(source: &str) -> Result<(), Vec<ExprError>> {
    if source.len() <= limits::SOURCE_BYTES {
        return Ok(());
    }
    let message = format!("an expression longer than {} bytes", limits::SOURCE_BYTES);
    let span = Span::new(0, source.len());
    Err(vec![ExprError::new(
        span,
        message,
        Some("split it into several rules"),
    )])
}

impl Program {
    fn new(source: &str, node: Node, of: Type) -> Self {
        Self {
            inner: Arc::new(Inner {
                source: source.into(),
                node,
                of,
            }),
        }
    }

    /// The value, borrowed from the environment where it can be.
    pub fn eval<'a>(&'a self, env: &'a dyn Env) -> Result<Value<'a>, EvalError> {
        eval::eval(&self.inner.node, env).map_err(|fail| fail.told(&self.inner.source))
    }

    /// The value of a condition.
    pub fn eval_bool(&self, env: &dyn Env) -> Result<bool, EvalError> {
        let value = self.eval(env)?;
        value.as_bool().ok_or_else(|| {
            let cause = fail::Cause::unexpected("bool", &value);
            cause.at(self.inner.node.span).told(&self.inner.source)
        })
    }

    /// The source that it was compiled from.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// What type its value has, as far as that is known at load.
    pub fn result_type(&self) -> &Type {
        &self.inner.of
    }
}

/// Where the names of an expression get their values.
pub trait Env {
    /// The value of a name; `None` when it has none at this time.
    fn root(&self, name: &str) -> Option<Value<'_>>;

    /// What stands under a key in a table; `None` when the key is not in it.
    fn entry(&self, table: &str, key: &str) -> Option<Value<'_>> {
        let _ = (table, key);
        None
    }
}

/// An environment of a few names, by reference: nothing of a document is copied.
#[derive(Debug, Clone, Default)]
pub struct Vars<'a> {
    roots: Vec<(&'a str, Value<'a>)>,
    tables: Vec<(&'a str, &'a serde_json::Map<String, Json>)>,
}

impl<'a> Vars<'a> {
    /// Without any name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more name: a `&serde_json::Value`, a text, a number, …
    #[must_use]
    pub fn with(mut self, name: &'a str, value: impl Into<Value<'a>>) -> Self {
        self.roots.push((name, value.into()));
        self
    }

    /// The same with one more table for `lookup`.
    #[must_use]
    pub fn table(mut self, name: &'a str, entries: &'a serde_json::Map<String, Json>) -> Self {
        self.tables.push((name, entries));
        self
    }
}

impl Env for Vars<'_> {
    fn root(&self, name: &str) -> Option<Value<'_>> {
        self.roots
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.borrowed())
    }

    fn entry(&self, table: &str, key: &str) -> Option<Value<'_>> {
        let (_, entries) = self.tables.iter().find(|(known, _)| *known == table)?;
        entries.get(key).map(Value::Json)
    }
}
