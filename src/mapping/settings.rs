//! What a merchant writes in `[mapping.NAME]`.
//!
//! ```toml
//! [mapping.shop_to_erp]
//! drop = ["notes"]
//!
//! [[mapping.shop_to_erp.filter]]
//! name = "test_orders"
//! when = "order.test"
//!
//! [mapping.shop_to_erp.field]
//! buyer_po_number = "number"
//! "customer.name" = { from = "customer.name", trim = true, case = "upper" }
//! "lines[].sku" = { from = "lines[].sku", lookup = "sku_alias", unmatched = "keep" }
//! tags = { expr = "order.tags + ['web']" }
//!
//! [mapping.shop_to_erp.table.sku_alias]
//! "A-1" = "10001"
//!
//! [[mapping.shop_to_erp.test]]
//! name = "an alias is replaced"
//! input = { number = "17", lines = [{ sku = "A-1" }] }
//! expect = { buyer_po_number = "17", lines = [{ sku = "10001" }] }
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

/// One mapping: the record goes through as it is, except for what stands here.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MappingSettings {
    /// What happens to fields without a rule. Without it: `keep`, or `drop` when the route makes
    /// records of another stream.
    pub rest: Option<Rest>,
    /// Fields that are taken out: `notes`, `lines[].gift`.
    pub drop: Vec<String>,
    /// Which records go no further. They are counted under the rule's name.
    pub filter: Vec<FilterSettings>,
    /// Which records are wrong. They go to quarantine.
    pub reject: Vec<RejectSettings>,
    /// What each field of the target is made of: the path of a source field, or a rule.
    pub field: BTreeMap<String, FieldSettings>,
    /// Tables for `lookup`, each from key to value.
    pub table: BTreeMap<String, BTreeMap<String, Constant>>,
    /// Examples that are tried whenever the configuration is read.
    pub test: Vec<TestSettings>,
}

/// What happens to fields without a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// They stay as they are.
    Keep,
    /// They are left out.
    Drop,
}

/// A named rule that keeps records back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterSettings {
    /// What it is counted under.
    pub name: String,
    /// An expression: records for which it is true go no further.
    pub when: String,
}

/// A rule that refuses records.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectSettings {
    /// An expression: records for which it is true go to quarantine.
    pub when: String,
    /// Why, for the person who looks at the quarantine. Not an expression.
    pub message: String,
}

/// What a field is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldSettings {
    /// A copy of the field at this path.
    Copy(String),
    /// Made by a rule.
    Rule(Box<RuleSettings>),
}

/// How a field is made. In this order: the value (`from`, `expr` or `value`), `default`, `trim`,
/// `case`, `lookup`, `join`, `type`, `scale`, `round`, `max_length`, `reject_if`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSettings {
    /// Takes the value of this source field: `customer.name`, `lines[].sku`, `lines[0].sku`.
    pub from: Option<String>,
    /// Computes the value. `order` (or what the stream's records are called) is the source record;
    /// in a rule for `lines[].…`, `it` is the element.
    pub expr: Option<String>,
    /// Sets this value.
    pub value: Option<Constant>,
    /// For a target such as `lines[].sku`: the source list that it has an element for each of.
    /// Without it: the list in `from`, else the list of the same name.
    pub each: Option<String>,
    /// An expression: the rule applies only when it is true, otherwise the field stays as it is.
    pub when: Option<String>,
    /// The value when the source field is absent or null. Without it: absent stays absent, null null.
    pub default: Option<Constant>,
    /// Takes white space off both ends.
    pub trim: bool,
    /// Changes the case of letters.
    pub case: Option<Case>,
    /// Replaces the value by what stands under it in this table of the mapping.
    pub lookup: Option<String>,
    /// What becomes of a value that is not in the table. Without it: the record is rejected.
    pub unmatched: Option<Unmatched>,
    /// Joins a list of texts into one, with this between them.
    pub join: Option<String>,
    /// Converts the value.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// For `type = "money"`: an ISO 4217 code such as `EUR`, or the path of the source field that
    /// holds one. Without it: the record's own `currency`.
    pub currency: Option<String>,
    /// Multiplies a number, or the amount of money, by this.
    pub scale: Option<Constant>,
    /// Rounds to this many decimals, or, with `"currency"`, to the currency's smallest unit.
    pub round: Option<Digits>,
    /// How halves are rounded. Without it: `half_up`, away from zero.
    pub rounding: Option<RoundingMode>,
    /// The longest text that the target takes, in characters.
    pub max_length: Option<u32>,
    /// What becomes of a longer text. Without it: the record is rejected.
    pub on_too_long: Option<TooLong>,
    /// An expression: when it is true the record is rejected. `value` is the value made so far.
    pub reject_if: Option<String>,
    /// Why, for the person who looks at the quarantine.
    pub reject_message: Option<String>,
}

