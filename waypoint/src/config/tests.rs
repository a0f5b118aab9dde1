use std::time::Duration;

use identity::channel::Roots;
use mesh::path::Normalization;

use super::{Config, Invalid};

const PLACE: [(&str, &str); 5] = [
    ("GATEWAY_NAME", "waypoint"),
    ("POD_NAMESPACE", "shop"),
    ("POD_NAME", "waypoint-1"),
    ("SERVICE_ACCOUNT", "waypoint"),
    ("INSTANCE_IP", "10.0.0.9"),
];

fn load(more: &[(&str, &str)]) -> Result<Config, Invalid> {
    let all = more.iter().chain(&PLACE);
    Config::load(&|name| {
        all.clone()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn defaults_are_istios() {
    let config = load(&[]).unwrap();
    assert_eq!(config.xds.address, "https://istiod.istio-system.svc:15012");
    assert_eq!(config.ca.address, config.xds.address);
    assert!(matches!(&config.ca.roots, Roots::File(path) if path.ends_with("root-cert.pem")));
    assert_eq!(&*config.place.trust_domain, "cluster.local");
    assert_eq!(&*config.place.cluster_id, "Kubernetes");
    assert_eq!(config.path_normalization, Normalization::Base);
    assert_eq!(config.listen.hbone.port(), 15008);
    assert!(config.listen.admin.ip().is_loopback());
    assert!(config.access_log);
}

#[test]
fn the_gateway_is_the_service_accounts_unless_named() {
    assert_eq!(&*load(&[]).unwrap().place.gateway, "waypoint");
    let unnamed = [("GATEWAY_NAME", ""), ("SERVICE_ACCOUNT", "infra-waypoint")];
    assert_eq!(&*load(&unnamed).unwrap().place.gateway, "infra-waypoint");
}

#[test]
fn the_authority_is_the_control_plane_unless_named() {
    let config = load(&[
        ("XDS_ADDRESS", "control:15012"),
        ("CA_ROOT_CA", "-----BEGIN"),
    ])
    .unwrap();
    assert_eq!(config.ca.address, "control:15012");
    assert!(matches!(config.ca.roots, Roots::Pem(_)));
    assert!(matches!(config.xds.roots, Roots::File(_)));
    assert_eq!(load(&[("CA_ADDRESS", "ca:1")]).unwrap().ca.address, "ca:1");
}

#[test]
fn all_problems_are_told_together() {
    let broken = [
        ("POD_NAME", ""),
        ("INSTANCE_IP", "here"),
        ("WAYPOINT_WORKER_THREADS", "0"),
        ("PATH_NORMALIZATION", "base"),
        ("SECRET_TTL", "1d"),
        ("ACCESS_LOG", "yes"),
    ];
    let problems = load(&broken).unwrap_err().0;
    assert_eq!(problems.len(), broken.len(), "{problems:?}");
    for (name, _) in broken {
        assert!(
            problems.iter().any(|problem| problem.starts_with(name)),
            "{name}: {problems:?}"
        );
    }
}

#[test]
fn the_drain_ends_before_the_grace_period() {
    let drain = |grace| {
        load(&[("TERMINATION_GRACE_PERIOD_SECONDS", grace)])
            .unwrap()
            .drain
    };
    assert_eq!(drain("30"), Duration::from_secs(25));
    assert_eq!(drain("3"), Duration::from_secs(2));
    assert_eq!(drain("1"), Duration::from_secs(1));
    assert_eq!(load(&[]).unwrap().drain, Duration::from_secs(25));
}

#[test]
fn aliases_are_a_list() {
    let config = load(&[("TRUST_DOMAIN_ALIASES", "old.example, older.example,")]).unwrap();
    let aliases: Vec<_> = config
        .place
        .trust_domain_aliases
        .iter()
        .map(|alias| &**alias)
        .collect();
    assert_eq!(aliases, ["old.example", "older.example"]);
}
