//! The bytes of one block.
//!
//! ```text
//! u8       version, 1
//! u32      CRC-32 of everything behind it, little-endian
//! varint   number of entries
//! entry    varint  bytes of the key shared with the entry before
//!          varint  bytes of the key that follow, and they
//!          varint  bytes of the value, and they
//! ```
//!
//! Entries stand in strictly ascending order of their keys. A varint is LEB128, at most 5 bytes.

use std::fmt;

const VERSION: u8 = 1;
const HEADER: usize = 5;

/// Why bytes are not a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBlock {
    /// Damaged, in these words.
    Damaged(&'static str),
    /// Written in a newer format.
    TooNew(u8),
}

impl BadBlock {
    /// The newest version that this program reads.
    pub const KNOWN: u8 = VERSION;
}

impl fmt::Display for BadBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => f.write_str(what),
            Self::TooNew(version) => write!(f, "block version {version} is not known"),
        }
    }
}

/// Walks the entries of a block, one at a time, without copying values.
#[derive(Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    left: usize,
    key: Vec<u8>,
    value: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Verifies the checksum and stands before the first entry.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BadBlock> {
        let (header, body) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(BadBlock::Damaged("the block is cut off"))?;
        let [version, sum @ ..] = *header;
        match version {
            VERSION => {}
            0 => return Err(BadBlock::Damaged("block version 0 was never written")),
            newer => return Err(BadBlock::TooNew(newer)),
        }
        if checksum(body) != u32::from_le_bytes(sum) {
            return Err(BadBlock::Damaged("the checksum of the block is wrong"));
        }
        let mut entries = Self {
            rest: body,
            left: 0,
            key: Vec::new(),
            value: &[],
        };
        entries.left = entries.varint()?;
        Ok(entries)
    }

    /// A walk over nothing.
    pub fn none() -> Self {
        Self {
            rest: &[],
            left: 0,
            key: Vec::new(),
            value: &[],
        }
    }

    /// How many entries are still to come.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Moves to the next entry; `false` behind the last one.
    pub fn advance(&mut self) -> Result<bool, BadBlock> {
        if self.left == 0 {
            let end = self.rest.is_empty();
            return if end {
                Ok(false)
            } else {
                Err(BadBlock::Damaged("bytes behind the last entry"))
            };
        }
        self.left -= 1;
        let shared = self.varint()?;
        if shared > self.key.len() {
            return Err(BadBlock::Damaged("a key shares more than there is"));
        }
        self.key.truncate(shared);
        let suffix = self.take()?;
        self.key.extend_from_slice(suffix);
        self.value = self.take()?;
        Ok(true)
    }

    /// The key of the entry it stands on.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The key of the entry it stands on, as text.
    pub fn key_text(&self) -> Result<&str, BadBlock> {
        std::str::from_utf8(&self.key).map_err(|_| BadBlock::Damaged("a key is not UTF-8"))
    }

    /// The value of the entry it stands on.
    pub fn value(&self) -> &'a [u8] {
        self.value
    }

    fn take(&mut self) -> Result<&'a [u8], BadBlock> {
        let len = self.varint()?;
        let (front, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(BadBlock::Damaged("an entry is cut off"))?;
        self.rest = rest;
        Ok(front)
    }

    fn varint(&mut self) -> Result<usize, BadBlock> {
        // Nearly all numbers in a block are below 128.
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(usize::from(byte));
        }
        let mut number = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, rest) = self
                .rest
                .split_first()
                .ok_or(BadBlock::Damaged("a number is cut off"))?;
            self.rest = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(number).map_err(|_| BadBlock::Damaged("a huge number"));
            }
        }
        Err(BadBlock::Damaged("a number has no end"))
    }
}

/// Decodes all of a block and judges its order; returns the number of entries.
pub fn check(bytes: &[u8]) -> Result<usize, BadBlock> {
    let mut entries = Entries::open(bytes)?;
    let count = entries.left();
    let mut before: Option<Vec<u8>> = None;
    while entries.advance()? {
        entries.key_text()?;
        if before
            .as_deref()
            .is_some_and(|before| before >= entries.key())
        {
            return Err(BadBlock::Damaged("keys are out of order"));
        }
        before = Some(entries.key().to_vec());
    }
    if count == 0 {
        Err(BadBlock::Damaged("the block is empty"))
    } else {
        Ok(count)
    }
}

/// Entries that are collected before they are cut into blocks. Keys and values lie in one buffer.
#[derive(Debug, Default)]
pub struct Pending {
    buffer: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    key_len: usize,
    value_len: usize,
}

impl Entry {
    fn end(&self) -> usize {
        self.start + self.key_len + self.value_len
    }
}

/// What an entry costs beside its key and value: three short varints.
const ENTRY_BYTES: usize = 4;

