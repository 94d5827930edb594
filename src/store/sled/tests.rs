//! What only a store on disk can do wrong.

use super::*;

fn birth() -> Birth {
    Birth {
        at: "2026-11-22T00:00:00Z".parse().unwrap(),
        id: Uuid::from_u128(7),
    }
}

fn open(dir: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(dir, birth())
}

fn batch(rows: &[(&str, &str)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in rows {
        batch.put(*key, *value);
    }
    batch
}

/// A store with rows `000` to `199` of 100 bytes, closed.
fn filled(dir: &Path) {
    let mut store = open(dir).unwrap();
    for n in 0..200 {
        store
            .commit(batch(&[(&format!("{n:03}"), &"x".repeat(100))]))
            .unwrap();
    }
}

fn count(store: &SledStore) -> usize {
    store.scan(&KeyRange::all(), usize::MAX).unwrap().len()
}

#[test]
fn rows_survive_and_are_read_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = open(temp.path()).unwrap();
    assert!(store.first_run());
    store
        .commit(batch(&[("b", "2"), ("a", "1"), ("c", "3")]))
        .unwrap();
    let mut removal = batch(&[("d", "4")]);
    removal.delete("b");
    store.commit(removal).unwrap();
    drop(store);

    let store = open(temp.path()).unwrap();
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
    assert_eq!(
        store
            .last(&KeyRange::between("a", "d"))
            .unwrap()
            .unwrap()
            .value,
        b"3"
    );
    assert_eq!(store.last(&KeyRange::between("e", "f")).unwrap(), None);
    assert_eq!(store.get(b"d").unwrap().as_deref(), Some(b"4".as_slice()));
    assert!(store.size_on_disk().unwrap() > 0);
    assert!(matches!(open(temp.path()), Err(StoreError::Locked { .. })));
}

#[test]
fn a_batch_above_the_limits_changes_nothing_and_closes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = open(temp.path()).unwrap();
    let mut large = batch(&[("a", "1")]);
    large.put("b", vec![0; crate::store::MAX_VALUE_BYTES + 1]);
    assert!(matches!(
        store.commit(large),
        Err(StoreError::TooLarge { .. })
    ));
    assert_eq!(count(&store), 0);
    store.commit(batch(&[("a", "1")])).unwrap();
}

#[test]
fn an_interrupted_creation_begins_again() {
    let temp = tempfile::tempdir().unwrap();
    let mut home = Home::claim(temp.path()).unwrap();
    home.mark(NAME, birth(), Phase::Creating).unwrap();
    fs::create_dir(home.engine_dir(NAME)).unwrap();
    fs::write(home.engine_dir(NAME).join("conf"), "segm").unwrap();
    drop(home);
    assert!(matches!(
        SledStore::open_existing(temp.path()),
        Err(StoreError::Refused { .. })
    ));
    let store = open(temp.path()).unwrap();
    assert!(store.first_run());
}

/// What the error says, and what was done to the engine's directory.
type Loss<'a> = (&'a str, &'a dyn Fn(&Path) -> std::io::Result<()>);

#[test]
fn a_lost_or_foreign_data_file_is_damage_and_not_a_first_run() {
    let foreign = tempfile::tempdir().unwrap();
    drop(
        SledStore::open(
            foreign.path(),
            Birth {
                id: Uuid::from_u128(8),
                ..birth()
            },
        )
        .unwrap(),
    );
    let foreign = foreign.path().join("sled/db");
    let losses: [Loss<'_>; 6] = [
        ("data file is missing", &|sled| {
            fs::remove_file(sled.join("db"))
        }),
        ("data file is missing", &|sled| {
            fs::write(sled.join("db"), "")
        }),
        ("data file is missing", &|sled| fs::remove_dir_all(sled)),
        ("is damaged", &|sled| fs::write(sled.join("db"), [0; 4096])),
        ("is damaged", &|sled| {
            fs::write(sled.join("conf"), "segment_size: many")
        }),
        ("is damaged", &|sled| {
            fs::copy(&foreign, sled.join("db")).map(|_| ())
        }),
    ];
    for (expect, lose) in losses {
        let temp = tempfile::tempdir().unwrap();
        filled(temp.path());
        lose(&temp.path().join("sled")).unwrap();
        for _ in 0..2 {
            let error = open(temp.path()).unwrap_err();
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
fn debug_shows_no_rows() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = open(temp.path()).unwrap();
    store.commit(batch(&[("name", "Ada")])).unwrap();
    let shown = format!("{store:?}");
    assert!(
        !shown.contains("Ada") && !shown.contains("65, 100"),
        "{shown}"
    );
}

#[test]
fn the_engine_of_another_store_is_refused() {
    let (temp, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(temp.path());
    drop(
        SledStore::open(
            other.path(),
            Birth {
                id: Uuid::from_u128(8),
                ..birth()
            },
        )
        .unwrap(),
    );
    fs::remove_dir_all(temp.path().join("sled")).unwrap();
    fs::rename(other.path().join("sled"), temp.path().join("sled")).unwrap();
    let error = open(temp.path()).unwrap_err().to_string();
    assert!(
        error.contains("its files belong to another store"),
        "{error}"
    );
}

#[test]
fn an_import_that_is_not_finished_is_no_store() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = SledStore::begin_import(temp.path(), birth()).unwrap();
    store.commit(batch(&[("a", "1")])).unwrap();
    drop(store);
    let error = open(temp.path()).unwrap_err().to_string();
    assert!(
        error.contains("an import into this store was interrupted"),
        "{error}"
    );
    let temp = tempfile::tempdir().unwrap();
    SledStore::begin_import(temp.path(), birth())
        .unwrap()
        .finish()
        .unwrap();
    assert!(!open(temp.path()).unwrap().first_run());
    assert!(matches!(
        SledStore::begin_import(temp.path(), birth()),
        Err(StoreError::Refused { .. })
    ));
}

#[test]
fn a_lost_marker_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    fs::remove_file(temp.path().join("CROSSDOCK")).unwrap();
    assert!(matches!(open(temp.path()), Err(StoreError::Refused { .. })));
}

#[test]
fn large_pages_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = open(temp.path()).unwrap();
    for n in 0..24 {
        let mut batch = WriteBatch::new();
        batch.put(format!("{n:02}"), vec![n; 100_000]);
        store.commit(batch).unwrap();
    }
    assert!(
        fs::read_dir(temp.path().join("sled/blobs"))
            .unwrap()
            .count()
            > 0
    );
    drop(store);
    let store = open(temp.path()).unwrap();
    for n in 0..24u8 {
        assert_eq!(
            store.get(format!("{n:02}").as_bytes()).unwrap(),
            Some(vec![n; 100_000])
        );
    }
}

#[test]
fn compaction_keeps_every_row() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    let mut store = open(temp.path()).unwrap();
    let busy = compact(temp.path());
    assert!(matches!(busy, Err(StoreError::Locked { .. })), "{busy:?}");
    // Many versions of few rows are what makes sled grow.
    for n in 0..300u32 {
        let mut batch = WriteBatch::new();
        batch.put("hot", vec![n.to_le_bytes()[0]; 30_000]);
        store.commit(batch).unwrap();
    }
    let rows = store.scan(&KeyRange::all(), usize::MAX).unwrap();
    drop(store);
    let done = compact(temp.path()).unwrap();
    assert_eq!(done.rows, 201);
    assert!(done.after < done.before, "{done:?}");
    let store = open(temp.path()).unwrap();
    assert_eq!(store.scan(&KeyRange::all(), usize::MAX).unwrap(), rows);
}
