//! The waypoint's own pipeline on loopback, with one filter.

use std::fmt::{Debug, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use waypoint::local::{Local, Plugin, Service, Settings, Trace};

use crate::world::{CALLOUT, REFUSED, Run, Setup};

/// Runs by the names of their plugins.
type Wanted = Vec<(String, Arc<Run>)>;

/// The runs that want log lines, by the plugin's name.
static RUNS: LazyLock<Mutex<Wanted>> = LazyLock::new(|| {
    let subscriber = tracing_subscriber::registry().with(GuestLog);
    tracing::subscriber::set_global_default(subscriber).unwrap();
    Mutex::default()
});

/// Hands what guests log to their runs.
struct GuestLog;

impl<S: tracing::Subscriber> Layer<S> for GuestLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // A waypoint tells guests how much is logged, and counts no line that is not.
        let most = match metadata.target() {
            "wasm" => tracing::Level::INFO,
            _ => tracing::Level::WARN,
        };
        *metadata.level() <= most
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let runs = RUNS.lock();
        for (name, run) in runs.iter() {
            if event.metadata().target() == "wasm" && line.plugin.contains(name.as_str()) {
                run.log(&line.message);
            } else {
                run.note(&format!("{} {}", event.metadata().target(), line.all));
            }
        }
    }
}

#[derive(Default)]
struct Line {
    plugin: String,
    message: String,
    all: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin" {
            value.clone_into(&mut self.plugin);
        }
        let _ = write!(self.all, "{}={value} ", field.name());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message.clone_from(&text),
            "plugin" => self.plugin.clone_from(&text),
            _ => {}
        }
        let _ = write!(self.all, "{}={text} ", field.name());
    }
}

/// A running waypoint; it ends with the value.
#[derive(Debug)]
pub(crate) struct Cairn {
    pub(crate) address: SocketAddr,
    /// Serves as long as it lives.
    local: Local,
    /// Why the module is not used.
    pub(crate) refused: Option<String>,
    name: String,
}

impl Drop for Cairn {
    fn drop(&mut self) {
        RUNS.lock().retain(|(name, _)| *name != self.name);
    }
}

impl Cairn {
    /// Starts one; what it traces goes to `run`.
    pub(crate) async fn start(setup: &Setup, run: &Arc<Run>) -> Self {
        RUNS.lock().push((setup.plugin.clone(), Arc::clone(run)));
        let service = |host: &str, address| Service {
            host: host.to_owned(),
            port: 80,
            address,
        };
        let mut settings = Settings::new(service("upstream.test", setup.upstream));
        let bare = |name: &str| name.rsplit('|').next().unwrap_or(name).to_owned();
        settings
            .services
            .push(service(&bare(CALLOUT), setup.callout));
        settings
            .services
            .push(service(&bare(REFUSED), setup.refused));
        // Modules of Go take long to compile; what runs is the same.
        settings.code_cache = Some(conformance::wasm::cache().join("code"));
        let others = setup.callout_names.iter();
        settings
            .services
            .extend(others.map(|name| service(name, setup.callout)));
        let traced = Arc::clone(run);
        settings.trace = Some(Trace::new(move |line| traced.crossing(line)));
        let mut local = Local::start(&settings).unwrap();
        let plugin = Plugin {
            name: setup.plugin.clone(),
            namespace: "default".to_owned(),
            module: setup.module.clone(),
            configuration: setup.configuration.clone().into_bytes(),
            root_id: setup.root_id.clone(),
            // Without optimisation what takes microseconds takes milliseconds, and a filter that
            // takes that long gets its turn later than one in Envoy.
            callback_budget: Some(Duration::from_secs(1)),
            ..Plugin::default()
        };
        let refused = local.swap(&plugin).await.err();
        if let Some(refused) = &refused {
            run.log(&format!("refused: {refused}"));
        }
        local.open();
        Self {
            address: local.address(),
            local,
            refused: refused.map(|why| why.to_string()),
            name: setup.plugin.clone(),
        }
    }

    /// Puts another module in the place of what runs.
    pub(crate) async fn swap(&mut self, module: &std::path::Path) -> Result<(), String> {
        let plugin = Plugin {
            name: self.name.clone(),
            namespace: "default".to_owned(),
            module: module.to_owned(),
            ..Plugin::default()
        };
        let loaded = self.local.swap(&plugin).await;
        loaded.map(|_| ()).map_err(|why| why.to_string())
    }

    /// Its metrics, as a scraper sees them.
    pub(crate) fn metrics(&self) -> String {
        self.local.metrics()
    }
}
