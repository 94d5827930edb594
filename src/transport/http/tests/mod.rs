//! Tests of the limiter on a virtual clock, and of the client against a scripted loopback server.

mod limiter;
mod network;
mod pacing;
mod secure;
mod server;
mod sharing;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::clock::{BoxFuture, Clock, Timestamp, later};

/// A clock that moves on only when everybody waits for it: forty seconds take milliseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct VirtualClock {
    state: Arc<Mutex<Virtual>>,
}

#[derive(Debug, Default)]
struct Virtual {
    elapsed: Duration,
    next: u64,
    /// By the moment they wait for, and a number of their own.
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl VirtualClock {
    pub(super) fn elapsed(&self) -> Duration {
        self.state.lock().unwrap().elapsed
    }

    /// Polls `future` to its end; whenever nobody can go on, moves to the next awaited moment.
    pub(super) fn run<F: Future>(&self, future: F) -> F::Output {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            if !flag.0.swap(false, Ordering::Relaxed) {
                self.step();
            }
        }
    }

    fn step(&self) {
        let mut state = self.state.lock().unwrap();
        let first = state.sleepers.keys().next().copied();
        let (now, _) = first.expect("everybody waits and nobody for the clock: a stall");
        state.elapsed = now;
        let later = state.sleepers.split_off(&(now, u64::MAX));
        for waker in std::mem::replace(&mut state.sleepers, later).into_values() {
            waker.wake();
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        later("2026-11-22T00:00:00Z".parse().unwrap(), self.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        Box::pin(Sleep {
            clock: self.clone(),
            key: (state.elapsed + duration, state.next),
        })
    }
}

struct Sleep {
    clock: VirtualClock,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.state.lock().unwrap();
        if state.elapsed >= self.key.0 {
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.state.lock().unwrap().sleepers.remove(&self.key);
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The machine's clock, for tests with a network.
#[derive(Debug)]
pub(super) struct RealClock(tokio::time::Instant);

impl RealClock {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        later("2026-11-22T00:00:00Z".parse().unwrap(), self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is a clock")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
