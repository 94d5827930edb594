//! A record as it is written: its JSON form as text.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{Record, Stream};
use crate::fault::Fault;

/// The JSON form of a record as text. A row holds it as it is: what only passes through is neither taken
/// apart nor put together again.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Written(Box<RawValue>);

impl Written {
    /// Of a document.
    pub fn of(json: &Value) -> Self {
        // A document has nothing that serde_json refuses.
        Self(to_raw_value(json).unwrap_or_default())
    }

    /// Of a record.
    pub fn of_record(record: &Record) -> Self {
        Self(record.to_raw())
    }

    /// Its text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// As a document.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// As a record of `stream`, checked.
    ///
    /// # Errors
    /// As [`Record::from_json`].
    pub fn read(&self, stream: Stream) -> Result<Record, Fault> {
        Record::read_text(stream, self.text())
    }
}

impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Debug for Written {
    /// Without its content: it may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({} bytes)", self.text().len())
    }
}
