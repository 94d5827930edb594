//! The connectors that are part of the binary.
//!
//! Each is a folder here with a manifest, which `src/manifest/` runs, or with Rust where a manifest
//! cannot say it. To add one: write its folder and add a line to [`BUILT_IN`] or [`built_in`].

pub mod feed;
pub mod process;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::connector::{Configured, Connector, Evidence, Files, Spec, contract};
use crate::diagnostic::Diagnostics;
use crate::manifest::{self, ManifestConnector};

/// Every manifest: the name of its folder and its text, in alphabetical order.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("amazon", include_str!("amazon/connector.toml")),
    ("medusa", include_str!("medusa/connector.toml")),
    ("sandbox_erp", include_str!("sandbox_erp/connector.toml")),
    ("sandbox_pos", include_str!("sandbox_pos/connector.toml")),
    (
        "sandbox_store",
        include_str!("sandbox_store/connector.toml"),
    ),
    ("tryton", include_str!("tryton/connector.toml")),
    ("tryton_pos", include_str!("tryton_pos/connector.toml")),
    ("vendure", include_str!("vendure/connector.toml")),
    ("woocommerce", include_str!("woocommerce/connector.toml")),
];

/// What `crossdock connector new` writes: file and text, in which `_template` stands for the name.
pub const TEMPLATE: &[(&str, &str)] = &[
    ("connector.toml", include_str!("_template/connector.toml")),
    ("README.md", include_str!("_template/README.md")),
    (
        "fixtures/settings.toml",
        include_str!("_template/fixtures/settings.toml"),
    ),
    (
        "fixtures/troubles.json",
        include_str!("_template/fixtures/troubles.json"),
    ),
    (
        "fixtures/orders_pull.json",
        include_str!("_template/fixtures/orders_pull.json"),
    ),
];

/// The same with `--process`.
pub const PROCESS_TEMPLATE: &[(&str, &str)] = &[
    ("connector.toml", include_str!("process/template.toml")),
    ("connector.py", include_str!("process/example.py")),
    ("README.md", include_str!("process/README.template.md")),
    (
        "fixtures/settings.toml",
        include_str!("process/fixtures/settings.toml"),
    ),
    (
        "fixtures/stock_pull.json",
        include_str!("process/fixtures/stock_pull.json"),
    ),
    (
        "fixtures/orders_create.json",
        include_str!("process/fixtures/orders_create.json"),
    ),
    (
        "fixtures/files/articles.csv",
        include_str!("process/fixtures/files/articles.csv"),
    ),
    (
        "fixtures/files/orders/README",
        include_str!("process/fixtures/files/orders/README"),
    ),
];

/// All connectors, those in Rust first. A manifest is read when more than its name is asked for: a daemon uses
/// two or three, and to read all took a fifth of its start.
pub fn built_in() -> Vec<Box<dyn Connector>> {
    let mut connectors: Vec<Box<dyn Connector>> = vec![Box::new(feed::FeedConnector::default())];
    for (name, text) in BUILT_IN {
        let read = OnceLock::new();
        connectors.push(Box::new(BuiltIn { name, text, read }));
    }
    connectors
}

/// A manifest that is part of the binary.
#[derive(Debug)]
struct BuiltIn {
    name: &'static str,
    text: &'static str,
    read: OnceLock<ManifestConnector>,
}

impl BuiltIn {
    /// # Panics
    /// When it is wrong: a defect of ours, which the tests find.
    fn read(&self) -> &ManifestConnector {
        self.read.get_or_init(|| {
            let path = format!("connectors/{}/connector.toml", self.name);
            manifest::load(path, self.text).unwrap_or_else(|wrong| panic!("{wrong}"))
        })
    }
}

impl Connector for BuiltIn {
    fn name(&self) -> &str {
        self.name
    }

    fn spec(&self) -> &Spec {
        self.read().spec()
    }

    fn configure(&self, settings: &toml::Table) -> Result<Box<dyn Configured>, Diagnostics> {
        self.read().configure(settings)
    }

    fn files(&self) -> Option<&dyn Files> {
        self.read().files()
    }

