//! What owners, orders and withdrawals do to the numbers of a pool, at their edges.

use super::stock::told;
use super::*;

/// One order's end leaves what the others take.
#[test]
fn an_order_that_is_done_leaves_the_reservation_of_another() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    let both = [
        young("1", &[("A", 2)], "none"),
        young("2", &[("A", 3)], "none"),
    ];
    bench.accept("north", Stream::Orders, both.to_vec());
    assert_eq!(told(&mut bench, "A"), "10/5");
    let off = young("1", &[("A", 2)], "cancelled");
    bench.accept("north", Stream::Orders, vec![off]);
    assert_eq!(told(&mut bench, "A"), "10/7");
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
    assert_eq!(told(&mut bench, "A"), "9/6", "the second order stands");
}

/// Goods leave the one who fulfils: no other owner's snapshot knows that they left.
#[test]
fn a_supplier_does_not_know_what_left_the_warehouse() {
    let mut bench = Bench::new();
    bench.tick(3600); // no store before this one told of anything here
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("acme", Stream::Stock, vec![level("A", 7)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let left = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    bench.tick(60);
    bench.accept("acme", Stream::Stock, vec![level("A", 8)]);
    assert_eq!(told(&mut bench, "A"), "13/11");
}

/// An owner that shows what is free lowers its number when it confirms an order: the reservation ends with its next
/// snapshot, and the order is not subtracted twice.
#[test]
fn an_owner_of_free_stock_knows_the_orders_that_it_confirmed() {
    let mut rules = rules(Mode::Apply);
    let free = Facts {
        stock_basis: StockBasis::Free,
        ..Facts::default()
    };
    rules.facts.insert("erp".into(), free);
    let mut bench = Bench::with(rules);
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 10)]);
    assert_eq!(told(&mut bench, "A"), "10/8", "it does not have it yet");
    bench.deliver("erp", Stream::Orders);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 8)]);
    assert_eq!(told(&mut bench, "A"), "10/8");
}

fn north_items() -> Rules {
    let mut rules = catalogue(Mode::Apply);
    let south = ("south".into(), Stream::Items);
    let routes: Vec<Route> = rules
        .router
        .all()
        .filter(|it| it.to != south)
        .cloned()
        .collect();
    rules.router = Router::new(routes);
    rules.facts = BTreeMap::new();
    rules
}

fn number(bench: &mut Bench, channel: &str) -> String {
    while !bench.deliver(channel, Stream::Stock).is_empty() {}
    let why = bench.engine.explain_stock("A".into(), Some(channel.into()));
    let told = why.unwrap()[0].published.clone();
    told.map_or("-".into(), |(number, _)| number)
}

/// An item that is taken off sale is sold out where its owner says what is on offer, and nowhere else; and only
/// its owner puts it back.
#[test]
fn an_item_is_withdrawn_where_its_owner_offers_it() {
    let mut rules = north_items();
    rules.owners = BTreeMap::new();
    let mut bench = Bench::with(rules);
    bench.accept("erp", Stream::Items, vec![item("A", "a", "active")]);
    while !bench.deliver("north", Stream::Items).is_empty() {}
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(number(&mut bench, "north"), "5");
    bench.tick(1);
    bench.accept("erp", Stream::Items, vec![item("A", "a", "archived")]);
    assert_eq!(number(&mut bench, "north"), "0");
    assert_eq!(number(&mut bench, "south"), "5");
    bench.accept("acme", Stream::Items, vec![item("A", "a", "active")]);
    assert_eq!(number(&mut bench, "north"), "0");
    bench.tick(1);
    bench.accept("erp", Stream::Items, vec![item("A", "a", "active")]);
    assert_eq!(number(&mut bench, "north"), "5");
}

/// Why a number moved stands in its journal.
#[test]
fn an_order_is_the_cause_of_a_lower_number() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    let why = bench.engine.explain_stock("A".into(), Some("south".into()));
    let entries = why.unwrap().remove(0).entries;
    let (_, last) = entries.last().unwrap();
    assert_eq!(last.detail, "order N1 on north");
    assert_eq!(
        (last.before.as_deref(), last.after.as_deref()),
        (Some("5"), Some("3"))
    );
}

