//! Stock: what each channel is told, and that nothing is sold twice.

use super::*;

/// What each channel would be told of a SKU now, as `north/south`; sends it.
fn told(bench: &mut Bench, sku: &str) -> String {
    bench.deliver("north", Stream::Stock);
    bench.deliver("south", Stream::Stock);
    let number = |bench: &mut Bench, channel: &str| {
        let reasons = bench
            .engine
            .explain_stock(sku.into(), Some(channel.into()))
            .unwrap();
        reasons[0]
            .published
            .clone()
            .map_or("-".into(), |(number, _)| number)
    };
    format!("{}/{}", number(bench, "north"), number(bench, "south"))
}

#[test]
fn a_pool_is_the_sum_of_its_owners() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("acme", Stream::Stock, vec![level("A", 7)]);
    assert_eq!(told(&mut bench, "A"), "12/12");
    assert!(bench.claim("north", Stream::Stock).is_empty(), "told once");
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert!(
        bench.claim("north", Stream::Stock).is_empty(),
        "nothing changed"
    );
}

/// Stories 14 and 34: an order on one store lowers the other before the ERP's next snapshot, stays
/// lowered after it, and ends when goods have left.
#[test]
fn an_order_on_one_store_lowers_the_other_until_goods_leave() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(told(&mut bench, "A"), "5/5");
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    assert_eq!(
        told(&mut bench, "A"),
        "5/3",
        "north allocates its own two apart"
    );
    bench.deliver("erp", Stream::Orders);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(
        told(&mut bench, "A"),
        "5/3",
        "the ERP's number falls only when goods leave"
    );
    bench.tick(60);
    let left = bench.clock.now();
    bench.accept(
        "erp",
        Stream::Shipments,
        vec![shipment("S1", "R-north:1", &[("A", 2)], left)],
    );
    assert_eq!(told(&mut bench, "A"), "5/3", "no snapshot knows yet");
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    assert_eq!(
        told(&mut bench, "A"),
        "5/3",
        "snapshot and reservation end together"
    );
    bench.deliver("north", Stream::Shipments);
    assert_eq!(
        told(&mut bench, "A"),
        "3/3",
        "north no longer allocates them"
    );
}

#[test]
fn a_snapshot_read_before_the_shipment_was_known_is_not_subtracted_twice() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    bench.tick(60);
    let left = bench.clock.now();
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    assert_eq!(
        told(&mut bench, "A"),
        "3/1",
        "too low for a moment, never too high"
    );
    bench.accept(
        "erp",
        Stream::Shipments,
        vec![shipment("S1", "R-north:1", &[("A", 2)], left)],
    );
    assert_eq!(told(&mut bench, "A"), "5/3");
}

/// A shop that is told of a parcel lowers its own number; one write of stock is under way meanwhile,
/// and nobody knows which of the two came first.
#[test]
fn the_number_is_written_again_after_a_parcel_was_told() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    assert_eq!(told(&mut bench, "A"), "5/3");
    let left = bench.clock.now();
    bench.tick(10);
    // The owner's number falls first: the shop is told less while it still allocates the two.
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    let writing = bench.claim("north", Stream::Stock);
    assert_eq!(writing.len(), 1);
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    bench.deliver("north", Stream::Shipments);
    let results = writing
        .iter()
        .map(|one| (one.clone(), there(one)))
        .collect();
    bench.settle("north", Stream::Stock, results);
    assert_eq!(
        bench.claim("north", Stream::Stock).len(),
        1,
        "written again"
    );
}

#[test]
fn a_cancelled_order_gives_back_at_once_when_nothing_was_sent() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    assert_eq!(told(&mut bench, "A"), "5/3");
    bench.accept("north", Stream::Orders, vec![cancelled("1", &[("A", 2)])]);
    assert_eq!(told(&mut bench, "A"), "5/5");
}

#[test]
fn a_cancelled_order_gives_back_when_the_owner_confirms() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    bench.accept("north", Stream::Orders, vec![cancelled("1", &[("A", 2)])]);
    // The ERP may be packing it, so it is not for sale; and the shop allocates it no longer.
    assert_eq!(told(&mut bench, "A"), "3/3");
    bench.deliver("erp", Stream::Orders);
    assert_eq!(told(&mut bench, "A"), "5/5");
}

/// Story 33: an old value that arrives after a newer one changes nothing.
#[test]
fn an_older_snapshot_never_replaces_a_newer_one() {
    let mut bench = Bench::new();
    let early = bench.clock.now();
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    bench.accept_at("erp", Stream::Stock, vec![level("A", 9)], early, false);
    assert_eq!(told(&mut bench, "A"), "3/3");
}

/// Less stock goes first, also before what was due longer.
#[test]
fn decreases_travel_in_the_first_lane() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 5)]);
    told(&mut bench, "A");
    bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
    bench.accept("erp", Stream::Stock, vec![level("B", 1)]);
    let claimed = bench
        .engine
        .claim("north".into(), Stream::Stock, 1)
        .unwrap();
    assert_eq!(claimed[0].delivery.key.as_str(), "B");
}

