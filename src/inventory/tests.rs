//! The arithmetic of stock, story by story.

use std::time::Duration;

use super::*;
use crate::connector::StockBasis;
use crate::record::{Presence, Record, Sku, Stream};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn n(value: i64) -> Decimal {
    Decimal::from(value)
}

fn member(on_hand: i64, stale: bool) -> Member {
    let position = Position {
        on_hand: Quantity::pieces(on_hand),
        unavailable: Quantity::ZERO,
        read_at: at(0),
    };
    Member {
        connection: "erp".into(),
        location: "WH".into(),
        position,
        stale,
    }
}

fn taken(channel: &str, quantity: i64) -> Reservation {
    Reservation {
        order: "ord_1".into(),
        order_number: "17".into(),
        line_id: "1".into(),
        sku: Sku::new("A").unwrap(),
        channel: channel.into(),
        quantity: Quantity::pieces(quantity),
        released: Quantity::ZERO,
        called_off: Quantity::ZERO,
        issues: vec![],
        confirmed_at: None,
        known_to_owner: false,
        placed_at: at(0),
    }
}

#[test]
fn the_rule_is_applied_in_its_fixed_order() {
    let rule = |buffer, percent, pack, min, max: Option<i64>| PublishRule {
        buffer: n(buffer),
        percent: n(percent),
        pack: n(pack),
        min: n(min),
        max: max.map(n),
        floor: None,
    };
    let cases = [
        (10, rule(0, 100, 1, 0, None), 10),
        (10, rule(3, 100, 1, 0, None), 7),
        (10, rule(0, 50, 1, 0, None), 5),
        (9, rule(0, 50, 1, 0, None), 4),
        (2, rule(3, 100, 1, 0, None), 0),
        (-4, rule(0, 100, 1, 0, None), 0),
        (100, rule(0, 100, 1, 0, Some(20)), 20),
        (0, rule(0, 100, 1, 2, None), 2),
        (52_900, rule(0, 100, 1000, 0, None), 52), // story 40: pieces in stock, boxes on sale
        (10, rule(0, 50, 0, 0, None), 5),          // a pack of none is a piece
    ];
    for (available, rule, expect) in cases {
        assert_eq!(rule.number(n(available)), n(expect), "{available} {rule:?}");
    }
}

/// Story 34: an order on one store lowers the other at once.
#[test]
fn an_order_on_one_channel_lowers_every_channel() {
    let orders = vec![taken("north", 2)];
    let north = "north".into();
    let south = "south".into();
    let rule = PublishRule::default();
    let told_north = derive(
        vec![member(10, false)],
        orders.clone(),
        &rule,
        Some(&north),
        false,
    );
    let told_south = derive(vec![member(10, false)], orders, &rule, Some(&south), false);
    assert_eq!(told_south.to_write, Some(n(8)));
    // North allocates its own two apart: told 10, it shows 8.
    assert_eq!(
        (told_north.published, told_north.to_write),
        (Some(n(8)), Some(n(10)))
    );
}

/// Goods leave: the snapshot falls and the reservation ends together, never one without the other.
#[test]
fn shipping_never_counts_twice() {
    let mut order = taken("north", 2);
    let rule = PublishRule::default();
    let number = |on_hand, order: &Reservation| {
        derive(
            vec![member(on_hand, false)],
            vec![order.clone()],
            &rule,
            None,
            false,
        )
        .published
    };
    assert_eq!(number(10, &order), Some(n(8)));
    order.issue("S1", Quantity::pieces(2), at(100));
    order.issue("S1", Quantity::pieces(2), at(100));
    assert_eq!(
        number(10, &order),
        Some(n(8)),
        "left, but no snapshot knows yet"
    );
    assert!(
        !order.absorb(StockBasis::OnHand, at(100), Duration::ZERO),
        "began too early to know"
    );
    assert!(order.absorb(StockBasis::OnHand, at(101), Duration::ZERO));
    assert_eq!(number(8, &order), Some(n(8)));
    assert!(!order.is_done(), "the channel still allocates them");
    assert!(order.tell_channel("S1"));
    assert!(order.is_done());
}

