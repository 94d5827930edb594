//! Input as bad as it gets, met by the whole daemon: a webstore that answers nonsense, orders that
//! cannot be right. Each is told clearly, nothing of it is booked, and what is good arrives.

#[path = "bad_input/shop.rs"]
mod shop;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crossdock::clock::{Clock, earlier};
use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::connectors::built_in;
use crossdock::engine::DeskRow;
use crossdock::runtime::{Runtime, SystemClock, open_store, store_path};
use crossdock::sandbox::erp::{ErpOrder, ErpState};
use crossdock::sandbox::serve::{Call, Ending};
use crossdock::sandbox::{World, WorldOptions, catalog};
use crossdock::topology;
use serde_json::{Value, json};

use shop::{BadShop, Mood};

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(40);

/// A daemon between a webstore of bad manners and the practice ERP.
struct Scene {
    shop: BadShop,
    world: World,
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn start(mood: Mood) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let options = WorldOptions::new(folder.path().join("acme"));
        let world = World::start(&clock, options).await.unwrap();
        let shop = BadShop::start(mood).await;
        let path = folder.path().join("crossdock.toml");
        let start = earlier(clock.now(), Duration::from_hours(24));
        let text = format!(
            r#"version = 1

[store]
engine = "memory"

[server]
listen = "127.0.0.1:0"

[connection.shop]
connector = "vendure"
settings = {{ url = "{}", username = "clerk", password = "right" }}
limits = {{ requests_per_second = 100.0, burst = 100 }}
stream.orders.poll_secs = 1

[connection.erp]
connector = "sandbox_erp"
settings = {{ url = "{}", password = "practice" }}

[route.orders]
from = "shop.orders"
to = "erp.orders"
mode = "apply"
start_from = "{start}"
"#,
            shop.url,
            world.url("erp").unwrap()
        );
        std::fs::write(&path, text).unwrap();
        let connectors = built_in();
        let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
        let loaded = config::load(&path, &config::System, Credentials::Needed).unwrap();
        let plan = topology::plan(&loaded, &registry).unwrap();
        let store = open_store(&plan, &store_path(&plan), clock.as_ref()).unwrap();
        let runtime = Runtime::start(Arc::new(plan), store, &clock, 1).unwrap();
        Self {
            shop,
            world,
            runtime,
            clock,
            _folder: folder,
        }
    }

    /// An order that is right in everything, for one piece of an item that the ERP has.
    fn good(&self, id: &str) -> Value {
        let sku = &catalog::articles(1, 42)[0].sku;
        shop::order(id, sku, self.clock.now())
    }

    /// Until the ERP has this many orders, or time is up; their references.
    async fn booked(&self, count: usize) -> BTreeSet<String> {
        let until = self.clock.monotonic() + PATIENCE;
        loop {
            let mut orders = self.world.erp.orders();
            orders.retain(|order| order.state != ErpState::Draft);
            let references: Vec<String> = orders.into_iter().map(|o| o.reference).collect();
            let unique: BTreeSet<String> = references.iter().cloned().collect();
            assert_eq!(unique.len(), references.len(), "one was booked twice");
            if unique.len() >= count || self.clock.monotonic() >= until {
                return unique;
            }
            self.clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Until the desk has this many rows, or time is up.
    async fn held(&self, count: usize) -> Vec<DeskRow> {
        let until = self.clock.monotonic() + PATIENCE;
        loop {
            let rows = self.runtime.engine.quarantine(0, 100).await.unwrap();
            if rows.len() >= count || self.clock.monotonic() >= until {
                return rows;
            }
            self.clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Until reading the shop's orders fails, or time is up; what is said of it.
    async fn trouble(&self, code: &str) -> String {
        let until = self.clock.monotonic() + PATIENCE;
        loop {
            let health = self.runtime.vitals.health();
            let shop = health.into_iter().find(|it| it.connection == "shop");
            let told = shop.and_then(|it| it.trouble).unwrap_or_default();
            if told.contains(code) || self.clock.monotonic() >= until {
                return told;
            }
            self.clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the ERP answers to a question.
    async fn in_the_erp(&self, target: &str) -> String {
        let login = "Basic Y3Jvc3Nkb2NrOnByYWN0aWNl"; // crossdock:practice
        let call = Call::new("GET", target, "").with_header("authorization", login);
        match self.world.station("erp").unwrap().exchange(&call).await {
            Ending::Whole(reply) => reply.value().to_string(),
            other => panic!("{other:?}"),
        }
    }

    async fn end(self) {
        let limit = Duration::from_secs(5);
        self.runtime.stop(limit, self.clock.as_ref()).await.unwrap();
        self.world.stop().await;
    }
}

fn set(order: &mut Value, pointer: &str, value: Value) {
    *order.pointer_mut(pointer).unwrap() = value;
}

/// Each of these orders would become a wrong order, or a free-text line, in a system that copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_cannot_be_right_are_held_and_the_others_arrive() {
    let scene = Scene::start(Mood::Right).await;
    let mut orders = vec![scene.good("1")];

    let mut emoji = scene.good("2");
    set(
        &mut emoji,
        "/shippingAddress/fullName",
        json!("Zoë 🦊 O'Brien"),
    );
    set(
        &mut emoji,
        "/shippingAddress/streetLine1",
        json!("Straße der 🎉 5"),
    );
    orders.push(emoji);

    let broken: [(&str, &str, Value, &str); 6] = [
        (
            "3",
            "/lines/0/productVariant/sku",
            json!("NO-SUCH"),
            "NO-SUCH",
        ),
        (
            "4",
            "/shippingAddress/streetLine1",
            json!("x".repeat(300)),
            "120",
        ),
        ("5", "/lines", json!([]), "lines"),
        ("6", "/lines/0/quantity", json!(-2), "quantity"),
        (
            "7",
            "/lines/0/unitPriceWithTax",
            json!(1190.5),
            "whole number",
        ),
        ("8", "/currencyCode", json!("EURO"), "currency"),
    ];
    for (id, pointer, value, _) in &broken {
        let mut order = scene.good(id);
        set(&mut order, pointer, value.clone());
        if *pointer == "/lines/0/quantity" {
            set(&mut order, "/lines/0/orderPlacedQuantity", value.clone());
        }
        orders.push(order);
    }
    // Half a yen does not exist; Vendure counts yen in whole ones.
    let mut yen = scene.good("9");
    set(&mut yen, "/currencyCode", json!("JPY"));
    set(&mut yen, "/lines/0/proratedLinePrice", json!(100.5));
    orders.push(yen);
    scene.shop.put(orders);

    assert_eq!(scene.booked(2).await.len(), 2);
    let held = scene.held(7).await;
    let told: Vec<String> = held.iter().map(|row| format!("{row:?}")).collect();
    assert_eq!(held.len(), 7, "{told:#?}");
    for (id, _, _, word) in &broken {
        let named = held
            .iter()
            .find(|row| row.name.split(' ').next() == Some(id));
        let row = named.unwrap_or_else(|| panic!("{id} is not held: {told:#?}"));
        let why = &row.row.fault.message;
        assert!(why.contains(word), "{id} does not say {word}: {why}");
    }
    // What was refused in the middle is a draft without lines, never a line of free text.
    let (drafts, booked): (Vec<ErpOrder>, Vec<ErpOrder>) = scene
        .world
        .erp
        .orders()
        .into_iter()
        .partition(|order| order.state == ErpState::Draft);
    assert_eq!(booked.len(), 2, "only what is right");
    assert!(
        drafts.iter().all(|draft| draft.lines.is_empty()),
        "{drafts:?}"
    );
    let mut kept = String::new();
    for order in &booked {
        kept += &scene
            .in_the_erp(&format!("/parties/{}/addresses", order.party))
            .await;
    }
    assert!(
        kept.contains("Zoë 🦊 O'Brien") && kept.contains("Straße der 🎉 5"),
        "{kept}"
    );
    scene.end().await;
}

/// An answer that cannot be understood is a failed read, never an empty one; what came
/// meanwhile is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_answers_nonsense_is_waited_for() {
    let scene = Scene::start(Mood::Right).await;
    scene.shop.put(vec![scene.good("1")]);
    assert_eq!(scene.booked(1).await.len(), 1);
    let moods = [
        (Mood::Html, "not_json"),
        (Mood::Cut, "http_cut"),
        (Mood::ErrorInside, "server_error"),
        (Mood::Huge, "body_too_large"),
        (Mood::NoList, "reply"),
    ];
    for (round, (mood, code)) in moods.into_iter().enumerate() {
        scene.shop.be(mood);
        let told = scene.trouble(code).await;
        assert!(told.contains(code), "{mood:?}: {told:?}");
        let new = format!("{}", round + 2);
        scene.shop.add(scene.good(&new));
        scene.shop.be(Mood::Right);
        assert_eq!(scene.booked(round + 2).await.len(), round + 2, "{mood:?}");
    }
    // 200 MB were offered; reading stops at the limit (32 MiB by default), whatever is in flight.
    let sent = scene.shop.huge_bytes_sent();
    assert!(sent < 100 << 20, "{sent} bytes were taken");
    assert!(scene.held(0).await.is_empty());
    scene.end().await;
}

/// Story 64: a list that never ends is stopped and told, and does not keep the daemon busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_never_ends_is_stopped() {
    let scene = Scene::start(Mood::Right).await;
    scene.shop.put(vec![scene.good("1")]);
    scene.shop.be(Mood::Endless);
    let told = scene.trouble("endless").await;
    assert!(told.contains("endless"), "{told:?}");
    let asked = scene.shop.requests();
    scene.clock.sleep(Duration::from_secs(2)).await;
    assert!(scene.shop.requests() - asked < 20, "it keeps asking");
    scene.shop.be(Mood::Right);
    assert_eq!(scene.booked(1).await.len(), 1);
    scene.end().await;
}

/// A password that is refused is not tried again and again: accounts are locked for less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_pause_the_connection_and_are_not_repeated() {
    let scene = Scene::start(Mood::WrongPassword).await;
    scene.shop.put(vec![scene.good("1")]);
    let told = scene.trouble("login_refused").await;
    assert!(told.contains("login_refused"), "{told:?}");
    assert!(!told.contains("right"), "the password is in the message");
    scene.clock.sleep(Duration::from_secs(4)).await;
    let tries = scene.shop.logins();
    assert!(tries <= 4, "{tries} logins in 4 seconds");
    let status = scene.runtime.engine.status().await.unwrap();
    assert!(status.paused.contains_key("shop"), "{status:?}");
    scene.shop.be(Mood::Right);
    scene.runtime.engine.resume("shop".into()).await.unwrap();
    assert_eq!(scene.booked(1).await.len(), 1);
    scene.end().await;
}
