//! Where everything that must survive a crash stands: one ordered map from bytes to bytes.
//!
//! ```text
//! Table, Blocks      typed rows; a million small values in a few thousand rows   table.rs  blocks.rs
//!   codec, key       value <-> bytes with a version; tuple <-> bytes in order    codec.rs  key.rs
//! Txn                staged writes over what is committed                        txn.rs
//! Store              get, scan, last, commit                                     here
//!   DiskStore        a directory with an engine in it                            disk.rs   dir.rs
//!     sled, redb     the engines on disk                                         sled.rs   redb.rs
//!   MemoryStore      an engine for simulation                                    memory.rs
//! portable           export, import, check                                       portable.rs
//! ```
//!
//! Invariants:
//!
//! - A commit is whole or absent after any crash, and durable when [`Store::commit`] returns `Ok`.
//! - After a failed commit nobody knows whether it took effect; the store answers
//!   [`StoreError::Closed`] until it is opened again and the truth is read from disk.
//! - A store that cannot be read is never taken for a new one: that would send every order twice.
//! - Only the engine commits. Everybody else stages in a [`Txn`] or reads.
//!
//! Deliberately absent: transactions that conflict (there is one writer), iterators that live longer
//! than a call (an embedded and a remote engine disagree on their meaning), and anything typed below
//! [`Table`].

use std::collections::BTreeMap;
use std::fmt::Debug;

pub mod blocks;
pub mod codec;
pub mod dir;
pub mod disk;
pub mod error;
pub mod key;
pub mod memory;
pub mod portable;
mod redb;
mod sled;
pub mod space;
pub mod table;
pub mod txn;

pub use blocks::Blocks;
pub use codec::Versioned;
pub use dir::Birth;
pub use disk::{Compacted, DiskStore};
pub use error::StoreError;
pub use table::Table;
pub use txn::Txn;

/// The format of rows, of a store's directory and of an export. A row's own version byte tells of a value
/// that changed; this one of what no row can tell: which tables there are, and what stands in which. Since
/// format 2 records and intents have rows of their own.
pub const FORMAT: u32 = 2;

/// How many rows a commit should have at most. Callers cut their units so that a commit stays below.
///
/// Measured with sled: a million small rows in commits of 500 take a tenth of the disk that they take
/// in commits of 10,000.
pub const MAX_BATCH_ROWS: usize = 500;

/// How many rows an engine accepts in one commit; more is [`StoreError::TooLarge`]. A group of units
/// may pass [`MAX_BATCH_ROWS`] by its last unit, so this is well above it.
pub const HARD_BATCH_ROWS: usize = 4096;

/// How many bytes of keys and values an engine accepts in one commit.
pub const HARD_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// The longest key an engine accepts, in bytes after encoding.
pub const MAX_KEY_BYTES: usize = 2 * 1024;

/// The largest value an engine accepts, in bytes after encoding.
///
/// A page of sled holds up to 17 rows and becomes a file of its own above 128 KiB, so rows above 7 KiB
/// are legal but slow: every write in their neighbourhood may rewrite them. Pack what is large
/// ([`codec::pack`]) and keep it in a table of its own.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;

/// One row as it stands in an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Table prefix and encoded key, see [`key`].
    pub key: Vec<u8>,
    /// Encoded value, see [`codec`] and [`blocks`].
    pub value: Vec<u8>,
}

/// The keys `start <= key < end`, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that belongs to it.
    pub start: Vec<u8>,
    /// The first key that no longer belongs to it; `None` has no end.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self {
            start: Vec::new(),
            end: None,
        }
    }

    /// The keys `start <= key < end`.
    pub fn between(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self {
            start: start.into(),
            end: Some(end.into()),
        }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let mut end = start.clone();
        // The successor of a prefix: drop trailing 0xFF, add one to the last byte that is left.
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        match end.last_mut() {
            Some(last) => *last += 1,
            None => return Self { start, end: None },
        }
        Self {
            start,
            end: Some(end),
        }
    }

    /// The part of this range behind `key`: where the next page of a scan begins.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        if key >= self.start.as_slice() {
            // `key` with a zero byte behind it is the smallest key greater than `key`.
            self.start.clear();
            self.start.extend_from_slice(key);
            self.start.push(0);
        }
        self
    }

    /// The part of this range before `key`.
    #[must_use]
    pub fn before(mut self, key: &[u8]) -> Self {
        if self.end.as_deref().is_none_or(|end| key < end) {
            self.end = Some(key.to_vec());
        }
        self
    }

    /// Whether all its keys begin with the same byte: are of one table.
    pub fn is_of_one_table(&self) -> bool {
        let (Some(first), Some(end)) = (self.start.first(), self.end.as_deref()) else {
            return false;
        };
        match end {
            [] => true, // no key at all
            [last] => last == first || first.checked_add(1) == Some(*last),
            [last, ..] => last == first,
        }
    }

    /// Whether `key` belongs to it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// Whether no key can belong to it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// Writes that become durable together. Of several writes to one key the last one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.set(key.into(), Some(value.into()));
    }

    /// Removes a row; removing an absent one is allowed.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.set(key.into(), None);
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let key_len = key.len();
        self.bytes += key_len + value.as_ref().map_or(0, Vec::len);
        if let Some(old) = self.rows.insert(key, value) {
            self.bytes -= key_len + old.map_or(0, |old| old.len());
        }
    }

    /// How many rows it writes or removes.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its rows in key order; `None` removes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Whether an engine may take it: every engine refuses the same batches, so that what passes in
    /// simulation passes on disk.
    pub fn check_limits(&self) -> Result<(), StoreError> {
        StoreError::check_size("rows in one commit", self.len(), HARD_BATCH_ROWS)?;
        StoreError::check_size("bytes in one commit", self.bytes, HARD_BATCH_BYTES)?;
        for (key, value) in &self.rows {
            StoreError::check_size("bytes in a key", key.len(), MAX_KEY_BYTES)?;
            let value_len = value.as_ref().map_or(0, Vec::len);
            StoreError::check_size("bytes in a value", value_len, MAX_VALUE_BYTES)?;
        }
        Ok(())
    }
}

