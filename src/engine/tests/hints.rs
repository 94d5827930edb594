//! What webhooks say stays until it was fetched, and what comes in meanwhile is not lost.

use super::*;
use crate::engine::{HINTS_FULL, NewHint, Wanted};
use crate::fault::Fault;

fn tell(bench: &mut Bench, ids: &[&str]) -> Result<usize, EngineError> {
    let hints = ids.iter().map(|id| NewHint {
        stream: Stream::Orders,
        id: (*id).into(),
        not_before: None,
    });
    bench.engine.take_hints("north".into(), hints.collect(), 3)
}

fn wanted(bench: &mut Bench) -> Vec<Wanted> {
    bench
        .engine
        .hints("north".into(), Stream::Orders, 9)
        .unwrap()
}

fn answered(bench: &mut Bench, asked: Vec<Wanted>) {
    let done = bench
        .engine
        .hints_answered("north".into(), Stream::Orders, asked);
    done.unwrap();
}

/// Story 62: a webhook that comes while its thing is being fetched is a reason to fetch it again.
#[test]
fn what_is_told_while_it_is_fetched_is_fetched_again() {
    let mut bench = Bench::new();
    tell(&mut bench, &["1"]).unwrap();
    let asked = wanted(&mut bench);
    assert_eq!(tell(&mut bench, &["1"]).unwrap(), 0, "it waits already");
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    answered(&mut bench, asked);
    let again = wanted(&mut bench);
    assert_eq!(again.len(), 1);
    answered(&mut bench, again);
    assert!(wanted(&mut bench).is_empty());
}

/// A page that was asked for before the webhook came may show the thing as it was before.
#[test]
fn a_page_does_not_answer_a_webhook() {
    let mut bench = Bench::new();
    tell(&mut bench, &["1"]).unwrap();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 1)])]);
    assert_eq!(bench.wanted("north", Stream::Orders), ["1"]);
}

/// Story 62: what was answered 2xx is there after a crash, bound and all.
#[test]
fn hints_survive_a_crash_and_are_bounded() {
    let mut bench = Bench::new();
    assert_eq!(tell(&mut bench, &["1", "2", "2"]).unwrap(), 2);
    let mut bench = bench.crash();
    assert_eq!(bench.wanted("north", Stream::Orders), ["1", "2"]);
    let full = tell(&mut bench, &["3", "4"]).unwrap_err().into_fault();
    assert_eq!(full.code, HINTS_FULL);
    assert_eq!(
        bench.wanted("north", Stream::Orders),
        ["1", "2"],
        "all or nothing"
    );
    assert_eq!(tell(&mut bench, &["3"]).unwrap(), 1);
    assert_eq!(
        tell(&mut bench, &["3", "1"]).unwrap(),
        0,
        "full, and nothing new"
    );
    let asked = wanted(&mut bench);
    answered(&mut bench, asked);
    assert_eq!(tell(&mut bench, &["4"]).unwrap(), 1);
}

/// Story 63: what cannot be fetched waits longer and longer; what is refused waits for a person, who can try it
/// again.
#[test]
fn what_cannot_be_fetched_is_put_off_or_shown() {
    let mut bench = Bench::new();
    tell(&mut bench, &["1", "2"]).unwrap();
    let asked = wanted(&mut bench);
    let late = asked[..1].to_vec();
    bench
        .engine
        .hints_postponed("north".into(), Stream::Orders, late)
        .unwrap();
    assert_eq!(bench.wanted("north", Stream::Orders), ["2"]);
    bench.tick(2);
    let tried = wanted(&mut bench);
    assert_eq!((tried[0].tries, tried[1].tries), (1, 0));
    let fault = Fault::reject("refused", "no such thing");
    let done = bench
        .engine
        .hint_refused("north".into(), Stream::Orders, tried[0].clone(), fault);
    done.unwrap();
    assert_eq!(bench.wanted("north", Stream::Orders), ["2"]);
    let desk = bench.engine.quarantine(0, 9).unwrap();
    assert_eq!((desk.len(), &*desk[0].row.thing), (1, "north/orders/1"));
    bench.engine.quarantine_retry(desk[0].number).unwrap();
    assert_eq!(bench.wanted("north", Stream::Orders), ["1", "2"]);
}

