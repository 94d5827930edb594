//! The store on redb 4. The only file that names it.
//!
//! What is done here because of measurements and readings of its documentation:
//!
//! - Its default durability ends a commit in one `fdatasync`; nothing is added to it.
//! - Killed in its very first creation it leaves a file that never opens: the marker of
//!   [`dir`] says that nothing was committed yet, and the next start makes it anew.
//! - A transaction that only reads keeps pages from being used again: the one that all reads share is
//!   dropped before each commit, and behind it, so that nobody reads what was before. It is made under the lock
//!   under which it is dropped.
//! - After a kill it repairs itself by a walk through the file when it is opened.

use std::fmt;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadOnlyTable, ReadableDatabase as _, TableDefinition};
use uuid::Uuid;

use super::disk::{Engine, damaged, guarded};
use super::{KeyRange, Row, StoreError, WriteBatch, dir};

const DATA: &str = "data";
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// The table, beside the one with the rows, that holds the identity.
const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("crossdock");
const IDENTITY_KEY: &str = "id";

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// An open database.
pub(super) struct Redb {
    db: Database,
    path: PathBuf,
    /// The rows as they are committed, for all reads until the next commit.
    rows: RwLock<Option<Rows>>,
}

impl fmt::Debug for Redb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redb")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Redb {
    /// Makes the file, with an identity in it.
    pub(super) fn make(path: &Path, id: Uuid, cache: u64) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(|error| StoreError::io_at("making", path, &error))?;
        let db = call(path, "making", || {
            let db = builder(cache).create(path.join(DATA))?;
            let write = db.begin_write()?;
            write.open_table(ROWS)?;
            write
                .open_table(IDENTITY)?
                .insert(IDENTITY_KEY, id.as_bytes().as_slice())?;
            write.commit()?;
            Ok(db)
        })?;
        dir::sync_tree(path)?;
        Ok(Self::of(db, path))
    }

    /// Opens the file, which must have this identity.
    pub(super) fn open(path: &Path, id: Uuid, cache: u64) -> Result<Self, StoreError> {
        let data = path.join(DATA);
        if fs::metadata(&data).map_or(0, |meta| meta.len()) == 0 {
            return Err(damaged(path, "its data file is missing or empty"));
        }
        let (db, found) = call(path, "opening", || {
            let db = builder(cache).open(&data)?;
            let read = db.begin_read()?;
            let found = read.open_table(IDENTITY)?.get(IDENTITY_KEY)?;
            let found = found.map(|found| found.value().to_vec());
            Ok((db, found))
        })?;
        match found {
            Some(found) if found == id.as_bytes() => Ok(Self::of(db, path)),
            Some(_) => Err(damaged(path, "its files belong to another store")),
            None => Err(damaged(path, "its data file was replaced or cut off")),
        }
    }

    fn of(db: Database, path: &Path) -> Self {
        Self {
            db,
            path: path.to_owned(),
            rows: RwLock::new(None),
        }
    }

    /// Runs a read on what is committed.
    fn read<T>(&self, work: impl FnOnce(&Rows) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        call(&self.path, "reading", || {
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(rows) = rows.as_ref() {
                return work(rows);
            }
            drop(rows);
            let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
            if rows.is_none() {
                *rows = Some(self.db.begin_read()?.open_table(ROWS)?);
            }
            rows.as_ref().map_or(Err(redb::Error::DatabaseClosed), work)
        })
    }

    /// Nobody reads what is committed now any more.
    fn forget_read(&self) {
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Engine for Redb {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|rows| Ok(rows.get(key)?.map(|value| value.value().to_vec())))
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.read(|rows| {
            let mut found = Vec::new();
            for entry in rows.range::<&[u8]>(bounds(range))?.take(limit) {
                let (key, value) = entry?;
                found.push(Row {
                    key: key.value().to_vec(),
                    value: value.value().to_vec(),
                });
            }
            Ok(found)
        })
    }

    fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        self.read(|rows| {
            let Some(entry) = rows.range::<&[u8]>(bounds(range))?.next_back() else {
                return Ok(None);
            };
            let (key, value) = entry?;
            Ok(Some(Row {
                key: key.value().to_vec(),
                value: value.value().to_vec(),
            }))
        })
    }

    fn commit(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        self.forget_read();
        let committed = call(&self.path, "writing", || {
            let write = self.db.begin_write()?;
            let mut rows = write.open_table(ROWS)?;
            for (key, value) in batch.iter() {
                match value {
                    Some(value) => drop(rows.insert(key, value)?),
                    None => drop(rows.remove(key)?),
                }
            }
            drop(rows);
            Ok(write.commit()?)
        });
        self.forget_read();
        committed
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let Self { db, path, rows } = *self;
        drop(rows);
        call(&path, "closing", || Ok(db.close()?))
    }
}

fn builder(cache: u64) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(usize::try_from(cache).unwrap_or(usize::MAX));
    builder
}

fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = range.end.as_deref();
    (
        Bound::Included(range.start.as_slice()),
        end.map_or(Bound::Unbounded, Bound::Excluded),
    )
}

fn call<T>(
    path: &Path,
    doing: &str,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    guarded(path, doing, || {
        work().map_err(|error| told(path, doing, error))
    })
}

/// What an error of redb means.
fn told(path: &Path, doing: &str, error: redb::Error) -> StoreError {
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked {
            path: path.to_owned(),
            by: "another process".into(),
        },
        // Inside a data file, too few bytes are damage and not a failing disk.
        redb::Error::Io(error)
            if !matches!(
                error.kind(),
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData
            ) =>
        {
            StoreError::io_at(doing, path, &error)
        }
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => StoreError::Closed,
        error => damaged(path, format!("{error}, while {doing}")),
    }
}
