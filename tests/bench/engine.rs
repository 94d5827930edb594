//! What the engine adds to its store: accepting, claiming and settling orders, accepting stock, telling it,
//! opening with a million known SKUs, a week of a middling merchant, and what a mapping rule costs. Once
//! for each engine of the store, in turns, so that they can be compared.
//!
//! `cargo bench --bench engine [-- <directory>]`; the directory is emptied first and should be on the
//! disk in question. Times depend on the machine, ratios are to the store alone in the same run.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement prints, reads the clock and may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossdock::config::{MappingTable, Node};
use crossdock::connector::{Change, Confirmation, Cursor, Outcome, Raw};
use crossdock::engine::{Engine, Pool, PoolMember, Publish, Reached, Rules, Unit};
use crossdock::inventory::PublishRule;
use crossdock::mapping;
use crossdock::record::{Record, Stream};
use crossdock::router::{Mode, Route, Router};
use crossdock::runtime::SystemClock;
use crossdock::store::dir::Birth;
use crossdock::store::{DiskStore, EngineKind, Store, WriteBatch};
use serde_json::{Value, json};

const ORDERS: usize = 10_000;
const SKUS: usize = 1_000_000;
/// Rows that one order is, accepted with its payload.
const ROWS: usize = 10;

fn main() {
    let temp = tempfile::tempdir().unwrap();
    // `cargo bench` hands `--bench` to a harness; a directory is anything else.
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let dir = given.map_or_else(|| temp.path().to_owned(), PathBuf::from);
    for kind in EngineKind::ALL {
        println!("-- {}", kind.name());
        let dir = dir.join(kind.name());
        let alone = bare(kind, &dir.join("bare"));
        orders(kind, &dir.join("orders"), &alone);
        stock(kind, &dir.join("stock"));
        week(kind, &dir.join("week"));
    }
    rules_cost();
}

fn open(kind: EngineKind, dir: &Path) -> DiskStore {
    let _ = std::fs::remove_dir_all(dir);
    let birth = Birth {
        at: "2026-11-22T00:00:00Z".parse().unwrap(),
        id: "019ab000-0000-7000-8000-000000000001".parse().unwrap(),
    };
    DiskStore::open(kind, dir, birth).unwrap()
}

/// Seconds for so many orders' rows, by the number of orders that share a commit.
type Alone = BTreeMap<usize, f64>;

/// The store alone: the same number of rows and bytes, in commits of as many.
fn bare(kind: EngineKind, dir: &Path) -> Alone {
    let mut alone = Alone::new();
    for together in [1, 64] {
        let mut store = open(kind, dir);
        let orders = if together == 1 { 1000 } else { ORDERS };
        let payload = vec![b'x'; 300];
        let (commits, time) = timed(|| {
            let mut commits = 0;
            for first in (0..orders).step_by(together) {
                let mut batch = WriteBatch::new();
                for order in first..(first + together).min(orders) {
                    for row in 0..ROWS {
                        batch.put(format!("{row}-{order:08}").into_bytes(), payload.clone());
                    }
                }
                store.commit(batch).unwrap();
                commits += 1;
            }
            commits
        });
        let each = time.as_secs_f64() / orders as f64;
        alone.insert(together, each);
        println!(
            "store alone, {together} order(s) of {ROWS} rows a commit: {:.0} commits/s, {:.0} orders/s",
            f64::from(commits) / time.as_secs_f64(),
            1.0 / each
        );
    }
    alone
}

fn orders(kind: EngineKind, dir: &Path, alone: &Alone) {
    let rules = Rules {
        router: Router::new([orders_route()]),
        ..Rules::default()
    };
    let clock = Arc::new(SystemClock::new());
    let mut engine = Engine::open(Box::new(open(kind, dir)), Arc::new(rules), clock, 1).unwrap();
    let changes: Vec<Change> = (0..ORDERS + 1000).map(order).collect();
    for (together, changes) in [(64, &changes[..ORDERS]), (1, &changes[ORDERS..])] {
        let cpu = cpu_seconds();
        let ((), time) = timed(|| {
            for (n, some) in changes.chunks(together).enumerate() {
                let at = (ORDERS * usize::from(together == 1)) + n + 1;
                engine.accept(page(some, at)).unwrap();
            }
        });
        report(
            "accept",
            together,
            changes.len(),
            time,
            cpu_seconds() - cpu,
            alone[&together],
        );
    }
    settle_all(&mut engine, alone);
}

fn orders_route() -> Route {
    Route {
        name: "orders".into(),
        from: ("north".into(), Stream::Orders),
        to: ("erp".into(), Stream::Orders),
        mode: Mode::Apply,
        start_from: None,
    }
}

fn page(changes: &[Change], at: usize) -> Unit {
    Unit {
        connection: "north".into(),
        stream: Stream::Orders,
        reached: Some(Reached {
            cursor: Cursor::Sequence { last: at as u64 },
            more: true,
            settle_lag: Duration::ZERO,
        }),
        ..levels(changes.to_vec())
    }
}

