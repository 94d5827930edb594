//! What follows from a failed attempt. This table is the whole policy; nothing else decides.

use std::time::Duration;

use crate::fault::{Class, Effect, Fault};

/// What becomes of a delivery after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Again after the backoff curve; counts as an attempt.
    Backoff,
    /// Again after so long; does not count as an attempt.
    Wait(Duration),
    /// A person decides.
    Quarantine,
    /// Again once the connection works; the connection pauses with one alert.
    PauseConnection,
}

/// A failed attempt's consequence: what next, and whether to look before sending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consequence {
    /// What next.
    pub next: Next,
    /// Something may have happened over there: find before repeating.
    pub find_first: bool,
}

/// How long to wait when a sink throttles without saying how long. The limiter paces the connection
/// meanwhile, so this only has to be short enough to notice when it may go on.
const THROTTLE_WAIT: Duration = Duration::from_secs(2);

/// What follows from `fault` after `attempts` tries, the first of which was `age` ago.
///
/// `max_age`: how long a delivery is tried before a person must look (an alert goes with it).
pub fn consequence(fault: &Fault, age: Duration, max_age: Duration) -> Consequence {
    let next = match fault.class {
        Class::Retry if age >= max_age => Next::Quarantine,
        Class::Retry => match fault.retry_after {
            Some(wait) => Next::Wait(wait),
            None => Next::Backoff,
        },
        Class::Throttle => Next::Wait(fault.retry_after.unwrap_or(THROTTLE_WAIT)),
        Class::Reject | Class::Bug => Next::Quarantine,
        Class::Auth | Class::Config => Next::PauseConnection,
    };
    Consequence {
        next,
        find_first: fault.effect == Effect::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_table() {
        let of = |fault: Fault, age| consequence(&fault, age, HOUR).next;
        let new = Duration::ZERO;
        assert_eq!(of(Fault::retry("x", ""), new), Next::Backoff);
        assert_eq!(
            of(Fault::retry("x", "").wait(Some(HOUR)), new),
            Next::Wait(HOUR)
        );
        assert_eq!(of(Fault::retry("x", ""), HOUR), Next::Quarantine);
        assert_eq!(
            of(Fault::new(Class::Throttle, "x", ""), HOUR),
            Next::Wait(THROTTLE_WAIT)
        );
        assert_eq!(of(Fault::reject("x", ""), new), Next::Quarantine);
        assert_eq!(of(Fault::bug("x", ""), new), Next::Quarantine);
        assert_eq!(of(Fault::auth("x", ""), new), Next::PauseConnection);
        assert_eq!(of(Fault::config("x", ""), new), Next::PauseConnection);
    }

    /// Story 19: a lost reply is looked for, not sent again.
    #[test]
    fn an_unknown_outcome_is_looked_for_first() {
        let lost = Fault::retry("http_timeout", "").after_sending();
        assert!(consequence(&lost, Duration::ZERO, HOUR).find_first);
        assert!(!consequence(&Fault::retry("refused", ""), Duration::ZERO, HOUR).find_first);
    }
}
