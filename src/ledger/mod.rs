//! What we know of each thing, and what a change of it means.
//!
//! An [`Entity`] is one thing under our own id, with its links to the connections on which it exists
//! and what was last seen and delivered there. [`observe`] compares a change with that and says what
//! it is; what follows is the engine's business. Pure: no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::connector::{LineLink, Version};
use crate::id::{ConnectionName, EntityId, Key, RemoteId};
use crate::record::{Fingerprint, Quantity, Stream};

/// A thing on one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Its id over there.
    pub remote_id: RemoteId,
    /// The number that people use over there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// What was last seen over there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// What we last delivered there, as it is stored over there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Fingerprint>,
    /// Its lines over there, by our line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineLink>,
    /// When the link was made.
    pub since: Timestamp,
    /// Until when an older state, of which nobody knows whether it was carried out, may still replace what we
    /// delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_until: Option<Timestamp>,
}

/// What was last seen of a thing on one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its content.
    pub fingerprint: Fingerprint,
    /// Which version it was.
    #[serde(default)]
    pub version: Version,
    /// When we saw it.
    pub at: Timestamp,
    /// It was gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// Where its payload is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Kept>,
}

/// Where a payload as it came is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Until when.
    pub until: Timestamp,
    /// Under which number.
    pub number: u64,
}

/// One thing, the same on every connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// Our id of it.
    pub id: EntityId,
    /// What it is.
    pub stream: Stream,
    /// What people know it by: the SKU of an item, the number of an order.
    pub key: Key,
    /// Where it came from first; that connection owns it.
    pub origin: ConnectionName,
    /// The name that its origin had when it came, where that was renamed since: references that we sent
    /// begin with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<ConnectionName>,
    /// Where it exists.
    pub links: BTreeMap<ConnectionName, Link>,
    /// To which connections it was queued: each is told of its creation once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub queued_to: BTreeSet<ConnectionName>,
    /// Where its create stands in the queue for each of these connections that had much to do when it came.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parked: BTreeMap<ConnectionName, u64>,
    /// Of an order: how much of each of its lines each shipment took.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shipped: BTreeMap<EntityId, BTreeMap<String, Quantity>>,
    /// Its cancellation was queued.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// Nothing more will happen to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

impl Entity {
    /// Its id on one connection.
    pub fn remote_id(&self, connection: &ConnectionName) -> Option<&RemoteId> {
        self.links.get(connection).map(|link| &link.remote_id)
    }
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New to us, or new content from the owner.
    News {
        /// We had never seen it before.
        first: bool,
    },
    /// Exactly what we saw last time on this connection.
    Duplicate,
    /// Our own write, coming back.
    Echo,
    /// Older than what we have already seen.
    Stale,
    /// New content of a thing that another connection owns.
    Conflict,
}

/// What is in the change, without its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting<'a> {
    /// On which connection.
    pub connection: &'a ConnectionName,
    /// Who owns the whole stream, where the configuration says so; else whoever has a thing first.
    pub owner: Option<&'a ConnectionName>,
    /// Its content; `None` when it is gone.
    pub fingerprint: Option<Fingerprint>,
    /// Which version.
    pub version: &'a Version,
}

/// Says what a change means, given what is known of the thing.
///
/// A version is only a hint: it can show that a change is *older*, never that it is unchanged (story
/// 12: edits that do not move the timestamp), so equal content decides first.
pub fn observe(known: Option<&Entity>, sighting: &Sighting<'_>) -> Verdict {
    let Some(entity) = known else {
        return match sighting.owner {
            Some(owner) if owner != sighting.connection => Verdict::Conflict,
            _ => Verdict::News { first: true },
        };
    };
    let owner = sighting.owner.unwrap_or(&entity.origin) == sighting.connection;
    let Some(link) = entity.links.get(sighting.connection) else {
        return if owner {
            Verdict::News { first: false }
        } else {
            Verdict::Conflict
        };
    };
    if let Some(seen) = &link.seen {
        let same = match sighting.fingerprint {
            Some(fingerprint) => !seen.absent && seen.fingerprint == fingerprint,
            None => seen.absent,
        };
        if same {
            return Verdict::Duplicate;
        }
        if is_older(sighting.version, &seen.version) {
            return Verdict::Stale;
        }
    }
    if owner {
        return Verdict::News { first: false };
    }
    // The first sighting of what we created there is our own write, whatever the remote made of it.
    let is_ours = link.seen.is_none()
        || (sighting.fingerprint.is_some() && sighting.fingerprint == link.delivered);
    if is_ours {
        Verdict::Echo
    } else {
        Verdict::Conflict
    }
}

