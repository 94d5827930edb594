//! Changing many sorted keys in one pass.

use std::iter::Peekable;

use super::block::{Entries, Pending};
use super::cursor::Cursor;
use super::{
    Blocks, MAX_BYTES, MAX_ENTRIES, MAX_KEY_BYTES, MAX_VALUE_BYTES, SMALL_ENTRIES, TARGET_BYTES,
    TARGET_ENTRIES, advance, open,
};
use crate::store::{Row, StoreError, Txn};

/// What to do with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit<V> {
    /// Leave it as it is, present or absent.
    Keep,
    /// Set its value.
    Put(V),
    /// Remove it, if it is there.
    Delete,
}

/// What one call of [`Blocks::update`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The last key that was taken from the changes: where to resume after a crash.
    pub up_to: Option<String>,
    /// Rows that were staged, written and removed.
    pub rows: usize,
    /// Keys that were not there before.
    pub added: u64,
    /// Keys whose value is another one now.
    pub changed: u64,
    /// Keys that are gone.
    pub removed: u64,
    /// Keys that stay as they were.
    pub unchanged: u64,
    /// Whether all changes have been taken.
    pub done: bool,
}

impl Blocks {
    /// Applies `changes`, sorted by key, to the map, and stages the blocks that became different.
    ///
    /// `edit` is shown each key with what came beside it and the present value, and decides. The call
    /// stops at about `max_rows` staged rows (at most a dozen more) with `done` false: commit, and call again with the same
    /// iterator. To resume after a crash, store [`Step::up_to`] in the same commit and skip the
    /// changes up to it.
    ///
    /// After an error the staged rows are incomplete: run it inside [`Txn::attempt`] or throw the
    /// transaction away.
    ///
    /// # Panics
    ///
    /// When the keys are not strictly ascending: a defect of ours.
    pub fn update<K, T, V, E, I>(
        &self,
        txn: &mut Txn<'_>,
        changes: &mut Peekable<I>,
        max_rows: usize,
        mut edit: impl FnMut(&str, T, Option<&[u8]>) -> Result<Edit<V>, E>,
    ) -> Result<Step, E>
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
        E: From<StoreError>,
        I: Iterator<Item = (K, T)>,
    {
        let mut pass = Pass::new(self, max_rows.max(1));
        let mut cursor = Cursor::new(self);
        while let Some((key, _)) = changes.peek() {
            if pass.is_full() {
                break;
            }
            cursor.seek(txn, key.as_ref())?;
            loop {
                let row = cursor.pop(txn)?;
                let upper = cursor.peek_first_key(txn)?;
                pass.block(txn, row.as_ref(), upper.as_deref(), changes, &mut edit)?;
                if upper.is_none() || !pass.is_small() || pass.is_full() {
                    break;
                }
                // The next round appends the successor to what is pending, changes to it included.
            }
            pass.flush(txn);
        }
        pass.step.done = changes.peek().is_none();
        pass.step.up_to = (!pass.previous.is_empty() || pass.started).then_some(pass.previous);
        Ok(pass.step)
    }

    /// `update` for changes that already know their value; `None` removes.
    pub fn merge<K, V, I>(
        &self,
        txn: &mut Txn<'_>,
        changes: &mut Peekable<I>,
        max_rows: usize,
    ) -> Result<Step, StoreError>
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
        I: Iterator<Item = (K, Option<V>)>,
    {
        self.update(txn, changes, max_rows, |_, value, _| {
            Ok(value.map_or(Edit::Delete, Edit::Put))
        })
    }

    /// Sets one value. Many are cheaper through [`merge`](Self::merge).
    pub fn put(&self, txn: &mut Txn<'_>, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut changes = std::iter::once((key, Some(value))).peekable();
        self.merge(txn, &mut changes, usize::MAX).map(|_| ())
    }

    /// Removes one value, if it is there.
    pub fn delete(&self, txn: &mut Txn<'_>, key: &str) -> Result<(), StoreError> {
        let mut changes = std::iter::once((key, None::<&[u8]>)).peekable();
        self.merge(txn, &mut changes, usize::MAX).map(|_| ())
    }
}

/// The state of one pass.
struct Pass<'m> {
    blocks: &'m Blocks,
    max_rows: usize,
    step: Step,
    /// The key of the last change.
    previous: String,
    started: bool,
    /// What the blocks now being worked on will hold.
    pending: Pending,
    /// Whether `pending` differs from what its blocks hold in the store.
    dirty: bool,
    /// Rows whose entries went into `pending`: removed at the end, unless written again.
    replaced: Vec<Vec<u8>>,
}

impl<'m> Pass<'m> {
    fn new(blocks: &'m Blocks, max_rows: usize) -> Self {
        Self {
            blocks,
            max_rows,
            step: Step::default(),
            previous: String::new(),
            started: false,
            pending: Pending::default(),
            dirty: false,
            replaced: Vec::new(),
        }
    }

