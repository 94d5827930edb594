//! How much memory what waits takes: of a process of its own, with an embedded store.
//!
//! Long, so only on demand: `cargo nextest run --run-ignored only memory_is`, half an hour with a debug build on two busy cores.

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

/// What the child is to let wait: `orders 200000`.
const CHILD_LOAD: &str = "CROSSDOCK_TEST_LOAD";
/// And where its store is.
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

/// What a process of its own does: lets so much wait, opens its store again, and says what it took.
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
    let (what, count) = load.split_once(' ').unwrap();
    let count: usize = count.parse().unwrap();
    let birth = Birth {
        at: "2026-11-22T00:00:00Z".parse().unwrap(),
        id: "019ab000-0000-7000-8000-000000000001".parse().unwrap(),
    };
    let store = DiskStore::open(EngineKind::Sled, Path::new(&dir), birth).unwrap();
    let clock = Arc::new(SystemClock::new());
    let mut engine = Engine::open(
        Box::new(store),
        Arc::new(rules()),
        Arc::<SystemClock>::clone(&clock),
        1,
    )
    .unwrap();
    let (connection, stream, page) = match what {
        "orders" => ("north", Stream::Orders, 250),
        _ => ("acme", Stream::Stock, 4000),
    };
    // Nobody is told a number before the sales of its channel were read.
    engine
        .accept(unit("south", Stream::Orders, Vec::new(), 1))
        .unwrap();
    for first in (0..count).step_by(page) {
        let numbers = first..(first + page).min(count);
        let changes = match stream {
            Stream::Orders => numbers.map(order).collect(),
            _ => numbers.map(level).collect(),
        };
        engine
            .accept(unit(connection, stream, changes, first))
            .unwrap();
    }
    let status = engine.status().unwrap();
    let waits = match stream {
        Stream::Orders => status.queue.iter().map(|it| it.count).sum::<u64>(),
        _ => status.differences.iter().map(|it| it.count as u64).sum(),
    };
    assert_eq!(waits, count as u64, "{status:?}");
    drop(engine);
    let filled = peak();
    let store = DiskStore::open_existing(Path::new(&dir)).unwrap();
    let mut engine = Engine::open(Box::new(store), Arc::new(rules()), clock, 2).unwrap();
    let (sink, stream) = match what {
        "orders" => ("erp", Stream::Orders),
        _ => ("south", Stream::Stock),
    };
    assert!(!engine.claim(sink.into(), stream, 100).unwrap().is_empty());
    #[expect(clippy::print_stdout, reason = "what the parent reads")]
    {
        println!("\npeak {filled} {} end", peak());
    }
}

/// The most memory that this process had, in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kb.unwrap() / 1024
}

/// The peak while it filled, and after opening it again.
fn measured(load: &str) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let binary = std::env::current_exe().unwrap();
    let output = Command::new(binary)
        .args([
            "--exact",
            "memory::child_of_the_memory_tests",
            "--nocapture",
        ])
        .env(CHILD_LOAD, load)
        .env(CHILD_DIR, folder.path().join("store"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.split("\npeak ").nth(1).unwrap_or_else(|| {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
    });
    let mut told = told.split_whitespace().map(|word| word.parse().unwrap());
    (told.next().unwrap(), told.next().unwrap())
}

#[expect(clippy::print_stderr, reason = "the figures are what it is for")]
fn compare(small: &str, large: &str, most: u64) {
    let (few, many) = (measured(small), measured(large));
    eprintln!("peak MB while it filled, and opened again: {small} {few:?}, {large} {many:?}");
    let worst = many.0.max(many.1);
    assert!(worst < most, "{large}: {worst} MB");
}

/// 200 000 orders stand in the store; what is kept in memory of each is its place in the queue.
#[test]
#[ignore = "long: 200 000 orders in an embedded store"]
fn memory_is_bounded_with_200_000_orders_pending() {
    compare("orders 2000", "orders 200000", 512);
}

/// A million numbers to be told: what is kept in memory of each is its key.
#[test]
#[ignore = "long: a million numbers in an embedded store"]
fn memory_is_bounded_with_a_million_stock_differences_pending() {
    compare("stock 10000", "stock 1000000", 512);
}
