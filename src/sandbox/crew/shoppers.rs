//! Shoppers: they buy what the webstores show, fight over the last piece, and change their minds.

use std::time::Duration;

use super::Pace;
use crate::clock::{Timestamp, later, since};
use crate::sandbox::World;
use crate::sandbox::basket::Basket;
use crate::sandbox::catalog::buyer;
use crate::sandbox::faults::rng_for;
use crate::sandbox::shop::{Product, Shop};

/// So few that everybody wants the last ones.
const SCARCE: i64 = 3;

/// All shoppers of both webstores.
#[derive(Debug)]
pub struct Shoppers {
    rng: fastrand::Rng,
    pace: Pace,
    /// Orders that should have been placed by now, less those that were.
    due: f64,
    last: Timestamp,
    /// Moment, shop and order of those who will change their minds.
    doubts: Vec<(Timestamp, &'static str, String)>,
}

impl Shoppers {
    /// Nobody has bought anything yet.
    pub fn new(seed: u64, pace: Pace, now: Timestamp) -> Self {
        Self {
            rng: rng_for(seed, "shoppers", 0),
            pace,
            due: 0.0,
            last: now,
            doubts: Vec::new(),
        }
    }

    /// Buys and calls off what is due.
    pub fn step(&mut self, now: Timestamp, world: &World) {
        self.due += since(self.last, now).as_secs_f64() * self.pace.orders_per_second;
        self.last = now;
        while self.due >= 1.0 {
            self.due -= 1.0;
            if self.rng.u8(0..100) < self.pace.duel_percent {
                self.duel(now, world);
            } else {
                let shop = if self.rng.bool() { "north" } else { "south" };
                self.buy(shop, None, now, world);
            }
        }
        self.finish(now, world);
    }

    /// Only calls off what is due.
    pub fn finish(&mut self, now: Timestamp, world: &World) {
        let (due, later): (Vec<_>, Vec<_>) =
            self.doubts.drain(..).partition(|(at, _, _)| *at <= now);
        self.doubts = later;
        for (_, shop, order) in due {
            if let Some(shop) = world.shop(shop) {
                shop.call_off(&order, world.time_at(shop.name()));
            }
        }
    }

    /// Two buyers, two shops, the same article, the same moment.
    fn duel(&mut self, now: Timestamp, world: &World) {
        let there = on_sale(&world.south);
        let both = on_sale(&world.north).into_iter().filter(|product| {
            there.iter().any(|other| other.sku == product.sku) && product.available() <= SCARCE
        });
        let both: Vec<Product> = both.collect();
        let Some(product) = self.rng.choice(&both) else {
            return;
        };
        let sku = product.sku.clone();
        self.buy("north", Some(&sku), now, world);
        self.buy("south", Some(&sku), now, world);
    }

    fn buy(&mut self, name: &'static str, wish: Option<&str>, now: Timestamp, world: &World) {
        let Some(shop) = world.shop(name) else {
            return;
        };
        let lines = match wish {
            Some(sku) => vec![(sku.to_owned(), 1)],
            None => self.choose(shop),
        };
        if lines.is_empty() {
            return;
        }
        let rng = &mut self.rng;
        let basket = Basket {
            buyer: buyer(rng),
            lines,
            coupon: (rng.u8(0..100) < 15).then(|| ("SPRING10".to_owned(), 10)),
            shipping: [0, 490, 495][rng.usize(0..3)],
            note: (rng.u8(0..100) < 10).then(|| "Bitte klingeln 🔔 – 2. Stock".to_owned()),
        };
        let Ok(order) = shop.place(&basket, world.time_at(name)) else {
            return;
        };
        if rng.u8(0..100) < self.pace.call_off_percent {
            let after = Duration::from_millis(rng.u64(300..2000));
            self.doubts.push((later(now, after), name, order));
        }
    }

    /// One to three lines of what the shop shows.
    fn choose(&mut self, shop: &Shop) -> Vec<(String, i64)> {
        let products = on_sale(shop);
        let wants_scarce = self.rng.u8(0..100) < self.pace.scarce_percent;
        let (scarce, plenty): (Vec<&Product>, Vec<&Product>) = products
            .iter()
            .partition(|product| product.available() <= SCARCE);
        let mut lines: Vec<(String, i64)> = Vec::new();
        if let Some(product) = self.rng.choice(&scarce).filter(|_| wants_scarce) {
            lines.push((product.sku.clone(), 1));
        }
        let more = self.rng.usize(1..=3) - lines.len();
        for _ in 0..more {
            let Some(product) = self.rng.choice(&plenty) else {
                break;
            };
            if lines.iter().all(|(sku, _)| *sku != product.sku) {
                let most = product.available().min(3);
                lines.push((product.sku.clone(), self.rng.i64(1..=most)));
            }
        }
        lines
    }
}

fn on_sale(shop: &Shop) -> Vec<Product> {
    let products = shop.products().into_iter();
    products
        .filter(|product| product.active && product.available() > 0)
        .collect()
}
