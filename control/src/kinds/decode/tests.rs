use serde_json::json;

use super::*;
use crate::kinds;

/// `field what` of the first field of `spec` that does not fit.
fn mismatch_of(group: &str, kind: &str, spec: &Value) -> String {
    let info = kinds::find(group, kind).unwrap();
    let value = json!({
        "apiVersion": info.api_version(), "kind": kind, "metadata": {"name": "x"}, "spec": spec,
    });
    match info.decode(&value) {
        Ok(_) => "fits".to_owned(),
        Err(Mismatch { field, what, .. }) => format!("{field} {what}"),
    }
}

#[test]
fn a_field_of_another_type_is_named_in_plain_words() {
    for (group, kind, spec, expected) in [
        (
            "",
            "Service",
            json!({"ports": [{"port": "80"}]}),
            "spec.ports[0].port is the string \"80\", must be a whole number",
        ),
        (
            "",
            "Service",
            json!({"ports": {"port": 80}}),
            "spec.ports is a map, must be a list",
        ),
        (
            "",
            "Service",
            json!({"selector": {"app": 1}}),
            "spec.selector.app is the number 1, must be a string",
        ),
        (
            "apps",
            "Deployment",
            json!({"replicas": true}),
            "spec.replicas is the boolean true, must be a whole number",
        ),
        (
            "gateway.networking.k8s.io",
            "HTTPRoute",
            json!({"rules": [{"matches": [{"path": "/x"}]}]}),
            "spec.rules[0].matches[0].path is the string \"/x\", must be a map",
        ),
        (
            "gateway.networking.k8s.io",
            "HTTPRoute",
            json!({"parentRefs": [{"kind": "Service"}]}),
            "spec.parentRefs[0].name is required",
        ),
        (
            "security.istio.io",
            "PeerAuthentication",
            json!({"mtls": {"mode": "STRIKT"}}),
            "spec.mtls.mode is \"STRIKT\", must be one of \"UNSET\", \"DISABLE\", \"PERMISSIVE\", \"STRICT\"",
        ),
        (
            "security.istio.io",
            "AuthorizationPolicy",
            json!({"rules": [{"to": [{"operation": {"ports": [80]}}]}]}),
            "spec.rules[0].to[0].operation.ports[0] is the number 80, must be a string",
        ),
        (
            "extensions.istio.io",
            "WasmPlugin",
            json!({"url": "x", "pluginConfig": [1]}),
            "spec.pluginConfig is a list, must be a map",
        ),
    ] {
        assert_eq!(mismatch_of(group, kind, &spec), expected);
    }
}

#[test]
fn an_enum_inside_a_list_is_named_by_its_field() {
    let spec = json!({"rules": [{"matches": [{"method": "get"}]}]});
    let said = mismatch_of("gateway.networking.k8s.io", "HTTPRoute", &spec);
    assert!(
        said.starts_with("spec.rules[0].matches[0].method is \"get\", must be one of"),
        "{said}"
    );
}

#[test]
fn fields_that_the_type_does_not_know_are_listed() {
    let info = kinds::find("", "Service").unwrap();
    let value = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "lables": {}},
        "spec": {"ports": [{"port": 80, "targetport": 1}]},
    });
    let (_, unknown) = info.decode(&value).unwrap().unwrap();
    let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    assert_eq!(unknown, ["metadata.lables", "spec.ports[0].targetport"]);
}

#[test]
fn a_text_that_yaml_takes_for_something_else_wants_quotes() {
    let info = kinds::find("", "Service").unwrap();
    let value = json!({"metadata": {"name": "x"}, "spec": {"selector": {"app": true}}});
    assert_eq!(
        info.decode(&value).unwrap_err().remedy,
        "write it in quotes"
    );
    let value = json!({"metadata": {"name": "x"}, "spec": {"selector": {"app": []}}});
    assert_eq!(info.decode(&value).unwrap_err().remedy, "");
}
