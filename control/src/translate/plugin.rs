//! WasmPlugin and TrafficExtension as a waypoint gets them: one resource, whichever it was.
//!
//! A plugin goes to the waypoints of its targets, and to those of routes whose rules name it
//! (`ExtensionRef`), which may be all there is.

mod image;
pub(crate) mod secret;
pub(crate) mod settings;
pub(crate) mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use proto::cairn::waypoint::{Plugin, Target, plugin};
use sha2::{Digest, Sha256};

use super::resources::WaypointName;
use super::target::{self, Resolved};
use super::view::View;
use super::{origin, route};
use crate::index::{HTTP_ROUTE, TRAFFIC_EXTENSION, WASM_PLUGIN};
use crate::kinds::wasm_plugin::{Direction, FailStrategy, Phase, PluginType, ValueFrom};
use crate::object::{Key, Kind, Object};
use secret::Found;
use settings::Settings;
pub(crate) use spec::{Code, Module, Spec};

/// The kinds of plugins.
pub(crate) const KINDS: &[Kind] = &[WASM_PLUGIN, TRAFFIC_EXTENSION];

/// What a plugin is attached to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attached {
    /// Its targets.
    pub(crate) targets: Vec<Resolved>,
    /// Routes whose rules name it, each with its waypoints.
    pub(crate) routes: Vec<(Key, BTreeSet<WaypointName>)>,
}

/// A plugin, but for what it is attached to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Converted {
    plugin: Plugin,
    /// Annotations that do not say what their author thinks.
    pub(crate) annotations: Vec<settings::Problem>,
    /// What became of its pull secret.
    pub(crate) secret: Found,
}

/// Name of the resource of a plugin. Plugins of both kinds may have one name.
pub(crate) fn resource_name(key: &Key) -> String {
    let (namespace, name) = (&key.namespace, &key.name);
    if key.kind == TRAFFIC_EXTENSION {
        format!("{namespace}/{name}/{}", key.kind.name())
    } else {
        format!("{namespace}/{name}")
    }
}

/// The object that a resource of this name comes from.
pub(crate) fn key_of(resource: &str) -> Option<Key> {
    match resource.split('/').collect::<Vec<_>>().as_slice() {
        [namespace, name] => Some(Key::new(WASM_PLUGIN, namespace, name)),
        [namespace, name, "TrafficExtension"] => Some(Key::new(TRAFFIC_EXTENSION, namespace, name)),
        _ => None,
    }
}

/// Finds out what a plugin is attached to.
pub(crate) fn attach(view: &View<'_>, object: &Object, spec: &Spec<'_>) -> Attached {
    let routes = view.attached(&HTTP_ROUTE, &object.key).into_iter();
    Attached {
        targets: target::resolve(view, object, spec.targets.iter().copied()),
        routes: routes
            .map(|found| (found.key.clone(), route::waypoints(view, found)))
            .collect(),
    }
}

/// Converts a plugin; `None` if it runs no module.
pub(crate) fn convert(view: &View<'_>, object: &Object, spec: &Spec<'_>) -> Option<Converted> {
    let module = spec.module()?;
    let settings = Settings::read(view, object);
    let secret = secret::find(view, object, module);
    let mut plugin = message(object, spec, module);
    plugin.allowed_upstreams = settings.allowed_upstreams;
    plugin.limits = settings.limits;
    plugin.allow_on_headers_stop_iteration = settings.allow_on_headers_stop_iteration;
    if let Some((_, words)) = crate::status::wording::plugin::unfetchable(&secret, module) {
        plugin.unfetchable = words.what;
    }
    if let Found::Credentials(credentials) = &secret {
        plugin.pull_secret = Some(credentials.clone());
    }
    Some(Converted {
        plugin,
        annotations: settings.problems,
        secret,
    })
}

