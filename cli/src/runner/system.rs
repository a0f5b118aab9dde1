//! The pods of the mesh itself, control and one ztunnel per node, and the objects that exist in
//! every cluster. The only file that knows with what arguments the products are started.

use std::{collections::BTreeMap, path::PathBuf, rc::Rc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{Node as ApiNode, PodTemplateSpec},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::{Value, json};

use super::pod::{Role, whole_seconds};
use crate::{
    state::StateDir,
    world::{
        Node,
        addresses::{CLUSTER_DOMAIN, DNS_VIP, POD_PREFIX, pod_network},
    },
};

/// Where the mesh's own pods are.
pub const SYSTEM_NAMESPACE: &str = "istio-system";
/// The trust domain of a mesh on one machine.
const TRUST_DOMAIN: &str = "cluster.local";
/// Shown as the image of what this program itself runs.
const IMAGE: &str = concat!("cairn:", env!("CARGO_PKG_VERSION"));

/// A pod that exists without a Deployment.
#[derive(Clone, Debug)]
pub struct SystemPod {
    /// Its name, which is also how people call it.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The node it is on.
    pub node: String,
    /// What it runs.
    pub template: Rc<PodTemplateSpec>,
}

/// The pods of the mesh itself.
///
/// * `manifests` — the paths people gave, for control to watch.
pub fn pods(state: &StateDir, nodes: &[String], manifests: &[PathBuf]) -> Vec<SystemPod> {
    let mut pods: Vec<SystemPod> = nodes
        .first()
        .into_iter()
        .map(|node| control(state, node, manifests))
        .collect();
    pods.extend(nodes.iter().map(|node| ztunnel(state, node)));
    pods
}

/// Control: it reads what people wrote and what the runner wrote, answers on its socket, and
/// serves discovery and certificates on 15012.
fn control(state: &StateDir, node: &str, manifests: &[PathBuf]) -> SystemPod {
    let mut args = vec!["control".to_owned()];
    let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
    for path in manifests {
        flag("--manifests", path.display().to_string());
    }
    flag("--objects", state.objects().display().to_string());
    flag("--generated", state.generated().display().to_string());
    flag("--state", state.control().display().to_string());
    flag("--waypoints", state.waypoints().display().to_string());
    flag("--socket", state.control_socket().display().to_string());
    flag("--root-cert-file", state.root_cert().display().to_string());
    let template = json!({
        "metadata": {"labels": {
            "app": "istiod", "istio.io/rev": "default", "istio.io/dataplane-mode": "none",
        }},
        "spec": {
            "serviceAccountName": "istiod",
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "discovery",
                "image": IMAGE,
                "command": ["cairn"],
                "args": args,
                "env": [
                    field("POD_NAME", "metadata.name"),
                    field("POD_NAMESPACE", "metadata.namespace"),
                    {"name": "CLUSTER_ID", "value": "Kubernetes"},
                    {"name": "CLUSTER_DOMAIN", "value": CLUSTER_DOMAIN},
                    {"name": "TRUST_DOMAIN", "value": TRUST_DOMAIN},
                ],
                "ports": [{"name": "https-dns", "containerPort": 15012}],
                "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}},
            }],
        },
    });
    system_pod("control".to_owned(), Role::Control, node, template)
}

/// A node's ztunnel. Its configuration is the environment, as in a cluster.
fn ztunnel(state: &StateDir, node: &str) -> SystemPod {
    let template = json!({
        "metadata": {"labels": {
            "app": "ztunnel", "app.kubernetes.io/name": "ztunnel", "istio.io/dataplane-mode": "none",
        }},
        "spec": {
            "serviceAccountName": "ztunnel",
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "istio-proxy",
                "image": IMAGE,
                "command": ["cairn", "ztunnel"],
                "env": [
                    {"name": "XDS_ADDRESS", "value": "https://istiod.istio-system.svc:15012"},
                    {"name": "CA_ADDRESS", "value": "https://istiod.istio-system.svc:15012"},
                    {"name": "ISTIO_META_CLUSTER_ID", "value": "Kubernetes"},
                    {"name": "CLUSTER_DOMAIN", "value": CLUSTER_DOMAIN},
                    {"name": "TRUST_DOMAIN", "value": TRUST_DOMAIN},
                    {"name": "INPOD_UDS", "value": state.zds_socket(node).display().to_string()},
                    {"name": "TERMINATION_GRACE_PERIOD_SECONDS", "value": "30"},
                    field("NODE_NAME", "spec.nodeName"),
                    field("POD_NAME", "metadata.name"),
                    field("POD_NAMESPACE", "metadata.namespace"),
                    field("INSTANCE_IP", "status.podIP"),
                    field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
                ],
                "ports": [{"name": "ztunnel-stats", "containerPort": 15020}],
                "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}},
            }],
            "volumes": [{"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {
                "audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token",
            }}]}}],
        },
    });
    system_pod(format!("ztunnel-{node}"), Role::Ztunnel, node, template)
}

