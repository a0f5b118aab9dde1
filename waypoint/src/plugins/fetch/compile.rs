//! Makes a plugin of a module: compiles it, starts it once on trial.
//!
//! That takes processor time, and more for a large module than all requests of a second: it is done
//! on threads of low priority, few at a time.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use mesh::Str;
use mesh::plugin::Plugin;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use wasm_host::{Host, Limits, Module, PluginConfig, PluginHost, StartError};

use super::Failure;

/// URLs whose modules are remembered; one more begins anew.
const REMEMBERED: usize = 64;
/// Modules up to this size wait for no larger ones: one user's must not hold up everybody's.
const SMALL: usize = 512 << 10;
/// How much the threads give way; requests are served at 0.
const NICE: i32 = 10;

/// Compiles modules.
#[derive(Clone, Debug)]
pub(super) struct Compiler {
    host: Host,
    /// What was compiled last for a URL: a change of configuration alone costs no compilation, and
    /// several plugins with one module wait for one.
    compiled: Arc<Mutex<HashMap<Str, Slot>>>,
    places: Arc<Semaphore>,
    /// As `places`, for small modules.
    small_places: Arc<Semaphore>,
    /// Where plugins write their crossings.
    pub(super) trace: Option<wasm_host::Trace>,
}

/// What one URL's module was compiled to; locked while it is being compiled.
type Slot = Arc<Mutex<Option<Module>>>;

impl Compiler {
    pub(super) fn new(host: Host) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self {
            host,
            compiled: Arc::default(),
            places: Arc::new(Semaphore::new((processors / 2).max(1))),
            small_places: Arc::new(Semaphore::new(1)),
            trace: None,
        }
    }

    /// Compiles and tries a plugin; `None` when nobody wants it any more once its turn has come, or
    /// the thread did not live to tell.
    pub(super) async fn compile(
        &self,
        plugin: Arc<Plugin>,
        module: modules::Module,
        is_wanted: impl Fn() -> bool,
    ) -> Option<Result<wasm_host::Plugin, Failure>> {
        let is_small = module.bytes.len() <= SMALL;
        let places = if is_small {
            &self.small_places
        } else {
            &self.places
        };
        // Never closed.
        let _place = places.acquire().await.ok()?;
        if !is_wanted() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let compiler = self.clone();
        let work = move || {
            give_way();
            // Whoever asked may have gone.
            let _ = answer.send(compiler.prepare(&plugin, &module));
        };
        // A thread of its own: what has given way never gets its priority back.
        thread::Builder::new()
            .name("plugin compiler".to_owned())
            .spawn(work)
            .ok()?;
        answered.await.ok()
    }

    fn prepare(
        &self,
        plugin: &Plugin,
        fetched: &modules::Module,
    ) -> Result<wasm_host::Plugin, Failure> {
        let unusable = |reason, why: String| Failure::Unusable(reason, why.into(), fetched.sha256);
        let module = self
            .module(plugin, fetched)
            .map_err(|error| unusable("InvalidModule", runtime::report(&error)))?;
        let ready = wasm_host::Plugin::new(module, self.config(plugin));
        ready
            .validate(Rc::new(Trial))
            .map_err(|error| unusable(reason(&error), runtime::report(&error)))?;
        Ok(ready)
    }

    fn config(&self, plugin: &Plugin) -> PluginConfig {
        let usual = Limits::default();
        let memory = plugin.limits.memory.map(usize::try_from);
        // What the proxy lacks is not set; what is written goes first.
        let own = plugin.host_env.iter().filter_map(|name| {
            let value = std::env::var_os(&**name)?.into_string().ok()?;
            Some((name.to_string(), value))
        });
        let own = own.filter(|(name, _)| !plugin.env.contains_key(name.as_str()));
        let written = plugin
            .env
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()));
        PluginConfig {
            name: plugin.name().to_string(),
            root_id: plugin.root_id.to_string(),
            tenant: plugin.origin.namespace.to_string(),
            configuration: plugin.configuration.clone(),
            environment: written.chain(own).collect(),
            limits: Limits {
                memory: memory.and_then(Result::ok).unwrap_or(usual.memory),
                callback: plugin.limits.callback.unwrap_or(usual.callback),
                tick: plugin.limits.callback.unwrap_or(usual.tick),
                ..usual
            },
            body_while_headers_wait: plugin.body_while_headers_wait,
            trace: self.trace.clone(),
            ..PluginConfig::default()
        }
    }

    fn module(
        &self,
        plugin: &Plugin,
        fetched: &modules::Module,
    ) -> Result<Module, wasm_host::Error> {
        let slot = self.slot(&plugin.url);
        let mut known = slot.lock();
        if let Some(module) = &*known
            && module.sha256() == fetched.sha256.hex()
        {
            return Ok(module.clone());
        }
        let module = self.host.compile(&fetched.bytes)?;
        *known = Some(module.clone());
        Ok(module)
    }

    /// Forgets the modules of URLs that nobody uses.
    pub(super) fn keep(&self, is_used: impl Fn(&Str) -> bool) {
        self.compiled.lock().retain(|url, _| is_used(url));
    }

    /// How many URLs' modules are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.compiled.lock().len()
    }

    fn slot(&self, url: &Str) -> Slot {
        let mut slots = self.compiled.lock();
        if !slots.contains_key(url) && slots.len() >= REMEMBERED {
            slots.clear();
        }
        Arc::clone(slots.entry(Str::clone(url)).or_default())
    }
}

/// Lets every other thread of the process go first, from now on.
#[expect(unsafe_code, reason = "no safe wrapper of setpriority is in the tree")]
pub(super) fn give_way() {
    // SAFETY: setpriority takes three numbers and touches no memory of ours. On Linux, 0 is the
    // calling thread and not the whole process.
    let outcome = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if outcome != 0 {
        tracing::debug!("a module is compiled at the priority of requests: it cannot be lowered");
    }
}

/// A plugin's surroundings while it is tried out: they log, and do nothing else.
struct Trial;

impl PluginHost for Trial {}

/// Why a module did not start, in a word.
fn reason(error: &StartError) -> &'static str {
    match error {
        StartError::ConfigurationRefused { .. } => "ConfigurationRejected",
        _ => "StartFailed",
    }
}
