//! Orders and shipments: once each, whatever crashes.

use super::*;
use crate::connector::Operation;

#[test]
fn an_order_goes_through_once() {
    let mut bench = Bench::new();
    let first = bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    assert_eq!((first.news, first.queued), (1, 1));
    let again = bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    assert_eq!((again.duplicates, again.queued), (1, 0));
    let claimed = bench.deliver("erp", Stream::Orders);
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].delivery.reference, "north:1");
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    let lives = bench.engine.explain(Stream::Orders, "N1".into()).unwrap();
    assert_eq!(lives[0].entity.links.len(), 2);
    let told: Vec<_> = lives[0]
        .entries
        .iter()
        .map(|(_, entry)| entry.what.as_str())
        .collect();
    assert_eq!(told, ["seen", "queued", "delivered"]);
    assert_eq!(bench.counts("north_orders").delivered, 1);
}

/// The crash table of the architecture, row by row.
#[test]
fn crash_before_accept_reads_the_same_page_again() {
    let mut bench = Bench::new();
    let before = Some(Cursor::watermark(bench.clock.now()));
    bench
        .disk
        .fail_commit(1, crate::store::memory::CommitFault::Before);
    let unit = Unit {
        connection: "north".into(),
        stream: Stream::Orders,
        changes: vec![order("1", &[("A", 1)])],
        read_at: bench.clock.now(),
        read_until: bench.clock.now(),
        as_of: None,
        reached: None,
    };
    assert!(bench.engine.accept(unit.clone()).is_err());
    let mut bench = bench.crash();
    assert_eq!(
        bench.engine.cursor("north".into(), Stream::Orders).unwrap(),
        before
    );
    assert_eq!(bench.engine.accept(unit).unwrap().news, 1);
}

#[test]
fn crash_after_accept_leaves_it_pending() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let mut bench = bench.crash();
    let claimed = bench.claim("erp", Stream::Orders);
    assert_eq!(claimed.len(), 1);
    assert!(
        bench
            .engine
            .cursor("north".into(), Stream::Orders)
            .unwrap()
            .is_some()
    );
}

/// Story 19: the reply was lost with the process; the sink is asked before anything is sent again.
#[test]
fn crash_after_sending_finds_before_repeating() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let sent = bench.claim("erp", Stream::Orders);
    assert!(
        bench.claim("erp", Stream::Orders).is_empty(),
        "claimed once"
    );
    let Place::Event(seq) = sent[0].place else {
        unreachable!()
    };
    bench
        .engine
        .progress(seq, "party".into(), json!(7))
        .unwrap();
    let mut bench = bench.crash();
    let again = bench.claim("erp", Stream::Orders);
    assert_eq!(again[0].action, Action::FindFirst(Earlier::Over));
    assert_eq!(
        again[0].delivery.id, sent[0].delivery.id,
        "the same idempotency key"
    );
    assert_eq!(
        again[0].delivery.captured["party"],
        json!(7),
        "goes on where it was"
    );
}

/// A backlog of new orders is claimed without reading what each of them is: it is not linked yet.
#[test]
fn a_create_that_was_never_tried_does_not_read_its_thing() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let spoil = |stage: &mut Stage<'_, '_>| {
        for row in stage.txn.scan(&tables::ENTITY.all(), 9)? {
            stage.txn.put(row.key, vec![0xff]);
        }
        Ok(())
    };
    bench.engine.alone(spoil).unwrap();
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let lost = Fault::retry("http_timeout", "no reply").after_sending();
    bench.settle(
        "erp",
        Stream::Orders,
        vec![(claimed, Outcome::Failed(lost))],
    );
    bench.tick(2);
    let again = bench.engine.claim("erp".into(), Stream::Orders, 9);
    assert!(again.is_err(), "one that was tried is read: {again:?}");
}

/// A lost store: what an earlier one may have created is looked for, never created again.
#[test]
fn a_lost_store_looks_before_it_creates() {
    let mut bench = Bench::new();
    bench.tick(3600);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    assert_eq!(
        bench.claim("erp", Stream::Orders)[0].action,
        Action::FindFirst(Earlier::OtherStore)
    );
    let mut young = order_json("2", &[("A", 1)]);
    young["placed_at"] = json!("2026-11-22T11:00:00Z");
    bench.accept(
        "north",
        Stream::Orders,
        vec![change(Stream::Orders, "2", young)],
    );
    assert_eq!(bench.claim("erp", Stream::Orders)[0].action, Action::Send);
}

