//! `crossdock demo`: the daemon between practice systems, so that a newcomer sees goods move.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::run::{serve_admin, socket_path};
use super::{Exit, Global, Shell, log};
use crate::clock::Clock;
use crate::config::{self, Credentials, LogFormat, LogLevel, LogSettings};
use crate::runtime::{Runtime, SystemClock, open_store, store_path};
use crate::sandbox::crew::{Crew, Pace};
use crate::sandbox::live::Live;
use crate::sandbox::{World, WorldOptions};
use crate::topology::{self, Plan};

/// How long everything may take to settle once nobody buys any more.
const SETTLING: Duration = Duration::from_secs(90);
/// How often the live view is drawn.
const VIEW: Duration = Duration::from_secs(2);

/// See goods move: practice systems on this machine, and the real daemon between them
///
/// Two webstores, a marketplace, a till, an ERP and a supplier's folder. Shoppers buy, a clerk ships, a
/// supplier drops files. At the end a statement says whether every order arrived exactly once; the exit code is 1 when
/// it does not hold.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// How long shoppers buy: 60s, 5m
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration)]
    time: Duration,
    /// Break about so many percent of all requests: refusals, errors, cut and lost answers
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    faults: f64,
    /// Where everything random comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep configuration, store and supplier's folder here
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Show the daemon's log instead of the live view
    #[arg(long)]
    log: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let count: u64 = digits
        .parse()
        .map_err(|_| "write a time like 60s or 5m".to_owned())?;
    match unit {
        "s" | "" => Ok(Duration::from_secs(count)),
        "m" => Ok(Duration::from_secs(count * 60)),
        _ => Err("write a time like 60s or 5m".to_owned()),
    }
}

pub(super) fn run(command: &Demo, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let level = if command.log {
        LogLevel::Info
    } else {
        LogLevel::Error
    };
    let settings = LogSettings {
        level,
        format: LogFormat::Text,
    };
    drop(log::start(settings, global.log_colour(shell)));
    let own = std::env::temp_dir().join(format!("crossdock-demo-{}", std::process::id()));
    // Paths in the configuration hold wherever it is read from.
    let folder = std::path::absolute(command.folder.as_ref().unwrap_or(&own))?;
    std::fs::create_dir_all(&folder)?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let exit = tokio.block_on(play(command, global, &folder, shell));
    if command.folder.is_none() {
        std::fs::remove_dir_all(&own)?;
    }
    exit
}

async fn play(
    command: &Demo,
    global: &Global,
    folder: &Path,
    shell: &mut Shell<'_>,
) -> io::Result<Exit> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut options = WorldOptions::new(folder.join("acme")).with_faults(command.faults, 0);
    options.seed = command.seed;
    options.market = true;
    let world = World::start(&clock, options).await?;
    let file = world.write_config(folder)?;
    let plan = match plan(&file, global, shell)? {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    let store = match open_store(&plan, &store_path(&plan), clock.as_ref()) {
        Ok(store) => store,
        Err(error) => {
            writeln!(shell.err, "crossdock: {error}")?;
            return Ok(Exit::Store);
        }
    };
    let runtime = match Runtime::start(Arc::new(plan), store, &clock, command.seed) {
        Ok(runtime) => runtime,
        Err(error) => {
            writeln!(shell.err, "crossdock: {error}")?;
            return Ok(Exit::Failed);
        }
    };
    let live = runtime.live();
    serve_admin(&runtime, &socket_path(&live.plan, &store_path(&live.plan)))?;
    drop(live);
    let played = Played {
        command,
        json: global.json,
        config: &file,
    };
    work(&played, &world, clock.as_ref(), shell).await?;
    let stopped = runtime.stop(Duration::from_secs(10), clock.as_ref()).await;
    world.stop().await;
    if let Err(error) = stopped {
        writeln!(shell.err, "crossdock: {error}")?;
        return Ok(Exit::Store);
    }
    let statement = world.statement();
    if global.json {
        writeln!(shell.out, "{:#}", statement.to_json())?;
    } else {
        writeln!(shell.out, "{}", statement.to_text())?;
    }
    Ok(if statement.holds() {
        Exit::Ok
    } else {
        Exit::Findings
    })
}

