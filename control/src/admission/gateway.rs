//! Rules for Gateway and GatewayClass, and for the parents of every route kind.
//!
//! Source: the schemas and CEL rules of the Gateway API CRDs, v1.6, both channels.

use std::net::IpAddr;

use serde_json::Value;

use super::{Check, Rule, Violation, patterns, quoted};
use crate::object::FieldPath;

const SOURCE: &str = "Gateway API v1.6 CRD gateways";
const CLASS_SOURCE: &str = "Gateway API v1.6 CRD gatewayclasses";
const ROUTE_SOURCE: &str = "Gateway API v1.6 CommonRouteSpec";

const LISTENER_NAMES: &[&str] = &["spec.listeners[].name"];

/// Gateway.
pub(crate) const GATEWAY: &[Check] = &[
    Check {
        name: "spec-is-there",
        at: &[""],
        rule: Rule::Has(&["spec"]),
        source: SOURCE,
    },
    Check {
        name: "class-and-listeners-are-there",
        at: &["spec"],
        rule: Rule::Has(&["gatewayClassName", "listeners"]),
        source: SOURCE,
    },
    Check {
        name: "class-name-has-a-length",
        at: &["spec.gatewayClassName"],
        rule: Rule::Length(1, 253),
        source: SOURCE,
    },
    Check {
        name: "listeners-are-1-to-64",
        at: &["spec.listeners"],
        rule: Rule::Entries(1, 64),
        source: SOURCE,
    },
    Check {
        name: "listener-is-complete",
        at: &["spec.listeners[]"],
        rule: Rule::Has(&["name", "port", "protocol"]),
        source: SOURCE,
    },
    Check {
        name: "listener-names-differ",
        at: &["spec.listeners"],
        rule: Rule::Unique(&["name"]),
        source: SOURCE,
    },
    Check {
        name: "listeners-differ",
        at: &["spec.listeners"],
        rule: Rule::Unique(&["port", "protocol", "hostname"]),
        source: SOURCE,
    },
    Check {
        name: "listener-name-is-a-subdomain",
        at: LISTENER_NAMES,
        rule: Rule::Form(&patterns::DNS_SUBDOMAIN),
        source: SOURCE,
    },
    Check {
        name: "listener-name-has-a-length",
        at: LISTENER_NAMES,
        rule: Rule::Length(1, 253),
        source: SOURCE,
    },
    Check {
        name: "listener-port-is-in-range",
        at: &["spec.listeners[].port"],
        rule: Rule::Between(1, 65_535),
        source: SOURCE,
    },
    Check {
        name: "listener-protocol-is-well-formed",
        at: &["spec.listeners[].protocol"],
        rule: Rule::Form(&patterns::PROTOCOL),
        source: SOURCE,
    },
    Check {
        name: "listener-protocol-has-a-length",
        at: &["spec.listeners[].protocol"],
        rule: Rule::Length(1, 255),
        source: SOURCE,
    },
    Check {
        name: "listener-hostname-is-well-formed",
        at: &["spec.listeners[].hostname"],
        rule: Rule::Form(&patterns::HOSTNAME),
        source: SOURCE,
    },
    Check {
        name: "listener-hostname-has-a-length",
        at: &["spec.listeners[].hostname"],
        rule: Rule::Length(1, 253),
        source: SOURCE,
    },
    Check {
        name: "listener-fits-its-protocol",
        at: &["spec.listeners[]"],
        rule: Rule::Holds(listener_fits_protocol),
        source: SOURCE,
    },
    Check {
        name: "terminating-listener-has-a-certificate",
        at: &["spec.listeners[].tls"],
        rule: Rule::Holds(terminates_with_something),
        source: SOURCE,
    },
    Check {
        name: "certificates-are-at-most-64",
        at: &["spec.listeners[].tls.certificateRefs"],
        rule: Rule::Entries(0, 64),
        source: SOURCE,
    },
    Check {
        name: "certificate-has-a-name",
        at: &["spec.listeners[].tls.certificateRefs[]"],
        rule: Rule::Has(&["name"]),
        source: SOURCE,
    },
    Check {
        name: "tls-options-are-at-most-16",
        at: &["spec.listeners[].tls.options"],
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "tls-mode-is-known",
        at: &["spec.listeners[].tls.mode"],
        rule: Rule::OneOf(&["Terminate", "Passthrough"]),
        source: SOURCE,
    },
    Check {
        name: "allowed-namespaces-are-known",
        at: &["spec.listeners[].allowedRoutes.namespaces.from"],
        rule: Rule::OneOf(&["All", "Selector", "Same"]),
        source: SOURCE,
    },
    Check {
        name: "allowed-kinds-are-at-most-8",
        at: &["spec.listeners[].allowedRoutes.kinds"],
        rule: Rule::Entries(0, 8),
        source: SOURCE,
    },
    Check {
        name: "allowed-kind-has-a-kind",
        at: &["spec.listeners[].allowedRoutes.kinds[]"],
        rule: Rule::Has(&["kind"]),
        source: SOURCE,
    },
    Check {
        name: "allowed-kind-is-well-formed",
        at: &["spec.listeners[].allowedRoutes.kinds[].kind"],
        rule: Rule::Form(&patterns::KIND),
        source: SOURCE,
    },
    Check {
        name: "addresses-are-at-most-16",
        at: &["spec.addresses"],
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "address-type-is-well-formed",
        at: &["spec.addresses[].type"],
        rule: Rule::Form(&patterns::ADDRESS_TYPE),
        source: SOURCE,
    },
    Check {
        name: "address-fits-its-type",
        at: &["spec.addresses[]"],
        rule: Rule::Holds(address_fits_type),
        source: SOURCE,
    },
    Check {
        name: "addresses-differ",
        at: &["spec.addresses"],
        rule: Rule::Holds(addresses_differ),
        source: SOURCE,
    },
    Check {
        name: "infrastructure-labels-are-at-most-8",
        at: &["spec.infrastructure.labels"],
        rule: Rule::Entries(0, 8),
        source: SOURCE,
    },
    Check {
        name: "infrastructure-annotations-are-at-most-16",
        at: &["spec.infrastructure.annotations"],
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "infrastructure-keys-are-qualified-names",
        at: &[
            "spec.infrastructure.labels",
            "spec.infrastructure.annotations",
        ],
        rule: Rule::Holds(qualified_keys),
        source: SOURCE,
    },
    Check {
        name: "infrastructure-label-is-a-label-value",
        at: &["spec.infrastructure.labels{}"],
        rule: Rule::Form(&patterns::LABEL_VALUE),
        source: SOURCE,
    },
    Check {
        name: "infrastructure-annotation-has-a-length",
        at: &["spec.infrastructure.annotations{}"],
        rule: Rule::Length(0, 4096),
        source: SOURCE,
    },
    Check {
        name: "parameters-are-complete",
        at: &["spec.infrastructure.parametersRef"],
        rule: Rule::Has(&["group", "kind", "name"]),
        source: SOURCE,
    },
];

