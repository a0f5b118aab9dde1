//! Rules for WasmPlugin, most of which TrafficExtension shares.
//!
//! Source: its CRD and istiod's webhook (`ValidateWasmPlugin`).

use serde_json::Value;

use super::selection::{
    COMPLETE_TARGET, FEW_TARGETS, ONE_SELECTION, PLAIN_SELECTOR, POSSIBLE_TARGET,
};
use super::{Check, Rule, Violation, patterns, quoted};

const SOURCE: &str = "Istio CRD wasmplugins";

/// What WasmPlugin and TrafficExtension have in common: where in the order they run, and on what.
pub(crate) const ATTACHED: &[Check] = &[
    ONE_SELECTION,
    FEW_TARGETS,
    COMPLETE_TARGET,
    POSSIBLE_TARGET,
    PLAIN_SELECTOR,
    Check {
        name: "spec-is-there",
        at: &[""],
        rule: Rule::Has(&["spec"]),
        source: SOURCE,
    },
    Check {
        name: "phase-is-known",
        at: &["spec.phase"],
        rule: Rule::OneOf(&["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"]),
        source: SOURCE,
    },
    Check {
        name: "priority-is-a-32-bit-number",
        at: &["spec.priority"],
        rule: Rule::Between(i32::MIN as i64, i32::MAX as i64),
        source: SOURCE,
    },
    Check {
        name: "match-mode-is-known",
        at: &["spec.match[].mode"],
        rule: Rule::OneOf(&["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"]),
        source: SOURCE,
    },
    Check {
        name: "match-port-has-a-number",
        at: &["spec.match[].ports[]"],
        rule: Rule::Has(&["number"]),
        source: SOURCE,
    },
    Check {
        name: "match-port-is-in-range",
        at: &["spec.match[].ports[].number"],
        rule: Rule::Between(1, 65_535),
        source: SOURCE,
    },
    Check {
        name: "match-ports-differ",
        at: &["spec.match[].ports"],
        rule: Rule::Unique(&["number"]),
        source: SOURCE,
    },
];

/// Rules for a module, wherever in an object its configuration stands.
macro_rules! module {
    ($at:literal) => {
        &[
            Check {
                name: "url-is-there",
                at: &[$at],
                rule: Rule::Has(&["url"]),
                source: SOURCE,
            },
            Check {
                name: "url-is-not-empty",
                at: &[concat!($at, ".url")],
                rule: Rule::Length(1, usize::MAX),
                source: SOURCE,
            },
            Check {
                name: "url-scheme-is-known",
                at: &[concat!($at, ".url")],
                rule: Rule::Holds(url_scheme),
                source: SOURCE,
            },
            Check {
                name: "sha256-is-64-hex-digits",
                at: &[concat!($at, ".sha256")],
                rule: Rule::Form(&patterns::SHA256),
                source: SOURCE,
            },
            Check {
                name: "digests-agree",
                at: &[$at],
                rule: Rule::Holds(digests_agree),
                source: "Istio WasmPlugin reference, sha256",
            },
            Check {
                name: "fail-strategy-is-known",
                at: &[concat!($at, ".failStrategy")],
                rule: Rule::OneOf(&["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"]),
                source: SOURCE,
            },
            Check {
                name: "type-is-known",
                at: &[concat!($at, ".type")],
                rule: Rule::OneOf(&["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"]),
                source: SOURCE,
            },
            Check {
                name: "pull-policy-is-known",
                at: &[concat!($at, ".imagePullPolicy")],
                rule: Rule::OneOf(&["UNSPECIFIED_POLICY", "IfNotPresent", "Always"]),
                source: SOURCE,
            },
            Check {
                name: "pull-secret-has-a-length",
                at: &[concat!($at, ".imagePullSecret")],
                rule: Rule::Length(1, 253),
                source: SOURCE,
            },
            Check {
                name: "plugin-name-has-a-length",
                at: &[concat!($at, ".pluginName")],
                rule: Rule::Length(1, 256),
                source: SOURCE,
            },
            Check {
                name: "environment-is-at-most-256",
                at: &[concat!($at, ".vmConfig.env")],
                rule: Rule::Entries(0, 256),
                source: SOURCE,
            },
            Check {
                name: "environment-names-differ",
                at: &[concat!($at, ".vmConfig.env")],
                rule: Rule::Unique(&["name"]),
                source: SOURCE,
            },
            Check {
                name: "environment-has-names",
                at: &[concat!($at, ".vmConfig.env[]")],
                rule: Rule::Has(&["name"]),
                source: SOURCE,
            },
            Check {
                name: "environment-name-has-a-length",
                at: &[concat!($at, ".vmConfig.env[].name")],
                rule: Rule::Length(1, 256),
                source: SOURCE,
            },
            Check {
                name: "environment-value-has-a-length",
                at: &[concat!($at, ".vmConfig.env[].value")],
                rule: Rule::Length(0, 2048),
                source: SOURCE,
            },
            Check {
                name: "environment-source-is-known",
                at: &[concat!($at, ".vmConfig.env[].valueFrom")],
                rule: Rule::OneOf(&["INLINE", "HOST"]),
                source: SOURCE,
            },
            Check {
                name: "host-environment-has-no-value",
                at: &[concat!($at, ".vmConfig.env[]")],
                rule: Rule::Holds(host_has_no_value),
                source: SOURCE,
            },
        ]
    };
}

/// The module of a WasmPlugin.
pub(crate) const WASM_PLUGIN: &[Check] = module!("spec");

/// The module of a TrafficExtension.
pub(crate) const MODULE: &[Check] = module!("spec.wasm");

/// No scheme means OCI.
fn url_scheme(url: &Value) -> Vec<Violation> {
    let Some(url) = url.as_str() else {
        return Vec::new();
    };
    let broken = |what: String| {
        vec![Violation::new(
            "",
            what,
            "use oci://, file://, http:// or https://",
        )]
    };
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return broken(format!("is {}, no URL", quoted(url)));
    }
    match url.split_once("://") {
        Some(("http" | "https" | "oci", "")) => {
            broken(format!("is {}, which names no host", quoted(url)))
        }
        Some(("file", rest)) if !rest.starts_with('/') => {
            vec![Violation::new(
                "",
                "is no absolute path",
                "write file:///path/to/module.wasm",
            )]
        }
        None | Some(("http" | "https" | "oci" | "file", _)) => Vec::new(),
        Some((scheme, _)) => broken(format!("has the unknown scheme {}", quoted(scheme))),
    }
}

fn digests_agree(spec: &Value) -> Vec<Violation> {
    let text = |field: &str| spec.get(field).and_then(Value::as_str).unwrap_or_default();
    match text("url").split_once("@sha256:") {
        Some((_, digest)) if !text("sha256").is_empty() && digest != text("sha256") => {
            let what = "is not the digest that url names";
            vec![Violation::new("sha256", what, "remove one of them")]
        }
        _ => Vec::new(),
    }
}

fn host_has_no_value(variable: &Value) -> Vec<Violation> {
    let from_host = variable.get("valueFrom").and_then(Value::as_str) == Some("HOST");
    if from_host && variable.get("value").is_some() {
        let what = "is set, but the value comes from the host";
        vec![Violation::new(
            "value",
            what,
            "remove it or use valueFrom INLINE",
        )]
    } else {
        Vec::new()
    }
}
