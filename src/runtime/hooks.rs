//! Webhooks: from a request to hints that are durable, and the subscriptions behind them.
//!
//! What is answered when: 2xx once the hints are durable, or where there is nothing to keep; 401 for what is
//! not proved; 400 for what cannot be understood; 404 for whoever takes in none; 503 while the disk is full, too
//! much waits, or the engine does not get to it. What is answered 503 is told again by its sender.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use bytes::Bytes;
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use super::Live;
use super::gate::Gate;
use crate::alert::{Kind, Severity};
use crate::clock::Clock;
use crate::connector::{Connection, Inbound, Notice};
use crate::fault::{Class, Fault};
use crate::id::ConnectionName;
use crate::intake::receive::{Leads, Reception, Taken};
use crate::record::Stream;
use crate::telemetry::{self, Vitals, Webhook};
use crate::topology::Plan;

/// How often subscriptions are looked at.
const LOOK: Duration = Duration::from_secs(3600);
/// How soon again after that failed, or after another configuration.
const AGAIN: Duration = Duration::from_secs(300);
/// How often it is asked whether it is time.
const TICK: Duration = Duration::from_secs(5);
/// When senders are asked to try again.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What a sender is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is durable, or there is nothing to keep.
    Taken,
    /// Nobody of that name takes in webhooks.
    Nobody,
    /// It does not prove its sender.
    Forged,
    /// It is genuine and cannot be understood.
    NotUnderstood,
    /// Not now; the sender is to tell it again after that.
    Busy(Duration),
}

/// Takes in webhooks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hooks {
    live: Arc<ArcSwap<Live>>,
    gate: Gate,
    clock: Arc<dyn Clock>,
    reception: Arc<Reception>,
    /// What was said of each connection since something else was.
    said: Arc<Mutex<BTreeMap<ConnectionName, Webhook>>>,
}

impl Hooks {
    pub(super) fn new(
        live: Arc<ArcSwap<Live>>,
        gate: Gate,
        clock: Arc<dyn Clock>,
        reception: Arc<Reception>,
    ) -> Self {
        Self {
            live,
            gate,
            clock,
            reception,
            said: Arc::default(),
        }
    }

    /// How time passes here.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Takes in one request to `/hooks/NAME` or `/hooks/NAME/SECRET`.
    pub async fn take(
        &self,
        (name, secret): (&str, Option<&str>),
        headers: Vec<(String, String)>,
        body: Bytes,
    ) -> Answer {
        let live = self.live.load_full();
        let name = ConnectionName::new(name);
        let Some((connection, address)) = find(&live, &name, secret) else {
            // Whoever guesses names learns nothing by how long it takes.
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"nobody");
            black_box(hmac::sign(&key, &body));
            telemetry::webhook_for_nobody();
            return Answer::Nobody;
        };
        let request = Inbound {
            url: address.unwrap_or_default(),
            headers,
            body,
            at: self.clock.now(),
        };
        let (became, answer, why) = match self.understand(&live, &name, &connection, &request).await
        {
            Ok(became) => (became, Answer::Taken, None),
            Err(fault) => {
                let (became, answer) = match fault.class {
                    Class::Auth => (Webhook::Forged, Answer::Forged),
                    Class::Retry | Class::Throttle => {
                        let wait = fault.retry_after.unwrap_or(RETRY_AFTER);
                        (Webhook::Busy, Answer::Busy(wait))
                    }
                    Class::Reject => (Webhook::NotUnderstood, Answer::NotUnderstood),
                    // Ours to mend: what was told must not be lost meanwhile.
                    Class::Config | Class::Bug => (Webhook::Busy, Answer::Busy(RETRY_AFTER)),
                };
                (became, answer, Some(fault))
            }
        };
        let is_new = self.is_new(&name, became);
        telemetry::webhook(&name, became, why.as_ref(), is_new);
        answer
    }

    async fn understand(
        &self,
        live: &Live,
        name: &ConnectionName,
        connection: &Connection,
        request: &Inbound,
    ) -> Result<Webhook, Fault> {
        let Some(receiver) = &connection.receiver else {
            return Err(Fault::bug("no_receiver", "this connection takes in none"));
        };
        let Notice {
            hints,
            unknown,
            is_ping,
        } = receiver.verify(request)?;
        if is_ping {
            return Ok(Webhook::Ping);
        }
        if let Some(why) = self.gate.why_nothing_is_read() {
            return Err(Fault::retry("not_reading", why).wait(Some(RETRY_AFTER)));
        }
        let leads = leads(&live.plan, name, connection);
        let taken = self.reception.take(name, hints, &leads).await?;
        telemetry::webhook_at(name, request.at.as_second());
        let Taken {
            new,
            known,
            slowed,
            woken,
            unread,
        } = taken;
        let counts = [
            ("new", new),
            ("known", known),
            ("slowed", slowed),
            ("woken", woken),
            ("unread", unread),
            ("unknown_topic", unknown),
        ];
        telemetry::webhook_hints(name, &counts);
        Ok(Webhook::Taken)
    }

    /// Whether something else became of the last webhook of this connection.
    fn is_new(&self, name: &ConnectionName, became: Webhook) -> bool {
        if became == Webhook::Ping {
            return false;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(name.clone(), became) != Some(became)
    }
}

