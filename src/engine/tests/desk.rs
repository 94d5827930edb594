//! The quarantine: nothing is lost, nothing blocks others, everything can be tried again.

use super::*;

#[derive(Debug)]
struct Broken;

impl RecordMapping for Broken {
    fn apply(&self, _: &Value) -> Result<Mapped, Fault> {
        Err(Fault::reject(
            "lookup_unmatched",
            "field sku: rule lookup: no entry",
        ))
    }
    fn version(&self) -> &'static str {
        "v1"
    }
}

#[test]
fn a_refused_order_blocks_only_itself_and_goes_after_a_retry() {
    let mut bench = Bench::new();
    bench.accept(
        "north",
        Stream::Orders,
        vec![order("1", &[("A", 1)]), order("2", &[("A", 1)])],
    );
    let claimed = bench.claim("erp", Stream::Orders);
    let refused = Outcome::Failed(Fault::reject("unknown_sku", "A is not known"));
    let results = vec![
        (claimed[0].clone(), refused),
        (claimed[1].clone(), there(&claimed[1])),
    ];
    bench.settle("erp", Stream::Orders, results);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!((desk.len(), desk[0].row.stage.as_str()), (1, "deliver"));
    let mut bench = bench.crash();
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    bench.engine.quarantine_retry(desk[0].number).unwrap();
    assert_eq!(bench.deliver("erp", Stream::Orders).len(), 1);
    assert_eq!(bench.engine.status().unwrap().quarantined, 0);
}

/// Story 5 of the patterns: a mapping failure never lets the original through, and a mended mapping
/// carries it.
#[test]
fn a_broken_mapping_holds_and_a_mended_one_carries() {
    let mut broken = rules(Mode::Apply);
    broken
        .mappings
        .insert("north_orders".into(), Arc::new(Broken));
    let mut bench = Bench::with(broken);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!(desk[0].row.mapping.as_deref(), Some("v1"));
    bench.engine.quarantine_retry(desk[0].number).unwrap();
    assert_eq!(
        bench.engine.quarantine(0, 9).unwrap()[0].row.attempts,
        1,
        "still broken: counted"
    );
    bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
    bench.engine.quarantine_retry(desk[0].number).unwrap();
    assert!(bench.engine.quarantine(0, 9).unwrap().is_empty());
    assert_eq!(bench.deliver("erp", Stream::Orders).len(), 1);
}

#[test]
fn a_record_that_cannot_be_read_is_kept_once_and_fetched_again() {
    let mut bench = Bench::new();
    let bad = || Change::rejected("9", Fault::reject("bad_record", "field `lines`"));
    bench.accept(
        "north",
        Stream::Orders,
        vec![bad(), order("1", &[("A", 1)])],
    );
    bench.accept("north", Stream::Orders, vec![bad()]);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!(
        (desk.len(), desk[0].row.attempts),
        (1, 1),
        "counted up, not doubled"
    );
    assert_eq!(
        bench.claim("erp", Stream::Orders).len(),
        1,
        "the rest of the page goes on"
    );
    bench.engine.quarantine_retry(desk[0].number).unwrap();
    assert_eq!(bench.wanted("north", Stream::Orders), ["9"]);
    bench.accept("north", Stream::Orders, vec![order("9", &[("A", 1)])]);
    assert!(bench.wanted("north", Stream::Orders).is_empty());
}

#[test]
fn an_edited_delivery_goes_with_its_new_content() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let refused = Outcome::Failed(Fault::reject("unknown_sku", "A is not known"));
    bench.settle("erp", Stream::Orders, vec![(claimed, refused)]);
    let number = bench.engine.quarantine(0, 9).unwrap()[0].number;
    assert!(
        bench
            .engine
            .quarantine_edit(number, json!({"id": "1"}))
            .is_err(),
        "checked"
    );
    bench
        .engine
        .quarantine_edit(number, order_json("1", &[("B", 1)]))
        .unwrap();
    bench.engine.quarantine_retry(number).unwrap();
    let Record::Order(order) = bench.claim("erp", Stream::Orders).remove(0).delivery.record else {
        unreachable!()
    };
    assert_eq!(order.lines[0].sku.as_str(), "B");
}

/// A dismissed order keeps what it reserved until somebody releases it.
#[test]
fn a_dismissal_needs_a_reason_and_keeps_the_reservation() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let refused = Outcome::Failed(Fault::reject("unknown_sku", "A is not known"));
    bench.settle("erp", Stream::Orders, vec![(claimed, refused)]);
    let number = bench.engine.quarantine(0, 9).unwrap()[0].number;
    assert!(bench.engine.quarantine_dismiss(number, " ".into()).is_err());
    bench
        .engine
        .quarantine_dismiss(number, "bought in the shop instead".into())
        .unwrap();
    assert_eq!(bench.counts("north_orders").dismissed, 1);
    let reasons = bench
        .engine
        .explain_stock("A".into(), Some("south".into()))
        .unwrap();
    assert_eq!(reasons[0].derivation.to_write, Some(3.into()));
}

/// Story 63: a full quarantine stops the stream whose next change needs a row, and nobody else; nothing of
/// that stream is lost, and it goes on when there is room.
#[test]
fn a_full_quarantine_stops_only_who_needs_it() {
    let mut few = rules(Mode::Apply);
    few.limits.quarantine_rows = 2;
    let mut bench = Bench::with(few);
    let bad = |id: &str| Change::rejected(id, Fault::reject("no_lines", "it has no lines"));
    bench.accept("north", Stream::Orders, vec![bad("1"), bad("2")]);
    let before = bench.engine.cursor("north".into(), Stream::Orders).unwrap();
    bench.tick(1);
    let unit = |connection: &str, changes: Vec<Change>, now| Unit {
        connection: connection.into(),
        stream: Stream::Orders,
        changes,
        read_at: now,
        read_until: now,
        as_of: None,
        reached: Some(Reached {
            cursor: Cursor::watermark(now),
            more: false,
        }),
    };
    let now = bench.clock.now();
    let third = unit("north", vec![order("4", &[("A", 1)]), bad("3")], now);
    let refused = bench.engine.accept(third.clone()).unwrap_err().into_fault();
    assert_eq!(refused.code, QUARANTINE_FULL);
    assert!(refused.retry_after.is_some());
    let after = bench.engine.cursor("north".into(), Stream::Orders).unwrap();
    assert_eq!(before, after, "it is read again");
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    // What is there already only counts up, and others are read on.
    bench.accept("north", Stream::Orders, vec![bad("2")]);
    bench.accept("south", Stream::Orders, vec![order("5", &[("A", 1)])]);
    assert_eq!(bench.deliver("erp", Stream::Orders).len(), 1);
    let first = bench.engine.quarantine(0, 9).unwrap()[0].number;
    bench
        .engine
        .quarantine_dismiss(first, "nobody wants it".into())
        .unwrap();
    assert_eq!(bench.engine.accept(third).unwrap().rejected, 1);
    assert_eq!(bench.deliver("erp", Stream::Orders).len(), 1);
}
