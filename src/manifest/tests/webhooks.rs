//! `[webhook]`: each scheme of `tests/data/webhooks` is a manifest and requests with what is to become of
//! them; where the proofs come from stands in each file as `source`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::connector::{Inbound, Notice, Receiver};
use crate::fault::Class;

/// Streams that webhooks may lead to: orders are fetched, stock is only woken.
const STREAMS: &str = r#"
[stream.orders]
evidence = "sandbox"
[stream.orders.read]
poll_secs = 60
page_size = 10
records = "reply.json"
id = "{item.id}"
cursor.full = {}
paginate = "offset"
request = { path = "/orders" }
map = { id = "{item.id}" }
fetch = { request = { path = "/orders", query = { ids = { expr = "join(ids, ',')" } } }, max = 10, missing = "absent" }
[stream.stock]
evidence = "sandbox"
[stream.stock.read]
poll_secs = 60
page_size = 10
records = "reply.json"
id = "{item.id}"
cursor.full = {}
paginate = "offset"
request = { path = "/stock" }
map = { sku = "{item.sku}", on_hand = "{item.left}" }
"#;

const HEAD: &str = r#"
version = 1
[connector]
name = "toy"
summary = "a toy"
[http]
base = "http://toy.test"
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/webhooks")
}

fn receiver(scheme: &str, settings: &Json) -> Option<Arc<dyn Receiver>> {
    let text = fs::read_to_string(folder().join(format!("{scheme}.toml"))).unwrap();
    receiver_of(&text, settings)
}

/// Without any key.
fn receiver_of_nothing(scheme: &str) -> Option<Arc<dyn Receiver>> {
    receiver(scheme, &json!({}))
}

fn receiver_of(scheme: &str, settings: &Json) -> Option<Arc<dyn Receiver>> {
    let text = format!("{HEAD}{scheme}{STREAMS}");
    let connector = load("toy.toml", &text).unwrap_or_else(|findings| panic!("{findings}"));
    let settings: toml::Table = serde_json::from_value(settings.clone()).unwrap();
    let configured = connector.configure(&settings).unwrap();
    let toy = Toy::new(|_, _| Ok((200, Json::Null)));
    let context = Context {
        name: "toy".into(),
        clock: Arc::new(toy.clock.clone()),
        http: Arc::clone(&toy) as _,
        tokens: Arc::default(),
        files: crate::connector::FileLimits::default(),
        windows: BTreeMap::new(),
    };
    configured.open(context).unwrap().receiver
}

fn inbound(case: &Json) -> Inbound {
    let headers = case["headers"].as_object().unwrap().iter();
    Inbound {
        url: case["url"].as_str().unwrap_or_default().to_owned(),
        headers: headers
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
        body: Bytes::from(case["body"].as_str().unwrap().to_owned()),
        at: case["at"].as_str().unwrap().parse().unwrap(),
    }
}

/// What became of a request, in the words of the cases.
fn told(result: Result<Notice, Fault>) -> Json {
    match result {
        Err(fault) => {
            let wanted = match fault.code.as_ref() {
                "not_json" | "not_understood" => Class::Reject,
                _ => Class::Auth,
            };
            assert_eq!(fault.class, wanted, "{fault}");
            json!({ "fault": fault.code })
        }
        Ok(notice) => {
            let mut told = json!({});
            let hints: Vec<Json> = notice
                .hints
                .iter()
                .map(|hint| {
                    let id = hint.id.as_ref().map(ToString::to_string);
                    json!([hint.stream.name(), id, hint.event])
                })
                .collect();
            if notice.unknown > 0 {
                told["unknown"] = notice.unknown.into();
            }
            if !hints.is_empty() || notice.unknown == 0 {
                told["hints"] = hints.into();
            }
            told
        }
    }
}

/// The twenty, item 8: genuine, forged, replayed. Each scheme with known proofs.
#[test]
fn every_scheme_tells_genuine_from_forged() {
    let mut cases = 0;
    let mut schemes = BTreeSet::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let scheme = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let data: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let receiver = receiver(&scheme, &data["settings"]).unwrap();
        for case in data["cases"].as_array().unwrap() {
            let got = told(receiver.verify(&inbound(case)));
            assert_eq!(got, case["expect"], "{scheme}: {}", case["name"]);
            cases += 1;
        }
        // Where nothing is to prove it with, nobody listens.
        assert!(receiver_of_nothing(&scheme).is_none());
        schemes.insert(scheme);
    }
    assert_eq!(schemes.len(), 11, "{schemes:?}");
    assert!(cases >= 60, "{cases}");
}

/// An empty secret is one that everybody knows: it counts as none.
#[test]
fn an_empty_secret_is_none() {
    assert!(receiver("plain_base64", &json!({ "key": "" })).is_none());
    assert!(receiver("plain_base64", &json!({ "key": "  " })).is_none());
}

/// A key that is none is found when the configuration is checked, not when the first webhook comes.
#[test]
fn a_bad_key_is_a_finding() {
    for (scheme, key) in [
        ("rsa", "letmein"),
        ("rsa", "{\"keys\": []}"),
        (
            "ecdsa",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        ),
        ("standard", "no base64 at all!"),
    ] {
        let text = fs::read_to_string(folder().join(format!("{scheme}.toml"))).unwrap();
        let connector = load("toy.toml", &format!("{HEAD}{text}{STREAMS}")).unwrap();
        let settings = toml::Table::from_iter([("key".to_owned(), key.into())]);
        let findings = connector.configure(&settings).unwrap_err();
        assert_eq!(findings.0[0].path, "key", "{findings}");
        assert!(!findings.to_string().contains(key), "{findings}");
    }
}

