//! Which facts an object stands behind, read off its tree alone.
//!
//! The trees have their defaults filled in. A tree that does not have the shape of its kind stands
//! behind fewer facts; refusing it is the business of admission.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    AUTHORIZATION_POLICY, ENDPOINT_SLICE, Fact, FactId, GATEWAY, GATEWAY_CLASS, Labels, NODE,
    PEER_AUTHENTICATION, POD, SERVICE, WASM_PLUGIN,
};
use crate::object::{Key, Kind, Object};
use crate::translate::{names, route};

/// Returns the facts that `object` stands behind.
pub(crate) fn postings(object: &Object) -> BTreeSet<FactId> {
    let Key {
        kind, namespace, ..
    } = &object.key;
    let mut facts = BTreeSet::from([
        Fact::OfKind(kind).into(),
        Fact::InNamespace(kind, namespace).into(),
    ]);
    if *kind == POD {
        let labels = object.labels.iter();
        let fact = |pair| FactId::from(Fact::Labelled(kind, namespace, words(pair)));
        facts.extend(labels.map(fact));
    }
    if let Some(anchor) = selector_of(object).as_ref().and_then(anchor) {
        facts.insert(Fact::Selecting(kind, namespace, anchor).into());
    }
    for parent in attached_to(object) {
        facts.insert(Fact::AttachedTo(kind, &parent).into());
    }
    facts
}

/// Returns the label that a selector is found by.
pub(crate) fn anchor(selector: &Labels) -> Option<(&str, &str)> {
    selector.first_key_value().map(words)
}

fn words<'a>((key, value): (&'a String, &'a String)) -> (&'a str, &'a str) {
    (key, value)
}

/// Whether all labels of a selector are among `labels`. An empty selector selects nothing: for a
/// Service it means endpoints by hand, for a policy that it has no selector.
pub(crate) fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty()
        && selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
}

/// Returns the labels that an object selects pods by; `None` if it has no selector.
pub(crate) fn selector_of(object: &Object) -> Option<Labels> {
    let kind = &object.key.kind;
    let policies = [AUTHORIZATION_POLICY, PEER_AUTHENTICATION, WASM_PLUGIN];
    let path = if *kind == SERVICE {
        "/spec/selector"
    } else if policies.contains(kind) {
        "/spec/selector/matchLabels"
    } else {
        return None;
    };
    let labels = object.value.pointer(path)?.as_object()?;
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.iter().map(text).collect()
}

/// Returns the objects that `object` is attached to.
fn attached_to(object: &Object) -> Vec<Key> {
    let kind = &object.key.kind;
    let namespace = &object.key.namespace;
    if *kind == ENDPOINT_SLICE {
        let service = object.label(names::SERVICE_NAME);
        return service
            .map(|name| Key::new(SERVICE, namespace, name))
            .into_iter()
            .collect();
    }
    if *kind == GATEWAY {
        let class = object
            .value
            .pointer("/spec/gatewayClassName")
            .and_then(Value::as_str);
        return class
            .map(|name| Key::new(GATEWAY_CLASS, "", name))
            .into_iter()
            .collect();
    }
    if route::KINDS.contains(kind) {
        let parents = object
            .value
            .pointer("/spec/parentRefs")
            .and_then(Value::as_array);
        return parents
            .into_iter()
            .flatten()
            .filter_map(|parent| reference(parent, namespace))
            .chain(extensions(object))
            .collect();
    }
    Vec::new()
}

/// Returns the objects that filters of a route's rules name.
fn extensions(route: &Object) -> impl Iterator<Item = Key> {
    let namespace = &route.key.namespace;
    let items = |value: &'_ Value, field: &str| {
        let items = value.get(field).and_then(Value::as_array);
        items.into_iter().flatten().cloned().collect::<Vec<_>>()
    };
    let spec = route.value.get("spec").unwrap_or(&Value::Null);
    let rules = items(spec, "rules").into_iter();
    let filters = rules.flat_map(move |rule| items(&rule, "filters"));
    filters.filter_map(|filter| {
        let named = filter.get("extensionRef")?;
        let text = |field: &str| named.get(field).and_then(Value::as_str);
        let kind = Kind::read(&format!("{}/", text("group")?), text("kind")?);
        Some(Key::new(kind, namespace, text("name")?))
    })
}

fn reference(parent: &Value, namespace: &str) -> Option<Key> {
    let text = |field: &str| parent.get(field).and_then(Value::as_str);
    let kind = Kind::read(&format!("{}/", text("group")?), text("kind")?);
    Some(Key::new(
        kind,
        text("namespace").unwrap_or(namespace),
        text("name")?,
    ))
}

/// Whether anything about an object has changed that could matter to anyone but its reader: its
/// tree, its age and generation, and of its status what is an input. Control's own writes of
/// conditions come back as changes and must not cause work.
pub(crate) fn matters(old: &Object, new: &Object) -> bool {
    let kind = &new.key.kind;
    if *kind == NODE {
        // Kubelets write to their Node every few seconds.
        return old.labels != new.labels;
    }
    let spoken = (&old.life.uid, old.life.generation, old.life.created);
    if spoken != (&new.life.uid, new.life.generation, new.life.created) || old.value != new.value {
        return true;
    }
    let part = |pointer: &str| {
        let old = old
            .status
            .as_deref()
            .and_then(|status| status.pointer(pointer));
        old != new
            .status
            .as_deref()
            .and_then(|status| status.pointer(pointer))
    };
    match () {
        () if *kind == POD => part(""),
        () if *kind == GATEWAY => part("/addresses"),
        () if *kind == SERVICE => part("/loadBalancer"),
        () => false,
    }
}
