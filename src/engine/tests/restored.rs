//! A store that is an older copy, and one that knows nothing yet.

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
