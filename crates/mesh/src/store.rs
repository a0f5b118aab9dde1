//! The index of everything a proxy knows about the mesh.
//!
//! A [`Store`] is a persistent value: cloning it costs a few pointers, a change touches
//! O(log n) of it, and a clone a reader holds never changes. The one writer clones, applies a
//! whole xDS response and publishes the result, so readers never see half of one.
//!
//! Order does not matter: a workload may come before the services it belongs to, and a service
//! before its endpoints.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet};

use crate::Str;
use crate::address::{NamespacedHostname, NetworkAddress};
use crate::authz::{Policy, Scope};
use crate::service::Service;
use crate::workload::{Health, SharedWorkload, Workload};

mod hop;
#[cfg(test)]
mod tests;

pub use hop::{Destination, HBONE_PORT, HopError, NextHop};

/// Everything a proxy knows about the mesh, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Store {
    workloads: HashMap<Str, SharedWorkload>,
    by_address: HashMap<NetworkAddress, OrdSet<Str>>,
    by_pod: HashMap<(Str, Str), Str>,
    services: HashMap<NamespacedHostname, ServiceEntry>,
    by_vip: HashMap<NetworkAddress, OrdSet<NamespacedHostname>>,
    by_cidr: OrdSet<NamespacedHostname>,
    by_hostname: HashMap<Str, OrdSet<NamespacedHostname>>,
    /// Endpoints whose service is not known yet.
    staged: HashMap<NamespacedHostname, OrdMap<Str, Endpoint>>,
    policies: OrdMap<Str, Arc<Policy>>,
    global_policies: OrdSet<Str>,
    namespace_policies: HashMap<Str, OrdSet<Str>>,
}

/// A service and the workloads behind it.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// What the control plane says of it.
    pub service: Arc<Service>,
    /// Its endpoints, by workload uid.
    pub endpoints: OrdMap<Str, Endpoint>,
}

/// A workload, as one service sees it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The workload.
    pub workload: SharedWorkload,
    /// Service port to workload port, for this workload.
    pub ports: Arc<[(u16, u16)]>,
}

impl Endpoint {
    /// The workload's port for a service port, if this workload resolves it.
    pub fn target_port(&self, service_port: u16) -> Option<u16> {
        self.ports
            .iter()
            .find(|(port, _)| *port == service_port)
            .map(|&(_, target)| target)
    }

    /// Whether the workload is ready.
    pub fn healthy(&self) -> bool {
        self.workload.health == Health::Healthy
    }
}

/// What an address names.
#[derive(Clone, Debug)]
pub enum Addressed {
    /// A workload.
    Workload(SharedWorkload),
    /// A service.
    Service(ServiceEntry),
}

/// A workload refers to a policy nobody has sent: until it comes, nothing is allowed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("policy {0} is not known yet")]
pub struct MissingPolicy(pub Str);

/// Writing.
impl Store {
    /// Adds a workload or replaces it whole, memberships included.
    pub fn upsert_workload(&mut self, workload: Workload) {
        self.remove_workload(&workload.uid);
        let workload = Arc::new(workload);
        if !workload.host_network {
            for address in workload.network_addresses() {
                self.by_address
                    .entry(address)
                    .or_default()
                    .insert(workload.uid.clone());
            }
        }
        self.by_pod.insert(
            (workload.namespace.clone(), workload.name.clone()),
            workload.uid.clone(),
        );
        for (service, ports) in &workload.services {
            let endpoint = Endpoint {
                workload: workload.clone(),
                ports: ports
                    .iter()
                    .filter_map(|port| port.target_port.map(|target| (port.service_port, target)))
                    .collect(),
            };
            self.endpoints_of(service)
                .insert(workload.uid.clone(), endpoint);
        }
        self.workloads.insert(workload.uid.clone(), workload);
    }

    /// Adds a service or replaces it; its endpoints stay.
    pub fn upsert_service(&mut self, service: Service) {
        let key = service.key.clone();
        let endpoints = self.detach_service(&key);
        let service = Arc::new(service);
        for vip in &service.vips {
            self.by_vip
                .entry(vip.clone())
                .or_default()
                .insert(key.clone());
        }
        if !service.cidr_vips.is_empty() {
            self.by_cidr.insert(key.clone());
        }
        self.by_hostname
            .entry(key.hostname.clone())
            .or_default()
            .insert(key.clone());
        self.services
            .insert(key, ServiceEntry { service, endpoints });
    }

