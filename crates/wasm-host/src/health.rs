//! Whether a plugin gets streams: what its failures lead to, on one worker.
//!
//! A pure state machine; time, and the draw for jitter, are passed in. One [`Health`] belongs to
//! one plugin on one worker, beside the slot of its VM.
//!
//! A trap costs the streams on its VM. The next stream gets a new VM, unless the last one was made
//! only just before: VMs are made at growing intervals, from [`HealthSettings::first_wait`] up to
//! [`HealthSettings::longest_wait`]. So a filter that trapped once is back at once, and one that
//! traps at every request costs little. This holds for every [`FailStrategy`]; Envoy's VM that
//! stays dead until the proxy is restarted is of use to nobody.
//!
//! Traps that come thick, or callbacks that use up their budget, open the circuit: the strategy
//! applies without a call into the guest, until a single stream on a new VM, the probe, has come
//! through. A plugin that has failed too often without ever settling is degraded: it is still
//! tried, at the longest interval, and somebody should be told.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::trap::Reason;

/// What becomes of a stream when its plugin cannot run.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum FailStrategy {
    /// It fails.
    #[default]
    Close,
    /// It goes on without the plugin.
    Open,
    /// It fails, as with `Close`; the name says that a new VM is made, which happens in any case.
    Reload,
}

impl FailStrategy {
    /// Returns whether streams go on without the plugin.
    pub fn bypasses(self) -> bool {
        self == Self::Open
    }
}

/// How much failing is too much.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthSettings {
    /// The least time between two VMs, after the first failure; doubles with each that follows.
    pub first_wait: Duration,
    /// The most time between two VMs.
    pub longest_wait: Duration,
    /// A VM that lived so long has settled, and earlier failures are forgotten.
    pub settled: Duration,
    /// The time within which traps are counted.
    pub window: Duration,
    /// As many traps within the window open the circuit.
    pub traps: usize,
    /// As many callbacks over their budget within the window open the circuit.
    pub budget_hits: usize,
    /// How long an open circuit waits before the first probe; doubles with each that fails.
    pub open: Duration,
    /// As many failures in a row, without settling between them, make the plugin degraded.
    pub crash_budget: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(1),
            settled: Duration::from_mins(1),
            window: Duration::from_secs(10),
            traps: 5,
            budget_hits: 3,
            open: Duration::from_secs(10),
            crash_budget: 10,
        }
    }
}

/// What is to be done for a new stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Run it on the VM there is.
    Run,
    /// Make a VM, call [`Health::started`], and run the stream on it.
    Start,
    /// As `Start`; this stream decides whether others follow. Call [`Health::probe_ok`] when it
    /// has ended, or [`Health::probe_gone`] when it was broken off.
    Probe,
    /// Do not call the guest; the plugin's [`FailStrategy`] decides. With the reason.
    Skip(String),
}

/// Names one VM in the life of a plugin on a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life(u64);

/// How a plugin is, for metrics and status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HealthState {
    /// It runs, or will with the next stream.
    Healthy,
    /// It failed, and a new VM is not made before this time.
    Restarting {
        /// When the next stream gets a VM.
        until: Instant,
    },
    /// It failed too often; a probe decides.
    Open {
        /// When a probe is due; in the past while one is under way.
        until: Instant,
        /// What happened.
        why: String,
    },
    /// It has not settled for too many failures in a row, and is tried rarely.
    Degraded {
        /// When a probe is due; in the past while one is under way.
        until: Instant,
        /// What happened.
        why: String,
    },
}

impl HealthState {
    /// Returns a short name in snake case, for metric labels.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Restarting { .. } => "restarting",
            Self::Open { .. } => "open",
            Self::Degraded { .. } => "degraded",
        }
    }
}

/// The state of one plugin on one worker.
#[derive(Debug)]
pub struct Health {
    settings: HealthSettings,
    mode: Mode,
    /// The VM that runs or ran last, and when it was made.
    life: u64,
    made: Option<Instant>,
    /// Failures in a row without settling.
    failures: u32,
    /// Probes in a row that failed.
    failed_probes: u32,
    /// Traps of late: when, and whether a budget was used up.
    traps: VecDeque<(Instant, bool)>,
}

#[derive(Debug)]
enum Mode {
    /// No VM yet, or none any more and nothing to wait for.
    Idle,
    Running,
    Waiting {
        until: Instant,
        why: String,
    },
    Open {
        until: Instant,
        why: String,
        /// Since when a probe is under way.
        probe: Option<Instant>,
    },
}

impl Health {
    /// Begins without a VM.
    pub fn new(settings: HealthSettings) -> Self {
        Self {
            settings,
            mode: Mode::Idle,
            life: 0,
            made: None,
            failures: 0,
            failed_probes: 0,
            traps: VecDeque::new(),
        }
    }

