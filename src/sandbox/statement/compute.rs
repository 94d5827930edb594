//! Reads the log into books, one per claim, and compares them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Difference, Statement};
use crate::sandbox::audit::{Entry, Fact, Units};

/// The system whose shelf is the warehouse.
const ERP: &str = "erp";
/// The channels that are told stock and tracking.
const SHOPS: [&str; 2] = ["north", "south"];
/// The channel whose number is what it still sells, and which is told cartons one by one.
pub(super) const MARKET: &str = "market";

/// What a buyer bought.
#[derive(Debug)]
struct Placed {
    channel: String,
    units: BTreeMap<String, i64>,
    total: i64,
    called_off: bool,
}

/// One order in the ERP.
#[derive(Debug, Default)]
struct Booking {
    reference: String,
    /// Pieces and total, once it was confirmed.
    booked: Option<(BTreeMap<String, i64>, i64)>,
    cancelled: bool,
    shipped: bool,
}

/// Everything the log says, by reference: `north:1001`.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Webstores and, if there is one, the marketplace.
    channels: Vec<&'static str>,
    placed: BTreeMap<String, Placed>,
    /// By the ERP's id.
    bookings: BTreeMap<String, Booking>,
    /// Reference and sorted tracking numbers of each parcel that left, with how often.
    sent: BTreeMap<(String, Vec<String>), usize>,
    /// The same of each that a webstore was told.
    told: BTreeMap<(String, Vec<String>), usize>,
    /// Pieces that left, by reference and SKU.
    left: BTreeMap<String, BTreeMap<String, i64>>,
    /// Pieces that a webstore was told have left, by reference and SKU.
    told_left: BTreeMap<String, BTreeMap<String, i64>>,
    warehouse: BTreeMap<String, i64>,
    supplier: BTreeMap<String, i64>,
    /// What a webstore takes for on hand, by webstore and SKU.
    on_hand: BTreeMap<(String, String), i64>,
    /// What the marketplace sells, by SKU.
    for_sale: BTreeMap<String, i64>,
    /// By system and SKU.
    prices: BTreeMap<(String, String), i64>,
}

fn by_sku(units: &[Units]) -> BTreeMap<String, i64> {
    let mut sum = BTreeMap::new();
    for part in units {
        *sum.entry(part.sku.clone()).or_default() += part.quantity;
    }
    sum
}

/// The tracking numbers that are told together: all of a parcel at a webstore, each by itself at a
/// marketplace.
fn told_together(reference: &str, tracking: &[String]) -> Vec<Vec<String>> {
    let channel = reference.split(':').next();
    if channel == Some(MARKET) {
        return tracking.iter().map(|one| vec![one.clone()]).collect();
    }
    let mut all = tracking.to_vec();
    all.sort();
    vec![all]
}

impl Books {
    /// Reads the log from its beginning.
    pub(super) fn read(entries: &[Entry], market: bool) -> Self {
        let mut channels = SHOPS.to_vec();
        if market {
            channels.push(MARKET);
        }
        let mut books = Self {
            channels,
            ..Self::default()
        };
        for entry in entries {
            books.read_sale(entry);
            books.read_erp(entry);
            books.read_goods(entry);
        }
        books
    }

    fn read_sale(&mut self, entry: &Entry) {
        let system = &entry.system;
        match &entry.fact {
            Fact::Placed {
                order,
                units,
                total,
            } => {
                let placed = Placed {
                    channel: system.clone(),
                    units: by_sku(units),
                    total: *total,
                    called_off: false,
                };
                if system == MARKET {
                    for (sku, pieces) in &placed.units {
                        *self.for_sale.entry(sku.clone()).or_default() -= pieces;
                    }
                }
                self.placed.insert(format!("{system}:{order}"), placed);
            }
            Fact::CalledOff { order } => {
                if let Some(placed) = self.placed.get_mut(&format!("{system}:{order}")) {
                    placed.called_off = true;
                    if system == MARKET {
                        for (sku, pieces) in &placed.units {
                            *self.for_sale.entry(sku.clone()).or_default() += pieces;
                        }
                    }
                }
            }
            Fact::TrackingTold {
                order,
                tracking,
                units,
                ..
            } => {
                let reference = format!("{system}:{order}");
                let left = self.told_left.entry(reference.clone()).or_default();
                for part in units {
                    *left.entry(part.sku.clone()).or_default() += part.quantity;
                    let on_hand = self.on_hand.entry((system.clone(), part.sku.clone()));
                    *on_hand.or_default() -= part.quantity;
                }
                for numbers in told_together(&reference, tracking) {
                    let parcel = (reference.clone(), numbers);
                    *self.told.entry(parcel).or_default() += 1;
                }
            }
            Fact::StockTold { sku, on_hand, .. } => {
                if system == MARKET {
                    self.for_sale.insert(sku.clone(), *on_hand);
                }
                self.on_hand.insert((system.clone(), sku.clone()), *on_hand);
            }
            _ => {}
        }
    }

