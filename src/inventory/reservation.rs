//! What an order line takes from a pool until a snapshot knows of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::later;
use crate::connector::StockBasis;
use crate::id::{ConnectionName, EntityId};
use crate::record::{Quantity, Sku};

/// Goods of a reservation that left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// By which shipment (its id at the owner): each counts once.
    pub shipment: String,
    /// How many.
    pub quantity: Quantity,
    /// When, by the owner's clock.
    pub at: Timestamp,
    /// A snapshot that began later has been read: it no longer holds them.
    #[serde(default)]
    pub absorbed: bool,
    /// The channel has been told: it no longer allocates them.
    #[serde(default)]
    pub told_channel: bool,
}

/// What one order line takes from a pool. Only ever added to; a repeat changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Of which order.
    pub order: EntityId,
    /// Its number, for people.
    pub order_number: String,
    /// Which line.
    pub line_id: String,
    /// Of which item.
    pub sku: Sku,
    /// On which channel it was bought.
    pub channel: ConnectionName,
    /// How many were ordered.
    pub quantity: Quantity,
    /// How many were called off and given back.
    #[serde(default)]
    pub released: Quantity,
    /// How many the buyer called off: the channel no longer allocates them, whether or not the owner
    /// agrees. Those that leave all the same are taken from everybody.
    #[serde(default)]
    pub called_off: Quantity,
    /// What left.
    #[serde(default)]
    pub issues: Vec<Issue>,
    /// When the owner confirmed the order (its confirming step succeeded), if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// The owner's number knows the whole line (basis `free` and `allocated_apart`).
    #[serde(default)]
    pub known_to_owner: bool,
    /// When it was bought.
    pub placed_at: Timestamp,
}

impl Reservation {
    /// What the pool's snapshots do not know yet.
    pub fn outstanding(&self) -> Quantity {
        if self.known_to_owner {
            return Quantity::ZERO;
        }
        let gone = self
            .issues
            .iter()
            .filter(|issue| issue.absorbed)
            .map(|issue| issue.quantity.0);
        positive(self.quantity.0 - self.released.0 - gone.sum::<rust_decimal::Decimal>())
    }

    /// What the channel itself still allocates: ordered, not called off, and no shipment told.
    pub fn open_at_channel(&self) -> Quantity {
        let told = self.issues.iter().filter(|issue| issue.told_channel);
        let told: rust_decimal::Decimal = told.map(|issue| issue.quantity.0).sum();
        let given_back = self.released.0.max(self.called_off.0);
        positive(self.quantity.0 - given_back - told)
    }

    /// How many have not left yet.
    pub fn unshipped(&self) -> Quantity {
        let left: rust_decimal::Decimal = self.issues.iter().map(|issue| issue.quantity.0).sum();
        positive(self.quantity.0 - self.released.0 - left)
    }

    /// Goods left. The same shipment twice changes nothing.
    pub fn issue(&mut self, shipment: &str, quantity: Quantity, at: Timestamp) {
        if self.issues.iter().any(|issue| issue.shipment == shipment) {
            return;
        }
        self.issues.push(Issue {
            shipment: shipment.to_owned(),
            quantity,
            at,
            absorbed: false,
            told_channel: false,
        });
    }

    /// The channel was told of a shipment; whether anything changed.
    pub fn tell_channel(&mut self, shipment: &str) -> bool {
        let issue = self
            .issues
            .iter_mut()
            .find(|issue| issue.shipment == shipment);
        issue.is_some_and(|issue| !std::mem::replace(&mut issue.told_channel, true))
    }

    /// A snapshot of the owner arrived whose read began at `read_at`, by the owner's clock; whether it
    /// knew anything that is reserved here. `lag`: how much later the owner's number shows a step.
    pub fn absorb(&mut self, basis: StockBasis, read_at: Timestamp, lag: Duration) -> bool {
        match basis {
            StockBasis::OnHand => {
                let mut changed = false;
                for issue in self.issues.iter_mut().filter(|issue| !issue.absorbed) {
                    if later(issue.at, lag) < read_at {
                        issue.absorbed = true;
                        changed = true;
                    }
                }
                changed
            }
            StockBasis::Free | StockBasis::AllocatedApart => {
                let knows = self.confirmed_at.is_some_and(|at| later(at, lag) < read_at);
                knows && !std::mem::replace(&mut self.known_to_owner, true)
            }
        }
    }

    /// Nothing more can come of it: everything left and is known, or was called off.
    pub fn is_done(&self) -> bool {
        self.outstanding() == Quantity::ZERO && self.open_at_channel() == Quantity::ZERO
    }
}

fn positive(value: rust_decimal::Decimal) -> Quantity {
    Quantity(value.max(rust_decimal::Decimal::ZERO))
}
