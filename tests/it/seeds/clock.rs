//! Virtual time: it stands still while anything can go on, and then moves to whoever is next.
//!
//! The Tokio runtime of a life calls [`SimClock::on_idle`] when not a single task is ready. Nothing is guessed
//! and nothing is waited for in real time: an hour of nothing costs nothing.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossdock::clock::{BoxFuture, Clock, Timestamp, later};

/// A clock that moves when nobody can go on without it. Clones show the same time.
#[derive(Debug, Clone)]
pub struct SimClock {
    began: Timestamp,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    elapsed: Duration,
    next: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

impl SimClock {
    pub fn at(began: Timestamp) -> Self {
        Self {
            began,
            state: Arc::default(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.state().elapsed
    }

    /// When the first of those who wait is due.
    pub fn next_due(&self) -> Option<Duration> {
        let state = self.state();
        state.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves time on to `at`, never back, and wakes one of those who are due then; whether there was one.
    pub fn move_to(&self, at: Duration) -> bool {
        let mut state = self.state();
        state.elapsed = state.elapsed.max(at);
        let is_due = |(due, _): &(Duration, u64)| *due <= state.elapsed;
        let first = state.waiting.first_key_value().map(|(key, _)| *key);
        let Some(waker) = first
            .filter(is_due)
            .and_then(|key| state.waiting.remove(&key))
        else {
            return false;
        };
        drop(state);
        waker.wake();
        true
    }

    /// Moves time on to `at`, never back, and wakes nobody.
    pub fn pass(&self, at: Duration) {
        let mut state = self.state();
        state.elapsed = state.elapsed.max(at);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        later(self.began, self.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(Sleep {
            clock: self.clone(),
            until: self.elapsed().saturating_add(duration),
            ticket: None,
        })
    }
}

struct Sleep {
    clock: SimClock,
    until: Duration,
    ticket: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.until;
        let state = Arc::clone(&self.clock.state);
        let mut state = state.lock().unwrap();
        if state.elapsed >= until {
            return Poll::Ready(());
        }
        let ticket = *self.ticket.get_or_insert_with(|| {
            state.next += 1;
            (until, state.next)
        });
        state.waiting.insert(ticket, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.clock.state().waiting.remove(&ticket);
        }
    }
}
