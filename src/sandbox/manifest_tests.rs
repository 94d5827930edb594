//! The practice systems through their manifests: what the daemon will do, one delivery at a time.

mod market;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::audit::Fact;
use super::basket::Basket;
use super::inside::Inside;
use super::*;
use crate::clock::ManualClock;
use crate::connector::{
    Body, Captured, Change, Connection, Connector as _, Context, Cursor, Delivery, Operation,
    Outcome, Progress, Sink, Source, StepLog,
};
use crate::connectors::BUILT_IN;
use crate::fault::{Class, Effect, Fault};
use crate::id::{DeliveryId, RemoteId};
use crate::manifest;
use crate::record::{Record, Sku, StockLevel, Stream};

struct Rig {
    world: World,
    clock: ManualClock,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        let mut options = WorldOptions::new(folder.path().join("in"));
        options.limit = None;
        options.carry_items = true;
        let dynamic: Arc<dyn Clock> = Arc::new(clock.clone());
        Self {
            world: World::new(&dynamic, options),
            clock,
            _folder: folder,
        }
    }

    fn open(&self, connector: &str, name: &str) -> Connection {
        let text = BUILT_IN
            .iter()
            .find(|(known, _)| *known == connector)
            .unwrap()
            .1;
        let manifest = manifest::load(connector, text).unwrap_or_else(|findings| {
            let told = findings.0.iter().map(|one| {
                format!(
                    "line {:?} {}: {} {:?}",
                    one.line(),
                    one.path,
                    one.message,
                    one.help
                )
            });
            panic!("{connector}: {}", told.collect::<Vec<_>>().join("\n"));
        });
        let secret = if connector == "sandbox_pos" {
            "key"
        } else {
            "password"
        };
        let mut settings = format!("url = \"{}\"\n{secret} = \"practice\"", Inside::url(name));
        if connector == "amazon" {
            settings = market::settings(&self.world);
        }
        let configured = manifest
            .configure(&toml::from_str(&settings).unwrap())
            .unwrap();
        let context = Context {
            name: name.to_owned(),
            clock: Arc::new(self.clock.clone()),
            http: Arc::new(Inside::of(&self.world)),
            tokens: Arc::default(),
            files: crate::connector::FileLimits::default(),
            windows: BTreeMap::new(),
        };
        configured.open(context).unwrap()
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    fn tell_stock(&self, shop: &str, sku: &str, on_hand: i64) -> StockDelivery {
        let shop = self.open("sandbox_store", shop);
        let sku = Sku::new(sku).unwrap();
        let level = StockLevel::on_hand(sku.clone(), crate::record::Quantity::pieces(on_hand));
        StockDelivery {
            sink: Arc::clone(&shop.sinks[&Stream::Stock]),
            delivery: delivery(
                Record::Stock(level),
                &format!("erp:{sku}"),
                Operation::Update,
            ),
        }
    }

    async fn buy(&self, shop: &str) -> String {
        for sku in ["0017", "1E5"] {
            let told = self.tell_stock(shop, sku, 200);
            assert!(matches!(told.send().await, Outcome::Delivered(_)));
        }
        let basket = Basket {
            buyer: catalog::buyer(&mut fastrand::Rng::with_seed(3)),
            lines: vec![("0017".into(), 3), ("1E5".into(), 1)],
            coupon: Some(("SPRING10".into(), 10)),
            shipping: 495,
            note: Some("Bitte klingeln 🔔".into()),
        };
        let order = self
            .world
            .shop(shop)
            .unwrap()
            .place(&basket, self.world.time_at(shop));
        order.unwrap()
    }
}

struct StockDelivery {
    sink: Arc<dyn Sink>,
    delivery: Delivery,
}

impl StockDelivery {
    async fn send(&self) -> Outcome {
        deliver(&*self.sink, &self.delivery, &StepLog::default()).await
    }
}

