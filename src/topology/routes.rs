//! Routes: both ends can do it, nothing is written twice, nothing runs in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::connections::{Use, check_connection, check_endpoint, is_event};
use super::{Draft, PlannedRoute};
use crate::config::{self, Endpoint, RouteSettings, codes, suggest};
use crate::id::{ConnectionName, RouteName};
use crate::record::Stream;
use crate::router::Mode;

/// Resolves all routes.
pub(super) fn plan(draft: &mut Draft<'_>) -> Vec<PlannedRoute> {
    for (name, route) in &draft.config.route {
        check(draft, name.as_str(), route);
    }
    let planned = |(name, route): (&RouteName, &RouteSettings)| PlannedRoute {
        name: name.clone(),
        from: (route.from.connection.clone(), route.from.stream),
        to: (route.to.connection.clone(), route.to.stream),
        mode: route.mode.into(),
        mapping: route.mapping.clone(),
        start_from: route.start_from.filter(|_| is_event(route.from.stream)),
    };
    draft.config.route.iter().map(planned).collect()
}

fn check(draft: &mut Draft<'_>, name: &str, route: &RouteSettings) {
    check_endpoint(draft, &["route", name, "from"], &route.from, Use::Read);
    check_endpoint(draft, &["route", name, "to"], &route.to, Use::Write);
    let (from, to) = (route.from.stream, route.to.stream);
    if from != to && route.mapping.is_none() {
        let message = format!("this route makes {to} out of {from}, and no mapping says how");
        let help = "name a mapping, or the same stream on both sides";
        draft.error(codes::STREAMS_DIFFER, &["route", name, "to"], message, help);
    }
    let known = draft.names("mapping");
    if let Some(mapping) = route
        .mapping
        .as_ref()
        .filter(|name| !known.contains(&name.as_str()))
    {
        let help = match known.as_slice() {
            [] => format!("add [mapping.{mapping}]"),
            known => suggest(Some(mapping), known),
        };
        let message = format!("there is no mapping `{mapping}`");
        draft.error(
            codes::UNKNOWN_MAPPING,
            &["route", name, "mapping"],
            message,
            &help,
        );
    }
    match route.start_from {
        None if is_event(from) => {
            let message = format!("the route `{name}` does not say from when on it carries {from}");
            let help = "without it, everything that ever happened would be carried: write when the \
                        other side begins, such as start_from = \"2026-11-01T00:00:00Z\"";
            draft.error(
                codes::NO_START,
                &["route", name, "start_from"],
                message,
                help,
            );
        }
        Some(_) if !is_event(from) => {
            let message = format!("`start_from` has no effect: {from} are carried as they are now");
            let path = ["route", name, "start_from"];
            draft.warning(codes::START_WITHOUT_EFFECT, &path, message, "leave it out");
        }
        _ => {}
    }
}

/// Looks at all routes and publish rules together.
pub(super) fn check_graph(draft: &mut Draft<'_>) {
    check_owners(draft);
    check_writers(draft);
    check_cycles(draft);
}

fn check_owners(draft: &mut Draft<'_>) {
    for (stream, owner) in &draft.config.owner {
        let path = ["owner", stream.name()];
        if !check_connection(draft, &path, owner) {
            continue;
        }
        let takes_part = draft.config.route.values().any(|route| {
            [&route.from, &route.to]
                .iter()
                .any(|end| end.stream == *stream && end.connection == *owner)
        });
        if !takes_part {
            let message = format!("`{owner}` owns {stream}, but no route of {stream} touches it");
            draft.warning(codes::OWNER_WITHOUT_PART, &path, message, "");
        }
    }
}

/// Two rules that write the same state stream overwrite each other for ever.
fn check_writers(draft: &mut Draft<'_>) {
    let mut writers: BTreeMap<&Endpoint, Vec<(&str, &RouteSettings)>> = BTreeMap::new();
    for (name, route) in &draft.config.route {
        let others = writers.entry(&route.to).or_default();
        let clash = others
            .iter()
            .find(|(_, other)| is_clash(draft, route, other));
        if let Some((other, _)) = clash {
            let message = format!(
                "the routes `{other}` and `{name}` both write `{}`",
                route.to
            );
            let help = match route.to.stream {
                Stream::Stock => {
                    "stock of several owners belongs in a pool, which a [publish] tells"
                }
                stream if is_event(stream) => "they carry the same: keep one",
                _ => "keep one, or say in [owner] whose value wins",
            };
            draft.error(
                codes::TWO_WRITERS,
                &["route", name.as_str(), "to"],
                message,
                help,
            );
        }
        others.push((name.as_str(), route));
    }
    let mut told: BTreeMap<&Endpoint, &str> = BTreeMap::new();
    for (name, rule) in &draft.config.publish {
        let route = writers.get(&rule.to).and_then(|routes| routes.first());
        let other = told
            .insert(&rule.to, name)
            .map(|other| format!("publish.{other}"));
        let other = other.or(route.map(|(route, _)| format!("route.{route}")));
        if let Some(other) = other {
            let message = format!("`{other}` and `publish.{name}` both write `{}`", rule.to);
            let path = ["publish", name, "to"];
            draft.error(codes::TWO_WRITERS, &path, message, "keep one of them");
        }
    }
}

