//! What one stream has asked for of one type, and what it was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use imbl::ordmap::DiffItem;

use super::{
    ack::{self, Answer, Holding},
    catalog::{Catalog, Entry, Resources, Version},
};
use crate::Request;

/// Subscribes to, or unsubscribes from, everything of a type.
const WILDCARD: &str = "*";

/// Resources to send, by name.
type Puts = BTreeMap<Arc<str>, Arc<Entry>>;

/// What a client must be told.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) puts: Puts,
    pub(super) removals: BTreeSet<Arc<str>>,
    /// To be answered even if it is empty: a client becomes ready by its first response.
    pub(super) owed: bool,
}

/// The state of one type on one stream.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) type_url: Arc<str>,
    /// Position in the order of types.
    pub(super) rank: usize,
    pub(super) catalog: Option<Arc<Catalog>>,
    pub(super) holding: Holding,
    /// Number of the response that was answered last.
    pub(super) answered: Option<u64>,
    wildcard: bool,
    /// Names and aliases the client asked for one by one.
    keys: BTreeSet<Arc<str>>,
    /// Names of the resources these keys led to, while not everything is wanted.
    followed: BTreeSet<Arc<str>>,
    told: Told,
}

/// What the client was told last.
#[derive(Debug)]
enum Told {
    /// Nothing on this stream; it brought these names and versions along.
    Nothing(BTreeMap<String, String>),
    /// What these resources were, as far as it asked for them.
    Once(Resources),
}

impl Subscription {
    /// A type's first request on a stream: naming nothing means everything.
    pub(super) fn open(
        type_url: Arc<str>,
        rank: usize,
        catalog: Option<Arc<Catalog>>,
        request: &mut Request,
    ) -> Self {
        let retained = mem::take(&mut request.initial_resource_versions);
        let mut subscription = Self {
            type_url,
            rank,
            holding: Holding::of(catalog.clone()),
            catalog,
            answered: None,
            wildcard: request.resource_names_subscribe.is_empty(),
            keys: BTreeSet::new(),
            followed: BTreeSet::new(),
            told: Told::Nothing(retained),
        };
        subscription.change(request);
        subscription
    }

    /// Takes over subscriptions, then unsubscriptions; returns the keys to answer at once.
    pub(super) fn change(&mut self, request: &mut Request) -> Vec<Arc<str>> {
        let mut asked = Vec::new();
        for key in mem::take(&mut request.resource_names_subscribe) {
            if key == WILDCARD {
                self.subscribe_everything();
            } else {
                asked.push(Arc::from(key));
            }
        }
        self.keys.extend(asked.iter().cloned());

        let dropped = mem::take(&mut request.resource_names_unsubscribe);
        for key in &dropped {
            if key == WILDCARD {
                self.wildcard = false;
            }
            self.keys.remove(key.as_str());
            asked.retain(|asked| **asked != **key);
        }
        match &self.told {
            // The first response will answer everything.
            Told::Nothing(_) => Vec::new(),
            Told::Once(now) => {
                if !dropped.is_empty() {
                    self.followed = follow(&self.keys, now);
                }
                asked
            }
        }
    }

    fn subscribe_everything(&mut self) {
        if !mem::replace(&mut self.wildcard, true) && matches!(self.told, Told::Once(_)) {
            self.told = Told::Nothing(BTreeMap::new());
        }
    }

    /// Whether the client waits for its first response.
    pub(super) fn is_owed(&self) -> bool {
        matches!(self.told, Told::Nothing(_))
    }

    /// Whether the client wants only what it asks for.
    pub(super) fn is_on_demand(&self) -> bool {
        !self.wildcard
    }

    /// Notes what the client thinks by now of what it has acknowledged.
    pub(super) fn reconsider(&mut self, nack: Option<&str>) -> Option<Answer> {
        let known = |name: &str| Some((name.into(), self.version(name)?));
        let refused = nack.map(|message| ack::named(message, known));
        let refused = refused.unwrap_or_default();
        self.holding.reconsider(&self.type_url, refused)
    }

    /// The version of a resource that the client has: it acknowledged it, or brought it along and
    /// it is what would be sent.
    fn version(&self, name: &str) -> Option<Version> {
        let told = || match &self.told {
            Told::Once(now) if self.wildcard || self.followed.contains(name) => {
                now.get(name).map(|entry| entry.version())
            }
            Told::Once(_) | Told::Nothing(_) => None,
        };
        self.holding.acknowledged(name).or_else(told)
    }

    /// How many names the client made this remember.
    pub(super) fn n_keys(&self) -> usize {
        self.keys.len()
    }

    /// Moves on to `now` and says what the client must be told for that.
    pub(super) fn advance(&mut self, now: &Resources) -> Change {
        match mem::replace(&mut self.told, Told::Once(now.clone())) {
            Told::Nothing(retained) => self.first(&retained, now),
            Told::Once(before) if self.wildcard => everything_since(&before, now),
            Told::Once(before) => self.followed_since(&before, now),
        }
    }

