//! Numbers and prices, and the items that they are of.

use super::*;
use crate::connector::Operation;

/// The ERP's items are read to their end, and these are on every channel.
fn with(items: &[&str]) -> Bench {
    let mut bench = Bench::with(catalogue(Mode::Apply));
    let items = items.iter().map(|sku| item(sku, "one", "active"));
    bench.accept("erp", Stream::Items, items.collect());
    while !bench.deliver("north", Stream::Items).is_empty() {}
    bench
}

fn renamed(bench: &mut Bench, name: &str) {
    bench.tick(1);
    bench.accept("erp", Stream::Items, vec![item("A", name, "active")]);
}

fn fail(bench: &mut Bench, stream: Stream, fault: Fault) {
    let claimed = bench.claim("north", stream).remove(0);
    let outcome = Outcome::Failed(fault);
    bench.settle("north", stream, vec![(claimed, outcome)]);
}

fn not_listed() -> Fault {
    Fault::reject("unknown_sku", "no such SKU")
}

/// An item that was found on its channel is there: its number need not wait until the item is also as it should be.
#[test]
fn an_item_that_is_found_can_be_told_its_number() {
    let mut bench = with(&[]);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    renamed(&mut bench, "one");
    assert!(bench.claim("north", Stream::Stock).is_empty(), "it waits");
    let claimed = bench.claim("north", Stream::Items).remove(0);
    let found = Outcome::Delivered(Confirmation {
        remote_id: Some("7".into()),
        existed: true,
        ..Confirmation::default()
    });
    bench.settle("north", Stream::Items, vec![(claimed, found)]);
    let update = bench.claim("north", Stream::Items);
    assert_eq!(update[0].delivery.operation, Operation::Update);
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// A channel refuses a number because of how its item stands there: when the item was changed, it is told again, and
/// the desk is empty without anybody's doing.
#[test]
fn a_number_that_was_refused_is_told_again_when_its_item_was_changed() {
    let mut bench = with(&["A"]);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let refused = Fault::reject("not_for_sale", "it is a draft");
    fail(&mut bench, Stream::Stock, refused);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!((desk.len(), desk[0].row.attempts), (1, 1));
    assert!(bench.claim("north", Stream::Stock).is_empty());
    renamed(&mut bench, "two");
    assert!(bench.claim("north", Stream::Stock).is_empty());
    assert_eq!(bench.deliver("north", Stream::Items).len(), 1);
    assert!(bench.engine.quarantine(0, 9).unwrap().is_empty());
    assert_eq!(bench.deliver("north", Stream::Stock).len(), 1);
}

/// A price that jumped is held until somebody has looked at it, whatever else becomes of its item.
#[test]
fn a_change_of_an_item_lets_no_held_price_go() {
    let mut bench = with(&["A"]);
    for amount in ["10", "150"] {
        bench.tick(1);
        bench.accept("erp", Stream::Prices, vec![price("A", amount)]);
        bench.deliver("north", Stream::Prices);
    }
    let held = |bench: &mut Bench| {
        let rows = bench.engine.quarantine(0, 9).unwrap().into_iter();
        rows.filter(|row| row.row.connection == "north".into())
            .count()
    };
    assert_eq!(held(&mut bench), 1);
    renamed(&mut bench, "two");
    assert_eq!(bench.deliver("north", Stream::Items).len(), 1);
    assert_eq!(held(&mut bench), 1);
    assert!(bench.claim("north", Stream::Prices).is_empty());
}

/// A channel that is busy is left alone for a while, also when an item of it was just changed.
#[test]
fn a_change_of_an_item_hurries_no_number_that_is_tried_later() {
    let mut bench = with(&["A"]);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let busy = Fault::retry("http_503", "busy").wait(Some(Duration::from_secs(60)));
    fail(&mut bench, Stream::Stock, busy);
    renamed(&mut bench, "two");
    assert_eq!(bench.deliver("north", Stream::Items).len(), 1);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    bench.tick(60);
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// A channel may need a moment until an item that it was told of can be found: its number is offered again soon, later
/// and later. After an hour it is not there, and is offered once in an hour.
#[test]
fn a_number_of_a_new_item_is_offered_soon_and_of_a_lost_one_rarely() {
    let mut bench = with(&["A"]);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    for attempts in 0..4 {
        let claimed = bench.claim("north", Stream::Stock).remove(0);
        assert_eq!(claimed.delivery.attempts, attempts);
        let unknown = Outcome::Failed(not_listed());
        bench.settle("north", Stream::Stock, vec![(claimed, unknown)]);
        bench.tick(30);
    }
    bench.tick(3600 - 4 * 30); // an hour after it was linked
    fail(&mut bench, Stream::Stock, not_listed());
    bench.tick(3599);
    assert!(bench.claim("north", Stream::Stock).is_empty());
    bench.tick(1);
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// What a channel did not list counts for nothing once it is told again what it was told before: the next number goes
/// at once.
#[test]
fn a_number_that_is_back_is_not_held_up_by_a_refusal() {
    let mut bench = Bench::new();
    let say = |bench: &mut Bench, on_hand: i64| {
        bench.tick(1);
        bench.accept("erp", Stream::Stock, vec![level("A", on_hand)]);
    };
    say(&mut bench, 5);
    bench.deliver("north", Stream::Stock);
    say(&mut bench, 6);
    fail(&mut bench, Stream::Stock, not_listed());
    say(&mut bench, 5);
    assert!(bench.claim("north", Stream::Stock).is_empty(), "it is told");
    say(&mut bench, 4);
    assert_eq!(bench.claim("north", Stream::Stock).len(), 1);
}

/// An item is changed while it is being created: it is created once, and then changed.
#[test]
fn an_item_that_changes_while_it_is_created_is_created_once() {
    let mut bench = with(&[]);
    renamed(&mut bench, "one");
    let create = bench.claim("north", Stream::Items).remove(0);
    renamed(&mut bench, "two");
    let outcome = there(&create);
    bench.settle("north", Stream::Items, vec![(create, outcome)]);
    let told = bench.deliver("north", Stream::Items);
    assert_eq!(told[0].delivery.operation, Operation::Update);
    assert!(bench.claim("north", Stream::Items).is_empty());
}

/// Makes a price of an item.
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

/// `west` gets the ERP's items, and prices that are made of them.
fn with_made_prices() -> Bench {
    let mut rules = catalogue(Mode::Apply);
    let route = |name: &str, stream| Route {
        name: name.into(),
        from: ("erp".into(), Stream::Items),
        to: ("west".into(), stream),
        mode: Mode::Apply,
        start_from: None,
    };
    let more = [
        route("west_items", Stream::Items),
        route("made", Stream::Prices),
    ];
    let routes: Vec<Route> = rules.router.all().cloned().chain(more).collect();
    rules.router = Router::new(routes);
    rules.mappings.insert("made".into(), Arc::new(PriceOf));
    Bench::with(rules)
}

/// An item that is gone is called off where it is, once: the route that makes a price of it has nothing to say.
#[test]
fn what_is_gone_has_no_price_to_be_called_off() {
    let mut bench = with_made_prices();
    renamed(&mut bench, "one");
    assert_eq!(bench.deliver("west", Stream::Items).len(), 1);
    assert_eq!(bench.deliver("west", Stream::Prices).len(), 1);
    let routed = bench.counts("made").routed;
    bench.tick(1);
    bench.accept("erp", Stream::Items, vec![Change::absent("A")]);
    let rows = bench.engine.queue(0, 9).unwrap().into_iter();
    let rows: Vec<_> = rows.filter(|row| row.sink == "west".into()).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].stream, Stream::Items);
    assert_eq!(bench.counts("made").routed, routed);
}

/// Prices that are made of items are made of nothing else, also when all of them are told anew.
#[test]
fn prices_that_are_made_of_items_are_made_of_nothing_else() {
    let mut bench = with_made_prices();
    bench.accept("erp", Stream::Prices, vec![price("A", "12")]);
    while bench.engine.derive_prices().unwrap() {}
    assert!(bench.claim("west", Stream::Prices).is_empty());
    let told = bench.engine.explain_price("A".into(), Some("west".into()));
    assert!(told.is_err(), "nothing is told there: {told:?}");
}
