//! Builds every part of a ztunnel once, and runs it until it is told to stop. The only file that
//! knows all parts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use identity::Keyring;
use prometheus_client::registry::Registry;
use runtime::admin::stats::Metrics;
use runtime::admin::{Admin, ready};
use runtime::{Gates, TaskSet, Workers, log};
use serde_json::{Value, json};
use telemetry::dns::DnsMetrics;
use telemetry::tcp::TcpMetrics;
use telemetry::xds::XdsMetrics;
use tokio::sync::mpsc;

use crate::certificates::Certificates;
use crate::config::Config;
use crate::connections::{OpenConnections, PodStates};
use crate::inpod::Manager;
use crate::report::Reporting;
use crate::served::{DnsConfig, PodMetrics, ProcessDrain, Server};
use crate::state::{SharedStore, StoreWriter};
use crate::{control_plane, dump};

/// Runs a ztunnel with settings from the environment until it is told to stop.
///
/// # Errors
/// When a setting cannot be used or a socket cannot be opened; the text names it.
pub fn run(env: &impl Fn(&str) -> Option<String>) -> Result<()> {
    let config = Config::load(env)?;
    let log = log::Log::install(&log::Config {
        format: if config.log_json {
            log::Format::Json
        } else {
            log::Format::Text
        },
        filter: config.log_filter.clone(),
    })?;
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = control.block_on(serve(config, &log));
    log.flush();
    result
}

async fn serve(config: Config, log: &log::Log) -> Result<()> {
    runtime::raise_open_file_limit();
    let tasks = TaskSet::current();
    let gates = Gates::default();
    let (trigger, mut drain) = runtime::drain::channel();
    let metrics = Metrics::new(Registry::default());
    let store = Arc::new(SharedStore::new());

    let (keyring, renewal) = control_plane::keyring(&config).map_err(|e| anyhow!(e))?;
    let certificates = Certificates::new(keyring.clone());
    tasks.spawn("certificates", renewal.run());

    let (alive, mut all_gone) = mpsc::channel(1);
    let workers = Arc::new(Workers::start(config.workers, "ztunnel")?);
    let process = ProcessDrain {
        drain: drain.clone(),
        grace: config.drain,
    };
    metrics.register(|registry| workers.register(registry));
    let states = PodStates::default();
    let hbone = hbone::Settings::default();
    let resolvers = resolvers(&config.resolv_conf);
    let server = metrics.register(|registry| Server {
        workers: workers.clone(),
        store: store.clone(),
        certificates: certificates.clone(),
        reporting: reporting(log, registry),
        metrics: PodMetrics::register(registry),
        states: states.clone(),
        trust_domain: config.place.trust_domain.clone(),
        hbone: hbone.clone(),
        dns: dns(&config, resolvers.clone(), registry),
        process,
        alive,
    });
    let manager = Manager::new(
        &config.inpod_socket,
        server,
        gates.gate("workload proxy manager"),
    );
    discover(
        &config,
        &tasks,
        &gates,
        StoreWriter::new(store.clone(), certificates, &config.place.node),
        &metrics,
    )?;
    show(
        &config,
        log,
        Shown {
            tasks: &tasks,
            gates: &gates,
            metrics: &metrics,
            settings: config.dump(&hbone, &resolvers),
            store,
            keyring,
            states,
        },
    )?;

    tasks.spawn(
        "signals",
        runtime::signals::drain_on_termination(trigger, config.drain),
    );
    tracing::info!(
        node = config.place.node,
        workers = workers.len(),
        "ztunnel has started"
    );
    tokio::select! {
        () = manager.run() => {}
        // The manager goes and its pods with it: they take nothing new from here on.
        _ = drain.started() => {}
    }
    tokio::select! {
        _ = all_gone.recv() => {}
        () = drain.expired() => {}
    }
    tracing::info!("ztunnel has stopped");
    Ok(())
}

