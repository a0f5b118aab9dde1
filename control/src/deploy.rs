//! What control deploys for a waypoint: Deployment, Service and ServiceAccount per Gateway of class
//! `istio-waypoint`, by Istio's contract (scenario 15).
//!
//! [`render`] is pure; [`files`] puts the manifests where the local runner finds them. In a cluster
//! the same values are applied to the API.

pub mod files;
mod name;
mod render;
pub(crate) mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) use name::{gateway_label, service_account_name, service_name};
pub(crate) use render::render;

/// How a waypoint's pods are run. What does not depend on the Gateway stands here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    /// Image of the container.
    pub image: String,
    /// Command of the container; empty is the image's own.
    pub command: Vec<String>,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment beyond what says who and where the pod is.
    pub env: BTreeMap<String, String>,
    /// A folder of the machine in which each Gateway's waypoint has one of its own, for what it
    /// keeps over a restart; `None` where pods have no such place.
    pub state: Option<PathBuf>,
    /// Requested and most CPU.
    pub cpu: (String, String),
    /// Requested and most memory.
    pub memory: (String, String),
}

impl Default for Template {
    /// One binary that is all products; resources are Istio's.
    fn default() -> Self {
        let control = "https://istiod.istio-system.svc:15012";
        let env = [("XDS_ADDRESS", control), ("CA_ADDRESS", control)];
        Self {
            image: "cairn".to_owned(),
            command: vec!["cairn".to_owned(), "waypoint".to_owned()],
            args: Vec::new(),
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            state: None,
            cpu: ("100m".to_owned(), "2".to_owned()),
            memory: ("128Mi".to_owned(), "1Gi".to_owned()),
        }
    }
}
