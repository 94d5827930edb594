//! Which routes a change takes. Pure: a table made from the plan.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::id::{ConnectionName, RouteName};
use crate::record::Stream;

/// Whether a route writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Counts and shows what it would do.
    #[default]
    Observe,
    /// Writes.
    Apply,
}

/// From one stream of a connection to one of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `[route.NAME]`.
    pub name: RouteName,
    /// Where changes come from.
    pub from: (ConnectionName, Stream),
    /// Where they go.
    pub to: (ConnectionName, Stream),
    /// Whether it writes.
    pub mode: Mode,
    /// Events placed before this are not carried.
    pub start_from: Option<Timestamp>,
}

/// All routes, by where they begin.
#[derive(Debug, Default)]
pub struct Router {
    routes: BTreeMap<(ConnectionName, Stream), Vec<Route>>,
}

impl Router {
    /// Sorts routes by their beginning; within one beginning the order is that of the configuration.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut table: BTreeMap<_, Vec<Route>> = BTreeMap::new();
        for route in routes {
            table.entry(route.from.clone()).or_default().push(route);
        }
        Self { routes: table }
    }

    /// The routes that begin at this stream.
    pub fn from(&self, connection: &ConnectionName, stream: Stream) -> &[Route] {
        self.routes
            .get(&(connection.clone(), stream))
            .map_or(&[], Vec::as_slice)
    }

    /// All routes.
    pub fn all(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flatten()
    }
}
