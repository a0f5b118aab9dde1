//! The index answers, and says which answers have changed.

use std::sync::Arc;

use super::*;
use crate::translate::tests::objects;

fn object(text: &str) -> Arc<Object> {
    let objects = objects(text);
    let mut written = objects.iter().filter(|object| object.origin.file.is_some());
    written.next().unwrap().clone()
}

fn pod(labels: &str) -> Arc<Object> {
    object(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: a, uid: u, labels: {{{labels}}}}},
          spec: {{containers: [{{name: app, image: x}}]}}}}"
    ))
}

fn altered(index: &mut Index, change: &Change) -> Vec<FactId> {
    let mut facts = index.apply(change).unwrap().altered;
    facts.sort_unstable();
    facts
}

fn sorted<const N: usize>(facts: [Fact<'_>; N]) -> Vec<FactId> {
    let mut facts = facts.map(FactId::from).to_vec();
    facts.sort_unstable();
    facts
}

static PODS: Kind = POD;

fn labelled<'a>(key: &'a str, value: &'a str) -> Fact<'a> {
    Fact::Labelled(&PODS, "a", (key, value))
}

#[test]
fn a_change_alters_what_an_object_stands_behind_and_no_more() {
    let mut index = Index::default();
    let (old, new) = (pod("app: x, tier: up"), pod("app: x, tier: down"));
    let key = &new.key;
    let first = altered(&mut index, &Change::Added(old.clone()));
    let (of_kind, in_namespace) = (Fact::OfKind(&PODS), Fact::InNamespace(&PODS, "a"));
    let object = Fact::Object(key);
    assert_eq!(
        first,
        sorted([
            object,
            of_kind,
            in_namespace,
            labelled("app", "x"),
            labelled("tier", "up")
        ])
    );
    let second = altered(
        &mut index,
        &Change::Modified {
            old,
            new: new.clone(),
        },
    );
    assert_eq!(
        second,
        sorted([object, labelled("tier", "up"), labelled("tier", "down")])
    );
    assert_eq!(index.behind(labelled("tier", "up").into()).len(), 0);
    assert_eq!(index.behind(labelled("tier", "down").into()).len(), 1);
    let third = altered(&mut index, &Change::Deleted(new.clone()));
    assert_eq!(
        third,
        sorted([
            object,
            of_kind,
            in_namespace,
            labelled("app", "x"),
            labelled("tier", "down")
        ])
    );
    assert!(index.find(key).is_none() && index.behind(of_kind.into()).is_empty());
    assert!(index.apply(&Change::Deleted(new)).is_none());
}

#[test]
fn a_change_seen_twice_alters_nothing() {
    let mut index = Index::default();
    let added = Change::Added(pod("app: x"));
    assert!(!altered(&mut index, &added).is_empty());
    assert_eq!(altered(&mut index, &added), []);
}

#[test]
fn a_selector_is_found_by_the_first_of_its_labels() {
    let service = object(
        "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: a},
          spec: {selector: {tier: up, app: x}, ports: [{port: 80}]}}",
    );
    let mut index = Index::default();
    index.apply(&Change::Added(service.clone()));
    let fact = Fact::Selecting(&SERVICE, "a", ("app", "x"));
    assert_eq!(index.behind(fact.into()).len(), 1);
    let selector = selector_of(&service).unwrap();
    let labels = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<Labels>()
    };
    assert!(selects(
        &selector,
        &labels(&[("app", "x"), ("tier", "up"), ("more", "z")])
    ));
    assert!(!selects(&selector, &labels(&[("app", "x")])));
    assert!(!selects(&Labels::new(), &labels(&[("app", "x")])));
}

#[test]
fn routes_slices_and_gateways_are_found_by_what_they_are_attached_to() {
    let mut index = Index::default();
    let all = objects(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: b},
          spec: {parentRefs: [{group: '', kind: Service, name: s, namespace: a}, {name: g}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, endpoints: [],
  metadata: {name: e, namespace: a, labels: {kubernetes.io/service-name: s}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g, namespace: b},
  spec: {gatewayClassName: istio-waypoint, listeners: [{name: m, port: 15008, protocol: HBONE}]}}
",
    );
    for object in all.iter() {
        index.apply(&Change::Added(object.clone()));
    }
    let service = Key::new(SERVICE, "a", "s");
    let gateway = Key::new(GATEWAY, "b", "g");
    let class = Key::new(GATEWAY_CLASS, "", "istio-waypoint");
    for (kind, to) in [
        (HTTP_ROUTE, &service),
        (HTTP_ROUTE, &gateway),
        (ENDPOINT_SLICE, &service),
        (GATEWAY, &class),
    ] {
        assert_eq!(
            index.behind(Fact::AttachedTo(&kind, to).into()).len(),
            1,
            "{kind} {to}"
        );
    }
}

#[test]
fn a_kubelet_that_writes_to_its_node_is_no_news() {
    let node = |labels: &str, annotation: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: node, uid: u, labels: {{{labels}}},
              annotations: {{beat: \"{annotation}\"}}}}}}"
        ))
    };
    let (first, beat, moved) = (node("a: b", "1"), node("a: b", "2"), node("a: c", "2"));
    let mut index = Index::default();
    index.apply(&Change::Added(first.clone()));
    let change = Change::Modified {
        old: first,
        new: beat.clone(),
    };
    assert_eq!(altered(&mut index, &change), []);
    assert!(index.find(&beat.key).unwrap().annotation("beat") == Some("2"));
    let change = Change::Modified {
        old: beat,
        new: moved,
    };
    assert_eq!(altered(&mut index, &change).len(), 1);
}

#[test]
fn the_place_of_an_object_that_is_gone_is_used_again() {
    let mut index = Index::default();
    let first = pod("app: x");
    let id = index.apply(&Change::Added(first.clone())).unwrap().id;
    index.apply(&Change::Deleted(first));
    let service = object(
        "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: a}, spec: {ports: [{port: 80}]}}",
    );
    assert_eq!(index.apply(&Change::Added(service.clone())).unwrap().id, id);
    assert_eq!(index.get(id).unwrap().key, service.key);
}
