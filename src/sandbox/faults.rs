//! Faults on demand: what goes wrong on the way, decided by a seed and the number of the request.
//!
//! A request suffers at most one fault. The same seed, the same system and the same number of requests
//! give the same faults, so a run can be repeated.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audit::lock;

/// What can go wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429, and so for every request until `retry_after` is over, as a quota that is used up does it;
    /// every second one with `Retry-After`. Nothing is processed.
    Throttle,
    /// 500 before anything is processed.
    Error500,
    /// Processed, then 500: the reply does not tell.
    LateError500,
    /// 503 with `Retry-After` before anything is processed.
    Unavailable503,
    /// Answered, but slowly.
    Slow,
    /// Processed, then the connection is reset in the middle of the reply.
    Cut,
    /// Processed, then the connection is closed without a reply.
    AcceptThenDrop,
    /// 200 with a maintenance page in HTML. Nothing is processed.
    Html,
    /// All tokens expire before the request is looked at.
    TokenExpiry,
    /// Rows that a reader is paging through change before this page is made.
    PageShift,
    /// A write is accepted and never applied; only where writes are applied later.
    Unapplied,
    /// A feed is taken on and never finished; only where there are feeds.
    FeedStuck,
    /// A feed ends without having been worked off; only where there are feeds.
    FeedFails,
}

impl FaultKind {
    /// All of them, in the order in which they are drawn and shown.
    pub const ALL: [Self; 13] = [
        Self::Throttle,
        Self::Error500,
        Self::LateError500,
        Self::Unavailable503,
        Self::Slow,
        Self::Cut,
        Self::AcceptThenDrop,
        Self::Html,
        Self::TokenExpiry,
        Self::PageShift,
        Self::Unapplied,
        Self::FeedStuck,
        Self::FeedFails,
    ];

    /// Those that can happen to every system: the first of [`FaultKind::ALL`].
    pub const COMMON: usize = 10;

    /// How a person reads it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Throttle => "throttled (429)",
            Self::Error500 => "error 500",
            Self::LateError500 => "done, then error 500",
            Self::Unavailable503 => "unavailable (503)",
            Self::Slow => "slow",
            Self::Cut => "reply cut off",
            Self::AcceptThenDrop => "done, then no reply",
            Self::Html => "HTML instead of JSON",
            Self::TokenExpiry => "token expired",
            Self::PageShift => "rows moved between pages",
            Self::Unapplied => "accepted, never applied",
            Self::FeedStuck => "feed never finished",
            Self::FeedFails => "feed failed",
        }
    }

    /// Whether the system acted although the caller cannot tell.
    pub fn hides_an_effect(self) -> bool {
        matches!(self, Self::LateError500 | Self::Cut | Self::AcceptThenDrop)
    }

    /// How much longer than usual a careful caller may need because of one such fault, beyond what
    /// the plan itself makes it wait: the declared allowance of the statement.
    pub fn allowance(self, plan: &FaultPlan) -> Duration {
        let backoff = Duration::from_secs(2);
        match self {
            Self::Throttle | Self::Unavailable503 => plan.retry_after + backoff,
            Self::Slow => plan.slow,
            Self::PageShift => Duration::ZERO,
            Self::TokenExpiry => Duration::from_secs(1),
            // Until somebody looks whether it came to anything, and writes again.
            Self::Unapplied | Self::FeedStuck | Self::FeedFails => Duration::from_mins(1),
            Self::Error500 | Self::LateError500 | Self::Cut | Self::AcceptThenDrop | Self::Html => {
                backoff
            }
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// How often what goes wrong at one system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    /// Where the decisions come from.
    pub seed: u64,
    /// How many of a hundred requests suffer each kind. A sum above 100 leaves the last kinds out.
    pub percent: BTreeMap<FaultKind, f64>,
    /// The longest delay of [`FaultKind::Slow`].
    pub slow: Duration,
    /// What `Retry-After` says, rounded up to whole seconds on the wire.
    pub retry_after: Duration,
    /// How far the system's clock (`Date` header and every timestamp) is ahead of true time.
    pub clock_skew_secs: i64,
}

impl Default for FaultPlan {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            seed: 0,
            percent: BTreeMap::new(),
            slow: Duration::from_secs(1),
            retry_after: Duration::from_secs(1),
            clock_skew_secs: 0,
        }
    }
}