/// Story 29: what comes too often is fetched later; that it is said again changes nothing of that.
#[test]
fn what_is_slowed_down_stays_so() {
    let mut bench = Bench::new();
    let at = crate::clock::later(bench.clock.now(), Duration::from_secs(60));
    let slow = NewHint {
        stream: Stream::Orders,
        id: "1".into(),
        not_before: Some(at),
    };
    bench
        .engine
        .take_hints("north".into(), vec![slow], 3)
        .unwrap();
    tell(&mut bench, &["1"]).unwrap();
    assert!(wanted(&mut bench).is_empty());
    let next = bench.engine.next_hint("north".into(), Stream::Orders);
    assert_eq!(next.unwrap(), Some(at));
    bench.tick(60);
    assert_eq!(wanted(&mut bench).len(), 1);
}

/// The same where it is told of while it is being fetched: that alone must not make it be fetched at once.
#[test]
fn what_is_told_too_often_while_it_is_fetched_waits() {
    let mut bench = Bench::new();
    let slow = |bench: &mut Bench| {
        let at = crate::clock::later(bench.clock.now(), Duration::from_secs(60));
        let hint = NewHint {
            stream: Stream::Orders,
            id: "1".into(),
            not_before: Some(at),
        };
        let told = bench.engine.take_hints("north".into(), vec![hint], 3);
        assert_eq!(told.unwrap(), 0);
    };
    tell(&mut bench, &["1"]).unwrap();
    for _ in 0..3 {
        let asked = wanted(&mut bench);
        assert_eq!(asked.len(), 1);
        slow(&mut bench);
        bench.tick(1);
        slow(&mut bench);
        answered(&mut bench, asked);
        assert!(wanted(&mut bench).is_empty());
        bench.tick(60);
    }
}

/// Stories 23 and 29: a burst of webhooks about an order that nobody has fetched yet does not put it off.
#[test]
fn what_was_not_fetched_yet_is_not_put_off_by_a_burst() {
    let mut bench = Bench::new();
    tell(&mut bench, &["1"]).unwrap();
    let at = crate::clock::later(bench.clock.now(), Duration::from_secs(60));
    let hint = NewHint {
        stream: Stream::Orders,
        id: "1".into(),
        not_before: Some(at),
    };
    let told = bench.engine.take_hints("north".into(), vec![hint], 3);
    assert_eq!(told.unwrap(), 0);
    let asked = wanted(&mut bench);
    assert_eq!(asked.len(), 1, "it is fetched at once");
    answered(&mut bench, asked);
    assert!(
        wanted(&mut bench).is_empty(),
        "and was told of no more since"
    );
}

/// The bound is on what is new: what waits already is told of again, however little may wait. One more than may
/// wait is refused.
#[test]
fn what_waits_already_is_never_refused() {
    let mut bench = Bench::new();
    assert_eq!(tell(&mut bench, &["1", "2", "3"]).unwrap(), 3);
    assert!(tell(&mut bench, &["4"]).is_err());
    let again = NewHint {
        stream: Stream::Orders,
        id: "1".into(),
        not_before: None,
    };
    let told = bench.engine.take_hints("north".into(), vec![again], 1);
    assert_eq!(told.unwrap(), 0);
    assert!(wanted(&mut bench).iter().all(|one| one.is_told));
    // What was refused or read makes room.
    let asked = wanted(&mut bench).remove(0);
    let fault = Fault::reject("refused", "no such thing");
    bench
        .engine
        .hint_refused("north".into(), Stream::Orders, asked, fault)
        .unwrap();
    assert_eq!(tell(&mut bench, &["4"]).unwrap(), 1);
    assert!(tell(&mut bench, &["5"]).is_err());
}

