//! What a record says, in 16 bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::canonical;

/// The first 16 bytes of BLAKE3 over the canonical JSON (keys sorted, absent fields left out).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// Of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        Self(short)
    }

    /// Of anything whose JSON form has keys that are texts, without making that form.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        match canonical::bytes(value) {
            Ok(bytes) => Self::of_bytes(&bytes),
            // No record is like that; one that were would still differ from every other.
            Err(refused) => Self::of_bytes(refused.to_string().as_bytes()),
        }
    }

    /// Of a document, whatever the order of its keys and however its decimals are written.
    pub fn of_json(json: &Value) -> Self {
        let mut canonical = Vec::with_capacity(512);
        write_canonical(json, &mut canonical);
        Self::of_bytes(&canonical)
    }
}

fn write_canonical(json: &Value, out: &mut Vec<u8>) {
    match json {
        Value::Null => out.push(b'n'),
        Value::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Value::Number(number) => write_text(b'#', &number.to_string(), out),
        Value::String(text) => write_text(b'"', text, out),
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write_canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            out.push(b'{');
            for (name, value) in sorted {
                write_text(b'"', name, out);
                write_canonical(value, out);
            }
            out.push(b'}');
        }
    }
}

/// Kind, length, text: no text can be mistaken for another's end.
fn write_text(kind: u8, text: &str, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&(text.len() as u64).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("a fingerprint is 32 hexadecimal digits");
        if text.len() != 32 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}
