//! `cursor` and `paginate`: how far a stream was read, and where its next page begins.
//!
//! A *run* reads from where the last one ended, less the overlap, to the end of what is there. Between
//! its pages the cursor is a token of our own that holds a `Position`; after the last page it is a
//! watermark again. Pages begin *at the value* where the page before ended (law S4), so that rows of
//! one tick are read again rather than skipped; only within one tick that fills whole pages is there a
//! count. A server that ignores a filter, does not sort or gives one page for ever is found out.

use std::time::Duration;

use jiff::Timestamp;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::text::Expr;
use crate::clock::earlier;
use crate::connector::{Cursor, Onward, Window};
use crate::fault::Fault;
use crate::record::Fingerprint;

/// The most pages of one run.
const MAX_PAGES: u32 = 100_000;

/// How much earlier than asked for a row may be: servers cut moments to whole seconds.
const FILTER_TOLERANCE: Duration = Duration::from_secs(2);

/// How far a stream was read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CursorKind {
    /// By a moment that each row carries.
    Watermark(Watermark),
    /// By a number that only grows.
    Sequence(Sequence),
    /// Everything each time.
    Full(Full),
}

/// `cursor.watermark`: rows come sorted by `field`, from `page.from` on, inclusive.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Watermark {
    /// The moment of a row.
    pub field: Expr,
    /// How long the vendor needs until a moment is complete.
    pub settle_lag_secs: u64,
    /// How far before the watermark a run begins. Not below `settle_lag_secs`.
    pub overlap_secs: u64,
}

/// `cursor.sequence`: rows come sorted by `field`, from `page.from` on, inclusive.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// The number of a row.
    pub field: Expr,
    /// How far before the last number a run begins: numbers are given before they are committed.
    #[serde(default)]
    pub overlap: u64,
}

/// `cursor.full`: rows come sorted by `field`, if it is given, from `page.from` on, inclusive.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Full {
    /// A value of a row that never changes, by which pages are resumed.
    pub field: Option<Expr>,
}

/// Where the next page begins.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Paginate {
    /// There is one page.
    None,
    /// At the value where this one ended: `page.from`, and `page.skip` within one tick.
    #[default]
    ByValue,
    /// Behind so many rows: `page.skip`. Only for what is small or never changes.
    Offset,
    /// Where the vendor says: `page.token`.
    Token(TokenPaging),
}

/// `paginate.token`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenPaging {
    /// What the reply calls the next page; null or absent after the last.
    pub next: Expr,
}

/// The compiled facts that decide about a run.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) kind: Kind,
    pub(super) by_value: bool,
    /// There is one page only.
    pub(super) single: bool,
}

/// What the cursor is after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Watermark { lag: Duration, overlap: Duration },
    Sequence { overlap: u64 },
    Full,
}

impl Kind {
    pub(super) fn onward(self) -> Onward {
        match self {
            Self::Watermark { overlap, .. } => Onward::Moment { overlap },
            Self::Sequence { .. } => Onward::Number,
            Self::Full => Onward::Whole,
        }
    }
}

impl Rules {
    /// As the merchant says, where rows are read by moments.
    pub(super) fn within(&self, window: Option<&Window>) -> Self {
        let mut rules = self.clone();
        if let (Kind::Watermark { lag, overlap }, Some(window)) = (&mut rules.kind, window) {
            (*lag, *overlap) = (window.settle_lag, window.overlap);
        }
        rules
    }

    /// The same rows, all of them.
    pub(super) fn whole(&self) -> Self {
        Self {
            kind: Kind::Full,
            ..self.clone()
        }
    }
}

/// Where a run stands between two pages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The value to begin at, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Json>,
    #[serde(default)]
    pub(super) skip: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(default)]
    pub(super) pages: u32,
    /// The greatest value seen in this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Json>,
    /// The vendor's clock when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun: Option<Timestamp>,
    /// The cursor that the run began with: the one after it must not be older (law S3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<Json>,
    /// The page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<Fingerprint>,
}

