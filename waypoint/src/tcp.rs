//! Bytes we do not read, from a tunnel to an endpoint.

use std::rc::Rc;

use bytes::Bytes;
use hbone::copy::{self, Copied, Counters};
use hbone::server::Connect;
use http::{HeaderMap, StatusCode};
use mesh::authz::{Denied, decide};
use mesh::workload::SharedWorkload;
use smallvec::SmallVec;
use telemetry::label::PeerLabels;
use telemetry::tcp::{Flag, Handles, Reporter, Security, TrafficLabels};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::connect::{self, CONNECT_TIMEOUT, Stream};
use crate::endpoint::{Endpoint, InFlight};
use crate::http::authz::note;
use crate::http::context::{Destination, Tunnel};
use crate::http::report::source_labels;
use crate::state::{Rules, Snapshot};

/// Endpoints that are tried before a connection is given up. Nothing was sent to the failed ones.
const ATTEMPTS: usize = 3;

/// Why no bytes were moved, or no more.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("connection closed due to policy rejection: {0}")]
    Denied(Denied),
    #[error("connection closed due to policy change: {0}")]
    DeniedLater(Denied),
    #[error("no healthy upstream")]
    NoEndpoint,
    #[error("cannot connect")]
    Connect(#[source] connect::Error),
    #[error("the destination is gone")]
    Gone,
    #[error("connection closed due to connection drain")]
    Drain,
}

