//! A reload with other rules: what was computed by the old ones is computed anew.

use super::stock::told;
use super::*;

pub(super) fn with_buffer(buffer: i64) -> Arc<Rules> {
    let mut rules = rules(Mode::Apply);
    for publish in &mut rules.publishes {
        publish.rule.buffer = rust_decimal::Decimal::from(buffer);
    }
    Arc::new(rules)
}

#[test]
fn another_buffer_is_told_though_no_number_moves() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 7)]);
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "5/5");
    assert_eq!(told(&mut bench, "B"), "7/7");
    bench.engine.reload(with_buffer(2)).unwrap();
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "3/3");
    assert_eq!(told(&mut bench, "B"), "5/5");
    assert!(!bench.engine.derive_stock().unwrap(), "once");
}

/// A rule comes and goes before anybody looked: what was computed by it meanwhile is computed anew.
#[test]
fn a_rule_that_came_and_went_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "5/5");
    bench.engine.reload(with_buffer(2)).unwrap();
    bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
    assert_eq!(told(&mut bench, "A"), "4/4");
    bench.engine.reload(with_buffer(0)).unwrap();
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "6/6");
}

/// A second pool beside the first, with an owner of its own and one that both have.
fn two_pools() -> Rules {
    let mut rules = rules(Mode::Apply);
    let mut other = rules.pools["main"].clone();
    other.members[0].connection = "depot".into();
    other.tills = BTreeSet::from(["kiosk".into()]);
    rules.pools.insert("other".into(), other);
    let mut west = rules.publishes[0].clone();
    (west.to, west.pool, west.name) = ("west".into(), "other".into(), "publish_west".into());
    rules.publishes.push(west);
    rules
}

#[test]
fn what_belongs_to_a_pool_is_found() {
    let rules = two_pools();
    let pools = |owner: &str| {
        let owner = owner.into();
        rules
            .pools_of(&owner)
            .map(|it| it.0)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(pools("erp"), "main");
    assert_eq!(pools("depot"), "other");
    assert_eq!(pools("acme"), "main other");
    let channels = |pool: &str| {
        let names = rules.channels_of(pool).map(|it| it.to.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(channels("main"), "north south");
    assert_eq!(channels("other"), "west");
    for (channel, pool) in [
        ("north", Some("main")),
        ("west", Some("other")),
        ("till", Some("main")),
        ("kiosk", Some("other")),
        ("erp", None),
    ] {
        let found = rules.pool_of_channel(&channel.into()).map(|it| it.0);
        assert_eq!(found, pool, "{channel}");
    }
}

/// What nobody uses is not read.
#[test]
fn a_stream_is_used_by_a_route_or_a_pool() {
    let rules = catalogue(Mode::Apply);
    for (connection, stream, expect) in [
        ("north", Stream::Orders, true),
        ("erp", Stream::Shipments, true),
        ("acme", Stream::Stock, true),
        ("acme", Stream::Items, false),
        ("north", Stream::Stock, false),
        ("nobody", Stream::Orders, false),
    ] {
        assert_eq!(
            rules.uses(&connection.into(), stream),
            expect,
            "{connection} {stream}"
        );
    }
}

/// Events belong to whoever had them, and stock to pools, whatever the configuration says of owners.
#[test]
fn only_state_has_an_owner() {
    let mut rules = rules(Mode::Apply);
    for stream in [Stream::Items, Stream::Stock, Stream::Orders] {
        rules.owners.insert(stream, "erp".into());
    }
    assert!(rules.owner_of(Stream::Items).is_some());
    assert!(rules.owner_of(Stream::Stock).is_none());
    assert!(rules.owner_of(Stream::Orders).is_none());
    assert!(rules.owner_of(Stream::Prices).is_none());
}

/// A number is told to the channels of its own pool.
#[test]
fn one_pool_does_not_move_the_numbers_of_another() {
    let mut bench = Bench::with(two_pools());
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(told(&mut bench, "A"), "5/5");
    assert!(bench.claim("west", Stream::Stock).is_empty());
    bench.accept("depot", Stream::Stock, vec![level("A", 7)]);
    assert_eq!(bench.claim("west", Stream::Stock).len(), 1);
    assert!(bench.claim("north", Stream::Stock).is_empty());
}

#[test]
fn the_status_says_what_writes() {
    for (mode, applies) in [(Mode::Apply, true), (Mode::Observe, false)] {
        let mut bench = Bench::with(rules(mode));
        bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
        bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
        let status = bench.engine.status().unwrap();
        assert_eq!(status.routes["north_orders"].applies, applies);
        assert_eq!(status.routes["publish_north"].applies, applies);
        let why = bench.engine.explain_stock("A".into(), None).unwrap();
        assert!(why.iter().all(|reason| reason.applies == applies));
        let due = bench
            .engine
            .next_due("north".into(), Stream::Stock)
            .unwrap();
        assert_eq!(due.is_some(), applies, "what is only shown is never due");
    }
}

/// A supplier's folder is as old as its file.
#[test]
fn the_status_says_how_old_a_file_is() {
    let mut bench = Bench::new();
    for (as_of, expect) in [
        (Timestamp::UNIX_EPOCH, "no file yet"),
        (
            "2026-11-22T08:00:00Z".parse().unwrap(),
            "the file of 2026-11-22T08:00:00Z",
        ),
    ] {
        bench.tick(1);
        let now = bench.clock.now();
        let unit = Unit {
            connection: "acme".into(),
            stream: Stream::Stock,
            changes: vec![],
            read_at: now,
            read_until: now,
            as_of: Some(as_of),
            reached: Some(Reached {
                cursor: Cursor::watermark(now),
                more: false,
                settle_lag: Duration::ZERO,
            }),
        };
        bench.engine.accept(unit).unwrap();
        let status = bench.engine.status().unwrap();
        let row = status.streams.iter().find(|row| row.connection == "acme");
        assert_eq!(row.unwrap().cursor, expect);
    }
}

#[test]
fn an_engine_decides_by_the_rules_of_now() {
    let mut bench = Bench::new();
    assert_eq!(bench.engine.rules().publishes.len(), 2);
    bench.engine.reload(Arc::new(two_pools())).unwrap();
    assert_eq!(bench.engine.rules().publishes.len(), 3);
}

/// Whoever reads a log sees what went wrong.
#[test]
fn an_error_of_the_engine_says_what_it_is() {
    let fault = Fault::reject("no_such_thing", "there is none");
    let error = EngineError::from(fault);
    assert!(error.to_string().contains("there is none"), "{error}");
}

/// The same of a pool: an owner leaves it and comes back.
#[test]
fn a_pool_that_was_another_one_for_a_while_leaves_nothing_behind() {
    let without_acme = || {
        let mut rules = rules(Mode::Apply);
        let pool = rules.pools.get_mut("main").unwrap();
        pool.members
            .retain(|member| member.connection.as_str() == "erp");
        Arc::new(rules)
    };
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("acme", Stream::Stock, vec![level("A", 7)]);
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "12/12");
    bench.engine.reload(without_acme()).unwrap();
    bench.tick(1);
    bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
    assert_eq!(told(&mut bench, "A"), "6/6");
    bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "13/13");
}
