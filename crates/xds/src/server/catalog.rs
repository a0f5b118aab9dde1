//! What a server serves: immutable snapshots of resources, and the catalog that holds the newest.
//!
//! The maps are persistent: editing a copy shares all that stays, and the difference of two
//! snapshots costs what changed between them, not what they hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use prost::Message;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// Content of a resource in short: the same bytes have the same version, in every process.
///
/// Sixteen hex digits on the wire, as istiod's versions. The hash is the head of SHA-256;
/// a collision would make one update skip clients that reconnect just then, nothing more.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(u64);

impl Version {
    fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        Self(
            digest
                .iter()
                .take(8)
                .fold(0, |hash, byte| (hash << 8) | u64::from(*byte)),
        )
    }

    /// Whether a client that reports `text` holds this version.
    pub fn is(self, text: &str) -> bool {
        text.len() == 16 && u64::from_str_radix(text, 16) == Ok(self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One resource: encoded once, shared by every stream.
#[derive(Clone, Eq, PartialEq)]
pub struct Entry {
    version: Version,
    bytes: Bytes,
    aliases: Arc<[Arc<str>]>,
    companions: Arc<[Arc<str>]>,
}

/// Without the bytes: they may hold a secret.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("length", &self.bytes.len())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// A resource from its encoded message.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let version = Version::of(&bytes);
        Self {
            version,
            bytes,
            aliases: Arc::default(),
            companions: Arc::default(),
        }
    }

    /// A resource from its message.
    pub fn encode(message: &impl Message) -> Self {
        Self::new(message.encode_to_vec())
    }

    /// Lets on-demand clients ask for this resource by other names than its own.
    #[must_use]
    pub fn with_aliases(mut self, aliases: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.aliases = aliases.into_iter().collect();
        self
    }

    /// Names resources that an on-demand client gets together with this one: whoever asks for a
    /// service needs the workloads behind it.
    #[must_use]
    pub fn with_companions(mut self, companions: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.companions = companions.into_iter().collect();
        self
    }

    /// The version of its bytes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The encoded message.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn aliases(&self) -> &[Arc<str>] {
        &self.aliases
    }

    pub(super) fn companions(&self) -> &[Arc<str>] {
        &self.companions
    }
}

/// All resources of one type.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    entries: OrdMap<Arc<str>, Arc<Entry>>,
    /// Pairs of alias and name.
    aliases: OrdSet<(Arc<str>, Arc<str>)>,
}

impl Resources {
    /// Adds or replaces a resource; false if it was there already, equal.
    pub fn put(&mut self, name: impl Into<Arc<str>>, entry: Entry) -> bool {
        let name = name.into();
        if let Some(old) = self.entries.get(&name) {
            if **old == entry {
                return false;
            }
            for alias in old.aliases() {
                self.aliases.remove(&(Arc::clone(alias), Arc::clone(&name)));
            }
        }
        for alias in entry.aliases() {
            self.aliases.insert((Arc::clone(alias), Arc::clone(&name)));
        }
        self.entries.insert(name, Arc::new(entry));
        true
    }

    /// Takes a resource out; false if there was none.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some((name, old)) = self.entries.remove_with_key(name) else {
            return false;
        };
        for alias in old.aliases() {
            self.aliases.remove(&(Arc::clone(alias), Arc::clone(&name)));
        }
        true
    }

    /// Makes this hold exactly `desired`; what is equal already stays untouched and costs no
    /// client anything. Whether anything changed.
    pub fn replace(&mut self, desired: impl IntoIterator<Item = (Arc<str>, Entry)>) -> bool {
        let desired: BTreeMap<_, _> = desired.into_iter().collect();
        let gone: Vec<_> = self
            .entries
            .keys()
            .filter(|name| !desired.contains_key(*name))
            .cloned()
            .collect();
        let mut changed = !gone.is_empty();
        for name in gone {
            self.remove(&name);
        }
        for (name, entry) in desired {
            changed |= self.put(name, entry);
        }
        changed
    }

    /// The resource of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.entries.get(name)
    }

    /// All resources, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Entry>)> {
        self.entries.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> &OrdMap<Arc<str>, Arc<Entry>> {
        &self.entries
    }

    /// Names of the resources a client means by `key`: the one of that name, those of that alias.
    pub(super) fn resolve(&self, key: &str) -> BTreeSet<Arc<str>> {
        let own = self
            .entries
            .get_key_value(key)
            .map(|(name, _)| Arc::clone(name));
        let start: (Arc<str>, Arc<str>) = (key.into(), "".into());
        let aliased = self
            .aliases
            .range(start..)
            .take_while(|(alias, _)| &**alias == key);
        own.into_iter()
            .chain(aliased.map(|(_, name)| Arc::clone(name)))
            .collect()
    }

    fn same(&self, other: &Self) -> bool {
        self.entries.ptr_eq(&other.entries)
    }
}

/// The resources of all types at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    types: OrdMap<Arc<str>, Resources>,
    generation: u64,
}

impl Snapshot {
    /// The resources of a type; none if the type is unknown.
    pub fn resources(&self, type_url: &str) -> Resources {
        self.types.get(type_url).cloned().unwrap_or_default()
    }

    /// The resources of a type, for editing.
    pub fn resources_mut(&mut self, type_url: &str) -> &mut Resources {
        self.types.entry(type_url.into()).or_default()
    }

    /// How many publications came before, in its catalog.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn same(&self, other: &Self) -> bool {
        let all = self.types.keys().chain(other.types.keys());
        all.into_iter()
            .all(|url| match (self.types.get(url), other.types.get(url)) {
                (Some(a), Some(b)) => a.same(b),
                (Some(lone), None) | (None, Some(lone)) => lone.is_empty(),
                (None, None) => true,
            })
    }
}

/// The newest snapshot for one audience, and the streams waiting for a newer one.
///
/// Resources that must arrive in an order (a policy before the workloads it protects) belong in
/// one catalog and one publication: across catalogs there is no order.
#[derive(Debug, Default)]
pub struct Catalog {
    newest: watch::Sender<Arc<Snapshot>>,
}

impl Catalog {
    /// Publishes nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The newest snapshot; a copy of it is the start of the next one.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.borrow())
    }

    /// The newest snapshot's generation.
    pub fn generation(&self) -> u64 {
        self.newest.borrow().generation
    }

    /// Replaces the snapshot and wakes the streams, unless it equals the present one. Returns its
    /// generation, to compare with what clients have acknowledged.
    ///
    /// Equal means edited from a copy of the present one without effect; a snapshot built from
    /// nothing counts as new, though streams still send only real differences.
    pub fn publish(&self, snapshot: Snapshot) -> u64 {
        self.edit(|present| *present = snapshot)
    }

    /// Edits a copy of the newest snapshot and publishes it, as one step.
    pub fn edit(&self, edit: impl FnOnce(&mut Snapshot)) -> u64 {
        let mut generation = 0;
        self.newest.send_if_modified(|newest| {
            generation = newest.generation;
            let mut next = Snapshot::clone(newest);
            edit(&mut next);
            if next.same(newest) {
                return false;
            }
            generation += 1;
            next.generation = generation;
            *newest = Arc::new(next);
            true
        });
        generation
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.newest.subscribe()
    }
}
