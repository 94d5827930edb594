//! A sorted set of keys that stays small: a million SKUs that wait to be told take a few megabytes.
//!
//! Neighbouring keys begin alike, so a chunk of them stores of each how many bytes it shares with the one
//! before, and the rest. Changes come by the thousand and sorted; a pass over them rewrites the chunks that
//! they fall into.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;

use crate::id::Key;

/// How many keys a chunk holds at most; a larger one is cut into halves.
const MAX_CHUNK: usize = 256;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    /// By a text that is not above the first of its keys.
    chunks: BTreeMap<Box<str>, Chunk>,
    len: usize,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    count: usize,
    /// Of each key: how many bytes it shares with the one before, how many follow, and they; numbers as
    /// LEB128.
    bytes: Vec<u8>,
}

impl KeySet {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            chunks: BTreeMap::new(),
            len: 0,
        }
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it holds this one. Of many, [`KeySet::in_order`] is cheaper.
    pub fn contains(&self, key: &str) -> bool {
        let Some((_, chunk)) = self.of(key) else {
            return false;
        };
        let mut walk = Walk::new(&chunk.bytes);
        while walk.advance() {
            if walk.key.as_slice() >= key.as_bytes() {
                return walk.key == key.as_bytes();
            }
        }
        false
    }

    /// Answers for one key after the other, in ascending order, whether it is there: in one pass.
    pub fn in_order(&self) -> InOrder<'_> {
        let mut walks = InOrder {
            chunks: self.chunks.values(),
            walk: Walk::new(&[]),
            is_at_end: false,
        };
        walks.advance();
        walks
    }

    /// The chunk into which a key falls.
    fn of(&self, key: &str) -> Option<(&str, &Chunk)> {
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let chunk = self.chunks.range::<str, _>(up_to).next_back();
        chunk.map(|(name, chunk)| (&**name, chunk))
    }

    /// Adds (`true`) or removes (`false`) keys, in ascending order.
    pub fn change<'k>(&mut self, changes: impl Iterator<Item = (&'k str, bool)>) {
        let mut changes = changes.peekable();
        let mut merged = Merged::default();
        while let Some((key, _)) = changes.peek() {
            let name: Box<str> = self
                .of(key)
                .map_or_else(Box::default, |(name, _)| name.into());
            let behind = (Bound::Excluded(&*name), Bound::Unbounded);
            let next = self.chunks.range::<str, _>(behind).next();
            let upper: Option<Box<str>> = next.map(|(name, _)| name.clone());
            let old = self.chunks.remove(&name).unwrap_or_default();
            self.len -= old.count;
            merged.fill(&old, upper.as_deref(), &mut changes);
            self.len += merged.len();
            merged.drain_into(name, &mut self.chunks);
        }
    }

    /// The keys behind `after`, in order; from the first one without.
    pub fn behind<'s>(&'s self, after: Option<&'s str>) -> impl Iterator<Item = Key> + 's {
        let first = after.and_then(|after| self.of(after).map(|(name, _)| name));
        let from = first.map_or(Bound::Unbounded, Bound::Included);
        let chunks = self.chunks.range::<str, _>((from, Bound::Unbounded));
        chunks.flat_map(move |(_, chunk)| {
            let mut walk = Walk::new(&chunk.bytes);
            std::iter::from_fn(move || {
                while walk.advance() {
                    if after.is_none_or(|after| walk.key.as_slice() > after.as_bytes()) {
                        return Some(Key::from(walk.text()));
                    }
                }
                None
            })
        })
    }
}

/// One pass over a [`KeySet`].
#[derive(Debug)]
pub struct InOrder<'s> {
    chunks: btree_map::Values<'s, Box<str>, Chunk>,
    walk: Walk<'s>,
    is_at_end: bool,
}

impl InOrder<'_> {
    /// Whether it holds this key, which is not below the one asked about before.
    pub fn holds(&mut self, key: &str) -> bool {
        while !self.is_at_end && self.walk.key.as_slice() < key.as_bytes() {
            self.advance();
        }
        !self.is_at_end && self.walk.key == key.as_bytes()
    }

    fn advance(&mut self) {
        while !self.walk.advance() {
            let Some(chunk) = self.chunks.next() else {
                self.is_at_end = true;
                return;
            };
            self.walk = Walk::new(&chunk.bytes);
        }
    }
}

/// Walks the keys of a chunk.
#[derive(Debug)]
struct Walk<'c> {
    rest: &'c [u8],
    key: Vec<u8>,
}

impl<'c> Walk<'c> {
    fn new(bytes: &'c [u8]) -> Self {
        let key = Vec::new();
        Self { rest: bytes, key }
    }

    fn advance(&mut self) -> bool {
        let (Some(shared), Some(len)) = (self.number(), self.number()) else {
            return false;
        };
        let (suffix, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        self.rest = rest;
        true
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(number)
    }

    /// The key; it came from a text.
    fn text(&self) -> &str {
        std::str::from_utf8(&self.key).unwrap_or_default()
    }
}

/// A chunk in the making, with where each key begins, for cutting it up.
#[derive(Default)]
struct Merged {
    keys: Vec<u8>,
    ends: Vec<usize>,
}

impl Merged {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn push(&mut self, key: &[u8]) {
        self.keys.extend_from_slice(key);
        self.ends.push(self.keys.len());
    }

