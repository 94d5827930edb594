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
