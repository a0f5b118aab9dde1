//! The objects of the mesh, kept as an API server keeps them.
//!
//! * [`Object`] is one object with its defaults filled in, its life (uid, generation, creation
//!   time), its status and the place it came from.
//! * [`Objects`] is an immutable view of all of them: cheap to clone, and the difference of two
//!   views costs what changed between them.
//! * [`Store`] owns them: [`source::Event`](crate::source::Event)s go in, views and findings come
//!   out. It is plain code without IO, clock or task.
//! * [`Keeper`] is the one task around a store; [`Handle`] is how everyone else reaches it.
//!
//! Nothing here knows what an object does to traffic.

mod addresses;
mod builtin;
mod catalog;
mod field;
mod keeper;
mod saved;
mod store;
mod view;

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::finding::{Finding, Severity};
use crate::index::SECRET;
use crate::kinds;
use crate::source::Origin;
pub use field::{FieldPath, Segment, visit, visit_mut};
pub use keeper::{Closed, Handle, Keeper};
pub use saved::{Saved, SavedObject};
pub use store::Store;
pub use view::{Change, Objects};

/// Group and name of a kind, the part of `apiVersion` and `kind` that makes objects the same.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Kind {
    group: Cow<'static, str>,
    name: Cow<'static, str>,
}

impl Kind {
    /// The kind `name` of `group`; the group of core kinds is empty.
    pub const fn of(group: &'static str, name: &'static str) -> Self {
        Self {
            group: Cow::Borrowed(group),
            name: Cow::Borrowed(name),
        }
    }

    /// The kind of an object that says `apiVersion: api_version` and `kind: name`.
    pub fn read(api_version: &str, name: &str) -> Self {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        match kinds::find(group, name) {
            Some(info) => Self::of(info.group, info.kind),
            None => Self {
                group: group.to_owned().into(),
                name: name.to_owned().into(),
            },
        }
    }

    /// The kind that `T` decodes.
    pub fn decoded_by<T: kube::Resource<DynamicType = ()>>() -> Self {
        Self {
            group: T::group(&()),
            name: T::kind(&()),
        }
    }

    /// API group, empty for core kinds.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Name as in a manifest, `HTTPRoute`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The name of one object. Ordered by kind, namespace and name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for kinds that have none.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// The object `name` of `kind` in `namespace` (empty for kinds that have none).
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The object `name` of the kind that `T` decodes.
    pub fn of<T: kube::Resource<DynamicType = ()>>(namespace: &str, name: &str) -> Self {
        Self::new(Kind::decoded_by::<T>(), namespace, name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// What an API server adds to an object: the facts of its life.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Life {
    /// Stays for as long as the object does; another object of the same name gets another one.
    pub uid: Arc<str>,
    /// Rises when anything but metadata and status changes.
    pub generation: i64,
    /// When it was created, in whole seconds.
    pub created: Timestamp,
    /// Rises with every change of any object; never the same for two versions of one object.
    pub version: u64,
}

/// One object, never changed in place.
#[derive(Clone)]
pub struct Object {
    /// Its name.
    pub key: Key,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Facts of its life.
    pub life: Life,
    /// The tree with defaults filled in and without status. `metadata` is as its author wrote it;
    /// what the API server adds is in `life` ([`Object::to_json`] puts both together).
    pub value: Arc<Value>,
    /// The status subresource, as last given by whoever owns it.
    pub status: Option<Arc<Value>>,
    /// Where it stands.
    pub origin: Arc<Origin>,
    decoded: Option<Arc<dyn Any + Send + Sync>>,
}

impl Object {
    /// The typed form, if `T` is the type that [`kinds`] decodes this kind into.
    ///
    /// Its `metadata` is as its author wrote it, and its `status` is the one it came with, not the
    /// one that control computed since ([`Object::status`]).
    pub fn decoded<T: 'static>(&self) -> Option<&T> {
        self.decoded.as_deref()?.downcast_ref()
    }

    /// The label `key`.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// The annotation `key`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// A finding about `field` (`spec.rules[0].name`) of this object.
    pub fn finding(&self, severity: Severity, field: &str, what: impl Into<String>) -> Finding {
        self.origin.finding(
            Some(&self.key),
            &FieldPath::from(field),
            severity,
            what.into(),
        )
    }

    /// The tree without what nobody should read: of a Secret only which fields it has.
    fn shown(&self) -> Value {
        let mut shown = self.value.as_ref().clone();
        if self.key.kind == SECRET {
            for part in ["data", "stringData"] {
                let fields = shown.get_mut(part).and_then(Value::as_object_mut);
                for (_, value) in fields.into_iter().flatten() {
                    *value = json!("hidden");
                }
            }
            // A copy of the whole, which kubectl makes.
            let annotations = shown
                .pointer_mut("/metadata/annotations")
                .and_then(Value::as_object_mut);
            if let Some(annotations) = annotations {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
        shown
    }

    /// The whole object as an API server would show it, but for the data of a Secret.
    pub fn to_json(&self) -> Value {
        let mut whole = self.shown();
        let has_generation = kinds::of(&self.key.kind).is_none_or(|info| info.counts_generations);
        if let Some(map) = whole.as_object_mut() {
            let metadata = map.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("uid".to_owned(), json!(self.life.uid));
                metadata.insert("creationTimestamp".to_owned(), json!(self.life.created));
                metadata.insert(
                    "resourceVersion".to_owned(),
                    json!(self.life.version.to_string()),
                );
                if has_generation {
                    metadata.insert("generation".to_owned(), json!(self.life.generation));
                }
            }
            if let Some(status) = &self.status {
                map.insert("status".to_owned(), status.as_ref().clone());
            }
        }
        whole
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("key", &self.key)
            .field("life", &self.life)
            .field("value", &self.shown())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
