//! Gets modules and compiles them, where nothing waits for it.
//!
//! `source` says what is to be fetched for a plugin, `compile` makes a plugin of what came, `told`
//! is what the control plane hears of it.

use std::sync::Arc;
use std::time::Duration;

use mesh::Str;
use modules::{Fetcher, Module, Request};
use runtime::TaskSet;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wasm_host::Host;
use xds::client::Refusals;

use crate::plugins::Standings;
use crate::state::{Effect, Load, SharedWriter, State};

mod compile;
pub(crate) mod metrics;
mod source;
mod told;

#[cfg(test)]
mod tests;

use compile::Compiler;
use told::Told;

/// How long a plugin that is new may be loaded before requests are treated as its `failStrategy`
/// says. Until then it is not there yet, as if its object had been written that much later.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for a module from a network while the proxy is not ready: no registry makes it wait, and
/// a plugin that is not there yet is no way around it.
const PATIENCE_AT_START: Duration = Duration::from_secs(1);
/// The wait before a module that cannot be had is looked for again; it doubles …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this for a file …
const LONGEST_WAIT_FILE: Duration = Duration::from_secs(30);
/// … and up to this for what comes over a network.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Loads what the writer asks for.
#[derive(Clone, Debug)]
pub(crate) struct Loader {
    writer: SharedWriter,
    refusals: Refusals,
    compiler: Compiler,
    modules: Fetcher,
    told: Option<Told>,
    /// Becomes true when the proxy serves; without it, it does.
    serves: Option<watch::Receiver<bool>>,
}

/// What a loader has in a mesh, beside what it has anywhere.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Gets modules.
    pub(crate) modules: Fetcher,
    /// Hear what becomes of plugins.
    pub(crate) standings: Standings,
    /// Says which plugins there are.
    pub(crate) state: Arc<State>,
    /// Becomes true when the proxy serves.
    pub(crate) serves: watch::Receiver<bool>,
    /// How often modules that nobody uses are looked for.
    pub(crate) purge: Duration,
}

/// Why a plugin cannot run.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Failure {
    /// Nothing but another object changes that.
    Final(Reason, Str),
    /// Its module cannot be had, such as because it is not there yet.
    Unread(Reason, Str),
    /// Its module, of this digest, cannot be used.
    Unusable(Reason, Str, modules::Digest),
}

/// Why, in one word, as it stands in the status of the object.
type Reason = &'static str;

impl Failure {
    fn why(&self) -> &Str {
        match self {
            Self::Final(_, why) | Self::Unread(_, why) | Self::Unusable(_, why, _) => why,
        }
    }
}

impl Loader {
    pub(crate) fn new(host: Host, writer: SharedWriter, refusals: Refusals) -> Self {
        Self {
            writer,
            refusals,
            compiler: Compiler::new(host),
            modules: Fetcher::default(),
            told: None,
            serves: None,
        }
    }

    /// Has plugins write every crossing between proxy and guest.
    #[must_use]
    pub(crate) fn traced(mut self, trace: Option<wasm_host::Trace>) -> Self {
        self.compiler.trace = trace;
        self
    }

    /// Puts the loader into a mesh; a task looks after the modules it keeps.
    #[must_use]
    pub(crate) fn within(mut self, surroundings: Surroundings, tasks: &TaskSet) -> Self {
        let Surroundings {
            modules,
            standings,
            state,
            serves,
            purge,
        } = surroundings;
        tasks.spawn("module cache", purge_at(purge, modules.clone(), state));
        self.modules = modules;
        self.told = Some(Told::new(standings));
        self.serves = Some(serves);
        self
    }

    /// Loads until nobody asks any more.
    pub(crate) async fn run(self, mut asked: mpsc::UnboundedReceiver<Load>, tasks: TaskSet) {
        let mut changes = self.writer.with(|writer| writer.changes());
        loop {
            tokio::select! {
                load = asked.recv() => {
                    let Some(load) = load else { return };
                    let loader = self.clone();
                    tasks.spawn("plugin load", async move {
                        Box::pin(loader.clone().load(load)).await;
                        // It may have been compiled for nobody.
                        loader.forget_unused();
                    });
                }
                // The state lives as long as the writer.
                Ok(()) = changes.changed() => self.forget_unused(),
            }
        }
    }

    /// Lets go of what was compiled for plugins that are gone: code is memory.
    fn forget_unused(&self) {
        let urls = self.writer.with(|writer| writer.urls());
        self.compiler.keep(|url| urls.contains(url));
    }

    /// Loads a plugin. A module that is not there is looked for until it is, or nobody wants it.
    async fn load(self, load: Load) {
        let request = match source::request(&load.plugin) {
            Ok(request) => request,
            Err(failure) => return self.fails(&load, &failure, true),
        };
        let is_remote = request.reference.is_remote();
        let mut wait = FIRST_WAIT;
        let mut last = None;
        let mut was_missing = false;
        loop {
            let failure = match self.attempt(&load, &request, last.as_ref()).await {
                Ok(ready) => return self.runs(&load, ready),
                Err(failure) => failure,
            };
            was_missing |= matches!(failure, Failure::Unread(..));
            let heals = match failure {
                Failure::Final(..) => false,
                Failure::Unread(..) => true,
                // A file that is read as soon as it appears may not have been written to its end.
                Failure::Unusable(..) => was_missing && !is_remote,
            };
            if last.as_ref() != Some(&failure) {
                self.fails(&load, &failure, true);
            }
            last = Some(failure);
            if !heals {
                return;
            }
            tokio::time::sleep(if is_remote { jittered(wait) } else { wait }).await;
            wait = (wait * 2).min(if is_remote {
                LONGEST_WAIT
            } else {
                LONGEST_WAIT_FILE
            });
            if !self.writer.with(|writer| writer.is_wanted(&load)) {
                return;
            }
        }
    }

