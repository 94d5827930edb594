//! A proof of each day that is over, made once and kept.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};

use super::care::Caring;
use super::prove::Prover;
use crate::alert::{Kind, Severity};
use crate::engine::EngineError;
use crate::proof::{NumbersProof, Proof, RouteProof};
use crate::telemetry;

/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_mins(10);
/// Days that nobody proved, because no daemon ran, are caught up with so far back.
const CATCH_UP: i64 = 7;

/// Proves each day once it is over.
pub(super) async fn daily_loop(caring: Caring, prover: Prover) {
    // After a restart somebody still is to know.
    if let Ok(kept) = caring.engine.proofs().await
        && let Some((day, proof)) = kept.last()
        && let Ok(proof) = serde_json::from_value(proof.clone())
    {
        report(&caring, day, &proof);
    }
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
    report(caring, &day.to_string(), &proof);
    tell(&day.to_string(), &proof);
    let value = serde_json::to_value(&proof).unwrap_or_default();
    let keep = settings.keep_days;
    caring.engine.keep_proof(day.to_string(), value, keep).await
}

fn tell(day: &str, proof: &Proof) {
    let routes = || proof.routes.iter().chain(&proof.shipments);
    let count = |of: fn(&RouteProof) -> usize| routes().map(of).sum::<usize>();
    let numbers = |of: fn(&NumbersProof) -> usize| proof.numbers.iter().map(of).sum::<usize>();
    let told = telemetry::Proved {
        orders: proof.routes.iter().map(|it| it.source.count).sum(),
        shipments: proof.shipments.iter().map(|it| it.source.count).sum(),
        numbers: numbers(|it| it.compared),
        explained: count(|it| it.explained.values().sum())
            + numbers(|it| it.explained.values().sum()),
        unexplained: count(|it| it.unexplained.values().sum())
            + numbers(|it| it.unexplained.values().sum()),
        troubles: count(|it| usize::from(it.trouble.is_some()))
            + numbers(|it| usize::from(it.trouble.is_some())),
    };
    telemetry::proved(day, &told);
}

/// Has somebody told where the newest proof does not hold.
fn report(caring: &Caring, day: &str, proof: &Proof) {
    let text = format!(
        "orders or shipments of {day}, or the numbers and prices that channels showed after it, differ between \
         the systems for no known reason, or a system could not be asked: `crossdock prove --day {day}` tells which \
         and why"
    );
    let what = (!proof.holds()).then_some((Severity::Warning, text));
    caring.vitals.report(Kind::Unproven, "orders", what);
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
