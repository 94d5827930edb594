//! Drop folders: files arrive, are taken when complete, and are moved on.
//!
//! ```text
//! ROOT/in/           the supplier writes here (`in_dir`; may be ROOT itself)
//! ROOT/processing/   taken; each under a name that says when it was written and what is in it
//! ROOT/archive/      accepted, or a duplicate
//! ROOT/failed/       cannot be read
//! ROOT/held/         readable, but a guard stopped it until a person releases it
//! ROOT/reply/        what we answer; the supplier reads here
//! ```
//!
//! The folders *are* the state. Each step is one rename within one file system, so a crash leaves a
//! file in exactly one of them and the next start goes on from there; nothing is remembered elsewhere
//! except how long a file in `in/` has not changed, and that is looked at again. Originals are never
//! written to.
//!
//! The supplier needs write access to `in/` and read access to `reply/`, and to nothing else.
//!
//! All calls block. They are short (a listing, a rename, a read of a few kilobytes), except reading a
//! file, which callers do in portions.

mod arrival;
mod name;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

pub use arrival::{Arrivals, Completeness, Stat};
pub use name::{SpoolName, matches, safe_name};

use crate::fault::Fault;

/// Entries of the arrivals folder that one scan looks at.
const MAX_ENTRIES: usize = 10_000;
/// A done-marker without its file is removed after this long.
const ORPHAN_MARKER: Duration = Duration::from_hours(1);
/// How much is read at once.
const CHUNK: usize = 128 * 1024;

/// Where a file goes from `processing/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Accepted, or a duplicate of what was.
    Archive,
    /// Cannot be read.
    Failed,
    /// Stopped by a guard.
    Held,
}

impl Shelf {
    fn folder(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Failed => "failed",
            Self::Held => "held",
        }
    }
}

/// A complete file in the arrivals folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    name: OsString,
    stat: Stat,
}

impl Ready {
    /// What the supplier called it, made safe.
    pub fn display(&self) -> String {
        safe_name(&self.name)
    }
}

/// A drop folder.
#[derive(Debug, Clone)]
pub struct DropFolder {
    root: PathBuf,
    arrivals: PathBuf,
    completeness: Completeness,
    pattern: String,
}

impl DropFolder {
    /// Of these folders. Touches nothing yet.
    ///
    /// `in_dir` is relative to `root` (`in`, or `.` for `root` itself); `pattern` says which names are
    /// meant (`*` and `?`).
    pub fn new(
        root: impl Into<PathBuf>,
        in_dir: &str,
        pattern: impl Into<String>,
        completeness: Completeness,
    ) -> Self {
        let root = root.into();
        let arrivals = if in_dir == "." {
            root.clone()
        } else {
            root.join(in_dir)
        };
        Self {
            root,
            arrivals,
            completeness,
            pattern: pattern.into(),
        }
    }

    /// Makes the folders that are missing below the root, which must be there: when a mount is gone,
    /// nothing must grow in its place.
    ///
    /// # Errors
    /// `Retry` when the root is missing, `Config` when it may not be written to.
    pub fn prepare(&self) -> Result<(), Fault> {
        fs::metadata(&self.root).map_err(|error| folder_fault(&self.root, &error))?;
        let ours = ["processing", "archive", "failed", "held", "reply"];
        let mut folders: Vec<_> = ours.iter().map(|name| self.root.join(name)).collect();
        folders.push(self.arrivals.clone());
        for folder in folders {
            match fs::create_dir(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(folder_fault(&folder, &error)),
            }
        }
        for folder in [&self.arrivals, &self.root.join("processing")] {
            let may = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            rustix::fs::access(folder, may)
                .map_err(|errno| folder_fault(folder, &io::Error::from(errno)))?;
        }
        Ok(())
    }

