//! A store in memory, made for simulation: its disk outlives crashes, and commits fail on request.
//!
//! A [`MemoryDisk`] is the machine's disk and stays; a [`MemoryStore`] is what a process opened on it
//! and dies with [`MemoryDisk::crash`]. Nothing here depends on time or chance: a script decides
//! which commit fails, and how.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Compacted, KeyRange, Row, Store, StoreError, WriteBatch};

/// How a commit fails. There is no torn commit: engines are tested not to have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The commit reports an error and nothing of it happened.
    Before,
    /// The commit reports an error although all of it is durable.
    After,
}

/// A disk in memory. Clones are handles to the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What undoes the commits that a lying disk has not written yet, newest last.
    unflushed: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    lying: bool,
    full: bool,
    /// How many reads succeed before one fails.
    reads_until_error: Option<u64>,
    /// Faults by the number of the commit, counted from 1 over the life of the disk.
    faults: BTreeMap<u64, CommitFault>,
    commits: u64,
    rows_written: u64,
    /// Which opening of the disk is the living one.
    epoch: u64,
    owned: bool,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store on this disk; [`StoreError::Locked`] while another one lives.
    pub fn open(&self) -> Result<MemoryStore, StoreError> {
        let mut state = self.state();
        if state.owned {
            return Err(StoreError::Locked {
                path: PathBuf::new(),
                by: "this process".into(),
            });
        }
        state.owned = true;
        state.epoch += 1;
        Ok(MemoryStore {
            disk: self.clone(),
            epoch: state.epoch,
            failed: AtomicBool::new(false),
        })
    }

    /// Power cut: what was not durable is gone, and stores opened before answer `Closed`.
    pub fn crash(&self) {
        let mut state = self.state();
        for (key, before) in std::mem::take(&mut state.unflushed).into_iter().rev() {
            match before {
                Some(value) => state.rows.insert(key, value),
                None => state.rows.remove(&key),
            };
        }
        state.owned = false;
        state.epoch += 1;
    }

    /// `crash` and `open` in one step.
    pub fn reopen(&self) -> Result<MemoryStore, StoreError> {
        self.crash();
        self.open()
    }

    /// An independent copy of what is durable now, as if the disk had been imaged after a power cut.
    pub fn durable_image(&self) -> Self {
        let state = self.state();
        let rows = state.rows.clone();
        let unflushed = state.unflushed.clone();
        let image = State {
            rows,
            unflushed,
            ..State::default()
        };
        let image = Self {
            state: Arc::new(Mutex::new(image)),
        };
        image.crash();
        image
    }

    /// Lets the `nth` commit from now (1 is the next one) fail.
    pub fn fail_commit(&self, nth: u64, fault: CommitFault) {
        let mut state = self.state();
        let number = state.commits + nth.max(1);
        state.faults.insert(number, fault);
    }

    /// Lets every commit fail with `Full` until it is called with `false`.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Lets one read fail after `reads` successful ones.
    pub fn fail_read_after(&self, reads: u64) {
        self.state().reads_until_error = Some(reads);
    }

    /// A disk that lies reports commits as durable and loses them in a crash. Breaks the contract of
    /// [`Store`] on purpose: it shows that a test would notice.
    pub fn set_lying(&self, lying: bool) {
        let mut state = self.state();
        state.lying = lying;
        if !lying {
            state.unflushed.clear();
        }
    }

    /// How many commits were tried, failed ones included.
    pub fn commits(&self) -> u64 {
        self.state().commits
    }

    /// How many rows successful commits wrote or removed.
    pub fn rows_written(&self) -> u64 {
        self.state().rows_written
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.state().rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: MemoryDisk,
    epoch: u64,
    failed: AtomicBool,
}

impl MemoryStore {
    /// An empty store on a disk of its own, for tests that need no faults.
    pub fn new() -> Self {
        let disk = MemoryDisk::new();
        disk.state().owned = true;
        disk.state().epoch = 1;
        Self {
            disk,
            epoch: 1,
            failed: AtomicBool::new(false),
        }
    }

    /// The disk it stands on.
    pub fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn alive(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.disk.state();
        if self.failed.load(Ordering::Acquire) || state.epoch != self.epoch {
            Err(StoreError::Closed)
        } else {
            Ok(state)
        }
    }

