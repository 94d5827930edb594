//! Since when processes may have died while they were telling.
//!
//! What a process that was killed had under way may still land, so what the next one tells is told once more when
//! that is over (`Cell::late`). One that is killed as soon knows only that this is still to be done, and begins the
//! wait anew for what it tells itself. Were all of it told at once by every process, one that is killed each second
//! would tell little else. So the wait of the first of them holds for all, and then each number is told once more, by
//! one process.

use super::EngineError;
use super::rules::Rules;
use super::tables::{Fact, META};
use crate::clock::{Timestamp, later};
use crate::store::Txn;

/// The name of the fact since when what was told and is late waits.
const DOUBTED: &str = "doubted";

/// Since when what was told and is late waits. Where the wait of all sinks is over it begins anew for what is told
/// from now on; not if the process before ended in order.
pub(super) fn doubted_since(
    txn: &mut Txn<'_>,
    rules: &Rules,
    now: Timestamp,
    in_order: bool,
) -> Result<Timestamp, EngineError> {
    let known = META.get(txn, &DOUBTED.to_owned())?;
    let known = known.and_then(|fact| fact.value.as_str()?.parse::<Timestamp>().ok());
    // A clock that was set back must not make it wait for as long.
    let known = known.filter(|at| *at <= now);
    let longest = rules.feeds().map(|it| rules.facts(&it.target.0).late).max();
    let is_waiting = known.is_some_and(|at| later(at, longest.unwrap_or_default()) > now);
    if !in_order && !is_waiting {
        let value = now.to_string().into();
        META.put(txn, &DOUBTED.to_owned(), &Fact { value })?;
    }
    Ok(known.unwrap_or(now))
}