    /// Looks at the arrivals folder. Complete files, the oldest first.
    ///
    /// `monotonic` is a clock that never goes back, `now` the time of day.
    ///
    /// # Errors
    /// When the folder cannot be listed. A single file that cannot be looked at is left for later.
    pub fn scan(
        &self,
        arrivals: &mut Arrivals,
        monotonic: Duration,
        now: Timestamp,
    ) -> Result<Vec<Ready>, Fault> {
        let entries = self.plain_files()?;
        arrivals.keep_only(|name| entries.iter().any(|entry| entry.name == name));
        let mut ready = Vec::new();
        for entry in &entries {
            let shown = entry.name.to_string_lossy();
            let is_marker = shown.ends_with(".done");
            if is_marker {
                self.remove_orphan(entry, &entries, now);
            }
            if is_marker || name::is_unfinished(&shown) || !matches(&self.pattern, &shown) {
                continue;
            }
            match self.is_complete(entry, &entries, arrivals, monotonic) {
                Ok(true) => ready.push(entry.clone()),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let name = entry.display();
                    tracing::warn!(file = name, %error, "a file in the drop folder cannot be read");
                }
            }
        }
        ready.sort_by(|a, b| (a.stat.modified, &a.name).cmp(&(b.stat.modified, &b.name)));
        Ok(ready)
    }

    fn is_complete(
        &self,
        entry: &Ready,
        entries: &[Ready],
        arrivals: &mut Arrivals,
        monotonic: Duration,
    ) -> io::Result<bool> {
        let path = self.arrivals.join(&entry.name);
        let is_complete = match self.completeness {
            Completeness::Renamed => true,
            Completeness::Stable { looks, apart } => {
                let rule = (looks, apart);
                return arrivals.is_stable(&path, &entry.name, entry.stat, rule, monotonic);
            }
            // A marker older than its file was left behind by an earlier delivery of that name.
            Completeness::Marker => entries.iter().any(|other| {
                other.name == marker_of(&entry.name) && other.stat.modified >= entry.stat.modified
            }),
        };
        // What cannot be read is left where its owner can see and mend it.
        if is_complete {
            open_plain(&path)?;
        }
        Ok(is_complete)
    }

    /// Plain files only: no folders, links, pipes or devices.
    fn plain_files(&self) -> Result<Vec<Ready>, Fault> {
        let fault = |error: &io::Error| folder_fault(&self.arrivals, error);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.arrivals).map_err(|error| fault(&error))? {
            let entry = entry.map_err(|error| fault(&error))?;
            if files.len() == MAX_ENTRIES {
                tracing::warn!(
                    folder = %self.arrivals.display(),
                    limit = MAX_ENTRIES,
                    "the drop folder holds more files than are looked at"
                );
                break;
            }
            // It may be gone again, or not ours to see: then it is not a file for us.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_file() {
                let name = entry.file_name();
                let stat = Stat::of(&metadata);
                files.push(Ready { name, stat });
            }
        }
        Ok(files)
    }

    fn remove_orphan(&self, marker: &Ready, entries: &[Ready], now: Timestamp) {
        let has_file = entries
            .iter()
            .any(|other| marker_of(&other.name) == marker.name);
        let age = crate::clock::since(marker.stat.modified_at(), now);
        if self.completeness == Completeness::Marker && !has_file && age > ORPHAN_MARKER {
            // If it cannot be removed, the rule about older markers still holds.
            let _ = fs::remove_file(self.arrivals.join(&marker.name));
        }
    }

    /// Takes a complete file into `processing/`: one atomic rename, after which the supplier may drop
    /// the next file under the same name. `None` when it changed or vanished since it was looked at.
    /// `written_at` replaces the file's time where its name tells a better one.
    ///
    /// # Errors
    /// When the rename is refused: no permission, or another file system.
    pub fn claim(
        &self,
        ready: &Ready,
        written_at: Option<Timestamp>,
    ) -> Result<Option<SpoolName>, Fault> {
        let from = self.arrivals.join(&ready.name);
        let mut written_at = written_at.unwrap_or_else(|| ready.stat.modified_at());
        // Two files of one name and one millisecond: the second goes behind the first.
        for _ in 0..1000 {
            let name = SpoolName::new(written_at, ready.display());
            let to = self.processing(&name);
            match rename_new(&from, &to) {
                Ok(()) => return self.check_claimed(ready, &from, &to, name),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    written_at = crate::clock::later(written_at, Duration::from_millis(1));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(folder_fault(&from, &error)),
            }
        }
        let message = "a thousand files of one name and one time are being processed";
        Err(Fault::retry("folder_busy", message))
    }

    /// What was taken must be what was looked at; else it goes back.
    fn check_claimed(
        &self,
        ready: &Ready,
        from: &Path,
        to: &Path,
        name: SpoolName,
    ) -> Result<Option<SpoolName>, Fault> {
        let found = fs::symlink_metadata(to).map_err(|error| folder_fault(to, &error))?;
        if found.is_file() && Stat::of(&found) == ready.stat {
            if self.completeness == Completeness::Marker {
                // Left behind it is older than the next file, see `is_complete`.
                let _ = fs::remove_file(self.arrivals.join(marker_of(&ready.name)));
            }
            return Ok(Some(name));
        }
        if rename_new(to, from).is_err() {
            // The supplier has dropped the next one already; this one was never complete.
            tracing::warn!(file = %name, "a file changed while it was taken and was replaced");
            self.shelve(&name, Shelf::Failed)?;
        }
        Ok(None)
    }

    /// What is in `processing/`, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn spooled(&self) -> Result<Vec<SpoolName>, Fault> {
        list(&self.root.join("processing"))
    }

    /// What is in `held/`, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn held(&self) -> Result<Vec<SpoolName>, Fault> {
        list(&self.root.join(Shelf::Held.folder()))
    }

    /// Reads a file through once, gives every portion to `each`, and puts the hash of its content into
    /// its name.
    ///
    /// # Errors
    /// `Reject` with `file_too_large` above `max_bytes`; `Retry` when it changed meanwhile or cannot
    /// be read.
    pub fn identify(
        &self,
        name: &SpoolName,
        max_bytes: u64,
        mut each: impl FnMut(&[u8]),
    ) -> Result<SpoolName, Fault> {
        let path = self.processing(name);
        let fault = |error: io::Error| file_fault(&name.display, &error);
        let mut file = open_plain(&path).map_err(fault)?;
        let before = Stat::of(&file.metadata().map_err(fault)?);
        if before.size > max_bytes {
            let message = format!("`{}` is larger than {max_bytes} bytes", name.display);
            return Err(Fault::reject("file_too_large", message));
        }
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = file.read(&mut buffer).map_err(fault)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            each(&buffer[..read]);
        }
        if Stat::of(&file.metadata().map_err(fault)?) != before {
            let message = format!("`{}` is still being written", name.display);
            return Err(Fault::retry("file_changing", message));
        }
        let mut identified = name.clone();
        let hash = hasher.finalize().to_hex();
        if identified.hash.as_deref() != Some(&hash[..32]) {
            identified.hash = Some(hash[..32].to_owned());
            identified.released = false;
            let to = self.processing(&identified);
            fs::rename(&path, &to).map_err(|error| folder_fault(&path, &error))?;
        }
        Ok(identified)
    }

    /// Opens a file in `processing/`, with what the file system says of it.
    ///
    /// # Errors
    /// `Retry` when it is not there or cannot be read.
    pub fn open(&self, name: &SpoolName) -> Result<(File, Stat), Fault> {
        let fault = |error: io::Error| file_fault(&name.display, &error);
        let file = open_plain(&self.processing(name)).map_err(fault)?;
        let stat = Stat::of(&file.metadata().map_err(fault)?);
        Ok((file, stat))
    }

    /// Moves a file out of `processing/`. Doing it twice is doing it once.
    ///
    /// # Errors
    /// When the rename is refused.
    pub fn shelve(&self, name: &SpoolName, onto: Shelf) -> Result<(), Fault> {
        let from = self.processing(name);
        let to = self.root.join(onto.folder()).join(name.to_string());
        match fs::rename(&from, &to) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => Ok(()),
            Err(error) => Err(folder_fault(&to, &error)),
        }
    }

    /// Deletes the oldest of what was accepted and of what was answered, so that `keep` of each are left.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn prune(&self, keep: usize) -> Result<(), Fault> {
        let archive = self.root.join(Shelf::Archive.folder());
        let archived = list(&archive)?.into_iter().map(|name| name.to_string());
        prune(&archive, archived.collect(), keep);
        let reply = self.root.join("reply");
        let fault = |error: io::Error| folder_fault(&reply, &error);
        let mut answers = Vec::new();
        for entry in fs::read_dir(&reply).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            if let (Ok(metadata), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) {
                answers.push((Stat::of(&metadata).modified_at(), name));
            }
        }
        answers.sort();
        let names = answers.into_iter().map(|(_, name)| name).collect();
        prune(&reply, names, keep);
        Ok(())
    }

    /// Lets a held file pass its guards once: moves it back into `processing/`, marked. `name` is the
    /// file's name in `held/`, or what the supplier called it if only one held file is called so.
    ///
    /// # Errors
    /// `Reject` when there is no such file or more than one.
    pub fn release(&self, name: &str) -> Result<SpoolName, Fault> {
        let held = self.held()?;
        let mut found = held
            .iter()
            .filter(|held| held.to_string() == name || held.display == name);
        let (first, second) = (found.next(), found.next());
        let Some(first) = first.filter(|_| second.is_none()) else {
            let names: Vec<_> = held.iter().map(|held| format!("`{held}`")).collect();
            let which = if second.is_some() {
                "several files"
            } else {
                "no file"
            };
            let message = format!("{which} `{name}` in held/; there are: {}", names.join(", "));
            return Err(Fault::reject("not_held", message));
        };
        let mut released = first.clone();
        released.released = true;
        let from = self.root.join(Shelf::Held.folder()).join(first.to_string());
        let to = self.processing(&released);
        fs::rename(&from, &to).map_err(|error| folder_fault(&from, &error))?;
        Ok(released)
    }

    /// Writes an answer that the supplier may read: whole or not at all, whatever happens.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn reply(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let folder = self.root.join("reply");
        let name = safe_name(OsStr::new(name));
        let part = folder.join(format!(".{name}.part"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&part)?;
            file.write_all(bytes)?;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file.sync_all()?;
            fs::rename(&part, folder.join(&name))
        };
        write().map_err(|error| folder_fault(&folder, &error))
    }

    fn processing(&self, name: &SpoolName) -> PathBuf {
        self.root.join("processing").join(name.to_string())
    }
}

