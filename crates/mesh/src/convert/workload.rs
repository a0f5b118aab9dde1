//! Workloads.

use proto::workload as wire;

use super::service::{gateway, ports};
use super::{Rejected, ip, port};
use crate::Str;
use crate::address::NamespacedHostname;
use crate::workload::{
    ApplicationTunnel, Health, Locality, TunnelProtocol, Workload, WorkloadType,
};

impl TryFrom<wire::Workload> for Workload {
    type Error = Rejected;

    fn try_from(message: wire::Workload) -> Result<Self, Rejected> {
        let identity = Self::identity_of(
            &message.trust_domain,
            &message.namespace,
            &message.service_account,
        )
        .map_err(|error| Rejected::new("service_account", error))?;
        let addresses = message.addresses.iter().enumerate();
        let addresses = addresses
            .map(|(index, bytes)| ip(&format!("addresses[{index}]"), bytes))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            addresses,
            identity,
            tunnel_protocol: tunnel_protocol(message.tunnel_protocol)?,
            workload_type: match message.workload_type() {
                wire::WorkloadType::Deployment => WorkloadType::Deployment,
                wire::WorkloadType::Cronjob => WorkloadType::CronJob,
                wire::WorkloadType::Pod => WorkloadType::Pod,
                wire::WorkloadType::Job => WorkloadType::Job,
            },
            health: match message.status() {
                wire::WorkloadStatus::Healthy => Health::Healthy,
                wire::WorkloadStatus::Unhealthy => Health::Unhealthy,
            },
            host_network: message.network_mode() == wire::NetworkMode::HostNetwork,
            waypoint: message
                .waypoint
                .map(|to| gateway("waypoint", to))
                .transpose()?,
            network_gateway: message
                .network_gateway
                .map(|to| gateway("network_gateway", to))
                .transpose()?,
            services: message
                .services
                .iter()
                .map(|(key, list)| services(key, list))
                .collect::<Result<_, _>>()?,
            application_tunnel: message
                .application_tunnel
                .map(application_tunnel)
                .transpose()?,
            locality: message.locality.map(locality).unwrap_or_default(),
            capacity: message.capacity.unwrap_or(1),
            uid: message.uid.into(),
            name: message.name.into(),
            namespace: message.namespace.into(),
            hostname: message.hostname.into(),
            network: message.network.into(),
            node: message.node.into(),
            canonical_name: message.canonical_name.into(),
            canonical_revision: message.canonical_revision.into(),
            workload_name: message.workload_name.into(),
            native_tunnel: message.native_tunnel,
            authorization_policies: message
                .authorization_policies
                .into_iter()
                .map(Str::from)
                .collect(),
            cluster_id: or_default(message.cluster_id, "Kubernetes"),
        })
    }
}

/// An unknown protocol is rejected: taking it for plain TCP would send bytes in the clear.
fn tunnel_protocol(number: i32) -> Result<TunnelProtocol, Rejected> {
    match wire::TunnelProtocol::try_from(number) {
        Ok(wire::TunnelProtocol::None) => Ok(TunnelProtocol::Tcp),
        Ok(wire::TunnelProtocol::Hbone) => Ok(TunnelProtocol::Hbone),
        Ok(wire::TunnelProtocol::LegacyIstioMtls) => Err(Rejected::new(
            "tunnel_protocol",
            "sidecar mTLS is not spoken here",
        )),
        Err(_) => Err(Rejected::new(
            "tunnel_protocol",
            format!("{number} is not one we know"),
        )),
    }
}

fn services(
    key: &str,
    list: &wire::PortList,
) -> Result<(NamespacedHostname, Vec<crate::service::Port>), Rejected> {
    let field = format!("services[{key}]");
    let service = NamespacedHostname::parse(key)
        .ok_or_else(|| Rejected::new(&field, "the key is not namespace/hostname"))?;
    Ok((service, ports(&field, &list.ports)?))
}

fn application_tunnel(message: wire::ApplicationTunnel) -> Result<ApplicationTunnel, Rejected> {
    use wire::application_tunnel::Protocol;
    let number = port("application_tunnel.port", message.port)?;
    Ok(ApplicationTunnel {
        proxy_protocol: message.protocol() == Protocol::Proxy,
        port: (number != 0).then_some(number),
    })
}

fn locality(message: wire::Locality) -> Locality {
    let part = |text: String| (!text.is_empty()).then(|| text.into());
    Locality {
        region: part(message.region),
        zone: part(message.zone),
        subzone: part(message.subzone),
    }
}

fn or_default(text: String, default: &str) -> Str {
    if text.is_empty() {
        default.into()
    } else {
        text.into()
    }
}
