use serde_json::json;

use super::*;

fn document(value: Value) -> Document {
    Document {
        value,
        origin: Origin {
            file: Some("a.yaml".to_owned()),
            line: 4,
        },
    }
}

fn deployment(containers: &Value) -> Document {
    document(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}},
        },
    }))
}

fn desired(documents: &[Document]) -> Desired {
    Desired::of(documents, &Desired::default())
}

fn check(containers: &Value, expected: &[&str]) {
    let desired = desired(&[deployment(containers)]);
    let said: Vec<String> = desired.findings.iter().map(ToString::to_string).collect();
    assert_eq!(said, expected);
}

#[test]
fn a_container_without_command_is_an_error_that_names_the_field() {
    check(
        &json!([{"name": "a", "image": "x", "command": ["true"]}, {"name": "b", "image": "x"}]),
        &[
            "a.yaml:4 Deployment default/web spec.template.spec.containers[1].command: is required, because no \
           image is pulled here, no pod is started from this template, name the program on this machine to run",
        ],
    );
    let desired = desired(&[deployment(&json!([{"name": "b", "image": "x"}]))]);
    assert!(!is_runnable(
        &desired.deployments[&ObjectKey::new("default", "web")]
    ));
}

#[test]
fn an_image_is_required_though_never_pulled() {
    check(
        &json!([{"name": "a", "command": ["true"]}]),
        &[
            "a.yaml:4 Deployment default/web spec.template.spec.containers[0].image: is required, no pod is \
           started from this template, name any image; it is shown, never pulled",
        ],
    );
}

#[test]
fn what_is_not_honoured_is_said() {
    let container = json!({
        "name": "a", "image": "x", "command": ["true"],
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "env": [
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "livenessProbe": {"grpc": {"port": 1}},
    });
    let desired = desired(&[deployment(&json!([container]))]);
    let fields: Vec<_> = desired
        .findings
        .iter()
        .filter_map(|finding| finding.field.as_deref())
        .collect();
    let base = "spec.template.spec.containers[0]";
    let expected = ["envFrom", "env[1].valueFrom", "livenessProbe.grpc"]
        .map(|field| format!("{base}.{field}"));
    assert_eq!(fields, expected);
    assert!(is_runnable(
        &desired.deployments[&ObjectKey::new("default", "web")]
    ));
}

#[test]
fn kinds_that_are_not_run_are_named() {
    let job = document(
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n"}}),
    );
    let desired = desired(&[job]);
    assert_eq!(
        desired.findings[0].to_string(),
        "a.yaml:4 Job n/j: a Job is not run on one machine, none of its pods exist, write a Deployment"
    );
}

#[test]
fn of_two_objects_with_one_name_the_first_wins() {
    let service = |port: u16| {
        let spec = json!({"ports": [{"port": port}]});
        document(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}),
        )
    };
    let desired = desired(&[service(1), service(2)]);
    let spec = desired.services[&ObjectKey::new("default", "s")]
        .object
        .spec
        .clone()
        .unwrap();
    assert_eq!(spec.ports.unwrap()[0].port, 1);
}

#[test]
fn an_object_that_no_longer_decodes_stays_as_it_was() {
    let good = deployment(&json!([{"name": "a", "image": "x", "command": ["true"]}]));
    let first = desired(&[good]);
    let second = Desired::of(&[deployment(&json!("nonsense"))], &first);
    assert_eq!(second.deployments, first.deployments);
    let third = Desired::of(&[], &second);
    assert!(third.deployments.is_empty());
}

#[test]
fn other_kinds_are_left_alone() {
    let route =
        document(json!({"apiVersion": "x/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}}));
    assert_eq!(
        desired(&[route, document(json!(3)), document(json!({}))]),
        Desired::default()
    );
}
