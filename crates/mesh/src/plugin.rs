//! Plugins: which WebAssembly modules run on a request, and in which order. Nothing here runs one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    /// The object it was made from: a `WasmPlugin` or a `TrafficExtension`.
    pub origin: Arc<Origin>,
    /// What it is attached to; nothing if only rules of routes name it.
    pub targets: Vec<Target>,
    /// Where its module is, with the scheme: oci, http, https or file.
    pub url: Str,
    /// Digest the module, or the manifest of its image, must have; lower-case hex.
    pub sha256: Option<Str>,
    /// When what the URL stands for is looked up again.
    pub pull_policy: PullPolicy,
    /// Another text whenever the object is another one, its labels and annotations included.
    pub revision: Str,
    /// What the registry of the URL is shown.
    #[serde(skip)]
    pub pull_secret: Option<PullSecret>,
    /// Why the module cannot be fetched, whatever is tried.
    pub unfetchable: Option<Str>,
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
    /// Variables of the proxy's own environment that the guest gets as well, by name. What `env`
    /// says goes first; one that the proxy lacks is not set.
    pub host_env: Vec<Str>,
    /// Requests or connections.
    pub kind: Kind,
    /// Service ports it applies to; none is all.
    pub ports: Vec<u16>,
    /// Where its callouts may go; `None` is every service that its namespace can see.
    pub allowed_upstreams: Option<Vec<Upstream>>,
    /// What it may use.
    pub limits: Limits,
    /// Whether a guest that stops at headers still gets the body (Envoy's
    /// `allow_on_headers_stop_iteration`).
    pub body_while_headers_wait: bool,
}

/// When what a URL stands for is looked up again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum PullPolicy {
    /// Once.
    IfNotPresent,
    /// Whenever [`Plugin::revision`] is another one.
    Always,
}

/// A docker configuration file with the credentials of one registry. Neither `Debug` nor
/// serialization shows it.
#[derive(Clone, Eq, PartialEq)]
pub struct PullSecret(Arc<[u8]>);

impl PullSecret {
    /// The secret that stands in `docker_config`.
    pub fn new(docker_config: &[u8]) -> Self {
        Self(docker_config.into())
    }

    /// The file, for whoever speaks to the registry.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PullSecret(hidden)")
    }
}

/// A destination of callouts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Upstream {
    /// Host name of a service.
    pub host: Str,
    /// Service port; `None` is every port.
    pub port: Option<u16>,
}

/// What a plugin may use; `None` is the proxy's default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// Memory of one machine, in bytes.
    pub memory: Option<u64>,
    /// Time of one callback.
    pub callback: Option<Duration>,
    /// Body bytes held for one direction of a stream.
    pub buffer: Option<u64>,
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

    /// Whether callouts may go to a port of a host. Host names are the same whatever their case.
    pub fn may_call(&self, host: &str, port: u16) -> bool {
        self.allowed_upstreams.as_ref().is_none_or(|allowed| {
            allowed.iter().any(|upstream| {
                upstream.host.eq_ignore_ascii_case(host)
                    && upstream.port.is_none_or(|known| known == port)
            })
        })
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
