//! `crossdock run`: the daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, Global, Shell, log};
use crate::clock::Clock;
use crate::config::Credentials;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::engine::Handle;
use crate::runtime::{Live, Refused, Runtime, SystemClock, notify, open_store, store_path};
use crate::server::{admin, web, webhooks};
use crate::telemetry::{self, Reloaded, Vitals};
use crate::topology::Plan;

/// Run the daemon
///
/// Reads, decides and delivers until it is told to stop (SIGTERM or Ctrl-C); then lets what is under
/// way finish within `limits.drain_secs`; told a second time, it ends at once. SIGHUP reads the
/// configuration again: all of it takes effect, or nothing does and `crossdock status` says why. Ends
/// with 3 when the configuration is refused at the start, 4 when the store cannot be opened, 1 when it
/// had to stop by itself or was told twice.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Stop by itself once everything that was read is delivered, or after this many seconds
    #[arg(long, value_name = "SECONDS")]
    until_quiet: Option<u64>,
}

pub(super) fn run(command: &Run, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let path = global.path(shell.around);
    let plan = match super::read_plan(&path, shell, Credentials::Needed) {
        Ok(plan) => plan,
        Err(findings) => {
            global.tell(&findings, shell)?;
            return Ok(Exit::Config);
        }
    };
    let set_level = log::start(plan.log, global.log_colour(shell));
    warn(&plan);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = store_path(&plan);
    let opened = match open_store(&plan, &store, clock.as_ref()) {
        Ok(opened) => opened,
        Err(error) => {
            writeln!(shell.err, "crossdock: {error}")?;
            return Ok(Exit::Store);
        }
    };
    // Before anything is counted.
    let metrics = recorder()?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let exit = tokio.block_on(async {
        // Before anything is begun: nobody who sends a signal early may end us by it.
        let signals = Signals::new()?;
        // Before anything is read: a daemon that nobody can look after does not begin.
        let pages = match bind(&plan).await {
            Ok(pages) => pages,
            Err(why) => {
                writeln!(shell.err, "crossdock: {why}")?;
                return Ok(Exit::Failed);
            }
        };
        match Runtime::start(Arc::new(plan), opened, &clock, fastrand::u64(..)) {
            Ok(runtime) => {
                let daemon = Daemon {
                    manager: Arc::new(notify::Manager::of(shell.around)),
                    path,
                    shell,
                    clock,
                    set_level,
                    metrics,
                };
                daemon
                    .serve(runtime, (signals, pages), &store, command.until_quiet)
                    .await
            }
            Err(error) => {
                tracing::error!(%error, "cannot start");
                Ok(Exit::Failed)
            }
        }
    });
    // What still runs was given its time.
    tokio.shutdown_background();
    exit
}

/// What the daemon listens on for everybody.
struct Listeners {
    pages: TcpListener,
    webhooks: Option<TcpListener>,
}

async fn bind(plan: &Plan) -> Result<Listeners, String> {
    let pages = web::bind(plan.server.listen).await?;
    let webhooks = match plan.server.webhooks_listen {
        Some(listen) => Some(webhooks::bind(listen).await?),
        None => None,
    };
    Ok(Listeners { pages, webhooks })
}

/// What works but is probably not as meant.
fn warn(plan: &Plan) {
    for finding in &plan.warnings.0 {
        tracing::warn!(code = finding.code, "{}", one_line(finding));
    }
}

/// A finding without its excerpt: `crossdock.toml:12: route.a: …`.
fn one_line(finding: &Diagnostic) -> String {
    let file = finding.place.as_ref().map(|(text, _)| text.path.display());
    let place = match (file, finding.line()) {
        (Some(file), Some(line)) => format!("{file}:{line}: "),
        _ => String::new(),
    };
    let path = match finding.path.as_str() {
        "" => String::new(),
        path => format!("{path}: "),
    };
    format!("{place}{path}{}", finding.message)
}

