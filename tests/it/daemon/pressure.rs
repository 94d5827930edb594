//! Back-pressure: what cannot be delivered stops the reading of more of it, and nothing else.

use std::time::Duration;

use crossdock::sandbox::{Crew, FaultKind, Pace};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Place;

/// Story 61 and the bounds: while the ERP refuses everything, orders are read up to the bound and no
/// further, stock is read on, the configuration can be read again, and once the ERP is well all of it
/// arrives, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_pauses_while_a_sink_fails_and_a_reload_does_not_hang() {
    let place = Place::with(|options| {
        options.carry_items = false;
    })
    .await;
    let bounded = format!("{}\n[limits]\noutbox_max_events = 2\n", place.config());
    let mut daemon = place.daemon(&bounded);
    daemon.until("up", |_| true).await;
    let clock = place.world.audit.clock();
    let erp = place.world.station("erp").unwrap();
    let mut crew = Crew::new(1, &Pace::default(), clock.now());
    let stop = CancellationToken::new();
    let refuse = async {
        // From now on every order that is sent fails, and fails again.
        erp.faults.force(FaultKind::Error500, "POST", "/", 100_000);
        let status = daemon
            .until("full", |status| !status["conditions"]["outbox"].is_null())
            .await;
        let why = status["conditions"]["outbox"].as_str().unwrap();
        assert!(why.contains("no more are read"), "{why}");
        daemon
            .until("orders are held, stock is read", |status| {
                let held = |stream: &str| {
                    let loops = status["loops"].as_array().unwrap().iter();
                    let read = loops.filter(|it| it["way"] == "read" && it["stream"] == stream);
                    read.map(|it| it["held"].is_string()).collect::<Vec<_>>()
                };
                held("orders").iter().all(|held| *held) && held("stock").iter().all(|held| !held)
            })
            .await;
        // Story 61: a reload while the sink fails, of the failing connection itself.
        let changed = bounded.replacen(
            "[connection.erp]\n",
            "[connection.erp]\nhttp.timeout_secs = 50\n",
            1,
        );
        place.write(&changed);
        let begun = clock.monotonic();
        let reload = daemon.reload().await;
        assert_eq!(reload["applied"], true, "{reload:#}");
        let took = clock.monotonic().saturating_sub(begun);
        assert!(took < Duration::from_secs(25), "{took:?}");
        stop.cancel();
    };
    tokio::join!(place.world.run(&mut crew, &stop), refuse);
    erp.faults.forget_forced();
    let statement = place.world.settle(&mut crew, Duration::from_secs(90)).await;
    assert!(
        statement.lost.is_empty() && statement.doubled.is_empty(),
        "{}\n{}",
        statement.to_text(),
        daemon.log()
    );
    assert!(statement.in_erp > 3, "{}", statement.to_text());
    daemon
        .until("open again", |status| {
            let outbox: &Value = &status["conditions"]["outbox"];
            outbox.is_null()
        })
        .await;
    place.world.stop().await;
}
