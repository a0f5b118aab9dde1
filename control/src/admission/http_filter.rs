//! Rules for the filters of an HTTPRoute, on its rules and on its backends alike.
//!
//! Source: the schema and CEL rules of the Gateway API CRD httproutes, v1.6, both channels.

use serde_json::Value;

use super::gateway::reference;
use super::http_route::service_has_port;
use super::{Check, Rule, Violation, patterns};

const SOURCE: &str = "Gateway API v1.6 CRD httproutes, HTTPRouteFilter";

/// Patterns below the filters of rules and of backends.
macro_rules! filters {
    ($($below:literal),*) => {
        &[$(
            concat!("spec.rules[].filters", $below),
            concat!("spec.rules[].backendRefs[].filters", $below)
        ),*]
    };
}

const LISTS: &[&str] = filters!("");
const EACH: &[&str] = filters!("[]");
const CHANGES: &[&str] = filters!(
    "[].requestHeaderModifier.set",
    "[].requestHeaderModifier.add",
    "[].responseHeaderModifier.set",
    "[].responseHeaderModifier.add"
);
const EACH_CHANGE: &[&str] = filters!(
    "[].requestHeaderModifier.set[]",
    "[].requestHeaderModifier.add[]",
    "[].responseHeaderModifier.set[]",
    "[].responseHeaderModifier.add[]"
);
const REMOVALS: &[&str] = filters!(
    "[].requestHeaderModifier.remove",
    "[].responseHeaderModifier.remove"
);
const PATHS: &[&str] = filters!("[].requestRedirect.path", "[].urlRewrite.path");
const HOSTNAMES: &[&str] = filters!("[].requestRedirect.hostname", "[].urlRewrite.hostname");
const BACKENDS: &[&str] = filters!("[].requestMirror.backendRef", "[].externalAuth.backendRef");
const CORS_HEADERS: &[&str] = filters!("[].cors.allowHeaders[]", "[].cors.exposeHeaders[]");

