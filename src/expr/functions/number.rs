//! Functions on numbers and money. All arithmetic is checked; nothing rounds unless it says so.

use iso_currency::Currency;
use rust_decimal::prelude::ToPrimitive as _;
use rust_decimal::{Decimal, RoundingStrategy};

use super::{Answer, Args};
use crate::expr::fail::Cause;
use crate::expr::node::Prepared;
use crate::expr::value::{Items, Value, decimal};

/// What merchants call rounding: halves go away from zero. `rust_decimal` itself would round halves
/// to even.
pub(super) const HALF_UP: RoundingStrategy = RoundingStrategy::MidpointAwayFromZero;

const DIGITS: &str = "digits must be a whole number from 0 to 28";

pub(super) fn min<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    extreme(args, |candidate, best| candidate < best)
}

pub(super) fn max<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    extreme(args, |candidate, best| candidate > best)
}

/// The best of several numbers, or of the numbers in one list.
fn extreme<'a>(args: &mut Args<'_, 'a>, better: fn(Decimal, Decimal) -> bool) -> Answer<'a> {
    let first = args.value(0);
    let items = match (Items::of(first.clone()), args.len()) {
        (Some(items), 1) => items,
        (None, _) => {
            let rest = (1..args.len())
                .map(|index| args.value(index))
                .collect::<Vec<_>>();
            Items::Owned(std::iter::once(first).chain(rest).collect())
        }
        (Some(_), _) => return Err(Cause::Value("takes either numbers or one list of numbers")),
    };
    let mut best: Option<Decimal> = None;
    for (index, item) in items.into_iter().enumerate() {
        let Value::Number(number) = item? else {
            return Err(Cause::Element {
                index,
                what: "is not a number",
            });
        };
        if best.is_none_or(|best| better(number, best)) {
            best = Some(number);
        }
    }
    best.map(Value::Number)
        .ok_or(Cause::Value("the list is empty"))
}

pub(super) fn round<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let number = args.number(0)?;
    let digits = args.whole(1, 28, DIGITS)?;
    let strategy = match args.prepared(2) {
        Prepared::Rounding(strategy) => *strategy,
        _ => HALF_UP,
    };
    Ok(Value::Number(
        number.round_dp_with_strategy(digits, strategy),
    ))
}

pub(super) fn floor<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(Value::Number(args.number(0)?.floor()))
}

pub(super) fn ceil<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(Value::Number(args.number(0)?.ceil()))
}

pub(super) fn abs<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(Value::Number(args.number(0)?.abs()))
}

pub(super) fn format_number<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let number = args.number(0)?;
    let digits = args.whole(1, 28, DIGITS)?;
    let rounded = number.round_dp_with_strategy(digits, HALF_UP);
    Ok(Value::text(format!("{rounded:.*}", digits as usize)))
}

pub(super) fn number<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = match args.value(0) {
        Value::Number(number) => return Ok(Value::Number(number)),
        Value::String(text) => text,
        other => return Err(Cause::unexpected("string or number", &other)),
    };
    let parsed = match args.prepared(1) {
        Prepared::DecimalMark(mark) => plain_number(text.trim(), Some(*mark)),
        _ => plain_number(text.trim(), None),
    };
    let digits = parsed.ok_or(Cause::Value(
        "the text is not a number; number(x, ',') reads a decimal comma",
    ))?;
    decimal(&digits)
        .map(Value::Number)
        .ok_or(Cause::NumberTooLong)
}

/// The digits of a number as a person or another program wrote it, with a point as decimal mark.
///
/// Groups of thousands are read only when the decimal mark was named, because `1,234` is two
/// different numbers otherwise; and only when they are groups of three, so that a comma in the
/// wrong place is refused instead of dropped.
fn plain_number(text: &str, mark: Option<char>) -> Option<String> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = match unsigned.split_once(mark.unwrap_or('.')) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_some_and(|fraction| !digits(fraction)) {
        return None;
    }
    let separator = match mark {
        Some(mark) => whole.chars().find(|c| is_group_separator(*c, mark)),
        None => None,
    };
    let whole = match separator {
        None => whole.to_owned(),
        Some(separator) => {
            let groups: Vec<&str> = whole.split(separator).collect();
            let (first, rest) = groups.split_first()?;
            if first.len() > 3 || rest.iter().any(|group| group.len() != 3) {
                return None;
            }
            groups.concat()
        }
    };
    if !digits(&whole) {
        return None;
    }
    Some(match fraction {
        Some(fraction) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{whole}"),
    })
}

