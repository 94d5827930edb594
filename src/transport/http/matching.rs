//! Whether a request is the one that a fixture expects, and what of it must not be kept.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::replay::Expected;
use super::{HeaderValue, HttpRequest};

/// Any value.
const ANY: &str = "*";
/// In place of a secret.
pub(super) const MASK: &str = "[secret]";

/// Names of query parameters, form fields and JSON fields that carry secrets, in lower case and
/// without `-` and `_`.
const SECRET_NAMES: [&str; 13] = [
    "accesstoken",
    "apikey",
    "apisecret",
    "assertion",
    "clientassertion",
    "clientsecret",
    "consumerkey",
    "consumersecret",
    "idtoken",
    "password",
    "refreshtoken",
    "secret",
    "token",
];

/// The first difference found.
pub(super) struct Difference {
    /// How far the comparison came: the nearest of several exchanges is the one that came farthest.
    pub(super) depth: u8,
    /// For a person.
    pub(super) what: String,
}

/// Compares method, path, query, headers and body, in this order.
pub(super) fn compare(expected: &Expected, request: &HttpRequest) -> Result<(), Difference> {
    let differ = |depth, what| Err(Difference { depth, what });
    let (path, query) = path_and_query(&request.url);
    let (wanted_path, wanted_query) = match expected.path.split_once('?') {
        Some((path, query)) => (path, query),
        None => (expected.path.as_str(), ""),
    };
    if path != wanted_path {
        return differ(0, format!("path: expected {wanted_path}, was {path}"));
    }
    if expected.method != request.method {
        let (wanted, was) = (&expected.method, &request.method);
        return differ(1, format!("method: expected {wanted}, was {was}"));
    }
    compare_query(wanted_query, query).or_else(|what| differ(2, what))?;
    for (name, wanted) in &expected.headers {
        let sent = (request.headers.iter()).find(|(known, _)| known.eq_ignore_ascii_case(name));
        let fits = match sent {
            None => false,
            Some((_, HeaderValue::Plain(text))) => wanted == ANY || wanted == text,
            Some((_, HeaderValue::Secret(secret))) => wanted == ANY || wanted == secret.expose(),
        };
        if !fits {
            let state = if sent.is_some() {
                "another value"
            } else {
                "missing"
            };
            return differ(3, format!("header `{name}`: {state}"));
        }
    }
    let Some(wanted) = &expected.body else {
        return Ok(());
    };
    compare_body(wanted, request.body.as_deref()).or_else(|what| differ(4, what))
}

fn path_and_query(url: &str) -> (&str, &str) {
    let after_host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_host
        .find(['/', '?'])
        .map_or("/", |at| &after_host[at..]);
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    path.split_once('?').unwrap_or((path, ""))
}

fn pairs(query: &str) -> BTreeMap<String, Vec<String>> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.entry(decode(name)).or_default().push(decode(value));
    }
    pairs
}

fn compare_query(wanted: &str, was: &str) -> Result<(), String> {
    let (wanted, mut was) = (pairs(wanted), pairs(was));
    for (name, values) in wanted {
        let Some(found) = was.remove(&name) else {
            return Err(format!("query parameter `{name}`: missing"));
        };
        let fits = values.len() == found.len()
            && values
                .iter()
                .zip(&found)
                .all(|(wanted, was)| wanted == ANY || wanted == was);
        if !fits {
            return Err(format!("query parameter `{name}`: another value"));
        }
    }
    match was.keys().next() {
        Some(name) => Err(format!("query parameter `{name}`: not expected")),
        None => Ok(()),
    }
}

fn compare_body(wanted: &Value, was: Option<&[u8]>) -> Result<(), String> {
    let Some(was) = was else {
        return if wanted.is_null() {
            Ok(())
        } else {
            Err("body: missing".into())
        };
    };
    if wanted.is_null() {
        return Err("body: not expected".into());
    }
    if let Value::String(pattern) = wanted {
        return if fits_pattern(pattern, &String::from_utf8_lossy(was)) {
            Ok(())
        } else {
            Err("body: another text".into())
        };
    }
    let was = serde_json::from_slice(was).map_err(|_| "body: not JSON".to_owned())?;
    compare_json(wanted, &was, "")
}

fn compare_json(wanted: &Value, was: &Value, at: &str) -> Result<(), String> {
    match (wanted, was) {
        (Value::String(any), _) if any == ANY => Ok(()),
        (Value::Object(wanted), Value::Object(was)) => {
            for (key, value) in wanted {
                let at = format!("{at}/{key}");
                match was.get(key) {
                    Some(found) => compare_json(value, found, &at)?,
                    None => return Err(format!("body {at}: missing")),
                }
            }
            match was.keys().find(|key| !wanted.contains_key(*key)) {
                Some(key) => Err(format!("body {at}/{key}: not expected")),
                None => Ok(()),
            }
        }
        (Value::Array(wanted), Value::Array(was)) if wanted.len() == was.len() => {
            (wanted.iter().zip(was).enumerate())
                .try_for_each(|(n, (wanted, was))| compare_json(wanted, was, &format!("{at}/{n}")))
        }
        (Value::Array(wanted), Value::Array(was)) => {
            let (wanted, was) = (wanted.len(), was.len());
            Err(format!("body {at}: expected {wanted} elements, was {was}"))
        }
        _ if wanted == was => Ok(()),
        _ => Err(format!(
            "body {at}: expected {}, was {}",
            brief(wanted),
            brief(was)
        )),
    }
}

/// A value in a message: what it is when it is long.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 60 {
        return text;
    }
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        _ => "a long text".into(),
    }
}

/// Whether `text` is `pattern` with each `*` standing for any stretch.
fn fits_pattern(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once(ANY) else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once(ANY).unwrap_or(("", rest));
    // The earliest place for each part leaves the most room for the others.
    for part in middle.split(ANY) {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

fn is_secret(name: &str) -> bool {
    let plain: String = (name.chars())
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect();
    SECRET_NAMES.contains(&plain.as_str())
}

/// A query or form with the values of secret fields masked.
pub(super) fn mask_pairs(query: &str) -> String {
    let masked: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
            _ => pair.to_owned(),
        })
        .collect();
    masked.join("&")
}

/// Masks the values of secret fields, also in a text that is a form.
pub(super) fn mask_json(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if is_secret(name) && !field.is_null() {
                    *field = Value::String(MASK.into());
                } else {
                    mask_json(field);
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(mask_json),
        Value::String(text) if text.contains('=') => *text = mask_pairs(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_stretch() {
        let cases = [
            ("abc", "abc", true),
            ("abc", "abd", false),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "ac", true),
            ("ab*ba", "aba", false),
            ("<a>*</a><b>*</b>", "<a>1</a><b>2</b>", true),
            ("<a>*</a><b>*</b>", "<a>1</a>", false),
            ("*x*", "axb", true),
            ("*x*", "ab", false),
        ];
        for (pattern, text, expect) in cases {
            assert_eq!(fits_pattern(pattern, text), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn an_address_is_split_after_its_host() {
        let cases = [
            ("http://a.example", ("/", "")),
            ("http://a.example?x=1", ("", "x=1")),
            ("http://a.example:8/b/c?x=/?#f", ("/b/c", "x=/?")),
        ];
        for (url, expect) in cases {
            assert_eq!(path_and_query(url), expect, "{url}");
        }
    }
}
