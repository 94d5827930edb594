//! Access tokens: one refresh for all, kept before it is used, and never again what was refused.

mod told;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::{BY_MOMENT, load};
use crate::clock::{Clock, ManualClock};
use crate::connector::contract::MemoryKeeper;
use crate::connector::{Connection, Connector, Context, Kept, TokenKeeper, Tokens};
use crate::fault::{Class, Effect, Fault};
use crate::transport::http::{Feedback, HeaderValue, HttpClient, HttpReply, HttpRequest};

const HEAD: &str = r#"
version = 1
[connector]
name = "toy"
summary = "a toy"
[settings.url]
type = "url"
default = "https://toy.test"
doc = "where it is"
[settings.token_url]
type = "url"
default = "https://toy.test/token"
doc = "where tokens come from"
[settings.client_id]
type = "text"
doc = "the application"
[settings.client_secret]
type = "secret"
doc = "its secret"
[settings.refresh_token]
type = "secret"
doc = "the first refresh token"
[http]
base = "{settings.url}"
headers = { user-agent = "toy/1" }
[probe]
request = { path = "/me" }
says = "it is {reply.json.name}"
[auth.oauth2]
token_url = "{settings.token_url}"
client_id = "{settings.client_id}"
client_secret = "{secret.client_secret}"
"#;

const REFRESH: &str = "grant = \"refresh_token\"\nrefresh_token = \"{secret.refresh_token}\"\n";
const CLIENT: &str = "grant = \"client_credentials\"\nscope = \"read write\"\n";

/// What a platform does with a refresh token that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Old {
    /// It is good until the new one is used (Shopify), or for a while (Xero).
    Grace,
    /// It is over at once.
    Over,
    /// There is no new one (Amazon).
    Same,
}

/// A platform: its token endpoint, and one address behind it.
struct Vendor {
    clock: ManualClock,
    old: Old,
    state: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// Refresh tokens that are taken, the newest last.
    good: Vec<String>,
    /// Access tokens that are taken.
    access: Vec<String>,
    given: u32,
    /// No access token is taken, whatever it gave.
    takes_none: bool,
    /// What was handed in at the token endpoint.
    asked: Vec<(BTreeMap<String, String>, Option<String>)>,
    /// What it says instead, in this order.
    say: Vec<Result<(u16, Json), Fault>>,
    /// Beside the tokens.
    more: Json,
    /// The header of the last other request.
    proof: Vec<(String, String)>,
}

impl std::fmt::Debug for Vendor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vendor")
    }
}

impl Vendor {
    fn new(old: Old) -> Arc<Self> {
        let more = json!({ "expires_in": 1800, "token_type": "bearer" });
        let books = Books {
            good: vec!["rt-1".to_owned()],
            more,
            ..Books::default()
        };
        Arc::new(Self {
            clock: ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap()),
            old,
            state: Mutex::new(books),
        })
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.state.lock().unwrap()
    }

    fn refreshes(&self) -> usize {
        self.books().asked.len()
    }

    /// A connection to it, with what the manifest says in `[auth.oauth2]`.
    fn open(self: &Arc<Self>, flow: &str, first: &str, tokens: &Arc<Tokens>) -> Connection {
        self.open_as("toy", flow, first, tokens)
    }

    fn open_as(
        self: &Arc<Self>,
        name: &str,
        flow: &str,
        first: &str,
        tokens: &Arc<Tokens>,
    ) -> Connection {
        let connector = load("toy.toml", &format!("{HEAD}{flow}{BY_MOMENT}"))
            .unwrap_or_else(|findings| panic!("{findings}"));
        let settings = format!(
            "client_id = \"app\"\nclient_secret = \"sec ret\"\nrefresh_token = \"{first}\""
        );
        let configured = connector.configure(&toml::from_str(&settings).unwrap());
        let context = Context {
            name: name.into(),
            clock: Arc::new(self.clock.clone()),
            http: Arc::clone(self) as _,
            tokens: Arc::clone(tokens),
            files: crate::connector::FileLimits::default(),
            windows: BTreeMap::new(),
        };
        configured.unwrap().open(context).unwrap()
    }

    fn token(&self, form: &BTreeMap<String, String>) -> Result<(u16, Json), Fault> {
        let mut books = self.books();
        if !books.say.is_empty() {
            return books.say.remove(0);
        }
        if form["grant_type"] == "refresh_token" {
            let Some(at) = books
                .good
                .iter()
                .position(|it| *it == form["refresh_token"])
            else {
                return Ok((400, json!({ "error": "invalid_grant" })));
            };
            books.good.drain(..at); // the one before is over when the new one is used
        }
        books.given += 1;
        let n = books.given;
        let mut reply = books.more.clone();
        reply["access_token"] = format!("at-{n}").into();
        books.access = vec![format!("at-{n}")];
        if form["grant_type"] == "refresh_token" && self.old != Old::Same {
            let new = format!("rt-{}", n + 1);
            if self.old == Old::Over {
                books.good.clear();
            }
            books.good.push(new.clone());
            reply["refresh_token"] = new.into();
        }
        Ok((200, reply))
    }
}