fn settle_all(engine: &mut Engine, alone: &Alone) {
    let cpu = cpu_seconds();
    let (count, time) = timed(|| carry(engine));
    report(
        "claim and settle",
        64,
        count,
        time,
        cpu_seconds() - cpu,
        alone[&64],
    );
}

fn report(what: &str, together: usize, count: usize, time: Duration, cpu: f64, alone: f64) {
    let each = time.as_secs_f64() / count as f64;
    println!(
        "{what}, {together} a commit: {:.0} orders/s, {:.0} us of CPU each, {:.1}x the store alone",
        1.0 / each,
        cpu / count as f64 * 1e6,
        each / alone
    );
}

fn order(n: usize) -> Change {
    let money = |amount: &str| json!({"amount": amount, "currency": "EUR"});
    let line = |m: usize| {
        json!({"line_id": m.to_string(), "sku": format!("SKU-{:07}", n * 7 + m), "quantity": "2",
            "unit_price": money("10.00"), "prices_include_tax": true, "line_net": money("20.00"),
            "line_gross": money("20.00")})
    };
    let json = json!({"id": format!("ORD-{n:08}"), "number": format!("ORD-{n:08}"),
        "placed_at": "2026-11-22T10:00:00Z", "currency": "EUR",
        "customer": {"name": "Zoë Müller", "email": "zoe@example.test", "phone": "+49 30 021505"},
        "ship_to": {"name": "Zoë Müller", "line1": "Hauptstr. 146", "postal_code": "84415",
            "city": "Berlin", "country": "DE"},
        "lines": [line(0), line(1)],
        "totals": {"lines_net": money("40.00"), "charges_net": money("0"), "taxes": money("0"),
            "grand_total": money("40.00")}});
    let raw = Raw {
        bytes: json.to_string().into(),
        personal: true,
    };
    let record = Record::from_json(Stream::Orders, json).unwrap();
    let mut change = Change::present(format!("ORD-{n:08}"), record);
    change.raw = Some(raw);
    change
}

/// A full list of a million SKUs, the same list again, and opening what then is known.
fn stock(kind: EngineKind, dir: &Path) {
    let rules = Arc::new(stock_rules());
    let clock = Arc::new(SystemClock::new());
    let store = Box::new(open(kind, dir));
    let mut engine = Engine::open(store, Arc::clone(&rules), clock.clone(), 1).unwrap();
    for what in ["first list", "same list again"] {
        let cpu = cpu_seconds();
        let ((), time) = timed(|| {
            for first in (0..SKUS).step_by(4000) {
                let changes = (first..first + 4000).map(level).collect();
                engine.accept(levels(changes)).unwrap();
            }
        });
        let cpu = (cpu_seconds() - cpu) / SKUS as f64 * 1e6;
        println!(
            "{what} of {SKUS} SKUs: {time:.1?}, {cpu:.2} us of CPU each, making the rows included"
        );
    }
    let cpu = cpu_seconds();
    let (told, time) = timed(|| drain(&mut engine));
    println!(
        "tell all {told}: {time:.1?}, {:.2} us of CPU each; the store is {} MB",
        (cpu_seconds() - cpu) / told as f64 * 1e6,
        engine.store().size_on_disk().unwrap() >> 20
    );
    drop(engine);
    let (store, time) = timed(|| DiskStore::open_existing(dir).unwrap());
    println!("open the store with {SKUS} SKUs: {time:.1?}");
    let (engine, time) = timed(|| Engine::open(Box::new(store), rules, clock, 1).unwrap());
    println!("rebuild the index, none of {SKUS} pending: {time:.1?}");
    drop(engine);
}

/// One owner, one channel.
fn stock_rules() -> Rules {
    let member = PoolMember {
        connection: "acme".into(),
        locations: BTreeSet::new(),
        freshness: Duration::from_secs(3600),
    };
    let pool = Pool {
        members: vec![member],
        fulfilled_by: None,
        tills: BTreeSet::new(),
    };
    let publish = Publish {
        name: "publish".into(),
        pool: "main".into(),
        to: "north".into(),
        mode: Mode::Apply,
        rule: PublishRule::default(),
        items: BTreeMap::new(),
    };
    Rules {
        pools: BTreeMap::from([("main".to_owned(), pool)]),
        publishes: vec![publish],
        ..Rules::default()
    }
}

/// Tells a channel everything that it should be told, as fast as the engine hands it out.
fn drain(engine: &mut Engine) -> usize {
    let mut count = 0;
    loop {
        let claimed = engine.claim("north".into(), Stream::Stock, 250).unwrap();
        if claimed.is_empty() {
            return count;
        }
        count += claimed.len();
        let told = Outcome::Delivered(Confirmation::default());
        let results = claimed.into_iter().map(|it| (it, told.clone())).collect();
        engine
            .settle("north".into(), Stream::Stock, results)
            .unwrap();
    }
}

