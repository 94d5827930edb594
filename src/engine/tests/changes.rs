//! Orders that are changed where they were placed, after they were carried: nothing is silent, and nothing is given back
//! before the owner is known to have done the same.

use super::stock::told;
use super::*;

/// An order placed an hour after the bench began, of so many As, of which so many were called off, and of so many Bs.
fn reading(a: i64, called_off: i64, b: i64) -> Change {
    let lines: Vec<(&str, i64)> = [("A", a), ("B", b)]
        .into_iter()
        .filter(|(_, quantity)| *quantity > 0)
        .collect();
    let mut json = order_json("1", &lines);
    json["placed_at"] = json!("2026-11-22T11:00:00Z");
    if called_off > 0 {
        json["lines"][0]["qty_cancelled"] = json!(called_off.to_string());
    }
    change(Stream::Orders, "1", json)
}

/// An order of three As, and perhaps of Bs, stands at the ERP.
fn carried(b: i64) -> Bench {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 10), level("B", 10)]);
    bench.accept("north", Stream::Orders, vec![reading(3, 0, b)]);
    assert_eq!(bench.deliver("erp", Stream::Orders).len(), 1);
    assert_eq!(told(&mut bench, "A"), "10/7");
    bench
}

/// What the desk says of the order, and under which cause.
fn desk(bench: &mut Bench) -> Vec<(String, u64)> {
    let rows = bench.engine.quarantine(0, 9).unwrap();
    let rows = rows.into_iter().map(|row| {
        assert_eq!(row.row.group(), "erp.orders/change/lines_changed");
        let message = row.row.fault.message.clone();
        let lines = message.split("to erp: ").nth(1).unwrap();
        (lines.split(';').next().unwrap().to_owned(), row.number)
    });
    rows.collect()
}

/// What the owner shows of the order.
fn shown(bench: &mut Bench, lines: &[(&str, i64)]) {
    let there = order_json("R-north:1", lines);
    let there = change(Stream::Orders, "R-north:1", there);
    bench.accept("erp", Stream::Orders, vec![there]);
}

/// A part is called off after the order was carried: a person is told of it once, with what changed; the pieces stay
/// reserved, also over a crash, until that person says that the owner knows.
#[test]
fn a_part_called_off_after_it_was_carried_stands_on_the_desk() {
    let mut bench = carried(0);
    bench.accept("north", Stream::Orders, vec![reading(3, 1, 0)]);
    assert_eq!(told(&mut bench, "A"), "9/7", "the owner may still send it");
    bench.accept("north", Stream::Orders, vec![reading(3, 2, 0)]);
    let mut bench = bench.crash();
    let rows = desk(&mut bench);
    let [(what, number)] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(what, "A from 3 to 1");
    assert_eq!(told(&mut bench, "A"), "8/7");
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    assert_eq!(
        bench.engine.attention().unwrap().groups.len(),
        1,
        "an alert"
    );
    let sheet = bench.engine.quarantine_show(*number).unwrap();
    assert_eq!(sheet.record.unwrap()["lines"][0]["to"], json!("1"));
    let refused = bench.engine.quarantine_retry(*number);
    assert!(refused.is_err(), "nothing is sent");
    bench.engine.quarantine_changed(*number).unwrap();
    assert!(desk(&mut bench).is_empty());
    assert_eq!(told(&mut bench, "A"), "10/9");
    let life = bench.engine.explain(Stream::Orders, "N1".into()).unwrap();
    let last = &life[0].entries.last().unwrap().1;
    assert!(last.detail.contains("by hand"), "{}", last.detail);
}

/// Let go with a reason: what was called off stays reserved, because the owner may send it.
#[test]
fn a_change_that_is_dismissed_keeps_the_reservation() {
    let mut bench = carried(0);
    bench.accept("north", Stream::Orders, vec![reading(3, 1, 0)]);
    let number = desk(&mut bench)[0].1;
    let reason = "it has left already";
    bench
        .engine
        .quarantine_dismiss(number, reason.into())
        .unwrap();
    assert!(desk(&mut bench).is_empty());
    assert_eq!(told(&mut bench, "A"), "9/7");
    let other = bench.engine.quarantine_changed(number);
    assert!(other.is_err());
}