fn list(folder: &Path) -> Result<Vec<SpoolName>, Fault> {
    let fault = |error: &io::Error| folder_fault(folder, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| fault(&error))? {
        let entry = entry.map_err(|error| fault(&error))?;
        if let Some(name) = entry.file_name().to_str().and_then(SpoolName::parse) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Deletes the first of these files. One that cannot be deleted is tried again the next time.
fn prune(folder: &Path, names: Vec<String>, keep: usize) {
    let old = names.len().saturating_sub(keep);
    for name in names.into_iter().take(old) {
        if let Err(error) = fs::remove_file(folder.join(&name)) {
            tracing::warn!(file = name, %error, "an old file could not be deleted");
        }
    }
}

fn marker_of(name: &OsStr) -> OsString {
    let mut marker = name.to_owned();
    marker.push(".done");
    marker
}

/// Opens a plain file for reading: follows no link and waits at no pipe, even if one was put in the
/// file's place a moment ago.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "not a plain file",
    ))
}

/// Renames unless something of the new name is there.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems cannot promise it; the names make a collision improbable.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        result => result.map_err(io::Error::from),
    }
}

/// What follows from a folder that does not do what we ask.
fn folder_fault(path: &Path, error: &io::Error) -> Fault {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Fault::retry(
            "folder_missing",
            format!("{path} is not there; is its file system mounted?"),
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::config(
            "folder_forbidden",
            format!(
                "{path}: {error}; give this program's user read and write access to the folder"
            ),
        ),
        io::ErrorKind::CrossesDevices => Fault::config(
            "folder_elsewhere",
            format!(
                "{path}: the folders of one drop folder must be on one file system, because files \
                 move between them in one step"
            ),
        ),
        io::ErrorKind::NotADirectory => Fault::config(
            "folder_is_a_file",
            format!("{path}: a file stands where a folder should be"),
        ),
        _ => Fault::retry("folder_failed", format!("{path}: {error}")),
    }
}

fn file_fault(display: &str, error: &io::Error) -> Fault {
    Fault::retry(
        "file_unreadable",
        format!("`{display}` cannot be read: {error}"),
    )
}
