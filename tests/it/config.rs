//! What a merchant is told about a wrong configuration: each message is a snapshot beside its file
//! in `tests/data/config_errors`. `INSTA_UPDATE=always` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossdock::config::{self, Credentials, Surroundings, codes, render};
use crossdock::connector::{
    Capabilities, Configured, Connection, Connector, Context, HookNeeds, Onward, Spec, StockBasis,
    StreamSpec,
};
use crossdock::diagnostic::Diagnostics;
use crossdock::fault::Fault;
use crossdock::record::Stream;
use crossdock::topology::{self, Plan};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod example;
mod pages;
mod reload;

/// Files and variables in memory.
#[derive(Debug, Default)]
pub struct World {
    files: BTreeMap<PathBuf, Vec<u8>>,
    vars: BTreeMap<&'static str, String>,
}

impl World {
    /// One configuration file, and a variable for a token.
    pub fn of(text: impl Into<Vec<u8>>) -> Self {
        let mut world = Self::default();
        world.files.insert("c.toml".into(), text.into());
        world
            .files
            .insert("/etc/hostname".into(), b"box\n".to_vec());
        world.vars.insert("NORTH_TOKEN", "t0ken".to_owned());
        world
    }

    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), bytes.into());
        self
    }

    pub fn var(mut self, name: &'static str, value: &str) -> Self {
        self.vars.insert(name, value.to_owned());
        self
    }

    /// The plan, or everything that is wrong.
    pub fn plan(&self, path: &str) -> Result<Plan, Diagnostics> {
        let loaded = config::read(Path::new(path), self, Credentials::Needed)?;
        let registry = registry();
        let registry: Vec<&dyn Connector> = registry.iter().map(AsRef::as_ref).collect();
        topology::plan(&loaded, &registry)
    }

    fn told(&self, path: &str) -> String {
        match self.plan(path) {
            Ok(plan) => format!(
                "{}(accepted)\n",
                render::text(&plan.warnings, render::Style::Plain)
            ),
            Err(findings) => render::text(&findings, render::Style::Plain),
        }
    }
}

impl Surroundings for World {
    fn var(&self, name: &str) -> Option<OsString> {
        self.vars.get(name).map(OsString::from)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(bytes[..bytes.len().min(usize::try_from(limit).unwrap())].to_vec())
    }

    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        let below = |file: &PathBuf| {
            let first = file.strip_prefix(path).ok()?.components().next()?;
            Some(path.join(first))
        };
        let listed: BTreeSet<PathBuf> = self.files.keys().filter_map(below).collect();
        let there = !listed.is_empty() || path.ends_with("conf.d");
        Ok(there.then(|| listed.into_iter().collect()))
    }
}

/// A connector that only knows its settings.
#[derive(Debug)]
struct Fake<T> {
    spec: Spec,
    settings: std::marker::PhantomData<fn() -> T>,
}

/// Signs the address of its webhooks when its own is this one.
const TELLS: &str = "https://tells.example";

#[derive(Debug)]
struct Nothing {
    tells: bool,
}

impl Configured for Nothing {
    fn open(&self, _: Context) -> Result<Connection, Fault> {
        Ok(Connection::default())
    }

    fn webhooks(&self) -> Option<HookNeeds> {
        self.tells.then_some(HookNeeds { address: true })
    }
}

impl<T: DeserializeOwned + std::fmt::Debug> Connector for Fake<T> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn configure(&self, settings: &toml::Table) -> Result<Box<dyn Configured>, Diagnostics> {
        let url = settings.get("url").and_then(toml::Value::as_str);
        let tells = url == Some(TELLS);
        config::read_settings::<T>(settings)
            .map(|_| Box::new(Nothing { tells }) as Box<dyn Configured>)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShopSettings {
    url: String,
    token: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErpSettings {
    url: String,
    database: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderSettings {
    path: String,
}

fn fake<T: DeserializeOwned + std::fmt::Debug + 'static>(
    name: &str,
    basis: StockBasis,
    read: &[Stream],
    write: &[Stream],
) -> Box<dyn Connector> {
    let mut streams: BTreeMap<Stream, StreamSpec> = BTreeMap::new();
    for stream in read {
        streams.entry(*stream).or_default().read = true;
    }
    for stream in write {
        streams.entry(*stream).or_default().write = true;
    }
    for spec in streams.values_mut() {
        spec.poll = Duration::from_mins(2);
        if name == "folder" {
            continue; // read whole each time
        }
        spec.settle_lag = Duration::from_secs(10);
        spec.onward = Onward::Moment {
            overlap: Duration::from_secs(30),
        };
    }
    let costliest_request = if name == "shop" { 5 } else { 0 };
    let capabilities = Capabilities {
        stock_basis: basis,
        costliest_request,
        ..Default::default()
    };
    let spec = Spec {
        name: name.to_owned(),
        streams,
        capabilities,
        ..Default::default()
    };
    Box::new(Fake::<T> {
        spec,
        settings: std::marker::PhantomData,
    })
}

/// Connectors that only know their settings.
pub fn registry() -> Vec<Box<dyn Connector>> {
    use Stream::{Items, Orders, Prices, Shipments, Stock};
    let apart = StockBasis::AllocatedApart;
    vec![
        fake::<ErpSettings>(
            "erp",
            StockBasis::OnHand,
            &[Items, Prices, Stock, Orders, Shipments],
            &[Items, Orders],
        ),
        fake::<FolderSettings>("folder", StockBasis::Free, &[Items, Prices, Stock], &[]),
        fake::<ShopSettings>(
            "shop",
            apart,
            &[Items, Orders],
            &[Items, Prices, Stock, Orders, Shipments],
        ),
        fake::<toml::Table>(
            "tryton",
            StockBasis::OnHand,
            &[Items, Prices, Stock, Shipments],
            &[Orders],
        ),
        fake::<toml::Table>(
            "vendure",
            apart,
            &[Orders],
            &[Items, Prices, Stock, Shipments],
        ),
        fake::<ErpSettings>(
            "warehouse",
            StockBasis::OnHand,
            &[Stock, Shipments],
            &[Stock, Orders],
        ),
        fake::<ShopSettings>(
            "two_way_shop",
            apart,
            &[Items, Orders, Stock],
            &[Items, Stock, Shipments],
        ),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config_errors")
}

fn snapshot(name: &str, told: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, told));
}

#[test]
fn each_wrong_file_is_explained() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    assert!(files.len() >= 30);
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let told = World::of(std::fs::read(&file).unwrap()).told("c.toml");
        // Story 55: secrets in logs.
        for secret in ["hunter2", "s3cret", "t0ken"] {
            assert!(!told.contains(secret), "{name} shows a secret:\n{told}");
        }
        snapshot(&name, &told);
    }
}

