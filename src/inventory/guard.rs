//! Checks that stop a run which would do too much harm.

use rust_decimal::Decimal;
use serde::Serialize;

/// What a run is about to do, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Facts {
    /// Keys known before.
    pub known: u64,
    /// Keys in this run.
    pub rows: u64,
    /// Known keys above zero that would become zero or vanish.
    pub to_zero: u64,
}

/// How much is too much, as shares between 0 and 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// At most this share of the known keys may fall to zero in one run.
    pub max_zero_share: Decimal,
    /// A full run may have at most this share fewer rows than the last one.
    pub max_shrink_share: Decimal,
    /// Below so many known keys nothing is judged: a shop with three items sells out.
    pub min_rows: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_zero_share: Decimal::new(3, 1),
            max_shrink_share: Decimal::new(2, 1),
            min_rows: 20,
        }
    }
}

/// Why a run was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// A stable name: `too_many_zeros` or `too_few_rows`.
    pub code: &'static str,
    /// For a person.
    pub message: String,
}

impl Guard {
    /// Judges a full run.
    ///
    /// # Errors
    /// [`Held`], when it would do too much harm.
    pub fn judge(&self, facts: Facts) -> Result<(), Held> {
        if facts.known < self.min_rows {
            return Ok(());
        }
        let known = Decimal::from(facts.known);
        let lost = Decimal::from(facts.known.saturating_sub(facts.rows));
        if lost > known * self.max_shrink_share {
            let message = format!(
                "only {} rows where {} are known: more than {} % are missing",
                facts.rows,
                facts.known,
                (self.max_shrink_share * Decimal::ONE_HUNDRED).normalize()
            );
            return Err(Held {
                code: "too_few_rows",
                message,
            });
        }
        if Decimal::from(facts.to_zero) > known * self.max_zero_share {
            let message = format!(
                "{} of {} known items would fall to zero: more than {} %",
                facts.to_zero,
                facts.known,
                (self.max_zero_share * Decimal::ONE_HUNDRED).normalize()
            );
            return Err(Held {
                code: "too_many_zeros",
                message,
            });
        }
        Ok(())
    }
}

/// The code of a price that moved by more than it may.
pub const PRICE_JUMP: &str = "price_jump";

/// How much movement of prices is too much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PriceGuard {
    /// A price that moves by more than this share of itself is a jump: 0.5 is half of it.
    pub max_jump_share: Decimal,
    /// The share of prices that may jump at once; beyond it, the whole stream stops.
    pub max_jumps_share: Decimal,
    /// With fewer known prices shares mean nothing: each jump is held, the stream never stops.
    pub min_rows: u64,
}

impl Default for PriceGuard {
    fn default() -> Self {
        Self {
            max_jump_share: Decimal::new(5, 1),
            max_jumps_share: Decimal::new(1, 1),
            min_rows: 20,
        }
    }
}

impl PriceGuard {
    /// Judges one price. `told` is what the channel was told last; without it there is nothing to
    /// compare with, but nothing is ever given away by accident.
    ///
    /// # Errors
    /// [`Held`], when it is zero or less, or jumps.
    pub fn judge(&self, told: Option<Decimal>, new: Decimal) -> Result<(), Held> {
        if new <= Decimal::ZERO {
            let message = format!("a price of {} would give it away", new.normalize());
            return Err(Held {
                code: "zero_price",
                message,
            });
        }
        let Some(told) = told.filter(|told| *told > Decimal::ZERO) else {
            return Ok(());
        };
        let moved = (new - told).abs();
        let allowed = told.saturating_mul(self.max_jump_share);
        if moved <= allowed {
            return Ok(());
        }
        let message = format!(
            "the price would go from {} to {}, by more than {} %",
            told.normalize(),
            new.normalize(),
            self.max_jump_share
                .saturating_mul(Decimal::ONE_HUNDRED)
                .normalize()
        );
        Err(Held {
            code: PRICE_JUMP,
            message,
        })
    }

    /// Judges a stream of which `held` prices jumped, of `known` in all.
    ///
    /// # Errors
    /// [`Held`], when that is more than a few single mistakes.
    pub fn judge_run(&self, held: u64, known: u64) -> Result<(), Held> {
        if known < self.min_rows {
            return Ok(());
        }
        let allowed = Decimal::from(known).saturating_mul(self.max_jumps_share);
        if Decimal::from(held) <= allowed {
            return Ok(());
        }
        let message = format!(
            "{held} of {known} prices would jump at once: a decimal point or a currency may have \
             slipped; no price is told until somebody has looked"
        );
        Err(Held {
            code: "too_many_jumps",
            message,
        })
    }
}
