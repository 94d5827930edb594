//! One running child: writes to it, reads from it, knows what it still owes, and ends it.
//!
//! All of that is one loop over one child, so that nothing about it is shared or locked. It ends the child
//! as soon as one line breaks the protocol: what such a child says next means nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::declared::Launch;
use super::lines::{Lines, Log, Mask};
use super::trial::Trouble;
use crate::clock::Clock;
use crate::fault::{Effect, Fault};
use crate::id::DeliveryId;

/// Where programs are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How much is read at a time.
const PORTION: usize = 64 << 10;
/// Steps that a child may report of one request.
const MAX_STEPS: u32 = 10_000;
/// How long an end may take that was forced.
const REAPING: Duration = Duration::from_secs(5);

/// What is asked of a child.
pub(super) struct Ask {
    /// The request without its id.
    pub(super) call: Map<String, Json>,
    /// How long the answer may take.
    pub(super) limit: Duration,
    /// Something may happen at the other side.
    pub(super) writes: bool,
    /// Of which deliveries steps may be reported, and to whom.
    pub(super) steps: Option<(BTreeSet<DeliveryId>, mpsc::UnboundedSender<Step>)>,
    /// To whom it is answered. Dropped when nobody waits any more.
    pub(super) answer: oneshot::Sender<Result<Json, Fault>>,
    /// Its place among the requests under way.
    #[expect(dead_code, reason = "held for as long as the request is open")]
    pub(super) slot: Option<OwnedSemaphorePermit>,
}

/// A step that a child reports; it waits until that is durable.
pub(super) struct Step {
    pub(super) request: u64,
    pub(super) delivery: DeliveryId,
    pub(super) name: String,
    pub(super) value: Json,
}

/// What the keeper is told.
pub(super) enum Order {
    Ask(Ask),
    /// A reported step is durable.
    Durable {
        request: u64,
        step: String,
    },
    /// Nobody waits for an answer any more: look which.
    Cancelled,
    /// End it in order.
    Close(oneshot::Sender<()>),
}

/// How a child ended, for those who still waited.
pub(super) type Ending = Arc<std::sync::OnceLock<Fault>>;

/// A request that is not answered yet.
struct Open {
    ask: Ask,
    deadline: Duration,
    /// A part of it was written.
    sent: bool,
    /// `cancel` was said.
    cancelled: bool,
    steps: u32,
}

/// Ends everything in the child's process group, grandchildren too, unless that was done.
struct Group(Option<Pid>);