fn delivery(record: Record, reference: &str, operation: Operation) -> Delivery {
    Delivery {
        id: DeliveryId::new(format!("dlv_{reference}")),
        stream: record.stream(),
        key: reference.into(),
        operation,
        record,
        reference: reference.to_owned(),
        origin: reference.split(':').next().unwrap().to_owned(),
        target: None,
        group: None,
        captured: Captured::new(),
        attempts: 0,
    }
}

async fn deliver(sink: &dyn Sink, delivery: &Delivery, progress: &dyn Progress) -> Outcome {
    let mut outcomes = sink.deliver(std::slice::from_ref(delivery), progress).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// Everything there is after `cursor`, and the cursor then.
async fn pull_all(source: &dyn Source, cursor: Option<Cursor>) -> (Vec<Change>, Cursor) {
    let mut cursor = cursor;
    let mut all = Vec::new();
    for _ in 0..100 {
        let page = source.pull(cursor.as_ref()).await.unwrap();
        all.extend(page.changes);
        cursor = Some(page.cursor);
        if !page.more {
            return (all, cursor.unwrap());
        }
    }
    panic!("paging has no end");
}

fn present(change: &Change) -> Record {
    match &change.body {
        Body::Present(record) => record.clone(),
        other => panic!("{}: {other:?}", change.id),
    }
}

/// Does what dispatch does: repeats while it may help, looks before it repeats what is unknown, and
/// resumes with what was captured.
async fn carry(sink: &dyn Sink, mut delivery: Delivery) -> Result<u32, Fault> {
    let mut unknown = false;
    for attempt in 0..20 {
        if unknown {
            match sink.find(&delivery).await {
                Ok(Some(_)) => return Ok(attempt),
                Ok(None) => {}
                Err(fault) if matches!(fault.class, Class::Retry | Class::Throttle) => continue,
                Err(fault) => return Err(fault),
            }
        }
        let log = StepLog::default();
        let outcome = deliver(sink, &delivery, &log).await;
        for (_, step, value) in log.steps() {
            delivery.captured.insert(step, value);
        }
        delivery.attempts += 1;
        match outcome {
            Outcome::Delivered(_) => return Ok(attempt),
            Outcome::Failed(fault) if matches!(fault.class, Class::Retry | Class::Throttle) => {
                unknown |= fault.effect == Effect::Unknown;
            }
            Outcome::Failed(fault) => return Err(fault),
            Outcome::Submitted { .. } => panic!("nothing here is asynchronous"),
        }
    }
    panic!("20 attempts were not enough");
}

#[tokio::test]
async fn probes_say_who_we_are() {
    let rig = Rig::new();
    for (connector, name) in [
        ("sandbox_store", "north"),
        ("sandbox_pos", "pos"),
        ("sandbox_erp", "erp"),
    ] {
        let probe = rig.open(connector, name).probe.unwrap();
        let said = probe.probe().await.unwrap();
        assert!(said.contains(&format!("https://{name}.sandbox")), "{said}");
    }
}

#[tokio::test]
async fn an_order_is_read_to_the_cent() {
    let rig = Rig::new();
    let id = rig.buy("north").await;
    rig.pass(2);
    let shop = rig.open("sandbox_store", "north");
    let source = &shop.sources[&Stream::Orders];
    let (changes, cursor) = pull_all(&**source, None).await;
    assert_eq!(changes.len(), 1);
    let Record::Order(order) = present(&changes[0]) else {
        panic!("no order");
    };
    assert_eq!(order.id, id);
    assert_eq!(order.lines.len(), 2);
    let there = rig.world.north.order(&id).unwrap();
    assert_eq!(
        order.totals.grand_total.amount.to_string(),
        format!("{}.{:02}", there.total() / 100, there.total() % 100)
    );
    assert!(order.rounding().unwrap().amount.is_zero());
    assert_eq!(
        order.ship_to.postal_code.value().unwrap(),
        &there.buyer.postal_code
    );
    assert!(!order.is_closed());

    // Read again from where it ended: the overlap repeats it, and nothing is lost.
    let (again, _) = pull_all(&**source, Some(cursor)).await;
    assert!(again.len() <= 1);
    rig.world.north.call_off(&id, rig.clock.now());
    let by_id = source.fetch(&[RemoteId::from(id.as_str())]).await.unwrap();
    let Record::Order(order) = present(&by_id[0]) else {
        panic!("no order");
    };
    assert!(order.is_closed());
}

/// Stories 1, 2 and 4, through the manifest: 130 orders, many in one moment, some shown late.
#[tokio::test]
async fn no_order_is_skipped_while_more_come() {
    let rig = Rig::new();
    let told = rig.tell_stock("south", "0017", 1000);
    assert!(matches!(told.send().await, Outcome::Delivered(_)));
    let shop = rig.open("sandbox_store", "south");
    let source = &shop.sources[&Stream::Orders];
    let mut seen = std::collections::BTreeSet::new();
    let mut placed = std::collections::BTreeSet::new();
    let mut cursor = None;
    for round in 0..40 {
        for _ in 0..(if round == 5 { 70 } else { 2 }) {
            let basket = Basket {
                buyer: catalog::buyer(&mut fastrand::Rng::with_seed(round)),
                lines: vec![("0017".into(), 1)],
                coupon: None,
                shipping: 0,
                note: None,
            };
            placed.insert(rig.world.south.place(&basket, rig.clock.now()).unwrap());
        }
        if round < 30 {
            let (changes, next) = pull_all(&**source, cursor).await;
            seen.extend(changes.iter().map(|change| change.id.to_string()));
            cursor = Some(next);
        }
        rig.clock.advance(Duration::from_millis(300));
    }
    rig.pass(2);
    let (changes, _) = pull_all(&**source, cursor).await;
    seen.extend(changes.iter().map(|change| change.id.to_string()));
    assert_eq!(seen, placed);
}

#[tokio::test]
async fn late_sales_of_a_till_are_read_by_their_number() {
    let rig = Rig::new();
    let tills = rig.open("sandbox_pos", "pos");
    let source = &tills.sources[&Stream::Orders];
    let sell = || {
        rig.world
            .pos
            .sell(&[("0017".into(), 1)], rig.clock.now())
            .unwrap()
    };
    sell();
    rig.world.pos.set_offline(true, rig.clock.now());
    let late = sell();
    let (first, cursor) = pull_all(&**source, None).await;
    assert_eq!(first.len(), 1);
    rig.pass(600);
    rig.world.pos.set_offline(false, rig.clock.now());
    let (second, _) = pull_all(&**source, Some(cursor)).await;
    assert!(second.iter().any(|change| change.id.as_str() == late));
    let Record::Order(sale) = present(second.last().unwrap()) else {
        panic!("no order");
    };
    assert_eq!(sale.placed_at.to_string(), "2026-11-22T10:00:00Z");
    assert!(sale.is_closed());
}

/// Story 37: one unknown SKU in a batch fails alone.
#[tokio::test]
async fn a_refused_row_fails_alone() {
    let rig = Rig::new();
    let shop = rig.open("sandbox_store", "north");
    let sink = &shop.sinks[&Stream::Stock];
    let level = |sku: &str| {
        let sku = Sku::new(sku).unwrap();
        let level = StockLevel::on_hand(sku.clone(), crate::record::Quantity::pieces(4));
        delivery(
            Record::Stock(level),
            &format!("erp:{sku}"),
            Operation::Update,
        )
    };
    let batch = [level("0017"), level("nobody"), level("1E5")];
    let outcomes = sink.deliver(&batch, &StepLog::default()).await;
    assert!(matches!(outcomes[0], Outcome::Delivered(_)), "{outcomes:?}");
    assert!(matches!(outcomes[2], Outcome::Delivered(_)), "{outcomes:?}");
    let Outcome::Failed(fault) = &outcomes[1] else {
        panic!("{outcomes:?}");
    };
    assert_eq!((fault.class, fault.effect), (Class::Reject, Effect::None));
    assert_eq!(fault.code, "unknown_sku");
}

async fn read_order(rig: &Rig, shop: &str, id: &str) -> Record {
    let source = Arc::clone(&rig.open("sandbox_store", shop).sources[&Stream::Orders]);
    present(&source.fetch(&[RemoteId::from(id)]).await.unwrap()[0])
}

fn booked(world: &World) -> Vec<(String, i64)> {
    let entries = world.audit.entries();
    let found = entries.into_iter().filter_map(|entry| match entry.fact {
        Fact::Booked {
            reference, total, ..
        } => Some((reference, total)),
        _ => None,
    });
    found.collect()
}

/// Story 19 and 21, at every call of a write of eight: whatever happens to the reply of any one of
/// them, there is one order in an ERP that would have taken two.
#[tokio::test]
async fn an_order_is_booked_once_whatever_happens_to_a_reply() {
    let calls = [
        ("GET", "/parties"),
        ("POST", "/parties"),
        ("GET", "/orders"),
        ("POST", "/orders"),
        ("PUT", "/orders/"),
        ("POST", "/orders/"),
    ];
    for kind in FaultKind::ALL {
        for (method, path) in calls {
            let rig = Rig::new();
            let id = rig.buy("south").await;
            let erp = rig.open("sandbox_erp", "erp");
            let faults = &rig.world.station("erp").unwrap().faults;
            faults.force(kind, method, path, 1);
            let reference = format!("south:{id}");
            let record = read_order(&rig, "south", &id).await;
            let order = delivery(record, &reference, Operation::Create);
            let carried = carry(&*erp.sinks[&Stream::Orders], order).await;
            carried.unwrap_or_else(|fault| panic!("{kind:?} at {method} {path}: {fault}"));
            let total = rig.world.south.order(&id).unwrap().total();
            let found = booked(&rig.world);
            assert_eq!(found, [(reference, total)], "{kind:?} at {method} {path}");
            let orders = rig.world.erp.orders();
            assert_eq!(orders.len(), 1, "{kind:?} at {method} {path} left a draft");
            assert_eq!(orders[0].lines.len(), 2);
            let source_lines = orders[0].lines.iter().map(|line| line.source_line.clone());
            let expected = [Some(format!("{id}-1")), Some(format!("{id}-2"))];
            assert!(source_lines.eq(expected), "{kind:?} at {method} {path}");
        }
    }
}

#[tokio::test]
async fn warnings_are_acknowledged() {
    let rig = Rig::new();
    let erp = rig.open("sandbox_erp", "erp");
    // Every fourth id warns; eight orders meet some.
    for _ in 0..8 {
        let id = rig.buy("north").await;
        let record = read_order(&rig, "north", &id).await;
        let order = delivery(record, &format!("north:{id}"), Operation::Create);
        carry(&*erp.sinks[&Stream::Orders], order).await.unwrap();
    }
    let orders = rig.world.erp.orders();
    assert_eq!(orders.len(), 8);
    assert!(
        orders.iter().any(|order| !order.acknowledged.is_empty()),
        "no order warned"
    );
    assert!(orders.iter().all(|order| order.confirmed_at.is_some()));
}

#[tokio::test]
async fn a_sale_is_handed_over_when_it_is_booked_and_an_order_is_cancelled() {
    let rig = Rig::new();
    let erp = rig.open("sandbox_erp", "erp");
    let sink = &erp.sinks[&Stream::Orders];
    rig.world
        .pos
        .sell(&[("0017".into(), 2)], rig.clock.now())
        .unwrap();
    let tills = rig.open("sandbox_pos", "pos");
    let (sales, _) = pull_all(&*tills.sources[&Stream::Orders], None).await;
    let sale = delivery(present(&sales[0]), "pos:T1-000001", Operation::Create);
    carry(&**sink, sale).await.unwrap();
    assert_eq!(rig.world.erp.orders()[0].state, erp::ErpState::Done);

    let id = rig.buy("north").await;
    let record = read_order(&rig, "north", &id).await;
    let order = delivery(record.clone(), &format!("north:{id}"), Operation::Create);
    carry(&**sink, order).await.unwrap();
    let mut cancel = delivery(record, &format!("north:{id}"), Operation::Cancel);
    cancel.target = Some(rig.world.erp.orders()[1].id.to_string().into());
    carry(&**sink, cancel).await.unwrap();
    assert_eq!(rig.world.erp.orders()[1].state, erp::ErpState::Cancelled);
}

/// Story 60: what a lost life left as a draft is found by our reference and called off, and nothing is
/// found where nothing is.
#[tokio::test]
async fn an_order_left_as_a_draft_is_found_and_called_off() {
    let rig = Rig::new();
    let erp = rig.open("sandbox_erp", "erp");
    let sink = &erp.sinks[&Stream::Orders];
    let id = rig.buy("north").await;
    let record = read_order(&rig, "north", &id).await;
    let reference = format!("north:{id}");
    let mut cancel = delivery(record.clone(), &reference, Operation::Cancel);
    assert_eq!(sink.find(&cancel).await.unwrap(), None);
    let faults = &rig.world.station("erp").unwrap().faults;
    faults.force(FaultKind::Error500, "PUT", "/orders/", 1);
    let order = delivery(record, &reference, Operation::Create);
    let outcome = deliver(&**sink, &order, &StepLog::default()).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert_eq!(rig.world.erp.orders()[0].state, erp::ErpState::Draft);
    assert_eq!(sink.find(&order).await.unwrap(), None, "it is not done");
    let found = sink.find(&cancel).await.unwrap().unwrap();
    assert!(found.existed);
    cancel.target = found.remote_id;
    carry(&**sink, cancel).await.unwrap();
    assert_eq!(rig.world.erp.orders()[0].state, erp::ErpState::Cancelled);
}

/// Story 22: a shop without idempotency keys gets each parcel once, by its reference.
#[tokio::test]
async fn a_parcel_is_told_once_whatever_happens_to_a_reply() {
    for (shop, honours) in [("north", true), ("south", false)] {
        for kind in FaultKind::ALL {
            let rig = Rig::new();
            let id = rig.buy(shop).await;
            let record = json!({
                "id": "7", "order": id, "carrier": { "name": "DHL" },
                "parcels": [{ "tracking_number": "D1" }, { "tracking_number": "D2" }],
                "lines": [{ "order_line": format!("{id}-1"), "sku": "0017", "quantity": "1" }],
            });
            let record = Record::from_json(Stream::Shipments, record).unwrap();
            let parcel = delivery(record, "erp:7", Operation::Create);
            let store = rig.open("sandbox_store", shop);
            let faults = &rig.world.station(shop).unwrap().faults;
            faults.force(kind, "POST", "/orders", 1);
            let carried = carry(&*store.sinks[&Stream::Shipments], parcel).await;
            carried.unwrap_or_else(|fault| panic!("{kind:?} at {shop}: {fault}"));
            let order = rig.world.shop(shop).unwrap().order(&id).unwrap();
            assert_eq!(order.parcels.len(), 1, "{kind:?} at {shop} ({honours})");
            assert_eq!(order.parcels[0].tracking_numbers, ["D1", "D2"]);
        }
    }
}

#[tokio::test]
async fn shipments_stock_and_items_are_read() {
    let rig = Rig::new();
    let id = rig.buy("north").await;
    let erp = rig.open("sandbox_erp", "erp");
    let record = read_order(&rig, "north", &id).await;
    let order = delivery(record, &format!("north:{id}"), Operation::Create);
    carry(&*erp.sinks[&Stream::Orders], order).await.unwrap();
    let there = rig.world.erp.orders().remove(0);
    let carton = |line: usize, tracking: &str| erp::Carton {
        tracking: Some(tracking.to_owned()),
        lines: vec![(there.lines[line].id.clone(), there.lines[line].quantity)],
    };
    let cartons = vec![carton(0, "D1"), carton(1, "D2")];
    assert!(
        rig.world
            .erp
            .ship(there.id, ("DHL", "DHL"), cartons, rig.clock.now())
    );

    let (shipments, _) = pull_all(&*erp.sources[&Stream::Shipments], None).await;
    let Record::Shipment(shipment) = present(&shipments[0]) else {
        panic!("no shipment");
    };
    assert_eq!(shipment.order, there.id.to_string());
    assert_eq!(
        shipment.order_reference.value().unwrap(),
        &format!("north:{id}")
    );
    assert!(shipment.tracking_numbers().eq(["D1", "D2"]));
    assert_eq!(shipment.lines.len(), 2);

    let (stock, _) = pull_all(&*erp.sources[&Stream::Stock], None).await;
    let of = |sku: &str| {
        let found = stock
            .iter()
            .find(|change| change.id.as_str() == sku)
            .unwrap();
        match present(found) {
            Record::Stock(level) => level.on_hand.value().unwrap().to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (of("0017"), of("LAST-1")),
        ("37".to_owned(), "1".to_owned())
    );

    let (items, _) = pull_all(&*erp.sources[&Stream::Items], None).await;
    assert_eq!(items.len(), rig.world.options().articles);
    let (prices, _) = pull_all(&*erp.sources[&Stream::Prices], None).await;
    assert_eq!(prices.len(), items.len());
    assert!(
        prices
            .iter()
            .all(|change| matches!(present(change), Record::Price(_)))
    );
}

#[tokio::test]
async fn items_are_created_or_taken_over_by_their_sku() {
    let rig = Rig::new();
    let erp = rig.open("sandbox_erp", "erp");
    let shop = rig.open("sandbox_store", "north");
    let tills = rig.open("sandbox_pos", "pos");
    let before = rig.world.north.products().len();
    let (items, _) = pull_all(&*erp.sources[&Stream::Items], None).await;
    assert!(before < items.len());
    let faults = &rig.world.station("north").unwrap().faults;
    faults.force(FaultKind::AcceptThenDrop, "POST", "/products", 2);
    for change in &items {
        let reference = format!("erp:{}", change.id);
        let item = delivery(present(change), &reference, Operation::Create);
        carry(&*shop.sinks[&Stream::Items], item.clone())
            .await
            .unwrap();
        carry(&*tills.sinks[&Stream::Items], item).await.unwrap();
    }
    let products = rig.world.north.products();
    assert_eq!(products.len(), items.len());
    let article = catalog::articles(1, 42).remove(0);
    let product = products.iter().find(|one| one.sku == article.sku).unwrap();
    assert_eq!(
        (product.price, product.weight_g),
        (article.price, Some(article.weight_g))
    );

    rig.world.erp.set_price("0017", 777, rig.clock.now());
    let (prices, _) = pull_all(&*erp.sources[&Stream::Prices], None).await;
    let changed = prices
        .iter()
        .find(|change| change.id.as_str() == "0017")
        .unwrap();
    let price = delivery(present(changed), "erp:0017", Operation::Update);
    carry(&*shop.sinks[&Stream::Prices], price).await.unwrap();
    let products = rig.world.north.products();
    assert_eq!(
        products.iter().find(|one| one.sku == "0017").unwrap().price,
        777
    );
    let source = &shop.sources[&Stream::Items];
    let there = source
        .fetch(&["0017".into(), "nobody".into()])
        .await
        .unwrap();
    assert_eq!(there.len(), 2);
    assert!(
        there
            .iter()
            .any(|change| matches!(change.body, Body::Absent))
    );
    assert_eq!(
        json!(present(&there[0]).to_json())["price"]["amount"],
        Value::from("7.77")
    );
}
