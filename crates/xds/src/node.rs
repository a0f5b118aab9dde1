//! Who a client says it is.
//!
//! A server may show this to people or log it, but never decides by it: what a client gets follows
//! from its authenticated identity.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use prost_types::{Struct, Value, value::Kind};
use proto::envoy::config::core::v3 as core;

#[cfg(test)]
mod tests;

/// Which kind of proxy subscribes; the first part of the node id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The L7 proxy of a namespace, service or workload.
    Waypoint,
    /// The L4 proxy of a node.
    Ztunnel,
}

/// A client's description of itself, sent with the first request for each type.
///
/// Source: istio/ztunnel `src/xds/client.rs` (`node`), istio/istio `pkg/model/proxy.go` (node id).
#[derive(Clone, Debug)]
pub struct Node {
    /// The kind of proxy.
    pub role: Role,
    /// The proxy's own address; `1.1.1.1` is sent while it is unknown, as ztunnel does.
    pub ip: Option<IpAddr>,
    /// The proxy's pod.
    pub pod: String,
    /// The namespace of that pod; istiod compares it with the token's.
    pub namespace: String,
    /// The Kubernetes node the pod runs on.
    pub node: String,
    /// More metadata, by key; wins over what the fields above would write.
    pub metadata: BTreeMap<String, Value>,
}

impl Node {
    /// Adds a metadata string.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, text: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), string(text.into()));
        self
    }

    /// The node id: `ROLE~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local`.
    pub fn id(&self) -> String {
        let role = match self.role {
            Role::Waypoint => "waypoint",
            Role::Ztunnel => "ztunnel",
        };
        let Self { pod, namespace, .. } = self;
        format!(
            "{role}~{}~{pod}.{namespace}~{namespace}.svc.cluster.local",
            self.ip()
        )
    }

    /// The message; `cluster`, `locality` and the user agent stay empty, as ztunnel leaves them.
    pub fn to_proto(&self) -> core::Node {
        let mut fields = BTreeMap::from([
            ("NAME".to_owned(), string(self.pod.clone())),
            ("NAMESPACE".to_owned(), string(self.namespace.clone())),
            ("INSTANCE_IPS".to_owned(), string(self.ip().to_string())),
            ("NODE_NAME".to_owned(), string(self.node.clone())),
        ]);
        fields.extend(self.metadata.clone());
        core::Node {
            id: self.id(),
            metadata: Some(Struct { fields }),
            ..core::Node::default()
        }
    }

    fn ip(&self) -> IpAddr {
        self.ip.unwrap_or(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)))
    }
}

fn string(text: String) -> Value {
    Value {
        kind: Some(Kind::StringValue(text)),
    }
}
