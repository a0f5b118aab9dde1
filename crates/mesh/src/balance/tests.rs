use proto::workload as wire;
use proto::workload::load_balancing::{HealthPolicy, Mode, Scope};

use super::{address_of, pick};
use crate::address::NamespacedHostname;
use crate::fixtures::{bytes, member, service, store, workload};
use crate::store::Store;

/// Endpoints named by region/zone/node, and a client in `r1/z1` on `n1`.
fn world(mode: Mode, scopes: &[Scope], endpoints: &[(&str, &str, &str, &str)]) -> Store {
    let mut cart = service("cart", "10.2.0.1");
    cart.load_balancing = Some(wire::LoadBalancing {
        routing_preference: scopes.iter().map(|scope| i32::from(*scope)).collect(),
        mode: mode.into(),
        health_policy: HealthPolicy::OnlyHealthy.into(),
    });
    let place = |mut pod: wire::Workload, region: &str, zone: &str, node: &str| {
        pod.locality = Some(wire::Locality {
            region: region.into(),
            zone: zone.into(),
            subzone: String::new(),
        });
        pod.node = node.into();
        pod
    };
    let mut pods = vec![place(workload("web", "10.1.0.1"), "r1", "z1", "n1")];
    for (n, (name, region, zone, node)) in endpoints.iter().enumerate() {
        let pod = member(workload(name, &format!("10.1.1.{n}")), "cart");
        pods.push(place(pod, region, zone, node));
    }
    store(&[cart], &pods)
}

/// Every endpoint that some draw picks.
fn picked(store: &Store) -> Vec<String> {
    let client = store.pod("shop", "web").unwrap();
    let entry = store.service(&NamespacedHostname::new(
        "shop",
        "cart.shop.svc.cluster.local",
    ));
    let entry = entry.unwrap();
    let mut names: Vec<_> = (0..100)
        .filter_map(|n| pick(entry, client, 80, f64::from(n) / 100.0))
        .map(|(endpoint, port)| format!("{}:{port}", endpoint.workload.name))
        .collect();
    names.sort();
    names.dedup();
    names
}

const PLACES: [(&str, &str, &str, &str); 3] = [
    ("near", "r1", "z1", "n1"),
    ("zone", "r1", "z1", "n2"),
    ("far", "r2", "z9", "n3"),
];

#[test]
fn without_preference_every_ready_endpoint_is_used() {
    let store = world(Mode::UnspecifiedMode, &[], &PLACES);
    assert_eq!(picked(&store), ["far:8080", "near:8080", "zone:8080"]);
}

#[test]
fn failover_takes_the_nearest_and_falls_back() {
    let scopes = [Scope::Network, Scope::Region, Scope::Zone, Scope::Node];
    assert_eq!(
        picked(&world(Mode::Failover, &scopes, &PLACES)),
        ["near:8080"]
    );
    assert_eq!(
        picked(&world(Mode::Failover, &scopes, &PLACES[1..])),
        ["zone:8080"]
    );
    assert_eq!(
        picked(&world(Mode::Failover, &scopes, &PLACES[2..])),
        ["far:8080"]
    );
}

#[test]
fn strict_uses_nothing_else() {
    assert_eq!(
        picked(&world(Mode::Strict, &[Scope::Node], &PLACES)),
        ["near:8080"]
    );
    assert!(picked(&world(Mode::Strict, &[Scope::Node], &PLACES[1..])).is_empty());
}

#[test]
fn an_unknown_locality_matches_nobody() {
    let nowhere = [("lost", "", "", "n2")];
    assert!(picked(&world(Mode::Strict, &[Scope::Region], &nowhere)).is_empty());
}

#[test]
fn capacity_is_the_weight() {
    let mut heavy = member(workload("heavy", "10.1.1.1"), "cart");
    heavy.capacity = Some(9);
    let light = member(workload("light", "10.1.1.2"), "cart");
    let store = store(
        &[service("cart", "10.2.0.1")],
        &[workload("web", "10.1.0.1"), heavy, light],
    );
    let client = store.pod("shop", "web").unwrap();
    let key = NamespacedHostname::new("shop", "cart.shop.svc.cluster.local");
    let entry = store.service(&key).unwrap();
    let heavy = (0..100)
        .filter_map(|n| pick(entry, client, 80, f64::from(n) / 100.0))
        .filter(|(endpoint, _)| &*endpoint.workload.name == "heavy")
        .count();
    assert_eq!(heavy, 90);
}

#[test]
fn an_endpoint_that_cannot_resolve_a_named_port_is_left_out() {
    let mut cart = service("cart", "10.2.0.1");
    cart.ports[0].target_port = 0;
    let mut without = workload("without", "10.1.1.1");
    without.services.insert(
        "shop/cart.shop.svc.cluster.local".into(),
        wire::PortList { ports: vec![] },
    );
    let with = member(workload("with", "10.1.1.2"), "cart");
    let store = store(&[cart], &[workload("web", "10.1.0.1"), without, with]);
    assert_eq!(picked(&store), ["with:8080"]);
}

#[test]
fn the_dialled_address_is_kept_and_else_its_family() {
    let mut pod = workload("cart", "10.1.0.2");
    pod.addresses.push(bytes("fd00::2"));
    pod.addresses.push(bytes("10.1.0.3"));
    let store = store(&[], &[pod]);
    let pod = store.pod("shop", "cart").unwrap();
    let at = |ip: &str| {
        address_of(pod, None, ip.parse().unwrap())
            .unwrap()
            .to_string()
    };
    assert_eq!(at("10.1.0.3"), "10.1.0.3");
    assert_eq!(at("10.2.0.1"), "10.1.0.2");
    assert_eq!(at("fd00::99"), "fd00::2");
}
