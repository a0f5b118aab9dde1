//! Rules for HTTPRoute, without those for its filters.
//!
//! Source: the schema and CEL rules of the Gateway API CRD httproutes, v1.6, both channels.

use serde_json::Value;

use super::gateway::reference;
use super::{Check, Rule, Violation, patterns, quoted};
use crate::object::FieldPath;

const SOURCE: &str = "Gateway API v1.6 CRD httproutes";

const HEADERS: &[&str] = &[
    "spec.rules[].matches[].headers",
    "spec.rules[].matches[].queryParams",
];
const EACH_HEADER: &[&str] = &[
    "spec.rules[].matches[].headers[]",
    "spec.rules[].matches[].queryParams[]",
];
const HEADER_NAMES: &[&str] = &[
    "spec.rules[].matches[].headers[].name",
    "spec.rules[].matches[].queryParams[].name",
];

/// HTTPRoute.
pub(crate) const HTTP_ROUTE: &[Check] = &[
    Check {
        name: "rules-are-1-to-16",
        at: &["spec.rules"],
        rule: Rule::Entries(1, 16),
        source: SOURCE,
    },
    Check {
        name: "rule-names-differ",
        at: &["spec.rules"],
        rule: Rule::Holds(rule_names_differ),
        source: SOURCE,
    },
    Check {
        name: "rule-name-is-a-subdomain",
        at: &["spec.rules[].name"],
        rule: Rule::Form(&patterns::DNS_SUBDOMAIN),
        source: SOURCE,
    },
    Check {
        name: "rule-name-has-a-length",
        at: &["spec.rules[].name"],
        rule: Rule::Length(1, 253),
        source: SOURCE,
    },
    Check {
        name: "matches-are-at-most-64-a-rule",
        at: &["spec.rules[].matches"],
        rule: Rule::Entries(0, 64),
        source: SOURCE,
    },
    Check {
        name: "matches-are-at-most-128-a-route",
        at: &["spec.rules"],
        rule: Rule::Holds(matches_in_all),
        source: SOURCE,
    },
    Check {
        name: "path-type-is-known",
        at: &["spec.rules[].matches[].path.type"],
        rule: Rule::OneOf(&["Exact", "PathPrefix", "RegularExpression"]),
        source: SOURCE,
    },
    Check {
        name: "path-is-at-most-1024-characters",
        at: &["spec.rules[].matches[].path.value"],
        rule: Rule::Length(0, 1024),
        source: SOURCE,
    },
    Check {
        name: "path-fits-its-type",
        at: &["spec.rules[].matches[].path"],
        rule: Rule::Holds(path_fits_type),
        source: SOURCE,
    },
    Check {
        name: "method-is-known",
        at: &["spec.rules[].matches[].method"],
        rule: Rule::OneOf(METHODS),
        source: SOURCE,
    },
    Check {
        name: "headers-and-query-are-at-most-16",
        at: HEADERS,
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "headers-and-query-differ-in-name",
        at: HEADERS,
        rule: Rule::Unique(&["name"]),
        source: "Gateway API v1.6 CRD httproutes, list map key name",
    },
    Check {
        name: "header-and-query-are-complete",
        at: EACH_HEADER,
        rule: Rule::Has(&["name", "value"]),
        source: SOURCE,
    },
    Check {
        name: "header-and-query-name-is-well-formed",
        at: HEADER_NAMES,
        rule: Rule::Form(&patterns::HEADER_NAME),
        source: SOURCE,
    },
    Check {
        name: "header-and-query-name-has-a-length",
        at: HEADER_NAMES,
        rule: Rule::Length(1, 256),
        source: SOURCE,
    },
    Check {
        name: "header-value-is-well-formed",
        at: &["spec.rules[].matches[].headers[].value"],
        rule: Rule::Form(&patterns::HEADER_VALUE),
        source: SOURCE,
    },
    Check {
        name: "header-value-has-a-length",
        at: &["spec.rules[].matches[].headers[].value"],
        rule: Rule::Length(1, 4096),
        source: SOURCE,
    },
    Check {
        name: "query-value-has-a-length",
        at: &["spec.rules[].matches[].queryParams[].value"],
        rule: Rule::Length(1, 1024),
        source: SOURCE,
    },
    Check {
        name: "header-and-query-type-is-known",
        at: &[
            "spec.rules[].matches[].headers[].type",
            "spec.rules[].matches[].queryParams[].type",
        ],
        rule: Rule::OneOf(&["Exact", "RegularExpression"]),
        source: SOURCE,
    },
    Check {
        name: "backends-are-at-most-16",
        at: &["spec.rules[].backendRefs"],
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "backend-has-a-name",
        at: &["spec.rules[].backendRefs[]"],
        rule: Rule::Has(&["name"]),
        source: SOURCE,
    },
    Check {
        name: "backend-is-well-formed",
        at: &["spec.rules[].backendRefs[]"],
        rule: Rule::Holds(reference),
        source: SOURCE,
    },
    Check {
        name: "service-backend-has-a-port",
        at: &["spec.rules[].backendRefs[]"],
        rule: Rule::Holds(service_has_port),
        source: SOURCE,
    },
    Check {
        name: "weight-is-in-range",
        at: &["spec.rules[].backendRefs[].weight"],
        rule: Rule::Between(0, 1_000_000),
        source: SOURCE,
    },
    Check {
        name: "redirect-goes-without-backends",
        at: &["spec.rules[]"],
        rule: Rule::Holds(redirect_without_backends),
        source: SOURCE,
    },
    Check {
        name: "prefix-replacement-needs-one-prefix",
        at: &["spec.rules[]"],
        rule: Rule::Holds(prefix_replacement),
        source: SOURCE,
    },
    Check {
        name: "timeout-is-a-duration",
        at: &[
            "spec.rules[].timeouts.request",
            "spec.rules[].timeouts.backendRequest",
        ],
        rule: Rule::Form(&patterns::DURATION),
        source: "GEP-2257",
    },
    Check {
        name: "backend-timeout-fits-the-request-timeout",
        at: &["spec.rules[].timeouts"],
        rule: Rule::Holds(timeouts_fit),
        source: SOURCE,
    },
    Check {
        name: "retry-code-is-an-error",
        at: &["spec.rules[].retry.codes[]"],
        rule: Rule::Between(400, 599),
        source: SOURCE,
    },
    Check {
        name: "retry-codes-differ",
        at: &["spec.rules[].retry.codes"],
        rule: Rule::Unique(&[]),
        source: "Gateway API v1.6 CRD httproutes, list type set",
    },
    Check {
        name: "retry-attempts-are-positive",
        at: &["spec.rules[].retry.attempts"],
        rule: Rule::Between(1, i64::MAX),
        source: SOURCE,
    },
    Check {
        name: "retry-backoff-is-a-duration",
        at: &["spec.rules[].retry.backoff"],
        rule: Rule::Form(&patterns::DURATION),
        source: "GEP-2257",
    },
    Check {
        name: "session-timeout-is-a-duration",
        at: &[
            "spec.rules[].sessionPersistence.absoluteTimeout",
            "spec.rules[].sessionPersistence.idleTimeout",
        ],
        rule: Rule::Form(&patterns::DURATION),
        source: "GEP-2257",
    },
    Check {
        name: "session-name-has-a-length",
        at: &["spec.rules[].sessionPersistence.sessionName"],
        rule: Rule::Length(0, 128),
        source: SOURCE,
    },
    Check {
        name: "session-fits-its-type",
        at: &["spec.rules[].sessionPersistence"],
        rule: Rule::Holds(session_fits_type),
        source: SOURCE,
    },
];