/// The owner shows fewer: over, and given back. Another item under a name that is not ours proves nothing.
#[test]
fn a_change_is_over_when_the_owner_shows_it() {
    let mut bench = carried(2);
    bench.accept("north", Stream::Orders, vec![reading(3, 1, 0)]);
    assert_eq!(desk(&mut bench)[0].0, "A from 3 to 2, B from 2 to 0");
    shown(&mut bench, &[("A", 3), ("B", 2)]);
    assert_eq!(desk(&mut bench).len(), 1);
    shown(&mut bench, &[("A", 2), ("OTHER", 2)]);
    assert_eq!(desk(&mut bench).len(), 1, "B may be called OTHER there");
    assert_eq!(told(&mut bench, "A"), "10/8");
    assert_eq!(told(&mut bench, "B"), "8/8");
    shown(&mut bench, &[("A", 2)]);
    assert!(desk(&mut bench).is_empty());
    assert_eq!(told(&mut bench, "B"), "10/10");
}

/// More of a line takes more, at once; the change back ends it.
#[test]
fn a_change_back_ends_it() {
    let mut bench = carried(0);
    bench.accept("north", Stream::Orders, vec![reading(5, 0, 1)]);
    assert_eq!(desk(&mut bench)[0].0, "A from 3 to 5, B from 0 to 1");
    assert_eq!(told(&mut bench, "A"), "10/5");
    bench.accept("north", Stream::Orders, vec![reading(3, 0, 0)]);
    assert!(desk(&mut bench).is_empty());
}

/// All of it leaves the owner, or is called off there: nothing is left to be changed.
#[test]
fn a_change_is_over_when_all_has_left_or_was_called_off() {
    let mut bench = carried(0);
    bench.accept("north", Stream::Orders, vec![reading(4, 0, 0)]);
    let at = bench.clock.now();
    let three = shipment("S1", "R-north:1", &[("A", 3)], at);
    bench.accept("erp", Stream::Shipments, vec![three]);
    assert_eq!(desk(&mut bench).len(), 1, "the fourth may still leave");
    let one = shipment("S2", "R-north:1", &[("A", 1)], at);
    bench.accept("erp", Stream::Shipments, vec![one]);
    assert!(desk(&mut bench).is_empty());
    bench.accept("north", Stream::Orders, vec![reading(4, 1, 0)]);
    assert!(desk(&mut bench).is_empty(), "all of it has left");

    let mut bench = carried(1);
    bench.accept("north", Stream::Orders, vec![reading(3, 1, 0)]);
    bench.accept(
        "north",
        Stream::Orders,
        vec![young("1", &[("A", 3)], "cancelled")],
    );
    assert_eq!(desk(&mut bench).len(), 1, "not yet there");
    assert_eq!(bench.deliver("erp", Stream::Orders).len(), 1);
    assert!(desk(&mut bench).is_empty());
    assert_eq!(told(&mut bench, "A"), "10/10");
    assert_eq!(told(&mut bench, "B"), "10/10", "a line that is gone too");
}

/// Story 60: a store was lost, and an earlier life may have sent the order as it was: it is not sent as it is now, a
/// person is told, and nothing is given back.
#[test]
fn a_change_of_what_an_earlier_life_may_have_sent_is_told() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    let at_first = |called_off| {
        let mut json = order_json("1", &[("A", 3)]);
        json["lines"][0]["qty_cancelled"] = json!(called_off);
        change(Stream::Orders, "1", json)
    };
    bench.accept("north", Stream::Orders, vec![at_first("0")]);
    bench.accept("north", Stream::Orders, vec![at_first("1")]);
    assert_eq!(desk(&mut bench)[0].0, "A from 3 to 2");
    assert_eq!(told(&mut bench, "A"), "9/7", "it may be there with three");
    let looked_for = bench.claim("erp", Stream::Orders).remove(0);
    assert_eq!(looked_for.action, Action::FindFirst(Earlier::OtherStore));
}

/// What was not sent yet goes as it is now; nobody need be told.
#[test]
fn a_change_before_it_was_sent_is_sent() {
    for sent in [false, true] {
        let mut bench = Bench::new();
        bench.tick(3600);
        bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
        bench.accept("north", Stream::Orders, vec![reading(3, 0, 0)]);
        let claimed = sent.then(|| bench.claim("erp", Stream::Orders));
        bench.accept("north", Stream::Orders, vec![reading(3, 1, 0)]);
        assert_eq!(desk(&mut bench).len(), usize::from(sent));
        if claimed.is_some() {
            assert_eq!(told(&mut bench, "A"), "9/7");
            continue;
        }
        assert_eq!(told(&mut bench, "A"), "10/8");
        bench.accept("north", Stream::Orders, vec![reading(3, 0, 0)]);
        assert_eq!(told(&mut bench, "A"), "10/7", "wanted again");
        bench.accept("north", Stream::Orders, vec![reading(3, 1, 0)]);
        let claimed = bench.claim("erp", Stream::Orders).remove(0);
        let Record::Order(order) = claimed.delivery.record else {
            unreachable!()
        };
        assert_eq!(order.lines[0].qty_cancelled.to_string(), "1");
    }
}

