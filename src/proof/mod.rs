//! What came of everything in a period: both sides' own words against each other, and each difference
//! with its reason.
//!
//! For each order that its source shows, the engine gives an [`Account`] of what we did with it, and the
//! sink says what [`Standing`]s it has under our reference. [`judge`] compares the three. Pure: who asks
//! whom, and when, is `runtime/prove.rs`.

mod numbers;
mod parcels;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use numbers::{Look, Number, NumbersProof, Place, Sells, Shown, Told, is_same, judge_number};
pub use parcels::{Elsewhere, Parcels, Shows, judge_parcels};

use crate::connector::Standing;
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::Money;

/// How many differences of one route are told in full; the others are counted.
pub const MOST_TOLD: usize = 200;

/// What we did with one thing on one route.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Our reference: `north:17`.
    pub reference: String,
    /// What people call it, as the route mapped it: its number, else its id at the source.
    pub name: String,
    /// What it costs, as the route mapped it.
    pub total: Option<Money>,
    /// How far it is.
    pub state: State,
    /// Its source called it off, and we know.
    pub called_off: bool,
    /// The last lines of its journal.
    pub story: Vec<String>,
}

/// How far one thing is on one route.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// We never saw it, though its stream was read beyond it.
    Unseen,
    /// Its stream was not read so far yet.
    Unread,
    /// It is on its way; why it is not there.
    Waiting(String),
    /// A person must look: which number, and why.
    Quarantined(String),
    /// A rule of this name keeps it back.
    Filtered(String),
    /// The route only observes.
    Observed,
    /// A person let it go.
    Dismissed(String),
    /// It is there under this id.
    Delivered(RemoteId),
    /// It was seen, and nothing tells what became of it.
    Unknown,
}

/// What one side shows of a period.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// How many stand.
    pub count: usize,
    /// How many more were called off.
    pub called_off: usize,
    /// What those that stand cost together, by currency, where it is told.
    pub sums: BTreeMap<String, Decimal>,
}

impl Side {
    fn add(&mut self, total: Option<Money>, called_off: bool) {
        if called_off {
            self.called_off += 1;
            return;
        }
        self.count += 1;
        if let Some(total) = total {
            let sum = self.sums.entry(total.currency.to_string()).or_default();
            *sum = (*sum + total.amount).normalize();
        }
    }
}

/// Something that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The source's id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// In one word: `filtered`, `quarantined`, `missing`, `doubled`.
    pub what: String,
    /// There is a reason for it.
    pub explained: bool,
    /// For a person.
    pub why: String,
    /// The last lines of its journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub story: Vec<String>,
}

/// What came of one route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteProof {
    /// Which.
    pub route: String,
    /// From where.
    pub from: String,
    /// To where.
    pub to: String,
    /// What the source shows.
    pub source: Side,
    /// What the sink shows of it; absent where it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<Side>,
    /// How many are the same on both sides.
    pub same: usize,
    /// So many of them only as we recorded it: the sink cannot be asked, or has nothing to show of them.
    /// Shipments only; of orders `sink` is absent then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub as_recorded: usize,
    /// How many more the source shows that are of another route's channel.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub elsewhere: usize,
    /// How many are not, by what it is.
    pub explained: BTreeMap<String, usize>,
    /// The same, without a reason.
    pub unexplained: BTreeMap<String, usize>,
    /// The first of them; those without a reason before the others.
    pub differences: Vec<Difference>,
    /// Why a side could not be asked; then nothing is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What came of everything in a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Placed at or after this moment.
    pub from: Timestamp,
    /// Placed before this moment.
    pub to: Timestamp,
    /// When it was made.
    pub made_at: Timestamp,
    /// Each route of orders.
    pub routes: Vec<RouteProof>,
    /// Each route of shipments: those that left in the period.
    #[serde(default)]
    pub shipments: Vec<RouteProof>,
    /// Each publish rule and each route of prices, as the channels show them when the proof is made.
    #[serde(default)]
    pub numbers: Vec<NumbersProof>,
    /// Routes of which nothing is said here.
    pub left_out: Vec<String>,
}

impl Proof {
    /// Both sides were asked, and every difference has a reason.
    pub fn holds(&self) -> bool {
        self.routes.iter().all(RouteProof::holds) && self.numbers.iter().all(NumbersProof::holds)
    }
}

impl RouteProof {
    /// Both sides were asked, and every difference has a reason.
    pub fn holds(&self) -> bool {
        self.trouble.is_none() && self.unexplained.is_empty()
    }

    /// Takes in one thing: what its source shows of it, what we did, and what the sink shows. `standings`
    /// is `None` where the sink cannot be asked.
    pub fn add(&mut self, seen: &Seen, account: &Account, standings: Option<&[&Standing]>) {
        self.source.add(seen.total, seen.called_off);
        if let Some(standings) = standings {
            let sink = self.sink.get_or_insert_default();
            for standing in standings {
                sink.add(standing.total, standing.called_off);
            }
        }
        match judge(seen, account, standings) {
            Verdict::Same => self.same += 1,
            Verdict::Explained(what, why) => self.differ(seen, account, (what, why), true),
            Verdict::Unexplained(what, why) => self.differ(seen, account, (what, why), false),
        }
    }

