//! What a store can answer instead of rows.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::fault::{Class, Fault};

/// Why a store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The operating system refused or failed.
    Io {
        /// What was being done, and to which path: `opening /var/lib/crossdock/sled`.
        doing: String,
        /// The operating system's words.
        message: String,
    },
    /// What is on disk is not what was written, or not ours.
    Corrupt {
        /// The directory, file or row: `row link(north, 17)`.
        path: String,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        help: String,
    },
    /// The disk or the quota is full.
    Full {
        /// What was being done.
        doing: String,
    },
    /// Another process owns the store.
    Locked {
        /// Its directory.
        path: PathBuf,
        /// The owner, as far as it told: `process 4711`.
        by: String,
    },
    /// Written by a newer crossdock than this one.
    FormatTooNew {
        /// The directory, file or row.
        path: String,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// A batch, key or value is above its limit. Nothing has happened.
    TooLarge {
        /// What was counted: `rows in one commit`.
        what: &'static str,
        /// How many there are.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The store refuses, because to go on would destroy or mistake something.
    Refused {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        what: String,
        /// What to do about it.
        help: String,
    },
    /// A value cannot be written at all: a defect of ours.
    Unencodable {
        /// The kind of row.
        what: &'static str,
        /// The encoder's words.
        message: String,
    },
    /// An earlier commit failed, or the machine of a simulation crashed; open the store again.
    Closed,
}

impl StoreError {
    /// Refuses a store or an export of another format than [`FORMAT`](super::FORMAT).
    pub fn check_format(path: &Path, found: u32) -> Result<(), Self> {
        let known = super::FORMAT;
        if found > known {
            let path = path.display().to_string();
            return Err(Self::FormatTooNew { path, found, known });
        }
        if found < known {
            return Err(Self::Refused {
                path: path.to_owned(),
                what: format!("it has format {found}, this crossdock reads {known}"),
                help: "no release wrote it: move it away and begin anew; what it sent is found again by its \
                       reference"
                    .into(),
            });
        }
        Ok(())
    }

    /// What an operating-system error means to a store.
    pub fn io(doing: impl Into<String>, error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let doing = doing.into();
        // A file-size limit (EFBIG) leaves an operator in the same place as a full disk.
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { doing },
            _ => Self::Io {
                doing,
                message: error.to_string(),
            },
        }
    }

    /// `io` for work on one path: `what` is `opening`, `writing`, …
    pub fn io_at(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::io(format!("{what} {}", path.display()), error)
    }

    /// A row that cannot be read.
    pub fn corrupt_row(row: impl fmt::Display, what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: format!("row {row}"),
            what: what.into(),
            help: "run `crossdock store check` for a list of all such rows; restore a backup with \
                   `crossdock store import`, or keep the directory and report this row"
                .into(),
        }
    }

    /// `TooLarge` when `size` is above `limit`.
    pub fn check_size(what: &'static str, size: usize, limit: usize) -> Result<(), Self> {
        if size > limit {
            Err(Self::TooLarge { what, size, limit })
        } else {
            Ok(())
        }
    }

    /// A stable name for grouping, for metrics and for looking up help.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store_io",
            Self::Corrupt { .. } => "store_corrupt",
            Self::Full { .. } => "store_full",
            Self::Locked { .. } => "store_locked",
            Self::FormatTooNew { .. } => "store_format_too_new",
            Self::TooLarge { .. } => "store_too_large",
            Self::Refused { .. } => "store_refused",
            Self::Unencodable { .. } => "store_unencodable",
            Self::Closed => "store_closed",
        }
    }

    /// The exit code for a process that ends because of this, from `sysexits.h`: a service manager
    /// restarts on 74 and 75 and gives up on the others, which a restart cannot cure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } | Self::Closed => 74,
            Self::Full { .. } | Self::Locked { .. } => 75,
            Self::Corrupt { .. } => 65,
            Self::FormatTooNew { .. } | Self::Refused { .. } => 78,
            Self::TooLarge { .. } | Self::Unencodable { .. } => 70,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, message } => write!(f, "{doing}: {message}"),
            Self::Corrupt { path, what, help } => write!(f, "{path} is damaged: {what}; {help}"),
            Self::Full { doing } => write!(f, "{doing}: the disk is full"),
            Self::Locked { path, by } => {
                write!(
                    f,
                    "the store in {} belongs to {by}; it has one owner",
                    path.display()
                )
            }
            Self::FormatTooNew { path, found, known } => write!(
                f,
                "{path} has format {found}, this crossdock reads up to {known}; install the newer \
                 version again, or restore a backup that this version wrote"
            ),
            Self::TooLarge { what, size, limit } => {
                write!(f, "{size} {what}; the store takes at most {limit}")
            }
            Self::Refused { path, what, help } => write!(f, "{}: {what}; {help}", path.display()),
            Self::Unencodable { what, message } => write!(f, "cannot encode {what}: {message}"),
            Self::Closed => f.write_str("the store is closed after a failed commit; open it again"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let class = match &error {
            StoreError::Io { .. } | StoreError::Full { .. } | StoreError::Closed => Class::Retry,
            StoreError::Locked { .. }
            | StoreError::FormatTooNew { .. }
            | StoreError::Refused { .. } => Class::Config,
            StoreError::TooLarge { .. } => Class::Reject,
            StoreError::Corrupt { .. } | StoreError::Unencodable { .. } => Class::Bug,
        };
        Self::new(class, error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = io::Error::from_raw_os_error(28);
        let error = StoreError::io_at("writing", Path::new("db"), &full);
        assert_eq!(error.to_string(), "writing db: the disk is full");
        assert_eq!((error.code(), error.exit_code()), ("store_full", 75));
        let denied = io::Error::from_raw_os_error(13);
        let error = StoreError::io_at("opening", Path::new("db"), &denied);
        assert_eq!(
            error.to_string(),
            "opening db: Permission denied (os error 13)"
        );
    }

    #[test]
    fn a_fault_carries_what_follows() {
        let newer = StoreError::FormatTooNew {
            path: "store".into(),
            found: 2,
            known: 1,
        };
        assert_eq!(Fault::from(newer).class, Class::Config);
        assert_eq!(Fault::from(StoreError::Closed).class, Class::Retry);
    }
}
