//! What became of shipments: our own side of a proof of tracking.

use jiff::Timestamp;

use super::EngineError;
use super::account::{held, let_go, on_its_way, route_named, story, unseen};
use super::orders;
use super::rules::Mapped;
use super::shipments::find_order;
use super::stage::{Stage, map_by, remote_thing};
use crate::id::{RemoteId, RouteName};
use crate::ledger::Entity;
use crate::outbox::State as RowState;
use crate::proof::{Account, Elsewhere, Parcels, State};
use crate::record::{Record, Shipment, Stream};
use crate::router::Route;

/// An account of each of these shipments, as the system that ships shows it now, on one route; in the same
/// order. With each, when it was changed over there.
pub(super) fn parcels(
    stage: &Stage<'_, '_>,
    route: &RouteName,
    things: &[(RemoteId, Shipment, Option<Timestamp>)],
) -> Result<Vec<Parcels>, EngineError> {
    let route = route_named(stage, route)?;
    let all = things.iter();
    all.map(|(id, shipment, changed)| one(stage, route, (id, shipment), *changed))
        .collect()
}

fn one(
    stage: &Stage<'_, '_>,
    route: &Route,
    (id, shipment): (&RemoteId, &Shipment),
    changed: Option<Timestamp>,
) -> Result<Parcels, EngineError> {
    let (connection, sink) = (&route.from.0, &route.to.0);
    let entity = stage.linked(connection, Stream::Shipments, id)?;
    let thing = match &entity {
        Some(entity) => entity.id.to_string(),
        None => remote_thing(connection, Stream::Shipments, id),
    };
    let order = find_order(stage, connection, shipment)?;
    let elsewhere = match &order {
        Some(order) if order.origin != *sink => Some(Elsewhere::AnotherChannel),
        None if shipment.order_reference.value().is_none() => Some(Elsewhere::NotOurs),
        _ => None,
    };
    let target = order.as_ref().and_then(|order| order.remote_id(sink));
    let mut told = shipment.clone();
    if let Some(target) = target {
        target.as_str().clone_into(&mut told.order);
    }
    let json = Record::Shipment(Box::new(told.clone())).to_json();
    let mapped = stage.map(&route.name, &json);
    if let Ok(Mapped::Kept(json)) = &mapped
        && let Ok(Record::Shipment(mapped)) = Record::from_json(Stream::Shipments, json.clone())
    {
        told = *mapped;
    }
    let lines = story(stage, &thing)?;
    let reached = match (&entity, &order) {
        (None, _) => unseen(stage, route, &thing, changed)?,
        (Some(_), None) => State::Waiting("waits for its order, which is not read yet".to_owned()),
        (Some(entity), Some(order)) => {
            let filtered = match mapped {
                Ok(Mapped::Filtered(rule)) => Some(rule),
                _ => None,
            };
            match known(stage, route, entity, order)? {
                State::Unknown => let_go(route, &lines)
                    .or_else(|| filtered.map(State::Filtered))
                    .unwrap_or(State::Unknown),
                State::Delivered(_) if !is_seen(entity, route, shipment) => State::Unread,
                reached => reached,
            }
        }
    };
    let name = shipment.number.value().unwrap_or(&shipment.id);
    let numbers = told.tracking_numbers().filter(|it| !it.trim().is_empty());
    Ok(Parcels {
        account: Account {
            reference: order.as_ref().map(orders::reference).unwrap_or_default(),
            name: name.clone(),
            total: None,
            state: reached,
            called_off: false,
            story: lines
                .into_iter()
                .map(|(what, detail)| format!("{what} {detail}"))
                .collect(),
        },
        elsewhere,
        order: target.cloned(),
        tracking: numbers.map(str::to_owned).collect(),
    })
}

/// Whether it is known as it is now over there.
fn is_seen(entity: &Entity, route: &Route, shipment: &Shipment) -> bool {
    let now = Record::Shipment(Box::new(shipment.clone())).fingerprint();
    let link = entity.links.get(&route.from.0);
    let seen = link.and_then(|link| link.seen.as_ref());
    seen.is_some_and(|seen| seen.fingerprint == now)
}

/// How far a shipment is whose order we know. What is on its way comes before what was told earlier.
fn known(
    stage: &Stage<'_, '_>,
    route: &Route,
    entity: &Entity,
    order: &Entity,
) -> Result<State, EngineError> {
    let sink = &route.to.0;
    for seq in stage.rows_of(sink, &order.id)? {
        let Some(row) = stage.event(seq)?.filter(|row| row.entity == entity.id) else {
            continue;
        };
        return Ok(match (on_its_way(stage, &row), &row.state) {
            (State::Waiting(_), RowState::Waiting { since, .. }) => {
                State::Waiting(format!("waits for its order since {since:.0}"))
            }
            (reached, _) => reached,
        });
    }
    let slot = map_by(&route.name);
    if let Some(number) = stage.index.quarantined(entity.id.as_str(), &slot) {
        return held(stage, number);
    }
    let delivered = entity.remote_id(sink).cloned();
    Ok(delivered.map_or(State::Unknown, State::Delivered))
}
