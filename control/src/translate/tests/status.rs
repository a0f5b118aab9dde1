//! Statuses in the shape of the API.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::translate;
use crate::index::{HTTP_ROUTE, SERVICE};
use crate::object::Key;

const SERVICE_AND_ROUTE: &str = "{apiVersion: v1, kind: Service, metadata: {name: app, namespace: a,
  labels: {istio.io/use-waypoint: nowhere}}, spec: {clusterIP: 10.2.0.1, ports: [{port: 80}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: a, generation: 7},
  spec: {parentRefs: [{group: '', kind: Service, name: app}], rules: [{backendRefs: [{name: app, port: 80}]}]}}
";

fn written(key: &Key, old: &Value, hours: i64) -> Value {
    let (translator, _) = translate(SERVICE_AND_ROUTE);
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
    translator.statuses()[key]
        .written_over(Some(old), now)
        .unwrap()
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let key = Key::new(SERVICE, "a", "app");
    let first = written(&key, &json!({}), 1);
    let condition = &first["conditions"][0];
    assert_eq!(condition["lastTransitionTime"], "1970-01-01T01:00:00Z");
    assert_eq!(written(&key, &first, 2), first);
    let mut other = first.clone();
    other["conditions"][0]["status"] = json!("True");
    assert_eq!(
        written(&key, &other, 2)["conditions"][0]["lastTransitionTime"],
        "1970-01-01T02:00:00Z"
    );
}

#[test]
fn what_others_wrote_stays() {
    let foreign = json!({"type": "example.com/Seen", "status": "True"});
    let old = json!({"loadBalancer": {}, "conditions": [foreign]});
    let new = written(&Key::new(SERVICE, "a", "app"), &old, 1);
    assert_eq!(new["loadBalancer"], json!({}));
    assert_eq!(new["conditions"][0], foreign);
    assert_eq!(new["conditions"][1]["type"], "istio.io/WaypointBound");

    let parent = json!({"parentRef": {"name": "x"}, "controllerName": "example.com/other"});
    let old = json!({"parents": [parent]});
    let new = written(&Key::new(HTTP_ROUTE, "a", "r"), &old, 1);
    assert_eq!(new["parents"][0], parent);
    assert_eq!(
        new["parents"][1]["controllerName"],
        "istio.io/gateway-controller"
    );
}

#[test]
fn a_route_repeats_group_and_kind_and_the_generation_it_judged() {
    let new = written(&Key::new(HTTP_ROUTE, "a", "r"), &json!({}), 1);
    let parent = &new["parents"][0];
    assert_eq!(
        parent["parentRef"],
        json!({"group": "", "kind": "Service", "name": "app"})
    );
    assert_eq!(parent["conditions"][0]["observedGeneration"], 7);
}

#[test]
fn a_service_gets_no_observed_generation() {
    let new = written(&Key::new(SERVICE, "a", "app"), &json!({}), 1);
    assert_eq!(new["conditions"][0].get("observedGeneration"), None);
}
