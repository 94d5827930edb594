//! A store that is an older copy, and one that knows nothing yet.

use super::stock::told;
use super::*;

/// The engine on a copied store, marked or not.
fn on(disk: MemoryDisk, clock: &ManualClock, marked: bool) -> Bench {
    if marked {
        mark_restored(&mut disk.open().unwrap(), clock.now()).unwrap();
    }
    let store = Box::new(disk.open().unwrap());
    let rules = Arc::new(rules(Mode::Apply));
    let engine = Engine::open(store, rules, Arc::new(clock.clone()), 3).unwrap();
    Bench {
        engine,
        disk,
        clock: clock.clone(),
    }
}

fn read_sales(bench: &mut Bench) {
    for channel in ["north", "south", "till"] {
        bench.accept(channel, Stream::Orders, vec![]);
    }
}

/// What it told since the copy was made is not in it: it would take 3 for the 5 that it once told.
#[test]
fn a_restored_store_tells_everything_again() {
    for marked in [false, true] {
        let mut bench = Bench::new();
        bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
        bench.deliver("erp", Stream::Orders);
        bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
        bench.deliver("south", Stream::Stock);
        let copy = bench.disk.durable_image();
        bench.tick(1);
        bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
        bench.deliver("south", Stream::Stock);
        bench.tick(1);

        let mut bench = on(copy, &bench.clock, marked);
        read_sales(&mut bench);
        bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
        let told = bench.claim("south", Stream::Stock);
        assert_eq!(told.len(), usize::from(marked));
        // What it knows of orders stays: nothing is sent again.
        bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
        assert!(bench.claim("erp", Stream::Orders).is_empty());
        let crashed = bench.crash().claim("south", Stream::Stock);
        assert_eq!(
            crashed.len(),
            usize::from(marked),
            "only once is it forgotten"
        );
    }
}

/// A new store has read the shelf and not the sales: what it would tell may be sold already.
#[test]
fn no_number_is_told_before_the_sales_are_read() {
    let clock = ManualClock::at(START.parse().unwrap());
    let mut bench = on(MemoryDisk::new(), &clock, false);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.accept("south", Stream::Orders, vec![]);
    assert!(bench.claim("south", Stream::Stock).is_empty());
    bench.accept("till", Stream::Orders, vec![]);
    let told = bench.claim("south", Stream::Stock);
    let Record::Stock(level) = &told[0].delivery.record else {
        panic!("a number")
    };
    assert_eq!(level.on_hand.value().unwrap().to_string(), "3");
}

/// Seed 35949: the life before had told the shop of a parcel just before its store was lost. A reading ends a settle lag
/// before now, so the first one of this store does not show an order that was touched since: its pieces were on
/// offer again until the next.
#[test]
fn sales_that_were_touched_just_before_are_waited_for() {
    for marked in [false, true] {
        let mut before = Bench::new();
        before.accept("till", Stream::Orders, vec![]);
        let copy = if marked {
            before.disk.durable_image()
        } else {
            MemoryDisk::new()
        };
        let mut bench = on(copy, &before.clock, marked);
        bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
        bench.accept("south", Stream::Orders, vec![]);
        bench.accept("till", Stream::Orders, vec![]);
        for (seconds, reading) in [(0, "the first"), (1, "too soon")] {
            bench.tick(seconds);
            let accepted = bench.accept_lagging("north", Stream::Orders, vec![], 3);
            assert!(accepted.catching_up, "{reading}");
            assert!(bench.claim("south", Stream::Stock).is_empty(), "{reading}");
            let why = why_not(&mut bench).unwrap();
            assert!(why.contains("older orders of north"), "{why}");
        }
        bench.tick(2);
        let sold = vec![order("1", &[("A", 2)])];
        let accepted = bench.accept_lagging("north", Stream::Orders, sold, 3);
        assert!(!accepted.catching_up);
        let told = bench.claim("south", Stream::Stock);
        let Record::Stock(level) = &told[0].delivery.record else {
            panic!("a number")
        };
        assert_eq!(level.on_hand.value().unwrap().to_string(), "3");
        assert_eq!(why_not(&mut bench), None);
        // From now on a reading is a reading.
        let accepted = bench.accept_lagging("north", Stream::Orders, vec![], 3);
        assert!(!accepted.catching_up);
    }
}

