//! The objects, found by what they have to do with each other.
//!
//! An [`Index`] follows the store: [`Index::apply`] takes one change, is synchronous, and returns
//! which [`Fact`]s it altered. Everything is plain maps; nothing here knows what an object means to
//! traffic, and nothing here does IO.
//!
//! Every secondary index has one shape, a [`FactId`] and the objects that stand behind it: the pods
//! with a label, the Services that select by a label, the routes attached to a Service, the slices
//! of a Service, the Gateways of a class. [`relation`] says which facts an object stands behind.

pub(crate) mod fact;
mod relation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(crate) use fact::{Fact, FactId};
pub(crate) use relation::{selector_of, selects};

use crate::object::{Change, Key, Kind, Object};

/// Pod.
pub(crate) const POD: Kind = Kind::of("", "Pod");
/// Service.
pub(crate) const SERVICE: Kind = Kind::of("", "Service");
/// Namespace.
pub(crate) const NAMESPACE: Kind = Kind::of("", "Namespace");
/// Node.
pub(crate) const NODE: Kind = Kind::of("", "Node");
/// EndpointSlice.
pub(crate) const ENDPOINT_SLICE: Kind = Kind::of("discovery.k8s.io", "EndpointSlice");
/// Gateway.
pub(crate) const GATEWAY: Kind = Kind::of("gateway.networking.k8s.io", "Gateway");
/// GatewayClass.
pub(crate) const GATEWAY_CLASS: Kind = Kind::of("gateway.networking.k8s.io", "GatewayClass");
/// HTTPRoute.
pub(crate) const HTTP_ROUTE: Kind = Kind::of("gateway.networking.k8s.io", "HTTPRoute");
/// AuthorizationPolicy.
pub(crate) const AUTHORIZATION_POLICY: Kind = Kind::of("security.istio.io", "AuthorizationPolicy");
/// PeerAuthentication.
pub(crate) const PEER_AUTHENTICATION: Kind = Kind::of("security.istio.io", "PeerAuthentication");
/// WasmPlugin.
pub(crate) const WASM_PLUGIN: Kind = Kind::of("extensions.istio.io", "WasmPlugin");
/// TrafficExtension.
pub(crate) const TRAFFIC_EXTENSION: Kind = Kind::of("extensions.istio.io", "TrafficExtension");
/// ServiceEntry.
pub(crate) const SERVICE_ENTRY: Kind = Kind::of("networking.istio.io", "ServiceEntry");
/// Secret.
pub(crate) const SECRET: Kind = Kind::of("", "Secret");
/// Event.
pub(crate) const EVENT: Kind = Kind::of("", "Event");

/// A short name for an object in this index; reused after the object is gone.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ObjectId(u32);

/// The objects and who has to do with whom.
#[derive(Debug, Default)]
pub(crate) struct Index {
    objects: Vec<Option<Arc<Object>>>,
    ids: HashMap<Key, ObjectId>,
    free: Vec<ObjectId>,
    postings: HashMap<FactId, BTreeSet<ObjectId>>,
}

/// What one change did to the index.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The object that changed; if it is gone, the name it had.
    pub(crate) id: ObjectId,
    /// Whether it is gone.
    pub(crate) is_gone: bool,
    /// The facts that are no longer what they were. Empty if nothing that matters has changed,
    /// such as a status that is nobody's input.
    pub(crate) altered: Vec<FactId>,
}

impl Index {
    /// Takes one change of the store; `None` if an object is gone that was never here.
    ///
    /// What the index holds counts, not what the change says was there before: a change may be
    /// seen twice.
    pub(crate) fn apply(&mut self, change: &Change) -> Option<Applied> {
        let key = change.key();
        let new = match change {
            Change::Added(new) | Change::Modified { new, .. } => Some(new.clone()),
            Change::Deleted(_) => None,
        };
        let old = self.find(key).cloned();
        let matters = match (&old, &new) {
            (None, None) => return None,
            (Some(old), Some(new)) => relation::matters(old, new),
            _ => true,
        };
        let id = self.id_of(key);
        let mut altered = Vec::new();
        if matters {
            altered.push(Fact::Object(key).into());
            self.repost(id, old.as_deref(), new.as_deref(), &mut altered);
        }
        let is_gone = new.is_none();
        if let Some(slot) = self.objects.get_mut(id.0 as usize) {
            *slot = new;
        }
        if is_gone {
            self.ids.remove(key);
            self.free.push(id);
        }
        Some(Applied {
            id,
            is_gone,
            altered,
        })
    }

    /// Returns the object of a name.
    pub(crate) fn get(&self, id: ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(id.0 as usize)?.as_ref()
    }

    /// Returns the name of an object.
    pub(crate) fn id(&self, key: &Key) -> Option<ObjectId> {
        self.ids.get(key).copied()
    }

    /// Returns the object of a key.
    pub(crate) fn find(&self, key: &Key) -> Option<&Arc<Object>> {
        self.get(self.id(key)?)
    }

    /// Returns the objects that stand behind a fact, ordered by key.
    pub(crate) fn behind(&self, fact: FactId) -> Vec<&Arc<Object>> {
        let ids = self.postings.get(&fact).into_iter().flatten();
        let mut objects: Vec<&Arc<Object>> = ids.filter_map(|id| self.get(*id)).collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects
    }

    fn id_of(&mut self, key: &Key) -> ObjectId {
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.objects.push(None);
            // Four thousand million objects do not fit into memory.
            ObjectId(u32::try_from(self.objects.len() - 1).unwrap_or(u32::MAX))
        });
        self.ids.insert(key.clone(), id);
        id
    }

    fn repost(
        &mut self,
        id: ObjectId,
        old: Option<&Object>,
        new: Option<&Object>,
        altered: &mut Vec<FactId>,
    ) {
        let before = old.map(relation::postings).unwrap_or_default();
        let after = new.map(relation::postings).unwrap_or_default();
        for gone in before.difference(&after) {
            if let Some(ids) = self.postings.get_mut(gone) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.postings.remove(gone);
                }
            }
            altered.push(*gone);
        }
        for come in after.difference(&before) {
            self.postings.entry(*come).or_default().insert(id);
            altered.push(*come);
        }
    }
}

/// Labels or a `matchLabels` selector.
pub(crate) type Labels = BTreeMap<String, String>;
