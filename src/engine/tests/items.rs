//! Items: created once, adopted, changed, withdrawn; their numbers wait for them.

use super::*;
use crate::connector::Operation;

fn bench() -> Bench {
    Bench::with(catalogue(Mode::Apply))
}

fn accept(bench: &mut Bench, items: Vec<Change>) -> Accepted {
    bench.tick(1);
    bench.accept("erp", Stream::Items, items)
}

fn operations(claimed: &[Claimed]) -> Vec<(String, Operation)> {
    let of = |claim: &Claimed| {
        let sku = claim.delivery.record.sku().unwrap().to_string();
        (sku, claim.delivery.operation)
    };
    claimed.iter().map(of).collect()
}

#[test]
fn created_once_then_changed() {
    let mut bench = bench();
    accept(&mut bench, vec![item("A", "Ant", "active")]);
    accept(&mut bench, vec![item("A", "Ant!", "active")]);
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(operations(&claimed), [("A".into(), Operation::Create)]);
    assert_eq!(
        claimed[0].action,
        Action::FindFirst(Earlier::OtherStore),
        "an older store may have created it"
    );
    accept(&mut bench, vec![item("A", "Ape", "active")]);
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(operations(&claimed), [("A".into(), Operation::Update)]);
    assert_eq!(
        claimed[0].delivery.target.as_ref().unwrap().as_str(),
        "R-erp:A"
    );
    assert_eq!(bench.counts("north_items").superseded, 1);
}

/// Two variants of one product at once would make two products; the second is told of the first's.
#[test]
fn variants_of_a_product_are_created_one_after_the_other() {
    let mut bench = bench();
    accept(
        &mut bench,
        vec![item("A", "a", "active"), item("B", "b", "active")],
    );
    let claimed = bench.claim("north", Stream::Items);
    assert_eq!(operations(&claimed), [("A".into(), Operation::Create)]);
    let lost = Outcome::Failed(Fault::retry("http_timeout", "").after_sending());
    bench.settle("north", Stream::Items, vec![(claimed[0].clone(), lost)]);
    assert!(
        bench.claim("north", Stream::Items).is_empty(),
        "nobody knows whether A's product is there"
    );
    let mut bench = bench.crash_with(catalogue(Mode::Apply));
    bench.tick(600);
    let claimed = bench.claim("north", Stream::Items);
    assert_eq!(operations(&claimed), [("A".into(), Operation::Create)]);
    let done = (claimed[0].clone(), there_in_group(&claimed[0], "P7"));
    bench.settle("north", Stream::Items, vec![done]);
    let claimed = bench.claim("north", Stream::Items);
    assert_eq!(operations(&claimed), [("B".into(), Operation::Create)]);
    assert_eq!(claimed[0].delivery.group.as_ref().unwrap().as_str(), "P7");
}

/// A duplicate is held, blocks nothing else, and goes on by itself when its item changes.
#[test]
fn a_held_item_resumes_when_it_changes() {
    let mut bench = bench();
    accept(
        &mut bench,
        vec![item("A", "a", "active"), item("B", "b", "active")],
    );
    let claimed = bench.claim("north", Stream::Items);
    let twice = Outcome::Failed(Fault::reject("ambiguous_sku", "A is 7 and 9 there"));
    bench.settle("north", Stream::Items, vec![(claimed[0].clone(), twice)]);
    assert_eq!(bench.deliver("north", Stream::Items).len(), 1, "B goes on");
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 1);
    accept(&mut bench, vec![item("A", "a2", "active")]);
    assert!(bench.engine.quarantine(0, 9).unwrap().is_empty());
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(operations(&claimed), [("A".into(), Operation::Create)]);
}

/// Two things of ours can never be one thing over there.
#[test]
fn one_remote_id_is_never_believed_to_be_two_items() {
    let mut bench = bench();
    accept(
        &mut bench,
        vec![item("A", "a", "active"), item("B", "b", "active")],
    );
    let same = || {
        Outcome::Delivered(Confirmation {
            remote_id: Some("7".into()),
            existed: true,
            ..Confirmation::default()
        })
    };
    for _ in 0..3 {
        let claimed = bench.claim("north", Stream::Items);
        let results = claimed.iter().map(|c| (c.clone(), same())).collect();
        bench.settle("north", Stream::Items, results);
    }
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!(
        (desk.len(), desk[0].row.fault.code.as_ref()),
        (1, "linked_twice")
    );
    assert!(bench.claim("north", Stream::Items).is_empty());
}