/// Filters of an HTTPRoute.
pub(crate) const HTTP_FILTER: &[Check] = &[
    Check {
        name: "filters-are-at-most-16",
        at: LISTS,
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "filter-has-a-type",
        at: EACH,
        rule: Rule::Has(&["type"]),
        source: SOURCE,
    },
    Check {
        name: "filter-type-is-known",
        at: filters!("[].type"),
        rule: Rule::OneOf(&[
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "RequestRedirect",
            "URLRewrite",
            "ExtensionRef",
            "CORS",
            "ExternalAuth",
        ]),
        source: SOURCE,
    },
    Check {
        name: "filter-is-what-its-type-says",
        at: EACH,
        rule: Rule::Holds(filter_fits_type),
        source: SOURCE,
    },
    Check {
        name: "redirect-excludes-rewrite",
        at: LISTS,
        rule: Rule::Holds(redirect_excludes_rewrite),
        source: SOURCE,
    },
    Check {
        name: "cors-occurs-once",
        at: LISTS,
        rule: Rule::AtMostOne("type", "CORS"),
        source: SOURCE,
    },
    Check {
        name: "request-header-modifier-occurs-once",
        at: LISTS,
        rule: Rule::AtMostOne("type", "RequestHeaderModifier"),
        source: SOURCE,
    },
    Check {
        name: "response-header-modifier-occurs-once",
        at: LISTS,
        rule: Rule::AtMostOne("type", "ResponseHeaderModifier"),
        source: SOURCE,
    },
    Check {
        name: "redirect-occurs-once",
        at: LISTS,
        rule: Rule::AtMostOne("type", "RequestRedirect"),
        source: SOURCE,
    },
    Check {
        name: "rewrite-occurs-once",
        at: LISTS,
        rule: Rule::AtMostOne("type", "URLRewrite"),
        source: SOURCE,
    },
    Check {
        name: "header-changes-are-at-most-16",
        at: CHANGES,
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "header-changes-differ-in-name",
        at: CHANGES,
        rule: Rule::Unique(&["name"]),
        source: "Gateway API v1.6 CRD httproutes, list map key name",
    },
    Check {
        name: "header-change-is-complete",
        at: EACH_CHANGE,
        rule: Rule::Has(&["name", "value"]),
        source: SOURCE,
    },
    Check {
        name: "header-change-is-well-formed",
        at: EACH_CHANGE,
        rule: Rule::Holds(header_change),
        source: SOURCE,
    },
    Check {
        name: "header-removals-are-at-most-16",
        at: REMOVALS,
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "header-removals-differ",
        at: REMOVALS,
        rule: Rule::Unique(&[]),
        source: "Gateway API v1.6 CRD httproutes, list type set",
    },
    Check {
        name: "path-change-has-a-type",
        at: PATHS,
        rule: Rule::Has(&["type"]),
        source: SOURCE,
    },
    Check {
        name: "path-change-is-what-its-type-says",
        at: PATHS,
        rule: Rule::Holds(path_change_fits_type),
        source: SOURCE,
    },
    Check {
        name: "path-change-is-at-most-1024-characters",
        at: filters!(
            "[].requestRedirect.path.replaceFullPath",
            "[].requestRedirect.path.replacePrefixMatch",
            "[].urlRewrite.path.replaceFullPath",
            "[].urlRewrite.path.replacePrefixMatch"
        ),
        rule: Rule::Length(0, 1024),
        source: SOURCE,
    },
    Check {
        name: "hostname-is-well-formed",
        at: HOSTNAMES,
        rule: Rule::Form(&patterns::PRECISE_HOSTNAME),
        source: SOURCE,
    },
    Check {
        name: "hostname-has-a-length",
        at: HOSTNAMES,
        rule: Rule::Length(1, 253),
        source: SOURCE,
    },
    Check {
        name: "redirect-scheme-is-known",
        at: filters!("[].requestRedirect.scheme"),
        rule: Rule::OneOf(&["http", "https"]),
        source: SOURCE,
    },
    Check {
        name: "redirect-status-is-known",
        at: filters!("[].requestRedirect.statusCode"),
        rule: Rule::OneOf(&["301", "302", "303", "307", "308"]),
        source: SOURCE,
    },
    Check {
        name: "redirect-port-is-in-range",
        at: filters!("[].requestRedirect.port"),
        rule: Rule::Between(1, 65_535),
        source: SOURCE,
    },
    Check {
        name: "mirror-has-a-backend",
        at: filters!("[].requestMirror"),
        rule: Rule::Has(&["backendRef"]),
        source: SOURCE,
    },
    Check {
        name: "mirror-share-is-said-once",
        at: filters!("[].requestMirror"),
        rule: Rule::Holds(mirror_share),
        source: SOURCE,
    },
    Check {
        name: "mirror-percent-is-in-range",
        at: filters!("[].requestMirror.percent"),
        rule: Rule::Between(0, 100),
        source: SOURCE,
    },
    Check {
        name: "mirror-fraction-is-at-most-1",
        at: filters!("[].requestMirror.fraction"),
        rule: Rule::Holds(fraction),
        source: SOURCE,
    },
    Check {
        name: "backend-has-a-name",
        at: BACKENDS,
        rule: Rule::Has(&["name"]),
        source: SOURCE,
    },
    Check {
        name: "backend-is-well-formed",
        at: BACKENDS,
        rule: Rule::Holds(reference),
        source: SOURCE,
    },
    Check {
        name: "service-backend-has-a-port",
        at: BACKENDS,
        rule: Rule::Holds(service_has_port),
        source: SOURCE,
    },
    Check {
        name: "extension-is-complete",
        at: filters!("[].extensionRef"),
        rule: Rule::Has(&["group", "kind", "name"]),
        source: SOURCE,
    },
    Check {
        name: "extension-is-well-formed",
        at: filters!("[].extensionRef"),
        rule: Rule::Holds(reference),
        source: SOURCE,
    },
    Check {
        name: "external-authorization-is-what-its-protocol-says",
        at: filters!("[].externalAuth"),
        rule: Rule::Holds(external_authorization),
        source: SOURCE,
    },
    Check {
        name: "cors-lists-are-at-most-64",
        at: filters!(
            "[].cors.allowOrigins",
            "[].cors.allowHeaders",
            "[].cors.exposeHeaders"
        ),
        rule: Rule::Entries(0, 64),
        source: SOURCE,
    },
    Check {
        name: "cors-wildcard-stands-alone",
        at: filters!(
            "[].cors.allowOrigins",
            "[].cors.allowHeaders",
            "[].cors.allowMethods"
        ),
        rule: Rule::Holds(wildcard_stands_alone),
        source: SOURCE,
    },
    Check {
        name: "cors-lists-have-no-duplicates",
        at: filters!(
            "[].cors.allowOrigins",
            "[].cors.allowHeaders",
            "[].cors.allowMethods",
            "[].cors.exposeHeaders"
        ),
        rule: Rule::Unique(&[]),
        source: "Gateway API v1.6 CRD httproutes, list type set",
    },
    Check {
        name: "cors-origin-is-well-formed",
        at: filters!("[].cors.allowOrigins[]"),
        rule: Rule::Form(&patterns::ORIGIN),
        source: SOURCE,
    },
    Check {
        name: "cors-method-is-known",
        at: filters!("[].cors.allowMethods[]"),
        rule: Rule::OneOf(&[
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*",
        ]),
        source: SOURCE,
    },
    Check {
        name: "cors-header-is-well-formed",
        at: CORS_HEADERS,
        rule: Rule::Form(&patterns::HEADER_NAME),
        source: SOURCE,
    },
    Check {
        name: "cors-age-is-positive",
        at: filters!("[].cors.maxAge"),
        rule: Rule::Between(1, i64::MAX),
        source: SOURCE,
    },
];

