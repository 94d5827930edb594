//! `prove`: asks both sides of each route of orders and of shipments (`prove/shipments.rs`) for a period, each
//! channel for its numbers and prices now (`prove/numbers.rs`), and compares. Reads only.
//!
//! Through the connections of the daemon, so that its limits hold for this too, behind everything else where
//! a sink is asked. Sources are read from the beginning of the period on, which moves no checkpoint.

mod numbers;
mod shipments;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::limits::Limiters;
use super::{Live, Runtime, keeper, open};
use crate::clock::Clock;
use crate::connector::{Asked, Body, Change, Connection, Cursor, Onward, Source, Standing};
use crate::engine::{EngineError, Handle};
use crate::fault::{Class, Fault};
use crate::id::{ConnectionName, RemoteId, RouteName};
use crate::proof::{Proof, RouteProof, Seen};
use crate::record::{CancellationState, Record, Stream};
use crate::telemetry::Vitals;
use crate::topology::{Plan, PlannedRoute};

/// How many things are accounted for at a time.
const UNIT: usize = 200;
/// The most pages of one source: an end to whatever does not end (story 64).
const MAX_PAGES: usize = 20_000;
/// How often a system is asked again that does not answer just now, and how long it is waited before.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// No system is waited for longer, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// Asks both sides.
#[derive(Debug, Clone)]
pub struct Prover {
    engine: Handle,
    live: Arc<ArcSwap<Live>>,
    clock: Arc<dyn Clock>,
    /// A daemon reads on meanwhile.
    reads_on: bool,
}

impl Runtime {
    /// For proofs through the connections of this daemon.
    pub fn prover(&self) -> Prover {
        Prover {
            engine: self.engine.clone(),
            live: Arc::clone(&self.live),
            clock: Arc::clone(&self.clock),
            reads_on: true,
        }
    }
}

