//! The writer on a thread of its own, as everybody else sees it.

use super::rules_change::with_buffer;
use super::*;
use crate::connector::Delivery;
use crate::engine::commit::{Group, Job, Work};
use crate::engine::service::Commits;
use crate::engine::tables::EVENT;
use crate::store::dir::Birth;
use crate::store::memory::CommitFault;
use crate::store::{DiskStore, EngineKind};

/// Handles to a running engine; the thread ends when they are gone.
fn running() -> (Handle, std::thread::JoinHandle<Engine>) {
    let bench = Bench::new();
    let (service, handle) = Service::new(bench.engine);
    let thread = std::thread::spawn(move || service.run().unwrap());
    (handle, thread)
}

fn unit(changes: Vec<Change>) -> Unit {
    let now = START.parse().unwrap();
    Unit {
        connection: "north".into(),
        stream: Stream::Orders,
        changes,
        read_at: now,
        read_until: now,
        as_of: None,
        reached: None,
    }
}

async fn is_told(commits: &Commits) -> bool {
    let told = commits.changed();
    tokio::time::timeout(Duration::from_millis(50), told)
        .await
        .is_ok()
}

/// Whoever waits for something to do is woken by a commit, also by one that came while it was busy, and not by
/// what it knows.
#[tokio::test]
async fn a_commit_wakes_who_waits() {
    let (handle, thread) = running();
    let mut commits = handle.commits();
    assert!(!is_told(&commits).await);
    handle
        .accept(unit(vec![order("1", &[("A", 1)])]))
        .await
        .unwrap();
    assert!(is_told(&commits).await);
    assert!(is_told(&commits).await, "nobody said that it is known");
    commits.mark_seen();
    assert!(!is_told(&commits).await);
    // Nothing was written: nothing can be due that was not before.
    handle.is_paused("erp".into()).await.unwrap();
    assert!(!is_told(&commits).await);
    drop(handle);
    thread.join().unwrap();
}

#[tokio::test]
async fn others_see_that_it_has_stopped() {
    let (handle, thread) = running();
    let mut stopped = std::pin::pin!(handle.stopped());
    let short = Duration::from_millis(50);
    assert!(tokio::time::timeout(short, &mut stopped).await.is_err());
    drop(thread); // it runs on until its last handle is gone
    let (service, dead) = Service::new(Bench::new().engine);
    drop(service);
    dead.stopped().await;
    let answer = dead.is_paused("erp".into()).await;
    assert_eq!(answer.unwrap_err().into_fault().code, "engine_stopped");
}

/// Other rules hold for what comes after them, in the order in which everything was asked for.
#[tokio::test]
async fn a_reload_takes_its_turn() {
    let (handle, thread) = running();
    let one = handle.accept(unit(vec![order("1", &[("A", 1)])]));
    let none = handle.reload(Arc::new(Rules::default()));
    let two = handle.accept(unit(vec![order("2", &[("A", 1)])]));
    let (one, none, two) = tokio::join!(one, none, two);
    none.unwrap();
    assert_eq!((one.unwrap().queued, two.unwrap().queued), (1, 0));
    // A store in memory has nothing to give back.
    assert_eq!(handle.compact(0, u64::MAX).await.unwrap(), None);
    drop(handle);
    thread.join().unwrap();
}

/// What a group wrote is read from it only until it is durable: later a reload may have removed it again.
#[tokio::test]
async fn what_was_written_does_not_hide_what_came_after() {
    let (handle, thread) = running();
    let one_channel = |buffer| {
        let mut rules = Arc::into_inner(with_buffer(buffer)).unwrap();
        rules.publishes.truncate(1);
        Arc::new(rules)
    };
    for buffers in [[0, 1], [2, 1]] {
        for buffer in buffers {
            handle.reload(one_channel(buffer)).await.unwrap();
        }
        assert!(handle.derive_stock().await.unwrap(), "{buffers:?}");
    }
    drop(handle);
    thread.join().unwrap();
}

/// A unit that fails is answered with its error and takes nobody else's work with it.
#[tokio::test]
async fn a_unit_that_fails_fails_alone() {
    let (handle, thread) = running();
    let good = handle.accept(unit(vec![order("1", &[("A", 1)])]));
    let bad = handle.quarantine_retry(77);
    let other = handle.accept(unit(vec![order("2", &[("A", 1)])]));
    let (good, bad, other) = tokio::join!(good, bad, other);
    assert!(bad.is_err());
    assert_eq!((good.unwrap().queued, other.unwrap().queued), (1, 1));
    let due: Vec<Delivery> = handle
        .claim("erp".into(), Stream::Orders, 9)
        .await
        .unwrap()
        .into_iter()
        .map(|claimed| claimed.delivery)
        .collect();
    assert_eq!(due.len(), 2);
    drop(handle);
    thread.join().unwrap();
}

