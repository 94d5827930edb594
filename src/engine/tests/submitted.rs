//! Numbers that a channel takes in and confirms later, or never.

use super::*;
use crate::connector::Token;
use crate::fault::Fault;
use crate::record::Quantity;

fn token(feed: &str) -> Token {
    Token {
        submission: json!(feed),
        told: json!(1),
    }
}

fn taken_in(feed: &str, in_order: bool) -> Outcome {
    Outcome::Submitted {
        token: token(feed),
        check_after: Duration::from_secs(60),
        in_order,
    }
}

/// The number that a claim is about.
fn number(claimed: &Claimed) -> Quantity {
    let Record::Stock(level) = &claimed.delivery.record else {
        panic!("a number")
    };
    *level.on_hand.value().unwrap()
}

/// The one claim for `north`'s stock: what is done, and with which number.
fn claimed(bench: &mut Bench) -> (Claimed, String) {
    let mut all = bench.claim("north", Stream::Stock);
    assert_eq!(all.len(), 1, "{all:?}");
    let one = all.remove(0);
    let shown = match &one.action {
        Action::Send => "send".to_owned(),
        Action::FindFirst(_) => "alone".to_owned(),
        Action::Check(token) => format!("check {}", token.submission),
        Action::Watch(token) => format!("watch {}", token.submission),
        Action::FindOnly => "find".to_owned(),
    };
    let shown = format!("{shown} {}", number(&one).0);
    (one, shown)
}

fn settle(bench: &mut Bench, one: Claimed, outcome: Outcome) {
    bench.settle("north", Stream::Stock, vec![(one, outcome)]);
}

fn done() -> Outcome {
    Outcome::Delivered(Confirmation::default())
}

/// So many are there, and `north` was told.
fn with(on_hand: i64) -> Bench {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", on_hand)]);
    bench.deliver("north", Stream::Stock);
    bench
}

fn now_there(bench: &mut Bench, on_hand: i64) {
    bench.tick(1);
    bench.accept("erp", Stream::Stock, vec![level("A", on_hand)]);
}

fn nothing(bench: &mut Bench) {
    let claimed = bench.claim("north", Stream::Stock);
    assert!(claimed.is_empty(), "{claimed:?}");
}

#[test]
fn a_submission_is_asked_after_until_it_has_ended() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "send 8");
    settle(&mut bench, one, taken_in("f1", false));
    nothing(&mut bench);
    bench.tick(60);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "check \"f1\" 8");
    settle(&mut bench, one, taken_in("f1", false));
    nothing(&mut bench);
    bench.tick(60);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, done());
    bench.tick(100_000);
    nothing(&mut bench);
}

/// The token is durable before it counts: after a kill the feed is asked after, and not sent again.
#[test]
fn a_submission_survives_a_kill() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("f1", false));
    let mut bench = bench.crash();
    nothing(&mut bench);
    bench.tick(60);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "check \"f1\" 8");
    settle(&mut bench, one, done());
    let mut bench = bench.crash();
    bench.tick(100_000);
    nothing(&mut bench);
}

/// A kill between the submission and its commit: the same number is told once more, which is harmless.
#[test]
fn a_token_that_was_lost_means_the_number_is_told_again() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    claimed(&mut bench);
    let mut bench = bench.crash();
    assert_eq!(claimed(&mut bench).1, "send 8");
}

/// Back at what was told before the submission: nobody may believe that it still stands there.
#[test]
fn a_number_that_is_wanted_back_is_told_after_the_submission() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("f1", false));
    now_there(&mut bench, 9);
    bench.tick(60);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "check \"f1\" 8", "more waits for the end");
    settle(&mut bench, one, done());
    assert_eq!(claimed(&mut bench).1, "send 9");
}

