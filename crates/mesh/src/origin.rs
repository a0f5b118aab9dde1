//! The object a decision comes from, and what it is attached to.

use std::fmt;

use serde::Serialize;

use crate::Str;
use crate::address::NamespacedHostname;

/// The object a resource was made from. Decisions, logs, metrics and refusals name it.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Kind, as users write it.
    pub kind: Str,
    /// Namespace.
    pub namespace: Str,
    /// Name.
    pub name: Str,
    /// Generation of its specification.
    pub generation: i64,
    /// When it was made, in Unix milliseconds; the older object wins a tie.
    pub created_at: i64,
}

impl Origin {
    /// An origin of which only the name is known.
    pub fn named(kind: &str, namespace: impl Into<Str>, name: impl Into<Str>) -> Self {
        Self {
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            generation: 0,
            created_at: 0,
        }
    }

    /// What older-first orders by: age, then namespace, then name.
    pub fn precedence(&self) -> (i64, &str, &str) {
        (self.created_at, &self.namespace, &self.name)
    }
}

/// `Kind namespace/name`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What a policy or plugin of a waypoint is attached to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Target {
    /// Everything behind the waypoint that received it.
    Waypoint,
    /// One service.
    Service(NamespacedHostname),
}

impl Target {
    /// Whether any of `targets` covers `service`; a workload, which has no service, is covered
    /// by [`Waypoint`](Self::Waypoint) alone.
    pub fn covers(targets: &[Self], service: Option<&NamespacedHostname>) -> bool {
        targets.iter().any(|target| match target {
            Self::Waypoint => true,
            Self::Service(key) => Some(key) == service,
        })
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Waypoint => serializer.serialize_str("waypoint"),
            Self::Service(key) => serializer.collect_str(key),
        }
    }
}
