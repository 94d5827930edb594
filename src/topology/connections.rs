//! Connections: their connector exists, their settings are accepted, their numbers make sense.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Draft, PlannedConnection, PlannedPool, PlannedPublish, PlannedRoute, PlannedStream};
use crate::config::{
    self, ConnectionSettings, Endpoint, HttpSettings, StreamSettings, codes, suggest,
};
use crate::connector::{Connector, Onward, Spec, StockBasis, StreamSpec};
use crate::id::ConnectionName;
use crate::record::{Nature, Stream};

/// How often to read when neither the connector nor the merchant says.
const POLL: Duration = Duration::from_mins(1);

/// How old open things are read again when the connector asks for it and the merchant says nothing.
const REREAD_OPEN: Duration = Duration::from_hours(30 * 24);

/// Resolves all connections; leaves out those that have findings.
pub(super) fn plan<'a>(
    draft: &mut Draft<'a>,
    registry: &'a [&'a dyn Connector],
) -> BTreeMap<ConnectionName, PlannedConnection> {
    let mut planned = BTreeMap::new();
    for (name, settings) in &draft.config.connection {
        let found = registry
            .iter()
            .find(|connector| connector.name() == settings.connector);
        let Some(connector) = found else {
            let own = &draft.config.own_connectors;
            // What is wrong with one's own manifest was told.
            if !own.iter().any(|own| own.name == settings.connector) {
                unknown_connector(draft, name, settings, registry);
            }
            continue;
        };
        let spec = connector.spec();
        draft.specs.insert(name, spec);
        check_limits(draft, name, settings, spec);
        let streams = streams(draft, name, settings, spec);
        if !draft
            .loaded
            .is_resolved(&["connection", name.as_str(), "settings"])
        {
            continue;
        }
        let configured = match connector.configure(&settings.settings.0) {
            Ok(configured) => configured,
            Err(findings) => {
                for finding in findings.0 {
                    let finding = config::anchor(draft.document, name, finding);
                    draft.findings.push(finding);
                }
                continue;
            }
        };
        let http = HttpSettings {
            max_body_bytes: settings
                .http
                .max_body_bytes
                .or(Some(draft.config.limits.http_max_body_bytes)),
            ..settings.http.clone()
        };
        let capabilities = &spec.capabilities;
        planned.insert(
            name.clone(),
            PlannedConnection {
                connector: settings.connector.clone(),
                spec: spec.clone(),
                configured,
                http,
                limits: settings.limits.clone(),
                stock_basis: settings
                    .stock_basis
                    .map_or(capabilities.stock_basis, StockBasis::from),
                stock_lag: settings
                    .stock_lag_secs
                    .map_or(capabilities.stock_lag, Duration::from_secs),
                credential_expires: settings.credential_expires,
                streams,
            },
        );
    }
    planned
}

fn unknown_connector(
    draft: &mut Draft<'_>,
    name: &ConnectionName,
    settings: &ConnectionSettings,
    registry: &[&dyn Connector],
) {
    let built = registry.iter().map(|connector| connector.name());
    let own = &draft.config.own_connectors;
    let known: BTreeSet<&str> = built
        .chain(own.iter().map(|own| own.name.as_str()))
        .collect();
    let known: Vec<&str> = known.into_iter().collect();
    let message = format!("there is no connector `{}`", settings.connector);
    let help = suggest(Some(&settings.connector), &known);
    let path = ["connection", name.as_str(), "connector"];
    draft.error(codes::UNKNOWN_CONNECTOR, &path, message, &help);
}

fn check_limits(
    draft: &mut Draft<'_>,
    name: &ConnectionName,
    settings: &ConnectionSettings,
    spec: &Spec,
) {
    let cost = spec.capabilities.costliest_request;
    if let Some(burst) = settings.limits.burst.filter(|burst| *burst < cost) {
        let message = format!(
            "`burst` is {burst}, but one request of `{}` costs {cost}: it could never be sent",
            spec.name
        );
        let help = format!("make it at least {cost}, or leave it out");
        let path = ["connection", name.as_str(), "limits", "burst"];
        draft.error(codes::BURST_BELOW_COST, &path, message, &help);
    }
}

