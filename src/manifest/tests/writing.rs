//! A write of several steps, cut off anywhere, is done once.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value as Json, json};

use super::Toy;
use crate::connector::{
    Captured, Connection, Delivery, Operation, Outcome, Progress, Repeats, StepLog,
};
use crate::fault::{Class, Effect, Fault};
use crate::id::DeliveryId;
use crate::record::{Record, Stream};

/// A customer, then an order, then its confirmation; two parcels follow.
const SHOP: &str = r#"
[[fault]]
when = "reply.json.error == 'warning'"
class = "reject"
code = "warning"
[[fault]]
when = "reply.json.error == 'taken'"
class = "reject"
code = "taken"
[stream.stock]
evidence = "sandbox"
[stream.stock.write.create]
confirm = { remote_id = "{steps.order}" }
[stream.stock.write.create.find]
step = "order"
done_when = "steps.order != null && found == 'o-' + delivery.reference"
[[stream.stock.write.create.step]]
name = "customer"
find = { request = { path = "/find/customers", body = "{delivery.key}" }, found = "{reply.json.found}" }
request = { path = "/customers", body = "{delivery.key}" }
capture = "{reply.json.id}"
exists = ["taken"]
[[stream.stock.write.create.step]]
name = "order"
find = { request = { path = "/find/orders", body = "{delivery.reference}" }, found = "{reply.json.found}" }
request = { path = "/orders", body = "{delivery.reference}" }
capture = "{reply.json.id}"
on_fault = [{ code = "warning", times = 2, request = { path = "/accept", body = "{reply.json}" } }]
[[stream.stock.write.create.step]]
name = "parcels"
foreach = { in = "['a', 'b']", as = "parcel", step = [
  {
    name = "parcel",
    find = { request = { path = "/find/parcels", body = "{steps.order}{parcel}" }, found = "{reply.json.found}" },
    request = { path = "/parcels", body = "{steps.order}{parcel}" },
    capture = "{reply.json.id}",
  },
] }
[[stream.stock.write.create.step]]
name = "confirmed"
repeatable = true
request = { path = "/confirm", body = "{steps.order}" }
"#;

/// What may be done after a lost reply is what the strictest step allows.
#[test]
fn how_it_may_be_repeated_follows_from_its_steps() {
    let repeats = |text: &str| {
        let toy = Toy::new(|_, _| Ok((200, json!({}))));
        let sinks = toy.open(text).sinks;
        let sink = &sinks[&Stream::Stock];
        [Operation::Create, Operation::Cancel].map(|it| sink.repeats(it))
    };
    let (find, freely) = (Repeats::AfterFinding, Repeats::Freely);
    assert_eq!(repeats(SHOP), [find, freely]);
    let plan = |step: &str, operation: &str| {
        format!(
            "[stream.stock]\nevidence = \"sandbox\"\n[stream.stock.write.{operation}]\nconfirm = {{ remote_id = \"1\" \
             }}\n[[stream.stock.write.{operation}.step]]\nname = \"one\"\nrequest = {{ path = \"/orders\" }}\n{step}"
        )
    };
    assert_eq!(repeats(&plan("repeatable = true", "create"))[0], freely);
    let never = "at_most_once = true";
    assert_eq!(repeats(&plan(never, "create"))[0], Repeats::Never);
    assert_eq!(repeats(&plan(never, "cancel"))[1], Repeats::Never);
}

/// A platform that remembers what it was told to create.
#[derive(Clone, Default)]
struct Shop {
    there: Arc<Mutex<Vec<(String, String)>>>,
    warnings: Arc<Mutex<u32>>,
}

impl Shop {
    fn answer(&self, path: &str, body: &Json) -> Json {
        let key = body
            .as_str()
            .map_or_else(|| body.to_string(), str::to_owned);
        let mut there = self.there.lock().unwrap();
        let id = |kind: &str| format!("{}-{key}", kind.chars().next().unwrap());
        if let Some(kind) = path.strip_prefix("/find/") {
            let found = there.contains(&(kind.to_owned(), key.clone()));
            return json!({ "found": found.then(|| id(kind)) });
        }
        let mut warnings = self.warnings.lock().unwrap();
        match path {
            "/accept" => *warnings -= 1,
            "/orders" if *warnings > 0 => return json!({ "error": "warning" }),
            "/confirm" => {}
            _ => there.push((path.trim_start_matches('/').to_owned(), key.clone())),
        }
        json!({ "id": id(path.trim_start_matches('/')) })
    }

