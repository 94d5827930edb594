//! A full disk: nothing more is taken in, everybody can see why, and it goes on by itself.

use std::time::Duration;

use super::Place;
use super::notify::{free_port, page};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intake_stops_and_resumes_with_room() {
    let place = Place::new(None).await;
    let port = free_port();
    let enough = place
        .config()
        .replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1)
        .replacen("ballast_bytes = 0", "ballast_bytes = 1048576", 1);
    let full = enough.replacen(
        "min_free_bytes = 1048576",
        "min_free_bytes = 9000000000000000",
        1,
    );
    let mut daemon = place.daemon(&full);
    let status = daemon
        .until("full", |status| !status["conditions"]["disk"].is_null())
        .await;
    let why = status["conditions"]["disk"].as_str().unwrap();
    assert!(why.contains("nothing more is read"), "{why}");
    daemon
        .until("held", |status| {
            let loops = status["loops"].as_array().unwrap();
            let mut read = loops.iter().filter(|one| one["way"] == "read");
            read.all(|one| one["held"].is_string())
        })
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (code, body) = page(port, "/readyz");
    assert!(
        code == 503 && body.contains("min_free_bytes"),
        "{code} {body}"
    );
    assert_eq!(page(port, "/healthz").0, 200, "resting is not being stuck");
    let (_, metrics) = page(port, "/metrics");
    assert!(
        metrics.contains("crossdock_condition{condition=\"disk\"} 1"),
        "{metrics}"
    );

    place.write(&enough);
    assert_eq!(daemon.reload().await["applied"], true);
    daemon
        .until("read", |status| {
            let loops = status["loops"].as_array().unwrap();
            let mut read = loops.iter().filter(|one| one["way"] == "read");
            status["conditions"]["disk"].is_null()
                && read.all(|one| one["last_success"].is_string())
        })
        .await;
    assert_eq!(page(port, "/readyz").0, 200);
    let ballast = place.folder.path().join("store/ballast");
    assert_eq!(std::fs::metadata(ballast).unwrap().len(), 1 << 20);
    place.world.stop().await;
}
