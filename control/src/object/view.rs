//! The immutable view of all objects.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Key, Kind, Object};

/// All objects at one moment. Clones share everything; a view never changes.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    map: OrdMap<Key, Version>,
    revision: u64,
}

/// One object as the map holds it: equal when nothing that an API server would call a change has
/// happened (that its lines moved within the file is none).
#[derive(Clone, Debug)]
struct Version(Arc<Object>);

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.life == other.0.life
    }
}

/// How one object differs between two views.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is new.
    Added(Arc<Object>),
    /// It has another version.
    Modified {
        /// The version before.
        old: Arc<Object>,
        /// The version now.
        new: Arc<Object>,
    },
    /// It is gone.
    Deleted(Arc<Object>),
}

impl Change {
    /// The object that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Added(object) | Self::Deleted(object) | Self::Modified { new: object, .. } => {
                &object.key
            }
        }
    }
}

impl Objects {
    /// A number that rises with every change of any object.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The object `key`.
    pub fn find(&self, key: &Key) -> Option<&Arc<Object>> {
        self.map.get(key).map(|version| &version.0)
    }

    /// The object `name` in `namespace` of the kind that `T` decodes.
    pub fn named<T>(&self, namespace: &str, name: &str) -> Option<(&Arc<Object>, &T)>
    where
        T: kube::Resource<DynamicType = ()> + 'static,
    {
        let object = self.find(&Key::of::<T>(namespace, name))?;
        Some((object, object.decoded()?))
    }

    /// All objects, ordered by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.map.values().map(|version| &version.0)
    }

    /// The objects of one kind, ordered by namespace and name.
    pub fn of_kind<'a>(&'a self, kind: &Kind) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let (first, kind) = (Key::new(kind.clone(), "", ""), kind.clone());
        self.from(first, move |key| key.kind == kind)
    }

    /// The objects of one kind in one namespace, ordered by name.
    pub fn in_namespace<'a>(
        &'a self,
        kind: &Kind,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let first = Key::new(kind.clone(), namespace, "");
        let (kind, namespace) = (first.kind.clone(), first.namespace.clone());
        self.from(first, move |key| {
            key.kind == kind && key.namespace == namespace
        })
    }

    /// The objects of the kind that `T` decodes, with their typed form.
    pub fn list<T>(&self) -> impl Iterator<Item = (&Arc<Object>, &T)>
    where
        T: kube::Resource<DynamicType = ()> + 'static,
    {
        self.of_kind(&Kind::decoded_by::<T>())
            .filter_map(|object| Some((object, object.decoded::<T>()?)))
    }

    /// What happened to objects between `old` and this view, ordered by key. Costs what changed,
    /// not what there is, for views of one store.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let change = |item: DiffItem<'_, '_, Key, Version>| match item {
            DiffItem::Add(_, new) => Change::Added(new.0.clone()),
            DiffItem::Remove(_, old) => Change::Deleted(old.0.clone()),
            DiffItem::Update { old, new } => Change::Modified {
                old: old.1.0.clone(),
                new: new.1.0.clone(),
            },
        };
        old.map.diff(&self.map).map(change).collect()
    }

    fn from(
        &self,
        first: Key,
        belongs: impl Fn(&Key) -> bool,
    ) -> impl Iterator<Item = &Arc<Object>> {
        self.map
            .range(first..)
            .take_while(move |(key, _)| belongs(key))
            .map(|(_, version)| &version.0)
    }

    pub(super) fn insert(&mut self, object: Arc<Object>) {
        self.revision = self.revision.max(object.life.version);
        self.map.insert(object.key.clone(), Version(object));
    }

    pub(super) fn remove(&mut self, key: &Key, revision: u64) -> Option<Arc<Object>> {
        let removed = self.map.remove(key)?;
        self.revision = self.revision.max(revision);
        Some(removed.0)
    }
}
