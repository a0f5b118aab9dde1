//! AuthorizationPolicy at ztunnels: strings, blocks, and what is dropped.

use serde_json::{Value, json};

use super::translate;
use crate::translate::json;

/// The groups that ztunnels get for `spec`.
fn groups(spec: &str) -> Value {
    let (translator, _) = translate(&format!(
        "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
          metadata: {{name: p, namespace: a}}, spec: {spec}}}"
    ));
    let policy = translator.resources().authorizations.get("a/p");
    policy.map_or(Value::Null, |policy| {
        json::authorization(policy)["groups"].clone()
    })
}

#[test]
fn clauses_are_to_then_from_then_when() {
    assert_eq!(
        groups(
            "{action: DENY, rules: [{
                from: [{source: {namespaces: [a]}}, {source: {principals: ['*']}}],
                to: [{operation: {ports: ['80']}}],
                when: [{key: destination.port, notValues: ['81']}]}]}"
        ),
        json!([{"rules": [
            {"matches": [{"destinationPorts": [80]}]},
            {"matches": [{"namespaces": [{"exact": "a"}]}, {"principals": [{"presence": {}}]}]},
            {"matches": [{"notDestinationPorts": [81]}]},
        ]}])
    );
}

#[test]
fn an_allow_loses_the_rule_a_deny_the_field() {
    let rule = "rules: [{to: [{operation: {paths: [/a], ports: ['80']}}]}]";
    assert_eq!(groups(&format!("{{action: ALLOW, {rule}}}")), Value::Null);
    let kept = json!([{"rules": [{"matches": [{"destinationPorts": [80]}]}]}]);
    assert_eq!(groups(&format!("{{action: DENY, {rule}}}")), kept);
}

/// istiod drops a trust domain in silence and allows more than is written.
#[test]
fn an_allow_by_trust_domain_allows_nothing() {
    let rule = "rules: [{from: [{source: {namespaces: [a], trustDomains: [td]}}]}]";
    assert_eq!(groups(&format!("{{action: ALLOW, {rule}}}")), Value::Null);
}

#[test]
fn ztunnels_are_told_of_allow_and_deny_alone() {
    assert_eq!(groups("{action: AUDIT, rules: [{}]}"), Value::Null);
    assert_eq!(groups("{action: DENY, rules: [{}]}"), json!([{}]));
}
