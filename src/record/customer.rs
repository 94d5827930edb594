//! Customers. Personal data, nearly all of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Address, ExtRef, Presence};

/// A person or a company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerKind {
    /// A person.
    #[default]
    Person,
    /// A company.
    Company,
}

/// A tax number of some scheme.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaxId {
    /// `eu_vat`, `us_ein`, …
    pub scheme: String,
    /// The number.
    pub value: String,
    /// Whether somebody checked it.
    #[serde(default)]
    pub verified: bool,
}

/// Whether somebody may be written to for advertising.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Consent {
    /// Yes or no.
    pub given: bool,
    /// When it was said.
    pub at: Timestamp,
    /// Where it was said.
    pub source: String,
}

/// Who buys. Matching two customers is configuration, never a guess by name or e-mail (story 24, 25).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Customer {
    /// The source's id; absent for a guest.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub id: Presence<String>,
    /// Other ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ExtRef>,
    /// A person or a company.
    pub kind: CustomerKind,
    /// Full name.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub name: Presence<String>,
    /// Company.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub company: Presence<String>,
    /// E-mail.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub email: Presence<String>,
    /// The channel gave a relay address that is another one for each order.
    pub email_masked: bool,
    /// E.164 where it could be read as that.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub phone: Presence<String>,
    /// Tax numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tax_ids: Vec<TaxId>,
    /// Where they live and receive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Which prices they pay.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub price_list: Presence<String>,
    /// When they pay.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub payment_terms: Presence<String>,
    /// BCP 47.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub language: Presence<String>,
    /// Advertising.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub marketing_consent: Presence<Consent>,
    /// When their personal data must be gone.
    #[serde(skip_serializing_if = "Presence::is_absent")]
    pub pii_expires_at: Presence<Timestamp>,
}
