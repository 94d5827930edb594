//! Compaction while the engine works, on both engines of the store.

use std::path::Path;
use std::sync::Arc;

use crossdock::clock::ManualClock;
use crossdock::connector::{Change, Confirmation, Outcome};
use crossdock::engine::{Engine, Rules, Service, Unit};
use crossdock::record::{Record, Stream};
use crossdock::router::{Mode, Route, Router};
use crossdock::store::dir::Birth;
use crossdock::store::{DiskStore, EngineKind, KeyRange};
use serde_json::json;

/// `life` feeds its ids: those of two lives differ.
fn engine(store: DiskStore, life: u64) -> Engine {
    let route = Route {
        name: "orders".into(),
        from: ("north".into(), Stream::Orders),
        to: ("erp".into(), Stream::Orders),
        mode: Mode::Apply,
        start_from: None,
    };
    let rules = Rules {
        router: Router::new([route]),
        ..Rules::default()
    };
    let clock = Arc::new(ManualClock::at("2026-11-22T12:00:00Z".parse().unwrap()));
    Engine::open(Box::new(store), Arc::new(rules), clock, life).unwrap()
}

fn new_store(kind: EngineKind, dir: &Path) -> DiskStore {
    let birth = Birth {
        at: "2026-11-22T00:00:00Z".parse().unwrap(),
        id: "019ab000-0000-7000-8000-000000000001".parse().unwrap(),
    };
    DiskStore::open(kind, dir, birth).unwrap()
}

fn order(n: usize) -> Change {
    let money = |amount: &str| json!({"amount": amount, "currency": "EUR"});
    let json = json!({"id": format!("ORD-{n:05}"), "number": format!("ORD-{n:05}"),
        "placed_at": "2026-11-22T12:00:00Z", "currency": "EUR", "customer": {"name": "Zoë"},
        "ship_to": {"name": "Zoë", "country": "DE"},
        "lines": [{"line_id": "1", "sku": "A", "quantity": "1", "unit_price": money("10"),
            "prices_include_tax": true, "line_net": money("10"), "line_gross": money("10")}],
        "totals": {"lines_net": money("10"), "charges_net": money("0"), "taxes": money("0"),
            "grand_total": money("10")}});
    Change::present(
        format!("ORD-{n:05}"),
        Record::from_json(Stream::Orders, json).unwrap(),
    )
}

fn unit(numbers: std::ops::Range<usize>) -> Unit {
    Unit {
        connection: "north".into(),
        stream: Stream::Orders,
        changes: numbers.map(order).collect(),
        read_at: "2026-11-22T12:00:00Z".parse().unwrap(),
        read_until: "2026-11-22T12:00:00Z".parse().unwrap(),
        as_of: None,
        reached: None,
    }
}

/// Accepts some orders; how many of them were news.
fn accept(engine: &mut Engine, numbers: std::ops::Range<usize>) -> usize {
    engine.accept(unit(numbers)).unwrap().news
}

fn carry(engine: &mut Engine) -> usize {
    let claimed = engine.claim("erp".into(), Stream::Orders, 100).unwrap();
    let count = claimed.len();
    let results = claimed.into_iter().map(|claimed| {
        let remote_id = Some(claimed.delivery.reference.as_str().into());
        let there = Confirmation {
            remote_id,
            ..Confirmation::default()
        };
        (claimed, Outcome::Delivered(there))
    });
    engine
        .settle("erp".into(), Stream::Orders, results.collect())
        .unwrap();
    count
}

/// Everything but the row that remembers the compaction.
fn rows(engine: &Engine) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = engine.store().scan(&KeyRange::all(), usize::MAX).unwrap();
    let kept = all
        .into_iter()
        .filter(|row| !row.key.windows(9).any(|part| part == b"compacted"));
    kept.map(|row| (row.key, row.value)).collect()
}

#[test]
fn a_store_that_has_grown_is_compacted_between_two_orders_and_nothing_is_lost() {
    for kind in EngineKind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = engine(new_store(kind, dir.path()), 1);
        let mut last = 0;
        while engine.store().size_on_disk().unwrap() < 12 << 20 {
            assert_eq!(accept(&mut engine, last..last + 50), 50);
            last += 50;
            carry(&mut engine);
            assert!(last < 50_000, "the store does not grow");
        }
        let before = engine.store().size_on_disk().unwrap();
        // Not while it is small, not without room for the copy, and not while events wait.
        assert_eq!(engine.compact(before, u64::MAX).unwrap(), None);
        assert_eq!(engine.compact(1 << 20, before - 1).unwrap(), None);
        accept(&mut engine, last..last + 1);
        assert_eq!(engine.compact(before / 4 * 3, u64::MAX).unwrap(), None);
        let content = rows(&engine);
        // Far above its mark it does not wait for quiet.
        let done = engine.compact(1 << 20, u64::MAX).unwrap().unwrap();
        assert!(done.after < done.before, "{} {done:?}", kind.name());
        assert_eq!(rows(&engine), content, "{}", kind.name());
        // The next time is four times as large away.
        assert_eq!(engine.compact(1, u64::MAX).unwrap(), None);
        assert_eq!(carry(&mut engine), 1, "what waited goes on");
        assert_eq!(accept(&mut engine, 0..50), 0, "everything is known still");
        drop(engine);
        let mut again = self::engine(DiskStore::open_existing(dir.path()).unwrap(), 2);
        assert_eq!(
            again.compact(1, u64::MAX).unwrap(),
            None,
            "also after a restart"
        );
        assert_eq!(accept(&mut again, last..last + 2), 1);
    }
}

/// While others ask: what was asked for before is written first, and what comes behind finds everything.
#[tokio::test]
async fn a_store_is_compacted_between_two_commits() {
    for kind in EngineKind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (service, handle) = Service::new(engine(new_store(kind, dir.path()), 1));
        let thread = std::thread::spawn(move || service.run().unwrap());
        let (one, compacted, other) = tokio::join!(
            handle.accept(unit(0..20)),
            handle.compact(1, u64::MAX),
            handle.accept(unit(10..40)),
        );
        assert_eq!((one.unwrap().news, other.unwrap().news), (20, 20));
        assert!(compacted.unwrap().unwrap().rows > 20, "{}", kind.name());
        drop(handle);
        drop(thread.join().unwrap());
        let mut again = engine(DiskStore::open_existing(dir.path()).unwrap(), 2);
        assert_eq!(accept(&mut again, 0..41), 1);
        assert_eq!(carry(&mut again), 41);
    }
}
