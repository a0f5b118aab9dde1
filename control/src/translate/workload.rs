//! Pods, endpoints given by hand and remote gateways as workloads.
//!
//! Scenarios 01, 02, 03, 04 and 32. Every pod with an address is a workload, enrolled or not; the
//! annotation of the node agent alone says that it is captured.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proto::workload::{
    Locality, NetworkMode, Port, PortList, TunnelProtocol, Workload, WorkloadStatus, WorkloadType,
};
use serde_json::Value;

use super::binding::{self, bind};
use super::names;
use super::view::View;
use super::waypoint::{Traffic, ip_bytes};
use super::{authz, peer, port, service};
use crate::index::{NODE, SERVICE};
use crate::object::{Key, Object};

/// Returns the workload of a pod, `None` while it has no address or once it has ended.
pub(crate) fn of_pod(view: &View<'_>, object: &Object, pod: &Pod) -> Option<Workload> {
    if !is_running(object) {
        return None;
    }
    let settings = view.settings;
    let spec = pod.spec.as_ref()?;
    let Key {
        namespace, name, ..
    } = &object.key;
    let tunnels_itself = object
        .label(names::TUNNEL)
        .is_some_and(|tunnels| tunnels.split(',').any(|t| t == "http"));
    let captured = object.annotation(names::REDIRECTION) == Some("enabled");
    let tunnel = if captured || tunnels_itself {
        TunnelProtocol::Hbone
    } else {
        TunnelProtocol::None
    };
    let network_mode = match spec.host_network {
        Some(true) => NetworkMode::HostNetwork,
        _ => NetworkMode::Standard,
    };
    let status = if is_ready(object) {
        WorkloadStatus::Healthy
    } else {
        WorkloadStatus::Unhealthy
    };
    let binding = bind(view, object, Traffic::Workload);
    let workload_name = workload_name(object, pod);
    let instance = binding::instance_of(view, object);
    let mut policies = authz::selecting(view, object);
    policies.extend(peer::effective(view, object));
    policies.sort();
    Some(Workload {
        uid: format!("{}//Pod/{namespace}/{name}", settings.cluster_id),
        name: name.to_string(),
        namespace: namespace.to_string(),
        addresses: addresses(object)
            .iter()
            .filter_map(|ip| ip_bytes(ip))
            .collect(),
        network: object
            .label(names::NETWORK)
            .unwrap_or(&settings.network)
            .to_owned(),
        tunnel_protocol: tunnel.into(),
        trust_domain: settings.wire_trust_domain(),
        service_account: spec.service_account_name.clone().unwrap_or_default(),
        waypoint: binding
            .bound()
            .and_then(|bound| bound.primary.address.clone()),
        node: spec.node_name.clone().unwrap_or_default(),
        canonical_name: canonical_name(object, &workload_name),
        canonical_revision: canonical_revision(object),
        workload_type: WorkloadType::Pod.into(),
        workload_name,
        native_tunnel: tunnels_itself,
        authorization_policies: policies,
        status: status.into(),
        cluster_id: settings.cluster_id.clone(),
        services: services(view, object, pod),
        application_tunnel: instance.and_then(|waypoint| waypoint.tunnel),
        locality: spec
            .node_name
            .as_deref()
            .and_then(|node| locality(view, node)),
        network_mode: network_mode.into(),
        ..Workload::default()
    })
}

/// Whether a pod has an address and has not ended.
pub(crate) fn is_running(pod: &Object) -> bool {
    !matches!(phase(pod), Some("Succeeded" | "Failed")) && !addresses(pod).is_empty()
}

fn phase(pod: &Object) -> Option<&str> {
    pod.status.as_deref()?.get("phase")?.as_str()
}

/// Returns the addresses of a pod; the status speaks, not what the manifest once said.
fn addresses(pod: &Object) -> Vec<&str> {
    let Some(status) = pod.status.as_deref() else {
        return Vec::new();
    };
    let items = status
        .get("podIPs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let many: Vec<&str> = items.filter_map(|item| item.get("ip")?.as_str()).collect();
    match status.get("podIP").and_then(Value::as_str) {
        Some(ip) if many.is_empty() && !ip.is_empty() => vec![ip],
        _ => many,
    }
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod
        .status
        .as_deref()
        .and_then(|status| status.get("conditions"));
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let is_deleted = pod.value.pointer("/metadata/deletionTimestamp").is_some();
    !is_deleted
        && conditions.any(|condition| {
            let text = |field: &str| condition.get(field).and_then(Value::as_str);
            text("type") == Some("Ready") && text("status") == Some("True")
        })
}

/// Returns the name of what runs a pod: its Deployment rather than the replica set in between, its
/// cron job rather than the job.
fn workload_name(object: &Object, pod: &Pod) -> String {
    if let Some(name) = object.label(names::WORKLOAD_NAME) {
        return name.to_owned();
    }
    let owners = pod.metadata.owner_references.iter().flatten();
    let Some(owner) = owners
        .into_iter()
        .find(|owner| owner.controller == Some(true))
    else {
        return object.key.name.to_string();
    };
    let shortened = match owner.kind.as_str() {
        "ReplicaSet" => object
            .label(names::POD_TEMPLATE_HASH)
            .filter(|hash| !hash.is_empty())
            .and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-')),
        "Job" => cron_job_of(&owner.name),
        _ => None,
    };
    shortened.unwrap_or(&owner.name).to_owned()
}

/// A cron job puts eight to ten digits of time behind its name.
fn cron_job_of(job: &str) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let is_time = (8..=10).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}

