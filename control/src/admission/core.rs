//! Rules for the kinds of Kubernetes itself.
//!
//! Source: kubernetes `pkg/apis/{core,apps,discovery}/validation`.

use std::net::IpAddr;

use serde_json::Value;

use super::{Check, Rule, Violation, patterns, quoted};

const SERVICE_SOURCE: &str = "kubernetes ValidateService";
const PODS_SOURCE: &str = "kubernetes ValidatePodSpec";

/// Service.
pub(crate) const SERVICE: &[Check] = &[
    Check {
        name: "spec-is-there",
        at: &[""],
        rule: Rule::Has(&["spec"]),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "type-is-known",
        at: &["spec.type"],
        rule: Rule::OneOf(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "ports-fit-the-type",
        at: &["spec"],
        rule: Rule::Holds(service_ports),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "port-has-a-number",
        at: &["spec.ports[]"],
        rule: Rule::Has(&["port"]),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "port-number-is-in-range",
        at: &["spec.ports[].port", "spec.ports[].targetPort"],
        rule: Rule::Between(1, 65_535),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "port-protocol-is-known",
        at: &["spec.ports[].protocol"],
        rule: Rule::OneOf(&["TCP", "UDP", "SCTP"]),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "port-name-is-a-dns-label",
        at: &["spec.ports[].name"],
        rule: Rule::Form(&patterns::DNS_LABEL),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "target-port-name-is-well-formed",
        at: &["spec.ports[].targetPort"],
        rule: Rule::Holds(port_name),
        source: "kubernetes IsValidPortName",
    },
    Check {
        name: "app-protocol-is-a-qualified-name",
        at: &["spec.ports[].appProtocol"],
        rule: Rule::Form(&patterns::QUALIFIED_NAME),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "ports-differ",
        at: &["spec.ports"],
        rule: Rule::Unique(&["port", "protocol"]),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "port-names-differ",
        at: &["spec.ports"],
        rule: Rule::Holds(port_names),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "cluster-ip-is-an-address",
        at: &["spec.clusterIP", "spec.clusterIPs[]"],
        rule: Rule::Holds(cluster_ip),
        source: "kubernetes ValidateServiceClusterIPsRelatedFields",
    },
    Check {
        name: "session-affinity-is-known",
        at: &["spec.sessionAffinity"],
        rule: Rule::OneOf(&["ClientIP", "None"]),
        source: SERVICE_SOURCE,
    },
    Check {
        name: "traffic-distribution-is-known",
        at: &["spec.trafficDistribution"],
        rule: Rule::OneOf(&["PreferClose", "PreferSameZone", "PreferSameNode"]),
        source: "kubernetes validateServiceTrafficDistribution",
    },
    Check {
        name: "selector-is-well-formed",
        at: &["spec.selector"],
        rule: Rule::Holds(selector_labels),
        source: SERVICE_SOURCE,
    },
];

fn service_ports(spec: &Value) -> Vec<Violation> {
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default();
    let is_headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
    let has_ports = spec
        .get("ports")
        .and_then(Value::as_array)
        .is_some_and(|p| !p.is_empty());
    match kind {
        "ExternalName" => match spec.get("externalName").and_then(Value::as_str) {
            None | Some("") => {
                vec![Violation::new(
                    "externalName",
                    "is required for type ExternalName",
                    "add it",
                )]
            }
            Some(name)
                if !patterns::DNS_SUBDOMAIN.fits(&name.trim_end_matches('.').to_lowercase()) =>
            {
                let what = format!("is {}", quoted(name));
                vec![Violation::new("externalName", what, "write a host name")]
            }
            Some(_) => Vec::new(),
        },
        _ if !has_ports && !is_headless => {
            vec![Violation::new(
                "ports",
                "is required",
                "name the ports of the service",
            )]
        }
        _ => Vec::new(),
    }
}

/// Kubernetes lets a single port go without a name.
fn port_names(ports: &Value) -> Vec<Violation> {
    let Some(items) = ports.as_array().filter(|items| items.len() > 1) else {
        return Vec::new();
    };
    let mut seen = std::collections::BTreeMap::new();
    let mut broken = Vec::new();
    for (index, port) in items.iter().enumerate() {
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        let field = format!("[{index}].name");
        if name.is_empty() {
            let what = "is required when there are several ports";
            broken.push(Violation::new(&field, what, "name every port"));
        } else if let Some(first) = seen.insert(name, index) {
            let what = format!("is {}, as port {first} is called", quoted(name));
            broken.push(Violation::new(&field, what, "give each port its own name"));
        }
    }
    broken
}

/// A port given by name (IANA service name).
fn port_name(port: &Value) -> Vec<Violation> {
    let Some(name) = port.as_str() else {
        return Vec::new();
    };
    let has_letter = name.contains(|c: char| c.is_ascii_lowercase());
    if patterns::PORT_NAME.fits(name) && name.len() <= 15 && has_letter {
        Vec::new()
    } else {
        let remedy = format!("write {}", patterns::PORT_NAME.description);
        vec![Violation::new("", format!("is {}", quoted(name)), remedy)]
    }
}

fn cluster_ip(address: &Value) -> Vec<Violation> {
    match address.as_str() {
        None | Some("" | "None") => Vec::new(),
        Some(text) if text.parse::<IpAddr>().is_ok() => Vec::new(),
        Some(text) => {
            let what = format!("is {}", quoted(text));
            vec![Violation::new(
                "",
                what,
                "write an address, or None for a headless service",
            )]
        }
    }
}

fn selector_labels(selector: &Value) -> Vec<Violation> {
    let bad = |(key, value): (&String, &Value)| {
        let value_fits = value
            .as_str()
            .is_none_or(|text| patterns::LABEL_VALUE.fits(text));
        (!patterns::QUALIFIED_NAME.fits(key) || !value_fits).then(|| Violation {
            field: crate::object::FieldPath::root().key(key),
            what: format!("is {value}, no label"),
            remedy: "write a label key and value".to_owned(),
        })
    };
    selector
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(bad)
        .collect()
}

/// Kinds with `spec.template`.
pub(crate) const WORKLOAD: &[Check] = &[
    Check {
        name: "spec-is-there",
        at: &[""],
        rule: Rule::Has(&["spec"]),
        source: "kubernetes ValidateDeployment",
    },
    Check {
        name: "selector-and-template-are-there",
        at: &["spec"],
        rule: Rule::Has(&["selector", "template"]),
        source: "kubernetes ValidateDeploymentSpec",
    },
    Check {
        name: "selector-matches-the-template",
        at: &["spec"],
        rule: Rule::Holds(selector_matches_template),
        source: "kubernetes ValidatePodTemplateSpecForReplicaSet",
    },
    Check {
        name: "replicas-are-not-negative",
        at: &["spec.replicas"],
        rule: Rule::Between(0, i64::MAX),
        source: "kubernetes ValidateDeploymentSpec",
    },
    Check {
        name: "template-has-containers",
        at: &["spec.template"],
        rule: Rule::Holds(template_has_containers),
        source: PODS_SOURCE,
    },
    Check {
        name: "container-has-name-and-image",
        at: &[
            "spec.template.spec.containers[]",
            "spec.template.spec.initContainers[]",
        ],
        rule: Rule::Has(&["name", "image"]),
        source: "kubernetes validateContainerCommon",
    },
    Check {
        name: "image-is-not-empty",
        at: &[
            "spec.template.spec.containers[].image",
            "spec.template.spec.initContainers[].image",
        ],
        rule: Rule::Length(1, usize::MAX),
        source: "kubernetes validateContainerCommon",
    },
    Check {
        name: "container-name-is-a-dns-label",
        at: &[
            "spec.template.spec.containers[].name",
            "spec.template.spec.initContainers[].name",
        ],
        rule: Rule::Form(&patterns::DNS_LABEL),
        source: "kubernetes validateContainerCommon",
    },
    Check {
        name: "container-names-differ",
        at: &["spec.template.spec.containers"],
        rule: Rule::Unique(&["name"]),
        source: "kubernetes validateContainers",
    },
    Check {
        name: "container-port-is-well-formed",
        at: &["spec.template.spec.containers[].ports[]"],
        rule: Rule::Holds(container_port),
        source: "kubernetes validateContainerPorts",
    },
    Check {
        name: "environment-has-names",
        at: &["spec.template.spec.containers[].env[]"],
        rule: Rule::Has(&["name"]),
        source: "kubernetes ValidateEnv",
    },
    Check {
        name: "template-always-restarts",
        at: &["spec.template.spec.restartPolicy"],
        rule: Rule::OneOf(&["Always"]),
        source: "kubernetes ValidatePodTemplateSpecForReplicaSet",
    },
];

/// Deployment only.
pub(crate) const DEPLOYMENT: &[Check] = &[Check {
    name: "strategy-is-known",
    at: &["spec.strategy.type"],
    rule: Rule::OneOf(&["Recreate", "RollingUpdate"]),
    source: "kubernetes ValidateDeploymentStrategy",
}];

fn template_has_containers(template: &Value) -> Vec<Violation> {
    let containers = template
        .pointer("/spec/containers")
        .and_then(Value::as_array);
    if containers.is_none_or(Vec::is_empty) {
        vec![Violation::new(
            "spec.containers",
            "is required",
            "add a container",
        )]
    } else {
        Vec::new()
    }
}

fn selector_matches_template(spec: &Value) -> Vec<Violation> {
    let Some(selector) = spec.get("selector") else {
        return Vec::new();
    };
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    if wanted.is_none_or(serde_json::Map::is_empty) && expressions.is_none_or(Vec::is_empty) {
        let remedy = "name labels that the pods of the template have";
        return vec![Violation::new("selector", "selects nothing", remedy)];
    }
    let labels = spec.pointer("/template/metadata/labels");
    let differs = |(key, value): (&String, &Value)| {
        (labels.and_then(|labels| labels.get(key)) != Some(value)).then(|| Violation {
            field: crate::object::FieldPath::from("template.metadata.labels"),
            what: format!("lacks {key}: {value}, which the selector asks for"),
            remedy: "give the template the labels of the selector".to_owned(),
        })
    };
    wanted.into_iter().flatten().filter_map(differs).collect()
}

fn container_port(port: &Value) -> Vec<Violation> {
    let mut broken = Vec::new();
    match port.get("containerPort").map(Value::as_i64) {
        None => broken.push(Violation::new("containerPort", "is required", "add it")),
        Some(Some(number)) if !(1..=65_535).contains(&number) => {
            let what = format!("is {number}");
            broken.push(Violation::new(
                "containerPort",
                what,
                "use a number from 1 to 65535",
            ));
        }
        Some(_) => {}
    }
    if let Some(name) = port.get("name") {
        let named = port_name(name).into_iter();
        broken.extend(named.map(|violation| Violation {
            field: crate::object::FieldPath::from("name"),
            ..violation
        }));
    }
    broken
}

/// Pod.
pub(crate) const POD: &[Check] = &[
    Check {
        name: "spec-is-there",
        at: &[""],
        rule: Rule::Has(&["spec"]),
        source: PODS_SOURCE,
    },
    Check {
        name: "containers-are-there",
        at: &["spec"],
        rule: Rule::Has(&["containers"]),
        source: PODS_SOURCE,
    },
    Check {
        name: "pod-has-a-container",
        at: &["spec.containers"],
        rule: Rule::Entries(1, usize::MAX),
        source: PODS_SOURCE,
    },
    Check {
        name: "container-has-a-name",
        at: &["spec.containers[]"],
        rule: Rule::Has(&["name"]),
        source: "kubernetes validateContainerCommon",
    },
    Check {
        name: "new-pod-has-images",
        at: &["spec"],
        rule: Rule::Holds(new_pod_images),
        source: "kubernetes validateContainerCommon",
    },
    Check {
        name: "container-port-is-well-formed",
        at: &["spec.containers[].ports[]"],
        rule: Rule::Holds(container_port),
        source: "kubernetes validateContainerPorts",
    },
];

/// A pod that has a node is the record of one that runs, and records may leave images out.
fn new_pod_images(spec: &Value) -> Vec<Violation> {
    if spec
        .get("nodeName")
        .and_then(Value::as_str)
        .is_some_and(|name| !name.is_empty())
    {
        return Vec::new();
    }
    let containers = spec.get("containers").and_then(Value::as_array);
    let lacks_image = |(index, container): (usize, &Value)| {
        let image = container.get("image").and_then(Value::as_str);
        let field = format!("containers[{index}].image");
        image
            .is_none_or(str::is_empty)
            .then(|| Violation::new(&field, "is required", "add it"))
    };
    containers
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(lacks_image)
        .collect()
}

/// EndpointSlice.
pub(crate) const ENDPOINT_SLICE: &[Check] = &[
    Check {
        name: "address-type-is-there",
        at: &[""],
        rule: Rule::Has(&["addressType"]),
        source: "kubernetes ValidateEndpointSlice",
    },
    Check {
        name: "address-type-is-known",
        at: &["addressType"],
        rule: Rule::OneOf(&["IPv4", "IPv6", "FQDN"]),
        source: "kubernetes ValidateEndpointSlice",
    },
    Check {
        name: "endpoints-are-not-too-many",
        at: &["endpoints"],
        rule: Rule::Entries(0, 1000),
        source: "kubernetes validateEndpoints",
    },
    Check {
        name: "endpoint-has-addresses",
        at: &["endpoints[]"],
        rule: Rule::Has(&["addresses"]),
        source: "kubernetes validateEndpoints",
    },
    Check {
        name: "endpoint-addresses-are-not-too-many",
        at: &["endpoints[].addresses"],
        rule: Rule::Entries(1, 100),
        source: "kubernetes validateEndpoints",
    },
    Check {
        name: "ports-are-not-too-many",
        at: &["ports"],
        rule: Rule::Entries(0, 20_000),
        source: "kubernetes validatePorts",
    },
];
