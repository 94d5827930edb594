//! Webhooks, from the wire to the order in the ERP: durable before they are answered, never believed, never
//! lost and never twice. The webstore is one that never shows in its list what the tests put there, or
//! is read too rarely: whatever arrives, arrives by its webhook.

#![expect(
    clippy::disallowed_methods,
    reason = "a process beside us lives in real time"
)]

#[path = "webhooks/shop.rs"]
mod shop;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossdock::clock::{Clock, earlier};
use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::connectors::built_in;
use crossdock::runtime::{Runtime, SystemClock, open_store, store_path};
use crossdock::sandbox::erp::ErpState;
use crossdock::sandbox::{World, WorldOptions, catalog};
use crossdock::server::webhooks::{self, Bounds};
use crossdock::topology;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use shop::{SECRET, WooShop, order};

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long nothing must happen.
const QUIET: Duration = Duration::from_millis(700);
const PATH_SECRET: &str = "a-part-that-nobody-guesses";

/// The configuration of a daemon between a shop and the practice ERP.
fn config(shop: &WooShop, world: &World, clock: &dyn Clock, more: &str) -> String {
    let start = earlier(clock.now(), Duration::from_hours(24));
    let (shop, erp) = (&shop.url, world.url("erp").unwrap());
    format!(
        r#"version = 1

[connection.shop]
connector = "woocommerce"
limits = {{ requests_per_second = 100.0, burst = 100 }}
stream.orders.poll_secs = 3600

[connection.shop.settings]
url = "{shop}"
consumer_key = "ck_x"
consumer_secret = "cs_x"
webhook_secret = "{SECRET}"
webhook_secret_before = "the one before"

[connection.erp]
connector = "sandbox_erp"
settings = {{ url = "{erp}", password = "practice" }}

[route.orders]
from = "shop.orders"
to = "erp.orders"
mode = "apply"
start_from = "{start}"
{more}
"#
    )
}

