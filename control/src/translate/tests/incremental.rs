//! A translation that follows random edits is the one from scratch, and its deltas add up to it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use proto::cairn::waypoint::{PluginReport, Stage};
use serde_json::Value;

use super::{documents, scope};
use crate::object::{Key, Store};
use crate::source::{Document, Event};
use crate::status::Status;
use crate::translate::reports::Reported;
use crate::translate::resources::{Named, ResourceEdits};
use crate::translate::{
    Delta, Edits, Resources, Settings, Translator, WaypointName, WaypointResources,
};

/// Objects that have to do with each other, each in several versions.
const POOL: &str = include_str!("incremental/pool.yaml");

/// The versions of each object.
static VERSIONS: LazyLock<BTreeMap<Key, Vec<Document>>> = LazyLock::new(|| {
    let mut versions: BTreeMap<Key, Vec<Document>> = BTreeMap::new();
    for document in documents(POOL) {
        let key = crate::admission::key_of(&document).unwrap();
        versions.entry(key).or_default().push(document);
    }
    versions
});

/// One edit: an object and the version it gets; behind the last version it is gone.
type Edit = (Index, Index);

fn event((object, version): &Edit) -> Event {
    let objects: Vec<(&Key, &Vec<Document>)> = VERSIONS.iter().collect();
    let (key, versions) = object.get(&objects);
    match version.index(versions.len() + 1) {
        n if n == versions.len() => Event::Deleted {
            scope: scope(),
            key: (*key).clone(),
        },
        n => Event::Applied {
            scope: scope(),
            document: versions[n].clone(),
        },
    }
}

/// What a reader of deltas knows.
#[derive(Debug, Default, PartialEq)]
struct Mirror {
    resources: Resources,
    statuses: BTreeMap<Key, Status>,
    manifests: BTreeMap<Key, Vec<Value>>,
}

impl Mirror {
    fn follow(&mut self, delta: Delta, following: &Translator) {
        let ResourceEdits {
            addresses,
            authorizations,
            waypoints,
        } = delta.resources;
        follow(&mut self.resources.addresses, addresses);
        follow(&mut self.resources.authorizations, authorizations);
        for (name, edits) in waypoints {
            let told = self.resources.waypoints.entry(name).or_default();
            follow(&mut told.routes, edits.routes);
            follow(&mut told.policies, edits.policies);
            follow(&mut told.plugins, edits.plugins);
        }
        self.resources
            .waypoints
            .retain(|_, told| *told != WaypointResources::default());
        self.statuses.extend(delta.statuses);
        // An object that is gone, or another controller's now, is not told of.
        let known = following.statuses();
        self.statuses.retain(|key, _| known.contains_key(key));
        self.manifests.extend(delta.manifests);
        self.manifests.retain(|_, manifests| !manifests.is_empty());
    }
}

fn follow<T>(all: &mut Named<T>, edits: Edits<T>) {
    for (name, value) in edits {
        match value {
            Some(value) => all.insert(name, value),
            None => all.remove(&name),
        };
    }
}

