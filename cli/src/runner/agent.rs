//! What the runner asks of the node agent, and which pods it asks it for.

use std::{collections::BTreeMap, fmt, os::fd::OwnedFd, path::Path, pin::Pin, rc::Rc};

/// The namespace and pod label that decides about enrolment.
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// A pod with this annotation carries a proxy of its own.
const SIDECAR_STATUS: &str = "sidecar.istio.io/status";
const BYPASS_INBOUND: &str = "ambient.istio.io/bypass-inbound-capture";
const DNS_CAPTURE: &str = "ambient.istio.io/dns-capture";

/// What of a pod's traffic goes through ztunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Redirection {
    /// DNS queries do.
    pub capture_dns: bool,
    /// What comes in does.
    pub capture_inbound: bool,
}

/// A pod, as the agent is told of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnrolledPod {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// What of its traffic is captured.
    pub redirection: Redirection,
}

/// Why an agent could not do what it was asked.
pub type AgentError = Box<dyn std::error::Error>;
/// What an agent is doing.
pub type AgentFuture<'a> = Pin<Box<dyn Future<Output = Result<(), AgentError>> + 'a>>;

/// One node's agent: it sets the redirection in pods and hands them to the node's ztunnel.
pub trait NodeAgent: fmt::Debug {
    /// Captures a pod's traffic. Ends when ztunnel serves the pod, however long that takes; the
    /// pod stays reachable meanwhile.
    fn enrol(&self, pod: EnrolledPod, netns: OwnedFd) -> AgentFuture<'_>;

    /// Lets a running pod go.
    fn leave<'a>(&'a self, uid: &'a str) -> AgentFuture<'a>;

    /// Forgets a pod that has ended.
    fn forget<'a>(&'a self, uid: &'a str) -> AgentFuture<'a>;
}

/// Makes the agent of the node with this name, listening for ztunnel on this socket.
pub type MakeAgent = Box<dyn Fn(&str, &Path) -> Result<Rc<dyn NodeAgent>, AgentError>>;

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

    fn check(
        namespace: &[(&str, &str)],
        labels: &[(&str, &str)],
        annotations: &[(&str, &str)],
        expected: Option<[bool; 2]>,
    ) {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let found = redirection(&map(namespace), &map(labels), &map(annotations));
        assert_eq!(
            found.map(|found| [found.capture_dns, found.capture_inbound]),
            expected
        );
    }

    const AMBIENT: (&str, &str) = (DATAPLANE_MODE, "ambient");
    const NONE: (&str, &str) = (DATAPLANE_MODE, "none");

    #[test]
    fn the_pods_label_decides_before_its_namespaces() {
        check(&[], &[], &[], None);
        check(&[AMBIENT], &[], &[], Some([true, true]));
        check(&[], &[AMBIENT], &[], Some([true, true]));
        check(&[AMBIENT], &[NONE], &[], None);
        check(&[NONE], &[AMBIENT], &[], Some([true, true]));
    }

    #[test]
    fn a_pod_with_a_sidecar_is_never_captured() {
        check(&[AMBIENT], &[AMBIENT], &[(SIDECAR_STATUS, "{}")], None);
    }

    #[test]
    fn annotations_narrow_what_is_captured() {
        check(
            &[AMBIENT],
            &[],
            &[(BYPASS_INBOUND, "true")],
            Some([true, false]),
        );
        check(
            &[AMBIENT],
            &[],
            &[(DNS_CAPTURE, "false")],
            Some([false, true]),
        );
    }
}
