//! What is to run: of all objects those the runner acts on.

use std::collections::BTreeMap;

use control::{
    finding::{Finding, Severity},
    object::{Object, Objects},
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Container, Namespace, PodSpec, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

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

/// Namespace and name of an object of a known kind.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ObjectKey {
    /// The namespace.
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

/// An object with its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named<T> {
    pub(super) key: ObjectKey,
    pub(super) object: T,
}

/// A Deployment and whether its pods can be started.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Runnable {
    pub(super) deployment: Named<Deployment>,
    /// It says what to run; what is wrong if not is among the findings.
    pub(super) is_runnable: bool,
}

/// The objects the runner acts on.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Desired {
    /// The labels of each namespace.
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) deployments: BTreeMap<ObjectKey, Runnable>,
    pub(super) services: BTreeMap<ObjectKey, Named<Service>>,
    pub(super) slices: Vec<EndpointSlice>,
    /// What of it cannot be run, or is not honoured here.
    pub(super) findings: Vec<Finding>,
}

impl Desired {
    /// Picks from `objects` what the runner acts on.
    pub(super) fn of(objects: &Objects) -> Self {
        let mut desired = Self::default();
        for (object, namespace) in objects.list::<Namespace>() {
            desired.namespaces.insert(
                object.key.name.to_string(),
                labels(Some(&namespace.metadata)),
            );
        }
        for (object, deployment) in objects.list::<Deployment>() {
            let findings = check(object, deployment);
            let is_runnable = findings
                .iter()
                .all(|finding| finding.severity != Severity::Error);
            desired.findings.extend(findings);
            let deployment = named(object, deployment);
            desired.deployments.insert(
                deployment.key.clone(),
                Runnable {
                    deployment,
                    is_runnable,
                },
            );
        }
        for (object, service) in objects.list::<Service>() {
            let service = named(object, service);
            desired.services.insert(service.key.clone(), service);
        }
        desired.slices = objects
            .list::<EndpointSlice>()
            .map(|(_, slice)| slice.clone())
            .collect();
        desired
            .findings
            .extend(objects.iter().filter_map(|object| not_run(object)));
        desired
    }

    /// The Deployments whose pods can be started.
    pub(super) fn runnable(&self) -> impl Iterator<Item = &Named<Deployment>> {
        self.deployments
            .values()
            .filter(|runnable| runnable.is_runnable)
            .map(|runnable| &runnable.deployment)
    }
}

fn named<T: Clone>(object: &Object, typed: &T) -> Named<T> {
    Named {
        key: ObjectKey::new(&object.key.namespace, &object.key.name),
        object: typed.clone(),
    }
}

/// A finding about a field of an object.
pub(super) fn finding(object: &Object, field: &str, what: &str) -> Finding {
    let field = control::object::FieldPath::from(field);
    object.origin.finding(
        Some(&object.key),
        &field,
        Severity::Warning,
        what.to_owned(),
    )
}

fn not_run(object: &Object) -> Option<Finding> {
    let kind = object.key.kind.name();
    // What no file holds was made by the runner or by control.
    (NOT_RUN.contains(&kind) && object.origin.file.is_some()).then(|| Finding {
        effect: "none of its pods exist".to_owned(),
        remedy: "write a Deployment".to_owned(),
        ..finding(object, "", &format!("a {kind} is not run on one machine"))
    })
}

/// What of a Deployment cannot be run, or is not honoured here.
fn check(object: &Object, deployment: &Deployment) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(spec) = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
    else {
        return findings;
    };
    for (index, container) in spec.containers.iter().enumerate() {
        let at = |field: &str| format!("spec.template.spec.containers[{index}].{field}");
        if container.command.as_ref().is_none_or(Vec::is_empty) {
            findings.push(Finding {
                severity: Severity::Error,
                effect: "no pod is started from this template".to_owned(),
                remedy: "name the program on this machine to run".to_owned(),
                ..finding(
                    object,
                    &at("command"),
                    "is required, because no image is pulled here",
                )
            });
        }
        findings.extend(
            ignored_in(container)
                .into_iter()
                .map(|field| ignored(object, &at(&field))),
        );
    }
    findings.extend(
        ignored_of(spec).map(|field| ignored(object, &format!("spec.template.spec.{field}"))),
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

/// Fields that would change where or how a pod runs and are not honoured.
fn ignored_of(spec: &PodSpec) -> impl Iterator<Item = &'static str> {
    let present = [
        ("affinity", spec.affinity.is_some()),
        ("hostNetwork", spec.host_network == Some(true)),
        (
            "initContainers",
            spec.init_containers
                .as_ref()
                .is_some_and(|of| !of.is_empty()),
        ),
    ];
    present
        .into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(field, _)| field)
}

fn ignored(object: &Object, field: &str) -> Finding {
    Finding {
        effect: "pods run without it".to_owned(),
        ..finding(object, field, "is not honoured on one machine")
    }
}

/// Labels of an object, empty when it has none.
pub(super) fn labels(metadata: Option<&ObjectMeta>) -> BTreeMap<String, String> {
    metadata
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
