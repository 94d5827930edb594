//! `[webhook.subscription]`: the subscriptions at the other side that make it tell.
//!
//! Other systems give a subscription up after some failures and tell nobody (story 17). So what there is is
//! listed, what is missing for our address is made, and what was given up is started again. A subscription
//! that leads elsewhere is somebody else's and left alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::super::fault::Intent;
use super::super::limits::Limits;
use super::super::request::{Call, Request};
use super::super::run::unexpected;
use super::super::scope::{Compiler, Frame, Trouble, holds};
use super::super::text::{Expr, Text};
use super::super::tree::elements;
use super::super::wire::Wire;
use crate::connector::{Subscribed, Subscriptions};
use crate::expr::{Program, Template, Type};
use crate::fault::Fault;
use crate::record::Stream;
use crate::transport::http::Lane;

/// `[webhook.subscription]`. One subscription is for one topic and one address.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Lists what there is.
    pub list: Request,
    /// The subscriptions in its `reply`.
    pub records: Expr,
    /// What an `item` of them is about.
    pub topic: Text,
    /// Where it leads.
    pub address: Text,
    /// Whether it tells anything.
    pub active: Expr,
    /// Whether a person has stopped it on purpose: it is left so.
    pub stopped: Option<Expr>,
    /// Subscribes to `topic` for `address`; `secret` is in scope.
    pub create: Request,
    /// Starts `item` again, of the same names. What was given up is made anew when absent.
    pub update: Option<Request>,
}

/// A compiled [`Subscription`].
#[derive(Debug)]
pub(in super::super) struct Subscribing {
    list: Call,
    records: Program,
    topic: Template,
    address: Template,
    active: Program,
    stopped: Option<Program>,
    create: Call,
    update: Option<Call>,
}

impl Subscription {
    pub(super) fn compile(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        secrets: &Type,
    ) -> Subscribing {
        let path = "webhook.subscription";
        let nothing = compiler.scope(&[]);
        let reply = compiler.scope(&["reply"]);
        let item = compiler.scope(&["item"]);
        let asked = compiler
            .scope(&["topic", "address"])
            .root("secret", secrets.clone());
        let again = asked.clone().root("item", Type::Dyn);
        let mut call = |request: &Request, scope, name: &str| {
            request.compile(compiler, limits, scope, &format!("{path}.{name}"))
        };
        let list = call(&self.list, &nothing, "list");
        let create = call(&self.create, &asked, "create");
        let update = self.update.as_ref();
        let update = update.map(|update| call(update, &again, "update"));
        Subscribing {
            list,
            records: compiler.expr(&self.records, &reply, path),
            topic: compiler.template(&self.topic, &item, path),
            address: compiler.template(&self.address, &item, path),
            active: compiler.expr(&self.active, &item, path),
            stopped: compiler.maybe(self.stopped.as_ref(), &item, path),
            create,
            update,
        }
    }
}

/// How one subscription is.
struct Known {
    item: Json,
    topic: String,
    is_active: bool,
    is_stopped: bool,
}

/// A connection's [`Subscriptions`].
#[derive(Debug)]
pub(in super::super) struct ManifestSubscriptions {
    pub(in super::super) wire: Arc<Wire>,
}

impl ManifestSubscriptions {
    fn subscribing(&self) -> Result<&Subscribing, Fault> {
        let hooking = self.wire.manifest.webhook.as_ref();
        let subscribing = hooking.and_then(super::Hooking::subscribing);
        subscribing
            .ok_or_else(|| Fault::bug("no_subscriptions", "this connector looks after no webhooks"))
    }

    /// The subscriptions that lead to the address.
    async fn known(&self, of: &Subscribing, address: &str) -> Result<Vec<Known>, Fault> {
        let reply = self
            .wire
            .call(&of.list, &[], Lane::Items, Intent::Read)
            .await;
        let reply = reply.map_err(|failure| failure.fault)?;
        let roots = [("reply", &reply.document)];
        let known = self.wire.with_frame(&roots, |frame| {
            let mut known = Vec::new();
            for item in elements(&of.records, frame)?.iter() {
                let roots = [("item", item)];
                let frame = frame.with(&roots);
                if text(&of.address, &frame)? == address {
                    known.push(Known {
                        item: item.clone(),
                        topic: text(&of.topic, &frame)?,
                        is_active: holds(&of.active, &frame)?,
                        is_stopped: match &of.stopped {
                            Some(stopped) => holds(stopped, &frame)?,
                            None => false,
                        },
                    });
                }
            }
            Ok(known)
        });
        known.await.map_err(|trouble| unexpected(&trouble))
    }

    async fn send(&self, call: &Call, names: &[(&str, &Json)]) -> Result<(), Fault> {
        let secrets = [("secret", &self.wire.values.secrets)];
        let names = [names, &secrets].concat();
        let sent = self.wire.call(call, &names, Lane::Items, Intent::Write);
        match sent.await {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.fault),
        }
    }
}

#[async_trait]
impl Subscriptions for ManifestSubscriptions {
    async fn ensure(&self, address: &str, streams: &BTreeSet<Stream>) -> Result<Subscribed, Fault> {
        let of = self.subscribing()?;
        let known = self.known(of, address).await?;
        let hooking = self.wire.manifest.webhook.as_ref();
        let topics = hooking.into_iter().flat_map(|hooking| &hooking.topics);
        let wanted = topics.filter(|(_, (stream, _))| streams.contains(stream));
        let mut done = Subscribed::default();
        let to = Json::from(address);
        for (topic, _) in wanted {
            let name = Json::from(topic.as_str());
            let names = [("topic", &name), ("address", &to)];
            let of_topic = || known.iter().filter(|known| known.topic == *topic);
            let list = if of_topic().any(|known| known.is_active) {
                &mut done.right
            } else if of_topic().any(|known| known.is_stopped) {
                &mut done.stopped
            } else if let (Some(update), Some(given_up)) = (&of.update, of_topic().next()) {
                let names = [names.as_slice(), &[("item", &given_up.item)]].concat();
                self.send(update, &names).await?;
                &mut done.revived
            } else {
                self.send(&of.create, &names).await?;
                &mut done.created
            };
            list.push(topic.clone());
        }
        Ok(done)
    }
}

fn text(template: &Template, frame: &Frame<'_>) -> Result<String, Trouble> {
    let text = template.eval_text(frame);
    text.map_err(|error| Trouble::new(&error))
}
