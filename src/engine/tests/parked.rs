//! Of a long queue only the beginning stands in memory.

use super::*;
use crate::connector::Operation;
use crate::proof::State;

/// No more than two deliveries for one stream of a sink stand in memory, and two new ones are fetched at a time.
fn few(mode: Mode) -> Rules {
    let mut rules = rules(mode);
    rules.limits.queue_rows = 2;
    rules
}

/// Seven orders of an hour that no earlier life can have known, each accepted by itself.
fn seven(bench: &mut Bench) {
    bench.tick(3600);
    for id in 1..=7 {
        let order = young(&id.to_string(), &[("A", 1)], "none");
        bench.accept("north", Stream::Orders, vec![order]);
    }
}

fn numbers(claimed: &[Claimed]) -> Vec<String> {
    let numbers = claimed
        .iter()
        .map(|it| it.delivery.reference.replace("north:", ""));
    numbers.collect()
}

/// Everything that is delivered from now on, in its order; what the queue says of itself is what the store has.
fn all(bench: &mut Bench) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        waits(bench);
        let told = bench.deliver("erp", Stream::Orders);
        if told.is_empty() {
            assert_eq!(waits(bench), 0);
            return all;
        }
        all.extend(numbers(&told));
    }
}

/// How many deliveries wait for the ERP, by the queue and by the store.
fn waits(bench: &mut Bench) -> u64 {
    let there = bench.engine.queue(0, 100).unwrap();
    let bytes: usize = there.iter().map(|row| row.record.text().len()).sum();
    let pressure = bench.engine.pressure().unwrap();
    assert_eq!(pressure.events, there.len());
    assert!(pressure.event_bytes > 0 || bytes == 0);
    let (queue, target) = (&bench.engine.index.queue, ("erp".into(), Stream::Orders));
    let own = there.iter().filter(|row| row.sink == target.0).count();
    assert_eq!(queue.size_of(&target), own);
    own as u64
}

fn in_memory(bench: &Bench) -> usize {
    let all = 1..=bench.engine.index.queue.len() as u64 * 1000;
    all.filter(|seq| bench.engine.index.queue.contains(*seq))
        .count()
}

#[test]
fn parked_orders_come_in_their_turn_once_each() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    assert_eq!((waits(&mut bench), in_memory(&bench)), (7, 2));
    let due = bench.engine.next_due("erp".into(), Stream::Orders).unwrap();
    assert_eq!(due, Some(bench.clock.now()));
    assert_eq!(all(&mut bench), ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(bench.counts("north_orders").delivered, 7);
    seven_more_stand_in_memory(&mut bench);
}

/// When the long queue is gone nothing is parked any more.
fn seven_more_stand_in_memory(bench: &mut Bench) {
    bench.accept(
        "north",
        Stream::Orders,
        vec![young("8", &[("A", 1)], "none")],
    );
    assert_eq!((waits(bench), in_memory(bench)), (1, 1));
    assert_eq!(all(bench), ["8"]);
}

/// One that comes while others are parked stands behind them, whatever room there is in memory by then.
#[test]
fn a_new_order_goes_behind_parked_ones() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    let two = bench.claim("erp", Stream::Orders);
    assert_eq!(numbers(&two), ["1", "2"]);
    let eight = young("8", &[("A", 1)], "none");
    bench.accept("north", Stream::Orders, vec![eight]);
    let results = two.iter().map(|it| (it.clone(), there(it))).collect();
    bench.settle("erp", Stream::Orders, results);
    assert_eq!(all(&mut bench), ["3", "4", "5", "6", "7", "8"]);
}