    fn trial(&self) -> Option<&dyn contract::Trial> {
        self.read().trial()
    }
}

/// Reads the `connector.toml` of a connector that is not part of the binary, whichever of the two kinds it is.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn load(path: impl Into<PathBuf>, text: &str) -> Result<Box<dyn Connector>, Diagnostics> {
    Ok(if process::is_process(text) {
        Box::new(process::load(path, text)?)
    } else {
        Box::new(manifest::load(path, text)?)
    })
}

/// What each connector can do, and what stands behind the claim, as a Markdown table.
pub fn support_table() -> String {
    let mut table =
        String::from("| connector | stream | read | write | checked |\n|---|---|---|---|---|\n");
    for connector in built_in() {
        let spec = connector.spec();
        for (stream, part) in &spec.streams {
            let shown = |evidence: Option<Evidence>| evidence.map_or("", Evidence::name);
            let (read, write) = (shown(part.read_evidence), shown(part.write_evidence));
            let (name, day) = (&spec.name, spec.checked.as_deref().unwrap_or_default());
            // Writing into a text cannot fail.
            let _ = writeln!(table, "| {name} | {stream} | {read} | {write} | {day} |");
        }
    }
    table
}

#[cfg(test)]
#[path = "amazon/tests.rs"]
mod amazon;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::connector::contract::{self, Fixtures};

    #[test]
    fn the_list_is_alphabetical_and_every_name_is_its_folders() {
        assert!(BUILT_IN.iter().map(|(name, _)| *name).is_sorted());
        let connectors = built_in();
        for ((name, _), connector) in BUILT_IN.iter().zip(&connectors[1..]) {
            assert_eq!(connector.spec().name, *name);
        }
    }

    #[test]
    fn every_claim_has_its_day() {
        for connector in built_in() {
            let spec = connector.spec();
            let day = spec.checked.as_deref().unwrap_or_default();
            let day: Result<jiff::civil::Date, _> = day.parse();
            assert!(day.is_ok(), "{}: `checked` is a day", spec.name);
        }
    }

    #[test]
    fn the_support_table_is_fresh() {
        let readme = include_str!("README.md");
        let table = support_table();
        assert!(
            readme.contains(&table),
            "connectors/README.md must contain:\n{table}"
        );
    }

    /// The laws S1-S9 and D1-D6, on exchanges recorded against the real software or written by its vendor's examples.
    #[tokio::test]
    async fn every_connector_with_fixtures_keeps_the_contract() {
        let mut kept = 0;
        for (name, text) in BUILT_IN {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("connectors")
                .join(name);
            if !folder.join("fixtures").exists() {
                continue;
            }
            let connector = manifest::load(*name, text).unwrap();
            let fixtures = Fixtures::load(&folder.join("fixtures")).unwrap();
            let report = contract::run(&connector, &fixtures).await;
            assert!(report.passed(), "{name}: {report}");
            assert!(
                report.checks.len() > 100,
                "{name}: only {} checks",
                report.checks.len()
            );
            kept += 1;
        }
        assert_eq!(
            kept, 6,
            "amazon, medusa, tryton, tryton_pos, vendure and woocommerce have fixtures"
        );
    }

    /// What `connector new` writes is green before anybody changes it.
    #[tokio::test]
    async fn the_template_keeps_the_contract() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/_template");
        let connector = manifest::load("_template", TEMPLATE[0].1).unwrap();
        let fixtures = Fixtures::load(&folder.join("fixtures")).unwrap();
        let report = contract::run(&connector, &fixtures).await;
        assert!(report.passed(), "{report}");
    }

    /// Every file of a template is written, and none is forgotten in the list.
    #[test]
    fn the_templates_are_whole() {
        fn count(folder: &Path) -> usize {
            let entries = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            entries
                .map(|path| if path.is_dir() { count(&path) } else { 1 })
                .sum()
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors");
        assert_eq!(count(&root.join("_template")), TEMPLATE.len());
        assert_eq!(
            count(&root.join("process/fixtures")),
            PROCESS_TEMPLATE.len() - 3
        );
    }
}
