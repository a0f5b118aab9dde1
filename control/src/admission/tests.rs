use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::object::Kind;
use crate::source::yaml;

/// Judges the object `kind` with these parts; `name` and `apiVersion` are filled in.
fn judge(case: &Value) -> Result<Admitted, Vec<Finding>> {
    let kind = case["kind"].as_str().unwrap();
    let info = [
        "",
        "apps",
        "discovery.k8s.io",
        "gateway.networking.k8s.io",
        "security.istio.io",
    ]
    .into_iter()
    .chain(["extensions.istio.io"])
    .find_map(|group| kinds::find(group, kind))
    .unwrap_or_else(|| panic!("{kind}"));
    let mut value = case.clone();
    let map = value.as_object_mut().unwrap();
    map.remove("expect");
    map.entry("apiVersion")
        .or_insert_with(|| info.api_version().into());
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    metadata
        .as_object_mut()
        .unwrap()
        .entry("name")
        .or_insert_with(|| json!("x"));
    let document = Document {
        value: value.clone(),
        origin: Origin::default(),
    };
    let key = key_of(&document).unwrap();
    admit(&key, &document.origin, value, false)
}

fn cases(file: &str, text: &str) -> Vec<Value> {
    let manifest = yaml::parse(&Arc::from(file), text);
    assert!(manifest.unreadable.is_empty(), "{:?}", manifest.unreadable);
    assert!(manifest.documents.len() > 20);
    manifest
        .documents
        .into_iter()
        .map(|document| document.value)
        .collect()
}

/// `FIELD: WHAT` of each finding.
fn said(findings: &[Finding]) -> Vec<String> {
    let said = |finding: &Finding| {
        format!(
            "{}: {}",
            finding.field.as_deref().unwrap_or_default(),
            finding.what
        )
    };
    findings.iter().map(said).collect()
}

