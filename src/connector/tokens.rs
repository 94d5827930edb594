//! Access tokens: one state for each credential of the process, and what must outlive the process.
//!
//! Many platforms give a new refresh token with each use of the old one, and end the old one. Whoever refreshes
//! beside somebody else, or forgets what came, has lost the credential (story 53). So there is one
//! [`Credential`] however many streams, tasks and connections use it, one of them refreshes while the others
//! wait, and what came is durable before it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::record::Fingerprint;
use crate::secret::Secret;

/// What is kept of a credential. Whoever keeps it cannot read the token.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The connections that use it.
    pub connections: Vec<String>,
    /// The newest refresh token, sealed: only who has the first one, which stands in the configuration, can
    /// read it. Empty where nothing was kept yet.
    pub sealed: Vec<u8>,
    /// It was refused, and nobody tries it again until somebody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// When this was kept.
    pub at: Timestamp,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("connections", &self.connections)
            .field("refused", &self.refused)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// A credential that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Of everything that was handed in: with anything else it is worth a try.
    pub of: Fingerprint,
    /// What was said.
    pub fault: Fault,
}

/// Keeps what must outlive the process.
#[async_trait]
pub trait TokenKeeper: Send + Sync + fmt::Debug {
    /// What is kept of a credential.
    ///
    /// # Errors
    /// `Retry` when the store cannot be asked.
    async fn kept(&self, credential: &str) -> Result<Option<Kept>, Fault>;

    /// Keeps this in place of what was kept; durable when this returns `Ok`.
    ///
    /// # Errors
    /// `Retry` when the store does not take it.
    async fn keep(&self, credential: &str, kept: Kept) -> Result<(), Fault>;

    /// Carries work to its end, whoever asked for it goes away: a refresh whose reply nobody reads would be a
    /// credential lost.
    fn finish(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>);
}

/// The credentials of one process.
#[derive(Debug, Default)]
pub struct Tokens {
    keeper: Option<Arc<dyn TokenKeeper>>,
    known: Mutex<BTreeMap<String, Arc<Credential>>>,
    ends: Mutex<BTreeMap<String, Timestamp>>,
}

impl Tokens {
    /// Those of a process that keeps them. Without a keeper (a check beside a running daemon) a token that is
    /// good for one use is not touched.
    pub fn kept_by(keeper: Arc<dyn TokenKeeper>) -> Self {
        Self {
            keeper: Some(keeper),
            ..Self::default()
        }
    }

    /// Who keeps them, if anybody does.
    pub fn keeper(&self) -> Option<&Arc<dyn TokenKeeper>> {
        self.keeper.as_ref()
    }

    /// The state of one credential: everybody who names the same has the same.
    pub fn credential(&self, name: &str) -> Arc<Credential> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(name.to_owned()).or_default())
    }

    /// Notes until when the refresh token of a connection is good, if anybody knows.
    pub fn note_end(&self, connection: &str, end: Option<Timestamp>) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        match end {
            Some(end) => ends.insert(connection.to_owned(), end),
            None => ends.remove(connection),
        };
    }

    /// Until when refresh tokens are good, by connection.
    pub fn ends(&self) -> BTreeMap<String, Timestamp> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.clone()
    }
}

/// The tokens of one credential.
#[derive(Debug, Default)]
pub struct Credential {
    /// Whoever holds it may refresh; the others wait.
    pub state: Arc<tokio::sync::Mutex<TokenState>>,
    /// The number of the newest access token with which a request went well.
    worked: AtomicU64,
}

impl Credential {
    /// Notes that a request with this access token went well.
    pub fn worked(&self, number: u64) {
        self.worked.fetch_max(number, Ordering::Relaxed);
    }

    /// Whether one did.
    pub fn has_worked(&self, number: u64) -> bool {
        self.worked.load(Ordering::Relaxed) >= number
    }
}

/// What is known of a credential at the moment.
#[derive(Debug, Default)]
pub struct TokenState {
    /// The access token in use.
    pub access: Option<Access>,
    /// How many access tokens there were.
    pub number: u64,
    /// The connections that use it.
    pub users: BTreeSet<String>,
    /// How many in a row were refused at their first use.
    pub useless: u32,
    /// The newest refresh token; nothing before anybody looked.
    pub refresh: Option<Refresh>,
    /// An access token that came and is not in use yet.
    pub unkept: Option<Access>,
    /// The refresh token must be kept before that.
    pub must_keep: bool,
    /// What was refused.
    pub refused: Option<Refused>,
}

/// An access token.
#[derive(Debug, Clone)]
pub struct Access {
    /// Which one it is.
    pub number: u64,
    /// The token.
    pub token: Secret,
    /// When it was asked for, by the monotonic clock.
    pub asked: Duration,
    /// When it is renewed, by the monotonic clock; when it is refused where nobody says.
    pub until: Option<Duration>,
}

/// A refresh token.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The token.
    pub token: Secret,
    /// When it is good no more, if anybody knows.
    pub ends: Option<Timestamp>,
    /// Since when it is used and nobody knows what came of it: the reply may be lost.
    pub asked: Option<Timestamp>,
}
