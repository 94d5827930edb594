//! Trouble on demand: test support for the authors of connectors and for the contract suite.
//!
//! [`Faulty`] stands in front of a [`Replay`](super::replay::Replay) and spoils chosen requests the way
//! networks and platforms do, with the very faults that the real client gives. So every connector can be
//! asked: does a refusal pause you, does half a page look like a short one, does a lost reply make you
//! create twice?

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::faults::{Target, redact};
use super::{Feedback, HttpClient, HttpReply, HttpRequest};
use crate::clock::Clock;
use crate::fault::Fault;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// 429, with `retry-after` in seconds or without. Not carried out.
    Throttled {
        /// The header's value.
        retry_after_secs: Option<u64>,
    },
    /// This status, such as 500 or 503, with a page of HTML. Not carried out.
    Status(u16),
    /// Carried out; the body of the reply ends half-way, with nothing in the transport to tell.
    CutBody,
    /// Carried out; the reply is 200 with a page of HTML, as a proxy or a maintenance page gives.
    WrongBody,
    /// The login was refused: this reply, as this platform says it. Not carried out.
    LoginExpired {
        /// Such as 401; some say it with 200 or 403.
        status: u16,
        /// Such as `{"error":"invalid_token"}`.
        body: String,
    },
    /// No reply in time, and nothing was carried out. The sender cannot know that: effect unknown.
    TimeoutBefore,
    /// No reply in time, and it was carried out: effect unknown.
    TimeoutAfter,
    /// Nobody took the connection: effect none.
    Refused,
    /// Carried out; the reply, 200 MB of it, was longer than the cap: effect unknown.
    TooLarge,
}

/// Spoils chosen requests on their way to another client.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn HttpClient>,
    clock: Arc<dyn Clock>,
    planned: Vec<(When, Trouble)>,
    count: Mutex<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Nth(u64),
    Always,
}

const HTML: &str = "<!DOCTYPE html><html><head><title>Please wait</title></head>\
                    <body><h1>Checking your browser</h1></body></html>";

impl Faulty {
    /// No trouble yet.
    pub fn new(inner: Arc<dyn HttpClient>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            clock,
            planned: Vec::new(),
            count: Mutex::new(0),
        }
    }

    /// Trouble with the `nth` request, counted from 1.
    #[must_use]
    pub fn on(mut self, nth: u64, trouble: Trouble) -> Self {
        self.planned.push((When::Nth(nth), trouble));
        self
    }

    /// Trouble with every request for which none is planned by number.
    #[must_use]
    pub fn always(mut self, trouble: Trouble) -> Self {
        self.planned.push((When::Always, trouble));
        self
    }

    /// How many requests came.
    pub fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_trouble(&self) -> Option<Trouble> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        let planned = |when| self.planned.iter().find(|(known, _)| *known == when);
        planned(When::Nth(*count))
            .or_else(|| planned(When::Always))
            .map(|(_, trouble)| trouble.clone())
    }

    fn reply(&self, status: u16, content_type: &str, body: impl Into<Bytes>) -> HttpReply {
        HttpReply {
            status,
            headers: vec![("content-type".into(), content_type.into())],
            body: body.into(),
            received_at: self.clock.now(),
        }
    }
}

#[async_trait]
impl HttpClient for Faulty {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let Some(trouble) = self.next_trouble() else {
            return self.inner.send(request).await;
        };
        let (method, url) = (request.method.clone(), redact(&request.url));
        let target = Target {
            method: &method,
            url: &url,
        };
        let limit = request.timeout.unwrap_or(Duration::from_mins(1));
        match trouble {
            Trouble::Throttled { retry_after_secs } => {
                let mut reply = self.reply(429, "application/json", r#"{"error":"slow down"}"#);
                let header = retry_after_secs.map(|s| ("retry-after".to_owned(), s.to_string()));
                reply.headers.extend(header);
                Ok(reply)
            }
            Trouble::Status(status) => Ok(self.reply(status, "text/html", HTML)),
            Trouble::LoginExpired { status, body } => {
                Ok(self.reply(status, "application/json", body))
            }
            Trouble::CutBody => {
                let mut reply = self.inner.send(request).await?;
                reply.body.truncate(reply.body.len() / 2);
                Ok(reply)
            }
            Trouble::WrongBody => {
                self.inner.send(request).await?;
                Ok(self.reply(200, "text/html", HTML))
            }
            Trouble::TimeoutBefore => Err(target.timeout(limit)),
            Trouble::TimeoutAfter => {
                self.inner.send(request).await?;
                Err(target.timeout(limit))
            }
            Trouble::Refused => Err(target.connect("Connection refused")),
            Trouble::TooLarge => {
                self.inner.send(request).await?;
                Err(target.too_large(super::HttpOptions::default().max_body_bytes))
            }
        }
    }

