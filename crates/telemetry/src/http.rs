//! L7 metrics, as a waypoint counts them.
//!
//! Names, labels and their order are Istio's (istio/proxy `istio_stats`; Istio's dashboards and
//! Kiali query them).

use std::fmt;

use mesh::service::Service;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::histogram::{Constructor, Histogram};
use crate::label::{Label, PeerLabels};
use crate::tcp::{Reporter, Security};

pub mod log;
#[cfg(test)]
mod tests;

/// What ended a request, in Envoy's short words.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Flag {
    /// Nothing unusual.
    #[default]
    None,
    /// The client went away.
    DownstreamTermination,
    /// The client broke the protocol.
    DownstreamProtocolError,
    /// No rule of the service's routes matched.
    NoRoute,
    /// The service has no endpoint that may be used.
    NoHealthyUpstream,
    /// No connection to the endpoint could be made.
    UpstreamConnectFailure,
    /// The endpoint closed the connection before it had answered.
    UpstreamTermination,
    /// The endpoint took the request back.
    UpstreamReset,
    /// The endpoint did not answer in time.
    UpstreamTimeout,
    /// The endpoint broke the protocol.
    UpstreamProtocolError,
    /// Every attempt failed.
    RetryLimit,
    /// The proxy is overloaded.
    Overload,
}

impl Flag {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::DownstreamTermination => "DC",
            Self::DownstreamProtocolError => "DPE",
            Self::NoRoute => "NR",
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamConnectFailure => "UF",
            Self::UpstreamTermination => "UC",
            Self::UpstreamReset => "UR",
            Self::UpstreamTimeout => "UT",
            Self::UpstreamProtocolError => "UPE",
            Self::RetryLimit => "URX",
            Self::Overload => "UO",
        }
    }
}

impl Flag {
    /// The flag in Envoy's bit vector (`StreamInfo::CoreResponseFlag`), as filters read it.
    fn bit(self) -> u64 {
        match self {
            Self::None => 0,
            Self::NoHealthyUpstream => 0x2,
            Self::UpstreamTimeout => 0x4,
            Self::UpstreamReset => 0x10,
            Self::UpstreamConnectFailure => 0x20,
            Self::UpstreamTermination => 0x40,
            Self::NoRoute => 0x100,
            Self::DownstreamTermination => 0x4000,
            Self::RetryLimit => 0x8000,
            Self::DownstreamProtocolError => 0x4_0000,
            Self::UpstreamProtocolError => 0x80_0000,
            Self::Overload => 0x200_0000,
        }
    }
}

/// Several flags of one request, in the order they were raised.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Flags([Flag; 2]);

impl Flags {
    /// The flags as Envoy's bit vector.
    pub fn bits(self) -> u64 {
        self.0
            .into_iter()
            .map(Flag::bit)
            .fold(0, |all, bit| all | bit)
    }

    /// Raises a flag; of more than two the first two stand.
    pub fn raise(&mut self, flag: Flag) {
        let [first, second] = &mut self.0;
        if *first == Flag::None {
            *first = flag;
        } else if *second == Flag::None && *first != flag {
            *second = flag;
        }
    }
}

/// `UT`, `URX,UF` or `-`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        f.write_str(first.as_str())?;
        if second == Flag::None {
            return Ok(());
        }
        write!(f, ",{}", second.as_str())
    }
}

impl EncodeLabelValue for Flags {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.to_string(), encoder)
    }
}

/// What a request is counted as.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
}

impl EncodeLabelValue for Protocol {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let text = match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

/// gRPC status; empty for what is no gRPC.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct GrpcStatus(pub Option<u16>);

impl EncodeLabelValue for GrpcStatus {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self.0 {
            Some(code) => EncodeLabelValue::encode(&u32::from(code), encoder),
            None => EncodeLabelValue::encode(&"", encoder),
        }
    }
}

