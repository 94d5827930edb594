//! The laws of a sink.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::fixture::ExpectedOutcome;
use super::source::{LOGIN_REQUESTS, difference};
use super::{Bench, Played, Report, any_number, later};
use crate::connector::{Captured, Delivery, Outcome, StepLog};
use crate::fault::{Class, Effect};
use crate::transport::http::faulty::Trouble;
use crate::transport::http::replay::Exchange;

/// What one try brought.
struct Try {
    outcomes: Vec<Outcome>,
    log: StepLog,
}

/// Checks one case.
pub(super) async fn check(bench: &Bench<'_>, report: &mut Report) {
    let deliveries = match bench.case.deliveries() {
        Ok(deliveries) => deliveries,
        Err(fault) => return report.add("decodes", bench.name(""), Err(fault.to_string())),
    };
    let first = attempt(bench, bench.case.exchanges.clone(), None, &deliveries).await;
    let (first, played) = match first {
        Ok(first) => first,
        Err(why) => return report.add("D1", bench.name(""), Err(why)),
    };
    report.add(
        "D1",
        bench.name("each delivery has its outcome"),
        expected(bench, &first.outcomes),
    );
    report.add(
        "writes",
        bench.name("every request is sent"),
        all_sent(&played),
    );
    report.add(
        "D5",
        bench.name("messages are discreet"),
        discreet(bench, &first.outcomes),
    );
    let effects = Effects::of(bench);
    if !bench.case.again.is_empty() {
        let again = forgotten(bench, &deliveries).await;
        report.add("D2", bench.name("again, everything forgotten"), again);
    }
    if first
        .outcomes
        .iter()
        .all(|outcome| matches!(outcome, Outcome::Delivered(_)))
    {
        let resumed = resumed(bench, &effects, &deliveries, &first.log).await;
        report.add("D2", bench.name("again, everything remembered"), resumed);
    }
    let requests = played.faulty.count();
    spoil(bench, report, &effects, &deliveries, requests).await;
    later::check(bench, report, &deliveries, &first.outcomes).await;
}

/// Delivers once, over a fresh connection.
async fn attempt(
    bench: &Bench<'_>,
    exchanges: Vec<Exchange>,
    trouble: Option<(u64, Trouble)>,
    deliveries: &[Delivery],
) -> Result<(Try, Played), String> {
    let played = bench.play(exchanges, trouble)?;
    let log = StepLog::default();
    let sink = played
        .connection
        .sinks
        .get(&bench.case.stream)
        .ok_or("the stream has no sink")?;
    let outcomes = sink.deliver(deliveries, &log).await;
    if outcomes.len() != deliveries.len() {
        return Err(format!(
            "{} outcomes for {} deliveries",
            outcomes.len(),
            deliveries.len()
        ));
    }
    Ok((Try { outcomes, log }, played))
}

fn expected(bench: &Bench<'_>, outcomes: &[Outcome]) -> Result<(), String> {
    same_outcomes(&bench.case.outcomes, outcomes)
}

/// Whether what became of deliveries is what should.
///
/// # Errors
/// The first difference.
pub fn same_outcomes(expected: &[ExpectedOutcome], outcomes: &[Outcome]) -> Result<(), String> {
    for (n, (expected, found)) in expected.iter().zip(outcomes).enumerate() {
        match (expected, found) {
            (ExpectedOutcome::Delivered(wanted), Outcome::Delivered(found)) => {
                let json = |it| serde_json::to_value(it).unwrap_or(Json::Null);
                if let Some(difference) = difference(&json(wanted), &json(found), "") {
                    return Err(format!("delivery {n}: {difference}"));
                }
            }
            (
                ExpectedOutcome::Submitted { token: wanted, .. },
                Outcome::Submitted { token: found, .. },
            ) => {
                let json = |it| serde_json::to_value(it).unwrap_or(Json::Null);
                if let Some(difference) = difference(&json(wanted), &json(found), "token") {
                    return Err(format!("delivery {n}: {difference}"));
                }
            }
            (ExpectedOutcome::Failed { class, code }, Outcome::Failed(fault))
                if fault.class == *class && fault.code == *code => {}
            (_, Outcome::Failed(fault)) => return Err(format!("delivery {n}: {fault}")),
            (_, Outcome::Submitted { .. }) => {
                return Err(format!("delivery {n} was taken in and is not done"));
            }
            (ExpectedOutcome::Submitted { .. }, _) => {
                return Err(format!("delivery {n} is done at once"));
            }
            _ => return Err(format!("delivery {n} did not fail as it should")),
        }
    }
    if expected.len() != outcomes.len() {
        return Err("the fixture has another number of outcomes".to_owned());
    }
    Ok(())
}

