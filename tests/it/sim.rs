//! The whole daemon against the practice systems in virtual time, without a network or a disk: whole
//! days in a second, hundreds of them, with every kind of trouble. Whatever happens, the statement holds.
//!
//! `CROSSDOCK_SEED=17` runs one day, `CROSSDOCK_SEEDS=500` so many from 1 on. A seed that failed runs the
//! same way again, up to the order in which ready tasks of one moment are polled.

#[path = "sim/clock.rs"]
pub mod clock;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossdock::clock::Clock;
use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::connectors::built_in;
use crossdock::engine::mark_restored;
use crossdock::runtime::Runtime;
use crossdock::sandbox::inside::Inside;
use crossdock::sandbox::{Crew, Pace, Statement, World, WorldOptions};
use crossdock::store::memory::{CommitFault, MemoryDisk};
use crossdock::topology::{self, Plan};
use crossdock::transport::http::HttpClient;
use tokio_util::sync::CancellationToken;

use super::practice::why;
use clock::SimClock;

/// How many days are simulated when nobody says otherwise.
const DAYS: u64 = 6;
/// How long a day may take to settle, in virtual time: longer than the longest wait between two tries.
const SETTLING: Duration = Duration::from_mins(10);

#[test]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "how much is swept is said from outside, and what was swept is printed"
)]
fn whatever_happens_the_statement_holds() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let seeds = match number("CROSSDOCK_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("CROSSDOCK_SEEDS").unwrap_or(DAYS),
    };
    let mut troubles = 0;
    let mut orders = 0;
    for seed in seeds.clone() {
        let day = Day::new(seed);
        let (statement, report) = day.run();
        assert!(
            statement.holds(),
            "CROSSDOCK_SEED={seed}: {:?}\n{report}",
            day.troubles
        );
        troubles += day.troubles.len();
        orders += statement.placed_in_all();
    }
    println!(
        "{} days, {orders} orders, {troubles} ends of the daemon",
        seeds.count()
    );
}

/// How a life of the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The power fails.
    PowerCut,
    /// The disk refuses a commit.
    CommitRefused,
    /// The disk writes a commit and reports an error.
    CommitUnsure,
    /// It is told to stop.
    Stopped,
    /// The power fails, and so does the disk: the next life begins with nothing.
    DiskLost,
    /// As before, but there is a backup of an earlier moment.
    BackupRestored,
}

/// What kind of day.
#[derive(Debug)]
struct Day {
    seed: u64,
    percent: f64,
    skew: i64,
    unique_reference: bool,
    troubles: Vec<(u64, End)>,
}

impl Day {
    fn new(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let lives = dice.usize(1..6);
        let ends = [
            End::PowerCut,
            End::PowerCut,
            End::CommitRefused,
            End::CommitUnsure,
            End::Stopped,
            End::DiskLost,
            End::BackupRestored,
        ];
        let troubles = (0..lives)
            .map(|_| (dice.u64(300..15_000), ends[dice.usize(..ends.len())]))
            .collect();
        Self {
            seed,
            percent: [0.0, 2.0, 8.0][dice.usize(..3)],
            skew: [0, 5, 90][dice.usize(..3)],
            unique_reference: dice.bool(),
            troubles,
        }
    }

    /// The statement at the end of the day, and what is to be known of it when it does not hold.
    fn run(&self) -> (Statement, String) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let clock = SimClock::at("2026-11-22T06:00:00Z".parse().unwrap());
        let driver = clock.clone();
        runtime.block_on(async {
            tokio::select! {
                () = driver.drive() => unreachable!("time never ends"),
                told = self.simulate(clock) => told,
            }
        })
    }

    async fn simulate(&self, clock: SimClock) -> (Statement, String) {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let mut options =
            WorldOptions::new(folder.path().join("acme")).with_faults(self.percent, self.skew);
        options.seed = self.seed;
        options.articles = 16;
        options.erp_unique_reference = self.unique_reference;
        options.reach.write = Duration::from_secs(10);
        std::fs::create_dir_all(options.folder.join("in")).unwrap();
        let world = World::new(&clock, options);
        let network: Arc<dyn HttpClient> = Arc::new(Inside::of(&world));
        let plan = plan(&world, folder.path());
        let mut crew = Crew::new(self.seed, &Pace::default(), clock.now());

        let mut disk = MemoryDisk::new();
        let mut backup = disk.durable_image();
        for (lives, (life, end)) in (0..).zip(&self.troubles) {
            let seed = self.seed + lives;
            let store = Box::new(disk.open().unwrap());
            let daemon =
                Runtime::simulate(Arc::clone(&plan), store, &clock, seed, &network).unwrap();
            let stop = CancellationToken::new();
            tokio::join!(world.run(&mut crew, &stop), async {
                clock.sleep(Duration::from_millis(*life)).await;
                stop.cancel();
            });
            disk = end.happen(daemon, disk, &mut backup, &clock).await;
        }
        let store = Box::new(disk.open().unwrap());
        let daemon =
            Runtime::simulate(Arc::clone(&plan), store, &clock, self.seed, &network).unwrap();
        let statement = world.settle(&mut crew, SETTLING).await;
        let mut report = statement.to_text();
        if !statement.holds() {
            report.push_str(&why(&daemon, &statement).await);
        }
        (statement, report)
    }
}

impl End {
    /// Ends a daemon; the disk with which the next one begins.
    async fn happen(
        self,
        daemon: Runtime,
        disk: MemoryDisk,
        backup: &mut MemoryDisk,
        clock: &Arc<dyn Clock>,
    ) -> MemoryDisk {
        match self {
            Self::Stopped => {
                let limit = Duration::from_secs(5);
                daemon.stop(limit, clock.as_ref()).await.unwrap();
                // The process ends, also when a request outlasted the limit: then nobody closed the store.
                disk.crash();
                return disk;
            }
            Self::CommitRefused | Self::CommitUnsure => {
                let fault = if self == Self::CommitRefused {
                    CommitFault::Before
                } else {
                    CommitFault::After
                };
                disk.fail_commit(1, fault);
                // Something is committed every few seconds at the latest.
                let until = clock.monotonic() + Duration::from_secs(60);
                while !daemon.engine_failed() && clock.monotonic() < until {
                    clock.sleep(Duration::from_millis(20)).await;
                }
                assert!(daemon.engine_failed(), "it goes on without a store");
            }
            Self::PowerCut | Self::DiskLost | Self::BackupRestored => {}
        }
        // What it had under way goes on for a moment, as requests do that have left.
        disk.crash();
        let _ = daemon.stop(Duration::ZERO, clock.as_ref()).await; // the store is closed already
        let next = match self {
            Self::DiskLost => MemoryDisk::new(),
            Self::BackupRestored => {
                let backup = std::mem::take(backup);
                mark_restored(&mut backup.open().unwrap(), clock.now()).unwrap();
                backup
            }
            _ => disk,
        };
        *backup = next.durable_image();
        next
    }
}

fn plan(world: &World, folder: &Path) -> Arc<Plan> {
    let path = world.write_config(folder).unwrap();
    let connectors = built_in();
    let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    let loaded = config::load(&path, &config::System, Credentials::Needed).unwrap();
    Arc::new(topology::plan(&loaded, &registry).unwrap())
}
