//! What is really there: shops, an ERP, a supplier, and the people who use them. The truth of every check.
//!
//! Nothing here asks the daemon what it thinks. A broken promise is noted the moment it becomes visible.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use crossdock::clock::{Timestamp, later};
use fastrand::Rng;

use super::case::{Case, Deed, Trouble};
use super::erp::Erp;
use super::horizon::Horizons;
use super::quota::Quota;
use super::shop::Shop;
use super::wire::Op;

/// The systems by number; the first three are shops.
pub const SYSTEMS: [&str; 5] = ["north", "south", "market", "erp", "acme"];
pub const MARKET: usize = 2;
pub const ERP: usize = 3;
pub const ACME: usize = 4;

/// How little of the first SKU may be told: of it there are a thousand.
const PLENTY: i64 = 500;

/// How late things show in lists at the latest, as the vendors say.
pub const PROMISED: Duration = Duration::from_secs(3);

/// Something that happens by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A deed of the case, by its number.
    Deed(usize),
    /// The warehouse packs an order of the ERP, or a part of it.
    Ship(usize, bool),
    /// A market applies a feed.
    Apply(usize),
    /// What nobody waits for any more is carried out.
    Late(u64),
    /// The buyer regrets an order of a shop.
    CallOff(usize, usize),
}

/// What may still be carried out, by its number, and when it was sent.
#[derive(Default)]
pub struct LateOps(BTreeMap<u64, (Duration, Op)>);

impl std::fmt::Debug for LateOps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} late", self.0.len())
    }
}

/// The world of one run.
#[derive(Debug)]
pub struct World {
    pub case: Case,
    pub dice: Rng,
    pub now: Duration,
    pub shops: Vec<Shop>,
    pub erp: Erp,
    pub acme: BTreeMap<usize, i64>,
    pub unlisted: BTreeSet<usize>,
    pub events: BTreeMap<(Duration, u64), Event>,
    pub horizons: Horizons,
    pub quotas: Vec<Quota>,
    /// Which systems are down or refuse us, and until when.
    pub down: BTreeMap<(Trouble, usize), Duration>,
    /// Faults happen.
    pub is_bad: bool,
    /// How many changes the daemon made out there in this life.
    pub effects: u64,
    /// Keys that are being written in this life.
    pub in_flight: BTreeSet<(usize, String)>,
    /// Webhooks that nobody handed on yet: shop and order.
    pub hints: Vec<(usize, String)>,
    /// Of each SKU, how many were free since when.
    free: Vec<Vec<(Duration, i64)>>,
    /// Pieces in orders, or changes of them, that show later than the vendor promises: nobody need know of them.
    hidden: BTreeMap<usize, i64>,
    /// Orders that show later than is promised.
    late_ones: BTreeSet<String>,
    /// Orders that stood behind one of these.
    behind: BTreeSet<String>,
    decided: BTreeMap<String, Option<Duration>>,
    decided_prices: BTreeMap<String, super::prices::Known>,
    late: LateOps,
    /// What is carried out just now was sent so long ago.
    late_since: Option<Duration>,
    pub broken: Vec<String>,
    pub trace: String,
    next: u64,
}

fn shops(variant: usize) -> Vec<Shop> {
    let is_till = |shop| shop == MARKET && super::plan::has_till(variant);
    (0..3).map(|shop| Shop::new(shop, is_till(shop))).collect()
}

impl World {
    pub fn new(case: &Case) -> Self {
        let mut world = Self {
            dice: Rng::with_seed(case.seed ^ 0xd1ce),
            now: Duration::ZERO,
            shops: shops(case.variant),
            erp: Erp::new(case),
            acme: (1..case.skus).map(|sku| (sku, 0)).collect(),
            unlisted: BTreeSet::new(),
            events: BTreeMap::new(),
            horizons: Horizons::default(),
            quotas: SYSTEMS.iter().map(|_| Quota::default()).collect(),
            down: BTreeMap::new(),
            is_bad: true,
            effects: 0,
            in_flight: BTreeSet::new(),
            hints: Vec::new(),
            free: case
                .opening
                .iter()
                .map(|n| vec![(Duration::ZERO, *n)])
                .collect(),
            hidden: BTreeMap::new(),
            late_ones: BTreeSet::new(),
            behind: BTreeSet::new(),
            decided: BTreeMap::new(),
            decided_prices: BTreeMap::new(),
            late: LateOps::default(),
            late_since: None,
            broken: Vec::new(),
            trace: String::new(),
            next: 0,
            case: case.clone(),
        };
        world.open_prices();
        world.open_items();
        for (n, (at, _)) in case.deeds.iter().enumerate() {
            world.schedule(*at, Event::Deed(n));
        }
        world
    }

