//! What is told of tokens: when they end, what is missing, and no secret.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{BY_MOMENT, HEAD, Old, REFRESH, Vendor, load, probe};
use crate::connector::Connector;
use crate::connector::contract::MemoryKeeper;
use crate::fault::Class;

/// How long a token is good is counted from when it was asked for, by our own clock.
#[tokio::test]
async fn what_the_reply_says_of_time_need_not_be_true() {
    // Nothing, nonsense, already over: used until it is refused.
    for more in [
        json!({}),
        json!({ "expires_in": "soon" }),
        json!({ "expires_in": 0 }),
        json!({ "expires_in": -60 }),
    ] {
        let vendor = Vendor::new(Old::Over);
        vendor.books().more = more;
        let connection = vendor.open(REFRESH, "rt-1", &MemoryKeeper::default().tokens());
        for _ in 0..3 {
            probe(&connection).await.unwrap();
            vendor.clock.advance(Duration::from_secs(3600));
        }
        assert_eq!(vendor.refreshes(), 1);
        vendor.books().access.clear();
        probe(&connection).await.unwrap();
        assert_eq!(vendor.refreshes(), 2);
    }
    // Its clock is ahead: it refuses earlier than it said.
    let vendor = Vendor::new(Old::Over);
    let connection = vendor.open(REFRESH, "rt-1", &MemoryKeeper::default().tokens());
    probe(&connection).await.unwrap();
    vendor.clock.advance(Duration::from_secs(900));
    vendor.books().access.clear();
    probe(&connection).await.unwrap();
    assert_eq!(vendor.refreshes(), 2);
}

/// When a refresh token ends is known for the alert: as told with each reply, or counted.
#[tokio::test]
async fn the_end_of_a_refresh_token_is_known() {
    let day = 86_400;
    let cases = [
        (
            Old::Over,
            "",
            json!({ "refresh_token_expires_in": 90 * day }),
            Some("2027-02-20T10:00:00Z"),
        ),
        (
            Old::Over,
            "",
            json!({ "x_refresh_token_expires_in": "8640000" }),
            Some("2027-03-02T10:00:00Z"),
        ),
        (
            Old::Over,
            "lifetime_days = 60\n",
            json!({}),
            Some("2027-01-21T10:00:00Z"),
        ),
        (
            Old::Same,
            "rotates = false\nlifetime_days = 365\n",
            json!({}),
            Some("2027-11-22T10:00:00Z"),
        ),
        (
            Old::Same,
            "refresh_expires_secs = \"reply.json.left\"\n",
            json!({ "left": day }),
            Some("2026-11-23T10:00:00Z"),
        ),
        (Old::Over, "", json!({}), None),
    ];
    for (old, flow, more, expect) in cases {
        let vendor = Vendor::new(old);
        vendor.books().more = more.clone();
        let keeper = MemoryKeeper::default();
        let tokens = keeper.tokens();
        let connection = vendor.open(&format!("{REFRESH}{flow}"), "rt-1", &tokens);
        probe(&connection).await.unwrap();
        let end = tokens.ends().get("toy").map(ToString::to_string);
        assert_eq!(end.as_deref(), expect, "{more}");
        if flow.contains("365") {
            // It stays the same one: another life does not make it younger.
            vendor.clock.advance(Duration::from_secs(10 * day));
            let tokens = keeper.tokens();
            let connection = vendor.open(&format!("{REFRESH}{flow}"), "rt-1", &tokens);
            probe(&connection).await.unwrap();
            let end = tokens.ends().get("toy").map(ToString::to_string);
            assert_eq!(end.as_deref(), expect);
        }
    }
}

/// A check beside a running daemon must not use up its token.
#[tokio::test]
async fn without_somebody_who_keeps_it_a_token_for_one_use_is_not_used() {
    let vendor = Vendor::new(Old::Over);
    let connection = vendor.open(REFRESH, "rt-1", &Arc::default());
    let fault = probe(&connection).await.unwrap_err();
    assert_eq!(
        (fault.class, &*fault.code),
        (Class::Config, "only_the_daemon")
    );
    assert_eq!(vendor.refreshes(), 0);
    let vendor = Vendor::new(Old::Same);
    let flow = format!("{REFRESH}rotates = false\n");
    probe(&vendor.open(&flow, "rt-1", &Arc::default()))
        .await
        .unwrap();
}

