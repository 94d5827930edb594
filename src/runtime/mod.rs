//! The process: opens what the plan names, runs one loop per stream, and stops in order.
//!
//! ```text
//! engine     the only writer: one thread decides, another one writes what it decided
//! pollers    one task per stream that is read
//! dispatch   one task per stream that is written
//! care       probes paused connections, removes what is too old
//! daily      proves the days that are over
//! alerts     tells somebody what is wrong, once per cause
//! hooks      takes in webhooks, and looks after the subscriptions behind them
//! watch      closes the gate that every loop passes while the disk is full or too much waits
//! ```
//!
//! Only this module spawns tasks. Stopping: pollers end first, dispatchers finish what is under way
//! within a limit, then the engine's thread ends and the store is closed. What could not be finished is
//! in flight in the store and is found again at the next start.

mod alerts;
pub mod alone;
mod care;
mod channels;
mod clock;
mod daily;
mod gate;
mod hooks;
mod keeper;
mod limits;
mod loops;
pub mod notify;
mod noting;
mod open;
pub mod probe;
mod prove;
mod reload;
mod rules;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use channels::{Answered, test as test_channels};
pub use clock::SystemClock;
pub use hooks::{Answer, Hooks};
pub use open::{engine_kind, open_store, store_path};
pub use prove::Prover;
pub use reload::Refused;
pub use rules::of as engine_rules;

use crate::clock::Clock;
use crate::config::StoreEngine;
use crate::connector::{Connection, Tokens};
use crate::engine::{Engine, EngineError, Handle, Service};
use crate::fault::Fault;
use crate::id::ConnectionName;
use crate::intake::receive::{Bells, Reception};
use crate::store::{Store, StoreError};
use crate::telemetry::{Place, Vitals};
use crate::topology::Plan;
use crate::transport::http::HttpClient;
use care::Caring;
use gate::{Closed, Gate};
use limits::Limiters;
use loops::Running;
use writer::Writer;

/// How long the engine's thread may take to close the store.
const CLOSING: Duration = Duration::from_secs(5);
/// How long child processes may take to end: longer than any of them may ask for.
const CHILDREN: Duration = Duration::from_secs(70);

/// A running daemon.
#[derive(Debug)]
pub struct Runtime {
    /// Asks the engine.
    pub engine: Handle,
    /// How each loop is.
    pub vitals: Vitals,
    live: Arc<ArcSwap<Live>>,
    clock: Arc<dyn Clock>,
    loops: BTreeMap<Place, Running>,
    gate: Gate,
    bells: Bells,
    reading: CancellationToken,
    sending: CancellationToken,
    tasks: TaskTracker,
    tokens: Arc<Tokens>,
    limiters: Limiters,
    writer: Option<Writer>,
}

/// The connections, how they are, and what they share.
type Opened = (
    BTreeMap<ConnectionName, Arc<Connection>>,
    Vitals,
    (TaskTracker, Arc<Tokens>, Limiters),
);

/// What is carried out; replaced as a whole at a reload.
#[derive(Debug)]
pub struct Live {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its opened connections.
    pub connections: BTreeMap<ConnectionName, Arc<Connection>>,
}

