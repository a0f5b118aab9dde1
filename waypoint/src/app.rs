//! Builds every part once, and is the only file that knows all parts.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use identity::ca::{CaClient, RequestShape};
use identity::channel;
use identity::{CertSource, Fetcher, Keyring};
use mesh::spiffe::SpiffeId;
use prometheus_client::registry::Registry;
use runtime::admin::stats::Metrics;
use runtime::drain::Trigger;
use runtime::log::{self, AccessLog, Levels, Log};
use runtime::readiness::{Gates, Readiness};
use runtime::{Drain, TaskSet, Workers};
use telemetry::http::HttpMetrics;
use telemetry::span::Spans;
use telemetry::tcp::TcpMetrics;
use telemetry::wasm::PluginMetrics;
use telemetry::xds::XdsMetrics;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin::{Addresses, Shown};
use crate::config::{Config, Place};
use crate::connect::Connector;
use crate::discovery::{self, Discovery};
use crate::draw::Draw;
use crate::endpoint::Loads;
use crate::http::upstream::Upstreams;
use crate::listener;
use crate::plugins::fetch::{self, Loader};
use crate::plugins::{Allowance, NodeFacts, Reach, Standings, Vms};
use crate::state::{SharedWriter, State, Writer};
use crate::worker::{Reporting, Worker};

/// What a waypoint logs to.
#[derive(Clone, Debug)]
pub struct Logs {
    /// Lines of requests.
    pub access: AccessLog,
    /// Switch of all other lines.
    pub levels: Option<Levels>,
}

impl Logs {
    /// Logs nothing of requests.
    pub fn none() -> Self {
        Self {
            access: AccessLog::disabled(),
            levels: None,
        }
    }
}

/// A waypoint with its ports open. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Bound {
    /// Where HBONE is served.
    pub hbone: SocketAddr,
    /// Where it shows itself.
    pub addresses: Addresses,
    gates: Gates,
    drain: Trigger,
    tasks: TaskSet,
    workers: Workers,
    /// Open while any worker serves.
    serving: watch::Receiver<()>,
}

/// Runs a waypoint with settings from the environment until it is told to stop.
///
/// # Errors
/// When a setting cannot be used or a socket cannot be opened; the text names it.
pub fn run(env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let config = Config::load(env)?;
    let format = if config.log_json {
        log::Format::Json
    } else {
        log::Format::Text
    };
    let log = Log::install(&log::Config {
        format,
        filter: config.log_filter.clone(),
    })?;
    let logs = Logs {
        access: log.access().clone(),
        levels: Some(log.levels().clone()),
    };
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = control.block_on(async {
        runtime::raise_open_file_limit();
        let bound = build(&config, logs)?;
        tracing::info!(hbone = %bound.hbone, admin = %bound.addresses.admin, "waypoint started");
        bound.run(config.drain).await;
        Ok(())
    });
    log.flush();
    result
}

/// Builds a waypoint that gets certificates and configuration from a control plane.
///
/// Must be called inside the runtime of the control thread, which also has to run on.
///
/// # Errors
/// When a setting cannot be used or a port not be opened.
pub fn build(config: &Config, logs: Logs) -> Result<Bound> {
    let ca = channel::open_authenticated(&config.ca, discovery::credentials(config)?)?;
    let shape = RequestShape {
        impersonate: false,
        validity: config.secret_ttl,
        trust_domain_aliases: config.place.trust_domain_aliases.clone().into(),
    };
    build_with(config, logs, CaClient::new(ca, shape))
}