/// A daemon in this process, and a listener for its webhooks.
struct Scene {
    shop: WooShop,
    world: World,
    runtime: Runtime,
    address: SocketAddr,
    clock: Arc<dyn Clock>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let world = WorldOptions::new(folder.path().join("acme"));
        let world = World::start(&clock, world).await.unwrap();
        let shop = WooShop::start().await;
        let text = config(&shop, &world, clock.as_ref(), more)
            + "[store]\nengine = \"memory\"\n[server]\nlisten = \"127.0.0.1:0\"\nwebhooks_listen = \"127.0.0.1:0\"\nwebhook_url = \"https://hooks.example.test/\"\n";
        let path = folder.path().join("crossdock.toml");
        fs::write(&path, text).unwrap();
        let connectors = built_in();
        let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
        let loaded = config::load(&path, &config::System, Credentials::Needed).unwrap();
        let plan = topology::plan(&loaded, &registry).unwrap();
        let store = open_store(&plan, &store_path(&plan), clock.as_ref()).unwrap();
        let bounds = Bounds {
            body_bytes: plan.limits.server_max_body_bytes,
            connections: plan.limits.server_max_connections,
        };
        let listener = webhooks::bind(plan.server.webhooks_listen.unwrap())
            .await
            .unwrap();
        let runtime = Runtime::start(Arc::new(plan), store, &clock, 1).unwrap();
        let address = listener.local_addr().unwrap();
        let hooks = runtime.hooks();
        runtime.beside(async move { webhooks::serve(listener, hooks, bounds).await.unwrap() });
        let scene = Self {
            shop,
            world,
            runtime,
            address,
            clock,
            _folder: folder,
        };
        scene
            .until("read once", || scene.runtime.vitals.ready())
            .await;
        scene
    }

    async fn until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is() {
            assert!(began.elapsed() < PATIENCE, "not {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// An order that is right in everything.
    fn good(&self, id: u64) -> Value {
        order(id, &catalog::articles(1, 42)[0].sku, self.clock.now())
    }

    async fn tell(&self, topic: &str, id: u64) -> u16 {
        send(
            self.address,
            "/hooks/shop",
            &signed(topic, &json!({ "id": id })),
        )
        .await
        .0
    }

    /// Until the ERP has these orders, and no others.
    async fn booked(&self, ids: &[u64]) {
        let wanted: BTreeSet<String> = ids.iter().map(|id| format!("shop:{id}")).collect();
        self.until("booked", || references(&self.world).len() >= wanted.len())
            .await;
        tokio::time::sleep(QUIET).await;
        let references = references(&self.world);
        let unique: BTreeSet<String> = references.iter().cloned().collect();
        assert_eq!(unique.len(), references.len(), "one was booked twice");
        assert_eq!(unique, wanted);
    }

    async fn end(self) {
        let limit = Duration::from_secs(5);
        self.runtime.stop(limit, self.clock.as_ref()).await.unwrap();
        self.world.stop().await;
    }
}

/// The references of the orders that the ERP has booked.
fn references(world: &World) -> Vec<String> {
    let mut orders = world.erp.orders();
    orders.retain(|order| order.state != ErpState::Draft);
    orders.into_iter().map(|order| order.reference).collect()
}

/// A request without its address: headers and body.
struct Told {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// As the shop signs it.
fn signed(topic: &str, body: &Value) -> Told {
    signed_with(SECRET, topic, body)
}

fn signed_with(secret: &str, topic: &str, body: &Value) -> Told {
    let body = body.to_string().into_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let proof = STANDARD.encode(hmac::sign(&key, &body));
    Told {
        headers: vec![
            ("content-type".into(), "application/json".into()),
            ("x-wc-webhook-topic".into(), topic.into()),
            ("x-wc-webhook-signature".into(), proof),
            // The same for everything in one second: it names no event.
            ("x-wc-webhook-delivery-id".into(), "5a3f".into()),
        ],
        body,
    }
}

/// Sends a request; the status and the whole answer.
async fn send(to: SocketAddr, path: &str, told: &Told) -> (u16, String) {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: hooks\r\n");
    for (name, value) in &told.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "content-length: {}\r\n\r\n", told.body.len()).unwrap();
    exchange(to, &[head.as_bytes(), &told.body].concat()).await
}

/// Sends bytes and reads until the other side ends.
async fn exchange(to: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // Whoever refuses need not read all of it.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The twenty, item 8 (stories 23 and 26): the same webhook many times at once, the update before the
/// creation, and all of it again later: one fetch or few, one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn story_23_and_26_repeated_and_out_of_order_is_one_order() {
    let scene = Scene::start("").await;
    scene.shop.hide(scene.good(17));
    let told = ["order.updated", "order.created", "order.updated"];
    let all = (0..24).map(|n| scene.tell(told[n % told.len()], 17));
    let statuses = futures_util::future::join_all(all).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    scene.booked(&[17]).await;
    let fetched = scene.shop.fetches(17);
    assert!(fetched < 24, "each webhook was fetched: {fetched}");
    scene.end().await;
}

/// The twenty, item 8: a webhook of three days ago comes again (its body is old and says so); what is booked is
/// what the shop has now, and once. Story 27: nothing goes back to how it was then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_after_three_days_changes_nothing() {
    let scene = Scene::start("").await;
    let mut old = scene.good(5);
    old["status"] = json!("processing");
    let mut now = old.clone();
    now["status"] = json!("cancelled");
    scene.shop.hide(old.clone());
    let told = signed("order.updated", &old);
    assert_eq!(send(scene.address, "/hooks/shop", &told).await.0, 200);
    scene.booked(&[5]).await;
    scene.shop.put(now);
    assert_eq!(scene.tell("order.updated", 5).await, 200);
    let is_cancelled = || scene.world.erp.orders()[0].state == ErpState::Cancelled;
    scene.until("cancelled", is_cancelled).await;
    let fetched = scene.shop.fetches(5);
    assert_eq!(send(scene.address, "/hooks/shop", &told).await.0, 200);
    scene
        .until("fetched", || scene.shop.fetches(5) > fetched)
        .await;
    tokio::time::sleep(QUIET).await;
    assert!(is_cancelled());
    assert_eq!(scene.world.erp.orders().len(), 1);
    scene.end().await;
}

