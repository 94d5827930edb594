//! One connection without a daemon: for `connector try`. Nothing is stored, and where that is wanted nothing
//! is sent that changes anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::clock::Clock;
use crate::connector::{Configured, Connection, Context, FileLimits, Spec};
use crate::fault::Fault;
use crate::transport::http::{
    Client, Feedback, HeaderValue, HttpClient, HttpOptions, HttpReply, HttpRequest, LimitOptions,
    LimitedClient, Limiter, Rate,
};

/// The code of the fault that stands for a request that was not sent.
pub const HELD_BACK: &str = "held_back";

/// One request and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET`, `POST`, …
    pub method: String,
    /// The whole address.
    pub url: String,
    /// Secrets are `[secret]`.
    pub headers: Vec<(String, String)>,
    /// Only of what was held back: the body of a login is a secret.
    pub body: Option<String>,
    /// The status and size of the reply, or why there is none.
    pub came: String,
    /// It would change something and was not sent.
    pub held_back: bool,
}

/// An HTTP client that remembers what it was asked.
#[derive(Debug)]
pub struct Seen {
    inner: Arc<dyn HttpClient>,
    is_dry: bool,
    asked: Mutex<Vec<Asked>>,
}

impl Seen {
    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    fn note(&self, asked: Asked) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(asked);
    }
}

#[async_trait]
impl HttpClient for Seen {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let headers = request.headers.iter().map(|(name, value)| {
            let value = match value {
                HeaderValue::Plain(text) => text.clone(),
                HeaderValue::Secret(_) => "[secret]".to_owned(),
            };
            (name.clone(), value)
        });
        let held_back = self.is_dry && request.changes;
        let body = request.body.as_ref().filter(|_| held_back);
        let mut asked = Asked {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: headers.collect(),
            body: body.map(|body| String::from_utf8_lossy(body).into_owned()),
            came: "not sent".to_owned(),
            held_back,
        };
        if held_back {
            self.note(asked);
            let message = "this would change something and was not sent";
            // Not refused: what is refused as a whole is tried in halves.
            return Err(Fault::retry(HELD_BACK, message));
        }
        let reply = self.inner.send(request).await;
        asked.came = match &reply {
            Ok(reply) => format!("{}, {} bytes", reply.status, reply.body.len()),
            Err(fault) => fault.to_string(),
        };
        self.note(asked);
        reply
    }

    fn observe(&self, bucket: &str, feedback: Feedback) {
        self.inner.observe(bucket, feedback);
    }
}

/// Opens a connection that speaks to the network, within the limits that its connector declares. With
/// `is_dry` what would change something is held back.
///
/// # Errors
/// As [`Configured::open`].
pub fn open_alone(
    spec: &Spec,
    configured: &dyn Configured,
    clock: &Arc<dyn Clock>,
    is_dry: bool,
) -> Result<(Connection, Arc<Seen>), Fault> {
    let mut options = LimitOptions::default();
    options.concurrency = spec.concurrency.unwrap_or(options.concurrency).max(1);
    for (name, quota) in &spec.quotas {
        let (per_second, burst) = (quota.per_second, quota.burst);
        let rate = Rate { per_second, burst };
        options.buckets.insert(name.clone(), Some(rate));
    }
    let limiter = Arc::new(Limiter::new(options, Arc::clone(clock))?);
    let client = Arc::new(Client::new(HttpOptions::default(), Arc::clone(clock))?);
    let seen = Arc::new(Seen {
        inner: Arc::new(LimitedClient::new(client, limiter)),
        is_dry,
        asked: Mutex::default(),
    });
    let context = Context {
        name: "try".to_owned(),
        clock: Arc::clone(clock),
        http: Arc::clone(&seen) as Arc<dyn HttpClient>,
        tokens: Arc::default(),
        files: FileLimits::default(),
        windows: BTreeMap::new(),
    };
    Ok((configured.open(context)?, seen))
}
