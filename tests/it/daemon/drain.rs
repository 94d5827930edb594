//! SIGTERM: what is under way finishes within the limit; what does not is found again; twice is at once.

use std::time::{Duration, Instant};

use crossdock::sandbox::basket::Basket;
use crossdock::sandbox::catalog::buyer;
use serde_json::Value;

use super::{Daemon, PATIENCE, Place};

/// Somebody buys single pieces in `north`, once the daemon has told it that there are any.
async fn buy(place: &Place, times: usize) {
    let mut rng = fastrand::Rng::with_seed(7);
    let began = Instant::now();
    let sku = loop {
        let products = place.world.north.products().into_iter();
        let mut plenty = products.filter(|product| product.active && product.available() > 6);
        if let Some(product) = plenty.next() {
            break product.sku.clone();
        }
        assert!(began.elapsed() < PATIENCE, "nothing is for sale");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    place.world.switch_faults(true);
    for _ in 0..times {
        let basket = Basket {
            buyer: buyer(&mut rng),
            lines: vec![(sku.clone(), 1)],
            coupon: None,
            shipping: 490,
            note: None,
        };
        let now = place.world.time_at("north");
        place.world.north.place(&basket, now).unwrap();
    }
}

fn in_flight(status: &Value) -> bool {
    let queue = status["queue"].as_array();
    let is_order = |row: &Value| row["state"] == "in_flight" && row["sink"] == "erp";
    queue.is_some_and(|queue| queue.iter().any(is_order))
}

async fn under_way(place: &Place, drain_secs: u32) -> Daemon {
    place.world.switch_faults(false);
    let config = place.config();
    let mut daemon = place.daemon(&format!("{config}\n[limits]\ndrain_secs = {drain_secs}\n"));
    daemon.until("up", |_| true).await;
    buy(place, 6).await;
    daemon.until("sending", in_flight).await;
    daemon
}

/// Runs on until everything is in the ERP; nothing twice, nothing lost, no draft left.
async fn finish(place: &Place) {
    place.world.switch_faults(false);
    let mut daemon = Daemon::start(place.folder.path(), &[]);
    daemon.until("up", |_| true).await; // before that a signal ends it as any process
    let began = Instant::now();
    while place.world.statement().in_erp < 6 {
        assert!(began.elapsed() < PATIENCE, "{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    daemon.signal("TERM");
    assert!(daemon.ended(PATIENCE).await.success());
    let it = place.world.statement();
    assert_eq!((it.in_erp, it.lost, it.drafts_left), (6, vec![], vec![]));
    assert!(
        it.doubled.is_empty() && it.invented.is_empty(),
        "{:?}",
        it.doubled
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_finishes() {
    let place = Place::new(Some(Duration::from_millis(800))).await;
    let mut daemon = under_way(&place, 60).await;
    daemon.signal("TERM");
    assert!(daemon.ended(PATIENCE).await.success(), "{}", daemon.log());
    assert!(daemon.log().contains("stopped"), "{}", daemon.log());
    let it = place.world.statement();
    assert!(
        it.in_erp > 0 && it.drafts_left.is_empty(),
        "{}",
        it.to_text()
    );
    finish(&place).await;
    place.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_longer_is_found_again() {
    let place = Place::new(Some(Duration::from_secs(8))).await;
    let mut daemon = under_way(&place, 1).await;
    let began = Instant::now();
    daemon.signal("TERM");
    let ended = daemon.ended(PATIENCE).await;
    assert!(ended.success() && began.elapsed() < Duration::from_secs(12));
    assert!(daemon.log().contains("found again"), "{}", daemon.log());
    finish(&place).await;
    place.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_it_ends_at_once() {
    let place = Place::new(Some(Duration::from_secs(15))).await;
    let mut daemon = under_way(&place, 300).await;
    daemon.signal("TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(daemon.child.try_wait().unwrap().is_none(), "it drains");
    let began = Instant::now();
    daemon.signal("TERM");
    let ended = daemon.ended(Duration::from_secs(5)).await;
    assert_eq!(ended.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(3));
    finish(&place).await;
    place.world.stop().await;
}
