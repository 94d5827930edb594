//! What systemd is told: ready, stopping, and that every loop gets on.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use crate::clock::Clock;
use crate::telemetry::Vitals;

/// How long closing the store may take after the drain.
const CLOSING: Duration = Duration::from_secs(10);

/// Tells systemd something; without systemd nothing happens.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// The daemon serves.
pub fn ready(summary: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(summary)]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd could not be told of the reload"),
    }
}

/// The daemon begins to stop, and may take so long.
pub fn stopping(drain: Duration) {
    let micros = u32::try_from((drain + CLOSING).as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: what is under way may finish"),
        NotifyState::ExtendTimeoutUsec(micros),
    ]);
}

/// Feeds the watchdog while every loop gets on, and stops feeding it when one does not, so that systemd
/// restarts a daemon that is alive but idle.
pub async fn feed(vitals: Vitals, clock: Arc<dyn Clock>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let pause = (limit / 3).max(Duration::from_millis(100));
    loop {
        match vitals.check() {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(stuck) => tracing::error!(%stuck, "the watchdog is not fed"),
        }
        clock.sleep(pause).await;
    }
}
