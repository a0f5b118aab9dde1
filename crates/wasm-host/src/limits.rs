//! How much of the worker a plugin may use, and what happens beyond it.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// What one VM of a plugin may use.
///
/// Where the ABI knows no refusal that SDKs survive, the guest is told "OK", the effect is left
/// out, and [`PluginHost::notice`](crate::PluginHost::notice) hears of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Linear memory in bytes. Beyond it `memory.grow` fails, and guests usually trap then.
    ///
    /// 32 MiB fits every known filter: old C++ ones declare 16 MiB, Go ones begin with 2.5 MiB.
    pub memory: usize,
    /// Elements of each table; `table.grow` fails beyond.
    pub table_elements: usize,
    /// Processor time of instantiation, and of each start function. Beyond: trap.
    pub start: Duration,
    /// Processor time of `proxy_on_configure`. Beyond: trap.
    pub configure: Duration,
    /// Processor time of a callback of a stream; of those at its end, all together. Beyond: trap.
    pub callback: Duration,
    /// Processor time of a timer, queue or callout callback outside streams. Beyond: trap.
    pub tick: Duration,
    /// Host calls per callback. Beyond: trap.
    pub host_calls: u32,
    /// Log lines per callback. Beyond: dropped.
    pub log_lines: u32,
    /// Bytes of one log line. Beyond: cut.
    pub log_line: usize,
    /// Log lines per second, with bursts of as many. Beyond: dropped.
    pub log_lines_per_second: u32,
    /// Pairs in a header map a guest hands over. Beyond: the map counts as empty.
    pub pairs: usize,
    /// Bytes of headers a guest may write per callback. Beyond: dropped.
    pub header_bytes: usize,
    /// Bytes of body a guest may write at once, also of a local response or callout. Beyond:
    /// `BAD_ARGUMENT`, or a local response that is a 500 without a body.
    pub body_bytes: usize,
    /// Bytes of properties a stream keeps for a guest. Beyond: not kept.
    pub property_bytes: usize,
    /// Bytes of shared data of all VMs with one id. Beyond: `CAS_MISMATCH`.
    pub shared_bytes: usize,
    /// Bytes of the name of a shared datum, queue or metric. Beyond: as when full.
    pub name_bytes: usize,
    /// Queues of all VMs with one id. Beyond: one in which nothing is kept.
    pub queues: usize,
    /// Items waiting in one queue, all of them together within `shared_bytes`. Beyond:
    /// `NOT_FOUND`, the only refusal SDKs accept.
    pub queue_items: usize,
    /// Metrics one VM defines. Beyond: its values go nowhere.
    pub metrics: usize,
    /// Callouts in flight per stream. Beyond: `INTERNAL_FAILURE`.
    pub calls_per_stream: usize,
    /// Callouts in flight per VM. Beyond: `INTERNAL_FAILURE`.
    pub calls: usize,
    /// Bytes that go into or come out of a foreign function of this crate. Beyond: an error.
    pub foreign_bytes: usize,
    /// Expressions a VM keeps. Beyond: `INTERNAL_FAILURE`.
    pub expressions: usize,
    /// The longest timeout of a callout, and the timeout of one that gives none.
    pub call_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 32 << 20,
            table_elements: 20_000,
            start: Duration::from_secs(1),
            configure: Duration::from_secs(1),
            callback: Duration::from_millis(10),
            tick: Duration::from_millis(10),
            host_calls: 10_000,
            log_lines: 64,
            log_line: 4 << 10,
            log_lines_per_second: 100,
            pairs: 1024,
            header_bytes: 64 << 10,
            body_bytes: 1 << 20,
            property_bytes: 64 << 10,
            shared_bytes: 1 << 20,
            name_bytes: 256,
            queues: 64,
            queue_items: 1024,
            metrics: 1000,
            calls_per_stream: 8,
            calls: 64,
            foreign_bytes: 1 << 20,
            expressions: 64,
            call_timeout: Duration::from_secs(30),
        }
    }
}

/// Applies the limits of memory and tables, and remembers what was asked for.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_limit: usize,
    table_limit: usize,
    /// Bytes of linear memory now.
    pub(crate) memory: usize,
    /// Whether growth was refused: a trap soon after is most likely its consequence.
    pub(crate) refused: bool,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory_limit: limits.memory,
            table_limit: limits.table_elements,
            memory: 0,
            refused: false,
        }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory_limit;
        if allowed {
            self.memory = desired;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.table_limit;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        4
    }

    fn memories(&self) -> usize {
        1
    }
}
