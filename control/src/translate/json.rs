//! Resources as JSON: the names of the messages' fields in camel case, default values left out,
//! addresses as text. The form in which recorded scenarios and people read them.

mod waypoint;

use std::net::IpAddr;

use ipnet::IpNet;
use proto::security::string_match::MatchType;
use proto::security::{self, Authorization, Match, StringMatch};
use proto::workload::gateway_address::Destination;
use proto::workload::{
    Address, GatewayAddress, NetworkAddress, Port, PortList, Service, Workload, address,
};
use serde_json::{Map, Value, json};

pub use waypoint::{plugin, policy, route};

/// Collects fields; one with its default value is left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn value(mut self, name: &str, value: Value) -> Self {
        let is_default = match &value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_i64() == Some(0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(_) => false,
        };
        if !is_default {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    /// A value that is shown also if it is the default one.
    fn always(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    fn text(self, name: &str, text: &str) -> Self {
        self.value(name, Value::from(text))
    }

    fn list<T>(self, name: &str, items: &[T], to_json: impl Fn(&T) -> Value) -> Self {
        self.value(name, items.iter().map(to_json).collect())
    }

    /// A word of an enumeration, left out if it is the first one.
    fn word(self, name: &str, number: i32, word: &str) -> Self {
        if number == 0 {
            self
        } else {
            self.text(name, word)
        }
    }

    fn some<T>(self, name: &str, item: Option<&T>, to_json: impl Fn(&T) -> Value) -> Self {
        self.value(name, item.map_or(Value::Null, to_json))
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// Returns a workload or service.
pub fn address(address: &Address) -> Value {
    match &address.r#type {
        Some(address::Type::Workload(workload)) => self::workload(workload),
        Some(address::Type::Service(service)) => self::service(service),
        None => json!({}),
    }
}

fn workload(workload: &Workload) -> Value {
    let services = workload.services.iter();
    let services: Map<String, Value> = services
        .map(|(name, ports)| (name.clone(), port_list(ports)))
        .collect();
    let locality = workload.locality.as_ref().map(|locality| {
        let fields = Fields::default().text("region", &locality.region);
        fields
            .text("zone", &locality.zone)
            .text("subzone", &locality.subzone)
            .done()
    });
    let tunnel = workload.application_tunnel.as_ref().map(|tunnel| {
        let protocol = tunnel.protocol().as_str_name();
        let fields = Fields::default().word("protocol", tunnel.protocol, protocol);
        fields.value("port", tunnel.port.into()).done()
    });
    Fields::default()
        .text("uid", &workload.uid)
        .text("name", &workload.name)
        .text("namespace", &workload.namespace)
        .list("addresses", &workload.addresses, |ip| ip_text(ip).into())
        .text("hostname", &workload.hostname)
        .text("network", &workload.network)
        .word(
            "tunnelProtocol",
            workload.tunnel_protocol,
            workload.tunnel_protocol().as_str_name(),
        )
        .text("trustDomain", &workload.trust_domain)
        .text("serviceAccount", &workload.service_account)
        .some("waypoint", workload.waypoint.as_ref(), gateway_address)
        .text("node", &workload.node)
        .text("canonicalName", &workload.canonical_name)
        .text("canonicalRevision", &workload.canonical_revision)
        .word(
            "workloadType",
            workload.workload_type,
            workload.workload_type().as_str_name(),
        )
        .text("workloadName", &workload.workload_name)
        .value("nativeTunnel", workload.native_tunnel.into())
        .value("applicationTunnel", tunnel.unwrap_or_default())
        .value(
            "services",
            if services.is_empty() {
                Value::Null
            } else {
                services.into()
            },
        )
        .list(
            "authorizationPolicies",
            &workload.authorization_policies,
            |name| json!(name),
        )
        .word("status", workload.status, workload.status().as_str_name())
        .text("clusterId", &workload.cluster_id)
        .value("locality", locality.unwrap_or_default())
        .word(
            "networkMode",
            workload.network_mode,
            workload.network_mode().as_str_name(),
        )
        .value(
            "capacity",
            workload
                .capacity
                .map_or(Value::Null, |weight| json!(weight)),
        )
        .done()
}

fn service(service: &Service) -> Value {
    let balancing = service.load_balancing.as_ref().map(|balancing| {
        let scopes: Vec<Value> = balancing
            .routing_preference()
            .map(|scope| scope.as_str_name().into())
            .collect();
        Fields::default()
            .value("routingPreference", scopes.into())
            .word("mode", balancing.mode, balancing.mode().as_str_name())
            .word(
                "healthPolicy",
                balancing.health_policy,
                balancing.health_policy().as_str_name(),
            )
            .done()
    });
    Fields::default()
        .text("name", &service.name)
        .text("namespace", &service.namespace)
        .text("hostname", &service.hostname)
        .list("addresses", &service.addresses, network_address)
        .list("ports", &service.ports, port)
        .some("waypoint", service.waypoint.as_ref(), gateway_address)
        .value("loadBalancing", balancing.unwrap_or_default())
        .word(
            "ipFamilies",
            service.ip_families,
            service.ip_families().as_str_name(),
        )
        .value("canonical", service.canonical.into())
        .value("ingressUseWaypoint", service.ingress_use_waypoint.into())
        .list(
            "weightedWaypoints",
            &service.weighted_waypoints,
            |weighted| {
                Fields::default()
                    .some(
                        "destination",
                        weighted.destination.as_ref(),
                        gateway_address,
                    )
                    .value("weight", weighted.weight.into())
                    .done()
            },
        )
        .word(
            "visibility",
            service.visibility,
            service.visibility().as_str_name(),
        )
        .done()
}

fn port_list(ports: &PortList) -> Value {
    Fields::default().list("ports", &ports.ports, port).done()
}

fn port(port: &Port) -> Value {
    Fields::default()
        .value("servicePort", port.service_port.into())
        .value("targetPort", port.target_port.into())
        .word(
            "appProtocol",
            port.app_protocol,
            port.app_protocol().as_str_name(),
        )
        .done()
}

fn gateway_address(address: &GatewayAddress) -> Value {
    let fields = match &address.destination {
        Some(Destination::Hostname(name)) => {
            let name = json!({"namespace": name.namespace, "hostname": name.hostname});
            Fields::default().value("hostname", name)
        }
        Some(Destination::Address(address)) => {
            Fields::default().value("address", network_address(address))
        }
        None => Fields::default(),
    };
    fields
        .value("hboneMtlsPort", address.hbone_mtls_port.into())
        .done()
}

fn network_address(address: &NetworkAddress) -> Value {
    Fields::default()
        .text("network", &address.network)
        .text("address", &ip_text(&address.address))
        .value("length", address.length.map_or(Value::Null, Value::from))
        .done()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn ip_text(bytes: &[u8]) -> String {
    ip(bytes).map(|ip| ip.to_string()).unwrap_or_default()
}

/// Returns an L4 policy. Rules, clauses and matches have the names that istiod gives them in its
/// dumps: groups, rules, matches.
pub fn authorization(policy: &Authorization) -> Value {
    let clause = |clause: &security::Clause| {
        Fields::default()
            .list("matches", &clause.matches, l4_match)
            .done()
    };
    let rule = |rule: &security::Rule| {
        Fields::default()
            .list("rules", &rule.clauses, clause)
            .done()
    };
    Fields::default()
        .text("name", &policy.name)
        .text("namespace", &policy.namespace)
        .word("scope", policy.scope, policy.scope().as_str_name())
        .word("action", policy.action, policy.action().as_str_name())
        .list("groups", &policy.rules, rule)
        .value("dryRun", policy.dry_run.into())
        .done()
}

fn l4_match(found: &Match) -> Value {
    let account = |account: &security::ServiceAccountMatch| json!({"namespace": account.namespace, "serviceAccount": account.service_account});
    let port = |port: &u32| json!(port);
    Fields::default()
        .list("namespaces", &found.namespaces, string_match)
        .list("notNamespaces", &found.not_namespaces, string_match)
        .list("principals", &found.principals, string_match)
        .list("notPrincipals", &found.not_principals, string_match)
        .list("sourceIps", &found.source_ips, block)
        .list("notSourceIps", &found.not_source_ips, block)
        .list("destinationIps", &found.destination_ips, block)
        .list("notDestinationIps", &found.not_destination_ips, block)
        .list("destinationPorts", &found.destination_ports, port)
        .list("notDestinationPorts", &found.not_destination_ports, port)
        .list("serviceAccounts", &found.service_accounts, account)
        .list("notServiceAccounts", &found.not_service_accounts, account)
        .done()
}

fn string_match(found: &StringMatch) -> Value {
    match &found.match_type {
        Some(MatchType::Exact(text)) => json!({"exact": text}),
        Some(MatchType::Prefix(text)) => json!({"prefix": text}),
        Some(MatchType::Suffix(text)) => json!({"suffix": text}),
        Some(MatchType::Presence(())) => json!({"presence": {}}),
        None => json!({}),
    }
}

fn block(block: &security::Address) -> Value {
    let length = u8::try_from(block.length).unwrap_or(u8::MAX);
    let net = ip(&block.address).and_then(|ip| IpNet::new(ip, length).ok());
    net.map_or(Value::Null, |net| json!(net.to_string()))
}