    /// How often each thing was created; every one must be 1.
    fn counts(&self) -> Vec<usize> {
        let there = self.there.lock().unwrap();
        let mut kinds = there.clone();
        kinds.sort();
        kinds.dedup();
        kinds
            .iter()
            .map(|one| there.iter().filter(|it| *it == one).count())
            .collect()
    }
}

pub(super) fn delivery() -> Delivery {
    let record = json!({ "sku": "A", "on_hand": "1" });
    Delivery {
        id: "dlv_1".into(),
        stream: Stream::Stock,
        key: "ann".into(),
        operation: Operation::Create,
        record: Record::from_json(Stream::Stock, record).unwrap(),
        reference: "north:17".into(),
        origin: "north".into(),
        target: None,
        group: None,
        captured: Captured::new(),
        attempts: 0,
    }
}

pub(super) async fn deliver(
    connection: &Connection,
    delivery: &Delivery,
    log: &dyn Progress,
) -> Outcome {
    let sink = &connection.sinks[&Stream::Stock];
    sink.deliver(std::slice::from_ref(delivery), log)
        .await
        .remove(0)
}

/// Stories 14, 19 and 21: at whichever request it is cut off, before or after the platform acted, and
/// whatever is remembered, the second try makes everything exactly once.
#[tokio::test]
async fn a_write_that_is_cut_off_anywhere_is_done_once() {
    for acted in [false, true] {
        for remembered in [false, true] {
            for cut_at in 1..=9 {
                let shop = Shop::default();
                let (server, mut count) = (shop.clone(), 0);
                let toy = Toy::new(move |path, body| {
                    count += 1;
                    if count != cut_at {
                        return Ok((200, server.answer(path, body)));
                    }
                    if acted {
                        server.answer(path, body);
                    }
                    Err(Fault::retry("lost", "no reply").after_sending())
                });
                let connection = toy.open(SHOP);
                let (mut delivery, log) = (delivery(), StepLog::default());
                let first = deliver(&connection, &delivery, &log).await;
                let Outcome::Failed(fault) = first else {
                    panic!("request {cut_at} was not noticed");
                };
                let changes = matches!(cut_at, 2 | 4 | 6 | 8 | 9);
                let effect = if changes {
                    Effect::Unknown
                } else {
                    Effect::None
                };
                assert_eq!(fault.effect, effect, "request {cut_at}: {:?}", toy.paths());
                if remembered {
                    let steps = log.steps().into_iter();
                    delivery.captured = steps.map(|(_, step, value)| (step, value)).collect();
                }
                let second = deliver(&connection, &delivery, &StepLog::default()).await;
                let Outcome::Delivered(confirmation) = second else {
                    panic!("cut at {cut_at}: {second:?}");
                };
                assert_eq!(confirmation.remote_id.unwrap().as_str(), "o-north:17");
                assert_eq!(
                    shop.counts(),
                    [1, 1, 1, 1],
                    "cut at {cut_at}, acted {acted}"
                );
            }
        }
    }
}

/// A shop that is asked which parcels it lacks, and told them one by one.
const LACKING: &str = r#"
[stream.stock]
evidence = "sandbox"
[stream.stock.write.create]
confirm = { remote_id = "1" }
[[stream.stock.write.create.step]]
name = "missing"
read = { path = "/missing" }
capture = "{reply.json}"
[[stream.stock.write.create.step]]
name = "sent"
foreach = { in = "steps.missing", as = "parcel", step = [
  { name = "parcel", repeatable = true, request = { path = "/parcels", body = "{parcel}" } },
] }
"#;

