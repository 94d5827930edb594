//! Stock: what each channel is told, and that nothing is sold twice.

use super::*;

/// What each channel would be told of a SKU now, as `north/south`; sends it.
pub(super) fn told(bench: &mut Bench, sku: &str) -> String {
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
    bench.tick(3600); // no store before this one told of anything here
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
    bench.tick(3600); // no store before this one told of anything here
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
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let lines = [("A", 2)];
    bench.accept("north", Stream::Orders, vec![young("1", &lines, "none")]);
    assert_eq!(told(&mut bench, "A"), "5/3");
    bench.accept(
        "north",
        Stream::Orders,
        vec![young("1", &lines, "cancelled")],
    );
    assert_eq!(told(&mut bench, "A"), "5/5");
}

/// A channel whose number is what it still sells moves that number by itself. Where an order and a delivery
/// of goods come to the same number as before, or an order was called off before anybody knew of it, the
/// number that was told is no longer the one that stands there.
#[test]
fn a_channel_that_counts_by_itself_is_told_again_after_its_own_orders() {
    let mut rules = rules(Mode::Apply);
    let free = Facts {
        stock_basis: StockBasis::Free,
        ..Facts::default()
    };
    rules.facts.insert("north".into(), free);
    let mut bench = Bench::with(rules);
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(told(&mut bench, "A"), "5/5");
    let ordered = |state: &str| young("1", &[("A", 1)], state);
    bench.accept("north", Stream::Orders, vec![ordered("none")]);
    bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
    assert!(bench.claim("south", Stream::Stock).is_empty());
    assert_eq!(
        bench.deliver("north", Stream::Stock).len(),
        1,
        "sold and restocked"
    );
    bench.accept("north", Stream::Orders, vec![ordered("none")]);
    assert!(bench.claim("north", Stream::Stock).is_empty(), "no news");
    let unseen = young("2", &[("A", 1)], "cancelled");
    bench.accept("north", Stream::Orders, vec![unseen]);
    assert_eq!(
        bench.deliver("north", Stream::Stock).len(),
        1,
        "called off unseen"
    );
    assert_eq!(told(&mut bench, "A"), "5/5");
}

/// An earlier life may have sent it: its goods are for sale again when the owner has been asked.
#[test]
fn a_cancelled_order_of_an_earlier_life_gives_back_when_it_was_looked_for() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.accept("north", Stream::Orders, vec![cancelled("1", &[("A", 2)])]);
    assert_eq!(told(&mut bench, "A"), "3/3");
    let looked = bench.claim("erp", Stream::Orders).remove(0);
    let nothing = Outcome::Delivered(Confirmation::default());
    bench.settle("erp", Stream::Orders, vec![(looked, nothing)]);
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

/// Story 42: a part is refunded and put back, then the order is called off: each piece comes back once.
#[test]
fn story_42_a_part_that_was_put_back_does_not_come_back_twice() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    let reading = |back: i64, cancellation: &str| {
        let mut json = order_json("1", &[("A", 3)]);
        json["placed_at"] = json!("2026-11-22T11:00:00Z");
        json["axes"] = json!({ "cancellation": cancellation });
        json["lines"][0]["qty_cancelled"] = json!(back.to_string());
        change(Stream::Orders, "1", json)
    };
    let mut take = |back: i64, cancellation: &str| {
        bench.accept("north", Stream::Orders, vec![reading(back, cancellation)]);
        told(&mut bench, "A")
    };
    assert_eq!(take(0, "none"), "10/7");
    // The owner was told of nothing so far, and will be of two.
    assert_eq!(take(1, "none"), "10/8", "one piece was put back");
    assert_eq!(take(1, "none"), "10/8", "read again");
    assert_eq!(take(1, "cancelled"), "10/10", "all three, once");
    assert_eq!(take(1, "cancelled"), "10/10");
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
            read_until: bench.clock.now(),
            as_of: None,
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
        read_until: bench.clock.now(),
        as_of: None,
        reached: None,
    };
    while bench.engine.absence(unit.clone()).unwrap() {}
    assert_eq!(told(&mut bench, "A"), "5/5");
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 1);
    bench.accept("acme", Stream::Stock, vec![level("A", 4)]);
    assert!(bench.engine.quarantine(0, 9).unwrap().is_empty());
}

