//! A connection under another name: everything that the store knows under the old one goes over to the new.
//!
//! Where its name is the first part of a table's keys, the rows move as they are, blocks too; where it stands in
//! a value, the row is written again. A note says what is under way and goes last, in the commit that also notes
//! the new name, so that a rename which was cut off is finished at the next opening of the store: moving what
//! has moved changes nothing.
//!
//! What was sent under the old name keeps it. Our reference of an order, `north:17`, stands at its sink, and it
//! is looked for by that; so a thing remembers under which name it is known over there, and a reference that
//! comes back leads to the thing by the noted name. What the journal tells keeps its words. Payloads as they
//! came keep their names: nobody looks for them by it, and their time is short.

use serde::{Deserialize, Serialize};

use super::EngineError;
use super::tables::{
    ENTITY, EVENT, Fact, GROUP, JOURNAL, META, QUARANTINE, RESERVATION, WITHDRAWN,
};
use crate::fault::Fault;
use crate::id::{ConnectionName, Key};
use crate::store::codec::Versioned;
use crate::store::key::{DecodeKey, EncodeKey, encode_text};
use crate::store::table::{TABLES, Table, TableInfo};
use crate::store::{KeyRange, Store, StoreError, Txn};

/// The note of a rename that is under way.
const UNDER_WAY: &str = "renaming";
/// The name that a connection has now stands under this and the name that it had.
const RENAMED: &str = "renamed/";
/// How many rows one commit changes: a move is a removal and a write.
const ROWS: usize = 200;
/// How often a connection may have been renamed.
const MAX_NAMES: usize = 100;

/// Where the name of a connection stands in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The first part of each key; nowhere in the values.
    Key,
    /// As `Key`, and the second part begins with the name of an origin: `north/SHIRT`.
    KeyAndGroup,
    /// In the values, or inside of a part of the key: each row is read.
    Rows,
    /// Nowhere.
    Nowhere,
}

