//! A marketplace among the channels.

use super::*;

impl Pen {
    /// The same beginning, with a marketplace.
    fn with_market() -> Self {
        let pen = Self::new();
        pen.offer("market", 5, 0);
        pen.pass(60_000);
        pen
    }

    fn pay(&self, order: &str) {
        let order = order.to_owned();
        self.log.record("market", Fact::Uploaded { order });
    }

    fn with_market_statement(&self) -> Statement {
        let terms = Terms {
            market: true,
            ..Terms::default()
        };
        of_log(&self.log.entries(), self.log.requests(), &terms)
    }

    fn differences(&self) -> Vec<(String, i64, i64)> {
        let found = self.with_market_statement().stock_differences.into_iter();
        found
            .map(|one| (one.shop, one.expected, one.offered))
            .collect()
    }
}

/// Its number falls by itself when somebody orders, and rises when it is called off.
#[test]
fn what_a_marketplace_offers_moves_with_its_orders() {
    let pen = Pen::with_market();
    pen.place("market", "1", 2);
    pen.offer("north", 3, 0);
    pen.offer("south", 3, 0);
    assert_eq!(pen.differences(), []);
    assert_eq!(pen.with_market_statement().stock_compared, 3);
    pen.call_off("market", "1");
    pen.offer("north", 5, 0);
    pen.offer("south", 5, 0);
    assert_eq!(pen.differences(), []);
    // Told of an order that was called off meanwhile: nobody noticed.
    pen.offer("market", 3, 0);
    assert_eq!(pen.differences(), [("market".to_owned(), 5, 3)]);
}

/// A parcel of two cartons is told in two requests; each of them counts, once.
#[test]
fn a_marketplace_is_told_of_cartons_one_by_one() {
    let told = |numbers: &[&str]| {
        let pen = Pen::with_market();
        pen.place("market", "1", 2);
        pen.book("e1", "market:1", 2);
        let fact = Fact::Shipped {
            shipment: "s1".to_owned(),
            id: "e1".to_owned(),
            reference: "market:1".to_owned(),
            tracking: vec!["D2".to_owned(), "D1".to_owned()],
            units: units(2),
        };
        pen.log.record("erp", fact);
        for number in numbers {
            pen.track("market", "1", number, 1);
        }
        pen.with_market_statement()
    };
    let both = told(&["D1", "D2"]);
    assert_eq!((both.parcels, both.tracking_returned), (2, 2));
    assert!(both.tracking_missing.is_empty() && both.tracking_doubled.is_empty());
    assert_eq!(told(&["D1"]).tracking_missing, ["market:1 D2"]);
    assert_eq!(told(&["D1", "D2", "D2"]).tracking_doubled, ["market:1 D2"]);
    assert_eq!(told(&["D1", "D2", "D3"]).tracking_invented, ["market:1 D3"]);
}

/// Others learn of its order when it is paid; it itself knows at once, unless its number was written
/// over since.
#[test]
fn an_oversell_at_a_marketplace_is_judged_by_payment_and_writes() {
    let sold_out = || {
        let pen = Pen::with_market();
        pen.place("market", "1", 5);
        pen
    };
    let judged = |pen: &Pen| {
        let statement = pen.with_market_statement();
        let pieces = |found: &[Oversold]| found.iter().map(|one| one.pieces).sum::<i64>();
        (
            pieces(&statement.oversold_avoidable),
            pieces(&statement.oversold_unavoidable),
        )
    };
    // Elsewhere: 4 s from the payment on.
    for (millis, expected) in [(3_900, (0, 1)), (4_100, (1, 0))] {
        let pen = sold_out();
        pen.pass(60_000);
        pen.pay("1");
        pen.pass(millis);
        pen.place("south", "2", 1);
        assert_eq!(judged(&pen), expected, "{millis} ms after the payment");
    }
    let unpaid = sold_out();
    unpaid.pass(600_000);
    unpaid.place("south", "2", 1);
    assert_eq!(judged(&unpaid), (0, 1));
    // Again there, with nothing written since.
    let pen = sold_out();
    pen.place("market", "2", 1);
    assert_eq!(judged(&pen), (1, 0));
    // Written over by somebody who could not know: 5 s, since a write is applied late.
    for (millis, expected) in [(4_900, (0, 1)), (5_100, (1, 0))] {
        let pen = sold_out();
        pen.pay("1");
        pen.pass(100);
        pen.offer("market", 5, 0);
        pen.pass(millis - 100);
        pen.place("market", "2", 1);
        assert_eq!(judged(&pen), expected, "{millis} ms after the payment");
    }
}
