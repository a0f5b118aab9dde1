//! What is to run: the objects the runner acts on, from documents.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Container, Namespace, PodSpec, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::findings::{Finding, ObjectName, Severity};

/// Kinds that would run something in a cluster and do not here.
const NOT_RUN: [&str; 7] = [
    "CronJob",
    "DaemonSet",
    "Job",
    "Pod",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
];

/// Where a document stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Origin {
    /// The file; `None` for what the runner itself makes.
    pub(super) file: Option<String>,
    /// The line, from 1; 0 if unknown.
    pub(super) line: u32,
}

/// One object as its author gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    /// The whole tree.
    pub(super) value: Value,
    /// Where it stands.
    pub(super) origin: Origin,
}

/// Namespace and name of an object of a known kind.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ObjectKey {
    /// The namespace; empty for kinds without one.
    pub(super) namespace: String,
    /// The name.
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object with its name and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named<T> {
    pub(super) key: ObjectKey,
    pub(super) object: T,
    pub(super) origin: Origin,
}

/// The objects the runner acts on. Of two with one name the first wins.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Desired {
    pub(super) namespaces: BTreeMap<String, Named<Namespace>>,
    pub(super) deployments: BTreeMap<ObjectKey, Named<Deployment>>,
    pub(super) services: BTreeMap<ObjectKey, Named<Service>>,
    pub(super) slices: BTreeMap<ObjectKey, Named<EndpointSlice>>,
    pub(super) findings: Vec<Finding>,
}

impl Desired {
    /// Picks from `documents` what the runner acts on.
    ///
    /// A document that does not decode keeps the version `last` had: control says what is wrong
    /// with it, and until then what runs goes on.
    pub(super) fn of<'a>(documents: impl IntoIterator<Item = &'a Document>, last: &Self) -> Self {
        let mut desired = Self::default();
        for document in documents {
            desired.add(document, last);
        }
        desired
    }

    fn add(&mut self, document: &Document, last: &Self) {
        let text = |field: &str| {
            document
                .value
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let Some(key) = key_of(&document.value) else {
            return;
        };
        match (text("apiVersion"), text("kind")) {
            ("v1", "Namespace") => {
                let name = key.name.clone();
                let before = last.namespaces.get(&name);
                if let Some(object) = decode(document, key, before) {
                    self.namespaces.entry(name).or_insert(object);
                }
            }
            ("apps/v1", "Deployment") => {
                let before = last.deployments.get(&key);
                if let Some(object) = decode(document, key.clone(), before)
                    && !self.deployments.contains_key(&key)
                {
                    self.findings.extend(check(&object));
                    self.deployments.insert(key, object);
                }
            }
            ("v1", "Service") => insert(&mut self.services, document, key, &last.services),
            ("discovery.k8s.io/v1", "EndpointSlice") => {
                insert(&mut self.slices, document, key, &last.slices)
            }
            (_, kind) if NOT_RUN.contains(&kind) => {
                self.findings.push(not_run(document, kind, &key))
            }
            _ => {}
        }
    }
}

fn insert<T: DeserializeOwned + Clone>(
    objects: &mut BTreeMap<ObjectKey, Named<T>>,
    document: &Document,
    key: ObjectKey,
    last: &BTreeMap<ObjectKey, Named<T>>,
) {
    let before = last.get(&key);
    if let Some(object) = decode(document, key.clone(), before) {
        objects.entry(key).or_insert(object);
    }
}

fn decode<T: DeserializeOwned + Clone>(
    document: &Document,
    key: ObjectKey,
    before: Option<&Named<T>>,
) -> Option<Named<T>> {
    match serde_json::from_value(document.value.clone()) {
        Ok(object) => Some(Named {
            key,
            object,
            origin: document.origin.clone(),
        }),
        Err(_) => before.cloned(),
    }
}

fn key_of(value: &Value) -> Option<ObjectKey> {
    let metadata = value.get("metadata")?;
    let text = |field: &str| metadata.get(field).and_then(Value::as_str);
    let namespaced = value.get("kind").is_none_or(|kind| kind != "Namespace");
    let namespace = if namespaced {
        text("namespace").unwrap_or("default")
    } else {
        ""
    };
    Some(ObjectKey::new(namespace, text("name")?))
}

