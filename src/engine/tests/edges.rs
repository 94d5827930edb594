//! What is under way when power is lost or rules change, and what stands in the way of single numbers.

use super::stock::told;
use super::*;
use crate::connector::Token;
use crate::store::KeyRange;

fn lost() -> Outcome {
    Outcome::Failed(Fault::retry("http_timeout", "no reply").after_sending())
}

/// How many rows of the store begin with this byte.
fn rows(bench: &Bench, table: u8) -> usize {
    let range = KeyRange::prefix([table]);
    bench.engine.store().scan(&range, usize::MAX).unwrap().len()
}

/// What was told leaves nothing behind, also where another number is wanted by then: how long that one is tried
/// counts from when it is tried.
#[test]
fn a_number_that_was_told_leaves_no_attempt() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let sent = bench.claim("north", Stream::Stock);
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    let results = sent.iter().map(|one| (one.clone(), there(one))).collect();
    bench.settle("north", Stream::Stock, results);
    assert_eq!(rows(&bench, crate::store::table::ATTEMPT.prefix), 0);
    assert_eq!(told(&mut bench, "A"), "4/4");
}

/// What orders take is known after a crash: nothing is sold twice.
#[test]
fn a_reservation_survives_a_crash() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    assert_eq!(told(&mut bench, "A"), "5/3");
    let mut bench = bench.crash();
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
    assert_eq!(told(&mut bench, "A"), "6/4");
}

/// What is noted before sending is removed when nothing of it is under way, also across crashes.
#[test]
fn intents_end_with_what_they_were_for() {
    let intents = |bench: &Bench| rows(bench, crate::store::table::INTENT.prefix);
    let mut bench = Bench::new();
    let orders = ["1", "2", "3"].map(|id| order(id, &[("A", 1)]));
    bench.accept("north", Stream::Orders, orders.to_vec());
    let mut claimed = bench.claim("erp", Stream::Orders);
    assert_eq!(intents(&bench), 1, "one row for all of a claim");
    let first = claimed.remove(0);
    let outcome = there(&first);
    bench.settle("erp", Stream::Orders, vec![(first, outcome)]);
    assert_eq!(intents(&bench), 1);
    // Claimed anew by the next process, and then by another: one of them is the last that counts.
    let mut bench = bench.crash();
    assert_eq!(bench.claim("erp", Stream::Orders).len(), 2);
    let mut bench = bench.crash();
    assert_eq!(intents(&bench), 1);
    let again = bench.claim("erp", Stream::Orders);
    assert_eq!(again.len(), 2);
    let results = again.iter().map(|one| (one.clone(), there(one))).collect();
    assert!(again.iter().all(|one| one.action != Action::Send));
    bench.settle("erp", Stream::Orders, results);
    let bench = bench.crash();
    assert_eq!(intents(&bench), 0);
    let mut bench = Bench::new();
    let orders = ["1", "2"].map(|id| order(id, &[("A", 1)]));
    bench.accept("north", Stream::Orders, orders.to_vec());
    for one in bench.claim("erp", Stream::Orders) {
        let outcome = there(&one);
        bench.settle("erp", Stream::Orders, vec![(one, outcome)]);
    }
    assert_eq!(intents(&bench), 0, "without a crash, too");
}

/// A submission that is being asked after is claimed by nobody else after a reload.
#[test]
fn a_question_under_way_survives_a_reload() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let taken_in = Outcome::Submitted {
        token: Token::default(),
        check_after: Duration::from_secs(60),
        in_order: false,
    };
    bench.settle("erp", Stream::Orders, vec![(claimed, taken_in)]);
    bench.tick(60);
    let asked = bench.claim("erp", Stream::Orders);
    assert_eq!(asked[0].action, Action::Check(Token::default()));
    bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
    assert_eq!(bench.claim("erp", Stream::Orders), []);
    // It is a question and no second sending: a crash asks again.
    let mut bench = bench.crash();
    let asked = bench.claim("erp", Stream::Orders);
    assert_eq!(asked[0].action, Action::Check(Token::default()));
}

