//! Everything known about one request, and about the tunnel it came through.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh::service::Service;
use mesh::spiffe::SpiffeId;
use mesh::workload::SharedWorkload;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::report::{Report, Series};
use super::upgrade::Upgrade;
use crate::plugins::Chain;
use crate::state::{Rules, Snapshot};
use crate::worker::Worker;

/// The other end of an HBONE connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Who it is, by its certificate.
    pub(crate) id: SpiffeId,
    /// Its address.
    pub(crate) addr: SocketAddr,
    /// Number of the connection, unique in this process.
    pub(crate) number: u64,
}

impl Peer {
    /// The other end of one more connection.
    pub(crate) fn new(id: SpiffeId, addr: SocketAddr) -> Self {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        Self { id, addr, number }
    }
}

/// What a CONNECT resolved to.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// A port of a service.
    Service(Arc<Service>, u16),
    /// A port of a workload.
    Workload(SharedWorkload, u16),
}

impl Destination {
    /// The port that was asked for.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Service(_, port) | Self::Workload(_, port) => *port,
        }
    }

    /// The service, if it is one.
    pub(crate) fn service(&self) -> Option<&Arc<Service>> {
        match self {
            Self::Service(service, _) => Some(service),
            Self::Workload(..) => None,
        }
    }
}

/// What all requests of a tunnel share.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// The worker it lives on.
    pub(crate) worker: Rc<Worker>,
    /// Who opened it.
    pub(crate) peer: Rc<Peer>,
    /// The workload behind the peer, as far as it is known.
    pub(crate) source: Option<SharedWorkload>,
    /// Where it leads.
    pub(crate) destination: Destination,
    /// The address that was asked for, if it was an address.
    pub(crate) asked: Option<SocketAddr>,
    /// A WebSocket that takes over when the current request has been answered.
    pub(crate) upgrade: RefCell<Option<Upgrade>>,
    /// Rung when the client should come again by another connection.
    pub(crate) leave: Notify,
    /// Metrics that were looked up before.
    pub(crate) series: Series,
}

impl Tunnel {
    /// What a policy may know of the connection.
    pub(crate) fn attributes(&self) -> mesh::authz::Attributes<'_> {
        mesh::authz::Attributes::connection(
            Some(&self.peer.id),
            self.peer.addr.ip(),
            self.asked.map(|asked| asked.ip()),
            self.destination.port(),
        )
    }

    /// What applies to the requests, in a snapshot; `None` when the destination is gone. One that
    /// has left this waypoint rings [`leave`](Self::leave).
    pub(crate) fn rules(&self, snapshot: &Snapshot) -> Option<Arc<Rules>> {
        self.look_up(snapshot, || self.leave.notify_one())
    }

    /// As [`rules`](Self::rules), before there is a request: nobody is asked to leave before he was
    /// served.
    pub(crate) fn rules_of_connection(&self, snapshot: &Snapshot) -> Option<Arc<Rules>> {
        self.look_up(snapshot, || {})
    }

    fn look_up(&self, snapshot: &Snapshot, has_left: impl FnOnce()) -> Option<Arc<Rules>> {
        match &self.destination {
            Destination::Service(service, port) => {
                let rules = snapshot.service_rules(&service.key)?;
                if rules.left().is_some() {
                    has_left();
                }
                rules.port(*port).cloned()
            }
            Destination::Workload(..) => Some(snapshot.direct().clone()),
        }
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct RequestCtx {
    /// The tunnel it came through.
    pub(crate) tunnel: Rc<Tunnel>,
    /// Configuration, the same for all of its life.
    pub(crate) snapshot: Arc<Snapshot>,
    /// What applies to it.
    pub(crate) rules: Arc<Rules>,
    /// Plugins that have seen it.
    pub(crate) plugins: Chain,
    /// What will be told about it.
    pub(crate) report: Report,
    /// When it must be answered in full.
    pub(crate) deadline: Option<Instant>,
}
