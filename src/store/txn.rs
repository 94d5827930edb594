//! Staged writes over a store: reads see them, the engine commits them.
//!
//! The engine lets many units (accepts, settles) stage into one [`Txn`] and commits once; a unit that
//! fails half-way is taken back with [`Txn::attempt`] without touching its neighbours. While a commit is
//! written, the next one is staged over it ([`Txn::over`]).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::{KeyRange, Row, Store, StoreError, WriteBatch};

/// What is staged for one key; `None` removes the row.
type Staged = Option<Vec<u8>>;

/// A view of a store with writes that are not yet committed.
#[derive(Debug)]
pub struct Txn<'s> {
    store: &'s dyn Store,
    /// What is being committed: it holds before what the store says, which may not know all of it yet.
    under: Option<&'s WriteBatch>,
    staged: BTreeMap<Vec<u8>, Staged>,
    bytes: usize,
    /// Whether the store holds nothing of a table, by the prefix of its keys, as far as it was asked.
    /// Sparse tables (attempts, hints, reservations) are mostly empty and asked about every SKU.
    empty: [Cell<Option<bool>>; 256],
    /// What stood in `staged` before each write, newest last; kept only inside `attempt`.
    undo: Vec<(Vec<u8>, Option<Staged>)>,
    attempts: usize,
}

impl<'s> Txn<'s> {
    /// A view with nothing staged.
    pub fn new(store: &'s dyn Store) -> Self {
        Self::over(store, None, WriteBatch::new())
    }

    /// A view in which `batch` is staged, over what is being committed.
    pub fn over(store: &'s dyn Store, under: Option<&'s WriteBatch>, batch: WriteBatch) -> Self {
        Self {
            store,
            under,
            staged: batch.rows,
            bytes: batch.bytes,
            empty: [const { Cell::new(None) }; 256],
            undo: Vec::new(),
            attempts: 0,
        }
    }

    /// Whether the store holds nothing of the table of a key: its prefix is the key's first byte.
    fn is_empty_table(&self, key: &[u8]) -> Result<bool, StoreError> {
        let Some(prefix) = key.first() else {
            return Ok(false);
        };
        let known = &self.empty[usize::from(*prefix)];
        if let Some(empty) = known.get() {
            return Ok(empty);
        }
        let any = self.store.scan(&KeyRange::prefix(vec![*prefix]), 1)?;
        known.set(Some(any.is_empty()));
        Ok(any.is_empty())
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.written(key) {
            Some(written) => Ok(written.clone()),
            None if self.is_empty_table(key)? => Ok(None),
            None => self.store.get(key),
        }
    }

    /// The first `limit` rows of `range`, in key order.
    pub fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        if limit == 0 || range.is_empty() {
            return Ok(Vec::new());
        }
        let mut staged = self.written_in(range).peekable();
        if staged.peek().is_none() {
            if range.is_of_one_table() && self.is_empty_table(&range.start)? {
                return Ok(Vec::new());
            }
            return self.store.scan(range, limit);
        }
        let mut rows: Vec<Row> = Vec::new();
        let mut rest = range.clone();
        while rows.len() < limit {
            // Staged removals may use up a whole page of the store, hence the loop.
            let wanted = limit - rows.len();
            let page = self.store.scan(&rest, wanted)?;
            let exhausted = page.len() < wanted;
            if let Some(last) = page.last() {
                rest = rest.after(&last.key);
            }
            for row in page {
                while let Some((key, value)) = staged.next_if(|(key, _)| **key < row.key) {
                    push(&mut rows, key, value.as_ref());
                }
                match staged.next_if(|(key, _)| **key == row.key) {
                    Some((key, value)) => push(&mut rows, key, value.as_ref()),
                    None => rows.push(row),
                }
            }
            if exhausted {
                for (key, value) in staged {
                    if rows.len() >= limit {
                        break;
                    }
                    push(&mut rows, key, value.as_ref());
                }
                break;
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// The row with the greatest key of `range`.
    pub fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        if range.is_empty() {
            return Ok(None);
        }
        let staged = self.last_written(range);
        if staged.is_none() && range.is_of_one_table() && self.is_empty_table(&range.start)? {
            return Ok(None);
        }
        let mut rest = range.clone();
        if let Some(row) = &staged {
            // Whatever the store has below the staged row cannot be the last one.
            rest = rest.after(&row.key);
        }
        while !rest.is_empty() {
            match self.store.last(&rest)? {
                Some(row) if self.written(&row.key).is_some() => rest = rest.before(&row.key),
                Some(row) => return Ok(Some(row)),
                None => break,
            }
        }
        Ok(staged)
    }

    /// Sets a row.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.set(key.into(), Some(Some(value.into())));
    }

