//! What names mean: at load ([`Compiler`]) and at run time ([`Frame`]).

use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::text::{Expr, Text};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceText};
use crate::expr::{self, Env, EvalError, ExprError, Program, Reads, Scope, Template, Type, Value};

/// Tables of `[table.NAME]`, for `lookup('NAME', key)`.
pub(super) type Tables = Map<String, Json>;

/// Compiles what stands in one manifest and collects everything that is wrong with it.
#[derive(Debug)]
pub(super) struct Compiler {
    source: Arc<SourceText>,
    /// The names that are known everywhere: `settings`, `text` and the tables.
    pub(super) everywhere: Scope,
    /// Everything that is wrong so far.
    pub(super) findings: Diagnostics,
    /// The most cells that a request costs.
    pub(super) costliest: u32,
    /// What was read of the name `delivery` since this was emptied last.
    pub(super) of_delivery: Reads,
}

impl Compiler {
    pub(super) fn new(source: Arc<SourceText>) -> Self {
        Self {
            source,
            everywhere: Scope::new(),
            findings: Diagnostics::default(),
            costliest: 0,
            of_delivery: Reads::default(),
        }
    }

    /// Another one that knows the same names, for finding out what something means without noting it.
    pub(super) fn dry(&self) -> Self {
        Self {
            everywhere: self.everywhere.clone(),
            ..Self::new(Arc::clone(&self.source))
        }
    }

    /// The names known everywhere, and these.
    pub(super) fn scope(&self, roots: &[&str]) -> Scope {
        let base = self.everywhere.clone();
        roots
            .iter()
            .fold(base, |scope, root| scope.root(root, Type::Dyn))
    }

    /// A finding about a rule of the format.
    pub(super) fn error(
        &mut self,
        path: &str,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let mut finding = Diagnostic::error("X0705", path, message).at(&self.source, span);
        finding.help = help;
        self.findings.push(finding);
    }

    /// Compiles an expression; on a mistake, which is noted, something that is never evaluated.
    pub(super) fn expr(&mut self, expr: &Expr, scope: &Scope, path: &str) -> Program {
        self.program(expr.as_str(), expr.span(), scope, path)
    }

    /// The same, if there is one.
    pub(super) fn maybe(
        &mut self,
        expr: Option<&Expr>,
        scope: &Scope,
        path: &str,
    ) -> Option<Program> {
        expr.map(|expr| self.expr(expr, scope, path))
    }

    pub(super) fn program(
        &mut self,
        text: &str,
        span: Range<usize>,
        scope: &Scope,
        path: &str,
    ) -> Program {
        let program = expr::compile(text, scope).unwrap_or_else(|errors| {
            self.expr_errors(errors, text, &span, path);
            nothing()
        });
        program.reads("delivery", &mut self.of_delivery);
        program
    }

    /// Compiles a template; on a mistake, which is noted, an empty one.
    pub(super) fn template(&mut self, text: &Text, scope: &Scope, path: &str) -> Template {
        self.template_text(text.as_str(), text.span(), scope, path)
    }

    pub(super) fn template_text(
        &mut self,
        text: &str,
        span: Range<usize>,
        scope: &Scope,
        path: &str,
    ) -> Template {
        let template = Template::parse(text, scope).unwrap_or_else(|errors| {
            self.expr_errors(errors, text, &span, path);
            Template::parse("", scope)
                .unwrap_or_else(|_| unreachable!("an empty text is a template"))
        });
        template.reads("delivery", &mut self.of_delivery);
        template
    }

    /// Places in an expression become places in the file, where the text stands there unescaped.
    fn expr_errors(&mut self, errors: Vec<ExprError>, text: &str, span: &Range<usize>, path: &str) {
        let written = self.source.text.get(span.clone()).unwrap_or("");
        let begin = written.find(text).map(|at| span.start + at);
        for error in errors {
            let place = begin.map_or_else(
                || span.clone(),
                |begin| begin + error.span.start..begin + error.span.end,
            );
            let mut finding =
                Diagnostic::error("X0704", path, error.message).at(&self.source, place);
            finding.help = error.help;
            self.findings.push(finding);
        }
    }
}

