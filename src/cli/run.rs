//! `crossdock run`: the daemon.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Global, Shell, log};
use crate::clock::Clock;
use crate::runtime::{Runtime, SystemClock, notify, open_store, store_path};
use crate::server::{admin, web};
use crate::topology::Plan;

/// Run the daemon
///
/// Reads, decides and delivers until it is told to stop (SIGTERM or Ctrl-C); then lets what is under
/// way finish within `limits.drain_secs`. Ends with 3 when the configuration is refused, 4 when the
/// store cannot be opened, 1 when it had to stop by itself.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Stop by itself once everything that was read is delivered, or after this many seconds
    #[arg(long, value_name = "SECONDS")]
    until_quiet: Option<u64>,
}

pub(super) fn run(command: &Run, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let plan = match global.plan(shell)? {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    log::start(plan.log);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let path = store_path(&plan);
    let store = match open_store(&plan, &path, clock.as_ref()) {
        Ok(store) => store,
        Err(error) => {
            writeln!(shell.err, "crossdock: {error}")?;
            return Ok(Exit::Store);
        }
    };
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    tokio.block_on(async {
        match Runtime::start(Arc::new(plan), store, &clock, fastrand::u64(..)) {
            Ok(runtime) => serve(runtime, &path, &clock, command.until_quiet).await,
            Err(error) => {
                tracing::error!(%error, "cannot start");
                Ok(Exit::Failed)
            }
        }
    })
}

async fn serve(
    runtime: Runtime,
    store: &Path,
    clock: &Arc<dyn Clock>,
    until_quiet: Option<u64>,
) -> io::Result<Exit> {
    let socket = socket_path(&runtime.plan, store);
    serve_admin(&runtime, &socket)?;
    serve_pages(&runtime, runtime.plan.server.listen).await?;
    let fed = notify::feed(
        runtime.vitals.clone(),
        Arc::clone(clock),
        tokio_util::sync::CancellationToken::new(),
    );
    runtime.beside(fed);
    let connections = runtime.connections.len();
    notify::ready(&format!("{connections} connections"));
    tracing::info!(connections, routes = runtime.plan.routes.len(), "running");
    let exit = wait_for_end(&runtime, clock.as_ref(), until_quiet).await?;
    notify::stopping();
    let drain = Duration::from_secs(runtime.plan.limits.drain_secs);
    let stopped = runtime.stop(drain, clock.as_ref()).await;
    let _ = std::fs::remove_file(&socket); // gone already when the folder was
    match stopped {
        Ok(()) => Ok(exit),
        Err(error) => {
            tracing::error!(%error, "the store failed");
            Ok(Exit::Findings)
        }
    }
}

/// Until somebody says so, the store fails, or everything is quiet.
async fn wait_for_end(
    runtime: &Runtime,
    clock: &dyn Clock,
    until_quiet: Option<u64>,
) -> io::Result<Exit> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quiet = std::pin::pin!(quiet(runtime, clock, until_quiet));
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(Exit::Ok),
            _ = interrupt.recv() => return Ok(Exit::Ok),
            _ = hangup.recv() => {
                tracing::warn!("reloading while running is not built yet: restart to apply a new configuration");
            }
            () = clock.sleep(Duration::from_secs(1)) => {
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

async fn quiet(runtime: &Runtime, clock: &dyn Clock, limit: Option<u64>) -> bool {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    let until = clock.monotonic() + Duration::from_secs(limit);
    while !runtime.vitals.ready() && clock.monotonic() < until {
        clock.sleep(Duration::from_millis(100)).await;
    }
    let left = until.saturating_sub(clock.monotonic());
    runtime.quiet(left, clock).await.unwrap_or(false)
}

/// Where commands reach the daemon.
pub(super) fn socket_path(plan: &Plan, store: &Path) -> PathBuf {
    plan.server
        .admin_socket
        .clone()
        .unwrap_or_else(|| store.join("admin.sock"))
}

fn serve_admin(runtime: &Runtime, socket: &Path) -> io::Result<()> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let listener = admin::bind(socket)?;
    let (engine, vitals) = (runtime.engine.clone(), runtime.vitals.clone());
    runtime.beside(async move {
        let mut clients = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        let (engine, vitals) = (engine.clone(), vitals.clone());
                        clients.spawn(async move {
                            // A client that hangs up in the middle is no trouble of ours.
                            let _ = admin::serve(stream, engine, vitals).await;
                        });
                    }
                }
                Some(_) = clients.join_next() => {}
            }
        }
    });
    Ok(())
}

async fn serve_pages(runtime: &Runtime, listen: SocketAddr) -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .map_err(|error| {
            let message = format!("cannot listen on {listen} (server.listen): {error}");
            io::Error::new(error.kind(), message)
        })?;
    let pages = web::Pages {
        vitals: runtime.vitals.clone(),
        engine: runtime.engine.clone(),
        metrics: recorder()?,
    };
    runtime.beside(async move {
        if let Err(error) = axum::serve(listener, web::router(pages)).await {
            tracing::error!(%error, "the pages are not served any more");
        }
    });
    Ok(())
}

fn recorder() -> io::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(io::Error::other)
}
