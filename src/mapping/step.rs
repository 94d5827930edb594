//! What a rule does to a value between its source and its target, one step at a time.

use std::borrow::Cow;

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value as Json;

use super::path::Path;
use super::rule::{ARITHMETIC, BAD_VALUE, LOOKUP_UNMATCHED, Problem, TOO_LONG, View};
use super::settings::{Case, Kind, Unmatched};
use crate::expr::{Value, decimal};
use crate::record::Currency;

/// One thing that is done to a value.
#[derive(Debug)]
pub(super) enum Step {
    Trim,
    Case(Case),
    Lookup {
        table: String,
        unmatched: Unmatched,
        /// Whether a key may stand in a message: it is a SKU or the like, never personal data.
        tellable: bool,
    },
    Join(String),
    Convert(Kind, Option<CurrencyFrom>),
    Scale(Decimal),
    Round(Digits, RoundingStrategy),
    MaxLength {
        chars: usize,
        truncate: bool,
    },
}

/// Where the currency of an amount comes from.
#[derive(Debug)]
pub(super) enum CurrencyFrom {
    Code(Currency),
    Field(Path),
}

/// To how many digits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Digits {
    Count(u32),
    Currency,
}

impl Step {
    /// Does it. `default` is the rule's, for a value that is not in its table.
    pub(super) fn apply<'v>(
        &'v self,
        value: Value<'v>,
        view: View<'v>,
        default: Option<&'v Json>,
    ) -> Result<Value<'v>, Problem> {
        match self {
            Self::Trim => text(value, "trim").map(|text| {
                Value::String(match text {
                    Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
                    Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
                })
            }),
            Self::Case(Case::Upper) => Ok(text(value, "case")?.to_uppercase().into()),
            Self::Case(Case::Lower) => Ok(text(value, "case")?.to_lowercase().into()),
            Self::Lookup {
                table,
                unmatched,
                tellable,
            } => {
                let key = key(&value)?;
                match (
                    view.tables.get(table).and_then(|rows| rows.get(&*key)),
                    unmatched,
                ) {
                    (Some(found), _) => Ok(Value::Json(found)),
                    (None, Unmatched::Keep) => Ok(value),
                    (None, Unmatched::Default) => Ok(default.map_or(Value::Null, Value::Json)),
                    (None, Unmatched::Reject) => Err(unmatched_key(table, &key, *tellable)),
                }
            }
            Self::Join(separator) => join(&value, separator).map(Value::from),
            Self::Convert(kind, currency) => convert(value, *kind, currency.as_ref(), view),
            Self::Scale(factor) => on_number(&value, "scale", |number, _| {
                let product = number
                    .checked_mul(*factor)
                    .map(|product| product.normalize());
                product.ok_or_else(|| {
                    Problem::new(ARITHMETIC, "rule `scale`: the number is too large")
                })
            }),
            Self::Round(digits, strategy) => on_number(&value, "round", |number, currency| {
                let digits = match digits {
                    Digits::Count(digits) => *digits,
                    Digits::Currency => {
                        let text = "rule `round` to the currency needs money, and found a number";
                        currency
                            .ok_or_else(|| Problem::new(BAD_VALUE, text))?
                            .minor_digits()
                    }
                };
                Ok(number.round_dp_with_strategy(digits, *strategy))
            }),
            Self::MaxLength { chars, truncate } => max_length(value, *chars, *truncate),
        }
    }
}

fn text<'v>(value: Value<'v>, rule: &str) -> Result<Cow<'v, str>, Problem> {
    match value {
        Value::String(text) => Ok(text),
        Value::Json(Json::String(text)) => Ok(Cow::Borrowed(text)),
        other => Err(unexpected(rule, "text", &other)),
    }
}

fn unexpected(rule: &str, wanted: &str, found: &Value<'_>) -> Problem {
    let found = match found.kind() {
        "string" => "text",
        kind => kind,
    };
    Problem::new(
        BAD_VALUE,
        format!("rule `{rule}` needs {wanted}, and found {found}"),
    )
}

/// What to look up.
fn key<'v>(value: &'v Value<'_>) -> Result<Cow<'v, str>, Problem> {
    match (value.as_str(), value) {
        (Some(text), _) => Ok(Cow::Borrowed(text)),
        (None, Value::Bool(_) | Value::Json(Json::Bool(_))) => {
            Ok(Cow::Borrowed(if value.as_bool() == Some(true) {
                "true"
            } else {
                "false"
            }))
        }
        _ => match value.as_number() {
            Some(number) => Ok(Cow::Owned(number.normalize().to_string())),
            None => Err(unexpected("lookup", "text or a number", value)),
        },
    }
}

fn unmatched_key(table: &str, key: &str, tellable: bool) -> Problem {
    let key = if tellable && key.chars().count() <= 128 {
        format!("`{key}`")
    } else {
        format!("the value ({} characters)", key.chars().count())
    };
    let text = format!(
        "{key} is not in table `{table}`; add it there, or say what to do with `unmatched`"
    );
    Problem::new(LOOKUP_UNMATCHED, text)
}

fn join(value: &Value<'_>, separator: &str) -> Result<String, Problem> {
    let piece = |item: Value<'_>| match (item.as_str(), item.as_number()) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, Some(number)) => Ok(number.to_string()),
        (None, None) => Err(unexpected("join", "texts and numbers", &item)),
    };
    let pieces: Result<Vec<String>, Problem> = match value {
        Value::List(items) => items.iter().cloned().map(piece).collect(),
        Value::Json(Json::Array(items)) => items.iter().map(|item| piece(item.into())).collect(),
        other => Err(unexpected("join", "a list", other)),
    };
    Ok(pieces?.join(separator))
}

