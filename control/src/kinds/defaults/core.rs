//! Defaults of the kinds of Kubernetes itself.
//!
//! Source: kubernetes `pkg/apis/{core,apps,batch,discovery}/v1/defaults.go` and the Service REST
//! strategy; IPv4 only, as one machine is.

use serde_json::{Value, json};

use super::Filler::{Bool, Made, Number, Text};
use super::{Row, fill, set_missing};
use crate::object::visit_mut;

/// `kubernetes.io/metadata.name` is on every namespace (`NamespaceDefaultLabelName`).
pub(in crate::kinds) fn namespace(value: &mut Value) {
    let Some(name) = value.pointer("/metadata/name").cloned() else {
        return;
    };
    fill(
        value,
        &[("", "spec", Made(|| json!({"finalizers": ["kubernetes"]})))],
    );
    fill(value, &[("metadata", "labels", Made(|| json!({})))]);
    visit_mut(value, "metadata.labels", &mut |labels| {
        set_missing(labels, "kubernetes.io/metadata.name", || name.clone());
    });
}

pub(in crate::kinds) fn service(value: &mut Value) {
    fill(
        value,
        &[
            ("spec", "type", Text("ClusterIP")),
            ("spec", "sessionAffinity", Text("None")),
            ("spec.ports[]", "protocol", Text("TCP")),
        ],
    );
    visit_mut(value, "spec.ports[]", &mut |port| {
        if let Some(number) = port.get("port").cloned() {
            set_missing(port, "targetPort", || number);
        }
    });
    let kind = value
        .pointer("/spec/type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let rows: &[Row] = match kind {
        "ExternalName" => &[],
        "NodePort" => &[
            ("spec", "externalTrafficPolicy", Text("Cluster")),
            ("spec", "internalTrafficPolicy", Text("Cluster")),
        ],
        "LoadBalancer" => &[
            ("spec", "allocateLoadBalancerNodePorts", Bool(true)),
            ("spec", "externalTrafficPolicy", Text("Cluster")),
            ("spec", "internalTrafficPolicy", Text("Cluster")),
        ],
        _ => &[("spec", "internalTrafficPolicy", Text("Cluster"))],
    };
    let families: &[Row] = &[
        ("spec", "ipFamilies", Made(|| json!(["IPv4"]))),
        ("spec", "ipFamilyPolicy", Text("SingleStack")),
    ];
    let families = if kind == "ExternalName" {
        &[]
    } else {
        families
    };
    fill(value, rows);
    fill(value, families);
    let affine = value.pointer("/spec/sessionAffinity") == Some(&json!("ClientIP"));
    if affine {
        let timeout = || json!({"clientIP": {"timeoutSeconds": 10_800}});
        fill(value, &[("spec", "sessionAffinityConfig", Made(timeout))]);
    }
    if let Some(address) = value.pointer("/spec/clusterIP").cloned() {
        visit_mut(value, "spec", &mut |spec| {
            set_missing(spec, "clusterIPs", || json!([address]));
        });
    }
}

pub(in crate::kinds) fn endpoint_slice(value: &mut Value) {
    fill(
        value,
        &[
            ("ports[]", "name", Text("")),
            ("ports[]", "protocol", Text("TCP")),
        ],
    );
}

pub(in crate::kinds) fn deployment(value: &mut Value) {
    pod_template(value);
    fill(
        value,
        &[
            ("spec", "replicas", Number(1)),
            ("spec", "revisionHistoryLimit", Number(10)),
            ("spec", "progressDeadlineSeconds", Number(600)),
            ("spec", "strategy", Made(|| json!({}))),
            ("spec.strategy", "type", Text("RollingUpdate")),
        ],
    );
    if value.pointer("/spec/strategy/type") == Some(&json!("RollingUpdate")) {
        fill(
            value,
            &[
                ("spec.strategy", "rollingUpdate", Made(|| json!({}))),
                ("spec.strategy.rollingUpdate", "maxSurge", Text("25%")),
                ("spec.strategy.rollingUpdate", "maxUnavailable", Text("25%")),
            ],
        );
    }
}

/// `ReplicaSet` and `StatefulSet`.
pub(in crate::kinds) fn replicated(value: &mut Value) {
    pod_template(value);
    fill(value, &[("spec", "replicas", Number(1))]);
}

/// `DaemonSet` and `Job`: `spec.template`.
pub(in crate::kinds) fn pod_template(value: &mut Value) {
    visit_mut(value, "spec.template.spec", &mut pod_spec);
}

/// `CronJob`: a template in a template.
pub(in crate::kinds) fn cron_job(value: &mut Value) {
    visit_mut(value, "spec.jobTemplate.spec.template.spec", &mut pod_spec);
}

pub(in crate::kinds) fn pod(value: &mut Value) {
    visit_mut(value, "spec", &mut pod_spec);
    // The ServiceAccount admission plugin.
    fill(value, &[("spec", "serviceAccountName", Text("default"))]);
}

fn pod_spec(spec: &mut Value) {
    fill(
        spec,
        &[
            ("", "restartPolicy", Text("Always")),
            ("", "dnsPolicy", Text("ClusterFirst")),
            ("", "schedulerName", Text("default-scheduler")),
            ("", "securityContext", Made(|| json!({}))),
            ("", "terminationGracePeriodSeconds", Number(30)),
        ],
    );
    for containers in ["containers[]", "initContainers[]"] {
        visit_mut(spec, containers, &mut container);
    }
    fill(
        spec,
        &[
            ("volumes[].configMap", "defaultMode", Number(420)),
            ("volumes[].secret", "defaultMode", Number(420)),
            ("volumes[].downwardAPI", "defaultMode", Number(420)),
            ("volumes[].projected", "defaultMode", Number(420)),
        ],
    );
}

fn container(container: &mut Value) {
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let pull = if is_latest(image) {
        "Always"
    } else {
        "IfNotPresent"
    };
    let has_image = !image.is_empty();
    if has_image {
        set_missing(container, "imagePullPolicy", || json!(pull));
    }
    fill(
        container,
        &[
            ("", "resources", Made(|| json!({}))),
            ("", "terminationMessagePath", Text("/dev/termination-log")),
            ("", "terminationMessagePolicy", Text("File")),
            ("ports[]", "protocol", Text("TCP")),
            ("env[].valueFrom.fieldRef", "apiVersion", Text("v1")),
        ],
    );
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        visit_mut(container, probe, &mut |probe| {
            fill(
                probe,
                &[
                    ("", "timeoutSeconds", Number(1)),
                    ("", "periodSeconds", Number(10)),
                    ("", "successThreshold", Number(1)),
                    ("", "failureThreshold", Number(3)),
                    ("httpGet", "path", Text("/")),
                    ("httpGet", "scheme", Text("HTTP")),
                    ("grpc", "service", Text("")),
                ],
            );
        });
    }
    // A quantity may be written as a number; it is kept as text.
    for amounts in ["resources.limits{}", "resources.requests{}"] {
        visit_mut(container, amounts, &mut |amount| {
            if let Value::Number(number) = amount {
                *amount = json!(number.to_string());
            }
        });
    }
}

/// Whether an image reference means the tag `latest`, which is always pulled.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
