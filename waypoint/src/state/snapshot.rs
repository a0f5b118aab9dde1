//! The immutable value itself, and what is looked up in it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh::Str;
use mesh::address::{GatewayAddress, GatewayDestination, NamespacedHostname, NetworkAddress};
use mesh::authz::Policy;
use mesh::plugin::Plugin;
use mesh::route::Route;
use mesh::service::Service;
use mesh::spiffe::SpiffeId;
use mesh::store::{ServiceEntry, Store};
use mesh::workload::{SharedWorkload, Workload};
use serde::Serialize;
use tokio::time::Instant;

use super::rules::{Attachable, Loaded, Rules, ServiceRules};
use crate::config::Place;

/// How long news takes at most to reach every proxy of a mesh.
pub(crate) const HEARSAY: Duration = Duration::from_secs(10);

/// Everything a waypoint knows, at one moment.
///
/// Cloning costs a few pointers; a clone a reader holds never changes.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) store: Store,
    pub(super) routes: imbl::OrdMap<Str, Arc<Route>>,
    pub(super) policies: imbl::OrdMap<Str, Arc<Policy>>,
    pub(super) plugins: imbl::OrdMap<Str, Arc<Loaded>>,
    services: imbl::HashMap<NamespacedHostname, Arc<ServiceRules>>,
    direct: Arc<Rules>,
    own: SharedWorkload,
    place: Arc<Place>,
    /// How often a service was compiled, ever; what tests count.
    pub(super) compiled: u64,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("routes", &self.routes.len())
            .field("policies", &self.policies.len())
            .field("plugins", &self.plugins.len())
            .field("services", &self.services.len())
            .finish_non_exhaustive()
    }
}

/// Reading.
impl Snapshot {
    pub(crate) fn empty(place: &Place) -> Self {
        Self {
            store: Store::default(),
            routes: imbl::OrdMap::new(),
            policies: imbl::OrdMap::new(),
            plugins: imbl::OrdMap::new(),
            services: imbl::HashMap::new(),
            direct: Arc::default(),
            own: Arc::new(own(place)),
            place: Arc::new(place.clone()),
            compiled: 0,
        }
    }

    /// The digest of the module a plugin runs, by the name of its resource; `None` when it cannot
    /// run.
    pub(crate) fn plugin_digest(&self, name: &str) -> Option<String> {
        let loaded = self.plugins.get(name)?;
        let module = loaded.module.as_ref().ok()?.module();
        Some(module.sha256().to_owned())
    }

    /// Workloads and services.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A plugin by the name of its resource, and what became of its module.
    pub(crate) fn plugin(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.plugins.get(name)
    }

