//! `istio.workload`.

use proto::workload::{
    AppProtocol, ApplicationTunnel, Extension, GatewayAddress, IpFamilies, LoadBalancing, Locality,
    NamespacedHostname, NetworkAddress, NetworkMode, Port, PortList, Service, TunnelProtocol,
    Visibility, WeightedWaypoint, Workload, WorkloadStatus, WorkloadType,
    application_tunnel::Protocol,
    gateway_address::Destination,
    load_balancing::{HealthPolicy, Mode, Scope},
};
use serde_json::{Map, Value};

use super::{Object, base64, ip, list, named};

/// A workload.
pub fn workload(workload: &Workload) -> Value {
    let Workload {
        uid,
        name,
        namespace,
        addresses,
        hostname,
        network,
        tunnel_protocol,
        trust_domain,
        service_account,
        waypoint,
        network_gateway,
        node,
        canonical_name,
        canonical_revision,
        workload_type,
        workload_name,
        native_tunnel,
        authorization_policies,
        status,
        cluster_id,
        services,
        application_tunnel,
        locality,
        network_mode,
        extensions,
        capacity,
    } = workload;
    let services: Map<_, _> = services
        .iter()
        .map(|(name, list)| (name.clone(), port_list(list)))
        .collect();
    Object::default()
        .field("uid", uid.as_str())
        .field("name", name.as_str())
        .field("namespace", namespace.as_str())
        .field("addresses", list(addresses, |address| ip(address).into()))
        .field("hostname", hostname.as_str())
        .field("network", network.as_str())
        .name(
            "tunnelProtocol",
            *tunnel_protocol,
            TunnelProtocol::as_str_name,
        )
        .field("trustDomain", trust_domain.as_str())
        .field("serviceAccount", service_account.as_str())
        .optional("waypoint", waypoint.as_ref().map(gateway))
        .optional("networkGateway", network_gateway.as_ref().map(gateway))
        .field("node", node.as_str())
        .field("canonicalName", canonical_name.as_str())
        .field("canonicalRevision", canonical_revision.as_str())
        .name("workloadType", *workload_type, WorkloadType::as_str_name)
        .field("workloadName", workload_name.as_str())
        .field("nativeTunnel", *native_tunnel)
        .field("authorizationPolicies", authorization_policies.clone())
        .name("status", *status, WorkloadStatus::as_str_name)
        .field("clusterId", cluster_id.as_str())
        .field("services", services)
        .optional("applicationTunnel", application_tunnel.map(tunnel))
        .optional("locality", locality.as_ref().map(place))
        .name("networkMode", *network_mode, NetworkMode::as_str_name)
        .field("extensions", list(extensions, extension))
        .optional("capacity", *capacity)
        .done()
}

/// A service.
pub fn service(service: &Service) -> Value {
    let Service {
        name,
        namespace,
        hostname,
        addresses,
        ports,
        subject_alt_names,
        waypoint,
        load_balancing,
        ip_families,
        extensions,
        canonical,
        ingress_use_waypoint,
        weighted_waypoints,
        visibility,
    } = service;
    Object::default()
        .field("name", name.as_str())
        .field("namespace", namespace.as_str())
        .field("hostname", hostname.as_str())
        .field("addresses", list(addresses, address))
        .field("ports", list(ports, port))
        .field("subjectAltNames", subject_alt_names.clone())
        .optional("waypoint", waypoint.as_ref().map(gateway))
        .optional("loadBalancing", load_balancing.as_ref().map(balancing))
        .name("ipFamilies", *ip_families, IpFamilies::as_str_name)
        .field("extensions", list(extensions, extension))
        .field("canonical", *canonical)
        .field("ingressUseWaypoint", *ingress_use_waypoint)
        .field("weightedWaypoints", list(weighted_waypoints, weighted))
        .name("visibility", *visibility, Visibility::as_str_name)
        .done()
}

fn port_list(PortList { ports }: &PortList) -> Value {
    Object::default().field("ports", list(ports, port)).done()
}

fn port(
    Port {
        service_port,
        target_port,
        app_protocol,
    }: &Port,
) -> Value {
    Object::default()
        .field("servicePort", *service_port)
        .field("targetPort", *target_port)
        .name("appProtocol", *app_protocol, AppProtocol::as_str_name)
        .done()
}

fn gateway(
    GatewayAddress {
        hbone_mtls_port,
        destination,
    }: &GatewayAddress,
) -> Value {
    let object = match destination {
        Some(Destination::Hostname(NamespacedHostname {
            namespace,
            hostname,
        })) => {
            let name = Object::default()
                .field("namespace", namespace.as_str())
                .field("hostname", hostname.as_str());
            Object::default().optional("hostname", Some(name.done()))
        }
        Some(Destination::Address(at)) => Object::default().optional("address", Some(address(at))),
        None => Object::default(),
    };
    object.field("hboneMtlsPort", *hbone_mtls_port).done()
}

fn weighted(
    WeightedWaypoint {
        destination,
        weight,
    }: &WeightedWaypoint,
) -> Value {
    Object::default()
        .optional("destination", destination.as_ref().map(gateway))
        .field("weight", *weight)
        .done()
}

fn address(
    NetworkAddress {
        network,
        address,
        length,
    }: &NetworkAddress,
) -> Value {
    Object::default()
        .field("network", network.as_str())
        .field("address", ip(address))
        .optional("length", *length)
        .done()
}

fn balancing(balancing: &LoadBalancing) -> Value {
    let LoadBalancing {
        routing_preference,
        mode,
        health_policy,
    } = balancing;
    Object::default()
        .field(
            "routingPreference",
            list(routing_preference, |scope| {
                named(*scope, Scope::as_str_name)
            }),
        )
        .name("mode", *mode, Mode::as_str_name)
        .name("healthPolicy", *health_policy, HealthPolicy::as_str_name)
        .done()
}

fn tunnel(ApplicationTunnel { protocol, port }: ApplicationTunnel) -> Value {
    Object::default()
        .name("protocol", protocol, Protocol::as_str_name)
        .field("port", port)
        .done()
}

fn place(
    Locality {
        region,
        zone,
        subzone,
    }: &Locality,
) -> Value {
    Object::default()
        .field("region", region.as_str())
        .field("zone", zone.as_str())
        .field("subzone", subzone.as_str())
        .done()
}

fn extension(Extension { name, config }: &Extension) -> Value {
    let config = config.as_ref().map(|any| {
        Object::default()
            .field("@type", any.type_url.as_str())
            .field("value", base64(&any.value))
            .done()
    });
    Object::default()
        .field("name", name.as_str())
        .optional("config", config)
        .done()
}