/// Two parcels, of which the first was told before the daemon was killed: what is remembered of it belongs
/// to the parcel and not to its place, for the list of what is missing has become shorter meanwhile.
#[tokio::test]
async fn what_was_done_for_one_of_a_list_is_not_done_for_another() {
    for cut_at in 1..=3 {
        let (mut told, mut posts) = (Vec::new(), 0);
        let toy = Toy::new(move |path, body| {
            if path == "/missing" {
                let mut missing = vec![json!("p1"), json!("p2"), json!("p3")];
                missing.retain(|parcel| !told.contains(parcel));
                return Ok((200, missing.into()));
            }
            posts += 1;
            if posts == cut_at {
                return Err(Fault::retry("killed", "before it was sent"));
            }
            told.push(body.clone());
            Ok((200, json!({})))
        });
        let connection = toy.open(LACKING);
        let (mut delivery, log) = (delivery(), StepLog::default());
        let first = deliver(&connection, &delivery, &log).await;
        assert!(matches!(first, Outcome::Failed(_)), "{first:?}");
        let steps = log.steps().into_iter();
        delivery.captured = steps.map(|(_, step, value)| (step, value)).collect();
        let second = deliver(&connection, &delivery, &StepLog::default()).await;
        assert!(matches!(second, Outcome::Delivered(_)), "{second:?}");
        let posts = toy.paths();
        let posts = posts.iter().filter(|path| *path == "/parcels").count();
        assert_eq!(
            posts, 4,
            "cut at {cut_at}: three parcels, one of them twice"
        );
    }
}

/// Two that look the same are two.
#[tokio::test]
async fn each_of_a_list_is_done_though_another_looks_the_same() {
    let shop = Shop::default();
    let server = shop.clone();
    let toy = Toy::new(move |path, body| Ok((200, server.answer(path, body))));
    let twins = LACKING.replace("\"steps.missing\"", "\"['p1', 'p1']\"");
    let connection = toy.open(&twins);
    let (mut delivery, log) = (delivery(), StepLog::default());
    deliver(&connection, &delivery, &log).await;
    let steps = log.steps().into_iter();
    delivery.captured = steps.map(|(_, step, value)| (step, value)).collect();
    assert_eq!(delivery.captured.len(), 2, "{:?}", delivery.captured);
    deliver(&connection, &delivery, &StepLog::default()).await;
    let posts = toy.paths();
    let posts = posts.iter().filter(|path| *path == "/parcels").count();
    assert_eq!(posts, 2, "what was done is not done again");
}

/// A step is durable before the next one is sent; if it cannot be, nothing more is sent.
#[tokio::test]
async fn nothing_is_sent_that_nobody_would_remember() {
    #[derive(Debug)]
    struct Full;

    #[async_trait]
    impl Progress for Full {
        async fn captured(&self, _: &DeliveryId, _: &str, _: Json) -> Result<(), Fault> {
            Err(Fault::retry("disk_full", "no room"))
        }
    }

    let shop = Shop::default();
    let server = shop.clone();
    let toy = Toy::new(move |path, body| Ok((200, server.answer(path, body))));
    let outcome = deliver(&toy.open(SHOP), &delivery(), &Full).await;
    assert!(matches!(outcome, Outcome::Failed(fault) if fault.code == "disk_full"));
    assert_eq!(toy.paths(), ["/find/customers", "/customers"]);
}

/// A list that lacks something is asked for anew: whoever adds it and tries again does not wait.
#[tokio::test]
async fn a_lookup_that_did_not_do_is_not_remembered() {
    const MANIFEST: &str = r#"
[stream.stock]
evidence = "sandbox"
[stream.stock.write.create]
confirm = { remote_id = "1" }
[stream.stock.write.create.find]
step = "tell"
done_when = "false"
[[stream.stock.write.create.step]]
name = "products"
cache_secs = 60
lookup = { path = "/products", body = "all" }
capture = "{reply.json}"
check = [{ when = "!(delivery.key in steps.products)", code = "unknown_sku", message = "it is not there" }]
[[stream.stock.write.create.step]]
name = "tell"
find = { request = { path = "/find", body = "it" }, found = "{reply.json.found}" }
request = { path = "/tell", body = "{delivery.key}" }
"#;
    let mut looks = 0;
    let toy = Toy::new(move |path, _| {
        looks += u32::from(path == "/products");
        let products = if looks > 1 {
            json!(["bob", "ann"])
        } else {
            json!(["bob"])
        };
        let found = json!({ "found": null });
        Ok((200, if path == "/products" { products } else { found }))
    });
    let connection = toy.open(MANIFEST);
    let held = deliver(&connection, &delivery(), &StepLog::default()).await;
    assert!(matches!(held, Outcome::Failed(fault) if fault.code == "unknown_sku"));
    for _ in 0..2 {
        let told = deliver(&connection, &delivery(), &StepLog::default()).await;
        assert!(matches!(told, Outcome::Delivered(_)), "{told:?}");
    }
    let looks = toy
        .paths()
        .iter()
        .filter(|path| *path == "/products")
        .count();
    assert_eq!(looks, 2, "what did is remembered");
}

