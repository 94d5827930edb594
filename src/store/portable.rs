//! Moving and judging whole stores: export, import, check. Pure library functions; the command line
//! prints their reports.
//!
//! An export is a text of lines that any tool can count, cut and search:
//!
//! ```text
//! {"crossdock_store_export":2,"engine":"sled","at":"2026-11-22T00:00:00Z","rows":2}
//! {"k":"<base64>","v":"<base64>"}                                   one per row, keys ascending
//! {"end":{"rows":2,"blake3":"<hash of all bytes before this line>"}}
//! ```
//!
//! It holds everything a store holds, and therefore personal data: keep it like the store. Refresh tokens in it
//! are sealed: without the configuration nobody can read them, and whoever imports it elsewhere must not run both,
//! as a token that was used there is over here.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::dir::Birth;
use super::disk::DiskStore;
use super::table::{CheckRow, Shape, TABLES, TableInfo, describe, table_of};
use super::{
    EngineKind, FORMAT, KeyRange, MAX_BATCH_ROWS, MAX_KEY_BYTES, MAX_VALUE_BYTES, Row, Store,
    StoreError, WriteBatch,
};
use super::{blocks, codec};
use crate::clock::Timestamp;

/// The longest line of an export: the largest row in base64, and its punctuation.
const MAX_LINE_BYTES: usize = (MAX_KEY_BYTES + MAX_VALUE_BYTES) / 3 * 4 + 256;

/// How many bytes an import commits at once.
const IMPORT_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The largest payload that a check unpacks.
const CHECK_PAYLOAD_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    crossdock_store_export: u32,
    engine: String,
    at: Timestamp,
    rows: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    k: String,
    v: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Trailer {
    end: End,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    rows: u64,
    blake3: String,
}

/// What an export or import moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// How many rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// The checksum in the last line of the export.
    pub blake3: String,
}

/// Writes all rows of `store` to `out`. `at` is now.
pub fn export(store: &dyn Store, out: &mut dyn Write, at: Timestamp) -> Result<Moved, StoreError> {
    let mut rows = 0;
    walk(store, |_| {
        rows += 1;
        Ok(())
    })?;
    let mut lines = LineWriter {
        out,
        hasher: blake3::Hasher::new(),
    };
    lines.write(&Header {
        crossdock_store_export: FORMAT,
        engine: store.name().to_owned(),
        at,
        rows,
    })?;
    let mut bytes = 0;
    walk(store, |row| {
        bytes += (row.key.len() + row.value.len()) as u64;
        lines.write(&Line {
            k: BASE64.encode(&row.key),
            v: BASE64.encode(&row.value),
        })
    })?;
    let blake3 = lines.hasher.finalize().to_hex().to_string();
    lines.write(&Trailer {
        end: End {
            rows,
            blake3: blake3.clone(),
        },
    })?;
    out.flush()
        .map_err(|error| StoreError::io("writing the export", &error))?;
    Ok(Moved {
        rows,
        bytes,
        blake3,
    })
}

/// Makes a store in the empty directory `dir` from the export at `path`. The export is read to its end
/// and judged before anything is made; until the last row is in, nothing opens the directory.
pub fn import(
    path: &Path,
    kind: EngineKind,
    dir: &Path,
    birth: Birth,
) -> Result<Moved, StoreError> {
    read_export(path, &mut |_| Ok(()))?;
    let mut store = DiskStore::begin_import(kind, dir, birth)?;
    let moved = fill(&mut store, path)?;
    store.finish()?;
    Ok(moved)
}

/// Puts the rows of the export at `path` into `store`, which must be empty. When this fails half-way
/// the store is of no use: give it no other chance to be taken for whole.
pub fn fill(store: &mut dyn Store, path: &Path) -> Result<Moved, StoreError> {
    if !store.scan(&KeyRange::all(), 1)?.is_empty() {
        return Err(StoreError::Refused {
            path: path.to_owned(),
            what: "the store to import into is not empty".into(),
            help: "import into an empty directory".into(),
        });
    }
    let mut batch = WriteBatch::new();
    let moved = read_export(path, &mut |row| {
        batch.put(row.key, row.value);
        if batch.len() >= MAX_BATCH_ROWS || batch.bytes() >= IMPORT_BATCH_BYTES {
            store.commit(std::mem::take(&mut batch))?;
        }
        Ok(())
    })?;
    store.commit(batch)?;
    Ok(moved)
}

