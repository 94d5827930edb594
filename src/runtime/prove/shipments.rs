//! Shipments of a period, beside the tracking that the channels of their orders show.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::numbers::SHOWS_AFTER;
use super::{Hurry, Prover, UNIT, pages, source_from};
use crate::connector::{Asked, Body, Sink, Standing};
use crate::engine::EngineError;
use crate::fault::Fault;
use crate::id::{ConnectionName, RemoteId};
use crate::proof::{Parcels, RouteProof, Seen, Shows, Verdict, judge_parcels};
use crate::record::{Record, Shipment, Stream};
use crate::runtime::Live;
use crate::topology::PlannedRoute;

/// A shipment as the system that ships shows it, and when it was changed there.
type Shown = (RemoteId, Shipment, Option<Timestamp>);

/// What a system that ships shows of a period, and what it shows that nobody understands.
#[derive(Default)]
struct Shipped {
    shown: Vec<Shown>,
    rejected: BTreeMap<RemoteId, Fault>,
}

impl Prover {
    pub(super) async fn shipments(
        &self,
        live: &Live,
        period: (Timestamp, Timestamp),
    ) -> Result<Vec<RouteProof>, EngineError> {
        let mut proofs = Vec::new();
        let mut read: BTreeMap<&ConnectionName, Result<Shipped, Fault>> = BTreeMap::new();
        let routes = live.plan.routes.iter();
        for route in routes.filter(|it| it.from.1 == Stream::Shipments && it.to.1 == it.from.1) {
            let mut told = RouteProof {
                route: route.name.to_string(),
                from: format!("{}.{}", route.from.0, route.from.1),
                to: format!("{}.{}", route.to.0, route.to.1),
                ..RouteProof::default()
            };
            let from = &route.from.0;
            if !read.contains_key(from) {
                read.insert(from, shipped(live, from, period).await);
            }
            match read.get(from) {
                Some(Ok(shipped)) => {
                    for (id, fault) in &shipped.rejected {
                        told.add_rejected(id, fault);
                    }
                    let compared = self.carried(live, route, &shipped.shown, &mut told).await?;
                    if let Err(fault) = compared {
                        told.trouble = Some(format!("{} could not be asked: {fault}", told.to));
                    }
                }
                Some(Err(fault)) => {
                    told.trouble = Some(format!("{} could not be read: {fault}", told.from));
                }
                None => {}
            }
            proofs.push(told);
        }
        Ok(proofs)
    }

    /// Compares those of one route. What differs is looked at once more, when the channel had time to show what
    /// it took.
    async fn carried(
        &self,
        live: &Live,
        route: &PlannedRoute,
        shown: &[Shown],
        told: &mut RouteProof,
    ) -> Result<Result<(), Fault>, EngineError> {
        let mut doubts = Vec::new();
        for some in shown.chunks(UNIT) {
            let looked = match self.look(live, route, some).await? {
                Ok(looked) => looked,
                Err(fault) => return Ok(Err(fault)),
            };
            for (one, (parcels, shows)) in some.iter().zip(&looked) {
                let verdict = judge_parcels(&seen(one), parcels, shows);
                if matches!(verdict, Verdict::Unexplained(..)) {
                    doubts.push(one.clone());
                } else {
                    told.add_parcels(&seen(one), parcels, shows);
                }
            }
        }
        if !doubts.is_empty() {
            self.clock.sleep(SHOWS_AFTER).await;
        }
        for some in doubts.chunks(UNIT) {
            let looked = match self.look(live, route, some).await? {
                Ok(looked) => looked,
                Err(fault) => return Ok(Err(fault)),
            };
            for (one, (parcels, shows)) in some.iter().zip(&looked) {
                told.add_parcels(&seen(one), parcels, shows);
            }
        }
        Ok(Ok(()))
    }

    /// What we did with each, and what the channel shows of its order.
    async fn look(
        &self,
        live: &Live,
        route: &PlannedRoute,
        some: &[Shown],
    ) -> Result<Result<Vec<(Parcels, Shows)>, Fault>, EngineError> {
        // Before the channel is asked: what is told as delivered was there before.
        let parcels = self.engine.parcels(route.name.clone(), some.to_vec());
        let parcels = parcels.await?;
        let sink = live.connections.get(&route.to.0);
        let sink = sink.and_then(|connection| connection.sinks.get(&Stream::Shipments));
        let Some(sink) = sink.filter(|sink| sink.can_read_back()) else {
            let looked = parcels.into_iter().map(|one| (one, Shows::NotAsked));
            return Ok(Ok(looked.collect()));
        };
        let shows = match self.tracking(sink.as_ref(), route, &parcels).await {
            Ok(shows) => shows,
            Err(fault) => return Ok(Err(fault)),
        };
        let looked = parcels.into_iter().map(|one| {
            let shows = match (&one.elsewhere, &one.order) {
                (None, Some(_)) => shows.get(&one.account.reference).cloned(),
                _ => Some(Shows::NotAsked),
            };
            (one, shows.unwrap_or(Shows::Nothing))
        });
        Ok(Ok(looked.collect()))
    }

    /// What a channel shows of the orders of these shipments, by their references.
    async fn tracking(
        &self,
        sink: &dyn Sink,
        route: &PlannedRoute,
        parcels: &[Parcels],
    ) -> Result<BTreeMap<String, Shows>, Fault> {
        let orders = parcels.iter().filter(|one| one.elsewhere.is_none());
        let orders: BTreeMap<&str, &RemoteId> = orders
            .filter_map(|one| Some((one.account.reference.as_str(), one.order.as_ref()?)))
            .collect();
        let asked = orders.into_iter().map(|(reference, order)| Asked {
            reference: reference.to_owned(),
            name: order.to_string(),
        });
        let asked: Vec<Asked> = asked.collect();
        let origin = route.from.0.as_str();
        let (found, refused) = self.read_back(sink, origin, &asked).await?;
        let mut shows: BTreeMap<String, Shows> = BTreeMap::new();
        for (reference, fault) in refused {
            shows.insert(reference, Shows::Refused(fault.to_string()));
        }
        for standing in found {
            let Standing {
                reference,
                tracking,
                ..
            } = standing;
            let known = shows
                .entry(reference)
                .or_insert(Shows::Tracking(Vec::new()));
            if let Shows::Tracking(numbers) = known {
                numbers.extend(tracking);
            }
        }
        Ok(shows)
    }
}

fn seen((id, ..): &Shown) -> Seen {
    Seen {
        id: id.clone(),
        total: None,
        called_off: false,
    }
}

/// What left in a period; what does not say when is taken for it. By id, so that what is read twice counts once.
async fn shipped(
    live: &Live,
    name: &ConnectionName,
    (from, to): (Timestamp, Timestamp),
) -> Result<Shipped, Fault> {
    let (source, after) = source_from(live, name, Stream::Shipments, from).await?;
    let mut shown = BTreeMap::new();
    let mut rejected = BTreeMap::new();
    pages(source, after, Hurry::Ordinary, |change| match change.body {
        Body::Present(Record::Shipment(shipment)) => {
            let left_at = shipment.shipped_at.value().copied();
            let changed = change.version.updated_at.or(left_at);
            if left_at.or(changed).is_none_or(|at| at >= from && at < to) {
                shown.insert(change.id, (*shipment, changed));
            }
        }
        Body::Rejected(fault) => {
            rejected.insert(change.id, fault);
        }
        _ => {}
    })
    .await?;
    let shown = shown.into_iter();
    Ok(Shipped {
        shown: shown
            .map(|(id, (shipment, changed))| (id, shipment, changed))
            .collect(),
        rejected,
    })
}
