//! What the engine decides by: the plan, reduced to what decisions need.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::connector::{StockBasis, StockWrite};
use crate::fault::Fault;
use crate::id::{ConnectionName, Key, RouteName};
use crate::inventory::{Guard, PriceGuard, PublishRule};
use crate::outbox::Backoff;
use crate::record::{Nature, Stream};
use crate::router::{Mode, Route, Router};

/// What a route's mapping makes of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Mapped {
    /// This goes on.
    Kept(Value),
    /// A rule of that name keeps it back.
    Filtered(String),
}

/// A route's mapping, whatever it is made of.
pub trait RecordMapping: Send + Sync + Debug {
    /// The record's JSON form, mapped.
    ///
    /// # Errors
    /// `Reject`: it goes to quarantine; the original never passes through.
    fn apply(&self, record: &Value) -> Result<Mapped, Fault>;
    /// Tells one version of the mapping from another.
    fn version(&self) -> &str;
}

/// One owner's stock stream in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolMember {
    /// The owner.
    pub connection: ConnectionName,
    /// Only these locations; all when empty.
    pub locations: BTreeSet<String>,
    /// Older than this is unknown.
    pub freshness: Duration,
}

/// Stock that is sold as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its owners.
    pub members: Vec<PoolMember>,
    /// Whose shipments take goods out of it.
    pub fulfilled_by: Option<ConnectionName>,
    /// Who sells out of it and is told no stock: the goods go at once, and the owner hears of it later.
    pub tills: BTreeSet<ConnectionName>,
}

/// One channel's view of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// `[publish.NAME]`; counted and shown like a route.
    pub name: RouteName,
    /// Which pool.
    pub pool: String,
    /// Which channel's stock stream.
    pub to: ConnectionName,
    /// Whether it writes.
    pub mode: Mode,
    /// The rule for all items.
    pub rule: PublishRule,
    /// The rule for single items.
    pub items: BTreeMap<Key, PublishRule>,
}

/// Declared facts of a connection that decisions need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// When the owner's number falls.
    pub stock_basis: StockBasis,
    /// How it is told a quantity.
    pub stock_write: StockWrite,
    /// After a step succeeded, a read shows it this much later.
    pub stock_lag: Duration,
    /// How long after nobody waits for a request any more it may still be carried out over there.
    pub late: Duration,
}

/// Everything the engine decides by. Replaced as a whole at reload.
#[derive(Debug, Default)]
pub struct Rules {
    /// Which routes a change takes.
    pub router: Router,
    /// By route; a route without one passes records as they are.
    pub mappings: BTreeMap<RouteName, Arc<dyn RecordMapping>>,
    /// By name.
    pub pools: BTreeMap<String, Pool>,
    /// In the order of the configuration.
    pub publishes: Vec<Publish>,
    /// By connection.
    pub facts: BTreeMap<ConnectionName, Facts>,
    /// Whose value wins, by stream; where nobody is named, whoever has a thing first owns it.
    pub owners: BTreeMap<Stream, ConnectionName>,
    /// How much a complete run may take away.
    pub guard: Guard,
    /// How much prices may move.
    pub price_guard: PriceGuard,
    /// In which time zone's weeks orders come; UTC when absent.
    pub zone: Option<TimeZone>,
    /// Bounds.
    pub limits: EngineLimits,
}

/// The engine's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineLimits {
    /// The delay curve of retries.
    pub backoff: Backoff,
    /// How long a delivery is tried before a person must look.
    pub max_age: Duration,
    /// How long payloads are kept.
    pub payload_ttl: Duration,
    /// How long payloads with personal data are kept.
    pub personal_payload_ttl: Duration,
    /// The largest payload that is kept, in bytes before compression.
    pub max_payload_bytes: usize,
    /// How long until a SKU that a channel does not have is offered again.
    pub not_listed_retry: Duration,
    /// How long less stock waits for an earlier value that the channel took in and has not confirmed.
    pub overtake_after: Duration,
    /// How long a channel may take to confirm a value that it took in.
    pub submission_max: Duration,
    /// So many rows of the quarantine are too many: what would need another one is not accepted.
    pub quarantine_rows: usize,
    /// How many bytes the rows of the quarantine may take before nothing that needs another is taken in.
    pub quarantine_bytes: u64,
    /// What stands in quarantine for longer is let go; nothing is where absent.
    pub quarantine_age: Option<Duration>,
    /// How long the journal is kept.
    pub journal_ttl: Duration,
    /// How many rows a group commit stages before it is committed.
    pub commit_rows: usize,
    /// How many deliveries for one stream of a sink stand in memory; new orders behind them stand in the store alone.
    pub queue_rows: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            max_age: Duration::from_secs(24 * 3600),
            payload_ttl: Duration::from_secs(30 * 24 * 3600),
            personal_payload_ttl: Duration::from_secs(14 * 24 * 3600),
            max_payload_bytes: 256 * 1024,
            not_listed_retry: Duration::from_secs(3600),
            overtake_after: Duration::from_secs(600),
            submission_max: Duration::from_secs(3600),
            quarantine_rows: 100_000,
            quarantine_bytes: 256 << 20,
            quarantine_age: None,
            journal_ttl: Duration::from_secs(90 * 24 * 3600),
            commit_rows: 500,
            queue_rows: 20_000,
        }
    }
}

impl Rules {
    /// Declared facts of a connection; the careful defaults for one that is not configured any more.
    pub fn facts(&self, connection: &ConnectionName) -> Facts {
        self.facts.get(connection).copied().unwrap_or_default()
    }

    /// Who owns a stream, where the configuration says so. Only state has one owner, and stock has
    /// pools instead.
    pub fn owner_of(&self, stream: Stream) -> Option<&ConnectionName> {
        let owned = stream.nature() == Nature::State && stream != Stream::Stock;
        self.owners.get(&stream).filter(|_| owned)
    }

    /// Whether a route begins at the owner of its stream. A change of anybody else is shown, and not
    /// carried.
    pub fn may_tell(&self, route: &Route) -> bool {
        let (connection, stream) = &route.from;
        self.owner_of(*stream)
            .is_none_or(|owner| owner == connection)
    }

    /// The pools to which a stock stream belongs.
    pub fn pools_of<'a>(
        &'a self,
        connection: &'a ConnectionName,
    ) -> impl Iterator<Item = (&'a str, &'a Pool)> {
        let holds = |pool: &Pool| pool.members.iter().any(|m| m.connection == *connection);
        self.pools
            .iter()
            .filter(move |(_, pool)| holds(pool))
            .map(|(name, pool)| (name.as_str(), pool))
    }

    /// The channels that are told about a pool.
    pub fn channels_of<'a>(&'a self, pool: &'a str) -> impl Iterator<Item = &'a Publish> {
        self.publishes
            .iter()
            .filter(move |publish| publish.pool == pool)
    }

    /// The pool that an order of this channel or till is taken from.
    pub fn pool_of_channel(&self, channel: &ConnectionName) -> Option<(&str, &Pool)> {
        let publish = self.publishes.iter().find(|publish| publish.to == *channel);
        let found = match publish {
            Some(publish) => self.pools.get_key_value(&publish.pool),
            None => self
                .pools
                .iter()
                .find(|(_, pool)| pool.tills.contains(channel)),
        };
        found.map(|(name, pool)| (name.as_str(), pool))
    }

    /// Whether anything of this stream of a connection is used.
    pub fn uses(&self, connection: &ConnectionName, stream: Stream) -> bool {
        let routed = !self.router.from(connection, stream).is_empty();
        routed || (stream == Stream::Stock && self.pools_of(connection).next().is_some())
    }
}