/// A unit of stock as a source gives it: read then, as old as `as_of` says.
fn levels_of(bench: &Bench, connection: &str, changes: Vec<Change>, as_of: Option<i64>) -> Unit {
    let now = bench.clock.now();
    Unit {
        connection: connection.into(),
        stream: Stream::Stock,
        changes,
        read_at: now,
        read_until: now,
        as_of: as_of
            .map(|secs| crate::clock::earlier(now, Duration::from_secs(secs.unsigned_abs()))),
        reached: Some(Reached {
            cursor: Cursor::watermark(now),
            more: false,
            settle_lag: Duration::ZERO,
        }),
    }
}

fn shipment_of_today(id: &str, order: &str, lines: &[(&str, i64)]) -> Change {
    let mut change = shipment(id, order, lines, START.parse().unwrap());
    if let crate::connector::Body::Present(Record::Shipment(shipment)) = &mut change.body {
        shipment.shipped_at = crate::record::Presence::Absent;
    }
    change
}

/// Tryton tells the day on which goods left: a snapshot that was read earlier on that day still held
/// them, so it ends no reservation.
#[test]
fn a_snapshot_read_before_the_goods_left_ends_no_reservation() {
    let mut bench = Bench::new();
    bench.tick(3600); // no store before this one told of anything here
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    bench.tick(60);
    let left = vec![shipment_of_today("S1", "R-north:1", &[("A", 2)])];
    bench.accept("erp", Stream::Shipments, left);
    assert_eq!(told(&mut bench, "A"), "5/3", "no snapshot knows yet");
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    assert_eq!(told(&mut bench, "A"), "5/3");
}

/// What the first page told is as old as the first page, however late the last one was read.
#[test]
fn a_run_of_several_pages_knows_what_its_first_page_knew() {
    let mut bench = Bench::new();
    bench.tick(3600); // no store before this one told of anything here
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let first = bench.clock.now();
    bench.accept_at("erp", Stream::Stock, vec![level("A", 5)], first, true);
    bench.tick(60);
    let left = bench.clock.now();
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("B", 5)]);
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert_eq!(told(&mut bench, "A"), "5/3", "A was read before they left");
}

/// Reading an empty folder again and again does not make the last file any younger.
#[test]
fn an_old_file_does_not_become_fresh_by_being_looked_at() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let file = levels_of(&bench, "acme", vec![level("A", 5)], Some(0));
    bench.engine.accept(file.clone()).unwrap();
    assert_eq!(told(&mut bench, "A"), "10/10");
    bench.tick(7200);
    let empty = Unit {
        changes: Vec::new(),
        ..file
    };
    bench.engine.accept(empty).unwrap();
    bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
    assert_eq!(told(&mut bench, "A"), "10/10", "the file is two hours old");
    let yesterday = levels_of(&bench, "acme", vec![level("A", 30)], Some(86_400));
    bench.engine.accept(yesterday).unwrap();
    assert_eq!(
        told(&mut bench, "A"),
        "10/10",
        "a file of yesterday is no better"
    );
    let new = levels_of(&bench, "acme", vec![level("A", 6)], Some(60));
    bench.engine.accept(new).unwrap();
    assert_eq!(told(&mut bench, "A"), "15/15");
}

/// What was kept back while an owner was silent is told when it speaks again, though its number did not
/// change; a restart in between changes nothing.
#[test]
fn an_owner_that_speaks_again_lets_numbers_rise() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("acme", Stream::Stock, vec![level("A", 5), level("B", 1)]);
    told(&mut bench, "A");
    bench.tick(7200);
    bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
    assert_eq!(told(&mut bench, "A"), "10/10");
    let mut bench = bench.crash();
    bench.accept("acme", Stream::Stock, vec![level("A", 5), level("B", 1)]);
    let mut after = None;
    loop {
        after = bench.engine.refresh(after).unwrap();
        if after.is_none() {
            break;
        }
    }
    assert_eq!(told(&mut bench, "A"), "14/14");
}

