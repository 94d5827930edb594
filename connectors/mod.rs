//! The connectors that are part of the binary.
//!
//! Each is a folder here with a manifest; `src/manifest/` runs it. To add one: copy `_template/`, write
//! the manifest and its fixtures, add a line to [`BUILT_IN`].

/// Every connector: the name of its folder and its manifest, in alphabetical order.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("tryton", include_str!("tryton/connector.toml")),
    ("vendure", include_str!("vendure/connector.toml")),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::connector::Connector;
    use crate::connector::contract::{self, Fixtures};
    use crate::manifest;

    #[test]
    fn the_list_is_alphabetical_and_every_name_is_its_folders() {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        assert!(names.is_sorted());
        for (name, text) in BUILT_IN {
            let connector = manifest::load(format!("connectors/{name}/connector.toml"), text);
            let connector = connector.unwrap_or_else(|findings| panic!("{findings}"));
            assert_eq!(connector.spec().name, *name);
        }
    }

    /// The laws S1-S9 and D1-D6, on exchanges recorded against the real software.
    #[tokio::test]
    async fn every_connector_keeps_the_contract() {
        for (name, text) in BUILT_IN {
            let connector = manifest::load(*name, text).unwrap();
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("connectors")
                .join(name);
            let fixtures = Fixtures::load(&folder.join("fixtures")).unwrap();
            let report = contract::run(&connector, &fixtures).await;
            assert!(report.passed(), "{name}: {report}");
            assert!(
                report.checks.len() > 100,
                "{name}: only {} checks",
                report.checks.len()
            );
        }
    }
}
