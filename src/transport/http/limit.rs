//! Whose turn it is: one limiter per credential, shared by everything that uses the credential.
//!
//! Quotas are counted per application and account out there, so they are counted per credential here
//! (story 49), never per task. A request names a bucket (the quota that pays), a cost in cells and a
//! [`Lane`].
//!
//! - Of the requests that wait, the one of the foremost lane goes first; inside a lane, the one that
//!   came first. Inside a bucket nobody overtakes by being cheap: a cheap request does not pass an expensive one that
//!   stands in front of it, or the expensive one would wait for ever.
//! - Nobody starves: a request counts as one lane further to the front for every [`LimitOptions::ageing`]
//!   it has waited. The last of the eight lanes is in the first after seven times that.
//! - At most [`LimitOptions::concurrency`] requests are in flight. From three on, the last of these places
//!   is kept free for less stock and for cancellations, so that slow uploads cannot hold them up.
//! - A pause longer than [`LimitOptions::patience`] is not waited for: the request fails at once with a
//!   `Throttle` fault that says how long, and its owner does something else meanwhile (story 50).
//! - A waiting request may be dropped at any moment; its place, and the turn it may just have been
//!   given, go to the next one.
//!
//! Nothing is spawned. Whoever stands first in a bucket sleeps until its cells are there and then gives
//! out all turns that are due, its own or not; everybody else waits for the bell.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::bucket::{Bucket, Take};
use super::{Feedback, Lane};
use crate::clock::Clock;
use crate::fault::{Class, Fault};

/// With fewer places in flight than this none is kept free: it would cost the others half or all.
const KEEPS_A_PLACE: u32 = 3;

/// A quota: so many cells a second, so many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Cells a second; 0.0167 is one a minute.
    pub per_second: f64,
    /// Cells at once, after a rest.
    pub burst: u32,
}

impl Rate {
    /// Whether it can be counted.
    ///
    /// # Errors
    /// What is wrong with it, for a person: a lower-case clause.
    pub fn check(&self) -> Result<(), String> {
        let Self { per_second, burst } = *self;
        if !(per_second.is_finite() && (1e-6..=1e6).contains(&per_second)) {
            return Err("`per_second` must be between 0.000001 and 1000000".into());
        }
        if !(1..=1_000_000).contains(&burst) {
            return Err("`burst` must be between 1 and 1000000".into());
        }
        if f64::from(burst) / per_second > 366.0 * 86_400.0 {
            return Err("the burst would take more than a year to come back".into());
        }
        Ok(())
    }

    pub(super) fn is_nearly(&self, other: Self) -> bool {
        let difference = (self.per_second - other.per_second).abs();
        self.burst == other.burst && difference <= self.per_second * 0.001
    }
}

/// How requests of one credential are limited.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitOptions {
    /// Requests in flight at once; 4.
    pub concurrency: u32,
    /// By name; `None` is not paced, only paused when the other side refuses. Without a declaration
    /// there is `default` with 5 a second and a burst of 10: somebody's shop on a shared host must
    /// survive a merchant who declares nothing (story 52).
    pub buckets: BTreeMap<String, Option<Rate>>,
    /// How long a request waits until it counts as one lane further to the front; 10 s.
    pub ageing: Duration,
    /// The longest pause that is waited for; 60 s.
    pub patience: Duration,
    /// Requests that may wait; 4096.
    pub max_waiting: usize,
}

impl Default for LimitOptions {
    fn default() -> Self {
        let rate = Rate {
            per_second: 5.0,
            burst: 10,
        };
        Self {
            concurrency: 4,
            buckets: BTreeMap::from([("default".into(), Some(rate))]),
            ageing: Duration::from_secs(10),
            patience: Duration::from_mins(1),
            max_waiting: 4096,
        }
    }
}

/// Gives out turns: see the [module](self).
#[derive(Debug)]
pub struct Limiter {
    options: LimitOptions,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    names: Vec<String>,
    buckets: Vec<Bucket>,
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    in_flight: u32,
}

/// One that waits, or has been answered and not yet noticed.
#[derive(Debug)]
struct Waiting {
    bucket: usize,
    cost: u32,
    lane: Lane,
    since: Duration,
    /// When its bucket has the cells, as far as was known at the last look.
    not_before: Option<Duration>,
    answer: Option<Result<(), Fault>>,
    bell: Arc<Notify>,
}

impl Limiter {
    /// A limiter with full buckets.
    ///
    /// # Errors
    /// `Config` when an option cannot be meant.
    pub fn new(options: LimitOptions, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        let refuse = |why: String| Err(Fault::config("http_limits", why));
        if options.concurrency == 0 {
            return refuse("`concurrency` must be at least 1".into());
        }
        if options.buckets.is_empty() {
            return refuse("at least one bucket is needed; declare `default`".into());
        }
        let (mut names, mut buckets) = (Vec::new(), Vec::new());
        for (name, rate) in &options.buckets {
            if let Some(Err(why)) = rate.map(|rate| rate.check()) {
                return refuse(format!("bucket `{name}`: {why}"));
            }
            names.push(name.clone());
            buckets.push(Bucket::new(*rate, Arc::clone(&clock)));
        }
        Ok(Self {
            options,
            clock,
            state: Mutex::new(State {
                names,
                buckets,
                waiting: BTreeMap::new(),
                next: 0,
                in_flight: 0,
            }),
        })
    }