fn why_not(bench: &mut Bench) -> Option<String> {
    let south = Some("south".into());
    let reasons = bench.engine.explain_stock("A".into(), south).unwrap();
    reasons[0].held_back.clone()
}

/// The lag must be over when a reading begins: a run of several pages shows what changed before its first one.
#[test]
fn a_run_that_began_too_soon_does_not_show_what_was_touched() {
    let clock = ManualClock::at(START.parse().unwrap());
    let mut bench = on(MemoryDisk::new(), &clock, false);
    let lagging = |bench: &mut Bench, more| {
        let mut read = page(("north", Stream::Orders), vec![], bench.clock.now(), more);
        read.reached.as_mut().unwrap().settle_lag = Duration::from_secs(3);
        bench.engine.accept(read).unwrap().catching_up
    };
    assert!(lagging(&mut bench, true));
    bench.tick(10);
    assert!(lagging(&mut bench, false), "it began ten seconds ago");
    assert!(!lagging(&mut bench, false));
}

/// A source whose clock stands still (a proxy that answers with an old date) is not asked again and again for ever.
#[test]
fn a_clock_that_stands_still_is_not_waited_for_for_ever() {
    let clock = ManualClock::at(START.parse().unwrap());
    let mut bench = on(MemoryDisk::new(), &clock, false);
    for (seconds, catching_up) in [(0, true), (599, true), (1, false)] {
        bench.tick(seconds);
        let mut read = page(
            ("north", Stream::Orders),
            vec![],
            START.parse().unwrap(),
            false,
        );
        read.reached.as_mut().unwrap().settle_lag = Duration::from_secs(3);
        let accepted = bench.engine.accept(read).unwrap();
        assert_eq!(accepted.catching_up, catching_up, "{seconds}");
    }
}

/// A channel that cannot be read keeps the others waiting for a while and not for ever.
#[test]
fn a_channel_that_is_silent_keeps_nobody_waiting_for_ever() {
    let clock = ManualClock::at(START.parse().unwrap());
    let mut bench = on(MemoryDisk::new(), &clock, false);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    while bench.engine.derive_stock().unwrap() {}
    assert!(bench.claim("north", Stream::Stock).is_empty());
    bench.tick(600);
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// A store was lost or is older: the shop was told of the first of two parcels by a life that nobody remembers, and
/// says so of its order. When it is told of the second, it lowers its number by itself all the same, and the
/// number is written again, whatever is left of the reservation.
#[test]
fn the_number_is_written_again_after_each_parcel_of_an_order_that_was_half_told() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    let mut json = order_json("1", &[("A", 3)]);
    json["lines"][0]["qty_shipped"] = json!("2");
    bench.accept(
        "north",
        Stream::Orders,
        vec![change(Stream::Orders, "1", json)],
    );
    bench.deliver("erp", Stream::Orders);
    let left = bench.clock.now();
    bench.tick(10);
    bench.accept("erp", Stream::Stock, vec![level("A", 7)]);
    let parcels = [("S1", 2), ("S2", 1)];
    let parcels = parcels.map(|(id, pieces)| shipment(id, "R-north:1", &[("A", pieces)], left));
    bench.accept("erp", Stream::Shipments, parcels.to_vec());
    for parcel in ["the first", "the second"] {
        told(&mut bench, "A");
        assert!(bench.claim("north", Stream::Stock).is_empty());
        assert_eq!(bench.deliver("north", Stream::Shipments).len(), 1);
        let again = bench.claim("north", Stream::Stock);
        assert_eq!(again.len(), 1, "after {parcel}");
        let results = again.iter().map(|one| (one.clone(), there(one)));
        bench.settle("north", Stream::Stock, results.collect());
    }
    assert_eq!(told(&mut bench, "A"), "7/7");
}

