//! What is known before anything is evaluated: the type of a value, and the names in scope.

use std::fmt;
use std::sync::Arc;

/// The type of a value. Every value may also be null: a type says what it is when it is something.
///
/// A document may hold a declared [`Type::Number`] or [`Type::Timestamp`] as text, as canonical
/// records do; reading a declared root, field or field path converts it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Type {
    /// Not known before evaluation: part of a document without a declared shape.
    #[default]
    Dyn,
    /// Only null.
    Null,
    /// True or false.
    Bool,
    /// An exact decimal.
    Number,
    /// Text.
    String,
    /// A moment.
    Timestamp,
    /// A list of one type.
    List(Arc<Type>),
    /// A map with any keys and values of one type.
    Map(Arc<Type>),
    /// A map with declared fields; naming another is an error at load.
    Record(Arc<[(Box<str>, Type)]>),
}

impl Type {
    /// A list of `element`.
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map with values of `value`.
    pub fn map(value: Self) -> Self {
        Self::Map(Arc::new(value))
    }

    /// A record with these fields.
    pub fn record<'a>(fields: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Record(
            fields
                .into_iter()
                .map(|(name, of)| (Box::from(name), of))
                .collect(),
        )
    }

    /// The declared fields of a record; none for any other type.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Self)> {
        let fields = match self {
            Self::Record(fields) => &**fields,
            _ => &[],
        };
        fields.iter().map(|(name, of)| (&**name, of))
    }

    /// The type of a declared field, or of any value of a map.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(value) => Some(value),
            _ => self
                .fields()
                .find(|(known, _)| *known == name)
                .map(|(_, of)| of),
        }
    }

    /// The type of a list's elements.
    pub fn element_type(&self) -> Option<&Self> {
        match self {
            Self::List(element) => Some(element),
            _ => None,
        }
    }

    /// Whether nothing is known.
    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    /// Whether a value of this type can be a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_) | Self::Record(_))
    }

    /// The type of a list's elements, as far as it is known.
    pub(super) fn element(&self) -> Self {
        self.element_type().cloned().unwrap_or_default()
    }

    /// The type of either of two.
    pub fn either(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Null, known) | (known, Self::Null) => known.clone(),
            (a, b) if a == b => a.clone(),
            (Self::List(a), Self::List(b)) => Self::list(a.either(b)),
            _ => Self::Dyn,
        }
    }

    /// Whether values of the two could be equal at all.
    pub(super) fn comparable(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn | Self::Null, _) | (_, Self::Dyn | Self::Null) => true,
            (Self::List(a), Self::List(b)) => a.comparable(b),
            (a, b) => (a.is_map() && b.is_map()) || a == b,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("any value"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(element) if element.is_dyn() => f.write_str("list"),
            Self::List(element) => write!(f, "list of {element}"),
            Self::Map(_) => f.write_str("map"),
            Self::Record(_) => f.write_str("record"),
        }
    }
}

/// The names that an expression may use.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    roots: Vec<(Box<str>, Type)>,
    tables: Vec<Box<str>>,
}

impl Scope {
    /// An empty scope: only literals and functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same scope with one more name.
    #[must_use]
    pub fn root(mut self, name: &str, of: Type) -> Self {
        self.roots.push((name.into(), of));
        self
    }

    /// The same scope with one more table for `lookup`.
    #[must_use]
    pub fn table(mut self, name: &str) -> Self {
        self.tables.push(name.into());
        self
    }

    /// The type of a name.
    pub fn type_of(&self, name: &str) -> Option<&Type> {
        self.roots
            .iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, of)| of)
    }

    pub(super) fn has_table(&self, name: &str) -> bool {
        self.tables.iter().any(|known| **known == *name)
    }

    pub(super) fn root_names(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(|(name, _)| &**name)
    }

    pub(super) fn table_names(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|name| &**name)
    }
}