/// Numbers of an item still to be created wait for it: not an attempt, not a retry each hour.
#[test]
fn numbers_wait_for_their_item() {
    let mut bench = bench();
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("X", 1)]);
    bench.accept("erp", Stream::Prices, vec![price("A", "10")]);
    assert!(
        bench.claim("north", Stream::Stock).is_empty(),
        "items were not read yet"
    );
    assert!(bench.claim("north", Stream::Prices).is_empty());
    accept(&mut bench, vec![item("A", "a", "active")]);
    let others = bench.claim("north", Stream::Stock);
    assert_eq!(
        others.len(),
        1,
        "X is nobody's to create: the channel says whether it has it"
    );
    assert_eq!(others[0].delivery.key.as_str(), "X");
    let mut bench = bench.crash_with(catalogue(Mode::Apply));
    bench.tick(7200);
    assert!(
        bench
            .claim("north", Stream::Stock)
            .iter()
            .all(|c| c.delivery.key.as_str() != "A")
    );
    let waiting = bench.engine.waiting().unwrap();
    assert!(
        waiting
            .iter()
            .any(|row| row.sink == "north" && row.stream == Stream::Stock)
    );
    let why = bench
        .engine
        .explain_stock("A".into(), Some("north".into()))
        .unwrap();
    assert!(
        why[0]
            .held_back
            .as_ref()
            .unwrap()
            .starts_with("waits for itm_")
    );
    bench.deliver("north", Stream::Items);
    for stream in [Stream::Stock, Stream::Prices] {
        let claimed = bench.deliver("north", stream);
        assert!(
            claimed.iter().any(|c| c.delivery.attempts == 0),
            "{stream}: woken by the link"
        );
    }
    assert!(
        bench
            .claim("south", Stream::Stock)
            .iter()
            .all(|c| c.delivery.key.as_str() != "A")
    );
}

/// Somebody lets the item go: its numbers are offered as before, and the channel says that it has not
/// got it.
#[test]
fn nothing_waits_for_an_item_that_was_let_go() {
    let mut bench = bench();
    accept(&mut bench, vec![item("A", "a", "active")]);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    let claimed = bench.claim("north", Stream::Items);
    let no = Outcome::Failed(Fault::reject("no_price", ""));
    bench.settle("north", Stream::Items, vec![(claimed[0].clone(), no)]);
    assert!(
        bench.claim("north", Stream::Stock).is_empty(),
        "somebody may mend it"
    );
    let number = bench.engine.quarantine(0, 9).unwrap()[0].number;
    bench
        .engine
        .quarantine_dismiss(number, "not for the web".into())
        .unwrap();
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// Archived at the owner: withdrawn and told that none is left; on sale again: as before.
#[test]
fn archived_is_withdrawn_and_none_is_left() {
    let mut bench = bench();
    accept(&mut bench, vec![item("A", "a", "active")]);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.deliver("north", Stream::Items);
    assert_eq!(stock(&mut bench), "5");
    accept(&mut bench, vec![item("A", "a", "archived")]);
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(operations(&claimed), [("A".into(), Operation::Update)]);
    assert_eq!(stock(&mut bench), "0");
    let mut bench = bench.crash_with(catalogue(Mode::Apply));
    bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
    assert_eq!(stock(&mut bench), "0", "whatever there is of it");
    accept(&mut bench, vec![item("A", "a", "active")]);
    bench.deliver("north", Stream::Items);
    assert_eq!(stock(&mut bench), "9");
}

/// An archived item that was never on the channel: nobody there knows it, and it is asked about once a day.
#[test]
fn what_is_off_sale_and_not_there_is_rarely_offered() {
    let mut bench = bench();
    accept(
        &mut bench,
        vec![item("A", "a", "archived"), item("C", "c", "active")],
    );
    let looked = bench.claim("north", Stream::Items);
    let settled = looked.into_iter().map(|claim| match claim.action {
        Action::FindOnly => (claim, Outcome::Delivered(Confirmation::default())),
        _ => (claim.clone(), there(&claim)),
    });
    bench.settle("north", Stream::Items, settled.collect());
    bench.deliver("north", Stream::Items);
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("C", 5)]);
    let unknown = |_: &Claimed| Outcome::Failed(Fault::reject("unknown_sku", "no such SKU"));
    let claimed = bench.claim("north", Stream::Stock);
    assert_eq!(claimed.len(), 2);
    let refused = claimed.iter().map(|it| (it.clone(), unknown(it))).collect();
    bench.settle("north", Stream::Stock, refused);
    let of_stock = |bench: &mut Bench| {
        let status = bench.engine.status().unwrap();
        let rows = status.differences.iter();
        let mut rows = rows.filter(|row| row.sink == "north" && row.stream == Stream::Stock);
        rows.next().map(|row| (row.count, row.unlisted))
    };
    assert_eq!(of_stock(&mut bench), Some((0, 2)), "nobody waits for them");
    let mut bench = bench.crash_with(catalogue(Mode::Apply));
    assert_eq!(of_stock(&mut bench), Some((0, 2)));
    bench.tick(3601);
    let again = bench.claim("north", Stream::Stock);
    let keys: Vec<&str> = again.iter().map(|it| it.delivery.key.as_str()).collect();
    assert_eq!(keys, ["C"]);
    bench.tick(23 * 3600);
    let due = bench.claim("north", Stream::Stock);
    assert_eq!(due[0].delivery.key.as_str(), "A");
    let told = due.iter().map(|it| (it.clone(), there(it))).collect();
    bench.settle("north", Stream::Stock, told);
    assert_eq!(of_stock(&mut bench), Some((0, 1)));
}

