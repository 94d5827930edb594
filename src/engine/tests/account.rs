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
