//! Shipments: what the system that ships shows of a period against the tracking that the channel of the order
//! shows now.

use super::{Account, RouteProof, Seen, State, Verdict, judge};
use crate::id::RemoteId;

/// What we did with one shipment on one route.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcels {
    /// How far it is. Its reference is that of the order, as the channel was sent it.
    pub account: Account,
    /// Whose order it is, where it is not one of this route's channel.
    pub elsewhere: Option<Elsewhere>,
    /// The order's id at the channel, where it is known.
    pub order: Option<RemoteId>,
    /// Its tracking numbers, as the route mapped them.
    pub tracking: Vec<String>,
}

/// Whose order a shipment is of that this route's channel is not told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// Another route's.
    AnotherChannel,
    /// Nobody's that we know.
    NotOurs,
}

/// What a channel shows of an order's parcels.
#[derive(Debug, Clone, PartialEq)]
pub enum Shows {
    /// It cannot be asked: what it confirmed to us is all there is.
    NotAsked,
    /// These tracking numbers.
    Tracking(Vec<String>),
    /// It does not show the order.
    Nothing,
    /// It does not say, for this reason.
    Refused(String),
}

/// Compares a shipment with what the channel of its order shows. What nothing more than our own record speaks
/// for is the same *as recorded*.
pub fn judge_parcels(seen: &Seen, parcels: &Parcels, shows: &Shows) -> Verdict {
    use Verdict::{Explained, Unexplained};
    if parcels.elsewhere == Some(Elsewhere::NotOurs) {
        let why = "its order was not sold through us";
        return Explained("order_not_ours", why.to_owned());
    }
    let State::Delivered(id) = &parcels.account.state else {
        return judge(seen, &parcels.account, None);
    };
    let order = parcels.order.as_ref().map_or("?", RemoteId::as_str);
    match shows {
        Shows::NotAsked => Verdict::Same,
        Shows::Tracking(there) => {
            let missing = missing(&parcels.tracking, there);
            if missing.is_empty() {
                return Verdict::Same;
            }
            let there = match there.as_slice() {
                [] => "none".to_owned(),
                there => there.join(", "),
            };
            let why = format!(
                "was confirmed as {id}; the order {order} there has not the tracking number {} (it has: \
                 {there})",
                missing.join(", ")
            );
            Unexplained("tracking", why)
        }
        Shows::Nothing => {
            let why = format!("was confirmed as {id}, and the order {order} is not there");
            Unexplained("missing", why)
        }
        Shows::Refused(why) => Unexplained("not_readable", format!("order {order}: {why}")),
    }
}

fn missing<'p>(wanted: &'p [String], there: &[String]) -> Vec<&'p str> {
    let has = |number: &&str| there.iter().any(|it| it.trim() == number.trim());
    let wanted = wanted.iter().map(String::as_str);
    wanted.filter(|number| !has(number)).collect()
}

impl RouteProof {
    /// Takes in one shipment: what the system that ships shows of it, what we did, and what the channel shows.
    pub fn add_parcels(&mut self, seen: &Seen, parcels: &Parcels, shows: &Shows) {
        if parcels.elsewhere == Some(Elsewhere::AnotherChannel) {
            self.elsewhere += 1;
            return;
        }
        self.source.add(None, false);
        if let Shows::Tracking(there) = shows {
            let sink = self.sink.get_or_insert_default();
            if missing(&parcels.tracking, there).is_empty() {
                sink.add(None, false);
            }
        }
        match judge_parcels(seen, parcels, shows) {
            Verdict::Same => {
                self.same += 1;
                let is_shown = matches!(shows, Shows::Tracking(_)) && !parcels.tracking.is_empty();
                self.as_recorded += usize::from(!is_shown);
            }
            Verdict::Explained(what, why) => {
                self.differ(seen, &parcels.account, (what, why), true);
            }
            Verdict::Unexplained(what, why) => {
                self.differ(seen, &parcels.account, (what, why), false);
            }
        }
    }
}

#[cfg(test)]
mod tests;