    fn observe(&self, bucket: &str, feedback: Feedback) {
        self.inner.observe(bucket, feedback);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::fault::Effect;
    use crate::transport::http::replay::{Order, Replay, parse};

    fn expired() -> Trouble {
        Trouble::LoginExpired {
            status: 200,
            body: r#"{"error":"session expired"}"#.into(),
        }
    }

    #[tokio::test]
    async fn each_trouble_is_what_it_says() {
        let fixture = r#"{"request": {"method": "POST", "path": "/orders"},
                          "response": {"body": {"id": 7, "name": "north"}}, "times": 0}"#;
        // What comes back: status, or code and effect; and whether the platform saw the request.
        let cases = [
            (
                Trouble::Throttled {
                    retry_after_secs: Some(3),
                },
                Ok(429),
                false,
            ),
            (
                Trouble::Throttled {
                    retry_after_secs: None,
                },
                Ok(429),
                false,
            ),
            (Trouble::Status(503), Ok(503), false),
            (Trouble::CutBody, Ok(200), true),
            (Trouble::WrongBody, Ok(200), true),
            (expired(), Ok(200), false),
            (
                Trouble::TimeoutBefore,
                Err(("http_timeout", Effect::Unknown)),
                false,
            ),
            (
                Trouble::TimeoutAfter,
                Err(("http_timeout", Effect::Unknown)),
                true,
            ),
            (Trouble::Refused, Err(("http_connect", Effect::None)), false),
            (
                Trouble::TooLarge,
                Err(("body_too_large", Effect::Unknown)),
                true,
            ),
        ];
        for (trouble, expect, carried_out) in cases {
            let clock = Arc::new(ManualClock::at("2026-11-22T00:00:00Z".parse().unwrap()));
            let exchanges = parse("test", fixture).unwrap();
            let replay = Arc::new(Replay::new(exchanges, Order::Any, clock.clone()));
            let faulty = Faulty::new(replay.clone(), clock).on(2, trouble.clone());
            let request = || HttpRequest::new("POST", "http://a/orders");
            assert_eq!(faulty.send(request()).await.unwrap().status, 200);
            let result = faulty.send(request()).await;
            match (&result, expect) {
                (Ok(answer), Ok(status)) => assert_eq!(answer.status, status, "{trouble:?}"),
                (Err(fault), Err((code, effect))) => {
                    assert_eq!((&*fault.code, fault.effect), (code, effect), "{trouble:?}");
                }
                _ => panic!("{trouble:?}: {result:?}"),
            }
            let seen = replay.requests().len();
            assert_eq!(seen, 1 + usize::from(carried_out), "{trouble:?}");
            if trouble == Trouble::CutBody {
                assert_eq!(result.unwrap().body, r#"{"id":7,"na"#);
            }
            // Only the second one was spoilt.
            assert_eq!(faulty.send(request()).await.unwrap().status, 200);
            assert_eq!(faulty.count(), 3);
        }
    }

    #[tokio::test]
    async fn trouble_may_last() {
        let clock = Arc::new(ManualClock::at("2026-11-22T00:00:00Z".parse().unwrap()));
        let replay = Arc::new(Replay::new(Vec::new(), Order::Any, clock.clone()));
        let faulty = Faulty::new(replay, clock)
            .on(1, expired())
            .always(Trouble::Status(500));
        let status = async || {
            let request = HttpRequest::new("GET", "http://a/");
            faulty.send(request).await.unwrap().status
        };
        assert_eq!(
            [status().await, status().await, status().await],
            [200, 500, 500]
        );
    }
}
