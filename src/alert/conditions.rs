//! From facts to findings: one small function for each thing that somebody wants to know.
//!
//! Each gives findings that are firm (told once they last) or weak (what was told is not over yet): a value
//! must be well clear of its mark before it counts as well.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Finding, Kind, Severity, Silence};
use crate::clock::{earlier, later, since};

/// So many orders were expected and did not come: one silence in a thousand is as long as that.
const STRANGE: f64 = 6.9;
/// Below this a silence is not strange any more.
const USUAL: f64 = 3.0;
/// A stream that is not read to its end for so many times what it may be silent is behind.
const BEHIND: u32 = 4;
/// A credential that ends within so many days needs somebody now.
const ENDS_NOW_DAYS: i64 = 3;
/// How many of something are named.
const NAMED: usize = 5;

/// What fails, how often in a row, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Why, last.
    pub why: String,
    /// How often in a row.
    pub times: u32,
    /// Since when.
    pub since: Timestamp,
}

/// How one stream is read, or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// `north.orders`.
    pub subject: String,
    /// When it last went well, or how old what was read is where that is older (a file).
    pub last_success: Option<Timestamp>,
    /// When it was last read to its end.
    pub drained: Option<Timestamp>,
    /// It may be silent for so long.
    pub expected: Duration,
    /// What goes wrong, if anything does.
    pub failing: Option<Failing>,
    /// Nothing went well or wrong since the daemon started.
    pub untried: bool,
    /// It must rest, or its connection is paused: somebody is told of that instead.
    pub rests: bool,
}

impl StreamFacts {
    /// Whether it was silent for longer than it may be.
    pub fn is_silent(&self, now: Timestamp, started: Timestamp) -> bool {
        since(self.last_success.unwrap_or(started), now) > self.expected
    }
}

/// Streams that are read: silent, behind, failing; and all of them at once (story 64).
pub fn reading(
    now: Timestamp,
    started: Timestamp,
    streams: &[StreamFacts],
    patience: Duration,
) -> Vec<Finding> {
    let watched: Vec<&StreamFacts> = streams.iter().filter(|stream| !stream.rests).collect();
    let silent = |stream: &StreamFacts| stream.is_silent(now, started);
    let all = watched.len() > 1 && watched.iter().all(|stream| silent(stream));
    let mut found = Vec::new();
    if all {
        let last = watched.iter().filter_map(|stream| stream.last_success);
        let text = format!(
            "nothing is read from any of {} streams, {}: is the network of this machine well? \
             `crossdock status` shows what each one says",
            watched.len(),
            moment("last at", last.max())
        );
        let finding = Finding::new(Kind::AllSilent, "reading", Severity::Urgent, text);
        found.push(finding);
    }
    for stream in streams {
        let is_silent = silent(stream);
        found.extend(silence(stream, is_silent, all));
        found.extend(trouble(now, stream, is_silent, patience));
        found.extend(behind(now, stream));
    }
    found
}

fn silence(stream: &StreamFacts, is_silent: bool, all: bool) -> Option<Finding> {
    let subject = &stream.subject;
    let why = stream.failing.as_ref();
    let why = why.map_or("nothing went wrong, and nothing was read", |failing| {
        failing.why.as_str()
    });
    let text = format!(
        "{subject} is silent, {}, expected every {}: {why}; see `crossdock status`",
        moment("last read at", stream.last_success),
        human(stream.expected),
    );
    let finding = Finding::new(Kind::StreamSilent, subject, Severity::Urgent, text);
    match (is_silent, stream.rests || all) {
        (true, false) => Some(finding),
        (true, true) => Some(finding.weak()),
        // Never read: nobody knows yet.
        (false, _) if stream.last_success.is_none() => Some(finding.weak()),
        (false, _) => None,
    }
}

