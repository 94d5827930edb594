//! Health and metrics on loopback.
//!
//! `/healthz` answers 200 while every loop gets on; `/readyz` once every stream was read; `/metrics` in
//! the text format of Prometheus.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::{BoxFuture, Clock};
use crate::engine::Handle;
use crate::telemetry::Vitals;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// How the loops are.
    pub vitals: Vitals,
    /// Asks the engine.
    pub engine: Handle,
    /// The counted metrics.
    pub metrics: PrometheusHandle,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// The pages.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .with_state(pages)
}

/// Where the pages will be served.
///
/// # Errors
/// What is wrong with the address, and how to mend it.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, String> {
    bind_to(listen, "server.listen").await
}

/// Listens on what a setting says.
pub(super) async fn bind_to(listen: SocketAddr, setting: &str) -> Result<TcpListener, String> {
    TcpListener::bind(listen).await.map_err(|error| {
        let help = match error.kind() {
            ErrorKind::AddrInUse => format!(
                "something else listens there, perhaps another crossdock: stop it, or set \
                 `{setting}` to another port"
            ),
            ErrorKind::PermissionDenied => format!("set `{setting}` to a port above 1023"),
            ErrorKind::AddrNotAvailable => format!(
                "this machine has no such address: set `{setting}` to one of its own, such as \
                 127.0.0.1:9100"
            ),
            _ => format!("set `{setting}` to another address"),
        };
        format!("cannot listen on {listen} ({setting}): {error}; {help}")
    })
}

/// Serves the pages on at most so many connections at once; the next one waits.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, pages: Pages, connections: usize) -> std::io::Result<()> {
    axum::serve(Bounded::new(listener, connections), router(pages)).await
}

/// A listener with so many places.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    in_time: Option<(Arc<dyn Clock>, Duration)>,
}

impl Bounded {
    /// At most so many connections at once; the next one waits.
    pub(super) fn new(listener: TcpListener, connections: usize) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(connections.max(1))),
            in_time: None,
        }
    }

    /// The same, and each connection ends after so long whatever it is doing.
    pub(super) fn in_time(self, clock: Arc<dyn Clock>, limit: Duration) -> Self {
        let in_time = Some((clock, limit));
        Self { in_time, ..self }
    }
}

/// A connection that gives its place back when it is closed.
pub(super) struct Seated {
    stream: TcpStream,
    _place: Option<OwnedSemaphorePermit>,
    end: End,
}

/// When a connection ends by itself.
enum End {
    Never,
    Later(BoxFuture<'static, ()>),
    Now,
}

impl End {
    fn is_now(&mut self, cx: &mut Context<'_>) -> bool {
        if let Self::Later(end) = self
            && end.as_mut().poll(cx).is_ready()
        {
            *self = Self::Now;
        }
        matches!(self, Self::Now)
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Seated;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Seated, SocketAddr) {
        // Never closed, so there always is a place at last.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let end = match &self.in_time {
            None => End::Never,
            Some((clock, limit)) => {
                let (clock, limit) = (Arc::clone(clock), *limit);
                End::Later(Box::pin(async move { clock.sleep(limit).await }))
            }
        };
        let seated = Seated {
            stream,
            _place: place,
            end,
        };
        (seated, address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Seated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.end.is_now(cx) {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.end.is_now(cx) {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn healthz(State(pages): State<Pages>) -> (StatusCode, String) {
    match pages.vitals.check() {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(stuck) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")),
    }
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    if pages.vitals.ready() {
        return (StatusCode::OK, "ready\n".into());
    }
    let mut lines: Vec<String> = pages.vitals.conditions().into_values().collect();
    let waiting = pages
        .vitals
        .health()
        .into_iter()
        .filter(|h| h.last_success.is_none() || h.held.is_some());
    lines.extend(waiting.map(|health| {
        let why = health.held.or(health.trouble);
        let why = why.unwrap_or_else(|| "not read yet".into());
        format!("{} of {}: {why}", health.stream, health.connection)
    }));
    let lines = lines.join("\n") + "\n";
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

async fn metrics_page(State(pages): State<Pages>) -> (StatusCode, String) {
    match pages.engine.status().await {
        Ok(status) => gauges(&status),
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
    (StatusCode::OK, pages.metrics.render())
}

fn gauges(status: &crate::engine::Status) {
    metrics::gauge!("crossdock_quarantined").set(as_f64(status.quarantined));
    for row in &status.queue {
        let labels = [
            ("connection", row.sink.clone()),
            ("stream", row.stream.name().to_owned()),
            ("state", row.state.clone()),
        ];
        let count = usize::try_from(row.count).unwrap_or(usize::MAX);
        metrics::gauge!("crossdock_queue", &labels).set(as_f64(count));
    }
    for row in &status.differences {
        let labels = [
            ("connection", row.sink.clone()),
            ("stream", row.stream.name().to_owned()),
        ];
        metrics::gauge!("crossdock_differences", &labels).set(as_f64(row.count));
        metrics::gauge!("crossdock_unlisted", &labels).set(as_f64(row.unlisted));
    }
}

/// Counts this small are exact.
fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
