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
//! - After a failed write nobody knows what it holds in memory: the store closes.
//! - Its lock may outlive a dropped database by a few milliseconds: opening waits, because [`Home`]
//!   already made sure that there is no other process.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use super::dir::{self, Birth, Home, Phase, UNREADABLE_HELP};
use super::{KeyRange, Row, Store, StoreError, WriteBatch};

/// The name of the engine, and of its directory.
pub const NAME: &str = "sled";

/// Sled's own cache. Its default of 1 GiB is taken seriously by sled; blocks make reads few.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// How often and how long opening waits for the lock of a database that was just dropped.
const LOCK_TRIES: u32 = 200;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// The tree, beside the one with the rows, that holds the identity.
const IDENTITY_TREE: &[u8] = b"crossdock";
const IDENTITY_KEY: &[u8] = b"id";

/// A store on sled.
#[derive(Debug)]
pub struct SledStore {
    engine: Engine,
    closed: bool,
    first_run: bool,
    /// Dropped last: the directory is ours until the engine has let go of it.
    home: Home,
}

impl SledStore {
    /// Opens the store in `dir`, or makes it if the directory is missing or empty.
    pub fn open(dir: &Path, birth: Birth) -> Result<Self, StoreError> {
        Self::open_with(dir, birth, CACHE_BYTES)
    }

    /// The same, with so many bytes of cache.
    pub fn open_with(dir: &Path, birth: Birth, cache: u64) -> Result<Self, StoreError> {
        let home = Home::claim(dir)?;
        if home.is_ready(NAME)? {
            return Self::open_ready(home, cache);
        }
        let mut store = Self::make(home, birth, Phase::Creating, cache)?;
        store.home.set_phase(Phase::Ready)?;
        Ok(store)
    }

    /// Opens a store that must already be there.
    pub fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        let home = Home::claim_existing(dir)?;
        if home.is_ready(NAME)? {
            return Self::open_ready(home, CACHE_BYTES);
        }
        Err(StoreError::Refused {
            path: dir.to_owned(),
            what: "the store was never finished and holds nothing".into(),
            help: "`crossdock run` makes it anew".into(),
        })
    }

    /// Makes a store in an empty directory that stays unusable until [`finish`](Self::finish).
    pub fn begin_import(dir: &Path, birth: Birth) -> Result<Self, StoreError> {
        let home = Home::claim(dir)?;
        if home.is_ready(NAME)? {
            return Err(StoreError::Refused {
                path: dir.to_owned(),
                what: "there already is a store here".into(),
                help: "import into an empty directory".into(),
            });
        }
        Self::make(home, birth, Phase::Importing, CACHE_BYTES)
    }

    /// Ends what [`begin_import`](Self::begin_import) began.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.home.set_phase(Phase::Ready)
    }

    /// Whether this opening made the store.
    pub fn first_run(&self) -> bool {
        self.first_run
    }

    /// The identity that the store got when it was made.
    pub fn id(&self) -> Option<Uuid> {
        self.home.marker().map(|marker| marker.id)
    }

    fn open_ready(home: Home, cache: u64) -> Result<Self, StoreError> {
        let path = home.engine_dir(NAME);
        let id = home.marker().map(|marker| marker.id).unwrap_or_default();
        let engine = Engine::open_existing(&path, id, cache)?;
        Ok(Self {
            engine,
            closed: false,
            first_run: false,
            home,
        })
    }

    fn make(mut home: Home, birth: Birth, phase: Phase, cache: u64) -> Result<Self, StoreError> {
        home.mark(NAME, birth, phase)?;
        let path = home.engine_dir(NAME);
        // What a kill left of an earlier try; nothing was ever committed to it.
        dir::remove_dir(&path)?;
        let engine = Engine::make(&path, birth.id, cache)?;
        dir::sync_dir(home.dir())?;
        Ok(Self {
            engine,
            closed: false,
            first_run: true,
            home,
        })
    }

    fn alive(&self) -> Result<&Engine, StoreError> {
        if self.closed {
            Err(StoreError::Closed)
        } else {
            Ok(&self.engine)
        }
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.alive()?.scan(range, limit)
    }

    fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        self.alive()?.last(range)
    }

    fn commit(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        self.alive()?;
        batch.check_limits()?;
        let committed = self.engine.commit(batch);
        self.closed = committed.is_err();
        committed
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        dir::size_of(&self.engine.path)
    }

    fn name(&self) -> &'static str {
        NAME
    }
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes on disk before.
    pub before: u64,
    /// Bytes on disk after.
    pub after: u64,
    /// Rows that were copied.
    pub rows: u64,
}

/// Copies the live rows of a store that nobody has open to new files and puts those in place of the
/// old ones. A kill at any moment leaves the old files or the new ones. Needs free space for the live
/// rows. Worth it when [`Store::size_on_disk`] is several times what an export takes.
pub fn compact(dir: &Path) -> Result<Compacted, StoreError> {
    let store = SledStore::open_existing(dir)?;
    let SledStore {
        engine: old, home, ..
    } = store;
    let id = home.marker().map(|marker| marker.id).unwrap_or_default();
    let new_path = home.new_engine_dir(NAME);
    dir::remove_dir(&new_path)?;
    let before = dir::size_of(&old.path)?;
    let mut new = Engine::make(&new_path, id, CACHE_BYTES)?;
    let rows = copy(&old, &mut new)?;
    drop(old);
    drop(new);
    dir::sync_tree(&new_path)?;
    home.swap_engine()?;
    let after = dir::size_of(&home.engine_dir(NAME))?;
    Ok(Compacted {
        before,
        after,
        rows,
    })
}

