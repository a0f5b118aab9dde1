//! Decides when a guest has run for too long.
//!
//! What counts is processor time of this thread, because a worker that the system did not run for
//! a while must not cost a filter its life. Asking for it takes a system call, so it is asked only
//! once a callback has been running for two ticks, which nearly none ever does.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Where the system tells no processor time, a guest is stopped after this many times its budget by
/// the wall clock,
const WALL_FACTOR: u32 = 5;

/// but never sooner than this: a container that used up its quota stands still for most of a tenth
/// of a second, again and again, and that is not the guest's doing.
const WALL_LEAST: Duration = Duration::from_secs(1);

/// The longest a guest with this budget is inside one call, by the wall clock.
pub(crate) fn wall_limit(budget: Duration) -> Duration {
    WALL_LEAST.max(WALL_FACTOR * budget)
}

/// Ticks between two looks at the processor time; those before the first look count as used. Ticks
/// come late on a busy machine, so a look is not put off until the budget should be used up.
const LOOK_EVERY: u32 = 2;

/// Measures one callback.
#[derive(Debug)]
pub(crate) struct Clock {
    tick: Duration,
    budget: Duration,
    first_look: Option<FirstLook>,
}

#[derive(Clone, Copy, Debug)]
struct FirstLook {
    processor: Duration,
    wall: Instant,
}

/// What follows from a look at the clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Look again after this many ticks.
    GoOn(u64),
    /// The budget is used up.
    Over,
}

impl Clock {
    pub(crate) fn new(tick: Duration) -> Self {
        Self {
            tick,
            budget: Duration::ZERO,
            first_look: None,
        }
    }

    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// Begins a callback and returns the ticks until the first look.
    pub(crate) fn begin(&mut self, budget: Duration) -> u64 {
        self.budget = budget;
        self.first_look = None;
        u64::from(LOOK_EVERY)
    }

    /// Looks at the clock.
    pub(crate) fn look(&mut self) -> Verdict {
        self.look_at(processor_time(), Instant::now())
    }

    fn look_at(&mut self, processor: Duration, wall: Instant) -> Verdict {
        let left = self.budget.saturating_sub(LOOK_EVERY * self.tick);
        let Some(first) = self.first_look else {
            self.first_look = Some(FirstLook { processor, wall });
            return if left.is_zero() {
                Verdict::Over
            } else {
                Verdict::GoOn(self.ticks(left))
            };
        };
        let used = processor.saturating_sub(first.processor);
        if used >= left || wall.saturating_duration_since(first.wall) >= wall_limit(self.budget) {
            Verdict::Over
        } else {
            Verdict::GoOn(self.ticks(left.saturating_sub(used)))
        }
    }

    fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u64::try_from(ticks)
            .unwrap_or(u64::MAX)
            .clamp(1, u64::from(LOOK_EVERY))
    }
}

/// Processor time used by this thread; zero, and so never over budget, if the system tells none.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn clock() -> Clock {
        let mut clock = Clock::new(MS);
        assert_eq!(clock.begin(10 * MS), 2);
        clock
    }

    #[test]
    fn a_guest_is_over_once_it_used_its_processor_time() {
        let (mut clock, now) = (clock(), Instant::now());
        assert_eq!(clock.look_at(100 * MS, now), Verdict::GoOn(2));
        assert_eq!(clock.look_at(104 * MS, now + 8 * MS), Verdict::GoOn(2));
        assert_eq!(clock.look_at(107 * MS, now + 11 * MS), Verdict::GoOn(1));
        assert_eq!(clock.look_at(108 * MS, now + 12 * MS), Verdict::Over);
    }

    #[test]
    fn time_in_which_the_thread_did_not_run_does_not_count() {
        let (mut clock, now) = (clock(), Instant::now());
        assert_eq!(clock.look_at(MS, now), Verdict::GoOn(2));
        assert_eq!(clock.look_at(MS, now + 999 * MS), Verdict::GoOn(2));
        assert_eq!(clock.look_at(MS, now + 1000 * MS), Verdict::Over);
    }

    #[test]
    fn a_large_budget_is_not_cut_short_by_the_wall_clock() {
        let (mut clock, now) = (Clock::new(MS), Instant::now());
        clock.begin(1000 * MS);
        clock.look_at(MS, now);
        assert_eq!(clock.look_at(MS, now + 4999 * MS), Verdict::GoOn(2));
        assert_eq!(clock.look_at(MS, now + 5000 * MS), Verdict::Over);
    }

    #[test]
    fn a_budget_below_the_first_look_ends_there() {
        let mut clock = Clock::new(MS);
        clock.begin(MS);
        assert_eq!(clock.look_at(MS, Instant::now()), Verdict::Over);
    }

    #[test]
    fn each_callback_begins_anew() {
        let (mut clock, now) = (clock(), Instant::now());
        clock.look_at(MS, now);
        clock.begin(10 * MS);
        assert_eq!(clock.look_at(90 * MS, now + 80 * MS), Verdict::GoOn(2));
    }

    #[test]
    fn processor_time_rises_while_the_thread_works() {
        let before = processor_time();
        while processor_time().saturating_sub(before) < MS {}
    }
}