#[test]
fn what_an_api_server_refuses_is_refused_with_its_field() {
    let mut wrong = Vec::new();
    for case in cases("refused.yaml", include_str!("tests/refused.yaml")) {
        let expected: Vec<String> = match &case["expect"] {
            Value::String(text) => vec![text.clone()],
            list => serde_json::from_value(list.clone()).unwrap(),
        };
        let found = judge(&case).map(|_| ()).err().unwrap_or_default();
        if said(&found) != expected {
            wrong.push(format!(
                "{case}\n  expected {expected:#?}\n  found {:#?}",
                said(&found)
            ));
        }
        for finding in found {
            assert_eq!(finding.severity, Severity::Error);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_an_api_server_admits_is_admitted() {
    let mut wrong = Vec::new();
    for case in cases("admitted.yaml", include_str!("tests/admitted.yaml")) {
        match judge(&case) {
            Ok(admitted) if admitted.warnings.is_empty() => {}
            Ok(admitted) => wrong.push(format!("{case}\n  warned {:#?}", said(&admitted.warnings))),
            Err(findings) => wrong.push(format!("{case}\n  refused {:#?}", said(&findings))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_one_name_and_a_source() {
    for kind in kinds::all() {
        let mut names = BTreeSet::new();
        for check in kind.checks() {
            assert!(
                names.insert((check.name, check.at)),
                "{} of {}",
                check.name,
                kind.kind
            );
            assert!(
                !check.source.is_empty() && !check.at.is_empty(),
                "{}",
                check.name
            );
        }
    }
}

#[test]
fn a_finding_points_at_the_line_of_the_field() {
    let text = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: reviews
spec:
  rules:
  - backendRefs:
    - name: reviews
      port: 80
    matches:
    - path:
        value: /a
    - path:
        value: reviews
";
    let manifest = yaml::parse(&Arc::from("shop.yaml"), text);
    let document = &manifest.documents[0];
    let key = key_of(document).unwrap();
    let found = admit(&key, &document.origin, document.value.clone(), false).unwrap_err();
    let [finding] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        finding.to_string(),
        "shop.yaml:14 HTTPRoute default/reviews spec.rules[0].matches[1].path.value: \
         is \"reviews\", no absolute path, begin it with '/'"
    );
    assert_eq!(finding.column, 16);
}

#[test]
fn a_document_needs_a_version_a_kind_and_a_name() {
    for (value, expected) in [
        (json!([]), "is no object"),
        (
            json!({"kind": "A", "metadata": {"name": "a"}}),
            "apiVersion: is required",
        ),
        (
            json!({"apiVersion": "v1", "metadata": {"name": "a"}}),
            "kind: is required",
        ),
        (
            json!({"apiVersion": "v1", "kind": "A"}),
            "metadata.name: is required",
        ),
        (
            json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": ""}}),
            "metadata.name: is required",
        ),
        (
            json!({"apiVersion": "v1", "kind": 3, "metadata": {"name": "a"}}),
            "kind: is 3, not a string",
        ),
        (
            json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a", "namespace": false}}),
            "metadata.namespace: is false, not a string",
        ),
    ] {
        let finding = key_of(&Document {
            value,
            origin: Origin::default(),
        })
        .unwrap_err();
        assert!(finding.to_string().starts_with(expected), "{finding}");
    }
}

#[test]
fn an_object_without_namespace_is_in_the_default_one() {
    let key = |value: Value| {
        key_of(&Document {
            value,
            origin: Origin::default(),
        })
        .unwrap()
    };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
    assert_eq!(
        key(service),
        Key::new(Kind::of("", "Service"), "default", "a")
    );
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "namespace": "b"},
    });
    assert_eq!(key(node), Key::new(Kind::of("", "Node"), "", "a"));
    let older = json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "Gateway",
        "metadata": {"name": "a", "namespace": "b"},
    });
    assert_eq!(
        key(older),
        Key::new(Kind::of("gateway.networking.k8s.io", "Gateway"), "b", "a")
    );
}

#[test]
fn an_older_version_is_kept_in_the_stored_one() {
    let admitted = judge(&json!({
        "apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication",
    }));
    assert_eq!(
        admitted.unwrap().value["apiVersion"],
        "security.istio.io/v1"
    );
}

#[test]
fn what_belongs_to_an_objects_life_is_not_for_its_author_to_say() {
    let value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "a", "uid": "u", "generation": 7, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00.7Z", "managedFields": [],
            "labels": {"app": "a"}, "annotations": {"b": "c"},
        },
        "spec": {"containers": [{"name": "a", "image": "b"}]},
        "status": {"podIP": "10.0.0.1"},
    });
    let document = Document {
        value: value.clone(),
        origin: Origin::default(),
    };
    let key = key_of(&document).unwrap();
    let written = admit(&key, &document.origin, value.clone(), false).unwrap();
    assert_eq!(
        (written.uid, written.generation, written.status),
        (None, None, None)
    );
    assert_eq!(written.created.unwrap().to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(written.labels["app"], "a");
    assert_eq!(written.annotations["b"], "c");
    assert_eq!(
        written.value["metadata"],
        json!({
            "name": "a", "namespace": "default",
            "labels": {"app": "a"}, "annotations": {"b": "c"},
        })
    );
    assert_eq!(written.value.get("status"), None);

    let recorded = admit(&key, &document.origin, value, true).unwrap();
    assert_eq!(
        (recorded.uid.as_deref(), recorded.generation),
        (Some("u"), Some(7))
    );
    assert_eq!(recorded.status, Some(json!({"podIP": "10.0.0.1"})));
    assert_eq!(recorded.value.get("status"), None);
    let pod = recorded.decoded.unwrap();
    let pod: &k8s_openapi::api::core::v1::Pod = pod.downcast_ref().unwrap();
    assert_eq!(
        pod.status.as_ref().unwrap().pod_ip.as_deref(),
        Some("10.0.0.1")
    );
}

#[test]
fn a_field_nobody_knows_is_a_warning() {
    let admitted = judge(&json!({
        "kind": "Service", "spec": {"ports": [{"port": 80, "targetport": 8080}]},
    }));
    let [warning] = &admitted.unwrap().warnings[..] else {
        panic!()
    };
    assert_eq!(
        warning.to_string(),
        "Service default/x spec.ports[0].targetport: is not a field of this kind, \
         it has no effect, correct its name or remove it"
    );
    assert_eq!(warning.severity, Severity::Warning);
}

#[test]
fn an_unknown_kind_is_kept_as_it_stands() {
    let value = json!({
        "apiVersion": "example.com/v7", "kind": "Thing", "metadata": {"name": "a"},
        "spec": {"x": null}, "data": [1], "status": {"y": 1},
    });
    let document = Document {
        value: value.clone(),
        origin: Origin::default(),
    };
    let key = key_of(&document).unwrap();
    let admitted = admit(&key, &document.origin, value, false).unwrap();
    assert_eq!(
        admitted.value,
        json!({
            "apiVersion": "example.com/v7", "kind": "Thing",
            "metadata": {"name": "a", "namespace": "default"}, "spec": {"x": null}, "data": [1],
        })
    );
    assert_eq!(admitted.status, Some(json!({"y": 1})));
    assert!(admitted.decoded.is_none() && admitted.warnings.is_empty());
}