    /// The old keys and, of the changes, those below `upper`.
    fn fill<'k, I: Iterator<Item = (&'k str, bool)>>(
        &mut self,
        old: &Chunk,
        upper: Option<&str>,
        changes: &mut Peekable<I>,
    ) {
        let mut walk = Walk::new(&old.bytes);
        let mut standing = walk.advance();
        let inside = |key: &str| upper.is_none_or(|upper| key < upper);
        while let Some((key, present)) = changes.next_if(|(key, _)| inside(key)) {
            while standing && walk.key.as_slice() < key.as_bytes() {
                self.push(&walk.key);
                standing = walk.advance();
            }
            if standing && walk.key == key.as_bytes() {
                standing = walk.advance();
            }
            if present {
                self.push(key.as_bytes());
            }
        }
        while standing {
            self.push(&walk.key);
            standing = walk.advance();
        }
    }

    /// Cuts it into chunks, the first of them under `name`.
    fn drain_into(&mut self, name: Box<str>, chunks: &mut BTreeMap<Box<str>, Chunk>) {
        let whole = self.len() <= MAX_CHUNK;
        let size = if whole { MAX_CHUNK } else { MAX_CHUNK / 2 };
        let mut name = Some(name);
        let (mut start, mut done) = (0, 0);
        while done < self.len() {
            let count = size.min(self.len() - done);
            let mut bytes = Vec::new();
            let mut before: &[u8] = &[];
            let first = start;
            for end in &self.ends[done..done + count] {
                let key = &self.keys[start..*end];
                append(&mut bytes, before, key);
                before = key;
                start = *end;
            }
            bytes.shrink_to_fit();
            let own = || {
                let key = &self.keys[first..self.ends[done]];
                String::from_utf8_lossy(key).into_owned().into_boxed_str()
            };
            let name = name.take().unwrap_or_else(own);
            chunks.insert(name, Chunk { count, bytes });
            done += count;
        }
        self.keys.clear();
        self.ends.clear();
    }
}

fn append(bytes: &mut Vec<u8>, before: &[u8], key: &[u8]) {
    let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
    push_number(bytes, shared);
    push_number(bytes, key.len() - shared);
    bytes.extend_from_slice(&key[shared..]);
}

fn push_number(bytes: &mut Vec<u8>, number: usize) {
    let mut rest = number;
    while rest >= 0x80 {
        bytes.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn texts(set: &KeySet, after: Option<&str>) -> Vec<String> {
        set.behind(after).map(|key| key.to_string()).collect()
    }

    #[test]
    fn a_million_neighbours_take_a_few_bytes_each() {
        let mut set = KeySet::default();
        for page in 0..25 {
            let keys: Vec<String> = (page * 4000..(page + 1) * 4000)
                .map(|n| format!("SKU-{n:07}"))
                .collect();
            set.change(keys.iter().map(|key| (key.as_str(), true)));
        }
        assert_eq!(set.len(), 100_000);
        let bytes: usize = set.chunks.values().map(|chunk| chunk.bytes.len()).sum();
        assert!(bytes < 400_000, "{bytes}");
        assert_eq!(texts(&set, Some("SKU-0099998")), ["SKU-0099999"]);
    }

    /// Whatever is asked reads one chunk.
    #[test]
    fn a_chunk_is_bounded() {
        let keys: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
        let mut set = KeySet::default();
        set.change(keys.iter().map(|key| (key.as_str(), true)));
        assert!(set.chunks.values().all(|chunk| chunk.count <= MAX_CHUNK));
    }

    #[test]
    fn a_key_of_any_length_is_kept() {
        let keys: Vec<String> = [0, 1, 127, 128, 300, 70_000]
            .map(|len| "x".repeat(len))
            .into();
        let mut set = KeySet::default();
        set.change(keys.iter().map(|key| (key.as_str(), true)));
        assert_eq!(texts(&set, None), keys);
    }

    proptest! {
        #[test]
        fn it_does_what_a_set_would_do(
            passes in prop::collection::vec(
                prop_oneof![
                    prop::collection::btree_map("[ab]{0,2}[0-9ü]{0,3}", any::<bool>(), 0..400),
                    (0u32..3000, 1u32..900, any::<bool>()).prop_map(|(from, count, present)| {
                        (from..from + count).map(|n| (format!("{n:05}"), present)).collect()
                    }),
                ],
                1..8,
            ),
            probes in prop::collection::vec("[ab]{0,2}[0-9ü]{0,3}", 0..20),
        ) {
            let (mut set, mut model) = (KeySet::default(), BTreeSet::new());
            for pass in passes {
                set.change(pass.iter().map(|(key, present)| (key.as_str(), *present)));
                for (key, present) in pass {
                    if present {
                        model.insert(key);
                    } else {
                        model.remove(&key);
                    }
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(texts(&set, None), model.iter().cloned().collect::<Vec<_>>());
            }
            let mut in_order = set.in_order();
            for key in &probes.iter().cloned().chain(model.clone()).collect::<BTreeSet<_>>() {
                prop_assert_eq!(in_order.holds(key), model.contains(key));
            }
            for probe in probes {
                prop_assert_eq!(set.contains(&probe), model.contains(&probe));
                prop_assert_eq!(set.in_order().holds(&probe), model.contains(&probe));
                let behind: Vec<_> = model.range::<str, _>((Bound::Excluded(&*probe), Bound::Unbounded)).cloned().collect();
                prop_assert_eq!(texts(&set, Some(&probe)), behind);
            }
        }
    }
}
