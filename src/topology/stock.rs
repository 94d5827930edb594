//! Pools and publish rules: no unit of stock is offered twice, and what is sold is taken off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rust_decimal::Decimal;

use super::connections::{Use, always_stale, check_connection, check_endpoint, poll};
use super::{Draft, PlannedMember, PlannedPool, PlannedPublish};
use crate::config::{
    Endpoint, ItemSettings, Mode, PoolMember, PoolSettings, PublishSettings, StockBasis, codes,
    suggest,
};
use crate::connector;
use crate::id::{ConnectionName, Key};
use crate::inventory::PublishRule;
use crate::record::{Sku, Stream};

/// The least default age at which stock becomes unknown.
const FRESHNESS: Duration = Duration::from_hours(1);

/// Resolves all pools and publish rules.
pub(super) fn plan(draft: &mut Draft<'_>) -> (BTreeMap<String, PlannedPool>, Vec<PlannedPublish>) {
    let mut pools = BTreeMap::new();
    for (name, pool) in &draft.config.pool {
        if let Some(planned) = plan_pool(draft, name, pool) {
            pools.insert(name.clone(), planned);
        }
    }
    check_shared(draft);
    let mut publishes = Vec::new();
    for (name, rule) in &draft.config.publish {
        check_publish(draft, name, rule);
        publishes.push(plan_publish(name, rule));
    }
    (pools, publishes)
}

fn plan_pool(draft: &mut Draft<'_>, name: &str, pool: &PoolSettings) -> Option<PlannedPool> {
    let mut members = Vec::new();
    for (index, member) in pool.members.iter().enumerate() {
        let index = index.to_string();
        let path = ["pool", name, "members", &index];
        if is_stock(draft, &path, &member.stream) {
            check_endpoint(draft, &path, &member.stream, Use::Read);
        }
        members.push(PlannedMember {
            connection: member.stream.connection.clone(),
            locations: member.locations.iter().cloned().collect(),
            freshness: freshness(draft, &path, member),
        });
    }
    let path = ["pool", name, "fulfilled_by"];
    let owners: BTreeSet<&ConnectionName> = pool
        .members
        .iter()
        .map(|member| &member.stream.connection)
        .collect();
    let fulfilled_by = match (&pool.fulfilled_by, owners.first()) {
        (Some(named), _) => named.clone(),
        (None, Some(only)) if owners.len() == 1 => (*only).clone(),
        _ => {
            let message = format!("nobody says whose shipments fulfil the pool `{name}`");
            let help = "write fulfilled_by = \"…\": the connection from which goods leave";
            draft.error(codes::NO_FULFILMENT, &path, message, help);
            return None;
        }
    };
    if pool.fulfilled_by.is_some() && !check_connection(draft, &path, &fulfilled_by) {
        return None;
    }
    check_fulfilment(draft, &path, &fulfilled_by);
    for (index, till) in pool.tills.iter().enumerate() {
        let path = ["pool", name, "tills", &index.to_string()];
        let orders = Endpoint {
            connection: till.clone(),
            stream: Stream::Orders,
        };
        check_endpoint(draft, &path, &orders, Use::Read);
    }
    Some(PlannedPool {
        members,
        fulfilled_by,
        tills: pool.tills.iter().cloned().collect(),
    })
}

/// Where the number falls when goods leave, only shipments say when a reservation is over.
fn check_fulfilment(draft: &mut Draft<'_>, path: &[&str], name: &ConnectionName) {
    let Some(spec) = draft.specs.get(name).copied() else {
        return;
    };
    let written = draft
        .config
        .connection
        .get(name)
        .and_then(|known| known.stock_basis);
    let on_hand = match written {
        Some(written) => written == StockBasis::OnHand,
        None => spec.capabilities.stock_basis == connector::StockBasis::OnHand,
    };
    let readable = spec
        .streams
        .get(&Stream::Shipments)
        .is_some_and(|stream| stream.read);
    if on_hand && !readable {
        let message = format!(
            "reservations would never be taken off: the stock of `{name}` falls when goods leave, \
             but its connector `{}` cannot read shipments",
            spec.name
        );
        let help = "name the connection whose shipments can be read, or set its stock_basis";
        draft.error(codes::NO_FULFILMENT, path, message, help);
    }
}

