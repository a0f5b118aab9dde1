//! What WasmPlugin and TrafficExtension both say, in one form.

use serde_json::{Map, Value};

use crate::kinds::selection::TargetReference;
use crate::kinds::traffic_extension::{TrafficExtension, TrafficExtensionSpec, WasmConfig};
use crate::kinds::wasm_plugin::{
    FailStrategy, Phase, PluginType, PullPolicy, TrafficSelector, VmConfig, WasmPlugin,
    WasmPluginSpec,
};
use crate::object::Object;

/// A plugin as its object describes it.
#[derive(Clone, Debug)]
pub(crate) struct Spec<'o> {
    /// Whether it selects pods, which means nothing at a waypoint.
    pub(crate) has_selector: bool,
    /// What it is attached to.
    pub(crate) targets: Vec<&'o TargetReference>,
    /// When it runs.
    pub(crate) phase: Phase,
    /// Higher runs earlier; none runs last.
    pub(crate) priority: Option<i32>,
    /// Traffic it sees.
    pub(crate) matches: &'o [TrafficSelector],
    /// What it runs.
    pub(crate) code: Code<'o>,
}

/// What a plugin runs.
#[derive(Clone, Debug)]
pub(crate) enum Code<'o> {
    /// A module.
    Wasm(Module<'o>),
    /// A Lua script.
    Lua,
    /// Nothing, which admission refuses.
    None,
}

/// A module and how it is run.
#[derive(Clone, Debug)]
pub(crate) struct Module<'o> {
    /// Where in the object its fields stand: `spec` or `spec.wasm`.
    pub(crate) at: &'static str,
    pub(crate) url: &'o str,
    pub(crate) sha256: &'o str,
    pub(crate) pull_policy: PullPolicy,
    pub(crate) pull_secret: &'o str,
    pub(crate) verification_key: &'o str,
    pub(crate) configuration: Option<&'o Map<String, Value>>,
    pub(crate) name: &'o str,
    pub(crate) fail_strategy: FailStrategy,
    pub(crate) vm: Option<&'o VmConfig>,
    pub(crate) plugin_type: PluginType,
}

impl<'o> Spec<'o> {
    /// Reads an object; `None` if it is no plugin.
    pub(crate) fn of(object: &'o Object) -> Option<Self> {
        if let Some(plugin) = object.decoded::<WasmPlugin>() {
            return Some(Self::of_plugin(&plugin.spec));
        }
        let extension = object.decoded::<TrafficExtension>()?;
        Some(Self::of_extension(&extension.spec))
    }

    fn of_plugin(spec: &'o WasmPluginSpec) -> Self {
        Self {
            has_selector: spec.selector.is_some(),
            targets: spec.targets().collect(),
            phase: spec.phase,
            priority: spec.priority,
            matches: &spec.matches,
            code: Code::Wasm(Module {
                at: "spec",
                url: &spec.url,
                sha256: &spec.sha256,
                pull_policy: spec.image_pull_policy,
                pull_secret: &spec.image_pull_secret,
                verification_key: &spec.verification_key,
                configuration: spec.plugin_config.as_ref(),
                name: &spec.plugin_name,
                fail_strategy: spec.fail_strategy,
                vm: spec.vm_config.as_ref(),
                plugin_type: spec.plugin_type,
            }),
        }
    }

    fn of_extension(spec: &'o TrafficExtensionSpec) -> Self {
        let code = match (&spec.wasm, &spec.lua) {
            (Some(wasm), _) => Code::Wasm(Module::of(wasm)),
            (None, Some(_)) => Code::Lua,
            (None, None) => Code::None,
        };
        Self {
            has_selector: spec.selector.is_some(),
            targets: spec.target_refs.iter().collect(),
            phase: spec.phase,
            priority: spec.priority,
            matches: &spec.matches,
            code,
        }
    }

    /// The module, if it runs one.
    pub(crate) fn module(&self) -> Option<&Module<'o>> {
        match &self.code {
            Code::Wasm(module) => Some(module),
            Code::Lua | Code::None => None,
        }
    }
}

impl<'o> Module<'o> {
    fn of(wasm: &'o WasmConfig) -> Self {
        Self {
            at: "spec.wasm",
            url: &wasm.url,
            sha256: &wasm.sha256,
            pull_policy: wasm.image_pull_policy,
            pull_secret: &wasm.image_pull_secret,
            verification_key: &wasm.verification_key,
            configuration: wasm.plugin_config.as_ref(),
            name: &wasm.plugin_name,
            fail_strategy: wasm.fail_strategy,
            vm: wasm.vm_config.as_ref(),
            plugin_type: wasm.plugin_type,
        }
    }

    /// Whether it sees bytes of connections and not requests.
    pub(crate) fn is_network(&self) -> bool {
        self.plugin_type == PluginType::Network
    }
}