/// Why a configuration is refused: its warnings did not do it.
fn reasons(findings: &Diagnostics) -> Vec<String> {
    let errors = findings.0.iter();
    let errors = errors.filter(|finding| finding.severity == Severity::Error);
    let with_help = |finding: &Diagnostic| match &finding.help {
        Some(help) => format!("{} ({help})", one_line(finding)),
        None => one_line(finding),
    };
    errors.map(with_help).collect()
}

/// What a person or systemd may tell the process.
struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until somebody wants an end.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The daemon around its runtime.
struct Daemon<'a, 's> {
    manager: Arc<notify::Manager>,
    path: PathBuf,
    shell: &'a Shell<'s>,
    clock: Arc<dyn Clock>,
    set_level: log::SetLevel,
    metrics: PrometheusHandle,
}

impl Daemon<'_, '_> {
    async fn serve(
        &self,
        mut runtime: Runtime,
        (mut signals, listeners): (Signals, Listeners),
        store: &Path,
        until_quiet: Option<u64>,
    ) -> io::Result<Exit> {
        let live = runtime.live();
        let socket = socket_path(&live.plan, store);
        serve_admin(&runtime, &socket)?;
        let Listeners { pages, webhooks } = listeners;
        serve_pages(&runtime, &live.plan, pages, self.metrics.clone());
        if let Some(webhooks) = webhooks {
            serve_webhooks(&runtime, &live.plan, webhooks);
        }
        runtime.beside(notify::feed(
            Arc::clone(&self.manager),
            runtime.vitals.clone(),
            Arc::clone(&self.clock),
        ));
        self.manager.ready(&summary(&live));
        tracing::info!(
            connections = live.connections.len(),
            routes = live.plan.routes.len(),
            socket = %socket.display(),
            "running"
        );
        drop(live);
        let exit = self
            .wait_for_end(&mut runtime, &mut signals, until_quiet)
            .await?;
        let drain = Duration::from_secs(runtime.live().plan.limits.drain_secs);
        self.manager.stopping(drain);
        tracing::info!(
            drain_secs = drain.as_secs(),
            "stopping: what is under way may finish"
        );
        let stopped = tokio::select! {
            stopped = runtime.stop(drain, self.clock.as_ref()) => stopped,
            () = signals.stop() => {
                tracing::warn!("told again to stop: ending at once; what is under way is found again at the next start");
                return Ok(Exit::Findings);
            }
        };
        let _ = std::fs::remove_file(&socket); // gone already when the folder was
        match stopped {
            Ok(()) => {
                tracing::info!("stopped");
                Ok(exit)
            }
            Err(error) => {
                tracing::error!(%error, "the store failed");
                Ok(Exit::Findings)
            }
        }
    }

    /// Until somebody says so, the store fails, or everything is quiet.
    async fn wait_for_end(
        &self,
        runtime: &mut Runtime,
        signals: &mut Signals,
        until_quiet: Option<u64>,
    ) -> io::Result<Exit> {
        let (engine, vitals) = (runtime.engine.clone(), runtime.vitals.clone());
        let mut quiet = std::pin::pin!(quiet(&engine, &vitals, self.clock.as_ref(), until_quiet));
        loop {
            tokio::select! {
                _ = signals.term.recv() => return Ok(Exit::Ok),
                _ = signals.interrupt.recv() => return Ok(Exit::Ok),
                _ = signals.hangup.recv() => {
                    let broken = tokio::select! {
                        broken = self.reload(runtime) => broken,
                        () = signals.stop() => return Ok(Exit::Ok),
                    };
                    if broken {
                        return Ok(Exit::Findings);
                    }
                }
                () = self.clock.sleep(Duration::from_secs(1)) => {
                    if runtime.engine_failed() {
                        tracing::error!("the store failed: stopping, so that the truth is read from disk");
                        return Ok(Exit::Findings);
                    }
                }
                quiet = &mut quiet => {
                    return Ok(if quiet { Exit::Ok } else { Exit::Findings });
                }
            }
        }
    }

