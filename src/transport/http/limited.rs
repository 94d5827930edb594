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
    payer: u32,
}

impl LimitedClient {
    /// Connections that share a credential share its limiter, each with a client of its own.
    pub fn new(inner: Arc<dyn HttpClient>, limiter: Arc<Limiter>) -> Self {
        let payer = limiter.join();
        Self {
            inner,
            limiter,
            payer,
        }
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
            .acquire_as(self.payer, &bucket, request.cost, request.lane)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::transport::http::limit::LimitOptions;
    use crate::transport::http::replay::{Order, Replay, parse};

    /// How long the next request waits after one that was answered like this.
    async fn wait_after(response: &str) -> Duration {
        let fixture = format!(
            r#"[{{"request": {{"method": "GET", "path": "/"}}, "response": {response}}},
                {{"request": {{"method": "GET", "path": "/"}}, "response": {{}}}}]"#
        );
        let clock = ManualClock::at("2026-11-22T00:00:00Z".parse().unwrap());
        let exchanges = parse("test", &fixture).unwrap();
        let replay = Replay::new(exchanges, Order::Sequence, Arc::new(clock.clone()));
        let limiter = Limiter::new(LimitOptions::default(), Arc::new(clock.clone())).unwrap();
        let client = LimitedClient::new(Arc::new(replay), Arc::new(limiter));
        for _ in 0..2 {
            let request = HttpRequest::new("GET", "http://a/");
            client.send(request).await.unwrap();
        }
        clock.monotonic()
    }

    /// Story 50: `retry-after` is obeyed, whoever's connection it came on.
    #[tokio::test]
    async fn refusals_pause_the_bucket_and_errors_do_not() {
        let cases = [
            (r#"{"status": 200}"#, 0),
            (r#"{"status": 500}"#, 0),
            (r#"{"status": 503}"#, 0),
            (r#"{"status": 503, "headers": {"Retry-After": "7"}}"#, 7),
            (r#"{"status": 429, "headers": {"retry-after": "30"}}"#, 30),
            (
                r#"{"status": 429, "headers": {"retry-after": "Sun, 22 Nov 2026 00:00:09 GMT"}}"#,
                9,
            ),
            (r#"{"status": 429, "headers": {"retry-after": "0"}}"#, 1),
            (r#"{"status": 429}"#, 1),
            // What a platform says with 200 only its manifest knows.
            (r#"{"status": 200, "headers": {"retry-after": "30"}}"#, 0),
        ];
        for (response, expect) in cases {
            assert_eq!(
                wait_after(response).await,
                Duration::from_secs(expect),
                "{response}"
            );
        }
    }
}
