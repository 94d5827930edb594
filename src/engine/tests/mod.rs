//! The engine against a store that can crash, with scripted sources and sinks.

mod accepted;
mod account;
mod alerts;
mod care;
mod carried;
mod catalogue;
mod changes;
mod desk;
mod edges;
mod events;
mod hints;
mod items;
mod kept;
mod late;
mod listed;
mod moved;
mod offered;
mod parked;
mod pool;
mod priced;
mod prices;
mod proofs;
mod rename;
mod restored;
mod rules_change;
mod service;
mod stock;
mod submitted;
mod tills;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::connector::{Change, Confirmation, StockBasis};
use crate::inventory::PublishRule;
use crate::record::Record;
use crate::router::{Mode, Route, Router};
use crate::store::memory::MemoryDisk;

pub(super) const START: &str = "2026-11-22T10:00:00Z";

/// Two webstores, an ERP that ships, and a supplier.
pub(super) struct Bench {
    pub engine: Engine,
    pub disk: MemoryDisk,
    pub clock: ManualClock,
}

pub(super) fn rules(mode: Mode) -> Rules {
    let route = |name: &str, from: (&str, Stream), to: (&str, Stream)| Route {
        name: name.into(),
        from: (from.0.into(), from.1),
        to: (to.0.into(), to.1),
        mode,
        start_from: Some("2026-11-01T00:00:00Z".parse().unwrap()),
    };
    let member = |name: &str| PoolMember {
        connection: name.into(),
        locations: BTreeSet::new(),
        freshness: Duration::from_secs(3600),
    };
    let pool = Pool {
        members: vec![member("erp"), member("acme")],
        fulfilled_by: Some("erp".into()),
        tills: BTreeSet::from(["till".into()]),
    };
    let publish = |name: &str| Publish {
        name: format!("publish_{name}").as_str().into(),
        pool: "main".into(),
        to: name.into(),
        mode,
        rule: PublishRule::default(),
        items: BTreeMap::new(),
    };
    let apart = Facts {
        stock_basis: StockBasis::AllocatedApart,
        ..Facts::default()
    };
    Rules {
        router: Router::new([
            route(
                "north_orders",
                ("north", Stream::Orders),
                ("erp", Stream::Orders),
            ),
            route(
                "south_orders",
                ("south", Stream::Orders),
                ("erp", Stream::Orders),
            ),
            route(
                "till_orders",
                ("till", Stream::Orders),
                ("erp", Stream::Orders),
            ),
            route(
                "to_north",
                ("erp", Stream::Shipments),
                ("north", Stream::Shipments),
            ),
            route(
                "to_south",
                ("erp", Stream::Shipments),
                ("south", Stream::Shipments),
            ),
        ]),
        pools: BTreeMap::from([("main".to_owned(), pool)]),
        publishes: vec![publish("north"), publish("south")],
        facts: BTreeMap::from([("north".into(), apart), ("south".into(), apart)]),
        ..Rules::default()
    }
}

/// The same, with the ERP's items and prices carried to both webstores.
pub(super) fn catalogue(mode: Mode) -> Rules {
    let mut rules = rules(mode);
    let carried = ["north", "south"].iter().flat_map(|shop| {
        [Stream::Items, Stream::Prices].map(|stream| Route {
            name: format!("{shop}_{stream}").into(),
            from: ("erp".into(), stream),
            to: ((*shop).into(), stream),
            mode,
            start_from: None,
        })
    });
    let routes: Vec<Route> = rules.router.all().cloned().chain(carried).collect();
    rules.router = Router::new(routes);
    rules.owners = BTreeMap::from([(Stream::Items, "erp".into())]);
    rules
}

impl Bench {
    pub fn new() -> Self {
        Self::with(rules(Mode::Apply))
    }

    pub fn with(rules: Rules) -> Self {
        let mut bench = Self::with_unread(rules);
        // Nobody is told a number before all sales are known.
        for channel in ["north", "south", "till"] {
            bench.accept(channel, Stream::Orders, vec![]);
        }
        bench
    }

    /// Of which nothing was read so far.
    pub fn with_unread(rules: Rules) -> Self {
        let clock = ManualClock::at(START.parse().unwrap());
        let disk = MemoryDisk::new();
        let store = Box::new(disk.open().unwrap());
        let engine = Engine::open(store, Arc::new(rules), Arc::new(clock.clone()), 1).unwrap();
        Self {
            engine,
            disk,
            clock,
        }
    }

    /// The machine loses power and comes back.
    pub fn crash(self) -> Self {
        self.crash_with(rules(Mode::Apply))
    }

    pub fn crash_with(self, rules: Rules) -> Self {
        let Self {
            engine,
            disk,
            clock,
        } = self;
        disk.crash();
        drop(engine);
        let store = Box::new(disk.reopen().unwrap());
        let engine = Engine::open(store, Arc::new(rules), Arc::new(clock.clone()), 2).unwrap();
        Self {
            engine,
            disk,
            clock,
        }
    }

    pub fn accept(&mut self, connection: &str, stream: Stream, changes: Vec<Change>) -> Accepted {
        self.accept_at(connection, stream, changes, self.clock.now(), false)
    }

    pub fn accept_at(
        &mut self,
        connection: &str,
        stream: Stream,
        changes: Vec<Change>,
        read_at: Timestamp,
        more: bool,
    ) -> Accepted {
        let mut read = page((connection, stream), changes, read_at, more);
        if let Some(reached) = &mut read.reached {
            reached.cursor = Cursor::watermark(self.clock.now());
        }
        self.engine.accept(read).unwrap()
    }

