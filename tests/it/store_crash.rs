//! Kills a process that commits, at random moments, and looks at what it left.
//!
//! The child is this very binary: `child` does nothing unless the parent set [`CHILD_DIR`]. It opens
//! the store, looks for damage, and commits batches; after each commit it says `ack N`. A batch is a
//! handful of rows with values made from its number, some of them removed again by the next batch, and
//! a last row with the number of the batch and a hash over its other rows. So the parent can tell from the rows
//! alone whether a batch is whole.
//!
//! A kill is no power cut: what the kernel holds in memory survives it. That every commit ends in an
//! `fdatasync` is asserted by looking at the system calls.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crossdock::store::dir::Birth;
use crossdock::store::{DiskStore, EngineKind, KeyRange, Store, StoreError, WriteBatch};

/// Where the child opens its store; without it the child is a test that passes.
const CHILD_DIR: &str = "CROSSDOCK_TEST_STORE_DIR";
/// After how many commits the child ends by itself.
const CHILD_COMMITS: &str = "CROSSDOCK_TEST_STORE_COMMITS";
/// Lets the child compact over and over instead of committing.
const CHILD_COMPACTS: &str = "CROSSDOCK_TEST_STORE_COMPACTS";

/// Which engine the child opens, by its name.
const CHILD_ENGINE: &str = "CROSSDOCK_TEST_STORE_ENGINE";

/// The store under test.
fn open(kind: EngineKind, dir: &Path) -> Result<DiskStore, StoreError> {
    let birth = Birth {
        at: "2026-11-22T00:00:00Z".parse().unwrap(),
        id: "019ab000-0000-7000-8000-000000000001".parse().unwrap(),
    };
    DiskStore::open(kind, dir, birth)
}

/// How many rows a batch has beside its summary, and how large they are; a few batches have rows that
/// do not fit in an ordinary page.
fn rows_of(batch: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(batch);
    let large = batch % 40 == 7;
    let count = random.usize(1..if large { 4 } else { 30 });
    let rows = (0..count).map(|row| {
        let len = if large {
            random.usize(60_000..150_000)
        } else {
            random.usize(0..900)
        };
        // Keys of many batches lie between each other, so that commits change the same pages.
        let place = random.u8(..).to_be_bytes();
        let key = [
            b"r".as_slice(),
            &place,
            &batch.to_be_bytes(),
            &row.to_be_bytes(),
        ]
        .concat();
        (
            key,
            std::iter::repeat_with(|| random.u8(..)).take(len).collect(),
        )
    });
    rows.collect()
}

/// Every third batch is removed again by its successor.
fn is_removed_by_successor(batch: u64) -> bool {
    batch.is_multiple_of(3)
}

fn summary_key(batch: u64) -> Vec<u8> {
    [b"s".as_slice(), &batch.to_be_bytes()].concat()
}

fn write_batch(batch: u64) -> WriteBatch {
    let mut writes = WriteBatch::new();
    let rows = rows_of(batch);
    writes.put(summary_key(batch), hash(&rows).as_bytes().to_vec());
    for (key, value) in rows {
        writes.put(key, value);
    }
    if batch > 0 && is_removed_by_successor(batch - 1) {
        writes.delete(summary_key(batch - 1));
        for (key, _) in rows_of(batch - 1) {
            writes.delete(key);
        }
    }
    writes
}

fn hash(rows: &[(Vec<u8>, Vec<u8>)]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (key, value) in rows {
        hasher.update(key).update(value);
    }
    hasher.finalize()
}

