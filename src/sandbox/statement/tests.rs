//! The auditor finds what was planted.

mod market;

use std::sync::Arc;

use super::*;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::sandbox::audit::{AuditLog, Fact, Units, Why};

/// A log that is written by hand.
struct Pen {
    clock: ManualClock,
    log: Arc<AuditLog>,
}

fn units(pieces: i64) -> Vec<Units> {
    vec![Units::new("0017", pieces)]
}

impl Pen {
    /// Five pieces in the warehouse, and both webstores know it.
    fn new() -> Self {
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap());
        let log = AuditLog::new(Arc::new(clock.clone()));
        let pen = Self { clock, log };
        pen.supply("erp", 5, Why::Opening);
        pen.offer("north", 5, 0);
        pen.offer("south", 5, 0);
        pen.pass(60_000);
        pen
    }

    fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    fn supply(&self, system: &str, by: i64, why: Why) {
        let sku = "0017".to_owned();
        self.log.record(system, Fact::Supply { sku, by, why });
    }

    fn offer(&self, shop: &str, on_hand: i64, allocated: i64) {
        let sku = "0017".to_owned();
        self.log.record(
            shop,
            Fact::StockTold {
                sku,
                on_hand,
                allocated,
            },
        );
    }

    fn place(&self, shop: &str, order: &str, pieces: i64) {
        let order = order.to_owned();
        let (units, total) = (units(pieces), 100 * pieces);
        self.log.record(
            shop,
            Fact::Placed {
                order,
                units,
                total,
            },
        );
    }

    fn call_off(&self, shop: &str, order: &str) {
        let order = order.to_owned();
        self.log.record(shop, Fact::CalledOff { order });
    }

    fn book(&self, id: &str, reference: &str, pieces: i64) {
        let (id, reference) = (id.to_owned(), reference.to_owned());
        let (units, total) = (units(pieces), 100 * pieces);
        self.log.record(
            "erp",
            Fact::Booked {
                id,
                reference,
                units,
                total,
            },
        );
    }

    fn ship(&self, id: &str, reference: &str, tracking: &str, pieces: i64) {
        let fact = Fact::Shipped {
            shipment: format!("s{id}"),
            id: id.to_owned(),
            reference: reference.to_owned(),
            tracking: vec![tracking.to_owned()],
            units: units(pieces),
        };
        self.log.record("erp", fact);
    }

    fn track(&self, shop: &str, order: &str, tracking: &str, pieces: i64) {
        let fact = Fact::TrackingTold {
            order: order.to_owned(),
            reference: "erp:1".to_owned(),
            tracking: vec![tracking.to_owned()],
            units: units(pieces),
        };
        self.log.record(shop, fact);
    }

    fn statement(&self) -> Statement {
        of_log(&self.log.entries(), self.log.requests(), &Terms::default())
    }
}

#[test]
fn a_day_without_mistakes_holds() {
    let pen = Pen::new();
    pen.place("north", "1", 2);
    pen.book("e1", "north:1", 2);
    pen.offer("north", 5, 2);
    pen.offer("south", 3, 0);
    pen.ship("e1", "north:1", "D1", 2);
    pen.track("north", "1", "D1", 2);
    let statement = pen.statement();
    assert!(statement.holds(), "{}", statement.to_text());
    assert_eq!((statement.placed_in_all(), statement.in_erp), (1, 1));
    assert_eq!((statement.parcels, statement.tracking_returned), (1, 1));
    assert_eq!(statement.stock_compared, 2);
    let text = statement.to_text();
    assert!(text.contains("The statement holds."), "{text}");
    assert_eq!(statement.to_json()["in_erp"], 1);
}

/// What is planted, and whether the finding shows it.
type Case = (fn(&Pen), fn(&Statement) -> bool);

