//! A channel that moves its number by itself: what it was told stands there no more.

use super::*;
use crate::connector::Token;

/// `north` counts what it still sells.
fn counting(mode: Mode) -> Rules {
    let mut rules = rules(Mode::Apply);
    rules.facts.entry("north".into()).or_default().stock_basis = StockBasis::Free;
    rules.publishes[0].mode = mode;
    rules
}

/// `north` was told of five pieces.
fn told_five() -> Bench {
    let mut bench = Bench::with(counting(Mode::Apply));
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(bench.deliver("north", Stream::Stock).len(), 1);
    bench
}

/// An order of `north` that was called off before anybody saw it: its number moved twice, and what is wanted there is
/// the same as before.
fn moved(bench: &mut Bench) {
    let unseen = young("1", &[("A", 1)], "cancelled");
    bench.accept("north", Stream::Orders, vec![unseen]);
}

/// Whoever only observes a channel tells it nothing, whatever it does to its own number.
#[test]
fn a_channel_that_is_observed_is_told_nothing() {
    let mut bench = told_five();
    let observing = Arc::new(counting(Mode::Observe));
    bench.engine.reload(observing).unwrap();
    moved(&mut bench);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    let status = bench.engine.status().unwrap();
    assert!(!status.routes["publish_north"].applies);
    assert!(status.differences.iter().any(|row| row.sink == "north"));
    let applying = Arc::new(counting(Mode::Apply));
    bench.engine.reload(applying).unwrap();
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// A number that was refused stands on the desk until somebody decides, whatever the channel does to its own number.
#[test]
fn a_number_on_the_desk_stays_there() {
    let mut bench = told_five();
    bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
    let claimed = bench.claim("north", Stream::Stock).remove(0);
    let refused = Outcome::Failed(Fault::reject("too_many", "not more than five"));
    bench.settle("north", Stream::Stock, vec![(claimed, refused)]);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    moved(&mut bench);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    bench.engine.quarantine_retry(desk[0].number).unwrap();
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// Story 33: the channel moved its number while it was being written, before or behind what was sent: what stands there
/// nobody knows, also where the very same is wanted.
#[test]
fn a_number_that_moved_while_it_was_written_is_told_again() {
    let mut bench = told_five();
    bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
    let sent = bench.claim("north", Stream::Stock);
    moved(&mut bench);
    let results = sent.iter().map(|one| (one.clone(), there(one))).collect();
    bench.settle("north", Stream::Stock, results);
    let again = bench.claim("north", Stream::Stock);
    assert_eq!(again.len(), 1, "it may offer 6 or 7");
    let results = again.iter().map(|one| (one.clone(), there(one))).collect();
    bench.settle("north", Stream::Stock, results);
    assert!(bench.claim("north", Stream::Stock).is_empty());
}

/// A feed that hangs was gone past, and is asked after now and then. A number that moved does not wait for that, also
/// not after a crash.
#[test]
fn a_number_that_moved_does_not_wait_for_what_is_watched() {
    let feed = || Outcome::Submitted {
        token: Token::default(),
        check_after: Duration::from_secs(1800),
        in_order: false,
    };
    for crash in [false, true] {
        let mut bench = told_five();
        bench.accept("erp", Stream::Stock, vec![level("A", 8)]);
        let claimed = bench.claim("north", Stream::Stock).remove(0);
        bench.settle("north", Stream::Stock, vec![(claimed, feed())]);
        bench.tick(1);
        bench.accept("erp", Stream::Stock, vec![level("A", 2)]);
        bench.tick(1000);
        assert_eq!(bench.deliver("north", Stream::Stock).len(), 1, "gone past");
        assert!(bench.claim("north", Stream::Stock).is_empty());
        moved(&mut bench);
        if crash {
            bench = bench.crash_with(counting(Mode::Apply));
        }
        assert_eq!(bench.claim("north", Stream::Stock).len(), 1, "{crash}");
    }
}

/// A number that could not be told waits for the next try, whatever the channel does to it.
#[test]
fn a_number_that_moved_waits_while_its_channel_is_busy() {
    let mut bench = told_five();
    bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
    let claimed = bench.claim("north", Stream::Stock).remove(0);
    let busy = Fault::retry("http_503", "busy").wait(Some(Duration::from_secs(60)));
    bench.settle(
        "north",
        Stream::Stock,
        vec![(claimed, Outcome::Failed(busy))],
    );
    moved(&mut bench);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    bench.tick(60);
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// Nobody knows what became of 3. The channel moved its number while the next one, 0, was taken in, so that 0 is told at
/// once anew; the 3 may still land behind it, and 0 is told over once more when it can come no more.
#[test]
fn a_number_that_moved_ends_no_doubt_about_one_that_is_late() {
    let counting_late = || {
        let mut rules = counting(Mode::Apply);
        let facts = rules.facts.entry("north".into()).or_default();
        facts.late = Duration::from_secs(30);
        rules
    };
    for crash in [false, true] {
        let mut bench = Bench::with(counting_late());
        bench.tick(3600);
        bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
        let claimed = bench.claim("north", Stream::Stock).remove(0);
        let lost = Fault::retry("http_timeout", "no reply").after_sending();
        let lost = Outcome::Failed(lost);
        bench.settle("north", Stream::Stock, vec![(claimed, lost)]);
        bench.tick(1);
        bench.accept("erp", Stream::Stock, vec![level("A", 0)]);
        let claimed = bench.claim("north", Stream::Stock).remove(0);
        moved(&mut bench);
        let taken_in = Outcome::Submitted {
            token: Token::default(),
            check_after: Duration::from_secs(5),
            in_order: true,
        };
        bench.settle("north", Stream::Stock, vec![(claimed, taken_in)]);
        assert_eq!(bench.deliver("north", Stream::Stock).len(), 1, "anew");
        assert!(bench.claim("north", Stream::Stock).is_empty());
        let mut left = 29;
        if crash {
            bench = bench.crash_with(counting_late());
            left = 30;
        }
        bench.tick(left);
        assert_eq!(bench.deliver("north", Stream::Stock).len(), 1, "{crash}");
        bench.tick(90);
        assert!(bench.claim("north", Stream::Stock).is_empty(), "{crash}");
    }
}
