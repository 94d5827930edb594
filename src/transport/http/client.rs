//! The client that reaches the network: reqwest, with every default that could hurt set here.
//!
//! reqwest 0.13 by itself has no timeout, follows ten redirects, has no cap on a body, reads
//! `HTTP_PROXY` from the environment and repeats some requests. Here: timeouts always; a redirect is a
//! reply like any other, so that credentials never follow one; bodies are read in pieces and counted
//! after decompression; the environment is not read; nothing is repeated.
//!
//! TLS is rustls with aws-lc. No call of `install_default` is needed: reqwest takes the process default
//! if there is one and otherwise aws-lc by itself. Certificates are those of the machine, plus those of
//! `ca_file`. They are loaded by the first `https` request: a connection that speaks plain HTTP on a
//! machine without any (a small container) works, and costs no memory for them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderName, HeaderValue as WireValue};

use super::faults::{Target, causes, redact, root_cause};
use super::{Feedback, HeaderValue, HttpClient, HttpReply, HttpRequest};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::secret::Secret;

/// How one connection speaks HTTP.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Name lookup, TCP and TLS together; 10 s.
    pub connect_timeout: Duration,
    /// A whole request, connect to last byte; 60 s. A request may bring its own.
    pub timeout: Duration,
    /// The longest reply, decompressed; 32 MiB.
    pub max_body_bytes: usize,
    /// `http://user:password@proxy.example:3128`; `https` and `http` proxies. None by default.
    pub proxy: Option<Secret>,
    /// PEM file with the certificates of further authorities.
    pub ca_file: Option<PathBuf>,
    /// What the other side sees in its log.
    pub user_agent: String,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_mins(1),
            max_body_bytes: 32 * 1024 * 1024,
            proxy: None,
            ca_file: None,
            user_agent: concat!("crossdock/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// An idle connection is closed before most servers would close it: a request that meets the server's
/// close half-way has an unknown effect, and finding out costs a request of its own.
const IDLE: Duration = Duration::from_secs(30);

/// Sends the requests of one connection. No limiter: see [`LimitedClient`](super::LimitedClient).
pub struct Client {
    options: HttpOptions,
    authorities: Vec<reqwest::Certificate>,
    proxy: Option<reqwest::Proxy>,
    clock: Arc<dyn Clock>,
    plain: OnceLock<reqwest::Client>,
    secure: OnceLock<reqwest::Client>,
}

/// reqwest would show the proxy's password.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the options and reads `ca_file`; touches no network.
    ///
    /// # Errors
    /// `Config` with `http_setup`: a proxy that is no address, a certificate file that cannot be read
    /// or holds none.
    pub fn new(options: HttpOptions, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        let authorities = match &options.ca_file {
            Some(path) => read_authorities(path)?,
            None => Vec::new(),
        };
        let proxy = options.proxy.as_ref().map(read_proxy).transpose()?;
        Ok(Self {
            options,
            authorities,
            proxy,
            clock,
            plain: OnceLock::new(),
            secure: OnceLock::new(),
        })
    }

    /// The reqwest client for a scheme, made when it is first needed.
    fn for_scheme(&self, scheme: &str, target: &Target<'_>) -> Result<&reqwest::Client, Fault> {
        let through_tls = scheme == "https"
            || (self.options.proxy.as_ref())
                .is_some_and(|proxy| proxy.expose().starts_with("https"));
        let slot = if through_tls {
            &self.secure
        } else {
            &self.plain
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = self.build(through_tls).map_err(|error| {
            let cause = root_cause(&error);
            target.setup(&format!(
                "{cause}; install ca-certificates or set `ca_file`"
            ))
        })?;
        Ok(slot.get_or_init(|| client))
    }

    fn build(&self, through_tls: bool) -> Result<reqwest::Client, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.options.user_agent)
            .connect_timeout(self.options.connect_timeout)
            .timeout(self.options.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_idle_timeout(IDLE)
            .no_proxy();
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        builder = if through_tls {
            builder.tls_certs_merge(self.authorities.iter().cloned())
        } else {
            builder.tls_certs_only([])
        };
        builder.build()
    }

    async fn exchange(
        &self,
        request: HttpRequest,
        target: &Target<'_>,
    ) -> Result<HttpReply, Fault> {
        let limit = request.timeout.unwrap_or(self.options.timeout);
        let outgoing = outgoing(request, target)?;
        let client = self.for_scheme(outgoing.url().scheme(), target)?;
        let mut response = client
            .execute(outgoing)
            .await
            .map_err(|error| self.fault(&error, target, limit))?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let body = self.read_body(&mut response, target, limit).await?;
        Ok(HttpReply {
            status,
            headers,
            body,
            received_at: self.clock.now(),
        })
    }

    /// Reads piece by piece, so that neither a long body nor a gzip bomb is ever in memory whole.
    async fn read_body(
        &self,
        response: &mut reqwest::Response,
        target: &Target<'_>,
        limit: Duration,
    ) -> Result<Bytes, Fault> {
        let cap = self.options.max_body_bytes;
        let announced = usize::try_from(response.content_length().unwrap_or(0));
        let announced = announced.unwrap_or(usize::MAX);
        if announced > cap {
            return Err(target.too_large(cap));
        }
        // Announced is not sent: reserve little, grow with what comes.
        let mut body = BytesMut::with_capacity(announced.min(64 * 1024));
        loop {
            let piece = response.chunk().await;
            let Some(piece) = piece.map_err(|error| self.fault(&error, target, limit))? else {
                return Ok(body.freeze());
            };
            if body.len() + piece.len() > cap {
                return Err(target.too_large(cap));
            }
            body.extend_from_slice(&piece);
        }
    }

    /// What happened, and whether anything had left. Only what is certain counts as `Effect::None`.
    fn fault(&self, error: &reqwest::Error, target: &Target<'_>, limit: Duration) -> Fault {
        if error.is_builder() {
            return target.address(&root_cause(error));
        }
        if error.is_dns() {
            return target.dns();
        }
        if error.is_connect() {
            if error.is_timeout() {
                return target.connect_timeout(self.options.connect_timeout);
            }
            let cause = root_cause(error);
            return if failed_in_tls(error) {
                target.tls(&cause)
            } else {
                target.connect(&cause)
            };
        }
        if error.is_timeout() {
            return target.timeout(limit);
        }
        target.cut(&root_cause(error))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let method = request.method.clone();
        let url = redact(&request.url);
        let target = Target {
            method: &method,
            url: &url,
        };
        let begun = self.clock.monotonic();
        let result = self.exchange(request, &target).await;
        let elapsed = self.clock.monotonic().saturating_sub(begun);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(reply) => tracing::debug!(
                target: "http",
                method, url, status = reply.status, bytes = reply.body.len(), elapsed_ms,
                "reply"
            ),
            Err(fault) => tracing::debug!(
                target: "http",
                method, url, code = %fault.code, effect = ?fault.effect, elapsed_ms,
                "no reply"
            ),
        }
        result
    }

    fn observe(&self, _bucket: &str, _feedback: Feedback) {}
}

