//! The real daemon against the practice systems, over real HTTP: short days, calm, bad and worse.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crossdock::clock::Clock;
use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::connectors::built_in;
use crossdock::runtime::{Runtime, SystemClock, open_store, store_path};
use crossdock::sandbox::audit::Fact;
use crossdock::sandbox::{
    Crew, FaultKind, FaultPlan, Pace, SYSTEMS, Statement, World, WorldOptions,
};
use crossdock::topology;
use futures_util::FutureExt as _;
use tokio::sync::Notify;
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
    let connectors = built_in();
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

/// The daemon as a process of its own; what it says is added to the log in `folder`.
/// A write that its disk has no room for is an error to it and not its end.
fn start(config: &Path, folder: &Path) -> Child {
    let log = folder.join("log");
    let log = File::options().create(true).append(true).open(log).unwrap();
    Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_crossdock"))
        .arg("--config")
        .arg(config)
        .arg("run")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// How one life of the daemon ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Killed after so long, whatever it does: while it opens its store, too.
    After(Duration),
    /// Killed the moment somebody took in a write of it: before it can have noted the reply.
    AtEffect(Duration),
    /// From a moment on no file can be written any more; killed a while later, if it still lives.
    DiskFull(Duration),
}

/// What the daemon went through.
#[derive(Debug, Default)]
struct Toll {
    kills: u32,
    at_effect: u32,
    /// How it ended by itself, if it did, each time that the disk was full.
    disk_full: Vec<Option<ExitStatus>>,
    lives: Duration,
}

impl Toll {
    /// One life, while people are at work.
    async fn life(&mut self, config: &Path, folder: &Path, end: End, world: &World) {
        let clock = world.audit.clock();
        let mut daemon = start(config, folder);
        let begun = clock.monotonic();
        let mut is_killed = false;
        match end {
            End::After(life) => clock.sleep(life).await,
            End::AtEffect(limit) => {
                clock.sleep(Duration::from_millis(200)).await;
                is_killed = killed_at_effect(&daemon, world, limit).await;
                self.at_effect += u32::from(is_killed);
            }
            End::DiskFull(life) => {
                clock.sleep(life).await;
                fill_disk(&daemon);
                clock.sleep(Duration::from_secs(3)).await;
                self.disk_full.push(daemon.try_wait().unwrap());
            }
        }
        self.lives += clock.monotonic().saturating_sub(begun);
        let ended = daemon.try_wait().unwrap();
        let may_end = matches!(end, End::DiskFull(_));
        // Another code than 0: whoever runs it starts it again.
        assert!(
            is_killed || ended.is_none_or(|status| may_end && !status.success()),
            "it ended by itself: {ended:?}\n{}",
            last_lines(folder)
        );
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        self.kills += 1;
    }
}

/// Nothing can be written to any file any more, as far as the daemon sees: a file-size limit of nothing
/// stands for a full disk, and needs neither root nor a file system of its own.
fn fill_disk(daemon: &Child) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = Pid::from_child(daemon);
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    prlimit(Some(pid), Resource::Fsize, nothing).unwrap();
}

/// Kills the daemon the moment a system takes in a write of it, before it is answered; whether one did.
async fn killed_at_effect(daemon: &Child, world: &World, limit: Duration) -> bool {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = Pid::from_child(daemon);
    let killed = Arc::new(Notify::new());
    let told = Arc::clone(&killed);
    let kill = move || {
        kill_process(pid, Signal::KILL).unwrap();
        told.notify_one();
    };
    let is_effect = |fact: &Fact| {
        matches!(
            fact,
            Fact::Drafted { .. }
                | Fact::Booked { .. }
                | Fact::Unbooked { .. }
                | Fact::TrackingTold { .. }
                | Fact::StockTold { .. }
                | Fact::ItemTold { .. }
        )
    };
    world.audit.trip(is_effect, Some(Box::new(kill)));
    let in_time = tokio::select! {
        () = killed.notified() => true,
        () = world.audit.clock().sleep(limit) => false,
    };
    // Nobody is killed any more from here on; who was in this moment was.
    world.audit.trip(is_effect, None);
    in_time || killed.notified().now_or_never().is_some()
}

/// 5 % of the requests fail, 1 % are done and get no reply, tokens are taken back, and live for 10 s.
fn hostile(folder: &Path, seed: u64) -> WorldOptions {
    let mut options = world_in(folder);
    options.seed = seed;
    options.token_life = Duration::from_secs(10);
    // How soon a daemon that is dead half of the time tells a number is not judged here.
    options.reach.write = Duration::from_mins(1);
    for system in SYSTEMS {
        let mut plan = FaultPlan::only(FaultKind::AcceptThenDrop, seed, 1.0);
        plan.percent.extend([
            (FaultKind::Throttle, 0.1),
            (FaultKind::Error500, 1.5),
            (FaultKind::LateError500, 1.0),
            (FaultKind::Unavailable503, 1.0),
            (FaultKind::Cut, 1.0),
            (FaultKind::Html, 0.4),
            (FaultKind::TokenExpiry, 0.5),
        ]);
        options.faults.insert(system.to_owned(), plan);
    }
    options
}

