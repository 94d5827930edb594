//! What only a store on disk can do wrong, with each engine.

use std::fs;

use super::*;

fn birth() -> Birth {
    Birth {
        at: "2026-11-22T00:00:00Z".parse().unwrap(),
        id: Uuid::from_u128(7),
    }
}

/// The birth of another store.
fn other_birth() -> Birth {
    Birth {
        id: Uuid::from_u128(8),
        ..birth()
    }
}

fn open(kind: EngineKind, dir: &Path) -> Result<DiskStore, StoreError> {
    DiskStore::open(kind, dir, birth())
}

fn batch(rows: &[(&str, &str)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in rows {
        batch.put(*key, *value);
    }
    batch
}

/// A store with rows `000` to `199` of 100 bytes, closed.
fn filled(kind: EngineKind, dir: &Path) {
    let mut store = open(kind, dir).unwrap();
    for n in 0..200 {
        store
            .commit(batch(&[(&format!("{n:03}"), &"x".repeat(100))]))
            .unwrap();
    }
}

fn rows(store: &DiskStore) -> Vec<Row> {
    store.scan(&KeyRange::all(), usize::MAX).unwrap()
}

fn each_engine(test: impl Fn(EngineKind, &Path)) {
    for kind in EngineKind::ALL {
        let temp = tempfile::tempdir().unwrap();
        test(kind, temp.path());
    }
}

#[test]
fn rows_survive_and_are_read_in_order() {
    each_engine(|kind, dir| {
        let mut store = open(kind, dir).unwrap();
        assert!(store.first_run());
        let first = batch(&[("b", "2"), ("a", "1"), ("c", "3")]);
        store.commit(first).unwrap();
        let mut removal = batch(&[("d", "4")]);
        removal.delete("b");
        store.commit(removal).unwrap();
        drop(store);

        let store = open(kind, dir).unwrap();
        assert!(!store.first_run());
        assert_eq!(store.id(), Some(birth().id));
        let keys = |range: &KeyRange, limit| {
            let rows = store.scan(range, limit).unwrap();
            rows.into_iter()
                .map(|row| String::from_utf8(row.key).unwrap())
                .collect::<String>()
        };
        assert_eq!(keys(&KeyRange::all(), 9), "acd");
        assert_eq!(keys(&KeyRange::all(), 2), "ac");
        assert_eq!(keys(&KeyRange::between("b", "d"), 9), "c");
        assert_eq!(keys(&KeyRange::between("d", "b"), 9), "");
        let last = store.last(&KeyRange::between("a", "d")).unwrap();
        assert_eq!(last.unwrap().value, b"3");
        assert_eq!(store.last(&KeyRange::between("e", "f")).unwrap(), None);
        assert_eq!(store.get(b"d").unwrap().as_deref(), Some(b"4".as_slice()));
        assert!(store.size_on_disk().unwrap() > 0);
        assert!(matches!(open(kind, dir), Err(StoreError::Locked { .. })));
    });
}

/// What a read saw before a commit, it sees as it is after it.
#[test]
fn reads_between_commits_see_what_is_committed() {
    each_engine(|kind, dir| {
        let mut store = open(kind, dir).unwrap();
        for n in 0..20 {
            store.commit(batch(&[("n", &n.to_string())])).unwrap();
            let found = store.get(b"n").unwrap();
            assert_eq!(found, Some(n.to_string().into_bytes()));
        }
    });
}

#[test]
fn a_batch_above_the_limits_changes_nothing_and_closes_nothing() {
    each_engine(|kind, dir| {
        let mut store = open(kind, dir).unwrap();
        let mut large = batch(&[("a", "1")]);
        large.put("b", vec![0; crate::store::MAX_VALUE_BYTES + 1]);
        let refused = store.commit(large);
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
        assert_eq!(rows(&store), []);
        store.commit(batch(&[("a", "1")])).unwrap();
    });
}

/// A kill in the very first creation leaves a file that never opens.
#[test]
fn an_interrupted_creation_begins_again() {
    each_engine(|kind, dir| {
        let mut home = Home::claim(dir).unwrap();
        home.mark(kind.name(), birth(), Phase::Creating).unwrap();
        let path = home.engine_dir(kind.name());
        fs::create_dir(&path).unwrap();
        for file in ["conf", "db", "data"] {
            fs::write(path.join(file), "segm").unwrap();
        }
        drop(home);
        assert!(matches!(
            DiskStore::open_existing(dir),
            Err(StoreError::Refused { .. })
        ));
        assert!(open(kind, dir).unwrap().first_run());
    });
}

/// What the error says, and what was done to the engine's directory.
type Loss<'a> = (&'a str, &'a dyn Fn(&Path) -> std::io::Result<()>);

fn assert_damage(kind: EngineKind, losses: &[Loss<'_>]) {
    for (expect, lose) in losses {
        let temp = tempfile::tempdir().unwrap();
        filled(kind, temp.path());
        lose(&temp.path().join(kind.name())).unwrap();
        for _ in 0..2 {
            let error = open(kind, temp.path()).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            assert!(error.to_string().contains(expect), "{error}");
            assert!(
                error.to_string().contains("crossdock store import"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_lost_or_foreign_data_file_is_damage_and_not_a_first_run() {
    for (kind, file) in [(EngineKind::Sled, "db"), (EngineKind::Redb, "data")] {
        let foreign = tempfile::tempdir().unwrap();
        drop(DiskStore::open(kind, foreign.path(), other_birth()).unwrap());
        let foreign = foreign.path().join(kind.name()).join(file);
        let losses: [Loss<'_>; 5] = [
            ("data file is missing", &|path| {
                fs::remove_file(path.join(file))
            }),
            ("data file is missing", &|path| {
                fs::write(path.join(file), "")
            }),
            ("data file is missing", &|path| fs::remove_dir_all(path)),
            ("is damaged", &|path| fs::write(path.join(file), [0; 4096])),
            ("is damaged", &|path| {
                fs::copy(&foreign, path.join(file)).map(|_| ())
            }),
        ];
        assert_damage(kind, &losses);
    }
    let conf: Loss<'_> = ("is damaged", &|path| {
        fs::write(path.join("conf"), "segment_size: many")
    });
    assert_damage(EngineKind::Sled, &[conf]);
}

#[test]
fn debug_shows_no_rows() {
    each_engine(|kind, dir| {
        let mut store = open(kind, dir).unwrap();
        store.commit(batch(&[("name", "Ada")])).unwrap();
        let shown = format!("{store:?}");
        let told = shown.contains("Ada") || shown.contains("65, 100");
        assert!(!told, "{shown}");
    });
}

#[test]
fn the_engine_of_another_store_is_refused() {
    each_engine(|kind, dir| {
        let other = tempfile::tempdir().unwrap();
        filled(kind, dir);
        drop(DiskStore::open(kind, other.path(), other_birth()).unwrap());
        fs::remove_dir_all(dir.join(kind.name())).unwrap();
        fs::rename(other.path().join(kind.name()), dir.join(kind.name())).unwrap();
        let error = open(kind, dir).unwrap_err().to_string();
        let expect = "its files belong to another store";
        assert!(error.contains(expect), "{error}");
    });
}

/// Opened with another engine than it was made with, a store is neither read nor made anew.
#[test]
fn another_engine_is_refused_with_advice() {
    each_engine(|kind, dir| {
        filled(kind, dir);
        for other in EngineKind::ALL.into_iter().filter(|other| *other != kind) {
            let error = open(other, dir).unwrap_err().to_string();
            assert!(error.contains("crossdock store export"), "{error}");
        }
        assert_eq!(rows(&DiskStore::open_existing(dir).unwrap()).len(), 200);
    });
}

#[test]
fn an_import_that_is_not_finished_is_no_store() {
    each_engine(|kind, dir| {
        let mut store = DiskStore::begin_import(kind, dir, birth()).unwrap();
        store.commit(batch(&[("a", "1")])).unwrap();
        drop(store);
        let error = open(kind, dir).unwrap_err().to_string();
        let expect = "an import into this store was interrupted";
        assert!(error.contains(expect), "{error}");
        let dir = dir.join("other");
        let store = DiskStore::begin_import(kind, &dir, birth()).unwrap();
        store.finish().unwrap();
        assert!(!open(kind, &dir).unwrap().first_run());
        let again = DiskStore::begin_import(kind, &dir, birth());
        assert!(matches!(again, Err(StoreError::Refused { .. })));
    });
}

#[test]
fn a_lost_marker_is_refused() {
    each_engine(|kind, dir| {
        filled(kind, dir);
        fs::remove_file(dir.join("CROSSDOCK")).unwrap();
        assert!(matches!(open(kind, dir), Err(StoreError::Refused { .. })));
    });
}

#[test]
fn large_values_are_kept() {
    each_engine(|kind, dir| {
        let mut store = open(kind, dir).unwrap();
        for n in 0..24 {
            let mut batch = WriteBatch::new();
            batch.put(format!("{n:02}"), vec![n; 100_000]);
            store.commit(batch).unwrap();
        }
        let blobs = dir.join("sled/blobs");
        assert!(kind != EngineKind::Sled || fs::read_dir(blobs).unwrap().count() > 0);
        drop(store);
        let store = open(kind, dir).unwrap();
        for n in 0..24u8 {
            let found = store.get(format!("{n:02}").as_bytes()).unwrap();
            assert_eq!(found, Some(vec![n; 100_000]));
        }
    });
}

/// Compacted over and over while it is written: nothing is lost, it goes on, and it stays small.
#[test]
fn compaction_keeps_every_row_and_the_store_goes_on() {
    each_engine(|kind, dir| {
        filled(kind, dir);
        let mut store = open(kind, dir).unwrap();
        for round in 0..4u8 {
            // Many versions of few rows are what makes sled grow.
            for n in 0..100 {
                let mut batch = WriteBatch::new();
                batch.put("hot", vec![n ^ round; 30_000]);
                store.commit(batch).unwrap();
            }
            let before = rows(&store);
            let done = store.compact().unwrap().unwrap();
            assert_eq!(done.rows, 201);
            assert!(
                kind != EngineKind::Sled || done.after < done.before,
                "{done:?}"
            );
            assert!(done.after < 4 << 20, "{done:?}");
            assert_eq!(rows(&store), before);
            store.commit(batch(&[("after", "1")])).unwrap();
            let mut removal = WriteBatch::new();
            removal.delete("after");
            store.commit(removal).unwrap();
        }
        drop(store);
        assert_eq!(rows(&open(kind, dir).unwrap()).len(), 201);
    });
}
