use super::*;
use crate::record::Currency;

fn euros(text: &str) -> Money {
    Money::new(text.parse().unwrap(), "EUR".parse::<Currency>().unwrap())
}

fn seen(called_off: bool) -> Seen {
    Seen {
        id: "17".into(),
        total: Some(euros("11.90")),
        called_off,
    }
}

fn account(state: State) -> Account {
    Account {
        reference: "north:17".into(),
        name: "N-17".into(),
        total: Some(euros("11.90")),
        state,
        called_off: false,
        story: vec!["queued".into()],
    }
}

fn standing(id: &str) -> Standing {
    Standing {
        reference: "north:17".into(),
        remote_id: id.into(),
        number: None,
        total: Some(euros("11.90")),
        called_off: false,
        done: true,
        quantity: None,
        list: None,
        min_qty: None,
        compare_at: None,
        tracking: Vec::new(),
    }
}

fn word(verdict: &Verdict) -> (&'static str, bool) {
    match verdict {
        Verdict::Same => ("same", true),
        Verdict::Explained(what, _) => (what, true),
        Verdict::Unexplained(what, _) => (what, false),
    }
}

fn check(state: &State, standings: Option<&[Standing]>, expect: (&str, bool)) {
    let there: Option<Vec<&Standing>> = standings.map(|all| all.iter().collect());
    let verdict = judge(&seen(false), &account(state.clone()), there.as_deref());
    assert_eq!(
        word(&verdict),
        expect,
        "{state:?} {standings:?}: {verdict:?}"
    );
}

/// Stories 7, 8 and 62: what a stream's own success says is no proof; both sides are asked.
#[test]
fn each_state_against_what_stands_there() {
    let one = [standing("S1")];
    let delivered = || State::Delivered("S1".into());
    check(&delivered(), Some(&one), ("same", true));
    check(&delivered(), None, ("same", true));
    check(&delivered(), Some(&[]), ("missing", false));
    check(&delivered(), Some(&[standing("S2")]), ("another", false));
    check(&State::Unseen, Some(&[]), ("missing", false));
    check(&State::Unseen, Some(&one), ("forgotten", false));
    check(&State::Unread, Some(&[]), ("not_read_yet", true));
    check(
        &State::Waiting("due".into()),
        Some(&[]),
        ("on_its_way", true),
    );
    check(
        &State::Waiting("due".into()),
        Some(&one),
        ("on_its_way", true),
    );
    check(
        &State::Quarantined("4".into()),
        Some(&[]),
        ("quarantined", true),
    );
    check(
        &State::Filtered("old".into()),
        Some(&[]),
        ("filtered", true),
    );
    check(
        &State::Filtered("old".into()),
        Some(&one),
        ("unexpected", false),
    );
    check(&State::Observed, Some(&[]), ("observed", true));
    check(&State::Observed, Some(&one), ("unexpected", false));
    check(
        &State::Dismissed("x".into()),
        Some(&[]),
        ("dismissed", true),
    );
    check(&State::Unknown, Some(&[]), ("unknown", false));
}

/// Stories 19 to 22: twice is told, whatever we believe; a second one that was called off is none.
#[test]
fn twice_is_told_in_every_state() {
    let two = [standing("S1"), standing("S2")];
    for state in [
        State::Delivered("S1".into()),
        State::Waiting(String::new()),
        State::Unseen,
        State::Filtered("x".into()),
        State::Quarantined(String::new()),
    ] {
        check(&state, Some(&two), ("doubled", false));
    }
    let mut second = standing("S2");
    second.called_off = true;
    check(
        &State::Delivered("S1".into()),
        Some(&[standing("S1"), second]),
        ("same", true),
    );
}

#[test]
fn called_off_on_one_side_or_both() {
    let cases = [
        // at the source, known to us, there
        (true, true, true, ("same", true)),
        (true, false, true, ("same", true)),
        (true, true, false, ("not_called_off", false)),
        (true, false, false, ("not_read_yet", true)),
        (false, false, true, ("called_off_there", true)),
        (false, false, false, ("same", true)),
    ];
    for (at_source, known, there, expect) in cases {
        let mut account = account(State::Delivered("S1".into()));
        account.called_off = known;
        let mut standing = standing("S1");
        standing.called_off = there;
        let verdict = judge(&seen(at_source), &account, Some(&[&standing]));
        assert_eq!(word(&verdict), expect, "{at_source} {known} {there}");
    }
}

/// Stories 57 to 59: a cent, or a currency.
#[test]
fn another_amount_is_told() {
    let account = account(State::Delivered("S1".into()));
    let mut other = standing("S1");
    other.total = Some(euros("11.91"));
    let verdict = judge(&seen(false), &account, Some(&[&other]));
    assert_eq!(word(&verdict), ("amount", false));
    other.total = Some(Money::new(
        "11.90".parse().unwrap(),
        "USD".parse::<Currency>().unwrap(),
    ));
    let verdict = judge(&seen(false), &account, Some(&[&other]));
    assert_eq!(word(&verdict), ("amount", false));
    other.total = None;
    let verdict = judge(&seen(false), &account, Some(&[&other]));
    assert_eq!(
        word(&verdict),
        ("same", true),
        "what is not told is not compared"
    );
}

#[test]
fn a_route_counts_and_tells_the_worst_first() {
    let mut route = RouteProof::default();
    let one = standing("S1");
    route.add(
        &seen(false),
        &account(State::Delivered("S1".into())),
        Some(&[&one]),
    );
    assert!(route.holds());
    for _ in 0..MOST_TOLD {
        route.add(
            &seen(false),
            &account(State::Filtered("old".into())),
            Some(&[]),
        );
    }
    assert!(route.holds());
    route.add(&seen(false), &account(State::Unseen), Some(&[]));
    assert!(!route.holds());
    assert_eq!(route.differences.len(), MOST_TOLD);
    assert_eq!(route.differences[0].what, "missing");
    assert_eq!(route.explained["filtered"], MOST_TOLD);
    assert_eq!((route.source.count, route.same), (MOST_TOLD + 2, 1));
    let sink = route.sink.unwrap();
    assert_eq!(sink.count, 1);
    assert_eq!(sink.sums["EUR"], "11.90".parse().unwrap());
}
