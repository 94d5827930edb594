//! The command line. One file per command; only this module prints.
//!
//! A command gets its surroundings as an argument ([`Shell`]), so that tests run it without a
//! process. While a daemon runs, commands that need the store speak to it through its admin socket.

mod alert;
mod ask;
mod check;
mod config;
mod connector;
mod connector_new;
mod connector_try;
mod demo;
mod desk;
mod explain;
mod feed;
mod lessons;
mod log;
mod manual;
mod prove;
mod quarantine;
mod run;
mod show;
mod state;
mod store;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::{Credentials, Surroundings, System, render};
use crate::connector::Connector;
use crate::diagnostic::Diagnostics;
use crate::topology::{self, Plan};

/// What a command tells the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It is done, and everything holds.
    Ok = 0,
    /// It is done, and something does not hold: warnings under `--strict`, a difference, a red
    /// test.
    Findings = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// The configuration is refused.
    Config = 3,
    /// The store cannot be opened, or is in use.
    Store = 4,
    /// The daemon cannot be reached.
    Unreachable = 5,
    /// It could not be done for another reason, such as an output that cannot be written.
    Failed = 6,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a command works with.
pub struct Shell<'a> {
    /// The connectors that there are.
    pub registry: &'a [&'a dyn Connector],
    /// Files and environment.
    pub around: &'a dyn Surroundings,
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where complaints go.
    pub err: &'a mut dyn Write,
    /// `out` is a terminal.
    pub is_terminal: bool,
}

impl std::fmt::Debug for Shell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell")
            .field("is_terminal", &self.is_terminal)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "crossdock",
    version,
    about = "Keeps a merchant's systems in step",
    after_help = EXITS,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXITS: &str = "Exit codes: 0 done and everything holds; 1 done, and something does not hold; \
                     2 wrong command line; 3 configuration refused; 4 store refused or in use; \
                     5 nobody to ask; 6 could not be done for another reason.";

/// What options of every command stand under.
const EVERYWHERE: &str = "With every command";

const CONFIG_HELP: &str = "Configuration: a file, or a folder of *.toml [default: \
                           $CROSSDOCK_CONFIG, ./crossdock.toml, /etc/crossdock]";

#[derive(Debug, Args)]
struct Global {
    #[arg(long, global = true, value_name = "PATH", help = CONFIG_HELP, help_heading = EVERYWHERE)]
    config: Option<PathBuf>,
    /// Whether to use colours
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, help_heading = EVERYWHERE)]
    color: Colour,
    /// Results as JSON, for machines
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Check(check::Check),
    Plan(desk::PlanCommand),
    Status(desk::Status),
    Queue(desk::Queue),
    Quarantine(quarantine::Quarantine),
    Alert(alert::Alert),
    Explain(explain::Explain),
    Prove(prove::Prove),
    Connection(desk::Connection),
    Connector(connector::Connector),
    Feed(feed::Feed),
    Release(feed::Release),
    Config(config::Config),
    Store(store::Store),
    State(state::State),
    Completions(manual::Completions),
    Man(manual::Man),
}

/// Runs the command line of this process.
pub fn main(registry: &[&dyn Connector]) -> Exit {
    // Never locked for longer than a write: other threads log to the same stream, and would wait for
    // ever.
    let mut shell = Shell {
        registry,
        around: &System,
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        is_terminal: io::stdout().is_terminal(),
    };
    run(std::env::args_os(), &mut shell)
}

