//! Health and metrics on loopback.
//!
//! `/healthz` answers 200 while every loop gets on; `/readyz` once every stream was read; `/metrics` in
//! the text format of Prometheus.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

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
    let waiting = pages
        .vitals
        .health()
        .into_iter()
        .filter(|h| h.last_success.is_none());
    let lines = waiting.map(|health| {
        let why = health.trouble.unwrap_or_else(|| "not read yet".into());
        format!("{} of {}: {why}\n", health.stream, health.connection)
    });
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
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
    }
}

/// Counts this small are exact.
fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
