//! Every bound of the whole program, with its default. What has no bound here has none at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[limits]`. The defaults suit a merchant with a million items on a machine with 1 GB of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest reply to one HTTP request, unless the connection says otherwise.
    #[schemars(range(min = 1024))]
    pub http_max_body_bytes: u64,
    /// The largest single record.
    #[schemars(range(min = 1024))]
    pub record_max_bytes: u64,
    /// The largest payload that is kept as it came, before compression.
    pub raw_max_bytes: usize,
    /// The most changes that one page of a source may hold.
    #[schemars(range(min = 1, max = 100_000))]
    pub page_max_changes: usize,
    /// The most changes that are accepted in one commit; a decrease of stock passes between two. Of
    /// things that are a row each (orders, items, …) at most 64.
    #[schemars(range(min = 1, max = 4000))]
    pub accept_max_changes: usize,
    /// The most rows that are written in one commit.
    #[schemars(range(min = 50, max = 2000))]
    pub commit_max_rows: usize,
    /// The most pages that one run of a stream reads before deliveries and other streams get their turn.
    #[schemars(range(min = 1, max = 10_000))]
    pub intake_max_pages: usize,
    /// The most events that wait to be delivered before the sources of events pause.
    #[schemars(range(min = 1))]
    pub outbox_max_events: usize,
    /// The most bytes of events that wait to be delivered before the sources of events pause.
    #[schemars(range(min = 1_048_576))]
    pub outbox_max_bytes: u64,
    /// How many deliveries for one stream of a system stand in memory; new orders behind them stand in the store alone
    /// until their turn is near.
    #[schemars(range(min = 1))]
    pub outbox_max_in_memory: usize,
    /// The most rows in quarantine before nothing more is read.
    #[schemars(range(min = 1))]
    pub quarantine_max_rows: usize,
    /// The most bytes of rows in quarantine before nothing more is read.
    #[schemars(range(min = 1_048_576))]
    pub quarantine_max_bytes: u64,
    /// What nobody decided about for this long is let go with that reason, counted and kept in the journal;
    /// 0: never.
    pub quarantine_max_age_secs: u64,
    /// The most deliveries in one call of a sink, even if the connector could take more.
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_max_deliveries: usize,
    /// The wait in milliseconds after the first failed attempt; it doubles with each further one.
    #[schemars(range(min = 10, max = 3_600_000))]
    pub retry_first_ms: u64,
    /// The longest wait between two attempts.
    #[schemars(range(min = 1, max = 86_400))]
    pub retry_max_secs: u64,
    /// A delivery that failed for this long goes to quarantine.
    #[schemars(range(min = 60))]
    pub retry_max_age_secs: u64,
    /// How long until a SKU that a channel does not have is offered to it again.
    #[schemars(range(min = 60))]
    pub not_listed_retry_secs: u64,
    /// How long less stock waits for an earlier number that a channel took in and has not confirmed (a feed that
    /// does not end); then it is told in another way.
    #[schemars(range(min = 1, max = 86_400))]
    pub overtake_after_secs: u64,
    /// How long a channel may take to confirm a number or price that it took in; then it counts as failed.
    #[schemars(range(min = 60))]
    pub submission_max_secs: u64,
    /// A delivery that waits for a link this long raises an alert.
    #[schemars(range(min = 60))]
    pub waiting_alert_secs: u64,
    /// The largest file of a supplier.
    #[schemars(range(min = 1024))]
    pub feed_max_bytes: u64,
    /// The most rows of a supplier's file.
    #[schemars(range(min = 1))]
    pub feed_max_rows: u64,
    /// The most columns of a supplier's file.
    #[schemars(range(min = 1, max = 100_000))]
    pub feed_max_columns: usize,
    /// The largest cell of a supplier's file.
    #[schemars(range(min = 16))]
    pub feed_max_cell_bytes: usize,
    /// The largest request to our own server.
    #[schemars(range(min = 1024))]
    pub server_max_body_bytes: u64,
    /// The most connections to our own server at once.
    #[schemars(range(min = 1, max = 65_536))]
    pub server_max_connections: usize,
    /// The most things of one connection that webhooks told of and that wait to be fetched; beyond that the
    /// senders are asked to tell it again later.
    #[schemars(range(min = 1, max = 100_000))]
    pub hints_max: usize,
    /// A thing that webhooks tell of more often than this in a minute is fetched once a minute.
    #[schemars(range(min = 1, max = 10_000))]
    pub hints_per_minute: u32,
    /// A loop that does not get on for this long counts as stuck: `/healthz` fails and systemd's
    /// watchdog is not fed any more. Longer than the slowest request may take.
    #[schemars(range(min = 5, max = 86_400))]
    pub stuck_secs: u64,
    /// How long a shutdown, or a reload that changes a connection, waits for what is under way.
    #[schemars(range(max = 600))]
    pub drain_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            http_max_body_bytes: 32 << 20,
            record_max_bytes: 1 << 20,
            raw_max_bytes: 256 << 10,
            page_max_changes: 10_000,
            accept_max_changes: 4000,
            commit_max_rows: 500,
            intake_max_pages: 32,
            outbox_max_events: 1_000_000,
            outbox_max_bytes: 4 << 30,
            outbox_max_in_memory: 20_000,
            quarantine_max_rows: 100_000,
            quarantine_max_bytes: 256 << 20,
            quarantine_max_age_secs: 180 * 86_400,
            batch_max_deliveries: 250,
            retry_first_ms: 250,
            retry_max_secs: 300,
            retry_max_age_secs: 86_400,
            not_listed_retry_secs: 3600,
            overtake_after_secs: 600,
            submission_max_secs: 3600,
            waiting_alert_secs: 3600,
            feed_max_bytes: 2 << 30,
            feed_max_rows: 20_000_000,
            feed_max_columns: 2000,
            feed_max_cell_bytes: 64 << 10,
            server_max_body_bytes: 1 << 20,
            server_max_connections: 256,
            hints_max: 20_000,
            hints_per_minute: 10,
            stuck_secs: 900,
            drain_secs: 20,
        }
    }
}
