//! Keeps a translation up to date, at the cost of what changed.
//!
//! For every object that something follows from there is a unit: its output and the facts it was
//! worked out from. A change alters facts; the units that looked at one of them are worked out
//! again, first the waypoints, then the rest. The result is the same as of a translation from
//! scratch, which a property test compares after random edits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gateway_api::experimental::gateways::Gateway;
use serde_json::Value;

use super::plugin;
use super::reports::Reported;
use super::resources::{ResourceEdits, Resources, WaypointName};
use super::settings::Settings;
use super::unit::{self, Output};
use super::view::{View, Waypoints};
use super::waypoint::Waypoint;
use crate::finding::Finding;
use crate::index::{AUTHORIZATION_POLICY, Fact, FactId, GATEWAY, Index, ObjectId};
use crate::object::{Change, Key, Kind, Object, Objects};
use crate::status::{Note, Status, wording};

/// A translation that follows the objects.
#[derive(Debug)]
pub struct Translator {
    settings: Settings,
    seen: Objects,
    index: Index,
    waypoints: Waypoints,
    units: HashMap<UnitId, Unit>,
    readers: HashMap<FactId, BTreeSet<UnitId>>,
    resources: Resources,
    /// Units with something to warn of.
    noted: BTreeSet<UnitId>,
    worked: u64,
    reported: Reported,
    rejections: BTreeMap<Key, BTreeMap<Refused, String>>,
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Resources.
    pub resources: ResourceEdits,
    /// Statuses to be written. Those of objects that are gone are not here.
    pub statuses: BTreeMap<Key, Status>,
    /// Manifests by Gateway; none for one that nothing is deployed for any more.
    pub manifests: BTreeMap<Key, Vec<Value>>,
    /// How often plugins have stopped since they were last spoken of.
    pub stops: BTreeMap<Key, u64>,
    /// Whether [`Translator::findings`] may say something else.
    pub findings: bool,
}

/// A resource that a proxy did or did not accept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection<'a> {
    /// The proxy, as people know it: `waypoint shop/waypoint`.
    pub proxy: &'a str,
    /// Type of the resource.
    pub type_url: &'a str,
    /// Name of the resource.
    pub name: &'a str,
    /// Why it was refused; `None` if it was not, after all.
    pub reason: Option<&'a str>,
}

/// A resource at a proxy that refuses it.
type Refused = (String, String, String);

/// What is worked out in one piece, in the order of layers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum UnitId {
    /// A Gateway as a waypoint.
    Waypoint(ObjectId),
    /// What follows from an object.
    Object(ObjectId),
    /// What follows from the mesh as a whole.
    Mesh,
}

#[derive(Debug, Default)]
struct Unit {
    output: Output,
    facts: Box<[FactId]>,
}