/// Of the orders that wait for the ERP one stands in memory, and those behind it in the store alone.
fn park_soon(config: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    let parked = text.replace("[limits]\n", "[limits]\noutbox_max_in_memory = 1\n");
    assert_ne!(text, parked);
    std::fs::write(config, parked).unwrap();
}

/// How often: 60 times, or as `CROSSDOCK_KILLS` says (`CROSSDOCK_KILLS=2000` is the long mode, 50 minutes).
#[expect(clippy::disallowed_methods, reason = "a switch of the test runner")]
fn kills() -> u32 {
    let told = std::env::var("CROSSDOCK_KILLS");
    told.map_or(60, |told| told.parse().unwrap())
}

/// Story 19 and the whole of the table of crashes: the process is killed at random moments and the moment
/// somebody took in a write of it, again and again, while requests fail, replies get lost, tokens expire
/// and the disk fills once, in a world that would take every order twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "what it went through is worth reading")]
async fn a_daemon_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let held = tempfile::tempdir().unwrap();
    let folder = held.path();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let kills = kills();
    let seed = 11;
    let world = World::start(&clock, hostile(folder, seed)).await.unwrap();
    let config = world.write_config(folder).unwrap();
    park_soon(&config);

    let mut random = fastrand::Rng::with_seed(seed);
    let mut crew = Crew::new(seed, &Pace::default(), clock.now());
    let mut toll = Toll::default();
    for number in 0..kills {
        let end = match number {
            // Nobody can buy before the items are adopted.
            0 => End::After(Duration::from_secs(4)),
            _ if number == kills / 2 => End::DiskFull(Duration::from_millis(1_500)),
            _ if number % 2 == 0 => End::AtEffect(Duration::from_millis(2_500)),
            _ => End::After(Duration::from_millis(random.u64(20..2_200))),
        };
        let stop = CancellationToken::new();
        tokio::join!(world.run(&mut crew, &stop), async {
            toll.life(&config, folder, end, &world).await;
            stop.cancel();
        });
    }
    let mut daemon = start(&config, folder);
    let statement = world.settle(&mut crew, Duration::from_secs(300)).await;
    let mut report = statement.to_text();
    if !statement.holds() {
        report.push_str(&asked_why(&config, &statement));
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    world.stop().await;
    let recognised = recognised(&config, folder);
    eprintln!("{toll:?}\n{report}\nsent again and recognised: {recognised}");
    if !statement.holds() {
        let last = last_lines(folder);
        // A day of 50 minutes is not asked for twice: what it left is kept.
        let whole = (&statement, world.audit.entries());
        let whole = serde_json::to_string(&whole).unwrap();
        std::fs::write(folder.join("statement.json"), whole).unwrap();
        panic!("{report}\n{last}\nkept in {}", held.keep().display());
    }
    assert_eq!((toll.kills, toll.disk_full.len()), (kills, 1));
    assert!(toll.at_effect > kills / 4, "{toll:?}");
    // After half an hour there is nothing left to buy: 966 orders in 2,000 lives.
    let most = usize::try_from(kills).unwrap().min(600);
    assert!(statement.placed_in_all() > most, "{report}");
    assert!(recognised > 0, "no write was ever in doubt");
}

/// How many deliveries were found to be there already when they were to be sent again, as the journal says.
fn recognised(config: &Path, folder: &Path) -> usize {
    let file = folder.join("export");
    ask(config, &["store", "export", file.to_str().unwrap()]);
    let text = std::fs::read_to_string(file).unwrap();
    let values = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        BASE64.decode(line["v"].as_str()?).ok()
    });
    let told = |value: Vec<u8>| {
        let value = String::from_utf8_lossy(&value).into_owned();
        value.matches("it was there already").count()
    };
    values.map(told).sum()
}

/// What the daemon has to say about what went wrong.
fn asked_why(config: &Path, statement: &Statement) -> String {
    let mut told = ask(config, &["quarantine", "list"]);
    told.push_str(&ask(config, &["queue"]));
    for one in statement.stock_differences.iter().take(3) {
        told.push_str(&ask(config, &["explain", "stock", &one.sku, &one.shop]));
    }
    for one in statement.oversold_avoidable.iter().take(3) {
        let channel = one.order.split(':').next().unwrap_or_default();
        told.push_str(&ask(config, &["explain", "stock", &one.sku, channel]));
    }
    for missing in statement.lost.iter().chain(&statement.tracking_missing) {
        // `north:1002`, also with the tracking number behind it.
        let (_, order) = missing.split_once(':').unwrap_or(("", missing));
        let order = order.split(' ').next().unwrap_or(order);
        told.push_str(&ask(config, &["explain", "order", order]));
    }
    told
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