fn stock(bench: &mut Bench) -> String {
    bench.deliver("north", Stream::Stock);
    let why = bench
        .engine
        .explain_stock("A".into(), Some("north".into()))
        .unwrap();
    why[0]
        .published
        .clone()
        .map_or("-".into(), |(number, _)| number)
}

#[test]
fn what_is_archived_already_is_never_created() {
    let mut bench = bench();
    accept(
        &mut bench,
        vec![item("A", "a", "archived"), item("B", "b", "archived")],
    );
    let claimed = bench.claim("north", Stream::Items);
    assert_eq!(claimed[0].action, Action::FindOnly);
    let nothing = Outcome::Delivered(Confirmation::default());
    bench.settle("north", Stream::Items, vec![(claimed[0].clone(), nothing)]);
    assert_eq!(
        bench.counts("north_items").filtered["archived_before_import"],
        1
    );
    let claimed = bench.claim("north", Stream::Items);
    let found = Outcome::Delivered(Confirmation {
        remote_id: Some("9".into()),
        existed: true,
        ..Confirmation::default()
    });
    bench.settle("north", Stream::Items, vec![(claimed[0].clone(), found)]);
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(
        operations(&claimed),
        [("B".into(), Operation::Update)],
        "it is there: withdrawn"
    );
    accept(&mut bench, vec![item("A", "a", "active")]);
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(operations(&claimed), [("A".into(), Operation::Create)]);
}

#[test]
fn gone_at_the_owner_is_withdrawn_never_deleted() {
    let mut bench = bench();
    accept(
        &mut bench,
        vec![item("A", "a", "active"), item("B", "b", "active")],
    );
    bench.deliver("north", Stream::Items);
    accept(
        &mut bench,
        vec![
            Change::absent("A"),
            Change::absent("B"),
            Change::absent("NEVER"),
        ],
    );
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(operations(&claimed), [("A".into(), Operation::Cancel)]);
    assert_eq!(
        bench.counts("north_items").filtered["gone_before_import"],
        1
    );
    accept(&mut bench, vec![item("A", "a", "active")]);
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(
        operations(&claimed),
        [("A".into(), Operation::Update)],
        "it is back"
    );
}

/// Story 35: renumbered, it keeps its links and is found by both names.
#[test]
fn an_item_that_is_renumbered_stays_the_same_item() {
    let mut bench = bench();
    accept(&mut bench, vec![item("A", "a", "active")]);
    bench.deliver("north", Stream::Items);
    let mut renumbered = item("B", "a", "active");
    renumbered.id = "A".into();
    accept(&mut bench, vec![renumbered]);
    let claimed = bench.deliver("north", Stream::Items);
    assert_eq!(operations(&claimed), [("B".into(), Operation::Update)]);
    for name in ["A", "B"] {
        assert_eq!(
            bench
                .engine
                .explain(Stream::Items, name.into())
                .unwrap()
                .len(),
            1
        );
    }
}

