//! One pod: what it is, how it fares, and the object that says so.

use std::{collections::BTreeMap, net::Ipv4Addr, rc::Rc};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerState as ApiContainerState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec,
        PodStatus, PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};

use super::{desired::ObjectKey, endpoints::Backend};

/// The annotation that says whether a pod's traffic goes through ztunnel.
const REDIRECTION: &str = "ambient.istio.io/redirection";
const HASH_LABEL: &str = "pod-template-hash";
/// How long a pod gets to end by itself when it does not say.
const GRACE_SECONDS: i64 = 30;

/// What a pod is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The control plane.
    Control,
    /// A node's L4 proxy.
    Ztunnel,
    /// An L7 proxy.
    Waypoint,
    /// Anything else.
    App,
}

/// What does not change in a pod's life.
#[derive(Clone, Debug)]
pub(super) struct PodIdentity {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) node: String,
    pub(super) node_ip: Ipv4Addr,
    pub(super) ip: Ipv4Addr,
    /// The Deployment it belongs to; pods of the system have none.
    pub(super) deployment: Option<ObjectKey>,
    pub(super) hash: String,
    pub(super) template: Rc<PodTemplateSpec>,
    pub(super) role: Role,
    pub(super) created: Timestamp,
    /// The order in which pods were made.
    pub(super) age: u64,
}

impl PodIdentity {
    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }

    pub(super) fn spec(&self) -> PodSpec {
        self.template.spec.clone().unwrap_or_default()
    }

    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = super::desired::labels(self.template.metadata.as_ref());
        if self.deployment.is_some() {
            labels.insert(HASH_LABEL.to_owned(), self.hash.clone());
        }
        labels
    }

    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        self.template
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.annotations.clone())
            .unwrap_or_default()
    }

    pub(super) fn service_account(&self) -> String {
        self.spec()
            .service_account_name
            .unwrap_or_else(|| "default".to_owned())
    }

    /// How long its processes get to end by themselves.
    pub(super) fn grace(&self) -> std::time::Duration {
        let seconds = self
            .spec()
            .termination_grace_period_seconds
            .unwrap_or(GRACE_SECONDS);
        std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// The ports its containers name.
    pub(super) fn named_ports(&self) -> BTreeMap<String, u16> {
        let spec = self.spec();
        let ports = spec
            .containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten());
        ports
            .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
            .collect()
    }

    /// The pod as it may stand behind a Service.
    pub(super) fn backend(&self, state: &PodState, terminating: bool) -> Backend {
        let spec = self.spec();
        Backend {
            uid: self.uid.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            node: self.node.clone(),
            ip: self.ip,
            labels: self.labels(),
            ports: self.named_ports(),
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            ready: state.is_ready(),
            terminating,
        }
    }
}

/// Whether a pod's traffic goes through its node's ztunnel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Capture {
    /// It does not, and is not meant to.
    #[default]
    Off,
    /// It is meant to.
    Pending,
    /// It does.
    On,
}

/// How a pod fares; written by its own task alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PodState {
    pub(super) capture: Capture,
    pub(super) containers: Vec<ContainerState>,
    /// Ports of its Services it should listen on and, after a while, still does not.
    pub(super) silent_ports: Vec<u16>,
    /// Why the pod has not come as far as starting its containers.
    pub(super) held_up: Option<String>,
}

impl PodState {
    pub(super) fn is_ready(&self) -> bool {
        !self.containers.is_empty() && self.containers.iter().all(|container| container.ready)
    }

    fn has_begun(&self) -> bool {
        self.containers
            .iter()
            .any(|container| container.started_at.is_some())
    }

    /// In a few words, why the pod is not ready.
    pub(super) fn obstacle(&self) -> Option<String> {
        if self.is_ready() {
            return None;
        }
        if let Some(why) = &self.held_up {
            return Some(why.clone());
        }
        let why = |container: &ContainerState| {
            let reason = match (&container.waiting, container.pid) {
                (Some(Waiting { reason, message }), _) if message.is_empty() => {
                    (*reason).to_owned()
                }
                (Some(Waiting { reason, message }), _) => format!("{reason} ({message})"),
                (None, Some(_)) if !self.silent_ports.is_empty() => {
                    format!("does not listen on {:?}", self.silent_ports)
                }
                (None, Some(_)) => "is not ready yet".to_owned(),
                (None, None) => "has not started".to_owned(),
            };
            format!("container {} {reason}", container.name)
        };
        let first = self.containers.iter().find(|container| !container.ready);
        Some(first.map_or_else(|| "has not started".to_owned(), why))
    }
}

/// How one container fares.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ContainerState {
    pub(super) name: String,
    pub(super) image: String,
    /// The process, while there is one.
    pub(super) pid: Option<u32>,
    /// When the present process began.
    pub(super) started_at: Option<Timestamp>,
    /// Its startup probe, if any, has succeeded.
    pub(super) started: bool,
    pub(super) ready: bool,
    pub(super) restarts: i32,
    pub(super) waiting: Option<Waiting>,
    pub(super) last: Option<Terminated>,
}