/// A connection that takes in webhooks, and its address as the outside knows it.
fn find(
    live: &Live,
    name: &ConnectionName,
    secret: Option<&str>,
) -> Option<(Arc<Connection>, Option<String>)> {
    let connection = live.connections.get(name)?;
    connection.receiver.as_ref()?;
    let settings = live.plan.config.connection.get(name)?;
    let wanted = settings.webhook.path_secret.as_ref();
    let wanted = wanted.map_or("", |secret| secret.expose());
    let given = secret.unwrap_or_default();
    if !bool::from(wanted.as_bytes().ct_eq(given.as_bytes())) {
        return None;
    }
    Some((Arc::clone(connection), address(&live.plan, name)))
}

/// Where webhooks of a connection are sent to, where that is known.
fn address(plan: &Plan, name: &ConnectionName) -> Option<String> {
    let base = plan.server.webhook_url.as_ref()?;
    let settings = plan.config.connection.get(name)?;
    let base = base.trim_end_matches('/');
    Some(match &settings.webhook.path_secret {
        Some(secret) => format!("{base}/hooks/{name}/{}", secret.expose()),
        None => format!("{base}/hooks/{name}"),
    })
}

/// The streams of a connection that are read.
fn read(plan: &Plan, name: &ConnectionName) -> BTreeSet<Stream> {
    let planned = plan.connections.get(name);
    let streams = planned.into_iter().flat_map(|planned| &planned.streams);
    let read = streams.filter(|(_, stream)| stream.is_read);
    read.map(|(stream, _)| *stream).collect()
}

fn leads(plan: &Plan, name: &ConnectionName, connection: &Connection) -> Leads {
    let streams = read(plan, name).into_iter().filter_map(|stream| {
        let source = connection.sources.get(&stream)?;
        Some((stream, source.can_fetch()))
    });
    Leads {
        streams: streams.collect(),
        most: plan.limits.hints_max,
        per_minute: plan.limits.hints_per_minute,
    }
}

/// Looks after the subscriptions of all connections (story 17).
pub(super) struct Subscribers {
    pub live: Arc<ArcSwap<Live>>,
    pub vitals: Vitals,
    pub clock: Arc<dyn Clock>,
    pub stop: CancellationToken,
    pub known: BTreeMap<ConnectionName, Looked>,
}

/// The last look at the subscriptions of a connection.
pub(super) struct Looked {
    connection: Arc<Connection>,
    address: String,
    streams: BTreeSet<Stream>,
    /// When it is time again, by the monotonic clock.
    next: Duration,
    /// What was wrong.
    trouble: Option<String>,
}

impl Subscribers {
    pub(super) async fn run(mut self) {
        loop {
            self.look().await;
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.clock.sleep(TICK) => {}
            }
        }
    }

    async fn look(&mut self) {
        let live = self.live.load_full();
        self.known
            .retain(|name, _| live.connections.contains_key(name));
        if live.plan.server.webhooks_listen.is_none() {
            return;
        }
        for (name, connection) in &live.connections {
            let Some(address) = address(&live.plan, name) else {
                return;
            };
            let streams = read(&live.plan, name);
            let is_due = self.known.get(name).is_none_or(|known| {
                let is_same = Arc::ptr_eq(&known.connection, connection)
                    && (&known.address, &known.streams) == (&address, &streams);
                !is_same || self.clock.monotonic() >= known.next
            });
            if !is_due || connection.subscriptions.is_none() {
                continue;
            }
            let looked = tokio::select! {
                () = self.stop.cancelled() => return,
                looked = self.look_at(name, connection, address, streams) => looked,
            };
            self.known.insert(name.clone(), looked);
        }
    }

    async fn look_at(
        &self,
        name: &ConnectionName,
        connection: &Arc<Connection>,
        address: String,
        streams: BTreeSet<Stream>,
    ) -> Looked {
        let before = self.known.get(name).and_then(|known| known.trouble.clone());
        let done = match &connection.subscriptions {
            Some(subscriptions) => subscriptions.ensure(&address, &streams).await,
            None => Ok(crate::connector::Subscribed::default()),
        };
        let (trouble, wait) = match done {
            Ok(done) => {
                let stopped = done.stopped.join(", ");
                let trouble = (!stopped.is_empty()).then_some(stopped);
                let told = telemetry::Subscriptions {
                    right: done.right.len() + done.created.len() + done.revived.len(),
                    created: &done.created,
                    revived: &done.revived,
                    stopped: &done.stopped,
                };
                telemetry::subscriptions(name, &told, before != trouble);
                (trouble, LOOK)
            }
            Err(fault) => {
                let trouble = Some(fault.code.to_string());
                telemetry::subscriptions_failed(name, &fault, before != trouble);
                (trouble, fault.retry_after.unwrap_or(AGAIN).max(AGAIN))
            }
        };
        let what = trouble.as_ref().map(|why| {
            let text = format!(
                "{name} does not call us as it should ({why}): what it would have told comes with the next \
                 reading; see its webhooks there, and the log"
            );
            (Severity::Warning, text)
        });
        self.vitals.report(Kind::Subscription, name.as_str(), what);
        Looked {
            connection: Arc::clone(connection),
            address,
            streams,
            next: self.clock.monotonic() + wait,
            trouble,
        }
    }
}
