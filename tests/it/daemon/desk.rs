//! The desk over the binary: poison orders, what is told of them, and their way back.

use std::process::Command;
use std::time::Duration;

use crossdock::sandbox::basket::Basket;
use crossdock::sandbox::catalog::{self, Buyer};
use serde_json::Value;

use super::notify::{free_port, page};
use super::{Daemon, Place};

/// A table with the wrong numbers: the first article is looked up under one that the ERP has no more, the
/// second is not in it at all, and one order gets a note that no field of the ERP can hold.
fn wrong_mapping(gone: &str, other: &str, long: &str) -> String {
    format!(
        r#"
[mapping.web_orders.field]
"lines[].sku" = {{ from = "lines[].sku", lookup = "numbers" }}
"ship_to.line1" = {{ expr = 'order.lines[0].sku == "{long}" ? order.ship_to.line1 + "{}" : order.ship_to.line1' }}

[mapping.web_orders.table.numbers]
"{gone}" = "NO-LONGER-MADE"
"{other}" = "{other}"
"{long}" = "{long}"
"#,
        "x".repeat(200)
    )
}

fn buyer() -> Buyer {
    Buyer {
        account: None,
        name: "Zoë 🦊 Quarrington".to_owned(),
        company: None,
        email: "zoe.quarrington@example.com".to_owned(),
        phone: Some("+49305559876".to_owned()),
        street: "Straße der 🎉 5".to_owned(),
        city: "Köln".to_owned(),
        postal_code: "50667".to_owned(),
        country: "DE".to_owned(),
    }
}

fn ask(place: &Place, command: &[&str]) -> String {
    let mut asked = Command::new(env!("CARGO_BIN_EXE_crossdock"));
    let said = asked
        .arg("--config")
        .arg(place.file())
        .args(command)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

async fn booked(place: &Place, daemon: &mut Daemon, count: usize, held: usize) {
    let world = &place.world;
    daemon
        .until("booked", |status| {
            status["quarantined"] == held && world.statement().in_erp == count
        })
        .await;
}

/// The twentieth of the twenty stories: poison orders do not stop the others, stand on the desk once with
/// their reason, go after their mapping was mended, and nothing personal and no secret is told anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_orders_stand_once_and_go_when_their_mapping_is_mended() {
    let place = Place::with(|options| options.carry_items = false).await;
    let port = free_port();
    let articles = catalog::articles(1, 42);
    let mut known = articles.iter().filter(|it| it.in_warehouse > 4);
    let [gone, missing, long, good] = [(); 4].map(|()| known.next().unwrap().sku.clone());
    let right = place
        .config()
        .replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let route = "[route.north-orders]\n";
    let mapped = right.replacen(route, &format!("{route}mapping = \"web_orders\"\n"), 1);
    let wrong = format!("{mapped}{}", wrong_mapping(&gone, &good, &long));
    let mut daemon = place.daemon(&wrong);
    daemon.until("up", |_| true).await;

    let clock = place.world.audit.clock();
    for sku in [&gone, &missing, &long, &good] {
        let basket = Basket {
            buyer: buyer(),
            lines: vec![(sku.clone(), 1)],
            coupon: None,
            shipping: 490,
            note: Some("please ring at Quarrington's".to_owned()),
        };
        // It is for sale once its number was told.
        while place.world.north.place(&basket, clock.now()).is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    booked(&place, &mut daemon, 1, 3).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = daemon.until("held", |_| true).await;
    assert_eq!(status["quarantined"], 3, "each stands once");

    let groups: Value =
        serde_json::from_str(&ask(&place, &["--json", "quarantine", "list"])).unwrap();
    let groups = groups.as_array().unwrap().clone();
    assert_eq!(groups.len(), 3, "{groups:#?}");
    assert!(groups.iter().all(|it| it["count"] == 1), "{groups:#?}");
    let name = |stage: &str| {
        let group = groups.iter().find(|it| it["stage"] == stage);
        group.unwrap()["group"].as_str().unwrap().to_owned()
    };
    assert_eq!(name("map"), "north.orders/map/lookup_unmatched");
    nothing_personal_is_told(&place, &daemon, port);

    // Nothing goes while its mapping is as it was.
    let tried = ask(&place, &["quarantine", "retry", "--group", &name("map")]);
    assert!(tried.contains("1 will be tried"), "{tried}");
    booked(&place, &mut daemon, 1, 3).await;
    // Mended: without the table, every order as its source said it.
    place.write(&right);
    assert_eq!(daemon.reload().await["applied"], true);
    let tried = ask(&place, &["quarantine", "retry", "--all"]);
    assert!(tried.contains("3 will be tried"), "{tried}");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let left = ask(&place, &["--json", "quarantine", "list", "--all"]);
    let left: Value = serde_json::from_str(&left).unwrap();
    let left: Vec<String> = left
        .as_array()
        .unwrap()
        .iter()
        .map(|row| ask(&place, &["quarantine", "show", &row["number"].to_string()]))
        .collect();
    assert!(left.is_empty(), "{}", left.join("\n"));
    booked(&place, &mut daemon, 4, 0).await;
    let statement = place.world.statement();
    assert!(
        statement.lost.is_empty() && statement.doubled.is_empty() && statement.differing.is_empty(),
        "{}",
        statement.to_text()
    );
    nothing_personal_is_told(&place, &daemon, port);
    place.world.stop().await;
}

/// In the views, the log, the metrics.
fn nothing_personal_is_told(place: &Place, daemon: &Daemon, port: u16) {
    let mut told = vec![daemon.log(), page(port, "/metrics").1];
    for command in [
        &["quarantine", "list"][..],
        &["quarantine", "list", "--all"],
        &["--json", "quarantine", "list", "--all"],
        &["--json", "queue"],
        &["--json", "status"],
        &["--json", "alert", "list"],
    ] {
        told.push(ask(place, command));
    }
    let rows = ask(place, &["--json", "quarantine", "list", "--all"]);
    let rows: Value = serde_json::from_str(&rows).unwrap();
    for row in rows.as_array().unwrap() {
        let number = row["number"].to_string();
        let sheet = ask(place, &["quarantine", "show", &number]);
        assert!(sheet.contains("WHAT"), "every attempt is told: {sheet}");
        told.push(sheet);
        told.push(ask(place, &["--json", "quarantine", "show", &number]));
    }
    // Name, address, mail, phone, and what stands in the Authorization header.
    let secrets = [
        "Quarrington",
        "Straße der",
        "zoe.quarrington",
        "49305559876",
        "Y3Jvc3Nkb2NrOnByYWN0aWNl",
    ];
    for text in told {
        for secret in secrets {
            let at = text.find(secret);
            let near = at.map(|at| text[..at].chars().rev().take(300).collect::<String>());
            assert_eq!(near, None, "`{secret}` is told in:\n{text}");
        }
    }
}