/// Types of filters, each with the field that it needs.
const TYPES: [(&str, &str); 8] = [
    ("CORS", "cors"),
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
    ("ExtensionRef", "extensionRef"),
    ("ExternalAuth", "externalAuth"),
];

fn filter_fits_type(filter: &Value) -> Vec<Violation> {
    let Some(chosen) = filter.get("type").and_then(Value::as_str) else {
        return Vec::new();
    };
    let mut broken = Vec::new();
    for (kind, field) in TYPES {
        match (kind == chosen, filter.get(field).is_some()) {
            (true, false) => {
                let what = format!("is required for type {kind}");
                broken.push(Violation::new(field, what, "add it"));
            }
            (false, true) => {
                let what = format!("is set, but type is {chosen}");
                broken.push(Violation::new(
                    field,
                    what,
                    format!("use type {kind} or remove it"),
                ));
            }
            _ => {}
        }
    }
    broken
}

fn redirect_excludes_rewrite(filters: &Value) -> Vec<Violation> {
    let position = |kind: &str| {
        let mut items = filters.as_array().into_iter().flatten();
        items.position(|filter| filter.get("type").and_then(Value::as_str) == Some(kind))
    };
    match (position("RequestRedirect"), position("URLRewrite")) {
        (Some(redirect), Some(rewrite)) => {
            let what = format!("rewrites what filter {redirect} redirects");
            vec![Violation::new(
                &format!("[{rewrite}]"),
                what,
                "remove one of them",
            )]
        }
        _ => Vec::new(),
    }
}

fn header_change(change: &Value) -> Vec<Violation> {
    let rules = [
        (
            "name",
            [Rule::Length(1, 256), Rule::Form(&patterns::HEADER_NAME)],
        ),
        (
            "value",
            [Rule::Length(1, 4096), Rule::Form(&patterns::HEADER_VALUE)],
        ),
    ];
    let broken = rules.iter().filter_map(|(field, rules)| {
        let node = change.get(field)?;
        let violation = rules.iter().find_map(|rule| rule.violations(node).pop())?;
        Some(Violation {
            field: (*field).into(),
            ..violation
        })
    });
    broken.collect()
}