impl Error {
    fn flag(&self) -> Flag {
        match self {
            Self::Denied(_) | Self::DeniedLater(_) => Flag::Denied,
            Self::NoEndpoint | Self::Connect(_) => Flag::Connect,
            Self::Gone | Self::Drain => Flag::None,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Denied(_) | Self::DeniedLater(_) => StatusCode::UNAUTHORIZED,
            Self::NoEndpoint | Self::Connect(_) | Self::Gone | Self::Drain => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

/// A connection to an endpoint, and what counts as long as it lives.
struct Upstream {
    endpoint: Endpoint,
    stream: Stream,
    _in_flight: InFlight,
}

/// Serves a CONNECT for a port that is declared to be opaque: it is answered once the endpoint is
/// connected, so that a refusal can be told.
pub(crate) async fn serve_connect(tunnel: Rc<Tunnel>, connect: Connect) {
    let started = Instant::now();
    let upstream = match begin(&tunnel).await {
        Ok(upstream) => upstream,
        Err(error) => {
            report_failure(&tunnel, started, &error);
            // The peer may have given up meanwhile.
            let _ = connect.refuse(error.status());
            return;
        }
    };
    if let Ok(stream) = connect.accept(HeaderMap::new()) {
        join(&tunnel, started, Bytes::new(), stream, upstream).await;
    }
}

/// Serves a tunnel that turned out to be opaque. `first` has been read from it already.
pub(crate) async fn serve<Io>(tunnel: Rc<Tunnel>, first: Bytes, stream: Io)
where
    Io: copy::Side + Unpin,
{
    let started = Instant::now();
    match begin(&tunnel).await {
        Ok(upstream) => join(&tunnel, started, first, stream, upstream).await,
        // Dropping the stream resets it: that is all there is to tell a client of opaque bytes.
        Err(error) => report_failure(&tunnel, started, &error),
    }
}

/// Decides, and connects to an endpoint.
async fn begin(tunnel: &Tunnel) -> Result<Upstream, Error> {
    let snapshot = tunnel.worker.state.current();
    let rules = tunnel.rules(&snapshot).ok_or(Error::Gone)?;
    check(tunnel, &rules).map_err(Error::Denied)?;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let host = tunnel
        .destination
        .service()
        .map(|service| &*service.key.hostname);
    let mut tried = SmallVec::<[_; ATTEMPTS]>::new();
    let mut last = Error::NoEndpoint;
    while tried.len() < ATTEMPTS {
        let Some(endpoint) = pick(tunnel, &snapshot, &tried) else {
            break;
        };
        if tried.contains(&endpoint.address) {
            break;
        }
        let in_flight = tunnel.worker.loads.begin(endpoint.address);
        match tunnel
            .worker
            .connector
            .open(&endpoint, host, deadline)
            .await
        {
            Ok(stream) => {
                return Ok(Upstream {
                    endpoint,
                    stream,
                    _in_flight: in_flight,
                });
            }
            Err(error) => last = Error::Connect(error),
        }
        tried.push(endpoint.address);
    }
    Err(last)
}

fn pick(tunnel: &Tunnel, snapshot: &Snapshot, tried: &[std::net::SocketAddr]) -> Option<Endpoint> {
    let worker = &tunnel.worker;
    match &tunnel.destination {
        Destination::Service(service, port) => {
            let entry = snapshot.store().service(&service.key)?;
            worker
                .loads
                .pick(snapshot, entry, *port, tried, &worker.draw)
        }
        Destination::Workload(workload, port) => {
            Endpoint::new(workload, *port, None, snapshot.own())
        }
    }
}

fn check(tunnel: &Tunnel, rules: &Rules) -> Result<(), Denied> {
    if rules.policies.is_empty() {
        return Ok(());
    }
    let attributes = tunnel.attributes();
    // There is no authorizer for CUSTOM policies, and so no permission.
    if let Some(by) = mesh::authz::delegated(&rules.policies, &attributes).next() {
        return Err(by.unknown_authorizer());
    }
    let verdict = decide(&rules.policies, &attributes);
    note(&verdict);
    verdict.decision.check()
}

/// Moves bytes until both sides are done, a policy says no, or the drain is over.
async fn join<Io>(
    tunnel: &Rc<Tunnel>,
    started: Instant,
    first: Bytes,
    stream: Io,
    upstream: Upstream,
) where
    Io: copy::Side + Unpin,
{
    let Upstream {
        endpoint,
        stream: mut to,
        _in_flight,
    } = upstream;
    let _visit = tunnel.worker.vms.visit();
    let handles = tunnel
        .worker
        .reporting
        .tcp
        .open(labels(tunnel, Some(&endpoint.workload)));
    if !first.is_empty() {
        if let Err(error) = to.write_all(&first).await {
            tracing::debug!(%error, "endpoint took no bytes");
            return handles.close(Flag::Connect);
        }
        handles.received(first.len() as u64);
    }
    let counters = Counted(&handles);
    let copying = async {
        match to {
            Stream::Tcp(to) => copy::bidirectional(stream, to, counters).await,
            Stream::Tunnel(to) => copy::bidirectional(stream, to, counters).await,
        }
    };
    let mut drain = tunnel.worker.drain.clone();
    let outcome = tokio::select! {
        copied = copying => Ok(copied),
        denied = denied(tunnel) => Err(denied),
        () = drain.expired() => Err(Error::Drain),
    };
    let flag = finish(tunnel, started, &endpoint, outcome);
    handles.close(flag);
}

/// Resolves when a changed policy denies what is open.
async fn denied(tunnel: &Tunnel) -> Error {
    let state = &tunnel.worker.state;
    let mut changes = state.changes();
    loop {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
        let Some(rules) = tunnel.rules(&state.current()) else {
            continue;
        };
        if let Err(denied) = check(tunnel, &rules) {
            return Error::DeniedLater(denied);
        }
    }
}

fn finish(
    tunnel: &Tunnel,
    started: Instant,
    endpoint: &Endpoint,
    outcome: Result<Copied, Error>,
) -> Flag {
    let (peer, to) = (&tunnel.peer.id, endpoint.address);
    let duration = started.elapsed();
    match outcome {
        Ok(Copied {
            a_to_b,
            b_to_a,
            failure,
        }) => {
            let failure = failure.map(|failure| failure.to_string());
            tracing::debug!(%peer, %to, ?duration, a_to_b, b_to_a, failure, "connection ended");
            Flag::None
        }
        Err(error) => {
            tracing::info!(%peer, %to, ?duration, %error, "connection closed");
            error.flag()
        }
    }
}

/// Counts a connection that never came up.
fn report_failure(tunnel: &Tunnel, started: Instant, error: &Error) {
    let duration = started.elapsed();
    let reason = runtime::report(error);
    tracing::info!(peer = %tunnel.peer.id, ?duration, reason, "connection refused");
    tunnel
        .worker
        .reporting
        .tcp
        .open(labels(tunnel, None))
        .close(error.flag());
}

fn labels(tunnel: &Tunnel, endpoint: Option<&SharedWorkload>) -> TrafficLabels {
    let destination = endpoint.map_or(PeerLabels::UNKNOWN, |workload| {
        PeerLabels::of(workload, Some(&workload.identity))
    });
    let service = tunnel.destination.service().map(|service| &**service);
    let source = source_labels(tunnel);
    TrafficLabels::new(
        Reporter::Waypoint,
        source,
        destination,
        service,
        Security::MutualTls,
    )
}

/// Counts bytes as they are delivered.
struct Counted<'a>(&'a Handles);

impl Counters for Counted<'_> {
    fn a_to_b(&self, bytes: u64) {
        self.0.received(bytes);
    }

    fn b_to_a(&self, bytes: u64) {
        self.0.sent(bytes);
    }
}
