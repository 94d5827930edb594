//! Reloading while things are under way, and removing what is too old.

use super::*;

/// Story 61: after a reload a delivery that is under way is claimed by nobody else, whatever its row
/// says: claimed twice it would be created twice.
#[test]
fn a_reload_leaves_what_is_under_way_alone() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept(
        "north",
        Stream::Orders,
        vec![order("1", &[("A", 1)]), order("2", &[("A", 1)])],
    );
    let orders = bench.claim("erp", Stream::Orders);
    let stock = bench.claim("north", Stream::Stock);
    assert_eq!((orders.len(), stock.len()), (2, 1));
    bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
    assert_eq!(bench.claim("erp", Stream::Orders), []);
    assert_eq!(bench.claim("north", Stream::Stock), []);

    // One fails and comes back by its own state, the other is delivered; then everything flows again.
    let results = vec![
        (orders[0].clone(), there(&orders[0])),
        (
            orders[1].clone(),
            Outcome::Failed(Fault::retry("busy", "not now")),
        ),
    ];
    bench.settle("erp", Stream::Orders, results);
    bench.settle(
        "north",
        Stream::Stock,
        vec![(stock[0].clone(), there(&stock[0]))],
    );
    bench.tick(60);
    assert_eq!(bench.deliver("erp", Stream::Orders).len(), 1);
    assert_eq!(bench.counts("north_orders").delivered, 2);
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    assert_eq!(bench.deliver("north", Stream::Stock).len(), 1);
}

#[test]
fn the_journal_forgets_what_is_too_old_in_bounded_steps() {
    let mut bench = Bench::new();
    let orders = |from: u32, to: u32| -> Vec<Change> {
        let orders = from..to;
        orders.map(|n| order(&n.to_string(), &[("A", 1)])).collect()
    };
    let sweep = |bench: &mut Bench| {
        let (mut steps, mut at) = (0, Some(Sweep::default()));
        while let Some(after) = at.take() {
            at = bench.engine.expire_journal(after).unwrap();
            steps += 1;
        }
        steps
    };
    bench.accept("north", Stream::Orders, orders(0, 300));
    bench.accept("north", Stream::Orders, orders(300, 600));
    assert!(sweep(&mut bench) > 1, "a step is bounded");
    let told = |bench: &mut Bench, id: &str| {
        let lives = bench
            .engine
            .explain(Stream::Orders, format!("north:{id}"))
            .unwrap();
        lives[0].entries.len()
    };
    assert!(told(&mut bench, "7") > 0);
    bench.tick(91 * 24 * 3600);
    bench.accept("north", Stream::Orders, orders(600, 602));
    sweep(&mut bench);
    assert_eq!(told(&mut bench, "7"), 0);
    assert!(told(&mut bench, "601") > 0);
}
