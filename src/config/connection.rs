//! `[connection.NAME]`: a system that the merchant has, and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::record::Stream;
use crate::secret::Secret;

/// One system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSettings {
    /// Which kind of system it is: the name of a connector.
    pub connector: String,
    /// What the connector needs to know; each connector's README lists it.
    #[serde(default)]
    pub settings: Settings,
    /// When this system's stock number falls, if it is not as the connector says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock_basis: Option<StockBasis>,
    /// How long after a confirmed order a read of stock shows it, if it is not as the connector
    /// says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock_lag_secs: Option<u64>,
    /// The last day on which its credentials are good, where they end: `2027-01-31`. Somebody is told
    /// `alert.credential_days` before.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "day"
    )]
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    pub credential_expires: Option<Date>,
    /// How HTTP requests are made.
    #[serde(default)]
    pub http: HttpSettings,
    /// How fast it may be spoken to.
    #[serde(default)]
    pub limits: LimitSettings,
    /// How single streams are read: `[connection.NAME.stream.orders]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "streams_schema")]
    pub stream: BTreeMap<Stream, StreamSettings>,
    /// How what it tells on its own is taken in. What proves that it is it stands in `settings`.
    #[serde(default, skip_serializing_if = "WebhookSettings::is_default")]
    pub webhook: WebhookSettings,
}

/// How webhooks of one system are taken in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// A part of the address that nobody guesses: `/hooks/NAME/PATH_SECRET` instead of `/hooks/NAME`. Letters,
    /// digits, `-` and `_`, at least 16.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hidden")]
    #[schemars(with = "Option<String>")]
    pub path_secret: Option<Secret>,
}

impl WebhookSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn hidden<S: Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(HIDDEN)
}

fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| D::Error::custom("this is no day\nwrite it as 2027-01-31");
    text.parse().map(Some).map_err(wrong)
}

/// When an owner's number falls, and so what a reservation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockBasis {
    /// When it confirms the order.
    Free,
    /// When goods leave.
    OnHand,
    /// Not at all: what is promised to orders is a number of its own.
    AllocatedApart,
}

/// The streams by name, so that an editor can complete them.
fn streams_schema(generator: &mut SchemaGenerator) -> Schema {
    let settings = generator.subschema_for::<StreamSettings>();
    let properties: serde_json::Map<_, _> = Stream::ALL
        .iter()
        .map(|stream| (stream.name().to_owned(), settings.clone().to_value()))
        .collect();
    json_schema!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// What a connector is told, with placeholders replaced: it may hold secrets.
///
/// `Debug` and `Serialize` show the keys only (story 55).
#[derive(Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub toml::Table);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for key in self.0.keys() {
            map.serialize_entry(key, HIDDEN)?;
        }
        map.end()
    }
}

impl JsonSchema for Settings {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Settings".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// What stands for a value that is not shown.
pub const HIDDEN: &str = "[hidden]";

/// How HTTP requests are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// For the whole request, from connecting to the last byte.
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_secs: u64,
    /// For connecting.
    #[schemars(range(min = 1, max = 600))]
    pub connect_timeout_secs: u64,
    /// How long after we gave up waiting, or were killed, the system may still carry a request out;
    /// `timeout_secs` when absent. Until then what got no answer and is not there is not sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86400))]
    pub late_secs: Option<u64>,
    /// The largest reply; `limits.http_max_body_bytes` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024))]
    pub max_body_bytes: Option<u64>,
    /// A proxy: `http://host:port`, with `user:password@` where it wants that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// A PEM file of certificate authorities to trust besides the usual ones; beside the
    /// configuration if relative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What stands in `ca_file`.
    #[serde(skip)]
    #[schemars(skip)]
    pub ca_pem: Option<String>,
}

impl HttpSettings {
    /// [`Self::late_secs`], in force.
    pub fn late(&self) -> Duration {
        Duration::from_secs(self.late_secs.unwrap_or(self.timeout_secs))
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            timeout_secs: 60,
            connect_timeout_secs: 10,
            late_secs: None,
            max_body_bytes: None,
            proxy: None,
            ca_file: None,
            ca_pem: None,
        }
    }
}

/// The address of a proxy. `Debug` and `Serialize` leave out user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    /// The whole address. It may hold a password.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    fn shown(&self) -> String {
        let mut url = self.0.clone();
        if !url.username().is_empty() || url.password().is_some() {
            // Only impossible for addresses without a host, which were refused.
            let _ = url.set_username(HIDDEN).and(url.set_password(None));
        }
        url.to_string()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let help = "write it as http://host:port";
        let url = Url::parse(&text)
            .map_err(|error| D::Error::custom(format!("not an address: {error}\n{help}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(D::Error::custom(format!(
                "a proxy is reached by http or https\n{help}"
            )));
        }
        Ok(Self(url))
    }
}

impl JsonSchema for Proxy {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Proxy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uri" })
    }
}

/// How fast a system may be spoken to. What is absent is as the connector says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests (for connectors with costs: units of cost) each second; may be below 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0001, max = 10_000.0))]
    pub requests_per_second: Option<f64>,
    /// How many at once after a rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub burst: Option<u32>,
    /// How many requests may be under way at the same time; 4 when the connector says nothing either.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: Option<u32>,
}

/// How one stream is read. What is absent is as the connector says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSettings {
    /// The time between two reads; may be below 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.05, max = 604_800.0))]
    pub poll_secs: Option<f64>,
    /// How far before its last moment each read begins; at least the settle lag. Only where a stream is
    /// read by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 2_592_000))]
    pub overlap_secs: Option<u64>,
    /// How long the system takes until it shows everything of a moment. Only where a stream is read by
    /// time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub settle_lag_secs: Option<u64>,
    /// What was read longer ago than this is unknown: it is not published, and an alert is raised.
    /// For stock the default is an hour, or four times the time between two reads if that is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub freshness_secs: Option<u64>,
    /// Orders: a silence longer than this is told. When absent, one that is strange for the hour of the
    /// week, once two weeks were seen. 0 is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_silence_secs: Option<u64>,
    /// The time between two sweeps: everything (of orders: from `start_from` on) is read once more, slowly
    /// and beside the normal reading, for what no timestamp told. Never when absent. Not where each read
    /// reads everything anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60))]
    pub sweep_secs: Option<u64>,
    /// Things that are not closed and at most this old are read again by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 3650))]
    pub reread_open_days: Option<u32>,
}
