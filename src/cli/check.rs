//! `crossdock check`: everything that is wrong with the configuration, without a network.

use std::io;

use clap::Args;
use serde_json::json;

use super::{Exit, Global, Shell};
use crate::config::{self, Credentials, render};
use crate::diagnostic::{Diagnostics, Severity};
use crate::router::Mode;
use crate::topology::{self, Plan};

/// Say everything that is wrong with the configuration, without a network
///
/// Ends with 0 when it would be accepted, 3 when not, and with --strict 1 when there are warnings.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Findings as JSON
    #[arg(long)]
    json: bool,
    /// Warnings count too
    #[arg(long)]
    strict: bool,
    /// Take some text for each credential: for checking where the secrets are not at hand
    #[arg(long)]
    assume_credentials: bool,
}

pub(super) fn run(command: &Check, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let path = global.path(shell.around);
    let credentials = if command.assume_credentials {
        Credentials::Assumed
    } else {
        Credentials::Needed
    };
    let result = config::read(&path, shell.around, credentials)
        .and_then(|loaded| topology::plan(&loaded, shell.registry));
    let (findings, plan) = match &result {
        Ok(plan) => (&plan.warnings, Some(plan)),
        Err(findings) => (findings, None),
    };
    if command.json {
        let mut found = render::json(findings);
        found["accepted"] = json!(plan.is_some());
        writeln!(shell.out, "{found:#}")?;
    } else {
        write!(shell.out, "{}", render::text(findings, global.style(shell)))?;
        let verdict = plan.map_or_else(|| "refused".to_owned(), summary);
        writeln!(
            shell.out,
            "{}: {}{verdict}",
            path.display(),
            counts(findings)
        )?;
    }
    Ok(match plan {
        None => Exit::Config,
        Some(_) if command.strict && !findings.0.is_empty() => Exit::Findings,
        Some(_) => Exit::Ok,
    })
}

/// `2 errors, 1 warning; `, or nothing.
fn counts(findings: &Diagnostics) -> String {
    let count = |severity: Severity, word: &str| {
        let count = findings
            .0
            .iter()
            .filter(|finding| finding.severity == severity)
            .count();
        (count > 0).then(|| number(count, word))
    };
    let counts: Vec<String> = [
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if counts.is_empty() {
        String::new()
    } else {
        format!("{}; ", counts.join(", "))
    }
}

fn summary(plan: &Plan) -> String {
    let applied = plan.routes.iter().map(|route| route.mode);
    let applied = applied.chain(plan.publishes.iter().map(|rule| rule.mode));
    let applied = applied.filter(|mode| *mode == Mode::Apply).count();
    let rules = plan.routes.len() + plan.publishes.len();
    format!(
        "accepted: {}, {}, {}; {applied} of {rules} write",
        number(plan.connections.len(), "connection"),
        number(plan.routes.len(), "route"),
        number(plan.publishes.len(), "publish rule"),
    )
}

fn number(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