impl Group {
    fn kill(&self) {
        if let Some(pid) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// See the module.
pub(super) struct Keeper {
    name: String,
    clock: Arc<dyn Clock>,
    launch: Launch,
    group: Group,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    lines: Lines,
    log: Log,
    outgoing: VecDeque<(u64, Vec<u8>)>,
    written: usize,
    open: BTreeMap<u64, Open>,
    last_id: u64,
    ending: Ending,
}

impl Keeper {
    /// Starts the program, in a group, a folder and an environment of its own.
    pub(super) fn start(
        name: &str,
        launch: &Launch,
        mask: Mask,
        clock: &Arc<dyn Clock>,
        ending: &Ending,
    ) -> Result<Self, Fault> {
        let mut child = command(launch)?.spawn().map_err(|error| {
            let program = launch.command.first().map_or("", String::as_str);
            let folder = launch.folder.display();
            let message = format!("cannot start `{program}` in {folder}: {error}");
            Fault::config("process_not_started", message)
        })?;
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = Group(pid);
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            let message = "a child process without pipes".to_owned();
            return Err(Fault::bug("process_not_started", message));
        };
        Ok(Self {
            name: name.to_owned(),
            clock: Arc::clone(clock),
            launch: launch.clone(),
            group,
            child,
            stdin: Some(stdin),
            stdout,
            stderr: Some(stderr),
            lines: Lines::default(),
            log: Log::new(mask),
            outgoing: VecDeque::new(),
            written: 0,
            open: BTreeMap::new(),
            last_id: 0,
            ending: Arc::clone(ending),
        })
    }

    /// Keeps the child until it ends, breaks a rule, or nobody wants it any more.
    pub(super) async fn keep(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let (why, closed) = self.serve(&mut orders).await;
        orders.close();
        let why = if let Some(fault) = why {
            fault
        } else {
            self.shut_down().await;
            Fault::retry("process_ended", "the connector's process was told to end")
        };
        let broke_rules = why.class == crate::fault::Class::Bug;
        let status = self.end(!broke_rules).await;
        let why = match status {
            Some(status) if why.code == "process_exited" => {
                let message = format!("{} ({status}); see the log", why.message);
                Fault { message, ..why }
            }
            _ => why,
        };
        tracing::warn!(connection = %self.name, code = %why.code, "child process: {}", why.message);
        // Told before those who waited go on.
        let _ = self.ending.set(why.clone());
        while let Ok(order) = orders.try_recv() {
            match order {
                Order::Ask(ask) => drop(ask.answer.send(Err(why.clone()))),
                Order::Close(done) => drop(done.send(())),
                Order::Durable { .. } | Order::Cancelled => {}
            }
        }
        for open in std::mem::take(&mut self.open).into_values() {
            let effect = if open.sent && open.ask.writes {
                Effect::Unknown
            } else {
                Effect::None
            };
            let fault = Fault {
                effect,
                ..why.clone()
            };
            // Nobody waits any more: then nobody needs it.
            let _ = open.ask.answer.send(Err(fault));
        }
        if let Some(done) = closed {
            let _ = done.send(());
        }
    }

    /// Until something ends it: a fault, or `None` when it is to end in order.
    async fn serve(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> (Option<Fault>, Option<oneshot::Sender<()>>) {
        let (mut out, mut err) = (vec![0; PORTION], vec![0; PORTION]);
        let clock = Arc::clone(&self.clock);
        loop {
            let next = self.open.values().map(|open| open.deadline).min();
            let wait = next.map(|at| at.saturating_sub(clock.monotonic()));
            let bytes = self.outgoing.front().map(|(_, line)| &line[self.written..]);
            let event = tokio::select! {
                order = orders.recv() => Event::Told(order),
                read = self.stdout.read(&mut out) => Event::Out(read.unwrap_or(0)),
                read = log(self.stderr.as_mut(), &mut err) => Event::Err(read),
                wrote = write(self.stdin.as_mut(), bytes) => Event::Wrote(wrote),
                () = async { clock.sleep(wait.unwrap_or_default()).await }, if wait.is_some() => Event::Late,
                _ = self.child.wait() => Event::Gone,
            };
            let done = match event {
                Event::Told(None) => return (None, None),
                Event::Told(Some(Order::Close(done))) => return (None, Some(done)),
                Event::Told(Some(order)) => self.obey(order),
                Event::Out(0) => Err(exited("closed its output")),
                Event::Out(count) => self.heard(&out[..count]),
                Event::Err(count) => self.logged(&err[..count]),
                Event::Wrote(Some(count)) => {
                    self.wrote(count);
                    Ok(())
                }
                Event::Wrote(None) => Err(exited("closed its input")),
                Event::Late => self.late(),
                Event::Gone => Err(exited("ended")),
            };
            if let Err(fault) = done {
                return (Some(fault), None);
            }
        }
    }

    fn obey(&mut self, order: Order) -> Result<(), Fault> {
        match order {
            Order::Ask(ask) => {
                self.last_id += 1;
                let id = self.last_id;
                let mut call = Map::from_iter([("id".to_owned(), Json::from(id))]);
                call.extend(ask.call.clone());
                self.say(id, &Json::Object(call));
                let deadline = self.clock.monotonic() + ask.limit;
                let open = Open {
                    ask: Ask {
                        call: Map::new(),
                        ..ask
                    },
                    deadline,
                    sent: false,
                    cancelled: false,
                    steps: 0,
                };
                self.open.insert(id, open);
                if self.launch.trouble == Some((id, Trouble::DiesBefore)) {
                    return Err(exited("ended"));
                }
            }
            Order::Durable { request, step } => {
                if self.open.contains_key(&request) {
                    self.say(
                        0,
                        &json!({ "id": request, "call": "durable", "step": step }),
                    );
                }
            }
            Order::Cancelled => self.cancel(),
            Order::Close(_) => {}
        }
        Ok(())
    }

    /// Tells the child about answers that nobody waits for; what was not written yet never is.
    fn cancel(&mut self) {
        let gone: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| open.ask.answer.is_closed() && !open.cancelled)
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let Some(open) = self.open.get_mut(&id) else {
                continue;
            };
            open.cancelled = true;
            if open.sent {
                self.say(0, &json!({ "id": id, "call": "cancel" }));
            } else {
                self.outgoing.retain(|(of, _)| *of != id);
                self.open.remove(&id);
            }
        }
    }

    fn say(&mut self, of: u64, message: &Json) {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        self.outgoing.push_back((of, line));
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        let Some((of, line)) = self.outgoing.front() else {
            return;
        };
        if let Some(open) = self.open.get_mut(of) {
            open.sent = true;
        }
        if self.written >= line.len() {
            self.outgoing.pop_front();
            self.written = 0;
        }
    }

