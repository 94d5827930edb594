//! Signed requests, against what vendors publish.

use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::clock::{Clock, ManualClock};
use crate::connector::{Connector, Context};
use crate::fault::Fault;
use crate::transport::http::{Feedback, HeaderValue, HttpClient, HttpReply, HttpRequest};

/// Takes everything and remembers the last request.
#[derive(Debug)]
struct Mirror {
    clock: ManualClock,
    last: Mutex<Option<HttpRequest>>,
}

#[async_trait]
impl HttpClient for Mirror {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        *self.last.lock().unwrap() = Some(request);
        Ok(HttpReply {
            status: 200,
            headers: Vec::new(),
            body: Bytes::from_static(b"{\"rows\":[]}"),
            received_at: self.clock.now(),
        })
    }

    fn observe(&self, _bucket: &str, _feedback: Feedback) {}
}

/// The request that a probe of such a manifest sends at a moment.
async fn sent(auth: &str, request: &str, at: &str) -> Result<HttpRequest, Fault> {
    let manifest = format!(
        r#"
version = 1
[connector]
name = "toy"
summary = "a toy"
[settings.url]
type = "url"
required = true
doc = "where it is"
[settings.key]
type = "text"
required = true
doc = "who"
[settings.password]
type = "secret"
doc = "proof"
[http]
base = "{{settings.url}}"
[probe]
says = "it is there"
request = {request}
[auth.hmac]
key = "{{secret.password}}"
{auth}
[stream.stock]
evidence = "sandbox"
[stream.stock.read]
poll_secs = 60
page_size = 2
records = "reply.json.rows"
id = "{{string(item.id)}}"
cursor.watermark = {{ field = "item.at", settle_lag_secs = 10, overlap_secs = 60 }}
request = {{ path = "/stock", body = "{{page}}" }}
map = {{ sku = "{{item.sku}}", on_hand = "{{item.left}}" }}
"#
    );
    let connector = super::load("toy.toml", &manifest).unwrap_or_else(|it| panic!("{it}"));
    let (url, key, secret) = if request.contains("order/get") {
        ("http://api.lazada.com/rest", "123456", "helloworld")
    } else {
        (
            "https://api-xxxxxxxx.duosecurity.com",
            "DIWJ8X6AEYOR5OMC6TQ1",
            "Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep",
        )
    };
    let settings = format!("url = \"{url}\"\nkey = \"{key}\"\npassword = \"{secret}\"");
    let clock = ManualClock::at(at.parse().unwrap());
    let mirror = Arc::new(Mirror {
        clock: clock.clone(),
        last: Mutex::default(),
    });
    let context = Context {
        name: "toy".into(),
        clock: Arc::new(clock),
        http: Arc::clone(&mirror) as _,
        tokens: Arc::default(),
        files: crate::connector::FileLimits::default(),
        windows: std::collections::BTreeMap::new(),
    };
    let configured = connector.configure(&toml::from_str(&settings).unwrap());
    let connection = configured.unwrap().open(context).unwrap();
    connection.probe.as_ref().unwrap().probe().await?;
    let last = mirror.last.lock().unwrap().take();
    Ok(last.unwrap())
}

fn header(request: &HttpRequest, name: &str) -> String {
    let found = request.headers.iter().find(|(known, _)| known == name);
    match &found.unwrap().1 {
        HeaderValue::Plain(text) => text.clone(),
        HeaderValue::Secret(secret) => secret.expose().to_owned(),
    }
}

/// The example of Lazada's own page on its signature: all parameters by name, names and values in one, upper
/// hex, in the query.
#[tokio::test]
async fn a_signature_in_the_query_is_that_of_lazada() {
    let auth = r#"
encoding = "hex"
query = { app_key = "{settings.key}", access_token = "test", sign_method = "sha256", timestamp = "{request.timestamp_ms}" }
text = "{replace(request.path, '/rest', '')}{join(request.params, '')}"
signed_query = { sign = "{upper(signature)}" }
"#;
    let request = r#"{ path = "/order/get", query = { order_id = "1234" } }"#;
    let sent = sent(auth, request, "2018-02-05T08:46:32Z").await.unwrap();
    assert_eq!(
        sent.url,
        "http://api.lazada.com/rest/order/get?order_id=1234&access_token=test&app_key=123456\
         &sign_method=sha256&timestamp=1517820392000\
         &sign=4190D32361CFB9581350222F345CB77F3B19F0E31D162316848A2C1FFD5FAB4A"
    );
}

