//! A waypoint on loopback, without a mesh: for whoever writes a filter.
//!
//! Requests come over plain HTTP and go to plain HTTP; in between is the pipeline of every
//! waypoint, with the snapshot, the writer, the loader and the workers of every waypoint. What a
//! control plane would have told is made up here: services at given addresses, and one plugin in
//! front of the first of them. Whoever connects counts as one given identity.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use identity::{Certified, Fetcher, Keyring};
use mesh::spiffe::SpiffeId;
use prometheus_client::registry::Registry;
use prost::Message;
use runtime::admin::stats::Metrics;
use runtime::drain::Trigger;
use runtime::log::AccessLog;
use runtime::{TaskSet, Workers};
use telemetry::span::Spans;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use xds::client::{Handler, Refusals, Reports, Resource, Update};

use crate::app::{self, Families, Parts};
use crate::config::Config;
use crate::http::context::{Destination, Peer, Tunnel};
use crate::http::report::Series;
use crate::listener;
use crate::plugins::Standings;
use crate::plugins::fetch::Loader;
use crate::sniff::sniff;
use crate::state::{SharedWriter, State, Writer};
use crate::worker::{Reporting, Worker};

mod world;

#[cfg(test)]
mod tests;

pub use wasm_host::Trace;
pub use world::Service;

/// What the one plugin is called on the wire.
const PLUGIN: &str = "filter";

/// How a local waypoint is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// What can be reached: requests go to the first, callouts to all.
    pub services: Vec<Service>,
    /// Who its clients are, as namespace and service account.
    pub client: (String, String),
    /// Threads that serve requests.
    pub workers: usize,
    /// Where crossings between proxy and guest are written.
    pub trace: Option<Trace>,
    /// Where compiled modules are kept; see [`wasm_host::HostSettings::cache`].
    pub code_cache: Option<PathBuf>,
    /// Where lines about requests go.
    pub access: Option<AccessLog>,
}

impl Settings {
    /// Serves this service on any port of loopback, with one worker, and tells nothing.
    pub fn new(service: Service) -> Self {
        Self {
            listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
            services: vec![service],
            client: ("default".to_owned(), "client".to_owned()),
            workers: 1,
            trace: None,
            code_cache: None,
            access: None,
        }
    }
}

/// A filter and its configuration, as a `WasmPlugin` would have it.
#[derive(Clone, Debug, Default)]
pub struct Plugin {
    /// The name in logs and in the property `plugin_name`.
    pub name: String,
    /// Whose plugin it is; nothing is shared with plugins of other namespaces.
    pub namespace: String,
    /// Its module, an absolute path.
    pub module: PathBuf,
    /// What the guest reads when it is configured.
    pub configuration: Vec<u8>,
    /// Chooses among several filters of one module; usually empty.
    pub root_id: String,
    /// The guest's environment.
    pub environment: BTreeMap<String, String>,
    /// Whether a guest that stops at headers still gets the body.
    pub body_while_headers_wait: bool,
    /// What happens to requests when it cannot run.
    pub fail_strategy: FailStrategy,
    /// Processor time of one call into it; `None`: as much as in any waypoint.
    pub callback_budget: Option<Duration>,
}

/// What happens to requests when a plugin cannot run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FailStrategy {
    /// They are refused.
    #[default]
    Close,
    /// They pass without it.
    Open,
    /// They are refused, and the plugin is started again at once.
    Reload,
}

