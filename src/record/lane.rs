//! Priority classes.

use serde::{Deserialize, Serialize};

/// Priority class of a request or delivery; earlier ones go first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Less stock: every second may sell what is not there.
    StockDown,
    /// What must no longer be sent.
    Cancellations,
    /// What somebody bought.
    Orders,
    /// Tracking numbers.
    Shipments,
    /// Goods and money that go back, bills.
    Documents,
    /// More stock.
    StockUp,
    /// Prices.
    Prices,
    /// Items and customers.
    #[default]
    Items,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 8] = [
        Self::StockDown,
        Self::Cancellations,
        Self::Orders,
        Self::Shipments,
        Self::Documents,
        Self::StockUp,
        Self::Prices,
        Self::Items,
    ];

    /// The name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::StockDown => "stock_down",
            Self::Cancellations => "cancellations",
            Self::Orders => "orders",
            Self::Shipments => "shipments",
            Self::Documents => "documents",
            Self::StockUp => "stock_up",
            Self::Prices => "prices",
            Self::Items => "items",
        }
    }
}
