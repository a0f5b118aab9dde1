//! Services and what both services and workloads are made of.

use ipnet::IpNet;
use proto::workload as wire;
use proto::workload::load_balancing::{HealthPolicy, Mode, Scope as WireScope};

use super::{Rejected, ip, port};
use crate::Str;
use crate::address::{GatewayAddress, GatewayDestination, NamespacedHostname, NetworkAddress};
use crate::service::{
    AppProtocol, IpFamilies, LoadBalancer, LoadBalancerMode, Port, Scope, Service, Visibility,
};

impl TryFrom<wire::Service> for Service {
    type Error = Rejected;

    fn try_from(message: wire::Service) -> Result<Self, Rejected> {
        let (vips, cidr_vips) = addresses(&message.addresses)?;
        // Under a name that could be read in two ways it could not be removed again.
        let nameable = |part: &str| !part.is_empty() && !part.contains('/');
        if !nameable(&message.namespace) || !nameable(&message.hostname) {
            return Err(Rejected::new(
                "hostname",
                "a service needs a namespace and a host name, both without slashes",
            ));
        }
        let subject_alt_names = message.subject_alt_names.iter();
        // An identity outside SPIFFE cannot be presented to us, so leaving it out widens nothing.
        let subject_alt_names = subject_alt_names
            .filter_map(|name| name.parse().ok())
            .collect();
        Ok(Self {
            ip_families: ip_families(message.ip_families()),
            visibility: match message.visibility() {
                wire::Visibility::Public => Visibility::Public,
                wire::Visibility::Namespace => Visibility::Namespace,
            },
            ports: ports("ports", &message.ports)?,
            waypoint: message
                .waypoint
                .map(|gateway| self::gateway("waypoint", gateway))
                .transpose()?,
            weighted_waypoints: weighted_waypoints(message.weighted_waypoints)?,
            load_balancer: message
                .load_balancing
                .map(|balancing| load_balancer(&balancing))
                .transpose()?
                .unwrap_or_default(),
            name: message.name.into(),
            key: NamespacedHostname::new(message.namespace, message.hostname),
            vips,
            cidr_vips,
            subject_alt_names,
            canonical: message.canonical,
        })
    }
}

pub(super) fn gateway(
    field: &str,
    message: wire::GatewayAddress,
) -> Result<GatewayAddress, Rejected> {
    use wire::gateway_address::Destination;
    let destination = match message.destination {
        None => return Err(Rejected::new(field, "the destination is missing")),
        Some(Destination::Hostname(name)) => {
            GatewayDestination::Hostname(NamespacedHostname::new(name.namespace, name.hostname))
        }
        Some(Destination::Address(address)) => {
            GatewayDestination::Address(network_address(field, &address)?)
        }
    };
    let hbone_port = match message.hbone_mtls_port {
        0 => {
            return Err(Rejected::new(
                format!("{field}.hbone_mtls_port"),
                "the port is missing",
            ));
        }
        number => port(&format!("{field}.hbone_mtls_port"), number)?,
    };
    Ok(GatewayAddress {
        destination,
        hbone_port,
    })
}

pub(super) fn ports(field: &str, list: &[wire::Port]) -> Result<Vec<Port>, Rejected> {
    list.iter()
        .enumerate()
        .map(|(index, message)| {
            let field = format!("{field}[{index}]");
            let target = port(&format!("{field}.target_port"), message.target_port)?;
            Ok(Port {
                service_port: port(&format!("{field}.service_port"), message.service_port)?,
                target_port: (target != 0).then_some(target),
                app_protocol: match message.app_protocol() {
                    wire::AppProtocol::Unknown => AppProtocol::Unknown,
                    wire::AppProtocol::Http11 => AppProtocol::Http11,
                    wire::AppProtocol::Http2 => AppProtocol::Http2,
                    wire::AppProtocol::Grpc => AppProtocol::Grpc,
                    wire::AppProtocol::Tcp => AppProtocol::Tcp,
                    wire::AppProtocol::Tls => AppProtocol::Tls,
                },
            })
        })
        .collect()
}

fn network_address(
    field: &str,
    message: &wire::NetworkAddress,
) -> Result<NetworkAddress, Rejected> {
    Ok(NetworkAddress {
        network: message.network.as_str().into(),
        ip: ip(field, &message.address)?,
    })
}

type Vips = (Vec<NetworkAddress>, Vec<(Str, IpNet)>);

/// Splits single addresses from ranges; a range of one address is that address.
fn addresses(list: &[wire::NetworkAddress]) -> Result<Vips, Rejected> {
    let (mut vips, mut ranges) = (vec![], vec![]);
    for (index, message) in list.iter().enumerate() {
        let field = format!("addresses[{index}]");
        let address = network_address(&field, message)?;
        let whole = if address.ip.is_ipv4() { 32 } else { 128 };
        match message.length {
            Some(length) if length != whole => {
                let length = u8::try_from(length).ok();
                let range = length.and_then(|length| IpNet::new(address.ip, length).ok());
                let range = range.ok_or_else(|| Rejected::new(&field, "no such prefix length"))?;
                ranges.push((address.network, range));
            }
            _ => vips.push(address),
        }
    }
    Ok((vips, ranges))
}

fn weighted_waypoints(
    list: Vec<wire::WeightedWaypoint>,
) -> Result<Vec<(GatewayAddress, u32)>, Rejected> {
    list.into_iter()
        .enumerate()
        .map(|(index, message)| {
            let field = format!("weighted_waypoints[{index}].destination");
            let destination = message
                .destination
                .ok_or_else(|| Rejected::new(&field, "it is missing"))?;
            Ok((gateway(&field, destination)?, message.weight))
        })
        .collect()
}

fn load_balancer(message: &wire::LoadBalancing) -> Result<LoadBalancer, Rejected> {
    let scope = |(index, scope): (usize, WireScope)| {
        Ok(match scope {
            WireScope::UnspecifiedScope => {
                let field = format!("load_balancing.routing_preference[{index}]");
                return Err(Rejected::new(field, "the scope is not one we know"));
            }
            WireScope::Region => Scope::Region,
            WireScope::Zone => Scope::Zone,
            WireScope::Subzone => Scope::Subzone,
            WireScope::Node => Scope::Node,
            WireScope::Cluster => Scope::Cluster,
            WireScope::Network => Scope::Network,
        })
    };
    Ok(LoadBalancer {
        preferences: message
            .routing_preference()
            .enumerate()
            .map(scope)
            .collect::<Result<_, _>>()?,
        mode: match message.mode() {
            Mode::UnspecifiedMode => LoadBalancerMode::Standard,
            Mode::Strict => LoadBalancerMode::Strict,
            Mode::Failover => LoadBalancerMode::Failover,
            Mode::Passthrough => LoadBalancerMode::Passthrough,
        },
        allow_unhealthy: message.health_policy() == HealthPolicy::AllowAll,
    })
}

fn ip_families(message: wire::IpFamilies) -> IpFamilies {
    match message {
        wire::IpFamilies::Automatic => IpFamilies::Automatic,
        wire::IpFamilies::Ipv4Only => IpFamilies::Ipv4Only,
        wire::IpFamilies::Ipv6Only => IpFamilies::Ipv6Only,
        wire::IpFamilies::Dual => IpFamilies::Dual,
    }
}
