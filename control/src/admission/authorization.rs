//! Rules for AuthorizationPolicy.
//!
//! Source: its CRD, istiod's webhook (`ValidateAuthorizationPolicy`), and for sizes the limits that
//! we set ourselves so that one policy cannot slow down every request.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::selection::{
    COMPLETE_TARGET, FEW_TARGETS, ONE_SELECTION, PLAIN_SELECTOR, POSSIBLE_TARGET,
};
use super::{Check, Rule, Violation, quoted};
use crate::object::{FieldPath, visit};

const SOURCE: &str = "Istio CRD authorizationpolicies";
const WEBHOOK: &str = "istiod ValidateAuthorizationPolicy";

const SERVICE_ACCOUNTS: &[&str] = &[
    "spec.rules[].from[].source.serviceAccounts",
    "spec.rules[].from[].source.notServiceAccounts",
];

/// AuthorizationPolicy.
pub(crate) const AUTHORIZATION_POLICY: &[Check] = &[
    ONE_SELECTION,
    FEW_TARGETS,
    COMPLETE_TARGET,
    POSSIBLE_TARGET,
    PLAIN_SELECTOR,
    Check {
        name: "action-is-known",
        at: &["spec.action"],
        rule: Rule::OneOf(&["ALLOW", "DENY", "AUDIT", "CUSTOM"]),
        source: SOURCE,
    },
    Check {
        name: "action-makes-sense",
        at: &["spec"],
        rule: Rule::Holds(action_makes_sense),
        source: WEBHOOK,
    },
    Check {
        name: "dry-run-is-true-or-false",
        at: &["metadata.annotations"],
        rule: Rule::Holds(dry_run),
        source: "istiod webhook, annotation istio.io/dry-run",
    },
    Check {
        name: "rules-are-at-most-512",
        at: &["spec.rules", "spec.rules[].from"],
        rule: Rule::Entries(0, 512),
        source: SOURCE,
    },
    Check {
        name: "values-are-at-most-10000",
        at: &["spec"],
        rule: Rule::Holds(few_values),
        source: "a limit of ours",
    },
    Check {
        name: "rule-parts-are-not-empty",
        at: &["spec.rules[].from", "spec.rules[].to"],
        rule: Rule::Entries(1, usize::MAX),
        source: WEBHOOK,
    },
    Check {
        name: "source-is-there",
        at: &["spec.rules[].from[]"],
        rule: Rule::Has(&["source"]),
        source: WEBHOOK,
    },
    Check {
        name: "operation-is-there",
        at: &["spec.rules[].to[]"],
        rule: Rule::Has(&["operation"]),
        source: WEBHOOK,
    },
    Check {
        name: "source-and-operation-say-something",
        at: &["spec.rules[].from[].source", "spec.rules[].to[].operation"],
        rule: Rule::Holds(says_something),
        source: WEBHOOK,
    },
    Check {
        name: "service-accounts-exclude-principals",
        at: &["spec.rules[].from[].source"],
        rule: Rule::Holds(service_accounts_alone),
        source: SOURCE,
    },
    Check {
        name: "service-accounts-are-at-most-16",
        at: SERVICE_ACCOUNTS,
        rule: Rule::Entries(0, 16),
        source: SOURCE,
    },
    Check {
        name: "values-are-not-empty",
        at: &[
            "spec.rules[].from[].source{}[]",
            "spec.rules[].to[].operation{}[]",
        ],
        rule: Rule::Length(1, usize::MAX),
        source: WEBHOOK,
    },
    Check {
        name: "service-account-is-well-formed",
        at: &[
            "spec.rules[].from[].source.serviceAccounts[]",
            "spec.rules[].from[].source.notServiceAccounts[]",
        ],
        rule: Rule::Holds(service_account),
        source: "istiod CheckServiceAccount",
    },
    Check {
        name: "trust-domain-is-well-formed",
        at: &[
            "spec.rules[].from[].source.trustDomains[]",
            "spec.rules[].from[].source.notTrustDomains[]",
        ],
        rule: Rule::Holds(trust_domain),
        source: "istiod CheckTrustDomainValues",
    },
    Check {
        name: "address-is-well-formed",
        at: &[
            "spec.rules[].from[].source.ipBlocks[]",
            "spec.rules[].from[].source.notIpBlocks[]",
            "spec.rules[].from[].source.remoteIpBlocks[]",
            "spec.rules[].from[].source.notRemoteIpBlocks[]",
        ],
        rule: Rule::Holds(address),
        source: "istiod ValidateIPs",
    },
    Check {
        name: "port-is-well-formed",
        at: &[
            "spec.rules[].to[].operation.ports[]",
            "spec.rules[].to[].operation.notPorts[]",
        ],
        rule: Rule::Holds(port),
        source: "istiod ValidatePorts",
    },
    Check {
        name: "path-template-is-well-formed",
        at: &[
            "spec.rules[].to[].operation.paths[]",
            "spec.rules[].to[].operation.notPaths[]",
        ],
        rule: Rule::Holds(path_template),
        source: "istiod CheckValidPathTemplate",
    },
    Check {
        name: "condition-has-a-key",
        at: &["spec.rules[].when[]"],
        rule: Rule::Has(&["key"]),
        source: SOURCE,
    },
    Check {
        name: "condition-is-known",
        at: &["spec.rules[].when[]"],
        rule: Rule::Holds(condition),
        source: "istiod ValidateAttribute",
    },
];

