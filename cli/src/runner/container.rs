//! One container of a pod: its process is started, watched, ended, and started again.

use std::{
    collections::BTreeSet, future::pending, os::unix::process::ExitStatusExt, path::PathBuf,
    process::ExitStatus, rc::Rc, sync::Arc, time::Duration,
};

use jiff::Timestamp;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use nlink::netlink::namespace::{Netns, Overlay};
use tokio::{
    process::Child,
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    listening,
    pod::{ContainerState, PodState, Terminated, Waiting},
    probe::Probe,
    process::Invocation,
};
use crate::world::services::Transport;

/// The wait before a second restart; it doubles from there.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// A process that ran so long gets a fresh start.
const BACKOFF_FORGET: Duration = Duration::from_mins(1);
/// How long a process gets to end that a probe found unwell.
const UNHEALTHY_GRACE: Duration = Duration::from_secs(5);
/// How often an unready container is asked, whatever its probe's period: the period is for those
/// that serve.
const UNREADY_PERIOD: Duration = Duration::from_secs(1);
/// The first wait of one that has just started; it doubles up to [`UNREADY_PERIOD`].
const UNREADY_FIRST: Duration = Duration::from_millis(20);
/// How often the list of sockets is looked at.
const LISTEN_POLL: Duration = Duration::from_millis(50);
/// How long a program may take to listen on its Services' ports before that is worth a word.
const LISTEN_PATIENCE: Duration = Duration::from_secs(10);

/// What all containers of a pod share.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) netns: Netns,
    pub(super) state: Reported,
    /// The ports that Services send to this pod.
    pub(super) ports: watch::Receiver<BTreeSet<(Transport, u16)>>,
    /// Set once when the pod is to end: how long it gets.
    pub(super) stop: watch::Receiver<Option<Duration>>,
}

/// A pod's state, whose changes the runner is told of.
#[derive(Debug)]
pub(super) struct Reported {
    state: watch::Sender<PodState>,
    changed: Arc<Notify>,
}

impl Reported {
    pub(super) fn new(state: PodState, changed: Arc<Notify>) -> (Self, watch::Receiver<PodState>) {
        let (state, receiver) = watch::channel(state);
        (Self { state, changed }, receiver)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut PodState)) {
        let differs = self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
        if differs {
            self.changed.notify_one();
        }
    }

    pub(super) fn borrow(&self) -> watch::Ref<'_, PodState> {
        self.state.borrow()
    }
}

impl Surroundings {
    /// Resolves when the pod is to end.
    pub(super) async fn stopped(&self) -> Duration {
        let mut stop = self.stop.clone();
        match stop.wait_for(Option::is_some).await.map(|grace| *grace) {
            Ok(Some(grace)) => grace,
            // The runner itself is ending.
            Ok(None) | Err(_) => Duration::ZERO,
        }
    }

    /// How long a process gets that is ended because it is not well.
    fn grace(&self) -> Duration {
        self.stop.borrow().unwrap_or(UNHEALTHY_GRACE)
    }
}

/// A container and what it needs to run.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) index: usize,
    pub(super) invocation: Invocation,
    pub(super) log: PathBuf,
    pub(super) startup: Option<Probe>,
    pub(super) readiness: Option<Probe>,
    pub(super) liveness: Option<Probe>,
}

/// How a process came to its end.
enum End {
    Exited(ExitStatus),
    Unhealthy(String),
    Stopped(Duration),
}

