//! Which scope holds which objects, and which of several objects with one name counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Key;
use super::builtin::namespace_of;
use crate::source::{Document, Root, Scope};

/// All documents, the ones that lose to another of the same name included.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    scopes: BTreeMap<Scope, BTreeMap<Key, Arc<Document>>>,
    holders: HashMap<Key, BTreeSet<Scope>>,
    /// How many documents, apart from builtin ones, need each namespace.
    namespaces: BTreeMap<Arc<str>, usize>,
}

/// Which objects an event is about.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Those that are new, different or gone.
    pub(super) changed: BTreeSet<Key>,
    /// Those that only stand elsewhere in their file.
    pub(super) moved: BTreeSet<Key>,
}

impl Touched {
    /// One object that is new, different or gone.
    pub(super) fn one(key: Key) -> Self {
        Self {
            changed: BTreeSet::from([key]),
            moved: BTreeSet::new(),
        }
    }
}

impl Catalog {
    /// Takes `documents` as all that `scope` holds; if `keeps_missing`, only as what is new of it.
    pub(super) fn replace(
        &mut self,
        scope: &Scope,
        documents: BTreeMap<Key, Arc<Document>>,
        keeps_missing: bool,
    ) -> Touched {
        let mut touched = Touched::default();
        if !keeps_missing {
            for key in self.keys_of(scope) {
                if !documents.contains_key(&key) {
                    self.remove(scope, &key);
                    touched.changed.insert(key);
                }
            }
        }
        for (key, document) in documents {
            let known = self.scopes.get(scope).and_then(|known| known.get(&key));
            if known.is_some_and(|known| known.value == document.value) {
                touched.moved.insert(key.clone());
            } else {
                touched.changed.insert(key.clone());
            }
            self.put(scope, key, document);
        }
        touched
    }

    /// Puts one document into `scope`.
    pub(super) fn put(&mut self, scope: &Scope, key: Key, document: Arc<Document>) {
        let is_new = self
            .holders
            .entry(key.clone())
            .or_default()
            .insert(scope.clone());
        if is_new
            && scope.root != Root::Builtin
            && let Some(namespace) = namespace_of(&key)
        {
            *self.namespaces.entry(namespace.into()).or_default() += 1;
        }
        self.scopes
            .entry(scope.clone())
            .or_default()
            .insert(key, document);
    }

    /// Takes one document out of `scope`.
    pub(super) fn remove(&mut self, scope: &Scope, key: &Key) {
        let Some(documents) = self.scopes.get_mut(scope) else {
            return;
        };
        if documents.remove(key).is_none() {
            return;
        }
        if documents.is_empty() {
            self.scopes.remove(scope);
        }
        if let Some(holders) = self.holders.get_mut(key) {
            holders.remove(scope);
            if holders.is_empty() {
                self.holders.remove(key);
            }
        }
        if scope.root == Root::Builtin {
            return;
        }
        if let Some(namespace) = namespace_of(key)
            && let Some(count) = self.namespaces.get_mut(namespace)
        {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(namespace);
            }
        }
    }

    /// Whether any document needs the namespace.
    pub(super) fn needs(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// Whether `scope` holds anything.
    pub(super) fn has(&self, scope: &Scope) -> bool {
        self.scopes.contains_key(scope)
    }

    /// The scopes of `root` that hold something.
    pub(super) fn scopes_of(&self, root: &Root) -> Vec<Scope> {
        let first = Scope::new(root.clone(), "");
        let scopes = self.scopes.range(first..).map(|(scope, _)| scope);
        scopes
            .take_while(|scope| scope.root == *root)
            .cloned()
            .collect()
    }

    /// The keys that `scope` holds.
    pub(super) fn keys_of(&self, scope: &Scope) -> Vec<Key> {
        self.scopes
            .get(scope)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect()
    }

    /// The documents named `key`, the one that counts first.
    pub(super) fn holders(&self, key: &Key) -> Vec<(Scope, Arc<Document>)> {
        let document =
            |scope: &Scope| Some((scope.clone(), self.scopes.get(scope)?.get(key)?.clone()));
        self.holders
            .get(key)
            .into_iter()
            .flatten()
            .filter_map(document)
            .collect()
    }
}
