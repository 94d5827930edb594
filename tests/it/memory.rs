//! How much memory what waits takes: of processes of their own, with an embedded store.
//!
//! One process fills a store, another one opens it, as after a restart. Both are asked for the memory that is theirs
//! alone (`RssAnon`): the program itself, which is large in a debug build and shared, is not counted.
//!
//! Long, so only on demand: `cargo nextest run --run-ignored only -E 'test(memory_is)'`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crossdock::connector::{Change, Cursor};
use crossdock::engine::{Engine, Pool, PoolMember, Publish, Reached, Rules, Unit};
use crossdock::inventory::PublishRule;
use crossdock::record::{Record, Stream};
use crossdock::router::{Mode, Route, Router};
use crossdock::runtime::SystemClock;
use crossdock::store::dir::Birth;
use crossdock::store::{DiskStore, EngineKind};
use serde_json::json;

/// What the child does: `fill sled orders 200000`, or `open` for `fill`.
const CHILD_LOAD: &str = "CROSSDOCK_TEST_LOAD";
/// And with the store in this directory.
const CHILD_DIR: &str = "CROSSDOCK_TEST_LOAD_DIR";

fn rules() -> Rules {
    let member = PoolMember {
        connection: "acme".into(),
        locations: BTreeSet::new(),
        freshness: Duration::from_hours(10_000),
    };
    let pool = Pool {
        members: vec![member],
        fulfilled_by: None,
        tills: BTreeSet::new(),
    };
    let publish = Publish {
        name: "publish".into(),
        pool: "main".into(),
        to: "south".into(),
        mode: Mode::Apply,
        rule: PublishRule::default(),
        items: BTreeMap::new(),
    };
    let route = Route {
        name: "orders".into(),
        from: ("north".into(), Stream::Orders),
        to: ("erp".into(), Stream::Orders),
        mode: Mode::Apply,
        start_from: None,
    };
    Rules {
        router: Router::new([route]),
        pools: BTreeMap::from([("main".to_owned(), pool)]),
        publishes: vec![publish],
        ..Rules::default()
    }
}

fn unit(connection: &str, stream: Stream, changes: Vec<Change>, last: usize) -> Unit {
    let at = "2026-11-22T00:00:00Z".parse().unwrap();
    Unit {
        connection: connection.into(),
        stream,
        changes,
        read_at: at,
        read_until: at,
        as_of: None,
        reached: Some(Reached {
            cursor: Cursor::Sequence { last: last as u64 },
            more: true,
            settle_lag: Duration::ZERO,
        }),
    }
}

fn order(n: usize) -> Change {
    let money = |amount: &str| json!({"amount": amount, "currency": "EUR"});
    let line = json!({"line_id": "1", "sku": format!("SKU-{n:07}"), "quantity": "2",
        "unit_price": money("10.00"), "prices_include_tax": true, "line_net": money("20.00"),
        "line_gross": money("20.00")});
    let id = format!("ORD-{n:08}");
    let json = json!({"id": id, "number": id, "placed_at": "2026-11-22T10:00:00Z", "currency": "EUR",
        "customer": {"name": "Somebody"},
        "ship_to": {"line1": "Hauptstr. 146", "city": "Berlin", "country": "DE"}, "lines": [line],
        "totals": {"lines_net": money("20.00"), "charges_net": money("0"), "taxes": money("0"),
            "grand_total": money("20.00")}});
    Change::present(id, Record::from_json(Stream::Orders, json).unwrap())
}

fn level(n: usize) -> Change {
    let sku = format!("SKU-{n:07}");
    let json = json!({"sku": sku, "on_hand": (n % 500 + 1).to_string()});
    Change::present(sku, Record::from_json(Stream::Stock, json).unwrap())
}

/// What a process of its own does: lets so much wait, or opens the store in which so much waits; and says what it took.
#[test]
fn child_of_the_memory_tests() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the parent speaks to its child"
    )]
    let told = |name: &str| std::env::var(name).ok();
    let (Some(load), Some(dir)) = (told(CHILD_LOAD), told(CHILD_DIR)) else {
        return;
    };
    let [does, kind, what, count] = load.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{load}");
    };
    let count: usize = count.parse().unwrap();
    let mut most = Most::default();
    match does {
        "fill" => fill(
            EngineKind::of(kind).unwrap(),
            Path::new(&dir),
            what,
            count,
            &mut most,
        ),
        _ => open(Path::new(&dir), what, &mut most),
    }
    #[expect(clippy::print_stdout, reason = "what the parent reads")]
    {
        println!("\nmost {} end", most.0);
    }
}