    /// Removes a row; removing an absent one is allowed.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        let key = key.into();
        // Where nothing is, nothing need be removed. A store that fails will say so at the commit.
        let absent = self.written(&key).is_none() && self.is_empty_table(&key).unwrap_or(false);
        if !absent {
            self.set(key, Some(None));
        }
    }

    /// Runs `work`; if it fails, everything it staged is taken back. Attempts may nest.
    pub fn attempt<T, E>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let mark = self.undo.len();
        self.attempts += 1;
        let result = work(self);
        self.attempts -= 1;
        if result.is_err() {
            let undone = self.undo.split_off(mark);
            for (key, before) in undone.into_iter().rev() {
                self.replace(key, before);
            }
        }
        if self.attempts == 0 {
            self.undo.clear();
        }
        result
    }

    /// How many rows are staged.
    pub fn len(&self) -> usize {
        self.staged.len()
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    /// Bytes of the staged keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is staged, ready to be committed.
    pub fn into_batch(self) -> WriteBatch {
        WriteBatch {
            rows: self.staged,
            bytes: self.bytes,
        }
    }

    /// What is staged or being committed for one key.
    fn written(&self, key: &[u8]) -> Option<&Staged> {
        let under = || self.under.and_then(|under| under.rows.get(key));
        self.staged.get(key).or_else(under)
    }

    /// The same for all keys of a range, in key order.
    fn written_in(&self, range: &KeyRange) -> impl Iterator<Item = (&Vec<u8>, &Staged)> {
        let mut staged = in_range(&self.staged, range).peekable();
        let under = self.under.map(|under| in_range(&under.rows, range));
        let mut under = under.into_iter().flatten().peekable();
        std::iter::from_fn(move || match (staged.peek(), under.peek()) {
            (Some((key, _)), Some((below, _))) if below < key => under.next(),
            (Some((key, _)), Some((below, _))) => {
                if below == key {
                    under.next();
                }
                staged.next()
            }
            (Some(_), None) => staged.next(),
            (None, _) => under.next(),
        })
    }

    /// The row with the greatest key of a range among what is staged or being committed.
    fn last_written(&self, range: &KeyRange) -> Option<Row> {
        let row = |(key, value): (&Vec<u8>, &Staged)| {
            let (key, value) = (key.clone(), value.clone()?);
            Some(Row { key, value })
        };
        let staged = in_range(&self.staged, range).rev().find_map(row);
        let under = self.under.and_then(|under| {
            let mut rows = in_range(&under.rows, range).rev();
            rows.find_map(|(key, value)| {
                let is_staged = self.staged.contains_key(key);
                row((key, value)).filter(|_| !is_staged)
            })
        });
        staged
            .into_iter()
            .chain(under)
            .max_by(|a, b| a.key.cmp(&b.key))
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Staged>) {
        if self.attempts == 0 {
            self.replace(key, value);
        } else {
            let before = self.replace(key.clone(), value);
            self.undo.push((key, before));
        }
    }

    /// Stages `value`, or nothing at all for `None`; returns what was staged before.
    fn replace(&mut self, key: Vec<u8>, value: Option<Staged>) -> Option<Staged> {
        let key_len = key.len();
        let weight = |value: &Staged| key_len + value.as_ref().map_or(0, Vec::len);
        self.bytes += value.as_ref().map_or(0, weight);
        let before = match value {
            Some(value) => self.staged.insert(key, value),
            None => self.staged.remove(&key),
        };
        self.bytes -= before.as_ref().map_or(0, weight);
        before
    }
}

fn in_range<'a>(
    rows: &'a BTreeMap<Vec<u8>, Staged>,
    range: &KeyRange,
) -> impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a Staged)> + use<'a> {
    let end = range.end.as_deref();
    let end = end.map_or(Bound::Unbounded, Bound::Excluded);
    rows.range::<[u8], _>((Bound::Included(range.start.as_slice()), end))
}

