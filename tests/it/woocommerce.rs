//! The connector `woocommerce` against the vendor's own description: the index that a shop gives at
//! `/wp-json/wc/v3` and the calls of its documentation, as `../shared/specs/woocommerce` keeps them.
//!
//! What the connector sends is what its fixtures ask for: the contract suite plays those exactly. Each of
//! these requests must be one that the index allows, and each order of the documentation must decode.

#![allow(
    clippy::print_stderr,
    reason = "figures are said, and a skipped test must be seen"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossdock::clock::ManualClock;
use crossdock::connector::contract::{Case, Fixtures};
use crossdock::connector::{Body, Change, Connector, Context, FileLimits, Source};
use crossdock::id::RemoteId;
use crossdock::manifest;
use crossdock::record::{Record, Stream};
use crossdock::transport::http::replay::{Exchange, Expected, Order, Replay};
use rust_decimal::Decimal;
use serde_json::{Map, Value as Json, json};

/// What a shop takes since the index was stored, each with the version and where its source says so
/// (`includes/rest-api/Controllers/Version3`): the documentation's section "List all orders" has them too.
const NEWER: &[(&str, &str)] = &[
    // 5.8, class-wc-rest-crud-controller.php
    ("modified_after", "string"),
    ("dates_are_gmt", "boolean"),
    // WordPress 4.8, for every route
    ("_fields", "string"),
];

/// The folder of descriptions; a test without it says so and ends.
fn descriptions() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs/woocommerce");
    if !folder.exists() {
        eprintln!("SKIPPED: there are no descriptions in {}", folder.display());
        return None;
    }
    Some(folder)
}

fn read(path: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/woocommerce")
}

fn connector() -> impl Connector {
    let text = std::fs::read_to_string(own_folder().join("connector.toml")).unwrap();
    manifest::load("woocommerce", &text).unwrap()
}

/// The arguments of a route for a method, and their descriptions.
fn arguments<'a>(
    index: &'a Json,
    path: &str,
    method: &str,
) -> Result<&'a Map<String, Json>, String> {
    for (route, told) in index["routes"].as_object().unwrap() {
        // `(?P<id>[\d]+)` is a name in PHP as it is here.
        let whole = regex_lite(route);
        if !matches(&whole, path) {
            continue;
        }
        for endpoint in told["endpoints"].as_array().unwrap() {
            let methods = endpoint["methods"].as_array().unwrap();
            if methods.iter().any(|known| known == method) {
                return Ok(endpoint["args"].as_object().unwrap());
            }
        }
    }
    Err(format!("the index has no {method} {path}"))
}

/// The segments of a route; `None` is a number or a name that stands for something.
fn regex_lite(route: &str) -> Vec<Option<String>> {
    let segments = route.split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| (!segment.starts_with('(')).then(|| segment.to_owned()))
        .collect()
}

fn matches(route: &[Option<String>], path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
    segments.len() == route.len()
        && route
            .iter()
            .zip(&segments)
            .all(|(want, got)| want.as_deref().is_none_or(|want| want == *got))
}

/// Whether a text in a query is what an argument takes. A list comes with commas (`wp_parse_list`).
fn fits_text(told: &Json, text: &str) -> bool {
    let allowed = |one: &str| {
        told["enum"]
            .as_array()
            .is_none_or(|values| values.iter().any(|known| known == one))
    };
    match told["type"].as_str() {
        Some("integer") => text.parse::<u64>().is_ok(),
        Some("boolean") => matches!(text, "true" | "false"),
        Some("array") => text.split(',').all(|one| one.parse::<u64>().is_ok()),
        _ => text.split(',').all(allowed),
    }
}

fn fits(told: &Json, value: &Json) -> Result<(), String> {
    let fits = match told["type"].as_str() {
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("string") => value
            .as_str()
            .is_some_and(|text| told["enum"].is_null() || fits_text(told, text)),
        _ => true,
    };
    if !fits {
        return Err(format!("{value} is no {}", told["type"]));
    }
    let parts = &told["items"]["properties"];
    for element in value.as_array().into_iter().flatten() {
        for (name, value) in element.as_object().into_iter().flatten() {
            // `mixed` in the source of version 2 and later; the index says text.
            if parts.is_null() || name == "value" {
                continue;
            }
            let part = parts
                .get(name)
                .ok_or_else(|| format!("no field `{name}`"))?;
            fits_part(name, part, value)?;
        }
    }
    Ok(())
}

fn fits_part(name: &str, told: &Json, value: &Json) -> Result<(), String> {
    if told["readonly"] == true && name != "id" {
        return Err(format!("`{name}` cannot be written"));
    }
    fits(told, value)
}

