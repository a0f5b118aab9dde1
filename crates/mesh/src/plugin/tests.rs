//! Order and selection.

use std::sync::Arc;

use super::{FailStrategy, Kind, Limits, Phase, Plugin, PullPolicy, PullSecret, Upstream, chain};
use crate::address::NamespacedHostname;
use crate::origin::{Origin, Target};

fn plugin(name: &str, phase: Phase, priority: Option<i32>, created_at: i64) -> Arc<Plugin> {
    let origin = Origin {
        created_at,
        ..Origin::named("WasmPlugin", "shop", name)
    };
    Arc::new(Plugin {
        origin: Arc::new(origin),
        targets: vec![Target::Waypoint],
        url: "file:///p.wasm".into(),
        sha256: None,
        phase,
        priority,
        configuration: vec![],
        root_id: "".into(),
        fail_strategy: FailStrategy::Close,
        env: [].into(),
        kind: Kind::Http,
        ports: vec![],
        pull_policy: PullPolicy::IfNotPresent,
        revision: "".into(),
        pull_secret: Some(PullSecret::new(b"hunter2")),
        unfetchable: None,
        host_env: vec![],
        allowed_upstreams: None,
        limits: Limits::default(),
        body_while_headers_wait: false,
    })
}

fn names(plugins: &[Arc<Plugin>], service: Option<&str>, port: u16) -> String {
    let service = service.and_then(NamespacedHostname::parse);
    let chain = chain(plugins, Kind::Http, service.as_ref(), port);
    chain
        .iter()
        .map(|plugin| &*plugin.origin.name)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn runs_by_phase_then_priority_then_age_then_name() {
    let plugins = [
        plugin("last", Phase::Unspecified, Some(99), 0),
        plugin("stats", Phase::Stats, None, 0),
        plugin("unset", Phase::Authz, None, 0),
        plugin("negative", Phase::Authz, Some(-5), 0),
        plugin("zero", Phase::Authz, Some(0), 0),
        plugin("young", Phase::Authz, Some(9), 20),
        plugin("old-b", Phase::Authz, Some(9), 10),
        plugin("old-a", Phase::Authz, Some(9), 10),
        plugin("first", Phase::Authn, None, 0),
    ];
    let order = "first old-a old-b young zero negative unset stats last";
    assert_eq!(names(&plugins, None, 80), order);
}

#[test]
fn runs_for_its_targets_and_ports_alone() {
    let shop = NamespacedHostname::new("shop", "cart.shop");
    let mut of_service = (*plugin("service", Phase::Authn, None, 0)).clone();
    of_service.targets = vec![Target::Service(shop)];
    let mut of_port = (*plugin("port", Phase::Authn, None, 0)).clone();
    of_port.ports = vec![81];
    let mut network = (*plugin("network", Phase::Authn, None, 0)).clone();
    network.kind = Kind::Network;
    let plugins = [Arc::new(of_service), Arc::new(of_port), Arc::new(network)];
    assert_eq!(names(&plugins, Some("shop/cart.shop"), 80), "service");
    assert_eq!(names(&plugins, Some("shop/other.shop"), 81), "port");
    assert_eq!(names(&plugins, None, 81), "port");
}

#[test]
fn calls_what_is_allowed_and_everything_only_without_a_list() {
    let mut plugin = (*plugin("p", Phase::Authn, None, 0)).clone();
    assert!(plugin.may_call("keys.shop.svc.cluster.local", 80));
    let upstream = |host: &str, port| Upstream {
        host: host.into(),
        port,
    };
    plugin.allowed_upstreams = Some(vec![upstream("a.shop", None), upstream("b.shop", Some(80))]);
    assert!(plugin.may_call("A.shop", 1) && plugin.may_call("b.shop", 80));
    assert!(!plugin.may_call("b.shop", 81) && !plugin.may_call("c.shop", 80));
    plugin.allowed_upstreams = Some(vec![]);
    assert!(!plugin.may_call("a.shop", 80));
}

#[test]
fn a_pull_secret_is_shown_to_nobody() {
    let plugin = plugin("p", Phase::Authn, None, 0);
    let shown = format!("{plugin:?} {}", serde_json::to_string(&*plugin).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
    let bytes: Vec<String> = b"hunter2".iter().map(u8::to_string).collect();
    assert!(!shown.contains(&bytes.join(", ")) && !shown.contains(&bytes.join(",")));
}

#[test]
fn a_plugin_of_routes_alone_has_no_targets_and_runs_for_no_service() {
    let message = proto::cairn::waypoint::Plugin {
        origin: Some(proto::cairn::waypoint::Origin {
            name: "p".to_owned(),
            ..Default::default()
        }),
        url: "file:///p.wasm".to_owned(),
        ..Default::default()
    };
    let refused = Plugin::try_from(message.clone()).unwrap_err();
    assert_eq!(refused.field, "targets");
    let message = proto::cairn::waypoint::Plugin {
        by_routes: true,
        ..message
    };
    let plugin = Plugin::try_from(message).unwrap();
    assert!(!plugin.applies(None, 80));
}
