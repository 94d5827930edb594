//! Orders and their parcels on the way, at their edges.

use super::stock::told;
use super::*;
use crate::connector::{LineLink, Operation};

/// An order that was placed in the very moment from which orders are carried is carried, and counted once.
#[test]
fn the_first_moment_counts() {
    let mut bench = Bench::new();
    let placed = |id: &str, at: &str| {
        let mut json = order_json(id, &[("A", 1)]);
        json["placed_at"] = json!(at);
        change(Stream::Orders, id, json)
    };
    let orders = vec![
        placed("1", "2026-11-01T00:00:00Z"),
        placed("2", "2026-10-31T23:59:59Z"),
    ];
    assert_eq!(bench.accept("north", Stream::Orders, orders).queued, 1);
    let counts = bench.counts("north_orders");
    assert_eq!((counts.routed, counts.filtered["start_from"]), (2, 1));
}

/// A cancellation is told once, however often the order is changed after it; and what else it says of the lines is
/// nobody's business any more.
#[test]
fn an_order_is_called_off_once() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept(
        "north",
        Stream::Orders,
        vec![young("1", &[("A", 2)], "none")],
    );
    bench.deliver("erp", Stream::Orders);
    let off = young("1", &[("A", 1)], "cancelled");
    assert_eq!(bench.accept("north", Stream::Orders, vec![off]).queued, 1);
    let told = bench.deliver("erp", Stream::Orders);
    assert_eq!(told[0].delivery.operation, Operation::Cancel);
    let again = young("1", &[("A", 3)], "cancelled");
    assert_eq!(bench.accept("north", Stream::Orders, vec![again]).queued, 0);
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 0);
}

/// An order that an older store may have sent is looked for when it is called off before this one sent it.
#[test]
fn what_an_earlier_life_may_have_sent_is_looked_for() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let off = cancelled("1", &[("A", 1)]);
    assert_eq!(bench.accept("north", Stream::Orders, vec![off]).queued, 1);
    assert_eq!(
        bench.claim("erp", Stream::Orders)[0].action,
        Action::FindOnly
    );
}

/// All of an order left and is known. An old reading of it, or another note on it, takes nothing again.
#[test]
fn an_order_that_is_done_takes_nothing_again() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let left = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    bench.deliver("north", Stream::Shipments);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    assert_eq!(told(&mut bench, "A"), "3/3");
    let mut json = order_json("1", &[("A", 2)]);
    json["customer"] = json!({"name": "Zoé"});
    let noted = change(Stream::Orders, "1", json);
    assert_eq!(bench.accept("north", Stream::Orders, vec![noted]).news, 1);
    assert_eq!(told(&mut bench, "A"), "3/3");
}

/// The same of an order of which a part was called off.
#[test]
fn an_order_of_which_a_part_left_and_the_rest_was_called_off_is_done() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let of = |name: &str| {
        let mut json = order_json("1", &[("A", 3)]);
        json["placed_at"] = json!("2026-11-22T11:00:00Z");
        json["lines"][0]["qty_cancelled"] = json!("1");
        json["customer"] = json!({ "name": name });
        change(Stream::Orders, "1", json)
    };
    bench.accept("north", Stream::Orders, vec![of("Zoë")]);
    bench.deliver("erp", Stream::Orders);
    let left = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    bench.deliver("north", Stream::Shipments);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    assert_eq!(told(&mut bench, "A"), "3/3");
    bench.accept("north", Stream::Orders, vec![of("Zoé")]);
    assert_eq!(told(&mut bench, "A"), "3/3");
}

/// An order was carried, and then two As of it were called off and it with them. The owner has five of each.
fn two_as_called_off(ordered: &[(&str, i64)]) -> Bench {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 5)]);
    let at = |called_off: &str, cancellation: &str| {
        let mut json = order_json("1", ordered);
        json["placed_at"] = json!("2026-11-22T11:00:00Z");
        json["lines"][0]["qty_cancelled"] = json!(called_off);
        json["axes"] = json!({ "cancellation": cancellation });
        change(Stream::Orders, "1", json)
    };
    bench.accept("north", Stream::Orders, vec![at("0", "none")]);
    bench.deliver("erp", Stream::Orders);
    bench.accept("north", Stream::Orders, vec![at("2", "cancelled")]);
    bench
}

/// A buyer calls off while the parcel is packed, and it is sent all the same. The channel is not told of it before somebody
/// looked; the pieces have left, so that nobody waits for them for ever.
#[test]
fn what_was_called_off_and_sent_all_the_same_is_taken_off() {
    let mut bench = two_as_called_off(&[("A", 2), ("B", 1)]);
    let left = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 2), ("B", 1)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    let cancel = bench.claim("erp", Stream::Orders).remove(0);
    let shipped = Outcome::Failed(Fault::reject("already_shipped", "goods have left"));
    bench.settle("erp", Stream::Orders, vec![(cancel, shipped)]);
    assert!(bench.claim("north", Stream::Shipments).is_empty());
    let desk = bench.engine.quarantine(0, 9).unwrap();
    let codes: Vec<&str> = desk.iter().map(|row| row.row.fault.code.as_ref()).collect();
    assert_eq!(codes, ["more_shipped_than_ordered", "already_shipped"]);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3), level("B", 4)]);
    assert_eq!(told(&mut bench, "A"), "3/3");
    assert_eq!(told(&mut bench, "B").split('/').next_back(), Some("4"));
}