/// Who does not know the secret learns nothing and gets nothing in; nobody's answer has a body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forged_or_malformed_is_refused_and_says_nothing() {
    let more = format!("[connection.shop.webhook]\npath_secret = \"{PATH_SECRET}\"\n");
    let scene = Scene::start(&more).await;
    scene.shop.hide(scene.good(1));
    let path = format!("/hooks/shop/{PATH_SECRET}");
    let body = json!({ "id": 1 });
    let good = || signed("order.updated", &body);
    let with = |change: &dyn Fn(&mut Told)| {
        let mut told = good();
        change(&mut told);
        told
    };
    let cases: Vec<(&str, &str, Told, u16)> = vec![
        (
            "another secret",
            &path,
            signed_with("guess", "order.updated", &body),
            401,
        ),
        (
            "no signature",
            &path,
            with(&|told| told.headers.truncate(2)),
            401,
        ),
        (
            "another body",
            &path,
            with(&|told| told.body = b"{\"id\":2}".to_vec()),
            401,
        ),
        (
            "no JSON",
            &path,
            {
                let mut told = signed("order.updated", &json!("x"));
                told.body = b"{\"id\":".to_vec();
                told
            },
            401,
        ),
        ("without the secret part", "/hooks/shop", good(), 404),
        (
            "with a wrong one",
            "/hooks/shop/a-part-that-somebody-guesses",
            good(),
            404,
        ),
        ("for nobody", "/hooks/nobody", good(), 404),
        ("for one that takes in none", "/hooks/erp", good(), 404),
        ("elsewhere", "/metrics", good(), 404),
        ("up a folder", "/hooks/../hooks/shop", good(), 404),
        (
            "too large",
            &path,
            with(&|told| told.body = vec![b'x'; (1 << 20) + 1]),
            413,
        ),
        (
            "a ping, as the shop sends it when it is set up",
            &path,
            Told {
                headers: vec![],
                body: b"webhook_id=142".to_vec(),
            },
            200,
        ),
        (
            "no ping",
            &path,
            Told {
                headers: vec![],
                body: b"webhook_id=142&id=1".to_vec(),
            },
            401,
        ),
        (
            "an unknown topic",
            &path,
            signed("coupon.updated", &body),
            200,
        ),
        (
            "nothing that could be an id",
            &path,
            signed("order.updated", &json!({ "id": { "a": 1 } })),
            400,
        ),
    ];
    for (what, path, told, status) in cases {
        let (got, answer) = send(scene.address, path, &told).await;
        assert_eq!(got, status, "{what}: {answer}");
        assert_eq!(body_of(&answer), "", "{what}");
        assert!(answer.contains("connection: close"), "{what}: {answer}");
    }
    for (method, status) in [("GET", 405), ("PUT", 405), ("DELETE", 405), ("HEAD", 405)] {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: hooks\r\n\r\n");
        assert_eq!(
            exchange(scene.address, request.as_bytes()).await.0,
            status,
            "{method}"
        );
    }
    tokio::time::sleep(QUIET).await;
    assert_eq!(scene.shop.fetches(1), 0, "nothing of this was believed");
    assert_eq!(send(scene.address, &path, &good()).await.0, 200);
    let before = signed_with("the one before", "order.updated", &body);
    assert_eq!(
        send(scene.address, &path, &before).await.0,
        200,
        "while it is changed"
    );
    scene.booked(&[1]).await;
    scene.end().await;
}

/// Story 62: answered, and not stored. Here what waits is bounded, and what is beyond the bound is refused so
/// that its sender tells it again: nothing is lost, and nothing that failed alone holds up the rest (story 63).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn story_62_a_flood_is_refused_in_part_and_nothing_is_lost() {
    let scene = Scene::start("[limits]\nhints_max = 20\nretry_max_secs = 2\n").await;
    let ids: Vec<u64> = (1..=60).collect();
    for id in &ids {
        scene.shop.hide(scene.good(*id));
    }
    scene.shop.is_down(Some(503));
    let mut told = BTreeSet::new();
    for id in &ids {
        let (status, answer) = send(
            scene.address,
            "/hooks/shop",
            &signed("order.created", &json!({ "id": id })),
        )
        .await;
        match status {
            200 => drop(told.insert(*id)),
            503 => assert!(answer.contains("retry-after: "), "{answer}"),
            other => panic!("{other}: {answer}"),
        }
    }
    assert_eq!(told.len(), 20, "as many as may wait");
    assert_eq!(
        scene.tell("order.updated", 1).await,
        200,
        "what waits already is no more"
    );
    scene.shop.is_down(None);
    // The shop tells again what was refused, until it is taken.
    let began = Instant::now();
    while told.len() < ids.len() {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {}",
            told.len(),
            ids.len()
        );
        for id in &ids {
            if !told.contains(id) && scene.tell("order.created", *id).await == 200 {
                told.insert(*id);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    scene.booked(&ids).await;
    scene.end().await;
}

/// Story 63: an order at which the shop falls over, and an id that it refuses, keep nothing else from being read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn story_63_what_cannot_be_fetched_stops_nothing_else() {
    let scene = Scene::start("[limits]\nretry_max_secs = 1\n").await;
    for id in 1..=6 {
        scene.shop.hide(scene.good(id));
    }
    scene.shop.breaks(3, 500);
    let odd = signed("order.updated", &json!({ "id": "no number" }));
    assert_eq!(send(scene.address, "/hooks/shop", &odd).await.0, 200);
    for id in 1..=6 {
        assert_eq!(scene.tell("order.updated", id).await, 200);
    }
    scene
        .until("booked", || references(&scene.world).len() >= 5)
        .await;
    let desk = scene.runtime.engine.quarantine(0, 9).await.unwrap();
    assert_eq!(
        (desk.len(), &*desk[0].row.thing),
        (1, "shop/orders/no number")
    );
    scene.shop.mends();
    scene.booked(&[1, 2, 3, 4, 5, 6]).await;
    scene.end().await;
}

