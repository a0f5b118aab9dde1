//! Starts serving a pod on every worker, and stops again.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hbone::pool::Pool;
use mesh::spiffe::SpiffeId;
use mesh::store::HBONE_PORT;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runtime::{Drain, LocalTasks, Workers, drain};
use telemetry::dns::DnsMetrics;
use telemetry::tcp::Reporter;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use crate::certificates::Certificates;
use crate::connections::{OpenConnections, PodStates, ServedEntry};
use crate::inpod::Pods;
use crate::netns::Namespace;
use crate::pod::{INBOUND_PORT, OUTBOUND_PORT, Pod, PodInfo};
use crate::report::Reporting;
use crate::state::SharedStore;
use crate::{dns, inbound, outbound, passthrough};

/// How long connections of a pod that left live on. They end earlier with the pod.
pub(crate) const LEAVE_DRAIN: Duration = Duration::from_mins(10);

/// What serving a pod takes. One for the process.
pub(crate) struct Server {
    pub(crate) workers: Arc<Workers>,
    pub(crate) store: Arc<SharedStore>,
    pub(crate) certificates: Certificates,
    pub(crate) reporting: Reporting,
    pub(crate) metrics: PodMetrics,
    pub(crate) states: PodStates,
    pub(crate) trust_domain: String,
    pub(crate) hbone: hbone::Settings,
    pub(crate) dns: Option<DnsConfig>,
    pub(crate) process: ProcessDrain,
    /// Held by whatever still serves a connection; when all are gone, so is the traffic.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

/// The end of the whole process, which leaves pods less time than their own leaving does.
#[derive(Clone, Debug)]
pub(crate) struct ProcessDrain {
    pub(crate) drain: Drain,
    pub(crate) grace: Duration,
}

/// What answering DNS takes.
#[derive(Clone, Debug)]
pub(crate) struct DnsConfig {
    pub(crate) cluster_domain: String,
    pub(crate) resolvers: Vec<std::net::SocketAddr>,
    pub(crate) metrics: DnsMetrics,
}

/// How many pods there are. The names have no prefix, as in Istio.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodMetrics {
    active: Gauge,
    pending: Gauge,
    started: Counter,
    stopped: Counter,
}

impl PodMetrics {
    /// Registers the metrics at the root.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let prefix = |name| format!("workload_manager_{name}");
        let help = "Pods served";
        registry.register(prefix("active_proxy_count"), help, metrics.active.clone());
        let help = "Pods that wait to be served";
        registry.register(prefix("pending_proxy_count"), help, metrics.pending.clone());
        let help = "Pods ever served";
        registry.register(prefix("proxies_started"), help, metrics.started.clone());
        let help = "Pods no longer served";
        registry.register(prefix("proxies_stopped"), help, metrics.stopped.clone());
        metrics
    }
}

/// A pod that is served. Dropped, it takes no new connections; those open drain.
pub(crate) struct Served {
    uid: String,
    trigger: drain::Trigger,
    certificates: Certificates,
    metrics: PodMetrics,
    process: ProcessDrain,
    _entry: ServedEntry,
}

impl Drop for Served {
    fn drop(&mut self) {
        let ending = self.process.drain.is_started();
        self.trigger.start(if ending {
            self.process.grace
        } else {
            LEAVE_DRAIN
        });
        self.certificates.release(&holder(&self.uid));
        self.metrics.stopped.inc();
    }
}

fn holder(uid: &str) -> String {
    format!("pod {uid}")
}

/// The sockets one worker serves a pod on.
struct Sockets {
    outbound: StdListener,
    inbound: StdListener,
    plaintext: StdListener,
    dns: Vec<(std::net::UdpSocket, StdListener)>,
}