#[test]
fn a_value_that_changes_while_it_is_sent_is_sent_again() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let sent = bench.claim("north", Stream::Stock);
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    assert!(
        bench.claim("north", Stream::Stock).is_empty(),
        "one write of a key in flight"
    );
    let results = sent.iter().map(|c| (c.clone(), there(c))).collect();
    bench.settle("north", Stream::Stock, results);
    assert_eq!(told(&mut bench, "A"), "4/4");
    let counts = bench.counts("publish_north");
    assert_eq!(
        (counts.routed, counts.delivered, counts.superseded),
        (2, 2, 1)
    );
}

#[test]
fn differences_survive_a_crash_without_a_queue() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.claim("north", Stream::Stock);
    let mut bench = bench.crash();
    assert_eq!(told(&mut bench, "A"), "5/5");
}

/// Stories 38 and 48: what a complete feed does not name is zero, but only under the guard.
#[test]
fn a_complete_feed_zeroes_what_is_missing_under_the_guard() {
    let mut bench = Bench::new();
    let levels = |n: i64| {
        (0..n)
            .map(|i| level(&format!("S{i:03}"), 5))
            .collect::<Vec<_>>()
    };
    let feed = |bench: &mut Bench, n: i64| {
        bench.tick(60);
        bench.accept_at("acme", Stream::Stock, levels(n), bench.clock.now(), true);
        let unit = Unit {
            connection: "acme".into(),
            stream: Stream::Stock,
            changes: vec![],
            read_at: bench.clock.now(),
            reached: None,
        };
        while bench.engine.absence(unit.clone()).unwrap() {}
        bench.accept_at("acme", Stream::Stock, vec![], bench.clock.now(), false);
    };
    feed(&mut bench, 40);
    assert_eq!(told(&mut bench, "S039"), "5/5");
    feed(&mut bench, 39);
    assert_eq!(told(&mut bench, "S039"), "0/0");
    feed(&mut bench, 4);
    assert_eq!(told(&mut bench, "S038"), "5/5", "nothing is zeroed");
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!(desk[0].row.fault.code, "too_few_rows");
    feed(&mut bench, 39);
    assert!(
        bench.engine.quarantine(0, 9).unwrap().is_empty(),
        "a good feed ends it"
    );
}

#[test]
fn a_complete_feed_that_was_cut_off_is_read_from_its_beginning() {
    let mut bench = Bench::new();
    bench.accept_at(
        "acme",
        Stream::Stock,
        vec![level("A", 1)],
        bench.clock.now(),
        false,
    );
    let begin = bench.engine.cursor("acme".into(), Stream::Stock).unwrap();
    bench.tick(5);
    bench.accept_at(
        "acme",
        Stream::Stock,
        vec![level("B", 1)],
        bench.clock.now(),
        true,
    );
    assert_ne!(
        bench.engine.cursor("acme".into(), Stream::Stock).unwrap(),
        begin
    );
    let mut bench = bench.crash();
    assert_eq!(
        bench.engine.cursor("acme".into(), Stream::Stock).unwrap(),
        begin
    );
}

#[test]
fn a_sku_that_a_channel_does_not_have_is_offered_again_later() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let claimed = bench.claim("north", Stream::Stock);
    let unknown = Outcome::Failed(Fault::reject("unknown_sku", "no such SKU"));
    let results = claimed
        .iter()
        .map(|c| (c.clone(), unknown.clone()))
        .collect();
    bench.settle("north", Stream::Stock, results);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    assert!(
        bench.engine.quarantine(0, 9).unwrap().is_empty(),
        "not a failure"
    );
    bench.tick(3601);
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

#[test]
fn a_stale_owner_may_only_lower() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("acme", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(told(&mut bench, "A"), "10/10");
    bench.tick(7200);
    bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
    assert_eq!(told(&mut bench, "A"), "10/10", "acme is silent: not more");
    bench.accept("erp", Stream::Stock, vec![level("A", 2)]);
    assert_eq!(told(&mut bench, "A"), "7/7", "but less");
}

/// Story 39: a row that could not be read is there all the same; mended, it leaves the quarantine.
#[test]
fn a_row_that_could_not_be_read_is_not_missing() {
    let mut bench = Bench::new();
    bench.accept("acme", Stream::Stock, vec![level("A", 5), level("B", 5)]);
    bench.tick(60);
    let bad = Change::rejected("A", Fault::reject("bad_number", "column on_hand"));
    bench.accept_at(
        "acme",
        Stream::Stock,
        vec![bad, level("B", 5)],
        bench.clock.now(),
        true,
    );
    let unit = Unit {
        connection: "acme".into(),
        stream: Stream::Stock,
        changes: vec![],
        read_at: bench.clock.now(),
        reached: None,
    };
    while bench.engine.absence(unit.clone()).unwrap() {}
    assert_eq!(told(&mut bench, "A"), "5/5");
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 1);
    bench.accept("acme", Stream::Stock, vec![level("A", 4)]);
    assert!(bench.engine.quarantine(0, 9).unwrap().is_empty());
}
