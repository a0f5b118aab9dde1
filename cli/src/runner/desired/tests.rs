use std::sync::Arc;

use control::{
    object::Store,
    source::{Event, Root, Scope, yaml},
};
use jiff::Timestamp;

use super::*;

/// The objects of a manifest called `a.yaml`.
pub(in crate::runner) fn objects(text: &str) -> Objects {
    let mut store = Store::new(Timestamp::now());
    let manifest = yaml::parse(&Arc::from("a.yaml"), text);
    assert!(manifest.unreadable.is_empty(), "{:?}", manifest.unreadable);
    let root = Root::Written {
        order: 0,
        path: std::path::Path::new("a.yaml").into(),
    };
    let snapshot = Event::Snapshot {
        scope: Scope::new(root, "a.yaml"),
        documents: manifest.documents,
        unreadable: Vec::new(),
    };
    store.apply(snapshot, Timestamp::now());
    assert_eq!(store.findings(), Vec::new());
    store.objects().clone()
}

fn deployment(containers: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
{containers}"
    )
}

fn check(text: &str, expected: &[&str]) {
    let said: Vec<String> = Desired::of(&objects(text))
        .findings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(said, expected);
}

#[test]
fn a_container_without_command_is_an_error_that_names_line_and_field() {
    let text = deployment(
        "      - {name: a, image: x, command: ['true']}
      - {name: b, image: x}\n",
    );
    check(
        &text,
        &[
            "a.yaml:11 Deployment default/web spec.template.spec.containers[1].command: is required, because no image \
           is pulled here, no pod is started from this template, name the program on this machine to run",
        ],
    );
    assert_eq!(Desired::of(&objects(&text)).runnable().count(), 0);
}

#[test]
fn what_is_not_honoured_is_said() {
    let text = deployment(
        "      - name: a
        image: x
        command: ['true']
        envFrom: [{configMapRef: {name: c}}]
        env:
        - {name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}
        livenessProbe: {grpc: {port: 1}}
      hostNetwork: true\n",
    );
    let desired = Desired::of(&objects(&text));
    let fields: Vec<_> = desired
        .findings
        .iter()
        .filter_map(|finding| finding.field.clone())
        .collect();
    let container = ["envFrom", "env[1].valueFrom", "livenessProbe.grpc"]
        .map(|field| format!("containers[0].{field}"));
    let expected: Vec<_> = container
        .into_iter()
        .chain(["hostNetwork".to_owned()])
        .map(|field| format!("spec.template.spec.{field}"))
        .collect();
    assert_eq!(fields, expected);
    assert_eq!(desired.runnable().count(), 1);
}

#[test]
fn kinds_that_are_not_run_are_named() {
    check(
        "apiVersion: batch/v1
kind: Job
metadata: {name: j, namespace: shop}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: a, image: x}]",
        &[
            "a.yaml:1 Job shop/j: a Job is not run on one machine, none of its pods exist, write a Deployment",
        ],
    );
}

#[test]
fn labels_of_namespaces_and_slices_of_people_are_kept() {
    let text = "apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {a: b}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: []
ports: []";
    let desired = Desired::of(&objects(text));
    assert_eq!(
        desired.namespaces["shop"],
        BTreeMap::from(
            [("a", "b"), ("kubernetes.io/metadata.name", "shop")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        )
    );
    assert_eq!(desired.slices.len(), 1);
    assert_eq!(desired.findings, Vec::new());
}