    /// Removes what `name` names: a workload by uid or a service by `namespace/hostname`.
    pub fn remove(&mut self, name: &str) {
        if !self.remove_workload(name)
            && let Some(key) = NamespacedHostname::parse(name)
        {
            let endpoints = self.detach_service(&key);
            if !endpoints.is_empty() {
                self.staged.insert(key, endpoints);
            }
        }
    }

    /// Adds a policy or replaces it.
    pub fn upsert_policy(&mut self, policy: Policy) {
        let key = policy.key();
        self.remove_policy(&key);
        match policy.scope() {
            Scope::Global => {
                self.global_policies.insert(key.clone());
            }
            Scope::Namespace => {
                let namespace = Str::from(policy.namespace());
                self.namespace_policies
                    .entry(namespace)
                    .or_default()
                    .insert(key.clone());
            }
            Scope::WorkloadSelector => {}
        }
        self.policies.insert(key, Arc::new(policy));
    }

    /// Removes a policy by `namespace/name`.
    pub fn remove_policy(&mut self, key: &str) {
        let Some(policy) = self.policies.remove(key) else {
            return;
        };
        self.global_policies.remove(key);
        if let Some(keys) = self.namespace_policies.get_mut(policy.namespace()) {
            keys.remove(key);
        }
    }

    fn remove_workload(&mut self, uid: &str) -> bool {
        let Some(old) = self.workloads.remove(uid) else {
            return false;
        };
        for address in old.network_addresses() {
            drop_member(&mut self.by_address, &address, uid);
        }
        let pod = (old.namespace.clone(), old.name.clone());
        if self.by_pod.get(&pod).is_some_and(|holder| &**holder == uid) {
            self.by_pod.remove(&pod);
        }
        for (service, _) in &old.services {
            self.endpoints_of(service).remove(uid);
            if self.staged.get(service).is_some_and(OrdMap::is_empty) {
                self.staged.remove(service);
            }
        }
        true
    }

    /// Takes a service out of every index and returns its endpoints.
    fn detach_service(&mut self, key: &NamespacedHostname) -> OrdMap<Str, Endpoint> {
        let Some(old) = self.services.remove(key) else {
            return self.staged.remove(key).unwrap_or_default();
        };
        for vip in &old.service.vips {
            drop_member(&mut self.by_vip, vip, key);
        }
        self.by_cidr.remove(key);
        drop_member(&mut self.by_hostname, &key.hostname, key);
        old.endpoints
    }

    fn endpoints_of(&mut self, service: &NamespacedHostname) -> &mut OrdMap<Str, Endpoint> {
        match self.services.get_mut(service) {
            Some(entry) => &mut entry.endpoints,
            None => self.staged.entry(service.clone()).or_default(),
        }
    }
}

/// Removes one member of an index entry, and the entry with its last member.
fn drop_member<K, M, Q>(index: &mut HashMap<K, OrdSet<M>>, key: &K, member: &Q)
where
    K: Clone + Eq + std::hash::Hash,
    M: Clone + Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
{
    if let Some(members) = index.get_mut(key) {
        members.remove(member);
        if members.is_empty() {
            index.remove(key);
        }
    }
}

/// Reading.
impl Store {
    /// The workload with this uid.
    pub fn workload(&self, uid: &str) -> Option<&SharedWorkload> {
        self.workloads.get(uid)
    }