fn listener_fits_protocol(listener: &Value) -> Vec<Violation> {
    let protocol = listener
        .get("protocol")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let tls = listener.get("tls");
    let mode = tls
        .and_then(|tls| tls.get("mode"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let has_hostname = listener
        .get("hostname")
        .and_then(Value::as_str)
        .is_some_and(|name| !name.is_empty());
    let mut broken = Vec::new();
    if matches!(protocol, "HTTP" | "TCP" | "UDP") && tls.is_some() {
        let what = format!("must not be set for protocol {protocol}");
        broken.push(Violation::new("tls", what, "remove it or use HTTPS or TLS"));
    }
    if protocol == "HTTPS" && tls.is_some() && !matches!(mode, "" | "Terminate") {
        let what = format!("is {mode}, must be Terminate for protocol HTTPS");
        broken.push(Violation::new(
            "tls.mode",
            what,
            "use protocol TLS to pass through",
        ));
    }
    if protocol == "TLS" && mode.is_empty() {
        broken.push(Violation::new(
            "tls",
            "is required for protocol TLS",
            "set tls.mode",
        ));
    }
    if matches!(protocol, "TCP" | "UDP") && has_hostname {
        let what = format!("must not be set for protocol {protocol}");
        broken.push(Violation::new("hostname", what, "remove it"));
    }
    broken
}

fn terminates_with_something(tls: &Value) -> Vec<Violation> {
    let is_empty = |field: &str| match tls.get(field) {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        _ => true,
    };
    let terminates = tls.get("mode").and_then(Value::as_str) == Some("Terminate");
    if terminates && is_empty("certificateRefs") && is_empty("options") {
        let what = "has neither certificateRefs nor options, but mode Terminate";
        vec![Violation::new("", what, "name a certificate")]
    } else {
        Vec::new()
    }
}

fn address_fits_type(address: &Value) -> Vec<Violation> {
    let text = |field: &str| address.get(field).and_then(Value::as_str);
    let Some(value) = text("value") else {
        return Vec::new();
    };
    let fits = match text("type") {
        Some("IPAddress") => value.parse::<IpAddr>().is_ok(),
        Some("Hostname") => patterns::HOSTNAME.fits(value),
        _ => true,
    };
    let what = format!(
        "is {}, no {}",
        quoted(value),
        text("type").unwrap_or_default()
    );
    let mut broken = if fits {
        Vec::new()
    } else {
        vec![Violation::new(
            "value",
            what,
            "write an address of that type",
        )]
    };
    if value.len() > 253 {
        broken.push(Violation::new(
            "value",
            "is too long",
            "use at most 253 characters",
        ));
    }
    broken
}

fn addresses_differ(addresses: &Value) -> Vec<Violation> {
    let mut seen = std::collections::BTreeMap::new();
    let mut broken = Vec::new();
    for (index, address) in addresses.as_array().into_iter().flatten().enumerate() {
        let text = |field: &str| address.get(field).and_then(Value::as_str);
        if let (Some(kind @ ("IPAddress" | "Hostname")), Some(value)) =
            (text("type"), text("value"))
            && let Some(first) = seen.insert((kind, value), index)
        {
            let what = format!("repeats item {first}");
            broken.push(Violation::new(
                &format!("[{index}]"),
                what,
                "remove one of them",
            ));
        }
    }
    broken
}

fn qualified_keys(map: &Value) -> Vec<Violation> {
    let keys = map.as_object().into_iter().flat_map(serde_json::Map::keys);
    keys.filter(|key| !patterns::QUALIFIED_NAME.fits(key))
        .map(|key| Violation {
            field: FieldPath::root().key(key),
            what: "is no qualified name".to_owned(),
            remedy: format!("write {}", patterns::QUALIFIED_NAME.description),
        })
        .collect()
}

/// GatewayClass.
pub(crate) const GATEWAY_CLASS: &[Check] = &[
    Check {
        name: "spec-is-there",
        at: &[""],
        rule: Rule::Has(&["spec"]),
        source: CLASS_SOURCE,
    },
    Check {
        name: "controller-is-there",
        at: &["spec"],
        rule: Rule::Has(&["controllerName"]),
        source: CLASS_SOURCE,
    },
    Check {
        name: "controller-is-a-domain-prefixed-path",
        at: &["spec.controllerName"],
        rule: Rule::Form(&patterns::CONTROLLER),
        source: CLASS_SOURCE,
    },
    Check {
        name: "controller-has-a-length",
        at: &["spec.controllerName"],
        rule: Rule::Length(1, 253),
        source: CLASS_SOURCE,
    },
    Check {
        name: "description-has-a-length",
        at: &["spec.description"],
        rule: Rule::Length(0, 64),
        source: CLASS_SOURCE,
    },
    Check {
        name: "parameters-are-complete",
        at: &["spec.parametersRef"],
        rule: Rule::Has(&["group", "kind", "name"]),
        source: CLASS_SOURCE,
    },
];

/// Every route kind: hostnames and parents.
pub(crate) const ROUTE: &[Check] = &[
    Check {
        name: "spec-is-there",
        at: &[""],
        rule: Rule::Has(&["spec"]),
        source: ROUTE_SOURCE,
    },
    Check {
        name: "hostnames-are-at-most-16",
        at: &["spec.hostnames"],
        rule: Rule::Entries(0, 16),
        source: ROUTE_SOURCE,
    },
    Check {
        name: "hostname-is-well-formed",
        at: &["spec.hostnames[]"],
        rule: Rule::Form(&patterns::HOSTNAME),
        source: ROUTE_SOURCE,
    },
    Check {
        name: "hostname-has-a-length",
        at: &["spec.hostnames[]"],
        rule: Rule::Length(1, 253),
        source: ROUTE_SOURCE,
    },
    Check {
        name: "parents-are-at-most-32",
        at: &["spec.parentRefs"],
        rule: Rule::Entries(0, 32),
        source: ROUTE_SOURCE,
    },
    Check {
        name: "parent-has-a-name",
        at: &["spec.parentRefs[]"],
        rule: Rule::Has(&["name"]),
        source: ROUTE_SOURCE,
    },
    Check {
        name: "parent-is-well-formed",
        at: &["spec.parentRefs[]"],
        rule: Rule::Holds(reference),
        source: ROUTE_SOURCE,
    },
    Check {
        name: "parents-differ",
        at: &["spec.parentRefs"],
        rule: Rule::Holds(parents_differ),
        source: ROUTE_SOURCE,
    },
];

/// The fields that every reference to another object has in the Gateway API.
pub(super) fn reference(reference: &Value) -> Vec<Violation> {
    let rules: [(&str, &[Rule]); 6] = [
        (
            "group",
            &[Rule::Form(&patterns::GROUP), Rule::Length(0, 253)],
        ),
        ("kind", &[Rule::Form(&patterns::KIND), Rule::Length(1, 63)]),
        ("name", &[Rule::Length(1, 253)]),
        ("namespace", &[Rule::Form(&patterns::DNS_LABEL)]),
        (
            "sectionName",
            &[Rule::Form(&patterns::DNS_SUBDOMAIN), Rule::Length(1, 253)],
        ),
        ("port", &[Rule::Between(1, 65_535)]),
    ];
    let broken = rules.iter().filter_map(|(field, rules)| {
        let node = reference.get(field).filter(|node| !node.is_null());
        // One word about a field is enough.
        let first = node.and_then(|node| rules.iter().find_map(|rule| rule.violations(node).pop()));
        first.map(|violation| Violation {
            field: FieldPath::from(*field),
            ..violation
        })
    });
    broken.collect()
}

/// Parents that name the same object must all say which part of it, and different parts.
fn parents_differ(parents: &Value) -> Vec<Violation> {
    let items: Vec<&Value> = parents.as_array().into_iter().flatten().collect();
    let text = |parent: &Value, field: &str| {
        parent
            .get(field)
            .map(Value::to_string)
            .filter(|text| text != "\"\"" && text != "0")
    };
    let object = |parent: &Value| ["group", "kind", "namespace", "name"].map(|f| text(parent, f));
    let part = |parent: &Value| ["sectionName", "port"].map(|field| text(parent, field));
    let mut broken = Vec::new();
    for (index, parent) in items.iter().enumerate() {
        for (first, other) in items.iter().enumerate().take(index) {
            if object(parent) != object(other) {
                continue;
            }
            let (mine, theirs) = (part(parent), part(other));
            let is_comparable = mine
                .iter()
                .zip(&theirs)
                .all(|(a, b)| a.is_some() == b.is_some());
            if !is_comparable || mine == theirs {
                let what = format!("names the same object as parent {first}");
                let remedy = "give each a sectionName or port of its own";
                broken.push(Violation::new(&format!("[{index}]"), what, remedy));
                break;
            }
        }
    }
    broken
}
