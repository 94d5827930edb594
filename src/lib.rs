//! crossdock keeps items, prices, stock, orders, shipments, returns, customers and purchase documents
//! in step between a merchant's systems.
//!
//! # The path of one change
//!
//! ```text
//! config -> connection -> pull / receive / read file -> record
//!        -> ACCEPT (ledger, router, mapping, inventory, outbox, checkpoint: one durable commit)
//!        -> dispatch (lanes, rate limit, batch) -> sink
//!        -> SETTLE (outcome, link, confirmation, position: one durable commit)
//! ```
//!
//! The modules below stand in the order in which a change meets them. A module imports only modules of
//! a lower layer; `tests/it/tidy.rs` holds the table of layers and fails the build that breaks it.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test may panic"
    )
)]

// What a merchant writes, and what it means.
pub mod config;
pub mod topology;

// The edge: kinds of systems, how they are spoken to, and when they are read.
pub mod connector;
#[path = "../connectors/mod.rs"]
pub mod connectors;
pub mod format;
pub mod intake;
pub mod manifest;
pub mod transport;

// What moves.
pub mod expr;
pub mod record;

// The decisions: pure, no I/O, time as an argument.
pub mod fulfilment;
pub mod inventory;
pub mod ledger;
pub mod mapping;
pub mod outbox;
pub mod proof;
pub mod router;

// The two commits and the way out.
pub mod dispatch;
pub mod engine;
pub mod store;

// The process around it.
pub mod cli;
pub mod runtime;
pub mod sandbox;
pub mod server;

// What somebody is told when it is not well.
pub mod alert;
pub mod telemetry;

// The ground everything stands on.
pub mod clock;
pub mod diagnostic;
pub mod fault;
pub mod id;
pub mod secret;
