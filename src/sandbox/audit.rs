//! What really happened: the append-only log that the statement is computed from.
//!
//! The practice systems and the people in them write here, in true time, whatever clock a system shows
//! to the outside. The daemon cannot write here and is never asked, so the log can testify against it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::faults::FaultKind;
use crate::clock::{Clock, Timestamp};

/// So many pieces of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Units {
    /// Of which item.
    pub sku: String,
    /// How many pieces.
    pub quantity: i64,
}

impl Units {
    /// So many pieces of one SKU.
    pub fn new(sku: impl Into<String>, quantity: i64) -> Self {
        Self {
            sku: sku.into(),
            quantity,
        }
    }
}

/// Why the physical goods became more or fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// They were there when the day began.
    Opening,
    /// Made or bought.
    Restocked,
    /// Counted again, broken, or sold to somebody whom this world does not know.
    Elsewhere,
    /// Moved between two places that both count: nothing is gained or lost.
    Moved,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Fact {
    /// A buyer bought; a till sale too, at the moment of the sale.
    Placed {
        /// The channel's id of the order.
        order: String,
        /// What was bought.
        units: Vec<Units>,
        /// What the buyer pays, in minor units.
        total: i64,
    },
    /// A till that was offline told its system of a sale, or a marketplace's order was paid; until then
    /// nobody could know.
    Uploaded {
        /// The channel's id of the sale or order.
        order: String,
    },
    /// A buyer called an order off before anything was sent.
    CalledOff {
        /// The channel's id of the order.
        order: String,
    },
    /// A channel was told how many of an item it may sell.
    StockTold {
        /// Of which item.
        sku: String,
        /// The number as written.
        on_hand: i64,
        /// What the channel's own open orders hold of it.
        allocated: i64,
    },
    /// A channel was told of an item or its price.
    ItemTold {
        /// Which item.
        sku: String,
        /// It was not there before.
        created: bool,
    },
    /// A system's price of an item from now on, whoever set it.
    Priced {
        /// Of which item.
        sku: String,
        /// With tax, in minor units.
        price: i64,
    },
    /// A channel was told that goods left.
    TrackingTold {
        /// The channel's id of the order.
        order: String,
        /// The reference that came with it.
        reference: String,
        /// The numbers that the buyer can follow.
        tracking: Vec<String>,
        /// What is said to be in it.
        units: Vec<Units>,
    },
    /// The ERP took an order in, not yet confirmed.
    Drafted {
        /// The ERP's id.
        id: String,
        /// The reference that came with it.
        reference: String,
    },
    /// The ERP confirmed an order.
    Booked {
        /// The ERP's id.
        id: String,
        /// The reference that came with it.
        reference: String,
        /// What is to be sent.
        units: Vec<Units>,
        /// What the buyer pays, in minor units.
        total: i64,
    },
    /// The ERP cancelled an order.
    Unbooked {
        /// The ERP's id.
        id: String,
        /// The reference that came with it.
        reference: String,
    },
    /// Goods left for the buyer.
    Shipped {
        /// The ERP's id of the shipment.
        shipment: String,
        /// The ERP's id of the order.
        id: String,
        /// The reference of the order.
        reference: String,
        /// The numbers that the buyer can follow; none when handed over at a till.
        tracking: Vec<String>,
        /// What left.
        units: Vec<Units>,
    },
    /// There are more or fewer goods, for another reason than a sale of ours.
    Supply {
        /// Of which item.
        sku: String,
        /// How many more (or fewer).
        by: i64,
        /// Why.
        why: Why,
    },
    /// A supplier put a file into the folder.
    Dropped {
        /// Its name.
        file: String,
        /// What it says.
        levels: Vec<Units>,
    },
    /// A supplier found an answer in the folder.
    Answered {
        /// Its name.
        file: String,
        /// How many lines it has.
        lines: usize,
    },
    /// A fault was injected into a request.
    Faulted {
        /// Which.
        kind: FaultKind,
        /// Of the request.
        method: String,
        /// Of the request, without its query.
        path: String,
    },
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its place in the log, from 0.
    pub seq: u64,
    /// When, in true time.
    pub at: Timestamp,
    /// At which system: `north`, `erp`, ….
    pub system: String,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// The log, and how many requests each system got.
#[derive(Debug)]
pub struct AuditLog {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    requests: BTreeMap<String, u64>,
    tripwire: Option<Tripwire>,
}

/// What is to happen the moment something is written, and what has to be written for it.
struct Tripwire {
    wanted: fn(&Fact) -> bool,
    then: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Tripwire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tripwire")
    }
}

impl AuditLog {
    /// An empty log that takes its time from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            inner: Mutex::default(),
        })
    }

    /// The clock of this world.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Writes that something happened at `system` now.
    pub fn record(&self, system: &str, fact: Fact) {
        self.record_at(self.clock.now(), system, fact);
    }

    /// Writes that something happened at `system` at an earlier moment (a till that was offline).
    pub fn record_at(&self, at: Timestamp, system: &str, fact: Fact) {
        let mut inner = lock(&self.inner);
        let seq = inner.entries.len() as u64;
        let tripped = inner.tripwire.take_if(|it| (it.wanted)(&fact));
        inner.entries.push(Entry {
            seq,
            at,
            system: system.to_owned(),
            fact,
        });
        if let Some(tripwire) = tripped {
            (tripwire.then)();
        }
    }

    /// Has `then` called once, when the next fact that is `wanted` is written: whoever asked for it has not
    /// been answered. Nothing takes the place of what was to be called before.
    pub fn trip(&self, wanted: fn(&Fact) -> bool, then: Option<Box<dyn FnOnce() + Send>>) {
        lock(&self.inner).tripwire = then.map(|then| Tripwire { wanted, then });
    }

    /// Counts a request that `system` received.
    pub fn count_request(&self, system: &str) {
        let mut inner = lock(&self.inner);
        *inner.requests.entry(system.to_owned()).or_default() += 1;
    }

    /// All that happened so far, in the order in which it was written.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.inner).entries.clone()
    }

    /// The entries from `seq` on: what a live view has not shown yet.
    pub fn entries_from(&self, seq: u64) -> Vec<Entry> {
        let from = usize::try_from(seq).unwrap_or(usize::MAX);
        let inner = lock(&self.inner);
        inner
            .entries
            .get(from..)
            .map(<[_]>::to_vec)
            .unwrap_or_default()
    }

    /// How many requests each system got.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        lock(&self.inner).requests.clone()
    }
}

/// Locks, also after a panic elsewhere: the state behind is plain data.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
