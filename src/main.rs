//! The command line.

use std::process::ExitCode;

use crossdock::cli;
use crossdock::connector::Connector;
use crossdock::connectors;
use tikv_jemallocator::Jemalloc;

/// An order is many small texts, made by one thread and let go by another: `src/docs/decisions/the-allocator.md`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let built_in = connectors::built_in();
    let registry: Vec<&dyn Connector> = built_in.iter().map(AsRef::as_ref).collect();
    cli::main(&registry).into()
}
