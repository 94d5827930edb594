//! Faults on a real socket, and people who do the same things from the same seed.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::audit::{Fact, Units};
use super::*;
use crate::clock::ManualClock;

const START: &str = "2026-11-22T10:00:00Z";
const LOGIN: &str = "authorization: Basic Y3Jvc3Nkb2NrOnByYWN0aWNl\r\n";

fn calm(folder: &tempfile::TempDir) -> WorldOptions {
    WorldOptions::new(folder.path().join("in"))
}

fn manual() -> (ManualClock, Arc<dyn Clock>) {
    let clock = ManualClock::at(START.parse().unwrap());
    (clock.clone(), Arc::new(clock))
}

/// What a client saw on its socket.
#[derive(Debug)]
struct Seen {
    bytes: Vec<u8>,
    reset: bool,
}

impl Seen {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn status(&self) -> u16 {
        self.text()
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0)
    }

    fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let head = text.split("\r\n\r\n").next()?;
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    }

    /// Whether the body is as long as its head says.
    fn is_whole(&self) -> bool {
        let text = self.text();
        let Some((_, body)) = text.split_once("\r\n\r\n") else {
            return false;
        };
        self.header("content-length")
            .is_some_and(|length| length == body.len().to_string())
    }
}

/// Sends one request on a connection of its own and reads until it ends.
async fn send(url: &str, method: &str, path: &str, headers: &str, body: &str) -> Seen {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).await;
    Seen {
        bytes,
        reset: ended.is_err(),
    }
}

async fn post_party(url: &str) -> Seen {
    send(
        url,
        "POST",
        "/parties",
        LOGIN,
        r#"{"name":"Zoë","code":"north-7"}"#,
    )
    .await
}

async fn parties(url: &str) -> usize {
    let seen = send(url, "GET", "/parties?code=north-7", LOGIN, "").await;
    seen.text().matches("north-7").count()
}

#[tokio::test]
async fn every_fault_looks_real_on_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, dynamic) = manual();
    let world = World::start(&dynamic, calm(&folder)).await.unwrap();
    let url = world.url("erp").unwrap();
    let faults = &world.station("erp").unwrap().faults;
    let plain = post_party(url).await;
    assert!(
        plain.status() == 201 && plain.is_whole() && !plain.reset,
        "{plain:?}"
    );
    assert_eq!(
        plain.header("date").unwrap(),
        "Sun, 22 Nov 2026 10:00:00 GMT"
    );

    // Kind, status that the client sees (0 for none), whether the request took effect.
    let cases = [
        (FaultKind::Throttle, 429, false),
        (FaultKind::Throttle, 429, false),
        (FaultKind::Error500, 500, false),
        (FaultKind::Unavailable503, 503, false),
        (FaultKind::LateError500, 500, true),
        (FaultKind::Html, 200, false),
        (FaultKind::Slow, 201, true),
        (FaultKind::PageShift, 201, true),
        (FaultKind::AcceptThenDrop, 0, true),
    ];
    let mut expected = 1;
    let mut retry_after = Vec::new();
    for (kind, status, effect) in cases {
        faults.force(kind, "POST", "/parties", 1);
        let before = clock.now();
        let seen = post_party(url).await;
        assert_eq!(seen.status(), status, "{kind}: {seen:?}");
        expected += usize::from(effect);
        assert_eq!(parties(url).await, expected, "{kind}");
        match kind {
            FaultKind::Throttle => retry_after.push(seen.header("retry-after")),
            FaultKind::AcceptThenDrop => assert!(seen.bytes.is_empty() && !seen.reset, "{seen:?}"),
            FaultKind::Html => assert!(seen.text().contains("<!doctype html>")),
            FaultKind::Slow => assert!(clock.now() > before, "it took its time"),
            _ => assert!(seen.is_whole(), "{kind}: {seen:?}"),
        }
    }
    assert_eq!(
        retry_after,
        [Some("1".to_owned()), None],
        "with and without Retry-After"
    );
    assert_eq!(faults.counts().values().sum::<u64>(), cases.len() as u64);
    world.stop().await;
}

/// Story 19: the order is there, and the reply breaks off in its middle.
#[tokio::test]
async fn a_cut_reply_ends_in_a_reset() {
    let folder = tempfile::tempdir().unwrap();
    let (_, clock) = manual();
    let world = World::start(&clock, calm(&folder)).await.unwrap();
    let url = world.url("erp").unwrap();
    let faults = &world.station("erp").unwrap().faults;
    faults.force(FaultKind::Cut, "GET", "/items", 1);
    let cut = send(url, "GET", "/items", LOGIN, "").await;
    assert!(cut.reset || !cut.is_whole(), "{} bytes", cut.bytes.len());
    let whole = send(url, "GET", "/items", LOGIN, "").await;
    assert!(whole.is_whole() && !whole.reset);
    assert!(cut.bytes.len() < whole.bytes.len());
    faults.force(FaultKind::Cut, "POST", "/parties", 1);
    post_party(url).await;
    assert_eq!(parties(url).await, 1, "it took effect");
    world.stop().await;
}