    /// A whole reading, now, of a source that takes so many seconds until it shows what changed.
    pub fn accept_lagging(
        &mut self,
        connection: &str,
        stream: Stream,
        changes: Vec<Change>,
        secs: u64,
    ) -> Accepted {
        let mut read = page((connection, stream), changes, self.clock.now(), false);
        if let Some(reached) = &mut read.reached {
            reached.settle_lag = Duration::from_secs(secs);
        }
        self.engine.accept(read).unwrap()
    }

    /// The ids of what is to be fetched now.
    pub fn wanted(&mut self, connection: &str, stream: Stream) -> Vec<String> {
        let wanted = self.engine.hints(connection.into(), stream, 9).unwrap();
        wanted.iter().map(|wanted| wanted.id.to_string()).collect()
    }

    pub fn claim(&mut self, sink: &str, stream: Stream) -> Vec<Claimed> {
        self.engine.claim(sink.into(), stream, 100).unwrap()
    }

    pub fn settle(&mut self, sink: &str, stream: Stream, results: Vec<(Claimed, Outcome)>) {
        self.engine.settle(sink.into(), stream, results).unwrap();
    }

    /// Claims everything due for a sink and says that it is there.
    pub fn deliver(&mut self, sink: &str, stream: Stream) -> Vec<Claimed> {
        let claimed = self.claim(sink, stream);
        let results = claimed.iter().map(|c| (c.clone(), there(c))).collect();
        self.settle(sink, stream, results);
        claimed
    }

    pub fn tick(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn counts(&mut self, route: &str) -> Counts {
        self.engine
            .status()
            .unwrap()
            .routes
            .get(route)
            .map(|r| r.counts.clone())
            .unwrap_or_default()
    }
}

/// It is there, under an id made from its reference.
pub(super) fn there(claimed: &Claimed) -> Outcome {
    let remote_id = Some(format!("R-{}", claimed.delivery.reference).as_str().into());
    Outcome::Delivered(Confirmation {
        remote_id,
        ..Confirmation::default()
    })
}

pub(super) fn order_json(id: &str, lines: &[(&str, i64)]) -> Value {
    let money = json!({"amount": "10", "currency": "EUR"});
    let none = json!({"amount": "0", "currency": "EUR"});
    let total = json!({"amount": (10 * lines.len()).to_string(), "currency": "EUR"});
    let lines: Vec<Value> = lines
        .iter()
        .enumerate()
        .map(|(n, (sku, quantity))| {
            json!({"line_id": format!("{id}-{n}"), "sku": sku, "quantity": quantity.to_string(),
                "unit_price": money, "prices_include_tax": true, "line_net": money,
                "line_gross": money})
        })
        .collect();
    json!({"id": id, "number": format!("N{id}"), "placed_at": START, "currency": "EUR",
        "customer": {"name": "Zoë"}, "ship_to": {"country": "DE"}, "lines": lines,
        "totals": {"lines_net": total, "charges_net": none, "taxes": none, "grand_total": total}})
}

pub(super) fn order(id: &str, lines: &[(&str, i64)]) -> Change {
    change(Stream::Orders, id, order_json(id, lines))
}

pub(super) fn cancelled(id: &str, lines: &[(&str, i64)]) -> Change {
    let mut json = order_json(id, lines);
    json["axes"] = json!({"cancellation": "cancelled"});
    change(Stream::Orders, id, json)
}

/// A page whose cursor is the moment when it was read.
fn page(
    (connection, stream): (&str, Stream),
    changes: Vec<Change>,
    read_at: Timestamp,
    more: bool,
) -> Unit {
    Unit {
        connection: connection.into(),
        stream,
        changes,
        read_at,
        read_until: read_at,
        as_of: None,
        reached: Some(Reached {
            cursor: Cursor::watermark(read_at),
            more,
            settle_lag: Duration::ZERO,
        }),
    }
}

/// An order placed an hour after the bench began: no earlier life can have known it.
pub(super) fn young(id: &str, lines: &[(&str, i64)], cancellation: &str) -> Change {
    let mut json = order_json(id, lines);
    json["placed_at"] = json!("2026-11-22T11:00:00Z");
    json["axes"] = json!({ "cancellation": cancellation });
    change(Stream::Orders, id, json)
}

pub(super) fn shipment(id: &str, order: &str, lines: &[(&str, i64)], at: Timestamp) -> Change {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(sku, n)| json!({"sku": sku, "quantity": n.to_string()}))
        .collect();
    let json = json!({"id": id, "order": order, "shipped_at": at.to_string(), "lines": lines,
        "parcels": [{"tracking_number": format!("T{id}")}]});
    change(Stream::Shipments, id, json)
}

pub(super) fn level(sku: &str, on_hand: i64) -> Change {
    change(
        Stream::Stock,
        sku,
        json!({"sku": sku, "on_hand": on_hand.to_string()}),
    )
}

/// An item under the id of its SKU.
pub(super) fn item(sku: &str, name: &str, status: &str) -> Change {
    let json = json!({"sku": sku, "name": name, "group_id": "g", "status": status,
        "price": {"amount": "10", "currency": "EUR"}});
    change(Stream::Items, sku, json)
}

pub(super) fn price(sku: &str, amount: &str) -> Change {
    let json = json!({"sku": sku, "price": {"amount": amount, "currency": "EUR"}});
    change(Stream::Prices, sku, json)
}

/// It is there, in a group.
pub(super) fn there_in_group(claimed: &Claimed, group: &str) -> Outcome {
    let remote_id = Some(format!("R-{}", claimed.delivery.reference).as_str().into());
    Outcome::Delivered(Confirmation {
        remote_id,
        group: Some(group.into()),
        ..Confirmation::default()
    })
}

pub(super) fn change(stream: Stream, id: &str, json: Value) -> Change {
    Change::present(id, Record::from_json(stream, json).unwrap())
}