/// Checks one request against the index.
fn check(index: &Json, request: &Expected) -> Result<(), String> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let path = path.strip_prefix("/wp-json").ok_or("not below /wp-json")?;
    let known = arguments(index, path, &request.method)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .unwrap();
        let newer = NEWER.iter().find(|(known, _)| known == &name);
        let newer = newer.map(|(_, kind)| json!({ "type": kind }));
        let told = known.get(name).or(newer.as_ref());
        let told = told.ok_or_else(|| format!("{path} takes no `{name}`"))?;
        if !fits_text(told, &value) {
            return Err(format!("{path}: `{name}` cannot be {value}"));
        }
    }
    let Some(body) = &request.body else {
        return Ok(());
    };
    // A batch has the arguments of one element.
    let rows: Vec<&Json> = if path.ends_with("/batch") {
        body["update"].as_array().unwrap().iter().collect()
    } else {
        vec![body]
    };
    for (name, value) in rows.iter().flat_map(|row| row.as_object().unwrap()) {
        if path.ends_with("/batch") && name == "id" {
            continue;
        }
        let told = known.get(name);
        let told = told.ok_or_else(|| format!("{path} takes no field `{name}`"))?;
        fits(told, value).map_err(|why| format!("{path}: `{name}`: {why}"))?;
    }
    Ok(())
}

fn fixtures() -> Vec<Case> {
    Fixtures::load(&own_folder().join("fixtures"))
        .unwrap()
        .cases
}

#[test]
fn every_request_is_one_that_the_vendors_index_allows() {
    let Some(folder) = descriptions() else { return };
    let index = read(&folder.join("wc-v3-index.json"));
    let mut count = 0;
    for case in fixtures() {
        for exchange in case.exchanges.iter().chain(&case.again) {
            let request = &exchange.request;
            check(&index, request).unwrap_or_else(|why| panic!("{}: {why}", case.name));
            count += 1;
        }
    }
    eprintln!("woocommerce: {count} requests are valid by the vendor's index");
    assert!(count >= 14, "only {count} requests");
}

#[test]
fn the_check_finds_what_the_index_does_not_allow() {
    let Some(folder) = descriptions() else { return };
    let index = read(&folder.join("wc-v3-index.json"));
    let wrong = [
        ("GET", "/wp-json/wc/v3/orders?modified_since=2026", None),
        ("GET", "/wp-json/wc/v3/orders?per_page=many", None),
        ("GET", "/wp-json/wc/v3/orders?status=procesing", None),
        ("GET", "/wp-json/wc/v3/order", None),
        ("PATCH", "/wp-json/wc/v3/orders", None),
        (
            "PUT",
            "/wp-json/wc/v3/orders/1",
            Some(json!({ "state": "completed" })),
        ),
        (
            "PUT",
            "/wp-json/wc/v3/orders/1",
            Some(json!({ "status": "shipped" })),
        ),
        (
            "POST",
            "/wp-json/wc/v3/products/batch",
            Some(json!({ "update": [{ "id": 1, "stock_quantity": "5" }] })),
        ),
    ];
    for (method, path, body) in wrong {
        let request = Expected {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: BTreeMap::new(),
            body,
        };
        assert!(check(&index, &request).is_err(), "{method} {path}");
    }
}

/// The source of orders, which is answered `reply` whatever it asks for.
fn orders(reply: &Json, ids: &[RemoteId]) -> Arc<dyn Source> {
    let settings = toml::toml! {
        url = "https://shop.example.test"
        consumer_key = "ck_x"
        consumer_secret = "cs_x"
        without_sku = "id"
        statuses = "pending,processing,on-hold,completed,refunded,cancelled"
    };
    let ids: Vec<&str> = ids.iter().map(RemoteId::as_str).collect();
    let path = format!(
        "/wp-json/wc/v3/orders?dp=6&include={}&order=asc&orderby=id&per_page=100",
        ids.join("%2C")
    );
    let exchange: Exchange = serde_json::from_value(json!({
        "request": { "method": "GET", "path": path },
        "response": { "status": 200, "headers": { "content-type": "application/json" }, "body": reply },
    }))
    .unwrap();
    let clock = Arc::new(ManualClock::at("2026-11-22T12:00:00Z".parse().unwrap()));
    let context = Context {
        name: "shop".to_owned(),
        clock: clock.clone(),
        http: Arc::new(Replay::new(vec![exchange], Order::Any, clock)),
        tokens: Arc::default(),
        files: FileLimits::default(),
        windows: BTreeMap::new(),
    };
    let connection = connector()
        .configure(&settings)
        .unwrap()
        .open(context)
        .unwrap();
    Arc::clone(&connection.sources[&Stream::Orders])
}

