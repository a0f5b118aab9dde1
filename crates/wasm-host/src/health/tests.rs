//! What failures lead to.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn health() -> (Health, Instant) {
    (Health::new(HealthSettings::default()), Instant::now())
}

fn unreachable() -> Reason {
    Reason::Guest("unreachable".to_owned())
}

fn over_budget() -> Reason {
    let budget = Duration::from_millis(10);
    Reason::Deadline { budget }
}

/// Starts a VM and traps it at once.
fn crash(health: &mut Health, now: Instant, reason: &Reason) -> HealthState {
    assert!(
        matches!(health.admit(now), Admission::Start | Admission::Probe),
        "{health:?}"
    );
    let life = health.started(now);
    health.trapped(now, life, reason, 0.0).unwrap()
}

fn skips(health: &mut Health, now: Instant) -> bool {
    matches!(health.admit(now), Admission::Skip(_))
}

#[test]
fn the_first_stream_starts_a_vm_and_others_run_on_it() {
    let (mut health, now) = health();
    assert_eq!(health.admit(now), Admission::Start);
    health.started(now);
    assert_eq!(health.admit(now), Admission::Run);
    assert_eq!(health.state(now), HealthState::Healthy);
}

#[test]
fn a_vm_that_had_run_for_long_is_replaced_at_once() {
    let (mut health, now) = health();
    let life = health.started(now);
    let later = now + 3600 * SECOND;
    let state = health.trapped(later, life, &unreachable(), 1.0);
    assert_eq!(state, Some(HealthState::Healthy));
    assert_eq!(health.admit(later), Admission::Start);
}

#[test]
fn a_vm_that_traps_at_once_is_made_anew_at_growing_intervals() {
    let settings = HealthSettings {
        traps: 100,
        crash_budget: 100,
        ..HealthSettings::default()
    };
    let (mut health, mut now) = (Health::new(settings), Instant::now());
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        let until = now + wait * SECOND;
        assert_eq!(
            crash(&mut health, now, &unreachable()),
            HealthState::Restarting { until }
        );
        let before = now + wait * SECOND / 10 * 9;
        assert!(skips(&mut health, before));
        now = until;
    }
    assert_eq!(health.admit(now), Admission::Start);
}

#[test]
fn jitter_makes_workers_start_at_different_times() {
    let wait = |draw| jittered(SECOND, 1, 60 * SECOND, draw);
    assert_eq!(wait(0.0), 2 * SECOND);
    assert_eq!(wait(1.0), 3 * SECOND);
    assert_eq!(jittered(SECOND, 9, 60 * SECOND, 1.0), 60 * SECOND);
    assert_eq!(wait(f64::NAN), 2 * SECOND);
}

#[test]
fn a_vm_that_settled_makes_earlier_failures_forgotten() {
    let (mut health, now) = health();
    crash(&mut health, now, &unreachable());
    let now = now + SECOND;
    crash(&mut health, now, &unreachable());
    let now = now + 2 * SECOND;
    let life = health.started(now);
    let now = now + 60 * SECOND;
    health.trapped(now, life, &unreachable(), 0.0);
    assert_eq!(
        crash(&mut health, now, &unreachable()),
        HealthState::Restarting {
            until: now + 2 * SECOND
        }
    );
}

#[test]
fn every_stream_of_a_dead_vm_may_say_so_and_one_counts() {
    let (mut health, now) = health();
    let life = health.started(now);
    assert!(health.trapped(now, life, &unreachable(), 0.0).is_some());
    for _ in 0..9 {
        assert_eq!(health.trapped(now, life, &unreachable(), 0.0), None);
    }
    let next = health.started(now + SECOND);
    assert_eq!(
        health.trapped(now + SECOND, life, &unreachable(), 0.0),
        None
    );
    assert_eq!(health.admit(now + SECOND), Admission::Run);
    assert!(
        health
            .trapped(now + SECOND, next, &unreachable(), 0.0)
            .is_some()
    );
}

/// A plugin whose waits play no part.
fn impatient() -> (Health, Instant) {
    let settings = HealthSettings {
        first_wait: Duration::ZERO,
        ..HealthSettings::default()
    };
    (Health::new(settings), Instant::now())
}

#[test]
fn three_callbacks_over_their_budget_open_the_circuit() {
    let (mut health, now) = impatient();
    for _ in 0..2 {
        assert_eq!(
            crash(&mut health, now, &over_budget()),
            HealthState::Healthy
        );
    }
    assert_eq!(
        crash(&mut health, now, &over_budget()),
        HealthState::Open {
            until: now + 10 * SECOND,
            why: "ran longer than its budget of 10ms".to_owned()
        }
    );
    assert!(skips(&mut health, now + 9 * SECOND));
}

#[test]
fn five_traps_open_the_circuit_and_traps_of_long_ago_do_not() {
    let (mut health, now) = impatient();
    for second in [0, 11, 12, 13, 14] {
        let state = crash(&mut health, now + second * SECOND, &unreachable());
        assert_eq!(state, HealthState::Healthy, "{second}");
    }
    let state = crash(&mut health, now + 15 * SECOND, &unreachable());
    assert_eq!(state.name(), "open");
}

/// A plugin whose circuit is open, and when a probe is due.
fn open() -> (Health, Instant) {
    let (mut health, now) = impatient();
    for _ in 0..3 {
        crash(&mut health, now, &over_budget());
    }
    (health, now + 10 * SECOND)
}

#[test]
fn one_probe_at_a_time_decides_whether_others_follow() {
    let (mut health, now) = open();
    assert_eq!(health.admit(now), Admission::Probe);
    let life = health.started(now);
    assert!(skips(&mut health, now));
    assert_eq!(health.state(now).name(), "open");
    health.probe_ok(life);
    assert_eq!(health.admit(now), Admission::Run);
    assert_eq!(health.state(now), HealthState::Healthy);
}

