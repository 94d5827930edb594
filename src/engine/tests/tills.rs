//! Tills that are not the owner of what they sell.

use super::stock::told;
use super::*;

/// What is sold at a till that is not the owner's has gone with the buyer: it lowers both stores at once, though the
/// sale says that it was handed over, and until the owner's number knows it.
#[test]
fn a_sale_at_the_till_lowers_the_stores_until_the_owner_knows() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(told(&mut bench, "A"), "5/5");
    let mut sale = order_json("1", &[("A", 2)]);
    sale["lines"][0]["qty_shipped"] = json!("2");
    sale["axes"] = json!({"fulfilment": "delivered"});
    let sale = change(Stream::Orders, "1", sale);
    bench.accept("till", Stream::Orders, vec![sale.clone()]);
    assert_eq!(told(&mut bench, "A"), "3/3");
    bench.accept("till", Stream::Orders, vec![sale]);
    bench.deliver("erp", Stream::Orders);
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    assert_eq!(told(&mut bench, "A"), "3/3", "the owner has not booked it");
    bench.tick(60);
    let booked = shipment("S1", "R-till:1", &[("A", 2)], bench.clock.now());
    bench.accept("erp", Stream::Shipments, vec![booked]);
    assert_eq!(told(&mut bench, "A"), "3/3");
    bench.tick(60);
    bench.accept("erp", Stream::Stock, vec![level("A", 3)]);
    assert_eq!(told(&mut bench, "A"), "3/3", "taken off once");
    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    assert_eq!(told(&mut bench, "A"), "4/4", "and forgotten");
}

/// What a till sold before the start is in the owner's number; what is called off is given back.
#[test]
fn an_old_sale_of_a_till_takes_nothing_and_a_cancelled_one_gives_back() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let mut old = order_json("1", &[("A", 2)]);
    old["placed_at"] = json!("2026-10-01T10:00:00Z");
    bench.accept(
        "till",
        Stream::Orders,
        vec![change(Stream::Orders, "1", old)],
    );
    assert_eq!(told(&mut bench, "A"), "5/5");
    bench.accept(
        "till",
        Stream::Orders,
        vec![young("2", &[("A", 2)], "none")],
    );
    assert_eq!(told(&mut bench, "A"), "3/3");
    bench.accept(
        "till",
        Stream::Orders,
        vec![young("2", &[("A", 2)], "cancelled")],
    );
    assert_eq!(told(&mut bench, "A"), "5/5");
}
