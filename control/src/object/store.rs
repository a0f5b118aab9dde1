//! The owner of all objects: events go in, a view and findings come out.
//!
//! For every name that an event touches, the store looks at the document that counts (the first of
//! its holders), lets [`admission`] judge it, and puts it into the view or keeps what was there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde_json::Value;
use uuid::Uuid;

use super::addresses::Addresses;
use super::catalog::{Catalog, Touched};
use super::saved::{Saved, SavedObject};
use super::{Key, Life, Object, Objects, builtin};
use crate::admission::{self, Admitted};
use crate::finding::{Finding, Severity};
use crate::kinds;
use crate::object::FieldPath;
use crate::source::{Document, Event, Origin, Root, Scope};

/// All objects, and how they came to be what they are.
#[derive(Debug)]
pub struct Store {
    catalog: Catalog,
    view: Objects,
    revision: u64,
    /// When each scope brought its first object. All objects first seen in one file are of one age,
    /// so that the order of documents in it means nothing.
    ages: BTreeMap<Scope, Timestamp>,
    /// Lives from before a restart, for objects that have not come back yet.
    former: HashMap<Key, SavedObject>,
    addresses: Addresses,
    unreadable: BTreeMap<Scope, Vec<Finding>>,
    trouble: BTreeMap<Root, Vec<Finding>>,
    judged: BTreeMap<Key, Vec<Finding>>,
    is_synced: bool,
}

impl Store {
    /// A store with nothing in it but what exists by itself.
    pub fn new(now: Timestamp) -> Self {
        Self::restore(Saved::default(), &[], now)
    }

    /// The store that was saved, with the objects of those of its roots that are among `roots`.
    /// They stay until their source has spoken.
    pub fn restore(saved: Saved, roots: &[Root], now: Timestamp) -> Self {
        let mut store = Self {
            catalog: Catalog::default(),
            view: Objects::default(),
            revision: saved.revision,
            ages: BTreeMap::new(),
            former: HashMap::new(),
            addresses: Addresses::default(),
            unreadable: BTreeMap::new(),
            trouble: BTreeMap::new(),
            judged: BTreeMap::new(),
            is_synced: false,
        };
        let now = whole_seconds(now);
        for age in saved.ages {
            if let Some(scope) = age.scope.find(roots) {
                store.ages.insert(scope, age.since);
            }
        }
        let mut touched = BTreeSet::new();
        for (key, object) in saved.objects.into_iter().filter_map(SavedObject::keyed) {
            if let Some(scope) = object.scope.as_ref().and_then(|scope| scope.find(roots)) {
                store
                    .catalog
                    .put(&scope, key.clone(), Arc::new(object.document()));
                touched.insert(key.clone());
            }
            store.former.insert(key, object);
        }
        let builtin = builtin_scope();
        let classes = builtin::classes();
        let default = builtin::of_namespace(builtin::DEFAULT_NAMESPACE);
        for (key, document) in classes.chain(default) {
            store.catalog.put(&builtin, key.clone(), Arc::new(document));
            touched.insert(key);
        }
        store.settle(touched, now);
        store
    }

    /// What is to be kept for a restart.
    pub fn save(&self) -> Saved {
        let scope_of = |key: &Key| {
            self.catalog
                .holders(key)
                .into_iter()
                .next()
                .map(|(scope, _)| scope)
        };
        Saved::new(self.revision, &self.ages, &self.view, scope_of)
    }