/// Spaces (also the two that do not break), the apostrophe, and whichever of point and comma is not
/// the decimal mark.
fn is_group_separator(c: char, mark: char) -> bool {
    matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\'' | '\u{2019}')
        || (matches!(c, '.' | ',') && c != mark)
}

pub(super) fn boolean<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let truth = match args.value(0) {
        Value::Bool(truth) => Some(truth),
        Value::Number(number) if number.is_zero() => Some(false),
        Value::Number(number) if number == Decimal::ONE => Some(true),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "1" | "on" => Some(true),
            "false" | "no" | "n" | "0" | "off" => Some(false),
            _ => None,
        },
        Value::Number(_) => None,
        other => return Err(Cause::unexpected("bool, string or number", &other)),
    };
    truth.map(Value::Bool).ok_or(Cause::Value(
        "is neither true nor false; known are true/false, yes/no, y/n, on/off, 1/0",
    ))
}

/// How many digits a currency has behind the point.
fn minor_digits(code: &str) -> Result<u32, Cause<'static>> {
    let currency = Currency::from_code(code).ok_or(Cause::Value(
        "unknown currency; expected an ISO 4217 code such as EUR",
    ))?;
    currency
        .exponent()
        .map(u32::from)
        .ok_or(Cause::Value("this currency has no minor unit"))
}

pub(super) fn minor_to_decimal<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let (minor, code) = (args.number(0)?, args.text(1)?);
    let digits = minor_digits(&code)?;
    if !minor.fract().is_zero() {
        return Err(Cause::Value(
            "an amount in minor units must be a whole number",
        ));
    }
    Decimal::try_from_i128_with_scale(minor.trunc().mantissa(), digits)
        .map(Value::Number)
        .map_err(|_| Cause::Overflow)
}

pub(super) fn decimal_to_minor<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let (amount, code) = (args.number(0)?, args.text(1)?);
    let factor = Decimal::from(10u64.pow(minor_digits(&code)?));
    let minor = amount.checked_mul(factor).ok_or(Cause::Overflow)?;
    if !minor.fract().is_zero() {
        return Err(Cause::Value(
            "the amount is finer than the currency's smallest unit; round it",
        ));
    }
    Ok(Value::Number(minor.trunc()))
}

pub(super) fn percent_of<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let (amount, rate) = (args.number(0)?, args.number(1)?);
    amount
        .checked_mul(rate)
        .and_then(|product| divide(product, Decimal::ONE_HUNDRED))
        .map(Value::Number)
        .ok_or(Cause::Overflow)
}

pub(super) fn net_of<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let (gross, rate) = (args.number(0)?, args.number(1)?);
    let whole = rate
        .checked_add(Decimal::ONE_HUNDRED)
        .ok_or(Cause::Overflow)?;
    if whole.is_zero() {
        return Err(Cause::DivisionByZero);
    }
    // Multiplied first: 119.00 at 19 % is then exactly 100.
    gross
        .checked_mul(Decimal::ONE_HUNDRED)
        .and_then(|product| divide(product, whole))
        .map(Value::Number)
        .ok_or(Cause::Overflow)
}

/// A quotient without the zeros at its end that `rust_decimal` adds at times: 3 / 2 is 1.5.
pub(in crate::expr) fn divide(a: Decimal, b: Decimal) -> Option<Decimal> {
    a.checked_div(b).map(|quotient| quotient.normalize())
}

/// A list index out of a number.
pub(in crate::expr) fn index_of(number: Decimal) -> Option<usize> {
    if number.fract().is_zero() {
        number.to_usize()
    } else {
        None
    }
}