fn copy(old: &Engine, new: &mut Engine) -> Result<u64, StoreError> {
    let mut range = KeyRange::all();
    let mut rows = 0;
    loop {
        let page = old.scan(&range, super::MAX_BATCH_ROWS)?;
        let Some(last) = page.last() else {
            return Ok(rows);
        };
        range = range.after(&last.key);
        rows += page.len() as u64;
        let mut batch = WriteBatch::new();
        for row in page {
            batch.put(row.key, row.value);
            if batch.bytes() > super::HARD_BATCH_BYTES / 8 {
                new.commit(std::mem::take(&mut batch))?;
            }
        }
        new.commit(batch)?;
    }
}

/// An open database.
struct Engine {
    db: sled::Db,
    path: PathBuf,
    /// The data file, opened a second time because sled does not lend its own.
    file: File,
    blobs: BTreeSet<OsString>,
}

impl fmt::Debug for Engine {
    /// Without sled's own view, which prints every row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Engine {
    fn make(path: &Path, id: Uuid, cache: u64) -> Result<Self, StoreError> {
        let engine = Self::open(path, cache)?;
        engine.guarded("writing the identity", || {
            engine
                .db
                .open_tree(IDENTITY_TREE)?
                .insert(IDENTITY_KEY, id.as_bytes())?;
            engine.db.flush().map(|_| ())
        })?;
        dir::sync_tree(path)?;
        Ok(engine)
    }

    fn open_existing(path: &Path, id: Uuid, cache: u64) -> Result<Self, StoreError> {
        let unreadable = |what: &str| StoreError::Corrupt {
            path: path.display().to_string(),
            what: what.into(),
            help: UNREADABLE_HELP.into(),
        };
        let data = path.join("db");
        if fs::metadata(&data).map_or(0, |meta| meta.len()) == 0 {
            return Err(unreadable("its data file is missing or empty"));
        }
        let engine = Self::open(path, cache)?;
        let found = engine.guarded("reading the identity", || {
            engine.db.open_tree(IDENTITY_TREE)?.get(IDENTITY_KEY)
        })?;
        match found {
            Some(found) if *found == *id.as_bytes() => Ok(engine),
            Some(_) => Err(unreadable("its files belong to another store")),
            None => Err(unreadable("its data file was replaced or cut off")),
        }
    }

    fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(path).cache_capacity(cache);
        let mut tries = 0;
        let db = loop {
            let opened = guarded(path, "opening", || config.open());
            tries += 1;
            match opened {
                Err(StoreError::Locked { .. }) if tries < LOCK_TRIES => thread::sleep(LOCK_WAIT),
                opened => break opened?,
            }
        };
        let data = path.join("db");
        let file = File::options().write(true).open(&data);
        let file = file.map_err(|error| StoreError::io_at("opening", &data, &error))?;
        let mut engine = Self {
            db,
            path: path.to_owned(),
            file,
            blobs: BTreeSet::new(),
        };
        engine.sync_blobs()?;
        Ok(engine)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.guarded("reading", || {
            Ok(self.db.get(key)?.map(|value| value.to_vec()))
        })
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.guarded("scanning", || {
            self.iter(range).take(limit).map(row).collect()
        })
    }

    fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        if range.is_empty() {
            return Ok(None);
        }
        self.guarded("scanning", || {
            self.iter(range).next_back().map(row).transpose()
        })
    }

    fn iter(&self, range: &KeyRange) -> sled::Iter {
        match &range.end {
            Some(end) => self.db.range(range.start.as_slice()..end.as_slice()),
            None => self.db.range(range.start.as_slice()..),
        }
    }

    fn commit(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut writes = sled::Batch::default();
        for (key, value) in batch.into_rows() {
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

    /// Syncs the files of large pages that are new since the last time.
    fn sync_blobs(&mut self) -> Result<(), StoreError> {
        let dir = self.path.join("blobs");
        let failed = |what: &str, error: &std::io::Error| StoreError::io_at(what, &dir, error);
        let mut present = BTreeSet::new();
        let mut new = false;
        for entry in fs::read_dir(&dir).map_err(|error| failed("listing", &error))? {
            let name = entry
                .map_err(|error| failed("listing", &error))?
                .file_name();
            if !self.blobs.contains(&name) {
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
        self.blobs = present;
        if new { dir::sync_dir(&dir) } else { Ok(()) }
    }

    fn guarded<T>(
        &self,
        doing: &str,
        work: impl FnOnce() -> Result<T, sled::Error>,
    ) -> Result<T, StoreError> {
        guarded(&self.path, doing, work)
    }
}

fn row(found: Result<(sled::IVec, sled::IVec), sled::Error>) -> Result<Row, sled::Error> {
    found.map(|(key, value)| Row {
        key: key.to_vec(),
        value: value.to_vec(),
    })
}

/// Runs `work` and translates what goes wrong, panics included.
fn guarded<T>(
    path: &Path,
    doing: &str,
    work: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, StoreError> {
    let damaged = |what: String| StoreError::Corrupt {
        path: path.display().to_string(),
        what: format!("{what}, while {doing}"),
        help: UNREADABLE_HELP.into(),
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) if error.to_string().contains("acquire lock") => {
            Err(StoreError::Locked {
                path: path.to_owned(),
                by: "another process".into(),
            })
        }
        // Inside a data file, too few bytes are damage and not a failing disk.
        Ok(Err(sled::Error::Io(error))) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(damaged("a file is cut off".into()))
        }
        Ok(Err(sled::Error::Io(error))) => Err(StoreError::io_at(doing, path, &error)),
        Ok(Err(sled::Error::Corruption { .. })) => Err(damaged("sled found a damaged page".into())),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged(
            "sled met bytes that it takes for impossible".into(),
        )),
    }
}

#[cfg(test)]
mod tests;