fn system_pod(name: String, role: Role, node: &str, template: Value) -> SystemPod {
    // Written above, decoded as what it is; a test decodes each.
    let template = serde_json::from_value(template).unwrap_or_default();
    SystemPod {
        name,
        role,
        node: node.to_owned(),
        template: Rc::new(template),
    }
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

/// Objects that every mesh has. Namespaces exist while anything is in them.
pub(super) fn objects() -> Vec<Value> {
    let service = |namespace: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        })
    };
    let account = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE},
        })
    };
    vec![
        account("istiod"),
        account("ztunnel"),
        service(
            SYSTEM_NAMESPACE,
            "istiod",
            json!({"selector": {"app": "istiod"}, "ports": [{"name": "https-dns", "port": 15012, "protocol": "TCP"}]}),
        ),
        service(
            "kube-system",
            "kube-dns",
            json!({
                "clusterIP": DNS_VIP.to_string(),
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            }),
        ),
    ]
}

/// Who answers DNS: every node does, on its own address.
pub(super) fn dns_slice<'n>(nodes: impl Iterator<Item = &'n Node>) -> EndpointSlice {
    let endpoints: Vec<Value> = nodes
        .map(|node| json!({"addresses": [node.ip.to_string()], "nodeName": node.name}))
        .collect();
    let slice = json!({
        "metadata": {
            "name": "kube-dns-nodes",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
    });
    // Written above, decoded as what it is; a test does so.
    serde_json::from_value(slice).unwrap_or_default()
}

/// A node as an object.
pub(super) fn node_object(node: &Node, began: Timestamp) -> ApiNode {
    let [a, b, c, d] = pod_network(node.index).octets();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let labels = BTreeMap::from([
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", node.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("topology.kubernetes.io/region", "local"),
        ("topology.kubernetes.io/zone", node.name.as_str()),
    ]);
    let value = json!({
        "metadata": {"name": node.name, "labels": labels, "creationTimestamp": Time(whole_seconds(began))},
        "spec": {"podCIDR": format!("{a}.{b}.{c}.{d}/{POD_PREFIX}")},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": node.ip.to_string()},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastTransitionTime": Time(whole_seconds(began)),
            }],
        },
    });
    // Written above, decoded as what it is; the tests of a whole mesh read it back.
    serde_json::from_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_decodes_and_says_what_to_run() {
        let state = StateDir::at("/run/cairn/t");
        let pods = pods(
            &state,
            &["node1".to_owned(), "node2".to_owned()],
            &[PathBuf::from("/shop")],
        );
        let names: Vec<_> = pods
            .iter()
            .map(|pod| (pod.name.as_str(), pod.node.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("control", "node1"),
                ("ztunnel-node1", "node1"),
                ("ztunnel-node2", "node2")
            ]
        );
        for pod in pods {
            let spec = pod.template.spec.as_ref().unwrap();
            assert_eq!(spec.containers[0].command.as_ref().unwrap()[0], "cairn");
        }
    }

    #[test]
    fn the_resolver_has_its_slice() {
        let slice = dns_slice(std::iter::empty());
        assert_eq!(slice.metadata.name.as_deref(), Some("kube-dns-nodes"));
        assert_eq!(slice.ports.unwrap().len(), 2);
    }

    #[test]
    fn objects_of_every_mesh_are_whole() {
        for object in objects() {
            for pointer in [
                "/apiVersion",
                "/kind",
                "/metadata/name",
                "/metadata/namespace",
            ] {
                assert!(object.pointer(pointer).is_some(), "{pointer} of {object}");
            }
        }
    }
}