/// Each kind of line of a page is counted as what it is.
#[test]
fn what_a_page_of_stock_said_is_counted() {
    let mut bench = Bench::new();
    let page = |a: i64| vec![level("A", a), level("B", 2), level("C", 3)];
    let accepted = bench.accept("erp", Stream::Stock, page(1));
    assert_eq!((accepted.news, accepted.duplicates), (3, 0));
    bench.tick(1);
    let accepted = bench.accept("erp", Stream::Stock, page(2));
    assert_eq!((accepted.news, accepted.duplicates), (1, 2));
    let unknown = ["D", "E"].map(|sku| {
        let sku = crate::record::Sku::new(sku).unwrap();
        let level = crate::record::StockLevel {
            on_hand: crate::record::Presence::Null,
            ..crate::record::StockLevel::on_hand(sku.clone(), crate::record::Quantity::ZERO)
        };
        Change::present(sku.as_str(), Record::Stock(level))
    });
    let accepted = bench.accept("erp", Stream::Stock, unknown.to_vec());
    assert_eq!((accepted.news, accepted.unknown), (0, 2));
}

/// A whole list that leaves most of it out, where a shop allows lists to shrink: what would fall to zero is counted
/// and judged, and done in bounded steps if it may.
#[test]
fn what_a_whole_list_left_out_is_judged_and_done_in_steps() {
    for (share, holds) in [(3, true), (10, false)] {
        let mut rules = rules(Mode::Apply);
        rules.guard.max_shrink_share = rust_decimal::Decimal::ONE;
        rules.guard.max_zero_share = rust_decimal::Decimal::new(share, 1);
        let mut bench = Bench::with(rules);
        let all = (0..1201).map(|n| level(&format!("S{n:04}"), 1));
        bench.accept("acme", Stream::Stock, all.collect());
        bench.tick(60);
        let now = bench.clock.now();
        let unit = |more| Unit {
            connection: "acme".into(),
            stream: Stream::Stock,
            changes: vec![level("S0000", 1)],
            read_at: now,
            read_until: now,
            as_of: None,
            reached: Some(Reached {
                cursor: Cursor::watermark(now),
                more,
                settle_lag: Duration::ZERO,
            }),
        };
        bench.engine.accept(unit(true)).unwrap();
        let mut steps = 1;
        while bench.engine.absence(unit(false)).unwrap() {
            steps += 1;
            assert!(steps < 9, "it never ends");
        }
        let codes: Vec<String> = bench
            .engine
            .quarantine(0, 9)
            .unwrap()
            .iter()
            .map(|row| row.row.fault.code.to_string())
            .collect();
        let mut gone = 0;
        loop {
            let claimed = bench.deliver("south", Stream::Stock);
            let zero = |one: &&Claimed| match &one.delivery.record {
                Record::Stock(level) => level.on_hand.value().unwrap().0.is_zero(),
                _ => false,
            };
            gone += claimed.iter().filter(zero).count();
            if claimed.is_empty() {
                break;
            }
        }
        let expected = if holds { (1, 0) } else { (3, 1200) };
        assert_eq!((steps, gone), expected);
        assert_eq!(codes == ["too_many_zeros"], holds, "{codes:?}");
    }
}

/// An owner that turns silent and speaks again: its numbers may only fall meanwhile. Its silence is noted once, and so
/// is its return, and then there is nothing to compute.
#[test]
fn silence_is_noticed_once_and_so_is_its_end() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("acme", Stream::Stock, vec![level("A", 7)]);
    assert_eq!(told(&mut bench, "A"), "12/12");
    let noted = |bench: &mut Bench| {
        let rows = bench
            .engine
            .store()
            .scan(&crate::store::KeyRange::all(), usize::MAX);
        let keys = rows.unwrap().into_iter();
        let keys = keys.map(|row| String::from_utf8_lossy(&row.key).into_owned());
        keys.filter(|key| key.contains("stale/")).count()
    };
    bench.tick(3600);
    bench.engine.refresh(None).unwrap();
    assert_eq!(noted(&mut bench), 0, "as old as it may be");
    bench.tick(1);
    bench.engine.refresh(None).unwrap();
    assert_eq!(noted(&mut bench), 2, "one for each owner");
    bench.accept("acme", Stream::Stock, vec![level("A", 9)]);
    bench.engine.refresh(None).unwrap();
    assert_eq!(noted(&mut bench), 1);
    assert_eq!(told(&mut bench, "A"), "12/12", "the other is silent still");
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.engine.refresh(None).unwrap();
    assert_eq!(noted(&mut bench), 0);
    assert_eq!(told(&mut bench, "A"), "14/14");
}

