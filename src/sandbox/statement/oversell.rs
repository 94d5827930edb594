//! Which oversells could have been avoided.
//!
//! An order oversells a piece when, at its moment, fewer pieces were left in the world than it took:
//! opening stock and deliveries so far, less everything that was sold before on any channel and not called
//! off, less what went elsewhere.
//!
//! # Definition
//! A sold piece that was not there is *unavoidable* when nobody could have told the channel in time:
//! that is, when the piece would still seem to be there to somebody who, at the moment of the later
//! order, knows
//! - every delivery and every sale of the channel itself, at once;
//! - but its own sales as those of another channel, where a marketplace was told a number since: whoever
//!   writes that number writes over what orders took of it, and learns of them later;
//! - a sale on another channel only after `settle + orders + write` from the moment its system
//!   knew of it (a till that was offline: from its upload; a marketplace: from the payment);
//! - goods that left the ERP's shelf otherwise only after `stock + write`;
//! - goods that left the supplier's shelf otherwise only after `files + write` from its next file;
//! - and all of that `apply` later at a marketplace, which applies a write some time after it.
//!
//! Those spans are the promise in [`Reach`]. Each fault injected at the source or at the channel within
//! the span makes it longer by [`FaultKind::allowance`], up to one minute in all: a channel that does not
//! answer cannot be told. All other pieces sold that were not there are *avoidable*. A till is never told
//! stock, so a piece oversold there is unavoidable by definition; it is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::compute::MARKET;
use super::{Reach, Statement, Terms};
use crate::clock::{Timestamp, later, since};
use crate::sandbox::audit::{Entry, Fact, Why};
use crate::sandbox::faults::FaultKind;

/// The longest time by which faults can excuse the daemon.
const MAX_EXCUSE: Duration = Duration::from_mins(1);

/// Pieces of one item that an order took although they were not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Oversold {
    /// Which item.
    pub sku: String,
    /// How many pieces.
    pub pieces: i64,
    /// The order that took them: `north:1001`.
    pub order: String,
    /// When it was placed.
    pub at: Timestamp,
    /// What took the last piece before, and how long before.
    pub after: String,
}

/// A change of one item's number.
#[derive(Debug)]
struct Move {
    at: Timestamp,
    /// More (above zero) or fewer.
    by: i64,
    /// `north:1001`, `supply at erp`, ….
    what: String,
    /// The channel that sold it; none for other reasons.
    channel: Option<String>,
    /// Where the news begins: a system, and when it knew.
    known: (String, Timestamp),
    /// Called off at some moment.
    until: Option<Timestamp>,
}

#[derive(Debug)]
struct Excuse {
    at: Timestamp,
    system: String,
    by: Duration,
}

/// Finds every oversold piece and judges it.
pub(super) fn judge_into(statement: &mut Statement, entries: &[Entry], terms: &Terms) {
    let excuses = excuses(entries, terms);
    for (sku, moves) in moves_by_sku(entries) {
        for (n, order) in moves.iter().enumerate() {
            let Some(channel) = order.channel.as_deref() else {
                continue;
            };
            let before = &moves[..n];
            let written = (channel == MARKET).then(|| last_told(entries, &sku, order.at));
            let written = written.flatten();
            let taken = -order.by;
            let left: i64 = before.iter().map(|one| one.by_at(order.at)).sum();
            let short = (taken - left.max(0)).clamp(0, taken);
            if short == 0 {
                continue;
            }
            let seemed: i64 = before
                .iter()
                .filter(|one| {
                    let own = one.channel.as_deref() == Some(channel)
                        && written.is_none_or(|written| one.at > written);
                    one.by > 0 || own || told_by(one, channel, terms, &excuses) <= order.at
                })
                .map(|one| one.by_at(order.at))
                .sum();
            let avoidable = if channel == "pos" {
                0
            } else {
                (taken - seemed.max(0)).clamp(0, short)
            };
            let found = |pieces| Oversold {
                sku: sku.clone(),
                pieces,
                order: order.what.clone(),
                at: order.at,
                after: rival(before, channel, order.at),
            };
            if avoidable > 0 {
                statement.oversold_avoidable.push(found(avoidable));
            }
            if short > avoidable {
                statement
                    .oversold_unavoidable
                    .push(found(short - avoidable));
            }
        }
    }
}

impl Move {
    /// What it still amounts to at a moment: an order that was called off before is nothing.
    fn by_at(&self, at: Timestamp) -> i64 {
        if self.until.is_some_and(|until| until <= at) {
            0
        } else {
            self.by
        }
    }
}

/// The last one that took a piece away before, other than on the same channel if there is one.
fn rival(before: &[Move], channel: &str, at: Timestamp) -> String {
    let takers = || before.iter().rev().filter(|one| one.by_at(at) < 0);
    let other = takers().find(|one| one.channel.as_deref() != Some(channel));
    other.or_else(|| takers().next()).map_or_else(
        || "nothing".to_owned(),
        |one| {
            let before = since(one.at, at).as_secs_f64();
            format!("{} {before:.1} s before", one.what)
        },
    )
}

