//! Access log lines of L4 connections: keys, order and quoting are Istio's.
//!
//! `src.addr=10.0.0.1:4242 src.workload="web" … bytes_sent=1 duration="5ms"`. A value that is
//! not known leaves its key out.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mesh::service::Service;
use mesh::spiffe::SpiffeId;
use mesh::workload::Workload;

#[cfg(test)]
mod tests;

/// What is known of a connection when it ends.
#[derive(Debug)]
pub struct Connection<'a> {
    /// The client's address.
    pub source_addr: SocketAddr,
    /// The client, if its address or its pod told.
    pub source: Option<&'a Workload>,
    /// The identity the client proved.
    pub source_identity: Option<&'a SpiffeId>,
    /// The address that was dialled or accepted on.
    pub destination_addr: SocketAddr,
    /// What the CONNECT asked for, over HBONE.
    pub hbone_target: Option<&'a str>,
    /// The service that was dialled.
    pub service: Option<&'a Service>,
    /// The workload that was reached.
    pub destination: Option<&'a Workload>,
    /// The identity the server proved, or proves with.
    pub destination_identity: Option<&'a SpiffeId>,
    /// Seen from the pod.
    pub direction: Direction,
    /// Bytes towards the peer of the direction.
    pub bytes_sent: u64,
    /// Bytes from it.
    pub bytes_received: u64,
    /// From accept to end.
    pub duration: Duration,
    /// Why it ended, when not by itself.
    pub error: Option<&'a str>,
}

/// Which way a connection goes, seen from the pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Into the pod.
    Inbound,
    /// Out of it.
    Outbound,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

impl fmt::Display for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src.addr={}", self.source_addr)?;
        end(f, "src", self.source, self.source_identity)?;
        write!(f, " dst.addr={}", self.destination_addr)?;
        if let Some(target) = self.hbone_target {
            write!(f, " dst.hbone_addr={target}")?;
        }
        if let Some(service) = self.service {
            quoted(f, "dst.service", &service.key.hostname)?;
        }
        end(f, "dst", self.destination, self.destination_identity)?;
        quoted(f, "direction", self.direction.as_str())?;
        write!(
            f,
            " bytes_sent={} bytes_recv={}",
            self.bytes_sent, self.bytes_received
        )?;
        write!(f, " duration=\"{}ms\"", self.duration.as_millis())?;
        match self.error {
            Some(error) => quoted(f, "error", error),
            None => Ok(()),
        }
    }
}

fn end(
    f: &mut fmt::Formatter<'_>,
    side: &str,
    workload: Option<&Workload>,
    identity: Option<&SpiffeId>,
) -> fmt::Result {
    let mut key = String::with_capacity(16);
    let mut field = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| {
        key.clear();
        write!(key, "{side}.{name}")?;
        quoted(f, &key, value)
    };
    if let Some(workload) = workload {
        let name = if workload.name.is_empty() {
            &workload.canonical_name
        } else {
            &workload.name
        };
        field(f, "workload", name)?;
        field(f, "namespace", &workload.namespace)?;
    }
    if let Some(identity) = identity {
        field(f, "identity", identity.as_str())?;
    }
    if let Some(workload) = workload {
        field(f, "cluster", &workload.cluster_id)?;
    }
    Ok(())
}

fn quoted(f: &mut fmt::Formatter<'_>, key: &str, value: &str) -> fmt::Result {
    if value.is_empty() {
        return Ok(());
    }
    // Debug quoting escapes what would break the line.
    write!(f, " {key}={value:?}")
}
