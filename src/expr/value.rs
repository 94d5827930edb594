//! Values: what an expression reads, computes and gives.
//!
//! A value borrows from the document wherever it can: reading `order.lines[0].sku` copies nothing.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::fail::Cause;
use super::types::Type;

/// A value, borrowed from a document or computed.
#[derive(Debug, Clone, Default)]
pub enum Value<'a> {
    /// Known to be empty; different from a field that is absent.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An exact decimal with up to 28 digits.
    Number(Decimal),
    /// Text.
    String(Cow<'a, str>),
    /// A moment. In JSON it is written as RFC 3339 text.
    Timestamp(Timestamp),
    /// A computed list.
    List(Vec<Value<'a>>),
    /// A computed map, in the order in which it was written.
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
    /// Part of a document. Evaluation hands only lists and maps around like this; an [`Env`] may
    /// give any JSON value.
    ///
    /// [`Env`]: super::Env
    Json(&'a Json),
}

impl<'a> Value<'a> {
    /// What kind of value it is, in the words that messages use.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null | Self::Json(Json::Null) => "null",
            Self::Bool(_) | Self::Json(Json::Bool(_)) => "bool",
            Self::Number(_) | Self::Json(Json::Number(_)) => "number",
            Self::String(_) | Self::Json(Json::String(_)) => "string",
            Self::Timestamp(_) => "timestamp",
            Self::List(_) | Self::Json(Json::Array(_)) => "list",
            Self::Map(_) | Self::Json(Json::Object(_)) => "map",
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::Json(Json::Null))
    }

    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Json(Json::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) | Self::Json(Json::Bool(truth)) => Some(*truth),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Json(Json::Number(number)) => decimal(number.as_str()),
            _ => None,
        }
    }

    /// As JSON. Numbers keep their decimals (`19.90` stays `19.90`), a timestamp becomes text.
    pub fn into_json(self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(truth) => Json::Bool(truth),
            Self::Number(number) => json_number(number),
            Self::String(text) => Json::String(text.into_owned()),
            Self::Timestamp(at) => Json::String(at.to_string()),
            Self::List(items) => Json::Array(items.into_iter().map(Value::into_json).collect()),
            Self::Map(entries) => Json::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.into_owned(), value.into_json()))
                    .collect(),
            ),
            Self::Json(json) => json.clone(),
        }
    }

    /// The same value, borrowing nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(truth),
            Self::Number(number) => Value::Number(number),
            Self::String(text) => Value::String(Cow::Owned(text.into_owned())),
            Self::Timestamp(at) => Value::Timestamp(at),
            Self::List(items) => Value::List(items.into_iter().map(Value::into_owned).collect()),
            Self::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned()))
                    .collect(),
            ),
            Self::Json(json) => owned_json(json),
        }
    }

    /// The same value with a scalar out of a document made a value of its own; after this only
    /// lists and maps are `Json`.
    pub(super) fn settled(self) -> Result<Self, Cause<'static>> {
        match self {
            Self::Json(json) => from_document(json),
            value => Ok(value),
        }
    }

    /// A view of the same value that borrows instead of copying text.
    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Value::String(text) => Value::String(Cow::Borrowed(text)),
            Value::Json(json) => Value::Json(json),
            other => other.clone(),
        }
    }

    /// Text in the form that joins into a longer text: text itself, numbers plain, timestamps in
    /// RFC 3339.
    pub(super) fn into_text(self) -> Result<Cow<'a, str>, Cause<'static>> {
        match self {
            Self::String(text) => Ok(text),
            Self::Number(number) => Ok(Cow::Owned(number.to_string())),
            Self::Bool(true) => Ok(Cow::Borrowed("true")),
            Self::Bool(false) => Ok(Cow::Borrowed("false")),
            Self::Timestamp(at) => Ok(Cow::Owned(at.to_string())),
            other => Err(Cause::unexpected(
                "text, a number, a bool or a timestamp",
                &other,
            )),
        }
    }

    /// A text without an owner other than the program or the document.
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::String(text.into())
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        equal(self, other) == Ok(true)
    }
}

impl<'a> From<&'a Json> for Value<'a> {
    fn from(json: &'a Json) -> Self {
        Self::Json(json)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<Decimal> for Value<'_> {
    fn from(number: Decimal) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Decimal::from(number))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Timestamp(at)
    }
}

