//! Prices: which of two counts, who said it, and a stream that was stopped.

use super::*;
use crate::connector::Token;

/// Prices alone: nothing waits for items. `acme` prices what `west` sells.
fn rules_of_prices() -> Rules {
    let mut rules = catalogue(Mode::Apply);
    let west = Route {
        name: "west_prices".into(),
        from: ("acme".into(), Stream::Prices),
        to: ("west".into(), Stream::Prices),
        mode: Mode::Apply,
        start_from: None,
    };
    let routes = rules.router.all().cloned().chain([west]);
    let routes = routes.filter(|route| route.to.1 != Stream::Items);
    rules.router = Router::new(routes.collect::<Vec<_>>());
    rules
}

fn bench() -> Bench {
    Bench::with(rules_of_prices())
}

fn say(bench: &mut Bench, amount: &str) {
    bench.tick(1);
    bench.accept("erp", Stream::Prices, vec![price("A", amount)]);
}

fn taken_in() -> Outcome {
    Outcome::Submitted {
        token: Token::default(),
        check_after: Duration::from_secs(60),
        in_order: false,
    }
}

/// The one claim of a price of `north`: what is done, and with which price.
fn claimed(bench: &mut Bench) -> (Claimed, String) {
    let mut all = bench.claim("north", Stream::Prices);
    assert_eq!(all.len(), 1, "{all:?}");
    let one = all.remove(0);
    let what = match &one.action {
        Action::Send => "send",
        Action::FindFirst(_) => "alone",
        Action::FindOnly => "find",
        Action::Check(_) => "check",
        Action::Watch(_) => "watch",
    };
    let Record::Price(price) = &one.delivery.record else {
        panic!("a price")
    };
    let shown = format!("{what} {}", price.price);
    (one, shown)
}

fn settle(bench: &mut Bench, one: Claimed, outcome: Outcome) {
    bench.settle("north", Stream::Prices, vec![(one, outcome)]);
}

/// A page names a price twice, and says of neither when it changed: the last word counts.
#[test]
fn of_two_prices_in_one_page_the_last_counts() {
    let mut bench = bench();
    let page = vec![price("A", "10"), price("A", "11")];
    let accepted = bench.accept("erp", Stream::Prices, page);
    assert_eq!((accepted.news, accepted.stale), (1, 0));
    assert_eq!(claimed(&mut bench).1, "send 11.00 EUR");
}

/// Each channel's price is explained by what its own source said.
#[test]
fn a_price_is_explained_by_its_own_source() {
    let mut bench = bench();
    say(&mut bench, "10");
    bench.accept("acme", Stream::Prices, vec![price("A", "7")]);
    for (channel, source, said) in [("north", "erp", "10"), ("west", "acme", "7")] {
        let why = bench.engine.explain_price("A".into(), Some(channel.into()));
        let why = why.unwrap().remove(0);
        let said_by: Vec<_> = why.said.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(said_by, [source], "{channel}");
        assert_eq!(why.said[0].1["price"]["amount"], json!(said));
    }
}

/// A price was told, and another one taken in.
fn twelve_taken_in() -> Bench {
    let mut bench = bench();
    say(&mut bench, "10");
    bench.deliver("north", Stream::Prices);
    say(&mut bench, "12");
    let (one, _) = claimed(&mut bench);
    settle(&mut bench, one, taken_in());
    bench
}

/// A price was taken in and is not confirmed; then one comes that is held, and then a good one. That waits for the end
/// of the first, as it would without the one that was held.
#[test]
fn a_held_price_does_not_hide_what_was_taken_in() {
    let mut bench = twelve_taken_in();
    for amount in ["150", "13"] {
        say(&mut bench, amount);
        assert!(bench.claim("north", Stream::Prices).is_empty());
    }
    bench.tick(60);
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "check 12.00 EUR");
    let outcome = there(&one);
    settle(&mut bench, one, outcome);
    assert_eq!(claimed(&mut bench).1, "send 13.00 EUR");
}

/// Who lets a held price go wants it told: it goes past what was taken in before, alone, and that is watched.
#[test]
fn a_price_that_was_let_go_waits_for_no_feed() {
    let mut bench = twelve_taken_in();
    say(&mut bench, "150");
    let desk = bench.engine.quarantine(0, 9).unwrap().into_iter();
    let mut north = desk.filter(|row| row.row.connection == "north".into());
    let number = north.next().unwrap().number;
    bench.engine.quarantine_retry(number).unwrap();
    let (one, shown) = claimed(&mut bench);
    assert_eq!(shown, "alone 150.00 EUR");
    let outcome = there(&one);
    settle(&mut bench, one, outcome);
    bench.tick(60);
    assert_eq!(claimed(&mut bench).1, "watch 12.00 EUR");
}

