//! What a Gateway is to us and how it is reached.
//!
//! Scenarios 12, 14, 15. The rules of Istio for addresses: they are published as soon as the
//! Gateway's Service has an endpoint, ready or not, and never taken back: a waypoint that is gone
//! must blackhole its services rather than leave them unguarded.

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::{Gateway, GatewaySpec};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::names;
use super::view::View;
use super::workload;
use crate::deploy;
use crate::index::{ENDPOINT_SLICE, POD};
use crate::object::Object;

/// Who looks after a Gateway, by the controller of its class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// A waypoint: ours to deploy and to configure.
    Waypoint,
    /// A description of a gateway elsewhere.
    Remote,
    /// An ingress gateway of Istio's class; nobody serves it.
    Ingress,
    /// Another controller's.
    Foreign,
}

/// Returns the role that a class gives to its Gateways.
pub(crate) fn role_of_class(class: &GatewayClass) -> Role {
    match class.spec.controller_name.as_str() {
        names::MESH_CONTROLLER => Role::Waypoint,
        names::UNMANAGED_CONTROLLER => Role::Remote,
        names::GATEWAY_CONTROLLER => Role::Ingress,
        _ => Role::Foreign,
    }
}

/// Returns the role of a Gateway. Without its class it is nobody's.
pub(crate) fn role(view: &View<'_>, gateway: &GatewaySpec) -> Role {
    view.typed::<GatewayClass>("", &gateway.gateway_class_name)
        .map_or(Role::Foreign, |(_, class)| role_of_class(class))
}

/// An address of a Gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    /// An IP address.
    Ip(String),
    /// A host name.
    Hostname(String),
}

impl Address {
    /// Returns the address as (type, value) of Gateway API.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Ip(value) => ("IPAddress", value),
            Self::Hostname(value) => ("Hostname", value),
        }
    }

    fn read(kind: Option<&str>, value: Option<&str>) -> Option<Self> {
        let value = value.filter(|value| !value.is_empty())?.to_owned();
        match kind.unwrap_or("IPAddress") {
            "IPAddress" => Some(Self::Ip(value)),
            "Hostname" => Some(Self::Hostname(value)),
            _ => None,
        }
    }
}

/// Why a Gateway is not reachable at what it asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unreachable {
    /// It asks for several fixed addresses.
    Unsupported(Vec<String>),
    /// There is no Service of this host name.
    NoService(String),
    /// The Service has no endpoint.
    NoEndpoints(String),
    /// The Service waits for an address from outside.
    Pending(String),
}

/// How a Gateway is reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Front {
    /// Addresses: those of its Services first, then their host names.
    pub(crate) addresses: Vec<Address>,
    /// `host:port` of what is assigned to it.
    pub(crate) assigned: Vec<String>,
    /// What is missing, the first of it.
    pub(crate) unreachable: Option<Unreachable>,
}

/// Works out how a Gateway is reached.
pub(crate) fn front(view: &View<'_>, object: &Object, gateway: &Gateway, role: Role) -> Front {
    let mut front = match role {
        Role::Waypoint => of_services(view, object, gateway),
        Role::Remote => Front {
            addresses: requested(&gateway.spec),
            ..Front::default()
        },
        Role::Ingress | Role::Foreign => Front::default(),
    };
    if front.addresses.is_empty() {
        front.addresses = published(object);
    }
    front
}

/// Whether a waypoint's Service is ours to make: it asks for no address, or for one IP address.
pub(crate) fn is_managed(gateway: &GatewaySpec) -> bool {
    matches!(requested(gateway).as_slice(), [] | [Address::Ip(_)])
}

/// Returns group and kind of a Gateway's parameters.
pub(crate) fn parameters(gateway: &GatewaySpec) -> Option<(&str, &str)> {
    let parameters = gateway.infrastructure.as_ref()?.parameters_ref.as_ref()?;
    Some((&parameters.group, &parameters.kind))
}

/// Group and kind of parameters that can be understood.
pub(crate) const PARAMETERS: (&str, &str) = ("", "ConfigMap");

