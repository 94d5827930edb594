//! How fast a system may be asked, counted where the requests arrive.

use std::time::Duration;

/// Requests a second, and at once: what the configuration says, and a little more for rounding.
const PER_SECOND: f64 = 5.0;
const AT_ONCE: f64 = 10.0;
const ROUNDING: f64 = 0.05;

/// A bucket that a careful guest never empties.
#[derive(Debug)]
pub struct Quota {
    left: f64,
    at: Duration,
    /// Nobody may ask before this, said a reply that arrived.
    pub until: Duration,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            left: AT_ONCE,
            at: Duration::ZERO,
            until: Duration::ZERO,
        }
    }
}

impl Quota {
    /// A request is sent; what is wrong with that, if anything.
    pub fn take(&mut self, now: Duration) -> Option<String> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.left = (self.left + passed * PER_SECOND).min(AT_ONCE);
        self.at = now;
        self.left -= 1.0;
        if now < self.until {
            return Some(format!(
                "asked at {now:?} and told to wait until {:?}",
                self.until
            ));
        }
        (self.left < -ROUNDING).then(|| format!("asked faster than {PER_SECOND} a second"))
    }
}