/// The same where the owner does not say what is in a parcel: it is the whole order, of which nothing is wanted.
#[test]
fn a_parcel_of_an_order_that_was_called_off_as_a_whole_is_taken_off() {
    let mut bench = two_as_called_off(&[("A", 2)]);
    let parcel = shipment("S1", "R-north:1", &[], bench.clock.now());
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert!(bench.claim("north", Stream::Shipments).is_empty());
    let desk = bench.engine.quarantine(0, 9).unwrap();
    let codes: Vec<&str> = desk.iter().map(|row| row.row.fault.code.as_ref()).collect();
    assert_eq!(codes, ["more_shipped_than_ordered"]);
    assert_eq!(told(&mut bench, "A").split('/').next_back(), Some("3"));
}

/// Fewer, and then more again, before the owner was told: exactly what is wanted is taken.
#[test]
fn a_line_takes_what_is_wanted_now() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 20)]);
    let of = |quantity: i64, called_off: i64| {
        let mut json = order_json("1", &[("A", quantity)]);
        json["placed_at"] = json!("2026-11-22T11:00:00Z");
        json["lines"][0]["qty_cancelled"] = json!(called_off.to_string());
        change(Stream::Orders, "1", json)
    };
    for (quantity, called_off, south) in
        [(8, 0, 12), (5, 0, 15), (6, 0, 14), (5, 1, 16), (8, 0, 12)]
    {
        bench.accept("north", Stream::Orders, vec![of(quantity, called_off)]);
        bench.deliver("south", Stream::Stock);
        let why = bench.engine.explain_stock("A".into(), Some("south".into()));
        let (number, _) = why.unwrap()[0].published.clone().unwrap();
        assert_eq!(number, south.to_string(), "{quantity} {called_off}");
    }
}

fn lines_of(claimed: &Claimed) -> Vec<(String, i64)> {
    let Record::Shipment(shipment) = &claimed.delivery.record else {
        panic!("a shipment")
    };
    let lines = shipment.lines.iter();
    let lines = lines.map(|line| (line.sku.to_string(), line.quantity.0.try_into().unwrap()));
    lines.collect()
}

/// A tracking number without lines is of everything that is still to be sent.
#[test]
fn a_parcel_without_lines_carries_what_is_left() {
    let mut bench = Bench::new();
    let mut json = order_json("1", &[("A", 6), ("B", 1)]);
    json["lines"][0]["qty_cancelled"] = json!("1");
    bench.accept(
        "north",
        Stream::Orders,
        vec![change(Stream::Orders, "1", json)],
    );
    bench.deliver("erp", Stream::Orders);
    let at = bench.clock.now();
    let first = shipment("S1", "R-north:1", &[("A", 2), ("B", 1)], at);
    let rest = shipment("S2", "R-north:1", &[], at);
    assert_eq!(
        bench.accept("erp", Stream::Shipments, vec![first]).queued,
        1
    );
    assert_eq!(bench.accept("erp", Stream::Shipments, vec![rest]).queued, 1);
    let told: Vec<_> = bench.deliver("north", Stream::Shipments);
    let mut told: Vec<_> = told.iter().map(lines_of).collect();
    told.extend(
        bench
            .deliver("north", Stream::Shipments)
            .iter()
            .map(lines_of),
    );
    assert_eq!(
        told,
        [
            vec![("A".into(), 2), ("B".into(), 1)],
            vec![("A".into(), 3)]
        ]
    );
    assert_eq!(bench.counts("to_north").routed, 2);
    // Also where it is the first one of an order of which a part was called off.
    let mut json = order_json("2", &[("A", 6)]);
    json["lines"][0]["qty_cancelled"] = json!("1");
    let second = change(Stream::Orders, "2", json);
    bench.accept("north", Stream::Orders, vec![second]);
    bench.deliver("erp", Stream::Orders);
    let only = shipment("S3", "R-north:2", &[], at);
    assert_eq!(bench.accept("erp", Stream::Shipments, vec![only]).queued, 1);
    let told = bench.deliver("north", Stream::Shipments);
    assert_eq!(lines_of(&told[0]), [("A".into(), 5)]);
}

