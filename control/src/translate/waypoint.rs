//! Gateways as waypoints: where they are, whom they serve, who may be attached to them.
//!
//! This is the first of the two layers of translation. A waypoint's services look at its
//! [`Waypoint`] and not at the Gateway, its Service and its pods, so that a waypoint pod that comes
//! or goes is no work for ten thousand services.
//!
//! Any Gateway with an address can be bound to, of whatever class (scenario 14).

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::{
    Gateway, GatewayListeners, GatewayListenersAllowedRoutesNamespacesFrom as From,
    GatewayListenersAllowedRoutesNamespacesSelector as Selector,
};
use proto::workload::application_tunnel::Protocol;
use proto::workload::gateway_address::Destination;
use proto::workload::{ApplicationTunnel, GatewayAddress, NamespacedHostname, NetworkAddress};

use super::gateway::{self, Address, Role};
use super::names;
use super::resources::WaypointName;
use super::view::View;
use crate::index::Labels;
use crate::object::Object;

/// What a Gateway amounts to as a waypoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waypoint {
    /// Its name.
    pub(crate) name: WaypointName,
    /// Class of its Gateway.
    pub(crate) class: String,
    /// Who looks after it.
    pub(crate) role: Role,
    /// Where it is; `None` until it has an address.
    pub(crate) address: Option<GatewayAddress>,
    /// How it wants its traffic, if it is sandwiched.
    pub(crate) tunnel: Option<ApplicationTunnel>,
    serves: String,
    admits: Admits,
}

/// Namespaces whose objects may be attached.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Admits {
    Same,
    All,
    Selected(BTreeMap<String, String>, Vec<Requirement>),
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

/// A destination that asks for a waypoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Traffic {
    /// Traffic addressed to a service.
    Service,
    /// Traffic addressed to a workload.
    Workload,
}

impl Traffic {
    /// Returns the word of `istio.io/waypoint-for`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Workload => "workload",
        }
    }
}

impl Waypoint {
    /// Works out what a Gateway amounts to.
    pub(crate) fn derive(view: &View<'_>, object: &Object, gateway: &Gateway) -> Self {
        let class = view.typed::<GatewayClass>("", &gateway.spec.gateway_class_name);
        let role = class.map_or(Role::Foreign, |(_, class)| gateway::role_of_class(class));
        let class = class.map(|(object, _)| object);
        let serves = object
            .label(names::WAYPOINT_FOR)
            .or_else(|| class?.label(names::WAYPOINT_FOR))
            .unwrap_or("service");
        let binding = object
            .annotation(names::INBOUND_BINDING)
            .or_else(|| class?.annotation(names::INBOUND_BINDING));
        let tunnel = binding.and_then(read_binding);
        let front = gateway::front(view, object, gateway, role);
        Self {
            name: WaypointName::new(&object.key.namespace, &object.key.name),
            class: gateway.spec.gateway_class_name.clone(),
            role,
            address: destination(
                &object.key.namespace,
                &front.addresses,
                &view.settings.network,
            ),
            serves: serves.to_owned(),
            admits: listener(&gateway.spec.listeners, tunnel.as_ref()).map_or(Admits::Same, admits),
            tunnel,
        }
    }

    /// Whether it serves traffic of a kind.
    pub(crate) fn serves(&self, traffic: Traffic) -> bool {
        self.serves == "all" || self.serves == traffic.word()
    }

    /// Whether nothing comes to it but what is addressed to Services of its own namespace.
    pub(crate) fn is_of_own_services(&self) -> bool {
        !self.serves(Traffic::Workload) && self.admits == Admits::Same
    }

    /// Whether objects of a namespace may be attached.
    pub(crate) fn admits(&self, namespace: &str, labels: Option<&Labels>) -> bool {
        match &self.admits {
            Admits::All => true,
            Admits::Same => *self.name.namespace == *namespace,
            Admits::Selected(exact, requirements) => {
                let none = Labels::new();
                let labels = labels.unwrap_or(&none);
                exact
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
                    && requirements
                        .iter()
                        .all(|requirement| requirement.holds(labels))
            }
        }
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // Admission knows no other; one that got here admits nobody.
            _ => false,
        }
    }
}

