//! One bucket of a credential: its quota, what is left of it, and the pauses the other side asked for.
//!
//! governor counts the cells (GCRA: in any window of `w` seconds at most `burst + rate * w` of them).
//! Around it stands what a quota out there does and governor does not: it changes, it is used up by
//! somebody else, and it refuses for a while.
//!
//! - **Margin.** A few cells of the burst stay unused, as many as the rate gives in 50 ms: requests that
//!   leave evenly arrive unevenly, and the other side counts when they arrive.
//! - **Rest.** A full bucket over there begins to fill again when the first request arrives, not when it leaves, and the first one
//!   after a rest takes longest (it connects). So the count begins anew when its reply comes.
//! - **Pause.** A refusal freezes the bucket: as long as it was told, else 1 s, 2 s, 4 s … 60 s. The next
//!   step begins at 1 s again once the bucket was calm for as long as the last pause, at least 5 s. (Not at
//!   the first success: some interfaces answer 200 and say "throttled" in the body, which is observed
//!   only later.) After a pause the bucket is empty but for what the pause itself gave, and one request
//!   goes alone until a reply that is no refusal comes.
//! - **Slower.** Refused again within 30 s after a pause, the quota is not what was declared: the rate goes
//!   down to 70 %, again and again, and back up one step for every 30 s without a refusal.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use governor::RateLimiter;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};

use super::Feedback;
use super::quota::Rate;
use crate::clock::Clock;

/// How unevenly requests may arrive that left evenly.
const JITTER_SECS: f64 = 0.05;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
const SHORTEST_CALM: Duration = Duration::from_secs(5);
const SLOWER: f64 = 0.7;
const SLOWEST: i32 = 8;
const SLOW_STEP: Duration = Duration::from_secs(30);

/// Our clock, as governor wants it.
struct Ticks(Arc<dyn Clock>);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

type Cells = RateLimiter<NotKeyed, InMemoryState, Ticks, StateInformationMiddleware>;

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// It may, and its cells are spent.
    Taken,
    /// Not before this reading of the monotonic clock.
    NotBefore(Duration),
    /// Not before the one in flight came back.
    AfterReply,
    /// The quota never has so many cells at once.
    Never {
        /// What it has.
        burst: u32,
    },
}

pub(super) struct Bucket {
    clock: Arc<dyn Clock>,
    /// Declared or learned; `None` paces nothing but still pauses.
    rate: Option<Rate>,
    cells: Option<Cells>,
    /// How many cells were left when the last one was taken, and when that was.
    left: (u32, Duration),
    /// Cells of the last request beyond what the margin leaves; spent before the next one.
    owed: u32,
    /// Cells that requests were counted with and did not cost; the next ones cost less.
    credit: u32,
    in_flight: u32,
    in_flight_cells: u32,
    /// Cells spent since the bucket was full and nothing under way, until the first reply.
    since_rest: Option<u32>,
    frozen_until: Duration,
    pause: Duration,
    refusals: u32,
    alone: bool,
    slower: i32,
    slower_since: Duration,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("rate", &self.rate)
            .field("left", &self.left)
            .field("in_flight", &self.in_flight)
            .field("frozen_until", &self.frozen_until)
            .field("slower", &self.slower)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// A full bucket. `rate` was checked ([`Rate::check`]).
    pub(super) fn new(rate: Option<Rate>, clock: Arc<dyn Clock>) -> Self {
        let mut bucket = Self {
            clock,
            rate,
            cells: None,
            left: (0, Duration::ZERO),
            owed: 0,
            credit: 0,
            in_flight: 0,
            in_flight_cells: 0,
            since_rest: None,
            frozen_until: Duration::ZERO,
            pause: Duration::ZERO,
            refusals: 0,
            alone: false,
            slower: 0,
            slower_since: Duration::ZERO,
        };
        bucket.refill(u32::MAX, bucket.clock.monotonic());
        bucket
    }

    /// How much longer the other side wants nothing.
    pub(super) fn frozen_for(&self, now: Duration) -> Duration {
        self.frozen_until.saturating_sub(now)
    }

    /// The most cells that a request may cost; `None` when nothing is counted.
    pub(super) fn burst(&self) -> Option<u32> {
        self.rate.map(|rate| rate.burst)
    }

