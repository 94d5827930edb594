//! From a claimed delivery to a settled one.
//!
//! A [`Dispatcher`] serves one stream of one sink. It claims what is due, sends it with a bounded number
//! of requests at a time, and settles each outcome as it comes. Nothing is decided here: what a failure
//! means stands in the engine's policy table.

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::{
    Confirmation, Delivery, Operation, Outcome, Progress, Repeats, Sink, Token,
};
use crate::engine::{Action, Claimed, Earlier, EngineError, Handle, MAY_STILL_ARRIVE, Place};
use crate::fault::{Class, Effect, Fault};
use crate::id::{ConnectionName, DeliveryId};
use crate::record::{Lane, Nature, Stream};

/// What is claimed beside a delivery.
type Head = (Action, Place, Lane, Timestamp);

/// How many times further than at first events are claimed ahead, where the sink is that fast.
const FURTHEST: usize = 32;
/// How many batches may wait for their commit, for each slot, where a kill in that moment costs no more than sending
/// them again. With a quarter of it the cores rested a fifth of the time (W3 of src/docs/performance.md).
const UNSETTLED: usize = 16;
/// The same where each of them has to be looked for, or is left to a person.
const UNSETTLED_IN_DOUBT: usize = 4;

/// Sends to one stream of one sink.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    /// To which connection.
    pub connection: ConnectionName,
    /// To which of its streams.
    pub stream: Stream,
    /// How it is written to.
    pub sink: Arc<dyn Sink>,
    /// Where deliveries come from.
    pub engine: Handle,
    /// How many deliveries one request may carry.
    pub max_batch: usize,
    /// How many batches are under way at a time.
    pub concurrency: usize,
}

/// What one round sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Outcomes settled.
    pub settled: usize,
    /// Of those, delivered.
    pub delivered: usize,
}