/// Who signs the address must be told it; who signs only the body need not.
#[test]
fn what_a_scheme_needs_is_known() {
    for (scheme, needs) in [("square", true), ("plain_hex", false)] {
        let text = fs::read_to_string(folder().join(format!("{scheme}.toml"))).unwrap();
        let connector = load("toy.toml", &format!("{HEAD}{text}{STREAMS}")).unwrap();
        let settings = toml::Table::from_iter([("key".to_owned(), "k".into())]);
        let configured = connector.configure(&settings).unwrap();
        assert_eq!(configured.webhooks().unwrap().address, needs);
        let nothing = connector.configure(&toml::Table::new()).unwrap();
        assert_eq!(nothing.webhooks(), None);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |change: (&str, &str)| {
        let text = fs::read_to_string(folder().join("milliseconds.toml")).unwrap();
        assert!(text.contains(change.0), "{change:?}");
        let text = format!("{HEAD}{}{STREAMS}", text.replacen(change.0, change.1, 1));
        load("toy.toml", &text).unwrap_err().to_string()
    };
    for (change, says) in [
        (("stream = \"orders\"", "stream = \"order\""), "no stream"),
        (("stream = \"orders\"", "stream = \"prices\""), "not read"),
        (
            ("names = [\"order\"]", "names = [\"order\", \"order\"]"),
            "two places",
        ),
        (
            ("before = \"{request.headers['x-timestamp']}.\"", ""),
            "not signed",
        ),
        (("{item.data.id}", "{body.id}"), "body"),
        (("header = \"x-signature\"", "haeder = \"x\""), "header"),
    ] {
        let findings = refused(change);
        assert!(findings.contains(says), "{change:?}: {findings}");
    }
}

/// Two copies of one header: the one that stands first counts, in the proof and in what is read.
#[test]
fn a_second_header_changes_nothing() {
    let data = fs::read_to_string(folder().join("shopify.json")).unwrap();
    let data: Json = serde_json::from_str(&data).unwrap();
    let receiver = receiver("shopify", &data["settings"]).unwrap();
    let mut request = inbound(&data["cases"][0]);
    let genuine = receiver.verify(&request).unwrap();
    let more = [
        ("x-shopify-topic", "app/uninstalled"),
        ("x-shopify-hmac-sha256", "AAAA"),
    ];
    let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
    request.headers.extend(more);
    assert_eq!(receiver.verify(&request).unwrap(), genuine);
}

/// A body may not make us work for it without end.
#[test]
fn too_much_is_refused() {
    let receiver = receiver("quickbooks", &json!({ "key": "k" })).unwrap();
    let sign = |body: &str| {
        use aws_lc_rs::hmac;
        use base64::Engine as _;
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"k");
        base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, body.as_bytes()))
    };
    let ask = |body: String| {
        receiver.verify(&Inbound {
            url: String::new(),
            headers: vec![("intuit-signature".into(), sign(&body))],
            body: body.into(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
        })
    };
    let many = format!("[{}]", vec!["{}"; 1001].join(","));
    assert_eq!(ask(many).unwrap_err().code, "too_many");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(ask(deep).unwrap_err().code, "not_json");
    let long = format!(
        r#"[{{"type":"qbo.salesreceipt.created.v1","intuitentityid":"{}"}}]"#,
        "7".repeat(300)
    );
    assert_eq!(ask(long).unwrap_err().code, "not_understood");
}

/// Receivers of all schemes, read once.
fn known_receiver(scheme: &str) -> Arc<dyn Receiver> {
    static KNOWN: Mutex<BTreeMap<String, Arc<dyn Receiver>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let made = known.entry(scheme.to_owned()).or_insert_with(|| {
        let data = fs::read_to_string(folder().join(format!("{scheme}.json"))).unwrap();
        let data: Json = serde_json::from_str(&data).unwrap();
        receiver(scheme, &data["settings"]).unwrap()
    });
    Arc::clone(made)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody who does not know the secret gets anything in, and nothing makes it panic.
    #[test]
    fn what_is_not_signed_is_never_believed(
        scheme in prop::sample::select(vec!["shopify", "standard", "square", "xero", "rsa", "ecdsa", "plain_hex"]),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            r#"\{"(id|type|events|topic)":("[a-z0-9]{0,9}"|[0-9]{1,30}|\[\]|null)\}"#.prop_map(String::into_bytes),
        ],
        proof in prop_oneof!["[A-Za-z0-9+/=_,. -]{0,120}", "v1,[A-Za-z0-9+/]{43}=", "sha256=[0-9a-fA-F]{64}"],
        moment in "[0-9]{0,20}",
    ) {
        let receiver = known_receiver(scheme);
        let names = ["x-shopify-hmac-sha256", "webhook-signature", "x-square-hmacsha256-signature",
            "x-xero-signature", "x-signature", "x-hub-signature-256"];
        let mut headers: Vec<(String, String)> =
            names.iter().map(|name| ((*name).to_owned(), proof.clone())).collect();
        headers.push(("webhook-timestamp".into(), moment));
        headers.push(("webhook-id".into(), proof));
        let request = Inbound {
            url: "https://hooks.test/hooks/toy".into(),
            headers,
            body: body.into(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
        };
        let fault = receiver.verify(&request).unwrap_err();
        prop_assert_eq!(fault.class, Class::Auth);
    }
}
