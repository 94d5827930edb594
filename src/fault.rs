//! What goes wrong out there: a remote system, a network, a supplier's file, a record.
//!
//! A fault carries the decision that follows from it (its [`Class`]) and whether something may have
//! happened at the other side (its [`Effect`]). What to do about each pair stands in one table,
//! `engine/policy.rs`. Wrong configuration is a [`Diagnostic`](crate::diagnostic::Diagnostic), our
//! own broken invariant is a panic.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Will probably work later: a timeout, a 5xx, a refused connection.
    Retry,
    /// The other side asked us to slow down. Not counted as an attempt.
    Throttle,
    /// This record cannot succeed as it is; repeating cannot help.
    Reject,
    /// The credentials were refused.
    Auth,
    /// The connection or route is set up wrongly; nothing through it can succeed.
    Config,
    /// Nobody foresaw this. Never retried blindly.
    Bug,
}

/// Whether the other side may have acted on what failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Certainly nothing happened: it never left, or the reply says so.
    None,
    /// The request left and the reply did not come, or does not tell: find before repeating.
    Unknown,
}

/// Something went wrong outside.
///
/// `message` never contains a secret or personal data (law D5): it may be logged, shown and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What follows from it.
    pub class: Class,
    /// A stable name for grouping and for looking up help, such as `http_timeout` or `unknown_sku`.
    pub code: Cow<'static, str>,
    /// Whether the other side may have acted.
    pub effect: Effect,
    /// One sentence for a person: what, where and, where we know, how to fix it.
    pub message: String,
    /// How long the other side asked us to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A fault with no effect at the other side.
    pub fn new(
        class: Class,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            class,
            code: code.into(),
            effect: Effect::None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// A transient failure.
    pub fn retry(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Class::Retry, code, message)
    }

    /// This record cannot succeed as it is.
    pub fn reject(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Class::Reject, code, message)
    }

    /// The credentials were refused.
    pub fn auth(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Class::Auth, code, message)
    }

    /// The connection or route is set up wrongly.
    pub fn config(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Class::Config, code, message)
    }

    /// Nobody foresaw this.
    pub fn bug(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Class::Bug, code, message)
    }

    /// The same fault, with an unknown effect: the request had left (law D3).
    #[must_use]
    pub fn after_sending(mut self) -> Self {
        self.effect = Effect::Unknown;
        self
    }

    /// The same fault, with the wait that the other side asked for.
    #[must_use]
    pub fn wait(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The same fault, told with where it happened in front: `orders of north: …`.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)
    }
}

impl std::error::Error for Fault {}
