//! Where configuration comes from: files, and the surroundings that placeholders ask.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codes;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceText};

/// The largest configuration file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The largest number of files in a configuration folder.
pub const MAX_FILES: usize = 256;

/// Everything outside that configuration may depend on. Behind a trait so that tests need no files
/// and no environment.
pub trait Surroundings: fmt::Debug {
    /// An environment variable.
    fn var(&self, name: &str) -> Option<OsString>;
    /// The first `limit` bytes of a file.
    ///
    /// # Errors
    /// As the operating system says.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// The files in a folder, in any order; `None` when it is no folder.
    ///
    /// # Errors
    /// As the operating system says.
    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>>;
}

/// The real ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Surroundings for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "config is the one that reads the environment"
    )]
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        io::Read::read_to_end(&mut io::Read::take(file, limit), &mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        if !path.is_dir() {
            return Ok(None);
        }
        let entries = std::fs::read_dir(path)?;
        let paths: io::Result<Vec<_>> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect();
        paths.map(Some)
    }
}

/// The configuration files that `path` stands for, in the order in which they are read.
///
/// A file stands for itself, a folder for its `*.toml` by name. Hidden files are left out: editors
/// leave them behind.
pub fn files(path: &Path, around: &dyn Surroundings, findings: &mut Diagnostics) -> Vec<PathBuf> {
    let listed = match around.list(path) {
        Ok(Some(listed)) => listed,
        Ok(None) => return vec![path.to_owned()],
        Err(error) => {
            findings.push(unreadable(path, &error));
            return Vec::new();
        }
    };
    let is_config = |file: &PathBuf| {
        let hidden = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden
            && file
                .extension()
                .is_some_and(|extension| extension == "toml")
    };
    let mut files: Vec<PathBuf> = listed.into_iter().filter(is_config).collect();
    files.sort();
    if files.is_empty() {
        let message = format!("{} holds no *.toml", path.display());
        let help = "put the configuration there, or name a file with --config";
        findings.push(Diagnostic::error(codes::NO_FILES, "", message).help(help));
    }
    if files.len() > MAX_FILES {
        let count = files.len();
        let message = format!(
            "{} holds {count} *.toml; at most {MAX_FILES} are read",
            path.display()
        );
        findings.push(Diagnostic::error(codes::TOO_LARGE, "", message));
        files.clear();
    }
    files
}

/// Reads one file as text.
pub fn read(
    path: &Path,
    around: &dyn Surroundings,
    findings: &mut Diagnostics,
) -> Option<Arc<SourceText>> {
    let bytes = match around.read(path, MAX_FILE_BYTES + 1) {
        Ok(bytes) => bytes,
        Err(error) => {
            findings.push(unreadable(path, &error));
            return None;
        }
    };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("{} is larger than 1 MiB", path.display());
        let help = "is it the right file? A folder of smaller *.toml files works too";
        findings.push(Diagnostic::error(codes::TOO_LARGE, "", message).help(help));
        return None;
    }
    match text(&bytes) {
        Ok(text) => Some(Arc::new(SourceText {
            path: path.to_owned(),
            text,
        })),
        Err(reason) => {
            let message = format!("{} {reason}", path.display());
            let help = "save it as UTF-8";
            findings.push(Diagnostic::error(codes::NOT_UTF8, "", message).help(help));
            None
        }
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("is UTF-16, not UTF-8".to_owned());
    }
    // A byte order mark is no content; spans are counted without it.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => Err("holds NUL characters: it is no text".to_owned()),
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            Err(format!("is not UTF-8 in line {line}"))
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let message = format!("cannot read {}: {}", path.display(), io_reason(error));
    let finding = Diagnostic::error(codes::UNREADABLE, "", message);
    match error.kind() {
        io::ErrorKind::NotFound => {
            let help = "name the file or folder with --config; config.example.toml is a start, and \
                        `crossdock demo` shows all of it at work without any configuration";
            finding.help(help)
        }
        _ => finding,
    }
}

/// The operating system's reason without its number.
pub fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        kind => kind.to_string(),
    }
}
