//! The practice marketplace through the manifest `amazon`.

use super::*;
use crate::sandbox::market::MarketStatus;
use crate::sandbox::outlet::Outlet as _;

/// What the connection needs.
pub(super) fn settings(world: &World) -> String {
    let url = Inside::url("market");
    let options = world.market.options();
    format!(
        "url = \"{url}\"\ntoken_url = \"{url}/auth/o2/token\"\nclient_id = \"crossdock\"\n\
         client_secret = \"practice\"\nrefresh_token = \"practice\"\nseller_id = \"{}\"\n\
         marketplace = \"{}\"",
        options.seller_id, options.marketplace_id
    )
}

impl Rig {
    fn market(&self) -> Connection {
        self.open("amazon", "market")
    }

    fn elapse(&self, secs: u64) {
        self.pass(secs);
        self.world.market.advance(self.world.time_at("market"));
    }

    fn level(sku: &str, on_hand: i64) -> Delivery {
        let sku = Sku::new(sku).unwrap();
        let level = StockLevel::on_hand(sku.clone(), crate::record::Quantity::pieces(on_hand));
        delivery(
            Record::Stock(level),
            &format!("erp:{sku}"),
            Operation::Update,
        )
    }

    /// The marketplace takes a number in; whether it shows is asked later.
    async fn tell(sink: &dyn Sink, sku: &str, on_hand: i64) -> Result<(), Fault> {
        let level = Self::level(sku, on_hand);
        match deliver(sink, &level, &StepLog::default()).await {
            Outcome::Submitted { .. } => Ok(()),
            Outcome::Failed(fault) => Err(fault),
            Outcome::Delivered(_) => panic!("nobody knows yet"),
        }
    }

    /// Somebody orders three of one and one of another; not paid yet.
    async fn order(&self) -> String {
        let market = self.market();
        for sku in ["0017", "1E5"] {
            Self::tell(&*market.sinks[&Stream::Stock], sku, 20)
                .await
                .unwrap();
        }
        self.elapse(1);
        let basket = Basket {
            buyer: catalog::buyer(&mut fastrand::Rng::with_seed(3)),
            lines: vec![("0017".into(), 3), ("1E5".into(), 1)],
            coupon: None,
            shipping: 495,
            note: None,
        };
        let placed = self
            .world
            .market
            .place(&basket, self.world.time_at("market"));
        placed.unwrap()
    }
}

/// An order that is not paid is not told; then it is, to the cent, and booked so.
#[tokio::test]
async fn an_order_of_the_marketplace_is_booked_to_the_cent_once_it_is_paid() {
    let rig = Rig::new();
    let id = rig.order().await;
    let market = rig.market();
    let source = &market.sources[&Stream::Orders];
    let by_id = [RemoteId::from(id.as_str())];
    let pending = source.fetch(&by_id).await.unwrap();
    assert!(
        pending
            .iter()
            .all(|change| !matches!(change.body, Body::Present(_)))
    );
    rig.elapse(10);
    let faults = &rig.world.station("market").unwrap().faults;
    faults.force(FaultKind::TokenExpiry, "GET", "/orders", 1);
    let (changes, _) = pull_all(&**source, None).await;
    assert_eq!(changes.len(), 1);
    let record = present(&changes[0]);
    let erp = rig.open("sandbox_erp", "erp");
    let reference = format!("market:{id}");
    let booking = delivery(record, &reference, Operation::Create);
    carry(&*erp.sinks[&Stream::Orders], booking).await.unwrap();
    let total = rig.world.market.order(&id).unwrap().total();
    assert_eq!(booked(&rig.world), [(reference, total)]);
    assert_eq!(faults.counts()[&FaultKind::TokenExpiry], 1);
}

/// Story 22: each carton is told once, whatever happens to a reply, also after the order is complete, and
/// also when it happens to the second carton, while the first is known on both sides.
#[tokio::test]
async fn cartons_are_told_once_whatever_happens_to_a_reply() {
    let kinds = FaultKind::ALL.into_iter().take(FaultKind::COMMON);
    for (kind, after) in kinds.flat_map(|kind| [(kind, 0), (kind, 1)]) {
        let rig = Rig::new();
        let id = rig.order().await;
        rig.elapse(10);
        let lines = rig.world.market.order(&id).unwrap().lines;
        let content = |line: usize, pieces: &str| json!({ "order_line": lines[line].id, "sku": lines[line].sku, "quantity": pieces });
        let record = json!({
            "id": "7", "order": id, "carrier": { "code": "DHL", "name": "DHL" },
            "shipped_at": "2026-11-22T10:00:30Z",
            "parcels": [
                { "tracking_number": "D1", "contents": [content(0, "2")] },
                { "tracking_number": "D2", "contents": [content(0, "1"), content(1, "1")] },
            ],
            "lines": [content(0, "3"), content(1, "1")],
        });
        let record = Record::from_json(Stream::Shipments, record).unwrap();
        let market = rig.market();
        let faults = &rig.world.station("market").unwrap().faults;
        faults.force_after(after, kind, "POST", "/orders/v0");
        let parcel = delivery(record, "erp:7", Operation::Create);
        let carried = carry(&*market.sinks[&Stream::Shipments], parcel).await;
        carried.unwrap_or_else(|fault| panic!("{kind:?} after {after}: {fault}"));
        let order = rig.world.market.order(&id).unwrap();
        assert_eq!(order.status, MarketStatus::Shipped, "{kind:?}");
        let told: Vec<&str> = order
            .packages
            .iter()
            .map(|one| one.tracking.as_str())
            .collect();
        assert_eq!(told, ["D1", "D2"], "{kind:?}");
        let entries = rig.world.audit.entries();
        let told = entries
            .iter()
            .filter(|entry| matches!(entry.fact, Fact::TrackingTold { .. }));
        assert_eq!(told.count(), 2, "{kind:?}");
    }
}

/// The marketplace accepts a number for a SKU that it does not have; the connector does not.
#[tokio::test]
async fn a_number_is_applied_a_while_after_it_was_accepted() {
    let rig = Rig::new();
    let market = rig.market();
    let sink = &market.sinks[&Stream::Stock];
    Rig::tell(&**sink, "0017", 7).await.unwrap();
    assert_eq!(rig.world.market.quantity("0017"), Some(0));
    rig.elapse(1);
    assert_eq!(rig.world.market.quantity("0017"), Some(7));
    let refused = Rig::tell(&**sink, "NOPE-1", 7).await.unwrap_err();
    assert_eq!(refused.code, "unknown_sku");
    rig.elapse(1);
    assert_eq!(rig.world.market.quantity("NOPE-1"), None);
}