/// A shipment that left while this store was there is known to be untold.
#[test]
fn a_young_parcel_is_sent_without_looking() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let old = bench.clock.now();
    bench.tick(3600);
    let young = bench.clock.now();
    for (id, left, action) in [
        ("S1", old, Action::FindFirst(Earlier::OtherStore)),
        ("S2", young, Action::Send),
    ] {
        let parcel = shipment(id, "R-north:1", &[("A", 1)], left);
        bench.accept("erp", Stream::Shipments, vec![parcel]);
        let claimed = bench.claim("north", Stream::Shipments).remove(0);
        assert_eq!(claimed.action, action, "{id}");
        let outcome = there(&claimed);
        bench.settle("north", Stream::Shipments, vec![(claimed, outcome)]);
    }
}

/// While nobody knows whether a channel with allocations apart was told of a parcel, it is told so little that it is
/// right in both cases. Any other channel counts for itself.
#[test]
fn a_number_is_low_enough_while_a_parcel_is_on_the_way() {
    for (basis, wanted) in [(StockBasis::AllocatedApart, "6"), (StockBasis::OnHand, "8")] {
        let mut rules = rules(Mode::Apply);
        rules.facts.entry("north".into()).or_default().stock_basis = basis;
        let mut bench = Bench::with(rules);
        bench.accept("erp", Stream::Stock, vec![level("A", 20)]);
        bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
        bench.deliver("erp", Stream::Orders);
        told(&mut bench, "A");
        let left = bench.clock.now();
        let parcel = shipment("S1", "R-north:1", &[("A", 2)], left);
        bench.accept("erp", Stream::Shipments, vec![parcel]);
        let claimed = bench.claim("north", Stream::Shipments).remove(0);
        bench.settle("north", Stream::Shipments, vec![(claimed, lost())]);
        bench.tick(60);
        let on_hand = if basis == StockBasis::OnHand { 8 } else { 6 };
        bench.accept("erp", Stream::Stock, vec![level("A", on_hand)]);
        let claimed = bench.claim("north", Stream::Stock).remove(0);
        let Record::Stock(level) = &claimed.delivery.record else {
            panic!("a number")
        };
        let number = level.on_hand.value().unwrap().to_string();
        assert_eq!(number, wanted, "{basis:?}");
    }
}

/// The same while it is in quarantine, if nobody knows what became of it.
#[test]
fn a_held_parcel_may_have_moved_the_number() {
    let refused = Fault::reject("no_number", "there is no number");
    for (fault, wanted) in [(refused.clone().after_sending(), "6"), (refused, "8")] {
        let mut bench = Bench::new();
        bench.accept("erp", Stream::Stock, vec![level("A", 20)]);
        bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
        bench.deliver("erp", Stream::Orders);
        told(&mut bench, "A");
        let left = bench.clock.now();
        let parcel = shipment("S1", "R-north:1", &[("A", 2)], left);
        bench.accept("erp", Stream::Shipments, vec![parcel]);
        let claimed = bench.claim("north", Stream::Shipments).remove(0);
        let outcome = Outcome::Failed(fault);
        bench.settle("north", Stream::Shipments, vec![(claimed, outcome)]);
        bench.tick(60);
        bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
        let claimed = bench.claim("north", Stream::Stock).remove(0);
        let Record::Stock(level) = &claimed.delivery.record else {
            panic!("a number")
        };
        assert_eq!(level.on_hand.value().unwrap().to_string(), wanted);
    }
}

/// What waits is bounded by what it takes.
#[test]
fn the_bytes_that_wait_are_known() {
    let mut bench = Bench::new();
    let bytes = |bench: &mut Bench| bench.engine.pressure().unwrap().event_bytes;
    assert_eq!(bytes(&mut bench), 0);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let one = bytes(&mut bench);
    assert!((200..2000).contains(&one), "{one}");
    bench.accept("north", Stream::Orders, vec![order("2", &[("A", 1)])]);
    assert_eq!(bytes(&mut bench), 2 * one);
    bench.deliver("erp", Stream::Orders);
    assert_eq!(bytes(&mut bench), 0);
}

