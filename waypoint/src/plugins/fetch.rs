//! Gets modules and compiles them, where nothing waits for it.

use std::collections::HashMap;
use std::fs::File;
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

use crate::state::{Load, SharedWriter};

#[cfg(test)]
mod tests;

/// How long a plugin that is new may be loaded before requests are treated as its `failStrategy`
/// says. Until then it is not there yet, as if its object had been written that much later.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest module that is read, in bytes.
const MODULE_LIMIT: u64 = 16 << 20;
/// URLs whose modules are remembered; one more begins anew.
const REMEMBERED: usize = 64;

/// Loads what the writer asks for.
#[derive(Clone, Debug)]
pub(crate) struct Loader {
    host: Host,
    writer: SharedWriter,
    /// What was compiled last for a URL, and from which bytes: a change of configuration alone
    /// costs no compilation.
    compiled: Arc<Mutex<HashMap<Str, Compiled>>>,
}

#[derive(Debug)]
struct Compiled {
    bytes: Vec<u8>,
    module: Module,
}

impl Loader {
    pub(crate) fn new(host: Host, writer: SharedWriter) -> Self {
        Self {
            host,
            writer,
            compiled: Arc::default(),
        }
    }

    /// Loads until nobody asks any more.
    pub(crate) async fn run(self, mut asked: mpsc::UnboundedReceiver<Load>, tasks: TaskSet) {
        while let Some(load) = asked.recv().await {
            tasks.spawn("plugin load", self.clone().load(load));
        }
    }

    async fn load(self, load: Load) {
        let (compiler, plugin) = (self.clone(), Arc::clone(&load.plugin));
        let mut loading = tokio::task::spawn_blocking(move || compiler.compile(&plugin));
        let in_time = tokio::time::timeout(PATIENCE, &mut loading).await;
        let loaded = if let Ok(loaded) = in_time {
            loaded
        } else {
            let late = Err("it is still being loaded".into());
            self.writer.with(|writer| writer.loaded(&load, late, false));
            loading.await
        };
        let loaded = loaded.unwrap_or_else(|_| Err("loading it failed inside the proxy".into()));
        let plugin = &load.plugin.origin;
        match &loaded {
            Ok(ready) => {
                let digest = ready.module().sha256();
                tracing::info!(%plugin, url = %load.plugin.url, digest, "plugin loaded");
            }
            Err(why) => {
                tracing::warn!(%plugin, url = %load.plugin.url, why = &**why, "plugin cannot run");
            }
        }
        self.writer
            .with(|writer| writer.loaded(&load, loaded, true));
    }

    /// Reads, compiles and tries a plugin. Blocks.
    fn compile(&self, plugin: &Plugin) -> Result<wasm_host::Plugin, Str> {
        if plugin.kind == Kind::Network {
            return Err(
                "plugins of type NETWORK are not run: connections are not shown to guests".into(),
            );
        }
        let module = self.module(plugin)?;
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
            ..PluginConfig::default()
        };
        let ready = wasm_host::Plugin::new(module, config);
        ready
            .validate(Rc::new(Trial))
            .map_err(|error| runtime::report(&error))?;
        Ok(ready)
    }

    fn module(&self, plugin: &Plugin) -> Result<Module, Str> {
        let bytes = read(&plugin.url)?;
        if let Some(compiled) = self.compiled.lock().get(&plugin.url)
            && compiled.bytes == bytes
        {
            return Ok(compiled.module.clone());
        }
        let module = self
            .host
            .compile(&bytes)
            .map_err(|error| runtime::report(&error))?;
        let compiled = Compiled {
            bytes,
            module: module.clone(),
        };
        let mut known = self.compiled.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(plugin.url.clone(), compiled);
        Ok(module)
    }
}

/// A plugin's surroundings while it is tried out: they log, and do nothing else.
struct Trial;

impl PluginHost for Trial {}

fn read(url: &str) -> Result<Vec<u8>, Str> {
    let Some(path) = url.strip_prefix("file://") else {
        return Err(
            format!("`{url}`: only file:// followed by an absolute path is fetched").into(),
        );
    };
    if !path.starts_with('/') {
        return Err(format!("`{url}`: the path must be absolute").into());
    }
    let unreadable = |error: std::io::Error| -> Str { format!("{path}: {error}").into() };
    let mut bytes = vec![];
    let file = File::open(path).map_err(unreadable)?;
    file.take(MODULE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MODULE_LIMIT {
        return Err(format!("{path}: it has more than {MODULE_LIMIT} bytes").into());
    }
    Ok(bytes)
}