/// What is asked after a lost reply: there and complete, there, not there.
#[tokio::test]
async fn find_says_what_is_there() {
    let shop = Shop::default();
    let server = shop.clone();
    let toy = Toy::new(move |path, body| Ok((200, server.answer(path, body))));
    let connection = toy.open(SHOP);
    let sink = &connection.sinks[&Stream::Stock];
    assert_eq!(sink.find(&delivery()).await.unwrap(), None);
    deliver(&connection, &delivery(), &StepLog::default()).await;
    let found = sink.find(&delivery()).await.unwrap().unwrap();
    assert!(found.existed);
    assert_eq!(found.remote_id.unwrap().as_str(), "o-north:17");
    let failing = Toy::new(|_, _| Ok((500, json!({}))));
    let unknown = failing.open(SHOP).sinks[&Stream::Stock]
        .find(&delivery())
        .await;
    assert_eq!(unknown.unwrap_err().class, Class::Retry);
}

/// A platform that wants a warning confirmed gets that, and not for ever.
#[tokio::test]
async fn foreseen_faults_are_answered_so_often_and_no_more() {
    for (warnings, delivered) in [(2, true), (3, false)] {
        let shop = Shop::default();
        *shop.warnings.lock().unwrap() = warnings;
        let server = shop.clone();
        let toy = Toy::new(move |path, body| Ok((200, server.answer(path, body))));
        let outcome = deliver(&toy.open(SHOP), &delivery(), &StepLog::default()).await;
        assert_eq!(
            matches!(outcome, Outcome::Delivered(_)),
            delivered,
            "{outcome:?}"
        );
    }
}

/// Another one made it between our look and our create.
#[tokio::test]
async fn what_somebody_else_made_in_between_is_taken() {
    let shop = Shop::default();
    let (server, mut first) = (shop.clone(), true);
    let toy = Toy::new(move |path, body| {
        if path == "/customers" && std::mem::take(&mut first) {
            server.answer(path, body);
            return Ok((200, json!({ "error": "taken" })));
        }
        Ok((200, server.answer(path, body)))
    });
    let outcome = deliver(&toy.open(SHOP), &delivery(), &StepLog::default()).await;
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    assert_eq!(shop.counts(), [1, 1, 1, 1]);
}

const BATCH: &str = r#"
[stream.stock]
evidence = "sandbox"
[stream.stock.write]
length = [{ field = "sku", max = 5, over = "reject" }]
[stream.stock.write.batch]
max = 4
row = { sku = "{delivery.record.sku}", left = "{delivery.record.on_hand}" }
request = { path = "/stock", body = "{rows}" }
confirm = { remote_id = "{row.sku}" }
check = [{ when = "delivery.record.sku == 'BAD'", code = "bad", message = "never {delivery.record.sku}" }]
"#;

