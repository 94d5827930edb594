//! The binary as systemd and people meet it: signals, sockets, reloads, a full disk.
//!
//! Practice systems run in the test's process, the daemon in its own.

#![expect(
    clippy::disallowed_methods,
    reason = "a process beside us lives in real time"
)]

mod alerts;
mod desk;
mod disk;
mod drain;
mod dropped_in;
mod notify;
mod online;
mod port;
mod pressure;
mod reload;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossdock::clock::Clock;
use crossdock::runtime::SystemClock;
use crossdock::sandbox::{FaultKind, FaultPlan, World, WorldOptions};
use crossdock::server::admin::{self, Request};
use serde_json::Value;

/// Long enough for a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(40);

/// A world and the folder for a daemon beside it.
struct Place {
    world: World,
    folder: tempfile::TempDir,
}

impl Place {
    /// `slow`: how long the ERP takes for each answer, at most.
    async fn new(slow: Option<Duration>) -> Self {
        Self::with(|options| {
            if let Some(slow) = slow {
                let plan = FaultPlan {
                    slow,
                    ..FaultPlan::only(FaultKind::Slow, 1, 100.0)
                };
                options.faults.insert("erp".to_owned(), plan);
            }
        })
        .await
    }

    async fn with(change: impl FnOnce(&mut WorldOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut options = WorldOptions::new(folder.path().join("acme"));
        change(&mut options);
        let world = World::start(&clock, options).await.unwrap();
        // The password that the configuration names.
        world.write_config(folder.path()).unwrap();
        Self { world, folder }
    }

    /// The configuration of the demo.
    fn config(&self) -> String {
        self.world.config_toml(self.folder.path())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("crossdock.toml")
    }

    fn write(&self, config: &str) {
        fs::write(self.file(), config).unwrap();
    }

    fn daemon(&self, config: &str) -> Daemon {
        self.write(config);
        Daemon::start(self.folder.path(), &[])
    }
}

/// A running binary; killed when dropped.
struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    fn start(folder: &Path, environment: &[(&str, String)]) -> Self {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossdock"));
        command
            .args(["run", "--config"])
            .arg(folder.join("crossdock.toml"))
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .stdout(Stdio::null())
            .stderr(log);
        for (name, value) in environment {
            command.env(name, value);
        }
        Self {
            child: command.spawn().unwrap(),
            folder: folder.to_owned(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(done.unwrap().success());
    }

    async fn status(&self) -> Option<Value> {
        admin::ask(&self.socket(), &Request::Status).await?.ok()
    }

    /// Waits until the status is as wanted.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut last = None;
        loop {
            if let Some(status) = self.status().await {
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "not {what} ({ended:?}); last {last:#?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Reads the new configuration and waits until its outcome is told.
    async fn reload(&mut self) -> Value {
        let before = match self.status().await {
            Some(status) => status["reload"]["at"].clone(),
            None => Value::Null,
        };
        self.signal("HUP");
        let status = self
            .until("reloaded", |status| {
                !status["reload"].is_null() && status["reload"]["at"] != before
            })
            .await;
        status["reload"].clone()
    }

    async fn ended(&mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < within, "it goes on:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All reasons and changes of a reload as one text.
fn told(reload: &Value) -> String {
    let lines = reload["told"].as_array().unwrap();
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    lines.join("\n")
}