impl Sockets {
    fn open(netns: &Namespace, with_dns: bool) -> io::Result<Self> {
        let mut dns = vec![];
        if with_dns {
            for address in dns::ADDRESSES {
                match netns
                    .udp_at(address)
                    .and_then(|udp| Ok((udp, netns.listen_at(address)?)))
                {
                    Ok(pair) => dns.push(pair),
                    // A pod without IPv6 has no `::1`.
                    Err(error) if address.is_ipv6() => {
                        tracing::debug!(%address, %error, "no DNS on this address");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Self {
            outbound: netns.listen(OUTBOUND_PORT)?,
            inbound: netns.listen(HBONE_PORT)?,
            plaintext: netns.listen(INBOUND_PORT)?,
            dns,
        })
    }
}

impl Pods for Server {
    type Served = Served;

    fn serve(&self, info: &PodInfo, netns: &Arc<Namespace>) -> io::Result<Served> {
        let identity =
            SpiffeId::workload(&self.trust_domain, &info.namespace, &info.service_account)
                .map_err(io::Error::other)?;
        // All sockets first: a pod is served by every worker or by none.
        let dns_worker = dns_worker(info, self.workers.len());
        let sockets = (0..self.workers.len())
            .map(|index| Sockets::open(netns, self.dns.is_some() && index == dns_worker))
            .collect::<io::Result<Vec<_>>>()?;
        self.certificates.hold(&holder(&info.uid), &identity);
        let (trigger, drain) = drain::channel();
        let open: Vec<OpenConnections> =
            sockets.iter().map(|_| OpenConnections::default()).collect();
        let entry = self.states.serve(info.clone(), open.clone());
        for (index, (sockets, open)) in sockets.into_iter().zip(open).enumerate() {
            let parts = Parts {
                info: info.clone(),
                netns: netns.clone(),
                certificates: self.certificates.source(&identity),
                store: self.store.clone(),
                hbone: self.hbone.clone(),
                reporting: Reporting {
                    open,
                    ..self.reporting.clone()
                },
                drain: drain.clone(),
                dns: self.dns.clone(),
                alive: self.alive.clone(),
            };
            self.workers
                .run_on(index, async move |tasks| start(parts, sockets, &tasks));
        }
        self.metrics.started.inc();
        tracing::info!(pod = info.name, namespace = info.namespace, %identity, "pod is served");
        Ok(Served {
            uid: info.uid.clone(),
            trigger,
            certificates: self.certificates.clone(),
            metrics: self.metrics.clone(),
            process: self.process.clone(),
            _entry: entry,
        })
    }

    fn count(&self, served: usize, pending: Vec<PodInfo>) {
        self.metrics
            .active
            .set(i64::try_from(served).unwrap_or(i64::MAX));
        self.metrics
            .pending
            .set(i64::try_from(pending.len()).unwrap_or(i64::MAX));
        self.states.wait(pending);
    }
}

/// The worker that answers a pod's DNS: one is enough, and which spreads over pods.
fn dns_worker(info: &PodInfo, workers: usize) -> usize {
    let sum: usize = info.uid.bytes().map(usize::from).sum();
    sum % workers.max(1)
}

/// What crosses to a worker to become a [`Pod`] there.
struct Parts {
    info: PodInfo,
    netns: Arc<Namespace>,
    certificates: identity::CertSource,
    store: Arc<SharedStore>,
    hbone: hbone::Settings,
    reporting: Reporting,
    drain: Drain,
    dns: Option<DnsConfig>,
    alive: mpsc::Sender<Infallible>,
}

fn start(parts: Parts, sockets: Sockets, tasks: &LocalTasks) {
    let spawner = tasks.clone();
    let pool = Pool::new(parts.hbone.clone(), move |driver| {
        spawner.spawn("hbone connection", driver);
    });
    let pod = Rc::new(Pod {
        info: parts.info,
        netns: parts.netns,
        certificates: parts.certificates,
        store: parts.store,
        pool,
        settings: parts.hbone,
        reporting: parts.reporting,
        tasks: tasks.clone(),
        drain: parts.drain,
        _alive: parts.alive,
    });
    let listeners = (
        TcpListener::from_std(sockets.outbound),
        TcpListener::from_std(sockets.inbound),
        TcpListener::from_std(sockets.plaintext),
    );
    let (Ok(outbound), Ok(inbound), Ok(plaintext)) = listeners else {
        tracing::error!(
            pod = pod.info.name,
            "a worker cannot watch the pod's sockets"
        );
        return;
    };
    tasks.spawn(
        "outbound",
        pod.clone()
            .accept(outbound, Reporter::Source, outbound::serve),
    );
    tasks.spawn(
        "inbound",
        pod.clone()
            .accept(inbound, Reporter::Destination, inbound::serve),
    );
    tasks.spawn(
        "plaintext",
        pod.clone()
            .accept(plaintext, Reporter::Destination, passthrough::serve),
    );
    if let Some(config) = parts.dns {
        let settings = Rc::new(dns::Settings {
            cluster_domain: config.cluster_domain,
            resolvers: config.resolvers,
            metrics: config.metrics,
        });
        for (udp, tcp) in sockets.dns {
            let (Ok(udp), Ok(tcp)) = (UdpSocket::from_std(udp), TcpListener::from_std(tcp)) else {
                tracing::error!(pod = pod.info.name, "a worker cannot watch the DNS sockets");
                continue;
            };
            tasks.spawn(
                "dns udp",
                dns::serve_udp(pod.clone(), settings.clone(), udp),
            );
            tasks.spawn(
                "dns tcp",
                dns::serve_tcp(pod.clone(), settings.clone(), tcp),
            );
        }
    }
}
