use serde_json::{Value, json};
use telemetry::access::Direction;

use super::{Connection, OpenConnections, PodStates};
use crate::pod::PodInfo;

fn info(name: &str) -> PodInfo {
    PodInfo {
        uid: format!("uid of {name}"),
        name: name.to_owned(),
        namespace: "app".to_owned(),
        service_account: "default".to_owned(),
    }
}

fn connection(direction: Direction, tunnelled: bool) -> Connection {
    Connection {
        direction,
        source: "10.0.0.1:4000".parse().unwrap(),
        target: "10.0.0.2:8080".parse().unwrap(),
        hop: "10.0.0.2:15008".parse().unwrap(),
        service: None,
        tunnelled,
    }
}

fn at(states: &PodStates, pointer: &str) -> Value {
    states.dump().pointer(pointer).cloned().unwrap_or_default()
}

#[test]
fn connections_of_all_workers_are_shown_while_they_are_open() {
    let states = PodStates::default();
    let workers = vec![OpenConnections::default(), OpenConnections::default()];
    let _served = states.serve(info("echo"), workers.clone());
    let outbound = workers[0].add(connection(Direction::Outbound, true));
    let _inbound = workers[1].add(connection(Direction::Inbound, false));
    assert_eq!(
        states.dump(),
        json!({"uid of echo": {
            "state": "Up",
            "info": {"name": "echo", "namespace": "app", "serviceAccount": "default"},
            "connections": {
                "inbound": [{
                    "src": "10.0.0.1:4000", "originalDst": null,
                    "actualDst": "10.0.0.2:8080", "protocol": "TCP",
                }],
                "outbound": [{
                    "src": "10.0.0.1:4000", "originalDst": "10.0.0.2:8080",
                    "actualDst": "10.0.0.2:15008", "protocol": "HBONE",
                }],
            },
        }})
    );
    drop(outbound);
    assert_eq!(at(&states, "/uid of echo/connections/outbound"), json!([]));
}

#[test]
fn a_pod_that_came_back_elsewhere_stays_when_the_old_one_goes() {
    let states = PodStates::default();
    let old = states.serve(info("echo"), vec![]);
    let new = states.serve(info("echo"), vec![]);
    drop(old);
    assert_eq!(at(&states, "/uid of echo/state"), json!("Up"));
    drop(new);
    assert_eq!(states.dump(), json!({}));
}

#[test]
fn a_pod_that_waits_is_pending() {
    let states = PodStates::default();
    states.wait(vec![info("late")]);
    assert_eq!(at(&states, "/uid of late/state"), json!("Pending"));
    states.wait(vec![]);
    assert_eq!(states.dump(), json!({}));
}