#[test]
fn an_unknown_outcome_waits_and_then_looks() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let lost = Fault::retry("http_timeout", "no reply").after_sending();
    bench.settle(
        "erp",
        Stream::Orders,
        vec![(claimed, Outcome::Failed(lost))],
    );
    assert!(bench.claim("erp", Stream::Orders).is_empty(), "backs off");
    bench.tick(2);
    let again = bench.claim("erp", Stream::Orders);
    assert_eq!(
        (&again[0].action, again[0].delivery.attempts),
        (&Action::FindFirst(Earlier::Over), 1)
    );
}

#[test]
fn a_refused_connection_pauses_and_keeps_everything() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let claimed = bench.claim("erp", Stream::Orders).remove(0);
    let refused = Outcome::Failed(Fault::auth("login_refused", "401"));
    bench.settle("erp", Stream::Orders, vec![(claimed, refused)]);
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    let mut bench = bench.crash();
    assert!(
        bench.claim("erp", Stream::Orders).is_empty(),
        "still paused after a restart"
    );
    assert!(bench.engine.resume("erp".into()).unwrap());
    let again = bench.claim("erp", Stream::Orders);
    assert_eq!(again[0].delivery.attempts, 0, "not counted as an attempt");
}

#[test]
fn observing_shows_and_applying_sends() {
    let mut bench = Bench::with(rules(Mode::Observe));
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    let status = bench.engine.status().unwrap();
    assert_eq!(
        (status.queue[0].state.as_str(), status.queue[0].count),
        ("observed", 1)
    );
    bench.engine.reload(Arc::new(rules(Mode::Apply))).unwrap();
    assert_eq!(bench.claim("erp", Stream::Orders).len(), 1);
}

#[test]
fn orders_before_the_start_are_counted_and_left() {
    let mut bench = Bench::new();
    let mut old = order_json("1", &[("A", 1)]);
    old["placed_at"] = json!("2026-10-31T23:59:59Z");
    bench.accept(
        "north",
        Stream::Orders,
        vec![change(Stream::Orders, "1", old)],
    );
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    assert_eq!(bench.counts("north_orders").filtered["start_from"], 1);
}

#[test]
fn a_cancellation_before_sending_sends_nothing() {
    let mut bench = Bench::new();
    bench.tick(3600);
    let lines = [("A", 1)];
    bench.accept("north", Stream::Orders, vec![young("1", &lines, "none")]);
    bench.accept(
        "north",
        Stream::Orders,
        vec![young("1", &lines, "cancelled")],
    );
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    assert_eq!(
        bench.counts("north_orders").filtered["cancelled_before_sending"],
        1
    );
}

/// Story 14: a draft was made, the next step was throttled, which is no attempt, and then the buyer called the
/// order off: the draft is not left there.
#[test]
fn a_cancellation_after_the_first_of_several_steps_is_told() {
    let mut bench = Bench::new();
    bench.tick(3600);
    let lines = [("A", 1)];
    bench.accept("north", Stream::Orders, vec![young("1", &lines, "none")]);
    let claimed = bench.claim("erp", Stream::Orders);
    let Place::Event(seq) = claimed[0].place else {
        unreachable!()
    };
    bench
        .engine
        .progress(seq, "draft".into(), json!("D1"))
        .unwrap();
    let throttled = Fault::new(Class::Throttle, "throttled", "slow down");
    let outcome = (claimed[0].clone(), Outcome::Failed(throttled));
    bench.settle("erp", Stream::Orders, vec![outcome]);
    let called_off = vec![young("1", &lines, "cancelled")];
    bench.accept("north", Stream::Orders, called_off);
    bench.tick(60);
    let create = bench.deliver("erp", Stream::Orders);
    assert_eq!(create[0].delivery.captured["draft"], json!("D1"));
    let cancel = bench.deliver("erp", Stream::Orders);
    assert_eq!(cancel[0].delivery.operation, Operation::Cancel);
    assert!(
        bench.counts("north_orders").filtered.is_empty(),
        "it is called off there"
    );
}

