//! A proof of each day that is over, made once and kept.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};

use super::care::Caring;
use super::prove::Prover;
use crate::engine::EngineError;
use crate::proof::RouteProof;
use crate::telemetry;

/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_mins(10);
/// Days that nobody proved, because no daemon ran, are caught up with so far back.
const CATCH_UP: i64 = 7;

/// Proves each day once it is over.
pub(super) async fn daily_loop(caring: Caring, prover: Prover) {
    while !caring.rest(LOOK).await {
        if let Err(error) = look(&caring, &prover).await {
            tracing::error!(%error, "the day could not be proven");
        }
    }
}

async fn look(caring: &Caring, prover: &Prover) -> Result<(), EngineError> {
    let settings = caring.live.load().plan.prove;
    if !settings.daily {
        return Ok(());
    }
    let now = caring.clock.now().to_zoned(TimeZone::system());
    let kept = caring.engine.proofs().await?;
    let kept: BTreeSet<Date> = kept
        .iter()
        .filter_map(|(day, _)| day.parse().ok())
        .collect();
    // Before this store began nothing was ours to prove.
    let since = caring.engine.proven_since(now.date().to_string()).await?;
    let since = since.parse().unwrap_or(now.date());
    let Some(day) = due(&now, settings.at, since, &kept) else {
        return Ok(());
    };
    let Some((from, to)) = bounds(day) else {
        return Ok(());
    };
    let proof = prover.prove(from, to).await?;
    let count = |of: fn(&RouteProof) -> usize| proof.routes.iter().map(of).sum();
    telemetry::proved(
        &day.to_string(),
        count(|route| route.source.count),
        count(|route| route.explained.values().sum()),
        count(|route| route.unexplained.values().sum()),
        count(|route| usize::from(route.trouble.is_some())),
    );
    let value = serde_json::to_value(&proof).unwrap_or_default();
    let keep = settings.keep_days;
    caring.engine.keep_proof(day.to_string(), value, keep).await
}

/// The oldest day that is over and was not proven; `at` is when yesterday is over for everybody.
fn due(now: &Zoned, at: Time, since: Date, kept: &BTreeSet<Date>) -> Option<Date> {
    let today = now.date();
    let newest = if now.time() >= at { 1 } else { 2 };
    (newest..=CATCH_UP)
        .rev()
        .filter_map(|back| {
            today
                .checked_sub(SignedDuration::from_hours(24 * back))
                .ok()
        })
        .find(|day| *day >= since && !kept.contains(day))
}

/// From midnight to midnight, which is 23 or 25 hours on two days of the year.
fn bounds(day: Date) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
    let begin = |date: Date| date.to_zoned(TimeZone::system()).ok();
    let (from, to) = (begin(day)?, begin(day.tomorrow().ok()?)?);
    Some((from.timestamp(), to.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_day_that_is_over_comes_first() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        let at = Time::constant(4, 0, 0, 0);
        let check = |now: &str, since: &str, kept: &[&str], expect: Option<&str>| {
            let now: Zoned = format!("{now}[UTC]").parse().unwrap();
            let kept: BTreeSet<Date> = kept.iter().map(|day| date(day)).collect();
            assert_eq!(
                due(&now, at, date(since), &kept),
                expect.map(date),
                "{now} {since}"
            );
        };
        check("2026-11-22T03:59:00", "2026-11-21", &[], None);
        check("2026-11-22T04:00:00", "2026-11-21", &[], Some("2026-11-21"));
        check("2026-11-22T04:00:00", "2026-11-22", &[], None);
        check("2026-11-22T04:00:00", "2026-11-01", &[], Some("2026-11-15"));
        let most = [
            "2026-11-15",
            "2026-11-16",
            "2026-11-17",
            "2026-11-19",
            "2026-11-20",
        ];
        check(
            "2026-11-22T03:00:00",
            "2026-11-01",
            &most,
            Some("2026-11-18"),
        );
        check(
            "2026-11-22T23:00:00",
            "2026-11-20",
            &["2026-11-20", "2026-11-21"],
            None,
        );
    }

    #[test]
    fn a_day_follows_the_day_before() {
        let (from, to) = bounds("2026-10-25".parse().unwrap()).unwrap();
        let next = bounds("2026-10-26".parse().unwrap()).unwrap();
        assert_eq!(to, next.0);
        assert!(from < to);
    }
}