/// Upper or lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// `ABC`
    Upper,
    /// `abc`
    Lower,
}

/// What a value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text: a number as it is written, `true`, `false`, a moment in RFC 3339.
    Text,
    /// A number, of a text with a decimal point. For a decimal comma write
    /// `expr = "number(…, ',')"`.
    Number,
    /// `true/false`, of `yes/no`, `y/n`, `on/off`, `1/0` too.
    Bool,
    /// A moment, of a text in RFC 3339 or a number of seconds since 1970.
    Timestamp,
    /// An amount and its currency, of a number or a text with a decimal point.
    Money,
}

/// What becomes of a value that is not in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// The record goes to quarantine.
    #[default]
    Reject,
    /// The value stays as it is.
    Keep,
    /// The value becomes `default`.
    Default,
}

/// What becomes of a text that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// The record goes to quarantine.
    #[default]
    Reject,
    /// The end is cut off.
    Truncate,
}

/// How numbers are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoundingMode {
    /// Halves away from zero: what merchants call rounding.
    #[default]
    HalfUp,
    /// Halves to the even neighbour.
    HalfEven,
    /// Away from zero.
    Up,
    /// Towards zero.
    Down,
}

/// How many decimals stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    /// This many.
    Count(u32),
    /// As many as the currency has: 2 for EUR, 0 for JPY, 3 for KWD.
    Currency,
}

/// An example: what the mapping makes of one record.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestSettings {
    /// What it shows.
    pub name: String,
    /// The source record; only the fields that matter.
    pub input: Constant,
    /// Fields of the result. Others are not looked at.
    pub expect: Option<Constant>,
    /// Fields that the result must not have.
    pub absent: Vec<String>,
    /// The name of the filter that keeps it back.
    pub filtered: Option<String>,
    /// The code of the fault that it is rejected with, such as `lookup_unmatched`.
    pub rejected: Option<String>,
}

/// A value written in TOML.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Constant(pub Json);

/// TOML's numbers with decimals are binary ones. Up to 15 digits they are what was written.
const FLOAT_DIGITS: usize = 15;

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Json::deserialize(deserializer)?;
        if is_exact(&value) {
            return Ok(Self(value));
        }
        let message = "a number with more than 15 digits would not stay exact";
        Err(D::Error::custom(format!(
            "{message}\nwrite it as text, in quotes"
        )))
    }
}

fn is_exact(value: &Json) -> bool {
    match value {
        Json::Number(number) if number.as_i64().is_none() => {
            let text = number.as_str();
            text.bytes().filter(u8::is_ascii_digit).count() <= FLOAT_DIGITS
        }
        Json::Array(items) => items.iter().all(is_exact),
        Json::Object(entries) => entries.values().all(is_exact),
        _ => true,
    }
}

impl JsonSchema for Constant {
    fn schema_name() -> Cow<'static, str> {
        "Constant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "Any value." })
    }
}

impl<'de> Deserialize<'de> for FieldSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = FieldSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a source field, or a rule such as { expr = \"…\" }")
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<FieldSettings, E> {
                Ok(FieldSettings::Copy(path.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldSettings, A::Error> {
                let rule = RuleSettings::deserialize(MapAccessDeserializer::new(map))?;
                Ok(FieldSettings::Rule(Box::new(rule)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for FieldSettings {
    fn schema_name() -> Cow<'static, str> {
        "FieldSettings".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rule = generator.subschema_for::<RuleSettings>();
        json_schema!({ "anyOf": [{ "type": "string" }, rule] })
    }
}

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Digits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of decimals from 0 to 28, or \"currency\"")
            }

            fn visit_i64<E: Error>(self, digits: i64) -> Result<Digits, E> {
                match u32::try_from(digits) {
                    Ok(digits) if digits <= 28 => Ok(Digits::Count(digits)),
                    _ => Err(E::custom("a number has 0 to 28 decimals")),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Digits, E> {
                match text {
                    "currency" => Ok(Digits::Currency),
                    _ => Err(E::custom("only a number or \"currency\" is possible")),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Digits {
    fn schema_name() -> Cow<'static, str> {
        "Digits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": 28 },
                { "const": "currency" },
            ],
        })
    }
}
