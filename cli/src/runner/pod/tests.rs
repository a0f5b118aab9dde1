use serde_json::json;

use super::*;

/// A pod of Deployment `default/web` on `node1`, its spec as given.
pub(in crate::runner) fn identity(spec: &serde_json::Value) -> PodIdentity {
    let metadata = json!({"labels": {"app": "web"}, "annotations": {"a/b": "c"}});
    let template = json!({"metadata": metadata, "spec": spec});
    PodIdentity {
        uid: "uid-1".to_owned(),
        namespace: "default".to_owned(),
        name: "web-abc-xyz".to_owned(),
        node: "node1".to_owned(),
        node_ip: Ipv4Addr::new(10, 90, 0, 1),
        ip: Ipv4Addr::new(10, 91, 1, 2),
        deployment: Some(ObjectKey::new("default", "web")),
        hash: "abc".to_owned(),
        template: Rc::new(serde_json::from_value(template).unwrap()),
        role: Role::App,
        created: Timestamp::from_second(1_700_000_000).unwrap(),
        age: 1,
    }
}

fn running(ready: bool) -> PodState {
    let container = ContainerState {
        name: "app".to_owned(),
        image: "x".to_owned(),
        pid: Some(1),
        started_at: Some(Timestamp::from_second(1_700_000_001).unwrap()),
        started: true,
        ready,
        ..ContainerState::default()
    };
    PodState {
        containers: vec![container],
        ..PodState::default()
    }
}

fn web() -> PodIdentity {
    identity(
        &json!({"containers": [{"name": "app", "image": "x", "ports": [{"name": "http", "containerPort": 8080}]}]}),
    )
}

#[test]
fn the_object_carries_what_proxies_and_people_need() {
    let state = PodState {
        capture: Capture::On,
        ..running(true)
    };
    let object =
        serde_json::to_value(object(&web(), &state, None, &mut ConditionTimes::default())).unwrap();
    assert_eq!(object["kind"], "Pod");
    assert_eq!(object["metadata"]["uid"], "uid-1");
    assert_eq!(
        object["metadata"]["labels"],
        json!({"app": "web", "pod-template-hash": "abc"})
    );
    assert_eq!(
        object["metadata"]["annotations"],
        json!({"a/b": "c", REDIRECTION: "enabled"})
    );
    assert_eq!(object["metadata"]["ownerReferences"][0]["name"], "web-abc");
    assert_eq!(object["spec"]["nodeName"], "node1");
    assert_eq!(object["spec"]["serviceAccountName"], "default");
    assert_eq!(object["status"]["phase"], "Running");
    assert_eq!(object["status"]["podIP"], "10.91.1.2");
    assert_eq!(object["status"]["hostIP"], "10.90.0.1");
    let status = &object["status"]["containerStatuses"][0];
    assert_eq!(
        status["state"]["running"]["startedAt"],
        "2023-11-14T22:13:21Z"
    );
    assert_eq!(
        (&status["ready"], &status["restartCount"]),
        (&json!(true), &json!(0))
    );
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut times = ConditionTimes::default();
    let (early, late) = (
        Timestamp::from_second(10).unwrap(),
        Timestamp::from_second(20).unwrap(),
    );
    let at = |condition: PodCondition| condition.last_transition_time.unwrap().0;
    assert_eq!(at(times.condition("Ready", false, early)), early);
    assert_eq!(at(times.condition("Ready", false, late)), early);
    assert_eq!(at(times.condition("Ready", true, late)), late);
}

#[test]
fn a_pod_is_ready_when_all_its_containers_are() {
    assert!(!PodState::default().is_ready());
    let mut state = running(true);
    assert!(state.is_ready());
    state.containers.extend(running(false).containers);
    assert!(!state.is_ready());
}

#[test]
fn an_unready_pod_says_why() {
    assert_eq!(running(true).obstacle(), None);
    assert_eq!(
        running(false).obstacle().unwrap(),
        "container app is not ready yet"
    );
    let silent = PodState {
        silent_ports: vec![8080],
        ..running(false)
    };
    assert_eq!(
        silent.obstacle().unwrap(),
        "container app does not listen on [8080]"
    );
    let held = PodState {
        held_up: Some("waits for ztunnel".to_owned()),
        ..PodState::default()
    };
    assert_eq!(held.obstacle().unwrap(), "waits for ztunnel");
    let mut crashed = running(false);
    crashed.containers[0].pid = None;
    crashed.containers[0].waiting = Some(Waiting {
        reason: "CrashLoopBackOff",
        message: "exited with code 3".to_owned(),
    });
    assert_eq!(
        crashed.obstacle().unwrap(),
        "container app CrashLoopBackOff (exited with code 3)"
    );
}

#[test]
fn its_backend_has_its_ports_by_name() {
    let backend = web().backend(&running(true), false);
    assert_eq!(backend.ports, BTreeMap::from([("http".to_owned(), 8080)]));
    assert!(backend.ready);
}
