//! The practice systems without a network: an HTTP client that hands requests to stations.
//!
//! For simulations: limits and faults are those of the stations, waiting is the world's clock, and what
//! happens depends on nothing but the seed. Addresses are `https://SYSTEM.sandbox`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use super::serve::{Call, Ending, Station};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::transport::http::{Feedback, HeaderValue, HttpClient, HttpReply, HttpRequest};

/// Speaks to the stations of a world.
#[derive(Debug, Clone)]
pub struct Inside {
    stations: BTreeMap<String, Arc<Station>>,
    clock: Arc<dyn Clock>,
}

impl Inside {
    /// Speaks to all stations of `world`.
    pub fn of(world: &World) -> Self {
        Self {
            stations: world.stations.clone(),
            clock: Arc::clone(world.audit.clock()),
        }
    }

    /// The address of a system for this client.
    pub fn url(system: &str) -> String {
        format!("https://{system}.sandbox")
    }

    fn find(&self, url: &str) -> Option<(&Arc<Station>, String)> {
        let rest = url.strip_prefix("https://")?;
        let (host, target) = rest.split_once('/').unwrap_or((rest, ""));
        // A system may have more names: `documents.market.sandbox`.
        let name = host.strip_suffix(".sandbox")?.rsplit('.').next()?;
        let station = self.stations.get(name)?;
        Some((station, format!("/{target}")))
    }
}

#[async_trait]
impl HttpClient for Inside {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let Some((station, target)) = self.find(&request.url) else {
            return Err(Fault::config(
                "bad_url",
                "no practice system has this address",
            ));
        };
        let mut call = Call::new(&request.method, &target, request.body.unwrap_or_default());
        let host = request.url.split('/').nth(2).unwrap_or_default();
        call.headers.insert("host".to_owned(), host.to_owned());
        for (name, value) in &request.headers {
            let value = match value {
                HeaderValue::Plain(text) => text.as_str(),
                HeaderValue::Secret(secret) => secret.expose(),
            };
            call.headers.insert(name.clone(), value.to_owned());
        }
        match station.exchange(&call).await {
            Ending::Whole(reply) => Ok(HttpReply {
                status: reply.status,
                headers: reply.headers,
                body: reply.body,
                received_at: self.clock.now(),
            }),
            Ending::Half(_) => {
                Err(Fault::retry("http_cut", "the reply broke off in its middle").after_sending())
            }
            Ending::Nothing => Err(Fault::retry(
                "http_closed",
                "the connection was closed without a reply",
            )
            .after_sending()),
        }
    }

    fn observe(&self, _bucket: &str, _feedback: Feedback) {}
}
