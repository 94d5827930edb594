//! A connection under another name: nothing is read or sent anew, whatever is cut off.

use super::*;
use crate::engine::NewHint;
use crate::store::dir::Birth;
use crate::store::memory::{CommitFault, MemoryStore};
use crate::store::table::{self, Shape, table_of};
use crate::store::{DiskStore, EngineKind, KeyRange, Row, Store, WriteBatch};

/// Something in every table that names a connection.
fn worked() -> Bench {
    let mut bench = Bench::with(catalogue(Mode::Apply));
    let at = bench.clock.now();
    bench.accept("erp", Stream::Items, vec![item("A", "One", "active")]);
    for claimed in bench.claim("north", Stream::Items) {
        let there = there_in_group(&claimed, "p1");
        bench.settle("north", Stream::Items, vec![(claimed, there)]);
    }
    bench.accept("erp", Stream::Items, vec![item("B", "Two", "active")]);
    bench.accept("erp", Stream::Prices, vec![price("A", "12")]);
    bench.accept("erp", Stream::Stock, vec![level("A", 50), level("B", 5)]);
    let stock = bench.claim("north", Stream::Stock);
    let failed = |one: Claimed| (one, Outcome::Failed(Fault::retry("http_502", "bad")));
    bench.settle(
        "north",
        Stream::Stock,
        stock.into_iter().map(failed).collect(),
    );
    for (id, outcome) in [("1", true), ("3", false)] {
        bench.accept("north", Stream::Orders, vec![order(id, &[("A", 1)])]);
        for claimed in bench.claim("erp", Stream::Orders) {
            let outcome = if outcome {
                there(&claimed)
            } else {
                Outcome::Failed(Fault::reject("too_long", "no"))
            };
            bench.settle("erp", Stream::Orders, vec![(claimed, outcome)]);
        }
    }
    let bad = Change::rejected("9", Fault::reject("no_lines", "it has no lines"));
    bench.accept("north", Stream::Orders, vec![order("2", &[("A", 2)]), bad]);
    bench.accept("erp", Stream::Items, vec![item("B", "Two", "archived")]);
    let hint = NewHint {
        stream: Stream::Orders,
        id: "77".into(),
        not_before: None,
    };
    bench
        .engine
        .take_hints("north".into(), vec![hint], 9)
        .unwrap();
    let order = shipment("S0", "R-north:1", &[("A", 1)], at);
    bench.accept("erp", Stream::Shipments, vec![order]);
    bench
        .engine
        .pause("north".into(), Fault::reject("login", "no"))
        .unwrap();
    bench
}

fn rows(store: &dyn Store) -> Vec<Row> {
    store.scan(&KeyRange::all(), usize::MAX).unwrap()
}

/// Rows that name `name` where it means the connection.
fn naming(store: &dyn Store, name: &str) -> Vec<String> {
    let (quoted, path) = (format!("\"{name}\""), format!("{name}/"));
    let part = [name.as_bytes(), &[0, 1]].concat();
    let mut found = Vec::new();
    for row in rows(store) {
        let key = String::from_utf8_lossy(&row.key).into_owned();
        let info = table_of(&row.key).unwrap();
        // Rules note themselves; what is renamed says so.
        let own = ["prices/", "published_by/", "renamed/"];
        if own.iter().any(|own| key[1..].starts_with(own)) {
            continue;
        }
        // A whole part of the key: the first, or behind the end of another.
        let whole = |at: usize| at == 1 || row.key[at - 1] == 1;
        let mut places = row.key.windows(part.len()).enumerate();
        let in_key = places.any(|(at, it)| it == part && whole(at)) || key.contains(&path);
        let mut value = String::from_utf8_lossy(&row.value).into_owned();
        for kept in ["\"known_as\":", "\"detail\":\"", "\"message\":\""] {
            value = value.replace(&format!("{kept}{quoted}"), "");
        }
        let in_value = info.shape == Shape::Rows
            && (value.contains(&quoted) || value.contains(&format!("\"{path}")));
        if in_key || in_value {
            found.push(format!("{}: {key:?} {value}", info.name));
        }
    }
    found
}

pub(super) fn renamed(mut rules: Rules, from: &str, to: &str) -> Rules {
    let name = |one: &mut ConnectionName| {
        if one.as_str() == from {
            *one = to.into();
        }
    };
    let mut routes: Vec<Route> = rules.router.all().cloned().collect();
    for route in &mut routes {
        name(&mut route.from.0);
        name(&mut route.to.0);
    }
    rules.router = Router::new(routes);
    rules.publishes.iter_mut().for_each(|it| name(&mut it.to));
    for pool in rules.pools.values_mut() {
        pool.members
            .iter_mut()
            .for_each(|it| name(&mut it.connection));
        pool.fulfilled_by.iter_mut().for_each(name);
    }
    rules.owners.values_mut().for_each(name);
    let facts = std::mem::take(&mut rules.facts);
    rules.facts = facts
        .into_iter()
        .map(|(mut of, facts)| {
            name(&mut of);
            (of, facts)
        })
        .collect();
    rules
}