    pub fn schedule(&mut self, at: Duration, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), event);
    }

    /// A number that was never given before.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn tell(&mut self, what: impl std::fmt::Display) {
        let _ = writeln!(self.trace, "{:>9.3} {what}", self.now.as_secs_f64());
    }

    /// Notes a broken promise.
    pub fn broke(&mut self, what: String) {
        self.tell(format_args!("!!! {what}"));
        self.broken.push(what);
    }

    /// The time as a system tells it.
    pub fn vendor_time(&self, system: usize, at: Duration) -> Timestamp {
        let began: Timestamp = self.case.began.parse().unwrap();
        let skew = jiff::SignedDuration::from_secs(self.case.skew[system]);
        later(began, at).checked_add(skew).unwrap()
    }

    /// Whether a kind of trouble happens now: `permille` thousandths of the times, on a bad day.
    pub fn unlucky(&mut self, trouble: Trouble, permille: u32) -> bool {
        let is = self.dice.u32(..1000) < permille;
        is && self.is_bad && self.case.has(trouble)
    }

    /// How many of a SKU nobody has bought yet.
    pub fn free(&self, sku: usize) -> i64 {
        self.free[sku].last().unwrap().1
    }

    pub fn add_free(&mut self, sku: usize, by: i64) {
        let free = self.free(sku) + by;
        self.free[sku].push((self.now, free));
    }

    /// The most that somebody can believe to be free who knows everything until `since`, and of what came later
    /// perhaps only what came in.
    fn most_free(&self, sku: usize, since: Duration) -> i64 {
        let history = &self.free[sku];
        let known = history.iter().rev().find(|(at, _)| *at <= since);
        let known = known.map_or(history[0].1, |(_, n)| *n);
        let steps = history.windows(2).filter(|pair| pair[1].0 > since);
        known
            + steps
                .map(|pair| (pair[1].1 - pair[0].1).max(0))
                .sum::<i64>()
    }

    /// A shop offers so many since a write that was decided when everything until `known` was known: no more
    /// than the daemon can have believed to be there, and never that a plenty is gone.
    pub fn check_offer(&mut self, shop: usize, sku: usize, offered: i64, known: Option<Duration>) {
        let name = SYSTEMS[shop];
        if sku == 0 && offered < PLENTY {
            self.broke(format!(
                "{name} offers {offered} of S0, of which there is a plenty"
            ));
        }
        if let Some(known) = known {
            let hidden = self.hidden.get(&sku).copied().unwrap_or(0);
            // A number that is late may land behind a parcel that the shop was told of meanwhile: then it means
            // more than when it was sent, until it is told once more.
            let sent = self.late_since.unwrap_or(Duration::MAX);
            let parcels = self.shops[shop].parcels.iter();
            let parcels = parcels.filter(|(at, it, _)| *at >= sent && *it == sku);
            let left: i64 = parcels.map(|(.., n)| n).sum();
            let most = self.most_free(sku, known).max(0) + hidden + left;
            if offered > most {
                self.broke(format!(
                    "{name} offers {offered} of S{sku}: when that was decided, everything until {known:?} \
                     was known, and at most {most} were free since"
                ));
            }
        }
    }

    /// Before the sales of all shops were read nobody knows that so much is there.
    pub fn check_first_offer(&mut self, shop: usize, sku: usize, offered: i64) {
        let sellers = super::plan::sellers(self.case.variant);
        let unread = self.horizons.unread_sales(sellers);
        if let Some(unread) = unread.filter(|_| offered > self.free(sku).max(0)) {
            let (name, unread) = (SYSTEMS[shop], SYSTEMS[unread]);
            self.broke(format!(
                "{name} offers {offered} of S{sku}, more than there is, before the sales of {unread} were read"
            ));
        }
    }

    /// What the daemon must know when it decides on a write; the same for each try of one decision.
    pub fn decided(&mut self, delivery: &str) -> Option<Duration> {
        if !self.decided.contains_key(delivery) {
            let sellers = super::plan::sellers(self.case.variant);
            let known = self.horizons.known_until(sellers);
            self.decided.insert(delivery.to_owned(), known);
        }
        self.decided[delivery]
    }

    /// The same for a price, which only its owner says.
    pub fn decided_price(&mut self, delivery: &str) -> super::prices::Known {
        let known = self.horizons.prices_known_until();
        *self
            .decided_prices
            .entry(delivery.to_owned())
            .or_insert(known)
    }

    /// The next thing that happens by itself.
    pub fn next_event(&self) -> Option<Duration> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets it happen.
    pub fn happen(&mut self) {
        let Some(((at, _), event)) = self.events.pop_first() else {
            return;
        };
        self.now = self.now.max(at);
        match event {
            Event::Deed(n) => {
                let deed = self.case.deeds[n].1.clone();
                self.do_it(deed);
            }
            Event::Ship(order, whole) => self.ship(order, whole),
            Event::Apply(feed) => self.apply_feed(feed),
            Event::Late(n) => self.carry_out(n),
            Event::CallOff(shop, n) => self.call_off(shop, n),
        }
    }

    /// Somebody who does not wait any more asked for this: it happens so much later.
    pub fn carry_out_late(&mut self, wait: Duration, op: (Duration, Op)) {
        let n = self.number();
        self.late.0.insert(n, op);
        self.schedule(self.now + wait, Event::Late(n));
    }

    fn carry_out(&mut self, n: u64) {
        if let Some((sent, op)) = self.late.0.remove(&n) {
            self.tell("what nobody waits for is carried out:");
            self.late_since = Some(sent);
            op(self);
            self.late_since = None;
        }
    }

    /// Until a disk is replaced nothing is under way any more.
    pub fn carry_out_all(&mut self) {
        let all: Vec<u64> = self.late.0.keys().copied().collect();
        for n in all {
            self.carry_out(n);
        }
    }

    fn do_it(&mut self, deed: Deed) {
        match deed {
            Deed::Buy(shop, lines) => {
                let shop = if shop >= super::plan::sellers(self.case.variant) {
                    0
                } else {
                    shop
                };
                self.buy(shop, lines);
            }
            Deed::Cancel(which) if self.case.has(Trouble::Cancel) => self.cancel(which),
            Deed::Drift(sku, by) if self.case.has(Trouble::Drift) => {
                let left = self.erp.on_hand[sku];
                let by = by.max(-left);
                self.erp.on_hand[sku] += by;
                self.add_free(sku, by);
                self.tell(format_args!(
                    "erp shelf of S{sku}: {by:+}, now {}",
                    left + by
                ));
            }
            Deed::Supplier(sku, number) if self.case.has(Trouble::Drift) => {
                self.list(sku, number);
            }
            Deed::Unlist(sku) if self.case.has(Trouble::BadFeed) => {
                self.unlisted.insert(sku);
                self.list(sku, 0);
            }
            Deed::Trouble(kind, system, long) if self.case.has(kind) && self.is_bad => {
                self.tell(format_args!("{kind:?} at {} for {long:?}", SYSTEMS[system]));
                self.down.insert((kind, system), self.now + long);
            }
            Deed::Hint(which) if self.case.has(Trouble::Hint) => {
                if let Some((shop, order)) = self.any_order(which) {
                    let id = self.shops[shop].orders[order].id.clone();
                    self.tell(format_args!("webhook about {}:{id}", SYSTEMS[shop]));
                    self.hints.push((shop, id));
                }
            }
            Deed::Rename(sku) if self.case.has(Trouble::Rename) => self.rename(sku),
            Deed::Price(sku, amount) if self.case.has(Trouble::Reprice) => {
                self.change_price(sku, amount);
            }
            Deed::Touch(which) => {
                if let Some((shop, order)) = self.any_order(which) {
                    self.touch(shop, order);
                }
            }
            _ => {}
        }
    }

    fn list(&mut self, sku: usize, number: i64) {
        if number > 0 {
            self.unlisted.remove(&sku);
        }
        let before = self.acme.insert(sku, number).unwrap_or(0);
        self.add_free(sku, number - before);
        self.tell(format_args!("acme lists {number} of S{sku}"));
    }

    fn any_order(&self, which: u64) -> Option<(usize, usize)> {
        let all: Vec<(usize, usize)> = (0..self.shops.len())
            .flat_map(|shop| (0..self.shops[shop].orders.len()).map(move |order| (shop, order)))
            .collect();
        let n = usize::try_from(which % all.len().max(1) as u64).unwrap();
        all.get(n).copied()
    }

    fn cancel(&mut self, which: u64) {
        if let Some((shop, n)) = self.any_order(which) {
            self.call_off(shop, n);
        }
    }

    fn call_off(&mut self, shop: usize, n: usize) {
        let order = &self.shops[shop].orders[n];
        if order.cancelled || order.at_till || !order.fulfilled.is_empty() {
            return;
        }
        let (id, lines) = (order.id.clone(), order.lines.clone());
        let reference = format!("{}:{id}", SYSTEMS[shop]);
        for (sku, quantity) in lines {
            let left = self.erp.shipped(&reference, sku);
            self.shops[shop].give_back(sku, quantity);
            // What has left already only seems to be there again, for a moment.
            self.add_free(sku, quantity);
            self.add_free(sku, -left);
        }
        self.shops[shop].orders[n].cancelled = true;
        self.tell(format_args!("{reference} is called off"));
        self.touch(shop, n);
    }

    fn touch(&mut self, shop: usize, n: usize) {
        let now = self.now;
        let at = self.vendor_time(shop, now);
        let sequence = self.number();
        let late = self.late();
        // What changes before it was read moves on in the list: it is read later than it would have been.
        let reference = format!("{}:{}", SYSTEMS[shop], self.shops[shop].orders[n].id);
        if late > PROMISED {
            let id = self.shops[shop].orders[n].id.clone();
            self.late_ones.insert(id);
        }
        if late > PROMISED || self.erp.find(&reference).is_none() {
            for (sku, quantity) in self.shops[shop].orders[n].lines.clone() {
                *self.hidden.entry(sku).or_default() += quantity;
            }
        }
        self.shops[shop].orders[n].change(now + late, at, sequence);
    }

    /// An order stands behind one that shows later than is promised, and is not seen before that.
    pub fn hide_behind(&mut self, late: &str, order: &str) {
        if !self.late_ones.contains(late) {
            return;
        }
        let lines = self.shops[1].order(order).map(|order| order.lines.clone());
        if self.behind.insert(order.to_owned()) {
            for (sku, quantity) in lines.unwrap_or_default() {
                *self.hidden.entry(sku).or_default() += quantity;
            }
        }
    }

    /// How much later than it happened a thing shows in lists: less than is promised, or on a bad day a minute.
    pub fn late(&mut self) -> Duration {
        if self.unlucky(Trouble::LateCommit, 40) {
            Duration::from_secs(self.dice.u64(10..60))
        } else {
            Duration::from_millis(self.dice.u64(..2500))
        }
    }

    fn buy(&mut self, shop: usize, lines: Vec<(usize, i64)>) {
        let is_there = lines.iter().all(|(sku, n)| {
            let shop = &self.shops[shop];
            // At a till a buyer takes what lies there and was sold to nobody.
            let at_till = self.free(*sku).min(self.erp.on_hand[*sku]);
            *n <= if shop.is_till {
                at_till
            } else {
                shop.sellable(*sku)
            }
        });
        if !is_there {
            self.tell(format_args!(
                "nobody can buy {lines:?} on {}",
                SYSTEMS[shop]
            ));
            return;
        }
        let id = format!("{}", 1000 + self.number());
        self.tell(format_args!("{}:{id} is bought: {lines:?}", SYSTEMS[shop]));
        for (sku, n) in &lines {
            self.shops[shop].take(*sku, *n);
            self.add_free(*sku, -n);
        }
        let at = self.vendor_time(shop, self.now);
        let sequence = self.number();
        let late = self.late();
        if late > PROMISED {
            for (sku, n) in &lines {
                *self.hidden.entry(*sku).or_default() += n;
            }
            self.late_ones.insert(id.clone());
        }
        let visible = self.now + late;
        // While it is on its way to the ERP, say.
        let (is_regretted, soon) = (self.dice.u32(..6) == 0, self.dice.u64(..5000));
        if is_regretted && self.case.has(Trouble::Cancel) {
            let soon = visible + Duration::from_millis(soon);
            self.schedule(soon, Event::CallOff(shop, self.shops[shop].orders.len()));
        }
        self.shops[shop].place(id, lines, (self.now, at), visible, sequence);
    }

    /// What the daemon changed somewhere.
    pub fn effect(&mut self, what: impl std::fmt::Display) {
        self.effects += 1;
        self.tell(what);
    }

    /// A process begins: what the last one had under way is gone.
    pub fn begin_life(&mut self) {
        self.effects = 0;
        self.in_flight.clear();
        self.decided.clear();
        self.decided_prices.clear();
        for quota in &mut self.quotas {
            *quota = Quota::default();
        }
    }

    /// No trouble from now on, and everything that is to happen has happened.
    pub fn end_troubles(&mut self) {
        self.is_bad = false;
        self.down.clear();
        self.case.without = Trouble::ALL.to_vec();
    }
}
