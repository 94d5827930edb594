//! What somebody must be told: once per cause, again after a while, and when it is over. Pure.
//!
//! ```text
//! facts -> conditions.rs -> findings -> board.rs (what is told already?) -> notices -> text.rs -> channels
//! ```
//!
//! A condition looks at facts and finds causes; it knows nothing of what was told before. The [`Board`]
//! remembers that: it waits until a cause lasts, tells it once, repeats it, and tells that it is over once it
//! has been well for a while. [`Rhythm`] learns when orders usually come, for "no orders since". The engine
//! keeps both in the store, so that a restart tells nothing twice.

mod board;
pub mod conditions;
mod rhythm;
pub mod text;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use board::{Board, Pace, Standing};
pub use rhythm::{Rhythm, Silence};

/// What kind of thing is wrong.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A stream was not read for longer than it should be.
    StreamSilent,
    /// Nothing at all was read (story 64: alive but idle).
    AllSilent,
    /// A stream is read, but not to its end.
    StreamBehind,
    /// A stream fails again and again.
    Trouble,
    /// A connection is paused: its credentials were refused, or it is set up wrongly.
    Paused,
    /// No orders came for longer than is usual at this hour.
    NoOrders,
    /// The quarantine is full: streams are not read on.
    QuarantineFull,
    /// The quarantine holds a large share of what it may.
    QuarantineSize,
    /// Something cannot succeed as it is, for a reason of which there was none before.
    Quarantine,
    /// A delivery waits for long.
    Pending,
    /// Deliveries wait for long for items or orders that are not there.
    Waiting,
    /// Too many events wait: no more are read.
    OutboxFull,
    /// The disk is full: nothing is read.
    DiskFull,
    /// The disk will be full soon.
    DiskLow,
    /// The store is larger than somebody wants to know.
    StoreSize,
    /// A system's clock and ours differ.
    Clock,
    /// A credential ends soon, or has ended.
    Credential,
    /// Orders must leave soon and have no parcel.
    ShipBy,
    /// Orders should have left and have no parcel.
    ShipByMissed,
    /// More of something is sold than there is.
    Oversold,
    /// A system does not call us any more (story 17).
    Subscription,
    /// A loop or the engine does not get on.
    Stuck,
    /// A day does not hold: the systems differ for no known reason, or could not be asked.
    Unproven,
    /// A new configuration was refused.
    Reload,
    /// A test of the channels.
    Test,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 25] = [
        Self::StreamSilent,
        Self::AllSilent,
        Self::StreamBehind,
        Self::Trouble,
        Self::Paused,
        Self::NoOrders,
        Self::QuarantineFull,
        Self::QuarantineSize,
        Self::Quarantine,
        Self::Pending,
        Self::Waiting,
        Self::OutboxFull,
        Self::DiskFull,
        Self::DiskLow,
        Self::StoreSize,
        Self::Clock,
        Self::Credential,
        Self::ShipBy,
        Self::ShipByMissed,
        Self::Oversold,
        Self::Subscription,
        Self::Stuck,
        Self::Unproven,
        Self::Reload,
        Self::Test,
    ];

    /// As it is written: `stream_silent`.
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamSilent => "stream_silent",
            Self::AllSilent => "all_silent",
            Self::StreamBehind => "stream_behind",
            Self::Trouble => "trouble",
            Self::Paused => "paused",
            Self::NoOrders => "no_orders",
            Self::QuarantineFull => "quarantine_full",
            Self::QuarantineSize => "quarantine_size",
            Self::Quarantine => "quarantine",
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::OutboxFull => "outbox_full",
            Self::DiskFull => "disk_full",
            Self::DiskLow => "disk_low",
            Self::StoreSize => "store_size",
            Self::Clock => "clock",
            Self::Credential => "credential",
            Self::ShipBy => "ship_by",
            Self::ShipByMissed => "ship_by_missed",
            Self::Oversold => "oversold",
            Self::Subscription => "subscription",
            Self::Stuck => "stuck",
            Self::Unproven => "unproven",
            Self::Reload => "reload",
            Self::Test => "test",
        }
    }
}

/// How soon somebody should look.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Today.
    Warning,
    /// Now.
    Urgent,
}

impl Severity {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Urgent => "urgent",
        }
    }
}

/// One thing that is wrong, and where: `stream_silent:north.orders`. Never a SKU, an order or a person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// What kind of thing.
    pub kind: Kind,
    /// Where: a connection, a stream, or what else there is one of.
    pub subject: String,
}

impl Cause {
    /// A cause.
    pub fn new(kind: Kind, subject: impl Into<String>) -> Self {
        Self {
            kind,
            subject: subject.into(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.subject)
    }
}

impl FromStr for Cause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no cause: write it as `crossdock alert list` shows it");
        let (kind, subject) = text.split_once(':').ok_or_else(wrong)?;
        let mut kinds = Kind::ALL.into_iter();
        let kind = kinds.find(|known| known.name() == kind).ok_or_else(wrong)?;
        Ok(Self::new(kind, subject))
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a condition found at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, and where.
    pub cause: Cause,
    /// How soon somebody should look.
    pub severity: Severity,
    /// What, where, how to mend it. Without secrets or personal data; with moments, not ages, so that it
    /// does not change by itself.
    pub text: String,
    /// Bad enough to be told. One that is not only keeps what was told from being over: it is less bad than
    /// it was, or nobody knows yet.
    pub firm: bool,
}

impl Finding {
    /// Bad enough to be told.
    pub fn new(
        kind: Kind,
        subject: impl Into<String>,
        severity: Severity,
        text: impl Into<String>,
    ) -> Self {
        Self {
            cause: Cause::new(kind, subject),
            severity,
            text: text.into(),
            firm: true,
        }
    }

    /// The same, only keeping what was told already.
    #[must_use]
    pub fn weak(self) -> Self {
        Self {
            firm: false,
            ..self
        }
    }
}

/// What is told of a cause.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It is there, or has grown worse.
    Raised,
    /// It is still there.
    Repeated,
    /// It is over.
    Cleared,
}

/// One thing to be told to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What is told.
    pub step: Step,
    /// Of what.
    pub cause: Cause,
    /// How soon somebody should look.
    pub severity: Severity,
    /// What, where, how to mend it.
    pub text: String,
    /// Since when it was wrong.
    pub since: Timestamp,
    /// When this was decided.
    pub at: Timestamp,
    /// So many more of the kind, that are not told one by one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_written_and_read_back() {
        for kind in Kind::ALL {
            let cause = Cause::new(kind, "north.orders/deliver:x");
            assert_eq!(cause.to_string().parse(), Ok(cause.clone()));
            let json = serde_json::to_string(&cause).unwrap();
            assert_eq!(serde_json::from_str::<Cause>(&json).unwrap(), cause);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for text in ["", "stream_silent", "nothing:x"] {
            assert!(text.parse::<Cause>().is_err(), "{text}");
        }
    }
}
