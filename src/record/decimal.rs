//! How decimals are written in JSON: as text, without trailing zeros, so that equal amounts have equal
//! fingerprints; read from text or from an exact JSON number.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serializer, de::Error};
use serde_json::Value;

/// For `#[serde(with = "decimal")]`.
pub(super) fn serialize<S: Serializer>(value: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&value.normalize())
}

/// For `#[serde(with = "decimal")]`. Never goes through a float: `12.30` as a JSON number stays exact.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => return Err(D::Error::custom("expected a decimal number")),
    };
    Decimal::from_str_exact(&text)
        .or_else(|_| Decimal::from_scientific(&text))
        .map_err(|_| D::Error::custom("not a decimal number that can be held exactly"))
}