    /// * `last` — what became of the last attempt, if there was one.
    async fn attempt(
        &self,
        load: &Load,
        request: &Request,
        last: Option<&Failure>,
    ) -> Result<wasm_host::Plugin, Failure> {
        let begun = Instant::now();
        let is_remote = request.reference.is_remote();
        let is_starting = self.serves.as_ref().is_some_and(|serves| !*serves.borrow());
        let patience = if is_remote && is_starting {
            PATIENCE_AT_START
        } else {
            PATIENCE
        };
        let late = Late {
            load,
            until: begun + patience,
            // What was said before still holds.
            is_said: last.is_some(),
        };
        let why = "it is still being fetched";
        let fetching = Box::pin(self.modules.fetch(request));
        let (fetched, is_said) = self.patiently(late, fetching, why, is_remote).await;
        let module = fetched.map_err(|error| source::failure(&request.reference, &error))?;
        if let Some(failure @ Failure::Unusable(_, _, known)) = last
            && *known == module.sha256
        {
            return Err(failure.clone());
        }
        if let Some(told) = &self.told {
            told.fetched(load, &request.reference, &module);
        }
        let late = Late {
            load,
            until: begun + PATIENCE,
            is_said,
        };
        let compiling = Box::pin(self.compile(load, module));
        let why = "it is still being compiled";
        self.patiently(late, compiling, why, false).await.0
    }

    /// Waits; if it takes long, requests are treated meanwhile as the plugin's `failStrategy` says.
    /// Returns also whether that was said.
    async fn patiently<T>(
        &self,
        late: Late<'_>,
        mut work: impl Future<Output = T> + Unpin,
        why: &'static str,
        last: bool,
    ) -> (T, bool) {
        let in_time = tokio::time::timeout_at(late.until, &mut work).await;
        if let Ok(done) = in_time {
            return (done, late.is_said);
        }
        if !late.is_said {
            self.fails(late.load, &Failure::Unread("Pending", why.into()), last);
        }
        (work.await, true)
    }

    async fn compile(&self, load: &Load, module: Module) -> Result<wasm_host::Plugin, Failure> {
        let is_wanted = || self.writer.with(|writer| writer.is_wanted(load));
        let plugin = Arc::clone(&load.plugin);
        let compiled = self.compiler.compile(plugin, module, is_wanted).await;
        compiled.unwrap_or_else(|| {
            let why = "loading it failed inside the proxy";
            Err(Failure::Final("InternalError", why.into()))
        })
    }

    fn runs(&self, load: &Load, ready: wasm_host::Plugin) {
        let (plugin, digest) = (&load.plugin.origin, ready.module().sha256().to_owned());
        tracing::info!(%plugin, url = %load.plugin.url, digest, "plugin loaded");
        let is_wanted = self.writer.with(|writer| writer.is_wanted(load));
        self.tell(load, Ok(ready), true, false);
        if let Some(told) = &self.told
            && is_wanted
        {
            told.runs(load, &digest);
        }
    }

    /// * `last` — see [`Writer::loaded`](crate::state::Writer::loaded).
    fn fails(&self, load: &Load, failure: &Failure, last: bool) {
        let why = failure.why();
        // What is still on its way is not refused.
        let is_refused = !matches!(failure, Failure::Unread("Pending", _));
        let Some(effect) = self.tell(load, Err(Str::clone(why)), last, is_refused) else {
            return;
        };
        let plugin = &load.plugin.origin;
        tracing::warn!(%plugin, url = %load.plugin.url, why = &**why, effect, "plugin cannot run");
        if let Some(told) = &self.told {
            told.fails(load, failure, effect);
        }
    }

    /// Tells the proxy what became of a plugin, and the control plane whether it is refused.
    fn tell(
        &self,
        load: &Load,
        module: Result<wasm_host::Plugin, Str>,
        last: bool,
        is_refused: bool,
    ) -> Option<Effect> {
        let why = module.as_ref().err().map(Arc::clone);
        // No version can be applied between the writer's answer and the refusal: this is the
        // thread that applies them.
        self.writer.with(|writer| {
            if !writer.is_wanted(load) {
                return None;
            }
            let effect = writer.loaded(load, module, last);
            match (why, effect) {
                (Some(why), Some(effect)) if is_refused => {
                    let reason = format!("{why}, {effect}");
                    self.refusals.refuse(proto::PLUGIN_TYPE, &load.name, reason);
                }
                _ => self.refusals.accept(proto::PLUGIN_TYPE, &load.name),
            }
            effect
        })
    }
}

/// How long something may take before it is said that it takes long.
struct Late<'l> {
    load: &'l Load,
    until: Instant,
    is_said: bool,
}

/// Between half of a wait and one and a half of it: a registry that comes back is not asked by every
/// proxy at once.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64())
}

/// Removes modules that nobody has used for a while, for ever.
async fn purge_at(every: Duration, modules: Fetcher, state: Arc<State>) {
    loop {
        tokio::time::sleep(every).await;
        let snapshot = state.current();
        let in_use = move |sha256: &str| {
            let mut plugins = snapshot.plugins();
            plugins.any(|loaded| {
                let module = loaded.module.as_ref().ok();
                module.is_some_and(|plugin| plugin.module().sha256() == sha256)
            })
        };
        modules.purge(in_use).await;
    }
}