fn text<'v>(node: &'v Value, field: &str) -> &'v str {
    node.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn action_makes_sense(spec: &Value) -> Vec<Violation> {
    let action = match text(spec, "action") {
        "" => "ALLOW",
        action => action,
    };
    let provider = spec.get("provider");
    let mut broken = Vec::new();
    if matches!(action, "DENY" | "CUSTOM") && spec.get("rules").is_none() {
        let what = format!("is required for action {action}, which would never apply");
        broken.push(Violation::new(
            "rules",
            what,
            "add a rule, {} matches every request",
        ));
    }
    if action == "CUSTOM" {
        if spec.get("rules").is_some() && provider.is_none_or(|p| text(p, "name").is_empty()) {
            let what = "is required for action CUSTOM";
            broken.push(Violation::new("provider.name", what, "name the provider"));
        }
        broken.extend(identity_in_custom_rules(spec));
    } else if provider.is_some() {
        let what = format!("is set, but action is {action}");
        broken.push(Violation::new(
            "provider",
            what,
            "use action CUSTOM or remove it",
        ));
    }
    broken
}

/// External authorizers are asked before identities and tokens are looked at.
fn identity_in_custom_rules(spec: &Value) -> Vec<Violation> {
    const LATER: [&str; 10] = [
        "namespaces",
        "notNamespaces",
        "serviceAccounts",
        "notServiceAccounts",
        "trustDomains",
        "notTrustDomains",
        "principals",
        "notPrincipals",
        "requestPrincipals",
        "notRequestPrincipals",
    ];
    let what = "is not supported with action CUSTOM";
    let mut broken = Vec::new();
    visit(spec, "rules[].from[].source", &mut |path, source| {
        let used = LATER.iter().filter(|field| {
            source
                .get(*field)
                .and_then(Value::as_array)
                .is_some_and(|list| !list.is_empty())
        });
        broken.extend(used.map(|field| Violation {
            field: path.key(field),
            what: what.to_owned(),
            remedy: "remove it".to_owned(),
        }));
    });
    visit(spec, "rules[].when[]", &mut |path, condition| {
        let key = text(condition, "key");
        let is_later = key.starts_with("request.auth.")
            || matches!(
                key,
                "source.namespace"
                    | "source.serviceAccount"
                    | "source.trustDomain"
                    | "source.principal"
            );
        if is_later {
            broken.push(Violation {
                field: path.key("key"),
                what: format!("is {key}, which {what}"),
                remedy: "remove the condition".to_owned(),
            });
        }
    });
    broken
}

