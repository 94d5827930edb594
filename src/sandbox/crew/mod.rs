//! The people of the practice world: shoppers, the person at the till, the clerk, the supplier.
//!
//! Each is a plain `step(now, world)`: it does what is due at that moment, through the systems' own
//! functions, and knows nothing of the daemon. Its random numbers come from the world's seed.

mod clerk;
mod shoppers;
mod trade;

use std::time::Duration;

pub use clerk::Clerk;
pub use shoppers::Shoppers;
pub use trade::{Dispatcher, Till};

use super::World;
use crate::clock::{Timestamp, later};

/// How busy the day is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Orders a second, over webstores and marketplace.
    pub orders_per_second: f64,
    /// Of a hundred orders, how many are for something of which there is hardly any left.
    pub scarce_percent: u8,
    /// Of a hundred orders, how many are two buyers on two channels who want the same at the same moment.
    pub duel_percent: u8,
    /// Of a hundred orders, how many are called off within two seconds.
    pub call_off_percent: u8,
    /// How long the clerk needs for an order, at least; up to twice as long.
    pub packing: Duration,
    /// How often somebody buys at the till.
    pub till_every: Duration,
    /// How often the till loses its line, for a third of that time.
    pub till_offline_every: Duration,
    /// How often the supplier drops a file.
    pub file_every: Duration,
    /// How often goods come in, are counted, or change their price.
    pub trade_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            orders_per_second: 2.0,
            scarce_percent: 25,
            duel_percent: 5,
            call_off_percent: 6,
            packing: Duration::from_secs(4),
            till_every: Duration::from_secs(3),
            till_offline_every: Duration::from_secs(24),
            file_every: Duration::from_secs(5),
            trade_every: Duration::from_secs(4),
        }
    }
}

/// All of them together.
#[derive(Debug)]
pub struct Crew {
    shoppers: Shoppers,
    till: Till,
    clerk: Clerk,
    dispatcher: Dispatcher,
    open: bool,
}

impl Crew {
    /// The people of a world, at the beginning of the day.
    pub fn new(seed: u64, pace: &Pace, now: Timestamp) -> Self {
        Self {
            shoppers: Shoppers::new(seed, *pace, now),
            till: Till::new(seed, *pace, now),
            clerk: Clerk::new(seed, pace.packing),
            dispatcher: Dispatcher::new(seed, *pace, now),
            open: true,
        }
    }

    /// Nobody buys any more, the till is on the line; what was bought is still sent.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// Everybody does what is due at `now`.
    pub fn step(&mut self, now: Timestamp, world: &World) {
        world.market.advance(world.time_at("market"));
        if self.open {
            self.shoppers.step(now, world);
            self.till.step(now, world);
        } else {
            self.shoppers.finish(now, world);
            self.till.finish(world);
        }
        self.clerk.step(now, world);
        self.dispatcher.step(now, world, self.open);
    }

    /// Whether nobody has anything left to do: everything that can be sent has been sent.
    pub fn is_idle(&self, world: &World) -> bool {
        !self.open && self.clerk.is_idle(world)
    }
}

/// Something that is due again and again.
#[derive(Debug)]
struct Timer {
    next: Timestamp,
    every: Duration,
}

impl Timer {
    fn new(now: Timestamp, every: Duration) -> Self {
        Self {
            next: later(now, every),
            every,
        }
    }

    /// Whether it is due. However long nobody asked, it is due once.
    fn is_due(&mut self, now: Timestamp) -> bool {
        if now < self.next || self.every.is_zero() {
            return false;
        }
        self.next = later(now, self.every);
        true
    }
}
