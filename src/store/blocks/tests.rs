//! Blocks against a plain map, and their sizes.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::*;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::table::CELL;

type Model = BTreeMap<String, Vec<u8>>;

fn blocks() -> Blocks {
    Blocks::new(CELL, &("north", "stock"))
}

fn rows(store: &MemoryStore) -> Vec<Row> {
    store.scan(&KeyRange::all(), usize::MAX).unwrap()
}

/// Merges in commits of `max_rows` and returns the sum of the steps.
fn merge(store: &mut MemoryStore, changes: &[(String, Option<Vec<u8>>)], max_rows: usize) -> Step {
    let mut sum = Step::default();
    let mut changes = changes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_deref()))
        .peekable();
    loop {
        let mut txn = Txn::new(store);
        let step = blocks().merge(&mut txn, &mut changes, max_rows).unwrap();
        assert!(
            txn.len() <= max_rows + 5,
            "{} rows for {max_rows}",
            txn.len()
        );
        let batch = txn.into_batch();
        store.commit(batch).unwrap();
        sum.rows += step.rows;
        sum.added += step.added;
        sum.changed += step.changed;
        sum.removed += step.removed;
        sum.unchanged += step.unchanged;
        sum.up_to = step.up_to.or(sum.up_to);
        if step.done {
            return Step { done: true, ..sum };
        }
    }
}

/// Everything that must hold between a store and the model of its map.
fn assert_same(store: &MemoryStore, model: &Model) {
    let txn = Txn::new(store);
    let all = blocks().scan(&txn, Bound::Unbounded, usize::MAX).unwrap();
    // The order of `all` counts too: blocks must not overlap.
    assert!(all.iter().map(|(key, value)| (key, value)).eq(model));
    assert_eq!(blocks().count(&txn).unwrap(), model.len() as u64);
    let mut counted = 0;
    for row in rows(store)
        .iter()
        .filter(|row| row.key.starts_with(&blocks().prefix))
    {
        let count = check_row(row).unwrap();
        assert!(count <= MAX_ENTRIES);
        assert!(row.value.len() <= MAX_BYTES + 64 || count == 1);
        counted += count;
    }
    assert_eq!(counted, model.len());
}

fn numbered(range: std::ops::Range<u32>, value: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    range
        .map(|n| (format!("{n:07}"), Some(value.to_vec())))
        .collect()
}