    /// Spends `cost` cells if they are there.
    pub(super) fn take(&mut self, cost: u32, now: Duration) -> Take {
        if now < self.frozen_until {
            return Take::NotBefore(self.frozen_until);
        }
        if self.alone && self.in_flight > 0 {
            return Take::AfterReply;
        }
        self.speed_up(now);
        if let Some(rate) = self.rate {
            if cost > rate.burst {
                return Take::Never { burst: rate.burst };
            }
            let usable = usable_burst(rate);
            if self.in_flight == 0 && self.estimate(now) >= usable {
                self.since_rest = Some(0);
            }
            // A bucket that is full by now has no room for what was given back.
            let credit = self.credit.min(usable.saturating_sub(self.estimate(now)));
            let used = credit.min(cost.min(usable));
            for cells in [self.owed, cost.min(usable) - used] {
                if let Err(wait) = self.spend(cells, now) {
                    return wait;
                }
                self.owed = 0;
            }
            self.credit = credit - used;
            self.owed = cost.saturating_sub(usable);
        }
        self.in_flight += 1;
        self.in_flight_cells = self.in_flight_cells.saturating_add(cost);
        self.since_rest = (self.since_rest).map(|spent| spent.saturating_add(cost));
        Take::Taken
    }

    fn spend(&mut self, cells: u32, now: Duration) -> Result<(), Take> {
        let (Some(count), Some(limiter)) = (NonZeroU32::new(cells), &self.cells) else {
            return Ok(());
        };
        match limiter.check_n(count) {
            Ok(Ok(after)) => {
                self.left = (after.remaining_burst_capacity(), now);
                Ok(())
            }
            Ok(Err(not_yet)) => Err(Take::NotBefore(not_yet.earliest_possible())),
            Err(capacity) => Err(Take::Never { burst: capacity.0 }),
        }
    }

    /// A request that was taken is over, however it ended.
    pub(super) fn done(&mut self, cost: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.in_flight_cells = self.in_flight_cells.saturating_sub(cost);
        if let (Some(spent), Some(rate)) = (self.since_rest.take(), self.rate) {
            let now = self.clock.monotonic();
            let left = usable_burst(rate).saturating_sub(spent);
            if left < self.estimate(now) {
                self.refill(left, now);
            }
        }
    }

    /// A reply came that was no refusal.
    pub(super) fn succeeded(&mut self, now: Duration) {
        // One that was in flight when the pause began proves nothing.
        if now >= self.frozen_until {
            self.alone = false;
        }
    }

    /// What a reply taught.
    pub(super) fn observe(&mut self, feedback: Feedback, now: Duration) {
        match feedback {
            Feedback::Throttled { retry_after } => self.refused(retry_after, now),
            Feedback::Cost { counted, told } => self.correct(counted, told),
            Feedback::Quota { per_second, burst } => self.learn(Rate { per_second, burst }, now),
            Feedback::Remaining { cells } => {
                // What is in flight may not be counted over there yet. Only ever downwards: an old
                // reply that comes late must not raise what later requests have used. Less than one
                // cell is not a difference: to start the count anew would lose the fraction.
                let certain = cells.saturating_sub(self.in_flight_cells);
                if certain.saturating_add(1) <= self.estimate(now) {
                    self.refill(certain, now);
                }
            }
        }
    }

    /// A request cost more, or less, than was counted.
    fn correct(&mut self, counted: u32, told: u32) {
        let Some(rate) = self.rate.filter(|_| told > 0) else {
            return;
        };
        let usable = usable_burst(rate);
        // Counted as the least of 1, whatever was declared.
        let counted = counted.max(1);
        let less = counted.saturating_sub(told);
        let more = told.saturating_sub(counted);
        let settled = more.min(self.credit);
        self.credit = (self.credit - settled).saturating_add(less).min(usable);
        self.owed = self.owed.saturating_add(more - settled).min(usable);
    }

