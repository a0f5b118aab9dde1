//! A status in the shape of the API.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{AncestorStatus, Condition, ListenerStatus, ParentStatus, Status};
use crate::translate::names;

/// Types of conditions that control writes. Those of others stay as they are.
const OWN: &[&str] = &[
    super::gateway::ACCEPTED,
    super::gateway::PROGRAMMED,
    super::gateway::RESOLVED_REFS,
    super::gateway::SUPPORTED_VERSION,
    super::service::WAYPOINT_BOUND,
    super::policy::WAYPOINT_ACCEPTED,
    super::policy::ZTUNNEL_ACCEPTED,
    super::plugin::MODULE_FETCHED,
    super::plugin::HEALTHY,
];

impl Status {
    /// Returns the `status` of an object whose status was `old`, `None` if there is nothing to say.
    ///
    /// Foreign conditions and parents stay. A condition keeps its `lastTransitionTime` until its
    /// status changes; `now` is what it gets then.
    pub fn written_over(&self, old: Option<&Value>, now: Timestamp) -> Option<Value> {
        let mut status = old.and_then(Value::as_object).cloned().unwrap_or_default();
        let before = status.remove("conditions").unwrap_or(Value::Null);
        let conditions = conditions(&self.conditions, &before, OWN, now);
        if !conditions.is_empty() {
            status.insert("conditions".to_owned(), Value::Array(conditions));
        }
        if let Some(addresses) = &self.addresses {
            let address = |(kind, value): &(&str, String)| json!({"type": kind, "value": value});
            status.insert(
                "addresses".to_owned(),
                addresses.iter().map(address).collect(),
            );
        }
        if let Some(listeners) = &self.listeners {
            let before = status.remove("listeners").unwrap_or(Value::Null);
            let rendered = listeners
                .iter()
                .map(|one| listener(one, &before, now))
                .collect();
            status.insert("listeners".to_owned(), rendered);
        }
        if let Some(parents) = &self.parents {
            let before = status.remove("parents").unwrap_or(Value::Null);
            status.insert(
                "parents".to_owned(),
                Value::Array(self::parents(parents, &before, now)),
            );
        }
        if let Some(ancestors) = &self.ancestors {
            let before = status.remove("ancestors").unwrap_or(Value::Null);
            let ancestors = self::ancestors(ancestors, &before, now);
            if !ancestors.is_empty() {
                status.insert("ancestors".to_owned(), Value::Array(ancestors));
            }
        }
        if let Some(features) = &self.supported_features {
            let feature = |name: &&str| json!({"name": name});
            status.insert(
                "supportedFeatures".to_owned(),
                features.iter().map(feature).collect(),
            );
        }
        (!status.is_empty()).then_some(Value::Object(status))
    }
}

fn listener(listener: &ListenerStatus, before: &Value, now: Timestamp) -> Value {
    let old = item(before, "name", &listener.name);
    let before = old
        .and_then(|old| old.get("conditions"))
        .unwrap_or(&Value::Null);
    let kind = |kind: &&str| json!({"group": names::GATEWAY_GROUP, "kind": kind});
    json!({
        "name": listener.name,
        "supportedKinds": listener.supported_kinds.iter().map(kind).collect::<Vec<_>>(),
        "attachedRoutes": listener.attached_routes,
        "conditions": conditions(&listener.conditions, before, &[], now),
    })
}

fn parents(parents: &[ParentStatus], before: &Value, now: Timestamp) -> Vec<Value> {
    let ours = parents
        .iter()
        .map(|parent| (&parent.parent_ref, &parent.conditions));
    entries("parentRef", names::GATEWAY_CONTROLLER, ours, before, now)
}

fn ancestors(ancestors: &[AncestorStatus], before: &Value, now: Timestamp) -> Vec<Value> {
    let ours = ancestors
        .iter()
        .map(|ancestor| (&ancestor.ancestor_ref, &ancestor.conditions));
    entries("ancestorRef", names::MESH_CONTROLLER, ours, before, now)
}

/// Entries of a list that several controllers write to: those of others first, as they were.
fn entries<'s>(
    field: &str,
    controller: &str,
    ours: impl Iterator<Item = (&'s Value, &'s Vec<Condition>)>,
    before: &Value,
    now: Timestamp,
) -> Vec<Value> {
    let old: Vec<&Value> = before.as_array().into_iter().flatten().collect();
    let is_ours =
        |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(controller);
    let foreign = old
        .iter()
        .filter(|entry| !is_ours(entry))
        .map(|entry| (*entry).clone());
    let ours = ours.map(|(reference, new)| {
        let same = |entry: &&&Value| is_ours(entry) && entry.get(field) == Some(reference);
        let before = old
            .iter()
            .find(same)
            .and_then(|entry| entry.get("conditions"));
        json!({
            field: reference,
            "controllerName": controller,
            "conditions": conditions(new, before.unwrap_or(&Value::Null), &[], now),
        })
    });
    foreign.chain(ours).collect()
}

/// Returns conditions in the shape of the API: foreign ones first, as they were.
fn conditions(new: &[Condition], before: &Value, own: &[&str], now: Timestamp) -> Vec<Value> {
    let is_foreign = |condition: &&Value| {
        let kind = condition.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| !own.contains(&kind) && !own.is_empty())
    };
    let foreign = before
        .as_array()
        .into_iter()
        .flatten()
        .filter(is_foreign)
        .cloned();
    let rendered = new.iter().map(|condition| {
        let old = item(before, "type", condition.kind);
        render(condition, old, now)
    });
    foreign.chain(rendered).collect()
}

fn render(condition: &Condition, old: Option<&Value>, now: Timestamp) -> Value {
    let truth = condition.truth.word();
    let text = |field: &str| old.and_then(|old| old.get(field)).and_then(Value::as_str);
    let since = text("lastTransitionTime").filter(|_| text("status") == Some(truth));
    let since = since.map_or_else(|| now.to_string(), str::to_owned);
    let mut rendered = Map::from_iter([
        ("type".to_owned(), json!(condition.kind)),
        ("status".to_owned(), json!(truth)),
        ("reason".to_owned(), json!(condition.reason)),
        ("message".to_owned(), json!(condition.message)),
        ("lastTransitionTime".to_owned(), json!(since)),
    ]);
    if let Some(generation) = condition.observed_generation {
        rendered.insert("observedGeneration".to_owned(), json!(generation));
    }
    Value::Object(rendered)
}

/// Returns the item of a list whose `field` is `value`.
fn item<'v>(list: &'v Value, field: &str, value: &str) -> Option<&'v Value> {
    let mut items = list.as_array().into_iter().flatten();
    items.find(|item| item.get(field).and_then(Value::as_str) == Some(value))
}
