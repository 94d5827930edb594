//! What `--help` teaches: for each command examples that work as they stand, and what its words mean.
//!
//! `-h` stays short. The tests parse every example.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// By command: what stands below its options.
const LESSONS: &[(&str, &str)] = &[
    (
        "",
        "First steps:
  crossdock demo                 # goods move between practice systems; no account needed
  crossdock check                # what is wrong with your configuration
  crossdock run                  # the daemon; new routes observe and write nothing
  crossdock plan                 # what they would write
  crossdock explain order 1001   # where an order is, and why",
    ),
    (
        "demo",
        "Examples:
  crossdock demo
  crossdock demo --for 5m --faults 10 --seed 7
  crossdock demo --folder practice --log      # keeps configuration and store; look with status, queue, explain

At the end a statement is computed from the practice systems' own log: placed = once in the ERP, nothing sold
that was not there, tracking numbers told.",
    ),
    (
        "run",
        "Examples:
  crossdock run --config /etc/crossdock
  crossdock run --until-quiet 60              # do what there is to do, then stop: for a trial
  kill -HUP PID                               # read the configuration again; systemctl reload does it

One process owns a store. The log goes to standard error.",
    ),
    (
        "check",
        "Examples:
  crossdock check --config crossdock.toml
  crossdock check --online                    # asks each system; stores and writes nothing
  crossdock check --assume-credentials --strict --json

Each finding has a code: `crossdock explain X0203` says what it means, with an example.",
    ),
    (
        "plan",
        "Examples:
  crossdock plan
  crossdock plan --limit 500 --json

A route that observes reads, maps and counts, and writes nothing. When the plan is right, set `mode = \"apply\"`
and reload.",
    ),
    (
        "status",
        "Examples:
  crossdock status
  crossdock status --json

Streams: how far each is read, when it was last read to its end, and what it waits for. Routes: every change ends
as delivered, filtered (by a named rule) or in quarantine. A paused connection says why.",
    ),
    (
        "queue",
        "Examples:
  crossdock queue
  crossdock queue --limit 500 --json

pending: sent when it is due. in_flight: being sent, or was when the process died. uncertain: its reply was lost,
it is looked up before it is sent again. submitted: the other side is working on it. waiting: for a link, such as
the item that its stock is for. quarantined: see `crossdock quarantine list`.",
    ),
    (
        "quarantine list",
        "Examples:
  crossdock quarantine list
  crossdock quarantine list --json

stage: where it failed. read: it was not understood. map: the mapping refused it. deliver: the other side did.
file: a supplier's file is not believed. guard: it would do too much harm.",
    ),
    (
        "quarantine show",
        "Examples:
  crossdock quarantine show 17
  crossdock quarantine show 17 --json",
    ),
    (
        "quarantine edit",
        "Examples:
  crossdock quarantine edit 17 mended.json
  crossdock quarantine retry 17

Better than editing one record is to mend the mapping: it is mapped again from what came.",
    ),
    (
        "quarantine retry",
        "Examples:
  crossdock quarantine retry 17",
    ),
    (
        "quarantine changed",
        "Examples:
  crossdock quarantine list --code lines_changed
  crossdock quarantine changed 17

An order that was changed where it was placed after it was carried is not changed over there by the daemon. Change it
there, then say so: what was called off of it is for sale again.",
    ),
    (
        "quarantine dismiss",
        "Examples:
  crossdock quarantine dismiss 17 --reason \"entered by hand as 4711\"

It is kept in the journal with the reason. What an order reserved stays reserved, so that its goods are not sold
twice.",
    ),
    (
        "alert list",
        "Examples:
  crossdock alert list
  crossdock alert list --json

What somebody was told of and is not over: in the log, by the channels of [alert], and here. Ends with 1 when there
is any.",
    ),
    (
        "alert test",
        "Examples:
  crossdock alert test
  crossdock alert test --json

From the configuration as it stands, and as the user that you are: no daemon is asked. Ends with 1 unless every channel
took it.",
    ),
    (
        "alert ack",
        "Examples:
  crossdock alert ack stream_silent:north.orders

It stays in the list and in the metrics, and is told when it is over.",
    ),
    (
        "explain",
        "Examples:
  crossdock explain order 1001
  crossdock explain stock CD-001
  crossdock explain X0203                     # what a finding of `crossdock check` means",
    ),
    (
        "explain order",
        "Examples:
  crossdock explain order 1001
  crossdock explain order north:4711 --json   # the shop's own id",
    ),
    (
        "prove",
        "\
  crossdock prove                             # the last 24 hours
  crossdock prove --from 2026-11-01 --to 2026-12-01 --json
  crossdock prove --kept                      # each day, as the daemon proved it
  crossdock prove --day 2026-11-21",
    ),
    (
        "explain shipment",
        "Examples:
  crossdock explain shipment erp:13",
    ),
    (
        "explain item",
        "Examples:
  crossdock explain item CD-001",
    ),
    (
        "explain price",
        "Examples:
  crossdock explain price CD-001
  crossdock explain price CD-001 north",
    ),
    (
        "explain stock",
        "Examples:
  crossdock explain stock CD-001
  crossdock explain stock CD-001 north

Owners' numbers with their times, less what open orders reserve, less the buffer: each step with its source.",
    ),
    (
        "connection resume",
        "Examples:
  crossdock connection resume north

A connection pauses when its credentials or its configuration are refused. It also resumes by itself once the
system answers again; everything waits meanwhile.",
    ),
    (
        "connector list",
        "Examples:
  crossdock connector list
  crossdock connector list --json

Evidence: real software (the daemon ran against it), recorded exchanges (what it once answered is replayed), vendor's
description (every request is valid under it), practice system (only ours).",
    ),
    (
        "connector show",
        "Examples:
  crossdock connector show feed",
    ),
    (
        "connector new",
        "Examples:
  crossdock connector new mine
  crossdock connector new mine --from sandbox_store
  crossdock connector new mine --process      # a program of your own, in Python

connectors/README.md is a tutorial that begins with this command.",
    ),
    (
        "connector try",
        "Examples:
  crossdock connector try mine --set url=http://127.0.0.1:8417 --set token=secret
  crossdock connector try mine orders --connection north
  crossdock connector try mine --write my-case.json --dry-run

Writes and stores nothing. What it shows may be personal data.",
    ),
    (
        "connector test",
        "Examples:
  crossdock connector test mine
  crossdock connector test mine --fixtures my-connectors/mine/fixtures",
    ),
    (
        "feed sniff",
        "Examples:
  crossdock feed sniff stock.csv

It only proposes. Look at an article number with leading zeros, a name with accents and a price.",
    ),
    (
        "release",
        "Examples:
  crossdock release acme stock.csv

A file is held when it would do too much harm: far fewer rows than last time, far more zeros, prices off by a
factor. Look at the reply that the supplier got first.",
    ),
    (
        "config show",
        "Examples:
  crossdock config show",
    ),
    (
        "config schema",
        "Examples:
  crossdock config schema > crossdock.schema.json

With `#:schema ./crossdock.schema.json` in its first line an editor completes the configuration.",
    ),
    (
        "store export",
        "Examples:
  crossdock store export /var/backups/crossdock.jsonl

The file holds personal data, as the store does. Refresh tokens in it are sealed: nobody reads them without the
configuration. Where they change with each use, only one of two stores can go on with them.",
    ),
    (
        "store import",
        "Examples:
  crossdock store import /var/backups/crossdock.jsonl

To change the engine: export, set `store.engine`, import. After importing an older state nothing is created twice:
what may have been sent since is looked up first.",
    ),
    (
        "store restored",
        "Examples:
  crossdock store restored

For a folder that was copied back from a backup, before the next start: what the channels were told since is not in it,
so all numbers, prices and items are read and told again. Orders and their links stay. `store import` does it by itself.",
    ),
    (
        "state rename",
        "Examples:
  systemctl stop crossdock
  crossdock state rename north webshop        # [connection.north] is [connection.webshop] in the configuration now
  systemctl start crossdock

Before the daemon first runs with the new name: a name that has state of its own is refused.",
    ),
    (
        "store check",
        "Examples:
  crossdock store check",
    ),
    (
        "store compact",
        "Examples:
  crossdock store compact",
    ),
    (
        "completions",
        "Examples:
  crossdock completions bash > /usr/share/bash-completion/completions/crossdock
  crossdock completions zsh > _crossdock",
    ),
    (
        "man",
        "Examples:
  crossdock man > crossdock.1
  crossdock man --into /usr/share/man/man1",
    ),
];

