//! Items on their way to channels, at their edges: counted, called back, in groups, and prices made of them.

use super::*;
use crate::connector::Operation;

fn bench() -> Bench {
    Bench::with(catalogue(Mode::Apply))
}

fn accept(bench: &mut Bench, items: Vec<Change>) -> Accepted {
    bench.tick(1);
    bench.accept("erp", Stream::Items, items)
}

fn deliver_all(bench: &mut Bench) -> Vec<Claimed> {
    let mut all = Vec::new();
    loop {
        let claimed = bench.deliver("north", Stream::Items);
        if claimed.is_empty() {
            return all;
        }
        all.extend(claimed);
    }
}

/// Two items for two channels, first new, then changed while they wait, then gone before they were sent.
#[test]
fn each_item_is_counted_once_for_each_channel() {
    let mut bench = bench();
    let both = |name: &str| vec![item("A", name, "active"), item("B", name, "active")];
    assert_eq!(accept(&mut bench, both("a")).queued, 4);
    assert_eq!(accept(&mut bench, both("b")).queued, 4);
    let counts = bench.counts("north_items");
    assert_eq!((counts.routed, counts.superseded), (4, 2));
    let gone = ["A", "B"].map(Change::absent);
    assert_eq!(accept(&mut bench, gone.to_vec()).queued, 0);
    let counts = bench.counts("north_items");
    assert_eq!((counts.routed, counts.superseded), (6, 4));
    assert_eq!(counts.filtered["gone_before_import"], 2);
    assert!(bench.claim("north", Stream::Items).is_empty());
}

/// What is gone at its owner is taken off every channel that has it.
#[test]
fn an_item_that_is_gone_is_called_off_where_it_is() {
    let mut bench = bench();
    let both = vec![item("A", "a", "active"), item("B", "b", "active")];
    accept(&mut bench, both);
    deliver_all(&mut bench);
    let gone = ["A", "B"].map(Change::absent);
    assert_eq!(accept(&mut bench, gone.to_vec()).queued, 2);
    let told = deliver_all(&mut bench);
    assert_eq!(told.len(), 2);
    assert!(
        told.iter()
            .all(|it| it.delivery.operation == Operation::Cancel)
    );
}

/// Variants are created one by one; what is changed of them goes together.
#[test]
fn changes_of_variants_do_not_wait_for_each_other() {
    let mut bench = bench();
    let both = |name: &str| vec![item("A", name, "active"), item("B", name, "active")];
    accept(&mut bench, both("a"));
    assert_eq!(deliver_all(&mut bench).len(), 2);
    accept(&mut bench, both("b"));
    assert_eq!(bench.claim("north", Stream::Items).len(), 2);
}

/// Nobody begins another variant while the first is under way: it would make a second product.
#[test]
fn a_variant_waits_while_another_is_created() {
    let mut bench = bench();
    let both = vec![item("A", "a", "active"), item("B", "b", "active")];
    accept(&mut bench, both);
    assert_eq!(bench.claim("north", Stream::Items).len(), 1);
    assert!(bench.claim("north", Stream::Items).is_empty());
}

/// An item that is there and goes off sale is told so; only one that was never there is looked for and left.
#[test]
fn an_item_that_is_there_is_archived_and_not_looked_for() {
    let mut bench = bench();
    accept(&mut bench, vec![item("A", "a", "active")]);
    deliver_all(&mut bench);
    accept(&mut bench, vec![item("A", "a", "archived")]);
    let claimed = bench.claim("north", Stream::Items);
    assert_eq!(claimed[0].action, Action::Send);
}

/// Keeps back what is called `secret`.
#[derive(Debug)]
struct NoSecrets;

impl RecordMapping for NoSecrets {
    fn apply(&self, record: &Value) -> Result<Mapped, Fault> {
        Ok(match record["name"].as_str() {
            Some("secret") => Mapped::Filtered("no_secrets".into()),
            _ => Mapped::Kept(record.clone()),
        })
    }
    fn version(&self) -> &'static str {
        "v1"
    }
}

/// Taken back before it was sent, and wanted again: it is still to be created.
#[test]
fn an_item_that_was_taken_back_is_created_when_it_may_go() {
    let mut rules = catalogue(Mode::Apply);
    rules
        .mappings
        .insert("north_items".into(), Arc::new(NoSecrets));
    let mut bench = Bench::with(rules);
    accept(&mut bench, vec![item("A", "a", "active")]);
    accept(&mut bench, vec![item("A", "secret", "active")]);
    assert!(bench.claim("north", Stream::Items).is_empty());
    accept(&mut bench, vec![item("A", "b", "active")]);
    let claimed = bench.claim("north", Stream::Items);
    assert_eq!(claimed[0].delivery.operation, Operation::Create);
}

