//! Claiming, sending and settling side by side, against a sink that counts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::connector::{Change, Cursor, Operation};
use crate::engine::{Engine, Facts, Reached, Rules, Service, Unit};
use crate::record::Record;
use crate::router::{Mode, Route, Router};
use crate::store::memory::MemoryStore;

const START: &str = "2026-11-22T10:00:00Z";

/// Takes some time for each request, and notes how many are under way.
#[derive(Debug, Default)]
struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
    seen: Mutex<Vec<String>>,
    /// The order on which it panics.
    trap: Option<&'static str>,
    /// What may be done when a reply got lost; the reply of the first try does.
    repeats: Option<Repeats>,
}

#[async_trait]
impl Sink for Counting {
    async fn deliver(&self, batch: &[Delivery], _: &dyn Progress) -> Vec<Outcome> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
        let there = |delivery: &Delivery| {
            let reference = delivery.reference.as_str();
            assert_ne!(Some(reference), self.trap, "a defect of the connector");
            let mut seen = self.seen.lock().unwrap();
            seen.push(reference.to_owned());
            if self.repeats.is_some() && seen.len() == 1 {
                let lost = Fault::retry("http_timeout", "no reply").wait(Some(Duration::ZERO));
                return Outcome::Failed(lost.after_sending());
            }
            Outcome::Delivered(Confirmation {
                remote_id: Some(reference.into()),
                ..Confirmation::default()
            })
        };
        batch.iter().map(there).collect()
    }

    fn repeats(&self, _: Operation) -> Repeats {
        self.repeats.unwrap_or(Repeats::AfterFinding)
    }

    async fn find(&self, _: &Delivery) -> Result<Option<Confirmation>, Fault> {
        Ok(None)
    }
}

/// An engine with so many orders for `erp`, the thread it runs on, and a dispatcher.
async fn with_orders(
    count: usize,
    sink: Arc<Counting>,
) -> (Dispatcher, std::thread::JoinHandle<()>) {
    let route = Route {
        name: "orders".into(),
        from: ("north".into(), Stream::Orders),
        to: ("erp".into(), Stream::Orders),
        mode: Mode::Apply,
        start_from: None,
    };
    let late = Facts {
        late: Duration::from_secs(30),
        ..Facts::default()
    };
    let rules = Rules {
        router: Router::new([route]),
        facts: [("erp".into(), late)].into(),
        ..Rules::default()
    };
    let clock = Arc::new(ManualClock::at(START.parse().unwrap()));
    let store = Box::new(MemoryStore::new());
    let engine = Engine::open(store, Arc::new(rules), clock, 1).unwrap();
    let (service, handle) = Service::new(engine);
    let thread = std::thread::spawn(move || drop(service.run()));
    let unit = Unit {
        connection: "north".into(),
        stream: Stream::Orders,
        changes: (0..count).map(order).collect(),
        read_at: START.parse().unwrap(),
        reached: Some(Reached {
            cursor: Cursor::Sequence { last: 1 },
            more: false,
        }),
        as_of: None,
        read_until: START.parse().unwrap(),
    };
    handle.accept(unit).await.unwrap();
    let dispatcher = Dispatcher {
        connection: "erp".into(),
        stream: Stream::Orders,
        sink,
        engine: handle,
        max_batch: 1,
        concurrency: 3,
    };
    (dispatcher, thread)
}

fn order(n: usize) -> Change {
    let money = json!({"amount": "10", "currency": "EUR"});
    let none = json!({"amount": "0", "currency": "EUR"});
    let json = json!({"id": n.to_string(), "placed_at": START, "currency": "EUR",
        "customer": {"name": "Zoë"}, "ship_to": {"country": "DE"},
        "lines": [{"line_id": "1", "sku": "A", "quantity": "1", "unit_price": money,
            "prices_include_tax": true, "line_net": money, "line_gross": money}],
        "totals": {"lines_net": money, "charges_net": none, "taxes": none, "grand_total": money}});
    Change::present(
        n.to_string(),
        Record::from_json(Stream::Orders, json).unwrap(),
    )
}