/// Reads an export from header to trailer and shows its rows to `show`; an error after some rows were
/// shown means that they are not the whole.
fn read_export(
    path: &Path,
    show: &mut dyn FnMut(Row) -> Result<(), StoreError>,
) -> Result<Moved, StoreError> {
    let file = File::open(path).map_err(|error| StoreError::io_at("opening", path, &error))?;
    let mut lines = LineReader::new(path, BufReader::new(file));
    let header: Header = lines.header()?;
    let mut before: Option<Vec<u8>> = None;
    let (mut rows, mut bytes) = (0, 0);
    loop {
        let hash = lines.hasher.finalize();
        let Some(line) = lines.next()? else {
            return Err(lines.damaged(&format!("it ends after {rows} of {} rows", header.rows)));
        };
        if line.starts_with(br#"{"end""#) {
            let Trailer { end } = lines.parse(&line)?;
            if end.rows != rows || header.rows != rows {
                return Err(
                    lines.damaged(&format!("it has {rows} rows and announces {}", header.rows))
                );
            }
            if end.blake3 != hash.to_hex().as_str() {
                return Err(lines.damaged("its checksum is wrong"));
            }
            if lines.next()?.is_some() {
                return Err(lines.damaged("there are lines behind the last one"));
            }
            return Ok(Moved {
                rows,
                bytes,
                blake3: end.blake3,
            });
        }
        let Line { k, v } = lines.parse(&line)?;
        let row = match (BASE64.decode(k), BASE64.decode(v)) {
            (Ok(key), Ok(value)) => Row { key, value },
            _ => return Err(lines.damaged("a row is no base64")),
        };
        if before.is_some_and(|before| before >= row.key) {
            return Err(lines.damaged("its keys are out of order"));
        }
        before = Some(row.key.clone());
        rows += 1;
        bytes += (row.key.len() + row.value.len()) as u64;
        show(row)?;
    }
}

struct LineWriter<'o> {
    out: &'o mut dyn Write,
    hasher: blake3::Hasher,
}

impl LineWriter<'_> {
    fn write(&mut self, line: &impl Serialize) -> Result<(), StoreError> {
        let mut text = serde_json::to_vec(line).map_err(|error| StoreError::Unencodable {
            what: "line of an export",
            message: error.to_string(),
        })?;
        text.push(b'\n');
        self.hasher.update(&text);
        self.out
            .write_all(&text)
            .map_err(|error| StoreError::io("writing the export", &error))
    }
}

struct LineReader<'p, R> {
    path: &'p Path,
    input: R,
    /// Of all lines read so far.
    hasher: blake3::Hasher,
    number: u64,
}

impl<'p, R: BufRead> LineReader<'p, R> {
    fn new(path: &'p Path, input: R) -> Self {
        Self {
            path,
            input,
            hasher: blake3::Hasher::new(),
            number: 0,
        }
    }

    fn header(&mut self) -> Result<Header, StoreError> {
        // The version first: a newer header may have any other shape.
        #[derive(Deserialize)]
        struct Format {
            crossdock_store_export: u32,
        }
        let line = self.next()?.ok_or_else(|| self.damaged("it is empty"))?;
        let Format {
            crossdock_store_export: found,
        } = self.parse(&line)?;
        StoreError::check_format(self.path, found)?;
        self.parse(&line)
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut line = Vec::new();
        let mut bounded = self.input.by_ref().take(MAX_LINE_BYTES as u64);
        let read = bounded.read_until(b'\n', &mut line);
        read.map_err(|error| StoreError::io_at("reading", self.path, &error))?;
        self.number += 1;
        match line.last() {
            None => Ok(None),
            Some(b'\n') => {
                self.hasher.update(&line);
                Ok(Some(line))
            }
            Some(_) => Err(self.damaged("the line is cut off or too long")),
        }
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, line: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(line).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Corrupt {
            path: format!("{} line {}", self.path.display(), self.number),
            what: what.into(),
            help: "nothing was imported; use another export".into(),
        }
    }
}

/// Shows every row to `show`, in key order.
fn walk(
    store: &dyn Store,
    mut show: impl FnMut(Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut rest = KeyRange::all();
    loop {
        let page = store.scan(&rest, MAX_BATCH_ROWS)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        rest = rest.after(&last.key);
        page.into_iter().try_for_each(&mut show)?;
    }
}

/// How many problems a check lists; it counts all of them.
const MAX_PROBLEMS: usize = 100;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// The tables that have rows, in the order of [`TABLES`].
    pub tables: Vec<TableCount>,
    /// Bytes on disk.
    pub size_on_disk: u64,
    /// Bytes of all keys and values: what a compaction cannot shrink.
    pub live_bytes: u64,
    /// The first problems, each a sentence that names the row.
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: u64,
}

