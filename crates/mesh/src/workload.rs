//! A running instance of something: pod, virtual machine, external endpoint.

use std::net::IpAddr;
use std::sync::Arc;

use crate::Str;
use crate::address::{GatewayAddress, NamespacedHostname, NetworkAddress};
use crate::service::Port;
use crate::spiffe::{InvalidSpiffeId, SpiffeId};

/// A running instance, as the control plane describes it.
///
/// Defaults of the wire (`cluster.local`, `default`, `Kubernetes`) are filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workload {
    /// Primary key, opaque.
    pub uid: Str,
    /// Pod name.
    pub name: Str,
    /// Namespace.
    pub namespace: Str,
    /// Addresses on [`network`](Self::network).
    pub addresses: Vec<IpAddr>,
    /// Host name to resolve when there is no address; empty otherwise.
    pub hostname: Str,
    /// Network; empty is the default one.
    pub network: Str,
    /// How to reach it.
    pub tunnel_protocol: TunnelProtocol,
    /// Who it is.
    pub identity: SpiffeId,
    /// The waypoint for traffic addressed to the workload itself.
    pub waypoint: Option<GatewayAddress>,
    /// The gateway of its network.
    pub network_gateway: Option<GatewayAddress>,
    /// Node it runs on.
    pub node: Str,
    /// Telemetry name.
    pub canonical_name: Str,
    /// Telemetry revision.
    pub canonical_revision: Str,
    /// Kind of its owner.
    pub workload_type: WorkloadType,
    /// Name of its owner.
    pub workload_name: Str,
    /// It terminates HBONE itself.
    pub native_tunnel: bool,
    /// Keys `namespace/name` of the selector policies that apply to it.
    pub authorization_policies: Vec<Str>,
    /// Readiness.
    pub health: Health,
    /// Cluster it runs in.
    pub cluster_id: Str,
    /// Ports for each service it is an endpoint of.
    pub services: Vec<(NamespacedHostname, Vec<Port>)>,
    /// How it wants its traffic when it is a sandwiched waypoint.
    pub application_tunnel: Option<ApplicationTunnel>,
    /// Where it runs.
    pub locality: Locality,
    /// It shares its node's network, so its address is not its own.
    pub host_network: bool,
    /// Load-balancing weight.
    pub capacity: u32,
}

impl Workload {
    /// Its first address as a key of the store.
    pub fn network_addresses(&self) -> impl Iterator<Item = NetworkAddress> + '_ {
        self.addresses.iter().map(|&ip| NetworkAddress {
            network: self.network.clone(),
            ip,
        })
    }

    /// Service account part of its identity.
    pub fn service_account(&self) -> &str {
        self.identity.service_account().unwrap_or("default")
    }

    /// Builds the identity of a workload, filling the defaults of the wire.
    ///
    /// # Errors
    /// When a name holds what no SPIFFE ID may hold.
    pub fn identity_of(
        trust_domain: &str,
        namespace: &str,
        account: &str,
    ) -> Result<SpiffeId, InvalidSpiffeId> {
        let or = |text: &str, default: &str| {
            if text.is_empty() {
                default.into()
            } else {
                Str::from(text)
            }
        };
        SpiffeId::workload(
            &or(trust_domain, crate::spiffe::DEFAULT_TRUST_DOMAIN),
            namespace,
            &or(account, "default"),
        )
    }
}

/// A workload shared between the indices that point to it.
pub type SharedWorkload = Arc<Workload>;

/// How a workload is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TunnelProtocol {
    /// Plain TCP.
    Tcp,
    /// HBONE.
    Hbone,
}

/// Kind of a workload's owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkloadType {
    /// Deployment.
    Deployment,
    /// `CronJob`.
    CronJob,
    /// Pod.
    Pod,
    /// Job.
    Job,
}

impl WorkloadType {
    /// The word used in baggage keys, `k8s.<word>.name`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::CronJob => "cronjob",
            Self::Pod => "pod",
            Self::Job => "job",
        }
    }
}

/// Readiness of a workload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// Ready.
    Healthy,
    /// Not ready or terminating.
    Unhealthy,
}

/// Where a workload runs; empty parts are unknown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Locality {
    /// Region.
    pub region: Option<Str>,
    /// Zone.
    pub zone: Option<Str>,
    /// Subzone.
    pub subzone: Option<Str>,
}

/// How a sandwiched waypoint wants its traffic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ApplicationTunnel {
    /// Bytes are preceded by a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// Port to connect to, when not the original one.
    pub port: Option<u16>,
}
