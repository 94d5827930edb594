//! Several connections with one credential, and quotas that change while they work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;

use super::VirtualClock;
use super::limiter::limiter;
use super::pacing::{Platform, Reads, told_by};
use crate::clock::Clock;
use crate::transport::http::{
    Feedback, HttpClient, HttpRequest, Lane, LimitOptions, LimitedClient, Limiter, Rate,
};

/// Story 49: two connections, one quota. One of them floods its lane, and its requests grow old; the other has
/// one request at a time, and gets as much.
#[test]
fn one_that_floods_leaves_the_other_its_share() {
    let clock = VirtualClock::default();
    let limiter = Arc::new(limiter(&clock, 4, &[("default", Some((10.0, 1)))]));
    let end = Duration::from_secs(120);
    let (flood, modest) = (limiter.join(), limiter.join());
    let counts = Mutex::new([0_u32; 2]);
    let longest = Mutex::new(Duration::ZERO);
    let work = async |payer: u32, at: usize| {
        while clock.elapsed() < end {
            let begun = clock.elapsed();
            let permit = limiter.acquire_as(payer, "default", 1, Lane::Prices).await;
            let waited = clock.elapsed().saturating_sub(begun);
            // Those who still wait at the end are let go one by one.
            counts.lock().unwrap()[at] += u32::from(clock.elapsed() < end);
            if at == 1 {
                let mut longest = longest.lock().unwrap();
                *longest = waited.max(*longest);
            }
            clock.sleep(Duration::from_millis(5)).await;
            drop(permit.unwrap());
        }
    };
    let many = join_all((0..120).map(|_| work(flood, 0)));
    clock.run(async { tokio::join!(many, work(modest, 1)) });
    let [many, one] = *counts.lock().unwrap();
    let share = f64::from(one) / f64::from(many + one);
    assert!(share > 0.4, "{one} of {}", many + one);
    let longest = *longest.lock().unwrap();
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert!(f64::from(many + one) >= 0.995 * 1200.0, "{}", many + one);
}

/// Whoever wanted nothing for a while has no claim to all of it then.
#[test]
fn a_rest_is_no_credit() {
    let clock = VirtualClock::default();
    let limiter = Arc::new(limiter(&clock, 4, &[("default", Some((10.0, 1)))]));
    let (early, late) = (limiter.join(), limiter.join());
    let order = Mutex::new(Vec::new());
    let work = async |payer: u32, until: u64| {
        while clock.elapsed() < Duration::from_secs(until) {
            let permit = limiter.acquire_as(payer, "default", 1, Lane::Orders).await;
            if clock.elapsed() >= Duration::from_secs(60) {
                order.lock().unwrap().push(payer);
            }
            drop(permit.unwrap());
        }
    };
    let both = async {
        clock.sleep(Duration::from_secs(60)).await;
        join_all((0..20).map(|_| work(late, 70))).await;
    };
    clock.run(async { tokio::join!(join_all((0..20).map(|_| work(early, 70))), both) });
    let order = order.lock().unwrap();
    let first: Vec<u32> = order.iter().copied().take(40).collect();
    let of_late = first.iter().filter(|payer| **payer == late).count();
    assert!((18..=22).contains(&of_late), "{first:?}");
}

