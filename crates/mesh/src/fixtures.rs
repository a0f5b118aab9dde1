//! A small mesh for tests, built from the messages a control plane sends.

use std::net::IpAddr;

use proto::workload as wire;

use crate::service::Service;
use crate::store::Store;
use crate::workload::Workload;

/// A workload of namespace `shop` on node `n1`, reached over HBONE.
pub(crate) fn workload(name: &str, ip: &str) -> wire::Workload {
    wire::Workload {
        uid: format!("Kubernetes//Pod/shop/{name}"),
        name: name.into(),
        namespace: "shop".into(),
        addresses: vec![bytes(ip)],
        service_account: name.into(),
        node: "n1".into(),
        tunnel_protocol: wire::TunnelProtocol::Hbone.into(),
        ..wire::Workload::default()
    }
}

/// A service of namespace `shop` with one port, 80 → 8080.
pub(crate) fn service(name: &str, vip: &str) -> wire::Service {
    wire::Service {
        name: name.into(),
        namespace: "shop".into(),
        hostname: format!("{name}.shop.svc.cluster.local"),
        addresses: vec![wire::NetworkAddress {
            address: bytes(vip),
            ..Default::default()
        }],
        ports: vec![port(80, 8080)],
        canonical: true,
        ..wire::Service::default()
    }
}

pub(crate) fn port(service_port: u32, target_port: u32) -> wire::Port {
    wire::Port {
        service_port,
        target_port,
        app_protocol: 0,
    }
}

/// Makes a workload an endpoint of a service of namespace `shop`.
pub(crate) fn member(mut workload: wire::Workload, of: &str) -> wire::Workload {
    let key = format!("shop/{of}.shop.svc.cluster.local");
    workload.services.insert(
        key,
        wire::PortList {
            ports: vec![port(80, 8080)],
        },
    );
    workload
}

/// The waypoint address of a service of namespace `shop`.
pub(crate) fn waypoint(name: &str) -> wire::GatewayAddress {
    wire::GatewayAddress {
        destination: Some(wire::gateway_address::Destination::Hostname(
            wire::NamespacedHostname {
                namespace: "shop".into(),
                hostname: format!("{name}.shop.svc.cluster.local"),
            },
        )),
        hbone_mtls_port: 15008,
    }
}

pub(crate) fn bytes(ip: &str) -> bytes::Bytes {
    match ip.parse().unwrap() {
        IpAddr::V4(ip) => bytes::Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes::Bytes::copy_from_slice(&ip.octets()),
    }
}

/// A store of these services and workloads.
pub(crate) fn store(services: &[wire::Service], workloads: &[wire::Workload]) -> Store {
    let mut store = Store::default();
    for message in workloads {
        store.upsert_workload(Workload::try_from(message.clone()).unwrap());
    }
    for message in services {
        store.upsert_service(Service::try_from(message.clone()).unwrap());
    }
    store
}
