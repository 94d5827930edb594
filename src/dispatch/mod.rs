//! From a claimed delivery to a settled one.
//!
//! A [`Dispatcher`] serves one stream of one sink. It claims what is due, sends it with a bounded number
//! of requests at a time, and settles each outcome as it comes. Nothing is decided here: what a failure
//! means stands in the engine's policy table.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;

use crate::connector::{Confirmation, Delivery, Outcome, Progress, Sink};
use crate::engine::{Action, Claimed, EngineError, Handle, Place};
use crate::fault::{Class, Effect, Fault};
use crate::id::{ConnectionName, DeliveryId};
use crate::record::Stream;

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
    /// Sends until nothing is due. `stop` is asked before each claim: what is under way is finished,
    /// nothing new begins.
    ///
    /// # Errors
    /// When the engine failed; an outcome that could not be settled stays in flight and is found again
    /// after a restart.
    pub async fn round(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<Round, Fault> {
        let mut round = Round::default();
        let mut under_way = FuturesUnordered::new();
        loop {
            let free = self.concurrency.saturating_sub(under_way.len());
            if free > 0 && !stop() {
                for batch in self.claim(free).await? {
                    under_way.push(self.send_and_settle(batch));
                }
            }
            match under_way.next().await {
                Some(sent) => {
                    let sent: Round = sent?;
                    round.settled += sent.settled;
                    round.delivered += sent.delivered;
                }
                None => return Ok(round),
            }
        }
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
            // Only plain sends share a request; what must be looked up or asked after goes alone.
            let alone = !matches!(claim.action, Action::Send);
            match parts.last_mut() {
                Some(part)
                    if !alone
                        && part.len() < self.max_batch.max(1)
                        && matches!(part[0].action, Action::Send) =>
                {
                    part.push(claim);
                }
                _ => parts.push(vec![claim]),
            }
        }
        Ok(parts)
    }

    async fn send_and_settle(&self, batch: Vec<Claimed>) -> Result<Round, Fault> {
        let sending = AssertUnwindSafe(self.send(&batch)).catch_unwind().await;
        let outcomes = sending.unwrap_or_else(|_| {
            let fault = Fault::bug(
                "connector_panicked",
                "the connector has a defect; see the log",
            );
            batch
                .iter()
                .map(|_| Outcome::Failed(fault.clone().after_sending()))
                .collect()
        });
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
    async fn send(&self, batch: &[Claimed]) -> Vec<Outcome> {
        let deliveries: Vec<Delivery> = batch.iter().map(|c| c.delivery.clone()).collect();
        if let [claimed] = batch {
            match &claimed.action {
                Action::Check(token) => {
                    return complete(self.sink.check(token, &deliveries).await, batch.len());
                }
                Action::FindFirst => match self.find(&claimed.delivery, &claimed.place).await {
                    Ok(Some(confirmation)) => return vec![Outcome::Delivered(confirmation)],
                    Ok(None) => {}
                    // Nothing is known yet: the next try looks again.
                    Err(fault) => return vec![Outcome::Failed(fault.after_sending())],
                },
                Action::FindOnly => {
                    return vec![match self.find(&claimed.delivery, &claimed.place).await {
                        Ok(found) => Outcome::Delivered(found.unwrap_or_default()),
                        Err(fault) => Outcome::Failed(fault),
                    }];
                }
                Action::Send => {}
            }
        }
        let progress = EngineProgress::new(self.engine.clone(), batch);
        complete(self.sink.deliver(&deliveries, &progress).await, batch.len())
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
    fn new(engine: Handle, batch: &[Claimed]) -> Self {
        let places = batch.iter().filter_map(|claimed| match claimed.place {
            Place::Event(seq) => Some((claimed.delivery.id.clone(), seq)),
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
