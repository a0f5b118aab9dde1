//! A captured pod, as one worker serves it.
//!
//! A pod is served by every worker: each has listeners of its own in the pod's network namespace
//! and a pool of its own for the tunnels it opens. Nothing of a [`Pod`] leaves its worker.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hbone::headers::baggage::{Baggage, Kind};
use hbone::pool::Pool;
use http::{HeaderMap, HeaderValue};
use identity::CertSource;
use mesh::spiffe::SpiffeId;
use mesh::store::{HBONE_PORT, Store};
use mesh::workload::{SharedWorkload, Workload, WorkloadType};
use prometheus_client::metrics::gauge::Gauge;
use runtime::{Drain, LocalTasks};
use telemetry::tcp::Reporter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::Error;
use crate::netns::{self, Namespace};
use crate::report::Reporting;
use crate::state::SharedStore;

/// How long a new pod's record may take to come from the control plane.
const WORKLOAD_WAIT: Duration = Duration::from_secs(5);
/// How long a connection to somewhere may take, tunnel included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting pauses when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The port a pod's own outbound connections are redirected to.
pub(crate) const OUTBOUND_PORT: u16 = 15001;
/// The port plaintext connections to a pod are redirected to.
pub(crate) const INBOUND_PORT: u16 = 15006;
/// The port a pod's DNS queries are redirected to.
pub(crate) const DNS_PORT: u16 = 15053;

/// Ports that are ours in every captured pod; a target of ours is never one of them.
pub(crate) const OWN_PORTS: [u16; 3] = [INBOUND_PORT, OUTBOUND_PORT, HBONE_PORT];

/// Whether a port is one of [`OWN_PORTS`].
pub(crate) fn is_own_port(port: u16) -> bool {
    OWN_PORTS.contains(&port)
}

/// Who a pod is, as the node agent tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PodInfo {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
}

/// What makes two pooled connections differ. The pool is the pod's, so its own identity and
/// address are the same for all.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct PoolKey {
    pub(crate) to: SocketAddr,
    pub(crate) identities: Vec<SpiffeId>,
}

/// A captured pod on one worker.
pub(crate) struct Pod {
    pub(crate) info: PodInfo,
    pub(crate) netns: Arc<Namespace>,
    pub(crate) certificates: CertSource,
    pub(crate) store: Arc<SharedStore>,
    pub(crate) pool: Pool<PoolKey, Error>,
    pub(crate) settings: hbone::Settings,
    pub(crate) reporting: Reporting,
    pub(crate) tasks: LocalTasks,
    pub(crate) drain: Drain,
    /// Tells the process when nothing of the pod is left.
    pub(crate) _alive: mpsc::Sender<Infallible>,
}

impl Pod {
    /// The pod's own record. Until the control plane has sent it, a new pod's connections wait.
    ///
    /// # Errors
    /// When it does not come in time.
    pub(crate) async fn workload(&self) -> Result<SharedWorkload, Error> {
        if let Some(workload) = self.known(&self.store.current()) {
            return Ok(workload);
        }
        let mut changes = self.store.changes();
        let arrival = async {
            loop {
                if let Some(workload) = self.known(&self.store.current()) {
                    return Some(workload);
                }
                changes.changed().await.ok()?;
            }
        };
        let found = timeout(WORKLOAD_WAIT, arrival).await.ok().flatten();
        found.ok_or_else(|| {
            Error::UnknownWorkload(format!("{}/{}", self.info.namespace, self.info.name))
        })
    }

    fn known(&self, store: &Store) -> Option<SharedWorkload> {
        let workload = store.pod(&self.info.namespace, &self.info.name)?;
        (workload.service_account() == self.info.service_account).then(|| workload.clone())
    }

    /// Accepts until the pod is drained; each connection is a task of its own.
    pub(crate) async fn accept<F: Future<Output = ()> + 'static>(
        self: Rc<Self>,
        listener: TcpListener,
        reporter: Reporter,
        serve: impl Fn(Rc<Self>, TcpStream, SocketAddr) -> F,
    ) {
        let mut drain = self.drain.clone();
        let sockets = self.reporting.metrics.sockets(reporter);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = drain.started() => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    netns::tune(&(&stream).into());
                    let open = OpenSocket::new(&sockets);
                    let connection = serve(self.clone(), stream, netns::canonical(from));
                    self.tasks.spawn("connection", async move {
                        connection.await;
                        drop(open);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, pod = self.info.name, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Connects inside the pod, optionally in the name of a client.
    ///
    /// # Errors
    /// [`Error::Connect`], also when it takes longer than [`CONNECT_TIMEOUT`].
    pub(crate) async fn dial(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<TcpStream, Error> {
        let connected = timeout(CONNECT_TIMEOUT, self.netns.connect(to, source)).await;
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        connected.map_err(late).flatten().map_err(Error::Connect)
    }
}

/// Counts a socket for as long as it is served, however that ends.
struct OpenSocket(Gauge);

impl OpenSocket {
    fn new(sockets: &Gauge) -> Self {
        sockets.inc();
        Self(sockets.clone())
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What a tunnel's peer is told about a workload, in both directions.
pub(crate) fn baggage(workload: &Workload) -> Option<HeaderValue> {
    let text = |text: &str| (!text.is_empty()).then(|| text.into());
    let kind = match workload.workload_type {
        WorkloadType::Deployment => Kind::Deployment,
        WorkloadType::CronJob => Kind::CronJob,
        WorkloadType::Pod => Kind::Pod,
        WorkloadType::Job => Kind::Job,
    };
    let baggage = Baggage {
        cluster: text(&workload.cluster_id),
        namespace: text(&workload.namespace),
        workload: text(&workload.workload_name).map(|name| (kind, name)),
        service: text(&workload.canonical_name),
        revision: text(&workload.canonical_revision),
        region: workload.locality.region.as_deref().and_then(text),
        zone: workload.locality.zone.as_deref().and_then(text),
    };
    baggage.to_header()
}

/// The headers of a CONNECT's answer.
pub(crate) fn answer_headers(workload: &Workload) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(value) = baggage(workload) {
        headers.insert(hbone::headers::BAGGAGE, value);
    }
    headers
}
