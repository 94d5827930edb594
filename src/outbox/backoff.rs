//! How long to wait before the next try. Only the delay curve of the crate `backoff` is used: retries
//! themselves live in the outbox, where a crash does not lose them.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// An exponential curve with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second try.
    pub initial: Duration,
    /// Never longer than this.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(250),
            max: Duration::from_secs(300),
        }
    }
}

impl Backoff {
    /// The wait after `attempts` failed tries: doubled each time up to the maximum, then between half
    /// and the whole of it, as `random` (0 to `u32::MAX`) says. The randomness is the caller's, so that
    /// a simulation repeats exactly.
    pub fn delay(&self, attempts: u32, random: u32) -> Duration {
        let mut curve = ExponentialBackoff {
            current_interval: self.initial,
            initial_interval: self.initial,
            max_interval: self.max,
            multiplier: 2.0,
            randomization_factor: 0.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // After 40 doublings every curve stands at its maximum.
        let whole = (0..attempts.clamp(1, 40))
            .fold(self.initial, |wait, _| curve.next_backoff().unwrap_or(wait));
        whole / 2 + (whole / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_with_jitter_below() {
        let backoff = Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
        };
        let longest = |attempts| {
            let seconds = backoff.delay(attempts, u32::MAX).as_secs_f64();
            format!("{seconds:.0}")
        };
        assert_eq!(
            [1, 2, 3, 6, 7, 1000].map(longest),
            ["1", "2", "4", "32", "60", "60"]
        );
        assert_eq!(backoff.delay(3, 0), Duration::from_secs(2));
        assert_eq!(
            Backoff::default().delay(1000, u32::MAX),
            Backoff::default().max
        );
    }
}
