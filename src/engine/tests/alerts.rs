//! What somebody must be told of: kept over restarts, learned from what comes.

use super::*;
use crate::alert::{Finding, Kind, Pace, Severity, Step};

const PACE: Pace = Pace {
    raise_after: Duration::ZERO,
    clear_after: Duration::ZERO,
    repeat: Duration::from_secs(3600),
};

fn finding() -> Vec<Finding> {
    let text = "erp is paused";
    vec![Finding::new(Kind::Paused, "erp", Severity::Urgent, text)]
}

fn look(bench: &mut Bench, findings: Vec<Finding>) -> Watched {
    let channels = vec!["command".to_owned(), "smtp".to_owned()];
    bench
        .engine
        .alert_observe(findings, PACE, channels)
        .unwrap()
}

#[test]
fn what_was_told_and_what_is_owed_survive_a_crash() {
    let mut bench = Bench::new();
    let watched = look(&mut bench, finding());
    assert_eq!(watched.fresh.len(), 1);
    assert_eq!(watched.owed.len(), 2);
    let (number, notice) = watched.owed["smtp"][0].clone();
    assert_eq!(notice.step, Step::Raised);
    bench.engine.alert_told("smtp".into(), number).unwrap();
    let mut bench = bench.crash();
    let watched = look(&mut bench, finding());
    assert_eq!(watched.fresh, [], "told already");
    assert_eq!(watched.present.len(), 1);
    assert_eq!(watched.owed.keys().collect::<Vec<_>>(), ["command"]);

    let cause = watched.present[0].0.clone();
    assert!(bench.engine.alert_ack(cause.clone()).unwrap());
    let mut bench = bench.crash();
    assert!(bench.engine.alert_list().unwrap()[0].1.acknowledged);
    bench.tick(7200);
    assert_eq!(look(&mut bench, finding()).fresh, []);
    let watched = look(&mut bench, vec![]);
    assert_eq!(watched.fresh[0].step, Step::Cleared);
    assert!(!bench.engine.alert_ack(cause).unwrap());
    // A channel that takes nothing for ever is owed a bounded number.
    for _ in 0..200 {
        look(&mut bench, finding());
        look(&mut bench, vec![]);
    }
    let watched = look(&mut bench, vec![]);
    assert_eq!(watched.owed["command"].len(), 100);
    // One that is configured no more is owed nothing.
    let watched = bench.engine.alert_observe(vec![], PACE, vec![]).unwrap();
    assert!(watched.owed.is_empty());
}

#[test]
fn a_look_that_finds_nothing_new_writes_nothing() {
    let mut bench = Bench::new();
    look(&mut bench, finding());
    let before = bench.engine.store().size_on_disk().unwrap();
    for _ in 0..10 {
        bench.tick(1);
        look(&mut bench, finding());
    }
    assert_eq!(bench.engine.store().size_on_disk().unwrap(), before);
}

#[test]
fn the_rhythm_of_orders_is_learned_and_kept() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![]);
    let silence = |bench: &mut Bench| {
        let attention = bench.engine.attention().unwrap();
        attention.silences[&"north".into()]
    };
    let begun = silence(&mut bench).since;
    assert_eq!(begun, START.parse().unwrap());
    bench.tick(120);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let placed = silence(&mut bench).since;
    let mut bench = bench.crash();
    assert_eq!(silence(&mut bench).since, placed, "kept");
    assert_eq!(silence(&mut bench).expected, None);
}

#[test]
fn groups_of_the_quarantine_come_and_go() {
    let mut bench = Bench::new();
    let groups = |bench: &mut Bench| -> Vec<String> {
        let attention = bench.engine.attention().unwrap();
        attention.groups.iter().map(ToString::to_string).collect()
    };
    let bad = |id: &str| Change {
        body: crate::connector::Body::Rejected(Fault::reject("no_sku", "a line has no SKU")),
        ..order(id, &[("A", 1)])
    };
    bench.accept("north", Stream::Orders, vec![bad("1"), bad("2")]);
    assert_eq!(groups(&mut bench), ["north.orders/read/no_sku"]);
    let mut bench = bench.crash();
    assert_eq!(groups(&mut bench), ["north.orders/read/no_sku"]);
    let rows = bench.engine.quarantine(0, 10).unwrap();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    assert_eq!(groups(&mut bench).len(), 1, "one is left");
    assert_eq!(rows.len(), 2);
    bench.accept("north", Stream::Orders, vec![order("2", &[("A", 1)])]);
    assert_eq!(groups(&mut bench), [""; 0]);
}

#[test]
fn open_orders_that_must_leave_are_found() {
    let mut bench = Bench::new();
    let due = |id: &str, by: &str, party: &str| {
        let mut change = order(id, &[("A", 1)]);
        let crate::connector::Body::Present(record) = &change.body else {
            panic!("an order")
        };
        let mut json = record.to_json();
        json["ship_by"] = json!({ "to": by });
        json["fulfilled_by"] = json!(party);
        let record = Record::from_json(Stream::Orders, json).unwrap();
        change.body = crate::connector::Body::Present(record);
        change
    };
    let orders = vec![
        due("1", "2026-11-22T20:00:00Z", "seller"),
        due("2", "2026-11-25T20:00:00Z", "seller"),
        due("3", "2026-11-22T20:00:00Z", "channel"),
        order("4", &[("A", 1)]),
    ];
    bench.accept("north", Stream::Orders, orders);
    let before = "2026-11-23T10:00:00Z".parse().unwrap();
    let open = bench.engine.open_orders(None, before).unwrap();
    assert_eq!(open.next, None);
    assert_eq!(open.found.len(), 1);
    let due = "2026-11-22T20:00:00Z".parse().unwrap();
    assert!(
        bench
            .engine
            .open_orders(None, due)
            .unwrap()
            .found
            .is_empty()
    );
    let (connection, found) = &open.found[0];
    assert_eq!(found.number, "N1", "the channel sends its own");
    assert_eq!(connection.as_str(), "north");
    assert_eq!(found.ship_by, "2026-11-22T20:00:00Z".parse().unwrap());
}

