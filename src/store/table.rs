//! Typed tables: which exist, and how their rows are read and staged.

use std::marker::PhantomData;

use super::codec::{self, Versioned};
use super::key::{DecodeKey, EncodeKey, printable};
use super::{KeyRange, Row, StoreError, Txn};

/// How the rows of a table are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value a row, see [`codec`].
    Rows,
    /// A few hundred neighbouring values a row, see [`blocks`](super::blocks).
    Blocks,
    /// One compressed payload a row, see [`codec::pack`].
    Packed,
}

/// A table: its key prefix, its name, and what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableInfo {
    /// The first byte of each of its keys. Never reused, even when a table is given up.
    pub prefix: u8,
    /// Its name in reports and errors.
    pub name: &'static str,
    /// How its rows are built.
    pub shape: Shape,
    /// Its key behind the prefix, and its value.
    pub doc: &'static str,
}

/// Every table there is, by prefix. The modules that own the values declare a [`Table`] or
/// [`Blocks`](super::blocks::Blocks) over an entry of this list.
pub const TABLES: &[TableInfo] = &[
    META,
    CHECKPOINT,
    HINT,
    TOKEN,
    ENTITY,
    LINK,
    BY_KEY,
    OPEN,
    WITHDRAWN,
    GROUP,
    RECORD,
    EVENT,
    INTENT,
    CELL,
    ATTEMPT,
    POSITION,
    RESERVATION,
    PRICE,
    QUARANTINE,
    JOURNAL,
    PAYLOADS,
    COUNTS,
];

const fn rows(prefix: u8, name: &'static str, doc: &'static str) -> TableInfo {
    TableInfo {
        prefix,
        name,
        shape: Shape::Rows,
        doc,
    }
}

const fn blocks(prefix: u8, name: &'static str, doc: &'static str) -> TableInfo {
    TableInfo {
        prefix,
        name,
        shape: Shape::Blocks,
        doc,
    }
}

/// Single facts about the workspace.
pub const META: TableInfo = rows(0x01, "meta", "(name) -> a single fact about the workspace");
/// Stored cursors.
pub const CHECKPOINT: TableInfo = rows(
    0x02,
    "checkpoint",
    "(connection, stream) -> cursor, last read, generation of a full feed",
);
/// Things to be fetched by id: accepted webhooks, retries of what could not be understood.
pub const HINT: TableInfo = rows(0x03, "hint", "(connection, stream, remote id) -> why");
/// Tokens of credentials that change with each use.
pub const TOKEN: TableInfo = rows(
    0x04,
    "token",
    "(credential) -> the newest refresh token, sealed with the first one",
);
/// What is known of each thing.
pub const ENTITY: TableInfo = rows(0x10, "entity", "(entity) -> links, seen, delivered");
/// Remote id to entity.
pub const LINK: TableInfo = rows(0x11, "link", "(connection, stream, remote id) -> entity");
/// Natural key to entity.
pub const BY_KEY: TableInfo = rows(0x12, "by_key", "(stream, key, entity) -> nothing");
/// Things that are not closed at their origin.
pub const OPEN: TableInfo = rows(
    0x13,
    "open",
    "(connection, stream, remote id) -> since when",
);
/// Items that are no longer on sale at their owner.
pub const WITHDRAWN: TableInfo = rows(0x14, "withdrawn", "(SKU) -> by whom, since when");
/// The group of a thing over there: the product of a variant.
pub const GROUP: TableInfo = rows(0x15, "group", "(sink, group) -> its id there");
/// What the origin of an order said last of it.
pub const RECORD: TableInfo = rows(0x16, "record", "(entity) -> the record as it is written");
/// The event queue.
pub const EVENT: TableInfo = rows(0x20, "event", "(sequence) -> delivery");
/// Deliveries that are about to be sent: one row for all that were claimed together.
pub const INTENT: TableInfo = rows(0x21, "intent", "(number) -> deliveries, since when");
/// State streams: desired and published value of each key.
pub const CELL: TableInfo = blocks(
    0x30,
    "cell",
    "(connection, stream, first key) -> packed cells",
);
/// Attempts, unknown outcomes and quarantine of single keys of a state stream.
pub const ATTEMPT: TableInfo = rows(
    0x31,
    "attempt",
    "(connection, stream, key) -> attempt state",
);
/// Snapshots of stock.
pub const POSITION: TableInfo = blocks(
    0x40,
    "position",
    "(connection, location, first SKU) -> packed positions",
);
/// Reservations by order line.
pub const RESERVATION: TableInfo = rows(0x41, "reservation", "(SKU, order, line) -> reservation");
/// What the owners of prices said last.
pub const PRICE: TableInfo = blocks(0x42, "price", "(connection, first key) -> packed prices");
/// What cannot succeed as it is.
pub const QUARANTINE: TableInfo = rows(0x51, "quarantine", "(number) -> what, why, where");
/// What happened to each thing and why.
pub const JOURNAL: TableInfo = rows(0x60, "journal", "(thing, moment, number) -> entries");
/// Raw payloads of neighbouring changes, packed together.
pub const PAYLOADS: TableInfo = TableInfo {
    prefix: 0x70,
    name: "payload",
    shape: Shape::Packed,
    doc: "(when they must be gone, number) -> packed payloads with their names",
};
/// How many changes of each route ended in which state.
pub const COUNTS: TableInfo = rows(0x72, "counts", "(route) -> totals");
/// The table whose prefix `key` begins with.
pub fn table_of(key: &[u8]) -> Option<&'static TableInfo> {
    let prefix = key.first()?;
    TABLES.iter().find(|table| table.prefix == *prefix)
}

