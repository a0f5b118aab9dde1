//! Gateways elsewhere as workloads: a Gateway of class `istio-remote` stands for the way into
//! another network (scenario 14).

use proto::workload::{TunnelProtocol, Workload};

use super::gateway::{Address, Front};
use super::names;
use super::waypoint::ip_bytes;
use crate::object::Object;

/// Returns one workload per address of a remote Gateway.
pub(crate) fn workloads(object: &Object, front: &Front) -> Vec<Workload> {
    let network = object.label(names::NETWORK).unwrap_or_default();
    let addresses = front.addresses.iter().filter_map(|address| match address {
        Address::Ip(ip) => Some((ip, ip_bytes(ip)?)),
        Address::Hostname(_) => None,
    });
    addresses
        .map(|(ip, bytes)| {
            let uid = format!("NetworkGateway/{network}/{ip}/{}", names::HBONE_PORT);
            Workload {
                name: uid.clone(),
                uid,
                namespace: object.key.namespace.to_string(),
                addresses: vec![bytes],
                network: network.to_owned(),
                tunnel_protocol: TunnelProtocol::None.into(),
                service_account: format!("{}-istio-remote", object.key.name),
                ..Workload::default()
            }
        })
        .collect()
}
