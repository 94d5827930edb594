//! What an accepted page leaves behind: how far its stream was read, what was counted, what is kept.

use super::*;
use crate::connector::{Operation, Raw, Version};
use crate::ledger::Entity;

fn life(bench: &mut Bench, stream: Stream, name: &str) -> Life {
    let mut lives = bench.engine.explain(stream, name.into()).unwrap();
    assert_eq!(lives.len(), 1, "{name}");
    lives.remove(0)
}

fn entity(bench: &mut Bench, name: &str) -> Entity {
    life(bench, Stream::Orders, name).entity
}

fn cursor(bench: &mut Bench, connection: &str, stream: Stream) -> Option<Cursor> {
    bench.engine.cursor(connection.into(), stream).unwrap()
}

/// What a whole run left out is only known when it was read in one go, however many pages it has.
#[test]
fn a_run_of_many_pages_that_was_cut_off_begins_at_its_first() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 1)]);
    let whole = cursor(&mut bench, "erp", Stream::Stock);
    for sku in ["A", "B", "C"] {
        bench.tick(1);
        let now = bench.clock.now();
        bench.accept_at("erp", Stream::Stock, vec![level(sku, 2)], now, true);
    }
    let mut bench = bench.crash();
    assert_eq!(cursor(&mut bench, "erp", Stream::Stock), whole);
}

/// A page that brings nothing but a later cursor is durable: nobody reads from the old one again.
#[test]
fn an_empty_page_moves_the_cursor_for_good() {
    let mut bench = Bench::new();
    bench.tick(1);
    bench.accept("north", Stream::Orders, vec![]);
    let now = bench.clock.now();
    let mut bench = bench.crash();
    let read = cursor(&mut bench, "north", Stream::Orders);
    assert_eq!(read, Some(Cursor::watermark(now)));
}

/// Of stock the moment of a look decides what its numbers know, also where it brings nothing.
#[test]
fn a_look_at_stock_is_durable() {
    let mut bench = Bench::new();
    let cursor = Cursor::Sequence { last: 1 };
    let look = |bench: &mut Bench| {
        bench.tick(1);
        let now = bench.clock.now();
        let unit = Unit {
            connection: "erp".into(),
            stream: Stream::Stock,
            changes: vec![],
            read_at: now,
            read_until: now,
            as_of: None,
            reached: Some(Reached {
                cursor: cursor.clone(),
                more: false,
                settle_lag: Duration::ZERO,
            }),
        };
        bench.engine.accept(unit).unwrap();
        now
    };
    look(&mut bench);
    let last = look(&mut bench);
    let mut bench = bench.crash();
    let drained = bench.engine.drained_at("erp".into(), Stream::Stock);
    assert_eq!(drained.unwrap(), Some(last));
}

/// Story 26: each kind of news is counted as what it is.
#[test]
fn what_came_is_counted_by_what_it_is() {
    let mut bench = Bench::new();
    let version = |mut change: Change, at: &str| {
        change.version = Version {
            updated_at: Some(at.parse().unwrap()),
            etag: None,
        };
        change
    };
    let one = || version(order("1", &[("A", 1)]), "2026-11-22T10:00:00Z");
    let two = order("2", &[("A", 1)]);
    let accepted = bench.accept("north", Stream::Orders, vec![one(), two]);
    assert_eq!((accepted.news, accepted.queued), (2, 2));
    let old = |id: &str| version(order(id, &[("A", 2)]), "2026-11-22T09:00:00Z");
    let again = vec![one(), one(), old("1"), old("1")];
    let accepted = bench.accept("north", Stream::Orders, again);
    assert_eq!((accepted.duplicates, accepted.stale), (2, 2));
    assert_eq!(accepted.news, 0);
}