/// The number of the next batch, after asserting that the store holds exactly the batches before it.
fn verify(store: &dyn Store) -> u64 {
    let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for row in store.scan(&KeyRange::all(), usize::MAX).unwrap() {
        rows.insert(row.key, row.value);
    }
    let last = store.last(&KeyRange::prefix(b"s".as_slice())).unwrap();
    let Some(last) = last else {
        assert!(rows.is_empty(), "rows without a summary");
        return 0;
    };
    let next = u64::from_be_bytes(last.key[1..].try_into().unwrap()) + 1;
    for batch in 0..next {
        if batch + 1 < next && is_removed_by_successor(batch) {
            continue;
        }
        let summary = rows.remove(&summary_key(batch));
        let summary = summary.unwrap_or_else(|| panic!("batch {batch} of {next} is missing"));
        let found: Vec<_> = rows_of(batch)
            .into_iter()
            .map(|(key, _)| {
                let value = rows.remove(&key);
                (
                    key,
                    value.unwrap_or_else(|| panic!("a row of batch {batch} is missing")),
                )
            })
            .collect();
        assert_eq!(summary, hash(&found).as_bytes(), "batch {batch} is torn");
    }
    assert!(rows.is_empty(), "{} rows of no batch", rows.len());
    next
}

#[test]
#[allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "speaks to its parent"
)]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let commits = std::env::var(CHILD_COMMITS).map_or(u64::MAX, |count| count.parse().unwrap());
    let mut out = std::io::stdout();
    let mut say = |line: String| {
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let dir = Path::new(&dir);
    let engine = std::env::var(CHILD_ENGINE).unwrap();
    let mut store = open(EngineKind::of(&engine).unwrap(), dir).unwrap();
    while std::env::var_os(CHILD_COMPACTS).is_some() {
        say("\ncompact\n".into());
        store.compact().unwrap();
    }
    let first = verify(&store);
    say(format!("\nopen {first}\n"));
    for batch in first..first.saturating_add(commits) {
        match store.commit(write_batch(batch)) {
            Ok(()) => say(format!("ack {batch}\n")),
            Err(error) => {
                say(format!("failed {}\n", error.code()));
                assert_eq!(store.get(b"x"), Err(StoreError::Closed));
                return;
            }
        }
    }
}

/// This binary as a child on `dir`.
fn child_command(kind: EngineKind, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "store_crash::child",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(CHILD_DIR, dir).env(CHILD_ENGINE, kind.name());
    command
}

/// Starts the child and a thread that reads what it says, line by line.
fn start(mut command: Command) -> (Child, mpsc::Receiver<String>) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Ends with the child: its death closes the pipe.
        out.lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    (child, receiver)
}

/// What a run of kills has seen.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    in_creation: u32,
    before_commits: u32,
    committed: u64,
}

/// When a child is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// This long after it was started: while it creates, recovers or opens.
    AfterStart(Duration),
    /// This long after so many acknowledgements, or beginnings of a compaction.
    AfterAcks(u32, Duration),
}

/// Waits for the moment and kills; returns the batch behind the last acknowledged one, if any was.
fn kill_at(moment: Moment, command: Command) -> Option<u64> {
    let (mut child, said) = start(command);
    let mut acked = None;
    let mut note = |line: String| {
        let ack = line
            .strip_prefix("ack ")
            .and_then(|number| number.parse::<u64>().ok());
        acked = ack.map(|batch| batch + 1).or(acked);
        ack.is_some() || line == "compact"
    };
    let delay = match moment {
        Moment::AfterStart(delay) => delay,
        Moment::AfterAcks(wanted, delay) => {
            let mut seen = 0;
            while seen < wanted {
                let line = said.recv_timeout(Duration::from_secs(30));
                seen += u32::from(note(
                    line.unwrap_or_else(|_| panic!("no ack {seen} in sight")),
                ));
            }
            delay
        }
    };
    thread::sleep(delay);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    let mut complaint = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaint)
        .unwrap();
    assert!(
        !complaint.contains("panicked"),
        "the child failed, {moment:?}: {complaint}"
    );
    assert!(!status.success(), "the child ended by itself, {moment:?}");
    for line in said {
        note(line);
    }
    acked
}