/// A feed with 12 that never ended was gone past: 12 stands there, told alone, and the feed is watched.
fn watching() -> Bench {
    let mut bench = bench();
    say(&mut bench, "10");
    bench.deliver("north", Stream::Prices);
    say(&mut bench, "12");
    for _ in 0..100 {
        if let Some(one) = bench.claim("north", Stream::Prices).pop() {
            if matches!(one.action, Action::FindFirst(_)) {
                let outcome = there(&one);
                settle(&mut bench, one, outcome);
                return bench;
            }
            settle(&mut bench, one, taken_in());
        }
        bench.tick(60);
    }
    panic!("it waits for ever")
}

/// A price is held while a feed is watched, and then a good one comes or somebody lets it go. The feed is watched on:
/// it may still put its old price there.
#[test]
fn a_held_price_does_not_end_a_watch() {
    for let_go in [false, true] {
        let mut bench = watching();
        say(&mut bench, "150");
        assert!(bench.claim("north", Stream::Prices).is_empty(), "held");
        if let_go {
            let desk = bench.engine.quarantine(0, 9).unwrap().into_iter();
            let mut north = desk.filter(|row| row.row.connection == "north".into());
            let number = north.next().unwrap().number;
            bench.engine.quarantine_retry(number).unwrap();
        } else {
            say(&mut bench, "13");
        }
        let (one, shown) = claimed(&mut bench);
        let price = if let_go { "150.00" } else { "13.00" };
        assert_eq!(shown, format!("alone {price} EUR"));
        let outcome = there(&one);
        settle(&mut bench, one, outcome);
        bench.tick(60);
        let (one, shown) = claimed(&mut bench);
        assert_eq!(shown, "watch 12.00 EUR");
        let outcome = there(&one);
        settle(&mut bench, one, outcome);
        let again = claimed(&mut bench).1;
        assert!(again.ends_with(&format!(" {price} EUR")), "{again}");
    }
}

/// Prices under these names.
fn list(names: &[String], amount: &str) -> Vec<Change> {
    names.iter().map(|name| price(name, amount)).collect()
}

/// Settles all that is due for `north`, some hundreds at a time.
fn settle_all(bench: &mut Bench, claimed: &[Claimed], outcome: impl Fn(&Claimed) -> Outcome) {
    for some in claimed.chunks(500) {
        let results = some.iter().map(|one| (one.clone(), outcome(one)));
        bench.settle("north", Stream::Prices, results.collect());
    }
}

fn claim_all(bench: &mut Bench) -> Vec<Claimed> {
    let claimed = bench.engine.claim("north".into(), Stream::Prices, 9999);
    claimed.unwrap()
}

/// More prices than are looked at at a time are only to be said again; behind them stand those for which the stream was
/// stopped. It stays stopped.
#[test]
fn a_stop_is_not_over_because_much_else_is_to_be_said_again() {
    let mut bench = bench();
    let same: Vec<String> = (0..2001).map(|n| format!("S{n:04}")).collect();
    let jumping: Vec<String> = (0..300).map(|n| format!("T{n:03}")).collect();
    for names in [&same, &jumping] {
        bench.accept("erp", Stream::Prices, list(names, "10"));
    }
    let first = claim_all(&mut bench);
    settle_all(&mut bench, &first, there);
    bench.tick(1);
    bench.accept("erp", Stream::Prices, list(&same, "11"));
    let sent = claim_all(&mut bench);
    assert_eq!(sent.len(), 2001);
    bench.tick(1);
    bench.accept("erp", Stream::Prices, list(&same, "10"));
    let lost = Fault::retry("http_timeout", "no reply").after_sending();
    settle_all(&mut bench, &sent, |_| Outcome::Failed(lost.clone()));
    bench.tick(60);
    bench.accept("erp", Stream::Prices, list(&jumping, "1000"));
    let is_stopped = |bench: &mut Bench| {
        let rows = bench.engine.quarantine(0, 999).unwrap().into_iter();
        let mut rows = rows.filter(|row| row.row.connection == "north".into());
        rows.any(|row| row.row.fault.code == "too_many_jumps")
    };
    assert!(is_stopped(&mut bench));
    let again = claim_all(&mut bench);
    assert!(is_stopped(&mut bench));
    assert_eq!(again.len(), 2001, "what was told before may be said again");
}