/// More keys that stand apart than are read at once: a new number ends each of their quarantines all the same.
#[test]
fn a_new_list_mends_any_number_of_refused_numbers() {
    let mut bench = Bench::new();
    let list = |number: i64| (0..700).map(move |n| level(&format!("S{n:04}"), number));
    bench.accept("erp", Stream::Stock, list(5).collect());
    let mut refused = 0;
    loop {
        let claimed = bench.claim("south", Stream::Stock);
        if claimed.is_empty() {
            break;
        }
        refused += claimed.len();
        let no = |one: Claimed| (one, Outcome::Failed(Fault::reject("no", "no")));
        let results = claimed.into_iter().map(no).collect();
        bench.settle("south", Stream::Stock, results);
    }
    assert_eq!(refused, 700);
    assert_eq!(bench.engine.status().unwrap().quarantined, 700);
    bench.tick(1);
    bench.accept("erp", Stream::Stock, list(4).collect());
    assert_eq!(bench.engine.status().unwrap().quarantined, 0);
    let again = bench.claim("south", Stream::Stock).remove(0);
    assert_eq!(again.delivery.attempts, 0, "another number, another try");
}

/// The channel lowers its own number when it is told of a parcel. Until it has answered nobody knows
/// whether it did: it is told less only, and so little that it is right in both cases.
#[test]
fn while_a_parcel_is_being_told_its_channel_is_only_told_less() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    assert_eq!(told(&mut bench, "A"), "5/3");
    let left = bench.clock.now();
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], left);
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert_eq!(bench.claim("north", Stream::Shipments).len(), 1);
    // Killed before the answer: north has 5 on hand of which 2 are allocated, or 3.
    let mut bench = bench.crash();
    bench.accept("south", Stream::Orders, vec![order("2", &[("A", 1)])]);
    assert_eq!(
        told(&mut bench, "A"),
        "2/3",
        "4 would be too many if it has 3"
    );
    bench.accept("erp", Stream::Stock, vec![level("A", 9)]);
    assert_eq!(told(&mut bench, "A"), "2/7", "more can wait");
    bench.deliver("north", Stream::Shipments);
    assert_eq!(told(&mut bench, "A"), "6/7", "two left, one is reserved");
}

/// The other way round: a parcel is not told while a number of its goods is on its way.
#[test]
fn a_parcel_waits_for_a_number_that_is_being_written() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    told(&mut bench, "A");
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    let writing = bench.claim("north", Stream::Stock);
    assert_eq!(writing.len(), 1);
    let parcel = shipment("S1", "R-north:1", &[("A", 2)], bench.clock.now());
    bench.accept("erp", Stream::Shipments, vec![parcel]);
    assert!(bench.claim("north", Stream::Shipments).is_empty());
    let results = writing.iter().map(|c| (c.clone(), there(c))).collect();
    bench.settle("north", Stream::Stock, results);
    assert_eq!(bench.claim("north", Stream::Shipments).len(), 1);
}

/// Seed 12003: a shop with allocations apart sold three, and two of them are not there any more. When its buyer calls off,
/// the shop gives back three by itself; it must not have been told that three are there.
#[test]
fn what_a_shop_sold_and_is_not_there_does_not_come_back_on_offer() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 3)])]);
    assert_eq!(told(&mut bench, "A"), "3/0");
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 1)]);
    assert_eq!(told(&mut bench, "A"), "1/0", "one of three is there");
}

/// Nobody knows whether 12 was told, and a jump behind it is held. Another value ends what is held, and not the doubt: it is
/// looked up before, and told once more when 12 cannot arrive any more.
#[test]
fn a_held_value_that_is_replaced_leaves_the_doubt_about_an_earlier_one() {
    let mut rules = catalogue(Mode::Apply);
    let routes = rules.router.all();
    let routes = routes.filter(|route| route.to.1 != Stream::Items);
    rules.router = Router::new(routes.cloned().collect::<Vec<_>>());
    let mut bench = Bench::with(rules);
    let say = |bench: &mut Bench, amount: &str| {
        bench.tick(1);
        bench.accept("erp", Stream::Prices, vec![price("A", amount)]);
    };
    say(&mut bench, "10");
    bench.deliver("north", Stream::Prices);
    say(&mut bench, "12");
    let claimed = bench.claim("north", Stream::Prices).remove(0);
    let lost = Outcome::Failed(Fault::retry("http_timeout", "no reply").after_sending());
    bench.settle("north", Stream::Prices, vec![(claimed, lost)]);
    say(&mut bench, "150");
    assert!(bench.claim("north", Stream::Prices).is_empty(), "held");
    say(&mut bench, "11");
    bench.tick(60);
    let next = bench.claim("north", Stream::Prices).remove(0);
    assert_eq!(next.action, Action::FindFirst(Earlier::Over));
}
