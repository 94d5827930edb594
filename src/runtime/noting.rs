//! A client that notes what time it is at the other side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::fault::Fault;
use crate::telemetry::Vitals;
use crate::transport::http::headers::server_time;
use crate::transport::http::{Feedback, HttpClient, HttpReply, HttpRequest};

/// Tells the vitals of each reply's `date`, and counts requests.
#[derive(Debug)]
pub(super) struct Noting {
    inner: Arc<dyn HttpClient>,
    connection: String,
    vitals: Vitals,
    requests: AtomicU64,
}

impl Noting {
    pub fn new(inner: Arc<dyn HttpClient>, connection: &str, vitals: &Vitals) -> Self {
        Self {
            inner,
            connection: connection.to_owned(),
            vitals: vitals.clone(),
            requests: AtomicU64::new(0),
        }
    }

    /// How many were sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl HttpClient for Noting {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let reply = self.inner.send(request).await?;
        if let Some(theirs) = server_time(&reply) {
            let ahead = theirs.duration_since(reply.received_at);
            self.vitals.clock_read(&self.connection, ahead);
        }
        Ok(reply)
    }

    fn observe(&self, bucket: &str, feedback: Feedback) {
        self.inner.observe(bucket, feedback);
    }
}