/// What one page brought.
#[derive(Debug)]
pub(super) struct PageFacts {
    /// The value of each row; null where it has none.
    pub(super) values: Vec<Json>,
    /// All rows together.
    pub(super) fingerprint: Fingerprint,
    /// There is more, by the reply or because the page is full.
    pub(super) more: bool,
    /// What the vendor calls the next page.
    pub(super) token: Option<String>,
    /// The vendor's clock, if it tells.
    pub(super) server_time: Option<Timestamp>,
    /// Our clock.
    pub(super) received_at: Timestamp,
}

impl Position {
    /// Where to read, given the cursor that was stored.
    ///
    /// A first run reads everything, also what is older than `start_from`: it is carried nowhere, but what
    /// is still open of it takes its goods from the pool.
    pub(super) fn start(rules: &Rules, after: Option<&Cursor>) -> Result<Self, Fault> {
        let begin = |from: Json, floor: Json| Self {
            from: Some(from),
            floor: Some(floor),
            ..Self::default()
        };
        match (rules.kind, after) {
            (_, None) => Ok(Self::default()),
            (Kind::Full, Some(Cursor::Watermark { at, .. })) => Ok(Self {
                floor: Some(json!(at)),
                ..Self::default()
            }),
            (_, Some(Cursor::Token { token, .. })) => serde_json::from_str(token).map_err(|_| {
                Fault::bug(
                    "bad_cursor",
                    "the stored cursor is not one of this connector",
                )
            }),
            (Kind::Watermark { overlap, .. }, Some(Cursor::Watermark { at, .. })) => {
                Ok(begin(json!(earlier(*at, overlap)), json!(at)))
            }
            (Kind::Sequence { overlap }, Some(Cursor::Sequence { last })) => {
                Ok(begin(json!(last.saturating_sub(overlap)), json!(last)))
            }
            (_, Some(other)) => {
                let message = format!("the stored cursor ({other}) is of another kind");
                Err(Fault::bug("bad_cursor", message))
            }
        }
    }

    /// Where a reading of everything begins, given what this stream is read by and from when on.
    pub(super) fn sweep(rules: &Rules, from: Option<Timestamp>) -> Self {
        let by_moment = rules.by_value && matches!(rules.kind, Kind::Watermark { .. });
        Self {
            from: from.filter(|_| by_moment).map(|from| json!(from)),
            ..Self::default()
        }
    }

    /// What requests may use as `page`.
    pub(super) fn document(&self, size: u32) -> Json {
        json!({
            "from": self.from, "skip": self.skip, "token": self.token, "number": self.pages,
            "size": size
        })
    }

    /// The cursor after a page, and whether there is more.
    pub(super) fn after(
        mut self,
        rules: &Rules,
        page: &PageFacts,
    ) -> Result<(Cursor, bool), Fault> {
        self.begun = self.begun.or(page.server_time);
        let last = self.check_order(rules, page)?;
        self.newest = later_of(self.newest.take(), last.clone());
        if rules.single || !page.more {
            return Ok((self.done(rules, page), false));
        }
        if page.values.is_empty() {
            let message = "the other side says that there is more, but the page is empty";
            return Err(Fault::bug("empty_page", message));
        }
        let next = self.next(rules, page, last)?;
        let until = match rules.kind {
            Kind::Watermark { .. } => next.newest.as_ref().and_then(moment),
            _ => None,
        };
        let token = serde_json::to_string(&next)
            .map_err(|_| Fault::bug("bad_cursor", "a position could not be written"))?;
        Ok((Cursor::Token { token, until }, true))
    }

    /// Checks what the other side was asked for: from a value on, sorted. Gives the last value.
    fn check_order(&self, rules: &Rules, page: &PageFacts) -> Result<Option<Json>, Fault> {
        if !rules.by_value {
            return Ok(page
                .values
                .iter()
                .filter(|it| !it.is_null())
                .fold(None, |best, value| later_of(best, Some(value.clone()))));
        }
        let mut last: Option<&Json> = None;
        for value in page.values.iter().filter(|value| !value.is_null()) {
            if self
                .from
                .as_ref()
                .is_some_and(|from| well_before(value, from))
            {
                let message = "the other side sent what lies before what was asked for: it \
                               ignores the filter, so nothing can be resumed by value";
                return Err(Fault::bug("filter_ignored", message));
            }
            if last.is_some_and(|last| order(value, last).is_lt()) {
                let message = "the rows are not sorted by the field that pages are resumed by";
                return Err(Fault::bug("not_sorted", message));
            }
            last = Some(value);
        }
        Ok(last.cloned())
    }