/// The content of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCount {
    /// Its name.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// How many values: more than rows where they are packed in blocks.
    pub values: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

/// Reads every row of the store in `dir`, which nobody else may have open, and decodes it.
pub fn check_dir(dir: &Path, decoders: &[(TableInfo, CheckRow)]) -> Result<Checked, StoreError> {
    Ok(check(&DiskStore::open_existing(dir)?, decoders))
}

/// Reads every row of `store` and decodes it: with the function of its table in `decoders`, see
/// [`Table::check_row`](super::Table::check_row), or as far as its outer shape goes. What cannot be
/// read is a problem in the report, not an error.
pub fn check(store: &dyn Store, decoders: &[(TableInfo, CheckRow)]) -> Checked {
    let mut counts: Vec<TableCount> = TABLES.iter().map(TableCount::none).collect();
    let mut report = Checked::default();
    let walked = walk(store, |row| {
        let bytes = (row.key.len() + row.value.len()) as u64;
        report.live_bytes += bytes;
        let Some(table) = table_of(&row.key) else {
            report.problem(format!("row {} belongs to no table", describe(&row.key)));
            return Ok(());
        };
        let values = match check_row(table, &row, decoders) {
            Ok(values) => values,
            Err(error) => {
                report.problem(error.to_string());
                0
            }
        };
        if let Some(count) = counts.iter_mut().find(|count| count.name == table.name) {
            count.rows += 1;
            count.values += values;
            count.bytes += bytes;
        }
        Ok(())
    });
    if let Err(error) = walked {
        report.problem(format!("the walk through the store ended early: {error}"));
    }
    match store.size_on_disk() {
        Ok(size) => report.size_on_disk = size,
        Err(error) => report.problem(error.to_string()),
    }
    counts.retain(|count| count.rows > 0);
    report.tables = counts;
    report
}

impl Checked {
    fn problem(&mut self, what: String) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(what);
        }
    }
}

impl TableCount {
    fn none(table: &TableInfo) -> Self {
        Self {
            name: table.name,
            rows: 0,
            values: 0,
            bytes: 0,
        }
    }
}

