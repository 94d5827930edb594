//! Templates: text with `{expressions}` in it.
//!
//! `{{` and `}}` are braces. A template that is nothing but one placeholder keeps its value's type,
//! so that `"{order.total}"` is a number; any other is text, and a list, a map, null or an absent
//! field in it is an error instead of a hole in a URL.

use super::check::check;
use super::fail::{Cause, EvalError};
use super::parse::parse_placeholder;
use super::syntax::Span;
use super::types::{Scope, Type};
use super::value::Value;
use super::{Env, ExprError, Program, limits, refuse_long};

/// A compiled template.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    /// Its program was compiled from the whole template's source, so that places agree.
    Value(Program),
}

impl Template {
    /// Compiles a template; reports everything that is wrong, in bytes of the template.
    pub fn parse(source: &str, scope: &Scope) -> Result<Self, Vec<ExprError>> {
        refuse_long(source)?;
        let (mut parts, mut errors) = (Vec::new(), Vec::new());
        let mut text = String::new();
        let mut at = 0;
        while let Some(c) = source.get(at..).and_then(|rest| rest.chars().next()) {
            let doubled = source.get(at + 1..).is_some_and(|rest| rest.starts_with(c));
            match c {
                '{' | '}' if doubled => {
                    text.push(c);
                    at += 2;
                }
                '}' => {
                    let help = Some("a brace in text is written twice: '}}'");
                    errors.push(ExprError::new(
                        Span::new(at, at + 1),
                        "a '}' without its '{'",
                        help,
                    ));
                    at += 1;
                }
                '{' => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    at = placeholder(source, at, scope, &mut parts, &mut errors);
                }
                c => {
                    text.push(c);
                    at += c.len_utf8();
                }
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if errors.is_empty() {
            Ok(Self { parts })
        } else {
            Err(errors)
        }
    }

    /// The value: of the placeholder's own type when the template is nothing else, otherwise text.
    pub fn eval<'a>(&'a self, env: &'a dyn Env) -> Result<Value<'a>, EvalError> {
        match self.parts.as_slice() {
            [] => Ok(Value::text("")),
            [Part::Text(text)] => Ok(Value::text(text.as_str())),
            [Part::Value(program)] => program.eval(env),
            _ => self.eval_text(env).map(Value::text),
        }
    }

    /// The value as text.
    pub fn eval_text(&self, env: &dyn Env) -> Result<String, EvalError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(piece) => text.push_str(piece),
                Part::Value(program) => {
                    let told = |cause: Cause<'_>| {
                        cause
                            .at(program.inner.node.span)
                            .told(&program.inner.source)
                    };
                    let piece = program.eval(env)?.into_text().map_err(told)?;
                    if text.len() + piece.len() > limits::TEXT_BYTES {
                        return Err(told(Cause::TooLong));
                    }
                    text.push_str(&piece);
                }
            }
        }
        Ok(text)
    }

    /// The text of a template without placeholders.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The expressions in it.
    pub(super) fn programs(&self) -> impl Iterator<Item = &Program> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(program) => Some(program),
        })
    }

    /// The expression, if it is nothing but one.
    pub(super) fn only_program(&self) -> Option<&Program> {
        match self.parts.as_slice() {
            [Part::Value(program)] => Some(program),
            _ => None,
        }
    }

    /// What type its value has, as far as that is known at load.
    pub fn result_type(&self) -> Type {
        match self.parts.as_slice() {
            [Part::Value(program)] => program.result_type().clone(),
            _ => Type::String,
        }
    }
}

/// Compiles the placeholder whose `{` stands at `open`; gives the byte to go on from.
fn placeholder(
    source: &str,
    open: usize,
    scope: &Scope,
    parts: &mut Vec<Part>,
    errors: &mut Vec<ExprError>,
) -> usize {
    let rest = source.get(open + 1..).unwrap_or("");
    if rest.trim_start().starts_with('}') {
        let end = open + 2 + (rest.len() - rest.trim_start().len());
        let help = Some("a brace in text is written twice: '{{'");
        errors.push(ExprError::new(
            Span::new(open, end),
            "an empty placeholder",
            help,
        ));
        return end;
    }
    match parse_placeholder(source, open + 1) {
        Ok((expr, end)) => {
            match check(&expr, scope) {
                Ok((node, of)) => parts.push(Part::Value(Program::new(source, node, of))),
                Err(found) => errors.extend(found),
            }
            end
        }
        Err(error) => {
            errors.push(error);
            // What follows the next closing brace is probably text again.
            rest.find('}')
                .map_or(source.len(), |close| open + 1 + close + 1)
        }
    }
}
