//! The connectors that are part of the binary.
//!
//! Each is a folder here with a manifest; `src/manifest/` runs it. To add one: copy `_template/`, write
//! the manifest and its fixtures, add a line to [`BUILT_IN`].

/// Every connector: the name of its folder and its manifest, in alphabetical order.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("sandbox_erp", include_str!("sandbox_erp/connector.toml")),
    ("sandbox_pos", include_str!("sandbox_pos/connector.toml")),
    ("sandbox_store", include_str!("sandbox_store/connector.toml")),
    ("tryton", include_str!("tryton/connector.toml")),
    ("vendure", include_str!("vendure/connector.toml")),
];
