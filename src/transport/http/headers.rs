//! What standard headers say about time and quotas. Plain functions; nothing here decides anything.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::HttpReply;

/// The longest pause that a `retry-after` is believed: then one request asks again.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How long `retry-after` asks to wait: whole (or decimal) seconds, or a date (RFC 9110, 10.2.3).
///
/// A date is read against the reply's own `date`, or a clock that is wrong here or there would turn a
/// second into an hour. At most [`LONGEST_RETRY_AFTER`]; a date in the past is zero; what cannot be read
/// is as if absent.
pub fn retry_after(reply: &HttpReply) -> Option<Duration> {
    let text = reply.header("retry-after")?.trim();
    if let Some(wait) = seconds(text) {
        return Some(wait.min(LONGEST_RETRY_AFTER));
    }
    let until = http_date(text)?;
    let now = server_time(reply).unwrap_or(reply.received_at);
    Some(crate::clock::since(now, until).min(LONGEST_RETRY_AFTER))
}

/// The other side's clock when it sent the reply (`date`, whole seconds).
pub fn server_time(reply: &HttpReply) -> Option<Timestamp> {
    http_date(reply.header("date")?)
}

/// An HTTP date in any of its three forms (RFC 9110, 5.6.7).
pub fn http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(at);
    }
    rfc_850(text).or_else(|| {
        let civil = strtime::parse("%a %b %e %H:%M:%S %Y", text).ok()?;
        in_utc(civil.to_datetime().ok()?)
    })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`. The century is guessed as POSIX does: 69 to 99 are the 1900s.
fn rfc_850(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix("GMT")?.trim_end();
    let civil = strtime::parse("%A, %d-%b-%y %H:%M:%S", text).ok()?;
    in_utc(civil.to_datetime().ok()?)
}

fn in_utc(civil: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// What a reply says of a quota. Each part may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimit {
    /// Cells in a window.
    pub limit: Option<u64>,
    /// Cells left in the present window.
    pub remaining: Option<u64>,
    /// Until the present window ends.
    pub reset: Option<Duration>,
    /// How long a window is.
    pub window: Option<Duration>,
}

/// Reads the `ratelimit` headers of the IETF draft (draft-ietf-httpapi-ratelimit-headers) in the forms it
/// had over the years, with and without `x-` in front:
///
/// ```text
/// ratelimit: "default";r=50;t=30             and   ratelimit-policy: "default";q=100;w=60
/// ratelimit: limit=100, remaining=50, reset=30
/// ratelimit-limit: 100, 100;w=60             ratelimit-remaining: 50      ratelimit-reset: 30
/// ```
///
/// Of several policies the first with anything left to say counts. A `reset` beyond a year is taken for
/// a Unix time, as many platforms send it, and read against [`server_time`].
pub fn rate_limit(reply: &HttpReply) -> Option<RateLimit> {
    let find = |name: &str| {
        let prefixed = format!("x-{name}");
        reply.header(name).or_else(|| reply.header(&prefixed))
    };
    let mut found = RateLimit::default();
    if let Some(text) = find("ratelimit") {
        read_combined(text, &mut found);
    }
    if let Some(text) = find("ratelimit-policy") {
        read_combined(text, &mut found);
    }
    if let Some(text) = find("ratelimit-limit") {
        let (limit, parameters) = text.split_once([',', ';']).unwrap_or((text, ""));
        found.limit = found.limit.or_else(|| limit.trim().parse().ok());
        read_combined(parameters, &mut found);
    }
    if let Some(text) = find("ratelimit-remaining") {
        found.remaining = found.remaining.or_else(|| text.trim().parse().ok());
    }
    if let Some(text) = find("ratelimit-reset") {
        found.reset = found.reset.or_else(|| seconds(text));
    }
    let now = server_time(reply).unwrap_or(reply.received_at);
    found.reset = found.reset.map(|reset| since_unix(reset, now));
    (found != RateLimit::default()).then_some(found)
}

fn read_combined(text: &str, found: &mut RateLimit) {
    for part in text.split([',', ';']) {
        let Some((key, value)) = part.split_once('=') else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "limit" | "q" => found.limit = found.limit.or_else(|| value.parse().ok()),
            "remaining" | "r" => found.remaining = found.remaining.or_else(|| value.parse().ok()),
            "reset" | "t" => found.reset = found.reset.or_else(|| seconds(value)),
            "w" => found.window = found.window.or_else(|| seconds(value)),
            _ => {}
        }
    }
}

