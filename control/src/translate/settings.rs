//! Settings of the mesh that a translation depends on.

use crate::deploy::Template;

/// Settings of the mesh. They do not change while control runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Identity of the cluster in workload names.
    pub cluster_id: String,
    /// Suffix of Service host names.
    pub cluster_domain: String,
    /// Trust domain of the mesh's identities.
    pub trust_domain: String,
    /// Network of the mesh's pods; empty is the default network.
    pub network: String,
    /// Namespace whose policies apply to the whole mesh.
    pub root_namespace: String,
    /// Whether ztunnels evaluate policies with `istio.io/dry-run` for their logs; one that is too
    /// old would enforce them.
    pub dry_run_at_ztunnel: bool,
    /// How waypoints are run.
    pub waypoint: Template,
}

impl Default for Settings {
    /// Istio's defaults.
    fn default() -> Self {
        Self {
            cluster_id: "Kubernetes".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            network: String::new(),
            root_namespace: "istio-system".to_owned(),
            dry_run_at_ztunnel: false,
            waypoint: Template::default(),
        }
    }
}

impl Settings {
    /// Returns the host name of a Service.
    pub fn hostname(&self, namespace: &str, name: &str) -> String {
        format!("{name}.{namespace}.svc.{}", self.cluster_domain)
    }

    /// Returns name and namespace of the Service that a host name belongs to.
    pub fn service_of<'h>(&self, hostname: &'h str) -> Option<(&'h str, &'h str)> {
        let suffix = format!(".svc.{}", self.cluster_domain);
        hostname.strip_suffix(&suffix)?.rsplit_once('.')
    }

    /// Returns a trust domain as workload discovery says it, where the usual one is left out.
    pub(crate) fn wire_trust_domain(&self) -> String {
        match self.trust_domain.as_str() {
            "cluster.local" => String::new(),
            other => other.to_owned(),
        }
    }
}
