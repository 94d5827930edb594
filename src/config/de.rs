//! Reads typed values out of a [`Node`], with errors that say where and why instead of a sentence.

use std::collections::btree_map;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserializer, forward_to_deserialize_any};

use super::tree::{Node, Step, Value};

/// Why a section is not of the type that it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// From the section to the value, outermost step last.
    reversed: Vec<Step>,
    /// The key is wrong, not the value.
    pub at_key: bool,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No such setting.
    UnknownKey(&'static [&'static str]),
    /// A setting that is needed is not there.
    Missing(&'static str),
    /// None of the possible values.
    UnknownChoice(&'static [&'static str]),
    /// Another type than expected. Both with their article.
    WrongType {
        /// What was needed.
        expected: String,
    },
    /// A number that the type cannot hold.
    OutOfRange,
    /// Anything else: what is wrong, and how to fix it.
    Other(String, Option<String>),
}

impl Trouble {
    fn new(problem: Problem) -> Self {
        Self {
            reversed: Vec::new(),
            at_key: false,
            problem,
        }
    }

    fn inside(mut self, step: Step) -> Self {
        self.reversed.push(step);
        self
    }

    /// From the section to the value.
    pub fn path(&self) -> Vec<Step> {
        self.reversed.iter().rev().cloned().collect()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for Trouble {}

/// Never keeps what was found: it may be a secret (story 55).
impl Error for Trouble {
    /// The message; what follows a line break is the advice.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        let (message, help) = match message.split_once('\n') {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (message, None),
        };
        Self::new(Problem::Other(message, help))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::WrongType {
            expected: expectation(&expected.to_string()),
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Signed(_) | Unexpected::Unsigned(_) => Self::new(Problem::OutOfRange),
            _ => Self::invalid_type(found, expected),
        }
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownChoice(known))
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey(known))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::Missing(field))
    }
}

/// Says in a merchant's words what serde expects.
fn expectation(expected: &str) -> String {
    let words = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a whole number",
        "f64" => "a number",
        "a string" | "path string" | "string or map" => "a text in quotes",
        "a sequence" => "a list in brackets",
        "a boolean" => "true or false",
        other if other == "a map" || other.starts_with("struct ") => "a table",
        other => other,
    };
    words.to_owned()
}

/// A [`Node`] to be read as a typed value.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a Node);

impl<'de, 'a: 'de> Deserializer<'de> for Reader<'a> {
    type Error = Trouble;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match &self.0.value {
            Value::Text { text, .. } | Value::Datetime(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Table(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                current: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        let Some(text) = self.0.as_str() else {
            return Err(Trouble::new(Problem::WrongType {
                expected: expectation("a string"),
            }));
        };
        let choice: StrDeserializer<'_, Trouble> = text.into_deserializer();
        choice.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
}

impl<'de, 'a: 'de> SeqAccess<'de> for Items<'a> {
    type Error = Trouble;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Trouble> {
        let Some(node) = self.items.get(self.next) else {
            return Ok(None);
        };
        let step = Step::Index(self.next);
        self.next += 1;
        seed.deserialize(Reader(node))
            .map(Some)
            .map_err(|trouble| trouble.inside(step))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Entries<'a> {
    entries: btree_map::Iter<'a, String, Node>,
    current: Option<(&'a String, &'a Node)>,
}

impl<'de, 'a: 'de> MapAccess<'de> for Entries<'a> {
    type Error = Trouble;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Trouble> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, Trouble> = key.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|trouble| Trouble {
            at_key: true,
            ..trouble.inside(Step::Key(key.clone()))
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Trouble> {
        let Some((key, node)) = self.current.take() else {
            return Err(Trouble::custom("a value was asked for before its key"));
        };
        seed.deserialize(Reader(node))
            .map_err(|trouble| trouble.inside(Step::Key(key.clone())))
    }
}
