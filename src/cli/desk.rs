//! `status`, `queue`, `plan` and `connection`: looking, and mending by hand.

use std::io;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::ask;
use super::show::{json, rows, table, text};
use super::{Exit, Global, Shell};
use crate::alert::conditions::human;
use crate::clock::{Timestamp, since};
use crate::server::admin::Request;

/// Show how it stands: streams, queues, totals of each route
#[derive(Debug, Args)]
pub(super) struct Status;

/// Show the deliveries that wait, oldest first
#[derive(Debug, Args)]
pub(super) struct Queue {
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Show what would be written by routes that observe
#[derive(Debug, Args)]
pub(super) struct PlanCommand {
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Something about one connection
#[derive(Debug, Args)]
pub(super) struct Connection {
    #[command(subcommand)]
    command: ConnectionCommand,
}

#[derive(Debug, Subcommand)]
enum ConnectionCommand {
    /// Let deliveries to a paused connection go on
    Resume {
        /// Which
        name: String,
    },
}

pub(super) fn status(_: &Status, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    ask(&Request::Status, global, shell, |value, shell| {
        if global.json {
            return json(value, shell);
        }
        streams(value, shell)?;
        let queue = rows(
            &value["queue"],
            &["sink", "stream", "state", "count", "oldest"],
        );
        table(
            shell,
            &["to", "stream", "state", "waiting", "oldest"],
            queue,
        )?;
        let differences = rows(
            &value["differences"],
            &["sink", "stream", "count", "unlisted"],
        );
        table(
            shell,
            &["to", "stream", "not told yet", "not listed there"],
            differences,
        )?;
        let waiting = rows(&value["waiting"], &["sink", "stream", "count", "oldest"]);
        table(
            shell,
            &["to", "stream", "wait for items or orders", "since"],
            waiting,
        )?;
        table(
            shell,
            &[
                "route",
                "writes",
                "routed",
                "delivered",
                "filtered",
                "quarantined",
            ],
            routes(value),
        )?;
        attention(value, shell)?;
        for (connection, why) in value["paused"].as_object().into_iter().flatten() {
            writeln!(shell.out, "paused: {connection}: {}", text(why))?;
        }
        writeln!(shell.out, "in quarantine: {}", text(&value["quarantined"]))?;
        Ok(Exit::Ok)
    })
}

/// How far each stream is read: by its cursor, by the clock, and by sweeps.
fn streams(value: &Value, shell: &mut Shell<'_>) -> io::Result<()> {
    let streams = rows(
        &value["streams"],
        &["connection", "stream", "cursor", "accepted_at"],
    );
    table(
        shell,
        &["connection", "stream", "read up to", "last accepted"],
        streams,
    )?;
    table(
        shell,
        &["connection", "stream", "last read", "ago", "expected every"],
        reads(value),
    )?;
    table(
        shell,
        &[
            "connection",
            "stream",
            "swept",
            "things",
            "found",
            "found in all",
        ],
        sweeps(value),
    )
}

/// When each stream was last read, how long ago that is, and how often it should be.
fn reads(value: &Value) -> Vec<Vec<String>> {
    let now: Option<Timestamp> = value["now"].as_str().and_then(|now| now.parse().ok());
    let loops = value["loops"].as_array().into_iter().flatten();
    let read = loops.filter(|one| one["way"] == "read");
    let row = |one: &Value| {
        let last = text(&one["last_success"]);
        let ago = now.zip(last.parse().ok());
        let ago = ago.map(|(now, last)| human(since(last, now)));
        let expected = one["expected_secs"].as_u64();
        let expected = expected.map(|secs| human(Duration::from_secs(secs)));
        vec![
            text(&one["connection"]),
            text(&one["stream"]),
            if last.is_empty() {
                "never".to_owned()
            } else {
                last
            },
            ago.unwrap_or_default(),
            expected.unwrap_or_default(),
        ]
    };
    read.map(row).collect()
}

/// The streams that are read once more as a whole.
fn sweeps(value: &Value) -> Vec<Vec<String>> {
    let streams = value["streams"].as_array().into_iter().flatten();
    let swept = streams.filter(|stream| stream["swept"].is_object());
    swept
        .map(|stream| {
            let swept = &stream["swept"];
            let when = match (&swept["at"], &swept["begun_at"]) {
                (_, Value::Null) => "not yet".to_owned(),
                (Value::Null, _) => text(&swept["over_at"]),
                (_, begun) => format!("since {}", text(begun)),
            };
            let mut row = vec![text(&stream["connection"]), text(&stream["stream"]), when];
            row.extend(["read", "found", "found_in_all"].map(|name| text(&swept[name])));
            row
        })
        .collect()
}

/// What somebody should look at, and what became of the last reload.
fn attention(value: &Value, shell: &mut Shell<'_>) -> io::Result<()> {
    for alert in value["alerts"].as_array().into_iter().flatten() {
        let known = if alert["acknowledged"] == true {
            " (known)"
        } else {
            ""
        };
        let (severity, cause) = (text(&alert["severity"]), text(&alert["cause"]));
        let what = text(&alert["text"]);
        writeln!(shell.out, "ALERT {severity}: {what} [{cause}]{known}")?;
    }
    for (_, what) in value["conditions"].as_object().into_iter().flatten() {
        writeln!(shell.out, "ATTENTION: {}", text(what))?;
    }
    if let Some(stuck) = value["stuck"].as_str() {
        writeln!(shell.out, "ATTENTION: {stuck}")?;
    }
    let troubled = value["loops"].as_array().into_iter().flatten();
    for one in troubled.filter(|one| one["trouble"].is_string()) {
        let (stream, connection) = (text(&one["stream"]), text(&one["connection"]));
        let (times, why) = (text(&one["failures"]), text(&one["trouble"]));
        let way = text(&one["way"]);
        writeln!(
            shell.out,
            "trouble: {way} {stream} of {connection}, {times} times in a row: {why}"
        )?;
    }
    let reload = &value["reload"];
    if !reload.is_null() {
        let told = reload["told"].as_array().into_iter().flatten();
        let told: Vec<String> = told.map(text).collect();
        let word = if reload["applied"] == true {
            "applied"
        } else {
            "refused"
        };
        let at = text(&reload["at"]);
        writeln!(shell.out, "last reload {word} at {at}: {}", told.join("; "))?;
    }
    Ok(())
}

fn routes(value: &Value) -> Vec<Vec<String>> {
    let routes = value["routes"].as_object().into_iter().flatten();
    routes
        .map(|(name, route)| {
            let filtered = route["filtered"].as_object().into_iter().flatten();
            let filtered: Vec<String> = filtered
                .map(|(rule, count)| format!("{rule} {count}"))
                .collect();
            let writes = if route["applies"] == true {
                "yes"
            } else {
                "observes"
            };
            vec![
                name.clone(),
                writes.to_owned(),
                text(&route["routed"]),
                text(&route["delivered"]),
                filtered.join(", "),
                text(&route["quarantined"]),
            ]
        })
        .collect()
}

pub(super) fn queue(command: &Queue, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let request = Request::Queue {
        after: 0,
        limit: command.limit,
    };
    ask(&request, global, shell, |value, shell| {
        if global.json {
            return json(value, shell);
        }
        events(value, shell)
    })
}

pub(super) fn plan(
    command: &PlanCommand,
    global: &Global,
    shell: &mut Shell<'_>,
) -> io::Result<Exit> {
    let applied: Vec<String> = match global.plan(shell)? {
        Ok(plan) => {
            global.tell(&plan.warnings, shell)?;
            let applied = plan
                .routes
                .iter()
                .filter(|r| r.mode == crate::router::Mode::Apply);
            applied.map(|route| route.name.to_string()).collect()
        }
        Err(exit) => return Ok(exit),
    };
    let request = Request::Queue {
        after: 0,
        limit: command.limit,
    };
    ask(&request, global, shell, |value, shell| {
        let observed = value.as_array().into_iter().flatten();
        let observed = observed.filter(|row| !applied.contains(&text(&row["route"])));
        let observed = Value::Array(observed.cloned().collect());
        if global.json {
            return json(&observed, shell);
        }
        events(&observed, shell)
    })
}

fn events(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let found = value.as_array().into_iter().flatten().map(|row| {
        vec![
            text(&row["seq"]),
            text(&row["sink"]),
            text(&row["stream"]),
            text(&row["operation"]),
            text(&row["reference"]),
            text(&row["state"]["is"]),
            text(&row["attempts"]),
            text(&row["last_fault"]["message"]),
        ]
    });
    let found = found.collect();
    table(
        shell,
        &[
            "place",
            "to",
            "stream",
            "what",
            "of",
            "state",
            "tries",
            "last trouble",
        ],
        found,
    )?;
    Ok(Exit::Ok)
}

pub(super) fn connection(
    command: &Connection,
    global: &Global,
    shell: &mut Shell<'_>,
) -> io::Result<Exit> {
    let ConnectionCommand::Resume { name } = &command.command;
    let request = Request::Resume {
        connection: name.as_str().into(),
    };
    ask(&request, global, shell, |value, shell| {
        if global.json {
            return json(value, shell);
        }
        let word = if value["resumed"] == true {
            "resumed"
        } else {
            "was not paused"
        };
        writeln!(shell.out, "{name} {word}")?;
        Ok(Exit::Ok)
    })
}