/// Methods that a match can name.
pub(super) const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

fn text<'v>(node: &'v Value, field: &str) -> Option<&'v str> {
    node.get(field).and_then(Value::as_str)
}

fn list<'v>(node: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    node.get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn rule_names_differ(rules: &Value) -> Vec<Violation> {
    let mut seen = std::collections::BTreeMap::new();
    let mut broken = Vec::new();
    for (index, rule) in rules.as_array().into_iter().flatten().enumerate() {
        if let Some(name) = text(rule, "name")
            && let Some(first) = seen.insert(name, index)
        {
            let what = format!("is {}, as rule {first} is called", quoted(name));
            broken.push(Violation::new(
                &format!("[{index}].name"),
                what,
                "rename one of them",
            ));
        }
    }
    broken
}

fn matches_in_all(rules: &Value) -> Vec<Violation> {
    let all: usize = rules
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| {
            rule.get("matches")
                .and_then(Value::as_array)
                .map_or(0, Vec::len)
        })
        .sum();
    if all > 128 {
        let what = format!("have {all} matches together");
        vec![Violation::new(
            "",
            what,
            "use at most 128, or several routes",
        )]
    } else {
        Vec::new()
    }
}

fn path_fits_type(path: &Value) -> Vec<Violation> {
    let (Some("Exact" | "PathPrefix"), Some(value)) = (text(path, "type"), text(path, "value"))
    else {
        return Vec::new();
    };
    let broken = |what: String, remedy: &str| vec![Violation::new("value", what, remedy)];
    let shown = quoted(value);
    if !value.starts_with('/') {
        return broken(format!("is {shown}, no absolute path"), "begin it with '/'");
    }
    if let Some(part) = ["//", "/./", "/../", "%2f", "%2F", "#"]
        .iter()
        .find(|p| value.contains(**p))
    {
        return broken(
            format!("is {shown}, which contains {part:?}"),
            "write a normal path",
        );
    }
    if let Some(end) = ["/..", "/."].iter().find(|end| value.ends_with(**end)) {
        return broken(
            format!("is {shown}, which ends with {end:?}"),
            "write a normal path",
        );
    }
    if !patterns::URL_PATH.fits(value) {
        let remedy = format!("write {}", patterns::URL_PATH.description);
        return broken(format!("is {shown}"), &remedy);
    }
    Vec::new()
}