/// Why a container has no process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Waiting {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// How a container's last process ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Terminated {
    pub(super) exit_code: i32,
    pub(super) signal: Option<i32>,
    pub(super) message: String,
    pub(super) started_at: Timestamp,
    pub(super) finished_at: Timestamp,
}

/// When each condition last changed; kept while its status stays.
#[derive(Clone, Debug, Default)]
pub(super) struct ConditionTimes(BTreeMap<&'static str, (bool, Timestamp)>);

impl ConditionTimes {
    fn condition(&mut self, kind: &'static str, status: bool, now: Timestamp) -> PodCondition {
        let entry = self.0.entry(kind).or_insert((status, now));
        if entry.0 != status {
            *entry = (status, now);
        }
        PodCondition {
            type_: kind.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            last_transition_time: Some(Time(entry.1)),
            ..PodCondition::default()
        }
    }
}

/// The pod as an object.
pub(super) fn object(
    pod: &PodIdentity,
    state: &PodState,
    deleting: Option<Timestamp>,
    times: &mut ConditionTimes,
) -> Pod {
    let mut annotations = pod.annotations();
    match state.capture {
        Capture::Off => annotations.remove(REDIRECTION),
        Capture::Pending => annotations.insert(REDIRECTION.to_owned(), "pending".to_owned()),
        Capture::On => annotations.insert(REDIRECTION.to_owned(), "enabled".to_owned()),
    };
    let owner = pod.deployment.as_ref().map(|deployment| OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: format!("{}-{}", deployment.name, pod.hash),
        controller: Some(true),
        ..OwnerReference::default()
    });
    Pod {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid: Some(pod.uid.clone()),
            labels: Some(pod.labels()),
            annotations: Some(annotations).filter(|of| !of.is_empty()),
            creation_timestamp: Some(Time(pod.created)),
            deletion_timestamp: deleting.map(Time),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            node_name: Some(pod.node.clone()),
            service_account_name: Some(pod.service_account()),
            ..pod.spec()
        }),
        status: Some(status(pod, state, times)),
    }
}

fn status(pod: &PodIdentity, state: &PodState, times: &mut ConditionTimes) -> PodStatus {
    let ready = state.is_ready();
    let now = whole_seconds(Timestamp::now());
    let initialized = !state.containers.is_empty();
    let conditions = [
        ("PodScheduled", true),
        ("Initialized", initialized),
        ("ContainersReady", ready),
        ("Ready", ready),
    ];
    PodStatus {
        phase: Some(
            if state.has_begun() {
                "Running"
            } else {
                "Pending"
            }
            .to_owned(),
        ),
        pod_ip: Some(pod.ip.to_string()),
        pod_ips: Some(vec![PodIP {
            ip: pod.ip.to_string(),
        }]),
        host_ip: Some(pod.node_ip.to_string()),
        host_ips: Some(vec![HostIP {
            ip: pod.node_ip.to_string(),
        }]),
        start_time: Some(Time(pod.created)),
        qos_class: Some("BestEffort".to_owned()),
        conditions: Some(
            conditions
                .map(|(kind, status)| times.condition(kind, status, now))
                .into(),
        ),
        container_statuses: Some(state.containers.iter().map(container_status).collect()),
        ..PodStatus::default()
    }
}

fn container_status(container: &ContainerState) -> ContainerStatus {
    let terminated = |last: &Terminated| ContainerStateTerminated {
        exit_code: last.exit_code,
        signal: last.signal,
        reason: Some(
            if last.exit_code == 0 {
                "Completed"
            } else {
                "Error"
            }
            .to_owned(),
        ),
        message: Some(last.message.clone()).filter(|message| !message.is_empty()),
        started_at: Some(Time(last.started_at)),
        finished_at: Some(Time(last.finished_at)),
        container_id: None,
    };
    let waiting = container
        .waiting
        .as_ref()
        .map(|waiting| ContainerStateWaiting {
            reason: Some(waiting.reason.to_owned()),
            message: Some(waiting.message.clone()).filter(|message| !message.is_empty()),
        });
    let running = container.pid.and(container.started_at);
    let running = running.map(|started_at| ContainerStateRunning {
        started_at: Some(Time(started_at)),
    });
    let last = container.last.as_ref().map(|last| ApiContainerState {
        terminated: Some(terminated(last)),
        ..ApiContainerState::default()
    });
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: String::new(),
        ready: container.ready,
        started: Some(container.started),
        restart_count: container.restarts,
        state: Some(ApiContainerState {
            running,
            waiting,
            terminated: None,
        }),
        last_state: last,
        ..ContainerStatus::default()
    }
}

/// A time as objects carry it.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
pub(super) mod tests;
