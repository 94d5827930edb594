//! What we say of an order for a proof.

use super::*;
use crate::connector::Body;
use crate::proof::State;

impl Bench {
    fn state_of(&mut self, route: &str, change: &Change) -> State {
        let Body::Present(record) = &change.body else {
            unreachable!()
        };
        let things = vec![(change.id.clone(), record.clone())];
        let mut accounts = self.engine.account(route.into(), things).unwrap();
        assert_eq!(accounts.len(), 1);
        let account = accounts.remove(0);
        assert_eq!(account.reference, format!("north:{}", change.id));
        assert_eq!(account.name, format!("N{}", change.id));
        account.state
    }
}

/// Stories 7 and 8: the list that was read left an order out. It is older than what was read, so that it
/// will not come by itself.
#[test]
fn what_never_came_is_unseen_or_not_read_yet() {
    let mut bench = Bench::new();
    let (one, two) = (order("1", &[("A", 1)]), order("2", &[("A", 1)]));
    bench.tick(60);
    bench.accept("north", Stream::Orders, vec![one]);
    assert_eq!(bench.state_of("north_orders", &two), State::Unseen);
    let late = young("3", &[("A", 1)], "none");
    assert_eq!(bench.state_of("north_orders", &late), State::Unread);
}

#[test]
fn an_order_on_its_way_and_there() {
    let mut bench = Bench::new();
    let one = order("1", &[("A", 1)]);
    bench.accept("north", Stream::Orders, vec![one.clone()]);
    let waiting = State::Waiting("is pending".into());
    assert_eq!(bench.state_of("north_orders", &one), waiting);
    let claimed = bench.claim("erp", Stream::Orders);
    let waiting = State::Waiting("is in_flight".into());
    assert_eq!(bench.state_of("north_orders", &one), waiting);
    let results = claimed.iter().map(|it| (it.clone(), there(it))).collect();
    bench.settle("erp", Stream::Orders, results);
    let there = State::Delivered("R-north:1".into());
    assert_eq!(bench.state_of("north_orders", &one), there);
}

#[test]
fn what_is_held_filtered_dismissed_or_observed_says_so() {
    let mut bench = Bench::new();
    let mut json = order_json("2", &[("A", 1)]);
    json["placed_at"] = json!("2026-10-01T00:00:00Z");
    let (held, old) = (order("1", &[("A", 1)]), change(Stream::Orders, "2", json));
    bench.accept("north", Stream::Orders, vec![held.clone(), old.clone()]);
    let filtered = State::Filtered("start_from".into());
    assert_eq!(bench.state_of("north_orders", &old), filtered);

    let claimed = bench.claim("erp", Stream::Orders);
    let refused = Fault::reject("no_item", "there is no item A");
    let results = claimed
        .iter()
        .map(|it| (it.clone(), Outcome::Failed(refused.clone())));
    bench.settle("erp", Stream::Orders, results.collect());
    let State::Quarantined(why) = bench.state_of("north_orders", &held) else {
        panic!("it is not held")
    };
    assert!(why.contains("there is no item A"), "{why}");
    let number = bench.engine.quarantine(0, 10).unwrap()[0].number;
    bench
        .engine
        .quarantine_dismiss(number, "a test order".into())
        .unwrap();
    let State::Dismissed(why) = bench.state_of("north_orders", &held) else {
        panic!("it was not let go")
    };
    assert!(why.contains("a test order"), "{why}");

    let mut bench = Bench::with(rules(Mode::Observe));
    let one = order("1", &[("A", 1)]);
    bench.accept("north", Stream::Orders, vec![one.clone()]);
    assert_eq!(bench.state_of("north_orders", &one), State::Observed);
    let things = Vec::new();
    assert!(
        bench
            .engine
            .account("no_such_route".into(), things)
            .is_err()
    );
}

#[derive(Debug)]
struct Renumbered;

impl RecordMapping for Renumbered {
    fn apply(&self, record: &Value) -> Result<Mapped, Fault> {
        if record["number"] == "N2" {
            return Ok(Mapped::Filtered("no_samples".into()));
        }
        let mut mapped = record.clone();
        mapped["number"] = json!("M1");
        Ok(Mapped::Kept(mapped))
    }
    fn version(&self) -> &'static str {
        "v1"
    }
}

