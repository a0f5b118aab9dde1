//! What the control plane told, as one immutable value that requests read.
//!
//! A [`Snapshot`] holds workloads, services, and for each service what applies to it, compiled.
//! One [`Writer`], on the control thread, applies whole xDS responses to a copy and publishes it;
//! the copy shares everything that did not change, and only services that are touched are
//! compiled again. What cannot be understood is rejected by name; its last good version stays,
//! and where there is none, something that fails takes its place, because going on without what
//! a user asked for may go past a policy.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

mod rules;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use rules::{Loaded, Rules};
pub use snapshot::Snapshot;
pub(crate) use writer::{Effect, SharedWriter};
pub use writer::{Load, Writer};

/// Types a waypoint subscribes to, in the order they are asked for.
pub const TYPES: [&str; 4] = [
    proto::ADDRESS_TYPE,
    proto::POLICY_TYPE,
    proto::PLUGIN_TYPE,
    proto::ROUTE_TYPE,
];

/// The snapshot every worker reads.
#[derive(Debug)]
pub struct State {
    current: ArcSwap<Snapshot>,
    /// Counts publications.
    changes: watch::Sender<u64>,
}

impl State {
    /// Starts with an empty mesh.
    pub fn new(place: &crate::config::Place) -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::empty(place)),
            changes: watch::Sender::new(0),
        }
    }

    /// The snapshot as it is now; a request takes it once and keeps it.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Wakes after each publication.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn publish(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
        self.changes.send_modify(|count| *count += 1);
    }
}
