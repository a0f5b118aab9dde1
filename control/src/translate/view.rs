//! What a translation may look at, and a record of what it did look at.
//!
//! Every answer of a [`View`] is noted as a [`Fact`]. The facts of a translation are the whole of
//! its input, so it has to be repeated exactly when one of them is altered; a translation that got
//! at objects by another way would go stale without anyone noticing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::settings::Settings;
use super::waypoint::Waypoint;
use crate::index::{Fact, FactId, GATEWAY, Index, Labels, NAMESPACE, selector_of, selects};
use crate::object::{Key, Kind, Object};

/// The waypoints of the mesh by the key of their Gateway.
pub(crate) type Waypoints = BTreeMap<Key, Arc<Waypoint>>;

/// The objects as one translation sees them.
#[derive(Debug)]
pub(crate) struct View<'a> {
    index: &'a Index,
    waypoints: &'a Waypoints,
    /// Settings of the mesh.
    pub(crate) settings: &'a Settings,
    seen: RefCell<BTreeSet<FactId>>,
}

impl<'a> View<'a> {
    /// Begins a translation.
    pub(crate) fn new(index: &'a Index, waypoints: &'a Waypoints, settings: &'a Settings) -> Self {
        Self {
            index,
            waypoints,
            settings,
            seen: RefCell::default(),
        }
    }

    /// Returns the facts that were looked at, sorted.
    pub(crate) fn into_facts(self) -> Box<[FactId]> {
        self.seen.into_inner().into_iter().collect()
    }

    /// Returns an object.
    pub(crate) fn object(&self, key: &Key) -> Option<&'a Arc<Object>> {
        self.note(Fact::Object(key));
        self.index.find(key)
    }

    /// Returns an object and its typed form.
    pub(crate) fn typed<T>(&self, namespace: &str, name: &str) -> Option<(&'a Object, &'a T)>
    where
        T: kube::Resource<DynamicType = ()> + 'static,
    {
        let object = self.object(&Key::of::<T>(namespace, name))?;
        Some((object, object.decoded()?))
    }

    /// Returns the labels of a namespace; one that nobody wrote down has none.
    pub(crate) fn namespace_labels(&self, namespace: &str) -> Option<&'a Labels> {
        Some(&self.object(&Key::new(NAMESPACE, "", namespace))?.labels)
    }

    /// Whether there is any object of a kind.
    pub(crate) fn has_any(&self, kind: &Kind) -> bool {
        let fact = self.note(Fact::OfKind(kind));
        !self.index.behind(fact).is_empty()
    }

    /// Returns the objects of a kind in a namespace, ordered by name.
    pub(crate) fn in_namespace(&self, kind: &Kind, namespace: &str) -> Vec<&'a Arc<Object>> {
        let found = self.behind(Fact::InNamespace(kind, namespace));
        self.noted(found, |key| {
            key.kind == *kind && *key.namespace == *namespace
        })
    }

    /// Returns the objects of a kind in a namespace that bear all labels of a selector.
    pub(crate) fn selected(
        &self,
        kind: &Kind,
        namespace: &str,
        selector: &Labels,
    ) -> Vec<&'a Arc<Object>> {
        let Some((key, value)) = selector.first_key_value() else {
            return Vec::new();
        };
        let found = self.behind(Fact::Labelled(kind, namespace, (key, value)));
        // One that does not fit has been looked at too: it may come to.
        let mut found = self.noted(found, |key| {
            key.kind == *kind && *key.namespace == *namespace
        });
        found.retain(|object| selects(selector, &object.labels));
        found
    }

    /// Returns the objects of a kind in a namespace whose selector fits `labels`.
    pub(crate) fn selecting(
        &self,
        kind: &Kind,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<&'a Arc<Object>> {
        let found = labels
            .iter()
            .flat_map(|(key, value)| self.behind(Fact::Selecting(kind, namespace, (key, value))))
            .collect();
        // One that does not fit has been looked at too: it may come to.
        let mut found = self.noted(found, |key| {
            key.kind == *kind && *key.namespace == *namespace
        });
        found.retain(|object| selector_of(object).is_some_and(|s| selects(&s, labels)));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }

    /// Returns the objects of a kind that are attached to an object.
    pub(crate) fn attached(&self, kind: &Kind, to: &Key) -> Vec<&'a Arc<Object>> {
        let found = self.behind(Fact::AttachedTo(kind, to));
        self.noted(found, |key| key.kind == *kind)
    }

    /// Returns what a Gateway amounts to as a waypoint, `None` if there is no such Gateway.
    pub(crate) fn waypoint(&self, namespace: &str, name: &str) -> Option<&'a Waypoint> {
        let key = Key::new(GATEWAY, namespace, name);
        self.note(Fact::Waypoint(&key));
        self.waypoints.get(&key).map(Arc::as_ref)
    }

    fn behind(&self, fact: Fact<'_>) -> Vec<&'a Arc<Object>> {
        let fact = self.note(fact);
        self.index.behind(fact)
    }

    /// Notes that the objects themselves were looked at, and drops those that got here because
    /// two facts share a fingerprint.
    fn noted(
        &self,
        mut found: Vec<&'a Arc<Object>>,
        belongs: impl Fn(&Key) -> bool,
    ) -> Vec<&'a Arc<Object>> {
        found.retain(|object| belongs(&object.key));
        for object in &found {
            self.note(Fact::Object(&object.key));
        }
        found
    }

    fn note(&self, fact: Fact<'_>) -> FactId {
        let id = FactId::from(fact);
        self.seen.borrow_mut().insert(id);
        id
    }
}