#[async_trait]
impl HttpClient for Vendor {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        // Others may run while it is on its way.
        tokio::task::yield_now().await;
        let secret = request
            .headers
            .iter()
            .find_map(|(name, value)| match value {
                HeaderValue::Secret(value) if name == "authorization" => {
                    Some(value.expose().to_owned())
                }
                _ => None,
            });
        let (status, json) = if request.url.ends_with("/token") {
            let body = request.body.clone().unwrap_or_default();
            let form: BTreeMap<String, String> =
                url::form_urlencoded::parse(&body).into_owned().collect();
            self.books().asked.push((form.clone(), secret));
            self.token(&form)?
        } else {
            let mut books = self.books();
            books.proof = request
                .headers
                .iter()
                .filter_map(|(name, value)| match value {
                    HeaderValue::Secret(value) => Some((name.clone(), value.expose().to_owned())),
                    HeaderValue::Plain(_) => None,
                })
                .collect();
            let proof = books.proof.first().map(|(_, value)| value.clone());
            let token = proof.unwrap_or_default();
            let token = token.trim_start_matches("Bearer ");
            if !books.takes_none && books.access.iter().any(|good| good == token) {
                (200, json!({ "name": "toy", "rows": [] }))
            } else {
                (401, json!({}))
            }
        };
        tokio::task::yield_now().await;
        Ok(HttpReply {
            status,
            headers: Vec::new(),
            body: Bytes::from(json.to_string()),
            received_at: self.clock.now(),
        })
    }

    fn observe(&self, _bucket: &str, _feedback: Feedback) {}
}

/// A store that fails, or a process that ends, at a certain commit.
#[derive(Debug, Default)]
struct Shaky {
    inner: MemoryKeeper,
    /// The commits that fail from now on: true is one.
    fails: Mutex<Vec<bool>>,
}

#[async_trait]
impl TokenKeeper for Shaky {
    async fn kept(&self, credential: &str) -> Result<Option<Kept>, Fault> {
        self.inner.kept(credential).await
    }

    async fn keep(&self, credential: &str, kept: Kept) -> Result<(), Fault> {
        let fails = {
            let mut fails = self.fails.lock().unwrap();
            !fails.is_empty() && fails.remove(0)
        };
        if fails {
            return Err(Fault::retry("token_not_kept", "the disk is full"));
        }
        self.inner.keep(credential, kept).await
    }

    fn finish(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.inner.finish(work);
    }
}

async fn probe(connection: &Connection) -> Result<String, Fault> {
    connection.probe.as_ref().unwrap().probe().await
}

