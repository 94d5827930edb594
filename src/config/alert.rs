//! `[alert]`: when somebody is told that something is wrong, and how.

use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::HIDDEN;
use crate::secret::Secret;

/// When somebody is told that something is wrong, and how. Without a channel the log, the metrics and
/// `crossdock alert list` tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertSettings {
    /// What this installation is called in messages.
    pub name: String,
    /// How long something must be wrong before it is told.
    #[schemars(range(max = 86_400))]
    pub for_secs: u64,
    /// How long it must have been well before it is over.
    #[schemars(range(max = 86_400))]
    pub clear_secs: u64,
    /// How long until what is still wrong is told again.
    #[schemars(range(min = 1))]
    pub repeat_secs: u64,
    /// A stream that fails for this long is told.
    #[schemars(range(min = 1))]
    pub trouble_secs: u64,
    /// A delivery that waits for this long is told.
    #[schemars(range(min = 1))]
    pub pending_secs: u64,
    /// Orders that must leave within this time and have no parcel are told; 0 is never.
    pub ship_by_secs: u64,
    /// When more of something is sold than there is for this long, it is told; 0 is never.
    pub oversold_secs: u64,
    /// A system whose clock differs from ours by more than this is told.
    #[schemars(range(min = 2))]
    pub clock_secs: u64,
    /// The share of `limits.quarantine_max_rows` from which on the quarantine is told.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub quarantine_share: f64,
    /// So many days before it ends a credential is told.
    #[schemars(range(max = 3650))]
    pub credential_days: u64,
    /// A store larger than this is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_048_576))]
    pub store_max_bytes: Option<u64>,
    /// The time zone in whose weeks orders come, such as `Europe/Berlin`.
    pub time_zone: String,
    /// A program that is given each message as JSON on its standard input: its absolute path, then its
    /// arguments. No shell, an empty environment, half a minute.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// An address that is sent each message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<HookSettings>,
    /// A mail server that takes each message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<SmtpSettings>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            name: "crossdock".to_owned(),
            for_secs: 60,
            clear_secs: 300,
            repeat_secs: 6 * 3600,
            trouble_secs: 900,
            pending_secs: 3600,
            ship_by_secs: 86_400,
            oversold_secs: 300,
            clock_secs: 120,
            quarantine_share: 0.5,
            credential_days: 14,
            store_max_bytes: None,
            time_zone: "UTC".to_owned(),
            command: Vec::new(),
            webhook: None,
            smtp: None,
        }
    }
}

/// An address that is sent each message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookSettings {
    /// Where; whoever knows it may write there.
    pub url: Hidden,
    /// In which form.
    #[serde(default)]
    pub style: HookStyle,
}

/// In which form a webhook is sent messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookStyle {
    /// `{"text": …}`, as Slack, Mattermost and others take it.
    #[default]
    Slack,
    /// Everything, as the command hook is given it.
    Json,
}

/// A mail server that takes each message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmtpSettings {
    /// Its name.
    pub host: String,
    /// Its port; 587 for `starttls`, 465 for `implicit`, 25 for `none` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: MailTls,
    /// Who writes: an address, or `Name <address>`.
    pub from: String,
    /// Who is written to.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
    /// Who logs in, where that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// With which password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden>,
    /// A PEM file of certificate authorities to trust besides the usual ones; beside the configuration if
    /// relative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// From the first reply on; refused where the server cannot.
    #[default]
    Starttls,
    /// From the first byte on.
    Implicit,
    /// Not at all: only for a server on this machine.
    None,
}

/// A text that is a secret: neither shown nor written.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Secret);

impl Hidden {
    /// The secret.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Hidden {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hidden".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