fn of_services(view: &View<'_>, object: &Object, gateway: &Gateway) -> Front {
    let namespace = &object.key.namespace;
    let hostnames: Vec<String> = requested(&gateway.spec)
        .into_iter()
        .filter_map(|address| match address {
            Address::Hostname(hostname) => Some(hostname),
            Address::Ip(_) => None,
        })
        .collect();
    if hostnames.is_empty() && !is_managed(&gateway.spec) {
        let values = requested(&gateway.spec)
            .iter()
            .map(|a| a.parts().1.to_owned())
            .collect();
        let unreachable = Some(Unreachable::Unsupported(values));
        return Front {
            unreachable,
            ..Front::default()
        };
    }
    let hostnames = if hostnames.is_empty() {
        vec![
            view.settings
                .hostname(namespace, &deploy::service_name(object)),
        ]
    } else {
        hostnames
    };
    let mut front = Front::default();
    for hostname in hostnames {
        if let Err(unreachable) = join(view, gateway, hostname, &mut front) {
            front.unreachable.get_or_insert(unreachable);
        }
    }
    // Addresses before host names, as clients of the API expect.
    front
        .addresses
        .sort_by_key(|address| matches!(address, Address::Hostname(_)));
    front
}

/// Adds the Service of one host name to a front.
fn join(
    view: &View<'_>,
    gateway: &Gateway,
    hostname: String,
    front: &mut Front,
) -> Result<(), Unreachable> {
    let found = view
        .settings
        .service_of(&hostname)
        .and_then(|(name, namespace)| view.typed::<Service>(namespace, name));
    let Some((object, service)) = found else {
        return Err(Unreachable::NoService(hostname));
    };
    let Some(spec) = service.spec.as_ref() else {
        return Err(Unreachable::NoService(hostname));
    };
    if !has_endpoints(view, object, spec) {
        return Err(Unreachable::NoEndpoints(hostname));
    }
    let listeners = gateway.spec.listeners.iter();
    front
        .assigned
        .extend(listeners.map(|listener| format!("{hostname}:{}", listener.port)));
    front.addresses.extend(cluster_ips(spec).map(Address::Ip));
    if spec.type_.as_deref() == Some("LoadBalancer") {
        let outside = load_balancer_addresses(object);
        if outside.is_empty() {
            return Err(Unreachable::Pending(hostname));
        }
        front.addresses.extend(outside);
    }
    front.addresses.push(Address::Hostname(hostname));
    Ok(())
}

/// Returns the virtual addresses of a Service.
pub(crate) fn cluster_ips(spec: &ServiceSpec) -> impl Iterator<Item = String> {
    let many = spec.cluster_ips.clone().unwrap_or_default();
    let one = spec.cluster_ip.clone().filter(|_| many.is_empty());
    many.into_iter()
        .chain(one)
        .filter(|ip| !ip.is_empty() && ip != "None")
}

/// Whether a Service has an endpoint, ready or not.
fn has_endpoints(view: &View<'_>, object: &Object, spec: &ServiceSpec) -> bool {
    let selector = spec.selector.clone().unwrap_or_default();
    let pods = view.selected(&POD, &object.key.namespace, &selector);
    pods.into_iter().any(|pod| workload::is_running(pod))
        || view
            .attached(&ENDPOINT_SLICE, &object.key)
            .into_iter()
            .any(|slice| {
                slice
                    .decoded::<EndpointSlice>()
                    .is_some_and(|s| s.endpoints.iter().flatten().next().is_some())
            })
}

fn load_balancer_addresses(service: &Object) -> Vec<Address> {
    let ingress = service
        .status
        .as_deref()
        .and_then(|status| status.pointer("/loadBalancer/ingress"));
    let items = ingress.and_then(Value::as_array).into_iter().flatten();
    let text = |item: &Value, field: &str| Some(item.get(field)?.as_str()?.to_owned());
    items
        .filter_map(|item| {
            text(item, "ip")
                .map(Address::Ip)
                .or_else(|| text(item, "hostname").map(Address::Hostname))
        })
        .collect()
}

/// Returns the addresses that a Gateway asks for by value.
fn requested(gateway: &GatewaySpec) -> Vec<Address> {
    let addresses = gateway.addresses.iter().flatten();
    addresses
        .filter_map(|a| Address::read(a.r#type.as_deref(), a.value.as_deref()))
        .collect()
}

/// Returns the addresses in a Gateway's status.
fn published(object: &Object) -> Vec<Address> {
    let addresses = object
        .status
        .as_deref()
        .and_then(|status| status.get("addresses"));
    let items = addresses.and_then(Value::as_array).into_iter().flatten();
    let text =
        |item: &'_ Value, field: &str| item.get(field).and_then(Value::as_str).map(str::to_owned);
    items
        .filter_map(|item| {
            Address::read(
                text(item, "type").as_deref(),
                text(item, "value").as_deref(),
            )
        })
        .collect()
}
