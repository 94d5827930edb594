//! The command line.

use std::process::ExitCode;

use crossdock::cli;
use crossdock::connector::Connector;
use crossdock::connectors;

fn main() -> ExitCode {
    match connectors::built_in() {
        Ok(built_in) => {
            let registry: Vec<&dyn Connector> = built_in.iter().map(AsRef::as_ref).collect();
            cli::main(&registry).into()
        }
        Err(findings) => cli::broken(&findings).into(),
    }
}
