//! The wire between the daemon and the world: requests pass the real limiter, take time, and go wrong.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use crossdock::clock::Clock;
use crossdock::connector::Context;
use crossdock::fault::{Class, Fault};
use crossdock::record::Lane;
use crossdock::transport::http::{Feedback, HttpClient, HttpReply, HttpRequest};

use super::case::Trouble;
use super::clock::SimClock;
use super::world::{SYSTEMS, World};

/// How long a request that nobody answers takes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long after nobody waits for a request any more it may still be carried out.
pub const LATE_SECS: u64 = 12;

pub type Op = Box<dyn FnOnce(&mut World) + Send>;

/// A request on its way. When nobody waits for it any more it is forgotten, or carried out all the same.
struct Underway {
    number: u64,
    sent: Duration,
    op: Option<Op>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Some(op) = self.op.take() else {
            return;
        };
        // Not from the world's dice: in which order a dead process drops its requests is nobody's promise.
        let mut dice = fastrand::Rng::with_seed(self.number);
        let shared = Shared::now();
        let mut world = shared.world();
        if dice.bool() && world.is_bad && world.case.has(Trouble::Late) {
            let wait = Duration::from_millis(dice.u64(100..LATE_SECS * 1000 - 500));
            world.carry_out_late(wait, (self.sent, op));
        }
    }
}

/// What a run consists of: every thread runs one at a time.
#[derive(Clone)]
pub struct Shared {
    world: Arc<Mutex<World>>,
    ops: Arc<Mutex<(u64, BTreeMap<u64, Op>)>>,
    pub clock: SimClock,
    /// After so many effects in this life nothing is answered any more.
    pub last_effect: Arc<Mutex<u64>>,
}

thread_local! {
    static SHARED: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    /// Makes `world` the one of this thread.
    pub fn begin(world: World, clock: SimClock) -> Self {
        let shared = Self {
            world: Arc::new(Mutex::new(world)),
            ops: Arc::default(),
            clock,
            last_effect: Arc::new(Mutex::new(u64::MAX)),
        };
        SHARED.with(|now| *now.borrow_mut() = Some(shared.clone()));
        shared
    }

    pub fn now() -> Self {
        SHARED.with(|now| now.borrow().clone().unwrap())
    }

    /// The world as it is at this moment.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap();
        world.now = self.clock.elapsed();
        world
    }

    fn put(&self, op: Op) -> u64 {
        let mut ops = self.ops.lock().unwrap();
        ops.0 += 1;
        let n = ops.0;
        ops.1.insert(n, op);
        n
    }

    fn take(&self, n: u64) -> Option<Op> {
        self.ops.lock().unwrap().1.remove(&n)
    }
}

/// What becomes of a request.
enum Fate {
    Done,
    Refused,
    Status {
        code: u16,
        wait: Option<u64>,
        done: bool,
    },
    Lost {
        done: bool,
    },
}

/// What a request meets, decided when it is sent.
struct Way {
    there: Duration,
    back: Duration,
    fate: Fate,
}

fn way(world: &mut World, system: usize, changes: bool) -> Way {
    let now = world.now;
    if let Some(what) = world.quotas[system].take(now) {
        let what = format!("{}: {what}", SYSTEMS[system]);
        world.broke(what);
    }
    let mut there = Duration::from_millis(world.dice.u64(2..60));
    let back = Duration::from_millis(world.dice.u64(2..60));
    if world.unlucky(Trouble::Slow, if changes { 80 } else { 20 }) {
        there += Duration::from_millis(world.dice.u64(1000..9000));
    }
    let is_slow = world.down.get(&(Trouble::Slow, system));
    if changes && is_slow.is_some_and(|until| *until > now) {
        there += Duration::from_millis(world.dice.u64(1000..5000));
    }
    let fate = fate(world, system, changes);
    Way { there, back, fate }
}

fn fate(world: &mut World, system: usize, changes: bool) -> Fate {
    let now = world.now;
    let is = |world: &World, kind| world.down.get(&(kind, system)).is_some_and(|it| *it > now);
    if is(world, Trouble::Outage) {
        return if world.dice.bool() {
            Fate::Refused
        } else {
            Fate::Status {
                code: 503,
                wait: None,
                done: false,
            }
        };
    }
    if is(world, Trouble::Auth) {
        return Fate::Status {
            code: 401,
            wait: None,
            done: false,
        };
    }
    // What changes something out there goes wrong more often than what looks.
    let each = world.case.permille * if changes { 3 } else { 1 };
    let wait = world.dice.u64(1..15);
    let kinds = [
        (Trouble::Refused, Fate::Refused),
        (
            Trouble::Unavailable,
            Fate::Status {
                code: 503,
                wait: wait.is_multiple_of(2).then_some(wait),
                done: false,
            },
        ),
        (
            Trouble::FailedAfter,
            Fate::Status {
                code: 500,
                wait: None,
                done: true,
            },
        ),
        (
            Trouble::ThrottledWith,
            Fate::Status {
                code: 429,
                wait: Some(wait),
                done: false,
            },
        ),
        (
            Trouble::ThrottledWithout,
            Fate::Status {
                code: 429,
                wait: None,
                done: false,
            },
        ),
        (Trouble::LostReply, Fate::Lost { done: true }),
        (Trouble::Timeout, Fate::Lost { done: false }),
    ];
    for (trouble, fate) in kinds {
        if world.unlucky(trouble, each / 4) {
            return fate;
        }
    }
    Fate::Done
}

