//! What a connector declares about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Stream;

/// When the owner's number falls, and so what a reservation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockBasis {
    /// The number falls when the owner confirms the order (`WooCommerce`).
    Free,
    /// The number falls when goods leave (Tryton, Odoo, most warehouses).
    #[default]
    OnHand,
    /// Allocation is a number of its own (Vendure, Medusa, Shopify).
    AllocatedApart,
}

/// How a channel is told a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockWrite {
    /// "It is 7 now."
    #[default]
    Absolute,
    /// "Two less." Needs an intent, never repeated blindly.
    Delta,
    /// "It is 7 now, if it was 9."
    CompareAndSet,
}

/// What stands behind a claim in the support table.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Only our own practice system.
    Sandbox,
    /// The vendor's own API description.
    Spec,
    /// Exchanges recorded from the real software; no run of the daemon.
    Recorded,
    /// Runs between real software.
    Real,
}

impl Evidence {
    /// For a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "practice system",
            Self::Spec => "vendor's description",
            Self::Recorded => "recorded exchanges",
            Self::Real => "real software",
        }
    }
}

/// How a stream is read on from where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Onward {
    /// It is not: each run reads everything.
    #[default]
    Whole,
    /// By a number that only grows.
    Number,
    /// By a moment that each row carries.
    Moment {
        /// How far before the last one a run begins.
        overlap: Duration,
    },
}

/// Declared facts of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamSpec {
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// What stands behind reading it.
    pub read_evidence: Option<Evidence>,
    /// What stands behind writing it.
    pub write_evidence: Option<Evidence>,
    /// How many deliveries one request may carry; 1 without batches.
    pub max_batch: usize,
    /// How often to poll when the configuration does not say.
    pub poll: Duration,
    /// How old what was read may be when the configuration does not say; the framework's own default
    /// when absent.
    pub fresh_for: Option<Duration>,
    /// How it is read on from where it was.
    pub onward: Onward,
    /// How long the vendor needs until a moment is complete (law S5).
    pub settle_lag: Duration,
    /// Things that are not closed are read again by id, because the vendor's timestamp lies.
    pub reread_open: bool,
}

/// Declared facts of the whole connector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// When the owner's number falls.
    pub stock_basis: StockBasis,
    /// How it is told a quantity.
    pub stock_write: StockWrite,
    /// It puts stock back by itself when an order is cancelled.
    pub restores_stock_on_cancel: bool,
    /// After a confirming step succeeded, a read shows it this much later.
    pub stock_lag: Duration,
    /// The most cells that one request costs: no burst may be below it. 0 when nothing is counted.
    pub costliest_request: u32,
}

/// How fast one bucket of a credential may be asked, by the vendor's own documentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Cells a second.
    pub per_second: f64,
    /// Cells at once.
    pub burst: u32,
}

/// What a connector is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spec {
    /// The name of its folder.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// The day on which its evidence was last shown: `2026-11-22`.
    pub checked: Option<String>,
    /// Declared facts per stream.
    pub streams: BTreeMap<Stream, StreamSpec>,
    /// Declared facts of the whole.
    pub capabilities: Capabilities,
    /// By bucket; a careful default where the vendor says nothing.
    pub quotas: BTreeMap<String, Quota>,
    /// Requests in flight at once; the default of the limiter when absent.
    pub concurrency: Option<u32>,
    /// JSON Schema of its settings.
    pub settings_schema: serde_json::Value,
}