/// Stories 30 and 31: one feed is stuck for 60 hours, and less stock must not wait behind it. When the feed
/// ends after all, it has put the old number back.
#[test]
fn less_stock_goes_past_a_feed_that_hangs() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("f1", false));
    now_there(&mut bench, 2);
    nothing(&mut bench);
    let mut past = String::new();
    for _ in 0..20 {
        bench.tick(60);
        let (one, shown) = claimed(&mut bench);
        if shown.starts_with("check") {
            settle(&mut bench, one, taken_in("f1", false));
            continue;
        }
        past = shown;
        settle(&mut bench, one, done());
        break;
    }
    assert_eq!(past, "alone 2", "told alone, so not in another feed");
    // It is watched, also after a crash, and while it hangs nothing is told.
    let mut bench = bench.crash();
    for _ in 0..3 {
        bench.tick(3600);
        let (one, shown) = claimed(&mut bench);
        assert_eq!(shown, "watch \"f1\" 8");
        settle(&mut bench, one, taken_in("f1", false));
        nothing(&mut bench);
    }
    bench.tick(3600);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, done());
    let (one, shown) = claimed(&mut bench);
    assert!(
        shown.ends_with(" 2"),
        "the late feed may have told 8: {shown}"
    );
    settle(&mut bench, one, done());
    bench.tick(100_000);
    nothing(&mut bench);
}

/// Story 31: what is not less waits longer, and not for ever.
#[test]
fn a_feed_that_never_ends_counts_as_failed() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("f1", false));
    for minutes in 1..200 {
        bench.tick(60);
        let all = bench.claim("north", Stream::Stock);
        let Some(one) = all.into_iter().next() else {
            continue;
        };
        if matches!(one.action, Action::Check(_)) {
            settle(&mut bench, one, taken_in("f1", false));
            continue;
        }
        assert_eq!(one.action, Action::FindFirst(Earlier::Over), "another way");
        assert!((55..75).contains(&minutes), "after {minutes} minutes");
        settle(&mut bench, one, done());
        return;
    }
    panic!("it waits for ever");
}

/// A write that is looked at later, where the other side keeps the order: nothing waits for the look.
#[test]
fn a_newer_number_need_not_wait_where_the_order_is_kept() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("p1", true));
    now_there(&mut bench, 2);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "send 2");
    settle(&mut bench, one, taken_in("p2", true));
    nothing(&mut bench);
    bench.tick(60);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "check \"p2\" 2");
    settle(&mut bench, one, done());
    bench.tick(100_000);
    nothing(&mut bench);
}

/// Story 32: taken in, and not applied. Less stock is told again soon, and at last a person must look.
#[test]
fn what_never_shows_is_told_again_and_then_held() {
    let mut bench = with(5);
    now_there(&mut bench, 2);
    let mut sent = 0;
    for _ in 0..3000 {
        for one in bench.claim("north", Stream::Stock) {
            sent += u32::from(one.action.token().is_none());
            settle(&mut bench, one, taken_in("p", true));
        }
        bench.tick(60);
    }
    assert!(sent > 20, "told {sent} times in two days");
    let held = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].row.fault.code, "not_applied");
}

#[test]
fn a_refusal_is_a_refusal_and_an_unanswered_question_is_none() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("f1", false));
    bench.tick(60);
    let (one, _) = claimed(&mut bench);
    let fault = Fault::retry("connect", "nobody answers");
    settle(&mut bench, one, Outcome::Failed(fault));
    bench.tick(60);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "check \"f1\" 8", "asked again, not sent again");
    let fault = Fault::reject("listing_refused", "not allowed");
    settle(&mut bench, one, Outcome::Failed(fault));
    bench.tick(100_000);
    nothing(&mut bench);
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 1);
    now_there(&mut bench, 9);
    assert_eq!(claimed(&mut bench).1, "send 9");
}

/// The channel sells by itself while it has a number in hand: the number is told again, and the end of the
/// first says nothing any more. Whether the order is read before or after the number was taken in.
#[test]
fn an_order_of_the_channel_itself_ends_the_trust_in_a_submission() {
    for in_flight in [false, true] {
        let mut rules = rules(Mode::Apply);
        let free = Facts {
            stock_basis: StockBasis::Free,
            ..Facts::default()
        };
        rules.facts.insert("north".into(), free);
        let mut bench = Bench::with(rules);
        bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
        let (one, shown) = claimed(&mut bench);
        assert_eq!(shown, "send 5");
        if !in_flight {
            settle(&mut bench, one.clone(), taken_in("p1", true));
        }
        bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
        now_there(&mut bench, 6);
        if in_flight {
            settle(&mut bench, one, taken_in("p1", true));
        }
        let (one, shown) = claimed(&mut bench);
        assert_eq!(shown, "send 5", "in flight: {in_flight}");
        settle(&mut bench, one, taken_in("p2", true));
        bench.tick(60);
        let (one, shown) = claimed(&mut bench);
        assert_eq!(shown, "check \"p2\" 5");
        settle(&mut bench, one, done());
        nothing(&mut bench);
    }
}

