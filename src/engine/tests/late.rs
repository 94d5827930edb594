//! What nobody waits for any more may still be carried out over there: a request of a daemon that was killed, or
//! one that took too long.

use super::stock::told;
use super::*;

/// As long as this a request may be carried out after nobody waits for it any more.
const LATE: u64 = 30;

fn with_late() -> Rules {
    let mut rules = rules(Mode::Apply);
    for connection in ["north", "south", "erp"] {
        let facts = rules.facts.entry(connection.into()).or_default();
        facts.late = Duration::from_secs(LATE);
    }
    rules
}

fn until(bench: &Bench, seconds: u64) -> Earlier {
    Earlier::Until(crate::clock::later(
        bench.clock.now(),
        Duration::from_secs(seconds),
    ))
}

fn lost() -> Outcome {
    Outcome::Failed(Fault::retry("http_timeout", "no reply").after_sending())
}

fn not_there() -> Outcome {
    Outcome::Failed(Fault::retry(MAY_STILL_ARRIVE, "not there yet").after_sending())
}

/// One delivery of orders, settled like this; how it was claimed.
fn one_order(bench: &mut Bench, outcome: Outcome) -> Action {
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let action = claimed.action.clone();
    bench.settle("erp", Stream::Orders, vec![(claimed, outcome)]);
    action
}

/// Story 19: the reply is lost, the order is not there, and the other side has not begun with it: whoever sends
/// it again has two.
#[test]
fn an_order_that_may_still_arrive_is_not_sent_again() {
    let mut bench = Bench::with(with_late());
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    one_order(&mut bench, lost());
    bench.tick(2);
    let only_looks = Action::FindFirst(until(&bench, LATE - 2));
    assert_eq!(one_order(&mut bench, not_there()), only_looks);
    bench.tick(LATE - 3);
    assert!(
        bench.claim("erp", Stream::Orders).is_empty(),
        "a second too early"
    );
    bench.tick(1);
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    assert_eq!(claimed.action, Action::FindFirst(Earlier::Over));
    assert_eq!(claimed.delivery.attempts, 1, "looking is no attempt");
}

/// What a killed daemon had under way keeps its place: behind a long queue it would be looked for last, and after
/// each restart anew.
#[test]
fn what_a_killed_daemon_had_under_way_goes_before_what_came_later() {
    let mut bench = Bench::with(with_late());
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    bench.claim("erp", Stream::Orders);
    bench.tick(5);
    bench.accept("north", Stream::Orders, vec![order("2", &[("A", 1)])]);
    bench.tick(5);
    let mut bench = bench.crash_with(with_late());
    let claimed = bench.claim("erp", Stream::Orders);
    let actions: Vec<&Action> = claimed.iter().map(|it| &it.action).collect();
    assert!(matches!(
        actions[..],
        [Action::FindFirst(Earlier::Until(_)), _]
    ));
    assert_ne!(claimed[0].action, claimed[1].action, "{claimed:?}");
}

/// The same when the daemon was killed: what it had under way was sent before the next one began.
#[test]
fn an_order_of_a_killed_daemon_may_still_arrive() {
    let mut bench = Bench::with(with_late());
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    bench.claim("erp", Stream::Orders);
    bench.tick(5);
    let mut bench = bench.crash_with(with_late());
    bench.tick(1);
    let only_looks = Action::FindFirst(until(&bench, LATE - 1));
    assert_eq!(one_order(&mut bench, not_there()), only_looks);
    // Killed once more while it waits: the wait does not begin again.
    bench.tick(10);
    let mut bench = bench.crash_with(with_late());
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    bench.tick(LATE - 11);
    assert_eq!(
        one_order(&mut bench, lost()),
        Action::FindFirst(Earlier::Over)
    );
    bench.tick(5);
    assert_eq!(
        one_order(&mut bench, not_there()),
        Action::FindFirst(until(&bench, LATE - 5)),
        "what was sent now may be late again"
    );
}