fn streams(
    draft: &mut Draft<'_>,
    name: &ConnectionName,
    settings: &ConnectionSettings,
    spec: &Spec,
) -> BTreeMap<Stream, PlannedStream> {
    for stream in settings
        .stream
        .keys()
        .filter(|stream| !spec.streams.contains_key(stream))
    {
        let path = ["connection", name.as_str(), "stream", stream.name()];
        let message = format!("`{}` has no stream `{stream}`", spec.name);
        draft.error(codes::NO_SUCH_STREAM, &path, message, &has(spec));
    }
    let mut planned = BTreeMap::new();
    for (stream, declared) in &spec.streams {
        let nothing = StreamSettings::default();
        let settings = settings.stream.get(stream).unwrap_or(&nothing);
        let result = settle(settings, declared);
        let place = [name.as_str(), stream.name()];
        check_effect(draft, place, settings, declared.onward);
        if settings.max_silence_secs.is_some() && *stream != Stream::Orders {
            let message = "`max_silence_secs` has no effect: it is about orders".to_owned();
            let path = [
                "connection",
                place[0],
                "stream",
                place[1],
                "max_silence_secs",
            ];
            draft.error(codes::WITHOUT_EFFECT, &path, message, "leave it out");
        }
        check_times(draft, place, settings, &result);
        planned.insert(*stream, result);
    }
    planned
}

/// Which streams a connector has, for help.
pub(super) fn has(spec: &Spec) -> String {
    let names: Vec<&str> = spec.streams.keys().map(|stream| stream.name()).collect();
    format!("`{}` has {}", spec.name, names.join(", "))
}

fn settle(settings: &StreamSettings, declared: &StreamSpec) -> PlannedStream {
    let secs = |value: Option<u64>| value.map(Duration::from_secs);
    let declared_poll = if declared.poll.is_zero() {
        POLL
    } else {
        declared.poll
    };
    let settle_lag = secs(settings.settle_lag_secs).unwrap_or(declared.settle_lag);
    let declared_overlap = match declared.onward {
        Onward::Moment { overlap } => overlap,
        Onward::Number | Onward::Whole => settle_lag,
    };
    let asked = settings
        .reread_open_days
        .map(|days| Duration::from_secs(u64::from(days) * 86_400));
    PlannedStream {
        is_read: false,
        is_written: false,
        poll: settings.poll_secs.map_or(declared_poll, poll),
        settle_lag,
        overlap: secs(settings.overlap_secs).unwrap_or(declared_overlap),
        freshness: secs(settings.freshness_secs),
        fresh_for: declared.fresh_for,
        max_silence: secs(settings.max_silence_secs),
        sweep: secs(settings.sweep_secs),
        reread_open: asked
            .or(declared.reread_open.then_some(REREAD_OPEN))
            .filter(|age| !age.is_zero()),
        start_from: None,
    }
}

/// Its bounds were checked; what is beyond them is an error by then.
pub(super) fn poll(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or(POLL)
}

/// A setting that would do nothing is an error.
fn check_effect(
    draft: &mut Draft<'_>,
    [connection, stream]: [&str; 2],
    settings: &StreamSettings,
    onward: Onward,
) {
    let is_by_moment = matches!(onward, Onward::Moment { .. });
    let is_whole = onward == Onward::Whole;
    let without_effect = [
        (
            "overlap_secs",
            settings.overlap_secs.is_some() && !is_by_moment,
        ),
        (
            "settle_lag_secs",
            settings.settle_lag_secs.is_some() && !is_by_moment,
        ),
        ("sweep_secs", settings.sweep_secs.is_some() && is_whole),
    ];
    for (name, _) in without_effect.iter().filter(|(_, is)| *is) {
        let how = match onward {
            Onward::Whole => "each read of this stream reads everything",
            _ => "this stream is read by a number, not by time",
        };
        let message = format!("`{name}` has no effect: {how}");
        let path = ["connection", connection, "stream", stream, name];
        draft.error(codes::WITHOUT_EFFECT, &path, message, "leave it out");
    }
}

fn check_times(
    draft: &mut Draft<'_>,
    [connection, stream]: [&str; 2],
    settings: &StreamSettings,
    planned: &PlannedStream,
) {
    if planned.overlap < planned.settle_lag {
        let (overlap, lag) = (planned.overlap.as_secs(), planned.settle_lag.as_secs());
        let message = format!(
            "the overlap is {overlap} s, but it takes {lag} s until a moment is complete over \
             there: what shows late would be missed"
        );
        let named = if settings.overlap_secs.is_some() {
            "overlap_secs"
        } else {
            "settle_lag_secs"
        };
        let path = ["connection", connection, "stream", stream, named];
        let help = format!("make overlap_secs at least {lag}");
        draft.error(codes::OVERLAP_TOO_SHORT, &path, message, &help);
    }
    if let Some(freshness) = planned
        .freshness
        .filter(|freshness| *freshness <= planned.poll)
    {
        let path = ["connection", connection, "stream", stream, "freshness_secs"];
        let (message, help) = always_stale(freshness, planned.poll);
        draft.error(codes::ALWAYS_STALE, &path, message, &help);
    }
}

