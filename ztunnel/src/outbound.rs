//! Connections a captured pod opens: port 15001.
//!
//! Four phases, as everywhere in ztunnel: what was captured, where it goes, getting there, moving
//! bytes. A failure in the first two is a line in the log; from the third on it is a report.

use std::net::SocketAddr;
use std::rc::Rc;

use hbone::client::ConnectRequest;
use hbone::headers::{self, Forwarded};
use hbone::{Authority, Tunnel};
use http::HeaderMap;
use mesh::store::{Destination, NextHop};
use mesh::workload::SharedWorkload;
use telemetry::access::Direction;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::error::Error;
use crate::netns;
use crate::pod::{self, CONNECT_TIMEOUT, Pod, PoolKey};
use crate::report::Facts;

/// Serves one captured connection to its end.
pub(crate) async fn serve(pod: Rc<Pod>, stream: TcpStream, client: SocketAddr) {
    let started = Instant::now();
    let dialled = match captured(&stream) {
        Ok(dialled) => dialled,
        Err(error) => {
            let here = stream.local_addr().unwrap_or(client);
            return pod
                .reporting
                .early(Direction::Outbound, client, here, &error);
        }
    };
    let (source, hop) = match next_hop(&pod, dialled).await {
        Ok(found) => found,
        Err(error) => {
            return pod
                .reporting
                .early(Direction::Outbound, client, dialled, &error);
        }
    };
    let report = pod
        .reporting
        .open(facts(client, dialled, &source, &hop), started);
    let result = forward(&pod, &source, client, &hop, stream, report.counters()).await;
    report.close(result);
}

/// The destination the pod dialled.
fn captured(stream: &TcpStream) -> Result<SocketAddr, Error> {
    let dialled = netns::original_dst(stream).map_err(Error::Connect)?;
    let here = stream
        .local_addr()
        .map(netns::canonical)
        .map_err(Error::Connect)?;
    // Somebody who connects to our port directly was not captured, and would be sent to us again.
    if dialled == here || (dialled.ip().is_loopback() && pod::is_own_port(dialled.port())) {
        return Err(Error::SelfCall);
    }
    Ok(dialled)
}

async fn next_hop(pod: &Pod, dialled: SocketAddr) -> Result<(SharedWorkload, NextHop), Error> {
    let source = pod.workload().await?;
    let hop = pod
        .store
        .current()
        .next_hop(&source, dialled, &mut fastrand::f64)?;
    Ok((source, hop))
}

fn facts(client: SocketAddr, dialled: SocketAddr, source: &SharedWorkload, hop: &NextHop) -> Facts {
    let (destination_addr, to, tunnelled) = match hop {
        NextHop::Waypoint(to) | NextHop::Tunnel(to) => (to.address, Some(to), true),
        NextHop::Plain(to) => (to.address, Some(to), false),
        NextHop::Passthrough(address) => (*address, None, false),
    };
    let destination = to.map(|to| to.workload.clone());
    Facts {
        direction: Direction::Outbound,
        source_addr: client,
        source: Some(source.clone()),
        source_identity: tunnelled.then(|| source.identity.clone()),
        destination_addr,
        target: dialled,
        hbone_target: to.filter(|_| tunnelled).map(|to| to.target.to_string()),
        service: to.and_then(|to| to.service.clone()),
        destination_identity: destination
            .as_ref()
            .filter(|_| tunnelled)
            .map(|workload| workload.identity.clone()),
        destination,
    }
}

async fn forward(
    pod: &Pod,
    source: &SharedWorkload,
    client: SocketAddr,
    hop: &NextHop,
    stream: TcpStream,
    counters: Option<crate::report::Counting>,
) -> Result<(), Error> {
    let Some(counters) = counters else {
        return Ok(());
    };
    match hop {
        NextHop::Waypoint(to) | NextHop::Tunnel(to) => {
            let tunnel = open_tunnel(pod, source, client, to).await?;
            crate::copy::run(pod, stream, tunnel, counters).await
        }
        NextHop::Plain(Destination { address, .. }) | NextHop::Passthrough(address) => {
            let upstream = pod.dial(*address, None).await?;
            crate::copy::run(pod, stream, upstream, counters).await
        }
    }
}

/// Opens a tunnel, on a connection that is already there or on a new one.
async fn open_tunnel(
    pod: &Pod,
    source: &SharedWorkload,
    client: SocketAddr,
    to: &Destination,
) -> Result<Tunnel, Error> {
    let request = ConnectRequest {
        authority: Authority::Socket(to.target),
        headers: request_headers(source, client, to),
    };
    let key = PoolKey {
        to: to.address,
        identities: to.identities.clone(),
    };
    let connect = async || connect(pod, to).await;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let opened = pod.pool.open(&key, connect, &request, deadline).await;
    match opened {
        Ok(opened) => Ok(opened.tunnel),
        Err(hbone::pool::Error::Tunnel(error)) => Err(Error::Tunnel(error)),
        Err(hbone::pool::Error::Connect(error)) => Err(Error::Shared(error)),
    }
}

/// Connects to a workload's or waypoint's HBONE port and proves who is there.
async fn connect(
    pod: &Pod,
    to: &Destination,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let certificate = pod.certificates.get().await?;
    let socket = timeout(CONNECT_TIMEOUT, pod.netns.connect(to.address, None)).await;
    let socket = socket
        .map_err(|_| Error::ConnectTimeout(to.address))?
        .map_err(Error::Connect)?;
    let config = certificate.client_config(&to.identities);
    let (stream, _) = identity::handshake::connect(config, socket).await?;
    Ok(stream)
}

fn request_headers(source: &SharedWorkload, client: SocketAddr, to: &Destination) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    if let Some(value) = pod::baggage(source) {
        headers.insert(headers::BAGGAGE, value);
    }
    let host = to.service.as_ref().map(|service| &*service.key.hostname);
    if let Some(value) = Forwarded::header(client, host) {
        headers.insert(headers::FORWARDED, value);
    }
    headers.insert(headers::TRACEPARENT, headers::traceparent(random()));
    headers
}

/// Random bytes for an id nobody has to guess-proof.
fn random() -> [u8; 24] {
    let mut bytes = [0; 24];
    fastrand::fill(&mut bytes);
    bytes
}