/// Every order in the replies of the documentation.
fn documented(examples: &Json) -> Vec<Json> {
    fn gather(json: &Json, found: &mut Vec<Json>) {
        match json {
            Json::Object(fields) if fields.contains_key("order_key") => found.push(json.clone()),
            Json::Object(fields) => fields.values().for_each(|value| gather(value, found)),
            Json::Array(items) => items.iter().for_each(|item| gather(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for call in examples.as_array().unwrap() {
        if call["resource"] == "orders" {
            gather(&call["responses"], &mut found);
        }
    }
    found
}

#[tokio::test]
async fn every_order_of_the_documentation_decodes() {
    let Some(folder) = descriptions() else { return };
    let found = documented(&read(&folder.join("wc-v3-examples.json")));
    for example in &found {
        let id = RemoteId::new(example["id"].to_string());
        let ids = [id];
        let source = orders(&json!([example]), &ids);
        let changes = source.fetch(&ids).await.unwrap();
        let [
            Change {
                body: Body::Present(record),
                ..
            },
        ] = changes.as_slice()
        else {
            panic!("{example:#}\nbecame {changes:#?}");
        };
        let Record::Order(order) = record else {
            panic!("not an order: {record:?}");
        };
        let total: Decimal = example["total"].as_str().unwrap().parse().unwrap();
        assert_eq!(order.totals.grand_total.amount, total, "{example:#}");
        // Order 728 shows 1.125 and 0.225 of tax as 1.13 and 0.23, and 2.25 as their sum.
        let rounding = order.rounding().unwrap().amount.abs();
        assert!(rounding <= Decimal::new(1, 2), "{rounding} in {example:#}");
        assert_eq!(
            order.lines.len(),
            example["line_items"].as_array().unwrap().len()
        );
    }
    eprintln!("woocommerce: {} documented orders decode", found.len());
    assert!(found.len() >= 5, "only {} orders", found.len());
}

/// Subscriptions to webhooks (story 17): what is asked is what the index allows, and the documented webhook is read.
#[tokio::test]
async fn subscriptions_are_asked_for_as_the_index_allows() {
    let exchange = |method: &str, path: &str, body: Json, reply: Json| -> Exchange {
        let path = format!("/wp-json/wc/v3{path}");
        let mut request = json!({ "method": method, "path": path });
        if !body.is_null() {
            request["body"] = body;
        }
        serde_json::from_value(json!({ "request": request, "response": {
            "status": 200, "headers": { "content-type": "application/json" }, "body": reply } }))
        .unwrap()
    };
    let address = "https://hooks.example.test/hooks/shop";
    let known = |id: u64, topic: &str, status: &str, url: &str| {
        json!({ "id": id, "name": "x", "topic": topic, "status": status, "delivery_url": url,
            "date_created": "2016-05-15T23:17:52" })
    };
    let create = |topic: &str| {
        json!({ "name": format!("crossdock {topic}"), "topic": topic, "delivery_url": address,
            "secret": "s3cret", "status": "active" })
    };
    let exchanges = vec![
        exchange(
            "GET",
            "/webhooks?per_page=100",
            Json::Null,
            json!([
                known(1, "order.created", "active", address),
                known(2, "order.updated", "disabled", address),
                known(3, "order.deleted", "active", "http://requestb.in/1g0sxmo1"),
                known(4, "coupon.created", "disabled", address),
            ]),
        ),
        exchange(
            "POST",
            "/webhooks",
            create("order.deleted"),
            json!({ "id": 5 }),
        ),
        exchange(
            "POST",
            "/webhooks",
            create("order.restored"),
            json!({ "id": 6 }),
        ),
        exchange(
            "PUT",
            "/webhooks/2",
            json!({ "secret": "s3cret", "status": "active" }),
            json!({ "id": 2 }),
        ),
    ];
    if let Some(folder) = descriptions() {
        let index = read(&folder.join("wc-v3-index.json"));
        for exchange in &exchanges {
            check(&index, &exchange.request).unwrap();
        }
    }
    let settings = toml::toml! {
        url = "https://shop.example.test"
        consumer_key = "ck_x"
        consumer_secret = "cs_x"
        webhook_secret = "s3cret"
    };
    let clock = Arc::new(ManualClock::at("2026-11-22T12:00:00Z".parse().unwrap()));
    let context = Context {
        name: "shop".to_owned(),
        clock: clock.clone(),
        http: Arc::new(Replay::new(exchanges, Order::Any, clock)),
        tokens: Arc::default(),
        files: FileLimits::default(),
        windows: BTreeMap::new(),
    };
    let configured = connector().configure(&settings).unwrap();
    let connection = configured.open(context).unwrap();
    let streams = std::collections::BTreeSet::from([Stream::Orders]);
    let subscriptions = connection.subscriptions.unwrap();
    let told = subscriptions.ensure(address, &streams).await.unwrap();
    assert_eq!(told.right, ["order.created"]);
    assert_eq!(told.created, ["order.deleted", "order.restored"]);
    assert_eq!(told.revived, ["order.updated"]);
}