/// A route that makes prices of items tells them to its channel, for the owner of prices alone.
#[test]
fn prices_are_made_of_items() {
    #[derive(Debug)]
    struct PriceOf;
    impl RecordMapping for PriceOf {
        fn apply(&self, record: &Value) -> Result<Mapped, Fault> {
            let price = json!({"sku": record["sku"], "price": record["price"]});
            Ok(Mapped::Kept(price))
        }
        fn version(&self) -> &'static str {
            "v1"
        }
    }
    for (owner, told) in [("erp", 1), ("acme", 0)] {
        let mut rules = catalogue(Mode::Apply);
        let route = Route {
            name: "made".into(),
            from: ("erp".into(), Stream::Items),
            to: ("west".into(), Stream::Prices),
            mode: Mode::Apply,
            start_from: None,
        };
        let routes: Vec<Route> = rules.router.all().cloned().chain([route]).collect();
        rules.router = Router::new(routes);
        rules.owners = BTreeMap::from([(Stream::Items, owner.into())]);
        rules.mappings.insert("made".into(), Arc::new(PriceOf));
        let mut bench = Bench::with(rules);
        accept(&mut bench, vec![item("A", "a", "active")]);
        let claimed = bench.claim("west", Stream::Prices);
        assert_eq!(claimed.len(), told, "{owner}");
        // What is gone has no price, and no row of the queue either.
        if told == 1 {
            accept(&mut bench, vec![Change::absent("A")]);
            assert!(
                bench
                    .engine
                    .queue(0, 9)
                    .unwrap()
                    .iter()
                    .all(|row| row.sink != "west".into())
            );
        }
    }
}

/// What a channel has no item for differs and is nobody's work until it is offered again: it is counted apart, each
/// once, also when it is refused again, and a new number does not make it urgent.
#[test]
fn what_is_not_listed_is_counted_apart() {
    let mut bench = Bench::new();
    let refused = || Outcome::Failed(Fault::reject("unknown_sku", "no such SKU"));
    let standing = |bench: &mut Bench| {
        let rows = bench.engine.status().unwrap().differences;
        let north = rows.iter().find(|row| row.sink == "north");
        north.map_or((0, 0), |row| (row.count, row.unlisted))
    };
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 5)]);
    let claimed = bench.claim("north", Stream::Stock);
    let results = claimed.into_iter().map(|one| (one, refused())).collect();
    bench.settle("north", Stream::Stock, results);
    bench.accept("erp", Stream::Stock, vec![level("C", 5)]);
    assert_eq!(standing(&mut bench), (1, 2));
    bench.tick(1);
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    let keys = |claimed: &[Claimed]| -> Vec<String> {
        let keys = claimed.iter().map(|one| one.delivery.key.to_string());
        keys.collect()
    };
    let claimed = bench.claim("north", Stream::Stock);
    assert_eq!(keys(&claimed), ["C"]);
    bench.tick(3601);
    let again = bench.claim("north", Stream::Stock);
    assert_eq!(keys(&again), ["A", "B"]);
    let results = vec![
        (again[0].clone(), refused()),
        (again[1].clone(), there(&again[1])),
    ];
    bench.settle("north", Stream::Stock, results);
    assert_eq!(standing(&mut bench), (1, 1));
}

/// Two channels' mappings refuse one item: each stands on the desk, and one is mended without the other.
#[test]
fn each_route_has_its_own_refusal() {
    #[derive(Debug)]
    struct Broken;
    impl RecordMapping for Broken {
        fn apply(&self, _: &Value) -> Result<Mapped, Fault> {
            Err(Fault::reject("lookup_unmatched", "no entry"))
        }
        fn version(&self) -> &'static str {
            "v1"
        }
    }
    let broken = |routes: &[&str]| {
        let mut rules = catalogue(Mode::Apply);
        for route in routes {
            rules.mappings.insert((*route).into(), Arc::new(Broken));
        }
        rules
    };
    let mut bench = Bench::with(broken(&["north_items", "south_items"]));
    accept(&mut bench, vec![item("A", "a", "active")]);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!(desk.len(), 2);
    bench
        .engine
        .reload(Arc::new(broken(&["south_items"])))
        .unwrap();
    accept(&mut bench, vec![item("A", "b", "active")]);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    let routes: Vec<_> = desk.into_iter().map(|row| row.row.route.unwrap()).collect();
    assert_eq!(routes, ["south_items".into()]);
    assert_eq!(deliver_all(&mut bench).len(), 1);
}
