//! Gets modules and compiles them, where nothing waits for it.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh::Str;
use mesh::plugin::{Kind, Plugin};
use parking_lot::Mutex;
use runtime::TaskSet;
use tokio::sync::mpsc;
use wasm_host::{Host, Module, PluginConfig, PluginHost};
use xds::client::Refusals;

use crate::state::{Effect, Load, SharedWriter};

#[cfg(test)]
mod tests;

/// How long a plugin that is new may be loaded before requests are treated as its `failStrategy`
/// says. Until then it is not there yet, as if its object had been written that much later.
const PATIENCE: Duration = Duration::from_secs(10);
/// The wait before a module that cannot be read is looked for again; it doubles …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Largest module that is read, in bytes.
const MODULE_LIMIT: u64 = 16 << 20;
/// URLs whose modules are remembered; one more begins anew.
const REMEMBERED: usize = 64;

/// Loads what the writer asks for.
#[derive(Clone, Debug)]
pub(crate) struct Loader {
    host: Host,
    writer: SharedWriter,
    refusals: Refusals,
    /// What was compiled last for a URL, and from which bytes: a change of configuration alone
    /// costs no compilation, and several plugins with one module wait for one.
    compiled: Arc<Mutex<HashMap<Str, Slot>>>,
    /// Where plugins write their crossings.
    trace: Option<wasm_host::Trace>,
}

/// What one URL's module was compiled to; locked while it is being compiled.
type Slot = Arc<Mutex<Option<Compiled>>>;

/// Why a plugin cannot run.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Failure {
    /// Nothing but another object changes that.
    Final(Str),
    /// Its module cannot be read, such as because it is not there yet.
    Unread(Str),
    /// Its module, of this digest, cannot be used.
    Unusable(Str, u64),
}

impl Failure {
    fn why(&self) -> &Str {
        match self {
            Self::Final(why) | Self::Unread(why) | Self::Unusable(why, _) => why,
        }
    }
}

#[derive(Debug)]
struct Compiled {
    bytes: Vec<u8>,
    module: Module,
}

impl Loader {
    pub(crate) fn new(host: Host, writer: SharedWriter, refusals: Refusals) -> Self {
        Self {
            host,
            writer,
            refusals,
            compiled: Arc::default(),
            trace: None,
        }
    }

    /// Has plugins write every crossing between proxy and guest.
    #[must_use]
    pub(crate) fn traced(mut self, trace: Option<wasm_host::Trace>) -> Self {
        self.trace = trace;
        self
    }

    /// Loads until nobody asks any more.
    pub(crate) async fn run(self, mut asked: mpsc::UnboundedReceiver<Load>, tasks: TaskSet) {
        while let Some(load) = asked.recv().await {
            tasks.spawn("plugin load", self.clone().load(load));
        }
    }

