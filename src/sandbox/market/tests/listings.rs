//! Listings: accepted at once, applied later, sometimes never.

use super::*;
use crate::sandbox::faults::FaultKind;

impl Rig {
    fn listing(sku: &str) -> String {
        format!("/listings/2021-08-01/items/A1PRACTICE/{sku}?marketplaceIds={STORE}")
    }

    fn patch(&self, sku: &str, path: &str, value: &Value) -> Reply {
        let body = json!({ "productType": "PRODUCT", "patches": [
            { "op": "replace", "path": format!("/attributes/{path}"), "value": value },
        ] });
        self.send("PATCH", &Self::listing(sku), &body)
    }

    fn patch_quantity(&self, sku: &str, quantity: i64) -> Reply {
        let value = json!([{ "fulfillment_channel_code": "DEFAULT", "quantity": quantity }]);
        self.patch(sku, "fulfillment_availability", &value)
    }
}

#[test]
fn a_patch_is_accepted_at_once_and_applied_later() {
    let rig = Rig::new();
    let reply = rig.patch_quantity("0017", 9);
    assert_eq!(
        (reply.status, &reply.value()["status"]),
        (200, &json!("ACCEPTED"))
    );
    assert_eq!(rig.market.quantity("0017"), Some(0));
    rig.pass(499);
    assert_eq!(rig.market.quantity("0017"), Some(0));
    rig.pass(1);
    assert_eq!(rig.market.quantity("0017"), Some(9));
    let price = json!([{ "marketplace_id": STORE, "currency": "EUR",
        "our_price": [{ "schedule": [{ "value_with_tax": 19.9 }] }] }]);
    assert_eq!(
        rig.patch("0017", "purchasable_offer", &price).value()["status"],
        "ACCEPTED"
    );
    rig.pass(500);
    let data = "&includedData=summaries,offers,fulfillmentAvailability,attributes";
    let shown = rig.get(&format!("{}{data}", Rig::listing("0017"))).value();
    assert_eq!(shown["fulfillmentAvailability"][0]["quantity"], 9);
    assert_eq!(shown["offers"][0]["price"]["amount"], "19.90");
    assert_eq!(
        shown["summaries"][0]["status"],
        json!(["BUYABLE", "DISCOVERABLE"])
    );
}

#[test]
fn what_is_wrong_with_a_patch_is_named() {
    let rig = Rig::new();
    let offer = |amount: Value, currency: &str| json!([{ "currency": currency, "our_price": [{ "schedule": [{ "value_with_tax": amount }] }] }]);
    let stock = |quantity: Value, channel: &str| json!([{ "fulfillment_channel_code": channel, "quantity": quantity }]);
    let cases = [
        ("fulfillment_availability", stock(json!(-1), "DEFAULT")),
        ("fulfillment_availability", stock(json!("7"), "DEFAULT")),
        ("fulfillment_availability", stock(json!(1.5), "DEFAULT")),
        ("fulfillment_availability", stock(json!(7), "AMAZON_EU")),
        ("fulfillment_availability", json!([])),
        ("purchasable_offer", offer(json!("19.99"), "EUR")),
        ("purchasable_offer", offer(json!(19.999), "EUR")),
        ("purchasable_offer", offer(json!(19.99), "USD")),
        ("colour", json!([{ "value": "red" }])),
    ];
    for (path, value) in cases {
        let reply = rig.patch("0017", path, &value).value();
        assert_eq!(reply["status"], "INVALID", "{path} {value}");
        assert_eq!(reply["issues"][0]["severity"], "ERROR");
        assert!(
            reply["issues"][0]["attributeNames"][0]
                .as_str()
                .unwrap()
                .starts_with(path)
        );
    }
    let body = json!({ "productType": "PRODUCT", "patches": [] });
    assert_eq!(rig.send("PATCH", &Rig::listing("0017"), &body).status, 400);
    let other = Rig::listing("0017").replace("A1PRACTICE", "A1OTHER");
    assert_eq!(rig.get(&other).status, 403);
    let nowhere = Rig::listing("0017").replace(STORE, "ATVPDKIKX0DER");
    assert_eq!(rig.get(&nowhere).status, 400);
}

#[test]
fn listings_are_searched_by_sku() {
    let rig = Rig::new();
    let search = |more: &str| {
        let data = "includedData=summaries,fulfillmentAvailability";
        let path = "/listings/2021-08-01/items/A1PRACTICE";
        rig.get(&format!("{path}?marketplaceIds={STORE}&{data}&{more}"))
    };
    let found = search("identifiersType=SKU&identifiers=0017,NOPE-1,1E5&pageSize=20").value();
    assert_eq!(found["numberOfResults"], 2);
    let skus = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["sku"]);
    assert!(skus.eq(["0017", "1E5"].iter()), "{found}");
    assert_eq!(
        found["items"][0]["fulfillmentAvailability"][0]["quantity"],
        0
    );
    for wrong in [
        "identifiers=0017",
        "identifiersType=ASIN&identifiers=B0",
        "identifiersType=SKU",
    ] {
        assert_eq!(search(wrong).status, 400, "{wrong}");
    }
}

/// A write to an unknown SKU is accepted, and nobody can buy what it makes.
#[test]
fn an_unknown_sku_is_accepted_and_never_for_sale() {
    let rig = Rig::new();
    let missing = rig.get(&Rig::listing("NOPE-1"));
    assert_eq!(missing.status, 404);
    assert_eq!(missing.value()["errors"][0]["code"], "NOT_FOUND");
    assert_eq!(
        rig.patch_quantity("NOPE-1", 5).value()["status"],
        "ACCEPTED"
    );
    rig.pass(500);
    let shown = rig.get(&Rig::listing("NOPE-1"));
    assert_eq!(shown.value()["summaries"][0]["status"], json!([]));
    let offers = rig.market.offers(rig.now());
    assert!(offers.iter().all(|offer| offer.sku != "NOPE-1"));
}

#[test]
fn an_accepted_patch_that_is_forgotten_changes_nothing() {
    let rig = Rig::new();
    let patch = Call::new("PATCH", &Rig::listing("0017"), "");
    assert!(rig.market.mishap(FaultKind::Unapplied, &patch));
    assert!(!rig.market.mishap(FaultKind::FeedStuck, &patch));
    let read = Call::new("GET", &Rig::listing("0017"), "");
    assert!(!rig.market.mishap(FaultKind::Unapplied, &read));
    assert_eq!(rig.patch_quantity("0017", 9).value()["status"], "ACCEPTED");
    rig.pass(60_000);
    assert_eq!(rig.market.quantity("0017"), Some(0));
    rig.patch_quantity("0017", 9);
    rig.pass(500);
    assert_eq!(rig.market.quantity("0017"), Some(9));
}

/// Whoever writes the number writes over what orders took meanwhile.
#[test]
fn a_write_takes_no_account_of_orders() {
    let rig = Rig::new();
    rig.buy(&[("0017", 3)]);
    assert_eq!(rig.market.quantity("0017"), Some(10));
    rig.patch_quantity("0017", 13);
    rig.pass(500);
    assert_eq!(rig.market.quantity("0017"), Some(13));
}