fn plan(file: &Path, global: &Global, shell: &mut Shell<'_>) -> io::Result<Result<Plan, Exit>> {
    let read = config::read(file, shell.around, Credentials::Needed);
    match read.and_then(|loaded| topology::plan(&loaded, shell.registry)) {
        Ok(plan) => Ok(Ok(plan)),
        Err(findings) => {
            global.tell(&findings, shell)?;
            Ok(Err(Exit::Config))
        }
    }
}

/// What the show needs to know.
struct Played<'a> {
    command: &'a Demo,
    json: bool,
    /// The configuration, for commands from another terminal.
    config: &'a Path,
}

impl Played<'_> {
    /// What somebody may ask meanwhile.
    fn hint(&self) -> String {
        let config = self.config.display();
        format!(
            "From another terminal: crossdock status --config {config} (or queue, quarantine list, \
             explain order NUMBER, explain stock SKU)"
        )
    }

    fn say(&self, shell: &mut Shell<'_>, what: &str) -> io::Result<()> {
        if self.json {
            return Ok(()); // standard output is for the statement alone
        }
        writeln!(shell.out, "{what}\n")
    }
}

/// People buy and ship until the time is over or somebody presses Ctrl-C; then everything settles.
async fn work(
    played: &Played<'_>,
    world: &World,
    clock: &dyn Clock,
    shell: &mut Shell<'_>,
) -> io::Result<()> {
    let began = clock.now();
    let command = played.command;
    let mut crew = Crew::new(command.seed, &Pace::default(), began);
    let mut view = Live::default();
    let closing = CancellationToken::new();
    let until = clock.monotonic() + command.time;
    let secs = command.time.as_secs();
    played.say(
        shell,
        &format!("Shoppers buy for {secs} seconds; Ctrl-C ends it earlier."),
    )?;
    played.say(shell, &played.hint())?;
    while clock.monotonic() < until && !closing.is_cancelled() {
        let stop = CancellationToken::new();
        let shift = async {
            tokio::select! {
                () = clock.sleep(VIEW) => {}
                _ = tokio::signal::ctrl_c() => closing.cancel(),
            }
            stop.cancel();
        };
        tokio::join!(world.run(&mut crew, &stop), shift);
        draw(played, &mut view, world, (began, clock.now()), shell)?;
    }
    crew.close();
    world.switch_faults(false);
    played.say(shell, "The shops are closed; what is under way settles.")?;
    let until = clock.monotonic() + SETTLING;
    while clock.monotonic() < until {
        let stop = CancellationToken::new();
        let shift = async {
            clock.sleep(VIEW).await;
            stop.cancel();
        };
        tokio::join!(world.run(&mut crew, &stop), shift);
        draw(played, &mut view, world, (began, clock.now()), shell)?;
        if crew.is_idle(world) && world.statement().holds() {
            break;
        }
    }
    Ok(())
}

fn draw(
    played: &Played<'_>,
    view: &mut Live,
    world: &World,
    (began, now): (crate::clock::Timestamp, crate::clock::Timestamp),
    shell: &mut Shell<'_>,
) -> io::Result<()> {
    view.update(world);
    if played.command.log || played.json {
        return Ok(());
    }
    let text = view.text(began, now);
    if shell.is_terminal {
        // Home and clear below: the view stands still and its numbers move.
        write!(shell.out, "\x1b[H\x1b[J{text}\n\n{}", played.hint())?;
    } else {
        writeln!(shell.out, "{}", text.lines().next().unwrap_or_default())?;
    }
    shell.out.flush()
}
