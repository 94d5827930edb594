//! Story 61: a reload that says "applied" although it is not, or that ends a running daemon.

use std::time::Duration;

use crossdock::sandbox::{Crew, Pace};
use tokio_util::sync::CancellationToken;

use super::{Daemon, Place, told};

/// The configuration without the supplier: a connection, its part in the pool.
fn without_supplier(config: &str) -> String {
    let at = config.find("\n[connection.acme]").unwrap();
    let to = config.find("\n[route.").unwrap();
    format!("{}{}", &config[..at], &config[to..])
        .replace("[\"erp.stock\", \"acme.stock\"]", "[\"erp.stock\"]")
}

fn without_route(config: &str, name: &str) -> String {
    let at = config.find(&format!("\n[route.{name}]")).unwrap();
    let to = config[at + 1..].find("\n[").unwrap() + at + 1;
    format!("{}{}", &config[..at], &config[to..])
}

/// People buy and ship while somebody edits the configuration; the ERP is slow, so that every reload finds
/// deliveries under way. Nothing is lost and nothing doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_at_work_notice_no_reload() {
    let place = Place::new(Some(Duration::from_millis(700))).await;
    let full = place.config();
    let first = without_route(&without_supplier(&full), "north-prices");
    let mut daemon = place.daemon(&first);
    daemon.until("up", |_| true).await;
    let now = place.world.audit.clock().now();
    let mut crew = Crew::new(1, &Pace::default(), now);
    let stop = CancellationToken::new();
    let work = place.world.run(&mut crew, &stop);
    let edits = async {
        edit(&place, &mut daemon, &full).await;
        stop.cancel();
    };
    tokio::join!(work, edits);
    crew.close();
    place.world.switch_faults(false);
    let clock = place.world.audit.clock();
    for _ in 0..60 {
        let stop = CancellationToken::new();
        let second = async {
            clock.sleep(Duration::from_secs(1)).await;
            stop.cancel();
        };
        tokio::join!(place.world.run(&mut crew, &stop), second);
        if crew.is_idle(&place.world) && is_right(&place).is_empty() {
            break;
        }
    }
    assert_eq!(is_right(&place), "", "{}", daemon.log());
    let statement = place.world.statement();
    assert!(statement.in_erp > 20, "{}", statement.to_text());
    daemon.signal("TERM");
    assert!(daemon.ended(Duration::from_secs(30)).await.success());
    place.world.stop().await;
}

/// Everything that must hold although connections came and went.
fn is_right(place: &Place) -> String {
    let it = place.world.statement();
    let lists = [
        ("lost", format!("{:?}", it.lost)),
        ("invented", format!("{:?}", it.invented)),
        ("differing", format!("{:?}", it.differing)),
        ("drafts", format!("{:?}", it.drafts_left)),
        ("not called off", format!("{:?}", it.not_called_off)),
        ("tracking missing", format!("{:?}", it.tracking_missing)),
        ("tracking doubled", format!("{:?}", it.tracking_doubled)),
        ("stock", format!("{:?}", it.stock_differences)),
        ("doubled", format!("{:?}", it.doubled)),
    ];
    let wrong = lists
        .into_iter()
        .filter(|(_, list)| !matches!(list.as_str(), "[]" | "{}"));
    let told: Vec<String> = wrong
        .map(|(what, list)| format!("{what}: {list}"))
        .collect();
    told.join("\n")
}

async fn edit(place: &Place, daemon: &mut Daemon, full: &str) {
    let pause = || tokio::time::sleep(Duration::from_secs(2));
    pause().await;

    // A route and a connection more.
    place.write(full);
    let reload = daemon.reload().await;
    assert_eq!(reload["applied"], true, "{reload:#}");
    let said = told(&reload);
    for line in [
        "[route.north-prices] new",
        "[connection.acme] new",
        "[pool.main] changed",
    ] {
        assert!(said.contains(line), "{said}");
    }
    pause().await;

    // A limit: the ERP's connection begins anew while it has deliveries under way.
    let limited = full.replacen(
        "[connection.erp]\n",
        "[connection.erp]\nhttp.timeout_secs = 50\n",
        1,
    );
    place.write(&format!("{limited}\n[limits]\nretry_first_ms = 2000\n"));
    let said = told(&daemon.reload().await);
    assert!(said.contains("[connection.erp] changed"), "{said}");
    assert!(said.contains("[limits] changed"), "{said}");
    pause().await;

    refused(place, daemon, full).await;
    pause().await;

    // A connection less.
    place.write(&without_supplier(full));
    let said = told(&daemon.reload().await);
    assert!(said.contains("[connection.acme] removed"), "{said}");
    let status = daemon.status().await.unwrap();
    let loops = status["loops"].as_array().unwrap();
    assert!(
        loops.iter().all(|one| one["connection"] != "acme"),
        "{status:#}"
    );
    pause().await;
    place.write(full);
    assert_eq!(daemon.reload().await["applied"], true);
    pause().await;
    // Nothing is different, and that is said too.
    assert_eq!(told(&daemon.reload().await), "nothing is different");
}

/// What cannot be: every reason is told, and the daemon goes on as before.
async fn refused(place: &Place, daemon: &mut Daemon, full: &str) {
    let cases = [
        (
            "version = 1\n[route.x\n".to_owned(),
            vec!["crossdock.toml:2"],
        ),
        (
            full.replacen("from = \"north.orders\"", "from = \"nort.orders\"", 1)
                .replacen("poll_secs = 1", "poll_secs = -1", 1),
            vec!["no connection `nort`", "poll_secs"],
        ),
        (
            full.replacen("/store\"", "/elsewhere\"", 1),
            vec!["[store] different, which only a restart can apply"],
        ),
        (
            format!(
                "{full}\n[mapping.m]\nnumber = {{ expr = \"order.nmber\" }}\n[[mapping.m.test]]\n"
            )
            .replacen(
                "to = \"erp.orders\"\n",
                "to = \"erp.orders\"\nmapping = \"m\"\n",
                1,
            ),
            vec!["mapping.m"],
        ),
    ];
    for (config, expected) in cases {
        place.write(&config);
        let reload = daemon.reload().await;
        assert_eq!(reload["applied"], false, "{reload:#}");
        let said = told(&reload);
        for part in expected {
            assert!(said.contains(part), "{part} is not in:\n{said}");
        }
    }
    std::fs::remove_file(place.file()).unwrap();
    assert_eq!(daemon.reload().await["applied"], false);
    assert!(!place.folder.path().join("elsewhere").exists());
    place.write(full);
    assert_eq!(daemon.reload().await["applied"], true);
}