/// A buyer calls off what the clerk is packing: the channel gives its allocation back at once, the owner
/// does not. Until it does (or for ever, when the goods leave all the same) the pool goes without them.
#[test]
fn what_the_buyer_called_off_is_no_longer_allocated_by_the_channel() {
    let mut order = taken("north", 2);
    assert_eq!(order.open_at_channel(), Quantity::pieces(2));
    order.called_off = Quantity::pieces(2);
    assert_eq!(order.open_at_channel(), Quantity::ZERO);
    assert_eq!(
        order.outstanding(),
        Quantity::pieces(2),
        "the owner may still send it"
    );
    order.issue("S1", Quantity::pieces(2), at(100));
    assert!(order.absorb(StockBasis::OnHand, at(101), Duration::ZERO));
    assert!(order.is_done());
}

#[test]
fn a_partial_shipment_absorbs_its_part() {
    let mut order = taken("north", 5);
    order.issue("S1", Quantity::pieces(2), at(100));
    order.absorb(StockBasis::OnHand, at(200), Duration::ZERO);
    assert_eq!(order.outstanding(), Quantity::pieces(3));
    assert_eq!(order.unshipped(), Quantity::pieces(3));
    let called_off = Reservation {
        released: Quantity::pieces(2),
        ..order.clone()
    };
    assert_eq!(called_off.unshipped(), Quantity::pieces(1));
    order.issue("S2", Quantity::pieces(3), at(300));
    order.absorb(StockBasis::OnHand, at(310), Duration::from_secs(60));
    assert_eq!(
        order.outstanding(),
        Quantity::pieces(3),
        "within the owner's lag"
    );
    order.absorb(StockBasis::OnHand, at(361), Duration::from_secs(60));
    assert_eq!(order.outstanding(), Quantity::ZERO);
}

#[test]
fn an_owner_that_shows_free_stock_absorbs_at_confirmation() {
    let mut order = taken("north", 2);
    assert!(
        !order.absorb(StockBasis::Free, at(500), Duration::ZERO),
        "never confirmed"
    );
    order.confirmed_at = Some(at(100));
    assert!(order.absorb(StockBasis::Free, at(101), Duration::ZERO));
    assert_eq!(order.outstanding(), Quantity::ZERO);
}

/// Story 38: unknown is not zero.
#[test]
fn a_sku_that_no_owner_knows_is_not_published() {
    let derived = derive(vec![], vec![], &PublishRule::default(), None, false);
    assert_eq!((derived.available, derived.to_write), (None, None));
    let level = StockLevel {
        on_hand: Presence::Null,
        ..StockLevel::on_hand(Sku::new("A").unwrap(), Quantity::ZERO)
    };
    assert_eq!(Position::of(&level, at(0)), None);
}

#[test]
fn a_stale_owner_may_only_lower_the_number() {
    let rule = PublishRule {
        floor: Some(n(1)),
        ..PublishRule::default()
    };
    let derived = derive(vec![member(10, true)], vec![], &rule, None, false);
    assert!(derived.only_decrease);
    assert_eq!(derived.published, Some(n(1)));
}

/// Stories 39 and 48: a feed that loses most of its rows is held.
#[test]
fn a_shrunken_feed_is_held() {
    let guard = Guard::default();
    let judge = |known, rows, to_zero| {
        guard
            .judge(Facts {
                known,
                rows,
                to_zero,
            })
            .map_err(|held| held.code)
    };
    assert_eq!(judge(100, 100, 0), Ok(()));
    assert_eq!(judge(100, 10, 0), Err("too_few_rows"));
    assert_eq!(judge(100, 90, 40), Err("too_many_zeros"));
    assert_eq!(judge(3, 0, 3), Ok(()), "too few to judge");
}