/// What the whole store holds, in a store of that kind.
fn copied(from: &dyn Store, kind: Option<EngineKind>, dir: &std::path::Path) -> Box<dyn Store> {
    let mut store: Box<dyn Store> = match kind {
        None => Box::new(MemoryStore::new()),
        Some(kind) => {
            let birth = Birth {
                at: START.parse().unwrap(),
                id: crate::id::uuid_at(START.parse().unwrap(), 1),
            };
            Box::new(DiskStore::open(kind, dir, birth).unwrap())
        }
    };
    for rows in rows(from).chunks(100) {
        let mut batch = WriteBatch::new();
        for row in rows {
            batch.put(row.key.clone(), row.value.clone());
        }
        store.commit(batch).unwrap();
    }
    store
}

/// On every engine: all that was known goes over, and the work goes on where it was.
#[test]
fn a_renamed_connection_goes_on_where_it_was() {
    for kind in [None, Some(EngineKind::Sled), Some(EngineKind::Redb)] {
        let folder = tempfile::tempdir().unwrap();
        let bench = worked();
        let clock = bench.clock.clone();
        let before = bench.disk.reopen().unwrap();
        let mut store = copied(&before, kind, &folder.path().join("store"));
        let tables: BTreeSet<&str> = naming(store.as_ref(), "north")
            .iter()
            .map(|row| row.split(':').next().unwrap().to_owned().leak() as &str)
            .collect();
        for table in [
            "checkpoint",
            "hint",
            "entity",
            "link",
            "event",
            "attempt",
            "quarantine",
        ] {
            assert!(tables.contains(table), "{table} is not covered: {tables:?}");
        }
        rename_connection(store.as_mut(), &"north".into(), &"west".into()).unwrap();
        rename_connection(store.as_mut(), &"erp".into(), &"books".into()).unwrap();
        assert_eq!(naming(store.as_ref(), "north"), [] as [String; 0]);
        assert_eq!(naming(store.as_ref(), "erp"), [] as [String; 0]);
        for refused in [("north", "west"), ("west", "south"), ("nobody", "new")] {
            let done = rename_connection(store.as_mut(), &refused.0.into(), &refused.1.into());
            assert!(done.is_err(), "{refused:?}");
        }

        let rules = renamed(
            renamed(catalogue(Mode::Apply), "north", "west"),
            "erp",
            "books",
        );
        let engine = Engine::open(store, Arc::new(rules), Arc::new(clock.clone()), 3).unwrap();
        let mut bench = Bench {
            engine,
            disk: MemoryDisk::new(),
            clock,
        };
        goes_on(&mut bench);
    }
}

fn goes_on(bench: &mut Bench) {
    let status = bench.engine.status().unwrap();
    assert_eq!(status.quarantined, 2);
    assert!(status.paused.contains_key("west"), "{status:?}");
    assert!(bench.engine.resume("west".into()).unwrap());
    assert_eq!(bench.wanted("west", Stream::Orders), ["77"]);
    let orders = ["1", "2", "3"].map(|id| order(id, &[("A", if id == "2" { 2 } else { 1 })]));
    let again = bench.accept("west", Stream::Orders, orders.to_vec());
    assert_eq!(again.queued, 0, "they are known: {again:?}");
    // What waited goes under the reference that it always had, and so does what is found by it.
    let claimed = bench.deliver("books", Stream::Orders);
    let references: Vec<&str> = claimed
        .iter()
        .map(|it| it.delivery.reference.as_str())
        .collect();
    assert_eq!(references, ["north:2"]);
    let rows = bench.engine.quarantine(0, 9).unwrap();
    let held = rows.iter().find(|row| row.row.stage == "deliver").unwrap();
    bench.engine.quarantine_retry(held.number).unwrap();
    assert_eq!(bench.deliver("books", Stream::Orders).len(), 1);
    let told = bench.deliver("west", Stream::Shipments);
    assert_eq!(told.len(), 1, "the shipment that waited");
    let now = bench.clock.now();
    let by_reference = json!({"id": "S9", "order": "unknown", "order_reference": "north:2",
        "shipped_at": now.to_string(), "lines": [{"sku": "A", "quantity": "2"}],
        "parcels": [{"tracking_number": "T9"}]});
    let by_reference = change(Stream::Shipments, "S9", by_reference);
    bench.accept("books", Stream::Shipments, vec![by_reference]);
    assert_eq!(bench.deliver("west", Stream::Shipments).len(), 1);
    let crate::connector::Body::Present(record) = orders[0].body.clone() else {
        unreachable!()
    };
    let things = vec![("1".into(), record)];
    let accounts = bench.engine.account("north_orders".into(), things);
    assert_eq!(accounts.unwrap()[0].reference, "north:1");
    // A new order carries the new name.
    bench.accept("west", Stream::Orders, vec![order("50", &[("A", 1)])]);
    let claimed = bench.deliver("books", Stream::Orders);
    assert_eq!(claimed[0].delivery.reference, "west:50");
    // Numbers: as they were, the failed one is still to be told.
    bench.tick(60);
    let told = bench.deliver("west", Stream::Stock);
    assert!(!told.is_empty());
    let life = bench
        .engine
        .explain(Stream::Orders, "west:1".into())
        .unwrap();
    assert!(life[0].entries.iter().any(|(_, it)| it.what == "seen"));
}