/// An owner falls silent and nothing else happens: the channel's floor holds all the same.
#[test]
fn a_floor_holds_as_soon_as_an_owner_is_silent() {
    let mut rules = rules(Mode::Apply);
    rules.publishes[0].rule.floor = Some(2.into());
    let mut bench = Bench::with(rules);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(told(&mut bench, "A"), "5/5");
    bench.tick(7200);
    assert_eq!(bench.engine.refresh(None).unwrap(), None);
    assert_eq!(told(&mut bench, "A"), "2/5");
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(bench.engine.refresh(None).unwrap(), None);
    assert_eq!(told(&mut bench, "A"), "5/5");
}

/// A number was on its way when the process died, and what is desired is back at what was told before:
/// nobody knows which of the two the channel shows.
#[test]
fn a_number_that_was_on_its_way_at_a_crash_is_written_again() {
    for change_after_crash in [false, true] {
        let mut bench = Bench::new();
        bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
        assert_eq!(told(&mut bench, "A"), "4/4");
        bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
        assert_eq!(bench.claim("south", Stream::Stock).len(), 1);
        if change_after_crash {
            bench = bench.crash();
        }
        bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
        let mut bench = bench.crash();
        let claimed = bench.claim("south", Stream::Stock);
        assert_eq!(claimed.len(), 1, "south may show 5");
    }
}

/// An old reading of an order that is done does not reserve its goods again.
#[test]
fn goods_that_left_are_not_reserved_again() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], bench.clock.now());
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    bench.deliver("north", Stream::Shipments);
    assert_eq!(told(&mut bench, "A"), "3/3");
    let mut old = order_json("1", &[("A", 2)]);
    old["note"] = json!("please ring twice");
    let old = Change::present("1", Record::from_json(Stream::Orders, old).unwrap());
    bench.accept("north", Stream::Orders, vec![old]);
    assert_eq!(told(&mut bench, "A"), "3/3");
}

/// A file that is not believed stands on the desk until a better one comes.
#[test]
fn a_refused_file_stands_on_the_desk_until_a_better_one_comes() {
    let mut bench = Bench::new();
    let held = || Fault::reject("feed_held", "4 rows where the last good file had 40");
    let stopped = |bench: &mut Bench| {
        let stopped = bench
            .engine
            .stopped_reading("acme".into(), Stream::Stock, held());
        stopped.unwrap();
    };
    stopped(&mut bench);
    stopped(&mut bench);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!((desk.len(), &*desk[0].row.fault.code), (1, "feed_held"));
    bench.accept("acme", Stream::Stock, vec![]);
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 1);
    bench.accept("acme", Stream::Stock, vec![level("A", 5)]);
    assert!(bench.engine.quarantine(0, 9).unwrap().is_empty());
    stopped(&mut bench);
    let number = bench.engine.quarantine(0, 9).unwrap()[0].number;
    bench.engine.quarantine_retry(number).unwrap();
    assert!(bench.wanted("acme", Stream::Stock).is_empty());
}

/// A row without a readable article number is known by its line only: a whole list without it ends it.
#[test]
fn a_whole_list_ends_the_bad_rows_of_the_one_before() {
    let mut bench = Bench::new();
    let rows = |line: &str| {
        let bad = Change::rejected(line, Fault::reject("formula_in_sku", "like a formula"));
        vec![bad, level("B", 5)]
    };
    bench.accept("acme", Stream::Stock, rows("line 2"));
    bench.accept("acme", Stream::Stock, rows("line 3"));
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 2);
    bench.tick(60);
    let now = bench.clock.now();
    bench.accept_at("acme", Stream::Stock, rows("line 3"), now, true);
    let whole = Unit {
        reached: None,
        ..levels_of(&bench, "acme", Vec::new(), None)
    };
    while bench.engine.absence(whole.clone()).unwrap() {}
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!((desk.len(), &*desk[0].row.thing), (1, "acme/stock/line 3"));
}

/// Going live: what is still open of the time before `start_from` is carried nowhere and takes its goods all the
/// same, or the other channels would sell them.
#[test]
fn an_open_order_of_before_the_start_takes_its_goods() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let mut old = order_json("1", &[("A", 2)]);
    old["placed_at"] = json!("2026-10-01T00:00:00Z");
    let old = change(Stream::Orders, "1", old);
    bench.accept("north", Stream::Orders, vec![old]);
    // North has the two apart itself.
    assert_eq!(told(&mut bench, "A"), "5/3");
    assert!(bench.claim("erp", Stream::Orders).is_empty());
}