/// A label that is there ends the search, also when it is empty.
fn canonical_name(object: &Object, workload_name: &str) -> String {
    [names::CANONICAL_NAME, "app.kubernetes.io/name", "app"]
        .into_iter()
        .find_map(|key| object.label(key))
        .unwrap_or(workload_name)
        .to_owned()
}

fn canonical_revision(object: &Object) -> String {
    [
        names::CANONICAL_REVISION,
        "app.kubernetes.io/version",
        "version",
    ]
    .into_iter()
    .find_map(|key| object.label(key))
    .unwrap_or("latest")
    .to_owned()
}

fn locality(view: &View<'_>, node: &str) -> Option<Locality> {
    let node = view.object(&Key::new(NODE, "", node))?;
    let text = |key: &str| node.label(key).unwrap_or_default().to_owned();
    let locality = Locality {
        region: text(names::REGION),
        zone: text(names::ZONE),
        subzone: text(names::SUBZONE),
    };
    (locality != Locality::default()).then_some(locality)
}

/// Returns the Services a pod is an endpoint of, each with the ports that lead somewhere on it.
fn services(view: &View<'_>, object: &Object, pod: &Pod) -> BTreeMap<String, PortList> {
    let Some(spec) = pod.spec.as_ref() else {
        return BTreeMap::new();
    };
    let found = view
        .selecting(&SERVICE, &object.key.namespace, &object.labels)
        .into_iter();
    found
        .filter_map(|service| {
            let decoded = service.decoded::<Service>()?;
            let ports = service::discovered(decoded)?
                .ports
                .iter()
                .flatten()
                .filter_map(|found| {
                    Some(Port {
                        service_port: port::number(found.port),
                        target_port: port::target_on(found, spec)?,
                        app_protocol: 0,
                    })
                });
            Some((
                service::key(view, &service.key),
                PortList {
                    ports: ports.collect(),
                },
            ))
        })
        .collect()
}

/// Returns the workloads of endpoints that are not pods.
///
/// Nothing is known of them but their address, which may be shared with others.
pub(crate) fn of_slice(view: &View<'_>, object: &Object, slice: &EndpointSlice) -> Vec<Workload> {
    let Some((service, ports)) = slice_ports(view, object, slice) else {
        return Vec::new();
    };
    let settings = view.settings;
    let Key {
        namespace, name, ..
    } = &object.key;
    let is_pod = |kind: Option<&String>| kind.is_some_and(|kind| kind == "Pod");
    let endpoints = slice.endpoints.iter().flatten().filter(|endpoint| {
        !is_pod(
            endpoint
                .target_ref
                .as_ref()
                .and_then(|target| target.kind.as_ref()),
        )
    });
    endpoints
        .filter_map(|endpoint| {
            // More than one address per endpoint means nothing: dual stack is two slices.
            let ip = endpoint.addresses.first()?;
            let ready = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready);
            let status = match ready {
                None | Some(true) => WorkloadStatus::Healthy,
                Some(false) => WorkloadStatus::Unhealthy,
            };
            Some(Workload {
                uid: format!(
                    "{}/discovery.k8s.io/EndpointSlice/{namespace}/{name}/{ip}",
                    settings.cluster_id
                ),
                name: name.to_string(),
                namespace: namespace.to_string(),
                addresses: vec![ip_bytes(ip)?],
                network: settings.network.clone(),
                trust_domain: settings.wire_trust_domain(),
                services: BTreeMap::from([(service.clone(), ports.clone())]),
                status: status.into(),
                cluster_id: settings.cluster_id.clone(),
                network_mode: NetworkMode::HostNetwork.into(),
                ..Workload::default()
            })
        })
        .collect()
}

/// Returns the Service of a slice and the ports of both, joined by name.
fn slice_ports(
    view: &View<'_>,
    object: &Object,
    slice: &EndpointSlice,
) -> Option<(String, PortList)> {
    if slice.address_type == "FQDN" {
        return None;
    }
    let name = object.label(names::SERVICE_NAME)?;
    let (found, decoded) = view.typed::<Service>(&object.key.namespace, name)?;
    let spec = service::discovered(decoded)?;
    let named = |wanted: &str| {
        let mut ports = spec.ports.iter().flatten();
        ports.find(|port| port.name.as_deref().unwrap_or_default() == wanted)
    };
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        let service_port = named(port.name.as_deref().unwrap_or_default())?;
        port::is_tcp(port.protocol.as_deref()).then_some(Port {
            service_port: port::number(service_port.port),
            target_port: port::number(port.port?),
            app_protocol: 0,
        })
    });
    Some((
        service::key(view, &found.key),
        PortList {
            ports: ports.collect(),
        },
    ))
}
