//! Story 53, by the whole daemon in virtual time: a refresh token that is refused pauses its connection, is told
//! once, is not handed in again in any life, and everything goes on with a new one.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use crossdock::clock::Clock;
use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::fault::Fault;
use crossdock::manifest;
use crossdock::runtime::Runtime;
use crossdock::store::memory::MemoryDisk;
use crossdock::store::portable;
use crossdock::topology::{self, Plan};
use crossdock::transport::http::{Feedback, HttpClient, HttpReply, HttpRequest};
use serde_json::{Value, json};

use super::sim::clock::SimClock;

const TOY: &str = r#"
version = 1
[connector]
name = "toy"
summary = "a toy"
[settings.refresh_token]
type = "secret"
required = true
doc = "the first refresh token"
[http]
base = "https://toy.test"
[auth.oauth2]
grant = "refresh_token"
token_url = "https://toy.test/token"
client_id = "app"
client_auth = "none"
refresh_token = "{secret.refresh_token}"
[probe]
request = { path = "/me" }
says = "it answers"
[stream.items]
evidence = "sandbox"
[stream.items.read]
poll_secs = 60
page_size = 100
records = "reply.json.rows"
id = "{string(item.id)}"
cursor.watermark = { field = "item.at", settle_lag_secs = 10, overlap_secs = 60 }
request = { path = "/items", body = "{page}" }
map = { sku = "{item.sku}", name = "{item.name}" }
[stream.items.write.create]
confirm = { remote_id = "{steps.item.id}" }
[[stream.items.write.create.step]]
name = "item"
repeatable = true
request = { path = "/items", body = { sku = "{delivery.record.sku}" } }
capture = "{reply.json}"
[stream.items.write.update]
confirm = { remote_id = "{delivery.target}" }
[[stream.items.write.update.step]]
name = "item"
repeatable = true
request = { path = "/items", body = { sku = "{delivery.record.sku}" } }
"#;

/// A platform whose tokens are good for one use, and for ten minutes.
#[derive(Debug)]
struct Vendor {
    clock: Arc<dyn Clock>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    refresh: String,
    access: String,
    given: u32,
    refreshes: u32,
    reads: u32,
    writes: u32,
    /// How many items there are.
    items: u32,
}

impl Vendor {
    fn answer(&self, request: &HttpRequest) -> (u16, Value) {
        let mut books = self.books.lock().unwrap();
        let body = request.body.clone().unwrap_or_default();
        let body = String::from_utf8_lossy(&body).into_owned();
        if request.url.ends_with("/token") {
            books.refreshes += 1;
            if !body.ends_with("client_id=app")
                || !body.contains(&format!("refresh_token={}&", books.refresh))
            {
                return (400, json!({ "error": "invalid_grant" }));
            }
            books.given += 1;
            books.refresh = format!("kept-{}", books.given);
            books.access = format!("access-{}", books.given);
            let reply = json!({
                "access_token": books.access, "expires_in": 600,
                "refresh_token": books.refresh, "refresh_token_expires_in": 7_776_000,
            });
            return (200, reply);
        }
        if body.contains("sku") {
            books.writes += 1;
            return (200, json!({ "id": format!("r-{}", books.writes) }));
        }
        books.reads += 1;
        let proof = format!("{:?}", request.headers);
        assert!(!proof.contains("access-"), "a secret header is shown");
        let asked: Value = serde_json::from_str(&body).unwrap_or_default();
        let from = asked["from"].as_str().unwrap_or_default();
        let rows = (0..books.items).map(|n| {
            let at = format!("2026-11-22T05:{:02}:{:02}Z", n / 60, n % 60);
            json!({ "id": n, "at": at, "sku": format!("SKU-{n}"), "name": "a thing" })
        });
        let mut rows: Vec<Value> = rows
            .filter(|row| row["at"].as_str() >= Some(from))
            .collect();
        rows.drain(
            ..rows
                .len()
                .min(usize::try_from(asked["skip"].as_u64().unwrap_or(0)).unwrap()),
        );
        rows.truncate(100);
        (200, json!({ "rows": rows }))
    }

