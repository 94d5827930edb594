//! The real daemon against the practice systems, over real HTTP: short days, calm, bad and worse.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossdock::clock::Clock;
use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::connectors::built_in;
use crossdock::runtime::{Runtime, SystemClock, open_store, store_path};
use crossdock::sandbox::{Crew, Pace, Statement, World, WorldOptions};
use crossdock::topology;
use tokio_util::sync::CancellationToken;

/// A world whose daemon promises no more than a machine under load, or one that is killed, can keep.
fn world_in(folder: &Path) -> WorldOptions {
    let mut options = WorldOptions::new(folder.join("acme"));
    options.reach.write = Duration::from_secs(10);
    options.market = true;
    options
}

/// Runs a day of `secs` seconds and lets it settle for at most `limit` seconds.
async fn day(options: WorldOptions, state: &Path, secs: u64, limit: u64) -> (Statement, String) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let seed = options.seed;
    let world = World::start(&clock, options).await.unwrap();
    let path = world.write_config(state).unwrap();
    let connectors = built_in().unwrap();
    let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    let loaded = config::load(&path, &config::System, Credentials::Needed).unwrap();
    let plan = topology::plan(&loaded, &registry).unwrap();
    let store = open_store(&plan, &store_path(&plan), clock.as_ref()).unwrap();
    let runtime = Runtime::start(Arc::new(plan), store, &clock, seed).unwrap();

    let mut crew = Crew::new(seed, &Pace::default(), clock.now());
    let stop = CancellationToken::new();
    tokio::join!(world.run(&mut crew, &stop), async {
        clock.sleep(Duration::from_secs(secs)).await;
        stop.cancel();
    });
    let statement = world.settle(&mut crew, Duration::from_secs(limit)).await;
    let mut report = statement.to_text();
    if !statement.holds() {
        report.push_str(&why(&runtime, &statement).await);
    }
    runtime
        .stop(Duration::from_secs(5), clock.as_ref())
        .await
        .unwrap();
    world.stop().await;
    (statement, report)
}

/// What the daemon itself has to say about what went wrong.
pub async fn why(runtime: &Runtime, statement: &Statement) -> String {
    let engine = &runtime.engine;
    let mut told = format!("{:#?}\n", engine.status().await.unwrap());
    for row in engine.quarantine(0, 30).await.unwrap() {
        writeln!(told, "{row:?}").unwrap();
    }
    for row in engine.queue(0, 30).await.unwrap() {
        let (sink, reference) = (row.sink, row.reference);
        writeln!(
            told,
            "{sink} {reference} {:?} {:?}",
            row.state, row.last_fault
        )
        .unwrap();
    }
    for one in statement.stock_differences.iter().take(3) {
        let shop = Some(one.shop.as_str().into());
        let reasons = engine.explain_stock(one.sku.clone(), shop).await.unwrap();
        writeln!(told, "{reasons:#?}").unwrap();
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_calm_day_ends_in_a_statement_that_holds() {
    let folder = tempfile::tempdir().unwrap();
    let options = world_in(folder.path());
    let (statement, report) = day(options, folder.path(), 10, 60).await;
    assert!(statement.holds(), "{report}");
    assert!(statement.placed_in_all() > 5);
}

/// Stories 13, 19 to 22, 49 and 53 at once: every kind of fault, and clocks that are wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_day_ends_in_a_statement_that_holds() {
    let folder = tempfile::tempdir().unwrap();
    let options = world_in(folder.path()).with_faults(8.0, 90);
    let (statement, report) = day(options, folder.path(), 12, 90).await;
    assert!(statement.holds(), "{report}");
    assert!(statement.faults.values().sum::<u64>() > 10);
}

/// The daemon as a process of its own; what it says goes to `log`.
fn start(config: &Path, log: &File) -> Child {
    Command::new(env!("CARGO_BIN_EXE_crossdock"))
        .arg("--config")
        .arg(config)
        .arg("run")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log.try_clone().unwrap())
        .spawn()
        .unwrap()
}

/// Story 19 and the whole of the table of crashes: the process is killed in the middle of whatever it
/// does, again and again, while replies get lost, in a world that would take every order twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut options = world_in(folder.path()).with_faults(4.0, 0);
    options.seed = 11;
    let world = World::start(&clock, options).await.unwrap();
    let config = world.write_config(folder.path()).unwrap();
    let log = File::create(folder.path().join("log")).unwrap();

    let mut random = fastrand::Rng::with_seed(11);
    let mut crew = Crew::new(11, &Pace::default(), clock.now());
    // Nobody can buy before the items are adopted, for which the first lives are too short.
    for _ in 0..9 {
        let mut daemon = start(&config, &log);
        let stop = CancellationToken::new();
        let life = Duration::from_millis(random.u64(1_500..4_000));
        tokio::join!(world.run(&mut crew, &stop), async {
            clock.sleep(life).await;
            stop.cancel();
        });
        let before = daemon.try_wait().unwrap();
        assert!(
            before.is_none(),
            "it ended by itself: {before:?}\n{}",
            last_lines(folder.path())
        );
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    let mut daemon = start(&config, &log);
    let statement = world.settle(&mut crew, Duration::from_secs(90)).await;
    let mut report = statement.to_text();
    for one in statement.stock_differences.iter().take(3) {
        report.push_str(&ask(&config, &["explain", "stock", &one.sku, &one.shop]));
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    world.stop().await;
    assert!(statement.holds(), "{report}\n{}", last_lines(folder.path()));
    assert!(statement.placed_in_all() > 10);
}

/// What a command says.
fn ask(config: &Path, command: &[&str]) -> String {
    let mut asked = Command::new(env!("CARGO_BIN_EXE_crossdock"));
    let said = asked
        .arg("--config")
        .arg(config)
        .args(command)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

fn last_lines(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("log")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
