//! Where objects come from. Every source speaks the same [`Event`]s, so that the index behind it
//! cannot tell a directory of manifests from an API server.
//!
//! * [`yaml`] turns the text of one manifest into [`Document`]s; it is pure.
//! * [`files`] watches directories and files and is the only part that touches the disk.
//!
//! Nothing here knows what a kind means, which object wins when two have one name, or whether an
//! object is any good: that is for [`crate::object`], [`crate::kinds`] and [`crate::admission`].

pub mod files;
pub mod lines;
pub mod yaml;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::finding::{Finding, ObjectName, Severity};
use crate::object::{FieldPath, Key};
use lines::{LineTable, Position};

/// A part of the world that holds objects, in order of precedence: of two objects with one name,
/// that of the lesser root wins.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Root {
    /// A path that people write manifests to; `order` is its place among the paths given.
    Written {
        /// Place among the paths given, from 0.
        order: u32,
        /// The path as given.
        path: Arc<Path>,
    },
    /// A path with objects as an API server holds them: their uid, generation and status count.
    Recorded {
        /// Place among such paths, from 0.
        order: u32,
        /// The path as given.
        path: Arc<Path>,
    },
    /// Objects that control itself derives, such as the Service of a Gateway.
    Generated,
    /// Objects that exist without anyone writing them, such as the class `istio-waypoint`.
    Builtin,
}

impl Root {
    /// Whether uid, generation and status of its objects are taken as they stand. An API server
    /// drops them from what people write.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Recorded { .. })
    }

    /// Whether two of its objects with one name, or one that hides another, are worth a word.
    /// What exists by itself is there to be replaced.
    pub fn is_authored(&self) -> bool {
        matches!(self, Self::Written { .. } | Self::Recorded { .. })
    }
}

/// A group of objects that comes and goes together: a file, or one kind of an API server.
/// Scopes of one root have precedence by name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope {
    /// The root it belongs to.
    pub root: Root,
    /// Its name in the root; for a file its path as shown to people.
    pub name: Arc<str>,
}

impl Scope {
    /// The scope `name` of `root`.
    pub fn new(root: Root, name: &str) -> Self {
        Self {
            root,
            name: name.into(),
        }
    }
}

/// One object as its author gave it.
#[derive(Clone, Debug)]
pub struct Document {
    /// The whole tree, `apiVersion` and `kind` included.
    pub value: Value,
    /// Where it stands.
    pub origin: Origin,
}

/// Where an object stands, so that whatever is said about it later can name file and line.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The file as shown to people; `None` for objects that come from no file.
    pub file: Option<Arc<str>>,
    /// The lines of its fields.
    pub lines: LineTable,
}

impl Origin {
    /// A finding about `field` of the object `key` that stands here.
    pub fn finding(
        &self,
        key: Option<&Key>,
        field: &FieldPath,
        severity: Severity,
        what: String,
    ) -> Finding {
        let Position { line, column } = self.lines.locate(field);
        Finding {
            file: self.file.as_deref().map(str::to_owned),
            line,
            column,
            object: key.map(ObjectName::from),
            field: (!field.is_root()).then(|| field.to_string()),
            severity,
            what,
            effect: String::new(),
            remedy: String::new(),
        }
    }
}

/// What a source reports.
#[derive(Debug)]
pub enum Event {
    /// All that a scope holds now.
    Snapshot {
        /// The scope.
        scope: Scope,
        /// Its objects.
        documents: Vec<Document>,
        /// What could not be read of it. While anything is here, objects of the scope that are
        /// missing from `documents` stay: nobody can tell a broken object from a removed one.
        unreadable: Vec<Finding>,
    },
    /// One object of a scope is new or changed.
    Applied {
        /// The scope.
        scope: Scope,
        /// The object.
        document: Document,
    },
    /// One object of a scope is gone.
    Deleted {
        /// The scope.
        scope: Scope,
        /// The object.
        key: Key,
    },
    /// The scopes that a root has; whatever is known of others of this root is gone.
    Scopes {
        /// The root.
        root: Root,
        /// Names of its scopes.
        names: BTreeSet<Arc<str>>,
    },
    /// What is wrong with a root as a whole, nothing if there is no finding. Its objects stay.
    Trouble {
        /// The root.
        root: Root,
        /// What is wrong.
        findings: Vec<Finding>,
    },
    /// Everything that was there when the source started has been reported.
    Synced,
}