/// Decodes one row; returns how many values it holds.
fn check_row(
    table: &TableInfo,
    row: &Row,
    decoders: &[(TableInfo, CheckRow)],
) -> Result<u64, StoreError> {
    let known = decoders
        .iter()
        .find(|(info, _)| info.prefix == table.prefix);
    match (table.shape, known) {
        (Shape::Blocks, _) => blocks::check_row(row).map(|count| count as u64),
        (_, Some((_, decode))) => decode(row).map(|()| 1),
        (Shape::Rows, None) => codec::check_shape(&row.value, || describe(&row.key)).map(|_| 1),
        (Shape::Packed, None) => {
            codec::unpack(&row.value, CHECK_PAYLOAD_BYTES, || describe(&row.key)).map(|_| 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::table::{CELL, META, PAYLOADS};
    use crate::store::{Blocks, Txn};

    const AT: &str = "2026-11-22T00:00:00Z";

    fn birth() -> Birth {
        Birth {
            at: AT.parse().unwrap(),
            id: Uuid::from_u128(7),
        }
    }

    /// One row of each shape.
    fn sample() -> MemoryStore {
        let mut store = MemoryStore::new();
        let mut txn = Txn::new(&store);
        txn.put(
            [&[META.prefix], b"name".as_slice()].concat(),
            b"\x01{\"text\":\"blue\"}".as_slice(),
        );
        let blocks = Blocks::new(CELL, &("north", "stock"));
        blocks.put(&mut txn, "SKU-1", b"12").unwrap();
        blocks.put(&mut txn, "SKU-2", b"0").unwrap();
        let payload = codec::pack(b"payload").unwrap();
        txn.put([&[PAYLOADS.prefix], b"p".as_slice()].concat(), payload);
        let batch = txn.into_batch();
        store.commit(batch).unwrap();
        store
    }

    fn exported(store: &dyn Store) -> String {
        let mut out = Vec::new();
        export(store, &mut out, AT.parse().unwrap()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_golden_export_still_reads_and_is_still_written() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/golden/export-2.jsonl");
        let mut store = MemoryStore::new();
        let moved = fill(&mut store, &golden).unwrap();
        assert_eq!(moved.rows, 3);
        let report = check(&store, &[]);
        assert_eq!(
            (report.problem_count, report.tables.len()),
            (0, 3),
            "{report:?}"
        );
        assert_eq!(report.tables[1].values, 2);
        assert_eq!(exported(&sample()), fs::read_to_string(golden).unwrap());
    }

    /// Through an export a store moves from any engine to any other.
    #[test]
    fn an_import_is_the_store_that_was_exported() {
        let temp = tempfile::tempdir().unwrap();
        let mut store = sample();
        for n in 0..1200u32 {
            let mut batch = WriteBatch::new();
            batch.put(
                [&[META.prefix, b'n'], n.to_be_bytes().as_slice()].concat(),
                b"\x01{}".as_slice(),
            );
            store.commit(batch).unwrap();
        }
        let all = |store: &dyn Store| store.scan(&KeyRange::all(), usize::MAX).unwrap();
        let mut path = temp.path().join("memory.jsonl");
        fs::write(&path, exported(&store)).unwrap();
        for kind in EngineKind::ALL {
            let dir = temp.path().join(kind.name());
            let moved = import(&path, kind, &dir, birth()).unwrap();
            assert_eq!(moved.rows, 1203);
            let imported = DiskStore::open_existing(&dir).unwrap();
            assert_eq!(all(&imported), all(&store));
            // The next engine gets it from this one.
            path = temp.path().join(format!("{}.jsonl", kind.name()));
            fs::write(&path, exported(&imported)).unwrap();
            drop(imported);
            assert_eq!(check_dir(&dir, &[]).unwrap().problems, Vec::<String>::new());
            let again = import(&path, kind, &dir, birth());
            assert!(matches!(again, Err(StoreError::Refused { .. })));
        }
        let refused = fill(&mut store, &path).unwrap_err();
        assert!(refused.to_string().contains("not empty"), "{refused}");
    }

    #[test]
    fn a_cut_or_changed_export_imports_nothing() {
        let whole = exported(&sample());
        let lines: Vec<&str> = whole.lines().collect();
        let without = |skip: usize| {
            let kept = lines.iter().enumerate().filter(|(n, _)| *n != skip);
            let mut kept: Vec<&str> = kept.map(|(_, line)| *line).collect();
            kept.push("");
            kept.join("\n")
        };
        let cases = [
            (String::new(), "it is empty"),
            (whole[..whole.len() / 2].to_owned(), "cut off"),
            (without(4), "it ends after 3 of 3 rows"),
            (without(3), "it has 2 rows and announces 3"),
            (without(0), "missing field `crossdock_store_export`"),
            (
                whole.replacen("\"v\":\"A", "\"v\":\"B", 1),
                "its checksum is wrong",
            ),
            (whole.replacen("\"v\":\"A", "\"v\":\"!", 1), "no base64"),
            (format!("{whole}{{}}\n"), "lines behind the last one"),
            (
                whole.replacen("export\":2", "export\":1", 1),
                "it has format 1, this crossdock reads 2",
            ),
            (
                whole.replacen("export\":2", "export\":3", 1),
                "reads up to 2",
            ),
            (
                [lines[0], lines[2], lines[1], lines[3], lines[4], ""].join("\n"),
                "out of order",
            ),
        ];
        for (text, expect) in cases {
            let temp = tempfile::tempdir().unwrap();
            let (path, dir) = (temp.path().join("export.jsonl"), temp.path().join("store"));
            fs::write(&path, text).unwrap();
            let error = import(&path, EngineKind::Sled, &dir, birth())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expect), "{error}");
            assert!(!dir.exists(), "{expect}");
        }
    }

    #[test]
    fn a_check_lists_what_it_cannot_decode() {
        let mut store = sample();
        let mut batch = WriteBatch::new();
        batch.put([META.prefix, b'x'], b"\x01{".as_slice());
        batch.put([CELL.prefix, b'x'], b"\x01".as_slice());
        batch.put([PAYLOADS.prefix, b'x'], b"\x02".as_slice());
        batch.put([0xFE, b'x'], b"".as_slice());
        store.commit(batch).unwrap();
        let reject: CheckRow = |row| Err(StoreError::corrupt_row(describe(&row.key), "as asked"));
        let report = check(&store, &[(META, reject)]);
        assert_eq!(report.problem_count, 5);
        let problems = report.problems.join("\n");
        for expect in [
            "row meta(name) is damaged: as asked",
            "row meta(x) is damaged: as asked",
            "row cell(x) is damaged: the block is cut off",
            "row payload(x) is damaged: it is packed in an unknown way",
            "row (\\xfex) belongs to no table",
        ] {
            assert!(problems.contains(expect), "{expect}: {problems}");
        }
        store.disk().fail_read_after(0);
        let report = check(&store, &[]);
        assert!(report.problems[0].starts_with("the walk through the store ended early"));
    }
}