/// A proof compares with what was carried: by the number that the mapping gave it. Why something was not carried is
/// known after the journal forgot it.
#[test]
fn an_account_is_of_what_the_mapping_made() {
    let mut rules = rules(Mode::Apply);
    let mapping = Arc::new(Renumbered);
    rules.mappings.insert("north_orders".into(), mapping);
    let mut bench = Bench::with(rules);
    let orders = [order("1", &[("A", 1)]), order("2", &[("A", 1)])];
    bench.accept("north", Stream::Orders, orders.to_vec());
    bench.tick(91 * 24 * 3600);
    let mut at = Some(Sweep::default());
    while let Some(after) = at.take() {
        at = bench.engine.expire_journal(after).unwrap();
    }
    let things = orders.map(|change| {
        let Body::Present(record) = change.body else {
            unreachable!()
        };
        (change.id, record)
    });
    let accounts = bench.engine.account("north_orders".into(), things.to_vec());
    let accounts = accounts.unwrap();
    assert_eq!(accounts[0].name, "M1");
    assert_eq!(accounts[1].state, State::Filtered("no_samples".into()));
}

/// What came to a connection from another one is known there by that one's reference, and is not its own.
#[test]
fn an_account_names_a_thing_as_its_route_would() {
    let mut rules = rules(Mode::Apply);
    let route = Route {
        name: "onwards".into(),
        from: ("erp".into(), Stream::Orders),
        to: ("south".into(), Stream::Orders),
        mode: Mode::Apply,
        start_from: None,
    };
    let routes: Vec<Route> = rules.router.all().cloned().chain([route]).collect();
    rules.router = Router::new(routes);
    let mut bench = Bench::with(rules);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    bench.deliver("erp", Stream::Orders);
    let there = order("R-north:1", &[("A", 1)]);
    bench.accept("erp", Stream::Orders, vec![there.clone()]);
    let Body::Present(record) = there.body else {
        unreachable!()
    };
    let things = vec![(there.id, record)];
    let accounts = bench.engine.account("onwards".into(), things).unwrap();
    assert_eq!(accounts[0].reference, "erp:R-north:1");
}

/// What was changed after the source was read may still come by itself; where its cursor is no moment, after the
/// last whole reading began.
#[test]
fn what_is_newer_than_the_reading_is_not_missed_yet() {
    let mut bench = Bench::new();
    let at = |hour: u32| format!("2026-11-22T{hour}:00:00Z").parse().unwrap();
    bench.tick(2 * 3600);
    let mut read = |connection: &str, cursor: Cursor| {
        let unit = Unit {
            connection: connection.into(),
            stream: Stream::Orders,
            changes: vec![],
            read_at: at(12),
            read_until: at(12),
            as_of: None,
            reached: Some(Reached {
                cursor,
                more: false,
                settle_lag: Duration::ZERO,
            }),
        };
        bench.engine.accept(unit).unwrap();
    };
    read("north", Cursor::watermark(at(11)));
    let placed = |placed_at: Timestamp| {
        let mut json = order_json("1", &[("A", 1)]);
        json["placed_at"] = json!(placed_at.to_string());
        change(Stream::Orders, "1", json)
    };
    let between = placed("2026-11-22T11:30:00Z".parse().unwrap());
    assert_eq!(
        bench.state_of("north_orders", &placed(at(11))),
        State::Unseen
    );
    assert_eq!(bench.state_of("north_orders", &between), State::Unread);

    let mut bench = Bench::with_unread(rules(Mode::Apply));
    bench.tick(2 * 3600);
    let read_at = at(12);
    let unit = Unit {
        connection: "north".into(),
        stream: Stream::Orders,
        changes: vec![],
        read_at,
        read_until: read_at,
        as_of: None,
        reached: Some(Reached {
            cursor: Cursor::Sequence { last: 7 },
            more: false,
            settle_lag: Duration::ZERO,
        }),
    };
    bench.engine.accept(unit).unwrap();
    assert_eq!(bench.state_of("north_orders", &between), State::Unseen);
    assert_eq!(
        bench.state_of("north_orders", &placed(read_at)),
        State::Unread
    );
}

#[test]
fn the_newest_proofs_are_kept_and_the_first_day_for_ever() {
    let mut bench = Bench::new();
    for day in ["2026-11-20", "2026-11-21", "2026-11-22"] {
        let proof = json!({ "day": day });
        bench.engine.keep_proof(day.into(), proof, 2).unwrap();
        let since = bench.engine.proven_since(day.into()).unwrap();
        assert_eq!(since, "2026-11-20");
    }
    let mut bench = bench.crash();
    let kept = bench.engine.proofs().unwrap();
    let expected = ["2026-11-21", "2026-11-22"].map(|day| (day.into(), json!({ "day": day })));
    assert_eq!(kept, expected);
    assert_eq!(
        bench.engine.proven_since("2026-12-01".into()).unwrap(),
        "2026-11-20"
    );
}
