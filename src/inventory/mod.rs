//! How much can be sold, and why.
//!
//! The owners of a pool's stock give snapshots. A [`Position`] is the last snapshot of one SKU at one
//! location; a [`Reservation`] is what an order line still takes from the pool and no snapshot knows
//! yet. [`derive()`] puts both together with a channel's [`PublishRule`] and keeps every input, so that
//! `crossdock explain stock` can say why a number is what it is. Pure: no I/O, time is an argument.

mod guard;
mod publish;
mod reservation;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use guard::{Facts, Guard, Held, PRICE_JUMP, PriceGuard};
pub use publish::PublishRule;
pub use reservation::{Issue, Reservation};

use crate::clock::since;
use crate::id::ConnectionName;
use crate::record::{Quantity, StockLevel};

/// The last snapshot of one SKU at one location of one owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Physically there, as the owner told; for an owner that only tells what is free, that.
    pub on_hand: Quantity,
    /// There but not for sale.
    #[serde(default)]
    pub unavailable: Quantity,
    /// When the read that told it began, by the owner's clock: it knows nothing that came later.
    pub read_at: Timestamp,
}

impl Position {
    /// What an owner's stock level says; `None` when it says no number (unknown, never zero).
    pub fn of(level: &StockLevel, read_at: Timestamp) -> Option<Self> {
        let on_hand = *level.on_hand.value().or(level.available.value())?;
        let unavailable = level
            .unavailable
            .value()
            .map_or(Quantity::ZERO, |unavailable| {
                let parts = [unavailable.damaged, unavailable.quality, unavailable.other];
                Quantity(parts.iter().map(|part| part.0).sum())
            });
        Some(Self {
            on_hand,
            unavailable,
            read_at,
        })
    }
}

/// One owner's part in a pool, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The owner.
    pub connection: ConnectionName,
    /// The location's code at the owner.
    pub location: Arc<str>,
    /// Its snapshot.
    pub position: Position,
    /// Its snapshot is older than allowed.
    pub stale: bool,
}

impl Member {
    /// A snapshot, judged by its age. The age counts from when the *stream* was last read as a whole
    /// (`confirmed_at`): a delta read that does not name a SKU confirms its old value.
    pub fn new(
        connection: ConnectionName,
        location: Arc<str>,
        position: Position,
        confirmed_at: Timestamp,
        (now, freshness): (Timestamp, Duration),
    ) -> Self {
        let stale = since(confirmed_at, now) > freshness;
        Self {
            connection,
            location,
            position,
            stale,
        }
    }
}

/// A number for a channel and everything it was made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Derivation {
    /// The owners' parts.
    pub members: Vec<Member>,
    /// What order lines still take.
    pub reservations: Vec<Reservation>,
    /// Sum of the members less reservations; `None` when no owner knows the SKU.
    pub available: Option<Decimal>,
    /// What the channel's rule makes of it.
    pub published: Option<Decimal>,
    /// The channel's own accepted, unfulfilled quantities, which are added for a channel that shows
    /// allocations apart.
    pub own_open: Decimal,
    /// What is to be written to the channel.
    pub to_write: Option<Decimal>,
    /// Some owner's number is too old: the channel may be told less, never more.
    pub only_decrease: bool,
    /// The item is off sale at its owner: the channel is told that none is left.
    #[serde(default)]
    pub withdrawn: bool,
}

impl Derivation {
    /// The same for an item that is off sale at its owner.
    #[must_use]
    pub fn withdrawn(self) -> Self {
        Self {
            published: Some(Decimal::ZERO),
            to_write: Some(self.own_open),
            only_decrease: false,
            withdrawn: true,
            ..self
        }
    }
}

/// Puts snapshots, reservations and the channel's rule together.
///
/// `own_channel` names the channel when it shows allocations apart: its own open quantities are added to
/// what is written, since it subtracts them itself.
///
/// A stale owner does not make the number unknown altogether: orders that came in since must still
/// lower it. So the number is computed from the last known values and may then only fall
/// ([`Derivation::only_decrease`]); a rule with a `floor` falls to it.
pub fn derive(
    members: Vec<Member>,
    reservations: Vec<Reservation>,
    rule: &PublishRule,
    own_channel: Option<&ConnectionName>,
) -> Derivation {
    let only_decrease = members.iter().any(|member| member.stale);
    let held: Decimal = reservations.iter().map(|taken| taken.outstanding().0).sum();
    let available = (!members.is_empty()).then(|| {
        let there: Decimal = members
            .iter()
            .map(|m| m.position.on_hand.0 - m.position.unavailable.0)
            .sum();
        there - held
    });
    let own_open: Decimal = reservations
        .iter()
        .filter(|taken| Some(&taken.channel) == own_channel)
        .map(|taken| taken.open_at_channel().0)
        .sum();
    let published = available.map(|available| match rule.floor {
        Some(floor) if only_decrease => rule.number(available).min(floor),
        _ => rule.number(available),
    });
    let to_write = published.map(|published| published + own_open);
    Derivation {
        members,
        reservations,
        available,
        published,
        own_open,
        to_write,
        only_decrease,
        withdrawn: false,
    }
}

#[cfg(test)]
mod tests;