impl Dispatcher {
    /// Sends until nothing is due. `stop` is asked before each claim: what was claimed is finished,
    /// nothing new begins.
    ///
    /// Claiming, sending and settling go on side by side, so that neither a request nor a commit waits
    /// for the other: events are claimed a little ahead, several intents to a commit, and a slot is free
    /// as soon as its reply is there, several outcomes to a commit.
    ///
    /// # Errors
    /// When the engine failed; an outcome that could not be settled stays in flight and is found again
    /// after a restart.
    pub async fn round(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<Round, Fault> {
        let mut round = Round::default();
        let mut ready: VecDeque<Vec<Claimed>> = VecDeque::new();
        let mut claiming = None;
        let (mut sending, mut settling) = (FuturesUnordered::new(), FuturesUnordered::new());
        let mut ahead = self.ahead();
        // Whether another claim may bring something: not after an empty one, until something is settled.
        let mut hungry = true;
        loop {
            let may_send = settling.len() < self.unsettled();
            while may_send && sending.len() < self.concurrency {
                let Some(batch) = ready.pop_front() else {
                    break;
                };
                sending.push(self.send_guarded(batch));
            }
            let idle = self.concurrency.saturating_sub(sending.len());
            let wanted = (idle + ahead).saturating_sub(ready.len());
            if hungry && may_send && wanted > ahead / 2 && claiming.is_none() && !stop() {
                claiming = Some(Box::pin(self.claim(wanted)));
            }
            if claiming.is_none() && sending.is_empty() && settling.is_empty() {
                return Ok(round);
            }
            tokio::select! {
                biased;
                Some(settled) = settling.next(), if !settling.is_empty() => {
                    let settled: Round = settled?;
                    round.settled += settled.settled;
                    round.delivered += settled.delivered;
                    hungry = true;
                }
                Some((batch, outcomes)) = sending.next(), if !sending.is_empty() => {
                    settling.push(self.settle(batch, outcomes));
                }
                claimed = running(&mut claiming), if claiming.is_some() => {
                    claiming = None;
                    let claimed: Vec<Vec<Claimed>> = claimed?;
                    hungry = !claimed.is_empty();
                    // Slots are idle because a claim takes longer than what it brings: fewer, larger ones.
                    if hungry && ready.is_empty() && sending.len() < self.concurrency {
                        ahead = (ahead * 2).min(self.ahead() * FURTHEST);
                    }
                    ready.extend(claimed);
                }
            }
        }
    }

    /// How many batches are claimed before there is a free slot for them. State is claimed when it is
    /// sent: a number must not grow old while it waits.
    fn ahead(&self) -> usize {
        match self.stream.nature() {
            Nature::Event => self.concurrency,
            Nature::State => 0,
        }
    }

    /// How many batches may wait for their commit.
    fn unsettled(&self) -> usize {
        let each = match self.sink.repeats(Operation::Create) {
            Repeats::Freely => UNSETTLED,
            Repeats::AfterFinding | Repeats::Never => UNSETTLED_IN_DOUBT,
        };
        self.concurrency * each
    }

    async fn claim(&self, batches: usize) -> Result<Vec<Vec<Claimed>>, Fault> {
        let limit = batches * self.max_batch.max(1);
        let claimed = self
            .engine
            .claim(self.connection.clone(), self.stream, limit)
            .await
            .map_err(EngineError::into_fault)?;
        let mut parts: Vec<Vec<Claimed>> = Vec::new();
        for claim in claimed {
            let room = |part: &Vec<Claimed>| part.len() < self.max_batch.max(1);
            let mut open = parts.iter_mut().rev().filter(|part| room(part));
            match open.find(|part| goes_with(&part[0], &claim)) {
                Some(part) => part.push(claim),
                None => parts.push(vec![claim]),
            }
        }
        Ok(parts)
    }

    /// Sends; a panic of the connector is an outcome like any other.
    async fn send_guarded(&self, batch: Vec<Claimed>) -> (Vec<Claimed>, Vec<Outcome>) {
        // A sink is lent the deliveries and nothing else.
        let (deliveries, heads): (Vec<Delivery>, Vec<Head>) = batch
            .into_iter()
            .map(|it| (it.delivery, (it.action, it.place, it.lane, it.since)))
            .unzip();
        let sending = AssertUnwindSafe(self.send(&deliveries, &heads));
        let outcomes = sending.catch_unwind().await.unwrap_or_else(|_| {
            let fault = Fault::bug(
                "connector_panicked",
                "the connector has a defect; see the log",
            );
            deliveries
                .iter()
                .map(|_| Outcome::Failed(fault.clone().after_sending()))
                .collect()
        });
        let batch = deliveries.into_iter().zip(heads);
        let batch = batch.map(|(delivery, (action, place, lane, since))| Claimed {
            delivery,
            action,
            place,
            lane,
            since,
        });
        (batch.collect(), outcomes)
    }

    async fn settle(&self, batch: Vec<Claimed>, outcomes: Vec<Outcome>) -> Result<Round, Fault> {
        let outcomes = batch.iter().zip(outcomes);
        let outcomes = outcomes.map(|(claimed, outcome)| fingerprinted(claimed, outcome));
        let outcomes: Vec<Outcome> = outcomes.collect();
        let delivered = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Delivered(_)))
            .count();
        let round = Round {
            settled: batch.len(),
            delivered,
        };
        let results = batch.into_iter().zip(outcomes).collect();
        self.engine
            .settle(self.connection.clone(), self.stream, results)
            .await
            .map_err(EngineError::into_fault)?;
        Ok(round)
    }

    /// Exactly one outcome per delivery, in order (law D1).
    async fn send(&self, deliveries: &[Delivery], heads: &[Head]) -> Vec<Outcome> {
        let tokens = heads
            .iter()
            .filter_map(|(action, ..)| action.token().cloned());
        let tokens: Vec<Token> = tokens.collect();
        if !tokens.is_empty() && tokens.len() == deliveries.len() {
            let outcomes = self.sink.check(deliveries, &tokens).await;
            return complete(outcomes, deliveries.len());
        }
        if let ([delivery], [(action, place, ..)]) = (deliveries, heads) {
            match action {
                Action::FindFirst(earlier) => {
                    if let Some(outcome) = self.find_first(delivery, place, *earlier).await {
                        return vec![outcome];
                    }
                }
                Action::FindOnly => {
                    return vec![match self.find(delivery, place).await {
                        Ok(found) => Outcome::Delivered(found.unwrap_or_default()),
                        Err(fault) => Outcome::Failed(fault),
                    }];
                }
                Action::Send | Action::Check(_) | Action::Watch(_) => {}
            }
        }
        let progress = EngineProgress::new(self.engine.clone(), deliveries, heads);
        let outcomes = self.sink.deliver(deliveries, &progress).await;
        complete(outcomes, deliveries.len())
    }

    /// What became of an earlier try, or why it may not be tried again; nothing when it may.
    async fn find_first(
        &self,
        delivery: &Delivery,
        place: &Place,
        earlier: Earlier,
    ) -> Option<Outcome> {
        let is_event = matches!(place, Place::Event(_));
        let repeats = self.sink.repeats(delivery.operation);
        if is_event && repeats == Repeats::Never {
            return match earlier {
                Earlier::OtherStore => None,
                Earlier::Over | Earlier::Until(_) => Some(Outcome::Failed(nobody_knows(delivery))),
            };
        }
        // What is there shows that it was created, not that it was changed: that is done again.
        if delivery.operation == Operation::Update && repeats == Repeats::Freely {
            return None;
        }
        match self.find(delivery, place).await {
            Ok(Some(confirmation)) => Some(Outcome::Delivered(confirmation)),
            // Nothing is known yet: the next try looks again.
            Err(fault) => Some(Outcome::Failed(fault.after_sending())),
            Ok(None) => match earlier {
                Earlier::Until(_) if is_event && repeats == Repeats::AfterFinding => {
                    let message = "it is not there, and what was sent may still be carried out: it \
                                   is looked for again when that is over";
                    let fault = Fault::retry(MAY_STILL_ARRIVE, message).after_sending();
                    Some(Outcome::Failed(fault))
                }
                _ => None,
            },
        }
    }

    /// Of state only the looking matters: what is there now is about to be replaced.
    async fn find(
        &self,
        delivery: &Delivery,
        place: &Place,
    ) -> Result<Option<Confirmation>, Fault> {
        let found = self.sink.find(delivery).await?;
        Ok(found
            .filter(|_| matches!(place, Place::Event(_)))
            .map(|confirmation| Confirmation {
                existed: true,
                ..confirmation
            }))
    }
}

