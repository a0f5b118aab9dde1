//! HBONE connections to a captured pod: port 15008.
//!
//! A connection is TLS, then HTTP/2, then any number of tunnels. A tunnel's phases are: what it
//! asks for, whether it may, getting there, and only then the 200 and the bytes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hbone::Authority;
use hbone::headers::Forwarded;
use hbone::server::{self, Connect};
use mesh::authz::Attributes;
use mesh::service::Service;
use mesh::spiffe::SpiffeId;
use mesh::store::Store;
use mesh::workload::SharedWorkload;
use telemetry::access::Direction;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::admission;
use crate::error::Error;
use crate::netns;
use crate::pod::{self, Pod};
use crate::report::Facts;

/// One HBONE connection: who is at its other end, and which address of the pod it came to.
struct Peer {
    identity: SpiffeId,
    address: SocketAddr,
    local: SocketAddr,
}

/// What a tunnel asked for, resolved.
struct Destination {
    workload: SharedWorkload,
    address: SocketAddr,
    service: Option<Arc<Service>>,
}

/// Serves one HBONE connection to its end.
pub(crate) async fn serve(pod: Rc<Pod>, stream: TcpStream, client: SocketAddr) {
    let local = stream.local_addr().map_or(client, netns::canonical);
    if let Err(error) = connection(&pod, stream, client, local).await {
        pod.reporting
            .early(Direction::Inbound, client, local, &error);
    }
}

async fn connection(
    pod: &Rc<Pod>,
    stream: TcpStream,
    address: SocketAddr,
    local: SocketAddr,
) -> Result<(), Error> {
    let certificate = pod.certificates.get().await?;
    let config = certificate.server_config();
    let (stream, identity) = identity::handshake::accept(config, stream).await?;
    let peer = Rc::new(Peer {
        identity,
        address,
        local,
    });
    let mut connection = server::accept(stream, &pod.settings).await?;
    let mut drain = pod.drain.clone();
    let mut deadline = pod.drain.clone();
    let mut draining = false;
    loop {
        tokio::select! {
            next = connection.next() => match next {
                Some(Ok(connect)) => {
                    pod.tasks.spawn("tunnel", tunnel(pod.clone(), peer.clone(), connect));
                }
                // A peer that goes away is how connections end.
                Some(Err(server::Error::Connection(_))) | None => return Ok(()),
                Some(Err(error)) => return Err(error.into()),
            },
            _ = drain.started(), if !draining => {
                draining = true;
                connection.drain();
            }
            () = deadline.expired() => return Ok(()),
        }
    }
}

/// Serves one tunnel.
async fn tunnel(pod: Rc<Pod>, peer: Rc<Peer>, connect: Connect) {
    let started = Instant::now();
    let destination = match destination(&pod, &peer, &connect).await {
        Ok(destination) => destination,
        Err(error) => {
            pod.reporting
                .early(Direction::Inbound, peer.address, peer.local, &error);
            // The peer may be gone already; there is nobody else to tell.
            let _ = connect.refuse(error.status());
            return;
        }
    };
    let report = pod
        .reporting
        .open(facts(&pod, &peer, &connect, &destination), started);
    let counters = report.counters();
    let result = match established(&pod, &peer, &destination).await {
        Ok(upstream) => forward(&pod, &peer, &destination, connect, upstream, counters).await,
        Err(error) => {
            let _ = connect.refuse(error.status());
            Err(error)
        }
    };
    report.close(result);
}

/// Resolves what a tunnel asks for. It always leads into this pod: the authority gives a port,
/// never an address to connect to.
async fn destination(pod: &Pod, peer: &Peer, connect: &Connect) -> Result<Destination, Error> {
    let target = connect.target().map_err(Clone::clone)?;
    let workload = pod.workload().await?;
    let store = pod.store.current();
    let (port, service) = match target {
        Authority::Socket(address) => {
            if address.ip() != peer.local.ip() {
                return Err(Error::IpMismatch(*address, peer.local));
            }
            let hint = Forwarded::from_headers(connect.headers()).host;
            let entry = store.service_behind(&workload, hint.as_deref(), address.port());
            (address.port(), entry.map(|entry| entry.service.clone()))
        }
        Authority::Host { host, port } => {
            let (port, service) = service_port(&store, &workload, host, *port)?;
            (port, Some(service))
        }
    };
    if pod::is_own_port(port) {
        return Err(Error::SelfCall);
    }
    let address = SocketAddr::new(peer.local.ip(), port);
    Ok(Destination {
        workload,
        address,
        service,
    })
}

/// The port of this workload behind a service's host name. Only services this workload belongs
/// to count: a foreign namespace that claims the same host has no say here.
fn service_port(
    store: &Store,
    workload: &SharedWorkload,
    host: &str,
    service_port: u16,
) -> Result<(u16, Arc<Service>), Error> {
    let unknown = || Error::NoService(format!("{host}:{service_port}"));
    let mut own = workload
        .services
        .iter()
        .filter(|(key, _)| &*key.hostname == host);
    let entry = own
        .find_map(|(key, _)| store.service(key))
        .ok_or_else(unknown)?;
    let endpoint = entry.endpoints.get(&workload.uid).ok_or_else(unknown)?;
    let declared = || {
        entry
            .service
            .port(service_port)
            .and_then(|port| port.target_port)
    };
    let port = endpoint
        .target_port(service_port)
        .or_else(declared)
        .ok_or_else(unknown)?;
    Ok((port, entry.service.clone()))
}

fn facts(pod: &Pod, peer: &Peer, connect: &Connect, destination: &Destination) -> Facts {
    let store = pod.store.current();
    let source = store.find(&destination.workload.network, peer.address.ip(), "");
    let source = match source {
        // An address alone proves nothing: the record must be that of the proved identity.
        Some(mesh::store::Addressed::Workload(found)) if found.identity == peer.identity => {
            Some(found)
        }
        _ => None,
    };
    Facts {
        direction: Direction::Inbound,
        source_addr: peer.address,
        source,
        source_identity: Some(peer.identity.clone()),
        destination_addr: peer.local,
        target: destination.address,
        hbone_target: connect.target().ok().map(ToString::to_string),
        service: destination.service.clone(),
        destination: Some(destination.workload.clone()),
        destination_identity: Some(destination.workload.identity.clone()),
    }
}

/// Authorizes the tunnel, then connects to the application in the client's name.
async fn established(
    pod: &Pod,
    peer: &Peer,
    destination: &Destination,
) -> Result<TcpStream, Error> {
    admission::check(pod, &destination.workload, &attributes(peer, destination)).await?;
    let spoofed = (peer.address.ip() != destination.address.ip()).then(|| peer.address.ip());
    pod.dial(destination.address, spoofed).await
}

async fn forward(
    pod: &Pod,
    peer: &Peer,
    destination: &Destination,
    connect: Connect,
    upstream: TcpStream,
    counters: Option<crate::report::Counting>,
) -> Result<(), Error> {
    let Some(counters) = counters else {
        return Ok(());
    };
    let tunnel = connect.accept(pod::answer_headers(&destination.workload))?;
    let attributes = attributes(peer, destination);
    tokio::select! {
        result = crate::copy::run(pod, tunnel, upstream, counters) => result,
        error = admission::revoked(pod, &destination.workload.uid, &attributes) => Err(error),
    }
}

fn attributes<'a>(peer: &'a Peer, destination: &Destination) -> Attributes<'a> {
    Attributes::connection(
        Some(&peer.identity),
        peer.address.ip(),
        Some(destination.address.ip()),
        destination.address.port(),
    )
}