/// Why a daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// The store could not be read.
    Engine(EngineError),
    /// A connection or the engine's thread could not be made.
    Fault(Fault),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Engine(error) => write!(f, "{error}"),
            Self::Fault(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Runtime {
    /// Opens every connection of the plan and starts all loops. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be read or a connection cannot be opened; nothing runs then.
    pub fn start(
        plan: Arc<Plan>,
        store: Box<dyn Store>,
        clock: &Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self, StartError> {
        let vitals = Vitals::new(Arc::clone(clock));
        let (service, handle) = service(&plan, store, clock, seed)?;
        let tasks = TaskTracker::new();
        let tokens = keeper::tokens(&handle, &tasks);
        let limiters = Limiters::default();
        let around = open::Around {
            clock,
            vitals: &vitals,
            tokens: &tokens,
            limiters: &limiters,
        };
        let opened = open::connections(&plan, &around, |_| None);
        let connections = opened.map_err(StartError::Fault)?;
        let writer = Writer::thread(service).map_err(StartError::Fault)?;
        let opened = (connections, vitals, (tasks, tokens, limiters));
        Ok(Self::begin(plan, opened, (handle, writer), clock))
    }

    /// The same in a simulation: `network` stands for the whole network, everything takes turns on the
    /// thread of the present Tokio runtime, and `clock` may be a virtual one.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn simulate(
        plan: Arc<Plan>,
        store: Box<dyn Store>,
        clock: &Arc<dyn Clock>,
        seed: u64,
        network: &Arc<dyn HttpClient>,
    ) -> Result<Self, StartError> {
        let vitals = Vitals::new(Arc::clone(clock));
        let (service, handle) = service(&plan, store, clock, seed)?;
        let tasks = TaskTracker::new();
        let tokens = keeper::tokens(&handle, &tasks);
        let limiters = Limiters::default();
        let around = open::Around {
            clock,
            vitals: &vitals,
            tokens: &tokens,
            limiters: &limiters,
        };
        let opened = open::through(network, &plan, &around);
        let connections = opened.map_err(StartError::Fault)?;
        let writer = Writer::task(service);
        let opened = (connections, vitals, (tasks, tokens, limiters));
        Ok(Self::begin(plan, opened, (handle, writer), clock))
    }

    fn begin(
        plan: Arc<Plan>,
        (connections, vitals, (tasks, tokens, limiters)): Opened,
        (engine, writer): (Handle, Writer),
        clock: &Arc<dyn Clock>,
    ) -> Self {
        vitals.set_patience(Duration::from_secs(plan.limits.stuck_secs));
        let (closing, gate) = Gate::new();
        let mut runtime = Self {
            engine,
            vitals,
            live: Arc::new(ArcSwap::from_pointee(Live { plan, connections })),
            clock: Arc::clone(clock),
            loops: BTreeMap::new(),
            gate,
            bells: Bells::default(),
            reading: CancellationToken::new(),
            sending: CancellationToken::new(),
            tasks,
            tokens,
            limiters,
            writer: Some(writer),
        };
        runtime.start_all(closing);
        runtime
    }

    /// What is carried out at this moment.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Takes in webhooks for these connections, from whoever serves them.
    pub fn hooks(&self) -> Hooks {
        let (clock, bells) = (Arc::clone(&self.clock), self.bells.clone());
        let reception = Reception::new(self.engine.clone(), clock, bells);
        let (live, gate) = (Arc::clone(&self.live), self.gate.clone());
        Hooks::new(live, gate, Arc::clone(&self.clock), Arc::new(reception))
    }

    fn start_all(&mut self, closing: watch::Sender<Closed>) {
        let live = self.live();
        let on_disk = live.plan.store.engine != StoreEngine::Memory;
        let folder = on_disk.then(|| store_path(&live.plan));
        let watch = care::Watch::new(self.caring(folder.clone()), closing);
        for (place, work) in loops::wanted(&live.plan) {
            if let Some(connection) = live.connections.get(&place.0) {
                let running = self.start_loop(&place, work, Arc::clone(connection));
                self.loops.extend(running.map(|running| (place, running)));
            }
        }
        self.tasks.spawn(daily::daily_loop(
            self.caring(folder.clone()),
            self.prover(),
        ));
        self.tasks
            .spawn(care::care_loop(self.caring(folder.clone())));
        self.tasks.spawn(alerts::alert_loop(self.caring(folder)));
        let subscribers = hooks::Subscribers {
            live: Arc::clone(&self.live),
            vitals: self.vitals.clone(),
            clock: Arc::clone(&self.clock),
            stop: self.reading.clone(),
            known: BTreeMap::new(),
        };
        self.tasks.spawn(subscribers.run());
        self.tasks.spawn(watch.run());
    }

    fn caring(&self, folder: Option<PathBuf>) -> Caring {
        Caring {
            engine: self.engine.clone(),
            live: Arc::clone(&self.live),
            vitals: self.vitals.clone(),
            clock: Arc::clone(&self.clock),
            tokens: Arc::clone(&self.tokens),
            stop: self.reading.clone(),
            folder,
        }
    }

    /// Runs something beside the loops until the daemon stops reading.
    pub fn beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.reading.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Whether the engine's thread ended by itself: a commit failed.
    pub fn engine_failed(&self) -> bool {
        self.writer.as_ref().is_none_or(Writer::is_finished)
    }

    /// Stops reading, lets what is under way finish within `limit`, and closes the store. Dropping the
    /// future ends at once; what was under way is found again at the next start.
    ///
    /// # Errors
    /// What the store said, if a commit had failed.
    pub async fn stop(mut self, limit: Duration, clock: &dyn Clock) -> Result<(), StoreError> {
        self.reading.cancel();
        self.sending.cancel();
        self.tasks.close();
        tokio::select! {
            biased;
            () = self.tasks.wait() => {}
            () = clock.sleep(limit) => {
                tracing::warn!("not everything under way was finished; it is found again at the next start");
            }
        }
        self.close_connections(clock).await;
        let writer = self.writer.take();
        drop(self); // the last handles, so that the engine's loop ends
        let Some(writer) = writer else { return Ok(()) };
        // A task that did not end in time still holds the engine; what it commits is whole or absent.
        let until = clock.monotonic() + CLOSING;
        while !writer.is_finished() {
            if clock.monotonic() >= until {
                return Ok(());
            }
            clock.sleep(Duration::from_millis(20)).await;
        }
        writer.end().await.map_or(Ok(()), |engine| engine.map(drop))
    }
}

impl Runtime {
    /// Ends what belongs to connections, such as child processes: each within a time of its own, side by
    /// side.
    async fn close_connections(&self, clock: &dyn Clock) {
        let live = self.live();
        let closing = live.connections.values();
        let closing: Vec<_> = closing.filter_map(|known| known.closing.clone()).collect();
        if closing.is_empty() {
            return;
        }
        let all = join_all(closing.iter().map(|one| one.close()));
        tokio::select! {
            biased;
            _ = all => {}
            () = clock.sleep(CHILDREN) => tracing::warn!("a child process did not end in time"),
        }
    }
}

fn service(
    plan: &Plan,
    store: Box<dyn Store>,
    clock: &Arc<dyn Clock>,
    seed: u64,
) -> Result<(Service, Handle), StartError> {
    let rules = Arc::new(rules::of(plan));
    let engine = Engine::open(store, rules, Arc::clone(clock), seed).map_err(StartError::Engine)?;
    Ok(Service::new(engine))
}

/// Waits until everything that was due is settled, or `limit` is over; whether it is quiet. For
/// `--until-quiet` and tests.
///
/// # Errors
/// When the engine stopped.
pub async fn quiet(
    engine: &Handle,
    limit: Duration,
    clock: &dyn Clock,
) -> Result<bool, EngineError> {
    let until = clock.monotonic() + limit;
    loop {
        let status = engine.status().await?;
        let busy = status.queue.iter().any(|row| {
            matches!(
                row.state.as_str(),
                "pending" | "in_flight" | "uncertain" | "submitted"
            )
        });
        if !busy && status.differences.iter().all(|row| row.count == 0) {
            return Ok(true);
        }
        if clock.monotonic() >= until {
            return Ok(false);
        }
        clock.sleep(Duration::from_millis(100)).await;
    }
}
