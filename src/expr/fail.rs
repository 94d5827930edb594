//! What goes wrong while an expression is evaluated, and how it is told.
//!
//! Inside, a failure is only its cause and place, so that `default(order.note, "")` costs nothing
//! when there is no note; the sentence is made when it leaves the module. No sentence contains a
//! value out of a record, because values may be personal data: kinds, names and lengths only.

use std::fmt;
use std::ops::Range;

use super::limits;
use super::syntax::Span;
use super::value::Value;

/// Why a value could not be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalError {
    /// The bytes of the expression's source that it is about.
    pub span: Range<usize>,
    /// What kind of failure it is.
    pub reason: Reason,
    /// What happened, in one lower-case sentence without a full stop. Never contains a value.
    pub message: String,
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvalError {}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Something needed is absent or null. `default` catches this one.
    Missing,
    /// A value is of the wrong kind.
    Type,
    /// Overflow or division by zero.
    Arithmetic,
    /// A value is of the right kind but cannot be used: a text that is no number, an unknown currency.
    Value,
    /// A key is not in its table.
    Unmatched,
    /// A result is larger than any legitimate one.
    Limit,
}

impl Reason {
    /// A stable name for fault codes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Type => "type",
            Self::Arithmetic => "arithmetic",
            Self::Value => "value",
            Self::Unmatched => "lookup_unmatched",
            Self::Limit => "limit",
        }
    }
}

/// A cause with its place.
#[derive(Debug)]
pub(super) struct Fail<'a> {
    pub(super) cause: Cause<'a>,
    /// What to underline.
    pub(super) span: Span,
}

/// What went wrong, not yet in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cause<'a> {
    NoRoot {
        name: &'a str,
    },
    /// `object` is the place of what should have had the field.
    NoField {
        name: &'a str,
        object: Span,
    },
    NullObject {
        object: Span,
    },
    NoItem {
        index: Option<usize>,
        len: usize,
        list: Span,
    },
    /// The key was computed, so it may come out of the record.
    NoKey {
        object: Span,
    },
    BadIndex,
    Expected {
        what: &'static str,
        found: &'static str,
    },
    Argument {
        function: &'static str,
        param: &'static str,
        what: &'static str,
        found: &'static str,
    },
    Incomparable {
        left: &'static str,
        right: &'static str,
    },
    CannotAdd {
        left: &'static str,
        right: &'static str,
    },
    NullOperand,
    NumberTooLong,
    Overflow,
    DivisionByZero,
    Unmatched {
        table: Option<&'a str>,
    },
    TooLong,
    TooMany,
    Value(&'static str),
    /// An element of a list has the problem.
    Element {
        index: usize,
        what: &'static str,
    },
}

impl<'a> Cause<'a> {
    /// Something else than what was needed; null counts as missing.
    pub(super) fn unexpected(what: &'static str, found: &Value<'_>) -> Self {
        Self::Expected {
            what,
            found: found.kind(),
        }
    }

    /// Boxed, because the way of a value up the tree should not carry room for a failure.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "every caller returns it boxed"
    )]
    pub(super) fn at(self, span: Span) -> Box<Fail<'a>> {
        Box::new(Fail { cause: self, span })
    }

    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NoRoot { .. }
            | Self::NoField { .. }
            | Self::NullObject { .. }
            | Self::NoItem { .. }
            | Self::NoKey { .. }
            | Self::NullOperand
            | Self::Expected { found: "null", .. }
            | Self::Argument { found: "null", .. } => Reason::Missing,
            Self::Expected { .. }
            | Self::Argument { .. }
            | Self::Incomparable { .. }
            | Self::CannotAdd { .. } => Reason::Type,
            Self::Overflow | Self::DivisionByZero => Reason::Arithmetic,
            Self::NumberTooLong | Self::BadIndex | Self::Value(_) | Self::Element { .. } => {
                Reason::Value
            }
            Self::Unmatched { .. } => Reason::Unmatched,
            Self::TooLong | Self::TooMany => Reason::Limit,
        }
    }

    fn message(&self, source: &str) -> String {
        let text = |span: &Span| source.get(span.range()).unwrap_or("it");
        match self {
            Self::NoRoot { name } => format!("'{name}' has no value here"),
            Self::NoField { name, object } => format!("no field '{name}' in {}", text(object)),
            Self::NullObject { object } => format!("{} is null, so it has no fields", text(object)),
            Self::NoItem { index, len, list } => {
                let index = index.map_or(String::new(), |index| format!(" [{index}]"));
                format!("no element{index} in {}, which has {len}", text(list))
            }
            Self::NoKey { object } => format!("the key is not in {}", text(object)),
            Self::BadIndex => "a list index must be a whole number from 0".into(),
            Self::Expected { what, found } => format!("expected {what}, found {found}"),
            Self::Argument {
                function,
                param,
                what,
                found,
            } => {
                format!("argument '{param}' of {function}() must be {what}, not {found}")
            }
            Self::Incomparable { left, right } => format!("cannot compare {left} with {right}"),
            Self::CannotAdd { left, right } => format!("cannot add {left} and {right}"),
            Self::NullOperand => "one side is null; default(x, …) gives a value instead".into(),
            Self::NumberTooLong => {
                "a number has more than 28 digits; exact arithmetic cannot hold it, send it as text"
                    .into()
            }
            Self::Overflow => "the result has more than 28 digits before the point".into(),
            Self::DivisionByZero => "division by zero".into(),
            Self::Unmatched { table: Some(table) } => format!("the key is not in table '{table}'"),
            Self::Unmatched { table: None } => "the key is not in the map".into(),
            Self::TooLong => format!("the text would be longer than {} bytes", limits::TEXT_BYTES),
            Self::TooMany => format!("the list would have more than {} elements", limits::ITEMS),
            Self::Value(what) => (*what).into(),
            Self::Element { index, what } => format!("element [{index}] {what}"),
        }
    }
}

impl Fail<'_> {
    /// In words, for outside.
    pub(super) fn told(&self, source: &str) -> EvalError {
        EvalError {
            span: self.span.range(),
            reason: self.cause.reason(),
            message: self.cause.message(source),
        }
    }
}
