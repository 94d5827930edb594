//! A computed document as the bytes of a request's body, and what it reads of a name: what is only handed on
//! need not be made into a document first, and what nobody reads need not be made at all.

use serde::Serialize;

use super::scope::{Frame, Trouble};
use super::tree::Node;
use crate::expr::{Reads, Value};

impl Node {
    /// The document as the bytes of a body, without making it first: a batch has thousands of rows.
    pub(super) fn bytes(&self, frame: &Frame<'_>) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::with_capacity(128);
        if !self.write(frame, &mut bytes)? {
            bytes.extend_from_slice(b"null");
        }
        Ok(bytes)
    }

    /// Appends the document as JSON text; `false`, and nothing, when the whole of it is left out.
    fn write(&self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<bool, Trouble> {
        match self {
            Self::Text(template) => {
                if let Some(text) = template.as_root().and_then(|name| frame.written(name)) {
                    out.extend_from_slice(text);
                    return Ok(true);
                }
                let value = template.eval(frame).map_err(|error| Trouble::new(&error))?;
                write_value(value, out).map(|()| true)
            }
            Self::Expr { program, optional } => match program.eval(frame) {
                Ok(value) if *optional && value.is_null() => Ok(false),
                Ok(value) => write_value(value, out).map(|()| true),
                Err(error) => match Trouble::new(&error) {
                    trouble if *optional && trouble.missing => Ok(false),
                    trouble => Err(trouble),
                },
            },
            Self::List(items) => {
                out.push(b'[');
                let mut any = false;
                for (n, item) in items.iter().enumerate() {
                    let before = out.len();
                    separate(any, out);
                    let written = item
                        .write(frame, out)
                        .map_err(|trouble| trouble.within(&format!("[{n}]")))?;
                    any |= keep(written, before, out);
                }
                out.push(b']');
                Ok(true)
            }
            Self::Map(entries) => {
                out.push(b'{');
                let mut any = false;
                for (key, value) in entries {
                    let before = out.len();
                    separate(any, out);
                    write_json(key, out)?;
                    out.push(b':');
                    let written = value
                        .write(frame, out)
                        .map_err(|trouble| trouble.within(key))?;
                    any |= keep(written, before, out);
                }
                out.push(b'}');
                Ok(true)
            }
            Self::Const(json) => write_json(json, out).map(|()| true),
            Self::Each(_) | Self::Let { .. } | Self::When { .. } => match self.eval(frame)? {
                Some(json) => write_json(&json, out).map(|()| true),
                None => Ok(false),
            },
        }
    }

    /// Whether all it does with the name `root` is to hand it on as it is, so that its JSON text is enough.
    pub(super) fn only_hands_on(&self, root: &str) -> bool {
        match self {
            Self::Text(template) if template.as_root() == Some(root) => true,
            Self::List(items) => items.iter().all(|item| item.only_hands_on(root)),
            Self::Map(entries) => entries.iter().all(|(_, value)| value.only_hands_on(root)),
            node => !node.names(root),
        }
    }

    /// Whether it reads anything of the name `root`.
    pub(super) fn names(&self, root: &str) -> bool {
        let mut reads = Reads::default();
        self.reads(root, &mut reads);
        reads.any()
    }

    /// Adds what it reads of the name `root`.
    pub(super) fn reads(&self, root: &str, reads: &mut Reads) {
        match self {
            Self::Const(_) => {}
            Self::Text(template) => template.reads(root, reads),
            Self::Expr { program, .. } => program.reads(root, reads),
            Self::List(items) => items.iter().for_each(|item| item.reads(root, reads)),
            Self::Map(entries) => entries
                .iter()
                .for_each(|(_, value)| value.reads(root, reads)),
            Self::Each(each) => {
                each.list.reads(root, reads);
                if let Some(condition) = &each.condition {
                    condition.reads(root, reads);
                }
                if let Some(key) = &each.key {
                    key.reads(root, reads);
                }
                each.value.reads(root, reads);
            }
            Self::When {
                condition,
                value,
                otherwise,
            } => {
                condition.reads(root, reads);
                value.reads(root, reads);
                if let Some(otherwise) = otherwise {
                    otherwise.reads(root, reads);
                }
            }
            Self::Let { names, value } => {
                for (_, name) in names {
                    name.reads(root, reads);
                }
                value.reads(root, reads);
            }
        }
    }
}

/// Puts a comma before all but the first.
fn separate(any: bool, out: &mut Vec<u8>) {
    if any {
        out.push(b',');
    }
}

/// Takes back what was written for a part that is left out; whether it stays.
fn keep(written: bool, before: usize, out: &mut Vec<u8>) -> bool {
    if !written {
        out.truncate(before);
    }
    written
}

fn write_value(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Trouble> {
    match value {
        Value::String(text) => write_json(&text, out),
        Value::Json(json) => write_json(json, out),
        value => write_json(&value.into_json(), out),
    }
}

fn write_json(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) -> Result<(), Trouble> {
    serde_json::to_writer(out, value).map_err(|error| Trouble::told(error.to_string()))
}
