use std::net::SocketAddr;

use proptest::prelude::*;
use proto::workload as wire;

use super::{HopError, NextHop, Store};
use crate::address::{NamespacedHostname, NetworkAddress};
use crate::fixtures::{bytes, member, port, service, store, waypoint, workload};
use crate::service::Service;
use crate::workload::Workload;

fn hop(store: &Store, from: &str, to: &str) -> Result<NextHop, HopError> {
    let client = store.pod("shop", from).unwrap().clone();
    store.next_hop(&client, to.parse().unwrap(), &mut || 0.0)
}

/// The decision in one line: kind, address dialled, CONNECT target, identities.
fn words(hop: Result<NextHop, HopError>) -> String {
    let line = |kind: &str, to: &super::Destination| {
        let names: Vec<_> = to
            .identities
            .iter()
            .map(|id| id.principal().to_owned())
            .collect();
        format!(
            "{kind} {} for {} as {}",
            to.address,
            to.target,
            names.join(" or ")
        )
    };
    match hop {
        Ok(NextHop::Waypoint(to)) => line("waypoint", &to),
        Ok(NextHop::Tunnel(to)) => line("tunnel", &to),
        Ok(NextHop::Plain(to)) => line("plain", &to),
        Ok(NextHop::Passthrough(to)) => format!("passthrough {to}"),
        Err(error) => format!("error: {error}"),
    }
}

fn with_waypoint(mut service: wire::Service, name: &str) -> wire::Service {
    service.waypoint = Some(waypoint(name));
    service
}

fn waypoint_service() -> wire::Service {
    wire::Service {
        ports: vec![port(15008, 15008)],
        ..service("waypoint", "10.2.0.9")
    }
}

fn waypoint_workload() -> wire::Workload {
    let mut pod = workload("waypoint", "10.1.0.9");
    pod.tunnel_protocol = wire::TunnelProtocol::None.into();
    let ports = wire::PortList {
        ports: vec![port(15008, 15008)],
    };
    pod.services
        .insert("shop/waypoint.shop.svc.cluster.local".into(), ports);
    pod
}

#[test]
fn a_service_leads_to_an_endpoint_through_its_ztunnel() {
    let store = store(
        &[service("cart", "10.2.0.1")],
        &[
            workload("web", "10.1.0.1"),
            member(workload("cart", "10.1.0.2"), "cart"),
        ],
    );
    assert_eq!(
        words(hop(&store, "web", "10.2.0.1:80")),
        "tunnel 10.1.0.2:15008 for 10.1.0.2:8080 as cluster.local/ns/shop/sa/cart"
    );
}

#[test]
fn a_service_waypoint_gets_the_address_the_client_dialled() {
    let store = store(
        &[
            with_waypoint(service("cart", "10.2.0.1"), "waypoint"),
            waypoint_service(),
        ],
        &[
            workload("web", "10.1.0.1"),
            member(workload("cart", "10.1.0.2"), "cart"),
            waypoint_workload(),
        ],
    );
    assert_eq!(
        words(hop(&store, "web", "10.2.0.1:80")),
        "waypoint 10.1.0.9:15008 for 10.2.0.1:80 as cluster.local/ns/shop/sa/waypoint"
    );
    // Dialled by pod address the service waypoint is not on the way: that is intended.
    assert_eq!(
        words(hop(&store, "web", "10.1.0.2:8080")),
        "tunnel 10.1.0.2:15008 for 10.1.0.2:8080 as cluster.local/ns/shop/sa/cart"
    );
}

#[test]
fn an_unknown_waypoint_is_never_gone_around() {
    let store = store(
        &[with_waypoint(service("cart", "10.2.0.1"), "waypoint")],
        &[
            workload("web", "10.1.0.1"),
            member(workload("cart", "10.1.0.2"), "cart"),
        ],
    );
    assert_eq!(
        words(hop(&store, "web", "10.2.0.1:80")),
        "error: unknown waypoint: shop/waypoint.shop.svc.cluster.local"
    );
}