    /// Takes only this one from now on.
    fn expect(&self, refresh: &str) {
        refresh.clone_into(&mut self.books.lock().unwrap().refresh);
    }

    fn counts(&self) -> (u32, u32) {
        let books = self.books.lock().unwrap();
        (books.refreshes, books.reads)
    }
}

#[async_trait]
impl HttpClient for Vendor {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        self.clock.sleep(Duration::from_millis(20)).await;
        let (status, json) = self.answer(&request);
        Ok(HttpReply {
            status,
            headers: Vec::new(),
            body: json.to_string().into(),
            received_at: self.clock.now(),
        })
    }

    fn observe(&self, _bucket: &str, _feedback: Feedback) {}
}

fn plan(folder: &Path, first: &str) -> Arc<Plan> {
    plan_with(folder, first, "")
}

/// With more said of the connection that is read.
fn plan_with(folder: &Path, first: &str, more: &str) -> Arc<Plan> {
    let path = folder.join("crossdock.toml");
    let text = format!(
        r#"version = 1
[store]
engine = "memory"
[connection.shop]
connector = "toy"
settings = {{ refresh_token = "{first}" }}
{more}
[connection.twin]
connector = "toy"
settings = {{ refresh_token = "{first}" }}
[route.items]
from = "shop.items"
to = "twin.items"
mode = "apply"
[owner]
items = "shop"
"#
    );
    std::fs::write(&path, text).unwrap();
    let toy = manifest::load("toy.toml", TOY).unwrap_or_else(|findings| panic!("{findings}"));
    let registry: Vec<&dyn Connector> = vec![&toy];
    let loaded = config::load(&path, &config::System, Credentials::Needed);
    let loaded = loaded.unwrap_or_else(|findings| panic!("{findings}"));
    let plan = topology::plan(&loaded, &registry);
    Arc::new(plan.unwrap_or_else(|findings| panic!("{findings}")))
}

#[test]
fn a_refused_refresh_token_pauses_is_told_once_and_a_new_one_goes_on() {
    in_virtual_time(days);
}