/// Story 37: one bad line of a batch fails alone, and a batch is no larger than it may be.
#[tokio::test]
async fn one_bad_line_does_not_sink_its_batch() {
    let toy = Toy::new(|_, rows| {
        let rows = rows.as_array().unwrap();
        assert!(rows.len() <= 4);
        let refused = rows.iter().any(|row| row["sku"] == "NO");
        Ok((if refused { 422 } else { 200 }, json!({})))
    });
    let connection = toy.open(BATCH);
    let skus = ["A", "BAD", "B", "NO", "C", "D", "E", "F", "TOO-LONG", "NO"];
    let batch: Vec<Delivery> = skus
        .iter()
        .map(|sku| {
            let record = json!({ "sku": sku, "on_hand": "1" });
            let record = Record::from_json(Stream::Stock, record).unwrap();
            Delivery {
                record,
                operation: Operation::Update,
                ..delivery()
            }
        })
        .collect();
    let sink = &connection.sinks[&Stream::Stock];
    let outcomes = sink.deliver(&batch, &StepLog::default()).await;
    for (sku, outcome) in skus.iter().zip(&outcomes) {
        match outcome {
            Outcome::Delivered(done) => assert_eq!(done.remote_id.as_ref().unwrap().as_str(), *sku),
            Outcome::Failed(fault) => {
                assert_eq!(fault.class, Class::Reject);
                assert!(["BAD", "NO", "TOO-LONG"].contains(sku), "{sku}: {fault}");
            }
            Outcome::Submitted { .. } => panic!("{sku}"),
        }
    }
    let delivered = outcomes
        .iter()
        .filter(|it| matches!(it, Outcome::Delivered(_)))
        .count();
    assert_eq!(delivered, 6);
}

/// Whatever a manifest reads of its deliveries and rows, the request carries the same.
#[tokio::test]
async fn rows_are_the_same_however_they_are_handed_on() {
    let row = r#"{ sku = "{delivery.record.sku}", n = { expr = "number(delivery.record.on_hand)" }, key = "{delivery.key}" }"#;
    let variants = [
        // Handed on as they are, alone or deeper in the body.
        (row, r#""{rows}""#, "{}"),
        (row, r#"{ q = "set", rows = "{rows}" }"#, "{}"),
        // Read on the way.
        (row, r#"{ rows = { expr = "rows" } }"#, "{}"),
        (
            row,
            r#"{ rows = { each = "rows", as = "it", value = "{it}" } }"#,
            "{}",
        ),
        (row, r#""{rows}""#, r#"{ remote_id = "{row.sku}" }"#),
        // Deliveries read as a whole, or by way of the batch.
        (
            row,
            r#""{rows}""#,
            r#"{ remote_id = "{batch[0].record.sku}" }"#,
        ),
        (
            r#"{ let = { d = "{delivery}" }, value = { sku = "{d.record.sku}", n = { expr = "number(d.record.on_hand)" }, key = "{d.key}" } }"#,
            r#""{rows}""#,
            "{}",
        ),
    ];
    for (row, body, confirm) in variants {
        let manifest = format!(
            "[stream.stock]\nevidence = \"sandbox\"\n[stream.stock.write.batch]\nmax = 9\n\
             row = {row}\nrequest = {{ path = \"/stock\", body = {body} }}\nconfirm = {confirm}\n"
        );
        let toy = Toy::new(|_, _| Ok((200, json!({}))));
        let connection = toy.open(&manifest);
        let batch: Vec<Delivery> = ["A\"1", "\u{fc}"]
            .map(|sku| {
                let record = json!({ "sku": sku, "on_hand": "7.50", "incoming": "3" });
                let record = Record::from_json(Stream::Stock, record).unwrap();
                let operation = Operation::Update;
                Delivery {
                    operation,
                    record,
                    ..delivery()
                }
            })
            .into();
        let sink = &connection.sinks[&Stream::Stock];
        let outcomes = sink.deliver(&batch, &StepLog::default()).await;
        let all_delivered = outcomes
            .iter()
            .all(|it| matches!(it, Outcome::Delivered(_)));
        assert!(all_delivered, "{manifest}: {outcomes:?}");
        let asked = toy.asked.lock().unwrap();
        let [(_, sent)] = asked.as_slice() else {
            panic!("{manifest}: {asked:?}")
        };
        let rows = sent.get("rows").unwrap_or(sent);
        let number: Json = serde_json::from_str("7.5").unwrap();
        let row = |sku: &str| json!({ "sku": sku, "n": number, "key": delivery().key.as_str() });
        let expect = json!([row("A\"1"), row("\u{fc}")]);
        assert_eq!(*rows, expect, "{manifest}");
    }
}
