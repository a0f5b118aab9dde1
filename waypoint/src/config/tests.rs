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

#[test]
fn where_modules_come_from_is_set_with_istios_names() {
    let config = load(&[
        ("STATE_DIR", "/var/lib/cairn"),
        ("MODULE_FILES", "/srv/filters"),
        ("ISTIO_WASM_MAX_BINARY_SIZE_BYTES", "1000"),
        ("WASM_INSECURE_REGISTRIES", "registry:5000, localhost"),
        ("BLOCKED_CIDRS_IN_WASM_FETCH", "10.0.0.0/8,192.0.2.1"),
        ("WASM_REGISTRY_AUTH_HOSTS", "registry=auth"),
        ("WASM_HTTP_REQUEST_TIMEOUT", "3s"),
        ("WASM_HTTP_REQUEST_MAX_RETRIES", "2"),
        ("WASM_MODULE_EXPIRY", "5m"),
        ("WASM_PURGE_INTERVAL", "1m"),
    ])
    .unwrap()
    .modules;
    let settings = &config.settings;
    assert_eq!(
        settings.cache.as_deref(),
        Some("/var/lib/cairn/modules".as_ref())
    );
    assert_eq!(
        config.compiled.as_deref(),
        Some("/var/lib/cairn/compiled".as_ref())
    );
    assert_eq!(settings.files, modules::Files::Under("/srv/filters".into()));
    assert_eq!((settings.max_module, settings.max_download), (1000, 4000));
    assert_eq!(
        settings.insecure,
        modules::Insecure::parse("registry:5000,localhost")
    );
    assert_eq!(settings.blocked.len(), 2);
    assert_eq!(settings.auth_hosts["registry"], ["auth"]);
    let times = (
        settings.request_timeout,
        settings.tries,
        settings.expiry,
        config.purge,
    );
    let minutes = Duration::from_mins;
    assert_eq!(times, (Duration::from_secs(3), 2, minutes(5), minutes(1)));

    let usual = load(&[]).unwrap();
    assert_eq!(usual.held_bodies, 64 << 20);
    let less = load(&[("WASM_MAX_HELD_BYTES", "4096")]).unwrap();
    assert_eq!(less.held_bodies, 4096);
    let usual = usual.modules;
    assert_eq!((usual.settings.cache, usual.compiled), (None, None));
    let bad = [
        ("BLOCKED_CIDRS_IN_WASM_FETCH", "ten"),
        ("WASM_REGISTRY_AUTH_HOSTS", "auth"),
        ("WASM_MAX_HELD_BYTES", "0"),
    ];
    let told = load(&bad).unwrap_err().to_string();
    assert!(
        told.contains("BLOCKED_CIDRS_IN_WASM_FETCH: `ten` is no range"),
        "{told}"
    );
    assert!(
        told.contains("WASM_REGISTRY_AUTH_HOSTS: `auth` is not"),
        "{told}"
    );
    assert!(
        told.contains("WASM_MAX_HELD_BYTES: `0` is no positive"),
        "{told}"
    );
}
