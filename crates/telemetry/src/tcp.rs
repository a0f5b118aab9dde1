//! L4 metrics, as ztunnel and, for opaque bytes, the waypoint count them.
//!
//! Names and label order are Istio's (istio/ztunnel `src/proxy/metrics.rs`).

use std::fmt;

use mesh::service::Service;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::label::{Label, PeerLabels};

#[cfg(test)]
mod tests;

/// Which proxy reports.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reporter {
    /// The client's ztunnel.
    Source,
    /// The server's ztunnel.
    Destination,
    /// The waypoint between them.
    Waypoint,
}

impl Reporter {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Waypoint => "waypoint",
        }
    }
}

impl EncodeLabelValue for Reporter {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// How an L4 connection ended, in the words dashboards group by.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Flag {
    /// Well.
    #[default]
    None,
    /// A policy refused it, at its begin or later.
    Denied,
    /// The upstream could not be connected to, or broke.
    Connect,
    /// TLS with the upstream failed.
    TlsFailure,
    /// HTTP/2 with the upstream failed.
    H2Failure,
    /// The upstream's HBONE port did not answer: a network policy, most likely.
    NetworkPolicy,
    /// There is no certificate to connect with.
    IdentityError,
}

impl Flag {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Denied => "DENY",
            Self::Connect => "CONNECT",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2Failure => "H2_HANDSHAKE_FAILURE",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::IdentityError => "IDENTITY_ERROR",
        }
    }
}

impl EncodeLabelValue for Flag {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// Whether bytes were protected on the reporter's side.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Security {
    /// Mutual TLS.
    MutualTls,
    /// Not that we know.
    Unknown,
}

impl EncodeLabelValue for Security {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let text = match self {
            Self::MutualTls => "mutual_tls",
            Self::Unknown => "unknown",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

/// The label set of every `istio_tcp_*` metric, in Istio's order.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the fields are Istio's label names")]
pub struct TrafficLabels {
    pub reporter: Reporter,
    pub source_workload: Label,
    pub source_canonical_service: Label,
    pub source_canonical_revision: Label,
    pub source_workload_namespace: Label,
    pub source_principal: Label,
    pub source_app: Label,
    pub source_version: Label,
    pub source_cluster: Label,
    pub destination_service: Label,
    pub destination_service_namespace: Label,
    pub destination_service_name: Label,
    pub destination_workload: Label,
    pub destination_canonical_service: Label,
    pub destination_canonical_revision: Label,
    pub destination_workload_namespace: Label,
    pub destination_principal: Label,
    pub destination_app: Label,
    pub destination_version: Label,
    pub destination_cluster: Label,
    pub request_protocol: &'static str,
    pub response_flags: Flag,
    pub connection_security_policy: Security,
    pub source_region: Label,
    pub source_zone: Label,
    pub destination_region: Label,
    pub destination_zone: Label,
}

impl TrafficLabels {
    /// The labels of a connection between two ends, for a service if one was dialled.
    pub fn new(
        reporter: Reporter,
        source: PeerLabels,
        destination: PeerLabels,
        service: Option<&Service>,
        security: Security,
    ) -> Self {
        Self {
            reporter,
            source_workload: source.workload,
            source_app: source.canonical_service.clone(),
            source_version: source.canonical_revision.clone(),
            source_canonical_service: source.canonical_service,
            source_canonical_revision: source.canonical_revision,
            source_workload_namespace: source.namespace,
            source_principal: source.principal,
            source_cluster: source.cluster,
            destination_service: Label::optional(service.map(|service| &service.key.hostname)),
            destination_service_namespace: Label::optional(
                service.map(|service| &service.key.namespace),
            ),
            destination_service_name: Label::optional(service.map(|service| &service.name)),
            destination_workload: destination.workload,
            destination_app: destination.canonical_service.clone(),
            destination_version: destination.canonical_revision.clone(),
            destination_canonical_service: destination.canonical_service,
            destination_canonical_revision: destination.canonical_revision,
            destination_workload_namespace: destination.namespace,
            destination_principal: destination.principal,
            destination_cluster: destination.cluster,
            request_protocol: "tcp",
            response_flags: Flag::None,
            connection_security_policy: security,
            source_region: source.region,
            source_zone: source.zone,
            destination_region: destination.region,
            destination_zone: destination.zone,
        }
    }
}

/// Labels of what only depends on who reports.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReporterLabels {
    reporter: Reporter,
}

/// The L4 families of a process.
#[derive(Clone, Debug, Default)]
pub struct TcpMetrics {
    opened: Family<TrafficLabels, Counter>,
    closed: Family<TrafficLabels, Counter>,
    received: Family<TrafficLabels, Counter>,
    sent: Family<TrafficLabels, Counter>,
    failed: Family<TrafficLabels, Counter>,
    sockets: Family<ReporterLabels, Gauge>,
}

impl TcpMetrics {
    /// Makes the families and registers them below `registry`, which carries the prefix `istio`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Connections opened";
        registry.register("tcp_connections_opened", help, metrics.opened.clone());
        let help = "Connections closed";
        registry.register("tcp_connections_closed", help, metrics.closed.clone());
        let help = "Bytes received from the client, in the request direction";
        let received = metrics.received.clone();
        registry.register_with_unit("tcp_received", help, Unit::Bytes, received);
        let help = "Bytes sent to the client, in the response direction";
        registry.register_with_unit("tcp_sent", help, Unit::Bytes, metrics.sent.clone());
        let help = "Connections that failed";
        registry.register("tcp_connections_failed", help, metrics.failed.clone());
        let help = "Sockets open now";
        registry.register("tcp_sockets_open", help, metrics.sockets.clone());
        metrics
    }

    /// Counts a connection as opened, and gives the handles for the rest of its life.
    pub fn open(&self, labels: TrafficLabels) -> Handles {
        self.opened.get_or_create(&labels).inc();
        Handles {
            received: self.received.get_or_create_owned(&labels),
            sent: self.sent.get_or_create_owned(&labels),
            metrics: self.clone(),
            labels,
        }
    }

    /// The gauge of sockets a side of the proxy holds open.
    pub fn sockets(&self, reporter: Reporter) -> Gauge {
        self.sockets
            .get_or_create_owned(&ReporterLabels { reporter })
    }
}

/// The metrics of one open connection.
#[derive(Clone, Debug)]
pub struct Handles {
    received: Counter,
    sent: Counter,
    metrics: TcpMetrics,
    labels: TrafficLabels,
}

impl Handles {
    /// Counts bytes of the request direction.
    pub fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    /// Counts bytes of the response direction.
    pub fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    /// Counts the connection as closed, and as failed if it did.
    pub fn close(mut self, flag: Flag) {
        self.labels.response_flags = flag;
        self.metrics.closed.get_or_create(&self.labels).inc();
        if flag != Flag::None {
            self.metrics.failed.get_or_create(&self.labels).inc();
        }
    }
}