    /// Decides about a new stream.
    pub fn admit(&mut self, now: Instant) -> Admission {
        let patience = self.settings.longest_wait;
        match &mut self.mode {
            Mode::Running => Admission::Run,
            Mode::Idle => Admission::Start,
            Mode::Waiting { until, .. } if now >= *until => Admission::Start,
            Mode::Waiting { why, .. } => {
                Admission::Skip(format!("it failed and is started again soon: {why}"))
            }
            Mode::Open { until, probe, why } => {
                // A probe that never ends must not keep the circuit open for ever.
                let tried = probe.is_some_and(|since| now < since + patience);
                if tried || now < *until {
                    return Admission::Skip(format!("it failed too often: {why}"));
                }
                *probe = Some(now);
                Admission::Probe
            }
        }
    }

    /// A VM was made. Failures are reported under the name this returns.
    pub fn started(&mut self, now: Instant) -> Life {
        self.life += 1;
        self.made = Some(now);
        if !matches!(self.mode, Mode::Open { .. }) {
            self.mode = Mode::Running;
        }
        Life(self.life)
    }

    /// A VM is dead. Every stream on it may say so; only the first counts. `draw` is uniform from 0
    /// to 1, for the jitter.
    ///
    /// Returns the new state if it changed anything.
    pub fn trapped(
        &mut self,
        now: Instant,
        life: Life,
        reason: &Reason,
        draw: f64,
    ) -> Option<HealthState> {
        let alive = matches!(self.mode, Mode::Running | Mode::Open { probe: Some(_), .. });
        if life.0 != self.life || !alive {
            return None;
        }
        let over_budget = matches!(reason, Reason::Deadline { .. });
        self.traps.push_back((now, over_budget));
        self.failed(now, &reason.to_string(), draw);
        Some(self.state(now))
    }

    /// A VM could not be made. Returns the new state.
    pub fn start_failed(&mut self, now: Instant, why: &str, draw: f64) -> HealthState {
        self.life += 1;
        self.made = Some(now);
        self.failed(now, why, draw);
        self.state(now)
    }

    /// The probe came through: others may follow on the same VM.
    pub fn probe_ok(&mut self, life: Life) {
        if life.0 == self.life && matches!(self.mode, Mode::Open { probe: Some(_), .. }) {
            self.mode = Mode::Running;
            self.failed_probes = 0;
            self.traps.clear();
        }
    }

    /// The probe was broken off from outside: another one is due. The VM goes.
    pub fn probe_gone(&mut self, life: Life) {
        if life.0 == self.life
            && let Mode::Open { probe, .. } = &mut self.mode
        {
            *probe = None;
        }
    }

    /// The VM was let go without a failure, for example because nothing used it.
    pub fn let_go(&mut self, life: Life) {
        if life.0 == self.life && matches!(self.mode, Mode::Running) {
            self.mode = Mode::Idle;
        }
    }

    /// Returns how the plugin is.
    pub fn state(&self, now: Instant) -> HealthState {
        match &self.mode {
            Mode::Idle | Mode::Running => HealthState::Healthy,
            Mode::Waiting { until, .. } if now >= *until => HealthState::Healthy,
            Mode::Waiting { until, .. } => HealthState::Restarting { until: *until },
            Mode::Open { until, why, .. } => {
                let (until, why) = (*until, why.clone());
                if self.failures >= self.settings.crash_budget {
                    HealthState::Degraded { until, why }
                } else {
                    HealthState::Open { until, why }
                }
            }
        }
    }

    fn failed(&mut self, now: Instant, why: &str, draw: f64) {
        let settings = &self.settings;
        let made = self.made.unwrap_or(now);
        if now.saturating_duration_since(made) >= settings.settled {
            self.failures = 0;
        }
        let before = self.failures;
        self.failures = before.saturating_add(1);
        let window = settings.window;
        self.traps
            .retain(|(at, _)| now.saturating_duration_since(*at) < window);
        let hits = self.traps.iter().filter(|(_, hit)| *hit).count();
        let degraded = self.failures >= settings.crash_budget;
        let again = matches!(self.mode, Mode::Open { .. });
        if again {
            self.failed_probes = self.failed_probes.saturating_add(1);
        }
        let why = why.to_owned();
        let opens = self.traps.len() >= settings.traps || hits >= settings.budget_hits;
        if again || opens || degraded {
            let wait = if degraded {
                jittered(settings.longest_wait, 0, settings.longest_wait, draw)
            } else {
                let probes = self.failed_probes;
                jittered(settings.open, probes, settings.longest_wait, draw)
            };
            self.mode = Mode::Open {
                until: now + wait,
                why,
                probe: None,
            };
        } else {
            let wait = jittered(settings.first_wait, before, settings.longest_wait, draw);
            self.mode = Mode::Waiting {
                until: (made + wait).max(now),
                why,
            };
        }
    }
}

/// Doubles a wait so many times, adds up to half of it, and stays within the longest.
fn jittered(first: Duration, doublings: u32, longest: Duration, draw: f64) -> Duration {
    let wait = first
        .saturating_mul(2_u32.saturating_pow(doublings.min(20)))
        .min(longest);
    let draw = if draw.is_finite() {
        draw.clamp(0.0, 1.0)
    } else {
        0.0
    };
    wait.mul_f64(1.0 + draw / 2.0).min(longest)
}

#[cfg(test)]
mod tests;
