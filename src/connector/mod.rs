//! What a connector is: a kind of system, how it is read and how it is written to.
//!
//! A connector is a folder under `connectors/`: a TOML manifest first (`manifest/` runs it), Rust where
//! the platform needs it, a child process where someone else wrote it. All three implement the traits
//! here and pass the same contract suite (`contract.rs`). The author of a connector never sees a route, a
//! ledger or a store; the engine never sees a platform.
//!
//! # Laws of a source
//! - **S1** a page's cursor covers exactly its changes and all before.
//! - **S2** pulling again may repeat, never skips.
//! - **S3** watermarks never go back.
//! - **S4** resume by value, never by position.
//! - **S5** the newest watermark handed out is older than the last complete tick of the vendor's clock
//!   (settle lag), taken from the vendor's clock.
//! - **S6** `pull` is cancel-safe and bounded in time.
//! - **S7** `more = false` lets the framework rest.
//! - **S8** one bad record is one rejected change, never a failed page.
//! - **S9** a failed or partial read is never an empty one.
//!
//! # Laws of a sink
//! - **D1** each delivery gets exactly one final outcome.
//! - **D2** the same idempotency key twice is one effect, or `find` can tell.
//! - **D3** anything after the request left is `Effect::Unknown` unless the reply says otherwise.
//! - **D4** `Reject` means repeating cannot help.
//! - **D5** no secret or personal data in any message.
//! - **D6** one bad item does not sink its batch: bisect or fall back to single items.

pub mod contract;
mod cursor;
mod delivery;
mod page;
mod receiver;
mod spec;
mod tokens;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use cursor::Cursor;
pub use delivery::{
    Asked, Captured, Confirmation, Delivery, LineLink, Operation, Outcome, Progress, Repeats,
    Standing, StepLog, Token,
};
pub use page::{Body, Change, Page, Raw, Version};
pub use receiver::{Hint, HookNeeds, Inbound, Notice, Receiver, Subscribed, Subscriptions};
pub use spec::{Capabilities, Evidence, Onward, Quota, Spec, StockBasis, StockWrite, StreamSpec};
pub use tokens::{Access, Credential, Kept, Refresh, Refused, TokenKeeper, TokenState, Tokens};

use crate::clock::{Clock, Timestamp};
use crate::diagnostic::Diagnostics;
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::{Fingerprint, Stream};
use crate::transport::http::HttpClient;

/// A kind of system.
pub trait Connector: Send + Sync + Debug {
    /// What configurations call it.
    fn name(&self) -> &str {
        &self.spec().name
    }

    /// What it can do, and which settings it takes.
    fn spec(&self) -> &Spec;

    /// Checks the settings of one connection. Pure: no network, no files, no clock.
    ///
    /// # Errors
    /// All findings at once; paths are relative to the connection's table.
    fn configure(&self, settings: &toml::Table) -> Result<Box<dyn Configured>, Diagnostics>;

    /// What people do by hand with its files; nothing when it reads none.
    fn files(&self) -> Option<&dyn Files> {
        None
    }

    /// How its promises are tried where it asks nothing over HTTP; by [`contract::run`] otherwise.
    fn trial(&self) -> Option<&dyn contract::Trial> {
        None
    }
}

/// What people do by hand with the files of a kind of system.
pub trait Files: Send + Sync + Debug {
    /// Settings for files that begin like this one, as TOML with remarks.
    fn propose(&self, beginning: &[u8]) -> String;

    /// Lets a held file of a connection with these settings pass its guards once. `file` is its name where
    /// it is held, or what the supplier called it. What it is called now.
    ///
    /// # Errors
    /// `Reject` when there is no such file, or more than one; `Config` when the settings name no folder.
    fn release(&self, settings: &toml::Table, file: &str) -> Result<String, Fault>;
}

/// Checked settings of one connection, not yet in use.
pub trait Configured: Send + Sync + Debug {
    /// Makes the connection usable. No I/O yet: the first request is made by the first call.
    ///
    /// # Errors
    /// `Config` when something it needs from the [`Context`] is missing.
    fn open(&self, context: Context) -> Result<Connection, Fault>;

    /// What the other side counts requests by, where that can be told: connections with the same share one
    /// limiter, because they share one quota over there.
    fn account(&self) -> Option<Fingerprint> {
        None
    }

    /// What its webhooks need; nothing when these settings take in none.
    fn webhooks(&self) -> Option<HookNeeds> {
        None
    }
}

/// What a connection may use from its surroundings.
#[derive(Debug, Clone)]
pub struct Context {
    /// The connection's name, for messages.
    pub name: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// HTTP for this connection's credential: limits, size caps and redaction are its business.
    pub http: Arc<dyn HttpClient>,
    /// Access tokens, shared by everything that uses the same credential.
    pub tokens: Arc<Tokens>,
    /// How large a file may be.
    pub files: FileLimits,
    /// How far back each stream is read; where one is absent, as the connector itself says.
    pub windows: BTreeMap<Stream, Window>,
}

/// How far back a stream that is read by moments is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// How long the other side needs until it shows everything of a moment.
    pub settle_lag: Duration,
    /// How far before its cursor a run begins.
    pub overlap: Duration,
    /// Where a sweep begins; at the very beginning when absent.
    pub start_from: Option<Timestamp>,
}