/// One planted mistake each; the finding names it and the statement does not hold.
#[test]
fn planted_mistakes_are_found() {
    let cases: [(&str, Case); 9] = [
        ("lost", (|_| {}, |s| s.lost == ["north:1"])),
        (
            "doubled",
            (
                |pen| {
                    pen.book("e1", "north:1", 1);
                    pen.book("e2", "north:1", 1);
                },
                |s| s.doubled.get("north:1") == Some(&2) && s.in_erp == 1,
            ),
        ),
        (
            "invented",
            (
                |pen| {
                    pen.book("e1", "north:1", 1);
                    pen.book("e2", "north:2", 1);
                },
                |s| s.invented == ["north:2"],
            ),
        ),
        (
            "differing",
            (
                |pen| pen.book("e1", "north:1", 2),
                |s| s.differing == ["north:1"],
            ),
        ),
        (
            "draft left",
            (
                |pen| {
                    pen.book("e1", "north:1", 1);
                    let (id, reference) = ("e2".to_owned(), "north:1".to_owned());
                    pen.log.record("erp", Fact::Drafted { id, reference });
                },
                |s| s.drafts_left == ["north:1"] && s.doubled.is_empty(),
            ),
        ),
        (
            "not called off",
            (
                |pen| {
                    pen.book("e1", "north:1", 1);
                    pen.call_off("north", "1");
                },
                |s| s.not_called_off == ["north:1"],
            ),
        ),
        (
            "tracking missing",
            (
                |pen| {
                    pen.book("e1", "north:1", 1);
                    pen.ship("e1", "north:1", "D1", 1);
                },
                |s| s.tracking_missing == ["north:1 D1"] && s.lost.is_empty(),
            ),
        ),
        (
            "tracking doubled",
            (
                |pen| {
                    pen.book("e1", "north:1", 1);
                    pen.ship("e1", "north:1", "D1", 1);
                    pen.track("north", "1", "D1", 1);
                    pen.track("north", "1", "D1", 0);
                },
                |s| s.tracking_doubled == ["north:1 D1"],
            ),
        ),
        (
            "stock",
            (
                |pen| pen.book("e1", "north:1", 1),
                |s| {
                    s.stock_differences
                        == [Difference {
                            shop: "south".into(),
                            sku: "0017".into(),
                            expected: 4,
                            offered: 5,
                        }]
                },
            ),
        ),
    ];
    for (name, (plant, shows)) in cases {
        let pen = Pen::new();
        pen.place("north", "1", 1);
        if name != "stock" {
            pen.offer("south", 4, 0);
        }
        plant(&pen);
        let statement = pen.statement();
        assert!(shows(&statement), "{name}: {statement:#?}");
        assert!(!statement.holds(), "{name}");
        assert!(statement.to_text().contains("It does NOT hold."), "{name}");
    }
}

#[test]
fn an_order_called_off_before_it_was_booked_is_not_lost() {
    let pen = Pen::new();
    pen.place("north", "1", 1);
    pen.call_off("north", "1");
    let statement = pen.statement();
    assert!(statement.holds(), "{}", statement.to_text());
    assert_eq!(statement.called_off_in_time, 1);
}

fn oversold(pen: &Pen) -> (i64, i64) {
    let statement = pen.statement();
    let pieces = |found: &[Oversold]| found.iter().map(|one| one.pieces).sum();
    (
        pieces(&statement.oversold_avoidable),
        pieces(&statement.oversold_unavoidable),
    )
}

/// Story 33, over two shops: who could have been told is what decides.
#[test]
fn an_oversell_is_judged_by_who_could_have_been_told() {
    // settle 1 s + orders 1 s + write 2 s
    for (apart, expected) in [(3_900, (0, 1)), (4_100, (1, 0))] {
        let pen = Pen::new();
        pen.place("north", "1", 5);
        pen.pass(apart);
        pen.place("south", "2", 1);
        assert_eq!(oversold(&pen), expected, "{apart} ms apart");
    }
    // The same shop knows at once.
    let pen = Pen::new();
    pen.place("north", "1", 5);
    pen.place("north", "2", 1);
    assert_eq!(oversold(&pen), (1, 0));
    // Called off before: it takes nothing.
    let pen = Pen::new();
    pen.place("north", "1", 5);
    pen.call_off("north", "1");
    pen.pass(10_000);
    pen.place("south", "2", 5);
    assert_eq!(oversold(&pen), (0, 0));
    // A part of it could have been avoided.
    let pen = Pen::new();
    pen.place("north", "1", 3);
    pen.pass(10_000);
    pen.place("north", "2", 1);
    pen.place("south", "3", 4);
    assert_eq!(oversold(&pen), (2, 1));
}

