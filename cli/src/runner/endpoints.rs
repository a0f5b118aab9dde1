//! Which pods stand behind which Service: EndpointSlices, and what follows from them for a node's
//! rules and for names. Pure functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, Service, ServicePort as ApiPort},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::{
        apis::meta::v1::{ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};

use super::{
    desired::{Named, ObjectKey},
    names::stable_suffix,
    service_ips::{ServiceIps, is_resolver},
};
use crate::world::{
    resolver::{EndpointName, Target},
    services::{ServicePort, Transport},
};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// A pod that may stand behind a Service.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) node: String,
    pub(super) ip: Ipv4Addr,
    pub(super) labels: BTreeMap<String, String>,
    /// Its containers' named ports.
    pub(super) ports: BTreeMap<String, u16>,
    /// The name it has below a headless Service called `subdomain`.
    pub(super) hostname: Option<String>,
    pub(super) subdomain: Option<String>,
    pub(super) ready: bool,
    pub(super) terminating: bool,
}

/// Whether a Service of `namespace` with this selector stands for `backend`.
pub(super) fn is_selected(
    selector: Option<&BTreeMap<String, String>>,
    namespace: &str,
    backend: &Backend,
) -> bool {
    let selector = selector.filter(|selector| !selector.is_empty());
    backend.namespace == namespace
        && selector.is_some_and(|selector| {
            selector
                .iter()
                .all(|(key, value)| backend.labels.get(key) == Some(value))
        })
}

/// The pods behind `service`.
fn selected<'b>(service: &Named<Service>, backends: &'b [Backend]) -> Vec<&'b Backend> {
    let selector = service
        .object
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    backends
        .iter()
        .filter(|backend| is_selected(selector, &service.key.namespace, backend))
        .collect()
}

/// The port of `backend` a Service's port leads to; `None` when it has none by that name.
fn target_port(port: &ApiPort, backend: &Backend) -> Option<u16> {
    match &port.target_port {
        Some(IntOrString::String(name)) => backend.ports.get(name).copied(),
        Some(IntOrString::Int(number)) if *number != 0 => u16::try_from(*number).ok(),
        _ => u16::try_from(port.port).ok(),
    }
}

/// The TCP and UDP ports that any of `services` sends to `backend`.
pub(super) fn targeted_ports<'a>(
    services: impl IntoIterator<Item = &'a Named<Service>>,
    backend: &Backend,
) -> BTreeSet<(Transport, u16)> {
    let one = std::slice::from_ref(backend);
    let chosen = services
        .into_iter()
        .filter(|service| !selected(service, one).is_empty());
    let ports = chosen.flat_map(|service| {
        service
            .object
            .spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten())
    });
    ports
        .filter_map(|port| {
            Some((
                transport(port.protocol.as_deref())?,
                target_port(port, backend)?,
            ))
        })
        .collect()
}

fn transport(protocol: Option<&str>) -> Option<Transport> {
    match protocol {
        None | Some("TCP") => Some(Transport::Tcp),
        Some("UDP") => Some(Transport::Udp),
        Some(_) => None,
    }
}

/// The slices of all `services` that select pods.
pub(super) fn slices<'a>(
    services: impl IntoIterator<Item = &'a Named<Service>>,
    backends: &[Backend],
) -> Vec<EndpointSlice> {
    services
        .into_iter()
        .flat_map(|service| slices_of(service, backends))
        .collect()
}