/// A key for a person: `link(north\x00\x01…)`.
pub fn describe(key: &[u8]) -> String {
    match (table_of(key), key.get(1..)) {
        (Some(table), Some(rest)) => format!("{}({})", table.name, printable(rest)),
        _ => format!("({})", printable(key)),
    }
}

/// The keys of a packed table.
#[derive(Debug, Clone, Copy)]
pub struct Packed(pub TableInfo);

impl Packed {
    /// The key of a row.
    pub fn key(&self, key: &impl EncodeKey) -> Vec<u8> {
        let mut bytes = vec![self.0.prefix];
        key.encode(&mut bytes);
        bytes
    }

    /// The keys before the parts in `prefix`.
    pub fn before(&self, prefix: &impl EncodeKey) -> KeyRange {
        KeyRange::prefix(vec![self.0.prefix]).before(&self.key(prefix))
    }
}

/// Decodes one row and throws it away: what a check of a store asks of each table.
pub type CheckRow = fn(&Row) -> Result<(), StoreError>;

/// Rows of one type under one prefix.
#[derive(Debug)]
pub struct Table<K, V> {
    info: TableInfo,
    types: PhantomData<fn(&K) -> V>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> Table<K, V> {
    /// The table that `info` describes, with keys `K` and values `V`.
    pub const fn new(info: TableInfo) -> Self {
        Self {
            info,
            types: PhantomData,
        }
    }

    /// What it is.
    pub const fn info(&self) -> &TableInfo {
        &self.info
    }

    fn key_bytes(&self, key: &impl EncodeKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(self.info.prefix);
        key.encode(&mut bytes);
        bytes
    }
}

impl<K: DecodeKey, V: Versioned> Table<K, V> {
    /// The value under `key`.
    pub fn get(&self, txn: &Txn<'_>, key: &K) -> Result<Option<V>, StoreError> {
        let key = self.key_bytes(key);
        let Some(value) = txn.get(&key)? else {
            return Ok(None);
        };
        codec::decode(&value, || describe(&key)).map(Some)
    }

    /// Whether there is a row under `key`; does not decode it.
    pub fn contains(&self, txn: &Txn<'_>, key: &K) -> Result<bool, StoreError> {
        Ok(txn.get(&self.key_bytes(key))?.is_some())
    }

    /// Stages a row. A key or value above the limits of a store is refused here, so that one large
    /// record fails alone and not the commit that it would have shared.
    pub fn put(&self, txn: &mut Txn<'_>, key: &K, value: &V) -> Result<(), StoreError> {
        let key = self.key_bytes(key);
        let value = codec::encode(value)?;
        StoreError::check_size("bytes in a key", key.len(), super::MAX_KEY_BYTES)?;
        StoreError::check_size("bytes in a value", value.len(), super::MAX_VALUE_BYTES)?;
        txn.put(key, value);
        Ok(())
    }

    /// Stages the removal of a row; removing an absent one is allowed.
    pub fn delete(&self, txn: &mut Txn<'_>, key: &K) {
        txn.delete(self.key_bytes(key));
    }

    /// All its keys.
    pub fn all(&self) -> KeyRange {
        KeyRange::prefix(vec![self.info.prefix])
    }

    /// The keys that begin with the parts in `prefix`, a tuple of the first parts of `K`.
    pub fn under(&self, prefix: &impl EncodeKey) -> KeyRange {
        KeyRange::prefix(self.key_bytes(prefix))
    }

    /// The keys from `first` to `last`, both of them too.
    pub fn between(&self, first: &K, last: &K) -> KeyRange {
        let mut end = self.key_bytes(last);
        end.push(0);
        KeyRange::between(self.key_bytes(first), end)
    }

    /// The part of `range` behind `key`: the next page of a scan.
    pub fn after(&self, range: KeyRange, key: &K) -> KeyRange {
        range.after(&self.key_bytes(key))
    }

