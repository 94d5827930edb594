//! The marketplace by itself, on a clock that stands still until it is moved.

mod feeds;
mod listings;
mod orders;

use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::sandbox::catalog::{articles, buyer};
use crate::sandbox::serve::{Call, Reply, System};

const STORE: &str = "A1PA6795UKMFR9";

struct Rig {
    market: Market,
    clock: ManualClock,
    audit: Arc<AuditLog>,
    token: String,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut MarketOptions)) -> Self {
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        let audit = AuditLog::new(Arc::new(clock.clone()));
        let mut options = MarketOptions::new("market", 1);
        change(&mut options);
        let market = Market::new(options, Arc::clone(&audit), &articles(1, 8), clock.now());
        let mut rig = Self {
            market,
            clock,
            audit,
            token: String::new(),
        };
        rig.login();
        rig
    }

    fn login(&mut self) {
        let reply = self.plain(&Call::new("POST", "/auth/o2/token", GRANT));
        self.token = reply.value()["access_token"].as_str().unwrap().to_owned();
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.market.advance(self.now());
    }

    /// Without our token.
    fn plain(&self, call: &Call) -> Reply {
        self.market.answer(call, self.now())
    }

    fn send(&self, method: &str, target: &str, body: &Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let call = Call::new(method, target, body)
            .with_header("host", "127.0.0.1:8205")
            .with_header("x-amz-access-token", &self.token);
        self.plain(&call)
    }

    fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &Value::Null)
    }

    fn told(&self, sku: &str, quantity: i64) {
        let mut state = lock(&self.market.state);
        state.listings.get_mut(sku).unwrap().quantity = quantity;
    }

    fn buy(&self, lines: &[(&str, i64)]) -> String {
        for (sku, pieces) in lines {
            self.told(sku, pieces + 10);
        }
        let lines = lines.iter().map(|(sku, n)| ((*sku).to_owned(), *n));
        let basket = Basket {
            buyer: buyer(&mut fastrand::Rng::with_seed(3)),
            lines: lines.collect(),
            coupon: None,
            shipping: 490,
            note: None,
        };
        self.market.place(&basket, self.now()).unwrap()
    }
}

const GRANT: &str =
    "grant_type=refresh_token&refresh_token=practice&client_id=crossdock&client_secret=practice";

#[test]
fn the_token_endpoint_answers_as_login_with_amazon_does() {
    let rig = Rig::new();
    let cases = [
        (GRANT.to_owned(), 200, ""),
        (String::new(), 400, "invalid_request"),
        (
            GRANT.replace("=refresh_token&", "=password&"),
            400,
            "unsupported_grant_type",
        ),
        (
            GRANT.replace("token=practice", "token=other"),
            400,
            "invalid_grant",
        ),
        (
            GRANT.replace("secret=practice", "secret=other"),
            401,
            "invalid_client",
        ),
    ];
    for (form, status, error) in cases {
        let reply = rig.plain(&Call::new("POST", "/auth/o2/token", form.clone()));
        assert_eq!(reply.status, status, "{form}");
        if status == 200 {
            assert_eq!(reply.value()["expires_in"], 3600);
            assert_eq!(reply.value()["token_type"], "bearer");
        } else {
            assert_eq!(reply.value()["error"], error, "{form}");
        }
    }
}

#[test]
fn a_token_really_expires_and_the_refusal_says_so() {
    let rig = Rig::new();
    let target = "/sellers/v1/marketplaceParticipations";
    assert_eq!(rig.get(target).status, 200);
    let details = |reply: &Reply| {
        assert_eq!(reply.status, 403);
        assert_eq!(reply.value()["errors"][0]["code"], "Unauthorized");
        reply.value()["errors"][0]["details"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let none = rig.plain(&Call::new("GET", target, ""));
    assert!(details(&none).contains("missing"));
    let wrong = Call::new("GET", target, "").with_header("x-amz-access-token", "Atza|else");
    assert!(details(&rig.plain(&wrong)).contains("malformed"));
    rig.clock.advance(Duration::from_secs(3600));
    assert!(details(&rig.get(target)).contains("expired"));
}

/// An address by the old operation needs a token made for it; that one is good for nothing else.
#[test]
fn data_about_people_of_version_0_needs_a_restricted_token() {
    let mut rig = Rig::new();
    let id = rig.buy(&[("0017", 1)]);
    rig.pass(2000);
    let address = format!("/orders/v0/orders/{id}/address");
    assert_eq!(rig.get(&address).status, 403);
    let ask = |path: &str| {
        let body = json!({ "restrictedResources": [{ "method": "GET", "path": path }] });
        rig.send("POST", "/tokens/2021-03-01/restrictedDataToken", &body)
    };
    assert_eq!(ask("/orders/v1/orders").status, 400);
    let granted = ask("/orders/v0/orders/{orderId}/address");
    assert_eq!(granted.value()["expiresIn"], 3600);
    let token = granted.value()["restrictedDataToken"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.token = token;
    let told = rig.get(&address).value();
    assert!(
        told["payload"]["ShippingAddress"]["City"].is_string(),
        "{told}"
    );
    assert_eq!(
        rig.get("/orders/2026-01-01/orders?createdAfter=2026-01-01T00:00:00Z")
            .status,
        403
    );
}

/// Story 49: each operation has a bucket of its own, and its size changes while it runs.
#[test]
fn quotas_are_per_operation_and_change_at_run_time() {
    let rig = Rig::with(|options| options.quotas = quota::vendor());
    let target = "/sellers/v1/marketplaceParticipations";
    let header = |reply: &Reply| {
        let mut headers = reply.headers.iter();
        headers
            .find(|(name, _)| name == "x-amzn-ratelimit-limit")
            .map(|(_, value)| value.clone())
    };
    for _ in 0..15 {
        let reply = rig.get(target);
        assert_eq!(
            (reply.status, header(&reply).as_deref()),
            (200, Some("0.016"))
        );
    }
    let refused = [rig.get(target), rig.get(target)];
    for reply in &refused {
        assert_eq!(reply.status, 429);
        assert_eq!(reply.value()["errors"][0]["code"], "QuotaExceeded");
    }
    assert_eq!(
        refused.each_ref().map(|one| header(one).is_some()),
        [false, true]
    );
    let other = rig.get("/listings/2021-08-01/items/A1PRACTICE/0017?marketplaceIds=A1PA6795UKMFR9");
    assert_eq!(
        (other.status, header(&other).as_deref()),
        (200, Some("5.0"))
    );
    rig.market.set_quota(
        "getMarketplaceParticipations",
        RateLimit {
            per_second: 2.0,
            burst: 1.0,
        },
    );
    assert_eq!(header(&rig.get(target)).as_deref(), Some("2.0"));
    assert_eq!(rig.get(target).status, 429);
    rig.pass(500);
    assert_eq!(rig.get(target).status, 200);
}
