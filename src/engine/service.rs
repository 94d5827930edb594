//! The engine behind a queue: many ask, one writes, several units share a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc, oneshot};

use super::stage::Stage;
use super::{Engine, EngineError, Work};
use crate::fault::Fault;
use crate::store::{Compacted, StoreError};

/// How many units may wait.
const QUEUE: usize = 256;
/// How many units share a commit at most.
const GROUP: usize = 64;

type Job = Box<dyn Work + Send>;

/// Asks the engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    queue: mpsc::Sender<Message>,
    commits: Commits,
}

/// How much was committed, for whoever waits for more. Those who wait are woken in the order in which they
/// came, so that a simulation repeats exactly.
#[derive(Debug, Clone, Default)]
pub struct Commits {
    told: Arc<Told>,
    seen: u64,
}

#[derive(Debug, Default)]
struct Told {
    count: AtomicU64,
    changed: Notify,
}

impl Commits {
    /// What was committed so far is known.
    pub fn mark_seen(&mut self) {
        self.seen = self.told.count.load(Ordering::Relaxed);
    }

    /// Until something is committed that was not seen.
    pub async fn changed(&self) {
        loop {
            // Before looking, so that no commit falls in between.
            let mut changed = std::pin::pin!(self.told.changed.notified());
            changed.as_mut().enable();
            if self.told.count.load(Ordering::Relaxed) != self.seen {
                return;
            }
            changed.await;
        }
    }
}

enum Message {
    Work(Job),
    Reload(Arc<super::Rules>, oneshot::Sender<Result<(), EngineError>>),
    Compact(
        Room,
        oneshot::Sender<Result<Option<Compacted>, EngineError>>,
    ),
}

/// Above how many bytes a store is compacted, and how many the copy may take.
#[derive(Debug, Clone, Copy)]
struct Room {
    above: u64,
    free: u64,
}

/// The engine's own loop. It blocks on the store, so it runs on a thread of its own.
#[derive(Debug)]
pub struct Service {
    engine: Engine,
    queue: mpsc::Receiver<Message>,
    commits: Commits,
}

impl Service {
    /// A service and the first handle to it.
    pub fn new(engine: Engine) -> (Self, Handle) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let commits = Commits::default();
        (
            Self {
                engine,
                queue: receiver,
                commits: commits.clone(),
            },
            Handle {
                queue: sender,
                commits,
            },
        )
    }

    /// Works until every handle is gone; the engine, for closing the store.
    ///
    /// # Errors
    /// When a commit failed: the store must be opened again before anything is believed.
    pub fn run(mut self) -> Result<Engine, StoreError> {
        while let Some(first) = self.queue.blocking_recv() {
            self.turn(first)?;
        }
        Ok(self.end())
    }

    /// The same as a task, for simulations, where everything takes turns on one thread.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_in_turns(mut self) -> Result<Engine, StoreError> {
        while let Some(first) = self.queue.recv().await {
            self.turn(first)?;
        }
        Ok(self.end())
    }

    fn end(mut self) -> Engine {
        // Without this note the next process tells some numbers twice, and that is all.
        if let Err(error) = self.engine.end() {
            tracing::warn!("that nothing is under way could not be noted: {error}");
        }
        self.engine
    }

    /// One group: whatever waits already shares the commit; nobody waits for more to come.
    fn turn(&mut self, first: Message) -> Result<(), StoreError> {
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Work(work) => group.push(work as Box<dyn Work>),
                Message::Reload(rules, reply) => {
                    self.commit(std::mem::take(&mut group))?;
                    let _ = reply.send(self.engine.reload(rules));
                }
                Message::Compact(room, reply) => {
                    self.commit(std::mem::take(&mut group))?;
                    let _ = reply.send(self.engine.compact(room.above, room.free));
                }
            }
            if group.len() < GROUP {
                next = self.queue.try_recv().ok();
            }
        }
        self.commit(group)
    }

    fn commit(&mut self, group: Vec<Box<dyn Work>>) -> Result<(), StoreError> {
        if self.engine.group(group)? {
            self.commits.told.count.fetch_add(1, Ordering::Relaxed);
            self.commits.told.changed.notify_waiters();
        }
        Ok(())
    }
}

/// One unit of work and who waits for it.
struct Ask<T, F> {
    work: Option<F>,
    result: Option<Result<T, EngineError>>,
    reply: oneshot::Sender<Result<T, EngineError>>,
}

impl<T, F> Work for Ask<T, F>
where
    F: FnOnce(&mut Stage<'_, '_>) -> Result<T, EngineError>,
{
    fn stage(&mut self, stage: &mut Stage<'_, '_>) -> Result<(), EngineError> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        match work(stage) {
            Ok(value) => {
                self.result = Some(Ok(value));
                Ok(())
            }
            Err(error) => {
                self.result = Some(Err(error));
                Err(Fault::bug("taken_back", "this unit is taken back").into())
            }
        }
    }

    fn refuse(&mut self, fault: Fault) {
        self.result = Some(Err(fault.into()));
    }

    fn answer(self: Box<Self>, committed: Result<(), &StoreError>) {
        let result = match (committed, self.result) {
            (Err(error), _) => Err(Fault::bug("store", error.to_string()).into()),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Fault::bug("not_staged", "this unit was not staged").into()),
        };
        let _ = self.reply.send(result); // whoever asked may have gone away
    }
}

impl Handle {
    /// Has a unit of work done in the next commit and waits until that is durable.
    pub(super) async fn ask<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Stage<'_, '_>) -> Result<T, EngineError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let ask = Box::new(Ask {
            work: Some(work),
            result: None,
            reply,
        });
        self.queue
            .send(Message::Work(ask))
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Changes with every commit: something may be due that was not before.
    pub fn commits(&self) -> Commits {
        self.commits.clone()
    }

    /// Until the engine has stopped.
    pub async fn stopped(&self) {
        self.queue.closed().await;
    }

    /// Decides by other rules from now on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn reload(&self, rules: Arc<super::Rules>) -> Result<(), EngineError> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(Message::Reload(rules, reply))
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Compacts the store if it is time to ([`Engine::compact`]).
    ///
    /// # Errors
    /// As there.
    pub async fn compact(&self, above: u64, free: u64) -> Result<Option<Compacted>, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(Message::Compact(Room { above, free }, reply))
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> EngineError {
    Fault::retry(
        "engine_stopped",
        "the engine has stopped: the store failed or we shut down",
    )
    .into()
}