/// A sink that can neither be asked nor takes a thing only once: a person must look. Trying it again, once told
/// to, creates it.
fn nobody_knows(delivery: &Delivery) -> Fault {
    let message = format!(
        "it was sent, the reply was lost, and this system cannot be asked whether it has it: look for {} there; \
         `retry` if it is not there, `dismiss` if it is",
        delivery.reference
    );
    Fault::reject("outcome_unknown", message)
}

/// What was told stands there, unless the sink says otherwise. It is computed here and not by the one thread that
/// decides.
fn fingerprinted(claimed: &Claimed, outcome: Outcome) -> Outcome {
    match (outcome, &claimed.place) {
        (Outcome::Delivered(confirmation), Place::Event(_)) if confirmation.stored.is_none() => {
            Outcome::Delivered(Confirmation {
                stored: Some(claimed.delivery.record.fingerprint()),
                ..confirmation
            })
        }
        (outcome, _) => outcome,
    }
}

/// Whether two deliveries share a request: plain sends, and what is asked after of one submission. What must be
/// looked for goes alone.
fn goes_with(first: &Claimed, other: &Claimed) -> bool {
    match (&first.action, &other.action) {
        (Action::Send, Action::Send) => true,
        (one, other) => match (one.token(), other.token()) {
            (Some(one), Some(other)) => one.submission == other.submission,
            _ => false,
        },
    }
}

/// Waits for something that may not have begun; then for ever.
async fn running<F: Future>(begun: &mut Option<Pin<Box<F>>>) -> F::Output {
    match begun {
        Some(begun) => begun.await,
        None => std::future::pending().await,
    }
}

/// A sink that gives too few or too many outcomes has a defect; nobody knows what it did.
fn complete(outcomes: Vec<Outcome>, expected: usize) -> Vec<Outcome> {
    if outcomes.len() == expected {
        return outcomes;
    }
    let message = format!("{} outcomes for {expected} deliveries", outcomes.len());
    let fault = Fault {
        effect: Effect::Unknown,
        ..Fault::new(Class::Bug, "wrong_number_of_outcomes", message)
    };
    vec![Outcome::Failed(fault); expected]
}

/// Makes captured ids durable before the next step is sent.
struct EngineProgress {
    engine: Handle,
    places: BTreeMap<DeliveryId, u64>,
}

impl EngineProgress {
    fn new(engine: Handle, deliveries: &[Delivery], heads: &[Head]) -> Self {
        let both = deliveries.iter().zip(heads);
        let places = both.filter_map(|(delivery, (_, place, ..))| match place {
            Place::Event(seq) => Some((delivery.id.clone(), *seq)),
            Place::Cell => None,
        });
        Self {
            engine,
            places: places.collect(),
        }
    }
}

#[async_trait]
impl Progress for EngineProgress {
    async fn captured(&self, delivery: &DeliveryId, step: &str, value: Value) -> Result<(), Fault> {
        // State may be written again freely: what its steps captured need not be remembered.
        let Some(seq) = self.places.get(delivery) else {
            return Ok(());
        };
        self.engine
            .progress(*seq, step.to_owned(), value)
            .await
            .map_err(EngineError::into_fault)
    }
}

#[cfg(test)]
mod tests;
