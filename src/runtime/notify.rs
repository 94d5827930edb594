//! What systemd is told, by the protocol of `sd_notify(3)`: ready, reloading, stopping, and that every loop
//! gets on.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Surroundings;
use crate::telemetry::Vitals;

/// How long closing the store may take after the drain.
const CLOSING: Duration = Duration::from_secs(10);

/// How long one message may wait for room in the manager's queue; then it is lost.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// Whoever started this process and wants to know how it is; nobody without systemd.
#[derive(Debug)]
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that everything gets on.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names: `NOTIFY_SOCKET` (a path, or `@name` for an abstract socket),
    /// `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn of(around: &dyn Surroundings) -> Self {
        let socket = around.var("NOTIFY_SOCKET").and_then(|name| {
            let found = address(&name).and_then(|at| Ok((socket()?, at)));
            if let Err(error) = &found {
                tracing::warn!(%error, "NOTIFY_SOCKET cannot be used: systemd will hear nothing");
            }
            found.ok()
        });
        let number = |name: &str| around.var(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
        Self {
            socket,
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// The daemon serves; also the end of a reload.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}\n", one_line(status)));
    }

    /// The configuration is being read again.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// The daemon begins to stop, and may take so long.
    pub fn stopping(&self, drain: Duration) {
        let micros = (drain + CLOSING).as_micros();
        self.tell(&format!(
            "STOPPING=1\nSTATUS=stopping: what is under way may finish\nEXTEND_TIMEOUT_USEC={micros}\n"
        ));
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(%error, "systemd could not be told");
        }
    }
}

/// Who does not read must not hold us up: a full queue would block this thread, and all tasks on it.
fn socket() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(TOLD_WITHIN))?;
    Ok(socket)
}

fn address(name: &OsString) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt as _;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(name)
}

/// A message is lines: what comes from elsewhere must not make one of its own.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Feeds the watchdog while every loop gets on, and stops feeding it when one does not, so that systemd
/// restarts a daemon that is alive but idle.
pub async fn feed(manager: Arc<Manager>, vitals: Vitals, clock: Arc<dyn Clock>) {
    let Some(limit) = manager.watchdog else {
        return;
    };
    let pause = (limit / 3).max(Duration::from_millis(100));
    loop {
        match vitals.check() {
            Ok(()) => manager.tell("WATCHDOG=1\n"),
            Err(stuck) => tracing::error!(%stuck, "the watchdog is not fed"),
        }
        clock.sleep(pause).await;
    }
}
