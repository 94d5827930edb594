//! Webhooks: what came of each, and how the subscriptions behind them are.

use crate::fault::Fault;
use crate::id::ConnectionName;
use crate::record::Stream;

/// Webhooks, by connection and outcome.
pub const WEBHOOKS: &str = "crossdock_webhooks_total";
/// Things that webhooks told of, by connection and what became of them.
pub const HINTS: &str = "crossdock_webhook_hints_total";
/// Things that could not be fetched by id, by connection and stream.
pub const FETCHES_FAILED: &str = "crossdock_fetches_failed_total";
/// When a genuine webhook came last, in seconds since 1970, by connection.
pub const LAST_WEBHOOK: &str = "crossdock_webhook_last_timestamp_seconds";
/// Subscriptions at the other side, by connection and state.
pub const SUBSCRIPTIONS: &str = "crossdock_webhook_subscriptions";
/// Subscriptions that were missing or given up and are made again, by connection.
pub const RESUBSCRIBED: &str = "crossdock_webhook_resubscribed_total";
/// Looks at subscriptions that failed, by connection.
pub const SUBSCRIPTIONS_FAILED: &str = "crossdock_webhook_subscription_checks_failed_total";

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Webhook {
    /// Its hints are durable.
    Taken,
    /// It only asked whether anybody is there.
    Ping,
    /// It does not prove its sender.
    Forged,
    /// It is genuine and cannot be understood.
    NotUnderstood,
    /// The sender must tell it again.
    Busy,
}

impl Webhook {
    fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Ping => "ping",
            Self::Forged => "forged",
            Self::NotUnderstood => "not_understood",
            Self::Busy => "busy",
        }
    }
}

/// A webhook was answered; said in the log when that `is_new` for its connection.
pub fn webhook(connection: &ConnectionName, became: Webhook, why: Option<&Fault>, is_new: bool) {
    let labels = [
        ("connection", connection.to_string()),
        ("outcome", became.name().to_owned()),
    ];
    metrics::counter!(WEBHOOKS, &labels).increment(1);
    let outcome = became.name();
    match (why, is_new) {
        (Some(fault), true) => {
            tracing::warn!(%connection, outcome, %fault, "a webhook was refused; more of these are only counted");
        }
        (None, true) => tracing::info!(%connection, outcome, "webhooks arrive"),
        (_, false) => tracing::debug!(%connection, outcome, "webhook"),
    }
}

/// A webhook came for a connection that is none or takes in none.
pub fn webhook_for_nobody() {
    metrics::counter!(WEBHOOKS, "outcome" => "nobody").increment(1);
    tracing::debug!("a webhook for no connection");
}

/// A genuine webhook came at this moment.
#[expect(clippy::cast_precision_loss, reason = "a gauge, and seconds are few")]
pub fn webhook_at(connection: &ConnectionName, seconds: i64) {
    metrics::gauge!(LAST_WEBHOOK, "connection" => connection.to_string()).set(seconds as f64);
}

/// What became of the things that a webhook told of.
pub fn webhook_hints(connection: &ConnectionName, counts: &[(&'static str, usize)]) {
    for (became, count) in counts.iter().filter(|(_, count)| *count > 0) {
        let labels = [
            ("connection", connection.to_string()),
            ("outcome", (*became).to_owned()),
        ];
        metrics::counter!(HINTS, &labels).increment(*count as u64);
    }
}

/// A thing is told of too often; said in the log when that `is_new` for its stream.
pub fn webhook_slowed(connection: &ConnectionName, stream: Stream, most: u32, is_new: bool) {
    if is_new {
        tracing::warn!(
            %connection, %stream,
            "a thing is told of more than {most} times a minute (limits.hints_per_minute): it is \
             fetched once a minute. Does something over there write whenever it is read?"
        );
    }
}

/// Things could not be fetched by id.
pub fn fetch_failed(connection: &ConnectionName, stream: Stream, count: usize, fault: &Fault) {
    super::count(FETCHES_FAILED, connection, stream, count);
    tracing::warn!(%connection, %stream, count, class = ?fault.class, %fault, "not fetched");
}

/// How the subscriptions of a connection are now.
#[derive(Debug, Clone, Copy)]
pub struct Subscriptions<'a> {
    /// Topics that are right, those made just now included.
    pub right: usize,
    /// Topics that nobody had subscribed to for our address.
    pub created: &'a [String],
    /// Topics that the other side had given up.
    pub revived: &'a [String],
    /// Topics that a person has stopped.
    pub stopped: &'a [String],
}

/// The subscriptions of a connection were looked at; what is stopped is said when that `is_new`.
pub fn subscriptions(connection: &ConnectionName, told: &Subscriptions<'_>, is_new: bool) {
    let gauge = |state: &'static str, count: usize| {
        let labels = [
            ("connection", connection.to_string()),
            ("state", state.to_owned()),
        ];
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        metrics::gauge!(SUBSCRIPTIONS, &labels).set(f64::from(count));
    };
    gauge("right", told.right);
    gauge("stopped", told.stopped.len());
    let again = told.created.len() + told.revived.len();
    let labels = [("connection", connection.to_string())];
    metrics::counter!(RESUBSCRIBED, &labels).increment(again as u64);
    if !told.revived.is_empty() {
        let topics = told.revived.join(", ");
        tracing::warn!(%connection, topics, "the other side had given webhooks up; they are started again");
    }
    if !told.created.is_empty() {
        let topics = told.created.join(", ");
        tracing::info!(%connection, topics, "subscribed to webhooks");
    }
    if is_new && !told.stopped.is_empty() {
        let topics = told.stopped.join(", ");
        tracing::warn!(%connection, topics, "somebody has stopped webhooks over there; they are left so");
    }
}

/// The subscriptions of a connection could not be looked at; said when that `is_new`.
pub fn subscriptions_failed(connection: &ConnectionName, fault: &Fault, is_new: bool) {
    metrics::counter!(SUBSCRIPTIONS_FAILED, "connection" => connection.to_string()).increment(1);
    if is_new {
        tracing::warn!(%connection, %fault, "the subscriptions to webhooks could not be looked at");
    }
}
