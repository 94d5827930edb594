//! Lists that are read page by page: by a moment and, within it, by a key, never by counting.
//!
//! `next` in a reply is a token, `2026-11-22T10:00:00.5Z~1042`; `page=TOKEN` continues right behind that
//! row. Rows that change on the way move to the end and come again; none is skipped.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Value, json};

use super::serve::{Call, Reply};
use crate::clock::Timestamp;

/// The rows of one page in order, and the token of the next one (null after the last).
///
/// The first page begins at the moment in the query parameter `since`, inclusive.
pub(super) fn page<'a, T, K>(
    call: &Call,
    since: &str,
    max: usize,
    rows: impl Iterator<Item = &'a T>,
    key: impl Fn(&T) -> (Timestamp, K),
) -> Result<(Vec<&'a T>, Value), Reply>
where
    K: Ord + Display + FromStr,
{
    let from = call.moment(since)?.unwrap_or(Timestamp::MIN);
    let limit = call.limit(max)?;
    let behind = match call.query.get("page") {
        Some(token) => Some(read::<K>(token)?),
        None => None,
    };
    let mut rows: Vec<&T> = rows
        .filter(|row| match &behind {
            Some(behind) => key(row) > *behind,
            None => key(row).0 >= from,
        })
        .collect();
    rows.sort_by_cached_key(|row| key(row));
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|last| key(last));
    let next = last.map_or(Value::Null, |(at, tie)| json!(format!("{at}~{tie}")));
    Ok((rows, next))
}

fn read<K: FromStr>(token: &str) -> Result<(Timestamp, K), Reply> {
    let parts = token.split_once('~');
    parts
        .and_then(|(at, tie)| Some((at.parse().ok()?, tie.parse().ok()?)))
        .ok_or_else(|| Reply::error(400, "bad_page", "`page` is not a token of this list"))
}