/// Runs a story on a clock of its own.
fn in_virtual_time<F: Future<Output = ()>>(story: impl FnOnce(Arc<dyn Clock>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let clock = SimClock::at("2026-11-22T06:00:00Z".parse().unwrap());
    let driver = clock.clone();
    runtime.block_on(async {
        tokio::select! {
            () = driver.drive() => unreachable!("time never ends"),
            () = story(Arc::new(clock)) => {}
        }
    });
}

async fn days(clock: Arc<dyn Clock>) {
    let folder = tempfile::tempdir().unwrap();
    let vendor = Arc::new(Vendor {
        clock: Arc::clone(&clock),
        books: Mutex::new(Books {
            refresh: "first-1".to_owned(),
            ..Books::default()
        }),
    });
    let network: Arc<dyn HttpClient> = Arc::clone(&vendor) as _;
    let disk = MemoryDisk::new();
    let start = |plan: Arc<Plan>| {
        let store = Box::new(disk.open().unwrap());
        Runtime::simulate(plan, store, &clock, 1, &network).unwrap()
    };
    let minutes = |minutes: u64| clock.sleep(Duration::from_mins(minutes));

    // Killed again and again: one refresh in nine or ten minutes, as a look falls, and one for each life.
    let mut daemon = start(plan(folder.path(), "first-1"));
    for _ in 0..2 {
        minutes(20).await;
        disk.crash();
        let _ = daemon.stop(Duration::ZERO, clock.as_ref()).await;
        daemon = start(plan(folder.path(), "first-1"));
    }
    minutes(10).await;
    let (refreshes, reads) = vendor.counts();
    assert!((5..=10).contains(&refreshes), "{refreshes} refreshes");
    assert!(reads > 40, "{reads} reads");
    assert_eq!(paused(&daemon).await, Vec::<String>::new());

    // Somebody withdraws it: one try, whatever follows, and one alert.
    vendor.expect("withdrawn");
    let before = vendor.counts().0;
    for _ in 0..3 {
        minutes(10).await;
        let _ = daemon.stop(Duration::from_secs(5), clock.as_ref()).await;
        disk.crash();
        daemon = start(plan(folder.path(), "first-1"));
    }
    minutes(10).await;
    assert_eq!(vendor.counts().0, before + 1, "it is handed in once");
    assert_eq!(paused(&daemon).await, ["shop"]);
    assert_eq!(alerts(&daemon).await, ["paused:shop"]);
    let told = format!("{:?}", daemon.engine.status().await.unwrap());
    assert!(told.contains("Authorise the application again"), "{told}");

    // Somebody resumes without mending anything: one try more, and paused again.
    daemon.engine.resume("shop".into()).await.unwrap();
    minutes(5).await;
    assert_eq!(vendor.counts().0, before + 2);
    assert_eq!(paused(&daemon).await, ["shop"]);

    // Nothing that is told or written shows a token.
    let status = daemon.engine.status().await.unwrap();
    let alerts_told = daemon.engine.alert_list().await.unwrap();
    let _ = daemon.stop(Duration::from_secs(5), clock.as_ref()).await;
    disk.crash();
    let mut export = Vec::new();
    portable::export(&disk.open().unwrap(), &mut export, clock.now()).unwrap();
    let rows: Vec<String> = String::from_utf8(export)
        .unwrap()
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let value = row["v"].as_str().unwrap_or_default();
            let value = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value);
            String::from_utf8_lossy(&value.unwrap()).into_owned()
        })
        .collect();
    let all = format!("{status:?} {alerts_told:?} {rows:?}");
    for secret in ["first-1", "kept-", "access-"] {
        assert!(!all.contains(secret), "{secret}");
    }

    // A new one in the configuration: the probe passes, and nobody is told anything any more.
    vendor.expect("first-2");
    let daemon = start(plan(folder.path(), "first-2"));
    let before = vendor.counts();
    minutes(20).await;
    assert_eq!(paused(&daemon).await, Vec::<String>::new());
    assert_eq!(alerts(&daemon).await, Vec::<String>::new());
    let (refreshes, reads) = vendor.counts();
    assert!(refreshes - before.0 <= 4, "{refreshes}");
    assert!(reads - before.1 > 15, "{reads}");
}

async fn paused(daemon: &Runtime) -> Vec<String> {
    let status = daemon.engine.status().await.unwrap();
    status.paused.into_keys().collect()
}

async fn alerts(daemon: &Runtime) -> Vec<String> {
    let list = daemon.engine.alert_list().await.unwrap();
    list.into_iter()
        .map(|(cause, _)| cause.to_string())
        .collect()
}

/// Story 49: two connections with one credential and one host have one quota over there, and one limiter here.
#[test]
fn two_connections_with_one_credential_share_one_quota() {
    in_virtual_time(one_quota);
}

async fn one_quota(clock: Arc<dyn Clock>) {
    let folder = tempfile::tempdir().unwrap();
    let vendor = Arc::new(Vendor {
        clock: Arc::clone(&clock),
        books: Mutex::new(Books {
            refresh: "first-1".to_owned(),
            items: 90,
            ..Books::default()
        }),
    });
    let network: Arc<dyn HttpClient> = Arc::clone(&vendor) as _;
    let disk = MemoryDisk::new();
    // Only one of the two says how fast: it holds for both.
    let more = "limits = { requests_per_second = 0.5, burst = 1, concurrency = 2 }\nstream.items.poll_secs = 0.5";
    let plan = plan_with(folder.path(), "first-1", more);
    let store = Box::new(disk.open().unwrap());
    let daemon = Runtime::simulate(plan, store, &clock, 1, &network).unwrap();
    clock.sleep(Duration::from_secs(100)).await;
    let (reads, writes) = {
        let books = vendor.books.lock().unwrap();
        (books.reads, books.writes)
    };
    let all = reads + writes;
    assert!(
        (48..=52).contains(&all),
        "{reads} reads, {writes} writes in 100 s"
    );
    assert!(
        reads >= 15 && writes >= 15,
        "{reads} reads, {writes} writes"
    );
    drop(daemon);
}