/// A killed daemon, a reload and one that ended in order: the next one parks what was parked, and sends nothing twice.
#[test]
fn parked_orders_survive_a_kill_and_a_reload() {
    for kills in [true, false] {
        let mut bench = Bench::with(few(Mode::Apply));
        seven(&mut bench);
        let claimed = bench.claim("erp", Stream::Orders);
        assert_eq!(numbers(&claimed), ["1", "2"]);
        if kills {
            bench = bench.crash_with(few(Mode::Apply));
            assert_eq!(in_memory(&bench), 2);
            assert_eq!(all(&mut bench), ["1", "2", "3", "4", "5", "6", "7"]);
            continue;
        }
        bench.engine.reload(Arc::new(few(Mode::Apply))).unwrap();
        assert_eq!(all_but(&mut bench, &claimed), ["3", "4", "5", "6", "7"]);
    }
}

/// What is delivered beside what is being sent, which is settled at the end.
fn all_but(bench: &mut Bench, claimed: &[Claimed]) -> Vec<String> {
    let mut told = Vec::new();
    while let more = bench.deliver("erp", Stream::Orders)
        && !more.is_empty()
    {
        told.extend(numbers(&more));
    }
    let results = claimed.iter().map(|it| (it.clone(), there(it))).collect();
    bench.settle("erp", Stream::Orders, results);
    assert_eq!(waits(bench), 0);
    told
}

/// Parked orders that were throttled, and behind them some that were under way when the daemon was killed: all of them come.
/// Those under way were taken off the parked ones, among which they did not count, and as many of the others never came.
#[test]
fn parked_orders_come_behind_those_that_were_under_way_at_a_kill() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    let slow_down = || Outcome::Failed(Fault::new(Class::Throttle, "throttled", "slow down"));
    while let claimed = bench.claim("erp", Stream::Orders)
        && numbers(&claimed) != ["5"]
    {
        let results = claimed.into_iter().map(|it| (it, slow_down())).collect();
        bench.settle("erp", Stream::Orders, results);
    }
    let mut bench = bench.crash_with(few(Mode::Apply));
    bench.tick(3600);
    let mut told = all(&mut bench);
    told.sort_unstable();
    assert_eq!(told, ["1", "2", "3", "4", "5", "6", "7"]);
}

/// What says that it is parked is so only as long as nothing was sent of it: what was tried keeps its turn in memory.
#[test]
fn what_was_tried_is_not_parked() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    let rows = bench.engine.queue(0, 100).unwrap();
    let is_parked = |row: &OutboxRow| crate::outbox::Entry::of(row).parked;
    let parked: Vec<bool> = rows.iter().map(is_parked).collect();
    assert_eq!(parked, [false, false, true, true, true, true, true]);
    let now = bench.clock.now();
    let changed = |change: &dyn Fn(&mut OutboxRow)| {
        let mut row = rows[6].clone();
        change(&mut row);
        is_parked(&row)
    };
    assert!(changed(&|row| row.state = crate::outbox::State::Pending {
        due: Timestamp::MAX
    }));
    assert!(!changed(
        &|row| row.state = crate::outbox::State::InFlight { since: now }
    ));
    assert!(!changed(
        &|row| row.state = crate::outbox::State::Uncertain { due: now }
    ));
    assert!(!changed(&|row| row.attempts = 1));
    assert!(!changed(&|row| {
        row.captured.insert("id".to_owned(), json!(7));
    }));
}

/// A page that tells an order and that it was called off, when the order is the first one to be parked.
#[test]
fn an_order_that_is_called_off_on_its_own_page_is_not_sent() {
    let mut bench = Bench::with(few(Mode::Apply));
    bench.tick(3600);
    let new = |id| young(id, &[("A", 1)], "none");
    bench.accept("north", Stream::Orders, vec![new("1"), new("2")]);
    let off = young("3", &[("A", 1)], "cancelled");
    bench.accept("north", Stream::Orders, vec![new("3"), off]);
    assert_eq!(waits(&mut bench), 2);
    assert_eq!(all(&mut bench), ["1", "2"]);
}

