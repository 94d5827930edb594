//! The number that a channel is told.

use rust_decimal::Decimal;
use serde::Serialize;

/// How a channel's number is made from what is available:
/// `clamp(floor((available - buffer) * percent / 100 / pack), min, max)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishRule {
    /// Kept back, in stock units.
    pub buffer: Decimal,
    /// Share of the rest, in percent.
    pub percent: Decimal,
    /// How many stock units the channel sells as one (story 40).
    pub pack: Decimal,
    /// Never told less than this. Zero unless the channel takes back-orders.
    pub min: Decimal,
    /// Never told more than this.
    pub max: Option<Decimal>,
    /// Told at most this while an owner's number is too old.
    pub floor: Option<Decimal>,
}

impl Default for PublishRule {
    fn default() -> Self {
        Self {
            buffer: Decimal::ZERO,
            percent: Decimal::ONE_HUNDRED,
            pack: Decimal::ONE,
            min: Decimal::ZERO,
            max: None,
            floor: None,
        }
    }
}

impl PublishRule {
    /// The number, in the channel's packs. Whole packs only: half a box cannot be sold.
    pub fn number(&self, available: Decimal) -> Decimal {
        let rest = available - self.buffer;
        // Dividing decimals is slow, and most rules divide by nothing: there are millions of SKUs.
        let by_one = self.pack == Decimal::ONE || self.pack <= Decimal::ZERO;
        let share = if by_one && self.percent == Decimal::ONE_HUNDRED {
            rest
        } else {
            self.share(rest)
        };
        let number = share.floor().max(self.min);
        self.max.map_or(number, |max| number.min(max))
    }

    fn share(&self, rest: Decimal) -> Decimal {
        let pack = if self.pack > Decimal::ZERO {
            self.pack
        } else {
            Decimal::ONE
        };
        rest.checked_mul(self.percent)
            .and_then(|part| part.checked_div(Decimal::ONE_HUNDRED))
            .and_then(|part| part.checked_div(pack))
            .unwrap_or(Decimal::ZERO)
    }
}
