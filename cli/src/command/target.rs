//! Whom people mean by a name: a Deployment, a pod, `control`, `ztunnel-NODE`, a waypoint.

use anyhow::bail;

use crate::{
    runner::{pod::Role, report::PodReport, system::SYSTEM_NAMESPACE},
    state::{MeshName, StateDir},
};

/// The pods of a mesh that is up.
pub(super) fn pods(mesh: &MeshName) -> anyhow::Result<Vec<PodReport>> {
    let state = StateDir::new(mesh);
    if let Err(e) = std::fs::read(state.processes())
        && e.kind() == std::io::ErrorKind::PermissionDenied
    {
        bail!("mesh {mesh} belongs to root; run this as root");
    }
    let pods = PodReport::read_all(&state);
    if pods.is_empty() {
        bail!("mesh {mesh} is not up; cairn up starts it");
    }
    Ok(pods)
}

/// The pods called `name` in `namespace`, those that serve first. The mesh's own pods are found
/// from every namespace.
pub(super) fn find<'p>(
    pods: &'p [PodReport],
    namespace: &str,
    name: &str,
) -> anyhow::Result<Vec<&'p PodReport>> {
    let is_own = |pod: &PodReport| {
        pod.namespace == SYSTEM_NAMESPACE && matches!(pod.role, Role::Control | Role::Ztunnel)
    };
    let called = |pod: &&PodReport| pod.is_called(name);
    let mut found: Vec<&PodReport> = pods
        .iter()
        .filter(called)
        .filter(|pod| pod.namespace == namespace)
        .collect();
    if found.is_empty() {
        found = pods
            .iter()
            .filter(called)
            .filter(|pod| is_own(pod))
            .collect();
    }
    if found.is_empty() {
        let here = pods
            .iter()
            .filter(|pod| pod.namespace == namespace || is_own(pod));
        let mut names: Vec<&str> = here
            .map(|pod| pod.deployment.as_deref().unwrap_or(&pod.name))
            .collect();
        names.sort_unstable();
        names.dedup();
        let elsewhere = pods.iter().find(|pod| pod.is_called(name));
        let hint = elsewhere
            .map(|pod| format!("; there is one in namespace {}", pod.namespace))
            .unwrap_or_default();
        bail!(
            "nothing is called {name} in namespace {namespace}{hint}; there is {}",
            names.join(", ")
        );
    }
    found.sort_by_key(|pod| (pod.terminating, !pod.ready, &pod.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, name: &str, deployment: Option<&str>, ready: bool) -> PodReport {
        PodReport {
            role: if deployment.is_some() {
                Role::App
            } else {
                Role::Ztunnel
            },
            node: "node1".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            deployment: deployment.map(str::to_owned),
            ip: "10.91.1.2".to_owned(),
            netns: "x".to_owned(),
            ready,
            terminating: false,
            captured: false,
            obstacle: None,
            containers: Vec::new(),
        }
    }

    fn all() -> Vec<PodReport> {
        vec![
            pod("default", "web-1", Some("web"), false),
            pod("default", "web-2", Some("web"), true),
            pod("shop", "db-1", Some("db"), true),
            pod(SYSTEM_NAMESPACE, "ztunnel-node1", None, true),
        ]
    }

    fn check(namespace: &str, name: &str, expected: Result<&[&str], &str>) {
        let all = all();
        match find(&all, namespace, name) {
            Ok(found) => assert_eq!(
                Ok(found
                    .iter()
                    .map(|pod| pod.name.as_str())
                    .collect::<Vec<_>>()
                    .as_slice()),
                expected
            ),
            Err(e) => assert_eq!(Err(e.to_string().as_str()), expected),
        }
    }

    #[test]
    fn a_deployment_means_its_pods_the_ready_one_first() {
        check("default", "web", Ok(&["web-2", "web-1"]));
        check("default", "web-1", Ok(&["web-1"]));
    }

    #[test]
    fn the_meshs_own_pods_are_found_from_anywhere() {
        check("default", "ztunnel-node1", Ok(&["ztunnel-node1"]));
        check(SYSTEM_NAMESPACE, "ztunnel-node1", Ok(&["ztunnel-node1"]));
    }

    #[test]
    fn an_unknown_name_lists_who_there_is() {
        check(
            "default",
            "wbe",
            Err("nothing is called wbe in namespace default; there is web, ztunnel-node1"),
        );
        check(
            "default",
            "db",
            Err(
                "nothing is called db in namespace default; there is one in namespace shop; there is web, ztunnel-node1",
            ),
        );
    }
}