/// A parcel waits for its order, and then a webhook tells of it: now it is fetched whatever a page shows.
#[test]
fn a_webhook_is_a_better_reason_than_a_guess() {
    let mut bench = Bench::new();
    let at = bench.clock.now();
    let mut early = shipment("S8", "78", &[("A", 1)], at);
    if let crate::connector::Body::Present(Record::Shipment(shipment)) = &mut early.body {
        shipment.order_reference = "north:8".to_owned().into();
    }
    let other = shipment("S9", "79", &[("A", 1)], at);
    bench.accept("erp", Stream::Shipments, vec![early.clone(), other.clone()]);
    assert_eq!(bench.wanted("erp", Stream::Shipments), ["S8"]);
    let of = |bench: &mut Bench| {
        bench
            .engine
            .hints("erp".into(), Stream::Shipments, 9)
            .unwrap()
    };
    let guess = of(&mut bench).remove(0);
    assert!(!guess.is_told);
    let hint = NewHint {
        stream: Stream::Shipments,
        id: "S8".into(),
        not_before: None,
    };
    let told = bench.engine.take_hints("erp".into(), vec![hint], 9);
    assert_eq!(told.unwrap(), 0, "it waits already");
    let better = of(&mut bench).remove(0);
    assert!(better.is_told);
    let done = bench
        .engine
        .hints_answered("erp".into(), Stream::Shipments, vec![guess]);
    done.unwrap();
    assert_eq!(bench.wanted("erp", Stream::Shipments), ["S8"]);
}

/// A parcel that waited for its order is read with it: that makes room for what webhooks say.
#[test]
fn what_was_read_makes_room() {
    let mut bench = Bench::new();
    let at = bench.clock.now();
    let mut early = shipment("S8", "78", &[("A", 1)], at);
    if let crate::connector::Body::Present(Record::Shipment(shipment)) = &mut early.body {
        shipment.order_reference = "north:8".to_owned().into();
    }
    bench.accept("erp", Stream::Shipments, vec![early.clone()]);
    assert_eq!(bench.wanted("erp", Stream::Shipments), ["S8"]);
    bench.accept("north", Stream::Orders, vec![order("8", &[("A", 1)])]);
    bench.accept("erp", Stream::Shipments, vec![early]);
    assert_eq!(bench.wanted("erp", Stream::Shipments), [""; 0]);
    let hint = NewHint {
        stream: Stream::Shipments,
        id: "S9".into(),
        not_before: None,
    };
    let told = bench.engine.take_hints("erp".into(), vec![hint], 1);
    assert_eq!(told.unwrap(), 1);
}

/// What was put off and then told of while it was fetched is fetched at once, as if for the first time.
#[test]
fn what_is_told_again_begins_anew() {
    let mut bench = Bench::new();
    tell(&mut bench, &["1"]).unwrap();
    let asked = wanted(&mut bench);
    bench
        .engine
        .hints_postponed("north".into(), Stream::Orders, asked)
        .unwrap();
    bench.tick(2);
    let asked = wanted(&mut bench);
    assert_eq!(asked[0].tries, 1);
    let later = bench.clock.now() + Duration::from_secs(60);
    let hint = NewHint {
        stream: Stream::Orders,
        id: "1".into(),
        not_before: Some(later),
    };
    bench
        .engine
        .take_hints("north".into(), vec![hint], 9)
        .unwrap();
    answered(&mut bench, asked);
    assert!(wanted(&mut bench).is_empty(), "not before");
    bench.tick(60);
    let asked = wanted(&mut bench);
    assert_eq!(asked[0].tries, 0);
    tell(&mut bench, &["1"]).unwrap();
    answered(&mut bench, asked);
    assert_eq!(
        wanted(&mut bench).len(),
        1,
        "the wait was for the first time"
    );
}
