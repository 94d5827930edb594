//! Keeps tokens for as long as a test lasts, where nothing else does.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::connector::{Kept, TokenKeeper, Tokens};
use crate::fault::Fault;

/// A store for tokens that forgets at the end. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryKeeper {
    rows: Arc<Mutex<BTreeMap<String, Kept>>>,
}

impl MemoryKeeper {
    /// The credentials of a process that keeps them here.
    pub fn tokens(&self) -> Arc<Tokens> {
        Arc::new(Tokens::kept_by(Arc::new(self.clone())))
    }

    /// What is kept, by credential.
    pub fn rows(&self) -> BTreeMap<String, Kept> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.clone()
    }
}

#[async_trait]
impl TokenKeeper for MemoryKeeper {
    async fn kept(&self, credential: &str) -> Result<Option<Kept>, Fault> {
        Ok(self.rows().remove(credential))
    }

    async fn keep(&self, credential: &str, kept: Kept) -> Result<(), Fault> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.insert(credential.to_owned(), kept);
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the suite stands for the runtime; it waits for whoever asked"
    )]
    fn finish(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(work);
    }
}
