//! What may go on: closed while the disk is full, or while too much waits.

use tokio::sync::watch;

use crate::record::{Nature, Stream};

/// Why something rests; nothing rests without a reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Closed {
    /// Why nothing is read.
    pub reading: Option<String>,
    /// Why no events are read.
    pub events: Option<String>,
    /// Why nothing is sent.
    pub sending: Option<String>,
}

impl Closed {
    /// Why this stream is not read.
    pub fn why_not_read(&self, stream: Stream) -> Option<&String> {
        let events = (stream.nature() == Nature::Event).then_some(self.events.as_ref());
        self.reading.as_ref().or(events.flatten())
    }
}

/// The gate that every loop passes before each step.
#[derive(Debug, Clone)]
pub(super) struct Gate(watch::Receiver<Closed>);

impl Gate {
    /// An open gate, and what closes it.
    pub fn new() -> (watch::Sender<Closed>, Self) {
        let (sender, receiver) = watch::channel(Closed::default());
        (sender, Self(receiver))
    }

    /// Why this stream is not read now.
    pub fn why_not_read(&self, stream: Stream) -> Option<String> {
        self.0.borrow().why_not_read(stream).cloned()
    }

    /// Why nothing at all is read now.
    pub fn why_nothing_is_read(&self) -> Option<String> {
        self.0.borrow().reading.clone()
    }

    /// Why nothing is sent now.
    pub fn why_not_sent(&self) -> Option<String> {
        self.0.borrow().sending.clone()
    }

    /// Until this stream may not be read any more; for ever when nobody can close the gate again.
    pub async fn until_closed(&mut self, stream: Stream) {
        let closed = self
            .0
            .wait_for(|closed| closed.why_not_read(stream).is_some())
            .await
            .is_ok();
        if !closed {
            std::future::pending::<()>().await;
        }
    }

    /// Until something about the gate changes; for ever when nothing can any more.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