    /// Waits for a turn. A cost of 0 counts as 1 (story 51: a cost of 0 meant no pacing at all).
    ///
    /// # Errors
    /// `Config` for an unknown bucket or a cost above its burst; `Throttle` when the bucket is paused for
    /// longer than the patience, or too many wait already.
    pub async fn acquire(&self, bucket: &str, cost: u32, lane: Lane) -> Result<Permit<'_>, Fault> {
        let mut place = self.enqueue(bucket, cost.max(1), lane)?;
        loop {
            match self.look(&mut place) {
                Look::Answered(answer) => return answer.map(|()| place.permit()),
                Look::WaitForBell => place.bell.notified().await,
                Look::WaitFor(duration) => tokio::select! {
                    biased;
                    () = place.bell.notified() => {}
                    () = self.clock.sleep(duration) => {}
                },
            }
        }
    }

    /// Takes in what a reply taught about a bucket.
    pub fn observe(&self, bucket: &str, feedback: Feedback) {
        tracing::debug!(target: "http", bucket, ?feedback, "quota feedback");
        self.change(bucket, |bucket, now| bucket.observe(feedback, now));
    }

    /// Takes in that a reply came and was no refusal.
    pub fn succeeded(&self, bucket: &str) {
        self.change(bucket, Bucket::succeeded);
    }

    fn change(&self, bucket: &str, change: impl FnOnce(&mut Bucket, Duration)) {
        let mut state = self.lock();
        let Some(at) = state.names.iter().position(|name| name == bucket) else {
            return;
        };
        let now = self.clock.monotonic();
        change(&mut state.buckets[at], now);
        self.give_turns(&mut state, now);
        self.ring_first(&state, now);
    }

    fn enqueue(&self, bucket: &str, cost: u32, lane: Lane) -> Result<Place<'_>, Fault> {
        let mut state = self.lock();
        let Some(at) = state.names.iter().position(|name| name == bucket) else {
            let known = state.names.join("`, `");
            let message = format!("no bucket `{bucket}` is declared; there are `{known}`");
            return Err(Fault::config("http_bucket", message));
        };
        if let Some(burst) = state.buckets[at].burst().filter(|burst| cost > *burst) {
            return Err(too_dear(bucket, cost, burst));
        }
        if state.waiting.len() >= self.options.max_waiting {
            let message = format!("{} requests wait already", state.waiting.len());
            return Err(Fault::new(Class::Throttle, "http_queue_full", message));
        }
        let bell = Arc::new(Notify::new());
        let waiting = Waiting {
            bucket: at,
            cost,
            lane,
            since: self.clock.monotonic(),
            not_before: None,
            answer: None,
            bell: Arc::clone(&bell),
        };
        let ticket = state.next;
        state.next += 1;
        state.waiting.insert(ticket, waiting);
        Ok(Place {
            limiter: self,
            ticket,
            bucket: at,
            cost,
            bell,
            open: true,
        })
    }

    /// Gives out what is due and says what the holder of `place` does next.
    fn look(&self, place: &mut Place<'_>) -> Look {
        let mut state = self.lock();
        let now = self.clock.monotonic();
        if self.give_turns(&mut state, now) {
            self.ring_first(&state, now);
        }
        let answered = (state.waiting.get(&place.ticket)).is_none_or(|w| w.answer.is_some());
        if answered {
            place.open = false;
            let answer = state.waiting.remove(&place.ticket).and_then(|w| w.answer);
            let lost = || Err(Fault::bug("http_limits", "a waiting request was forgotten"));
            return Look::Answered(answer.unwrap_or_else(lost));
        }
        match state.first_of(place.bucket, now, &self.options) {
            Some((_, ticket)) if ticket == place.ticket => {
                match state.waiting.get(&ticket).and_then(|w| w.not_before) {
                    Some(at) => Look::WaitFor(at.saturating_sub(now)),
                    None => Look::WaitForBell,
                }
            }
            Some((_, ticket)) => {
                // It may have come to the front by waiting, which rings no bell.
                state.ring(ticket);
                Look::WaitForBell
            }
            None => Look::WaitForBell,
        }
    }

    /// Answers everybody whose turn it is; whether anybody was.
    fn give_turns(&self, state: &mut State, now: Duration) -> bool {
        let mut anybody = state.turn_away(now, self.options.patience);
        loop {
            let mut firsts: Vec<(Order, usize)> = (0..state.buckets.len())
                .filter_map(|bucket| {
                    let order = state.first_of(bucket, now, &self.options)?;
                    Some((order, bucket))
                })
                .collect();
            firsts.sort_unstable();
            let given =
                (firsts.iter()).any(|((_, ticket), bucket)| state.try_give(*ticket, *bucket, now));
            if !given {
                return anybody;
            }
            anybody = true;
        }
    }

    /// Lets the first of each bucket look again: it may have a timer to set.
    fn ring_first(&self, state: &State, now: Duration) {
        for bucket in 0..state.buckets.len() {
            if let Some((_, ticket)) = state.first_of(bucket, now, &self.options) {
                state.ring(ticket);
            }
        }
    }

    fn after_leaving(&self, mut state: MutexGuard<'_, State>) {
        let now = self.clock.monotonic();
        self.give_turns(&mut state, now);
        self.ring_first(&state, now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one that waits does next.
enum Look {
    Answered(Result<(), Fault>),
    WaitFor(Duration),
    WaitForBell,
}

fn too_dear(bucket: &str, cost: u32, burst: u32) -> Fault {
    let message = format!(
        "a request costs {cost} cells of bucket `{bucket}`, which never has more than {burst}; lower \
         the cost or the batch size"
    );
    Fault::config("http_cost", message)
}

/// May use the place in flight that is kept free.
fn is_urgent(lane: Lane) -> bool {
    matches!(lane, Lane::StockDown | Lane::Cancellations)
}

/// Lane as aged, then order of coming: smaller goes first.
type Order = (u32, u64);

fn order(ticket: u64, waiting: &Waiting, now: Duration, ageing: Duration) -> Order {
    let waited = now.saturating_sub(waiting.since).as_nanos();
    let lanes = waited.checked_div(ageing.as_nanos()).unwrap_or(0);
    let lanes = u32::try_from(lanes).unwrap_or(u32::MAX);
    ((waiting.lane as u32).saturating_sub(lanes), ticket)
}

impl State {
    /// Who stands first in a bucket, of those for whom a place in flight is free.
    fn first_of(&self, bucket: usize, now: Duration, options: &LimitOptions) -> Option<Order> {
        let free = options.concurrency.saturating_sub(self.in_flight);
        let only_urgent = free == 1 && options.concurrency >= KEEPS_A_PLACE;
        self.waiting
            .iter()
            .filter(|(_, waiting)| waiting.bucket == bucket && waiting.answer.is_none())
            .filter(|(_, waiting)| free > 0 && (!only_urgent || is_urgent(waiting.lane)))
            .map(|(ticket, waiting)| order(*ticket, waiting, now, options.ageing))
            .min()
    }

    /// A turn is over, or was given to somebody who had gone.
    fn give_back(&mut self, bucket: usize, cost: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.buckets[bucket].done(cost);
    }

    fn ring(&self, ticket: u64) {
        if let Some(waiting) = self.waiting.get(&ticket) {
            waiting.bell.notify_one();
        }
    }

    /// Gives the turn to this one if its bucket has the cells. Also true when it was refused for good:
    /// then the next one may be looked at.
    fn try_give(&mut self, ticket: u64, bucket: usize, now: Duration) -> bool {
        let Some(waiting) = self.waiting.get_mut(&ticket) else {
            return false;
        };
        let answer = match self.buckets[bucket].take(waiting.cost, now) {
            Take::Taken => {
                self.in_flight += 1;
                Ok(())
            }
            Take::NotBefore(at) => {
                waiting.not_before = Some(at);
                return false;
            }
            Take::AfterReply => {
                waiting.not_before = None;
                return false;
            }
            // The burst was learned to be smaller since this one came.
            Take::Never { burst } => Err(too_dear(&self.names[bucket], waiting.cost, burst)),
        };
        waiting.answer = Some(answer);
        waiting.bell.notify_one();
        true
    }

    /// Answers everybody in a bucket whose pause is longer than anybody waits.
    fn turn_away(&mut self, now: Duration, patience: Duration) -> bool {
        let mut anybody = false;
        for waiting in self.waiting.values_mut() {
            let pause = self.buckets[waiting.bucket].frozen_for(now);
            if waiting.answer.is_none() && pause > patience {
                let message = format!(
                    "bucket `{}`: the other side wants nothing for another {} s",
                    self.names[waiting.bucket],
                    pause.as_secs()
                );
                let fault = Fault::new(Class::Throttle, "http_paused", message);
                waiting.answer = Some(Err(fault.wait(Some(pause))));
                waiting.bell.notify_one();
                anybody = true;
            }
        }
        anybody
    }
}

/// A place in the queue; dropping it leaves the queue.
struct Place<'a> {
    limiter: &'a Limiter,
    ticket: u64,
    bucket: usize,
    cost: u32,
    bell: Arc<Notify>,
    open: bool,
}

impl<'a> Place<'a> {
    fn permit(&self) -> Permit<'a> {
        Permit {
            limiter: self.limiter,
            bucket: self.bucket,
            cost: self.cost,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let mut state = self.limiter.lock();
        let answer = state.waiting.remove(&self.ticket).and_then(|w| w.answer);
        if matches!(answer, Some(Ok(()))) {
            state.give_back(self.bucket, self.cost);
        }
        self.limiter.after_leaving(state);
    }
}

/// A turn. Hold it until the reply is read; dropping it lets the next one go.
#[must_use]
pub struct Permit<'a> {
    limiter: &'a Limiter,
    bucket: usize,
    cost: u32,
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        state.give_back(self.bucket, self.cost);
        self.limiter.after_leaving(state);
    }
}