/// A daemon is killed while it tells 17; the next one tells 20, and then the shop works the 17 off. So 20 is told
/// once more when nothing can come any more.
#[test]
fn a_number_that_a_killed_daemon_had_under_way_is_told_twice() {
    for killed_again in [false, true] {
        let mut bench = Bench::with(with_late());
        bench.accept("erp", Stream::Stock, vec![level("A", 4), level("B", 4)]);
        assert_eq!(told(&mut bench, "A"), "4/4");
        bench.accept("erp", Stream::Stock, vec![level("A", 17)]);
        assert_eq!(bench.claim("south", Stream::Stock).len(), 1, "under way");
        let mut bench = bench.crash_with(with_late());
        bench.accept("erp", Stream::Stock, vec![level("A", 20)]);
        bench.tick(1);
        assert_eq!(told(&mut bench, "A"), "20/20");
        bench.tick(LATE - 2);
        assert!(bench.claim("south", Stream::Stock).is_empty());
        if killed_again {
            bench = bench.crash_with(with_late());
            assert!(
                bench.claim("south", Stream::Stock).is_empty(),
                "it stands there"
            );
            bench.tick(1);
            assert_eq!(bench.deliver("south", Stream::Stock).len(), 1);
            bench.tick(LATE - 2);
            assert!(bench.claim("south", Stream::Stock).is_empty());
        }
        bench.tick(1);
        let again = bench.deliver("south", Stream::Stock);
        assert_eq!(again.len(), 1, "only what was under way, or may have been");
        bench.deliver("north", Stream::Stock);
        bench.tick(3 * LATE);
        assert!(
            bench.claim("south", Stream::Stock).is_empty(),
            "and that is all"
        );
        assert!(bench.engine.status().unwrap().differences.is_empty());
    }
}

/// A daemon that is killed each second is not busy with what it told before: each number is told once more in each
/// time that something may be late for, not in each of its lives. What changes goes at once all the same.
#[test]
fn one_that_is_killed_each_second_does_not_tell_everything_each_time() {
    let mut bench = Bench::with(with_late());
    let both = |number| vec![level("A", number), level("B", number)];
    bench.accept("erp", Stream::Stock, both(17));
    assert_eq!(bench.claim("south", Stream::Stock).len(), 2, "under way");
    let mut times = 0;
    for life in 0..3 * LATE {
        bench = bench.crash_with(with_late());
        if life == 10 {
            bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
            assert_eq!(told(&mut bench, "A"), "9/9", "less goes at once");
        }
        times += bench.deliver("south", Stream::Stock).len();
        bench.tick(1);
    }
    assert_eq!(times, 3 * 2, "and the nine");
    bench.tick(2 * LATE);
    assert_eq!(bench.deliver("south", Stream::Stock).len(), 2);
    bench.deliver("north", Stream::Stock);
    bench.tick(3 * LATE);
    assert!(bench.engine.status().unwrap().differences.is_empty());
}

/// What changes meanwhile goes at once, and is itself told once more.
#[test]
fn a_new_number_does_not_wait_for_what_is_late() {
    let mut bench = Bench::with(with_late());
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    bench.claim("south", Stream::Stock);
    let mut bench = bench.crash_with(with_late());
    assert_eq!(told(&mut bench, "A"), "4/4");
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    assert_eq!(told(&mut bench, "A"), "3/3");
    bench.tick(LATE);
    assert_eq!(bench.deliver("south", Stream::Stock).len(), 1);
    assert!(bench.claim("south", Stream::Stock).is_empty());
}

