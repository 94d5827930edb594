//! `quarantine`: what cannot succeed as it is, by cause; look, mend, try again, let go.

use std::io;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::ask;
use super::show::{json, rows, table, text};
use super::{Exit, Global, Shell};
use crate::engine::DeskFilter;
use crate::record::Stream;
use crate::server::admin::Request;

/// How many rows are asked for at a time.
const PAGE: usize = 1000;

/// What cannot succeed as it is: look, mend, try again, let go
#[derive(Debug, Args)]
pub(super) struct Quarantine {
    #[command(subcommand)]
    command: QuarantineCommand,
}

/// Rows that something applies to
#[derive(Debug, Args)]
struct Of {
    /// Those that fail for this reason, as `list` names it
    #[arg(long, short)]
    group: Option<String>,
    /// Those on this connection
    #[arg(long)]
    connection: Option<String>,
    /// Those of this stream
    #[arg(long)]
    stream: Option<String>,
    /// Those with this code
    #[arg(long)]
    code: Option<String>,
}

/// Which rows: their numbers, those that something applies to, or all
#[derive(Debug, Args)]
struct Which {
    /// Their numbers
    #[arg(required_unless_present_any = ["group", "connection", "stream", "code", "all"])]
    numbers: Vec<u64>,
    #[command(flatten)]
    of: Of,
    /// All of them
    #[arg(long, conflicts_with_all = ["numbers", "group", "connection", "stream", "code"])]
    all: bool,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// By cause, with an example of each; the rows themselves with --all or a filter
    List {
        #[command(flatten)]
        of: Of,
        /// Each row, oldest first
        #[arg(long)]
        all: bool,
        /// Only the causes, also with a filter
        #[arg(long, conflicts_with = "all")]
        groups: bool,
        /// The rows after this number
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// One, with its record and every attempt; personal data is masked
    Show {
        /// Its number
        number: u64,
    },
    /// Replace the record that would be delivered or mapped
    Edit {
        /// Its number
        number: u64,
        /// A file with the new record as JSON
        file: std::path::PathBuf,
    },
    /// Try again; an order whose mapping was changed is mapped anew from what its source said
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Say that an order was changed at its sink too: what was called off of it is for sale again
    Changed {
        /// Their numbers
        #[arg(required = true)]
        numbers: Vec<u64>,
    },
    /// Let go; what an order reserved stays reserved
    Dismiss {
        #[command(flatten)]
        which: Which,
        /// Why; kept in the journal
        #[arg(long)]
        reason: String,
    },
}

impl Of {
    fn is_any(&self) -> bool {
        let Self {
            group,
            connection,
            stream,
            code,
        } = self;
        group.is_some() || connection.is_some() || stream.is_some() || code.is_some()
    }

