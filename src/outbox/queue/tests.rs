//! Lanes, turns, lines and groups of the index over the outbox, and what it counts.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn entry(entity: &str, lane: Lane, due: Option<i64>) -> Entry {
    Entry {
        sink: "erp".into(),
        stream: Stream::Orders,
        line: entity.into(),
        lane,
        due: due.map(at),
        waits_on: None,
        group: None,
        holds_group: false,
        bytes: 0,
        on_the_way: Vec::new(),
        perhaps: false,
        parked: false,
    }
}

fn target() -> Target {
    ("erp".into(), Stream::Orders)
}

#[test]
fn lanes_first_then_time() {
    let mut queue = Queue::default();
    queue.put(1, entry("a", Lane::Orders, Some(0)));
    queue.put(2, entry("b", Lane::Cancellations, Some(5)));
    queue.put(3, entry("c", Lane::Orders, Some(-5)));
    assert_eq!(queue.due(&target(), at(10), 9), [2, 3, 1]);
    assert_eq!(queue.due(&target(), at(1), 9), [3, 1]);
    assert_eq!(queue.due(&target(), at(10), 2), [2, 3]);
    assert_eq!(queue.next_due(&target()), Some(at(-5)));
}

/// Per-key order: a cancellation never overtakes the order it cancels, however urgent its lane.
#[test]
fn only_the_first_of_a_thing_may_be_sent() {
    let mut queue = Queue::default();
    queue.put(1, entry("a", Lane::Orders, Some(100)));
    queue.put(2, entry("a", Lane::Cancellations, Some(0)));
    assert_eq!(queue.due(&target(), at(50), 9), [0u64; 0]);
    queue.remove(1);
    assert_eq!(queue.due(&target(), at(50), 9), [2]);
}

/// Story 63: a quarantined event blocks later events of its own thing only.
#[test]
fn a_stopped_row_blocks_its_own_thing_only() {
    let mut queue = Queue::default();
    queue.put(1, entry("a", Lane::Orders, None));
    queue.put(2, entry("a", Lane::Orders, Some(0)));
    queue.put(3, entry("b", Lane::Orders, Some(0)));
    assert_eq!(queue.due(&target(), at(0), 9), [3]);
    queue.put(1, entry("a", Lane::Orders, Some(0)));
    assert_eq!(queue.due(&target(), at(0), 9), [1, 3]);
}

/// Two variants of a new product, created at once, would make two products.
#[test]
fn one_of_a_group_at_a_time() {
    let of_group = |entity: &str, due, holds_group| Entry {
        group: Some("erp/7".into()),
        holds_group,
        ..entry(entity, Lane::Items, due)
    };
    let mut queue = Queue::default();
    queue.put(1, of_group("a", Some(0), false));
    queue.put(2, of_group("b", Some(0), false));
    queue.put(3, entry("c", Lane::Items, Some(0)));
    assert_eq!(queue.due(&target(), at(0), 9), [1, 3], "the first of it");
    queue.put(1, of_group("a", None, true));
    assert_eq!(queue.due(&target(), at(0), 9), [3], "it is under way");
    queue.put(1, of_group("a", Some(60), true));
    queue.remove(3);
    assert_eq!(queue.due(&target(), at(0), 9), [0u64; 0], "nobody knows");
    assert_eq!(queue.next_due(&target()), Some(at(60)));
    assert_eq!(queue.due(&target(), at(60), 9), [1], "it is looked for");
    queue.remove(1);
    assert_eq!(queue.due(&target(), at(0), 9), [2]);
    assert_eq!(queue.size_of(&target()), 1);
}

/// What loops and people are told of the queue, by its rows as they stand.
#[test]
fn what_stands_in_the_queue_is_counted() {
    let mut queue = Queue::default();
    let waiting = |since| Entry {
        waits_on: Some(("item".into(), at(since))),
        bytes: 10,
        ..entry("a", Lane::Orders, None)
    };
    queue.put(3, waiting(7));
    queue.put(4, waiting(5));
    let other = Entry {
        sink: "north".into(),
        ..entry("c", Lane::Orders, Some(0))
    };
    queue.put(8, other);
    queue.put(9, entry("b", Lane::Orders, Some(9)));
    queue.put(6, entry("c", Lane::Orders, Some(20)));
    assert_eq!((queue.len(), queue.size_of(&target())), (5, 4));
    assert_eq!(queue.size_of(&("erp".into(), Stream::Items)), 0);
    assert_eq!(queue.bytes(), 20);
    let waits = Waiting {
        count: 2,
        oldest: at(5),
    };
    assert_eq!(queue.waiting(), BTreeMap::from([(target(), waits)]));
    let north = ("north".into(), Stream::Orders);
    assert_eq!(queue.oldest(), BTreeMap::from([(target(), 6), (north, 8)]));
    assert_eq!(queue.get(3), Some(waiting(7)));
    assert_eq!(queue.get(9).unwrap().due, Some(at(9)));
    queue.remove(3);
    assert_eq!((queue.len(), queue.bytes()), (4, 10));
}

/// A parked row counts as one in memory does, by number and by size, and once.
#[test]
fn parked_rows_are_counted() {
    let mut queue = Queue::default();
    let row = |thing: &str| Entry {
        bytes: 10,
        ..entry(thing, Lane::Orders, Some(0))
    };
    let figures = |queue: &Queue| (queue.len(), queue.size_of(&target()), queue.bytes());
    queue.put(1, row("a"));
    for seq in 2..=5 {
        queue.park(seq, &target(), 10);
    }
    assert_eq!(figures(&queue), (5, 5, 50));
    assert_eq!(queue.short(at(0), 2), Some((target(), 2)));
    assert_eq!(queue.short(at(0), 1), None);
    queue.fetch(3, row("c"));
    queue.fetch(3, row("c"));
    assert_eq!(figures(&queue), (5, 5, 50));
    assert_eq!(queue.due(&target(), at(0), 9), [1, 3]);
    assert_eq!(queue.passed(&target(), Some(4)), 0);
    assert_eq!(queue.short(at(0), 3), Some((target(), 4)));
    assert!(queue.has_parked(&target()));
    assert_eq!(queue.passed(&target(), None), 3, "they are not there");
    assert_eq!((queue.len(), queue.size_of(&target())), (2, 2));
    assert!(!queue.has_parked(&target()));
}

#[test]
fn waiting_rows_are_found_by_what_they_wait_for() {
    let mut queue = Queue::default();
    let waiting = Entry {
        waits_on: Some(("item".into(), at(0))),
        ..entry("a", Lane::Orders, None)
    };
    queue.put(7, waiting);
    assert_eq!(queue.waiting_on(&"item".into()), [7]);
    queue.put(7, entry("a", Lane::Orders, Some(0)));
    assert_eq!(queue.waiting_on(&"item".into()), [0u64; 0]);
    queue.remove(7);
    assert!(queue.is_empty() && queue.ready.is_empty() && queue.by_thing.is_empty());
}