/// Story 60: the life before a lost store had begun to write an order, and its buyer called it off before
/// this one saw it, or before it was sent again. It is looked for and called off, never created.
#[test]
fn a_lost_store_calls_off_what_it_left_half_written() {
    for seen_before in [false, true] {
        let mut bench = Bench::new();
        bench.tick(3600);
        if seen_before {
            bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
        }
        let read_twice = vec![cancelled("1", &[("A", 1)])];
        bench.accept("north", Stream::Orders, read_twice.clone());
        bench.accept("north", Stream::Orders, read_twice);
        let looked = bench.claim("erp", Stream::Orders);
        assert_eq!(looked.len(), 1, "seen before: {seen_before}");
        assert_eq!(looked[0].action, Action::FindOnly);
        let mut bench = bench.crash();
        let looked = bench.claim("erp", Stream::Orders);
        assert_eq!(looked[0].action, Action::FindOnly, "after a crash too");
        let draft = Outcome::Delivered(Confirmation {
            remote_id: Some("D1".into()),
            existed: true,
            ..Confirmation::default()
        });
        bench.settle("erp", Stream::Orders, vec![(looked[0].clone(), draft)]);
        let cancel = bench.deliver("erp", Stream::Orders);
        assert_eq!(cancel[0].action, Action::Send);
        assert_eq!(cancel[0].delivery.operation, Operation::Cancel);
        assert_eq!(cancel[0].delivery.target, Some("D1".into()));
        assert!(bench.claim("erp", Stream::Orders).is_empty());
        assert_eq!(bench.counts("north_orders").delivered, 1);
    }
}

#[test]
fn what_was_called_off_and_is_not_there_is_left_alone() {
    let mut bench = Bench::new();
    let called_off = vec![cancelled("1", &[("A", 1)])];
    bench.accept("north", Stream::Orders, called_off.clone());
    let looked = bench.claim("erp", Stream::Orders);
    let nothing = Outcome::Delivered(Confirmation::default());
    bench.settle("erp", Stream::Orders, vec![(looked[0].clone(), nothing)]);
    assert!(bench.claim("erp", Stream::Orders).is_empty());
    let counts = bench.counts("north_orders");
    assert_eq!(counts.filtered["cancelled_before_import"], 1);
    assert_eq!(counts.delivered, 0);
    // Whatever else is said of it later, it is not looked for again.
    let mut more = order_json("1", &[("A", 1)]);
    more["axes"] = json!({"cancellation": "cancelled"});
    more["notes"] = json!("called twice");
    bench.accept(
        "north",
        Stream::Orders,
        vec![change(Stream::Orders, "1", more)],
    );
    assert!(bench.claim("erp", Stream::Orders).is_empty());
}

#[test]
fn a_cancellation_after_sending_follows_the_order() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    let sent = bench.claim("erp", Stream::Orders);
    bench.accept("north", Stream::Orders, vec![cancelled("1", &[("A", 1)])]);
    assert!(
        bench.claim("erp", Stream::Orders).is_empty(),
        "the order is still on its way"
    );
    let there = sent.iter().map(|c| (c.clone(), there(c))).collect();
    bench.settle("erp", Stream::Orders, there);
    let cancel = bench.claim("erp", Stream::Orders);
    assert_eq!(cancel[0].delivery.operation, Operation::Cancel);
    assert_eq!(
        cancel[0].delivery.target.as_ref().unwrap().as_str(),
        "R-north:1"
    );
}

/// Story 27: the second parcel is added, it does not replace the first.
#[test]
fn two_parcels_reach_the_store_of_their_order_once_each() {
    let mut bench = Bench::new();
    bench.accept(
        "south",
        Stream::Orders,
        vec![order("1", &[("A", 3), ("B", 1)])],
    );
    bench.deliver("erp", Stream::Orders);
    let now = bench.clock.now();
    let one = shipment("S1", "R-south:1", &[("A", 2)], now);
    let two = shipment("S2", "R-south:1", &[("A", 1), ("B", 1)], now);
    bench.accept("erp", Stream::Shipments, vec![one.clone(), two]);
    bench.accept("erp", Stream::Shipments, vec![one]);
    assert!(bench.claim("north", Stream::Shipments).is_empty());
    let mut told = bench.deliver("south", Stream::Shipments);
    told.extend(bench.deliver("south", Stream::Shipments));
    let of = |claimed: &Claimed| {
        let Record::Shipment(shipment) = &claimed.delivery.record else {
            unreachable!()
        };
        let lines = shipment
            .lines
            .iter()
            .map(|line| line.order_line.value().unwrap().clone());
        (shipment.order.clone(), lines.collect::<Vec<_>>())
    };
    assert_eq!(told.len(), 2);
    assert_eq!(of(&told[0]), ("1".to_owned(), vec!["1-0".to_owned()]));
    assert_eq!(
        of(&told[1]),
        ("1".to_owned(), vec!["1-0".to_owned(), "1-1".to_owned()])
    );
    assert_eq!(
        bench.counts("to_north").filtered["order_of_another_channel"],
        2
    );
    let lives = bench.engine.explain(Stream::Orders, "N1".into()).unwrap();
    let delivered = |life: &Life| life.entries.iter().any(|(_, it)| it.what == "delivered");
    assert_eq!(lives.len(), 3, "the order's shipments are told of with it");
    assert!(lives.iter().all(delivered), "{lives:#?}");
}