/// Two shops sold the last piece before either heard of the other: somebody must be told, until goods come or a buyer
/// regrets. What left is no longer missing, also while the owner's list is older than that.
#[test]
fn more_sold_than_there_is_is_found() {
    let mut bench = Bench::new();
    let missing = |bench: &mut Bench| {
        let found = bench.engine.oversold(None).unwrap().found;
        let found = found.into_iter();
        found
            .map(|((pool, sku), pieces)| format!("{pool} {sku} {pieces}"))
            .collect::<Vec<_>>()
    };
    bench.accept("erp", Stream::Stock, vec![level("A", 1), level("B", 5)]);
    bench.accept(
        "north",
        Stream::Orders,
        vec![order("1", &[("A", 1), ("B", 2)])],
    );
    assert_eq!(missing(&mut bench), [""; 0]);
    bench.accept("south", Stream::Orders, vec![order("2", &[("A", 2)])]);
    bench.accept("south", Stream::Orders, vec![order("3", &[("C", 2)])]);
    assert_eq!(missing(&mut bench), ["main A 2"], "of C nothing is known");
    bench.deliver("erp", Stream::Orders);
    let left = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 1)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert_eq!(missing(&mut bench), ["main A 1"], "one of three left");
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 0)]);
    assert_eq!(missing(&mut bench), ["main A 2"]);
    bench.accept("erp", Stream::Stock, vec![level("A", 2)]);
    assert_eq!(missing(&mut bench), [""; 0]);
}

/// A parcel of it left: somebody is at it, whether or not all of it did.
#[test]
fn an_order_of_which_a_parcel_left_is_not_late() {
    let mut bench = Bench::new();
    let mut json = order_json("1", &[("A", 2)]);
    json["ship_by"] = json!({ "to": "2026-11-22T20:00:00Z" });
    json["fulfilled_by"] = json!("seller");
    bench.accept(
        "north",
        Stream::Orders,
        vec![change(Stream::Orders, "1", json)],
    );
    bench.deliver("erp", Stream::Orders);
    let late = |bench: &mut Bench| {
        let before = "2026-11-23T10:00:00Z".parse().unwrap();
        bench.engine.open_orders(None, before).unwrap().found.len()
    };
    assert_eq!(late(&mut bench), 1);
    let left = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 1)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert_eq!(late(&mut bench), 0);
}

/// A channel that was told of the first of two notices is still owed the second.
#[test]
fn a_channel_is_owed_what_it_was_not_told() {
    let mut bench = Bench::new();
    let text = "north is paused";
    let other = Finding::new(Kind::Paused, "north", Severity::Urgent, text);
    let both = finding().into_iter().chain([other]).collect();
    let owed = look(&mut bench, both).owed["smtp"].clone();
    let numbers: BTreeSet<u64> = owed.iter().map(|(number, _)| *number).collect();
    assert_eq!((owed.len(), numbers.len()), (2, 2));
    bench.engine.alert_told("smtp".into(), owed[0].0).unwrap();
    let rest = look(&mut bench, finding()).owed["smtp"].clone();
    assert_eq!(rest[0], owed[1]);
}

/// What is there and cannot be sold is not there for an order.
#[test]
fn what_is_broken_is_missing() {
    let mut bench = Bench::new();
    let json = json!({"sku": "A", "on_hand": "3", "unavailable": {"damaged": "1"}});
    let levels = vec![change(Stream::Stock, "A", json), level("B", 3)];
    bench.accept("erp", Stream::Stock, levels);
    let lines = [("A", 3), ("B", 3)];
    bench.accept("north", Stream::Orders, vec![order("1", &lines)]);
    let found = bench.engine.oversold(None).unwrap().found;
    let found: Vec<String> = found
        .into_iter()
        .map(|((_, sku), pieces)| format!("{sku} {pieces}"))
        .collect();
    assert_eq!(found, ["A 1"]);
}

/// All order lines are looked at, however many there are, some hundreds at a time.
#[test]
fn what_is_missing_is_found_behind_much_else() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("Z", 1)]);
    let orders = (0..5).map(|n| {
        let skus: Vec<String> = (0..100).map(|line| format!("S{n}{line:02}")).collect();
        let lines: Vec<(&str, i64)> = skus.iter().map(|sku| (sku.as_str(), 1)).collect();
        order(&n.to_string(), &lines)
    });
    let orders = orders.chain([order("9", &[("Z", 2)])]);
    bench.accept("north", Stream::Orders, orders.collect());
    let (mut after, mut looks, mut found) = (None, 0, Vec::new());
    loop {
        let look = bench.engine.oversold(after).unwrap();
        looks += 1;
        found.extend(look.found.into_keys().map(|(_, sku)| sku.to_string()));
        after = look.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((looks, found), (2, vec!["Z".to_owned()]));
}
