//! What is told while it happens: one function per event, log line and metric together.
//!
//! Names of metrics stand here as constants and nowhere else. Labels are connections, streams and routes;
//! never a SKU or an order.

mod attention;
mod hooks;
mod pulse;

pub use attention::Room;
pub use hooks::{
    Subscriptions, Webhook, fetch_failed, subscriptions, subscriptions_failed, webhook, webhook_at,
    webhook_for_nobody, webhook_hints, webhook_slowed,
};
pub use pulse::{Condition, Place, Pulse, Pulses, Reloaded, StreamHealth, Vitals};

use std::time::Duration;

use crate::alert::{Cause, Notice, Severity, Step, text};
use crate::fault::Fault;
use crate::id::ConnectionName;
use crate::record::Stream;

/// Changes read, by connection and stream.
pub const CHANGES_READ: &str = "crossdock_changes_read_total";
/// Runs that failed, by connection, stream and class.
pub const READS_FAILED: &str = "crossdock_reads_failed_total";
/// 1 while a stream is not read on because the quarantine is full, by connection and stream.
pub const STOPPED: &str = "crossdock_stream_stopped";
/// Things read by sweeps, by connection and stream.
pub const SWEPT: &str = "crossdock_swept_total";
/// Of those, what the normal reading had not told, by connection and stream.
pub const FOUND_BY_SWEEP: &str = "crossdock_found_by_sweep_total";
/// Sweeps that could not go on, by connection and stream.
pub const SWEEPS_FAILED: &str = "crossdock_sweeps_failed_total";
/// Deliveries settled as delivered, by connection and stream.
pub const DELIVERED: &str = "crossdock_delivered_total";
/// Attempts that were not delivered, by connection and stream.
pub const NOT_DELIVERED: &str = "crossdock_attempts_failed_total";
/// Rounds that failed because the engine did, by connection and stream.
pub const SENDS_FAILED: &str = "crossdock_sends_failed_total";
/// Reloads, by outcome: `applied` or `refused`.
pub const RELOADS: &str = "crossdock_reloads_total";
/// How often the store was compacted while the daemon ran.
pub const COMPACTIONS: &str = "crossdock_store_compactions_total";
/// Orders of the day that was proven last that differ between both sides for no known reason.
pub const PROOF_UNEXPLAINED: &str = "crossdock_proof_unexplained";
/// Free bytes of the store's file system.
pub const DISK_FREE: &str = "crossdock_disk_free_bytes";
/// 1 while a condition of the whole process holds, by condition.
pub const CONDITION: &str = "crossdock_condition";

/// 1 while somebody was told of a cause that is not over, by kind, subject and severity.
pub const ALERT: &str = "crossdock_alert";
/// Messages that a channel took, by channel.
pub const ALERTS_SENT: &str = "crossdock_alerts_sent_total";
/// Messages that a channel did not take, by channel.
pub const ALERTS_NOT_SENT: &str = "crossdock_alerts_not_sent_total";

/// What a run of reading did, in numbers.
#[derive(Debug, Clone, Copy)]
pub struct ReadRun {
    /// Pages.
    pub pages: usize,
    /// Changes.
    pub changes: usize,
    /// Of those, news.
    pub news: usize,
    /// Of those, in quarantine.
    pub rejected: usize,
}

/// A stream was read.
pub fn read(connection: &ConnectionName, stream: Stream, run: &ReadRun) {
    count(CHANGES_READ, connection, stream, run.changes);
    if run.news > 0 || run.rejected > 0 {
        let ReadRun {
            pages,
            changes,
            news,
            rejected,
        } = run;
        tracing::info!(%connection, %stream, pages, changes, news, rejected, "read");
    } else {
        tracing::debug!(%connection, %stream, pages = run.pages, changes = run.changes, "read");
    }
}

/// A stream could not be read.
pub fn read_failed(connection: &ConnectionName, stream: Stream, fault: &Fault) {
    count(READS_FAILED, connection, stream, 1);
    tracing::warn!(%connection, %stream, class = ?fault.class, %fault, "read failed");
}

/// A stream is not read on because the quarantine is full, or is read.
pub fn stopped(connection: &ConnectionName, stream: Stream, is: bool) {
    let labels = [
        ("connection", connection.to_string()),
        ("stream", stream.name().to_owned()),
    ];
    metrics::gauge!(STOPPED, &labels).set(f64::from(u8::from(is)));
}

/// A page of a sweep was accepted.
pub fn swept(connection: &ConnectionName, stream: Stream, read: usize, found: usize) {
    count(SWEPT, connection, stream, read);
    count(FOUND_BY_SWEEP, connection, stream, found);
    if found > 0 {
        tracing::info!(%connection, %stream, read, found, "found by sweep");
    }
}

/// A page of a sweep could not be read.
pub fn sweep_failed(connection: &ConnectionName, stream: Stream, fault: &Fault) {
    count(SWEEPS_FAILED, connection, stream, 1);
    tracing::warn!(%connection, %stream, class = ?fault.class, %fault, "sweep failed");
}

