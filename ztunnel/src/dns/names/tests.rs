use mesh::service::Service;
use mesh::store::Store;
use mesh::workload::Workload;
use proto::workload as wire;

use super::{Family, resolve};

fn bytes(ip: &str) -> bytes::Bytes {
    match ip.parse().unwrap() {
        std::net::IpAddr::V4(ip) => bytes::Bytes::copy_from_slice(&ip.octets()),
        std::net::IpAddr::V6(ip) => bytes::Bytes::copy_from_slice(&ip.octets()),
    }
}

fn store(services: &[(&str, &str, &[&str])]) -> (Store, Workload) {
    let mut store = Store::default();
    for (namespace, hostname, vips) in services {
        let addresses = vips.iter().map(|vip| wire::NetworkAddress {
            address: bytes(vip),
            ..Default::default()
        });
        let message = wire::Service {
            name: hostname.split('.').next().unwrap().into(),
            namespace: (*namespace).into(),
            hostname: (*hostname).into(),
            addresses: addresses.collect(),
            ..Default::default()
        };
        store.upsert_service(Service::try_from(message).unwrap());
    }
    let mut pod = wire::Workload {
        uid: "u".into(),
        name: "web".into(),
        namespace: "shop".into(),
        addresses: vec![bytes("10.1.0.1"), bytes("fd00::1")],
        ..Default::default()
    };
    pod.services.insert(
        "shop/headless.shop.svc.cluster.local".into(),
        wire::PortList::default(),
    );
    let pod = Workload::try_from(pod).unwrap();
    store.upsert_workload(pod.clone());
    (store, pod)
}

/// The answer in one line.
fn ask(services: &[(&str, &str, &[&str])], name: &str, family: Family) -> String {
    let (store, client) = store(services);
    match resolve(&store, &client, "cluster.local", name, family) {
        None => "not ours".into(),
        Some(resolved) => {
            let addresses: Vec<_> = resolved.addresses.iter().map(ToString::to_string).collect();
            let alias = resolved
                .alias
                .map(|alias| format!("{alias} → "))
                .unwrap_or_default();
            format!("{alias}[{}]", addresses.join(", "))
        }
    }
}

const SHOP: &[(&str, &str, &[&str])] = &[
    ("shop", "cart.shop.svc.cluster.local", &["10.2.0.1"]),
    ("other", "cart.other.svc.cluster.local", &["10.2.0.2"]),
    ("shop", "headless.shop.svc.cluster.local", &[]),
    ("shop", "example.com", &["240.240.0.1", "2001:2::1"]),
    ("shop", "*.wild.example", &["240.240.0.2"]),
    ("shop", "noaddress.example", &[]),
];

#[test]
fn short_names_expand_with_the_clients_namespace() {
    assert_eq!(ask(SHOP, "cart.", Family::V4), "[10.2.0.1]");
    assert_eq!(ask(SHOP, "cart.other.", Family::V4), "[10.2.0.2]");
    assert_eq!(ask(SHOP, "cart.other.svc.", Family::V4), "[10.2.0.2]");
    assert_eq!(
        ask(SHOP, "cart.other.svc.cluster.local.", Family::V4),
        "[10.2.0.2]"
    );
}

#[test]
fn a_search_domain_the_client_appended_is_seen_through() {
    assert_eq!(
        ask(SHOP, "example.com.shop.svc.cluster.local.", Family::V4),
        "example.com. → [240.240.0.1]"
    );
    assert_eq!(
        ask(
            SHOP,
            "cart.shop.svc.cluster.local.shop.svc.cluster.local.",
            Family::V4
        ),
        "cart.shop.svc.cluster.local. → [10.2.0.1]"
    );
}

#[test]
fn a_known_name_without_addresses_of_the_family_is_ours_and_empty() {
    assert_eq!(ask(SHOP, "cart.", Family::V6), "[]");
    assert_eq!(ask(SHOP, "example.com.", Family::V6), "[2001:2::1]");
}

#[test]
fn a_headless_service_resolves_to_its_ready_pods() {
    assert_eq!(ask(SHOP, "headless.", Family::V4), "[10.1.0.1]");
    assert_eq!(ask(SHOP, "headless.", Family::V6), "[fd00::1]");
}

#[test]
fn wildcards_match_more_than_one_label_and_have_no_alias() {
    assert_eq!(ask(SHOP, "a.wild.example.", Family::V4), "[240.240.0.2]");
    assert_eq!(ask(SHOP, "a.b.wild.example.", Family::V4), "[240.240.0.2]");
    assert_eq!(
        ask(SHOP, "a.wild.example.svc.cluster.local.", Family::V4),
        "[240.240.0.2]"
    );
    assert_eq!(ask(SHOP, "wild.example.", Family::V4), "not ours");
}

#[test]
fn what_nobody_declared_is_not_ours() {
    assert_eq!(ask(SHOP, "example.org.", Family::V4), "not ours");
    assert_eq!(
        ask(SHOP, "nosuch.shop.svc.cluster.local.", Family::V4),
        "not ours"
    );
    // Outside the cluster's domain a host without address leaves the answer to the resolver.
    assert_eq!(ask(SHOP, "noaddress.example.", Family::V4), "not ours");
}
