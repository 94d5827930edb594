//! A sorted map from short texts (SKUs) to small values, a few hundred neighbours to a row.
//!
//! An embedded store takes tens of seconds and gigabytes for a million rows, and well under a second
//! for the same values in blocks. A map lives under the prefix of its table and a scope (connection,
//! stream); the key of a row is the first key of its block.
//!
//! Blocks follow the keys: a block that grows above [`MAX_ENTRIES`] is split, one that shrinks below
//! [`SMALL_ENTRIES`] joins its successor. Reading one key decodes one block; changing many sorted keys
//! is one pass over the blocks that hold them ([`Blocks::update`]), and a block whose values stay the
//! same is not written.

use std::ops::{Bound, ControlFlow};

use super::key::{EncodeKey, KeyReader, encode_text};
use super::table::{Shape, TableInfo, describe};
use super::{KeyRange, Row, StoreError, Txn};

pub mod block;
mod cursor;
mod update;

use block::{BadBlock, Entries};
use cursor::Cursor;
pub use update::{Edit, Step};

/// How many entries a block gets when many are written at once.
pub const TARGET_ENTRIES: usize = 256;
/// How many entries a block has at most.
pub const MAX_ENTRIES: usize = 512;
/// A changed block with fewer entries joins its successor.
pub const SMALL_ENTRIES: usize = 64;
/// About how many bytes a block gets when many entries are written at once.
pub const TARGET_BYTES: usize = 4 * 1024;
/// About how many bytes a block has at most.
///
/// A page of sled holds up to 17 rows, and one above 128 KiB becomes a file of its own: 17 blocks must
/// fit. Measured with a million values of 40 bytes, larger blocks make a first load no faster, and a
/// changed hundredth, a single key and a single commit slower.
pub const MAX_BYTES: usize = 7 * 1024;
/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 4 * 1024;

/// A sorted map in blocks. Cheap to make; holds no data.
#[derive(Debug, Clone)]
pub struct Blocks {
    info: TableInfo,
    /// Table prefix and scope: what the key of each row begins with.
    prefix: Vec<u8>,
}

impl Blocks {
    /// The map under `scope` in the table that `info` describes.
    ///
    /// # Panics
    ///
    /// When `info` is a table of plain rows: a defect of ours.
    pub fn new(info: TableInfo, scope: &impl EncodeKey) -> Self {
        assert!(
            info.shape == Shape::Blocks,
            "{} is a table of rows, not of blocks",
            info.name
        );
        let mut prefix = vec![info.prefix];
        scope.encode(&mut prefix);
        Self { info, prefix }
    }

    /// The table it stands in.
    pub fn info(&self) -> &TableInfo {
        &self.info
    }