#[tokio::test]
async fn an_application_gets_tokens_of_its_own() {
    let vendor = Vendor::new(Old::Same);
    let connection = vendor.open(CLIENT, "unused", &Arc::default());
    assert_eq!(probe(&connection).await.unwrap(), "it is toy");
    let (form, secret) = vendor.books().asked[0].clone();
    assert_eq!(
        form,
        BTreeMap::from(
            [
                ("grant_type", "client_credentials"),
                ("scope", "read write")
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        )
    );
    // "app:sec%20ret": encoded first (RFC 6749 section 2.3.1).
    assert_eq!(secret.unwrap(), "Basic YXBwOnNlYyUyMHJldA==");
    assert_eq!(
        vendor.books().proof,
        [("authorization".to_owned(), "Bearer at-1".to_owned())]
    );
    // Renewed before it ends: 1800 s less a minute.
    vendor.clock.advance(Duration::from_secs(1739));
    probe(&connection).await.unwrap();
    assert_eq!(vendor.refreshes(), 1);
    vendor.clock.advance(Duration::from_secs(2));
    probe(&connection).await.unwrap();
    assert_eq!(vendor.refreshes(), 2);
}

#[tokio::test]
async fn id_and_secret_may_stand_in_the_form_and_the_token_in_another_header() {
    let vendor = Vendor::new(Old::Same);
    let flow = "client_auth = \"body\"\nrotates = false\nparams = { audience = \"x y\", none = { expr = \"null\" } }\n\
                headers = { x-token = \"{token}\" }\n";
    let connection = vendor.open(&format!("{REFRESH}{flow}"), "rt-1", &Arc::default());
    vendor.books().more = json!({ "expires_in": "3600" });
    probe(&connection).await.unwrap();
    let (form, secret) = vendor.books().asked[0].clone();
    let form: Vec<String> = form.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(
        form.join(" & "),
        "audience=x y & client_id=app & client_secret=sec ret & grant_type=refresh_token & refresh_token=rt-1"
    );
    assert_eq!(secret, None);
    assert_eq!(
        vendor.books().proof,
        [("x-token".to_owned(), "at-1".to_owned())]
    );
    vendor.clock.advance(Duration::from_secs(3541));
    probe(&connection).await.unwrap();
    assert_eq!(vendor.refreshes(), 2, "a text of seconds counts too");
}

/// Story 53: two refreshed within 13 ms, and lost the credential. Here also two connections with one credential,
/// and a renewal on top of it.
#[tokio::test]
async fn one_refreshes_for_all() {
    let vendor = Vendor::new(Old::Over);
    let keeper = MemoryKeeper::default();
    let tokens = keeper.tokens();
    let north = vendor.open_as("north", REFRESH, "rt-1", &tokens);
    let south = vendor.open_as("south", REFRESH, "rt-1", &tokens);
    for round in 1..=3 {
        let all = [&north, &south, &north, &south, &north].map(probe);
        for told in futures_util::future::join_all(all).await {
            told.unwrap();
        }
        assert_eq!(vendor.refreshes(), round);
        vendor.clock.advance(Duration::from_secs(1800));
    }
    let rows = keeper.rows();
    let kept: Vec<&Kept> = rows.values().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].connections, ["north", "south"]);
}

/// An access token that is refused before its time, as when an administrator withdraws it.
#[tokio::test]
async fn a_refused_access_token_is_renewed_once_and_a_young_one_not() {
    let vendor = Vendor::new(Old::Over);
    let connection = vendor.open(REFRESH, "rt-1", &MemoryKeeper::default().tokens());
    probe(&connection).await.unwrap();
    vendor.clock.advance(Duration::from_secs(300));
    vendor.books().access.clear();
    probe(&connection).await.unwrap();
    assert_eq!(vendor.refreshes(), 2);
    // Whatever is given is refused: a probe every 20 s for a day is no refresh every 20 s.
    vendor.books().takes_none = true;
    for _ in 0..(86_400 / 20) {
        let fault = probe(&connection).await.unwrap_err();
        assert_eq!(fault.class, Class::Auth, "{fault}");
        vendor.clock.advance(Duration::from_secs(20));
    }
    let refreshes = vendor.refreshes();
    assert!(refreshes < 60, "{refreshes} refreshes in a day");
}