/// The number that people use is theirs at its origin alone.
#[test]
fn an_order_has_its_number_where_it_was_placed() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    bench.deliver("erp", Stream::Orders);
    bench.accept("erp", Stream::Orders, vec![order("R-north:1", &[("A", 1)])]);
    let entity = entity(&mut bench, "N1");
    let number = |name: &str| entity.links[&ConnectionName::from(name)].number.clone();
    assert_eq!(number("north"), Some("N1".into()));
    assert_eq!(number("erp"), None);
}

/// A payload up to the limit is kept for looking at it, a larger one is not.
#[test]
fn a_payload_is_kept_if_it_is_not_too_large() {
    for (bytes, is_kept) in [(99, true), (100, true), (101, false)] {
        let mut rules = rules(Mode::Apply);
        rules.limits.max_payload_bytes = 100;
        let mut bench = Bench::with(rules);
        let mut change = order("1", &[("A", 1)]);
        let raw = format!("{{\"id\":\"{}\"}}", "1".repeat(bytes - 9));
        assert_eq!(raw.len(), bytes);
        change.raw = Some(Raw {
            bytes: raw.into(),
            personal: false,
        });
        bench.accept("north", Stream::Orders, vec![change]);
        let entity = entity(&mut bench, "N1");
        let seen = entity.links[&ConnectionName::from("north")].seen.as_ref();
        assert_eq!(seen.unwrap().payload.is_some(), is_kept, "{bytes}");
    }
}

/// A return is created once and then updated, and never taken for an item.
#[test]
fn a_return_is_carried_and_then_updated() {
    let mut rules = rules(Mode::Apply);
    let route = Route {
        name: "returns".into(),
        from: ("north".into(), Stream::Returns),
        to: ("erp".into(), Stream::Returns),
        mode: Mode::Apply,
        start_from: None,
    };
    let routes: Vec<Route> = rules.router.all().cloned().chain([route]).collect();
    rules.router = Router::new(routes);
    let mut bench = Bench::with(rules);
    let returned = |id: &str, received: i64| {
        let line = json!({"order_line": "1-0", "sku": "A", "quantity_requested": "2",
            "quantity_received": received.to_string()});
        let json = json!({"id": id, "order": "1", "lines": [line]});
        change(Stream::Returns, id, json)
    };
    let both = vec![returned("R1", 0), returned("R2", 0)];
    let accepted = bench.accept("north", Stream::Returns, both);
    assert_eq!((accepted.news, accepted.queued), (2, 2));
    let created = bench.deliver("erp", Stream::Returns);
    assert_eq!(created.len(), 2);
    assert!(
        created
            .iter()
            .all(|it| it.delivery.operation == Operation::Create)
    );
    let both = vec![returned("R1", 2), returned("R2", 2)];
    assert_eq!(bench.accept("north", Stream::Returns, both).queued, 2);
    let updated = bench.deliver("erp", Stream::Returns);
    assert!(
        updated
            .iter()
            .all(|it| it.delivery.operation == Operation::Update)
    );
    assert_eq!(updated.len(), 2);
    assert_eq!(bench.counts("returns").routed, 4);
    // Each is told, also while the one before waits.
    for received in [1, 2] {
        bench.accept("north", Stream::Returns, vec![returned("R3", received)]);
    }
    assert_eq!(bench.engine.queue(0, 9).unwrap().len(), 2);
}

/// What another connection owns is noted, counted, and carried nowhere.
#[test]
fn what_is_not_the_owners_is_filtered_and_counted() {
    let mut rules = catalogue(Mode::Apply);
    rules.owners = [(Stream::Items, "acme".into())].into();
    let mut bench = Bench::with(rules);
    let items = vec![item("A", "a", "active"), item("B", "b", "active")];
    let accepted = bench.accept("erp", Stream::Items, items);
    assert_eq!((accepted.conflicts, accepted.queued), (2, 0));
    let counts = bench.counts("north_items");
    assert_eq!((counts.routed, counts.filtered["not_the_owner"]), (2, 2));
}
