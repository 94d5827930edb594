use super::*;

const EXPECTED: Duration = Duration::from_secs(900);
const PATIENCE: Duration = Duration::from_secs(300);

fn at(secs: i64) -> Timestamp {
    let start: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    start.checked_add(SignedDuration::from_secs(secs)).unwrap()
}

fn stream(subject: &str, last: Option<i64>) -> StreamFacts {
    StreamFacts {
        subject: subject.to_owned(),
        last_success: last.map(at),
        drained: last.map(at),
        expected: EXPECTED,
        failing: None,
        untried: false,
        rests: false,
    }
}

fn failing(subject: &str, last: Option<i64>, since: i64) -> StreamFacts {
    let failing = Failing {
        why: "connection refused".to_owned(),
        times: 3,
        since: at(since),
    };
    StreamFacts {
        failing: Some(failing),
        ..stream(subject, last)
    }
}

/// `kind:subject`, with a question mark behind a weak one.
fn shown(findings: impl IntoIterator<Item = Finding>) -> String {
    let all = findings.into_iter().map(|finding| {
        let weak = if finding.firm { "" } else { "?" };
        assert!(
            !finding.firm || finding.text.len() > 40,
            "says little: {finding:?}"
        );
        format!("{}{weak}", finding.cause)
    });
    all.collect::<Vec<_>>().join(" ")
}

/// Stories 54 and 64: silence and failure are told, each cause once; what is told elsewhere is not told again.
#[test]
fn streams_that_are_read() {
    let resting = |last| StreamFacts {
        rests: true,
        ..stream("a", Some(last))
    };
    let untried = StreamFacts {
        untried: true,
        ..stream("a", Some(0))
    };
    let behind = |drained, last| StreamFacts {
        drained: Some(at(drained)),
        ..stream("a", Some(last))
    };
    let well = || stream("b", Some(100_000));
    let cases: Vec<(&str, i64, Vec<StreamFacts>, &str)> = vec![
        ("well", 900, vec![stream("a", Some(0))], ""),
        ("silent", 901, vec![stream("a", Some(0))], "stream_silent:a"),
        (
            "never read, early",
            800,
            vec![stream("a", None)],
            "stream_silent:a?",
        ),
        (
            "never read, late",
            901,
            vec![stream("a", None)],
            "stream_silent:a",
        ),
        ("fails", 299, vec![failing("a", Some(0), 0)], "trouble:a?"),
        ("fails on", 300, vec![failing("a", Some(0), 0)], "trouble:a"),
        (
            "fails for long",
            1000,
            vec![failing("a", Some(0), 0)],
            "stream_silent:a trouble:a?",
        ),
        ("rests", 5000, vec![resting(0)], "stream_silent:a?"),
        ("just started", 10, vec![untried], "trouble:a?"),
        (
            "all silent",
            1000,
            vec![stream("a", Some(0)), failing("b", Some(50), 90)],
            "all_silent:reading stream_silent:a? stream_silent:b? trouble:b?",
        ),
        (
            "one of two",
            100_010,
            vec![stream("a", Some(0)), well()],
            "stream_silent:a",
        ),
        ("a little behind", 1800, vec![behind(0, 1800)], ""),
        ("behind", 3700, vec![behind(0, 3700)], "stream_behind:a"),
        (
            "less behind",
            3700,
            vec![behind(1000, 3700)],
            "stream_behind:a?",
        ),
    ];
    for (name, now, streams, expect) in cases {
        let found = reading(at(now), at(0), &streams, PATIENCE);
        assert_eq!(shown(found), expect, "{name}");
    }
    let found = reading(at(1000), at(0), &[failing("a.orders", None, 0)], PATIENCE);
    let text = &found[0].text;
    assert!(
        text.contains(
            "never read since the daemon started, expected every 15 min: connection refused"
        ),
        "{text}"
    );
}

#[test]
fn silence_of_orders() {
    let silence = |expected| Silence {
        since: at(0),
        expected,
    };
    let hour = Some(Duration::from_secs(3600));
    let cases = [
        (100, None, None, true, ""),
        (100, Some(2.9), None, true, ""),
        (100, Some(4.0), None, true, "no_orders:n.orders?"),
        (100, Some(7.0), None, true, "no_orders:n.orders"),
        (100, Some(7.0), None, false, "no_orders:n.orders?"),
        (100, Some(1.0), None, false, "no_orders:n.orders?"),
        (3600, Some(50.0), hour, true, ""),
        (3601, None, hour, true, "no_orders:n.orders"),
        (9999, Some(50.0), Some(Duration::ZERO), true, ""),
    ];
    for (now, expected, most, is_read, expect) in cases {
        let found = no_orders(at(now), "n.orders", silence(expected), most, is_read);
        assert_eq!(
            shown(found),
            expect,
            "{now} {expected:?} {most:?} {is_read}"
        );
    }
}

