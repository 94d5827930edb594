//! Connectors dropped into the folder beside the configuration while the daemon runs.

use std::fs;

use super::{Daemon, Place, told};

/// The practice webstore under another name: a connector that the program does not have.
fn manifest() -> String {
    let text = include_str!("../../../connectors/sandbox_store/connector.toml");
    text.replacen("name = \"sandbox_store\"", "name = \"corner\"", 1)
}

fn drop_in(place: &Place, name: &str, text: &str) {
    let folder = place.folder.path().join("connectors").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("connector.toml"), text).unwrap();
}

/// Whether `north` is read, and how often it failed.
async fn north_is_read(daemon: &mut Daemon) {
    daemon
        .until("reading north's orders", |status| {
            let loops = status["loops"].as_array().unwrap();
            loops.iter().any(|one| {
                one["connection"] == "north"
                    && one["stream"] == "orders"
                    && !one["last_success"].is_null()
            })
        })
        .await;
}

#[tokio::test]
async fn a_connector_dropped_in_while_the_daemon_runs_is_used_after_a_reload() {
    let place = Place::new(None).await;
    let config = place.config();
    let mut daemon = place.daemon(&config);
    north_is_read(&mut daemon).await;

    // Used before it is there: refused, and everything goes on.
    let used = config.replacen("connector = \"sandbox_store\"", "connector = \"corner\"", 1);
    place.write(&used);
    let refused = daemon.reload().await;
    assert_eq!(refused["applied"], false);
    assert!(
        told(&refused).contains("no connector `corner`"),
        "{refused:#}"
    );

    // There: the connection begins anew with it, the others go on.
    drop_in(&place, "corner", &manifest());
    let applied = daemon.reload().await;
    assert_eq!(applied["applied"], true, "{applied:#}");
    let said = told(&applied);
    assert!(
        said.contains("[connection.north]") && !said.contains("[connection.south]"),
        "{said}"
    );
    north_is_read(&mut daemon).await;

    // Changed: noticed, though the configuration is the same.
    drop_in(
        &place,
        "corner",
        &manifest().replace("page_size = 50", "page_size = 49"),
    );
    let said = told(&daemon.reload().await);
    assert!(
        said.contains("[connection.north] changed, with [connectors]"),
        "{said}"
    );

    // Broken while the daemon runs: refused with file, line and advice; the old one goes on.
    let broken = manifest().replacen("poll_secs = 2", "pol_secs = 2", 1);
    let line = broken
        .lines()
        .position(|line| line.contains("pol_secs"))
        .unwrap()
        + 1;
    drop_in(&place, "corner", &broken);
    let refused = daemon.reload().await;
    assert_eq!(refused["applied"], false);
    let said = told(&refused);
    for part in [
        &format!("connectors/corner/connector.toml:{line}"),
        "unknown key `pol_secs`",
        "did you mean `poll_secs`?",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    north_is_read(&mut daemon).await;

    // One that nobody uses, however broken, stops nothing.
    drop_in(&place, "corner", &manifest());
    drop_in(&place, "unused", "this is no TOML");
    drop_in(&place, "tryton", &manifest());
    let applied = daemon.reload().await;
    assert_eq!(applied["applied"], true, "{applied:#}");
    north_is_read(&mut daemon).await;
    assert!(
        daemon.log().contains("no connection uses this connector"),
        "{}",
        daemon.log()
    );
}
