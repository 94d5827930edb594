//! Turns: lanes, ageing, concurrency, pauses, and places that are given up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::{RealClock, VirtualClock};
use crate::clock::{Clock, ManualClock};
use crate::fault::{Class, Effect};
use crate::transport::http::{Feedback, Lane, LimitOptions, Limiter, Rate};

pub(super) fn limiter(
    clock: &VirtualClock,
    concurrency: u32,
    buckets: &[(&str, Option<(f64, u32)>)],
) -> Limiter {
    let buckets: BTreeMap<String, Option<Rate>> = buckets
        .iter()
        .map(|(name, rate)| {
            let rate = rate.map(|(per_second, burst)| Rate { per_second, burst });
            ((*name).to_owned(), rate)
        })
        .collect();
    let options = LimitOptions {
        concurrency,
        buckets,
        ..LimitOptions::default()
    };
    Limiter::new(options, Arc::new(clock.clone())).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_foremost_lane_goes_first_and_first_come_first_inside_it() {
    let clock = VirtualClock::default();
    let limiter = limiter(&clock, 1, &[("default", Some((1.0, 1)))]);
    let order = Mutex::new(Vec::new());
    let asks = [
        (Lane::Items, "first of all"),
        (Lane::Items, "item 1"),
        (Lane::Prices, "price"),
        (Lane::StockDown, "less 1"),
        (Lane::Orders, "order"),
        (Lane::StockDown, "less 2"),
        (Lane::Items, "item 2"),
    ];
    clock.run(join_all(asks.map(async |(lane, name)| {
        let _permit = limiter.acquire("default", 1, lane).await.unwrap();
        order.lock().unwrap().push(name);
    })));
    let expect = [
        "first of all",
        "less 1",
        "less 2",
        "order",
        "price",
        "item 1",
        "item 2",
    ];
    assert_eq!(*order.lock().unwrap(), expect);
    assert_eq!(clock.elapsed(), seconds(6));
}

/// Lanes must not starve the last one: with less stock arriving faster than the quota, an item goes
/// after seven ageings, 70 s.
#[test]
fn the_last_lane_does_not_starve() {
    let clock = VirtualClock::default();
    let limiter = limiter(&clock, 4, &[("default", Some((1.0, 1)))]);
    let item_went = Mutex::new(None);
    let flood = async {
        // Two a second for a quota of one.
        join_all((0..240).map(async |n: u32| {
            clock.sleep(Duration::from_millis(500) * n).await;
            drop(limiter.acquire("default", 1, Lane::StockDown).await);
        }))
        .await;
    };
    let item = async {
        clock.sleep(seconds(5)).await;
        drop(limiter.acquire("default", 1, Lane::Items).await.unwrap());
        *item_went.lock().unwrap() = Some(clock.elapsed());
    };
    clock.run(async { tokio::join!(flood, item) });
    let went = item_went.lock().unwrap().unwrap();
    // Those that came before its 70 s were up and still wait are in front of it in the same lane, and
    // came earlier or later: only the earlier ones (some five) go first.
    assert!((seconds(70)..=seconds(82)).contains(&went), "{went:?}");
}

#[test]
fn an_expensive_request_is_not_passed_by_cheap_ones_of_its_bucket() {
    let clock = VirtualClock::default();
    let limiter = limiter(&clock, 9, &[("default", Some((1.0, 3)))]);
    let order = Mutex::new(Vec::new());
    let asks = [
        (3, "empties it"),
        (3, "expensive"),
        (1, "cheap 1"),
        (1, "cheap 2"),
    ];
    clock.run(join_all(asks.map(async |(cost, name)| {
        let _permit = limiter
            .acquire("default", cost, Lane::Orders)
            .await
            .unwrap();
        order
            .lock()
            .unwrap()
            .push((clock.elapsed().as_secs(), name));
    })));
    let expect = [
        (0, "empties it"),
        (3, "expensive"),
        (4, "cheap 1"),
        (5, "cheap 2"),
    ];
    assert_eq!(*order.lock().unwrap(), expect);
}

#[test]
fn buckets_wait_for_themselves_only() {
    let clock = VirtualClock::default();
    let limiter = limiter(
        &clock,
        4,
        &[("orders", Some((0.1, 1))), ("stock", Some((10.0, 1)))],
    );
    limiter.observe(
        "orders",
        Feedback::Throttled {
            retry_after: Some(seconds(30)),
        },
    );
    let orders = async {
        drop(limiter.acquire("orders", 1, Lane::Orders).await.unwrap());
        clock.elapsed()
    };
    let stock = async {
        for _ in 0..11 {
            drop(limiter.acquire("stock", 1, Lane::Items).await.unwrap());
        }
        clock.elapsed()
    };
    let (orders, stock) = clock.run(async { tokio::join!(orders, stock) });
    assert_eq!((orders, stock), (seconds(30), seconds(1)));
}

/// Story 50: a library slept inside a throttled call and everybody waited.
#[test]
fn a_long_pause_is_not_waited_for() {
    let clock = VirtualClock::default();
    let limiter = limiter(&clock, 1, &[("default", Some((1.0, 1)))]);
    let ask = || limiter.acquire("default", 1, Lane::Orders);
    let throttled = |secs| Feedback::Throttled {
        retry_after: Some(seconds(secs)),
    };
    clock.run(async {
        let first = ask().await.unwrap();
        let mut waiting = Box::pin(ask());
        assert!(waiting.as_mut().now_or_never().is_none());
        limiter.observe("default", throttled(600));
        for fault in [waiting.await.unwrap_err(), ask().await.unwrap_err()] {
            assert_eq!((fault.class, fault.effect), (Class::Throttle, Effect::None));
            assert_eq!(fault.retry_after, Some(seconds(600)), "{fault}");
        }
        drop(first);
        clock.sleep(seconds(545)).await;
        drop(ask().await.unwrap());
    });
    assert_eq!(clock.elapsed(), seconds(600));
}

#[test]
fn the_last_place_in_flight_is_kept_for_less_stock() {
    let clock = VirtualClock::default();
    let limiter = limiter(&clock, 3, &[("default", None)]);
    let ask = |lane| limiter.acquire("default", 1, lane).now_or_never();
    let uploads = [Lane::Items, Lane::Items].map(|lane| ask(lane).unwrap().unwrap());
    assert!(ask(Lane::Items).is_none());
    assert!(ask(Lane::Orders).is_none());
    let less = ask(Lane::StockDown).unwrap().unwrap();
    assert!(ask(Lane::Cancellations).is_none(), "all three are taken");
    drop(uploads);
    assert!(ask(Lane::Orders).unwrap().is_ok());
    drop(less);
}

#[test]
fn what_can_never_go_is_refused_with_advice() {
    let clock = VirtualClock::default();
    let limiter = limiter(
        &clock,
        4,
        &[("default", Some((50.0, 100))), ("orders", None)],
    );
    let ask = |bucket, cost| {
        let asked = limiter.acquire(bucket, cost, Lane::Items).now_or_never();
        asked.expect("answered at once")
    };
    let fault = ask("default", 101).unwrap_err();
    assert_eq!(fault.class, Class::Config);
    assert!(fault.message.contains("101 cells"), "{fault}");
    let fault = ask("oders", 1).unwrap_err();
    assert_eq!(fault.class, Class::Config);
    assert!(fault.message.contains("`default`, `orders`"), "{fault}");
    assert!(ask("default", 100).is_ok());
    assert!(ask("orders", 1_000_000).is_ok());
    let bad = [
        (0.0, 1),
        (-1.0, 1),
        (f64::NAN, 1),
        (1.0, 0),
        (1e-6, 1_000_000),
        (1e9, 1),
    ];
    for (per_second, burst) in bad {
        let rate = Rate { per_second, burst };
        assert!(rate.check().is_err(), "{rate:?}");
    }
}

/// Story 51: an expected cost of 0 meant no pacing at all.
#[test]
fn a_cost_of_nothing_is_paced_too() {
    let clock = VirtualClock::default();
    let limiter = limiter(&clock, 4, &[("default", Some((1.0, 1)))]);
    clock.run(async {
        for _ in 0..4 {
            drop(limiter.acquire("default", 0, Lane::Items).await.unwrap());
        }
    });
    assert_eq!(clock.elapsed(), seconds(3));
}

/// Story 52: bursts got a merchant's shared host to block the store.
#[test]
fn without_a_declaration_a_shop_is_spared() {
    let clock = VirtualClock::default();
    let limiter = Limiter::new(LimitOptions::default(), Arc::new(clock.clone())).unwrap();
    clock.run(join_all((0..59).map(async |_| {
        drop(limiter.acquire("default", 1, Lane::Items).await.unwrap());
    })));
    assert_eq!(clock.elapsed(), seconds(10));
}

#[test]
fn the_queue_has_an_end() {
    let clock = VirtualClock::default();
    let options = LimitOptions {
        concurrency: 1,
        max_waiting: 2,
        ..LimitOptions::default()
    };
    let limiter = Limiter::new(options, Arc::new(clock.clone())).unwrap();
    clock.run(async {
        let holder = limiter.acquire("default", 1, Lane::Items).await.unwrap();
        let mut waiting = [0, 1].map(|_| Box::pin(limiter.acquire("default", 1, Lane::Items)));
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let fault = limiter
            .acquire("default", 1, Lane::Items)
            .await
            .unwrap_err();
        assert_eq!(fault.class, Class::Throttle);
        drop(holder);
    });
}

/// Whoever waits may go away at any moment, also between getting the turn and noticing it; nobody else
/// may wait for ever because of it.
#[test]
fn places_given_up_are_given_on() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = VirtualClock::default();
        let limiter = limiter(
            &clock,
            random.u32(1..4),
            &[("default", Some((10.0, 5))), ("orders", Some((3.0, 2)))],
        );
        let plans: Vec<_> = (0..60)
            .map(|_| {
                let bucket = if random.bool() { "default" } else { "orders" };
                let lane = [Lane::StockDown, Lane::Orders, Lane::Items][random.usize(0..3)];
                let start = Duration::from_millis(random.u64(0..2000));
                let patience = random
                    .bool()
                    .then(|| Duration::from_millis(random.u64(0..3000)));
                let hold = Duration::from_millis(random.u64(0..300));
                (bucket, lane, start, patience, hold)
            })
            .collect();
        let staying = plans.iter().filter(|plan| plan.3.is_none()).count();
        let went = AtomicU32::new(0);
        clock.run(join_all(plans.iter().map(async |plan| {
            let (bucket, lane, start, patience, hold) = *plan;
            clock.sleep(start).await;
            let turn = async {
                let _permit = limiter.acquire(bucket, 1, lane).await.unwrap();
                clock.sleep(hold).await;
            };
            if let Some(patience) = patience {
                tokio::select! {
                    () = turn => {}
                    () = clock.sleep(patience) => {}
                }
            } else {
                turn.await;
                went.fetch_add(1, Ordering::Relaxed);
            }
        })));
        assert_eq!(went.into_inner() as usize, staying, "seed {seed}");
        // All places are free again.
        clock.run(clock.sleep(seconds(10)));
        let urgent = limiter.acquire("default", 1, Lane::StockDown);
        assert!(urgent.now_or_never().is_some(), "seed {seed}");
    }
}

