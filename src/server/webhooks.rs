//! The listener for webhooks: an address of its own, on which nothing else is served.
//!
//! It stands behind a proxy that speaks TLS, and trusts it in nothing. Each connection carries one request,
//! which must be here within ten seconds; there are only so many connections, and a body has a bound.
//! What is answered is decided in `runtime/hooks.rs`; no answer has a body, so that none tells anything.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;

use super::web::{Bounded, bind_to};
use crate::runtime::{Answer, Hooks};

/// How long a connection may take, from its first byte to the last of the answer.
const IN_TIME: Duration = Duration::from_secs(10);

/// What the listener may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The largest body.
    pub body_bytes: u64,
    /// How many connections at once; the next one waits.
    pub connections: usize,
}

/// Where webhooks will be taken in.
///
/// # Errors
/// What is wrong with the address, and how to mend it.
pub async fn bind(listen: std::net::SocketAddr) -> Result<TcpListener, String> {
    bind_to(listen, "server.webhooks_listen").await
}

/// Takes in webhooks.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, hooks: Hooks, bounds: Bounds) -> std::io::Result<()> {
    let clock = hooks.clock();
    let bounded = Bounded::new(listener, bounds.connections).in_time(clock, IN_TIME);
    axum::serve(bounded, router(hooks, bounds.body_bytes)).await
}

fn router(hooks: Hooks, body_bytes: u64) -> Router {
    let most = usize::try_from(body_bytes).unwrap_or(usize::MAX);
    Router::new()
        .route("/hooks/{name}", post(at_name))
        .route("/hooks/{name}/{secret}", post(at_secret))
        .layer(DefaultBodyLimit::max(most))
        .layer(map_response(last_of_its_connection))
        .with_state(Arc::new(hooks))
}

async fn at_name(
    State(hooks): State<Arc<Hooks>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    take(&hooks, (&name, None), &headers, body).await
}

async fn at_secret(
    State(hooks): State<Arc<Hooks>>,
    Path((name, secret)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    take(&hooks, (&name, Some(&secret)), &headers, body).await
}

async fn take(
    hooks: &Hooks,
    place: (&str, Option<&str>),
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let headers = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    match hooks.take(place, headers.collect(), body).await {
        Answer::Taken => StatusCode::OK.into_response(),
        Answer::Nobody => StatusCode::NOT_FOUND.into_response(),
        Answer::Forged => StatusCode::UNAUTHORIZED.into_response(),
        Answer::NotUnderstood => StatusCode::BAD_REQUEST.into_response(),
        Answer::Busy(wait) => {
            let secs = HeaderValue::from(wait.as_secs().max(1));
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, secs)]).into_response()
        }
    }
}

/// One request, one connection: then the time that a connection may take is that of its request. Nothing
/// of what was wrong is told.
async fn last_of_its_connection(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    let close = HeaderValue::from_static("close");
    parts.headers.insert(CONNECTION, close);
    parts.headers.remove("content-type");
    parts.headers.remove("content-length");
    Response::from_parts(parts, axum::body::Body::empty())
}