/// What no text file can hold.
#[test]
fn each_wrong_folder_and_encoding_is_explained() {
    let one = "version = 1\n[connection.drop]\nconnector = \"folder\"\nsettings.path = \"/srv\"\n";
    let two =
        "version = 1\n\n[limits]\ndrain_secs = 5\n\n[connection.drop]\nconnector = \"shop\"\n";
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(one.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut large = b"version = 1\n#".to_vec();
    large.resize(2 << 20, b'x');
    let cases = [
        ("file_missing", World::default(), "c.toml"),
        ("file_too_large", World::of(large), "c.toml"),
        ("file_utf16", World::of(utf16), "c.toml"),
        (
            "file_latin1",
            World::of(b"version = 1\n# Caf\xe9\n"),
            "c.toml",
        ),
        (
            "file_with_bom",
            World::of(format!("\u{feff}{one}x = 1\n")),
            "c.toml",
        ),
        ("file_binary", World::of("version = 1\n\0"), "c.toml"),
        ("folder_empty", World::default(), "conf.d"),
        (
            "folder_twice",
            World::of("")
                .file("conf.d/a.toml", one)
                .file("conf.d/b.toml", two),
            "conf.d",
        ),
        (
            "credential_missing",
            World::of(one.replace("/srv", "${credential:srv}"))
                .var("CREDENTIALS_DIRECTORY", "/run/c"),
            "c.toml",
        ),
        (
            "credential_empty",
            World::of(one.replace("/srv", "${credential:srv}"))
                .var("CREDENTIALS_DIRECTORY", "/run/c")
                .file("/run/c/srv", "\n"),
            "c.toml",
        ),
        (
            "socket_path_too_long",
            World::of(one).var("RUNTIME_DIRECTORY", &format!("/run/{}", "x".repeat(110))),
            "c.toml",
        ),
    ];
    for (name, world, path) in cases {
        snapshot(name, &world.told(path));
    }
}

fn manifest(name: &str, more: &str) -> String {
    format!(
        r#"version = 1

[connector]
name = "{name}"
summary = "A system of our own"
{more}
[http]
base = "https://north.example"

[stream.stock]
evidence = "sandbox"
write.batch = {{ max = 10, row = "{{delivery.key}}", request = {{ path = "/", body = "{{rows}}" }}, confirm = {{}} }}
"#
    )
}

/// What is wrong in connectors of one's own is told beside everything else.
#[test]
fn each_wrong_connector_of_ones_own_is_explained() {
    let text = "version = 1\nconnectors = [\"connectors\", \"nowhere\", \"empty\"]\n\n\
                [connection.north]\nconnector = \"mime\"\n";
    let world = World::of(text)
        .file("empty/README.md", "x")
        .file(
            "connectors/mine/connector.toml",
            manifest("mine", "colour = \"blue\""),
        )
        .file("connectors/other/connector.toml", manifest("third", ""))
        .file("connectors/tryton/connector.toml", manifest("tryton", ""));
    snapshot("connectors_of_ones_own", &world.told("c.toml"));
}

#[test]
fn a_connector_of_ones_own_is_one_like_any_other() {
    let text = "version = 1\nconnectors = [\"mine\"]\n[connection.north]\nconnector = \"mine\"\n";
    let world = |manifest: String| World::of(text).file("mine/connector.toml", manifest);
    let plan = world(manifest("mine", "")).plan("c.toml").unwrap();
    assert_eq!(plan.connections[&"north".into()].connector, "mine");
    // A reload notices that the manifest is another one.
    let other = manifest("mine", "").replace("max = 10", "max = 20");
    let other = world(other).plan("c.toml").unwrap();
    let changed: Vec<String> = topology::diff(&plan, &other)
        .into_iter()
        .filter(|change| change.verdict != topology::Verdict::Unchanged)
        .map(|change| change.section)
        .collect();
    assert_eq!(changed, ["connection.north", "connectors"]);
}

/// The folder `connectors` beside the configuration needs not be named. What nobody uses refuses nothing.
#[test]
fn connectors_beside_the_configuration_are_loaded_without_being_named() {
    let text = "version = 1\n[connection.north]\nconnector = \"mine\"\n";
    let world = |used: &str, more: &str| {
        World::of(text.replace("mine", used))
            .file("connectors/mine/connector.toml", manifest("mine", more))
            .file("connectors/tryton/connector.toml", manifest("tryton", ""))
            .file("connectors/_notes/connector.toml", "not even TOML")
            .file("connectors/README.md", "x")
    };
    let plan = world("mine", "").plan("c.toml").unwrap();
    assert_eq!(plan.connections[&"north".into()].connector, "mine");
    // In our own source tree the program's own manifests stand beside the configuration.
    let mut clone = World::of("version = 1\n");
    for (name, text) in crossdock::connectors::BUILT_IN {
        clone = clone.file(&format!("connectors/{name}/connector.toml"), *text);
    }
    assert_eq!(clone.told("c.toml"), "(accepted)\n");
    // The program's own holds, whatever stands there.
    let told = world("mine", "").told("c.toml");
    assert!(
        told.contains("warning[X0307]") && told.contains("used instead"),
        "{told}"
    );
    assert!(
        world("tryton", "")
            .told("c.toml")
            .contains("warning[X0307]")
    );
    // Broken: an error where it is used, a warning where it is not.
    let told = world("mine", "colour = \"blue\"").told("c.toml");
    assert!(
        told.contains("error[X0701]: unknown key `colour`"),
        "{told}"
    );
    let told = world("tryton", "colour = \"blue\"").told("c.toml");
    assert!(
        told.contains("warning[X0701]") && told.contains("no connection uses"),
        "{told}"
    );
    // Named, and then nothing else: also none at all.
    let none = text.replace("version = 1", "version = 1\nconnectors = []");
    let world = World::of(none).file("connectors/mine/connector.toml", manifest("mine", ""));
    assert!(
        world
            .told("c.toml")
            .contains("there is no connector `mine`")
    );
}

/// The manifest of a child process may be the same, and its program another.
#[test]
fn a_reload_notices_another_program() {
    let text = "version = 1\n[connection.north]\nconnector = \"mine\"\n";
    let manifest = "version = 1\n[connector]\nname = \"mine\"\nsummary = \"x\"\n[process]\n\
                    command = [\"python3\", \"a.py\"]\n[stream.stock]\nevidence = \"sandbox\"\n\
                    read = {}\n";
    let world = |program: &str| {
        World::of(text)
            .file("connectors/mine/connector.toml", manifest)
            .file("connectors/mine/a.py", program)
            .plan("c.toml")
            .unwrap()
    };
    let changed = |new: &Plan| {
        topology::diff(&world("print(1)"), new)
            .into_iter()
            .filter(|change| change.verdict != topology::Verdict::Unchanged)
            .count()
    };
    assert_eq!(changed(&world("print(1)")), 0);
    assert_eq!(changed(&world("print(2)")), 2);
}

/// A code that no snapshot shows is one that nobody has read.
#[test]
fn every_code_is_in_a_snapshot() {
    let mut shown = String::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "snap")
        {
            shown.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    // What is wrong inside a mapping is shown by the mapping's own tests, beside its code.
    let elsewhere = |code: &str| code.starts_with("X05");
    for code in codes::CODES {
        assert!(
            elsewhere(code.code) || shown.contains(code.code),
            "{} ({}) is in no snapshot",
            code.code,
            code.title
        );
    }
}

#[test]
fn findings_have_a_form_for_programs() {
    let text = "version = 1\n[route.a]\nfrom = \"é.orders\"\nto = 5\n";
    let findings = World::of(text).plan("c.toml").unwrap_err();
    insta::assert_snapshot!(
        format!("{:#}", render::json(&findings)),
        @r#"
    {
      "findings": [
        {
          "severity": "error",
          "code": "X0302",
          "message": "`to` must be a text in quotes, not a whole number",
          "path": "route.a.to",
          "title": "a setting is of the wrong type",
          "file": "c.toml",
          "line": 4,
          "column": 6,
          "help": "put it between double quotes"
        }
      ]
    }
    "#
    );
}

#[test]
fn colour_is_only_asked_for() {
    let findings = World::of("version = 3\n").plan("c.toml").unwrap_err();
    assert!(render::text(&findings, render::Style::Colour).contains('\u{1b}'));
    assert!(!render::text(&findings, render::Style::Plain).contains('\u{1b}'));
}
