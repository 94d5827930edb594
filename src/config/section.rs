//! Reads one section as a typed value and reports everything that is wrong in it, not only the
//! first.
//!
//! Serde stops at the first error. So each error is reported, the value that caused it is taken out
//! of a copy (or a placeholder is put in, where one is missing), and the copy is read again.

use serde::de::DeserializeOwned;

use super::codes;
use super::de::{Problem, Reader, Trouble};
use super::tree::{Document, Node, Step, Value, path_text};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, did_you_mean};

/// How many findings one section can have; a file that is something else entirely ends here.
const MAX_FINDINGS: usize = 100;

/// Reads what stands at `path`. `None` when anything in it is wrong.
pub fn read<T: DeserializeOwned>(
    document: &Document,
    path: &[Step],
    findings: &mut Diagnostics,
) -> Option<T> {
    let mut copy = document.root.get(path)?.clone();
    let mut put_in: Vec<Vec<Step>> = Vec::new();
    let mut whole = true;
    for _ in 0..MAX_FINDINGS {
        let trouble = match T::deserialize(Reader(&copy)) {
            Ok(value) => return whole.then_some(value),
            Err(trouble) => trouble,
        };
        whole = false;
        let place = trouble.path();
        // What we put in ourselves does not fit: no finding of the merchant's.
        if put_in.contains(&place) {
            if !replace_placeholder(&mut copy, &place) {
                return None;
            }
            continue;
        }
        let mut full = path.to_vec();
        full.extend(original_path(document.root.get(path)?, &copy, &place));
        if !was_reported(document, &full, &trouble) {
            findings.push(describe(document, full, &trouble));
        }
        if !repair(&mut copy, &trouble, &mut put_in) {
            return None;
        }
    }
    None
}

/// The path in the section as it was written: elements may have been taken out of lists of the
/// copy.
fn original_path(original: &Node, copy: &Node, path: &[Step]) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::new();
    for (depth, step) in path.iter().enumerate() {
        let list = original.get(&out).map(|node| &node.value);
        let here = copy.get(&path[..=depth]);
        let index = match (step, list, here) {
            (Step::Index(_), Some(Value::List(items)), Some(here)) if here.place.is_some() => {
                items.iter().position(|item| item.place == here.place)
            }
            _ => None,
        };
        out.push(index.map_or_else(|| step.clone(), Step::Index));
    }
    out
}

/// What is missing in the copy because it was taken out of it was a finding already.
fn was_reported(document: &Document, full: &[Step], trouble: &Trouble) -> bool {
    let Problem::Missing(field) = trouble.problem else {
        return false;
    };
    let table = document.root.get(full).and_then(Node::table);
    table.is_some_and(|entries| entries.contains_key(field))
}

/// What is missing may be any text, a text of a certain form, or a list.
fn replace_placeholder(copy: &mut Node, path: &[Step]) -> bool {
    let Some(node) = copy.get_mut(path) else {
        return false;
    };
    node.value = match node.as_str() {
        Some("") => Node::text(ENDPOINT).value,
        Some(ENDPOINT) => Value::List(Vec::new()),
        _ => return false,
    };
    true
}

/// Some valid endpoint.
const ENDPOINT: &str = "a.orders";

/// Takes out what caused the trouble, or puts in what is missing, so that reading can go on.
fn repair(copy: &mut Node, trouble: &Trouble, put_in: &mut Vec<Vec<Step>>) -> bool {
    let mut path = trouble.path();
    if let Problem::Missing(field) = trouble.problem {
        let Some(Value::Table(entries)) = copy.get_mut(&path).map(|node| &mut node.value) else {
            return false;
        };
        path.push(Step::Key(field.to_owned()));
        put_in.push(path);
        return entries.insert(field.to_owned(), Node::text("")).is_none();
    }
    let Some(last) = path.pop() else {
        return false;
    };
    match (copy.get_mut(&path).map(|node| &mut node.value), last) {
        (Some(Value::Table(entries)), Step::Key(key)) => entries.remove(&key).is_some(),
        (Some(Value::List(items)), Step::Index(index)) if index < items.len() => {
            items.remove(index);
            true
        }
        _ => false,
    }
}

