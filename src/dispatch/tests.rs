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
    sink: Arc<impl Sink + 'static>,
) -> (Dispatcher, std::thread::JoinHandle<()>) {
    with_orders_of(START, count, sink).await
}

/// Placed an hour after this store was begun: no earlier one can have sent them.
async fn with_young_orders(
    count: usize,
    sink: Arc<impl Sink + 'static>,
) -> (Dispatcher, std::thread::JoinHandle<()>) {
    with_orders_of("2026-11-22T11:00:00Z", count, sink).await
}

async fn with_orders_of(
    placed_at: &str,
    count: usize,
    sink: Arc<impl Sink + 'static>,
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
        changes: (0..count).map(|n| order(n, placed_at)).collect(),
        read_at: START.parse().unwrap(),
        reached: Some(Reached {
            cursor: Cursor::Sequence { last: 1 },
            more: false,
            settle_lag: Duration::ZERO,
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

fn order(n: usize, placed_at: &str) -> Change {
    let money = json!({"amount": "10", "currency": "EUR"});
    let none = json!({"amount": "0", "currency": "EUR"});
    let json = json!({"id": n.to_string(), "placed_at": placed_at, "currency": "EUR",
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

/// Answers as it is told, and notes what each request carried.
#[derive(Debug, Default)]
struct Scripted {
    /// Each request; what is only asked after begins with `check`.
    requests: Mutex<Vec<String>>,
    /// For so many numbers everything is one submission.
    feed: Option<usize>,
    /// It is there under this id when it is looked for.
    found: Option<&'static str>,
    /// It captures an id, and then fails the first time.
    captures: bool,
    /// It forgets one outcome.
    forgets: bool,
}

impl Scripted {
    fn note(&self, what: &str, batch: &[Delivery]) {
        let names = batch
            .iter()
            .map(|it| it.reference.trim_start_matches("north:"));
        let names: Vec<&str> = names.collect();
        let request = format!("{what} {}", names.join(","));
        self.requests.lock().unwrap().push(request);
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

#[async_trait]
impl Sink for Scripted {
    async fn deliver(&self, batch: &[Delivery], progress: &dyn Progress) -> Vec<Outcome> {
        self.note("send", batch);
        let mut outcomes = Vec::new();
        for delivery in batch {
            let captured = delivery.captured.get("draft").cloned();
            let known = captured.is_some();
            if self.captures && !known {
                let draft = progress.captured(&delivery.id, "draft", json!("D1"));
                draft.await.unwrap();
            }
            let number: usize = delivery.reference["north:".len()..].parse().unwrap();
            outcomes.push(match self.feed {
                Some(size) => Outcome::Submitted {
                    token: Token {
                        submission: json!(number / size),
                        told: Value::Null,
                    },
                    check_after: Duration::ZERO,
                    in_order: false,
                },
                None if (self.captures && !known) || self.found.is_some() => {
                    let lost = Fault::retry("http_timeout", "").wait(Some(Duration::ZERO));
                    Outcome::Failed(lost.after_sending())
                }
                None => Outcome::Delivered(Confirmation {
                    remote_id: captured.as_ref().and_then(Value::as_str).map(Into::into),
                    ..Confirmation::default()
                }),
            });
        }
        outcomes.truncate(batch.len() - usize::from(self.forgets));
        outcomes
    }

    async fn check(&self, batch: &[Delivery], _: &[Token]) -> Vec<Outcome> {
        self.note("check", batch);
        let done = Outcome::Delivered(Confirmation::default());
        vec![done; batch.len()]
    }

    fn repeats(&self, _: Operation) -> Repeats {
        if self.captures {
            Repeats::Freely
        } else {
            Repeats::AfterFinding
        }
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        self.note("find", std::slice::from_ref(delivery));
        Ok(self.found.map(|id| Confirmation {
            remote_id: Some(id.into()),
            ..Confirmation::default()
        }))
    }
}

/// A request carries as much as it may, and what is claimed fills all of them.
#[tokio::test]
async fn requests_are_full() {
    let sink = Arc::new(Scripted::default());
    let (mut dispatcher, thread) = with_young_orders(50, Arc::clone(&sink)).await;
    dispatcher.max_batch = 10;
    let round = dispatcher.round(&|| false).await.unwrap();
    assert_eq!((round.settled, round.delivered), (50, 50));
    let requests = sink.requests();
    let sizes: Vec<usize> = requests.iter().map(|it| it.split(',').count()).collect();
    assert_eq!(sizes, [10; 5]);
    drop(dispatcher);
    thread.join().unwrap();
}

/// What one submission carried is asked after in one request, without the rest, and never sent again.
#[tokio::test]
async fn what_was_submitted_together_is_asked_after_together() {
    let feed = Some(2);
    let sink = Arc::new(Scripted {
        feed,
        ..Scripted::default()
    });
    let (mut dispatcher, thread) = with_young_orders(4, Arc::clone(&sink)).await;
    let asked = AtomicBool::new(false);
    let once = || asked.swap(true, Ordering::SeqCst);
    dispatcher.max_batch = 4;
    dispatcher.round(&once).await.unwrap();
    assert_eq!(sink.requests(), ["send 0,1,2,3"]);
    let round = dispatcher.round(&|| false).await.unwrap();
    assert_eq!(round.delivered, 4);
    assert_eq!(sink.requests(), ["check 0,1", "check 2,3"]);
    drop(dispatcher);
    thread.join().unwrap();
}

/// Story 19: a lost reply of an order that is there. It is linked, and not sent again.
#[tokio::test]
async fn what_is_found_is_linked() {
    let found = Some("SO-17");
    let sink = Arc::new(Scripted {
        found,
        ..Scripted::default()
    });
    let (dispatcher, thread) = with_young_orders(1, Arc::clone(&sink)).await;
    let round = dispatcher.round(&|| false).await.unwrap();
    assert_eq!((round.settled, round.delivered), (2, 1));
    assert_eq!(sink.requests(), ["send 0", "find 0"]);
    let lives = dispatcher.engine.explain(Stream::Orders, "0".into());
    let life = lives.await.unwrap().remove(0);
    let id = life.entity.remote_id(&"erp".into()).cloned();
    assert_eq!(id, Some("SO-17".into()));
    let story = serde_json::to_string(&life.entries).unwrap();
    assert!(story.contains("already"), "{story}");
    drop(dispatcher);
    thread.join().unwrap();
}

/// What a step captured is there in the next try, which would make a second draft without it.
#[tokio::test]
async fn what_a_step_captured_is_remembered() {
    let sink = Arc::new(Scripted {
        captures: true,
        ..Scripted::default()
    });
    let (dispatcher, thread) = with_young_orders(1, Arc::clone(&sink)).await;
    // A claim that was under way when the first try was settled may end the round: the next one goes on.
    let mut round = Round::default();
    while let next = dispatcher.round(&|| false).await.unwrap()
        && next != Round::default()
    {
        round.settled += next.settled;
        round.delivered += next.delivered;
    }
    assert_eq!((round.settled, round.delivered), (2, 1));
    assert_eq!(sink.requests(), ["send 0", "find 0", "send 0"]);
    let lives = dispatcher.engine.explain(Stream::Orders, "0".into());
    let id = lives.await.unwrap()[0]
        .entity
        .remote_id(&"erp".into())
        .cloned();
    assert_eq!(id, Some("D1".into()));
    drop(dispatcher);
    thread.join().unwrap();
}

/// A connector that loses an outcome may have done anything: a person looks, and what is tried again is looked
/// for first.
#[tokio::test]
async fn too_few_outcomes_mean_that_nobody_knows() {
    let sink = Arc::new(Scripted {
        forgets: true,
        ..Scripted::default()
    });
    let (dispatcher, thread) = with_young_orders(1, Arc::clone(&sink)).await;
    dispatcher.round(&|| false).await.unwrap();
    let held = dispatcher.engine.quarantine(0, 9).await.unwrap();
    assert_eq!(&*held[0].row.fault.code, "wrong_number_of_outcomes");
    let retried = dispatcher.engine.quarantine_retry(held[0].number);
    retried.await.unwrap();
    dispatcher.round(&|| false).await.unwrap();
    assert_eq!(sink.requests()[..2], ["send 0", "find 0"]);
    drop(dispatcher);
    thread.join().unwrap();
}

/// What a system says that it stored is believed: its own form of what we wrote comes back, and is an echo.
#[tokio::test]
async fn what_a_sink_says_that_it_stored_is_believed() {
    let (dispatcher, thread) = with_young_orders(1, Arc::new(Scripted::default())).await;
    let claimed = dispatcher.engine.claim("erp".into(), Stream::Orders, 1);
    let claimed = claimed.await.unwrap().remove(0);
    let stored = |stored| {
        let confirmation = Confirmation {
            stored,
            ..Confirmation::default()
        };
        match fingerprinted(&claimed, Outcome::Delivered(confirmation)) {
            Outcome::Delivered(confirmation) => confirmation.stored,
            other => panic!("{other:?}"),
        }
    };
    let theirs = crate::record::Fingerprint::of_bytes(b"their own form");
    assert_eq!(stored(Some(theirs)), Some(theirs));
    assert_eq!(stored(None), Some(claimed.delivery.record.fingerprint()));
    drop(dispatcher);
    thread.join().unwrap();
}

/// Nobody knows whether a change was made. What is found shows that the thing is there, not that it is changed: where
/// making the change twice is making it once, it is made again; elsewhere it is looked for first.
#[tokio::test]
async fn a_change_is_made_again_where_that_is_harmless() {
    for is_harmless in [true, false] {
        let sink = Arc::new(Scripted {
            captures: is_harmless,
            found: Some("SO-17"),
            ..Scripted::default()
        });
        let (dispatcher, thread) = with_young_orders(1, Arc::clone(&sink)).await;
        let claimed = dispatcher.engine.claim("erp".into(), Stream::Orders, 1);
        let mut claimed = claimed.await.unwrap().remove(0);
        claimed.delivery.operation = Operation::Update;
        let (delivery, place) = (&claimed.delivery, &claimed.place);
        let found = dispatcher.find_first(delivery, place, Earlier::Over).await;
        assert_eq!(found.is_none(), is_harmless);
        assert_eq!(sink.requests().is_empty(), is_harmless);
        drop(dispatcher);
        thread.join().unwrap();
    }
}