fn freshness(draft: &mut Draft<'_>, path: &[&str], member: &PoolMember) -> Duration {
    let Endpoint { connection, stream } = &member.stream;
    let settings = draft.config.connection.get(connection);
    let settings = settings.and_then(|connection| connection.stream.get(stream));
    let spec = draft
        .specs
        .get(connection)
        .and_then(|spec| spec.streams.get(stream));
    let declared = spec.map_or(Duration::ZERO, |spec| spec.poll);
    let every = settings
        .and_then(|stream| stream.poll_secs)
        .map_or(declared, poll);
    let secs = member
        .freshness_secs
        .or(settings.and_then(|stream| stream.freshness_secs));
    let Some(freshness) = secs.map(Duration::from_secs) else {
        let declared = spec.and_then(|spec| spec.fresh_for);
        return declared.unwrap_or(FRESHNESS).max(every.saturating_mul(4));
    };
    // The stream's own limit was checked with its connection.
    if member.freshness_secs.is_some() && freshness <= every {
        let (message, help) = always_stale(freshness, every);
        draft.error(codes::ALWAYS_STALE, path, message, &help);
    }
    freshness
}

fn is_stock(draft: &mut Draft<'_>, path: &[&str], endpoint: &Endpoint) -> bool {
    if endpoint.stream == Stream::Stock {
        return true;
    }
    let message = format!("`{endpoint}` is no stream of stock");
    let help = format!("write \"{}.stock\"", endpoint.connection);
    draft.error(codes::NOT_STOCK, path, message, &help);
    false
}

/// What stands in two pools is sold from both: each sees its own reservations only.
fn check_shared(draft: &mut Draft<'_>) {
    let config = draft.config;
    let mut seen: Vec<(&str, &PoolMember)> = Vec::new();
    for (name, pool) in &config.pool {
        for (index, member) in pool.members.iter().enumerate() {
            let index = index.to_string();
            let clash = seen.iter().find(|(_, other)| overlap(member, other));
            if let Some((other, _)) = clash {
                let message = if *other == name {
                    format!("`{}` is in the pool `{name}` twice", member.stream)
                } else {
                    format!(
                        "`{}` is in the pools `{other}` and `{name}`: \
                         the same unit would be sold from both",
                        member.stream
                    )
                };
                let help = "put it in one pool, or give each its own `locations`";
                let path = ["pool", name, "members", &index];
                draft.error(codes::SOLD_FROM_TWO_POOLS, &path, message, help);
            }
            seen.push((name, member));
        }
    }
}

fn overlap(one: &PoolMember, other: &PoolMember) -> bool {
    let shared = one
        .locations
        .iter()
        .any(|location| other.locations.contains(location));
    one.stream == other.stream && (shared || one.locations.is_empty() || other.locations.is_empty())
}

fn check_publish(draft: &mut Draft<'_>, name: &str, rule: &PublishSettings) {
    if is_stock(draft, &["publish", name, "to"], &rule.to) {
        check_endpoint(draft, &["publish", name, "to"], &rule.to, Use::Write);
    }
    let known = draft.names("pool");
    if !known.contains(&rule.pool.as_str()) {
        let help = match known.as_slice() {
            [] => format!("add [pool.{}]", rule.pool),
            known => suggest(Some(&rule.pool), known),
        };
        let message = format!("there is no pool `{}`", rule.pool);
        draft.error(
            codes::UNKNOWN_POOL,
            &["publish", name, "pool"],
            message,
            &help,
        );
    }
    let Some(pool) = draft.config.pool.get(&rule.pool) else {
        return;
    };
    if pool
        .members
        .iter()
        .any(|member| member.stream.connection == rule.to.connection)
    {
        let message = format!(
            "`{}` is a member of the pool `{}` and cannot be told about it: the number that it is \
             told would be read back as its own stock",
            rule.to.connection, rule.pool
        );
        let help = "take it out of the pool's members, or out of [publish]";
        draft.error(
            codes::PUBLISH_TO_MEMBER,
            &["publish", name, "to"],
            message,
            help,
        );
    }
}

/// A channel that sells but whose orders are not read oversells the pool.
pub(super) fn check_sales(draft: &mut Draft<'_>) {
    let config = draft.config;
    let sells = |draft: &Draft<'_>, connection: &ConnectionName| {
        let orders = draft
            .specs
            .get(connection)
            .and_then(|spec| spec.streams.get(&Stream::Orders));
        orders.is_some_and(|orders| orders.read)
    };
    for (name, rule) in &config.publish {
        let channel = &rule.to.connection;
        let routes = config.route.values().filter(|route| {
            route.from.connection == *channel && route.from.stream == Stream::Orders
        });
        let carried = routes
            .map(|route| route.mode)
            .max_by_key(|mode| *mode == Mode::Apply);
        let problem = match (carried, rule.mode) {
            _ if !sells(draft, channel) => continue,
            (None, _) => "no route carries its orders",
            (Some(Mode::Observe), Mode::Apply) => "its orders are only observed",
            _ => continue,
        };
        let message = format!(
            "`{channel}` is told what it may sell, but {problem}: what it sells is not taken off \
             the pool `{}`",
            rule.pool
        );
        let help = format!("add a route from = \"{channel}.orders\" with mode = \"apply\"");
        let path = ["publish", name.as_str(), "to"];
        draft.warning(codes::SALES_NOT_RESERVED, &path, message, &help);
    }
    check_tills(draft);
    check_forgotten(draft);
    for (name, route) in &config.route {
        if route.to.stream == Stream::Stock && sells(draft, &route.to.connection) {
            let message = format!(
                "`{}` sells, and is told raw stock: what others sold meanwhile is not taken off",
                route.to.connection
            );
            let help = "put the stock in a [pool] and tell the channel with [publish]";
            let path = ["route", name.as_str(), "to"];
            draft.warning(codes::STOCK_WITHOUT_POOL, &path, message, help);
        }
    }
}