fn reporting(log: &log::Log, registry: &mut Registry) -> Reporting {
    let istio = registry.sub_registry_with_prefix("istio");
    telemetry::build::register(istio, "ztunnel");
    Reporting {
        metrics: TcpMetrics::register(istio),
        access: log.access().clone(),
        open: OpenConnections::default(),
    }
}

fn dns(config: &Config, resolvers: Vec<SocketAddr>, registry: &mut Registry) -> Option<DnsConfig> {
    if !config.dns {
        return None;
    }
    if resolvers.is_empty() {
        let file = config.resolv_conf.display();
        tracing::warn!(%file, "no resolver found: names outside of the mesh will not resolve");
    }
    Some(DnsConfig {
        cluster_domain: config.place.cluster_domain.clone(),
        resolvers,
        metrics: DnsMetrics::register(registry.sub_registry_with_prefix("istio")),
    })
}

/// The `nameserver` lines of a resolver configuration.
fn resolvers(file: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words
            .next()
            .filter(|word| *word == "nameserver")
            .and(words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, 53))
    };
    text.lines().filter_map(address).collect()
}

/// Keeps the store up to date; ready once policies and addresses have come for the first time.
fn discover(
    config: &Config,
    tasks: &TaskSet,
    gates: &Gates,
    writer: StoreWriter,
    metrics: &Metrics,
) -> Result<()> {
    let counters = metrics
        .register(|registry| XdsMetrics::register(registry.sub_registry_with_prefix("istio")));
    let mut client = control_plane::discovery(config, writer, counters).map_err(|e| anyhow!(e))?;
    let (mut ready, gate) = (client.ready(), gates.gate("state manager"));
    tasks.spawn("discovery", async move { client.run().await });
    tasks.spawn("discovery ready", async move {
        // The client lives as long as the process.
        if ready.wait_for(|ready| *ready).await.is_ok() {
            gate.ready();
        }
    });
    Ok(())
}

/// What can be looked at from outside.
struct Shown<'a> {
    tasks: &'a TaskSet,
    gates: &'a Gates,
    metrics: &'a Metrics,
    store: Arc<SharedStore>,
    keyring: Keyring,
    states: PodStates,
    settings: Value,
}

fn show(config: &Config, log: &log::Log, shown: Shown<'_>) -> Result<()> {
    let Shown {
        tasks,
        gates,
        metrics,
        store,
        keyring,
        states,
        settings,
    } = shown;
    metrics.register(runtime::process::register);
    let admin = Admin::new("ztunnel").logging(log.levels().clone()).json(
        "/config_dump",
        "everything this ztunnel knows",
        move || config_dump(&store, &keyring, &states, &settings),
    );
    let bound = |what, address| format!("cannot serve {what} at {address}");
    admin
        .serve(config.admin_addr, tasks)
        .with_context(|| bound("admin", config.admin_addr))?;
    metrics
        .serve(config.stats_addr, tasks)
        .with_context(|| bound("metrics", config.stats_addr))?;
    ready::serve(gates, config.readiness_addr, tasks)
        .with_context(|| bound("readiness", config.readiness_addr))?;
    Ok(())
}

/// Everything this ztunnel knows. Nothing waits for its service to be known, and there is no
/// state but what the control plane sends, so two keys of Istio's are always empty.
fn config_dump(
    store: &SharedStore,
    keyring: &Keyring,
    states: &PodStates,
    settings: &Value,
) -> Value {
    let mut dump = dump::store(&store.current());
    let nothing = json!({"workloads": [], "services": [], "policies": []});
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let version = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "buildProfile": build,
        "cryptoProvider": "tls-aws-lc",
    });
    let parts = [
        ("certificates", json!(keyring.dump())),
        ("config", settings.clone()),
        ("stagedServices", json!({})),
        ("staticConfig", nothing),
        ("version", version),
        ("workloadState", states.dump()),
    ];
    dump.extend(parts.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(dump)
}
