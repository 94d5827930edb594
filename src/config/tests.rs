use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::*;

/// Files and variables in memory.
#[derive(Debug, Default)]
struct Fake {
    files: BTreeMap<PathBuf, Vec<u8>>,
    vars: BTreeMap<String, String>,
}

impl Surroundings for Fake {
    fn var(&self, name: &str) -> Option<OsString> {
        self.vars.get(name).map(OsString::from)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(bytes[..bytes.len().min(usize::try_from(limit).unwrap())].to_vec())
    }

    fn list(&self, _: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        Ok(None)
    }
}

fn load_text(text: &str) -> Result<Loaded, Diagnostics> {
    let files = [
        ("c.toml", text),
        ("/run/creds/erp", "hunter2\n"),
        ("/etc/where", "/run/creds/erp"),
    ];
    let fake = Fake {
        files: files.map(|(path, text)| (path.into(), text.into())).into(),
        vars: [
            ("CREDENTIALS_DIRECTORY", "/run/creds"),
            ("FOLDER", "/run/creds"),
            ("TRICK", "${env:FOLDER}"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    };
    load(Path::new("c.toml"), &fake, Credentials::Needed)
}

fn password(value: &str) -> String {
    let text = format!(
        "version = 1\n[connection.erp]\nconnector = \"x\"\nsettings = {{ p = \"{value}\" }}\n"
    );
    let loaded = load_text(&text).unwrap();
    let settings = &loaded.config.connection[&"erp".into()].settings;
    settings.0["p"].as_str().unwrap().to_owned()
}

#[test]
fn placeholders_are_replaced_once() {
    for (written, expected) in [
        ("plain", "plain"),
        ("${credential:erp}", "hunter2"),
        (
            "a ${file:/run/creds/erp} b ${env:FOLDER}",
            "a hunter2 b /run/creds",
        ),
        ("${file:${env:FOLDER}/erp}", "hunter2"),
        ("$${env:FOLDER}", "${env:FOLDER}"),
        ("cost: 5$", "cost: 5$"),
        ("${env:TRICK}", "${env:FOLDER}"),
    ] {
        assert_eq!(password(written), expected, "{written}");
    }
}

#[test]
fn every_finding_of_every_section_is_reported() {
    let text = "version = 1\n[limits]\ndrain_secs = \"x\"\nfeed_max_rows = -1\nnope = 1\n\
                [route.a]\nto = 5\n[pool.p]\n\
                members = [1, \"a.stock\", true, { stream = \"x\", z = 1 }]\n";
    let findings = load_text(text).unwrap_err();
    let found: Vec<(&str, &str)> = findings
        .0
        .iter()
        .map(|finding| (finding.code, finding.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("X0302", "limits.drain_secs"),
            ("X0305", "limits.feed_max_rows"),
            ("X0301", "limits.nope"),
            ("X0302", "route.a.to"),
            ("X0303", "route.a.from"),
            ("X0302", "pool.p.members[0]"),
            ("X0302", "pool.p.members[2]"),
            ("X0306", "pool.p.members[3].stream"),
            ("X0301", "pool.p.members[3].z"),
        ]
    );
}

/// Story 55: secrets in logs.
#[test]
fn a_secret_is_neither_shown_nor_debugged() {
    let text = "version = 1\n[connection.erp]\nconnector = \"x\"\n\
                settings = { a = \"${credential:erp}\", password = \"inline\", \
                url = \"http://u:pw@h/\" }\n\
                http.proxy = \"http://u:${credential:erp}@proxy:3128\"\n";
    let loaded = load_text(text).unwrap();
    let shown = show(&loaded, &|_, _| false);
    let debugged = format!("{loaded:?}");
    for text in [&shown, &debugged] {
        for secret in ["hunter2", "inline", "pw"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(shown.contains("a = \"${credential:erp}\""), "{shown}");
    assert!(shown.contains("timeout_secs = 60"), "{shown}");
    assert!(load_text(&shown).is_ok(), "what is shown can be read again");
}

#[test]
fn the_schema_names_every_section() {
    let schema = schema();
    let mut properties: Vec<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut sections = SECTIONS.to_vec();
    properties.sort_unstable();
    sections.sort_unstable();
    assert_eq!(properties, sections);
    assert!(!schema.to_string().contains("null"), "TOML has no null");
}

#[test]
fn defaults_keep_their_own_bounds() {
    let empty = load_text("version = 1\n").unwrap();
    let shown = show(&empty, &|_, _| false);
    assert_eq!(load_text(&shown).unwrap().config, empty.config, "{shown}");
}
