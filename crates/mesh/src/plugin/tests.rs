//! Order and selection.

use std::sync::Arc;

use super::{FailStrategy, Kind, Phase, Plugin, chain};
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