/// A configuration that is read again: what was spent stays spent, what was learned stays learned.
#[test]
fn other_limits_at_run_time_keep_what_was_spent() {
    let clock = VirtualClock::default();
    let limiter = limiter(&clock, 4, &[("default", Some((1.0, 10)))]);
    let options = |per_second, burst, concurrency| LimitOptions {
        concurrency,
        buckets: BTreeMap::from([("default".into(), Some(Rate { per_second, burst }))]),
        ..LimitOptions::default()
    };
    clock.run(async {
        let take = async || drop(limiter.acquire("default", 1, Lane::Orders).await.unwrap());
        for _ in 0..9 {
            take().await;
        }
        assert_eq!(clock.elapsed(), Duration::ZERO, "a margin of 1");
        limiter.set(options(2.0, 20, 4)).unwrap();
        take().await;
        take().await;
        let passed = clock.elapsed();
        assert!(passed >= Duration::from_millis(500), "{passed:?}");
        // Learned, and declared as before: only how many may be under way is new.
        limiter.observe(
            "default",
            Feedback::Quota {
                per_second: 0.1,
                burst: 20,
            },
        );
        limiter.set(options(2.0, 20, 1)).unwrap();
        let begun = clock.elapsed();
        for _ in 0..3 {
            take().await;
        }
        let passed = clock.elapsed().saturating_sub(begun);
        assert!(passed >= Duration::from_secs(20), "{passed:?}");
        let refused = limiter.set(options(0.0, 20, 1)).unwrap_err();
        assert_eq!(refused.code, "http_limits");
    });
}

/// Story 16 of the twenty: eight tasks of two connections on one credential, while the quota falls and rises. At
/// least 99.5 % of it is used, each fall costs at most one refusal, less stock keeps moving and the last lane too.
#[test]
fn a_storm_on_one_credential_is_weathered() {
    let clock = VirtualClock::default();
    let limiter = Arc::new(limiter(&clock, 8, &[("default", Some((50.0, 100)))]));
    let platform = Arc::new(Platform::new(&clock, 50.0, 100.0));
    let end = Duration::from_secs(240);
    let clients =
        [(); 2].map(|()| LimitedClient::new(Arc::clone(&platform) as _, Arc::clone(&limiter)));
    let served: Mutex<BTreeMap<u32, (u32, Duration)>> = Mutex::default();
    let work = async |client: &LimitedClient, lane: Lane, rest: Duration| {
        while clock.elapsed() < end {
            let begun = clock.elapsed();
            let mut request = HttpRequest::new("POST", "http://a/");
            request.lane = lane;
            let reply = client.send(request).await.unwrap();
            told_by(client, &reply, Reads::Quota);
            let waited = clock.elapsed().saturating_sub(begun);
            {
                let mut served = served.lock().unwrap();
                let (count, longest) = served.entry(lane as u32).or_default();
                *count += u32::from(reply.status == 200);
                *longest = waited.max(*longest);
            }
            clock.sleep(rest).await;
        }
    };
    let falls = async {
        for (per_second, burst) in [(20.0, 40.0), (50.0, 100.0), (10.0, 20.0), (50.0, 100.0)] {
            clock.sleep(Duration::from_secs(48)).await;
            platform.change(per_second, burst);
        }
    };
    let at_once = Duration::ZERO;
    let lanes = [Lane::Orders, Lane::Prices, Lane::Items];
    let tasks = clients.iter().flat_map(|client| {
        let flood = lanes.map(|lane| work(client, lane, at_once));
        let less = work(client, Lane::StockDown, Duration::from_millis(700));
        flood.into_iter().chain([less])
    });
    clock.run(async { tokio::join!(join_all(tasks), falls) });
    let (accepted, refused) = platform.counts();
    let offered = platform.offered();
    let used = f64::from(accepted) / offered;
    assert!(refused <= 2, "{refused} refusals");
    assert!(used >= 0.995, "{accepted} of {offered}");
    let served = served.lock().unwrap();
    let (less, longest) = served[&(Lane::StockDown as u32)];
    assert!(less > 400, "{less}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    let (items, _) = served[&(Lane::Items as u32)];
    assert!(items > 50, "{items}");
}

/// Sharing is by connection: a client that is cloned is the same one.
#[test]
fn each_connection_is_one() {
    let clock = VirtualClock::default();
    let limiter: Arc<Limiter> = Arc::new(limiter(&clock, 1, &[("default", None)]));
    let numbers = [limiter.join(), limiter.join(), limiter.join()];
    assert_eq!(numbers, [0, 1, 2]);
}
