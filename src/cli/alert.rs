//! `crossdock alert`: what somebody was told of, whether the channels work, and saying that one knows.

use std::io;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::ask::ask;
use super::show::{json, rows, table};
use super::{Exit, Global, Shell};
use crate::alert::Cause;
use crate::clock::Clock;
use crate::config::Credentials;
use crate::runtime::{SystemClock, test_channels};
use crate::server::admin::Request;

/// What somebody was told of: show it, say that it is known, try the channels
#[derive(Debug, Args)]
pub(super) struct Alert {
    #[command(subcommand)]
    command: AlertCommand,
}

#[derive(Debug, Subcommand)]
enum AlertCommand {
    /// What was told and is not over
    List,
    /// Send a test through every channel of the configuration, and show what each answered
    Test,
    /// Stop the repeating of one until it is over or grows worse
    Ack {
        /// As `alert list` shows it: `stream_silent:north.orders`
        cause: Cause,
    },
}

pub(super) fn run(command: &Alert, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    match &command.command {
        AlertCommand::List => list(global, shell),
        AlertCommand::Test => test(global, shell),
        AlertCommand::Ack { cause } => acknowledge(cause, global, shell),
    }
}

fn list(global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    ask(&Request::Alerts, global, shell, |value, shell| {
        let is_well = value.as_array().is_none_or(Vec::is_empty);
        if global.json {
            json(value, shell)?;
        } else if is_well {
            writeln!(shell.out, "nothing is wrong that anybody was told of")?;
        } else {
            let columns = ["severity", "cause", "since", "acknowledged", "text"];
            let mut shown = rows(value, &columns);
            for row in &mut shown {
                let known = if row[3] == "true" { "yes" } else { "" };
                known.clone_into(&mut row[3]);
            }
            let head = ["how bad", "cause", "since", "known", "what"];
            table(shell, &head, shown)?;
        }
        Ok(if is_well { Exit::Ok } else { Exit::Findings })
    })
}

fn acknowledge(cause: &Cause, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let request = Request::AlertAck {
        cause: cause.clone(),
    };
    ask(&request, global, shell, |value, shell| {
        let is_known = value["acknowledged"] == true;
        if global.json {
            json(value, shell)?;
        } else if is_known {
            writeln!(
                shell.out,
                "{cause} is not repeated until it is over or worse"
            )?;
        } else {
            writeln!(
                shell.err,
                "crossdock: nobody was told of {cause}; see `crossdock alert list`"
            )?;
        }
        Ok(if is_known { Exit::Ok } else { Exit::Findings })
    })
}

/// From the configuration as it stands; the daemon is not asked and need not run.
fn test(global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let plan = match global.plan_with(shell, Credentials::Needed)? {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let answered = tokio.block_on(test_channels(&plan, &clock));
    let is_told = !answered.is_empty() && answered.iter().all(|(_, answer)| answer.is_ok());
    if global.json {
        let rows = answered.iter().map(|(channel, answer)| {
            let error = answer.as_ref().err().map(ToString::to_string);
            json!({ "channel": channel, "ok": answer.is_ok(), "error": error })
        });
        json(&rows.collect(), shell)?;
    } else if answered.is_empty() {
        writeln!(
            shell.out,
            "no channel is configured: alerts are in the log, the metrics and `crossdock alert list`"
        )?;
    } else {
        for (channel, answer) in &answered {
            match answer {
                Ok(()) => writeln!(shell.out, "ok       {channel}")?,
                Err(fault) => writeln!(shell.out, "FAILED   {channel}: {fault}")?,
            }
        }
    }
    Ok(if is_told { Exit::Ok } else { Exit::Findings })
}