/// When the marketplace's number was written last before a moment.
fn last_told(entries: &[Entry], sku: &str, at: Timestamp) -> Option<Timestamp> {
    let before = entries.iter().rev().filter(|entry| entry.at <= at);
    let mut told = before.filter(|entry| match &entry.fact {
        Fact::StockTold { sku: of, .. } => entry.system == MARKET && of == sku,
        _ => false,
    });
    told.next().map(|entry| entry.at)
}

/// When `channel` can have been told of a decrease.
fn told_by(one: &Move, channel: &str, terms: &Terms, excuses: &[Excuse]) -> Timestamp {
    let Reach {
        orders,
        stock,
        files,
        settle,
        write,
        apply,
    } = terms.reach;
    let (source, known) = &one.known;
    let span = match (&one.channel, source.as_str()) {
        (Some(_), _) => settle + orders + write,
        (None, "acme") => files + write,
        (None, _) => stock + write,
    };
    let applied = if channel == MARKET {
        apply
    } else {
        Duration::ZERO
    };
    let mut end = later(*known, span + applied);
    let mut spent = Duration::ZERO;
    for excuse in excuses {
        let concerns = excuse.system == *source || excuse.system == channel;
        if concerns && excuse.at >= *known && excuse.at <= end {
            let by = excuse.by.min(MAX_EXCUSE.saturating_sub(spent));
            spent += by;
            end = later(end, by);
        }
    }
    end
}

fn excuses(entries: &[Entry], terms: &Terms) -> Vec<Excuse> {
    let faults = entries.iter().filter_map(|entry| {
        let Fact::Faulted { kind, .. } = &entry.fact else {
            return None;
        };
        let plan = terms.plans.get(&entry.system).cloned().unwrap_or_default();
        let by = FaultKind::allowance(*kind, &plan);
        Some(Excuse {
            at: entry.at,
            system: entry.system.clone(),
            by,
        })
    });
    let mut excuses: Vec<Excuse> = faults.collect();
    excuses.sort_by_key(|excuse| excuse.at);
    excuses
}

/// Everything that changed an item's number, in the order of its moment.
fn moves_by_sku(entries: &[Entry]) -> BTreeMap<String, Vec<Move>> {
    let mut moves: BTreeMap<String, Vec<Move>> = BTreeMap::new();
    let called_off = called_off(entries);
    let uploaded = uploaded(entries);
    for entry in entries {
        match &entry.fact {
            Fact::Placed { order, units, .. } => {
                let reference = format!("{}:{order}", entry.system);
                // An order that is never paid is nobody's news.
                let otherwise = if entry.system == MARKET {
                    Timestamp::MAX
                } else {
                    entry.at
                };
                let known = uploaded.get(&reference).copied().unwrap_or(otherwise);
                for part in units {
                    moves.entry(part.sku.clone()).or_default().push(Move {
                        at: entry.at,
                        by: -part.quantity,
                        what: reference.clone(),
                        channel: Some(entry.system.clone()),
                        known: (entry.system.clone(), known),
                        until: called_off.get(&reference).copied(),
                    });
                }
            }
            Fact::Supply { sku, by, why } if *why != Why::Moved => {
                moves.entry(sku.clone()).or_default().push(Move {
                    at: entry.at,
                    by: *by,
                    what: format!("goods at {}", entry.system),
                    channel: None,
                    known: (entry.system.clone(), known_at(entry, entries)),
                    until: None,
                });
            }
            // Sent although it was called off: the goods are gone all the same.
            Fact::Shipped {
                reference, units, ..
            } if called_off.get(reference).is_some_and(|at| *at <= entry.at) => {
                for part in units {
                    moves.entry(part.sku.clone()).or_default().push(Move {
                        at: entry.at,
                        by: -part.quantity,
                        what: format!("{reference} sent"),
                        channel: None,
                        known: (entry.system.clone(), entry.at),
                        until: None,
                    });
                }
            }
            _ => {}
        }
    }
    for moves in moves.values_mut() {
        moves.sort_by_key(|one| one.at);
    }
    moves
}

/// When anybody could learn of goods that went elsewhere: at once in the ERP, with the next file at the
/// supplier.
fn known_at(entry: &Entry, entries: &[Entry]) -> Timestamp {
    if entry.system != "acme" {
        return entry.at;
    }
    let rest = entries.iter().filter(|later| later.seq > entry.seq);
    let mut files = rest.filter(|later| matches!(later.fact, Fact::Dropped { .. }));
    files.next().map_or(Timestamp::MAX, |file| file.at)
}

fn called_off(entries: &[Entry]) -> BTreeMap<String, Timestamp> {
    let found = entries.iter().filter_map(|entry| match &entry.fact {
        Fact::CalledOff { order } => Some((format!("{}:{order}", entry.system), entry.at)),
        _ => None,
    });
    found.collect()
}

fn uploaded(entries: &[Entry]) -> BTreeMap<String, Timestamp> {
    let found = entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Uploaded { order } => Some((format!("{}:{order}", entry.system), entry.at)),
        _ => None,
    });
    found.collect()
}