/// What one parcel took no other can have taken; a corrected one takes nothing twice. What fits nowhere is held for
/// the channel of the order alone.
#[test]
fn parcels_of_an_order_add_up() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 3)])]);
    bench.deliver("erp", Stream::Orders);
    let at = bench.clock.now();
    for id in ["S1", "S2"] {
        let parcel = shipment(id, "R-north:1", &[("A", 1)], at);
        assert_eq!(
            bench.accept("erp", Stream::Shipments, vec![parcel]).queued,
            1
        );
    }
    while !bench.deliver("north", Stream::Shipments).is_empty() {}
    let mut corrected = shipment("S2", "R-north:1", &[("A", 1)], at);
    if let crate::connector::Body::Present(Record::Shipment(it)) = &mut corrected.body {
        it.parcels[0].tracking_number = "T9".to_owned().into();
    }
    assert_eq!(
        bench
            .accept("erp", Stream::Shipments, vec![corrected])
            .queued,
        1
    );
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 0);
    let told = bench.deliver("north", Stream::Shipments);
    assert_eq!(told[0].delivery.operation, Operation::Update);
    let too_many = shipment("S3", "R-north:1", &[("A", 2)], at);
    assert_eq!(
        bench
            .accept("erp", Stream::Shipments, vec![too_many])
            .queued,
        0
    );
    let desk = bench.engine.quarantine(0, 9).unwrap();
    let routes: Vec<_> = desk
        .iter()
        .map(|row| row.row.route.clone().unwrap())
        .collect();
    assert_eq!(routes, ["to_north".into()]);
}

/// A channel lowers its number when it is told of a parcel, and not when it is told of its new tracking number.
#[test]
fn a_corrected_parcel_moves_no_number() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let at = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], at);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    bench.deliver("north", Stream::Shipments);
    told(&mut bench, "A");
    let mut corrected = shipment("S1", "R-north:1", &[("A", 2)], at);
    if let crate::connector::Body::Present(Record::Shipment(it)) = &mut corrected.body {
        it.parcels[0].tracking_number = "T9".to_owned().into();
    }
    bench.accept("erp", Stream::Shipments, vec![corrected]);
    assert_eq!(bench.deliver("north", Stream::Shipments).len(), 1);
    assert!(bench.claim("north", Stream::Stock).is_empty());
}

/// What the lines are called over there is kept, and not forgotten by an answer that does not say it.
#[test]
fn the_lines_of_an_order_keep_their_names() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept(
        "north",
        Stream::Orders,
        vec![young("1", &[("A", 2)], "none")],
    );
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let line = LineLink {
        line_id: "1-0".into(),
        remote_id: "77".into(),
    };
    let done = Outcome::Delivered(Confirmation {
        remote_id: Some("SO1".into()),
        lines: vec![line.clone()],
        ..Confirmation::default()
    });
    bench.settle("erp", Stream::Orders, vec![(claimed, done)]);
    let off = young("1", &[("A", 2)], "cancelled");
    bench.accept("north", Stream::Orders, vec![off]);
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let done = Outcome::Delivered(Confirmation {
        remote_id: Some("SO1".into()),
        ..Confirmation::default()
    });
    bench.settle("erp", Stream::Orders, vec![(claimed, done)]);
    let lives = bench.engine.explain(Stream::Orders, "N1".into()).unwrap();
    let at_erp = &lives[0].entity.links[&ConnectionName::from("erp")];
    assert_eq!(at_erp.lines, [line]);
}

/// What may be read again because timestamps lie: what is open and not too old.
#[test]
fn open_orders_are_read_again_for_a_while() {
    let mut bench = Bench::new();
    let orders = [young("1", &[("A", 1)], "none"), order("2", &[("A", 1)])];
    bench.accept("north", Stream::Orders, orders.to_vec());
    let open = |bench: &mut Bench, since: &str| {
        let since = since.parse().unwrap();
        let open = bench
            .engine
            .open_things("north".into(), Stream::Orders, since, 9);
        let ids = open.unwrap().into_iter();
        ids.map(|id| id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(open(&mut bench, "2026-11-22T10:00:00Z"), ["1", "2"]);
    assert_eq!(open(&mut bench, "2026-11-22T11:00:00Z"), ["1"]);
    assert_eq!(open(&mut bench, "2026-11-22T11:00:01Z"), [""; 0]);
}

/// A page with more bad records than there is room for stays at its source as a whole.
#[test]
fn a_full_quarantine_takes_a_page_or_leaves_it() {
    for (room, is_taken) in [(2, true), (1, false)] {
        let mut rules = rules(Mode::Apply);
        rules.limits.quarantine_rows = room;
        let mut bench = Bench::with(rules);
        let now = bench.clock.now();
        let bad = |id: &str| Change::rejected(id, Fault::reject("no_lines", "it has no lines"));
        let unit = Unit {
            connection: "north".into(),
            stream: Stream::Orders,
            changes: vec![bad("1"), bad("2")],
            read_at: now,
            read_until: now,
            as_of: None,
            reached: None,
        };
        assert_eq!(bench.engine.accept(unit).is_ok(), is_taken);
        let rows = bench.engine.quarantine(0, 9).unwrap().len();
        assert_eq!(rows, if is_taken { 2 } else { 0 });
    }
}
