//! The first pass over a file: what is in it, and whether it may be believed.
//!
//! Nothing is handed over before the whole file was read once. Memory stays bounded for any number of
//! rows: articles that may be repeated are found in the first reading (above some millions of rows with a
//! bitmap, which may be wrong in one direction only), and what they say is compared in a second one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

use super::convert::{Places, Reading, RowFault, RowReader, Said};
use super::settings::{Kind, Settings};
use crate::format::csv::{Header, Row};
use crate::record::Stream;

/// Bad rows that are listed in the reply.
const MAX_LISTED: usize = 10_000;
/// Rows that may be repetitions, all told. More, and the file is not a list of articles.
const MAX_CANDIDATES: usize = 4_000_000;
/// Keys that are kept one by one, of each stream: 16 MiB.
const MAX_EACH: usize = 2_000_000;
/// Fewer rows than this prove nothing about shares.
const FEW_ROWS: u64 = 20;
/// Fewer bad rows than this never hold a file of which most is good.
const FEW_BAD: u64 = 5;

/// What the guards compare; kept of the last good file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Rows in which something stands.
    pub(super) rows: u64,
    /// Rows that tell of stock, and how many of them tell of none.
    #[serde(default)]
    pub(super) stock: u64,
    #[serde(default)]
    pub(super) zeros: u64,
    /// Rows that tell a price, and their mean.
    #[serde(default)]
    pub(super) prices: u64,
    #[serde(default)]
    pub(super) price_mean: f64,
    /// Fingerprint of the header.
    #[serde(default)]
    pub(super) header: String,
}

/// What the first pass found.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) facts: Facts,
    /// Rows of which at least one part is not taken.
    pub(super) bad: u64,
    /// Bad rows that may have told of stock. Such a file does not prove that anything is missing: what
    /// seems to be missing may stand in one of them.
    pub(super) unproven: u64,
    /// The first bad rows, in the order of the file.
    pub(super) listed: Vec<RowFault>,
    /// Things that rows contradict each other about, per stream: none of these rows is taken.
    pub(super) conflicts: BTreeMap<Stream, HashMap<u64, u64>>,
    /// More repetitions than can be told apart.
    pub(super) too_repetitive: bool,
}

/// Keys of all rows of one stream, for finding those that come twice.
enum Seen {
    /// One by one, while they are few.
    Each(Vec<u64>),
    /// A bit for each, which may say "seen" of a few that were not; never the other way round.
    Bits {
        bits: Vec<u64>,
        mask: u64,
        candidates: Vec<u64>,
    },
}

impl Seen {
    fn insert(&mut self, key: u64, file_bytes: u64) {
        match self {
            Self::Each(keys) if keys.len() < MAX_EACH => keys.push(key),
            Self::Each(keys) => {
                let keys = std::mem::take(keys);
                *self = Self::bits_for(file_bytes);
                for key in keys {
                    self.mark(key);
                }
                self.mark(key);
            }
            Self::Bits { .. } => self.mark(key),
        }
    }

    /// About eight bits for each row there can be, 32 MiB at most.
    fn bits_for(file_bytes: u64) -> Self {
        let count = file_bytes.clamp(1 << 20, 1 << 28).next_power_of_two();
        Self::Bits {
            bits: vec![0; usize::try_from(count / 64).unwrap_or(1)],
            mask: count - 1,
            candidates: Vec::new(),
        }
    }

    fn mark(&mut self, key: u64) {
        let Self::Bits {
            bits,
            mask,
            candidates,
        } = self
        else {
            return;
        };
        let at = key & *mask;
        let bit = 1 << (at % 64);
        // The mask is below the number of bits.
        let word = &mut bits[usize::try_from(at / 64).unwrap_or(0)];
        if *word & bit != 0 {
            candidates.push(key);
        }
        *word |= bit;
    }

    /// How many may be repetitions, as far as that is known before the end.
    fn repetitions(&self) -> usize {
        match self {
            Self::Each(_) => 0,
            Self::Bits { candidates, .. } => candidates.len(),
        }
    }

