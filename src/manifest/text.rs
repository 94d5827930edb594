//! The small types that a manifest is written with. Each remembers where it stands in the file.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value as Json};
use toml::Spanned;

macro_rules! spanned_text {
    ($(#[$doc:meta])* $name:ident, $about:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub(super) Spanned<String>);

        impl $name {
            /// The text as written.
            pub fn as_str(&self) -> &str {
                self.0.get_ref()
            }

            /// The bytes of the manifest that it stands in.
            pub fn span(&self) -> std::ops::Range<usize> {
                self.0.span()
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $about })
            }
        }
    };
}

spanned_text! {
    /// A name that something else refers to.
    Name, "a name"
}
spanned_text! {
    /// An expression, such as `reply.json.data.orders.items`.
    Expr, "an expression"
}
spanned_text! {
    /// Text with `{expressions}` in it; nothing but one placeholder keeps that value's type.
    Text, "text with {expressions} in it"
}

/// A document with computed parts: a request's body, a record, something to remember.
///
/// A text in it is a template. A table with one of these keys computes instead of being a table:
/// - `{ expr = "…", optional = true }`: the value; with `optional` left out when absent or null.
/// - `{ each = "list", as = "line", index = "n", when = "…", key = "…", flat = true, value = … }`: one
///   element for each, whose number from 0 is `n`; with `key` a map, in which two elements with one key are a fault; with `flat` a value that
///   is a list is several elements.
/// - `{ let = { name = … }, value = … }`: the value, in which the names may be used. With a list of
///   tables, later ones may use the names of earlier ones.
/// - `{ when = "condition", value = …, else = … }`: left out when false and there is no `else`.
/// - `{ literal = … }`: exactly this, braces and keys included.
#[derive(Debug, Clone)]
pub struct Tree(pub(super) Spanned<Branch>);

/// One part of a [`Tree`].
#[derive(Debug, Clone)]
pub(super) enum Branch {
    Scalar(Json),
    Text(String),
    List(Vec<Tree>),
    Table(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<Branch>::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Branch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Branch, E> {
                Ok(Branch::Scalar(value.into()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Branch, E> {
                Ok(Branch::Scalar(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Branch, E> {
                let number = Number::from_f64(value)
                    .ok_or_else(|| E::custom("not a number that JSON has"))?;
                Ok(Branch::Scalar(Json::Number(number)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Branch, E> {
                Ok(Branch::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Branch, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Tree>()? {
                    items.push(item);
                }
                Ok(Branch::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Branch, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry::<String, Tree>()? {
                    entries.push(entry);
                }
                Ok(Branch::Table(entries))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl JsonSchema for Tree {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tree".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a document whose texts are templates; { expr }, { each, as, value }, \
                { when, value, else } and { literal } compute"
        })
    }
}