fn convert<'v>(
    value: Value<'v>,
    kind: Kind,
    currency: Option<&CurrencyFrom>,
    view: View<'_>,
) -> Result<Value<'v>, Problem> {
    let refused = |wanted: &str, value: &Value<'_>| unexpected("type", wanted, value);
    match kind {
        Kind::Text => match (value.as_str(), value.as_number(), value.as_bool()) {
            (Some(_), _, _) => Ok(value),
            (None, Some(number), _) => Ok(number.to_string().into()),
            (None, None, Some(truth)) => Ok(truth.to_string().into()),
            (None, None, None) => match value {
                Value::Timestamp(at) => Ok(at.to_string().into()),
                other => Err(refused("text, a number or a bool", &other)),
            },
        },
        Kind::Number => number_of(&value)
            .map(Value::Number)
            .ok_or_else(|| refused("a number", &value)),
        Kind::Bool => truth_of(&value)
            .map(Value::Bool)
            .ok_or_else(|| refused("yes or no", &value)),
        Kind::Timestamp => moment_of(&value).ok_or_else(|| refused("a moment", &value)),
        Kind::Money => money(&value, currency, view),
    }
}

/// A number, or text that is one.
fn number_of(value: &Value<'_>) -> Option<Decimal> {
    match value.as_str() {
        Some(text) => decimal(text.trim()),
        None => value.as_number(),
    }
}

fn truth_of(value: &Value<'_>) -> Option<bool> {
    if let Some(truth) = value.as_bool() {
        return Some(truth);
    }
    let text = match value.as_str() {
        Some(text) => text.trim().to_ascii_lowercase(),
        None => value.as_number()?.normalize().to_string(),
    };
    match text.as_str() {
        "true" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn moment_of<'v>(value: &Value<'_>) -> Option<Value<'v>> {
    if let Value::Timestamp(at) = value {
        return Some(Value::Timestamp(*at));
    }
    if let Some(text) = value.as_str() {
        return text.trim().parse().ok().map(Value::Timestamp);
    }
    let seconds = value
        .as_number()
        .filter(|seconds| seconds.fract().is_zero())?;
    let seconds = i64::try_from(seconds.trunc().mantissa()).ok()?;
    jiff::Timestamp::from_second(seconds)
        .ok()
        .map(Value::Timestamp)
}

/// An amount with its currency. What is money already must be of that currency.
fn money<'v>(
    value: &Value<'_>,
    currency: Option<&CurrencyFrom>,
    view: View<'_>,
) -> Result<Value<'v>, Problem> {
    let wanted = match currency {
        Some(CurrencyFrom::Code(currency)) => Some(*currency),
        Some(CurrencyFrom::Field(path)) => {
            let code = path.get(view.record).and_then(Json::as_str);
            let currency = code.and_then(|code| Currency::from_code(code).ok());
            let text = format!("rule `currency`: `{path}` holds no ISO 4217 code");
            Some(currency.ok_or_else(|| Problem::new(BAD_VALUE, text))?)
        }
        None => None,
    };
    if let Some((amount, found)) = parts_of(value) {
        if wanted.is_some_and(|wanted| wanted != found) {
            // Story 58: an amount of one currency booked as one of another.
            let text = "the amount is in another currency than `currency` says";
            return Err(Problem::new(BAD_VALUE, text));
        }
        return Ok(money_value(amount, found));
    }
    let amount = number_of(value).ok_or_else(|| unexpected("type", "an amount", value))?;
    let currency = wanted
        .ok_or_else(|| Problem::new(BAD_VALUE, "rule `type` needs the amount's `currency`"))?;
    Ok(money_value(amount, currency))
}

/// The amount and currency of money, wherever it lives.
fn parts_of(value: &Value<'_>) -> Option<(Decimal, Currency)> {
    let (amount, code) = match value {
        Value::Json(Json::Object(entries)) => {
            let amount = number_of(&Value::Json(entries.get("amount")?))?;
            (amount, entries.get("currency")?.as_str()?)
        }
        Value::Map(entries) => {
            let field = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, v)| v);
            (number_of(field("amount")?)?, field("currency")?.as_str()?)
        }
        _ => return None,
    };
    Some((amount, Currency::from_code(code).ok()?))
}

/// Money as a record holds it: the amount as text, so that it stays exact everywhere.
fn money_value<'v>(amount: Decimal, currency: Currency) -> Value<'v> {
    Value::Map(vec![
        (
            Cow::Borrowed("amount"),
            amount.normalize().to_string().into(),
        ),
        (Cow::Borrowed("currency"), Value::from(currency.code())),
    ])
}

/// Changes a number, or the amount of money.
fn on_number<'v>(
    value: &Value<'_>,
    rule: &str,
    change: impl Fn(Decimal, Option<Currency>) -> Result<Decimal, Problem>,
) -> Result<Value<'v>, Problem> {
    if let Some((amount, currency)) = parts_of(value) {
        return Ok(money_value(change(amount, Some(currency))?, currency));
    }
    let number = number_of(value).ok_or_else(|| unexpected(rule, "a number", value))?;
    change(number, None).map(Value::Number)
}

fn max_length(value: Value<'_>, chars: usize, truncate: bool) -> Result<Value<'_>, Problem> {
    let text = text(value, "max_length")?;
    // A text has at most as many characters as bytes, so that most are never counted.
    if text.len() <= chars {
        return Ok(Value::String(text));
    }
    let Some((end, _)) = text.char_indices().nth(chars) else {
        return Ok(Value::String(text));
    };
    if truncate {
        return Ok(Value::from(text[..end].to_owned()));
    }
    let length = text.chars().count();
    let message = format!("the text has {length} characters, the target takes {chars}");
    Err(Problem::new(TOO_LONG, message))
}