    /// Keys that may have come twice, sorted.
    fn finish(self) -> Vec<u64> {
        match self {
            Self::Each(mut keys) => {
                keys.sort_unstable();
                let mut twice: Vec<u64> = keys
                    .windows(2)
                    .filter(|pair| pair[0] == pair[1])
                    .map(|pair| pair[0])
                    .collect();
                twice.dedup();
                twice
            }
            Self::Bits { mut candidates, .. } => {
                candidates.sort_unstable();
                candidates.dedup();
                candidates
            }
        }
    }
}

/// The first reading. Feed it every row, then [`Judge::finish`] says whether a second one is needed.
pub(super) struct Judge<'s> {
    readers: Vec<(Stream, RowReader<'s>)>,
    seen: Vec<Seen>,
    file_bytes: u64,
    price_sum: f64,
    found: Judgement,
}

impl<'s> Judge<'s> {
    pub(super) fn new(
        settings: &'s Settings,
        places: &'s Places,
        header: &Header,
        file_bytes: u64,
    ) -> Self {
        let streams = &settings.streams;
        let names = header.names().join("\u{1f}");
        Self {
            readers: streams
                .iter()
                .map(|stream| (*stream, RowReader::new(settings, places, *stream)))
                .collect(),
            seen: streams.iter().map(|_| Seen::Each(Vec::new())).collect(),
            file_bytes,
            price_sum: 0.0,
            found: Judgement {
                facts: Facts {
                    rows: 0,
                    stock: 0,
                    zeros: 0,
                    prices: 0,
                    price_mean: 0.0,
                    header: blake3::hash(names.as_bytes()).to_hex()[..16].to_owned(),
                },
                bad: 0,
                unproven: 0,
                listed: Vec::new(),
                conflicts: BTreeMap::new(),
                too_repetitive: false,
            },
        }
    }

    /// A row that is not even a row.
    pub(super) fn unreadable(&mut self, fault: RowFault) {
        self.found.facts.rows += 1;
        self.found.bad += 1;
        self.found.unproven += 1;
        list(&mut self.found.listed, fault);
    }

    /// A row.
    pub(super) fn row(&mut self, row: &Row<'_>) {
        let mut fault: Option<RowFault> = None;
        let mut said_something = false;
        for (n, (stream, reader)) in self.readers.iter().enumerate() {
            match reader.read(row) {
                Reading::Nothing => {}
                Reading::Bad(bad) => {
                    self.found.unproven += u64::from(*stream == Stream::Stock);
                    fault = fault.or(Some(bad));
                }
                Reading::Says(said) => {
                    said_something = true;
                    self.seen[n].insert(said.key(), self.file_bytes);
                    count(&mut self.found.facts, &mut self.price_sum, *stream, &said);
                }
            }
        }
        self.found.facts.rows += u64::from(said_something || fault.is_some());
        if let Some(fault) = fault {
            self.found.bad += 1;
            list(&mut self.found.listed, fault);
        }
        let repetitions: usize = self.seen.iter().map(Seen::repetitions).sum();
        self.found.too_repetitive = repetitions > MAX_CANDIDATES;
    }

    /// Whether more reading makes no difference.
    pub(super) fn is_hopeless(&self) -> bool {
        self.found.too_repetitive
    }

    /// Ends the first reading. The second one is only needed when something may be repeated.
    pub(super) fn finish(mut self) -> FirstPass<'s> {
        let facts = &mut self.found.facts;
        if facts.prices > 0 {
            facts.price_mean = self.price_sum / to_f64(facts.prices);
        }
        let candidates: Vec<_> = self.seen.into_iter().map(Seen::finish).collect();
        if self.found.too_repetitive || candidates.iter().all(Vec::is_empty) {
            return FirstPass::Enough(self.found);
        }
        let mut readers = Vec::new();
        for ((stream, reader), keys) in self.readers.into_iter().zip(candidates) {
            let first = vec![None; keys.len()];
            readers.push(Repeated {
                stream,
                reader,
                keys,
                first,
                conflicts: HashMap::new(),
            });
        }
        FirstPass::Again(Repetitions {
            readers,
            found: self.found,
        })
    }
}

