//! The kinds of Kubernetes itself. Those with a typed form are read by some part of control or of
//! the local runner; the others are here for their names and scope.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::IPAddress;
use serde_json::{Value, json};

use super::Info;
use super::defaults::core as defaults;
use crate::admission::core as checks;

const V1: &[&str] = &["v1"];
const V2: &[&str] = &["v2"];

const fn core(kind: &'static str, plural: &'static str) -> Info {
    Info::new("", V1, kind, plural).without_generations()
}

const fn apps(kind: &'static str, plural: &'static str) -> Info {
    Info::new("apps", V1, kind, plural)
}

const fn batch(kind: &'static str, plural: &'static str) -> Info {
    Info::new("batch", V1, kind, plural)
}

const fn networking(kind: &'static str, plural: &'static str) -> Info {
    Info::new("networking.k8s.io", V1, kind, plural)
}

const fn rbac(kind: &'static str, plural: &'static str) -> Info {
    Info::new("rbac.authorization.k8s.io", V1, kind, plural)
        .without_generations()
        .without_status()
}

const fn webhooks(kind: &'static str, plural: &'static str) -> Info {
    Info::new("admissionregistration.k8s.io", V1, kind, plural)
        .cluster_scoped()
        .without_status()
}

const fn storage(kind: &'static str, plural: &'static str) -> Info {
    Info::new("storage.k8s.io", V1, kind, plural)
        .without_generations()
        .cluster_scoped()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a row of the table of kinds may have none"
)]
fn active() -> Option<Value> {
    Some(json!({"phase": "Active"}))
}

pub(super) const KINDS: &[Info] = &[
    core("Namespace", "namespaces")
        .short(&["ns"])
        .cluster_scoped()
        .decoded_as::<Namespace>()
        .with_defaults(defaults::namespace)
        .with_first_status(active),
    core("Node", "nodes")
        .short(&["no"])
        .cluster_scoped()
        .decoded_as::<Node>(),
    core("ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .without_status()
        .decoded_as::<ServiceAccount>(),
    core("Service", "services")
        .short(&["svc"])
        .decoded_as::<Service>()
        .with_defaults(defaults::service)
        .checked_by(&[checks::SERVICE]),
    Info::new("", V1, "Pod", "pods")
        .short(&["po"])
        .decoded_as::<Pod>()
        .with_defaults(defaults::pod)
        .checked_by(&[checks::POD]),
    apps("Deployment", "deployments")
        .short(&["deploy"])
        .decoded_as::<Deployment>()
        .with_defaults(defaults::deployment)
        .checked_by(&[checks::WORKLOAD, checks::DEPLOYMENT]),
    Info::new("discovery.k8s.io", V1, "EndpointSlice", "endpointslices")
        .without_status()
        .decoded_as::<EndpointSlice>()
        .with_defaults(defaults::endpoint_slice)
        .checked_by(&[checks::ENDPOINT_SLICE]),
    networking("IPAddress", "ipaddresses")
        .short(&["ip"])
        .cluster_scoped()
        .without_status()
        .decoded_as::<IPAddress>(),
    core("ConfigMap", "configmaps")
        .short(&["cm"])
        .without_status()
        .decoded_as::<ConfigMap>(),
    core("Secret", "secrets")
        .without_status()
        .decoded_as::<Secret>(),
    apps("ReplicaSet", "replicasets")
        .short(&["rs"])
        .decoded_as::<ReplicaSet>()
        .with_defaults(defaults::replicated)
        .checked_by(&[checks::WORKLOAD]),
    apps("StatefulSet", "statefulsets")
        .short(&["sts"])
        .decoded_as::<StatefulSet>()
        .with_defaults(defaults::replicated)
        .checked_by(&[checks::WORKLOAD]),
    apps("DaemonSet", "daemonsets")
        .short(&["ds"])
        .decoded_as::<DaemonSet>()
        .with_defaults(defaults::pod_template)
        .checked_by(&[checks::WORKLOAD]),
    batch("Job", "jobs")
        .decoded_as::<Job>()
        .with_defaults(defaults::pod_template),
    batch("CronJob", "cronjobs")
        .short(&["cj"])
        .decoded_as::<CronJob>()
        .with_defaults(defaults::cron_job),
    apps("ControllerRevision", "controllerrevisions")
        .without_generations()
        .without_status(),
    Info::new(
        "autoscaling",
        V2,
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    )
    .short(&["hpa"])
    .without_generations(),
    Info::new("policy", V1, "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]),
    core("Endpoints", "endpoints")
        .short(&["ep"])
        .without_status(),
    core("Event", "events").short(&["ev"]).without_status(),
    core("LimitRange", "limitranges")
        .short(&["limits"])
        .without_status(),
    core("PersistentVolume", "persistentvolumes")
        .short(&["pv"])
        .cluster_scoped(),
    core("PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]),
    core("PodTemplate", "podtemplates").without_status(),
    core("ReplicationController", "replicationcontrollers").short(&["rc"]),
    core("ResourceQuota", "resourcequotas").short(&["quota"]),
    networking("Ingress", "ingresses").short(&["ing"]),
    networking("IngressClass", "ingressclasses")
        .cluster_scoped()
        .without_status(),
    networking("NetworkPolicy", "networkpolicies")
        .short(&["netpol"])
        .without_status(),
    networking("ServiceCIDR", "servicecidrs").cluster_scoped(),
    rbac("ClusterRole", "clusterroles").cluster_scoped(),
    rbac("ClusterRoleBinding", "clusterrolebindings").cluster_scoped(),
    rbac("Role", "roles"),
    rbac("RoleBinding", "rolebindings"),
    webhooks(
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    ),
    webhooks("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    webhooks(
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
    ),
    webhooks(
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
    Info::new(
        "apiextensions.k8s.io",
        V1,
        "CustomResourceDefinition",
        "customresourcedefinitions",
    )
    .short(&["crd", "crds"])
    .cluster_scoped(),
    Info::new("apiregistration.k8s.io", V1, "APIService", "apiservices").cluster_scoped(),
    Info::new(
        "certificates.k8s.io",
        V1,
        "CertificateSigningRequest",
        "certificatesigningrequests",
    )
    .short(&["csr"])
    .cluster_scoped(),
    Info::new("coordination.k8s.io", V1, "Lease", "leases")
        .without_generations()
        .without_status(),
    Info::new("node.k8s.io", V1, "RuntimeClass", "runtimeclasses").cluster_scoped(),
    Info::new("scheduling.k8s.io", V1, "PriorityClass", "priorityclasses")
        .short(&["pc"])
        .cluster_scoped(),
    storage("CSIDriver", "csidrivers"),
    storage("CSINode", "csinodes"),
    storage("StorageClass", "storageclasses").short(&["sc"]),
    storage("VolumeAttachment", "volumeattachments"),
];