    /// The answer to new keys, from what the client was told last: whatever is newer follows as
    /// a change of that, so neither a resource nor its removal is lost between the two.
    pub(super) fn answer(&mut self, keys: &[Arc<str>]) -> Change {
        let Told::Once(now) = &self.told else {
            return Change::default();
        };
        let mut change = Change {
            owed: true,
            ..Change::default()
        };
        for key in keys {
            let names = now.resolve(key);
            if names.is_empty() {
                change.removals.insert(Arc::clone(key));
            }
            for name in names {
                take(&name, now, &mut self.followed, &mut change.puts);
            }
        }
        change
    }

    /// The first response: what the client does not have yet, and the removal of what it has in
    /// vain. What it brought along counts as asked for.
    fn first(&mut self, retained: &BTreeMap<String, String>, now: &Resources) -> Change {
        let mut change = Change {
            owed: true,
            ..Change::default()
        };
        let has = |name: &str, entry: &Entry| {
            retained
                .get(name)
                .is_some_and(|version| entry.version().is(version))
        };
        for key in self
            .keys
            .iter()
            .filter(|key| !retained.contains_key(&***key))
        {
            let names = now.resolve(key);
            if names.is_empty() {
                change.removals.insert(Arc::clone(key));
            }
            for name in names {
                take(&name, now, &mut self.followed, &mut change.puts);
            }
        }
        for name in retained.keys().filter(|name| now.get(name).is_none()) {
            change.removals.insert(name.as_str().into());
        }
        if self.wildcard {
            let missing = now.iter().filter(|(name, entry)| !has(name, entry));
            change
                .puts
                .extend(missing.map(|(name, entry)| (Arc::clone(name), Arc::clone(entry))));
            return change;
        }
        self.keys
            .extend(retained.keys().map(|name| name.as_str().into()));
        self.followed = follow(&self.keys, now);
        let missing = self
            .followed
            .iter()
            .filter_map(|name| Some((name, now.get(name)?)));
        for (name, entry) in missing.filter(|(name, entry)| !has(name, entry)) {
            change.puts.insert(Arc::clone(name), Arc::clone(entry));
        }
        change
    }

    fn followed_since(&mut self, before: &Resources, now: &Resources) -> Change {
        let mut change = Change::default();
        for item in before.entries().diff(now.entries()) {
            let (name, old, new) = match item {
                DiffItem::Add(name, new) => (name, None, new),
                DiffItem::Update {
                    old: (_, old),
                    new: (name, new),
                } => (name, Some(old), new),
                DiffItem::Remove(name, _) => {
                    if self.followed.remove(name) {
                        change.removals.insert(Arc::clone(name));
                    }
                    continue;
                }
            };
            let followed = self.followed.contains(name);
            let asked = self.keys.contains(name)
                || new.aliases().iter().any(|alias| self.keys.contains(alias));
            if !followed && !asked {
                continue;
            }
            let differs = old
                .is_none_or(|old| old.version() != new.version() || old.aliases() != new.aliases());
            if followed && !differs {
                // Perhaps it has new companions.
                follow_companions(new, now, &mut self.followed, &mut change.puts);
            } else {
                take(name, now, &mut self.followed, &mut change.puts);
            }
        }
        change
    }
}

fn everything_since(before: &Resources, now: &Resources) -> Change {
    let mut change = Change::default();
    for item in before.entries().diff(now.entries()) {
        match item {
            DiffItem::Add(name, new) => {
                change.puts.insert(Arc::clone(name), Arc::clone(new));
            }
            DiffItem::Update {
                old: (_, old),
                new: (name, new),
            } => {
                if old.version() != new.version() {
                    change.puts.insert(Arc::clone(name), Arc::clone(new));
                }
            }
            DiffItem::Remove(name, _) => {
                change.removals.insert(Arc::clone(name));
            }
        }
    }
    change
}

/// Sends a resource and follows it from now on, together with its companions.
fn take(name: &Arc<str>, now: &Resources, followed: &mut BTreeSet<Arc<str>>, puts: &mut Puts) {
    let Some(entry) = now.get(name) else { return };
    followed.insert(Arc::clone(name));
    puts.insert(Arc::clone(name), Arc::clone(entry));
    follow_companions(entry, now, followed, puts);
}

/// Sends those companions of a resource that were not followed before, as soon as they exist.
/// Companions of companions are not: services and workloads may name each other.
fn follow_companions(
    entry: &Entry,
    now: &Resources,
    followed: &mut BTreeSet<Arc<str>>,
    puts: &mut Puts,
) {
    for name in entry.companions() {
        if followed.insert(Arc::clone(name))
            && let Some(companion) = now.get(name)
        {
            puts.insert(Arc::clone(name), Arc::clone(companion));
        }
    }
}

/// Every resource that keys lead to.
fn follow(keys: &BTreeSet<Arc<str>>, now: &Resources) -> BTreeSet<Arc<str>> {
    let mut followed = BTreeSet::new();
    for name in keys.iter().flat_map(|key| now.resolve(key)) {
        if let Some(entry) = now.get(&name) {
            followed.extend(entry.companions().iter().cloned());
        }
        followed.insert(name);
    }
    followed
}