    /// The workload of a local pod, known by name rather than address.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&SharedWorkload> {
        let uid = self.by_pod.get(&(Str::from(namespace), Str::from(name)))?;
        self.workloads.get(uid)
    }

    /// The workload that owns an address; the first by uid while two claim it.
    pub fn workload_at(&self, address: &NetworkAddress) -> Option<&SharedWorkload> {
        self.by_address
            .get(address)?
            .get_min()
            .and_then(|uid| self.workloads.get(uid))
    }

    /// The service with this key.
    pub fn service(&self, key: &NamespacedHostname) -> Option<&ServiceEntry> {
        self.services.get(key)
    }

    /// The service a client of `namespace` reaches at a virtual address.
    pub fn service_at(&self, address: &NetworkAddress, namespace: &str) -> Option<&ServiceEntry> {
        let exact = self
            .by_vip
            .get(address)
            .and_then(|keys| self.best(keys.iter(), namespace));
        exact.or_else(|| self.service_of_range(address, namespace))
    }

    /// The service a client of `namespace` means by a host name.
    ///
    /// Its own namespace wins, then the canonical service, then the first by name.
    pub fn service_named(&self, hostname: &str, namespace: &str) -> Option<&ServiceEntry> {
        self.by_hostname
            .get(hostname)
            .and_then(|keys| self.best(keys.iter(), namespace))
    }

    /// What an address names: a workload first, then a service.
    pub fn find(&self, network: &Str, ip: IpAddr, namespace: &str) -> Option<Addressed> {
        let address = NetworkAddress {
            network: network.clone(),
            ip,
        };
        if let Some(workload) = self.workload_at(&address) {
            return Some(Addressed::Workload(workload.clone()));
        }
        self.service_at(&address, namespace)
            .cloned()
            .map(Addressed::Service)
    }

    /// All workloads, in no order.
    pub fn workloads(&self) -> impl Iterator<Item = &SharedWorkload> {
        self.workloads.values()
    }

    /// All services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &ServiceEntry> {
        self.services.values()
    }

    /// All policies, by key.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// One policy, by `namespace/name`.
    pub fn policy(&self, key: &str) -> Option<&Arc<Policy>> {
        self.policies.get(key)
    }

    /// The policies that decide about connections to a workload.
    ///
    /// # Errors
    /// When the workload names a policy that was never received. The caller must not guess.
    pub fn policies_for(&self, workload: &Workload) -> Result<Vec<Arc<Policy>>, MissingPolicy> {
        let selected = workload.authorization_policies.iter().map(|key| {
            self.policies
                .get(&**key)
                .cloned()
                .ok_or_else(|| MissingPolicy(key.clone()))
        });
        let of_namespace = self.namespace_policies.get(&*workload.namespace);
        let scoped = self
            .global_policies
            .iter()
            .chain(of_namespace.into_iter().flatten());
        let scoped = scoped
            .filter_map(|key| self.policies.get(key))
            .cloned()
            .map(Ok);
        scoped.chain(selected).collect()
    }

    /// The service an inbound connection to `port` of a workload is counted for.
    ///
    /// `hint` is what the client said it dialled; it counts only if the workload is an endpoint
    /// of that service. Otherwise a canonical service that leads to the port is taken.
    pub fn service_behind(
        &self,
        workload: &Workload,
        hint: Option<&str>,
        port: u16,
    ) -> Option<&ServiceEntry> {
        let own = || {
            workload
                .services
                .iter()
                .filter_map(|(key, _)| self.services.get(key))
        };
        if let Some(hint) = hint
            && let Some(entry) = own().find(|entry| &*entry.service.key.hostname == hint)
        {
            return Some(entry);
        }
        let leads_to_port = |entry: &&ServiceEntry| {
            entry
                .endpoints
                .get(&workload.uid)
                .is_some_and(|endpoint| endpoint.ports.iter().any(|&(_, target)| target == port))
        };
        own()
            .filter(leads_to_port)
            .min_by_key(|entry| !entry.service.canonical)
    }

    fn service_of_range(&self, address: &NetworkAddress, namespace: &str) -> Option<&ServiceEntry> {
        let prefix = |entry: &&ServiceEntry| {
            let ranges = entry.service.cidr_vips.iter();
            let hits = ranges.filter(|(network, range)| {
                *network == address.network && range.contains(&address.ip)
            });
            hits.map(|(_, range)| range.prefix_len()).max()
        };
        self.by_cidr
            .iter()
            .filter_map(|key| self.services.get(key))
            .filter(|entry| entry.service.visible_to(namespace))
            .filter(|entry| prefix(entry).is_some())
            .max_by_key(prefix)
    }

    fn best<'a>(
        &'a self,
        keys: impl Iterator<Item = &'a NamespacedHostname>,
        namespace: &str,
    ) -> Option<&'a ServiceEntry> {
        keys.filter_map(|key| self.services.get(key))
            .filter(|entry| entry.service.visible_to(namespace))
            .min_by_key(|entry| {
                (
                    &*entry.service.key.namespace != namespace,
                    !entry.service.canonical,
                )
            })
    }
}
