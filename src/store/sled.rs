//! The store on sled 0.34. The only file that names it.
//!
//! What is done here because of measurements and readings of its source:
//!
//! - `flush` ends in `sync_file_range`, which is no `fsync`: every commit also calls `sync_data` on
//!   the data file (sled issues 1351, 1452).
//! - A page above about 128 KiB goes to a file in `blobs/` that sled never syncs: new ones are synced
//!   before the commit returns.
//! - Unsynced files (`conf`, the directories) are synced once, when the store is made.
//! - An empty or missing data file opens as a new database: an identity that is stored in it is
//!   compared with the marker, so that a lost file is damage and not a first run.
//! - It panics where it finds impossible bytes: every call is guarded, and a panic is damage.
//! - Its threads may outlive a dropped database by a few milliseconds, with its lock: opening waits,
//!   because [`Home`](super::dir::Home) already made sure that there is no other process, and so does
//!   closing, since those threads find files by name.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use super::disk::{Engine, damaged, guarded};
use super::{KeyRange, Row, StoreError, WriteBatch, dir};

/// How often sled looks for room to reuse. Its default of half a second has it sync a file in which nothing
/// changed twice a second; what is committed is synced by the commit.
const TIDYING_MS: u64 = 2000;

/// How often and how long opening and closing wait for the lock of a database that was just dropped.
const LOCK_TRIES: u32 = 500;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// The tree, beside the one with the rows, that holds the identity.
const IDENTITY_TREE: &[u8] = b"crossdock";
const IDENTITY_KEY: &[u8] = b"id";

/// An open database.
pub(super) struct Sled {
    db: sled::Db,
    path: PathBuf,
    /// The data file, opened a second time because sled does not lend its own.
    file: File,
    blobs: Mutex<BTreeSet<OsString>>,
}

impl fmt::Debug for Sled {
    /// Without sled's own view, which prints every row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Sled {
    /// Makes the files, with an identity in them.
    pub(super) fn make(path: &Path, id: Uuid, cache: u64) -> Result<Self, StoreError> {
        let sled = Self::open_any(path, cache)?;
        sled.guarded("writing the identity", || {
            sled.db
                .open_tree(IDENTITY_TREE)?
                .insert(IDENTITY_KEY, id.as_bytes())?;
            sled.db.flush().map(|_| ())
        })?;
        dir::sync_tree(path)?;
        Ok(sled)
    }

    /// Opens the files, which must have this identity.
    pub(super) fn open(path: &Path, id: Uuid, cache: u64) -> Result<Self, StoreError> {
        let data = path.join("db");
        if fs::metadata(&data).map_or(0, |meta| meta.len()) == 0 {
            return Err(damaged(path, "its data file is missing or empty"));
        }
        let sled = Self::open_any(path, cache)?;
        let found = sled.guarded("reading the identity", || {
            sled.db.open_tree(IDENTITY_TREE)?.get(IDENTITY_KEY)
        })?;
        match found {
            Some(found) if *found == *id.as_bytes() => Ok(sled),
            Some(_) => Err(damaged(path, "its files belong to another store")),
            None => Err(damaged(path, "its data file was replaced or cut off")),
        }
    }

    fn open_any(path: &Path, cache: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache)
            .flush_every_ms(Some(TIDYING_MS));
        let mut tries = 0;
        let db = loop {
            let opened = guarded(path, "opening", || {
                config.open().map_err(|error| told(path, "opening", error))
            });
            tries += 1;
            match opened {
                Err(StoreError::Locked { .. }) if tries < LOCK_TRIES => thread::sleep(LOCK_WAIT),
                opened => break opened?,
            }
        };
        let data = path.join("db");
        let file = File::options().write(true).open(&data);
        let file = file.map_err(|error| StoreError::io_at("opening", &data, &error))?;
        let sled = Self {
            db,
            path: path.to_owned(),
            file,
            blobs: Mutex::default(),
        };
        sled.sync_blobs()?;
        Ok(sled)
    }

    fn iter(&self, range: &KeyRange) -> sled::Iter {
        match &range.end {
            Some(end) => self.db.range(range.start.as_slice()..end.as_slice()),
            None => self.db.range(range.start.as_slice()..),
        }
    }

    /// Syncs the files of large pages that are new since the last time.
    fn sync_blobs(&self) -> Result<(), StoreError> {
        let dir = self.path.join("blobs");
        let failed = |what: &str, error: &std::io::Error| StoreError::io_at(what, &dir, error);
        let mut known = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = BTreeSet::new();
        let mut new = false;
        for entry in fs::read_dir(&dir).map_err(|error| failed("listing", &error))? {
            let name = entry
                .map_err(|error| failed("listing", &error))?
                .file_name();
            if !known.contains(&name) {
                match File::open(dir.join(&name)) {
                    Ok(file) => file.sync_all().map_err(|error| failed("syncing", &error))?,
                    // Replaced meanwhile by a newer page, whose file stands beside it.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(failed("opening a file in", &error)),
                }
                new = true;
            }
            present.insert(name);
        }
        *known = present;
        if new { dir::sync_dir(&dir) } else { Ok(()) }
    }

    fn guarded<T>(
        &self,
        doing: &str,
        work: impl FnOnce() -> Result<T, sled::Error>,
    ) -> Result<T, StoreError> {
        guarded(&self.path, doing, || {
            work().map_err(|error| told(&self.path, doing, error))
        })
    }
}

impl Engine for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.guarded("reading", || {
            Ok(self.db.get(key)?.map(|value| value.to_vec()))
        })
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.guarded("scanning", || {
            self.iter(range).take(limit).map(row).collect()
        })
    }

    fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        self.guarded("scanning", || {
            self.iter(range).next_back().map(row).transpose()
        })
    }

    fn commit(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.iter() {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.guarded("writing", || {
            self.db.apply_batch(writes)?;
            self.db.flush().map(|_| ())
        })?;
        self.sync_blobs()?;
        self.file
            .sync_data()
            .map_err(|error| StoreError::io_at("syncing", &self.path, &error))
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let Self { db, path, file, .. } = *self;
        guarded(&path, "closing", || {
            drop(db);
            Ok(())
        })?;
        for _ in 0..LOCK_TRIES {
            if file.try_lock().is_ok() {
                return Ok(());
            }
            thread::sleep(LOCK_WAIT);
        }
        Err(StoreError::Locked {
            path,
            by: "threads of the engine that do not end".into(),
        })
    }
}

fn row(found: Result<(sled::IVec, sled::IVec), sled::Error>) -> Result<Row, sled::Error> {
    found.map(|(key, value)| Row {
        key: key.to_vec(),
        value: value.to_vec(),
    })
}

/// What an error of sled means.
fn told(path: &Path, doing: &str, error: sled::Error) -> StoreError {
    let damage = |what: String| damaged(path, format!("{what}, while {doing}"));
    match error {
        sled::Error::Io(error) if error.to_string().contains("acquire lock") => {
            StoreError::Locked {
                path: path.to_owned(),
                by: "another process".into(),
            }
        }
        // Inside a data file, too few bytes are damage and not a failing disk.
        sled::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            damage("a file is cut off".into())
        }
        sled::Error::Io(error) => StoreError::io_at(doing, path, &error),
        sled::Error::Corruption { .. } => damage("sled found a damaged page".into()),
        error => damage(error.to_string()),
    }
}
