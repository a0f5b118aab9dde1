use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::report;
use crate::object::{Objects, Store};
use crate::serve::{Audience, Client};
use crate::source::{Document, Event, Origin, Root, Scope};
use crate::translate::WaypointName;

fn objects(values: &[Value]) -> Objects {
    let root = Root::Recorded {
        order: 0,
        path: std::path::Path::new("/objects").into(),
    };
    let documents = values
        .iter()
        .map(|value| Document {
            value: value.clone(),
            origin: Origin::default(),
        })
        .collect();
    let mut store = Store::new(Timestamp::UNIX_EPOCH);
    let scope = Scope::new(root, "all");
    store.apply(
        Event::Snapshot {
            scope,
            documents,
            unreadable: vec![],
        },
        Timestamp::UNIX_EPOCH,
    );
    store.objects().clone()
}

fn pod(namespace: &str, name: &str, account: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "serviceAccountName": account,
            "nodeName": "n1",
            "containers": [{"name": "c", "image": "i"}],
        },
        "status": {"phase": "Running"},
    })
}

fn ztunnel() -> Value {
    pod(
        "istio-system",
        "ztunnel-n1",
        "ztunnel",
        &json!({"app": "ztunnel"}),
    )
}

fn gateway() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": "shop"},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    })
}

fn waypoint_pod(account: &str) -> Value {
    let labels = json!({"gateway.networking.k8s.io/gateway-name": "waypoint"});
    pod("shop", "waypoint-1", account, &labels)
}

fn client(pod: &str, audience: Audience, current: bool) -> Client {
    Client {
        stream: 1,
        audience,
        account: String::new(),
        pod: pod.into(),
        node_id: String::new(),
        current,
        types: BTreeMap::new(),
    }
}

fn waiting(values: &[Value], clients: &[Client]) -> Vec<String> {
    let report = report(&objects(values), clients, "istio-system");
    assert_eq!(report.ready, report.waiting.is_empty());
    report.waiting
}

#[test]
fn a_ztunnel_is_waited_for_until_it_has_accepted_everything() {
    let of_node = || Audience::Ztunnel {
        node: Some("n1".into()),
    };
    assert_eq!(
        waiting(&[ztunnel()], &[]),
        ["ztunnel-n1 has not connected to control"]
    );
    let late = client("istio-system/ztunnel-n1", of_node(), false);
    assert_eq!(
        waiting(&[ztunnel()], &[late]),
        ["ztunnel-n1 has not accepted the newest configuration"]
    );
    let current = client("istio-system/ztunnel-n1", of_node(), true);
    assert!(waiting(&[ztunnel()], &[current]).is_empty());
}

#[test]
fn a_gateway_is_waited_for_until_its_waypoint_listens() {
    assert_eq!(
        waiting(&[gateway()], &[]),
        ["waypoint shop/waypoint has no pod"]
    );
    assert_eq!(
        waiting(&[gateway(), waypoint_pod("waypoint")], &[]),
        ["waypoint shop/waypoint (pod shop/waypoint-1) has not connected to control"]
    );
    let audience = Audience::Waypoint(WaypointName::new("shop", "waypoint"));
    let current = client("shop/waypoint-1", audience, true);
    assert!(waiting(&[gateway(), waypoint_pod("waypoint")], &[current]).is_empty());
}

#[test]
fn a_pod_that_only_carries_the_label_is_no_waypoint() {
    assert_eq!(
        waiting(&[gateway(), waypoint_pod("somebody")], &[]),
        ["waypoint shop/waypoint has no pod"]
    );
}
