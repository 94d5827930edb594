//! A live view of a world, as lines of text; whoever shows it decides where.

use std::collections::{BTreeMap, VecDeque};

use super::World;
use super::audit::{Entry, Fact};
use crate::clock::{Timestamp, since};

/// How many of the latest happenings are shown.
const LATEST: usize = 8;

/// What has happened so far, kept up to date by [`Live::update`].
#[derive(Debug, Default)]
pub struct Live {
    next: u64,
    placed: BTreeMap<String, u64>,
    called_off: u64,
    booked: u64,
    parcels: u64,
    tracked: u64,
    stock_told: u64,
    items_told: u64,
    files: u64,
    faults: u64,
    latest: VecDeque<(Timestamp, String)>,
}

impl Live {
    /// Reads what happened since the last time.
    pub fn update(&mut self, world: &World) {
        for entry in world.audit.entries_from(self.next) {
            self.next = entry.seq + 1;
            self.count(&entry);
            if let Some(line) = told(&entry) {
                self.latest.push_back((entry.at, line));
            }
        }
        while self.latest.len() > LATEST {
            self.latest.pop_front();
        }
    }

    fn count(&mut self, entry: &Entry) {
        match &entry.fact {
            Fact::Placed { .. } => *self.placed.entry(entry.system.clone()).or_default() += 1,
            Fact::CalledOff { .. } => self.called_off += 1,
            Fact::Booked { .. } => self.booked += 1,
            Fact::Shipped { tracking, .. } if !tracking.is_empty() => self.parcels += 1,
            Fact::TrackingTold { .. } => self.tracked += 1,
            Fact::StockTold { .. } => self.stock_told += 1,
            Fact::ItemTold { .. } => self.items_told += 1,
            Fact::Dropped { .. } => self.files += 1,
            Fact::Faulted { .. } => self.faults += 1,
            _ => {}
        }
    }

    /// The view, `now` being the world's time and `began` its beginning.
    pub fn text(&self, began: Timestamp, now: Timestamp) -> String {
        let placed: u64 = self.placed.values().sum();
        let channels: Vec<String> = self
            .placed
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let mut lines = vec![
            format!("{:>4} s", since(began, now).as_secs()),
            format!("orders placed    {placed:>6}   {}", channels.join("  ")),
            format!(
                "orders in ERP    {:>6}   called off {}",
                self.booked, self.called_off
            ),
            format!(
                "parcels sent     {:>6}   tracking returned {}",
                self.parcels, self.tracked
            ),
            format!(
                "stock written    {:>6}   items written {}",
                self.stock_told, self.items_told
            ),
            format!(
                "supplier files   {:>6}   faults injected {}",
                self.files, self.faults
            ),
            String::new(),
        ];
        lines.extend(self.latest.iter().map(|(at, line)| {
            let second = since(began, *at).as_secs_f64();
            format!("{second:>7.1}  {line}")
        }));
        lines.join("\n")
    }
}

/// What is worth a line.
fn told(entry: &Entry) -> Option<String> {
    let system = &entry.system;
    let line = match &entry.fact {
        Fact::Placed { order, units, .. } => {
            let pieces: i64 = units.iter().map(|part| part.quantity).sum();
            format!("{system:<6} order {order}, {pieces} pieces")
        }
        Fact::CalledOff { order } => format!("{system:<6} order {order} called off"),
        Fact::Booked { reference, .. } => format!("{system:<6} {reference} confirmed"),
        Fact::Unbooked { reference, .. } => format!("{system:<6} {reference} cancelled"),
        Fact::Shipped { reference, .. } => format!("{system:<6} {reference} sent"),
        Fact::TrackingTold {
            order, tracking, ..
        } => format!(
            "{system:<6} order {order} has tracking {}",
            tracking.join(", ")
        ),
        Fact::Faulted { kind, method, path } => {
            format!("{system:<6} fault: {kind} ({method} {path})")
        }
        Fact::Dropped { file, .. } => format!("{system:<6} dropped {file}"),
        _ => return None,
    };
    Some(line)
}
