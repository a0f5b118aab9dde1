//! Where a captured connection goes next: the whole of ztunnel's outbound decision.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Addressed, ServiceEntry, Store};
use crate::address::{GatewayAddress, GatewayDestination, NetworkAddress};
use crate::balance;
use crate::service::{LoadBalancerMode, Service};
use crate::spiffe::SpiffeId;
use crate::workload::{SharedWorkload, TunnelProtocol, Workload};

/// Where a connection goes next, and why.
#[derive(Clone, Debug)]
pub enum NextHop {
    /// Through a waypoint, which decides about the original destination.
    Waypoint(Destination),
    /// To a workload's own ztunnel.
    Tunnel(Destination),
    /// Plain TCP to a workload outside the mesh.
    Plain(Destination),
    /// Plain TCP to an address the mesh knows nothing about.
    Passthrough(SocketAddr),
}

/// A known place to connect to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Address to dial.
    pub address: SocketAddr,
    /// What the CONNECT asks for; for plain TCP the same as `address`.
    pub target: SocketAddr,
    /// Identities of which the peer must have one.
    pub identities: Vec<SpiffeId>,
    /// The workload that is dialled: the waypoint itself, when there is one.
    pub workload: SharedWorkload,
    /// The service that was dialled.
    pub service: Option<Arc<Service>>,
}

/// Why a connection must not be made. Never a reason to go around what could not be found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HopError {
    /// The waypoint in front of the destination is not known or has no endpoint.
    #[error("unknown waypoint: {0}")]
    UnknownWaypoint(String),
    /// The service has no endpoint that may be used.
    #[error("no healthy upstream: {0}")]
    NoHealthyUpstream(SocketAddr),
    /// The endpoint is on a network that cannot be reached from here.
    #[error("destination is on network `{0}`, which no gateway leads to")]
    OtherNetwork(String),
    /// The endpoint has no address.
    #[error("workload {0} has no address")]
    NoAddress(String),
}

impl Store {
    /// Decides where a connection of `client` to `dialled` goes.
    ///
    /// `draw` gives uniform numbers in `[0, 1)`; at most three are taken.
    ///
    /// Source: the order of `ambient-wire` rules as in ztunnel's outbound path: service waypoint,
    /// then endpoint, then workload waypoint.
    ///
    /// # Errors
    /// See [`HopError`]; the connection must then be dropped.
    pub fn next_hop(
        &self,
        client: &Workload,
        dialled: SocketAddr,
        draw: &mut dyn FnMut() -> f64,
    ) -> Result<NextHop, HopError> {
        match self.find(&client.network, dialled.ip(), &client.namespace) {
            None => Ok(NextHop::Passthrough(dialled)),
            Some(Addressed::Service(entry)) => self.service_hop(client, &entry, dialled, draw),
            Some(Addressed::Workload(workload)) => {
                self.workload_hop(client, &workload, dialled, draw)
            }
        }
    }

    fn service_hop(
        &self,
        client: &Workload,
        entry: &ServiceEntry,
        dialled: SocketAddr,
        draw: &mut dyn FnMut() -> f64,
    ) -> Result<NextHop, HopError> {
        let service = &entry.service;
        if let Some(waypoint) = choose_waypoint(service, draw) {
            let hop = self.waypoint_hop(client, waypoint, Some(service.clone()), dialled, draw)?;
            return Ok(NextHop::Waypoint(hop));
        }
        if service.load_balancer.mode == LoadBalancerMode::Passthrough {
            return Ok(NextHop::Passthrough(dialled));
        }
        let (endpoint, port) = balance::pick(entry, client, dialled.port(), draw())
            .ok_or(HopError::NoHealthyUpstream(dialled))?;
        endpoint_hop(
            client,
            &endpoint.workload,
            Some(service),
            dialled.ip(),
            port,
        )
    }

    fn workload_hop(
        &self,
        client: &Workload,
        workload: &SharedWorkload,
        dialled: SocketAddr,
        draw: &mut dyn FnMut() -> f64,
    ) -> Result<NextHop, HopError> {
        if let Some(waypoint) = &workload.waypoint
            && !self.is_instance_of(client, waypoint)
        {
            let hop = self.waypoint_hop(client, waypoint, None, dialled, draw)?;
            return Ok(NextHop::Waypoint(hop));
        }
        endpoint_hop(client, workload, None, dialled.ip(), dialled.port())
    }