/// While its route only observes nothing is sent, and all of it is told when it applies.
#[test]
fn what_is_observed_is_sent_when_its_route_applies() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    bench.engine.reload(Arc::new(few(Mode::Observe))).unwrap();
    assert_eq!(waits(&mut bench), 7);
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    bench.engine.reload(Arc::new(few(Mode::Apply))).unwrap();
    assert_eq!(all(&mut bench).len(), 7);
}

/// An order that is called off while it is parked is never sent.
#[test]
fn a_parked_order_that_is_called_off_is_not_sent() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    let off = young("6", &[("A", 1)], "cancelled");
    let accepted = bench.accept("north", Stream::Orders, vec![off]);
    assert_eq!((accepted.queued, waits(&mut bench)), (0, 6));
    assert_eq!(all(&mut bench), ["1", "2", "3", "4", "5", "7"]);
    let counts = bench.counts("north_orders");
    assert_eq!(counts.filtered["cancelled_before_sending"], 1);
}

/// An order that an earlier life may have sent is looked for when it is called off; nothing creates it before. The store
/// is opened anew in between: what was parked is parked again.
#[test]
fn a_parked_order_that_may_be_there_is_looked_for() {
    let mut bench = Bench::with(few(Mode::Apply));
    for id in 1..=5 {
        let order = order(&id.to_string(), &[("A", 1)]);
        bench.accept("north", Stream::Orders, vec![order]);
    }
    let mut bench = bench.crash_with(few(Mode::Apply));
    assert_eq!((waits(&mut bench), in_memory(&bench)), (5, 2));
    let off = cancelled("5", &[("A", 1)]);
    assert_eq!(bench.accept("north", Stream::Orders, vec![off]).queued, 1);
    let mut operations = BTreeMap::new();
    while let told = bench.claim("erp", Stream::Orders)
        && !told.is_empty()
    {
        for claimed in &told {
            let number = claimed.delivery.reference.clone();
            operations.insert(number, (claimed.delivery.operation, claimed.action.clone()));
        }
        let results = told.iter().map(|it| (it.clone(), there(it))).collect();
        bench.settle("erp", Stream::Orders, results);
    }
    assert_eq!(operations.len(), 5);
    assert_eq!(operations["north:5"].0, Operation::Cancel);
}

/// Cancellations are not parked, however many wait: they have a lane of their own.
#[test]
fn cancellations_are_not_parked() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    assert_eq!(all(&mut bench).len(), 7);
    for id in 1..=7 {
        let off = young(&id.to_string(), &[("A", 1)], "cancelled");
        bench.accept("north", Stream::Orders, vec![off]);
    }
    assert_eq!((waits(&mut bench), in_memory(&bench)), (7, 7));
    assert_eq!(all(&mut bench).len(), 7);
}

/// What is changed of an order while it is parked goes with it.
#[test]
fn a_parked_order_goes_as_it_is_now() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    let more = young("6", &[("A", 3)], "none");
    bench.accept("north", Stream::Orders, vec![more]);
    assert_eq!(waits(&mut bench), 7);
    let mut pieces = BTreeMap::new();
    while let told = bench.deliver("erp", Stream::Orders)
        && !told.is_empty()
    {
        pieces.extend(told.iter().map(|it| {
            let record = it.delivery.record.to_json();
            let quantity = record["lines"][0]["quantity"].as_str().unwrap().to_owned();
            (it.delivery.reference.clone(), quantity)
        }));
    }
    assert_eq!(pieces.len(), 7);
    assert_eq!(pieces["north:6"], "3");
    assert_eq!(bench.engine.quarantine(0, 9).unwrap().len(), 0);
}

/// A proof knows that a parked order is on its way.
#[test]
fn a_parked_order_is_on_its_way() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    let seven = young("7", &[("A", 1)], "none");
    let crate::connector::Body::Present(record) = seven.body else {
        unreachable!()
    };
    let things = vec![(seven.id, record)];
    let accounts = bench.engine.account("north_orders".into(), things).unwrap();
    assert!(
        matches!(accounts[0].state, State::Waiting(_)),
        "{accounts:?}"
    );
}