    fn refused(&mut self, retry_after: Option<Duration>, now: Duration) {
        let told = retry_after.filter(|wait| !wait.is_zero());
        if now < self.frozen_until {
            // It was in flight together with the one that began the pause.
            if let Some(told) = told {
                self.frozen_until = self.frozen_until.max(now.saturating_add(told));
            }
            return;
        }
        let calm = now.saturating_sub(self.frozen_until);
        if self.refusals > 0 && calm < SLOW_STEP {
            self.slower = (self.slower + 1).min(SLOWEST);
        }
        if calm >= self.pause.max(SHORTEST_CALM) {
            self.refusals = 0;
        }
        self.refusals = self.refusals.saturating_add(1);
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.refusals - 1).min(6));
        self.pause = told.unwrap_or(doubled.min(LONGEST_PAUSE));
        self.frozen_until = now.saturating_add(self.pause);
        self.slower_since = self.frozen_until;
        self.alone = true;
        self.refill(0, now);
    }

    fn learn(&mut self, rate: Rate, now: Duration) {
        if rate.check().is_err() || self.rate.is_some_and(|known| known.is_nearly(rate)) {
            return;
        }
        let left = self.estimate(now);
        self.rate = Some(rate);
        self.refill(left, now);
    }

    /// It is declared otherwise: what was spent stays spent.
    pub(super) fn declare(&mut self, rate: Option<Rate>, now: Duration) {
        match (self.rate, rate) {
            (Some(_), Some(rate)) => self.learn(rate, now),
            // Nobody counted what was spent until now.
            (None, Some(_)) => {
                self.rate = rate;
                self.refill(0, now);
            }
            (_, None) => (self.rate, self.cells) = (None, None),
        }
    }

    fn speed_up(&mut self, now: Duration) {
        if self.slower > 0 && now.saturating_sub(self.slower_since) >= SLOW_STEP {
            let left = self.estimate(now);
            self.slower -= 1;
            self.slower_since = now;
            self.refill(left, now);
        }
    }

    /// How many cells should be left by now, by our own count.
    fn estimate(&self, now: Duration) -> u32 {
        let Some(rate) = self.rate else {
            return u32::MAX;
        };
        let (left, then) = self.left;
        let since = now.saturating_sub(then).as_secs_f64() * self.per_second(rate);
        let cells = (f64::from(left) + since).min(f64::from(usable_burst(rate)));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a u32, rounded down on purpose"
        )]
        {
            cells as u32
        }
    }

    fn per_second(&self, rate: Rate) -> f64 {
        rate.per_second * SLOWER.powi(self.slower)
    }

    /// Starts the count anew with `left` cells: governor's quota is immutable, so a new limiter takes
    /// the place of the old one and what is not left of its burst is spent at once.
    fn refill(&mut self, left: u32, now: Duration) {
        let Some(rate) = self.rate else {
            return;
        };
        let usable = usable_burst(rate);
        let left = left.saturating_sub(self.owed).min(usable);
        (self.owed, self.credit) = (0, 0);
        self.left = (left, now);
        // Rounded up: rounded down it would be a cell too many after some hours.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a checked rate is at least one cell in a year"
        )]
        let per_cell = Duration::from_nanos((1e9 / self.per_second(rate)).ceil() as u64);
        let quota = Quota::with_period(per_cell);
        let burst = NonZeroU32::new(usable);
        self.cells = quota.zip(burst).map(|(quota, burst)| {
            let quota = quota.allow_burst(burst);
            let limiter = RateLimiter::direct_with_clock(quota, Ticks(Arc::clone(&self.clock)))
                .with_middleware::<StateInformationMiddleware>();
            if let Some(spent) = NonZeroU32::new(usable - left) {
                // Cannot be refused: a new limiter is full, and `spent` is at most its burst.
                let _ = limiter.check_n(spent);
            }
            limiter
        });
    }
}