/// Lets `count` orders or numbers wait.
fn fill(kind: EngineKind, dir: &Path, what: &str, count: usize, most: &mut Most) {
    let birth = Birth {
        at: "2026-11-22T00:00:00Z".parse().unwrap(),
        id: "019ab000-0000-7000-8000-000000000001".parse().unwrap(),
    };
    let mut engine = engine_on(DiskStore::open(kind, dir, birth).unwrap(), 1);
    // Nobody is told a number before the sales of its channel were read.
    engine
        .accept(unit("south", Stream::Orders, Vec::new(), 1))
        .unwrap();
    let page = if what == "orders" { 500 } else { 4000 };
    for first in (0..count).step_by(page) {
        let numbers = first..(first + page).min(count);
        let unit = match what {
            "orders" => unit("north", Stream::Orders, numbers.map(order).collect(), first),
            _ => unit("acme", Stream::Stock, numbers.map(level).collect(), first),
        };
        engine.accept(unit).unwrap();
        most.look();
    }
    let status = engine.status().unwrap();
    let waits = match what {
        "orders" => status.queue.iter().map(|it| it.count).sum::<u64>(),
        _ => status.differences.iter().map(|it| it.count as u64).sum(),
    };
    assert_eq!(waits, count as u64, "{status:?}");
}

/// Opens a store in which much waits, and takes some of it.
fn open(dir: &Path, what: &str, most: &mut Most) {
    let mut engine = engine_on(DiskStore::open_existing(dir).unwrap(), 2);
    most.look();
    let (sink, stream) = match what {
        "orders" => ("erp", Stream::Orders),
        _ => ("south", Stream::Stock),
    };
    assert!(!engine.claim(sink.into(), stream, 100).unwrap().is_empty());
    most.look();
}

fn engine_on(store: DiskStore, seed: u64) -> Engine {
    let clock = Arc::new(SystemClock::new());
    Engine::open(Box::new(store), Arc::new(rules()), clock, seed).unwrap()
}

/// The most memory of its own that this process was seen with, in bytes.
#[derive(Default)]
struct Most(u64);

impl Most {
    fn look(&mut self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        self.0 = self.0.max(kb.unwrap() * 1024);
    }
}

/// The most memory while it filled, and after opening it again.
fn measured(kind: &str, load: &str) -> [u64; 2] {
    let folder = tempfile::tempdir().unwrap();
    ["fill", "open"].map(|does| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "memory::child_of_the_memory_tests",
                "--nocapture",
            ])
            .env(CHILD_LOAD, format!("{does} {kind} {load}"))
            .env(CHILD_DIR, folder.path().join("store"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let told = text.split("\nmost ").nth(1).unwrap_or_else(|| {
            panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
        });
        told.split_whitespace().next().unwrap().parse().unwrap()
    })
}

/// How many bytes each thing more that waits takes, in either process, of what `few` and `many` take.
#[expect(clippy::print_stderr, reason = "the figures are what it is for")]
fn compare(kind: &str, what: &str, [few, many]: [u64; 2], most: u64) {
    let [less, more] = [few, many].map(|count| measured(kind, &format!("{what} {count}")));
    let mb = |bytes: [u64; 2]| bytes.map(|bytes| bytes / 1_000_000);
    let each = [0, 1].map(|at| more[at].saturating_sub(less[at]) / (many - few));
    eprintln!(
        "{kind}: filled and opened again, MB: {few} {what} {:?}, {many} {:?}; bytes each {each:?}",
        mb(less),
        mb(more)
    );
    assert!(each.iter().all(|each| *each <= most), "{each:?} bytes each");
}

/// 200 000 orders stand in the store. In memory stand the places of the first 20 000 in the queue, and of all of them a few
/// bytes of each SKU that they take and what the engine keeps of its pages.
#[test]
#[ignore = "long: 200 000 orders in an embedded store"]
fn memory_is_bounded_with_200_000_orders_pending_in_redb() {
    compare("redb", "orders", [20_000, 200_000], 60);
}

/// The same, and what sled itself keeps of each page: it puts at most 16 rows on one, and remembers where each is.
#[test]
#[ignore = "long: 200 000 orders in an embedded store"]
fn memory_is_bounded_with_200_000_orders_pending_in_sled() {
    compare("sled", "orders", [20_000, 200_000], 1500);
}

/// A million numbers to be told: what is kept in memory of each is what its key does not share with its neighbours, in the
/// set of what differs and in that of what an earlier process may have had under way.
#[test]
#[ignore = "long: a million numbers in an embedded store"]
fn memory_is_bounded_with_a_million_stock_differences_pending_in_redb() {
    compare("redb", "stock", [100_000, 1_000_000], 30);
}

/// The same, and what sled itself keeps of each page.
#[test]
#[ignore = "long: a million numbers in an embedded store"]
fn memory_is_bounded_with_a_million_stock_differences_pending_in_sled() {
    compare("sled", "stock", [100_000, 1_000_000], 90);
}
