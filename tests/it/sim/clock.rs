//! Virtual time: it stands still while anything can go on, and then moves to whoever waits for it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossdock::clock::{BoxFuture, Clock, Timestamp, later};

/// After so many turns in which nobody asked for the time, nobody has anything to do. Too few would let
/// time pass while somebody computes, which is what a slow machine does.
const IDLE_TURNS: u32 = 48;

/// A clock that a driver moves. Clones show the same time.
#[derive(Debug, Clone)]
pub struct SimClock {
    began: Timestamp,
    state: Arc<Mutex<State>>,
    asked: Arc<AtomicU64>,
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
            asked: Arc::default(),
        }
    }

    /// Moves time on whenever nobody can go on without it; never ends.
    pub async fn drive(&self) {
        loop {
            let mut idle = 0;
            let mut seen = self.asked.load(Ordering::Relaxed);
            while idle < IDLE_TURNS {
                tokio::task::yield_now().await;
                let asked = self.asked.load(Ordering::Relaxed);
                idle = if asked == seen { idle + 1 } else { 0 };
                seen = asked;
            }
            self.wake_next();
        }
    }

    /// To the next moment for which somebody waits.
    fn wake_next(&self) {
        let mut state = self.state.lock().unwrap();
        let Some((&(at, _), _)) = state.waiting.first_key_value() else {
            return;
        };
        state.elapsed = state.elapsed.max(at);
        let later = state.waiting.split_off(&(at, u64::MAX));
        let due = std::mem::replace(&mut state.waiting, later);
        drop(state);
        for waker in due.into_values() {
            waker.wake();
        }
    }

    fn elapsed(&self) -> Duration {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.state.lock().unwrap().elapsed
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
        let until = self.elapsed() + duration;
        Box::pin(Sleep {
            clock: self.clone(),
            until,
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
            self.clock.asked.fetch_add(1, Ordering::Relaxed);
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
            self.clock.state.lock().unwrap().waiting.remove(&ticket);
        }
    }
}