    fn read(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.alive()?;
        match state.reads_until_error {
            Some(0) => {
                state.reads_until_error = None;
                let message = "scripted read error".into();
                Err(StoreError::Io {
                    doing: "reading".into(),
                    message,
                })
            }
            Some(reads) => {
                state.reads_until_error = Some(reads - 1);
                Ok(state)
            }
            None => Ok(state),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.epoch == self.epoch {
            state.owned = false;
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read()?.rows.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        let state = self.read()?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        Ok(state
            .rows
            .range::<[u8], _>(bounds(range))
            .take(limit)
            .map(row)
            .collect())
    }

    fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        let state = self.read()?;
        if range.is_empty() {
            return Ok(None);
        }
        Ok(state
            .rows
            .range::<[u8], _>(bounds(range))
            .next_back()
            .map(row))
    }

    fn commit_beside(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let mut state = self.alive()?;
        batch.check_limits()?;
        state.commits += 1;
        let number = state.commits;
        let fault = state.faults.remove(&number);
        let full = state.full;
        if !full && fault != Some(CommitFault::Before) {
            state.apply(batch);
        }
        drop(state);
        if !full && fault.is_none() {
            return Ok(());
        }
        self.failed.store(true, Ordering::Release);
        let doing = format!("commit {number}");
        if full {
            return Err(StoreError::Full { doing });
        }
        Err(StoreError::Io {
            doing,
            message: "scripted commit error".into(),
        })
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        let state = self.alive()?;
        Ok(state
            .rows
            .iter()
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum())
    }

    fn compact(&mut self) -> Result<Option<Compacted>, StoreError> {
        self.alive().map(|_| None)
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

impl State {
    fn apply(&mut self, batch: &WriteBatch) {
        for (key, value) in batch.iter() {
            self.rows_written += 1;
            let undo = self.lying.then(|| key.to_vec());
            let before = match value {
                Some(value) => self.rows.insert(key.to_vec(), value.to_vec()),
                None => self.rows.remove(key),
            };
            if let Some(key) = undo {
                self.unflushed.push((key, before));
            }
        }
    }
}

fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = range
        .end
        .as_deref()
        .map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(range.start.as_slice()), end)
}

fn row((key, value): (&Vec<u8>, &Vec<u8>)) -> Row {
    Row {
        key: key.clone(),
        value: value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        batch
    }

    #[test]
    fn a_crash_keeps_what_was_committed() {
        let disk = MemoryDisk::new();
        let mut store = disk.open().unwrap();
        assert!(matches!(disk.open(), Err(StoreError::Locked { .. })));
        store.commit(put("a", "1")).unwrap();
        disk.crash();
        assert_eq!(store.get(b"a"), Err(StoreError::Closed));
        let second = disk.open().unwrap();
        drop(store);
        assert_eq!(second.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
        assert!(
            disk.open().is_err(),
            "dropping a dead store must not unlock the living one"
        );
    }

    #[test]
    fn a_lying_disk_loses_its_last_commits() {
        let disk = MemoryDisk::new();
        let mut store = disk.open().unwrap();
        store.commit(put("a", "1")).unwrap();
        disk.set_lying(true);
        store.commit(put("a", "2")).unwrap();
        store.commit(put("a", "3")).unwrap();
        store.commit(put("b", "1")).unwrap();
        assert_eq!(store.get(b"a").unwrap().as_deref(), Some(b"3".as_slice()));
        let image = disk.durable_image();
        for disk in [image, disk] {
            let store = disk.reopen().unwrap();
            assert_eq!(store.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
            assert_eq!(store.get(b"b").unwrap(), None);
        }
    }

    #[test]
    fn a_failed_commit_closes_the_store_and_is_whole_or_absent() {
        for (fault, expect) in [
            (CommitFault::Before, None),
            (CommitFault::After, Some(b"1")),
        ] {
            let disk = MemoryDisk::new();
            let mut store = disk.open().unwrap();
            disk.fail_commit(2, fault);
            store.commit(put("x", "0")).unwrap();
            assert!(matches!(
                store.commit(put("a", "1")),
                Err(StoreError::Io { .. })
            ));
            assert_eq!(store.commit(put("b", "1")), Err(StoreError::Closed));
            assert_eq!(store.get(b"x"), Err(StoreError::Closed));
            drop(store);
            let store = disk.open().unwrap();
            assert_eq!(
                store.get(b"a").unwrap().as_deref(),
                expect.map(<[u8; 1]>::as_slice)
            );
            assert_eq!(
                (disk.commits(), disk.len()),
                (2, 1 + usize::from(expect.is_some()))
            );
        }
    }

    #[test]
    fn full_disks_and_failing_reads_are_scripted() {
        let disk = MemoryDisk::new();
        let mut store = disk.open().unwrap();
        disk.fail_read_after(1);
        store.get(b"a").unwrap();
        assert!(matches!(
            store.scan(&KeyRange::all(), 1),
            Err(StoreError::Io { .. })
        ));
        store.get(b"a").unwrap();
        disk.set_full(true);
        assert!(matches!(
            store.commit(put("a", "1")),
            Err(StoreError::Full { .. })
        ));
        disk.set_full(false);
        let mut store = disk.reopen().unwrap();
        store.commit(put("a", "1")).unwrap();
        assert_eq!(store.size_on_disk().unwrap(), 2);
    }
}
