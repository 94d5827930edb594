//! How much can be sold, and why.
//!
//! The owners of a pool's stock give snapshots. A [`Position`] is the last snapshot of one SKU at one
//! location; a [`Reservation`] is what an order line still takes from the pool and no snapshot knows
//! yet. [`derive()`] puts both together with a channel's [`PublishRule`] and keeps every input, so that
//! `crossdock explain stock` can say why a number is what it is. Where a number alone is asked for, of many
//! SKUs at a time, a [`Tally`] adds up the same without keeping it. Pure: no I/O, time is an argument.

mod guard;
mod publish;
mod reservation;

use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use guard::{Facts, Guard, Held, PRICE_JUMP, PriceGuard};
pub use publish::PublishRule;
pub use reservation::{Issue, Reservation};

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

/// What a number is made from, added up. The one place where it is computed, for a channel as for an
/// explanation: [`derive()`] keeps beside it what it was made from.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// On hand less unavailable, of all owners that told.
    there: Decimal,
    /// What order lines still take.
    held: Decimal,
    own_open: Decimal,
    /// Some owner told of the SKU.
    is_known: bool,
    is_stale: bool,
}

/// What a [`Tally`] comes to. The fields are those of [`Derivation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Sum of the members less reservations; `None` when no owner knows the SKU.
    pub available: Option<Decimal>,
    /// What the channel's rule makes of it.
    pub published: Option<Decimal>,
    /// The channel's own open quantities.
    pub own_open: Decimal,
    /// What is to be written to the channel.
    pub to_write: Option<Decimal>,
    /// The channel may be told less, never more.
    pub only_decrease: bool,
    /// The item is off sale at its owner.
    pub withdrawn: bool,
}

impl Tally {
    /// Adds an owner's part.
    pub fn member(&mut self, position: &Position, is_stale: bool) {
        self.there += position.on_hand.0;
        if !position.unavailable.0.is_zero() {
            self.there -= position.unavailable.0;
        }
        self.is_known = true;
        self.is_stale |= is_stale;
    }

    /// Takes off what an order line takes. `own_channel`: see [`derive()`].
    pub fn reservation(&mut self, taken: &Reservation, own_channel: Option<&ConnectionName>) {
        self.held += taken.outstanding().0;
        if Some(&taken.channel) == own_channel {
            self.own_open += taken.open_at_channel().0;
        }
    }

    /// Whether any owner told of the SKU.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// What the channel's rule makes of it. An item that is off sale at its owner is told to be sold
    /// out, whatever there is.
    pub fn number(&self, rule: &PublishRule, withdrawn: bool) -> Numbers {
        let available = self.is_known.then(|| self.there - self.held);
        let only_decrease = self.is_stale && !withdrawn;
        let published = match available {
            _ if withdrawn => Some(Decimal::ZERO),
            Some(available) => Some(match rule.floor {
                Some(floor) if only_decrease => rule.number(available).min(floor),
                _ => rule.number(available),
            }),
            None => None,
        };
        // Of what it sold itself and is not there, nothing may come back on offer when a buyer calls off.
        let missing = available.map_or(Decimal::ZERO, |available| (-available).max(Decimal::ZERO));
        let own_open = match published {
            Some(published) if published.is_zero() && !withdrawn => {
                (self.own_open - missing).max(Decimal::ZERO)
            }
            _ => self.own_open,
        };
        Numbers {
            available,
            published,
            own_open: self.own_open,
            to_write: published.map(|published| published + own_open),
            only_decrease,
            withdrawn,
        }
    }
}

/// Puts snapshots, reservations and the channel's rule together.
///
/// `own_channel` names the channel when it shows allocations apart: its own open quantities are added to
/// what is written, since it subtracts them itself. `withdrawn`: the item is off sale at its owner.
///
/// A stale owner does not make the number unknown altogether: orders that came in since must still
/// lower it. So the number is computed from the last known values and may then only fall
/// ([`Derivation::only_decrease`]); a rule with a `floor` falls to it.
pub fn derive(
    members: Vec<Member>,
    reservations: Vec<Reservation>,
    rule: &PublishRule,
    own_channel: Option<&ConnectionName>,
    withdrawn: bool,
) -> Derivation {
    let mut tally = Tally::default();
    for member in &members {
        tally.member(&member.position, member.stale);
    }
    for taken in &reservations {
        tally.reservation(taken, own_channel);
    }
    let numbers = tally.number(rule, withdrawn);
    Derivation {
        members,
        reservations,
        available: numbers.available,
        published: numbers.published,
        own_open: numbers.own_open,
        to_write: numbers.to_write,
        only_decrease: numbers.only_decrease,
        withdrawn: numbers.withdrawn,
    }
}

#[cfg(test)]
mod tests;
