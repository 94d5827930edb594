//! `crossdock check`: everything that is wrong with the configuration; with `--online`, with the systems too.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::{Exit, Global, Shell};
use crate::clock::Clock;
use crate::config::{self, Credentials, render};
use crate::diagnostic::{Diagnostics, Severity};
use crate::id::ConnectionName;
use crate::router::Mode;
use crate::runtime::SystemClock;
use crate::runtime::probe::{self, Answer, Question};
use crate::topology::{self, Plan};

/// Say everything that is wrong with the configuration, mappings and their tests included
///
/// Uses no network unless told to by --online. Ends with 0 when it would be accepted, 3 when not, 1 when a
/// system does not answer as needed, and with --strict 1 when there are warnings.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Ask each system too: login, clock, one page of what is read, a look for what is written. Nothing is
    /// stored or written; the daemon may run meanwhile
    #[arg(long, conflicts_with = "assume_credentials")]
    online: bool,
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
    let answers = match plan {
        Some(plan) if command.online => Some(ask(plan)?),
        _ => None,
    };
    if global.json {
        let mut found = render::json(findings);
        found["accepted"] = json!(plan.is_some());
        if let Some(answers) = &answers {
            found["online"] = json!(answers);
        }
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
        if let Some(answers) = &answers {
            show_answers(answers, shell)?;
        }
    }
    let worst = answers.iter().flat_map(BTreeMap::values).flatten();
    let worst = worst.map(|question| question.answer);
    let is = |wanted: Answer| worst.clone().any(|answer| answer == wanted);
    Ok(match plan {
        None => Exit::Config,
        Some(_) if is(Answer::Failed) => Exit::Findings,
        Some(_) if command.strict && is(Answer::Warning) => Exit::Findings,
        Some(_) if command.strict && !findings.0.is_empty() => Exit::Findings,
        Some(_) => Exit::Ok,
    })
}

type Answers = BTreeMap<ConnectionName, Vec<Question>>;

fn ask(plan: &Plan) -> io::Result<Answers> {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ok(tokio.block_on(probe::probe(plan, &clock)))
}

fn show_answers(answers: &Answers, shell: &mut Shell<'_>) -> io::Result<()> {
    for (connection, questions) in answers {
        writeln!(shell.out, "\n{connection}")?;
        for question in questions {
            let word = match question.answer {
                Answer::Ok => "ok",
                Answer::Warning => "LOOK",
                Answer::Failed => "FAILED",
                Answer::Unknown => "unknown",
            };
            let (what, told) = (&question.what, &question.told);
            writeln!(shell.out, "  {word:<8} {what:<18} {told}")?;
        }
    }
    Ok(())
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
