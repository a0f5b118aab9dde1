//! What the control plane told, and who needs to know.
//!
//! One writer, on the control thread, applies whole responses; workers read snapshots.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh::authz::{Attachment, Policy, Scope};
use mesh::convert::Rejected;
use mesh::origin::Origin;
use mesh::service::Service;
use mesh::store::Store;
use mesh::workload::{TunnelProtocol, Workload};
use prost::Message;
use proto::security::Authorization;
use proto::workload::{Address, address};
use tokio::sync::watch;
use xds::client::{Handler, Rejected as Refused, Resource, Update};

use crate::certificates::Certificates;

#[cfg(test)]
mod tests;

/// The store every worker reads.
#[derive(Debug)]
pub(crate) struct SharedStore {
    current: ArcSwap<Store>,
    changes: watch::Sender<()>,
}

impl SharedStore {
    /// An empty store.
    pub(crate) fn new() -> Self {
        Self {
            current: ArcSwap::default(),
            changes: watch::Sender::new(()),
        }
    }

    /// The store as it is now; a connection takes it once and keeps it.
    pub(crate) fn current(&self) -> Arc<Store> {
        self.current.load_full()
    }

    /// Wakes after each change.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn publish(&self, store: Store) {
        self.current.store(Arc::new(store));
        self.changes.send_replace(());
    }
}

/// Applies what comes from the control plane.
pub(crate) struct StoreWriter {
    shared: Arc<SharedStore>,
    certificates: Certificates,
    node: String,
}

impl StoreWriter {
    /// A writer of `shared` that keeps certificates of the pods on `node` at hand.
    pub(crate) fn new(shared: Arc<SharedStore>, certificates: Certificates, node: &str) -> Self {
        Self {
            shared,
            certificates,
            node: node.to_owned(),
        }
    }

    /// A meshed workload of this node has its certificate ready before its first connection.
    fn hold_certificate(&self, workload: &Workload) {
        let meshed = workload.tunnel_protocol == TunnelProtocol::Hbone || workload.native_tunnel;
        if meshed && *workload.node == *self.node {
            self.certificates.hold(&workload.uid, &workload.identity);
        } else {
            self.certificates.release(&workload.uid);
        }
    }

    fn address(&self, store: &mut Store, resource: &Resource) -> Result<(), Rejected> {
        let message = decode::<Address>(resource)?;
        match message
            .r#type
            .ok_or_else(|| Rejected::new("type", "it is missing"))?
        {
            address::Type::Workload(workload) => {
                let workload = Workload::try_from(workload).map_err(|e| e.within("workload"))?;
                self.hold_certificate(&workload);
                store.upsert_workload(workload);
            }
            address::Type::Service(service) => {
                let service = Service::try_from(service).map_err(|e| e.within("service"))?;
                store.upsert_service(service);
            }
        }
        Ok(())
    }

    /// A policy that cannot be understood leaves its last good version in force. When there is
    /// none, what it was meant for is denied: not knowing what is forbidden is no permission.
    fn policy(store: &mut Store, resource: &Resource) -> Result<(), Rejected> {
        let message = decode::<Authorization>(resource);
        let decoded = message.clone().and_then(Policy::try_from);
        let rejected = match decoded {
            Ok(policy) => {
                store.upsert_policy(policy);
                return Ok(());
            }
            Err(rejected) => rejected,
        };
        if store.policy(&resource.name).is_none() {
            let (namespace, name) = resource.name.split_once('/').unwrap_or_default();
            let scope = message.map_or(Scope::WorkloadSelector, |message| scope(&message));
            let origin = Arc::new(Origin::named("AuthorizationPolicy", namespace, name));
            store.upsert_policy(Policy::deny_all(origin, Attachment::Scope(scope)));
        }
        Err(rejected)
    }
}

impl Handler for StoreWriter {
    fn apply(&mut self, type_url: &str, updates: Vec<Update>) -> Vec<Refused> {
        let mut store = Store::clone(&self.shared.current());
        let mut refused = vec![];
        for update in updates {
            let is_held = match &update {
                Update::Put(resource) => store.policy(&resource.name).is_some(),
                Update::Remove(_) => false,
            };
            let (name, applied) = match &update {
                Update::Remove(name) if type_url == proto::AUTHORIZATION_TYPE => {
                    store.remove_policy(name);
                    (name, Ok(()))
                }
                Update::Remove(name) => {
                    self.certificates.release(name);
                    store.remove(name);
                    (name, Ok(()))
                }
                Update::Put(resource) if type_url == proto::AUTHORIZATION_TYPE => {
                    (&resource.name, Self::policy(&mut store, resource))
                }
                Update::Put(resource) => (&resource.name, self.address(&mut store, resource)),
            };
            if let Err(rejected) = applied {
                tracing::warn!(resource = name, reason = %rejected, "resource rejected");
                refused.push(Refused {
                    name: name.clone(),
                    reason: format!("{rejected}, {}", effect_of_refusal(type_url, is_held)),
                });
            }
        }
        self.shared.publish(store);
        refused
    }
}

/// What it means for traffic that a resource cannot be used.
fn effect_of_refusal(type_url: &str, is_held: bool) -> &'static str {
    match type_url {
        _ if is_held => "what was in effect before it stays in effect",
        proto::AUTHORIZATION_TYPE => "everything is denied that it applies to",
        _ => "it is not known here",
    }
}

fn decode<M: Message + Default>(resource: &Resource) -> Result<M, Rejected> {
    M::decode(resource.bytes.clone()).map_err(|error| Rejected::new("resource", error))
}

fn scope(message: &Authorization) -> Scope {
    match message.scope() {
        proto::security::Scope::Global => Scope::Global,
        proto::security::Scope::Namespace => Scope::Namespace,
        proto::security::Scope::WorkloadSelector => Scope::WorkloadSelector,
    }
}