#[test]
fn a_workload_waypoint_is_used_for_the_pod_address_and_not_by_itself() {
    let mut cart = member(workload("cart", "10.1.0.2"), "cart");
    cart.waypoint = Some(waypoint("waypoint"));
    let store = store(
        &[service("cart", "10.2.0.1"), waypoint_service()],
        &[workload("web", "10.1.0.1"), cart, waypoint_workload()],
    );
    assert_eq!(
        words(hop(&store, "web", "10.1.0.2:8080")),
        "waypoint 10.1.0.9:15008 for 10.1.0.2:8080 as cluster.local/ns/shop/sa/waypoint"
    );
    assert_eq!(
        words(hop(&store, "waypoint", "10.1.0.2:8080")),
        "tunnel 10.1.0.2:15008 for 10.1.0.2:8080 as cluster.local/ns/shop/sa/cart"
    );
    // Addressed by the service, the workload waypoint is not on the way.
    assert_eq!(
        words(hop(&store, "web", "10.2.0.1:80")),
        "tunnel 10.1.0.2:15008 for 10.1.0.2:8080 as cluster.local/ns/shop/sa/cart"
    );
}

#[test]
fn what_the_mesh_does_not_know_passes_through() {
    let store = store(&[], &[workload("web", "10.1.0.1")]);
    assert_eq!(
        words(hop(&store, "web", "192.0.2.1:443")),
        "passthrough 192.0.2.1:443"
    );
}

#[test]
fn a_service_without_ready_endpoints_is_an_error_not_a_guess() {
    let mut cart = member(workload("cart", "10.1.0.2"), "cart");
    cart.status = wire::WorkloadStatus::Unhealthy.into();
    let store = store(
        &[service("cart", "10.2.0.1")],
        &[workload("web", "10.1.0.1"), cart],
    );
    let refused = "error: no healthy upstream: 10.2.0.1:80";
    assert_eq!(words(hop(&store, "web", "10.2.0.1:80")), refused);
    assert_eq!(
        words(hop(&store, "web", "10.2.0.1:81")),
        refused.replace(":80", ":81")
    );
}

#[test]
fn a_workload_outside_the_mesh_is_dialled_plainly() {
    let mut cart = member(workload("cart", "10.1.0.2"), "cart");
    cart.tunnel_protocol = wire::TunnelProtocol::None.into();
    let store = store(
        &[service("cart", "10.2.0.1")],
        &[workload("web", "10.1.0.1"), cart],
    );
    assert_eq!(
        words(hop(&store, "web", "10.2.0.1:80")),
        "plain 10.1.0.2:8080 for 10.1.0.2:8080 as cluster.local/ns/shop/sa/cart"
    );
}

