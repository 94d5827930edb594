//! Orders: what a search finds when, and what a confirmation does.

use super::*;
use crate::sandbox::audit::Fact;

const SEARCH: &str = "/orders/2026-01-01/orders?lastUpdatedAfter=2026-11-22T09:00:00Z\
                      &includedData=BUYER,RECIPIENT,PROCEEDS,FULFILLMENT,PACKAGES,CANCELLATION";

impl Rig {
    fn search(&self, more: &str) -> Value {
        let reply = self.get(&format!("{SEARCH}{more}"));
        assert_eq!(reply.status, 200, "{:?}", reply.value());
        reply.value()
    }

    fn found(&self) -> Vec<Value> {
        self.search("")["orders"].as_array().unwrap().clone()
    }

    fn confirm(&self, id: &str, reference: &Value, items: &Value) -> Reply {
        let body = json!({ "marketplaceId": STORE, "packageDetail": {
            "packageReferenceId": reference,
            "carrierCode": "DHL",
            "trackingNumber": format!("T{reference}"),
            "shipDate": "2026-11-22T10:00:00Z",
            "orderItems": items,
        } });
        self.send(
            "POST",
            &format!("/orders/v0/orders/{id}/shipmentConfirmation"),
            &body,
        )
    }
}

/// Story 2: an order is found seconds after the moment that it carries; pending it has no address.
#[test]
fn an_order_is_found_late_and_pending_first() {
    let rig = Rig::with(|options| {
        options.visibility_lag = Duration::from_secs(10);
        options.pending = Duration::from_secs(60);
    });
    let id = rig.buy(&[("0017", 2), ("1E5", 1)]);
    assert_eq!(
        rig.market.quantity("0017"),
        Some(10),
        "a pending order holds it"
    );
    let shape: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(shape, [3, 7, 7]);
    assert!(rig.found().is_empty());
    rig.pass(10_000);
    let order = rig.found().remove(0);
    assert_eq!(order["lastUpdatedTime"], "2026-11-22T10:00:00Z");
    assert_eq!(order["fulfillment"]["fulfillmentStatus"], "PENDING");
    for absent in ["recipient", "buyer", "proceeds"] {
        assert!(order[absent].is_null(), "{absent}");
    }
    assert!(order["orderItems"][0]["product"]["price"].is_null());
    rig.pass(80_000);
    let order = rig.found().remove(0);
    assert_eq!(order["fulfillment"]["fulfillmentStatus"], "UNSHIPPED");
    assert!(order["lastUpdatedTime"].as_str().unwrap() > "2026-11-22T10:00:00Z");
    assert!(order["recipient"]["deliveryAddress"]["city"].is_string());
    let total = rig.market.order(&id).unwrap().total();
    let told = order["proceeds"]["grandTotal"]["amount"].as_str().unwrap();
    assert_eq!(told.replace('.', ""), total.to_string());
    let parts = order["proceeds"]["breakdowns"].as_array().unwrap();
    let cents = |part: &Value| {
        let amount = part["subtotal"]["amount"].as_str().unwrap();
        amount.replace('.', "").parse::<i64>().unwrap()
    };
    assert_eq!(parts.iter().map(cents).sum::<i64>(), total);
}

/// Story 5: a search is read page by page; its token is good for it alone, and not for ever.
#[test]
fn a_search_has_pages_and_tokens_that_expire() {
    let rig = Rig::with(|options| {
        options.visibility_lag = Duration::ZERO;
        options.page_token_life = Duration::from_secs(30);
    });
    let mut ids: Vec<String> = (0..5).map(|_| rig.buy(&[("0017", 1)])).collect();
    rig.pass(5000);
    let mut seen: Vec<String> = Vec::new();
    let mut page = rig.search("&maxResultsPerPage=2");
    let first = page["pagination"]["nextToken"].as_str().unwrap().to_owned();
    loop {
        let orders = page["orders"].as_array().unwrap();
        let found = orders
            .iter()
            .map(|order| order["orderId"].as_str().unwrap().to_owned());
        seen.extend(found);
        let Some(token) = page["pagination"]["nextToken"].as_str() else {
            break;
        };
        page = rig.search(&format!("&maxResultsPerPage=2&paginationToken={token}"));
    }
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
    let with = |more: &str| {
        rig.get(&format!("{SEARCH}&paginationToken={first}{more}"))
            .status
    };
    assert_eq!(with("&maxResultsPerPage=1"), 200);
    assert_eq!(with("&fulfilledBy=MERCHANT"), 400, "another search");
    rig.pass(31_000);
    assert_eq!(with(""), 400, "too old");
}