/// How large a file may be, whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// Bytes.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Cells of one row.
    pub columns: usize,
    /// Bytes of one cell.
    pub cell_bytes: usize,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            rows: 20_000_000,
            columns: 2000,
            cell_bytes: 64 << 10,
        }
    }
}

/// A usable connection: for each stream it can be read for, a source; for each it can be written to, a
/// sink.
#[derive(Debug, Default)]
pub struct Connection {
    /// By stream.
    pub sources: BTreeMap<Stream, Arc<dyn Source>>,
    /// By stream.
    pub sinks: BTreeMap<Stream, Arc<dyn Sink>>,
    /// Answers `check --online`: can we log in, and who are we there?
    pub probe: Option<Arc<dyn Probe>>,
    /// Understands webhooks, where the settings hold what proves them.
    pub receiver: Option<Arc<dyn Receiver>>,
    /// Looks after the subscriptions behind them, where that can be done from here.
    pub subscriptions: Option<Arc<dyn Subscriptions>>,
    /// What must be ended in order before the process ends.
    pub closing: Option<Arc<dyn Closing>>,
}

/// Something that belongs to a connection and must be ended in order, such as a child process.
#[async_trait]
pub trait Closing: Send + Sync + Debug {
    /// Ends it, within a time of its own; nothing can be asked of the connection afterwards.
    async fn close(&self);
}

/// Answers `check --online` and the resumption of a paused connection.
#[async_trait]
pub trait Probe: Send + Sync + Debug {
    /// One cheap authenticated request; the text says who we are over there.
    async fn probe(&self) -> Result<String, Fault>;
}

/// Reads one stream of one connection. The framework loops, sleeps and retries; a source does not.
#[async_trait]
pub trait Source: Send + Sync + Debug {
    /// What changed after the cursor; from the beginning without one.
    async fn pull(&self, after: Option<&Cursor>) -> Result<Page, Fault>;

    /// The present state of things named by id: webhook hints, open orders, read-back.
    async fn fetch(&self, ids: &[RemoteId]) -> Result<Vec<Change>, Fault>;

    /// All there is (from [`Window::start_from`] on), page by page, for finding what no timestamp told.
    /// Its cursors are its own: they move no checkpoint. Only asked where a run does not read everything
    /// anyway ([`Onward`]).
    async fn sweep(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        self.pull(after).await
    }

    /// One page from the beginning, without any consequence: for `check --online`. `None` when reading
    /// takes something away, as from a drop folder; the connection's probe looks there.
    async fn peek(&self) -> Result<Option<Page>, Fault> {
        self.pull(None).await.map(Some)
    }

    /// Whether the page behind one may be asked for before that one is accepted: asking takes nothing away, and tells
    /// nobody how far things were read.
    fn reads_ahead(&self) -> bool {
        false
    }

    /// Whether [`Source::fetch`] works.
    fn can_fetch(&self) -> bool {
        true
    }
}

/// Writes one stream of one connection.
#[async_trait]
pub trait Sink: Send + Sync + Debug {
    /// Delivers a batch; exactly one outcome per delivery, in the same order (D1).
    ///
    /// A write of several steps reports each captured id through `progress` before it goes on; after a
    /// crash [`Delivery::captured`] carries them and the write resumes at the first step not confirmed.
    async fn deliver(&self, batch: &[Delivery], progress: &dyn Progress) -> Vec<Outcome>;

    /// Asks after deliveries of one submission, each with its token; exactly one outcome per delivery, in
    /// the same order (D1). A delivery of state carries the value that was submitted, whatever is wanted
    /// by now. It need not be all of the submission, and may be asked again (D2): nothing is changed by it.
    async fn check(&self, batch: &[Delivery], tokens: &[Token]) -> Vec<Outcome> {
        let _ = tokens;
        let fault = Fault::bug("no_check", "this sink never answers `submitted`");
        batch
            .iter()
            .map(|_| Outcome::Failed(fault.clone()))
            .collect()
    }

    /// What may be done when nobody knows what became of a try.
    fn repeats(&self, operation: Operation) -> Repeats {
        match operation {
            Operation::Create => Repeats::AfterFinding,
            Operation::Update | Operation::Cancel => Repeats::Freely,
        }
    }

    /// Looks for what an earlier try of this delivery may have left at the other side.
    ///
    /// A cancel without a target asks whether anything, done or half-way, carries its reference, so that
    /// it can be called off. `Ok(None)` means: certainly nothing there. Not asked of an update that may be
    /// repeated freely: that is done again.
    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault>;

    /// Everything that stands there under the references of things that came from `origin`: more than one
    /// for a reference is a second one, none is none. For proofs: nothing is believed of what we remember.
    async fn read_back(&self, origin: &str, asked: &[Asked]) -> Result<Vec<Standing>, Fault> {
        let _ = (origin, asked);
        Err(Fault::bug("no_read_back", "this sink cannot be read back"))
    }

    /// Whether [`Sink::read_back`] works.
    fn can_read_back(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traits_are_objects() {
        fn takes(_: Option<&dyn Connector>, _: Option<&dyn Source>, _: Option<&dyn Sink>) {}
        takes(None, None, None);
    }
}
