//! The laws of a sink that confirms later, on submissions that it gave.

use crate::connector::{Delivery, Outcome, Sink, Token};

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
