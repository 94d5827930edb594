use super::*;

fn seen() -> Seen {
    Seen {
        id: "81".into(),
        total: None,
        called_off: false,
    }
}

fn parcels(state: State, tracking: &[&str]) -> Parcels {
    Parcels {
        account: Account {
            reference: "north:17".to_owned(),
            name: "OUT-81".to_owned(),
            total: None,
            state,
            called_off: false,
            story: vec!["queued".to_owned()],
        },
        elsewhere: None,
        order: Some("17".into()),
        tracking: tracking.iter().map(|it| (*it).to_owned()).collect(),
    }
}

fn there(tracking: &[&str]) -> Shows {
    Shows::Tracking(tracking.iter().map(|it| (*it).to_owned()).collect())
}

fn check(parcels: &Parcels, shows: &Shows, expect: (&str, bool)) {
    let verdict = judge_parcels(&seen(), parcels, shows);
    let found = match &verdict {
        Verdict::Same => ("same", true),
        Verdict::Explained(what, _) => (*what, true),
        Verdict::Unexplained(what, _) => (*what, false),
    };
    assert_eq!(found, expect, "{parcels:?} {shows:?}: {verdict:?}");
}

/// Stories 7, 8 and 62: that the channel took the parcel is no proof that the buyer can follow it.
#[test]
fn tracking_that_was_confirmed_must_be_shown() {
    let told = parcels(State::Delivered("F1".into()), &["AB1", "AB2"]);
    check(&told, &there(&["AB1", "AB2"]), ("same", true));
    check(&told, &there(&["AB2", " AB1 ", "AB0"]), ("same", true));
    check(&told, &there(&["AB1"]), ("tracking", false));
    check(&told, &there(&[]), ("tracking", false));
    check(&told, &Shows::Nothing, ("missing", false));
    check(
        &told,
        &Shows::Refused("404".into()),
        ("not_readable", false),
    );
    // Where the channel cannot be asked, what it confirmed is all there is.
    check(&told, &Shows::NotAsked, ("same", true));
    let verdict = judge_parcels(&seen(), &told, &there(&["AB1"]));
    let Verdict::Unexplained(_, why) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(why.contains("order 17") && why.contains("AB2"), "{why}");
}

#[test]
fn what_was_not_told_has_a_reason_or_not() {
    let nothing = there(&[]);
    let cases = [
        (
            State::Waiting("waits for its order".into()),
            ("on_its_way", true),
        ),
        (State::Quarantined("4".into()), ("quarantined", true)),
        (State::Filtered("pickup".into()), ("filtered", true)),
        (State::Observed, ("observed", true)),
        (State::Unread, ("not_read_yet", true)),
        (State::Dismissed("x".into()), ("dismissed", true)),
        (State::Unseen, ("missing", false)),
        (State::Unknown, ("unknown", false)),
    ];
    for (state, expect) in cases {
        check(&parcels(state, &["AB1"]), &nothing, expect);
    }
    let mut stranger = parcels(State::Unknown, &["AB1"]);
    stranger.elsewhere = Some(Elsewhere::NotOurs);
    check(&stranger, &Shows::NotAsked, ("order_not_ours", true));
}

#[test]
fn a_route_counts_its_own_shipments_and_says_what_is_only_recorded() {
    let mut route = RouteProof::default();
    let delivered = |tracking| parcels(State::Delivered("F1".into()), tracking);
    route.add_parcels(&seen(), &delivered(&["AB1"]), &there(&["AB1"]));
    // Without a number there is nothing that the channel could show.
    route.add_parcels(&seen(), &delivered(&[]), &there(&[]));
    let mut other = parcels(State::Unknown, &["AB9"]);
    other.elsewhere = Some(Elsewhere::AnotherChannel);
    route.add_parcels(&seen(), &other, &Shows::NotAsked);
    assert!(route.holds());
    assert_eq!((route.source.count, route.same), (2, 2));
    assert_eq!((route.as_recorded, route.elsewhere), (1, 1));
    route.add_parcels(&seen(), &delivered(&["AB2"]), &there(&["AB1"]));
    assert!(!route.holds());
    assert_eq!(route.unexplained["tracking"], 1);
    assert_eq!(route.sink.as_ref().unwrap().count, 2);
    assert_eq!(route.differences[0].name, "OUT-81");
}