/// A stream that fails again and again; told as silence where it lasts for that long.
pub fn trouble(
    now: Timestamp,
    stream: &StreamFacts,
    is_silent: bool,
    patience: Duration,
) -> Option<Finding> {
    let subject = &stream.subject;
    let finding = |text| Finding::new(Kind::Trouble, subject, Severity::Warning, text);
    let Some(failing) = &stream.failing else {
        return stream.untried.then(|| finding(String::new()).weak());
    };
    let found = finding(format!(
        "{subject} fails since {:.0}: {}; see `crossdock status`",
        failing.since, failing.why
    ));
    let lasts = since(failing.since, now) >= patience;
    Some(if lasts && !is_silent && !stream.rests {
        found
    } else {
        found.weak()
    })
}

fn behind(now: Timestamp, stream: &StreamFacts) -> Option<Finding> {
    // A first reading of everything takes its time; what is silent is told as that.
    let drained = stream.drained?;
    let last = stream.last_success?;
    let late = since(drained, last);
    let mark = stream.expected.saturating_mul(BEHIND);
    if late <= mark / 2 || since(last, now) > stream.expected {
        return None;
    }
    let subject = &stream.subject;
    let text = format!(
        "{subject} is read but not to its end since {drained:.0}: more comes than is taken in; see \
         `crossdock status` and the connection's limits.requests_per_second"
    );
    let finding = Finding::new(Kind::StreamBehind, subject, Severity::Warning, text);
    Some(if late > mark { finding } else { finding.weak() })
}

/// A connection that is paused, and how it goes on (story 54).
pub fn paused(connection: &str, why: &str) -> Finding {
    let text = format!(
        "{connection} is paused, nothing is sent to it: {why}; mend its credentials or settings, \
         then `crossdock connection resume {connection}`"
    );
    Finding::new(Kind::Paused, connection, Severity::Urgent, text)
}

/// No orders for longer than is usual, or than somebody allows. Nothing is said of a stream that is not read:
/// that is told as such.
pub fn no_orders(
    now: Timestamp,
    subject: &str,
    silence: Silence,
    most: Option<Duration>,
    is_read: bool,
) -> Option<Finding> {
    let begun = silence.since;
    if most.is_some_and(|most| most.is_zero()) {
        return None; // nobody wants to know
    }
    let (firm, weak, why) = match (most, silence.expected) {
        (Some(most), _) => {
            let passed = since(begun, now);
            let why = format!("at most {} is usual (max_silence_secs)", human(most));
            (passed > most, false, why)
        }
        (None, Some(expected)) => {
            let why = "by its own weeks some would have come by now".to_owned();
            (expected >= STRANGE, expected >= USUAL, why)
        }
        (None, None) => return None,
    };
    if !firm && !weak && is_read {
        return None;
    }
    let text = format!(
        "no order on {subject} since {begun:.0}: {why}. It is read and answers; does the shop sell? Is the \
         payment provider well? Place an order, or set max_silence_secs of this stream"
    );
    let finding = Finding::new(Kind::NoOrders, subject, Severity::Urgent, text);
    Some(if firm && is_read {
        finding
    } else {
        finding.weak()
    })
}

/// The quarantine beside one of its bounds, told in `unit`: rows, MB, days of its oldest row.
pub fn quarantine_size(value: usize, (bound, unit): (usize, &str), share: f64) -> Option<Finding> {
    let mark = share_of(bound, share);
    let (subject, then) = match unit {
        "rows" => ("quarantine", "then streams are not read on"),
        "MB" => ("quarantine/bytes", "then streams are not read on"),
        _ => ("quarantine/age", "then the oldest is let go"),
    };
    let text = format!(
        "the quarantine is beyond {mark} {unit}, of {bound} that it may reach; {then}: `crossdock quarantine \
         list` shows what to mend, retry or dismiss"
    );
    let finding = Finding::new(Kind::QuarantineSize, subject, Severity::Warning, text);
    marked(value, mark, finding)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count, to be a mark"
)]
fn share_of(bound: usize, share: f64) -> usize {
    (bound as f64 * share) as usize
}