#[test]
fn a_shipment_of_an_order_that_is_not_ours_is_left() {
    let mut bench = Bench::new();
    let now = bench.clock.now();
    bench.accept(
        "erp",
        Stream::Shipments,
        vec![shipment("S1", "77", &[("A", 1)], now)],
    );
    assert_eq!(bench.counts("to_north").filtered["order_not_ours"], 1);
}

/// After a lost store the shipment may be read before its order: it is read again later.
#[test]
fn a_shipment_that_comes_before_its_order_is_read_again() {
    let mut bench = Bench::new();
    let now = bench.clock.now();
    let early = || {
        let mut change = shipment("S1", "R-north:1", &[("A", 1)], now);
        let crate::connector::Body::Present(Record::Shipment(shipment)) = &mut change.body else {
            unreachable!()
        };
        shipment.order_reference = "north:1".to_owned().into();
        change
    };
    bench.accept("erp", Stream::Shipments, vec![early()]);
    assert_eq!(bench.wanted("erp", Stream::Shipments), ["S1"]);
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    bench.accept("erp", Stream::Shipments, vec![early()]);
    assert!(bench.wanted("erp", Stream::Shipments).is_empty());
    assert_eq!(bench.claim("north", Stream::Shipments).len(), 1);
}

/// The checkpoint is never ahead of the outbox, and never goes back.
#[test]
fn a_cursor_that_goes_back_is_refused() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![]);
    let unit = Unit {
        connection: "north".into(),
        stream: Stream::Orders,
        changes: vec![order("1", &[("A", 1)])],
        read_at: bench.clock.now(),
        read_until: bench.clock.now(),
        as_of: None,
        reached: Some(Reached {
            cursor: Cursor::watermark("2026-11-22T09:00:00Z".parse().unwrap()),
            more: false,
            settle_lag: Duration::ZERO,
        }),
    };
    assert!(bench.engine.accept(unit).is_err());
    assert!(
        bench.claim("erp", Stream::Orders).is_empty(),
        "the whole unit is taken back"
    );
}

fn actions(claimed: &[Claimed]) -> BTreeMap<String, Action> {
    let action = |it: &Claimed| (it.delivery.reference.clone(), it.action.clone());
    claimed.iter().map(action).collect()
}

/// Deliveries that were claimed together have one intent. Each of them leaves it on its own: what was
/// settled or failed for sure before a crash is not looked for after it, what was not is.
#[test]
fn an_intent_holds_what_is_not_settled_and_nothing_else() {
    let mut bench = Bench::new();
    bench.accept(
        "north",
        Stream::Orders,
        ["1", "2", "3"]
            .map(|id| young(id, &[("A", 1)], "none"))
            .into(),
    );
    let claimed = bench.claim("erp", Stream::Orders);
    assert_eq!(claimed.len(), 3);
    let unreachable = Outcome::Failed(Fault::retry("http_connect", "nobody is there"));
    let results = vec![
        (claimed[0].clone(), there(&claimed[0])),
        (claimed[1].clone(), unreachable),
    ];
    bench.settle("erp", Stream::Orders, results);
    let states = |bench: &mut Bench| -> Vec<&str> {
        let rows = bench.engine.queue(0, 9).unwrap();
        rows.iter().map(|row| row.state.name()).collect()
    };
    assert_eq!(states(&mut bench), ["pending", "in_flight"]);
    let mut bench = bench.crash();
    assert_eq!(states(&mut bench), ["pending", "in_flight"]);
    bench.tick(60);
    let again = bench.claim("erp", Stream::Orders);
    let expect = [
        ("north:2", Action::Send),
        ("north:3", Action::FindFirst(Earlier::Over)),
    ];
    let expect = expect.map(|(name, action)| (name.to_owned(), action));
    assert_eq!(actions(&again), BTreeMap::from(expect));
    let results = again.iter().map(|it| (it.clone(), there(it))).collect();
    bench.settle("erp", Stream::Orders, results);
    let left = bench.engine.store().scan(&INTENT.all(), 9);
    assert_eq!(left.unwrap(), []);
    assert!(bench.engine.queue(0, 9).unwrap().is_empty());
}

