//! The engine behind a queue: many ask, one decides, several units share a commit, which another one writes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::commit::{Closed, Group, Job, Work};
use super::stage::Stage;
use super::{Engine, EngineError};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::store::{Compacted, StoreError};

/// How many units may wait.
const QUEUE: usize = 256;
/// How many units share a commit at most.
const GROUP: usize = 64;
/// How many turns others have while a commit is written, where everything takes turns.
const TURNS: usize = 3;
/// How many milliseconds it takes there to write one commit after the other, over and over.
const SLOW: [u64; 7] = [1, 12, 3, 40, 2, 20, 7];

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

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Work(_) => "Work",
            Self::Reload(..) => "Reload",
            Self::Compact(..) => "Compact",
        })
    }
}

/// Above how many bytes a store is compacted, and how many the copy may take.
#[derive(Debug, Clone, Copy)]
struct Room {
    above: u64,
    free: u64,
}

/// The engine's own loop. It reads the store, and somebody else writes it, one commit after the other: a thread each.
#[derive(Debug)]
pub struct Service {
    engine: Engine,
    queue: mpsc::Receiver<Message>,
    commits: Commits,
    /// What is staged and not on its way yet.
    group: Group,
    /// What came behind the last unit that was staged.
    next: Option<Message>,
}

/// What became of a commit.
type Committed = Result<(), StoreError>;

/// Who writes groups, for the loop that stages them.
struct Committer {
    groups: mpsc::Sender<Closed>,
    done: mpsc::Receiver<Committed>,
    is_busy: bool,
}

/// The same, for whoever writes them.
struct Groups {
    todo: mpsc::Receiver<Closed>,
    done: mpsc::Sender<Committed>,
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
                group: Group::default(),
                next: None,
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
    pub fn run(self) -> Result<Engine, StoreError> {
        let (committer, groups) = committer(self.commits.clone());
        thread::scope(|scope| {
            let writer = thread::Builder::new().name("commits".into());
            let writing = writer.spawn_scoped(scope, || groups.write());
            writing.map_err(|error| StoreError::Io {
                doing: "starting a thread".into(),
                message: error.to_string(),
            })?;
            block_on(self.work(committer))
        })
    }

    /// The same as a task, for simulations, where everything takes turns on one thread.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_in_turns(self) -> Result<Engine, StoreError> {
        let (committer, groups) = committer(self.commits.clone());
        let clock = Arc::clone(&self.engine.clock);
        tokio::join!(self.work(committer), groups.write_in_turns(&*clock)).0
    }

    /// Whatever waits already shares a commit; nobody waits for more to come.
    async fn work(mut self, mut committer: Committer) -> Result<Engine, StoreError> {
        let done = self.take_turns(&mut committer).await;
        if let Err(error) = done {
            // It was staged over what nobody knows any more.
            self.group.fail(&error);
            return Err(error);
        }
        // Without this note the next process tells some numbers twice, and that is all.
        if let Err(error) = self.engine.end() {
            tracing::warn!("that nothing is under way could not be noted: {error}");
        }
        Ok(self.engine)
    }

    async fn take_turns(&mut self, committer: &mut Committer) -> Result<(), StoreError> {
        loop {
            if self.next.is_none() && !self.engine.is_full(&self.group) {
                tokio::select! {
                    biased;
                    done = committer.done.recv(), if committer.is_busy => {
                        committer.finished(done, &mut self.engine)?;
                    }
                    message = self.queue.recv() => match message {
                        Some(message) => self.next = Some(message),
                        None => return self.write_all(committer).await,
                    }
                }
            } else if committer.is_busy {
                let done = committer.done.recv().await;
                committer.finished(done, &mut self.engine)?;
            }
            match self.next.take() {
                Some(Message::Work(first)) => self.stage(first)?,
                Some(Message::Reload(rules, reply)) => {
                    self.write_all(committer).await?;
                    let _ = reply.send(self.engine.reload(rules));
                }
                Some(Message::Compact(room, reply)) => {
                    self.write_all(committer).await?;
                    let _ = reply.send(self.engine.compact(room.above, room.free));
                }
                None => {}
            }
            if !committer.is_busy {
                committer.write(&mut self.group, &mut self.engine).await?;
            }
        }
    }

    /// Stages a unit and what waits behind it.
    fn stage(&mut self, first: Job) -> Result<(), StoreError> {
        let Self {
            engine,
            queue,
            group,
            next,
            ..
        } = self;
        let mut first = Some(first);
        let mut staged = 0;
        engine.stage(group, &mut || {
            staged += 1;
            if first.is_some() || staged > GROUP {
                return first.take();
            }
            match queue.try_recv() {
                Ok(Message::Work(work)) => Some(work),
                other => {
                    *next = other.ok();
                    None
                }
            }
        })
    }

    /// Until everything that is staged is durable.
    async fn write_all(&mut self, committer: &mut Committer) -> Result<(), StoreError> {
        loop {
            if committer.is_busy {
                let done = committer.done.recv().await;
                committer.finished(done, &mut self.engine)?;
            } else if self.group.is_empty() {
                return Ok(());
            } else {
                committer.write(&mut self.group, &mut self.engine).await?;
            }
        }
    }
}