/// The burst less its margin; a small burst gives up at most a quarter.
fn usable_burst(rate: Rate) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a checked rate is positive and at most a million"
    )]
    let margin = (rate.per_second * JITTER_SECS).ceil() as u32;
    rate.burst - margin.min(rate.burst / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn bucket(per_second: f64, burst: u32) -> (Bucket, ManualClock) {
        let clock = ManualClock::at("2026-11-22T00:00:00Z".parse().unwrap());
        let rate = Rate { per_second, burst };
        rate.check().unwrap();
        (Bucket::new(Some(rate), Arc::new(clock.clone())), clock)
    }

    /// Takes single cells until the bucket says no; how many.
    fn drain(bucket: &mut Bucket, clock: &ManualClock) -> u32 {
        let mut taken = 0;
        while bucket.take(1, clock.monotonic()) == Take::Taken {
            bucket.done(1);
            taken += 1;
        }
        taken
    }

    fn throttled(retry_after: Option<u64>) -> Feedback {
        Feedback::Throttled {
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_slow_quota_is_counted_in_fractions() {
        let (mut bucket, clock) = bucket(1.0 / 60.0, 1);
        assert_eq!(drain(&mut bucket, &clock), 1);
        clock.advance(Duration::from_secs(59));
        assert_eq!(drain(&mut bucket, &clock), 0);
        clock.advance(Duration::from_millis(1001));
        assert_eq!(drain(&mut bucket, &clock), 1);
    }

    #[test]
    fn the_margin_is_paid_back_after_a_request_of_the_whole_burst() {
        let (mut bucket, clock) = bucket(50.0, 100);
        assert_eq!(bucket.take(101, Duration::ZERO), Take::Never { burst: 100 });
        assert_eq!(bucket.take(100, Duration::ZERO), Take::Taken);
        bucket.done(100);
        // 97 usable cells are spent and 3 owed: the next one comes after 4 cells' time, not 1.
        clock.advance(Duration::from_millis(61));
        assert_ne!(bucket.take(1, clock.monotonic()), Take::Taken);
        clock.advance(Duration::from_millis(20));
        assert_eq!(bucket.take(1, clock.monotonic()), Take::Taken);
    }

    /// The first request after a rest is slow: what would have come meanwhile is not counted on.
    #[test]
    fn a_rest_ends_when_the_first_request_has_arrived() {
        let (mut bucket, clock) = bucket(50.0, 100);
        clock.advance(Duration::from_secs(9));
        for _ in 0..8 {
            assert_eq!(bucket.take(1, clock.monotonic()), Take::Taken);
        }
        clock.advance(Duration::from_millis(300));
        bucket.done(1);
        assert_eq!(drain(&mut bucket, &clock), 97 - 8);
        clock.advance(Duration::from_millis(300));
        bucket.done(1);
        assert_eq!(drain(&mut bucket, &clock), 15);
    }

    #[test]
    fn pauses_double_and_start_over_after_calm() {
        let (mut bucket, clock) = bucket(50.0, 100);
        for expect in [1, 2, 4, 8, 16, 32, 60, 60] {
            bucket.observe(throttled(None), clock.monotonic());
            let frozen = bucket.frozen_for(clock.monotonic());
            assert_eq!(frozen, Duration::from_secs(expect));
            clock.advance(frozen);
        }
        clock.advance(Duration::from_secs(61));
        bucket.observe(throttled(None), clock.monotonic());
        assert_eq!(bucket.frozen_for(clock.monotonic()), Duration::from_secs(1));
    }

    /// Story 49: several requests in flight are refused by the same drop of the quota.
    #[test]
    fn refusals_in_flight_together_are_one() {
        let (mut bucket, clock) = bucket(50.0, 100);
        bucket.observe(throttled(Some(2)), clock.monotonic());
        bucket.observe(throttled(None), clock.monotonic());
        bucket.observe(throttled(Some(3)), clock.monotonic());
        assert_eq!(bucket.frozen_for(clock.monotonic()), Duration::from_secs(3));
        assert_eq!((bucket.refusals, bucket.slower), (1, 0));
    }

    #[test]
    fn after_a_pause_one_goes_alone_and_the_burst_is_not_back() {
        let (mut bucket, clock) = bucket(10.0, 100);
        bucket.observe(throttled(Some(2)), clock.monotonic());
        clock.advance(Duration::from_secs(2));
        assert_eq!(bucket.take(1, clock.monotonic()), Take::Taken);
        assert_eq!(bucket.take(1, clock.monotonic()), Take::AfterReply);
        bucket.succeeded(clock.monotonic());
        bucket.done(1);
        // 2 s at 10/s are 20 cells; one is spent.
        assert_eq!(drain(&mut bucket, &clock), 19);
    }

    #[test]
    fn refused_again_soon_it_goes_slower_and_recovers() {
        let (mut bucket, clock) = bucket(10.0, 10);
        bucket.observe(throttled(Some(1)), clock.monotonic());
        clock.advance(Duration::from_secs(3));
        bucket.observe(throttled(Some(1)), clock.monotonic());
        assert_eq!(bucket.slower, 1);
        clock.advance(Duration::from_secs(1));
        bucket.succeeded(clock.monotonic());
        drain(&mut bucket, &clock);
        clock.advance(Duration::from_secs(10));
        assert_eq!(drain(&mut bucket, &clock), 9, "margin");
        clock.advance(Duration::from_millis(720));
        assert_eq!(drain(&mut bucket, &clock), 5, "70 % of 10/s");
        clock.advance(Duration::from_secs(30));
        drain(&mut bucket, &clock);
        assert_eq!(bucket.slower, 0);
    }

    #[test]
    fn what_is_left_over_there_only_lowers_ours() {
        let (mut bucket, clock) = bucket(1.0, 100);
        let remaining = |cells| Feedback::Remaining { cells };
        bucket.observe(remaining(10), clock.monotonic());
        bucket.observe(remaining(90), clock.monotonic());
        assert_eq!(drain(&mut bucket, &clock), 10);
        // In flight and perhaps not counted over there: taken off.
        clock.advance(Duration::from_secs(50));
        assert_eq!(bucket.take(20, clock.monotonic()), Take::Taken);
        bucket.observe(remaining(25), clock.monotonic());
        assert_eq!(drain(&mut bucket, &clock), 5);
    }

    #[test]
    fn a_learned_quota_keeps_what_was_spent() {
        let (mut bucket, clock) = bucket(10.0, 40);
        for _ in 0..30 {
            assert_eq!(bucket.take(1, clock.monotonic()), Take::Taken);
            bucket.done(1);
        }
        let quota = |per_second, burst| Feedback::Quota { per_second, burst };
        bucket.observe(quota(20.0, 80), clock.monotonic());
        assert_eq!(drain(&mut bucket, &clock), 9, "40, margin 1, 30 spent");
        // The same again does not start the count anew; nonsense is not learned.
        for (per_second, burst) in [(20.0, 80), (0.0, 80), (f64::NAN, 80), (5.0, 0)] {
            bucket.observe(quota(per_second, burst), clock.monotonic());
        }
        assert_eq!(bucket.rate.unwrap().burst, 80);
        clock.advance(Duration::from_secs(1));
        assert_eq!(drain(&mut bucket, &clock), 20);
    }

    /// Points that a reply tells of: less than was counted is given back, more is spent later, and a cost of
    /// nothing is none (story 51).
    #[test]
    fn what_a_request_really_cost_is_taken_in() {
        let (mut bucket, clock) = bucket(10.0, 100);
        let cost = |counted, told| Feedback::Cost { counted, told };
        let now = clock.monotonic();
        // 99 usable: 9 requests of 10 that cost 4 each leave 63.
        for _ in 0..9 {
            assert_eq!(bucket.take(10, now), Take::Taken);
            bucket.observe(cost(10, 4), now);
            bucket.done(10);
        }
        assert_eq!(drain(&mut bucket, &clock), 63);
        // Told to be free, again and again: paced all the same.
        clock.advance(Duration::from_secs(1));
        let mut taken = 0;
        while bucket.take(1, clock.monotonic()) == Take::Taken {
            bucket.observe(cost(0, 0), clock.monotonic());
            bucket.done(1);
            taken += 1;
        }
        assert_eq!(taken, 10);
        // 20 more than counted: two seconds more until the next one.
        clock.advance(Duration::from_secs(1));
        assert_eq!(bucket.take(10, clock.monotonic()), Take::Taken);
        bucket.observe(cost(10, 30), clock.monotonic());
        bucket.done(10);
        clock.advance(Duration::from_millis(1950));
        assert_ne!(bucket.take(1, clock.monotonic()), Take::Taken);
        clock.advance(Duration::from_millis(200));
        assert_eq!(bucket.take(1, clock.monotonic()), Take::Taken);
        bucket.done(1);
        // What was given back is not kept beside a full bucket.
        clock.advance(Duration::from_secs(60));
        assert_eq!(bucket.take(50, clock.monotonic()), Take::Taken);
        bucket.observe(cost(50, 1), clock.monotonic());
        bucket.done(50);
        clock.advance(Duration::from_secs(60));
        assert_eq!(drain(&mut bucket, &clock), 99);
    }

    #[test]
    fn a_quota_that_is_declared_otherwise_keeps_what_was_spent() {
        let (mut bucket, clock) = bucket(10.0, 40);
        for _ in 0..30 {
            assert_eq!(bucket.take(1, clock.monotonic()), Take::Taken);
            bucket.done(1);
        }
        let rate = |per_second, burst| Some(Rate { per_second, burst });
        bucket.declare(rate(20.0, 80), clock.monotonic());
        assert_eq!(drain(&mut bucket, &clock), 9);
        bucket.declare(None, clock.monotonic());
        for _ in 0..1000 {
            assert_eq!(bucket.take(1, clock.monotonic()), Take::Taken);
            bucket.done(1);
        }
        // Nobody knows what was spent.
        bucket.declare(rate(1.0, 5), clock.monotonic());
        assert_eq!(drain(&mut bucket, &clock), 0);
    }
}