/// Firm above the mark, weak until a tenth below it.
fn marked(value: usize, mark: usize, finding: Finding) -> Option<Finding> {
    if value > mark {
        Some(finding)
    } else {
        (value > mark - mark / 10).then(|| finding.weak())
    }
}

/// Rows in quarantine for one reason: `north.orders/deliver/too_long`.
pub fn quarantined(group: &str) -> Finding {
    let place = group.split('/').next().unwrap_or(group);
    let text = format!(
        "something of {place} cannot succeed as it is ({group}) and stands in quarantine: `crossdock quarantine \
         list` says what and why; mend it and `crossdock quarantine retry --group {group}`"
    );
    Finding::new(Kind::Quarantine, group, Severity::Warning, text)
}

/// The oldest delivery of a stream that waits for nothing but its turn.
pub fn pending(
    now: Timestamp,
    subject: &str,
    oldest: Timestamp,
    most: Duration,
) -> Option<Finding> {
    let age = since(oldest, now);
    if age <= most / 2 {
        return None;
    }
    let text = format!(
        "a delivery to {subject} waits since {oldest:.0}, more than {}: `crossdock queue` says why",
        human(most)
    );
    let finding = Finding::new(Kind::Pending, subject, Severity::Warning, text);
    Some(if age > most { finding } else { finding.weak() })
}

/// A system whose clock differs from ours: by how much, if anybody knows yet.
pub fn clock(connection: &str, skew: Option<SignedDuration>, most: Duration) -> Option<Finding> {
    let finding = |text| Finding::new(Kind::Clock, connection, Severity::Warning, text);
    let Some(skew) = skew else {
        return Some(finding(String::new()).weak());
    };
    let size = Duration::from_secs(skew.as_secs().unsigned_abs());
    if size <= most / 2 {
        return None;
    }
    let direction = if skew.is_negative() {
        "behind"
    } else {
        "ahead of"
    };
    let found = finding(format!(
        "the clock of {connection} is more than {} {direction} ours: set the one that is wrong (is time \
         synchronised on this machine?); orders may be read late or twice until then",
        human(most)
    ));
    Some(if size > most { found } else { found.weak() })
}

/// The disk will be full soon: less than twice what must be free.
pub fn disk(place: &str, free: u64, min_free: u64) -> Option<Finding> {
    let mark = min_free.saturating_mul(2);
    let text = format!(
        "{place} has less than {} MB free; below {} MB (store.min_free_bytes) nothing more is read: make room",
        mark >> 20,
        min_free >> 20
    );
    let finding = Finding::new(Kind::DiskLow, "store", Severity::Warning, text);
    if free < mark {
        Some(finding)
    } else {
        (free < mark.saturating_add(mark / 10)).then(|| finding.weak())
    }
}

/// A store that is larger than somebody wants to know.
pub fn store_size(bytes: u64, most: u64) -> Option<Finding> {
    let text = format!(
        "the store is larger than {} MB (alert.store_max_bytes): shorten store.raw_ttl_secs and \
         store.journal_ttl_secs, or give it more room",
        most >> 20
    );
    let finding = Finding::new(Kind::StoreSize, "store", Severity::Warning, text);
    if bytes > most {
        Some(finding)
    } else {
        (bytes > most - most / 10).then(|| finding.weak())
    }
}

/// When a credential ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `north`, or `north/refresh_token` where a connection has several.
    pub subject: String,
    /// At this moment it is good no more.
    pub expires_at: Timestamp,
}

impl Credential {
    /// One of which only the last day is known: good until that day ends everywhere on Earth.
    pub fn until_day(subject: impl Into<String>, day: Date) -> Option<Self> {
        let next = day.tomorrow().ok()?;
        let expires_at = TimeZone::UTC.to_timestamp(next.to_datetime(jiff::civil::Time::MIN));
        Some(Self {
            subject: subject.into(),
            expires_at: expires_at.ok()?,
        })
    }
}