    fn heard(&mut self, portion: &[u8]) -> Result<(), Fault> {
        self.lines.buffer.extend_from_slice(portion);
        let max = self.launch.max_line;
        loop {
            let line = self.lines.next(max).map_err(|_| {
                let message = format!("a line of more than {max} bytes (process.max_line_bytes)");
                broken("process_line_too_long", &message)
            })?;
            match line {
                Some(line) => {
                    self.trouble(&line)?;
                    self.answered(&line)?;
                }
                None => return Ok(()),
            }
        }
    }

    /// For trials: what happens to an answer on its way.
    fn trouble(&self, line: &[u8]) -> Result<(), Fault> {
        let Some((id, trouble)) = self.launch.trouble else {
            return Ok(());
        };
        let said: Json = serde_json::from_slice(line).unwrap_or_default();
        match trouble {
            _ if said["id"] != id => Ok(()),
            Trouble::Garbled => Err(broken("process_not_json", "a line that is no JSON object")),
            Trouble::Late => Err(late_after(self.launch.request)),
            Trouble::Cut | Trouble::DiesAfter => Err(exited("ended")),
            Trouble::DiesBefore => Ok(()),
        }
    }

    /// One line: an answer, or a step of something under way.
    fn answered(&mut self, line: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(line)
            .map_err(|_| broken("process_not_utf8", "a line that is not UTF-8"))?;
        let parsed: Result<Map<String, Json>, _> = serde_json::from_str(text);
        let mut said =
            parsed.map_err(|_| broken("process_not_json", "a line that is no JSON object"))?;
        let id = said.remove("id").as_ref().and_then(Json::as_u64);
        let id = id.filter(|id| self.open.get(id).is_some_and(|open| open.sent));
        let Some(id) = id else {
            let message = "an answer to nothing that was asked: an unknown id, or a second answer";
            return Err(broken("process_unknown_id", message));
        };
        if let Some(step) = said.remove("captured") {
            return self.captured(id, &step);
        }
        let answer = match (said.remove("result"), said.remove("fault")) {
            (Some(result), None) => Ok(result),
            (None, Some(fault)) => Err(fault),
            _ => {
                let message = "an answer with neither or both of `result` and `fault`";
                return Err(broken("process_bad_answer", message));
            }
        };
        if let Some(open) = self.open.remove(&id) {
            let answer = answer.map_err(|fault| super::wire::fault(&fault, open.ask.writes));
            // Nobody waits any more for what was cancelled.
            let _ = open.ask.answer.send(answer);
        }
        Ok(())
    }

    fn captured(&mut self, id: u64, step: &Json) -> Result<(), Fault> {
        let bad = |why: &str| broken("process_bad_step", why);
        let Some(open) = self.open.get_mut(&id) else {
            return Ok(());
        };
        let Some((deliveries, steps)) = &open.ask.steps else {
            return Err(bad("a captured step of something that is no `deliver`"));
        };
        let delivery = step["delivery"].as_str().map(DeliveryId::from);
        let delivery = delivery.filter(|id| deliveries.contains(id));
        let (Some(delivery), Some(name)) = (delivery, step["step"].as_str()) else {
            return Err(bad(
                "a captured step without name, or of a delivery that is not its own",
            ));
        };
        open.steps += 1;
        if open.steps > MAX_STEPS || name.len() > 100 {
            return Err(bad("too many captured steps, or one with too long a name"));
        }
        let step = Step {
            request: id,
            delivery,
            name: name.to_owned(),
            value: step["value"].clone(),
        };
        // Cancelled: the child hears of that, and nothing becomes durable.
        let _ = steps.send(step);
        Ok(())
    }

    fn logged(&mut self, portion: &[u8]) -> Result<(), Fault> {
        if portion.is_empty() {
            self.stderr = None;
            self.log.finish();
        }
        let taken = self.log.take(portion, self.clock.monotonic());
        while let Some(line) = self.log.next() {
            tracing::info!(connection = %self.name, "child process says: {line}");
        }
        taken.map_err(|_| broken("process_log_flood", "more than 16 MiB of log in a minute"))
    }

    fn late(&self) -> Result<(), Fault> {
        let now = self.clock.monotonic();
        let late = self.open.values().find(|open| open.deadline <= now);
        match late {
            None => Ok(()),
            Some(open) => Err(late_after(open.ask.limit)),
        }
    }