#[test]
fn a_till_that_was_offline_is_known_from_its_upload_on() {
    let pen = Pen::new();
    pen.place("pos", "T1", 5);
    pen.pass(20_000);
    let order = "T1".to_owned();
    pen.log.record("pos", Fact::Uploaded { order });
    pen.pass(3_000);
    pen.place("north", "1", 1);
    assert_eq!(oversold(&pen), (0, 1));
    pen.pass(3_000);
    pen.place("south", "2", 1);
    assert_eq!(oversold(&pen), (1, 1));
}

#[test]
fn the_supplier_is_known_from_its_next_file_on() {
    let pen = Pen::new();
    pen.supply("acme", -5, Why::Elsewhere);
    pen.pass(60_000);
    pen.place("north", "1", 1);
    assert_eq!(oversold(&pen), (0, 1));
    let (file, levels) = ("a.csv".to_owned(), Vec::new());
    pen.log.record("acme", Fact::Dropped { file, levels });
    pen.pass(4_000);
    pen.place("south", "2", 1);
    assert_eq!(oversold(&pen), (1, 1));
}

/// Moving goods between two shelves that both count neither gains nor loses any.
#[test]
fn goods_on_their_way_are_not_gone() {
    let pen = Pen::new();
    pen.supply("acme", 3, Why::Opening);
    pen.supply("acme", -3, Why::Moved);
    pen.pass(60_000);
    pen.place("north", "1", 8);
    assert_eq!(oversold(&pen), (0, 0));
}

#[test]
fn a_fault_at_the_channel_excuses_for_a_while() {
    let pen = Pen::new();
    pen.place("north", "1", 5);
    pen.pass(1_000);
    let fault = |system: &str| {
        let (method, path) = ("PUT".to_owned(), "/stock".to_owned());
        let kind = FaultKind::Error500;
        pen.log.record(system, Fact::Faulted { kind, method, path });
    };
    fault("erp"); // not concerned
    fault("south");
    pen.pass(4_500);
    pen.place("south", "2", 1);
    assert_eq!(oversold(&pen), (0, 1));
    pen.pass(1_000);
    pen.place("south", "3", 1);
    assert_eq!(oversold(&pen), (1, 1));
}

/// Sent although it was called off: those pieces are gone for everybody.
#[test]
fn goods_sent_in_vain_are_gone() {
    let pen = Pen::new();
    pen.place("north", "1", 5);
    pen.book("e1", "north:1", 5);
    pen.call_off("north", "1");
    pen.ship("e1", "north:1", "D1", 5);
    let statement = pen.statement();
    assert_eq!(statement.sent_although_called_off, ["north:1"]);
    assert_eq!(statement.tracking_missing, Vec::<String>::new());
    assert_eq!(statement.stock_differences.len(), 2);
    pen.offer("north", 0, 0);
    pen.offer("south", 0, 0);
    assert!(pen.statement().holds());
    assert_eq!(
        pen.clock.now(),
        "2026-11-22T10:01:00Z".parse::<Timestamp>().unwrap()
    );
}

#[test]
fn an_item_that_did_not_arrive_is_found_where_items_are_carried() {
    let pen = Pen::new();
    let price = |system: &str, price| {
        let sku = "0017".to_owned();
        pen.log.record(system, Fact::Priced { sku, price });
    };
    price("erp", 500);
    price("erp", 450);
    price("north", 500);
    assert!(pen.statement().holds());
    let terms = Terms {
        carry_items: true,
        ..Terms::default()
    };
    let statement = of_log(&pen.log.entries(), pen.log.requests(), &terms);
    let expected = ["0017: 500 at north, 450 in the ERP", "0017: not at south"];
    assert_eq!(statement.price_differences, expected);
    assert!(!statement.holds());
}
