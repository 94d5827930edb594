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
    assert_eq!(desk[0].row.attempts, 1);
    assert_eq!(bench.counts("north_orders").quarantined, 1);
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
            settle_lag: Duration::ZERO,
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

/// Gives every line this SKU.
#[derive(Debug)]
struct Renames(&'static str);

impl RecordMapping for Renames {
    fn apply(&self, record: &Value) -> Result<Mapped, Fault> {
        let mut record = record.clone();
        record["lines"][0]["sku"] = json!(self.0);
        Ok(Mapped::Kept(record))
    }
    fn version(&self) -> &str {
        self.0
    }
}

fn mapped_by(mapping: Option<&'static str>) -> Rules {
    let mut rules = rules(Mode::Apply);
    if let Some(name) = mapping {
        let mapping: Arc<dyn RecordMapping> = Arc::new(Renames(name));
        rules.mappings.insert("north_orders".into(), mapping);
    }
    rules
}

fn refuse(bench: &mut Bench, sink: &str, code: &'static str) {
    let claimed = bench.claim(sink, Stream::Orders);
    let refused = claimed
        .into_iter()
        .map(|one| (one, Outcome::Failed(Fault::reject(code, "no"))));
    let refused = refused.collect();
    bench.settle(sink, Stream::Orders, refused);
}

fn sku_of(claimed: &Claimed) -> String {
    let Record::Order(order) = &claimed.delivery.record else {
        unreachable!()
    };
    order.lines[0].sku.to_string()
}

/// The twentieth of the twenty stories: what a wrong mapping made of an order, and its sink refused, is
/// made anew from what the source said when the mapping is mended; what a person wrote is left as it is.
#[test]
fn a_refused_order_is_mapped_anew_by_a_mended_mapping() {
    let mut bench = Bench::with(mapped_by(Some("GONE")));
    let orders = ["1", "2"].map(|id| order(id, &[("A", 1)])).to_vec();
    bench.accept("north", Stream::Orders, orders);
    refuse(&mut bench, "erp", "unknown_sku");
    let desk = bench.engine.quarantine(0, 9).unwrap();
    let numbers = desk.iter().map(|row| row.number).collect::<Vec<_>>();
    bench
        .engine
        .quarantine_edit(numbers[1], order_json("2", &[("MINE", 1)]))
        .unwrap();
    let mut bench = bench.crash_with(mapped_by(Some("A2")));
    let sheet = bench.engine.quarantine_show(numbers[0]).unwrap();
    assert_eq!(sheet.row.row.mapping.as_deref(), Some("GONE"));
    assert_eq!(sheet.mapping_now.as_deref(), Some("A2"));
    let told: Vec<&str> = sheet
        .entries
        .iter()
        .map(|(_, it)| it.what.as_str())
        .collect();
    for word in ["queued", "quarantined"] {
        assert!(told.contains(&word), "{told:?}");
    }
    for number in numbers {
        bench.engine.quarantine_retry(number).unwrap();
    }
    let claimed = bench.claim("erp", Stream::Orders);
    let skus: Vec<String> = claimed.iter().map(sku_of).collect();
    assert_eq!(skus, ["A2", "MINE"]);
}

/// A mapping that is broken by now sends nothing of what the one before it made, and the order stays.
#[test]
fn a_retry_with_a_broken_mapping_leaves_the_order_on_the_desk() {
    let mut bench = Bench::with(mapped_by(Some("GONE")));
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    refuse(&mut bench, "erp", "unknown_sku");
    let mut broken = rules(Mode::Apply);
    broken
        .mappings
        .insert("north_orders".into(), Arc::new(Broken));
    bench.engine.reload(Arc::new(broken)).unwrap();
    let number = bench.engine.quarantine(0, 9).unwrap()[0].number;
    assert!(bench.engine.quarantine_retry(number).is_err());
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    bench.engine.reload(Arc::new(mapped_by(None))).unwrap();
    bench.engine.quarantine_retry(number).unwrap();
    assert_eq!(sku_of(&bench.claim("erp", Stream::Orders)[0]), "A");
}

#[test]
fn rows_are_grouped_by_cause_and_found_by_it() {
    let mut bench = Bench::new();
    let bad = |id: &str| Change::rejected(id, Fault::reject("no_lines", "it has no lines"));
    bench.accept("south", Stream::Orders, vec![bad("7")]);
    bench.tick(60);
    let orders = ["1", "2", "3"].map(|id| order(id, &[("A", 1)])).to_vec();
    bench.accept("north", Stream::Orders, orders);
    refuse(&mut bench, "erp", "unknown_sku");
    let mut bench = bench.crash();
    let groups = bench.engine.quarantine_groups(DeskFilter::default());
    let groups = groups.unwrap();
    let told = groups.iter().map(|it| (it.group.as_str(), it.count));
    let expected = [
        ("erp.orders/deliver/unknown_sku", 3),
        ("south.orders/read/no_lines", 1),
    ];
    assert!(told.eq(expected), "{groups:#?}");
    assert!(groups[0].example.name.starts_with('1'));
    assert!(groups[1].oldest < groups[0].oldest);
    let of = |change: fn(&mut DeskFilter)| {
        let mut filter = DeskFilter::default();
        change(&mut filter);
        filter
    };
    let filters = [
        (of(|_| ()), 4),
        (
            of(|it| it.group = Some("erp.orders/deliver/unknown_sku".into())),
            3,
        ),
        (of(|it| it.connection = Some("south".into())), 1),
        (of(|it| it.code = Some("unknown_sku".into())), 3),
        (of(|it| it.stream = Some(Stream::Orders)), 4),
        (of(|it| it.stream = Some(Stream::Items)), 0),
    ];
    for (filter, count) in filters {
        let rows = bench.engine.quarantine_of(filter.clone(), 0, 9).unwrap();
        assert_eq!(rows.len(), count, "{filter:?}");
        let numbers = bench.engine.quarantine_numbers(filter).unwrap();
        assert!(numbers.into_iter().eq(rows.iter().map(|row| row.number)));
    }
}

/// Story 63: few but large rows fill the quarantine as many small ones do.
#[test]
fn the_quarantine_is_bounded_in_bytes() {
    let mut few = rules(Mode::Apply);
    few.limits.quarantine_bytes = 2000;
    let mut bench = Bench::with(few);
    let bad = |id: &str| Change::rejected(id, Fault::reject("no_lines", "x".repeat(900)));
    bench.accept("north", Stream::Orders, vec![bad("1"), bad("2")]);
    assert!(bench.engine.pressure().unwrap().quarantined_bytes > 1800);
    let mut bench = bench.crash_with({
        let mut few = rules(Mode::Apply);
        few.limits.quarantine_bytes = 2000;
        few
    });
    let now = bench.clock.now();
    let unit = Unit {
        connection: "north".into(),
        stream: Stream::Orders,
        changes: vec![bad("3")],
        read_at: now,
        read_until: now,
        as_of: None,
        reached: None,
    };
    let refused = bench.engine.accept(unit.clone()).unwrap_err().into_fault();
    assert_eq!(refused.code, QUARANTINE_FULL);
    let first = bench.engine.quarantine(0, 9).unwrap()[0].number;
    bench
        .engine
        .quarantine_dismiss(first, "nobody wants it".into())
        .unwrap();
    assert_eq!(bench.engine.accept(unit).unwrap().rejected, 1);
}

/// What nobody decides about is let go at last, with that reason, counted, and told in the journal.
#[test]
fn what_nobody_decides_about_is_let_go_with_that_reason() {
    let mut short = rules(Mode::Apply);
    short.limits.quarantine_age = Some(Duration::from_hours(48));
    let mut bench = Bench::with(short);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    refuse(&mut bench, "erp", "unknown_sku");
    bench.tick(47 * 3600);
    assert!(!bench.engine.expire_quarantine().unwrap());
    bench.tick(2 * 3600);
    while bench.engine.expire_quarantine().unwrap() {}
    assert_eq!(bench.engine.status().unwrap().quarantined, 0);
    assert_eq!(bench.counts("north_orders").dismissed, 1);
    let life = bench
        .engine
        .explain(Stream::Orders, "north:1".into())
        .unwrap();
    let entries = &life[0].entries;
    let told = entries.iter().find(|(_, it)| it.what == "dismissed");
    let told = &told.unwrap().1.detail;
    assert!(told.contains("nobody decided for 2 days"), "{told}");
}

/// What steps of an order captured belongs to the record that it was: an edited one begins anew, and is looked for
/// first; one that is only tried again goes on where it was.
#[test]
fn an_edited_delivery_begins_anew() {
    for (is_edited, action, captured) in [
        (true, Action::FindFirst(Earlier::Over), 0),
        (false, Action::Send, 1),
    ] {
        let mut bench = Bench::new();
        bench.tick(3600);
        bench.accept(
            "north",
            Stream::Orders,
            vec![young("1", &[("A", 1)], "none")],
        );
        let claimed = bench.claim("erp", Stream::Orders).remove(0);
        let Place::Event(seq) = claimed.place else {
            unreachable!()
        };
        let draft = json!("D1");
        bench.engine.progress(seq, "draft".into(), draft).unwrap();
        let refused = Outcome::Failed(Fault::reject("unknown_sku", "A is not known"));
        bench.settle("erp", Stream::Orders, vec![(claimed, refused)]);
        let number = bench.engine.quarantine(0, 9).unwrap()[0].number;
        if is_edited {
            let mut json = order_json("1", &[("B", 1)]);
            json["placed_at"] = json!("2026-11-22T11:00:00Z");
            bench.engine.quarantine_edit(number, json).unwrap();
        }
        bench.engine.quarantine_retry(number).unwrap();
        let claimed = bench.claim("erp", Stream::Orders).remove(0);
        assert_eq!(claimed.action, action);
        assert_eq!(claimed.delivery.captured.len(), captured);
    }
}

/// The desk names each row as people know it, page by page, and says what would be told.
#[test]
fn the_desk_can_be_read_page_by_page() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    for (sink, stream) in [("erp", Stream::Orders), ("south", Stream::Stock)] {
        let claimed = bench.claim(sink, stream).remove(0);
        let refused = Outcome::Failed(Fault::reject("no", "no"));
        bench.settle(sink, stream, vec![(claimed, refused)]);
        bench.tick(1);
    }
    let since = bench.engine.attention().unwrap().quarantined_since;
    assert_eq!(since, Some(START.parse().unwrap()));
    let first = bench.engine.quarantine(0, 1).unwrap().remove(0);
    assert_eq!(first.name, "1 N1");
    let rest = bench.engine.quarantine(first.number, 9).unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].name, "A");
    let sheet = bench.engine.quarantine_show(rest[0].number).unwrap();
    assert_eq!(sheet.record, Some(json!({"to_be_told": "4", "told": null})));
}

/// How much stands on the desk is known, also when some of it was mended.
#[test]
fn the_bytes_on_the_desk_are_known() {
    let mut bench = Bench::new();
    let bad = |id: &str| Change::rejected(id, Fault::reject("no_sku", "a line has no SKU"));
    let bytes = |bench: &mut Bench| bench.engine.pressure().unwrap().quarantined_bytes;
    bench.accept("north", Stream::Orders, vec![bad("1")]);
    let one = bytes(&mut bench);
    assert!(one > 100, "{one}");
    bench.accept("north", Stream::Orders, vec![bad("2"), bad("3")]);
    assert_eq!(bytes(&mut bench), 3 * one);
    bench.accept("north", Stream::Orders, vec![order("2", &[("A", 1)])]);
    assert_eq!(bytes(&mut bench), 2 * one);
    let rest = ["1", "3"].map(|id| order(id, &[("A", 1)]));
    bench.accept("north", Stream::Orders, rest.to_vec());
    assert_eq!(bytes(&mut bench), 0);
}
