//! What happened to objects, as `kubectl get events` would show it.
//!
//! An [`Event`](Events) is made when a condition of an object changes, in the words of that
//! condition. They are kept in memory, the newest [`MOST`] of them.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::kinds;
use crate::object::{Key, Object};
use crate::status::HEALTHY;

/// So many events are kept.
const MOST: usize = 1000;

/// The events of the mesh. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    /// Oldest first, by the last time they happened.
    events: VecDeque<Event>,
    n_made: u64,
}

#[derive(Clone, Debug)]
struct Event {
    name: String,
    about: Key,
    uid: Arc<str>,
    is_warning: bool,
    reason: String,
    message: String,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Events {
    /// Takes note of what another status of an object says that the one before it did not.
    ///
    /// * `stops` — how often what it describes has stopped in between: a status that says so
    ///   before and after may hide that it was well meanwhile.
    pub(crate) fn note(
        &self,
        object: &Object,
        before: Option<&Value>,
        status: Option<&Value>,
        stops: u64,
        now: Timestamp,
    ) {
        let old: Vec<Condition<'_>> = conditions(before).collect();
        for new in conditions(status) {
            let before = old
                .iter()
                .find(|old| old.at == new.at && old.kind == new.kind);
            let is_news = match before {
                Some(before) => (before.truth, before.reason) != (new.truth, new.reason),
                // That an object is well from the beginning is no event.
                None => new.truth == "False",
            };
            let stops = if new.kind == HEALTHY && new.truth == "False" {
                stops
            } else {
                0
            };
            if is_news && new.truth != "Unknown" {
                self.add(object, &new, stops.max(1), now);
            } else if stops > 0 {
                self.repeat(object, &new, stops, now);
            }
        }
    }

    /// The same happened again, if in other words.
    fn repeat(&self, object: &Object, condition: &Condition<'_>, times: u64, now: Timestamp) {
        let mut log = self.0.lock();
        let is_same = |event: &Event| {
            event.about == object.key
                && event.uid == object.life.uid
                && event.reason == condition.reason
                && event.is_warning
        };
        let known = log.events.iter().rposition(is_same);
        let Some(event) = known.and_then(|at| log.events.remove(at)) else {
            drop(log);
            return self.add(object, condition, times, now);
        };
        log.events.push_back(Event {
            count: event.count + times,
            message: condition.message.to_owned(),
            last: now,
            ..event
        });
    }

    fn add(&self, object: &Object, condition: &Condition<'_>, times: u64, now: Timestamp) {
        let is_warning = condition.truth == "False";
        let mut log = self.0.lock();
        let is_same = |event: &Event| {
            event.about == object.key
                && event.uid == object.life.uid
                && event.reason == condition.reason
                && event.message == condition.message
                && event.is_warning == is_warning
        };
        let known = log.events.iter().position(is_same);
        let event = if let Some(event) = known.and_then(|at| log.events.remove(at)) {
            Event {
                count: event.count + times,
                last: now,
                ..event
            }
        } else {
            log.n_made += 1;
            Event {
                name: format!("{}.{:x}", object.key.name, log.n_made),
                about: object.key.clone(),
                uid: Arc::clone(&object.life.uid),
                is_warning,
                reason: condition.reason.to_owned(),
                message: condition.message.to_owned(),
                count: times,
                first: now,
                last: now,
            }
        };
        log.events.push_back(event);
        if log.events.len() > MOST {
            log.events.pop_front();
        }
    }

    /// All events as objects, oldest first.
    pub(crate) fn to_json(&self) -> Vec<Value> {
        self.0.lock().events.iter().map(Event::to_json).collect()
    }
}

impl Event {
    fn to_json(&self) -> Value {
        let Key {
            kind,
            namespace,
            name,
        } = &self.about;
        let api_version = kinds::of(kind).map_or_else(String::new, kinds::Info::api_version);
        // Events about what has no namespace are in the default one, as in Kubernetes.
        let own = if namespace.is_empty() {
            "default"
        } else {
            namespace
        };
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": self.name,
                "namespace": own,
                "creationTimestamp": self.first,
            },
            "involvedObject": {
                "apiVersion": api_version,
                "kind": kind.name(),
                "namespace": namespace,
                "name": name,
                "uid": self.uid,
            },
            "type": if self.is_warning { "Warning" } else { "Normal" },
            "reason": self.reason,
            "message": self.message,
            "count": self.count,
            "firstTimestamp": self.first,
            "lastTimestamp": self.last,
            "source": {"component": "control"},
        })
    }
}

/// A condition and what it is about: the object itself, or a parent of a route.
struct Condition<'s> {
    at: &'s Value,
    kind: &'s str,
    truth: &'s str,
    reason: &'s str,
    message: &'s str,
}

fn conditions(status: Option<&Value>) -> impl Iterator<Item = Condition<'_>> {
    fn of<'s>(holder: &'s Value, at: &'s Value) -> impl Iterator<Item = Condition<'s>> {
        let list = holder.get("conditions").and_then(Value::as_array);
        list.into_iter().flatten().map(move |condition| {
            let text = |field: &str| {
                condition
                    .get(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            Condition {
                at,
                kind: text("type"),
                truth: text("status"),
                reason: text("reason"),
                message: text("message"),
            }
        })
    }
    status.into_iter().flat_map(|status| {
        let parents = status.get("parents").and_then(Value::as_array);
        let of_parents = parents
            .into_iter()
            .flatten()
            .flat_map(|parent| of(parent, parent.get("parentRef").unwrap_or(&Value::Null)));
        of(status, &Value::Null).chain(of_parents)
    })
}

#[cfg(test)]
mod tests;