/// Found here: numbers were taken from the store once, at the start. A process that used them up went on,
/// and the next one gave the same places in the queue to other orders.
#[test]
fn no_number_is_given_twice_however_long_a_process_runs() {
    let mut bench = Bench::new();
    for _ in 0..(1 << 20) + 10 {
        bench.engine.numbers.next();
    }
    bench.accept(
        "north",
        Stream::Orders,
        vec![young("1", &[("A", 1)], "none")],
    );
    let last = bench.engine.numbers.next();
    let mut bench = bench.crash();
    assert!(bench.engine.numbers.next() > last);
}

/// A payload is kept until its time to live is over, together with those that came with it.
#[test]
fn payloads_are_kept_for_their_time() {
    let mut bench = Bench::new();
    let with_payload = |id: &str, personal: bool| Change {
        raw: Some(crate::connector::Raw {
            bytes: format!("payload of {id}").into_bytes().into(),
            personal,
        }),
        ..young(id, &[("A", 1)], "none")
    };
    let orders = vec![
        with_payload("1", true),
        with_payload("2", true),
        with_payload("3", false),
    ];
    bench.accept("north", Stream::Orders, orders);
    let rows = |bench: &Bench| {
        let all = crate::store::KeyRange::prefix(vec![tables::PAYLOADS.0.prefix]);
        bench.engine.store().scan(&all, 9).unwrap()
    };
    let read = |row: &crate::store::Row| {
        let bytes = crate::store::codec::unpack(&row.value, 4096, String::new).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let kept: Vec<String> = rows(&bench).iter().map(read).collect();
    let both = concat!(
        r#"[["north","orders","1",12],["north","orders","2",12]]"#,
        "\npayload of 1payload of 2"
    );
    let other = concat!(r#"[["north","orders","3",12]]"#, "\npayload of 3");
    assert_eq!(kept, [both, other]);
    let life = bench.engine.explain(Stream::Orders, "N1".into()).unwrap();
    let seen = life[0].entity.links[&"north".into()].seen.clone().unwrap();
    let limits = EngineLimits::default();
    let until = crate::clock::later(bench.clock.now(), limits.personal_payload_ttl);
    assert_eq!(seen.payload.unwrap().until, until);
    bench.tick(limits.personal_payload_ttl.as_secs() + 1);
    bench.engine.expire_payloads().unwrap();
    assert_eq!(rows(&bench).iter().map(read).collect::<Vec<_>>(), [other]);
}

/// Twenty systems without news, each asked every few seconds, must not keep a disk busy.
#[test]
fn looking_in_vain_writes_nothing_for_a_while() {
    let mut bench = Bench::new();
    bench.accept(
        "north",
        Stream::Orders,
        vec![young("1", &[("A", 1)], "none")],
    );
    let cursor = Cursor::watermark(bench.clock.now());
    let look = |bench: &mut Bench| {
        let unit = Unit {
            connection: "north".into(),
            stream: Stream::Orders,
            changes: Vec::new(),
            read_at: bench.clock.now(),
            read_until: bench.clock.now(),
            as_of: None,
            reached: Some(Reached {
                cursor: cursor.clone(),
                more: false,
                settle_lag: Duration::ZERO,
            }),
        };
        bench.engine.accept(unit).unwrap();
        let stream = bench.engine.status().unwrap().streams.remove(0);
        assert_eq!(stream.drained_at, Some(bench.clock.now()), "it is told");
    };
    let row = |bench: &Bench| bench.engine.store().scan(&CHECKPOINT.all(), 9).unwrap();
    let before = row(&bench);
    bench.tick(30);
    look(&mut bench);
    bench.tick(29);
    look(&mut bench);
    assert_eq!(row(&bench), before);
    bench.tick(1);
    look(&mut bench);
    assert_ne!(row(&bench), before);
    let mut bench = bench.crash();
    let known = bench.engine.cursor("north".into(), Stream::Orders);
    assert_eq!(known.unwrap(), Some(cursor));
}