/// The finding for one trouble with what stands at `full`.
fn describe(document: &Document, mut full: Vec<Step>, trouble: &Trouble) -> Diagnostic {
    let name = match full.last() {
        Some(Step::Key(key)) => key.clone(),
        _ => path_text(&full),
    };
    let error = |code, message: String| document.finding(Severity::Error, code, &full, message);
    let found = document.root.get(&full);
    match &trouble.problem {
        Problem::UnknownKey(known) => unknown_key(document, &full, known),
        Problem::UnknownChoice(known) => {
            let written = if trouble.at_key {
                Some(name.as_str())
            } else {
                found.and_then(Node::as_str)
            };
            let message = if trouble.at_key {
                format!("`{name}` is not possible here")
            } else {
                format!("`{name}` has a value that it cannot have")
            };
            let finding = error(codes::UNKNOWN_CHOICE, message);
            at_key(document, &full, trouble.at_key, finding).help(suggest(written, known))
        }
        Problem::Missing(field) => {
            let message = format!("`{field}` is missing in `{}`", path_text(&full));
            full.push(Step::Key((*field).to_owned()));
            document
                .finding(Severity::Error, codes::MISSING, &full, message)
                .help(format!("add `{field} = …`"))
        }
        Problem::WrongType { expected } => {
            let kind = found.map_or("something else", |node| node.value.kind());
            let finding = error(
                codes::WRONG_TYPE,
                format!("`{name}` must be {expected}, not {kind}"),
            );
            match type_help(found, expected) {
                Some(help) => finding.help(help),
                None => finding,
            }
        }
        Problem::OutOfRange => match found.map(|node| &node.value) {
            Some(Value::Integer(number)) if *number < 0 => error(
                codes::OUT_OF_RANGE,
                format!("`{name}` must not be negative, and is {number}"),
            ),
            _ => error(codes::OUT_OF_RANGE, format!("`{name}` is too large")),
        },
        Problem::Other(message, help) => {
            let code = if trouble.at_key {
                codes::BAD_NAME
            } else {
                codes::BAD_VALUE
            };
            let finding = error(code, format!("`{name}`: {message}"));
            let finding = at_key(document, &full, trouble.at_key, finding);
            match help {
                Some(help) => finding.help(help.clone()),
                None => finding,
            }
        }
    }
}

/// The finding for a key that does not exist.
pub fn unknown_key(document: &Document, path: &[Step], known: &[&str]) -> Diagnostic {
    let name = match path.last() {
        Some(Step::Key(key)) => key.as_str(),
        _ => "",
    };
    let inside = path_text(&path[..path.len().saturating_sub(1)]);
    let message = match inside.as_str() {
        "" => format!("there is no section `{name}`"),
        _ => format!("there is no setting `{name}` in `{inside}`"),
    };
    let finding = document.finding(Severity::Error, codes::UNKNOWN_KEY, path, message);
    at_key(document, path, true, finding).help(suggest(Some(name), known))
}

/// Moves a finding to the key of what it is about.
pub fn at_key(document: &Document, path: &[Step], at_key: bool, finding: Diagnostic) -> Diagnostic {
    match document.root.get(path).and_then(|node| node.key.as_ref()) {
        Some((text, span)) if at_key => finding.at(text, span.clone()),
        _ => finding,
    }
}

/// "did you mean", or the list of what there is.
pub fn suggest(written: Option<&str>, known: &[&str]) -> String {
    if let Some(meant) = written.and_then(|name| did_you_mean(name, known.iter().copied())) {
        return format!("did you mean `{meant}`?");
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "nothing is possible here".to_owned(),
        Some((last, [])) => format!("only {last} is possible"),
        Some((last, others)) => format!("possible are {} and {last}", others.join(", ")),
    }
}

fn type_help(found: Option<&Node>, expected: &str) -> Option<String> {
    match (&found?.value, expected) {
        (
            Value::Text {
                text,
                written: None,
            },
            "a whole number" | "a number",
        ) => text
            .parse::<f64>()
            .ok()
            .map(|_| "leave out the quotes".to_owned()),
        (Value::Text { .. }, "true or false") => Some("leave out the quotes".to_owned()),
        (Value::Float(_), "a whole number") => Some("leave out the decimals".to_owned()),
        (Value::Integer(_) | Value::Float(_) | Value::Bool(_), "a text in quotes") => {
            Some("put it between double quotes".to_owned())
        }
        (Value::Text { .. }, "a list in brackets") => Some("put it between [ and ]".to_owned()),
        _ => None,
    }
}
