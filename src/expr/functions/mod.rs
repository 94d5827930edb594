//! The functions of the language.
//!
//! `table.rs` is the one list of them: it drives the type check, evaluation, the suggestions for a
//! mistyped name and the generated documentation, and a test runs every example in it. What they do
//! stands in `text.rs`, `number.rs`, `time.rs` and `list.rs`. To add one: a row and a plain function.

use std::borrow::Cow;
use std::fmt::Write as _;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use super::fail::Cause;
use super::limits;
use super::node::Prepared;
use super::types::Type;
use super::value::{Items, Value};

mod list;
mod number;
mod table;
mod text;
mod time;

pub(super) use number::{divide, index_of};

/// One row of the table.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    /// How many of the parameters must be given.
    pub(super) required: usize,
    /// The last parameter may be given again and again.
    pub(super) repeats: bool,
    pub(super) gives: Gives,
    pub(super) run: Run,
    pub(super) doc: &'static str,
    /// An expression and what it gives, also as an expression.
    pub(super) example: (&'static str, &'static str),
}

/// One parameter.
#[derive(Debug)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
}

/// What a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Any,
    Text,
    Number,
    Timestamp,
    List,
    TextOrNumber,
    NumberOrList,
    TextListOrMap,
    /// A regular expression, written literally.
    Pattern,
    /// A dotted field path, written literally.
    Path,
    /// A rounding mode, written literally.
    Rounding,
    /// A date format, written literally.
    TimeFormat,
    /// A time zone, written literally.
    Zone,
    /// `"."` or `","`, written literally.
    DecimalMark,
}

impl Takes {
    /// In words, as in "must be …".
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Text => "string",
            Self::Number => "number",
            Self::Timestamp => "timestamp",
            Self::List => "list",
            Self::TextOrNumber => "string or number",
            Self::NumberOrList => "number or list",
            Self::TextListOrMap => "string, list or map",
            Self::Pattern => "a regular expression in quotes",
            Self::Path => "a field path in quotes",
            Self::Rounding => "a rounding mode in quotes",
            Self::TimeFormat => "a date format in quotes",
            Self::Zone => "a time zone in quotes",
            Self::DecimalMark => "'.' or ','",
        }
    }

    /// Whether the argument must be a text literal, made ready at load.
    pub(super) fn literal(self) -> bool {
        matches!(
            self,
            Self::Pattern
                | Self::Path
                | Self::Rounding
                | Self::TimeFormat
                | Self::Zone
                | Self::DecimalMark
        )
    }

    /// Whether a value of this type could be accepted.
    pub(super) fn accepts_type(self, of: &Type) -> bool {
        match of {
            Type::Dyn => true,
            Type::Null | Type::Bool => self == Self::Any,
            Type::Timestamp => matches!(self, Self::Any | Self::Timestamp),
            Type::Number => matches!(
                self,
                Self::Any | Self::Number | Self::TextOrNumber | Self::NumberOrList
            ),
            Type::String => {
                self.literal()
                    || matches!(
                        self,
                        Self::Any | Self::Text | Self::TextOrNumber | Self::TextListOrMap
                    )
            }
            Type::List(_) => matches!(
                self,
                Self::Any | Self::List | Self::NumberOrList | Self::TextListOrMap
            ),
            Type::Map(_) | Type::Record(_) => matches!(self, Self::Any | Self::TextListOrMap),
        }
    }

    /// Whether this value is accepted.
    pub(super) fn accepts(self, value: &Value<'_>) -> bool {
        let of = match value {
            Value::Null => return self == Self::Any,
            Value::Bool(_) => Type::Bool,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::Timestamp(_) => Type::Timestamp,
            Value::List(_) | Value::Json(serde_json::Value::Array(_)) => {
                return matches!(
                    self,
                    Self::Any | Self::List | Self::NumberOrList | Self::TextListOrMap
                );
            }
            Value::Map(_) | Value::Json(_) => {
                return matches!(self, Self::Any | Self::TextListOrMap);
            }
        };
        self.accepts_type(&of)
    }
}

/// The type of a function's result.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gives {
    Bool,
    Number,
    Text,
    Timestamp,
    TextList,
    /// Depends on the arguments.
    Of(fn(&[Type]) -> Type),
}

impl Gives {
    pub(super) fn for_args(self, args: &[Type]) -> Type {
        match self {
            Self::Bool => Type::Bool,
            Self::Number => Type::Number,
            Self::Text => Type::String,
            Self::Timestamp => Type::Timestamp,
            Self::TextList => Type::list(Type::String),
            Self::Of(compute) => compute(args),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Number => "number",
            Self::Text => "string",
            Self::Timestamp => "timestamp",
            Self::TextList => "list of string",
            Self::Of(_) => "depends on the arguments",
        }
    }
}

