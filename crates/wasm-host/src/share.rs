//! How much of a thread a plugin uses, as against what it may use while others want to run.
//!
//! The budget of one callback bounds one wait of everybody else. A plugin that stays just under it
//! and is called again and again fills the thread all the same; this tells. A bucket fills with the
//! time the plugin runs and leaks at half the speed of the clock: a plugin that runs for less than
//! half of the time never fills it. One that does is in debt until the bucket is empty, and whoever
//! schedules it can have its calls wait for a while. Pure; time is passed in.

use std::time::{Duration, Instant};

/// A plugin's use of one thread.
#[derive(Clone, Debug)]
pub struct Share {
    burst: Duration,
    level: Duration,
    /// When it last leaked.
    at: Instant,
    in_debt: bool,
}

impl Share {
    /// A plugin can owe so many bursts at most: debt is soon forgotten.
    const MOST: u32 = 50;

    /// The bucket leaks this much slower than time passes.
    const LEAK: u32 = 2;

    /// Begins with an empty bucket.
    ///
    /// * `burst` — what the plugin may use at once before it is in debt.
    pub fn new(now: Instant, burst: Duration) -> Self {
        Self {
            burst,
            level: Duration::ZERO,
            at: now,
            in_debt: false,
        }
    }

    /// The plugin has run for so long, until now. Returns whether it is in debt.
    pub fn spent(&mut self, now: Instant, time: Duration) -> bool {
        self.leak(now);
        self.level = (self.level + time).min(Self::MOST * self.burst);
        self.in_debt |= self.level > self.burst;
        self.in_debt
    }

    /// Returns whether the plugin has used more than its share and not yet made up for it.
    pub fn is_in_debt(&mut self, now: Instant) -> bool {
        if self.in_debt {
            self.leak(now);
            self.in_debt = !self.level.is_zero();
        }
        self.in_debt
    }

    fn leak(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.level = self.level.saturating_sub(passed / Self::LEAK);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_plugin_that_runs_less_than_half_of_the_time_is_never_in_debt() {
        let mut now = Instant::now();
        let mut share = Share::new(now, 2 * MS);
        for _ in 0..10_000 {
            now += 2 * MS + MS / 10;
            assert!(!share.spent(now, MS));
        }
        assert!(!share.is_in_debt(now));
    }

    #[test]
    fn one_that_runs_more_is_in_debt_until_it_has_rested() {
        let mut now = Instant::now();
        let mut share = Share::new(now, 2 * MS);
        now += 8 * MS;
        assert!(share.spent(now, 8 * MS));
        assert!(share.is_in_debt(now + 15 * MS));
        assert!(!share.is_in_debt(now + 16 * MS));
        assert!(!share.is_in_debt(now + 17 * MS));
    }

    #[test]
    fn short_calls_one_after_the_other_count_like_a_long_one() {
        let mut now = Instant::now();
        let mut share = Share::new(now, 2 * MS);
        let calls = (1..100).find(|_| {
            now += MS / 10;
            share.spent(now, MS / 10)
        });
        // Half of what each one adds leaks during the next: the burst lasts for 4 ms.
        assert_eq!(calls, Some(40));
    }

    #[test]
    fn the_worst_debt_is_made_up_for_soon() {
        let now = Instant::now();
        let mut share = Share::new(now, 2 * MS);
        assert!(share.spent(now, Duration::from_mins(1)));
        assert!(!share.is_in_debt(now + 200 * MS));
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing() {
        let now = Instant::now() + 10 * MS;
        let mut share = Share::new(now, 2 * MS);
        assert!(share.spent(now, 3 * MS));
        assert!(share.is_in_debt(now.checked_sub(5 * MS).unwrap()));
    }
}
