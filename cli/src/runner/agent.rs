//! Which pods are captured, and asking the node's agent for it.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::Path};

use nlink::netlink::namespace::Netns;
use runtime::TaskSet;
pub(super) use ztunnel::agent::Redirection;
use ztunnel::agent::{Agent, Enrolment, Error, Pod};

/// The namespace and pod label that decides about enrolment.
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// A pod with this annotation carries a proxy of its own.
const SIDECAR_STATUS: &str = "sidecar.istio.io/status";
const BYPASS_INBOUND: &str = "ambient.istio.io/bypass-inbound-capture";
const DNS_CAPTURE: &str = "ambient.istio.io/dns-capture";

/// Why a pod could not be captured or let go.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaptureError {
    /// The agent could not do it.
    #[error(transparent)]
    Agent(#[from] Error),
    /// The pod's network namespace could not be handed over.
    #[error("its network namespace")]
    Netns(#[from] nlink::Error),
}

/// One node's agent: it sets the redirection in pods and hands them to the node's ztunnel.
#[derive(Clone, Debug)]
pub(super) struct NodeAgent {
    agent: Agent,
    /// The agent lives as long as this.
    _tasks: TaskSet,
}

impl NodeAgent {
    /// Starts an agent that waits for a ztunnel on `socket`.
    pub(super) fn start(socket: &Path) -> Result<Self, Error> {
        let (agent, life) = Agent::start(socket)?;
        let tasks = TaskSet::current();
        tasks.spawn("agent", life);
        Ok(Self {
            agent,
            _tasks: tasks,
        })
    }

    /// Captures a pod's traffic. Ends when ztunnel serves the pod, however long that takes; the
    /// pod's traffic is untouched until then.
    pub(super) async fn enrol(&self, pod: Pod, netns: OwnedFd) -> Result<(), CaptureError> {
        let uid = pod.uid.clone();
        let mut states = self.agent.states();
        self.agent.enrol(pod, Netns::from_fd(netns)?).await?;
        let served = states
            .wait_for(|states| states.get(&uid) == Some(&Enrolment::Enabled))
            .await;
        served.map(drop).map_err(|_| Error::Stopped.into())
    }

    /// Lets a running pod go.
    pub(super) async fn leave(&self, uid: &str) -> Result<(), CaptureError> {
        Ok(self.agent.leave(uid).await?)
    }

    /// Forgets a pod that has ended.
    pub(super) async fn forget(&self, uid: &str) -> Result<(), CaptureError> {
        Ok(self.agent.forget(uid).await?)
    }
}

/// Whether a pod is to be captured: its own label decides, else its namespace's.
///
/// Source: istio/istio `cni/pkg/util/podutil.go`, `PodRedirectionEnabled`.
pub(super) fn redirection(
    namespace_labels: &BTreeMap<String, String>,
    pod_labels: &BTreeMap<String, String>,
    pod_annotations: &BTreeMap<String, String>,
) -> Option<Redirection> {
    if pod_annotations.contains_key(SIDECAR_STATUS) {
        return None;
    }
    let mode = pod_labels
        .get(DATAPLANE_MODE)
        .or_else(|| namespace_labels.get(DATAPLANE_MODE));
    let says = |annotation: &str, value: &str| {
        pod_annotations
            .get(annotation)
            .is_some_and(|text| text == value)
    };
    (mode.map(String::as_str) == Some("ambient")).then(|| Redirection {
        capture_dns: !says(DNS_CAPTURE, "false"),
        capture_inbound: !says(BYPASS_INBOUND, "true"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels of the namespace, labels and annotations of the pod → capture of DNS and inbound.
    fn check(
        labels: [&[(&str, &str)]; 2],
        annotations: &[(&str, &str)],
        expected: Option<[bool; 2]>,
    ) {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let found = redirection(&map(labels[0]), &map(labels[1]), &map(annotations));
        assert_eq!(
            found.map(|found| [found.capture_dns, found.capture_inbound]),
            expected
        );
    }

    const AMBIENT: (&str, &str) = (DATAPLANE_MODE, "ambient");
    const NONE: (&str, &str) = (DATAPLANE_MODE, "none");

    #[test]
    fn the_pods_label_decides_before_its_namespaces() {
        check([&[], &[]], &[], None);
        check([&[AMBIENT], &[]], &[], Some([true, true]));
        check([&[], &[AMBIENT]], &[], Some([true, true]));
        check([&[AMBIENT], &[NONE]], &[], None);
        check([&[NONE], &[AMBIENT]], &[], Some([true, true]));
    }

    #[test]
    fn a_pod_with_a_sidecar_is_never_captured() {
        check([&[AMBIENT], &[AMBIENT]], &[(SIDECAR_STATUS, "{}")], None);
    }

    #[test]
    fn annotations_narrow_what_is_captured() {
        check(
            [&[AMBIENT], &[]],
            &[(BYPASS_INBOUND, "true")],
            Some([true, false]),
        );
        check(
            [&[AMBIENT], &[]],
            &[(DNS_CAPTURE, "false")],
            Some([false, true]),
        );
    }
}
