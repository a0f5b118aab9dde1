//! How long to wait before the next stream.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

#[cfg(test)]
mod tests;

/// Where the wait starts, and where it returns to once a stream has worked.
const INITIAL: Duration = Duration::from_millis(10);

/// Longest wait. Both from istio/ztunnel `src/xds/client.rs`.
pub(super) const CAP: Duration = Duration::from_secs(15);

/// Draws a number in `[0, 1)`.
pub type Jitter = Box<dyn FnMut() -> f64 + Send>;

/// Exponential waiting with full jitter: each wait is uniform between nothing and a bound that
/// doubles up to 15 s.
///
/// Full jitter, unlike ztunnel: a thousand proxies that lost one server must not return together.
pub struct Backoff {
    bound: Duration,
    jitter: Jitter,
}

impl Backoff {
    /// Starts at 10 ms; `jitter` is [`system_jitter`] outside tests.
    pub fn new(jitter: Jitter) -> Self {
        Self {
            bound: INITIAL,
            jitter,
        }
    }

    /// Forgets earlier failures.
    pub(super) fn reset(&mut self) {
        self.bound = INITIAL;
    }

    /// The wait before the next attempt; doubles the bound of the one after it.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.bound.mul_f64((self.jitter)().clamp(0.0, 1.0));
        self.bound = (self.bound * 2).min(CAP);
        wait
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

/// Jitter from the keys the operating system gives the standard library's hasher; not for secrets.
pub fn system_jitter() -> Jitter {
    Box::new(|| {
        let draw = RandomState::new().build_hasher().finish() >> 32;
        // 32 bits are exact in a double.
        f64::from(u32::try_from(draw).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    })
}