impl FaultPlan {
    /// Everything that can happen to every system goes wrong now and then: in all, about `percent` of a
    /// hundred requests.
    pub fn all(seed: u64, percent: f64) -> Self {
        // A refusal brings others with it; what hides an effect teaches most.
        let weights: [f64; FaultKind::COMMON] = [0.2, 1.0, 1.0, 1.0, 1.5, 1.0, 1.5, 0.5, 0.5, 1.0];
        let sum: f64 = weights.iter().sum();
        let shares = weights.map(|weight| weight / sum * percent);
        Self {
            seed,
            percent: FaultKind::ALL.into_iter().zip(shares).collect(),
            ..Self::default()
        }
    }

    /// As [`all`](Self::all), and what only happens where writes are applied later: each of them as often as an
    /// ordinary kind.
    pub fn all_of_a_market(seed: u64, percent: f64) -> Self {
        let mut plan = Self::all(seed, percent);
        let kinds = u32::try_from(FaultKind::COMMON).unwrap_or(1);
        let share = percent / f64::from(kinds);
        let own = FaultKind::ALL.into_iter().skip(FaultKind::COMMON);
        plan.percent.extend(own.map(|kind| (kind, share)));
        plan
    }

    /// Only this kind, in `percent` of a hundred requests.
    pub fn only(kind: FaultKind, seed: u64, percent: f64) -> Self {
        Self {
            seed,
            percent: BTreeMap::from([(kind, percent)]),
            ..Self::default()
        }
    }

    fn draw(&self, system: &str, request: u64) -> Option<FaultKind> {
        let mut rng = rng_for(self.seed, system, request);
        let mut left = rng.f64() * 100.0;
        FaultKind::ALL.into_iter().find(|kind| {
            left -= self.percent.get(kind).copied().unwrap_or(0.0);
            left < 0.0
        })
    }
}

/// A generator that depends on nothing but its arguments.
pub(super) fn rng_for(seed: u64, name: &str, number: u64) -> fastrand::Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut word = [0u8; 8];
    hasher.finalize_xof().fill(&mut word);
    fastrand::Rng::with_seed(u64::from_le_bytes(word))
}

/// Decides for each request of one system what goes wrong.
#[derive(Debug)]
pub struct Injector {
    system: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    on: bool,
    requests: u64,
    forced: VecDeque<Forced>,
    /// By the monotonic clock: until then everything is refused.
    refusing_until: Duration,
    counts: BTreeMap<FaultKind, u64>,
}

#[derive(Debug)]
struct Forced {
    /// How many more that match go well first.
    after: usize,
    kind: FaultKind,
    method: String,
    path: String,
}

impl Forced {
    fn matches(&self, method: &str, path: &str) -> bool {
        (self.method.is_empty() || self.method == method) && path.starts_with(&self.path)
    }
}

impl Injector {
    /// Decides for `system` by `plan`.
    pub fn new(system: &str, plan: FaultPlan) -> Self {
        Self {
            system: system.to_owned(),
            state: Mutex::new(State {
                plan,
                on: true,
                requests: 0,
                forced: VecDeque::new(),
                refusing_until: Duration::ZERO,
                counts: BTreeMap::new(),
            }),
        }
    }

    /// The plan.
    pub fn plan(&self) -> FaultPlan {
        lock(&self.state).plan.clone()
    }

    /// Lets the plan rest (`false`), so that things can settle, or goes on.
    pub fn switch(&self, on: bool) {
        lock(&self.state).on = on;
    }

    /// The next `times` requests with this method whose path begins so suffer `kind`, whatever the
    /// plan says; an empty text matches everything.
    pub fn force(&self, kind: FaultKind, method: &str, path: &str, times: usize) {
        for _ in 0..times {
            self.force_after(0, kind, method, path);
        }
    }

    /// Like [`Injector::force`], once, when so many of these requests went well.
    pub fn force_after(&self, after: usize, kind: FaultKind, method: &str, path: &str) {
        lock(&self.state).forced.push_back(Forced {
            after,
            kind,
            method: method.to_owned(),
            path: path.to_owned(),
        });
    }