/// Writes two rows, or none.
struct Writes(bool);

impl Work for Writes {
    fn name(&self) -> &'static str {
        "writes"
    }

    fn stage(&mut self, stage: &mut Stage<'_, '_>) -> Result<(), EngineError> {
        for name in ["a", "b"].iter().filter(|_| self.0) {
            let number = stage.numbers.next();
            let value = json!(number);
            META.put(
                stage.txn,
                &format!("{name}{number}"),
                &tables::Fact { value },
            )?;
        }
        Ok(())
    }

    fn refuse(&mut self, fault: Fault) {
        panic!("{fault}");
    }

    fn answer(self: Box<Self>, committed: Result<(), &StoreError>) {
        assert!(committed.is_ok());
    }
}

fn put_large(stage: &mut Stage<'_, '_>, rows: usize, bytes: usize) -> Result<(), EngineError> {
    for n in 0..rows {
        let value = json!("x".repeat(bytes));
        META.put(stage.txn, &format!("large{n}"), &tables::Fact { value })?;
    }
    Ok(())
}

/// Writes more than a commit may have: so many rows, each so large.
struct Large {
    rows: usize,
    bytes: usize,
    refused: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Work for Large {
    fn name(&self) -> &'static str {
        "large"
    }

    fn stage(&mut self, stage: &mut Stage<'_, '_>) -> Result<(), EngineError> {
        put_large(stage, self.rows, self.bytes)
    }

    fn refuse(&mut self, fault: Fault) {
        self.refused.lock().unwrap().push(fault.code.to_string());
    }

    fn answer(self: Box<Self>, committed: Result<(), &StoreError>) {
        assert!(committed.is_ok(), "the others of its commit are durable");
    }
}

/// Stages units, and commits them in as many groups as they need; whether anything was written.
fn committed(bench: &mut Bench, works: Vec<Job>) -> bool {
    let mut works = works.into_iter().peekable();
    let mut wrote = false;
    while works.peek().is_some() {
        let mut group = Group::default();
        let staged = bench.engine.stage(&mut group, &mut || works.next());
        staged.unwrap();
        wrote |= bench.engine.close(group).commit().unwrap();
        bench.engine.committed();
    }
    wrote
}

/// A unit that no commit takes fails alone. It would stop the daemon, and again when it is read after the next start.
#[test]
fn a_unit_that_is_too_large_fails_alone() {
    for (rows, bytes) in [(5000, 1), (140, 250_000)] {
        let mut bench = Bench::new();
        let refused = Arc::default();
        let large = Large {
            rows,
            bytes,
            refused: Arc::clone(&refused),
        };
        let works: Vec<Job> = vec![
            Box::new(Writes(true)),
            Box::new(large),
            Box::new(Writes(true)),
        ];
        assert!(committed(&mut bench, works));
        assert_eq!(*refused.lock().unwrap(), ["unit_too_large"], "{rows}");
        let txn = Txn::new(bench.engine.store());
        assert!(!META.contains(&txn, &"large0".to_owned()).unwrap());
        let facts = META.scan(&txn, &META.all(), 100).unwrap();
        let names = facts.iter().map(|(name, _)| name.as_str());
        assert_eq!(
            names.filter(|name| name.starts_with(['a', 'b'])).count(),
            5,
            "four, and `began`"
        );
    }
}

/// Whoever asked for what no commit takes is told so, and not that it is done.
#[tokio::test]
async fn who_asks_for_too_much_is_refused() {
    let (handle, thread) = running();
    let done = handle.ask("large", |stage| put_large(stage, 5000, 1)).await;
    assert_eq!(done.unwrap_err().into_fault().code, "unit_too_large");
    let other = handle.accept(unit(vec![order("1", &[("A", 1)])]));
    assert_eq!(other.await.unwrap().queued, 1);
    drop(handle);
    thread.join().unwrap();
}

/// A store on a disk gives back what was removed, while the engine runs; not while it is too small for that.
#[tokio::test]
async fn a_running_engine_compacts_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let birth = Birth {
        at: START.parse().unwrap(),
        id: crate::id::uuid_at(START.parse().unwrap(), 1),
    };
    let store = DiskStore::open(EngineKind::Redb, &folder.path().join("store"), birth).unwrap();
    let clock = Arc::new(ManualClock::at(START.parse().unwrap()));
    let rules = Arc::new(rules(Mode::Apply));
    let engine = Engine::open(Box::new(store), rules, clock, 1).unwrap();
    let (service, handle) = Service::new(engine);
    let thread = std::thread::spawn(move || service.run().unwrap());
    handle
        .ask("larger", |stage| put_large(stage, 100, 10_000))
        .await
        .unwrap();
    assert_eq!(handle.compact(u64::MAX, u64::MAX).await.unwrap(), None);
    let done = handle.compact(0, u64::MAX).await.unwrap().unwrap();
    assert!(done.after > 1_000_000, "all of it lives: {done:?}");
    drop(handle);
    thread.join().unwrap();
}

