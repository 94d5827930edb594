//! `[route.NAME]` and `[mapping.NAME]`: what is carried from where to where, and how it is changed.

use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::section::suggest;
use super::tree::Node;
use crate::id::ConnectionName;
use crate::record::Stream;

/// One stream of one connection, written `north.orders`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Which connection.
    pub connection: ConnectionName,
    /// Which stream of it.
    pub stream: Stream,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.connection, self.stream)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Endpoint {
    /// Reads `north.orders`. The error is what is wrong, a line break, and what helps.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((connection, stream)) = text.rsplit_once('.') else {
            let help = "write connection.stream, such as north.orders";
            return Err(format!("this names no stream\n{help}"));
        };
        let Ok(stream) = stream.parse() else {
            let known: Vec<&str> = Stream::ALL.iter().map(|stream| stream.name()).collect();
            let help = suggest(Some(stream), &known);
            return Err(format!("there is no stream `{stream}`\n{help}"));
        };
        Ok(Self {
            connection: ConnectionName::new(connection),
            stream,
        })
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let streams: Vec<&str> = Stream::ALL.iter().map(|stream| stream.name()).collect();
        let pattern = format!("^[A-Za-z][A-Za-z0-9_-]*\\.({})$", streams.join("|"));
        json_schema!({
            "description": "One stream of one connection, such as `north.orders`.",
            "type": "string",
            "pattern": pattern,
        })
    }
}

/// Whether a route or publish rule writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Counts and shows what it would do; writes nothing.
    #[default]
    Observe,
    /// Writes.
    Apply,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// What is read: `connection.stream`.
    pub from: Endpoint,
    /// Where it goes: `connection.stream`.
    pub to: Endpoint,
    /// Whether it writes.
    #[serde(default)]
    pub mode: Mode,
    /// The name of the mapping that changes records on the way; without one they go as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// For events (orders, shipments, …): nothing older than this is carried. RFC 3339, such as
    /// `2026-11-01T00:00:00Z`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "moment"
    )]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub start_from: Option<Timestamp>,
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_| {
        let help = "write it with its offset from UTC, such as 2026-11-01T00:00:00Z or \
                    2026-11-01T00:00:00+01:00";
        D::Error::custom(format!("this is no moment in time\n{help}"))
    })
}

/// One mapping, as it was written; `crate::mapping` compiles it.
///
/// Each [`Node`] knows where it stands, so that findings of the compiler point into the file.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingTable(pub Node);

impl Serialize for MappingTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_toml(true).serialize(serializer)
    }
}

impl JsonSchema for MappingTable {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mapping".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What each field of the target is made of.",
            "type": "object",
        })
    }
}