/// The label set of every L7 metric, in Istio's order.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the fields are Istio's label names")]
pub struct RequestLabels {
    pub reporter: Reporter,
    pub source_workload: Label,
    pub source_canonical_service: Label,
    pub source_canonical_revision: Label,
    pub source_workload_namespace: Label,
    pub source_principal: Label,
    pub source_app: Label,
    pub source_version: Label,
    pub source_cluster: Label,
    pub destination_workload: Label,
    pub destination_workload_namespace: Label,
    pub destination_principal: Label,
    pub destination_app: Label,
    pub destination_version: Label,
    pub destination_service: Label,
    pub destination_canonical_service: Label,
    pub destination_canonical_revision: Label,
    pub destination_service_name: Label,
    pub destination_service_namespace: Label,
    pub destination_cluster: Label,
    pub request_protocol: Protocol,
    pub response_code: u32,
    pub grpc_response_status: GrpcStatus,
    pub response_flags: Flags,
    pub connection_security_policy: Security,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ending {
    /// What it is counted as.
    pub protocol: Protocol,
    /// Status sent to the client; 0 when there was none.
    pub response_code: u16,
    /// gRPC status sent to the client.
    pub grpc_status: GrpcStatus,
    /// What went wrong.
    pub flags: Flags,
}

impl RequestLabels {
    /// The labels of a request between two ends, for a service if one was asked for.
    pub fn new(
        source: PeerLabels,
        destination: PeerLabels,
        service: Option<&Service>,
        ending: Ending,
    ) -> Self {
        Self {
            reporter: Reporter::Waypoint,
            source_workload: source.workload,
            source_app: source.canonical_service.clone(),
            source_version: source.canonical_revision.clone(),
            source_canonical_service: source.canonical_service,
            // A source without a revision is of the latest one: Istio's own rule, for this label.
            source_canonical_revision: if source.canonical_revision == Label::UNKNOWN {
                Label::copied("latest")
            } else {
                source.canonical_revision
            },
            source_workload_namespace: source.namespace,
            source_principal: source.principal,
            source_cluster: source.cluster,
            destination_workload: destination.workload,
            destination_workload_namespace: destination.namespace,
            destination_principal: destination.principal,
            destination_app: destination.canonical_service.clone(),
            destination_version: destination.canonical_revision.clone(),
            destination_service: Label::optional(service.map(|service| &service.key.hostname)),
            destination_canonical_service: destination.canonical_service,
            destination_canonical_revision: destination.canonical_revision,
            destination_service_name: Label::optional(service.map(|service| &service.name)),
            destination_service_namespace: Label::optional(
                service.map(|service| &service.key.namespace),
            ),
            destination_cluster: destination.cluster,
            request_protocol: ending.protocol,
            response_code: u32::from(ending.response_code),
            grpc_response_status: ending.grpc_status,
            response_flags: ending.flags,
            connection_security_policy: Security::MutualTls,
        }
    }
}

/// The L7 families of a process.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RequestLabels, Histogram, Constructor>,
    request_bytes: Family<RequestLabels, Histogram, Constructor>,
    response_bytes: Family<RequestLabels, Histogram, Constructor>,
}

impl HttpMetrics {
    /// Makes the families and registers them below `registry`, which carries the prefix `istio`.
    pub fn register(registry: &mut Registry) -> Self {
        let histograms = || Family::new_with_constructor(Constructor);
        let metrics = Self {
            requests: Family::default(),
            duration: histograms(),
            request_bytes: histograms(),
            response_bytes: histograms(),
        };
        registry.register("requests", "Requests", metrics.requests.clone());
        let help = "Time from the first byte of a request to the last of its response";
        registry.register(
            "request_duration_milliseconds",
            help,
            metrics.duration.clone(),
        );
        let help = "Size of requests, headers included";
        registry.register("request_bytes", help, metrics.request_bytes.clone());
        let help = "Size of responses, headers included";
        registry.register("response_bytes", help, metrics.response_bytes.clone());
        metrics
    }

    /// The metrics of one label set. Looking them up hashes 25 labels: callers keep them.
    pub fn handles(&self, labels: &RequestLabels) -> Handles {
        Handles {
            requests: self.requests.get_or_create_owned(labels),
            duration: self.duration.get_or_create_owned(labels),
            request_bytes: self.request_bytes.get_or_create_owned(labels),
            response_bytes: self.response_bytes.get_or_create_owned(labels),
        }
    }
}

/// The metrics of one label set.
#[derive(Clone, Debug)]
pub struct Handles {
    requests: Counter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

impl Handles {
    /// Counts a request that has ended.
    ///
    /// * `duration_ms` — from its first byte to the last of its response.
    pub fn record(&self, duration_ms: f64, request_bytes: u64, response_bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "sizes below 2^53 are exact")]
        let size = |bytes: u64| bytes as f64;
        self.requests.inc();
        self.duration.observe(duration_ms);
        self.request_bytes.observe(size(request_bytes));
        self.response_bytes.observe(size(response_bytes));
    }
}
