//! `config.example.toml` shows every setting there is, and works.

use std::collections::BTreeSet;

use crossdock::config::{self, Credentials, render};
use serde_json::Value;

use super::World;

fn example() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    std::fs::read_to_string(path).unwrap()
}

/// The example with the settings that it only shows (`# name = …`) switched on.
fn switched_on() -> String {
    let on = |line: &str| match line.strip_prefix("# ") {
        Some(setting)
            if setting.contains(" = ") && setting.starts_with(|c: char| c.is_lowercase()) =>
        {
            setting.to_owned()
        }
        Some(header) if header.starts_with('[') && header.ends_with(']') => header.to_owned(),
        _ => line.to_owned(),
    };
    example().lines().map(on).collect::<Vec<_>>().join("\n")
}

fn world(text: String) -> World {
    let pem = "-----BEGIN CERTIFICATE-----\n";
    World::of(text)
        .var("CREDENTIALS_DIRECTORY", "/run/c")
        .file("/run/c/north_password", "t0ken")
        .file("/run/c/erp_password", "hunter2")
        .file("/run/c/proxy_password", "pw")
        .file(
            "/run/c/alert_webhook",
            "https://hooks.example.com/T1/secret",
        )
        .file("/run/c/alert_smtp_password", "pw")
        .file("/etc/ssl/erp-ca.pem", pem)
        .file(
            "connectors/mine/connector.toml",
            super::manifest("mine", ""),
        )
}

#[test]
fn the_example_is_accepted_as_it_is() {
    let text = example();
    assert!(
        text.starts_with("#:schema "),
        "editors find the schema through the first line"
    );
    let plan = world(text)
        .plan("c.toml")
        .unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(plan.warnings.0, []);
}

#[test]
fn the_example_is_accepted_with_everything_switched_on() {
    let plan = world(switched_on())
        .plan("c.toml")
        .unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(plan.warnings.0, []);
}

#[test]
fn the_example_shows_every_setting() {
    let table: toml::Table = switched_on().parse().unwrap();
    let mut shown = BTreeSet::new();
    let table = serde_json::to_value(table).unwrap();
    let schema = config::schema();
    let mut known = BTreeSet::new();
    walk(&schema, &schema, "", &mut known);
    named(&schema, &schema, &table, "", &mut shown);
    let missing: Vec<_> = known.difference(&shown).collect();
    assert!(missing.is_empty(), "config.example.toml lacks {missing:#?}");
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return resolve(
            root,
            root.pointer(reference.trim_start_matches('#')).unwrap(),
        );
    }
    let parts = ["anyOf", "allOf"]
        .iter()
        .find_map(|name| schema.get(name)?.as_array());
    match parts {
        Some(parts) => parts.iter().flat_map(|part| resolve(root, part)).collect(),
        None => vec![schema],
    }
}

/// All settings of the schema; a name that the merchant chooses is `*`. Streams count as such.
fn walk(root: &Value, schema: &Value, path: &str, out: &mut BTreeSet<String>) {
    for schema in resolve(root, schema) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, inner) in properties.into_iter().flatten() {
            let name = if path.ends_with("stream") || path == ".owner" {
                "*"
            } else {
                name
            };
            let path = format!("{path}.{name}");
            walk(root, inner, &path, out);
            out.insert(path);
        }
        if let Some(inner) = schema
            .get("additionalProperties")
            .filter(|inner| inner.is_object())
        {
            walk(root, inner, &format!("{path}.*"), out);
        }
        if let Some(inner) = schema.get("items") {
            walk(root, inner, path, out);
        }
    }
}

/// The settings of a document, named as [`walk`] names them.
fn named(root: &Value, schema: &Value, value: &Value, path: &str, out: &mut BTreeSet<String>) {
    for schema in resolve(root, schema) {
        match value {
            Value::Object(entries) => {
                for (name, value) in entries {
                    let fixed = schema.get("properties").and_then(|known| known.get(name));
                    let free = schema
                        .get("additionalProperties")
                        .filter(|inner| inner.is_object());
                    let Some(inner) = fixed.or(free) else {
                        continue;
                    };
                    let any = fixed.is_none() || path.ends_with("stream") || path == ".owner";
                    let path = format!("{path}.{}", if any { "*" } else { name });
                    named(root, inner, value, &path, out);
                    out.insert(path);
                }
            }
            Value::Array(items) => {
                for item in items {
                    if let Some(inner) = schema.get("items") {
                        named(root, inner, item, path, out);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Story 55: secrets in logs.
#[test]
fn what_is_shown_holds_no_secret_and_can_be_read_again() {
    let first = world(switched_on());
    let path = std::path::Path::new("c.toml");
    let loaded = config::load(path, &first, Credentials::Needed).unwrap();
    let shown = config::show(&loaded, &|_, _| false);
    for secret in ["t0ken", "hunter2", "pw@"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    let again = config::load(path, &world(shown), Credentials::Needed).unwrap();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn credentials_may_be_assumed() {
    let world = World::of(example());
    let path = std::path::Path::new("c.toml");
    assert!(config::load(path, &world, Credentials::Needed).is_err());
    let loaded = config::load(path, &world, Credentials::Assumed);
    assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
}

/// Whatever stands in the file: findings, never a panic, and every finding can be drawn.
#[test]
fn no_damage_to_the_file_makes_it_panic() {
    let text = switched_on();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let pieces = [
        "\"",
        "[",
        "]",
        "{",
        "=",
        "${",
        "é\u{301}",
        "\\",
        "\n",
        "'",
        "-1",
        ".",
        "\u{0}",
        "#",
    ];
    let mut random = fastrand::Rng::with_seed(61);
    for _ in 0..150 {
        let mut damaged: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        for _ in 0..random.usize(1..4) {
            let line = random.usize(0..damaged.len());
            match random.u8(0..4) {
                0 => {
                    damaged.remove(line);
                }
                1 => {
                    let other = random.usize(0..damaged.len());
                    damaged.swap(line, other);
                }
                2 => {
                    let copy = damaged[line].clone();
                    damaged.push(copy);
                }
                _ => {
                    let at = random.usize(0..=damaged[line].len());
                    let at = damaged[line].floor_char_boundary(at);
                    damaged[line].insert_str(at, pieces[random.usize(0..pieces.len())]);
                }
            }
        }
        let world = world(damaged.join("\n"));
        let findings = match world.plan("c.toml") {
            Ok(plan) => plan.warnings,
            Err(findings) => findings,
        };
        let drawn = render::text(&findings, render::Style::Plain);
        assert_eq!(drawn.is_empty(), findings.0.is_empty());
        render::json(&findings);
    }
}