/// Cut off at any commit, it is finished when the store is opened again, or has not begun.
#[test]
fn a_rename_that_is_cut_off_is_finished_at_the_next_opening() {
    let bench = worked();
    let whole = bench.disk.durable_image();
    let mut store = whole.open().unwrap();
    let commits = whole.commits();
    rename_connection(&mut store, &"north".into(), &"west".into()).unwrap();
    let commits = whole.commits() - commits;
    assert!(commits > 8, "{commits} commits");
    let expected = rows(&store);
    for nth in 1..=commits {
        for fault in [CommitFault::Before, CommitFault::After] {
            let disk = bench.disk.durable_image();
            let mut store = disk.open().unwrap();
            disk.fail_commit(nth, fault);
            let cut = rename_connection(&mut store, &"north".into(), &"west".into());
            assert!(cut.is_err(), "{nth}");
            drop(store);
            let mut store = disk.reopen().unwrap();
            super::super::rename::finish_rename(&mut store).unwrap();
            if nth == 1 && matches!(fault, CommitFault::Before) {
                assert_eq!(naming(&store, "west"), [] as [String; 0]);
                continue;
            }
            assert_eq!(rows(&store), expected, "{nth}");
        }
    }
}

/// Every table that `place` calls one without a name has none after all of that work.
#[test]
fn what_is_said_to_name_no_connection_names_none() {
    let bench = worked();
    let store = bench.disk.reopen().unwrap();
    let silent = [table::BY_KEY, table::RECORD, table::INTENT, table::COUNTS];
    for row in naming(&store, "north") {
        let name = row.split(':').next().unwrap();
        assert!(silent.iter().all(|it| it.name != name), "{row}");
    }
}

/// What is noted of a connection goes with it, and what is noted of others stays where it is: silent owners, sweeps,
/// and groups of items that another one calls so.
#[test]
fn what_is_noted_of_a_connection_goes_with_it() {
    let mut bench = worked();
    bench.accept("acme", Stream::Stock, vec![level("Z", 5)]);
    let at = Some(Cursor::Sequence { last: 1 });
    for name in ["north", "south"] {
        let swept = bench
            .engine
            .swept(name.into(), Stream::Orders, at.clone(), (1, 0));
        swept.unwrap();
    }
    bench.tick(3601);
    while bench.engine.refresh(None).unwrap().is_some() {}
    let disk = bench.disk.durable_image();
    let mut store = disk.open().unwrap();
    let keys = |store: &dyn Store, part: &str| -> Vec<String> {
        let keys = rows(store).into_iter();
        let keys = keys.map(|row| String::from_utf8_lossy(&row.key).into_owned());
        let keys = keys.filter_map(|key| key.find(part).map(|at| key[at..].to_owned()));
        keys.map(|key| key.trim_end_matches(['\0', '\u{1}']).to_owned())
            .collect()
    };
    assert_eq!(
        keys(&store, "stale/"),
        ["stale/main/acme", "stale/main/erp"]
    );
    let moved = rename_connection(&mut store, &"acme".into(), &"depot".into()).unwrap();
    assert!(moved > 0, "it says how much that was");
    assert_eq!(
        keys(&store, "stale/"),
        ["stale/main/depot", "stale/main/erp"]
    );
    let groups = |store: &dyn Store| {
        let range = KeyRange::prefix([table::GROUP.prefix]);
        let rows = store.scan(&range, 99).unwrap().into_iter();
        let keys = rows.map(|row| String::from_utf8_lossy(&row.key[1..]).into_owned());
        keys.map(|key| key.replace(['\0', '\u{1}'], " "))
            .map(|key| key.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(groups(&store), ["north erp/g"]);
    rename_connection(&mut store, &"north".into(), &"west".into()).unwrap();
    let sweeps = keys(&store, "sweep/");
    assert_eq!(sweeps, ["sweep/south/orders", "sweep/west/orders"]);
    assert_eq!(groups(&store), ["west erp/g"]);
    rename_connection(&mut store, &"erp".into(), &"books".into()).unwrap();
    assert_eq!(groups(&store), ["west books/g"]);
}

/// It says how many rows it wrote: those that stand under another key now, or say something else.
#[test]
fn a_rename_says_how_many_rows_it_wrote() {
    let bench = worked();
    let disk = bench.disk.durable_image();
    let mut store = disk.open().unwrap();
    for (from, to) in [("north", "west"), ("erp", "books")] {
        let before: BTreeSet<(Vec<u8>, Vec<u8>)> = rows(&store)
            .into_iter()
            .map(|row| (row.key, row.value))
            .collect();
        let written = rename_connection(&mut store, &from.into(), &to.into()).unwrap();
        let changed = rows(&store).into_iter().filter(|row| {
            let is_note = String::from_utf8_lossy(&row.key).contains("renamed/");
            !is_note && !before.contains(&(row.key.clone(), row.value.clone()))
        });
        assert_eq!(written, changed.count() as u64, "{from}");
    }
}
