//! `[pool.NAME]`, `[publish.NAME]` and `[guard]`: whose stock there is, who is told how much of it,
//! and what is too strange to be believed.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::route::{Endpoint, Mode};
use crate::id::ConnectionName;

/// Stock that is sold together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolSettings {
    /// The streams of stock that it consists of: the owners' numbers.
    #[schemars(length(min = 1))]
    pub members: Vec<PoolMember>,
    /// Whose shipments take reservations off; may be left out when all members are of one
    /// connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub fulfilled_by: Option<ConnectionName>,
    /// Tills that sell out of it and are told no stock: their goods have gone with the buyer before the
    /// owner hears of it. None whose sales the owner's own number knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub tills: Vec<ConnectionName>,
}

/// One owner's stock in a pool: `"erp.stock"`, or a table when only some locations count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolMember {
    /// Which stream.
    pub stream: Endpoint,
    /// Which of its locations; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<String>,
    /// What was read longer ago than this is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness_secs: Option<u64>,
}

/// The long form of a [`PoolMember`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MemberTable {
    /// Which stream.
    stream: Endpoint,
    /// Which of its locations; all when absent.
    #[serde(default)]
    locations: Vec<String>,
    /// What was read longer ago than this is unknown.
    #[schemars(range(min = 1))]
    freshness_secs: Option<u64>,
}

impl<'de> Deserialize<'de> for PoolMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = PoolMember;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stream such as \"erp.stock\", or { stream = \"erp.stock\", … }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PoolMember, E> {
                let stream = Endpoint::parse(text).map_err(E::custom)?;
                Ok(PoolMember {
                    stream,
                    locations: Vec::new(),
                    freshness_secs: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PoolMember, A::Error> {
                let table = MemberTable::deserialize(MapAccessDeserializer::new(map))?;
                let MemberTable {
                    stream,
                    locations,
                    freshness_secs,
                } = table;
                Ok(PoolMember {
                    stream,
                    locations,
                    freshness_secs,
                })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for PoolMember {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PoolMember".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let short = generator.subschema_for::<Endpoint>();
        let long = generator.subschema_for::<MemberTable>();
        json_schema!({ "anyOf": [short, long] })
    }
}

/// Tells a channel how much of a pool it may sell:
/// `clamp(floor((available - buffer) * percent / 100 / pack), min, max)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishSettings {
    /// Of which pool.
    pub pool: String,
    /// Which stream of stock is told: `connection.stock`.
    pub to: Endpoint,
    /// Whether it writes.
    #[serde(default)]
    pub mode: Mode,
    /// Kept back, in pieces.
    #[serde(default)]
    pub buffer: u32,
    /// The share of the rest that this channel is told.
    #[serde(default = "hundred")]
    #[schemars(range(max = 100))]
    pub percent: u8,
    /// Never told less, even if there is less.
    #[serde(default)]
    pub min: u32,
    /// Never told more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// How many pieces the channel sells as one.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub pack: u32,
    /// Told at most this while an owner's number is too old; without it, the channel keeps the last
    /// number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<u32>,
    /// Other numbers for single items, by SKU: `[publish.NAME.item."SKU-1"]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub item: BTreeMap<String, ItemSettings>,
}

fn hundred() -> u8 {
    100
}

fn one() -> u32 {
    1
}

/// What is different for one item. What is absent is as for all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ItemSettings {
    /// Kept back, in pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<u32>,
    /// The share of the rest that this channel is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub percent: Option<u8>,
    /// Never told less, even if there is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Never told more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// How many pieces the channel sells as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pack: Option<u32>,
    /// Told at most this while an owner's number is too old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<u32>,
}

/// What is too strange to be believed: a read or file beyond these is held and somebody is told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Guards {
    /// For stock.
    pub stock: StockGuard,
    /// For prices.
    pub prices: PriceGuard,
}

/// The guard over stock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StockGuard {
    /// The share of SKUs with stock that may fall to zero at once.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_zero_share: f64,
    /// The share of rows that a full read or file may have less than the last good one.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_shrink_share: f64,
    /// With fewer known rows than this, shares mean nothing and are not judged.
    pub min_rows: u64,
}

impl Default for StockGuard {
    fn default() -> Self {
        Self {
            max_zero_share: 0.3,
            max_shrink_share: 0.2,
            min_rows: 20,
        }
    }
}

/// The guard over prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PriceGuard {
    /// A price that moves by more than this share of what was told last is a jump: it is held until
    /// somebody lets it, or it moves back. A price of 0 is held always.
    #[schemars(range(min = 0.0))]
    pub max_jump_share: f64,
    /// The share of prices that may jump at once; if more do, no price is told until somebody has
    /// looked or the source is mended.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_jumps_share: f64,
    /// With fewer known prices than this, shares mean nothing: jumps are only held one by one.
    pub min_rows: u64,
}

impl Default for PriceGuard {
    fn default() -> Self {
        Self {
            max_jump_share: 0.5,
            max_jumps_share: 0.1,
            min_rows: 20,
        }
    }
}