/// The example of Duo's description of its API: lines of date, method, host, path and parameters, SHA-1, lower
/// hex, as the password of HTTP Basic.
#[tokio::test]
async fn a_signature_in_a_header_is_that_of_duo() {
    let auth = r#"
hash = "sha1"
encoding = "hex"
text = "{format_date(timestamp(number(request.timestamp)), '%a, %d %b %Y %H:%M:%S -0000')}\n{request.method}\n{request.host}\n{request.path}\n{request.body}"
[auth.hmac.headers]
Date = "{format_date(timestamp(number(request.timestamp)), '%a, %d %b %Y %H:%M:%S -0000')}"
Authorization = "Basic {base64(settings.key + ':' + signature)}"
"#;
    let request = r#"{ path = "/accounts/v1/account/list", form = { realname = "First Last", username = "root" } }"#;
    let sent = sent(auth, request, "2012-08-21T17:29:18Z").await.unwrap();
    assert_eq!(header(&sent, "date"), "Tue, 21 Aug 2012 17:29:18 -0000");
    assert_eq!(
        header(&sent, "authorization"),
        "Basic RElXSjhYNkFFWU9SNU9NQzZUUTE6MmQ5N2Q2MTY2MzE5NzgxYjVhM2EwN2FmMzlkMzY2ZjQ5MTIzNGVkYw=="
    );
    assert!(
        !format!("{sent:?}").contains("RElXSjhYNkFFWU9S"),
        "it is secret"
    );
}

/// What else texts are made of, and base64.
#[tokio::test]
async fn everything_that_is_signed_has_a_name() {
    let auth = r#"
encoding = "base64"
text = "{request.method} {request.host} {request.sorted_query} {request.query} {request.body_sha256} {request.timestamp} {request.nonce}"
headers = { x-signature = "v1={signature}", x-nonce = "{request.nonce}" }
"#;
    let request = r#"{ path = "/x", query = { b = "2 3", a = "1" }, body = { z = 1 } }"#;
    let one = sent(auth, request, "2026-11-22T10:00:00Z").await.unwrap();
    let two = sent(auth, request, "2026-11-22T10:00:00Z").await.unwrap();
    assert_ne!(header(&one, "x-nonce"), header(&two, "x-nonce"));
    let text = format!(
        "POST api-xxxxxxxx.duosecurity.com a=1&b=2%203 a=1&b=2%203 \
         9d80fd5b8b1e66e0eb1a8f15644749bbdcb6304691b9d3de20aa4010cdac2bc1 1795341600 {}",
        header(&one, "x-nonce")
    );
    let key = hmac::Key::new(
        hmac::HMAC_SHA256,
        b"Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep",
    );
    let expect = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    assert_eq!(header(&one, "x-signature"), format!("v1={expect}"));
}

#[tokio::test]
async fn a_signature_that_goes_nowhere_or_has_no_key_is_told() {
    let wrong = std::panic::AssertUnwindSafe(sent(
        "encoding = \"hex\"\ntext = \"{request.body}\"\n",
        "{ path = \"/\" }",
        "2026-11-22T10:00:00Z",
    ));
    let told = futures_util::FutureExt::catch_unwind(wrong)
        .await
        .unwrap_err();
    let told = told.downcast_ref::<String>().unwrap().clone();
    assert!(told.contains("the signature goes nowhere"), "{told}");
    let auth = "encoding = \"hex\"\nkey_encoding = \"base64\"\ntext = \"x\"\nheaders = { a = \"{signature}\" }\n";
    let fault = sent(auth, "{ path = \"/\" }", "2026-11-22T10:00:00Z").await;
    // 40 letters are base64 of 30 bytes: fine. As hex they are none.
    fault.unwrap();
    let auth = auth.replace("base64", "hex");
    let fault = sent(&auth, "{ path = \"/\" }", "2026-11-22T10:00:00Z")
        .await
        .unwrap_err();
    assert_eq!(fault.code, "no_credentials");
    assert!(!fault.message.contains("Zh5e"), "{fault}");
}
