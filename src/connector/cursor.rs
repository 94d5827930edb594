//! How far a source has read.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// How much of a vendor's text is shown to a person.
const MAX_SHOWN: usize = 40;

/// A position in a source, by value and never by offset (law S4). Opaque to everyone but its source,
/// except that a watermark may be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cursor {
    /// Everything up to and including this moment of the vendor's clock, ties broken by id.
    Watermark {
        /// The vendor's time.
        at: Timestamp,
        /// The id of the last thing taken at exactly `at`; empty when the whole moment is done.
        #[serde(default)]
        tie: String,
    },
    /// Everything up to and including this number.
    Sequence {
        /// The last number taken.
        last: u64,
    },
    /// What the vendor called the next page.
    Token {
        /// The vendor's text.
        token: String,
        /// The watermark that holds once the last page of this run is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// In the middle of reading all there is.
    Backfill {
        /// What was there when it began; changes after it belong to the next delta.
        cutoff: Timestamp,
        /// The last key taken.
        after: String,
    },
}

impl Cursor {
    /// A watermark with its whole moment done.
    pub fn watermark(at: Timestamp) -> Self {
        Self::Watermark {
            at,
            tie: String::new(),
        }
    }

    /// Law S3: a stored cursor is only replaced by one that is not older.
    ///
    /// # Errors
    /// `Bug`, when `next` is a watermark or sequence before this one.
    pub fn check_successor(&self, next: &Self) -> Result<(), Fault> {
        let went_back = match (self, next) {
            (
                Self::Watermark { at, tie },
                Self::Watermark {
                    at: next_at,
                    tie: next_tie,
                },
            ) => {
                // An empty tie means that the whole moment is done: it is the greatest of its moment.
                (next_at, next_tie.is_empty(), next_tie) < (at, tie.is_empty(), tie)
            }
            (Self::Sequence { last }, Self::Sequence { last: next }) => next < last,
            _ => false,
        };
        if went_back {
            let message = format!("the cursor went back from {self} to {next}");
            return Err(Fault::bug("cursor_went_back", message));
        }
        Ok(())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watermark { at, tie } if tie.is_empty() => write!(f, "{at}"),
            Self::Watermark { at, tie } => write!(f, "{at} after {tie}"),
            Self::Sequence { last } => write!(f, "number {last}"),
            Self::Token {
                until: Some(until), ..
            } => write!(f, "in the middle of a run to {until}"),
            // Whatever a source put there is for the source to read.
            Self::Token { token, .. } if token.chars().count() <= MAX_SHOWN => {
                write!(f, "page {token}")
            }
            Self::Token { token, .. } => {
                let start: String = token.chars().take(MAX_SHOWN).collect();
                write!(f, "page {start}…")
            }
            Self::Backfill { cutoff, after } => write!(f, "backfill to {cutoff} after {after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(at: &str, tie: &str) -> Cursor {
        Cursor::Watermark {
            at: at.parse().unwrap(),
            tie: tie.into(),
        }
    }

    #[test]
    fn watermarks_never_go_back() {
        let here = mark("2026-11-22T10:00:00Z", "17");
        assert!(
            here.check_successor(&mark("2026-11-22T10:00:00Z", "18"))
                .is_ok()
        );
        assert!(
            here.check_successor(&mark("2026-11-22T10:00:00Z", ""))
                .is_ok()
        );
        assert!(
            here.check_successor(&mark("2026-11-22T09:59:59Z", "99"))
                .is_err()
        );
        assert!(
            mark("2026-11-22T10:00:00Z", "")
                .check_successor(&here)
                .is_err()
        );
    }

    #[test]
    fn a_cursor_survives_the_store() {
        let cursor = mark("2026-11-22T10:00:00.123456Z", "17");
        let json = serde_json::to_string(&cursor).unwrap();
        assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor);
    }
}