/// Returns a plugin as each waypoint gets it that it is attached to.
pub(crate) fn resources(
    spec: &Spec<'_>,
    attached: &Attached,
    converted: &Converted,
) -> BTreeMap<WaypointName, Arc<Plugin>> {
    let mut by_waypoint: BTreeMap<WaypointName, Vec<Target>> = BTreeMap::new();
    let ports = ports(spec);
    if ports.is_some() {
        by_waypoint = target::by_waypoint(&attached.targets);
    }
    let by_routes = attached.by_routes(spec);
    for name in &by_routes {
        by_waypoint.entry(name.clone()).or_default();
    }
    let plugin = |(name, targets)| {
        let plugin = Plugin {
            targets,
            ports: ports.clone().unwrap_or_default(),
            by_routes: by_routes.contains(&name),
            ..converted.plugin.clone()
        };
        (name, Arc::new(plugin))
    };
    by_waypoint.into_iter().map(plugin).collect()
}

impl Attached {
    /// The waypoints of routes whose rules name the plugin; such a rule runs it for requests.
    fn by_routes(&self, spec: &Spec<'_>) -> BTreeSet<WaypointName> {
        if spec.module().is_none_or(Module::is_network) {
            return BTreeSet::new();
        }
        let waypoints = self.routes.iter().flat_map(|(_, waypoints)| waypoints);
        waypoints.cloned().collect()
    }
}

/// Returns the service ports that a plugin sees, none for all; `None` if it sees no traffic of a
/// waypoint, which is `SERVER` by nature.
pub(crate) fn ports(spec: &Spec<'_>) -> Option<Vec<u32>> {
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

fn message(object: &Object, spec: &Spec<'_>, module: &Module<'_>) -> Plugin {
    let phase = match spec.phase {
        Phase::Unspecified => plugin::Phase::Unspecified,
        Phase::Authn => plugin::Phase::Authn,
        Phase::Authz => plugin::Phase::Authz,
        Phase::Stats => plugin::Phase::Stats,
    };
    let fail_strategy = match module.fail_strategy {
        FailStrategy::Close => plugin::FailStrategy::FailClose,
        FailStrategy::Open => plugin::FailStrategy::FailOpen,
        FailStrategy::Reload => plugin::FailStrategy::FailReload,
    };
    let kind = match module.plugin_type {
        PluginType::Unspecified | PluginType::Http => plugin::Type::Http,
        PluginType::Network => plugin::Type::Network,
    };
    let pull_policy = if image::is_always(module.url, module.pull_policy) {
        plugin::PullPolicy::Always
    } else {
        plugin::PullPolicy::IfNotPresent
    };
    // A map of JSON values always has a text.
    let configuration = module
        .configuration
        .and_then(|map| serde_json::to_vec(map).ok());
    Plugin {
        origin: Some(origin(object)),
        url: image::absolute(module.url),
        sha256: module.sha256.to_owned(),
        phase: phase.into(),
        priority: spec.priority,
        configuration: configuration.unwrap_or_default().into(),
        root_id: module.name.to_owned(),
        fail_strategy: fail_strategy.into(),
        env: env(module),
        host_env: host_env(module),
        r#type: kind.into(),
        pull_policy: pull_policy.into(),
        revision: revision(object),
        ..Plugin::default()
    }
}

/// Returns the variables whose value stands in the object.
fn env(module: &Module<'_>) -> BTreeMap<String, String> {
    let env = module.vm.iter().flat_map(|config| &config.env);
    env.filter(|variable| variable.value_from == ValueFrom::Inline)
        .map(|variable| {
            (
                variable.name.clone(),
                variable.value.clone().unwrap_or_default(),
            )
        })
        .collect()
}

/// Returns the names of the variables whose value the waypoint has.
fn host_env(module: &Module<'_>) -> Vec<String> {
    let env = module.vm.iter().flat_map(|config| &config.env);
    env.filter(|variable| variable.value_from == ValueFrom::Host)
        .map(|variable| variable.name.clone())
        .collect()
}

/// A text that is another one for another object, its labels and annotations included, and for one
/// that was made anew. Not the version of the object: that rises with each status that we write
/// ourselves.
fn revision(object: &Object) -> String {
    let mut digest = Sha256::new();
    digest.update(object.life.created.as_second().to_be_bytes());
    digest.update(object.value.to_string());
    let mut text = String::new();
    for byte in digest.finalize().iter().take(8) {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