/// An ordered, durable map from bytes to bytes with one writer.
///
/// `Sync`, so that the admin API may read while the writer is idle; nothing here waits on the network
/// or knows of tasks, a call blocks its thread for as long as the disk takes.
pub trait Store: Send + Sync + Debug {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The first `limit` rows of `range`, in key order.
    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// The row with the greatest key of `range`.
    fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError>;

    /// Applies all of `batch`, durably: when this returns `Ok`, a power cut loses none of it.
    ///
    /// After [`StoreError::TooLarge`] nothing has happened and the store goes on. After any other
    /// error the batch is whole or absent, nobody knows which, and every further call returns
    /// [`StoreError::Closed`]: open the store again.
    fn commit(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        self.commit_beside(&batch)
    }

    /// The same beside reads on other threads, which see each row as it was before or as it is after. There is one
    /// commit at a time: whoever shares a store sees to it.
    fn commit_beside(&self, batch: &WriteBatch) -> Result<(), StoreError>;

    /// Bytes that the store takes on disk; zero for one that has none.
    fn size_on_disk(&self) -> Result<u64, StoreError>;

    /// Gives the room of what was overwritten and removed back to the disk, if there is any to give.
    /// Takes as long as reading and writing all rows.
    fn compact(&mut self) -> Result<Option<Compacted>, StoreError>;

    /// The name of the engine as in `store.engine`.
    fn name(&self) -> &'static str;
}

/// The engines that keep a store on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// sled 0.34.
    Sled,
    /// redb 4.
    #[default]
    Redb,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sled, Self::Redb];

    /// Its name in `store.engine`, in the marker of a store and as the name of its directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        }
    }

    /// The engine of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_holds_exactly_its_prefix() {
        let range = KeyRange::prefix(b"a\xff".as_slice());
        assert_eq!(range.end.as_deref(), Some(b"b".as_slice()));
        assert!(range.contains(b"a\xff"));
        assert!(range.contains(b"a\xff\xff\xff"));
        assert!(!range.contains(b"a\xfe"));
        assert!(!range.contains(b"b"));
        assert_eq!(KeyRange::prefix(b"\xff\xff".as_slice()).end, None);
        assert_eq!(KeyRange::prefix(Vec::new()), KeyRange::all());
    }

    #[test]
    fn after_and_before_only_narrow() {
        let range = KeyRange::between(b"b".as_slice(), b"d".as_slice());
        assert_eq!(range.clone().after(b"a"), range);
        assert_eq!(range.clone().before(b"x"), range);
        assert!(!range.clone().after(b"c").contains(b"c"));
        assert!(range.clone().after(b"c").contains(b"c\0"));
        assert!(range.clone().before(b"b").is_empty());
    }

    #[test]
    fn the_last_write_of_a_key_counts_and_so_do_the_bytes() {
        let mut batch = WriteBatch::new();
        batch.put(b"key".as_slice(), vec![1; 10]);
        batch.put(b"key".as_slice(), vec![2; 4]);
        assert_eq!((batch.len(), batch.bytes()), (1, 7));
        batch.delete(b"key".as_slice());
        assert_eq!((batch.len(), batch.bytes()), (1, 3));
        assert_eq!(
            batch.iter().collect::<Vec<_>>(),
            [(b"key".as_slice(), None)]
        );
    }

    #[test]
    fn batches_have_limits() {
        let mut batch = WriteBatch::new();
        batch.put(b"key".as_slice(), vec![0; MAX_VALUE_BYTES]);
        batch.check_limits().unwrap();
        batch.put(b"key".as_slice(), vec![0; MAX_VALUE_BYTES + 1]);
        let error = batch.check_limits().unwrap_err();
        assert_eq!(
            error.to_string(),
            "262145 bytes in a value; the store takes at most 262144"
        );
        let mut batch = WriteBatch::new();
        for n in 0..=HARD_BATCH_ROWS {
            batch.put(n.to_be_bytes(), Vec::new());
        }
        assert!(matches!(
            batch.check_limits(),
            Err(StoreError::TooLarge { .. })
        ));
    }
}
