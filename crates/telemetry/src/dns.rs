//! DNS metrics of a ztunnel.
//!
//! Names and labels are Istio's (istio/ztunnel `src/dns/metrics.rs`).

use mesh::workload::Workload;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::label::Label;

/// How a query came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct QueryLabels {
    request_query_type: String,
    request_protocol: &'static str,
    source_canonical_service: Label,
    source_canonical_revision: Label,
}

impl QueryLabels {
    fn new(query: Query<'_>) -> Self {
        Self {
            request_query_type: query.kind.to_ascii_lowercase(),
            request_protocol: match query.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            },
            source_canonical_service: Label::new(&query.client.canonical_name),
            source_canonical_revision: Label::new(&query.client.canonical_revision),
        }
    }
}

/// A query, as metrics see it.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The record type by its name; must come from a closed set.
    pub kind: &'static str,
    /// How it came.
    pub transport: Transport,
    /// Who asked.
    pub client: &'a Workload,
}

/// The DNS families of a process.
#[derive(Clone, Debug, Default)]
pub struct DnsMetrics {
    requests: Family<QueryLabels, Counter>,
    upstream_requests: Family<QueryLabels, Counter>,
    upstream_failures: Family<QueryLabels, Counter>,
}

impl DnsMetrics {
    /// Makes the families and registers them below `registry`, which carries the prefix `istio`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "dns_requests",
            "DNS queries of pods",
            metrics.requests.clone(),
        );
        let help = "DNS queries sent on to a resolver";
        registry.register(
            "dns_upstream_requests",
            help,
            metrics.upstream_requests.clone(),
        );
        let help = "DNS queries no resolver answered";
        registry.register(
            "dns_upstream_failures",
            help,
            metrics.upstream_failures.clone(),
        );
        metrics
    }

    /// Counts a query of a pod.
    pub fn request(&self, query: Query<'_>) {
        self.requests.get_or_create(&QueryLabels::new(query)).inc();
    }

    /// Counts a query that is not ours.
    pub fn forwarded(&self, query: Query<'_>) {
        self.upstream_requests
            .get_or_create(&QueryLabels::new(query))
            .inc();
    }

    /// Counts a query nobody answered.
    pub fn failed(&self, query: Query<'_>) {
        self.upstream_failures
            .get_or_create(&QueryLabels::new(query))
            .inc();
    }
}