/// As [`build`], with another source of certificates.
///
/// # Errors
/// As [`build`].
pub fn build_with<F: Fetcher>(config: &Config, logs: Logs, fetcher: F) -> Result<Bound> {
    let tasks = TaskSet::current();
    let gates = Gates::default();
    let (drain, watch) = runtime::drain::channel();
    let mut registry = Registry::default();
    runtime::process::register(&mut registry);
    let families = Families::register(&mut registry);

    let (keyring, renewal) = Keyring::new(fetcher);
    let place = &config.place;
    let id = own_identity(place)?;
    let certificate = keyring.source(&id);
    tasks.spawn("certificates", renewal.run());
    let has_certificate = gates.gate("certificate");
    tasks.spawn(
        "first certificate",
        first_certificate(certificate.clone(), has_certificate),
    );

    let state = Arc::new(State::new(place));
    let (writer, loads) = Writer::new(Arc::clone(&state));
    let idle = writer.idle();
    let writer = SharedWriter::new(writer);
    let (host, modules) = of_modules(config, &mut registry)?;
    let Discovery {
        synced,
        refusals,
        reports,
    } = discovery::start(config, writer.clone(), families.xds.clone(), &tasks)?;
    let standings = Standings::new(reports);
    writer.with(|writer| writer.told_by(standings.clone()));
    let has_state = gates.gate("state");
    let (open, opened) = watch::channel(false);
    let surroundings = fetch::Surroundings {
        modules,
        standings: standings.clone(),
        state: Arc::clone(&state),
        serves: opened.clone(),
        purge: config.modules.purge,
    };
    let loader = Loader::new(host, writer, refusals).within(surroundings, &tasks);
    tasks.spawn("plugins", loader.run(loads, tasks.clone()));
    tasks.spawn("first state", first_state(synced, idle, has_state, open));

    let reporting = Reporting {
        http: families.http,
        tcp: families.tcp,
        access: config.access_log.then_some(logs.access),
        spans: Spans::default(),
    };
    let spans = reporting.spans.clone();
    let parts = Parts {
        state: Arc::clone(&state),
        certificate,
        identity: id,
        drain: watch,
        reporting,
        plugins: families.plugins,
        standings,
        opened,
    };
    let (hbone, workers, serving) = start(config, &parts)?;
    let shown = Shown {
        place: place.clone(),
        state,
        spans,
        keyring,
        metrics: Metrics::new(registry),
        gates: gates.clone(),
        levels: logs.levels,
    };
    let addresses = shown.serve(&config.listen, &tasks)?;
    Ok(Bound {
        hbone,
        addresses,
        gates,
        drain,
        tasks,
        workers,
        serving,
    })
}

fn own_identity(place: &Place) -> Result<SpiffeId> {
    SpiffeId::workload(
        &place.trust_domain,
        &place.namespace,
        &place.service_account,
    )
    .context("TRUST_DOMAIN, POD_NAMESPACE and SERVICE_ACCOUNT make no identity")
}

/// What compiles modules, and what gets them.
fn of_modules(
    config: &Config,
    registry: &mut Registry,
) -> Result<(wasm_host::Host, modules::Fetcher)> {
    let wasm = &config.modules;
    let host = wasm_host::Host::new(wasm_host::HostSettings {
        module_bytes: usize::try_from(wasm.settings.max_module)?,
        cache: wasm.compiled.clone(),
        ..wasm_host::HostSettings::default()
    })?;
    let modules = modules::Fetcher::new(wasm.settings.clone()).context("STATE_DIR")?;
    fetch::metrics::register(registry, modules.clone());
    Ok((host, modules))
}

impl Bound {
    /// Resolves when requests can be served. Cancel safe.
    pub async fn ready(&self) {
        self.gates.ready().await;
    }

    /// Ends on SIGTERM or SIGINT, after what is open had its time.
    pub async fn run(self, grace: Duration) {
        let Self {
            drain,
            tasks,
            workers,
            mut serving,
            ..
        } = self;
        tasks.spawn(
            "signals",
            runtime::signals::drain_on_termination(drain, grace),
        );
        // Workers hold the sender until nothing is open on them any more.
        let _ = serving.changed().await;
        tracing::info!("drained");
        workers.finish(Instant::now()).await;
    }

    /// Ends after what is open had its time.
    pub async fn stop(mut self, grace: Duration) {
        self.drain.start(grace);
        let _ = self.serving.changed().await;
        self.workers.finish(Instant::now()).await;
        self.tasks.stop().await;
    }
}

/// Metric families of the process.
pub(crate) struct Families {
    pub(crate) http: HttpMetrics,
    pub(crate) tcp: TcpMetrics,
    pub(crate) xds: XdsMetrics,
    pub(crate) plugins: PluginMetrics,
}

impl Families {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let istio = registry.sub_registry_with_prefix("istio");
        telemetry::build::register(istio, "proxy");
        Self {
            http: HttpMetrics::register(istio),
            tcp: TcpMetrics::register(istio),
            xds: XdsMetrics::register(istio),
            plugins: PluginMetrics::register(registry),
        }
    }
}

/// What every worker is made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) state: Arc<State>,
    pub(crate) certificate: CertSource,
    /// Who that certificate is for.
    pub(crate) identity: SpiffeId,
    pub(crate) drain: Drain,
    pub(crate) reporting: Reporting,
    pub(crate) plugins: PluginMetrics,
    pub(crate) standings: Standings,
    /// Becomes true when there is something to decide by.
    pub(crate) opened: watch::Receiver<bool>,
}