/// Deliveries were settled.
pub fn sent(connection: &ConnectionName, stream: Stream, settled: usize, delivered: usize) {
    count(DELIVERED, connection, stream, delivered);
    count(NOT_DELIVERED, connection, stream, settled - delivered);
    if settled > 0 {
        tracing::info!(%connection, %stream, settled, delivered, "sent");
    }
}

/// The engine could not be asked or told.
pub fn send_failed(connection: &ConnectionName, stream: Stream, fault: &Fault) {
    count(SENDS_FAILED, connection, stream, 1);
    tracing::error!(%connection, %stream, %fault, "sending stopped");
}

/// A new configuration was read and is in force, or is not.
pub fn reloaded(outcome: &Reloaded) {
    let result = if outcome.applied {
        "applied"
    } else {
        "refused"
    };
    metrics::counter!(RELOADS, "outcome" => result).increment(1);
    if !outcome.applied {
        tracing::error!("reload refused: the daemon goes on as before");
    }
    for line in &outcome.told {
        if outcome.applied {
            tracing::info!("reload: {line}");
        } else {
            tracing::error!("reload refused: {line}");
        }
    }
    if outcome.applied {
        tracing::info!(changes = outcome.told.len(), "reloaded");
    }
}

/// What a proof of a day found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proved {
    /// How many orders its sources showed.
    pub orders: usize,
    /// How many shipments.
    pub shipments: usize,
    /// How many numbers and prices were compared.
    pub numbers: usize,
    /// How many differences have a reason.
    pub explained: usize,
    /// How many have none.
    pub unexplained: usize,
    /// How many routes could not be asked.
    pub troubles: usize,
}

/// A day was proven.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; counts this small are exact"
)]
pub fn proved(day: &str, found: &Proved) {
    let Proved {
        orders,
        shipments,
        numbers,
        explained,
        unexplained,
        troubles,
    } = *found;
    metrics::gauge!(PROOF_UNEXPLAINED).set(unexplained as f64);
    if unexplained + troubles == 0 {
        tracing::info!(
            day,
            orders,
            shipments,
            numbers,
            explained,
            "the day is proven"
        );
    } else {
        tracing::warn!(
            day,
            orders,
            shipments,
            numbers,
            unexplained,
            troubles,
            "the day does not hold: `crossdock prove --day {day}` tells why"
        );
    }
}

/// The store was compacted.
pub fn compacted(before: u64, after: u64, rows: u64, took: Duration) {
    metrics::counter!(COMPACTIONS).increment(1);
    let (before, after) = (before >> 20, after >> 20);
    tracing::info!(
        "the store was compacted: {before} MB to {after} MB, {rows} rows, in {took:.1?}"
    );
}

/// How much room the store's file system has.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge, and nobody counts single bytes"
)]
pub fn disk(free: u64) {
    metrics::gauge!(DISK_FREE).set(free as f64);
}

/// A condition of the whole process holds (with its words) or does not; said in the log when that `is_new`.
pub fn condition(condition: Condition, what: Option<&str>, is_new: bool) {
    let name = format!("{condition:?}").to_lowercase();
    metrics::gauge!(CONDITION, "condition" => name.clone())
        .set(f64::from(u8::from(what.is_some())));
    if !is_new {
        return;
    }
    if let Some(what) = what {
        tracing::error!(condition = name, "{what}");
    } else {
        tracing::info!(condition = name, "over");
    }
}

/// Somebody is told of a cause, or that it is over.
pub fn alert(notice: &Notice) {
    let (cause, line) = (&notice.cause, text::line(notice));
    match (notice.step, notice.severity) {
        (Step::Cleared, _) => tracing::info!(%cause, "alert: {line}"),
        (_, Severity::Warning) => tracing::warn!(%cause, "alert: {line}"),
        (_, Severity::Urgent) => tracing::error!(%cause, "alert: {line}"),
    }
}

/// A cause is there, or is over.
pub fn alert_present(cause: &Cause, severity: Severity, is_present: bool) {
    let labels = [
        ("kind", cause.kind.name().to_owned()),
        ("subject", cause.subject.clone()),
        ("severity", severity.name().to_owned()),
    ];
    metrics::gauge!(ALERT, &labels).set(f64::from(u8::from(is_present)));
}

/// A channel took so many messages.
pub fn alerts_sent(channel: &'static str, count: usize) {
    metrics::counter!(ALERTS_SENT, "channel" => channel).increment(count as u64);
    tracing::debug!(channel, count, "alerts told");
}

/// A channel did not take messages; they are tried again.
pub fn alerts_not_sent(channel: &'static str, count: usize, failures: u32, fault: &Fault) {
    metrics::counter!(ALERTS_NOT_SENT, "channel" => channel).increment(count as u64);
    tracing::warn!(channel, count, failures, %fault, "alerts could not be told: tried again");
}

fn count(name: &'static str, connection: &ConnectionName, stream: Stream, by: usize) {
    let labels = [
        ("connection", connection.to_string()),
        ("stream", stream.name().to_owned()),
    ];
    metrics::counter!(name, &labels).increment(by as u64);
}
