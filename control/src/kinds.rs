//! What control knows of each kind: its names, its typed form, its defaults and its rules.
//!
//! [`KINDS`] is the whole table; adding a kind is adding a row. A kind that is not in it is kept as
//! it stands and is never an error.

pub mod authorization;
mod core;
mod decode;
mod defaults;
mod gateway;
mod istio;
pub mod peer_authentication;
pub mod selection;
pub mod traffic_extension;
pub mod wasm_plugin;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::admission::Check;
use crate::object::{FieldPath, Kind, Objects};
pub use decode::Mismatch;
pub use defaults::strip_nulls;

/// The typed form of a tree, with the paths of the fields it does not know.
type Typed = (Arc<dyn Any + Send + Sync>, Vec<FieldPath>);

/// Turns a tree into its typed form.
type Decode = fn(&Value) -> Result<Typed, Mismatch>;

/// One kind.
#[derive(Clone, Copy)]
pub struct Info {
    /// API group, empty for core kinds.
    pub group: &'static str,
    /// Versions that are served; all have one schema. Objects are kept in the first.
    pub versions: &'static [&'static str],
    /// Name as in a manifest.
    pub kind: &'static str,
    /// Plural, lower case.
    pub plural: &'static str,
    /// Short names.
    pub short: &'static [&'static str],
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// Whether an API server counts generations of it.
    pub counts_generations: bool,
    /// Whether status is a part that only its controller writes.
    pub has_status: bool,
    decode: Option<Decode>,
    defaults: fn(&mut Value),
    first_status: fn() -> Option<Value>,
    checks: &'static [&'static [Check]],
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.api_version())
    }
}

impl Info {
    const fn new(
        group: &'static str,
        versions: &'static [&'static str],
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group,
            versions,
            kind,
            plural,
            short: &[],
            namespaced: true,
            counts_generations: true,
            has_status: true,
            decode: None,
            defaults: |_| {},
            first_status: || None,
            checks: &[],
        }
    }

    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short = names;
        self
    }

    const fn cluster_scoped(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn without_generations(mut self) -> Self {
        self.counts_generations = false;
        self
    }

    const fn without_status(mut self) -> Self {
        self.has_status = false;
        self
    }

    const fn decoded_as<T>(mut self) -> Self
    where
        T: serde::de::DeserializeOwned + Any + Send + Sync,
    {
        self.decode = Some(decode::decode::<T>);
        self
    }

    const fn with_defaults(mut self, defaults: fn(&mut Value)) -> Self {
        self.defaults = defaults;
        self
    }

    const fn with_first_status(mut self, first: fn() -> Option<Value>) -> Self {
        self.first_status = first;
        self
    }

    const fn checked_by(mut self, checks: &'static [&'static [Check]]) -> Self {
        self.checks = checks;
        self
    }

    /// The `apiVersion` its objects are kept in.
    pub fn api_version(&self) -> String {
        let version = self.versions.first().copied().unwrap_or("v1");
        match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// Fills in what an API server would.
    pub fn fill_defaults(&self, value: &mut Value) {
        (self.defaults)(value);
    }

    /// The status of an object that nobody has looked at yet.
    pub fn first_status(&self) -> Option<Value> {
        (self.first_status)()
    }

    /// The typed form of `value`, if this kind has one.
    ///
    /// # Errors
    /// The first field that does not fit its type.
    pub fn decode(&self, value: &Value) -> Result<Option<Typed>, Mismatch> {
        self.decode.map(|decode| decode(value)).transpose()
    }

    /// The rules for its objects, beyond those for all objects.
    pub fn checks(&self) -> impl Iterator<Item = &'static Check> + use<> {
        self.checks.iter().copied().flatten()
    }

    /// The kind as a part of names.
    pub const fn as_kind(&self) -> Kind {
        Kind::of(self.group, self.kind)
    }

    fn is_called(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.kind) || self.plural == name || self.short.contains(&name)
    }
}

/// The rows, by the API they belong to. For a name that two groups use (`gateway`), the first row
/// counts.
static KINDS: [&[Info]; 3] = [core::KINDS, gateway::KINDS, istio::KINDS];

/// Every kind in the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Info> {
    KINDS.iter().copied().flatten()
}

/// The kind `name` (as in a manifest) of `group`.
pub fn find(group: &str, name: &str) -> Option<&'static Info> {
    all().find(|info| info.kind == name && info.group == group)
}

/// What is known of `kind`.
pub fn of(kind: &Kind) -> Option<&'static Info> {
    find(kind.group(), kind.name())
}

/// The kind that people mean by `name`: kind, plural, singular or short name in any case,
/// optionally followed by `.group` or `.version.group`, as for kubectl. Kinds that are not in the
/// table are found if `objects` has some.
pub fn lookup(name: &str, objects: &Objects) -> Option<Kind> {
    let name = name.to_ascii_lowercase();
    let (word, group) = match name.split_once('.') {
        Some((word, group)) => (word, Some(group)),
        None => (name.as_str(), None),
    };
    let fits = |candidate: &str| match group {
        None => true,
        Some(group) => {
            group == candidate
                || group
                    .split_once('.')
                    .is_some_and(|(version, rest)| rest == candidate && version.starts_with('v'))
        }
    };
    if let Some(info) = all().find(|info| info.is_called(word) && fits(info.group)) {
        return Some(info.as_kind());
    }
    let kinds = objects.iter().map(|object| &object.key.kind);
    let mut unknown = kinds.filter(|kind| of(kind).is_none() && fits(kind.group()));
    unknown
        .find(|kind| is_form_of(word, &kind.name().to_ascii_lowercase()))
        .cloned()
}

/// Whether `word` is `singular` or a plural of it.
fn is_form_of(word: &str, singular: &str) -> bool {
    word == singular
        || word.strip_suffix('s') == Some(singular)
        || word.strip_suffix("es") == Some(singular)
        || word
            .strip_suffix("ies")
            .zip(singular.strip_suffix('y'))
            .is_some_and(|(a, b)| a == b)
}

#[cfg(test)]
mod tests;