#[tokio::test]
async fn an_expired_token_is_refused_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_, clock) = manual();
    let world = World::start(&clock, calm(&folder)).await.unwrap();
    let url = world.url("north").unwrap();
    let login = r#"{"user":"crossdock","password":"practice"}"#;
    let token = |seen: &Seen| {
        let body: Value =
            serde_json::from_str(seen.text().split("\r\n\r\n").nth(1).unwrap()).unwrap();
        format!(
            "authorization: Bearer {}\r\n",
            body["token"].as_str().unwrap()
        )
    };
    let first = token(&send(url, "POST", "/login", "", login).await);
    assert_eq!(send(url, "GET", "/orders", &first, "").await.status(), 200);
    let faults = &world.station("north").unwrap().faults;
    faults.force(FaultKind::TokenExpiry, "GET", "/orders", 1);
    assert_eq!(send(url, "GET", "/orders", &first, "").await.status(), 401);
    let second = token(&send(url, "POST", "/login", "", login).await);
    assert_eq!(send(url, "GET", "/orders", &second, "").await.status(), 200);
    assert_eq!(faults.counts()[&FaultKind::TokenExpiry], 1);
    world.stop().await;
}

/// Stories 9 and 13: a clock that is ahead shows in the `Date` header and in every moment.
#[tokio::test]
async fn a_skewed_clock_shows_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (_, clock) = manual();
    let options = calm(&folder).with_faults(0.0, 600);
    let world = World::start(&clock, options).await.unwrap();
    let seen = send(world.url("erp").unwrap(), "GET", "/stock", LOGIN, "").await;
    assert_eq!(
        seen.header("date").unwrap(),
        "Sun, 22 Nov 2026 10:10:00 GMT"
    );
    assert!(seen.text().contains(r#""as_of":"2026-11-22T10:10:00Z""#));
    assert_eq!(world.time_at("south").to_string(), "2026-11-22T09:50:00Z");
    world.stop().await;
}

/// Stories 49 and 51: over the limit there is only 429, and waiting helps.
#[tokio::test]
async fn the_limit_is_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, dynamic) = manual();
    let mut options = calm(&folder);
    options.limit = Some(RateLimit {
        per_second: 2.0,
        burst: 3.0,
    });
    let world = World::new(&dynamic, options);
    let station = world.station("pos").unwrap();
    let call = Call::new("GET", "/sales", "").with_header("x-api-key", "practice");
    let mut seen = Vec::new();
    for wait in [0, 0, 0, 0, 600, 0] {
        clock.advance(Duration::from_millis(wait));
        let Ending::Whole(reply) = station.exchange(&call).await else {
            panic!("no fault was planned");
        };
        seen.push(reply.status);
    }
    assert_eq!(seen, [200, 200, 200, 429, 200, 429]);
}

#[tokio::test]
async fn a_world_stops_although_a_connection_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let (_, clock) = manual();
    let world = World::start(&clock, calm(&folder)).await.unwrap();
    let address = world
        .url("pos")
        .unwrap()
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    let idle = TcpStream::connect(&address).await.unwrap();
    world.stop().await;
    assert!(TcpStream::connect(&address).await.is_err());
    drop(idle);
}

/// Lets the people work for a while in a world where both webstores were told a number once and the
/// ERP confirms what its own test hand enters; no daemon.
fn a_day(seed: u64, pace: Pace, on_hand: i64) -> (Vec<audit::Entry>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (clock, dynamic) = manual();
    let mut options = calm(&folder);
    options.seed = seed;
    let world = World::new(&dynamic, options);
    for shop in [&world.north, &world.south] {
        let login = Call::new(
            "POST",
            "/login",
            r#"{"user":"crossdock","password":"practice"}"#,
        );
        let token = shop.answer(&login, clock.now()).value()["token"].clone();
        let rows: Vec<Value> = shop
            .products()
            .iter()
            .map(|product| json!({ "sku": product.sku, "on_hand": on_hand }))
            .collect();
        let tell = Call::new("PUT", "/stock", json!(rows).to_string()).with_header(
            "authorization",
            &format!("Bearer {}", token.as_str().unwrap()),
        );
        assert_eq!(shop.answer(&tell, clock.now()).status, 200);
    }
    let mut crew = Crew::new(seed, &pace, clock.now());
    for _ in 0..600 {
        crew.step(clock.now(), &world);
        clock.advance(Duration::from_millis(50));
    }
    crew.close();
    for _ in 0..200 {
        crew.step(clock.now(), &world);
        clock.advance(Duration::from_millis(50));
    }
    assert!(crew.is_idle(&world));
    (world.audit.entries(), folder)
}

#[test]
fn the_same_seed_gives_the_same_day() {
    let (first, _one) = a_day(5, Pace::default(), 5);
    let (second, _two) = a_day(5, Pace::default(), 5);
    assert_eq!(first, second);
    let (other, _three) = a_day(6, Pace::default(), 5);
    assert_ne!(first, other);
    let count = |wanted: fn(&Fact) -> bool| first.iter().filter(|e| wanted(&e.fact)).count();
    let placed = count(|fact| matches!(fact, Fact::Placed { .. }));
    assert!(
        (45..=90).contains(&placed),
        "{placed} orders and sales in 30 s"
    );
    assert!(count(|fact| matches!(fact, Fact::CalledOff { .. })) > 0);
    assert!(count(|fact| matches!(fact, Fact::Dropped { .. })) >= 6);
    assert!(count(|fact| matches!(fact, Fact::Uploaded { .. })) > 5);
}

