//! PeerAuthentication, `security.istio.io/v1`: whether peers must present an identity.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::selection::WorkloadSelector;

/// `spec` of a PeerAuthentication.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "security.istio.io",
    version = "v1",
    kind = "PeerAuthentication",
    plural = "peerauthentications",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthenticationSpec {
    /// Pods it applies to; without it, the namespace, or the mesh in the root namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// The mode of all ports that are not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MutualTls>,
    /// Modes of single workload ports; the keys are numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub port_level_mtls: BTreeMap<String, MutualTls>,
}

/// `spec.mtls`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MutualTls {
    /// The mode.
    #[serde(default)]
    pub mode: Mode,
}

/// `mtls.mode`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// What the wider scope says; in the end permissive.
    #[default]
    Unset,
    /// No identity is asked for.
    Disable,
    /// Peers may come with or without identity.
    Permissive,
    /// Peers without identity are refused.
    Strict,
}
