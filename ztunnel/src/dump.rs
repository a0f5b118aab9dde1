//! The state of the mesh as `/config_dump` shows it. istioctl and Kiali parse it: key names and
//! value kinds are an interface.

use std::collections::BTreeMap;

use mesh::address::GatewayAddress;
use mesh::service::{IpFamilies, LoadBalancerMode, Scope as LocalityScope, Service, Visibility};
use mesh::store::{ServiceEntry, Store};
use mesh::workload::{Health, TunnelProtocol, Workload, WorkloadType};
use serde_json::{Map, Value, json};

#[cfg(test)]
mod tests;

/// Workloads, services and policies, each list in a stable order.
pub(crate) fn store(store: &Store) -> Map<String, Value> {
    let mut workloads: Vec<_> = store.workloads().collect();
    workloads.sort_by(|a, b| a.uid.cmp(&b.uid));
    let mut services: Vec<_> = store.services().collect();
    services.sort_by(|a, b| a.service.key.cmp(&b.service.key));
    let mut dump = Map::new();
    let workloads = workloads.iter().map(|found| workload(found)).collect();
    dump.insert("workloads".into(), Value::Array(workloads));
    let services = services.iter().map(|entry| service(entry)).collect();
    dump.insert("services".into(), Value::Array(services));
    let policies = store.policies().map(|policy| json!(**policy));
    dump.insert("policies".into(), Value::Array(policies.collect()));
    dump
}

fn workload(found: &Workload) -> Value {
    let services: Vec<_> = found
        .services
        .iter()
        .map(|(key, _)| key.to_string())
        .collect();
    let mut dump = Object::default();
    dump.put("workloadIps", json!(found.addresses));
    dump.put(
        "waypoint",
        found.waypoint.as_ref().map_or(Value::Null, gateway),
    );
    dump.put(
        "networkGateway",
        found.network_gateway.as_ref().map_or(Value::Null, gateway),
    );
    let protocol = match found.tunnel_protocol {
        TunnelProtocol::Hbone => "HBONE",
        TunnelProtocol::Tcp => "TCP",
    };
    dump.put("protocol", json!(protocol));
    dump.put(
        "networkMode",
        json!(if found.host_network {
            "HostNetwork"
        } else {
            "Standard"
        }),
    );
    dump.put("uid", json!(*found.uid));
    dump.put("name", json!(*found.name));
    dump.put("namespace", json!(*found.namespace));
    dump.put("trustDomain", json!(found.identity.trust_domain()));
    dump.put("serviceAccount", json!(found.service_account()));
    dump.put_some("network", &found.network);
    dump.put("workloadName", json!(*found.workload_name));
    let kind = match found.workload_type {
        WorkloadType::Deployment => "deployment",
        WorkloadType::CronJob => "cronjob",
        WorkloadType::Pod => "pod",
        WorkloadType::Job => "job",
    };
    dump.put("workloadType", json!(kind));
    dump.put("canonicalName", json!(*found.canonical_name));
    dump.put("canonicalRevision", json!(*found.canonical_revision));
    dump.put_some("hostname", &found.hostname);
    dump.put_some("node", &found.node);
    if found.native_tunnel {
        dump.put("nativeTunnel", json!(true));
    }
    if let Some(tunnel) = found.application_tunnel {
        let protocol = if tunnel.proxy_protocol {
            "PROXY"
        } else {
            "NONE"
        };
        dump.put(
            "applicationTunnel",
            json!({"protocol": protocol, "port": tunnel.port}),
        );
    }
    dump.put_list("authorizationPolicies", json!(found.authorization_policies));
    let health = match found.health {
        Health::Healthy => "Healthy",
        Health::Unhealthy => "Unhealthy",
    };
    dump.put("status", json!(health));
    dump.put("clusterId", json!(*found.cluster_id));
    let locality = locality(found);
    if locality.as_object().is_some_and(|parts| !parts.is_empty()) {
        dump.put("locality", locality);
    }
    dump.put_list("services", json!(services));
    dump.put("capacity", json!(found.capacity));
    dump.into()
}