/// One slice for each set of ports the pods have: all but one when a named port differs.
fn slices_of(service: &Named<Service>, backends: &[Backend]) -> Vec<EndpointSlice> {
    let Some(spec) = &service.object.spec else {
        return Vec::new();
    };
    if spec.selector.as_ref().is_none_or(BTreeMap::is_empty)
        || spec.type_.as_deref() == Some("ExternalName")
    {
        return Vec::new();
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut groups: BTreeMap<Vec<Option<u16>>, Vec<&Backend>> = BTreeMap::new();
    for backend in selected(service, backends) {
        let numbers = ports
            .iter()
            .map(|port| target_port(port, backend))
            .collect();
        groups.entry(numbers).or_default().push(backend);
    }
    if groups.is_empty() {
        // A Service without pods has a slice that says so.
        groups.insert(Vec::new(), Vec::new());
    }
    groups
        .into_iter()
        .map(|(numbers, backends)| slice(service, ports, &numbers, &backends))
        .collect()
}

fn slice(
    service: &Named<Service>,
    ports: &[ApiPort],
    numbers: &[Option<u16>],
    backends: &[&Backend],
) -> EndpointSlice {
    let ObjectKey { namespace, name } = &service.key;
    let suffix = stable_suffix(&format!("{namespace}/{name}/{numbers:?}"));
    let port = |(port, number): (&ApiPort, &Option<u16>)| {
        number.map(|number| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(number.into()),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(
            backends
                .iter()
                .map(|backend| endpoint(service, backend))
                .collect(),
        ),
        ports: Some(ports.iter().zip(numbers).filter_map(port).collect()),
        metadata: ObjectMeta {
            name: Some(format!("{name}-{suffix}")),
            namespace: Some(namespace.clone()),
            labels: Some(BTreeMap::from([
                (SERVICE_LABEL.to_owned(), name.clone()),
                (
                    MANAGED_BY.to_owned(),
                    "endpointslice-controller.k8s.io".to_owned(),
                ),
            ])),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                name: name.clone(),
                controller: Some(true),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
    }
}

fn endpoint(service: &Named<Service>, backend: &Backend) -> Endpoint {
    let spec = service.object.spec.as_ref();
    let anyway = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let has_name_here = backend.subdomain.as_deref() == Some(service.key.name.as_str());
    Endpoint {
        addresses: vec![backend.ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(anyway || backend.ready && !backend.terminating),
            serving: Some(anyway || backend.ready),
            terminating: Some(backend.terminating),
        }),
        hostname: backend.hostname.clone().filter(|_| has_name_here),
        node_name: Some(backend.node.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(backend.namespace.clone()),
            name: Some(backend.name.clone()),
            uid: Some(backend.uid.clone()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

/// The Service a slice belongs to.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?;
    Some(ObjectKey::new(
        slice.metadata.namespace.as_deref().unwrap_or("default"),
        name,
    ))
}

fn is_ready(endpoint: &Endpoint) -> bool {
    // Unset means ready, as the API says.
    endpoint
        .conditions
        .as_ref()
        .and_then(|conditions| conditions.ready)
        != Some(false)
}

fn ready_ips(slice: &EndpointSlice) -> impl Iterator<Item = (Ipv4Addr, &Endpoint)> {
    let endpoints = slice.endpoints.iter().flatten();
    let endpoints = endpoints.filter(|endpoint| is_ready(endpoint));
    endpoints.flat_map(|endpoint| {
        endpoint
            .addresses
            .iter()
            .filter_map(move |ip| Some((ip.parse().ok()?, endpoint)))
    })
}

/// What the nodes' rules must say, from the Services, their addresses and all slices.
pub(super) fn service_ports<'a>(
    services: impl IntoIterator<Item = &'a Named<Service>>,
    ips: &ServiceIps,
    slices: &[EndpointSlice],
) -> Vec<ServicePort> {
    let mut ports = Vec::new();
    for service in services {
        let Some(vip) = ips.get(&service.key).filter(|ip| !is_resolver(*ip)) else {
            continue;
        };
        let own: Vec<_> = slices
            .iter()
            .filter(|slice| service_of(slice).as_ref() == Some(&service.key))
            .collect();
        for port in service
            .object
            .spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten())
        {
            let (Some(transport), Ok(number)) = (
                transport(port.protocol.as_deref()),
                u16::try_from(port.port),
            ) else {
                continue;
            };
            let name = port.name.as_deref().unwrap_or_default();
            ports.push(ServicePort {
                name: format!("{}:{name}", service.key),
                vip,
                transport,
                port: number,
                endpoints: own
                    .iter()
                    .flat_map(|slice| endpoints_of(slice, name))
                    .collect(),
            });
        }
    }
    ports
}

fn endpoints_of(slice: &EndpointSlice, port_name: &str) -> Vec<SocketAddrV4> {
    let is_meant = |port: &&EndpointPort| port.name.as_deref().unwrap_or_default() == port_name;
    let port = slice
        .ports
        .iter()
        .flatten()
        .find(is_meant)
        .and_then(|port| port.port);
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
        return Vec::new();
    };
    ready_ips(slice)
        .map(|(ip, _)| SocketAddrV4::new(ip, port))
        .collect()
}

/// Where the names of `services` lead.
pub(super) fn names<'a>(
    services: impl IntoIterator<Item = &'a Named<Service>>,
    ips: &ServiceIps,
    slices: &[EndpointSlice],
) -> BTreeMap<(String, String), Target> {
    let target = |service: &Named<Service>| {
        let spec = service.object.spec.as_ref();
        if let Some(name) = spec.filter(|spec| spec.type_.as_deref() == Some("ExternalName")) {
            return name.external_name.clone().map(Target::Alias);
        }
        if spec.and_then(|spec| spec.cluster_ip.as_deref()) != Some("None") {
            return ips.get(&service.key).map(Target::Vip);
        }
        let own = slices
            .iter()
            .filter(|slice| service_of(slice).as_ref() == Some(&service.key));
        let ready = own.flat_map(ready_ips);
        let named = ready.map(|(ip, endpoint)| EndpointName {
            ip,
            hostname: endpoint.hostname.clone(),
        });
        Some(Target::Endpoints(named.collect()))
    };
    let entry = |service: &Named<Service>| {
        Some((
            (service.key.namespace.clone(), service.key.name.clone()),
            target(service)?,
        ))
    };
    services.into_iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests;
