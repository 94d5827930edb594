//! Where the engine works: the only writer of the store.

use crate::engine::{Engine, Service};
use crate::fault::Fault;
use crate::store::StoreError;

/// The engine at work.
#[derive(Debug)]
pub(super) enum Writer {
    /// On a thread of its own: it blocks on the store.
    Thread(std::thread::JoinHandle<Result<Engine, StoreError>>),
    /// In turns with everything else, in a simulation.
    Task(tokio::task::JoinHandle<Result<Engine, StoreError>>),
}

impl Writer {
    pub(super) fn thread(service: Service) -> Result<Self, Fault> {
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || service.run())
            .map(Self::Thread)
            .map_err(|error| Fault::bug("no_thread", error.to_string()))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "shutdown waits for it as for the thread that it stands for"
    )]
    pub(super) fn task(service: Service) -> Self {
        Self::Task(tokio::spawn(service.run_in_turns()))
    }

    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Thread(thread) => thread.is_finished(),
            Self::Task(task) => task.is_finished(),
        }
    }

    /// What it ended with; `None` when it panicked: the panic is in the log and the store as committed.
    pub(super) async fn end(self) -> Option<Result<Engine, StoreError>> {
        match self {
            Self::Thread(thread) => thread.join().ok(),
            Self::Task(task) => task.await.ok(),
        }
    }
}