/// What somebody changes in a webstore is counted and shown, never carried.
#[test]
fn a_change_of_somebody_else_is_shown_and_not_carried() {
    let mut rules = catalogue(Mode::Apply);
    let back = Route {
        name: "back".into(),
        from: ("north".into(), Stream::Items),
        to: ("erp".into(), Stream::Items),
        mode: Mode::Apply,
        start_from: None,
    };
    rules.router = Router::new(
        rules
            .router
            .all()
            .cloned()
            .chain([back])
            .collect::<Vec<_>>(),
    );
    let mut bench = Bench::with(rules);
    accept(&mut bench, vec![item("A", "a", "active")]);
    bench.deliver("north", Stream::Items);
    let there = |name: &str| {
        let mut change = item("A", name, "active");
        change.id = "R-erp:A".into();
        change
    };
    let echo = bench.accept("north", Stream::Items, vec![there("a")]);
    assert_eq!(echo.echoes, 1);
    let edited = bench.accept("north", Stream::Items, vec![there("edited there")]);
    assert_eq!(edited.conflicts, 1);
    let new = bench.accept("north", Stream::Items, vec![item("NEW", "n", "active")]);
    assert_eq!(new.conflicts, 1);
    assert!(bench.claim("erp", Stream::Items).is_empty());
    assert_eq!(bench.counts("back").filtered["not_the_owner"], 2);
    let life = bench.engine.explain(Stream::Items, "A".into()).unwrap();
    let differs = life[0]
        .entries
        .iter()
        .find(|(_, entry)| entry.what == "differs");
    assert!(differs.unwrap().1.detail.contains("erp owns items"));
    assert!(
        bench
            .engine
            .explain(Stream::Items, "NEW".into())
            .unwrap()
            .is_empty()
    );
}

/// An item whose price is nothing is not created with it.
#[test]
fn an_item_is_not_given_away() {
    let mut bench = bench();
    let free = json!({"sku": "A", "name": "a", "price": {"amount": "0", "currency": "EUR"}});
    accept(&mut bench, vec![change(Stream::Items, "A", free)]);
    let claimed = bench.claim("north", Stream::Items);
    let Record::Item(item) = &claimed[0].delivery.record else {
        panic!("an item")
    };
    assert!(item.price.is_absent());
}

/// What one channel refuses stays in quarantine when another takes it.
#[test]
fn held_by_one_channel_and_taken_by_another() {
    let mut bench = bench();
    accept(&mut bench, vec![item("A", "a", "active")]);
    let claimed = bench.claim("south", Stream::Items);
    let twice = Outcome::Failed(Fault::reject("ambiguous_sku", "A is 7 and 9 there"));
    bench.settle("south", Stream::Items, vec![(claimed[0].clone(), twice)]);
    bench.deliver("north", Stream::Items);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!(desk.len(), 1);
    bench.engine.quarantine_retry(desk[0].number).unwrap();
    assert_eq!(bench.deliver("south", Stream::Items).len(), 1);
    assert!(bench.engine.quarantine(0, 9).unwrap().is_empty());
}

/// A number that is read before its item was refused; from then on it waits for it.
#[test]
fn a_number_that_came_too_early_waits_too() {
    let mut bench = bench();
    bench.accept("erp", Stream::Items, vec![]);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let claimed = bench.claim("north", Stream::Stock);
    let unknown = Outcome::Failed(Fault::reject("unknown_sku", "no such SKU"));
    bench.settle("north", Stream::Stock, vec![(claimed[0].clone(), unknown)]);
    accept(&mut bench, vec![item("A", "a", "active")]);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    let waiting = bench.engine.waiting().unwrap();
    assert!(
        waiting
            .iter()
            .any(|row| row.sink == "north" && row.count == 1)
    );
    bench.deliver("north", Stream::Items);
    assert_eq!(bench.deliver("north", Stream::Stock).len(), 1);
}

/// The refusal of a number and its item cross on the way: the number was sent before the item was
/// read, and refused after it. It waits for it all the same, and is not asked for again in an hour only.
#[test]
fn a_refusal_that_crosses_its_item() {
    let unknown = || Outcome::Failed(Fault::reject("unknown_sku", "no such SKU"));
    let mut bench = bench();
    bench.accept("erp", Stream::Items, vec![]);
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 5)]);
    let sent = bench.claim("north", Stream::Stock);
    accept(
        &mut bench,
        vec![item("A", "a", "active"), item("B", "b", "active")],
    );
    bench.settle("north", Stream::Stock, vec![(sent[0].clone(), unknown())]);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    let waiting = bench.engine.waiting().unwrap();
    assert!(
        waiting
            .iter()
            .any(|row| row.sink == "north" && row.count == 1),
        "{waiting:?}"
    );
    // The other's refusal comes only when both exist already.
    while !bench.deliver("north", Stream::Items).is_empty() {}
    bench.settle("north", Stream::Stock, vec![(sent[1].clone(), unknown())]);
    bench.tick(60);
    assert_eq!(bench.deliver("north", Stream::Stock).len(), 2);
}
