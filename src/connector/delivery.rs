//! What a sink is asked to do, and what became of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::Fault;
use crate::id::{DeliveryId, Key, RemoteId};
use crate::record::{Fingerprint, Money, Quantity, Record, Stream};

/// What is to be done with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// It must be there once. Needs an intent before and `find` when the outcome is unknown.
    Create,
    /// It is there (`target`) and must become like this. May be repeated freely.
    Update,
    /// It is there and must be called off (an order) or archived (an item).
    Cancel,
}

/// What may be done when nobody knows what became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Repeats {
    /// It is sent again at once: doing it twice is doing it once, even when the earlier try is carried out
    /// after the later one.
    Freely,
    /// It is sent again when it is not there, and nothing that was sent can be carried out any more.
    AfterFinding,
    /// It is not sent again: nobody but a person can see whether it was done.
    Never,
}

/// Ids that earlier steps of a write captured: step name to value.
pub type Captured = BTreeMap<String, Value>;

/// One change for one sink.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its id, which is the idempotency key too: the same on each attempt.
    pub id: DeliveryId,
    /// Of which stream.
    pub stream: Stream,
    /// What it is about; one write is in flight per key.
    pub key: Key,
    /// What is to be done.
    pub operation: Operation,
    /// What should be there afterwards, as the route mapped it.
    pub record: Record,
    /// Our reference, which every create carries, so that a lost store re-links instead of creating
    /// again: the source connection's name and remote id, such as `north:17`.
    pub reference: String,
    /// The connection it comes from.
    pub origin: String,
    /// The id over there, when it is linked.
    pub target: Option<RemoteId>,
    /// The id over there of the group it belongs to (the product of a variant), when one of its
    /// siblings was confirmed with it.
    pub group: Option<RemoteId>,
    /// What earlier attempts captured.
    pub captured: Captured,
    /// How often it was tried before.
    pub attempts: u32,
}

/// One of our lines and its id over there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineLink {
    /// The line at the source.
    pub line_id: String,
    /// The line at the sink.
    pub remote_id: String,
}

/// Proof that a delivery was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confirmation {
    /// The id over there; unchanged when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<RemoteId>,
    /// The number that people use over there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// The id over there of the group it belongs to: the product of a variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<RemoteId>,
    /// What is stored over there, where the sink tells (the remote may normalise what we wrote).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Fingerprint>,
    /// Ids of lines over there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineLink>,
    /// It had been there already; this delivery created nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existed: bool,
}

/// A thing whose standing is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Our reference, as its create carried it: `north:17`; of numbers and prices the SKU; of shipments the
    /// reference of their order.
    pub reference: String,
    /// What people call it: its number, else its id at the source; of numbers and prices the SKU; of shipments
    /// the id of their order over there.
    pub name: String,
}

/// What stands at a sink under one of our references. Of numbers and prices the reference is the SKU, of
/// shipments that of their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Which.
    pub reference: String,
    /// The id over there.
    pub remote_id: RemoteId,
    /// The number that people use over there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// What it costs over there, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Money>,
    /// It was called off over there.
    pub called_off: bool,
    /// All of it is there: no write of several steps that stopped half-way.
    pub done: bool,
    /// Of stock: the number that is written over there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Quantity>,
    /// Of prices: in which list `total` stands; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Of prices: from how many on; one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_qty: Option<Quantity>,
    /// Of prices: what it is compared with, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_at: Option<Money>,
    /// Of shipments: the tracking numbers that the order has over there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracking: Vec<String>,
}

/// What an asynchronous submission is asked after with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Token {
    /// Equal for what can be asked after together, such as everything in one feed.
    pub submission: Value,
    /// What the sink wants to remember of this one delivery.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub told: Value,
}

/// What became of one delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is there.
    Delivered(Confirmation),
    /// It was taken in and is not done yet.
    Submitted {
        /// To ask with.
        token: Token,
        /// Not before.
        check_after: Duration,
        /// Of state: a newer value need not wait until this one has ended, because the other side keeps
        /// the order in which it is told.
        in_order: bool,
    },
    /// It is not there, or nobody knows.
    Failed(Fault),
}

/// Where a write of several steps reports what it captured. Returns once that is durable.
#[async_trait]
pub trait Progress: Send + Sync {
    /// `step` of `delivery` succeeded and gave `value`.
    ///
    /// # Errors
    /// When it could not be made durable: the write must stop, so that nothing is sent that nobody
    /// remembers.
    async fn captured(&self, delivery: &DeliveryId, step: &str, value: Value) -> Result<(), Fault>;
}

/// A [`Progress`] that keeps everything in memory: for contract tests and `connector try`.
#[derive(Debug, Default)]
pub struct StepLog {
    steps: std::sync::Mutex<Vec<(DeliveryId, String, Value)>>,
}

impl StepLog {
    /// What was reported so far.
    pub fn steps(&self) -> Vec<(DeliveryId, String, Value)> {
        self.steps
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Progress for StepLog {
    async fn captured(&self, delivery: &DeliveryId, step: &str, value: Value) -> Result<(), Fault> {
        let entry = (delivery.clone(), step.to_owned(), value);
        self.steps
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(entry);
        Ok(())
    }
}