/// Runs one command line; the first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>, shell: &mut Shell<'_>) -> Exit {
    let matches = lessons::command().try_get_matches_from(args);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, shell),
    };
    let done = match &cli.command {
        Command::Demo(command) => demo::run(command, &cli.global, shell),
        Command::Run(command) => run::run(command, &cli.global, shell),
        Command::Check(command) => check::run(command, &cli.global, shell),
        Command::Plan(command) => desk::plan(command, &cli.global, shell),
        Command::Status(command) => desk::status(command, &cli.global, shell),
        Command::Queue(command) => desk::queue(command, &cli.global, shell),
        Command::Quarantine(command) => quarantine::quarantine(command, &cli.global, shell),
        Command::Alert(command) => alert::run(command, &cli.global, shell),
        Command::Explain(command) => explain::run(command, &cli.global, shell),
        Command::Prove(command) => prove::run(command, &cli.global, shell),
        Command::Connection(command) => desk::connection(command, &cli.global, shell),
        Command::Connector(command) => connector::run(command, &cli.global, shell),
        Command::Feed(command) => feed::feed(command, shell),
        Command::Release(command) => feed::release(command, &cli.global, shell),
        Command::Config(command) => config::run(command, &cli.global, shell),
        Command::Store(command) => store::run(command, &cli.global, shell),
        Command::State(command) => state::run(command, &cli.global, shell),
        Command::Completions(command) => manual::completions(command, shell),
        Command::Man(command) => manual::man(command, shell),
    };
    done.and_then(|exit| shell.out.flush().map(|()| exit))
        .unwrap_or_else(|error| {
            // Whoever closed the pipe has read enough.
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Exit::Ok;
            }
            // What has words of its own is no matter of the output.
            let what = match error.get_ref() {
                Some(own) => own.to_string(),
                None => format!("cannot write the output: {error}"),
            };
            let _ = writeln!(shell.err, "crossdock: {what}");
            Exit::Failed
        })
}

fn usage(error: &clap::Error, shell: &mut Shell<'_>) -> Exit {
    let text = error.render();
    let (stream, exit): (&mut dyn Write, _) = if error.use_stderr() {
        (shell.err, Exit::Usage)
    } else {
        (shell.out, Exit::Ok)
    };
    let _ = write!(stream, "{text}");
    exit
}

/// See <https://no-color.org>.
fn no_color(around: &dyn Surroundings) -> bool {
    let told = around.var("NO_COLOR");
    told.is_some_and(|value| !value.is_empty())
}

/// Reads the configuration at `path` and plans it.
fn read_plan(
    path: &Path,
    shell: &Shell<'_>,
    credentials: Credentials,
) -> Result<Plan, Diagnostics> {
    let loaded = crate::config::read(path, shell.around, credentials)?;
    topology::plan(&loaded, shell.registry)
}

impl Global {
    /// Where the configuration is.
    fn path(&self, around: &dyn Surroundings) -> PathBuf {
        let here = Path::new("crossdock.toml");
        if let Some(path) = &self.config {
            path.clone()
        } else if let Some(path) = around.var("CROSSDOCK_CONFIG") {
            path.into()
        } else if around.read(here, 1).is_ok() {
            here.to_owned()
        } else {
            "/etc/crossdock".into()
        }
    }

    /// The plan, for whoever asks the daemon or looks into its store: what only the unit's own credentials hold is
    /// not needed for that. What is wrong with it is told, and how to end then.
    fn plan(&self, shell: &mut Shell<'_>) -> io::Result<Result<Plan, Exit>> {
        self.plan_with(shell, Credentials::Assumed)
    }

    /// The same, for whoever needs them or does not.
    fn plan_with(
        &self,
        shell: &mut Shell<'_>,
        credentials: Credentials,
    ) -> io::Result<Result<Plan, Exit>> {
        match read_plan(&self.path(shell.around), shell, credentials) {
            Ok(plan) => Ok(Ok(plan)),
            Err(findings) => {
                self.tell(&findings, shell)?;
                Ok(Err(Exit::Config))
            }
        }
    }

    /// Tells findings where complaints go.
    fn tell(&self, findings: &Diagnostics, shell: &mut Shell<'_>) -> io::Result<()> {
        let style = self.style(shell);
        write!(shell.err, "{}", render::text(findings, style))
    }

    /// Whether the log has colours: it goes to another stream than results do.
    fn log_colour(&self, shell: &Shell<'_>) -> bool {
        match self.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => io::stderr().is_terminal() && !no_color(shell.around),
        }
    }

    fn style(&self, shell: &Shell<'_>) -> render::Style {
        match self.color {
            Colour::Always => render::Style::Colour,
            Colour::Auto if shell.is_terminal && !no_color(shell.around) => render::Style::Colour,
            _ => render::Style::Plain,
        }
    }
}