#[test]
fn a_search_that_makes_no_sense_is_refused() {
    let rig = Rig::new();
    let cases = [
        ("", 400),
        (
            "createdAfter=2026-11-22T09:00:00Z&lastUpdatedAfter=2026-11-22T09:00:00Z",
            400,
        ),
        ("lastUpdatedAfter=yesterday", 400),
        (
            "lastUpdatedAfter=2026-11-22T09:00:00Z&lastUpdatedBefore=2026-11-22T09:59:00Z",
            400,
        ),
        (
            "lastUpdatedAfter=2026-11-22T09:00:00Z&lastUpdatedBefore=2026-11-22T09:57:00Z",
            200,
        ),
        (
            "lastUpdatedAfter=2026-11-22T09:00:00Z&createdBefore=2026-11-22T09:30:00Z",
            400,
        ),
        (
            "createdAfter=2026-11-22T09:00:00Z&maxResultsPerPage=101",
            400,
        ),
        (
            "createdAfter=2026-11-22T09:00:00Z&includedData=SECRETS",
            400,
        ),
        (
            "createdAfter=2026-11-22T09:00:00Z&fulfillmentStatuses=UNSHIPPED,PENDING",
            200,
        ),
    ];
    for (query, status) in cases {
        let reply = rig.get(&format!("/orders/2026-01-01/orders?{query}"));
        assert_eq!(reply.status, status, "{query}");
        if status == 400 {
            assert_eq!(
                reply.value()["errors"][0]["code"],
                "InvalidInput",
                "{query}"
            );
        }
    }
    assert_eq!(rig.get("/orders/2026-01-01/orders/17").status, 400);
    assert_eq!(
        rig.get("/orders/2026-01-01/orders/902-0000001-0000000")
            .status,
        404
    );
}

#[test]
fn what_a_buyer_calls_off_is_for_sale_again_and_found_as_cancelled() {
    let rig = Rig::new();
    let id = rig.buy(&[("0017", 4)]);
    assert!(rig.market.call_off(&id, rig.now()));
    assert!(!rig.market.call_off(&id, rig.now()));
    assert_eq!(rig.market.quantity("0017"), Some(14));
    rig.pass(5000);
    let order = rig.found().remove(0);
    assert_eq!(order["fulfillment"]["fulfillmentStatus"], "CANCELLED");
    let cancellation = &order["orderItems"][0]["cancellation"];
    assert!(order["recipient"].is_null(), "it was never paid");
    assert_eq!(
        cancellation["cancellationExecution"]["cancelledBy"],
        "BUYER"
    );
    let item = rig.market.order(&id).unwrap().lines[0].id.clone();
    let refused = rig.confirm(
        &id,
        &json!("1"),
        &json!([{ "orderItemId": item, "quantity": 1 }]),
    );
    assert_eq!(refused.status, 400);
}

/// Story 22: the same package again changes nothing, another one for the same goods is refused.
#[test]
fn packages_are_told_in_parts_and_not_twice() {
    let rig = Rig::new();
    let id = rig.buy(&[("0017", 3), ("1E5", 1)]);
    let items: Vec<String> = rig
        .market
        .order(&id)
        .unwrap()
        .lines
        .into_iter()
        .map(|line| line.id)
        .collect();
    let some =
        |item: usize, pieces: i64| json!([{ "orderItemId": items[item], "quantity": pieces }]);
    let one = json!("1");
    assert_eq!(
        rig.confirm(&id, &one, &some(0, 2)).status,
        400,
        "still pending"
    );
    rig.pass(2000);
    let refused = |reference: Value, part: &Value, says: &str| {
        let reply = rig.confirm(&id, &reference, part);
        assert_eq!(reply.status, 400, "{reference}");
        let text = reply.value()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(text.contains(says), "{text}");
    };
    refused(json!(1), &some(0, 2), "[packageDetail.packageReferenceId]");
    refused(
        json!("P-1"),
        &some(0, 2),
        "must be a positive numeric value",
    );
    refused(json!("1"), &some(0, 4), "PackageToUpdateNotFound");
    refused(
        json!("1"),
        &json!([{ "orderItemId": "7", "quantity": 1 }]),
        "items",
    );
    assert_eq!(rig.confirm(&id, &one, &some(0, 2)).status, 204);
    assert_eq!(
        rig.confirm(&id, &one, &some(0, 2)).status,
        204,
        "a repetition"
    );
    assert_eq!(
        rig.market.order(&id).unwrap().status,
        MarketStatus::PartiallyShipped
    );
    assert_eq!(rig.confirm(&id, &json!("2"), &some(0, 1)).status, 204);
    assert_eq!(rig.confirm(&id, &json!("3"), &some(1, 1)).status, 204);
    refused(json!("4"), &some(1, 1), "PackageToUpdateNotFound");
    let order = rig.get(&format!(
        "/orders/2026-01-01/orders/{id}?includedData=PACKAGES,FULFILLMENT"
    ));
    let order = &order.value()["order"];
    assert_eq!(order["fulfillment"]["fulfillmentStatus"], "SHIPPED");
    let packages = order["packages"].as_array().unwrap();
    let tracking: Vec<&str> = packages
        .iter()
        .map(|one| one["trackingNumber"].as_str().unwrap())
        .collect();
    assert_eq!(tracking, ["T\"1\"", "T\"2\"", "T\"3\""]);
    let told = rig.audit.entries().into_iter();
    let told = told.filter(|entry| matches!(entry.fact, Fact::TrackingTold { .. }));
    assert_eq!(told.count(), 3, "a repetition is not told again");
    assert_eq!(
        rig.market.quantity("0017"),
        Some(10),
        "a parcel does not touch the number"
    );
}