/// A feed with 8 was gone past with 2, which stands there; the feed is watched.
fn watching() -> Bench {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("f1", false));
    now_there(&mut bench, 2);
    for _ in 0..20 {
        bench.tick(60);
        let (one, shown) = claimed(&mut bench);
        if shown.starts_with("check") {
            settle(&mut bench, one, taken_in("f1", false));
        } else {
            settle(&mut bench, one, done());
            return bench;
        }
    }
    panic!("nothing goes past")
}

/// What hangs for a week is taken for ended: the number is told once more, and that is all.
#[test]
fn a_feed_is_not_watched_for_ever() {
    let mut bench = watching();
    let mut hours = 0;
    loop {
        bench.tick(3600);
        hours += 1;
        assert!(hours < 200, "it is watched for ever");
        let (one, shown) = claimed(&mut bench);
        if shown.starts_with("watch") {
            settle(&mut bench, one, taken_in("f1", false));
            continue;
        }
        assert!(shown.ends_with(" 2"), "{shown}");
        settle(&mut bench, one, done());
        break;
    }
    assert!((160..175).contains(&hours), "{hours}");
    bench.tick(100_000);
    nothing(&mut bench);
}

/// A question that was not answered says nothing of what is watched; a refusal ends it.
#[test]
fn a_watched_feed_ends_with_an_answer() {
    let mut bench = watching();
    bench.tick(3600);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "watch \"f1\" 8");
    let unanswered = Outcome::Failed(Fault::retry("connect", "nobody answers"));
    settle(&mut bench, one, unanswered);
    nothing(&mut bench);
    bench.tick(300);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "watch \"f1\" 8");
    let refused = Outcome::Failed(Fault::reject("fatal", "the feed was cancelled"));
    settle(&mut bench, one, refused);
    let (one, shown) = claimed(&mut bench);
    assert!(shown.ends_with(" 2"), "{shown}");
    settle(&mut bench, one, done());
    bench.tick(100_000);
    nothing(&mut bench);
}

/// More stock, or the same, waits for a submission: only less may go past it, and not at once.
#[test]
fn more_stock_waits_for_what_was_taken_in() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("f1", false));
    now_there(&mut bench, 9);
    for minute in 0..30 {
        bench.tick(60);
        let (one, shown) = claimed(&mut bench);
        assert_eq!(shown, "check \"f1\" 8", "minute {minute}");
        settle(&mut bench, one, taken_in("f1", false));
    }
    now_there(&mut bench, 2);
    bench.tick(60);
    let (_, shown) = claimed(&mut bench);
    assert_eq!(shown, "alone 2", "it was patient enough");
}

/// Less stock is in a hurry, and gives the feed before it some minutes all the same.
#[test]
fn less_stock_is_patient_for_some_minutes() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in("f1", false));
    now_there(&mut bench, 2);
    for minute in 1..10 {
        bench.tick(60);
        let (one, shown) = claimed(&mut bench);
        assert_eq!(shown, "check \"f1\" 8", "minute {minute}");
        settle(&mut bench, one, taken_in("f1", false));
    }
    bench.tick(60);
    assert_eq!(claimed(&mut bench).1, "alone 2");
}

/// A feed that is asked after rarely does not hold up less stock for longer than any other, also after a crash.
#[test]
fn less_stock_goes_past_a_feed_after_a_crash_too() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    let rarely = Outcome::Submitted {
        token: token("f1"),
        check_after: Duration::from_secs(3600),
        in_order: false,
    };
    settle(&mut bench, one, rarely);
    now_there(&mut bench, 2);
    let mut bench = bench.crash();
    nothing(&mut bench);
    bench.tick(600);
    assert_eq!(claimed(&mut bench).1, "alone 2");
}

/// A number that could not be told waits for the next try. Another one does not, also after a crash.
#[test]
fn another_number_need_not_wait_for_a_try_after_a_crash() {
    let mut bench = with(5);
    now_there(&mut bench, 8);
    let (one, _) = claimed(&mut bench);
    let later = Fault::retry("http_503", "busy").wait(Some(Duration::from_secs(3600)));
    settle(&mut bench, one, Outcome::Failed(later));
    nothing(&mut bench);
    now_there(&mut bench, 2);
    let mut bench = bench.crash();
    assert_eq!(claimed(&mut bench).1, "send 2");
}