/// A till's sales are taken off while the owner has not heard of them; without a route it never does.
fn check_tills(draft: &mut Draft<'_>) {
    let config = draft.config;
    for (name, pool) in &config.pool {
        for (index, till) in pool.tills.iter().enumerate() {
            let carried = config.route.values().any(|route| {
                let orders = route.from.stream == Stream::Orders && route.mode == Mode::Apply;
                let to_owner = pool
                    .fulfilled_by
                    .as_ref()
                    .is_none_or(|owner| route.to.connection == *owner);
                orders && route.from.connection == *till && to_owner
            });
            if carried || !config.connection.contains_key(till) {
                continue;
            }
            let message = format!(
                "`{till}` sells out of the pool `{name}`, but no route carries its orders to whoever \
                 fulfils it: what it sells is not taken off"
            );
            let help = format!("add a route from = \"{till}.orders\" with mode = \"apply\"");
            let path = ["pool", name.as_str(), "tills", &index.to_string()];
            draft.warning(codes::SALES_NOT_RESERVED, &path, message, &help);
        }
    }
}

/// Who sells, is told nothing and is no till: until the owner has booked what it sold, the others may sell it once more.
fn check_forgotten(draft: &mut Draft<'_>) {
    let config = draft.config;
    for (name, route) in &config.route {
        let (from, to) = (&route.from, &route.to);
        let carries = from.stream == Stream::Orders && to.stream == Stream::Orders;
        let mut tills = config.pool.values().flat_map(|pool| &pool.tills);
        let mut told = config.publish.values().map(|rule| &rule.to.connection);
        let is_known =
            tills.any(|it| *it == from.connection) || told.any(|it| *it == from.connection);
        let mut pools = config.pool.iter();
        let Some((pool, _)) = pools.find(|(_, pool)| fulfils(pool, &to.connection)) else {
            continue;
        };
        if !carries || route.mode != Mode::Apply || is_known {
            continue;
        }
        let message = format!(
            "`{}` sells, and neither is it told what it may sell nor is it a till of the pool `{pool}`: until `{}` has \
             booked what it sold, that is on offer elsewhere",
            from.connection, to.connection
        );
        let help = format!(
            "if it sells the same goods, write tills = [\"{}\"] in [pool.{pool}], or tell it its stock with a [publish]",
            from.connection
        );
        let path = ["route", name.as_str(), "from"];
        draft.warning(codes::SALES_NOT_RESERVED, &path, message, &help);
    }
}

/// Whether goods of the pool leave from this connection.
fn fulfils(pool: &PoolSettings, connection: &ConnectionName) -> bool {
    let mut owners = pool.members.iter().map(|member| &member.stream.connection);
    match &pool.fulfilled_by {
        Some(owner) => owner == connection,
        None => owners.any(|owner| owner == connection),
    }
}

fn plan_publish(name: &str, rule: &PublishSettings) -> PlannedPublish {
    let number = |value: u32| Decimal::from(value);
    let all = PublishRule {
        buffer: number(rule.buffer),
        percent: number(rule.percent.into()),
        pack: number(rule.pack),
        min: number(rule.min),
        max: rule.max.map(number),
        floor: rule.floor.map(number),
    };
    let own = |item: &ItemSettings| PublishRule {
        buffer: item.buffer.map_or(all.buffer, number),
        percent: item
            .percent
            .map_or(all.percent, |percent| number(percent.into())),
        pack: item.pack.map_or(all.pack, number),
        min: item.min.map_or(all.min, number),
        max: item.max.map(number).or(all.max),
        floor: item.floor.map(number).or(all.floor),
    };
    // A SKU that cannot be one was refused with the configuration.
    let items = rule.item.iter().filter_map(|(sku, item)| {
        let sku = Sku::new(sku).ok()?;
        Some((Key::new(sku.as_str()), own(item)))
    });
    PlannedPublish {
        name: name.to_owned(),
        pool: rule.pool.clone(),
        to: rule.to.connection.clone(),
        mode: rule.mode.into(),
        items: items.collect(),
        rule: all,
    }
}