/// A process that ends between the reply and the commit. Shopify and Xero take the old token again.
#[tokio::test]
async fn a_crash_between_reply_and_commit_is_mended_or_told_once() {
    for (old, expect) in [(Old::Grace, None), (Old::Over, Some("token_refused"))] {
        let vendor = Vendor::new(old);
        let keeper = Arc::new(Shaky::default());
        let tokens = Arc::new(Tokens::kept_by(Arc::clone(&keeper) as _));
        let connection = vendor.open(REFRESH, "rt-1", &tokens);
        probe(&connection).await.unwrap();
        vendor.clock.advance(Duration::from_secs(1800));
        // The commit before the request is durable, the one after the reply is not.
        *keeper.fails.lock().unwrap() = vec![false, true];
        let fault = probe(&connection).await.unwrap_err();
        assert_eq!((fault.class, fault.effect), (Class::Retry, Effect::None));
        assert!(
            vendor.books().proof[0].1.ends_with("at-1"),
            "nothing is sent with a token that is not kept"
        );
        // Another life.
        let tokens = Arc::new(Tokens::kept_by(Arc::clone(&keeper) as _));
        let connection = vendor.open(REFRESH, "rt-1", &tokens);
        match expect {
            None => {
                probe(&connection).await.unwrap();
                vendor.clock.advance(Duration::from_secs(1800));
                probe(&connection).await.unwrap();
            }
            Some(code) => {
                let fault = probe(&connection).await.unwrap_err();
                assert_eq!((fault.class, &*fault.code), (Class::Auth, code));
                assert!(fault.message.contains("was lost"), "{fault}");
            }
        }
    }
}

/// The same process goes on: what came is kept at the next try, and nobody asks anew.
#[tokio::test]
async fn a_token_that_could_not_be_kept_is_kept_later() {
    let vendor = Vendor::new(Old::Over);
    let keeper = Arc::new(Shaky::default());
    let tokens = Arc::new(Tokens::kept_by(Arc::clone(&keeper) as _));
    let connection = vendor.open(REFRESH, "rt-1", &tokens);
    *keeper.fails.lock().unwrap() = vec![false, true, true];
    for _ in 0..2 {
        assert_eq!(probe(&connection).await.unwrap_err().class, Class::Retry);
    }
    probe(&connection).await.unwrap();
    assert_eq!(vendor.refreshes(), 1);
    // A store that takes nothing at all costs no token: it is not even handed in.
    vendor.clock.advance(Duration::from_secs(1800));
    *keeper.fails.lock().unwrap() = vec![true];
    assert_eq!(probe(&connection).await.unwrap_err().code, "token_not_kept");
    assert_eq!(vendor.refreshes(), 1);
}