/// Story 29: reading an order writes it, which tells of it, for ever. It is fetched a few times and then once a
/// minute; everything else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn story_29_an_order_that_goes_round_in_circles_is_slowed_down() {
    let scene = Scene::start("[limits]\nhints_per_minute = 4\n").await;
    scene.shop.hide(scene.good(1));
    scene.shop.hide(scene.good(2));
    for n in 0..40 {
        let before = scene.shop.fetches(1);
        assert_eq!(scene.tell("order.updated", 1).await, 200);
        if n < 4 {
            scene
                .until("fetched", || scene.shop.fetches(1) > before)
                .await;
        }
    }
    assert_eq!(scene.tell("order.created", 2).await, 200);
    scene.booked(&[1, 2]).await;
    let fetched = scene.shop.fetches(1);
    assert!((4..=6).contains(&fetched), "{fetched}");
    scene.end().await;
}

/// Story 18: what is deleted is only told by a webhook. The fetch says that it is gone; an order that is booked is
/// called off no other way than by the engine's own rules, one that was never known stays unknown. An order
/// that is not placed yet is not imported because somebody told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn story_18_deleted_and_not_yet_placed() {
    let scene = Scene::start("").await;
    let mut unpaid = scene.good(8);
    unpaid["status"] = json!("pending");
    scene.shop.hide(unpaid.clone());
    scene.shop.hide(scene.good(9));
    for (topic, id) in [
        ("order.created", 8),
        ("order.created", 9),
        ("order.deleted", 10),
    ] {
        assert_eq!(scene.tell(topic, id).await, 200);
    }
    scene.booked(&[9]).await;
    assert_eq!((scene.shop.fetches(8), scene.shop.fetches(10)), (1, 1));
    unpaid["status"] = json!("processing");
    scene.shop.put(unpaid);
    assert_eq!(scene.tell("order.updated", 8).await, 200);
    scene.booked(&[8, 9]).await;
    scene.shop.remove(9);
    assert_eq!(scene.tell("order.deleted", 9).await, 200);
    scene.until("fetched", || scene.shop.fetches(9) == 2).await;
    scene.booked(&[8, 9]).await;
    assert!(
        scene
            .runtime
            .engine
            .quarantine(0, 9)
            .await
            .unwrap()
            .is_empty()
    );
    scene.end().await;
}