fn path_change_fits_type(path: &Value) -> Vec<Violation> {
    let Some(chosen) = path.get("type").and_then(Value::as_str) else {
        return Vec::new();
    };
    let mut broken = Vec::new();
    let types = [
        ("ReplaceFullPath", "replaceFullPath"),
        ("ReplacePrefixMatch", "replacePrefixMatch"),
    ];
    if !types.iter().any(|(kind, _)| *kind == chosen) {
        let what = format!("is {chosen:?}");
        let remedy = "use ReplaceFullPath or ReplacePrefixMatch";
        return vec![Violation::new("type", what, remedy)];
    }
    for (kind, field) in types {
        match (kind == chosen, path.get(field).is_some()) {
            (true, false) => {
                let what = format!("is required for type {kind}");
                broken.push(Violation::new(field, what, "add it"));
            }
            (false, true) => {
                let what = format!("is set, but type is {chosen}");
                broken.push(Violation::new(
                    field,
                    what,
                    format!("use type {kind} or remove it"),
                ));
            }
            _ => {}
        }
    }
    broken
}

fn mirror_share(mirror: &Value) -> Vec<Violation> {
    if mirror.get("percent").is_some() && mirror.get("fraction").is_some() {
        vec![Violation::new(
            "fraction",
            "is set beside percent",
            "remove one of them",
        )]
    } else {
        Vec::new()
    }
}

fn fraction(fraction: &Value) -> Vec<Violation> {
    let number = |field: &str| fraction.get(field).and_then(Value::as_i64);
    match (number("numerator"), number("denominator")) {
        (None, _) if fraction.get("numerator").is_none() => {
            vec![Violation::new("numerator", "is required", "add it")]
        }
        (Some(above), _) if above < 0 => {
            vec![Violation::new(
                "numerator",
                format!("is {above}"),
                "use 0 or more",
            )]
        }
        (_, Some(below)) if below < 1 => {
            vec![Violation::new(
                "denominator",
                format!("is {below}"),
                "use 1 or more",
            )]
        }
        (Some(above), Some(below)) if above > below => {
            let what = format!("is {above}, more than the denominator {below}");
            vec![Violation::new(
                "numerator",
                what,
                "use at most the denominator",
            )]
        }
        _ => Vec::new(),
    }
}

fn external_authorization(authorization: &Value) -> Vec<Violation> {
    let Some(protocol) = authorization.get("protocol").and_then(Value::as_str) else {
        return vec![Violation::new(
            "protocol",
            "is required",
            "use HTTP or GRPC",
        )];
    };
    let mut broken = Vec::new();
    if authorization.get("backendRef").is_none() {
        broken.push(Violation::new(
            "backendRef",
            "is required",
            "name the authorizer",
        ));
    }
    if !matches!(protocol, "HTTP" | "GRPC") {
        let what = format!("is {protocol:?}");
        broken.push(Violation::new("protocol", what, "use HTTP or GRPC"));
        return broken;
    }
    for (kind, field) in [("HTTP", "http"), ("GRPC", "grpc")] {
        match (kind == protocol, authorization.get(field).is_some()) {
            (true, false) => {
                let what = format!("is required for protocol {kind}");
                broken.push(Violation::new(field, what, "add it"));
            }
            (false, true) => {
                let what = format!("is set, but protocol is {protocol}");
                broken.push(Violation::new(field, what, "remove it"));
            }
            _ => {}
        }
    }
    broken
}

fn wildcard_stands_alone(list: &Value) -> Vec<Violation> {
    let items: Vec<&str> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if items.len() > 1 && items.contains(&"*") {
        vec![Violation::new(
            "",
            "has '*' beside other entries",
            "leave '*' alone",
        )]
    } else {
        Vec::new()
    }
}
