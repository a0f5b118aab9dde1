//! A module with a configuration: what each worker makes its VM of.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::callback::Callbacks;
use crate::embed::{Expressions, PluginHost};
use crate::error::StartError;
use crate::limits::Limits;
use crate::module::Module;
use crate::shared::Space;
use crate::trace::Trace;
use crate::vm::Vm;

/// How a module is used.
#[derive(Clone, Debug, Default)]
pub struct PluginConfig {
    /// The name in logs, and the property `plugin_name`.
    pub name: String,
    /// Chooses a class in modules that hold several (C++ and AssemblyScript SDKs); usually empty.
    pub root_id: String,
    /// VMs with the same id share data and queues.
    pub vm_id: String,
    /// Whoever owns the plugin, for example a namespace: nothing is shared across tenants.
    pub tenant: String,
    /// What `proxy_on_vm_start` reads.
    pub vm_configuration: Vec<u8>,
    /// What `proxy_on_configure` reads.
    pub configuration: Vec<u8>,
    /// The guest's environment; nothing of ours is in it.
    pub environment: Vec<(String, String)>,
    /// What each VM may use.
    pub limits: Limits,
    /// Whether a guest that stops at headers still gets body callbacks, as some body-rewriting
    /// filters need (Envoy's `allow_on_headers_stop_iteration`).
    pub body_while_headers_wait: bool,
    /// The callbacks and host functions the plugin may have, by name; `None`: all of them.
    ///
    /// A callback that is not named is not called. A host function that is not named is refused:
    /// `INTERNAL_FAILURE`, for those of WASI the error 76. What loading needs is always allowed.
    pub allowed: Option<BTreeSet<String>>,
    /// What reads the expressions of `expr_create`; `None`: there are none.
    pub expressions: Option<Arc<dyn Expressions>>,
    /// Where every crossing between proxy and guest is written, for whoever debugs a filter.
    pub trace: Option<Trace>,
}

impl PluginConfig {
    /// Whether the plugin may have this callback or host function.
    pub(crate) fn allows(&self, name: &str) -> bool {
        match &self.allowed {
            None => true,
            Some(allowed) => allowed.contains(name),
        }
    }
}

/// A module with a configuration. Clones are the same plugin; it may cross threads.
#[derive(Clone, Debug)]
pub struct Plugin(Arc<Configured>);

/// The inside of a [`Plugin`].
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) module: Module,
    pub(crate) config: PluginConfig,
    pub(crate) space: Arc<Space>,
}

impl Configured {
    /// Start functions need no permission: without them nothing runs.
    pub(crate) fn callbacks(&self) -> Callbacks {
        self.module.callbacks().filtered(|callback| {
            !callback.name().starts_with("proxy_") || self.config.allows(callback.name())
        })
    }
}

impl Plugin {
    /// Joins a module and its configuration. Nothing runs yet.
    pub fn new(module: Module, config: PluginConfig) -> Self {
        let host = &module.compiled().host;
        let Limits {
            start,
            configure,
            callback,
            tick,
            ..
        } = config.limits;
        host.ticker.expect_runs_of(crate::vm::longest_run(
            start.max(configure).max(callback).max(tick),
        ));
        let space = host.shared.open(&config.tenant, &config.vm_id);
        Self(Arc::new(Configured {
            module,
            config,
            space,
        }))
    }

    /// Returns the name it was given.
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// Returns the callbacks that will be made: those the module exports and may have.
    pub fn callbacks(&self) -> Callbacks {
        self.0.callbacks()
    }

    /// Returns the module it runs.
    pub fn module(&self) -> &Module {
        &self.0.module
    }

    /// Makes and configures a VM, tells it of a stream on which nothing comes, and throws it away: a
    /// plugin that passes can be given traffic.
    ///
    /// The guest runs as it will later, so its log lines and metrics during start are real. `host`
    /// need not be the one workers use.
    ///
    /// # Errors
    /// As [`Plugin::instantiate`], and [`StartError::NoStream`].
    pub fn validate(&self, host: Rc<dyn PluginHost>) -> Result<(), StartError> {
        let vm = self.instantiate(host)?;
        vm.try_stream().map_err(|trap| StartError::NoStream {
            root_id: self.0.config.root_id.clone(),
            trap,
        })?;
        // One that fails at its end has done its work by then: that is logged, and no reason to
        // refuse it. The AssemblyScript SDK of Gcore asks for a root context it does not have.
        let _ = vm.stop();
        Ok(())
    }

    /// Makes a VM on this thread: instantiates the module, starts it, and configures it.
    ///
    /// Takes from some ten microseconds (Rust, C++) to about a millisecond (Go).
    ///
    /// # Errors
    /// [`StartError::Trapped`] when the guest stopped on the way, the other two when it said no.
    pub fn instantiate(&self, host: Rc<dyn PluginHost>) -> Result<Vm, StartError> {
        Vm::start(Arc::clone(&self.0), host)
    }
}