#[tokio::test]
async fn each_is_sent_once_and_never_more_at_a_time_than_allowed() {
    let sink = Arc::new(Counting::default());
    let (dispatcher, thread) = with_orders(50, Arc::clone(&sink)).await;
    let round = dispatcher.round(&|| false).await.unwrap();
    assert_eq!((round.settled, round.delivered), (50, 50));
    let mut seen = sink.seen.lock().unwrap().clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 50);
    assert_eq!(sink.most.load(Ordering::SeqCst), 3);
    let again = dispatcher.round(&|| false).await.unwrap();
    assert_eq!(again, Round::default(), "nothing is left");
    drop(dispatcher);
    thread.join().unwrap();
}

/// What was claimed is finished: nothing stays in flight that nobody sends.
#[tokio::test]
async fn stopping_finishes_what_was_claimed_and_begins_nothing() {
    let sink = Arc::new(Counting::default());
    let (dispatcher, thread) = with_orders(50, Arc::clone(&sink)).await;
    let asked = AtomicBool::new(false);
    // The first claim is allowed, no other.
    let round = dispatcher
        .round(&|| asked.swap(true, Ordering::SeqCst))
        .await
        .unwrap();
    assert!((1..50).contains(&round.delivered), "{round:?}");
    assert_eq!(sink.seen.lock().unwrap().len(), round.delivered);
    let waiting = dispatcher.engine.queue(0, 100).await.unwrap();
    let untouched = waiting.iter().all(|row| row.state.name() == "pending");
    assert!(untouched && waiting.len() == 50 - round.delivered);
    drop(dispatcher);
    thread.join().unwrap();
}

#[tokio::test]
async fn a_connector_that_panics_fails_one_delivery() {
    let sink = Arc::new(Counting {
        trap: Some("north:7"),
        ..Counting::default()
    });
    let (dispatcher, thread) = with_orders(10, Arc::clone(&sink)).await;
    let round = dispatcher.round(&|| false).await.unwrap();
    assert_eq!((round.settled, round.delivered), (10, 9));
    let held = dispatcher.engine.quarantine(0, 10).await.unwrap();
    assert_eq!(held.len(), 1);
    drop(dispatcher);
    thread.join().unwrap();
}

/// Story 19: a lost reply of an order that is not there. Where doing it twice is doing it once it is sent again;
/// where it can only be looked for, that waits until nothing can come any more; where nobody can tell, a person
/// must look.
#[tokio::test]
async fn a_lost_reply_is_answered_as_the_system_allows() {
    let kinds = [
        (Repeats::Freely, 2, None),
        (Repeats::AfterFinding, 1, Some("uncertain")),
        (Repeats::Never, 1, Some("quarantined")),
    ];
    for (repeats, sent, left) in kinds {
        let sink = Arc::new(Counting {
            repeats: Some(repeats),
            ..Counting::default()
        });
        let (dispatcher, thread) = with_orders(1, Arc::clone(&sink)).await;
        for _ in 0..3 {
            dispatcher.round(&|| false).await.unwrap();
        }
        assert_eq!(sink.seen.lock().unwrap().len(), sent, "{repeats:?}");
        let queue = dispatcher.engine.queue(0, 9).await.unwrap();
        let state = queue.first().map(|row| row.state.name());
        assert_eq!(state, left, "{repeats:?}");
        // Whoever looked and did not find it sends it.
        if repeats == Repeats::Never {
            let held = dispatcher.engine.quarantine(0, 9).await.unwrap();
            assert!(held[0].row.fault.message.contains("look for north:0 there"));
            dispatcher
                .engine
                .quarantine_retry(held[0].number)
                .await
                .unwrap();
            dispatcher.round(&|| false).await.unwrap();
            assert_eq!(sink.seen.lock().unwrap().len(), 2);
        }
        drop(dispatcher);
        thread.join().unwrap();
    }
}
