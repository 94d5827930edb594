//! The architecture as a test: layers, names that only one place may use, files of a readable size.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and its layer. A module imports only modules of a lower layer, and itself.
const LAYERS: &[(&str, u8)] = &[
    ("id", 0),
    ("clock", 0),
    ("secret", 0),
    ("fault", 0),
    ("diagnostic", 0),
    ("alert", 1),
    ("record", 1),
    ("expr", 1),
    ("telemetry", 2),
    ("config", 2),
    ("store", 2),
    ("transport", 2),
    ("format", 2),
    ("connector", 3),
    ("manifest", 4),
    ("mapping", 4),
    ("ledger", 4),
    ("inventory", 4),
    ("fulfilment", 4),
    ("router", 4),
    ("outbox", 4),
    ("proof", 4),
    ("connectors", 5),
    ("engine", 5),
    ("intake", 6),
    ("dispatch", 6),
    ("topology", 6),
    ("runtime", 7),
    ("server", 8),
    ("sandbox", 8),
    ("cli", 9),
];

/// Imports inside one layer that are meant, each with its reason in the architecture page.
const BESIDE: &[(&str, &str)] = &[
    ("fault", "diagnostic"),
    ("id", "clock"),
    // The second column of layer 4: what a change means, then what is still to be told.
    ("mapping", "router"),
];

/// The decision column knows no transport, and the transport column no decision.
const TRANSPORT: &[&str] = &["transport", "format", "manifest", "connectors"];
const DECISION: &[&str] = &[
    "mapping",
    "ledger",
    "inventory",
    "fulfilment",
    "router",
    "outbox",
    "proof",
    "engine",
];

/// A name and the only files or folders that may use it in code.
const ONLY_HERE: &[(&str, &[&str])] = &[
    ("sled::", &["src/store/sled.rs", "src/store/disk.rs"]),
    ("redb::", &["src/store/redb.rs", "src/store/disk.rs"]),
    ("reqwest::", &["src/transport/http/"]),
    ("governor::", &["src/transport/http/"]),
    ("backoff::", &["src/outbox/"]),
    ("lettre::", &["src/transport/mail.rs"]),
    (".commit(", &["src/store/", "src/engine/"]),
    ("std::env::var", &["src/config/"]),
];

/// The longest file, in lines. The budget is about 500; this is where somebody must split.
const MAX_LINES: usize = 700;

#[test]
fn modules_import_only_lower_layers() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        let Some(layer) = layer(&module) else {
            continue;
        };
        for used in imports(&text) {
            let Some(other) = layer_of_import(&used) else {
                continue;
            };
            let allowed = used == module
                || other < layer
                || BESIDE.contains(&(module.as_str(), used.as_str()))
                || (other == layer && layer == 0);
            if !allowed {
                wrong.push(format!(
                    "{}: {module} ({layer}) imports {used} ({other})",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_two_columns_never_meet_below_layer_six() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        for (column, others) in [(TRANSPORT, DECISION), (DECISION, TRANSPORT)] {
            if !column.contains(&module.as_str()) {
                continue;
            }
            for used in imports(&text)
                .into_iter()
                .filter(|used| others.contains(&used.as_str()))
            {
                wrong.push(format!("{}: {module} imports {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_stay_in_their_one_place() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let shown = path.display().to_string();
        for (name, places) in ONLY_HERE {
            let is_home = places.iter().any(|place| shown.contains(place));
            if !is_home && code(&text).any(|line| has_word(line, name)) {
                wrong.push(format!(
                    "{shown}: uses {name}, which belongs to {}",
                    places.join(", ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A setting that nothing reads promises what nobody keeps.
#[test]
fn every_setting_is_read_by_somebody() {
    let schema = crossdock::config::schema();
    let of = |definition: &str| -> Vec<String> {
        let properties = schema
            .pointer(&format!("/definitions/{definition}/properties"))
            .and_then(serde_json::Value::as_object);
        let properties = properties.unwrap_or_else(|| panic!("no {definition} in {schema:#}"));
        properties.keys().cloned().collect()
    };
    let outside: String = sources()
        .into_iter()
        .filter(|(path, _)| !path.display().to_string().contains("src/config/"))
        .filter(|(path, _)| !path.display().to_string().contains("/tests"))
        .map(|(_, text)| {
            let code: String = code(&text).collect();
            code.split_whitespace().collect::<String>()
        })
        .collect();
    let is_read = |written: &str| {
        outside.match_indices(written).any(|(at, _)| {
            let after = outside[at + written.len()..].chars().next();
            after.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        })
    };
    let mut unread = Vec::new();
    for (definition, owners) in [
        ("Limits", &["limits"][..]),
        ("StoreSettings", &["store"]),
        ("ServerSettings", &["server"]),
        ("ProveSettings", &["settings"]),
        ("LogSettings", &["log", "settings"]),
        ("AlertSettings", &["alert"]),
        ("LimitSettings", &["limits"]),
        ("HttpSettings", &["settings", "http"]),
    ] {
        for name in of(definition) {
            let read = owners
                .iter()
                .any(|owner| is_read(&format!("{owner}.{name}")));
            if !read {
                unread.push(format!("{definition}.{name}"));
            }
        }
    }
    assert_eq!(unread, [""; 0], "settings that nothing reads");
}

#[test]
fn files_are_short_and_finished() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        let is_table_of_tests = path.ends_with("tests.rs");
        if lines > MAX_LINES && !is_table_of_tests {
            wrong.push(format!(
                "{}: {lines} lines, more than {MAX_LINES}",
                path.display()
            ));
        }
        for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("] {
            if text.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Platform knowledge lives under connectors/ and nowhere else.
#[test]
fn the_source_names_no_platform() {
    let platforms: Vec<String> = fs::read_dir(root().join("connectors"))
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            !["feed", "process"].contains(&name.as_str())
                && !name.starts_with('_')
                && !name.contains('.')
        })
        .filter(|name| !name.starts_with("sandbox"))
        .collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        if shown.starts_with("connectors") || shown.starts_with("src/sandbox") {
            continue;
        }
        for line in code(&text) {
            // A name in prose or in a test is an example, a name in code is knowledge.
            let line = line.to_lowercase();
            if let Some(name) = platforms.iter().find(|name| line.contains(name.as_str())) {
                wrong.push(format!("{shown}: {name}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["src", "connectors"] {
        walk(&root().join(folder), &mut found);
    }
    assert!(
        found.len() > 50,
        "the walk found only {} files",
        found.len()
    );
    found
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `src/store/sled.rs` is of module `store`, `connectors/feed/mod.rs` of `connectors`.
fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap();
    let mut parts = relative
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    match parts.next().as_deref() {
        Some("connectors") => "connectors".to_owned(),
        _ => parts
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
            .to_owned(),
    }
}

fn layer(module: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, layer)| *layer)
}

fn layer_of_import(module: &str) -> Option<u8> {
    layer(module)
}

/// The modules of this crate that the code of a file names, its tests left out.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in code(text) {
        for part in line.split("crate::").skip(1) {
            let name: String = part
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            found.insert(name);
        }
    }
    found
}

/// The lines that are code: no comments, nothing below `#[cfg(test)]`.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Whether a line uses a name that does not merely end a longer one.
fn has_word(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        name.starts_with('.') || before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}
