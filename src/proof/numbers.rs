//! Numbers and prices: what a channel shows now against what it should be told.
//!
//! They are states, so that the question is about now. A channel is looked at twice before anything is called a
//! difference: numbers move while they are read, and a channel that sells takes its own sales off by itself.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Difference, Verdict, keep};
use crate::id::Key;

/// What a number or a price is about, the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Of which item.
    pub sku: String,
    /// Of a price: in which list, of which currency, from how many on.
    pub price: Option<(String, String, Decimal)>,
}

impl Place {
    /// Of a number.
    pub fn stock(sku: impl Into<String>) -> Self {
        Self {
            sku: sku.into(),
            price: None,
        }
    }

    /// Of a price.
    pub fn price(sku: &str, list: &str, currency: &str, from: Decimal) -> Self {
        Self {
            sku: sku.to_owned(),
            price: Some((list.to_owned(), currency.to_owned(), from.normalize())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sku)?;
        if let Some((list, currency, from)) = &self.price {
            write!(f, " {list} {currency}")?;
            if *from != Decimal::ONE {
                write!(f, " from {from}")?;
            }
        }
        Ok(())
    }
}

/// How many, or how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// Pieces, or the price of one.
    pub amount: Decimal,
    /// Of a price: what it is compared with, where that is told.
    pub compare_at: Option<Decimal>,
}

impl Number {
    /// Whether both say the same, as far as both say something.
    fn agrees(&self, other: &Self) -> bool {
        let compare = self.compare_at.zip(other.compare_at);
        self.amount == other.amount && compare.is_none_or(|(one, other)| one == other)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.amount.normalize())?;
        match self.compare_at {
            Some(before) => write!(f, " (instead of {})", before.normalize()),
            None => Ok(()),
        }
    }
}

/// What a channel should be told of one place, and what it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// To ask for it again.
    pub key: Key,
    /// What it is about.
    pub place: Place,
    /// What it should be told.
    pub wanted: Number,
    /// What it was told last, and when.
    pub told: Option<(Number, Option<Timestamp>)>,
    /// Why it need not show that: in one word, and for a person.
    pub held: Option<(String, String)>,
    /// The last lines of its journal, where they were asked for.
    pub story: Vec<String>,
}

/// What a channel shows of one place.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// This.
    Number(Number),
    /// It does not have it.
    Nothing,
    /// It does not say, for this reason.
    Refused(String),
}

/// A second look at what was different.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What it showed the first time.
    pub first: &'a Shown,
    /// What we knew before it was asked again.
    pub before: &'a Told,
    /// What it shows now.
    pub shown: &'a Shown,
    /// What we know after that.
    pub after: &'a Told,
    /// What is sold there goes off its number by itself, and until when we know of that.
    pub sells: Option<Sells>,
}

/// How far the orders of a channel are known that lowers its own number with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sells {
    /// Everything that was sold before the first look is known.
    pub known: bool,
    /// Until when all is known; nothing when nothing is.
    pub until: Option<Timestamp>,
}

/// Says of a first look whether there is nothing more to look at.
pub fn is_same(told: &Told, shown: &Shown) -> bool {
    matches!(shown, Shown::Number(number) if told.wanted.agrees(number))
}

/// Compares what a channel shows with what it should be told, after a second look.
pub fn judge_number(look: &Look<'_>) -> Verdict {
    use Verdict::{Explained, Unexplained};
    let (before, after) = (look.before, look.after);
    if is_same(before, look.shown) || is_same(after, look.shown) {
        return Verdict::Same;
    }
    if let Some((what, why)) = after.held.as_ref().or(before.held.as_ref()) {
        return Explained(word(what), why.clone());
    }
    let number = match look.shown {
        Shown::Number(number) => number,
        Shown::Nothing => {
            let why = format!("is not shown there, though {}", was_told(after));
            return Unexplained("not_there", why);
        }
        Shown::Refused(why) => return Unexplained("not_readable", why.clone()),
    };
    if (before.wanted, before.told) != (after.wanted, after.told) {
        let why = format!("moved while it was read: {}", was_told(after));
        return Explained("moving", why);
    }
    if let Some(sells) = look.sells.filter(|_| number.amount < after.wanted.amount) {
        let sold = format!("{number} there, {}", was_told(after));
        if look.first != look.shown {
            return Explained("selling", format!("is being sold just now: {sold}"));
        }
        if !sells.known {
            let until = match sells.until {
                Some(until) => format!("were read until {until}"),
                None => "were not read yet".to_owned(),
            };
            let why = format!("may have been sold there, whose orders {until}: {sold}");
            return Explained("orders_not_read", why);
        }
    }
    Unexplained("different", format!("{number} there, {}", was_told(after)))
}

fn was_told(told: &Told) -> String {
    match &told.told {
        Some((number, Some(at))) => format!("told as {number} at {at:.0}"),
        Some((number, None)) => format!("told as {number}"),
        None => format!("{} is to be told", told.wanted),
    }
}

/// The words of what holds a number back, so that they can be counted.
fn word(what: &str) -> &'static str {
    const WORDS: [&str; 10] = [
        "observed",
        "paused",
        "guarded",
        "quarantined",
        "waiting",
        "not_listed",
        "not_confirmed",
        "failing",
        "late",
        "pending",
    ];
    let known = WORDS.into_iter().find(|word| *word == what);
    known.unwrap_or("pending")
}

/// What came of everything that one rule or route tells a channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NumbersProof {
    /// The publish rule, or the route.
    pub rule: String,
    /// Which stream of which channel.
    pub to: String,
    /// How many were compared.
    pub compared: usize,
    /// How many are the same on both sides.
    pub same: usize,
    /// How many cannot be read there: nothing is proven of them.
    pub not_readable: usize,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// How many are not the same, by what it is.
    pub explained: BTreeMap<String, usize>,
    /// The same, without a reason.
    pub unexplained: BTreeMap<String, usize>,
    /// The first of them; those without a reason before the others.
    pub differences: Vec<Difference>,
    /// Why the channel could not be asked although it can be; then nothing is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl NumbersProof {
    /// The channel was asked, as far as it can be, and every difference has a reason.
    pub fn holds(&self) -> bool {
        self.trouble.is_none() && self.unexplained.is_empty()
    }

    /// Takes in what a second look at one place says.
    pub fn add(&mut self, told: &Told, verdict: Verdict) {
        self.compared += 1;
        let (what, why, explained) = match verdict {
            Verdict::Same => {
                self.same += 1;
                return;
            }
            Verdict::Explained(what, why) => (what, why, true),
            Verdict::Unexplained(what, why) => (what, why, false),
        };
        let counts = if explained {
            &mut self.explained
        } else {
            &mut self.unexplained
        };
        *counts.entry(what.to_owned()).or_default() += 1;
        let difference = Difference {
            id: told.place.to_string(),
            name: told.place.sku.clone(),
            what: what.to_owned(),
            explained,
            why,
            story: told.story.clone(),
        };
        keep(&mut self.differences, difference);
    }

    /// Takes in places that the first look found the same.
    pub fn add_same(&mut self, count: usize) {
        self.compared += count;
        self.same += count;
    }
}

#[cfg(test)]
mod tests;