/// A list, wherever it lives.
#[derive(Debug)]
pub(super) enum Items<'a> {
    Owned(Vec<Value<'a>>),
    Document(&'a [Json]),
}

impl<'a> Items<'a> {
    /// The list that a value is, or nothing for any other kind.
    pub(super) fn of(value: Value<'a>) -> Option<Self> {
        match value {
            Value::List(items) => Some(Self::Owned(items)),
            Value::Json(Json::Array(items)) => Some(Self::Document(items)),
            _ => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Owned(items) => items.len(),
            Self::Document(items) => items.len(),
        }
    }

    /// One element.
    pub(super) fn take(self, index: usize) -> Option<Result<Value<'a>, Cause<'static>>> {
        match self {
            Self::Owned(mut items) => (index < items.len()).then(|| Ok(items.swap_remove(index))),
            Self::Document(items) => items.get(index).map(from_document),
        }
    }
}

impl<'a> IntoIterator for Items<'a> {
    type Item = Result<Value<'a>, Cause<'static>>;
    type IntoIter = ItemsIter<'a>;

    fn into_iter(self) -> ItemsIter<'a> {
        match self {
            Self::Owned(items) => ItemsIter::Owned(items.into_iter()),
            Self::Document(items) => ItemsIter::Document(items.iter()),
        }
    }
}

/// The elements of a list, one after the other.
#[derive(Debug)]
pub(super) enum ItemsIter<'a> {
    Owned(std::vec::IntoIter<Value<'a>>),
    Document(std::slice::Iter<'a, Json>),
}

impl<'a> Iterator for ItemsIter<'a> {
    type Item = Result<Value<'a>, Cause<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Owned(items) => items.next().map(Ok),
            Self::Document(items) => items.next().map(from_document),
        }
    }
}

/// The field of a map; `None` when it is absent. For what is not a map: an error.
pub(super) fn field<'a>(
    object: Value<'a>,
    name: &str,
) -> Result<Option<Value<'a>>, Cause<'static>> {
    match object {
        Value::Json(Json::Object(entries)) => entries.get(name).map(from_document).transpose(),
        Value::Map(entries) => Ok(entries
            .into_iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)),
        other => Err(Cause::unexpected("a map", &other)),
    }
}

/// A value of a document: scalars become values, lists and maps stay borrowed.
pub(super) fn from_document(json: &Json) -> Result<Value<'_>, Cause<'static>> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => {
            Value::Number(decimal(number.as_str()).ok_or(Cause::NumberTooLong)?)
        }
        Json::String(text) => Value::String(Cow::Borrowed(text)),
        Json::Array(_) | Json::Object(_) => Value::Json(json),
    })
}

/// Whether two values are the same. Null equals only null; a number never equals a text, and asking
/// is an error, because `"5" == 5` being quietly false is how rules stop matching.
pub(super) fn equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, Cause<'static>> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(true),
        (Value::Null, _) | (_, Value::Null) => Ok(left.is_null() && right.is_null()),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Number(a), Value::Number(b)) => Ok(a == b),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Timestamp(a), Value::Timestamp(b)) => Ok(a == b),
        (
            Value::Json(Json::Array(_)) | Value::List(_),
            Value::Json(Json::Array(_)) | Value::List(_),
        ) => lists_equal(left, right),
        (
            Value::Json(Json::Object(_)) | Value::Map(_),
            Value::Json(Json::Object(_)) | Value::Map(_),
        ) => maps_equal(left, right),
        (Value::Json(json), other) | (other, Value::Json(json))
            if !json.is_array() && !json.is_object() =>
        {
            equal(&from_document(json)?, other)
        }
        _ => Err(Cause::Incomparable {
            left: left.kind(),
            right: right.kind(),
        }),
    }
}

fn lists_equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, Cause<'static>> {
    let (Some(left), Some(right)) = (Items::of(left.clone()), Items::of(right.clone())) else {
        return Ok(false);
    };
    if left.len() != right.len() {
        return Ok(false);
    }
    for (a, b) in left.into_iter().zip(right) {
        if !equal(&a?, &b?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, Cause<'static>> {
    let left = entries(left)?;
    let right = entries(right)?;
    if left.len() != right.len() {
        return Ok(false);
    }
    for (key, value) in &left {
        match right.iter().find(|(other, _)| other == key) {
            Some((_, other)) if equal(value, other)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The entries of a map; nothing for any other kind.
pub(super) fn entries<'a>(
    value: &Value<'a>,
) -> Result<Vec<(Cow<'a, str>, Value<'a>)>, Cause<'static>> {
    match value {
        Value::Map(entries) => Ok(entries.clone()),
        Value::Json(Json::Object(entries)) => entries
            .iter()
            .map(|(key, value)| Ok((Cow::Borrowed(key.as_str()), from_document(value)?)))
            .collect(),
        _ => Ok(Vec::new()),
    }
}

/// Which of two values comes first. Text compares by its characters' code points.
pub(super) fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, Cause<'static>> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => Ok(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Ok(a.cmp(b)),
        (Value::Null, _) | (_, Value::Null) => Err(Cause::NullOperand),
        _ => Err(Cause::Incomparable {
            left: left.kind(),
            right: right.kind(),
        }),
    }
}

