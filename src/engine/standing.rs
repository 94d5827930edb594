//! What is known in memory of the rows in quarantine: which thing each stands for, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::stage::slot_of;
use super::tables::Quarantined;

/// What the index knows of a row of the quarantine.
#[derive(Debug)]
pub(super) struct Standing {
    pub thing: String,
    pub slot: String,
    pub group: String,
    pub bytes: u64,
}

impl Standing {
    /// Of this row.
    pub(super) fn of(row: &Quarantined) -> Self {
        Self {
            thing: row.thing.clone(),
            slot: slot_of(&row.stage, &row.connection, row.route.as_ref()),
            group: row.group(),
            bytes: row.bytes(),
        }
    }
}

/// Why rows are in quarantine, and which for each reason.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Each row's reason and size.
    of: BTreeMap<u64, (Arc<str>, u64)>,
    rows: BTreeMap<Arc<str>, BTreeSet<u64>>,
    bytes: u64,
}

impl Groups {
    /// Why rows are there, how many for each reason, and the first of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, usize, u64)> {
        let groups = self.rows.iter();
        groups.filter_map(|(group, rows)| Some((group, rows.len(), *rows.first()?)))
    }

    /// The rows and why they are there, oldest first.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u64, &str)> {
        let rows = self.of.iter();
        rows.map(|(number, (group, _))| (*number, &**group))
    }

    /// How many bytes the rows take, about.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn put(&mut self, number: u64, group: &str, bytes: u64) {
        self.remove(number);
        let known = self.rows.get_key_value(group).map(|(name, _)| name);
        let name = known.map_or_else(|| Arc::from(group), Arc::clone);
        self.rows
            .entry(Arc::clone(&name))
            .or_default()
            .insert(number);
        self.of.insert(number, (name, bytes));
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some((name, bytes)) = self.of.remove(&number) else {
            return;
        };
        self.bytes -= bytes;
        if let Some(rows) = self.rows.get_mut(&name) {
            rows.remove(&number);
            if rows.is_empty() {
                self.rows.remove(&name);
            }
        }
    }
}
