//! Defaults of the Gateway API, from the `default` values of its CRDs (v1.6, both channels).

use serde_json::{Value, json};

use super::Filler::{Made, Number, Text};
use super::{Row, fill};

const GROUP: &str = "gateway.networking.k8s.io";

fn any_path() -> Value {
    json!({"type": "PathPrefix", "value": "/"})
}

fn any_match() -> Value {
    json!([{"path": any_path()}])
}

const HTTP_ROUTE: &[Row] = &[
    ("spec.parentRefs[]", "group", Text(GROUP)),
    ("spec.parentRefs[]", "kind", Text("Gateway")),
    ("spec", "rules", Made(|| json!([{"matches": any_match()}]))),
    ("spec.rules[]", "matches", Made(any_match)),
    ("spec.rules[].matches[]", "path", Made(any_path)),
    ("spec.rules[].matches[].path", "type", Text("PathPrefix")),
    ("spec.rules[].matches[].path", "value", Text("/")),
    ("spec.rules[].matches[].headers[]", "type", Text("Exact")),
    (
        "spec.rules[].matches[].queryParams[]",
        "type",
        Text("Exact"),
    ),
    ("spec.rules[].backendRefs[]", "group", Text("")),
    ("spec.rules[].backendRefs[]", "kind", Text("Service")),
    ("spec.rules[].backendRefs[]", "weight", Number(1)),
    ("spec.rules[].sessionPersistence", "type", Text("Cookie")),
    (
        "spec.rules[].sessionPersistence.cookieConfig",
        "lifetimeType",
        Text("Session"),
    ),
    (
        "spec.rules[].sessionPersistence.cookie",
        "lifetimeType",
        Text("Session"),
    ),
];

/// Filters of a rule and of a backend have the same defaults.
const HTTP_FILTER: &[Row] = &[
    ("requestRedirect", "statusCode", Number(302)),
    ("requestMirror.backendRef", "group", Text("")),
    ("requestMirror.backendRef", "kind", Text("Service")),
    ("requestMirror.fraction", "denominator", Number(100)),
    ("externalAuth.backendRef", "group", Text("")),
    ("externalAuth.backendRef", "kind", Text("Service")),
    ("cors", "maxAge", Number(5)),
];

pub(in crate::kinds) fn http_route(value: &mut Value) {
    fill(value, HTTP_ROUTE);
    for filters in [
        "spec.rules[].filters[]",
        "spec.rules[].backendRefs[].filters[]",
    ] {
        crate::object::visit_mut(value, filters, &mut |filter| fill(filter, HTTP_FILTER));
    }
}

const GATEWAY: &[Row] = &[
    ("spec.addresses[]", "type", Text("IPAddress")),
    (
        "spec.allowedListeners",
        "namespaces",
        Made(|| json!({"from": "None"})),
    ),
    ("spec.allowedListeners.namespaces", "from", Text("None")),
    (
        "spec.listeners[]",
        "allowedRoutes",
        Made(|| json!({"namespaces": {"from": "Same"}})),
    ),
    (
        "spec.listeners[].allowedRoutes",
        "namespaces",
        Made(|| json!({"from": "Same"})),
    ),
    (
        "spec.listeners[].allowedRoutes.namespaces",
        "from",
        Text("Same"),
    ),
    (
        "spec.listeners[].allowedRoutes.kinds[]",
        "group",
        Text(GROUP),
    ),
    ("spec.listeners[].tls", "mode", Text("Terminate")),
    ("spec.listeners[].tls.certificateRefs[]", "group", Text("")),
    (
        "spec.listeners[].tls.certificateRefs[]",
        "kind",
        Text("Secret"),
    ),
];

pub(in crate::kinds) fn gateway(value: &mut Value) {
    fill(value, GATEWAY);
}

/// Until a controller has looked at it, a Gateway is neither accepted nor refused.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a row of the table of kinds may have none"
)]
pub(in crate::kinds) fn gateway_status() -> Option<Value> {
    Some(json!({"conditions": [pending("Accepted"), pending("Programmed")]}))
}

/// The same for a GatewayClass.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a row of the table of kinds may have none"
)]
pub(in crate::kinds) fn gateway_class_status() -> Option<Value> {
    Some(json!({"conditions": [pending("Accepted")]}))
}

fn pending(condition: &str) -> Value {
    json!({
        "type": condition,
        "status": "Unknown",
        "reason": "Pending",
        "message": "Waiting for controller",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    })
}
