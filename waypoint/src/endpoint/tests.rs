//! Which endpoint is picked.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mesh::address::NamespacedHostname;
use mesh::service::Service;
use mesh::store::{ServiceEntry, Store};
use mesh::workload::Workload;
use proto::workload as wire;

use super::{Loads, Transport};
use crate::draw::Draw;
use crate::fixtures;
use crate::state::{Snapshot, State};

/// A service with endpoints at 10.0.0.N.
fn entry(pods: &[wire::Workload]) -> ServiceEntry {
    let mut store = Store::default();
    let service = wire::Service {
        name: "cart".into(),
        namespace: "shop".into(),
        hostname: "cart.shop".into(),
        ports: vec![wire::Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 0,
        }],
        ..Default::default()
    };
    store.upsert_service(Service::try_from(service).unwrap());
    for pod in pods {
        store.upsert_workload(Workload::try_from(pod.clone()).unwrap());
    }
    store
        .service(&NamespacedHostname::new("shop", "cart.shop"))
        .unwrap()
        .clone()
}

fn pod(n: u8) -> wire::Workload {
    let ports = vec![wire::Port {
        service_port: 80,
        target_port: 8080,
        app_protocol: 0,
    }];
    wire::Workload {
        uid: format!("pod-{n}"),
        namespace: "shop".into(),
        service_account: "cart".into(),
        addresses: vec![vec![10, 0, 0, n].into()],
        tunnel_protocol: wire::TunnelProtocol::Hbone.into(),
        services: [("shop/cart.shop".to_owned(), wire::PortList { ports })].into(),
        ..Default::default()
    }
}

fn snapshot() -> std::sync::Arc<Snapshot> {
    State::new(&fixtures::place()).current()
}

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 8080))
}

#[test]
fn the_endpoint_with_fewer_requests_is_taken() {
    let (entry, loads, draw, snapshot) = (
        entry(&[pod(1), pod(2)]),
        Loads::default(),
        Draw::new(),
        snapshot(),
    );
    let busy: Vec<_> = (0..10).map(|_| loads.begin(at(1))).collect();
    let mut taken = BTreeMap::new();
    for _ in 0..200 {
        let endpoint = loads.pick(&snapshot, &entry, 80, &[], &draw).unwrap();
        *taken.entry(endpoint.address).or_insert(0) += 1;
    }
    // Both draws may name the busy one: then it is taken, once in a long while.
    assert!(taken[&at(2)] > 180, "{taken:?}");
    drop(busy);
    let endpoint = |_| {
        loads
            .pick(&snapshot, &entry, 80, &[], &draw)
            .unwrap()
            .address
    };
    let spread: std::collections::BTreeSet<_> = (0..100).map(endpoint).collect();
    assert_eq!(spread.len(), 2, "idle endpoints are equal");
}

#[test]
fn an_endpoint_that_failed_is_avoided_while_there_is_another() {
    let (loads, draw, snapshot) = (Loads::default(), Draw::new(), snapshot());
    let two = entry(&[pod(1), pod(2)]);
    let avoided = (0..200).filter(|_| {
        let endpoint = loads.pick(&snapshot, &two, 80, &[at(1)], &draw).unwrap();
        endpoint.address == at(2)
    });
    assert!(avoided.count() > 180);
    let one = entry(&[pod(1)]);
    assert_eq!(
        loads
            .pick(&snapshot, &one, 80, &[at(1)], &draw)
            .unwrap()
            .address,
        at(1)
    );
}

#[test]
fn nothing_is_picked_where_nothing_can_be_reached() {
    let (loads, draw, snapshot) = (Loads::default(), Draw::new(), snapshot());
    let pick = |pods: &[wire::Workload]| loads.pick(&snapshot, &entry(pods), 80, &[], &draw);
    assert!(pick(&[]).is_none());
    let unready = wire::Workload {
        status: wire::WorkloadStatus::Unhealthy.into(),
        ..pod(1)
    };
    assert!(pick(&[unready]).is_none());
    let elsewhere = wire::Workload {
        network: "other".into(),
        ..pod(1)
    };
    assert!(pick(&[elsewhere]).is_none());
    let nowhere = wire::Workload {
        addresses: vec![],
        ..pod(1)
    };
    assert!(pick(&[nowhere]).is_none());
}

#[test]
fn an_endpoint_in_the_mesh_is_reached_through_a_tunnel_by_its_own_identity() {
    let (loads, draw, snapshot) = (Loads::default(), Draw::new(), snapshot());
    let endpoint = loads
        .pick(&snapshot, &entry(&[pod(1)]), 80, &[], &draw)
        .unwrap();
    let Transport::Tunnel {
        to,
        identity,
        alternatives,
    } = endpoint.transport
    else {
        panic!("not through a tunnel");
    };
    assert_eq!(to, SocketAddr::from(([10, 0, 0, 1], 15008)));
    assert_eq!(
        identity.to_string(),
        "spiffe://cluster.local/ns/shop/sa/cart"
    );
    assert!(alternatives.is_empty());
    let outside = wire::Workload {
        tunnel_protocol: wire::TunnelProtocol::None.into(),
        ..pod(1)
    };
    let endpoint = loads
        .pick(&snapshot, &entry(&[outside]), 80, &[], &draw)
        .unwrap();
    assert_eq!(endpoint.transport, Transport::Plain);
}

#[test]
fn loads_of_endpoints_that_are_gone_are_forgotten() {
    let loads = Loads::default();
    for n in 0..=255 {
        drop(loads.begin(at(n)));
    }
    assert!(loads.0.borrow().len() < 200);
}
