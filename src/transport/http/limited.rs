//! A client behind a limiter: what a connection is given.

use std::sync::Arc;

use async_trait::async_trait;

use super::limit::Limiter;
use super::{Feedback, HttpClient, HttpReply, HttpRequest, headers};
use crate::fault::Fault;

/// Waits for a turn, sends, and tells the limiter what every platform says alike: 429, and 503 with
/// `retry-after`, pause the bucket. What else a platform says (quota headers of its own, "throttled" in a
/// body) its manifest declares and [`observe`](HttpClient::observe)s.
#[derive(Debug, Clone)]
pub struct LimitedClient {
    inner: Arc<dyn HttpClient>,
    limiter: Arc<Limiter>,
}

impl LimitedClient {
    /// Connections that share a credential share its limiter, each with a client of its own.
    pub fn new(inner: Arc<dyn HttpClient>, limiter: Arc<Limiter>) -> Self {
        Self { inner, limiter }
    }

    fn learn(&self, bucket: &str, reply: &HttpReply) {
        let retry_after = headers::retry_after(reply);
        match reply.status {
            429 => self.observe(bucket, Feedback::Throttled { retry_after }),
            503 if retry_after.is_some() => {
                self.observe(bucket, Feedback::Throttled { retry_after });
            }
            _ => self.limiter.succeeded(bucket),
        }
    }
}

#[async_trait]
impl HttpClient for LimitedClient {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let bucket = request.bucket.clone();
        let permit = self
            .limiter
            .acquire(&bucket, request.cost, request.lane)
            .await?;
        let result = self.inner.send(request).await;
        if let Ok(reply) = &result {
            // Before the place is given on: the next one must already know.
            self.learn(&bucket, reply);
        }
        drop(permit);
        result
    }

    fn observe(&self, bucket: &str, feedback: Feedback) {
        self.limiter.observe(bucket, feedback);
    }
}
