//! How fetching modules goes, in numbers.

use std::fmt;

use modules::Fetcher;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Shows what a fetcher counts.
#[derive(Debug)]
struct Shown(Fetcher);

/// Registers what a fetcher counts.
pub(crate) fn register(registry: &mut Registry, modules: Fetcher) {
    registry.register_collector(Box::new(Shown(modules)));
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.counts();
        let mut counters = |name, help, label, values: &[(&str, u64)]| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (value, count) in values {
                let labels = [(label, *value)];
                let one = family.encode_family(&labels)?;
                ConstCounter::new(*count).encode(one)?;
            }
            Ok::<_, fmt::Error>(())
        };
        counters(
            "cairn_wasm_module_fetches",
            "Modules asked for over a network, by what came of it",
            "result",
            &[
                ("success", counts.success),
                ("download_failure", counts.download_failure),
                ("manifest_failure", counts.manifest_failure),
                ("checksum_mismatched", counts.checksum_mismatched),
            ],
        )?;
        counters(
            "cairn_wasm_module_cache_lookups",
            "Modules looked for in the cache, by whether one was there",
            "hit",
            &[("true", counts.cache_hits), ("false", counts.cache_misses)],
        )?;
        let entries = ConstGauge::new(i64::try_from(self.0.cached()).unwrap_or(i64::MAX));
        let name = "cairn_wasm_module_cache_entries";
        let help = "Modules in the cache";
        entries.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}