    fn read_erp(&mut self, entry: &Entry) {
        match &entry.fact {
            Fact::Drafted { id, reference } => {
                self.bookings
                    .entry(id.clone())
                    .or_default()
                    .reference
                    .clone_from(reference);
            }
            Fact::Booked {
                id,
                reference,
                units,
                total,
            } => {
                let booking = self.bookings.entry(id.clone()).or_default();
                booking.reference.clone_from(reference);
                booking.booked = Some((by_sku(units), *total));
            }
            Fact::Unbooked { id, .. } => {
                self.bookings.entry(id.clone()).or_default().cancelled = true;
            }
            Fact::Shipped {
                id,
                reference,
                tracking,
                units,
                ..
            } => {
                self.bookings.entry(id.clone()).or_default().shipped = true;
                let left = self.left.entry(reference.clone()).or_default();
                for part in units {
                    *left.entry(part.sku.clone()).or_default() += part.quantity;
                    *self.warehouse.entry(part.sku.clone()).or_default() -= part.quantity;
                }
                if !tracking.is_empty() {
                    for numbers in told_together(reference, tracking) {
                        let sent = (reference.clone(), numbers);
                        *self.sent.entry(sent).or_default() += 1;
                    }
                }
            }
            _ => {}
        }
    }

    fn read_goods(&mut self, entry: &Entry) {
        match &entry.fact {
            Fact::Supply { sku, by, .. } if entry.system == ERP => {
                *self.warehouse.entry(sku.clone()).or_default() += by;
            }
            Fact::Dropped { levels, .. } => self.supplier = by_sku(levels),
            Fact::Priced { sku, price } => {
                self.prices
                    .insert((entry.system.clone(), sku.clone()), *price);
            }
            _ => {}
        }
    }

    /// Placed and booked.
    pub(super) fn orders_into(&self, statement: &mut Statement) {
        let mut bookings: BTreeMap<&str, Vec<&Booking>> = BTreeMap::new();
        for booking in self.bookings.values() {
            bookings
                .entry(&booking.reference)
                .or_default()
                .push(booking);
        }
        for (reference, placed) in &self.placed {
            *statement.placed.entry(placed.channel.clone()).or_default() += 1;
            let of_it = bookings.remove(reference.as_str()).unwrap_or_default();
            judge_order(reference, placed, &of_it, statement);
        }
        for (reference, of_it) in bookings {
            if of_it.iter().any(|booking| booking.booked.is_some()) {
                statement.invented.push(reference.to_owned());
            } else if of_it.iter().any(|booking| !booking.cancelled) {
                statement.drafts_left.push(reference.to_owned());
            }
        }
    }

    /// Parcels sent and parcels told.
    pub(super) fn tracking_into(&self, statement: &mut Statement) {
        for (parcel, times) in &self.sent {
            let (reference, tracking) = parcel;
            let placed = self.placed.get(reference);
            let wants_it =
                placed.is_some_and(|placed| !placed.called_off && self.has(&placed.channel));
            if !wants_it {
                continue;
            }
            let name = format!("{reference} {}", tracking.join("+"));
            let told = self.told.get(parcel).copied().unwrap_or(0);
            statement.parcels += times;
            statement.tracking_returned += told.min(*times);
            if told < *times {
                statement.tracking_missing.push(name);
            } else if told > *times {
                statement.tracking_doubled.push(name);
            }
        }
        for (reference, tracking) in self.told.keys() {
            if !self
                .sent
                .contains_key(&(reference.clone(), tracking.clone()))
            {
                let name = format!("{reference} {}", tracking.join("+"));
                statement.tracking_invented.push(name);
            }
        }
    }

    /// Whether a channel is told stock and tracking.
    fn has(&self, channel: &str) -> bool {
        self.channels.contains(&channel)
    }