    fn waypoint_hop(
        &self,
        client: &Workload,
        waypoint: &GatewayAddress,
        service: Option<Arc<Service>>,
        dialled: SocketAddr,
        draw: &mut dyn FnMut() -> f64,
    ) -> Result<Destination, HopError> {
        let unknown = || HopError::UnknownWaypoint(waypoint.destination.to_string());
        let (workload, port, mut identities, of) = match self.resolve(waypoint, client) {
            None => return Err(unknown()),
            Some(Addressed::Workload(workload)) => (workload, waypoint.hbone_port, vec![], None),
            Some(Addressed::Service(entry)) => {
                let (endpoint, port) = balance::pick(&entry, client, waypoint.hbone_port, draw())
                    .ok_or_else(unknown)?;
                let names = entry.service.subject_alt_names.clone();
                (endpoint.workload.clone(), port, names, Some(entry.service))
            }
        };
        identities.push(workload.identity.clone());
        let ip = reachable(client, &workload, of.as_deref(), dialled.ip())?;
        let address = SocketAddr::new(ip, port);
        Ok(Destination {
            address,
            target: dialled,
            identities,
            workload,
            service,
        })
    }

    /// The service or workload a gateway address names.
    pub fn resolve(&self, gateway: &GatewayAddress, client: &Workload) -> Option<Addressed> {
        match &gateway.destination {
            GatewayDestination::Hostname(key) => self.service(key).cloned().map(Addressed::Service),
            GatewayDestination::Address(NetworkAddress { network, ip }) => {
                self.find(network, *ip, &client.namespace)
            }
        }
    }

    /// Whether a workload is one of a waypoint's instances: the same identity *and* address.
    /// A waypoint's own traffic to the workloads behind it must not come back to it.
    pub fn is_instance_of(&self, workload: &Workload, waypoint: &GatewayAddress) -> bool {
        let matches = |instance: &Workload| {
            instance.identity == workload.identity
                && instance.network == workload.network
                && instance
                    .addresses
                    .iter()
                    .any(|ip| workload.addresses.contains(ip))
        };
        match self.resolve(waypoint, workload) {
            None => false,
            Some(Addressed::Workload(instance)) => matches(&instance),
            Some(Addressed::Service(entry)) => entry
                .endpoints
                .values()
                .any(|endpoint| matches(&endpoint.workload)),
        }
    }
}

/// The waypoint of a service for one connection, by weight when several share it.
fn choose_waypoint<'a>(
    service: &'a Service,
    draw: &mut dyn FnMut() -> f64,
) -> Option<&'a GatewayAddress> {
    let total: u64 = service
        .weighted_waypoints
        .iter()
        .map(|(_, weight)| u64::from(*weight))
        .sum();
    if total == 0 {
        return service.waypoint.as_ref();
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "weights are percentages and draw is in [0, 1)"
    )]
    let mut ticket = (draw() * total as f64) as u64;
    for (waypoint, weight) in &service.weighted_waypoints {
        if ticket < u64::from(*weight) {
            return Some(waypoint);
        }
        ticket -= u64::from(*weight);
    }
    service.waypoint.as_ref()
}

fn endpoint_hop(
    client: &Workload,
    workload: &SharedWorkload,
    service: Option<&Arc<Service>>,
    dialled: IpAddr,
    port: u16,
) -> Result<NextHop, HopError> {
    let ip = reachable(client, workload, service.map(|service| &**service), dialled)?;
    let target = SocketAddr::new(ip, port);
    let mut identities = service
        .map(|service| service.subject_alt_names.clone())
        .unwrap_or_default();
    identities.push(workload.identity.clone());
    let destination = |address| Destination {
        address,
        target,
        identities,
        workload: workload.clone(),
        service: service.cloned(),
    };
    Ok(match workload.tunnel_protocol {
        TunnelProtocol::Hbone => NextHop::Tunnel(destination(SocketAddr::new(ip, HBONE_PORT))),
        TunnelProtocol::Tcp => NextHop::Plain(destination(target)),
    })
}

/// The port every workload of the mesh takes HBONE on.
pub const HBONE_PORT: u16 = 15008;

fn reachable(
    client: &Workload,
    workload: &Workload,
    service: Option<&Service>,
    dialled: IpAddr,
) -> Result<IpAddr, HopError> {
    if workload.network != client.network {
        return Err(HopError::OtherNetwork(workload.network.to_string()));
    }
    balance::address_of(workload, service, dialled)
        .ok_or_else(|| HopError::NoAddress(workload.uid.to_string()))
}
