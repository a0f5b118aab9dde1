//! What a control plane would tell a waypoint that stands alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use mesh::address::NamespacedHostname;
use prost::Message;
use proto::cairn::waypoint as wire;
use proto::workload::{
    Address, GatewayAddress, NetworkAddress, Port, PortList, Service as ServiceMessage, Workload,
    address, gateway_address,
};
use xds::client::{Resource, Update};

use super::{FailStrategy, Plugin};
use crate::config::Config;

/// The namespace of the waypoint, and of services that name none.
pub(super) const NAMESPACE: &str = "default";
/// Name of the waypoint and its account.
const WAYPOINT: &str = "waypoint";

/// Something that requests or callouts go to: plain HTTP at an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Its host name.
    pub host: String,
    /// Its port, as clients and callouts name it.
    pub port: u16,
    /// Where it really is.
    pub address: SocketAddr,
}

impl Service {
    /// What it is known by.
    pub(super) fn key(&self) -> NamespacedHostname {
        NamespacedHostname::new(NAMESPACE, self.host.as_str())
    }

    /// What a client seems to have asked for.
    pub(super) fn asked(&self) -> SocketAddr {
        SocketAddr::new(super::vip(1), self.port)
    }
}

/// The settings of a waypoint that has no control plane.
pub(super) fn config() -> Result<Config> {
    let settings = [
        ("GATEWAY_NAME", WAYPOINT),
        ("SERVICE_ACCOUNT", WAYPOINT),
        ("POD_NAMESPACE", NAMESPACE),
        ("POD_NAME", WAYPOINT),
        ("INSTANCE_IP", "127.0.0.1"),
    ];
    let value = |name: &str| {
        let found = settings.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Ok(Config::load(&value)?)
}

/// The services, and a workload for each address they are at.
pub(super) fn addresses(services: &[Service]) -> Vec<Update> {
    let mut hosts: BTreeMap<&str, Vec<&Service>> = BTreeMap::new();
    let mut places: BTreeMap<IpAddr, Vec<&Service>> = BTreeMap::new();
    for service in services {
        hosts.entry(&service.host).or_default().push(service);
        places
            .entry(service.address.ip())
            .or_default()
            .push(service);
    }
    // The first is what requests go to; the waypoint stands before it alone.
    let front = services.first().map(|service| service.host.as_str());
    let mut updates = vec![];
    for (index, (host, of_host)) in hosts.iter().enumerate() {
        let is_front = Some(*host) == front;
        let index = if is_front {
            1
        } else {
            u8::try_from(index + 2).unwrap_or(u8::MAX)
        };
        let message = service(host, of_host, is_front, index);
        let name = format!("{NAMESPACE}/{host}");
        updates.push(put(name, address::Type::Service(message)));
    }
    for (ip, here) in places {
        let message = workload(ip, &here);
        updates.push(put(message.uid.clone(), address::Type::Workload(message)));
    }
    updates
}

fn service(host: &str, ports: &[&Service], is_front: bool, index: u8) -> ServiceMessage {
    let waypoint = GatewayAddress {
        destination: Some(gateway_address::Destination::Hostname(
            proto::workload::NamespacedHostname {
                namespace: NAMESPACE.to_owned(),
                hostname: format!("{WAYPOINT}.{NAMESPACE}.svc.cluster.local"),
            },
        )),
        hbone_mtls_port: 15008,
    };
    let vip = NetworkAddress {
        address: octets(super::vip(index)).into(),
        ..NetworkAddress::default()
    };
    ServiceMessage {
        name: host.split('.').next().unwrap_or(host).to_owned(),
        namespace: NAMESPACE.to_owned(),
        hostname: host.to_owned(),
        addresses: vec![vip],
        ports: ports.iter().map(|service| port(service)).collect(),
        waypoint: is_front.then_some(waypoint),
        ..ServiceMessage::default()
    }
}

/// A port whose protocol is not declared: what the client speaks is spoken on.
fn port(service: &Service) -> Port {
    Port {
        service_port: service.port.into(),
        target_port: service.address.port().into(),
        ..Port::default()
    }
}

fn workload(ip: IpAddr, services: &[&Service]) -> Workload {
    let mut ports: BTreeMap<String, PortList> = BTreeMap::new();
    for service in services {
        let key = format!("{NAMESPACE}/{}", service.host);
        ports.entry(key).or_default().ports.push(port(service));
    }
    Workload {
        uid: format!("local//Pod/{NAMESPACE}/at-{ip}"),
        name: format!("at-{ip}"),
        namespace: NAMESPACE.to_owned(),
        addresses: vec![octets(ip).into()],
        service_account: "default".to_owned(),
        services: ports.into_iter().collect(),
        ..Workload::default()
    }
}

fn put(name: String, kind: address::Type) -> Update {
    Update::Put(Resource {
        name,
        aliases: vec![],
        version: String::new(),
        bytes: Address { r#type: Some(kind) }.encode_to_vec().into(),
    })
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The plugin as control would send it.
pub(super) fn plugin(plugin: &Plugin, generation: i64) -> wire::Plugin {
    let fail_strategy = match plugin.fail_strategy {
        FailStrategy::Close => wire::plugin::FailStrategy::FailClose,
        FailStrategy::Open => wire::plugin::FailStrategy::FailOpen,
        FailStrategy::Reload => wire::plugin::FailStrategy::FailReload,
    };
    wire::Plugin {
        origin: Some(wire::Origin {
            kind: "WasmPlugin".to_owned(),
            namespace: plugin.namespace.clone(),
            name: plugin.name.clone(),
            generation,
            created_at: 0,
        }),
        targets: vec![wire::Target {
            kind: Some(wire::target::Kind::Waypoint(true)),
        }],
        url: format!("file://{}", plugin.module.display()),
        configuration: plugin.configuration.clone().into(),
        root_id: plugin.root_id.clone(),
        fail_strategy: fail_strategy.into(),
        env: plugin.environment.clone().into_iter().collect(),
        allow_on_headers_stop_iteration: plugin.body_while_headers_wait,
        limits: plugin.callback_budget.map(limits),
        ..wire::Plugin::default()
    }
}

fn limits(callback: Duration) -> wire::PluginLimits {
    wire::PluginLimits {
        // One that is longer than any time is no limit.
        callback: callback.try_into().ok(),
        ..wire::PluginLimits::default()
    }
}