    /// Takes in something that its source shows and that could not be understood: it is held at the desk.
    pub fn add_rejected(&mut self, id: &RemoteId, fault: &Fault) {
        self.source.add(None, false);
        *self
            .explained
            .entry("not_understood".to_owned())
            .or_default() += 1;
        self.differences.push(Difference {
            id: id.to_string(),
            name: id.to_string(),
            what: "not_understood".to_owned(),
            explained: true,
            why: fault.to_string(),
            story: Vec::new(),
        });
        self.differences.truncate(MOST_TOLD);
    }

    fn differ(
        &mut self,
        seen: &Seen,
        account: &Account,
        (what, why): (&str, String),
        explained: bool,
    ) {
        let counts = if explained {
            &mut self.explained
        } else {
            &mut self.unexplained
        };
        *counts.entry(what.to_owned()).or_default() += 1;
        let difference = Difference {
            id: seen.id.to_string(),
            name: account.name.clone(),
            what: what.to_owned(),
            explained,
            why,
            story: account.story.clone(),
        };
        keep(&mut self.differences, difference);
    }
}

/// Keeps a difference among the first; those without a reason stand before the others.
fn keep(differences: &mut Vec<Difference>, one: Difference) {
    let at = differences.partition_point(|it| one.explained && !it.explained);
    differences.insert(at, one);
    differences.truncate(MOST_TOLD);
}

/// What a source shows of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its id there.
    pub id: RemoteId,
    /// What it costs there.
    pub total: Option<Money>,
    /// It was called off there.
    pub called_off: bool,
}

/// What a comparison says; a word, and a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same on both sides.
    Same,
    /// Not the same, for a reason.
    Explained(&'static str, String),
    /// Not the same, and nothing we know says why.
    Unexplained(&'static str, String),
}

/// Compares what a source shows, what we did with it, and what the sink shows under our reference.
pub fn judge(seen: &Seen, account: &Account, standings: Option<&[&Standing]>) -> Verdict {
    use Verdict::{Explained, Unexplained};
    let there: BTreeSet<&RemoteId> = standings
        .unwrap_or_default()
        .iter()
        .filter(|standing| !standing.called_off)
        .map(|standing| &standing.remote_id)
        .collect();
    if there.len() > 1 {
        let ids: Vec<&str> = there.iter().map(|id| id.as_str()).collect();
        return Unexplained(
            "doubled",
            format!("is there {} times: {}", ids.len(), ids.join(", ")),
        );
    }
    let is_there = !there.is_empty();
    match &account.state {
        State::Delivered(id) => match standings {
            Some(standings) => delivered(seen, account, id, standings),
            None => Verdict::Same,
        },
        State::Waiting(why) => Explained("on_its_way", why.clone()),
        State::Quarantined(why) => Explained("quarantined", why.clone()),
        State::Unread => Explained("not_read_yet", "was not read yet".to_owned()),
        State::Dismissed(why) if !is_there => Explained("dismissed", why.clone()),
        State::Observed if !is_there => Explained("observed", "the route only observes".to_owned()),
        State::Filtered(rule) if !is_there => Explained("filtered", format!("by the rule {rule}")),
        State::Dismissed(_) | State::Observed | State::Filtered(_) => {
            let why = "is there, though we did not send it".to_owned();
            Unexplained("unexpected", why)
        }
        State::Unseen if is_there => {
            let why = "is there under our reference, and we do not know it: was an older store \
                       brought back?";
            Unexplained("forgotten", why.to_owned())
        }
        State::Unseen => {
            let why = "never came, though its stream was read beyond it";
            Unexplained("missing", why.to_owned())
        }
        State::Unknown => {
            let why = "was seen, and nothing tells any more what became of it";
            Unexplained("unknown", why.to_owned())
        }
    }
}

/// What was delivered must be there once, live or called off on both sides, for the same money.
fn delivered(seen: &Seen, account: &Account, id: &RemoteId, standings: &[&Standing]) -> Verdict {
    use Verdict::{Explained, Unexplained};
    let Some(standing) = standings.iter().find(|standing| standing.remote_id == *id) else {
        return match standings.iter().find(|standing| !standing.called_off) {
            Some(other) => {
                let why = format!("was confirmed as {id} and is there as {}", other.remote_id);
                Unexplained("another", why)
            }
            None => Unexplained("missing", format!("was confirmed as {id} and is not there")),
        };
    };
    let here = seen.called_off || account.called_off;
    match (here, standing.called_off) {
        (true, true) => return Verdict::Same,
        (false, true) => {
            let why = format!("was called off over there, as {id}");
            return Explained("called_off_there", why);
        }
        (true, false) if account.called_off => {
            let why = format!("was called off at its source; {id} stands");
            return Unexplained("not_called_off", why);
        }
        (true, false) => {
            let why = "was called off at its source, which was not read yet".to_owned();
            return Explained("not_read_yet", why);
        }
        (false, false) => {}
    }
    if !standing.done {
        let why = format!("was confirmed as {id} and is not finished there");
        return Unexplained("unfinished", why);
    }
    match (account.total, standing.total) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            let why = format!("costs {ours} here and {theirs} there ({id})");
            Unexplained("amount", why)
        }
        _ => Verdict::Same,
    }
}

#[cfg(test)]
mod tests;