fn count(facts: &mut Facts, price_sum: &mut f64, stream: Stream, said: &Said<'_>) {
    if stream == Stream::Stock {
        facts.stock += 1;
        facts.zeros += u64::from(said.is_zero());
    }
    if let Some(price) = said.price() {
        facts.prices += 1;
        *price_sum += price.to_f64().unwrap_or(0.0);
    }
}

fn list(listed: &mut Vec<RowFault>, fault: RowFault) {
    if listed.len() < MAX_LISTED {
        listed.push(fault);
    }
}

/// What the first reading led to.
pub(super) enum FirstPass<'s> {
    /// All is known.
    Enough(Judgement),
    /// Something may be repeated.
    Again(Repetitions<'s>),
}

/// What the first row about a thing said.
#[derive(Debug, Clone, Copy)]
struct First {
    line: u64,
    value: u64,
}

struct Repeated<'s> {
    stream: Stream,
    reader: RowReader<'s>,
    /// Sorted.
    keys: Vec<u64>,
    first: Vec<Option<First>>,
    conflicts: HashMap<u64, u64>,
}

/// The second reading: which articles stand in the file twice with different values.
pub(super) struct Repetitions<'s> {
    readers: Vec<Repeated<'s>>,
    found: Judgement,
}

impl Repetitions<'_> {
    /// A row, in the same order as before.
    pub(super) fn row(&mut self, row: &Row<'_>) {
        for repeated in &mut self.readers {
            let Reading::Says(said) = repeated.reader.read(row) else {
                continue;
            };
            let key = said.key();
            let Ok(at) = repeated.keys.binary_search(&key) else {
                continue;
            };
            let value = said.value(row);
            let line = row.line();
            let Some(first) = repeated.first[at] else {
                repeated.first[at] = Some(First { line, value });
                continue;
            };
            let known = repeated.conflicts.contains_key(&key);
            if first.value == value && !known {
                continue;
            }
            let column = repeated.reader.sku_column();
            let found = &mut self.found;
            if !known {
                repeated.conflicts.insert(key, first.line);
                found.bad += 1;
                found.unproven += u64::from(repeated.stream == Stream::Stock);
                let fault = RowFault::conflict(first.line, column, said.sku(), line);
                list(&mut found.listed, fault);
            }
            found.bad += 1;
            let fault = RowFault::conflict(line, column, said.sku(), first.line);
            list(&mut found.listed, fault);
        }
    }

    /// What both readings found.
    pub(super) fn finish(mut self) -> Judgement {
        for repeated in self.readers {
            let kept = self.found.conflicts.entry(repeated.stream).or_default();
            *kept = repeated.conflicts;
        }
        self.found.listed.sort_by_key(|fault| fault.line);
        self.found
    }
}

impl Judgement {
    /// The line of the first of the rows that contradict this one.
    pub(super) fn conflict(&self, stream: Stream, said: &Said<'_>) -> Option<u64> {
        let conflicts = self
            .conflicts
            .get(&stream)
            .filter(|keys| !keys.is_empty())?;
        conflicts.get(&said.key()).copied()
    }

    /// Why the whole file is held back; empty when it may pass. `last` is the last good file.
    pub(super) fn objections(&self, settings: &Settings, last: Option<&Facts>) -> Vec<String> {
        let mut reasons = Vec::new();
        let facts = &self.facts;
        if self.too_repetitive {
            reasons.push("most articles stand in it more than once".to_owned());
        }
        if facts.rows == 0 && settings.kind == Kind::Full {
            reasons.push("a full list without a single row".to_owned());
        }
        self.object_to_bad_rows(settings, &mut reasons);
        if settings.kind == Kind::Full {
            object_to_size(facts, last, settings, &mut reasons);
            object_to_zeros(facts, last, settings, &mut reasons);
            object_to_prices(facts, last, settings, &mut reasons);
        }
        reasons
    }