    /// Every plugin, and what became of its module.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.plugins.values()
    }

    /// The waypoint's own record; what is known from its settings until it is sent.
    pub(crate) fn own(&self) -> &SharedWorkload {
        &self.own
    }

    /// What applies to a service.
    pub(crate) fn service_rules(&self, service: &NamespacedHostname) -> Option<&ServiceRules> {
        self.services.get(service).map(Arc::as_ref)
    }

    /// What applies to workloads that are addressed themselves.
    pub(crate) fn direct(&self) -> &Arc<Rules> {
        &self.direct
    }

    /// The workload a peer runs in: the owner of its address, if it is who the certificate says.
    /// An address alone may belong to a node or a gateway in between.
    pub(crate) fn peer(&self, ip: IpAddr, id: &SpiffeId) -> Option<SharedWorkload> {
        let address = NetworkAddress {
            network: self.place.network.clone(),
            ip,
        };
        let workload = self.store.workload_at(&address)?;
        (workload.identity == *id).then(|| workload.clone())
    }

    /// The service a client of `namespace` means by an address, if this waypoint stands before it.
    pub(crate) fn service_at(&self, ip: IpAddr, namespace: &str) -> Option<&ServiceEntry> {
        let address = NetworkAddress {
            network: self.place.network.clone(),
            ip,
        };
        let entry = self.store.service_at(&address, namespace)?;
        self.serves(&entry.service).then_some(entry)
    }

    /// The service a client of `namespace` means by a name, if this waypoint stands before it.
    pub(crate) fn service_named(&self, name: &str, namespace: &str) -> Option<&ServiceEntry> {
        let entry = self.store.service_named(name, namespace)?;
        self.serves(&entry.service).then_some(entry)
    }

    /// The workload at an address, if this waypoint stands before it.
    pub(crate) fn workload_at(&self, ip: IpAddr) -> Option<&SharedWorkload> {
        let address = NetworkAddress {
            network: self.place.network.clone(),
            ip,
        };
        let workload = self.store.workload_at(&address)?;
        let waypoint = workload.waypoint.as_ref()?;
        self.is_this(waypoint).then_some(workload)
    }

    /// Whether connections to a service are taken: proxies of clients may hear a moment later than
    /// we do that it has another waypoint now, or none.
    fn serves(&self, service: &Service) -> bool {
        let left = || self.services.get(&service.key)?.left();
        self.fronts(service) || left().is_some_and(|left| left.elapsed() < HEARSAY)
    }

    fn fronts(&self, service: &Service) -> bool {
        let weighted = service
            .weighted_waypoints
            .iter()
            .map(|(gateway, _)| gateway);
        service
            .waypoint
            .iter()
            .chain(weighted)
            .any(|gateway| self.is_this(gateway))
    }

    /// Whether a gateway address is this waypoint's: by its service, or by its own address.
    fn is_this(&self, gateway: &GatewayAddress) -> bool {
        let Place {
            gateway: name,
            namespace,
            instance_ip,
            ..
        } = &*self.place;
        match &gateway.destination {
            GatewayDestination::Hostname(host) => {
                let known = self.store.service(host).map(|entry| &*entry.service.name);
                // Before its own service is known: the name is the first label.
                let first = host.hostname.split('.').next().unwrap_or_default();
                host.namespace == *namespace && known.unwrap_or(first) == &**name
            }
            GatewayDestination::Address(address) => {
                let service = self.store.service_at(address, namespace);
                let ours = |entry: &ServiceEntry| {
                    entry.service.name == *name && entry.service.key.namespace == *namespace
                };
                address.ip == *instance_ip || service.is_some_and(ours)
            }
        }
    }
}

/// Changing; for the writer, on its own copy.
impl Snapshot {
    /// Compiles what applies to these services anew.
    pub(super) fn compile<'k>(
        &mut self,
        services: impl IntoIterator<Item = &'k NamespacedHostname>,
    ) {
        for key in services {
            match self.compile_one(key) {
                Some(rules) => self.services.insert(key.clone(), Arc::new(rules)),
                None => self.services.remove(key),
            };
        }
    }

    fn compile_one(&mut self, key: &NamespacedHostname) -> Option<ServiceRules> {
        let service = self.store.service(key)?.service.clone();
        let ours = self.fronts(&service);
        let former = self.services.get(key).filter(|_| !ours);
        if let Some(leaving) = former.and_then(|rules| rules.leaving(Instant::now())) {
            return Some(leaving);
        }
        // Of services without a waypoint only the endpoints matter here.
        if service.waypoint.is_none() && service.weighted_waypoints.is_empty() {
            return None;
        }
        self.compiled += 1;
        let attachable = Attachable {
            routes: &self.routes,
            policies: &self.policies,
            plugins: &self.plugins,
        };
        Some(attachable.compile(&service, ours))
    }

    /// Compiles everything anew: something that applies to all has changed.
    pub(super) fn compile_all(&mut self) {
        let keys: Vec<_> = self.services.keys().cloned().collect();
        self.compile(&keys);
        let Self {
            routes,
            policies,
            plugins,
            ..
        } = self;
        self.direct = Arc::new(
            Attachable {
                routes,
                policies,
                plugins,
            }
            .compile_direct(),
        );
    }

    /// Looks up the waypoint's own record again.
    pub(super) fn find_own(&mut self) {
        let Place { namespace, pod, .. } = &*self.place;
        if let Some(workload) = self.store.pod(namespace, pod) {
            self.own = workload.clone();
        }
    }
}

