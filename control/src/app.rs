//! Builds every part of control once, and runs it until it is told to stop. The only file that
//! knows all parts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use prometheus_client::registry::Registry;
use runtime::admin::stats::Metrics;
use runtime::admin::{Admin, ready};
use runtime::{Drain, Gates, TaskSet, log};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Routes};
use crate::ca::{Authority, CaSettings, LocalTokens, PodRef, ServiceAccount, Subject, Validity};
use crate::config::Config;
use crate::deploy::files::Folder;
use crate::events::Events;
use crate::finding::Board;
use crate::object::{Handle, Keeper};
use crate::pods::ObjectPods;
use crate::readiness;
use crate::reconcile::Reconciler;
use crate::serve::{ControlServer, Foundations, default_names};
use crate::source::Root;
use crate::source::files::Files;
use crate::translate::Translator;

/// How long waypoints may take to connect before it is said that they have not.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long open streams may take to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs control until it is told to stop.
///
/// # Errors
/// When a folder, socket or key cannot be used; the text names it.
pub fn run(config: &Config) -> Result<()> {
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

async fn serve(config: &Config, log: &log::Log) -> Result<()> {
    runtime::raise_open_file_limit();
    let tasks = TaskSet::current();
    let gates = Gates::default();
    let (trigger, drain) = runtime::drain::channel();

    let roots = roots(config);
    let board = Arc::<Board>::default();
    let saved = config.state.join("control.json");
    let (keeper, handle) = Keeper::open(Some(saved), &roots, board.clone());
    let mut ending = drain.clone();
    let keeping = keeper.run(async move {
        ending.started().await;
    });
    let sink = handle.clone();
    let files = Files::start(roots, move |event| sink.take_blocking(event))?;

    let pods = Arc::new(ObjectPods::new(handle.clone()));
    let tokens = Arc::new(LocalTokens::open(
        &config.state.join("tokens"),
        pods.clone(),
    )?);
    let authority = Arc::new(authority(config)?);
    write_roots(&config.root_cert_file, authority.roots())?;
    let server = Arc::new(ControlServer::new(Foundations {
        authority,
        reviewer: tokens.clone(),
        pods,
        settings: CaSettings {
            trust_domain: config.mesh.trust_domain.as_str().into(),
            ..CaSettings::default()
        },
        names: default_names(&config.mesh.root_namespace, &config.mesh.cluster_domain),
    })?);
    let (published, told) = watch::channel(0);
    let events = Events::default();
    let reconciler = Reconciler {
        handle: handle.clone(),
        translator: Translator::new(config.mesh.clone()),
        server: server.clone(),
        folder: Folder::open(&config.generated)?.with_kept(config.mesh.waypoint.state.clone()),
        board,
        events: events.clone(),
        patience: Instant::now() + PATIENCE,
        published,
    };

    let parts = Parts {
        handle,
        events,
        server,
        tokens,
        told,
    };
    listen(config, &tasks, &parts, drain.clone()).await?;
    local_api(config, &tasks, &parts, drain.clone())?;
    show(config, log, &tasks, &gates, &parts)?;
    tasks.spawn("reconcile", reconciler.run());
    tasks.spawn(
        "signals",
        runtime::signals::drain_on_termination(trigger, DRAIN),
    );
    tracing::info!("control has started");
    keeping.await;
    files.stop();
    tracing::info!("control has stopped");
    Ok(())
}

/// What several endpoints show.
struct Parts {
    handle: Handle,
    events: Events,
    server: Arc<ControlServer>,
    tokens: Arc<LocalTokens>,
    told: watch::Receiver<u64>,
}

/// What people wrote comes before what the runner wrote, and that before what we wrote ourselves.
fn roots(config: &Config) -> Vec<Root> {
    let written = config.manifests.iter().chain([&config.generated]);
    let mut roots: Vec<_> = (0..)
        .zip(written)
        .map(|(order, path)| Root::Written {
            order,
            path: path.as_path().into(),
        })
        .collect();
    roots.push(Root::Recorded {
        order: 0,
        path: config.objects.as_path().into(),
    });
    roots
}

fn authority(config: &Config) -> Result<Authority> {
    let validity = Validity::default();
    Ok(if let Some(folder) = &config.authority {
        Authority::from_folder(folder, validity)?
    } else {
        let folder = config.state.join("ca");
        Authority::self_made(&folder, &config.mesh.trust_domain, validity)?
    })
}

/// Proxies read the file while it is replaced: it is whole at every moment.
fn write_roots(file: &Path, roots: &str) -> Result<()> {
    let draft = file.with_extension("new");
    std::fs::write(&draft, roots)
        .and_then(|()| std::fs::rename(&draft, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Serves discovery and certificates. The port is open, and proxies wait, before there is
/// anything to tell.
async fn listen(config: &Config, tasks: &TaskSet, parts: &Parts, mut drain: Drain) -> Result<()> {
    let address = config.serve_addr;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve discovery at {address}"))?;
    let (server, shutdown) = (parts.server.clone(), CancellationToken::new());
    let stop = shutdown.clone();
    tasks.spawn("discovery", async move {
        if let Err(error) = server.run(listener, shutdown).await {
            tracing::error!(error = %runtime::report(&error), "discovery has ended");
        }
    });
    tasks.spawn("discovery stop", async move {
        drain.started().await;
        stop.cancel();
    });
    Ok(())
}

fn local_api(config: &Config, tasks: &TaskSet, parts: &Parts, mut drain: Drain) -> Result<()> {
    let routes = api::objects(parts.handle.clone(), parts.events.clone())
        .and(token_route(parts.tokens.clone()))
        .and(readiness_route(config, parts));
    let api = api::Server::bind(&config.socket, routes)
        .with_context(|| format!("cannot serve the local API at {}", config.socket.display()))?;
    let serving = api.serve(async move {
        drain.started().await;
    });
    tasks.spawn("local api", serving);
    Ok(())
}

/// Whom the runner wants a token for, as a kubelet asks `TokenRequest`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    namespace: String,
    service_account: String,
    pod: String,
    pod_uid: String,
    node: String,
    audience: String,
}

fn token_route(tokens: Arc<LocalTokens>) -> Routes {
    Routes::new().on(Method::POST, "/token", move |request| {
        let tokens = tokens.clone();
        async move {
            let body = match api::read_body(request).await {
                Ok(body) => body,
                Err(answer) => return *answer,
            };
            let wanted: TokenRequest = match serde_json::from_slice(&body) {
                Ok(wanted) => wanted,
                Err(error) => return api::error(StatusCode::BAD_REQUEST, &error.to_string()),
            };
            let subject = Subject {
                account: ServiceAccount::new(&wanted.namespace, &wanted.service_account),
                pod: PodRef {
                    name: wanted.pod,
                    uid: wanted.pod_uid,
                },
                node: wanted.node,
            };
            match tokens.issue(&subject, &wanted.audience) {
                Ok(token) => api::json(StatusCode::OK, &json!({"token": token.token.expose()})),
                Err(error) => {
                    api::error(StatusCode::INTERNAL_SERVER_ERROR, &runtime::report(&error))
                }
            }
        }
    })
}

fn readiness_route(config: &Config, parts: &Parts) -> Routes {
    let root_namespace = config.mesh.root_namespace.clone();
    let (handle, server, told) = (
        parts.handle.clone(),
        parts.server.clone(),
        parts.told.clone(),
    );
    Routes::new().on(Method::GET, "/readiness", move |_| {
        let objects = handle.objects();
        let mut report = readiness::report(&objects, &server.clients(), &root_namespace);
        if *told.borrow() < objects.revision() {
            report.ready = false;
            report
                .waiting
                .push("the newest objects have not been translated yet".to_owned());
        }
        async move { api::json(StatusCode::OK, &report) }
    })
}

fn show(
    config: &Config,
    log: &log::Log,
    tasks: &TaskSet,
    gates: &Gates,
    parts: &Parts,
) -> Result<()> {
    let mut registry = Registry::default();
    runtime::process::register(&mut registry);
    telemetry::build::register(registry.sub_registry_with_prefix("istio"), "pilot");
    let metrics = Metrics::new(registry);
    let (gate, handle) = (gates.gate("objects"), parts.handle.clone());
    tasks.spawn("objects ready", async move {
        if handle.synced().await.is_ok() {
            gate.ready();
        }
    });
    let (handle, server) = (parts.handle.clone(), parts.server.clone());
    let admin = Admin::new("control").logging(log.levels().clone()).json(
        "/config_dump",
        "every object, and what each proxy has accepted",
        move || dump(&handle, &server),
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

fn dump(handle: &Handle, server: &ControlServer) -> Value {
    let objects: Vec<_> = handle
        .objects()
        .iter()
        .map(|object| object.to_json())
        .collect();
    json!({
        "objects": objects,
        "clients": server.clients(),
        "findings": handle.board().all(),
        "version": {"version": env!("CARGO_PKG_VERSION")},
    })
}