    fn object_to_bad_rows(&self, settings: &Settings, reasons: &mut Vec<String>) {
        let (bad, rows) = (self.bad, self.facts.rows);
        let mostly_bad = bad * 2 > rows;
        let share = share(bad, rows);
        if share > settings.guard.bad_rows && (bad >= FEW_BAD || mostly_bad) {
            let (found, limit) = (percent(share), percent(settings.guard.bad_rows));
            reasons.push(format!(
                "{bad} of {rows} rows are bad ({found} %, the limit is {limit} %)"
            ));
        }
    }
}

fn object_to_size(
    facts: &Facts,
    last: Option<&Facts>,
    settings: &Settings,
    reasons: &mut Vec<String>,
) {
    let Some(last) = last else { return };
    let floor = to_f64(last.rows) * (1.0 - settings.guard.shrink);
    if to_f64(facts.rows) < floor && last.rows >= FEW_ROWS {
        let limit = percent(settings.guard.shrink);
        let (rows, before) = (facts.rows, last.rows);
        reasons.push(format!(
            "{rows} rows where the last good file had {before} (the limit is {limit} % fewer)"
        ));
    }
}

fn object_to_zeros(
    facts: &Facts,
    last: Option<&Facts>,
    settings: &Settings,
    reasons: &mut Vec<String>,
) {
    if facts.stock < FEW_ROWS {
        return;
    }
    let now = share(facts.zeros, facts.stock);
    let (before, limit) = match last.filter(|last| last.stock > 0) {
        Some(last) => {
            let before = share(last.zeros, last.stock);
            (Some(before), before + settings.guard.zero_rise)
        }
        None => (None, settings.guard.first_zeros),
    };
    if now > limit {
        let mut reason = format!("{} % of the articles have no stock", percent(now));
        if let Some(before) = before {
            let before = percent(before);
            let _ = write!(reason, " ({before} % in the last good file)");
        }
        reasons.push(reason);
    }
}

fn object_to_prices(
    facts: &Facts,
    last: Option<&Facts>,
    settings: &Settings,
    reasons: &mut Vec<String>,
) {
    let Some(last) = last.filter(|last| last.prices >= FEW_ROWS && last.price_mean > 0.0) else {
        return;
    };
    if facts.prices < FEW_ROWS {
        return;
    }
    let (now, before) = (facts.price_mean, last.price_mean);
    let factor = settings.guard.price_factor;
    if now > before * factor || now * factor < before {
        reasons.push(format!(
            "the mean price is {now:.2} where the last good file had {before:.2}; is `decimal_mark` \
             still right?"
        ));
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    to_f64(part) / to_f64(whole)
}

fn percent(share: f64) -> Decimal {
    Decimal::from_f64_retain(share * 100.0)
        .unwrap_or_default()
        .round_dp(1)
        .normalize()
}

/// Exact for any number of rows a file can have.
fn to_f64(count: u64) -> f64 {
    count.to_f64().unwrap_or(f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither way of finding repetitions may miss one.
    #[test]
    fn every_repeated_key_is_found_either_way() {
        let key = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let keys = (0..100_000).map(key).chain([key(7), key(99_999), key(7)]);
        let mut each = Seen::Each(Vec::new());
        let mut bits = Seen::bits_for(1);
        for key in keys {
            each.insert(key, 1);
            bits.insert(key, 1);
        }
        let mut expect = vec![key(7), key(99_999)];
        expect.sort_unstable();
        assert_eq!(each.finish(), expect);
        let candidates = bits.finish();
        assert!(
            expect
                .iter()
                .all(|key| candidates.binary_search(key).is_ok())
        );
        assert!(candidates.len() < 10_000, "{}", candidates.len());
    }

    #[test]
    fn many_keys_move_into_bits_and_none_is_lost() {
        let mut seen = Seen::Each((0..MAX_EACH as u64).collect());
        seen.insert(5, 100_000_000);
        seen.insert(MAX_EACH as u64 + 1, 100_000_000);
        assert_eq!(seen.repetitions(), 1);
        assert_eq!(seen.finish(), [5]);
    }
}