/// Tests of other modules run on this clock: a wait costs nothing there.
#[test]
fn on_a_manual_clock_nobody_waits() {
    let clock = ManualClock::at("2026-11-22T00:00:00Z".parse().unwrap());
    let limiter = Limiter::new(LimitOptions::default(), Arc::new(clock.clone())).unwrap();
    for _ in 0..60 {
        let turn = limiter.acquire("default", 1, Lane::Items).now_or_never();
        drop(turn.expect("at once").unwrap());
    }
    assert!(clock.monotonic() >= seconds(10), "{:?}", clock.monotonic());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_threads_concurrency_holds_and_everybody_gets_a_turn() {
    let options = LimitOptions {
        concurrency: 4,
        buckets: BTreeMap::from([("default".into(), None)]),
        ..LimitOptions::default()
    };
    let limiter = Arc::new(Limiter::new(options, RealClock::start()).unwrap());
    let in_flight = Arc::new(AtomicU32::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (limiter, in_flight) = (Arc::clone(&limiter), Arc::clone(&in_flight));
        tasks.spawn(async move {
            for _ in 0..200 {
                let _permit = limiter
                    .acquire("default", 1, Lane::StockDown)
                    .await
                    .unwrap();
                assert!(in_flight.fetch_add(1, Ordering::SeqCst) < 4);
                tokio::task::yield_now().await;
                in_flight.fetch_sub(1, Ordering::SeqCst);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
