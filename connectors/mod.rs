//! The connectors that are part of the binary.

pub mod feed;