/// Whoever waits for a refresh may go away, as at a reload: the reply is read and kept all the same.
#[tokio::test]
async fn a_refresh_that_nobody_waits_for_is_carried_to_its_end() {
    let vendor = Vendor::new(Old::Over);
    let keeper = MemoryKeeper::default();
    let connection = vendor.open(REFRESH, "rt-1", &keeper.tokens());
    {
        let mut asking = Box::pin(probe(&connection));
        for _ in 0..2 {
            poll_fn(|context| {
                assert!(asking.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(vendor.refreshes(), 1);
    let connection = vendor.open(REFRESH, "rt-1", &keeper.tokens());
    probe(&connection).await.unwrap();
    assert_eq!(vendor.refreshes(), 2, "with the newest");
}

/// A client was seen to hand in a dead token 2,767 times. Not even another life does it again; a changed token
/// or somebody's word does.
#[tokio::test]
async fn what_was_refused_is_not_handed_in_again() {
    let vendor = Vendor::new(Old::Over);
    let keeper = MemoryKeeper::default();
    vendor.books().good.clear();
    for _ in 0..3 {
        let connection = vendor.open(REFRESH, "rt-1", &keeper.tokens());
        for _ in 0..100 {
            let fault = probe(&connection).await.unwrap_err();
            assert_eq!((fault.class, &*fault.code), (Class::Auth, "token_refused"));
            assert!(
                fault.message.contains("Authorise the application"),
                "{fault}"
            );
        }
    }
    assert_eq!(vendor.refreshes(), 1);

    // Somebody resumes the connection: once more.
    let tokens = keeper.tokens();
    let connection = vendor.open(REFRESH, "rt-1", &tokens);
    let (credential, mut kept) = keeper.rows().pop_first().unwrap();
    assert_eq!(kept.refused.take().unwrap().fault.class, Class::Auth);
    keeper.keep(&credential, kept).await.unwrap();
    probe(&connection).await.unwrap_err();
    probe(&connection).await.unwrap_err();
    assert_eq!(vendor.refreshes(), 2);

    // Another first token in the configuration takes the place of all that was kept.
    vendor.books().good.push("rt-100".to_owned());
    let connection = vendor.open(REFRESH, "rt-100", &tokens);
    probe(&connection).await.unwrap();
    vendor.clock.advance(Duration::from_secs(1800));
    probe(&connection).await.unwrap();
    assert_eq!(vendor.refreshes(), 4);
}

/// What passes by itself is no matter of credentials.
#[tokio::test]
async fn trouble_at_the_token_endpoint_is_not_taken_for_a_refusal() {
    let vendor = Vendor::new(Old::Over);
    let connection = vendor.open(REFRESH, "rt-1", &MemoryKeeper::default().tokens());
    let lost = Fault::retry("http_timeout", "no reply").after_sending();
    let cases = [
        (Ok((500, json!({}))), Class::Retry, "token_later"),
        (
            Ok((503, json!({ "error": "server_error" }))),
            Class::Retry,
            "token_later",
        ),
        (
            Ok((502, json!({ "error": "bad gateway" }))),
            Class::Retry,
            "token_later",
        ),
        (Ok((429, json!({}))), Class::Throttle, "throttled"),
        (Ok((403, json!({}))), Class::Retry, "token_later"),
        (
            Ok((400, json!({ "error": "temporarily_unavailable" }))),
            Class::Retry,
            "token_later",
        ),
        (
            Ok((200, json!("a page"))),
            Class::Config,
            "token_not_understood",
        ),
        (Ok((404, json!({}))), Class::Config, "token_url_wrong"),
        (
            Ok((400, json!({ "error": "invalid_scope" }))),
            Class::Config,
            "token_request_refused",
        ),
        (Err(lost), Class::Retry, "http_timeout"),
    ];
    for (said, class, code) in cases {
        let told = format!("{said:?}");
        vendor.books().say = vec![said];
        let fault = probe(&connection).await.unwrap_err();
        assert_eq!((fault.class, &*fault.code), (class, code), "{told}");
        assert_eq!(fault.effect, Effect::None, "{told}");
    }
    probe(&connection).await.unwrap();

    let refused = [
        (Ok((401, json!({}))), "token_refused"),
        (
            Ok((401, json!({ "error": "invalid_client" }))),
            "token_refused",
        ),
        (
            Ok((200, json!({ "error": "bad_refresh_token" }))),
            "token_refused",
        ),
    ];
    for (said, code) in refused {
        let vendor = Vendor::new(Old::Over);
        let connection = vendor.open(REFRESH, "rt-1", &MemoryKeeper::default().tokens());
        vendor.books().say = vec![said];
        let fault = probe(&connection).await.unwrap_err();
        assert_eq!((fault.class, &*fault.code), (Class::Auth, code));
    }
}
