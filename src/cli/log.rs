//! The log: one line an event on standard error, which systemd keeps.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, reload};

use crate::config::{LogFormat, LogLevel, LogSettings};

/// Changes how much is logged.
pub(super) type SetLevel = Box<dyn Fn(LogLevel)>;

/// Starts the log of this process. A second start changes nothing.
pub(super) fn start(settings: LogSettings, colour: bool) -> SetLevel {
    let (filtered, level) = reload::Layer::new(filter(settings.level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let registry = tracing_subscriber::registry().with(filtered);
    let started = match settings.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    drop(started); // only a second start fails
    Box::new(move |to| drop(level.reload(filter(to))))
}

fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // Libraries speak up only when they need somebody.
    EnvFilter::new(format!("warn,crossdock={level},http={level}"))
}
