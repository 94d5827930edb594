//! Functions on moments and dates. There is no `now`: an expression gives the same today and tomorrow.

use jiff::civil;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use super::{Answer, Args, bounded};
use crate::expr::fail::Cause;
use crate::expr::node::Prepared;
use crate::expr::value::Value;

const NOT_A_DATE: &str = "the text is not a date in this format";
const NOT_A_TIME: &str = "the text is not a time in this format";

pub(super) fn date<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = args.text(0)?;
    let text = text.trim();
    let date = match args.prepared(1) {
        Prepared::TimeFormat(format) => civil::Date::strptime(&**format, text).ok(),
        _ => text.parse::<civil::Date>().ok(),
    };
    date.and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|midnight| Value::Timestamp(midnight.timestamp()))
        .ok_or(Cause::Value(NOT_A_DATE))
}

pub(super) fn timestamp<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = match args.value(0) {
        Value::Timestamp(at) => return Ok(Value::Timestamp(at)),
        Value::Number(seconds) => {
            return from_seconds(seconds)
                .map(Value::Timestamp)
                .ok_or(Cause::Value("the number of seconds is out of range"));
        }
        Value::String(text) => text,
        other => return Err(Cause::unexpected("string or number", &other)),
    };
    let text = text.trim();
    let zone = zone(args, 2);
    let at = match args.prepared(1) {
        Prepared::TimeFormat(format) => strtime::parse(&**format, text)
            .ok()
            .and_then(|parsed| moment(&parsed, &zone)),
        _ => text.parse::<Timestamp>().ok(),
    };
    at.map(Value::Timestamp).ok_or(Cause::Value(NOT_A_TIME))
}

/// A moment with its own offset, or a local time in the given zone.
fn moment(parsed: &strtime::BrokenDownTime, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(at) = parsed.to_timestamp() {
        return Some(at);
    }
    let local = parsed
        .to_datetime()
        .or_else(|_| parsed.to_date().map(civil::DateTime::from))
        .ok()?;
    zone.to_zoned(local).ok().map(|zoned| zoned.timestamp())
}

/// Seconds since 1970, with decimals down to the nanosecond.
fn from_seconds(seconds: Decimal) -> Option<Timestamp> {
    let nanos = seconds
        .checked_mul(Decimal::from(1_000_000_000))?
        .trunc()
        .to_i128()?;
    Timestamp::from_nanosecond(nanos).ok()
}

pub(super) fn format_date<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let at = match args.value(0) {
        Value::Timestamp(at) => at,
        other => return Err(Cause::unexpected("timestamp", &other)),
    };
    let zoned = at.to_zoned(zone(args, 2));
    match args.prepared(1) {
        Prepared::TimeFormat(format) => bounded(
            strtime::format(&**format, &zoned).map_err(|_| Cause::Value("cannot be written so"))?,
        ),
        _ => Err(Cause::Value("the format was not prepared")),
    }
}

fn zone(args: &Args<'_, '_>, index: usize) -> TimeZone {
    match args.prepared(index) {
        Prepared::Zone(zone) => zone.clone(),
        _ => TimeZone::UTC,
    }
}

pub(super) fn plus_seconds<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let at = match args.value(0) {
        Value::Timestamp(at) => at,
        other => return Err(Cause::unexpected("timestamp", &other)),
    };
    let seconds = args.number(1)?;
    let seconds = if seconds.fract().is_zero() {
        seconds.to_i64()
    } else {
        None
    };
    seconds
        .and_then(|seconds| at.checked_add(SignedDuration::from_secs(seconds)).ok())
        .map(Value::Timestamp)
        .ok_or(Cause::Value("not a whole number of seconds in range"))
}

pub(super) fn unix_seconds<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    match args.value(0) {
        Value::Timestamp(at) => Ok(Value::Number(Decimal::from(at.as_second()))),
        other => Err(Cause::unexpected("timestamp", &other)),
    }
}