/// A place-holder for an expression that did not compile; never evaluated.
fn nothing() -> Program {
    expr::compile("null", &Scope::new()).unwrap_or_else(|_| unreachable!("`null` is an expression"))
}

/// Names and their values, innermost first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    roots: &'a [(&'a str, &'a Json)],
    outer: Option<&'a Frame<'a>>,
    tables: Option<&'a Tables>,
    written: Option<Written<'a>>,
}

/// A name and its value as JSON text: it can be handed on in a body, and nothing else.
pub(super) type Written<'a> = (&'a str, &'a [u8]);

impl<'a> Frame<'a> {
    /// The outermost frame.
    pub(super) fn new(roots: &'a [(&'a str, &'a Json)], tables: &'a Tables) -> Self {
        Self {
            roots,
            outer: None,
            tables: Some(tables),
            written: None,
        }
    }

    /// This frame with more names, which hide those of the same name outside.
    pub(super) fn with(&'a self, roots: &'a [(&'a str, &'a Json)]) -> Frame<'a> {
        Frame {
            roots,
            outer: Some(self),
            tables: None,
            written: None,
        }
    }

    /// The same, with a name whose value is only handed on.
    pub(super) fn with_written(
        &'a self,
        roots: &'a [(&'a str, &'a Json)],
        written: Option<Written<'a>>,
    ) -> Frame<'a> {
        Frame {
            written,
            ..self.with(roots)
        }
    }

    /// The JSON text that a name stands for, if it is only handed on.
    pub(super) fn written(&self, name: &str) -> Option<&'a [u8]> {
        match self.written {
            Some((known, text)) if known == name => Some(text),
            _ => self.outer.and_then(|outer| outer.written(name)),
        }
    }
}

impl Env for Frame<'_> {
    fn root(&self, name: &str) -> Option<Value<'_>> {
        let here = self.roots.iter().find(|(known, _)| *known == name);
        match here {
            Some((_, value)) => Some(Value::Json(value)),
            None => self.outer.and_then(|outer| outer.root(name)),
        }
    }

    fn entry(&self, table: &str, key: &str) -> Option<Value<'_>> {
        match self.tables {
            Some(tables) => tables.get(table)?.get(key).map(Value::Json),
            None => self.outer.and_then(|outer| outer.entry(table, key)),
        }
    }
}

/// A value that could not be computed, and where. Never contains a value of a record (law D5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The field that was to be computed, such as `lines[2].sku`.
    pub(super) place: String,
    /// What happened.
    pub(super) message: String,
    /// Something needed is absent or null, which `optional` forgives.
    pub(super) missing: bool,
}

impl Trouble {
    pub(super) fn new(error: &EvalError) -> Self {
        Self {
            place: String::new(),
            message: error.message.clone(),
            missing: error.reason == expr::Reason::Missing,
        }
    }

    pub(super) fn told(message: impl Into<String>) -> Self {
        Self {
            place: String::new(),
            message: message.into(),
            missing: false,
        }
    }

    /// The same, one field further out.
    pub(super) fn within(mut self, outer: &str) -> Self {
        self.place = match self.place.as_str() {
            "" => outer.to_owned(),
            inner if inner.starts_with('[') => format!("{outer}{inner}"),
            inner => format!("{outer}.{inner}"),
        };
        self
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.place.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "`{}`: {}", self.place, self.message)
    }
}

/// A condition that is false where something it names is absent or of another kind: how rules about
/// replies are meant, which may come from a proxy and look like anything.
pub(super) fn holds(condition: &Program, frame: &Frame<'_>) -> Result<bool, Trouble> {
    match condition.eval_bool(frame) {
        Ok(truth) => Ok(truth),
        Err(error) if matches!(error.reason, expr::Reason::Missing | expr::Reason::Type) => {
            Ok(false)
        }
        Err(error) => Err(Trouble::new(&error)),
    }
}