/// More is wanted: over when the owner shows as much, and not while it shows what it had.
#[test]
fn more_of_a_line_is_over_when_the_owner_shows_it() {
    let mut bench = carried(0);
    bench.accept("north", Stream::Orders, vec![reading(5, 0, 0)]);
    shown(&mut bench, &[("A", 3)]);
    assert_eq!(desk(&mut bench)[0].0, "A from 3 to 5");
    shown(&mut bench, &[("A", 4)]);
    assert_eq!(desk(&mut bench).len(), 1);
    shown(&mut bench, &[("A", 5)]);
    assert!(desk(&mut bench).is_empty());
}

/// What a second sink shows says nothing of the goods: they stay reserved until whoever sends them shows it.
#[test]
fn only_who_sends_gives_back() {
    let mut rules = rules(Mode::Apply);
    let books = Route {
        name: "north_books".into(),
        from: ("north".into(), Stream::Orders),
        to: ("books".into(), Stream::Orders),
        mode: Mode::Apply,
        start_from: None,
    };
    let routes: Vec<Route> = rules.router.all().cloned().chain([books]).collect();
    rules.router = Router::new(routes);
    let mut bench = Bench::with(rules);
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    bench.accept("north", Stream::Orders, vec![reading(3, 0, 0)]);
    bench.deliver("erp", Stream::Orders);
    bench.deliver("books", Stream::Orders);
    bench.accept("north", Stream::Orders, vec![reading(3, 1, 0)]);
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 2);
    let there = order_json("R-north:1", &[("A", 2)]);
    let there = change(Stream::Orders, "R-north:1", there);
    bench.accept("books", Stream::Orders, vec![there.clone()]);
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 1);
    assert_eq!(told(&mut bench, "A"), "9/7");
    bench.accept("erp", Stream::Orders, vec![there]);
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 0);
    assert_eq!(told(&mut bench, "A"), "10/8");
}

/// A shop that calls an order off writes it on each of its lines too: the owner is told once that all of it is called
/// off, and nobody has to look at the lines.
#[test]
fn an_order_that_is_called_off_is_no_change_of_its_lines() {
    let mut bench = carried(0);
    let mut json = order_json("1", &[("A", 3)]);
    json["placed_at"] = json!("2026-11-22T11:00:00Z");
    json["axes"] = json!({"cancellation": "cancelled"});
    json["lines"][0]["qty_cancelled"] = json!("3");
    let called_off = change(Stream::Orders, "1", json);
    bench.accept("north", Stream::Orders, vec![called_off]);
    assert_eq!(desk(&mut bench), []);
    let told_owner = bench.deliver("erp", Stream::Orders);
    assert_eq!(told_owner.len(), 1, "the cancellation");
    assert_eq!(told(&mut bench, "A"), "10/10");
}

/// A part was called off before the order was read for the first time, and is wanted again: it is taken again, or
/// another shop sells it.
#[test]
fn a_part_that_was_called_off_from_the_first_can_be_wanted_again() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    bench.accept("north", Stream::Orders, vec![reading(3, 1, 0)]);
    assert_eq!(told(&mut bench, "A"), "10/8");
    bench.accept("north", Stream::Orders, vec![reading(3, 0, 0)]);
    assert_eq!(told(&mut bench, "A"), "10/7");
}

/// A line that nobody wants any more takes nothing, also when the owner refuses the order that it is in.
#[test]
fn a_refused_order_takes_no_more_than_it_did() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 10), level("B", 10)]);
    let mut json = order_json("1", &[("A", 3), ("B", 2)]);
    json["placed_at"] = json!("2026-11-22T11:00:00Z");
    json["lines"][1]["qty_cancelled"] = json!("2");
    let order = change(Stream::Orders, "1", json);
    bench.accept("north", Stream::Orders, vec![order]);
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let refused = Outcome::Failed(Fault::reject("too_long", "the address is too long"));
    bench.settle("erp", Stream::Orders, vec![(claimed, refused)]);
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 1);
    assert_eq!(told(&mut bench, "A"), "10/7");
    assert_eq!(told(&mut bench, "B"), "10/10");
}