/// Message and help about a limit on age that every read exceeds.
pub(super) fn always_stale(freshness: Duration, poll: Duration) -> (String, String) {
    let (freshness, poll) = (freshness.as_secs(), poll.as_secs());
    let message = format!(
        "`freshness_secs` is {freshness}, but it is read every {poll} s: it would be unknown \
         before it is read again"
    );
    (
        message,
        format!("make it at least {}", poll.saturating_mul(2)),
    )
}

/// Which way a stream is used at an [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
}

/// Checks that the connection exists and that its stream can be used that way.
pub(super) fn check_endpoint(
    draft: &mut Draft<'_>,
    path: &[&str],
    endpoint: &Endpoint,
    wanted: Use,
) {
    let Endpoint { connection, stream } = endpoint;
    if !check_connection(draft, path, connection) {
        return;
    }
    let Some(spec) = draft.specs.get(connection).copied() else {
        return;
    };
    let declared = spec.streams.get(stream);
    let (code, problem) = match (declared, wanted) {
        (None, _) => (codes::NO_SUCH_STREAM, "has no stream"),
        (Some(declared), Use::Read) if !declared.read => (codes::NOT_READABLE, "cannot read"),
        (Some(declared), Use::Write) if !declared.write => (codes::NOT_WRITABLE, "cannot write"),
        _ => return,
    };
    let message = format!(
        "`{}`: the connector `{}` {problem} `{stream}`",
        endpoint, spec.name
    );
    let able: Vec<&str> = spec
        .streams
        .iter()
        .filter(|(_, declared)| {
            if wanted == Use::Read {
                declared.read
            } else {
                declared.write
            }
        })
        .map(|(stream, _)| stream.name())
        .collect();
    let verb = if wanted == Use::Read { "read" } else { "write" };
    let help = match able.as_slice() {
        [] => format!("it cannot {verb} anything"),
        able => format!("it can {verb} {}", able.join(", ")),
    };
    draft.error(code, path, message, &help);
}

/// Checks that a connection of that name is configured.
pub(super) fn check_connection(
    draft: &mut Draft<'_>,
    path: &[&str],
    name: &ConnectionName,
) -> bool {
    let known = draft.names("connection");
    if known.contains(&name.as_str()) {
        return true;
    }
    let help = match known.as_slice() {
        [] => format!("add [connection.{name}]"),
        known => suggest(Some(name.as_str()), known),
    };
    draft.error(
        codes::UNKNOWN_CONNECTION,
        path,
        format!("there is no connection `{name}`"),
        &help,
    );
    false
}

/// Notes which streams are read and written, and from when on.
pub(super) fn mark_used(
    connections: &mut BTreeMap<ConnectionName, PlannedConnection>,
    routes: &[PlannedRoute],
    pools: &BTreeMap<String, PlannedPool>,
    publishes: &[PlannedPublish],
) {
    let mut with =
        |connection: &ConnectionName, stream: Stream, note: &dyn Fn(&mut PlannedStream)| {
            let connection = connections.get_mut(connection);
            if let Some(planned) = connection.and_then(|known| known.streams.get_mut(&stream)) {
                note(planned);
            }
        };
    for route in routes {
        with(&route.from.0, route.from.1, &|stream| {
            let first = !stream.is_read;
            stream.is_read = true;
            stream.start_from = match (first, stream.start_from, route.start_from) {
                (true, _, start) => start,
                (false, Some(known), Some(start)) => Some(known.min(start)),
                (false, ..) => None,
            };
        });
        with(&route.to.0, route.to.1, &|stream| {
            stream.is_written = true;
        });
    }
    for pool in pools.values() {
        for member in &pool.members {
            with(&member.connection, Stream::Stock, &|stream| {
                stream.is_read = true;
            });
        }
        // What left the house takes reservations off, whether or not a route carries it further.
        with(&pool.fulfilled_by, Stream::Shipments, &|stream| {
            stream.is_read = true;
        });
    }
    for publish in publishes {
        with(&publish.to, Stream::Stock, &|stream| {
            stream.is_written = true;
        });
    }
}

impl From<config::StockBasis> for StockBasis {
    fn from(written: config::StockBasis) -> Self {
        match written {
            config::StockBasis::Free => Self::Free,
            config::StockBasis::OnHand => Self::OnHand,
            config::StockBasis::AllocatedApart => Self::AllocatedApart,
        }
    }
}

/// Whether changes of a stream are queued one by one.
pub(super) fn is_event(stream: Stream) -> bool {
    stream.nature() == Nature::Event
}
