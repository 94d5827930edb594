//! The directory around an engine: who owns it, what is in it, and whether that is finished.
//!
//! ```text
//! <dir>/LOCK         held by the owner as long as it lives; says who it is
//! <dir>/CROSSDOCK    the marker: format, engine, identity, phase
//! <dir>/<engine>     the engine's own files
//! <dir>/<engine>.*   copies under way: compaction
//! ```
//!
//! The marker is what tells a first run from a lost store. It is written before the engine exists and
//! becomes [`Phase::Ready`] only when the engine would open after a power cut; an engine that is then
//! missing or unreadable is damage, never a first run. A kill between the two leaves
//! [`Phase::Creating`], in which nothing was ever committed, so that the next start begins again.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{FORMAT, StoreError};
use crate::clock::Timestamp;

const MARKER: &str = "CROSSDOCK";
const LOCK: &str = "LOCK";
/// For how long an owner is waited for: a command that looks into the store has it for less than a second,
/// and must not keep a daemon from starting.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a store gets when it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// Now.
    pub at: Timestamp,
    /// Its identity, see [`uuid_at`](crate::id::uuid_at).
    pub id: Uuid,
}

/// How far a store has come into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The engine is being made; nothing was committed yet.
    Creating,
    /// A backup is being read in. Interrupted, it is not a store, but not nothing either.
    Importing,
    /// The engine is there.
    Ready,
}

/// The content of the file `CROSSDOCK`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The version of the directory's layout.
    pub format: u32,
    /// The engine, as in `store.engine`; also the name of its directory.
    pub engine: String,
    /// The identity of the store.
    pub id: Uuid,
    /// When it was made.
    pub created: Timestamp,
    /// How far it has come.
    pub phase: Phase,
}

/// A store directory that this process owns, until it is dropped.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    marker: Option<Marker>,
    /// Closing the file gives the directory up.
    _lock: File,
}

impl Home {
    /// Takes the directory, making it if need be, and reads its marker. Refuses a directory that holds
    /// foreign files or an engine without a marker.
    pub fn claim(dir: &Path) -> Result<Self, StoreError> {
        make_dir(dir)?;
        let found = read_marker(dir)?;
        if found.is_none() {
            refuse_foreign_files(dir)?;
        }
        let lock = take_lock(dir)?;
        // Read again under the lock: the previous owner may just have finished creating.
        let marker = read_marker(dir)?;
        let home = Self {
            dir: dir.to_owned(),
            marker,
            _lock: lock,
        };
        if home.phase() == Some(Phase::Ready) {
            home.finish_swap()?;
        }
        Ok(home)
    }

