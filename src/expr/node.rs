//! The compiled tree: names resolved, functions found, patterns built. What `eval.rs` walks.

use jiff::tz::TimeZone;
use regex::Regex;
use rust_decimal::RoundingStrategy;

use super::functions::Function;
use super::syntax::{Operator, Span};
use super::value::{Declared, Value};

/// One part of a compiled expression.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) enum Op {
    Literal(Value<'static>),
    Root(Box<str>, Declared),
    Field(Box<Node>, Box<str>, Declared),
    /// `list[2]`
    Element(Box<Node>, usize),
    /// `list[n]`, `map[key]`
    Index(Box<(Node, Node)>),
    List(Box<[Node]>),
    Map(Box<[(Box<str>, Node)]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Box<(Node, Node)>),
    Choice(Box<(Node, Node, Node)>),
    /// `has(path)`: the last step is a field or an index.
    Has(Box<Node>),
    /// `default(value, fallback)`
    Default(Box<(Node, Node)>),
    Lookup(Box<Lookup>),
    Call(Box<Call>),
}

/// `lookup(where, key[, fallback])`
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) place: LookupPlace,
    pub(super) key: Node,
    pub(super) fallback: Option<Node>,
}

/// Where to look a key up.
#[derive(Debug)]
pub(super) enum LookupPlace {
    /// A table of the environment, by name.
    Table(Box<str>),
    /// A map that the expression has at hand.
    Map(Node),
}

/// A call of a function of the table.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: &'static Function,
    pub(super) args: Box<[Node]>,
    /// What was made of literal arguments at load, by position; shorter when there are none.
    pub(super) prepared: Box<[Prepared]>,
}

/// A literal argument, checked and made ready at load.
#[derive(Debug, Default)]
pub(super) enum Prepared {
    /// An ordinary argument.
    #[default]
    Nothing,
    Pattern(Box<Regex>),
    /// A dotted path into the elements of a list, and what stands at its end.
    Path(Box<[Box<str>]>, Declared),
    Rounding(RoundingStrategy),
    /// A `strftime` format.
    TimeFormat(Box<str>),
    Zone(TimeZone),
    DecimalMark(char),
}
