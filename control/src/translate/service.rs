//! Services as workload discovery knows them.
//!
//! Scenarios 03, 04 and 05.

use k8s_openapi::api::core::v1::{Service as KubernetesService, ServiceSpec};
use proto::workload::load_balancing::{HealthPolicy, Mode, Scope};
use proto::workload::{IpFamilies, LoadBalancing, Port, Service, WeightedWaypoint};

use super::binding::{Binding, Bound};
use super::gateway::cluster_ips;
use super::names;
use super::port;
use super::view::View;
use super::waypoint::network_address;
use crate::index::NAMESPACE;
use crate::object::{Key, Object};

/// Returns the specification of a Service that proxies are told about: one with endpoints of its
/// own, which an alias for a name outside has not.
pub(crate) fn discovered(service: &KubernetesService) -> Option<&ServiceSpec> {
    let spec = service.spec.as_ref()?;
    (spec.type_.as_deref() != Some("ExternalName")).then_some(spec)
}

/// Returns the name of a Service in workload discovery, `namespace/hostname`.
pub(crate) fn key(view: &View<'_>, service: &Key) -> String {
    let Key {
        namespace, name, ..
    } = service;
    format!("{namespace}/{}", view.settings.hostname(namespace, name))
}

/// Returns a Service as proxies see it.
pub(crate) fn of_service(
    view: &View<'_>,
    object: &Object,
    service: &KubernetesService,
    binding: &Binding<'_>,
) -> Option<Service> {
    let spec = discovered(service)?;
    let Key {
        namespace, name, ..
    } = &object.key;
    let bound = binding.bound();
    let ports = spec.ports.iter().flatten().map(|found| Port {
        service_port: port::number(found.port),
        target_port: port::target(found),
        app_protocol: port::protocol(found).into(),
    });
    Some(Service {
        name: name.to_string(),
        namespace: namespace.to_string(),
        hostname: view.settings.hostname(namespace, name),
        addresses: cluster_ips(spec)
            .filter_map(|ip| network_address(&ip, &view.settings.network))
            .collect(),
        ports: ports.collect(),
        waypoint: bound.and_then(|bound| bound.primary.address.clone()),
        load_balancing: load_balancing(view, object, spec),
        ip_families: ip_families(spec).into(),
        canonical: true,
        ingress_use_waypoint: bound.is_some() && ingress_label(view, object) == Some(true),
        weighted_waypoints: bound.map(weighted).unwrap_or_default(),
        ..Service::default()
    })
}

/// Returns what the Service, or else its namespace, says about ingress traffic: nothing, or
/// whether it goes through the waypoint. A word that is no boolean is no.
pub(crate) fn ingress_label(view: &View<'_>, object: &Object) -> Option<bool> {
    let own = object.label(names::INGRESS_USE_WAYPOINT);
    let inherited = || {
        let labels = view.namespace_labels(&object.key.namespace)?;
        Some(labels.get(names::INGRESS_USE_WAYPOINT)?.as_str())
    };
    let word = own.or_else(inherited)?;
    Some(names::parse_bool(word).unwrap_or(false))
}

fn weighted(bound: &Bound<'_>) -> Vec<WeightedWaypoint> {
    let Some((canary, share)) = bound.canary else {
        return Vec::new();
    };
    let entry = |address: &Option<_>, weight| WeightedWaypoint {
        destination: address.clone(),
        weight,
    };
    vec![
        entry(&bound.primary.address, 100 - share),
        entry(&canary.address, share),
    ]
}

/// Returns how clients without a waypoint pick an endpoint; `None` is any ready one.
fn load_balancing(view: &View<'_>, object: &Object, spec: &ServiceSpec) -> Option<LoadBalancing> {
    let (mode, preference) = preference(view, object, spec);
    let health = match spec.publish_not_ready_addresses {
        Some(true) => HealthPolicy::AllowAll,
        _ => HealthPolicy::OnlyHealthy,
    };
    let balancing = LoadBalancing {
        routing_preference: preference.iter().map(|scope| (*scope).into()).collect(),
        mode: mode.into(),
        health_policy: health.into(),
    };
    (balancing != LoadBalancing::default()).then_some(balancing)
}

const ZONE: &[Scope] = &[Scope::Network, Scope::Region, Scope::Zone];
const NODE: &[Scope] = &[
    Scope::Network,
    Scope::Region,
    Scope::Zone,
    Scope::Subzone,
    Scope::Node,
];

/// The field of the Service has priority, then its annotation (an unknown word hides the
/// namespace's), then the annotation of the namespace.
fn preference(view: &View<'_>, object: &Object, spec: &ServiceSpec) -> (Mode, &'static [Scope]) {
    if spec.internal_traffic_policy.as_deref() == Some("Local") {
        return (Mode::Strict, &[Scope::Node]);
    }
    let namespace = Key::new(NAMESPACE, "", &object.key.namespace);
    let word = spec
        .traffic_distribution
        .as_deref()
        .or_else(|| object.annotation(names::TRAFFIC_DISTRIBUTION))
        .or_else(|| {
            view.object(&namespace)?
                .annotation(names::TRAFFIC_DISTRIBUTION)
        });
    match word.map(str::to_ascii_lowercase).as_deref() {
        Some("preferclose" | "prefersamezone") => (Mode::Failover, ZONE),
        Some("prefersamenode") => (Mode::Failover, NODE),
        _ => (Mode::UnspecifiedMode, &[]),
    }
}

fn ip_families(spec: &ServiceSpec) -> IpFamilies {
    let has = |family: &str| {
        spec.ip_families
            .iter()
            .flatten()
            .any(|found| found == family)
    };
    match (has("IPv4"), has("IPv6")) {
        (true, true) => IpFamilies::Dual,
        (true, false) => IpFamilies::Ipv4Only,
        (false, true) => IpFamilies::Ipv6Only,
        (false, false) => IpFamilies::Automatic,
    }
}
