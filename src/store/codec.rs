//! Values as bytes: one byte of version, then the JSON of a serde struct.
//!
//! JSON, because a row must still be readable, by a newer program and by a person, years after it was
//! written, and because a renamed or added field is then a matter of serde's defaults. A change that
//! defaults cannot express raises [`Versioned::VERSION`] and adds a step to [`Versioned::migrate`].
//! Rows are migrated when they are read and stay as they are on disk until they are next written.
//!
//! Golden rows of every version ever released are in `golden/` and must read for ever.

use std::cell::RefCell;
use std::io::Read as _;

use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::StoreError;

/// A value that can stand in a row.
pub trait Versioned: Serialize + DeserializeOwned {
    /// The version that this program writes, from 1.
    const VERSION: u8;

    /// What the row is called in messages: `delivery`.
    const NAME: &'static str;

    /// Brings the JSON of an older version to the shape of [`VERSION`](Self::VERSION). The error is a
    /// sentence for a person.
    fn migrate(from: u8, value: Value) -> Result<Value, String> {
        let _ = value;
        Err(format!(
            "no way from version {from} to {} is known",
            Self::VERSION
        ))
    }
}

/// The bytes of `value`.
pub fn encode<T: Versioned>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(T::VERSION);
    serde_json::to_writer(&mut bytes, value).map_err(|error| StoreError::Unencodable {
        what: T::NAME,
        message: error.to_string(),
    })?;
    Ok(bytes)
}

/// The value in `bytes`. `row` names the row in errors and is asked only then.
pub fn decode<T: Versioned>(bytes: &[u8], row: impl Fn() -> String) -> Result<T, StoreError> {
    let (version, body) = split(bytes, &row)?;
    let corrupt = |what: String| StoreError::corrupt_row(row(), what);
    if version > T::VERSION {
        let (found, known) = (u32::from(version), u32::from(T::VERSION));
        return Err(StoreError::FormatTooNew {
            path: format!("row {}", row()),
            found,
            known,
        });
    }
    if version == T::VERSION {
        return serde_json::from_slice(body).map_err(|error| {
            corrupt(format!("it is no {}: {}", T::NAME, without_content(&error)))
        });
    }
    let old: Value = serde_json::from_slice(body)
        .map_err(|error| corrupt(format!("version {version} is no JSON: {error}")))?;
    let new = T::migrate(version, old).map_err(&corrupt)?;
    serde_json::from_value(new).map_err(|error| {
        corrupt(format!(
            "migrated from version {version}, it is no {}: {}",
            T::NAME,
            without_content(&error)
        ))
    })
}

/// Whether `bytes` have the outer shape of a row, for a check that does not know its type: a version
/// and JSON. Returns the version.
pub fn check_shape(bytes: &[u8], row: impl Fn() -> String) -> Result<u8, StoreError> {
    let (version, body) = split(bytes, &row)?;
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_) => Ok(version),
        Err(error) => Err(StoreError::corrupt_row(
            row(),
            format!("it is no JSON: {error}"),
        )),
    }
}

/// What serde says, unless it quotes the content of the row: a message may be logged and stored, and
/// what stands in a row may be somebody's name.
fn without_content(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_a_field = text.starts_with("missing field") || text.starts_with("unknown field");
    match error.classify() {
        serde_json::error::Category::Data if !names_a_field => {
            format!("a value does not fit at column {}", error.column())
        }
        _ => text,
    }
}

fn split<'a>(bytes: &'a [u8], row: &impl Fn() -> String) -> Result<(u8, &'a [u8]), StoreError> {
    match bytes.split_first() {
        None => Err(StoreError::corrupt_row(row(), "it is empty")),
        Some((0, _)) => Err(StoreError::corrupt_row(
            row(),
            "it has version 0, which nobody wrote",
        )),
        Some((version, body)) => Ok((*version, body)),
    }
}

/// The only way of packing so far: raw deflate behind the length in 4 bytes, little-endian.
const PACKED_DEFLATE: u8 = 1;

/// Deflate cannot shrink below this (RFC 1951: 258 bytes cost at least 2 bits); more is a forgery.
const DEFLATE_MAX_RATIO: usize = 1032;

/// Makes a raw payload (a page of an API, an order as it came) small enough to be kept beside a row.
pub fn pack(payload: &[u8]) -> Result<Vec<u8>, StoreError> {
    let what = "bytes in a payload";
    StoreError::check_size(what, payload.len(), u32::MAX as usize)?;
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut packed = Vec::with_capacity(payload.len() + 64);
    packed.push(PACKED_DEFLATE);
    packed.extend_from_slice(&len.to_le_bytes());
    let unencodable = |message: String| StoreError::Unencodable {
        what: "payload",
        message,
    };
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        loop {
            let taken = usize::try_from(compressor.total_in()).unwrap_or(usize::MAX);
            let rest = payload.get(taken..).unwrap_or_default();
            let step = compressor.compress_vec(rest, &mut packed, FlushCompress::Finish);
            match step.map_err(|error| unencodable(error.to_string()))? {
                Status::StreamEnd => return Ok(packed),
                // The room that was made did not suffice: a payload that cannot be made smaller.
                Status::Ok | Status::BufError => packed.reserve(payload.len() / 2 + 64),
            }
        }
    })
}

