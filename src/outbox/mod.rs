//! What each sink still has to be told about events: a durable queue, in order per key.
//!
//! State needs no queue: what is pending there is the difference between what should be published and
//! what was (`engine/cell.rs`). Pure: rows are data, [`Queue`] is the index over them that is rebuilt
//! from the rows at start.

mod backoff;
mod differences;
mod keys;
mod parked;
mod queue;
mod slot;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use backoff::Backoff;
pub use differences::{Difference, Differences, Waiting, When};
pub use keys::{InOrder, KeySet};
pub use queue::{Entry, Queue};

use crate::connector::{Captured, Operation, Token};
use crate::fault::Fault;
use crate::id::{ConnectionName, DeliveryId, EntityId, Key, RouteName};
use crate::record::{Lane, Stream, Written};

/// What a delivery waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    /// Its turn comes at `due`.
    Pending {
        /// Not before.
        due: Timestamp,
    },
    /// It is being sent: the durable intent. Found after a crash it becomes [`State::Uncertain`].
    InFlight {
        /// Since when.
        since: Timestamp,
    },
    /// It was sent and nobody knows what became of it: find before repeating.
    Uncertain {
        /// Not before.
        due: Timestamp,
    },
    /// The sink took it in and will tell later.
    Submitted {
        /// To ask with.
        token: Token,
        /// Not before.
        due: Timestamp,
    },
    /// It needs a thing on the sink's connection that is not linked yet. Not an attempt.
    Waiting {
        /// For which thing.
        on: EntityId,
        /// Since when, for the alert when it ages.
        since: Timestamp,
    },
    /// It cannot succeed as it is; a person decides. Later events of the same key wait.
    Quarantined {
        /// Since when.
        since: Timestamp,
    },
}

impl State {
    /// The word in tables and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::InFlight { .. } => "in_flight",
            Self::Uncertain { .. } => "uncertain",
            Self::Submitted { .. } => "submitted",
            Self::Waiting { .. } => "waiting",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}

/// One event for one sink, until it is settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// Its id and idempotency key.
    pub id: DeliveryId,
    /// Its place in the queue.
    pub seq: u64,
    /// The number under which it was written last: an intent with a smaller one is over.
    #[serde(default)]
    pub written: u64,
    /// To which connection.
    pub sink: ConnectionName,
    /// To which stream there.
    pub stream: Stream,
    /// Which thing is delivered; the link is made for it.
    pub entity: EntityId,
    /// With which thing it keeps order: the order, for everything that happens to an order. One write
    /// of it is in flight per sink.
    pub line: EntityId,
    /// The group of which only one thing is created at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Key>,
    /// What is to be done.
    pub operation: Operation,
    /// By which route.
    pub route: RouteName,
    /// From which connection.
    pub origin: ConnectionName,
    /// Our reference, which a create carries.
    pub reference: String,
    /// The mapped record.
    pub record: Written,
    /// What it waits for.
    pub state: State,
    /// What its steps captured.
    #[serde(default, skip_serializing_if = "Captured::is_empty")]
    pub captured: Captured,
    /// Until when an earlier try, of which nobody knows what became, may still be carried out over there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_until: Option<Timestamp>,
    /// It stood in the first reading of a store that is new or restored: a life before it may have told it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_of_before: bool,
    /// It was delivered, and is told once more: something older may have been carried out behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// So much waited before it that it stands in no memory until its turn is near; the thing that it is about says
    /// where it stands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<Fault>,
}

/// The lane of an event.
pub fn lane(stream: Stream, operation: Operation) -> Lane {
    match (stream, operation) {
        (Stream::Orders, Operation::Cancel) => Lane::Cancellations,
        (Stream::Orders, _) => Lane::Orders,
        (Stream::Shipments, _) => Lane::Shipments,
        (Stream::Stock, _) => Lane::StockUp,
        (Stream::Prices, _) => Lane::Prices,
        (Stream::Items | Stream::Customers | Stream::Promotions, _) => Lane::Items,
        _ => Lane::Documents,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Story 30: what is urgent does not stand behind what is not.
    #[test]
    fn each_kind_of_event_has_its_lane() {
        let lanes = [
            (Stream::Orders, Operation::Cancel, Lane::Cancellations),
            (Stream::Orders, Operation::Create, Lane::Orders),
            (Stream::Shipments, Operation::Create, Lane::Shipments),
            (Stream::Stock, Operation::Update, Lane::StockUp),
            (Stream::Prices, Operation::Update, Lane::Prices),
            (Stream::Items, Operation::Create, Lane::Items),
            (Stream::Returns, Operation::Create, Lane::Documents),
        ];
        for (stream, operation, expected) in lanes {
            assert_eq!(lane(stream, operation), expected, "{stream} {operation:?}");
        }
    }
}
