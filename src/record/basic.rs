//! The small types that every record is made of.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

use crate::fault::Fault;

/// An optional field: not told, told to be empty, or a value. *Absent* never overwrites anything.
///
/// In JSON: the field is missing, `null`, or the value. Every field of this type carries
/// `#[serde(default, skip_serializing_if = "Presence::is_absent")]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Presence<T> {
    /// The source said nothing about it.
    #[default]
    Absent,
    /// The source said that it is empty.
    Null,
    /// The source gave a value.
    Value(T),
}

impl<T> Presence<T> {
    /// Whether the source said nothing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// This field after `newer` was told: absent changes nothing.
    #[must_use]
    pub fn updated(self, newer: Self) -> Self {
        if newer.is_absent() { self } else { newer }
    }
}

impl<T> From<T> for Presence<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}

impl<T: Serialize> Serialize for Presence<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Value(value) => serializer.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Presence<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// A stock keeping unit: at most 128 characters, NFC, trimmed; case and leading zeros kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Sku(Arc<str>);

impl Sku {
    /// The longest SKU, in characters.
    pub const MAX_CHARS: usize = 128;

    /// Normalises and checks a text.
    ///
    /// # Errors
    /// `Reject` when it is empty, too long or contains a control character.
    pub fn new(text: &str) -> Result<Self, Fault> {
        if Self::is_plain(text) {
            return Ok(Self(Arc::from(text)));
        }
        let text = text.trim();
        let normal: Cow<'_, str> = if text.is_ascii() {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.nfc().collect())
        };
        if normal.is_empty() {
            return Err(Fault::reject("empty_sku", "a SKU must not be empty"));
        }
        if normal.chars().count() > Self::MAX_CHARS {
            let max = Self::MAX_CHARS;
            return Err(Fault::reject(
                "sku_too_long",
                format!("a SKU has at most {max} characters"),
            ));
        }
        if normal.chars().any(char::is_control) {
            return Err(Fault::reject(
                "bad_sku",
                "a SKU must not contain control characters",
            ));
        }
        Ok(Self(Arc::from(normal)))
    }

    /// The same for a text that is shared already; nearly always it is fit as it is.
    ///
    /// # Errors
    /// As [`Sku::new`].
    pub fn from_shared(text: Arc<str>) -> Result<Self, Fault> {
        if Self::is_plain(&text) {
            Ok(Self(text))
        } else {
            Self::new(&text)
        }
    }

    /// Whether a text is a SKU as it is, without a closer look: nearly all are.
    fn is_plain(text: &str) -> bool {
        (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Sku {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A number here means that somebody lost leading zeros on the way: refuse it (story 47).
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(|fault| serde::de::Error::custom(fault.message))
    }
}

/// How much of something. Exact, at most 6 decimals; pieces unless the unit says otherwise.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Quantity(#[serde(with = "super::decimal")] pub Decimal);

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// A whole number of pieces.
    pub fn pieces(count: i64) -> Self {
        Self(Decimal::from(count))
    }

    /// The sum; `None` when it cannot be represented.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` when it cannot be represented.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Whether it is more than nothing.
    pub fn is_positive(self) -> bool {
        self.0 > Decimal::ZERO
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.normalize())
    }
}

impl FromStr for Quantity {
    type Err = rust_decimal::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Decimal::from_str_exact(text).map(Self)
    }
}

/// A rate in percent: 19 is 19 %.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Percent(#[serde(with = "super::decimal")] pub Decimal);

/// A thing as another system names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExtRef {
    /// On which connection; absent in a record that comes straight from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// What kind of id, such as `order`, `asin`, `buyer_po`.
    pub kind: String,
    /// The id. Always text.
    pub id: String,
    /// The number that people use, where it differs from the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Where a person can look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// Somebody lives there.
    Residential,
    /// A business.
    Commercial,
    /// A shop or locker that keeps the parcel.
    PickupPoint,
}

/// A postal address. Personal data, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// Who receives.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub name: Presence<String>,
    /// The company, if any.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub company: Presence<String>,
    /// Street and number.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub line1: Presence<String>,
    /// Second line.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub line2: Presence<String>,
    /// Third line.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub line3: Presence<String>,
    /// Town.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub city: Presence<String>,
    /// ISO 3166-2 part after the hyphen, or what the source writes.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub region: Presence<String>,
    /// Always text: `01067` is Dresden.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub postal_code: Presence<String>,
    /// ISO 3166-1 alpha-2, upper case.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub country: Presence<String>,
    /// E.164 where it could be read as that.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub phone: Presence<String>,
    /// E-mail.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub email: Presence<String>,
    /// VAT number or the like.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub tax_id: Presence<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub kind: Presence<AddressKind>,
    /// Which pickup point.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub pickup_point_id: Presence<String>,
}

/// A GTIN of 8, 12, 13 or 14 digits as GTIN-14, if its check digit is right.
///
/// GS1 General Specifications 7.9: weights 3 and 1 from the right, the sum with the check digit is a
/// multiple of ten.
pub fn gtin14(text: &str) -> Option<String> {
    let digits = text.trim();
    if !matches!(digits.len(), 8 | 12 | 13 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, b)| u32::from(b - b'0') * if place % 2 == 1 { 3 } else { 1 })
        .sum();
    sum.is_multiple_of(10).then(|| format!("{digits:0>14}"))
}