    fn next(self, rules: &Rules, page: &PageFacts, last: Option<Json>) -> Result<Self, Fault> {
        let count = page.values.len() as u64;
        let mut next = Self {
            pages: self.pages + 1,
            seen: Some(page.fingerprint),
            ..self.clone()
        };
        if rules.by_value {
            // Nothing but one tick on a whole page: count within it. Otherwise begin at the last
            // value, which brings its rows once more and skips none.
            let moved = last.filter(|last| {
                self.from
                    .as_ref()
                    .is_none_or(|from| order(last, from).is_gt())
            });
            next.skip = if moved.is_none() {
                self.skip + count
            } else {
                0
            };
            next.from = moved.or(self.from);
        } else if let Some(token) = &page.token {
            next.token = Some(token.clone());
        } else {
            next.skip = self.skip + count;
        }
        let moved_by_count = !rules.by_value || next.skip > count;
        let repeated = self.seen == Some(page.fingerprint) && moved_by_count;
        let same_token = next.token.is_some() && next.token == self.token;
        if repeated || same_token || next.pages > MAX_PAGES {
            let message = "the other side gives the same page again and again";
            return Err(Fault::bug("endless_paging", message));
        }
        Ok(next)
    }

    /// The cursor after the last page of a run.
    ///
    /// Law S5: the newest tick seen, but not after the vendor's clock at the begin of the run less the
    /// settle lag. Without a clock the newest tick seen stands for it.
    fn done(self, rules: &Rules, page: &PageFacts) -> Cursor {
        match rules.kind {
            Kind::Full => {
                let at = self.begun.unwrap_or(page.received_at);
                let floor = self.floor.as_ref().and_then(moment);
                Cursor::watermark(floor.map_or(at, |floor| at.max(floor)))
            }
            Kind::Sequence { .. } => {
                let number =
                    |json: &Option<Json>| json.as_ref().and_then(Json::as_u64).unwrap_or(0);
                Cursor::Sequence {
                    last: number(&self.newest).max(number(&self.floor)),
                }
            }
            Kind::Watermark { lag, .. } => {
                let floor = self.floor.as_ref().and_then(moment);
                let newest = self.newest.as_ref().and_then(moment).or(floor);
                let settled = self.begun.or(newest).map(|now| earlier(now, lag));
                let at = match (newest, settled) {
                    (Some(newest), Some(settled)) => newest.min(settled),
                    (None, Some(settled)) => settled,
                    _ => Timestamp::UNIX_EPOCH,
                };
                Cursor::watermark(floor.map_or(at, |floor| at.max(floor)))
            }
        }
    }
}

/// A moment out of JSON.
pub(super) fn moment(json: &Json) -> Option<Timestamp> {
    json.as_str()?.parse().ok()
}

fn later_of(one: Option<Json>, other: Option<Json>) -> Option<Json> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if order(&other, &one).is_gt() {
            other
        } else {
            one
        }),
        (one, other) => one.or(other),
    }
}

/// Whether a row lies before what was asked for; whole seconds may have been cut off moments.
fn well_before(value: &Json, from: &Json) -> bool {
    match (moment(value), moment(from)) {
        (Some(value), Some(from)) => value < earlier(from, FILTER_TOLERANCE),
        _ => order(value, from).is_lt(),
    }
}

/// Moments and numbers by value. Other texts by whatever order the other side has: never "before".
fn order(one: &Json, other: &Json) -> std::cmp::Ordering {
    if let (Some(one), Some(other)) = (moment(one), moment(other)) {
        return one.cmp(&other);
    }
    let number = |json: &Json| match json {
        Json::Number(number) => Decimal::from_str_exact(&number.to_string()).ok(),
        _ => None,
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ if one == other => std::cmp::Ordering::Equal,
        _ => std::cmp::Ordering::Greater,
    }
}
