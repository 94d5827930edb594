//! The one integration binary: everything that needs more than one module, or a second process.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test may panic"
)]

mod bad_input;
mod cli;
mod compaction;
mod config;
mod conformance;
mod daemon;
mod feeds;
mod guides;
mod memory;
mod practice;
mod prove;
mod seeds;
mod sim;
mod store_crash;
mod tidy;
mod tokens;
mod tutorial;
mod webhooks;
mod woocommerce;
