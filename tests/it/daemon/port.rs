//! Whoever cannot be looked after does not begin.

use std::net::TcpListener;
use std::time::Duration;

use super::{Daemon, Place};

/// A port in use is told as that: what, where, and how to mend it. Nothing was read by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_told_and_nothing_begins() {
    let place = Place::new(None).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = place.config();
    let at = config.find("listen = \"").unwrap();
    let end = at + config[at..].find('\n').unwrap();
    let config = format!("{}listen = \"{address}\"{}", &config[..at], &config[end..]);
    place.write(&config);
    let mut daemon = Daemon::start(place.folder.path(), &[]);
    let status = daemon.ended(Duration::from_secs(30)).await;
    let log = daemon.log();
    assert_eq!(status.code(), Some(6), "{log}");
    for part in [
        &address.to_string(),
        "server.listen",
        "something else listens there",
    ] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
    assert!(!log.contains("cannot write the output"), "{log}");
    assert!(
        place
            .world
            .statement()
            .requests
            .values()
            .all(|count| *count == 0)
    );
    drop(taken);
    place.world.stop().await;
}
