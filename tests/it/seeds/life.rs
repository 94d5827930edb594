//! A run: lives of the daemon one after the other on one disk, and a last one in which everything must end well.

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use crossdock::clock::Clock;
use crossdock::engine::NewHint;
use crossdock::engine::mark_restored;
use crossdock::record::Stream;
use crossdock::runtime::{Runtime, StartError};
use crossdock::store::memory::{CommitFault, MemoryDisk};
use crossdock::transport::http::HttpClient;

use super::case::{Case, End, Moment};
use super::clock::SimClock;
use super::wire::{Net, Shared};
use super::world::{SYSTEMS, World};
use super::{judge, plan};

/// How many hints may wait.
const MOST_HINTS: usize = 1000;
/// How long a life lasts at most, whatever its end waits for.
const LONGEST: Duration = Duration::from_secs(60);
/// How long everything may take to end well after the last trouble: longer than the longest wait of a
/// reader between two tries, and than a new store keeps a number back for a parcel that the one before it may have
/// told (a quarter of an hour).
const SETTLING: Duration = Duration::from_secs(20 * 60);
/// How long it must stay well.
const STABLE: Duration = Duration::from_secs(25);

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub broken: Vec<String>,
    pub trace: String,
    pub orders: usize,
    pub lives: usize,
}

/// Runs a case from its beginning to its end.
pub fn run(case: &Case) -> Ran {
    let clock = SimClock::at(case.began.parse().unwrap());
    let shared = Shared::begin(World::new(case), clock.clone());
    let mut disk = MemoryDisk::new();
    let mut backup = disk.durable_image();
    let mut lives = 0;
    for (moment, end) in &case.lives {
        lives += 1;
        let life = Life::new(&shared, &disk, lives);
        life.live(*moment, *end);
        disk.crash();
        // The same disk without the faults that were planned and not met.
        disk = disk.durable_image();
        let mut world = shared.world();
        world.tell(format_args!("--- life {lives} ends: {end:?}"));
        if !world.broken.is_empty() {
            break;
        }
        match end {
            End::DiskLost => disk = MemoryDisk::new(),
            End::BackupRestored => {
                disk = std::mem::take(&mut backup);
                mark_restored(&mut disk.open().unwrap(), clock.now()).unwrap();
            }
            _ => {}
        }
        if matches!(end, End::DiskLost | End::BackupRestored) {
            world.carry_out_all();
            world.horizons.forget();
        }
        drop(world);
        backup = disk.durable_image();
    }
    if shared.world().broken.is_empty() {
        lives += 1;
        Life::new(&shared, &disk, lives).end_well();
    }
    let mut world = shared.world();
    Ran {
        broken: std::mem::take(&mut world.broken),
        trace: std::mem::take(&mut world.trace),
        orders: world.shops.iter().map(|shop| shop.orders.len()).sum(),
        lives,
    }
}

/// One life of the daemon.
struct Life {
    shared: Shared,
    disk: MemoryDisk,
    number: u64,
    kernel: Arc<Kernel>,
}

impl Life {
    fn new(shared: &Shared, disk: &MemoryDisk, lives: usize) -> Self {
        shared.world().begin_life();
        *shared.last_effect.lock().unwrap() = u64::MAX;
        let kernel = Kernel {
            shared: shared.clone(),
            disk: disk.clone(),
            goal: Mutex::new(Goal::default()),
        };
        Self {
            shared: shared.clone(),
            disk: disk.clone(),
            number: lives as u64,
            kernel: Arc::new(kernel),
        }
    }

    fn begin(&self) -> Result<Runtime, StartError> {
        let variant = self.shared.world().case.variant;
        let seed = self.shared.world().case.seed + self.number;
        let clock: Arc<dyn Clock> = Arc::new(self.shared.clock.clone());
        let network: Arc<dyn HttpClient> = Arc::new(Net);
        let store = Box::new(self.disk.open().unwrap());
        Runtime::simulate(plan::of(variant), store, &clock, seed, &network)
    }