fn all_sent(played: &Played) -> Result<(), String> {
    match played.replay.unused().first() {
        Some(request) => Err(format!("never sent: {request}")),
        None => Ok(()),
    }
}

fn discreet(bench: &Bench<'_>, outcomes: &[Outcome]) -> Result<(), String> {
    outcomes.iter().try_for_each(|outcome| match outcome {
        Outcome::Failed(fault) => bench.discreet(fault),
        _ => Ok(()),
    })
}

/// Which exchanges change something: those that are not asked again once everything is done.
struct Effects {
    numbers: BTreeSet<usize>,
}

impl Effects {
    fn of(bench: &Bench<'_>) -> Self {
        let again = &bench.case.again;
        let asked_again =
            |exchange: &Exchange| again.iter().any(|other| other.request == exchange.request);
        let all = bench.case.exchanges.iter().enumerate();
        let numbers = all
            .filter(|(_, exchange)| !again.is_empty() && !asked_again(exchange))
            .filter(|(n, _)| !bench.case.looks.contains(&(n + 1)))
            .map(|(n, _)| n)
            .collect();
        Self { numbers }
    }
}

/// Law D2: with everything forgotten, what is there is found and nothing is created.
async fn forgotten(bench: &Bench<'_>, deliveries: &[Delivery]) -> Result<(), String> {
    let (second, _) = attempt(bench, any_number(&bench.case.again), None, deliveries).await?;
    for (n, outcome) in second.outcomes.iter().enumerate() {
        match (outcome, bench.case.outcomes.get(n)) {
            (Outcome::Delivered(found), Some(ExpectedOutcome::Delivered(wanted)))
                if found.remote_id != wanted.remote_id =>
            {
                return Err(format!("delivery {n} is another thing now"));
            }
            (
                Outcome::Failed(fault),
                Some(ExpectedOutcome::Delivered(_) | ExpectedOutcome::Submitted { .. }),
            ) => {
                return Err(format!("delivery {n}: {fault}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// With everything remembered, no step that changes something is sent again.
async fn resumed(
    bench: &Bench<'_>,
    effects: &Effects,
    deliveries: &[Delivery],
    log: &StepLog,
) -> Result<(), String> {
    let steps = log.steps();
    let resumed: Vec<Delivery> = deliveries
        .iter()
        .map(|delivery| {
            let own = steps.iter().filter(|(id, ..)| *id == delivery.id);
            let captured: Captured = own
                .map(|(_, step, value)| (step.clone(), value.clone()))
                .collect();
            Delivery {
                captured,
                ..delivery.clone()
            }
        })
        .collect();
    let harmless = bench.case.exchanges.iter().enumerate();
    let mut exchanges: Vec<Exchange> = any_number(&bench.case.again);
    exchanges.extend(any_number(
        &harmless
            .filter(|(n, _)| !effects.numbers.contains(n))
            .map(|(_, exchange)| exchange.clone())
            .collect::<Vec<_>>(),
    ));
    let (again, _) = attempt(bench, exchanges, None, &resumed).await?;
    for outcome in &again.outcomes {
        if let Outcome::Failed(fault) = outcome {
            return Err(fault.to_string());
        }
    }
    Ok(())
}

/// What is done to each request in turn: what follows, and whether something may have happened.
pub(super) const TROUBLES: [(&str, Trouble, Class, bool); 6] = [
    (
        "429",
        Trouble::Throttled {
            retry_after_secs: None,
        },
        Class::Throttle,
        false,
    ),
    ("503", Trouble::Status(503), Class::Retry, true),
    ("a cut reply", Trouble::CutBody, Class::Retry, true),
    ("an HTML page", Trouble::WrongBody, Class::Retry, true),
    ("a lost reply", Trouble::TimeoutAfter, Class::Retry, true),
    (
        "a refused connection",
        Trouble::Refused,
        Class::Retry,
        false,
    ),
];

/// Laws D3 and D4: what follows from each trouble, and whether something may have happened.
async fn spoil(
    bench: &Bench<'_>,
    report: &mut Report,
    effects: &Effects,
    deliveries: &[Delivery],
    requests: u64,
) {
    let exchanges = &bench.case.exchanges;
    for nth in 1..=requests {
        let number = usize::try_from(nth).unwrap_or(usize::MAX) - 1;
        let changes_something = effects.numbers.contains(&number);
        let answer = exchanges.get(number).map(|exchange| &exchange.response);
        for (name, trouble, class, unknown) in &TROUBLES {
            if *trouble == Trouble::CutBody && answer.is_some_and(|it| it.body.is_null()) {
                // Of nothing, nothing can be cut.
                continue;
            }
            let name = bench.name(&format!("{name} at request {nth}"));
            let wanted = match (changes_something && *unknown, effects.numbers.is_empty()) {
                (true, _) => Some(Effect::Unknown),
                // Without a second run nobody knows which requests change something.
                (false, true) if *unknown => None,
                (false, _) => Some(Effect::None),
            };
            let trouble = Some((nth, trouble.clone()));
            let spoiled = attempt(bench, exchanges.clone(), trouble, deliveries).await;
            let result = spoiled.and_then(|(spoiled, _)| {
                told(
                    bench,
                    (&bench.case.outcomes, &spoiled.outcomes),
                    *class,
                    wanted,
                )
            });
            report.add("D3", name, result);
        }
        if let Some(expired) = &bench.troubles.expired
            && nth > 1
        {
            let trouble = Trouble::LoginExpired {
                status: expired.status,
                body: expired.text(),
            };
            let name = bench.name(&format!("an expired login at request {nth}"));
            let all = reads_any_number(exchanges, effects);
            let healed = attempt(bench, all, Some((nth, trouble)), deliveries).await;
            let result = healed.and_then(|(healed, _)| match healed.outcomes.first() {
                Some(Outcome::Failed(fault))
                    if nth <= LOGIN_REQUESTS && fault.class == Class::Auth =>
                {
                    Ok(())
                }
                _ => expected(bench, &healed.outcomes),
            });
            report.add("auth", name, result);
        }
    }
}

/// At least one delivery failed, and each failure that the trouble made is told for what it is.
pub(super) fn told(
    bench: &Bench<'_>,
    (expected, outcomes): (&[ExpectedOutcome], &[Outcome]),
    class: Class,
    effect: Option<Effect>,
) -> Result<(), String> {
    let failed_anyway = |n: usize| matches!(expected.get(n), Some(ExpectedOutcome::Failed { .. }));
    let mut found = false;
    for (n, outcome) in outcomes.iter().enumerate() {
        let Outcome::Failed(fault) = outcome else {
            continue;
        };
        bench.discreet(fault)?;
        if fault.class != class {
            if failed_anyway(n) {
                continue;
            }
            return Err(format!("{:?} instead of {class:?}: {fault}", fault.class));
        }
        found = true;
        if effect.is_some_and(|effect| effect != fault.effect) {
            return Err(format!("the effect is told as {:?}: {fault}", fault.effect));
        }
    }
    let all_failed_anyway = (0..outcomes.len()).all(failed_anyway);
    if found || all_failed_anyway {
        return Ok(());
    }
    Err("it was delivered as if nothing had happened".to_owned())
}

/// Looking may happen any number of times, changing only once.
fn reads_any_number(exchanges: &[Exchange], effects: &Effects) -> Vec<Exchange> {
    let all = exchanges.iter().cloned().enumerate();
    all.map(|(n, exchange)| {
        let times = if effects.numbers.contains(&n) {
            exchange.times
        } else {
            0
        };
        Exchange { times, ..exchange }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::{Confirmation, Token};
    use crate::fault::Fault;

    #[test]
    fn what_is_taken_in_is_told_from_what_is_done() {
        let expected = |json| vec![serde_json::from_value::<ExpectedOutcome>(json).unwrap()];
        let submitted = expected(json!({"submitted": {
            "token": {"submission": 7, "told": {"before": 1}}, "ends": {"delivered": {}}}}));
        let taken_in = |submission: u8, before: u8| {
            vec![Outcome::Submitted {
                token: Token {
                    submission: json!(submission),
                    told: json!({ "before": before }),
                },
                check_after: std::time::Duration::ZERO,
                in_order: false,
            }]
        };
        let done = vec![Outcome::Delivered(Confirmation::default())];
        let refused = vec![Outcome::Failed(Fault::reject("no", "no"))];
        let delivered = expected(json!({"delivered": {}}));
        let failed = expected(json!({"failed": {"class": "reject", "code": "no"}}));
        let cases = [
            (&submitted, taken_in(7, 1), None),
            (&submitted, taken_in(8, 1), Some("submission")),
            (&submitted, taken_in(7, 2), Some("told.before")),
            (&submitted, done.clone(), Some("done at once")),
            (&submitted, refused.clone(), Some("no")),
            (&delivered, taken_in(7, 1), Some("not done")),
            (&failed, taken_in(7, 1), Some("not done")),
            (&failed, done, Some("did not fail")),
            (&failed, refused, None),
        ];
        for (expected, found, why) in cases {
            let result = same_outcomes(expected, &found);
            match (&result, why) {
                (Ok(()), None) => {}
                (Err(told), Some(why)) => assert!(told.contains(why), "{told}"),
                _ => panic!("{expected:?}, {found:?}: {result:?}"),
            }
        }
    }
}