/// The same inside one life: the reply did not come in time, and another number was told since.
#[test]
fn a_number_of_which_nobody_knows_is_told_over_once_more() {
    for crash in [false, true] {
        let mut bench = Bench::with(with_late());
        bench.accept("erp", Stream::Stock, vec![level("A", 17)]);
        let claimed = bench.claim("south", Stream::Stock).remove(0);
        bench.settle("south", Stream::Stock, vec![(claimed, lost())]);
        bench.accept("erp", Stream::Stock, vec![level("A", 20)]);
        bench.tick(5);
        assert_eq!(told(&mut bench, "A"), "20/20");
        assert!(bench.claim("south", Stream::Stock).is_empty());
        let mut left = LATE - 5;
        if crash {
            bench = bench.crash_with(with_late());
            left = LATE;
            assert!(bench.claim("south", Stream::Stock).is_empty(), "not before");
        }
        bench.tick(left);
        assert_eq!(bench.deliver("south", Stream::Stock).len(), 1, "{crash}");
        bench.tick(3 * LATE);
        assert!(bench.claim("south", Stream::Stock).is_empty(), "{crash}");
    }
}

/// A daemon that ended in order had nothing under way: nothing is told twice.
#[test]
fn an_orderly_end_leaves_no_doubt() {
    let mut bench = Bench::with(with_late());
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    bench.engine.end().unwrap();
    let mut bench = bench.crash_with(with_late());
    assert_eq!(told(&mut bench, "A"), "4/4");
    bench.tick(3 * LATE);
    assert!(bench.claim("south", Stream::Stock).is_empty());
    // Nor is it one while something of an earlier process may still arrive: somebody only looked in between.
    bench.accept("erp", Stream::Stock, vec![level("B", 4)]);
    assert_eq!(bench.claim("south", Stream::Stock).len(), 1);
    let mut bench = bench.crash_with(with_late());
    bench.engine.end().unwrap();
    let mut bench = bench.crash_with(with_late());
    assert_eq!(told(&mut bench, "B"), "4/4");
    bench.tick(LATE);
    assert_eq!(bench.deliver("south", Stream::Stock).len(), 1);
    bench.deliver("north", Stream::Stock);
    // With something under way it is no orderly end, and the next one must say so anew.
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.claim("south", Stream::Stock);
    bench.engine.end().unwrap();
    let mut bench = bench.crash_with(with_late());
    assert_eq!(told(&mut bench, "A"), "5/5");
    bench.tick(LATE);
    assert_eq!(bench.deliver("south", Stream::Stock).len(), 1);
}

/// An order was being created when the daemon was killed. The next one, so much later, sends it again and is throttled, which
/// did nothing; then it is called off. How it was sent again.
fn killed_throttled_called_off(mut bench: Bench, later: u64) -> (Bench, Action) {
    let lines = [("A", 1)];
    bench.accept("north", Stream::Orders, vec![young("1", &lines, "none")]);
    bench.claim("erp", Stream::Orders);
    let mut bench = bench.crash_with(with_late());
    bench.tick(later);
    let throttled = Fault::new(Class::Throttle, "throttled", "slow down");
    let action = one_order(&mut bench, Outcome::Failed(throttled));
    let called_off = vec![young("1", &lines, "cancelled")];
    bench.accept("north", Stream::Orders, called_off);
    (bench, action)
}

/// Seed 4422: the first try may still be carried out.
#[test]
fn what_is_called_off_while_a_killed_daemon_may_still_create_it_is_looked_for() {
    let bench = Bench::with(with_late());
    bench.tick(3600);
    let (mut bench, _) = killed_throttled_called_off(bench, 0);
    let filtered = bench.counts("north_orders").filtered;
    assert!(filtered.is_empty(), "{filtered:?}");
    bench.tick(LATE);
    let looked = bench.claim("erp", Stream::Orders).remove(0);
    assert_eq!(looked.action, Action::FindFirst(Earlier::Over));
}