fn is_clash(draft: &Draft<'_>, route: &RouteSettings, other: &RouteSettings) -> bool {
    if route.from == other.from {
        return true;
    }
    if is_event(route.to.stream) {
        return false;
    }
    let winner = draft.config.owner.get(&route.to.stream);
    let settled = winner
        .is_some_and(|winner| *winner == route.from.connection || *winner == other.from.connection);
    route.to.stream == Stream::Stock || !settled
}

/// An arrow from one connection to another, and the rule that draws it.
struct Arrow<'a> {
    from: &'a ConnectionName,
    to: &'a ConnectionName,
    path: [&'a str; 3],
}

fn check_cycles(draft: &mut Draft<'_>) {
    for stream in Stream::ALL {
        let arrows = arrows(draft.config, stream);
        let mut reported: BTreeSet<BTreeSet<&ConnectionName>> = BTreeSet::new();
        for (at, arrow) in arrows.iter().enumerate() {
            let Some(way) = way_back(&arrows, at) else {
                continue;
            };
            let members: BTreeSet<&ConnectionName> = way.iter().map(|arrow| arrow.from).collect();
            let owner = draft.config.owner.get(&stream);
            let settled =
                owner.is_some_and(|owner| members.contains(owner)) && stream != Stream::Stock;
            if (settled && !is_event(stream)) || !reported.insert(members) {
                continue;
            }
            let names: Vec<String> = way.iter().map(|arrow| arrow.from.to_string()).collect();
            let circle = format!("{} -> {}", names.join(" -> "), arrow.from);
            let rules: Vec<String> = way
                .iter()
                .map(|arrow| format!("{}.{}", arrow.path[0], arrow.path[1]))
                .collect();
            let rules = rules.join(" and ");
            let message = format!("{stream} would run in a circle: {circle}");
            let help = if stream == Stream::Stock || is_event(stream) {
                format!("what comes back would be carried on for ever: remove one of {rules}")
            } else {
                format!("remove one of {rules}, or say in [owner] whose value wins")
            };
            draft.error(codes::CYCLE, &arrow.path, message, &help);
        }
    }
}

fn arrows(config: &config::Config, stream: Stream) -> Vec<Arrow<'_>> {
    let mut arrows = Vec::new();
    for (name, route) in &config.route {
        if route.from.stream == stream && route.to.stream == stream {
            arrows.push(Arrow {
                from: &route.from.connection,
                to: &route.to.connection,
                path: ["route", name.as_str(), "to"],
            });
        }
    }
    for (name, rule) in config.publish.iter().filter(|_| stream == Stream::Stock) {
        for member in config
            .pool
            .get(&rule.pool)
            .into_iter()
            .flat_map(|pool| &pool.members)
        {
            // A channel in its own pool is a finding of its own.
            if member.stream.connection != rule.to.connection {
                arrows.push(Arrow {
                    from: &member.stream.connection,
                    to: &rule.to.connection,
                    path: ["publish", name.as_str(), "to"],
                });
            }
        }
    }
    arrows
}

/// The shortest way from the head of an arrow back to its tail, that arrow first.
fn way_back<'a, 'b>(arrows: &'b [Arrow<'a>], at: usize) -> Option<Vec<&'b Arrow<'a>>> {
    let mut ways = vec![vec![&arrows[at]]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let head = way.last()?.to;
            if head == arrows[at].from {
                return Some(way);
            }
            if !seen.insert(head) {
                continue;
            }
            for next in arrows.iter().filter(|next| next.from == head) {
                let mut way = way.clone();
                way.push(next);
                longer.push(way);
            }
        }
        ways = longer;
    }
    None
}

impl From<config::Mode> for Mode {
    fn from(written: config::Mode) -> Self {
        match written {
            config::Mode::Observe => Self::Observe,
            config::Mode::Apply => Self::Apply,
        }
    }
}