    /// Says `shutdown`, closes its input and waits for its end.
    async fn shut_down(&mut self) {
        self.last_id += 1;
        let id = self.last_id;
        self.say(id, &json!({ "id": id, "call": "shutdown" }));
        let clock = Arc::clone(&self.clock);
        let (mut out, mut err) = (vec![0; PORTION], vec![0; PORTION]);
        let mut limit = std::pin::pin!(clock.sleep(self.launch.stop));
        let mut is_open = true;
        loop {
            if self.outgoing.is_empty() {
                self.stdin = None;
            }
            let bytes = self.outgoing.front().map(|(_, line)| &line[self.written..]);
            let event = tokio::select! {
                () = &mut limit => return,
                read = self.stdout.read(&mut out), if is_open => Event::Out(read.unwrap_or(0)),
                read = log(self.stderr.as_mut(), &mut err) => Event::Err(read),
                wrote = write(self.stdin.as_mut(), bytes) => Event::Wrote(wrote),
                _ = self.child.wait() => return,
            };
            match event {
                Event::Out(0) => is_open = false,
                // It may still answer what it was asked; what breaks rules now changes nothing.
                Event::Out(count) => drop(self.heard(&out[..count])),
                Event::Err(count) => drop(self.logged(&err[..count])),
                Event::Wrote(Some(count)) => self.wrote(count),
                _ => self.outgoing.clear(),
            }
        }
    }

    /// Kills the group, hears what was said before the end, and reaps the child.
    async fn end(&mut self, listen: bool) -> Option<ExitStatus> {
        self.group.kill();
        let clock = Arc::clone(&self.clock);
        let status = tokio::select! {
            status = self.child.wait() => status.ok(),
            () = clock.sleep(REAPING) => None,
        };
        // Somebody may have left the group and hold the pipes: what is there now is all that counts.
        let mut out = vec![0; PORTION];
        let rest = async {
            while let Ok(count @ 1..) = self.stdout.read(&mut out).await {
                if listen && self.heard(&out[..count]).is_err() {
                    break;
                }
            }
            if let Some(mut stderr) = self.stderr.take() {
                while let Ok(count @ 1..) = stderr.read(&mut out).await {
                    if self.logged(&out[..count]).is_err() {
                        break;
                    }
                }
                let _ = self.logged(&[]);
            }
        };
        tokio::select! {
            () = rest => {}
            () = clock.sleep(Duration::from_secs(1)) => {}
        }
        if status.is_some() {
            self.group.0 = None; // reaped: the number may be somebody else's from now on
        }
        status
    }
}

enum Event {
    Told(Option<Order>),
    Out(usize),
    Err(usize),
    Wrote(Option<usize>),
    Late,
    Gone,
}

fn command(launch: &Launch) -> Result<Command, Fault> {
    let not_there = |error: std::io::Error| {
        let folder = launch.folder.display();
        Fault::config(
            "process_not_started",
            format!("cannot go to {folder}: {error}"),
        )
    };
    // What is relative to our folder must not change its meaning in the child's.
    let folder = std::fs::canonicalize(&launch.folder).map_err(not_there)?;
    let mut words = launch.command.iter();
    let program = words.next().map_or("", String::as_str);
    let mut command = if program.contains('/') {
        Command::new(folder.join(program))
    } else {
        Command::new(program)
    };
    command
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(&launch.environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

/// Reads a portion of the log; for ever where there is none.
async fn log(stderr: Option<&mut ChildStderr>, portion: &mut [u8]) -> usize {
    match stderr {
        Some(stderr) => stderr.read(portion).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// Writes what is to be written: how much of it, or `None` when nobody reads any more.
async fn write(stdin: Option<&mut ChildStdin>, bytes: Option<&[u8]>) -> Option<usize> {
    match (stdin, bytes) {
        (Some(stdin), Some(bytes)) => stdin.write(bytes).await.ok().filter(|count| *count > 0),
        _ => std::future::pending().await,
    }
}

fn late_after(limit: Duration) -> Fault {
    let secs = limit.as_secs();
    let message = format!(
        "the connector's process gave no answer within {secs} s (process.request_secs, at the start \
         start_secs); it was ended"
    );
    Fault::retry("process_timeout", message)
}

fn exited(how: &str) -> Fault {
    Fault::retry("process_exited", format!("the connector's process {how}"))
}

/// A rule of the protocol was broken: a defect of the connector.
pub(super) fn broken(code: &'static str, what: &str) -> Fault {
    let message = format!("the connector's process broke the protocol: {what}; it was ended");
    Fault::bug(code, message)
}