/// What two waypoints may say of the plugins of the pool, and of one that is not there.
fn reported() -> impl Strategy<Value = Reported> {
    let stage = (0..3, "[A-Z][a-z]{0,3}").prop_map(|(state, reason)| Stage {
        state,
        reason,
        ..Stage::default()
    });
    let report = (prop::option::of(stage), 0..3_i64).prop_map(|(stage, generation)| {
        Arc::new(PluginReport {
            generation,
            fetched: stage.clone(),
            healthy: stage,
            ..PluginReport::default()
        })
    });
    let name = prop::sample::select(vec!["a/plugin", "a/plugin/TrafficExtension", "a/none"]);
    let said = prop::collection::btree_map(name.prop_map(str::to_owned), report, 0..3);
    let pod = prop::sample::select(vec!["w-1", "w-2"]).prop_map(Arc::from);
    let pods = prop::collection::btree_map(pod, said.prop_map(Arc::new), 0..3);
    let waypoint = prop::sample::select(vec!["w", "v", "none"]);
    let waypoint = waypoint.prop_map(|name| WaypointName::new("a", name));
    prop::collection::btree_map(waypoint, pods, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn incremental_is_from_scratch(
        batches in prop::collection::vec(
            (prop::collection::vec(any::<Edit>(), 1..4), reported()), 1..40)
    ) {
        let mut store = Store::new(Timestamp::UNIX_EPOCH);
        let mut following = Translator::new(Settings::default());
        let mut mirror = Mirror::default();
        let delta = following.update(store.objects());
        mirror.follow(delta, &following);
        for (batch, reported) in batches {
            for edit in &batch {
                store.apply(event(edit), Timestamp::UNIX_EPOCH);
            }
            let delta = following.update(store.objects());
            mirror.follow(delta, &following);
            let before = following.findings(store.objects());
            let delta = following.hear(reported.clone());
            prop_assert!(delta.findings || before == following.findings(store.objects()));
            prop_assert!(delta.resources.is_empty() && delta.manifests.is_empty());
            mirror.follow(delta, &following);
            let mut fresh = Translator::new(Settings::default());
            fresh.hear(reported);
            fresh.update(store.objects());
            prop_assert_eq!(following.resources(), fresh.resources());
            prop_assert_eq!(following.statuses(), fresh.statuses());
            prop_assert_eq!(following.manifests(), fresh.manifests());
            prop_assert_eq!(
                following.findings(store.objects()), fresh.findings(store.objects()));
            prop_assert_eq!(&mirror.resources, following.resources());
            prop_assert_eq!(&mirror.statuses, &following.statuses());
            prop_assert_eq!(&mirror.manifests, &following.manifests());
        }
    }
}

/// A store with the first version of every object of the pool.
pub(super) fn pool() -> Store {
    let mut store = Store::new(Timestamp::UNIX_EPOCH);
    for versions in VERSIONS.values() {
        apply(&mut store, versions[0].clone());
    }
    assert!(store.findings().is_empty(), "{:#?}", store.findings());
    store
}

/// Gives an object of the pool another version.
pub(super) fn edit(store: &mut Store, key: &Key, version: usize) {
    apply(store, VERSIONS[key][version].clone());
}

fn apply(store: &mut Store, document: Document) {
    store.apply(
        Event::Applied {
            scope: scope(),
            document,
        },
        Timestamp::UNIX_EPOCH,
    );
}

/// Without this the property could hold for want of anything that happens.
#[test]
fn the_pool_makes_every_kind_of_resource() {
    let mut translator = Translator::new(Settings::default());
    translator.update(pool().objects());
    let resources = translator.resources();
    assert!(!resources.addresses.is_empty() && !resources.authorizations.is_empty());
    let told = resources.waypoint(&WaypointName::new("a", "w")).unwrap();
    assert!(!told.routes.is_empty() && !told.policies.is_empty() && !told.plugins.is_empty());
    assert!(!translator.manifests().is_empty());
}

#[test]
fn a_status_that_is_nobodys_input_is_no_work() {
    let mut store = pool();
    let mut translator = Translator::new(Settings::default());
    translator.update(store.objects());
    let write = |store: &mut Store, statuses: BTreeMap<Key, Status>, now| {
        let written = statuses.into_iter().filter(|(key, status)| {
            let old = store
                .objects()
                .find(key)
                .and_then(|object| object.status.clone());
            store.set_status(key, status.written_over(old.as_deref(), now))
        });
        written.count()
    };
    assert!(write(&mut store, translator.statuses(), Timestamp::UNIX_EPOCH) > 5);
    let delta = translator.update(store.objects());
    assert_eq!(delta, Delta::default());
    let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1);
    assert_eq!(write(&mut store, translator.statuses(), later), 0);
}

#[test]
fn one_pod_is_one_address() {
    let mut store = pool();
    let mut translator = Translator::new(Settings::default());
    translator.update(store.objects());
    let pod = documents(
        "{apiVersion: v1, kind: Pod, metadata: {name: new, namespace: a, labels: {app: app}}, \
         spec: {containers: [{name: app, image: x}]}, status: {phase: Running, podIP: 10.1.0.77}}",
    );
    apply(&mut store, pod.into_iter().next().unwrap());
    let delta = translator.update(store.objects());
    let names: Vec<&String> = delta.resources.addresses.keys().collect();
    assert_eq!(names, ["Kubernetes//Pod/a/new"]);
    assert!(delta.resources.authorizations.is_empty() && delta.resources.waypoints.is_empty());
    assert_eq!(delta.statuses, BTreeMap::new());
}

/// The services of a waypoint look at the waypoint, not at its pods.
#[test]
fn a_waypoint_pod_that_restarts_is_no_work_for_its_services() {
    let mut store = pool();
    for number in 0..200 {
        let service = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{number}, namespace: a}}, \
             spec: {{clusterIP: None, ports: [{{port: 80}}]}}}}"
        );
        apply(&mut store, documents(&service).into_iter().next().unwrap());
    }
    let mut translator = Translator::new(Settings::default());
    translator.update(store.objects());
    let before = translator.worked();
    assert!(before > 200);
    let pod = Key::new(crate::index::POD, "a", "w-1");
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: w-1, namespace: a, \
        labels: {gateway.networking.k8s.io/gateway-name: w}}, \
        spec: {containers: [{name: istio-proxy, image: x}]}, \
        status: {phase: Running, podIP: 10.1.0.9, conditions: [{type: Ready, status: 'True'}]}}";
    apply(&mut store, documents(text).into_iter().next().unwrap());
    let delta = translator.update(store.objects());
    assert_eq!(
        delta.resources.addresses.len(),
        1,
        "{pod} became ready: {delta:#?}"
    );
    let work = translator.worked() - before;
    assert!(work <= 6, "{work} pieces of work for one pod");
}