impl Prover {
    /// For a proof without a daemon; opens the connections of the plan.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn alone(plan: Arc<Plan>, engine: Handle, clock: &Arc<dyn Clock>) -> Result<Self, Fault> {
        let vitals = Vitals::new(Arc::clone(clock));
        let tokens = keeper::tokens(&engine, &TaskTracker::new());
        let around = open::Around {
            clock,
            vitals: &vitals,
            tokens: &tokens,
            limiters: &Limiters::default(),
        };
        let connections = open::connections(&plan, &around, |_| None)?;
        Ok(Self {
            engine,
            live: Arc::new(ArcSwap::from_pointee(Live { plan, connections })),
            clock: Arc::clone(clock),
            reads_on: false,
        })
    }

    /// Proves everything that was placed at or after `from` and before `to`, and what the channels show now.
    ///
    /// # Errors
    /// When the engine has stopped. A side that does not answer is told in the proof.
    pub async fn prove(&self, from: Timestamp, to: Timestamp) -> Result<Proof, EngineError> {
        let live = self.live.load_full();
        let mut proof = Proof {
            from,
            to,
            made_at: self.clock.now(),
            routes: Vec::new(),
            shipments: Vec::new(),
            numbers: Vec::new(),
            left_out: Vec::new(),
        };
        for route in &live.plan.routes {
            match (route.from.1, route.to.1) {
                (Stream::Orders, Stream::Orders) => {
                    let told = self.route(&live, route, (from, to)).await?;
                    proof.routes.push(told);
                }
                (Stream::Shipments, Stream::Shipments) | (_, Stream::Prices) => {}
                _ => proof.left_out.push(route.name.to_string()),
            }
        }
        proof.shipments = self.shipments(&live, (from, to)).await?;
        for (rule, target) in numbers::told_by(&live.plan) {
            let told = self.numbers(&live, rule, target).await?;
            proof.numbers.push(told);
        }
        Ok(proof)
    }

    /// Asks, and asks again what could not be answered just now.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        for wait in AGAIN {
            match ask().await {
                Err(fault) if matches!(fault.class, Class::Retry | Class::Throttle) => {
                    let asked = fault.retry_after.unwrap_or(wait);
                    self.clock.sleep(asked.clamp(wait, LONGEST_WAIT)).await;
                }
                answer => return answer,
            }
        }
        ask().await
    }

    async fn route(
        &self,
        live: &Live,
        route: &PlannedRoute,
        period: (Timestamp, Timestamp),
    ) -> Result<RouteProof, EngineError> {
        let mut told = RouteProof {
            route: route.name.to_string(),
            from: format!("{}.{}", route.from.0, route.from.1),
            to: format!("{}.{}", route.to.0, route.to.1),
            ..RouteProof::default()
        };
        let (placed, rejected) = match placed(live, &route.from.0, period).await {
            Ok(placed) => placed,
            Err(fault) => {
                told.trouble = Some(format!("{} could not be read: {fault}", told.from));
                return Ok(told);
            }
        };
        for (id, fault) in rejected {
            told.add_rejected(&id, &fault);
        }
        let placed: Vec<(RemoteId, Record)> = placed.into_iter().collect();
        for some in placed.chunks(UNIT) {
            if let Err(fault) = self.some(live, route, some, &mut told).await? {
                told.trouble = Some(format!("{} could not be asked: {fault}", told.to));
                break;
            }
        }
        Ok(told)
    }

    async fn some(
        &self,
        live: &Live,
        route: &PlannedRoute,
        some: &[(RemoteId, Record)],
        told: &mut RouteProof,
    ) -> Result<Result<(), Fault>, EngineError> {
        // Before the sink is asked: what is told as delivered was there before.
        let name: RouteName = route.name.clone();
        let accounts = self.engine.account(name, some.to_vec()).await?;
        let sink = live.connections.get(&route.to.0);
        let sink = sink.and_then(|connection| connection.sinks.get(&Stream::Orders));
        let mut standings: Option<BTreeMap<String, Vec<Standing>>> = None;
        if let Some(sink) = sink.filter(|sink| sink.can_read_back()) {
            let asked: Vec<Asked> = accounts
                .iter()
                .map(|account| Asked {
                    reference: account.reference.clone(),
                    name: account.name.clone(),
                })
                .collect();
            let origin = route.from.0.as_str();
            match self.patiently(|| sink.read_back(origin, &asked)).await {
                Ok(found) => {
                    let by_reference = standings.get_or_insert_default();
                    for standing in found {
                        let of = by_reference.entry(standing.reference.clone());
                        of.or_default().push(standing);
                    }
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
        for ((id, record), account) in some.iter().zip(&accounts) {
            let of = standings.as_ref().map(|all| {
                let these = all.get(&account.reference);
                these.into_iter().flatten().collect::<Vec<_>>()
            });
            told.add(&seen(id, record), account, of.as_deref());
        }
        Ok(Ok(()))
    }
}

fn seen(id: &RemoteId, record: &Record) -> Seen {
    let order = match record {
        Record::Order(order) => Some(order),
        _ => None,
    };
    Seen {
        id: id.clone(),
        total: order.map(|order| order.totals.grand_total),
        called_off: order
            .is_some_and(|order| order.axes.cancellation == CancellationState::Cancelled),
    }
}

/// What a source shows that was placed in a period; by id, so that what is read twice counts once. And what
/// it shows that nobody understands, whenever that was placed.
async fn placed(
    live: &Live,
    name: &ConnectionName,
    (from, to): (Timestamp, Timestamp),
) -> Result<(BTreeMap<RemoteId, Record>, BTreeMap<RemoteId, Fault>), Fault> {
    let (source, after) = source_from(live, name, Stream::Orders, from).await?;
    let (mut found, mut rejected) = (BTreeMap::new(), BTreeMap::new());
    pages(source, after, Hurry::Ordinary, |change| match change.body {
        Body::Present(record) if is_placed_in(&record, from, to) => {
            found.insert(change.id, record);
        }
        Body::Rejected(fault) => {
            rejected.insert(change.id, fault);
        }
        _ => {}
    })
    .await?;
    Ok((found, rejected))
}

/// A source, and the cursor that shows everything that happened at or after `from`.
async fn source_from<'l>(
    live: &'l Live,
    name: &ConnectionName,
    stream: Stream,
    from: Timestamp,
) -> Result<(&'l dyn Source, Option<Cursor>), Fault> {
    let missing = || Fault::bug("no_source", format!("the connection cannot read {stream}"));
    let connection: &Connection = live.connections.get(name).ok_or_else(missing)?;
    let source = connection.sources.get(&stream).ok_or_else(missing)?;
    let spec = live.plan.connections.get(name).map(|it| &it.spec);
    let onward = spec.and_then(|spec| spec.streams.get(&stream));
    // What happened in the period was changed in it or later.
    let is_moment = matches!(onward.map(|it| &it.onward), Some(Onward::Moment { .. }));
    if !is_moment && source.peek().await?.is_none() {
        let message = "reading takes away what is read";
        return Err(Fault::reject("read_once", message));
    }
    Ok((source.as_ref(), is_moment.then(|| Cursor::watermark(from))))
}

/// How a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hurry {
    /// From a cursor on.
    Ordinary,
    /// All there is, behind everything else.
    Slow,
}

/// Reads a source page by page to its end.
async fn pages(
    source: &dyn Source,
    mut after: Option<Cursor>,
    hurry: Hurry,
    mut take: impl FnMut(Change),
) -> Result<(), Fault> {
    let mut been: BTreeSet<String> = BTreeSet::new();
    for _ in 0..MAX_PAGES {
        let page = match hurry {
            Hurry::Ordinary => source.pull(after.as_ref()).await?,
            Hurry::Slow => source.sweep(after.as_ref()).await?,
        };
        page.changes.into_iter().for_each(&mut take);
        if !page.more {
            return Ok(());
        }
        let next = serde_json::to_string(&page.cursor).unwrap_or_default();
        if !been.insert(next) {
            break;
        }
        after = Some(page.cursor);
    }
    let message = "its pages do not end";
    Err(Fault::bug("endless_pages", message))
}

fn is_placed_in(record: &Record, from: Timestamp, to: Timestamp) -> bool {
    match record {
        Record::Order(order) => order.placed_at >= from && order.placed_at < to,
        _ => false,
    }
}
