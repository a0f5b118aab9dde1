//! Plaintext connections to a captured pod: port 15006.
//!
//! There is no identity, so a policy that asks for one does not match, and one that forbids its
//! absence (`PeerAuthentication` STRICT) does. What is admitted reaches the port it was sent to,
//! from the address it came from.

use std::net::SocketAddr;
use std::rc::Rc;

use mesh::authz::Attributes;
use mesh::store::Addressed;
use mesh::workload::SharedWorkload;
use telemetry::access::Direction;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::admission;
use crate::error::Error;
use crate::netns;
use crate::pod::{self, Pod};
use crate::report::{Counting, Facts};

/// Serves one plaintext connection to its end.
pub(crate) async fn serve(pod: Rc<Pod>, stream: TcpStream, client: SocketAddr) {
    let started = Instant::now();
    let (to, workload) = match captured(&pod, &stream).await {
        Ok(found) => found,
        Err(error) => {
            let here = stream.local_addr().map_or(client, netns::canonical);
            return pod
                .reporting
                .early(Direction::Inbound, client, here, &error);
        }
    };
    let report = pod
        .reporting
        .open(facts(&pod, client, to, &workload), started);
    let result = forward(&pod, client, to, &workload, stream, report.counters()).await;
    report.close(result);
}

async fn captured(pod: &Pod, stream: &TcpStream) -> Result<(SocketAddr, SharedWorkload), Error> {
    let to = netns::original_dst(stream).map_err(Error::Connect)?;
    if pod::is_own_port(to.port()) {
        return Err(Error::SelfCall);
    }
    Ok((to, pod.workload().await?))
}

fn facts(pod: &Pod, client: SocketAddr, to: SocketAddr, workload: &SharedWorkload) -> Facts {
    let store = pod.store.current();
    let source = match store.find(&workload.network, client.ip(), "") {
        Some(Addressed::Workload(found)) => Some(found),
        _ => None,
    };
    let service = store.service_behind(workload, None, to.port());
    Facts {
        direction: Direction::Inbound,
        source_addr: client,
        source,
        source_identity: None,
        destination_addr: to,
        target: to,
        hbone_target: None,
        service: service.map(|entry| entry.service.clone()),
        destination: Some(workload.clone()),
        destination_identity: None,
    }
}

async fn forward(
    pod: &Pod,
    client: SocketAddr,
    to: SocketAddr,
    workload: &SharedWorkload,
    stream: TcpStream,
    counters: Option<Counting>,
) -> Result<(), Error> {
    let Some(counters) = counters else {
        return Ok(());
    };
    let attributes = Attributes::connection(None, client.ip(), Some(to.ip()), to.port());
    admission::check(pod, workload, &attributes).await?;
    let spoofed = (client.ip() != to.ip()).then(|| client.ip());
    let upstream = pod.dial(to, spoofed).await?;
    tokio::select! {
        result = crate::copy::run(pod, stream, upstream, counters) => result,
        error = admission::revoked(pod, &workload.uid, &attributes) => Err(error),
    }
}
