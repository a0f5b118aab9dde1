//! A named set of workloads behind virtual addresses.

use ipnet::IpNet;

use crate::Str;
use crate::address::{GatewayAddress, NamespacedHostname, NetworkAddress};
use crate::spiffe::SpiffeId;

/// A service, as the control plane describes it. Its endpoints stand in the
/// [`Store`](crate::store::Store).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Kubernetes name.
    pub name: Str,
    /// Key: namespace and host name.
    pub key: NamespacedHostname,
    /// Virtual addresses; empty when headless.
    pub vips: Vec<NetworkAddress>,
    /// Virtual address ranges.
    pub cidr_vips: Vec<(Str, IpNet)>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Further identities accepted from an endpoint.
    pub subject_alt_names: Vec<SpiffeId>,
    /// The waypoint in front of it.
    pub waypoint: Option<GatewayAddress>,
    /// Waypoints that share its connections by weight.
    pub weighted_waypoints: Vec<(GatewayAddress, u32)>,
    /// How a client picks an endpoint.
    pub load_balancer: LoadBalancer,
    /// Address families of its endpoints.
    pub ip_families: IpFamilies,
    /// Preferred when several services claim a host or address.
    pub canonical: bool,
    /// Who may resolve it.
    pub visibility: Visibility,
}

impl Service {
    /// The port a client dialled, if the service has it.
    pub fn port(&self, service_port: u16) -> Option<&Port> {
        self.ports
            .iter()
            .find(|port| port.service_port == service_port)
    }

    /// Whether a client of `namespace` may resolve it.
    pub fn visible_to(&self, namespace: &str) -> bool {
        match self.visibility {
            Visibility::Public => true,
            Visibility::Namespace => &*self.key.namespace == namespace,
        }
    }
}

/// A service port and where it leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Port {
    /// Port of the service.
    pub service_port: u16,
    /// Port of the workload; `None` for a named port, which each workload resolves.
    pub target_port: Option<u16>,
    /// Declared protocol.
    pub app_protocol: AppProtocol,
}

/// Declared protocol of a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AppProtocol {
    /// Not declared: found out from the first bytes.
    Unknown,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC.
    Grpc,
    /// Opaque bytes.
    Tcp,
    /// TLS, opaque to us.
    Tls,
}

/// How a client picks an endpoint.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoadBalancer {
    /// Localities in order of importance.
    pub preferences: Vec<Scope>,
    /// What the preferences do.
    pub mode: LoadBalancerMode,
    /// Unready endpoints count too.
    pub allow_unhealthy: bool,
}

/// What a locality preference compares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Region.
    Region,
    /// Zone.
    Zone,
    /// Subzone.
    Subzone,
    /// Node.
    Node,
    /// Cluster.
    Cluster,
    /// Network.
    Network,
}

/// What locality preferences do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LoadBalancerMode {
    /// Nothing: every endpoint is equal.
    #[default]
    Standard,
    /// Only endpoints that match every scope.
    Strict,
    /// The endpoints that match the most scopes, from the left.
    Failover,
    /// No endpoint is picked: the original destination stays.
    Passthrough,
}

/// Address families of a service's endpoints.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IpFamilies {
    /// Not stated.
    #[default]
    Automatic,
    /// IPv4 alone.
    Ipv4Only,
    /// IPv6 alone.
    Ipv6Only,
    /// Both.
    Dual,
}

impl IpFamilies {
    /// Whether an address of the family may be used.
    pub fn accepts(self, ip: std::net::IpAddr) -> bool {
        match self {
            Self::Automatic | Self::Dual => true,
            Self::Ipv4Only => ip.is_ipv4(),
            Self::Ipv6Only => ip.is_ipv6(),
        }
    }
}

/// Who may resolve a service.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Visibility {
    /// Every client.
    #[default]
    Public,
    /// Clients of the service's own namespace.
    Namespace,
}
