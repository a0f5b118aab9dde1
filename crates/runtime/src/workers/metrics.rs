//! `tokio_*`: how busy the workers are. Names and labels are ztunnel's.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::runtime::{Handle, RuntimeMetrics};

use super::Workers;
use crate::tasks::LocalTasks;

impl Workers {
    /// Registers `tokio_num_workers` and its siblings. The registry must have no prefix.
    pub fn register(&self, registry: &mut Registry) {
        let workers = self.threads.iter();
        let workers = workers.map(|worker| (worker.runtime.clone(), worker.tasks.clone()));
        registry.register_collector(Box::new(Busy(workers.collect())));
    }
}

#[derive(Debug)]
struct Busy(Arc<[(Handle, LocalTasks)]>);

impl Busy {
    fn gauge(
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: usize,
    ) -> fmt::Result {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter<N: EncodeCounterValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: impl Fn(&RuntimeMetrics) -> N,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (index, (runtime, _)) in self.0.iter().enumerate() {
            let counter = ConstCounter::new(value(&runtime.metrics()));
            counter.encode(family.encode_family(&[("worker", index)])?)?;
        }
        Ok(())
    }
}

impl Collector for Busy {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let queued = |(runtime, _): &(Handle, _)| runtime.metrics().global_queue_depth();
        let queued = self.0.iter().map(queued).sum();
        let alive = self.0.iter().map(|(_, tasks)| tasks.len()).sum();
        Self::gauge(encoder, "tokio_num_workers", "Worker threads", self.0.len())?;
        Self::gauge(
            encoder,
            "tokio_global_queue_depth",
            "Tasks woken from other threads",
            queued,
        )?;
        Self::gauge(
            encoder,
            "tokio_num_alive_tasks",
            "Tasks of the workers",
            alive,
        )?;
        let name = "tokio_worker_total_busy_duration_seconds";
        self.counter(encoder, (name, "Time spent working"), |metrics| {
            metrics.worker_total_busy_duration(0).as_secs_f64()
        })?;
        let name = "tokio_worker_park_count";
        self.counter(encoder, (name, "Times a worker went to sleep"), |metrics| {
            metrics.worker_park_count(0)
        })?;
        let name = "tokio_worker_park_unpark_count";
        self.counter(
            encoder,
            (name, "Times a worker went to sleep or woke"),
            |metrics| metrics.worker_park_unpark_count(0),
        )
    }
}
