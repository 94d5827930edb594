//! What changes between two plans, section by section: the honest report of a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::Plan;
use crate::config::Config;
use crate::id::ConnectionName;

/// What a reload does with one section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As before.
    Unchanged,
    /// New: it starts.
    Added,
    /// Different: it goes on in its new form.
    Changed,
    /// Gone: it stops. What it stored stays.
    Removed,
    /// Different, and only a restart of the daemon makes it so. Until then the old one holds.
    RestartNeeded,
}

/// One section and what a reload does with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SectionChange {
    /// `connection.north`, `limits`.
    pub section: String,
    /// What a reload does with it.
    pub verdict: Verdict,
    /// The section that it changed with, if it did not change itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// A connection that is gone and of the same connector: perhaps this is it under another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perhaps: Option<String>,
}

impl fmt::Display for SectionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.verdict {
            Verdict::Unchanged => "as before",
            Verdict::Added => "new",
            Verdict::Changed => "changed",
            Verdict::Removed => "removed; what it stored stays",
            Verdict::RestartNeeded => "different, which only a restart can apply",
        };
        write!(f, "[{}] {what}", self.section)?;
        if let Some(cause) = &self.because {
            write!(f, ", with [{cause}]")?;
        }
        let Some(old) = &self.perhaps else {
            return Ok(());
        };
        let new = self.section.trim_start_matches("connection.");
        write!(
            f,
            "; if this is [connection.{old}] under another name, it begins from nothing and sends anew: put the \
             old name back, stop the daemon, and `crossdock state rename {old} {new}` before it runs with the \
             new one"
        )
    }
}

/// Compares two plans. Every section of either is in the result, sorted by name.
pub fn diff(old: &Plan, new: &Plan) -> Vec<SectionChange> {
    let mut changes = compare(&old.config, &new.config);
    follow(&new.config, &mut changes);
    changes
        .into_iter()
        .map(|(section, (verdict, because))| SectionChange {
            perhaps: perhaps(old, new, &section, verdict),
            section,
            verdict,
            because,
        })
        .collect()
}

/// The connection that is gone for this new one of the same connector; none where there are several.
fn perhaps(old: &Plan, new: &Plan, section: &str, verdict: Verdict) -> Option<String> {
    let name = ConnectionName::new(section.strip_prefix("connection.")?);
    let (old, new) = (&old.config.connection, &new.config.connection);
    let added = new.get(&name).filter(|_| verdict == Verdict::Added)?;
    let mut gone = old.iter().filter(|(before, settings)| {
        settings.connector == added.connector && !new.contains_key(*before)
    });
    let (first, _) = gone.next()?;
    gone.next().is_none().then(|| first.to_string())
}

type Changes = BTreeMap<String, (Verdict, Option<String>)>;

fn compare(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::new();
    let mut whole = |section: &str, equal: bool, otherwise: Verdict| {
        let verdict = if equal { Verdict::Unchanged } else { otherwise };
        changes.insert(section.to_owned(), (verdict, None));
    };
    whole("store", old.store == new.store, restart_or_change(old, new));
    whole("prove", old.prove == new.prove, Verdict::Changed);
    whole("server", old.server == new.server, Verdict::RestartNeeded);
    whole(
        "log",
        old.log == new.log,
        if old.log.format == new.log.format {
            Verdict::Changed
        } else {
            Verdict::RestartNeeded
        },
    );
    whole("limits", old.limits == new.limits, limits(old, new));
    whole("alert", old.alert == new.alert, Verdict::Changed);
    whole("owner", old.owner == new.owner, Verdict::Changed);
    whole(
        "guard.stock",
        old.guard.stock == new.guard.stock,
        Verdict::Changed,
    );
    whole(
        "guard.prices",
        old.guard.prices == new.guard.prices,
        Verdict::Changed,
    );
    whole(
        "connectors",
        old.own_connectors == new.own_connectors,
        Verdict::Changed,
    );
    named("connection", &old.connection, &new.connection, &mut changes);
    remade(old, new, &mut changes);
    named("route", &old.route, &new.route, &mut changes);
    named("mapping", &old.mapping, &new.mapping, &mut changes);
    named("pool", &old.pool, &new.pool, &mut changes);
    named("publish", &old.publish, &new.publish, &mut changes);
    changes
}

/// The store stays where it is and what it is while it is open; how long things are kept in it may change.
fn restart_or_change(old: &Config, new: &Config) -> Verdict {
    let open = |config: &Config| {
        let store = &config.store;
        (store.engine, store.path.clone(), store.cache_bytes)
    };
    if open(old) == open(new) {
        Verdict::Changed
    } else {
        Verdict::RestartNeeded
    }
}

/// What our own server allows is settled when it begins to listen.
fn limits(old: &Config, new: &Config) -> Verdict {
    let server = |config: &Config| {
        let limits = &config.limits;
        (limits.server_max_body_bytes, limits.server_max_connections)
    };
    if server(old) == server(new) {
        Verdict::Changed
    } else {
        Verdict::RestartNeeded
    }
}

fn named<K: Ord + ToString, T: PartialEq>(
    section: &str,
    old: &BTreeMap<K, T>,
    new: &BTreeMap<K, T>,
    changes: &mut Changes,
) {
    let names: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    for name in names {
        let verdict = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => Verdict::Unchanged,
            (Some(_), Some(_)) => Verdict::Changed,
            (None, _) => Verdict::Added,
            (_, None) => Verdict::Removed,
        };
        changes.insert(format!("{section}.{}", name.to_string()), (verdict, None));
    }
}

/// A connection changes with a connector of one's own.
fn remade(old: &Config, new: &Config, changes: &mut Changes) {
    let text = |config: &Config, name: &str| {
        let own = config.own_connectors.iter().find(|own| own.name == name);
        own.map(|own| (own.text.text.clone(), own.program.clone()))
    };
    for (name, connection) in &new.connection {
        let connector = &connection.connector;
        if text(old, connector) != text(new, connector)
            && let Some(change) = changes.get_mut(&format!("connection.{name}"))
            && change.0 == Verdict::Unchanged
        {
            *change = (Verdict::Changed, Some("connectors".to_owned()));
        }
    }
}

/// A route changes with its mapping, a publish rule with its pool.
fn follow(new: &Config, changes: &mut Changes) {
    let routes = new.route.iter().filter_map(|(name, route)| {
        Some((
            format!("route.{name}"),
            format!("mapping.{}", route.mapping.as_ref()?),
        ))
    });
    let rules = new
        .publish
        .iter()
        .map(|(name, rule)| (format!("publish.{name}"), format!("pool.{}", rule.pool)));
    for (follower, cause) in routes.chain(rules) {
        let moved = changes
            .get(&cause)
            .is_some_and(|(verdict, _)| *verdict != Verdict::Unchanged);
        if let Some(change) = changes.get_mut(&follower)
            && change.0 == Verdict::Unchanged
            && moved
        {
            *change = (Verdict::Changed, Some(cause));
        }
    }
}