/// An exact decimal from the text of a JSON number; `None` when its digits do not fit, or when it is
/// none.
pub fn decimal(text: &str) -> Option<Decimal> {
    if let Some(short) = short_decimal(text) {
        return Some(short);
    }
    // The crate's own parser would take `1_000` too.
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".+-eE".contains(&byte))
    {
        return None;
    }
    let (digits, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let number = match Decimal::from_str_exact(digits) {
        Ok(number) => number,
        // Zeros at the end of a fraction carry no value and must not make a number too long.
        Err(_) if digits.contains('.') => {
            let short = digits.trim_end_matches('0').trim_end_matches('.');
            Decimal::from_str_exact(short).ok()?
        }
        Err(_) => return None,
    };
    let number = if exponent == 0 {
        number
    } else {
        scaled(number, exponent)?
    };
    Some(if number.is_zero() {
        number.abs()
    } else {
        number
    })
}

/// `number` times ten to the power of `exponent`, if that is exact.
fn scaled(number: Decimal, exponent: i32) -> Option<Decimal> {
    let number = number.normalize();
    if number.is_zero() {
        return Some(number);
    }
    let scale = i64::from(number.scale()) - i64::from(exponent);
    if let Ok(scale) = u32::try_from(scale) {
        return Decimal::try_from_i128_with_scale(number.mantissa(), scale).ok();
    }
    let power = u32::try_from(-scale).ok().filter(|power| *power <= 28)?;
    let mantissa = number.mantissa().checked_mul(10i128.checked_pow(power)?)?;
    Decimal::try_from_i128_with_scale(mantissa, 0).ok()
}

/// The usual case without the detours: up to 17 digits, perhaps a sign and a point.
fn short_decimal(text: &str) -> Option<Decimal> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let whole = digits.first().is_some_and(u8::is_ascii_digit)
        && digits.last().is_some_and(u8::is_ascii_digit);
    if !whole || digits.len() > 18 {
        return None;
    }
    let (mut mantissa, mut scale, mut point) = (0i64, 0u32, false);
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + i64::from(byte - b'0');
                scale += u32::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    let number = Decimal::new(mantissa, scale);
    Some(if negative && mantissa != 0 {
        -number
    } else {
        number
    })
}

/// A decimal as a JSON number, with exactly its decimals.
pub(super) fn json_number(number: Decimal) -> Json {
    if number.scale() == 0
        && let Ok(whole) = i64::try_from(number.mantissa())
    {
        return Json::Number(whole.into());
    }
    let text = number.to_string();
    // The text of a decimal is a JSON number; were it not, the text would still be the exact value.
    text.parse().map_or(Json::String(text), Json::Number)
}

/// What a field is declared to be, where a document may hold it as text.
///
/// Canonical records write decimals and moments as JSON text, so that no reader on the way makes
/// floats of them; an expression sees numbers and timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Declared {
    /// As it is.
    #[default]
    Anything,
    Number,
    Timestamp,
}

impl Declared {
    pub(super) fn of(declared: &Type) -> Self {
        match declared {
            Type::Number => Self::Number,
            Type::Timestamp => Self::Timestamp,
            _ => Self::Anything,
        }
    }

    /// The value as it is declared; only text is ever converted.
    pub(super) fn read(self, value: Value<'_>) -> Result<Value<'_>, Cause<'static>> {
        match (self, &value) {
            (Self::Number, Value::String(text)) => decimal(text).map(Value::Number).ok_or(
                Cause::Value("the field should hold a number, its text is none"),
            ),
            (Self::Timestamp, Value::String(text)) => text
                .parse()
                .map(Value::Timestamp)
                .map_err(|_| Cause::Value("the field should hold a moment, its text is none")),
            _ => Ok(value),
        }
    }
}

/// A document's value that borrows nothing. A number that does not fit stays as it was written.
fn owned_json(json: &Json) -> Value<'static> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => decimal(number.as_str()).map_or_else(
            || Value::String(Cow::Owned(number.to_string())),
            Value::Number,
        ),
        Json::String(text) => Value::String(Cow::Owned(text.clone())),
        Json::Array(items) => Value::List(items.iter().map(owned_json).collect()),
        Json::Object(entries) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| (Cow::Owned(key.clone()), owned_json(value)))
                .collect(),
        ),
    }
}