impl Translator {
    /// A translation of no objects.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            seen: Objects::default(),
            index: Index::default(),
            waypoints: Waypoints::default(),
            units: HashMap::new(),
            readers: HashMap::new(),
            resources: Resources::default(),
            noted: BTreeSet::new(),
            worked: 0,
            reported: Reported::new(),
            rejections: BTreeMap::new(),
        }
    }

    /// Brings the translation up to date with `objects`.
    pub fn update(&mut self, objects: &Objects) -> Delta {
        let changes = objects.changes_since(&self.seen);
        self.seen = objects.clone();
        self.apply(&changes)
    }

    /// How many pieces of work have been done since the start: the cost of all updates so far.
    pub fn worked(&self) -> u64 {
        self.worked
    }

    /// Everything proxies are told.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The status of every object whose status is ours.
    pub fn statuses(&self) -> BTreeMap<Key, Status> {
        let units = self.units.iter().filter_map(|(id, unit)| {
            let object = self.object_of(*id)?;
            Some((object.key.clone(), self.status(object, &unit.output)?))
        });
        units.collect()
    }

    /// What is deployed, by Gateway.
    pub fn manifests(&self) -> BTreeMap<Key, Vec<Value>> {
        let units = self
            .units
            .iter()
            .filter(|(_, unit)| !unit.output.manifests.is_empty());
        let named = units.filter_map(|(id, unit)| {
            Some((
                self.object_of(*id)?.key.clone(),
                unit.output.manifests.clone(),
            ))
        });
        named.collect()
    }

    /// What is worth a warning, each with the place where its object stands now: that may move
    /// without the object changing.
    pub fn findings(&self, objects: &Objects) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (id, unit) in self
            .noted
            .iter()
            .filter_map(|id| Some((id, self.units.get(id)?)))
        {
            let key = self.object_of(*id).map(|object| &object.key);
            let Some(object) = key.and_then(|key| objects.find(key)) else {
                continue;
            };
            findings.extend(unit.output.notes.iter().map(|note| note.finding(object)));
        }
        for (key, refused) in &self.rejections {
            let Some(object) = objects.find(key) else {
                continue;
            };
            findings.extend(refused.iter().map(|((proxy, ..), reason)| {
                Note::new("spec", wording::rejected(proxy, reason)).finding(object)
            }));
        }
        findings.extend(self.failures(objects));
        findings.sort();
        findings.dedup();
        findings
    }

    /// What waypoints say of plugins that is worth a warning. One that a waypoint refuses is told of
    /// already.
    fn failures(&self, objects: &Objects) -> Vec<Finding> {
        let waypoints = self.reported.keys();
        let told = waypoints.filter_map(|waypoint| self.resources.waypoint(waypoint));
        let names: BTreeSet<&String> = told.flat_map(|told| told.plugins.keys()).collect();
        let keys = names.into_iter().filter_map(|name| plugin::key_of(name));
        keys.filter(|key| !self.rejections.contains_key(key))
            .filter_map(|key| {
                let (object, output) = self.found(&key)?;
                let note = output.course.as_ref()?.note(object, &self.reported)?;
                Some(note.finding(objects.find(&key)?))
            })
            .collect()
    }

    /// Takes note that a proxy refuses a resource, or no longer does. The status of the object that
    /// the resource comes from says so until another version of the resource is made.
    pub fn reject(&mut self, rejection: &Rejection<'_>) -> Delta {
        let mut delta = Delta::default();
        let Some(key) = self.origin_of(rejection.type_url, rejection.name) else {
            return delta;
        };
        let refused = (
            rejection.proxy.to_owned(),
            rejection.type_url.to_owned(),
            rejection.name.to_owned(),
        );
        let known = self.rejections.entry(key.clone()).or_default();
        delta.findings = match rejection.reason {
            Some(reason) => known.insert(refused, reason.to_owned()).as_deref() != Some(reason),
            None => known.remove(&refused).is_some(),
        };
        if known.is_empty() {
            self.rejections.remove(&key);
        }
        if delta.findings
            && let Some(object) = self.index.find(&key)
            && let Some(id) = self.index.id(&key)
            && let Some(unit) = self.units.get(&UnitId::Object(id))
            && let Some(status) = self.status(object, &unit.output)
        {
            delta.statuses.insert(key, status);
        }
        delta
    }

    /// Takes what all waypoints say of plugins now, instead of what they said before.
    pub fn hear(&mut self, reported: Reported) -> Delta {
        let keys = self.spoken_of(&reported);
        let judge = |translator: &Self, key: &Key| {
            let (object, output) = translator.found(key)?;
            let note = output.course.as_ref()?.note(object, &translator.reported);
            Some((translator.status(object, output)?, note))
        };
        let before: Vec<_> = keys.iter().map(|key| judge(self, key)).collect();
        let before_all = std::mem::replace(&mut self.reported, reported);
        let mut delta = Delta::default();
        for (key, before) in keys.into_iter().zip(before) {
            let Some((status, note)) = judge(self, &key) else {
                continue;
            };
            let (old, old_note) = before.map_or((None, None), |(old, note)| (Some(old), note));
            delta.findings |= old_note != note;
            let course = self
                .found(&key)
                .and_then(|(_, output)| output.course.as_ref());
            let stops = course.map_or(0, |course| course.stops(&before_all, &self.reported));
            if stops > 0 {
                delta.stops.insert(key.clone(), stops);
            }
            if old.as_ref() != Some(&status) || stops > 0 {
                delta.statuses.insert(key, status);
            }
        }
        delta
    }

    /// The plugins of which something else is said in `reported` than was.
    fn spoken_of(&self, reported: &Reported) -> BTreeSet<Key> {
        let none = BTreeMap::new();
        let waypoints: BTreeSet<&WaypointName> =
            self.reported.keys().chain(reported.keys()).collect();
        let mut names = BTreeSet::new();
        for waypoint in waypoints {
            let before = self.reported.get(waypoint).unwrap_or(&none);
            let now = reported.get(waypoint).unwrap_or(&none);
            if before == now {
                continue;
            }
            let told = self.resources.waypoint(waypoint);
            let told = told.into_iter().flat_map(|told| told.plugins.keys());
            names.extend(told.cloned());
        }
        let keys = names.iter().filter_map(|name| plugin::key_of(name));
        keys.collect()
    }

    /// An object, and what follows from it.
    fn found(&self, key: &Key) -> Option<(&Arc<Object>, &Output)> {
        let id = self.index.id(key)?;
        let unit = self.units.get(&UnitId::Object(id))?;
        Some((self.index.get(id)?, &unit.output))
    }

    pub(crate) fn apply(&mut self, changes: &[Change]) -> Delta {
        let mut delta = Delta::default();
        let mut altered = BTreeSet::new();
        let mut stale = BTreeSet::new();
        if !self.units.contains_key(&UnitId::Mesh) {
            stale.insert(UnitId::Mesh);
        }
        for change in changes {
            let Some(applied) = self.index.apply(change) else {
                continue;
            };
            let units = [UnitId::Waypoint(applied.id), UnitId::Object(applied.id)];
            if applied.is_gone {
                for id in units {
                    stale.remove(&id);
                    self.remove(id, change.key(), &mut delta, &mut altered);
                }
            } else if !applied.altered.is_empty() {
                let kind = &change.key().kind;
                stale.extend(units.into_iter().filter(|id| has_unit(*id, kind)));
            }
            altered.extend(applied.altered);
        }
        self.spread(&altered, &mut stale);
        self.renew_waypoints(&mut stale);
        for id in stale {
            self.renew(id, &mut delta);
        }
        delta
    }

    /// Adds the units that looked at altered facts.
    fn spread(&self, altered: &BTreeSet<FactId>, stale: &mut BTreeSet<UnitId>) {
        for fact in altered {
            stale.extend(self.readers.get(fact).into_iter().flatten());
        }
    }

    /// Works out the first layer and adds what looks at the waypoints that changed.
    fn renew_waypoints(&mut self, stale: &mut BTreeSet<UnitId>) {
        let mut altered = BTreeSet::new();
        for id in stale.iter().copied() {
            let UnitId::Waypoint(object) = id else { break };
            let Some(object) = self.index.get(object).cloned() else {
                continue;
            };
            let Some(gateway) = object.decoded::<Gateway>() else {
                continue;
            };
            let view = View::new(&self.index, &self.waypoints, &self.settings);
            let waypoint = Waypoint::derive(&view, &object, gateway);
            let facts = view.into_facts();
            self.read(id, facts);
            if self
                .waypoints
                .get(&object.key)
                .is_none_or(|old| **old != waypoint)
            {
                self.waypoints
                    .insert(object.key.clone(), Arc::new(waypoint));
                altered.insert(FactId::from(Fact::Waypoint(&object.key)));
            }
        }
        stale.retain(|id| !matches!(id, UnitId::Waypoint(_)));
        self.spread(&altered, stale);
    }

    /// Works out one unit of the second layer.
    fn renew(&mut self, id: UnitId, delta: &mut Delta) {
        let view = View::new(&self.index, &self.waypoints, &self.settings);
        let (object, output) = match id {
            UnitId::Waypoint(_) => return,
            UnitId::Mesh => (None, unit::translate_mesh(&view)),
            UnitId::Object(object) => {
                let Some(object) = self.index.get(object).cloned() else {
                    return;
                };
                let output = unit::translate(&view, &object);
                (Some(object), output)
            }
        };
        let facts = view.into_facts();
        let is_new = !self.units.contains_key(&id);
        self.read(id, facts);
        let unit = self.units.entry(id).or_default();
        let old = std::mem::replace(&mut unit.output, output.clone());
        if output.notes.is_empty() {
            self.noted.remove(&id);
        } else {
            self.noted.insert(id);
        }
        self.publish(object.as_deref(), &old, &output, is_new, delta);
    }

    /// Compares two outputs of a unit and notes the difference.
    fn publish(
        &mut self,
        object: Option<&Object>,
        old: &Output,
        new: &Output,
        is_new: bool,
        delta: &mut Delta,
    ) {
        let mut edits = ResourceEdits::default();
        self.resources
            .replace(&old.resources, &new.resources, &mut edits);
        let Some(object) = object else {
            delta.resources.extend(edits);
            return;
        };
        let was_refused = self.forgive(&object.key, &edits);
        delta.resources.extend(edits);
        let is_other = old.status != new.status || old.course != new.course;
        if (is_new || was_refused || is_other)
            && let Some(status) = self.status(object, new)
        {
            delta.statuses.insert(object.key.clone(), status);
        }
        if old.manifests != new.manifests {
            delta
                .manifests
                .insert(object.key.clone(), new.manifests.clone());
        }
        delta.findings |= was_refused || old.notes != new.notes || old.course != new.course;
    }

    /// Forgets what was refused of resources that have another version now: that has not been
    /// refused by anyone yet. Returns whether there was something to forget.
    fn forgive(&mut self, key: &Key, edits: &ResourceEdits) -> bool {
        let Some(refused) = self.rejections.get_mut(key) else {
            return false;
        };
        let before = refused.len();
        refused.retain(|(proxy, type_url, name), _| !edits.touch(proxy, type_url, name));
        let is_changed = refused.len() != before;
        if refused.is_empty() {
            self.rejections.remove(key);
        }
        is_changed
    }

    /// Forgets a unit whose object is gone.
    fn remove(&mut self, id: UnitId, key: &Key, delta: &mut Delta, altered: &mut BTreeSet<FactId>) {
        let Some(unit) = self.units.remove(&id) else {
            return;
        };
        self.unread(id, &unit.facts);
        self.noted.remove(&id);
        if matches!(id, UnitId::Waypoint(_)) {
            self.waypoints.remove(key);
            altered.insert(Fact::Waypoint(key).into());
            return;
        }
        self.rejections.remove(key);
        let none = Output::default();
        let mut edits = ResourceEdits::default();
        self.resources
            .replace(&unit.output.resources, &none.resources, &mut edits);
        delta.resources.extend(edits);
        delta.statuses.remove(key);
        if !unit.output.manifests.is_empty() {
            delta.manifests.insert(key.clone(), Vec::new());
        }
        delta.findings |= !unit.output.notes.is_empty();
    }

    /// Notes what a unit looked at.
    fn read(&mut self, id: UnitId, facts: Box<[FactId]>) {
        self.worked += 1;
        let unit = self.units.entry(id).or_default();
        let old = std::mem::replace(&mut unit.facts, facts.clone());
        let gone: Vec<FactId> = old
            .into_iter()
            .filter(|fact| facts.binary_search(fact).is_err())
            .collect();
        self.unread(id, &gone);
        for fact in facts {
            self.readers.entry(fact).or_default().insert(id);
        }
    }

    fn unread(&mut self, id: UnitId, facts: &[FactId]) {
        for fact in facts {
            if let Some(readers) = self.readers.get_mut(fact) {
                readers.remove(&id);
                if readers.is_empty() {
                    self.readers.remove(fact);
                }
            }
        }
    }

    fn status(&self, object: &Object, output: &Output) -> Option<Status> {
        let mut status = output.status.clone()?;
        if let Some(course) = &output.course {
            status = course.complete(object, status, &self.reported);
        }
        let rejections = self.rejections.get(&object.key).into_iter().flatten();
        Some(rejections.fold(status, |status, ((proxy, ..), reason)| {
            status.rejected(object, proxy, reason)
        }))
    }

    fn object_of(&self, id: UnitId) -> Option<&Arc<Object>> {
        match id {
            UnitId::Object(id) => self.index.get(id),
            UnitId::Waypoint(_) | UnitId::Mesh => None,
        }
    }

    /// Returns the object that a resource comes from.
    fn origin_of(&self, type_url: &str, name: &str) -> Option<Key> {
        let candidates: Vec<Key> = origins(type_url, name);
        candidates
            .into_iter()
            .find(|key| self.index.find(key).is_some())
    }
}