/// Seed 97959: it cannot be any more, but of several steps it may have done the first, which nobody finds who looks for an
/// order: it is called off all the same, and not taken for never sent. (The shop's clock is ahead: by its time the
/// order was placed after this daemon began.)
#[test]
fn what_a_killed_daemon_may_have_begun_is_called_off() {
    let (mut bench, action) = killed_throttled_called_off(Bench::with(with_late()), LATE);
    assert_eq!(action, Action::FindFirst(Earlier::Over));
    let filtered = bench.counts("north_orders").filtered;
    assert!(filtered.is_empty(), "{filtered:?}");
}

/// Seed 2842: nobody knows whether 17 was told. Then what was told before is wanted again, and the daemon is killed:
/// it is told all the same.
#[test]
fn what_was_told_before_is_told_again_after_a_lost_reply_and_a_crash() {
    let mut bench = Bench::with(with_late());
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    assert_eq!(told(&mut bench, "A"), "4/4");
    bench.accept("erp", Stream::Stock, vec![level("A", 17)]);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    bench.settle("south", Stream::Stock, vec![(claimed, lost())]);
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    let mut bench = bench.crash_with(with_late());
    bench.tick(LATE);
    let again = bench.claim("south", Stream::Stock);
    assert_eq!(again.len(), 1);
}

/// Seed 38846: the reply of a change of an item is lost, it is made again, and then changed once more. The first
/// one is carried out after that: so the last one is told once more when nothing can come any more.
#[test]
fn an_item_is_told_once_more_when_an_older_change_may_land_behind_it() {
    let mut rules = catalogue(Mode::Apply);
    let facts = rules.facts.entry("north".into()).or_default();
    facts.late = Duration::from_secs(LATE);
    let mut bench = Bench::with(rules);
    let named = |name: &str| vec![item("A", name, "active")];
    bench.accept("erp", Stream::Items, named("one"));
    bench.deliver("north", Stream::Items);
    bench.accept("erp", Stream::Items, named("two"));
    let claimed = bench.claim("north", Stream::Items).remove(0);
    bench.settle("north", Stream::Items, vec![(claimed, lost())]);
    bench.tick(5);
    bench.accept("erp", Stream::Items, named("three"));
    for name in ["two", "three"] {
        let told = bench.deliver("north", Stream::Items).remove(0);
        assert_eq!(told.delivery.record.to_json()["name"], json!(name));
    }
    assert!(bench.claim("north", Stream::Items).is_empty());
    let delivered = bench.counts("north_items").delivered;
    bench.tick(LATE - 5);
    let again = bench.deliver("north", Stream::Items).remove(0);
    assert_eq!(
        again.delivery.operation,
        crate::connector::Operation::Update
    );
    assert_eq!(again.delivery.record.to_json()["name"], json!("three"));
    assert!(bench.claim("north", Stream::Items).is_empty(), "once");
    assert_eq!(
        bench.counts("north_items").delivered,
        delivered,
        "and not counted twice"
    );
}

/// Nobody knows what became of 17; the next number is taken in at once and confirmed a minute later. The 17 may have
/// been carried out in between, and above it: so that number is told once more.
#[test]
fn a_number_that_is_confirmed_later_is_as_old_as_when_it_was_sent() {
    let mut bench = Bench::with(with_late());
    bench.accept("erp", Stream::Stock, vec![level("A", 17)]);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    bench.settle("south", Stream::Stock, vec![(claimed, lost())]);
    bench.tick(5);
    bench.accept("erp", Stream::Stock, vec![level("A", 20)]);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    let taken_in = Outcome::Submitted {
        token: crate::connector::Token::default(),
        check_after: Duration::from_secs(60),
        in_order: false,
    };
    bench.settle("south", Stream::Stock, vec![(claimed, taken_in)]);
    bench.tick(60);
    let asked = bench.deliver("south", Stream::Stock).remove(0);
    assert!(matches!(asked.action, Action::Check(_)));
    let again = bench.deliver("south", Stream::Stock);
    assert_eq!(again.len(), 1, "17 may stand there");
    bench.tick(3 * LATE);
    assert!(bench.claim("south", Stream::Stock).is_empty());
}

