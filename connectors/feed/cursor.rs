//! How far one stream has read, and what it needs to remember about the files before: all of it stands
//! in the cursor and so in the checkpoint.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::judge::Facts;
use crate::connector::Cursor;
use crate::fault::Fault;
use crate::transport::dir::SpoolName;

/// Files that are remembered.
const REMEMBERED: usize = 50;

/// A file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Its key: when it was written and what is in it.
    pub(super) file: String,
    /// It was not taken: a duplicate, or older than what was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) passed_over: bool,
}

/// In the middle of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct At {
    /// The file's key.
    pub(super) file: String,
    /// The physical line of the last row that was handed over. The file never changes, so a line is a
    /// value and not a position (law S4).
    pub(super) line: u64,
}

/// How far one stream has read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The oldest first.
    #[serde(default)]
    pub(super) done: Vec<Done>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<At>,
    /// What was in the last good file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<Facts>,
    /// The newest export time that a file's name told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) newest: Option<DateTime>,
    /// Until when the last good file knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read_at: Option<Timestamp>,
    /// When the file that is read, or was read last, was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) as_of: Option<Timestamp>,
}

/// What tells a file from every other, and sorts files by their time.
pub(super) fn key(name: &SpoolName) -> String {
    let stamp = name.to_string();
    let stamp = stamp.split('-').next().unwrap_or_default();
    let hash = name.hash.as_deref().unwrap_or_default();
    format!("{stamp}-{}", hash.get(..16).unwrap_or(hash))
}

impl Progress {
    /// # Errors
    /// `Config` for a cursor that is not one of ours.
    pub(super) fn read(cursor: Option<&Cursor>) -> Result<Self, Fault> {
        let token = match cursor {
            None => return Ok(Self::default()),
            Some(Cursor::Token { token, .. }) => token,
            Some(other) => return Err(foreign(&format!("`{other}` is of another kind"))),
        };
        serde_json::from_str(token).map_err(|error| foreign(&error.to_string()))
    }

    /// # Errors
    /// Never in practice: everything in it has a JSON form.
    pub(super) fn to_cursor(&self) -> Result<Cursor, Fault> {
        let token = serde_json::to_string(self)
            .map_err(|error| Fault::bug("cursor_unwritable", error.to_string()))?;
        Ok(Cursor::Token { token, until: None })
    }

    /// Whether this stream has finished with a file.
    pub(super) fn is_done(&self, name: &SpoolName) -> bool {
        let key = key(name);
        self.done.iter().any(|done| done.file == key)
    }

    /// Marks a file as finished.
    pub(super) fn finish(&mut self, name: &SpoolName, passed_over: bool) {
        self.at = None;
        self.done.push(Done {
            file: key(name),
            passed_over,
        });
        let surplus = self.done.len().saturating_sub(REMEMBERED);
        self.done.drain(..surplus);
    }

    /// Whether a file repeats one that was taken.
    ///
    /// The same content as the last file is a repetition. The same content as an earlier one is only if
    /// the file is not newer than the last one: stock that went from A to B and back to A is news, and
    /// a small list may say it in the very same bytes.
    pub(super) fn is_duplicate(&self, name: &SpoolName) -> bool {
        let key = key(name);
        let hash = hash_of(&key);
        let taken = self.done.iter().filter(|done| !done.passed_over);
        let Some(last) = taken.clone().next_back() else {
            return false;
        };
        hash_of(&last.file) == hash
            || (key <= last.file && taken.clone().any(|done| hash_of(&done.file) == hash))
    }
}

fn hash_of(key: &str) -> &str {
    key.rsplit('-').next().unwrap_or_default()
}

fn foreign(reason: &str) -> Fault {
    Fault::config(
        "foreign_cursor",
        format!(
            "the stored position of this feed cannot be read ({reason}); reset the stream's checkpoint \
             to read the next file from its beginning"
        ),
    )
}