    /// What was forced and has not happened yet does not happen any more.
    pub fn forget_forced(&self) {
        lock(&self.state).forced.clear();
    }

    /// What goes wrong with this request, if anything. Not counted until [`Injector::count`].
    /// `now` is the monotonic clock.
    pub(super) fn decide(&self, method: &str, path: &str, now: Duration) -> Option<FaultKind> {
        let mut state = lock(&self.state);
        state.requests += 1;
        let first = state
            .forced
            .iter()
            .position(|forced| forced.matches(method, path));
        if let Some(place) = first {
            if state.forced[place].after == 0 {
                return state.forced.remove(place).map(|forced| forced.kind);
            }
            state.forced[place].after -= 1;
            return None;
        }
        if !state.on {
            return None;
        }
        if now < state.refusing_until {
            return Some(FaultKind::Throttle);
        }
        let drawn = state.plan.draw(&self.system, state.requests);
        if drawn == Some(FaultKind::Throttle) {
            state.refusing_until = now + state.plan.retry_after;
        }
        drawn
    }

    /// Counts a fault that really was injected, and says how often that kind was before.
    pub(super) fn count(&self, kind: FaultKind) -> u64 {
        let mut state = lock(&self.state);
        let count = state.counts.entry(kind).or_default();
        *count += 1;
        *count - 1
    }

    /// How long this request is to be delayed: 10 % to 100 % of the plan's `slow`.
    pub(super) fn delay(&self) -> Duration {
        let state = lock(&self.state);
        let mut rng = rng_for(state.plan.seed, "slow", state.requests);
        state.plan.slow.mul_f64(0.1 + 0.9 * rng.f64())
    }

    /// How many faults of each kind were injected.
    pub fn counts(&self) -> BTreeMap<FaultKind, u64> {
        lock(&self.state).counts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn draws(plan: &FaultPlan, system: &str) -> Vec<Option<FaultKind>> {
        let injector = Injector::new(system, plan.clone());
        (0..2000)
            .map(|n| injector.decide("GET", "/orders", Duration::from_secs(10 * n)))
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let plan = FaultPlan::all(7, 20.0);
        assert_eq!(draws(&plan, "north"), draws(&plan, "north"));
        assert_ne!(draws(&plan, "north"), draws(&plan, "south"));
        assert_ne!(
            draws(&plan, "north"),
            draws(&FaultPlan::all(8, 20.0), "north")
        );
    }

    #[test]
    fn the_shares_are_about_as_planned() {
        let all = draws(&FaultPlan::all(7, 20.0), "erp");
        let faulty = all.iter().flatten().count();
        assert!((320..480).contains(&faulty), "{faulty} of 2000");
        for kind in FaultKind::ALL.into_iter().take(FaultKind::COMMON) {
            assert!(all.contains(&Some(kind)), "{kind:?} never happened");
        }
        assert!(
            draws(&FaultPlan::default(), "erp")
                .iter()
                .all(Option::is_none)
        );
    }

    #[test]
    fn a_forced_fault_waits_for_its_request() {
        let injector = Injector::new("erp", FaultPlan::default());
        injector.force(FaultKind::AcceptThenDrop, "POST", "/orders", 1);
        assert_eq!(injector.decide("GET", "/orders", NOW), None);
        assert_eq!(injector.decide("POST", "/parties", NOW), None);
        let hit = injector.decide("POST", "/orders/7/confirm", NOW);
        assert_eq!(hit, Some(FaultKind::AcceptThenDrop));
        assert_eq!(injector.decide("POST", "/orders", NOW), None);
    }

    #[test]
    fn a_drawn_refusal_lasts() {
        let plan = FaultPlan::only(FaultKind::Throttle, 1, 20.0);
        let injector = Injector::new("erp", plan);
        let at = |millis| Duration::from_millis(millis);
        let first = (0..100).find(|n| injector.decide("GET", "/", at(n * 5000)).is_some());
        let first = first.unwrap() * 5000;
        for later in [1, 500, 999] {
            let refused = injector.decide("GET", "/", at(first + later));
            assert_eq!(refused, Some(FaultKind::Throttle));
        }
        injector.switch(false);
        assert_eq!(injector.decide("GET", "/", at(first + 999)), None);
    }
}
