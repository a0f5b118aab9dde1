use std::time::Duration;

use super::Config;

fn load(variables: &[(&str, &str)]) -> Result<Config, super::Invalid> {
    Config::load(&|name| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn nothing_has_to_be_set() {
    let config = load(&[]).unwrap();
    assert_eq!(config.xds_address, "https://istiod.istio-system.svc:15012");
    assert_eq!(config.place.trust_domain, "cluster.local");
    assert_eq!(config.drain, Duration::from_secs(5));
    assert!(config.dns);
}

#[test]
fn every_problem_is_reported_at_once_by_name() {
    let error = load(&[
        ("INSTANCE_IP", "nowhere"),
        ("ZTUNNEL_WORKER_THREADS", "0"),
        ("DNS_CAPTURE", "maybe"),
        ("SECRET_TTL", "soon"),
    ])
    .unwrap_err()
    .to_string();
    for name in [
        "INSTANCE_IP",
        "ZTUNNEL_WORKER_THREADS",
        "DNS_CAPTURE",
        "SECRET_TTL",
    ] {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn connections_drain_within_the_grace_period() {
    let drain = |grace: &str| {
        load(&[("TERMINATION_GRACE_PERIOD_SECONDS", grace)])
            .unwrap()
            .drain
            .as_secs()
    };
    assert_eq!(drain("30"), 25);
    assert_eq!(drain("10"), 9);
    assert_eq!(drain("1"), 1);
}

#[test]
fn durations_are_written_with_a_unit() {
    let ttl = |text: &str| load(&[("SECRET_TTL", text)]).unwrap().secret_ttl.as_secs();
    assert_eq!((ttl("30s"), ttl("5m"), ttl("24h")), (30, 300, 86_400));
}

#[test]
fn a_duration_that_no_clock_counts_to_is_refused_and_not_wrapped() {
    let error = load(&[("SECRET_TTL", "5124095576030432h")]).unwrap_err();
    assert!(error.to_string().contains("SECRET_TTL"), "{error}");
}
