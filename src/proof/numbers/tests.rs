use super::*;

fn number(text: &str) -> Number {
    Number {
        amount: text.parse().unwrap(),
        compare_at: None,
    }
}

fn shows(text: &str) -> Shown {
    Shown::Number(number(text))
}

/// Told as `wanted` and not held back.
fn told(wanted: &str) -> Told {
    Told {
        key: Key::new("0017"),
        place: Place::stock("0017"),
        wanted: number(wanted),
        told: Some((
            number(wanted),
            Some("2026-11-22T08:00:00Z".parse().unwrap()),
        )),
        held: None,
        story: vec!["desired erp said so".to_owned()],
    }
}

fn held(wanted: &str, word: &str) -> Told {
    Told {
        held: Some((word.to_owned(), "why".to_owned())),
        ..told(wanted)
    }
}

fn sells(known: bool) -> Sells {
    Sells { known, until: None }
}

fn check(
    (before, after): (&Told, &Told),
    (first, shown): (&Shown, &Shown),
    sells: Option<Sells>,
    expect: (&str, bool),
) {
    let look = Look {
        first,
        before,
        shown,
        after,
        sells,
    };
    let verdict = judge_number(&look);
    let found = match &verdict {
        Verdict::Same => ("same", true),
        Verdict::Explained(what, _) => (*what, true),
        Verdict::Unexplained(what, _) => (*what, false),
    };
    assert_eq!(found, expect, "{look:?}: {verdict:?}");
}

/// Stories 26 and 62: that a channel took a number is no proof that it shows it.
#[test]
fn what_a_channel_shows_against_what_it_should_be_told() {
    let five = told("5");
    let still = |shown: &Shown, expect| {
        check((&five, &five), (shown, shown), None, expect);
    };
    still(&shows("5"), ("same", true));
    still(&shows("5.00"), ("same", true));
    still(&shows("7"), ("different", false));
    still(&shows("3"), ("different", false));
    still(&Shown::Nothing, ("not_there", false));
    still(&Shown::Refused("twice".into()), ("not_readable", false));
    for word in [
        "observed",
        "paused",
        "guarded",
        "quarantined",
        "waiting",
        "not_listed",
        "not_confirmed",
        "failing",
        "late",
        "pending",
    ] {
        let held = held("5", word);
        check(
            (&held, &held),
            (&shows("7"), &shows("7")),
            None,
            (word, true),
        );
        check(
            (&held, &held),
            (&Shown::Nothing, &Shown::Nothing),
            None,
            (word, true),
        );
        // What is held back and is right all the same is no difference.
        check(
            (&held, &held),
            (&shows("7"), &shows("5")),
            None,
            ("same", true),
        );
    }
}

/// Numbers move while they are read: what is right before or after the second look is right.
#[test]
fn what_moves_between_two_looks_is_no_difference() {
    let (five, four) = (told("5"), told("4"));
    let seven = shows("7");
    check((&five, &four), (&seven, &shows("5")), None, ("same", true));
    check((&five, &four), (&seven, &shows("4")), None, ("same", true));
    check((&five, &four), (&seven, &seven), None, ("moving", true));
    let pending = held("4", "pending");
    check((&five, &pending), (&seven, &seven), None, ("pending", true));
    check((&pending, &four), (&seven, &seven), None, ("pending", true));
    let mut again = told("5");
    again.told = Some((number("5"), Some("2026-11-22T08:00:09Z".parse().unwrap())));
    check((&five, &again), (&seven, &seven), None, ("moving", true));
}

/// A channel that sells takes its own sales off: less than was told is explained for as long as its orders
/// were not read, and no longer.
#[test]
fn a_channel_that_lowers_its_own_number_is_looked_at_with_its_orders() {
    let five = told("5");
    let case = |first: &str, now: &str, sells, expect| {
        check(
            (&five, &five),
            (&shows(first), &shows(now)),
            Some(sells),
            expect,
        );
    };
    case("4", "4", sells(false), ("orders_not_read", true));
    case("4", "4", sells(true), ("different", false));
    case("4", "3", sells(true), ("selling", true));
    // More than was told is no sale.
    case("6", "6", sells(false), ("different", false));
    case("7", "6", sells(true), ("different", false));
    // A channel that keeps its allocations apart lowers nothing.
    let (four, three) = (shows("4"), shows("3"));
    check((&five, &five), (&four, &three), None, ("different", false));
}

#[test]
fn a_price_is_compared_as_far_as_both_tell_it() {
    let price = |amount: &str, before: Option<&str>| Number {
        compare_at: before.map(|it| it.parse().unwrap()),
        ..number(amount)
    };
    let agrees = |one: &Number, other: &Number| one.agrees(other);
    assert!(agrees(
        &price("12.50", Some("15")),
        &price("12.5", Some("15.0"))
    ));
    assert!(agrees(&price("12.50", Some("15")), &price("12.5", None)));
    assert!(!agrees(
        &price("12.50", Some("15")),
        &price("12.5", Some("14"))
    ));
    assert!(!agrees(&price("12.50", None), &price("12.51", None)));
    let place = Place::price("0017", "default", "EUR", "1".parse().unwrap());
    assert_eq!(place.to_string(), "0017 default EUR");
    let ten = Place::price("0017", "trade", "EUR", "10.0".parse().unwrap());
    assert_eq!(ten.to_string(), "0017 trade EUR from 10");
    assert_eq!(
        price("12.50", Some("15")).to_string(),
        "12.5 (instead of 15)"
    );
}

#[test]
fn a_rule_counts_and_tells_the_worst_first() {
    let mut proof = NumbersProof::default();
    proof.add_same(3);
    proof.add(&told("5"), Verdict::Same);
    proof.add(&told("5"), Verdict::Explained("pending", "why".to_owned()));
    assert!(proof.holds());
    let verdict = Verdict::Unexplained("different", "7 there".to_owned());
    proof.add(&told("5"), verdict);
    assert!(!proof.holds());
    assert_eq!((proof.compared, proof.same), (6, 4));
    assert_eq!(
        (proof.explained["pending"], proof.unexplained["different"]),
        (1, 1)
    );
    let first = &proof.differences[0];
    assert_eq!((first.name.as_str(), first.explained), ("0017", false));
    assert!(!first.story.is_empty());
}

/// What cannot be read is counted and is no difference; what could not be asked just now proves nothing.
#[test]
fn not_readable_is_not_a_difference_and_not_proven() {
    let mut proof = NumbersProof {
        not_readable: 7,
        ..NumbersProof::default()
    };
    assert!(proof.holds());
    assert_eq!(proof.compared, 0);
    proof.trouble = Some("away".to_owned());
    assert!(!proof.holds());
}
