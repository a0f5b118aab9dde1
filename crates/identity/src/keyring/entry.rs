//! One identity's way from "wanted" to "renewed": pure but for telling watchers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use super::State;
use crate::error::with_causes;
use crate::{Certified, Error};

#[cfg(test)]
mod tests;

/// Wait after the first failure; doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest wait between attempts.
const LAST_RETRY: Duration = Duration::from_secs(150);
/// The longest wait once somebody needs the certificate: what made it fail may be over, and a refused
/// connection is worse than one more request.
const NEEDED_RETRY: Duration = Duration::from_secs(1);
/// Share by which a wait may be shorter or longer, so that a fleet does not retry in step.
const RETRY_JITTER: f64 = 0.2;
/// Share of its lifetime after which a certificate is renewed.
const RENEW_AT: f64 = 0.5;
/// Share by which that moment may be earlier or later.
const RENEW_JITTER: f64 = 0.05;
/// The least time between two renewals, whatever the authority's clock or lifetimes.
const LEAST_RENEWAL: Duration = Duration::from_secs(1);

/// What a watcher of a forgotten identity is told.
pub(super) const FORGOTTEN: &str = "no workload here has this identity any more";

/// How pressing a request is; the greater goes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Urgency {
    /// A certificate that is still valid is renewed.
    Renewal,
    /// A workload with this identity was announced.
    Announced,
    /// A connection waits.
    Awaited,
}

/// What happens next to an identity.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// In line for the authority, since turn `turn`.
    Queued { turn: u64 },
    /// The authority has been asked, as turn `turn`.
    Fetching { turn: u64 },
    /// Renewed at this time of the wall clock, which may jump.
    Renew(SystemTime),
    /// Asked again at this time, after a failure at that.
    Retry { at: Instant, failed: Instant },
}

/// Both clocks at one moment: the wall's for certificates, the steady one for waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: SystemTime,
    pub(super) steady: Instant,
}

/// One identity.
pub(super) struct Entry {
    state: watch::Sender<State>,
    urgency: Urgency,
    step: Step,
    failures: u32,
}

impl Entry {
    pub(super) fn new(turn: u64) -> Self {
        Self {
            state: watch::Sender::new(State::Initializing),
            urgency: Urgency::Announced,
            step: Step::Queued { turn },
            failures: 0,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Moves the entry up the line, or the next attempt closer if there is no certificate; returns
    /// whether there is something new to look at.
    pub(super) fn press(&mut self, urgency: Urgency) -> bool {
        self.urgency = self.urgency.max(urgency);
        let lacks = !matches!(*self.state.borrow(), State::Available(_));
        match &mut self.step {
            Step::Queued { .. } => true,
            Step::Retry { at, failed } if lacks => {
                let sooner = (*failed + NEEDED_RETRY).min(*at);
                std::mem::replace(at, sooner) != sooner
            }
            Step::Retry { .. } | Step::Fetching { .. } | Step::Renew(_) => false,
        }
    }

    /// The entry's place in the line, if it stands there: the greatest goes first.
    pub(super) fn place(&self) -> Option<(Urgency, std::cmp::Reverse<u64>)> {
        match self.step {
            Step::Queued { turn } => Some((self.urgency, std::cmp::Reverse(turn))),
            _ => None,
        }
    }

    /// The authority is being asked; the turn tells its answer from others'.
    pub(super) fn start(&mut self) -> Option<u64> {
        let Step::Queued { turn } = self.step else {
            return None;
        };
        self.step = Step::Fetching { turn };
        Some(turn)
    }

    pub(super) fn is_fetching(&self, asked: u64) -> bool {
        matches!(self.step, Step::Fetching { turn } if turn == asked)
    }

    /// Takes the authority's certificate; `draw` is uniform in `[0, 1)`.
    pub(super) fn succeed(&mut self, certified: Certified, now: Now, draw: f64) {
        let renewal = renew_at(certified.not_before(), certified.not_after(), draw);
        self.failures = 0;
        self.urgency = Urgency::Renewal;
        self.step = Step::Renew(renewal.max(now.wall + LEAST_RENEWAL));
        self.state
            .send_replace(State::Available(Arc::new(certified)));
    }

    /// Takes note of a failure and returns when to ask again; `draw` is uniform in `[0, 1)`.
    ///
    /// A certificate that is still valid stays.
    pub(super) fn fail(&mut self, error: &Error, now: Now, draw: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let mut wait = retry_after(self.failures, draw);
        match self.state() {
            State::Available(certified) => {
                self.urgency = Urgency::Renewal;
                let left = certified
                    .not_after()
                    .duration_since(now.wall)
                    .unwrap_or_default();
                wait = wait.min(left);
            }
            State::Initializing | State::Unavailable(_) => {
                self.urgency = Urgency::Announced;
                self.state
                    .send_replace(State::Unavailable(with_causes(error).into()));
            }
        }
        self.step = Step::Retry {
            at: now.steady + wait,
            failed: now.steady,
        };
        wait
    }

    /// Brings the entry up to date; returns how long until it has to be looked at again.
    pub(super) fn advance(&mut self, now: Now, turns: &mut u64) -> Option<Duration> {
        let expires = self.expire(now);
        let due = match self.step {
            Step::Queued { .. } | Step::Fetching { .. } => return expires,
            Step::Renew(at) => at.duration_since(now.wall).unwrap_or_default(),
            Step::Retry { at, .. } => at.saturating_duration_since(now.steady),
        };
        if due.is_zero() {
            *turns += 1;
            self.step = Step::Queued { turn: *turns };
            return expires;
        }
        Some(expires.map_or(due, |expires| expires.min(due)))
    }

    /// Withdraws a certificate that has run out; returns how long the present one has left.
    fn expire(&mut self, now: Now) -> Option<Duration> {
        let State::Available(certified) = self.state() else {
            return None;
        };
        let left = certified
            .not_after()
            .duration_since(now.wall)
            .unwrap_or_default();
        if !left.is_zero() {
            return Some(left);
        }
        self.urgency = self.urgency.max(Urgency::Announced);
        // What failed is in the log; whoever connects now needs to hear that it went on too long.
        self.state.send_replace(State::Unavailable(
            "the certificate expired and could not be renewed".into(),
        ));
        tracing::error!(identity = %certified.id(), "certificate expired before it was renewed");
        None
    }

    /// Leaves nothing of the certificate with those who still watch.
    pub(super) fn retire(self) {
        self.state
            .send_replace(State::Unavailable(FORGOTTEN.into()));
    }
}

/// The moment a certificate is renewed: at half its life, give or take.
fn renew_at(not_before: SystemTime, not_after: SystemTime, draw: f64) -> SystemTime {
    let lifetime = not_after.duration_since(not_before).unwrap_or_default();
    not_before + lifetime.mul_f64(RENEW_AT * around_one(RENEW_JITTER, draw))
}

/// The wait after the `failures`th failure in a row.
fn retry_after(failures: u32, draw: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_RETRY * (1 << doublings))
        .min(LAST_RETRY)
        .mul_f64(around_one(RETRY_JITTER, draw))
}

/// Spreads `draw` over `1 ± jitter`.
fn around_one(jitter: f64, draw: f64) -> f64 {
    1.0 - jitter + 2.0 * jitter * draw
}