    /// Moves the entries of one block to `pending`, with the changes below `upper`.
    fn block<K, T, V, E, I>(
        &mut self,
        txn: &mut Txn<'_>,
        row: Option<&Row>,
        upper: Option<&str>,
        changes: &mut Peekable<I>,
        edit: &mut impl FnMut(&str, T, Option<&[u8]>) -> Result<Edit<V>, E>,
    ) -> Result<(), E>
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
        E: From<StoreError>,
        I: Iterator<Item = (K, T)>,
    {
        let mut old = row.map_or(Ok(Entries::none()), open)?;
        let mut standing = advance(&mut old, row)?;
        self.replaced.extend(row.map(|row| row.key.clone()));
        while !self.is_full() {
            let inside = |(key, _): &(K, T)| upper.is_none_or(|upper| key.as_ref() < upper);
            let Some((key, beside)) = changes.next_if(inside) else {
                break;
            };
            let key = key.as_ref();
            self.note(key)?;
            while standing && old.key() < key.as_bytes() {
                self.pending.push(old.key(), old.value());
                standing = advance(&mut old, row)?;
            }
            let found = standing && old.key() == key.as_bytes();
            let before = found.then(|| old.value());
            let edit = edit(key, beside, before)?;
            self.apply(key, before, &edit)?;
            if found {
                standing = advance(&mut old, row)?;
            }
            if self.dirty && self.overflows() {
                self.write(txn, TARGET_ENTRIES, TARGET_BYTES);
            }
        }
        while standing {
            self.pending.push(old.key(), old.value());
            standing = advance(&mut old, row)?;
        }
        Ok(())
    }

    fn note(&mut self, key: &str) -> Result<(), StoreError> {
        assert!(
            !self.started || self.previous.as_str() < key,
            "keys must ascend: {key:?} after {:?}",
            self.previous
        );
        self.started = true;
        self.previous.clear();
        self.previous.push_str(key);
        StoreError::check_size("bytes in a key of a block", key.len(), MAX_KEY_BYTES)
    }

    fn apply<V: AsRef<[u8]>>(
        &mut self,
        key: &str,
        before: Option<&[u8]>,
        edit: &Edit<V>,
    ) -> Result<(), StoreError> {
        let after = match edit {
            Edit::Keep => before,
            Edit::Put(value) => Some(value.as_ref()),
            Edit::Delete => None,
        };
        let counter = match (before, after) {
            (None, Some(_)) => &mut self.step.added,
            (Some(_), None) => &mut self.step.removed,
            (Some(before), Some(after)) if before != after => &mut self.step.changed,
            _ => &mut self.step.unchanged,
        };
        *counter += 1;
        self.dirty |= before != after;
        if let Some(after) = after {
            StoreError::check_size("bytes in a value of a block", after.len(), MAX_VALUE_BYTES)?;
            self.pending.push(key.as_bytes(), after);
        }
        Ok(())
    }

    /// Whether this call has staged enough. Rows that are to be removed count already before they are:
    /// a thousand emptied blocks in a row are one join. Once true it stays true, also over a flush,
    /// which turns each replaced row into a written or a removed one; a cursor that left a block
    /// half-way must not go on. Every call takes at least one change.
    fn is_full(&self) -> bool {
        let replaced = if self.dirty { self.replaced.len() } else { 0 };
        self.started && self.step.rows + replaced >= self.max_rows
    }

    /// Whether more is pending than two blocks of the target size: time to write the first of them.
    fn overflows(&self) -> bool {
        self.pending.len() > 2 * TARGET_ENTRIES || self.pending.bytes() > 2 * TARGET_BYTES
    }

    fn is_small(&self) -> bool {
        self.dirty && self.pending.len() < SMALL_ENTRIES && self.pending.bytes() < TARGET_BYTES / 4
    }

    /// Writes what is pending and removes the rows that it replaces; nothing, if nothing changed.
    fn flush(&mut self, txn: &mut Txn<'_>) {
        if self.dirty {
            while self.pending.len() > MAX_ENTRIES || self.pending.bytes() > MAX_BYTES {
                self.write(txn, TARGET_ENTRIES, TARGET_BYTES);
            }
            self.write(txn, MAX_ENTRIES, MAX_BYTES);
            for key in self.replaced.drain(..) {
                txn.delete(key);
                self.step.rows += 1;
            }
        }
        self.pending.clear();
        self.replaced.clear();
        self.dirty = false;
    }

    fn write(&mut self, txn: &mut Txn<'_>, entries: usize, bytes: usize) {
        let Some((first, block)) = self.pending.take_block(entries, bytes) else {
            return;
        };
        // The keys of entries came from texts, so this loses nothing.
        let key = self.blocks.row_key(&String::from_utf8_lossy(&first));
        self.replaced.retain(|replaced| *replaced != key);
        txn.put(key, block);
        self.step.rows += 1;
    }
}