/// What comes together shares a commit, until that is large; what writes nothing has none.
#[test]
fn a_group_shares_a_commit_until_it_is_large() {
    for (rows, writes, commits) in [(500, true, 1), (3, true, 2), (1, true, 3), (500, false, 0)] {
        let mut rules = rules(Mode::Apply);
        rules.limits.commit_rows = rows;
        let mut bench = Bench::with(rules);
        let before = bench.disk.commits();
        let works = (0..3).map(|_| Box::new(Writes(writes)) as Job);
        let wrote = committed(&mut bench, works.collect());
        assert_eq!(wrote, writes);
        assert_eq!(bench.disk.commits() - before, commits, "{rows}");
    }
}

/// Two units, the second of which comes while the commit of the first is under way.
async fn two(handle: Handle) -> [Result<Accepted, EngineError>; 2] {
    let one = handle.accept(unit(vec![order("1", &[("A", 1)])]));
    let other = async {
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        handle.accept(unit(vec![order("2", &[("A", 1)])])).await
    };
    let (one, other) = tokio::join!(one, other);
    [one, other]
}

/// The next group is staged while one is written, sees what that writes, and has a commit of its own; nobody is
/// answered before it is durable.
#[tokio::test]
async fn while_one_commit_is_written_the_next_is_staged() {
    let bench = Bench::new();
    let (disk, before) = (bench.disk.clone(), bench.disk.commits());
    let (service, handle) = Service::new(bench.engine);
    let answered = async {
        let done = two(handle).await;
        for accepted in done {
            assert_eq!(accepted.unwrap().queued, 1);
        }
        assert_eq!(disk.commits() - before, 2);
        let events = disk.durable_image().open().unwrap();
        let events = EVENT.scan(&Txn::new(&events), &EVENT.all(), 9).unwrap();
        assert_eq!(events.len(), 2);
    };
    let (engine, ()) = tokio::join!(service.run_in_turns(), answered);
    let mut engine = engine.unwrap();
    let claimed = engine.claim("erp".into(), Stream::Orders, 9).unwrap();
    assert_eq!(claimed.len(), 2);
}

/// Nobody knows whether a commit that failed took effect: what was decided by it is as unknown, and nobody is told that
/// it is done.
#[tokio::test]
async fn what_is_staged_over_a_commit_that_fails_fails_with_it() {
    for fault in [CommitFault::Before, CommitFault::After] {
        let bench = Bench::new();
        bench.disk.fail_commit(1, fault);
        let (disk, before) = (bench.disk.clone(), bench.disk.commits());
        let (service, handle) = Service::new(bench.engine);
        let (ended, done) = tokio::join!(service.run_in_turns(), two(handle.clone()));
        assert!(matches!(ended, Err(StoreError::Io { .. })), "{fault:?}");
        for accepted in done {
            assert_eq!(accepted.unwrap_err().into_fault().code, "store");
        }
        assert_eq!(disk.commits() - before, 1, "nothing is written behind it");
        let late = handle.is_paused("erp".into()).await;
        assert_eq!(late.unwrap_err().into_fault().code, "engine_stopped");
    }
}

/// Other rules see what came before them: when they begin to hold nothing is under way, and nothing staged behind it.
#[tokio::test]
async fn a_reload_waits_for_what_is_under_way() {
    let bench = Bench::new();
    let (disk, before) = (bench.disk.clone(), bench.disk.commits());
    let (service, handle) = Service::new(bench.engine);
    let asked = async move {
        let reload = async {
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            handle.reload(Arc::new(Rules::default())).await.unwrap();
            disk.commits() - before
        };
        let (accepted, commits) = tokio::join!(two(handle.clone()), reload);
        assert!(accepted.iter().all(Result::is_ok));
        assert_eq!(commits, 2);
    };
    let (engine, ()) = tokio::join!(service.run_in_turns(), asked);
    engine.unwrap();
}

/// While a group is full and the one before it is being written, whoever comes waits: his unit is not lost.
#[tokio::test]
async fn who_comes_when_a_group_is_full_waits() {
    let mut rules = rules(Mode::Apply);
    rules.limits.commit_rows = 1;
    let (service, handle) = Service::new(Bench::with(rules).engine);
    let asked = async move {
        let accept = |id| handle.accept(unit(vec![order(id, &[("A", 1)])]));
        let (one, two, three) = tokio::join!(accept("1"), accept("2"), accept("3"));
        for accepted in [one, two, three] {
            assert_eq!(accepted.unwrap().queued, 1);
        }
    };
    let (engine, ()) = tokio::join!(service.run_in_turns(), asked);
    engine.unwrap();
}
