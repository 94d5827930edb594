//! How long a million small values take on their way into the store, and a changed hundredth.
//!
//! `cargo bench --bench store_blocks [-- <directory>]`; the directory is emptied first and should be
//! on the disk in question. Times depend on the machine: compare runs of one sitting only, and on a busy
//! machine the CPU seconds, which count all threads of the process.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement prints, reads the clock and may panic"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossdock::store::dir::Birth;
use crossdock::store::table::CELL;
use crossdock::store::{Blocks, DiskStore, EngineKind, MAX_BATCH_ROWS, Store, Txn, WriteBatch};

const KEYS: u32 = 1_000_000;
const VALUE_BYTES: usize = 40;

fn key(n: u32) -> String {
    format!("SKU-{n:08}")
}

/// Bytes that do not compress, as fingerprints do not; another `generation` has others.
fn value(n: u32, generation: u8) -> [u8; VALUE_BYTES] {
    let mut random = fastrand::Rng::with_seed(u64::from(n) << 8 | u64::from(generation));
    std::array::from_fn(|_| random.u8(..))
}

fn main() {
    let temp = tempfile::tempdir().unwrap();
    // `cargo bench` hands `--bench` to a harness; a directory is anything else.
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let dir = given.map_or_else(|| temp.path().to_owned(), PathBuf::from);
    for kind in EngineKind::ALL {
        println!("-- {}", kind.name());
        measure(kind, &dir.join(kind.name()));
    }
}

fn measure(kind: EngineKind, dir: &Path) {
    let birth = Birth {
        at: "2026-11-22T00:00:00Z".parse().unwrap(),
        id: "019ab000-0000-7000-8000-000000000001".parse().unwrap(),
    };
    let _ = std::fs::remove_dir_all(dir);
    let mut store = DiskStore::open(kind, dir, birth).unwrap();

    let all = |changed_by: fn(u32) -> u8| {
        (0..KEYS)
            .map(move |n| (key(n), value(n, changed_by(n))))
            .collect::<Vec<_>>()
    };
    let first = all(|_| 0);
    merge("first merge of 1,000,000 keys", &mut store, &first);
    merge("the same again, nothing changed", &mut store, &first);
    let second = all(|n| u8::from(n % 100 == 0));
    merge("all keys again, 1% changed, scattered", &mut store, &second);
    let sparse: Vec<_> = (0..KEYS)
        .step_by(100)
        .map(|n| (key(n), value(n, 2)))
        .collect();
    merge("only the 1%, changed again, scattered", &mut store, &sparse);
    let dense: Vec<_> = (500_000..510_000).map(|n| (key(n), value(n, 3))).collect();
    merge("1%, changed, neighbours", &mut store, &dense);

    read(&store);
    single_commits(&mut store);
    let size = store.size_on_disk().unwrap();
    let ((), closing) = timed(|| drop(store));
    let (store, opening) = timed(|| DiskStore::open_existing(dir).unwrap());
    println!(
        "close {closing:.1?}, open {opening:.1?} with {:.0} MB",
        megabytes(size)
    );
    compaction(store);
}

fn merge(what: &str, store: &mut DiskStore, data: &[(String, [u8; VALUE_BYTES])]) {
    let mut changes = data
        .iter()
        .map(|(key, value)| (key.as_str(), Some(value)))
        .peekable();
    let (mut rows, mut bytes, mut commits, mut merging) = (0, 0, 0, Duration::ZERO);
    let cpu = cpu_seconds();
    let ((), total) = timed(|| {
        loop {
            let ((step, batch), time) = timed(|| {
                let mut txn = Txn::new(store);
                let step = blocks()
                    .merge(&mut txn, &mut changes, MAX_BATCH_ROWS)
                    .unwrap();
                (step, txn.into_batch())
            });
            merging += time;
            rows += step.rows;
            bytes += batch.bytes();
            commits += u32::from(!batch.is_empty());
            store.commit(batch).unwrap();
            if step.done {
                break;
            }
        }
    });
    let cpu = cpu_seconds() - cpu;
    let disk = megabytes(store.size_on_disk().unwrap());
    let written = bytes as f64 / 1e6;
    println!(
        "{what}: {total:.3?} ({cpu:.2} CPU s) of which merging {merging:.3?}; {rows} rows, {written:.1} MB in \
         {commits} commits; {disk:.0} MB on disk"
    );
}

fn read(store: &DiskStore) {
    let txn = Txn::new(store);
    let sample: Vec<String> = (0..KEYS).step_by(101).map(key).collect();
    let ((), time) = timed(|| {
        for key in &sample {
            assert!(blocks().get(&txn, key).unwrap().is_some());
        }
    });
    println!(
        "one key: {:.1?}",
        time / u32::try_from(sample.len()).unwrap()
    );
    let (count, time) = timed(|| blocks().count(&txn).unwrap());
    println!("counting {count} keys: {time:.1?}");
}

fn single_commits(store: &mut DiskStore) {
    const COMMITS: u32 = 500;
    let ((), time) = timed(|| {
        for n in 0..COMMITS {
            let mut txn = Txn::new(store);
            blocks()
                .put(&mut txn, &key(n * 1_999 % KEYS), &value(n, 9))
                .unwrap();
            let batch = txn.into_batch();
            store.commit(batch).unwrap();
        }
    });
    println!("one key of a block and commit: {:.1?}", time / COMMITS);
    let ((), time) = timed(|| {
        for n in 0..COMMITS {
            let mut batch = WriteBatch::new();
            for row in 0..3 {
                batch.put(
                    [b" ".as_slice(), &(n * 3 + row).to_be_bytes()].concat(),
                    vec![0; 300],
                );
            }
            store.commit(batch).unwrap();
        }
    });
    println!("three rows of 300 bytes and commit: {:.1?}", time / COMMITS);
}

fn compaction(mut store: DiskStore) {
    let (done, time) = timed(|| store.compact().unwrap().unwrap());
    let (before, after) = (megabytes(done.before), megabytes(done.after));
    println!(
        "compaction of {} rows: {time:.1?}, {before:.0} MB to {after:.0} MB",
        done.rows
    );
}

fn blocks() -> Blocks {
    Blocks::new(CELL, &("north", "stock"))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let done = work();
    (done, begin.elapsed())
}

/// User and system time of this process, from Linux; zero elsewhere.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields behind the name, which stands in brackets: the 12th and 13th are the times.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