/// Nobody knows what became of 17, and when it is tried again it is refused. What is told instead is told once more,
/// when the first can come no more.
#[test]
fn a_refusal_ends_no_doubt_about_the_try_before() {
    let mut bench = Bench::with(with_late());
    bench.accept("erp", Stream::Stock, vec![level("A", 17)]);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    bench.settle("south", Stream::Stock, vec![(claimed, lost())]);
    bench.tick(5);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    let refused = Outcome::Failed(Fault::reject("too_many", "not more than 16"));
    bench.settle("south", Stream::Stock, vec![(claimed, refused)]);
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 1);
    bench.accept("erp", Stream::Stock, vec![level("A", 12)]);
    assert_eq!(told(&mut bench, "A"), "12/12");
    assert!(bench.claim("south", Stream::Stock).is_empty());
    bench.tick(LATE - 5);
    assert_eq!(bench.deliver("south", Stream::Stock).len(), 1);
}

/// The same of a price, when the guard held another one in between; whether a good one came, or somebody let it go.
#[test]
fn a_held_price_ends_no_doubt_about_the_one_before() {
    for let_go in [false, true] {
        let mut rules = catalogue(Mode::Apply);
        let facts = rules.facts.entry("north".into()).or_default();
        facts.late = Duration::from_secs(LATE);
        let mut bench = Bench::with(rules);
        bench.accept("erp", Stream::Items, vec![]);
        let say = |bench: &mut Bench, amount: &str| {
            bench.tick(1);
            bench.accept("erp", Stream::Prices, vec![price("A", amount)]);
        };
        say(&mut bench, "10");
        bench.deliver("north", Stream::Prices);
        say(&mut bench, "12");
        let claimed = bench.claim("north", Stream::Prices).remove(0);
        bench.settle("north", Stream::Prices, vec![(claimed, lost())]);
        say(&mut bench, "150");
        assert!(bench.claim("north", Stream::Prices).is_empty(), "held");
        if let_go {
            let number = bench.engine.quarantine(0, 9).unwrap()[0].number;
            bench.engine.quarantine_retry(number).unwrap();
        } else {
            say(&mut bench, "13");
        }
        assert_eq!(bench.deliver("north", Stream::Prices).len(), 1);
        assert!(bench.claim("north", Stream::Prices).is_empty());
        bench.tick(LATE);
        let again = bench.deliver("north", Stream::Prices);
        assert_eq!(again.len(), 1, "12 may have landed last: {let_go}");
        bench.tick(LATE);
        assert!(bench.claim("north", Stream::Prices).is_empty(), "once");
    }
}

/// What an item is told once more is what it is: one that was just created is not created again, and one that was taken
/// off sale is not put back on.
#[test]
fn what_is_told_once_more_is_what_was_told() {
    use crate::connector::Operation::{Cancel, Create, Update};
    let mut rules = catalogue(Mode::Apply);
    let facts = rules.facts.entry("north".into()).or_default();
    facts.late = Duration::from_secs(LATE);
    let mut bench = Bench::with(rules);
    let gone = Change::absent("A");
    for (said, first, again) in [
        (item("A", "one", "active"), Create, Update),
        (gone, Cancel, Cancel),
    ] {
        bench.tick(1);
        bench.accept("erp", Stream::Items, vec![said]);
        let claimed = bench.claim("north", Stream::Items).remove(0);
        bench.settle("north", Stream::Items, vec![(claimed, lost())]);
        bench.tick(5);
        let told = bench.deliver("north", Stream::Items).remove(0);
        assert_eq!(told.delivery.operation, first);
        bench.tick(LATE);
        let told = bench.deliver("north", Stream::Items).remove(0);
        assert_eq!(told.delivery.operation, again);
        assert!(bench.claim("north", Stream::Items).is_empty(), "once");
    }
}
