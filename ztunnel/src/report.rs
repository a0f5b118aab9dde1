//! What operators see of one connection: metrics while it lives, a log line when it ends.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hbone::copy::Counters;
use mesh::service::Service;
use mesh::spiffe::SpiffeId;
use mesh::workload::SharedWorkload;
use runtime::log::{AccessLog, Level};
use telemetry::access::{self, Direction};
use telemetry::label::PeerLabels;
use telemetry::tcp::{Handles, Reporter, Security, TcpMetrics, TrafficLabels};
use tokio::time::Instant;

use crate::connections::{Connection, Entry, OpenConnections};
use crate::error::Error;

/// Where reports go. One for each pod on each worker.
#[derive(Clone, Debug)]
pub(crate) struct Reporting {
    pub(crate) metrics: TcpMetrics,
    pub(crate) access: AccessLog,
    pub(crate) open: OpenConnections,
}

/// What is known of a connection once it is known where it goes.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) direction: Direction,
    pub(crate) source_addr: SocketAddr,
    pub(crate) source: Option<SharedWorkload>,
    /// The identity the client proved, or, on its own side, proves with.
    pub(crate) source_identity: Option<SpiffeId>,
    pub(crate) destination_addr: SocketAddr,
    /// What the client asked for: outbound what the pod dialled, inbound the pod's own port.
    pub(crate) target: SocketAddr,
    pub(crate) hbone_target: Option<String>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) destination: Option<SharedWorkload>,
    /// The server's identity, when the hop is protected by it.
    pub(crate) destination_identity: Option<SpiffeId>,
}

impl Facts {
    fn connection(&self) -> Connection {
        Connection {
            direction: self.direction,
            source: self.source_addr,
            target: self.target,
            hop: self.destination_addr,
            service: self.service.clone(),
            tunnelled: self.hbone_target.is_some(),
        }
    }

    fn labels(&self) -> TrafficLabels {
        let reporter = match self.direction {
            Direction::Outbound => Reporter::Source,
            Direction::Inbound => Reporter::Destination,
        };
        let source_identity = self.source_identity.as_ref();
        let source = match (&self.source, source_identity) {
            (Some(workload), principal) => PeerLabels::of(workload, principal),
            (None, Some(principal)) => PeerLabels::identity(principal),
            (None, None) => PeerLabels::UNKNOWN,
        };
        let destination = self.destination.as_ref();
        let destination = destination.map_or(PeerLabels::UNKNOWN, |workload| {
            PeerLabels::of(workload, Some(&workload.identity))
        });
        let security = match source_identity {
            Some(_) => Security::MutualTls,
            None => Security::Unknown,
        };
        TrafficLabels::new(
            reporter,
            source,
            destination,
            self.service.as_deref(),
            security,
        )
    }
}

/// The report of one connection; it is closed exactly once, at the latest when it is dropped.
#[derive(Debug)]
pub(crate) struct Report {
    facts: Facts,
    started: Instant,
    handles: Option<Handles>,
    bytes: Rc<Bytes>,
    access: AccessLog,
    _entry: Entry,
}

#[derive(Debug, Default)]
struct Bytes {
    request: Cell<u64>,
    response: Cell<u64>,
}

impl Reporting {
    /// Opens the report of a connection accepted at `started`.
    pub(crate) fn open(&self, facts: Facts, started: Instant) -> Report {
        let handles = Some(self.metrics.open(facts.labels()));
        let access = self.access.clone();
        let entry = self.open.add(facts.connection());
        Report {
            facts,
            started,
            handles,
            bytes: Rc::default(),
            access,
            _entry: entry,
        }
    }

    /// Logs a connection that failed before it was known where it goes.
    pub(crate) fn early(
        &self,
        direction: Direction,
        from: SocketAddr,
        to: SocketAddr,
        error: &Error,
    ) {
        let direction = match direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        };
        self.access.line(Level::Warn, "connection failed", |line| {
            use std::fmt::Write;
            let error = error.line();
            write!(
                line,
                "src.addr={from} dst.addr={to} direction={direction:?} error={error:?}"
            )
        });
    }
}

impl Report {
    /// Counts the bytes of the copy between client (first) and server (second).
    pub(crate) fn counters(&self) -> Option<Counting> {
        let handles = self.handles.clone()?;
        Some(Counting {
            handles,
            bytes: self.bytes.clone(),
        })
    }

    /// Closes the report.
    pub(crate) fn close(mut self, result: Result<(), Error>) {
        self.finish(result.err().as_ref());
    }

    fn finish(&mut self, error: Option<&Error>) {
        let Some(handles) = self.handles.take() else {
            return;
        };
        handles.close(error.map(Error::flag).unwrap_or_default());
        let (request, response) = (self.bytes.request.get(), self.bytes.response.get());
        // `sent` is towards the peer of the direction: the server outbound, the client inbound.
        let (bytes_sent, bytes_received) = match self.facts.direction {
            Direction::Outbound => (request, response),
            Direction::Inbound => (response, request),
        };
        let error = error.map(Error::line);
        let level = if error.is_some() {
            Level::Error
        } else {
            Level::Info
        };
        let connection = access::Connection {
            source_addr: self.facts.source_addr,
            source: self.facts.source.as_deref(),
            source_identity: self.facts.source_identity.as_ref(),
            destination_addr: self.facts.destination_addr,
            hbone_target: self.facts.hbone_target.as_deref(),
            service: self.facts.service.as_deref(),
            destination: self.facts.destination.as_deref(),
            destination_identity: self.facts.destination_identity.as_ref(),
            direction: self.facts.direction,
            bytes_sent,
            bytes_received,
            duration: self.started.elapsed(),
            error: error.as_deref(),
        };
        self.access.line(level, "connection complete", |line| {
            use std::fmt::Write;
            write!(line, "{connection}")
        });
    }
}

/// A task that is ended from outside takes its report with it; the connection was cut.
impl Drop for Report {
    fn drop(&mut self) {
        self.finish(Some(&Error::Drained));
    }
}

/// Counts bytes as they are delivered.
#[derive(Debug)]
pub(crate) struct Counting {
    handles: Handles,
    bytes: Rc<Bytes>,
}

impl Counters for Counting {
    fn a_to_b(&self, bytes: u64) {
        self.bytes.request.set(self.bytes.request.get() + bytes);
        self.handles.received(bytes);
    }

    fn b_to_a(&self, bytes: u64) {
        self.bytes.response.set(self.bytes.response.get() + bytes);
        self.handles.sent(bytes);
    }
}
