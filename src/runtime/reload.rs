//! Another configuration while the daemon runs.
//!
//! A reload is a diff of plans: what is new starts, what is gone stops, what is different starts again in
//! its new form, and everything else goes on untouched: its HTTP connections, its limiter, its session,
//! its place in the stream. Either all of it takes effect or nothing does.
//!
//! A loop that stops finishes what it has under way, within `limits.drain_secs`. What takes longer is
//! finished beside its successor, which does not claim it: a delivery is claimed once, whoever runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::loops::{self, Running, Work};
use super::{Live, Runtime, open, rules};
use crate::config::ConnectionSettings;
use crate::connector::Connection;
use crate::id::ConnectionName;
use crate::telemetry::Place;
use crate::topology::{Plan, SectionChange, Verdict, diff};

/// Why a reload did not take effect.
#[derive(Debug)]
pub enum Refused {
    /// For these reasons; everything goes on as before.
    Kept(Vec<String>),
    /// The store failed in the middle: the daemon must end.
    Broken(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(reasons) => f.write_str(&reasons.join("; ")),
            Self::Broken(error) => f.write_str(error),
        }
    }
}

impl Runtime {
    /// Carries out another plan from now on; every section that changed, and how.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed unless the store failed.
    pub async fn reload(&mut self, plan: Arc<Plan>) -> Result<Vec<SectionChange>, Refused> {
        let before = self.live();
        let changes = changes(&before.plan, &plan)?;
        let kept = |name: &ConnectionName| {
            let known = before.connections.get(name)?;
            is_same(&before.plan, &plan, name).then(|| Arc::clone(known))
        };
        let around = open::Around {
            clock: &self.clock,
            vitals: &self.vitals,
            tokens: &self.tokens,
            limiters: &self.limiters,
        };
        let connections = open::connections(&plan, &around, kept)
            .map_err(|fault| Refused::Kept(vec![fault.to_string()]))?;
        let rules = Arc::new(rules::of(&plan));
        let wanted = loops::wanted(&plan);

        let stopped = self.stop_loops(&wanted, &connections);
        let drain = Duration::from_secs(before.plan.limits.drain_secs);
        self.wait_for(stopped, drain).await;
        self.engine
            .reload(rules)
            .await
            .map_err(|error| Refused::Broken(error.to_string()))?;
        self.vitals
            .set_patience(Duration::from_secs(plan.limits.stuck_secs));
        for (place, work) in wanted {
            let is_running = self.loops.contains_key(&place);
            if let Some(connection) = connections.get(&place.0).filter(|_| !is_running) {
                let running = self.start_loop(&place, work, Arc::clone(connection));
                self.loops.extend(running.map(|running| (place, running)));
            }
        }
        self.live.store(Arc::new(Live { plan, connections }));
        Ok(changes)
    }

    /// Tells the loops to end that are not wanted as they are.
    fn stop_loops(
        &mut self,
        wanted: &BTreeMap<Place, Work>,
        connections: &BTreeMap<ConnectionName, Arc<Connection>>,
    ) -> Vec<(Place, Running)> {
        let stays = |place: &Place, running: &Running| {
            let connection = connections.get(&place.0);
            wanted.get(place) == Some(&running.work)
                && connection.is_some_and(|known| Arc::ptr_eq(known, &running.connection))
        };
        let leaving: Vec<Place> = self
            .loops
            .iter()
            .filter(|(place, running)| !stays(place, running))
            .map(|(place, _)| place.clone())
            .collect();
        let mut stopped = Vec::new();
        for place in leaving {
            if let Some(running) = self.loops.remove(&place) {
                running.stop.cancel();
                stopped.push((place, running));
            }
        }
        stopped
    }

    async fn wait_for(&self, stopped: Vec<(Place, Running)>, limit: Duration) {
        let places: Vec<Place> = stopped.iter().map(|(place, _)| place.clone()).collect();
        let all = async {
            for (place, running) in stopped {
                if running.task.await.is_err() {
                    let (connection, stream, way) = place;
                    tracing::error!(%connection, %stream, ?way, "a loop had a defect");
                }
            }
        };
        tokio::select! {
            biased;
            () = all => {}
            () = self.clock.sleep(limit) => {
                tracing::warn!("what a changed connection has under way takes longer; it is finished beside its successor");
            }
        }
        for place in &places {
            self.vitals.forget(place);
        }
    }
}

/// What changes, if all of it can be done while running.
fn changes(before: &Plan, after: &Plan) -> Result<Vec<SectionChange>, Refused> {
    let mut changes = diff(before, after);
    changes.retain(|change| change.verdict != Verdict::Unchanged);
    let refused: Vec<String> = changes
        .iter()
        .filter(|change| change.verdict == Verdict::RestartNeeded)
        .map(ToString::to_string)
        .collect();
    if refused.is_empty() {
        Ok(changes)
    } else {
        Err(Refused::Kept(refused))
    }
}

/// Whether a connection would be opened with the same: what its streams are used for does not matter, how
/// far back they are read does.
fn is_same(before: &Plan, after: &Plan, name: &ConnectionName) -> bool {
    let opened_with = |plan: &Plan| {
        let settings = plan.config.connection.get(name)?;
        let settings = ConnectionSettings {
            stream: BTreeMap::new(),
            stock_basis: None,
            stock_lag_secs: None,
            credential_expires: None,
            ..settings.clone()
        };
        let planned = plan.connections.get(name)?;
        let (http, windows) = (planned.http.clone(), open::windows(planned));
        let mut own = plan.config.own_connectors.iter();
        let own = own.find(|own| own.name == settings.connector);
        let manifest = own.map(|own| (own.text.text.clone(), own.program.clone()));
        Some((settings, http, windows, manifest, open::file_limits(plan)))
    };
    let known = opened_with(before);
    known.is_some() && known == opened_with(after)
}