fn service(entry: &ServiceEntry) -> Value {
    let found: &Service = &entry.service;
    let ports: BTreeMap<_, _> = found
        .ports
        .iter()
        .map(|port| {
            (
                port.service_port.to_string(),
                port.target_port.unwrap_or_default(),
            )
        })
        .collect();
    let endpoints: BTreeMap<_, _> = entry
        .endpoints
        .iter()
        .map(|(uid, endpoint)| {
            let ports: BTreeMap<_, _> = endpoint
                .ports
                .iter()
                .map(|(from, to)| (from.to_string(), *to))
                .collect();
            let status = if endpoint.healthy() {
                "Healthy"
            } else {
                "Unhealthy"
            };
            let value = json!({"workloadUid": **uid, "port": ports, "status": status});
            (uid.to_string(), value)
        })
        .collect();
    let mut dump = Object::default();
    dump.put("name", json!(*found.name));
    dump.put("namespace", json!(*found.key.namespace));
    dump.put("hostname", json!(*found.key.hostname));
    dump.put("vips", json!(found.vips));
    if !found.cidr_vips.is_empty() {
        let ranges = found
            .cidr_vips
            .iter()
            .map(|(network, range)| format!("{network}/{range}"));
        dump.put("cidrVips", json!(ranges.collect::<Vec<_>>()));
    }
    dump.put("ports", json!(ports));
    dump.put("endpoints", json!(endpoints));
    dump.put("subjectAltNames", json!(found.subject_alt_names));
    dump.put(
        "waypoint",
        found.waypoint.as_ref().map_or(Value::Null, gateway),
    );
    let weighted = found.weighted_waypoints.iter();
    let weighted =
        weighted.map(|(to, weight)| json!({"destination": gateway(to), "weight": weight}));
    dump.put_list("weightedWaypoints", Value::Array(weighted.collect()));
    dump.put("loadBalancer", load_balancer(found));
    let families = match found.ip_families {
        IpFamilies::Automatic => Value::Null,
        IpFamilies::Ipv4Only => json!("IPv4"),
        IpFamilies::Ipv6Only => json!("IPv6"),
        IpFamilies::Dual => json!("Dual"),
    };
    dump.put("ipFamilies", families);
    dump.put("canonical", json!(found.canonical));
    let visibility = match found.visibility {
        Visibility::Public => "Public",
        Visibility::Namespace => "Namespace",
    };
    dump.put("visibility", json!(visibility));
    dump.into()
}

fn gateway(to: &GatewayAddress) -> Value {
    json!({"destination": to.destination, "hboneMtlsPort": to.hbone_port})
}

fn locality(found: &Workload) -> Value {
    let mut dump = Object::default();
    dump.put_some(
        "region",
        found.locality.region.as_deref().unwrap_or_default(),
    );
    dump.put_some("zone", found.locality.zone.as_deref().unwrap_or_default());
    dump.put_some(
        "subzone",
        found.locality.subzone.as_deref().unwrap_or_default(),
    );
    dump.into()
}

fn load_balancer(found: &Service) -> Value {
    let balancer = &found.load_balancer;
    let mode = match balancer.mode {
        LoadBalancerMode::Standard if balancer.preferences.is_empty() => return Value::Null,
        LoadBalancerMode::Standard => "Standard",
        LoadBalancerMode::Strict => "Strict",
        LoadBalancerMode::Failover => "Failover",
        LoadBalancerMode::Passthrough => "Passthrough",
    };
    let scope = |scope: &LocalityScope| match scope {
        LocalityScope::Region => "Region",
        LocalityScope::Zone => "Zone",
        LocalityScope::Subzone => "Subzone",
        LocalityScope::Node => "Node",
        LocalityScope::Cluster => "Cluster",
        LocalityScope::Network => "Network",
    };
    let preferences: Vec<_> = balancer.preferences.iter().map(scope).collect();
    let health = if balancer.allow_unhealthy {
        "AllowAll"
    } else {
        "OnlyHealthy"
    };
    json!({"mode": mode, "routingPreferences": preferences, "healthPolicy": health})
}

/// A JSON object that leaves out what has no value.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: Value) {
        if !value.is_null() {
            self.0.insert(key.to_owned(), value);
        }
    }

    fn put_some(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, json!(text));
        }
    }

    fn put_list(&mut self, key: &str, list: Value) {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            self.put(key, list);
        }
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object.0)
    }
}
