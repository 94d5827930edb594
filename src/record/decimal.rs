//! How decimals are written in JSON: as text, without trailing zeros, so that equal amounts have equal
//! fingerprints; read from text or from an exact JSON number.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::Number;

/// For `#[serde(with = "decimal")]`.
pub(super) fn serialize<S: Serializer>(value: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&value.normalize())
}

/// For `#[serde(with = "decimal")]`. Never goes through a float: `12.30` as a JSON number stays exact.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    deserializer.deserialize_any(Exact)
}

struct Exact;

impl<'de> Visitor<'de> for Exact {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        Decimal::from_str_exact(text)
            .or_else(|_| Decimal::from_scientific(text))
            .map_err(|_| E::custom("not a decimal number that can be held exactly"))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Decimal, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
        Ok(number.into())
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Decimal, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Decimal, E> {
        self.visit_str(&number.to_string())
    }

    /// Of a document, `serde_json` hands over a float only where it is written with the same digits.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Decimal, E> {
        self.visit_str(&number.to_string())
    }

    /// How `serde_json` hands over a number with all its digits.
    fn visit_map<A: MapAccess<'de>>(self, number: A) -> Result<Decimal, A::Error> {
        let number = Number::deserialize(MapAccessDeserializer::new(number));
        let number = number.map_err(|_| A::Error::custom("expected a decimal number"))?;
        self.visit_str(number.as_str())
    }
}
