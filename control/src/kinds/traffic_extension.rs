//! TrafficExtension, `extensions.istio.io/v1alpha1`: what WasmPlugin is becoming.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::selection::{TargetReference, WorkloadSelector};
use super::wasm_plugin::{FailStrategy, Phase, PluginType, PullPolicy, TrafficSelector, VmConfig};

/// `spec` of a TrafficExtension.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "extensions.istio.io",
    version = "v1alpha1",
    kind = "TrafficExtension",
    plural = "trafficextensions",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct TrafficExtensionSpec {
    /// Pods it applies to; has no effect at a waypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// Objects it is attached to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetReference>,
    /// Where in the order of stages it runs.
    #[serde(default)]
    pub phase: Phase,
    /// Higher runs earlier within a phase; none at all runs after every number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Traffic it sees, any of them; all traffic if there is none.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<TrafficSelector>,
    /// A module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasm: Option<WasmConfig>,
    /// A script, which waypoints do not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lua: Option<LuaConfig>,
}

/// `spec.wasm`: as the fields of a WasmPlugin.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WasmConfig {
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
    /// What it does when it fails or is missing.
    #[serde(default)]
    pub fail_strategy: FailStrategy,
    /// Settings of its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<VmConfig>,
    /// HTTP or TCP.
    #[serde(default, rename = "type")]
    pub plugin_type: PluginType,
}

/// `spec.lua`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LuaConfig {
    /// The script.
    pub inline_code: String,
}
