//! Rules for how Istio's policies say what they apply to.
//!
//! Source: the CRDs of `istio.type.v1beta1` and istiod's webhook (`validatePolicyTargetReference`,
//! `validateWorkloadSelector`).

use serde_json::Value;

use super::gateway::reference;
use super::{Check, Rule, Violation, quoted};
use crate::object::FieldPath;

const SOURCE: &str = "Istio CRD, istio.type.v1beta1";

/// The spec says in one way only what it applies to.
pub(super) const ONE_SELECTION: Check = Check {
    name: "selector-or-targets",
    at: &["spec"],
    rule: Rule::Holds(one_selection),
    source: SOURCE,
};

/// At most 16 targets.
pub(super) const FEW_TARGETS: Check = Check {
    name: "targets-are-at-most-16",
    at: &["spec.targetRefs"],
    rule: Rule::Entries(0, 16),
    source: SOURCE,
};

/// A target has kind and name.
pub(super) const COMPLETE_TARGET: Check = Check {
    name: "target-is-complete",
    at: &["spec.targetRefs[]", "spec.targetRef"],
    rule: Rule::Has(&["kind", "name"]),
    source: SOURCE,
};

/// A target is of a kind that policies can be attached to, in the policy's namespace.
pub(super) const POSSIBLE_TARGET: Check = Check {
    name: "target-is-possible",
    at: &["spec.targetRefs[]", "spec.targetRef"],
    rule: Rule::Holds(possible_target),
    source: "istiod validatePolicyTargetReference",
};

/// The selector names labels without wildcards.
pub(super) const PLAIN_SELECTOR: Check = Check {
    name: "selector-has-no-wildcards",
    at: &["spec.selector.matchLabels"],
    rule: Rule::Holds(plain_labels),
    source: SOURCE,
};

fn one_selection(spec: &Value) -> Vec<Violation> {
    let is_set = |field: &&str| match spec.get(*field) {
        Some(Value::Array(items)) => !items.is_empty(),
        other => other.is_some(),
    };
    let set: Vec<&str> = ["selector", "targetRef", "targetRefs"]
        .into_iter()
        .filter(is_set)
        .collect();
    match &set[..] {
        [first, .., last] => {
            let what = format!("is set beside {first}");
            vec![Violation::new(last, what, "keep one of them")]
        }
        _ => Vec::new(),
    }
}

fn possible_target(target: &Value) -> Vec<Violation> {
    let text = |field: &str| {
        target
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if !text("namespace").is_empty() {
        let what = format!(
            "is {}, but a policy is attached within its namespace",
            quoted(text("namespace"))
        );
        return vec![Violation::new(
            "namespace",
            what,
            "remove it and move the policy there",
        )];
    }
    let group = match text("group") {
        "core" => "",
        group => group,
    };
    let is_possible = matches!(
        (group, text("kind")),
        ("", "Service")
            | ("networking.istio.io", "ServiceEntry")
            | ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
    );
    let malformed = reference(target);
    if is_possible || !malformed.is_empty() || text("kind").is_empty() {
        return malformed;
    }
    let what = format!(
        "is {}, to which no policy can be attached",
        name_of(group, text("kind"))
    );
    vec![Violation::new(
        "kind",
        what,
        "use Service, ServiceEntry, Gateway or GatewayClass",
    )]
}

fn name_of(group: &str, kind: &str) -> String {
    match group {
        "" => kind.to_owned(),
        group => format!("{kind} of {group}"),
    }
}

fn plain_labels(labels: &Value) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let what = match (key.is_empty(), key.contains('*') || value.contains('*')) {
            (true, _) => "has an empty key",
            (_, true) => "has a wildcard, which labels do not know",
            _ if value.len() > 63 => "is longer than a label may be",
            _ => continue,
        };
        broken.push(Violation {
            field: FieldPath::root().key(key),
            what: what.to_owned(),
            remedy: "write the label as the pods have it".to_owned(),
        });
    }
    broken
}