fn has_unit(id: UnitId, kind: &Kind) -> bool {
    match id {
        UnitId::Waypoint(_) => *kind == GATEWAY,
        UnitId::Object(_) => unit::is_translated(kind),
        UnitId::Mesh => true,
    }
}

/// Returns the objects that a resource of this name may come from.
fn origins(type_url: &str, name: &str) -> Vec<Key> {
    use crate::index::{PEER_AUTHENTICATION, POD, SERVICE};
    let parts: Vec<&str> = name.split('/').collect();
    let key = |kind: &Kind, namespace: &str, name: &str| Key::new(kind.clone(), namespace, name);
    match (type_url, parts.as_slice()) {
        (proto::POLICY_TYPE, [namespace, name]) => {
            vec![key(&AUTHORIZATION_POLICY, namespace, name)]
        }
        (proto::PLUGIN_TYPE, _) => plugin::key_of(name).into_iter().collect(),
        (proto::ROUTE_TYPE, [namespace, name, ..]) => super::route::KINDS
            .iter()
            .map(|kind| key(kind, namespace, name))
            .collect(),
        (proto::AUTHORIZATION_TYPE, [namespace, name]) => {
            match name.strip_prefix("converted_peer_authentication_") {
                Some(name) => vec![key(&PEER_AUTHENTICATION, namespace, name)],
                None => vec![key(&AUTHORIZATION_POLICY, namespace, name)],
            }
        }
        (proto::ADDRESS_TYPE, [_, "", "Pod", namespace, name]) => vec![key(&POD, namespace, name)],
        (proto::ADDRESS_TYPE, [namespace, hostname]) => {
            let name = hostname.split_once('.').map_or(*hostname, |(name, _)| name);
            vec![key(&SERVICE, namespace, name)]
        }
        _ => Vec::new(),
    }
}
