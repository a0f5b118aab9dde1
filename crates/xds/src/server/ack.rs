//! What clients answered: which version of what they hold, and what they refused, at once or
//! later.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use imbl::OrdMap;

use super::catalog::{Catalog, Entry, Version};

#[cfg(test)]
mod tests;

/// A resource a client could not use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// The resource.
    pub name: Arc<str>,
    /// The version that was refused.
    pub version: Version,
    /// Why, in the client's words.
    pub reason: String,
}

/// A client's ACK or NACK of one response, or what it thinks of it by now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The type of the response.
    pub type_url: Arc<str>,
    /// Resources the client now uses, by name and version; also those beside a rejected one.
    pub acked: Vec<(Arc<str>, Version)>,
    /// Resources the client no longer has.
    pub removed: Vec<Arc<str>>,
    /// Resources it could not use. They are not sent again until they change.
    pub rejected: Vec<Rejection>,
}

/// What one client has acknowledged of one type.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    catalog: Option<Arc<Catalog>>,
    generation: Option<u64>,
    entries: OrdMap<Arc<str>, Arc<Entry>>,
    rejected: BTreeMap<Arc<str>, Rejection>,
    /// What was acknowledged first and turned out to be unusable.
    late: BTreeMap<Arc<str>, Rejection>,
}

impl Holding {
    pub(super) fn of(catalog: Option<Arc<Catalog>>) -> Self {
        Self {
            catalog,
            ..Self::default()
        }
    }

    /// The version the client uses; `None` if it has none, or rejected the newest it was sent.
    pub fn version(&self, name: &str) -> Option<Version> {
        if self.rejected.contains_key(name) || self.late.contains_key(name) {
            return None;
        }
        self.acknowledged(name)
    }

    /// The version the client has acknowledged, whatever it thinks of it by now.
    pub(super) fn acknowledged(&self, name: &str) -> Option<Version> {
        self.entries.get(name).map(|entry| entry.version())
    }

    /// The catalog's generation that was acknowledged, rejected resources aside; `None` before
    /// the first answer.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// Whether the client has answered all that is published for it.
    pub fn is_current(&self) -> bool {
        match &self.catalog {
            Some(catalog) => self.generation == Some(catalog.generation()),
            None => self.generation.is_some(),
        }
    }

    /// Resources whose newest version the client refused.
    pub fn rejected(&self) -> impl Iterator<Item = &Rejection> {
        let older = |late: &&Rejection| !self.rejected.contains_key(&late.name);
        self.rejected
            .values()
            .chain(self.late.values().filter(older))
    }

    /// Takes over what a client thinks by now of what it has acknowledged: it refuses these, and
    /// nothing else. Returns what is new in that.
    pub(super) fn reconsider(
        &mut self,
        type_url: &Arc<str>,
        refused: Vec<Rejection>,
    ) -> Option<Answer> {
        let refused = refused.into_iter();
        let late = refused.map(|rejection| (Arc::clone(&rejection.name), rejection));
        let before = mem::replace(&mut self.late, late.collect());
        let rejected: Vec<_> = self
            .late
            .values()
            .filter(|now| before.get(&now.name) != Some(*now))
            .cloned()
            .collect();
        let acked: Vec<_> = before
            .into_values()
            .filter(|then| !self.late.contains_key(&then.name))
            .map(|then| (then.name, then.version))
            .collect();
        (!rejected.is_empty() || !acked.is_empty()).then(|| Answer {
            type_url: Arc::clone(type_url),
            acked,
            removed: Vec::new(),
            rejected,
        })
    }

    /// Answers may overtake each other: an older one changes nothing.
    pub(super) fn complete(&mut self, completion: Completion) {
        if self.generation > Some(completion.generation) {
            return;
        }
        self.generation = Some(completion.generation);
        if let Some(entries) = completion.entries {
            self.entries = entries;
        }
    }
}

/// What an answer to the last response of a round says beyond that response.
#[derive(Clone, Debug)]
pub(super) struct Completion {
    pub(super) generation: u64,
    /// All the client has, when it wants everything.
    pub(super) entries: Option<OrdMap<Arc<str>, Arc<Entry>>>,
}

/// One response, before it is sent and until it is answered.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) type_url: Arc<str>,
    pub(super) puts: Vec<(Arc<str>, Arc<Entry>)>,
    pub(super) removals: Vec<Arc<str>>,
    pub(super) completion: Option<Completion>,
    /// The client asks by name: tell it the other names, and count one by one what it has.
    pub(super) on_demand: bool,
}

impl Batch {
    /// Notes the client's answer in `holding`; `nack` is the message of a refusal.
    pub(super) fn settle(self, nack: Option<&str>, holding: &mut Holding) -> Answer {
        let rejected = nack
            .map(|message| rejections(message, &self.puts))
            .unwrap_or_default();
        let refused: BTreeSet<_> = rejected.iter().map(|r| Arc::clone(&r.name)).collect();
        let mut acked = Vec::with_capacity(self.puts.len());
        for (name, entry) in self.puts {
            holding.late.remove(&name);
            if refused.contains(&name) {
                continue;
            }
            holding.rejected.remove(&name);
            acked.push((Arc::clone(&name), entry.version()));
            if self.on_demand {
                holding.entries.insert(name, entry);
            }
        }
        for name in &self.removals {
            holding.rejected.remove(name);
            holding.late.remove(name);
            if self.on_demand {
                holding.entries.remove(name);
            }
        }
        for rejection in &rejected {
            holding
                .rejected
                .insert(Arc::clone(&rejection.name), rejection.clone());
        }
        if let Some(completion) = self.completion {
            holding.complete(completion);
        }
        Answer {
            type_url: self.type_url,
            acked,
            removed: self.removals,
            rejected,
        }
    }
}

/// Reads what a NACK says of the resources of its response. Without any known name, as of clients
/// that accept all or nothing, the message is about all of them.
fn rejections(message: &str, puts: &[(Arc<str>, Arc<Entry>)]) -> Vec<Rejection> {
    let sent: BTreeMap<&str, (&Arc<str>, Version)> = puts
        .iter()
        .map(|(name, entry)| (&**name, (name, entry.version())))
        .collect();
    let known = |name: &str| {
        sent.get(name)
            .map(|(name, version)| (Arc::clone(name), *version))
    };
    let rejections = named(message, known);
    if rejections.is_empty() {
        let all = sent.into_values();
        return all
            .map(|(name, version)| Rejection {
                name: Arc::clone(name),
                version,
                reason: message.to_owned(),
            })
            .collect();
    }
    rejections
}

/// Reads `name: reason` joined by `; `; reasons may contain the separators themselves.
///
/// * `known` — a name in full, and the version in question, if the message may be about it.
pub(super) fn named(
    message: &str,
    known: impl Fn(&str) -> Option<(Arc<str>, Version)>,
) -> Vec<Rejection> {
    let mut rejections: Vec<Rejection> = Vec::new();
    for part in message.split("; ") {
        let named = part.match_indices(": ").find_map(|(at, separator)| {
            let (name, rest) = part.split_at_checked(at)?;
            Some((known(name)?, rest.strip_prefix(separator)?))
        });
        match (named, rejections.last_mut()) {
            (Some(((name, version), reason)), _) => rejections.push(Rejection {
                name,
                version,
                reason: reason.to_owned(),
            }),
            (None, Some(previous)) => {
                previous.reason.push_str("; ");
                previous.reason.push_str(part);
            }
            (None, None) => {}
        }
    }
    rejections
}
