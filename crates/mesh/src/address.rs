//! Addresses of the mesh: an IP on a network, a host name in a namespace, a gateway.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::Str;

/// An IP address on a network; the empty network is the default one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NetworkAddress {
    /// Network name.
    pub network: Str,
    /// Address on it.
    pub ip: IpAddr,
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ip)
    }
}

/// A host name scoped to a namespace: the key of a service, written `namespace/hostname`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NamespacedHostname {
    /// Namespace of the object that declares the host.
    pub namespace: Str,
    /// Fully qualified host name.
    pub hostname: Str,
}

impl NamespacedHostname {
    /// The key of `hostname` in `namespace`.
    pub fn new(namespace: impl Into<Str>, hostname: impl Into<Str>) -> Self {
        Self {
            namespace: namespace.into(),
            hostname: hostname.into(),
        }
    }

    /// Reads `namespace/hostname`; `None` when there is not exactly that.
    pub fn parse(key: &str) -> Option<Self> {
        let (namespace, hostname) = key.split_once('/')?;
        if namespace.is_empty() || hostname.is_empty() || hostname.contains('/') {
            return None;
        }
        Some(Self::new(namespace, hostname))
    }
}

impl fmt::Display for NamespacedHostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

/// A gateway or waypoint, as others refer to it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct GatewayAddress {
    /// Where it is.
    pub destination: GatewayDestination,
    /// Its HBONE port; 0 was never sent by a control plane we know.
    pub hbone_port: u16,
}

/// How a gateway is named.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum GatewayDestination {
    /// By the host name of its service.
    Hostname(NamespacedHostname),
    /// By an address of its service or workload.
    Address(NetworkAddress),
}

impl fmt::Display for GatewayDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Serialize for NetworkAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for NamespacedHostname {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for GatewayDestination {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
