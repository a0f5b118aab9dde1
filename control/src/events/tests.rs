//! Events from statuses.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Events, MOST};
use crate::index::SERVICE;
use crate::object::{Key, Object};

fn object() -> Object {
    let objects = crate::translate::tests::objects(
        "{apiVersion: v1, kind: Service, metadata: {name: app, namespace: a}, \
         spec: {clusterIP: 10.2.0.1, ports: [{port: 80}]}}",
    );
    let found = objects.find(&Key::new(SERVICE, "a", "app")).unwrap();
    found.as_ref().clone()
}

fn status(truth: &str, reason: &str, message: &str) -> Value {
    json!({"conditions": [
        {"type": "Programmed", "status": truth, "reason": reason, "message": message},
    ]})
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

/// `type reason message xN` of each event.
fn said(events: &Events) -> Vec<String> {
    let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
    let line = |event: &Value| {
        let words = ["type", "reason", "message"].map(|field| text(event, field));
        format!("{} x{}", words.join(" "), event["count"])
    };
    events.to_json().iter().map(line).collect()
}

#[test]
fn a_condition_that_changes_is_an_event_in_its_own_words() {
    let (events, object) = (Events::default(), object());
    let (pending, good) = (
        status("Unknown", "Pending", "wait"),
        status("True", "Programmed", "on"),
    );
    let bad = status("False", "CompileFailed", "no such function");
    events.note(&object, None, Some(&pending), 0, at(0));
    events.note(&object, Some(&pending), Some(&good), 0, at(1));
    events.note(&object, Some(&good), Some(&bad), 0, at(2));
    // The generation that was looked at, or the message, is no event.
    let other = status("False", "CompileFailed", "no such function, still");
    events.note(&object, Some(&bad), Some(&other), 0, at(3));
    let expected = [
        "Normal Programmed on x1",
        "Warning CompileFailed no such function x1",
    ];
    assert_eq!(said(&events), expected);
    let shown = &events.to_json()[1];
    assert_eq!(shown["involvedObject"]["kind"], "Service");
    assert_eq!(shown["involvedObject"]["name"], "app");
    assert_eq!(shown["metadata"]["namespace"], "a");
}

#[test]
fn what_happens_again_is_counted() {
    let (events, object) = (Events::default(), object());
    let (good, bad) = (
        status("True", "Healthy", "runs"),
        status("False", "Crashing", "trap"),
    );
    for round in 0..3 {
        events.note(&object, Some(&good), Some(&bad), 0, at(round * 2));
        events.note(&object, Some(&bad), Some(&good), 0, at(round * 2 + 1));
    }
    assert_eq!(
        said(&events),
        ["Warning Crashing trap x3", "Normal Healthy runs x3"]
    );
    let shown = &events.to_json()[0];
    assert_eq!(shown["firstTimestamp"], "1970-01-01T00:00:00Z");
    assert_eq!(shown["lastTimestamp"], "1970-01-01T00:00:04Z");
}

#[test]
fn an_object_that_is_well_from_the_beginning_is_no_event() {
    let (events, object) = (Events::default(), object());
    events.note(
        &object,
        None,
        Some(&status("True", "Accepted", "fine")),
        0,
        at(0),
    );
    assert_eq!(said(&events), [""; 0]);
    events.note(
        &object,
        None,
        Some(&status("False", "NoEffect", "why")),
        0,
        at(0),
    );
    assert_eq!(said(&events), ["Warning NoEffect why x1"]);
}

#[test]
fn parents_of_routes_speak_each_for_itself() {
    let (events, object) = (Events::default(), object());
    let route = |first: &str, second: &str| {
        let parent = |name: &str, truth: &str| {
            json!({"parentRef": {"name": name}, "conditions": [
                {"type": "Accepted", "status": truth, "reason": truth, "message": name},
            ]})
        };
        json!({"parents": [parent("one", first), parent("other", second)]})
    };
    let (before, after) = (route("True", "True"), route("True", "False"));
    events.note(&object, Some(&before), Some(&after), 0, at(0));
    assert_eq!(said(&events), ["Warning False other x1"]);
}

#[test]
fn old_events_make_room_for_new_ones() {
    let (events, object) = (Events::default(), object());
    for number in 0..=MOST {
        let bad = status("False", "Broken", &number.to_string());
        events.note(&object, None, Some(&bad), 0, at(0));
    }
    let said = said(&events);
    assert_eq!(said.len(), MOST);
    assert_eq!(said[0], "Warning Broken 1 x1");
}

/// A plugin that stops again while its status says that it has stopped is told of each time.
#[test]
fn what_stops_again_is_counted_although_its_status_stays() {
    let (events, object) = (Events::default(), object());
    let healthy = |truth: &str, reason: &str, message: &str| {
        json!({"conditions": [
            {"type": "Healthy", "status": truth, "reason": reason, "message": message},
        ]})
    };
    let well = healthy("True", "Healthy", "runs");
    let stopped = healthy("False", "Restarting", "unreachable");
    events.note(&object, Some(&well), Some(&stopped), 2, at(0));
    events.note(&object, Some(&stopped), Some(&stopped), 3, at(1));
    let otherwise = healthy("False", "Restarting", "out of bounds");
    events.note(&object, Some(&stopped), Some(&otherwise), 1, at(2));
    assert_eq!(said(&events), ["Warning Restarting out of bounds x6"]);
    events.note(&object, Some(&otherwise), Some(&otherwise), 0, at(3));
    events.note(&object, Some(&otherwise), Some(&well), 4, at(4));
    let expected = [
        "Warning Restarting out of bounds x6",
        "Normal Healthy runs x1",
    ];
    assert_eq!(said(&events), expected);
}