    /// The part of `range` before the parts in `prefix`: what is due before a moment, say.
    pub fn before(&self, range: KeyRange, prefix: &impl EncodeKey) -> KeyRange {
        range.before(&self.key_bytes(prefix))
    }

    /// The first `limit` rows of `range`, in key order.
    pub fn scan(
        &self,
        txn: &Txn<'_>,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        txn.scan(range, limit)?.iter().map(Self::read).collect()
    }

    /// The row with the greatest key of `range`.
    pub fn last(&self, txn: &Txn<'_>, range: &KeyRange) -> Result<Option<(K, V)>, StoreError> {
        txn.last(range)?.as_ref().map(Self::read).transpose()
    }

    /// A function that decodes a row of this table, for [`check`](super::portable::check).
    pub fn check_row(&self) -> CheckRow {
        |row| Self::read(row).map(|_| ())
    }

    fn read(row: &Row) -> Result<(K, V), StoreError> {
        let bytes = row.key.get(1..).unwrap_or_default();
        let key = K::from_key(bytes)
            .map_err(|error| StoreError::corrupt_row(describe(&row.key), error.to_string()))?;
        Ok((key, codec::decode(&row.value, || describe(&row.key))?))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::id::ConnectionName;
    use crate::store::memory::MemoryStore;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
    }

    impl Versioned for Note {
        const VERSION: u8 = 1;
        const NAME: &'static str = "note";
    }

    const NOTES: Table<(ConnectionName, u64), Note> = Table::new(HINT);

    fn note(text: &str) -> Note {
        Note { text: text.into() }
    }

    #[test]
    fn prefixes_and_names_are_unique_and_in_order() {
        assert!(
            TABLES
                .windows(2)
                .all(|pair| pair[0].prefix < pair[1].prefix)
        );
        for table in TABLES {
            assert_eq!(
                TABLES
                    .iter()
                    .filter(|other| other.name == table.name)
                    .count(),
                1
            );
            assert_eq!(table_of(&[table.prefix, 7]), Some(table));
        }
    }

    #[test]
    fn rows_are_put_found_scanned_and_removed() {
        let store = MemoryStore::new();
        let mut txn = Txn::new(&store);
        let (north, northern) = (
            ConnectionName::from("north"),
            ConnectionName::from("northern"),
        );
        for n in [300u64, 2, 1] {
            NOTES
                .put(&mut txn, &(north.clone(), n), &note(&n.to_string()))
                .unwrap();
        }
        NOTES.put(&mut txn, &(northern, 0), &note("other")).unwrap();

        let under = NOTES.under(&(&north,));
        let numbers = |range: &KeyRange, limit| {
            let rows = NOTES.scan(&txn, range, limit).unwrap();
            rows.into_iter().map(|((_, n), _)| n).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&under, 9), [1, 2, 300]);
        assert_eq!(
            numbers(&NOTES.after(under.clone(), &(north.clone(), 1)), 1),
            [2]
        );
        assert_eq!(
            numbers(&NOTES.before(under.clone(), &(&north, 300u64)), 9),
            [1, 2]
        );
        assert_eq!(numbers(&NOTES.all(), 9), [1, 2, 300, 0]);
        let last = NOTES.last(&txn, &under).unwrap().unwrap();
        assert_eq!(last, ((north.clone(), 300), note("300")));

        NOTES.delete(&mut txn, &(north.clone(), 300));
        assert_eq!(NOTES.get(&txn, &(north.clone(), 300)).unwrap(), None);
        assert_eq!(NOTES.get(&txn, &(north, 2)).unwrap(), Some(note("2")));
    }

    #[test]
    fn a_large_row_fails_alone() {
        let store = MemoryStore::new();
        let mut txn = Txn::new(&store);
        let large = note(&"x".repeat(crate::store::MAX_VALUE_BYTES));
        let refused = NOTES.put(&mut txn, &("north".into(), 1), &large);
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
        assert!(txn.is_empty());
    }

    #[test]
    fn a_damaged_row_is_named() {
        let store = MemoryStore::new();
        let mut txn = Txn::new(&store);
        txn.put(
            NOTES.key_bytes(&("north", 7u64)),
            b"\x01nonsense".as_slice(),
        );
        let error = NOTES
            .get(&txn, &("north".into(), 7))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(r"row hint(north\x00\x01\x00"), "{error}");
        let row = Row {
            key: vec![HINT.prefix, b'x'],
            value: b"\x01{\"text\":\"\"}".to_vec(),
        };
        let error = (NOTES.check_row())(&row).unwrap_err().to_string();
        assert!(error.contains("a text without an end"), "{error}");
    }
}