/// The same number may be sent again when nobody knows what became of it; before another one is, that is looked up.
#[test]
fn another_number_is_sent_when_the_last_is_known() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    bench.settle("south", Stream::Stock, vec![(claimed, lost())]);
    bench.tick(60);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    assert_eq!(
        (claimed.action.clone(), claimed.delivery.attempts),
        (Action::Send, 1)
    );
    bench.settle("south", Stream::Stock, vec![(claimed, lost())]);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    assert_eq!(claimed.action, Action::FindFirst(Earlier::Over));
    assert_eq!(claimed.delivery.attempts, 2);
}

/// A price of which nobody knows whether it stands there, and then a jump that is held: when the source is back at what
/// was told before, that is told again.
#[test]
fn a_held_price_remembers_what_may_stand_there() {
    let mut bench = Bench::with(catalogue(Mode::Apply));
    bench.accept("erp", Stream::Items, vec![]);
    let say = |bench: &mut Bench, amount: &str| {
        bench.tick(60);
        bench.accept("erp", Stream::Prices, vec![price("A", amount)]);
    };
    say(&mut bench, "10");
    bench.deliver("north", Stream::Prices);
    say(&mut bench, "12");
    let claimed = bench.claim("north", Stream::Prices).remove(0);
    bench.settle("north", Stream::Prices, vec![(claimed, lost())]);
    say(&mut bench, "150");
    assert!(bench.claim("north", Stream::Prices).is_empty());
    say(&mut bench, "10");
    let claimed = bench.claim("north", Stream::Prices);
    assert_eq!(claimed.len(), 1, "12 may stand there");
}

/// A jump is held once, however often it is said: the stream stops for many prices and not for one said many times.
#[test]
fn one_price_that_jumps_again_and_again_stops_nothing() {
    let mut bench = Bench::with(catalogue(Mode::Apply));
    bench.accept("erp", Stream::Items, vec![]);
    let list = (0..30).map(|n| price(&format!("S{n}"), "10"));
    bench.accept("erp", Stream::Prices, list.collect());
    bench.deliver("north", Stream::Prices);
    let codes = |bench: &mut Bench| {
        let desk = bench.engine.quarantine(0, 99).unwrap().into_iter();
        let north = desk.filter(|row| row.row.connection.as_str() == "north");
        north
            .map(|row| row.row.fault.code.to_string())
            .collect::<Vec<_>>()
    };
    for amount in 100..110 {
        bench.tick(60);
        bench.accept(
            "erp",
            Stream::Prices,
            vec![price("S0", &amount.to_string())],
        );
        assert_eq!(codes(&mut bench), ["price_jump"]);
    }
    // Each of three is held; one of them again is not a fourth, and another one is.
    let jump = |bench: &mut Bench, sku: &str, amount: &str| {
        bench.tick(60);
        bench.accept("erp", Stream::Prices, vec![price(sku, amount)]);
    };
    for (sku, amount) in [("S1", "200"), ("S2", "200"), ("S0", "200"), ("S1", "300")] {
        jump(&mut bench, sku, amount);
    }
    assert_eq!(codes(&mut bench), ["price_jump"; 3]);
    jump(&mut bench, "S3", "200");
    jump(&mut bench, "S9", "11");
    for _ in 0..2 {
        assert!(codes(&mut bench).contains(&"too_many_jumps".to_owned()));
        assert!(bench.claim("north", Stream::Prices).is_empty());
    }
}

/// A number that fails again is tried later and later.
#[test]
fn a_number_is_tried_later_and_later() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    for attempts in 0..7 {
        let claimed = bench.claim("south", Stream::Stock).remove(0);
        assert_eq!(claimed.delivery.attempts, attempts);
        let busy = Outcome::Failed(Fault::retry("http_502", "bad"));
        bench.settle("south", Stream::Stock, vec![(claimed, busy)]);
        // Between half of 0.25, 0.5, 1, 2, 4, ... seconds and all of it.
        let wait = (1 << attempts) / 4;
        if wait > 1 {
            bench.tick(wait / 2 - 1);
            assert!(bench.claim("south", Stream::Stock).is_empty(), "{attempts}");
            bench.tick(wait / 2 + 1);
        } else {
            bench.tick(1);
        }
    }
}