fn push(rows: &mut Vec<Row>, key: &[u8], value: Option<&Vec<u8>>) {
    if let Some(value) = value {
        rows.push(Row {
            key: key.to_vec(),
            value: value.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::memory::MemoryStore;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    #[derive(Debug, Clone)]
    enum Step {
        Put(Vec<u8>, Vec<u8>),
        Delete(Vec<u8>),
        /// Several writes, taken back when the flag is false.
        Attempt(bool, Vec<Step>),
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        // Few distinct keys, so that writes, removals and pages of a scan collide often.
        prop::collection::vec(0u8..4, 0..3)
    }

    fn step() -> impl Strategy<Value = Step> {
        let leaf = prop_oneof![
            (key(), prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(k, v)| Step::Put(k, v)),
            key().prop_map(Step::Delete),
        ];
        leaf.prop_recursive(2, 12, 6, |inner| {
            (any::<bool>(), prop::collection::vec(inner, 0..6))
                .prop_map(|(keep, steps)| Step::Attempt(keep, steps))
        })
    }

    fn apply(steps: &[Step], txn: &mut Txn<'_>, model: &mut Model) {
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    txn.put(key.clone(), value.clone());
                    model.insert(key.clone(), value.clone());
                }
                Step::Delete(key) => {
                    txn.delete(key.clone());
                    model.remove(key);
                }
                Step::Attempt(keep, steps) => {
                    let before = model.clone();
                    let result = txn.attempt(|txn| {
                        apply(steps, txn, model);
                        if *keep { Ok(()) } else { Err(()) }
                    });
                    assert_eq!(result.is_ok(), *keep);
                    if !keep {
                        *model = before;
                    }
                }
            }
        }
    }

    fn model_rows(model: &Model, range: &KeyRange) -> Vec<Row> {
        model
            .iter()
            .filter(|(key, _)| range.contains(key))
            .map(|(key, value)| Row {
                key: key.clone(),
                value: value.clone(),
            })
            .collect()
    }

    fn assert_same(txn: &Txn<'_>, model: &Model, range: &KeyRange, limit: usize) {
        let expect = model_rows(model, range);
        assert_eq!(txn.last(range).unwrap(), expect.last().cloned());
        let cut = limit.min(expect.len());
        assert_eq!(txn.scan(range, limit).unwrap(), expect[..cut]);
    }

    proptest! {
        #[test]
        fn reads_see_what_a_map_would_hold(
            committed in prop::collection::btree_map(key(), prop::collection::vec(any::<u8>(), 0..3), 0..12),
            under_way in prop::collection::vec(step(), 0..8),
            written in 0usize..12,
            steps in prop::collection::vec(step(), 0..12),
            ranges in prop::collection::vec((key(), prop::option::of(key()), 0usize..8), 1..6),
        ) {
            let mut store = MemoryStore::new();
            let mut model: Model = committed;
            let mut batch = WriteBatch::new();
            for (key, value) in &model {
                batch.put(key.clone(), value.clone());
            }
            store.commit(batch).unwrap();

            // Of what is being committed the store may know a part.
            let mut txn = Txn::new(&store);
            apply(&under_way, &mut txn, &mut model);
            let under = txn.into_batch();
            let mut part = WriteBatch::new();
            for (key, value) in under.iter().take(written) {
                part.set(key.to_vec(), value.map(<[u8]>::to_vec));
            }
            store.commit(part).unwrap();

            let mut txn = Txn::over(&store, Some(&under), WriteBatch::new());
            apply(&steps[..steps.len() / 2], &mut txn, &mut model);
            // It is put aside in between.
            let mut txn = Txn::over(&store, Some(&under), txn.into_batch());
            apply(&steps[steps.len() / 2..], &mut txn, &mut model);
            for (start, end, limit) in &ranges {
                let range = KeyRange { start: start.clone(), end: end.clone() };
                assert_same(&txn, &model, &range, *limit);
            }
            assert_same(&txn, &model, &KeyRange::all(), usize::MAX);
            let (bytes, len) = (txn.bytes(), txn.len());
            let batch = txn.into_batch();
            prop_assert_eq!((batch.bytes(), batch.len()), (bytes, len));
            prop_assert_eq!(bytes, batch.iter().map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len)).sum::<usize>());
            store.commit(under).unwrap();
            store.commit(batch).unwrap();
            prop_assert_eq!(store.scan(&KeyRange::all(), usize::MAX).unwrap(), model_rows(&model, &KeyRange::all()));
        }
    }

    #[test]
    fn an_inner_attempt_that_succeeds_is_taken_back_with_the_outer_one() {
        let store = MemoryStore::new();
        let mut txn = Txn::new(&store);
        txn.put("kept", "1");
        let result: Result<(), ()> = txn.attempt(|txn| {
            txn.put("kept", "2");
            txn.attempt(|txn| {
                txn.put("inner", "1");
                Ok::<(), ()>(())
            })?;
            Err(())
        });
        assert_eq!(result, Err(()));
        assert_eq!(txn.get(b"kept").unwrap().as_deref(), Some(b"1".as_slice()));
        assert_eq!((txn.len(), txn.bytes()), (1, 5));
    }
}
