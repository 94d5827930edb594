//! Keeps tokens in the store, and lets a refresh end in peace.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use crate::connector::{Kept, TokenKeeper, Tokens};
use crate::engine::{EngineError, Handle};
use crate::fault::Fault;

/// See [`TokenKeeper`].
#[derive(Debug)]
struct Keeper {
    engine: Handle,
    tasks: TaskTracker,
}

/// The credentials of a process that works with this engine. Whoever waits for `tasks` waits for a refresh that
/// is under way.
pub(super) fn tokens(engine: &Handle, tasks: &TaskTracker) -> Arc<Tokens> {
    let (engine, tasks) = (engine.clone(), tasks.clone());
    Arc::new(Tokens::kept_by(Arc::new(Keeper { engine, tasks })))
}

#[async_trait]
impl TokenKeeper for Keeper {
    async fn kept(&self, credential: &str) -> Result<Option<Kept>, Fault> {
        let kept = self.engine.token(credential.to_owned()).await;
        kept.map_err(|error| not_kept(&error))
    }

    async fn keep(&self, credential: &str, kept: Kept) -> Result<(), Fault> {
        let done = self.engine.keep_token(credential.to_owned(), kept).await;
        done.map_err(|error| not_kept(&error))
    }

    fn finish(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.spawn(work);
    }
}

fn not_kept(error: &EngineError) -> Fault {
    let message = format!("what is kept of the credential cannot be read or written: {error}");
    Fault::retry("token_not_kept", message)
}