fn apply(model: &mut Model, changes: &[(String, Option<Vec<u8>>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

#[test]
fn a_first_merge_packs_and_a_second_one_writes_only_what_changed() {
    let (mut store, mut model) = (MemoryStore::new(), Model::new());
    let first = numbered(0..10_000, &[7; 4]);
    let step = merge(&mut store, &first, 9);
    apply(&mut model, &first);
    assert_same(&store, &model);
    assert_eq!(
        (step.added, step.up_to.as_deref()),
        (10_000, Some("0009999"))
    );
    assert!(rows(&store).len() <= 41, "{} rows", rows(&store).len());

    assert_eq!(merge(&mut store, &first, 500).rows, 0);
    let second = numbered(5_000..5_001, &[8; 4]);
    let step = merge(&mut store, &second, 500);
    apply(&mut model, &second);
    assert_eq!((step.rows, step.changed, step.unchanged), (1, 1, 0));
    assert_same(&store, &model);
}

#[test]
fn large_values_make_shorter_blocks() {
    let (mut store, mut model) = (MemoryStore::new(), Model::new());
    let first = numbered(0..300, &[7; 1000]);
    merge(&mut store, &first, 500);
    apply(&mut model, &first);
    assert_same(&store, &model);
    let refused = blocks().put(&mut Txn::new(&store), "x", &[0; MAX_VALUE_BYTES + 1]);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let refused = blocks().put(&mut Txn::new(&store), &"x".repeat(MAX_KEY_BYTES + 1), &[]);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
}

#[test]
fn emptied_blocks_join_and_vanish() {
    let (mut store, mut model) = (MemoryStore::new(), Model::new());
    let first = numbered(0..2_000, b"v");
    merge(&mut store, &first, 500);
    apply(&mut model, &first);
    let most: Vec<_> = first
        .iter()
        .enumerate()
        .filter(|(n, _)| n % 50 != 0)
        .map(|(_, (key, _))| (key.clone(), None))
        .collect();
    merge(&mut store, &most, 500);
    apply(&mut model, &most);
    assert_same(&store, &model);
    assert_eq!(rows(&store).len(), 1, "40 entries need one block");
    let rest: Vec<_> = model.keys().map(|key| (key.clone(), None)).collect();
    merge(&mut store, &rest, 500);
    assert_same(&store, &Model::new());
    assert!(rows(&store).is_empty());
}

#[test]
fn a_budget_of_one_row_is_not_spent_by_an_unchanged_key() {
    let (mut store, mut model) = (MemoryStore::new(), Model::new());
    let first = numbered(0..2, b"v");
    merge(&mut store, &first, 1);
    apply(&mut model, &first);
    // The first key keeps its value; the second belongs into the same block.
    let second = [
        first[0].clone(),
        ("00000005".to_owned(), Some(b"w".to_vec())),
    ];
    merge(&mut store, &second, 1);
    apply(&mut model, &second);
    assert_same(&store, &model);
}

#[test]
fn emptying_everything_stays_within_the_rows_of_a_commit() {
    let mut store = MemoryStore::new();
    merge(&mut store, &numbered(0..20_000, &[1; 20]), 500);
    let before = rows(&store).len();
    assert!(before > 100);
    let removals: Vec<_> = numbered(0..20_000, b"")
        .into_iter()
        .map(|(key, _)| (key, None))
        .collect();
    let step = merge(&mut store, &removals, 20);
    assert_eq!(step.removed, 20_000);
    assert!(step.rows >= before && rows(&store).is_empty());
}

#[test]
fn scopes_and_tables_do_not_touch() {
    let store = MemoryStore::new();
    let mut txn = Txn::new(&store);
    let (north, northern) = (blocks(), Blocks::new(CELL, &("north", "stock2")));
    north.put(&mut txn, "b", b"1").unwrap();
    northern.put(&mut txn, "a", b"2").unwrap();
    northern.put(&mut txn, "", b"3").unwrap();
    assert_eq!(north.get(&txn, "a").unwrap(), None);
    assert_eq!(north.get(&txn, "c").unwrap(), None);
    assert_eq!(
        northern.get(&txn, "").unwrap().as_deref(),
        Some(b"3".as_slice())
    );
    assert_eq!(north.count(&txn).unwrap(), 1);
    north.delete(&mut txn, "b").unwrap();
    assert_eq!(north.count(&txn).unwrap(), 0);
    assert_eq!(northern.count(&txn).unwrap(), 2);
}

#[test]
fn an_edit_sees_the_present_value_and_its_error_stops_the_pass() {
    let mut store = MemoryStore::new();
    merge(&mut store, &numbered(0..3, b"v"), 500);
    let mut txn = Txn::new(&store);
    let mut seen = Vec::new();
    let mut changes = [("0000001", 1), ("0000009", 2)].into_iter().peekable();
    let step = blocks().update(&mut txn, &mut changes, 500, |key, beside, before| {
        seen.push((key.to_owned(), beside, before.map(<[u8]>::to_vec)));
        Ok::<_, StoreError>(Edit::<&[u8]>::Keep)
    });
    assert_eq!(step.unwrap().unchanged, 2);
    assert_eq!(
        seen,
        [
            ("0000001".into(), 1, Some(b"v".to_vec())),
            ("0000009".into(), 2, None)
        ]
    );
    assert!(txn.is_empty());
    let mut changes = [("0000001", ())].into_iter().peekable();
    let failed = blocks().update(&mut txn, &mut changes, 500, |_, (), _| {
        Err::<Edit<&[u8]>, _>(StoreError::Closed)
    });
    assert_eq!(failed, Err(StoreError::Closed));
}

#[test]
#[should_panic(expected = "keys must ascend")]
fn unsorted_changes_are_a_defect() {
    let store = MemoryStore::new();
    let mut changes = [("b", Some("")), ("a", Some(""))].into_iter().peekable();
    let _ = blocks().merge(&mut Txn::new(&store), &mut changes, 500);
}

#[test]
fn a_damaged_block_is_named() {
    let mut store = MemoryStore::new();
    merge(&mut store, &numbered(0..3, b"v"), 500);
    let mut row = rows(&store).remove(0);
    assert_eq!(check_row(&row), Ok(3));
    row.key.insert(1, b'x');
    assert_eq!(
        check_row(&row),
        Ok(3),
        "a check without the scope sees only the end of the key"
    );
    row.key.pop();
    assert!(check_row(&row).is_err());
    *row.value.last_mut().unwrap() ^= 1;
    let mut txn = Txn::new(&store);
    txn.put(rows(&store)[0].key.clone(), row.value);
    let error = blocks().get(&txn, "0000001").unwrap_err().to_string();
    assert!(
        error.starts_with(r"row cell(north\x00\x01stock\x00\x010000000"),
        "{error}"
    );
    assert!(error.contains("checksum"), "{error}");
    assert!(blocks().count(&txn).is_err());
}

/// Keys in a few dense clusters, so that passes split, join and skip blocks.
fn change() -> impl Strategy<Value = (String, Option<Vec<u8>>)> {
    let key = prop_oneof![
        (0u32..3_000).prop_map(|n| format!("{n:05}")),
        (0u32..3_000).prop_map(|n| format!("{}", n % 97)),
        "[ab\\x00]{0,3}",
    ];
    let value = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Some),
        1 => (0usize..1500).prop_map(|len| Some(vec![1; len])),
        2 => Just(None),
    ];
    (key, value)
}

/// A run of neighbours, put or removed together: what a feed or a clean-up does.
fn run() -> impl Strategy<Value = Vec<(String, Option<Vec<u8>>)>> {
    (0u32..2_500, 1u32..1_500, any::<bool>(), 0usize..60).prop_map(|(from, len, put, size)| {
        let value = put.then(|| vec![2; size]);
        (from..from + len)
            .map(|n| (format!("{n:05}"), value.clone()))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn merges_do_what_a_map_would_do(
        passes in prop::collection::vec(
            prop_oneof![run(), prop::collection::vec(change(), 0..300)],
            1..10,
        ),
        max_rows in prop_oneof![1usize..8, Just(500)],
        probes in prop::collection::btree_set(change().prop_map(|(key, _)| key), 0..40),
    ) {
        let (mut store, mut model) = (MemoryStore::new(), Model::new());
        for changes in passes {
            let sorted: BTreeMap<_, _> = changes.into_iter().collect();
            let changes: Vec<_> = sorted.into_iter().collect();
            let before = model.clone();
            apply(&mut model, &changes);
            let step = merge(&mut store, &changes, max_rows);
            assert_same(&store, &model);
            prop_assert_eq!(step.up_to.as_ref(), changes.last().map(|(key, _)| key));
            let total = step.added + step.changed + step.removed + step.unchanged;
            prop_assert_eq!(total, changes.len() as u64);
            prop_assert_eq!(before.len() as u64 + step.added - step.removed, model.len() as u64);
        }
        let txn = Txn::new(&store);
        let probes: Vec<String> = probes.into_iter().collect();
        let expect: Vec<_> = probes.iter().map(|key| model.get(key).cloned()).collect();
        prop_assert_eq!(blocks().get_many(&txn, &probes).unwrap(), expect.clone());
        for (key, expect) in probes.iter().zip(expect) {
            prop_assert_eq!(blocks().get(&txn, key).unwrap(), expect);
            let page = blocks().scan(&txn, Bound::Excluded(key), 3).unwrap();
            let range = (Bound::Excluded(key.clone()), Bound::Unbounded);
            let expect: Vec<_> = model.range(range).take(3).map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(page, expect);
        }
    }
}