/// Opens the ports and starts the workers. They accept once there is something to decide by: a
/// waypoint that knows no policies yet must not take that for permission.
fn start(config: &Config, parts: &Parts) -> Result<(SocketAddr, Workers, watch::Receiver<()>)> {
    let count = config.workers;
    let first = listener::open(config.listen.hbone)
        .with_context(|| format!("cannot listen on {}", config.listen.hbone))?;
    let hbone = first.local_addr()?;
    let more = (1..count)
        .map(|_| listener::open(hbone))
        .collect::<std::io::Result<Vec<_>>>()?;
    let workers = Workers::start(count, "worker")?;
    let (alive, serving) = watch::channel(());
    let alive = Arc::new(alive);
    for (index, socket) in [first].into_iter().chain(more).enumerate() {
        let (parts, config, alive) = (parts.clone(), config.clone(), Arc::clone(&alive));
        workers.run_on(index, move |tasks| async move {
            let mut opened = parts.opened.clone();
            let mut drain = parts.drain.clone();
            let worker = Rc::new(worker(&config, parts, index, tasks));
            tokio::select! {
                _ = opened.wait_for(|opened| *opened) => {}
                _ = drain.started() => return,
            }
            if let Err(error) = listener::accept(Rc::clone(&worker), socket).await {
                tracing::error!(%error, "a listener failed");
            }
            // Connections that are open keep the process; when the last has ended, so has it.
            linger(&worker).await;
            drop(alive);
        });
    }
    Ok((hbone, workers, serving))
}

/// Waits until the connections of a worker have ended, or had their time and a moment to say so.
pub(crate) async fn linger(worker: &Worker) {
    const FAREWELL: Duration = Duration::from_millis(200);
    let mut drain = worker.drain.clone();
    let end = async {
        drain.expired().await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = worker.connections.finished() => {}
        () = end => {}
    }
}

pub(crate) fn worker(
    config: &Config,
    parts: Parts,
    index: usize,
    tasks: runtime::LocalTasks,
) -> Worker {
    let own = SocketAddr::new(config.place.instance_ip, 0);
    let connector = Rc::new(Connector::new(
        parts.certificate.clone(),
        own,
        tasks.clone(),
    ));
    let upstreams = Rc::new(Upstreams::new(Rc::clone(&connector), tasks.clone()));
    let (loads, draw) = (Rc::new(Loads::default()), Rc::new(Draw::new()));
    let reach = Reach {
        state: Arc::clone(&parts.state),
        upstreams: Rc::clone(&upstreams),
        loads: Rc::clone(&loads),
        draw: Rc::clone(&draw),
        node: NodeFacts::of(&config.place),
    };
    let held = Allowance::new(parts.plugins.held_bodies(), config.held_bodies);
    let vms = Vms::new(tasks.clone(), reach, parts.plugins, parts.standings, index);
    vms.follow(Arc::clone(&parts.state));
    Worker {
        state: parts.state,
        certificate: parts.certificate,
        identity: parts.identity,
        drain: parts.drain,
        draw,
        loads,
        upstreams,
        connector,
        vms,
        held,
        normalization: config.path_normalization,
        reporting: parts.reporting,
        connections: runtime::LocalTasks::default(),
        tasks,
    }
}

async fn first_certificate(certificate: CertSource, gate: Readiness) {
    if certificate.available().await.is_ok() {
        gate.ready();
    }
}

/// Opens the workers when the first answer of every type has been applied and the plugins of
/// that time are loaded, or known to be unusable.
async fn first_state(
    mut synced: watch::Receiver<bool>,
    mut idle: watch::Receiver<bool>,
    gate: Readiness,
    open: watch::Sender<bool>,
) {
    /// A plugin that takes longer is treated as its `failStrategy` says.
    const PATIENCE: Duration = Duration::from_secs(12);
    if synced.wait_for(|synced| *synced).await.is_err() {
        return;
    }
    let loaded = idle.wait_for(|idle| *idle);
    if tokio::time::timeout(PATIENCE, loaded).await.is_err() {
        tracing::warn!("some plugins are still being loaded; serving without waiting for them");
    }
    open.send_replace(true);
    gate.ready();
    // Workers watch the sender.
    std::future::pending::<()>().await;
}