/// What is there and not for sale, because it is damaged or looked at, is not offered.
#[test]
fn what_is_not_for_sale_is_not_offered() {
    let level = |json| match Record::from_json(Stream::Stock, json).unwrap() {
        Record::Stock(level) => level,
        other => panic!("{other:?}"),
    };
    let told = serde_json::json!({"sku": "A", "on_hand": "10", "unavailable": {"damaged": "2", "quality": "1"}});
    let position = Position::of(&level(told), at(0)).unwrap();
    assert_eq!(position.on_hand, Quantity::pieces(10));
    assert_eq!(position.unavailable, Quantity::pieces(3));
    let mut tally = Tally::default();
    tally.member(&position, false);
    assert_eq!(tally.there, n(7));
}

/// A share is allowed up to its last piece, and judging begins with the smallest number it is meant for.
#[test]
fn a_run_may_do_as_much_as_it_may_and_no_more() {
    let guard = Guard::default();
    let judge = |known, rows, to_zero| {
        let facts = Facts {
            known,
            rows,
            to_zero,
        };
        guard.judge(facts).map_err(|held| held.code)
    };
    assert_eq!(judge(100, 80, 0), Ok(()));
    assert_eq!(judge(100, 79, 0), Err("too_few_rows"));
    assert_eq!(judge(100, 100, 30), Ok(()));
    assert_eq!(judge(100, 100, 31), Err("too_many_zeros"));
    assert_eq!(judge(19, 0, 0), Ok(()));
    assert_eq!(judge(20, 0, 0), Err("too_few_rows"));
}

#[test]
fn a_price_may_move_by_half_and_never_be_given_away() {
    let guard = PriceGuard::default();
    let judge = |told: Option<i64>, new| guard.judge(told.map(n), n(new)).map_err(|held| held.code);
    for (told, new, expect) in [
        (Some(10), 5, Ok(())),
        (Some(10), 4, Err(PRICE_JUMP)),
        (Some(10), 15, Ok(())),
        (Some(10), 16, Err(PRICE_JUMP)),
        (Some(10), 0, Err("zero_price")),
        (None, 5, Ok(())),
        // What was free has no share to move by.
        (Some(0), 5, Ok(())),
    ] {
        assert_eq!(judge(told, new), expect, "{told:?} {new}");
    }
    let run = |held, known| guard.judge_run(held, known).map_err(|held| held.code);
    assert_eq!(run(19, 19), Ok(()));
    assert_eq!(run(2, 20), Ok(()));
    assert_eq!(run(3, 20), Err("too_many_jumps"));
}

/// Its read may have begun in the same moment and before the confirmation.
#[test]
fn an_owner_that_read_when_it_confirmed_may_not_know_the_order() {
    let mut order = taken("north", 2);
    order.confirmed_at = Some(at(100));
    assert!(!order.absorb(StockBasis::Free, at(100), Duration::ZERO));
    assert!(order.absorb(StockBasis::Free, at(101), Duration::ZERO));
}

/// Unknown is not zero.
#[test]
fn of_what_no_owner_told_there_is_no_number() {
    let tally = Tally::default();
    assert!(!tally.is_known());
    let numbers = tally.number(&PublishRule::default(), false);
    assert_eq!((numbers.published, numbers.to_write), (None, None));
}

/// More is sold than there is. Of an item that is on sale the channel is told no more than what may leave still; of one
/// that is off sale just what it has sold itself, so that none is left there.
#[test]
fn an_item_off_sale_is_told_what_the_channel_has_sold() {
    let north = "north".into();
    let told = |withdrawn: bool| {
        let (there, sold) = (vec![member(1, false)], vec![taken("north", 3)]);
        let rule = PublishRule::default();
        let derived = derive(there, sold, &rule, Some(&north), withdrawn);
        (derived.published, derived.to_write)
    };
    assert_eq!(told(false), (Some(n(0)), Some(n(1))));
    assert_eq!(told(true), (Some(n(0)), Some(n(3))));
}
