//! The till, and the goods that come and go for other reasons than our sales.

use super::{Pace, Timer};
use crate::clock::{Timestamp, later};
use crate::sandbox::World;
use crate::sandbox::audit::Why;
use crate::sandbox::faults::rng_for;

/// Who stands at the till sells only what lies there in plenty: an article of which a buyer on the web
/// may have taken the last one is fetched from the warehouse on request, not from the shelf.
const PLENTY: i64 = 15;

/// The person at the till.
#[derive(Debug)]
pub struct Till {
    rng: fastrand::Rng,
    sale: Timer,
    outage: Timer,
    pace: Pace,
    back_at: Option<Timestamp>,
}

impl Till {
    /// Nothing sold yet.
    pub fn new(seed: u64, pace: Pace, now: Timestamp) -> Self {
        Self {
            rng: rng_for(seed, "till", 0),
            sale: Timer::new(now, pace.till_every),
            outage: Timer::new(now, pace.till_offline_every),
            pace,
            back_at: None,
        }
    }

    /// Sells what is due; loses and regains its line.
    pub fn step(&mut self, now: Timestamp, world: &World) {
        if self.outage.is_due(now) {
            world.pos.set_offline(true, world.time_at("pos"));
            self.back_at = Some(later(now, self.pace.till_offline_every / 3));
        }
        if self.back_at.is_some_and(|back_at| back_at <= now) {
            self.finish(world);
        }
        if !self.sale.is_due(now) {
            return;
        }
        let items = world.erp.items().into_iter();
        let plenty: Vec<_> = items.filter(|item| item.on_hand >= PLENTY).collect();
        let Some(item) = self.rng.choice(&plenty) else {
            return;
        };
        let basket = [(item.sku.clone(), self.rng.i64(1..=2))];
        world.pos.sell(&basket, world.time_at("pos"));
    }

    /// The line is there again, for good.
    pub fn finish(&mut self, world: &World) {
        if world.pos.is_offline() {
            world.pos.set_offline(false, world.time_at("pos"));
        }
        self.back_at = None;
    }
}

/// The supplier's files, and whoever unpacks, counts and prices goods.
#[derive(Debug)]
pub struct Dispatcher {
    rng: fastrand::Rng,
    file: Timer,
    trade: Timer,
}

impl Dispatcher {
    /// The first file is due at once.
    pub fn new(seed: u64, pace: Pace, now: Timestamp) -> Self {
        let mut file = Timer::new(now, pace.file_every);
        file.next = now;
        Self {
            rng: rng_for(seed, "trade", 0),
            file,
            trade: Timer::new(now, pace.trade_every),
        }
    }

    /// Drops a file and moves goods when that is due; after closing time only the files.
    pub fn step(&mut self, now: Timestamp, world: &World, open: bool) {
        if self.file.is_due(now) {
            // A full disk shows up as a file that never comes; the next try is due soon.
            let _ = world.acme.drop_file();
            let _ = world.acme.read_answers();
        }
        if open && self.trade.is_due(now) {
            self.trade(world);
        }
    }

    fn trade(&mut self, world: &World) {
        let now = world.time_at("erp");
        let items = world.erp.items();
        let Some(item) = self.rng.choice(&items) else {
            return;
        };
        match self.rng.u8(0..10) {
            0..3 => world
                .erp
                .set_price(&item.sku, item.price + self.rng.i64(-50..=50), now),
            3 if item.on_hand >= PLENTY => world.erp.receive(&item.sku, -1, Why::Elsewhere, now),
            4..7 => {
                // Those that everybody wants are made one by one.
                let rare = if self.rng.bool() { "LAST-1" } else { "LAST-2" };
                world.erp.receive(rare, 1, Why::Restocked, now);
            }
            7 => {
                let levels = world.acme.levels();
                if let Some(level) = self.rng.choice(&levels).filter(|level| level.quantity > 8) {
                    world
                        .acme
                        .change(&level.sku, -self.rng.i64(1..=2), Why::Elsewhere);
                }
            }
            8 => {
                let levels = world.acme.levels();
                if let Some(level) = self.rng.choice(&levels) {
                    world
                        .acme
                        .change(&level.sku, self.rng.i64(1..=9), Why::Restocked);
                }
            }
            _ => world
                .erp
                .receive(&item.sku, self.rng.i64(1..=5), Why::Restocked, now),
        }
    }
}