    fn block_on<T>(&self, life: impl Future<Output = T>) -> T {
        let kernel = Arc::clone(&self.kernel);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || kernel.go_on())
            .build()
            .unwrap();
        runtime.block_on(life)
    }

    fn live(&self, moment: Moment, end: End) {
        let now = self.shared.clock.elapsed();
        let mut until = now + LONGEST;
        let mut commits = u64::MAX;
        match moment {
            Moment::After(wait) => until = now + wait,
            Moment::Commit(n) => {
                commits = self.disk.commits() + n;
                self.fail_commit(n, end);
            }
            Moment::Effect(n) => *self.shared.last_effect.lock().unwrap() = n,
        }
        self.kernel.set_goal(until, commits);
        self.block_on(async {
            let Ok(daemon) = self.begin() else {
                // Its first commit is the opening of the store.
                let is_meant =
                    matches!(end, End::CommitRefused | End::CommitUnsure | End::DiskFull);
                if !is_meant {
                    self.shared.world().broke("it could not start".to_owned());
                }
                return;
            };
            self.kernel.reached().await;
            // What was not answered stays so; the others go on until the disk is asked.
            *self.shared.last_effect.lock().unwrap() = u64::MAX;
            let clock = &self.shared.clock;
            match end {
                End::Stopped => {
                    let stopped = daemon.stop(Duration::from_secs(5), clock).await;
                    if let Err(error) = stopped {
                        self.shared
                            .world()
                            .broke(format!("it could not stop: {error}"));
                    }
                    return;
                }
                End::CommitRefused | End::CommitUnsure | End::DiskFull => {
                    if !daemon.engine_failed() {
                        self.fail_commit(1, end);
                    }
                    // Something is committed every few seconds at the latest.
                    for _ in 0..600 {
                        if daemon.engine_failed() {
                            return;
                        }
                        clock.sleep(Duration::from_millis(100)).await;
                    }
                    self.shared
                        .world()
                        .broke("it goes on without a store".to_owned());
                }
                End::PowerCut | End::DiskLost | End::BackupRestored => {}
            }
            if daemon.engine_failed() {
                self.shared
                    .world()
                    .broke("the engine ended by itself".to_owned());
            }
        });
    }

    fn fail_commit(&self, n: u64, end: End) {
        match end {
            End::CommitRefused => self.disk.fail_commit(n, CommitFault::Before),
            End::CommitUnsure => self.disk.fail_commit(n, CommitFault::After),
            End::DiskFull if n == 1 => self.disk.set_full(true),
            _ => {}
        }
    }

    /// The last life: trouble ends, and everything becomes right and stays so.
    fn end_well(&self) {
        self.kernel.set_goal(Duration::MAX, u64::MAX);
        self.block_on(async {
            let daemon = self.begin().unwrap();
            let clock = &self.shared.clock;
            while clock.elapsed() < Case::span() {
                clock.sleep(Duration::from_secs(5)).await;
                self.hand_on_hints(&daemon).await;
                if !self.shared.world().broken.is_empty() {
                    return;
                }
            }
            self.shared.world().end_troubles();
            let until = clock.elapsed() + SETTLING;
            let mut well_since = None;
            loop {
                clock.sleep(Duration::from_secs(5)).await;
                if !self.shared.world().broken.is_empty() {
                    return;
                }
                let now = clock.elapsed();
                let wrong = self.what_is_wrong(&daemon).await;
                if wrong.is_empty() {
                    let since = *well_since.get_or_insert(now);
                    if now >= since + STABLE {
                        return;
                    }
                } else {
                    well_since = None;
                }
                if now > until {
                    let mut says = judge::daemon(&self.shared, &daemon.engine).await;
                    says.extend(judge::why(&wrong, &daemon.engine).await);
                    let mut world = self.shared.world();
                    for what in says {
                        world.tell(format_args!("the daemon says: {what}"));
                    }
                    for what in wrong {
                        world.broke(what);
                    }
                    return;
                }
            }
        });
    }

    async fn what_is_wrong(&self, daemon: &Runtime) -> Vec<String> {
        if daemon.engine_failed() {
            return vec!["the engine ended by itself".to_owned()];
        }
        let wrong = judge::world(&self.shared.world());
        if !wrong.is_empty() {
            return wrong;
        }
        judge::daemon(&self.shared, &daemon.engine).await
    }

    async fn hand_on_hints(&self, daemon: &Runtime) {
        let hints = std::mem::take(&mut self.shared.world().hints);
        for (shop, order) in hints {
            let hint = NewHint {
                stream: Stream::Orders,
                id: order.as_str().into(),
                not_before: None,
            };
            let (name, hints) = (SYSTEMS[shop].into(), vec![hint]);
            let taken = daemon.engine.take_hints(name, hints, MOST_HINTS);
            let _ = taken.await; // an engine that ended is told elsewhere
        }
    }
}

/// Moves time on when nobody can go on without it, and says when a life has reached its end.
struct Kernel {
    shared: Shared,
    disk: MemoryDisk,
    goal: Mutex<Goal>,
}

#[derive(Debug, Default)]
struct Goal {
    until: Duration,
    commits: u64,
    is_reached: bool,
    waker: Option<Waker>,
}

impl Kernel {
    fn set_goal(&self, until: Duration, commits: u64) {
        let mut goal = self.goal.lock().unwrap();
        goal.until = until;
        goal.commits = commits;
    }

    async fn reached(&self) {
        std::future::poll_fn(|cx| {
            let mut goal = self.goal.lock().unwrap();
            if goal.is_reached {
                return Poll::Ready(());
            }
            goal.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Not a single task is ready.
    fn go_on(&self) {
        loop {
            if self.is_reached_now() {
                return;
            }
            let sleeper = self.shared.clock.next_due();
            let event = self.shared.world().next_event();
            let until = self.goal.lock().unwrap().until;
            let first = [sleeper, event].into_iter().flatten().min();
            if first.is_none_or(|first| first > until) && !self.goal.lock().unwrap().is_reached {
                self.shared.clock.move_to(until);
                continue;
            }
            match (sleeper, event) {
                (sleeper, Some(event)) if sleeper.is_none_or(|it| event <= it) => {
                    self.shared.clock.pass(event);
                    self.shared.world().happen();
                }
                (Some(sleeper), _) => {
                    if self.shared.clock.move_to(sleeper) {
                        return;
                    }
                }
                (None, _) => return,
            }
        }
    }

    /// Whether the life's end came just now: once.
    fn is_reached_now(&self) -> bool {
        let mut goal = self.goal.lock().unwrap();
        if goal.is_reached {
            return false;
        }
        let world = self.shared.world();
        let is = self.shared.clock.elapsed() >= goal.until
            || self.disk.commits() >= goal.commits
            || world.effects >= *self.shared.last_effect.lock().unwrap()
            || (!world.broken.is_empty() && goal.waker.is_some());
        goal.is_reached = is;
        if let Some(waker) = goal.waker.take_if(|_| is) {
            waker.wake();
        }
        is
    }
}