/// Returns the address that ztunnels are given: the host name if there is one. The port is HBONE's,
/// whatever the listeners say.
fn destination(namespace: &str, addresses: &[Address], network: &str) -> Option<GatewayAddress> {
    let hostname = addresses.iter().find_map(|address| match address {
        Address::Hostname(hostname) => Some(Destination::Hostname(NamespacedHostname {
            namespace: namespace.to_owned(),
            hostname: hostname.clone(),
        })),
        Address::Ip(_) => None,
    });
    let destination = hostname.or_else(|| {
        addresses.iter().find_map(|address| match address {
            Address::Ip(ip) => Some(Destination::Address(network_address(ip, network)?)),
            Address::Hostname(_) => None,
        })
    })?;
    Some(GatewayAddress {
        destination: Some(destination),
        hbone_mtls_port: u32::from(names::HBONE_PORT),
    })
}

/// Returns an address of a network, `None` if it is not an IP address.
pub(crate) fn network_address(ip: &str, network: &str) -> Option<NetworkAddress> {
    Some(NetworkAddress {
        network: network.to_owned(),
        address: ip_bytes(ip)?,
        length: None,
    })
}

/// Returns the bytes of an IP address.
pub(crate) fn ip_bytes(ip: &str) -> Option<Bytes> {
    Some(match ip.parse().ok()? {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    })
}

/// Reads `NONE`, `PROXY`, each with an optional `/port`.
fn read_binding(text: &str) -> Option<ApplicationTunnel> {
    let (protocol, port) = match text.split_once('/') {
        Some((protocol, port)) => (protocol, u32::from(port.parse::<u16>().ok()?)),
        None => (text, 0),
    };
    let protocol = match protocol {
        "NONE" => Protocol::None,
        "PROXY" => Protocol::Proxy,
        _ => return None,
    };
    Some(ApplicationTunnel {
        protocol: protocol.into(),
        port,
    })
}

/// Returns the listener whose `allowedRoutes` count.
fn listener<'l>(
    listeners: &'l [GatewayListeners],
    tunnel: Option<&ApplicationTunnel>,
) -> Option<&'l GatewayListeners> {
    let fits = |listener: &&GatewayListeners| match tunnel {
        Some(tunnel) if tunnel.port != 0 => u32::try_from(listener.port) == Ok(tunnel.port),
        Some(tunnel) if tunnel.protocol() == Protocol::Proxy => listener.protocol == names::PROXY,
        _ => is_mesh(listener),
    };
    listeners.iter().find(fits)
}

/// Whether a listener is the one a waypoint has.
pub(crate) fn is_mesh(listener: &GatewayListeners) -> bool {
    listener.protocol == names::HBONE && listener.port == i32::from(names::HBONE_PORT)
}

fn admits(listener: &GatewayListeners) -> Admits {
    let namespaces = listener
        .allowed_routes
        .as_ref()
        .and_then(|routes| routes.namespaces.as_ref());
    match namespaces.and_then(|namespaces| namespaces.from.as_ref()) {
        Some(From::All) => Admits::All,
        Some(From::Selector) => match namespaces.and_then(|n| n.selector.as_ref()) {
            Some(selector) => selected(selector),
            None => Admits::Same,
        },
        _ => Admits::Same,
    }
}

fn selected(selector: &Selector) -> Admits {
    let requirements = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|found| Requirement {
            key: found.key.clone(),
            operator: found.operator.clone(),
            values: found.values.clone().unwrap_or_default(),
        });
    Admits::Selected(
        selector.match_labels.clone().unwrap_or_default(),
        requirements.collect(),
    )
}