#[test]
fn a_probe_that_fails_makes_the_wait_longer() {
    let (mut health, now) = open();
    let HealthState::Open { until, .. } = crash(&mut health, now, &unreachable()) else {
        panic!("{health:?}")
    };
    assert_eq!(until, now + 20 * SECOND);
    assert_eq!(health.admit(until), Admission::Probe);
    let state = health.start_failed(until, "no", 0.0);
    assert!(
        matches!(state, HealthState::Open { until: next, .. } if next == until + 40 * SECOND),
        "{state:?}"
    );
}

#[test]
fn a_probe_that_was_broken_off_is_followed_by_another() {
    let (mut health, now) = open();
    assert_eq!(health.admit(now), Admission::Probe);
    let life = health.started(now);
    health.probe_gone(life);
    assert_eq!(health.admit(now), Admission::Probe);
    // Even one that nobody hears of again.
    health.started(now);
    assert!(skips(&mut health, now + 59 * SECOND));
    assert_eq!(health.admit(now + 60 * SECOND), Admission::Probe);
}

#[test]
fn a_plugin_that_never_settles_is_degraded_and_still_tried() {
    let (mut health, mut now) = health();
    let mut state = HealthState::Healthy;
    for _ in 0..10 {
        state = crash(&mut health, now, &unreachable());
        now += 60 * SECOND;
    }
    let HealthState::Degraded { until, why } = state else {
        panic!("{state:?}")
    };
    assert_eq!((until, &*why), (now, "unreachable"));
    assert_eq!(health.admit(now), Admission::Probe);
    let life = health.started(now);
    health.probe_ok(life);
    assert_eq!(health.state(now), HealthState::Healthy);
}

#[test]
fn a_vm_that_does_not_start_is_tried_again_later() {
    let (mut health, now) = health();
    assert_eq!(health.admit(now), Admission::Start);
    let state = health.start_failed(now, "the filter refused to start", 0.0);
    assert_eq!(
        state,
        HealthState::Restarting {
            until: now + SECOND
        }
    );
    let Admission::Skip(why) = health.admit(now) else {
        panic!("{health:?}")
    };
    assert!(why.contains("refused to start"), "{why}");
    assert_eq!(health.admit(now + SECOND), Admission::Start);
}

#[test]
fn a_vm_that_was_let_go_is_made_again_without_a_wait() {
    let (mut health, now) = health();
    let life = health.started(now);
    health.let_go(life);
    assert_eq!(health.admit(now), Admission::Start);
    assert_eq!(health.trapped(now, life, &unreachable(), 0.0), None);
}

#[test]
fn only_fail_open_lets_streams_pass() {
    assert!(FailStrategy::Open.bypasses());
    assert!(!FailStrategy::Close.bypasses() && !FailStrategy::Reload.bypasses());
}

#[derive(Clone, Debug)]
enum Event {
    Pass(u16),
    Stream,
    Trap { budget: bool, old: u64, draw: f64 },
    StartFails,
    ProbeOk,
    ProbeGone,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..20_000_u16).prop_map(Event::Pass),
        Just(Event::Stream),
        Just(Event::Stream),
        (any::<bool>(), 0..2_u64, 0.0..1.0).prop_map(|(budget, old, draw)| Event::Trap {
            budget,
            old,
            draw
        }),
        Just(Event::StartFails),
        Just(Event::ProbeOk),
        Just(Event::ProbeGone),
    ]
}

proptest! {
    /// Whatever happens: traps per window stay bounded, waits end, and the guest always gets
    /// another chance.
    #[test]
    fn the_circuit_holds_and_opens_again(events in prop::collection::vec(event(), 0..200)) {
        let settings = HealthSettings::default();
        let (mut health, mut now) = (Health::new(settings.clone()), Instant::now());
        let mut life = Life(0);
        let mut alive = false;
        let mut traps: Vec<Instant> = Vec::new();
        for event in events {
            match event {
                Event::Pass(milliseconds) => now += Duration::from_millis(milliseconds.into()),
                Event::Stream => match health.admit(now) {
                    Admission::Run => prop_assert!(alive),
                    Admission::Start | Admission::Probe => {
                        life = health.started(now);
                        alive = true;
                    }
                    Admission::Skip(why) => prop_assert!(!why.is_empty()),
                },
                Event::Trap { budget, old, draw } => {
                    let reason = if budget { over_budget() } else { unreachable() };
                    let of = Life(life.0.saturating_sub(old));
                    if let Some(state) = health.trapped(now, of, &reason, draw) {
                        prop_assert_eq!(of, life);
                        alive = false;
                        traps.push(now);
                        if let HealthState::Restarting { until } | HealthState::Open { until, .. }
                            | HealthState::Degraded { until, .. } = state {
                            prop_assert!(until <= now + settings.longest_wait);
                        }
                    }
                    let recent = traps.iter().filter(|at| now - **at < settings.window).count();
                    prop_assert!(recent <= settings.traps, "{} traps", recent);
                }
                Event::StartFails => {
                    if matches!(health.admit(now), Admission::Start | Admission::Probe) {
                        health.start_failed(now, "no", 0.5);
                        life = Life(u64::MAX);
                        alive = false;
                    }
                }
                Event::ProbeOk => health.probe_ok(life),
                Event::ProbeGone => health.probe_gone(life),
            }
        }
        now += 2 * settings.longest_wait;
        prop_assert!(!matches!(health.admit(now), Admission::Skip(_)));
    }
}
