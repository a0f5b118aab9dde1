//! Facts: what a translation can depend on.
//!
//! A [`Fact`] is a question to the index whose answer can change; a [`FactId`] is its fingerprint.
//! Two facts that share a fingerprint only cause work that was not needed: every answer is checked
//! against the objects themselves.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::object::{Key, Kind};

/// A question whose answer can change.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Fact<'a> {
    /// What this object says.
    Object(&'a Key),
    /// Which objects of a kind there are.
    OfKind(&'a Kind),
    /// Which objects of a kind are in a namespace.
    InNamespace(&'a Kind, &'a str),
    /// Which objects of a kind in a namespace bear a label.
    Labelled(&'a Kind, &'a str, (&'a str, &'a str)),
    /// Which objects of a kind in a namespace select by a label, the first of their selector.
    Selecting(&'a Kind, &'a str, (&'a str, &'a str)),
    /// Which objects of a kind are attached to an object: routes and slices to a Service, Gateways
    /// to a class, routes to the plugins that their rules name.
    AttachedTo(&'a Kind, &'a Key),
    /// What the Gateway of this key amounts to as a waypoint; derived, not given.
    Waypoint(&'a Key),
}

/// The fingerprint of a [`Fact`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct FactId(u64);

impl From<Fact<'_>> for FactId {
    fn from(fact: Fact<'_>) -> Self {
        let mut hasher = DefaultHasher::new();
        fact.hash(&mut hasher);
        Self(hasher.finish())
    }
}
