//! Which destination does a CONNECT name, and what travels to it: HTTP, or bytes we do not read?

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hbone::Authority;
use hbone::copy;
use hbone::server::{Connect, Rejected};
use http::{HeaderMap, StatusCode};
use mesh::service::AppProtocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::http::context::{Destination, Peer, Tunnel};
use crate::http::report::Series;
use crate::plugins::network;
use crate::sniff::{Protocol, sniff};
use crate::state::Snapshot;
use crate::worker::Worker;
use crate::{http as l7, tcp};

#[cfg(test)]
mod tests;

/// How long a CONNECT waits for its destination to become known.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a CONNECT is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It makes no sense.
    #[error(transparent)]
    Malformed(#[from] Rejected),
    /// Nothing this waypoint stands before has that address or name.
    #[error("no service or workload of this waypoint is at {0}")]
    Unknown(Authority),
    /// The service does not have that port.
    #[error("the service has no port {0}")]
    NoPort(u16),
}

impl Refusal {
    /// What the CONNECT is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => Rejected::STATUS,
            Self::Unknown(_) | Self::NoPort(_) => StatusCode::NOT_FOUND,
        }
    }
}

/// Serves one CONNECT to its end.
pub(crate) async fn serve(worker: Rc<Worker>, peer: Rc<Peer>, connect: Connect) {
    let (snapshot, destination, target) = match find(&worker, &peer, &connect).await {
        Ok(found) => found,
        Err(refusal) => {
            tracing::info!(peer = %peer.id, from = %peer.addr, %refusal, "CONNECT refused");
            // The peer may have given up meanwhile.
            let _ = connect.refuse(refusal.status());
            return;
        }
    };
    let tunnel = Rc::new(Tunnel {
        source: snapshot.peer(peer.addr.ip(), &peer.id),
        asked: target.ip().map(|ip| SocketAddr::new(ip, target.port())),
        worker,
        peer,
        destination,
        upgrade: RefCell::default(),
        leave: Notify::default(),
        series: Series::default(),
    });
    let declared = declared(&tunnel.destination);
    let watching = tunnel
        .rules_of_connection(&snapshot)
        .filter(|rules| rules.watching().next().is_some());
    drop(snapshot);
    if matches!(declared, AppProtocol::Tcp | AppProtocol::Tls) && watching.is_none() {
        return tcp::serve_connect(tunnel, connect).await;
    }
    // Whoever sends requests is answered for each of them, so the tunnel itself comes up.
    let Ok(stream) = connect.accept(HeaderMap::new()) else {
        return;
    };
    let Some(rules) = watching else {
        return carry(tunnel, declared, stream).await;
    };
    // Boxed, because nearly no connection is watched.
    Box::pin(async {
        match network::watch(&tunnel, &rules, stream).await {
            Ok(watched) => carry(tunnel, declared, watched).await,
            Err(error) => {
                let error = runtime::report(&error);
                tracing::info!(error, peer = %tunnel.peer.id, "connection closed by a plugin");
            }
        }
    })
    .await;
}

/// Serves what travels in a tunnel to its end.
async fn carry<Io>(tunnel: Rc<Tunnel>, declared: AppProtocol, stream: Io)
where
    Io: copy::Side + AsyncRead + AsyncWrite + Unpin + 'static,
{
    if matches!(declared, AppProtocol::Tcp | AppProtocol::Tls) {
        return tcp::serve(tunnel, Bytes::new(), stream).await;
    }
    let mut drain = tunnel.worker.drain.clone();
    let sniffed = tokio::select! {
        sniffed = sniff(stream, declared != AppProtocol::Unknown) => sniffed,
        // A client that has said nothing yet is not in the middle of anything.
        _ = drain.started() => return,
    };
    let sniffed = match sniffed {
        Ok(sniffed) => sniffed,
        Err(error) => {
            tracing::debug!(%error, peer = %tunnel.peer.id, "tunnel broke before its first bytes");
            return;
        }
    };
    match sniffed {
        (Protocol::Opaque, stream) => {
            let (first, stream) = stream.into_parts();
            tcp::serve(tunnel, first, stream).await;
        }
        // Boxed: tunnels of bytes do not keep room for a connection of hyper's.
        (protocol, stream) => Box::pin(l7::server::serve(tunnel, stream, protocol)).await,
    }
}

/// Finds what a CONNECT names. The client's proxy may have heard of it before we have, so what is
/// unknown is waited for a moment.
async fn find(
    worker: &Worker,
    peer: &Peer,
    connect: &Connect,
) -> Result<(Arc<Snapshot>, Destination, Authority), Refusal> {
    let target = connect.target().cloned();
    let target = target.map_err(|rejected| Refusal::from(rejected.clone()))?;
    let namespace = peer.id.namespace().unwrap_or_default();
    let look = || {
        let snapshot = worker.state.current();
        let destination = resolve(&snapshot, &target, namespace)?;
        Ok((snapshot, destination))
    };
    let mut found = look();
    if found.is_err() {
        let mut changes = worker.state.changes();
        let patience = Instant::now() + PATIENCE;
        // Once more at once: the change may have come before we listened.
        found = look();
        while found.is_err() && matches!(timeout_at(patience, changes.changed()).await, Ok(Ok(())))
        {
            found = look();
        }
    }
    found.map(|(snapshot, destination)| (snapshot, destination, target))
}

/// Finds what a CONNECT names: a service by address or name, else a workload by address; in both
/// cases one that this waypoint stands before.
///
/// * `namespace` — the client's, by its certificate: a service may be visible in its own alone.
///
/// # Errors
/// See [`Refusal`].
pub(crate) fn resolve(
    snapshot: &Snapshot,
    target: &Authority,
    namespace: &str,
) -> Result<Destination, Refusal> {
    let port = target.port();
    let service = match target {
        Authority::Socket(addr) => snapshot.service_at(addr.ip().to_canonical(), namespace),
        Authority::Host { host, .. } => snapshot.service_named(host, namespace),
    };
    if let Some(entry) = service {
        let service = entry.service.clone();
        return match service.port(port) {
            Some(_) => Ok(Destination::Service(service, port)),
            None => Err(Refusal::NoPort(port)),
        };
    }
    let workload = target
        .ip()
        .and_then(|ip| snapshot.workload_at(ip.to_canonical()));
    match workload {
        Some(workload) => Ok(Destination::Workload(workload.clone(), port)),
        None => Err(Refusal::Unknown(target.clone())),
    }
}

/// What the port is declared to be; of workloads nothing is declared.
fn declared(destination: &Destination) -> AppProtocol {
    match destination {
        Destination::Service(service, port) => service
            .port(*port)
            .map_or(AppProtocol::Unknown, |port| port.app_protocol),
        Destination::Workload(..) => AppProtocol::Unknown,
    }
}