/// The whole command line, with its lessons.
pub(super) fn command() -> Command {
    with_lessons(Cli::command(), "")
}

fn with_lessons(command: Command, path: &str) -> Command {
    let below = |name: &str| format!("{path} {name}").trim().to_owned();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    let command = names.into_iter().fold(command, |command, name| {
        let path = below(&name);
        command.mut_subcommand(name, |sub| with_lessons(sub, &path))
    });
    match LESSONS.iter().find(|(known, _)| *known == path) {
        // The first page keeps its exit codes.
        Some((_, text)) if path.is_empty() => command.after_long_help(format!(
            "{text}\n\n{}\n\nGuides for the sysadmin, the merchant and the supplier: src/docs/guide/.",
            super::EXITS
        )),
        Some((_, text)) => command.after_long_help(*text),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that do something, by their path.
    fn leaves(command: &Command, path: &str, found: &mut Vec<String>) {
        if command.get_subcommands().next().is_none() {
            found.push(path.trim().to_owned());
        }
        for sub in command.get_subcommands() {
            leaves(sub, &format!("{path} {}", sub.get_name()), found);
        }
    }

    #[test]
    fn every_command_has_a_lesson_and_every_lesson_a_command() {
        let mut commands = Vec::new();
        leaves(&Cli::command(), "", &mut commands);
        let known = |path: &str| LESSONS.iter().any(|(known, _)| *known == path);
        let without: Vec<&String> = commands.iter().filter(|path| !known(path)).collect();
        assert!(without.is_empty(), "no lesson for {without:?}");
        for (path, text) in LESSONS {
            let group = ["", "explain"].contains(path);
            assert!(group || commands.iter().any(|it| it == path), "{path}");
            assert!(text.contains("\n  "), "`{path}` has no example");
        }
    }

    #[test]
    fn every_example_is_a_command_line() {
        let examples = LESSONS.iter().flat_map(|(_, text)| text.lines());
        let examples = examples.filter_map(|line| line.strip_prefix("  crossdock "));
        let mut count = 0;
        for line in examples {
            let line = line.split("  #").next().unwrap_or(line);
            let line = line.split(" > ").next().unwrap_or(line).trim();
            let words = shlex(line);
            let args = std::iter::once("crossdock".to_owned()).chain(words);
            if let Err(error) = command().try_get_matches_from(args) {
                panic!("{line}: {error}");
            }
            count += 1;
        }
        assert!(count > 40, "only {count} examples");
    }

    /// Words, as a shell sees them: double quotes keep spaces.
    fn shlex(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (n, part) in line.split('"').enumerate() {
            if n % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }
}