/// Where the name of a connection stands in each table; none for one that nobody thought of.
fn place(table: &TableInfo) -> Option<Place> {
    Some(match table.name {
        "checkpoint" | "hint" | "link" | "open" | "cell" | "attempt" | "position" | "price" => {
            Place::Key
        }
        "group" => Place::KeyAndGroup,
        "meta" | "entity" | "withdrawn" | "event" | "reservation" | "quarantine" | "journal" => {
            Place::Rows
        }
        // Which connections use a token is written with each one that is kept.
        "by_key" | "record" | "intent" | "payload" | "counts" | "token" => Place::Nowhere,
        _ => return None,
    })
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Names {
    from: ConnectionName,
    to: ConnectionName,
}

/// Gives everything that stands under the name `from` to the name `to`; how many rows were written.
///
/// # Errors
/// When nothing is known of `from`, something is known of `to`, or the store fails: then it is finished at
/// the next opening.
pub fn rename_connection(
    store: &mut dyn Store,
    from: &ConnectionName,
    to: &ConnectionName,
) -> Result<u64, EngineError> {
    finish_rename(store)?;
    if !knows(store, from)? {
        let message = format!("nothing is kept of a connection `{from}`: look at its spelling");
        return Err(Fault::reject("nothing_to_rename", message).into());
    }
    if knows(store, to)? {
        let message = format!(
            "`{to}` has state of its own already, so that of `{from}` cannot become its: choose a name that \
             was never used, and rename before the daemon first runs with it"
        );
        return Err(Fault::reject("renamed_to_a_known_name", message).into());
    }
    let names = Names {
        from: from.clone(),
        to: to.clone(),
    };
    let value = serde_json::to_value(&names)
        .map_err(|error| Fault::bug("rename_row", error.to_string()))?;
    let mut txn = Txn::new(store);
    META.put(&mut txn, &UNDER_WAY.to_owned(), &Fact { value })?;
    let batch = txn.into_batch();
    store.commit(batch)?;
    carry(store, &names)
}

/// Finishes a rename that was cut off.
pub(super) fn finish_rename(store: &mut dyn Store) -> Result<(), EngineError> {
    let fact = META.get(&Txn::new(store), &UNDER_WAY.to_owned())?;
    let names: Option<Names> = fact.and_then(|fact| serde_json::from_value(fact.value).ok());
    if let Some(names) = names {
        carry(store, &names)?;
    }
    Ok(())
}

/// The name that a connection has now which once had this one.
pub(super) fn name_now(txn: &Txn<'_>, name: &ConnectionName) -> Result<ConnectionName, StoreError> {
    let mut name = name.clone();
    for _ in 0..MAX_NAMES {
        let fact = META.get(txn, &format!("{RENAMED}{name}"))?;
        let next = fact.and_then(|fact| fact.value.as_str().map(ConnectionName::new));
        match next {
            Some(next) => name = next,
            None => break,
        }
    }
    Ok(name)
}

/// Whether anything is kept under this name: rows whose key begins with it, or that it is paused.
fn knows(store: &dyn Store, name: &ConnectionName) -> Result<bool, StoreError> {
    for table in TABLES {
        let of_it = matches!(place(table), Some(Place::Key | Place::KeyAndGroup));
        if of_it
            && !store
                .scan(&KeyRange::prefix(scope(table, name)), 1)?
                .is_empty()
        {
            return Ok(true);
        }
    }
    META.contains(&Txn::new(store), &format!("paused/{name}"))
}

/// The bytes that the keys of a connection begin with.
fn scope(table: &TableInfo, name: &ConnectionName) -> Vec<u8> {
    let mut bytes = vec![table.prefix];
    encode_text(name.as_str(), &mut bytes);
    bytes
}

fn carry(store: &mut dyn Store, names: &Names) -> Result<u64, EngineError> {
    let mut rows = 0;
    for table in TABLES {
        rows += match place(table) {
            Some(Place::Key) => move_keys(store, table, names)?,
            Some(Place::KeyAndGroup) => move_keys(store, table, names)? + regroup(store, names)?,
            Some(Place::Rows) => rewrite_table(store, table, names)?,
            Some(Place::Nowhere) | None => 0,
        };
    }
    let mut txn = Txn::new(store);
    META.delete(&mut txn, &UNDER_WAY.to_owned());
    // A name that is given back is nobody's former name any more.
    META.delete(&mut txn, &format!("{RENAMED}{}", names.to));
    let value = names.to.as_str().into();
    META.put(
        &mut txn,
        &format!("{RENAMED}{}", names.from),
        &Fact { value },
    )?;
    let batch = txn.into_batch();
    store.commit(batch)?;
    Ok(rows)
}

fn move_keys(store: &mut dyn Store, table: &TableInfo, names: &Names) -> Result<u64, EngineError> {
    let (old, new) = (scope(table, &names.from), scope(table, &names.to));
    let mut moved = 0;
    loop {
        let rows = store.scan(&KeyRange::prefix(old.clone()), ROWS)?;
        if rows.is_empty() {
            return Ok(moved);
        }
        moved += rows.len() as u64;
        let mut txn = Txn::new(store);
        for row in rows {
            let rest = row.key.get(old.len()..).unwrap_or_default();
            txn.put([&new, rest].concat(), row.value);
            txn.delete(row.key);
        }
        let batch = txn.into_batch();
        store.commit(batch)?;
    }
}

fn rewrite_table(
    store: &mut dyn Store,
    table: &TableInfo,
    names: &Names,
) -> Result<u64, EngineError> {
    match table.name {
        "meta" => rewrite(store, META, |name, fact| names.fact(name, fact)),
        "entity" => rewrite(store, ENTITY, |_, entity| {
            if entity.origin == names.from {
                entity.origin = names.to.clone();
                // The first name: what was sent under it stands there.
                let first = entity.known_as.take();
                entity.known_as = first.or_else(|| Some(names.from.clone()));
            }
            if let Some(link) = entity.links.remove(&names.from) {
                entity.links.insert(names.to.clone(), link);
            }
            if entity.queued_to.remove(&names.from) {
                entity.queued_to.insert(names.to.clone());
            }
            if let Some(seq) = entity.parked.remove(&names.from) {
                entity.parked.insert(names.to.clone(), seq);
            }
            None
        }),
        "withdrawn" => rewrite(store, WITHDRAWN, |_, row| {
            names.give(&mut row.by);
            None
        }),
        "event" => rewrite(store, EVENT, |_, row| {
            names.give(&mut row.sink);
            names.give(&mut row.origin);
            row.group = row.group.take().map(|group| names.group(&group));
            None
        }),
        "reservation" => rewrite(store, RESERVATION, |_, row| {
            names.give(&mut row.0.channel);
            None
        }),
        "quarantine" => rewrite(store, QUARANTINE, |_, row| {
            names.give(&mut row.connection);
            row.thing = names.thing(&row.thing);
            None
        }),
        "journal" => rewrite(store, JOURNAL, |key, entries| {
            for entry in &mut entries.0 {
                if let Some(connection) = &mut entry.connection {
                    names.give(connection);
                }
            }
            let thing = names.thing(&key.0);
            (thing != key.0).then_some((thing, key.1, key.2))
        }),
        _ => Ok(0),
    }
}

/// The keys of groups that begin with the name of their origin, at every sink.
fn regroup(store: &mut dyn Store, names: &Names) -> Result<u64, EngineError> {
    rewrite(store, GROUP, |key, _| {
        let group = names.group(&key.1);
        (group != key.1).then(|| (key.0.clone(), group))
    })
}

/// Goes through a table and writes the rows that `change` made others, under the key that it gives.
fn rewrite<K, V>(
    store: &mut dyn Store,
    table: Table<K, V>,
    mut change: impl FnMut(&K, &mut V) -> Option<K>,
) -> Result<u64, EngineError>
where
    K: DecodeKey + EncodeKey,
    V: Versioned + Clone,
{
    let (mut range, mut written) = (table.all(), 0);
    loop {
        let mut txn = Txn::new(store);
        let rows = table.scan(&txn, &range, ROWS)?;
        let Some((last, _)) = rows.last() else {
            return Ok(written);
        };
        range = table.after(range, last);
        for (key, mut value) in rows {
            let before = serde_json::to_vec(&value).ok();
            let moved = change(&key, &mut value);
            if let Some(new) = moved {
                table.delete(&mut txn, &key);
                table.put(&mut txn, &new, &value)?;
                written += 1;
            } else if serde_json::to_vec(&value).ok() != before {
                table.put(&mut txn, &key, &value)?;
                written += 1;
            }
        }
        let batch = txn.into_batch();
        if !batch.is_empty() {
            store.commit(batch)?;
        }
    }
}

impl Names {
    fn give(&self, name: &mut ConnectionName) {
        if *name == self.from {
            *name = self.to.clone();
        }
    }

    /// `north/SHIRT`: a group of things of an origin.
    fn group(&self, group: &Key) -> Key {
        match group.as_str().split_once('/') {
            Some((origin, rest)) if origin == self.from.as_str() => {
                Key::from(format!("{}/{rest}", self.to))
            }
            _ => group.clone(),
        }
    }

    /// How things that are not linked, cells and connections are called in journal and quarantine:
    /// `north/orders/17`, `stock/north/A 1`, `connection/north`.
    fn thing(&self, thing: &str) -> String {
        let mut parts: Vec<&str> = thing.splitn(3, '/').collect();
        let old = self.from.as_str();
        let at = match parts.as_slice() {
            [first, _, ..] if *first == old => Some(0),
            [_, second, ..] if *second == old => Some(1),
            _ => None,
        };
        if let Some(part) = at.and_then(|at| parts.get_mut(at)) {
            *part = self.to.as_str();
        }
        parts.join("/")
    }

    /// Facts that stand under the name of a connection. What is noted of rules (`prices/`,
    /// `published_by/`) is noted by the new ones when they are applied.
    fn fact(&self, name: &str, _: &mut Fact) -> Option<String> {
        let (kind, rest) = name.split_once('/')?;
        let (old, new) = (self.from.as_str(), self.to.as_str());
        let renamed = match kind {
            "paused" | "locations" | "rhythm" => (rest == old).then(|| new.to_owned()),
            // `stale/POOL/OWNER`
            "stale" => {
                let (pool, owner) = rest.rsplit_once('/')?;
                (owner == old).then(|| format!("{pool}/{new}"))
            }
            // `sweep/CONNECTION/STREAM`
            "sweep" => {
                let (connection, stream) = rest.split_once('/')?;
                (connection == old).then(|| format!("{new}/{stream}"))
            }
            _ => None,
        };
        renamed.map(|rest| format!("{kind}/{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new table must say where the name of a connection stands in it, and one whose keys begin with a
    /// connection must move with it.
    #[test]
    fn every_table_says_where_a_connection_is_named() {
        for info in TABLES {
            let place = place(info)
                .unwrap_or_else(|| panic!("{}: where is a connection named?", info.name));
            let key = info.doc.split("->").next().unwrap();
            let first = key
                .trim_start_matches('(')
                .split([',', ')'])
                .next()
                .unwrap();
            let by_name = ["connection", "sink", "owner", "channel"].contains(&first);
            let moves = matches!(place, Place::Key | Place::KeyAndGroup);
            assert_eq!(by_name, moves, "{}: {}", info.name, info.doc);
        }
    }
}