/// Seed 18760: an earlier life told the shop of a parcel, its store was lost, and nobody looked yet. The shop may have
/// lowered its number by itself already: it is told so little that this is right in both cases.
#[test]
fn a_parcel_that_an_earlier_life_may_have_told_is_not_counted_on() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 3)])]);
    bench.deliver("erp", Stream::Orders);
    let left = bench.clock.now();
    bench.tick(10);
    bench.accept("erp", Stream::Stock, vec![level("A", 7)]);
    let parcel = shipment("S1", "R-north:1", &[("A", 3)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert_eq!(
        told(&mut bench, "A"),
        "7/7",
        "north still allocates three, or does not"
    );
    let looked = bench.claim("north", Stream::Shipments).remove(0);
    assert_eq!(looked.action, Action::FindFirst(Earlier::OtherStore));
    let refused = Outcome::Failed(Fault::retry("unavailable", "not now"));
    bench.settle("north", Stream::Shipments, vec![(looked, refused)]);
    assert_eq!(told(&mut bench, "A"), "7/7");
    bench.tick(14 * 60);
    assert_eq!(told(&mut bench, "A"), "7/7", "a quarter of an hour");
    bench.tick(2 * 60);
    assert_eq!(
        told(&mut bench, "A"),
        "10/7",
        "that holds nothing up for long"
    );
    let looked = bench.claim("north", Stream::Shipments).remove(0);
    let outcome = there(&looked);
    bench.settle("north", Stream::Shipments, vec![(looked, outcome)]);
    assert_eq!(told(&mut bench, "A"), "7/7");
}

/// State is read from its beginning, and told again; of events it is known how far they were read, and not that
/// they were read to their end.
#[test]
fn a_restored_store_reads_state_anew() {
    let mut bench = Bench::with(catalogue(Mode::Apply));
    bench.accept("erp", Stream::Items, vec![item("A", "a", "active")]);
    while !bench.deliver("north", Stream::Items).is_empty() {}
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let refuse = |bench: &mut Bench, sink: &str, stream| {
        let claimed = bench.claim(sink, stream);
        assert!(!claimed.is_empty(), "{sink} {stream}");
        let refused = |one: Claimed| (one, Outcome::Failed(Fault::reject("no", "no")));
        let results = claimed.into_iter().map(refused).collect();
        bench.settle(sink, stream, results);
    };
    let parcel = shipment("S1", "77", &[("A", 1)], bench.clock.now());
    bench.accept("erp", Stream::Shipments, vec![parcel.clone()]);
    refuse(&mut bench, "north", Stream::Stock);
    refuse(&mut bench, "erp", Stream::Orders);
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 2);
    let (clock, copy) = (bench.clock.clone(), bench.disk.durable_image());
    mark_restored(&mut copy.open().unwrap(), clock.now()).unwrap();
    let store = Box::new(copy.open().unwrap());
    let rules = Arc::new(catalogue(Mode::Apply));
    let engine = Engine::open(store, rules, Arc::new(clock.clone()), 3).unwrap();
    let mut bench = Bench {
        engine,
        disk: copy,
        clock,
    };
    let read = |bench: &mut Bench, from: &str, stream| {
        let cursor = bench.engine.cursor(from.into(), stream).unwrap();
        let drained = bench.engine.drained_at(from.into(), stream).unwrap();
        (cursor.is_some(), drained.is_some())
    };
    assert_eq!(read(&mut bench, "erp", Stream::Stock), (false, false));
    assert_eq!(read(&mut bench, "erp", Stream::Items), (false, false));
    assert_eq!(read(&mut bench, "north", Stream::Orders), (true, false));
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!(desk.len(), 1, "the number is forgotten, the order is not");
    assert_eq!(desk[0].row.stream, Stream::Orders);
    // The item is linked, and told once more what it is.
    bench.accept("erp", Stream::Items, vec![item("A", "a", "active")]);
    let again = bench.claim("north", Stream::Items);
    assert_eq!(again.len(), 1);
    assert!(again[0].delivery.target.is_some());
    // The order is as it was: nothing is news of it.
    let accepted = bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    assert_eq!((accepted.duplicates, accepted.news), (1, 0));
    let accepted = bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert_eq!((accepted.duplicates, accepted.news), (1, 0));
}

