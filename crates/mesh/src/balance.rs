//! Which endpoint of a service gets a connection. Randomness is passed in.

use std::net::IpAddr;

use crate::Str;
use crate::service::{LoadBalancer, LoadBalancerMode, Scope, Service};
use crate::store::{Endpoint, ServiceEntry};
use crate::workload::Workload;

#[cfg(test)]
mod tests;

/// Picks an endpoint of a service for a connection of `client` to `service_port`, with the
/// endpoint's port, or `None` when none is usable.
///
/// Usable means: ready (unless the service counts unready ones), and the port is resolved on it.
/// Locality preferences rank the usable ones; within the best rank the capacity is the weight.
///
/// * `draw` is uniform in `[0, 1)`.
/// * Cost: O(endpoints), no allocation.
pub fn pick<'a>(
    entry: &'a ServiceEntry,
    client: &Workload,
    service_port: u16,
    draw: f64,
) -> Option<(&'a Endpoint, u16)> {
    let balancer = &entry.service.load_balancer;
    let usable = || {
        entry.endpoints.values().filter_map(|endpoint| {
            if !endpoint.healthy() && !balancer.allow_unhealthy {
                return None;
            }
            let port = target_port(&entry.service, endpoint, service_port)?;
            let rank = rank(balancer, client, &endpoint.workload)?;
            Some((endpoint, port, rank))
        })
    };
    let best = usable().map(|(_, _, rank)| rank).max()?;
    let candidates = || usable().filter(|(_, _, rank)| *rank == best);
    let total: u64 = candidates().map(|(endpoint, ..)| weight(endpoint)).sum();
    if total == 0 {
        // All capacities are zero: nobody said that none may be used, so each is as good.
        return nth(draw, candidates().count(), candidates());
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "capacities are small and draw is in [0, 1)"
    )]
    let mut ticket = (draw * total as f64) as u64;
    for (endpoint, port, _) in candidates() {
        let weight = weight(endpoint);
        if ticket < weight {
            return Some((endpoint, port));
        }
        ticket -= weight;
    }
    None
}

/// The workload's port for a service port: the endpoint's own, else the service's, else, on a
/// workload with an application tunnel, the service port itself.
fn target_port(service: &Service, endpoint: &Endpoint, service_port: u16) -> Option<u16> {
    let declared = service.port(service_port);
    endpoint
        .target_port(service_port)
        .or_else(|| declared.and_then(|port| port.target_port))
        .or_else(|| {
            let tunnel = endpoint.workload.application_tunnel?;
            tunnel.port.map(|_| service_port)
        })
}

/// How near an endpoint is, or `None` when a strict preference excludes it.
fn rank(balancer: &LoadBalancer, client: &Workload, endpoint: &Workload) -> Option<usize> {
    let matching = || {
        balancer
            .preferences
            .iter()
            .take_while(|scope| same(**scope, client, endpoint))
            .count()
    };
    match balancer.mode {
        LoadBalancerMode::Standard | LoadBalancerMode::Passthrough => Some(0),
        LoadBalancerMode::Strict => {
            (matching() == balancer.preferences.len()).then_some(balancer.preferences.len())
        }
        LoadBalancerMode::Failover => Some(failover_rank(balancer, client, endpoint, matching())),
    }
}

/// Endpoints of another network are still told apart by the scopes after the network, so that
/// the nearest of them is taken; every one of them ranks below those of the own network.
fn failover_rank(
    balancer: &LoadBalancer,
    client: &Workload,
    endpoint: &Workload,
    matching: usize,
) -> usize {
    let Some((Scope::Network, rest)) = balancer.preferences.split_first() else {
        return matching;
    };
    if matching > 0 {
        return matching + rest.len();
    }
    rest.iter()
        .take_while(|scope| same(**scope, client, endpoint))
        .count()
}

fn same(scope: Scope, a: &Workload, b: &Workload) -> bool {
    let known = |x: &Option<Str>, y: &Option<Str>| x.is_some() && x == y;
    match scope {
        Scope::Region => known(&a.locality.region, &b.locality.region),
        Scope::Zone => known(&a.locality.zone, &b.locality.zone),
        Scope::Subzone => known(&a.locality.subzone, &b.locality.subzone),
        Scope::Node => a.node == b.node,
        Scope::Cluster => a.cluster_id == b.cluster_id,
        Scope::Network => a.network == b.network,
    }
}

fn weight(endpoint: &Endpoint) -> u64 {
    u64::from(endpoint.workload.capacity)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the count"
)]
fn nth<'a>(
    draw: f64,
    count: usize,
    mut candidates: impl Iterator<Item = (&'a Endpoint, u16, usize)>,
) -> Option<(&'a Endpoint, u16)> {
    candidates
        .nth((draw * count as f64) as usize)
        .map(|(endpoint, port, _)| (endpoint, port))
}

/// Picks the address to dial on a workload: the one that was dialled, else one the service may
/// use, of the family that was dialled if there is one.
pub fn address_of(
    workload: &Workload,
    service: Option<&Service>,
    dialled: IpAddr,
) -> Option<IpAddr> {
    if workload.addresses.contains(&dialled) {
        return Some(dialled);
    }
    let families = service
        .map(|service| service.ip_families)
        .unwrap_or_default();
    let usable = || {
        workload
            .addresses
            .iter()
            .copied()
            .filter(|ip| families.accepts(*ip))
    };
    usable()
        .find(|ip| ip.is_ipv4() == dialled.is_ipv4())
        .or_else(|| usable().next())
}
