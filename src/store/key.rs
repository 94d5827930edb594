//! Keys whose bytes sort like the values they stand for.
//!
//! | part | bytes |
//! |---|---|
//! | text | its UTF-8, each `00` as `00 FF`, then `00 01` |
//! | `u64` | 8 bytes, big-endian |
//! | [`Timestamp`] | seconds since 1970 as 8 bytes big-endian with the sign bit turned, then 4 bytes of nanoseconds |
//! | tuple | its parts one after the other |
//!
//! Every part ends by itself, so a shorter text never runs into the next part, and the key of one
//! tuple is the prefix of another's only if its parts are.

use std::fmt::{self, Write as _};

use crate::clock::Timestamp;
use crate::id::{ConnectionName, DeliveryId, EntityId, Key, RemoteId, RouteName};

/// Something that can stand in a key.
pub trait EncodeKey {
    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Its bytes alone.
    fn to_key(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// Something that can be read back from a key.
pub trait DecodeKey: EncodeKey + Sized {
    /// Takes its bytes from the front.
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey>;

    /// Reads `bytes` to their end.
    fn from_key(bytes: &[u8]) -> Result<Self, BadKey> {
        let mut reader = KeyReader::new(bytes);
        let key = Self::decode(&mut reader)?;
        if reader.rest.is_empty() {
            Ok(key)
        } else {
            Err(BadKey("bytes behind its last part"))
        }
    }
}

/// Why bytes are not the key they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadKey(pub &'static str);

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key has {}", self.0)
    }
}

impl std::error::Error for BadKey {}

/// Reads the parts of a key, front to back.
#[derive(Debug)]
pub struct KeyReader<'a> {
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    /// Begins at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// A text.
    pub fn text(&mut self) -> Result<String, BadKey> {
        let mut bytes = Vec::new();
        loop {
            let zero = self.rest.iter().position(|byte| *byte == 0);
            let (plain, marked) = self
                .rest
                .split_at(zero.ok_or(BadKey("a text without an end"))?);
            bytes.extend_from_slice(plain);
            match marked {
                [0, 0x01, rest @ ..] => {
                    self.rest = rest;
                    return String::from_utf8(bytes)
                        .map_err(|_| BadKey("a text that is not UTF-8"));
                }
                [0, 0xFF, rest @ ..] => {
                    bytes.push(0);
                    self.rest = rest;
                }
                _ => return Err(BadKey("a zero byte inside a text")),
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadKey> {
        let (front, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(BadKey("too few bytes"))?;
        self.rest = rest;
        Ok(*front)
    }
}

/// Appends `text` as the bytes of a key.
pub fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    let mut rest = text.as_bytes();
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        out.extend_from_slice(&rest[..zero]);
        out.extend_from_slice(&[0, 0xFF]);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0x01]);
}

/// `bytes` for a person: text as it is, everything else as `\xNN`.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7E => out.push(char::from(*byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out
}

impl<T: EncodeKey + ?Sized> EncodeKey for &T {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }
}

impl EncodeKey for str {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self, out);
    }
}

impl EncodeKey for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self, out);
    }
}

impl DecodeKey for String {
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        reader.text()
    }
}

impl EncodeKey for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl DecodeKey for u64 {
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        reader.array().map(Self::from_be_bytes)
    }
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;

impl EncodeKey for Timestamp {
    fn encode(&self, out: &mut Vec<u8>) {
        // Rounded down, not towards zero: before 1970 the nanoseconds count up as well.
        let nanos = self.as_nanosecond();
        let second = i64::try_from(nanos.div_euclid(NANOS_PER_SECOND)).unwrap_or(i64::MAX);
        let rest = u32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).unwrap_or(u32::MAX);
        out.extend_from_slice(&(second.cast_unsigned() ^ (1 << 63)).to_be_bytes());
        out.extend_from_slice(&rest.to_be_bytes());
    }
}

impl DecodeKey for Timestamp {
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        let second = (u64::from_be_bytes(reader.array()?) ^ (1 << 63)).cast_signed();
        let rest = u32::from_be_bytes(reader.array()?);
        let nanos = i128::from(second) * NANOS_PER_SECOND + i128::from(rest);
        Self::from_nanosecond(nanos).map_err(|_| BadKey("a moment outside of the calendar"))
    }
}

/// The whole table: a prefix of every key.
impl EncodeKey for () {
    fn encode(&self, _: &mut Vec<u8>) {}
}

