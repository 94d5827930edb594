//! Functions on text. Positions and sizes count characters (Unicode scalar values), not bytes.

use std::borrow::Cow;

use base64::Engine as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Answer, Args, Built, bounded};
use crate::expr::fail::Cause;
use crate::expr::limits;
use crate::expr::node::Prepared;
use crate::expr::value::Value;

/// RFC 3986 section 2.3: everything but the unreserved characters.
const URL_ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(super) fn trim<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(Value::String(match args.text(0)? {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }))
}

pub(super) fn upper<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = args.text(0)?;
    // Checked first, so that an enormous text is refused before it is copied.
    if text.len() > limits::TEXT_BYTES {
        return Err(Cause::TooLong);
    }
    bounded(text.to_uppercase())
}

pub(super) fn lower<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = args.text(0)?;
    if text.len() > limits::TEXT_BYTES {
        return Err(Cause::TooLong);
    }
    bounded(text.to_lowercase())
}

pub(super) fn replace<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let (text, from, to) = (args.text(0)?, args.text(1)?, args.text(2)?);
    if from.is_empty() {
        return Err(Cause::Value("cannot replace an empty text"));
    }
    if !text.contains(&*from) {
        return Ok(Value::String(text));
    }
    let mut built = Built::default();
    for (n, piece) in text.split(&*from).enumerate() {
        if n > 0 {
            built.push(&to)?;
        }
        built.push(piece)?;
    }
    Ok(built.value())
}

pub(super) fn substring<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = args.text(0)?;
    let message = "a position or length must be a whole number from 0";
    let start = args.whole(1, u32::MAX, message)? as usize;
    let length = if args.len() > 2 {
        args.whole(2, u32::MAX, message)? as usize
    } else {
        usize::MAX
    };
    let byte_of = |text: &str, n: usize| {
        text.char_indices()
            .nth(n)
            .map_or(text.len(), |(byte, _)| byte)
    };
    let from = byte_of(&text, start);
    let to = from + byte_of(text.get(from..).unwrap_or(""), length);
    Ok(Value::String(match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(from..to).unwrap_or("")),
        Cow::Owned(text) => Cow::Owned(text.get(from..to).unwrap_or("").to_owned()),
    }))
}

pub(super) fn split<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let (text, separator) = (args.text(0)?, args.text(1)?);
    if separator.is_empty() {
        return Err(Cause::Value("cannot split at an empty text"));
    }
    if text.matches(&*separator).count() >= limits::ITEMS {
        return Err(Cause::TooMany);
    }
    Ok(Value::List(match text {
        Cow::Borrowed(text) => text.split(&*separator).map(Value::text).collect(),
        Cow::Owned(text) => text
            .split(&*separator)
            .map(|piece| Value::text(piece.to_owned()))
            .collect(),
    }))
}

pub(super) fn join<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let (items, separator) = (args.list(0)?, args.text(1)?);
    let mut built = Built::default();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            built.push(&separator)?;
        }
        match item? {
            Value::String(text) => built.push(&text)?,
            Value::Number(number) => built.push(&number.to_string())?,
            _ => {
                return Err(Cause::Element {
                    index,
                    what: "is neither text nor a number",
                });
            }
        }
    }
    Ok(built.value())
}

pub(super) fn starts_with<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(Value::Bool(args.text(0)?.starts_with(&*args.text(1)?)))
}

pub(super) fn ends_with<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(Value::Bool(args.text(0)?.ends_with(&*args.text(1)?)))
}

pub(super) fn contains<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(Value::Bool(args.text(0)?.contains(&*args.text(1)?)))
}

pub(super) fn matches<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = args.text(0)?;
    match args.prepared(1) {
        Prepared::Pattern(pattern) => Ok(Value::Bool(pattern.is_match(&text))),
        _ => Err(Cause::Value("the pattern was not compiled")),
    }
}

pub(super) fn string<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(Value::String(args.value(0).into_text()?))
}

pub(super) fn urlencode<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = args.value(0).into_text()?;
    let mut built = Built::default();
    for piece in utf8_percent_encode(&text, URL_ENCODED) {
        built.push(piece)?;
    }
    Ok(built.value())
}

pub(super) fn base64<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = args.text(0)?;
    // Four characters for three bytes.
    if text.len() > limits::TEXT_BYTES / 4 * 3 {
        return Err(Cause::TooLong);
    }
    bounded(base64::engine::general_purpose::STANDARD.encode(text.as_bytes()))
}

pub(super) fn hash<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let text = args.text(0)?;
    let digits = args.whole(1, 64, "a hash has 1 to 64 digits")? as usize;
    let hex = blake3::hash(text.as_bytes()).to_hex();
    match hex.get(..digits) {
        Some(digits) if !digits.is_empty() => Ok(Value::text(digits.to_owned())),
        _ => Err(Cause::Value("a hash has 1 to 64 digits")),
    }
}

pub(super) fn json<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let mut built = Built::default();
    write_json(&args.value(0), &mut built)?;
    Ok(built.value())
}

/// Writes compact JSON without building a copy of the document first.
fn write_json(value: &Value<'_>, out: &mut Built) -> Result<(), Cause<'static>> {
    match value {
        Value::List(items) => {
            out.push("[")?;
            for (n, item) in items.iter().enumerate() {
                out.push(if n > 0 { "," } else { "" })?;
                write_json(item, out)?;
            }
            out.push("]")
        }
        Value::Map(entries) => {
            out.push("{")?;
            for (n, (key, item)) in entries.iter().enumerate() {
                out.push(if n > 0 { "," } else { "" })?;
                write_text(key, out)?;
                out.push(":")?;
                write_json(item, out)?;
            }
            out.push("}")
        }
        Value::Json(json) => {
            // `Built` refuses at the limit, so that a large document stops early.
            let mut sink = JsonSink { out, full: false };
            serde_json::to_writer(&mut sink, json).map_err(|_| Cause::TooLong)
        }
        Value::String(text) => write_text(text, out),
        Value::Timestamp(at) => write_text(&at.to_string(), out),
        Value::Null => out.push("null"),
        Value::Bool(truth) => out.push(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push(&number.to_string()),
    }
}

/// Text in quotes, escaped as JSON wants it.
fn write_text(text: &str, out: &mut Built) -> Result<(), Cause<'static>> {
    out.push("\"")?;
    for c in text.chars() {
        match c {
            '"' => out.push("\\\"")?,
            '\\' => out.push("\\\\")?,
            '\n' => out.push("\\n")?,
            '\r' => out.push("\\r")?,
            '\t' => out.push("\\t")?,
            c if c.is_control() && c.is_ascii() => out.push(&format!("\\u{:04x}", u32::from(c)))?,
            c => out.push_char(c)?,
        }
    }
    out.push("\"")
}

struct JsonSink<'x> {
    out: &'x mut Built,
    full: bool,
}

impl std::io::Write for JsonSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // The serializer writes whole pieces of UTF-8, never half a character.
        let piece = std::str::from_utf8(bytes).map_err(std::io::Error::other)?;
        if self.full || self.out.push(piece).is_err() {
            self.full = true;
            return Err(std::io::Error::other("too long"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