    fn filter(&self) -> Result<DeskFilter, String> {
        let stream = self.stream.as_deref().map(|name| {
            let stream: Result<Stream, ()> = name.parse();
            stream.map_err(|()| format!("there is no stream `{name}`"))
        });
        Ok(DeskFilter {
            group: self.group.clone(),
            connection: self.connection.as_deref().map(Into::into),
            stream: stream.transpose()?,
            code: self.code.clone(),
        })
    }
}

impl Which {
    /// What is meant beside the numbers.
    fn filter(&self) -> Result<Option<DeskFilter>, String> {
        let meant = self.all || self.of.is_any();
        meant.then(|| self.of.filter()).transpose()
    }
}

pub(super) fn quarantine(
    command: &Quarantine,
    global: &Global,
    shell: &mut Shell<'_>,
) -> io::Result<Exit> {
    let request = match request(&command.command) {
        Ok(request) => request,
        Err(message) => {
            writeln!(shell.err, "crossdock: {message}")?;
            return Ok(Exit::Failed);
        }
    };
    ask(&request, global, shell, |value, shell| {
        if global.json {
            return json(value, shell);
        }
        match &command.command {
            QuarantineCommand::List { .. } => match &request {
                Request::QuarantineGroups { .. } => groups(value, shell),
                _ => listed(value, shell),
            },
            QuarantineCommand::Show { .. } => sheet(value, shell),
            QuarantineCommand::Edit { number, .. } => {
                writeln!(shell.out, "{number} edited")?;
                Ok(Exit::Ok)
            }
            QuarantineCommand::Retry { .. } => done(value, "retried", "will be tried again", shell),
            QuarantineCommand::Changed { .. } => {
                done(value, "changed", "are the same on both sides now", shell)
            }
            QuarantineCommand::Dismiss { .. } => done(value, "dismissed", "let go", shell),
        }
    })
}

fn request(command: &QuarantineCommand) -> Result<Request, String> {
    Ok(match command {
        QuarantineCommand::List {
            of,
            all,
            groups,
            after,
        } => {
            let filter = of.filter()?;
            if *all || (of.is_any() && !groups) {
                Request::Quarantine {
                    after: *after,
                    limit: PAGE,
                    of: filter,
                }
            } else {
                Request::QuarantineGroups { of: filter }
            }
        }
        QuarantineCommand::Show { number } => Request::QuarantineShow { number: *number },
        QuarantineCommand::Retry { which } => Request::QuarantineRetry {
            numbers: which.numbers.clone(),
            of: which.filter()?,
        },
        QuarantineCommand::Changed { numbers } => Request::QuarantineChanged {
            numbers: numbers.clone(),
        },
        QuarantineCommand::Dismiss { which, reason } => Request::QuarantineDismiss {
            numbers: which.numbers.clone(),
            of: which.filter()?,
            reason: reason.clone(),
        },
        QuarantineCommand::Edit { number, file } => Request::QuarantineEdit {
            number: *number,
            record: read_record(file).map_err(|error| format!("{}: {error}", file.display()))?,
        },
    })
}

/// How many went well, and why others did not.
fn done(value: &Value, word: &str, what: &str, shell: &mut Shell<'_>) -> io::Result<Exit> {
    writeln!(shell.out, "{} {what}", text(&value[word]))?;
    let failed = value["failed"].as_array().into_iter().flatten();
    let mut exit = Exit::Ok;
    for one in failed {
        let (number, why) = (text(&one["number"]), text(&one["why"]));
        writeln!(shell.err, "{number}: {why}")?;
        exit = Exit::Findings;
    }
    match value["failed_more"].as_u64() {
        None | Some(0) => {}
        Some(more) => writeln!(shell.err, "and {more} more")?,
    }
    Ok(exit)
}

fn groups(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let found = value.as_array().into_iter().flatten().map(|group| {
        let example = &group["example"];
        vec![
            text(&group["count"]),
            text(&group["group"]),
            text(&group["oldest"]),
            text(&example["number"]),
            text(&example["name"]),
            text(&example["fault"]["message"]),
        ]
    });
    let found = found.collect();
    table(
        shell,
        &["count", "group", "oldest", "example", "what", "why"],
        found,
    )?;
    Ok(Exit::Ok)
}

fn listed(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let found = value.as_array().into_iter().flatten().map(|row| {
        vec![
            text(&row["number"]),
            text(&row["connection"]),
            text(&row["stream"]),
            text(&row["name"]),
            text(&row["stage"]),
            text(&row["fault"]["message"]),
            text(&row["since"]),
        ]
    });
    let found: Vec<_> = found.collect();
    let last = found.last().filter(|_| found.len() == PAGE);
    let more = last.and_then(|row| row.first()).cloned();
    table(
        shell,
        &["number", "on", "stream", "what", "at", "why", "since"],
        found,
    )?;
    if let Some(last) = more {
        writeln!(shell.out, "more with --after {last}")?;
    }
    Ok(Exit::Ok)
}

/// One row as people read it: what, where, why, every attempt, and the record below.
fn sheet(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
    for (name, field) in [
        ("number", "number"),
        ("what", "thing"),
        ("on", "connection"),
        ("stream", "stream"),
        ("route", "route"),
        ("at", "stage"),
        ("since", "since"),
        ("tries", "attempts"),
    ] {
        let value = text(&value[field]);
        if !value.is_empty() {
            writeln!(shell.out, "{name:<8} {value}")?;
        }
    }
    let (then, now) = (text(&value["mapping"]), text(&value["mapping_now"]));
    if then == now && !now.is_empty() {
        writeln!(shell.out, "mapping  {now}")?;
    } else if then != now {
        let now = if now.is_empty() { "none" } else { &now };
        writeln!(
            shell.out,
            "mapping  {then}, now {now}: a retry maps it anew"
        )?;
    }
    let fault = &value["fault"];
    let (message, code) = (text(&fault["message"]), text(&fault["code"]));
    writeln!(shell.out, "why      {message} ({code})\n")?;
    let entries = value["entries"].as_array().into_iter().flatten();
    let entries = entries.map(|entry| {
        let mut row = vec![text(&entry[0])];
        row.extend(rows(&Value::Array(vec![entry[1].clone()]), &["what", "detail"]).concat());
        row
    });
    let entries = entries.collect();
    table(shell, &["when", "what", "detail"], entries)?;
    if !value["record"].is_null() {
        writeln!(shell.out, "{:#}", value["record"])?;
    }
    Ok(Exit::Ok)
}

fn read_record(file: &std::path::Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