impl Container {
    /// Keeps the container running until its pod is to end; then its process is gone.
    pub(super) async fn supervise(&self, pod: &Rc<Surroundings>) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let why = match self.spawn(pod) {
                Ok(child) => match self.run(pod, child).await {
                    Some(why) => Waiting {
                        reason: "CrashLoopBackOff",
                        message: why,
                    },
                    None => return,
                },
                Err(e) => Waiting {
                    reason: "CreateContainerError",
                    message: e,
                },
            };
            let wait = backoff.next(began.elapsed());
            self.update(pod, |state| state.waiting = Some(why));
            tokio::select! {
                () = sleep(wait) => self.update(pod, |state| state.restarts += 1),
                _ = pod.stopped() => return,
            }
        }
    }

    fn update(&self, pod: &Surroundings, change: impl FnOnce(&mut ContainerState)) {
        pod.state.update(|state| {
            if let Some(container) = state.containers.get_mut(self.index) {
                change(container);
            }
        });
    }

    fn spawn(&self, pod: &Surroundings) -> Result<Child, String> {
        let named =
            |e: &dyn std::fmt::Display| format!("{}: {e}", self.invocation.program.display());
        let command = self.invocation.command(&self.log).map_err(|e| named(&e))?;
        let command = pod.netns.command(command).map_err(|e| named(&e))?;
        command
            .etc_overlay(Overlay::Strict)
            .spawn_tokio()
            .map_err(|e| named(&e))
    }

    /// Watches a process to its end. Returns why it ended, or `None` when the pod is to end.
    async fn run(&self, pod: &Rc<Surroundings>, mut child: Child) -> Option<String> {
        let pid = child.id();
        let started_at = Timestamp::now();
        self.update(pod, |state| {
            *state = ContainerState {
                pid,
                started_at: Some(started_at),
                waiting: None,
                started: false,
                ..state.clone()
            };
        });
        let end = tokio::select! {
            status = child.wait() => status.map_or_else(|e| End::Unhealthy(e.to_string()), End::Exited),
            why = self.watch(pod) => End::Unhealthy(why),
            grace = pod.stopped() => End::Stopped(grace),
        };
        self.update(pod, |state| state.ready = false);
        let (status, why) = match end {
            End::Exited(status) => (Some(status), Some(describe(status))),
            End::Unhealthy(why) => (terminate(&mut child, pid, pod.grace()).await, Some(why)),
            End::Stopped(grace) => (terminate(&mut child, pid, grace).await, None),
        };
        // What the program itself started goes with it.
        if let Some(pid) = pid {
            kill_group(pid);
        }
        let terminated = Terminated {
            exit_code: status.map_or(-1, |status| {
                status.code().unwrap_or(128 + status.signal().unwrap_or(0))
            }),
            signal: status.and_then(|status| status.signal()),
            message: why.clone().unwrap_or_default(),
            started_at,
            finished_at: Timestamp::now(),
        };
        self.update(pod, |state| {
            state.pid = None;
            state.last = Some(terminated);
        });
        why
    }

    /// Keeps `started` and `ready` true to what the probes say. Returns, with the reason, when
    /// the process must be ended.
    async fn watch(&self, pod: &Rc<Surroundings>) -> String {
        if let Some(probe) = &self.startup
            && let Err(why) = self.wait_for_startup(pod, probe).await
        {
            return why;
        }
        self.update(pod, |state| state.started = true);
        let readiness = async {
            self.watch_readiness(pod).await;
            pending::<()>().await;
        };
        tokio::select! {
            why = self.watch_liveness(pod) => why,
            () = readiness => String::new(),
        }
    }

    async fn wait_for_startup(&self, pod: &Surroundings, probe: &Probe) -> Result<(), String> {
        sleep(probe.initial_delay).await;
        let mut failures = 0;
        loop {
            match probe.ask(&pod.netns, &self.invocation).await {
                Ok(()) => return Ok(()),
                Err(why) => failures += u32::from(!why.is_empty()),
            }
            if failures >= probe.failures {
                return Err(format!("startup probe failed {failures} times"));
            }
            sleep(probe.period.min(UNREADY_PERIOD)).await;
        }
    }

    async fn watch_liveness(&self, pod: &Surroundings) -> String {
        let Some(probe) = &self.liveness else {
            return pending().await;
        };
        sleep(probe.initial_delay).await;
        let mut failures = 0;
        loop {
            match probe.ask(&pod.netns, &self.invocation).await {
                Ok(()) => failures = 0,
                Err(why) => {
                    failures += 1;
                    if failures >= probe.failures {
                        return format!("liveness probe failed: {why}");
                    }
                }
            }
            sleep(probe.period).await;
        }
    }

    async fn watch_readiness(&self, pod: &Rc<Surroundings>) {
        let Some(probe) = &self.readiness else {
            wait_until_listening(pod).await;
            self.update(pod, |state| state.ready = true);
            return;
        };
        sleep(probe.initial_delay).await;
        let (mut ready, mut in_a_row) = (false, 0);
        let mut unready_wait = UNREADY_FIRST;
        loop {
            let answer = probe.ask(&pod.netns, &self.invocation).await.is_ok();
            in_a_row = if answer == ready { 0 } else { in_a_row + 1 };
            let enough = if ready {
                probe.failures
            } else {
                probe.successes
            };
            if in_a_row >= enough {
                (ready, in_a_row) = (answer, 0);
                self.update(pod, |state| state.ready = ready);
            }
            if ready {
                unready_wait = UNREADY_FIRST;
                sleep(probe.period).await;
            } else {
                sleep(probe.period.min(unready_wait)).await;
                unready_wait = (unready_wait * 2).min(UNREADY_PERIOD);
            }
        }
    }
}

/// Waits until sockets in the pod take connections on every port that a Service sends to it, and
/// names the silent ones when that takes long.
async fn wait_until_listening(pod: &Rc<Surroundings>) {
    let deadline = Instant::now() + LISTEN_PATIENCE;
    loop {
        let wanted = pod.ports.borrow().clone();
        let open = listening::ports(&pod.netns).unwrap_or_default();
        let silent: Vec<u16> = wanted.difference(&open).map(|(_, port)| *port).collect();
        if silent.is_empty() || Instant::now() >= deadline {
            pod.state
                .update(|state| state.silent_ports.clone_from(&silent));
        }
        if silent.is_empty() {
            return;
        }
        sleep(LISTEN_POLL).await;
    }
}

/// Asks a process to end, and ends it after `grace`.
async fn terminate(child: &mut Child, pid: Option<u32>, grace: Duration) -> Option<ExitStatus> {
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
        // Only the program itself is asked, as in a cluster; it ends what it started.
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if let Ok(status) = timeout(grace, child.wait()).await {
        return status.ok();
    }
    if let Some(pid) = pid {
        kill_group(pid);
    }
    child.wait().await.ok()
}

/// Ends every process of a container at once.
pub(super) fn kill_group(leader: u32) {
    if let Ok(leader) = i32::try_from(leader) {
        // None left is what we want.
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// How long to wait before the next start.
#[derive(Debug, Default)]
struct Backoff {
    wait: Option<Duration>,
}

impl Backoff {
    /// The wait after a process that ran for `ran`: none at first, then twice the last.
    fn next(&mut self, ran: Duration) -> Duration {
        if ran >= BACKOFF_FORGET {
            self.wait = None;
        }
        let wait = self.wait.map_or(Duration::ZERO, |last| {
            (last * 2).clamp(BACKOFF_FIRST, BACKOFF_MAX)
        });
        self.wait = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_wait_doubles_after_that() {
        let mut backoff = Backoff::default();
        let soon = Duration::from_millis(5);
        let waits: Vec<u64> = (0..9).map(|_| backoff.next(soon).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.next(BACKOFF_FORGET), Duration::ZERO);
        assert_eq!(backoff.next(soon), BACKOFF_FIRST);
    }
}
