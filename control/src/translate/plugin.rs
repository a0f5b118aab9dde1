//! WasmPlugin as a waypoint gets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::cairn::waypoint::{Plugin, Target, plugin};

use super::origin;
use super::resources::WaypointName;
use super::target::{self, Resolved};
use crate::kinds::wasm_plugin::{
    Direction, FailStrategy, Phase, PluginType, ValueFrom, WasmPluginSpec,
};
use crate::object::Object;

/// Returns a plugin as each waypoint it is attached to gets it; none if it sees outbound traffic
/// only, which a waypoint has not.
pub(crate) fn convert(
    object: &Object,
    spec: &WasmPluginSpec,
    targets: &[Resolved],
) -> BTreeMap<WaypointName, Arc<Plugin>> {
    let Some(ports) = ports(spec) else {
        return BTreeMap::new();
    };
    let by_waypoint = target::by_waypoint(targets).into_iter();
    by_waypoint
        .map(|(name, targets)| (name, Arc::new(plugin(object, spec, targets, ports.clone()))))
        .collect()
}

/// Returns the service ports that a plugin sees, none for all; `None` if it sees no traffic of a
/// waypoint, which is `SERVER` by nature.
pub(crate) fn ports(spec: &WasmPluginSpec) -> Option<Vec<u32>> {
    if spec.matches.is_empty() {
        return Some(Vec::new());
    }
    let served: Vec<_> = spec
        .matches
        .iter()
        .filter(|found| found.mode != Direction::Client)
        .collect();
    if served.is_empty() {
        return None;
    }
    if served.iter().any(|found| found.ports.is_empty()) {
        return Some(Vec::new());
    }
    let ports: BTreeSet<u32> = served
        .iter()
        .flat_map(|found| &found.ports)
        .map(|port| u32::from(port.number))
        .collect();
    Some(ports.into_iter().collect())
}

fn plugin(object: &Object, spec: &WasmPluginSpec, targets: Vec<Target>, ports: Vec<u32>) -> Plugin {
    let phase = match spec.phase {
        Phase::Unspecified => plugin::Phase::Unspecified,
        Phase::Authn => plugin::Phase::Authn,
        Phase::Authz => plugin::Phase::Authz,
        Phase::Stats => plugin::Phase::Stats,
    };
    let fail_strategy = match spec.fail_strategy {
        FailStrategy::Close => plugin::FailStrategy::FailClose,
        FailStrategy::Open => plugin::FailStrategy::FailOpen,
        FailStrategy::Reload => plugin::FailStrategy::FailReload,
    };
    let kind = match spec.plugin_type {
        PluginType::Unspecified | PluginType::Http => plugin::Type::Http,
        PluginType::Network => plugin::Type::Network,
    };
    // A map of JSON values always has a text.
    let configuration = spec
        .plugin_config
        .as_ref()
        .and_then(|map| serde_json::to_vec(map).ok());
    Plugin {
        origin: Some(origin(object)),
        targets,
        url: url(&spec.url),
        sha256: spec.sha256.clone(),
        phase: phase.into(),
        priority: spec.priority,
        configuration: configuration.unwrap_or_default().into(),
        root_id: spec.plugin_name.clone(),
        fail_strategy: fail_strategy.into(),
        env: env(spec),
        r#type: kind.into(),
        ports,
        ..Plugin::default()
    }
}

/// Istio takes an address without scheme for an OCI image.
fn url(url: &str) -> String {
    if url.contains("://") {
        url.to_owned()
    } else {
        format!("oci://{url}")
    }
}

/// Returns the variables whose value stands in the object.
fn env(spec: &WasmPluginSpec) -> BTreeMap<String, String> {
    let env = spec.vm_config.iter().flat_map(|config| &config.env);
    env.filter(|variable| variable.value_from == ValueFrom::Inline)
        .map(|variable| {
            (
                variable.name.clone(),
                variable.value.clone().unwrap_or_default(),
            )
        })
        .collect()
}
