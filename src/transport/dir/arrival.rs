//! Whether a file is complete. Nobody tells; there are three ways to find out.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::open_plain;

/// How much of the end of a file is looked at.
const TAIL: u64 = 4096;

/// How a feed's writer shows that a file is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// The file's size, time and last bytes stay the same over some looks.
    Stable {
        /// How many looks have to agree.
        looks: u32,
        /// How far apart two looks are at least.
        apart: Duration,
    },
    /// The writer uses another name (`.part`, `.tmp`, hidden) until it is done: taken at sight.
    Renamed,
    /// The writer puts an empty `NAME.done` beside `NAME` afterwards.
    Marker,
}

impl Default for Completeness {
    fn default() -> Self {
        Self::Stable {
            looks: 3,
            apart: Duration::from_secs(2),
        }
    }
}

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// In bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified: i128,
    inode: (u64, u64),
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }

    /// When it was last written.
    pub fn modified_at(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(self.modified).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

/// What a look at a file gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    stat: Stat,
    tail: [u8; 32],
}

#[derive(Debug)]
struct Watched {
    look: Look,
    agreed: u32,
    last_counted: Duration,
}

/// What earlier looks saw. Lost in a restart, which then looks again.
#[derive(Debug, Default)]
pub struct Arrivals(BTreeMap<OsString, Watched>);

impl Arrivals {
    /// Whether enough looks agree. `now` is a clock that never goes back.
    pub(super) fn is_stable(
        &mut self,
        path: &Path,
        name: &OsStr,
        stat: Stat,
        (looks, apart): (u32, Duration),
        now: Duration,
    ) -> io::Result<bool> {
        let Some(tail) = tail(path, stat.size)? else {
            self.0.remove(name);
            return Ok(false);
        };
        let look = Look { stat, tail };
        let fresh = Watched {
            look,
            agreed: 0,
            last_counted: now,
        };
        let watched = self.0.entry(name.to_owned()).or_insert(fresh);
        if watched.look != look {
            *watched = Watched {
                look,
                agreed: 1,
                last_counted: now,
            };
        } else if watched.agreed == 0 || now.saturating_sub(watched.last_counted) >= apart {
            watched.agreed += 1;
            watched.last_counted = now;
        }
        Ok(watched.agreed >= looks)
    }

    /// Forgets files that are no longer there.
    pub(super) fn keep_only(&mut self, present: impl Fn(&OsStr) -> bool) {
        self.0.retain(|name, _| present(name));
    }
}

/// The hash of a file's last bytes; `None` when they are all NUL.
///
/// A program that reserves the whole file first and keeps the original's time (story 43: copying on
/// Windows) shows its final size and time at once, with nothing in it yet.
fn tail(path: &Path, size: u64) -> io::Result<Option<[u8; 32]>> {
    let mut file: File = open_plain(path)?;
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let end = &bytes[bytes.len().saturating_sub(4)..];
    if !end.is_empty() && end.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    Ok(Some(*blake3::hash(&bytes).as_bytes()))
}