/// Kills one child and asserts what it left in `dir`, where `known` batches were before.
fn kill_once(kind: EngineKind, dir: &Path, moment: Moment, known: u64, tally: &mut Tally) -> u64 {
    let acked = kill_at(moment, child_command(kind, dir));
    let phase = fs::read_to_string(dir.join("CROSSDOCK")).unwrap_or_default();
    tally.in_creation += u32::from(!phase.contains("ready"));
    tally.before_commits += u32::from(acked.is_none());
    let store = open(kind, dir).unwrap_or_else(|error| panic!("{moment:?}: {error}"));
    let next = verify(&store);
    let acked = acked.unwrap_or(known);
    assert!(
        next >= acked,
        "batches up to {acked} were acknowledged, {next} are there"
    );
    assert!(
        next <= acked + 1,
        "{next} are there, {acked} were acknowledged"
    );
    tally.kills += 1;
    tally.committed += next - known;
    next
}

fn is_long_run() -> bool {
    #[allow(clippy::disallowed_methods, reason = "a switch of the test runner")]
    std::env::var_os("CROSSDOCK_LONG").is_some()
}

#[test]
fn a_killed_process_loses_and_tears_nothing_in_sled() {
    a_killed_process_loses_and_tears_nothing(EngineKind::Sled);
}

#[test]
fn a_killed_process_loses_and_tears_nothing_in_redb() {
    a_killed_process_loses_and_tears_nothing(EngineKind::Redb);
}

#[allow(clippy::print_stderr, reason = "what was covered is worth reading")]
fn a_killed_process_loses_and_tears_nothing(kind: EngineKind) {
    let kills = if is_long_run() { 300 } else { 30 };
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::default();
    let mut dir = tempfile::tempdir().unwrap();
    let mut known = 0;
    for kill in 0..kills {
        // A new directory now and then: the first moments of a store are the ones that go wrong.
        if kill % 5 == 0 {
            dir = tempfile::tempdir().unwrap();
            known = 0;
        }
        let moment = if kill % 5 < 2 {
            // Creating takes some ten milliseconds, opening a few less.
            Moment::AfterStart(Duration::from_micros(random.u64(0..60_000)))
        } else {
            let pause = Duration::from_micros(random.u64(0..5_000));
            Moment::AfterAcks(random.u32(1..80), pause)
        };
        known = kill_once(kind, dir.path(), moment, known, &mut tally);
    }
    eprintln!("{tally:?}");
}

#[test]
fn a_killed_compaction_loses_nothing_in_sled() {
    a_killed_compaction_loses_nothing(EngineKind::Sled);
}

#[test]
fn a_killed_compaction_loses_nothing_in_redb() {
    a_killed_compaction_loses_nothing(EngineKind::Redb);
}

#[allow(clippy::print_stderr, reason = "what was covered is worth reading")]
fn a_killed_compaction_loses_nothing(kind: EngineKind) {
    let kills = if is_long_run() { 60 } else { 6 };
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let temp = tempfile::tempdir().unwrap();
    let mut command = child_command(kind, temp.path());
    command.env(CHILD_COMMITS, "60");
    let (mut child, said) = start(command);
    assert!(child.wait().unwrap().success());
    assert!(said.iter().any(|line| line == "ack 59"));
    let mut cut_short = 0;
    for _ in 0..kills {
        let mut command = child_command(kind, temp.path());
        command.env(CHILD_COMPACTS, "1");
        let pause = Duration::from_micros(random.u64(0..80_000));
        let moment = Moment::AfterAcks(random.u32(1..3), pause);
        kill_at(moment, command);
        let left = ["new", "old"].map(|copy| {
            let name = format!("{}.{copy}", kind.name());
            temp.path().join(name).exists()
        });
        cut_short += u32::from(left.contains(&true));
        let store = open(kind, temp.path()).unwrap_or_else(|error| panic!("{moment:?}: {error}"));
        assert_eq!(verify(&store), 60);
    }
    eprintln!("{cut_short} of {kills} compactions were cut short");
}

#[test]
fn every_commit_of_sled_ends_in_one_fdatasync() {
    every_commit_ends_in_one_fdatasync(EngineKind::Sled);
}

#[test]
fn every_commit_of_redb_ends_in_one_fdatasync() {
    every_commit_ends_in_one_fdatasync(EngineKind::Redb);
}