/// Story 55: nothing that is told or kept shows a secret.
#[tokio::test]
async fn no_secret_is_in_anything_that_is_told_or_kept() {
    let mut told = Vec::new();
    let echo =
        json!({ "error": "invalid_grant rt-1", "error_description": "rt-1 of app with sec ret" });
    let says = [
        Ok((400, echo)),
        Ok((401, json!({ "error": "sec ret" }))),
        Ok((500, json!({ "refresh_token": "rt-1" }))),
        Ok((200, json!({ "refresh_token": "rt-2" }))),
    ];
    for said in says {
        let vendor = Vendor::new(Old::Over);
        let keeper = MemoryKeeper::default();
        let tokens = keeper.tokens();
        vendor.books().say = vec![said];
        let connection = vendor.open(REFRESH, "rt-1", &tokens);
        let fault = probe(&connection).await.unwrap_err();
        told.push(format!(
            "{fault} {fault:?} {connection:?} {tokens:?} {:?}",
            keeper.rows()
        ));
    }
    let vendor = Vendor::new(Old::Over);
    let keeper = MemoryKeeper::default();
    let tokens = keeper.tokens();
    let connection = vendor.open(REFRESH, "rt-1", &tokens);
    probe(&connection).await.unwrap();
    told.push(format!("{connection:?} {tokens:?} {:?}", keeper.rows()));
    let rows = serde_json::to_string(&keeper.rows()).unwrap();
    told.push(rows);
    for text in &told {
        for secret in [
            "rt-1",
            "rt-2",
            "at-1",
            "sec ret",
            "sec%20ret",
            "YXBwOnNlYyUyMHJldA",
        ] {
            let at = text.find(secret);
            let around = at.and_then(|at| text.get(at.saturating_sub(80)..at + 80));
            assert_eq!(around, None, "{secret}");
        }
    }
}

#[test]
fn a_manifest_or_a_connection_that_lacks_something_says_so() {
    let refused = |flow: &str| {
        let text = format!("{HEAD}{flow}{BY_MOMENT}");
        load("toy.toml", &text).unwrap_err().to_string()
    };
    let cases = [
        ("grant = \"refresh_token\"\n", "needs `refresh_token`"),
        (
            "grant = \"client_credentials\"\nrefresh_token = \"{secret.refresh_token}\"\n",
            "knows no refresh token",
        ),
        (
            "grant = \"client_credentials\"\nclient_auth = \"none\"\n",
            "do not fit",
        ),
        (
            "grant = \"client_credentials\"\nrotates = true\n",
            "belong to refresh tokens",
        ),
        ("grant = \"password\"\n", "`password` is not known here"),
        (
            "grant = \"client_credentials\"\nbucket = \"login\"\n",
            "no bucket `login`",
        ),
        (
            "grant = \"client_credentials\"\nheaders = { a = \"{secret.client_secret}\" }\n",
            "secret",
        ),
    ];
    for (flow, expect) in cases {
        let told = refused(flow);
        assert!(told.contains(expect), "{flow}: {told}");
    }

    let connector = load("toy.toml", &format!("{HEAD}{REFRESH}{BY_MOMENT}")).unwrap();
    let settings =
        "client_id = \"app\"\nrefresh_token = \" \"\ntoken_url = \"http://toy.test/token\"";
    let findings = connector
        .configure(&toml::from_str(settings).unwrap())
        .unwrap_err();
    let told = findings.to_string();
    for expect in [
        "`client_secret` is missing",
        "`refresh_token` is missing",
        "`token_url` must begin with https://",
    ] {
        assert!(told.contains(expect), "{expect}: {told}");
    }
    let helps = findings.0.iter().filter_map(|finding| finding.help.clone());
    let helps: Vec<String> = helps.collect();
    assert!(
        helps.join(" ").contains("authorise the application once"),
        "{helps:?}"
    );
}