/// More numbers than one step takes: another rule reaches all of them, and so does the silence of an owner.
#[test]
fn what_holds_for_all_reaches_all() {
    let with_floor = |buffer: i64| {
        let mut rules = rules(Mode::Apply);
        for publish in &mut rules.publishes {
            publish.rule.buffer = buffer.into();
            publish.rule.floor = Some(1.into());
        }
        rules
    };
    let count = UNIT_LEVELS + 100;
    let mut bench = Bench::with(with_floor(0));
    let list = (0..count).map(|n| level(&format!("S{n:04}"), 9));
    bench.accept("erp", Stream::Stock, list.collect());
    let deliver = |bench: &mut Bench| {
        let mut told = Vec::new();
        loop {
            let target = "south".into();
            let claimed = bench.engine.claim(target, Stream::Stock, 10_000).unwrap();
            if claimed.is_empty() {
                return told;
            }
            let results = claimed
                .iter()
                .map(|one| (one.clone(), there(one)))
                .collect();
            bench.settle("south", Stream::Stock, results);
            told.extend(claimed.into_iter().map(|one| match one.delivery.record {
                Record::Stock(level) => level.on_hand.value().unwrap().to_string(),
                other => panic!("{other:?}"),
            }));
        }
    };
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(deliver(&mut bench).len(), count);
    bench.engine.reload(Arc::new(with_floor(2))).unwrap();
    let mut steps = 0;
    while bench.engine.derive_stock().unwrap() {
        steps += 1;
        assert!(steps < 20, "it never ends");
    }
    assert_eq!(deliver(&mut bench), vec!["7"; count]);
    bench.tick(3601);
    let mut after = None;
    loop {
        after = bench.engine.refresh(after).unwrap();
        if after.is_none() {
            break;
        }
        steps += 1;
        assert!(steps < 40, "it never ends");
    }
    assert_eq!(deliver(&mut bench), vec!["1"; count]);
}

/// What an earlier process may have written is doubtful until it is told again, also over a reload; what this one
/// told is not.
#[test]
fn a_reload_doubts_no_more_than_was_doubtful() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 5)]);
    told(&mut bench, "A");
    bench.accept("erp", Stream::Stock, vec![level("A", 4), level("B", 4)]);
    assert_eq!(bench.claim("south", Stream::Stock).len(), 2);
    let mut bench = bench.crash();
    let again = bench.claim("south", Stream::Stock);
    assert_eq!(again.len(), 2);
    bench.settle(
        "south",
        Stream::Stock,
        vec![(again[0].clone(), there(&again[0]))],
    );
    bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
    assert!(
        bench.claim("south", Stream::Stock).is_empty(),
        "one is under way"
    );
    bench.settle(
        "south",
        Stream::Stock,
        vec![(again[1].clone(), there(&again[1]))],
    );
    assert!(bench.claim("south", Stream::Stock).is_empty());
    assert_eq!(told(&mut bench, "A"), "4/4");
    bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
    assert!(bench.claim("south", Stream::Stock).is_empty());
}

/// Every table can be checked row by row.
#[test]
fn every_table_is_checked() {
    let checked: BTreeSet<u8> = row_checks().iter().map(|(info, _)| info.prefix).collect();
    let rows = crate::store::table::TABLES.iter();
    let rows = rows.filter(|info| info.shape == crate::store::table::Shape::Rows);
    let all: BTreeSet<u8> = rows.map(|info| info.prefix).collect();
    assert_eq!(checked, all);
}

/// What is in doubt is what an earlier process may have written, until it is told again: not what this one told, also
/// over a reload. What is sure and wanted back is told nobody.
#[test]
fn what_is_sure_need_not_be_told_again() {
    for reload in [false, true] {
        let mut bench = Bench::new();
        bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
        assert_eq!(bench.claim("south", Stream::Stock).len(), 1);
        let mut bench = bench.crash();
        assert_eq!(told(&mut bench, "A"), "4/4");
        bench.tick(1);
        bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
        if reload {
            bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
        }
        bench.tick(1);
        bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
        assert!(bench.claim("south", Stream::Stock).is_empty(), "{reload}");
    }
}