/// A reference to a Service must say which port.
pub(super) fn service_has_port(reference: &Value) -> Vec<Violation> {
    let is_service = text(reference, "group").unwrap_or_default().is_empty()
        && text(reference, "kind").unwrap_or("Service") == "Service";
    if is_service && reference.get("port").is_none_or(Value::is_null) {
        let remedy = "add the port of the Service";
        vec![Violation::new("port", "is required for a Service", remedy)]
    } else {
        Vec::new()
    }
}

fn redirect_without_backends(rule: &Value) -> Vec<Violation> {
    let has_backends = list(rule, "backendRefs").next().is_some();
    let redirects = list(rule, "filters").position(|f| f.get("requestRedirect").is_some());
    match (has_backends, redirects) {
        (true, Some(index)) => {
            let field = format!("filters[{index}].requestRedirect");
            let what = "is used together with backendRefs";
            vec![Violation::new(&field, what, "remove one of them")]
        }
        _ => Vec::new(),
    }
}

/// Replacing "the matched prefix" means something only where one prefix is matched.
fn prefix_replacement(rule: &Value) -> Vec<Violation> {
    let matches: Vec<&Value> = list(rule, "matches").collect();
    let matches_one_prefix = matches!(
        &matches[..],
        [only] if only.get("path").is_some_and(|path| text(path, "type") == Some("PathPrefix"))
    );
    if matches_one_prefix {
        return Vec::new();
    }
    let of_rule = list(rule, "filters")
        .enumerate()
        .map(|(i, f)| (format!("filters[{i}]"), f));
    let of_backends = list(rule, "backendRefs")
        .enumerate()
        .flat_map(|(b, backend)| {
            list(backend, "filters")
                .enumerate()
                .map(move |(i, f)| (format!("backendRefs[{b}].filters[{i}]"), f))
        });
    let mut broken = Vec::new();
    for (place, filter) in of_rule.chain(of_backends) {
        for name in ["requestRedirect", "urlRewrite"] {
            let path = filter.get(name).and_then(|modifier| modifier.get("path"));
            if path.is_some_and(|path| text(path, "replacePrefixMatch").is_some()) {
                let field = format!("{place}.{name}.path.replacePrefixMatch");
                let what = "needs exactly one match of type PathPrefix in its rule";
                broken.push(Violation::new(&field, what, "split the rule"));
            }
        }
    }
    broken
}

/// A request timeout of zero is none.
fn timeouts_fit(timeouts: &Value) -> Vec<Violation> {
    let nanos = |field| -> Option<u128> {
        let duration: gateway_api::Duration = text(timeouts, field)?.parse().ok()?;
        Some(duration.as_nanos())
    };
    match (nanos("request"), nanos("backendRequest")) {
        (Some(request), Some(backend)) if request > 0 && backend > request => {
            let what = "is longer than timeouts.request";
            vec![Violation::new("backendRequest", what, "shorten it")]
        }
        _ => Vec::new(),
    }
}

fn session_fits_type(session: &Value) -> Vec<Violation> {
    let kind = text(session, "type").unwrap_or("Cookie");
    let cookie = ["cookie", "cookieConfig"]
        .into_iter()
        .find(|f| session.get(f).is_some());
    let lifetime = cookie.and_then(|field| text(session.get(field)?, "lifetimeType"));
    let mut broken = Vec::new();
    if lifetime == Some("Permanent") && session.get("absoluteTimeout").is_none() {
        let what = "is required for a permanent cookie";
        broken.push(Violation::new("absoluteTimeout", what, "add it"));
    }
    if let Some(field) = cookie.filter(|_| kind != "Cookie") {
        broken.push(Violation {
            field: FieldPath::from(field),
            what: format!("is set, but type is {kind}"),
            remedy: "use type Cookie or remove it".to_owned(),
        });
    }
    broken
}