/// Nobody holds a place for ever: a request that is not here in time is cut off, and those behind it go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_is_cut_off() {
    let scene = Scene::start("[limits]\nserver_max_connections = 2\n").await;
    scene.shop.hide(scene.good(4));
    let mut slow = Vec::new();
    for bytes in [
        "POST /hooks/shop HTTP/1.1\r\nhost: hooks\r\ncontent-length: 9\r\n\r\n{",
        "POST /ho",
    ] {
        let mut stream = TcpStream::connect(scene.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    assert_eq!(
        scene.tell("order.created", 4).await,
        200,
        "it waits for a place"
    );
    assert!(
        began.elapsed() > Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    for mut stream in slow {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "its connection is ended");
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    scene.booked(&[4]).await;
    scene.end().await;
}

/// Story 17: subscriptions are made, those that the shop gave up are started again, those that a person paused
/// are left so, and those of others are not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn story_17_subscriptions_are_looked_after() {
    use crossdock::record::Stream;
    let scene = Scene::start("").await;
    let topics = [
        "order.created",
        "order.deleted",
        "order.restored",
        "order.updated",
    ];
    scene
        .until("subscribed", || scene.shop.webhooks().len() == 4)
        .await;
    let address = "https://hooks.example.test/hooks/shop";
    for (topic, made) in topics.iter().zip(scene.shop.webhooks()) {
        assert_eq!(made["topic"], *topic);
        assert_eq!(
            (&made["delivery_url"], &made["status"]),
            (&json!(address), &json!("active"))
        );
    }
    assert_eq!(scene.shop.changed()[0].1["secret"], SECRET);

    let live = scene.runtime.live();
    let connection = &live.connections[&"shop".into()];
    let subscriptions = connection.subscriptions.as_ref().unwrap();
    let streams = BTreeSet::from([Stream::Orders]);
    let told = subscriptions.ensure(address, &streams).await.unwrap();
    assert_eq!(told.right, topics, "a second look changes nothing");
    assert_eq!(scene.shop.changed().len(), 4);

    scene
        .shop
        .set_webhook("order.updated", "status", &json!("disabled"));
    scene
        .shop
        .set_webhook("order.created", "status", &json!("paused"));
    scene.shop.set_webhook(
        "order.deleted",
        "delivery_url",
        &json!("https://elsewhere.test/"),
    );
    let told = subscriptions.ensure(address, &streams).await.unwrap();
    assert_eq!(told.revived, ["order.updated"]);
    assert_eq!(told.stopped, ["order.created"]);
    assert_eq!(told.created, ["order.deleted"]);
    assert_eq!(told.right, ["order.restored"]);
    let revived = scene.shop.changed();
    let (_, revived) = revived
        .iter()
        .find(|(path, _)| path == "/webhooks/4")
        .unwrap();
    assert_eq!(revived, &json!({ "secret": SECRET, "status": "active" }));
    scene.shop.forget_webhooks();
    let told = subscriptions.ensure(address, &streams).await.unwrap();
    assert_eq!(told.created, topics);
    assert_eq!(
        subscriptions
            .ensure(address, &BTreeSet::new())
            .await
            .unwrap()
            .right
            .len(),
        0
    );
    scene.end().await;
}

/// The built binary; killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(folder: &Path) -> Self {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_crossdock"))
            .args(["run", "--config"])
            .arg(folder.join("crossdock.toml"))
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Story 62: answered 200, and then the process dies before it could fetch anything. After the restart the order
/// arrives, although no list shows it. The log holds neither secrets nor people (story 55).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn story_62_what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let world = WorldOptions::new(folder.path().join("acme"));
    let world = World::start(&clock, world).await.unwrap();
    let shop = WooShop::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let text = config(&shop, &world, clock.as_ref(), "");
    let text = format!(
        "{text}[server]\nlisten = \"127.0.0.1:0\"\nwebhooks_listen = \"{address}\"\n\
         [connection.shop.webhook]\npath_secret = \"{PATH_SECRET}\"\n\
         [store]\npath = \"data\"\nmin_free_bytes = 0\nballast_bytes = 0\n[log]\nlevel = \"trace\"\n"
    );
    fs::write(folder.path().join("crossdock.toml"), text).unwrap();
    let log = || fs::read_to_string(folder.path().join("log")).unwrap();
    let path = format!("/hooks/shop/{PATH_SECRET}");

    let daemon = Daemon::start(folder.path());
    let began = Instant::now();
    while shop.lists() == 0 {
        assert!(began.elapsed() < PATIENCE, "{}", log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shop.is_down(Some(503));
    let sku = &catalog::articles(1, 42)[0].sku;
    let ids: Vec<u64> = (1..=30).collect();
    for id in &ids {
        let order = order(*id, sku, clock.now());
        shop.hide(order.clone());
        let (status, answer) = send(address, &path, &signed("order.created", &order)).await;
        assert_eq!(status, 200, "{answer}\n{}", log());
    }
    // SIGKILL, right behind the last answer.
    drop(daemon);
    assert!(references(&world).is_empty());
    shop.is_down(None);

    let _daemon = Daemon::start(folder.path());
    let began = Instant::now();
    while references(&world).len() < ids.len() {
        assert!(
            began.elapsed() < PATIENCE,
            "{:?}\n{}",
            references(&world),
            log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let unique: BTreeSet<String> = references(&world).into_iter().collect();
    let wanted: BTreeSet<String> = ids.iter().map(|id| format!("shop:{id}")).collect();
    assert_eq!(unique, wanted);
    for secret in [SECRET, PATH_SECRET, "jo@example.test", "Long Lane"] {
        assert!(!log().contains(secret), "{secret} is in the log");
    }
    world.stop().await;
}