/// Seed 32934: an order of which a part had left was called off at its shop, and then the store was lost. This one sees
/// it called off from the first, and the owner refuses to: what has not left there is not for sale.
#[test]
fn what_an_owner_keeps_of_an_order_first_seen_called_off_is_taken() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![cancelled("1", &[("A", 3)])]);
    assert_eq!(told(&mut bench, "A"), "5/5");
    let looked = bench.claim("erp", Stream::Orders).remove(0);
    assert_eq!(looked.action, Action::FindOnly);
    let found = Outcome::Delivered(Confirmation {
        remote_id: Some("R-north:1".into()),
        existed: true,
        ..Confirmation::default()
    });
    bench.settle("erp", Stream::Orders, vec![(looked, found)]);
    let left = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 1)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    let cancel = bench.claim("erp", Stream::Orders).remove(0);
    let shipped = Outcome::Failed(Fault::reject("already_shipped", "goods have left"));
    bench.settle("erp", Stream::Orders, vec![(cancel, shipped)]);
    assert_eq!(
        told(&mut bench, "A"),
        "2/2",
        "nobody knows yet that one left"
    );
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    assert_eq!(told(&mut bench, "A"), "2/2", "two of three are kept");
    let parcel = shipment("S2", "R-north:1", &[("A", 2)], bench.clock.now());
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 2)]);
    assert_eq!(told(&mut bench, "A"), "2/2");
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    assert_eq!(told(&mut bench, "A"), "3/3", "all left, nothing is kept");
}

/// A parcel that comes when a new store has read once was told by nobody before: it holds nothing back, though another
/// one of its order stands on the desk.
#[test]
fn a_parcel_of_this_life_holds_nothing_back() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Shipments, vec![]);
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 3)])]);
    bench.deliver("erp", Stream::Orders);
    let left = bench.clock.now();
    bench.tick(10);
    bench.accept("erp", Stream::Stock, vec![level("A", 7)]);
    let parcel = shipment("S1", "R-north:1", &[("A", 3)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert_eq!(told(&mut bench, "A"), "10/7");
}

/// The owner keeps an order that it was to call off. What had left of it is not taken a second time, whether this store
/// saw the order before it was called off or not.
#[test]
fn what_had_left_of_an_order_that_an_owner_keeps_is_not_taken_again() {
    for seen_before in [true, false] {
        let mut bench = Bench::new();
        bench.tick(3600);
        bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 5)]);
        let lines = [("A", 3), ("B", 2)];
        if seen_before {
            bench.accept("north", Stream::Orders, vec![order("1", &lines)]);
            bench.deliver("erp", Stream::Orders);
        }
        bench.accept("north", Stream::Orders, vec![cancelled("1", &lines)]);
        if !seen_before {
            let looked = bench.claim("erp", Stream::Orders).remove(0);
            let found = Outcome::Delivered(Confirmation {
                remote_id: Some("R-north:1".into()),
                existed: true,
                ..Confirmation::default()
            });
            bench.settle("erp", Stream::Orders, vec![(looked, found)]);
        }
        let left = bench.clock.now();
        let parcel = shipment("S1", "R-north:1", &[("A", 1), ("B", 2)], left);
        bench.accept("erp", Stream::Shipments, vec![parcel]);
        bench.tick(60);
        bench.accept("erp", Stream::Stock, vec![level("A", 4), level("B", 3)]);
        let cancel = bench.claim("erp", Stream::Orders).remove(0);
        assert_eq!(
            cancel.delivery.operation,
            crate::connector::Operation::Cancel
        );
        let shipped = Outcome::Failed(Fault::reject("already_shipped", "goods have left"));
        bench.settle("erp", Stream::Orders, vec![(cancel, shipped)]);
        if !seen_before {
            // Of one first seen called off nobody knows what the last snapshot knew.
            bench.tick(60);
            assert_eq!(told(&mut bench, "B"), "3/3", "all of it had left");
            bench.accept("erp", Stream::Stock, vec![level("A", 4), level("B", 3)]);
        }
        assert_eq!(told(&mut bench, "A"), "2/2", "{seen_before}: two are kept");
        assert_eq!(told(&mut bench, "B"), "3/3", "{seen_before}");
    }
}