impl DecodeKey for () {
    fn decode(_: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        Ok(())
    }
}

impl<A: EncodeKey> EncodeKey for (A,) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl<A: DecodeKey> DecodeKey for (A,) {
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        Ok((A::decode(reader)?,))
    }
}

impl<A: EncodeKey, B: EncodeKey> EncodeKey for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
}

impl<A: DecodeKey, B: DecodeKey> DecodeKey for (A, B) {
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        Ok((A::decode(reader)?, B::decode(reader)?))
    }
}

impl<A: EncodeKey, B: EncodeKey, C: EncodeKey> EncodeKey for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }
}

impl<A: DecodeKey, B: DecodeKey, C: DecodeKey> DecodeKey for (A, B, C) {
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        Ok((A::decode(reader)?, B::decode(reader)?, C::decode(reader)?))
    }
}

impl<A: EncodeKey, B: EncodeKey, C: EncodeKey, D: EncodeKey> EncodeKey for (A, B, C, D) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
        self.3.encode(out);
    }
}

impl<A: DecodeKey, B: DecodeKey, C: DecodeKey, D: DecodeKey> DecodeKey for (A, B, C, D) {
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        Ok((
            A::decode(reader)?,
            B::decode(reader)?,
            C::decode(reader)?,
            D::decode(reader)?,
        ))
    }
}

/// The identifiers of [`id`](crate::id) stand in keys as their text.
macro_rules! text_key {
    ($($name:ident)*) => {$(
        impl EncodeKey for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                encode_text(self.as_str(), out);
            }
        }

        impl DecodeKey for $name {
            fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
                reader.text().map(Self::from)
            }
        }
    )*};
}

impl EncodeKey for crate::record::Stream {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.name(), out);
    }
}

impl DecodeKey for crate::record::Stream {
    fn decode(reader: &mut KeyReader<'_>) -> Result<Self, BadKey> {
        reader
            .text()?
            .parse()
            .map_err(|()| BadKey("a stream that is not known"))
    }
}

text_key! { RemoteId ConnectionName RouteName EntityId DeliveryId Key }

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        // Zero, one and the largest bytes of UTF-8 are where an encoding would go wrong.
        let letter = prop_oneof![
            Just('\0'),
            Just('\u{1}'),
            Just('a'),
            Just('b'),
            Just('\u{ff}'),
            Just('\u{10ffff}'),
            any::<char>(),
        ];
        prop::collection::vec(letter, 0..5).prop_map(String::from_iter)
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(1), Just(u64::MAX), 0..600u64, any::<u64>()]
    }

    fn moment() -> impl Strategy<Value = Timestamp> {
        let nanos = prop_oneof![
            -2_000_000_000i128..2_000_000_000,
            Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond(),
        ];
        nanos.prop_map(|nanos| Timestamp::from_nanosecond(nanos).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn bytes_sort_like_values_and_read_back(
            left in (text(), number(), text(), moment()),
            right in (text(), number(), text(), moment()),
        ) {
            prop_assert_eq!(left.cmp(&right), left.to_key().cmp(&right.to_key()));
            let read: (String, u64, String, Timestamp) = DecodeKey::from_key(&left.to_key()).unwrap();
            prop_assert_eq!(&read, &left);
            // Equal leading parts: the order is decided by what follows.
            let right = (left.0.clone(), left.1, right.2, right.3);
            prop_assert_eq!(left.cmp(&right), left.to_key().cmp(&right.to_key()));
        }

        #[test]
        fn a_prefix_is_a_prefix_only_of_its_own(one in text(), other in text(), number in number()) {
            let key = (one.as_str(), number).to_key();
            prop_assert_eq!(key.starts_with(&(other.as_str(),).to_key()), one == other);
        }

        #[test]
        fn any_bytes_are_refused_or_read_back(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(key) = <(String, u64)>::from_key(&bytes) {
                prop_assert_eq!(key.to_key(), bytes);
            }
        }
    }

    #[test]
    fn identifiers_are_their_text() {
        let key = (ConnectionName::from("north"), Key::from("0017"));
        assert_eq!(key.to_key(), ("north", "0017").to_key());
        assert_eq!(
            printable(&("a\\", 7u64).to_key()),
            r"a\\\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07"
        );
        assert_eq!(DecodeKey::from_key(&key.to_key()), Ok(key));
        assert_eq!(
            <(String,)>::from_key(b"ab"),
            Err(BadKey("a text without an end"))
        );
    }
}