/// A credential that ends soon, or has ended. Also for tokens of which a platform tells when they end.
pub fn credential(now: Timestamp, known: &Credential, warn: Duration) -> Option<Finding> {
    let Credential {
        subject,
        expires_at,
    } = known;
    if earlier(*expires_at, warn) > now {
        return None;
    }
    let now_days = Duration::from_secs(ENDS_NOW_DAYS.unsigned_abs() * 86_400);
    let severity = if earlier(*expires_at, now_days) <= now {
        Severity::Urgent
    } else {
        Severity::Warning
    };
    let ends = if *expires_at <= now { "ended" } else { "ends" };
    let text = match subject.split_once('/') {
        // The platform tells until when; each use that gives a new one puts it off.
        Some((connection, _)) => format!(
            "the token of {connection} {ends} at {expires_at:.0}: authorise the application again over there, put \
             the new refresh token where the configuration takes it from, and reload"
        ),
        None => format!(
            "the credential of {subject} {ends} at {expires_at:.0}: make a new one over there, put it where the \
             configuration takes it from, set connection.{subject}.credential_expires, and reload"
        ),
    };
    Some(Finding::new(Kind::Credential, subject, severity, text))
}

/// Orders of one stream that are open and must leave by a moment, the earliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOrder {
    /// The number that people know it by.
    pub number: String,
    /// It must leave before this.
    pub ship_by: Timestamp,
}

/// Orders that must leave soon, or should have left, and have no parcel.
pub fn ship_by(now: Timestamp, subject: &str, open: &[OpenOrder], warn: Duration) -> Vec<Finding> {
    let (late, soon): (Vec<&OpenOrder>, Vec<&OpenOrder>) = open
        .iter()
        .filter(|order| order.ship_by < later(now, warn))
        .partition(|order| order.ship_by <= now);
    let told = |orders: &[&OpenOrder]| {
        let named = orders.iter().take(NAMED);
        let named: Vec<String> = named
            .map(|order| format!("{} (by {:.0})", order.number, order.ship_by))
            .collect();
        let rest = orders.len().saturating_sub(NAMED);
        let rest = match rest {
            0 => String::new(),
            rest => format!(", and {rest} more"),
        };
        named.join(", ") + &rest
    };
    let mut found = Vec::new();
    if !soon.is_empty() {
        let text = format!(
            "orders of {subject} must leave soon and nobody told of a parcel: {}; ship them, or see \
             `crossdock explain order NUMBER`",
            told(&soon)
        );
        let finding = Finding::new(Kind::ShipBy, subject, Severity::Warning, text);
        found.push(finding);
    }
    if !late.is_empty() {
        let text = format!(
            "orders of {subject} should have left and nobody told of a parcel: {}; ship them, or see \
             `crossdock explain order NUMBER` where they did",
            told(&late)
        );
        let finding = Finding::new(Kind::ShipByMissed, subject, Severity::Urgent, text);
        found.push(finding);
    }
    found
}

/// Things of a pool of which more is sold than there is, each with how many are missing.
pub fn oversold(pool: &str, missing: &[(String, String)]) -> Option<Finding> {
    let named = missing.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|(sku, pieces)| format!("{sku} ({pieces} missing)"))
        .collect();
    let rest = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        rest => format!(", and {rest} more"),
    };
    let text = format!(
        "more of pool {pool} is sold than there is: {}{rest}; some buyer must wait or be told: \
         `crossdock explain stock SKU` names the orders",
        named.join(", ")
    );
    let finding = Finding::new(Kind::Oversold, pool, Severity::Urgent, text);
    (!missing.is_empty()).then_some(finding)
}

/// Moments, not ages: a text must not change by itself.
fn moment(words: &str, at: Option<Timestamp>) -> String {
    match at {
        Some(at) => format!("{words} {at:.0}"),
        None => "never read since the daemon started".to_owned(),
    }
}

/// `90 s`, `15 min`, `26 h`, `14 days`.
pub fn human(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs / 60),
        7200..=172_799 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests;
