//! Literal arguments that are made ready when the configuration loads: patterns, paths, formats.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use rust_decimal::RoundingStrategy;

use crate::diagnostic::did_you_mean;

use super::functions::Takes;
use super::limits;
use super::node::Prepared;
use super::value::Declared;

/// A message and advice.
type Refused = (String, Option<String>);

/// Makes a literal ready for its parameter, or says what is wrong with it.
pub(super) fn prepare(takes: Takes, text: &str) -> Result<Prepared, Refused> {
    match takes {
        Takes::Pattern => pattern(text),
        Takes::Path => field_path(text).map(|path| Prepared::Path(path, Declared::Anything)),
        Takes::Rounding => rounding(text).map(Prepared::Rounding),
        Takes::TimeFormat => time_format(text),
        Takes::Zone => zone(text),
        Takes::DecimalMark => match text {
            "." => Ok(Prepared::DecimalMark('.')),
            "," => Ok(Prepared::DecimalMark(',')),
            _ => Err(("a decimal mark is '.' or ','".into(), None)),
        },
        _ => Ok(Prepared::Nothing),
    }
}

fn pattern(text: &str) -> Result<Prepared, Refused> {
    let built = regex::RegexBuilder::new(text)
        .size_limit(limits::PATTERN_BYTES)
        .build();
    match built {
        Ok(pattern) => Ok(Prepared::Pattern(Box::new(pattern))),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(("the regular expression is too large".into(), None))
        }
        Err(error) => {
            // The last line of the crate's drawing says what is wrong; the caller draws its own.
            let text = error.to_string();
            let reason = text
                .lines()
                .last()
                .unwrap_or("")
                .trim_start_matches("error: ")
                .trim();
            let help = reason.contains("look-around").then(|| {
                "look-ahead, look-behind and back-references are not linear in time".into()
            });
            Err((format!("not a regular expression: {reason}"), help))
        }
    }
}

/// Splits `quantity.value`.
pub(super) fn field_path(text: &str) -> Result<Box<[Box<str>]>, Refused> {
    let steps: Box<[Box<str>]> = text.split('.').map(Box::from).collect();
    if steps
        .iter()
        .any(|step| step.is_empty() || step.contains(['[', ']']))
    {
        let help = Some("field names with dots between them: 'quantity.value'".into());
        return Err((format!("'{text}' is not a field path"), help));
    }
    Ok(steps)
}

/// The rounding mode with this name.
pub(super) fn rounding(text: &str) -> Result<RoundingStrategy, Refused> {
    Ok(match text {
        "half_up" => RoundingStrategy::MidpointAwayFromZero,
        "half_even" => RoundingStrategy::MidpointNearestEven,
        "up" => RoundingStrategy::AwayFromZero,
        "down" => RoundingStrategy::ToZero,
        _ => {
            let known = ["half_up", "half_even", "up", "down"];
            let help = match did_you_mean(text, known) {
                Some(known) => format!("did you mean '{known}'?"),
                None => format!("known: {}", known.join(", ")),
            };
            return Err((format!("unknown rounding mode '{text}'"), Some(help)));
        }
    })
}

fn time_format(text: &str) -> Result<Prepared, Refused> {
    // Writing any moment with it finds unknown letters now instead of with the first record.
    let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    let help = || Some("as in '%Y-%m-%d %H:%M:%S' or '%d.%m.%Y'".to_owned());
    if !text.contains('%') {
        return Err((format!("'{text}' is not a date format"), help()));
    }
    match strtime::format(text, &sample) {
        Ok(_) => Ok(Prepared::TimeFormat(text.into())),
        Err(_) => Err((format!("'{text}' is not a date format"), help())),
    }
}

fn zone(text: &str) -> Result<Prepared, Refused> {
    match TimeZone::get(text) {
        Ok(zone) => Ok(Prepared::Zone(zone)),
        Err(_) => Err((
            format!("unknown time zone '{text}'"),
            Some("as in 'Europe/Berlin'".into()),
        )),
    }
}