/// What Go's `strconv.ParseBool` takes.
fn dry_run(annotations: &Value) -> Vec<Violation> {
    const KEY: &str = "istio.io/dry-run";
    const BOOLS: [&str; 12] = [
        "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
    ];
    match annotations.get(KEY).and_then(Value::as_str) {
        Some(value) if !BOOLS.contains(&value) => vec![Violation {
            field: FieldPath::root().key(KEY),
            what: format!("is {}", quoted(value)),
            remedy: "write \"true\" or \"false\"".to_owned(),
        }],
        _ => Vec::new(),
    }
}

fn few_values(spec: &Value) -> Vec<Violation> {
    const MOST: usize = 10_000;
    let mut values = 0;
    for pattern in [
        "rules[].from[].source{}[]",
        "rules[].to[].operation{}[]",
        "rules[].when[]{}[]",
    ] {
        visit(spec, pattern, &mut |_, _| values += 1);
    }
    if values > MOST {
        let what = format!("have {values} values together");
        vec![Violation::new("rules", what, format!("use at most {MOST}"))]
    } else {
        Vec::new()
    }
}

fn says_something(part: &Value) -> Vec<Violation> {
    let Some(map) = part.as_object() else {
        return Vec::new();
    };
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    if map.values().all(is_empty) {
        let remedy = "name a field, or remove this part to match everything";
        vec![Violation::new("", "is empty", remedy)]
    } else {
        Vec::new()
    }
}

fn service_accounts_alone(source: &Value) -> Vec<Violation> {
    let is_set = |field: &&str| source.get(*field).is_some();
    let mine = ["serviceAccounts", "notServiceAccounts"]
        .into_iter()
        .find(|f| is_set(f));
    let other = ["principals", "notPrincipals", "namespaces", "notNamespaces"];
    match (mine, other.into_iter().find(|f| is_set(f))) {
        (Some(mine), Some(other)) => {
            vec![Violation::new(
                mine,
                format!("is set beside {other}"),
                "keep one of them",
            )]
        }
        _ => Vec::new(),
    }
}

fn service_account(value: &Value) -> Vec<Violation> {
    let Some(name) = value.as_str().filter(|name| !name.is_empty()) else {
        return Vec::new();
    };
    let is_named = match name.split_once('/') {
        Some((namespace, account)) => {
            !namespace.is_empty() && !account.is_empty() && !account.contains('/')
        }
        None => true,
    };
    if is_named && !name.contains('*') && name.len() <= 320 {
        Vec::new()
    } else {
        let what = format!("is {}, no service account", quoted(name));
        vec![Violation::new(
            "",
            what,
            "write NAME or NAMESPACE/NAME without wildcards",
        )]
    }
}

fn trust_domain(value: &Value) -> Vec<Violation> {
    let Some(domain) = value.as_str() else {
        return Vec::new();
    };
    if domain.contains('/') || !has_plain_wildcard(domain) {
        let what = format!("is {}, no trust domain", quoted(domain));
        vec![Violation::new(
            "",
            what,
            "write a domain, with at most one '*' at an end",
        )]
    } else {
        Vec::new()
    }
}

fn has_plain_wildcard(value: &str) -> bool {
    match value.matches('*').count() {
        0 => true,
        1 => value.starts_with('*') || value.ends_with('*'),
        _ => false,
    }
}

fn address(value: &Value) -> Vec<Violation> {
    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else {
        return Vec::new();
    };
    if text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() {
        Vec::new()
    } else {
        let what = format!("is {}, no address", quoted(text));
        vec![Violation::new(
            "",
            what,
            "write an address or a range such as 10.0.0.0/8",
        )]
    }
}

fn port(value: &Value) -> Vec<Violation> {
    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else {
        return Vec::new();
    };
    let is_plain = text.bytes().all(|b| b.is_ascii_digit());
    if is_plain && text.parse::<u16>().is_ok() {
        Vec::new()
    } else {
        let what = format!("is {}, no port", quoted(text));
        vec![Violation::new("", what, "write a number up to 65535")]
    }
}