thread_local! {
    /// Making one costs more than packing an order: it begins with hundreds of kilobytes of tables.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// What was packed. More than `limit` bytes is [`StoreError::TooLarge`], found out before they are
/// unpacked; `row` names the row in errors.
pub fn unpack(
    packed: &[u8],
    limit: usize,
    row: impl Fn() -> String,
) -> Result<Vec<u8>, StoreError> {
    let corrupt = |what: &str| StoreError::corrupt_row(row(), what);
    let (PACKED_DEFLATE, rest) = packed
        .split_first()
        .map(|(kind, rest)| (*kind, rest))
        .ok_or_else(|| corrupt("it is empty"))?
    else {
        return Err(corrupt("it is packed in an unknown way"));
    };
    let (len, body) = rest
        .split_first_chunk()
        .ok_or_else(|| corrupt("it is cut off"))?;
    let len = u32::from_le_bytes(*len) as usize;
    StoreError::check_size("bytes in a payload", len, limit)?;
    if len > body.len().saturating_mul(DEFLATE_MAX_RATIO) {
        return Err(corrupt("its length is impossible"));
    }
    let mut payload = Vec::with_capacity(len);
    // One byte more than announced is enough to notice a lie.
    let mut decoder = DeflateDecoder::new(body).take(len as u64 + 1);
    decoder
        .read_to_end(&mut payload)
        .map_err(|_| corrupt("it cannot be unpacked"))?;
    if payload.len() == len {
        Ok(payload)
    } else {
        Err(corrupt("its length is wrong"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    /// Stands for a row type after its first migration: version 1 had `name`, version 2 has `title`.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        title: String,
        #[serde(default)]
        count: u64,
    }

    impl Versioned for Sample {
        const VERSION: u8 = 2;
        const NAME: &'static str = "sample";

        fn migrate(from: u8, mut value: Value) -> Result<Value, String> {
            let fields = value.as_object_mut().ok_or("it is no object")?;
            match from {
                1 => {
                    let name = fields.remove("name").ok_or("version 1 without `name`")?;
                    fields.insert("title".into(), name);
                    Ok(value)
                }
                _ => Err(format!("version {from} was never written")),
            }
        }
    }

    fn row() -> String {
        "sample(a)".into()
    }

    #[test]
    fn golden_rows_of_every_version_still_read() {
        for line in include_str!("golden/codec.jsonl").lines() {
            let golden: Value = serde_json::from_str(line).unwrap();
            let version = u8::try_from(golden["version"].as_u64().unwrap()).unwrap();
            let mut bytes = vec![version];
            bytes.extend_from_slice(golden["body"].as_str().unwrap().as_bytes());
            let read: Sample = decode(&bytes, row).unwrap();
            assert_eq!(read, Sample::deserialize(&golden["expect"]).unwrap());
            if version == Sample::VERSION {
                assert_eq!(encode(&read).unwrap(), bytes, "what is written has changed");
            }
        }
    }

    #[test]
    fn damage_and_the_future_are_named() {
        let message = |bytes: &[u8]| decode::<Sample>(bytes, row).unwrap_err().to_string();
        assert!(message(b"").starts_with("row sample(a) is damaged: it is empty; run `crossdock"));
        assert!(message(b"\x02{").contains("it is no sample: EOF while parsing"));
        assert!(message(b"\x02{}").contains("it is no sample: missing field `title`"));
        let quoted = message(b"\x02{\"title\":\"\",\"count\":\"Ada\"}");
        assert!(
            quoted.contains("a value does not fit at column 25"),
            "{quoted}"
        );
        assert!(!quoted.contains("Ada"));
        assert!(message(b"\x01{}").contains("version 1 without `name`"));
        assert!(message(b"\x00{}").contains("version 0"));
        assert!(message(b"\x03{}").contains("has format 3, this crossdock reads up to 2"));
        assert_eq!(check_shape(b"\x03{}", row), Ok(3));
        assert!(check_shape(b"\x03{} ,", row).is_err());
    }

    #[test]
    fn unpacking_is_bounded() {
        let zeros = vec![0u8; 1 << 20];
        let packed = pack(&zeros).unwrap();
        assert!(packed.len() < 8192);
        assert_eq!(unpack(&packed, 1 << 20, row).unwrap(), zeros);
        let refused = unpack(&packed, (1 << 20) - 1, row);
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
        // A forged length above and below the truth.
        for forged in [1u32 << 19, (1 << 20) + 1, u32::MAX] {
            let mut packed = packed.clone();
            packed[1..5].copy_from_slice(&forged.to_le_bytes());
            assert!(matches!(
                unpack(&packed, usize::MAX, row),
                Err(StoreError::Corrupt { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn packing_reads_back(payload in prop::collection::vec(any::<u8>(), 0..500)) {
            prop_assert_eq!(unpack(&pack(&payload).unwrap(), 500, row).unwrap(), payload);
        }

        #[test]
        fn unpacking_anything_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = unpack(&bytes, 4096, row);
            let mut packed = vec![PACKED_DEFLATE, 16, 0, 0, 0];
            packed.extend_from_slice(&bytes);
            let _ = unpack(&packed, 4096, row);
        }
    }
}
