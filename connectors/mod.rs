//! The connectors that are part of the binary.
//!
//! Each is a folder here with a manifest; `src/manifest/` runs it. To add one: copy `_template/`, write
//! the manifest and its fixtures, add a line to [`BUILT_IN`].

/// Every connector: the name of its folder and its manifest, in alphabetical order.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("tryton", include_str!("tryton/connector.toml")),
    ("vendure", include_str!("vendure/connector.toml")),
];