    /// Takes a directory that must hold a finished store.
    pub fn claim_existing(dir: &Path) -> Result<Self, StoreError> {
        if read_marker(dir)?.is_none() {
            return Err(StoreError::Refused {
                path: dir.to_owned(),
                what: "there is no store here".into(),
                help: "check `store.path`; `crossdock run` makes a new store".into(),
            });
        }
        Self::claim(dir)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its marker; `None` in an empty directory.
    pub fn marker(&self) -> Option<&Marker> {
        self.marker.as_ref()
    }

    /// How far the store has come; `None` in an empty directory.
    pub fn phase(&self) -> Option<Phase> {
        self.marker.as_ref().map(|marker| marker.phase)
    }

    /// Where `engine` keeps its files.
    pub fn engine_dir(&self, engine: &str) -> PathBuf {
        self.dir.join(engine)
    }

    /// Whether the store is of `engine`, and finished. An empty directory or one in creation is
    /// `false`: make it. Everything else is an error.
    pub fn is_ready(&self, engine: &str) -> Result<bool, StoreError> {
        let Some(marker) = &self.marker else {
            return Ok(false);
        };
        let refused = |what: String, help: &str| {
            Err(StoreError::Refused {
                path: self.dir.clone(),
                what,
                help: help.into(),
            })
        };
        if marker.engine != engine {
            return refused(
                format!("the store is of engine {}, not {engine}", marker.engine),
                "set `store.engine` to what it is, or move it with `crossdock store export` and \
                 `crossdock store import`",
            );
        }
        match marker.phase {
            Phase::Creating => Ok(false),
            Phase::Ready => Ok(true),
            Phase::Importing => refused(
                "an import into this store was interrupted".into(),
                "empty the directory and run `crossdock store import` again",
            ),
        }
    }

    /// Writes the marker, durably.
    pub fn mark(&mut self, engine: &str, birth: Birth, phase: Phase) -> Result<(), StoreError> {
        let engine = engine.to_owned();
        let (id, created) = (birth.id, birth.at);
        self.write_marker(Marker {
            format: FORMAT,
            engine,
            id,
            created,
            phase,
        })
    }

    /// Writes the marker with another phase, durably.
    pub fn set_phase(&mut self, phase: Phase) -> Result<(), StoreError> {
        match self.marker.clone() {
            Some(marker) => self.write_marker(Marker { phase, ..marker }),
            None => Ok(()),
        }
    }

    fn write_marker(&mut self, marker: Marker) -> Result<(), StoreError> {
        let mut text =
            serde_json::to_string_pretty(&marker).map_err(|error| StoreError::Unencodable {
                what: "store marker",
                message: error.to_string(),
            })?;
        text.push('\n');
        write_durably(&self.dir.join(MARKER), text.as_bytes())?;
        self.marker = Some(marker);
        Ok(())
    }

    /// Puts the directory `<engine>.new` in the place of `<engine>`, durably; [`claim`](Self::claim)
    /// finishes or takes back a swap that was interrupted.
    pub fn swap_engine(&self) -> Result<(), StoreError> {
        let Some(marker) = &self.marker else {
            return Ok(());
        };
        let [now, new, old] = self.swap_dirs(&marker.engine);
        rename(&now, &old)?;
        sync_dir(&self.dir)?;
        rename(&new, &now)?;
        sync_dir(&self.dir)?;
        remove_dir(&old)
    }

    /// The directory in which the copy for [`swap_engine`](Self::swap_engine) is made.
    pub fn new_engine_dir(&self, engine: &str) -> PathBuf {
        let [_, new, _] = self.swap_dirs(engine);
        new
    }

    fn swap_dirs(&self, engine: &str) -> [PathBuf; 3] {
        ["", ".new", ".old"].map(|suffix| self.dir.join(format!("{engine}{suffix}")))
    }

    /// After a kill during compaction: either the old engine is back in its place or the new one is
    /// in it, and nothing else is left.
    fn finish_swap(&self) -> Result<(), StoreError> {
        let Some(marker) = &self.marker else {
            return Ok(());
        };
        let [now, new, old] = self.swap_dirs(&marker.engine);
        if old.exists() && !now.exists() {
            // Killed between the two renames. The old one is certainly whole.
            rename(&old, &now)?;
            sync_dir(&self.dir)?;
        }
        remove_dir(&new)?;
        remove_dir(&old)
    }
}

/// Advice for a store that is there and cannot be read.
pub const UNREADABLE_HELP: &str = "it is not started as if it were new, because that would send \
    everything again; restore a backup with `crossdock store import`, see what is readable with \
    `crossdock store check`, or move the directory away to begin anew on purpose";

/// The part of a marker that every version has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn read_marker(dir: &Path) -> Result<Option<Marker>, StoreError> {
    let path = dir.join(MARKER);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io_at("reading", &path, &error)),
    };
    let corrupt = |error: serde_json::Error| StoreError::Corrupt {
        path: path.display().to_string(),
        what: error.to_string(),
        help: UNREADABLE_HELP.into(),
    };
    // The format first: a newer marker may have any other shape.
    let Format { format } = serde_json::from_slice(&text).map_err(corrupt)?;
    StoreError::check_format(dir, format)?;
    serde_json::from_slice(&text).map(Some).map_err(corrupt)
}

fn refuse_foreign_files(dir: &Path) -> Result<(), StoreError> {
    let listing = fs::read_dir(dir).map_err(|error| StoreError::io_at("listing", dir, &error))?;
    for entry in listing {
        let entry = entry.map_err(|error| StoreError::io_at("listing", dir, &error))?;
        let name = entry.file_name();
        // The root of a file system has a `lost+found`; the temporary marker is from a kill.
        let ours = [LOCK, "CROSSDOCK.tmp", "lost+found"]
            .iter()
            .any(|known| name == *known);
        if !ours {
            return Err(StoreError::Refused {
                path: dir.to_owned(),
                what: format!("{} is here, but no marker of a store", name.display()),
                help: format!(
                    "if a store lost its file {MARKER}, restore a backup; otherwise set \
                     `store.path` to an empty directory"
                ),
            });
        }
    }
    Ok(())
}

fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let failed = |error: io::Error| StoreError::io_at("locking", &path, &error);
    let mut options = File::options();
    let mut lock = options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match lock_soon(&lock) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Who it is only helps a person; not knowing is no reason to say something else.
            let _ = lock.read_to_string(&mut owner);
            let owner = owner.trim();
            let by = if owner.is_empty() {
                "another process"
            } else {
                owner
            };
            return Err(StoreError::Locked {
                path: dir.to_owned(),
                by: by.to_owned(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let owner = format!("process {}\n", std::process::id());
    lock.set_len(0)
        .and_then(|()| lock.write_all(owner.as_bytes()))
        .map_err(failed)?;
    Ok(lock)
}

fn lock_soon(lock: &File) -> Result<(), TryLockError> {
    let tries = PATIENCE.as_millis() / LOOK_EVERY.as_millis();
    for _ in 0..tries {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(LOOK_EVERY),
            done => return done,
        }
    }
    lock.try_lock()
}

/// Makes a directory and its parents, so that they outlive a power cut.
fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => sync_dir(parent.unwrap_or(Path::new("."))),
        // Somebody else made it meanwhile.
        Err(_) if dir.is_dir() => Ok(()),
        Err(error) => Err(StoreError::io_at("making", dir, &error)),
    }
}

/// Replaces a file so that after a power cut it is the old one or the new one, whole.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("tmp");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| StoreError::io_at("writing", &temporary, &error))?;
    rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes what was created, renamed or removed in a directory durable.
pub fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| StoreError::io_at("syncing", dir, &error))
}

/// Makes every file under a directory durable, and the directory.
pub fn sync_tree(dir: &Path) -> Result<(), StoreError> {
    walk(dir, &mut |path, _| {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|error| StoreError::io_at("syncing", path, &error))
    })
}

/// Bytes of all files under a directory.
pub fn size_of(dir: &Path) -> Result<u64, StoreError> {
    let mut size = 0;
    walk(dir, &mut |_, meta| {
        size += if meta.is_file() { meta.len() } else { 0 };
        Ok(())
    })?;
    Ok(size)
}

/// Removes a directory with everything in it, if it is there.
pub fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io_at("removing", dir, &error)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| StoreError::io_at("renaming", from, &error))
}