    /// Loads a plugin. A module that is not there is looked for until it is, or nobody wants it.
    async fn load(self, load: Load) {
        let mut wait = FIRST_WAIT;
        let mut last = None;
        let mut was_missing = false;
        loop {
            let failure = match self.attempt(&load, last.clone()).await {
                Ok(ready) => return self.runs(&load, ready),
                Err(failure) => failure,
            };
            was_missing |= matches!(failure, Failure::Unread(_));
            // What is read as soon as it appears may not have been written to its end.
            let heals = was_missing && !matches!(failure, Failure::Final(_));
            if last.as_ref() != Some(&failure) {
                self.fails(&load, failure.why(), true);
            }
            last = Some(failure);
            if !heals {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            if !self.writer.with(|writer| writer.is_wanted(&load)) {
                return;
            }
        }
    }

    /// * `last` — what became of the last attempt, if there was one.
    async fn attempt(
        &self,
        load: &Load,
        last: Option<Failure>,
    ) -> Result<wasm_host::Plugin, Failure> {
        let (compiler, plugin) = (self.clone(), Arc::clone(&load.plugin));
        let is_first = last.is_none();
        let mut loading =
            tokio::task::spawn_blocking(move || compiler.compile(&plugin, last.as_ref()));
        let in_time = tokio::time::timeout(PATIENCE, &mut loading).await;
        let loaded = if let Ok(loaded) = in_time {
            loaded
        } else {
            if is_first {
                self.fails(load, &"it is still being loaded".into(), false);
            }
            loading.await
        };
        loaded.unwrap_or_else(|_| {
            let why = "loading it failed inside the proxy";
            Err(Failure::Final(why.into()))
        })
    }

    fn runs(&self, load: &Load, ready: wasm_host::Plugin) {
        let (plugin, digest) = (&load.plugin.origin, ready.module().sha256());
        tracing::info!(%plugin, url = %load.plugin.url, digest, "plugin loaded");
        self.tell(load, Ok(ready), true);
    }

    /// * `last` — see [`Writer::loaded`](crate::state::Writer::loaded).
    fn fails(&self, load: &Load, why: &Str, last: bool) {
        if let Some(effect) = self.tell(load, Err(Str::clone(why)), last) {
            let plugin = &load.plugin.origin;
            tracing::warn!(%plugin, url = %load.plugin.url, why = &**why, effect, "plugin cannot run");
        }
    }

    /// Tells the proxy, and the control plane, what became of a plugin.
    fn tell(
        &self,
        load: &Load,
        module: Result<wasm_host::Plugin, Str>,
        last: bool,
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
                (Some(why), Some(effect)) => {
                    let reason = format!("{why}, {effect}");
                    self.refusals.refuse(proto::PLUGIN_TYPE, &load.name, reason);
                }
                _ => self.refusals.accept(proto::PLUGIN_TYPE, &load.name),
            }
            effect
        })
    }

    /// Reads, compiles and tries a plugin. Blocks.
    fn compile(
        &self,
        plugin: &Plugin,
        last: Option<&Failure>,
    ) -> Result<wasm_host::Plugin, Failure> {
        if plugin.kind == Kind::Network {
            let why = "plugins of type NETWORK are not run: connections are not shown to guests";
            return Err(Failure::Final(why.into()));
        }
        let bytes = read(&plugin.url)?;
        let digest = digest(&bytes);
        if let Some(failure @ Failure::Unusable(_, known)) = last
            && *known == digest
        {
            return Err(failure.clone());
        }
        self.prepare(plugin, bytes)
            .map_err(|why| Failure::Unusable(why, digest))
    }

    fn prepare(&self, plugin: &Plugin, bytes: Vec<u8>) -> Result<wasm_host::Plugin, Str> {
        let module = self.module(plugin, bytes)?;
        if let Some(wanted) = &plugin.sha256
            && module.sha256() != &**wanted
        {
            let found = module.sha256();
            return Err(format!("sha256 is {found} and must be {wanted}").into());
        }
        let environment = plugin.env.iter();
        let config = PluginConfig {
            name: plugin.name().to_string(),
            root_id: plugin.root_id.to_string(),
            tenant: plugin.origin.namespace.to_string(),
            configuration: plugin.configuration.clone(),
            environment: environment
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            trace: self.trace.clone(),
            ..PluginConfig::default()
        };
        let ready = wasm_host::Plugin::new(module, config);
        ready
            .validate(Rc::new(Trial))
            .map_err(|error| runtime::report(&error))?;
        Ok(ready)
    }

    fn module(&self, plugin: &Plugin, bytes: Vec<u8>) -> Result<Module, Str> {
        let slot = self.slot(&plugin.url);
        let mut known = slot.lock();
        if let Some(compiled) = &*known
            && compiled.bytes == bytes
        {
            return Ok(compiled.module.clone());
        }
        let module = self
            .host
            .compile(&bytes)
            .map_err(|error| runtime::report(&error))?;
        *known = Some(Compiled {
            bytes,
            module: module.clone(),
        });
        Ok(module)
    }

    fn slot(&self, url: &Str) -> Slot {
        let mut slots = self.compiled.lock();
        if !slots.contains_key(url) && slots.len() >= REMEMBERED {
            slots.clear();
        }
        Arc::clone(slots.entry(Str::clone(url)).or_default())
    }
}

/// A plugin's surroundings while it is tried out: they log, and do nothing else.
struct Trial;

impl PluginHost for Trial {}

fn read(url: &str) -> Result<Vec<u8>, Failure> {
    let never = |why: String| Failure::Final(why.into());
    let Some(path) = url.strip_prefix("file://") else {
        let why = format!("{url}: only file:// followed by an absolute path is fetched");
        return Err(never(why));
    };
    if !path.starts_with('/') {
        return Err(never(format!("{url}: the path must be absolute")));
    }
    let unreadable = |error: std::io::Error| {
        let text = error.to_string();
        // The number behind it says nothing more.
        let text = text.split(" (os error").next().unwrap_or_default();
        Failure::Unread(format!("{url}: {text}").into())
    };
    let mut bytes = vec![];
    let file = File::open(path).map_err(unreadable)?;
    file.take(MODULE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MODULE_LIMIT {
        let why = format!("{url}: it has more than {MODULE_LIMIT} bytes");
        return Err(never(why));
    }
    Ok(bytes)
}

/// Tells modules apart that one path has had; not for secrets.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