/// Seven days of 20,000 SKUs and 1,000 orders a day: every hour a fiftieth of the numbers changes and is told, the
/// orders are carried; four times a day the daemon looks whether to compact. How large the store is each day.
fn week(kind: EngineKind, dir: &Path) {
    const WEEK_SKUS: usize = 20_000;
    const A_DAY: usize = 1000;
    let rules = Rules {
        router: Router::new([orders_route()]),
        ..stock_rules()
    };
    let clock = Arc::new(SystemClock::new());
    let store = Box::new(open(kind, dir));
    let mut engine = Engine::open(store, Arc::new(rules), clock, 1).unwrap();
    engine
        .accept(levels((0..WEEK_SKUS).map(level).collect()))
        .unwrap();
    drain(&mut engine);
    let (mut placed, mut compacted) = (0, Vec::new());
    let mut sizes = Vec::new();
    let begun = Instant::now();
    for hour in 0..7 * 24 {
        let changed = (0..WEEK_SKUS / 50).map(|n| {
            let sku = format!("SKU-{:07}", (n * 50 + hour * 7) % WEEK_SKUS);
            let json = json!({"sku": sku, "on_hand": ((n + hour) % 500).to_string()});
            Change::present(sku, Record::from_json(Stream::Stock, json).unwrap())
        });
        engine.accept(levels(changed.collect())).unwrap();
        drain(&mut engine);
        let until = (hour + 1) * A_DAY / 24;
        let orders: Vec<Change> = (placed..until).map(order).collect();
        for (n, some) in orders.chunks(5).enumerate() {
            engine.accept(page(some, placed + n + 1)).unwrap();
        }
        placed = until;
        carry(&mut engine);
        if hour % 6 == 5 {
            let begun = Instant::now();
            if let Some(done) = engine.compact(16 << 20, u64::MAX).unwrap() {
                compacted.push(format!(
                    "{} to {} MB in {:.1?}",
                    done.before >> 20,
                    done.after >> 20,
                    begun.elapsed()
                ));
            }
        }
        if hour % 24 == 23 {
            sizes.push(engine.store().size_on_disk().unwrap() >> 20);
        }
    }
    println!(
        "a week, {placed} orders and {} numbers in {:.1?}: {sizes:?} MB at the end of each day; compacted \
         {compacted:?}",
        7 * 24 * WEEK_SKUS / 50,
        begun.elapsed()
    );
}

/// Carries all orders that wait; how many.
fn carry(engine: &mut Engine) -> usize {
    let mut count = 0;
    loop {
        let claimed = engine.claim("erp".into(), Stream::Orders, 64).unwrap();
        if claimed.is_empty() {
            return count;
        }
        count += claimed.len();
        let there = |id: &str| {
            Outcome::Delivered(Confirmation {
                remote_id: Some(id.into()),
                ..Confirmation::default()
            })
        };
        let results = claimed
            .into_iter()
            .map(|claimed| {
                let outcome = there(claimed.delivery.reference.as_str());
                (claimed, outcome)
            })
            .collect();
        engine
            .settle("erp".into(), Stream::Orders, results)
            .unwrap();
    }
}

fn levels(changes: Vec<Change>) -> Unit {
    Unit {
        connection: "acme".into(),
        stream: Stream::Stock,
        changes,
        read_at: "2026-11-22T00:00:00Z".parse().unwrap(),
        read_until: "2026-11-22T00:00:00Z".parse().unwrap(),
        as_of: None,
        reached: None,
    }
}

fn level(n: usize) -> Change {
    let sku = format!("SKU-{n:07}");
    let json = json!({"sku": sku, "on_hand": (n % 500).to_string()});
    Change::present(sku, Record::from_json(Stream::Stock, json).unwrap())
}

/// What a rule costs beside a mapping without any.
fn rules_cost() {
    let record = match order(1).body {
        crossdock::connector::Body::Present(record) => record.to_json(),
        _ => Value::Null,
    };
    let cost = |fields: &str| {
        let table: toml::Table = format!("rest = \"drop\"\n[field]\n{fields}")
            .parse()
            .unwrap();
        let table = MappingTable(Node::from(&toml::Value::Table(table)));
        let mapping = mapping::compile("bench", &table, Stream::Orders, Stream::Orders).unwrap();
        let ((), time) = timed(|| {
            for _ in 0..200_000 {
                std::hint::black_box(mapping.apply(std::hint::black_box(&record)).unwrap());
            }
        });
        time.as_secs_f64() / 200_000.0 * 1e9
    };
    let none = cost("");
    let copies = cost(
        "id = \"id\"\nnumber = \"number\"\nplaced_at = \"placed_at\"\ncurrency = \"currency\"",
    );
    let expression = cost("number = { expr = \"order.number + '-' + order.currency\" }");
    println!(
        "mapping without rules {none:.0} ns; a copy {:.0} ns; an expression {:.0} ns",
        (copies - none) / 4.0,
        expression - none
    );
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let value = work();
    (value, begun.elapsed())
}

/// CPU seconds of all threads of this process, as the kernel counts them in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    fields.get(11).unwrap_or(&0.0) / 100.0 + fields.get(12).unwrap_or(&0.0) / 100.0
}
