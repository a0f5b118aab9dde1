//! Rules for PeerAuthentication.
//!
//! Source: its CRD and istiod's webhook (`ValidatePeerAuthentication`).

use serde_json::Value;

use super::selection::PLAIN_SELECTOR;
use super::{Check, Rule, Violation};
use crate::object::FieldPath;

const SOURCE: &str = "Istio CRD peerauthentications";

/// PeerAuthentication.
pub(crate) const PEER_AUTHENTICATION: &[Check] = &[
    PLAIN_SELECTOR,
    Check {
        name: "mode-is-known",
        at: &["spec.mtls.mode", "spec.portLevelMtls{}.mode"],
        rule: Rule::OneOf(&["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]),
        source: SOURCE,
    },
    Check {
        name: "ports-are-named-if-at-all",
        at: &["spec.portLevelMtls"],
        rule: Rule::Entries(1, usize::MAX),
        source: SOURCE,
    },
    Check {
        name: "ports-are-numbers",
        at: &["spec.portLevelMtls"],
        rule: Rule::Holds(port_keys),
        source: SOURCE,
    },
    Check {
        name: "ports-need-a-selector",
        at: &["spec"],
        rule: Rule::Holds(ports_need_selector),
        source: SOURCE,
    },
];

fn port_keys(ports: &Value) -> Vec<Violation> {
    let keys = ports
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys);
    keys.filter(|key| !key.parse::<u16>().is_ok_and(|port| port > 0))
        .map(|key| Violation {
            field: FieldPath::root().key(key),
            what: "is no port".to_owned(),
            remedy: "use a number from 1 to 65535".to_owned(),
        })
        .collect()
}

fn ports_need_selector(spec: &Value) -> Vec<Violation> {
    let labels = spec
        .pointer("/selector/matchLabels")
        .and_then(Value::as_object);
    let selects = labels.is_some_and(|labels| !labels.is_empty());
    if spec.get("portLevelMtls").is_some() && !selects {
        let remedy = "add a selector: ports are those of a workload";
        vec![Violation::new(
            "portLevelMtls",
            "is set without a selector",
            remedy,
        )]
    } else {
        Vec::new()
    }
}