    /// Reads the configuration again and carries it out if it can be; whether the daemon must end. A bad
    /// file never ends it: everything goes on as before, and why is told everywhere.
    async fn reload(&self, runtime: &mut Runtime) -> bool {
        self.manager.reloading();
        let done = match super::read_plan(&self.path, self.shell, Credentials::Needed) {
            Ok(plan) => {
                warn(&plan);
                let level = plan.log.level;
                let done = runtime.reload(Arc::new(plan)).await;
                if done.is_ok() {
                    (self.set_level)(level);
                }
                done
            }
            Err(findings) => Err(Refused::Kept(reasons(&findings))),
        };
        let broken = matches!(done, Err(Refused::Broken(_)));
        let (applied, told) = match done {
            Ok(changes) if changes.is_empty() => (true, vec!["nothing is different".to_owned()]),
            Ok(changes) => (true, changes.iter().map(ToString::to_string).collect()),
            Err(Refused::Kept(reasons)) => (false, reasons),
            Err(Refused::Broken(error)) => (false, vec![error]),
        };
        let outcome = Reloaded {
            at: self.clock.now(),
            applied,
            told,
        };
        telemetry::reloaded(&outcome);
        let summary = summary(&runtime.live());
        if applied {
            self.manager.ready(&summary);
        } else {
            let first = outcome.told.first().map_or("", String::as_str);
            self.manager
                .ready(&format!("{summary}; last reload refused: {first}"));
        }
        runtime.vitals.reloaded(outcome);
        broken
    }
}

fn summary(live: &Live) -> String {
    let (connections, routes) = (live.connections.len(), live.plan.routes.len());
    format!("{connections} connections, {routes} routes")
}

async fn quiet(engine: &Handle, vitals: &Vitals, clock: &dyn Clock, limit: Option<u64>) -> bool {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    let until = clock.monotonic() + Duration::from_secs(limit);
    while !vitals.ready() && clock.monotonic() < until {
        clock.sleep(Duration::from_millis(100)).await;
    }
    let left = until.saturating_sub(clock.monotonic());
    crate::runtime::quiet(engine, left, clock)
        .await
        .unwrap_or(false)
}

/// Where commands reach the daemon.
pub(super) fn socket_path(plan: &Plan, store: &Path) -> PathBuf {
    plan.server
        .admin_socket
        .clone()
        .unwrap_or_else(|| store.join("admin.sock"))
}

/// Answers commands from now on, for as long as the daemon reads.
pub(super) fn serve_admin(runtime: &Runtime, socket: &Path) -> io::Result<()> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let live = runtime.live();
    let limits = &live.plan.limits;
    let listener = admin::bind(socket).map_err(|error| {
        let path = socket.display();
        let message =
            format!("cannot make the socket for commands, {path} (server.admin_socket): {error}");
        io::Error::new(error.kind(), message)
    })?;
    runtime.beside(admin::listen(
        listener,
        runtime.prover(),
        (runtime.engine.clone(), runtime.vitals.clone()),
        admin::Bounds {
            request_bytes: limits.server_max_body_bytes,
            clients: limits.server_max_connections,
        },
    ));
    Ok(())
}

fn serve_pages(runtime: &Runtime, plan: &Plan, listener: TcpListener, metrics: PrometheusHandle) {
    let pages = web::Pages {
        vitals: runtime.vitals.clone(),
        engine: runtime.engine.clone(),
        metrics,
    };
    let most = plan.limits.server_max_connections;
    runtime.beside(async move {
        if let Err(error) = web::serve(listener, pages, most).await {
            tracing::error!(%error, "the pages are not served any more");
        }
    });
}

fn serve_webhooks(runtime: &Runtime, plan: &Plan, listener: TcpListener) {
    let bounds = webhooks::Bounds {
        body_bytes: plan.limits.server_max_body_bytes,
        connections: plan.limits.server_max_connections,
    };
    let hooks = runtime.hooks();
    runtime.beside(async move {
        if let Err(error) = webhooks::serve(listener, hooks, bounds).await {
            tracing::error!(%error, "webhooks are not taken in any more");
        }
    });
}

fn recorder() -> io::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(io::Error::other)
}
