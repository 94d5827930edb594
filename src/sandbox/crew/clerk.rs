//! The clerk: sends what the ERP confirmed, and calls goods from the supplier when the shelf is empty.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Timestamp, later};
use crate::sandbox::World;
use crate::sandbox::audit::Why;
use crate::sandbox::erp::{Carton, ErpOrder, ErpState};
use crate::sandbox::faults::rng_for;

const CARRIERS: [(&str, &str); 3] = [("DHL", "DHL"), ("GLS", "GLS"), ("INPOST", "InPost")];

/// Goods on their way from the supplier to the warehouse.
#[derive(Debug)]
struct Transit {
    sku: String,
    pieces: i64,
    /// They arrive when the supplier has dropped so many files: its list is honest before the
    /// warehouse's is, so the pieces are never counted twice by anybody.
    after_file: u64,
}

/// Line id and pieces.
type Part = (String, i64);

/// The clerk in the warehouse.
#[derive(Debug)]
pub struct Clerk {
    seed: u64,
    packing: Duration,
    /// Orders of which a part has left, and when the rest may.
    split: BTreeMap<u64, Timestamp>,
    transit: Vec<Transit>,
    numbers: u64,
}

impl Clerk {
    /// A clerk who needs one to two times `packing` for an order.
    pub fn new(seed: u64, packing: Duration) -> Self {
        Self {
            seed,
            packing,
            split: BTreeMap::new(),
            transit: Vec::new(),
            numbers: 0,
        }
    }

    /// Sends what is packed by now, first in, first out.
    pub fn step(&mut self, now: Timestamp, world: &World) {
        self.take_in(world);
        for order in to_send(world) {
            if self.ready_at(&order).is_none_or(|ready| ready > now) {
                continue;
            }
            if !self.send(&order, now, world) {
                self.call_in(&order, world);
            }
        }
    }

    /// Whether everything that can be sent has been sent and nothing is on its way in.
    pub fn is_idle(&self, world: &World) -> bool {
        let there = on_shelf(world);
        let waiting = to_send(world).into_iter().any(|order| {
            let mut lines = order
                .lines
                .iter()
                .filter(|line| line.quantity > line.shipped);
            lines.all(|line| {
                let open = line.quantity - line.shipped;
                there.get(&line.sku).is_some_and(|pieces| *pieces >= open)
            })
        });
        self.transit.is_empty() && !waiting
    }

    fn ready_at(&self, order: &ErpOrder) -> Option<Timestamp> {
        if let Some(rest_at) = self.split.get(&order.id) {
            return Some(*rest_at);
        }
        let share = rng_for(self.seed, "packing", order.id).f64();
        Some(later(
            order.confirmed_at?,
            self.packing.mul_f64(1.0 + share),
        ))
    }

    /// One carton, two cartons, or two shipments, as the order's number has it.
    fn send(&mut self, order: &ErpOrder, now: Timestamp, world: &World) -> bool {
        let open: Vec<Part> = order
            .lines
            .iter()
            .filter(|line| line.quantity > line.shipped)
            .map(|line| (line.id.clone(), line.quantity - line.shipped))
            .collect();
        let mut rng = rng_for(self.seed, "cartons", order.id);
        let carrier = CARRIERS[rng.usize(0..CARRIERS.len())];
        let pieces: i64 = open.iter().map(|(_, pieces)| pieces).sum();
        let style = rng.u8(0..10);
        let is_rest = self.split.contains_key(&order.id);
        let (first, second) = halves(&open);
        let cartons = if pieces < 2 || is_rest || style >= 4 {
            vec![self.carton(carrier, open)]
        } else if style >= 2 {
            vec![self.carton(carrier, first), self.carton(carrier, second)]
        } else {
            self.split.insert(order.id, later(now, self.packing));
            vec![self.carton(carrier, first)]
        };
        world
            .erp
            .ship(order.id, carrier, cartons, world.time_at("erp"))
    }

    fn carton(&mut self, carrier: (&str, &str), lines: Vec<Part>) -> Carton {
        self.numbers += 1;
        Carton {
            tracking: Some(format!("{}{:09}", carrier.0, self.numbers)),
            lines,
        }
    }

    /// Asks the supplier for what is on no shelf and on no way.
    fn call_in(&mut self, order: &ErpOrder, world: &World) {
        let there = on_shelf(world);
        for line in &order.lines {
            let wanted: i64 = to_send(world)
                .iter()
                .flat_map(|order| &order.lines)
                .filter(|other| other.sku == line.sku)
                .map(|other| other.quantity - other.shipped)
                .sum();
            let coming = self
                .transit
                .iter()
                .filter(|transit| transit.sku == line.sku);
            let coming: i64 = coming.map(|transit| transit.pieces).sum();
            let missing = wanted - coming - there.get(&line.sku).copied().unwrap_or(0);
            let levels = world.acme.levels();
            let level = levels.iter().find(|level| level.sku == line.sku);
            let pieces = missing.min(level.map_or(0, |level| level.quantity));
            if pieces > 0 && world.acme.change(&line.sku, -pieces, Why::Moved) {
                self.transit.push(Transit {
                    sku: line.sku.clone(),
                    pieces,
                    after_file: world.acme.files() + 2,
                });
            }
        }
    }

    fn take_in(&mut self, world: &World) {
        let files = world.acme.files();
        let (here, coming): (Vec<_>, Vec<_>) = self
            .transit
            .drain(..)
            .partition(|transit| transit.after_file <= files);
        self.transit = coming;
        for transit in here {
            let now = world.time_at("erp");
            world
                .erp
                .receive(&transit.sku, transit.pieces, Why::Moved, now);
        }
    }
}

fn to_send(world: &World) -> Vec<ErpOrder> {
    let orders = world.erp.orders().into_iter();
    orders
        .filter(|order| order.state == ErpState::Confirmed)
        .collect()
}

fn on_shelf(world: &World) -> BTreeMap<String, i64> {
    world
        .erp
        .items()
        .into_iter()
        .map(|item| (item.sku, item.on_hand))
        .collect()
}

/// Splits pieces of lines into two lots, neither empty when there are two pieces.
fn halves(lines: &[Part]) -> (Vec<Part>, Vec<Part>) {
    let total: i64 = lines.iter().map(|(_, pieces)| pieces).sum();
    let mut left = total / 2;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (line, pieces) in lines {
        let taken = left.min(*pieces);
        left -= taken;
        if taken > 0 {
            first.push((line.clone(), taken));
        }
        if *pieces > taken {
            second.push((line.clone(), pieces - taken));
        }
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lose_nothing() {
        let line = |id: &str, n| (id.to_owned(), n);
        let (first, second) = halves(&[line("1", 1), line("2", 3)]);
        assert_eq!(first, [line("1", 1), line("2", 1)]);
        assert_eq!(second, [line("2", 2)]);
    }
}
