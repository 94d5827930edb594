//! A store on disk: the directory ([`Home`]) and the engine in it.
//!
//! What is the same for every engine is here: making, opening, importing, closing after a failed write,
//! compaction. An engine says only how its files are made, opened, read and written.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::dir::{self, Birth, Home, Phase, UNREADABLE_HELP};
use super::redb::Redb;
use super::sled::Sled;
use super::{EngineKind, KeyRange, Row, Store, StoreError, WriteBatch};

/// The cache of an engine where nobody says how much: blocks make reads few.
pub const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// The open files of an engine. Its calls are those of [`Store`]; a failed commit is the last call.
pub(super) trait Engine: Send + Sync + Debug {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError>;

    fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError>;

    /// Durable when it returns. Others may read meanwhile.
    fn commit(&self, batch: &WriteBatch) -> Result<(), StoreError>;

    /// Lets go of the files: when this returns nothing touches them any more, by name or otherwise.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Makes the files of an engine in the missing directory `path`, with an identity in them.
fn make(
    kind: EngineKind,
    path: &Path,
    id: Uuid,
    cache: u64,
) -> Result<Box<dyn Engine>, StoreError> {
    Ok(match kind {
        EngineKind::Sled => Box::new(Sled::make(path, id, cache)?),
        EngineKind::Redb => Box::new(Redb::make(path, id, cache)?),
    })
}

/// Opens the files of an engine. A missing, emptied or exchanged file is damage.
fn open_files(
    kind: EngineKind,
    path: &Path,
    id: Uuid,
    cache: u64,
) -> Result<Box<dyn Engine>, StoreError> {
    Ok(match kind {
        EngineKind::Sled => Box::new(Sled::open(path, id, cache)?),
        EngineKind::Redb => Box::new(Redb::open(path, id, cache)?),
    })
}

/// A store on disk.
#[derive(Debug)]
pub struct DiskStore {
    kind: EngineKind,
    /// `None` after a compaction that failed half-way.
    engine: Option<Box<dyn Engine>>,
    /// A write failed.
    failed: AtomicBool,
    cache: u64,
    first_run: bool,
    /// Dropped last: the directory is ours until the engine has let go of it.
    home: Home,
}

impl DiskStore {
    /// Opens the store in `dir`, or makes it if the directory is missing or empty.
    pub fn open(kind: EngineKind, dir: &Path, birth: Birth) -> Result<Self, StoreError> {
        Self::open_with(kind, dir, birth, CACHE_BYTES)
    }

    /// The same, with so many bytes of cache.
    pub fn open_with(
        kind: EngineKind,
        dir: &Path,
        birth: Birth,
        cache: u64,
    ) -> Result<Self, StoreError> {
        let home = Home::claim(dir)?;
        if home.is_ready(kind.name())? {
            return Self::open_ready(kind, home, cache);
        }
        let mut store = Self::make(kind, home, (birth, Phase::Creating), cache)?;
        store.home.set_phase(Phase::Ready)?;
        Ok(store)
    }

    /// Opens a store that must already be there, of whichever engine.
    pub fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        let home = Home::claim_existing(dir)?;
        let kind = home.marker().and_then(|it| EngineKind::of(&it.engine));
        let kind = kind.unwrap_or_default();
        if home.is_ready(kind.name())? {
            return Self::open_ready(kind, home, CACHE_BYTES);
        }
        Err(StoreError::Refused {
            path: dir.to_owned(),
            what: "the store was never finished and holds nothing".into(),
            help: "`crossdock run` makes it anew".into(),
        })
    }