    /// Takes one event; returns the objects that may have changed.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> BTreeSet<Key> {
        let now = whole_seconds(now);
        let mut touched = match event {
            Event::Snapshot {
                scope,
                documents,
                unreadable,
            } => self.take_snapshot(&scope, documents, unreadable, now),
            Event::Applied { scope, document } => match admission::key_of(&document) {
                Ok(key) => {
                    self.ages.entry(scope.clone()).or_insert(now);
                    self.catalog.put(&scope, key.clone(), Arc::new(document));
                    Touched::one(key)
                }
                Err(finding) => {
                    self.unreadable.entry(scope).or_default().push(*finding);
                    Touched::default()
                }
            },
            Event::Deleted { scope, key } => {
                self.catalog.remove(&scope, &key);
                Touched::one(key)
            }
            Event::Scopes { root, names } => {
                let known = self.catalog.scopes_of(&root).into_iter();
                let unreadable = self
                    .unreadable
                    .keys()
                    .filter(|scope| scope.root == root)
                    .cloned();
                let gone: BTreeSet<Scope> = known
                    .chain(unreadable)
                    .filter(|scope| !names.contains(&scope.name))
                    .collect();
                let mut touched = Touched::default();
                for scope in gone {
                    let of_scope = self.take_snapshot(&scope, Vec::new(), Vec::new(), now);
                    touched.changed.extend(of_scope.changed);
                }
                touched
            }
            Event::Trouble { root, findings } => {
                if findings.is_empty() {
                    self.trouble.remove(&root);
                } else {
                    self.trouble.insert(root, findings);
                }
                Touched::default()
            }
            Event::Synced => {
                self.is_synced = true;
                self.former.clear();
                Touched::default()
            }
        };
        // What was said about an object names lines, which are other ones now.
        let (stale, moved): (Vec<Key>, Vec<Key>) = touched
            .moved
            .into_iter()
            .partition(|key| self.judged.contains_key(key));
        touched.changed.extend(stale);
        for key in &moved {
            self.relocate(key);
        }
        let mut touched = self.settle(touched.changed, now);
        touched.extend(moved);
        touched
    }

    /// Sets the status of an object; whether that changed anything. Only the part of control that
    /// owns the status of a kind does this.
    pub fn set_status(&mut self, key: &Key, status: Option<Value>) -> bool {
        let Some(old) = self.view.find(key) else {
            return false;
        };
        if old.status.as_deref() == status.as_ref() {
            return false;
        }
        self.revision += 1;
        let life = Life {
            version: self.revision,
            ..old.life.clone()
        };
        let object = Object {
            status: status.map(Arc::new),
            life,
            ..old.as_ref().clone()
        };
        self.view.insert(Arc::new(object));
        true
    }

    /// All objects as they are now.
    pub fn objects(&self) -> &Objects {
        &self.view
    }

    /// Whether all sources have told everything that was there when they started.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// What is wrong with what the sources gave.
    pub fn findings(&self) -> Vec<Finding> {
        let scopes = self.unreadable.values().flatten();
        let objects = self.judged.values().flatten();
        self.trouble
            .values()
            .flatten()
            .chain(scopes)
            .chain(objects)
            .cloned()
            .collect()
    }

    fn take_snapshot(
        &mut self,
        scope: &Scope,
        documents: Vec<Document>,
        mut unreadable: Vec<Finding>,
        now: Timestamp,
    ) -> Touched {
        let mut named: BTreeMap<Key, Arc<Document>> = BTreeMap::new();
        let mut twice = Vec::new();
        for document in documents {
            match admission::key_of(&document) {
                Ok(key) => match named.get(&key) {
                    Some(first) => twice.push(hidden(&key, &document.origin, &first.origin)),
                    None => {
                        named.insert(key, Arc::new(document));
                    }
                },
                Err(finding) => unreadable.push(*finding),
            }
        }
        let keeps_missing = !unreadable.is_empty();
        let touched = self.catalog.replace(scope, named, keeps_missing);
        unreadable.extend(twice);
        if unreadable.is_empty() {
            self.unreadable.remove(scope);
        } else {
            self.unreadable.insert(scope.clone(), unreadable);
        }
        if self.catalog.has(scope) {
            self.ages.entry(scope.clone()).or_insert(now);
        } else {
            self.ages.remove(scope);
        }
        touched
    }

    /// Notes where an object stands now that is as it was.
    fn relocate(&mut self, key: &Key) {
        let holders = self.catalog.holders(key);
        if let (Some((_, document)), Some(object)) = (holders.first(), self.view.find(key)) {
            let object = Object {
                origin: Arc::new(document.origin.clone()),
                ..object.as_ref().clone()
            };
            self.view.insert(Arc::new(object));
        }
    }

    /// Brings the view up to date for `touched` and for all that follows from it.
    fn settle(&mut self, touched: BTreeSet<Key>, now: Timestamp) -> BTreeSet<Key> {
        let mut open: Vec<Key> = touched.into_iter().collect();
        let mut done = BTreeSet::new();
        while let Some(key) = open.pop() {
            self.judge(&key, now);
            open.extend(
                self.addresses
                    .note(&key, self.view.find(&key).map(Arc::as_ref)),
            );
            open.extend(self.settle_namespace(&key));
            done.insert(key);
        }
        done
    }

    /// A namespace exists, with its default account, while any object needs it.
    fn settle_namespace(&mut self, key: &Key) -> Vec<Key> {
        let Some(namespace) = builtin::namespace_of(key) else {
            return Vec::new();
        };
        let is_needed = self.catalog.needs(namespace) || namespace == builtin::DEFAULT_NAMESPACE;
        let scope = builtin_scope();
        let mut touched = Vec::new();
        for (key, document) in builtin::of_namespace(namespace) {
            let is_there = self
                .catalog
                .holders(&key)
                .iter()
                .any(|(holder, _)| *holder == scope);
            match (is_needed, is_there) {
                (true, false) => self.catalog.put(&scope, key.clone(), Arc::new(document)),
                (false, true) => self.catalog.remove(&scope, &key),
                _ => continue,
            }
            touched.push(key);
        }
        touched
    }

    /// Looks at the document that counts for `key` and updates the view and the findings.
    fn judge(&mut self, key: &Key, now: Timestamp) {
        let holders = self.catalog.holders(key);
        let mut findings = Vec::new();
        match holders.split_first() {
            None => {
                if self.view.find(key).is_some() {
                    self.revision += 1;
                    self.view.remove(key, self.revision);
                }
            }
            Some(((scope, document), others)) => {
                let hide = |(_, other): &(Scope, Arc<Document>)| {
                    hidden(key, &other.origin, &document.origin)
                };
                findings.extend(
                    others
                        .iter()
                        .filter(|(o, _)| o.root.is_authored())
                        .map(hide),
                );
                let mut value = document.value.clone();
                self.addresses.fill(key, &mut value);
                match admission::admit(key, &document.origin, value, scope.root.is_recorded()) {
                    Ok(mut admitted) => {
                        findings.append(&mut admitted.warnings);
                        self.put(key, admitted, &document.origin, scope, now);
                    }
                    Err(broken) => {
                        findings.extend(broken.into_iter().map(|f| self.refused(key, f)));
                    }
                }
            }
        }
        if findings.is_empty() {
            self.judged.remove(key);
        } else {
            self.judged.insert(key.clone(), findings);
        }
    }

    fn refused(&self, key: &Key, finding: Finding) -> Finding {
        let effect = match self.view.find(key) {
            Some(_) => "the object is refused and its last good version stays in effect",
            None => "the object is refused and has no effect",
        };
        Finding {
            effect: effect.to_owned(),
            ..finding
        }
    }

    fn put(&mut self, key: &Key, new: Admitted, origin: &Origin, scope: &Scope, now: Timestamp) {
        let old = self.view.find(key).cloned();
        let former = self.former.remove(key);
        let (life_before, value_before, status_before) = match (&old, &former) {
            (Some(old), _) => (Some(&old.life), Some(&old.value), old.status.clone()),
            (None, Some(former)) => (
                Some(&former.life),
                Some(&former.value),
                former.status.clone(),
            ),
            (None, None) => (None, None, None),
        };
        let age = self.ages.get(scope).copied().unwrap_or(now);
        let generation = match (new.generation, life_before) {
            (Some(given), _) => given,
            (None, None) => 1,
            (None, Some(life)) => {
                let is_same = value_before.is_some_and(|old| is_same_spec(old, &new.value));
                life.generation + i64::from(!is_same)
            }
        };
        let first_status = || kinds::of(&key.kind).and_then(kinds::Info::first_status);
        let status = new.status.map(Arc::new).or(status_before);
        let status = status.or_else(|| first_status().map(Arc::new));
        let mut life = Life {
            uid: new
                .uid
                .or_else(|| life_before.map(|life| life.uid.clone()))
                .unwrap_or_else(|| Uuid::new_v4().to_string().into()),
            generation,
            created: new
                .created
                .or(life_before.map(|life| life.created))
                .unwrap_or(age),
            version: life_before.map_or(0, |life| life.version),
        };
        let is_same = old
            .as_ref()
            .map_or(former.is_some(), |old| old.status == status)
            && life_before == Some(&life)
            && value_before.is_some_and(|old| **old == new.value);
        if !is_same {
            self.revision += 1;
            life.version = self.revision;
        }
        self.view.insert(Arc::new(Object {
            key: key.clone(),
            labels: new.labels,
            annotations: new.annotations,
            life,
            value: Arc::new(new.value),
            status,
            origin: Arc::new(origin.clone()),
            decoded: new.decoded,
        }));
    }
}

fn builtin_scope() -> Scope {
    Scope::new(Root::Builtin, "")
}

/// Times of objects have whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    let whole = TimestampRound::new()
        .smallest(Unit::Second)
        .mode(RoundMode::Trunc);
    time.round(whole).unwrap_or(time)
}

/// Whether two versions of an object differ in metadata and status at most.
fn is_same_spec(old: &Value, new: &Value) -> bool {
    fn spec(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let fields = value.as_object().into_iter().flatten();
        fields.filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"))
    }
    spec(old).eq(spec(new))
}

/// Says that the object at `origin` does not count because of the one at `winner`.
fn hidden(key: &Key, origin: &Origin, winner: &Origin) -> Finding {
    let file = winner.file.as_deref().unwrap_or("the mesh itself");
    let what = match winner.lines.start().line {
        0 => format!("is also declared in {file}, which counts"),
        line => format!("is also declared in {file}:{line}, which counts"),
    };
    Finding {
        effect: "this one has no effect".to_owned(),
        remedy: "remove one of the two".to_owned(),
        ..origin.finding(Some(key), &FieldPath::root(), Severity::Error, what)
    }
}

#[cfg(test)]
mod tests;