/// Why a plugin is not used; what was in use before still is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A waypoint on loopback that serves. Dropping it ends everything at once.
pub struct Local {
    address: SocketAddr,
    writer: SharedWriter,
    state: Arc<State>,
    idle: watch::Receiver<bool>,
    metrics: Metrics,
    drain: Trigger,
    tasks: TaskSet,
    workers: Workers,
    serving: watch::Receiver<()>,
    generation: i64,
    opened: watch::Sender<bool>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Local {
    /// Starts one. Must be called inside a runtime, which has to run on; requests are served by
    /// threads of their own.
    ///
    /// # Errors
    /// When it cannot listen, or a setting makes no sense.
    pub fn start(settings: &Settings) -> Result<Self> {
        let config = world::config()?;
        let tasks = TaskSet::current();
        let (drain, watch) = runtime::drain::channel();
        let mut registry = Registry::default();
        let families = Families::register(&mut registry);
        // Nothing is asked of an authority: all that is spoken here is plain.
        let (keyring, _renewal) = Keyring::new(NoAuthority);
        let identity = |namespace: &str, account: &str| {
            SpiffeId::workload(&config.place.trust_domain, namespace, account)
                .with_context(|| format!("{namespace}/{account} makes no identity"))
        };
        let place = &config.place;
        let own = identity(&place.namespace, &place.service_account)?;
        let certificate = keyring.source(&own);
        let client = identity(&settings.client.0, &settings.client.1)?;

        let state = Arc::new(State::new(place));
        let (mut writer, loads) = Writer::new(Arc::clone(&state));
        let Some(first) = settings.services.first() else {
            bail!("there is no service to send requests to");
        };
        let refused = writer.apply(proto::ADDRESS_TYPE, world::addresses(&settings.services));
        if let Some(refused) = refused.first() {
            bail!("{} cannot be a service: {}", refused.name, refused.reason);
        }
        let idle = writer.idle();
        let writer = SharedWriter::new(writer);
        let host = wasm_host::Host::new(wasm_host::HostSettings {
            cache: settings.code_cache.clone(),
            ..wasm_host::HostSettings::default()
        })?;
        let loader =
            Loader::new(host, writer.clone(), Refusals::unheard()).traced(settings.trace.clone());
        tasks.spawn("plugins", loader.run(loads, tasks.clone()));

        let (opened, opening) = watch::channel(false);
        let parts = Parts {
            state: Arc::clone(&state),
            certificate,
            identity: own,
            drain: watch,
            reporting: Reporting {
                http: families.http,
                tcp: families.tcp,
                access: settings.access.clone(),
                spans: Spans::default(),
            },
            plugins: families.plugins,
            standings: Standings::new(Reports::default()),
            opened: opening,
        };
        let front = Front {
            client,
            service: first.clone(),
        };
        let (address, workers, serving) = serve(&config, &parts, &front, settings)?;
        Ok(Self {
            address,
            writer,
            state,
            idle,
            metrics: Metrics::new(registry),
            drain,
            tasks,
            workers,
            serving,
            generation: 0,
            opened,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to take requests. Before, they wait.
    pub fn open(&self) {
        self.opened.send_replace(true);
    }

    /// Puts a plugin in the place of the one that runs, if any. Requests under way stay with that
    /// one; none is lost.
    ///
    /// # Errors
    /// When the new one cannot run; the old one goes on.
    pub async fn swap(&mut self, plugin: &Plugin) -> std::result::Result<Loaded, Refused> {
        self.generation += 1;
        let message = world::plugin(plugin, self.generation);
        let update = Update::Put(Resource {
            name: PLUGIN.to_owned(),
            aliases: vec![],
            version: self.generation.to_string(),
            bytes: message.encode_to_vec().into(),
        });
        let refused = self
            .writer
            .with(|writer| writer.apply(proto::PLUGIN_TYPE, vec![update]));
        if let Some(refused) = refused.into_iter().next() {
            return Err(Refused(refused.reason));
        }
        // The writer lives in `self`.
        let _ = self.idle.wait_for(|idle| *idle).await;
        if let Some(why) = self.writer.with(|writer| writer.failure(PLUGIN)) {
            return Err(Refused(why.to_string()));
        }
        let sha256 = self.state.current().plugin_digest(PLUGIN);
        sha256
            .map(|sha256| Loaded { sha256 })
            .ok_or_else(|| Refused("it was not loaded".to_owned()))
    }

    /// All metrics, as Prometheus reads them.
    pub fn metrics(&self) -> String {
        self.metrics.encode()
    }

    /// Ends after requests under way had their time.
    pub async fn stop(mut self, grace: Duration) {
        self.drain.start(grace);
        self.open();
        // Workers hold the sender until nothing is open on them any more.
        let _ = self.serving.changed().await;
        self.workers.finish(Instant::now()).await;
        self.tasks.stop().await;
    }
}

/// A plugin that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Loaded {
    /// Digest of its module, in hexadecimal.
    pub sha256: String,
}

/// Whom requests come from and where they go, made up for each connection.
#[derive(Clone, Debug)]
struct Front {
    client: SpiffeId,
    service: Service,
}

/// Opens the port and starts the workers.
fn serve(
    config: &Config,
    parts: &Parts,
    front: &Front,
    settings: &Settings,
) -> Result<(SocketAddr, Workers, watch::Receiver<()>)> {
    let listen = settings.listen;
    let first = listener::open(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let address = first.local_addr()?;
    let more = (1..settings.workers)
        .map(|_| listener::open(address))
        .collect::<std::io::Result<Vec<_>>>()?;
    let workers = Workers::start(settings.workers, "worker")?;
    let (alive, serving) = watch::channel(());
    let alive = Arc::new(alive);
    for (index, socket) in [first].into_iter().chain(more).enumerate() {
        let (parts, config, front) = (parts.clone(), config.clone(), front.clone());
        let alive = Arc::clone(&alive);
        workers.run_on(index, move |tasks| async move {
            let mut opened = parts.opened.clone();
            let worker = Rc::new(app::worker(&config, parts, index, tasks));
            // The sender goes only when everything ends.
            let _ = opened.wait_for(|opened| *opened).await;
            if let Err(error) = accept(&worker, socket, &Rc::new(front)).await {
                tracing::error!(%error, "the listener failed");
            }
            app::linger(&worker).await;
            drop(alive);
        });
    }
    Ok((address, workers, serving))
}

/// Accepts until the drain starts; connections that are open then go on.
async fn accept(
    worker: &Rc<Worker>,
    socket: std::net::TcpListener,
    front: &Rc<Front>,
) -> std::io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    let mut drain = worker.drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = drain.started() => return Ok(()),
        };
        match accepted {
            Ok((stream, from)) => {
                let connection = connection(Rc::clone(worker), Rc::clone(front), stream, from);
                worker.connections.spawn("local connection", connection);
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(listener::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection as if it were a tunnel to the service.
async fn connection(worker: Rc<Worker>, front: Rc<Front>, stream: TcpStream, from: SocketAddr) {
    listener::tune(&stream);
    let snapshot = worker.state.current();
    let Some(entry) = snapshot.store().service(&front.service.key()) else {
        return;
    };
    let destination = Destination::Service(entry.service.clone(), front.service.port);
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let peer = Rc::new(Peer::new(front.client.clone(), from));
    let tunnel = Rc::new(Tunnel {
        source: None,
        asked: Some(front.service.asked()),
        worker,
        peer,
        destination,
        upgrade: RefCell::default(),
        leave: Notify::default(),
        series: Series::default(),
    });
    drop(snapshot);
    let mut drain = tunnel.worker.drain.clone();
    let sniffed = tokio::select! {
        sniffed = sniff(stream, true) => sniffed,
        _ = drain.started() => return,
    };
    match sniffed {
        Ok((protocol, stream)) => {
            Box::pin(crate::http::server::serve(tunnel, stream, protocol)).await;
        }
        Err(error) => tracing::debug!(%error, "connection broke before its first bytes"),
    }
}

/// Where no certificates come from.
struct NoAuthority;

impl Fetcher for NoAuthority {
    fn fetch(
        &self,
        _: &SpiffeId,
    ) -> impl Future<Output = std::result::Result<Certified, identity::Error>> + Send {
        std::future::pending()
    }
}

/// Where services are said to be: a network nobody has.
const fn vip(index: u8) -> IpAddr {
    // TEST-NET-2 of RFC 5737.
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, index))
}