    /// The value under `key`.
    pub fn get(&self, txn: &Txn<'_>, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let up_to = KeyRange {
            start: self.prefix.clone(),
            end: Some(self.row_key_behind(key)),
        };
        let Some(row) = txn.last(&up_to)? else {
            return Ok(None);
        };
        let mut entries = open(&row)?;
        let value = find(&mut entries, key).map_err(|bad| damaged(&row, bad))?;
        Ok(value.map(<[u8]>::to_vec))
    }

    /// The values under `keys`, in their order; decodes each block once.
    ///
    /// # Panics
    ///
    /// When `keys` are not strictly ascending: a defect of ours.
    pub fn get_many<K: AsRef<str>>(
        &self,
        txn: &Txn<'_>,
        keys: &[K],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut values = Vec::with_capacity(keys.len());
        self.look(txn, keys, |_, value| values.push(value.map(<[u8]>::to_vec)))?;
        Ok(values)
    }

    /// Shows the value under each of `keys`, in their order and with its place among them; decodes
    /// each block once and copies nothing.
    ///
    /// # Panics
    ///
    /// When `keys` are not strictly ascending: a defect of ours.
    pub fn look<K: AsRef<str>>(
        &self,
        txn: &Txn<'_>,
        keys: &[K],
        mut show: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<(), StoreError> {
        let mut cursor = Cursor::new(self);
        let mut keys = keys.iter().map(AsRef::as_ref).enumerate().peekable();
        let mut previous: Option<&str> = None;
        while let Some((_, key)) = keys.peek() {
            cursor.seek(txn, key)?;
            let row = cursor.pop(txn)?;
            let upper = cursor.peek_first_key(txn)?;
            let inside = |key: &str| upper.as_deref().is_none_or(|upper| key < upper);
            let mut entries = row.as_ref().map_or(Ok(Entries::none()), open)?;
            let mut standing = advance(&mut entries, row.as_ref())?;
            while let Some((n, key)) = keys.next_if(|(_, key)| inside(key)) {
                assert!(
                    previous.is_none_or(|previous| previous < key),
                    "keys must ascend: {key:?}"
                );
                previous = Some(key);
                while standing && entries.key() < key.as_bytes() {
                    standing = advance(&mut entries, row.as_ref())?;
                }
                let found = standing && entries.key() == key.as_bytes();
                show(n, found.then(|| entries.value()));
            }
        }
        Ok(())
    }

    /// Shows every entry from `from` on to `show`, in order, until it breaks off.
    pub fn visit(
        &self,
        txn: &Txn<'_>,
        from: Bound<&str>,
        mut show: impl FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let wanted = |key: &str| match from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
        };
        let mut cursor = Cursor::new(self);
        match from {
            Bound::Included(key) | Bound::Excluded(key) => cursor.seek(txn, key)?,
            Bound::Unbounded => {}
        }
        while let Some(row) = cursor.pop(txn)? {
            let mut entries = open(&row)?;
            while advance(&mut entries, Some(&row))? {
                let key = entries.key_text().map_err(|bad| damaged(&row, bad))?;
                if wanted(key) && show(key, entries.value()).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The first `limit` entries from `from` on; `Bound::Excluded` of the last key is the next page.
    pub fn scan(
        &self,
        txn: &Txn<'_>,
        from: Bound<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let mut entries = Vec::new();
        if limit == 0 {
            return Ok(entries);
        }
        self.visit(txn, from, |key, value| {
            entries.push((key.to_owned(), value.to_vec()));
            if entries.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(entries)
    }

    /// How many entries there are; reads every block and decodes none.
    pub fn count(&self, txn: &Txn<'_>) -> Result<u64, StoreError> {
        let mut cursor = Cursor::new(self);
        let mut count = 0;
        while let Some(row) = cursor.pop(txn)? {
            count += open(&row)?.left() as u64;
        }
        Ok(count)
    }

    /// The key of the block that begins with `key`.
    fn row_key(&self, key: &str) -> Vec<u8> {
        let mut bytes = self.prefix.clone();
        encode_text(key, &mut bytes);
        bytes
    }

    /// The smallest row key behind the one of `key`.
    fn row_key_behind(&self, key: &str) -> Vec<u8> {
        let mut bytes = self.row_key(key);
        bytes.push(0);
        bytes
    }

    /// The first key of a block, from the key of its row.
    fn first_key(&self, row: &Row) -> Result<String, StoreError> {
        let bytes = row.key.get(self.prefix.len()..).unwrap_or_default();
        KeyReader::new(bytes)
            .text()
            .map_err(|error| StoreError::corrupt_row(describe(&row.key), error.to_string()))
    }
}

/// Decodes a block and judges it against the key of its row; returns the number of entries. For a
/// check of a store.
pub fn check_row(row: &Row) -> Result<usize, StoreError> {
    let count = block::check(&row.value).map_err(|bad| damaged(row, bad))?;
    let mut entries = open(row)?;
    advance(&mut entries, Some(row))?;
    let mut first = Vec::new();
    encode_text(
        entries.key_text().map_err(|bad| damaged(row, bad))?,
        &mut first,
    );
    if row.key.ends_with(&first) {
        Ok(count)
    } else {
        Err(damaged(
            row,
            BadBlock::Damaged("its first entry belongs under another key"),
        ))
    }
}

fn open(row: &Row) -> Result<Entries<'_>, StoreError> {
    Entries::open(&row.value).map_err(|bad| damaged(row, bad))
}

fn advance(entries: &mut Entries<'_>, row: Option<&Row>) -> Result<bool, StoreError> {
    entries.advance().map_err(|bad| match row {
        Some(row) => damaged(row, bad),
        None => StoreError::corrupt_row("without a key", bad.to_string()),
    })
}

fn find<'a>(entries: &mut Entries<'a>, key: &str) -> Result<Option<&'a [u8]>, BadBlock> {
    while entries.advance()? {
        if entries.key() >= key.as_bytes() {
            return Ok((entries.key() == key.as_bytes()).then(|| entries.value()));
        }
    }
    Ok(None)
}

fn damaged(row: &Row, bad: BadBlock) -> StoreError {
    match bad {
        BadBlock::Damaged(what) => StoreError::corrupt_row(describe(&row.key), what),
        BadBlock::TooNew(version) => StoreError::FormatTooNew {
            path: format!("row {}", describe(&row.key)),
            found: u32::from(version),
            known: u32::from(BadBlock::KNOWN),
        },
    }
}

#[cfg(test)]
mod tests;
