//! `[webhook]`: what another system tells on its own, and how it proves that it is it.
//!
//! ```text
//! verify.rs     a proof over the raw bytes, with any of several keys, perhaps with a moment in it
//! decode.rs     which things of which streams it is about
//! subscribe.rs  the subscriptions at the other side that make it tell
//! ```
//!
//! What a webhook says is never believed beyond "look at this again": the thing is fetched.

mod decode;
mod subscribe;
mod verify;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::compiled::parse_stream;
use super::limits::Limits;
use super::scope::{Compiler, Frame, Tables};
use super::settings::Values;
use super::text::{Expr, Name, Text, Tree};
use super::tree::Node;
use crate::connector::{HookNeeds, Inbound, Notice, Receiver};
use crate::diagnostic::Diagnostics;
use crate::expr::{Program, Reads, Template, Type};
use crate::fault::Fault;
use crate::record::Stream;

pub use subscribe::Subscription;
pub use verify::{Encoding, Proof, Verify};

pub(super) use subscribe::ManifestSubscriptions;
use subscribe::Subscribing;
use verify::{Checking, Verifier};

/// `[webhook]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// How a request proves where it comes from.
    pub verify: Verify,
    /// What some systems ask without a proof when they are set up, of `request` (`headers`, and `text` where
    /// that is short): it is answered and means nothing.
    pub ping: Option<Expr>,
    /// The things that one request tells of, of `request`; the whole body is the one thing when absent.
    pub items: Option<Tree>,
    /// What an `item` is about.
    pub topic: Text,
    /// What the sender calls the event, of `request` and `item`, where that is told again with the same name.
    pub event: Option<Text>,
    /// Where the topics lead. All others are counted and answered.
    pub topics: Vec<Topic>,
    /// The subscriptions at the other side.
    pub subscription: Option<Subscription>,
}

/// `[[webhook.topics]]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// As the other side calls them.
    pub names: Vec<String>,
    /// Which stream they are about.
    pub stream: Name,
    /// The id by which the stream fetches the thing, of `request` and `item`. Without it, or where it is
    /// null, the stream is read as usual, but at once.
    pub id: Option<Text>,
}

/// A compiled [`Webhook`].
#[derive(Debug)]
pub(super) struct Hooking {
    checking: Checking,
    ping: Option<Program>,
    items: Option<Node>,
    topic: Template,
    event: Option<Template>,
    /// By topic.
    topics: BTreeMap<String, (Stream, Option<Template>)>,
    subscribing: Option<Subscribing>,
}

impl Webhook {
    pub(super) fn compile(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        secrets: &Type,
        streams: &[Stream],
    ) -> Hooking {
        let request = compiler.scope(&["request"]);
        let item = compiler.scope(&["request", "item"]);
        let mut topics = BTreeMap::new();
        for topic in &self.topics {
            let stream = match parse_stream(&topic.stream) {
                Ok(stream) if streams.contains(&stream) => stream,
                Ok(_) => {
                    let message = "this stream is not read";
                    compiler.error("webhook.topics", topic.stream.span(), message, None);
                    continue;
                }
                Err(help) => {
                    let message = "this is no stream";
                    compiler.error("webhook.topics", topic.stream.span(), message, Some(help));
                    continue;
                }
            };
            let id = topic.id.as_ref();
            let id = id.map(|id| compiler.template(id, &item, "webhook.topics.id"));
            for name in &topic.names {
                if topics.insert(name.clone(), (stream, id.clone())).is_some() {
                    let message = format!("the topic `{name}` leads to two places");
                    compiler.error("webhook.topics", topic.stream.span(), message, None);
                }
            }
        }
        Hooking {
            checking: self.verify.compile(compiler, secrets),
            ping: compiler.maybe(self.ping.as_ref(), &request, "webhook.ping"),
            items: self
                .items
                .as_ref()
                .map(|items| compiler.tree(items, &request, "webhook.items")),
            topic: compiler.template(&self.topic, &item, "webhook.topic"),
            event: self
                .event
                .as_ref()
                .map(|event| compiler.template(event, &item, "webhook.event")),
            topics,
            subscribing: self
                .subscription
                .as_ref()
                .map(|subscription| subscription.compile(compiler, limits, secrets)),
        }
    }
}

impl Hooking {
    /// What a connection with these settings needs; nothing when they hold no key.
    pub(super) fn needs(&self, values: &Values, tables: &Tables) -> Option<HookNeeds> {
        self.verifier(values, tables).ok().flatten()?;
        let mut read = Reads::default();
        for template in self.checking.signed() {
            template.reads("request", &mut read);
        }
        let address = read.takes("url");
        Some(HookNeeds { address })
    }

    /// Reads the keys of a connection.
    ///
    /// # Errors
    /// Keys that are none.
    pub(super) fn verifier(
        &self,
        values: &Values,
        tables: &Tables,
    ) -> Result<Option<Verifier>, Diagnostics> {
        let roots = [("settings", &values.settings), ("secret", &values.secrets)];
        self.checking.verifier(&Frame::new(&roots, tables))
    }

    pub(super) fn subscribing(&self) -> Option<&Subscribing> {
        self.subscribing.as_ref()
    }
}

/// A connection's [`Receiver`].
pub(super) struct ManifestReceiver {
    pub(super) manifest: std::sync::Arc<super::compiled::Compiled>,
    pub(super) values: Values,
    pub(super) verifier: Verifier,
}

impl std::fmt::Debug for ManifestReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManifestReceiver").finish_non_exhaustive()
    }
}

impl Receiver for ManifestReceiver {
    fn verify(&self, request: &Inbound) -> Result<Notice, Fault> {
        let Some(hooking) = &self.manifest.webhook else {
            return Err(Fault::bug("no_webhooks", "this connector takes in none"));
        };
        let roots = [
            ("settings", &self.values.settings),
            ("text", &self.manifest.texts),
        ];
        let outer = Frame::new(&roots, &self.manifest.tables);
        let told = decode::outside(request);
        let roots: [(&str, &Json); 1] = [("request", &told)];
        let frame = outer.with(&roots);
        if hooking.is_ping(&frame)? {
            let is_ping = true;
            return Ok(Notice {
                is_ping,
                ..Notice::default()
            });
        }
        hooking.checking.check(&self.verifier, request, &frame)?;
        hooking.decode(request, told.clone(), &outer)
    }
}