/// The waypoint as its settings describe it.
fn own(place: &Place) -> Workload {
    let address = match place.instance_ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let message = proto::workload::Workload {
        uid: format!(
            "{}//Pod/{}/{}",
            place.cluster_id, place.namespace, place.pod
        ),
        name: place.pod.to_string(),
        namespace: place.namespace.to_string(),
        addresses: vec![address.into()],
        network: place.network.to_string(),
        trust_domain: place.trust_domain.to_string(),
        service_account: place.service_account.to_string(),
        node: place.node.to_string(),
        cluster_id: place.cluster_id.to_string(),
        workload_name: place.gateway.to_string(),
        canonical_name: place.gateway.to_string(),
        canonical_revision: "latest".to_owned(),
        ..Default::default()
    };
    // Names of one's own pod that no identity can hold are refused when the certificate is asked
    // for; until then the record needs some identity.
    Workload::try_from(message.clone()).unwrap_or_else(|_| {
        let nameless = proto::workload::Workload {
            trust_domain: String::new(),
            service_account: String::new(),
            namespace: "invalid".to_owned(),
            ..message
        };
        #[expect(clippy::expect_used, reason = "the defaults of the wire are valid")]
        Workload::try_from(nameless).expect("default names make an identity")
    })
}

/// A snapshot as `/config_dump` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Dump<'a> {
    services: Vec<ServiceDump<'a>>,
    routes: Vec<&'a Route>,
    policies: Vec<&'a Policy>,
    plugins: Vec<PluginDump<'a>>,
}

#[derive(Debug, Serialize)]
struct ServiceDump<'a> {
    service: &'a NamespacedHostname,
    vips: &'a [NetworkAddress],
    ports: Vec<u16>,
    endpoints: Vec<EndpointDump<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointDump<'a> {
    workload: &'a str,
    addresses: &'a [IpAddr],
    ports: &'a [(u16, u16)],
    identity: &'a SpiffeId,
    protocol: &'static str,
    healthy: bool,
}

#[derive(Debug, Serialize)]
struct PluginDump<'a> {
    #[serde(flatten)]
    plugin: &'a Plugin,
    state: String,
    digest: Option<String>,
}

impl Snapshot {
    /// What is attached to this waypoint, and the state it is in.
    pub(crate) fn dump(&self) -> Dump<'_> {
        let mut services: Vec<_> = self.store.services().collect();
        services.retain(|entry| self.fronts(&entry.service));
        services.sort_by(|one, other| one.service.key.cmp(&other.service.key));
        Dump {
            services: services.into_iter().map(service_dump).collect(),
            routes: self.routes.values().map(|route| &**route).collect(),
            policies: self.policies.values().map(|policy| &**policy).collect(),
            plugins: self
                .plugins
                .values()
                .map(|loaded| plugin_dump(loaded))
                .collect(),
        }
    }
}

fn service_dump(entry: &ServiceEntry) -> ServiceDump<'_> {
    let endpoints = entry.endpoints.values().map(|endpoint| EndpointDump {
        workload: &endpoint.workload.uid,
        addresses: &endpoint.workload.addresses,
        ports: &endpoint.ports,
        identity: &endpoint.workload.identity,
        protocol: match endpoint.workload.tunnel_protocol {
            mesh::workload::TunnelProtocol::Hbone => "HBONE",
            mesh::workload::TunnelProtocol::Tcp => "TCP",
        },
        healthy: endpoint.healthy(),
    });
    ServiceDump {
        service: &entry.service.key,
        vips: &entry.service.vips,
        ports: entry
            .service
            .ports
            .iter()
            .map(|port| port.service_port)
            .collect(),
        endpoints: endpoints.collect(),
    }
}

fn plugin_dump(loaded: &Loaded) -> PluginDump<'_> {
    let digest = loaded
        .module
        .as_ref()
        .ok()
        .map(|plugin| plugin.module().sha256().to_owned());
    let state = match &loaded.module {
        Ok(_) => "Ready".to_owned(),
        Err(why) => format!("Failed: {why}"),
    };
    PluginDump {
        plugin: &loaded.plugin,
        state,
        digest,
    }
}
