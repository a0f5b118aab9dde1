//! Limits and figures of this process.

use std::fmt;
use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::tasks;

/// Raises the limit of open files as far as this process may: every connection takes one, and the
/// usual limit of 1024 is for programs that use `select`.
pub fn raise_open_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

/// Registers `process_open_fds`, `process_max_fds` and `cairn_task_panics_total`. The registry must
/// have no prefix.
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Process));
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // One of the entries is the directory being read.
        let open = fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1));
        let max = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let figures = [
            ("process_open_fds", "Open file descriptors", open as u64),
            ("process_max_fds", "Limit of open file descriptors", max),
        ];
        for (name, help, value) in figures {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        let (name, help) = ("cairn_task_panics", "Tasks that ended in a panic");
        let panics = ConstCounter::new(tasks::panics());
        panics.encode(encoder.encode_descriptor(name, help, None, panics.metric_type())?)
    }
}

#[cfg(test)]
mod tests;