    /// Makes a store in an empty directory that stays unusable until [`finish`](Self::finish).
    pub fn begin_import(kind: EngineKind, dir: &Path, birth: Birth) -> Result<Self, StoreError> {
        let home = Home::claim(dir)?;
        if home.is_ready(kind.name())? {
            return Err(StoreError::Refused {
                path: dir.to_owned(),
                what: "there already is a store here".into(),
                help: "import into an empty directory".into(),
            });
        }
        Self::make(kind, home, (birth, Phase::Importing), CACHE_BYTES)
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

    fn open_ready(kind: EngineKind, home: Home, cache: u64) -> Result<Self, StoreError> {
        let path = home.engine_dir(kind.name());
        let engine = open_files(kind, &path, id_of(&home), cache)?;
        Ok(Self {
            kind,
            engine: Some(engine),
            failed: AtomicBool::new(false),
            cache,
            first_run: false,
            home,
        })
    }

    fn make(
        kind: EngineKind,
        mut home: Home,
        (birth, phase): (Birth, Phase),
        cache: u64,
    ) -> Result<Self, StoreError> {
        home.mark(kind.name(), birth, phase)?;
        let path = home.engine_dir(kind.name());
        // What a kill left of an earlier try; nothing was ever committed to it.
        dir::remove_dir(&path)?;
        let engine = make(kind, &path, birth.id, cache)?;
        dir::sync_dir(home.dir())?;
        Ok(Self {
            kind,
            engine: Some(engine),
            failed: AtomicBool::new(false),
            cache,
            first_run: true,
            home,
        })
    }

    fn alive(&self) -> Result<&dyn Engine, StoreError> {
        let engine = self.engine.as_deref();
        engine
            .filter(|_| !self.failed.load(Ordering::Acquire))
            .ok_or(StoreError::Closed)
    }
}

fn id_of(home: &Home) -> Uuid {
    home.marker().map(|marker| marker.id).unwrap_or_default()
}

impl Store for DiskStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        let engine = self.alive()?;
        if range.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        engine.scan(range, limit)
    }

    fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        let engine = self.alive()?;
        if range.is_empty() {
            return Ok(None);
        }
        engine.last(range)
    }

    fn commit_beside(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let engine = self.alive()?;
        batch.check_limits()?;
        if batch.is_empty() {
            return Ok(());
        }
        let committed = engine.commit(batch);
        if committed.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        committed
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        dir::size_of(&self.home.engine_dir(self.kind.name()))
    }

    /// Copies the live rows to new files and puts those in place of the old ones. A kill at any moment
    /// leaves the old files or the new ones; an error before the exchange leaves the store as it was,
    /// one after it closes the store. Needs free space for the live rows.
    fn compact(&mut self) -> Result<Option<Compacted>, StoreError> {
        let old = self.alive()?;
        let before = self.size_on_disk()?;
        let name = self.kind.name();
        let new_path = self.home.new_engine_dir(name);
        dir::remove_dir(&new_path)?;
        let rows = match write_copy(self.kind, &new_path, id_of(&self.home), self.cache, old) {
            Ok(rows) => rows,
            Err(error) => {
                // Half a copy is room that a full disk needs; what cannot be removed is at the next start.
                let _ = dir::remove_dir(&new_path);
                return Err(error);
            }
        };
        if let Some(old) = self.engine.take() {
            old.close()?;
        }
        self.home.swap_engine()?;
        let path = self.home.engine_dir(name);
        self.engine = Some(open_files(self.kind, &path, id_of(&self.home), self.cache)?);
        let after = self.size_on_disk()?;
        Ok(Some(Compacted {
            before,
            after,
            rows,
        }))
    }

    fn name(&self) -> &'static str {
        self.kind.name()
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

/// A new engine at `path` with all rows of `old`, durable; how many.
fn write_copy(
    kind: EngineKind,
    path: &Path,
    id: Uuid,
    cache: u64,
    old: &dyn Engine,
) -> Result<u64, StoreError> {
    let new = make(kind, path, id, cache)?;
    let rows = copy(old, &*new)?;
    new.close()?;
    dir::sync_tree(path)?;
    Ok(rows)
}

fn copy(old: &dyn Engine, new: &dyn Engine) -> Result<u64, StoreError> {
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
                new.commit(&std::mem::take(&mut batch))?;
            }
        }
        new.commit(&batch)?;
    }
}

/// Damage to the files of an engine, with advice.
pub(super) fn damaged(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Corrupt {
        path: path.display().to_string(),
        what: what.into(),
        help: UNREADABLE_HELP.into(),
    }
}

/// Runs a call of an engine. An engine that panics met bytes that it takes for impossible.
pub(super) fn guarded<T>(
    path: &Path,
    doing: &str,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let what = format!("the engine met bytes that it takes for impossible, while {doing}");
        Err(damaged(path, what))
    })
}

#[cfg(test)]
mod tests;