#[test]
fn weighted_waypoints_share_connections() {
    let mut cart = service("cart", "10.2.0.1");
    let share = |name: &str, weight| wire::WeightedWaypoint {
        destination: Some(waypoint(name)),
        weight,
    };
    cart.waypoint = Some(waypoint("waypoint"));
    cart.weighted_waypoints = vec![share("waypoint", 75), share("canary", 25)];
    let canary = wire::Service {
        ports: vec![port(15008, 15008)],
        ..service("canary", "10.2.0.8")
    };
    let mut canary_pod = workload("canary", "10.1.0.8");
    let ports = wire::PortList {
        ports: vec![port(15008, 15008)],
    };
    canary_pod
        .services
        .insert("shop/canary.shop.svc.cluster.local".into(), ports);
    let store = store(
        &[cart, waypoint_service(), canary],
        &[workload("web", "10.1.0.1"), waypoint_workload(), canary_pod],
    );
    let client = store.pod("shop", "web").unwrap().clone();
    let at = |draw: f64| {
        let hop = store.next_hop(&client, "10.2.0.1:80".parse().unwrap(), &mut || draw);
        match hop.unwrap() {
            NextHop::Waypoint(to) => to.address.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(at(0.0), "10.1.0.9:15008");
    assert_eq!(at(0.749), "10.1.0.9:15008");
    assert_eq!(at(0.751), "10.1.0.8:15008");
}

#[test]
fn a_namespace_local_service_is_invisible_elsewhere() {
    let mut cart = service("cart", "10.2.0.1");
    cart.visibility = wire::Visibility::Namespace.into();
    let store = store(&[cart], &[]);
    let address = NetworkAddress {
        network: "".into(),
        ip: "10.2.0.1".parse().unwrap(),
    };
    assert!(store.service_at(&address, "shop").is_some());
    assert!(store.service_at(&address, "other").is_none());
    assert!(
        store
            .service_named("cart.shop.svc.cluster.local", "other")
            .is_none()
    );
}

#[test]
fn the_longest_matching_range_wins() {
    let range = |name: &str, ip: &str, length| {
        let mut service = service(name, ip);
        service.addresses[0].length = Some(length);
        service
    };
    let store = store(
        &[
            range("wide", "10.8.0.0", 16),
            range("narrow", "10.8.1.0", 24),
        ],
        &[],
    );
    let find = |ip: &str| {
        let address = NetworkAddress {
            network: "".into(),
            ip: ip.parse().unwrap(),
        };
        store
            .service_at(&address, "shop")
            .map(|entry| entry.service.name.to_string())
    };
    assert_eq!(find("10.8.1.7").as_deref(), Some("narrow"));
    assert_eq!(find("10.8.2.7").as_deref(), Some("wide"));
    assert_eq!(find("10.9.0.1"), None);
}

#[test]
fn inbound_telemetry_takes_the_service_the_client_named_if_it_may() {
    let mut pod = member(member(workload("cart", "10.1.0.2"), "cart"), "other");
    pod.services
        .get_mut("shop/other.shop.svc.cluster.local")
        .unwrap()
        .ports[0]
        .target_port = 9090;
    let store = store(
        &[service("cart", "10.2.0.1"), service("other", "10.2.0.2")],
        &[pod],
    );
    let pod = store.pod("shop", "cart").unwrap().clone();
    let behind = |hint, port| {
        store
            .service_behind(&pod, hint, port)
            .map(|entry| entry.service.name.to_string())
    };
    assert_eq!(
        behind(Some("other.shop.svc.cluster.local"), 8080).as_deref(),
        Some("other")
    );
    assert_eq!(
        behind(Some("evil.shop.svc.cluster.local"), 8080).as_deref(),
        Some("cart")
    );
    assert_eq!(behind(None, 9090).as_deref(), Some("other"));
    assert_eq!(behind(None, 1), None);
}

#[test]
fn two_services_may_share_an_address_and_leave_it_one_by_one() {
    let mut store = store(&[service("a", "10.2.0.1"), service("b", "10.2.0.1")], &[]);
    let address = NetworkAddress {
        network: "".into(),
        ip: "10.2.0.1".parse().unwrap(),
    };
    store.remove("shop/a.shop.svc.cluster.local");
    assert_eq!(&*store.service_at(&address, "x").unwrap().service.name, "b");
    store.remove("shop/b.shop.svc.cluster.local");
    assert!(store.service_at(&address, "x").is_none());
}

#[test]
fn a_replaced_pod_with_the_same_name_keeps_its_place_when_the_old_one_goes() {
    let mut store = store(&[], &[workload("web", "10.1.0.1")]);
    let mut newer = workload("web", "10.1.0.2");
    newer.uid = "Kubernetes//Pod/shop/web-newer".into();
    store.upsert_workload(Workload::try_from(newer).unwrap());
    store.remove("Kubernetes//Pod/shop/web");
    assert_eq!(
        &*store.pod("shop", "web").unwrap().uid,
        "Kubernetes//Pod/shop/web-newer"
    );
}

#[test]
fn host_network_workloads_are_not_found_by_address() {
    let mut agent = workload("agent", "10.3.0.1");
    agent.network_mode = wire::NetworkMode::HostNetwork.into();
    let store = store(&[], &[agent]);
    let address = NetworkAddress {
        network: "".into(),
        ip: "10.3.0.1".parse().unwrap(),
    };
    assert!(store.workload_at(&address).is_none());
    assert!(store.pod("shop", "agent").is_some());
}

#[test]
fn a_snapshot_a_reader_holds_does_not_change() {
    let before = store(&[service("cart", "10.2.0.1")], &[]);
    let mut after = before.clone();
    after.remove("shop/cart.shop.svc.cluster.local");
    let key = NamespacedHostname::new("shop", "cart.shop.svc.cluster.local");
    assert!(before.service(&key).is_some());
    assert!(after.service(&key).is_none());
}

/// One change of the mesh, small enough for collisions.
#[derive(Clone, Debug)]
enum Change {
    Workload { name: u8, ip: u8, of: Option<u8> },
    Service { name: u8, vip: u8 },
    RemoveWorkload(u8),
    RemoveService(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let n = 0..4u8;
    prop_oneof![
        (n.clone(), n.clone(), proptest::option::of(n.clone()))
            .prop_map(|(name, ip, of)| Change::Workload { name, ip, of }),
        (n.clone(), n.clone()).prop_map(|(name, vip)| Change::Service { name, vip }),
        n.clone().prop_map(Change::RemoveWorkload),
        n.prop_map(Change::RemoveService),
    ]
}

proptest! {
    /// Whatever the order of changes, the indices are those of a store built from what is left.
    #[test]
    fn indices_equal_those_of_a_fresh_store(changes in prop::collection::vec(change(), 0..40)) {
        let mut store = Store::default();
        let mut workloads = std::collections::BTreeMap::new();
        let mut services = std::collections::BTreeMap::new();
        for change in changes {
            match change {
                Change::Workload { name, ip, of } => {
                    let mut message = workload(&format!("w{name}"), &format!("10.1.0.{ip}"));
                    if let Some(of) = of { message = member(message, &format!("s{of}")); }
                    store.upsert_workload(Workload::try_from(message.clone()).unwrap());
                    workloads.insert(name, message);
                }
                Change::Service { name, vip } => {
                    let message = service(&format!("s{name}"), &format!("10.2.0.{vip}"));
                    store.upsert_service(Service::try_from(message.clone()).unwrap());
                    services.insert(name, message);
                }
                Change::RemoveWorkload(name) => {
                    store.remove(&format!("Kubernetes//Pod/shop/w{name}"));
                    workloads.remove(&name);
                }
                Change::RemoveService(name) => {
                    store.remove(&format!("shop/s{name}.shop.svc.cluster.local"));
                    services.remove(&name);
                }
            }
        }
        let services: Vec<_> = services.into_values().collect();
        let workloads: Vec<_> = workloads.into_values().collect();
        let fresh = crate::fixtures::store(&services, &workloads);
        prop_assert_eq!(picture(&store), picture(&fresh));
    }
}

/// Everything the store answers for the small world of the property test.
fn picture(store: &Store) -> Vec<String> {
    let mut lines = vec![];
    for n in 0..4u8 {
        let pod = store
            .pod("shop", &format!("w{n}"))
            .map(|pod| pod.uid.to_string());
        lines.push(format!("w{n} {pod:?}"));
        for prefix in ["10.1.0", "10.2.0"] {
            let ip: SocketAddr = format!("{prefix}.{n}:1").parse().unwrap();
            let address = NetworkAddress {
                network: "".into(),
                ip: ip.ip(),
            };
            let workload = store
                .workload_at(&address)
                .map(|workload| workload.uid.to_string());
            let service = store.service_at(&address, "shop").map(|entry| {
                let endpoints: Vec<_> = entry.endpoints.keys().map(ToString::to_string).collect();
                format!("{} {endpoints:?}", entry.service.key)
            });
            lines.push(format!("{prefix}.{n} {workload:?} {service:?}"));
        }
    }
    lines.push(format!("{} {}", store.staged.len(), store.by_vip.len()));
    lines
}

#[test]
fn addresses_of_the_wire_are_read_as_they_are() {
    assert_eq!(bytes("2001:db8::1").len(), 16);
}