fn is_older(version: &Version, seen: &Version) -> bool {
    match (version.updated_at, seen.updated_at) {
        (Some(now), Some(then)) => now < then,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORTH: &str = "north";
    const ERP: &str = "erp";

    fn print(text: &str) -> Fingerprint {
        Fingerprint::of_bytes(text.as_bytes())
    }

    fn version(at: Option<&str>) -> Version {
        Version {
            updated_at: at.map(|at| at.parse().unwrap()),
            etag: None,
        }
    }

    fn link(seen: Option<(&str, Option<&str>)>, delivered: Option<&str>) -> Link {
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        Link {
            remote_id: "17".into(),
            number: None,
            seen: seen.map(|(text, at)| Seen {
                fingerprint: print(text),
                version: version(at),
                at: now,
                absent: false,
                payload: None,
            }),
            delivered: delivered.map(print),
            lines: vec![],
            since: now,
            late_until: None,
        }
    }

    fn order(north: Link, erp: Option<Link>) -> Entity {
        let mut links = BTreeMap::from([(ConnectionName::from(NORTH), north)]);
        links.extend(erp.map(|erp| (ConnectionName::from(ERP), erp)));
        Entity {
            id: "ord_1".into(),
            stream: Stream::Orders,
            key: "17".into(),
            origin: NORTH.into(),
            known_as: None,
            links,
            queued_to: BTreeSet::new(),
            parked: BTreeMap::new(),
            shipped: BTreeMap::new(),
            cancelled: false,
            closed: false,
        }
    }

    fn check(known: Option<&Entity>, on: &str, text: &str, at: Option<&str>, expect: Verdict) {
        let connection = ConnectionName::from(on);
        let version = version(at);
        let sighting = Sighting {
            connection: &connection,
            owner: None,
            fingerprint: Some(print(text)),
            version: &version,
        };
        assert_eq!(observe(known, &sighting), expect, "{on} {text} {at:?}");
    }

    #[test]
    fn a_thing_never_seen_is_news() {
        check(None, NORTH, "a", None, Verdict::News { first: true });
    }

    #[test]
    fn equal_content_is_a_duplicate_whatever_its_timestamp() {
        let known = order(link(Some(("a", Some("2026-11-22T10:00:00Z"))), None), None);
        check(
            Some(&known),
            NORTH,
            "a",
            Some("2026-11-22T11:00:00Z"),
            Verdict::Duplicate,
        );
        check(Some(&known), NORTH, "a", None, Verdict::Duplicate);
    }

    /// Story 12: an edit that does not move the timestamp is still news.
    #[test]
    fn new_content_under_an_unmoved_timestamp_is_news() {
        let at = Some("2026-11-22T10:00:00Z");
        let known = order(link(Some(("a", at)), None), None);
        check(Some(&known), NORTH, "b", at, Verdict::News { first: false });
    }

    /// Stories 26 and 27: what is older than what we know changes nothing.
    #[test]
    fn an_older_version_is_stale() {
        let known = order(link(Some(("b", Some("2026-11-22T10:00:00Z"))), None), None);
        check(
            Some(&known),
            NORTH,
            "a",
            Some("2026-11-22T09:59:59Z"),
            Verdict::Stale,
        );
    }

    /// Story 28: our own order in the destination is never re-imported as a new one.
    #[test]
    fn our_own_write_coming_back_is_an_echo() {
        let known = order(link(Some(("a", None)), None), Some(link(None, Some("a2"))));
        check(
            Some(&known),
            ERP,
            "whatever the ERP made of it",
            None,
            Verdict::Echo,
        );
        let known = order(
            link(Some(("a", None)), None),
            Some(link(Some(("x", None)), Some("a2"))),
        );
        check(Some(&known), ERP, "a2", None, Verdict::Echo);
        check(Some(&known), ERP, "edited there", None, Verdict::Conflict);
    }

    #[test]
    fn another_connection_cannot_take_a_thing_over() {
        let known = order(link(Some(("a", None)), None), None);
        check(Some(&known), ERP, "b", None, Verdict::Conflict);
    }

    /// Where the configuration names an owner, only it has news, whoever had the thing first.
    #[test]
    fn the_owner_of_a_stream_decides() {
        let connection = ConnectionName::from(ERP);
        let version = version(None);
        let known = order(
            link(Some(("a", None)), None),
            Some(link(Some(("a", None)), None)),
        );
        let of = |owner: &ConnectionName, known: Option<&Entity>| {
            let sighting = Sighting {
                connection: &connection,
                owner: Some(owner),
                fingerprint: Some(print("b")),
                version: &version,
            };
            observe(known, &sighting)
        };
        assert_eq!(
            of(&connection, Some(&known)),
            Verdict::News { first: false }
        );
        assert_eq!(of(&NORTH.into(), Some(&known)), Verdict::Conflict);
        assert_eq!(of(&NORTH.into(), None), Verdict::Conflict);
        assert_eq!(of(&connection, None), Verdict::News { first: true });
    }
}