#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn every_commit_ends_in_one_fdatasync(kind: EngineKind) {
    const COMMITS: u64 = 60;
    let temp = tempfile::tempdir().unwrap();
    let trace = temp.path().join("trace");
    let plain = child_command(kind, &temp.path().join("store"));
    let mut traced = Command::new("strace");
    traced.args(["-f", "-o"]).arg(&trace);
    traced.args(["-e", "trace=write,fsync,fdatasync,sync_file_range"]);
    traced.arg(plain.get_program()).args(plain.get_args());
    traced
        .env(CHILD_DIR, temp.path().join("store"))
        .env(CHILD_ENGINE, kind.name())
        .env(CHILD_COMMITS, COMMITS.to_string());
    let Ok(output) = traced.output() else {
        eprintln!("SKIPPED: strace is not installed, so no system calls were counted");
        return;
    };
    let trace = fs::read_to_string(&trace).unwrap_or_default();
    if trace.is_empty() || trace.contains("ptrace") {
        eprintln!(
            "SKIPPED: strace may not trace here: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    // The thread that commits is the one that says `ack`; sled's own threads sync as they like.
    let thread = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let committer = trace
        .lines()
        .find(|line| line.contains("\"open 0") || line.contains("\\nopen 0"));
    let committer = committer.and_then(thread).unwrap();
    let mut syncs = Vec::new();
    let mut since_ack = 0;
    for line in trace
        .lines()
        .filter(|line| thread(line).as_ref() == Some(&committer))
    {
        let begins = !line.contains(" resumed>");
        if line.contains("open 0") {
            since_ack = 0;
        } else if line.contains("write(1, \"ack ") {
            syncs.push(since_ack);
            since_ack = 0;
        } else if begins && line.contains("fdatasync(") {
            since_ack += 1;
        }
    }
    assert_eq!(syncs.len(), usize::try_from(COMMITS).unwrap());
    assert!(!syncs.contains(&0), "{syncs:?}");
    // redb needs a second one now and then: when its file grows.
    let more = syncs.iter().filter(|syncs| **syncs > 1).count();
    let growths = if kind == EngineKind::Redb { 5 } else { 0 };
    assert!(more <= growths && !syncs.contains(&3), "{syncs:?}");
}

/// A file-size limit stands for a full disk: it needs no file system of its own.
#[test]
fn a_full_disk_is_an_error_and_loses_nothing_in_sled() {
    a_full_disk_is_an_error_and_loses_nothing(EngineKind::Sled);
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing_in_redb() {
    a_full_disk_is_an_error_and_loses_nothing(EngineKind::Redb);
}

#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn a_full_disk_is_an_error_and_loses_nothing(kind: EngineKind) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("store");
    let plain = child_command(kind, &dir);
    let mut limited = Command::new("sh");
    // 4096 blocks of 512 bytes or 1 KiB, as the shell likes. Without the trap the signal would kill.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""]);
    limited.arg(plain.get_program()).args(plain.get_args());
    limited.env(CHILD_DIR, &dir).env(CHILD_ENGINE, kind.name());
    let (mut child, said) = start(limited);
    let mut lines = Vec::new();
    let ended = loop {
        match said.recv_timeout(Duration::from_secs(20)) {
            Ok(line) => lines.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let mut complaint = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaint)
        .unwrap();
    assert!(
        ended,
        "the child hangs on a full disk after {:?}: {complaint}",
        lines.last()
    );
    let acks = lines.iter().filter_map(|line| line.strip_prefix("ack "));
    let acked = acks.map(|number| number.parse::<u64>().unwrap()).max();
    let failed = lines.iter().find(|line| line.starts_with("failed "));
    assert_eq!(
        failed.map(String::as_str),
        Some("failed store_full"),
        "{complaint}"
    );
    let store = open(kind, &dir).unwrap();
    let next = verify(&store);
    assert!(
        acked.is_some_and(|acked| next > acked),
        "{acked:?} acknowledged, {next} there"
    );
}
