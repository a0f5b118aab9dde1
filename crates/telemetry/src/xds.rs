//! Metrics of a proxy's stream to the control plane.
//!
//! Names and labels are Istio's (istio/ztunnel `src/xds/metrics.rs`).

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UrlLabels {
    url: String,
}

/// The discovery families of a process.
#[derive(Clone, Debug, Default)]
pub struct XdsMetrics {
    terminations: Family<ReasonLabels, Counter>,
    messages: Family<UrlLabels, Counter>,
    bytes: Family<UrlLabels, Counter>,
}

impl XdsMetrics {
    /// Makes the families and registers them below `registry`, which carries the prefix `istio`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Ended streams to the control plane";
        registry.register(
            "xds_connection_terminations",
            help,
            metrics.terminations.clone(),
        );
        let help = "Messages received from the control plane";
        registry.register("xds_message", help, metrics.messages.clone());
        let help = "Bytes received from the control plane";
        registry.register_with_unit("xds_message", help, Unit::Bytes, metrics.bytes.clone());
        metrics
    }

    /// Counts the end of a stream.
    pub fn terminated(&self, reason: &'static str) {
        self.terminations
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }

    /// Counts a message of one type.
    pub fn message(&self, url: &str, bytes: usize) {
        let labels = UrlLabels {
            url: url.to_owned(),
        };
        self.messages.get_or_create(&labels).inc();
        self.bytes.get_or_create(&labels).inc_by(bytes as u64);
    }
}
