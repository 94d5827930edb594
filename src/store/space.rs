//! Room on the store's file system, and the ballast that is given up when it runs out.
//!
//! ```text
//! free space        reading      sending      ballast
//! plenty            goes on      goes on      kept
//! below min_free    stops        goes on      kept
//! below ballast     stops        goes on      given up: what was taken in can still be settled
//! below RESERVE     stops        stops        given up: no room for an intent, so nothing is sent
//! ```
//!
//! All of it goes on by itself once there is room for `min_free` and the ballast again.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// With less than this, not even the intent of a delivery is sure to find room.
pub const RESERVE: u64 = 4 << 20;

/// The name of the ballast in the store's directory.
const NAME: &str = "ballast";

/// How much room there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// With less, nothing more is taken in.
    pub min_free: u64,
    /// How large the ballast is.
    pub ballast: u64,
}

/// What may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Nothing more is taken in.
    pub reading_stops: bool,
    /// Nothing more is sent.
    pub sending_stops: bool,
    /// The ballast is not there.
    pub ballast_given_up: bool,
}

impl Room {
    /// What follows from `free` bytes when this was so before.
    pub fn next(self, free: u64, needs: Needs) -> Self {
        let ballast_given_up = if self.ballast_given_up {
            // Room for the ballast is needed too, or it would be made and given up in turns.
            needs.ballast > 0 && free < needs.min_free.saturating_add(needs.ballast)
        } else {
            needs.ballast > 0 && free < needs.ballast.min(needs.min_free)
        };
        Self {
            reading_stops: free < needs.min_free || ballast_given_up,
            sending_stops: free < RESERVE.min(needs.min_free),
            ballast_given_up,
        }
    }
}

/// How many bytes of the file system that holds `path` this user may still write.
///
/// # Errors
/// When the path is gone.
pub fn free(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A file that holds room.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// The ballast of the store in `dir`, made or not.
    pub fn of(dir: &Path) -> Self {
        Self {
            path: dir.join(NAME),
        }
    }

    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Makes it `bytes` large; nothing when it is already. Real blocks are taken, not only a length.
    ///
    /// # Errors
    /// When there is no room; it is not there then.
    pub fn make(&self, bytes: u64) -> io::Result<()> {
        let known = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if known == bytes {
            return Ok(());
        }
        if bytes == 0 {
            return self.give_up();
        }
        self.write(bytes).inspect_err(|_| {
            // Half a ballast helps nobody; that it is in the way as well was the error already.
            let _ = self.give_up();
        })
    }

    fn write(&self, bytes: u64) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        let whole = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
        if whole.is_err() {
            // Not every file system can promise blocks. Zeros might be stored as a hole or packed.
            let block: Vec<u8> = (0..1 << 16).map(|n: u32| (n * 31 % 251) as u8).collect();
            let mut left = bytes;
            while left > 0 {
                let part = usize::try_from(left)
                    .unwrap_or(block.len())
                    .min(block.len());
                file.write_all(&block[..part])?;
                left -= part as u64;
            }
        }
        file.sync_all()
    }

    /// Gives it up.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn give_up(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;
    const NEEDS: Needs = Needs {
        min_free: 512 * MB,
        ballast: 64 * MB,
    };

    /// A disk that fills up and empties: what stops when, and that everything comes back.
    #[test]
    fn room_runs_out_in_steps_and_comes_back() {
        // Free megabytes, then whether reading stops, sending stops, the ballast is given up.
        let course = [
            (600, [false, false, false]),
            (511, [true, false, false]),
            (512, [false, false, false]),
            (64, [true, false, false]),
            (63, [true, false, true]),
            (127, [true, false, true]), // the ballast's own room is no reason to make it again
            (3, [true, true, true]),
            (5, [true, false, true]),
            (575, [true, false, true]),
            (576, [false, false, false]),
        ];
        let mut room = Room::default();
        for (free, [reading_stops, sending_stops, ballast_given_up]) in course {
            room = room.next(free * MB, NEEDS);
            let expected = Room {
                reading_stops,
                sending_stops,
                ballast_given_up,
            };
            assert_eq!(room, expected, "{free} MB");
        }
    }

    #[test]
    fn a_ballast_of_nothing_is_never_given_up_and_nothing_needed_never_stops() {
        let needs = Needs {
            min_free: 0,
            ballast: 0,
        };
        assert_eq!(Room::default().next(0, needs), Room::default());
        let needs = Needs {
            min_free: 512 * MB,
            ballast: 0,
        };
        let room = Room::default().next(MB, needs);
        assert!(room.reading_stops && room.sending_stops && !room.ballast_given_up);
    }

    #[test]
    fn a_ballast_takes_real_room() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let ballast = Ballast::of(folder.path());
        ballast.make(3 * MB).unwrap();
        let meta = std::fs::metadata(folder.path().join(NAME)).unwrap();
        assert_eq!(meta.len(), 3 * MB);
        assert!(meta.blocks() * 512 >= 3 * MB, "it is a hole");
        ballast.make(MB).unwrap();
        assert!(ballast.is_there());
        ballast.give_up().unwrap();
        ballast.give_up().unwrap();
        assert!(!ballast.is_there() && free(folder.path()).unwrap() > 0);
    }
}
