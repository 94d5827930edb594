//! What systemd is told: ready, stopping, and that every loop gets on.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::telemetry::Vitals;

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

/// The daemon begins to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog while every loop gets on, and stops feeding it when one does not, so that systemd
/// restarts a daemon that is alive but idle.
pub async fn feed(vitals: Vitals, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let pause = (limit / 3).max(Duration::from_millis(100));
    loop {
        match vitals.check() {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(stuck) => tracing::error!(%stuck, "the watchdog is not fed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(pause) => {}
        }
    }
}