/// Two sinks that are behind: each has its own orders parked.
#[test]
fn each_sink_has_its_own_parked_orders() {
    let mut rules = few(Mode::Apply);
    let books = Route {
        name: "books".into(),
        from: ("north".into(), Stream::Orders),
        to: ("books".into(), Stream::Orders),
        mode: Mode::Apply,
        start_from: None,
    };
    let routes: Vec<Route> = rules.router.all().cloned().chain([books]).collect();
    rules.router = Router::new(routes);
    let mut bench = Bench::with(rules);
    seven(&mut bench);
    let mut told = Vec::new();
    while let more = bench.deliver("books", Stream::Orders)
        && !more.is_empty()
    {
        told.extend(numbers(&more));
    }
    assert_eq!(told, ["1", "2", "3", "4", "5", "6", "7"]);
    let off = young("7", &[("A", 1)], "cancelled");
    assert_eq!(bench.accept("north", Stream::Orders, vec![off]).queued, 1);
    assert_eq!(all_but(&mut bench, &[]), ["1", "2", "3", "4", "5", "6"]);
    let off = bench.deliver("books", Stream::Orders);
    assert_eq!(off[0].delivery.operation, Operation::Cancel);
}

/// A renamed sink has the same orders parked: what is called off of them is found.
#[test]
fn the_parked_orders_of_a_renamed_sink_are_its_own() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
    let mut store = bench.disk.reopen().unwrap();
    rename_connection(&mut store, &"erp".into(), &"books".into()).unwrap();
    let rules = rename::renamed(few(Mode::Apply), "erp", "books");
    let clock = bench.clock.clone();
    let engine = Engine::open(Box::new(store), Arc::new(rules), Arc::new(clock), 3);
    bench.engine = engine.unwrap();
    let off = young("6", &[("A", 1)], "cancelled");
    bench.accept("north", Stream::Orders, vec![off]);
    let mut told = Vec::new();
    while let more = bench.claim("books", Stream::Orders)
        && !more.is_empty()
    {
        told.extend(
            more.iter()
                .map(|it| (numbers(&more).len(), it.delivery.operation)),
        );
        let results = more.iter().map(|it| (it.clone(), there(it))).collect();
        bench.settle("books", Stream::Orders, results);
    }
    let cancels = told.iter().filter(|it| it.1 == Operation::Cancel);
    assert_eq!((told.len(), cancels.count()), (7, 1));
}

/// Per-key order, after a restart too: what stands behind a parked order is not first in its line.
#[test]
fn what_stands_behind_a_parked_order_finds_it_after_a_restart() {
    let mut bench = Bench::with(few(Mode::Apply));
    seven(&mut bench);
    let behind = bench.engine.alone(|stage| {
        let place = ("north".into(), Stream::Orders, "6".into());
        let id = tables::LINK.get(stage.txn, &place)?.unwrap().0;
        let order = tables::ENTITY.get(stage.txn, &id)?.unwrap();
        let mut routes = stage.rules.router.all();
        let route = routes.find(|it| it.to.0.as_str() == "erp").unwrap();
        let json = order_json("6", &[("A", 1)]);
        let mut row = orders::new_row(stage, &order, &id, route, Operation::Update, &json);
        stage.put_event(&mut row)
    });
    behind.unwrap();
    assert_eq!(in_memory(&bench), 4, "two, the sixth and what is behind it");
    let mut bench = bench.crash_with(few(Mode::Apply));
    assert_eq!(in_memory(&bench), 4);
    let mut told = Vec::new();
    while let more = bench.deliver("erp", Stream::Orders)
        && !more.is_empty()
    {
        let sixth = more.iter().filter(|it| it.delivery.reference == "north:6");
        told.extend(sixth.map(|it| it.delivery.operation));
    }
    assert_eq!(told, [Operation::Create, Operation::Update]);
}