/// The guard knows how many prices were told, also after a crash.
#[test]
fn the_guard_survives_a_crash() {
    let mut bench = Bench::with(catalogue(Mode::Apply));
    bench.accept("erp", Stream::Items, vec![]);
    let list = (0..30).map(|n| price(&format!("S{n}"), "10"));
    bench.accept("erp", Stream::Prices, list.collect());
    bench.deliver("north", Stream::Prices);
    let mut bench = bench.crash_with(catalogue(Mode::Apply));
    bench.tick(60);
    let jumps = (0..4).map(|n| price(&format!("S{n}"), "200"));
    bench.accept("erp", Stream::Prices, jumps.collect());
    let desk = bench.engine.quarantine(0, 99).unwrap();
    let stops = desk
        .iter()
        .filter(|row| row.row.fault.code == "too_many_jumps");
    assert_eq!(stops.count(), 1);
}

/// A vendor's clock may be a quarter of an hour ahead of ours: what it says happened just after this store was begun may
/// have been sent by an earlier one.
#[test]
fn a_vendors_clock_may_be_ahead() {
    for (minutes, action) in [
        (14, Action::FindFirst(Earlier::OtherStore)),
        (16, Action::Send),
    ] {
        let mut bench = Bench::new();
        bench.tick(3600);
        let mut json = order_json("1", &[("A", 1)]);
        json["placed_at"] = json!(format!("2026-11-22T10:{minutes}:00Z"));
        let placed = change(Stream::Orders, "1", json);
        bench.accept("north", Stream::Orders, vec![placed]);
        let claimed = bench.claim("erp", Stream::Orders).remove(0);
        assert_eq!(claimed.action, action, "{minutes}");
    }
}

/// What may have been written before a crash is in doubt, also after a reload: wanted back at what was told before, it
/// is told again.
#[test]
fn a_reload_ends_no_doubt() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    assert_eq!(told(&mut bench, "A"), "4/4");
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(bench.claim("south", Stream::Stock).len(), 1);
    let mut bench = bench.crash();
    bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
    bench.tick(1);
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    let again = bench.claim("south", Stream::Stock);
    assert_eq!(again.len(), 1, "south may show 5");
}

/// A parcel that was told is told anew, with another number to track it by, and the reply is lost: no more goods leave
/// for that, and nothing is kept back.
#[test]
fn a_parcel_that_was_told_moves_the_number_once() {
    let mut bench = Bench::new();
    bench.tick(3600); // no store before this one told of anything here
    bench.accept("erp", Stream::Stock, vec![level("A", 20)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let left = bench.clock.now();
    let parcel = |number: &str| {
        let json = json!({"id": "S1", "order": "R-north:1", "shipped_at": left.to_string(),
            "lines": [{"sku": "A", "quantity": "2"}], "parcels": [{"tracking_number": number}]});
        change(Stream::Shipments, "S1", json)
    };
    bench.accept("erp", Stream::Shipments, vec![parcel("T1")]);
    assert_eq!(bench.deliver("north", Stream::Shipments).len(), 1);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 18)]);
    assert_eq!(told(&mut bench, "A"), "18/18");
    bench.accept("erp", Stream::Shipments, vec![parcel("T2")]);
    let claimed = bench.claim("north", Stream::Shipments).remove(0);
    let operation = claimed.delivery.operation;
    assert_eq!(operation, crate::connector::Operation::Update);
    bench.settle("north", Stream::Shipments, vec![(claimed, lost())]);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 8)]);
    assert_eq!(told(&mut bench, "A"), "8/8");
}

/// A mapping that makes something else of the order's name.
#[derive(Debug)]
struct Renames;

impl RecordMapping for Renames {
    fn apply(&self, record: &Value) -> Result<Mapped, Fault> {
        let mut mapped = record.clone();
        mapped["order"] = json!("SO-77");
        Ok(Mapped::Kept(mapped))
    }
    fn version(&self) -> &'static str {
        "v1"
    }
}

/// A channel is told of a parcel under its own name of the order, whatever a mapping made of that.
#[test]
fn a_parcel_names_its_order_as_the_channel_does() {
    let mut rules = rules(Mode::Apply);
    rules.mappings.insert("to_north".into(), Arc::new(Renames));
    let mut bench = Bench::with(rules);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], bench.clock.now());
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    let claimed = bench.claim("north", Stream::Shipments).remove(0);
    let Record::Shipment(told) = claimed.delivery.record else {
        panic!("a shipment")
    };
    assert_eq!(told.order, "1");
}
