//! Whose turn it is: one limiter per credential, shared by everything that uses the credential.
//!
//! Quotas are counted per application and account out there, so they are counted per credential here
//! (story 49), never per task. A request names a bucket (the quota that pays), a cost in cells and a
//! [`Lane`].
//!
//! - Of the requests that wait, the one of the foremost lane goes first; inside a lane, the one that
//!   came first. Inside a bucket nobody overtakes by being cheap: a cheap request does not pass an expensive one that
//!   stands in front of it, or the expensive one would wait for ever.
//! - Of several connections with one credential ([`Limiter::join`]), inside a lane the one goes first that got
//!   the least of the bucket: one that floods its lane holds up the others by one request at a time.
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
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::bucket::{Bucket, Take};
pub use super::quota::{LimitOptions, Rate};
use super::share::{Asking, Order, Payer, Shares};
use super::{Feedback, Lane};
use crate::clock::Clock;
use crate::fault::{Class, Fault};

/// With fewer places in flight than this none is kept free: it would cost the others half or all.
const KEEPS_A_PLACE: u32 = 3;

/// Gives out turns: see the [module](self).
#[derive(Debug)]
pub struct Limiter {
    clock: Arc<dyn Clock>,
    payers: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    options: LimitOptions,
    shares: Shares,
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
    payer: Payer,
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
        options.check()?;
        let (mut names, mut buckets) = (Vec::new(), Vec::new());
        for (name, rate) in &options.buckets {
            names.push(name.clone());
            buckets.push(Bucket::new(*rate, Arc::clone(&clock)));
        }
        Ok(Self {
            clock,
            payers: AtomicU32::new(0),
            state: Mutex::new(State {
                options,
                shares: Shares::default(),
                names,
                buckets,
                waiting: BTreeMap::new(),
                next: 0,
                in_flight: 0,
            }),
        })
    }

    /// One more that shares it: its number for [`Limiter::acquire_as`].
    pub fn join(&self) -> u32 {
        self.payers.fetch_add(1, Ordering::Relaxed)
    }

    /// Has other limits from now on. What was spent stays spent, what waits goes on waiting, and a quota that was
    /// learned stays as it was learned where what is declared of it did not change.
    ///
    /// # Errors
    /// As [`Limiter::new`]; nothing has changed then.
    pub fn set(&self, options: LimitOptions) -> Result<(), Fault> {
        options.check()?;
        let mut state = self.lock();
        let now = self.clock.monotonic();
        for (name, rate) in &options.buckets {
            let declared = state.options.buckets.get(name).copied();
            match state.names.iter().position(|known| known == name) {
                Some(at) if declared != Some(*rate) => state.buckets[at].declare(*rate, now),
                Some(_) => {}
                None => {
                    state.names.push(name.clone());
                    state
                        .buckets
                        .push(Bucket::new(*rate, Arc::clone(&self.clock)));
                }
            }
        }
        state.options = options;
        state.give_turns(now);
        state.ring_first(now);
        Ok(())
    }

    /// Waits for a turn. A cost of 0 counts as 1 (story 51: a cost of 0 meant no pacing at all).
    ///
    /// # Errors
    /// `Config` for an unknown bucket or a cost above its burst; `Throttle` when the bucket is paused for
    /// longer than the patience, or too many wait already.
    pub async fn acquire(&self, bucket: &str, cost: u32, lane: Lane) -> Result<Permit<'_>, Fault> {
        self.acquire_as(0, bucket, cost, lane).await
    }

    /// The same for one of several that share it.
    ///
    /// # Errors
    /// As [`Limiter::acquire`].
    pub async fn acquire_as(
        &self,
        payer: u32,
        bucket: &str,
        cost: u32,
        lane: Lane,
    ) -> Result<Permit<'_>, Fault> {
        let mut place = self.enqueue(payer, bucket, cost.max(1), lane)?;
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
        state.give_turns(now);
        state.ring_first(now);
    }

    fn enqueue(
        &self,
        payer: Payer,
        bucket: &str,
        cost: u32,
        lane: Lane,
    ) -> Result<Place<'_>, Fault> {
        let mut state = self.lock();
        let Some(at) = state.names.iter().position(|name| name == bucket) else {
            let known = state.names.join("`, `");
            let message = format!("no bucket `{bucket}` is declared; there are `{known}`");
            return Err(Fault::config("http_bucket", message));
        };
        if let Some(burst) = state.buckets[at].burst().filter(|burst| cost > *burst) {
            return Err(too_dear(bucket, cost, burst));
        }
        if state.waiting.len() >= state.options.max_waiting {
            let message = format!("{} requests wait already", state.waiting.len());
            return Err(Fault::new(Class::Throttle, "http_queue_full", message));
        }
        state.begin(at, payer);
        let bell = Arc::new(Notify::new());
        let waiting = Waiting {
            bucket: at,
            cost,
            lane,
            payer,
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
        if state.give_turns(now) {
            state.ring_first(now);
        }
        let answered = (state.waiting.get(&place.ticket)).is_none_or(|w| w.answer.is_some());
        if answered {
            place.open = false;
            let answer = state.waiting.remove(&place.ticket).and_then(|w| w.answer);
            let lost = || Err(Fault::bug("http_limits", "a waiting request was forgotten"));
            return Look::Answered(answer.unwrap_or_else(lost));
        }
        match state.first_of(place.bucket, now) {
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

    fn after_leaving(&self, mut state: MutexGuard<'_, State>) {
        let now = self.clock.monotonic();
        state.give_turns(now);
        state.ring_first(now);
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

fn order(ticket: u64, waiting: &Waiting, now: Duration, ageing: Duration) -> Order {
    let waited = now.saturating_sub(waiting.since).as_nanos();
    let lanes = waited.checked_div(ageing.as_nanos()).unwrap_or(0);
    let lanes = u32::try_from(lanes).unwrap_or(u32::MAX);
    ((waiting.lane as u32).saturating_sub(lanes), ticket)
}

impl State {
    /// Answers everybody whose turn it is; whether anybody was.
    fn give_turns(&mut self, now: Duration) -> bool {
        let mut anybody = self.turn_away(now);
        loop {
            let mut firsts: Vec<(Order, usize)> = (0..self.buckets.len())
                .filter_map(|bucket| {
                    let order = self.first_of(bucket, now)?;
                    Some((order, bucket))
                })
                .collect();
            firsts.sort_unstable();
            let given =
                (firsts.iter()).any(|((_, ticket), bucket)| self.try_give(*ticket, *bucket, now));
            if !given {
                return anybody;
            }
            anybody = true;
        }
    }

    /// Lets the first of each bucket look again: it may have a timer to set.
    fn ring_first(&self, now: Duration) {
        for bucket in 0..self.buckets.len() {
            if let Some((_, ticket)) = self.first_of(bucket, now) {
                self.ring(ticket);
            }
        }
    }

    /// Who stands first in a bucket, of those for whom a place in flight is free.
    fn first_of(&self, bucket: usize, now: Duration) -> Option<Order> {
        let options = &self.options;
        let free = options.concurrency.saturating_sub(self.in_flight);
        let only_urgent = free == 1 && options.concurrency >= KEEPS_A_PLACE;
        let asking = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.bucket == bucket && waiting.answer.is_none())
            .filter(|(_, waiting)| free > 0 && (!only_urgent || is_urgent(waiting.lane)))
            .map(|(ticket, waiting)| Asking {
                lane: waiting.lane as u32,
                order: order(*ticket, waiting, now, options.ageing),
                payer: waiting.payer,
            });
        self.shares.first(bucket, asking)
    }

    /// Somebody begins to wait.
    fn begin(&mut self, bucket: usize, payer: Payer) {
        let waiting = self.waiting.values();
        let waiting = waiting.filter(|it| it.bucket == bucket && it.answer.is_none());
        let payers: Vec<Payer> = waiting.map(|it| it.payer).collect();
        self.shares.begin(bucket, payer, payers.into_iter());
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
                self.shares.give(bucket, waiting.payer, waiting.cost);
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
    fn turn_away(&mut self, now: Duration) -> bool {
        let patience = self.options.patience;
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
