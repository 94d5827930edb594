//! The connectors that are part of the binary.
//!
//! Each is a folder here with a manifest, which `src/manifest/` runs, or with Rust where a manifest
//! cannot say it. To add one: write its folder and add a line to [`BUILT_IN`] or [`built_in`].

pub mod feed;

use std::fmt::Write as _;

use crate::connector::{Connector, Evidence};
use crate::diagnostic::Diagnostics;
use crate::manifest;

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
    ("vendure", include_str!("vendure/connector.toml")),
];

/// All connectors, those in Rust first.
///
/// # Errors
/// What is wrong with a manifest: a defect of ours, which the tests find.
pub fn built_in() -> Result<Vec<Box<dyn Connector>>, Diagnostics> {
    let mut connectors: Vec<Box<dyn Connector>> = vec![Box::new(feed::FeedConnector::new())];
    let manifests = BUILT_IN.iter().map(|(name, text)| {
        let path = format!("connectors/{name}/connector.toml");
        (path.into(), *text)
    });
    for connector in manifest::load_all(manifests)? {
        connectors.push(Box::new(connector));
    }
    Ok(connectors)
}

/// What each connector can do, and what stands behind the claim, as a Markdown table.
///
/// # Errors
/// As [`built_in`].
pub fn support_table() -> Result<String, Diagnostics> {
    let mut table = String::from("| connector | stream | read | write |\n|---|---|---|---|\n");
    for connector in built_in()? {
        let spec = connector.spec();
        for (stream, part) in &spec.streams {
            let shown = |evidence: Option<Evidence>| evidence.map_or("", Evidence::name);
            let (read, write) = (shown(part.read_evidence), shown(part.write_evidence));
            let name = &spec.name;
            // Writing into a text cannot fail.
            let _ = writeln!(table, "| {name} | {stream} | {read} | {write} |");
        }
    }
    Ok(table)
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
        let connectors = built_in().unwrap();
        for ((name, _), connector) in BUILT_IN.iter().zip(&connectors[1..]) {
            assert_eq!(connector.spec().name, *name);
        }
    }

    #[test]
    fn the_support_table_is_fresh() {
        let readme = include_str!("README.md");
        let table = support_table().unwrap();
        assert!(
            readme.contains(&table),
            "connectors/README.md must contain:\n{table}"
        );
    }

    /// The laws S1-S9 and D1-D6, on exchanges recorded against the real software.
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
        assert_eq!(kept, 3, "medusa, tryton and vendure have fixtures");
    }
}
