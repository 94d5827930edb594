//! Money: an exact amount and its currency, never one without the other.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::Fault;

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// From its three-letter code, in either case.
    ///
    /// # Errors
    /// `Reject` for a code that ISO 4217 does not list.
    pub fn from_code(code: &str) -> Result<Self, Fault> {
        iso_currency::Currency::from_code(&code.trim().to_ascii_uppercase())
            .map(Self)
            .ok_or_else(|| {
                Fault::reject(
                    "unknown_currency",
                    format!("`{code}` is not an ISO 4217 currency"),
                )
            })
    }

    /// `EUR`.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimals its minor unit has: EUR 2, JPY 0, KWD 3.
    pub fn minor_digits(self) -> u32 {
        self.0.exponent().map_or(2, u32::from)
    }
}

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Currency {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.code().cmp(other.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = Fault;

    fn from_str(code: &str) -> Result<Self, Fault> {
        Self::from_code(code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::from_code(&code).map_err(|fault| serde::de::Error::custom(fault.message))
    }
}

/// An exact amount in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// In major units: 12.30 is twelve euros and thirty cents. At most 6 decimals (a unit price may
    /// be finer than a cent).
    #[serde(with = "super::decimal")]
    pub amount: Decimal,
    /// Of which currency.
    pub currency: Currency,
}

impl Money {
    /// An amount in major units.
    pub fn new(amount: Decimal, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// Nothing.
    pub fn zero(currency: Currency) -> Self {
        Self::new(Decimal::ZERO, currency)
    }

    /// From minor units: 1230 cents, 500 yen, 1230 fils (story 59).
    pub fn from_minor(minor: i64, currency: Currency) -> Self {
        Self::new(Decimal::new(minor, currency.minor_digits()), currency)
    }

    /// The sum.
    ///
    /// # Errors
    /// `Reject` for two currencies (story 58) or an amount too large to be represented.
    pub fn plus(self, other: Self) -> Result<Self, Fault> {
        self.same_currency(other)?;
        let sum = self
            .amount
            .checked_add(other.amount)
            .ok_or_else(too_large)?;
        Ok(Self::new(sum, self.currency))
    }

    /// The difference.
    ///
    /// # Errors
    /// As [`Money::plus`].
    pub fn minus(self, other: Self) -> Result<Self, Fault> {
        self.plus(Self::new(-other.amount, other.currency))
    }

    /// The amount times a plain number.
    ///
    /// # Errors
    /// `Reject` for an amount too large to be represented.
    pub fn times(self, factor: Decimal) -> Result<Self, Fault> {
        let product = self.amount.checked_mul(factor).ok_or_else(too_large)?;
        Ok(Self::new(product, self.currency))
    }

    /// Whether it fits its currency's minor unit: 12.305 EUR and 100.5 JPY do not.
    pub fn is_whole_minor(self) -> bool {
        self.amount.normalize().scale() <= self.currency.minor_digits()
    }

    fn same_currency(self, other: Self) -> Result<(), Fault> {
        if self.currency == other.currency {
            return Ok(());
        }
        let (one, two) = (self.currency, other.currency);
        Err(Fault::reject(
            "mixed_currencies",
            format!("cannot add {one} and {two}"),
        ))
    }
}

fn too_large() -> Fault {
    Fault::reject(
        "amount_too_large",
        "an amount is too large to be represented",
    )
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self
            .currency
            .minor_digits()
            .max(self.amount.normalize().scale()) as usize;
        write!(f, "{:.digits$} {}", self.amount, self.currency)
    }
}