/// Story 33 in the world's terms: two buyers, two shops, one moment, one article.
#[test]
fn a_duel_is_over_one_article_at_one_moment() {
    let pace = Pace {
        duel_percent: 100,
        till_every: Duration::ZERO,
        ..Pace::default()
    };
    let (entries, _folder) = a_day(5, pace, 2);
    let placed: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.fact {
            Fact::Placed { units, .. } => Some((entry.at, entry.system.as_str(), units)),
            _ => None,
        })
        .collect();
    assert!(placed.len() >= 2, "nobody fought");
    for pair in placed.chunks(2) {
        let [(at, one, wanted), (also_at, other, also_wanted)] = pair else {
            panic!("somebody was alone");
        };
        assert_eq!((at, wanted), (also_at, also_wanted));
        assert_eq!((*one, *other), ("north", "south"));
    }
}

/// Without a daemon every order is lost: the statement must say so.
#[test]
fn without_a_daemon_the_statement_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, dynamic) = manual();
    let world = World::new(&dynamic, calm(&folder));
    assert!(world.pos.sell(&[("0017".into(), 1)], clock.now()).is_some());
    let statement = world.statement();
    assert_eq!(statement.lost, ["pos:T1-000001"]);
    assert!(!statement.holds());
    assert!(
        !statement.stock_differences.is_empty(),
        "no shop was told anything"
    );
    let mut live = live::Live::default();
    live.update(&world);
    let text = live.text(clock.now(), clock.now());
    assert!(text.contains("pos    order T1-000001, 1 pieces"), "{text}");
}

/// The clerk fetches what only the supplier has, and by then the supplier's file says so.
#[test]
fn goods_are_called_from_the_supplier_and_arrive_after_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, dynamic) = manual();
    let world = World::new(&dynamic, calm(&folder));
    let level = world
        .acme
        .levels()
        .into_iter()
        .find(|one| one.sku.starts_with("ACM"))
        .unwrap();
    enter_order(&world, &level.sku, 2);
    let mut crew = Crew::new(1, &Pace::default(), clock.now());
    crew.close();
    for _ in 0..800 {
        crew.step(clock.now(), &world);
        clock.advance(Duration::from_millis(50));
    }
    let entries = world.audit.entries();
    let place = |wanted: &dyn Fn(&Fact) -> bool| {
        entries
            .iter()
            .position(|entry| wanted(&entry.fact))
            .unwrap()
    };
    let called = place(&|fact| matches!(fact, Fact::Supply { by: -2, .. }));
    let arrived = place(&|fact| {
        matches!(
            fact,
            Fact::Supply {
                by: 2,
                why: audit::Why::Moved,
                ..
            }
        )
    });
    let shipped = place(&|fact| matches!(fact, Fact::Shipped { .. }));
    assert!(called < arrived && arrived < shipped);
    let left = Units::new(level.sku.clone(), level.quantity - 2);
    let told = entries[called..arrived]
        .iter()
        .any(|entry| matches!(&entry.fact, Fact::Dropped { levels, .. } if levels.contains(&left)));
    assert!(told);
    assert!(crew.is_idle(&world));
}

/// Enters an order by hand, as the daemon would.
fn enter_order(world: &World, sku: &str, pieces: i64) {
    let now = world.time_at("erp");
    let send = |method: &str, path: &str, body: Value| {
        let call = Call::new(method, path, body.to_string())
            .with_header("authorization", "Basic Y3Jvc3Nkb2NrOnByYWN0aWNl");
        let reply = world.erp.answer(&call, now);
        assert!(reply.status < 300, "{path}: {}", reply.value());
        reply.value()["id"].as_str().unwrap().to_owned()
    };
    let party = send("POST", "/parties", json!({ "name": "Zoë" }));
    let address = json!({
        "name": "Zoë", "street": "x", "city": "x", "postal_code": "1", "country": "DE",
    });
    let address = send("POST", &format!("/parties/{party}/addresses"), address);
    let order = json!({
        "reference": "north:1", "party": party, "address": address, "placed_at": now,
        "currency": "EUR", "shipping": "0", "total": format!("{pieces}.00"),
    });
    let order = send("POST", "/orders", order);
    let amount = format!("{pieces}.00");
    let lines = json!([{
        "sku": sku, "quantity": pieces.to_string(), "unit_price": "1.00", "amount": amount,
    }]);
    send("PUT", &format!("/orders/{order}/lines"), lines);
    let warnings = json!({ "warnings": [format!("credit-{order}")] });
    send("POST", &format!("/orders/{order}/acknowledge"), warnings);
    send("POST", &format!("/orders/{order}/confirm"), json!({}));
}
