//! What other `cairn` commands read about a running mesh: who is where.

use serde::{Deserialize, Serialize};

use super::pod::{PodIdentity, PodState, Role};
use crate::state::StateDir;

/// A pod, for `exec`, `logs` and `status`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// What it is for.
    pub role: Role,
    /// Its node.
    pub node: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Deployment it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Its address.
    pub ip: String,
    /// Its network namespace, as `ip netns` knows it.
    pub netns: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// Whether its traffic goes through ztunnel.
    pub captured: bool,
    /// Why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Its containers.
    pub containers: Vec<ContainerReport>,
}

/// A container of a pod.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerReport {
    /// Its name.
    pub name: String,
    /// The image its manifest names.
    pub image: String,
    /// Its process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: i32,
}

impl PodReport {
    pub(super) fn of(pod: &PodIdentity, state: &PodState, netns: &str, terminating: bool) -> Self {
        Self {
            role: pod.role,
            node: pod.node.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            deployment: pod.deployment.as_ref().map(|key| key.name.clone()),
            ip: pod.ip.to_string(),
            netns: netns.to_owned(),
            ready: state.is_ready(),
            terminating,
            captured: state.capture == super::pod::Capture::On,
            obstacle: state.obstacle(),
            containers: state
                .containers
                .iter()
                .map(|container| ContainerReport {
                    name: container.name.clone(),
                    image: container.image.clone(),
                    pid: container.pid,
                    restarts: container.restarts,
                })
                .collect(),
        }
    }

    /// All pods of a mesh, as its runner last wrote them; none when there is no runner.
    pub fn read_all(state: &StateDir) -> Vec<Self> {
        let text = std::fs::read(state.processes()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// How people may call it: the Deployment, the pod itself.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.deployment.as_deref() == Some(name)
    }
}