fn finding(kind: &str, key: &ObjectKey, origin: &Origin) -> Finding {
    Finding {
        file: origin.file.clone(),
        line: origin.line,
        object: Some(ObjectName {
            kind: kind.to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        }),
        field: None,
        severity: Severity::Warning,
        what: String::new(),
        effect: String::new(),
        remedy: String::new(),
    }
}

/// A finding about a field of a Deployment's pod template.
pub(super) fn deployment_finding(deployment: &Named<Deployment>, field: &str) -> Finding {
    Finding {
        field: Some(field.to_owned()),
        ..finding("Deployment", &deployment.key, &deployment.origin)
    }
}

/// A finding about a field of a Service.
pub(super) fn service_finding(service: &Named<Service>, field: &str) -> Finding {
    Finding {
        field: Some(field.to_owned()),
        ..finding("Service", &service.key, &service.origin)
    }
}

fn not_run(document: &Document, kind: &str, key: &ObjectKey) -> Finding {
    Finding {
        what: format!("a {kind} is not run on one machine"),
        effect: "none of its pods exist".to_owned(),
        remedy: "write a Deployment".to_owned(),
        ..finding(kind, key, &document.origin)
    }
}

/// The pod template of a Deployment.
pub(super) fn pod_spec(deployment: &Deployment) -> Option<&PodSpec> {
    deployment.spec.as_ref()?.template.spec.as_ref()
}

/// Whether a Deployment says what to run; what is wrong if not is among the findings.
pub(super) fn is_runnable(deployment: &Named<Deployment>) -> bool {
    check(deployment)
        .iter()
        .all(|finding| finding.severity != Severity::Error)
}

/// What of a Deployment cannot be run, or is not honoured here.
fn check(deployment: &Named<Deployment>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(spec) = pod_spec(&deployment.object) else {
        return findings;
    };
    for (index, container) in spec.containers.iter().enumerate() {
        let at = |field: &str| format!("spec.template.spec.containers[{index}].{field}");
        if container.command.as_ref().is_none_or(Vec::is_empty) {
            findings.push(Finding {
                severity: Severity::Error,
                what: "is required, because no image is pulled here".to_owned(),
                effect: "no pod is started from this template".to_owned(),
                remedy: "name the program on this machine to run".to_owned(),
                ..deployment_finding(deployment, &at("command"))
            });
        }
        if container.image.as_ref().is_none_or(String::is_empty) {
            findings.push(Finding {
                severity: Severity::Error,
                what: "is required".to_owned(),
                effect: "no pod is started from this template".to_owned(),
                remedy: "name any image; it is shown, never pulled".to_owned(),
                ..deployment_finding(deployment, &at("image"))
            });
        }
        findings.extend(
            ignored_in(container)
                .into_iter()
                .map(|field| ignored(deployment, &at(&field))),
        );
    }
    let pod = |field: &str| ignored(deployment, &format!("spec.template.spec.{field}"));
    findings.extend(
        spec.init_containers
            .as_ref()
            .filter(|of| !of.is_empty())
            .map(|_| pod("initContainers")),
    );
    findings.extend(spec.affinity.as_ref().map(|_| pod("affinity")));
    findings.extend(
        spec.host_network
            .filter(|of| *of)
            .map(|_| pod("hostNetwork")),
    );
    findings
}

/// Fields that would change what a container does and are not honoured.
fn ignored_in(container: &Container) -> Vec<String> {
    let mut fields = Vec::new();
    if container.env_from.as_ref().is_some_and(|of| !of.is_empty()) {
        fields.push("envFrom".to_owned());
    }
    if container.lifecycle.is_some() {
        fields.push("lifecycle".to_owned());
    }
    for (index, env) in container.env.iter().flatten().enumerate() {
        if env
            .value_from
            .as_ref()
            .is_some_and(|from| from.field_ref.is_none())
        {
            fields.push(format!("env[{index}].valueFrom"));
        }
    }
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (name, probe) in probes {
        if probe.as_ref().is_some_and(|probe| probe.grpc.is_some()) {
            fields.push(format!("{name}.grpc"));
        }
    }
    fields
}

fn ignored(deployment: &Named<Deployment>, field: &str) -> Finding {
    Finding {
        what: "is not honoured on one machine".to_owned(),
        effect: "pods run without it".to_owned(),
        ..deployment_finding(deployment, field)
    }
}

/// Labels of an object, empty when it has none.
pub(super) fn labels(metadata: Option<&ObjectMeta>) -> BTreeMap<String, String> {
    metadata
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
