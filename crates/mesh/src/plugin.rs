//! Plugins: which WebAssembly modules run on a request, and in which order. Nothing here runs one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::Str;
use crate::address::NamespacedHostname;
use crate::origin::{Origin, Target};

#[cfg(test)]
mod tests;

/// A configured plugin.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// The object it was made from.
    pub origin: Arc<Origin>,
    /// What it is attached to.
    pub targets: Vec<Target>,
    /// Where its module is.
    pub url: Str,
    /// Digest the module must have, lower-case hex.
    pub sha256: Option<Str>,
    /// When it runs.
    pub phase: Phase,
    /// Higher runs earlier in its phase; unset runs last.
    pub priority: Option<i32>,
    /// Handed to the guest; empty when the user gave none.
    #[serde(serialize_with = "text")]
    pub configuration: Vec<u8>,
    /// Name of the guest's root context.
    pub root_id: Str,
    /// What happens to requests when the guest cannot run.
    pub fail_strategy: FailStrategy,
    /// Environment of the guest.
    pub env: BTreeMap<Str, Str>,
    /// Requests or connections.
    pub kind: Kind,
    /// Service ports it applies to; none is all.
    pub ports: Vec<u16>,
}

/// When a plugin runs, in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Phase {
    /// Before tokens are validated.
    Authn,
    /// Before authorization policies.
    Authz,
    /// After authorization.
    Stats,
    /// Last before routing.
    Unspecified,
}

/// What happens to requests when a guest cannot run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum FailStrategy {
    /// They are answered with an error.
    Close,
    /// They pass without it.
    Open,
    /// As [`Close`](Self::Close), and the next request gets a new instance.
    Reload,
}

/// What a plugin sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum Kind {
    /// HTTP requests.
    Http,
    /// Connections.
    Network,
}

impl Plugin {
    /// `namespace.name`, as plugins are called in logs and by guests.
    pub fn name(&self) -> Str {
        format!("{}.{}", self.origin.namespace, self.origin.name).into()
    }

    /// Whether it runs for a port of a service; without a service, for a workload.
    pub fn applies(&self, service: Option<&NamespacedHostname>, port: u16) -> bool {
        Target::covers(&self.targets, service)
            && (self.ports.is_empty() || self.ports.contains(&port))
    }

    /// What plugins are ordered by: phase, priority, age, namespace, name.
    fn order(&self) -> (Phase, std::cmp::Reverse<Option<i32>>, (i64, &str, &str)) {
        // `None` is below every number, so unset runs after the lowest priority.
        (
            self.phase,
            std::cmp::Reverse(self.priority),
            self.origin.precedence(),
        )
    }
}

/// The plugins of one kind that run for a port of a service, in the order they run.
pub fn chain<'p>(
    plugins: impl IntoIterator<Item = &'p Arc<Plugin>>,
    kind: Kind,
    service: Option<&NamespacedHostname>,
    port: u16,
) -> Vec<Arc<Plugin>> {
    let mut chain: Vec<_> = plugins
        .into_iter()
        .filter(|plugin| plugin.kind == kind && plugin.applies(service, port))
        .cloned()
        .collect();
    chain.sort_by(|one, other| one.order().cmp(&other.order()));
    chain
}

fn text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}