fn outgoing(request: HttpRequest, target: &Target<'_>) -> Result<reqwest::Request, Fault> {
    let url = reqwest::Url::parse(&request.url)
        .map_err(|error| target.address(&format!("the address is not valid: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(target.address("the address must begin with https:// or http://"));
    }
    let method = reqwest::Method::from_bytes(request.method.as_bytes())
        .map_err(|_| target.address("the method is not valid"))?;
    let mut outgoing = reqwest::Request::new(method, url);
    for (name, value) in &request.headers {
        let (name, value) = wire_header(name, value, target)?;
        outgoing.headers_mut().append(name, value);
    }
    *outgoing.body_mut() = request.body.map(reqwest::Body::from);
    *outgoing.timeout_mut() = request.timeout;
    Ok(outgoing)
}

/// A secret value is marked sensitive, so that no layer below prints it either.
fn wire_header(
    name: &str,
    value: &HeaderValue,
    target: &Target<'_>,
) -> Result<(HeaderName, WireValue), Fault> {
    let wire_name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| target.address("the name of a header is not valid"))?;
    let (text, secret) = match value {
        HeaderValue::Plain(text) => (text.as_str(), false),
        HeaderValue::Secret(secret) => (secret.expose(), true),
    };
    let mut wire_value = WireValue::from_bytes(text.as_bytes()).map_err(|_| {
        let why = format!("the value of header `{wire_name}` has a line break or control code");
        target.address(&why)
    })?;
    wire_value.set_sensitive(secret);
    Ok((wire_name, wire_value))
}

fn read_authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, Fault> {
    let refuse = |why: &str| {
        let message = format!("certificate file {}: {why}", path.display());
        Fault::config("http_setup", message)
    };
    let pem = std::fs::read(path).map_err(|error| refuse(&error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|_| refuse("it is not valid PEM; it should hold `BEGIN CERTIFICATE` blocks"))?;
    if found.is_empty() {
        return Err(refuse("it holds no `BEGIN CERTIFICATE` block"));
    }
    Ok(found)
}

fn read_proxy(address: &Secret) -> Result<reqwest::Proxy, Fault> {
    let shown = redact(address.expose());
    let refuse = || {
        let message = format!("proxy {shown}: expected `http://host:port` or `https://host:port`");
        Fault::config("http_setup", message)
    };
    let url = url::Url::parse(address.expose()).map_err(|_| refuse())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse());
    }
    reqwest::Proxy::all(url).map_err(|_| refuse())
}

/// Whether a failed connect got as far as TLS: rustls reports its own errors as invalid data and a
/// peer that hangs up in the handshake as an unexpected end.
fn failed_in_tls(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| matches!(io.kind(), InvalidData | UnexpectedEof))
}