fn since_unix(reset: Duration, now: Timestamp) -> Duration {
    if reset < Duration::from_hours(366 * 24) {
        return reset;
    }
    let at = SignedDuration::try_from(reset)
        .ok()
        .and_then(|since_epoch| Timestamp::from_duration(since_epoch).ok());
    at.map_or(Duration::ZERO, |at| crate::clock::since(now, at))
}

/// Seconds without a sign; a fraction is taken too, as some platforms send it.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    if !text.starts_with(|first: char| first.is_ascii_digit())
        || !text.chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        return None;
    }
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Headers, and what is expected of them.
    type Case<T> = (&'static [(&'static str, &'static str)], T);

    fn reply(headers: &[(&str, &str)]) -> HttpReply {
        HttpReply {
            status: 429,
            headers: (headers.iter())
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Bytes::new(),
            received_at: "2026-11-22T10:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn an_http_date_has_three_forms() {
        let expect: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "  Sun, 06 Nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(http_date(text), Some(expect), "{text}");
        }
        for text in ["", "soon", "1994-11-06", "Sun, 31 Feb 1994 08:49:37 GMT"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let cases: &[Case<Option<f64>>] = &[
            (&[], None),
            (&[("retry-after", "7")], Some(7.0)),
            (&[("retry-after", " 1.5 ")], Some(1.5)),
            (&[("retry-after", "0")], Some(0.0)),
            (&[("retry-after", "86400")], Some(3600.0)),
            (&[("retry-after", "99999999999999999999999")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "inf")], None),
            (
                &[("retry-after", "Sun, 22 Nov 2026 10:00:30 GMT")],
                Some(30.0),
            ),
            (
                &[("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT")],
                Some(0.0),
            ),
            (
                &[("retry-after", "Mon, 23 Nov 2026 10:00:00 GMT")],
                Some(3600.0),
            ),
            // Their clock is ten minutes ahead of ours: their date is read against their date.
            (
                &[
                    ("retry-after", "Sun, 22 Nov 2026 10:10:05 GMT"),
                    ("date", "Sun, 22 Nov 2026 10:10:00 GMT"),
                ],
                Some(5.0),
            ),
        ];
        for (headers, expect) in cases {
            let expect = expect.map(Duration::from_secs_f64);
            assert_eq!(retry_after(&reply(headers)), expect, "{headers:?}");
        }
    }

    #[test]
    fn quota_headers_are_read_in_all_their_forms() {
        let full = RateLimit {
            limit: Some(100),
            remaining: Some(50),
            reset: Some(Duration::from_secs(30)),
            window: Some(Duration::from_mins(1)),
        };
        let without_window = RateLimit {
            window: None,
            ..full
        };
        let cases: &[Case<Option<RateLimit>>] = &[
            (&[("content-type", "text/html")], None),
            (
                &[
                    ("ratelimit", "\"default\";r=50;t=30"),
                    ("ratelimit-policy", "\"default\";q=100;w=60"),
                ],
                Some(full),
            ),
            (
                &[("ratelimit", "limit=100, remaining=50, reset=30")],
                Some(without_window),
            ),
            (
                &[
                    ("ratelimit-limit", "100, 100;w=60"),
                    ("ratelimit-remaining", "50"),
                    ("ratelimit-reset", "30"),
                ],
                Some(full),
            ),
            (
                &[
                    ("x-ratelimit-limit", "100"),
                    ("x-ratelimit-remaining", "50"),
                    ("x-ratelimit-reset", "1795341630"),
                    ("date", "Sun, 22 Nov 2026 10:00:00 GMT"),
                ],
                Some(without_window),
            ),
            (&[("ratelimit-remaining", "many")], None),
        ];
        for (headers, expect) in cases {
            assert_eq!(rate_limit(&reply(headers)), *expect, "{headers:?}");
        }
    }

    #[test]
    fn the_servers_clock_is_its_date() {
        let reply = reply(&[("date", "Sun, 22 Nov 2026 10:10:00 GMT")]);
        let expect: Timestamp = "2026-11-22T10:10:00Z".parse().unwrap();
        assert_eq!(server_time(&reply), Some(expect));
    }
}