fn committer(commits: Commits) -> (Committer, Groups) {
    let (groups, todo) = mpsc::channel(1);
    let (told, done) = mpsc::channel(1);
    let committer = Committer {
        groups,
        done,
        is_busy: false,
    };
    let groups = Groups {
        todo,
        done: told,
        commits,
    };
    (committer, groups)
}

impl Committer {
    /// Has a group written, if there is anything in it. Only while it is not busy.
    async fn write(&mut self, group: &mut Group, engine: &mut Engine) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let closed = engine.close(std::mem::take(group));
        self.is_busy = true;
        let sent = self.groups.send(closed).await;
        sent.map_err(|_| StoreError::Closed)
    }

    fn finished(&mut self, done: Option<Committed>, engine: &mut Engine) -> Result<(), StoreError> {
        self.is_busy = false;
        done.unwrap_or(Err(StoreError::Closed))?;
        engine.committed();
        Ok(())
    }
}

impl Groups {
    /// Writes one group after the other, until nobody stages any more.
    fn write(mut self) {
        while let Some(group) = self.todo.blocking_recv() {
            let done = self.commit(group);
            if self.done.blocking_send(done).is_err() {
                return;
            }
        }
    }

    /// The same as a task. Others go on before each commit, as they do while a disk writes.
    async fn write_in_turns(mut self, clock: &dyn Clock) {
        let mut takes = SLOW.iter().cycle();
        while let Some(group) = self.todo.recv().await {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            let took = takes.next().copied().unwrap_or_default();
            clock.sleep(Duration::from_millis(took)).await;
            let done = self.commit(group);
            if self.done.send(done).await.is_err() {
                return;
            }
        }
    }

    fn commit(&self, group: Closed) -> Committed {
        if group.commit()? {
            self.commits.told.count.fetch_add(1, Ordering::Relaxed);
            self.commits.told.changed.notify_waiters();
        }
        Ok(())
    }
}

/// Runs the loop on this thread. It waits for channels and for nothing else.
fn block_on<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| StoreError::Io {
        doing: "starting to work".into(),
        message: error.to_string(),
    })?;
    runtime.block_on(work)
}

/// One unit of work and who waits for it.
struct Ask<T, F> {
    name: &'static str,
    work: Option<F>,
    result: Option<Result<T, EngineError>>,
    reply: oneshot::Sender<Result<T, EngineError>>,
}

impl<T, F> Work for Ask<T, F>
where
    F: FnOnce(&mut Stage<'_, '_>) -> Result<T, EngineError>,
{
    fn name(&self) -> &'static str {
        self.name
    }

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
    /// Has a unit of work done in the next commit and waits until that is durable. The log calls it by this name.
    pub(super) async fn ask<T, F>(&self, name: &'static str, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Stage<'_, '_>) -> Result<T, EngineError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let ask = Box::new(Ask {
            name,
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
