//! The sections about the process itself: `[store]`, `[prove]`, `[server]`, `[log]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use jiff::civil::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Which store keeps the state.
    pub engine: StoreEngine,
    /// The folder of the store; beside the configuration if relative. Without it, the state
    /// directory that systemd gives, else `crossdock-data` beside the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How much memory the store may use for its cache.
    #[schemars(range(min = 1_048_576))]
    pub cache_bytes: u64,
    /// With less free disk than this, nothing more is taken in.
    pub min_free_bytes: u64,
    /// Kept as a file and given up when the disk is full, so that what was taken in can still be
    /// settled.
    pub ballast_bytes: u64,
    /// A store larger than this is compacted while the daemon runs, once it has grown to four times what it was
    /// after the last time; 0 is never. Everything stands still meanwhile: seconds for
    /// each 100 MB that live.
    pub compact_above_bytes: u64,
    /// How long payloads are kept as they came.
    pub raw_ttl_secs: u64,
    /// How long payloads with personal data are kept as they came.
    pub raw_personal_ttl_secs: u64,
    /// How long the journal is kept.
    pub journal_ttl_secs: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            engine: StoreEngine::default(),
            path: None,
            cache_bytes: 16 << 20,
            min_free_bytes: 512 << 20,
            ballast_bytes: 64 << 20,
            compact_above_bytes: 256 << 20,
            raw_ttl_secs: 30 * 86_400,
            raw_personal_ttl_secs: 14 * 86_400,
            journal_ttl_secs: 90 * 86_400,
        }
    }
}

/// Which store keeps the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreEngine {
    /// An embedded database in one file, redb.
    #[default]
    Redb,
    /// Another one, sled: a folder, which takes more room.
    Sled,
    /// Memory. Everything is forgotten at exit: for trying things out.
    Memory,
}

/// When the days are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProveSettings {
    /// Each day, once it is over, is proven as `crossdock prove` does it, and the result is kept.
    pub daily: bool,
    /// From when on yesterday can be proven, in the zone of this machine: hours and minutes.
    #[schemars(with = "String")]
    pub at: Time,
    /// How many days are kept.
    #[schemars(range(min = 1, max = 4000))]
    pub keep_days: usize,
}

impl Default for ProveSettings {
    fn default() -> Self {
        Self {
            daily: true,
            at: Time::constant(4, 0, 0, 0),
            keep_days: 400,
        }
    }
}

/// How people and other programs reach the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Address and port of metrics and dashboard.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The socket through which commands speak to the daemon. Without it, `admin.sock` in the
    /// runtime directory that systemd gives, else in the store's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_socket: Option<PathBuf>,
    /// Address and port on which webhooks are taken in, as plain HTTP behind a proxy that speaks TLS. Without
    /// it nobody listens. Nothing else is served there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub webhooks_listen: Option<SocketAddr>,
    /// What the outside world calls that address: `https://hooks.example.com`. With it, subscriptions at other
    /// systems are made and looked after from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 9464).into(),
            admin_socket: None,
            webhooks_listen: None,
            webhook_url: None,
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// From which level on.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// What may soon need somebody.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// And why.
    Debug,
    /// Everything.
    Trace,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
