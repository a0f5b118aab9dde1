//! WasmPlugin, `extensions.istio.io/v1alpha1`: a filter that people bring themselves.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::selection::{TargetReference, WorkloadSelector, targets};

/// `spec` of a WasmPlugin.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "extensions.istio.io",
    version = "v1alpha1",
    kind = "WasmPlugin",
    plural = "wasmplugins",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct WasmPluginSpec {
    /// Pods it applies to; has no effect at a waypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// Older form of `targetRefs` with one target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetReference>,
    /// Objects it is attached to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetReference>,
    /// Where the module is: `oci://` (also when no scheme is given), `file://`, `http(s)://`.
    pub url: String,
    /// SHA-256 of the module, or of the image manifest for OCI, in 64 hex digits; empty: unchecked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// When the module is fetched again.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,
    /// Name of a Secret in the same namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image_pull_secret: String,
    /// Reserved; nothing verifies it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub verification_key: String,
    /// Handed to the plugin as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_config: Option<Map<String, Value>>,
    /// The plugin's root id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plugin_name: String,
    /// Where in the order of stages it runs.
    #[serde(default)]
    pub phase: Phase,
    /// Higher runs earlier within a phase; none at all runs after every number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What it does when it fails or is missing.
    #[serde(default)]
    pub fail_strategy: FailStrategy,
    /// Settings of its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<VmConfig>,
    /// Traffic it sees, any of them; all traffic if there is none.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<TrafficSelector>,
    /// HTTP or TCP.
    #[serde(default, rename = "type")]
    pub plugin_type: PluginType,
}

impl WasmPluginSpec {
    /// The objects it is attached to, in either form.
    pub fn targets(&self) -> impl Iterator<Item = &TargetReference> {
        targets(&self.target_refs, self.target_ref.as_ref())
    }
}

/// `spec.imagePullPolicy`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum PullPolicy {
    /// `Always` for the tag `latest`, else `IfNotPresent`.
    #[default]
    #[serde(rename = "UNSPECIFIED_POLICY")]
    Unspecified,
    /// Fetched once.
    IfNotPresent,
    /// Fetched again whenever the object changes.
    Always,
}

/// `spec.phase`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Phase {
    /// After everything else, before the route.
    #[default]
    #[serde(rename = "UNSPECIFIED_PHASE")]
    Unspecified,
    /// Before authentication.
    #[serde(rename = "AUTHN")]
    Authn,
    /// After authentication, before authorization.
    #[serde(rename = "AUTHZ")]
    Authz,
    /// After authorization.
    #[serde(rename = "STATS")]
    Stats,
}

/// `spec.failStrategy`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum FailStrategy {
    /// Requests fail.
    #[default]
    #[serde(rename = "FAIL_CLOSE")]
    Close,
    /// Requests pass without it.
    #[serde(rename = "FAIL_OPEN")]
    Open,
    /// It is started anew.
    #[serde(rename = "FAIL_RELOAD")]
    Reload,
}

/// `spec.type`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum PluginType {
    /// HTTP.
    #[default]
    #[serde(rename = "UNSPECIFIED_PLUGIN_TYPE")]
    Unspecified,
    /// Sees requests.
    #[serde(rename = "HTTP")]
    Http,
    /// Sees bytes.
    #[serde(rename = "NETWORK")]
    Network,
}

/// `spec.vmConfig`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct VmConfig {
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
}

/// `spec.vmConfig.env[]`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Where the value comes from.
    #[serde(default)]
    pub value_from: ValueFrom,
    /// The value, if it stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// `env[].valueFrom`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ValueFrom {
    /// From `value`.
    #[default]
    Inline,
    /// From the environment of the proxy.
    Host,
}

/// `spec.match[]`: a direction and ports, both of which must fit.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TrafficSelector {
    /// Direction; a waypoint's traffic is `SERVER`.
    #[serde(default)]
    pub mode: Direction,
    /// Ports, any of them; all if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortSelector>,
}

/// `match[].mode`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Direction {
    /// Both.
    #[default]
    #[serde(rename = "UNDEFINED")]
    Undefined,
    /// Outbound.
    #[serde(rename = "CLIENT")]
    Client,
    /// Inbound.
    #[serde(rename = "SERVER")]
    Server,
    /// Both.
    #[serde(rename = "CLIENT_AND_SERVER")]
    ClientAndServer,
}

/// `match[].ports[]`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct PortSelector {
    /// Port number.
    pub number: u16,
}