/// `{*}` stands for one segment, `{**}` for the rest; nothing else in braces means anything, and in
/// a template no `*` either.
fn path_template(value: &Value) -> Vec<Violation> {
    let Some(path) = value.as_str() else {
        return Vec::new();
    };
    let is_template = path.contains("{*}") || path.contains("{**}");
    let broken = |what: &str, remedy: &str| {
        vec![Violation::new(
            "",
            format!("is {}, {what}", quoted(path)),
            remedy,
        )]
    };
    let mut rest_is_taken = false;
    for segment in path.trim_matches('/').split('/') {
        match segment {
            "{*}" | "{**}" if rest_is_taken => {
                return broken("in which {**} is not the last operator", "put {**} last");
            }
            "{**}" => rest_is_taken = true,
            "{*}" => {}
            _ if segment.contains(['{', '}']) => {
                return broken("which has braces other than {*} and {**}", "use only those");
            }
            _ if is_template && !is_path_literal(segment) => {
                return broken("a template with other wildcards", "use {*} and {**} only");
            }
            _ => {}
        }
    }
    Vec::new()
}

/// RFC 3986 pchar without `*`, at least one.
fn is_path_literal(segment: &str) -> bool {
    let is_pchar = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@=".contains(c);
    !segment.is_empty() && segment.chars().all(is_pchar)
}

fn condition(condition: &Value) -> Vec<Violation> {
    let key = text(condition, "key");
    let list = |field: &str| {
        condition
            .get(field)
            .and_then(Value::as_array)
            .map_or(&[][..], |v| v)
    };
    if key.is_empty() {
        let is_absent = condition.get("key").is_none();
        return if is_absent {
            Vec::new()
        } else {
            vec![Violation::new("key", "is empty", "name an attribute")]
        };
    }
    if list("values").is_empty() && list("notValues").is_empty() {
        return vec![Violation::new(
            "values",
            "is required",
            "add values or notValues",
        )];
    }
    let value_rule: fn(&Value) -> Vec<Violation> = match attribute(key) {
        Attribute::Text => |_| Vec::new(),
        Attribute::Address => address,
        Attribute::Port => port,
        Attribute::ServiceAccount => service_account,
        Attribute::TrustDomain => trust_domain,
        Attribute::Malformed => {
            let what = format!("is {}, without a name in brackets", quoted(key));
            return vec![Violation::new(
                "key",
                what,
                "write it as request.headers[x-user]",
            )];
        }
        Attribute::Unknown => {
            let what = format!("is {}, no attribute", quoted(key));
            let remedy = "use one of the attributes that Istio documents for conditions";
            return vec![Violation::new("key", what, remedy)];
        }
    };
    let mut broken = Vec::new();
    for field in ["values", "notValues"] {
        for (index, value) in list(field).iter().enumerate() {
            let place = FieldPath::from(field).index(index);
            let empty = Rule::Length(1, usize::MAX).violations(value);
            broken.extend(
                empty
                    .into_iter()
                    .chain(value_rule(value))
                    .map(|violation| Violation {
                        field: place.join(&violation.field),
                        ..violation
                    }),
            );
        }
    }
    broken
}

/// What the values of an attribute are.
enum Attribute {
    Text,
    Address,
    Port,
    ServiceAccount,
    TrustDomain,
    /// An attribute that needs a name in brackets and has none.
    Malformed,
    Unknown,
}

fn attribute(key: &str) -> Attribute {
    let named = [
        "request.headers",
        "request.auth.claims",
        "experimental.envoy.filters.",
    ];
    match key {
        "source.ip" | "remote.ip" | "destination.ip" => Attribute::Address,
        "destination.port" => Attribute::Port,
        "source.serviceAccount" => Attribute::ServiceAccount,
        "source.trustDomain" => Attribute::TrustDomain,
        "source.namespace"
        | "source.principal"
        | "request.auth.principal"
        | "request.auth.audiences"
        | "request.auth.presenter"
        | "connection.sni" => Attribute::Text,
        _ if named.iter().any(|prefix| key.starts_with(prefix)) => {
            let name = key
                .find('[')
                .filter(|open| *open > 0)
                .zip(key.strip_suffix(']'));
            if name.is_some_and(|(open, body)| open + 1 < body.len()) {
                Attribute::Text
            } else {
                Attribute::Malformed
            }
        }
        _ => Attribute::Unknown,
    }
}
