//! What unit tests start from.

use proto::workload::gateway_address::Destination;
use proto::workload::{GatewayAddress, NamespacedHostname};

use crate::config::Place;

/// The waypoint `waypoint` in `infra`.
pub(crate) fn place() -> Place {
    Place {
        gateway: "waypoint".into(),
        namespace: "infra".into(),
        pod: "waypoint-1".into(),
        service_account: "waypoint".into(),
        instance_ip: "10.0.0.99".parse().unwrap(),
        node: "".into(),
        cluster_id: "Kubernetes".into(),
        cluster_domain: "cluster.local".into(),
        network: "".into(),
        trust_domain: "cluster.local".into(),
        trust_domain_aliases: vec![],
    }
}

/// A plugin of `shop`.
pub(crate) fn plugin(name: &str) -> mesh::plugin::Plugin {
    let message = proto::cairn::waypoint::Plugin {
        origin: Some(proto::cairn::waypoint::Origin {
            kind: "WasmPlugin".to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            ..Default::default()
        }),
        url: "file:///p.wasm".to_owned(),
        by_routes: true,
        ..Default::default()
    };
    message.try_into().unwrap()
}

/// How services refer to it.
pub(crate) fn waypoint() -> GatewayAddress {
    gateway("waypoint.infra.svc.cluster.local")
}

/// A gateway of `infra` by the host name of its service.
pub(crate) fn gateway(hostname: &str) -> GatewayAddress {
    let hostname = NamespacedHostname {
        namespace: "infra".to_owned(),
        hostname: hostname.to_owned(),
    };
    GatewayAddress {
        destination: Some(Destination::Hostname(hostname)),
        hbone_mtls_port: 15008,
    }
}