/// The work.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    /// A function of its evaluated arguments, whose kinds were checked against the parameters.
    Plain(for<'a> fn(&mut Args<'_, 'a>) -> Answer<'a>),
    /// Evaluates its arguments itself, in `eval.rs`: `has`, `default`, `lookup`.
    Special,
}

/// What a function gives.
pub(super) type Answer<'a> = Result<Value<'a>, Cause<'static>>;

/// The evaluated arguments of one call.
#[derive(Debug)]
pub(super) struct Args<'x, 'a> {
    pub(super) values: &'x mut [Value<'a>],
    pub(super) prepared: &'a [Prepared],
}

impl<'a> Args<'_, 'a> {
    /// How many there are.
    fn len(&self) -> usize {
        self.values.len()
    }

    /// Takes any argument; null when it was not given.
    fn value(&mut self, index: usize) -> Value<'a> {
        self.values
            .get_mut(index)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn text(&mut self, index: usize) -> Result<Cow<'a, str>, Cause<'static>> {
        match self.value(index) {
            Value::String(text) => Ok(text),
            other => Err(Cause::unexpected("string", &other)),
        }
    }

    fn number(&mut self, index: usize) -> Result<Decimal, Cause<'static>> {
        match self.value(index) {
            Value::Number(number) => Ok(number),
            other => Err(Cause::unexpected("number", &other)),
        }
    }

    fn list(&mut self, index: usize) -> Result<Items<'a>, Cause<'static>> {
        let value = self.value(index);
        let kind = value.kind();
        Items::of(value).ok_or(Cause::Expected {
            what: "list",
            found: kind,
        })
    }

    /// A whole number from 0 to `most`; `message` says so when it is not.
    fn whole(
        &mut self,
        index: usize,
        most: u32,
        message: &'static str,
    ) -> Result<u32, Cause<'static>> {
        let number = self.number(index)?;
        match number.to_u32() {
            Some(whole) if number.fract().is_zero() && whole <= most => Ok(whole),
            _ => Err(Cause::Value(message)),
        }
    }

    /// What a literal argument was made into.
    fn prepared(&self, index: usize) -> &'a Prepared {
        self.prepared.get(index).unwrap_or(&Prepared::Nothing)
    }
}

/// A text that is built piece by piece and never grows past the limit.
#[derive(Debug, Default)]
struct Built(String);

impl Built {
    fn push(&mut self, piece: &str) -> Result<(), Cause<'static>> {
        if self.0.len() + piece.len() > limits::TEXT_BYTES {
            return Err(Cause::TooLong);
        }
        self.0.push_str(piece);
        Ok(())
    }

    fn push_char(&mut self, c: char) -> Result<(), Cause<'static>> {
        self.push(c.encode_utf8(&mut [0; 4]))
    }

    fn value<'a>(self) -> Value<'a> {
        Value::text(self.0)
    }
}

/// A text that was built in one go and must not be longer than the limit.
fn bounded<'a>(text: String) -> Answer<'a> {
    if text.len() > limits::TEXT_BYTES {
        Err(Cause::TooLong)
    } else {
        Ok(Value::text(text))
    }
}

/// The function with this name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    table::FUNCTIONS
        .iter()
        .find(|function| function.name == name)
}

/// All functions in the order of the documentation.
pub(super) fn all() -> &'static [Function] {
    table::FUNCTIONS
}

impl Function {
    /// `round(x, digits[, mode])`
    pub(super) fn signature(&self) -> String {
        let mut text = format!("{}(", self.name);
        for (n, param) in self.params.iter().enumerate() {
            let open = if n < self.required { "" } else { "[" };
            let comma = if n == 0 { "" } else { ", " };
            let _ = write!(text, "{open}{comma}{}", param.name);
        }
        if self.repeats {
            text.push_str(", …");
        }
        text.push_str(&"]".repeat(self.params.len() - self.required));
        text.push(')');
        text
    }
}

/// The reference of all functions as a Markdown table, from the same list that evaluates them.
pub fn functions_markdown() -> String {
    let mut text =
        String::from("| function | gives | what it does | example |\n|---|---|---|---|\n");
    for function in all() {
        let (source, result) = function.example;
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | `{}` = `{}` |",
            cell(&function.signature()),
            function.gives.describe(),
            cell(function.doc),
            cell(source),
            cell(result),
        );
    }
    text
}
