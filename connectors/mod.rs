//! The connectors that are part of the binary.
//!
//! Each is a folder here with a manifest, which `src/manifest/` runs, or with Rust where a manifest
//! cannot say it. To add one: write its folder and add a line to [`BUILT_IN`] or [`built_in`].

pub mod feed;

use crate::connector::Connector;
use crate::diagnostic::Diagnostics;
use crate::manifest;

/// Every manifest: the name of its folder and its text, in alphabetical order.
pub const BUILT_IN: &[(&str, &str)] = &[
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
    for (name, text) in BUILT_IN {
        let path = format!("connectors/{name}/connector.toml");
        connectors.push(Box::new(manifest::load(path, text)?));
    }
    Ok(connectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_manifest_loads() {
        let connectors = built_in().unwrap();
        assert_eq!(connectors.len(), BUILT_IN.len() + 1);
    }
}
