//! `config show`: what is in force, defaults included, without a single secret.

use super::check::looks_secret;
use super::tree::{Node, Step, Value};
use super::{HIDDEN, Loaded};

/// The effective configuration as TOML.
///
/// What came out of a placeholder is shown as the placeholder. Settings of connections are shown as
/// written, except those that look like a secret by name, or of which `is_secret(connector,
/// setting)` says so.
pub fn show(loaded: &Loaded, is_secret: &dyn Fn(&str, &str) -> bool) -> String {
    let shown = match toml::Value::try_from(&loaded.config) {
        Ok(shown) => shown,
        Err(error) => return format!("# cannot be shown: {error}\n"),
    };
    let mut shown = shown;
    let mut path = Vec::new();
    as_written(&loaded.document.root, &mut path, &mut shown);
    for (name, connection) in &loaded.config.connection {
        let path = ["connection", name.as_str(), "settings"].map(Step::from);
        let Some(node) = loaded.document.root.get(&path) else {
            continue;
        };
        let settings = settings(node, &|key| is_secret(&connection.connector, key));
        put(&mut shown, &path, settings);
    }
    toml::to_string(&shown).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

/// Puts placeholders back wherever a text came out of one.
fn as_written(node: &Node, path: &mut Vec<Step>, shown: &mut toml::Value) {
    match &node.value {
        Value::Text {
            written: Some(written),
            ..
        } => {
            put(shown, path, toml::Value::String(written.clone()));
        }
        Value::Table(entries) => {
            for (key, child) in entries {
                path.push(Step::Key(key.clone()));
                as_written(child, path, shown);
                path.pop();
            }
        }
        Value::List(items) => {
            for (index, child) in items.iter().enumerate() {
                path.push(Step::Index(index));
                as_written(child, path, shown);
                path.pop();
            }
        }
        _ => {}
    }
}

fn put(shown: &mut toml::Value, path: &[Step], value: toml::Value) {
    let mut at = shown;
    for step in path {
        let next = match (step, at) {
            (Step::Key(key), toml::Value::Table(entries)) => entries.get_mut(key),
            (Step::Index(index), toml::Value::Array(items)) => items.get_mut(*index),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
    *at = value;
}

fn settings(node: &Node, is_secret: &dyn Fn(&str) -> bool) -> toml::Value {
    let Some(entries) = node.table() else {
        return node.to_toml(true);
    };
    let shown = |(key, child): (&String, &Node)| {
        let plain = !matches!(
            &child.value,
            Value::Text {
                written: Some(_),
                ..
            }
        );
        let hide = plain && child.table().is_none() && (looks_secret(key) || is_secret(key));
        let value = if hide {
            toml::Value::String(HIDDEN.to_owned())
        } else {
            settings(child, is_secret)
        };
        (key.clone(), without_login(value))
    };
    toml::Value::Table(entries.iter().map(shown).collect())
}

/// An address may carry a login: `https://user:password@host`.
fn without_login(value: toml::Value) -> toml::Value {
    let toml::Value::String(text) = &value else {
        return value;
    };
    let Ok(mut url) = url::Url::parse(text) else {
        return value;
    };
    if url.password().is_none() || url.set_password(Some(HIDDEN)).is_err() {
        return value;
    }
    toml::Value::String(url.to_string())
}
