//! Shoppers: they buy what webstores and marketplace show, fight over the last piece, and change their minds.

use std::time::Duration;

use super::Pace;
use crate::clock::{Timestamp, later, since};
use crate::sandbox::World;
use crate::sandbox::basket::Basket;
use crate::sandbox::catalog::buyer;
use crate::sandbox::faults::rng_for;
use crate::sandbox::outlet::{Offer, Outlet};

/// So few that everybody wants the last ones.
const SCARCE: i64 = 3;

/// All shoppers of all channels but the till.
#[derive(Debug)]
pub struct Shoppers {
    rng: fastrand::Rng,
    pace: Pace,
    /// Orders that should have been placed by now, less those that were.
    due: f64,
    last: Timestamp,
    /// Moment, channel and order of those who will change their minds.
    doubts: Vec<(Timestamp, String, String)>,
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
                let outlets = world.outlets();
                if let Some(outlet) = self.rng.choice(&outlets) {
                    self.buy(*outlet, None, now, world);
                }
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
            let outlets = world.outlets().into_iter();
            for outlet in outlets.filter(|outlet| outlet.name() == shop) {
                outlet.call_off(&order, world.time_at(&shop));
            }
        }
    }

    /// Two buyers, two channels, the same article, the same moment.
    fn duel(&mut self, now: Timestamp, world: &World) {
        let outlets = world.outlets();
        let first = self.rng.usize(..outlets.len());
        let second = (first + self.rng.usize(1..outlets.len())) % outlets.len();
        let (first, second) = (first.min(second), first.max(second));
        let (Some(one), Some(other)) = (outlets.get(first), outlets.get(second)) else {
            return;
        };
        let there = offers(*other, world);
        let both = offers(*one, world).into_iter().filter(|offer| {
            there.iter().any(|other| other.sku == offer.sku) && offer.available <= SCARCE
        });
        let both: Vec<Offer> = both.collect();
        let Some(offer) = self.rng.choice(&both) else {
            return;
        };
        self.buy(*one, Some(&offer.sku), now, world);
        self.buy(*other, Some(&offer.sku), now, world);
    }

    fn buy(&mut self, outlet: &dyn Outlet, wish: Option<&str>, now: Timestamp, world: &World) {
        let lines = match wish {
            Some(sku) => vec![(sku.to_owned(), 1)],
            None => self.choose(&offers(outlet, world)),
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
        let name = outlet.name().to_owned();
        let Ok(order) = outlet.place(&basket, world.time_at(&name)) else {
            return;
        };
        if rng.u8(0..100) < self.pace.call_off_percent {
            let after = Duration::from_millis(rng.u64(300..2000));
            self.doubts.push((later(now, after), name, order));
        }
    }

    /// One to three lines of what the shop shows.
    fn choose(&mut self, offers: &[Offer]) -> Vec<(String, i64)> {
        let wants_scarce = self.rng.u8(0..100) < self.pace.scarce_percent;
        let (scarce, plenty): (Vec<&Offer>, Vec<&Offer>) =
            offers.iter().partition(|offer| offer.available <= SCARCE);
        let mut lines: Vec<(String, i64)> = Vec::new();
        if let Some(offer) = self.rng.choice(&scarce).filter(|_| wants_scarce) {
            lines.push((offer.sku.clone(), 1));
        }
        let more = self.rng.usize(1..=3) - lines.len();
        for _ in 0..more {
            let Some(offer) = self.rng.choice(&plenty) else {
                break;
            };
            if lines.iter().all(|(sku, _)| *sku != offer.sku) {
                let most = offer.available.min(3);
                lines.push((offer.sku.clone(), self.rng.i64(1..=most)));
            }
        }
        lines
    }
}

fn offers(outlet: &dyn Outlet, world: &World) -> Vec<Offer> {
    outlet.offers(world.time_at(outlet.name()))
}
