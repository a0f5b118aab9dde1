//! What operators look at: dumps, metrics, readiness.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::world::shared;

const COMPONENTS: [&str; 3] = ["ztunnel-node1", "control", "default/waypoint"];

#[test]
fn every_component_shows_its_configuration() {
    let Some(mesh) = shared() else { return };
    for component in COMPONENTS {
        let dump = mesh
            .exec(component, ["curl", "-s", "localhost:15000/config_dump"])
            .ok();
        let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
        assert!(dump.is_object(), "{component}");
        assert!(
            !dump.to_string().contains("PRIVATE KEY"),
            "{component} shows a key"
        );
    }
}

#[test]
fn every_component_is_ready_and_says_so() {
    let Some(mesh) = shared() else { return };
    for component in COMPONENTS {
        let ready = mesh
            .exec(component, ["curl", "-s", "localhost:15021/healthz/ready"])
            .ok();
        assert_eq!(ready, "ready\n", "{component}");
    }
}

#[test]
fn metrics_parse_with_promtool() {
    let Some(mesh) = shared() else { return };
    mesh.exec("web", ["curl", "-s", "http://echo/"]).ok();
    for component in COMPONENTS {
        let metrics = mesh
            .exec(
                component,
                ["curl", "-s", "localhost:15020/stats/prometheus"],
            )
            .ok();
        let mut check = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool (package prometheus) is installed");
        check
            .stdin
            .take()
            .unwrap()
            .write_all(metrics.as_bytes())
            .unwrap();
        let checked = check.wait_with_output().unwrap();
        // 3 is a matter of style, such as counters without help; 1 is not parsing.
        assert!(
            checked.status.code() != Some(1),
            "{component}: {checked:?}\n{metrics}"
        );
    }
}

#[test]
fn a_request_is_counted_with_who_and_what() {
    let Some(mesh) = shared() else { return };
    mesh.exec("web", ["curl", "-s", "http://echo/"]).ok();
    // A request is counted when its answer has ended, which the client may know first.
    testkit::eventually("the request is counted", || {
        let metrics = mesh
            .exec(
                "default/waypoint",
                ["curl", "-s", "localhost:15020/stats/prometheus"],
            )
            .ok();
        let mut lines = metrics.lines();
        lines.find_map(|line| {
            let is_ours = line.starts_with("istio_requests_total{")
                && line.contains("source_principal=\"spiffe://cluster.local/ns/default/sa/web\"")
                // As with Istio, the service whose endpoint answered, v1 or v2, not the one dialled.
                && line.contains("destination_service=\"echo-v")
                && line.contains("response_code=\"200\"");
            is_ours.then_some(())
        })
    });
}
