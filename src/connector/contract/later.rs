//! The laws of a sink that confirms later, on submissions that it gave.

use super::fixture::ExpectedOutcome;
use super::sink::{TROUBLES, same_outcomes, told};
use super::source::LOGIN_REQUESTS;
use super::{Bench, Played, Report, any_number};
use crate::connector::{Delivery, Outcome, Sink, Token};
use crate::fault::{Class, Effect};
use crate::transport::http::faulty::Trouble;
use crate::transport::http::replay::Exchange;

/// What of a case was taken in, and how it ends.
struct TakenIn {
    batch: Vec<Delivery>,
    tokens: Vec<Token>,
    ends: Vec<ExpectedOutcome>,
}

/// Asks after what was taken in, where the case says how it ends.
pub(super) async fn check(
    bench: &Bench<'_>,
    report: &mut Report,
    deliveries: &[Delivery],
    outcomes: &[Outcome],
) {
    let Some(taken_in) = TakenIn::of(bench, deliveries, outcomes) else {
        return;
    };
    let requests = match plainly(bench, &taken_in).await {
        Ok(requests) => requests,
        Err(why) => return report.add("D1", bench.name("asked after"), Err(why)),
    };
    let every_way = async {
        let played = bench.play(any_number(&bench.case.later), None)?;
        let sink = sink_of(bench, &played)?;
        let found = asked_in_every_way(sink, &taken_in.batch, &taken_in.tokens).await?;
        same_outcomes(&taken_in.ends, &found)
    };
    report.add(
        "D2",
        bench.name("asked after in every way"),
        every_way.await,
    );
    for nth in 1..=requests {
        for (name, trouble, class, _) in &TROUBLES {
            let name = bench.name(&format!("{name} at request {nth} of asking after it"));
            let spoiled = asked(bench, &taken_in, (nth, trouble.clone())).await;
            // To ask changes nothing.
            let result = spoiled.and_then(|found| {
                told(bench, (&taken_in.ends, &found), *class, Some(Effect::None))
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
            let name = format!("an expired login at request {nth} of asking after it");
            let healed = asked(bench, &taken_in, (nth, trouble)).await;
            let result = healed.and_then(|found| match found.first() {
                Some(Outcome::Failed(fault))
                    if nth <= LOGIN_REQUESTS && fault.class == Class::Auth =>
                {
                    Ok(())
                }
                _ => same_outcomes(&taken_in.ends, &found),
            });
            report.add("auth", bench.name(&name), result);
        }
    }
}

impl TakenIn {
    /// What the case says an end of.
    fn of(bench: &Bench<'_>, deliveries: &[Delivery], outcomes: &[Outcome]) -> Option<Self> {
        let all = deliveries.iter().zip(outcomes).zip(&bench.case.outcomes);
        let mut taken_in = Self {
            batch: Vec::new(),
            tokens: Vec::new(),
            ends: Vec::new(),
        };
        for ((delivery, outcome), expected) in all {
            if let Outcome::Submitted { token, .. } = outcome
                && let ExpectedOutcome::Submitted {
                    ends: Some(ends), ..
                } = expected
            {
                taken_in.batch.push(delivery.clone());
                taken_in.tokens.push(token.clone());
                taken_in.ends.push((**ends).clone());
            }
        }
        (!taken_in.batch.is_empty()).then_some(taken_in)
    }
}

/// How many requests it takes when all is well. All of it is one submission, and each request is sent.
async fn plainly(bench: &Bench<'_>, taken_in: &TakenIn) -> Result<u64, String> {
    let tokens = &taken_in.tokens;
    if tokens
        .windows(2)
        .any(|two| two[0].submission != two[1].submission)
    {
        return Err("what a case asks after must be of one submission".to_owned());
    }
    let played = bench.play(bench.case.later.clone(), None)?;
    let found = ask(sink_of(bench, &played)?, &taken_in.batch, tokens).await?;
    same_outcomes(&taken_in.ends, &found)?;
    match played.replay.unused().first() {
        Some(request) => Err(format!("never sent: {request}")),
        None => Ok(played.faulty.count()),
    }
}

/// Asked once over a fresh connection, with trouble.
async fn asked(
    bench: &Bench<'_>,
    taken_in: &TakenIn,
    trouble: (u64, Trouble),
) -> Result<Vec<Outcome>, String> {
    let exchanges: Vec<Exchange> = any_number(&bench.case.later);
    let played = bench.play(exchanges, Some(trouble))?;
    ask(sink_of(bench, &played)?, &taken_in.batch, &taken_in.tokens).await
}

fn sink_of<'a>(bench: &Bench<'_>, played: &'a Played) -> Result<&'a dyn Sink, String> {
    let sink = played.connection.sinks.get(&bench.case.stream);
    let sink = sink.ok_or("the stream has no sink")?;
    Ok(&**sink)
}

/// Asks after deliveries of one submission in every way that the engine may: after a restart, once more, singly
/// and in another order. The outcomes, if all of them agree.
///
/// # Errors
/// Which law is broken (D1, D2), for a person.
pub async fn asked_in_every_way(
    sink: &dyn Sink,
    batch: &[Delivery],
    tokens: &[Token],
) -> Result<Vec<Outcome>, String> {
    let stored = tokens.iter().map(|token| {
        let text = serde_json::to_string(token).map_err(|error| error.to_string())?;
        let again: Token = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if again == *token {
            Ok(again)
        } else {
            Err("D1: a token is another one after it was stored".to_owned())
        }
    });
    let tokens: Vec<Token> = stored.collect::<Result<_, String>>()?;
    let first = ask(sink, batch, &tokens).await?;
    same("asked once more", &first, &ask(sink, batch, &tokens).await?)?;
    let (mut turned, mut their) = (batch.to_vec(), tokens.clone());
    turned.reverse();
    their.reverse();
    let mut backwards = ask(sink, &turned, &their).await?;
    backwards.reverse();
    same("asked in another order", &first, &backwards)?;
    let mut singly = Vec::with_capacity(batch.len());
    for (delivery, token) in batch.iter().zip(&tokens) {
        let (one, its) = (std::slice::from_ref(delivery), std::slice::from_ref(token));
        singly.extend(ask(sink, one, its).await?);
    }
    same("asked one by one", &first, &singly)?;
    Ok(first)
}

async fn ask(
    sink: &dyn Sink,
    batch: &[Delivery],
    tokens: &[Token],
) -> Result<Vec<Outcome>, String> {
    let outcomes = sink.check(batch, tokens).await;
    let (found, wanted) = (outcomes.len(), batch.len());
    if found == wanted {
        Ok(outcomes)
    } else {
        Err(format!("D1: {found} outcomes for {wanted} deliveries"))
    }
}

fn same(how: &str, first: &[Outcome], other: &[Outcome]) -> Result<(), String> {
    let differs = first.iter().zip(other).position(|(one, two)| one != two);
    match differs {
        Some(n) => Err(format!("D2: delivery {n} fares otherwise when {how}")),
        None => Ok(()),
    }
}