/// The whole network.
#[derive(Debug)]
pub struct Net;

#[async_trait]
impl HttpClient for Net {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, Fault> {
        let shared = Shared::now();
        let name = request.url.strip_prefix("sim://").unwrap();
        let (name, n) = name.split_once('/').unwrap();
        let system = SYSTEMS.iter().position(|it| *it == name).unwrap();
        let number = n.parse().unwrap();
        let mut underway = Underway {
            number,
            sent: shared.clock.elapsed(),
            op: shared.take(number),
        };
        let Way { there, back, fate } = {
            let changes = matches!(
                request.lane,
                Lane::Orders | Lane::Cancellations | Lane::Shipments
            );
            way(&mut shared.world(), system, changes)
        };
        shared.clock.sleep(there).await;
        let done = match fate {
            Fate::Done => true,
            Fate::Refused => false,
            Fate::Status { done, .. } | Fate::Lost { done } => done,
        };
        let carries_out = matches!(fate, Fate::Lost { done: false });
        if !done && !carries_out {
            underway.op = None;
        }
        if done && let Some(op) = underway.op.take() {
            let effects = {
                let mut world = shared.world();
                op(&mut world);
                world.effects
            };
            if effects >= *shared.last_effect.lock().unwrap() {
                std::future::pending::<()>().await;
            }
        }
        if let Fate::Lost { done } = &fate {
            let wait = if *done { back } else { TIMEOUT };
            shared.clock.sleep(wait).await;
            let what = if *done { "http_cut" } else { "http_timeout" };
            shared.world().tell(format_args!("{name}: {what}"));
            return Err(Fault::retry(what, "no reply came").after_sending());
        }
        shared.clock.sleep(back).await;
        let mut reply = HttpReply {
            status: 200,
            headers: Vec::new(),
            body: bytes::Bytes::new(),
            received_at: shared.clock.now(),
        };
        match fate {
            Fate::Refused => return Err(Fault::retry("http_connect", "the connection is refused")),
            Fate::Status { code, wait, .. } => {
                reply.status = code;
                let mut world = shared.world();
                world.tell(format_args!("{name}: {code} {wait:?}"));
                if let Some(secs) = wait {
                    reply
                        .headers
                        .push(("retry-after".to_owned(), secs.to_string()));
                    let until = world.now + Duration::from_secs(secs);
                    let quota = &mut world.quotas[system];
                    quota.until = quota.until.max(until);
                }
            }
            _ => {}
        }
        Ok(reply)
    }

    fn observe(&self, _bucket: &str, _feedback: Feedback) {}
}

/// One connection's way into the world.
#[derive(Debug, Clone)]
pub struct Link {
    pub system: usize,
    http: Arc<dyn HttpClient>,
}

impl Link {
    pub fn new(system: usize, context: &Context) -> Self {
        Self {
            system,
            http: Arc::clone(&context.http),
        }
    }

    /// Has something done, or read, in the world.
    pub async fn call<T: Send + 'static>(
        &self,
        lane: Lane,
        op: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let shared = Shared::now();
        let answer = Arc::new(Mutex::new(None));
        let place = Arc::clone(&answer);
        let n = shared.put(Box::new(move |world| {
            *place.lock().unwrap() = Some(op(world));
        }));
        let mut request = HttpRequest::new("POST", format!("sim://{}/{n}", SYSTEMS[self.system]));
        request.lane = lane;
        let reply = self.http.send(request).await;
        drop(shared.take(n));
        let reply = reply?;
        let wait = reply.header("retry-after").and_then(|it| it.parse().ok());
        let wait = wait.map(Duration::from_secs);
        Err(match reply.status {
            200 => return Ok(answer.lock().unwrap().take().unwrap()),
            401 => Fault::auth("unauthorized", "the token is refused"),
            429 => Fault::new(Class::Throttle, "throttled", "slow down").wait(wait),
            503 => Fault::retry("unavailable", "not now").wait(wait),
            code => Fault::retry("server_error", format!("{code}")).after_sending(),
        })
    }
}