impl Pending {
    /// Appends an entry behind all others.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let entry = Entry {
            start: self.buffer.len(),
            key_len: key.len(),
            value_len: value.len(),
        };
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        self.entries.push(entry);
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how many bytes its entries take in a block.
    pub fn bytes(&self) -> usize {
        self.buffer.len() + self.entries.len() * ENTRY_BYTES
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.entries.clear();
    }

    /// Takes entries from the front, at most `count` and about `bytes`, but at least one; returns the
    /// first key and the bytes of the block. `None` when there is nothing.
    pub fn take_block(&mut self, count: usize, bytes: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let first = *self.entries.first()?;
        let mut taken = 0;
        let mut end = 0;
        for entry in self.entries.iter().take(count.max(1)) {
            if taken > 0 && entry.end() + (taken + 1) * ENTRY_BYTES > bytes {
                break;
            }
            taken += 1;
            end = entry.end();
        }
        let block = self.encode(taken, end);
        let first_key = self.key(&first).to_vec();
        self.entries.drain(..taken);
        self.buffer.drain(..end);
        for entry in &mut self.entries {
            entry.start -= end;
        }
        Some((first_key, block))
    }

    fn encode(&self, count: usize, bytes: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 5 + bytes + count * ENTRY_BYTES);
        out.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
        push_varint(&mut out, count);
        let mut before: &[u8] = &[];
        for entry in &self.entries[..count] {
            let key = self.key(entry);
            let shared = before
                .iter()
                .zip(key)
                .take_while(|(left, right)| left == right)
                .count();
            push_varint(&mut out, shared);
            push_varint(&mut out, key.len() - shared);
            out.extend_from_slice(&key[shared..]);
            push_varint(&mut out, entry.value_len);
            out.extend_from_slice(&self.buffer[entry.start + entry.key_len..entry.end()]);
            before = key;
        }
        let sum = checksum(&out[HEADER..]).to_le_bytes();
        out[1..HEADER].copy_from_slice(&sum);
        out
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.buffer[entry.start..entry.start + entry.key_len]
    }
}

fn push_varint(out: &mut Vec<u8>, number: usize) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(low_byte(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_byte(rest));
}

fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(count: usize) -> Vec<u8> {
        let mut pending = Pending::default();
        for n in 0..count {
            pending.push(format!("SKU-{n:05}").as_bytes(), format!("v{n}").as_bytes());
        }
        let (first, block) = pending.take_block(usize::MAX, usize::MAX).unwrap();
        assert_eq!(first, b"SKU-00000");
        assert!(pending.is_empty());
        block
    }

    #[test]
    fn a_golden_block_still_reads_and_is_still_written() {
        let golden = b"\x01\x98\x80\x90\xbf\x03\0\x09SKU-00000\x02v0\x08\x011\x02v1\x08\x012\x02v2";
        assert_eq!(sample(3), golden);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let block = sample(20);
        assert_eq!(check(&block), Ok(20));
        for bit in 0..block.len() * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..block.len() {
            assert!(check(&block[..len]).is_err(), "cut to {len}");
        }
        assert_eq!(check(&[2, 0, 0, 0, 0, 0]), Err(BadBlock::TooNew(2)));
    }

    #[test]
    fn taking_honours_count_and_bytes() {
        let mut pending = Pending::default();
        for n in 0..10u8 {
            pending.push(&[b'a' + n], &[0; 95]);
        }
        assert_eq!(pending.bytes(), 1000);
        let (first, block) = pending.take_block(4, usize::MAX).unwrap();
        assert_eq!((first.as_slice(), check(&block)), (b"a".as_slice(), Ok(4)));
        let (first, block) = pending.take_block(9, 300).unwrap();
        assert_eq!((first.as_slice(), check(&block)), (b"e".as_slice(), Ok(3)));
        let (first, block) = pending.take_block(9, 1).unwrap();
        assert_eq!((first.as_slice(), check(&block)), (b"h".as_slice(), Ok(1)));
        assert_eq!(pending.len(), 2);
    }

    proptest! {
        #[test]
        fn blocks_read_back(
            entries in prop::collection::btree_map(".{0,6}", prop::collection::vec(any::<u8>(), 0..200), 1..40),
        ) {
            let mut pending = Pending::default();
            for (key, value) in &entries {
                pending.push(key.as_bytes(), value);
            }
            let (_, block) = pending.take_block(usize::MAX, usize::MAX).unwrap();
            let mut reader = Entries::open(&block).unwrap();
            for (key, value) in &entries {
                prop_assert!(reader.advance().unwrap());
                prop_assert_eq!(reader.key_text().unwrap(), key.as_str());
                prop_assert_eq!(reader.value(), value.as_slice());
            }
            prop_assert_eq!(reader.advance(), Ok(false));
        }

        #[test]
        fn reading_anything_never_panics(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = vec![VERSION];
            bytes.extend_from_slice(&checksum(&body).to_le_bytes());
            bytes.extend_from_slice(&body);
            let _ = check(&bytes);
        }
    }
}
