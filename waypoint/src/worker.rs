//! What one worker thread owns. Nothing here is shared with another worker but what is read-only
//! or made of atomics.

use std::rc::Rc;
use std::sync::Arc;

use identity::CertSource;
use mesh::path::Normalization;
use mesh::spiffe::SpiffeId;
use runtime::{Drain, LocalTasks};
use telemetry::http::HttpMetrics;
use telemetry::tcp::TcpMetrics;

use crate::connect::Connector;
use crate::draw::Draw;
use crate::endpoint::Loads;
use crate::http::upstream::Upstreams;
use crate::plugins::{Allowance, Vms};
use crate::state::State;

#[cfg(test)]
mod tests;

/// One worker.
pub(crate) struct Worker {
    /// Configuration.
    pub(crate) state: Arc<State>,
    /// Our certificate.
    pub(crate) certificate: CertSource,
    /// Who we are by it.
    pub(crate) identity: SpiffeId,
    /// Owner of what serves clients; the worker is done when these are.
    pub(crate) connections: LocalTasks,
    /// Owner of every other task on this worker.
    pub(crate) tasks: LocalTasks,
    /// Tells when to finish.
    pub(crate) drain: Drain,
    /// Randomness.
    pub(crate) draw: Rc<Draw>,
    /// Requests in flight.
    pub(crate) loads: Rc<Loads>,
    /// Connections to endpoints.
    pub(crate) connector: Rc<Connector>,
    /// HTTP connections to endpoints.
    pub(crate) upstreams: Rc<Upstreams>,
    /// Plugins of this worker.
    pub(crate) vms: Rc<Vms>,
    /// What plugins may hold back.
    pub(crate) held: Allowance,
    /// How paths are normalised.
    pub(crate) normalization: Normalization,
    /// What is counted and logged.
    pub(crate) reporting: Reporting,
}

/// Where reports go.
#[derive(Clone, Debug)]
pub(crate) struct Reporting {
    /// L7 metrics.
    pub(crate) http: HttpMetrics,
    /// L4 metrics.
    pub(crate) tcp: TcpMetrics,
    /// Log of requests and connections; `None` when it is off.
    pub(crate) access: Option<runtime::log::AccessLog>,
    /// Work of plugins for requests that are traced.
    pub(crate) spans: telemetry::span::Spans,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}