#[test]
fn marks_are_left_clearly() {
    let hour = Duration::from_secs(3600);
    let secs = |secs| Some(SignedDuration::from_secs(secs));
    let minute = Duration::from_secs(60);
    let cases = [
        (
            quarantine_size(50, (100, "rows"), 0.5),
            "quarantine_size:quarantine?",
        ),
        (
            quarantine_size(51, (100, "rows"), 0.5),
            "quarantine_size:quarantine",
        ),
        (quarantine_size(45, (100, "rows"), 0.5), ""),
        (
            quarantine_size(1, (1, "rows"), 0.5),
            "quarantine_size:quarantine",
        ),
        (
            quarantine_size(51, (100, "MB"), 0.5),
            "quarantine_size:quarantine/bytes",
        ),
        (
            quarantine_size(91, (180, "days"), 0.5),
            "quarantine_size:quarantine/age",
        ),
        (quarantine_size(0, (0, "days"), 0.5), ""),
        (
            pending(at(3601), "erp.orders", at(0), hour),
            "pending:erp.orders",
        ),
        (
            pending(at(3600), "erp.orders", at(0), hour),
            "pending:erp.orders?",
        ),
        (pending(at(1800), "erp.orders", at(0), hour), ""),
        (clock("erp", None, minute), "clock:erp?"),
        (clock("erp", secs(30), minute), ""),
        (clock("erp", secs(-31), minute), "clock:erp?"),
        (clock("erp", secs(61), minute), "clock:erp"),
        (clock("erp", secs(-61), minute), "clock:erp"),
        (disk("/s", 199, 100), "disk_low:store"),
        (disk("/s", 200, 100), "disk_low:store?"),
        (disk("/s", 220, 100), ""),
        (disk("/s", u64::MAX, u64::MAX), ""),
        (store_size(101, 100), "store_size:store"),
        (store_size(95, 100), "store_size:store?"),
        (store_size(90, 100), ""),
    ];
    for (found, expect) in cases {
        assert_eq!(shown(found.clone()), expect, "{found:?}");
    }
    let found = clock("erp", secs(-61), minute).unwrap();
    assert!(found.text.contains("behind ours"), "{}", found.text);
    assert!(
        paused("erp", "401")
            .text
            .contains("`crossdock connection resume erp`")
    );
    assert_eq!(
        shown([quarantined("n.orders/map/x")]),
        "quarantine:n.orders/map/x"
    );
}

#[test]
fn credentials_end() {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let known = Credential::until_day("north", "2027-01-31".parse().unwrap()).unwrap();
    assert_eq!(known.expires_at.to_string(), "2027-02-01T00:00:00Z");
    let found = |now: &str| {
        let found = credential(now.parse().unwrap(), &known, days(14));
        found.map(|finding| (finding.severity, finding.text))
    };
    assert_eq!(found("2027-01-17T23:59:59Z"), None);
    let (severity, text) = found("2027-01-18T00:00:00Z").unwrap();
    assert_eq!(severity, Severity::Warning);
    assert!(text.contains("ends at 2027-02-01T00:00:00Z"), "{text}");
    let (severity, _) = found("2027-01-29T00:00:00Z").unwrap();
    assert_eq!(severity, Severity::Urgent);
    let (_, text) = found("2027-03-01T00:00:00Z").unwrap();
    assert!(text.contains("ended at"), "{text}");
}

#[test]
fn orders_near_their_time() {
    let order = |number: &str, by| OpenOrder {
        number: number.to_owned(),
        ship_by: at(by),
    };
    let day = Duration::from_secs(86_400);
    let found = |open: &[OpenOrder]| ship_by(at(0), "market.orders", open, day);
    assert_eq!(shown(found(&[order("1", 86_400)])), "");
    assert_eq!(
        shown(found(&[order("1", 86_399), order("2", 0)])),
        "ship_by:market.orders ship_by_missed:market.orders"
    );
    let many: Vec<OpenOrder> = (1..20).map(|n| order(&format!("A{n}"), n)).collect();
    let text = &found(&many)[0].text;
    assert!(
        text.contains("A5 (by 2026-11-22T10:00:05Z), and 14 more"),
        "{text}"
    );
}

#[test]
fn what_is_sold_and_not_there_is_named() {
    assert_eq!(oversold("main", &[]), None);
    let missing = |n: usize| (format!("S{n}"), "2".to_owned());
    let many: Vec<(String, String)> = (1..8).map(missing).collect();
    let found = oversold("main", &many).unwrap();
    assert_eq!(
        (found.cause.to_string().as_str(), found.severity),
        ("oversold:main", Severity::Urgent)
    );
    assert!(
        found.text.contains("S5 (2 missing), and 2 more;"),
        "{}",
        found.text
    );
}

#[test]
fn times_for_people() {
    for (secs, expect) in [
        (90, "90 s"),
        (900, "15 min"),
        (93_600, "26 h"),
        (1_209_600, "14 days"),
    ] {
        assert_eq!(human(Duration::from_secs(secs)), expect);
    }
}

/// A token of which a platform tells when it ends.
#[test]
fn tokens_end() {
    let known = Credential {
        subject: "north/refresh_token".to_owned(),
        expires_at: at(86_400),
    };
    let found = credential(at(0), &known, Duration::from_secs(86_400)).unwrap();
    assert_eq!(found.severity, Severity::Urgent);
    assert!(
        found.text.starts_with("the token of north ends at"),
        "{}",
        found.text
    );
    assert!(!found.text.contains("credential_expires"), "{}", found.text);
}