/// Shows every file and directory under `dir` to `show`, `dir` itself last. What vanishes meanwhile
/// (an engine removes its own files) is passed over.
fn walk(
    dir: &Path,
    show: &mut dyn FnMut(&Path, &fs::Metadata) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let listing = fs::read_dir(dir).map_err(|error| StoreError::io_at("listing", dir, &error))?;
    for entry in listing {
        let entry = entry.map_err(|error| StoreError::io_at("listing", dir, &error))?;
        let path = entry.path();
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => walk(&path, show)?,
            Ok(meta) => show(&path, &meta)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io_at("reading", &path, &error)),
        }
    }
    let meta = fs::metadata(dir).map_err(|error| StoreError::io_at("reading", dir, &error))?;
    show(dir, &meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth() -> Birth {
        Birth {
            at: "2026-11-22T00:00:00Z".parse().unwrap(),
            id: Uuid::from_u128(7),
        }
    }

    #[test]
    fn a_directory_has_one_owner_and_keeps_its_marker() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("var/store");
        let mut home = Home::claim(&dir).unwrap();
        assert_eq!((home.marker(), home.is_ready("sled")), (None, Ok(false)));
        let refused = Home::claim(&dir).unwrap_err().to_string();
        let owner = format!(
            "belongs to process {}; it has one owner",
            std::process::id()
        );
        assert!(refused.ends_with(&owner), "{refused}");

        home.mark("sled", birth(), Phase::Creating).unwrap();
        drop(home);
        let mut home = Home::claim(&dir).unwrap();
        assert_eq!(home.is_ready("sled"), Ok(false));
        home.set_phase(Phase::Importing).unwrap();
        assert!(
            home.is_ready("sled")
                .unwrap_err()
                .to_string()
                .contains("interrupted")
        );
        home.set_phase(Phase::Ready).unwrap();
        assert_eq!(home.is_ready("sled"), Ok(true));
        assert!(
            home.is_ready("redb")
                .unwrap_err()
                .to_string()
                .contains("of engine sled")
        );
        let golden = include_str!("golden/marker.json");
        assert_eq!(fs::read_to_string(dir.join(MARKER)).unwrap(), golden);
    }

    /// `crossdock queue` looks into the store of a daemon that is just being started.
    #[test]
    fn an_owner_that_is_about_to_leave_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let looking = Home::claim(temp.path()).unwrap();
        let done = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            drop(looking);
        });
        Home::claim(temp.path()).unwrap();
        done.join().unwrap();
    }

    #[test]
    fn what_is_not_a_store_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let message = || Home::claim(temp.path()).unwrap_err().to_string();
        fs::create_dir(temp.path().join("sled")).unwrap();
        assert!(
            message().contains("sled is here, but no marker"),
            "{}",
            message()
        );
        assert!(
            !temp.path().join(LOCK).exists(),
            "a foreign directory stays untouched"
        );
        for (text, expect) in [
            ("", "is damaged: EOF"),
            ("{\"format\":2}", "is damaged: missing field"),
            (
                "{\"format\":1,\"x\":[]}",
                "it has format 1, this crossdock reads 2",
            ),
            (
                "{\"format\":3,\"x\":[]}",
                "has format 3, this crossdock reads up to 2",
            ),
        ] {
            fs::write(temp.path().join(MARKER), text).unwrap();
            assert!(message().contains(expect), "{}", message());
        }
        let nothing = tempfile::tempdir().unwrap();
        let refused = Home::claim_existing(nothing.path()).unwrap_err();
        assert!(refused.to_string().contains("no store here"));
        assert_eq!(fs::read_dir(nothing.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_interrupted_swap_is_finished_or_taken_back() {
        // Which directories a kill leaves behind, and whose content is in place afterwards.
        let cases: [(&[&str], &str); 5] = [
            (&["sled"], "sled"),
            (&["sled", "sled.new"], "sled"),
            (&["sled.new", "sled.old"], "sled.old"),
            (&["sled", "sled.old"], "sled"),
            (&["sled", "sled.new", "sled.old"], "sled"),
        ];
        for (left, expect) in cases {
            let temp = tempfile::tempdir().unwrap();
            let mut home = Home::claim(temp.path()).unwrap();
            home.mark("sled", birth(), Phase::Ready).unwrap();
            drop(home);
            for name in left {
                fs::create_dir(temp.path().join(name)).unwrap();
                fs::write(temp.path().join(name).join("content"), name).unwrap();
            }
            let home = Home::claim(temp.path()).unwrap();
            let content = fs::read_to_string(home.engine_dir("sled").join("content")).unwrap();
            assert_eq!(content, expect, "{left:?}");
            assert!(
                !temp.path().join("sled.new").exists() && !temp.path().join("sled.old").exists()
            );
            fs::create_dir(home.new_engine_dir("sled")).unwrap();
            fs::write(home.new_engine_dir("sled").join("content"), "swapped").unwrap();
            home.swap_engine().unwrap();
            let content = fs::read_to_string(home.engine_dir("sled").join("content")).unwrap();
            assert_eq!(content, "swapped");
            assert!(!temp.path().join("sled.old").exists());
        }
    }

    #[test]
    fn sizes_count_all_files() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("a")).unwrap();
        fs::write(temp.path().join("a/one"), [0; 10]).unwrap();
        write_durably(&temp.path().join("two"), &[0; 5]).unwrap();
        sync_tree(temp.path()).unwrap();
        assert_eq!(size_of(temp.path()).unwrap(), 15);
        remove_dir(&temp.path().join("a")).unwrap();
        remove_dir(&temp.path().join("a")).unwrap();
        assert_eq!(size_of(temp.path()).unwrap(), 5);
    }
}
