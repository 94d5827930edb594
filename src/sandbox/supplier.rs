//! A practice supplier: full CSV files dropped into a folder, now and then in its own code page.
//!
//! Each file goes to `in/`, begins with a line that tells its moment (so that no two are alike), then
//! lists everything there is: `kod;nazwa;stan;cena;waluta`, decimal comma, SKU as text. Files with an even
//! number are UTF-8 with a byte order mark, odd ones Windows-1250. Each is written as `NAME.part` and
//! then renamed. One row in some files is broken, as people do it by hand; the answers that come back in
//! `reply/` are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::audit::{AuditLog, Fact, Units, Why, lock};
use super::catalog::Article;

/// Every how many files one has a broken row.
const BROKEN_EVERY: u64 = 5;

/// A practice supplier.
#[derive(Debug)]
pub struct Supplier {
    name: String,
    folder: PathBuf,
    audit: Arc<AuditLog>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// SKU to title, pieces and price in cents.
    shelf: BTreeMap<String, (String, i64, i64)>,
    files: u64,
    answers: BTreeSet<PathBuf>,
}

impl Supplier {
    /// A supplier that has those of `articles` that begin there, and writes into `in/` below `folder`.
    pub fn new(name: &str, folder: PathBuf, audit: Arc<AuditLog>, articles: &[Article]) -> Self {
        let mut shelf = BTreeMap::new();
        for article in articles.iter().filter(|article| article.at_supplier > 0) {
            let cost = article.price * 6 / 10;
            let on_shelf = (article.title.clone(), article.at_supplier, cost);
            shelf.insert(article.sku.clone(), on_shelf);
            let fact = Fact::Supply {
                sku: article.sku.clone(),
                by: article.at_supplier,
                why: Why::Opening,
            };
            audit.record(name, fact);
        }
        let state = State {
            shelf,
            files: 0,
            answers: BTreeSet::new(),
        };
        Self {
            name: name.to_owned(),
            folder,
            audit,
            state: Mutex::new(state),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder above `in/` and `reply/`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has, by SKU.
    pub fn levels(&self) -> Vec<Units> {
        let state = lock(&self.state);
        let levels = state
            .shelf
            .iter()
            .map(|(sku, (_, pieces, _))| Units::new(sku, *pieces));
        levels.collect()
    }

    /// How many files it dropped so far.
    pub fn files(&self) -> u64 {
        lock(&self.state).files
    }

    /// Goods leave it (below zero) or come; `false`, and nothing happens, when it has too few.
    pub fn change(&self, sku: &str, by: i64, why: Why) -> bool {
        let mut state = lock(&self.state);
        let Some((_, pieces, _)) = state.shelf.get_mut(sku) else {
            return false;
        };
        if *pieces + by < 0 {
            return false;
        }
        *pieces += by;
        let sku = sku.to_owned();
        self.audit.record(&self.name, Fact::Supply { sku, by, why });
        true
    }

    /// Drops a file with everything it has.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn drop_file(&self) -> io::Result<PathBuf> {
        let mut state = lock(&self.state);
        let number = state.files + 1;
        let now = self.audit.clock().now();
        let mut text = format!("Stan na;{now};plik {number}\r\nkod;nazwa;stan;cena;waluta\r\n");
        for (sku, (title, pieces, cost)) in &state.shelf {
            let (euros, cents) = (cost / 100, cost % 100);
            let title = quoted(title);
            // Writing into a String cannot fail.
            let _ = write!(text, "{sku};{title};{pieces};{euros},{cents:02};EUR\r\n");
        }
        if number.is_multiple_of(BROKEN_EVERY) {
            text.push_str("ACM-BAD;kto to wie;dużo;1,00;EUR\r\n");
        }
        let bytes = if number.is_multiple_of(2) {
            [b"\xEF\xBB\xBF", text.as_bytes()].concat()
        } else {
            encoding_rs::WINDOWS_1250.encode(&text).0.into_owned()
        };
        let folder = self.folder.join("in");
        fs::create_dir_all(&folder)?;
        let name = format!("stan-{number:05}.csv");
        let path = folder.join(&name);
        let part = folder.join(format!("{name}.part"));
        let mut file = fs::File::create(&part)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        state.files = number;
        let levels = state
            .shelf
            .iter()
            .map(|(sku, (_, pieces, _))| Units::new(sku, *pieces));
        let levels = levels.collect();
        drop(state);
        self.audit
            .record(&self.name, Fact::Dropped { file: name, levels });
        Ok(path)
    }

    /// Reads the answers in `reply/` that appeared since; says how many.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read_answers(&self) -> io::Result<usize> {
        let folder = self.folder.join("reply");
        if !folder.is_dir() {
            return Ok(0);
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "csv") {
                found.push(path);
            }
        }
        found.sort();
        let mut state = lock(&self.state);
        let mut new = 0;
        for path in found {
            if state.answers.contains(&path) {
                continue;
            }
            let lines = String::from_utf8_lossy(&fs::read(&path)?).lines().count();
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            self.audit
                .record(&self.name, Fact::Answered { file, lines });
            state.answers.insert(path);
            new += 1;
        }
        Ok(new)
    }
}

/// Always in quotes: a letter that the code page lacks becomes `&#339;`, with a semicolon in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::sandbox::catalog::articles;

    /// Stories 45 to 47: byte order mark, code page, decimal comma, SKU as text.
    #[test]
    fn files_come_whole_and_in_two_encodings() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        let audit = AuditLog::new(Arc::new(clock));
        let path = folder.path().to_owned();
        let acme = Supplier::new("acme", path, Arc::clone(&audit), &articles(1, 40));
        let first = fs::read(acme.drop_file().unwrap()).unwrap();
        assert!(
            std::str::from_utf8(&first).is_err(),
            "the first is Windows-1250"
        );
        let (text, _, bad) = encoding_rs::WINDOWS_1250.decode(&first);
        assert!(!bad && text.contains("\r\nkod;nazwa;stan;cena;waluta\r\n"));
        let second = fs::read(acme.drop_file().unwrap()).unwrap();
        assert!(second.starts_with(b"\xEF\xBB\xBF"));
        let left: Vec<_> = fs::read_dir(folder.path().join("in")).unwrap().collect();
        assert_eq!(left.len(), 2, "no .part is left behind");

        let reply = folder.path().join("reply");
        fs::create_dir(&reply).unwrap();
        fs::write(reply.join("stan-00001.csv.1a2b.reply.csv"), "line,reason\n").unwrap();
        assert_eq!(acme.read_answers().unwrap(), 1);
        assert_eq!(acme.read_answers().unwrap(), 0, "each is read once");
    }
}