    /// What each channel should offer and what it does offer.
    pub(super) fn stock_into(&self, statement: &mut Statement, buffer: i64) {
        let skus: BTreeSet<&String> = self.warehouse.keys().chain(self.supplier.keys()).collect();
        for sku in skus {
            let warehouse = self.warehouse.get(sku).copied().unwrap_or(0);
            let supplier = self.supplier.get(sku).copied().unwrap_or(0);
            let open = self.open(&self.left, sku, |_| true);
            let expected = (warehouse + supplier - open - buffer).max(0);
            for &shop in &self.channels {
                let offered = self.offered(shop, sku);
                statement.stock_compared += 1;
                if offered != expected {
                    statement.stock_differences.push(Difference {
                        shop: shop.to_owned(),
                        sku: sku.clone(),
                        expected,
                        offered,
                    });
                }
            }
        }
    }

    /// What a channel sells of an item. One that was never told of it offers none, and so does one that owes some.
    fn offered(&self, shop: &str, sku: &str) -> i64 {
        if shop == MARKET {
            return self.for_sale.get(sku).copied().unwrap_or(0);
        }
        let on_hand = self.on_hand.get(&(shop.to_owned(), sku.to_owned()));
        let allocated = self.open(&self.told_left, sku, |placed| placed.channel == shop);
        on_hand.map_or(0, |on_hand| (on_hand - allocated).max(0))
    }

    /// The ERP's prices and the channels'.
    pub(super) fn prices_into(&self, statement: &mut Statement) {
        let wanted = self.prices.iter().filter(|((system, _), _)| system == ERP);
        for ((_, sku), price) in wanted {
            for &shop in &self.channels {
                statement.prices_compared += 1;
                let there = self.prices.get(&(shop.to_owned(), sku.clone()));
                let difference = match there {
                    Some(there) if there == price => continue,
                    Some(there) => format!("{sku}: {there} at {shop}, {price} in the ERP"),
                    None => format!("{sku}: not at {shop}"),
                };
                statement.price_differences.push(difference);
            }
        }
    }

    /// Pieces of an item that were sold, not called off, and have not left according to `left`.
    fn open(
        &self,
        left: &BTreeMap<String, BTreeMap<String, i64>>,
        sku: &str,
        counts: impl Fn(&Placed) -> bool,
    ) -> i64 {
        let orders = self
            .placed
            .iter()
            .filter(|(_, placed)| !placed.called_off && counts(placed));
        let open = orders.map(|(reference, placed)| {
            let sold = placed.units.get(sku).copied().unwrap_or(0);
            let left = left
                .get(reference)
                .and_then(|left| left.get(sku))
                .copied()
                .unwrap_or(0);
            (sold - left).max(0)
        });
        open.sum()
    }

    /// Faults, files and answers.
    pub(super) fn rest_into(statement: &mut Statement, entries: &[Entry]) {
        for entry in entries {
            match &entry.fact {
                Fact::Faulted { kind, .. } => *statement.faults.entry(*kind).or_default() += 1,
                Fact::Dropped { .. } => statement.files += 1,
                Fact::Answered { .. } => statement.answers += 1,
                _ => {}
            }
        }
    }
}

/// Compares one order with what the ERP has of it.
fn judge_order(reference: &str, placed: &Placed, of_it: &[&Booking], statement: &mut Statement) {
    let booked: Vec<&&Booking> = of_it.iter().filter(|one| one.booked.is_some()).collect();
    let live = booked.iter().filter(|one| !one.cancelled).count();
    let shipped = booked.iter().any(|one| one.shipped);
    if of_it
        .iter()
        .any(|one| one.booked.is_none() && !one.cancelled)
    {
        statement.drafts_left.push(reference.to_owned());
    }
    if !booked.is_empty() {
        statement.in_erp += 1;
    }
    // One that was booked and cancelled in the ERP has no live booking; twice live is always wrong.
    if live > 1 {
        statement.doubled.insert(reference.to_owned(), live);
    }
    if placed.called_off {
        statement.called_off += 1;
        if booked.is_empty() {
            statement.called_off_in_time += 1;
        } else if shipped {
            statement
                .sent_although_called_off
                .push(reference.to_owned());
        } else if live > 0 {
            statement.not_called_off.push(reference.to_owned());
        }
        return;
    }
    if live == 0 {
        statement.lost.push(reference.to_owned());
    }
    let differs = booked
        .iter()
        .filter_map(|one| one.booked.as_ref())
        .any(|(units, total)| *units != placed.units || *total != placed.total);
    if differs {
        statement.differing.push(reference.to_owned());
    }
}
